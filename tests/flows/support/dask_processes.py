"""A Dask cluster on loopback: scheduler and workers as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds for a scheduler to be up.
PATIENCE = 120


@contextmanager
def cluster(n_workers: int, home: Path, *, nannies: bool = True) -> Iterator[str]:
    """Its address; workers of one thread, with a nanny that begins a dead one anew or without.

    Raises
    ------
    TimeoutError
        If no scheduler comes up.
    """
    file = home / f"scheduler-{time.monotonic_ns()}.json"
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> None:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(file)]
        begun.append(
            subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--no-dashboard"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    try:
        begin("scheduler", "--port", "0")
        until = time.monotonic() + PATIENCE
        while not file.is_file():
            if time.monotonic() > until:
                raise TimeoutError("no Dask scheduler came up")
            time.sleep(0.02)
        for _ in range(n_workers):
            begin("worker", "--nthreads", "1", *([] if nannies else ["--no-nanny"]))
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(begun):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
        file.unlink(missing_ok=True)
