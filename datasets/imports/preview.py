"""What an import of a file would do, found out without a database: columns, mapping, counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from bkt_core.errors import BktError
from datasets.accounting import RowCounts
from datasets.attempt_files.exports import REPEATED, export_of
from datasets.attempt_files.files import AttemptFile, open_attempt_file
from datasets.attempt_files.joins import read_joins
from datasets.attempt_files.names import looks_like_data, recognise, suggest
from datasets.attempt_files.options import FileOptions, Quote
from datasets.attempt_files.raw_files import RawFile, is_readable, open_raw_file
from datasets.attempt_files.values.columns import texts_of
from datasets.attempt_files.values.outcomes import WORDS
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.time_formats import fitting_formats
from datasets.attempt_files.values.times import TimeUnit
from datasets.contracts import FILE_COLUMNS, NEEDED_COLUMNS
from datasets.errors import FileFormatError
from datasets.imports.plan import RowRules, plan_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

#: Rows that are judged, and values of a column that are shown.
ROWS, VALUES = 10_000, 3
_DELIMITERS = {"\t": "'\\t'", ";": "';'", "|": "'|'", ",": "','"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What was found of one file; nothing was written."""

    path: Path
    kind: str
    #: Each column of the file and a few of its values.
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    layout: Layout
    #: Our column -> where it would come from.
    mapping: dict[str, str]
    #: Flags beside those given that reading takes; each a word of the command.
    flags: tuple[str, ...]
    #: Of the first rows; None where they cannot be read yet.
    rows: RowCounts | None
    #: Whether the file ends with those rows.
    is_whole: bool
    reasons: dict[str, int]
    problem: str | None


@dataclass(frozen=True)
class _FirstRows:
    """The first rows of a file, as the import of a whole one reads them."""

    file: AttemptFile

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def has_attempt_ids(self) -> bool:
        return self.file.has_attempt_ids

    @property
    def concept_delimiter(self) -> str | None:
        return self.file.concept_delimiter

    def batches(self) -> Iterator[pl.DataFrame]:
        left = ROWS
        for frame in self.file.batches():
            yield frame.head(left)
            left -= min(frame.height, left)
            if not left:
                return


def preview_file(path: Path, options: FileOptions, *, source: str, latest: datetime) -> Preview:
    """Look at a file, or the first of a folder, guess what was not said, and judge its rows.

    Raises `FileFormatError`: if it is no file that can be looked at.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file() and is_readable(one))
        if not files:
            raise FileFormatError(f"Expected attempt files in the folder {path}, found none.")
        path = files[0]
    flags: list[str] = []
    raw, options = _with_delimiter(path, options, flags)
    samples = _samples(raw)
    options = _with_names(raw, options, samples, flags)
    rows, reasons, problem, mapping = None, dict[str, int](), None, dict[str, str]()
    try:
        file = open_attempt_file(path, options)
        mapping = _mapping(file)
        rows, reasons = _judged(file, RowRules(source=source, latest=latest, concepts_of={}))
    except BktError as error:
        problem = str(error)
    return Preview(
        path=path,
        kind=raw.kind,
        columns=tuple((_shown(name), tuple(samples[name])) for name in raw.columns),
        layout=options.layout,
        mapping=mapping,
        flags=tuple(flags),
        rows=rows,
        is_whole=raw.found.n_rows <= ROWS,
        reasons=reasons,
        problem=problem,
    )


def _judged(file: AttemptFile, rules: RowRules) -> tuple[RowCounts, dict[str, int]]:
    plan = plan_all(_FirstRows(file), rules)
    return RowCounts(
        read=plan.rows.height,
        accepted=plan.new["row"].n_unique(),
        duplicates=plan.duplicates.height,
        quarantined=plan.broken.height,
        skipped=plan.skipped,
    ), plan.reasons()


def _with_delimiter(
    path: Path, options: FileOptions, flags: list[str]
) -> tuple[RawFile, FileOptions]:
    """The file under the delimiter that cuts its first line into most columns."""
    raw = open_raw_file(path, options)
    if raw.text is None or len(raw.columns) > 1 or options.delimiter is not None:
        return raw, options
    for delimiter, written in _DELIMITERS.items():
        if delimiter in raw.columns[0]:
            options = replace(options, delimiter=delimiter)
            flags.append(f"--delimiter {written}")
            return open_raw_file(path, options), options
    return raw, options


def _samples(raw: RawFile) -> dict[str, list[str]]:
    table = next(raw.tables(raw.columns)).slice(0, ROWS)
    found = {}
    for name in raw.columns:
        texts = texts_of(table[name]).drop_nulls().unique(maintain_order=True)
        found[name] = texts.head(VALUES).to_list()
    return found


def _with_names(
    raw: RawFile,
    options: FileOptions,
    samples: dict[str, list[str]],
    flags: list[str],
) -> FileOptions:
    """The options with what names and values suggest, where nothing was said of it."""
    if raw.text is not None and any(name.startswith('"') for name in raw.columns):
        flags.append("--quote double")
        options = replace(options, quote=Quote.DOUBLE)
    if looks_like_data(raw.columns) and not options.columns:
        flags.append("--columns " + ",".join(f"c{n}" for n in range(1, len(raw.columns) + 1)))
        return options
    names = [*raw.columns]
    for join in read_joins(options.joins, raw.columns):
        names += join.added
    layout = recognise(names)
    if options.layout is Layout.PLAIN and layout is not None and not options.column_map:
        flags.append(f"--layout {layout.value}")
        options = replace(options, layout=layout)
    options = _with_mapping(names, options, samples, flags)
    return _with_times(names, options, samples, flags)


def _with_mapping(
    names: Sequence[str],
    options: FileOptions,
    samples: dict[str, list[str]],
    flags: list[str],
) -> FileOptions:
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
            fitting = [n for n in free if n not in found.values() and fits(samples.get(n, []))]
            found |= {ours: fitting[0]} if fitting else {}
    for ours, theirs in found.items():
        flags.append(f"--map {ours}={_quoted(theirs)}")
    return replace(options, column_map={**options.column_map, **found})


def _with_times(
    names: Sequence[str],
    options: FileOptions,
    samples: dict[str, list[str]],
    flags: list[str],
) -> FileOptions:
    """A unit, a format or a zone for the times, where their values ask for one."""
    export = export_of(options.layout, names, options.kc_model)
    mapped = options.column_map.get("attempted_at")
    column = mapped or next(iter(export.sources.get("attempted_at", ())), None)
    texts = pl.Series(samples.get(column or "", []), dtype=pl.String).str.strip_chars()
    if texts.is_empty() or options.time_unit or options.time_format:
        return options
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == 0:
        unit = next((u for u in TimeUnit if _is_sensible(numbers[0], u)), None)
        if export.unit is None and unit is not None:
            flags.append(f"--time-unit {unit.value}")
            options = replace(options, time_unit=unit)
        return options
    if not texts.str.contains(r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}").all():
        formats = fitting_formats(texts)
        if formats:
            flags.append(f"--time-format '{formats[0]}'")
            options = replace(options, time_format=formats[0])
    has_zone = texts.str.contains(r"(?i)(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)$").all()
    if options.time_zone is None and not has_zone:
        flags.append("--time-zone UTC")
        options = replace(options, time_zone="UTC")
    return options


def _are_outcomes(values: list[str]) -> bool:
    return bool(values) and all(
        value.strip().casefold() in WORDS or value.strip() in ("0", "1", "0.0", "1.0")
        for value in values
    )


def _are_times(values: list[str]) -> bool:
    texts = pl.Series(values, dtype=pl.String)
    is_iso = texts.str.contains(r"^\s*\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")
    return bool(values) and (bool(is_iso.all()) or bool(fitting_formats(texts)))


def _is_sensible(value: float, unit: TimeUnit) -> bool:
    """Whether it lies between 1995 and 2100."""
    return 788_918_400 <= value * unit.microseconds / 1e6 < 4_102_444_800


def _mapping(file: AttemptFile) -> dict[str, str]:
    found = {}
    for ours in FILE_COLUMNS:
        if ours in file.plan.constants:
            found[ours] = f"{file.plan.constants[ours]!r} in every row"
        elif ours == "correct" and file.plan.correct_if:
            found[ours] = " = ".join(file.plan.correct_if)
        elif ours == "attempted_at" and file.plan.row_order:
            found[ours] = "the order of the rows"
        elif ours == "attempted_at" and file.plan.order:
            found[ours] = f"the order in {file.plan.order}"
        elif ours in file.plan.sources:
            found[ours] = " and ".join(map(_shown, islice(file.plan.sources[ours], 3)))
    return found


def _shown(name: str) -> str:
    return name.split(REPEATED)[0]


def _quoted(name: str) -> str:
    return f"'{name}'" if any(sign in name for sign in " ()&;|'") else name
