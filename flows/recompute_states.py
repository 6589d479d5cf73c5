"""Flow: every user's mastery under the parameters in force, and its snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
from prefect import flow

from bkt_core.replay import replay
from datasets.attempt_sequences import concept_sequences
from datasets.extract import open_extract
from datasets.store.mastery_states import outstanding, sweep
from datasets.store.session import reading
from datasets.store.skill_params import params_of_run
from datasets.store.snapshots import write_snapshots
from flows.database import open_database
from flows.progress import progress
from flows.run_plan import RunPlan
from flows.settings import Settings
from flows.summary import Stopwatch

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from datasets.extract import Extract
    from datasets.store.skill_params import StoredParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """States that were written, and snapshot rows that were added."""

    replayed: int
    snapshotted: int
    seconds: dict[str, float]


@flow(name="recompute-states")
def recompute_states(settings: Settings, plan: RunPlan, *, snapshot: bool = True) -> Recomputed:
    """Sweep what is stale or carries an old stamp, then snapshot what changed."""
    watch = Stopwatch()
    with open_database(settings) as engine:
        with watch.stage("recompute"):
            n_states = sweep_states(engine, settings, plan)
        n_rows = 0
        if snapshot:
            with watch.stage("snapshot"):
                n_rows = write_snapshots(engine, run_id=plan.run_id, at=datetime.now(UTC))
    timed = {stage: watch.seconds[stage] for stage in ("recompute", "snapshot")}
    return Recomputed(replayed=n_states, snapshotted=n_rows, seconds=timed)


def sweep_states(engine: Engine, settings: Settings, plan: RunPlan) -> int:
    """Bring every state up to date; values staged from the extract where they still hold."""
    with reading(engine) as conn:
        expected = sum(outstanding(conn).values())
        promoted = params_of_run(conn, plan.run_id)
    stage = Staging(open_extract(plan.extract_root, plan.run_dir), promoted)
    with progress("recompute", expected) as advance:
        result = sweep(
            engine,
            at=datetime.now(UTC),
            run_id=plan.run_id,
            staged=stage.of_concept,
            staged_chunk=settings.recompute.states_per_chunk,
            on_chunk=lambda _concept, n_states: advance(n_states),
        )
    return result.written


class Staging:
    """Mastery of the extract's attempts under this run's parameters, with base versions.

    Made anew from the extract for each concept: the same files give the same values, so nothing
    of it needs to survive a crash.
    """

    def __init__(self, extract: Extract, promoted: dict[str, StoredParams]) -> None:
        self._extract = extract
        self._params = {concept: stored.params for concept, stored in promoted.items()}
        self._codes = {
            concept_id: code
            for code, concept_id in enumerate(extract.concepts["concept_id"].to_pylist())
        }
        self._users = pl.read_parquet(extract.root / "users.parquet")["user_id"]
        states = pl.read_parquet(extract.states, columns=["concept", "user", "version"])
        self._states = states.partition_by("concept", as_dict=True, include_key=False)
        self._set_aside = pl.read_parquet(extract.set_aside)

    def of_concept(self, concept_id: str) -> pl.DataFrame | None:
        """Staged states of one concept, by user; None where this run did not promote it."""
        params, code = self._params.get(concept_id), self._codes.get(concept_id)
        states = None if code is None else self._states.get((code,))
        if params is None or code is None or states is None:
            return None
        attempts = concept_sequences(self._extract, code)
        rows = pl.DataFrame(
            {
                "user": attempts.users,
                "p_mastery": replay(attempts.sequences, params),
                "n_attempts": attempts.sequences.lengths,
                "last_attempt_at": attempts.last_times.astype("datetime64[us]"),
                "last_attempt_id": attempts.last_ids,
            }
        )
        staged = rows.join(states.rename({"version": "base_version"}), on="user").sort("user")
        names = self._users.gather(staged["user"])
        staged = staged.with_columns(
            names.alias("user_id"), pl.col("last_attempt_at").dt.replace_time_zone("UTC")
        )
        return self._without_set_aside(concept_id, staged).select(
            "user_id",
            "base_version",
            "p_mastery",
            "n_attempts",
            "last_attempt_at",
            "last_attempt_id",
        )

    def _without_set_aside(self, concept_id: str, staged: pl.DataFrame) -> pl.DataFrame:
        """Keys whose log holds rows that the extract does not are left to a replay."""
        if self._set_aside.is_empty():
            return staged
        own = self._set_aside.filter(pl.col("concept_id") == concept_id)
        return staged.join(
            own.select("user_id"), on="user_id", how="anti", maintain_order="left"
        )
