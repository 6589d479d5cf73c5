"""prefect.yaml is accepted whole, and a wrong parameter is refused before a run exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.harness, pytest.mark.usefixtures("prefect_server")]


def prefect(*words: str) -> subprocess.CompletedProcess[str]:
    """Prefect's own command line against the test server."""
    inherited = {name: value for name, value in os.environ.items() if name != "BKT_ENV"}
    return subprocess.run(
        [str(Path(sys.executable).with_name("prefect")), "--no-prompt", *words],
        cwd=ROOT,
        env=inherited
        | {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "BKT_HOME": str(ROOT),
            "BKT_ENV": "",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_every_deployment_is_accepted_and_refuses_a_wrong_parameter():
    """The nightly flow's and the monitor's exist; an unknown engine never becomes a run."""
    pool = prefect("work-pool", "create", "bkt", "--type", "process")
    assert pool.returncode == 0, pool.stdout + pool.stderr
    deployed = prefect("deploy", "--all")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    listed = prefect("deployment", "ls").stdout
    assert "nightly/nightly" in listed
    assert "nightly/manual" in listed
    assert "monitor/weekly" in listed
    wrong = prefect("deployment", "run", "nightly/manual", "-p", 'request={"engine": "magic"}')
    assert wrong.returncode != 0
    assert "magic" in wrong.stdout + wrong.stderr
    right = prefect("deployment", "run", "nightly/manual", "-p", 'request={"engine": "pybkt"}')
    assert right.returncode == 0, right.stdout + right.stderr
