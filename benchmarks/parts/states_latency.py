"""How long one online attempt takes, idle and while a sweep rewrites the states it meets.

The sweep follows a promotion everywhere, with staged values, or an activation of another
version, with replays from the log.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from sqlalchemy import text

from benchmarks.data.states import CONCEPTS, promote_all, staged
from bkt_core.params import BktParams
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.connections.engines import make_engine
from datasets.store.online.recording import record
from datasets.store.params.activation import flip_version
from datasets.store.params.algorithms import algorithm
from datasets.store.params.switching import switch
from datasets.store.runs.runs import start_run
from datasets.store.states.sweep import sweep
from tests.datasets.store.writing import challenger
from tests.moments import STARTED

if TYPE_CHECKING:
    from sqlalchemy import Engine

P99_RATIO = 5.0


def bench_latency(
    engine: Engine, chunk: int, n_updates: int = 3000, *, activating: bool = False
) -> int:
    """Milliseconds of one attempt with its commit; one user after the other, at random."""
    what = "an activation" if activating else "a sweep"
    with engine.connect() as conn:
        query = text("SELECT user_id FROM bkt_user_skill_state WHERE concept_id = :c")
        users = list(conn.execute(query, {"c": CONCEPTS[0]}).scalars())
    _answer(engine, "warm", 300, users)
    idle = _answer(engine, "idle", n_updates, users)
    url = engine.url.render_as_string(hide_password=False)
    words = ["--activate" if activating else "--sweep", url, "--chunk", str(chunk)]
    sweeper = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.states", *words], stdout=subprocess.PIPE
    )
    assert sweeper.stdout is not None
    sweeper.stdout.readline()  # the first sweep begins
    busy = _answer(engine, "busy", n_updates, users)
    sweeper.kill()
    sweeper.communicate()
    for name, times in (("idle", idle), (f"during {what}", busy)):
        p50, p99, longest = np.percentile(times, [50, 99, 100]) * 1e3
        print(
            f"online update, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.0f} ms"
        )
    ratio = np.percentile(busy, 99) / np.percentile(idle, 99)
    print(f"p99 during {what} against idle: {ratio:.1f} (limit {P99_RATIO:g})")
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


def activate_forever(url: str) -> NoReturn:
    """Activate v2, then v1, over and over, in a process of its own; a sweep follows each."""
    engine = make_engine(url)
    turn = 0
    while True:
        run_id, version = f"activation-{turn}", ("v2", "v1")[turn % 2]
        with engine.begin() as conn:
            start_run(conn, run_id=run_id, kind="activate", at=STARTED)
            flip_version(conn, run_id=run_id, version=version, at=STARTED, actor="bench")
        if not turn:
            print("activating", flush=True)
        sweep(engine, at=STARTED)
        turn += 1


def fit_both(engine: Engine) -> None:
    """Parameters under v1 and under v2 at every concept."""
    promote_all(engine, "fitted-v1")
    with engine.begin() as conn:
        start_run(conn, run_id="fitted-v2", kind="candidate", at=STARTED)
        for concept in CONCEPTS:
            switch(
                conn,
                run_id="fitted-v2",
                concept_id=concept,
                algo_version_id=algorithm(conn, "v2").id,
                challenger=challenger(BktParams(0.6, 0.2, 0.1, 0.2)),
                expected_incumbent=None,
                at=STARTED,
            )
    sweep(engine, at=STARTED)


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
