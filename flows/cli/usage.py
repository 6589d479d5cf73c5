"""Convert flags to the request of a flow; validation errors name the flag."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bkt_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def moment_of(text: str) -> datetime:
    """Parse a time; a bare day is midnight UTC at its start. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    if len(text) == len("2026-01-31"):
        return moment.replace(tzinfo=UTC)
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return moment.astimezone(UTC)


#: Fields of requests whose flag has another name.
FLAGS = {"first_day": "from", "last_day": "to", "step_days": "step", "concepts": "concept"}


@contextmanager
def usage_errors() -> Iterator[None]:
    """Raise pydantic's validation errors as a `UsageError` that names the flag."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        field = str(first["loc"][0])
        flag = FLAGS.get(field, field.replace("_", "-"))
        raise UsageError(f"--{flag}: {said}, got {first['input']!r}.") from error
