"""Read rows from the database of a platform; nothing in it is written or changed."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bkt_core.errors import UsageError
from datasets.errors import FileFormatError
from datasets.store.connections.engines import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import URL, Connection, CursorResult, Engine

#: PostgreSQL's time types, which are read as text: Python's types end in the year 9999 and have
#: no infinity, and one such value would end the stream.
_TEXTS = ("timestamptz", "timestamp", "date", "time", "timetz", "interval")
_POSTGRES_OPTIONS = "-c timezone=UTC -c datestyle=ISO -c default_transaction_read_only=on"


class ForeignDatabase:
    """An open connection for reading."""

    def __init__(self, url: str, conn: Connection) -> None:
        self._url, self._conn = url, conn

    def quoted(self, column: str) -> str:
        """Return the quoted name of a column in this database."""
        return self._conn.dialect.identifier_preparer.quote(column)

    def batches(
        self, statement: str, values: Mapping[str, object], size: int
    ) -> Iterator[tuple[list[str], Sequence[Sequence[Any]]]]:
        """Yield column names and rows in batches; one empty batch if there are no rows.

        Raises `FileFormatError` if the rows cannot be read to the end.
        """
        with _explained_errors(self._url):
            result = self._conn.execute(text(statement), dict(values))
        with closing(result):
            names = list(result.keys())
            with _explained_errors(self._url):
                rows = _fetched(result, size)
            yield names, rows
            while rows:
                with _explained_errors(self._url):
                    rows = _fetched(result, size)
                if rows:
                    yield names, rows


@contextmanager
def foreign_database(url: str) -> Iterator[ForeignDatabase]:
    """Open the database of a platform.

    Raises `UsageError` if the address is invalid or there is no driver for it, and
    `FileFormatError` if nothing answers there.
    """
    engine = _engine(url)
    try:
        with _explained_errors(url):
            conn = engine.connect().execution_options(stream_results=True)
        with conn:
            yield ForeignDatabase(url, conn)
    finally:
        engine.dispose()


@contextmanager
def _explained_errors(url: str) -> Iterator[None]:
    """Turn errors of the database into one clear error."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise FileFormatError(
            f"The query must be readable to the end, {redacted(url)} said: "
            f"{said[0] if said else type(error).__name__}. "
            "What was imported before stays; repeat the import to go on."
        ) from error


def _fetched(result: CursorResult[Any], size: int) -> Sequence[Sequence[Any]]:
    """Fetch the next rows; a driver that cannot convert a value raises the same error."""
    try:
        return result.fetchmany(size)
    except (ValueError, OverflowError) as error:
        raise DBAPIError("fetch", None, error) from error


def _engine(url: str) -> Engine:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "The database to import from must be an address such as "
            "postgresql://user@host/db or sqlite:///file.db; the given text is not one."
        ) from error
    kind = address.drivername.partition("+")[0]
    if kind == "sqlite":
        return _sqlite(address)
    if kind == "postgresql":
        return _postgres(address.set(drivername="postgresql+psycopg"))
    try:
        return create_engine(address, poolclass=NullPool)
    except (NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"There is no driver here for {address.drivername}://; install one that SQLAlchemy "
            "knows, or export the attempts to Parquet and import the file."
        ) from error


def _sqlite(address: URL) -> Engine:
    """Open a file read-only: a missing one is not created, and its journal stays unchanged."""
    path = Path(address.database or "")
    if not path.is_file():
        raise FileFormatError(f"Expected a SQLite database at {path}, but there is none.")
    file = "file:" + path.absolute().as_uri().removeprefix("file://")
    readable = {"uri": "true", "mode": "ro"}
    engine = create_engine(
        address.set(drivername="sqlite+pysqlite", database=file, query=readable),
        poolclass=NullPool,
    )

    def texts_as_bytes(connection: Any, _record: Any) -> None:  # noqa: ANN401 - the driver's own
        connection.text_factory = bytes  # UTF-8 is checked row by row

    event.listen(engine, "connect", texts_as_bytes)
    return engine


def _postgres(address: URL) -> Engine:
    from psycopg.types.string import TextLoader

    engine = create_engine(
        address, poolclass=NullPool, connect_args={"options": _POSTGRES_OPTIONS}
    )

    def times_as_text(connection: Any, _record: Any) -> None:  # noqa: ANN401 - the driver's own
        for name in _TEXTS:
            connection.adapters.register_loader(name, TextLoader)

    event.listen(engine, "connect", times_as_text)
    return engine
