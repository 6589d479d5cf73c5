"""Options of the commands that read attempt files, and their conversion to settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions, Join, Quote
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.times import Ambiguous, TimeUnit
from datasets.imports.file_import import ImportOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bkt_settings.pipeline import ImportSettings

#: An option that may be given several times.
Repeated = Annotated[tuple[str, ...], Parameter(negative="")]
_QUOTES = {'"': Quote.DOUBLE, "double": Quote.DOUBLE, "none": Quote.NONE, "": Quote.NONE}
_SPAN = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@Parameter(name="*")
@dataclass(frozen=True)
class FileFlags:
    """How a file names and writes the columns that we need."""

    layout: Layout = Layout.PLAIN
    "A ready-made mapping of columns; docs/import.md has the command for each known export."
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = ()
    "`column=name`, if a column has another name in the file; `order=name` for its order."
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = ()
    "`column=value`, for a column that the file does not have, such as user_id=u42."
    columns: str | None = None
    "The column names, separated by commas, of a text file without a header line."
    join: Repeated = ()
    "FILE, FILE:column or FILE:column=other: a second file whose columns are added by a key."
    user_from_name: Annotated[bool, Parameter(negative="")] = False
    "The user id is the file's name without its ending, as in exports with a file per user."
    delimiter: str | None = None
    "Character between the columns of a text file; .csv has commas, .tsv and .txt tabs."
    quote: str | None = None
    "double or none: whether fields may be quoted; by default all but tab-separated files."
    concept_delimiter: str | None = None
    "Text between several concepts of one attempt, such as ~~."
    kc_model: str | None = None
    "For a DataShop file: the knowledge-component model that gives the concepts."
    integer_ids: Annotated[bool, Parameter(negative="")] = False
    "Ids are whole numbers, so that 100.0 is 100."
    right: Repeated = ()
    "A word that means a correct attempt, in addition to true, yes, correct and the like."
    wrong: Repeated = ()
    "A word that means an incorrect attempt."
    correct_if: str | None = None
    "`given=key`: two columns; the attempt is correct where they are equal."
    time_zone: str | None = None
    "The zone of timestamps without a zone, such as Europe/Berlin."
    time_format: str | None = None
    "The format of times, in the notation of strftime, such as '%d.%m.%Y %H:%M:%S'."
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    "The unit of the numbers in a time column."
    time_origin: str | None = None
    "The time from which those numbers count, such as 2026-01-01T00:00:00Z; 1970 by default."
    ambiguous: Literal["earlier", "later"] | None = None
    "Which of two times a local time means that the end of summer time repeats."
    skip: Repeated = ()
    "`column=value`: rows that are not attempts, such as lectures; they are counted as skipped."
    first_attempts: Annotated[bool, Parameter(negative="")] = False
    "Only the first attempt of a user at a question counts; the others are skipped."
    within: str | None = None
    "With --first-attempts: an attempt is first again after this time without one, such as 12h."

    def file_options(self, partial_credit_from: float | None) -> FileOptions:
        """Return the options for reading the file."""
        return FileOptions(
            layout=self.layout,
            column_map=_pairs("--map", self.map_),
            constants=_pairs("--set", self.set_),
            columns=_column_names(self.columns),
            joins=tuple(_join(text) for text in self.join),
            user_from_name=self.user_from_name,
            delimiter="\t" if self.delimiter == "\\t" else self.delimiter,
            quote=_quote(self.quote),
            concept_delimiter=self.concept_delimiter,
            kc_model=self.kc_model,
            integer_ids=self.integer_ids,
            partial_credit_from=partial_credit_from,
            right=self.right,
            wrong=self.wrong,
            correct_if=_two_columns(self.correct_if),
            time_zone=self.time_zone,
            time_format=self.time_format,
            time_unit=None if self.time_unit is None else TimeUnit(self.time_unit),
            time_origin=_moment(self.time_origin),
            ambiguous=None if self.ambiguous is None else Ambiguous(self.ambiguous),
            skip=tuple(_split("--skip", "column=value", text) for text in self.skip),
            first_attempts=self.first_attempts,
            within=_span(self.within),
        )

    def import_options(self, settings: ImportSettings, **given: Any) -> ImportOptions:  # noqa: ANN401 - fields of ImportOptions
        """Combine these options, the settings, and further fields in `given`."""
        return ImportOptions(
            file=self.file_options(settings.partial_credit_from or None),
            future_skew=timedelta(minutes=settings.allowed_skew_minutes),
            known_users=_listed("known_users", settings.known_users),
            known_concepts=_listed("known_concepts", settings.known_concepts),
            **given,
        )


DEFAULT_FILE_FLAGS = FileFlags()


def _split(flag: str, form: str, text: str) -> tuple[str, str]:
    """Split a text at its equals sign; the value of `--skip` may be empty."""
    name, sign, value = text.partition("=")
    if not name or not sign or (not value and flag != "--skip"):
        raise UsageError(f"{flag} takes {form}, got {text!r}.")
    return name, value


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    return dict(_split(flag, "column=name", text) for text in texts)


def _two_columns(text: str | None) -> tuple[str, str] | None:
    return None if text is None else _split("--correct-if", "given=key", text)


def _column_names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"--columns takes names with commas between, got {text!r}.")
    return names


def _join(text: str) -> Join:
    """Parse FILE, FILE:column or FILE:column=other; a path may contain colons."""
    path, sign, key = text.rpartition(":")
    if not sign or Path(text).exists() or "/" in key or "." in key:
        return Join(path=Path(text))
    left, _, right = key.partition("=")
    return Join(path=Path(path), left=left, right=right or None)


def _quote(text: str | None) -> Quote | None:
    if text is None:
        return None
    if text not in _QUOTES:
        raise UsageError(f"--quote takes double or none, got {text!r}.")
    return _QUOTES[text]


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--time-origin takes a time such as 2026-01-01T00:00:00Z, got {text!r}."
        ) from error


def _span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = _SPAN.match(text.strip())
    if found is None:
        raise UsageError(f"--within takes a time such as 30m, 12h or 2d, got {text!r}.")
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError as error:
        raise UsageError(f"--within is too long, got {text!r}.") from error


def _listed(setting: str, path: str) -> frozenset[str] | None:
    """Read the ids in a file, one per line; None if no file is named."""
    if not path:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"import.{setting} must name a text file, one id per line, got {path!r}: {error}."
        ) from error
    return frozenset(line for line in lines if line)
