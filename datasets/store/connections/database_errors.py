"""Turn database errors that a person can resolve into sentences with a remedy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from datasets.store.connections.engines import redacted
from datasets.store.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

#: SQLSTATE (PostgreSQL) or part of the message (SQLite) -> remedy.
_REMEDIES = {
    "42501": "docs/roles.sql says which role has which rights.",
    "53100": "Its disk is full: make room, then run the command again.",
    "53300": "It has no connection left: close others, or raise its max_connections.",
    "25006": "It is read-only: name its primary, or an account that may write.",
    "database or disk is full": "Make room (`bkt prune`), then run the command again.",
    "disk I/O error": (
        "Its disk is full or broken: make room (`bkt prune`), then run the command again."
    ),
    "attempt to write a readonly database": (
        "Give the account that runs `bkt` write permission on the file and its folder."
    ),
    "file is not a database": "Name another file by BKT_DATABASE_URL, or restore this one.",
}


@contextmanager
def explained_errors(url: str) -> Iterator[None]:
    """Raise `DatabaseError` for errors that a person can resolve; others pass unchanged."""
    try:
        yield
    except DBAPIError as error:
        message = _message(error, redacted(url))
        if message is None:
            raise
        raise DatabaseError(message) from error


def is_unique_violation(error: DBAPIError) -> bool:
    """Return whether a row was refused because its key already exists."""
    return (
        getattr(error.orig, "sqlstate", None) == "23505"
        or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )


@contextmanager
def driver_errors(conn: Connection, statement: str) -> Iterator[None]:
    """Raise errors of the driver as SQLAlchemy's, for statements that bypass SQLAlchemy."""
    base = conn.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        gone = conn.dialect.is_disconnect(error, None, None)
        raised = DBAPIError.instance(
            statement,
            None,
            error,
            base,
            hide_parameters=True,
            connection_invalidated=gone,
            dialect=conn.dialect,
        )
        if gone:
            conn.invalidate(error)
        raise raised from error


def _message(error: DBAPIError, where: str) -> str | None:
    said = (str(error.orig).strip().splitlines() or ["nothing"])[0].rstrip(".")
    state = getattr(error.orig, "sqlstate", None)
    for sign, remedy in _REMEDIES.items():
        if sign in (state, said):
            return f"The database {where} refused: {said}. What was committed stays. {remedy}"
    if error.connection_invalidated:
        return (
            f"The connection to the database {where} was lost; what was committed stays. "
            "Run the command again when it answers."
        )
    return None
