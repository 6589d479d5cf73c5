"""The events of a run that its log tells: shards, concepts that were stopped, the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import polars as pl

from flows.runs.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.evidence.evidence import RunEvidence
    from flows.runs.summary import RunSummary


def shard_done(report: Mapping[str, Any]) -> None:
    """One line per finished shard, of what `fit_shard` returned.

    A resumed run reads no attempts of a shard that was done.
    """
    event(
        "shard done",
        shard=report["shard"],
        concepts=sum(report["concepts"].values()),
        **report["concepts"],
        attempts=report["attempts"],
        **{f"{stage}_seconds": round(s, 3) for stage, s in report["seconds"].items()},
    )


def shard_lost(shard: int, tries: int, error: Exception) -> None:
    """One line for a shard whose worker died, or that raised; it is begun anew."""
    event("shard lost", logging.WARNING, shard=shard, tries=tries, error=repr(error))


def concepts_judged(evidence: RunEvidence) -> None:
    """One line per concept that was rejected, with its checks, or that failed."""
    stopped = evidence.concepts.filter(pl.col("decision").is_in(["rejected", "failed"]))
    for row in stopped.select("concept_id", "decision", "reason", "why").iter_rows(named=True):
        level = logging.WARNING if row["decision"] == "rejected" else logging.ERROR
        event(
            f"concept {row['decision']}", level, concept=row["concept_id"],
            checks=row["reason"], why=row["why"],
        )  # fmt: skip


def run_ended(summary: RunSummary) -> None:
    """How a run ended, in counts."""
    event(
        "run ends",
        status=summary.status,
        exit_code=summary.exit_code,
        rows=dict(summary.rows),
        concepts=summary.concepts.as_json(),
        states=dict(summary.states),
        seconds=summary.seconds.get("total"),
        mlflow_run_id=summary.mlflow_run_id,
    )
