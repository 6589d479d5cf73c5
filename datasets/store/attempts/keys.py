"""The concepts of an attempt, and the key of each concept's row."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from bkt_core.errors import BadInputError
from datasets.store.connections.locks import lock_attempt
from datasets.store.schema.tables import AttemptRow, QuestionConceptRow
from datasets.store.schema.types import MAX_ID_CHARACTERS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from datasets.store.attempts.new_attempt import NewAttempt

#: Separates a key from the mark of a concept, and the character that sorts after it.
_MARK, _AFTER_MARK = "#", "$"
_CONCEPT_BYTES = 8
#: Longer keys are replaced by their hash if a mark must be appended.
_LONGEST = MAX_ID_CHARACTERS - len(_MARK) - 2 * _CONCEPT_BYTES


def attempt_key(idempotency_key: str, concept_id: str, n_concepts: int) -> str:
    """Return the key of one concept's row; it has a suffix if there are several concepts."""
    return idempotency_key if n_concepts == 1 else _marked(idempotency_key, concept_id)


def keys_of_attempt(conn: Connection, attempt: NewAttempt) -> dict[str, str]:
    """Return the attempt's concepts in order, each with the key of its row.

    If no concepts are given, those of its question are used, or, for a repeated attempt, those
    it was stored with: a change of the mapping affects only later attempts.
    """
    if attempt.concept_ids:
        return _keys(attempt, set(attempt.concept_ids))
    if attempt.question_id is not None:
        if conn.dialect.name == "sqlite":
            lock_attempt(conn, attempt.user_id, ())  # the first statement is a write there
        stored = _stored(conn, attempt)
        if stored:
            return stored
        mapped = conn.execute(
            select(QuestionConceptRow.concept_id).where(
                QuestionConceptRow.question_id == attempt.question_id
            )
        )
        if concepts := set(mapped.scalars()):
            return _keys(attempt, concepts)
    raise BadInputError(
        f"An attempt needs a concept, and question {attempt.question_id!r} is mapped to "
        "none; name the concepts or add the question to question_concepts."
    )


def _keys(attempt: NewAttempt, concepts: set[str]) -> dict[str, str]:
    ordered = sorted(concepts, key=str.encode)
    return {c: attempt_key(attempt.idempotency_key, c, len(ordered)) for c in ordered}


def _stored(conn: Connection, attempt: NewAttempt) -> dict[str, str]:
    """Return the user's rows of this attempt by concept; empty for a new attempt."""
    key, head = attempt.idempotency_key, _head(attempt.idempotency_key)
    column = AttemptRow.idempotency_key
    rows = conn.execute(
        select(AttemptRow.concept_id, column).where(
            AttemptRow.user_id == attempt.user_id,
            or_(column == key, and_(column >= head + _MARK, column < head + _AFTER_MARK)),
        )
    )
    stored = {row.concept_id: row.idempotency_key for row in rows}
    own = {c: k for c, k in stored.items() if c is not None and k in {key, _marked(key, c)}}
    return {c: own[c] for c in sorted(own, key=str.encode)}


def _marked(idempotency_key: str, concept_id: str) -> str:
    mark = blake2b(concept_id.encode(), digest_size=_CONCEPT_BYTES).hexdigest()
    return f"{_head(idempotency_key)}{_MARK}{mark}"


def _head(idempotency_key: str) -> str:
    if len(idempotency_key) <= _LONGEST:
        return idempotency_key
    return blake2b(idempotency_key.encode(), digest_size=32).hexdigest()
