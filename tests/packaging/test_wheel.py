"""What the wheel holds: all packages, and the files that an installation is configured by."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from bkt_settings.home import HOME
from tests.packaging.check_wheel import ROOT, build_wheel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_the_wheel_carries_what_an_installation_reads(tmp_path: Path):
    """Settings, roles, deployments, the page's template and every migration; no tests."""
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        names = set(wheel.namelist())
        carried = wheel.read("bkt_settings/installed/conf/default.toml")
    assert carried == (ROOT / "conf" / "default.toml").read_bytes()
    for name in ("docs/roles.sql", "prefect.yaml", "pyproject.toml", "requirements.lock"):
        assert f"bkt_settings/installed/{name}" in names
    assert "flows/reports/page.html" in names
    for package in ("bkt_core", "bkt_settings", "datasets", "flows", "serving"):
        own = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert own <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_a_checkout_is_configured_by_its_own_files():
    """Not by what an earlier build left."""
    assert HOME == ROOT
    assert not (ROOT / "bkt_settings" / "installed").exists()
