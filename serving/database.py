"""The database of the service: short transactions, and errors while it is unavailable."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import make_url, text
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bkt_core.errors import BktError
from datasets.store.connections.engines import READ_ONLY, make_async_engine, redacted
from datasets.store.errors import DatabaseError, NotMigratedError
from datasets.store.schema.revision import head_revision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from serving.observation.metrics import Metrics

T = TypeVar("T")

#: How often a transaction is tried that the database aborted, as after a deadlock.
MAX_TRIES = 5
#: Seconds to wait for a connection of the pool, to connect, and for one statement.
POOL_SECONDS = 15
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 60
#: SQLSTATEs after which a transaction may be repeated: serialization failure, deadlock.
REPEATABLE = frozenset({"40001", "40P01"})
#: SQLSTATE classes and codes of a database that is not ready: connection lost, resources,
#: operator (starting up, shutting down), system error; a missing table or column.
NOT_READY_CLASSES = ("08", "53", "57", "58")
NOT_MIGRATED = frozenset({"42P01", "42703"})


class Database:
    """One engine with its sessions, and the translation of its errors."""

    def __init__(self, url: str, *, connections: int, metrics: Metrics) -> None:
        self._shown = redacted(url)
        self._metrics = metrics
        sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = make_async_engine(url, **_pool(sqlite=sqlite, connections=connections))
        # SQLite has one writer at a time; waiting for the connection is fairer than polling.
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        # At READ COMMITTED each statement sees its own snapshot, in a transaction or not.
        self._reading = {READ_ONLY: True} if sqlite else {"isolation_level": "AUTOCOMMIT"}

    async def write(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit it; repeat it after errors that allow that."""
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._write_once(work)
            except DBAPIError as error:
                if _sqlstate(error) not in REPEATABLE:
                    raise self._refusal(error) from error
        async with self._explained():
            return await self._write_once(work)

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work`, which must not write."""
        async with self._explained(), self.engine.connect() as fresh:
            conn = await fresh.execution_options(**self._reading)
            return await work(conn)

    async def require_ready(self) -> None:
        """Raise `DatabaseError` if the database is unavailable or has not been migrated."""

        async def revision(conn: AsyncConnection) -> str | None:
            found = await conn.execute(text("SELECT version_num FROM alembic_version"))
            return found.scalar_one_or_none()

        found = await self.read(revision)
        expected = head_revision()
        if found != expected:
            raise NotMigratedError(url=self._shown, found=found, expected=expected)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def _write_once(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        try:
            async with self._sessions() as session, session.begin():
                done = await work(session)
        except (BktError, DBAPIError):
            raise
        except (OSError, SQLAlchemyError) as error:
            raise self._refusal(error) from error
        self._metrics.database_up.set(1)
        return done

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        try:
            yield
        except BktError:
            raise
        except (OSError, SQLAlchemyError) as error:
            raise self._refusal(error) from error
        self._metrics.database_up.set(1)

    def _refusal(self, error: OSError | SQLAlchemyError) -> Exception:
        """Return a `DatabaseError` if the database is unavailable; other errors unchanged."""
        if not _is_away(error):
            return error
        self._metrics.database_up.set(0)
        if _sqlstate(error) in NOT_MIGRATED or "no such table" in str(error):
            return NotMigratedError(url=self._shown, found=None, expected=head_revision())
        return DatabaseError(
            "The database does not answer at the moment; repeat the request with the same "
            "idempotency key."
        )


def _pool(*, sqlite: bool, connections: int) -> dict[str, object]:
    if sqlite:
        return {"pool_size": 1, "max_overflow": 0, "pool_timeout": POOL_SECONDS}
    return {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": POOL_SECONDS,
        "connect_args": {
            "server_settings": {"timezone": "UTC"},
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
        },
    }


def _sqlstate(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def _is_away(error: OSError | SQLAlchemyError) -> bool:
    state = _sqlstate(error)
    if isinstance(error, OSError | InterfaceError | OperationalError | PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return state.startswith(NOT_READY_CLASSES) or state in NOT_MIGRATED or state in REPEATABLE
