"""Delete files: those with data of an erased user, and those past their retention."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets.errors import ExtractError
from datasets.extracts.broken import FILE_NAME as BROKEN_FILE
from datasets.extracts.files import open_extract
from datasets.parquet import write_table
from datasets.whole_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from datasets.extracts.files import Extract

#: Folders below the data folder whose Parquet files may name users.
_NAMING_USERS = ("sessions", "runs", "quarantine")
_KEPT_OF_MANIFEST = ("format", "digest", "rows")
#: Unfinished extractions and sessions of dead runs are kept for this long.
_ABANDONED_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What an erasure removed from the disk."""

    #: Number of extractions that held the user; only a note in their manifest is left.
    extracts: int
    #: Number of other files from which rows of the user were removed.
    files: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Numbers of folders that retention removed from the disk."""

    extracts: int
    abandoned: int


def forget_user(data_dir: Path, user_id: str, *, at: datetime) -> Forgotten:
    """Remove a user from every file below the data folder; may be repeated.

    Call it after the tombstone is committed: an extraction in progress then removes itself.
    """
    extracts = data_dir / "extracts"
    held = [folder for folder in _folders(extracts) if _holds(folder, user_id)]
    for folder in held:
        _remove_extract(folder, at)
    n_files = n_rows = 0
    for place in _NAMING_USERS:  # in this order: files of a session move into its run
        for path in sorted((data_dir / place).rglob("*.parquet")):
            taken = _take_rows(path, user_id)
            n_files += taken > 0
            n_rows += taken
    return Forgotten(extracts=len(held), files=n_files, rows=n_rows)


def prune_extracts(data_dir: Path, *, keep: timedelta, at: datetime) -> Pruned:
    """Remove extractions older than `keep`, except the newest and bases still in use."""
    found: list[Extract] = []
    removed = 0
    for folder in _folders(data_dir / "extracts"):
        try:
            found.append(open_extract(folder, folder))
        except ExtractError:  # removed for an erasure, or of another format
            if _older(folder, at - keep):
                shutil.rmtree(folder)
                removed += 1
    found.sort(key=lambda extract: extract.extracted_at)
    kept = [e for e in found if e.extracted_at >= at - keep or e is found[-1]]
    needed = {e.root for e in kept} | {e.base for e in kept if e.base is not None}
    for extract in found:
        if extract.root not in needed:
            shutil.rmtree(extract.root)
            removed += 1
    abandoned = [
        folder
        for pattern in ("extracts/.unfinished-*", "sessions/*")
        for folder in data_dir.glob(pattern)
        if _older(folder, at - _ABANDONED_AFTER)
    ]
    for folder in abandoned:
        shutil.rmtree(folder)
    return Pruned(extracts=removed, abandoned=len(abandoned))


def prune_folders(parent: Path, *, before: datetime) -> int:
    """Remove the folders in `parent` that were last written to before a time."""
    folders = parent.iterdir() if parent.is_dir() else ()
    old = [folder for folder in folders if _older(folder, before)]
    for folder in old:
        shutil.rmtree(folder)
    return len(old)


def prune_fits(fits_dir: Path, *, before: datetime, needed: Collection[str]) -> int:
    """Remove fits written before a time, except those that parameters in force came from.

    A removed fit that is needed again is computed from the same attempts, with the same result.
    """
    files = fits_dir.glob("*/*.json")
    old = [path for path in files if path.stem not in needed and _older(path, before)]
    for path in old:
        path.unlink()
    return len(old)


def _folders(extracts: Path) -> list[Path]:
    return sorted(manifest.parent for manifest in extracts.glob("*/manifest.json"))


def _older(path: Path, moment: datetime) -> bool:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC) < moment


def _holds(folder: Path, user_id: str) -> bool:
    """Return whether an extraction names the user, also in a quarantined row."""
    for name, wanted in (("users.parquet", user_id), (BROKEN_FILE, user_id.encode())):
        path = folder / name
        if path.is_file():
            ids = pq.read_table(path, columns=["user_id"])["user_id"]
            if pc.any(pc.equal(ids, pa.scalar(wanted, ids.type))).as_py():
                return True
    return False


def _remove_extract(folder: Path, at: datetime) -> None:
    """Remove all files but the manifest, which gets a note; no run will use the extraction."""
    manifest = read_json(folder / "manifest.json")
    note = {"removed_at": at.isoformat(), "removed_because": "a user was erased"}
    kept = {name: value for name, value in manifest.items() if name in _KEPT_OF_MANIFEST}
    write_json(folder / "manifest.json", kept | note)
    for path in folder.iterdir():
        if path.name != "manifest.json":
            path.unlink()


def _take_rows(path: Path, user_id: str) -> int:
    """Rewrite a file without the rows of the user; return the number of rows removed."""
    with pq.ParquetFile(path) as file:
        if "user_id" not in file.schema_arrow.names:
            return 0
        table = file.read()
    is_theirs = pc.equal(table["user_id"].cast(pa.string()), pa.scalar(user_id, pa.string()))
    others = table.filter(pc.invert(pc.fill_null(is_theirs, fill_value=False)))
    if others.num_rows < table.num_rows:
        write_table(path, others)
    return int(table.num_rows - others.num_rows)
