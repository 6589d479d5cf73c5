"""Print a run in the terminal, or return it as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bkt_core.family.params import names_among
from flows.evidence.scalars import run_scalars
from flows.evidence.sentences import (
    bounds_rows,
    brief,
    decisions,
    in_order,
    move,
    number,
    reasons,
    signed,
    summary_sentences,
)

if TYPE_CHECKING:
    from rich.console import Console

    from flows.evidence.evidence import RunEvidence

#: Number of concepts listed per decision; `report.html` has all of them.
SHOWN = 15
#: Width of a terminal from which on tables have more columns.
WIDE = 120


def report_json(evidence: RunEvidence) -> dict[str, Any]:
    """Return a run as plain values: facts, scalars, one object per concept."""
    facts = evidence.facts
    scalars = run_scalars(evidence).items()
    return {
        "run_id": facts.run_id,
        "kind": facts.kind,
        "status": facts.status,
        "started_at": facts.started_at,
        "finished_at": facts.finished_at,
        "tags": dict(facts.tags),
        "metrics": {name: None if math.isnan(value) else value for name, value in scalars},
        "decisions": decisions(evidence),
        "reasons": reasons(evidence),
        "bounds": bounds_rows(evidence),
        "concepts": evidence.concepts.to_dicts(),
    }


def show_report(console: Console, evidence: RunEvidence) -> None:
    """Print a run in the terminal."""
    facts = evidence.facts
    console.print(Text(f"{facts.name}: {facts.status}", style="bold"))
    for sentence in summary_sentences(evidence):
        console.print(Text(f"  {sentence}"))
    for decision in ("promoted", "kept", "rejected", "skipped", "failed"):
        some = evidence.concepts.filter(pl.col("decision") == decision)
        if some.height:
            console.print()
            title = f"{facts.decided(decision)} ({some.height})"
            console.print(_decision_table(title, some, wide=console.width >= WIDE))
            if some.height > SHOWN:
                console.print(Text(f"  and {some.height - SHOWN} more: see report.html"))


def _decision_table(title: str, concepts: pl.DataFrame, *, wide: bool) -> Table:
    """Build the table of one decision, concepts that affect most users first."""
    shown = in_order(concepts).head(SHOWN)
    rows = [_cells(row, wide=wide) for row in shown.to_dicts()]
    filled = [name for name in rows[0] if any(row[name] for row in rows)]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1 if wide else 0, 0, 0),
    )
    for name in filled:
        is_text = name in ("concept", "why")
        table.add_column(
            name,
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
            max_width=32 if name == "concept" else None,
        )
    for row in rows:
        table.add_row(*(Text(row[name]) for name in filled))
    return table


def _cells(row: dict[str, Any], *, wide: bool) -> dict[str, str]:
    """Return the cells of one row; parameters are shown if they are or may come in force."""
    gain = row["gain_champion"] if row["old_is_fitted"] else row["gain_defaults"]
    tells_params = row["decision"] in ("promoted", "kept")
    cells = {"concept": str(row["concept_id"])}
    if wide:
        cells["users"] = "" if row["n_users"] is None else f"{row['n_users']:,}"
    cells["AUC"] = number(row["auc"])
    if wide:
        cells |= {"log loss": number(row["log_loss"]), "gain": signed(gain)}
    for name in names_among(row):
        moved = move(row[f"old_{name}"], row[name]) if tells_params else ""
        cells[name.removeprefix("p_")] = moved
    if wide and tells_params and row["users_up"] is not None:
        cells["up / down"] = f"{row['users_up']} / {row['users_down']}"
    elif wide:
        cells["up / down"] = ""
    return cells | {"why": brief(row)}
