"""Rebuild the mastery snapshots of past days."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from bkt_core.errors import BadInputError, UsageError
from datasets.fit_files import digest_of
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.events import last_switch
from datasets.store.params.skill_params import params_of_run
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import list_runs
from datasets.store.schema.tables import AttemptCorrectionRow, AttemptRow
from datasets.store.states.past_params import Clock
from datasets.store.states.point_in_time import Moment, backfill_snapshots
from flows.lifecycle.record import close_dead_runs, recorded
from flows.runs.database import open_database
from flows.runs.folders import stored_run
from flows.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from flows.runs.requests import DaysRequest


@dataclass(frozen=True, slots=True)
class Backfilled:
    """Number of snapshot rows written, by day; 0 if they already existed."""

    rows: dict[date, int]


@dataclass(frozen=True, slots=True)
class _BackfillPlan:
    """The end of each day, the time after the last one, and the manifests of their runs."""

    moments: dict[date, Moment]
    afterwards: Moment
    manifests: dict[str, dict[str, Any]]


def days_of(request: DaysRequest) -> list[date]:
    """Return every day from the first to the last, both included; raises for future days."""
    refuse_future(request)
    n_days = (request.last_day - request.first_day).days + 1
    return [request.first_day + timedelta(days=n) for n in range(n_days)]


def refuse_future(request: DaysRequest) -> None:
    """Raise `UsageError` if the last day is not over yet."""
    today = datetime.now(UTC).date()
    if request.last_day >= today:
        raise UsageError(
            f"--to must be a past day, got {request.last_day}; today is {today} (UTC)."
        )


def backfill_days(
    settings: Settings, days: Sequence[date], *, as_known: bool, params_of: str | None
) -> Backfilled:
    """Write the snapshot rows of the end of each day; a repeated call adds missing rows."""
    clock = Clock.KNOWN if as_known else Clock.ANSWERED
    with (
        open_database(settings) as engine,
        run_lock(engine, holder="bkt backfill") as lock,
        progress("backfill", None) as advance,
    ):
        _refuse_days_before_the_log(engine, days, clock)
        if params_of is not None:
            params_of = _promoting_run(engine, params_of)
        close_dead_runs(engine, settings)
        plan = _plan(engine, days, clock, params_of)

        def before_part() -> None:
            lock.check()
            advance(1)

        with ExitStack() as stack:
            for run_id, manifest in plan.manifests.items():
                stack.enter_context(
                    recorded(engine, "backfill", run_id=run_id, manifest=manifest)
                )
            n_rows = backfill_snapshots(
                engine,
                plan.moments.values(),
                clock=clock,
                params_of=params_of,
                afterwards=plan.afterwards,
                before_part=before_part,
            )
    return Backfilled({day: n_rows[one.run_id] for day, one in plan.moments.items()})


def _plan(
    engine: Engine, days: Sequence[date], clock: Clock, params_of: str | None
) -> _BackfillPlan:
    """Plan a run for each day, and one that restores the values after these days.

    A run holds one row per user and concept. The same request finds its run again, unless the
    log or the parameters in force have changed, or the day was backfilled in another way since:
    then it gets a new run, so that the rows of the last request are the latest.
    """
    made_from = _sources(engine)
    with reading(engine) as conn:
        runs = reversed(list_runs(conn, kind="backfill"))  # the newest run of a day is last
        newest = {run.manifest.get("day"): run for run in runs}
    moments: dict[date, Moment] = {}
    manifests: dict[str, dict[str, Any]] = {}
    for day in days:
        asked = {
            "day": day.isoformat(),
            "clock": clock.value,
            "params_of": params_of,
            "made_from": made_from,
        }
        last = newest.get(asked["day"])
        if last is not None and asked.items() <= last.manifest.items():
            run_id = last.run_id
        else:
            before = None if last is None else last.run_id
            run_id = digest_of({"kind": "backfill", "before": before, **asked})
        moments[day] = Moment(datetime.combine(day, time.max, tzinfo=UTC), run_id)
        manifests[run_id] = asked
    next_day = datetime.combine(days[-1] + timedelta(days=1), time.min, tzinfo=UTC)
    restores = {"restores": next_day.isoformat(), "after": list(manifests)}
    afterwards = Moment(next_day, digest_of({"kind": "backfill", **restores}))
    return _BackfillPlan(moments, afterwards, {**manifests, afterwards.run_id: restores})


def _sources(engine: Engine) -> list[int | None]:
    """Return the ids of the last attempt, the last correction and the last switch."""
    with reading(engine) as conn:
        version = active_algorithm(conn)
        last_rows = select(
            select(func.max(AttemptRow.id)).scalar_subquery(),
            select(func.max(AttemptCorrectionRow.id)).scalar_subquery(),
        )
        return [*conn.execute(last_rows).one(), last_switch(conn, version.id)]


def _promoting_run(engine: Engine, run: str) -> str:
    """Return the id of a run that promoted parameters; raises `BadInputError` for others."""
    with reading(engine) as conn:
        run_id = stored_run(conn, run)
        if not params_of_run(conn, run_id):
            raise BadInputError(
                f"--params-of must name a run that promoted something, got {run!r}."
            )
    return run_id


def first_day_of_log(engine: Engine, clock: Clock) -> date:
    """Return the day of the first attempt, by when it was made or when it was stored."""
    column = AttemptRow.created_at if clock is Clock.KNOWN else AttemptRow.attempted_at
    with reading(engine) as conn:
        first = conn.execute(select(func.min(column))).scalar_one_or_none()
    if first is None:
        raise UsageError("There are no attempts yet, so no day can be filled in.")
    return first.date()


def _refuse_days_before_the_log(engine: Engine, days: Sequence[date], clock: Clock) -> None:
    first = first_day_of_log(engine, clock)
    if days[-1] < first:
        raise UsageError(
            f"--to must not be before the first attempt, on {first}, got {days[-1]}."
        )
