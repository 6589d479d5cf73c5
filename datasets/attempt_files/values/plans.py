"""Where each of our columns comes from in one file, and how its values are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from datasets.attempt_files.values.times import TimeReading

if TYPE_CHECKING:
    from collections.abc import Mapping


class Layout(StrEnum):
    """A ready-made mapping of columns, chosen by name (docs/import.md)."""

    #: Our own column names.
    PLAIN = "plain"
    #: What `bkt export attempts` writes: texts that a spreadsheet would compute are escaped.
    BKT_EXPORT = "bkt-export"
    #: ASSISTments exports of 2009, 2012, 2015 and 2017.
    ASSISTMENTS = "assistments"
    #: DataShop's student-step and transaction exports, also the KDD Cup 2010 files.
    DATASHOP = "datashop"
    #: EdNet KT1: a file per user, questions in a file of their own.
    EDNET = "ednet"
    #: Eedi, NeurIPS 2020: answers, with metadata of answers and questions beside them.
    EEDI = "eedi"
    #: Four columns without a header: outcome (1 right, 2 wrong), user, question, skills.
    HMM_SCALABLE = "hmm-scalable"
    #: Junyi Academy, the exports of 2015 and of 2020.
    JUNYI = "junyi"
    #: OATutor's log of submissions.
    OATUTOR = "oatutor"
    #: pyBKT's default names: order_id, user_id, skill_name, correct.
    PYBKT = "pybkt"
    #: Riiid, Kaggle 2020: `train.csv`, questions in a file of their own.
    RIIID = "riiid"
    #: xAPI statements, one JSON object a line.
    XAPI = "xapi"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlan:
    """How the rows of a file become attempts; a column that no entry names is null."""

    #: Our column -> the file's. Several columns of an id are joined by a colon, several of
    #: `concept_id` are several concepts.
    sources: Mapping[str, tuple[str, ...]]
    #: Our column -> its value in every row.
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: A column of whole numbers that orders the attempts of a file without times.
    order: str | None = None
    #: The rows stand in order of time, which no column gives.
    row_order: bool = False
    concept_delimiter: str | None = None
    #: Words that stand for an outcome, beside numbers.
    words: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    #: The only texts that stand for an outcome; None: numbers and words do.
    only: Mapping[str, float] | None = None
    partial_credit_from: float | None = None
    #: The answer is right where these two columns are equal.
    correct_if: tuple[str, str] | None = None
    #: Column -> values (in lower case, empty for null) whose rows are no attempts.
    skip: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    #: Counts a user's answers to one question from 1; others than the first may be skipped.
    answer_number: str | None = None
    time: TimeReading = field(default_factory=TimeReading)
    integer_ids: bool = False
    #: Texts begin with an apostrophe where they would be a formula (`bkt export`).
    is_escaped: bool = False
    #: Values of ids that mean there is none.
    null_ids: frozenset[str] = frozenset()

    @property
    def file_columns(self) -> list[str]:
        """Every column of the file that is read, each once."""
        names = [name for joined in self.sources.values() for name in joined]
        names += [self.order] if self.order else []
        names += [*(self.correct_if or ()), *self.skip]
        names += [self.answer_number] if self.answer_number else []
        return list(dict.fromkeys(names))
