"""Two runs side by side, as one HTML file that can be opened from disk."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from flows.evidence.sentences import brief
from flows.reports.comparison import HEADLINES, difference, scalar
from flows.reports.figures import as_svg, moves_between, reliability
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
    from pathlib import Path

    from flows.reports.comparison import RunComparison

_FIRST = (
    Column("concept_id", "concept", "id", 0, "The concept"),
    Column("decision", "decision A → B", "decision", 0, "The decision of each run"),
    Column("why", "why in B", "text", 0, "The basis of B's decision"),
    Column("users_up", "up in B", "count", 0, "Users who would gain mastery with B's fit"),
    Column("users_down", "down in B", "count", 0, "Users who would lose mastery with B's fit"),
)
_LAST = (
    Column("largest_change", "largest move", "number", 4, "Largest change of a parameter"),
    Column("auc_a", "AUC A", "number", 3, "On held-out users of A"),
    Column("auc_b", "AUC B", "number", 3, "On held-out users of B"),
    Column("gain", "gain of B", "signed", 4, "Log loss of A minus that of B, nats per attempt"),
)
NOTE = (
    "Concepts in both runs: other decisions first, then the largest moves. "
    "Click a row to see every check of B, a heading to sort; hover over a heading for help."
)


def write_comparison(path: Path, comparison: RunComparison) -> Path:
    """Write the page of two runs and return its path."""
    return write_whole(path, comparison_page(comparison))


def comparison_page(comparison: RunComparison) -> str:
    """Return the page of two runs."""
    in_b = {row["concept_id"]: row for row in comparison.b.concepts.to_dicts()}
    letters = (
        Column(name, name.removeprefix("p_"), "move", 0, "As fitted in A, then in B")
        for name in comparison.letters
    )
    return page_of(
        title="Two runs compared",
        body=_body(comparison),
        note=NOTE,
        columns=(*_FIRST, *letters, *_LAST),
        rows=[
            _row(row, in_b[row["concept_id"]], comparison.letters)
            for row in comparison.concepts.to_dicts()
        ],
        checks=checks_of(comparison.b),
        after=_only_in(comparison),
    )


def _row(both: dict[str, Any], in_b: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    moves = {name: moved(both[f"{name}_a"], both[f"{name}_b"]) for name in names}
    return (
        both
        | moves
        | {name: in_b[name] for name in ("users_up", "users_down")}
        | {"decision": f"{both['decision_a']} → {both['decision_b']}", "why": brief(in_b)}
    )


def _body(comparison: RunComparison) -> str:
    caution = (
        f'<p class="caution">{escape(comparison.caution)}</p>' if comparison.caution else ""
    )
    names = "".join(
        f"<li><b>{letter}</b>: {escape(one.facts.name)}</li>"
        for letter, one in (("A", comparison.a), ("B", comparison.b))
    )
    lines = "".join(
        f'<tr><td class="text">{escape(title)}</td>'
        f"<td>{scalar(a)}</td><td>{scalar(b)}</td>"
        f"<td>{difference(a, b)}</td>"
        f'<td class="text soft">{escape(meaning)}</td></tr>'
        for (title, meaning), (a, b) in (
            (HEADLINES[name], pair) for name, pair in comparison.headlines.items()
        )
    )
    differing = {
        name: f"{a or '-'} → {b or '-'}" for name, (a, b) in comparison.differing.items()
    }
    return (
        f"<ul>{names}</ul>{caution}<h2>Scores and counts</h2>"
        '<div class="scroll"><table><thead><tr><th></th><th>A</th><th>B</th><th>B - A</th>'
        f"<th></th></tr></thead><tbody>{lines}</tbody></table></div>"
        f"<h2>What differs (A → B)</h2>{pairs_table(differing) or '<p>Nothing.</p>'}"
        f'<h2>Figures</h2><div class="figures">{_figures(comparison)}</div>'
    )


def _figures(comparison: RunComparison) -> str:
    shown = ""
    for letter, one in (("A", comparison.a), ("B", comparison.b)):
        figure = reliability(one)
        if figure is not None:
            caption = f"{letter}: {CAPTIONS['reliability']}"
            shown += figure_of(as_svg(f"reliability-{letter}", figure), caption, wide=False)
    moves = moves_between(comparison.concepts)
    if moves is not None:
        caption = "Parameters as fitted in A and in B, coloured by the decision of B."
        shown += figure_of(as_svg("moves-between", moves), caption, wide=True)
    return shown


def _only_in(comparison: RunComparison) -> str:
    return "".join(
        f"<h2>Only in {letter} ({len(only)})</h2><p>{escape(', '.join(only))}</p>"
        for letter, only in (("A", comparison.only_a), ("B", comparison.only_b))
        if only
    )
