"""Flow: the parameters in force, scored on what users answered after the data of their fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bkt_core.evaluation.cross_validation import fold_of, predict_by_fold
from bkt_core.evaluation.drift import judge_drift, measure_drift
from bkt_core.evaluation.selection import Champion
from bkt_core.replay import predict
from bkt_core.sequences import AttemptSequences
from bkt_settings.pipeline import load_settings
from datasets.parquet import write_frame
from datasets.sequences.readers import shard_rows
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params
from flows.extract_attempts import extract_attempts
from flows.lifecycle.deployed import deployed
from flows.lifecycle.record import recorded
from flows.reports.artifacts import publish_look
from flows.reports.monitoring import KIND, look_of
from flows.runs.database import open_database
from flows.runs.plan import flood_of
from flows.runs.requests import MonitorRequest
from flows.tracking.delivery import deliver_look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from bkt_core.evaluation.drift import ConceptDrift, DriftVerdict
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.sequences.readers import ShardRows
    from datasets.store.params.skill_params import StoredParams

TABLE = "drift.parquet"
DRIFT_SCHEMA: dict[str, type[pl.DataType]] = {
    "concept_id": pl.String,
    "drifted": pl.Boolean,
    "adjusted_p": pl.Float64,
    "n_attempts": pl.Int64,
    "n_users": pl.Int64,
    "log_loss": pl.Float64,
    "expected_log_loss": pl.Float64,
    "excess": pl.Float64,  # nats per attempt above what was expected
    "bias": pl.Float64,  # share right above (below: negative) what was predicted
    "promised_log_loss": pl.Float64,
    "calibration_error": pl.Float64,
    "promised_calibration_error": pl.Float64,
    "auc": pl.Float64,
    "p_loss": pl.Float64,
    "p_bias": pl.Float64,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftedConcept:
    """One concept whose parameters do not keep their promise any more."""

    concept_id: str
    n_attempts: int
    n_users: int
    log_loss: float
    expected_log_loss: float
    bias: float
    adjusted_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """What one look found, the largest excess first."""

    run_id: str
    scored: int
    #: Fitted concepts that nobody has attempted since.
    waiting: int
    drifted: tuple[DriftedConcept, ...]
    table: str
    mlflow_run_id: str | None = None
    #: Why MLflow has not got it; None where it has.
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `bkt monitor --json` prints."""
        return asdict(self) | {"drifted": [asdict(one) for one in self.drifted]}


@deployed("monitor")
def monitor(request: MonitorRequest | None = None) -> Monitored:
    """Extract, score what came after each fit, and name the concepts that drifted."""
    settings, request = load_settings(), request or MonitorRequest()
    with open_database(settings) as engine:
        return monitor_params(
            engine, settings, extract_attempts(settings, full=request.full).open()
        )


def monitor_params(engine: Engine, settings: Settings, extract: Extract) -> Monitored:
    """Score the active parameters on an extraction; writes a row of `bkt_run` and a table."""
    with recorded(engine, KIND) as run_id:
        folder = settings.data_dir / "runs" / run_id
        extract = extract.file_under(folder)
        with reading(engine) as conn:
            active = active_params(conn, active_algorithm(conn).id)
        flood = flood_of(settings, extract)
        drifts = list(_drifts(extract, active, None if flood is None else flood.users))
        verdicts = judge_drift(
            drifts, false_discovery_rate=settings.monitor.false_discovery_rate
        )
        table = drift_table(verdicts)
        write_frame(folder / TABLE, table)
    named = sorted(
        (one for one in verdicts if one.drifted), key=lambda one: -abs(one.drift.excess)
    )
    found = Monitored(
        run_id=run_id,
        scored=len(verdicts),
        waiting=len(active) - len(verdicts),
        drifted=tuple(_named(one) for one in named),
        table=str(folder / TABLE),
    )
    look = look_of(found, table, at=datetime.now(UTC))
    delivery = deliver_look(settings, look, [folder / TABLE])
    publish_look(look)
    return replace(found, mlflow_run_id=delivery.mlflow_run_id, problem=delivery.problem)


def drift_table(verdicts: tuple[DriftVerdict, ...]) -> pl.DataFrame:
    """Everything about each concept that was scored, what drifted most first."""
    rows = [
        one.drift.as_row() | {"adjusted_p": one.adjusted_p, "drifted": one.drifted}
        for one in verdicts
    ]
    frame = pl.DataFrame(rows, schema=DRIFT_SCHEMA)
    return frame.sort("adjusted_p", "concept_id")


def _named(verdict: DriftVerdict) -> DriftedConcept:
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


def _drifts(
    extract: Extract, active: dict[str, StoredParams], left_out: NDArray[np.bool_] | None
) -> Iterator[ConceptDrift]:
    """Each fitted concept that has attempts later than the data of its fit."""
    names = np.array(extract.concepts["concept_id"].to_pylist(), dtype=object)
    shards = extract.concepts["shard"].to_numpy()
    hashes = extract.users["user_hash"].to_numpy()
    for shard in range(len(extract.shards)):
        for concept_id, rows in zip(
            names[shards == shard], shard_rows(extract, shard), strict=True
        ):
            stored = active.get(concept_id)
            kept = rows if left_out is None else rows.only(~left_out[rows.users])
            if stored is not None and kept.users.size:
                drift = _drift_of(stored, kept, hashes)
                if drift is not None:
                    yield drift


def _drift_of(
    stored: StoredParams, rows: ShardRows, hashes: NDArray[np.uint64]
) -> ConceptDrift | None:
    """The full history is replayed; attempts before the data of the fit count for neither."""
    if stored.fitted_on_data_to is None:
        return None  # not known where its data ended
    later = rows.times > _microseconds(stored.fitted_on_data_to)
    p_correct = _predictions(stored, rows, hashes, later)
    if stored.fitted_on_data_from is not None:
        p_correct[rows.times < _microseconds(stored.fitted_on_data_from)] = np.nan
    return measure_drift(
        stored.concept_id,
        users=rows.users.astype(np.int64),
        correct=rows.correct,
        p_correct=p_correct,
        later=later,
    )


def _predictions(
    stored: StoredParams,
    rows: ShardRows,
    hashes: NDArray[np.uint64],
    later: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Later attempts by the parameters in force, earlier ones by those without their fold."""
    offsets = rows.offsets
    sequences = AttemptSequences(rows.correct, offsets)
    in_force = predict(sequences, stored.params)
    champion = Champion.from_metrics(stored.params, stored.metrics)
    if champion.fold_seed is None or not champion.fold_params:
        return in_force  # a row of another make promises what it did in its own sample
    folds = fold_of(
        hashes[rows.users[offsets[:-1]]],
        seed=champion.fold_seed,
        n_folds=len(champion.fold_params),
    )
    held_out = predict_by_fold(sequences, folds, champion.fold_params)
    return np.where(later, in_force, held_out)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
