"""Where each row of a log goes, against plain Python, however the log is cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import FileFormatError
from datasets.imports import plan
from datasets.imports.plan import RowRules, plan_all, survey
from datasets.imports.repeats import Repeats, Repetition
from tests.datasets.attempt_rows import NOW, Row

RULES = RowRules(source="", latest=NOW, concepts_of={"q": ("a", "c")})
LONG = "x" * 256
rows_of_a_log = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from(["a", "b", "a~~b", "b~~c", "a~~a", f"a~~{LONG}", None, None]),
        st.sampled_from([0, 1, 1, 1, None]),
        st.sampled_from([None, None, "q"]),
    ),
    max_size=12,
)


@dataclass(frozen=True)
class Source:
    """Rows in memory, handed on in batches of one size."""

    frame: pl.DataFrame
    size: int
    has_attempt_ids: bool = True
    concept_delimiter: str | None = "~~"
    digest: str = "digest"

    def batches(self):
        """The rows, so many at a time."""
        return self.frame.iter_slices(self.size) if self.frame.height else iter([self.frame])


def frame_of(log: list[tuple[Any, ...]]) -> pl.DataFrame:
    names = ("attempt_id", "concept_id", "correct", "question_id")
    columns = (
        dict(zip(names, zip(*log, strict=True), strict=True))
        if log
        else dict.fromkeys(names, ())
    )
    return pl.DataFrame(
        {
            "row": range(1, len(log) + 1),
            "attempt_id": columns["attempt_id"],
            "user_id": ["ann"] * len(log),
            "question_id": columns["question_id"],
            "concept_id": columns["concept_id"],
            "correct": columns["correct"],
            "attempted_at": [Row().at] * len(log),
            "is_unicode": [True] * len(log),
        },
        schema={
            "row": pl.Int64,
            "attempt_id": pl.String,
            "user_id": pl.String,
            "question_id": pl.String,
            "concept_id": pl.String,
            "correct": pl.Int8,
            "attempted_at": pl.Datetime("us", "UTC"),
            "is_unicode": pl.Boolean,
        },
    )


def plainly(log: list[tuple[Any, ...]]) -> tuple[list[tuple[int, str]], set[int], set[int]]:
    """New (row, concept) in order, rows that repeat, rows set aside; the slow way."""
    parts: list[tuple[int, str, str, tuple[Any, ...]]] = []
    aside: set[int] = set()
    for row, (attempt, concept, correct, question) in enumerate(log, 1):
        concepts = list(dict.fromkeys(concept.split("~~"))) if concept else []
        if concept is None and question == "q":
            concepts = ["a", "c"]
        if correct is None or not concepts or LONG in concepts:
            aside.add(row)
            continue
        parts += [(row, attempt, one, (correct, question)) for one in concepts]
    contents: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
    for _, attempt, concept, content in parts:
        contents.setdefault((attempt, concept), set()).add(content)
    aside |= {row for row, attempt, one, _ in parts if len(contents[attempt, one]) > 1}
    seen: set[tuple[str, str]] = set()
    new: list[tuple[int, str]] = []
    for row, attempt, concept, _ in parts:
        if row not in aside and (attempt, concept) not in seen:
            seen.add((attempt, concept))
            new.append((row, concept))
    fresh = {row for row, _ in new}
    return new, {row for row, *_ in parts} - fresh - aside, aside


@given(log=rows_of_a_log, size=st.sampled_from([2, 5, 100]))
@settings(max_examples=60)
def test_every_row_goes_where_plain_python_puts_it(log, size):
    new, duplicates, aside = plainly(log)
    plan = plan_all(Source(frame_of(log), size), RULES)
    assert plan.new.select("row", "concept_id").rows() == new
    assert set(plan.duplicates["row"]) == duplicates
    assert set(plan.broken["row"]) == aside
    assert plan.broken["row"].is_unique().all()
    assert plan.rows.height == len(log)
    assert plan.new["idempotency_key"].is_unique().all()


@given(log=rows_of_a_log, size=st.sampled_from([3, 100]))
@settings(max_examples=15)
def test_rows_without_ids_are_never_the_same(log, size):
    plan = plan_all(Source(frame_of(log), size, has_attempt_ids=False), RULES)
    assert plan.duplicates.is_empty()
    assert plan.new["idempotency_key"].is_unique().all()
    assert plan.new["row"].n_unique() + plan.broken.height == len(log)


def test_only_ids_on_a_list_are_known_where_there_is_one():
    log = [("1", "a", 1, None), ("2", "b", 1, None), ("3", "a~~b", 1, None)]
    rules = RowRules(
        source="", latest=NOW, concepts_of={}, known_users=frozenset({"ann"}),
        known_concepts=frozenset({"a"}),
    )  # fmt: skip
    plan = plan_all(Source(frame_of(log), 10), rules)
    assert plan.new["row"].to_list() == [1]
    assert plan.broken.rows() == [
        (2, "concept_id_is_known", "concept_id_is_known"),
        (3, "concept_id_is_known", "concept_id_is_known"),
    ]
    nobody = RowRules(source="", latest=NOW, concepts_of={}, known_users=frozenset())
    assert set(plan_all(Source(frame_of(log), 10), nobody).broken["rule"]) == {
        "user_id_is_known"
    }


def test_identities_that_share_half_of_their_bits_are_not_the_same():
    """The upper 64 bits of two keys are equal, and the keys are interleaved."""
    keys = ["aa" * 8 + "bb" * 24, "aa" * 8 + "cc" * 24]
    repeats = Repeats()
    for row, key in enumerate([keys[0], keys[1], keys[0], keys[1]], 1):
        frame = frame_of([("1", "a", 1, None)]).with_columns(
            row=pl.lit(row, pl.Int64), idempotency_key=pl.lit(key)
        )
        repeats.add(frame)
    fresh, repeated = Repetition.FRESH, Repetition.REPEATED
    assert repeats.verdicts().tolist() == [fresh, fresh, repeated, repeated]
    assert Repeats().verdicts().size == 0


def test_a_log_that_grows_while_it_is_read_is_refused(monkeypatch):
    """Where its batches are not held between the two readings."""
    monkeypatch.setattr(plan, "KEPT_ROWS", 1)
    source = Source(frame_of([("1", "a", 1, None), ("2", "a", 1, None)]), 1)
    found = survey(source, RULES)
    grown = frame_of([(str(n), "a", 1, None) for n in range(3)])
    object.__setattr__(source, "frame", grown)
    with pytest.raises(FileFormatError, match="changed while it was read"):
        list(found.plans())
