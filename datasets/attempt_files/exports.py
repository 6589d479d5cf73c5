"""Column mappings of well-known exports (docs/import.md has the command for each)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.attempt_files.names import canonical, find
from datasets.attempt_files.values.plans import Layout
from datasets.attempt_files.values.times import TimeUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Origin of times that an export counts from each user's first activity.
NOMINAL_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
#: Separates a repeated column name from its number.
REPEATED = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """How a layout reads a file with given columns; None means that the layout says nothing."""

    #: Our column -> columns of the file. Several columns of an id are joined by a colon.
    sources: Mapping[str, tuple[str, ...]]
    #: Column of whole numbers that orders the attempts of a file without times.
    order: str | None = None
    #: True if the rows are in order of time and no column has the time.
    row_order: bool = False
    #: Text between the concepts of one attempt.
    concept_delimiter: str | None = None
    #: Word (lower case) -> outcome from 0 to 1, in addition to numbers and common words.
    words: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    #: Text -> outcome; no other text or number is accepted. None accepts numbers and words.
    only: Mapping[str, float] | None = None
    #: Two columns; the attempt is correct where they are equal.
    correct_if: tuple[str, str] | None = None
    #: Column -> values (lower case, empty for null) of rows that are not attempts.
    skip: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    #: Column that counts the attempts of a user at one question, from 1.
    answer_number: str | None = None
    #: Unit of numeric times.
    unit: TimeUnit | None = None
    #: Time from which numeric times count; None means 1970.
    origin: datetime | None = None
    #: Texts of an id column that mean "no id".
    null_ids: frozenset[str] = frozenset()
    #: True if texts that would be a spreadsheet formula begin with an apostrophe.
    is_escaped: bool = False


#: Column names of layouts whose files have no header line.
HEADERLESS: Mapping[Layout, tuple[str, ...]] = MappingProxyType(
    {Layout.HMM_SCALABLE: ("correct", "user_id", "question_id", "concept_id")}
)
DELIMITERS: Mapping[Layout, str] = MappingProxyType({Layout.HMM_SCALABLE: "\t"})


def export_of(layout: Layout, columns: Sequence[str], kc_model: str | None) -> Export:
    """Return how a layout reads a file; raises `UsageError` if `kc_model` is no use to it."""
    if layout is Layout.DATASHOP:
        return _datashop(columns, kc_model)
    if kc_model is not None:
        raise UsageError("--kc-model goes with --layout datashop.")
    return _EXPORTS[layout](columns)


def _sources(columns: Sequence[str], **names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Map each of our columns to the first of its candidates that the file has."""
    matches = {ours: find(columns, *candidates) for ours, candidates in names.items()}
    return {ours: (theirs,) for ours, theirs in matches.items() if theirs is not None}


def _plain(columns: Sequence[str]) -> Export:
    return Export(
        sources=_sources(
            columns,
            attempt_id=("attempt_id",),
            user_id=("user_id",),
            question_id=("question_id",),
            concept_id=("concept_id",),
            correct=("correct",),
            attempted_at=("attempted_at",),
        )
    )


def _bkt_export(columns: Sequence[str]) -> Export:
    return replace(_plain(columns), is_escaped=True)


def _assistments(columns: Sequence[str]) -> Export:
    """Read the exports of 2009 (order_id), 2012 (problem_log_id), 2015 (log_id) and 2017."""
    sources = _sources(
        columns,
        attempt_id=("attempt_id", "order_id", "log_id", "problem_log_id"),
        user_id=("user_id", "studentId"),
        question_id=("question_id", "problem_id", "problemId"),
        concept_id=("concept_id", "skill_name", "skill", "skill_id", "sequence_id"),
        correct=("correct",),
        attempted_at=("attempted_at", "start_time", "startTime"),
    )
    is_2017 = "startTime" in sources.get("attempted_at", ())
    has_time = "attempted_at" in sources
    return Export(
        sources=sources,
        order=None if has_time else find(columns, "order_id", "log_id") or "order_id",
        unit=TimeUnit.SECONDS if is_2017 else None,
        null_ids=frozenset({"NA", "noskill"}),
    )


def _datashop(columns: Sequence[str], kc_model: str | None) -> Export:
    """Read the student-step export (also KDD Cup 2010) and the transaction export."""
    sources = _sources(
        columns,
        attempt_id=("Transaction Id", "Row"),
        user_id=("Anon Student Id",),
        correct=("Correct First Attempt", "First Attempt", "Outcome"),
        attempted_at=("First Transaction Time", "Step Start Time", "Time"),
    )
    models = _kc_models(columns)
    if models:
        sources["concept_id"] = models[_chosen(models, kc_model)]
    elif kc_model is not None:
        raise UsageError(f"--kc-model {kc_model!r}: the file has no column of a KC model.")
    question = tuple(name for name in ("Problem Name", "Step Name") if name in columns)
    if question:
        sources["question_id"] = question
    is_transaction = sources.get("correct") == ("Outcome",)
    return Export(
        sources=sources,
        concept_delimiter="~~",
        words=MappingProxyType({"hint": 0.0, "unknown": 0.0}),
        skip=MappingProxyType({"Outcome": frozenset({""})} if is_transaction else {}),
        answer_number=find(columns, "Attempt At Step") if is_transaction else None,
    )


def _kc_models(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each knowledge-component model; a name may be repeated."""
    models: dict[str, list[str]] = {}
    for column in columns:
        name = column.split(REPEATED)[0]
        if name.replace(" ", "").casefold().startswith("kc("):
            models.setdefault(name, []).append(column)
    return {name: tuple(own) for name, own in models.items()}


def _chosen(models: Mapping[str, tuple[str, ...]], kc_model: str | None) -> str:
    if kc_model is None:
        return next(iter(models))
    for name in models:
        inner = name[name.find("(") + 1 : name.rfind(")")]
        if canonical(kc_model) in (canonical(name), canonical(inner)):
            return name
    raise UsageError(f"--kc-model must name one of {', '.join(models)}, got {kc_model!r}.")


def _ednet(columns: Sequence[str]) -> Export:
    given, key = find(columns, "user_answer"), find(columns, "correct_answer")
    return Export(
        sources=_sources(
            columns,
            user_id=("user_id",),
            question_id=("question_id",),
            concept_id=("tags", "part"),
            attempted_at=("timestamp",),
        ),
        correct_if=(given, key) if given and key else None,
        concept_delimiter=";",
        unit=TimeUnit.MILLISECONDS,
        null_ids=frozenset({"-1"}),
    )


def _riiid(columns: Sequence[str]) -> Export:
    lecture = find(columns, "content_type_id")
    answer = find(columns, "answered_correctly")
    skip = {lecture: frozenset({"1", "true"})} if lecture else {}
    return Export(
        sources=_sources(
            columns,
            attempt_id=("row_id",),
            user_id=("user_id",),
            question_id=("content_id",),
            concept_id=("tags", "part"),
            correct=("answered_correctly",),
            attempted_at=("timestamp",),
        ),
        skip=MappingProxyType(skip | ({answer: frozenset({"-1"})} if answer else {})),
        concept_delimiter=" ",
        unit=TimeUnit.MILLISECONDS,
        origin=NOMINAL_ORIGIN,
    )


def _junyi(columns: Sequence[str]) -> Export:
    sources = _sources(
        columns,
        user_id=("user_id", "uuid"),
        question_id=("upid", "problem_type"),
        concept_id=("exercise", "ucid"),
        correct=("correct", "is_correct"),
        attempted_at=("time_done", "timestamp_TW"),
    )
    of_2015 = "time_done" in sources.get("attempted_at", ())
    return Export(sources=sources, unit=TimeUnit.MICROSECONDS if of_2015 else None)


def _eedi(columns: Sequence[str]) -> Export:
    return Export(
        sources=_sources(
            columns,
            attempt_id=("AnswerId",),
            user_id=("UserId",),
            question_id=("QuestionId",),
            concept_id=("SubjectId",),
            correct=("IsCorrect",),
            attempted_at=("DateAnswered",),
        )
    )


def _oatutor(columns: Sequence[str]) -> Export:
    problem = find(columns, "problemID", "problem_id", "Problem Name")
    step = find(columns, "stepID", "step_id", "Step Name")
    sources = _sources(
        columns,
        attempt_id=("id", "attempt_id"),
        user_id=("oats_user_id", "user_id", "student_id", "studentName", "Anon Student Id"),
        concept_id=("knowledgeComponents", "knowledge_components", "skills", "KC (Default)"),
        correct=("isCorrect", "is_correct", "correct", "Outcome"),
        attempted_at=("time_stamp", "timeStamp", "timestamp", "Time"),
    )
    question = tuple(name for name in (problem, step) if name is not None)
    if question:
        sources["question_id"] = question
    kind = find(columns, "eventType", "event_type")
    skip = {kind: frozenset({"unlockhint", "unlockscaffold", "hintscaffold"})} if kind else {}
    return Export(
        sources=sources,
        concept_delimiter="~~",
        skip=MappingProxyType(skip),
        unit=TimeUnit.MILLISECONDS,
    )


def _xapi(columns: Sequence[str]) -> Export:
    sources = _sources(
        columns,
        attempt_id=("id",),
        user_id=("actor.account.name", "actor.mbox", "actor.openid", "actor.name"),
        question_id=("object.id",),
        correct=("result.success",),
        attempted_at=("timestamp", "stored"),
    )
    for kind in ("parent", "grouping", "category"):
        activities = re.compile(rf"context\.contextActivities\.{kind}(\.\d+)?\.id")
        named = tuple(name for name in columns if activities.fullmatch(name))
        if named:
            sources["concept_id"] = named
            break
    answered = sources.get("correct", ())
    return Export(
        sources=sources,
        skip=MappingProxyType({name: frozenset({""}) for name in answered}),
    )


def _hmm_scalable(columns: Sequence[str]) -> Export:
    return Export(
        sources=dict(_plain(columns).sources),
        row_order=True,
        concept_delimiter="~",
        only=MappingProxyType({"1": 1.0, "2": 0.0}),
        null_ids=frozenset({"."}),
    )


_EXPORTS: Mapping[Layout, Callable[[Sequence[str]], Export]] = MappingProxyType(
    {
        Layout.PLAIN: _plain,
        Layout.BKT_EXPORT: _bkt_export,
        Layout.ASSISTMENTS: _assistments,
        Layout.PYBKT: _assistments,
        Layout.EDNET: _ednet,
        Layout.EEDI: _eedi,
        Layout.HMM_SCALABLE: _hmm_scalable,
        Layout.JUNYI: _junyi,
        Layout.OATUTOR: _oatutor,
        Layout.RIIID: _riiid,
        Layout.XAPI: _xapi,
    }
)
