"""`make bench-states`: what promotion and recomputation cost (issue 5).

States written to PostgreSQL against COPY into a table with the same key, in the same run;
replay in memory; latency of the online path, idle and during a sweep, at the very states that
are swept; memory of a night at two numbers of states. Returns how many limits were missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sqlalchemy import text

from benchmarks.data.states import (
    CONCEPTS,
    fill_log,
    fill_states,
    initialised,
    promote_all,
    staged,
)
from benchmarks.parts.states_latency import (
    activate_forever,
    bench_latency,
    fit_both,
    sweep_forever,
)
from benchmarks.parts.states_memory import bench_memory, night_in_this_process
from bkt_core.params import BktParams
from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from bkt_settings.pipeline import load_settings
from datasets.store.connections.copy_rows import copy_into
from datasets.store.states.replays import warm_up
from datasets.store.states.sweep import sweep
from tests.moments import STARTED
from tests.postgres_server import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

COPIED = {
    "concept_id": "id", "user_id": "id", "p_mastery": "double", "n_attempts": "int32",
    "last_attempt_at": "moment", "last_attempt_id": "int", "algo_version_id": "int",
    "param_id": "int", "updated_at": "moment",
}  # fmt: skip
TICKS = os.sysconf("SC_CLK_TCK")
COPY_RATIO, REPLAY_NS = 0.30, 15.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work took."""

    wall: float
    cpu: float  # client and server together


def main() -> int:
    """Print the table; returns how many limits were missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.states", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, help="of a sweep; that of the settings else")
    parser.add_argument("--sweep", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--activate", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--only-activation", action="store_true")
    parser.add_argument("--night", nargs=2, metavar=("URL", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    chunk = options.chunk or load_settings().recompute.states_per_chunk
    warm_up()
    if options.sweep:
        sweep_forever(options.sweep, chunk)
    if options.activate:
        activate_forever(options.activate)
    if options.night:
        return night_in_this_process(*options.night, chunk)
    if options.only_activation:
        with postgres_server(shared_buffers="1GB", max_wal_size="8GB") as server:
            return bench_activation(server, options.states, chunk)
    missed = bench_replay()
    with postgres_server(shared_buffers="1GB", max_wal_size="8GB") as server:
        print(
            f"PostgreSQL {server.version()}, {os.cpu_count()} cores, {chunk:,} states a chunk"
        )
        engine = initialised(server.new_database())
        fill_states(engine, options.states)
        missed += bench_writing(engine, server, chunk)
        missed += bench_latency(engine, chunk)
        engine.dispose()
        missed += bench_activation(server, options.states, chunk)
        missed += bench_memory(server, options.states, chunk)
    print(f"{missed} limits missed")
    return missed


def bench_activation(server: PostgresServer, n_states: int, chunk: int) -> int:
    """The online path while versions change, at a tenth of the states, with five attempts."""
    engine = initialised(server.new_database())
    n_users = max(n_states // 10 // len(CONCEPTS), 50)
    fill_log(engine, n_users=n_users, n_concepts=len(CONCEPTS), per_key=5)
    fit_both(engine)
    missed = bench_latency(engine, chunk, activating=True)
    engine.dispose()
    return missed


def bench_replay(n_attempts: int = 8_000_000) -> int:
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
    ns = min(times) / n_attempts * 1e9
    print(f"replay: {ns:.1f} ns per attempt (limit {REPLAY_NS:g})")
    return int(ns > REPLAY_NS)


def bench_writing(engine: Engine, server: PostgresServer, chunk: int) -> int:
    """A sweep of staged states against COPY of the same rows."""
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE copied (LIKE bkt_user_skill_state INCLUDING DEFAULTS)"))
        conn.execute(text("ALTER TABLE copied ADD PRIMARY KEY (concept_id, user_id)"))
    frames = {concept: staged(engine, concept) for concept in CONCEPTS}
    n_states = sum(frame.height for frame in frames.values())
    copy = spent(server, lambda: _copy(engine, frames))
    promote_all(engine, "run-1")
    swept = spent(
        server,
        lambda: sweep(
            engine, at=STARTED, run_id="run-1", staged=frames.get, staged_chunk=chunk
        ),
    )
    with engine.begin() as conn:
        n_updated, n_hot = conn.execute(
            text(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
                "WHERE relname = 'bkt_user_skill_state'"
            )
        ).one()
    ratio = copy.cpu / swept.cpu
    print(f"COPY, {n_states:,} rows: {copy.cpu:.1f} CPU-s, {copy.wall:.1f} s")
    print(f"sweep of the same: {swept.cpu:.1f} CPU-s, {swept.wall:.1f} s")
    print(f"rows per CPU-second against COPY: {ratio:.2f} (limit {COPY_RATIO:.2f})")
    print(f"HOT updates: {n_hot / max(n_updated, 1):.0%} of {n_updated:,}")
    return int(ratio < COPY_RATIO)


def _copy(engine: Engine, frames: dict[str, pl.DataFrame]) -> None:
    """COPY the rows that the sweep will write into a table with the same key."""
    for concept, frame in frames.items():
        rows = frame.with_columns(
            concept_id=pl.lit(concept),
            algo_version_id=pl.lit(1),
            param_id=pl.lit(1),
            updated_at=pl.lit(STARTED),
        )
        with engine.begin() as conn:
            copy_into(conn, "copied", COPIED, rows)


def spent(server: PostgresServer, work: Callable[[], object]) -> Spent:
    """Wall time and CPU of this process and of all of the server's."""
    cpu, wall = cpu_seconds(server), time.perf_counter()
    work()
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
    sys.exit(main())
