"""The log of a Prefect flow run: the events of a run, beside Prefect's own lines.

Prefect's level (`PREFECT_LOGGING_LEVEL`) decides which events are sent; a command without a
server of its own keeps that level at CRITICAL, so that nothing is sent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler
from prefect.settings import get_current_settings

if TYPE_CHECKING:
    from uuid import UUID


class FlowRunLog(APILogHandler):
    """Sends each event to the log of one flow run, also events of its subflows and tasks."""

    def __init__(self, flow_run_id: UUID) -> None:
        super().__init__()
        self._flow_run_id = str(flow_run_id)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the event; Prefect's worker thread delivers it, and never raises."""
        record.flow_run_id = self._flow_run_id
        super().emit(record)


def flow_run_log() -> FlowRunLog | None:
    """Return a handler for the flow run in progress; None outside a flow run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    handler = FlowRunLog(context.flow_run.id)
    handler.setLevel(get_current_settings().logging.level)
    return handler
