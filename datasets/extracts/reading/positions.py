"""Positions up to which extractions have read, so that the next one reads only new rows.

A watermark by the highest id or by `created_at` would miss rows of slow transactions. A
PostgreSQL snapshot does not: a row is new if the transaction that wrote it was not visible in
the earlier snapshot and is visible now.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

_SNAPSHOT = re.compile(r"(\d+):\d+:[\d,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPosition:
    """A snapshot, and the server, timeline, database and table to which it belongs."""

    system: str
    timeline: str
    database: int
    table: int
    snapshot: str
    kind: str = "postgresql"

    @property
    def _unseen(self) -> str:
        """Condition on a column `xact_id`: its transaction is not visible in this snapshot."""
        lowest = _SNAPSHOT.fullmatch(self.snapshot)
        if lowest is None:
            raise ValueError(f"not a snapshot: {self.snapshot!r}")
        return (
            f"xact_id >= '{lowest[1]}'::xid8 "
            f"AND NOT pg_visible_in_snapshot(xact_id, '{self.snapshot}'::pg_snapshot)"
        )

    @property
    def new_rows(self) -> str:
        """The condition on `attempts` that selects new rows."""
        return self._unseen

    @property
    def changed(self) -> str:
        """The query that returns whether earlier rows were changed or deleted."""
        return f"SELECT EXISTS (SELECT 1 FROM attempt_rewrites WHERE {self._unseen})"  # noqa: S608 - digits only

    def may_lead_to(self, now: PostgresPosition | SqlitePosition) -> bool:
        """Return whether `now` can be a later position in the same log."""
        if not isinstance(now, PostgresPosition):
            return False
        same = (self.system, self.timeline, self.database, self.table) == (
            now.system, now.timeline, now.database, now.table,
        )  # fmt: skip
        return same and _lowest(self.snapshot) <= _lowest(now.snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlitePosition:
    """The last row (SQLite has a single writer), and the number of changed or deleted rows."""

    last_id: int
    last_key: str
    rewrites: int
    kind: str = "sqlite"

    @property
    def new_rows(self) -> str:
        """The condition on `attempts` that selects new rows."""
        return f"id > {self.last_id:d}"

    @property
    def changed(self) -> str:
        """The query that returns whether earlier rows were changed or replaced.

        Ids are never reused; therefore it also detects another file or an older copy of this
        one.
        """
        key = self.last_key.replace("'", "''").replace("\0", "")
        return (
            f"SELECT {self.rewrites:d} <> (SELECT coalesce(max(id), 0) FROM attempt_rewrites) "  # noqa: S608 - digits and one quoted key
            f"OR '{key}' <> coalesce((SELECT idempotency_key FROM attempts "
            f"WHERE id = {self.last_id:d}), '')"
        )

    def may_lead_to(self, now: PostgresPosition | SqlitePosition) -> bool:
        """Return whether `now` can be a later position in the same log."""
        return isinstance(now, SqlitePosition) and self.last_id <= now.last_id


LogPosition = PostgresPosition | SqlitePosition

#: The fields of a PostgreSQL position; the query runs in the same snapshot as the rows.
POSTGRES_POSITION = """
    SELECT (SELECT system_identifier FROM pg_control_system())::text,
           CASE WHEN pg_is_in_recovery() THEN 'standby'
                ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
           (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,
           'attempts'::regclass::oid::bigint,
           pg_current_snapshot()::text
"""
#: Whether rows have transaction ids that this server has not reached: they were copied from
#: another server and would look new forever.
FROM_ELSEWHERE = """
    SELECT EXISTS (
        SELECT 1 FROM attempts WHERE xact_id >= pg_snapshot_xmax(pg_current_snapshot()))
"""
SQLITE_POSITION = """
    SELECT coalesce(max(id), 0),
           coalesce((SELECT idempotency_key FROM attempts ORDER BY id DESC LIMIT 1), ''),
           (SELECT coalesce(max(id), 0) FROM attempt_rewrites)
    FROM attempts
"""


def as_json(position: LogPosition) -> dict[str, Any]:
    """Return a position in the form that manifests store."""
    return asdict(position)


def from_json(value: dict[str, Any] | None) -> LogPosition | None:
    """Read the position of a manifest; None if this release does not know its kind."""
    kinds: dict[str, type[PostgresPosition] | type[SqlitePosition]] = {
        "postgresql": PostgresPosition,
        "sqlite": SqlitePosition,
    }
    kind = kinds.get(str((value or {}).get("kind")))
    try:
        return kind(**(value or {})) if kind else None
    except TypeError:
        return None


def _lowest(snapshot: str) -> int:
    lowest = _SNAPSHOT.fullmatch(snapshot)
    return int(lowest[1]) if lowest else -1
