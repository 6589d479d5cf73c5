"""What a look at the parameters in force tells people: MLflow, Prefect, the terminal."""

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
#: Concepts in what people read; the table holds all.
SHOWN = 100
#: Columns whose mean over attempts is told.
MEANS = ("log_loss", "expected_log_loss", "promised_log_loss", "excess", "bias")


def monitoring_report(
    found: Monitored, table: pl.DataFrame, *, at: datetime
) -> MonitoringReport:
    """Numbers, sentences and the worst of the table."""
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
    """The same keys each time: counts, and means over all later attempts."""
    counts = {
        "concepts_scored": found.scored,
        "concepts_waiting": found.waiting,
        "concepts_drifted": len(found.drifted),
        "attempts": int(table["n_attempts"].sum()),
    }
    return counts | {name: _mean(table, name) for name in MEANS}


def _mean(table: pl.DataFrame, name: str) -> float:
    """Over attempts; NaN where there are none."""
    known = table.drop_nulls(name)
    n = int(known["n_attempts"].sum())
    return float((known[name] * known["n_attempts"]).sum()) / n if n else math.nan


def monitoring_sentences(found: Monitored, table: pl.DataFrame) -> list[str]:
    """What a person wants to know first."""
    told = [
        f"{found.scored} concepts scored on {int(table['n_attempts'].sum()):,} attempts after "
        f"their fit, {found.waiting} without any; {len(found.drifted)} drifted."
    ]
    if found.scored:
        told.append(
            f"Log loss {_mean(table, 'log_loss'):.4f} where the predictions themselves expect "
            f"{_mean(table, 'expected_log_loss'):.4f}; right answers "
            f"{_mean(table, 'bias'):+.1%} of attempts beyond what was predicted."
        )
    if found.drifted:
        named = ", ".join(one.concept_id for one in found.drifted[:SHOWN])
        told.append(f"Drifted, the largest excess first: {named}.")
    return told
