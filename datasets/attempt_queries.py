"""Attempts straight from a platform's own database: a query, read as a stream, in batches.

Each batch is judged and written as a file would be, in a transaction of its own. Where a column
that only grows is named, the place is remembered after each batch, so that the next import
begins there, with an overlap: what comes twice is counted as a duplicate by its identity.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from bkt_core.errors import UsageError
from datasets.accounting import RowCounts
from datasets.attempt_columns import attempts_from_table
from datasets.attempt_files import AttemptFile
from datasets.attempt_import import ImportOptions, ImportReport, import_rows
from datasets.errors import FileFormatError
from datasets.file_layouts import plan_columns
from datasets.parquet import read_json, write_json
from datasets.store.session import make_engine, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BATCH_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySource:
    """What to read, and from where."""

    url: str
    #: One SELECT whose columns are attempts; `attempt_id` is needed.
    query: str
    #: A column of the query that only grows, such as a time of writing or a serial id.
    watermark: str | None = None
    #: Read again, before the last value seen: seconds where the column is a time, else numbers.
    overlap: float = 600.0

    @property
    def name(self) -> str:
        """Tells this source from others, without its secrets."""
        told = f"{redacted(self.url)}\n{self.query}\n{self.watermark}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReport:
    """What one import by query did, over all its batches."""

    rows: RowCounts
    reasons: dict[str, int]
    attempts: int
    batches: int
    #: The last value of the watermark column; the next import begins an overlap before it.
    reached: str | None


def import_query(
    engine: Engine, source: QuerySource, options: ImportOptions, *, data_dir: Path, at: datetime
) -> QueryReport:
    """Import what a query gives, from where the last import of the same query ended.

    Raises `FileFormatError` where the database cannot be read or a column is missing; batches
    that were written before stay, and a rerun goes on behind them.
    """
    place = data_dir / "imports" / f"{source.name}.json"
    reports: list[ImportReport] = []
    reached = read_json(place)["reached"] if place.is_file() else None
    for number, (table, last) in enumerate(_read(source, reached)):
        report = _import_batch(engine, table, source, options, number, data_dir, at)
        reports.append(report)
        if last is not None:
            reached = last
            write_json(place, {"reached": reached, "source": redacted(source.url)})
    reasons: dict[str, int] = {}
    for report in reports:
        for rule, n_rows in report.reasons.items():
            reasons[rule] = reasons.get(rule, 0) + n_rows
    totals = [report.rows.as_dict() for report in reports]
    return QueryReport(
        rows=RowCounts(
            **{name: sum(rows[name] for rows in totals) for name in _NO_ROWS},
        ),
        reasons=reasons,
        attempts=sum(report.attempts for report in reports),
        batches=len(reports),
        reached=None if reached is None else str(reached["value"]),
    )


_NO_ROWS = ("read", "accepted", "duplicates", "quarantined")


def _import_batch(
    engine: Engine,
    table: pa.Table,
    source: QuerySource,
    options: ImportOptions,
    number: int,
    data_dir: Path,
    at: datetime,
) -> ImportReport:
    plan = plan_columns(
        table.column_names,
        layout=options.file.layout,
        renamed=options.file.column_map,
        concept_delimiter=options.file.concept_delimiter,
    )
    if "attempt_id" not in plan.sources:
        raise FileFormatError(
            "A query needs a column attempt_id, so that what comes twice is known; it has "
            f"{', '.join(table.column_names)}. Name one by --map attempt_id=NAME."
        )
    rows = AttemptFile(
        rows=attempts_from_table(table, plan, options.file),
        digest=source.name,
        has_attempt_ids=True,
        concept_delimiter=plan.concept_delimiter,
    )
    folder = data_dir / "quarantine" / f"query-{source.name}-{at:%Y%m%dT%H%M%S}-{number:04d}"
    return import_rows(engine, rows, options, folder=folder, at=at)


def _read(
    source: QuerySource, reached: dict[str, Any] | None
) -> Iterator[tuple[pa.Table, dict[str, Any] | None]]:
    """Batches of the query, each with the last value of its watermark column."""
    address = make_url(source.url)
    known = address.get_backend_name() in ("sqlite", "postgresql")
    engine = make_engine(source.url) if known else create_engine(address)
    try:
        with engine.connect().execution_options(stream_results=True) as conn:
            yield from _batches(conn, source, reached)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise FileFormatError(
            f"The query must be readable to the end, {redacted(source.url)} said: {said}. "
            "What was imported before stays; repeat the import to go on."
        ) from error
    finally:
        engine.dispose()


def _batches(
    conn: Connection, source: QuerySource, reached: dict[str, Any] | None
) -> Iterator[tuple[pa.Table, dict[str, Any] | None]]:
    statement, values = _escaped(source.query), {}
    if source.watermark is not None:
        column = conn.dialect.identifier_preparer.quote(source.watermark)
        since = "" if reached is None else f"WHERE {column} >= :since "
        values = {} if reached is None else {"since": _before(reached, source.overlap)}
        statement = f"SELECT * FROM ({statement}) AS source {since}ORDER BY {column}"  # noqa: S608 - the operator's own query
    with closing(conn.execute(text(statement), values)) as result:
        names = list(result.keys())
        if source.watermark is not None and source.watermark not in names:
            raise UsageError(
                f"--watermark must be a column of the query ({', '.join(names)}), "
                f"got {source.watermark}."
            )
        while rows := result.fetchmany(BATCH_ROWS):
            table = _table(names, rows)
            last = None
            if source.watermark is not None:
                last = _remembered(rows[-1][names.index(source.watermark)])
            yield table, last


def _escaped(query: str) -> str:
    """A query in which a colon is a colon, as in `::text`, and no parameter."""
    return query.replace(":", "\\:")


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array([_plain(value) for value in column]) for column in columns]
    return pa.Table.from_arrays(arrays, names=list(names))


def _plain(value: object) -> object:
    """Values of a driver as Arrow takes them: decimals as floats, UUIDs as text."""
    if value is None or isinstance(value, str | bytes | bool | int | float | datetime):
        return value
    return float(str(value)) if type(value).__name__ == "Decimal" else str(value)


def _remembered(value: object) -> dict[str, Any] | None:
    if isinstance(value, datetime):
        return {"kind": "time", "value": value.isoformat()}
    if isinstance(value, int | float):
        return {"kind": "number", "value": value}
    return None if value is None else {"kind": "text", "value": str(value)}


def _before(reached: dict[str, Any], overlap: float) -> object:
    """The value from which to read again."""
    value = reached["value"]
    if reached["kind"] == "time":
        return datetime.fromisoformat(value) - timedelta(seconds=overlap)
    if reached["kind"] == "number":
        return value - overlap if isinstance(value, float) else value - int(overlap)
    try:  # SQLite's times are text
        return (datetime.fromisoformat(value) - timedelta(seconds=overlap)).isoformat(
            sep=value[10:11] or " "
        )
    except ValueError:
        return value
