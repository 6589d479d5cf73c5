"""Hypothesis profiles, databases of both kinds, and where the real attempt logs lie."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from datasets.store.connections.engines import make_engine
from datasets.store.params.seeds import seed
from datasets.store.schema.revision import upgrade
from tests.moments import STARTED
from tests.postgres_server import NoServerError, PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


#: A file system in memory, and the bytes that must be free in it: thousands of small files that
#: live for one test cost more on a disk than the tests themselves.
MEMORY, MEMORY_ROOM = Path("/dev/shm"), 6 << 30


def pytest_configure() -> None:
    """Temporary files lie in memory where there is room, unless TMPDIR names another place."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    room = os.statvfs(MEMORY)
    if room.f_flag & os.ST_NOEXEC or room.f_bavail * room.f_frsize < MEMORY_ROOM:
        return
    folder = tempfile.mkdtemp(prefix="bkt-tests-", dir=MEMORY)
    Path(folder).chmod(0o755)  # PostgreSQL runs as nobody where we are root
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    # Registered first, called last: Prefect removes its own folder inside it at exit as well.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that tests run beside each other end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def new_postgres_database() -> Iterator[Callable[[], str]]:
    """Makes the URL of a fresh PostgreSQL database.

    Of the server that BKT_TEST_DATABASE_URL names, else of one that is started here. Where
    neither is to be had the test is skipped, or fails if BKT_REQUIRE_POSTGRES=1.
    """
    given = os.environ.get("BKT_TEST_DATABASE_URL")
    with ExitStack() as stack:
        if given:
            yield lambda: _new_database_on(given)
            return
        try:
            server: PostgresServer = stack.enter_context(postgres_server(fsync="off"))
        except NoServerError as missing:
            if os.environ.get("BKT_REQUIRE_POSTGRES") == "1":
                pytest.fail(f"BKT_REQUIRE_POSTGRES=1, but {missing}")
            pytest.skip(str(missing))
        yield server.new_database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Once sqlite, once postgres."""
    return str(request.param)


@pytest.fixture
def empty_database_url(
    request: pytest.FixtureRequest, database_kind: str, tmp_path: Path
) -> Iterator[str]:
    """The URL of an empty database, once of each kind."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'bkt.db'}"
        return
    make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    url = make()
    yield url
    _drop(url)


@pytest.fixture
def empty_engine(empty_database_url: str) -> Iterator[Engine]:
    """An engine on an empty database, once of each kind."""
    engine = make_engine(empty_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file as `bkt init` leaves it, to be copied."""
    path = tmp_path_factory.mktemp("template") / "bkt.db"
    _initialise(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(new_postgres_database: Callable[[], str]) -> str:
    """The URL of a PostgreSQL database as `bkt init` leaves it, to be copied."""
    url = new_postgres_database()
    _initialise(url)
    return url


@pytest.fixture
def engine(
    request: pytest.FixtureRequest, database_kind: str, tmp_path: Path
) -> Iterator[Engine]:
    """An engine on a database as `bkt init` leaves it, once of each kind."""
    if database_kind == "sqlite":
        path = tmp_path / "bkt.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        engine = make_engine(f"sqlite:///{path}")
    else:
        engine = make_engine(_copy_of(request.getfixturevalue("postgres_template")))
    yield engine
    engine.dispose()
    if database_kind != "sqlite":
        _drop(engine.url.render_as_string(hide_password=False))


@pytest.fixture
def database_url(engine: Engine) -> str:
    """The URL of a database as `bkt init` leaves it, once of each kind."""
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def benchmark_data() -> Path:
    """The folder of the real attempt logs."""
    folder = os.environ.get("BKT_BENCHMARK_DATA")
    if not folder:
        pytest.skip("the real attempt logs are not here: BKT_BENCHMARK_DATA is not set")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"BKT_BENCHMARK_DATA must name a folder, got {folder}")
    return path


def _initialise(url: str) -> None:
    engine = make_engine(url)
    upgrade(engine)
    with engine.begin() as conn:
        seed(conn, at=STARTED)
    engine.dispose()


def _copy_of(url: str) -> str:
    """A new database with the contents of one that nobody is connected to."""
    name = f"bkt_{uuid4().hex[:12]}"
    _administer(url, f'CREATE DATABASE "{name}" TEMPLATE "{make_url(url).database}"')
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _new_database_on(url: str) -> str:
    name = f"bkt_{uuid4().hex[:12]}"
    _administer(url, f'CREATE DATABASE "{name}"')
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _drop(url: str) -> None:
    _administer(url, f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')


def _administer(url: str, statement: str) -> None:
    """On the server of a database, by way of the one that is always there."""
    address = make_url(url).set(drivername="postgresql", database="postgres")
    admin = address.render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(statement)  # type: ignore[call-overload] # names of ours
