"""The plan that says where each of our columns comes from in one file and how it is read."""

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
    #: Files of `bkt export attempts`; texts that would be a formula are escaped.
    BKT_EXPORT = "bkt-export"
    #: ASSISTments exports of 2009, 2012, 2015 and 2017.
    ASSISTMENTS = "assistments"
    #: DataShop's student-step and transaction exports, also the KDD Cup 2010 files.
    DATASHOP = "datashop"
    #: EdNet KT1: one file per user, and a separate file with the questions.
    EDNET = "ednet"
    #: Eedi, NeurIPS 2020: answers, with separate files for metadata of answers and questions.
    EEDI = "eedi"
    #: Four columns without a header: outcome (1 correct, 2 incorrect), user, question, skills.
    HMM_SCALABLE = "hmm-scalable"
    #: Junyi Academy, the exports of 2015 and of 2020.
    JUNYI = "junyi"
    #: OATutor's log of submissions.
    OATUTOR = "oatutor"
    #: pyBKT's default names: order_id, user_id, skill_name, correct.
    PYBKT = "pybkt"
    #: Riiid, Kaggle 2020: `train.csv`, and a separate file with the questions.
    RIIID = "riiid"
    #: xAPI statements, one JSON object per line.
    XAPI = "xapi"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlan:
    """How the rows of a file become attempts; a column without an entry is null."""

    #: Our column -> columns of the file. Several columns of an id are joined by a colon;
    #: several columns of `concept_id` are several concepts.
    sources: Mapping[str, tuple[str, ...]]
    #: Our column -> its value in all rows.
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: A column of whole numbers that orders the attempts of a file without times.
    order: str | None = None
    #: True if the rows are in order of time and no column has the time.
    row_order: bool = False
    concept_delimiter: str | None = None
    #: Words for outcomes, in addition to numbers.
    words: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    #: The only texts that are outcomes; None accepts numbers and words.
    only: Mapping[str, float] | None = None
    partial_credit_from: float | None = None
    #: Two columns; the attempt is correct where they are equal.
    correct_if: tuple[str, str] | None = None
    #: Column -> values (in lower case, empty for null) of rows that are not attempts.
    skip: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    #: Column that counts a user's attempts at a question from 1; only the first may count.
    answer_number: str | None = None
    time: TimeReading = field(default_factory=TimeReading)
    integer_ids: bool = False
    #: True if texts that would be a formula begin with an apostrophe (`bkt export`).
    is_escaped: bool = False
    #: Values of ids that mean "no id".
    null_ids: frozenset[str] = frozenset()

    @property
    def file_columns(self) -> list[str]:
        """Every column of the file that is read, without repetition."""
        names = [name for joined in self.sources.values() for name in joined]
        names += [self.order] if self.order else []
        names += [*(self.correct_if or ()), *self.skip]
        names += [self.answer_number] if self.answer_number else []
        return list(dict.fromkeys(names))
