"""A temporary Prefect server for one run, if no server is configured; it ends with the run.

Prefect could start a temporary server itself, but only when a flow is called; that costs 230 MB
and a second import of the server's modules, and the server survives if the run is killed
(docs/decisions/0210). The server here is forked after Prefect's client is imported and before
any thread starts. It starts up while the run imports its own modules, and it watches its
parent.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, NoReturn

from datasets.errors import StorageError
from flows.deployment.prefect_database import provide_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
#: Signals that end a run, and its server.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Seconds in which the server must answer; its first start creates its database.
STARTUP_TIMEOUT = 120.0
#: Seconds between two checks whether the run is still alive.
PARENT_POLL_SECONDS = 0.5
#: Seconds that a stopping server has to finish its requests.
SHUTDOWN_GRACE = 3.0

_running: dict[int, OwnServer] = {}


class OwnServer:
    """The forked server process, its port, and the file with its output."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.pid, self.port, self.log = pid, port, log
        self.exit_code: int | None = None

    @property
    def api_url(self) -> str:
        """The value for PREFECT_API_URL."""
        return f"http://{HOST}:{self.port}/api"

    def wait(self) -> None:
        """Wait until the server answers.

        Raises `StorageError` if the server ended or does not answer within `STARTUP_TIMEOUT`.
        """
        give_up_at = time.monotonic() + STARTUP_TIMEOUT
        while not self._answers():
            if self._has_ended():
                raise StorageError(
                    f"The Prefect server of this run did not start (exit code "
                    f"{self.exit_code}); see {self.log}. Use another server via "
                    f"PREFECT_API_URL, or move {self.log.parent} and retry."
                )
            if time.monotonic() > give_up_at:
                raise StorageError(
                    "The Prefect server of this run did not answer within "
                    f"{STARTUP_TIMEOUT:g} s; see {self.log}. Retry when the machine is less "
                    "busy, or use another server via PREFECT_API_URL."
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server and wait until its process has ended."""
        give_up_at = time.monotonic() + 2 * SHUTDOWN_GRACE
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        while not self._has_ended():
            if time.monotonic() > give_up_at:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)

    def _has_ended(self) -> bool:
        if self.exit_code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # another caller has reaped the process
                self.exit_code = 0
            else:
                if pid:
                    self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def _answers(self) -> bool:
        connection = HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def start_own_server(home: Path) -> OwnServer:
    """Fork a server that keeps its database in `home`, and set PREFECT_API_URL to its address.

    Call it while this process has a single thread, before Prefect is used. The server ends when
    this process ends, even if this process is killed.
    """
    if provide_database(home):
        os.environ["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    listening = socket.create_server((HOST, 0), backlog=128)
    log = home / "server.log"
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{listening.getsockname()[1]}/api"
    import prefect  # noqa: F401 - for both processes

    run = os.getpid()
    # The forked process has the run's handlers until it sets its own: a signal waits so long.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        pid = os.fork()
        if pid == 0:
            _serve(listening, log, run)
        server = OwnServer(pid, listening.getsockname()[1], log)
        _running[run] = server
        atexit.register(_stop, run)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    listening.close()
    return server


@contextmanager
def own_server() -> Iterator[None]:
    """Wait until this process's server answers, if it has one; use it around a flow.

    Heartbeats are switched off there: nothing watches them on such a server, and the end of a
    flow would wait for the thread that sends them.
    """
    server = _running.get(os.getpid())
    if server is None:
        yield
        return
    server.wait()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _stop(run: int) -> None:
    """Stop the server when the run ends; processes that the run forked do not stop it."""
    if os.getpid() == run:
        _running.pop(run).stop()


def _serve(listening: socket.socket, log: Path, run: int) -> NoReturn:
    """Run the server in the forked process until it is stopped or the run has ended."""
    code = 1
    try:
        os.setsid()  # Ctrl-C must reach only the run, which needs its server to shut down
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        _redirect(log)
        os.environ.update({"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"})
        import uvicorn

        config = uvicorn.Config(
            _prefect_app,
            factory=True,
            log_level="error",
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=_end_with, args=(run, server), daemon=True).start()
        server.run(sockets=[listening])
        code = 0
    except BaseException:  # noqa: BLE001 - any error ends this process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _prefect_app() -> object:
    """Create the Prefect server; its errors are logged although runs mute Prefect's console."""
    from prefect.server.api.server import create_app

    app = create_app()
    errors = logging.getLogger("uvicorn.error")
    errors.addHandler(logging.StreamHandler())
    errors.setLevel(logging.ERROR)
    return app


def _redirect(log: Path) -> None:
    """Redirect stdin to the null device, and stdout and stderr to the log.

    The run's output may be a pipe whose reader waits until every process has closed it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _end_with(run: int, server: object) -> None:
    """Stop the server once its parent is no longer the run; then end the process."""
    while os.getppid() == run:
        time.sleep(PARENT_POLL_SECONDS)
    server.should_exit = True  # type: ignore[attr-defined] # uvicorn's
    time.sleep(SHUTDOWN_GRACE)
    os._exit(1)
