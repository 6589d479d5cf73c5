"""The online service: reading and writing mastery; the HTTP API is `serving.app`."""

from __future__ import annotations

from serving.mastery import (
    AttemptOfBatch,
    batch_update_from_attempts,
    get_or_create_user_state,
    update_from_attempt,
)
from serving.reading import get_active_params, get_user_mastery

__all__ = [
    "AttemptOfBatch",
    "batch_update_from_attempts",
    "get_active_params",
    "get_or_create_user_state",
    "get_user_mastery",
    "update_from_attempt",
]
