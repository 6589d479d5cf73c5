"""A run, or two runs side by side, as one HTML file that opens from disk.

Concept ids come from outside: they reach the page as JSON and become text nodes, never markup.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bkt_core.params import PARAM_NAMES
from datasets.parquet import whole_file
from flows.figures import CAPTIONS, figures
from flows.report import brief, decisions, summary_sentences
from flows.report_comparison import HEADLINES, difference, scalar
from flows.run_evidence import FIGURES, PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.report_comparison import RunComparison
    from flows.run_evidence import RunEvidence

_PLACEHOLDER = re.compile(r"\[\[(title|body|table_note|after|data)\]\]")
TEMPLATE = Path(__file__).with_name("report_page.html")
#: Figures that need the whole width.
WIDE = ("learning_curves", "parameter_moves")

#: Columns of the concept table: key, heading, kind, decimals, what it means.
_COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("concept_id", "concept", "id", 0, "The concept"),
    ("decision", "decision", "decision", 0, "What became of it in this run"),
    ("brief", "why", "text", 0, "What the decision rests on"),
    ("n_attempts", "attempts", "count", 0, "Attempts that the fit saw"),
    ("n_users", "users", "count", 0, "Users with at least one attempt"),
    ("auc", "AUC", "number", 3, "Area under the curve on held-out users"),
    ("log_loss", "log loss", "number", 4, "Nats per attempt on held-out users"),
    ("gain", "gain", "signed", 4, "Nats per attempt better than what was in force"),
    *(
        (name, name.removeprefix("p_"), "move", 0, "In force before the run, then as fitted")
        for name in PARAM_NAMES
    ),
    ("users_up", "users up", "count", 0, "Users who would rise above the mastery threshold"),
    ("users_down", "users down", "count", 0, "Users who would fall below it"),
    ("on_bounds", "on bounds", "move", 0, "Parameters that a bound stopped"),
)
_COMPARED: tuple[tuple[str, str, str, int, str], ...] = (
    ("concept_id", "concept", "id", 0, "The concept"),
    ("decision", "decision A → B", "decision", 0, "What became of it in each run"),
    *(
        (name, name.removeprefix("p_"), "move", 0, "As fitted in A, then in B")
        for name in PARAM_NAMES
    ),
    ("largest_change", "largest move", "number", 4, "Largest change of a parameter"),
    ("auc_a", "AUC A", "number", 3, "On held-out users of A"),
    ("auc_b", "AUC B", "number", 3, "On held-out users of B"),
    ("gain", "gain of B", "signed", 4, "Log loss of A minus that of B, in nats per attempt"),
)


def write_page(folder: Path, evidence: RunEvidence) -> Path:
    """Write the page of a run among its files, and its figures beside it."""
    drawn = figures(evidence)
    for name, svg in drawn.items():
        _write(folder / FIGURES / f"{name}.svg", svg)
    return _write(folder / PAGE, report_page(evidence, drawn))


def write_comparison(path: Path, comparison: RunComparison) -> Path:
    """Write the page of two runs."""
    return _write(path, comparison_page(comparison))


def report_page(evidence: RunEvidence, drawn: Mapping[str, str] | None = None) -> str:
    """The page of one run; `drawn` are its figures where they have been drawn already."""
    rows = [_run_row(row) for row in evidence.concepts.to_dicts()]
    checks: dict[str, list[list[Any]]] = {}
    for concept, name, passed, severity, sentence in evidence.checks.select(
        "concept_id", "name", "passed", "severity", "sentence"
    ).iter_rows():
        checks.setdefault(concept, []).append([name, passed, severity, sentence])
    tags = {**evidence.facts.tags, **evidence.facts.settings}
    return _page(
        title=evidence.facts.name,
        body=_run_body(evidence, figures(evidence) if drawn is None else drawn),
        note="Click a row to see every check with its measured value; click a heading to sort.",
        columns=_COLUMNS,
        rows=rows,
        checks=checks,
        after=f"<h2>What made this run</h2>{_pairs_table(tags)}",
    )


def comparison_page(comparison: RunComparison) -> str:
    """The page of two runs side by side."""
    rows = [
        row
        | {name: _move(row[f"{name}_a"], row[f"{name}_b"]) for name in PARAM_NAMES}
        | {"decision": f"{row['decision_a']} → {row['decision_b']}"}
        for row in comparison.concepts.to_dicts()
    ]
    return _page(
        title="Two runs compared",
        body=_comparison_body(comparison),
        note="Concepts that both runs saw; click a heading to sort.",
        columns=_COMPARED,
        rows=rows,
        checks={},
        after=_only_in(comparison),
    )


def _run_body(evidence: RunEvidence, drawn: Mapping[str, str]) -> str:
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
    told = summary_sentences(evidence)[1:]  # the tiles tell the first
    shown = "".join(
        f'<figure class="{"wide" if name in WIDE else ""}">{svg}'
        f"<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>"
        for name, svg in drawn.items()
    )
    ended = facts.finished_at or "not ended when this was written"
    return (
        f'<p class="soft">{escape(facts.status)} · started {escape(facts.started_at)} · '
        f"ended {escape(ended)} · run {escape(facts.run_id)}</p>"
        f'<div class="tiles">{_tiles(tiles)}</div>'
        f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in told)}</ul>"
        f'<p><a href="#concepts">To the concepts</a></p><div class="figures">{shown}</div>'
    )


def _comparison_body(comparison: RunComparison) -> str:
    caution = (
        f'<p class="caution">{escape(comparison.caution)}</p>' if comparison.caution else ""
    )
    names = "".join(
        f"<li><b>{letter}</b>: {escape(one.facts.name)}</li>"
        for letter, one in (("A", comparison.a), ("B", comparison.b))
    )
    lines = "".join(
        f'<tr><td class="text">{escape(name.removeprefix("pooled_").replace("_", " "))}</td>'
        f"<td>{scalar(a)}</td><td>{scalar(b)}</td>"
        f"<td>{difference(a, b)}</td>"
        f'<td class="text soft">{escape(HEADLINES[name])}</td></tr>'
        for name, (a, b) in comparison.headlines.items()
    )
    differing = {
        name: f"{a or '-'} → {b or '-'}" for name, (a, b) in comparison.differing.items()
    }
    return (
        f"<ul>{names}</ul>{caution}<h2>Scores and counts</h2>"
        '<div class="scroll"><table><thead><tr><th></th><th>A</th><th>B</th><th>B - A</th>'
        f"<th></th></tr></thead><tbody>{lines}</tbody></table></div>"
        f"<h2>What differs (A → B)</h2>{_pairs_table(differing) or '<p>Nothing.</p>'}"
    )


def _only_in(comparison: RunComparison) -> str:
    return "".join(
        f"<h2>Only in {letter} ({len(only)})</h2><p>{escape(', '.join(only))}</p>"
        for letter, only in (("A", comparison.only_a), ("B", comparison.only_b))
        if only
    )


def _run_row(row: dict[str, Any]) -> dict[str, Any]:
    moves = {name: _move(row[f"old_{name}"], row[name]) for name in PARAM_NAMES}
    gain = row["gain_champion"] if row["old_is_fitted"] else row["gain_defaults"]
    return row | moves | {"brief": brief(row), "gain": gain}


def _move(old: float | None, new: float | None) -> str:
    if new is None:
        return ""
    was, now = "" if old is None else f"{old:.3f}", f"{new:.3f}"
    return now if was in ("", now) else f"{was} → {now}"


def _page(
    *,
    title: str,
    body: str,
    note: str,
    columns: tuple[tuple[str, str, str, int, str], ...],
    rows: list[dict[str, Any]],
    checks: dict[str, list[list[Any]]],
    after: str,
) -> str:
    data = {
        "columns": [
            {"name": name, "kind": kind, "digits": digits, "help": meaning}
            for _, name, kind, digits, meaning in columns
        ],
        "rows": [[row.get(key) for key, *_ in columns] for row in rows],
        "checks": checks,
    }
    # Inside a script element only "</" and "<!--" could end or change it.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = {
        "title": escape(title),
        "body": body,
        "table_note": note,
        "after": after,
        "data": text,
    }
    # In one pass, so that a concept named like a placeholder stays a name.
    page = TEMPLATE.read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda found: parts[found[1]], page)


def _tiles(values: dict[str, str]) -> str:
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b>{escape(name)}</div>'
        for name, value in values.items()
    )


def _pairs_table(pairs: dict[str, str]) -> str:
    if not pairs:
        return ""
    lines = "".join(
        f'<tr><td class="text">{escape(name)}</td>'
        f'<td class="text long">{escape(str(value))}</td></tr>'
        for name, value in pairs.items()
        if value
    )
    return f'<div class="scroll"><table><tbody>{lines}</tbody></table></div>'


def _write(path: Path, page: str) -> Path:
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path
