"""`bkt export`: write attempts, states, snapshots, parameters or events to a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bkt_core.errors import UsageError
from bkt_settings.pipeline import load_settings
from datasets.exports.export import export_table
from datasets.exports.tables import Filters, Table
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.cli.usage import moment_of
from flows.runs.database import open_database


def export(
    what: Table,
    file: Path,
    /,
    *,
    concept: Annotated[tuple[str, ...], Parameter(name="--concept", negative="")] = (),
    user: Annotated[tuple[str, ...], Parameter(name="--user", negative="")] = (),
    since: str | None = None,
    until: str | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Write attempts, states, snapshots, parameters or events to a .csv or .parquet file.

    Parameters
    ----------
    what
        attempts, states (as readers see them), snapshots, parameters (in force) or events.
    file
        The file; its ending selects the format. It is written completely or not at all.
    concept
        Only this concept; may be repeated.
    user
        Only this user; may be repeated.
    since
        Only from this time on: of an attempt, a snapshot, a fit or an event.
    until
        Only before this time.
    all_
        For parameters: also those that are not in force, and those of other versions.
    overwrite
        Replace the file if it exists.
    """
    filters = Filters(
        concepts=concept,
        users=user,
        since=_moment("--since", since),
        until=_moment("--until", until),
        all_rows=all_,
    )
    with open_database(load_settings()) as engine:
        n_rows = export_table(engine, what, file, filters, overwrite=overwrite)
    output.give(
        {"what": what.value, "file": str(file), "rows": n_rows},
        lambda console: console.print(
            f"{n_rows:,} rows of {what.value} in {file}.", markup=False
        ),
    )
    return 0


def _moment(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return moment_of(text)
    except ValueError as error:
        raise UsageError(
            f"{flag} takes a day or a time such as 2026-01-31T08:00:00Z, got {text!r}."
        ) from error
