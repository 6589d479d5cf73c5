"""Atomic file writes: a reader sees the complete file or no file.

A file is written under a temporary name and then renamed. This module imports neither Polars
nor Arrow, so that commands which only create a folder or read a JSON file start quickly.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from datasets.errors import ExtractError, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    With `durable` False the file is not synced to disk before it is renamed: a power failure
    (but not a killed process) may leave an empty or truncated file at `path`. Use it only for
    files whose reader treats a corrupt file as missing.

    Raises `StorageError` if the folder cannot be written or the disk is full.
    """
    make_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield unfinished
        if durable:
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except Exception as error:
        refused = storage_error(error, path)
        if refused is None:
            raise
        raise refused from error
    finally:
        unfinished.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they are missing.

    Raises `StorageError` if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) or error from error


def write_json(
    path: Path,
    value: dict[str, Any],
    *,
    on_one_line: bool = False,
    durable: bool = True,
) -> None:
    """Write one JSON object with sorted keys, so that equal values give equal bytes.

    `on_one_line` is for large or numerous files that only programs read (`one_line`). For
    `durable`, see `whole_file`.
    """
    if on_one_line:
        content = one_line(value)
    else:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        content = text.encode() + b"\n"
    with whole_file(path, durable=durable) as unfinished:
        unfinished.write_bytes(content)


def one_line(value: dict[str, Any]) -> bytes:
    """Return one JSON object as one line of UTF-8; NaN becomes null.

    A nested value that is already encoded is passed as `already_json`.
    """
    options = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, option=options)


def already_json(line: bytes) -> object:
    """Wrap a line that `one_line` returned, for use as a value in another object."""
    return orjson.Fragment(line.rstrip(b"\n"))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object that this pipeline wrote.

    Raises `ExtractError` if the file is missing, unreadable or not a JSON object. That class is
    used for every file below the data folder: all of them can be rebuilt by extracting again.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExtractError(
            f"Expected a complete JSON file at {path}, but it cannot be read ({error})."
        ) from error
    if not isinstance(value, dict):
        raise ExtractError(f"Expected one JSON object in {path}, got {type(value).__name__}.")
    return value
