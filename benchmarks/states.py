"""`make bench-states`: what promotion and recomputation cost (issue 5).

States written to PostgreSQL against COPY into a table with the same key, in the same run;
replay in memory; latency of the online path, idle and during a sweep; memory against the number
of states.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import polars as pl
from sqlalchemy import text

from bkt_core.params import BktParams
from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.copy_rows import copy_into, fill_temporary
from datasets.store.mastery_states import STAGED_CHUNK, sweep
from datasets.store.new_attempt import NewAttempt
from datasets.store.online import record
from datasets.store.replays import warm_up
from datasets.store.schema import upgrade
from datasets.store.seeds import seed
from datasets.store.session import make_engine
from tests.datasets.store.writing import promote
from tests.postgres_server import PostgresServer, postgres_server

if TYPE_CHECKING:
    from sqlalchemy import Engine

AT = datetime(2026, 1, 1, tzinfo=UTC)
N_CONCEPTS = 20
COPIED = {
    "concept_id": "id", "user_id": "id", "p_mastery": "double", "n_attempts": "int32",
    "last_attempt_at": "moment", "last_attempt_id": "int", "algo_version_id": "int",
    "param_id": "int", "updated_at": "moment",
}  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took."""

    wall: float
    cpu: float  # client and server together


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.states", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=STAGED_CHUNK)
    parser.add_argument("--sweep", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sweep:
        sweep_forever(options.sweep)
    warm_up()
    bench_replay()
    with postgres_server(shared_buffers="1GB", max_wal_size="8GB") as server:
        print(f"PostgreSQL {server.version()}, {os.cpu_count()} cores")
        engine = make_engine(server.new_database())
        upgrade(engine)
        with engine.begin() as conn:
            seed(conn, at=AT)
        bench_states(engine, server, options.states, options.chunk)
        bench_latency(engine)
        engine.dispose()


def bench_replay(n_attempts: int = 8_000_000) -> None:
    """Nanoseconds per attempt of the replay that staging runs."""
    rng = np.random.default_rng(1)
    correct = rng.integers(0, 2, n_attempts).astype(np.int8)
    offsets = np.arange(0, n_attempts + 1, 20, dtype=np.int64)
    sequences = AttemptSequences(correct, offsets)
    params = BktParams(p_L0=0.2, p_T=0.1, p_S=0.1, p_G=0.2)
    times = []
    for _ in range(5):
        began = time.process_time()
        replay(sequences, params)
        times.append(time.process_time() - began)
    print(f"replay: {min(times) / n_attempts * 1e9:.1f} ns per attempt (limit 15)")


def bench_states(engine: Engine, server: PostgresServer, n_states: int, chunk: int) -> None:
    """A sweep of staged states against COPY of the same rows."""
    frames = make_states(engine, n_states)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE copied (LIKE bkt_user_skill_state INCLUDING DEFAULTS)"))
        conn.execute(text("ALTER TABLE copied ADD PRIMARY KEY (concept_id, user_id)"))
    copy = spent(server, lambda: copy_frames(engine, frames))
    for concept in frames:
        promote(engine, "run-1", concept)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    swept = spent(
        server,
        lambda: sweep(engine, at=AT, run_id="run-1", staged=frames.get, staged_chunk=chunk),
    )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with engine.begin() as conn:
        n_updated, n_hot = conn.execute(
            text(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
                "WHERE relname = 'bkt_user_skill_state'"
            )
        ).one()
    print(f"COPY, {n_states:,} rows: {copy.cpu:.1f} CPU-s, {copy.wall:.1f} s")
    print(f"sweep of the same, chunks of {chunk:,}: {swept.cpu:.1f} CPU-s, {swept.wall:.1f} s")
    print(f"rows per CPU-second against COPY: {copy.cpu / swept.cpu:.2f} (limit 0.30)")
    print(f"HOT updates: {n_hot / max(n_updated, 1):.0%} of {n_updated:,}")
    print(f"client memory gained during the sweep: {(after - before) / 1024:.0f} MiB")


def make_states(engine: Engine, n_states: int) -> dict[str, pl.DataFrame]:
    """Fill the state table and stage other values for every state."""
    rng = np.random.default_rng(1)
    n_users = n_states // N_CONCEPTS
    users = sorted(str(UUID(bytes=rng.bytes(16))) for _ in range(n_users))
    frames = {}
    for n in range(N_CONCEPTS):
        concept = f"concept-{n:04d}"
        frame = pl.DataFrame(
            {
                "user_id": users,
                "base_version": np.zeros(n_users, dtype=np.int64),
                "p_mastery": rng.random(n_users),
                "n_attempts": np.full(n_users, 9),
                "last_attempt_at": [AT] * n_users,
                "last_attempt_id": np.arange(n_users) + n * n_users + 1,
            }
        )
        frames[concept] = frame
        with engine.begin() as conn:
            fill_temporary(
                conn,
                "loaded",
                {"user_id": "id", "last_attempt_id": "int"},
                frame,
            )
            conn.execute(
                text(
                    "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, "
                    "n_attempts, last_attempt_at, last_attempt_id, algo_version_id, "
                    "updated_at) "
                    "SELECT :concept, user_id, 0.5, 9, :at, last_attempt_id, 1, :at "
                    "FROM loaded"
                ),
                {"concept": concept, "at": AT},
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE bkt_user_skill_state"))
        conn.execute(text("CHECKPOINT"))
    return frames


def copy_frames(engine: Engine, frames: dict[str, pl.DataFrame]) -> None:
    """COPY the rows that the sweep will write into a table with the same key."""
    for concept, frame in frames.items():
        rows = frame.with_columns(
            concept_id=pl.lit(concept),
            algo_version_id=pl.lit(1),
            param_id=pl.lit(1),
            updated_at=pl.lit(AT),
        )
        with engine.begin() as conn:
            copy_into(conn, "copied", COPIED, rows)


def bench_latency(engine: Engine, n_updates: int = 1500) -> None:
    """Milliseconds of one online attempt with its commit, idle and while a sweep runs."""
    concepts = [f"concept-{n:04d}" for n in range(N_CONCEPTS)]
    write_attempts(engine, "warm", 200, concepts)
    idle = write_attempts(engine, "idle", n_updates, concepts)
    url = engine.url.render_as_string(hide_password=False)
    sweeper = subprocess.Popen([sys.executable, "-m", "benchmarks.states", "--sweep", url])
    time.sleep(10)  # until it sweeps
    busy = write_attempts(engine, "busy", n_updates, concepts)
    sweeper.kill()
    sweeper.wait()
    for name, times in (("idle", idle), ("during a sweep", busy)):
        print(f"online update, {name}: {percentiles(times)}")
    ratio = np.percentile(busy, 99) / np.percentile(idle, 99)
    print(f"p99 during a sweep against idle: {ratio:.1f} (limit 5)")


def sweep_forever(url: str) -> None:
    """Promote and sweep all concepts, over and over, in a process of its own."""
    warm_up()
    engine = make_engine(url)
    for turn in range(10**6):
        for n in range(N_CONCEPTS):
            promote(
                engine, f"latency-{turn}", f"concept-{n:04d}", BktParams(0.2, 0.1, 0.1, 0.1)
            )
        sweep(engine, at=AT)


def write_attempts(engine: Engine, name: str, n: int, concepts: list[str]) -> list[float]:
    """Seconds of each of n attempts."""
    rng = np.random.default_rng(2)
    times = []
    for i in range(n):
        attempt = NewAttempt(
            idempotency_key=f"{name}-{i}",
            user_id=f"online-{rng.integers(200)}",
            correct=int(rng.integers(2)),
            attempted_at=datetime.now(UTC),
            concept_ids=(concepts[int(rng.integers(len(concepts)))],),
        )
        began = time.perf_counter()
        with engine.begin() as conn:
            record(conn, attempt, at=datetime.now(UTC))
        times.append(time.perf_counter() - began)
    return times


def percentiles(times: list[float]) -> str:
    """p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def spent(server: PostgresServer, work: object) -> Spent:
    """Wall time and CPU of this process and of all of the server's."""
    cpu, wall = cpu_seconds(server), time.perf_counter()
    work()  # type: ignore[operator] # a function without arguments
    return Spent(time.perf_counter() - wall, cpu_seconds(server) - cpu)


def cpu_seconds(server: PostgresServer) -> float:
    """CPU of this process and of the server's processes so far."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for process in (pid, *map(int, children)):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))  # with children that ended
    return time.process_time() + ticks / TICKS


if __name__ == "__main__":
    main()
