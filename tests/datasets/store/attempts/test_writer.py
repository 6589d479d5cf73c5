"""Writing attempts of many users: keys that are stored already, or by another at the moment."""

from __future__ import annotations

from threading import Thread

import pytest
from sqlalchemy import Engine, text

from datasets.store.errors import DatabaseError
from tests.datasets.store.writing import import_rows


def stored_keys(engine: Engine) -> list[str]:
    """The keys of the log in the order of its ids."""
    with engine.connect() as conn:
        return list(
            conn.execute(text("SELECT idempotency_key FROM attempts ORDER BY id")).scalars()
        )


def test_new_rows_among_stored_ones_go_in_in_their_order(engine: Engine):
    """Only lines whose key is stored are compared, and only the others are appended."""
    old = [{"key": f"old {n}", "minutes": n} for n in range(3)]
    assert import_rows(engine, old) == ["inserted"] * 3
    mixed = [
        {"key": "z", "minutes": 7},
        {"key": "old 1", "minutes": 1},
        {"key": "old 2", "minutes": 2, "correct": 0},
        {"key": "a", "minutes": 8},
    ]
    assert import_rows(engine, mixed) == ["inserted", "duplicate", "conflict", "inserted"]
    assert stored_keys(engine) == ["old 0", "old 1", "old 2", "z", "a"]


def test_a_key_that_comes_twice_at_once_is_refused_whole(engine: Engine):
    rows = [{"key": "one"}, {"key": "two"}, {"key": "one", "minutes": 5}]
    with pytest.raises(DatabaseError, match="nothing was written, import again"):
        import_rows(engine, rows)
    assert stored_keys(engine) == []
    assert import_rows(engine, rows[:2]) == ["inserted", "inserted"]


@pytest.mark.postgres
@pytest.mark.parametrize("database_kind", ["postgres"])
def test_a_key_that_another_writer_stores_at_the_moment_is_refused(engine: Engine):
    """The import saw no such key, waits for the other to commit, and then gives up whole."""
    failures: list[BaseException] = []

    def imports() -> None:
        try:
            import_rows(engine, [{"key": "mine"}, {"key": "shared"}])
        except DatabaseError as error:
            failures.append(error)

    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with engine.connect() as other, engine.connect() as watcher:
        other.execute(
            text(
                "INSERT INTO attempts (source, idempotency_key, user_id, concept_id, correct, "
                "attempted_at, created_at) VALUES ('', 'shared', 'ann', 'fractions', 1, "
                "now(), now())"
            )
        )
        importing = Thread(target=imports)
        importing.start()
        while not watcher.execute(waiting).scalar_one() and importing.is_alive():
            watcher.rollback()
        other.commit()
        importing.join(timeout=60)
    assert not importing.is_alive()
    assert "another writer stored" in str(failures[0])
    assert stored_keys(engine) == ["shared"]
