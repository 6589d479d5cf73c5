"""The short form of `make torture`: a minute of kills on both databases, bad designs caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres_server import NoServerError, find_binaries

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_nothing_is_lost_under_a_minute_of_kills():
    try:
        find_binaries()
    except NoServerError as missing:
        if os.environ.get("BKT_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"BKT_REQUIRE_POSTGRES=1, but {missing}")
        pytest.skip(str(missing))
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
