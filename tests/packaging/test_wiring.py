"""The processes of compose.yaml on loopback: their own commands, through a whole night.

No container engine is needed: each command of the file is started here, with its environment,
hosts and ports replaced. The image itself is not built.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from datasets.store.connections.engines import make_engine
from tests.flows.support.night_oracle import expected_states, stored_states
from tests.packaging.containers import ROOT, on_loopback, services
from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.packaging.containers import Process

SECRETS = {"POSTGRES_PASSWORD": "p" * 64, "BKT_TOKEN_KEY": "k" * 64}
SERVERS = ("mlflow:5000", "prefect:4200", "api:8210", "postgres:5432")
PATIENCE = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.harness,
    pytest.mark.postgres,
    pytest.mark.timeout(2 * PATIENCE),
]


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def environment(process: Process) -> dict[str, str]:
    """Nothing of the environment of the tests but where programs and packages are."""
    kept = {name: os.environ[name] for name in ("TMPDIR", "LANG") if name in os.environ}
    own = {name: v for name, v in process.environment.items() if name != "NUMBA_CACHE_DIR"}
    beside = str(Path(sys.executable).parent)
    return kept | own | {"PATH": f"{beside}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}


def run_once(process: Process, folder: Path) -> str:
    """A process that ends, as one with `restart: no`."""
    done = subprocess.run(
        process.command, cwd=folder, env=environment(process),
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, (process.name, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


@contextmanager
def running(process: Process, folder: Path, healthy: Callable[[], bool]) -> Iterator[None]:
    """A process that goes on, healthy; ended with all that it started."""
    log = folder / f"{process.name}.log"
    with log.open("w") as out:
        child = subprocess.Popen(
            process.command, cwd=folder, env=environment(process),
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while not healthy():
            assert child.poll() is None, (process.name, log.read_text()[-3000:])
            assert time.monotonic() < until, (process.name, log.read_text()[-3000:])
            time.sleep(0.5)
        yield
    finally:
        child.terminate()
        try:
            child.wait(60)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, 9)
                child.wait()


def answers(url: str) -> Callable[[], bool]:
    """Whether an address answers with success."""

    def asked() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.HTTPError:
            return False

    return asked


def test_the_processes_of_compose_run_a_night_together(tmp_path: Path):
    """Schema, deployments, a sample through a worker: every state is its replay."""
    ports = {server: free_port() for server in SERVERS}
    found = services(SECRETS)
    one = {
        name: on_loopback(service, name, ports, tmp_path / "data")
        for name, service in found.items()
        if name != "postgres"
    }
    (tmp_path / "data").mkdir()
    at = {server.partition(":")[0]: f"http://127.0.0.1:{p}" for server, p in ports.items()}
    with ExitStack() as stack:
        port = ports["postgres:5432"]
        server = stack.enter_context(
            postgres_server(listen_addresses="127.0.0.1", port=str(port))
        )
        make_databases(f"host={server.folder} port={port} user=postgres dbname=postgres")
        run_once(one["init"], tmp_path)
        for name, health in (("mlflow", "/health"), ("prefect", "/api/health")):
            stack.enter_context(running(one[name], tmp_path, answers(at[name] + health)))
        inside = httpx.get(at["mlflow"] + "/health", headers={"Host": "mlflow:5000"})
        assert inside.is_success, inside.text
        run_once(one["deploy"], tmp_path)
        stack.enter_context(running(one["worker"], tmp_path, lambda: True))
        stack.enter_context(running(one["api"], tmp_path, answers(at["api"] + "/ready")))
        run_once(sample_of(one["sample"], tmp_path), tmp_path)
        probe = subprocess.run(
            one["worker"].healthcheck, env=environment(one["worker"]), cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert probe.returncode == 0, probe.stdout
        engine = make_engine(f"postgresql://bkt:x@127.0.0.1:{port}/bkt")
        assert stored_states(engine) == expected_states(engine)
        assert stored_states(engine)
        engine.dispose()


def make_databases(address: str) -> None:
    """What the PostgreSQL container makes of its variables and of databases.sql."""
    statements = (ROOT / "containers" / "databases.sql").read_text().split(";")
    with psycopg.connect(address, autocommit=True) as conn:
        conn.execute("CREATE ROLE bkt SUPERUSER LOGIN")
        conn.execute("CREATE DATABASE bkt")
        for statement in filter(str.strip, statements):
            conn.execute(statement)  # type: ignore[call-overload] # a file of ours


def sample_of(process: Process, folder: Path) -> Process:
    """The sample, smaller, and in the folder of the test."""
    words = [
        word.replace("/tmp/", f"{folder}/").replace(
            "--users 200 --concepts 8", "--users 40 --concepts 3"
        )
        for word in process.command
    ]
    assert shutil.which(words[0])
    return type(process)(process.name, words, process.environment, [])
