"""The table of the fitting engine: one run, one machine, every row.

`python -m benchmarks.fitting` (`make bench-fitting`). CPU seconds, so that neighbours on the
machine weigh less; medians of repeats, of the opponents one run each, which takes them minutes.
Real data where $BKT_BENCHMARK_DATA names its folder.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.fitting import can_be_fitted, fold_sets, real_concepts, simulated_concepts
from benchmarks.parts import fitting_from_disk
from benchmarks.parts.fitting_quality import print_quality
from benchmarks.parts.plain_em import fit_plainly
from bkt_core import AttemptSequences, BktParams, Bounds
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.engine import FitResult
from bkt_core.fitting.likelihood import evaluate
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.pybkt_engine import new_model, params_of, run_pybkt
from bkt_core.fitting.starts import draw_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Fits are equal when their log-likelihoods are, relatively.
EQUAL = 1e-6
#: pyBKT's own limit of iterations.
PYBKT_LIMIT = 100
ENGINE = EmEngine(n_threads=1)
#: Training sets of one concept together: all users, and five times four fifths of them.
SHARES, N_STARTS = 5, 5


def row(what: str, measured: str, required: str, note: str) -> None:
    """One line of the table."""
    print(f"{what:<58} {measured:>22}   at least {required:<10} {note}", flush=True)


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median over repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on one core, opponents alike: cores differ by what their neighbours do."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def fit_all(concepts: Sequence[AttemptSequences]) -> list[tuple[FitResult, ...]]:
    """Cross-validation and final fit, five starts each."""
    return [ENGINE.fit(one, fold_sets(one.n_users), FitOptions()) for one in concepts]


def pybkt_until(sequences: AttemptSequences, target: float) -> tuple[float, int, float]:
    """CPU seconds and iterations of one start of pyBKT until its likelihood equals `target`.

    Or until its own limit of iterations, so that a fit it gives up on does not flatter ours;
    what it lacks then, relatively, comes third. How many it needs is found first, untimed.
    """
    start = BktParams(*draw_starts(FitOptions(n_starts=1))[0].tolist())
    model, n_steps, lacks = new_model(start), 0, math.inf
    while n_steps < PYBKT_LIMIT and lacks > EQUAL:
        model, _ = run_pybkt(model, sequences, tolerance=-1.0, n_steps=1)
        reached = evaluate(sequences, params_of(model, start)).log_likelihood
        n_steps, lacks = n_steps + 1, (target - reached) / abs(target)
    model, began = new_model(start), time.process_time()
    run_pybkt(model, sequences, tolerance=-1.0, n_steps=n_steps)
    return time.process_time() - began, n_steps, lacks


def one_start(concepts: Sequence[AttemptSequences]) -> list[FitResult]:
    """One fit of each concept on all users, from one start, unbounded as pyBKT is."""
    options = FitOptions(n_starts=1, bounds=None)
    return [ENGINE.fit(one, np.ones((1, one.n_users), bool), options)[0] for one in concepts]


def against_pybkt_directly() -> None:
    """Row 1: by turns, as a core is now fast and now slow; the mean over turns of both."""
    concepts, _ = simulated_concepts(10, 300, seed=1)
    results = one_start(concepts)
    own, timed = [], []
    for one, result in zip(concepts, results, strict=True):  # by turns
        own.append(cpu_seconds(lambda: one_start(concepts), 200))
        timed.append(pybkt_until(one, result.log_likelihood))
    ours = statistics.mean(own)
    theirs, n_steps = sum(one[0] for one in timed), [one[1] for one in timed]
    worst = max(one[2] for one in timed)
    n_attempts = sum(one.n_attempts for one in concepts)
    row(
        f"one start, 10 x 300 users, {n_attempts:,} attempts",
        f"{theirs / ours:,.0f} x",
        "8,000 x",
        f"ours {ours * 1e3:.2f} ms, pyBKT {theirs:.1f} s in {min(n_steps)}-{max(n_steps)} "
        f"iterations, log-likelihoods at most {worst:.1g} lower (equal: {EQUAL:g})",
    )


def against_pybkt_extrapolated(
    what: str, concepts: Sequence[AttemptSequences], measured: Sequence[int], required: str
) -> None:
    """Rows 2 and 5: pyBKT from its cost per attempt of one-start fits of some concepts."""
    fit_all(concepts[:1])
    some = [concepts[i] for i in measured]
    targets = [result.log_likelihood for result in one_start(some)]
    own, spent, gave_up = [], 0.0, 0
    for one, target in zip(some, targets, strict=True):
        own.append(cpu_seconds(lambda: fit_all(concepts), 3))
        seconds, _, lacks = pybkt_until(one, target)
        spent, gave_up = spent + seconds, gave_up + (lacks > EQUAL)
    ours = statistics.median(own)
    n_attempts = sum(one.n_attempts for one in concepts)
    per_attempt = spent / sum(one.n_attempts for one in some)
    theirs = per_attempt * n_attempts * SHARES * N_STARTS
    row(
        f"{what}, {n_attempts:,} attempts",
        f"{theirs / ours:,.0f} x",
        required,
        f"ours {ours:.2f} s; pyBKT {theirs / 3600:.1f} h EXTRAPOLATED from one-start fits of "
        f"{len(some)} concepts with {sum(one.n_attempts for one in some):,} attempts, on "
        f"{gave_up} of which it reached its {PYBKT_LIMIT} iterations below our likelihood",
    )


def against_plain_em(concepts: Sequence[AttemptSequences]) -> list[tuple[FitResult, ...]]:
    """Row 3: the same fits by the kernel of `plain_em`, measured on a part."""
    kept: list[tuple[FitResult, ...]] = []
    fit_all(concepts[:1])
    ours = cpu_seconds(lambda: kept.extend(fit_all(concepts)), 3)
    kept = kept[: len(concepts)]
    part, n_attempts = 2, sum(one.n_attempts for one in concepts)
    starts = draw_starts(FitOptions())
    fit_plainly(concepts[0], fold_sets(concepts[0].n_users)[0], starts[0], Bounds(), 1.0)
    short, began = 0.0, time.process_time()
    for one, results in zip(concepts[:part], kept, strict=False):
        for seen, result in zip(fold_sets(one.n_users), results, strict=True):
            reached = max(fit_plainly(one, seen, s, Bounds(), 1e-8)[1] for s in starts)
            short = max(short, (result.log_likelihood - reached) / abs(reached))
    theirs = (time.process_time() - began) / sum(one.n_attempts for one in concepts[:part])
    row(
        f"CV + final, 5 starts, 200 x 5,000 users, {n_attempts:,}",
        f"{theirs * n_attempts / ours:,.0f} x",
        "10 x",
        f"ours {ours:.2f} s; plain EM {theirs * n_attempts:,.0f} s EXTRAPOLATED from {part} "
        f"concepts (its likelihoods up to {short:.1g} lower, relatively)",
    )
    return kept


def recovery(results: Sequence[tuple[FitResult, ...]], truths: np.ndarray) -> None:
    """Mean absolute errors on the eight million attempts."""
    found = np.array([fits[0].params.as_tuple() for fits in results])
    errors = ", ".join(f"{error:.4f}" for error in np.abs(found - truths).mean(axis=0))
    print(f"recovery L0, T, S, G: {errors}   at most .009, .004, .003, .005")


def from_disk(concepts: Sequence[AttemptSequences]) -> None:
    """Row 4, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attempts.parquet"
        fitting_from_disk.write(list(concepts), path)
        command = [sys.executable, "-m", "benchmarks.parts.fitting_from_disk", str(path)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(3)
        ]
    total = statistics.median(run["total"] for run in runs)
    read = statistics.median(run["read"] for run in runs)
    row(
        f"that from Parquet to parameters, {runs[0]['n_attempts']:,}",
        f"{total:.2f} s",
        "(record)",
        f"wall, one thread; of which read and sort {read:.2f} s; peak memory above the "
        f"interpreter's own {max(run['mib'] for run in runs):.0f} MiB (at most 1,024)",
    )


def threads(concepts: Sequence[AttemptSequences]) -> None:
    """Two threads over concepts, and over the blocks of one huge concept."""

    def fit(one: AttemptSequences) -> object:
        return ENGINE.fit(one, fold_sets(one.n_users), FitOptions())

    def over_concepts(n_threads: int) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(fit, concepts))
        return time.perf_counter() - began

    huge = simulated_concepts(1, 400_000, seed=5)[0][0]

    def over_blocks(n_threads: int) -> float:
        began = time.perf_counter()
        EmEngine(n_threads=n_threads).fit(huge, fold_sets(huge.n_users), FitOptions())
        return time.perf_counter() - began

    for what, timed in (
        ("concepts", over_concepts),
        (f"one of {huge.n_attempts:,}", over_blocks),
    ):
        turns = [(timed(1), timed(2)) for _ in range(5)]
        one, two = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
        row(f"two threads, {what}", f"{one / two:.2f} x", "1.8 x", f"{one:.2f} s, {two:.2f} s")


def main() -> None:
    """Every row, then quality on real data."""
    small, _ = simulated_concepts(50, 1000, seed=2)
    large, truths = simulated_concepts(200, 5000, seed=3)
    with one_core():
        against_pybkt_directly()
        against_pybkt_extrapolated(
            "CV + final, 5 starts, 50 x 1,000", small, (0, 1, 2), "20,000 x"
        )
        results = against_plain_em(large)
    from_disk(large)
    recovery(results, truths)
    threads(large[:100])
    if folder := os.environ.get("BKT_BENCHMARK_DATA"):
        path = Path(folder) / "assist0910_builder_train.parquet"
        real = [one for one, _ in real_concepts(path).values() if can_be_fitted(one)]
        middle = [i for i, one in enumerate(real) if 1500 <= one.n_attempts <= 2500][:4]
        with one_core():
            against_pybkt_extrapolated(
                "builder_train, CV + final, 5 starts", real, middle, "5,000 x"
            )
        print_quality(Path(folder))
    else:
        print("real data: not measured, BKT_BENCHMARK_DATA is not set")


if __name__ == "__main__":
    main()
