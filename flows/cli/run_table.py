"""Print the result of a run in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bkt_settings.redaction import without_secret
from flows.evidence.evidence import read_evidence
from flows.reports.terminal import show_report

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console

    from bkt_settings.pipeline import Settings
    from flows.runs.summary import RunSummary

#: Stages that took less time are not shown.
SHORTEST_SECONDS = 0.05


def show_run(console: Console, settings: Settings, summary: RunSummary) -> None:
    """Print the decisions on concepts, the counts of rows, and the locations of files."""
    folder = settings.data_dir / "runs" / summary.run_id
    already_shown: list[str] = []
    promoted = "promoted"
    if summary.status == "done":
        evidence = read_evidence(folder)
        already_shown = evidence.facts.summary.get("remarks", [])
        promoted = evidence.facts.decided(promoted)
        show_report(console, evidence)
    show_summary(console, summary, already_shown=already_shown, promoted=promoted)
    if summary.status != "done":
        return
    console.print(f"  page      {folder / 'report.html'}", markup=False)
    if summary.mlflow_run_id is not None:
        console.print(f"  MLflow    {open_mlflow(settings)}", markup=False)


def open_mlflow(settings: Settings) -> str:
    """Return the command or address that opens the runs in MLflow."""
    if settings.artifact_root is None:
        return f"open {without_secret(settings.tracking_uri)}"
    mlflow = Path(sys.executable).with_name("mlflow")
    return f"{mlflow} ui --backend-store-uri {settings.tracking_uri}"


def show_summary(
    console: Console,
    summary: RunSummary,
    *,
    already_shown: Collection[str] = (),
    promoted: str = "promoted",
) -> None:
    """Print rows, concepts, scores, states, seconds, and the remarks not in `already_shown`."""
    rows, concepts, metrics = summary.rows, summary.concepts, summary.metrics
    console.print(f"Run {summary.run_id[:12]}: {summary.status}")
    console.print(
        f"  rows      {rows['read']:,} read = {rows['accepted']:,} accepted "
        f"+ {rows['duplicates']:,} duplicates + {rows['quarantined']:,} quarantined"
    )
    console.print(
        f"  concepts  {concepts.seen} seen: {concepts.promoted} {promoted}, "
        f"{concepts.kept} kept, {concepts.rejected} rejected, "
        f"{concepts.skipped} skipped, {concepts.failed} failed"
    )
    if metrics["n"]:
        scores = ", ".join(
            f"{name} {metrics[key]:.4f}"
            for name, key in (("AUC", "auc"), ("RMSE", "rmse"), ("log loss", "log_loss"))
            if metrics[key] is not None
        )
        console.print(f"  held out  {scores} on {metrics['n']:,} attempts")
    console.print(
        f"  states    {summary.states['replayed']:,} recomputed, "
        f"{summary.states['snapshotted']:,} snapshot rows"
    )
    timed = ", ".join(
        f"{name} {s:.1f}" for name, s in summary.seconds.items() if s >= SHORTEST_SECONDS
    )
    console.print(f"  seconds   {timed}")
    for remark in summary.remarks:
        if remark in already_shown:
            continue
        console.print(f"  note      {remark}", markup=False)
