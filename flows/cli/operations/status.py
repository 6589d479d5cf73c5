"""`bkt status`: show the state of the installation on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bkt_settings.pipeline import load_settings
from datasets.store.params.versions import ACTIVE
from datasets.store.runs.runs import RunStatus
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.health.status import (
    COUNTED,
    counts_of,
    gather_status,
    outcome_of,
    rows_of,
    seconds_of,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rich.console import Console

    from datasets.store.runs.status import RunOverview
    from flows.deployment.api import Planned
    from flows.health.status import StatusReport

#: Width of a terminal from which on each count of a run has its own column.
WIDE = 110
SECONDS_A_MINUTE, SECONDS_AN_HOUR, SECONDS_A_DAY = 60, 3_600, 86_400
#: Styles of statuses; the others are plain.
_STYLES = {
    RunStatus.FAILED: "red",
    RunStatus.RUNNING: "cyan",
    RunStatus.ABANDONED: "yellow",
    RunStatus.DONE: "green",
}


def status(
    *,
    runs: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=500))] = 8,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Show the last runs, the parameters in force, outdated states, and the next schedule.

    Parameters
    ----------
    runs
        How many of the last runs to show.

    """
    found = gather_status(load_settings(), n_runs=runs)
    output.give(found.as_json(), lambda console: show_status(console, found))
    return 0


def show_status(console: Console, found: StatusReport) -> None:
    """Print the complete status for a person."""
    console.print(Text(f"{found.database} at {found.at:%Y-%m-%d %H:%M} UTC", style="bold"))
    console.print()
    if found.runs:
        console.print(_runs_table(found.runs, wide=console.width >= WIDE))
    else:
        console.print(Text("No run yet: `bkt import` imports attempts, `bkt retrain` fits."))
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    before = ""
    for name, value in _facts(found):
        facts.add_row("" if name == before else name, value)
        before = name
    console.print(facts)


def _facts(found: StatusReport) -> list[tuple[str, Text]]:
    return [
        ("running", _running(found)),
        ("in force", _in_force(found)),
        ("states", _states(found)),
        *(("versions", line) for line in _versions(found)),
        *(("quarantine", line) for line in _quarantine(found.runs)),
        *(("error", line) for line in _errors(found.runs)),
        *(("next", line) for line in _next(found)),
    ]


def _versions(found: StatusReport) -> list[Text]:
    """Candidates that have rows or that nights fit; what must be finished, or fails."""
    told = [
        Text(f"the activation of {found.versions.unfinished} must be finished: run it again")
        for _ in filter(None, (found.versions.unfinished,))
    ]
    for one in found.versions.versions:
        if one.unknown_settings:
            told.append(Text(f"this release does not run {one.version}: see `bkt algo list`"))
        elif one.status != ACTIVE and (one.concepts_fitted or one.in_nights):
            when = "fitted in each night" if one.in_nights else "not fitted by nights"
            told.append(
                Text(f"{one.version} {one.status}, {one.concepts_fitted:,} concepts, {when}")
            )
    return told


def _runs_table(runs: tuple[RunOverview, ...], *, wide: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    for name in ("run", "kind", "status", "when (UTC)"):
        table.add_column(name, no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    names = [name for name in _names(runs) if wide]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    if not wide:
        table.add_column("concepts", overflow="fold")
    for run in runs:
        counts = counts_of(run)
        table.add_row(
            run.run_id[:8],
            _kind(run),
            Text(_ended(run), style=_STYLES.get(run.status, "")),
            f"{run.finished_at or run.started_at:%Y-%m-%d %H:%M}",
            _took(seconds_of(run)),
            *(f"{counts.get(name, 0):,}" if counts else "" for name in names),
            *(() if wide else (", ".join(f"{n:,} {name}" for name, n in counts.items()),)),
        )
    return table


def _ended(run: RunOverview) -> str:
    """Return the status, with the exit code if a finished run needs attention."""
    code = outcome_of(run).get("exit_code")
    return f"{run.status.value} ({code})" if code else run.status.value


def _kind(run: RunOverview) -> str:
    """Return the kind; for a backfill of snapshots with its day, for versions with names."""
    named = {
        "candidate": run.manifest.get("algo_version"),
        "activate": run.manifest.get("asked", {}).get("version"),
        "compare": run.manifest.get("request", {}).get("b"),
    }
    if named.get(run.kind):
        return f"{run.kind} {named[run.kind]}"
    day = run.manifest.get("day") or run.manifest.get("restores", "")[:10]
    return f"{run.kind} {day}".rstrip() if isinstance(day, str) else run.kind


def _names(runs: tuple[RunOverview, ...]) -> list[str]:
    """Return the names of the counts that any of the runs has."""
    present = {name for run in runs for name in counts_of(run)}
    return [name for name in COUNTED if name in present]


def _running(found: StatusReport) -> Text:
    if found.holder is not None:
        return Text(found.holder)
    unlocked = ("fit", "import")  # run beside others, so that one may be in progress
    running = (run for run in found.runs if run.status is RunStatus.RUNNING)
    dead = [run for run in running if run.kind not in unlocked]
    if dead:
        return Text(
            f"nothing; run {dead[0].run_id[:8]} began and never ended: the next one resumes it "
            "or repairs what it left"
        )
    return Text("nothing")


def _in_force(found: StatusReport) -> Text:
    own = found.in_force
    text = (
        f"{own.fitted:,} of {own.concepts:,} concepts fitted ({found.algo_version}), "
        f"{own.at_defaults:,} at the defaults, {own.pinned:,} pinned"
    )
    if own.newest_fit is not None:
        text += f"; newest fit {_ago(found.at - own.newest_fit)}"
    if own.data_until is not None:
        text += f", on attempts until {own.data_until:%Y-%m-%d}"
    return Text(text)


def _states(found: StatusReport) -> Text:
    own = found.states
    text = f"{own.total:,}: {own.stale:,} stale, {own.old_stamped:,} under older parameters"
    if found.unstamped:
        text += f"; {found.unstamped:,} attempts without a stamp (`bkt stamp`)"
    if not own.stale + own.old_stamped:
        return Text(text)
    return Text(
        f"{text}, in {own.concepts_outstanding:,} concepts; readers replay them, the next run "
        "or `bkt recompute` writes them"
    )


def _quarantine(runs: tuple[RunOverview, ...]) -> list[Text]:
    """Describe quarantined rows; runs over the same log are shown once."""
    first_runs: dict[str, str] = {}
    for run in runs:
        rows, reasons = rows_of(run), run.manifest.get("reasons", {})
        if not rows.get("quarantined"):
            continue
        share = rows["quarantined"] / max(rows["read"], 1)
        line = f"{rows['quarantined']:,} of {rows['read']:,} rows ({share:.1%})"
        if reasons:
            line += ": " + ", ".join(f"{n:,} {name}" for name, n in reasons.items())
        first_runs.setdefault(line, run.run_id[:8])
    if not first_runs:
        return [Text("no quarantined rows in these runs")]
    return [Text(f"run {run_id}: {line}") for line, run_id in first_runs.items()]


def _errors(runs: tuple[RunOverview, ...]) -> list[Text]:
    """Return the error of the newest failed run."""
    said = [(run, outcome_of(run).get("error")) for run in runs]
    return [
        Text(f"run {run.run_id[:8]}: {error}", style="red") for run, error in said if error
    ][:1]


def _next(found: StatusReport) -> list[Text]:
    server = found.prefect
    if server.problem is not None:
        return [Text(server.problem)]
    if not server.planned:
        return [
            Text(f"nothing: {server.url} has no deployment of ours; `bkt deploy` creates them")
        ]
    coming = sorted(
        (one for one in server.planned if one.next_at or one.late or one.scheduled),
        key=lambda one: (one.next_at is None, one.next_at or found.at),
    )
    if not coming:
        return [Text(f"no deployment of {server.url} has an active schedule")]
    lines = [Text(_planned(one, found.at)) for one in coming]
    if not server.workers_online:
        lines.append(Text("no worker is online: no scheduled run will start", style="red"))
    return lines


def _planned(one: Planned, at: datetime) -> str:
    text = one.deployment
    if one.next_at is not None:
        text += f" at {one.next_at:%Y-%m-%d %H:%M} UTC, in {_span(one.next_at - at)}"
    if one.paused:
        text += " is paused"
    elif one.forgotten:
        text += " has a schedule, but the server has planned no run: see `bkt doctor`"
    if one.late:
        text += f"; {one.late} late, no worker took them"
    return text


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < SECONDS_A_MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), SECONDS_A_MINUTE)
    if seconds < SECONDS_AN_HOUR:
        return f"{minutes} min {rest:02d}"
    return f"{minutes // 60} h {minutes % 60:02d}"


def _ago(span: timedelta) -> str:
    return f"{_span(span)} ago"


def _span(span: timedelta) -> str:
    """Return a duration in its largest unit."""
    seconds = max(span.total_seconds(), 0)
    for unit, name in (
        (SECONDS_A_DAY, "days"),
        (SECONDS_AN_HOUR, "hours"),
        (SECONDS_A_MINUTE, "minutes"),
    ):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"
