"""Imports of a file beside the barest way of storing its rows, in the same run.

`python -m benchmarks.imports` takes about two minutes. The opponents get the rows that an
import stores, keys hashed and values encoded already, and judge nothing: SQLite an
`executemany` in one transaction, PostgreSQL a COPY of text, each into the table of attempts
with its indexes and rules. The log has ten attempts of a user at a concept, as the public logs
have (8 to 14): each pair is a state that an import also writes. CPU seconds are those of this
process and of every process of the server.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import psycopg

from benchmarks.data.border import measured
from datasets.identity import with_idempotency_keys
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from benchmarks.data.border import Cost
    from tests.postgres_server import PostgresServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REPEATS = 3
BAR = 2.0
COLUMNS = "source, idempotency_key, user_id, concept_id, correct, attempted_at, created_at"


def main() -> int:
    """Measure, print the table, and return how many bars were missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bkt-imports-"))
    try:
        file = _attempt_file(folder / "attempts.parquet", options.rows)
        rows = _plain_rows(file)
        with postgres_server(max_wal_size="4GB", shared_buffers="256MB") as server:
            missed = _on_sqlite(folder, file, rows) + _on_postgres(server, folder, file, rows)
    finally:
        shutil.rmtree(folder)
    print(f"{missed} bars missed")
    return missed


def _attempt_file(path: Path, n_rows: int) -> Path:
    """An attempt log in order of time: 10 attempts of a user at a concept, 10 concepts each."""
    rng = np.random.default_rng(n_rows)
    users = rng.integers(0, max(1, n_rows // 100), n_rows)
    concepts = (users * 7 + rng.integers(0, 10, n_rows)) % 300
    pl.DataFrame(
        {
            "attempt_id": np.arange(n_rows),
            "user_id": pl.Series(users).cast(pl.String).str.zfill(32),
            "concept_id": "concept-" + pl.Series(concepts).cast(pl.String),
            "correct": rng.integers(0, 2, n_rows).astype(np.int8),
            "attempted_at": pl.Series(
                np.sort(rng.integers(1_600_000_000, 1_750_000_000, n_rows)) * 1_000_000
            ).cast(pl.Datetime("us", "UTC")),
        }
    ).write_parquet(path)
    return path


def _plain_rows(file: Path) -> pl.DataFrame:
    """The rows of a file as text, as both databases take them."""
    moment = pl.col("attempted_at").dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
    rows = pl.read_parquet(file).with_columns(pl.col("attempt_id").cast(pl.String))
    return with_idempotency_keys(rows, "").select(
        pl.lit("").alias("source"),
        "idempotency_key",
        "user_id",
        "concept_id",
        pl.col("correct").cast(pl.Int64),
        moment.alias("attempted_at"),
        pl.lit(NOW.strftime("%Y-%m-%d %H:%M:%S.%f")).alias("created_at"),
    )


def _on_sqlite(folder: Path, file: Path, rows: pl.DataFrame) -> int:
    tuples, bare, ours = rows.rows(), [], []
    for n in range(REPEATS):
        path = folder / f"bare-{n}.db"
        _make_schema(f"sqlite:///{path}")
        bare.append(measured(lambda path=path: _execute_many(path, tuples)))
        url = f"sqlite:///{folder / f'ours-{n}.db'}"
        _make_schema(url)
        ours.append(measured(lambda url=url: _import(url, file)))
    return _line("SQLite: import / executemany", rows.height, bare, ours)


def _on_postgres(server: PostgresServer, folder: Path, file: Path, rows: pl.DataFrame) -> int:
    text = folder / "attempts.csv"
    rows.with_columns(pl.col("attempted_at", "created_at") + "Z").write_csv(
        text, include_header=False, quote_style="always"
    )
    encoded, bare, ours = text.read_bytes(), [], []
    for _ in range(REPEATS):
        url = server.new_database()
        _make_schema(url)
        bare.append(measured(lambda url=url: _copy(url, encoded), server))
        url = server.new_database()
        _make_schema(url)
        ours.append(measured(lambda url=url: _import(url, file), server))
    return _line("PostgreSQL: import / COPY", rows.height, bare, ours)


def _make_schema(url: str) -> None:
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=NOW)
    engine.dispose()


def _execute_many(path: Path, rows: list[tuple[object, ...]]) -> None:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA cache_size = -65536")
    conn.execute("BEGIN IMMEDIATE")
    conn.executemany(f"INSERT INTO attempts ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 - constants
    conn.execute("COMMIT")
    conn.close()


def _copy(url: str, encoded: bytes) -> None:
    with (
        psycopg.connect(url) as conn,
        conn.cursor() as cursor,
        cursor.copy(f"COPY attempts ({COLUMNS}) FROM STDIN (FORMAT csv)".encode()) as copy,
    ):
        for first in range(0, len(encoded), 1 << 20):
            copy.write(encoded[first : first + (1 << 20)])


def _import(url: str, file: Path) -> None:
    engine = make_engine(url)
    import_file(engine, file, ImportOptions(), quarantine_root=file.parent / "q", at=NOW)
    engine.dispose()


def _line(name: str, n_rows: int, bare: list[Cost], ours: list[Cost]) -> int:
    """Print a ratio of medians; returns whether its bar was missed."""
    floor, spent = (median(cost.total for cost in costs) for costs in (bare, ours))
    held = spent <= BAR * floor
    print(
        f"{name:<30} {n_rows:,} rows: {spent:6.2f} / {floor:6.2f} CPU-s = {spent / floor:5.2f}"
        f"   <= {BAR:g} {'held' if held else 'MISSED'}",
        flush=True,
    )
    return not held


if __name__ == "__main__":
    sys.exit(main())
