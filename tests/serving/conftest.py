"""A running service on a database of each kind."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.moments import STARTED
from tests.serving.calling import new_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving.calling import Api


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    """The service as its settings leave it, with a key and a fixed clock."""
    one = new_api(database_url)
    with one.http.running():
        yield one


@pytest.fixture(scope="session")
def fresh_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database as `bkt init` leaves it."""
    path = tmp_path_factory.mktemp("serving") / "fresh.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(fresh_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a copy of it, for what the kind of database has no part in."""
    path = tmp_path / "bkt.db"
    shutil.copy(fresh_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def plain_api(sqlite_url: str) -> Iterator[Api]:
    """The service on SQLite, for what the database has no part in."""
    one = new_api(sqlite_url)
    with one.http.running():
        yield one
