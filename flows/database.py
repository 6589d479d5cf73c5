"""The database of the settings, opened only when its schema is current."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from datasets.store.errors import DatabaseError
from datasets.store.schema import require_current
from datasets.store.session import make_engine, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from flows.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Engine]:
    """An engine on a database that is up to date; closed at the end.

    Raises `DatabaseError`: if the database goes away meanwhile.
    """
    engine = make_engine(settings.database)
    try:
        require_current(engine)
        yield engine
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise DatabaseError(
            f"The database {redacted(settings.database)} went away while it was used; what was "
            "committed stays. Run the command again when it answers."
        ) from error
    finally:
        engine.dispose()
