"""A run told to a person in the terminal, or to a program as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table
from rich.text import Text

from flows.run_scalars import DECISIONS, run_scalars

if TYPE_CHECKING:
    from rich.console import Console

    from flows.run_evidence import RunEvidence

#: Concepts listed per decision; `report.html` lists all.
SHOWN = 15
RIVAL_NAMES = {
    "defaults": "the defaults",
    "mean": "each concept's mean",
    "champion": "the champions",
}


def report_json(evidence: RunEvidence) -> dict[str, Any]:
    """All of a run for a program: facts, scalars, one object per concept."""
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


def decisions(evidence: RunEvidence) -> dict[str, int]:
    """Concepts by decision."""
    counts = dict(evidence.concepts["decision"].value_counts().iter_rows())
    return {name: counts.get(name, 0) for name in DECISIONS}


def reasons(evidence: RunEvidence) -> list[dict[str, Any]]:
    """Why concepts were not promoted: each reason and how many it stopped."""
    stopped = evidence.concepts.filter(pl.col("decision") != "promoted")
    counted = (
        stopped.with_columns(pl.col("reason").str.split(", "))
        .explode("reason")
        .group_by("decision", "reason")
        .agg(pl.len().alias("concepts"))
        .sort("concepts", "decision", "reason", descending=[True, False, False])
    )
    return counted.to_dicts()


def bounds_rows(evidence: RunEvidence) -> list[dict[str, Any]]:
    """How many fits sit on which bound, and what a wider box would bring."""
    return [
        {
            "bound": cost.bound,
            "concepts": cost.n_concepts,
            "auc": cost.auc,
            "wide_auc": cost.wide_auc,
            "log_loss": cost.log_loss,
            "wide_log_loss": cost.wide_log_loss,
        }
        for cost in evidence.facts.scores.bounds
    ]


def summary_sentences(evidence: RunEvidence) -> list[str]:
    """What a person wants to know first, one sentence each."""
    facts, counts = evidence.facts, decisions(evidence)
    told = [
        f"Of {evidence.concepts.height} concepts "
        + ", ".join(f"{counts[name]} {name}" for name in DECISIONS if counts[name])
        + "."
    ]
    pooled = facts.scores.pooled
    if pooled is not None:
        auc = "undefined" if pooled.auc is None else f"{pooled.auc:.4f}"
        told.append(
            f"On {pooled.n:,} held-out attempts: AUC {auc}, RMSE {pooled.rmse:.4f}, "
            f"log loss {pooled.log_loss:.4f}, accuracy {pooled.accuracy:.1%}, "
            f"calibration error {pooled.calibration_error:.4f}."
        )
    told += [
        f"Against {RIVAL_NAMES[name]}: log loss {own:.4f} instead of {rival:.4f} "
        f"({'better' if own < rival else 'worse'} by {abs(rival - own):.4f} nats per attempt)."
        for name, (rival, own) in facts.scores.log_loss_of.items()
    ]
    told.append(users_sentence(evidence))
    told += [bound_sentence(row, evidence.concepts.height) for row in bounds_rows(evidence)]
    return told


def users_sentence(evidence: RunEvidence) -> str:
    """What the promotions do to users."""
    promoted = evidence.concepts.filter(pl.col("decision") == "promoted")
    held = evidence.concepts.filter(pl.col("reason").str.contains("impact"))
    up, down = int(promoted["users_up"].sum()), int(promoted["users_down"].sum())
    sentence = (
        f"The promotions lift {up:,} mastery states above {evidence.facts.mastery_threshold:g} "
        f"and drop {down:,} below it"
    )
    if held.height:
        sentence += (
            f"; {held.height} concepts wait for a person, since they move too many users"
        )
    return f"{sentence}."


def bound_sentence(row: dict[str, Any], n_concepts: int) -> str:
    """How often one bound binds, and its price."""
    sentence = f"{row['concepts']} of {n_concepts} concepts end on the bound {row['bound']}"
    if row["auc"] is not None and row["wide_auc"] is not None:
        change = row["wide_auc"] - row["auc"]
        sentence += (
            f"; in the wider box their held-out AUC is {row['wide_auc']:.4f} instead of "
            f"{row['auc']:.4f} ({change:+.4f}), log loss {row['wide_log_loss']:.4f} instead of "
            f"{row['log_loss']:.4f}"
        )
    return f"{sentence}."


def show_report(console: Console, evidence: RunEvidence) -> None:
    """Print a run for a person."""
    facts = evidence.facts
    console.print(Text(f"{facts.name}: {facts.status}", style="bold"))
    for sentence in summary_sentences(evidence):
        console.print(Text(f"  {sentence}"))
    for decision in ("promoted", "kept", "rejected", "skipped", "failed"):
        some = evidence.concepts.filter(pl.col("decision") == decision)
        if some.height:
            console.print()
            console.print(_decision_table(decision, some))
            if some.height > SHOWN:
                console.print(Text(f"  and {some.height - SHOWN} more: see report.html"))


def _decision_table(decision: str, concepts: pl.DataFrame) -> Table:
    """The concepts of one decision, those that touch most users first."""
    fitted = concepts["auc"].null_count() < concepts.height
    table = Table(
        title=f"{decision} ({concepts.height})", title_justify="left", title_style="bold"
    )
    table.add_column("concept", overflow="fold", max_width=32)
    for name in ("users", "AUC", "log loss", "gain") if fitted else ("users",):
        table.add_column(name, justify="right")
    if decision in ("promoted", "kept") and fitted:
        for name in ("L0", "T", "S", "G"):
            table.add_column(name, justify="right")
        table.add_column("up / down", justify="right")
    table.add_column("why", overflow="fold")
    shown = concepts.sort("n_users", "concept_id", descending=[True, False], nulls_last=True)
    for row in shown.head(SHOWN).to_dicts():
        table.add_row(*_cells(row, decision, fitted=fitted))
    return table


def _cells(row: dict[str, Any], decision: str, *, fitted: bool) -> list[Text]:
    cells = [row["concept_id"], "" if row["n_users"] is None else f"{row['n_users']:,}"]
    if fitted:
        gain = row["gain_champion"] if row["old_is_fitted"] else row["gain_defaults"]
        cells += [number(row["auc"]), number(row["log_loss"]), signed(gain)]
    if decision in ("promoted", "kept") and fitted:
        cells += [move(row[f"old_{name}"], row[name]) for name in ("p_L0", "p_T", "p_S", "p_G")]
        cells.append(f"{row['users_up'] or 0} / {row['users_down'] or 0}")
    return [Text(str(cell)) for cell in (*cells, brief(row))]


def brief(row: dict[str, Any]) -> str:
    """The reason in a few words where the rest of the row tells it, else in its sentences."""
    if row["decision"] == "promoted":
        return "better than the champion" if row["old_is_fitted"] else "first fit, not worse"
    if row["reason"] == "impact":
        return "impact: too many users would cross the threshold"
    return str(row["why"])


def number(value: float | None) -> str:
    """Three decimals, or nothing."""
    return "" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Four decimals with their sign, or nothing."""
    return "" if value is None else f"{value:+.4f}"


def move(old: float | None, new: float | None) -> str:
    """A parameter before and after."""
    if new is None:
        return ""
    return f"{new:.2f}" if old is None else f"{old:.2f}→{new:.2f}"
