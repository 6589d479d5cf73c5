"""The verdicts of a run as frames: one row per concept, per check, per opportunity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from bkt_core.evaluation.checks import Severity
from bkt_core.params import PARAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bkt_core.evaluation.comparison import Comparison
    from bkt_core.evaluation.concept_fit import Evidence
    from bkt_core.family.params import Params
    from bkt_core.judgement.evidence import Verdict
    from bkt_core.params import AlgoParams
    from bkt_core.variant import Variant

#: Columns of the table of concepts, the same in every run of v1 and v2; the runs of a version
#: with a variant have those of its other parameters at the end (`concept_schema`).
CONCEPT_SCHEMA: dict[str, type[pl.DataType]] = {
    "concept_id": pl.String,
    "decision": pl.String,  # of `bkt_promotion_event`, or "failed"
    "origin": pl.String,  # fitted, reused, kept, skipped, failed
    "reason": pl.String,  # names of the checks that decided
    "why": pl.String,  # their sentences
    "warnings": pl.String,
    "n_attempts": pl.Int64,
    "n_users": pl.Int64,
    "share_correct": pl.Float64,
    "engine": pl.String,  # "em+prior" if the fit used the prior
    **dict.fromkeys(PARAM_NAMES, pl.Float64),
    **{f"{name}_low": pl.Float64 for name in PARAM_NAMES},  # 95 % interval
    **{f"{name}_high": pl.Float64 for name in PARAM_NAMES},
    **{f"old_{name}": pl.Float64 for name in PARAM_NAMES},
    "old_is_fitted": pl.Boolean,
    "auc": pl.Float64,
    "log_loss": pl.Float64,
    "rmse": pl.Float64,
    "accuracy": pl.Float64,
    "calibration_error": pl.Float64,
    **{
        f"{rival}_{score}": pl.Float64
        for rival in ("defaults", "mean", "champion")
        for score in ("auc", "log_loss")
    },
    "gain_defaults": pl.Float64,  # nats per attempt
    "gain_mean": pl.Float64,
    "gain_champion": pl.Float64,
    "gain_champion_error": pl.Float64,
    "p_not_better": pl.Float64,
    "adjusted_p": pl.Float64,
    "champion_in_sample": pl.Boolean,
    "champion_age_days": pl.Float64,
    "mastered_before": pl.Int64,
    "users_up": pl.Int64,
    "users_down": pl.Int64,
    "on_bounds": pl.String,
    "wide_auc": pl.Float64,  # out of fold in wider bounds, if the fit is on a bound
    "wide_log_loss": pl.Float64,
    "outcome": pl.String,
    "stopped_by": pl.String,
    "n_steps": pl.Int64,
    "n_starts": pl.Int64,
    "start_spread": pl.Float64,
}
CHECK_SCHEMA: dict[str, type[pl.DataType]] = {
    "concept_id": pl.String,
    "decision": pl.String,
    "name": pl.String,
    "severity": pl.String,
    "passed": pl.Boolean,
    "measured": pl.Float64,
    "limit": pl.Float64,
    "sentence": pl.String,
}
CURVE_SCHEMA: dict[str, type[pl.DataType]] = {
    "concept_id": pl.String,
    "opportunity": pl.Int32,  # from 0
    "n": pl.Int64,
    "n_correct": pl.Int64,
    "sum_p_correct": pl.Float64,
}


def concept_schema(variant: Variant) -> dict[str, type[pl.DataType]]:
    """Return the columns of the table of concepts for a version."""
    names = (*(("p_F",) if variant.forgetting else ()), *variant.weight_names)
    return CONCEPT_SCHEMA | {
        column: pl.Float64
        for name in names
        for column in (name, f"{name}_low", f"{name}_high", f"old_{name}")
    }


def concept_table(
    verdicts: Sequence[Verdict],
    *,
    algo: AlgoParams,
    origins: Mapping[str, str],
    errors: Mapping[str, str],
) -> pl.DataFrame:
    """Return one row with all values per concept; `errors` has the concepts that failed."""
    rows = [_concept_row(verdict, algo.defaults, origins) for verdict in verdicts]
    rows += [
        {
            "concept_id": concept,
            "decision": "failed",
            "origin": "failed",
            "reason": "failed",
            "why": error,
        }
        for concept, error in errors.items()
    ]
    return pl.DataFrame(rows, schema=concept_schema(algo.variant)).sort("concept_id")


def check_table(verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """Return every check of every concept, passed or failed."""
    columns: dict[str, list[Any]] = {name: [] for name in CHECK_SCHEMA}
    for verdict in verdicts:
        checks = verdict.report.checks
        columns["concept_id"] += [verdict.concept_id] * len(checks)
        columns["decision"] += [verdict.decision.value] * len(checks)
        columns["severity"] += [check.severity.value for check in checks]
        for name in ("name", "passed", "measured", "limit", "sentence"):
            columns[name] += [getattr(check, name) for check in checks]
    return pl.DataFrame(columns, schema=CHECK_SCHEMA)


def curve_table(verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """Return observed and predicted correct attempts of each concept by opportunity."""
    columns: dict[str, list[Any]] = {name: [] for name in CURVE_SCHEMA}
    for verdict in verdicts:
        evidence = verdict.evidence.fit.evidence
        if evidence is None:
            continue
        counts = evidence.tally.curve_counts
        columns["concept_id"] += [verdict.concept_id] * len(counts)
        columns["opportunity"] += range(len(counts))
        columns["n"] += counts.sum(axis=1).tolist()
        columns["n_correct"] += counts[:, 1].tolist()
        columns["sum_p_correct"] += evidence.tally.curve_p_sums.tolist()
    return pl.DataFrame(columns, schema=CURVE_SCHEMA).filter(pl.col("n") > 0)


def _concept_row(
    verdict: Verdict, defaults: Params, origins: Mapping[str, str]
) -> dict[str, Any]:
    one = verdict.evidence
    fit, champion, moved = one.fit, one.champion, one.impact
    row = {
        "concept_id": one.concept_id,
        "decision": verdict.decision.value,
        "origin": origins.get(one.concept_id),
        "reason": ", ".join(check.name for check in verdict.reasons),
        "why": " ".join(check.sentence for check in verdict.reasons),
        "warnings": " ".join(check.sentence for check in verdict.report.failed(Severity.WARN)),
        "n_attempts": fit.n_attempts,
        "n_users": fit.n_users,
        "share_correct": fit.n_correct / fit.n_attempts,
        "engine": fit.engine,
        "old_is_fitted": champion is not None,
        "adjusted_p": verdict.adjusted_p,
    }
    row |= _letters("old_", defaults if champion is None else champion.params)
    if champion is not None:
        row["champion_age_days"] = champion.age_days
    if moved is not None:
        row |= {
            "mastered_before": moved.mastered_before,
            "users_up": moved.up,
            "users_down": moved.down,
        }
    if fit.evidence is not None:
        row |= _fit_columns(fit.evidence) | _rival_columns(fit.evidence, one.against_champion)
    if fit.wide is not None:
        row |= {"wide_auc": fit.wide.scores.auc, "wide_log_loss": fit.wide.scores.log_loss}
    return row


def _fit_columns(evidence: Evidence) -> dict[str, Any]:
    final, scores = evidence.final, evidence.scores
    row: dict[str, Any] = _letters("", final.params)
    for name, interval in final.intervals.items():
        row[f"{name}_low"], row[f"{name}_high"] = interval or (None, None)
    return row | {
        "auc": scores.auc,
        "log_loss": scores.log_loss,
        "rmse": scores.rmse,
        "accuracy": scores.accuracy,
        "calibration_error": scores.calibration_error,
        "on_bounds": ", ".join(final.on_bounds),
        "outcome": final.outcome.value,
        "stopped_by": final.stopped_by.value,
        "n_steps": final.n_steps,
        "n_starts": len(final.start_log_likelihoods),
        "start_spread": max(final.start_spread.values(), default=0.0),
    }


def _rival_columns(evidence: Evidence, champion: Comparison | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for against in (evidence.against_defaults, evidence.against_mean, champion):
        if against is None:
            continue
        name = against.rival.value
        row[f"{name}_auc"] = against.rival_scores.auc
        row[f"{name}_log_loss"] = against.rival_scores.log_loss
        row[f"gain_{name}"] = against.gain
    if champion is not None:
        row |= {
            "gain_champion_error": champion.standard_error,
            "p_not_better": champion.p_not_better,
            "champion_in_sample": champion.rival_in_sample,
        }
    return row


def _letters(prefix: str, params: Params) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in params.as_dict().items()}
