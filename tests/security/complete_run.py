"""One complete life of an installation, with secrets planted wherever one can be given.

PostgreSQL that asks for a password, an MLflow server with a login in its address, a key of the
service, another database with a password of its own: then every command, one run that fails
inside its flow, and one with a wrong password. Every command is watched for pickles, and its
processes for sockets that listen.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import psycopg

from tests.security.listening import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 300

#: Planted; with signs that an address must escape.
DATABASE_PASSWORD = "Plant/ed-database-1"
SOURCE_PASSWORD = "Plant@ed-source-2"
MLFLOW_PASSWORD = "Planted%mlflow-3"
TOKEN_KEY = "Planted-token-key-4-" + "k" * 20
WRONG_PASSWORD = "Planted-wrong-password-5"
SECRETS = (DATABASE_PASSWORD, SOURCE_PASSWORD, MLFLOW_PASSWORD, TOKEN_KEY, WRONG_PASSWORD)

QUERY = (
    "SELECT n AS attempt_id, 'q' || n AS user_id, 'concept-001' AS concept_id, "
    "n % 2 AS correct, now() AS attempted_at FROM generate_series(1, 5) AS n"
)


@dataclass(frozen=True, slots=True)
class Said:
    """What one command said and returned."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class CompleteRun:
    """Where everything lies, and what was seen on the way."""

    home: Path
    tracking: Path
    server: PostgresServer
    admin_url: str
    said: dict[str, Said] = field(default_factory=dict)
    #: (what was done to a pickle, by which chain of modules, how often).
    pickled: list[tuple[str, str, int]] = field(default_factory=list)
    #: Addresses on which any process of ours listened.
    listened: set[str] = field(default_factory=set)


def complete_run(folder: Path, server: PostgresServer) -> CompleteRun:
    """Live it; some minutes of work in one."""
    ask_for_passwords(server)
    run = CompleteRun(
        home=folder / "var",
        tracking=folder / "mlflow",
        server=server,
        admin_url=f"postgresql://postgres@/plants?host={server.folder}",
    )
    run.tracking.mkdir(parents=True)
    with mlflow_server(run) as port:
        good = environment(run, DATABASE_PASSWORD, port)
        wrong = environment(run, WRONG_PASSWORD, port)["BKT_DATABASE_URL"]
        log = str(folder / "a.parquet")
        live(
            run,
            good,
            [
                step("simulate", "simulate", log, "--users", "60", "--concepts", "3"),
                step("init", "init"),
                step("import", "import", log),
                step("query", "import", "--query", QUERY),
                step("fails", "retrain", "--concept", "nope", "--debug"),
                step("retrain", "retrain", "--debug"),
                step("champion", "load-champion"),
                step("monitor", "monitor"),
                step("rollback", "rollback", "--concept", "concept-001"),
                step("report", "report"),
                step("status", "status", "--json"),
                step("doctor", "doctor", "--json"),
                step("wrong retrain", "retrain", "--debug", BKT_DATABASE_URL=wrong),
                step("wrong doctor", "doctor", "--json", BKT_DATABASE_URL=wrong),
            ],
        )
        serve(run, good)
    return run


def step(name: str, *words: str, **environment: str) -> dict[str, object]:
    """One command and the variables that differ from then on."""
    return {"name": name, "words": words, "environment": environment}


def ask_for_passwords(server: PostgresServer) -> None:
    """Two roles that must give one, and a database of theirs."""
    rules = "local all guarded,source scram-sha-256\nlocal all all trust\n"
    (server.data / "pg_hba.conf").write_text(rules)
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        for role, password in (("guarded", DATABASE_PASSWORD), ("source", SOURCE_PASSWORD)):
            conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")  # type: ignore[call-overload] # ours
        conn.execute("CREATE DATABASE plants OWNER guarded")
        conn.execute("SELECT pg_reload_conf()")


def environment(run: CompleteRun, password: str, mlflow_port: int) -> dict[str, str]:
    """The environment of a command; a person's own settings are left out."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("BKT_", "PREFECT_"))}
    host = f"host={run.server.folder}"
    return own | {
        "PYTHONPATH": str(ROOT),
        "BKT_DATA_DIR": str(run.home),
        "BKT_DATABASE_URL": f"postgresql://guarded:{quote(password, safe='')}@/plants?{host}",
        "BKT_SOURCE_URL": f"postgresql://source:{quote(SOURCE_PASSWORD)}@/postgres?{host}",
        "BKT_MLFLOW_TRACKING_URI": (
            f"http://ann:{quote(MLFLOW_PASSWORD)}@127.0.0.1:{mlflow_port}"
        ),
        "BKT_SERVING__TOKEN_KEYS": json.dumps([TOKEN_KEY]),
        "BKT_LOG__LEVEL": "debug",
        "BKT_LOG__FORMAT": "json",
        "BKT_LOG__TO": "run",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }


def live(run: CompleteRun, env: dict[str, str], steps: list[dict[str, object]]) -> None:
    """Commands to their end in one process, watched."""
    plan, report = run.tracking.parent / "plan.json", run.tracking.parent / "report.json"
    plan.write_text(json.dumps(steps))
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.security.watched", str(plan), str(report)],
        cwd=run.tracking.parent,
        env=env,
    )
    with Listeners(child.pid) as listeners:
        assert child.wait(timeout=COMMAND_SECONDS) == 0
    run.listened |= listeners.addresses
    found = json.loads(report.read_text())
    run.said |= {name: Said(**told) for name, told in found["said"].items()}
    run.pickled += [tuple(row) for row in found["pickled"]]


def serve(run: CompleteRun, env: dict[str, str]) -> None:
    """The service for a moment, asked with a wrong token."""
    port = free_port()
    words = ["serve", "--port", str(port), "--debug"]
    child = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli.app import main; main()", *words],
        cwd=run.home.parent,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Listeners(child.pid) as listeners:
        try:
            wait_for(f"http://127.0.0.1:{port}/v1/health", child)
        finally:
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=COMMAND_SECONDS)
    run.listened |= listeners.addresses
    run.said["serve"] = Said(child.returncode, out, err)


@contextmanager
def mlflow_server(run: CompleteRun) -> Iterator[int]:
    """An MLflow server that keeps everything below `run.tracking`; yields its port."""
    port = free_port()
    log = (run.tracking / "server.log").open("wb")
    child = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("mlflow")), "server",
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{run.tracking / 'mlflow.db'}",
            "--artifacts-destination", str(run.tracking / "artifacts"),
        ],
        cwd=run.tracking,
        env=os.environ
        | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        with Listeners(child.pid) as listeners:
            wait_for(f"http://127.0.0.1:{port}/health", child)
            yield port
        run.listened |= listeners.addresses
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=60)
        log.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(url: str, child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Until it answers, whatever it says; at most as long as a command may take."""
    give_up = time.monotonic() + COMMAND_SECONDS
    while time.monotonic() < give_up and child.poll() is None:
        try:
            httpx.get(url, timeout=5)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{url} did not answer; the server returned {child.poll()}")
