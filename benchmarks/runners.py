"""Two Dask workers against one: shards per second of the fit stage, on shards of some seconds.

Plain EM from many starts makes the shards long, as on logs of a hundred million attempts; the
number of starts is chosen on this machine. Start-up of the cluster is left out: a cluster is
there before the night.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flows.deployment.home import stay_offline

stay_offline()

from prefect import flow  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

from bkt_core.fitting.options import Method  # noqa: E402
from bkt_core.params import BktParams  # noqa: E402
from bkt_settings.pipeline import load_settings  # noqa: E402
from datasets.extracts import shards as extract_shards  # noqa: E402
from datasets.extracts.extraction import extract_attempts  # noqa: E402
from datasets.store.connections.engines import make_engine, reading  # noqa: E402
from datasets.store.params.algorithms import active_algorithm  # noqa: E402
from datasets.store.params.seeds import seed  # noqa: E402
from datasets.store.schema.revision import upgrade  # noqa: E402
from flows.runs.plan import begin_run  # noqa: E402
from flows.runs.requests import FitRequest  # noqa: E402
from flows.shards.plan import plan_shards  # noqa: E402
from flows.shards.runners import run_shards  # noqa: E402
from flows.shards.work import fit_shard  # noqa: E402
from tests.flows.support.attempt_logs import fill_log  # noqa: E402
from tests.flows.support.dask_processes import PATIENCE, cluster  # noqa: E402

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from flows.shards.work import ShardJob

N_SHARDS, N_USERS, ROUNDS = 8, 2_000, 3
#: Seconds of one shard, at least, and the target over all workers (issue of the operations).
SHARD_SECONDS, WANTED = 5.0, 1.7
#: Of the seconds wanted: what a flow run costs once is no work of its shards.
MARGIN = 1.6
TRUE = BktParams(p_L0=0.3, p_T=0.15, p_S=0.1, p_G=0.2)


def prepared(home: Path) -> tuple[Settings, Extract, list[ShardJob]]:
    """An extraction with a concept per shard, and jobs that take long enough."""
    extract_shards.SHARD_ROWS = 1
    os.environ |= {"BKT_DATA_DIR": str(home), "BKT_DATABASE_URL": f"sqlite:///{home}/bkt.db"}
    settings, now = load_settings(), datetime.now(UTC)
    engine = make_engine(settings.database)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=now)
    truths = {f"concept {number}": TRUE for number in range(N_SHARDS)}
    begins = datetime(2026, 1, 5, tzinfo=UTC)
    fill_log(engine, home, truths, n_users=N_USERS, begins=begins)
    extract = extract_attempts(engine, home, at=now)
    with reading(engine) as conn:
        version = active_algorithm(conn)
    plan = begin_run(
        engine, settings, FitRequest(full=True), extract, version, kind="fit", at=now
    )
    extract = extract.file_under(plan.run_dir)
    jobs = [with_starts(job, 10) for job in plan_shards(settings, plan, extract)]
    engine.dispose()
    fit_shard(jobs[0])  # compiles
    starts = enough_starts(jobs)
    return settings, extract, [with_starts(job, starts) for job in jobs]


def enough_starts(jobs: list[ShardJob]) -> int:
    """Starts that make the shortest shard long enough, in time of this thread's own work."""
    starts, least = 10, 0.0
    while least < MARGIN * SHARD_SECONDS:
        if least:
            starts = math.ceil(starts * max(1.2, 1.05 * MARGIN * SHARD_SECONDS / least))
        taken = []
        for job in jobs:
            before = time.thread_time()  # whatever else the machine does meanwhile
            fit_shard(with_starts(job, starts))
            taken.append(time.thread_time() - before)
        least = min(taken)
    return starts


def with_starts(job: ShardJob, n_starts: int) -> ShardJob:
    """The same shard by plain EM from so many starts."""
    options = replace(job.plan.options, method=Method.EM, n_starts=n_starts)
    return replace(job, plan=replace(job.plan, options=options), full=True)


def seconds_on(
    settings: Settings, extract: Extract, jobs: list[ShardJob], n_workers: int, home: Path
) -> tuple[float, float]:
    """Seconds of the fit stage, and of its shortest shard, once every worker is warm."""
    with cluster(n_workers, home, nannies=False) as address:
        wait_for_workers(address, n_workers)
        run = settings.run.model_dump() | {"runner": "dask", "dask_address": address}
        on_dask = load_settings(run=run)
        quick = [with_starts(job, 1) for job in jobs]

        @flow(name="shards")
        def shards(chosen: str) -> list[float]:
            given = quick if chosen == "quick" else jobs
            reports = run_shards(on_dask, given, extract)
            return [sum(report["seconds"].values()) for report in reports]

        shards("quick")
        before = time.perf_counter()
        own = shards("long")
        return time.perf_counter() - before, min(own)


def wait_for_workers(address: str, n_workers: int) -> None:
    """Until all of them are there."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(n_workers, timeout=PATIENCE)


def main() -> None:
    """Print the seconds of each round by turns, the medians and the ratio."""
    with TemporaryDirectory() as scratch, prefect_test_harness(server_startup_timeout=300):
        home = Path(scratch)
        settings, extract, jobs = prepared(home)
        taken: dict[int, list[float]] = {1: [], 2: []}
        shortest: dict[int, list[float]] = {1: [], 2: []}
        for number in range(ROUNDS):
            for n_workers in (1, 2) if number % 2 == 0 else (2, 1):
                seconds, least = seconds_on(settings, extract, jobs, n_workers, home)
                taken[n_workers].append(seconds)
                shortest[n_workers].append(least)
                print(
                    f"round {number + 1}, {n_workers} worker(s): {seconds:6.1f} s, "
                    f"shortest shard {least:.1f} s, load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
        one, two = median(taken[1]), median(taken[2])
        starts = jobs[0].plan.options.n_starts
        print(f"\n{N_SHARDS} shards, plain EM from {starts} starts, {os.cpu_count()} cores")
        print(f"one worker   median {one:6.1f} s, shortest shard {min(shortest[1]):.1f} s")
        print(f"two workers  median {two:6.1f} s")
        print(f"throughput   {one / two:.2f} times (wanted: {WANTED})")


if __name__ == "__main__":
    main()
