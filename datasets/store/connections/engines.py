"""Engines and transactions from a URL.

On SQLite every transaction of our engines begins `IMMEDIATE`, so that two writers wait for each
other instead of failing; `reading` begins a deferred one, which sees one moment and blocks
nobody.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from datasets.store.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

#: Milliseconds a writer waits for another on SQLite.
SQLITE_BUSY_MS = 60_000
#: The first with IS DISTINCT FROM.
OLDEST_SQLITE = (3, 39)
#: Execution option that makes a transaction on SQLite a reader.
READ_ONLY = "bkt_read_only"
#: Query parameters of a URL that hold secrets.
SECRETS = ("password", "sslpassword", "passfile")

_DRIVERS = {
    "sqlite": ("sqlite+pysqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg"),
}


def make_engine(url: str, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's options
    """An engine for the pipeline; nothing is connected yet."""
    address = parsed(url)
    driver, _ = _drivers(address)
    if driver == "postgresql+psycopg":
        # A connection that does nothing for an hour, as that of the run lock, must not be
        # forgotten by what lies between.
        alive = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
        options.setdefault("connect_args", {"options": "-c timezone=UTC", **alive})
    elif address.database not in (None, "", ":memory:"):
        # ADBC brings an SQLite of its own. Two in one process must never hold the same file
        # open: each closing drops the locks of the other, and takes its write-ahead log away.
        options.setdefault("poolclass", NullPool)
    engine = create_engine(address.set(drivername=driver), **options)
    _prepare(engine)
    return engine


def make_async_engine(url: str, **options: Any) -> AsyncEngine:  # noqa: ANN401 - likewise
    """An engine for the online service; nothing is connected yet."""
    address = parsed(url)
    _, driver = _drivers(address)
    if driver == "postgresql+asyncpg" and "sslmode" in address.query:
        mode = address.query["sslmode"]
        address = address.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    if driver == "postgresql+asyncpg":
        options.setdefault("connect_args", {"server_settings": {"timezone": "UTC"}})
    engine = create_async_engine(address.set(drivername=driver), **options)
    _prepare(engine.sync_engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One moment of the database, unchanged to the end: REPEATABLE READ, READ ONLY."""
    with engine.connect() as fresh:
        if engine.dialect.name == "sqlite":
            conn = fresh.execution_options(**{READ_ONLY: True})
        else:
            conn = fresh.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with conn.begin():
            yield conn


def require_reachable(engine: Engine) -> None:
    """Refuse a database that does not answer, and say where it is and what to do."""
    url = engine.url.render_as_string(hide_password=False)
    try:
        with engine.connect():
            pass
    except OperationalError as error:
        cause = str(error.orig).strip().splitlines()[0] if error.orig else "no reason given"
        remedy = "Check BKT_DATABASE_URL and that the server runs."
        if "authentication failed" in cause:
            remedy = "The password in BKT_DATABASE_URL is wrong, or its account has expired."
        elif "disk I/O error" in cause:
            remedy = "Its disk is full or broken: make room, then run the command again."
        elif engine.dialect.name == "sqlite":
            remedy = "Check BKT_DATABASE_URL, and that its folder is there and can be written."
        raise DatabaseError(
            f"The database {redacted(url)} must answer, it said: {cause.rstrip('.')}. {remedy}"
        ) from error


def parsed(url: str) -> URL:
    """The URL in its parts; a text that is none is refused without repeating it."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "BKT_DATABASE_URL must look like sqlite:///file.db or postgresql://user@host/db, "
            "and what came is no URL."
        ) from error


def redacted(url: str) -> str:
    """The URL without its secrets, as a person wrote it, for logs and manifests."""
    address = parsed(url)
    address = address.set(drivername=address.get_backend_name())
    hidden = {name: "***" for name in SECRETS if name in address.query}
    return address.update_query_dict(hidden).render_as_string(hide_password=True)


def _drivers(address: URL) -> tuple[str, str]:
    try:
        return _DRIVERS[address.get_backend_name()]
    except (KeyError, NoSuchModuleError) as error:
        raise DatabaseError(
            f"The database must be sqlite:// or postgresql://, got {address.drivername}://."
        ) from error


def _prepare(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseError(
                f"SQLite must be {'.'.join(map(str, OLDEST_SQLITE))} or newer, this Python has "
                f"{sqlite3.sqlite_version}; use a newer Python or PostgreSQL."
            )
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)


def _open_sqlite(dbapi_connection: Any, _record: Any) -> None:  # noqa: ANN401 - drivers' own
    dbapi_connection.isolation_level = (
        None  # `_begin_sqlite` begins transactions, not the driver
    )
    cursor = dbapi_connection.cursor()
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # an acknowledged attempt survives a power cut
        "cache_size = -65536",  # KiB: an index of hashes is written all over, 2 MiB would swap
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(conn: Connection) -> None:
    deferred = conn.get_execution_options().get(READ_ONLY, False)
    conn.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")
