"""Prefect automations: one marks silent runs as crashed, one notifies people of crashes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from bkt_core.errors import BktError
from flows.lifecycle.deployed import STATE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient

DEAD_RUNS, CRASHED_RUNS = "bkt: dead runs", "bkt: crashed runs"
#: A run without a heartbeat for this long is dead: five times the interval in prefect.toml.
SILENCE = timedelta(minutes=5)
HEARTBEAT = "prefect.flow-run.heartbeat"
#: Events that end a run. An event has the name of its state; some states have our own names.
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", *STATE_NAMES.values())
_ANY_RUN: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
#: Subflows of the deployed flows; a dead run leaves their runs unfinished as well.
INNER_FLOWS = ("extract-attempts", "fit-concepts", "promote-params", "recompute-states")


def silent_runs(flows: Sequence[str]) -> AutomationCore:
    """Describe the automation that marks silent runs as crashed, to free their slot.

    It notifies nobody: Prefect's server may miss the end of a run that it started itself and
    then consider that run silent. A run that has already ended keeps its state.
    """
    minutes = f"{SILENCE.total_seconds() / 60:.0f} minutes"
    return AutomationCore(
        name=DEAD_RUNS,
        description=f"Marks runs silent for {minutes} as crashed. Created by `bkt deploy`.",
        trigger=EventTrigger(
            match=_ANY_RUN,
            match_related=_of(flows),
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"No heartbeat for {minutes}: the process is gone.",
            )
        ],
    )


def crashed_runs(flows: Sequence[str], block: str) -> AutomationCore:
    """Describe the automation that notifies people of crashed runs, but not of subflows."""
    return AutomationCore(
        name=CRASHED_RUNS,
        description="Notifies people of runs whose process died. Created by `bkt deploy`.",
        trigger=EventTrigger(
            match=_ANY_RUN,
            match_related=_of(flows),
            expect={"prefect.flow-run.Crashed"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=_id_of_block(block),
                subject="bkt: {{ flow_run.name }} crashed",
                body="{{ flow_run.state.message }} The next run resumes where it stopped; "
                "see docs/runbook.md.",
            )
        ],
    )


def _of(flows: Sequence[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": sorted(flows)}


def _id_of_block(name: str) -> UUID:
    """Return the id of the notification block named `type/name`.

    Raises `BktError` if the server has no such block.
    """
    import prefect.blocks.notifications  # noqa: F401 - registers the block types for load()

    try:
        block = cast("Block", Block.load(name))
    except ValueError as error:
        raise BktError(
            f"prefect.notification_block must name a block on the server, got {name!r}: {error}"
        ) from error
    return UUID(str(block._block_document_id))


def make_automation(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Create or update the automation; return "created", "changed" or "unchanged"."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return "created"
    if _managed_fields(found[0]) == _managed_fields(wanted):
        return "unchanged"
    client.update_automation(found[0].id, wanted)
    return "changed"


def remove_automation(client: SyncPrefectClient, name: str) -> bool:
    """Delete the automations of that name; return whether there were any."""
    automations = client.read_automations_by_name(name)
    for automation in automations:
        client.delete_automation(automation.id)
    return bool(automations)


def _managed_fields(automation: AutomationCore) -> dict[str, object]:
    """Return the fields that `bkt deploy` manages: all but ids and whether it is paused."""
    content = automation.model_dump(mode="json", include={"trigger", "actions", "description"})
    trigger = content["trigger"]
    trigger.pop("id", None)
    for name in ("after", "expect", "for_each"):
        trigger[name] = sorted(trigger[name])
    return content | {"trigger": trigger}
