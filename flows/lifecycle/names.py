"""Names of flow runs: kind, window or concepts, and what started them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import runtime
from pydantic import BaseModel

from flows.runs.requests import DaysRequest, RecomputeRequest, Request, RollbackRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: Tags of runs created by a schedule, and tag prefix of runs started by the service.
SCHEDULED_TAG, SERVICE_TAG = "auto-scheduled", "bkt-service-"
#: Most concepts in a name; the others are only counted.
NAMED_CONCEPTS = 2


def run_namer(kind: str) -> Callable[[], str]:
    """Return a function for `flow_run_name`; a name is `nightly 2026-11-23 scheduled`."""

    def name_of_run() -> str:
        request = runtime.flow_run.parameters.get("request")
        day = runtime.flow_run.scheduled_start_time.date().isoformat()
        about = request_subject(request, day) if isinstance(request, BaseModel) else day
        return f"{kind} {about} {run_trigger()}"

    return name_of_run


def request_subject(request: BaseModel, day: str) -> str:
    """Return the window, days or concepts of a request in few words, else the day."""
    if isinstance(request, DaysRequest):
        return f"{request.first_day}..{request.last_day}"
    if isinstance(request, Request):
        full = "full" if request.full else ""
        window = _window(request.since, request.until) or day
        return " ".join(filter(None, (window, _concepts(request.concepts), full)))
    if isinstance(request, RecomputeRequest):
        user = "one user" if request.user else ""  # names must not contain ids of users
        return " ".join(filter(None, (user, _concepts(request.concepts)))) or day
    if isinstance(request, RollbackRequest):
        return _concepts(request.concepts) or f"run {(request.run or '')[:12]}"
    return day


def run_trigger() -> str:
    """Return `scheduled`, `service`, `manual` (a deployment, by hand) or `command line`."""
    tags = runtime.flow_run.tags
    if SCHEDULED_TAG in tags:
        return "scheduled"
    if any(tag.startswith(SERVICE_TAG) for tag in tags):
        return "service"
    return "manual" if runtime.deployment.id else "command line"


def _window(since: datetime | None, until: datetime | None) -> str:
    if since is None and until is None:
        return ""
    return "..".join("" if end is None else end.date().isoformat() for end in (since, until))


def _concepts(concepts: tuple[str, ...]) -> str:
    shown = ", ".join(concepts[:NAMED_CONCEPTS])
    more = len(concepts) - NAMED_CONCEPTS
    return f"{shown} and {more} more" if more > 0 else shown
