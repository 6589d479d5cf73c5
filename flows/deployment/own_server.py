"""A Prefect server of a run's own, where none is configured: it ends whenever its run does.

Prefect would start one by itself, of 230 MB, when a flow is called: only then, beside a second
import of all its server's modules in the run's process, and for good if that process is killed
(docs/decisions/0210). This one is forked off once Prefect's client is imported and before
anything starts a thread, works while the run imports what it needs, and watches its parent.
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
#: Seconds that a server may take to answer; its first start makes its database.
PATIENCE = 120.0
#: Seconds between two looks at whether the run still lives.
WATCH = 0.5
#: Seconds that an ending server has for what it is doing.
LAST_WORK = 3.0

_running: dict[int, OwnServer] = {}


class OwnServer:
    """The forked process, its port, and the file that holds what it said."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.pid, self.port, self.log = pid, port, log
        self.exit_code: int | None = None

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is to name."""
        return f"http://{HOST}:{self.port}/api"

    def wait(self) -> None:
        """Wait until it answers; raises `StorageError` where it ended or takes too long."""
        give_up_at = time.monotonic() + PATIENCE
        while not self._answers():
            if self._has_ended():
                raise StorageError(
                    "Prefect's server of this run must start, and ended with code "
                    f"{self.exit_code}: {self.log} says why. Name another server by "
                    f"PREFECT_API_URL, or move {self.log.parent} away and run it again."
                )
            if time.monotonic() > give_up_at:
                raise StorageError(
                    f"Prefect's server of this run must answer within {PATIENCE:g} s, and does "
                    f"not; {self.log} may say why. Run the command again when the machine has "
                    "less to do, or name another server by PREFECT_API_URL."
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, and wait until it has."""
        give_up_at = time.monotonic() + 2 * LAST_WORK
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
            except ChildProcessError:  # reaped by another
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
    """Fork a server that keeps its database in `home`, and name it in PREFECT_API_URL.

    Call it while this process has one thread, before Prefect is used. The server ends with this
    process, however that ends.
    """
    if provide_database(home):
        os.environ["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
    listening = socket.create_server((HOST, 0), backlog=128)
    log = home / "server.log"
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{listening.getsockname()[1]}/api"
    import prefect  # noqa: F401 - for both processes

    run = os.getpid()
    pid = os.fork()
    if pid == 0:
        _serve(listening, log, run)
    server = OwnServer(pid, listening.getsockname()[1], log)
    listening.close()
    _running[run] = server
    atexit.register(_stop, run)
    return server


@contextmanager
def own_server() -> Iterator[None]:
    """Around a flow: this process's own server, if it has one, answers.

    Nobody looks for heartbeats there, and the end of a flow would wait for their thread.
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
    """At the end of a run; a process that the run forked stops nothing."""
    if os.getpid() == run:
        _running.pop(run).stop()


def _serve(listening: socket.socket, log: Path, run: int) -> NoReturn:
    """Be the server, until told to end or until the run is gone; never returns."""
    code = 1
    try:
        os.setsid()  # keys such as Ctrl-C are for the run, which needs its server to close down
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
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
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it is
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _prefect_app() -> object:
    """Prefect's server; what stops it is logged, though a run mutes Prefect's console."""
    from prefect.server.api.server import create_app

    app = create_app()
    errors = logging.getLogger("uvicorn.error")
    errors.addHandler(logging.StreamHandler())
    errors.setLevel(logging.ERROR)
    return app


def _redirect(log: Path) -> None:
    """No input, no output but the log: a run's output may be a pipe that waits for its end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, target)


def _end_with(run: int, server: object) -> None:
    while os.getppid() == run:
        time.sleep(WATCH)
    server.should_exit = True  # type: ignore[attr-defined] # uvicorn's
    time.sleep(LAST_WORK)
    os._exit(1)
