"""Flow: score the active parameters on attempts made after the data they were fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.evaluation.cross_validation import fold_of, predict_by_fold
from bkt_core.evaluation.drift import judge_drift, measure_drift
from bkt_core.replay import predict
from bkt_settings.pipeline import load_settings
from datasets.parquet import write_frame
from datasets.sequences.readers import sequence_reader, shard_rows
from datasets.store.connections.engines import reading
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.skill_params import active_params, with_question_odds
from datasets.store.runs.runs import note_outcome
from flows.evidence.drift import Monitored, drift_table, drifted_concept
from flows.extract_attempts import extract_attempts
from flows.lifecycle.deployed import deployed
from flows.lifecycle.record import recorded
from flows.reports.artifacts import publish_monitoring
from flows.reports.monitoring import KIND, monitoring_report
from flows.runs.database import open_database
from flows.runs.plan import flood_of
from flows.runs.requests import MonitorRequest
from flows.shards.plan import incumbent_of
from flows.tracking.evidence_log import log_monitoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from bkt_core.evaluation.drift import ConceptDrift
    from bkt_core.judgement.evidence import Champion
    from bkt_core.sequences import AttemptSequences
    from bkt_core.variant import Variant
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from datasets.sequences.shard_rows import ShardRows
    from datasets.store.params.skill_params import StoredParams

TABLE = "drift.parquet"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@deployed("monitor")
def monitor(request: MonitorRequest | None = None) -> Monitored:
    """Extract the attempts, score those after each fit, and report the drifted concepts."""
    settings, request = load_settings(), request or MonitorRequest()
    with open_database(settings) as engine:
        return monitor_params(
            engine, settings, extract_attempts(settings, full=request.full).open()
        )


def monitor_params(engine: Engine, settings: Settings, extract: Extract) -> Monitored:
    """Score the active parameters on an extraction.

    Writes a row of `bkt_run` and the table `drift.parquet`, and logs both to MLflow.
    """
    with recorded(engine, KIND) as run_id:
        folder = settings.data_dir / "runs" / run_id
        extract = extract.file_under(folder)
        with reading(engine) as conn:
            algorithm = active_algorithm(conn)
            active = with_question_odds(conn, active_params(conn, algorithm.id))
        flood = flood_of(settings, extract)
        scored = _Scored(active, algorithm.params.variant, settings.data_dir / "fits")
        drifts = list(_drifts(extract, scored, None if flood is None else flood.users))
        verdicts = judge_drift(
            drifts, false_discovery_rate=settings.monitor.false_discovery_rate
        )
        table = drift_table(verdicts)
        write_frame(folder / TABLE, table)
        n_drifted = sum(verdict.drifted for verdict in verdicts)
        with engine.begin() as conn:
            note_outcome(conn, run_id, {"scored": len(verdicts), "drifted": n_drifted})
    drifted = sorted(
        (verdict for verdict in verdicts if verdict.drifted),
        key=lambda verdict: -abs(verdict.drift.excess),
    )
    monitored = Monitored(
        run_id=run_id,
        scored=len(verdicts),
        waiting=len(active) - len(verdicts),
        drifted=tuple(drifted_concept(verdict) for verdict in drifted),
        table=str(folder / TABLE),
    )
    report = monitoring_report(monitored, table, at=datetime.now(UTC))
    logged = log_monitoring(settings, report, [folder / TABLE])
    publish_monitoring(report)
    return replace(monitored, mlflow_run_id=logged.mlflow_run_id, problem=logged.problem)


@dataclass(frozen=True, slots=True)
class _Scored:
    """The parameters in force, what their version reads, and the files of their fits."""

    active: dict[str, StoredParams]
    variant: Variant
    fits_dir: Path


def _drifts(
    extract: Extract, scored: _Scored, flooding: NDArray[np.bool_] | None
) -> Iterator[ConceptDrift]:
    """Yield the drift of each fitted concept that has attempts after the data of its fit.

    `flooding`, (n_users,), marks users whose attempts are not scored; None means nobody.
    """
    names = np.array(extract.concepts["concept_id"].to_pylist(), dtype=object)
    shards = extract.concepts["shard"].to_numpy()
    hashes = extract.users["user_hash"].to_numpy()
    for shard in range(len(extract.shards)):
        sequences_of = sequence_reader(extract, shard, scored.variant)
        for concept, rows in zip(
            np.flatnonzero(shards == shard), shard_rows(extract, shard), strict=True
        ):
            stored = scored.active.get(names[concept])
            kept = rows if flooding is None else rows.only(~flooding[rows.users])
            if stored is not None and kept.users.size:
                champion = incumbent_of(stored, newest=None).champion_with_folds(
                    scored.fits_dir
                )
                sequences = sequences_of(int(concept), kept)
                drift = _drift_of(stored, champion, kept, sequences, hashes)
                if drift is not None:
                    yield drift


def _drift_of(
    stored: StoredParams,
    champion: Champion,
    rows: ShardRows,
    sequences: AttemptSequences,
    hashes: NDArray[np.uint64],
) -> ConceptDrift | None:
    """Measure the drift of one concept; None without attempts after the data of its fit.

    The complete history is replayed. Attempts earlier than the data of the fit are scored
    neither as data of the fit nor as later attempts.
    """
    if stored.fitted_on_data_to is None:
        return None  # the end of the fitted data is unknown
    later = rows.times > _microseconds(stored.fitted_on_data_to)
    of_users = hashes[rows.users[sequences.offsets[:-1]]]
    p_correct = _predictions(champion, sequences, of_users, later)
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
    champion: Champion,
    sequences: AttemptSequences,
    user_hashes: NDArray[np.uint64],  # (n_users,)
    later: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Predict P(correct) of each attempt, (n_attempts,).

    Later attempts are predicted with the active parameters, earlier ones with the parameters
    fitted without the user's fold.
    """
    in_force = predict(sequences, champion.params)
    if champion.fold_seed is None or not champion.fold_params:
        return in_force  # a row not written by this pipeline: only in-sample predictions exist
    folds = fold_of(user_hashes, seed=champion.fold_seed, n_folds=len(champion.fold_params))
    held_out = predict_by_fold(sequences, folds, champion.fold_params)
    return np.where(later, in_force, held_out)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
