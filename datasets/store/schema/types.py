"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BigInteger, DateTime, Float, Integer, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from bkt_core.errors import BadInputError

if TYPE_CHECKING:
    from sqlalchemy import Dialect

#: Limits of an id in characters and UTF-8 bytes; both databases compare ids by UTF-8 bytes.
MAX_ID_CHARACTERS = 255
MAX_ID_BYTES = 1000

#: Serial keys: 64 bits on PostgreSQL, SQLite's rowid.
BigId = BigInteger().with_variant(Integer(), "sqlite")

#: Opaque ids of users, concepts and questions.
Id = String(MAX_ID_CHARACTERS).with_variant(
    String(MAX_ID_CHARACTERS, collation="C"), "postgresql"
)

#: A double on both databases, stored without loss.
Double = Float(53)


class UtcDateTime(TypeDecorator[datetime]):
    """A time with zone: timestamptz on PostgreSQL, `YYYY-MM-DD HH:MM:SS.ffffff` on SQLite."""

    impl = String(26)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(26))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> str | datetime | None:
        """Convert an aware time to UTC; raises an error for a naive one."""
        if value is None:
            return None
        moment = in_utc(value)
        return utc_text(moment) if dialect.name == "sqlite" else moment

    def process_result_value(
        self,
        value: Any,  # noqa: ANN401 - what the driver gives
        dialect: Dialect,
    ) -> datetime | None:
        """Return the stored time, aware and in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return in_utc(value)


class Json(TypeDecorator[Any]):
    """JSONB on PostgreSQL, JSON text on SQLite; NaN and infinity become null."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else JSON())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002 - SQLAlchemy's
        """Replace numbers that JSON does not have by null."""
        return finite_json(value)


def in_utc(moment: datetime) -> datetime:
    """Convert a time to UTC; raises an error for a naive one."""
    if moment.tzinfo is None:
        raise BadInputError(
            f"A time needs a time zone, got the naive {moment.isoformat()}; "
            "times are stored in UTC."
        )
    return moment.astimezone(UTC)


def utc_text(moment: datetime) -> str:
    """Return the fixed-width text of a time, as SQLite stores it."""
    return in_utc(moment).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def finite_json(document: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the document with null in place of NaN and infinity."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, dict):
        return {key: finite_json(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite_json(value) for value in document]
    return document
