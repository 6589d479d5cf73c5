"""Notifications about runs that failed, crashed, or ended with a named state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block
from prefect.logging import get_logger

from bkt_settings.pipeline import load_settings

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

#: Name of the state of a completed run that needs no attention.
SUCCESS = "Completed"


def notify(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Notify through the configured block; a Prefect hook. Errors are logged, not raised."""
    if state.name == SUCCESS or flow_run.deployment_id is None:
        return  # whoever runs a command sees how it ends
    log = get_logger("bkt")
    try:
        block = load_settings().prefect.notification_block
        if block:
            send_notification(
                block, subject_line(flow_run, state), message_body(flow, flow_run, state)
            )
    except Exception as error:  # noqa: BLE001 - a notification must not fail its run
        log.warning("notification not sent: %s: %s", type(error).__name__, error)


def send_notification(block: str, subject: str, body: str) -> None:
    """Notify with a block named `type/name`, which may be any notification block."""
    import prefect.blocks.notifications  # noqa: F401 - registers the types that can be loaded

    Block.load(block).notify(body, subject=subject)  # type: ignore[union-attr] # a notification block


def subject_line(flow_run: FlowRun, state: State[Any]) -> str:
    """Return the subject of a notification: the run and its final state."""
    return f"bkt: {flow_run.name} {(state.name or state.type.value).lower()}"


def message_body(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> str:
    """Return the body of a notification: the reason, the flow run, and where to look."""
    return "\n".join(
        (
            f"Flow {flow.name}, run {flow_run.name}: {state.name}.",
            state.message or "No reason was given.",
            f"Prefect flow run {flow_run.id}. `bkt status` shows the state; "
            "docs/runbook.md says what to do.",
        )
    )
