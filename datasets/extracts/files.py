"""Extractions on disk: their files, how they are opened, checked and renamed into place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datasets.accounting import RowCounts
from datasets.contracts import DETAILS_DIGEST
from datasets.errors import AccountingError, ExtractError
from datasets.parquet import read_table
from datasets.quarantine import RuleCount, read_summary
from datasets.whole_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from bkt_core.variant import Variant

#: Version of the file format; it increases when files of the previous one become unreadable.
FORMAT = 2
_INDEX_FILES = ("users.parquet", "concepts.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One shard in the manifest: all attempts of some concepts, chosen by hash bucket."""

    name: str
    rows: int
    bytes: int
    #: The shard holds the concepts whose bucket is below this one and not in an earlier shard.
    below_bucket: int
    #: File with rows of the same concepts added since the base; None means no such rows.
    delta: str | None = None
    delta_rows: int = 0
    delta_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Extract:
    """An extraction on disk.

    `root` is the folder with the attempts, named by the digest of its content; runs share it.
    `session` is the folder with the files of one run: `states/`, `set_aside.parquet` (user_id
    and concept_id of quarantined rows) and `quarantine/`. `file_under` moves these files into
    the folder of the run.
    """

    root: Path
    session: Path
    digest: str
    rows: RowCounts
    #: Number of quarantined rows by the first rule that they broke.
    reasons: dict[str, int]
    shards: tuple[ShardFile, ...]
    extracted_at: datetime
    #: The extraction that holds the shards, if `root` only adds deltas to them.
    base: Path | None = None
    #: Whether question and stamp of each attempt lie beside the shards (`details.py`).
    details: bool = False

    @cached_property
    def users(self) -> pa.Table:
        """The users: columns user (code), user_id, user_hash; one row per user, by code."""
        return read_table(self.root / "users.parquet")

    @cached_property
    def concepts(self) -> pa.Table:
        """The concepts, one row each, by code; columns: `contracts.CONCEPTS_SCHEMA`."""
        return read_table(self.root / "concepts.parquet")

    def digests_for(self, variant: Variant) -> list[str]:
        """Return the digest of what a version reads of each concept, by code."""
        digests: list[str] = self.concepts["digest"].to_pylist()
        if not variant.reads_details or not self.details:
            return digests
        details = self.concepts[DETAILS_DIGEST.name].to_pylist()
        return [own + more for own, more in zip(digests, details, strict=True)]

    @cached_property
    def users_of_base(self) -> NDArray[np.int32] | None:
        """The code in this extraction of each user of the base, indexed by code in the base.

        It is None for an extraction without a base.
        """
        if self.base is None:
            return None
        codes: NDArray[np.int32] = read_table(self.root / "base_users.parquet")[
            "user"
        ].to_numpy()
        return codes

    @property
    def shard_root(self) -> Path:
        """The folder that holds the shards: the base's, if there is one."""
        return self.base or self.root

    @property
    def states(self) -> Path:
        """Folder of the state versions read in the same snapshot, with one file per shard."""
        return self.session / "states"

    @property
    def set_aside(self) -> Path:
        """File of (user, concept) pairs with quarantined rows.

        Their states are replayed from the log instead of taken from staged values.
        """
        return self.session / "set_aside.parquet"

    @property
    def quarantine(self) -> tuple[RuleCount, ...]:
        """The number of quarantined rows, per rule."""
        return read_summary(self.session / "quarantine")

    def file_under(self, run_folder: Path) -> Extract:
        """Move the session's files into the folder of a run; may be repeated."""
        if self.session != run_folder:
            run_folder.mkdir(parents=True, exist_ok=True)
            for item in self.session.iterdir():
                target = run_folder / item.name
                if target.is_dir():
                    shutil.rmtree(target)
                item.replace(target)
            self.session.rmdir()
        return replace(self, session=run_folder)


def open_extract(root: Path, session: Path) -> Extract:
    """Open an existing extraction, for a run that resumes.

    Raises `ExtractError` if its manifest is missing or cannot be read.
    """
    try:
        manifest = read_json(root / "manifest.json")
    except ExtractError as error:
        raise ExtractError(f"{error} Extract again with --full.") from error
    return as_extract(manifest, root, session)


def as_extract(manifest: dict[str, Any], root: Path, session: Path) -> Extract:
    """Build an `Extract` from a manifest.

    Raises `ExtractError` if the manifest has another format or lacks a field.
    """
    try:
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}")
        base = manifest["base"]
        return Extract(
            root=root,
            session=session,
            digest=manifest["digest"],
            rows=RowCounts(**manifest["rows"]),
            reasons=dict(manifest["reasons"]),
            shards=tuple(ShardFile(**shard) for shard in manifest["shards"]),
            extracted_at=datetime.fromisoformat(manifest["extracted_at"]),
            base=None if base is None else root.parent / base,
            details=bool(manifest.get("details", False)),
        )
    except (AccountingError, KeyError, TypeError, ValueError) as error:
        raise ExtractError(
            f"Expected the manifest of an extraction of format {FORMAT} in {root}, "
            f"got another or a removed one ({error!r}); extract again."
        ) from error


def keep(unfinished: Path, root: Path, *, replace: bool) -> None:
    """Rename the finished folder `unfinished` to `root`.

    If `root` already holds a complete extraction, that one stays and `unfinished` is left to
    the caller. With `replace` True, a complete extraction at `root` is still replaced if it is
    a delta on a base. An incomplete `root` is always replaced. Raises `OSError` if a rename
    fails.
    """
    replaced = unfinished.with_name(f"{unfinished.name}-replaced")
    if root.exists():
        if is_whole(root) and not (replace and open_extract(root, root).base):
            return  # concurrent readers keep their files
        root.rename(replaced)
    unfinished.rename(root)
    shutil.rmtree(replaced, ignore_errors=True)


def is_whole(root: Path) -> bool:
    """Return whether every file named in the manifest exists and has its full size."""
    try:
        extract = open_extract(root, root)
    except ExtractError:
        return False
    files = {extract.shard_root / shard.name: shard.bytes for shard in extract.shards}
    files |= {root / shard.delta: shard.delta_bytes for shard in extract.shards if shard.delta}
    sound = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    index = (*_INDEX_FILES, *(("base_users.parquet",) if extract.base else ()))
    if extract.details:
        beside = [path.with_name(f"details-of-{path.name}") for path in files]
        sound &= all(path.is_file() for path in (*beside, root / "questions.parquet"))
    return sound and all((root / name).is_file() for name in index)
