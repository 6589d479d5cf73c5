"""Attempt logs for the border's benchmarks, and CPU seconds of this process and the server."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.store.connections.engines import make_engine
from datasets.store.schema.revision import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.postgres_server import PostgresServer

N_USERS = 50_000
N_CONCEPTS = 500
COLUMNS = "id, user_id, concept_id, correct, attempted_at"
_TICKS = os.sysconf("SC_CLK_TCK")
_READY = b"Z\0\0\0\5I"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the client and of the server."""

    client: float
    server: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.client + self.server


def measured(work: Callable[[], object], server: PostgresServer | None = None) -> Cost:
    """Run something and count the CPU it took here and in the server."""
    client, served = _own_cpu(), _server_cpu(server)
    work()
    time.sleep(0.3)  # the backend's last ticks
    return Cost(_own_cpu() - client, _server_cpu(server) - served)


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _server_cpu(server: PostgresServer | None) -> float:
    """The postmaster, its children, and its children that have ended."""
    if server is None:
        return 0.0
    postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    ticks = sum(_stat(postmaster)[11:15])
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found = _stat(int(entry))
            except OSError:
                continue
            if found[1] == postmaster:
                ticks += found[11] + found[12]
    return ticks / _TICKS


def _stat(pid: int) -> list[int]:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        rest = file.read().rsplit(")", 1)[1].split()
    return [0, *(int(value) for value in rest[1:])]


def postgres_log(server: PostgresServer, *, n_rows: int, uuid: bool) -> str:
    """A database with this many attempts, one concept holding a third; returns its URL."""
    url = server.new_database()
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    kind = "{}" if not uuid else "md5({})::uuid::text"
    user, concept = kind.format("'u' || i"), kind.format("'c' || i")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("ALTER TABLE attempts DROP CONSTRAINT uq_attempts_idempotency_key")
        conn.execute("DROP INDEX ix_attempts_key")
        for table, identifier, size in (("u", user, N_USERS), ("c", concept, N_CONCEPTS)):
            made = f"CREATE TABLE {table} AS SELECT i, {identifier} AS id "
            conn.execute(f"{made} FROM generate_series(0, {size}) i".encode())
        statement = f"""INSERT INTO attempts (source, idempotency_key, user_id, concept_id,
                                  correct, attempted_at, created_at)
            SELECT '', 'k' || n, u.id, c.id, (random() < 0.7)::int,
                   timestamptz '2020-01-01Z' + n * interval '2 seconds', now()
            FROM (SELECT n, (random() * {N_USERS})::int AS un,
                         CASE WHEN random() < 0.333 THEN 0
                              ELSE (random() * {N_CONCEPTS})::int END AS cn
                  FROM generate_series(1, {n_rows}) n OFFSET 0) x
            JOIN u ON u.i = un JOIN c ON c.i = cn"""  # noqa: S608 - constants
        conn.execute(statement.encode())
        conn.execute("VACUUM ANALYZE attempts")
    return url


def add_one_percent(url: str) -> None:
    """New attempts of known users at known concepts, spread over all."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            """INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct,
                                     attempted_at, created_at)
            SELECT '', 'new' || id, user_id, concept_id, correct, attempted_at, now()
            FROM attempts TABLESAMPLE bernoulli (1)"""
        )


def sqlite_log(path: Path, *, n_rows: int) -> str:
    """The same in a SQLite file, with UUID ids."""
    url = f"sqlite:///{path}"
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    identifier = (
        "lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || "
        "substr(h, 17, 4) || '-' || substr(h, 21, 12))"
    )
    conn = sqlite3.connect(path)
    conn.execute("DROP INDEX ix_attempts_key")
    series = "WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < {})"
    for name, size in (("u", N_USERS), ("c", N_CONCEPTS)):
        conn.execute(f"CREATE TEMP TABLE {name} (i INTEGER PRIMARY KEY, id TEXT)")
        conn.execute(
            f"INSERT INTO {name} {series.format(size)} "  # noqa: S608 - constants
            f"SELECT i, {identifier} FROM (SELECT i, hex(randomblob(16)) AS h FROM s)"
        )
    conn.execute(
        "INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct, "  # noqa: S608 - constants
        f"attempted_at, created_at) {series.format(n_rows - 1)} "
        "SELECT '', 'k' || x.i, u.id, c.id, x.i % 10 < 7, "
        "strftime('%Y-%m-%d %H:%M:%f', 1577836800 + 2 * x.i, 'unixepoch') || '000', "
        "'2025-01-01 00:00:00.000000' "
        f"FROM (SELECT i, abs(random()) % {N_USERS} AS un, CASE WHEN abs(random()) % 3 = 0 "
        f"THEN 0 ELSE abs(random()) % {N_CONCEPTS} END AS cn FROM s) x "
        "JOIN u ON u.i = un JOIN c ON c.i = cn"
    )
    conn.commit()
    conn.close()
    return url


def attempt_file(path: Path, *, n_rows: int) -> Path:
    """An attempt log as a Parquet file, with ids, in order of time."""
    rng = np.random.default_rng(n_rows)
    users = pa.array([f"{n:032x}" for n in range(n_rows // 20 + 1)])
    concepts = pa.array([f"concept-{n}" for n in range(300)])
    times = np.sort(rng.integers(1_600_000_000, 1_750_000_000, n_rows)) * 1_000_000
    table = pa.table(
        {
            "attempt_id": np.arange(n_rows),
            "user_id": users.take(pa.array(rng.integers(0, len(users), n_rows))),
            "concept_id": concepts.take(pa.array(rng.integers(0, len(concepts), n_rows))),
            "correct": rng.integers(0, 2, n_rows).astype(np.int8),
            "attempted_at": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, path, row_group_size=100_000)
    return path


def copy_to_file(server: PostgresServer, url: str, path: Path) -> None:
    r"""`\\copy … TO file (FORMAT binary)`, without even psql's work: the wire into a file.

    What psql does per row is left out, so the opponent here is a little faster than psql.
    """
    database = url.split("/")[3].split("?")[0]
    conn = socket.socket(socket.AF_UNIX)
    conn.connect(str(server.folder / ".s.PGSQL.5432"))
    hello = f"user\0postgres\0database\0{database}\0\0".encode()
    conn.sendall(struct.pack("!ii", len(hello) + 8, 196_608) + hello)
    greeting = b""
    while not greeting.endswith(_READY):
        greeting += conn.recv(65_536)
    query = f"COPY (SELECT {COLUMNS} FROM attempts) TO STDOUT (FORMAT binary)\0".encode()  # noqa: S608 - constants
    conn.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
    buffer = memoryview(bytearray(1 << 20))
    with path.open("wb", buffering=0) as file:
        while True:
            size = conn.recv_into(buffer)
            file.write(buffer[:size])
            if bytes(buffer[max(0, size - 6) : size]) == _READY:
                break
    conn.close()


def adbc_to_parquet(database: Path, path: Path) -> None:
    """The plain stream: ADBC batches into one Parquet file, nothing judged or sorted."""
    import adbc_driver_sqlite.dbapi as adbc

    with adbc.connect(str(database)) as conn, conn.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
        cursor.execute(f"SELECT {COLUMNS} FROM attempts")  # noqa: S608 - constants
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(path, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
