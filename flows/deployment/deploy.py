"""Create everything that a new Prefect server needs; a repeated call updates it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from bkt_core.errors import BktError
from bkt_settings.home import HOME
from flows.deployment.automations import (
    CRASHED_RUNS,
    INNER_FLOWS,
    crashed_runs,
    make_automation,
    remove_automation,
    silent_runs,
)
from flows.deployment.deployments import TAG, Wanted, differences, read_wanted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from bkt_settings.pipeline import Settings

ROOT = HOME
POOL = "bkt"
#: Queue in which runs that take the run lock wait for each other instead of failing.
EXCLUSIVE = "exclusive"
#: Timeout in seconds of `prefect deploy`.
DEPLOY_SECONDS = 600
#: Seconds to wait for a server that was just started.
START_SECONDS = 60


@dataclass(slots=True)
class Report:
    """What was done about each object; "unchanged" if nothing was."""

    done: dict[str, str] = field(default_factory=dict)
    #: Deployments of ours on the server that are not in the file.
    left: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """The number of objects that were created or changed."""
        return sum(what != "unchanged" for what in self.done.values())


def set_up(settings: Settings) -> Report:
    """Create or update the pool, its queues, the deployments and the automations."""
    os.environ.setdefault("BKT_HOME", str(ROOT))
    report = Report()
    try:
        with get_client(sync_client=True) as client:
            _wait_for(client)
            _make_pool(client, report)
            _make_queue(client, report)
            wanted = read_wanted(ROOT)
            _make_deployments(client, wanted, report)
            _make_automations(
                client, settings, sorted({one.flow_name for one in wanted}), report
            )
    except (HTTPError, PrefectHTTPStatusError) as error:
        raise BktError(
            f"The Prefect server refused a request ({type(error).__name__}: {error}); "
            "check PREFECT_API_URL and that the server runs."
        ) from error
    return report


def _wait_for(client: SyncPrefectClient) -> None:
    """Wait for the server; one that was just started answers after about 15 seconds."""
    until = monotonic() + START_SECONDS
    while client.api_healthcheck() is not None and monotonic() < until:
        sleep(1)


def _make_pool(client: SyncPrefectClient, report: Report) -> None:
    name = f"work pool {POOL}"
    try:
        pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template)
        )
        report.done[name] = "created"
        return
    if pool.type != ProcessWorker.type:
        raise BktError(
            f"The work pool {POOL!r} must be of type {ProcessWorker.type}, "
            f"the server has one of type {pool.type}; remove or rename it."
        )
    report.done[name] = "unchanged"


def _make_queue(client: SyncPrefectClient, report: Report) -> None:
    name = f"work queue {POOL}/{EXCLUSIVE}"
    found = {queue.name: queue for queue in client.read_work_queues(work_pool_name=POOL)}
    if EXCLUSIVE not in found:
        client.create_work_queue(EXCLUSIVE, work_pool_name=POOL, concurrency_limit=1)
        report.done[name] = "created"
    elif found[EXCLUSIVE].concurrency_limit != 1:
        client.update_work_queue(found[EXCLUSIVE].id, concurrency_limit=1)
        report.done[name] = "changed: concurrency limit"
    else:
        report.done[name] = "unchanged"


def _make_deployments(
    client: SyncPrefectClient, wanted: tuple[Wanted, ...], report: Report
) -> None:
    """Let Prefect's own command create the deployments that are missing or differ."""
    changes = {one.full_name: _change(client, one) for one in wanted}
    due = [one for one in wanted if changes[one.full_name] != "unchanged"]
    if due:
        before = [_operators_schedules(client, one) for one in due]
        _prefect_deploy([one.name for one in due])
        for one, schedules in zip(due, before, strict=True):
            schedules.restore(client, one)
            left = differences(one, client.read_deployment_by_name(one.full_name))
            if left:
                raise BktError(
                    f"{one.full_name} was deployed, but on the server it still differs in "
                    f"{', '.join(left)} from prefect.yaml."
                )
    report.done |= {f"deployment {name}": what for name, what in changes.items()}
    ours = client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    )
    names = (f"{client.read_flow(one.flow_id).name}/{one.name}" for one in ours)
    report.left = sorted(set(names) - changes.keys())


@dataclass(frozen=True, slots=True)
class _OperatorsSchedules:
    """What a deploy would remove: schedules made by hand, and paused schedules of ours."""

    own: tuple[DeploymentSchedule, ...]
    paused: frozenset[str]

    def restore(self, client: SyncPrefectClient, wanted: Wanted) -> None:
        """Create the schedules again, and pause again what was paused."""
        deployment = client.read_deployment_by_name(wanted.full_name)
        if self.own:
            client.create_deployment_schedules(
                deployment.id,
                [
                    DeploymentScheduleCreate(
                        schedule=one.schedule, active=one.active, parameters=one.parameters
                    )
                    for one in self.own
                ],
            )
        for one in deployment.schedules:
            if one.slug in self.paused:
                client.update_deployment_schedule(deployment.id, one.id, active=False)


def _operators_schedules(client: SyncPrefectClient, wanted: Wanted) -> _OperatorsSchedules:
    try:
        found = client.read_deployment_by_name(wanted.full_name).schedules
    except ObjectNotFound:
        found = []
    return _OperatorsSchedules(
        own=tuple(one for one in found if not one.slug),
        paused=frozenset(one.slug for one in found if one.slug and not one.active),
    )


def _change(client: SyncPrefectClient, wanted: Wanted) -> str:
    try:
        found = client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        return "created"
    others = differences(wanted, found)
    return f"changed: {', '.join(others)}" if others else "unchanged"


def _prefect_deploy(names: list[str]) -> None:
    """Run `prefect deploy` for these deployments."""
    chosen = [word for name in names for word in ("--name", name)]
    done = subprocess.run(  # noqa: S603 - Prefect itself, with names from prefect.yaml
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEPLOY_SECONDS,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise BktError(
            f"`prefect deploy` ended with {done.returncode}: {' '.join(said[-3:])} "
            "Run `prefect --no-prompt deploy --all` to see its complete output."
        )


def _make_automations(
    client: SyncPrefectClient, settings: Settings, flows: list[str], report: Report
) -> None:
    silent = silent_runs([*flows, *INNER_FLOWS])
    report.done[f"automation {silent.name!r}"] = make_automation(client, silent)
    block, name = settings.prefect.notification_block, f"automation {CRASHED_RUNS!r}"
    if block:
        report.done[name] = make_automation(client, crashed_runs(flows, block))
    elif remove_automation(client, CRASHED_RUNS):
        report.done[name] = "removed: no notification block is configured"
