"""Notifications about runs that failed, crashed, or ended with a named state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block
from prefect.logging import get_logger

from bkt_settings.pipeline import load_settings

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

#: The name of a completed run that needs nobody's attention.
SUCCESS = "Completed"


def notify(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect hook: notify through the configured block; errors are logged, not raised."""
    if state.name == SUCCESS or flow_run.deployment_id is None:
        return  # who runs a command sees how it ended
    log = get_logger("bkt")
    try:
        block = load_settings().prefect.notification_block
        if block:
            send_notification(
                block, subject_line(flow_run, state), message_body(flow, flow_run, state)
            )
    except Exception as error:  # noqa: BLE001 - a notification must not fail the run it tells of
        log.warning("notification not sent: %s: %s", type(error).__name__, error)


def send_notification(block: str, subject: str, body: str) -> None:
    """Notify by a block named `type/name`; any notification block of Prefect will do."""
    import prefect.blocks.notifications  # noqa: F401 - registers the types that can be loaded

    Block.load(block).notify(body, subject=subject)  # type: ignore[union-attr] # a notification block


def subject_line(flow_run: FlowRun, state: State[Any]) -> str:
    """Subject of a notification: the run and its final state."""
    return f"bkt: {flow_run.name} {(state.name or state.type.value).lower()}"


def message_body(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> str:
    """Body of a notification: the reason, the flow run, and where to look."""
    return "\n".join(
        (
            f"Flow {flow.name}, run {flow_run.name}: {state.name}.",
            state.message or "No reason was given.",
            f"Prefect flow run {flow_run.id}. `bkt status` says how things stand; "
            "docs/runbook.md what to do.",
        )
    )
