"""Create engines from a URL, and open transactions.

On SQLite every transaction of our engines begins with `IMMEDIATE`, so that writers wait for
each other instead of failing. `reading` begins a deferred transaction, which reads one snapshot
and blocks nobody.
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

#: Milliseconds that a writer waits for another one on SQLite.
SQLITE_BUSY_MS = 60_000
#: The first version with IS DISTINCT FROM.
OLDEST_SQLITE = (3, 39)
#: Execution option that makes a transaction on SQLite read-only.
READ_ONLY = "bkt_read_only"
#: Query parameters of a URL that are secrets.
SECRETS = ("password", "sslpassword", "passfile")

_DRIVERS = {
    "sqlite": ("sqlite+pysqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg"),
}


def make_engine(url: str, **options: Any) -> Engine:  # noqa: ANN401 - SQLAlchemy's options
    """Create an engine for the pipeline; it does not connect yet."""
    address = parsed(url)
    driver, _ = _drivers(address)
    if driver == "postgresql+psycopg":
        # A connection that is idle for an hour, such as that of the run lock, must not be
        # dropped by the network.
        alive = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
        options.setdefault("connect_args", {"options": "-c timezone=UTC", **alive})
    elif address.database not in (None, "", ":memory:"):
        # ADBC has its own SQLite library. Two of them in one process must never have the same
        # file open: closing it in one drops the locks of the other and deletes its log.
        options.setdefault("poolclass", NullPool)
    engine = create_engine(address.set(drivername=driver), **options)
    _prepare(engine)
    return engine


def make_async_engine(url: str, **options: Any) -> AsyncEngine:  # noqa: ANN401 - likewise
    """Create an engine for the online service; it does not connect yet."""
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
    """Open a transaction that reads one snapshot: REPEATABLE READ, READ ONLY."""
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
    """Raise an error that names the database and a remedy if it does not answer."""
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
    """Parse the URL; the error for an invalid one does not show it, for it may hold secrets."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "BKT_DATABASE_URL must look like sqlite:///file.db or postgresql://user@host/db, "
            "but it is not a URL."
        ) from error


def redacted(url: str) -> str:
    """Return the URL without its secrets, for logs and manifests."""
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
        None  # `_begin_sqlite` begins transactions instead of the driver
    )
    cursor = dbapi_connection.cursor()
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # an acknowledged attempt survives a power failure
        "cache_size = -65536",  # KiB: indexes of hashes are written in random order
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(conn: Connection) -> None:
    deferred = conn.get_execution_options().get(READ_ONLY, False)
    conn.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")
