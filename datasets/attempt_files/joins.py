"""Columns that a second file adds to each row, for instance the questions of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bkt_core.errors import UsageError
from datasets.attempt_files.names import find
from datasets.attempt_files.text import scan, text_format, text_tables
from datasets.attempt_files.values.columns import texts_of
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datasets.attempt_files.options import Join

_KEY = "\x1fkey"


@dataclass(frozen=True, slots=True)
class JoinedFile:
    """A second file in memory: its key and the columns that it adds, all as text."""

    #: The column of the attempt file that holds the key.
    left: str
    added: tuple[str, ...]
    frame: pl.DataFrame

    def add(self, table: pa.Table) -> pa.Table:
        """Return the table with the added columns; unmatched keys give null."""
        keys = pl.DataFrame({_KEY: _comparable(texts_of(table[self.left]))})
        found = keys.join(self.frame, on=_KEY, how="left", maintain_order="left")
        for name in self.added:
            table = table.append_column(name, found[name].cast(pl.Binary).to_arrow())
        return table


def read_joins(joins: Sequence[Join], columns: Sequence[str]) -> list[JoinedFile]:
    """Read the second files; each may use columns added by the ones before it.

    Raises `UsageError` if no column or several columns could be the key, and `FileFormatError`
    if a key occurs twice in a second file.
    """
    known, read = list(columns), list[JoinedFile]()
    for join in joins:
        if not join.path.is_file():
            raise FileFormatError(
                f"Expected a file at {join.path} (--join), but there is none."
            )
        table = _whole(join.path)
        left, right = _key(join, known, table.column_names)
        added = tuple(n for n in table.column_names if n != right and n not in known)
        frame = pl.DataFrame(
            {_KEY: _comparable(texts_of(table[right]))}
            | {name: texts_of(table[name]) for name in added}
        ).drop_nulls(_KEY)
        twice = frame.filter(pl.col(_KEY).is_duplicated())[_KEY]
        if len(twice):
            raise FileFormatError(
                f"{join.path} must hold each {right} once, got {twice[0]!r} more than once."
            )
        known += added
        read.append(JoinedFile(left, added, frame))
    return read


def _comparable(text: pl.Series) -> pl.Series:
    """Normalise keys for comparison: strip blanks, drop `.0` of whole numbers."""
    return text.str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")


def _whole(path: Path) -> pa.Table:
    if path.suffix.lower() in (".parquet", ".pq"):
        return pq.read_table(path)
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    form = text_format(path, delimiter, None, ())
    scan(path, form)
    return pa.concat_tables(list(text_tables(path, form, form.columns)))


def _key(join: Join, left: Sequence[str], right: Sequence[str]) -> tuple[str, str]:
    if join.left is not None:
        pair = find(left, join.left), find(right, join.right or join.left)
        if None in pair:
            raise UsageError(
                f"--join {join.path}:{join.left}={join.right or join.left}: the files have "
                f"{', '.join(left)} and {', '.join(right)}."
            )
        return str(pair[0]), str(pair[1])
    shared = [name for name in left if name in right]
    if len(shared) != 1:
        raise UsageError(
            f"--join {join.path}: the files share {', '.join(shared) or 'no column'}; name the "
            "key by --join FILE:column or FILE:column=other."
        )
    return shared[0], shared[0]
