"""docs/roles.sql: each role can do its work, and what is not its work is refused."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import make_url

from datasets.imports.file_import import ImportOptions
from datasets.imports.query_import import QuerySource, import_query
from datasets.store.connections.engines import make_engine
from datasets.store.schema.revision import head_revision
from datasets.store.schema.tables import Base
from tests.conftest import _copy_of
from tests.datasets.attempt_rows import NOW
from tests.datasets.store.writing import import_rows, promote

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.postgres

SCRIPT = (Path(__file__).resolve().parents[4] / "docs" / "roles.sql").read_text()
ROLES = ("extraction", "promotion", "service", "import", "erasure")
#: What nobody but the owner may do.
NEVER = (
    "UPDATE bkt_promotion_event SET actor = 'nobody'",
    "DELETE FROM bkt_promotion_event",
    "DELETE FROM bkt_skill_params",
    "UPDATE bkt_skill_params SET p_l0 = 0.5",
    "DELETE FROM bkt_run",
    "UPDATE algo_params SET params = '{}'",
    "INSERT INTO algo_versions (algo_key, version, status, created_at) "
    "VALUES ('bkt', 'v9', 'CANDIDATE', now())",
    "DELETE FROM attempt_correction",
    "UPDATE mastery_snapshot SET p_mastery = 1",
    "TRUNCATE attempt_correction",
    "DROP TABLE attempt_correction",
    "CREATE TABLE mine (n int)",
    "UPDATE alembic_version SET version_num = 'x'",
    "UPDATE attempts SET user_id = 'somebody else'",
)
FORBIDDEN = {
    "extraction": (
        "INSERT INTO erased_user VALUES ('ann', 'me', now())",
        "UPDATE bkt_user_skill_state SET is_stale = true",
        "SELECT 1 FROM bkt_user_skill_state FOR UPDATE",
        "CREATE TEMPORARY TABLE mine (n int)",
        "SELECT nextval('attempts_id_seq')",
        "DELETE FROM attempts",
    ),
    "promotion": (
        "DELETE FROM attempts",
        "UPDATE attempts SET correct = 1",
        "INSERT INTO attempts (idempotency_key, user_id, correct, attempted_at, created_at) "
        "VALUES ('x', 'ann', 1, now(), now())",
        "DELETE FROM bkt_user_skill_state",
        "DELETE FROM erased_user",
        "DELETE FROM mastery_snapshot",
    ),
    "service": (
        "DELETE FROM attempts",
        "UPDATE attempts SET correct = 1",
        "UPDATE bkt_skill_params SET is_active = false",
        "DELETE FROM bkt_user_skill_state",
        "UPDATE bkt_run SET status = 'done'",
        "DELETE FROM erased_user",
    ),
    "import": (
        "DELETE FROM attempts",
        "UPDATE bkt_skill_params SET is_active = false",
        "UPDATE bkt_run SET kind = 'retrain'",
        "DELETE FROM erased_user",
    ),
    "erasure": (
        "UPDATE bkt_user_skill_state SET p_mastery = 1",
        "UPDATE bkt_skill_params SET is_active = false",
        "UPDATE attempts SET correct = 1",
    ),
}


@pytest.fixture(scope="module")
def guarded(postgres_template: str) -> str:
    """The URL of a database with the roles, some attempts and parameters, for its superuser."""
    url = _copy_of(postgres_template)
    engine = make_engine(url)
    import_rows(engine, [{"user": user} for user in ("ann", "bob")])
    promote(engine, "night-1", "fractions")
    engine.dispose()
    for _ in range(2):  # harmless when repeated
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(SCRIPT)  # type: ignore[call-overload] # a file of ours
    return url


@contextmanager
def login(url: str, role: str) -> Iterator[str]:
    """The URL of an account that has one role and nothing else; gone at the end."""
    name = f"bkt_test_{uuid4().hex[:10]}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f'CREATE ROLE "{name}" LOGIN PASSWORD \'x\' IN ROLE "bkt_{role}"')  # type: ignore[call-overload] # ours
        try:
            yield make_url(url).set(username=name).render_as_string(hide_password=False)
        finally:
            _wait_gone(conn, name)
            conn.execute(f'REASSIGN OWNED BY "{name}" TO bkt_migration')  # type: ignore[call-overload] # ours
            conn.execute(f'DROP ROLE "{name}"')  # type: ignore[call-overload] # ours


def _wait_gone(conn: psycopg.Connection, account: str) -> None:
    """Until nobody is logged in: a session that ends drops its temporary tables meanwhile."""
    until = time.monotonic() + 30
    while conn.execute(
        "SELECT 1 FROM pg_stat_activity WHERE usename = %s", [account]
    ).fetchone():
        assert time.monotonic() < until, f"{account} is still logged in"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("role", "statement"),
    [(role, s) for role in ROLES for s in (*NEVER, *FORBIDDEN[role])],
)
def test_what_is_not_its_work_is_refused(guarded: str, role: str, statement: str):
    """By the database itself, whoever connects with that role."""
    with (
        login(guarded, role) as url,
        psycopg.connect(url, autocommit=True) as conn,
        pytest.raises(InsufficientPrivilege),
    ):
        conn.execute(statement)  # type: ignore[call-overload] # from the table above


def test_every_refused_statement_is_one_that_the_owner_may_run(guarded: str):
    """Else a statement would be refused for being wrong, and the test above prove nothing."""
    for statement in {*NEVER, *(s for own in FORBIDDEN.values() for s in own)}:
        with psycopg.connect(guarded) as conn:
            for kept in ("bkt_skill_params", "bkt_run", "algo_versions"):
                conn.execute(f"ALTER TABLE {kept} DISABLE TRIGGER USER")
            conn.execute("TRUNCATE bkt_promotion_event, mastery_snapshot, bkt_user_skill_state")
            if "DELETE FROM bkt_run" in statement:
                conn.execute("DELETE FROM bkt_skill_params")
            conn.execute(statement)  # type: ignore[call-overload] # from the tables above
            conn.rollback()


def test_every_table_can_be_read_and_only_what_the_script_names_be_written(guarded: str):
    """A table that a migration adds is seen by everybody and written by nobody."""
    with psycopg.connect(guarded) as conn:
        for role in ROLES:
            for table in Base.metadata.tables:
                read = conn.execute(
                    "SELECT has_table_privilege(%s, %s, 'SELECT')", (f"bkt_{role}", table)
                ).fetchone()
                assert read == (True,), (role, table)
        writers = conn.execute(
            "SELECT table_name, grantee, privilege_type "
            "FROM information_schema.role_table_grants "
            "WHERE grantee LIKE 'bkt\\_%' AND grantee <> 'bkt_migration' "
            "AND grantee NOT LIKE 'bkt\\_test\\_%' AND privilege_type <> 'SELECT'"
        ).fetchall()
    deleting = {(table, role) for table, role, what in writers if what == "DELETE"}
    assert deleting == {
        ("attempts", "bkt_erasure"),
        ("bkt_user_skill_state", "bkt_erasure"),
        ("mastery_snapshot", "bkt_erasure"),
        ("erased_user", "bkt_erasure"),
    }
    assert {what for _, _, what in writers} == {"INSERT", "UPDATE", "DELETE"}
    assert not [row for row in writers if row[1] == "bkt_extraction"]


def test_an_import_by_query_has_the_rights_that_it_needs(guarded: str, tmp_path: Path):
    """It notes its place in `bkt_run`, with its rows, and goes on from there."""
    platform = tmp_path / "platform.db"
    with closing(sqlite3.connect(platform)) as conn:
        conn.execute("CREATE TABLE a AS SELECT 1 AS n, '2026-01-01 00:00:00Z' AS at")
        conn.commit()
    source = QuerySource(
        url=f"sqlite:///{platform}",
        query="SELECT n AS attempt_id, 'ann' AS user_id, 'sums' AS concept_id, 1 AS correct, "
        "at AS attempted_at FROM a",
        watermark="attempt_id",
    )
    with login(guarded, "import") as url:
        engine = make_engine(url)
        try:
            counts = [
                import_query(
                    engine, source, ImportOptions(), data_dir=tmp_path, now=lambda: NOW
                ).rows
                for _ in range(2)
            ]
        finally:
            engine.dispose()
    assert [(rows.accepted, rows.duplicates) for rows in counts] == [(1, 0), (0, 1)]


def test_the_migration_owns_what_it_may_change(guarded: str):
    """An account of that role migrates down and up again; the superuser is not needed."""
    from datasets.store.schema.revision import current_revision, downgrade, upgrade

    with login(guarded, "migration") as url:
        engine = make_engine(url)
        try:
            with psycopg.connect(url) as conn:
                assert conn.execute("SELECT current_user <> 'postgres'").fetchone() == (True,)
            downgrade(engine, "0001")
            upgrade(engine)
            assert current_revision(engine) == head_revision()
        finally:
            engine.dispose()
    with psycopg.connect(guarded, autocommit=True) as conn:
        conn.execute(SCRIPT)  # type: ignore[call-overload] # as after every `bkt init`
