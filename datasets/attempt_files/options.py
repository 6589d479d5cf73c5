"""The options with which a user says how to read a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.times import Ambiguous, TimeUnit, require_time_zone

if TYPE_CHECKING:
    from collections.abc import Mapping


class Quote(StrEnum):
    """Whether a quotation mark at the start of a field encloses the field."""

    DOUBLE = "double"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A second file whose columns are added to each row with the same key."""

    path: Path
    #: The columns that must agree; None means the only column that both files have.
    left: str | None = None
    right: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The options of one import."""

    layout: Layout = Layout.PLAIN
    #: Our column -> the name of that column in the file.
    column_map: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: Our column -> the value that it has in every row.
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: Column names of a text file that has no header line.
    columns: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()
    #: True if the file name without its endings is the user id.
    user_from_name: bool = False

    #: Character between the columns of a text file; None: chosen by the ending of the name.
    delimiter: str | None = None
    #: None means: no quoting if the delimiter is a tab, otherwise double quotes.
    quote: Quote | None = None
    concept_delimiter: str | None = None
    #: Which of several knowledge-component models of a DataShop file gives the concepts.
    kc_model: str | None = None
    #: True if ids are whole numbers, so that `100.0` is read as `100`.
    integer_ids: bool = False

    #: Partial credit from this value on counts as correct; None: only 0 and 1 are outcomes.
    partial_credit_from: float | None = None
    #: Further words for correct and incorrect, in any case.
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    #: Two columns; the attempt is correct where they are equal.
    correct_if: tuple[str, str] | None = None

    time_zone: str | None = None
    time_format: str | None = None
    time_unit: TimeUnit | None = None
    time_origin: datetime | None = None
    ambiguous: Ambiguous | None = None

    #: (column, value): rows with this value in this column are not attempts.
    skip: tuple[tuple[str, str], ...] = ()
    #: True if only the first attempt of a user at a question counts, and again after `within`.
    first_attempts: bool = False
    within: timedelta | None = None

    def __post_init__(self) -> None:
        if self.time_zone is not None:
            require_time_zone(self.time_zone)
        if self.concept_delimiter == "":
            raise UsageError("--concept-delimiter must not be empty.")
        if self.delimiter is not None and (
            len(self.delimiter.encode()) != 1 or self.delimiter in '\r\n"'
        ):
            raise UsageError(
                f"--delimiter takes one ASCII character such as ';', got {self.delimiter!r}."
            )
        if self.partial_credit_from is not None and not 0.0 < self.partial_credit_from <= 1.0:
            raise UsageError(
                "The partial-credit threshold must be in (0, 1], "
                f"got {self.partial_credit_from!r}."
            )
        if self.time_format is not None and self.time_unit is not None:
            raise UsageError(
                "--time-format reads text and --time-unit numbers: give one of them."
            )
        if self.time_origin is not None and self.time_origin.tzinfo is None:
            raise UsageError("--time-origin needs a time zone, such as 2026-01-01T00:00:00Z.")
        if self.within is not None and not self.first_attempts:
            raise UsageError("--within goes with --first-attempts.")
        if self.within is not None and self.within <= timedelta(0):
            raise UsageError("--within takes a time above zero, such as 30m.")
        both = {word.casefold() for word in self.right} & {w.casefold() for w in self.wrong}
        if both:
            raise UsageError(
                f"--right and --wrong both name {min(both)!r}, which can mean one."
            )
