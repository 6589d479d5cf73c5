"""Facts about the database server: version, clock, and durability settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from datasets.store.connections.engines import reading
from datasets.store.schema.revision import require_current
from datasets.store.schema.types import in_utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """Facts about a database that answers and is migrated."""

    #: Product and version, such as "PostgreSQL 18.1" or "SQLite 3.45.0".
    product: str
    #: How far its clock is ahead of ours, and the accuracy of that; None: it uses our clock.
    ahead: timedelta | None
    known_to: timedelta
    #: Settings that may lose acknowledged data, as `name = value`.
    unsafe: tuple[str, ...]


def server_facts(engine: Engine, clock: Callable[[], datetime]) -> ServerFacts:
    """Query the database; raises `DatabaseError` if it does not answer or is not migrated."""
    require_current(engine)
    with reading(engine) as conn:
        if engine.dialect.name == "sqlite":
            product = f"SQLite {conn.execute(text('SELECT sqlite_version()')).scalar_one()}"
            return ServerFacts(product=product, ahead=None, known_to=timedelta(), unsafe=())
        version = conn.execute(text("SHOW server_version")).scalar_one()
        settings = {
            name: conn.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        }
        before = clock()
        theirs = in_utc(conn.execute(text("SELECT clock_timestamp()")).scalar_one())
        after = clock()
    return ServerFacts(
        product=f"PostgreSQL {version.split()[0]}",
        ahead=theirs - (before + (after - before) / 2),
        known_to=(after - before) / 2,
        unsafe=tuple(f"{name} = {value}" for name, value in settings.items() if value == "off"),
    )
