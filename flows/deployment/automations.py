"""Prefect automations: mark silent runs as crashed, and notify about crashes."""

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
#: Without a heartbeat for so long a run is dead; five heartbeats of prefect.toml.
SILENCE = timedelta(minutes=5)
HEARTBEAT = "prefect.flow-run.heartbeat"
#: An event is called by the name of its state, and some of ours have names of their own.
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", *STATE_NAMES.values())
_ANY_RUN: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
#: Flows inside the deployed ones; a dead run leaves theirs behind as well.
INNER_FLOWS = ("extract-attempts", "fit-concepts", "promote-params", "recompute-states")


def silent_runs(flows: Sequence[str]) -> AutomationCore:
    """A run that falls silent is crashed, so that its slot is free.

    It says nothing to people: Prefect's server may overlook the end of a run that it began by
    itself, and then finds it silent; a run that has ended is not crashed by that.
    """
    minutes = f"{SILENCE.total_seconds() / 60:.0f} minutes"
    return AutomationCore(
        name=DEAD_RUNS,
        description=f"A run silent for {minutes} is crashed. Made by `bkt deploy`.",
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
    """People hear of a run that crashed, whoever noticed; of its parts they need not."""
    return AutomationCore(
        name=CRASHED_RUNS,
        description="Tells people of a run whose process is gone. Made by `bkt deploy`.",
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
                body="{{ flow_run.state.message }} The next run goes on where it stopped; "
                "see docs/runbook.md.",
            )
        ],
    )


def _of(flows: Sequence[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": sorted(flows)}


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


def make_automation(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Make it, or mend what differs; says which."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return "created"
    if _decided(found[0]) == _decided(wanted):
        return "unchanged"
    client.update_automation(found[0].id, wanted)
    return "changed"


def remove_automation(client: SyncPrefectClient, name: str) -> bool:
    """Whether there was one of that name."""
    found = client.read_automations_by_name(name)
    for one in found:
        client.delete_automation(one.id)
    return bool(found)


def _decided(automation: AutomationCore) -> dict[str, object]:
    """What of an automation is ours to decide; ids and whether it is paused are not."""
    content = automation.model_dump(mode="json", include={"trigger", "actions", "description"})
    trigger = content["trigger"]
    trigger.pop("id", None)
    for name in ("after", "expect", "for_each"):
        trigger[name] = sorted(trigger[name])
    return content | {"trigger": trigger}
