"""Flows with a deployment: readable run names, notifications, and named final states."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar, cast

from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed

from flows.lifecycle.names import run_namer
from flows.lifecycle.notifications import notify
from flows.runs.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect import Flow


class HasExitCode(Protocol):
    """A summary with an exit code."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command line."""


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="HasExitCode")

#: Exit code -> name of the state of a run that is done but needs attention.
STATE_NAMES = {
    3: "Nothing promoted",
    4: "Some concepts failed",
    6: "Evidence not delivered",
}


def deployed(name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Create a flow with run names, and notifications if a run fails or needs attention.

    For a run that crashes the server notifies (`flows/deployment/automations.py`), because the
    process may no longer exist.
    """

    def as_flow(work: Callable[P, R]) -> Flow[P, R]:
        return flow(
            name=name,
            flow_run_name=run_namer(name),
            on_failure=[notify],
            on_completion=[notify],
        )(work)

    return as_flow


@contextmanager
def quiet_subflows() -> Iterator[None]:
    """Disable heartbeats of subflows; the heartbeats of their run are enough.

    A flow with heartbeats waits up to a second for their thread when it ends.
    """
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def ended(summary: S, *, told: str | None = None) -> S:
    """Return the summary in a Prefect state whose name says how the run ended."""
    name = STATE_NAMES.get(summary.exit_code)
    if name is None:
        return summary
    said = summary_sentence(summary) if isinstance(summary, RunSummary) else told
    # Prefect returns the data of this state to the caller of the flow.
    return cast("S", Completed(name=name, message=said, data=summary))


def summary_sentence(summary: RunSummary) -> str:
    """Return one paragraph: concepts by decision, then the remarks."""
    counts = summary.concepts
    told = (
        f"Run {summary.run_id[:12]}: {counts.seen} concepts, {counts.promoted} promoted, "
        f"{counts.kept} kept, {counts.rejected} rejected, {counts.skipped} skipped, "
        f"{counts.failed} failed.",
        *summary.remarks,
    )
    return " ".join(told)
