"""Every text that files and databases hold, also where it is compressed or in columns."""

from __future__ import annotations

import base64
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import polars as pl
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: How a pickle of protocol 2 to 5 begins, as bytes and in base64.
PICKLE = re.compile(rb"\A\x80[\x02-\x05]|\A\s*(gAJ|gAN|gAS|gAW)[A-Za-z0-9+/]")
PICKLE_NAMES = (".pkl", ".pickle", ".joblib", ".cloudpickle")


def forms(secret: str) -> set[bytes]:
    """A secret as it is, as an address writes it, and in base64."""
    whole = secret.encode()
    return {
        whole,
        quote(secret, safe="").encode(),
        *(base64.b64encode(b"x" * pad + whole)[4:-4] for pad in range(3)),
    }


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def texts_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what its format holds in them; nothing of one that went."""
    if not path.exists():  # SQLite takes its log away when it is read to the end
        return
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
        yield "\n".join(map(repr, frame.iter_rows())).encode()
        yield repr(frame.schema).encode()
    if content.startswith(b"SQLite format 3"):
        yield from rows_of_sqlite(path)


def rows_of_sqlite(path: Path) -> Iterator[bytes]:
    """Every value of every table, the write-ahead log included."""
    with closing(sqlite3.connect(path)) as conn:
        names = conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            for row in conn.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - a name of its own
                for value in row:
                    if value is not None:
                        yield value if isinstance(value, bytes) else str(value).encode()


def rows_of_postgres(url: str) -> Iterator[bytes]:
    """Every row of every table, and what the catalog says of them."""
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN "
            "('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            for (row,) in conn.execute(query):
                yield row.encode()


def leaks(secrets: Iterable[str], texts: Iterable[bytes]) -> set[str]:
    """The secrets that any of the texts tells, in any form."""
    wanted = {form: secret for secret in secrets for form in forms(secret)}
    return {secret for text in texts for form, secret in wanted.items() if form in text}


def pickles(path: Path) -> bool:
    """Whether a file is a pickle, or holds one in a column."""
    if path.suffix in PICKLE_NAMES:
        return True
    return any(PICKLE.match(text) for text in texts_of(path))
