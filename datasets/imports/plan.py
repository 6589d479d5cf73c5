"""What becomes of each row of an attempt log that comes in, decided without a database.

Rows come in batches and are read twice: identities may repeat anywhere, so that a first reading
finds out which of them decide, with some fifty bytes a row; the second hands the rows on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from datasets.attempt_files.values.ids import LIST_SEPARATOR
from datasets.contracts import CONFLICTS_IN_FILE, FILE_RULES, FileAttempt, NewAttempt
from datasets.errors import FileFormatError
from datasets.identity import with_idempotency_keys
from datasets.imports.repeats import Repeats, Repetition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from datasets.attempt_files.files import AttemptRows
    from datasets.imports.repeats import Verdicts


#: Rows that are held between the two readings, some 500 bytes each; of more, none are.
KEPT_ROWS = 500_000
#: Columns that a source of rows may leave out, and what they hold then.
_OPTIONAL = {"time_is_ambiguous": False, "time_exists": True, "is_skipped": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """What rows are judged by besides themselves."""

    #: Whose attempt ids these are.
    source: str
    #: The last moment that is not the future.
    latest: datetime
    #: The concepts of a question, for rows that name none.
    concepts_of: Mapping[str, Sequence[str]]
    #: The only users and concepts there are; None: any id may be one.
    known_users: frozenset[str] | None = None
    known_concepts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """The rows of one batch, each in exactly one place."""

    #: The rows as they came.
    rows: pl.DataFrame
    #: Attempts to write, one per row and concept, in file order: a frame of `NewAttempt`.
    new: pl.DataFrame
    #: Rows that repeat an earlier one, with all their concepts.
    duplicates: pl.DataFrame
    #: row, rule (the first that it breaks), rules (all): one per row.
    broken: pl.DataFrame
    #: Rows that name more than one concept, whatever became of them.
    multi_concept: int
    #: Rows that are no attempts, as the source says.
    skipped: int = 0

    def reasons(self) -> dict[str, int]:
        """Rule -> rows that broke it first, without those that only the database refuses."""
        return {str(rule): int(n) for rule, n in self.broken["rule"].value_counts().iter_rows()}


@dataclass(frozen=True, slots=True)
class _Judged:
    """One batch: its rows, the good ones per concept with their keys, and the broken ones."""

    rows: pl.DataFrame
    good: pl.DataFrame
    broken: pl.DataFrame
    multi_concept: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Rows that were read once, so that each of them can be judged."""

    source: AttemptRows
    rules: RowRules
    #: Of every good part in order; None: identities cannot repeat.
    verdicts: Verdicts | None
    #: Every batch, where they are few enough to be held; None: they are read once more.
    kept: tuple[_Judged, ...] | None

    def plans(self) -> Iterator[ImportPlan]:
        """Every row, a batch at a time."""
        batches = self._judged() if self.kept is None else self.kept
        done = 0
        for one in batches:
            yield _plan(one, self._verdicts(done, one.good.height), self.rules.source)
            done += one.good.height

    def _judged(self) -> Iterator[_Judged]:
        return (_judge(rows, self.source, self.rules) for rows in self.source.batches())

    def _verdicts(self, first: int, n: int) -> pl.Series:
        if self.verdicts is None:
            return pl.Series([Repetition.FRESH], dtype=pl.Int8).new_from_index(0, n)
        verdicts = self.verdicts[first : first + n]
        if verdicts.size < n:
            raise FileFormatError(
                "The file changed while it was read; nothing was imported, import it again."
            )
        return pl.Series(verdicts)


def survey(source: AttemptRows, rules: RowRules) -> Survey:
    """Read everything once, as far as is needed to know which identities repeat.

    Rows that break a rule take no part: a broken copy never decides about a good one.
    """
    repeats = Repeats()
    kept: list[_Judged] | None = []
    n_rows = 0
    for number, rows in enumerate(source.batches()):
        judged, n_rows = _judge(rows, source, rules), n_rows + rows.height
        if kept is not None and n_rows <= KEPT_ROWS:
            kept.append(judged)
        else:
            kept = None
        if source.has_attempt_ids:
            repeats.add(judged.good)
        elif number:
            kept = None
            break  # known by the number of the row, which is never the same
    verdicts = repeats.verdicts() if source.has_attempt_ids else None
    return Survey(source, rules, verdicts, None if kept is None else tuple(kept))


def plan_all(source: AttemptRows, rules: RowRules) -> ImportPlan:
    """Every row at once, for what needs them so."""
    plans = list(survey(source, rules).plans())
    return ImportPlan(
        rows=pl.concat([plan.rows for plan in plans]),
        new=pl.concat([plan.new for plan in plans]),
        duplicates=pl.concat([plan.duplicates for plan in plans]),
        broken=pl.concat([plan.broken for plan in plans]),
        multi_concept=sum(plan.multi_concept for plan in plans),
        skipped=sum(plan.skipped for plan in plans),
    )


def _judge(rows: pl.DataFrame, source: AttemptRows, rules: RowRules) -> _Judged:
    """Every part of a batch under the rules that need no other row."""
    rows = _completed(rows)
    kept = rows.filter(~pl.col("is_skipped"))
    parts = _with_concepts(_with_ids(kept, source), source.concept_delimiter, rules.concepts_of)
    good, broken = _apply_rules(
        parts.with_columns(
            pl.lit(rules.latest).alias("latest"),
            _is_known("user_id", rules.known_users).alias("user_is_known"),
            _is_known("concept_id", rules.known_concepts).alias("concept_is_known"),
        )
    )
    return _Judged(
        rows=rows,
        good=with_idempotency_keys(good, rules.source),
        broken=broken,
        multi_concept=parts.filter(pl.col("row").is_duplicated())["row"].n_unique(),
        skipped=rows.height - kept.height,
    )


def _plan(one: _Judged, verdicts: pl.Series, source: str) -> ImportPlan:
    """Put each row of a batch in its place."""
    good = one.good.with_columns(verdict=verdicts, source=pl.lit(source))
    fresh = good.filter(pl.col("verdict") == Repetition.FRESH)
    disputed = good.filter(pl.col("verdict") == Repetition.DISPUTED).select("row").unique()
    repeated = good.filter(pl.col("verdict") == Repetition.REPEATED).select("row").unique()
    conflicts = disputed.with_columns(
        rule=pl.lit(CONFLICTS_IN_FILE), rules=pl.lit(CONFLICTS_IN_FILE)
    )
    return ImportPlan(
        rows=one.rows,
        new=NewAttempt.validate(fresh.select(NewAttempt.column_names())),
        duplicates=repeated.join(fresh.select("row"), on="row", how="anti").sort("row"),
        broken=pl.concat([one.broken, conflicts]).sort("row"),
        multi_concept=one.multi_concept,
        skipped=one.skipped,
    )


def _is_known(column: str, known: frozenset[str] | None) -> pl.Expr:
    """Whether an id is on the list, if there is one; null is another rule's matter."""
    if known is None:
        return pl.lit(value=True)
    ids = pl.Series(sorted(known), dtype=pl.String)
    return pl.col(column).is_null() | pl.col(column).is_in(ids.implode())


def _completed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with what a source need not say: no clock change, nothing skipped."""
    absent = [(name, value) for name, value in _OPTIONAL.items() if name not in rows.columns]
    return rows.with_columns(pl.lit(value).alias(name) for name, value in absent)


def _with_ids(rows: pl.DataFrame, source: AttemptRows) -> pl.DataFrame:
    """Rows of a source without ids are known by its digest and their number."""
    if source.has_attempt_ids:
        return rows
    number = pl.col("row").cast(pl.String)
    return rows.with_columns(attempt_id=pl.lit(f"{source.digest}:") + number)


def _with_concepts(
    rows: pl.DataFrame, delimiter: str | None, concepts_of: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """One row per concept: those named, else those the question is mapped to, else null."""
    text, separator = pl.col("concept_id"), LIST_SEPARATOR
    if delimiter is not None:
        text, separator = (
            text.str.replace_all(LIST_SEPARATOR, delimiter, literal=True),
            delimiter,
        )
    named = pl.concat_list("concept_id")
    if delimiter is not None or rows["concept_id"].str.contains(LIST_SEPARATOR).any():
        filled = text.str.split(separator).list.eval(pl.element().filter(pl.element() != ""))
        named = filled.list.unique(maintain_order=True)
    mapping = pl.DataFrame(
        {
            "question_id": list(concepts_of),
            "mapped": [sorted(set(concepts)) for concepts in concepts_of.values()],
        },
        schema={"question_id": pl.String, "mapped": pl.List(pl.String)},
    )
    is_named = pl.col("concept_id").is_not_null()
    return (
        rows.join(mapping, on="question_id", how="left", maintain_order="left")
        .with_columns(concept_id=pl.when(is_named).then(named).otherwise(pl.col("mapped")))
        .drop("mapped")
        .explode("concept_id", empty_as_null=True, keep_nulls=True)
    )


def _apply_rules(parts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Good parts, and one line per broken row; a row is good only with all its parts."""
    _, failure = FileAttempt.filter(parts.select(FileAttempt.column_names()), cast=False)
    details = failure.details()
    broken = details.select("row", *FILE_RULES).select(
        "row",
        *(
            pl.when(pl.col(rule).cast(pl.String) == "invalid").then(pl.lit(rule)).alias(rule)
            for rule in FILE_RULES
        ),
    )
    by_row = (
        broken.select(
            "row",
            rule=pl.coalesce(FILE_RULES),
            rules=pl.concat_str(FILE_RULES, separator=", ", ignore_nulls=True),
        )
        .group_by("row", maintain_order=True)
        .first()
    )
    good = parts.join(by_row.select("row"), on="row", how="anti", maintain_order="left")
    return good, by_row
