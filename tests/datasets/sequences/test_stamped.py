"""Questions and stamps of an extraction, as versions with odds multipliers read them."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from bkt_core.family.covariates import covariates_of
from bkt_core.family.stamped import StampedSequences
from bkt_core.variant import Variant
from datasets.errors import ExtractError
from datasets.extracts.extraction import ExtractOptions, extract_attempts, open_extract
from datasets.extracts.files import is_whole
from datasets.sequences.readers import (
    PLAIN,
    Window,
    concept_sequences,
    shard_concepts,
    shard_sequences,
)
from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.connections.engines import reading
from tests.datasets.store.attempts.test_stamps import forget
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED

V4 = Variant(forgetting=True, questions=True)
V5 = Variant(forgetting=True, questions=True, history=True, gap=True)
GAP = Variant(gap=True)
NOW = STARTED + timedelta(days=1)
DETAILS = ExtractOptions(details=True, compact_from=1e9, max_quarantine=1.0)
FULL = replace(DETAILS, full=True)
ROWS = text(
    "SELECT id, user_id, concept_id, question_id, attempted_at, correct, recent_outcomes, "
    "n_before, n_right_before FROM attempts ORDER BY concept_id, user_id, attempted_at, id"
)


def crowd(engine, seed, n=200):
    """Attempts of nine users at three concepts, some without a question, late or at once."""
    rng = random.Random(seed)  # noqa: S311 - a test's own
    import_rows(
        engine,
        [
            {
                "key": f"{seed}-{i}",
                "user": f"u{rng.randrange(9)}",
                "minutes": rng.choice((i, i // 2)) / 7,
                "correct": rng.randint(0, 1),
                "concept": f"c{rng.randrange(3)}",
                "question": rng.choice((None, *(f"q{k}" for k in range(12)))),
            }
            for i in range(n)
        ],
        at=STARTED,
    )


def plain(engine):
    """Per concept: outcomes, questions and covariates of every attempt, in plain Python."""
    found = defaultdict(lambda: ([], [], []))
    before = None
    with reading(engine) as conn:
        for row in conn.execute(ROWS):
            at = row.attempted_at
            at = datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at
            first = before is None or (before[0], before[1]) != (row.concept_id, row.user_id)
            seconds = -1 if first else int((at - before[2]).total_seconds())
            before = (row.concept_id, row.user_id, at)
            outcomes, questions, facts = found[row.concept_id]
            outcomes.append(row.correct)
            questions.append(row.question_id)
            stamp = (row.recent_outcomes, row.n_before, row.n_right_before)
            facts.append(((1, 0, 0) if stamp[0] is None else stamp) + (seconds,))
    return found


def assert_reads(engine, extract, variant=V5):
    expected = plain(engine)
    read = [
        c
        for i in range(len(extract.shards))
        for c in shard_sequences(extract, i, variant=variant)
    ]
    assert {c.concept_id for c in read} == expected.keys()
    for concept in read:
        outcomes, questions, facts = expected[concept.concept_id]
        sequences = concept.sequences
        assert isinstance(sequences, StampedSequences)
        assert sequences.correct.tolist() == outcomes
        if variant.questions:
            ids = [sequences.question_ids[code] for code in sequences.questions.tolist()]
            assert ids == questions
            assert set(sequences.question_ids) == set(questions)
        else:
            assert sequences.question_ids == ()
            assert sequences.questions.size == 0
        columns = (np.array(column, np.int64) for column in zip(*facts, strict=True))
        names = ("recent", "n_before", "n_right_before", "seconds")
        facts_of = dict(zip(names, columns, strict=True))
        assert sequences.weight_names == variant.weight_names
        assert (sequences.covariates == covariates_of(variant, **facts_of)).all()
        alone = concept_sequences(extract, concept.concept, variant=variant)
        assert (alone.sequences.covariates == sequences.covariates).all()
        assert (alone.sequences.questions == sequences.questions).all()


@pytest.mark.parametrize("variant", [V4, V5, Variant(history=True)])
def test_a_version_reads_what_the_log_says(engine, tmp_path, variant):
    crowd(engine, 1)
    assert_reads(engine, extract_attempts(engine, tmp_path, at=NOW, options=DETAILS), variant)


def test_a_delta_and_a_base_are_the_whole_log(engine, tmp_path):
    """Late rows and new questions too; the digests are those of a full extraction."""
    crowd(engine, 1)
    base = extract_attempts(engine, tmp_path / "a", at=NOW, options=DETAILS)
    for seed in (2, 3):
        crowd(engine, seed, n=30)
        beside = extract_attempts(engine, tmp_path / "a", at=NOW, options=DETAILS)
        assert beside.base == base.root
        assert_reads(engine, beside)
        whole = extract_attempts(engine, tmp_path / f"b{seed}", at=NOW, options=FULL)
        assert whole.digest == beside.digest != base.digest
        assert whole.concepts["details_digest"] == beside.concepts["details_digest"]
        assert is_whole(beside.root)


def test_an_extraction_without_them_is_as_it_was(engine, tmp_path):
    """The same files, digests and concepts; neither is the base of the other."""
    crowd(engine, 1)
    bare = extract_attempts(engine, tmp_path / "a", at=NOW)
    assert not list(bare.root.glob("*detail*"))
    assert not (bare.root / "questions.parquet").exists()
    more = extract_attempts(engine, tmp_path / "a", at=NOW, options=DETAILS)
    assert more.base is None
    assert more.digest != bare.digest
    assert more.concepts.drop_columns("details_digest").equals(bare.concepts)
    crowd(engine, 2, n=10)
    assert extract_attempts(engine, tmp_path / "a", at=NOW).base == bare.root
    assert extract_attempts(engine, tmp_path / "a", at=NOW, options=DETAILS).base == more.root
    with pytest.raises(ExtractError, match="no questions and stamps"):
        concept_sequences(bare, 0, variant=V4)
    for concept in shard_sequences(more, 0, variant=PLAIN):
        assert not isinstance(concept.sequences, StampedSequences)
    assert_reads(engine, extract_attempts(engine, tmp_path / "b", at=NOW), GAP)  # times suffice


def test_stamps_that_come_later_change_the_digest(engine, tmp_path):
    """Fits of the concept are keyed by it, and the log is read in full."""
    crowd(engine, 1)
    forget(engine)
    before = extract_attempts(engine, tmp_path, at=NOW, options=DETAILS)
    assert_reads(engine, before)
    fill_stamps(engine, at=STARTED)
    after = extract_attempts(engine, tmp_path, at=NOW, options=DETAILS)
    assert after.base is None
    assert after.digest != before.digest
    assert after.concepts["digest"] == before.concepts["digest"]
    assert_reads(engine, after)


def test_rows_that_were_in_the_future_come_with_their_questions(engine, tmp_path):
    """A base keeps nothing of them, so that the log is read in full once they are past."""
    crowd(engine, 1)
    import_rows(engine, [{"key": "x", "user": "u1", "concept": "c1", "minutes": 60 * 24 * 2}])
    base = extract_attempts(engine, tmp_path, at=NOW, options=DETAILS)
    assert base.rows.quarantined == 1
    later = NOW + timedelta(days=2)
    found = extract_attempts(engine, tmp_path, at=later, options=DETAILS)
    assert found.base is None
    assert_reads(engine, found)


def test_a_window_and_users_left_out_keep_rows_and_stamps_together(engine, tmp_path):
    crowd(engine, 1)
    extract = extract_attempts(engine, tmp_path, at=NOW, options=DETAILS)
    left_out = np.arange(extract.users.num_rows) == 2
    window = Window(since=STARTED, until=None)
    whole = shard_concepts(extract, 0, variant=V5)
    part = shard_concepts(extract, 0, window, left_out=left_out, variant=V5)
    for concept in range(extract.concepts.num_rows):
        all_rows, some = whole(concept), part(concept)
        kept = all_rows.users != 2
        chosen = all_rows.sequences.of_users(kept)
        assert (some.sequences.covariates == chosen.covariates).all()
        assert (some.users == all_rows.users[kept]).all()


def test_a_missing_file_of_details_is_noticed(engine, tmp_path):
    crowd(engine, 1)
    extract = extract_attempts(engine, tmp_path, at=NOW, options=DETAILS)
    (extract.root / f"details-of-{extract.shards[0].name}").unlink()
    assert not is_whole(extract.root)
    assert open_extract(extract.root, extract.session).details
