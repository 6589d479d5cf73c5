"""Files that are whole or absent: written under a temporary name, then renamed.

Imports neither Polars nor Arrow: what only makes a folder or reads a JSON file starts at once.
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
def whole_file(path: Path, *, survives_power_cut: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well.

    `survives_power_cut` False: a power cut, though no kill, may leave an empty or a cut file
    under the name. It is for files whose reader takes a broken one for none.

    Raises `StorageError`: if the folder cannot be written, or the disk is full.
    """
    make_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield unfinished
        if survives_power_cut:
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
    """Make a folder and those above it, unless they are there.

    Raises `StorageError`: if that cannot be.
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
    survives_power_cut: bool = True,
) -> None:
    """Write one JSON object, keys sorted, so that the same value gives the same bytes.

    `on_one_line`: for large or numerous files that only programs read (`one_line`).
    `survives_power_cut`: see `whole_file`.
    """
    if on_one_line:
        content = one_line(value)
    else:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        content = text.encode() + b"\n"
    with whole_file(path, survives_power_cut=survives_power_cut) as unfinished:
        unfinished.write_bytes(content)


def one_line(value: dict[str, Any]) -> bytes:
    """One JSON object as a line; NaN becomes null.

    Text that `one_line` gave before goes in as `already_json`, without being made again.
    """
    options = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, option=options)


def already_json(line: bytes) -> object:
    """A value for `one_line`: a line that it gave before."""
    return orjson.Fragment(line.rstrip(b"\n"))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object that we wrote."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExtractError(
            f"Expected a whole JSON file at {path}, but it cannot be read ({error})."
        ) from error
    if not isinstance(value, dict):
        raise ExtractError(f"Expected one JSON object in {path}, got {type(value).__name__}.")
    return value
