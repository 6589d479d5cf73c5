"""The algorithm versions that `bkt init` inserts into an empty database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from datasets.store.params.algorithms import ALGO_KEY
from datasets.store.schema.sql import insert_into
from datasets.store.schema.tables import AlgoParamsRow, AlgoVersionRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

SEEDED_VERSION = "v1"
#: A version for comparison: on real logs three quarters of v1's fits end on the bound L0 = 0.5.
CANDIDATE_VERSION = "v2"

SEEDED_PARAMS: dict[str, Any] = {
    "default_L0": 0.1,
    "default_T": 0.1,
    "default_S": 0.1,
    "default_G": 0.25,
    "mastery_threshold": 0.95,
    "min_attempts_for_fit": 10,
    "constraints": {
        "L0_min": 0.001,
        "L0_max": 0.5,
        "T_min": 0.001,
        "T_max": 0.5,
        "S_min": 0.001,
        "S_max": 0.4,
        "G_min": 0.001,
        "G_max": 0.4,
    },
    "degeneracy_checks": {
        "require_learned_better_than_unlearned": True,
        "min_learning_gain": 0.05,
    },
}

CANDIDATE_PARAMS: dict[str, Any] = {
    **SEEDED_PARAMS,
    "constraints": {**SEEDED_PARAMS["constraints"], "L0_max": 0.95},
}

#: Forgetting between two attempts at a concept (docs/algorithms.md, section 13).
FORGETTING_VERSION = "v3"
FORGETTING_PARAMS: dict[str, Any] = {
    **CANDIDATE_PARAMS,
    "variant": {"forgetting": True},
    "constraints": {**CANDIDATE_PARAMS["constraints"], "F_min": 0.0, "F_max": 0.1},
}
#: Beside forgetting: the odds of each question.
QUESTIONS_VERSION = "v4"
QUESTIONS_PARAMS: dict[str, Any] = {
    **FORGETTING_PARAMS,
    "variant": {"forgetting": True, "questions": True},
}
#: Beside these: what the user did lately and in all, and the time since the last attempt.
HISTORY_VERSION = "v5"
HISTORY_PARAMS: dict[str, Any] = {
    **FORGETTING_PARAMS,
    "variant": {"forgetting": True, "questions": True, "history": True, "gap": True},
}
#: The candidates, in the order in which they are listed.
CANDIDATES: dict[str, dict[str, Any]] = {
    CANDIDATE_VERSION: CANDIDATE_PARAMS,
    FORGETTING_VERSION: FORGETTING_PARAMS,
    QUESTIONS_VERSION: QUESTIONS_PARAMS,
    HISTORY_VERSION: HISTORY_PARAMS,
}


def seed(conn: Connection, *, at: datetime) -> None:
    """Insert `v1` as the ACTIVE version, `v2` to `v5` as CANDIDATEs, if they are missing.

    A database in which another version is ACTIVE keeps that one.
    """
    has_active = conn.execute(
        select(AlgoVersionRow.id).where(
            AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.status == "ACTIVE"
        )
    ).first()
    status = "CANDIDATE" if has_active else "ACTIVE"
    _seed_version(conn, SEEDED_VERSION, SEEDED_PARAMS, status=status, at=at)
    for version, params in CANDIDATES.items():
        _seed_version(conn, version, params, status="CANDIDATE", at=at)


def _seed_version(
    conn: Connection, version: str, params: dict[str, Any], *, status: str, at: datetime
) -> None:
    """Insert one version and its settings; an existing one stays unchanged."""
    conn.execute(
        insert_into(conn, AlgoVersionRow)
        .values(algo_key=ALGO_KEY, version=version, status=status, created_at=at)
        .on_conflict_do_nothing()
    )
    version_id = conn.execute(
        select(AlgoVersionRow.id).where(
            AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.version == version
        )
    ).scalar_one()
    conn.execute(
        insert_into(conn, AlgoParamsRow)
        .values(algo_version_id=version_id, params=params)
        .on_conflict_do_nothing()
    )
