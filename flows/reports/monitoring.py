"""The report of monitoring for people: MLflow, Prefect, the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prefect import runtime

from flows.runs.plan import PACKAGE_VERSION
from flows.runs.tags import git_commit, trigger
from flows.tracking.values import MonitoringReport

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from flows.evidence.drift import Monitored

KIND = "monitor"
#: Number of concepts in texts; the table has all of them.
SHOWN = 100
#: Columns whose mean over attempts is reported.
MEANS = ("log_loss", "expected_log_loss", "promised_log_loss", "excess", "bias")


def monitoring_report(
    found: Monitored, table: pl.DataFrame, *, at: datetime
) -> MonitoringReport:
    """Build the report from numbers, sentences and the worst rows of the table."""
    return MonitoringReport(
        run_id=found.run_id,
        kind=KIND,
        name=f"{KIND} {at:%Y-%m-%d %H:%M} ({found.run_id[:8]})",
        metrics=monitoring_metrics(found, table),
        sentences=monitoring_sentences(found, table),
        table=table.head(SHOWN),
        about={
            "kind": KIND,
            "trigger": trigger(),
            "git_commit": git_commit(),
            "package_version": PACKAGE_VERSION,
            "prefect_flow_run_id": str(runtime.flow_run.root_flow_run_id or ""),
        },
    )


def monitoring_metrics(found: Monitored, table: pl.DataFrame) -> dict[str, float]:
    """Return counts and means over all later attempts, always with the same keys."""
    counts = {
        "concepts_scored": found.scored,
        "concepts_waiting": found.waiting,
        "concepts_drifted": len(found.drifted),
        "attempts": int(table["n_attempts"].sum()),
    }
    return counts | {name: _mean(table, name) for name in MEANS}


def _mean(table: pl.DataFrame, name: str) -> float:
    """Return the mean of a column over attempts; NaN without attempts."""
    known = table.drop_nulls(name)
    n = int(known["n_attempts"].sum())
    return float((known[name] * known["n_attempts"]).sum()) / n if n else math.nan


def monitoring_sentences(found: Monitored, table: pl.DataFrame) -> list[str]:
    """Return the main results as sentences."""
    sentences = [
        f"{found.scored} concepts scored on {int(table['n_attempts'].sum()):,} attempts after "
        f"their fit, {found.waiting} not scored; {len(found.drifted)} drifted."
    ]
    if found.scored:
        sentences.append(
            f"Log loss {_mean(table, 'log_loss'):.4f}, expected "
            f"{_mean(table, 'expected_log_loss'):.4f}; the share correct differs by "
            f"{_mean(table, 'bias'):+.1%} from the predicted share."
        )
    if found.drifted:
        named = ", ".join(one.concept_id for one in found.drifted[:SHOWN])
        sentences.append(f"Drifted concepts, largest excess first: {named}.")
    return sentences
