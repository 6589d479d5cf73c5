"""A run as one HTML file that can be opened from disk."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from bkt_core.family.params import names_among
from flows.evidence.evidence import DATA_PAGE, FIGURES, PAGE
from flows.evidence.sentences import brief, decisions, in_order, summary_sentences, when
from flows.reports.page_parts import (
    CAPTIONS,
    Column,
    checks_of,
    figure_of,
    moved,
    page_of,
    pairs_table,
    write_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flows.evidence.evidence import RunEvidence

#: Figures that need the full width.
WIDE = ("learning_curves", "parameter_moves")

_FIRST = (
    Column("concept_id", "concept", "id", 0, "The concept"),
    Column("decision", "decision", "decision", 0, "The decision of this run"),
    Column("brief", "why", "text", 0, "The basis of the decision"),
    Column("n_users", "users", "count", 0, "Users with at least one attempt"),
    Column("users_up", "up", "count", 0, "Users who would gain mastery"),
    Column("users_down", "down", "count", 0, "Users who would lose mastery"),
    Column("auc", "AUC", "number", 3, "Area under the curve on held-out users"),
    Column("log_loss", "log loss", "number", 4, "Nats per attempt on held-out users"),
    Column("gain", "gain", "signed", 4, "Nats per attempt better than the incumbent"),
)
_LAST = (
    Column("n_attempts", "attempts", "count", 0, "Attempts that were fitted"),
    Column("on_bounds", "on bounds", "move", 0, "Parameters that are on a bound"),
)


def _columns(evidence: RunEvidence) -> tuple[Column, ...]:
    names = names_among(evidence.concepts.columns)
    letters = (
        Column(name, name.removeprefix("p_"), "move", 0, "In force before, then as fitted")
        for name in names
    )
    return (*_FIRST, *letters, *_LAST)


def write_page(folder: Path, evidence: RunEvidence, *, redraw: bool = True) -> Path:
    """Write the page of a run and its figures into the folder of the run.

    With `redraw` False, existing figures in the folder are kept, as they show the same
    decisions.
    """
    drawn = {} if redraw else _figures_in(folder / FIGURES)
    if not drawn:
        drawn = _figures_of(evidence)
        for name, svg in drawn.items():
            write_whole(folder / FIGURES / f"{name}.svg", svg)
    return write_whole(folder / PAGE, report_page(evidence, drawn, beside=folder))


def _figures_of(evidence: RunEvidence) -> dict[str, str]:
    from flows.reports.figures import figures  # imports Matplotlib

    return figures(evidence)


def _figures_in(folder: Path) -> dict[str, str]:
    """Read the figures that were drawn earlier, in their order."""
    files = {name: folder / f"{name}.svg" for name in CAPTIONS}
    return {name: file.read_text("utf-8") for name, file in files.items() if file.is_file()}


def report_page(
    evidence: RunEvidence, drawn: Mapping[str, str] | None = None, *, beside: Path | None = None
) -> str:
    """Return the page of one run.

    `drawn` holds its figures, if they are already drawn; files in the folder `beside` are
    linked.
    """
    tags = {**evidence.facts.tags, **evidence.facts.settings}
    has_data = beside is not None and (beside / DATA_PAGE).is_file()
    return page_of(
        title=evidence.facts.name,
        body=_run_body(
            evidence, _figures_of(evidence) if drawn is None else drawn, has_data=has_data
        ),
        note="Concepts by decision, then by number of users. "
        "Click a row to see every check with its measured value; click a heading to sort.",
        columns=_columns(evidence),
        rows=[_run_row(row) for row in in_order(evidence.concepts).to_dicts()],
        checks=checks_of(evidence),
        after=f"<h2>Inputs of this run</h2>{pairs_table(tags)}",
    )


def _run_body(evidence: RunEvidence, drawn: Mapping[str, str], *, has_data: bool) -> str:
    facts, counts = evidence.facts, decisions(evidence)
    tiles = {"concepts": str(evidence.concepts.height)}
    tiles |= {name: str(count) for name, count in counts.items() if count}
    if facts.scores.pooled is not None:
        pooled = facts.scores.pooled
        tiles |= {
            "held-out AUC": "-" if pooled.auc is None else f"{pooled.auc:.4f}",
            "log loss": f"{pooled.log_loss:.4f}",
            "RMSE": f"{pooled.rmse:.4f}",
        }
    sentences = summary_sentences(evidence)[1:]  # the tiles have the first one
    shown = "".join(
        figure_of(svg, CAPTIONS[name], wide=name in WIDE) for name, svg in drawn.items()
    )
    data = (
        f' · <a href="{DATA_PAGE}">The attempts of this run</a> ({DATA_PAGE}, in this folder)'
        if has_data
        else ""
    )
    return (
        f'<p class="soft">{escape(facts.status)} · {escape(when(facts))} · '
        f"run {escape(facts.run_id)}</p>"
        f'<div class="tiles">{_tiles(tiles)}</div>'
        f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
        f'<p><a href="#concepts">To the concepts</a>{data}</p>'
        f'<div class="figures">{shown}</div>'
    )


def _run_row(row: dict[str, Any]) -> dict[str, Any]:
    moves = {name: moved(row[f"old_{name}"], row[name]) for name in names_among(row)}
    gain = row["gain_champion"] if row["old_is_fitted"] else row["gain_defaults"]
    return row | moves | {"brief": brief(row), "gain": gain}


def _tiles(values: dict[str, str]) -> str:
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b>{escape(name)}</div>'
        for name, value in values.items()
    )
