"""One extraction: the attempt log as validated, sorted Parquet files, named by content."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from datasets.accounting import RowCounts
from datasets.errors import ExtractError, QuarantineLimitError
from datasets.extracts.broken import FILE_NAME as BROKEN_FILE
from datasets.extracts.broken import judged_again
from datasets.extracts.delta import usable_base, write_delta
from datasets.extracts.details import QUESTIONS_FILE, DetailRows
from datasets.extracts.files import FORMAT, Extract, as_extract, keep, open_extract
from datasets.extracts.intake import Intake
from datasets.extracts.reading.log import log_snapshot
from datasets.extracts.reading.positions import as_json
from datasets.extracts.shards import canonical_ranks, write_shards
from datasets.extracts.versions import StateVersions
from datasets.parquet import read_table, write_frame
from datasets.quarantine import write_quarantine
from datasets.row_kernels import ERASED, IN_FUTURE
from datasets.store.attempts.erasure import erased_users
from datasets.store.connections.engines import reading
from datasets.whole_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from datasets.extracts.reading.log_snapshot import LogSnapshot
    from datasets.extracts.reading.positions import LogPosition
    from datasets.extracts.shards import Ranks

__all__ = ["Extract", "ExtractOptions", "extract_attempts", "open_extract"]

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """Limits and options of an extraction."""

    #: Attempts may be this far in the future, to allow for clocks that are ahead.
    future_skew: timedelta = timedelta(0)
    #: Share of quarantined rows above which the run fails.
    max_quarantine: float = 0.05
    #: True reads the complete log even if reading the new rows would suffice.
    full: bool = False
    #: A new base is written if the new rows are at least this share of the base's rows.
    compact_from: float = 0.1
    #: True keeps question and stamp of each attempt, for versions that read them.
    details: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The result of reading one snapshot."""

    intake: Intake
    base: Extract | None
    position: LogPosition | None
    ranks: Ranks
    states: StateVersions

    @property
    def n_base(self) -> int:
        """The number of accepted rows that the base holds."""
        return 0 if self.base is None else self.base.rows.accepted


def extract_attempts(
    engine: Engine, data_dir: Path, *, at: datetime, options: ExtractOptions | None = None
) -> Extract:
    """Read the attempt log and the state versions in one snapshot, and write them as files.

    Rows in an earlier extraction are not read again, unless rows of the log were changed or
    there are enough new rows for a new base. Raises `ExtractError` if the log cannot be read to
    the end, and `QuarantineLimitError` if too many rows broke a rule; then no extraction is
    kept, but the quarantine stays in the session.
    """
    options = options or ExtractOptions()
    name = uuid4().hex
    session = data_dir / "sessions" / name
    unfinished = data_dir / "extracts" / f".unfinished-{name}"
    session.mkdir(parents=True)
    try:
        found = _read(engine, data_dir, unfinished, at, options)
        extract = _write(found, data_dir, session, unfinished, at, options)
    except BaseException:
        if not (session / "quarantine").exists():
            shutil.rmtree(session)
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _refuse_erased(engine, extract)
    return extract


def _read(
    engine: Engine, data_dir: Path, unfinished: Path, at: datetime, options: ExtractOptions
) -> _Reading:
    """Read the rows added to a base; read everything without a base or if there are many."""
    latest = (at + options.future_skew - _EPOCH) // _MICROSECOND
    if not options.full:
        with log_snapshot(engine, unfinished) as snapshot:
            base, since = usable_base(data_dir / "extracts", snapshot, details=options.details)
            if base is not None and not _lacks_details(base, latest):
                position = snapshot.position
                intake = _take_in(
                    snapshot, unfinished, latest, base, since, details=options.details
                )
                if intake.n_accepted <= options.compact_from * base.rows.accepted:
                    return _with_states(snapshot, unfinished, intake, base, position)
        shutil.rmtree(unfinished, ignore_errors=True)
    with log_snapshot(engine, unfinished) as snapshot:
        position = snapshot.position
        intake = _take_in(snapshot, unfinished, latest, None, None, details=options.details)
        return _with_states(snapshot, unfinished, intake, None, position)


def _take_in(
    snapshot: LogSnapshot,
    unfinished: Path,
    latest: int,
    base: Extract | None,
    since: LogPosition | None,
    *,
    details: bool,
) -> Intake:
    """Read the attempts: the first pass over the log."""
    unfinished.mkdir(parents=True, exist_ok=True)
    intake = Intake(
        unfinished,
        latest_us=latest,
        erased=snapshot.erased_users(),
        known_users=None if base is None else _one_array(base.users["user_id"]),
        known_concepts=None if base is None else _one_array(base.concepts["concept_id"]),
        details=_detail_rows(unfinished, base) if details else None,
    )
    if base is not None:  # rows that were in the future then may be in the past now
        for batch, columns in judged_again(base.root / BROKEN_FILE):
            intake.take(batch, columns)
    for batch in snapshot.attempts(since, details=details):
        intake.take(batch, snapshot.row_batch(batch))
    intake.broken.close()
    return intake


def _lacks_details(base: Extract, latest: int) -> bool:
    """Return whether a row that broke a rule may pass now, and its details were not kept."""
    if not base.details:
        return False
    broken = read_table(base.root / BROKEN_FILE)
    rules, times = broken["rule"].to_numpy(), broken["attempted_at"].to_numpy()
    return bool(((rules == ERASED) | ((rules == IN_FUTURE) & (times <= latest))).any())


def _detail_rows(unfinished: Path, base: Extract | None) -> DetailRows:
    if base is None:
        return DetailRows(unfinished)
    known = read_table(base.root / QUESTIONS_FILE)["question_id"]
    return DetailRows(unfinished, _one_array(known))


def _with_states(
    snapshot: LogSnapshot,
    unfinished: Path,
    intake: Intake,
    base: Extract | None,
    position: LogPosition | None,
) -> _Reading:
    """Read the states of the same snapshot, with the codes that the attempts have defined."""
    ranks = canonical_ranks(intake)
    states = StateVersions(unfinished / "states", intake, ranks)
    for batch in snapshot.states():
        states.take(batch)
    return _Reading(intake=intake, base=base, position=position, ranks=ranks, states=states)


def _write(
    found: _Reading,
    data_dir: Path,
    session: Path,
    unfinished: Path,
    at: datetime,
    options: ExtractOptions,
) -> Extract:
    intake, base = found.intake, found.base
    rows = _accounted(found)
    write_frame(session / "set_aside.parquet", intake.broken.keys())
    write_quarantine(
        session / "quarantine", intake.broken.readable(), intake.reasons, n_read=rows.read
    )
    _refuse_too_many(rows, options, session)
    if base is None:
        digest, shards = write_shards(intake, found.ranks, unfinished)
    else:
        digest, shards = write_delta(base, intake, found.ranks, unfinished)
    found.states.write(session / "states", shards)
    shutil.rmtree(unfinished / "states")
    manifest = {
        "format": FORMAT,
        "digest": digest,
        "rows": rows.as_dict(),
        "reasons": intake.reasons,
        "shards": [asdict(shard) for shard in shards],
        "extracted_at": at.isoformat(),
        "details": options.details,
        "base": None if base is None else base.root.name,
        "position": None if found.position is None else as_json(found.position),
    }
    root = data_dir / "extracts" / digest
    if base is not None and base.root == root:  # nothing was new
        manifest |= {"base": None, "shards": [asdict(shard) for shard in base.shards]}
    else:
        write_json(unfinished / "manifest.json", manifest)
        keep(unfinished, root, replace=base is None)
    return as_extract(manifest, root, session)


def _accounted(found: _Reading) -> RowCounts:
    """Return the counts of the complete log; they must agree over concepts and buckets."""
    intake = found.intake
    rows = RowCounts(
        read=found.n_base + intake.n_read,
        accepted=found.n_base + intake.n_accepted,
        duplicates=0,  # the database refuses a second row with the same identity
        quarantined=sum(intake.reasons.values()),
    )
    if not intake.n_accepted == int(intake.counts.sum()) == int(intake.buckets.counts.sum()):
        raise ExtractError(
            f"{intake.n_accepted} rows were accepted, {intake.counts.sum()} counted by concept "
            f"and {intake.buckets.counts.sum()} in buckets; this is a defect, please report it."
        )
    return rows


def _refuse_too_many(rows: RowCounts, options: ExtractOptions, session: Path) -> None:
    if rows.quarantined_share > options.max_quarantine:
        raise QuarantineLimitError(
            quarantined=rows.quarantined,
            read=rows.read,
            limit=options.max_quarantine,
            where=str(session / "quarantine"),
        )


def _refuse_erased(engine: Engine, extract: Extract) -> None:
    """Remove the extraction just written if one of its users was erased while it was read.

    An erasure writes its tombstone first and removes files last, so that either it finds this
    extraction or this check finds the tombstone.
    """
    with reading(engine) as conn:
        erased = pa.array(sorted(erased_users(conn)), pa.string())
    if pc.any(pc.is_in(extract.users["user_id"], erased)).as_py():
        shutil.rmtree(extract.root, ignore_errors=True)
        shutil.rmtree(extract.session, ignore_errors=True)
        raise ExtractError(
            "A user of the log was erased while it was read, so the extraction was removed; "
            "repeat the run."
        )


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
