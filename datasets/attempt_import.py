"""Import of attempt files into the log: every row accepted, a duplicate, or quarantined."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from bkt_core.errors import UsageError
from datasets.accounting import RowCounts
from datasets.attempt_columns import FileOptions
from datasets.attempt_files import read_attempt_file
from datasets.contracts import (
    CONFLICTS_WITH_STORED,
    USER_WAS_ERASED,
)
from datasets.errors import QuarantineLimitError
from datasets.import_plan import ImportPlan, plan_import
from datasets.quarantine import RuleCount, write_quarantine
from datasets.store.attempts import concepts_of_questions, write_attempts

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

    from datasets.attempt_files import AttemptFile

#: Outcomes of `store.attempts.write_attempts` that set a whole row aside, and the rule.
_REFUSED = {"conflict": CONFLICTS_WITH_STORED, "erased": USER_WAS_ERASED}
MAX_SOURCE_CHARACTERS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How one file is read, and what its import may do."""

    file: FileOptions = field(default_factory=FileOptions)
    #: Whose attempt ids these are; part of every identity.
    source: str = ""
    #: Clocks may run ahead of ours by this much.
    future_skew: timedelta = timedelta(minutes=5)
    #: A stored attempt that differs in `correct` alone is corrected.
    corrections: bool = False
    #: Share of quarantined rows above which nothing is imported; None: the good rows are kept.
    max_quarantine: float | None = None

    def __post_init__(self) -> None:
        if "\0" in self.source or len(self.source) > MAX_SOURCE_CHARACTERS:
            raise UsageError(
                f"--source takes at most {MAX_SOURCE_CHARACTERS} characters without NUL."
            )
        if self.max_quarantine is not None and not 0.0 <= self.max_quarantine <= 1.0:
            raise UsageError(
                f"--max-quarantine takes a share in [0, 1], got {self.max_quarantine!r}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What one import did; `rows` counts rows of the file."""

    rows: RowCounts
    #: Rule -> rows of the file that broke it first.
    reasons: dict[str, int]
    rules: tuple[RuleCount, ...]
    #: Attempts written: a row with several concepts is several.
    attempts: int
    #: Stored attempts whose `correct` was replaced.
    corrected: int
    #: Rows that name more than one concept.
    multi_concept: int
    quarantine: Path


def import_file(
    engine: Engine, path: Path, options: ImportOptions, *, quarantine_root: Path, at: datetime
) -> ImportReport:
    """Import one attempt file in one transaction, at the moment `at`.

    Raises `FileFormatError`: if the file cannot be read as an attempt log;
    `QuarantineLimitError`: if more than the allowed share is quarantined; nothing was
    written to the database.
    """
    file = read_attempt_file(path, options.file)
    folder = quarantine_root / f"import-{file.digest[:16]}"
    return import_rows(engine, file, options, folder=folder, at=at)


def import_rows(
    engine: Engine, file: AttemptFile, options: ImportOptions, *, folder: Path, at: datetime
) -> ImportReport:
    """Import rows that were read, in one transaction; the quarantine goes into `folder`."""
    with engine.begin() as conn:
        plan = plan_import(
            file,
            source=options.source,
            latest=at + options.future_skew,
            concepts_of=concepts_of_questions(conn),
        )
        written = write_attempts(conn, plan.new, at=at, corrections=options.corrections)
        report = _account(file, plan, written, folder)
        _refuse_too_many(report, options)
    return report


def _account(
    file: AttemptFile, plan: ImportPlan, written: pl.DataFrame, folder: Path
) -> ImportReport:
    """Count every row of the file once, and write the quarantine."""
    by_row = written.group_by("row").agg(
        *((pl.col("outcome") == name).any().alias(name) for name in (*_REFUSED, "duplicate")),
        fresh=pl.col("outcome").is_in(["inserted", "corrected"]).any(),
    )
    refused = [
        by_row.filter(pl.col(outcome)).select("row", rule=pl.lit(rule), rules=pl.lit(rule))
        for outcome, rule in _REFUSED.items()
    ]
    broken = pl.concat([plan.broken, *refused]).unique("row", keep="first").sort("row")
    kept = by_row.join(broken, on="row", how="anti")
    rows = RowCounts(
        read=file.rows.height,
        accepted=kept.filter("fresh").height,
        duplicates=plan.duplicates.height + kept.filter(~pl.col("fresh")).height,
        quarantined=broken.height,
    )
    counts = {str(rule): int(n) for rule, n in broken["rule"].value_counts().iter_rows()}
    rules = write_quarantine(folder, _originals(file, broken), counts, n_read=file.rows.height)
    outcomes = written["outcome"]
    return ImportReport(
        rows=rows,
        reasons=counts,
        rules=rules,
        attempts=int((outcomes == "inserted").sum()),
        corrected=int((outcomes == "corrected").sum()),
        multi_concept=plan.multi_concept,
        quarantine=folder,
    )


def _originals(file: AttemptFile, broken: pl.DataFrame) -> pl.DataFrame:
    """The rows as the file has them, with their reasons."""
    return broken.join(file.rows, on="row", how="left", maintain_order="left")


def _refuse_too_many(report: ImportReport, options: ImportOptions) -> None:
    limit = options.max_quarantine
    if limit is not None and report.rows.quarantined_share > limit:
        raise QuarantineLimitError(
            quarantined=report.rows.quarantined,
            read=report.rows.read,
            limit=limit,
            where=str(report.quarantine),
        )
