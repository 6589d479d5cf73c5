"""The migrated schema is the one in tables.py, down to checks and predicates."""

from __future__ import annotations

import re

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from datasets.store.connections.engines import make_engine, reading
from datasets.store.errors import DatabaseError, NotMigratedError
from datasets.store.schema.revision import (
    MIGRATIONS,
    current_revision,
    downgrade,
    head_revision,
    require_current,
    upgrade,
)
from datasets.store.schema.tables import Base

SQLITE_OBJECTS = """
    SELECT type || ' ' || name, sql FROM sqlite_master
    WHERE name NOT LIKE 'sqlite_%' AND name <> 'alembic_version' AND sql IS NOT NULL
"""
POSTGRES_OBJECTS = """
    SELECT 'constraint ' || conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'column ' || table_name || '.' || column_name,
           concat_ws(' ', data_type, character_maximum_length, is_nullable, collation_name,
                     column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'trigger ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function ' || proname, prosrc
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'table ' || relname, concat_ws(' ', relkind, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


def objects(engine: Engine) -> dict[str, tuple[str, ...]]:
    """Every table, column, constraint and index as the database describes it."""
    is_sqlite = engine.dialect.name == "sqlite"
    with reading(engine) as conn:
        rows = conn.execute(text(SQLITE_OBJECTS if is_sqlite else POSTGRES_OBJECTS)).all()
    return {
        name: _clauses(sql) if is_sqlite else (sql,)
        for name, sql in rows
        if "alembic_version" not in name
    }


def _clauses(sql: str) -> tuple[str, ...]:
    """The parts of a CREATE, sorted: models and migration may list constraints apart.

    SQLite quotes the name of a table that a migration copied, and appends an added column to
    the last line, with its constraint.
    """
    plain = re.sub(r"\)( WITHOUT ROWID)?$", r"\n)\1", sql.replace('"', "").strip())
    parts = re.split(r"\n|, (?=[a-z_]+ (?:BIGINT|INTEGER|FLOAT)\b)| (?=CONSTRAINT )", plain)
    clauses = (re.sub(r"\s+", " ", part).strip(" ,") for part in parts)
    return tuple(sorted(filter(None, clauses)))


def test_a_migrated_schema_is_the_schema_of_the_models(empty_engine: Engine):
    upgrade(empty_engine)
    migrated = objects(empty_engine)
    downgrade(empty_engine)
    assert objects(empty_engine) == {}
    Base.metadata.create_all(empty_engine)
    created = objects(empty_engine)
    assert migrated.keys() == created.keys()
    assert migrated == created
    assert len(created) > 20


def test_up_down_up_gives_the_same_schema(empty_engine: Engine):
    upgrade(empty_engine)
    first = objects(empty_engine)
    downgrade(empty_engine)
    upgrade(empty_engine)
    assert objects(empty_engine) == first
    assert current_revision(empty_engine) == head_revision()


def test_the_comparison_sees_checks_predicates_and_collations(empty_engine: Engine):
    upgrade(empty_engine)
    described = " ".join(" ".join(clauses) for clauses in objects(empty_engine).values())
    assert "p_s + p_g" in described
    assert re.search(r"WHERE \(?is_active", described)
    if empty_engine.dialect.name == "postgresql":
        assert " C" in described
        assert "fillfactor=50" in described
        assert "xid8" in described
    else:
        assert "AUTOINCREMENT" in described
        assert "WITHOUT ROWID" in described


def test_an_empty_database_is_refused_with_its_remedy(empty_engine: Engine):
    with pytest.raises(NotMigratedError, match="bkt init"):
        require_current(empty_engine)
    upgrade(empty_engine)
    require_current(empty_engine)


def test_to_look_for_a_schema_makes_no_file(tmp_path):
    """Where nothing is yet, to connect would make an empty database."""
    engine = make_engine(f"sqlite:///{tmp_path / 'missing' / 'bkt.db'}")
    with pytest.raises(NotMigratedError, match="bkt init"):
        require_current(engine)
    engine.dispose()
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_answer_is_refused_in_one_sentence(tmp_path):
    for url in (
        f"sqlite:///{tmp_path}",  # a folder
        f"postgresql://someone:s3cret@/nowhere?host={tmp_path}",
    ):
        engine = make_engine(url)
        with pytest.raises(DatabaseError) as refused:
            require_current(engine)
        assert "must answer" in str(refused.value)
        assert "s3cret" not in str(refused.value)
        engine.dispose()


def test_the_head_is_that_of_alembic():
    """The names of the files say which revision is the last, without importing Alembic."""
    assert head_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()
