"""Files before their columns are mapped to ours: Parquet, delimited text or JSON lines."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.attempt_files.archives import ARCHIVE_ERRORS, compression_of, name_inside
from datasets.attempt_files.exports import DELIMITERS, HEADERLESS
from datasets.attempt_files.json_lines import json_columns, json_scan, json_tables
from datasets.attempt_files.text import (
    Scan,
    TextFormat,
    numbered,
    ragged_line,
    scan,
    text_format,
    text_tables,
)
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datasets.attempt_files.options import FileOptions

_DELIMITERS = MappingProxyType({".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"})
_PARQUET = (".parquet", ".pq")
_JSON = (".jsonl", ".ndjson", ".json")
#: Number of rows of a Parquet file that are read at once.
BATCH_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """One file before its columns are mapped to ours: Parquet, delimited text or JSON lines."""

    path: Path
    columns: tuple[str, ...]
    #: Format of a text file; None for Parquet and JSON.
    text: TextFormat | None
    is_json: bool
    found: Scan
    #: Inode, size and modification time of the file when it was opened.
    state: tuple[int, int, int]

    def tables(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the wanted columns in batches; there are as many rows as lines.

        Raises `FileFormatError` if the file is corrupt or the numbers of lines and rows differ.
        """
        n_rows = 0
        try:
            for table in self._tables(list(wanted)):
                n_rows += table.num_rows
                yield table
        except (OSError, pa.ArrowException, *ARCHIVE_ERRORS) as error:
            self._refuse_change()
            line = ragged_line(self.path, self.text) if self.text else None
            if line is not None:
                raise FileFormatError(
                    f"{self.path} cannot be read as text: {line} Nothing of it was imported; "
                    "fix the line and repeat the import."
                ) from error
            raise broken(self.path, "text" if self.text else self.kind, error) from error
        self._refuse_change()
        if n_rows != self.found.n_rows:
            raise FileFormatError(
                f"{self.path} has {self.found.n_rows:,} lines of attempts, but {n_rows:,} rows "
                "were read; nothing was imported. Look for stray quotation marks or line ends."
            )

    def _refuse_change(self) -> None:
        """Refuse rows if the file has changed since its bytes were hashed and counted."""
        if self.path.exists() and _state_of(self.path) != self.state:
            raise FileFormatError(
                f"{self.path} changed while it was read; nothing was imported. Repeat the "
                "import when the file is complete."
            )

    @property
    def kind(self) -> str:
        """The kind of file in a word."""
        return "JSON lines" if self.is_json else "Parquet" if self.text is None else "text"

    def _tables(self, wanted: list[str]) -> Iterator[pa.Table]:
        if self.is_json:
            return json_tables(self.path, wanted)
        if self.text is not None:
            return text_tables(self.path, self.text, wanted)
        return _parquet_tables(self.path, wanted)


def open_raw_file(path: Path, options: FileOptions) -> RawFile:
    """Open one file: determine its kind and its columns."""
    if path.exists() and not path.is_file():
        raise FileFormatError(
            f"{path} is not a regular file, and an import reads a file more than once: write "
            "its content to a file and import that."
        )
    if not path.is_file():
        raise FileFormatError(f"Expected an attempt file at {path}, but there is none.")
    try:
        return _looked_at(path, options)
    except (OSError, pa.ArrowException, *ARCHIVE_ERRORS) as error:
        raise broken(path, "a file", error) from error


def is_readable(path: Path) -> bool:
    """Return whether the name has an ending of attempt files and is not hidden."""
    name = name_inside(path) if path.is_file() else path.name
    if path.name.startswith("."):
        return False
    return Path(name).suffix.lower() in (*_PARQUET, *_JSON, *_DELIMITERS)


def _looked_at(path: Path, options: FileOptions) -> RawFile:
    state = _state_of(path)
    ending = Path(name_inside(path)).suffix.lower()
    if ending in _PARQUET and options.delimiter is None:
        if compression_of(path) is not None:
            raise FileFormatError(f"{path} is Parquet inside of an archive: unpack it first.")
        columns = _parquet_columns(path)
        n_rows = pq.read_metadata(path).num_rows
        return RawFile(
            path=path,
            columns=columns,
            text=None,
            is_json=False,
            found=Scan(_hash(path), n_rows),
            state=state,
        )
    if ending in _JSON and options.delimiter is None:
        columns = tuple(json_columns(path))
        return RawFile(
            path=path,
            columns=columns,
            text=None,
            is_json=True,
            found=json_scan(path),
            state=state,
        )
    delimiter = options.delimiter or DELIMITERS.get(options.layout) or _DELIMITERS.get(ending)
    if delimiter is None:
        raise FileFormatError(
            "Expected a name ending in .parquet, .csv, .tsv, .txt or .jsonl (also compressed), "
            f"or text with --delimiter, got {path.name!r}."
        )
    names = options.columns or HEADERLESS.get(options.layout, ())
    form = text_format(path, delimiter, options.quote, names)
    return RawFile(
        path=path,
        columns=form.columns,
        text=form,
        is_json=False,
        found=scan(path, form),
        state=state,
    )


def _state_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _hash(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _parquet_columns(path: Path) -> tuple[str, ...]:
    try:
        names = list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise broken(path, "Parquet", error) from error
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise FileFormatError(f"{path} names the column {', '.join(twice)} more than once.")
    return tuple(numbered(names))


def _parquet_tables(path: Path, wanted: list[str]) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows == 0 or not wanted:
            yield file.read(columns=wanted)
            return
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            yield pa.Table.from_batches([batch])


def broken(path: Path, kind: str, error: BaseException) -> FileFormatError:
    """Build the error for a file that its reader refuses."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FileFormatError(
        f"{path} cannot be read as {kind}: {said.rstrip('.')}. "
        "Nothing of it was imported; write the file again and repeat the import."
    )
