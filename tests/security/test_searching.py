"""The search finds what it is there to find; else the tests that rest on it prove nothing."""

from __future__ import annotations

import base64
import pickle
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.security.searching import leaks, pickles, texts_of

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "pl@nt/ed secret"


@pytest.mark.parametrize(
    "told",
    [
        SECRET,
        "http://ann:pl%40nt%2Fed%20secret@host",
        base64.b64encode(f"ann:{SECRET}".encode()).decode(),
        base64.b64encode(f"bob2:{SECRET}".encode()).decode(),
        base64.b64encode(f"carol:{SECRET}:x".encode()).decode(),
    ],
)
def test_a_secret_is_found_wherever_it_stands(tmp_path: Path, told: str):
    """In plain text, in a compressed column, in a row of SQLite that is only in its log."""
    (tmp_path / "log.txt").write_text(f"said: {told}\n")
    pl.DataFrame({"note": [told] * 100}).write_parquet(tmp_path / "t.parquet")
    writer = sqlite3.connect(tmp_path / "t.db")
    with closing(writer):
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (note text)")
        writer.execute("INSERT INTO t VALUES (?)", (told,))
        writer.commit()
        for name in ("log.txt", "t.parquet", "t.db"):
            assert leaks([SECRET, "another"], texts_of(tmp_path / name)) == {SECRET}, name


def test_what_is_no_secret_is_not_found(tmp_path: Path):
    """A text that only resembles one."""
    (tmp_path / "log.txt").write_text("planted secret, pl@nt/ed secre")
    assert leaks([SECRET], texts_of(tmp_path / "log.txt")) == set()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_found(tmp_path: Path, protocol: int):
    """By its name, by its first bytes, in base64 as Prefect writes it, in a column."""
    pickled = pickle.dumps({"a": [1, 2, 3], "b": ValueError("no")}, protocol=protocol)
    (tmp_path / "raw").write_bytes(pickled)
    (tmp_path / "base64").write_bytes(base64.encodebytes(pickled))
    (tmp_path / "named.pkl").write_bytes(b"")
    with closing(sqlite3.connect(tmp_path / "t.db")) as conn:
        conn.execute("CREATE TABLE t (value blob)")
        conn.execute("INSERT INTO t VALUES (?)", (pickled,))
        conn.commit()
    for name in ("raw", "base64", "named.pkl", "t.db"):
        assert pickles(tmp_path / name), name
    (tmp_path / "json").write_text('{"a": 1}')
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "t.parquet")
    assert not pickles(tmp_path / "json")
    assert not pickles(tmp_path / "t.parquet")
