"""A whole night on PostgreSQL beside the floor of its parts, measured in the same run.

`python -m benchmarks.night` makes 10 million attempts of 500 concepts and a million states,
runs a night over them in a process of its own, then the least that any such night must do:
COPY of the attempts out, COPY of the states and of the snapshot rows in, the kernels on arrays
in memory. Then one per cent of new attempts, which the online service has applied, and the next
night. Seconds begin after the imports of Prefect and MLflow; starting Prefect's server counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import polars as pl
import psycopg
from sqlalchemy import text

from benchmarks.border_data import copy_to_file, measured
from bkt_core.evaluation.cross_validation import cross_validate
from bkt_core.evaluation.warm_up import compile_kernels
from bkt_core.fitting.engines import engine_named
from bkt_core.params import AlgoParams, BktParams
from bkt_core.simulation import draw_params, simulate
from datasets.store.copy_rows import copy_into
from datasets.store.mastery_states import sweep
from datasets.store.schema import upgrade
from datasets.store.seeds import seed
from datasets.store.session import make_engine
from flows.prefect_home import settle_prefect
from flows.settings import load_settings
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine

    from bkt_core.sequences import AttemptSequences
    from tests.postgres_server import PostgresServer

AT = datetime(2026, 6, 1, tzinfo=UTC)
BEGINS_US = 1_767_571_200_000_000  # 2026-01-05
SEED = 20_261
ATTEMPTS_PER_STATE = 10
STATES_PER_USER = 20
CHUNK = 1_000_000
BARS = {"night": 3.0, "peak MiB": 2_048.0, "1 % night": 0.15, "1 % process": 0.30}
ATTEMPT = {
    "source": "id", "idempotency_key": "id", "user_id": "id", "concept_id": "id",
    "correct": "small", "attempted_at": "moment", "created_at": "moment",
}  # fmt: skip
STATE = {
    "concept_id": "id", "user_id": "id", "p_mastery": "double", "n_attempts": "int32",
    "last_attempt_at": "moment", "last_attempt_id": "int", "algo_version_id": "int",
    "param_id": "int", "updated_at": "moment",
}  # fmt: skip
SNAPSHOT = {
    "snapshot_at": "moment", "run_id": "id", "user_id": "id", "concept_id": "id",
    "p_mastery": "double", "n_attempts": "int32", "param_id": "int", "algo_version_id": "int",
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


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the wall, and CPU seconds of this process and of the database server."""

    wall: float
    cpu: float


def main() -> int:
    """Measure, print the table, and return how many bars were missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _night_child()
    folder = Path(tempfile.mkdtemp(prefix="bkt-night-"))
    try:
        with postgres_server(shared_buffers="1GB", max_wal_size="8GB") as server:
            return _measure_all(server, folder, options.concepts, options.states)
    finally:
        shutil.rmtree(folder)


def _measure_all(server: PostgresServer, folder: Path, n_concepts: int, n_states: int) -> int:
    url = server.new_database()
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=AT)
    concepts = fill(engine, url, n_concepts, n_states)
    n_attempts = sum(one.n_attempts for one in concepts)
    print(
        f"PostgreSQL {server.version()}, {os.cpu_count()} cores, seed {SEED}: "
        f"{n_attempts:,} attempts, {n_concepts} concepts, {n_states:,} states"
    )
    full, full_told = spent_in_child(server, url, folder)
    floor = measure_floor(server, engine, url, folder, concepts)
    show_night(full, full_told, floor)
    last = _newest(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(_NEW.encode())
        conn.execute(_MARK.encode(), (last,))
    sweep(engine, at=datetime.now(UTC))  # as the online service left them
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
    _, second_told = spent_in_child(server, url, folder)
    engine.dispose()
    return show_bars(full_told, floor, second_told)


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


def spent_in_child(
    server: PostgresServer, url: str, folder: Path
) -> tuple[Spent, dict[str, Any]]:
    """A night in a process of its own, and what it told."""
    told: dict[str, Any] = {}

    def run() -> None:
        env = os.environ | {
            "BKT_DATABASE_URL": url,
            "BKT_DATA_DIR": str(folder / "var"),
        }
        command = [sys.executable, "-m", "benchmarks.night", "--child"]
        began = time.perf_counter()
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        told.update(json.loads(done.stdout.splitlines()[-1]))
        told["process"] = time.perf_counter() - began

    served = measured(run, server).server
    return Spent(told["wall"], told["cpu"] + served), told


def _night_child() -> int:
    """A night; prints its seconds without the imports, its CPU and the peak of its memory."""
    before_imports = time.perf_counter()
    settings = load_settings()
    settle_prefect(settings)
    from mlflow.tracking import MlflowClient  # noqa: TID251 - a store that was there before

    from flows.nightly import nightly
    from flows.requests import RetrainRequest

    MlflowClient(settings.tracking_uri).search_experiments()
    imports = time.perf_counter() - before_imports
    cpu_imports, began = _cpu(), time.perf_counter()
    summary = nightly(RetrainRequest())
    wall = time.perf_counter() - began
    told = {
        "wall": wall,
        "cpu": _cpu() - cpu_imports,
        "imports": imports,
        "seconds": summary.seconds,
        "status": summary.status,
        "concepts": asdict(summary.concepts),
        "states": summary.states,
        "peak": _peak_mib(),
    }
    print(json.dumps(told, default=str))
    return 0


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mib() -> float:
    """`VmHWM` of this process; `ru_maxrss` would begin with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = next(line for line in lines if line.startswith("VmHWM"))
    return int(found.split()[1]) / 1024


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
    compile_kernels(engine, settings.gates)

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


def show_night(full: Spent, told: dict[str, Any], floor: dict[str, Spent]) -> None:
    """Seconds per stage beside the floor's."""
    print(f"{'stage':12}{'night s':>9}{'floor s':>9}{'floor CPU-s':>12}")
    for stage, seconds in told["seconds"].items():
        least = floor.get(stage)
        beside = f"{least.wall:9.1f}{least.cpu:12.1f}" if least else ""
        print(f"{stage:12}{seconds:9.1f}{beside}")
    parts = tuple(floor.values())
    wall, cpu = sum(part.wall for part in parts), sum(part.cpu for part in parts)
    print(f"{'all':12}{full.wall:9.1f}{wall:9.1f}{cpu:12.1f}, the night {full.cpu:.1f} CPU-s")
    print(f"night: {told['status']}, {told['concepts']}, {told['states']}")
    print(f"left out: {told['imports']:.1f} s of imports")


def _newest(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT max(id) FROM attempts").fetchone()
    assert row is not None
    return int(row[0])


def show_bars(full: dict[str, Any], floor: dict[str, Spent], second: dict[str, Any]) -> int:
    """The figures against their bars."""
    print(f"1 % night: {second['status']}, {second['states']}, seconds {second['seconds']}")
    rows = {
        "night": full["wall"] / sum(part.wall for part in floor.values()),
        "peak MiB": max(full["peak"], second["peak"]),
        "1 % night": work(second) / work(full),
        "1 % process": second["process"] / full["process"],
    }
    missed = 0
    for name, found in rows.items():
        verdict = "ok" if found <= BARS[name] else "MISSED"
        missed += verdict == "MISSED"
        print(f"{name:14}{found:10.2f}  bar {BARS[name]:g}  {verdict}")
    return missed


def work(told: dict[str, Any]) -> float:
    """Seconds of the stages themselves, without compiling and starting."""
    return sum(
        float(seconds) for stage, seconds in told["seconds"].items() if stage != "compile"
    )


if __name__ == "__main__":
    sys.exit(main())
