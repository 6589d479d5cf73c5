"""Read delimited text; every line is one row.

A quoted field that spans several lines is refused, because one stray quotation mark would
otherwise merge rows silently. `scan` counts the lines, and the parser must return as many rows.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from datasets.attempt_files.archives import opened
from datasets.attempt_files.exports import REPEATED
from datasets.attempt_files.options import Quote
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Size in bytes of the blocks in which a text file is read.
BLOCK_BYTES = 1 << 24
#: Texts that programs write in place of a missing value.
MISSING = frozenset({"NULL", "\\N", "NaN", "nan", "<NA>", "#N/A"})
#: Longest header line in bytes.
_MAX_HEADER = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """How the lines of a text file are split into fields."""

    delimiter: str
    is_quoted: bool
    #: Unique column names; a repeated name has its number appended (`numbered`).
    columns: tuple[str, ...]
    has_header: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """Result of one pass over the bytes of a text file."""

    digest: str
    #: Number of lines that are not empty, without the header.
    n_rows: int


def text_format(
    path: Path, delimiter: str, quote: Quote | None, columns: Sequence[str]
) -> TextFormat:
    """Return the format of a text file, from its first line and the options given by the user.

    If `quote` is None, a tab-separated file is read without quoting, as DataShop writes it. If
    `columns` is empty, the first line has the names. Raises `FileFormatError` if the file is
    UTF-16, begins with a "sep=" line, or has an empty header.
    """
    is_quoted = delimiter != "\t" if quote is None else quote is Quote.DOUBLE
    with opened(path) as file:
        head = file.read(_MAX_HEADER)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileFormatError(
            f"{path} is UTF-16, and text is read as UTF-8: save it as UTF-8 and repeat."
        )
    line = re.split(rb"\r\n|\r|\n", head.removeprefix(codecs.BOM_UTF8), maxsplit=1)[0]
    if line.lower().startswith(b"sep="):
        raise FileFormatError(
            f"{path} begins with {line[:8].decode('latin-1')!r}, a line for spreadsheets: "
            "remove that line and pass the character after '=' as --delimiter."
        )
    if columns:
        names = list(columns)
    else:
        names = _fields(line.decode("utf-8", errors="replace"), delimiter, is_quoted)
        if not any(name.strip() for name in names):
            raise FileFormatError(
                f"Expected a line of column names in {path}, but it is empty."
            )
    return TextFormat(
        delimiter=delimiter,
        is_quoted=is_quoted,
        columns=tuple(numbered([name.strip() for name in names])),
        has_header=not columns,
    )


def numbered(names: Sequence[str]) -> list[str]:
    """Make names unique: append 2 to the second column of the same name, and so on."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}{REPEATED}{seen[name]}")
    return unique


def _fields(line: str, delimiter: str, is_quoted: bool) -> list[str]:
    if not is_quoted:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def scan(path: Path, form: TextFormat) -> Scan:
    """Count the lines of a file and compute the SHA-256 digest of its bytes.

    Raises `FileFormatError` for the first line with a quotation mark that is not closed on it.
    """
    digest, n_rows, line_number = hashlib.sha256(), 0, 0
    well_formed = _well_formed(form.delimiter)
    is_first = True
    with opened(path) as file:
        for block in _whole_lines(file):
            digest.update(block)
            body = block.removeprefix(codecs.BOM_UTF8) if is_first else block
            lines = _lines_of(body)
            if form.is_quoted and b'"' in body:
                _refuse_open_quotes(path, lines, line_number, well_formed)
            n_rows += len(lines) - lines.count("")
            if is_first and form.has_header and lines:
                n_rows -= lines[0] != ""
            is_first = False
            line_number += len(lines)
    return Scan(digest.hexdigest(), n_rows)


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of the file in blocks that end at the end of a line."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        block = rest + block
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        rest = block[end:]
        if end:
            yield block[:end]
    if rest:
        yield rest


def _lines_of(block: bytes) -> list[str]:
    """Split a block into lines; it is decoded as Latin-1, so that a character is a byte."""
    lines = block.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def ragged_line(path: Path, form: TextFormat) -> str | None:
    """Describe the first line with too few or too many fields; None if all lines fit."""
    number, expected = 0, len(form.columns)
    with opened(path) as file:
        for block in _whole_lines(file):
            for line in _lines_of(block):
                number += 1
                if line == "" or (number == 1 and form.has_header):
                    continue
                n_fields = len(_fields(line, form.delimiter, form.is_quoted))
                if n_fields != expected:
                    shown = line[:80].encode("latin-1").decode("utf-8", errors="replace")
                    trailing = n_fields == expected + 1 and line.endswith(form.delimiter)
                    return (
                        f"line {number}: expected {expected} fields, one for each name of a "
                        f"column, got {n_fields}: {shown!r}."
                        + (" It ends with the delimiter; the names do not." if trailing else "")
                    )
    return None


def _well_formed(delimiter: str) -> str:
    """Return the pattern of a line whose quoted fields all end on that line.

    Quotation marks inside an unquoted field are ordinary characters.
    """
    sign = re.escape(delimiter)
    field = f'(?:"(?:[^"]|"")*"|[^"{sign}][^{sign}]*)?'
    return f"^{field}(?:{sign}{field})*$"


def _refuse_open_quotes(path: Path, lines: list[str], before: int, well_formed: str) -> None:
    series = pl.Series(lines, dtype=pl.String)
    broken = (~series.str.contains(well_formed)).arg_true()
    if len(broken):
        number = before + int(broken[0]) + 1
        raise FileFormatError(
            f"{path}, line {number}: a field that begins with a quotation mark must end with "
            f"one on the same line, got {lines[int(broken[0])][:80]!r}. If the marks are part "
            "of the text, give --quote none; a text that spans lines must be fixed first. "
            "Nothing of the file was imported."
        )


def text_tables(path: Path, form: TextFormat, wanted: Sequence[str]) -> Iterator[pa.Table]:
    """Yield tables with the wanted columns as binary values.

    Types are converted later and UTF-8 is not checked here, so that an invalid value breaks
    only its own row.
    """
    with opened(path) as file:
        reader = pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(
                column_names=list(form.columns),
                skip_rows=1 if form.has_header else 0,
                block_size=BLOCK_BYTES,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.is_quoted else False,
                newlines_in_values=False,
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types={name: pa.binary() for name in form.columns},
                include_columns=list(wanted),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        batch = None
        for batch in reader:
            yield pa.Table.from_batches([batch])
        if batch is None:
            yield reader.schema.empty_table()
