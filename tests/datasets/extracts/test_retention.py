"""Erasure and retention on disk, floods, and the numbers of the data report."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from sqlalchemy import text

from datasets.errors import ExtractError
from datasets.extracts.extraction import ExtractOptions, extract_attempts, open_extract
from datasets.extracts.retention import forget_user, prune_extracts
from datasets.parquet import write_frame
from datasets.sequences.data_report import LATENESS_EDGES, describe
from datasets.sequences.floods import flooding_users
from datasets.sequences.readers import concept_sequences
from datasets.store.attempts.erasure import erase_user, lift
from tests.datasets.attempt_rows import NOW, Row, add, many

BESIDE = ExtractOptions(compact_from=1e9, max_quarantine=1.0)


def test_an_erased_user_is_in_no_file_and_stays_out_until_lifted(engine, tmp_path):
    data = tmp_path / "data"
    add(engine, *many(60), Row(user="gone-for-good", key="g1"), Row(minute=1e7, key="future"))
    extract_attempts(engine, data, at=NOW)
    add(engine, Row(user="gone-for-good", key="g2"))
    add(engine, Row(user="gone-for-good", minute=1e7, key="g3"))
    beside = extract_attempts(engine, data, at=NOW, options=BESIDE)
    beside.file_under(data / "runs" / "r")
    bad = pl.DataFrame({"user_id": ["gone-for-good", "other"], "rule": ["x", "x"]})
    write_frame(data / "quarantine" / "import-1" / "rows.parquet", bad)
    erase_user(engine, "gone-for-good", at=NOW, actor="test")
    forgotten = forget_user(data, "gone-for-good", at=NOW)
    assert forgotten.extracts == 2
    for path in (path for path in data.rglob("*") if path.is_file()):
        assert b"gone-for-good" not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert "gone-for-good" not in str(pl.read_parquet(path).to_dicts()), path
    kept = pl.read_parquet(data / "quarantine" / "import-1" / "rows.parquet")
    assert kept["user_id"].to_list() == ["other"]
    with pytest.raises(ExtractError, match="removed"):
        open_extract(beside.root, beside.session)
    assert forget_user(data, "gone-for-good", at=NOW).extracts == 0
    after = extract_attempts(engine, data, at=NOW)
    assert after.base is None
    assert after.rows.read == 61
    with engine.begin() as conn:
        lift(conn, "gone-for-good")
    add(engine, Row(user="gone-for-good", key="g4"))
    back = extract_attempts(engine, data, at=NOW, options=BESIDE)
    assert "gone-for-good" in back.users["user_id"].to_pylist()


def test_a_user_erased_while_it_reads_is_not_brought_back(engine, tmp_path, monkeypatch):
    add(engine, *many(60), Row(user="gone", key="g1"))
    from datasets.extracts import extraction as module

    write = module.write_shards

    def erase_meanwhile(*arguments):
        erase_user(engine, "gone", at=NOW, actor="test")
        forget_user(tmp_path, "gone", at=NOW)
        return write(*arguments)

    monkeypatch.setattr(module, "write_shards", erase_meanwhile)
    with pytest.raises(ExtractError, match="erased while it was read"):
        extract_attempts(engine, tmp_path, at=NOW)
    assert not list((tmp_path / "extracts").iterdir())
    assert not list((tmp_path / "sessions").iterdir())
    monkeypatch.undo()
    assert extract_attempts(engine, tmp_path, at=NOW).rows.accepted == 60


def test_retention_keeps_what_is_young_the_newest_and_bases_in_use(engine, tmp_path):
    add(engine, *many(100))
    base = extract_attempts(engine, tmp_path, at=NOW)
    roots = []
    for day in (1, 2, 9):
        add(engine, Row(key=f"day {day}"))
        at = NOW + timedelta(days=day)
        roots.append(extract_attempts(engine, tmp_path, at=at, options=BESIDE).root)
    week = timedelta(days=7)
    pruned = prune_extracts(tmp_path, keep=week, at=NOW + timedelta(days=8, hours=12))
    assert pruned.extracts == 1
    assert [root.exists() for root in (base.root, *roots)] == [True, False, True, True]
    prune_extracts(tmp_path, keep=week, at=NOW + timedelta(days=100))
    assert [root.exists() for root in (base.root, *roots)] == [True, False, False, True]
    newest = open_extract(roots[-1], tmp_path)
    assert sum(newest.concepts["n_attempts"].to_pylist()) == 103
    assert concept_sequences(newest, 0).sequences.n_attempts > 0


def test_a_user_above_the_rate_is_left_out_of_the_fit_and_reported(engine, tmp_path):
    steady = [Row(user="steady", minute=i * 30, key=f"s{i}") for i in range(20)]
    flood = [Row(user="flood", minute=5 + i / 100, key=f"f{i}") for i in range(15)]
    add(engine, *steady, *flood)
    extract_attempts(engine, tmp_path, at=NOW)
    add(
        engine,
        Row(user="first", key="new"),
        *(Row(user="flood", key=f"n{i}") for i in range(3)),
    )
    for options in (BESIDE, ExtractOptions(full=True)):
        extract = extract_attempts(engine, tmp_path, at=NOW, options=options)
        found = flooding_users(extract, per_hour=17)
        names = extract.users["user_id"].to_pylist()
        assert [name for name, is_in in zip(names, found.users, strict=True) if is_in] == [
            "flood"
        ]
        assert (found.n_users, found.attempts) == (1, 18)
        assert found.share == pytest.approx(18 / 39, rel=1e-12)
        fit = concept_sequences(extract, 0, left_out=found.users)
        assert fit.sequences.n_attempts == 21
        assert fit.n_left_out == 18
        assert concept_sequences(extract, 0).sequences.n_attempts == 39
        assert flooding_users(extract, per_hour=18).n_users == 0


@pytest.mark.parametrize(
    ("minutes", "is_flood"),
    [
        ([50 + i for i in range(20)], True),  # ten before the full hour, ten behind it
        ([*range(0, 600, 30)], False),
        ([i * 3.1 for i in range(20)], True),  # the twentieth after 58.9 minutes
        ([i * 60 / 19 for i in range(20)], False),  # the twentieth after an hour
        ([0] * 19 + [60], False),
        ([0] * 20, True),
        ([55.0] * 10 + [125.0] * 10, False),  # in the clock hours 0 and 2
    ],
)
def test_an_hour_begins_with_any_attempt(engine, tmp_path, minutes, is_flood):
    """More than nineteen within sixty minutes, wherever the clock stands, over all concepts."""
    fast = [
        Row(user="fast", concept=f"c{i % 3}", minute=minute, key=f"f{i}")
        for i, minute in enumerate(minutes)
    ]
    others = [Row(user=f"u{i}", minute=i / 100, key=f"o{i}") for i in range(40)]
    add(engine, *others, *fast)
    extract = extract_attempts(engine, tmp_path, at=NOW)
    found = flooding_users(extract, per_hour=19)
    assert found.n_users == int(is_flood)
    assert found.attempts == (20 if is_flood else 0)


def test_the_data_report_counts_what_plain_python_counts(engine, tmp_path):
    add(engine, *many(1500))
    extract = extract_attempts(engine, tmp_path, at=NOW)
    report = describe(extract)
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT concept_id, user_id, id, attempted_at, correct FROM attempts")
        ).all()
    sequences: dict[tuple[str, str], list] = {}
    for concept, user, identifier, at, _ in rows:
        sequences.setdefault((concept, user), []).append((str(at), identifier))
    lengths = [len(sequence) for sequence in sequences.values()]
    late = sum(
        any(other_id < own_id and other_at > own_at for other_at, other_id in sequence)
        for sequence in sequences.values()
        for own_at, own_id in sequence
    )
    assert report.n_attempts == len(rows)
    assert report.longest == max(lengths)
    assert report.n_late == late > 0
    expected = np.bincount([n.bit_length() - 1 for n in lengths], minlength=24)
    assert report.length_counts.tolist() == expected.tolist()
    numbers = report.as_json()
    assert numbers["share_correct"] == pytest.approx(sum(r[4] for r in rows) / 1500, rel=1e-12)
    assert sum(numbers["lateness_seconds"].values()) == late
    assert report.concepts["n_attempts"].sum() == 1500


def test_lateness_is_how_much_later_the_other_happened(engine, tmp_path):
    """Written in the order 10, 0, 5 minutes: the second is 10 minutes late, the third 5."""
    add(engine, Row(minute=10), Row(minute=0), Row(minute=5), Row(minute=11))
    report = describe(extract_attempts(engine, tmp_path, at=NOW))
    assert report.lateness_counts[LATENESS_EDGES.index(3600)] == 2
    assert report.n_late == 2
