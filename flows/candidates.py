"""Fit candidates in a nightly run: versions that are judged and logged but not in force.

Their parameters are kept up to date, with champions and challengers inside each version, so
that an activation finds current parameters. States and snapshots are not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.errors import BktError
from datasets.extracts.extraction import open_extract
from datasets.store.connections.engines import reading
from datasets.store.errors import LockedError, RunLockLostError
from datasets.store.params.algorithms import active_algorithm, algorithm
from datasets.store.params.versions import RETIRED, list_versions, version_named
from flows.fit_concepts import fit_concepts
from flows.lifecycle.close import close_run
from flows.lifecycle.record import recorded_failure
from flows.lifecycle.stages import NOTHING_PROMOTED, NOTHING_RECOMPUTED
from flows.promote_params import promote_params
from flows.runs.backfill_plan import link_session
from flows.runs.plan import CANDIDATE, begin_run
from flows.runs.summary import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.store.params.algorithms import Algorithm
    from flows.lifecycle.stages import Fitted
    from flows.runs.plan import RunPlan
    from flows.runs.requests import RetrainRequest
    from flows.runs.summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateNight:
    """The result of one candidate: its summary, or why it was not fitted."""

    version: str
    summary: RunSummary | None
    problem: str | None = None

    @property
    def remark(self) -> str:
        """Return one sentence for the report of the run."""
        if self.summary is None:
            return f"Candidate {self.version} was not fitted: {self.problem}"
        counts = self.summary.concepts
        text = (
            f"Candidate {self.version} (run {self.summary.run_id[:12]}, "
            f"{self.summary.status}): {counts.promoted} rows promoted under it, "
            f"{counts.kept} kept, {counts.rejected} rejected, {counts.failed} failed"
        )
        score = self.summary.metrics.get("log_loss")
        return f"{text}; log loss {score:.4f}." if score is not None else f"{text}."

    @property
    def exit_code(self) -> int:
        """4 if concepts or the version could not be fitted, 6 if MLflow has no evidence."""
        return 4 if self.summary is None else self.summary.exit_code


def fit_candidates(
    engine: Engine,
    settings: Settings,
    request: RetrainRequest,
    night: RunPlan,
    check: Callable[[], None],
) -> Iterator[CandidateNight]:
    """Fit each candidate of the settings on the extraction of the run, one after the other.

    Call it under the run lock. An error in one candidate does not stop the others, because the
    run of the version in force is already complete.
    """
    extract = open_extract(night.extract_root, night.run_dir)
    for version in settings.fit.candidates:
        try:
            candidate = _candidate(engine, version)
            if candidate is not None:
                yield _night_under(engine, settings, request, extract, candidate, check)
        except (RunLockLostError, LockedError):
            raise
        except BktError as error:
            yield CandidateNight(version=version, summary=None, problem=str(error))


def _candidate(engine: Engine, version: str) -> Algorithm | None:
    """Return the version of that name; None if it is in force, and therefore already fitted."""
    with reading(engine) as conn:
        if version_named(list_versions(conn), version).status == RETIRED:
            raise BktError("it is retired; take it out of [fit] candidates.")
        found = algorithm(conn, version)
        return None if found.id == active_algorithm(conn).id else found


def _night_under(
    engine: Engine,
    settings: Settings,
    request: RetrainRequest,
    extract: Extract,
    version: Algorithm,
    check: Callable[[], None],
) -> CandidateNight:
    """Fit, judge, log and promote under one version, like a nightly run without states."""
    check()
    watch = Stopwatch()
    plan = begin_run(
        engine,
        settings,
        request,
        extract,
        version,
        kind=CANDIDATE,
        at=datetime.now(UTC),
    )
    link_session(extract, plan.run_dir)
    with recorded_failure(engine, settings, plan):
        fitted: Fitted = fit_concepts(settings, plan).unquote()
        promoted = NOTHING_PROMOTED
        if fitted.has_news:
            with watch.stage("promote"):
                promoted = promote_params(settings, plan, check)
        summary = close_run(engine, settings, plan, fitted, promoted, NOTHING_RECOMPUTED, watch)
    return CandidateNight(version=version.version, summary=summary)


def with_candidates(night: RunSummary, beside: Sequence[CandidateNight]) -> RunSummary:
    """Add the results of candidates to the summary of a run."""
    codes = [one.exit_code for one in beside]
    return replace(
        night,
        remarks=(*night.remarks, *(one.remark for one in beside)),
        exit_code=night.exit_code or next((code for code in (4, 6) if code in codes), 0),
    )
