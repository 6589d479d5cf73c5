"""`bkt` that is asked to end takes along what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Seconds until a retrain has started its Prefect server, and until both are gone.
START_SECONDS, END_SECONDS = 120, 30


def members(session: int) -> set[int]:
    """The living processes of a session."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own) == session and state not in {"Z", "X"}:
            found.add(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.harness
def test_a_retrain_that_is_asked_to_end_leaves_no_prefect_server(sqlite_night: Engine):
    """A service that ends, a worker and `kill` all ask by SIGTERM."""
    assert sqlite_night.dialect.name == "sqlite"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    child = subprocess.Popen(
        [sys.executable, "-m", "flows", "retrain"], env=environment, start_new_session=True
    )
    try:
        until = time.monotonic() + START_SECONDS
        while len(members(child.pid)) < 2:
            assert child.poll() is None, "the retrain must start a server"
            assert time.monotonic() < until
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=END_SECONDS)
        until = time.monotonic() + END_SECONDS
        while left := members(child.pid):
            assert time.monotonic() < until, f"processes {left} must end"
            time.sleep(0.1)
        assert child.returncode == 128 + signal.SIGTERM
    finally:
        if members(child.pid):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
