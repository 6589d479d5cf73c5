"""Guess options of a file from its names and values, and report guesses that may be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from datasets.attempt_files.exports import export_of
from datasets.attempt_files.joins import read_joins
from datasets.attempt_files.names import looks_like_data, recognise, suggest
from datasets.attempt_files.options import FileOptions, Quote
from datasets.attempt_files.raw_files import RawFile, open_raw_file
from datasets.attempt_files.values.outcomes import WORDS
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.time_formats import fitting_formats
from datasets.attempt_files.values.times import TimeUnit
from datasets.contracts import NEEDED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_DELIMITERS = MappingProxyType({"\t": "'\\t'", ";": "';'", "|": "'|'", ",": "','"})
#: Date and time; date with or without time; time of day with a zone at the end.
_MOMENT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"
_DAY = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}|$)"
_ZONE = r"(?i)\d{2}:\d{2}\S* ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_OUTCOMES = frozenset({*WORDS, "0", "1", "0.0", "1.0"})


@dataclass(slots=True)
class Guess:
    """The options of a file: the given ones, and those that were guessed."""

    options: FileOptions
    #: The guessed options, each a word of the command line.
    flags: list[str] = field(default_factory=list)
    #: Sentences on guesses that may be wrong.
    doubts: list[str] = field(default_factory=list)

    def add(self, flag: str, options: FileOptions) -> None:
        """Record one guessed option, and the options that include it."""
        self.flags.append(flag)
        self.options = options


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Sampled values of a file: distinct texts of each column, without null."""

    texts: Mapping[str, pl.Series]
    #: Columns of a Parquet file with a time type, which need no format.
    times: frozenset[str]

    def of(self, column: str | None) -> pl.Series:
        """Return the stripped texts of a column, empty if there is no such column."""
        found = self.texts.get(column or "", pl.Series([], dtype=pl.String))
        return found.str.strip_chars()


def guess_delimiter(path: Path, options: FileOptions) -> tuple[RawFile, Guess]:
    """Open the file, with the usual delimiter that occurs in its first line."""
    guess = Guess(options)
    raw = open_raw_file(path, options)
    if raw.text is None or len(raw.columns) > 1 or options.delimiter is not None:
        return raw, guess
    for delimiter, written in _DELIMITERS.items():
        if delimiter in raw.columns[0]:
            guess.add(f"--delimiter {written}", replace(guess.options, delimiter=delimiter))
            return open_raw_file(path, guess.options), guess
    return raw, guess


def guess_quotes(raw: RawFile, values: Values, guess: Guess) -> bool:
    """Guess quoting, if a name or all values of a column are in quotation marks."""
    if raw.text is None or raw.text.is_quoted or guess.options.quote is not None:
        return False
    marked = r'^".*"$'
    columns = [texts for texts in values.texts.values() if len(texts)]
    if not (
        any(name.startswith('"') for name in raw.columns)
        or any(texts.str.contains(marked).all() for texts in columns)
    ):
        return False
    guess.add("--quote double", replace(guess.options, quote=Quote.DOUBLE))
    return True


def guess_columns(raw: RawFile, values: Values, guess: Guess) -> None:
    """Guess layout, mapping and times, where the user has not given them."""
    if looks_like_data(raw.columns) and not guess.options.columns:
        _guess_header(raw, values, guess)
        return
    names = [*raw.columns]
    for join in read_joins(guess.options.joins, raw.columns):
        names += join.added
    layout = recognise(names)
    if (
        guess.options.layout is Layout.PLAIN
        and layout is not None
        and not guess.options.column_map
    ):
        guess.add(f"--layout {layout.value}", replace(guess.options, layout=layout))
    _guess_mapping(names, values, guess)
    _guess_times(names, values, guess)


def _guess_header(raw: RawFile, values: Values, guess: Guess) -> None:
    """Guess column names for a file whose first line holds values."""
    columns = [
        pl.concat([pl.Series([name], dtype=pl.String), values.of(name)]) for name in raw.columns
    ]
    if (
        raw.text is not None
        and (raw.text.delimiter, len(columns)) == ("\t", 4)
        and columns[0].is_in(["1", "2"]).all()
    ):
        guess.add(
            f"--layout {Layout.HMM_SCALABLE.value}",
            replace(guess.options, layout=Layout.HMM_SCALABLE),
        )
        return
    names = [f"c{n}" for n in range(1, len(columns) + 1)]
    for ours, fits in (("attempted_at", _are_times), ("correct", _are_outcomes)):
        place = next((n for n, texts in enumerate(columns) if fits(texts)), None)
        if place is not None:
            names[place] = ours
    guess.add("--columns " + ",".join(names), replace(guess.options, columns=tuple(names)))
    guess.doubts.append(
        "The first line looks like values: replace c1, c2, ... by the names of the columns."
    )


def _guess_mapping(names: Sequence[str], values: Values, guess: Guess) -> None:
    options = guess.options
    export = export_of(options.layout, names, options.kc_model)
    known = {*export.sources, *options.column_map, *options.constants}
    known |= {"attempted_at"} if export.order in names or export.row_order else set()
    known |= {"correct"} if options.correct_if or export.correct_if else set()
    known |= {"user_id"} if options.user_from_name else set()
    absent = [name for name in NEEDED_COLUMNS if name not in known]
    if options.layout is Layout.PLAIN:
        absent += [name for name in ("question_id",) if name not in known]
    used = {name for joined in export.sources.values() for name in joined}
    free = [name for name in names if name not in used]
    found = suggest(free, absent)
    for ours, fits in (("correct", _are_outcomes), ("attempted_at", _are_times)):
        if ours in absent and ours not in found:
            fitting = [n for n in free if n not in found.values() and fits(values.of(n))]
            found |= {ours: fitting[0]} if fitting else {}
    column_map = dict(options.column_map)
    for ours, theirs in found.items():
        column_map[ours] = theirs
        guess.add(
            f"--map {ours}={_quoted(theirs)}", replace(guess.options, column_map=column_map)
        )


def _guess_times(names: Sequence[str], values: Values, guess: Guess) -> None:
    """Guess a unit, a format or a zone for the times, if their values need one."""
    export = export_of(guess.options.layout, names, guess.options.kc_model)
    mapped = guess.options.column_map.get("attempted_at")
    column = mapped or next(iter(export.sources.get("attempted_at", ())), None)
    texts = values.of(column)
    if texts.is_empty() or guess.options.time_unit:
        return
    if column not in values.times and guess.options.time_format is None:
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() == 0:
            unit = next((u for u in TimeUnit if _is_sensible(numbers[0], u)), None)
            if export.unit is None and unit is not None:
                guess.add(f"--time-unit {unit.value}", replace(guess.options, time_unit=unit))
            return
        _guess_format(texts, guess)
    if guess.options.time_zone is None and _lack_zone(texts, guess.options.time_format):
        guess.add("--time-zone UTC", replace(guess.options, time_zone="UTC"))
        if not (guess.options.time_format or "").endswith("Z"):
            guess.doubts.append(
                "The times name no zone, and UTC is a guess: --time-zone takes the zone of the "
                "clock that wrote them, such as Europe/Berlin."
            )


def _guess_format(texts: pl.Series, guess: Guess) -> None:
    formats = [] if texts.str.contains(_MOMENT).any() else fitting_formats(texts)
    if not formats:
        return
    guess.add(f"--time-format '{formats[0]}'", replace(guess.options, time_format=formats[0]))
    if len(formats) > 1:
        guess.doubts.append(
            f"--time-format '{formats[1]}' reads every time as well, as other days: which of "
            "the numbers is the month?"
        )


def _lack_zone(texts: pl.Series, time_format: str | None) -> bool:
    """Return whether a readable time has no zone."""
    if time_format is not None:
        return not any(sign in time_format for sign in ("%z", "%:z", "%#z"))
    return bool((texts.str.contains(_DAY) & ~texts.str.contains(_ZONE)).any())


def _are_outcomes(texts: pl.Series) -> bool:
    given = texts.str.to_lowercase()
    return len(given) > 0 and bool(given.is_in(sorted(_OUTCOMES)).all())


def _are_times(texts: pl.Series) -> bool:
    if texts.is_empty():
        return False
    return bool(texts.str.contains(_MOMENT).all()) or bool(fitting_formats(texts))


def _is_sensible(value: float, unit: TimeUnit) -> bool:
    """Return whether the year is between 1995 and 2100."""
    return 788_918_400 <= value * unit.microseconds / 1e6 < 4_102_444_800


def _quoted(name: str) -> str:
    return f"'{name}'" if any(sign in name for sign in " ()&;|'") else name
