"""One extraction: the whole attempt log as validated, sorted, content-addressed Parquet."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from datasets.accounting import RowCounts
from datasets.attempt_log import log_snapshot
from datasets.contracts import STATES_SCHEMA
from datasets.errors import ExtractError, QuarantineLimitError
from datasets.extract_intake import Intake
from datasets.extract_shards import FORMAT, Ranks, ShardFile, canonical_ranks, write_shards
from datasets.parquet import read_json, read_table, write_frame, write_json, write_table
from datasets.quarantine import RuleCount, read_summary, write_quarantine

if TYPE_CHECKING:
    from sqlalchemy import Engine


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)
_INDEX_FILES = ("users.parquet", "concepts.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """What an extraction may accept."""

    #: Clocks may run ahead of ours by this much.
    future_skew: timedelta = timedelta(minutes=5)
    #: Share of quarantined rows above which the run stops.
    max_quarantine: float = 0.05
    #: Read the whole log even where a part would do.
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Extract:
    """An extraction on disk: `root` is named by content, `session` holds what a run adds to it.

    `session` has `states.parquet`, `set_aside.parquet` (user_id, concept_id with broken rows)
    and `quarantine/`; `file_under` moves it into the folder of a run.
    """

    root: Path
    session: Path
    digest: str
    rows: RowCounts
    #: Rule -> rows that broke it first.
    reasons: dict[str, int]
    shards: tuple[ShardFile, ...]
    extracted_at: datetime

    @cached_property
    def users(self) -> pa.Table:
        """user, user_id, user_hash."""
        return read_table(self.root / "users.parquet")

    @cached_property
    def concepts(self) -> pa.Table:
        """One row per concept, by code: `contracts.CONCEPTS_SCHEMA`."""
        return read_table(self.root / "concepts.parquet")

    @property
    def states(self) -> Path:
        """State versions as they stood in the snapshot of the attempts."""
        return self.session / "states.parquet"

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


def extract_attempts(
    engine: Engine, data_dir: Path, *, at: datetime, options: ExtractOptions | None = None
) -> Extract:
    """Read the attempt log and the state versions in one snapshot, and write them as files.

    Raises `ExtractError` if the log cannot be read to the end, `QuarantineLimitError` if too
    many rows broke a rule; then no extraction was kept, but the quarantine lies in the session.
    """
    options = options or ExtractOptions()
    name = uuid4().hex
    session = data_dir / "sessions" / name
    unfinished = data_dir / "extracts" / f".unfinished-{name}"
    session.mkdir(parents=True)
    unfinished.mkdir(parents=True)
    try:
        with log_snapshot(engine) as snapshot:
            latest = (at + options.future_skew - _EPOCH) // _MICROSECOND
            intake = Intake(unfinished, latest_us=latest)
            for batch in snapshot.attempts():
                intake.take(batch, snapshot.row_batch(batch))
            states = [_known_states(batch, intake) for batch in snapshot.states()]
        rows = _accounted(intake)
        _write_set_aside(session, intake, rows)
        _refuse_too_many(rows, options, session)
        ranks = canonical_ranks(intake)
        write_table(session / "states.parquet", _state_table(states, ranks))
        digest, shards = write_shards(intake, ranks, unfinished)
        manifest = {
            "format": FORMAT,
            "digest": digest,
            "rows": rows.as_dict(),
            "reasons": intake.reasons,
            "shards": [asdict(shard) for shard in shards],
            "extracted_at": at.isoformat(),
        }
        write_json(unfinished / "manifest.json", manifest)
        root = _keep(unfinished, data_dir / "extracts" / digest, replace=options.full)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _as_extract(manifest, root, session)


def open_extract(root: Path, session: Path) -> Extract:
    """An extraction that was made before, for a run that resumes."""
    return _as_extract(read_json(root / "manifest.json"), root, session)


def _as_extract(manifest: dict[str, Any], root: Path, session: Path) -> Extract:
    return Extract(
        root=root,
        session=session,
        digest=manifest["digest"],
        rows=RowCounts(**manifest["rows"]),
        reasons=dict(manifest["reasons"]),
        shards=tuple(ShardFile(**shard) for shard in manifest["shards"]),
        extracted_at=datetime.fromisoformat(manifest["extracted_at"]),
    )


def _accounted(intake: Intake) -> RowCounts:
    """The counts, which must add up, also over concepts and buckets."""
    rows = RowCounts(
        read=intake.n_read,
        accepted=intake.n_accepted,
        duplicates=0,  # the database refuses a second row of one identity
        quarantined=sum(intake.reasons.values()),
    )
    if not rows.accepted == int(intake.counts.sum()) == int(intake.buckets.counts.sum()):
        raise ExtractError(
            f"{rows.accepted} rows were accepted, {intake.counts.sum()} counted by concept and "
            f"{intake.buckets.counts.sum()} in buckets; this is a defect, please report it."
        )
    return rows


def _write_set_aside(session: Path, intake: Intake, rows: RowCounts) -> None:
    write_quarantine(
        session / "quarantine", intake.broken_rows(), intake.reasons, n_read=rows.read
    )
    write_frame(session / "set_aside.parquet", intake.broken_keys())


def _refuse_too_many(rows: RowCounts, options: ExtractOptions, session: Path) -> None:
    if rows.quarantined_share > options.max_quarantine:
        raise QuarantineLimitError(
            quarantined=rows.quarantined,
            read=rows.read,
            limit=options.max_quarantine,
            where=str(session / "quarantine"),
        )


def _keep(unfinished: Path, root: Path, *, replace: bool) -> Path:
    """Give an extraction its name; an equal one that is whole stays as it is."""
    if root.exists():
        if not replace and is_whole(root):
            return root
        shutil.rmtree(root)
    unfinished.rename(root)
    return root


def is_whole(root: Path) -> bool:
    """Whether every file that the manifest names is there in its full length."""
    try:
        manifest = read_json(root / "manifest.json")
    except ExtractError:
        return False
    files = {shard["name"]: shard["bytes"] for shard in manifest["shards"]}
    sound = all(
        (root / name).is_file() and (root / name).stat().st_size == size
        for name, size in files.items()
    )
    return sound and all((root / name).is_file() for name in _INDEX_FILES)


def _known_states(batch: pa.RecordBatch, intake: Intake) -> pa.Table:
    """States of users and concepts that the log knows, by the codes of the first pass."""
    users, concepts = (
        intake.users.lookup(batch.column(0)),
        intake.concepts.lookup(batch.column(1)),
    )
    known = np.flatnonzero((users >= 0) & (concepts >= 0))
    return pa.Table.from_arrays(
        [
            pa.array(concepts[known]),
            pa.array(users[known]),
            *(column.take(pa.array(known)) for column in batch.columns[2:]),
        ],
        names=STATES_SCHEMA.names,
    ).cast(STATES_SCHEMA)


def _state_table(states: list[pa.Table], ranks: Ranks) -> pa.Table:
    """States in the order of shards, by canonical codes."""
    table = pa.concat_tables([STATES_SCHEMA.empty_table(), *states])
    concepts = ranks.concepts[table["concept"].to_numpy()]
    users = ranks.users[table["user"].to_numpy()]
    kept = np.flatnonzero((concepts >= 0) & (users >= 0))
    order = kept[np.lexsort((users[kept], concepts[kept]))]
    return (
        table.take(pa.array(order))
        .set_column(0, STATES_SCHEMA.field(0), pa.array(concepts[order]))
        .set_column(1, STATES_SCHEMA.field(1), pa.array(users[order]))
    )
