"""Import attempts directly from the database of a platform: a query, read in batches.

Each batch is judged and written like a file, in a transaction of its own. If a column that only
increases is named (the watermark), its position is stored with each batch. The next import
starts there, minus an overlap; rows that are read twice are recognised as duplicates by their
identity.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from bkt_core.errors import UsageError
from datasets.accounting import NO_ROWS, RowCounts
from datasets.attempt_files.layouts import plan_columns
from datasets.attempt_files.values.columns import attempts_from_table
from datasets.errors import FileFormatError
from datasets.imports.file_import import ImportOptions, import_rows
from datasets.imports.foreign_database import foreign_database
from datasets.imports.places import Place, last_place
from datasets.imports.plan import survey
from datasets.imports.remarks import refuse_if_nothing_was_accepted
from datasets.store.connections.engines import redacted
from datasets.store.runs.import_runs import begin_import, note_import
from datasets.store.runs.runs import RunStatus, finish_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

    from datasets.attempt_files.values.plans import ColumnPlan
    from datasets.imports.file_import import ImportReport
    from datasets.imports.foreign_database import ForeignDatabase
    from datasets.imports.plan import RowRules

BATCH_ROWS = 50_000
_IDS = ("attempt_id", "user_id", "question_id", "concept_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySource:
    """The query and the database that it reads."""

    url: str = field(repr=False)
    #: One SELECT whose columns are attempts; `attempt_id` is required.
    query: str
    #: A column of the query that only increases, such as a time of writing or a serial id.
    watermark: str | None = None
    #: How far before the last value reading starts: seconds for times, otherwise numbers.
    overlap: float = 600.0

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise UsageError("--query needs a SELECT whose rows are attempts, got nothing.")
        if not 0.0 <= self.overlap < float("inf"):
            raise UsageError(f"--overlap takes a number of at least 0, got {self.overlap!r}.")

    def name(self, options: ImportOptions) -> str:
        """Return the name under which the position of this query is stored."""
        identity = (
            redacted(self.url), self.query, self.watermark, options.source,
            sorted(options.file.column_map.items()), options.file.layout.value,
            options.file.concept_delimiter,
        )  # fmt: skip
        return hashlib.sha256(repr(identity).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReport:
    """The result of one import by query, over all batches."""

    rows: RowCounts
    reasons: dict[str, int]
    attempts: int
    corrected: int
    batches: int
    #: The last value of the watermark column; the next import starts an overlap before it.
    reached: str | None
    #: Folder of the quarantined rows, with one folder per batch that has some.
    quarantine: Path


def import_query(
    engine: Engine,
    source: QuerySource,
    options: ImportOptions,
    *,
    data_dir: Path,
    now: Callable[[], datetime],
) -> QueryReport:
    """Import the result of a query, starting where the last import of the same query ended.

    Raises `FileFormatError` if the database cannot be read or a column is missing. Batches that
    were already written stay, and a rerun continues after them.
    """
    name, run_id, at = source.name(options), uuid4().hex, now()
    with foreign_database(source.url) as foreign:
        with engine.begin() as conn:
            address = redacted(source.url)
            reached = begin_import(conn, run_id, name, source=address, at=at)
        work = _QueryImport(engine, source, options, run_id, at)
        work.reached = Place.from_json(reached)
        work.quarantine = data_dir / "quarantine" / f"query-{name[:16]}-{at:%Y%m%dT%H%M%S}"
        status = RunStatus.FAILED
        try:
            work.read(foreign)
            done = work.report()
            refuse_if_nothing_was_accepted(
                done.rows, done.reasons, where="the query", samples=lambda _column: []
            )
            status = RunStatus.DONE
        finally:
            with engine.begin() as conn:
                finish_run(conn, run_id=run_id, status=status, at=now())
    return work.report()


class _QueryImport:
    """The state of one import while it runs."""

    quarantine: Path
    reached: Place | None

    def __init__(
        self,
        engine: Engine,
        source: QuerySource,
        options: ImportOptions,
        run_id: str,
        at: datetime,
    ) -> None:
        self._engine, self._source, self._options = engine, source, options
        self._run_id, self._at = run_id, at
        self._rows, self._reasons = NO_ROWS, dict[str, int]()
        self._attempts = self._corrected = self._batches = 0

    def read(self, foreign: ForeignDatabase) -> None:
        """Import every batch of the query."""
        statement, values = self._statement(foreign)
        rules = self._options.rules(self._engine, self._at)
        plan: ColumnPlan | None = None
        for names, rows in foreign.batches(statement, values, BATCH_ROWS):
            if plan is None:
                plan = self._plan(names)
            if rows:
                self._write(plan, names, rows, rules)

    def _statement(self, foreign: ForeignDatabase) -> tuple[str, dict[str, object]]:
        query = _escaped(self._source.query)
        watermark = self._source.watermark
        if watermark is None:
            return query, {}
        column = foreign.quoted(watermark)
        since, values = "", dict[str, object]()
        if self.reached is not None:
            since = f"WHERE {column} >= :since OR {column} IS NULL "
            values = {"since": self.reached.minus(self._source.overlap)}
        return f"SELECT * FROM ({query}) AS source {since}ORDER BY {column}", values  # noqa: S608 - the operator's own query

    def _plan(self, names: list[str]) -> ColumnPlan:
        watermark, file = self._source.watermark, self._options.file
        if watermark is not None and watermark not in names:
            raise UsageError(
                f"--watermark must be a column of the query ({', '.join(names)}), "
                f"got {watermark}."
            )
        plan = plan_columns(names, file)
        if "attempt_id" not in plan.sources:
            raise FileFormatError(
                "A query needs a column attempt_id, so that what comes twice is known; it has "
                f"{', '.join(names)}. Name one by --map attempt_id=NAME."
            )
        return plan

    def _write(
        self,
        plan: ColumnPlan,
        names: list[str],
        rows: Sequence[Sequence[Any]],
        rules: RowRules,
    ) -> None:
        """Write one batch and the position after it in one transaction."""
        frame = attempts_from_table(_table(plan, names, rows), plan)
        found = survey(_Batch(frame, plan.concept_delimiter), rules)
        if self._source.watermark is not None:
            place = names.index(self._source.watermark)
            last = last_place([row[place] for row in rows], at=self._at)
            self.reached = last or self.reached
        folder = self.quarantine / f"{self._batches:05d}"
        with self._engine.begin() as conn:
            report = import_rows(conn, found, self._options, folder=folder, at=self._at)
            self._enter(report)
            note_import(conn, self._run_id, self._noted())

    def _enter(self, report: ImportReport) -> None:
        self._rows += report.rows
        for rule, n_rows in report.reasons.items():
            self._reasons[rule] = self._reasons.get(rule, 0) + n_rows
        self._attempts += report.attempts
        self._corrected += report.corrected
        self._batches += 1

    def _noted(self) -> dict[str, Any]:
        return {
            "reached": None if self.reached is None else self.reached.as_json(),
            "rows": self._rows.as_dict(),
            "reasons": self._reasons,
        }

    def report(self) -> QueryReport:
        """Return the report of the import."""
        return QueryReport(
            rows=self._rows,
            reasons=self._reasons,
            attempts=self._attempts,
            corrected=self._corrected,
            batches=self._batches,
            reached=None if self.reached is None else str(self.reached.value),
            quarantine=self.quarantine,
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of one batch, with the interface of an attempt file."""

    frame: pl.DataFrame
    concept_delimiter: str | None
    digest: str = "query"
    has_attempt_ids: bool = True

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the batch."""
        return iter([self.frame])


def _escaped(query: str) -> str:
    """Escape colons, as in `::text`, so that they are not read as parameters."""
    return query.strip().rstrip(";").replace(":", "\\:")


def _table(plan: ColumnPlan, names: list[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return the columns of the plan as bytes; an invalid value then breaks only its row."""
    ids = {name for ours in _IDS for name in plan.sources.get(ours, ())}
    columns = {}
    for name in plan.file_columns:
        place = names.index(name)
        as_bytes = _id if name in ids else _value
        columns[name] = pa.array([as_bytes(row[place], name) for row in rows], pa.binary())
    return pa.table(columns)


def _id(value: object, name: str) -> bytes | None:
    if isinstance(value, bool | float):
        raise FileFormatError(
            f"{name} must be text, whole numbers or UUIDs, got {type(value).__name__}; "
            "cast it in the query."
        )
    return _value(value, name)


def _value(value: object, _name: str) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    return str(value).encode("utf-8", "surrogatepass")
