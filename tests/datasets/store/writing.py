"""Short ways to put things into a database, for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.store.attempts.new_attempt import attempt_code
from datasets.store.attempts.writer import write_attempts
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import Challenger, active_params
from datasets.store.params.switching import SwitchOutcome, switch
from datasets.store.runs.runs import start_run
from tests.moments import STARTED

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from bkt_core.family.params import Params

PARAMS = BktParams(p_L0=0.3, p_T=0.15, p_S=0.08, p_G=0.22)
UNASKED = -1


def challenger(params: Params = PARAMS) -> Challenger:
    return Challenger(params=params, n_attempts=10, n_users=3, fitted_at=STARTED)


def promote(
    engine: Engine,
    run_id: str,
    concept_id: str,
    params: Params = PARAMS,
    *,
    expected: int | None = UNASKED,
    at: datetime = STARTED,
) -> SwitchOutcome:
    """Switch a concept to parameters, against whatever is in force unless told otherwise."""
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="retrain", at=STARTED)
        algorithm = active_algorithm(conn)
        if expected == UNASKED:
            incumbent = active_params(conn, algorithm.id).get(concept_id)
            expected = incumbent.param_id if incumbent else None
        return switch(
            conn,
            run_id=run_id,
            concept_id=concept_id,
            algo_version_id=algorithm.id,
            challenger=challenger(params),
            expected_incumbent=expected,
            at=at,
        )


def attempts_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """A frame for `write_attempts` from short rows: user, concept, correct, minutes, key."""
    return pl.DataFrame(
        {
            "row": range(1, len(rows) + 1),
            "source": [""] * len(rows),
            "idempotency_key": [str(row.get("key", f"k{i}")) for i, row in enumerate(rows)],
            "user_id": [row.get("user", "ann") for row in rows],
            "question_id": [row.get("question") for row in rows],
            "concept_id": [row.get("concept", "fractions") for row in rows],
            "correct": [row.get("correct", 1) for row in rows],
            "attempted_at": [
                STARTED + timedelta(minutes=float(str(row.get("minutes", i))))
                for i, row in enumerate(rows)
            ],
            "attempt_code": [
                attempt_code(str(row.get("attempt", row.get("key", f"k{i}"))))
                for i, row in enumerate(rows)
            ],
        },
        schema_overrides={
            "row": pl.Int64,
            "correct": pl.Int8,
            "question_id": pl.String,
            "attempted_at": pl.Datetime("us", "UTC"),
        },
    )


def forget_runs(conn: Connection, kind: str) -> None:
    """Delete runs as a restore from before them would, past the rule that they are history."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SET LOCAL session_replication_role = replica"))
    conn.execute(text("DELETE FROM bkt_run WHERE kind = :kind"), {"kind": kind})


def import_rows(
    engine: Engine,
    rows: list[dict[str, object]],
    *,
    at: datetime = STARTED,
    **options: bool,
) -> list[str]:
    """Import short rows in one transaction; their outcomes."""
    with engine.begin() as conn:
        written = write_attempts(conn, attempts_frame(rows), at=at, **options)
    return written["outcome"].to_list()
