"""Ten million attempts and a million states for the benchmark of a night, then more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import polars as pl
import psycopg

from bkt_core.params import BktParams
from bkt_core.simulation import draw_params, simulate
from datasets.store.connections.copy_rows import copy_into
from datasets.store.states.sweep import sweep

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bkt_core.sequences import AttemptSequences

AT = datetime(2026, 6, 1, tzinfo=UTC)
SEED = 20_261
BEGINS_US = 1_767_571_200_000_000  # 2026-01-05
ATTEMPTS_PER_STATE = 10
STATES_PER_USER = 20
CHUNK = 1_000_000
ATTEMPT = {
    "source": "id", "idempotency_key": "id", "user_id": "id", "concept_id": "id",
    "correct": "small", "attempted_at": "moment", "created_at": "moment",
}  # fmt: skip
_MARK = """
    INSERT INTO bkt_user_skill_state
        (concept_id, user_id, p_mastery, n_attempts, algo_version_id, is_stale, version,
         updated_at)
    SELECT concept_id, user_id, 0, 0, 1, true, 0, now()
    FROM attempts WHERE id > %s GROUP BY concept_id, user_id ORDER BY concept_id, user_id
    ON CONFLICT (concept_id, user_id) DO UPDATE
    SET is_stale = true, version = bkt_user_skill_state.version + 1
"""
_NEW = """
    INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct, attempted_at,
                          created_at)
    SELECT '', 'new' || id, user_id, concept_id, correct,
           attempted_at + interval '100 days', now()
    FROM attempts TABLESAMPLE bernoulli (1) REPEATABLE (1)
"""


def fill(engine: Engine, url: str, n_concepts: int, n_states: int) -> list[AttemptSequences]:
    """The attempts in the order of time and their stale states; returns the sequences."""
    rng = np.random.default_rng(SEED)
    users = sorted(str(UUID(bytes=rng.bytes(16))) for _ in range(n_states // STATES_PER_USER))
    n_each = n_states // n_concepts
    concepts, columns = [], []
    for number, drawn in enumerate(draw_params(n_concepts, rng=rng)):
        lengths = rng.integers(1, 2 * ATTEMPTS_PER_STATE, n_each)
        sequences = simulate(BktParams(*drawn.tolist()), lengths=lengths, rng=rng)
        own = np.sort(rng.choice(len(users), n_each, replace=False))
        first = rng.integers(0, 90 * 86_400, n_each)
        steps = np.arange(sequences.n_attempts) - np.repeat(sequences.offsets[:-1], lengths)
        seconds = np.repeat(first, lengths) + 60 * steps
        concepts.append(sequences)
        columns.append(
            pl.DataFrame(
                {
                    "user": np.repeat(own, lengths).astype(np.int32),
                    "concept": np.full(sequences.n_attempts, number, np.int32),
                    "correct": sequences.correct,
                    "attempted_at": BEGINS_US + 1_000_000 * seconds,
                }
            )
        )
    log = pl.concat(columns).sort("attempted_at", maintain_order=True)
    names = pl.Series([str(UUID(bytes=rng.bytes(16))) for _ in range(n_concepts)])
    user_ids = pl.Series(users)
    log = log.with_row_index("n")
    for part in log.iter_slices(CHUNK):
        rows = part.select(
            pl.lit("").alias("source"),
            pl.format("k{}", "n").alias("idempotency_key"),
            user_ids.gather(part["user"]).alias("user_id"),
            names.gather(part["concept"]).alias("concept_id"),
            "correct",
            pl.col("attempted_at").cast(pl.Datetime("us", "UTC")),
            pl.lit(AT).alias("created_at"),
        )
        with engine.begin() as conn:
            copy_into(conn, "attempts", ATTEMPT, rows)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(_MARK.encode(), (0,))
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")
    return concepts


def add_one_percent(engine: Engine, url: str) -> None:
    """New attempts at a hundredth of the states, applied as the online service leaves them."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute("SELECT max(id) FROM attempts").fetchone()
        conn.execute(_NEW.encode())
        conn.execute(_MARK.encode(), row)
    sweep(engine, at=datetime.now(UTC))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
