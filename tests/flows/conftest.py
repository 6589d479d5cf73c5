"""A data folder, an attempt log and a Prefect server for runs of the flows."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from datasets.store.schema import upgrade
from datasets.store.seeds import seed
from datasets.store.session import make_engine
from flows.prefect_home import stay_offline
from tests.moments import STARTED

stay_offline()  # before Prefect is imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One Prefect server for every test that runs a flow."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
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
