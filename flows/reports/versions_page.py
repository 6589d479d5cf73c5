"""The comparison of two algorithm versions, as one HTML file that can be opened from disk."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl
from matplotlib.figure import Figure

from bkt_core.evaluation.paired_scores import Z_95
from flows.reports.figures import BLUE, GREEN, GREY, ORANGE, as_svg
from flows.reports.page_parts import (
    Column,
    figure_of,
    moved,
    page_of,
    pairs_table,
    write_whole,
)
from flows.reports.versions import better, interval, score_text
from flows.versions.files import PAGE
from flows.versions.report import TITLES, verdict_of

if TYPE_CHECKING:
    from pathlib import Path

    from flows.versions.comparison import VersionComparison
    from flows.versions.report import VersionReport

COLOURS = {"better": GREEN, "not told apart": GREY, "worse": ORANGE}


def write_version_page(folder: Path, report: VersionReport) -> Path:
    """Write the page of a comparison into the folder of its run."""
    return write_whole(folder / PAGE, version_page(report))


def version_page(report: VersionReport) -> str:
    """Return the page that compares version B with version A."""
    found = report.comparison
    return page_of(
        title=f"Version {found.b} against {found.a}",
        body=_body(report),
        note=(
            f"The largest gain of {escape(found.b)} over all attempts first. Better and worse "
            "refer to one-sided tests at 5 %, paired by user, for each concept alone. Click a "
            "heading to sort; hover over it for help."
        ),
        columns=_columns(found),
        rows=[_row(row, found.letters) for row in found.concepts.to_dicts()],
        checks={},
        after="",
    )


def _columns(found: VersionComparison) -> tuple[Column, ...]:
    a, b = found.a, found.b
    return (
        Column("concept_id", "concept", "id", 0, "The concept"),
        Column("verdict", f"{b} is", "decision", 0, f"Beside {a}, by log loss"),
        Column("source", "parameters", "text", 0, f"Where those of {a} and {b} come from"),
        Column("n_attempts", "attempts", "count", 0, "Held-out attempts that both predict"),
        Column("n_users", "users", "count", 0, "Users of these attempts"),
        Column("gain", "gain", "signed", 4, f"Log loss of {a} minus {b}, nats per attempt"),
        Column("standard_error", "± s.e.", "number", 4, "Of the gain, over users"),
        Column("auc_a", f"AUC {a}", "number", 3, "On held-out users"),
        Column("auc_b", f"AUC {b}", "number", 3, "On held-out users"),
        Column("mastered_a", f"mastered {a}", "count", 0, "Users at or above the threshold"),
        Column("up", "up", "count", 0, f"Users who would gain mastery with {b}"),
        Column("down", "down", "count", 0, f"Users who would lose mastery with {b}"),
        Column("mean_move", "mean move", "number", 3, "Mean size of the change of mastery"),
        *(
            Column(name, name.removeprefix("p_"), "move", 0, f"{a}, then {b}")
            for name in found.letters
        ),
    )


def _row(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    a, b = row["source_a"], row["source_b"]
    letters = {name: moved(row[f"{name}_a"], row[f"{name}_b"]) for name in names}
    return (
        row
        | letters
        | {
            "verdict": verdict_of(row["p_not_better"], row["p_not_worse"]),
            "source": a if a == b else f"{a}, {b}",
        }
    )


def _body(report: VersionReport) -> str:
    found = report.comparison
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.sentences())
    lines = "".join(
        f'<tr><td class="text">{TITLES[name][0]}</td><td>{score_text(one.a)}</td>'
        f"<td>{score_text(one.b)}</td><td>{'-' if one.change is None else f'{one.change:+.4f}'}"
        f"</td><td>{interval(one)}</td>"
        f'<td class="text soft">{better(one, more_is_better=TITLES[name][1])}</td></tr>'
        for name, one in found.pooled.scores.items()
    )
    heads = "".join(
        f"<th>{escape(name)}</th>" for name in (found.a, found.b, "change", "95 % interval")
    )
    return (
        f'<p class="soft">{escape(report.name)}</p><ul>{items}</ul><h2>Scores</h2>'
        f'<div class="scroll"><table><thead><tr><th></th>{heads}<th></th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
        '<p class="soft">On attempts of users who were left out of the fits, the same for '
        "both. Intervals: over users, each score linearised.</p>"
        f'<h2>Figures</h2><div class="figures">{_figures(found)}</div>'
        f"<h2>Inputs</h2>{pairs_table(dict(report.tags))}"
    )


def _figures(found: VersionComparison) -> str:
    known = found.concepts.drop_nulls("gain")
    if known.is_empty():
        return ""
    coloured = known.with_columns(
        verdict=pl.Series(
            [
                verdict_of(*pair)
                for pair in known.select("p_not_better", "p_not_worse").iter_rows()
            ]
        )
    )
    gains = figure_of(
        as_svg("version-gains", _gains(coloured)),
        f"Gain of {found.b} at each concept by its attempts, with 95 % intervals.",
        wide=False,
    )
    moves = figure_of(
        as_svg("version-letters", _letters(coloured, found)),
        f"Parameters of each concept under {found.a} and under {found.b}.",
        wide=True,
    )
    return gains + moves


def _gains(concepts: pl.DataFrame) -> Figure:
    figure = Figure(figsize=(6.4, 4.2))
    figure.subplots_adjust(left=0.14, right=0.97, top=0.97, bottom=0.13)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(0.0, color=GREY, linewidth=1, linestyle="--")
    for verdict, colour in COLOURS.items():
        some = concepts.filter(pl.col("verdict") == verdict)
        if some.height:
            axes.errorbar(
                some["n_attempts"],
                some["gain"],
                yerr=some["standard_error"].fill_null(0.0) * Z_95,
                fmt="o",
                markersize=3,
                linewidth=0.7,
                color=colour,
                label=f"{verdict} ({some.height})",
            )
    axes.set_xscale("log")
    axes.set(xlabel="held-out attempts", ylabel="gain, nats per attempt")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _letters(concepts: pl.DataFrame, found: VersionComparison) -> Figure:
    figure = Figure(figsize=(9.4, 2.9))
    figure.subplots_adjust(left=0.07, right=0.99, top=0.90, bottom=0.18, wspace=0.28)
    # A parameter that one version alone has is 0 in the other, which does the same.
    for place, name in enumerate(found.letters):
        axes = figure.add_subplot(1, len(found.letters), place + 1)
        both = concepts.select(f"{name}_a", f"{name}_b").fill_null(0.0)
        top = 1.05 * max(value for row in both.iter_rows() for value in row)
        axes.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle="--")
        axes.scatter(both[f"{name}_a"], both[f"{name}_b"], s=12, alpha=0.7, color=BLUE)
        axes.set_xlabel(found.a, parse_math=False)
        axes.set_ylabel(found.b if place == 0 else "", parse_math=False)
        axes.set_title(name.removeprefix("p_"), fontsize=9)
    return figure
