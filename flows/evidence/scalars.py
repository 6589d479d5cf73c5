"""The scalars of a run that MLflow charts compare, with the same keys in every run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from flows.evidence.evidence import RunEvidence

#: Shares of concepts below each reported percentile.
PERCENTILES = (0.1, 0.5, 0.9)
DECISIONS = ("promoted", "kept", "rejected", "skipped", "failed")
RIVALS = ("defaults", "mean", "champion")
SCORES = ("auc", "log_loss", "rmse", "accuracy", "calibration_error", "n")
ROWS = ("read", "accepted", "duplicates", "quarantined")
STAGES = ("extract", "fit", "gate", "log", "promote", "recompute", "snapshot", "total")


def run_scalars(evidence: RunEvidence) -> dict[str, float]:
    """Return pooled scores, percentiles over concepts, counts, gains, rows and seconds.

    Missing values are NaN, so that the keys are always the same.
    """
    facts, concepts = evidence.facts, evidence.concepts
    pooled = facts.scores.pooled
    values: dict[str, Any] = {
        f"pooled_{name}": None if pooled is None else getattr(pooled, name) for name in SCORES
    }
    values["weighted_auc"] = _weighted(concepts, "auc")
    for share in PERCENTILES:
        column = concepts["auc"].drop_nulls()
        values[f"auc_p{share * 100:.0f}"] = column.quantile(share, "linear")
    for rival in RIVALS:
        losses = facts.scores.log_loss_of.get(rival)
        values[f"log_loss_gain_over_{rival}"] = (
            None if losses is None else losses[0] - losses[1]
        )
    values["concepts_seen"] = concepts.height
    for decision in DECISIONS:
        values[f"concepts_{decision}"] = concepts.filter(pl.col("decision") == decision).height
    values["concepts_on_bounds"] = concepts.filter(pl.col("on_bounds") != "").height
    values["users_up"] = _promoted_sum(concepts, "users_up")
    values["users_down"] = _promoted_sum(concepts, "users_down")
    rows, seconds = facts.summary.get("rows", {}), facts.summary.get("seconds", {})
    values |= {f"rows_{name}": rows.get(name) for name in ROWS}
    values |= {f"seconds_{name}": seconds.get(name) for name in STAGES}
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


def worst_concepts(evidence: RunEvidence, *, n: int = 100) -> pl.DataFrame:
    """Return the concepts to check first: failed, rejected, kept, then by log loss."""
    urgency = pl.col("decision").replace_strict(
        {"failed": 0, "rejected": 1, "kept": 2}, default=3, return_dtype=pl.Int8
    )
    return (
        evidence.concepts.sort(urgency, -pl.col("log_loss").fill_null(0.0), "concept_id")
        .head(n)
        .select("concept_id", "decision", "why", "n_attempts", "n_users", "auc", "log_loss")
    )


def _weighted(concepts: pl.DataFrame, name: str) -> float | None:
    known = concepts.drop_nulls(name)
    n = int(known["n_attempts"].sum())
    return float((known[name] * known["n_attempts"]).sum()) / n if n else None


def _promoted_sum(concepts: pl.DataFrame, name: str) -> int:
    return int(concepts.filter(pl.col("decision") == "promoted")[name].sum())
