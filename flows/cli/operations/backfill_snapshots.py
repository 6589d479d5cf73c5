"""`bkt backfill snapshots`: rebuild the mastery snapshots of past days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bkt_settings.pipeline import load_settings
from flows.actions.backfill_snapshots import backfill_days, days_of
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.usage import usage_errors
from flows.runs.requests import BackfillSnapshotsRequest

if TYPE_CHECKING:
    from rich.console import Console

    from flows.actions.backfill_snapshots import Backfilled


def backfill_snapshots(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    as_known: Annotated[bool, Parameter(negative="")] = False,
    params_of: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Rebuild the mastery snapshots of past days, as of the end of each in UTC.

    Parameters
    ----------
    from_
        The first day, such as 2026-01-31.
    to
        The last day.
    as_known
        Use what had been stored by then, with the parameters that were in force then; by
        default what had been attempted by then, with today's parameters.
    params_of
        Use the parameters that this run promoted, for the concepts it has fitted.
    """
    with usage_errors():
        request = BackfillSnapshotsRequest(
            first_day=from_, last_day=to, as_known=as_known, params_of=params_of
        )
    request.check()
    done = backfill_days(
        load_settings(), days_of(request), as_known=as_known, params_of=params_of
    )
    payload = {"days": {day.isoformat(): rows for day, rows in done.rows.items()}}
    output.give(payload, lambda console: _show_backfill(console, done))
    return 0


def _show_backfill(console: Console, done: Backfilled) -> None:
    for day, n_rows in done.rows.items():
        console.print(f"{day}: {n_rows:,} snapshot rows written")
