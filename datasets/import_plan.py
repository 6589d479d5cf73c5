"""What becomes of each row of an attempt file, decided without a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from datasets.contracts import (
    CONFLICTS_IN_FILE,
    CONTENT_COLUMNS,
    FILE_RULES,
    FileAttempt,
    NewAttempt,
)
from datasets.identity import with_idempotency_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from datasets.attempt_files import AttemptFile

_IDENTITY = ("attempt_id", "concept_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """The rows of one file, each in exactly one place."""

    #: Attempts to write, one per row and concept, in file order: a frame of `NewAttempt`.
    new: pl.DataFrame
    #: Rows of the file that repeat an earlier one, with all their concepts.
    duplicates: pl.DataFrame
    #: row, rule (the first that it breaks), rules (all): one per row of the file.
    broken: pl.DataFrame
    #: Rows of the file that name more than one concept, whatever became of them.
    multi_concept: int


def plan_import(
    file: AttemptFile,
    *,
    source: str,
    latest: datetime,
    concepts_of: Mapping[str, Sequence[str]],
) -> ImportPlan:
    """Split a file's rows into new attempts, duplicates and broken rows.

    A row with several concepts goes as a whole. Rows that break a rule take no part in the
    comparison of identities: a broken copy never decides about a good one.
    """
    parts = _with_concepts(_with_ids(file), file.concept_delimiter, concepts_of)
    good, broken = _apply_rules(parts.with_columns(pl.lit(latest).alias("latest")))
    conflicting = _conflicting_rows(good)
    good = good.join(conflicting, on="row", how="anti", maintain_order="left")
    fresh = good.filter(pl.struct(_IDENTITY).is_first_distinct())
    duplicates = (
        good.select("row").unique().join(fresh.select("row").unique(), on="row", how="anti")
    )
    conflicts = conflicting.with_columns(
        rule=pl.lit(CONFLICTS_IN_FILE), rules=pl.lit(CONFLICTS_IN_FILE)
    )
    new = with_idempotency_keys(fresh, source).with_columns(source=pl.lit(source))
    return ImportPlan(
        new=NewAttempt.validate(new.select(NewAttempt.column_names())),
        duplicates=duplicates.sort("row"),
        broken=pl.concat([broken, conflicts]).sort("row"),
        multi_concept=parts.filter(pl.col("row").is_duplicated())["row"].n_unique(),
    )


def _with_ids(file: AttemptFile) -> pl.DataFrame:
    """Rows of a file without ids are known by the file's digest and their number."""
    if file.has_attempt_ids:
        return file.rows
    number = pl.col("row").cast(pl.String)
    return file.rows.with_columns(attempt_id=pl.lit(f"{file.digest}:") + number)


def _with_concepts(
    rows: pl.DataFrame, delimiter: str | None, concepts_of: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    """One row per concept: those named, else those the question is mapped to, else null."""
    named = pl.concat_list("concept_id")
    if delimiter is not None:
        pieces = pl.col("concept_id").str.split(delimiter)
        filled = pieces.list.eval(pl.element().filter(pl.element() != ""))
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


def _conflicting_rows(parts: pl.DataFrame) -> pl.DataFrame:
    """Rows with an identity whose copies in this file disagree: nobody knows which is right."""
    disagrees = pl.any_horizontal(
        pl.col(column).ne_missing(pl.col(column).first().over(_IDENTITY))
        for column in CONTENT_COLUMNS
    )
    flagged = parts.with_columns(is_odd=disagrees)
    disputed = flagged.filter("is_odd").select(_IDENTITY).unique()
    return parts.join(disputed, on=_IDENTITY, how="semi").select("row").unique()
