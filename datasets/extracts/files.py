"""Extractions on disk: what one consists of, which are whole, how one takes its name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datasets.accounting import RowCounts
from datasets.errors import AccountingError, ExtractError
from datasets.parquet import read_table
from datasets.quarantine import RuleCount, read_summary
from datasets.whole_files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

#: Changes when files of before could not be read any more.
FORMAT = 2
_INDEX_FILES = ("users.parquet", "concepts.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One shard as the manifest names it: whole concepts, chosen by buckets of their hash."""

    name: str
    rows: int
    bytes: int
    #: Concepts whose bucket lies below this one, and not in an earlier shard.
    below_bucket: int
    #: New rows of the same concepts beside the base; None where there are none.
    delta: str | None = None
    delta_rows: int = 0
    delta_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Extract:
    """An extraction on disk: `root` is named by content, `session` holds what a run adds to it.

    `session` has `states/`, `set_aside.parquet` (user_id, concept_id with broken rows) and
    `quarantine/`; `file_under` moves it into the folder of a run.
    """

    root: Path
    session: Path
    digest: str
    rows: RowCounts
    #: Rule -> rows that broke it first.
    reasons: dict[str, int]
    shards: tuple[ShardFile, ...]
    extracted_at: datetime
    #: The extraction whose shards these are, where `root` only adds deltas to them.
    base: Path | None = None

    @cached_property
    def users(self) -> pa.Table:
        """user, user_id, user_hash."""
        return read_table(self.root / "users.parquet")

    @cached_property
    def concepts(self) -> pa.Table:
        """One row per concept, by code: `contracts.CONCEPTS_SCHEMA`."""
        return read_table(self.root / "concepts.parquet")

    @cached_property
    def users_of_base(self) -> NDArray[np.int32] | None:
        """Our code of each user of the base; the order is the same."""
        if self.base is None:
            return None
        codes: NDArray[np.int32] = read_table(self.root / "base_users.parquet")[
            "user"
        ].to_numpy()
        return codes

    @property
    def shard_root(self) -> Path:
        """Where the shards lie: with the base, if there is one."""
        return self.base or self.root

    @property
    def states(self) -> Path:
        """State versions as they stood in the snapshot of the attempts, a file per shard."""
        return self.session / "states"

    @property
    def set_aside(self) -> Path:
        """Keys with broken rows; their states are replayed from the log, not staged."""
        return self.session / "set_aside.parquet"

    @property
    def quarantine(self) -> tuple[RuleCount, ...]:
        """What was set aside, per rule."""
        return read_summary(self.session / "quarantine")

    def file_under(self, run_folder: Path) -> Extract:
        """Move the session's files into a run's folder; harmless when repeated."""
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
    """An extraction that was made before, for a run that resumes."""
    try:
        manifest = read_json(root / "manifest.json")
    except ExtractError as error:
        raise ExtractError(f"{error} Extract again with --full.") from error
    return as_extract(manifest, root, session)


def as_extract(manifest: dict[str, Any], root: Path, session: Path) -> Extract:
    """An extraction as its manifest describes it."""
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
        )
    except (AccountingError, KeyError, TypeError, ValueError) as error:
        raise ExtractError(
            f"Expected the manifest of an extraction of format {FORMAT} in {root}, "
            f"got another or a removed one ({error!r}); extract again."
        ) from error


def keep(unfinished: Path, root: Path, *, replace: bool) -> None:
    """Give an extraction its name; an equal one that is whole stays as it is."""
    replaced = unfinished.with_name(f"{unfinished.name}-replaced")
    if root.exists():
        if is_whole(root) and not (replace and open_extract(root, root).base):
            return  # whoever reads it now goes on undisturbed
        root.rename(replaced)
    unfinished.rename(root)
    shutil.rmtree(replaced, ignore_errors=True)


def is_whole(root: Path) -> bool:
    """Whether every file that the manifest names is there in its full length."""
    try:
        extract = open_extract(root, root)
    except ExtractError:
        return False
    files = {extract.shard_root / shard.name: shard.bytes for shard in extract.shards}
    files |= {root / shard.delta: shard.delta_bytes for shard in extract.shards if shard.delta}
    sound = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    index = (*_INDEX_FILES, *(("base_users.parquet",) if extract.base else ()))
    return sound and all((root / name).is_file() for name in index)
