"""Parts of the pages of runs: the template, tables, figures.

Concept ids are untrusted: they are put into a page as JSON and become text nodes, never markup.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets.whole_files import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.evidence.evidence import RunEvidence

#: Points of a figure with fewer attempts are not drawn, because they are too uncertain.
MIN_POINT = 30
#: The figures of a run in their order, with their captions.
CAPTIONS = {
    "gate_waterfall": "Concepts that are left after each step towards promotion.",
    "reliability": "When the model says 70 %, are 70 % right? Held-out users, all concepts.",
    "convergence": "Steps until the fit stopped, and how far apart its restarts ended.",
    "learning_curves": (
        "Do users learn as the model says? Share correct by opportunity on held-out users; "
        f"points of fewer than {MIN_POINT} attempts are left out."
    ),
    "parameter_moves": "Changes of parameters: in force before the run, and as fitted now.",
}

_PLACEHOLDER = re.compile(r"\[\[(title|body|table_note|after|data)\]\]")
TEMPLATE = Path(__file__).with_name("page.html")


class Column(NamedTuple):
    """One column of the concept table."""

    key: str
    heading: str
    kind: str  # id, decision, text, move, count, number, signed
    decimals: int
    meaning: str


def page_of(
    *,
    title: str,
    body: str,
    note: str,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    checks: dict[str, list[list[Any]]],
    after: str,
) -> str:
    """Return a page with one table of concepts; `rows` have the keys of the columns."""
    data = {
        "columns": [
            {
                "name": one.heading,
                "kind": one.kind,
                "digits": one.decimals,
                "help": one.meaning,
            }
            for one in columns
        ],
        "rows": [[row.get(one.key) for one in columns] for row in rows],
        "checks": checks,
    }
    # Inside a script element only "</" and "<!--" could end it or change its meaning.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": escape(title),
        "body": body,
        "table_note": note,
        "after": after,
        "data": text,
    }
    # All placeholders are replaced in one pass, so that a concept id cannot act as one.
    page = TEMPLATE.read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda found: parts[found[1]], page)


def moved(old: float | None, new: float | None) -> str:
    """Format a parameter before and after; once if it did not change."""
    if new is None:
        return ""
    was, now = "" if old is None else f"{old:.3f}", f"{new:.3f}"
    return now if was in ("", now) else f"{was} → {now}"


def figure_of(svg: str, caption: str, *, wide: bool) -> str:
    """Return a figure with its caption as HTML."""
    return (
        f'<figure class="{"wide" if wide else ""}">{svg}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pairs_table(pairs: Mapping[str, str]) -> str:
    """Return names and values as a table with two columns; empty if there are none."""
    if not pairs:
        return ""
    lines = "".join(
        f'<tr><td class="text">{escape(name)}</td>'
        f'<td class="text long">{escape(str(value))}</td></tr>'
        for name, value in pairs.items()
        if value
    )
    return f'<div class="scroll"><table><tbody>{lines}</tbody></table></div>'


def checks_of(evidence: RunEvidence) -> dict[str, list[list[Any]]]:
    """Return every check of each concept, as the page shows them on a click."""
    checks: dict[str, list[list[Any]]] = {}
    for concept, name, passed, severity, sentence in evidence.checks.select(
        "concept_id", "name", "passed", "severity", "sentence"
    ).iter_rows():
        checks.setdefault(concept, []).append([name, passed, severity, sentence])
    return checks


def write_whole(path: Path, page: str) -> Path:
    """Write a page in one atomic step; return its path."""
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path
