"""Read mastery; stale and old-stamped states are replayed in memory and not written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from datasets.store.params.in_force import in_force
from datasets.store.schema.tables import MasteryStateRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datasets.store.params.in_force import InForce

STATE_COLUMNS = (
    MasteryStateRow.concept_id,
    MasteryStateRow.p_mastery,
    MasteryStateRow.n_attempts,
    MasteryStateRow.last_attempt_at,
    MasteryStateRow.last_attempt_id,
    MasteryStateRow.last_question_id,
    MasteryStateRow.algo_version_id,
    MasteryStateRow.param_id,
    MasteryStateRow.is_stale,
)


@dataclass(frozen=True, slots=True)
class State:
    """One row of the state table, as stored."""

    concept_id: str
    p_mastery: float
    n_attempts: int
    last_attempt_at: datetime | None
    last_attempt_id: int | None
    last_question_id: str | None
    algo_version_id: int
    param_id: int | None
    is_stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mastery:
    """Mastery of a user at one concept, under the parameters in force."""

    concept_id: str
    p_mastery: float
    n_attempts: int
    last_attempt_at: datetime | None
    param_id: int | None
    algo_version_id: int


async def read_mastery_async(
    conn: AsyncConnection, user_id: str, concept_ids: Iterable[str] | None = None
) -> tuple[Mastery, ...]:
    """Call `read_mastery` on an async connection."""
    return await conn.run_sync(read_mastery, user_id, concept_ids)


def read_mastery(
    conn: Connection, user_id: str, concept_ids: Iterable[str] | None = None
) -> tuple[Mastery, ...]:
    """Return a user's mastery at each attempted concept, or at those named, by concept id.

    A state that is stale or has an old stamp is replayed in memory. Concepts that the user
    never attempted are not included.
    """
    wanted = select(*STATE_COLUMNS).where(MasteryStateRow.user_id == user_id)
    if concept_ids is not None:
        wanted = wanted.where(MasteryStateRow.concept_id.in_(list(concept_ids)))
    rows = conn.execute(wanted.order_by(MasteryStateRow.concept_id)).all()
    return tuple(
        mastery_of(conn, user_id, state_of(row), in_force(conn, row.concept_id)) for row in rows
    )


def has_states(
    conn: Connection, *, concept_id: str | None = None, user_id: str | None = None
) -> bool:
    """Return whether there is a state at a concept, of a user, or of both."""
    wanted = select(MasteryStateRow.concept_id)
    if concept_id is not None:
        wanted = wanted.where(MasteryStateRow.concept_id == concept_id)
    if user_id is not None:
        wanted = wanted.where(MasteryStateRow.user_id == user_id)
    return conn.execute(wanted.limit(1)).first() is not None


def state_of(row: Any) -> State:  # noqa: ANN401 - a row of STATE_COLUMNS
    """Convert the row to a `State`."""
    return State(*row)


def is_current(state: State, stamp: InForce) -> bool:
    """Return whether the stored value was computed with the parameters in force."""
    same = (state.algo_version_id, state.param_id) == (stamp.algo_version_id, stamp.param_id)
    return same and not state.is_stale and state.n_attempts > 0


def mastery_of(conn: Connection, user_id: str, state: State, stamp: InForce) -> Mastery:
    """Return the mastery that readers see: the stored value, or a replay if it is outdated."""
    p_mastery, n, last = state.p_mastery, state.n_attempts, state.last_attempt_at
    if not is_current(state, stamp):
        from datasets.store.states.replays import replay_one  # imports the compiled kernels

        replayed = replay_one(conn, user_id, state.concept_id, stamp)
        p_mastery, n, last = replayed.p_mastery, replayed.n_attempts, replayed.last_attempt_at
    return Mastery(
        concept_id=state.concept_id,
        p_mastery=p_mastery,
        n_attempts=n,
        last_attempt_at=last,
        param_id=stamp.param_id,
        algo_version_id=stamp.algo_version_id,
    )
