"""INSERT … ON CONFLICT, which SQLAlchemy has per dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from datasets.store.schema.tables import Base


def insert_into(conn: Connection, table: type[Base]) -> Any:  # noqa: ANN401 - two classes, one shape
    """Return an INSERT of this database's dialect, which supports `ON CONFLICT`."""
    if conn.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
