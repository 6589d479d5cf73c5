"""Open the configured database after checking its schema."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from datasets.store.connections.database_errors import explained_errors
from datasets.store.connections.engines import make_engine
from datasets.store.schema.revision import require_current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


@contextmanager
def open_database(settings: Settings, url: str | None = None) -> Iterator[Engine]:
    """Yield an engine for a database with the current schema; it is closed at the end.

    `url` is the same database with another account. Raises `DatabaseError` if the database
    becomes unavailable, is full, or refuses the account.
    """
    address = url or settings.database
    engine = make_engine(address)
    try:
        with explained_errors(address):
            require_current(engine)
            yield engine
    finally:
        engine.dispose()
