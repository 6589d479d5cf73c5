"""What the database must hold after a night, in a few lines of plain Python."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from datasets.store.schema.tables import Base
from tests.oracles.replay import DEFAULTS, mastery

if TYPE_CHECKING:
    from sqlalchemy import Engine

TABLES = (
    "attempts",
    "bkt_skill_params",
    "bkt_user_skill_state",
    "mastery_snapshot",
    "bkt_promotion_event",
)

ACTIVE = text(
    "SELECT concept_id, p_l0, p_t, p_s, p_g, p_f FROM bkt_skill_params p JOIN algo_versions v "
    "ON v.id = p.algo_version_id WHERE p.is_active AND v.status = 'ACTIVE'"
)
LOG = text("SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id")


def expected_states(engine: Engine) -> dict[tuple[str, str], tuple[float, int]]:
    """Mastery and number of attempts of every user at every concept, from the log."""
    outcomes: dict[tuple[str, str], list[int]] = defaultdict(list)
    with engine.connect() as conn:
        params = {row[0]: tuple(row[1:]) for row in conn.execute(ACTIVE)}
        for user, concept, correct in conn.execute(LOG):
            outcomes[user, concept].append(correct)
    return {
        key: (mastery(history, params.get(key[1], DEFAULTS)), len(history))
        for key, history in outcomes.items()
    }


def stored_states(engine: Engine) -> dict[tuple[str, str], tuple[float, int]]:
    """What the state table says; a stale row says nothing and would differ."""
    query = text(
        "SELECT user_id, concept_id, p_mastery, n_attempts FROM bkt_user_skill_state "
        "WHERE NOT is_stale"
    )
    with engine.connect() as conn:
        return {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(query)}


def all_rows(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that a night may write."""
    with engine.connect() as conn:
        return {
            name: sorted(
                (tuple(row) for row in conn.execute(select(Base.metadata.tables[name]))),
                key=repr,
            )
            for name in TABLES
        }
