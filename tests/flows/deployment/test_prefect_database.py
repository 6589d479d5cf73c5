"""A new data folder starts with a Prefect database that is migrated already."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from datasets.errors import StorageError
from flows.deployment import prefect_database
from flows.deployment.prefect_database import main, provide_database, revision_of


@pytest.fixture
def migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own, whose migrated database stands in for Prefect's."""
    file = tmp_path / "installed" / "prefect-0.db"
    monkeypatch.setattr(prefect_database, "MIGRATED", file)
    for name in prefect_database._ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    return file


def _database(file: Path, revision: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        db.commit()


def test_what_installation_makes_is_what_prefect_migrates_to(migrated: Path, tmp_path: Path):
    """It is made once; a new home's copy is at the head of Prefect's own revisions."""
    from alembic.script import ScriptDirectory
    from prefect.server.database.alembic_commands import alembic_config

    assert main() == 0
    made = migrated.stat().st_mtime_ns
    assert main() == 0
    assert migrated.stat().st_mtime_ns == made
    home = tmp_path / "home"
    assert provide_database(home)
    script = ScriptDirectory.from_config(alembic_config())
    script.version_locations = [Path(script.dir) / "versions" / "sqlite"]
    heads = script.get_heads()
    assert revision_of(home / "prefect.db") in heads
    assert (home / "prefect.db").stat().st_mode & 0o777 == 0o600


def test_a_database_is_left_as_it_is(migrated: Path, tmp_path: Path):
    """Also one of an older Prefect, which the server migrates; and without one to copy."""
    home = tmp_path / "home"
    assert not provide_database(home)
    assert not home.exists()
    _database(migrated, "new")
    for revision, is_migrated in (("new", True), ("old", False)):
        (home / "prefect.db").unlink(missing_ok=True)
        _database(home / "prefect.db", revision)
        before = (home / "prefect.db").read_bytes()
        assert provide_database(home) is is_migrated
        assert (home / "prefect.db").read_bytes() == before
    (home / "prefect.db").write_bytes(b"no database")
    assert not provide_database(home)


def test_where_prefect_has_another_database_none_is_made(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Prefect's own setting wins."""
    _database(migrated, "new")
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///:memory:")
    assert not provide_database(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_an_installation_that_cannot_be_written_is_no_error(
    migrated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Each data folder migrates its own then."""

    def refused(folder: Path) -> None:
        raise StorageError(f"{folder} must be writable, and is not.")

    monkeypatch.setattr(prefect_database, "make_folder", refused)
    assert main() == 0
    assert not migrated.exists()
    assert "must be writable" in capsys.readouterr().err
