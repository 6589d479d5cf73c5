"""What an extraction reads beside a base is what the log gained, each row once, and no less."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from datasets.errors import ExtractError
from datasets.extracts.extraction import ExtractOptions, extract_attempts, open_extract
from datasets.extracts.reading.log import log_snapshot
from datasets.sequences.readers import concept_sequences, shard_sequences
from datasets.store.connections.engines import make_engine
from datasets.whole_files import read_json, write_json
from tests.datasets.attempt_rows import NOW, Row, add, add_attempts, many

#: Never a new base because of the number of new rows.
BESIDE = ExtractOptions(compact_from=1e9, max_quarantine=1.0)
FULL = ExtractOptions(full=True, max_quarantine=1.0)
PLACES = ["shard", "first_row", "n_rows", "delta_first_row", "delta_rows"]


def assert_same_log(one, other) -> None:
    """Two extractions hold the same attempts, whatever their files look like."""
    assert one.digest == other.digest
    assert one.rows == other.rows
    assert one.reasons == other.reasons
    assert one.users.equals(other.users)
    assert one.concepts.drop_columns(PLACES).equals(other.concepts.drop_columns(PLACES))
    for concept in range(one.concepts.num_rows):
        left, right = concept_sequences(one, concept), concept_sequences(other, concept)
        assert left.concept_id == right.concept_id
        assert np.array_equal(left.sequences.correct, right.sequences.correct)
        assert np.array_equal(left.sequences.offsets, right.sequences.offsets)
        assert np.array_equal(left.users, right.users)
        assert np.array_equal(left.last_ids, right.last_ids)
        assert np.array_equal(left.last_times, right.last_times)


def test_base_and_delta_are_the_whole_log(engine, tmp_path):
    add(engine, *many(800))
    base = extract_attempts(engine, tmp_path / "a", at=NOW)
    for seed in (2, 3):
        add(engine, *many(200, seed=seed), Row(user="new", concept="new", key=f"new {seed}"))
        beside = extract_attempts(engine, tmp_path / "a", at=NOW, options=BESIDE)
        whole = extract_attempts(engine, tmp_path / f"b{seed}", at=NOW, options=FULL)
        assert beside.base == base.root
        assert whole.base is None
        assert_same_log(beside, whole)
        by_shard = [c for i in range(len(beside.shards)) for c in shard_sequences(beside, i)]
        assert sum(c.sequences.n_attempts for c in by_shard) == whole.rows.accepted


def test_a_night_without_new_rows_is_the_base(engine, tmp_path):
    add(engine, *many(50))
    base = extract_attempts(engine, tmp_path, at=NOW)
    again = extract_attempts(engine, tmp_path, at=NOW + timedelta(days=1))
    assert again.root == base.root
    assert again.rows == base.rows
    assert_same_log(again, base)


def test_many_new_rows_make_a_new_base(engine, tmp_path):
    add(engine, *many(100))
    extract_attempts(engine, tmp_path, at=NOW)
    add(engine, *many(10, seed=2))
    assert extract_attempts(engine, tmp_path, at=NOW).base is not None
    add(engine, *many(1, seed=3))
    assert extract_attempts(engine, tmp_path, at=NOW).base is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE attempts SET correct = 1 - correct WHERE id = 3",
        "DELETE FROM attempts WHERE id = 3",
    ],
)
def test_a_changed_log_is_read_whole(engine, tmp_path, change):
    add(engine, *many(100))
    extract_attempts(engine, tmp_path, at=NOW)
    with engine.begin() as conn:
        conn.execute(text(change))
    add(engine, Row(key="new"))
    after = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert after.base is None
    assert_same_log(after, extract_attempts(engine, tmp_path / "b", at=NOW, options=FULL))


OTHER_PLACES = [
    {"last_key": "another"},
    {"last_id": 10**9},
    {"rewrites": -1},
    {"system": "1"},
    {"timeline": "0000000F"},
    {"database": 1},
    {"table": 1},
    {"snapshot": "99999999:99999999:"},
]


@pytest.mark.slow
@pytest.mark.parametrize("place", OTHER_PLACES, ids=str)
def test_a_restored_log_and_another_server_are_read_whole(engine, tmp_path, place):
    add(engine, *many(50))
    extract_attempts(engine, tmp_path, at=NOW)
    manifest = next((tmp_path / "extracts").glob("*/manifest.json"))
    written = read_json(manifest)
    if place.keys() <= written["position"].keys():
        write_json(manifest, {**written, "position": {**written["position"], **place}})
        add(engine, Row(key="new"))
        assert extract_attempts(engine, tmp_path, at=NOW, options=BESIDE).base is None


def test_a_broken_base_is_not_used(engine, tmp_path):
    add(engine, *many(100))
    base = extract_attempts(engine, tmp_path, at=NOW)
    (base.root / base.shards[0].name).unlink()
    add(engine, Row(key="new"))
    assert extract_attempts(engine, tmp_path, at=NOW, options=BESIDE).base is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": None},
        {"rows": {"read": 9, "accepted": 1, "duplicates": 0, "quarantined": 0}},
        {"rows": {}},
        {"shards": [{}]},
    ],
    ids=str,
)
def test_a_manifest_of_another_make_is_no_base(engine, tmp_path, change):
    add(engine, *many(100))
    base = extract_attempts(engine, tmp_path, at=NOW)
    manifest = base.root / "manifest.json"
    write_json(manifest, read_json(manifest) | change)
    add(engine, Row(key="new"))
    after = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert after.base is None
    assert after.rows.accepted == 101
    with pytest.raises(ExtractError, match=r"extract again"):
        open_extract(base.root, base.root)


def test_what_was_the_future_is_judged_again(engine, tmp_path):
    ahead = (NOW - Row().at).total_seconds() / 60
    add(engine, *many(50), Row(minute=ahead + 60))
    base = extract_attempts(engine, tmp_path, at=NOW)
    assert base.reasons == {"attempted_by_now": 1}
    later = NOW + timedelta(hours=2)
    beside = extract_attempts(engine, tmp_path, at=later, options=BESIDE)
    assert beside.reasons == {}
    assert beside.base == base.root
    assert_same_log(beside, extract_attempts(engine, tmp_path / "b", at=later, options=FULL))


def test_rows_with_transactions_of_another_server_are_never_taken_for_new(engine, tmp_path):
    if engine.dialect.name == "sqlite":
        return  # has no transaction ids
    add(engine, *many(50))
    with engine.begin() as conn:
        conn.execute(text("UPDATE attempts SET xact_id = '9000000000'::xid8 WHERE id = 3"))
    first = extract_attempts(engine, tmp_path, at=NOW)
    add(engine, Row(key="new"))
    second = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert first.base is second.base is None
    assert second.rows.accepted == 51


class Writer(threading.Thread):
    """Writes attempts until told to stop: some transactions are slow, some are rolled back."""

    def __init__(self, url: str, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._url, self._number, self._stop_now = url, number, stop
        self.error: Exception | None = None

    def run(self) -> None:
        """Write in transactions of one to four rows."""
        rng = np.random.default_rng(self._number)
        own = make_engine(self._url)
        try:
            while not self._stop_now.is_set():
                self._write(own, rng)
        except SQLAlchemyError as error:
            self.error = error
        finally:
            own.dispose()

    def _write(self, own, rng) -> None:
        with own.connect() as conn, conn.begin() as transaction:
            for _ in range(int(rng.integers(1, 5))):
                key = f"{self._number}-{rng.integers(1 << 60)}"
                add_attempts(conn, [Row(user=f"u{self._number}", key=key)])
                if own.dialect.name != "sqlite":
                    time.sleep(float(rng.choice([0.0, 0.0, 0.002, 0.05])))
            if rng.random() < 0.2:
                transaction.rollback()


@pytest.mark.slow
def test_the_watermark_reads_each_committed_row_once(engine, tmp_path):
    """Eight writers, slow transactions, rollbacks; the highest id would miss rows here."""
    stop = threading.Event()
    url = engine.url.render_as_string(hide_password=False)
    writers = [Writer(url, number, stop) for number in range(8)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    by_highest_id: list[int] = []
    position = None
    finished = time.monotonic() + 4.0
    for round_ in itertools.count():
        last = time.monotonic() > finished
        if last:
            stop.set()
            for writer in writers:
                writer.join()
        with log_snapshot(engine, tmp_path / str(round_)) as snapshot:
            assert position is None or snapshot.continues(position)
            now = snapshot.position
            ids = [i for b in snapshot.attempts(position) for i in b.column(0).to_pylist()]
        highest = max(by_highest_id, default=0)
        by_highest_id += [i for i in ids if i > highest]
        seen += ids
        position = now
        if last:
            break
    assert [writer.error for writer in writers] == [None] * 8
    with engine.connect() as conn:
        stored = conn.execute(text("SELECT id FROM attempts ORDER BY id")).scalars().all()
    assert len(stored) > 50
    assert sorted(seen) == list(stored)
    if engine.dialect.name != "sqlite":
        assert len(by_highest_id) < len(stored)  # what the exact watermark is for


def test_states_are_those_of_now_beside_a_base_too(engine, tmp_path):
    add(engine, *many(50), Row(user="b", key="b"))
    extract_attempts(engine, tmp_path, at=NOW)
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO bkt_user_skill_state (concept_id, user_id, p_mastery, n_attempts, "
                "algo_version_id, version, updated_at) SELECT 'fractions', 'a', 0.5, 1, id, 7, "
                "'2026-01-01 00:00:00.000000' FROM algo_versions WHERE status = 'ACTIVE'"
            )
        )
    add(engine, replace(Row(), user="a", key="a"))
    beside = extract_attempts(engine, tmp_path, at=NOW, options=BESIDE)
    assert beside.base is not None
    users = beside.users["user_id"].to_pylist()
    states = pl.read_parquet(beside.states)
    assert [users[code] for code in states["user"]] == ["a"]
    assert states["version"].to_list() == [7]
