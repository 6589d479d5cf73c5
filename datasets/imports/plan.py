"""Decide what happens to each row of an incoming attempt log, without a database.

Rows come in batches and are read twice, because an identity may repeat anywhere. The first pass
finds the repetitions, with about fifty bytes per row; the second passes the rows on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from datasets.attempt_files.values.ids import LIST_SEPARATOR
from datasets.contracts import CONFLICTS_IN_FILE, FILE_RULES, FileAttempt, NewAttempt
from datasets.errors import FileFormatError
from datasets.id_codes import attempt_codes
from datasets.identity import with_idempotency_keys
from datasets.imports.repeats import Repeats, Repetition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from datasets.attempt_files.files import AttemptRows
    from datasets.imports.repeats import Verdicts


#: Rows kept between the two passes, about 500 bytes each; larger logs are read again.
KEPT_ROWS = 500_000
#: Columns that a source may omit, and their default values.
_OPTIONAL = {"time_is_ambiguous": False, "time_exists": True, "is_skipped": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """The context in which rows are judged."""

    #: Name of the source of the attempt ids.
    source: str
    #: The latest time that is not in the future.
    latest: datetime
    #: The concepts of each question, for rows without a concept.
    concepts_of: Mapping[str, Sequence[str]]
    #: The only accepted users and concepts; None accepts any id.
    known_users: frozenset[str] | None = None
    known_concepts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """The rows of one batch, each in exactly one of its parts."""

    #: The rows as they were read.
    rows: pl.DataFrame
    #: Attempts to write, one per row and concept, in file order: a frame of `NewAttempt`.
    new: pl.DataFrame
    #: Rows that repeat an earlier one, with all of their concepts.
    duplicates: pl.DataFrame
    #: One row per quarantined row: row, rule (the first one broken), rules (all of them).
    broken: pl.DataFrame
    #: Number of rows with more than one concept, in any part.
    multi_concept: int
    #: Number of rows that the source marks as not being attempts.
    skipped: int = 0

    def reasons(self) -> dict[str, int]:
        """Count quarantined rows by the first rule broken, without rules of the database."""
        return {str(rule): int(n) for rule, n in self.broken["rule"].value_counts().iter_rows()}


@dataclass(frozen=True, slots=True)
class _Judged:
    """One batch: its rows, the valid ones per concept with keys, and the broken ones."""

    rows: pl.DataFrame
    good: pl.DataFrame
    broken: pl.DataFrame
    multi_concept: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The result of the first pass, from which each row can be judged."""

    source: AttemptRows
    rules: RowRules
    #: Verdicts on all valid parts, in order; None if identities cannot repeat.
    verdicts: Verdicts | None
    #: All batches, if they are few enough to keep; None if they are read again.
    kept: tuple[_Judged, ...] | None

    def plans(self) -> Iterator[ImportPlan]:
        """Yield the plan of each batch."""
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
    """Read all rows once, as far as is needed to find identities that repeat.

    Rows that break a rule are ignored: a broken copy never affects a valid one.
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
            break  # rows are identified by their number, which is unique
    verdicts = repeats.verdicts() if source.has_attempt_ids else None
    return Survey(source, rules, verdicts, None if kept is None else tuple(kept))


def plan_all(source: AttemptRows, rules: RowRules) -> ImportPlan:
    """Plan all rows at once, for callers that need them together."""
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
    """Apply the rules that need no other row to every part of a batch."""
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
        good=with_idempotency_keys(good, rules.source).with_columns(
            attempt_codes(rules.source, good["attempt_id"])
        ),
        broken=broken,
        multi_concept=parts.filter(pl.col("row").is_duplicated())["row"].n_unique(),
        skipped=rows.height - kept.height,
    )


def _plan(one: _Judged, verdicts: pl.Series, source: str) -> ImportPlan:
    """Assign each row of a batch to a part of the plan."""
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
    """Check that an id is in the list, if there is one; another rule handles null."""
    if known is None:
        return pl.lit(value=True)
    ids = pl.Series(sorted(known), dtype=pl.String)
    return pl.col(column).is_null() | pl.col(column).is_in(ids.implode())


def _completed(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the optional columns: no clock change, nothing skipped."""
    absent = [(name, value) for name, value in _OPTIONAL.items() if name not in rows.columns]
    return rows.with_columns(pl.lit(value).alias(name) for name, value in absent)


def _with_ids(rows: pl.DataFrame, source: AttemptRows) -> pl.DataFrame:
    """Identify rows of a source without ids by its digest and their number."""
    if source.has_attempt_ids:
        return rows
    number = pl.col("row").cast(pl.String)
    return rows.with_columns(attempt_id=pl.lit(f"{source.digest}:") + number)


def _with_concepts(
    rows: pl.DataFrame, delimiter: str | None, concepts_of: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """Split rows by concept: the named ones, else those of the question, else null."""
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
