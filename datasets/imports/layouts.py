"""Layouts of attempt files that people have, and how their columns become ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.contracts import FILE_COLUMNS, NEEDED_COLUMNS
from datasets.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Layout(StrEnum):
    """A ready-made mapping, chosen by name."""

    #: Our own column names.
    PLAIN = "plain"
    #: ASSISTments skill-builder CSV: no times; the order of the rows stands in for them.
    ASSISTMENTS = "assistments"
    #: DataShop student-step export, also the KDD Cup 2010 files.
    DATASHOP = "datashop"
    #: pyBKT's default names: order_id, user_id, skill_name, correct.
    PYBKT = "pybkt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlan:
    """Where each of our columns comes from; a column that no entry names is null."""

    #: Our column -> the file's. Several file columns are joined by a colon.
    sources: Mapping[str, tuple[str, ...]]
    #: A column of whole numbers that orders the attempts of a file without times.
    order: str | None = None
    concept_delimiter: str | None = None
    #: Words that stand for an outcome.
    words: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def file_columns(self) -> list[str]:
        """Every column of the file that is read, each once."""
        names = [name for joined in self.sources.values() for name in joined]
        return list(dict.fromkeys(names + ([self.order] if self.order else [])))


def plan_columns(
    columns: Sequence[str],
    *,
    layout: Layout,
    renamed: Mapping[str, str],
    concept_delimiter: str | None,
) -> ColumnPlan:
    """Say where each of our columns is in a file with these column names.

    Raises `UsageError`: if `renamed` maps a column that is not ours; `FileFormatError`: if
    the file misses a column that is needed.
    """
    unknown = sorted(set(renamed) - set(FILE_COLUMNS))
    if unknown:
        raise UsageError(
            f"--map takes column=name with column one of {', '.join(FILE_COLUMNS)}, "
            f"got {', '.join(unknown)}."
        )
    own: dict[str, tuple[str, ...]] = {
        name: (name,) for name in FILE_COLUMNS if name in columns
    }
    plan = _LAYOUTS[layout](columns, own)
    sources = {**plan.sources, **{ours: (theirs,) for ours, theirs in renamed.items()}}
    has_time = plan.order is not None and "attempted_at" not in renamed
    needed = [name for name in NEEDED_COLUMNS if not (name == "attempted_at" and has_time)]
    _refuse_missing(columns, sources, needed)
    return ColumnPlan(
        sources=sources,
        order=plan.order if has_time else None,
        concept_delimiter=concept_delimiter or plan.concept_delimiter,
        words=plan.words,
    )


def _refuse_missing(
    columns: Sequence[str], sources: Mapping[str, tuple[str, ...]], needed: Sequence[str]
) -> None:
    absent = [name for name in needed if name not in sources]
    absent += [name for joined in sources.values() for name in joined if name not in columns]
    if not absent:
        return
    hint = (
        "Is it the delimiter? .csv is read with commas, .tsv with tabs."
        if len(columns) == 1
        else "Name the file's column by --map column=name."
    )
    raise FileFormatError(
        f"Expected the columns {', '.join(needed)}; the file has "
        f"{', '.join(columns) or 'none'}, so {', '.join(dict.fromkeys(absent))} is missing. "
        f"{hint}"
    )


def _plain(columns: Sequence[str], sources: dict[str, tuple[str, ...]]) -> ColumnPlan:
    del columns
    return ColumnPlan(sources=sources)


def _assistments(columns: Sequence[str], sources: dict[str, tuple[str, ...]]) -> ColumnPlan:
    found = _first_of(
        columns,
        {
            "attempt_id": ("order_id",),
            "question_id": ("problem_id",),
            "concept_id": ("skill_name", "skill_id"),
        },
    )
    order = None if "attempted_at" in columns else "order_id"
    return ColumnPlan(sources={**sources, **found}, order=order)


def _pybkt(columns: Sequence[str], sources: dict[str, tuple[str, ...]]) -> ColumnPlan:
    return _assistments(columns, sources)


def _datashop(columns: Sequence[str], sources: dict[str, tuple[str, ...]]) -> ColumnPlan:
    models = [name for name in columns if name.replace(" ", "").startswith("KC(")]
    found = _first_of(
        columns,
        {
            "attempt_id": ("Row",),
            "user_id": ("Anon Student Id",),
            "correct": ("Correct First Attempt", "First Attempt"),
            "attempted_at": ("First Transaction Time", "Step Start Time"),
        },
    )
    if len(models) == 1:  # of several, --map concept_id=NAME chooses
        found["concept_id"] = (models[0],)
    question = tuple(name for name in ("Problem Name", "Step Name") if name in columns)
    if question:
        found["question_id"] = question
    return ColumnPlan(
        sources={**sources, **found},
        concept_delimiter="~~",
        words=MappingProxyType({"correct": 1, "incorrect": 0, "hint": 0}),
    )


def _first_of(
    columns: Sequence[str], candidates: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """For each of our columns the first candidate that the file has."""
    return {
        ours: (theirs,)
        for ours, names in candidates.items()
        if (theirs := next((name for name in names if name in columns), None))
    }


_LAYOUTS = MappingProxyType(
    {
        Layout.PLAIN: _plain,
        Layout.ASSISTMENTS: _assistments,
        Layout.DATASHOP: _datashop,
        Layout.PYBKT: _pybkt,
    }
)
