"""Databases full of states for the benchmark of promotion and recomputation."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import polars as pl
from sqlalchemy import text

from bkt_core.params import BktParams
from datasets.store.connections.copy_rows import copy_into
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from datasets.store.states.sweep import STAGED
from tests.datasets.store.writing import promote
from tests.moments import STARTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Engine

CONCEPTS = tuple(f"concept-{n:04d}" for n in range(20))
_LOADED = {"user_id": "id", "last_attempt_id": "int"}


def initialised(url: str) -> Engine:
    """An engine on a fresh database, as `bkt init` leaves it."""
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED)
    return engine


def users(n: int) -> list[str]:
    """UUIDs, in the order of their bytes."""
    rng = np.random.default_rng(1)
    return sorted(str(UUID(bytes=rng.bytes(16))) for _ in range(n))


def fill_states(engine: Engine, n_states: int) -> None:
    """As many states at each concept, none of them with attempts in the log."""
    ids = users(n_states // len(CONCEPTS))
    frame = pl.DataFrame({"user_id": ids, "last_attempt_id": np.arange(1, len(ids) + 1)})
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE loaded (user_id text, last_attempt_id bigint)"))
        copy_into(conn, "loaded", _LOADED, frame)
    for concept in CONCEPTS:
        with engine.begin() as conn:
            conn.execute(
                text(
                    "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, "
                    "n_attempts, last_attempt_at, last_attempt_id, algo_version_id, "
                    "updated_at) "
                    "SELECT :concept, user_id, 0.5, 9, :at, last_attempt_id, 1, :at "
                    "FROM loaded"
                ),
                {"concept": concept, "at": STARTED},
            )
    analyse(engine, "bkt_user_skill_state")


def fill_log(engine: Engine, *, n_users: int, n_concepts: int, per_key: int) -> int:
    """Attempts of every user at every concept, and their states; returns how many states."""
    frame = pl.DataFrame({"user_id": users(n_users), "last_attempt_id": np.arange(n_users)})
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE loaded (user_id text, last_attempt_id bigint)"))
        copy_into(conn, "loaded", _LOADED, frame)
        conn.execute(
            text(
                "INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct, "
                "attempted_at, created_at) "
                "SELECT '', c || '/' || u.last_attempt_id || '/' || i, u.user_id, "
                "'concept-' || lpad(c::text, 4, '0'), (random() < 0.6)::int, "
                ":at + i * interval '1 minute', :at "
                "FROM generate_series(0, :c) c, loaded u, generate_series(1, :i) i"
            ),
            {"at": STARTED, "c": n_concepts - 1, "i": per_key},
        )
        conn.execute(
            text(
                "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, "
                "n_attempts, last_attempt_at, last_attempt_id, algo_version_id, updated_at) "
                "SELECT concept_id, user_id, 0.5, count(*), max(attempted_at), max(id), 1, :at "
                "FROM attempts GROUP BY concept_id, user_id ORDER BY concept_id, user_id"
            ),
            {"at": STARTED},
        )
    analyse(engine, "bkt_user_skill_state")
    analyse(engine, "attempts")
    return n_users * n_concepts


def analyse(engine: Engine, table: str) -> None:
    """Leave a table as autovacuum would, and nothing of its filling to do."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"VACUUM ANALYZE {table}"))
        conn.execute(text("CHECKPOINT"))


def promote_all(
    engine: Engine, run_id: str, concepts: Iterable[str] = CONCEPTS
) -> dict[str, BktParams]:
    """Put new parameters in force everywhere, as a night does; returns them."""
    rng = np.random.default_rng(list(run_id.encode()))
    params = {
        concept: BktParams(*rng.uniform([0.1, 0.05, 0.05, 0.1], [0.4, 0.3, 0.2, 0.3]).tolist())
        for concept in concepts
    }
    for concept, own in params.items():
        promote(engine, run_id, concept, own)
    return params


def staged(engine: Engine, concept: str) -> pl.DataFrame:
    """Other values for every state of a concept, with the versions that stand now."""
    query = text(
        "SELECT user_id, version, n_attempts, last_attempt_at, last_attempt_id "
        "FROM bkt_user_skill_state WHERE concept_id = :concept ORDER BY user_id"
    )
    with engine.connect() as conn:
        rows = conn.execute(query, {"concept": concept}).all()
    ids, versions, counts, moments, attempts = zip(*rows, strict=True)
    rng = np.random.default_rng(len(ids))
    frame = pl.DataFrame(
        {
            "user_id": ids,
            "base_version": versions,
            "p_mastery": rng.random(len(ids)),
            "n_attempts": counts,
            "last_attempt_at": moments,
            "last_attempt_id": attempts,
        },
        schema_overrides={"last_attempt_at": pl.Datetime("us", "UTC")},
    )
    return frame.select(STAGED.keys())
