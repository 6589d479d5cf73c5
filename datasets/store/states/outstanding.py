"""Count the states that a sweep would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from datasets.store.connections.engines import reading

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_OUTSTANDING = """
    SELECT s.concept_id, count(*) AS n FROM bkt_user_skill_state s
    CROSS JOIN (SELECT id FROM algo_versions WHERE algo_key = 'bkt' AND status = 'ACTIVE') v
    LEFT JOIN bkt_skill_params p
        ON p.concept_id = s.concept_id AND p.algo_version_id = v.id AND p.is_active
    WHERE (s.is_stale OR s.algo_version_id <> v.id OR s.param_id IS DISTINCT FROM p.id)
    {user} GROUP BY s.concept_id ORDER BY s.concept_id
"""
_EVERY_CONCEPT = text(
    "SELECT concept_id, count(*) AS n FROM bkt_user_skill_state "
    "GROUP BY concept_id ORDER BY concept_id"
)


def outstanding(conn: Connection, *, user_id: str | None = None) -> dict[str, int]:
    """Count stale and old-stamped states by concept; a sweep would write them."""
    narrowed = "" if user_id is None else "AND s.user_id = :user_id"
    rows = conn.execute(
        text(_OUTSTANDING.format(user=narrowed)),
        {} if user_id is None else {"user_id": user_id},
    )
    return {row.concept_id: row.n for row in rows}


def states_to_sweep(engine: Engine, *, force: bool = False) -> dict[str, int]:
    """Count the states to sweep, by concept id; with `force` all states."""
    with reading(engine) as conn:
        if not force:
            return outstanding(conn)
        return {row.concept_id: row.n for row in conn.execute(_EVERY_CONCEPT)}
