"""A run as a person reads it in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from flows.summary import RunSummary


def show_summary(console: Console, summary: RunSummary) -> None:
    """Rows in and out, concepts by decision, scores, states, seconds."""
    rows, concepts, metrics = summary.rows, summary.concepts, summary.metrics
    console.print(f"Run {summary.run_id[:12]}: {summary.status}")
    console.print(
        f"  rows      {rows['read']:,} read = {rows['accepted']:,} accepted "
        f"+ {rows['duplicates']:,} duplicates + {rows['quarantined']:,} quarantined"
    )
    console.print(
        f"  concepts  {concepts.seen} seen: {concepts.promoted} promoted, "
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
    timed = ", ".join(f"{name} {s:.1f}" for name, s in summary.seconds.items() if s >= 0.05)
    console.print(f"  seconds   {timed}")
    for remark in summary.remarks:
        console.print(f"  note      {remark}", markup=False)
