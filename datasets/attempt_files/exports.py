"""The columns of well-known exports (docs/import.md has the command for each)."""

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

#: Exports whose times count from a moment of each user's get this one as their origin.
NOMINAL_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
#: Stands between the parts of a column name that was repeated and its number.
REPEATED = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What a layout says of a file with certain columns."""

    sources: Mapping[str, tuple[str, ...]]
    order: str | None = None
    row_order: bool = False
    concept_delimiter: str | None = None
    words: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    only: Mapping[str, float] | None = None
    correct_if: tuple[str, str] | None = None
    skip: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    answer_number: str | None = None
    unit: TimeUnit | None = None
    origin: datetime | None = None
    null_ids: frozenset[str] = frozenset()
    is_escaped: bool = False


#: Names of the columns of layouts whose files have no header line.
HEADERLESS: Mapping[Layout, tuple[str, ...]] = MappingProxyType(
    {Layout.HMM_SCALABLE: ("correct", "user_id", "question_id", "concept_id")}
)
DELIMITERS: Mapping[Layout, str] = MappingProxyType({Layout.HMM_SCALABLE: "\t"})


def export_of(layout: Layout, columns: Sequence[str], kc_model: str | None) -> Export:
    """Where a layout's columns are among those of a file."""
    if layout is Layout.DATASHOP:
        return _datashop(columns, kc_model)
    if kc_model is not None:
        raise UsageError("--kc-model goes with --layout datashop.")
    return _EXPORTS[layout](columns)


def _sources(columns: Sequence[str], **names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """For each of our columns the first candidate that the file has."""
    found = {ours: find(columns, *candidates) for ours, candidates in names.items()}
    return {ours: (theirs,) for ours, theirs in found.items() if theirs is not None}


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
    """2009 (order_id), 2012 (problem_log_id, start_time), 2015 (log_id), 2017 (startTime)."""
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
    """The student-step export (and KDD Cup 2010), and the transaction export."""
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
    """The columns of each knowledge-component model; one may repeat its name."""
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
