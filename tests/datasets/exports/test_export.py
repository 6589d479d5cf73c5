"""Exports are the tables of one moment, streamed, whole or absent, and say what readers see."""

from __future__ import annotations

import csv
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import text

from bkt_core.errors import BadInputError, UsageError
from bkt_core.params import BktParams
from datasets.attempt_files.options import FileOptions
from datasets.attempt_files.values.plans import Layout
from datasets.exports import export as exports
from datasets.exports.export import export_table
from datasets.exports.files import escaped
from datasets.exports.tables import Filters, Table
from datasets.store.attempts.erasure import delete_rows, lift, write_tombstone
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep
from tests.datasets.store.oracle import expected_states
from tests.datasets.store.writing import import_rows, promote
from tests.moments import STARTED

ROWS = [
    {"key": f"k{n}", "user": user, "concept": concept, "correct": n % 2, "minutes": n - 60}
    for n, (user, concept) in enumerate(
        [("=1+1", "add"), ("@bob", "-add"), ("'ann", "add"), ("ann", "carry"), ("ann", "add")]
        * 3
    )
]


def exported(engine, path, what=Table.ATTEMPTS, **filters):
    n_rows = export_table(engine, what, path, Filters(**filters), overwrite=True)
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
    else:
        frame = pl.read_csv(path, infer_schema=False)
    assert frame.height == n_rows
    return frame


def attempts(engine):
    query = "SELECT user_id, concept_id, correct, attempted_at FROM attempts ORDER BY id"
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(query))]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_was_exported_is_imported_as_it_was(run, engine, tmp_path, ending):
    """Into an emptied database: the same log, formulas and apostrophes among its ids."""
    import_rows(engine, ROWS)
    before, path = attempts(engine), tmp_path / f"a.{ending}"
    exported(engine, path)
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM attempts"))
    report = run(path, FileOptions(layout=Layout.BKT_EXPORT))
    assert report.rows.accepted == len(ROWS)
    assert attempts(engine) == before


def test_no_cell_of_a_csv_is_a_formula(engine, tmp_path):
    import_rows(engine, ROWS)
    exported(engine, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=1+1", "'@bob", "''ann", "'-add"} <= set(cells)
    assert escaped("a=b") == "a=b"


def test_states_are_those_that_readers_see(engine, tmp_path):
    """Stale and old-stamped ones too, bit for bit the replay under what is in force."""
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    promote(engine, "r", "add", BktParams(0.3, 0.2, 0.1, 0.2))
    import_rows(engine, [{"key": "late", "user": "ann", "concept": "carry", "minutes": -5}])
    frame = exported(engine, tmp_path / "s.parquet", Table.STATES)
    seen = {
        (row["user_id"], row["concept_id"]): (row["p_mastery"], row["n_attempts"])
        for row in frame.to_dicts()
    }
    with engine.connect() as conn:
        expected = expected_states(conn)
    assert {key: (value[0], value[1]) for key, value in expected.items()} == seen
    text_frame = exported(engine, tmp_path / "s.csv", Table.STATES)
    assert [float(p) for p in text_frame["p_mastery"]] == frame["p_mastery"].to_list()


def test_filters_choose_rows(engine, tmp_path):
    import_rows(engine, ROWS)
    sweep(engine, at=STARTED)
    write_snapshots(engine, run_id=None, at=STARTED)
    path = tmp_path / "f.parquet"
    assert set(exported(engine, path, users=("ann",))["user_id"]) == {"ann"}
    assert set(exported(engine, path, concepts=("add",))["concept_id"]) == {"add"}
    times = exported(engine, path)["attempted_at"].sort()
    window = {"since": times[3], "until": times[7]}
    assert (
        exported(engine, path, **window)["attempted_at"].sort().to_list()
        == times[3:7].to_list()
    )
    snapshots = exported(engine, path, Table.SNAPSHOTS, until=STARTED + timedelta(seconds=1))
    assert snapshots.height == 5
    assert exported(engine, path, Table.SNAPSHOTS, until=STARTED).is_empty()


def test_parameters_are_those_in_force_unless_all_are_asked_for(engine, tmp_path):
    promote(engine, "first", "add", BktParams(0.3, 0.2, 0.1, 0.2))
    promote(engine, "second", "add", BktParams(0.4, 0.2, 0.1, 0.2))
    path = tmp_path / "p.parquet"
    assert exported(engine, path, Table.PARAMETERS)["p_L0"].to_list() == [0.4]
    assert exported(engine, path, Table.PARAMETERS, all_rows=True)["p_L0"].to_list() == [
        0.3,
        0.4,
    ]
    events = exported(engine, path, Table.EVENTS)
    assert events["decision"].to_list() == ["promoted", "promoted"]
    assert exported(engine, tmp_path / "e.csv", Table.EVENTS, concepts=("carry",)).is_empty()


@pytest.mark.parametrize(
    ("what", "filters", "match"),
    [
        (Table.PARAMETERS, {"users": ("ann",)}, "--user does not apply"),
        (Table.STATES, {"since": STARTED}, "do not apply to states"),
        (Table.ATTEMPTS, {"all_rows": True}, "--all goes with parameters"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(engine, tmp_path, what, filters, match):
    with pytest.raises(UsageError, match=match):
        exported(engine, tmp_path / "x.csv", what, **filters)
    assert list(tmp_path.glob("*x.csv*")) == []


def test_a_file_that_is_there_and_another_ending_are_refused(engine, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    for name, match in (("a.csv", "--overwrite"), ("a.xlsx", "csv or a .parquet")):
        with pytest.raises(UsageError, match=match):
            export_table(engine, Table.ATTEMPTS, tmp_path / name, Filters())
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_nothing_is_exported_while_a_user_is_being_erased(engine, tmp_path, monkeypatch):
    """From the tombstone to the last row, and when it begins while the export runs."""
    import_rows(engine, ROWS)
    path = tmp_path / "a.parquet"
    with engine.begin() as conn:
        write_tombstone(conn, "ann", at=STARTED, actor="test")
    with pytest.raises(BadInputError, match="being erased"):
        exported(engine, path)
    with engine.begin() as conn:
        delete_rows(conn, "ann")
    assert "ann" not in set(exported(engine, path)["user_id"])
    path.unlink()
    real = exports.batches_of

    def erased_meanwhile(conn, table, filters):
        yield from real(conn, table, filters)
        if engine.dialect.name == "postgresql":
            with engine.begin() as other:
                write_tombstone(other, "@bob", at=STARTED, actor="test")
                delete_rows(other, "@bob")

    monkeypatch.setattr(exports, "batches_of", erased_meanwhile)
    if engine.dialect.name == "postgresql":
        with pytest.raises(BadInputError, match="being erased"):
            exported(engine, path)
        assert not path.exists()
        with engine.begin() as conn:
            assert lift(conn, "@bob")
