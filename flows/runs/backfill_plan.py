"""The plan of a backfill of parameters: its days, the names of its runs, its extraction."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import UsageError
from datasets.extracts.extraction import open_extract
from datasets.fit_files import digest_of
from datasets.sequences.known_times import write_known_times
from datasets.sequences.readers import shard_rows
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import asked_algorithm
from datasets.store.runs.runs import RunStatus, list_runs, start_run
from flows.runs.plan import PACKAGE_VERSION, Step, code_version
from flows.runs.requests import BackfillParamsRequest, FitRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.store.params.algorithms import Algorithm
    from datasets.store.runs.runs import Run

#: Most steps of a backfill: people can still compare them, and MLflow shows them well.
MAX_STEPS = 20
KIND, STEP_KIND = "backfill", "backfill-step"
#: A backfill with one of these statuses is resumed.
UNFINISHED = (RunStatus.RUNNING, RunStatus.FAILED, RunStatus.ABANDONED)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """One backfill: the extraction that its steps share, and whether it is resumed."""

    run_id: str
    run_dir: Path
    request: BackfillParamsRequest
    version: Algorithm
    days: tuple[date, ...]
    extract: Extract
    resumed: bool

    @property
    def name(self) -> str:
        """A short name for people."""
        asked = self.request
        known = " as known" if asked.as_known else ""
        under = "" if asked.algo is None else f" under {asked.algo}"
        days = f"{asked.first_day}..{asked.last_day} by {asked.step_days}d"
        return f"backfill {days}{known}{under}"

    def step(self, day: date) -> Step:
        """Return the parent of one day's run; it is the same whoever starts the backfill."""
        named = {"backfill": self.run_id, "day": day}
        return Step(
            parent_run_id=self.run_id,
            run_id=digest_of(named),
            known_by=end_of(day) - _MICROSECOND if self.request.as_known else None,
            known_in=self.run_dir.absolute() / "known" if self.request.as_known else None,
        )

    def fit_request(self, day: date) -> FitRequest:
        """Return the request of a trial that fits the attempts known at the end of a day."""
        asked = self.request
        return FitRequest(
            until=end_of(day),
            concepts=asked.concepts,
            engine=asked.engine,
            seed=asked.seed,
            algo=asked.algo,
        )


def end_of(day: date) -> datetime:
    """Return the start of the next day, in UTC."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=UTC)


def days_to_fit(request: BackfillParamsRequest) -> tuple[date, ...]:
    """Return the days to fit; raises `UsageError` if there are more than `MAX_STEPS`."""
    n_days = (request.last_day - request.first_day).days
    n_steps = n_days // request.step_days + 1
    if n_steps > MAX_STEPS:
        raise UsageError(
            f"A backfill takes at most {MAX_STEPS} steps, --step {request.step_days}d makes "
            f"{n_steps} of {request.first_day} to {request.last_day}; take --step "
            f"{n_days // MAX_STEPS + 1}d or more, or a shorter range."
        )
    return tuple(
        request.first_day + timedelta(days=n * request.step_days) for n in range(n_steps)
    )


def begin_backfill(
    engine: Engine,
    settings: Settings,
    request: BackfillParamsRequest,
    days: tuple[date, ...],
    extract_now: Callable[[], Extract],
) -> BackfillPlan:
    """Resume the same backfill with its extraction, or begin it.

    Call it under the run lock. The row of the run is written before anything else.
    """
    asked = request.model_dump(mode="json")
    with reading(engine) as conn:
        version = asked_algorithm(conn, request.algo)
        earlier = list_runs(conn, kind=KIND)
    identity = digest_of(
        {
            "kind": "backfill params",
            "request": asked,
            "algo_version": version.version,
            "sections": settings.model_dump(mode="json", include={"fit", "gates", "extract"}),
            "version": code_version(),
        }
    )
    left = [run for run in earlier if run.identity == identity and run.status in UNFINISHED]
    extract = next(filter(None, (_kept_extract(settings, run) for run in left)), None)
    resumed = extract is not None
    if extract is None:
        extract = extract_now()
        run_id = digest_of({"identity": identity, "data": extract.digest})
        extract = extract.file_under(settings.data_dir / "runs" / run_id)
    run_id = extract.session.name
    manifest = {
        "request": asked,
        "data_digest": extract.digest,
        "days": [day.isoformat() for day in days],
        "package_version": PACKAGE_VERSION,
        "algo_version": version.version,
    }
    with engine.begin() as conn:
        start_run(
            conn,
            run_id=run_id,
            kind=KIND,
            at=datetime.now(UTC),
            identity=identity,
            manifest=manifest,
        )
    if request.as_known and not (extract.session / "known" / "whole").is_file():
        write_known_files(engine, extract, after=end_of(days[0]) - _MICROSECOND)
    return BackfillPlan(
        run_id=run_id,
        run_dir=extract.session,
        request=request,
        version=version,
        days=days,
        extract=extract,
        resumed=resumed,
    )


def write_known_files(engine: Engine, extract: Extract, *, after: datetime) -> None:
    """Write when the attempts of each shard were stored, beside the backfill's other files."""
    folder = extract.session / "known"
    ids = [
        np.concatenate([np.empty(0, np.int64), *(rows.ids for rows in shard_rows(extract, n))])
        for n in range(len(extract.shards))
    ]
    write_known_times(engine, ids, folder, after=after)
    (folder / "whole").touch()


def link_session(extract: Extract, run_dir: Path) -> None:
    """Link the session's files of the extraction into the folder of a step, without copying."""
    for name in ("quarantine", "states"):
        for file in sorted((extract.session / name).rglob("*")):
            if file.is_file():
                _link(file, run_dir / file.relative_to(extract.session))
    _link(extract.set_aside, run_dir / extract.set_aside.name)


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.link(file, target)


def _kept_extract(settings: Settings, run: Run) -> Extract | None:
    """Return the extraction of an earlier call, if it is still complete."""
    root = settings.data_dir / "extracts" / str(run.manifest.get("data_digest"))
    session = settings.data_dir / "runs" / run.run_id
    if not (root / "manifest.json").is_file() or not session.is_dir():
        return None
    extract = open_extract(root, session)
    there = extract.set_aside.is_file() and extract.shard_root.is_dir()
    return extract if there else None
