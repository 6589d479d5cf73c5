"""Disks and databases that refuse: one sentence, the right exit code, nothing half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from datasets import whole_files
from datasets.errors import StorageError, storage_error
from datasets.parquet import write_frame
from datasets.store.connections.database_errors import explained_errors
from datasets.store.connections.engines import make_engine
from datasets.store.errors import DatabaseError
from datasets.synthetic import SimulationPlan, write_simulation
from datasets.whole_files import make_folder, write_json
from flows.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence or two of a command that exits 1, without a traceback."""
    assert run(list(words)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bkt: ")
    assert "unexpected" not in printed.err
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.usefixtures("bkt_home")
@pytest.mark.parametrize("folder", ["/proc/nowhere", "/proc/version/var"])
def test_a_data_folder_that_cannot_be_made_is_told(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Which, why, and which setting names another; whatever the command wanted to write."""
    monkeypatch.setenv("BKT_DATA_DIR", folder)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    for words in (["init"], ["retrain"]):
        said = refusal(capsys, *words)
        assert folder in said
        assert "BKT_DATA_DIR" in said
    assert "/proc/nowhere" in refusal(capsys, "simulate", "/proc/nowhere/a.parquet")


def test_a_disk_that_is_all_but_full_is_refused_at_once(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Before Prefect's own server tries to start on it for two minutes."""
    assert run(["init"]) == 0
    capsys.readouterr()
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    usage = shutil.disk_usage(bkt_home)._replace(free=5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    assert "has 5.0 MiB left" in refusal(capsys, "retrain")


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota"),
        (errno.EFBIG, "too large"),
        (errno.EROFS, "write permission"),
        (errno.EACCES, "write permission"),
    ],
)
def test_a_file_is_whole_or_absent_whatever_the_disk_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, part: str
):
    """The old content stays, nothing temporary is left, the sentence says what to do."""
    path = tmp_path / "fit.json"
    write_json(path, {"old": 1})

    def refuses(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(whole_files.os, "fsync", refuses)
    with pytest.raises(StorageError, match=part) as refused:
        write_json(path, {"new": 2})
    assert str(path) in str(refused.value)
    assert refused.value.exit_code == 1
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_every_writer_says_when_the_disk_is_full():
    """`/dev/full` takes nothing: Arrow, Polars and plain writes all come to the same."""
    frame = pl.DataFrame({"a": range(100_000)})
    for write in (
        lambda: frame.write_parquet("/dev/full"),
        lambda: Path("/dev/full").write_bytes(b"x" * 100_000),
    ):
        with pytest.raises((OSError, pl.exceptions.PolarsError)) as caught:
            write()
        assert "disk is full" in str(storage_error(caught.value, "here"))
    assert storage_error(ConnectionResetError(errno.ECONNRESET, "reset")) is None
    assert storage_error(ValueError("28")) is None


def test_a_path_below_a_file_is_refused(tmp_path: Path):
    """By the functions that make folders."""
    (tmp_path / "file").write_text("")
    for write in (
        lambda: make_folder(tmp_path / "file" / "below"),
        lambda: write_frame(tmp_path / "file" / "x.parquet", pl.DataFrame({"a": [1]})),
    ):
        with pytest.raises(StorageError, match="no such folder"):
            write()


def test_a_full_or_broken_sqlite_is_told(tmp_path: Path, bkt_home: Path):
    """Full while writing; a file that is no database; neither with SQL in the sentence."""
    assert bkt_home.is_dir()
    url = f"sqlite:///{tmp_path / 'bkt.db'}"
    engine = make_engine(url)
    with engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA max_page_count = 2")
        conn.exec_driver_sql("CREATE TABLE t (a text)")
        with (
            pytest.raises(DatabaseError, match="disk is full") as refused,
            explained_errors(url),
        ):
            conn.exec_driver_sql("INSERT INTO t VALUES (?)", ("x" * 100_000,))
    assert "INSERT" not in str(refused.value)
    assert "bkt prune" in str(refused.value)
    engine.dispose()


def test_a_file_that_is_no_database_is_told(bkt_home: Path, capsys: pytest.CaptureFixture[str]):
    """By every command, with what to do."""
    (bkt_home / "bkt.db").write_text("not a database, but long enough to be looked at\n" * 50)
    for words in (["status"], ["init"]):
        assert "file is not a database" in refusal(capsys, *words)


@pytest.mark.postgres
def test_a_wrong_or_expired_password_is_told(
    guarded_server: PostgresServer,
    bkt_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """What to mend, without either password; the right one works."""
    assert bkt_home.is_dir()
    address = "postgresql://{}@/postgres?host=" + str(guarded_server.folder)
    for login in ("timely:wrong-word", "late:right-word"):
        monkeypatch.setenv("BKT_DATABASE_URL", address.format(login))
        for words in (["init"], ["status"], ["params"]):
            said = refusal(capsys, *words)
            assert "password authentication failed" in said
            assert "wrong, or its account has expired" in said
            assert "-word" not in said
    monkeypatch.setenv("BKT_DATABASE_URL", address.format("timely:right-word"))
    assert run(["init"]) == 0


@pytest.mark.slow
@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_a_full_disk_costs_a_night_and_nothing_else(tmp_path: Path):
    """A real one, full at three moments of a run: a sentence each time, then all is right."""
    from prefect.settings import PREFECT_API_URL

    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "--mount", "--map-root-user", "true"], check=False
        ).returncode
    ):
        pytest.skip("no mount namespace to be had here, so no disk of our own to fill")
    log, disk = tmp_path / "attempts.parquet", tmp_path / "disk"
    write_simulation(log, SimulationPlan(n_concepts=6, n_users=400, seed=4))
    disk.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("BKT_")}
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", sys.executable, "-m",
         "tests.flows.support.small_disk", str(disk), str(log)],
        cwd=ROOT,
        env=own | {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",  # as the command line has it
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    told = found["told"]
    assert (told["init"]["code"], told["import"]["code"]) == (0, 0)
    full = {name: one for name, one in told.items() if "KiB" in name}
    for name, one in full.items():
        assert one["code"] in (1, 6), (name, one)
        assert "unexpected" not in one["err"], (name, one)
        assert "Traceback" not in one["err"], (name, one)
    assert sum("full" in one["err"] for one in full.values()) >= 2, full
    assert found["left"] == []
    assert told["retrain"]["code"] == 0, told["retrain"]
    assert found["states_are_right"]


@pytest.fixture
def guarded_server(
    new_postgres_database: Callable[[], str],
) -> PostgresServer:
    """A server that asks two accounts for their password; one of them has expired."""
    import psycopg

    from tests.postgres_server import postgres_server

    assert new_postgres_database is not None
    with postgres_server(fsync="off") as server:
        rules = "local all timely,late scram-sha-256\nlocal all all trust\n"
        (server.data / "pg_hba.conf").write_text(rules)
        with psycopg.connect(server.admin_url, autocommit=True) as conn:
            conn.execute("CREATE ROLE timely LOGIN SUPERUSER PASSWORD 'right-word'")
            conn.execute("CREATE ROLE late LOGIN PASSWORD 'right-word' VALID UNTIL '2020-1-1'")
            conn.execute("SELECT pg_reload_conf()")
        yield server
