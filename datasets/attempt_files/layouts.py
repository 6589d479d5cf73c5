"""Decide which column of a file is which of ours, from the layout and the options."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.attempt_files.exports import REPEATED, Export, export_of
from datasets.attempt_files.names import find, looks_like_data, recognise, suggest
from datasets.attempt_files.values.outcomes import WORDS
from datasets.attempt_files.values.plans import ColumnPlan, Layout
from datasets.attempt_files.values.times import EPOCH, TimeReading
from datasets.contracts import FILE_COLUMNS, NEEDED_COLUMNS
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets.attempt_files.options import FileOptions

#: Exports whose rows lack columns that a second file has, and how to join that file.
_SECOND_FILES = MappingProxyType(
    {
        Layout.EDNET: (
            "The key and the tags are in a separate file, and the users are the names of "
            "the files: give --join contents/questions.csv and --user-from-name."
        ),
        Layout.EEDI: (
            "Times and concepts are in two separate files: give "
            "--join answer_metadata_task_1_2.csv and --join question_metadata_task_1_2.csv."
        ),
        Layout.RIIID: (
            "The tags are in a separate file: give --join questions.csv:content_id=question_id."
        ),
    }
)
#: Name that `--map` accepts beside our columns: the column that orders a file without times.
ORDER = "order"


def plan_columns(columns: Sequence[str], options: FileOptions) -> ColumnPlan:
    """Find each of our columns in a file with these column names.

    Raises `UsageError` if an option names a column that is not ours or not in the file, and
    `FileFormatError`, with a suggestion, if the file lacks a column that is needed.
    """
    _refuse_unknown("--map", options.column_map, (*FILE_COLUMNS, ORDER))
    _refuse_unknown("--set", options.constants, FILE_COLUMNS)
    export = export_of(options.layout, columns, options.kc_model)
    renamed = {ours: (theirs,) for ours, theirs in options.column_map.items()}
    order = renamed.pop(ORDER, None)
    sources = {**export.sources, **renamed}
    for ours in options.constants:
        sources.pop(ours, None)
    correct_if = _present_pair(options, export, columns)
    if correct_if is not None:
        sources.pop("correct", None)
    if order is not None:
        sources.pop("attempted_at", None)
    chosen = order[0] if order is not None else export.order
    by_order = chosen if "attempted_at" not in renamed else None
    row_order = export.row_order and "attempted_at" not in renamed
    needed = [
        name
        for name in NEEDED_COLUMNS
        if name not in options.constants
        and not (name == "attempted_at" and (by_order or row_order))
        and not (name == "correct" and correct_if)
    ]
    _refuse_missing(columns, sources, needed, by_order, options)
    if options.first_attempts and not (
        "question_id" in {*sources, *options.constants} or export.answer_number
    ):
        raise UsageError(
            "--first-attempts needs to know which question an attempt answers: name its column "
            "by --map question_id=COLUMN."
        )
    _refuse_doubles(columns, sources, options.layout)
    return ColumnPlan(
        sources=MappingProxyType(sources),
        constants=options.constants,
        order=by_order,
        row_order=row_order,
        concept_delimiter=options.concept_delimiter or export.concept_delimiter,
        words=MappingProxyType(
            {**WORDS, **export.words}
            | dict.fromkeys(options.right, 1.0)
            | dict.fromkeys(options.wrong, 0.0)
        ),
        only=None if options.right or options.wrong else export.only,
        partial_credit_from=options.partial_credit_from,
        correct_if=correct_if,
        skip=_skipped(columns, options, export),
        answer_number=export.answer_number if options.first_attempts else None,
        time=TimeReading(
            zone=options.time_zone,
            format=options.time_format,
            unit=options.time_unit or (None if options.time_format else export.unit),
            ambiguous=options.ambiguous,
            origin=options.time_origin or export.origin or EPOCH,
        ),
        integer_ids=options.integer_ids,
        is_escaped=export.is_escaped,
        null_ids=export.null_ids,
    )


def _present_pair(
    options: FileOptions, export: Export, columns: Sequence[str]
) -> tuple[str, str] | None:
    """Return the two columns that must agree, by their names in the file."""
    if options.correct_if is None:
        return None if "correct" in options.column_map else export.correct_if
    pair = [find(columns, name) for name in options.correct_if]
    if None in pair:
        raise UsageError(
            f"--correct-if takes two columns of the file ({', '.join(columns)}), "
            f"got {'='.join(options.correct_if)}."
        )
    return str(pair[0]), str(pair[1])


def _skipped(
    columns: Sequence[str], options: FileOptions, export: Export
) -> Mapping[str, frozenset[str]]:
    skip = {name: set(values) for name, values in export.skip.items()}
    for name, value in options.skip:
        column = find(columns, name)
        if column is None:
            raise UsageError(
                f"--skip takes column=value with a column of the file ({', '.join(columns)}), "
                f"got {name}={value}."
            )
        skip.setdefault(column, set()).add(value.strip().casefold())
    return MappingProxyType({name: frozenset(values) for name, values in skip.items()})


def _refuse_unknown(flag: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"{flag} takes column=name with column one of {', '.join(known)}, "
            f"got {', '.join(unknown)}."
        )


def _refuse_doubles(
    columns: Sequence[str], sources: Mapping[str, tuple[str, ...]], layout: Layout
) -> None:
    """Refuse repeated names of columns that are read, except for KC models of DataShop."""
    for ours, names in sources.items():
        for name in names:
            if layout is Layout.DATASHOP and ours == "concept_id":
                continue
            if any(column.startswith(name + REPEATED) for column in columns):
                raise FileFormatError(
                    f"The file names the column {name} more than once, so which of them holds "
                    f"{ours} is not known; rename one, or give the names by --columns."
                )


def _refuse_missing(
    columns: Sequence[str],
    sources: Mapping[str, tuple[str, ...]],
    needed: Sequence[str],
    order: str | None,
    options: FileOptions,
) -> None:
    absent = [name for name in needed if name not in sources]
    absent += [name for joined in sources.values() for name in joined if name not in columns]
    if order is not None and order not in columns:
        absent.append(f"{order} (the order of the attempts: --map order=COLUMN names it)")
    if not absent:
        return
    shown = [column.split(REPEATED)[0] for column in columns]
    raise FileFormatError(
        f"Expected the columns {', '.join(needed)}; the file has "
        f"{', '.join(shown) or 'none'}, so {', '.join(dict.fromkeys(absent))} is missing. "
        f"{_advice(columns, [name for name in needed if name not in sources], options)}"
    )


def _advice(columns: Sequence[str], absent: Sequence[str], options: FileOptions) -> str:
    """Return the advice that most likely helps."""
    if len(columns) == 1:
        return _advice_on_delimiter(columns[0])
    if options.layout in _SECOND_FILES:
        return _SECOND_FILES[options.layout]
    if any(column.strip().startswith('"') for column in columns):
        return "The names are in quotation marks: give --quote double."
    if looks_like_data(columns) and not options.columns:
        return (
            "Its first line looks like values: if the header line is missing, name the "
            "columns by --columns user_id,concept_id,correct,attempted_at."
        )
    layout = recognise(columns)
    if layout is not None and layout is not options.layout:
        return f"These look like columns of --layout {layout.value}."
    found = suggest(columns, absent)
    flags = " ".join(f"--map {ours}={_quoted(theirs)}" for ours, theirs in found.items())
    return (
        f"Name the file's columns by --map column=name, perhaps {flags}; --preview shows more."
        if flags
        else "Name the file's column by --map column=name; --preview shows what is there."
    )


def _advice_on_delimiter(line: str) -> str:
    for sign, name in (("\t", "'\\t'"), (";", "';'"), ("|", "'|'"), (",", "','")):
        if sign in line:
            return f"Is it the delimiter? Give it by --delimiter {name}."
    return "Is it the delimiter? .csv is read with commas, .tsv with tabs."


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name or "(" in name else name
