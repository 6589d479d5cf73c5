"""Events in the log of a run: shards, concepts that were stopped, the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import polars as pl

from flows.runs.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datasets.extracts.extraction import Extract
    from flows.evidence.evidence import RunEvidence
    from flows.runs.summary import RunSummary


def attempts_read(run_id: str, extract: Extract) -> None:
    """Log the rows of the extraction, and by which rules rows were quarantined."""
    event(
        "attempts read",
        logging.WARNING if extract.rows.quarantined else logging.INFO,
        run=run_id,
        **extract.rows.as_dict(),
        reasons=dict(extract.reasons),
        concepts=extract.concepts.num_rows,
    )


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
    """Log one line per concept that was rejected, with its checks, or that failed.

    A last line counts all decisions.
    """
    stopped = evidence.concepts.filter(pl.col("decision").is_in(["rejected", "failed"]))
    for row in stopped.select("concept_id", "decision", "reason", "why").iter_rows(named=True):
        level = logging.WARNING if row["decision"] == "rejected" else logging.ERROR
        event(
            f"concept {row['decision']}", level, concept=row["concept_id"],
            checks=row["reason"], why=row["why"],
        )  # fmt: skip
    counts = evidence.concepts["decision"].value_counts(sort=True)
    event("concepts judged", **{row["decision"]: row["count"] for row in counts.to_dicts()})


def run_ended(summary: RunSummary, report: Path) -> None:
    """Log the end of a run, with its counts and the place of its report."""
    event(
        "run ends",
        status=summary.status,
        exit_code=summary.exit_code,
        rows=dict(summary.rows),
        concepts=summary.concepts.as_json(),
        states=dict(summary.states),
        seconds=summary.seconds.get("total"),
        mlflow_run_id=summary.mlflow_run_id,
        report=str(report),
    )
