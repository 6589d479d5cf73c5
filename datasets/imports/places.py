"""The position of an import by query, stored in the database that it fills, with its rows.

A position in a file could be ahead of a database that was restored or replaced, and the rows in
between would never be read. Here the position and the rows are committed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Place:
    """The last value of a watermark column: a time, a number, or other text."""

    kind: str
    value: float | str

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return {"kind": self.kind, "value": self.value}

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Place | None:
        """Build the object from the values that `as_json` returned."""
        return None if value is None else cls(str(value["kind"]), value["value"])

    def minus(self, overlap: float) -> object:
        """Return where to start reading: the value minus `overlap` (seconds for a time)."""
        if isinstance(self.value, int):
            return self.value - int(overlap)
        if isinstance(self.value, float):
            return self.value - overlap
        if self.kind == "time":
            text = str(self.value)
            earlier = datetime.fromisoformat(text) - timedelta(seconds=overlap)
            return earlier.isoformat(sep=text[10:11] or " ")
        return self.value


def last_place(values: Sequence[object], *, at: datetime) -> Place | None:
    """Return the position after a batch, from its watermark values in increasing order.

    Null, infinite and future values are ignored: a position from a clock that is years ahead
    would make the import skip all rows of those years.
    """
    return next((place for v in reversed(values) if (place := _place(v, at)) is not None), None)


def _place(value: object, at: datetime) -> Place | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ")
    if isinstance(value, str):
        return _place_of_text(value, at)
    if isinstance(value, int):
        return Place("number", value)
    try:
        number = float(str(value))  # floats and decimals
    except ValueError:
        return Place("text", str(value))
    return Place("number", number) if abs(number) < float("inf") else None


def _place_of_text(text: str, at: datetime) -> Place | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return (
            None
            if text.lower().strip("-+") in ("infinity", "inf", "nan")
            else Place("text", text)
        )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Place("time", text) if moment <= at + timedelta(days=1) else None
