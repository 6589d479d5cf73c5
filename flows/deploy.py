"""Everything a fresh Prefect server needs, made once and mended when repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from httpx import HTTPError
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from bkt_core.errors import BktError
from flows.deployments import TAG, Wanted, differences, read_wanted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from flows.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
POOL = "bkt"
#: Runs that write under the run lock wait for each other here instead of failing.
EXCLUSIVE = "exclusive"
#: Dead runs, which people hear of, and what they leave behind, of which they need not.
DEAD_RUNS, DEAD_PARTS = "bkt: dead runs", "bkt: parts of dead runs"
#: Without a heartbeat for so long a run is dead; five heartbeats of prefect.toml.
SILENCE = timedelta(minutes=5)
#: Seconds for `prefect deploy` to register everything.
DEPLOY_SECONDS = 600
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
#: Flows inside the deployed ones; a dead run leaves theirs behind as well.
INNER_FLOWS = ("extract-attempts", "fit-concepts", "promote-params", "recompute-states")


@dataclass(slots=True)
class Report:
    """What was done about each thing; `unchanged` where nothing was."""

    done: dict[str, str] = field(default_factory=dict)
    #: Deployments of ours on the server that the file does not have.
    left: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How many things were made or changed."""
        return sum(what != "unchanged" for what in self.done.values())


def set_up(settings: Settings) -> Report:
    """Make the pool, its queues, the deployments and the automation, or mend what differs."""
    os.environ.setdefault("BKT_HOME", str(ROOT))
    report = Report()
    try:
        with get_client(sync_client=True) as client:
            _make_pool(client, report)
            _make_queue(client, report)
            wanted = read_wanted(ROOT)
            _make_deployments(client, wanted, report)
            flows = sorted({one.flow_name for one in wanted})
            told = settings.prefect.notification_block or None
            _make_automation(client, silent_runs(DEAD_RUNS, flows, tell=told), report)
            _make_automation(client, silent_runs(DEAD_PARTS, sorted(INNER_FLOWS)), report)
    except (HTTPError, PrefectHTTPStatusError) as error:
        raise BktError(
            f"The Prefect server did not do as asked ({type(error).__name__}: {error}); "
            "check PREFECT_API_URL and that the server runs."
        ) from error
    return report


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
    """Let Prefect's own command deploy what is missing or differs."""
    changes = {one.full_name: _change(client, one) for one in wanted}
    due = [one for one in wanted if changes[one.full_name] != "unchanged"]
    if due:
        _prefect_deploy([one.name for one in due])
        for one in due:
            left = differences(one, client.read_deployment_by_name(one.full_name))
            if left:
                raise BktError(
                    f"{one.full_name} was deployed, and the server still has other "
                    f"{', '.join(left)} than prefect.yaml."
                )
    report.done |= {f"deployment {name}": what for name, what in changes.items()}
    ours = client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    )
    names = (f"{client.read_flow(one.flow_id).name}/{one.name}" for one in ours)
    report.left = sorted(set(names) - changes.keys())


def _change(client: SyncPrefectClient, wanted: Wanted) -> str:
    try:
        found = client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        return "created"
    others = differences(wanted, found)
    return f"changed: {', '.join(others)}" if others else "unchanged"


def _prefect_deploy(names: list[str]) -> None:
    """`prefect deploy`, of these deployments."""
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
            "Run `prefect --no-prompt deploy --all` to see all of it."
        )


def silent_runs(name: str, flows: list[str], *, tell: str | None = None) -> AutomationCore:
    """A run of these flows that falls silent is crashed, so that its slot is free.

    `tell` is the block by which people hear of it.
    """
    minutes = f"{SILENCE.total_seconds() / 60:.0f} minutes"
    told = f"No heartbeat for {minutes}: the process is gone."
    actions: list[ChangeFlowRunState | SendNotification] = [
        ChangeFlowRunState(state=StateType.CRASHED, message=told)
    ]
    if tell:
        actions.append(
            SendNotification(
                block_document_id=_id_of_block(tell),
                subject="bkt: {{ flow_run.name }} is dead",
                body=f"{told} The next run goes on where it stopped; see docs/runbook.md.",
            )
        )
    return AutomationCore(
        name=name,
        description=f"A run silent for {minutes} is crashed. Made by `bkt deploy`.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "flow",
                "prefect.resource.name": flows,
            },
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=actions,
    )


def _id_of_block(name: str) -> UUID:
    """The id of a notification block named `type/name`."""
    import prefect.blocks.notifications  # noqa: F401 - registers the types that can be loaded

    try:
        block = cast("Block", Block.load(name))
    except ValueError as error:
        raise BktError(
            f"prefect.notification_block must name a block on the server, got {name!r}: {error}"
        ) from error
    return UUID(str(block._block_document_id))


def _make_automation(client: SyncPrefectClient, wanted: AutomationCore, report: Report) -> None:
    name = f"automation {wanted.name!r}"
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        report.done[name] = "created"
        return
    if _decided(found[0]) == _decided(wanted):
        report.done[name] = "unchanged"
        return
    client.update_automation(found[0].id, wanted)
    report.done[name] = "changed"


def _decided(automation: AutomationCore) -> dict[str, object]:
    """What of an automation is ours to decide; ids and whether it is paused are not."""
    content = automation.model_dump(mode="json", include={"trigger", "actions", "description"})
    trigger = content["trigger"]
    trigger.pop("id", None)
    for name in ("after", "expect", "for_each"):
        trigger[name] = sorted(trigger[name])
    return content | {"trigger": trigger}
