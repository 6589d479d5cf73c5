"""Opens the configured database after a check of its schema."""

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
    """An engine on a database that is up to date; closed at the end.

    `url`: the same database through another account. Raises `DatabaseError`: if the database
    goes away meanwhile, has no room left, or refuses the account.
    """
    address = url or settings.database
    engine = make_engine(address)
    try:
        with explained_errors(address):
            require_current(engine)
            yield engine
    finally:
        engine.dispose()
