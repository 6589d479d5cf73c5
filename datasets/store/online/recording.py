"""Record one attempt of one user, as the platform's service does (docs/protocol.md).

The order is: locks, state rows, active parameters, the attempt, the new mastery. It prevents
lost updates while parameters change and sweeps run. No function here commits. The `async`
functions wrap the plain ones for an `AsyncConnection`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from bkt_core.family.params import has_multipliers
from bkt_core.replay import step
from datasets.store.attempts.erasure import require_not_erased
from datasets.store.attempts.history import Histories, history_of, remember
from datasets.store.attempts.keys import keys_of_attempt
from datasets.store.attempts.stamps import stamp_of_new
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_attempt
from datasets.store.errors import DatabaseError, ErasedUserError, IdempotencyConflictError
from datasets.store.online.statements import (
    INSERT_ATTEMPT,
    INSERT_STATE,
    LOCK_STATE,
    WRITE_STATE,
)
from datasets.store.params.in_force import InForce, in_force
from datasets.store.schema.tables import AttemptRow
from datasets.store.schema.types import in_utc
from datasets.store.states.attempt_facts import facts_of_one
from datasets.store.states.reads import STATE_COLUMNS, Mastery, is_current, state_of
from datasets.store.states.replays import Replayed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from bkt_core.family.facts import AttemptFacts
    from bkt_core.family.params import Params
    from bkt_core.stamps import Stamp
    from datasets.store.attempts.new_attempt import NewAttempt
    from datasets.store.states.reads import State

#: How often an insert is tried again whose row was deleted by an erasure.
MAX_TRIES = 10


_OWNER = select(AttemptRow.user_id, AttemptRow.concept_id).where(
    AttemptRow.idempotency_key == bindparam("key")
)


class RecordOutcome(StrEnum):
    """What happened to an attempt at one concept."""

    RECORDED = "recorded"
    DUPLICATE = "duplicate"  # the key was already stored; nothing changed


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of an attempt at one concept, with the current mastery."""

    outcome: RecordOutcome
    mastery: Mastery
    key: str  # key of the row in `attempts`
    params: Params  # the parameters in force, with which mastery was computed
    #: Mastery and P(correct) just before the attempt; None for duplicates and after a replay.
    p_mastery_prior: float | None = None
    p_correct: float | None = None


async def record_attempt(
    conn: AsyncConnection, attempt: NewAttempt, *, at: datetime
) -> tuple[Recorded, ...]:
    """Call `record` on an async connection; the caller commits before it acknowledges."""
    return await conn.run_sync(record, attempt, at=at)


def record(
    conn: Connection,
    attempt: NewAttempt,
    *,
    at: datetime,
    keys: Mapping[str, str] | None = None,
    histories: Histories | None = None,
) -> tuple[Recorded, ...]:
    """Write one attempt and the mastery of its concepts, in order of concept id.

    A writer of several attempts of one user passes what it has found so far: `keys`, the result
    of `keys_of_attempt`, and `histories`, which are read once for each concept and kept up to
    date here.

    On PostgreSQL it needs a READ COMMITTED transaction of its own. Raises `ErasedUserError`,
    `IdempotencyConflictError` or `BadInputError`; the caller must roll back then.
    """
    keys = keys or keys_of_attempt(conn, attempt)
    histories = {} if histories is None else histories
    reached("online: began")
    lock_attempt(conn, attempt.user_id, keys)
    reached("online: locked")
    states = {concept: _locked_state(conn, attempt.user_id, concept, at) for concept in keys}
    reached("online: state locked")
    history = stamp_of_new(conn, attempt.user_id, attempt.attempted_at)
    return tuple(
        _record_at(conn, attempt, history, concept, key, states[concept], histories, at)
        for concept, key in keys.items()
    )


def lock_states(
    conn: Connection, user_id: str, concept_ids: Iterable[str], *, at: datetime
) -> tuple[State, ...]:
    """Lock and return the states of one user, by concept id; insert those that are missing.

    These are the first two steps of `record`, for a writer of several attempts: its transaction
    must write an attempt at each of these concepts, or roll back.
    """
    concepts = sorted(set(concept_ids), key=str.encode)
    lock_attempt(conn, user_id, concepts)
    return tuple(_locked_state(conn, user_id, concept, at) for concept in concepts)


def _record_at(
    conn: Connection,
    attempt: NewAttempt,
    history: Stamp | None,
    concept_id: str,
    key: str,
    state: State,
    histories: Histories,
    at: datetime,
) -> Recorded:
    stamp = in_force(conn, concept_id, attempt.question_id)
    row = attempt.row(concept_id, key, history, at=at)
    attempt_id = _insert_unless_stored(conn, attempt, row)
    if attempt_id is None:
        return _duplicate(conn, attempt, concept_id, key, state, stamp, histories, at)
    reached("online: attempt inserted")
    remember(histories, attempt, concept_id, key, attempt_id, stamp.params)
    prior = p_correct = None
    if is_current(state, stamp) and _is_last(attempt, attempt_id, state):
        facts = _facts(attempt, history, state, stamp)
        update = step(state.p_mastery, int(attempt.correct), stamp.params, facts)
        prior, p_correct = state.p_mastery, update.p_correct
        new = Replayed(
            update.p_L_next,
            state.n_attempts + 1,
            in_utc(attempt.attempted_at),
            attempt_id,
            attempt.question_id,
        )
    else:
        read = history_of(conn, attempt.user_id, concept_id, stamp.param_id, histories)
        new = read.replayed(stamp.params)
    _write(conn, attempt.user_id, concept_id, new, stamp, at)
    reached("online: state written")
    mastery = _mastery(concept_id, new, stamp)
    return Recorded(RecordOutcome.RECORDED, mastery, key, stamp.params, prior, p_correct)


def _facts(
    attempt: NewAttempt, history: Stamp | None, state: State, stamp: InForce
) -> AttemptFacts | None:
    """Return the facts of an attempt later than all others; None if they are not needed."""
    if not has_multipliers(stamp.params) or state.last_attempt_at is None:
        return None
    since = in_utc(attempt.attempted_at) - in_utc(state.last_attempt_at)
    return facts_of_one(stamp.question_odds, history, since // timedelta(seconds=1))


def _is_last(attempt: NewAttempt, attempt_id: int, state: State) -> bool:
    """Return whether the attempt is later than all others of its user and concept."""
    if state.last_attempt_at is None or state.last_attempt_id is None:
        return False
    last = (state.last_attempt_at, state.last_attempt_id)
    return (in_utc(attempt.attempted_at), attempt_id) > last


def _duplicate(
    conn: Connection,
    attempt: NewAttempt,
    concept_id: str,
    key: str,
    state: State,
    stamp: InForce,
    histories: Histories,
    at: datetime,
) -> Recorded:
    """Return the current state; update it if it is outdated, as its row is locked anyway."""
    if is_current(state, stamp):
        now = Replayed(
            state.p_mastery,
            state.n_attempts,
            state.last_attempt_at,
            state.last_attempt_id,
            state.last_question_id,
        )
    else:
        read = history_of(conn, attempt.user_id, concept_id, stamp.param_id, histories)
        now = read.replayed(stamp.params)
        _write(conn, attempt.user_id, concept_id, now, stamp, at)
    return Recorded(
        RecordOutcome.DUPLICATE, _mastery(concept_id, now, stamp), key, stamp.params
    )


def _locked_state(conn: Connection, user_id: str, concept_id: str, at: datetime) -> State:
    """Return the locked row of the state; insert it first if it is missing."""
    key = {"concept_id": concept_id, "user_id": user_id}
    for _ in range(MAX_TRIES):
        row = conn.execute(LOCK_STATE, key).one_or_none()
        if row is not None:
            if row.is_erased:
                raise ErasedUserError
            return state_of(row[: len(STATE_COLUMNS)])
        require_not_erased(conn, user_id)
        conn.execute(
            INSERT_STATE[conn.dialect.name],
            key | {"at": at},
        )
    raise DatabaseError(
        f"The state of one user at concept {concept_id!r} vanished {MAX_TRIES} times while it "
        "was being locked; something deletes states without the user's lock."
    )


def _insert_unless_stored(
    conn: Connection, attempt: NewAttempt, row: dict[str, Any]
) -> int | None:
    """Insert the attempt and return its id; None if it is already stored.

    Raises `IdempotencyConflictError` if the key belongs to another attempt, unless an erasure
    deletes that attempt before it is read.
    """
    for _ in range(MAX_TRIES):
        attempt_id = _insert(conn, row)
        if attempt_id is not None:
            return attempt_id
        stored = conn.execute(_OWNER, {"key": row["idempotency_key"]}).one_or_none()
        if stored is not None:
            if (stored.user_id, stored.concept_id) != (attempt.user_id, row["concept_id"]):
                raise IdempotencyConflictError(key=attempt.idempotency_key)
            return None
    raise DatabaseError(
        f"An attempt vanished {MAX_TRIES} times while another with its key was being written; "
        "something else deletes attempts."
    )


def _insert(conn: Connection, row: dict[str, Any]) -> int | None:
    """Insert the attempt and return its id; None if its key is already stored."""
    inserted = conn.execute(INSERT_ATTEMPT[conn.dialect.name], row)
    found: int | None = inserted.scalar_one_or_none()
    return found


def _write(
    conn: Connection,
    user_id: str,
    concept_id: str,
    new: Replayed,
    stamp: InForce,
    at: datetime,
) -> None:
    conn.execute(
        WRITE_STATE,
        {
            "of_concept": concept_id,
            "of_user": user_id,
            "p_mastery": new.p_mastery,
            "n_attempts": new.n_attempts,
            "last_attempt_at": new.last_attempt_at,
            "last_attempt_id": new.last_attempt_id,
            "last_question_id": new.last_question_id,
            "algo_version_id": stamp.algo_version_id,
            "param_id": stamp.param_id,
            "updated_at": at,
        },
    )


def _mastery(concept_id: str, new: Replayed, stamp: InForce) -> Mastery:
    return Mastery(
        concept_id=concept_id,
        p_mastery=new.p_mastery,
        n_attempts=new.n_attempts,
        last_attempt_at=new.last_attempt_at,
        param_id=stamp.param_id,
        algo_version_id=stamp.algo_version_id,
    )
