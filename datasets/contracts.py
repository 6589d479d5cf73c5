"""Column names, types and row rules of every frame that enters or leaves the pipeline.

A rule that yields null counts as broken here (`fill_null(False)`); dataframely alone would
accept it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dataframely as dy
import polars as pl
import pyarrow as pa

#: Times are UTC with microseconds, in frames and files alike.
TIME = pl.Datetime("us", "UTC")
#: Attempts before this time are refused.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ID_CHARACTERS = 255
MAX_ID_BYTES = 1000

#: Columns that an attempt log must have, and all columns that it may have.
NEEDED_COLUMNS = ("user_id", "concept_id", "correct", "attempted_at")
FILE_COLUMNS = ("attempt_id", "user_id", "question_id", "concept_id", "correct", "attempted_at")
#: Two rows with the same identity are the same attempt if these columns agree.
CONTENT_COLUMNS = ("user_id", "question_id", "correct", "attempted_at")

#: The canonical order of attempts, which is total because ids are unique.
ATTEMPT_ORDER = ("concept", "user", "attempted_at", "id")


def _given(column: str) -> pl.Expr:
    return pl.col(column).is_not_null()


def _storable(column: str) -> pl.Expr:
    """Check that an id fits its column on both databases; another rule handles null."""
    text = pl.col(column)
    return text.is_null() | (
        (text.str.len_chars() <= MAX_ID_CHARACTERS)
        & (text.str.len_bytes() <= MAX_ID_BYTES)
        & ~text.str.contains("\0", literal=True)
    ).fill_null(value=False)


class FileAttempt(dy.Schema):
    """One concept of one row of an attempt file, converted to our types.

    `row` counts the rows of the file from 1; a row with several concepts occurs once per
    concept. `latest` is the latest time that is not in the future; `…_is_known` are true if
    there is no list of ids.
    """

    row = dy.Int64()
    attempt_id = dy.String(nullable=True)
    user_id = dy.String(nullable=True)
    question_id = dy.String(nullable=True)
    concept_id = dy.String(nullable=True)
    correct = dy.Int8(nullable=True)
    attempted_at = dy.Datetime(time_unit="us", time_zone="UTC", nullable=True)
    is_unicode = dy.Bool()
    time_is_ambiguous = dy.Bool()
    time_exists = dy.Bool()
    user_is_known = dy.Bool()
    concept_is_known = dy.Bool()
    latest = dy.Datetime(time_unit="us", time_zone="UTC")

    @dy.rule()
    def ids_are_unicode(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """No id has bytes that are invalid UTF-8, such as lone surrogates."""
        return pl.col("is_unicode")

    @dy.rule()
    def attempt_id_is_given(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """If the file has attempt ids, every row has one."""
        return _given("attempt_id")

    @dy.rule()
    def user_id_is_given(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The row has a user."""
        return _given("user_id")

    @dy.rule()
    def concept_id_is_given(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The row names a concept, or its question is mapped to one."""
        return _given("concept_id")

    @dy.rule()
    def user_id_fits(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The id has at most 255 characters and 1,000 bytes, without NUL."""
        return _storable("user_id")

    @dy.rule()
    def concept_id_fits(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The id has at most 255 characters and 1,000 bytes, without NUL."""
        return _storable("concept_id")

    @dy.rule()
    def user_id_is_known(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The user is in the list of users, if `conf` names a list."""
        return pl.col("user_is_known")

    @dy.rule()
    def concept_id_is_known(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The concept is in the list of concepts, if `conf` names a list."""
        return pl.col("concept_is_known")

    @dy.rule()
    def question_id_fits(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The id has at most 255 characters and 1,000 bytes, without NUL; null is allowed."""
        return _storable("question_id")

    @dy.rule()
    def correct_is_0_or_1(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The outcome is 0 or 1; anything else was read as null."""
        return pl.col("correct").is_in([0, 1]).fill_null(value=False)

    @dy.rule()
    def attempted_at_is_unambiguous(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The end of summer time does not repeat the local time, or --ambiguous is given."""
        return ~pl.col("time_is_ambiguous")

    @dy.rule()
    def attempted_at_exists(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The start of summer time does not skip the local time."""
        return pl.col("time_exists")

    @dy.rule()
    def attempted_at_is_a_time(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The value is a finite time; anything else was read as null."""
        return _given("attempted_at")

    @dy.rule()
    def attempted_since_1970(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The time is not before 1970; another rule handles unreadable times."""
        return (pl.col("attempted_at") >= EARLIEST).fill_null(value=True)

    @dy.rule()
    def attempted_by_now(cls) -> pl.Expr:  # noqa: N805 - a class method to dataframely
        """The time is not in the future by more than the allowed skew."""
        return (pl.col("attempted_at") <= pl.col("latest")).fill_null(value=True)


#: Rules in order of precedence: a row that breaks several is counted under the first.
FILE_RULES = (
    "ids_are_unicode",
    "user_id_is_given",
    "user_id_fits",
    "user_id_is_known",
    "concept_id_is_given",
    "concept_id_fits",
    "concept_id_is_known",
    "question_id_fits",
    "attempt_id_is_given",
    "correct_is_0_or_1",
    "attempted_at_is_unambiguous",
    "attempted_at_exists",
    "attempted_at_is_a_time",
    "attempted_since_1970",
    "attempted_by_now",
)
#: Rules that depend on other rows: the rest of the file, or stored rows.
CONFLICTS_IN_FILE = "conflicts_in_file"
CONFLICTS_WITH_STORED = "conflicts_with_stored"
USER_WAS_ERASED = "user_was_erased"

#: Rules of the attempt log itself, in the order of the codes that `row_kernels` gives.
LOG_RULES = (
    "accepted",
    "user_id_is_given",
    "user_id_fits",
    "concept_id_is_given",
    "concept_id_fits",
    "correct_is_0_or_1",
    "attempted_at_is_a_time",
    "attempted_since_1970",
    "attempted_by_now",
    USER_WAS_ERASED,
)


class NewAttempt(dy.Schema):
    """A row for the table `attempts`, in file order; `store.attempts` inserts it."""

    row = dy.Int64()
    source = dy.String()
    idempotency_key = dy.String()
    user_id = dy.String()
    question_id = dy.String(nullable=True)
    concept_id = dy.String()
    correct = dy.Int8(min=0, max=1)
    attempted_at = dy.Datetime(time_unit="us", time_zone="UTC")
    #: The same in all rows of one attempt at several concepts.
    attempt_code = dy.Int64()


#: A shard: all attempts of some concepts, sorted by `ATTEMPT_ORDER`; codes index the tables.
SHARD_SCHEMA = pa.schema(
    [
        pa.field("concept", pa.int32(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("attempted_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("correct", pa.int8(), nullable=False),
    ]
)
#: Question and stamp of the attempts of a shard, by (concept, id); -1: none, 0: no stamp.
DETAILS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("question", pa.int32(), nullable=False),
        pa.field("recent_outcomes", pa.int64(), nullable=False),
        pa.field("n_before", pa.int32(), nullable=False),
        pa.field("n_right_before", pa.int32(), nullable=False),
    ]
)
#: Codes are ranks of the ids in the order of their UTF-8 bytes.
USERS_SCHEMA = pa.schema(
    [
        pa.field("user", pa.int32(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("user_hash", pa.uint64(), nullable=False),
    ]
)
CONCEPTS_SCHEMA = pa.schema(
    [
        pa.field("concept", pa.int32(), nullable=False),
        pa.field("concept_id", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("n_attempts", pa.int64(), nullable=False),
        pa.field("n_users", pa.int64(), nullable=False),
        pa.field("n_correct", pa.int64(), nullable=False),
        pa.field("first_attempt_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("last_attempt_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("first_row", pa.int64(), nullable=False),
        pa.field("n_rows", pa.int64(), nullable=False),
        pa.field("delta_first_row", pa.int64(), nullable=False),
        pa.field("delta_rows", pa.int64(), nullable=False),
    ]
)
#: The column that `concepts.parquet` has beside them in an extraction with details.
DETAILS_DIGEST = pa.field("details_digest", pa.string(), nullable=False)
#: Rows that broke a rule, kept so that a later extraction can judge them again: ids are bytes,
#: times are microseconds, and invalid outcomes or times are numbers outside the valid range.
BROKEN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("user_id", pa.binary()),
        pa.field("concept_id", pa.binary()),
        pa.field("correct", pa.int64()),
        pa.field("attempted_at", pa.int64()),
        pa.field("rule", pa.uint8()),
    ]
)
#: State versions in the same snapshot as the attempts, for staging.
STATES_SCHEMA = pa.schema(
    [
        pa.field("concept", pa.int32(), nullable=False),
        pa.field("user", pa.int32(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
    ]
)
