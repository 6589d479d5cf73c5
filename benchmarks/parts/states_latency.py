"""How long one online attempt takes, idle and while a sweep rewrites the states it meets."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from sqlalchemy import text

from benchmarks.data.states import CONCEPTS, promote_all, staged
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import make_engine
from datasets.store.online.recording import record
from datasets.store.states.sweep import sweep
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

P99_RATIO = 5.0


def bench_latency(engine: Engine, chunk: int, n_updates: int = 3000) -> int:
    """Milliseconds of one attempt with its commit; one user after the other, at random."""
    with engine.connect() as conn:
        query = text("SELECT user_id FROM bkt_user_skill_state WHERE concept_id = :c")
        users = list(conn.execute(query, {"c": CONCEPTS[0]}).scalars())
    _answer(engine, "warm", 300, users)
    idle = _answer(engine, "idle", n_updates, users)
    url = engine.url.render_as_string(hide_password=False)
    words = ["--sweep", url, "--chunk", str(chunk)]
    sweeper = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.states", *words], stdout=subprocess.PIPE
    )
    assert sweeper.stdout is not None
    sweeper.stdout.readline()  # the first sweep begins
    busy = _answer(engine, "busy", n_updates, users)
    sweeper.kill()
    sweeper.communicate()
    for name, times in (("idle", idle), ("during a sweep", busy)):
        p50, p99, longest = np.percentile(times, [50, 99, 100]) * 1e3
        print(
            f"online update, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.0f} ms"
        )
    ratio = np.percentile(busy, 99) / np.percentile(idle, 99)
    print(f"p99 during a sweep against idle: {ratio:.1f} (limit {P99_RATIO:g})")
    return int(ratio > P99_RATIO)


def sweep_forever(url: str, chunk: int) -> NoReturn:
    """Promote, stage and sweep all concepts, over and over, in a process of its own."""
    engine = make_engine(url)
    turn = 0
    while True:
        frames = {concept: staged(engine, concept) for concept in CONCEPTS}
        run_id = f"latency-{turn}"
        promote_all(engine, run_id)
        if not turn:
            print("sweeping", flush=True)
        sweep(engine, at=STARTED, run_id=run_id, staged=frames.get, staged_chunk=chunk)
        turn += 1


def _answer(engine: Engine, name: str, n: int, users: list[str]) -> list[float]:
    """Seconds of each of n attempts."""
    rng = np.random.default_rng(2)
    times = []
    for i in range(n):
        attempt = NewAttempt(
            idempotency_key=f"{name}-{i}",
            user_id=users[int(rng.integers(len(users)))],
            correct=int(rng.integers(2)),
            attempted_at=datetime.now(UTC),
            concept_ids=(CONCEPTS[int(rng.integers(len(CONCEPTS)))],),
        )
        began = time.perf_counter()
        with engine.begin() as conn:
            record(conn, attempt, at=datetime.now(UTC))
        times.append(time.perf_counter() - began)
    return times
