"""Put an algorithm version in force: switch, sweep, snapshots, alias; every step can resume."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bkt_core.errors import BktError
from datasets.errors import ExtractError
from datasets.sequences.staged_states import StagedStates
from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import reading
from datasets.store.connections.fault_points import reached
from datasets.store.params.activation import flip_version
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
from datasets.store.params.versions import RETIRED, list_versions, version_named
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, list_runs
from datasets.store.states.outstanding import states_to_sweep
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep
from datasets.store.states.version_impact import version_impact
from flows.actions.activation_record import (
    KIND,
    approved_json,
    judged,
    log_to_mlflow,
    page_of,
    report_json,
    write_files,
)
from flows.lifecycle.record import close_dead_runs, recorded
from flows.runs.database import open_database
from flows.tracking.evidence_log import update_champion_alias
from flows.versions.evidence import evidence_for, extract_for
from flows.versions.report import verdict_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from bkt_core.evaluation.limits import GateLimits
    from bkt_settings.pipeline import Settings
    from datasets.store.runs.runs import Run
    from datasets.store.states.sweep import SweepResult
    from datasets.store.states.version_impact import VersionImpact
    from flows.versions.comparison import VersionComparison
    from flows.versions.report import VersionReport


class NotApprovedError(BktError):
    """An activation must first be approved by a person."""

    exit_code = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationPlan:
    """What an activation would change."""

    before: str
    after: str
    #: Number of concepts fitted under the version in force, and the concepts among them without
    #: a fit under the new version, which would get its defaults.
    concepts_fitted: int
    to_defaults: tuple[str, ...]
    impact: VersionImpact
    #: Comparison of the stored parameters on held-out attempts; None if nothing would change.
    evidence: VersionComparison | None
    #: Digest of the extraction of these attempts.
    data_digest: str
    #: Why a person must approve it; empty if the evidence suffices.
    objections: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `bkt algo activate --dry-run --json` prints of it."""
        found = self.evidence
        return {
            "before": self.before,
            "after": self.after,
            "concepts_fitted": self.concepts_fitted,
            "to_defaults": list(self.to_defaults),
            "impact": asdict(self.impact),
            "share": self.impact.share,
            "evidence": None if found is None else found.pooled.as_json(),
            "objections": list(self.objections),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationReport:
    """What an activation changed; `run_id` is None if there was nothing to do."""

    run_id: str | None
    before: str
    after: str
    states: int
    snapshots: int
    #: Why MLflow could not be updated; None if it was.
    problem: str | None
    #: The page with the evidence; None if a person approved it.
    page: str | None = None
    #: Number of concepts that had fitted parameters before and have the defaults now.
    to_defaults: int = 0


def plan_activation(settings: Settings, version: str) -> ActivationPlan:
    """Return what `activate` would change, without writing."""
    with open_database(settings) as engine:
        return _plan(engine, settings, version)


def activate(
    settings: Settings, version: str, *, approve: bool = False, actor: str | None = None
) -> ActivationReport:
    """Put `version` in force and recompute all states with it.

    Without `approve` the evidence decides: raises `NotApprovedError` if it shows the version to
    be worse, or if too many users would cross the threshold. A repeated call after a kill
    resumes where it stopped. A version that is in force, with nothing unfinished, is left
    alone.
    """
    with (
        open_database(settings) as engine,
        run_lock(engine, holder=f"bkt algo activate {version}") as lock,
    ):
        begun = _begun(engine, settings, version, approve=approve)
        if begun is None:
            return ActivationReport(
                run_id=None, before=version, after=version, states=0, snapshots=0, problem=None
            )
        run_id = begun.run_id
        close_dead_runs(engine, settings, keep=run_id)
        with recorded(engine, KIND, run_id=run_id, manifest=begun.manifest):
            if begun.report is not None:
                write_files(settings.data_dir / "runs" / run_id, begun.report)
            lock.check()
            with engine.begin() as conn:
                at = datetime.now(UTC)
                flip_version(
                    conn, run_id=run_id, version=version, at=at, actor=actor or getuser()
                )
            reached("activate: committed")
            swept = _sweep(engine, settings, lock.check)
            n_rows = write_snapshots(
                engine, run_id=run_id, at=datetime.now(UTC), before_batch=lock.check
            )
            problem = log_to_mlflow(engine, settings, run_id)
            problem = update_champion_alias(engine, settings) or problem
        return ActivationReport(
            run_id=run_id,
            before=begun.manifest["before"],
            after=version,
            states=swept.written,
            snapshots=n_rows,
            problem=problem,
            page=page_of(settings, run_id),
            to_defaults=len(begun.manifest.get("to_defaults", ())),
        )


def _sweep(engine: Engine, settings: Settings, check: Callable[[], None]) -> SweepResult:
    """Write every state under the version in force, from an extraction where that is valid.

    Without an extraction, every state is replayed from the log.
    """
    with reading(engine) as conn:
        version = active_algorithm(conn)
        rows = with_question_odds(conn, active_params(conn, version.id))
    try:
        extract = extract_for(engine, settings, (version.version,))
    except ExtractError:  # the switch is done: the states must follow
        return sweep(engine, at=datetime.now(UTC), before_chunk=check)
    try:
        staged = StagedStates(extract, {concept: row.params for concept, row in rows.items()})
        return sweep(
            engine,
            at=datetime.now(UTC),
            concepts=staged.in_order(states_to_sweep(engine)),
            rows={concept: row.param_id for concept, row in rows.items()},
            staged=staged.of_concept,
            staged_chunk=settings.recompute.states_per_chunk,
            before_chunk=check,
        )
    finally:
        shutil.rmtree(extract.session, ignore_errors=True)  # no run refers to its files


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """An activation that is allowed, new or resumed; `report` has files still to be written."""

    run_id: str
    manifest: dict[str, Any]
    report: VersionReport | None = None


def _begun(engine: Engine, settings: Settings, version: str, *, approve: bool) -> _Begun | None:
    """Return the unfinished activation or a new one; None if there is nothing to do.

    Raises `NotApprovedError`, or an error if the version is missing or has unknown settings.
    """
    unfinished = _unfinished(engine, version)
    if unfinished is not None:
        return _Begun(run_id=unfinished.run_id, manifest=unfinished.manifest)
    with reading(engine) as conn:
        was, now = active_algorithm(conn), algorithm(conn, version)
        to_defaults = active_params(conn, was.id).keys() - active_params(conn, now.id).keys()
    before = was.version
    if before == version:
        return None
    run_id = uuid4().hex
    manifest = {
        "asked": {"version": version},
        "before": before,
        "approved": approve,
        "to_defaults": sorted(to_defaults),
    }
    if approve:
        told = approved_json(before, version, run_id=run_id)
        return _Begun(run_id=run_id, manifest=manifest | {"report": told})
    plan = _plan(engine, settings, version)
    if plan.evidence is None or plan.objections:
        raise NotApprovedError(_sentence(plan))
    report = judged(plan.evidence, run_id=run_id, data_digest=plan.data_digest)
    manifest |= {"evidence": plan.as_json(), "report": report_json(report)}
    return _Begun(run_id=run_id, manifest=manifest, report=report)


def _unfinished(engine: Engine, version: str) -> Run | None:
    """Return the newest activation if it is unfinished, of this version, and has switched."""
    with reading(engine) as conn:
        last = next(iter(list_runs(conn, kind=KIND)), None)
        if last is None or last.status is RunStatus.DONE:
            return None
        mine = last.manifest.get("asked") == {"version": version}
        flipped = active_algorithm(conn).version == version
        return last if mine and flipped else None


def _plan(engine: Engine, settings: Settings, version: str) -> ActivationPlan:
    with reading(engine) as conn:
        before, after = active_algorithm(conn), algorithm(conn, version)
        was, now = active_params(conn, before.id), active_params(conn, after.id)
        impact = version_impact(conn, before, after)
        unstamped = count_unstamped(conn) if after.params.variant.history else 0
        retired = version_named(list_versions(conn), version).status == RETIRED
    found, digest = None, ""
    if before.id != after.id:
        found, digest = evidence_for(engine, settings, before.version, after.version)
    return ActivationPlan(
        before=before.version,
        after=after.version,
        concepts_fitted=len(was),
        to_defaults=tuple(sorted(was.keys() - now.keys())),
        impact=impact,
        evidence=found,
        data_digest=digest,
        objections=(
            *([f"{version} is retired."] if retired else ()),
            *_objections(impact, found, settings.gates, unstamped),
        ),
    )


def _objections(
    impact: VersionImpact, found: VersionComparison | None, limits: GateLimits, unstamped: int
) -> Iterator[str]:
    """Yield reasons for an approval: the version is worse, or too many users would cross.

    `unstamped` counts attempts without what the version reads of them.
    """
    if unstamped:
        yield f"{unstamped:,} attempts have no stamp, which it reads; run `bkt stamp` first."
    if found is not None and found.pooled.p_not_worse < limits.worse_level:
        yield verdict_sentence(found)
    few = impact.users_crossing < limits.min_crossing_users
    if not few and impact.share > limits.max_crossing_share:
        yield (
            f"{impact.users_crossing:,} of {impact.users:,} users ({impact.share:.1%}) would "
            f"cross the mastery threshold, more than {limits.max_crossing_share:.0%}."
        )


def _sentence(plan: ActivationPlan) -> str:
    return (
        f"Version {plan.after} must be approved before it replaces {plan.before}: "
        f"{' '.join(plan.objections)} {len(plan.to_defaults):,} of {plan.concepts_fitted:,} "
        f"concepts would get the defaults. See `bkt algo compare {plan.before} "
        f"{plan.after} --in-force`, then repeat this with --approve."
    )
