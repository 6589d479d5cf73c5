"""Print the comparison of two algorithm versions in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.evidence.sentences import number, signed
from flows.reports.terminal import SHOWN, WIDE
from flows.versions.report import (
    TITLES,
    moves_sentence,
    source_sentences,
    verdict_of,
    verdict_sentence,
)

if TYPE_CHECKING:
    from rich.console import Console

    from bkt_core.evaluation.paired_scores import ScoreDifference
    from flows.versions.comparison import VersionComparison


def show_versions(console: Console, found: VersionComparison) -> None:
    """Print verdict, scores and the concepts that differ most."""
    console.print(Text(f"{found.b} against {found.a}", style="bold"))
    for sentence in (
        verdict_sentence(found),
        moves_sentence(found),
        *source_sentences(found),
    ):
        console.print(Text(f"  {sentence}"))
    console.print(_score_table(found))
    best: list[dict[str, Any] | None] = list(found.concepts.drop_nulls("gain").to_dicts())
    each = SHOWN // 2
    rows = best if len(best) <= 2 * each else [*best[:each], None, *best[-each:]]
    console.print(_concept_table(found, rows, wide=console.width >= WIDE))
    if len(best) > 2 * each:
        console.print(Text(f"  {len(best) - 2 * each} between them: see the page."))


def score_text(value: float | None) -> str:
    """Format a score with four decimals, or as a dash."""
    return "-" if value is None else f"{value:.4f}"


def interval(one: ScoreDifference, *, decimals: int = 4) -> str:
    """Format the 95 % interval of B minus A."""
    if one.interval is None:
        return "-"
    return " to ".join(f"{end:+.{decimals}f}" for end in one.interval)


def _score_table(found: VersionComparison) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("held-out attempts")
    for name in (found.a, found.b, "change", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for name, one in found.pooled.scores.items():
        title, more_is_better = TITLES[name]
        table.add_row(
            title,
            score_text(one.a),
            score_text(one.b),
            signed(one.change),
            interval(one),
            better(one, more_is_better=more_is_better),
        )
    return table


def better(one: ScoreDifference, *, more_is_better: bool) -> str:
    """Return which side is better, if the interval of the score excludes 0."""
    if one.interval is None or one.interval[0] <= 0.0 <= one.interval[1]:
        return ""
    return "better" if (one.interval[0] > 0.0) == more_is_better else "worse"


def _concept_table(
    found: VersionComparison, rows: list[dict[str, Any] | None], *, wide: bool
) -> Table:
    """Build the table of the concepts with the largest gains and losses of B."""
    table = Table(
        title=f"Concepts ({found.concepts.height}), by the gain of {found.b} in all",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("concept", overflow="fold", max_width=48 if wide else 20)
    names = ["attempts", "gain", *(("± s.e.",) if wide else ()), "shown"]
    names += [f"AUC {found.a}", f"AUC {found.b}"] if wide else []
    names += [
        "up",
        "down",
        *(("of states", "mean move", f"L0 {found.a}→{found.b}") if wide else ()),
    ]
    for name in names:
        table.add_column(name, justify="left" if name == "shown" else "right", no_wrap=True)
    for row in rows:
        if row is None:
            table.add_row(*["…", *[""] * len(names)])
            continue
        verdict = verdict_of(row["p_not_better"], row["p_not_worse"])
        aucs = (number(row["auc_a"]), number(row["auc_b"]))
        moved = (
            f"{row['states']:,}",
            f"{row['mean_move']:.3f}",
            f"{row['p_L0_a']:.3f}→{row['p_L0_b']:.3f}",
        )
        table.add_row(
            Text(row["concept_id"]),
            f"{row['n_attempts']:,}",
            signed(row["gain"]),
            *((score_text(row["standard_error"]),) if wide else ()),
            "" if verdict == "not told apart" else verdict,
            *(aucs if wide else ()),
            f"{row['up']:,}",
            f"{row['down']:,}",
            *(moved if wide else ()),
        )
    return table
