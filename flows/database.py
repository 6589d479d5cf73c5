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

_INSUFFICIENT_PRIVILEGE = "42501"


@contextmanager
def open_database(settings: Settings, url: str | None = None) -> Iterator[Engine]:
    """An engine on a database that is up to date; closed at the end.

    `url`: the same database through another account.

    Raises `DatabaseError`: if the database goes away meanwhile, or refuses the account.
    """
    address = url or settings.database
    engine = make_engine(address)
    try:
        require_current(engine)
        yield engine
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            raise DatabaseError(
                f"The account of {redacted(address)} may not do this: "
                f"{str(error.orig).splitlines()[0]}. docs/roles.sql says which role may."
            ) from error
        if not error.connection_invalidated:
            raise
        raise DatabaseError(
            f"The database {redacted(address)} went away while it was used; what was "
            "committed stays. Run the command again when it answers."
        ) from error
    finally:
        engine.dispose()
