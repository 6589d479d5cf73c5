"""Flows for operators, started by a form or a schedule; commands do the same directly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bkt_settings.pipeline import load_settings
from flows.actions.activate import activate
from flows.actions.backfill_snapshots import backfill_days, days_of
from flows.actions.prune import prune_everything
from flows.actions.recompute import recompute
from flows.actions.roll_back import release_concepts, roll_back_concepts, roll_back_run
from flows.lifecycle.deployed import deployed
from flows.runs.requests import (
    ActivateRequest,
    BackfillSnapshotsRequest,
    RecomputeRequest,
    RollbackRequest,
)


@deployed("backfill-snapshots")
def backfill_snapshots(request: BackfillSnapshotsRequest) -> dict[str, int]:
    """Rebuild the mastery snapshots of past days; return the number of rows by day."""
    request.check()
    done = backfill_days(
        load_settings(),
        days_of(request),
        as_known=request.as_known,
        params_of=request.params_of,
    )
    return {day.isoformat(): rows for day, rows in done.rows.items()}


@deployed("recompute")
def recompute_mastery(request: RecomputeRequest) -> dict[str, Any]:
    """Replay mastery from the attempt log; return the run and the number of states written."""
    return asdict(recompute(load_settings(), concepts=request.concepts, user=request.user))


@deployed("rollback")
def roll_back(request: RollbackRequest) -> dict[str, Any]:
    """Put older parameters in force again, or release concepts; return what was done."""
    request.check()
    settings = load_settings()
    if request.release:
        run_id = release_concepts(settings, request.concepts, actor=request.actor)
        return {"run_id": run_id, "released": list(request.concepts)}
    report = (
        roll_back_concepts(settings, request.concepts, to=request.to, actor=request.actor)
        if request.run is None
        else roll_back_run(settings, request.run, actor=request.actor)
    )
    return {
        "run_id": report.run_id,
        "rolled_back": [one.concept_id for one in report.rolled_back],
        "left": list(report.left),
        "states": report.states,
    }


@deployed("activate-version")
def activate_version(request: ActivateRequest) -> dict[str, Any]:
    """Put another algorithm version in force; returns what was done."""
    done = activate(
        load_settings(), request.version, approve=request.approve, actor=request.actor
    )
    return asdict(done)


@deployed("prune")
def prune() -> dict[str, int]:
    """Remove files and rows past their retention; return the numbers by kind."""
    return prune_everything(load_settings())
