"""Read JSON lines: one object per line; nested members become columns with dotted names."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datasets.attempt_files.archives import opened
from datasets.attempt_files.text import Scan
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Lines whose members give the column names, and lines per batch.
SAMPLE_LINES, BATCH_LINES = 1_000, 50_000
_ONE_A_LINE = (
    "JSON is read as one object a line; `jq -c '.[]'` makes lines of an array, `jq -c .` of an "
    "object that spans lines."
)


def json_columns(path: Path) -> list[str]:
    """Return every member of the first lines, nested ones by path: `actor.account.name`."""
    names: dict[str, None] = {}
    for value in islice(_objects(path), SAMPLE_LINES):
        names.update(dict.fromkeys(_flat(value)))
    if not names:
        raise FileFormatError(f"Expected a JSON object on each line of {path}, found none.")
    return list(names)


def json_scan(path: Path) -> Scan:
    """Count the lines that are not empty and compute the digest of the bytes."""
    digest, n_rows = hashlib.sha256(), 0
    with opened(path) as file:
        for line in file:
            digest.update(line)
            n_rows += bool(line.strip())
    return Scan(digest.hexdigest(), n_rows)


def json_tables(path: Path, wanted: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the wanted members as bytes; a member that a line lacks is null."""
    objects = _objects(path)
    is_first = True
    while rows := [_flat(value) for value in islice(objects, BATCH_LINES)]:
        yield _table(rows, wanted)
        is_first = False
    if is_first:
        yield _table([], wanted)


def _table(rows: list[dict[str, Any]], wanted: Sequence[str]) -> pa.Table:
    return pa.table(
        {
            name: pa.array([_bytes(row.get(name)) for row in rows], pa.binary())
            for name in wanted
        }
    )


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError) as error:
                shown = repr(line[:80].decode("utf-8", "replace"))
                raise _no_object(path, number, shown) from error
            if not isinstance(value, dict):
                raise _no_object(path, number, type(value).__name__)
            yield value


def _no_object(path: Path, number: int, got: str) -> FileFormatError:
    advice = f"{_ONE_A_LINE} " if number == 1 else ""
    return FileFormatError(
        f"{path}, line {number}: expected a JSON object, got {got}. "
        f"{advice}Nothing was imported."
    )


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten members by path; objects in a list get their index, other lists are kept."""
    found: dict[str, Any] = {}
    for name, member in value.items():
        path = f"{before}{name}"
        if isinstance(member, dict):
            found.update(_flat(member, f"{path}."))
        elif isinstance(member, list) and member and isinstance(member[0], dict):
            for place, one in enumerate(member):
                if isinstance(one, dict):
                    found.update(_flat(one, f"{path}.{place}."))
        else:
            found[path] = member
    return found


def _bytes(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass") or None
    return json.dumps(value).encode()
