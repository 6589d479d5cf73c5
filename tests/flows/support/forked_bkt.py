"""`bkt` for tests that call it often: imports once, then forks for every call.

`python -m tests.flows.support.forked_bkt SOCKET` listens; the program that `write_program`
makes takes the place of `bkt` and hands its arguments, folder, environment and output over.
Nothing but imports happens before a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from flows.deployment.home import stay_offline

if TYPE_CHECKING:
    from collections.abc import Iterator

stay_offline()

#: What a run imports; the smaller commands import some of it.
HEAVY = (
    "flows.cli.app",
    "flows.nightly",
    "flows.backfill_params",
    "flows.actions.roll_back",
    "flows.tracking.client",
    "flows.reports.page",
    "flows.reports.data_page",
    "mlflow.pyfunc",
)
LONGEST = 2**20
START_SECONDS = 120
ROOT = Path(__file__).resolve().parents[3]

#: Only commands that run flows are forked: a server must be a process that its reader can end,
#: and the doctor asks what is installed, with no server of Prefect's that is not the reader's.
_CLIENT = """
import json, os, socket, sys
if sys.argv[1:2] == ["doctor"]:
    os.environ.pop("PREFECT_API_URL", None)
if sys.argv[1:2] not in (["retrain"], ["fit"], ["backfill"]):
    os.execv({bkt!r}, [{bkt!r}, *sys.argv[1:]])
call = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
call.connect({listening!r})
asked = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
socket.send_fds(call, [json.dumps(asked).encode() + b"\\n"], [0, 1, 2])
sys.exit(int(call.makefile().readline()))
"""


def write_program(folder: Path, listening: Path) -> None:
    """Make `bkt` in a folder: a program, so that `kill` of a job reaches it."""
    folder.mkdir(exist_ok=True)
    client = folder / "client.py"
    bkt = Path(sys.executable).with_name("bkt")
    client.write_text(_CLIENT.format(bkt=str(bkt), listening=str(listening)))
    program = folder / "bkt"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{client}" "$@"\n')
    program.chmod(0o755)


@contextmanager
def forking(listening: Path, env: dict[str, str]) -> Iterator[None]:
    """Have the server run, with the environment that Prefect is to find as it is imported."""
    command = [sys.executable, "-m", "tests.flows.support.forked_bkt", str(listening)]
    server = subprocess.Popen(command, env=env, cwd=ROOT)
    try:
        deadline = monotonic() + START_SECONDS
        while not listening.exists() and server.poll() is None and monotonic() < deadline:
            sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


def serve(path: str) -> None:
    """Answer one call after another, for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()
        for module in HEAVY:  # callers wait in the queue meanwhile
            importlib.import_module(module)
        while True:
            call, _ = listening.accept()
            with call:
                told, fds, _, _ = socket.recv_fds(call, LONGEST, 3)
                while not told.endswith(b"\n"):
                    told += call.recv(LONGEST)
                code = forked(json.loads(told), fds)
                call.sendall(f"{code}\n".encode())


def forked(asked: dict[str, Any], fds: list[int]) -> int:
    """The exit code of one call, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for own, given in enumerate(fds):
                os.dup2(given, own)
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["env"])
            code = importlib.import_module("flows.cli.app").run(asked["argv"])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for given in fds:
        os.close(given)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    serve(sys.argv[1])
