"""`bkt import`: import attempt files, or a query of the platform's database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from bkt_core.errors import UsageError
from bkt_settings.pipeline import load_settings
from bkt_settings.redaction import secrets_of_address
from datasets.accounting import NO_ROWS
from datasets.imports.file_import import import_file
from datasets.imports.query_import import QuerySource, import_query
from flows.cli.data.preview import show_previews, suggesting_flags
from flows.cli.file_flags import DEFAULT_FILE_FLAGS, FileFlags
from flows.cli.output import DEFAULT_OUTPUT, Output
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from bkt_settings.pipeline import Settings
    from datasets.accounting import RowCounts
    from datasets.imports.file_import import ImportOptions, ImportReport
    from datasets.imports.query_import import QueryReport


def import_attempts(
    *files: Path,
    source: str = "",
    flags: FileFlags = DEFAULT_FILE_FLAGS,
    corrections: Annotated[bool, Parameter(negative="")] = False,
    max_quarantine: float | None = None,
    from_database: str | None = None,
    query: str | None = None,
    watermark: str | None = None,
    overlap: float | None = None,
    preview: Annotated[bool, Parameter(negative="")] = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Import attempt logs (Parquet, CSV, TSV, JSON lines) into the database.

    Every row is accepted, a duplicate, quarantined with a reason, or skipped because an option
    says so; docs/import.md has the command for each well-known export.

    Parameters
    ----------
    files
        The attempt logs, also compressed, or a folder of them; each is imported in one
        transaction.
    source
        Name of the source of the attempt ids; part of an attempt's identity.
    corrections
        Replace `correct` of stored attempts that the file contradicts.
    max_quarantine
        Import nothing of a file, or of a batch of a query, when a larger share than this breaks
        a rule.
    from_database
        Read from the platform's own database instead, by its URL; else by BKT_SOURCE_URL.
    query
        The SELECT whose rows are attempts, `attempt_id` among its columns.
    watermark
        A column of the query that only increases; the next import begins where this one ended.
    overlap
        How far before the last watermark to begin, for rows that became visible late: seconds
        if it is a time, otherwise a number. 600 by default.
    preview
        Write nothing: show the columns, the mapping, the command that would import the file,
        and the result for its first 10,000 rows.
    """
    settings = load_settings()
    if files and any(x is not None for x in (query, watermark, overlap, from_database)):
        raise UsageError(
            "--query, --watermark, --overlap and --from-database do not go with files."
        )
    if not files and query is None:
        raise UsageError("bkt import needs files, or a --query that gives attempts.")
    if overlap is not None and watermark is None:
        raise UsageError("--overlap goes with --watermark.")
    options = flags.import_options(
        settings.imports, source=source, corrections=corrections, max_quarantine=max_quarantine
    )
    if preview:
        return show_previews(files, options, output)
    if query is None:
        return _import_files(settings, files, options, output)
    given = {} if overlap is None else {"overlap": overlap}
    from_ = QuerySource(
        url=source_address(settings, from_database), query=query, watermark=watermark, **given
    )
    return _import_query(settings, from_, options, output)


def _import_files(
    settings: Settings, files: tuple[Path, ...], options: ImportOptions, output: Output
) -> int:
    """Import the files in order; the first failure ends the command, after a report."""
    reports: dict[str, ImportReport] = {}
    waiting = [str(path) for path in files]
    with open_database(settings) as engine:
        try:
            for path in files:
                with suggesting_flags(path, options):
                    reports[str(path)] = import_file(
                        engine,
                        path,
                        options,
                        quarantine_root=settings.data_dir / "quarantine",
                        at=datetime.now(UTC),
                    )
                waiting.remove(str(path))
        finally:
            if reports:
                payload = _import_payload(reports) | {"not_imported": waiting}
                output.give(payload, lambda console: _show_import(console, reports, waiting))
    return 0


def _import_query(
    settings: Settings, source: QuerySource, options: ImportOptions, output: Output
) -> int:
    with open_database(settings) as engine:
        done = import_query(
            engine,
            source,
            options,
            data_dir=settings.data_dir,
            now=lambda: datetime.now(UTC),
        )
    payload = {
        "rows": _counts(done.rows),
        "reasons": done.reasons,
        "attempts": done.attempts,
        "corrected": done.corrected,
        "batches": done.batches,
        "reached": done.reached,
        "quarantine": str(done.quarantine) if done.reasons else None,
    }
    output.give(payload, lambda console: _show_query(console, done))
    return 0


def source_address(settings: Settings, given: str | None) -> str:
    """Return the URL of the source database; only the environment may set a password."""
    if given is not None and any(secrets_of_address(given)):
        raise UsageError(
            "A password on the command line is visible to everybody on this machine: "
            "set BKT_SOURCE_URL instead, and omit --from-database."
        )
    url = given or settings.source_url.get_secret_value()
    if not url:
        raise UsageError("--query needs --from-database URL, or the setting BKT_SOURCE_URL.")
    return url


def _counts(rows: RowCounts) -> dict[str, int]:
    """Return the counts of an import, including skipped rows."""
    return rows.as_dict() | {"skipped": rows.skipped}


def _import_payload(reports: Mapping[str, ImportReport]) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for report in reports.values():
        for rule, count in report.reasons.items():
            reasons[rule] = reasons.get(rule, 0) + count
    return {
        "rows": _counts(sum((report.rows for report in reports.values()), NO_ROWS)),
        "reasons": reasons,
        "attempts": sum(report.attempts for report in reports.values()),
        "corrected": sum(report.corrected for report in reports.values()),
        "files": {
            path: {
                "rows": _counts(report.rows),
                "quarantine": str(report.quarantine) if report.reasons else None,
                "remarks": list(report.remarks),
            }
            for path, report in reports.items()
        },
    }


def _show_import(
    console: Console, reports: Mapping[str, ImportReport], waiting: list[str]
) -> None:
    _show_counts(console, "file", ((path, _counts(one.rows)) for path, one in reports.items()))
    for report in reports.values():
        _show_reasons(console, report)
        for remark in report.remarks:
            console.print(f"  note: {remark}", markup=False)
    if waiting:
        console.print(f"  Stored in full. Nothing was stored of: {', '.join(waiting)}")


def _show_query(console: Console, done: QueryReport) -> None:
    _show_counts(console, "query", [(f"{done.batches:,} batches", _counts(done.rows))])
    _show_reasons(console, done)
    if done.reached is not None:
        console.print(f"  the next import begins before {done.reached}")


def _show_counts(
    console: Console, what: str, counts: Iterable[tuple[str, Mapping[str, int]]]
) -> None:
    table = Table(what, box=None, header_style="bold")
    for name in _counts(NO_ROWS):
        table.add_column(name, justify="right")
    for name, own in counts:
        table.add_row(name, *(f"{count:,}" for count in own.values()))
    console.print(table)


def _show_reasons(console: Console, report: ImportReport | QueryReport) -> None:
    for rule, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        console.print(f"  {count:,} quarantined: {rule}")
    if report.reasons:
        console.print(f"  the rows and their reasons: {report.quarantine}")
