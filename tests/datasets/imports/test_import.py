"""Every row of a file is accepted, counted as a duplicate, or quarantined under its rule."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from sqlalchemy import text

from datasets.attempt_files import raw_files as attempt_files
from datasets.attempt_files.options import FileOptions
from datasets.errors import QuarantineLimitError
from datasets.store.attempts.erasure import write_tombstone
from tests.datasets.attempt_rows import NOW
from tests.datasets.imports.importing import (
    EARLY,
    LONG,
    SCHEMA,
    SKEW,
    counts,
    row,
    stored,
    write,
)

BROKEN = [
    ("user_id_is_given", {"user_id": None}),
    ("concept_id_is_given", {"concept_id": None}),
    ("attempt_id_is_given", {"attempt_id": None}),
    ("correct_is_0_or_1", {"correct": None}),
    ("correct_is_0_or_1", {"correct": float("nan")}),
    ("correct_is_0_or_1", {"correct": 0.5}),
    ("correct_is_0_or_1", {"correct": 2}),
    ("correct_is_0_or_1", {"correct": float("inf")}),
    ("attempted_at_is_a_time", {"attempted_at": None}),
    ("attempted_since_1970", {"attempted_at": datetime.fromisoformat("1969-12-31T23:59Z")}),
    ("attempted_by_now", {"attempted_at": NOW + SKEW + timedelta(microseconds=1)}),
    ("user_id_fits", {"user_id": LONG}),
    ("user_id_fits", {"user_id": "\U0001f600" * 251}),
    ("user_id_fits", {"user_id": "nul\0"}),
    ("concept_id_fits", {"concept_id": LONG}),
    ("question_id_fits", {"question_id": "\0"}),
]


@pytest.mark.parametrize(("rule", "change"), BROKEN, ids=str)
def test_a_broken_row_is_quarantined_under_its_rule(run, engine, rule, change):
    report = run([row(attempt_id="0"), row(**change)])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {rule: 1}
    kept = pl.read_parquet(report.quarantine / "rows.parquet")
    assert kept.select("row", "rule").rows() == [(2, rule)]
    assert stored(engine) == [("ann", "fractions", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "x" * 255},
        {"user_id": "\U0001f600" * 250},
        {"user_id": "'; DROP TABLE attempts; --"},
        {"concept_id": 'a "quoted" \\ one\n\t'},
        {"question_id": None},
        {"attempted_at": NOW + SKEW},
        {"attempted_at": datetime.fromisoformat("1970-01-01T00:00Z")},
    ],
    ids=str,
)
def test_what_is_odd_but_allowed_is_stored_as_it_is(run, engine, change):
    good = row(**change)
    assert counts(run([good])) == (1, 1, 0, 0)
    assert stored(engine) == [(good["user_id"], good["concept_id"], 1)]


def test_of_exact_duplicates_the_first_is_kept(run, engine):
    report = run([row()] * 97 + [row(attempt_id="2")])
    assert counts(report) == (98, 2, 96, 0)
    assert len(stored(engine)) == 2


def test_of_one_identity_with_different_content_none_is_kept(run, engine):
    rows = [row(), row(), row(correct=0), row(attempt_id="2")]
    report = run(rows)
    assert counts(report) == (4, 1, 0, 3)
    assert report.reasons == {"conflicts_in_file": 3}
    assert len(stored(engine)) == 1


def test_a_second_import_of_a_file_changes_nothing(run, engine):
    rows = [row(), row(attempt_id="2", correct=0)]
    run(rows)
    before = stored(engine)
    assert counts(run(rows)) == (2, 0, 2, 0)
    assert stored(engine) == before


def test_what_is_stored_stays_and_a_contradiction_is_quarantined(run, engine):
    run([row()])
    report = run([row(correct=0), row(attempt_id="2")])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"conflicts_with_stored": 1}
    assert stored(engine)[0] == ("ann", "fractions", 1)


def test_corrections_replace_the_outcome_alone(run, engine):
    run([row(), row(attempt_id="2")])
    report = run([row(correct=0), row(attempt_id="2", user_id="bob")], corrections=True)
    assert counts(report) == (2, 1, 0, 1)
    assert report.corrected == 1
    assert stored(engine) == [("ann", "fractions", 0), ("ann", "fractions", 1)]
    with engine.connect() as conn:
        stale = conn.execute(text("SELECT is_stale FROM bkt_user_skill_state")).scalars().all()
        logged = conn.execute(text("SELECT count(*) FROM attempt_correction")).scalar_one()
    assert stale == [True]
    assert logged == 1


def test_sources_have_identities_of_their_own(run, engine):
    run([row()])
    assert counts(run([row(correct=0)], source="other")) == (1, 1, 0, 0)
    assert len(stored(engine)) == 2


def test_identities_do_not_run_into_each_other(run):
    rows = [row(attempt_id="a", concept_id="bc"), row(attempt_id="ab", concept_id="c")]
    assert counts(run(rows)) == (2, 2, 0, 0)


def test_a_file_without_ids_is_known_by_its_bytes_and_row_numbers(run, tmp_path):
    schema = SCHEMA.remove(0)
    path = write(tmp_path / "plain.parquet", [row(), row(), row(correct=0)], schema)
    assert counts(run(path)) == (3, 3, 0, 0)
    assert counts(run(path)) == (3, 0, 3, 0)


def test_ids_follow_the_order_of_the_file(run, engine):
    rows = [row(attempt_id=str(i), user_id=f"u{(i * 7) % 10}") for i in range(10)]
    run(rows)
    assert [user for user, _, _ in stored(engine)] == [r["user_id"] for r in rows]


def test_late_rows_are_accepted_and_their_states_left_stale(run, engine):
    run([row(attempted_at=EARLY + timedelta(days=1))])
    assert counts(run([row(attempt_id="late")])) == (1, 1, 0, 0)
    with engine.connect() as conn:
        states = conn.execute(text("SELECT is_stale FROM bkt_user_skill_state")).scalars().all()
    assert states == [True]


def test_a_row_with_several_concepts_is_one_row_and_several_attempts(run, engine):
    file = FileOptions(concept_delimiter="~~")
    report = run([row(concept_id="a~~b~~a"), row(attempt_id="2", concept_id="a")], file)
    assert counts(report) == (2, 2, 0, 0)
    assert (report.attempts, report.multi_concept) == (3, 1)
    assert [concept for _, concept, _ in stored(engine)] == ["a", "b", "a"]


def test_a_row_with_several_concepts_goes_as_a_whole(run, engine):
    file = FileOptions(concept_delimiter="~~")
    run([row(concept_id="a")])
    report = run(
        [
            row(attempt_id="2", concept_id=f"a~~{LONG}"),
            row(concept_id="a~~b", correct=0),
            row(attempt_id="3", concept_id="c~~d"),
        ],
        file,
    )
    assert counts(report) == (3, 1, 0, 2)
    assert report.reasons == {"concept_id_fits": 1, "conflicts_with_stored": 1}
    assert [concept for _, concept, _ in stored(engine)] == ["a", "c", "d"]


def test_a_null_concept_is_looked_up_by_its_question(run, engine):
    with engine.begin() as conn:
        conn.execute(
            text("INSERT INTO question_concepts VALUES ('q', 'x'), ('q', 'y'), ('r', 'z')")
        )
    report = run(
        [
            row(concept_id=None, question_id="q"),
            row(attempt_id="2", concept_id="named", question_id="r"),
            row(attempt_id="3", concept_id=None, question_id="unmapped"),
        ]
    )
    assert counts(report) == (3, 2, 0, 1)
    assert [concept for _, concept, _ in stored(engine)] == ["x", "y", "named"]


def test_an_erased_user_is_refused(run, engine):
    with engine.begin() as conn:
        write_tombstone(conn, "gone", at=NOW, actor="test")
    report = run([row(user_id="gone"), row(attempt_id="2")])
    assert counts(report) == (2, 1, 0, 1)
    assert report.reasons == {"user_was_erased": 1}


def test_above_the_allowed_share_nothing_is_kept(run, engine):
    with pytest.raises(QuarantineLimitError, match="1 of 2 rows"):
        run([row(), row(attempt_id="2", user_id=None)], max_quarantine=0.4)
    assert stored(engine) == []
    assert counts(run([row(), row(attempt_id="2", user_id=None)], max_quarantine=0.5))[1] == 1


def test_partial_credit_counts_only_under_a_declared_threshold(run, engine):
    rows = [
        row(correct=0.5),
        row(attempt_id="2", correct=0.4),
        row(attempt_id="3", correct=1.2),
    ]
    report = run(rows, FileOptions(partial_credit_from=0.5))
    assert counts(report) == (3, 2, 0, 1)
    assert [correct for _, _, correct in stored(engine)] == [1, 0]


def test_examples_in_the_summary_do_not_show_ids(run):
    report = run([row(user_id="secret-name", correct=None), row()])
    summary = (report.quarantine / "summary.json").read_text()
    assert "secret-name" not in summary
    assert len(report.rules[0].examples) == 1


def test_batches_give_what_the_whole_file_gives(run, engine, monkeypatch):
    """Copies that agree, that do not, and stored ones, on both sides of every cut."""
    monkeypatch.setattr(attempt_files, "BATCH_ROWS", 3)
    file = FileOptions(concept_delimiter="~~")
    run([row(attempt_id="stored", user_id="zoe")])
    rows = [row(attempt_id=str(n), user_id=f"u{n}") for n in range(7)]
    rows += [row(attempt_id="0", user_id="u0"), row(attempt_id="1", correct=0)]
    rows += [row(attempt_id="8", user_id=None), row(attempt_id="stored", correct=0)]
    rows += [row(attempt_id="9", concept_id="a~~b"), row(attempt_id="9", concept_id="b")]
    report = run(rows, file)
    assert counts(report) == (13, 7, 2, 4)
    assert report.reasons == {
        "conflicts_in_file": 2, "user_id_is_given": 1, "conflicts_with_stored": 1,
    }  # fmt: skip
    kept = pl.read_parquet(report.quarantine / "rows.parquet")
    assert sorted(kept["row"]) == [2, 9, 10, 11]
    users = [user for user, _, _ in stored(engine)]
    assert users == ["zoe", "u0", "u2", "u3", "u4", "u5", "u6", "ann", "ann"]
    with engine.connect() as conn:
        states = conn.execute(text("SELECT count(*) FROM bkt_user_skill_state")).scalar_one()
    assert states == 9
    assert counts(run(rows, file)) == (13, 0, 9, 4)


def test_a_broken_batch_behind_good_ones_leaves_nothing(run, engine, monkeypatch):
    monkeypatch.setattr(attempt_files, "BATCH_ROWS", 2)
    rows = [row(attempt_id=str(n)) for n in range(4)] + [row(user_id=None)] * 6
    with pytest.raises(QuarantineLimitError, match="6 of 10 rows"):
        run(rows, max_quarantine=0.5)
    assert stored(engine) == []


def test_other_options_leave_another_quarantine(run):
    """What a first import set aside is not replaced by what another one did."""
    rows = [row(concept_id="a~~b", user_id=None), row(attempt_id="2")]
    first, second = run(rows), run(rows, source="other")
    assert first.quarantine != second.quarantine
    assert run(rows).quarantine == first.quarantine


def test_lists_of_known_ids_set_the_others_aside(run, engine):
    rows = [row(), row(attempt_id="2", user_id="bob"), row(attempt_id="3", concept_id="x")]
    known = {"known_users": frozenset({"ann"}), "known_concepts": frozenset({"fractions"})}
    report = run(rows, **known)
    assert counts(report) == (3, 1, 0, 2)
    assert report.reasons == {"user_id_is_known": 1, "concept_id_is_known": 1}
    assert stored(engine) == [("ann", "fractions", 1)]
