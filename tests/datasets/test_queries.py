"""An import by query goes on where the last one ended, and counts what comes twice."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bkt_core.errors import UsageError
from datasets import attempt_queries
from datasets.attempt_columns import FileOptions
from datasets.attempt_import import ImportOptions
from datasets.attempt_queries import QuerySource, import_query
from datasets.errors import FileFormatError
from datasets.store.session import make_engine
from tests.datasets.attempt_rows import NOW

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


def stored(engine):
    with engine.connect() as conn:
        return conn.execute(text("SELECT count(*) FROM attempts")).scalar_one()


def test_it_goes_on_where_it_ended_with_an_overlap(engine, platform, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt_queries, "BATCH_ROWS", 16)
    answer(platform, 1, 51)
    first = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, at=NOW)
    assert (first.rows.read, first.rows.accepted, first.batches) == (50, 50, 4)
    assert first.reached == "50"
    answer(platform, 51, 61)
    second = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, at=NOW)
    assert second.rows.as_dict() == {
        "read": 16, "accepted": 10, "duplicates": 6, "quarantined": 0,
    }  # fmt: skip
    assert stored(engine) == 60


def test_a_connection_that_is_cut_keeps_what_was_written_and_goes_on(
    engine, platform, tmp_path, monkeypatch
):
    monkeypatch.setattr(attempt_queries, "BATCH_ROWS", 10)
    answer(platform, 1, 41)
    whole = attempt_queries._table
    calls = []

    def cut(names, rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise attempt_queries.SQLAlchemyError("server closed the connection")
        return whole(names, rows)

    monkeypatch.setattr(attempt_queries, "_table", cut)
    with pytest.raises(FileFormatError, match=r"closed the connection.*repeat"):
        import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, at=NOW)
    assert stored(engine) == 20
    rest = import_query(engine, source(platform), OPTIONS, data_dir=tmp_path, at=NOW)
    assert (rest.rows.accepted, rest.rows.duplicates) == (20, 6)
    assert stored(engine) == 40


def test_times_can_be_the_watermark(engine, platform, tmp_path):
    answer(platform, 1, 31)
    by_time = source(platform, watermark="attempted_at", overlap=120)
    import_query(engine, by_time, OPTIONS, data_dir=tmp_path, at=NOW)
    answer(platform, 31, 41)
    again = import_query(engine, by_time, OPTIONS, data_dir=tmp_path, at=NOW)
    assert (again.rows.accepted, again.rows.duplicates) == (10, 3)


def test_without_a_watermark_everything_is_read_again(engine, platform, tmp_path):
    answer(platform, 1, 11)
    whole = source(platform, watermark=None)
    import_query(engine, whole, OPTIONS, data_dir=tmp_path, at=NOW)
    again = import_query(engine, whole, OPTIONS, data_dir=tmp_path, at=NOW)
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
            import_query(engine, chosen, OPTIONS, data_dir=tmp_path, at=NOW)
    assert stored(engine) == 0
