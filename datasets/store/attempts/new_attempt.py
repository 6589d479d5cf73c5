"""An incoming attempt; its values are checked so that it can be stored."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BadInputError
from datasets.store.schema.types import MAX_ID_BYTES, MAX_ID_CHARACTERS, in_utc

if TYPE_CHECKING:
    from datetime import datetime

    from bkt_core.stamps import Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """One attempt; without concepts those of its question are used.

    Raises `BadInputError` if an outcome or an id cannot be stored.
    """

    idempotency_key: str
    user_id: str
    correct: int
    attempted_at: datetime
    question_id: str | None = None
    concept_ids: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if self.correct not in (0, 1):
            raise BadInputError(f"correct must be 0 or 1, got {self.correct!r}.")
        in_utc(self.attempted_at)
        named = (self.idempotency_key, self.user_id, self.question_id or "", *self.concept_ids)
        for name in named:
            _require_storable(name)

    def row(
        self, concept_id: str, key: str, stamp: Stamp | None, *, at: datetime
    ) -> dict[str, Any]:
        """Return the row of one concept, as it is written at the time `at`."""
        recent, n, n_right = stamp or (None, None, None)
        return {
            "source": self.source,
            "idempotency_key": key,
            "user_id": self.user_id,
            "question_id": self.question_id,
            "concept_id": concept_id,
            "correct": int(self.correct),
            "attempted_at": self.attempted_at,
            "created_at": at,
            "attempt_code": attempt_code(self.idempotency_key),
            "recent_outcomes": recent,
            "n_before": n,
            "n_right_before": n_right,
        }


def attempt_code(idempotency_key: str) -> int:
    """Return the number that all rows of one attempt have: 64 bits, signed."""
    digest = blake2b(idempotency_key.encode(), digest_size=8, person=b"bkt-attempt").digest()
    return int.from_bytes(digest, "big", signed=True)


def _require_storable(name: str) -> None:
    try:
        n_bytes = len(name.encode())
    except UnicodeEncodeError:
        n_bytes = -1
    if n_bytes < 0 or n_bytes > MAX_ID_BYTES or len(name) > MAX_ID_CHARACTERS or "\0" in name:
        raise BadInputError(
            f"An id must have at most {MAX_ID_CHARACTERS} characters and {MAX_ID_BYTES} bytes "
            f"of UTF-8, without NUL and lone surrogates, got {name[:40]!r}."
        )
