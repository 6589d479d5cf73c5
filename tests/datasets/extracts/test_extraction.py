"""An extraction holds every good row of one snapshot, in canonical order; the rest is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sqlalchemy import Engine, text

from datasets.errors import ExtractError
from datasets.extracts.extraction import Extract, ExtractOptions, extract_attempts, open_extract
from datasets.extracts.reading.log import log_snapshot
from datasets.extracts.versions import states_of_shard
from datasets.sequences.readers import Window, concept_sequences, shard_sequences
from tests.datasets.attempt_rows import NOW, Row, add, many
from tests.datasets.extracts.plain_hashes import MASK, plain_row_hash

FULL = ExtractOptions(full=True, max_quarantine=1.0)
TOLERANT = ExtractOptions(max_quarantine=1.0)
COLUMNS = ["concept_id", "user_id", "attempted_at", "id", "correct"]


def log_of(engine: Engine) -> pl.DataFrame:
    """The table's rows in canonical order, read and sorted by plain Python."""
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT concept_id, user_id, attempted_at, id, correct FROM attempts")
        ).all()
    rows = [tuple(row) for row in rows]
    rows.sort(key=lambda row: (row[0].encode(), row[1].encode(), str(row[2]), row[3]))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    if frame.schema["attempted_at"] == pl.String:
        moments = pl.col("attempted_at").str.to_datetime(time_unit="us", time_zone="UTC")
        frame = frame.with_columns(moments)
    return frame.with_columns(pl.col("attempted_at").dt.convert_time_zone("UTC"))


def extracted(extract: Extract) -> pl.DataFrame:
    """The rows of all concepts, as the packed sequences give them."""
    parts = []
    users = extract.users["user_id"].to_pylist()
    for shard in range(len(extract.shards)):
        for concept in shard_sequences(extract, shard):
            lengths = concept.sequences.lengths
            parts.append(
                pl.DataFrame(
                    {
                        "concept_id": [concept.concept_id] * concept.sequences.n_attempts,
                        "user_id": np.repeat([users[u] for u in concept.users], lengths),
                        "correct": concept.sequences.correct,
                    }
                )
            )
    frame = pl.concat(parts)
    order = {concept: i for i, concept in enumerate(extract.concepts["concept_id"].to_pylist())}
    keys = [order[concept] for concept in frame["concept_id"]]
    return frame.with_columns(k=pl.Series(keys)).sort("k", maintain_order=True).drop("k")


def test_an_extraction_holds_the_log_in_canonical_order(engine, tmp_path):
    add(engine, *many(3000))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert extract.rows.as_dict() == {
        "read": 3000, "accepted": 3000, "duplicates": 0, "quarantined": 0,
    }  # fmt: skip
    expected = log_of(engine).select("concept_id", "user_id", "correct")
    assert extracted(extract).equals(expected.cast({"correct": pl.Int8}))


def test_codes_are_ranks_in_the_order_of_utf8_bytes(engine, tmp_path):
    names = ["Ω", "é", "z", "a", "\U0001f600", "￿", "Z"]
    add(engine, *(Row(user=name, concept=name) for name in names))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    ordered = sorted(names, key=str.encode)
    assert extract.users["user_id"].to_pylist() == ordered
    assert extract.concepts["concept_id"].to_pylist() == ordered


def test_the_index_says_what_a_concept_holds(engine, tmp_path):
    add(engine, *many(2000))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    log = log_of(engine)
    for entry in extract.concepts.to_pylist():
        mine = log.filter(pl.col("concept_id") == entry["concept_id"])
        assert entry["n_attempts"] == mine.height
        assert entry["n_users"] == mine["user_id"].n_unique()
        assert entry["n_correct"] == mine["correct"].sum()
        assert entry["first_attempt_at"] == mine["attempted_at"].min()
        assert entry["last_attempt_at"] == mine["attempted_at"].max()


def test_one_concept_alone_is_the_concept_of_its_shard(engine, tmp_path):
    add(engine, *many(2000))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    for shard in range(len(extract.shards)):
        for one in shard_sequences(extract, shard):
            alone = concept_sequences(extract, one.concept)
            assert np.array_equal(alone.sequences.correct, one.sequences.correct)
            assert np.array_equal(alone.sequences.offsets, one.sequences.offsets)
            assert np.array_equal(alone.last_ids, one.last_ids)


def test_a_window_bounds_what_trains_and_keeps_the_rest_counted(engine, tmp_path):
    add(engine, *(Row(minute=minute, correct=minute % 2) for minute in range(10)))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    window = Window(since=Row(minute=2).at, until=Row(minute=7).at)
    windowed = concept_sequences(extract, 0, window)
    assert windowed.sequences.correct.tolist() == [0, 1, 0, 1, 0]
    assert windowed.n_left_out == 5
    empty = concept_sequences(extract, 0, Window(until=Row(minute=0).at))
    assert empty.sequences.n_users == 0
    assert empty.n_left_out == 10


def test_users_left_out_take_no_part(engine, tmp_path):
    add(engine, Row(user="a"), Row(user="b"), Row(user="b"), Row(user="c"))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    kept = concept_sequences(extract, 0, left_out=np.array([False, True, False]))
    assert kept.users.tolist() == [0, 2]
    assert kept.n_left_out == 2


def test_equal_times_are_ordered_by_id(engine, tmp_path):
    add(engine, *(Row(correct=outcome) for outcome in (1, 0, 0, 1, 0)))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    concept = concept_sequences(extract, 0)
    assert concept.sequences.correct.tolist() == [1, 0, 0, 1, 0]
    assert concept.last_ids.tolist() == [5]


def test_an_empty_log_gives_an_empty_extraction(engine, tmp_path):
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert extract.rows.read == 0
    assert extract.concepts.num_rows == 0
    assert [list(shard_sequences(extract, i)) for i in range(len(extract.shards))] == [[]]


def test_a_digest_is_the_wrapping_sum_of_row_hashes_and_never_changes(engine, tmp_path):
    add(engine, *many(300))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    sums: dict[str, int] = {}
    for concept, user, at, row_id, correct in log_of(engine).iter_rows():
        us = round(at.timestamp() * 1e6)
        hashed = plain_row_hash(concept, user, row_id, us, correct)
        sums[concept] = (sums.get(concept, 0) + hashed) & MASK
    found = extract.concepts.select(["concept_id", "digest"]).to_pylist()
    digests = {entry["concept_id"]: entry["digest"] for entry in found}
    assert digests == {concept: f"{total:016x}" for concept, total in sums.items()}
    assert plain_row_hash("fractions", "ann", 1, 1767225600000000, 1) == 0xAC3E381A4E346750
    assert extract.digest == "a100b0f03fb75734c605506544437592"


def test_equal_logs_have_equal_digests_in_whatever_order_they_came(engine, tmp_path):
    rows = many(500)
    add(engine, *rows)
    first = extract_attempts(engine, tmp_path, at=NOW, options=FULL)
    again = extract_attempts(engine, tmp_path, at=NOW, options=FULL)
    assert again.digest == first.digest
    assert again.root == first.root
    add(engine, replace(rows[0], key="new"))
    assert extract_attempts(engine, tmp_path, at=NOW, options=FULL).digest != first.digest


def test_states_come_from_the_snapshot_of_the_attempts(engine, tmp_path):
    add(engine, Row(user="b"), Row(user="a"))
    with engine.begin() as conn:
        for user, version in (("b", 3), ("a", 2), ("stranger", 9)):
            conn.execute(
                text(
                    "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, "
                    "n_attempts, algo_version_id, is_stale, version, updated_at) "
                    "SELECT 'fractions', :user, 0.5, 1, id, :stale, :version, "
                    "'2026-01-01 00:00:00.000000' FROM algo_versions "
                    "WHERE status = 'ACTIVE'"
                ),
                {"user": user, "version": version, "stale": user == "a"},
            )
    extract = extract_attempts(engine, tmp_path, at=NOW)
    assert pl.DataFrame(states_of_shard(extract, 0)).rows() == [(0, 0, 2), (0, 1, 3)]


def test_rows_that_come_while_it_reads_are_not_in_the_snapshot(engine, tmp_path):
    add(engine, *many(100))
    with log_snapshot(engine, tmp_path) as snapshot:
        assert snapshot.erased_users() == []
        position = snapshot.position
        add(engine, Row(key="late"))
        assert snapshot.position == position
        assert sum(batch.num_rows for batch in snapshot.attempts()) == 100
    assert extract_attempts(engine, tmp_path, at=NOW).rows.read == 101


def test_filing_moves_the_session_under_the_run(engine, tmp_path):
    add(engine, Row())
    filed = extract_attempts(engine, tmp_path, at=NOW).file_under(tmp_path / "runs" / "r1")
    assert filed.states == tmp_path / "runs" / "r1" / "states"
    assert filed.states.is_dir()
    assert not list((tmp_path / "sessions").iterdir())
    assert open_extract(filed.root, filed.session).digest == filed.digest


def test_a_truncated_shard_is_named_and_the_next_extraction_mends_it(engine, tmp_path):
    add(engine, *many(100))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    shard = extract.root / extract.shards[0].name
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ExtractError, match="cannot be read"):
        list(shard_sequences(extract, 0))
    mended = extract_attempts(engine, tmp_path, at=NOW)
    assert sum(c.sequences.n_attempts for c in shard_sequences(mended, 0)) == 100


def test_memory_is_bounded_by_cutting_long_buckets(engine, tmp_path, monkeypatch):
    from datasets.extracts import buckets as row_buckets

    add(engine, *many(3000))
    whole = extract_attempts(engine, tmp_path / "whole", at=NOW)
    monkeypatch.setattr(row_buckets, "SORTED_ROWS", 50)
    cut = extract_attempts(engine, tmp_path / "cut", at=NOW)
    assert cut.digest == whole.digest
    assert cut.concepts.equals(whole.concepts)
    assert extracted(cut).equals(extracted(whole))
