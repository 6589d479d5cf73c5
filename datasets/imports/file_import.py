"""Import attempt files into the log; every row is accepted, a duplicate, or quarantined."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from bkt_core.errors import UsageError
from datasets.accounting import NO_ROWS, RowCounts
from datasets.attempt_files.folders import open_attempts
from datasets.attempt_files.options import FileOptions
from datasets.contracts import (
    CONFLICTS_WITH_STORED,
    USER_WAS_ERASED,
)
from datasets.errors import QuarantineLimitError
from datasets.imports.plan import RowRules, survey
from datasets.imports.remarks import refuse_if_nothing_was_accepted, remarks_on
from datasets.quarantine import MAX_ROWS, RuleCount, write_quarantine
from datasets.store.attempts.writer import AttemptWriter, concepts_of_questions
from datasets.store.connections.engines import reading

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from datasets.imports.plan import ImportPlan, Survey

#: Outcomes of `AttemptWriter.write` that quarantine a complete row, and the rule for each.
_REFUSED = {"conflict": CONFLICTS_WITH_STORED, "erased": USER_WAS_ERASED}
MAX_SOURCE_CHARACTERS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How one file is read, and the limits of its import."""

    file: FileOptions = field(default_factory=FileOptions)
    #: Name of the source of the attempt ids; it is part of every identity.
    source: str = ""
    #: Attempts may be this far in the future, to allow for clocks that are ahead.
    future_skew: timedelta = timedelta(0)
    #: True corrects a stored attempt that differs only in `correct`.
    corrections: bool = False
    #: Share of quarantined rows above which nothing is imported; None means no limit.
    max_quarantine: float | None = None
    #: The only accepted users and concepts; None accepts any id.
    known_users: frozenset[str] | None = None
    known_concepts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if "\0" in self.source or len(self.source) > MAX_SOURCE_CHARACTERS:
            raise UsageError(
                f"--source takes at most {MAX_SOURCE_CHARACTERS} characters without NUL."
            )
        if self.max_quarantine is not None and not 0.0 <= self.max_quarantine <= 1.0:
            raise UsageError(
                f"--max-quarantine takes a share in [0, 1], got {self.max_quarantine!r}."
            )

    def rules(self, engine: Engine, at: datetime) -> RowRules:
        """Return the rules by which rows are judged at the time `at`."""
        with reading(engine) as conn:
            mapping = concepts_of_questions(conn)
        return RowRules(
            source=self.source,
            latest=at + self.future_skew,
            concepts_of=mapping,
            known_users=self.known_users,
            known_concepts=self.known_concepts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """The result of one import; `rows` counts rows of the file."""

    rows: RowCounts
    #: Number of quarantined rows by the first rule that they broke.
    reasons: dict[str, int]
    rules: tuple[RuleCount, ...]
    #: Number of attempts written; a row with several concepts is several attempts.
    attempts: int
    #: Number of stored attempts whose `correct` was replaced.
    corrected: int
    #: Number of rows with more than one concept.
    multi_concept: int
    #: Folder of the quarantined rows, if there are any.
    quarantine: Path
    #: Sentences about the file that a person should read.
    remarks: tuple[str, ...] = ()


def import_file(
    engine: Engine, path: Path, options: ImportOptions, *, quarantine_root: Path, at: datetime
) -> ImportReport:
    """Import one attempt file in one transaction, at the time `at`.

    Raises `FileFormatError` if the file cannot be read as an attempt log,
    `QuarantineLimitError` if more than the allowed share is quarantined, and
    `NothingAcceptedError` if every row is. After an error nothing is in the database.
    """
    file = open_attempts(path, options.file)
    found = survey(file, options.rules(engine, at))
    asked = f"{file.digest}\n{options.source}\n{options.file}"
    folder = quarantine_root / f"import-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    with engine.begin() as conn:
        report = import_rows(conn, found, options, folder=folder, at=at)
        refuse_if_nothing_was_accepted(
            report.rows, report.reasons, where=str(path), samples=file.samples
        )
    return replace(report, remarks=remarks_on(file, report.rows))


def import_rows(
    conn: Connection, found: Survey, options: ImportOptions, *, folder: Path, at: datetime
) -> ImportReport:
    """Import surveyed rows in the caller's transaction; write the quarantine to `folder`.

    Raises `QuarantineLimitError`; the caller must not commit then.
    """
    account = _Account()
    writer = AttemptWriter(conn, at=at, corrections=options.corrections)
    for plan in found.plans():
        account.enter(plan, writer.write(plan.new))
    writer.finish()
    report = account.report(folder)
    _refuse_too_many(report, options)
    return report


class _Account:
    """Counts every row once, batch by batch, and keeps the quarantined ones."""

    def __init__(self) -> None:
        self.rows = NO_ROWS
        self.reasons: dict[str, int] = {}
        self.attempts = self.corrected = self.multi_concept = 0
        self._aside: list[pl.DataFrame] = []

    def enter(self, plan: ImportPlan, written: pl.DataFrame) -> None:
        """Add one batch with the outcomes of the attempts that were written."""
        by_row = written.group_by("row").agg(
            *(
                (pl.col("outcome") == name).any().alias(name)
                for name in (*_REFUSED, "duplicate")
            ),
            fresh=pl.col("outcome").is_in(["inserted", "corrected"]).any(),
        )
        refused = [
            by_row.filter(pl.col(outcome)).select("row", rule=pl.lit(rule), rules=pl.lit(rule))
            for outcome, rule in _REFUSED.items()
        ]
        broken = pl.concat([plan.broken, *refused]).unique("row", keep="first").sort("row")
        kept = by_row.join(broken, on="row", how="anti")
        self.rows += RowCounts(
            read=plan.rows.height,
            accepted=kept.filter("fresh").height,
            duplicates=plan.duplicates.height + kept.filter(~pl.col("fresh")).height,
            quarantined=broken.height,
            skipped=plan.skipped,
        )
        for rule, n_rows in broken["rule"].value_counts().iter_rows():
            self.reasons[str(rule)] = self.reasons.get(str(rule), 0) + int(n_rows)
        self._set_aside(broken, plan.rows)
        self.attempts += int((written["outcome"] == "inserted").sum())
        self.corrected += int((written["outcome"] == "corrected").sum())
        self.multi_concept += plan.multi_concept

    def _set_aside(self, broken: pl.DataFrame, rows: pl.DataFrame) -> None:
        """Keep the rows with their reasons, up to the number that is written to disk."""
        room = MAX_ROWS - sum(part.height for part in self._aside)
        chosen = broken.head(max(room, 0))
        if chosen.height or not self._aside:
            self._aside.append(chosen.join(rows, on="row", how="left", maintain_order="left"))

    def report(self, folder: Path) -> ImportReport:
        """Return the report, after writing the quarantine if there is any."""
        rules: tuple[RuleCount, ...] = ()
        if self.reasons or folder.exists():  # an earlier import may have left rows there
            aside = pl.concat(self._aside)
            rules = write_quarantine(folder, aside, self.reasons, n_read=self.rows.read)
        return ImportReport(
            rows=self.rows,
            reasons=self.reasons,
            rules=rules,
            attempts=self.attempts,
            corrected=self.corrected,
            multi_concept=self.multi_concept,
            quarantine=folder,
        )


def _refuse_too_many(report: ImportReport, options: ImportOptions) -> None:
    limit = options.max_quarantine
    if limit is not None and report.rows.quarantined_share > limit:
        raise QuarantineLimitError(
            quarantined=report.rows.quarantined,
            read=report.rows.read,
            limit=limit,
            where=str(report.quarantine),
        )
