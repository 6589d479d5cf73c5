"""Children that change parameters and states: nightlies and rollbacks."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.connections.engines import make_engine, reading
from datasets.store.connections.fault_points import reached
from datasets.store.errors import (
    DatabaseError,
    LockedError,
    RollbackError,
    RunLockLostError,
)
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.events import pinned_concepts
from datasets.store.params.rollback import release, roll_back
from datasets.store.params.skill_params import Challenger, active_params
from datasets.store.params.switching import SwitchRequest, switch, switch_many
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, find_run, finish_run, list_runs, start_run
from datasets.store.schema.tables import SkillParamsRow
from datasets.store.states.outstanding import outstanding
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import STAGED, sweep
from tests.torture.bad_designs import overwrite_from_staging, watermark_and_tail
from tests.torture.faults import LONG_DAWDLE_SECONDS
from tests.torture.world import BEGAN, CONCEPTS
from tests.torture.writers import cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.torture.faults import Ledger
    from tests.torture.world import World

CONCEPTS_PER_RUN = 3


def retrain_forever(world: World, ledger: Ledger, slot: int) -> None:
    """One nightly after the other; while another process holds the lock, ask again."""
    engine = make_engine(world.url)
    while not ledger.stopping:
        try:
            with run_lock(engine, holder=f"nightly {slot}") as lock:
                if world.design == "real":
                    release_all(engine, f"free-{slot}-{int(ledger.units[slot])}")
                retrain(engine, world, next_run(engine), lock.check)
                if world.design != "real":
                    ledger.missed[slot] += missed(engine)
            ledger.units[slot] += 1
        except LockedError:
            time.sleep(0.05)
        except (DBAPIError, DatabaseError, RunLockLostError) as error:
            cut_off(error, ledger, slot, engine)
    engine.dispose()


def missed(engine: Engine) -> int:
    """Old-stamped states after a sweep has ended, once those who dawdled have written.

    Without imports and rollbacks there is none, ever: who writes after the switch reads the
    parameters after it.
    """
    time.sleep(LONG_DAWDLE_SECONDS)
    with reading(engine) as conn:
        return sum(outstanding(conn).values())


def next_run(engine: Engine) -> str:
    """The run that was interrupted, else a new one. Ask under the run lock."""
    with reading(engine) as conn:
        runs = list_runs(conn, kind="retrain")
    unfinished = [run.run_id for run in runs if run.status is RunStatus.RUNNING]
    return unfinished[0] if unfinished else f"run-{len(runs)}"


def retrain(
    engine: Engine, world: World, run_id: str, check: Callable[[], None] = lambda: None
) -> None:
    """Snapshot, stage, switch, sweep, snapshot rows: a repetition only completes it."""
    now = datetime.now(UTC)
    check()
    version = _began(engine, run_id, now)
    reached("run: started")
    rng = world.rng("run", run_id)
    concepts = sorted(rng.sample(CONCEPTS, CONCEPTS_PER_RUN))
    staged, watermark, incumbents = stage(engine, world, run_id, concepts, version)
    requests = [
        SwitchRequest(
            concept_id=concept,
            challenger=Challenger(
                params=world.params(run_id, concept), n_attempts=1, n_users=1, fitted_at=BEGAN
            ),
            expected_incumbent=incumbents.get(concept),
        )
        for concept in concepts
    ]
    check()
    with engine.begin() as conn:
        done = switch_many(conn, requests, run_id=run_id, algo_version_id=version, at=now)
    reached("switch: committed")
    for request in requests:  # those that an attempt or an import held
        if request.concept_id in done:
            continue
        check()
        with engine.begin() as conn:
            switch(
                conn,
                run_id=run_id,
                concept_id=request.concept_id,
                algo_version_id=version,
                challenger=request.challenger,
                expected_incumbent=request.expected_incumbent,
                at=now,
            )
        reached("switch: committed")
    if world.design == "overwrite":
        for concept in concepts:
            overwrite_from_staging(engine, concept, staged[concept])
    elif world.design == "watermark":
        for concept in concepts:
            watermark_and_tail(engine, concept, staged[concept], watermark)
    else:
        sweep(
            engine,
            at=now,
            run_id=run_id,
            staged=staged.get,
            staged_chunk=60,
            replay_chunk=40,
            before_chunk=check,
        )
    write_snapshots(engine, run_id=run_id, at=now, concepts=concepts, before_batch=check)
    check()
    with engine.begin() as conn:
        finish_run(conn, run_id=run_id, status=RunStatus.DONE, at=now)
    reached("run: finished")


def _began(engine: Engine, run_id: str, now: datetime) -> int:
    """The version that the run is about, which stays that in which it first began."""
    with engine.begin() as conn:
        manifest = {"version": active_algorithm(conn).id}
        start_run(conn, run_id=run_id, kind="retrain", at=now, manifest=manifest)
        found = find_run(conn, run_id)
    return int(found.manifest["version"])


def stage(
    engine: Engine, world: World, run_id: str, concepts: list[str], version: int
) -> tuple[dict[str, pl.DataFrame], int, dict[str, int]]:
    """What this run's parameters make of one moment of the log, with the states' versions."""
    with reading(engine) as conn:
        incumbents = {c: row.param_id for c, row in active_params(conn, version).items()}
        watermark = int(
            conn.execute(text("SELECT coalesce(max(id), 0) FROM attempts")).scalar_one()
        )
        staged = {}
        for concept in concepts:
            log = conn.execute(
                text(
                    "SELECT a.user_id, a.correct, a.attempted_at, a.id, s.version "
                    "FROM attempts a JOIN bkt_user_skill_state s "
                    "ON s.user_id = a.user_id AND s.concept_id = a.concept_id "
                    "WHERE a.concept_id = :c ORDER BY a.user_id, a.attempted_at, a.id"
                ),
                {"c": concept},
            ).all()
            staged[concept] = _staged(log, world, run_id, concept)
    return staged, watermark, incumbents


def _staged(log: list, world: World, run_id: str, concept: str) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "user_id": [row.user_id for row in log],
            "correct": [row.correct for row in log],
            "last_attempt_at": [_moment(row.attempted_at) for row in log],
            "last_attempt_id": [row.id for row in log],
            "base_version": [row.version for row in log],
        },
        schema={
            "user_id": pl.String,
            "correct": pl.Int8,
            "last_attempt_at": pl.Datetime("us", "UTC"),
            "last_attempt_id": pl.Int64,
            "base_version": pl.Int64,
        },
    )
    keys = frame.group_by("user_id", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_attempts"),
        pl.col("last_attempt_at", "last_attempt_id", "base_version").last(),
    )
    ends = keys["n_attempts"].cum_sum().to_numpy()
    offsets = pl.Series([0, *ends], dtype=pl.Int64).to_numpy()
    sequences = AttemptSequences(frame["correct"].to_numpy(), offsets)
    p_mastery = replay(sequences, world.params(run_id, concept))
    return keys.with_columns(p_mastery=pl.Series(p_mastery)).select(STAGED.keys())


def _moment(stored: datetime | str) -> datetime:
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return stored


def roll_back_forever(world: World, ledger: Ledger, slot: int) -> None:
    """Now and then a concept goes back to an older row or the defaults, and is released."""
    engine = make_engine(world.url)
    while not ledger.stopping:
        n = int(ledger.units[slot])
        rng = world.rng("rollback", slot, n)
        time.sleep(0.3 + rng.random())
        try:
            _roll_back_once(engine, f"back-{slot}-{n}", rng.choice(CONCEPTS), rng.random())
        except RollbackError:
            pass  # in force already, or never promoted
        except (DBAPIError, DatabaseError) as error:
            cut_off(error, ledger, slot, engine)
            continue
        ledger.units[slot] += 1
    engine.dispose()


def _roll_back_once(engine: Engine, run_id: str, concept: str, chance: float) -> None:
    now = datetime.now(UTC)
    with reading(engine) as conn:
        version = active_algorithm(conn).id
        rows = conn.execute(
            select(SkillParamsRow.id)
            .where(
                SkillParamsRow.concept_id == concept, SkillParamsRow.algo_version_id == version
            )
            .order_by(SkillParamsRow.id)
        ).scalars()
        targets = [None, *rows]
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind="rollback", at=now)
    with engine.begin() as conn:
        roll_back(
            conn,
            run_id=run_id,
            concept_id=concept,
            algo_version_id=version,
            to_param_id=targets[int(chance * len(targets))],
            at=now,
            actor="torture",
        )
    reached("rollback: committed")
    sweep(engine, at=now, concepts=[concept], replay_chunk=40)
    release_all(engine, run_id)


def release_all(engine: Engine, run_id: str) -> None:
    """Unpin what a rollback pinned, also one that was killed before it could."""
    now = datetime.now(UTC)
    with engine.begin() as conn:
        version = active_algorithm(conn).id
        pinned = pinned_concepts(conn, version)
    for concept in sorted(pinned):
        free = f"{run_id}-{concept[-2:]}-{time.time_ns()}"
        # another child may release it first: nothing is left to do then
        with suppress(RollbackError):
            with engine.begin() as conn:
                start_run(conn, run_id=free, kind="rollback", at=now)
                release(
                    conn, run_id=free, concept_id=concept, algo_version_id=version,
                    at=now, actor="torture"
                )  # fmt: skip
            reached("release: committed")
