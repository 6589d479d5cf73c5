"""Write recomputed mastery to states: staged values if still valid, otherwise a replay.

A sweep is a resumable loop of short transactions. Each takes the shared locks of its concepts,
so that their active parameters cannot change, and locks states in the order of their key.
Concepts with few states share a transaction (`batch_sweep.py`); others have several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import bindparam, text

from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_concepts_shared
from datasets.store.params.in_force import in_force
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.batch_sweep import replay_outdated_pairs, write_staged_pairs
from datasets.store.states.batches import batches
from datasets.store.states.outstanding import states_to_sweep
from datasets.store.states.replays import replay_keys, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from datasets.store.params.in_force import InForce

#: Most states per transaction, for staged values and for replays from the log.
STAGED_CHUNK = 20_000
REPLAY_CHUNK = 2_000

#: A new state starts above every version that an erased state with its key can have had, so
#: that a value staged for the erased one never matches: attempt ids are never reused.
VERSION_START = {
    "postgresql": "(SELECT last_value FROM attempts_id_seq) * 1048576",
    "sqlite": "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'attempts') "
    "* 1048576",
}

#: Columns of a frame of staged states of one concept, sorted by user_id (UTF-8 bytes).
STAGED = {
    "user_id": "id",
    "base_version": "int",
    "p_mastery": "double",
    "n_attempts": "int",
    "last_attempt_at": "moment",
    "last_attempt_id": "int",
}

_TO_REPLAY = """
    SELECT user_id, version FROM bkt_user_skill_state
    WHERE concept_id = :concept_id AND user_id {beyond} :after AND {wanted}
    ORDER BY user_id LIMIT :n {lock}
"""
_NOT_CURRENT = """
    (is_stale OR algo_version_id <> :algo_version_id
     OR param_id IS DISTINCT FROM CAST(:param_id AS BIGINT))
"""
_WRITE = """
    UPDATE bkt_user_skill_state AS s SET
        p_mastery = t.p_mastery, n_attempts = t.n_attempts,
        last_attempt_at = t.last_attempt_at, last_attempt_id = t.last_attempt_id,
        last_question_id = CASE
            WHEN s.last_attempt_id = t.last_attempt_id THEN s.last_question_id
            ELSE (SELECT a.question_id FROM attempts a WHERE a.id = t.last_attempt_id) END,
        algo_version_id = :algo_version_id, param_id = :param_id,
        is_stale = false, version = s.version + 1, updated_at = :at
    FROM staged_state t
    WHERE s.concept_id = :concept_id AND s.user_id = t.user_id AND s.version = t.base_version
      {stretch}
"""
_AT = bindparam("at", type_=UtcDateTime())
_WRITE_STRETCH = text(
    _WRITE.format(stretch="AND s.user_id BETWEEN :first AND :last")
).bindparams(_AT)
#: Without bounds on users: with them the planner expects few rows and picks a bad join order.
_WRITE_KEYS = text(_WRITE.format(stretch="")).bindparams(_AT)
#: Planner settings under which states are locked in the order of their key; without them the
#: planner, which does not know the size of a temporary table, took 3 to 5 times the CPU time.
#: A full range of a concept is merged; some keys of it are looked up one by one.
_MERGED = ("nestloop = off", "hashjoin = off", "mergejoin = on", "bitmapscan = off")
_LOOKED_UP = ("nestloop = on", "hashjoin = off", "mergejoin = off", "bitmapscan = off")


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Numbers of states that a sweep wrote, by the source of their value."""

    staged: int
    replayed: int
    concepts: int

    @property
    def written(self) -> int:
        """The number of states written."""
        return self.staged + self.replayed


def sweep(
    engine: Engine,
    *,
    at: datetime,
    concepts: Iterable[str] | None = None,
    run_id: str | None = None,
    rows: Mapping[str, int] | None = None,
    staged: Callable[[str], pl.DataFrame | None] | None = None,
    force: bool = False,
    staged_chunk: int = STAGED_CHUNK,
    replay_chunk: int = REPLAY_CHUNK,
    before_chunk: Callable[[], None] = lambda: None,
    on_chunk: Callable[[int], None] = lambda _n_states: None,
) -> SweepResult:
    """Update outdated states, batch of concepts by batch; current states are not written.

    `staged(concept_id)` returns a frame of `STAGED` or None; it is used if the concept's active
    row is of `run_id`, or the one that `rows` names by its id. `concepts` None means every
    concept with outdated states. `force` also replays current states. `before_chunk` is called
    before each transaction and may raise, as `RunLock.check` does; `on_chunk(n_states)` is
    called after each. To resume an interrupted sweep, call it again.
    """

    def made_with(concept_id: str, stamp: InForce) -> bool:
        if stamp.param_id is None:
            return False
        if rows is not None:
            return rows.get(concept_id) == stamp.param_id
        return stamp.run_id == run_id

    warm_up()
    sizes = states_to_sweep(engine, force=force)
    chosen = list(sizes) if concepts is None else list(concepts)
    n_staged = n_replayed = 0
    for batch in batches(chosen, sizes, most_rows=staged_chunk):
        frames: dict[str, pl.DataFrame] = {}
        for concept_id in batch if staged is not None else ():
            values = staged(concept_id) if staged is not None else None
            if values is not None and not values.is_empty():
                frames[concept_id] = values
        for n in _write_staged(engine, frames, made_with, at, before_chunk, staged_chunk):
            n_staged += n
            on_chunk(n)
        rest = _replay_rest if len(batch) == 1 else replay_outdated_pairs
        for n in rest(engine, batch, at, before_chunk, chunk=replay_chunk, force=force):
            n_replayed += n
            on_chunk(n)
    return SweepResult(n_staged, n_replayed, len(chosen))


def write_staged(
    conn: Connection,
    concept_id: str,
    stamp: InForce,
    values: pl.DataFrame,
    at: datetime,
    *,
    whole_stretch: bool = False,
) -> int:
    """Write a frame of `STAGED` where base versions still match; return the number written.

    `whole_stretch` says that the frame has nearly all states of the concept between its first
    and its last user.
    """
    if values.is_empty():
        return 0
    fill_temporary(conn, "staged_state", STAGED, values)
    reached("sweep: chunk staged")
    if conn.dialect.name == "postgresql":
        for hint in _MERGED if whole_stretch else _LOOKED_UP:
            conn.exec_driver_sql(f"SET LOCAL enable_{hint}")
    bound = {
        "concept_id": concept_id,
        "algo_version_id": stamp.algo_version_id,
        "param_id": stamp.param_id,
        "at": at,
    }
    if whole_stretch:
        ends = {"first": values["user_id"][0], "last": values["user_id"][-1]}
        done = conn.execute(_WRITE_STRETCH, bound | ends)
    else:
        done = conn.execute(_WRITE_KEYS, bound)
    reached("sweep: chunk written")
    return int(done.rowcount)


def _write_staged(
    engine: Engine,
    frames: Mapping[str, pl.DataFrame],
    made_with: Callable[[str, InForce], bool],
    at: datetime,
    before_chunk: Callable[[], None],
    chunk: int,
) -> Iterator[int]:
    """Write staged states of a batch of concepts: one transaction, several if it is large."""
    if len(frames) > 1 and sum(map(len, frames.values())) <= chunk:
        before_chunk()
        yield write_staged_pairs(engine, frames, made_with, at)
        return
    for concept_id, values in frames.items():
        for part in values.iter_slices(chunk):
            before_chunk()
            n = _write_stretch(engine, concept_id, made_with, part, at)
            if n is None:
                break  # another row became active: the rest is replayed
            yield n


def _write_stretch(
    engine: Engine,
    concept_id: str,
    made_with: Callable[[str, InForce], bool],
    values: pl.DataFrame,
    at: datetime,
) -> int | None:
    """Run one transaction; return None if the values were not made with the active row."""
    with engine.begin() as conn:
        lock_concepts_shared(conn, [concept_id])
        stamp = in_force(conn, concept_id)
        if not made_with(concept_id, stamp):
            return None
        n = write_staged(conn, concept_id, stamp, values, at, whole_stretch=True)
    reached("sweep: chunk committed")
    return n


def _replay_rest(
    engine: Engine,
    batch: Sequence[str],
    at: datetime,
    before_chunk: Callable[[], None],
    *,
    chunk: int,
    force: bool,
) -> Iterator[int]:
    """Replay the outdated states of a batch of one concept, one transaction per chunk."""
    (concept_id,) = batch
    after: str | None = None
    while True:
        before_chunk()
        with engine.begin() as conn:
            lock_concepts_shared(conn, [concept_id])
            stamp = in_force(conn, concept_id)
            keys = _keys_to_replay(conn, concept_id, stamp, after, chunk, force=force)
            if keys.is_empty():
                return
            users = keys["user_id"].to_list()
            values = replay_keys(conn, concept_id, users, stamp)
            based = values.join(keys, on="user_id", maintain_order="left")
            n = write_staged(conn, concept_id, stamp, based, at)
        reached("sweep: chunk committed")
        yield n
        if keys.height < chunk:
            return
        after = users[-1]


def _keys_to_replay(
    conn: Connection, concept_id: str, stamp: InForce, after: str | None, n: int, *, force: bool
) -> pl.DataFrame:
    """Return the next states to replay, locked in the order of their key."""
    statement = _TO_REPLAY.format(
        wanted="true" if force else _NOT_CURRENT,
        beyond=">=" if after is None else ">",
        lock="FOR UPDATE" if conn.dialect.name == "postgresql" else "",
    )
    values: dict[str, str | int | None] = {
        "concept_id": concept_id,
        "after": after or "",
        "n": n,
    }
    if not force:
        values |= {"algo_version_id": stamp.algo_version_id, "param_id": stamp.param_id}
    rows = conn.execute(text(statement), values).all()
    return pl.DataFrame(
        [tuple(row) for row in rows],
        schema={"user_id": pl.String, "base_version": pl.Int64},
        orient="row",
    )
