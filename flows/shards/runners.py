"""Run shards in threads, in processes or on a Dask cluster, with one function for all three."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.futures import as_completed
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from bkt_settings.pipeline import Runner
from flows.runs.events import shard_lost
from flows.shards.work import ShardJob, fit_shard, give_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract

#: How many times a shard is tried; a shard that raised or lost its worker gets fresh workers.
MAX_TRIES = 3


fit_shard_task = task(
    name="fit-shard", task_run_name="shard {job.shard}", cache_policy=NO_CACHE
)(fit_shard)


def run_shards(
    settings: Settings, jobs: Sequence[ShardJob], extract: Extract
) -> Iterator[dict[str, Any]]:
    """Yield the report of each shard as it ends, in the order in which they end.

    A shard whose worker died or that raised is retried. After `MAX_TRIES` tries its concepts
    are recorded as failed and the run continues.
    """
    waiting = list(jobs)
    for tries in range(1, MAX_TRIES + 1):
        failed: list[tuple[ShardJob, Exception]] = []
        yield from _one_try(settings, waiting, failed)
        for job, error in failed:
            shard_lost(job.shard, tries, error)
        waiting = [job for job, _ in failed]
        if not waiting:
            return
    for job, error in failed:
        reason = f"its shard failed {MAX_TRIES} times, lastly: {type(error).__name__}: {error}"
        yield give_up(job, concepts_of(job, extract), reason)


def _one_try(
    settings: Settings, jobs: Sequence[ShardJob], failed: list[tuple[ShardJob, Exception]]
) -> Iterator[dict[str, Any]]:
    """Run each job once; jobs that raised or lost their worker go into `failed`."""
    with runner_of(settings, len(jobs)) as runner:
        with without_parameters():
            futures = {runner.submit(fit_shard_task, {"job": job}): job for job in jobs}
        for done in as_completed(list(futures)):
            try:
                report = done.result()
            except Exception as error:  # noqa: BLE001 - any error: the shard is retried
                failed.append((futures[done], error))
            else:
                yield report


@contextmanager
def runner_of(settings: Settings, n_jobs: int) -> Iterator[TaskRunner[PrefectFuture[Any]]]:
    """Yield the started task runner that the settings choose.

    Threads and processes are limited to `run.n_threads` and to the number of jobs; Dask ignores
    that limit, because the cluster decides how many workers it has.
    """
    n_workers = max(1, min(settings.run.n_threads, n_jobs))
    runner: Any
    match settings.run.runner:
        case Runner.THREADS:  # the kernels release the GIL
            runner = ThreadPoolTaskRunner(max_workers=n_workers)
        case Runner.PROCESSES:
            runner = ProcessPoolTaskRunner(max_workers=n_workers)
        case Runner.DASK:
            from prefect_dask.task_runners import DaskTaskRunner

            runner = DaskTaskRunner(address=settings.run.dask_address)
    with cast("TaskRunner[PrefectFuture[Any]]", runner) as started:
        yield started


@contextmanager
def without_parameters() -> Iterator[None]:
    """Submit tasks in this block without the parameters of their flow: they hold secrets.

    Prefect sends the flow's context, including its parameters in clear text, to the workers.
    """
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    with context.model_copy(update={"parameters": {}}):
        yield


def concepts_of(job: ShardJob, extract: Extract) -> list[str]:
    """Return the concepts of a shard that the run covers and that its window touches."""
    columns = ("concept_id", "shard", "first_attempt_at", "last_attempt_at")
    since, until = job.window.since, job.window.until
    return [
        concept
        for concept, shard, first, last in zip(
            *(extract.concepts[name].to_pylist() for name in columns), strict=True
        )
        if shard == job.shard
        and (not job.concepts or concept in job.concepts)
        and (since is None or last >= since)
        and (until is None or first < until)
    ]
