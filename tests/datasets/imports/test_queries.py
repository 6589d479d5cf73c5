"""An import by query goes on where the last one ended, and counts what comes twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bkt_core.errors import UsageError
from datasets.attempt_files.options import FileOptions
from datasets.errors import FileFormatError, QuarantineLimitError
from datasets.imports import foreign_database
from datasets.imports import query_import as attempt_queries
from datasets.imports.file_import import ImportOptions
from datasets.imports.query_import import QuerySource, import_query
from datasets.store.connections.engines import make_engine
from datasets.store.runs.runs import list_runs
from tests.datasets.attempt_rows import NOW
from tests.datasets.store.writing import forget_runs

QUERY = (
    "SELECT n AS attempt_id, who AS user_id, what AS concept_id, ok AS correct, "
    "at AS attempted_at, n FROM answers"
)
OPTIONS = ImportOptions(file=FileOptions(time_zone="UTC"), source="platform")


@pytest.fixture
def platform(engine, tmp_path, request):
    """Another database, of the kind of ours, with a table of answers."""
    if engine.dialect.name == "sqlite":
        url = f"sqlite:///{tmp_path / 'platform.db'}"
    else:
        url = request.getfixturevalue("new_postgres_database")()
    other = make_engine(url)
    with other.begin() as conn:
        kind = "timestamp" if engine.dialect.name != "sqlite" else "text"
        conn.execute(
            text(f"CREATE TABLE answers (n int, who text, what text, ok int, at {kind})")
        )
    yield other
    other.dispose()


def answer(other, first, last):
    with other.begin() as conn:
        for n in range(first, last):
            conn.execute(
                text("INSERT INTO answers VALUES (:n, :who, 'add', 1, :at)"),
                {"n": n, "who": f"u{n % 7}", "at": f"2026-01-01 00:{n % 60:02d}:00"},
            )


def source(other, **changes):
    url = other.url.render_as_string(hide_password=False)
    return QuerySource(**{"url": url, "query": QUERY, "watermark": "n", "overlap": 5} | changes)


def now():
    return NOW


def stored(engine):
    with engine.connect() as conn:
        return conn.execute(text("SELECT count(*) FROM attempts")).scalar_one()


def test_it_goes_on_where_it_ended_with_an_overlap(engine, platform, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt_queries, "BATCH_ROWS", 16)
    answer(platform, 1, 51)
    first = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    assert (first.rows.read, first.rows.accepted, first.batches) == (50, 50, 4)
    assert first.reached == "50"
    answer(platform, 51, 61)
    second = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    assert second.rows.as_dict() == {
        "read": 16, "accepted": 10, "duplicates": 6, "quarantined": 0,
    }  # fmt: skip
    assert stored(engine) == 60


def test_a_connection_that_is_cut_keeps_what_was_written_and_goes_on(
    engine, platform, tmp_path, monkeypatch
):
    monkeypatch.setattr(attempt_queries, "BATCH_ROWS", 10)
    answer(platform, 1, 41)
    whole = foreign_database._fetched
    calls = []

    def cut(result, size):
        calls.append(size)
        if len(calls) == 3:
            raise OperationalError("FETCH", None, Exception("server closed the connection"))
        return whole(result, size)

    monkeypatch.setattr(foreign_database, "_fetched", cut)
    with pytest.raises(FileFormatError, match=r"closed the connection.*repeat"):
        import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    assert stored(engine) == 20
    rest = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    assert (rest.rows.accepted, rest.rows.duplicates) == (20, 6)
    assert stored(engine) == 40
    with engine.connect() as conn:
        runs = list_runs(conn, kind="import")
    assert sorted(run.status.value for run in runs) == ["done", "failed"]
    noted = {run.status.value: run.manifest["rows"]["accepted"] for run in runs}
    assert noted == {"failed": 20, "done": 20}


def test_times_can_be_the_watermark(engine, platform, tmp_path):
    answer(platform, 1, 31)
    by_time = source(platform, watermark="attempted_at", overlap=120)
    import_query(engine, by_time, OPTIONS, data_dir=tmp_path, now=now)
    answer(platform, 31, 41)
    again = import_query(engine, by_time, OPTIONS, data_dir=tmp_path, now=now)
    assert (again.rows.accepted, again.rows.duplicates) == (10, 3)


def test_without_a_watermark_everything_is_read_again(engine, platform, tmp_path):
    answer(platform, 1, 11)
    whole = source(platform, watermark=None)
    import_query(engine, whole, OPTIONS, data_dir=tmp_path, now=now)
    again = import_query(engine, whole, OPTIONS, data_dir=tmp_path, now=now)
    assert (again.rows.accepted, again.rows.duplicates) == (0, 10)


def test_what_a_query_lacks_is_said(engine, platform, tmp_path):
    answer(platform, 1, 3)
    for changes, error, match in (
        ({"query": "SELECT * FROM nowhere"}, FileFormatError, "nowhere"),
        ({"query": QUERY.replace("n AS attempt_id,", "")}, FileFormatError, "attempt_id"),
        ({"query": QUERY.replace("ok AS correct", "ok")}, FileFormatError, "correct"),
        ({"watermark": "zzz"}, (UsageError, FileFormatError), "zzz"),
    ):
        chosen = source(platform, **changes)
        with pytest.raises(error, match=match):
            import_query(engine, chosen, OPTIONS, data_dir=tmp_path, now=now)
    assert stored(engine) == 0


def test_the_place_is_that_of_the_rows_in_this_database(engine, platform, tmp_path):
    """After a restore, what the lost rows were is read again; so it is for another source."""
    answer(platform, 1, 51)
    import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    with engine.begin() as conn:  # what a restore from before the import leaves
        conn.execute(text("DELETE FROM attempts"))
        forget_runs(conn, "import")
    again = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
    assert again.rows.accepted == 50
    other = replace(OPTIONS, source="another")
    whole = import_query(engine, source(platform), other, data_dir=tmp_path, now=now)
    assert whole.rows.accepted == 50


def test_a_batch_that_is_refused_leaves_rows_and_place_as_they_were(
    engine, platform, tmp_path, monkeypatch
):
    monkeypatch.setattr(attempt_queries, "BATCH_ROWS", 10)
    answer(platform, 1, 11)
    with platform.begin() as conn:
        conn.execute(text("INSERT INTO answers SELECT n + 10, NULL, what, ok, at FROM answers"))
    strict = replace(OPTIONS, max_quarantine=0.5)
    with pytest.raises(QuarantineLimitError, match="10 of 10 rows"):
        import_query(engine, source(platform), strict, data_dir=tmp_path, now=now)
    assert stored(engine) == 10
    with engine.connect() as conn:
        (run,) = list_runs(conn, kind="import")
    assert run.manifest["reached"]["value"] == 10


def odd(other, *rows):
    """Answers whose values are SQL."""
    with other.begin() as conn:
        for n, row in enumerate(rows, 1_000):
            conn.execute(text(f"INSERT INTO answers VALUES ({n}, {row})"))  # noqa: S608 - a test's own rows


def test_one_impossible_value_is_one_row_set_aside(engine, platform, tmp_path):
    """Nothing that one row holds ends the stream, nor moves the next import behind it."""
    answer(platform, 1, 11)
    rows = [
        "'u', 'add', 1, 'infinity'",
        "'u', 'add', 7, '2026-01-01 00:00:00'",
        "NULL, 'add', 1, '2026-01-01 00:00:00'",
        "'u', 'add', NULL, '2026-01-01 00:00:00'",
        "'u', 'add', 1, NULL",
        "'u', 'add', 1, '2999-01-01 00:00:00'",
    ]
    if engine.dialect.name == "sqlite":
        rows += [
            "x'ff', 'add', 1, '2026-01-01 00:00:00'",
            "'u', 'add', 'yes', '2026-01-01 00:00:00'",  # a word that means it
            "'u', 'add', 0.5, '2026-01-01 00:00:00'",
            "'u', 'add', 1, 1767225600",
            "17, 4, '1', '2026-01-01 00:00:00'",  # numbers are ids, and text may be an outcome
        ]
    else:
        rows += ["'u', 'add', 1, '-infinity'", "'u', 'add', 1, '0044-03-15 BC'"]
    odd(platform, *rows)
    by_time = source(platform, watermark="attempted_at")
    done = import_query(engine, by_time, OPTIONS, data_dir=tmp_path, now=now)
    good = 12 if engine.dialect.name == "sqlite" else 10
    assert (done.rows.read, done.rows.accepted) == (10 + len(rows), good)
    assert sum(done.reasons.values()) == done.rows.quarantined == 10 + len(rows) - good
    assert (done.quarantine / "00000" / "rows.parquet").is_file()
    answer(platform, 11, 16)
    later = import_query(engine, by_time, OPTIONS, data_dir=tmp_path, now=now)
    assert later.rows.accepted == 5


def test_an_id_that_is_no_id_is_named(engine, platform, tmp_path):
    answer(platform, 1, 3)
    broken = source(platform, query=QUERY.replace("n AS attempt_id", "n + 0.5 AS attempt_id"))
    if engine.dialect.name == "sqlite":
        with pytest.raises(FileFormatError, match=r"attempt_id must be text.*float"):
            import_query(engine, broken, OPTIONS, data_dir=tmp_path, now=now)
        assert stored(engine) == 0


def test_the_other_database_is_only_read(engine, platform, tmp_path):
    answer(platform, 1, 3)
    url = platform.url.render_as_string(hide_password=False)
    if engine.dialect.name == "sqlite":
        path = tmp_path / "platform.db"
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("PRAGMA journal_mode = DELETE")
        before = path.read_bytes()
        import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)
        assert path.read_bytes() == before
        missing = source(platform, url=f"sqlite:///{tmp_path / 'none.db'}")
        with pytest.raises(FileFormatError, match="there is none"):
            import_query(engine, missing, OPTIONS, data_dir=tmp_path, now=now)
        assert not (tmp_path / "none.db").exists()
        return
    erase = source(platform, query="WITH gone AS (DELETE FROM answers RETURNING *) SELECT 1")
    with pytest.raises(FileFormatError, match="said: "):
        import_query(
            engine, replace(erase, watermark=None), OPTIONS, data_dir=tmp_path, now=now
        )
    with foreign_database.foreign_database(url) as foreign:
        setting = "SELECT current_setting('transaction_read_only')"
        assert next(rows for _, rows in foreign.batches(setting, {}, 9))[0][0] == "on"
        (left,) = next(foreign.batches("SELECT count(*) FROM answers", {}, 9))[1][0]
    assert left == 2


def test_what_our_own_database_says_is_not_blamed_on_the_other(
    engine, platform, tmp_path, monkeypatch
):
    answer(platform, 1, 3)

    def broken(*_arguments, **_options):
        raise OperationalError("INSERT", None, Exception("our disk is full"))

    monkeypatch.setattr(attempt_queries, "import_rows", broken)
    with pytest.raises(OperationalError, match="our disk is full"):
        import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, now=now)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "must be an address such as"),
        ("oracle+foo://me:hush@h/db", "no driver here for oracle"),
        ("firebird://me:hush@h/db", "no driver here for firebird"),
    ],
)
def test_an_address_of_nothing_we_know_is_a_usage_error(url, said):
    with (
        pytest.raises(UsageError, match=said) as caught,
        foreign_database.foreign_database(url),
    ):
        pass
    assert "hush" not in str(caught.value)


def test_a_server_that_is_down_is_one_sentence_without_its_password():
    down = QuerySource(url="postgresql://me:hush@127.0.0.1:1/db", query=QUERY)
    with (
        pytest.raises(FileFormatError, match=r"127\.0\.0\.1:1/db said") as caught,
        foreign_database.foreign_database(down.url),
    ):
        pass
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(down)


@pytest.mark.parametrize(
    "wrong", [{"overlap": -1.0}, {"overlap": float("nan")}, {"query": " "}]
)
def test_sources_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(UsageError):
        QuerySource(**{"url": "sqlite:///x.db", "query": QUERY, **wrong})
