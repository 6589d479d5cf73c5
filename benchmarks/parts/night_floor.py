"""The least that any night must do: copy out, copy in, and the kernels on arrays in memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sqlalchemy import text

from benchmarks.data.border import copy_to_file, measured
from bkt_core.engines import engine_named
from bkt_core.evaluation.cross_validation import cross_validate
from bkt_core.judgement.warm_up import compile_kernels
from bkt_core.params import AlgoParams
from bkt_settings.pipeline import load_settings
from datasets.store.connections.copy_rows import copy_into

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_core.sequences import AttemptSequences
    from tests.postgres_server import PostgresServer

STATE = {
    "concept_id": "id", "user_id": "id", "p_mastery": "double", "n_attempts": "int32",
    "last_attempt_at": "moment", "last_attempt_id": "int", "algo_version_id": "int",
    "param_id": "int", "updated_at": "moment",
}  # fmt: skip
SNAPSHOT = {
    "snapshot_at": "moment", "run_id": "id", "user_id": "id", "concept_id": "id",
    "p_mastery": "double", "n_attempts": "int32", "param_id": "int", "algo_version_id": "int",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the wall, and CPU seconds of this process and of the database server."""

    wall: float
    cpu: float


def measure_floor(
    server: PostgresServer,
    engine: Engine,
    url: str,
    folder: Path,
    concepts: Sequence[AttemptSequences],
) -> dict[str, Spent]:
    """The least of each stage."""
    floor = {"extract": spent(server, lambda: copy_to_file(server, url, folder / "copy.bin"))}
    (folder / "copy.bin").unlink()
    floor["fit"] = spent(server, lambda: bare_fits(concepts))
    for stage, table, columns in (
        ("recompute", "bkt_user_skill_state", STATE),
        ("snapshot", "mastery_snapshot", SNAPSHOT),
    ):
        rows = pl.read_database(f"SELECT {', '.join(columns)} FROM {table}", engine)  # noqa: S608 - constants
        made = "INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING INDEXES"
        with engine.begin() as conn:
            conn.execute(text(f"CREATE TABLE {table}_copy (LIKE {table} {made})"))
        parts = list(rows.iter_slices(50_000))

        def copy_in(table: str = table, columns: dict[str, str] = columns) -> None:
            for part in parts:  # noqa: B023 - called at once
                with engine.begin() as conn:
                    copy_into(conn, f"{table}_copy", columns, part)

        floor[stage] = spent(server, copy_in)
    return floor


def bare_fits(concepts: Sequence[AttemptSequences]) -> None:
    """Cross-validation and final fit of every concept, as the settings want them, on arrays."""
    settings, algo = load_settings(), AlgoParams()
    engine, options = engine_named("em"), settings.fit.options(algo.bounds)
    compile_kernels("em", settings.gates)

    def one(sequences: AttemptSequences) -> None:
        folds = (np.arange(sequences.n_users) % settings.fit.folds).astype(np.int8)
        cross_validate(engine, sequences, folds, n_folds=settings.fit.folds, options=options)

    with ThreadPoolExecutor(settings.run.n_threads) as threads:
        list(threads.map(one, concepts))


def spent(server: PostgresServer, work: Callable[[], None]) -> Spent:
    """Run something; seconds and CPU seconds of this process and the server."""
    walls: list[float] = []

    def timed() -> None:
        began = time.perf_counter()
        work()
        walls.append(time.perf_counter() - began)

    cost = measured(timed, server)
    return Spent(walls[0], cost.total)
