"""Sentences for people about an import: why nothing was accepted, and what looks odd."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from datasets.contracts import CONFLICTS_IN_FILE, CONFLICTS_WITH_STORED, USER_WAS_ERASED
from datasets.errors import NothingAcceptedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets.accounting import RowCounts
    from datasets.attempt_files.files import AttemptFile
    from datasets.attempt_files.folders import AttemptFolder

#: Rule -> the column of ours that it checks, and advice.
_ADVICE = MappingProxyType(
    {
        "ids_are_unicode": (
            "user_id",
            "Text is read as UTF-8, and some ids are not valid UTF-8: convert the file, for "
            "instance with `iconv -f latin1 -t utf-8`.",
        ),
        "correct_is_0_or_1": (
            "correct",
            "Words that mean correct and incorrect are given by --right WORD and --wrong WORD, "
            "fractions by import.partial_credit_from in conf.",
        ),
        "attempted_at_is_a_time": (
            "attempted_at",
            "Give the format of the times by --time-format, or --time-unit for numbers.",
        ),
        "attempted_at_is_unambiguous": (
            "attempted_at",
            "The end of summer time repeats them: give --ambiguous earlier or later.",
        ),
        "attempted_at_exists": (
            "attempted_at",
            "The start of summer time skips these local times: look at --time-zone.",
        ),
        "attempted_by_now": (
            "attempted_at",
            "They are in the future: look at --time-unit, --time-origin and --time-zone.",
        ),
        "attempted_since_1970": (
            "attempted_at",
            "They are before 1970: look at --time-unit, --time-origin and --time-format.",
        ),
        "user_id_is_given": (
            "user_id",
            "Name the column by --map user_id=COLUMN, or one user by --set user_id=ID.",
        ),
        "user_id_is_known": (
            "user_id",
            "import.known_users in conf lists the users there are.",
        ),
        "concept_id_is_given": (
            "concept_id",
            "Name the column of concepts by --map concept_id=COLUMN, one concept by "
            "--set concept_id=ID, or map questions in the table question_concepts.",
        ),
        "concept_id_is_known": (
            "concept_id",
            "import.known_concepts in conf lists the concepts there are.",
        ),
        "attempt_id_is_given": (
            "attempt_id",
            "Name the column of ids by --map attempt_id=COLUMN.",
        ),
        CONFLICTS_IN_FILE: (
            "attempt_id",
            "Different attempts have the same attempt_id: name another column of ids by "
            "--map attempt_id=COLUMN.",
        ),
        CONFLICTS_WITH_STORED: (
            "attempt_id",
            "Other attempts are stored under these ids: give --source a name of this file's "
            "own, or --corrections if the outcomes were corrected.",
        ),
        USER_WAS_ERASED: ("user_id", "`bkt erase USER --lift` admits a user again."),
    }
)
_OTHERWISE = "Look at the quarantined rows."


def refuse_if_nothing_was_accepted(
    rows: RowCounts,
    reasons: dict[str, int],
    *,
    where: str,
    samples: Callable[[str], list[str]],
) -> None:
    """Raise `NothingAcceptedError` if there were rows and all of them were quarantined."""
    if not reasons or rows.quarantined + rows.skipped < rows.read:
        return
    rule = max(reasons, key=lambda name: reasons[name])
    column, advice = _ADVICE.get(rule, (rule.split("_fits")[0], _OTHERWISE))
    raise NothingAcceptedError(
        where=where,
        n_rows=rows.quarantined,
        rule=rule,
        samples=samples(column),
        advice=advice,
    )


def remarks_on(file: AttemptFile | AttemptFolder, rows: RowCounts) -> tuple[str, ...]:
    """Return sentences on what can be read but looks like a mistake."""
    sentences = []
    if not rows.read:
        sentences.append("There are no rows of attempts.")
    elif rows.skipped == rows.read:
        sentences.append(
            f"All {rows.read:,} rows were skipped, so that nothing was imported: look at "
            "--skip and --layout."
        )
    for column in ("user_id", "concept_id", "question_id"):
        texts = file.sampled_ids(column)
        if len(texts) and texts.str.contains(r"^-?\d+\.0+$").all():
            sentences.append(
                f"All values of {column} that were looked at end in .0, such as {texts[0]!r}: "
                "if they are whole numbers that a program wrote as fractions, import with "
                "--integer-ids, or the same ids elsewhere are others."
            )
        blank = texts.filter(texts.str.contains(r"^\s|\s$"))
        if len(blank):
            sentences.append(
                f"{column} holds {blank[0]!r} with blanks around it; ids are stored unchanged."
            )
        marks = texts.filter(texts.is_in(["NA", "N/A", "None", "none", "null", "-"]))
        if len(marks):
            sentences.append(
                f"{column} holds {marks[0]!r}, which was taken for an id; if it means that "
                f"there is none, leave those rows out by --skip COLUMN={marks[0]}."
            )
    retries = file.retries
    if retries is not None and retries.n_answers:
        share = len(retries.rows) / retries.n_answers
        sentences.append(
            f"{share:.1%} of the attempts repeat a question that their user had attempted; "
            "they were skipped."
        )
    return tuple(sentences)
