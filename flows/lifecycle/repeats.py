"""A run that has ended before: what it decided then, read instead of judged again.

A run's id names everything its decisions depend on: attempts, settings, request, code and the
parameters in force. Where no attempt is new, the fit stage would come to the same decisions.
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
    """The fit stage of a run that would repeat what it did; None: it is to be done.

    It is done again where attempts are new, where the run never ended, where a full run was
    asked for, where parameters were switched or a fit might come out otherwise, and where the
    files of the run are gone.
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
    """The evidence as the fit stage leaves it; what was fitted then is reused now."""
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
