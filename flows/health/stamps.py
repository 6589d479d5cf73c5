"""Attempts without a stamp, and whether a version needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.errors import BktError
from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import reading
from datasets.store.params.versions import ACTIVE, list_versions
from flows.health.findings import ok, warn
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from bkt_settings.pipeline import Settings
    from flows.health.findings import Finding

NAME = "stamps"
REMEDY = "Run `bkt stamp`: the service may go on meanwhile."


def examine_stamps(settings: Settings) -> Iterator[Finding]:
    """Whether every attempt has a stamp, if a version that nights fit reads it."""
    try:
        with open_database(settings) as engine, reading(engine) as conn:
            n, readers = count_unstamped(conn), _with_history(conn, settings)
    except BktError:
        return  # told where the database is examined
    if not n:
        yield ok(NAME, "every attempt has a stamp")
    elif readers:
        yield warn(
            NAME,
            f"{n:,} attempts have no stamp, and {', '.join(readers)} takes them for attempts "
            "of users without a history",
            REMEDY,
        )
    else:
        yield ok(
            NAME,
            f"{n:,} attempts have no stamp; `bkt stamp` is needed before a version with "
            "history is fitted",
        )


def _with_history(conn: Connection, settings: Settings) -> list[str]:
    """The versions with history that are in force or fitted by nights."""
    return [
        one.version
        for one in list_versions(conn)
        if (one.status == ACTIVE or one.version in settings.fit.candidates)
        and one.settings.get("variant", {}).get("history")
    ]
