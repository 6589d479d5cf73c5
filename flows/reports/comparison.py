"""Compare two runs: what differs, and whether their scores are comparable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table
from rich.text import Text

from bkt_core.family.params import names_among
from flows.evidence.scalars import run_scalars
from flows.evidence.sentences import brief, move, number, signed
from flows.reports.terminal import SHOWN

if TYPE_CHECKING:
    from rich.console import Console

    from flows.evidence.evidence import RunEvidence

#: Main scalars: label, and which direction is better.
HEADLINES = {
    "pooled_auc": ("AUC", "higher is better"),
    "pooled_log_loss": ("log loss", "lower is better"),
    "pooled_rmse": ("RMSE", "lower is better"),
    "pooled_accuracy": ("accuracy", "higher is better"),
    "pooled_calibration_error": ("calibration error", "lower is better"),
    "pooled_n": ("held-out attempts", ""),
    "concepts_promoted": ("concepts promoted", ""),
    "concepts_kept": ("concepts kept", ""),
    "concepts_rejected": ("concepts rejected", ""),
    "concepts_skipped": ("concepts skipped", ""),
    "concepts_failed": ("concepts failed", ""),
    "concepts_on_bounds": ("concepts on bounds", ""),
}
#: Width of a terminal from which on the table shows reasons.
WIDEST = 150
#: Tags that differ between any two runs and have no meaning for a comparison.
_OWN_TAGS = {"run_id", "prefect_flow_run_id", "settings_digest"}


#: Tags that must be equal for scores to be on the same attempts and folds.
_SCORED_ON = ("data_digest", "since", "until", "seed", "fit.folds")
#: Decisions that differ, except a promotion in A that B keeps, which is the normal case.
_IS_NEWS = (pl.col("decision_a") != pl.col("decision_b")) & (
    (pl.col("decision_a") != "promoted") | (pl.col("decision_b") != "kept")
)


@dataclass(frozen=True, slots=True, eq=False)
class RunComparison:
    """The comparison of run B with run A."""

    a: RunEvidence
    b: RunEvidence
    #: Name -> (A, B), for tags and settings that differ.
    differing: dict[str, tuple[str, str]]
    headlines: dict[str, tuple[float | None, float | None]]
    concepts: pl.DataFrame  # of both runs: other decisions first, then largest changes
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def letters(self) -> tuple[str, ...]:
        """The names of the parameters that either run has."""
        return names_among(self.a.concepts.columns, self.b.concepts.columns)

    @property
    def same_attempts(self) -> bool:
        """Whether both runs were scored on the same attempts and folds."""
        return not any(key in self.differing for key in _SCORED_ON)

    @property
    def caution(self) -> str | None:
        """A warning if scores are not comparable; None if they are."""
        if self.same_attempts:
            return None
        names = ", ".join(key for key in _SCORED_ON if key in self.differing)
        return (
            "The two runs were not scored on the same held-out attempts "
            f"(they differ in {names}), so differences in scores mix data and parameters."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the complete comparison as plain values."""
        return {
            "a": self.a.facts.run_id,
            "b": self.b.facts.run_id,
            "same_attempts": self.same_attempts,
            "differing": {name: list(pair) for name, pair in self.differing.items()},
            "metrics": {name: list(pair) for name, pair in self.headlines.items()},
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "concepts": self.concepts.to_dicts(),
        }


def compare_runs(a: RunEvidence, b: RunEvidence) -> RunComparison:
    """Compare two runs, concept by concept."""
    names = names_among(a.concepts.columns, b.concepts.columns)
    shared = ["decision", "reason", "n_attempts", "auc", "log_loss", *names]
    left = _with_params(a.concepts, names).select(
        "concept_id", pl.col(shared).name.suffix("_a")
    )
    right = _with_params(b.concepts, names).select(
        "concept_id", pl.col(shared).name.suffix("_b")
    )
    change = pl.max_horizontal(
        (pl.col(f"{name}_b") - pl.col(f"{name}_a")).abs() for name in names
    )
    both = left.join(right, on="concept_id", how="inner").with_columns(
        change.alias("largest_change"),
        (pl.col("auc_b") - pl.col("auc_a")).alias("auc_change"),
        (pl.col("log_loss_a") - pl.col("log_loss_b")).alias("gain"),
    )
    in_a, in_b = set(a.concepts["concept_id"]), set(b.concepts["concept_id"])
    scalars = run_scalars(a), run_scalars(b)
    return RunComparison(
        a=a,
        b=b,
        differing=_differing(a, b),
        headlines={
            name: (_known(scalars[0][name]), _known(scalars[1][name])) for name in HEADLINES
        },
        concepts=both.sort(
            _IS_NEWS,
            "largest_change",
            "concept_id",
            descending=[True, True, False],
            nulls_last=True,
        ),
        only_a=tuple(sorted(in_a - in_b)),
        only_b=tuple(sorted(in_b - in_a)),
    )


def _with_params(concepts: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Add a column of nulls for each parameter that the version of the run does not have."""
    missing = [name for name in names if name not in concepts.columns]
    return concepts.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)


def show_comparison(console: Console, comparison: RunComparison) -> None:
    """Print two runs side by side."""
    console.print(Text(f"A  {comparison.a.facts.name}", style="bold"))
    console.print(Text(f"B  {comparison.b.facts.name}", style="bold"))
    if comparison.caution:
        console.print(Text(comparison.caution, style="yellow"))
    if comparison.differing:
        table = Table("setting or tag", "A", "B", title="What differs", title_justify="left")
        for name, pair in comparison.differing.items():
            table.add_row(*(Text(text) for text in (name, *pair)))
        console.print(table)
    console.print(_headline_table(comparison))
    console.print(_concept_table(comparison, wide=console.width >= WIDEST))
    console.print(
        Text("Parameters are the fitted ones; gain of B: log loss of A minus that of B.")
    )
    for name, only in (("A", comparison.only_a), ("B", comparison.only_b)):
        if only:
            shown = ", ".join(only[:SHOWN]) + (", …" if len(only) > SHOWN else "")
            console.print(Text(f"{len(only)} concepts only in {name}: {shown}"))


def scalar(value: float | None) -> str:
    """Format a count as an integer, a score with four decimals."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) else f"{value:.4f}"


def difference(a: float | None, b: float | None) -> str:
    """Format B minus A with its sign."""
    if a is None or b is None:
        return "-"
    return f"{'+' if b > a else ''}{scalar(b - a)}"


def _headline_table(comparison: RunComparison) -> Table:
    table = Table(title="Scores and counts", title_justify="left")
    table.add_column("")
    for name in ("A", "B", "B - A"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name, (a, b) in comparison.headlines.items():
        title, meaning = HEADLINES[name]
        table.add_row(title, scalar(a), scalar(b), difference(a, b), meaning)
    return table


def _concept_table(comparison: RunComparison, *, wide: bool) -> Table:
    n = comparison.concepts.height
    title = f"Concepts of both ({n}): other decisions first, then the largest moves"
    table = Table(title=title, title_justify="left")
    table.add_column("concept", overflow="fold", max_width=32)
    table.add_column("decision A → B")
    letters = [name.removeprefix("p_") for name in comparison.letters]
    for name in (*letters, "AUC A", "AUC B", "gain of B"):
        table.add_column(name, justify="right")
    if wide:
        table.add_column("why in B", overflow="fold")
    in_b = {row["concept_id"]: row for row in comparison.b.concepts.to_dicts()}
    for row in comparison.concepts.head(SHOWN).to_dicts():
        moves = [move(row[f"{name}_a"], row[f"{name}_b"]) for name in comparison.letters]
        table.add_row(
            Text(row["concept_id"]),
            f"{row['decision_a']} → {row['decision_b']}",
            *moves,
            number(row["auc_a"]),
            number(row["auc_b"]),
            signed(row["gain"]),
            *((Text(brief(in_b[row["concept_id"]])),) if wide else ()),
        )
    return table


def _differing(a: RunEvidence, b: RunEvidence) -> dict[str, tuple[str, str]]:
    left = {**a.facts.tags, **a.facts.settings}
    right = {**b.facts.tags, **b.facts.settings}
    names = [name for name in {**left, **right} if name not in _OWN_TAGS]
    return {
        name: (left.get(name, ""), right.get(name, ""))
        for name in names
        if left.get(name, "") != right.get(name, "")
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
