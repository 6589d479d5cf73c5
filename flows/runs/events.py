"""Events in the log of a run: shards, concepts that were stopped, the end."""

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
    """Log one line for a finished shard, from the report of `fit_shard`.

    A resumed run does not read the attempts of a finished shard.
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
    """Log one line for a shard that raised or whose worker died; it is retried."""
    event("shard lost", logging.WARNING, shard=shard, tries=tries, error=repr(error))


def concepts_judged(evidence: RunEvidence) -> None:
    """Log one line per concept that was rejected, with its checks, or that failed."""
    stopped = evidence.concepts.filter(pl.col("decision").is_in(["rejected", "failed"]))
    for row in stopped.select("concept_id", "decision", "reason", "why").iter_rows(named=True):
        level = logging.WARNING if row["decision"] == "rejected" else logging.ERROR
        event(
            f"concept {row['decision']}", level, concept=row["concept_id"],
            checks=row["reason"], why=row["why"],
        )  # fmt: skip


def run_ended(summary: RunSummary) -> None:
    """Log the end of a run, with its counts."""
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
