"""The same fits in threads, in processes and on Dask; a dead worker costs its shard only."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest
from prefect import flow
from prefect.context import serialize_context
from pydantic import SecretStr

from bkt_settings.pipeline import load_settings
from flows.nightly import nightly
from flows.runs.requests import RetrainRequest
from flows.shards import runners as shard_runs
from flows.shards.plan import plan_shards
from flows.shards.runners import MAX_TRIES, run_shards, without_parameters
from flows.shards.work import fit_shard
from flows.shards.works import Origin, read_works
from tests.flows.support.dask_processes import PATIENCE, cluster
from tests.flows.support.shard_worlds import World, on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from flows.shards.work import ShardJob


def run_all(settings: Settings, jobs: list[ShardJob], extract: Extract) -> list[dict[str, Any]]:
    """The shards alone, in a flow run of their own."""

    @flow(name="shards")
    def shards() -> list[dict[str, Any]]:
        return list(run_shards(settings, jobs, extract))

    return shards()


def wait_for(there: Callable[[], bool]) -> None:
    """Until it is so, or the test fails."""
    until = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def written(jobs: list[ShardJob]) -> dict[str, bytes]:
    """The bytes of every shard's result."""
    return {job.out.name: job.out.read_bytes() for job in jobs}


def apart(world: World, jobs: list[ShardJob], name: str) -> list[ShardJob]:
    """The same jobs with files of their own."""
    root = world.settings.data_dir / name
    return [
        replace(job, out=root / "shards" / job.out.name, fits_dir=root / "fits") for job in jobs
    ]


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_shard_that_fails_is_begun_anew_and_only_then_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Twice is forgiven; three times costs its concepts, and the run ends with 4."""
    jobs, tries = world.jobs(), []

    @shard_runs.task(name="fit-shard")
    def breaks(job: ShardJob) -> dict[str, Any]:
        tries.append(job.shard)
        if job.shard == jobs[0].shard and len(tries) < bound:
            raise OSError("the disk is gone")
        return fit_shard(job)

    monkeypatch.setattr(shard_runs, "fit_shard_task", breaks)
    bound = len(jobs) + 2  # the first try of all, then one more that fails
    reports = run_all(world.settings, jobs, world.extract)
    assert sorted(report["shard"] for report in reports) == sorted(job.shard for job in jobs)
    assert tries.count(jobs[0].shard) == MAX_TRIES
    assert all(Origin.FAILED not in origins(job) for job in jobs)
    bound, tries[:] = 10_000, []
    run_all(world.settings, jobs, world.extract)
    assert origins(jobs[0]) == {Origin.FAILED}
    (work,) = read_works(jobs[0].out)
    assert "3 times, lastly: OSError: the disk is gone" in str(work.error)
    monkeypatch.setenv("BKT_RUN__MAX_FAILED_SHARE", "1")
    summary = nightly(RetrainRequest(full=True))
    assert (summary.exit_code, summary.concepts.failed, summary.concepts.fitted) == (4, 1, 6)


def origins(job: ShardJob) -> set[Origin]:
    return {work.origin for work in read_works(job.out)}


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_no_secret_goes_to_a_worker():
    """What Prefect would send along with a task holds the flow's parameters; ours does not."""

    @flow
    def night(secret: SecretStr) -> tuple[bytes, bytes]:
        assert secret
        usual = cloudpickle.dumps(serialize_context())
        with without_parameters():
            return usual, cloudpickle.dumps(serialize_context())

    usual, ours = night(SecretStr("planted-7b1f"))
    assert b"planted-7b1f" in usual
    assert b"planted-7b1f" not in ours


@pytest.mark.slow
@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_the_same_bits_whoever_works_on_them(world: World):
    """Threads, a pool of processes and a Dask cluster write the same files, byte for byte."""
    jobs = world.jobs()
    by_runner = {name: apart(world, jobs, name) for name in ("threads", "processes", "dask")}
    with cluster(1, world.settings.data_dir) as address:
        for runner, own in by_runner.items():
            settings = on(world.settings, runner, address if runner == "dask" else "", n=1)
            reports = run_all(settings, own, world.extract)
            assert len(reports) == len(jobs)
    files = [written(own) for own in by_runner.values()]
    assert files[0] == files[1] == files[2]
    assert all(len(works) > 500 for works in files[0].values())


@pytest.mark.slow
@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_a_worker_that_is_killed_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, runner: str
):
    """`kill -9` once the first fit is on disk: every shard is whole all the same."""
    monkeypatch.setenv("BKT_FIT__STARTS", "60")
    jobs = plan_shards(load_settings(), world.plan, world.extract)
    killed: list[int] = []

    def kill_one(fits: Path, victims: Callable[[], list[int]]) -> None:
        wait_for(lambda: any(fits.rglob("*.json")))
        killed.append(victims()[0])
        os.kill(killed[0], signal.SIGKILL)

    def run_on(address: str, victims: Callable[[], list[int]]) -> list[ShardJob]:
        own = apart(world, jobs, runner)
        killer = threading.Thread(target=kill_one, args=(own[0].fits_dir, victims))
        killer.start()
        run_all(on(world.settings, runner, address), own, world.extract)
        killer.join()
        return own

    if runner == "dask":
        with cluster(2, world.settings.data_dir) as address:
            own = run_on(address, lambda: workers_of(address))
    else:
        own = run_on("", pool_of_this_process)
    assert len(killed) == 1
    assert all(
        origins(job) == {Origin.FITTED} or origins(job) == {Origin.REUSED} for job in own
    )
    assert len(own) == len(jobs)


def workers_of(address: str) -> list[int]:
    """The processes of a cluster's workers that hold a task now."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        busy = [name for name, keys in client.processing().items() if keys]
        pids = client.run(os.getpid)
    return [pids[name] for name in busy]


def pool_of_this_process() -> list[int]:
    """The spawned workers of a process pool."""
    return [
        child.pid
        for child in psutil.Process().children()
        if any("spawn_main" in word for word in child.cmdline())
    ]
