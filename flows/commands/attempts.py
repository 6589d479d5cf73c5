"""`bkt import`: attempt files into the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from bkt_core.errors import UsageError
from datasets.attempt_columns import FileOptions
from datasets.attempt_import import ImportOptions, ImportReport, import_file
from datasets.attempt_queries import QuerySource, import_query
from datasets.file_layouts import Layout
from flows.commands.output import DEFAULT_OUTPUT, Output
from flows.database import open_database
from flows.redaction import secrets_of_address
from flows.settings import load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from flows.settings import Settings


def import_attempts(
    *files: Path,
    source: str = "",
    layout: Layout = Layout.PLAIN,
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = (),
    time_zone: str | None = None,
    concept_delimiter: str | None = None,
    corrections: Annotated[bool, Parameter(negative="")] = False,
    max_quarantine: float | None = None,
    from_database: str | None = None,
    query: str | None = None,
    watermark: str | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Read attempt logs (Parquet, CSV, TSV) into the database; every row is accounted for.

    Parameters
    ----------
    files
        The attempt logs; each is imported in one transaction.
    source
        Whose attempt ids these are; part of an attempt's identity.
    layout
        A ready-made mapping of columns.
    map_
        `column=name`, once per column that the file calls otherwise.
    time_zone
        The zone of timestamps that name none, such as Europe/Berlin.
    concept_delimiter
        What stands between several concepts of one attempt, such as ~~.
    corrections
        Replace `correct` of stored attempts that the file contradicts.
    max_quarantine
        Import nothing of a file when a larger share than this breaks a rule.
    from_database
        Read from the platform's own database instead, by its URL; else by BKT_SOURCE_URL.
    query
        The SELECT whose rows are attempts, `attempt_id` among its columns.
    watermark
        A column of the query that only grows; the next import begins where this one ended.
    """
    settings = load_settings()
    if files and (query, watermark, from_database) != (None, None, None):
        raise UsageError("--query, --watermark and --from-database do not go with files.")
    if not files and query is None:
        raise UsageError("bkt import needs files, or a --query that gives attempts.")
    options = ImportOptions(
        file=FileOptions(
            layout=layout,
            column_map=column_mapping(map_),
            time_zone=time_zone,
            concept_delimiter=concept_delimiter,
        ),
        source=source,
        future_skew=timedelta(minutes=settings.imports.allowed_skew_minutes),
        corrections=corrections,
        max_quarantine=max_quarantine,
    )
    if query is not None:
        url = source_address(settings, from_database)
        return _import_query(
            settings, QuerySource(url=url, query=query, watermark=watermark), options, output
        )
    with open_database(settings) as engine:
        reports = {
            str(path): import_file(
                engine,
                path,
                options,
                quarantine_root=settings.data_dir / "quarantine",
                at=datetime.now(UTC),
            )
            for path in files
        }
    output.give(_import_payload(reports), lambda console: _show_import(console, reports))
    return 0


def _import_query(
    settings: Settings, source: QuerySource, options: ImportOptions, output: Output
) -> int:
    with open_database(settings) as engine:
        done = import_query(
            engine, source, options, data_dir=settings.data_dir, at=datetime.now(UTC)
        )
    payload = {
        "rows": done.rows.as_dict(),
        "reasons": done.reasons,
        "attempts": done.attempts,
        "batches": done.batches,
        "reached": done.reached,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in done.rows.as_dict().items())
    upto = "" if done.reached is None else f"; the next import begins before {done.reached}"
    output.give(payload, lambda console: console.print(f"{told}{upto}", markup=False))
    return 0


def source_address(settings: Settings, given: str | None) -> str:
    """Whose attempts a query gives; a password comes from the environment only."""
    if given is not None and any(secrets_of_address(given)):
        raise UsageError(
            "A password on the command line is seen by everybody on this machine: "
            "set BKT_SOURCE_URL instead, and leave --from-database out."
        )
    url = given or settings.source_url.get_secret_value()
    if not url:
        raise UsageError("--query needs --from-database URL, or the setting BKT_SOURCE_URL.")
    return url


def column_mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """`column=name` pairs by our column."""
    broken = [pair for pair in pairs if "=" not in pair]
    if broken:
        raise UsageError(f"--map takes column=name, got {broken[0]!r}.")
    return dict(pair.split("=", 1) for pair in pairs)


def _import_payload(reports: dict[str, ImportReport]) -> dict[str, Any]:
    totals: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for report in reports.values():
        for name, count in report.rows.as_dict().items():
            totals[name] = totals.get(name, 0) + count
        for rule, count in report.reasons.items():
            reasons[rule] = reasons.get(rule, 0) + count
    return {
        "rows": totals,
        "reasons": reasons,
        "attempts": sum(report.attempts for report in reports.values()),
        "corrected": sum(report.corrected for report in reports.values()),
        "files": {
            path: {"rows": report.rows.as_dict(), "quarantine": str(report.quarantine)}
            for path, report in reports.items()
        },
    }


def _show_import(console: Console, reports: dict[str, ImportReport]) -> None:
    table = Table("file", box=None, header_style="bold")
    for name in ("read", "accepted", "duplicates", "quarantined"):
        table.add_column(name, justify="right")
    for path, report in reports.items():
        table.add_row(path, *(f"{count:,}" for count in report.rows.as_dict().values()))
    console.print(table)
    for report in reports.values():
        for rule, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
            console.print(f"  {count:,} set aside: {rule}")
        if report.reasons:
            console.print(f"  the rows and their reasons: {report.quarantine}")
