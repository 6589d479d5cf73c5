"""The restore drill of docs/runbook.md: dump and run files to a new machine, on both kinds."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from bkt_settings.pipeline import load_settings
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import make_engine
from datasets.synthetic import SimulationPlan, write_simulation
from flows.cli.app import run
from flows.evidence.evidence import read_evidence
from flows.health.status import gather_status
from flows.nightly import nightly
from tests.flows.support.night_oracle import all_rows, expected_states, stored_states
from tests.postgres_server import find_binaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def lived(tracked_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database of each kind after a night."""
    monkeypatch.setenv("BKT_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    log = tracked_home / "attempts.parquet"
    write_simulation(log, SimulationPlan(n_concepts=3, n_users=60, seed=4))
    import_file(
        engine, log, ImportOptions(), quarantine_root=tracked_home / "q", at=datetime.now(UTC)
    )
    assert nightly().status == "done"
    return engine


def saved(engine: Engine, home: Path, backup: Path) -> None:
    """What the runbook says to save: the database, runs and fits."""
    backup.mkdir()
    if engine.dialect.name == "sqlite":
        with (
            closing(sqlite3.connect(str(engine.url.database))) as source,
            closing(sqlite3.connect(backup / "bkt.db")) as copy,
        ):
            source.backup(copy)
    else:
        postgres(engine.url.database, engine, "pg_dump", "--format=custom", "--no-owner",
                 f"--file={backup / 'bkt.dump'}")  # fmt: skip
    with tarfile.open(backup / "files.tar.gz", "w:gz") as tar:
        for name in ("runs", "fits"):
            tar.add(home / name, arcname=name)


def restored(
    engine: Engine, backup: Path, home: Path, new_database: Callable[[], str] | None
) -> str:
    """The same on a new machine; returns the URL there."""
    home.mkdir()
    with tarfile.open(backup / "files.tar.gz") as tar:
        tar.extractall(home, filter="data")
    if new_database is None:
        shutil.copy(backup / "bkt.db", home / "bkt.db")
        return f"sqlite:///{home / 'bkt.db'}"
    url = new_database()
    postgres(make_url(url).database, engine, "pg_restore", "--no-owner", "--exit-on-error",
             str(backup / "bkt.dump"))  # fmt: skip
    return url


def postgres(database: str | None, engine: Engine, program: str, *words: str) -> None:
    """A tool of the server that the suite starts, on one of its databases."""
    binary = find_binaries() / program
    if not binary.exists() or "host" not in engine.url.query:
        pytest.skip(f"{program} of this server's version is not here")
    done = subprocess.run(
        [str(binary), *words, f"--dbname={database}", "--username=postgres",
         f"--host={engine.url.query['host']}"],
        env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_restored_installation_goes_on_where_the_old_one_stopped(
    lived: Engine,
    tracked_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    """Every row is there, reports are readable, and a night finds nothing to mend."""
    before = all_rows(lived)
    run_id = gather_status(load_settings(), n_runs=1).runs[0].run_id
    saved(lived, tracked_home, tmp_path / "backup")
    is_postgres = lived.dialect.name == "postgresql"
    make = request.getfixturevalue("new_postgres_database") if is_postgres else None
    new_home = tmp_path / "new machine"
    url = restored(lived, tmp_path / "backup", new_home, make)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    monkeypatch.setenv("BKT_DATA_DIR", str(new_home))
    assert run(["init"]) == 0
    fresh = make_engine(url)
    try:
        assert all_rows(fresh) == before
        assert stored_states(fresh) == expected_states(fresh) != {}
        standing = gather_status(load_settings(), n_runs=5)
        assert (standing.states.stale, standing.states.old_stamped) == (0, 0)
        assert read_evidence(new_home / "runs" / run_id).facts.status == "done"
        shutil.copy(tracked_home / "mlflow.db", new_home / "mlflow.db")
        night = nightly()
        assert (night.exit_code, night.concepts.fitted, night.concepts.failed) == (0, 0, 0)
        assert stored_states(fresh) == expected_states(fresh)
    finally:
        fresh.dispose()
