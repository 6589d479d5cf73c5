"""Cursors of pages: opaque texts that say where the next page of a list begins."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from serving.problems import RefusedError
from serving.schemas import FIRST_MOMENT, MAX_SERIAL

_SEPARATOR = "\n"


def cursor_of(*parts: str) -> str:
    """Return the cursor of the position after an entry."""
    return base64.urlsafe_b64encode(_SEPARATOR.join(parts).encode()).decode()


def concept_after(cursor: str | None) -> str | None:
    """Return the concept id after which the page begins."""
    return None if cursor is None else _parts(cursor, 1)[0]


def run_after(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the start and the id of the run after which the page begins."""
    if cursor is None:
        return None
    began, run_id = _parts(cursor, 2)
    try:
        moment = datetime.fromisoformat(began)
        if moment.tzinfo is None or moment < FIRST_MOMENT:
            raise _refusal()
        return moment.astimezone(UTC), run_id
    except (ValueError, OverflowError) as error:
        raise _refusal() from error


def event_before(cursor: str | None) -> int | None:
    """Return the id of the event before which the page begins."""
    if cursor is None:
        return None
    (text,) = _parts(cursor, 1)
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SERIAL:
        raise _refusal()
    return int(text)


def _parts(cursor: str, n_parts: int) -> list[str]:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise _refusal() from error
    parts = [text] if n_parts == 1 else text.split(_SEPARATOR)
    if len(parts) != n_parts or "\0" in text:
        raise _refusal()
    return parts


def _refusal() -> RefusedError:
    return RefusedError(
        422, "The cursor must be a next_cursor of this list.", kind="bad-cursor"
    )
