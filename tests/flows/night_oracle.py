"""What the database must hold after a night, in a few lines of plain Python."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from datasets.store.tables import Base

if TYPE_CHECKING:
    from sqlalchemy import Engine

LOW, HIGH = 1e-10, 1.0 - 1e-10
DEFAULTS = (0.1, 0.1, 0.1, 0.25)
TABLES = (
    "attempts",
    "bkt_skill_params",
    "bkt_user_skill_state",
    "mastery_snapshot",
    "bkt_promotion_event",
)

ACTIVE = text("SELECT concept_id, p_l0, p_t, p_s, p_g FROM bkt_skill_params WHERE is_active")
LOG = text("SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id")


def clamp(p: float) -> float:
    return min(max(p, LOW), HIGH)


def replayed(outcomes: list[int], p_L0: float, p_T: float, p_S: float, p_G: float) -> float:
    """docs/algorithms.md, section 2, without a line of the product."""
    p, t, s, g = clamp(p_L0), clamp(p_T), clamp(p_S), clamp(p_G)
    for correct in outcomes:
        c = clamp(p * (1.0 - s) + (1.0 - p) * g)
        q = clamp(p * (1.0 - s) / c if correct else p * s / (1.0 - c))
        p = clamp(q + (1.0 - q) * t)
    return p


def expected_states(engine: Engine) -> dict[tuple[str, str], tuple[float, int]]:
    """Mastery and number of attempts of every user at every concept, from the log."""
    outcomes: dict[tuple[str, str], list[int]] = defaultdict(list)
    with engine.connect() as conn:
        params = {row[0]: tuple(row[1:]) for row in conn.execute(ACTIVE)}
        log = text(
            "SELECT user_id, concept_id, correct FROM attempts ORDER BY attempted_at, id"
        )
        for user, concept, correct in conn.execute(log):
            outcomes[user, concept].append(correct)
    return {
        key: (replayed(history, *params.get(key[1], DEFAULTS)), len(history))
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
