"""How column names are compared, and which names are recognised."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from datasets.attempt_files.values.plans import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Our column -> names that files use for it, best first, in the form of `canonical`.
SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "user_id": (
            "user_id", "userid", "user", "student_id", "studentid", "student",
            "anon_student_id", "learner_id", "learner", "uid", "uuid", "pupil_id", "pupil",
            "username", "user_name", "student_name", "account", "person_id",
        ),
        "concept_id": (
            "concept_id", "conceptid", "concept", "skill_id", "skill_name", "skillname",
            "skill", "skills", "kc", "kcs", "kc_default", "knowledge_component",
            "knowledge_components", "knowledgecomponents", "topic_id", "topic", "tags",
            "tag", "subject_id", "subjectid", "subject", "standard", "category",
            "objective", "exercise", "sequence_id",
        ),
        "correct": (
            "correct", "is_correct", "iscorrect", "answered_correctly",
            "correct_first_attempt", "response_correct", "correctness", "outcome", "result",
            "success", "right", "score", "points", "grade", "label", "answer_correct",
        ),
        "attempted_at": (
            "attempted_at", "timestamp", "time_stamp", "answered_at", "submitted_at",
            "datetime", "date_time", "created_at", "time", "date", "start_time",
            "starttime", "end_time", "endtime", "time_done", "dateanswered", "event_time",
            "when", "at", "ts",
        ),
        "question_id": (
            "question_id", "questionid", "question", "item_id", "itemid", "item",
            "problem_id", "problemid", "problem", "problem_name", "task_id", "content_id",
            "exercise_id", "step_name",
        ),
        "attempt_id": (
            "attempt_id", "attemptid", "interaction_id", "transaction_id", "response_id",
            "answer_id", "answerid", "log_id", "row_id", "event_id", "order_id",
            "problem_log_id", "id",
        ),
    }
)  # fmt: skip

#: Columns that identify an export: one name of every group must be present.
_SIGNATURES: Mapping[Layout, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        Layout.DATASHOP: (
            ("anon_student_id",),
            ("correct_first_attempt", "first_attempt", "outcome"),
            ("problem_name", "step_name"),
        ),
        Layout.RIIID: (("content_id",), ("answered_correctly",), ("content_type_id",)),
        Layout.EEDI: (("questionid",), ("userid",), ("iscorrect",), ("answerid",)),
        Layout.EDNET: (("solving_id",), ("question_id",), ("user_answer",)),
        Layout.JUNYI: (
            ("user_id", "uuid"),
            ("exercise", "ucid"),
            ("time_done", "timestamp_tw"),
        ),
        Layout.XAPI: (("actor.mbox", "actor.account.name", "actor.name"), ("verb.id",)),
        Layout.OATUTOR: (
            ("problemid", "problem_id"),
            ("stepid", "step_id"),
            ("iscorrect", "is_correct", "correct"),
        ),
        Layout.ASSISTMENTS: (
            ("user_id", "studentid"),
            ("order_id", "log_id", "problem_log_id", "starttime"),
            ("skill_name", "skill_id", "skill", "sequence_id"),
            ("correct",),
        ),
    }
)  # fmt: skip


def canonical(name: str) -> str:
    """Return the form in which names are compared: lower case, with underscores."""
    return re.sub(r"[\s_-]+", "_", name.strip().strip("\"'").casefold()).strip("_")


def find(columns: Iterable[str], *names: str) -> str | None:
    """Return the first of these names that is a column, exactly or else in `canonical` form."""
    columns = list(columns)
    for name in names:
        if name in columns:
            return name
    for name in names:
        alike = [column for column in columns if canonical(column) == canonical(name)]
        if len(alike) == 1:
            return alike[0]
    return None


def recognise(columns: Sequence[str]) -> Layout | None:
    """Return the export that has these columns; None if it is not a known export."""
    present = {canonical(column) for column in columns}
    for layout, groups in _SIGNATURES.items():
        if all(present.intersection(group) for group in groups):
            return layout
    return None


def suggest(columns: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    """Suggest, for each wanted column of ours, a column of the file by its name."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for ours in wanted:
        free = [column for column in columns if column not in taken]
        name = find(free, *SYNONYMS[ours])
        if name is not None:
            found[ours] = name
            taken.add(name)
    return found


def looks_like_data(columns: Sequence[str]) -> bool:
    """Return whether a first line holds values instead of names."""
    numbers = sum(bool(re.fullmatch(r"[+-]?[\d.,:/TZ +-]+", name)) for name in columns)
    return numbers > 0 and not any(
        canonical(name) in group for name in columns for group in SYNONYMS.values()
    )
