"""Reuse the decisions of a run that has ended before, instead of judging again.

The id of a run depends on everything that determines its decisions: attempts, settings,
request, code and parameters in force. Without new attempts the fit stage would decide the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from datasets.errors import ExtractError
from flows.evidence.decisions import DECISIONS, read_repeatable
from flows.evidence.evidence import (
    RunEvidence,
    RunFilesMissingError,
    flatten,
    read_evidence,
    write_evidence,
)
from flows.lifecycle.stages import Fitted
from flows.runs.tags import tags_of
from flows.shards.works import Origin

if TYPE_CHECKING:
    from bkt_settings.pipeline import Settings
    from flows.runs.plan import RunPlan


def judged_before(settings: Settings, plan: RunPlan, remarks: tuple[str, ...]) -> Fitted | None:
    """Return the result of the fit stage of an equal earlier run; None if it must run.

    It must run if attempts are new, if the earlier run did not end, if a full run is requested,
    if parameters were switched, if a fit might give another result, or if the files of the
    earlier run are missing.
    """
    if not plan.has_ended_before or plan.data_is_new or plan.full:
        return None
    try:
        decisions = read_repeatable(plan.run_dir / DECISIONS)
        earlier = read_evidence(plan.run_dir)
    except (ExtractError, RunFilesMissingError, OSError, pl.exceptions.PolarsError):
        return None
    if decisions is None or any(decided.challenger is not None for decided in decisions):
        return None
    evidence = _begun_again(settings, plan, earlier)
    write_evidence(plan.run_dir, evidence)
    return Fitted(
        origins=tuple(map(Origin, evidence.concepts["origin"])),
        decisions=tuple(decisions),
        evidence=evidence,
        seconds={},
        data_is_new=False,
        remarks=remarks,
    )


def _begun_again(settings: Settings, plan: RunPlan, earlier: RunEvidence) -> RunEvidence:
    """Return the evidence as the fit stage leaves it; earlier fits count as reused."""
    before = earlier.facts.settings.items()
    prior = {name: value for name, value in before if name.startswith("prior")}
    facts = replace(
        earlier.facts,
        status="judged",
        started_at=plan.started_at.isoformat(),
        finished_at=None,
        tags=tags_of(plan),
        settings=flatten(settings.evidence()) | prior,
        summary={},
    )
    fitted, reused = Origin.FITTED.value, Origin.REUSED.value
    concepts = earlier.concepts.with_columns(pl.col("origin").replace(fitted, reused))
    return RunEvidence(facts, concepts, earlier.checks, earlier.curves)
