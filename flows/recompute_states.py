"""Flow: recompute mastery of all users under the parameters in force, and snapshot it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import flow

from bkt_settings.pipeline import Settings
from datasets.extracts.extraction import open_extract
from datasets.sequences.staged_states import StagedStates
from datasets.store.connections.engines import reading
from datasets.store.params.skill_params import params_of_run, with_question_odds
from datasets.store.runs.runs import list_runs
from datasets.store.states.outstanding import outstanding
from datasets.store.states.snapshot_marks import SnapshotMark, mark_from_json, next_mark
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep
from flows.lifecycle.stages import SNAPSHOT_MARK, Recomputed
from flows.runs.database import open_database
from flows.runs.plan import RunPlan
from flows.runs.progress import progress
from flows.runs.summary import Stopwatch

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@flow(name="recompute-states", flow_run_name="recompute {plan.label}")
def recompute_states(
    settings: Settings, plan: RunPlan, check: Callable[[], None], *, snapshot: bool = True
) -> Recomputed:
    """Sweep states that are stale or have an old stamp, then write snapshots of changes.

    `check` raises if the run must stop writing, as `RunLock.check` does.
    """
    watch = Stopwatch()
    with open_database(settings) as engine:
        with watch.stage("recompute"):
            n_states = sweep_states(engine, settings, plan, check)
        n_rows, mark = 0, None
        if snapshot:
            with watch.stage("snapshot"):
                with reading(engine) as conn:
                    since = None if plan.full else last_mark(conn)
                    mark = next_mark(conn, plan.run_id, since)
                n_rows = write_snapshots(
                    engine,
                    run_id=plan.run_id,
                    at=datetime.now(UTC),
                    since=since,
                    before_batch=check,
                )
    timed = {stage: watch.seconds[stage] for stage in ("recompute", "snapshot")}
    return Recomputed(replayed=n_states, snapshotted=n_rows, seconds=timed, mark=mark)


def last_mark(conn: Connection) -> SnapshotMark | None:
    """Return the mark of the last run whose snapshots were completed."""
    for run in list_runs(conn, kind="retrain"):
        if SNAPSHOT_MARK in run.manifest.get("outcome", {}):
            return mark_from_json(run.manifest["outcome"][SNAPSHOT_MARK])
    return None


def sweep_states(
    engine: Engine, settings: Settings, plan: RunPlan, check: Callable[[], None]
) -> int:
    """Update every outdated state, with staged values from the extraction where valid."""
    with reading(engine) as conn:
        expected = outstanding(conn)
        promoted = with_question_odds(conn, params_of_run(conn, plan.run_id))
    staged = StagedStates(
        open_extract(plan.extract_root, plan.run_dir),
        {concept: stored.params for concept, stored in promoted.items()},
    )
    with progress("recompute", sum(expected.values())) as advance:
        result = sweep(
            engine,
            at=datetime.now(UTC),
            concepts=staged.in_order(expected),
            run_id=plan.run_id,
            staged=staged.of_concept,
            staged_chunk=settings.recompute.states_per_chunk,
            before_chunk=check,
            on_chunk=advance,
        )
    return result.written
