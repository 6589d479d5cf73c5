"""The results of monitoring: drifted concepts, and one table row per scored concept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from bkt_core.evaluation.drift import DriftVerdict

DRIFT_SCHEMA: dict[str, type[pl.DataType]] = {
    "concept_id": pl.String,
    "drifted": pl.Boolean,
    "adjusted_p": pl.Float64,
    "n_attempts": pl.Int64,
    "n_users": pl.Int64,
    "log_loss": pl.Float64,
    "expected_log_loss": pl.Float64,
    "excess": pl.Float64,  # nats per attempt above what was expected
    "bias": pl.Float64,  # share correct minus predicted share
    "promised_log_loss": pl.Float64,
    "calibration_error": pl.Float64,
    "promised_calibration_error": pl.Float64,
    "auc": pl.Float64,
    "p_loss": pl.Float64,
    "p_bias": pl.Float64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftedConcept:
    """One concept whose parameters predict worse than cross-validation promised."""

    concept_id: str
    n_attempts: int
    n_users: int
    log_loss: float
    expected_log_loss: float
    bias: float
    adjusted_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """The results of monitoring, the largest excess first."""

    run_id: str
    scored: int
    #: Fitted concepts that were not scored: no attempt after the data of the fit, only attempts
    #: of flooding users, or a fit whose end of data is unknown.
    waiting: int
    drifted: tuple[DriftedConcept, ...]
    table: str
    mlflow_run_id: str | None = None
    #: Why it was not logged to MLflow; None if it was.
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `bkt monitor --json` prints."""
        return asdict(self) | {"drifted": [asdict(one) for one in self.drifted]}


def drift_table(verdicts: tuple[DriftVerdict, ...]) -> pl.DataFrame:
    """Return one row per scored concept, largest drift first."""
    rows = [
        one.drift.as_row() | {"adjusted_p": one.adjusted_p, "drifted": one.drifted}
        for one in verdicts
    ]
    frame = pl.DataFrame(rows, schema=DRIFT_SCHEMA)
    return frame.sort("adjusted_p", "concept_id")


def drifted_concept(verdict: DriftVerdict) -> DriftedConcept:
    """Return the values of a verdict that summaries and `bkt monitor --json` show."""
    drift = verdict.drift
    return DriftedConcept(
        concept_id=drift.concept_id,
        n_attempts=drift.n_attempts,
        n_users=drift.n_users,
        log_loss=drift.scores.log_loss,
        expected_log_loss=drift.expected_log_loss,
        bias=drift.bias,
        adjusted_p=verdict.adjusted_p,
    )
