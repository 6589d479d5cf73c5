"""The writing half of the service layer: apply attempts; the caller commits.

Every function takes an `AsyncSession` or an `AsyncConnection`. The caller opens a transaction
for the call at READ COMMITTED, and acknowledges nothing before that transaction is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from bkt_core.errors import BadInputError
from datasets.store.attempts.history import Histories, history_of
from datasets.store.attempts.keys import keys_of_attempt
from datasets.store.attempts.new_attempt import NewAttempt
from datasets.store.errors import IdempotencyConflictError
from datasets.store.online.queries import mastery_now, write_own_snapshot
from datasets.store.online.recording import (
    Recorded,
    RecordOutcome,
    lock_states,
    record,
)
from serving.params_cache import ParamsCache
from serving.reading import Database, connection_of, state_response
from serving.schemas import (
    BKTMetadata,
    BKTParams,
    ConceptUpdateResponse,
    MasteryStateResponse,
    UpdateFromAttemptResponse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from datasets.store.attempts.history import Place

#: The value of `attempts.source` for attempts stored by this layer.
SOURCE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOfBatch:
    """One attempt in a batch of one user's attempts."""

    correct: bool
    question_id: str | None = None
    concept_id: str | None = None
    idempotency_key: str | None = None  # None means a new unique key
    attempted_at: datetime | None = None  # None means now
    create_snapshot: bool = False


async def get_or_create_user_state(
    db: Database,
    user_id: str,
    concept_id: str,
    default_from_L0: bool | float = True,
    *,
    at: datetime | None = None,
) -> MasteryStateResponse:
    """Return the user's state, locked until the transaction ends; insert it if it is missing.

    Mastery before any attempt is the p_L0 in force, or `default_from_L0` if the caller passes a
    number. The caller must commit an inserted state together with an attempt. Raises
    `BadInputError` if `default_from_L0` is outside [0, 1].
    """
    if not 0.0 <= default_from_L0 <= 1.0:
        raise BadInputError(f"default_from_L0 must be in [0, 1], got {default_from_L0!r}.")
    now = at or datetime.now(UTC)
    conn = await connection_of(db)

    def locked(sync: Connection) -> MasteryStateResponse:
        lock_states(sync, user_id, [concept_id], at=now)
        algorithm, states = mastery_now(sync, user_id, concept_ids=[concept_id], limit=1)
        return state_response(states[0], algorithm.params.mastery_threshold)

    state = await conn.run_sync(locked)
    if state.n_attempts == 0 and default_from_L0 is not True:
        return state.model_copy(update={"p_mastery": float(default_from_L0)})
    return state


async def update_from_attempt(
    db: Database,
    user_id: str,
    question_id: str | None,
    concept_id: str | None,
    correct: bool,
    *,
    idempotency_key: str | None = None,
    attempted_at: datetime | None = None,
    create_snapshot: bool = False,
    cache: ParamsCache | None = None,
    at: datetime | None = None,
) -> UpdateFromAttemptResponse:
    """Store one attempt and update mastery of its concept, or of all concepts of its question.

    A repeated key stores nothing and returns the current state; raises
    `IdempotencyConflictError` if the key was stored with another outcome. `p_mastery_prior` is
    mastery computed from all other attempts, so that `mastery_change` is the effect of this
    attempt even if it arrives late.
    """
    attempt = AttemptOfBatch(
        correct=correct,
        question_id=question_id,
        concept_id=concept_id,
        idempotency_key=idempotency_key,
        attempted_at=attempted_at,
        create_snapshot=create_snapshot,
    )
    conn = await connection_of(db)
    now = at or datetime.now(UTC)

    def applied(sync: Connection) -> UpdateFromAttemptResponse:
        writer = _Writer(sync, user_id, now, cache)
        return writer.apply(attempt, writer.attempt_of(attempt))

    return await conn.run_sync(applied)


async def batch_update_from_attempts(
    db: Database,
    user_id: str,
    attempts: Sequence[AttemptOfBatch],
    *,
    cache: ParamsCache | None = None,
    at: datetime | None = None,
) -> list[UpdateFromAttemptResponse]:
    """Apply one user's attempts in the order of their times.

    The responses have the order of `attempts`. Errors are those of `update_from_attempt`.
    """
    now = at or datetime.now(UTC)
    conn = await connection_of(db)

    def applied(sync: Connection) -> list[UpdateFromAttemptResponse]:
        writer = _Writer(sync, user_id, now, cache)
        new = [writer.attempt_of(one) for one in attempts]
        keys = [keys_of_attempt(sync, one) for one in new]
        # All locks at once, in the order that every writer uses: batches never deadlock.
        lock_states(sync, user_id, {concept for found in keys for concept in found}, at=now)
        in_time = sorted(range(len(attempts)), key=lambda i: new[i].attempted_at)
        responses = {i: writer.apply(attempts[i], new[i], keys[i]) for i in in_time}
        return [responses[i] for i in range(len(attempts))]

    return await conn.run_sync(applied)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Applies attempts of one user, one after the other, within one transaction."""

    conn: Connection
    user_id: str
    now: datetime
    cache: ParamsCache | None
    #: Histories read so far, by concept: a batch reads each of them once, however many of its
    #: attempts are late or repeated.
    histories: Histories = field(default_factory=dict)

    def attempt_of(self, attempt: AttemptOfBatch) -> NewAttempt:
        return NewAttempt(
            idempotency_key=attempt.idempotency_key or uuid4().hex,
            user_id=self.user_id,
            correct=int(attempt.correct),
            attempted_at=attempt.attempted_at or self.now,
            question_id=attempt.question_id,
            concept_ids=(attempt.concept_id,) if attempt.concept_id is not None else (),
            source=SOURCE,
        )

    def apply(
        self, attempt: AttemptOfBatch, new: NewAttempt, keys: Mapping[str, str] | None = None
    ) -> UpdateFromAttemptResponse:
        recorded = record(self.conn, new, at=self.now, keys=keys, histories=self.histories)
        for update in recorded:
            if update.outcome is RecordOutcome.RECORDED and attempt.create_snapshot:
                write_own_snapshot(self.conn, self.user_id, update.mastery, at=self.now)
        first, *others = (self._response(new, update) for update in recorded)
        return UpdateFromAttemptResponse(
            user_id=self.user_id,
            question_id=attempt.question_id,
            is_duplicate=recorded[0].outcome is RecordOutcome.DUPLICATE,
            also_updated=others,
            **dict(first),
        )

    def _response(self, attempt: NewAttempt, recorded: Recorded) -> ConceptUpdateResponse:
        mastery = recorded.mastery
        prior, p_correct = recorded.p_mastery_prior, recorded.p_correct
        attempted_at = attempt.attempted_at
        if prior is None or p_correct is None:
            place = self._place(attempt, recorded)
            prior, p_correct = place.p_mastery_without, place.p_correct
            attempted_at = place.attempted_at
        cache = self.cache or ParamsCache(0)
        return ConceptUpdateResponse(
            concept_id=mastery.concept_id,
            p_mastery_prior=prior,
            p_mastery_new=mastery.p_mastery,
            mastery_change=mastery.p_mastery - prior,
            n_attempts=mastery.n_attempts,
            params_used=BKTParams(**recorded.params.as_dict()),
            bkt_metadata=BKTMetadata(
                p_correct_predicted=p_correct,
                observation=1 if attempt.correct else 0,
                algo_version=cache.version_name(self.conn, mastery.algo_version_id),
                param_id=mastery.param_id,
                attempted_at=attempted_at,
            ),
        )

    def _place(self, attempt: NewAttempt, recorded: Recorded) -> Place:
        """Find the stored attempt in the user's history.

        Raises `IdempotencyConflictError` if the key was stored with another outcome.
        """
        concept_id = recorded.mastery.concept_id
        history = history_of(
            self.conn, self.user_id, concept_id, recorded.mastery.param_id, self.histories
        )
        place = history.place(recorded.key, recorded.params)
        if place.correct != attempt.correct:
            raise IdempotencyConflictError(key=attempt.idempotency_key)
        return place
