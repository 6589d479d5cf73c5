"""Counts, sentences and short texts on the results of a run, shared by all reports."""

from __future__ import annotations

from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

import polars as pl

from bkt_core.family.engine import MapEngine
from bkt_core.fitting.shrinkage import SHRUNK, SHRUNK_BELOW
from bkt_core.fitting.uncertainty import Z_95
from flows.evidence.scalars import DECISIONS

if TYPE_CHECKING:
    from flows.evidence.evidence import RunEvidence, RunFacts

RIVAL_NAMES = {"defaults": "the defaults", "mean": "each concept's mean"}


def decisions(evidence: RunEvidence) -> dict[str, int]:
    """Return the number of concepts by decision."""
    counts = dict(evidence.concepts["decision"].value_counts().iter_rows())
    return {name: counts.get(name, 0) for name in DECISIONS}


def reasons(evidence: RunEvidence) -> list[dict[str, Any]]:
    """Return the reasons why concepts were not promoted, with the number of concepts."""
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
    """Return how many fits hit each bound, and the scores in wider bounds."""
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


def in_order(concepts: pl.DataFrame) -> pl.DataFrame:
    """Sort concepts by decision, then by the number of users they affect."""
    rank = pl.col("decision").replace_strict(
        {name: place for place, name in enumerate(DECISIONS)}, return_dtype=pl.Int8
    )
    return concepts.sort(
        rank, "n_users", "concept_id", descending=[False, True, False], nulls_last=True
    )


def when(facts: RunFacts) -> str:
    """Return the start of a run and its duration as text."""
    began = datetime.fromisoformat(facts.started_at)
    said = f"started {began:%Y-%m-%d %H:%M} UTC"
    if facts.finished_at is None:
        return f"{said}, not ended when this was written"
    seconds = (datetime.fromisoformat(facts.finished_at) - began).total_seconds()
    return f"{said}, took {seconds:,.0f} s"


def summary_sentences(evidence: RunEvidence) -> list[str]:
    """Return the main results, one sentence each."""
    facts, counts = evidence.facts, decisions(evidence)
    told = [
        f"Of {evidence.concepts.height} concepts "
        + ", ".join(
            f"{counts[name]} {facts.decided(name)}" for name in DECISIONS if counts[name]
        )
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
        f"Against {_rivals(evidence, name)}: log loss {own:.4f} instead of {rival:.4f} "
        f"({'better' if own < rival else 'worse'} by {abs(rival - own):.4f} nats per attempt)."
        for name, (rival, own) in facts.scores.log_loss_of.items()
    ]
    told.append(users_sentence(evidence))
    remarks = list(facts.summary.get("remarks", []))
    return told + prior_sentences(evidence) + bound_sentences(evidence) + remarks


def _rivals(evidence: RunEvidence, name: str) -> str:
    """Return what the fits were compared with; not every concept has a champion."""
    if name != "champion":
        return RIVAL_NAMES[name]
    compared = evidence.concepts.drop_nulls("champion_log_loss")
    n = int(compared["n_attempts"].sum())
    return f"the champions of {compared.height} concepts, on their {n:,} attempts"


def users_sentence(evidence: RunEvidence) -> str:
    """Return a sentence on the users that the promotions affect."""
    promoted = evidence.concepts.filter(pl.col("decision") == "promoted")
    held = evidence.concepts.filter(pl.col("reason").str.contains("impact"))
    up, down = int(promoted["users_up"].sum()), int(promoted["users_down"].sum())
    facts = evidence.facts
    lift = "lift" if facts.promotes else "would lift"
    if facts.kind == "candidate":
        lift = f"would, with {facts.tags['algo_version']} in force, lift"
    sentence = (
        f"The promotions {lift} {up:,} mastery states above "
        f"{evidence.facts.mastery_threshold:g} and drop {down:,} below it"
    )
    if held.height:
        sentence += (
            f"; {held.height} concepts wait for a person, since they move too many users"
        )
    return f"{sentence}."


def prior_sentences(evidence: RunEvidence) -> list[str]:
    """Return sentences on the number of fits with a prior, and on the prior."""
    fitted = evidence.concepts.filter(pl.col("auc").is_not_null())
    n_shrunk = fitted["engine"].str.ends_with(SHRUNK).sum()
    letters = [
        f"{name.removeprefix('prior.').removeprefix('p_')} {text}"
        for name, text in evidence.facts.settings.items()
        if name.startswith("prior.")
    ]
    if letters and fitted.height and (fitted["engine"] == MapEngine.name).all():
        return [
            f"All {fitted.height} fits were drawn towards what large concepts have in common "
            f"(typical value ± standard deviation in logits: {', '.join(letters)})."
        ]
    if not n_shrunk:
        return []
    return [
        f"{n_shrunk} of {fitted.height} fits, of concepts with at most {SHRUNK_BELOW:,} "
        f"attempts, were drawn towards what large concepts have in common (mean x strength "
        f"in observations: {', '.join(letters)})."
    ]


def bound_sentences(evidence: RunEvidence) -> list[str]:
    """Return one sentence per bound with known cost, and one on the others."""
    rows, n = bounds_rows(evidence), evidence.concepts.height
    told = [_bound_sentence(row, n) for row in rows if row["wide_auc"] is not None]
    others = [row for row in rows if row["wide_auc"] is None]
    if others:
        listed = ", ".join(f"{row['bound']} {row['concepts']}" for row in others)
        told.append(f"Concepts on {'other ' if told else ''}bounds: {listed}.")
    return told


def _bound_sentence(row: dict[str, Any], n_concepts: int) -> str:
    """Return a sentence on how many fits hit one bound, and its cost."""
    change = row["wide_auc"] - row["auc"]
    return (
        f"{row['concepts']} of {n_concepts} concepts end on the bound {row['bound']}; in the "
        f"wider box their held-out AUC is {row['wide_auc']:.4f} instead of {row['auc']:.4f} "
        f"({change:+.4f}), log loss {row['wide_log_loss']:.4f} instead of "
        f"{row['log_loss']:.4f}."
    )


def brief(row: dict[str, Any]) -> str:
    """Return a short reason if the row has the details, otherwise its sentences."""
    if row["decision"] == "promoted":
        return "better than the champion" if row["old_is_fitted"] else "first fit, not worse"
    if row["reason"] == "impact":
        flag = f"--approve={quote(str(row['concept_id']))}"
        return (
            f"too many users would cross the threshold ({row['users_up']} up and "
            f"{row['users_down']} down of {row['n_users']}); `bkt retrain {flag}` lets it pass"
        )
    gain, error, rate = (
        row[name] for name in ("gain_champion", "gain_champion_error", "adjusted_p")
    )
    known = None not in (gain, error, rate) and not row["champion_in_sample"]
    if row["reason"] == "better_than_champion" and known:
        return (
            f"not shown to be better: {gain:+.4f} ± {Z_95 * error:.4f} nats per attempt, "
            f"false discovery rate {rate:.2g}"
        )
    return str(row["why"])


def number(value: float | None) -> str:
    """Format with three decimals, empty for None."""
    return "" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Format with four decimals and the sign, empty for None."""
    return "" if value is None else f"{value:+.4f}"


def move(old: float | None, new: float | None) -> str:
    """Format a parameter before and after."""
    if new is None:
        return ""
    return f"{new:.2f}" if old is None else f"{old:.2f}→{new:.2f}"
