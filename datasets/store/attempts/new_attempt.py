"""An incoming attempt; its values are checked so that it can be stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bkt_core.errors import BadInputError
from datasets.store.schema.types import MAX_ID_BYTES, MAX_ID_CHARACTERS, in_utc

if TYPE_CHECKING:
    from datetime import datetime


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
