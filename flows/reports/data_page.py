"""Write `data.html` into the folder of a run: figures that describe its attempts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from datasets.whole_files import whole_file
from flows.evidence.evidence import DATA_PAGE
from flows.reports.figures import BLUE, ORANGE, as_svg

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from datasets.sequences.data_report import DataReport
    from datasets.store.attempts.retries import RetryShare

#: Labels of the bin edges in `LATENESS_EDGES`.
LATENESS_NAMES = ("1 s", "1 min", "1 h", "1 day", "1 week", "30 days")
SHARE_BINS = 20
_STYLE = (
    "body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;max-width:1080px;margin:24px auto;"
    "padding:0 24px;color:#1d2129}figure{margin:0 0 24px;border:1px solid #d9dde3;padding:14px}"
    "svg{max-width:100%;height:auto}figcaption{color:#5b6472}"
    "td,th{padding:4px 12px;text-align:left;border-bottom:1px solid #d9dde3}"
)


def write_data_page(
    folder: Path, report: DataReport, retries: RetryShare | None = None
) -> Path:
    """Write the page of an extraction into the folder of a run; return its path."""
    path = folder / DATA_PAGE
    with whole_file(path) as unfinished:
        unfinished.write_text(data_page(report, retries), encoding="utf-8")
    return path


def data_page(report: DataReport, retries: RetryShare | None = None) -> str:
    """Return one HTML page with figures and numbers, without ids of users or concepts."""
    drawn = {
        "Attempts per concept, the largest first.": attempts_per_concept(report),
        "Concepts by share of correct answers.": shares_correct(report),
        "Attempts per user and concept.": sequence_lengths(report),
    }
    if report.n_late:
        drawn[
            "Distribution of lateness. Attempts stored out of order, by how far behind the "
            "latest earlier-stored attempt they are."
        ] = lateness(report)
    body = "".join(
        f"<figure>{as_svg(f'data-{number}', figure)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for number, (caption, figure) in enumerate(drawn.items())
    )
    numbers = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in readable(report).items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Attempts</title>'
        f"<style>{_STYLE}</style></head><body><h1>Attempts</h1>"
        f"<p>{report.n_attempts:,} attempts of {report.n_users:,} users at "
        f"{report.n_concepts:,} concepts, {report.share_correct:.1%} correct; "
        f"{report.n_late:,} late.{retries_sentence(retries)}</p>{body}"
        f"<h2>In numbers</h2><table>{numbers}</table></body></html>\n"
    )


def retries_sentence(retries: RetryShare | None) -> str:
    """Return a sentence on the share of attempts that repeat a question.

    It is empty if no attempt names a question.
    """
    if retries is None or retries.share is None:
        return ""
    return (
        f" {retries.share:.1%} of the attempts repeat a question that their user had attempted "
        f"({retries.n_answers:,} attempts of {retries.n_users:,} users); an import with "
        "--first-attempts leaves them out."
    )


def readable(report: DataReport) -> dict[str, str]:
    """Return the numbers of the report as text, by the label that people read."""
    values = report.as_json()
    shown = {name: f"{values[name]:,}" for name in ("attempts", "users", "concepts", "late")}
    shown |= {"share correct": f"{report.share_correct:.2%}"}
    shown |= {
        f"attempts per concept, {share if share == 'max' else f'{share} of concepts below'}": (
            "-" if value is None else f"{value:,.0f}"
        )
        for share, value in values["attempts_per_concept"].items()
    }
    shown |= {
        f"users x concepts with {lengths} attempts": f"{n:,}"
        for lengths, n in values["sequence_lengths"].items()
    }
    return shown | {"most attempts of one user at one concept": f"{report.longest:,}"}


def attempts_per_concept(report: DataReport) -> Figure:
    """Draw the number of attempts of each concept, largest first, on a log scale."""
    figure, axes = _figure()
    counts = sorted(report.concepts["n_attempts"].to_list(), reverse=True)
    axes.plot(range(1, len(counts) + 1), counts, color=BLUE, marker="o", markersize=2)
    axes.set(xlabel="concept", ylabel="attempts", ylim=(0.9, 1.3 * max(counts, default=1)))
    axes.set_yscale("log")
    return figure


def shares_correct(report: DataReport) -> Figure:
    """Draw the histogram of concepts over their share of correct attempts."""
    figure, axes = _figure()
    axes.hist(
        report.concepts["share_correct"].to_list(),
        bins=SHARE_BINS,
        range=(0.0, 1.0),
        color=BLUE,
    )
    axes.set(xlabel="share correct", ylabel="concepts", xlim=(0, 1))
    return figure


def sequence_lengths(report: DataReport) -> Figure:
    """Draw the distribution of the number of attempts per user and concept."""
    counts = report.length_counts.tolist()
    last = max((k for k, n in enumerate(counts) if n), default=0) + 1
    names = [f"{1 << k}" if k == 0 else f"{1 << k}-{(2 << k) - 1}" for k in range(last)]
    return _bars(names, counts[:last], BLUE, "attempts of one user", "users x concepts")


def lateness(report: DataReport) -> Figure:
    """Draw the distribution of lateness: how far late attempts are behind."""
    names = [f"below {name}" for name in LATENESS_NAMES] + ["longer"]
    return _bars(names, report.lateness_counts.tolist(), ORANGE, "lateness", "attempts")


def _bars(
    names: Sequence[str], counts: Sequence[int], colour: str, xlabel: str, ylabel: str
) -> Figure:
    figure, axes = _figure()
    bars = axes.bar(range(len(names)), counts, color=colour)
    axes.bar_label(bars, labels=[f"{n:,}" for n in counts], fontsize=8)
    axes.set_xticks(range(len(names)), list(names), fontsize=8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.4, 3.2))
    figure.subplots_adjust(left=0.09, right=0.98, top=0.93, bottom=0.17)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
