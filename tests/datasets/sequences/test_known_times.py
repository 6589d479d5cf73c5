"""The log as it was stored at a moment, against SQL that looks each attempt up."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import text

from datasets.extracts import shards as extract_shards
from datasets.extracts.extraction import extract_attempts
from datasets.sequences.known_times import write_known_times
from datasets.sequences.readers import Window, concept_sequences, shard_rows, shard_sequences
from datasets.store.schema.attempt_tables import AttemptCorrectionRow, AttemptRow
from tests.datasets.attempt_rows import NOW, add, many

DAYS = [NOW - timedelta(days=n) for n in (9, 6, 3, 0)]
THEN = text("""
    SELECT a.user_id, a.concept_id, coalesce((
        SELECT c.old_correct FROM attempt_correction c
        WHERE c.attempt_id = a.id AND c.created_at > :at ORDER BY c.id LIMIT 1), a.correct)
    FROM attempts a WHERE a.created_at <= :at
    ORDER BY a.concept_id, a.user_id, a.attempted_at, a.id
""")


@pytest.fixture
def stored(engine):
    """Attempts stored on four days, some corrected once or twice since."""
    add(engine, *many(600))
    rng = np.random.default_rng(3)
    with engine.begin() as conn:
        ids = conn.execute(text("SELECT id FROM attempts ORDER BY id")).scalars().all()
        for id_, day in zip(ids, rng.integers(len(DAYS), size=len(ids)), strict=True):
            conn.execute(
                AttemptRow.__table__.update()
                .where(AttemptRow.id == id_)
                .values(created_at=DAYS[day])
            )
        for id_ in rng.choice(ids, size=120):
            was = int(rng.integers(2))
            conn.execute(
                AttemptCorrectionRow.__table__.insert().values(
                    attempt_id=int(id_),
                    old_correct=was,
                    new_correct=1 - was,
                    actor="test",
                    created_at=DAYS[int(rng.integers(1, len(DAYS)))] + timedelta(hours=1),
                )
            )
    return engine


def test_every_moment_is_as_it_was_stored(stored, tmp_path, monkeypatch):
    """Who had answered what, for each day and between them, by shard and by concept."""
    monkeypatch.setattr(extract_shards, "SHARD_ROWS", 1)
    extract = extract_attempts(stored, tmp_path, at=NOW)
    ids = [
        np.concatenate([rows.ids for rows in shard_rows(extract, shard)] or [np.empty(0, int)])
        for shard in range(len(extract.shards))
    ]
    write_known_times(stored, ids, tmp_path / "known", after=DAYS[0])
    names = extract.users["user_id"].to_pylist()
    for at in (*DAYS, DAYS[1] + timedelta(hours=2)):
        with stored.connect() as conn:
            wanted = conn.execute(THEN, {"at": _as_stored(conn, at)}).all()
        window = Window(known_by=at, known_in=tmp_path / "known")
        found, alone = [], []
        for shard in range(len(extract.shards)):
            for attempts in shard_sequences(extract, shard, window):
                found += _rows(attempts, names)
                alone += _rows(concept_sequences(extract, attempts.concept, window), names)
        assert sorted(found) == sorted(tuple(row) for row in wanted)
        assert alone == found
    assert not window.is_open


def _as_stored(conn, at):
    """A moment as the database compares it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f") if conn.dialect.name == "sqlite" else at


def _rows(attempts, names):
    """(user, concept, outcome) of every attempt, in order."""
    users = np.repeat(attempts.users, attempts.sequences.lengths)
    return [
        (names[user], attempts.concept_id, int(correct))
        for user, correct in zip(users, attempts.sequences.correct, strict=True)
    ]
