"""A data folder, an attempt log and a Prefect server for runs of the flows."""

from __future__ import annotations

import json
import os
import shutil
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import polars as pl
import pytest

from bkt_settings.pipeline import load_settings
from datasets.imports.file_import import ImportOptions, import_file
from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from datasets.synthetic import SimulationPlan, write_simulation
from flows.deployment.home import stay_offline
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED

stay_offline()  # before Prefect is imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One Prefect server for every test that runs a flow.

    No heartbeats: the end of each flow would wait for its thread, up to a second.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def migrated_tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store; its migrations take seconds, a copy does not."""
    from mlflow.tracking import MlflowClient  # noqa: TID251 - an empty store is made by MLflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def bkt_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own, named by the settings."""
    for name in [name for name in os.environ if name.startswith("BKT_")]:
        if name not in ("BKT_REQUIRE_POSTGRES", "BKT_TEST_DATABASE_URL"):
            monkeypatch.delenv(name)
    home = tmp_path / "var"
    home.mkdir()
    monkeypatch.setenv("BKT_DATA_DIR", str(home))
    return home


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an SQLite database as `bkt init` leaves it."""
    engine = make_engine(f"sqlite:///{tmp_path / 'bkt.db'}")
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED)
    yield engine
    engine.dispose()


@pytest.fixture
def tracked_home(bkt_home: Path, migrated_tracking_store: Path) -> Path:
    """The data folder with an MLflow store in it."""
    shutil.copy(migrated_tracking_store, bkt_home / "mlflow.db")
    return bkt_home


def fill(engine: Engine, home: Path, *, n_users: int = 80, n_concepts: int = 5) -> None:
    """Simulated attempts, and two concepts that cannot be fitted: tiny, and all right."""
    path = home / "attempts.parquet"
    write_simulation(path, SimulationPlan(n_concepts=n_concepts, n_users=n_users, seed=4))
    log = pl.read_parquet(path)
    tiny = log.head(5).with_columns(
        concept_id=pl.lit("tiny"), attempt_id=pl.col("attempt_id") + 10**7
    )
    one_sided = log.head(40).with_columns(
        concept_id=pl.lit("all right"),
        correct=pl.lit(1, dtype=pl.Int8),
        attempt_id=pl.col("attempt_id") + 2 * 10**7,
    )
    pl.concat([log, tiny, one_sided]).write_parquet(path)
    report = import_file(
        engine, path, ImportOptions(), quarantine_root=home / "q", at=datetime.now(UTC)
    )
    assert report.rows.accepted == report.rows.read == log.height + 45


@pytest.fixture
def night(tracked_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database of each kind with attempts, named by the settings."""
    url = engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    fill(engine, tracked_home)
    return engine


@pytest.fixture
def sqlite_night(
    tracked_home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """The same on SQLite alone."""
    monkeypatch.setenv(
        "BKT_DATABASE_URL", sqlite_engine.url.render_as_string(hide_password=False)
    )
    fill(sqlite_engine, tracked_home)
    return sqlite_engine


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A place on loopback that is notified, and what it heard."""
    messages: list[dict[str, str]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", messages
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(bkt_home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name the database of the test, with two users at two concepts."""
    assert bkt_home.is_dir()
    monkeypatch.setenv("BKT_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    import_rows(engine, [{"concept": c, "user": u} for c in ("a", "b") for u in ("ann", "bob")])
    return load_settings()


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's Prefect and MLflow are asked."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)
