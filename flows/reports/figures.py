"""Figures that answer one question each, drawn from the evidence of a run."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import polars as pl
from matplotlib import rc_context
from matplotlib.figure import Figure

from bkt_core.family.params import names_among
from bkt_core.params import PARAM_NAMES
from flows.reports.page_parts import MIN_POINT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

    from flows.evidence.evidence import RunEvidence

#: Colours that people with red-green blindness can distinguish (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8a8f98"
COLOUR_OF = {
    "promoted": GREEN,
    "kept": BLUE,
    "rejected": ORANGE,
    "skipped": GREY,
    "failed": "#000000",
}
CURVES_SHOWN = 6
#: Fewest points of a curve.
MIN_POINTS = 4
FONTS = ["DejaVu Sans", "sans-serif"]


def figures(evidence: RunEvidence) -> dict[str, str]:
    """Draw every figure for which the run has data; return them by name, as SVG."""
    drawn = {name: draw(evidence) for name, draw in DRAWERS.items()}
    return {name: as_svg(name, figure) for name, figure in drawn.items() if figure is not None}


def as_svg(name: str, figure: Figure) -> str:
    """Return the figure as an SVG element for a page; equal figures give equal bytes."""
    text = StringIO()
    # Text stays text, which is small and found by the browser's search.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": FONTS}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def reliability(evidence: RunEvidence) -> Figure | None:
    """Draw observed against predicted shares of correct attempts, out of fold."""
    rows = [row for row in evidence.facts.scores.calibration if row[0] + row[1] >= MIN_POINT]
    if not rows:
        return None
    figure, axes = _one(5.2, 4.6)
    totals = [wrong + right for wrong, right, _ in rows]
    predicted = [p_sum / n for (_, _, p_sum), n in zip(rows, totals, strict=True)]
    observed = [right / n for (_, right, _), n in zip(rows, totals, strict=True)]
    largest = max(totals)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    axes.plot(predicted, observed, color=BLUE, linewidth=1)
    sizes = [15 + 120 * n / largest for n in totals]
    axes.scatter(predicted, observed, s=sizes, color=BLUE, label="this run, area: attempts")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted P(correct)", ylabel="share right")
    axes.legend(loc="upper left", frameon=False)
    return figure


def learning_curves(evidence: RunEvidence) -> Figure | None:
    """Draw learning curves of the largest and the worst calibrated concepts, with the model."""
    fitted = evidence.concepts.filter(pl.col("auc").is_not_null())
    half = CURVES_SHOWN // 2
    fitted = fitted.filter(pl.col("concept_id").is_in(_with_curves(evidence)))
    if fitted.is_empty():
        return None
    largest = fitted.sort("n_attempts", descending=True).head(half)
    rest = fitted.filter(~pl.col("concept_id").is_in(largest["concept_id"].to_list()))
    worst = rest.sort("calibration_error", descending=True).head(half)
    figure = Figure(figsize=(9.4, 5.4))
    figure.subplots_adjust(
        left=0.07, right=0.99, top=0.95, bottom=0.09, hspace=0.32, wspace=0.18
    )
    for place, (title, chosen) in enumerate(
        (("largest", largest), ("worst calibrated", worst))
    ):
        for column, concept in enumerate(chosen["concept_id"]):
            axes = figure.add_subplot(2, half, place * half + column + 1)
            _curve(axes, evidence, concept)
            axes.set_title(f"{shortened(concept)} ({title})", fontsize=9, parse_math=False)
            if column == 0:
                axes.set_ylabel("share right")
                axes.legend(frameon=False, fontsize=8, loc="lower right")
            if place == 1:
                axes.set_xlabel("opportunity")
    return figure


def parameter_moves(evidence: RunEvidence) -> Figure | None:
    """Draw each parameter in force before the run against its fitted value."""
    pairs = {name: (f"old_{name}", name) for name in names_among(evidence.concepts.columns)}
    return _moves(evidence.concepts, pairs, "decision", axis_names=("before", "this fit"))


def moves_between(concepts: pl.DataFrame) -> Figure | None:
    """Draw each parameter as fitted in A against its value in B."""
    names = names_among([name.removesuffix("_a") for name in concepts.columns])
    pairs = {name: (f"{name}_a", f"{name}_b") for name in names}
    return _moves(concepts, pairs, "decision_b", axis_names=("A", "B"))


def _moves(
    concepts: pl.DataFrame,
    pairs: Mapping[str, tuple[str, str]],
    decision_of: str,
    *,
    axis_names: tuple[str, str],
) -> Figure | None:
    usual = [column for name in PARAM_NAMES for column in pairs[name]]
    # What a version does not have is 0, which does the same.
    moved = concepts.drop_nulls(usual).with_columns(
        pl.col(column).fill_null(0.0) for pair in pairs.values() for column in pair
    )
    if moved.is_empty():
        return None
    figure = Figure(figsize=(9.4, 2.9))
    figure.subplots_adjust(left=0.07, right=0.99, top=0.90, bottom=0.18, wspace=0.28)
    for place, (name, (old, new)) in enumerate(pairs.items()):
        axes = figure.add_subplot(1, len(pairs), place + 1)
        top = 1.05 * max(moved[new].to_list() + moved[old].to_list())
        axes.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle="--")
        for decision, colour in COLOUR_OF.items():
            some = moved.filter(pl.col(decision_of) == decision)
            if some.height:
                axes.scatter(
                    some[old], some[new], s=12, alpha=0.7, color=colour, label=decision
                )
        axes.set(xlabel=axis_names[0], ylabel=axis_names[1] if place == 0 else "")
        axes.set_title(name.replace("p_", "").replace("L0", "L0 (known before)"), fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def gate_waterfall(evidence: RunEvidence) -> Figure | None:
    """Draw the number of concepts, and how many are left after each gate."""
    concepts = evidence.concepts
    if concepts.is_empty():
        return None
    steps = [("seen", concepts.height, concepts.height, GREY)]
    left = concepts.height
    for decision, title in (
        ("failed", "failed to fit"),
        ("skipped", "too little data"),
        ("rejected", "unusable fit"),
        ("kept", "not better, or held"),
    ):
        lost = concepts.filter(pl.col("decision") == decision).height
        steps.append((title, left, lost, COLOUR_OF[decision]))
        left -= lost
    steps.append(("promoted", left, left, COLOUR_OF["promoted"]))
    figure, axes = _one(5.2, 3.6, left=0.34)
    for place, (_, top, height, colour) in enumerate(steps):
        axes.barh(place, height, left=top - height, color=colour)
        axes.annotate(
            str(height), (top, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(steps)), [step[0] for step in steps])
    axes.invert_yaxis()
    axes.set(xlabel="concepts", xlim=(0, concepts.height * 1.1))
    return figure


def convergence(evidence: RunEvidence) -> Figure | None:
    """Draw steps of fits against the spread of their restarts; one point per concept."""
    fitted = evidence.concepts.filter(pl.col("n_steps").is_not_null())
    if fitted.is_empty():
        return None
    figure, axes = _one(5.2, 3.6)
    done = fitted.filter(pl.col("stopped_by") == "converged")
    stopped = fitted.filter(pl.col("stopped_by") != "converged")
    floor = 1e-9  # smaller spreads are drawn on the axis
    for some, colour, label in ((done, BLUE, "converged"), (stopped, ORANGE, "stopped early")):
        if some.height:
            spread = some["start_spread"].clip(lower_bound=floor)
            axes.scatter(some["n_steps"], spread, s=14, color=colour, alpha=0.7, label=label)
    axes.set_yscale("log")
    axes.set(xlabel="steps of the best start", ylabel="spread of restarts")
    axes.legend(frameon=False)
    return figure


DRAWERS: Mapping[str, Callable[[RunEvidence], Figure | None]] = {
    "gate_waterfall": gate_waterfall,
    "reliability": reliability,
    "convergence": convergence,
    "learning_curves": learning_curves,
    "parameter_moves": parameter_moves,
}


def shortened(concept_id: str, *, limit: int = 28) -> str:
    """Shorten an id to fit above a small figure."""
    return concept_id if len(concept_id) <= limit else f"{concept_id[: limit - 1]}…"


def _with_curves(evidence: RunEvidence) -> list[str]:
    """Return the concepts with enough attempts at enough opportunities."""
    points = evidence.curves.filter(pl.col("n") >= MIN_POINT).group_by("concept_id").len()
    return points.filter(pl.col("len") >= MIN_POINTS)["concept_id"].to_list()


def _curve(axes: Axes, evidence: RunEvidence, concept: str) -> None:
    points = evidence.curves.filter(
        (pl.col("concept_id") == concept) & (pl.col("n") >= MIN_POINT)
    ).sort("opportunity")
    when = points["opportunity"] + 1
    axes.plot(
        when, points["n_correct"] / points["n"], "o", color=BLUE, markersize=3, label="observed"
    )
    predicted = points["sum_p_correct"] / points["n"]
    axes.plot(when, predicted, color=ORANGE, linewidth=1.4, label="predicted")
    axes.set_ylim(0, 1)


def _one(width: float, height: float, *, left: float = 0.13) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left=left, right=0.97, top=0.97, bottom=0.16)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
