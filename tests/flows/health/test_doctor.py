"""`bkt doctor`: sound after `bkt init`, and each fault is found with its remedy."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from pathlib import Path
from types import ModuleType

import pytest

from bkt_settings.pipeline import load_settings
from flows.cli.app import run
from flows.health import machine as doctor_machine
from flows.health.doctor import EXAMINATIONS, _examined, examine
from flows.health.findings import Level
from flows.runs.compiled import is_compiled, kernels_of
from tests.flows.support.examining import faulty, found

pytestmark = pytest.mark.usefixtures("no_server")


def test_a_fresh_installation_is_sound_after_init(
    bkt_home: Path, capsys: pytest.CaptureFixture[str]
):
    """Exit 1 before, with the remedy; 0 after, although production parts are absent."""
    assert run(["doctor"]) == 1
    assert "Run `bkt init`." in capsys.readouterr().out
    assert list(bkt_home.iterdir()) == []
    assert run(["init"]) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in bkt_home.iterdir()}
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    verdicts = {check["name"]: check["verdict"] for check in told["checks"]}
    assert verdicts["database"] == verdicts["clock"] == verdicts["data folder"] == "ok"
    assert verdicts["mlflow"] == verdicts["prefect"] == "warn"
    assert "fail" not in verdicts.values()
    remedies = [c["remedy"] for c in told["checks"] if c["verdict"] != "ok"]
    assert all(remedy and remedy.endswith(".") for remedy in remedies)
    assert {path.name: path.read_bytes() for path in bkt_home.iterdir()} == before


@pytest.mark.usefixtures("bkt_home")
def test_a_probe_asks_for_the_checks_that_it_wants(capsys: pytest.CaptureFixture[str]):
    """One JSON object on stdout, exit 1 where a check fails; a misspelt name is usage."""
    probe = ["doctor", "--json", "--check", "database", "--check", "python"]
    assert run(probe) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert {check["name"] for check in told["checks"]} == {"database", "python"}
    assert run(["init"]) == 0
    capsys.readouterr()
    assert run(probe) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert run(["doctor", "--check", "databse"]) == 2
    assert "'databse' is none of them" in capsys.readouterr().err


@pytest.mark.usefixtures("bkt_home")
def test_another_python_or_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Outside the bounds is a fault; other than locked is worth a warning."""
    project, lock = tmp_path / "pyproject.toml", tmp_path / "requirements.lock"
    monkeypatch.setattr(doctor_machine, "PROJECT", project)
    monkeypatch.setattr(doctor_machine, "LOCK", lock)
    project.write_text(
        '[project]\nrequires-python = ">=3.11"\ndependencies = ["numpy<1", "no-such-thing"]\n'
    )
    told = faulty(doctor_machine.examine_packages, "packages")
    assert "numpy" in told
    assert "no-such-thing is missing" in told
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.4")
    assert "3.10.4" in faulty(doctor_machine.examine_python, "python")
    project.write_text('[project]\ndependencies = ["numpy>=1"]\n')
    lock.write_text('numpy==0.1 \\\n    --hash=sha256:0\nnope==1 ; sys_platform == "mars"\n')
    (finding,) = found(doctor_machine.examine_packages).values()
    assert finding.level is Level.WARN
    assert "1 of 1 differ" in finding.message


def test_a_folder_that_cannot_be_written_is_found(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Below a file, and one that the system itself forbids, even to root."""
    file = bkt_home / "file"
    file.write_text("")
    monkeypatch.setenv("BKT_DATA_DIR", str(file / "var"))
    assert "BKT_DATA_DIR" in faulty(doctor_machine.examine_data_dir, "data folder")
    monkeypatch.setenv("BKT_DATA_DIR", "/proc")
    assert "/proc cannot be written" in faulty(doctor_machine.examine_data_dir, "data folder")


@pytest.mark.usefixtures("bkt_home")
def test_a_disk_without_room_is_found(monkeypatch: pytest.MonkeyPatch):
    """Less than the settings ask for."""
    monkeypatch.setenv("BKT_DOCTOR__MIN_FREE_GIB", "1e9")
    assert "bkt prune" in faulty(doctor_machine.examine_disks, "disk")
    monkeypatch.setenv("BKT_DOCTOR__MIN_FREE_GIB", "0")
    assert found(doctor_machine.examine_disks)["disk"].level is Level.OK


KERNEL = """
from numba import njit

@njit(cache=True)
def double(n):
    return 2 * n
"""


def _import_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_on_disk", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("bkt_home")
def test_stale_and_unkept_kernels_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Code of another source is none, a touched file is; a closed folder is a fault."""
    source = tmp_path / "kernel_on_disk.py"
    source.write_text(KERNEL)
    _import_of(source).double(2)

    def level() -> Level:
        kernel = _import_of(source).double
        monkeypatch.setattr(doctor_machine, "cached_kernels", lambda: [kernel])
        return found(doctor_machine.examine_kernels)["kernels"].level

    assert level() is Level.OK
    os.utime(source, (2**33, 2**33))
    assert level() is Level.OK
    source.write_text(KERNEL.replace("2 * n", "3 * n"))
    os.utime(source, (2**34, 2**34))
    assert level() is Level.WARN
    monkeypatch.setattr(doctor_machine, "_can_be_written", lambda _folder: False)
    assert "NUMBA_CACHE_DIR" in faulty(doctor_machine.examine_kernels, "kernels")


def test_the_real_kernels_are_known_by_their_indexes():
    """The names that Numba gives its files are those that we look for."""
    import numpy as np

    from bkt_core import kernels
    from bkt_core.params import BktParams
    from bkt_core.replay import replay
    from bkt_core.sequences import AttemptSequences

    one = AttemptSequences(np.ones(1, dtype=np.int8), np.array([0, 1], dtype=np.int64))
    replay(one, BktParams(0.1, 0.1, 0.1, 0.25))
    compiled = [k for k in kernels_of(kernels) if k.nopython_signatures]
    assert compiled
    assert all(map(is_compiled, compiled))


def test_an_examination_that_breaks_hides_no_other(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is a fault itself, beside all the others; --debug lets it through."""
    assert bkt_home.is_dir()

    def breaks(_settings: object) -> object:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setitem(EXAMINATIONS, "disk", breaks)
    findings = {finding.name: finding for finding in examine(load_settings())}
    assert findings["disk"].level is Level.FAIL
    assert "nobody thought of this" in findings["disk"].message
    assert findings["python"].level is Level.OK
    with pytest.raises(ZeroDivisionError):
        _examined("disk", breaks, load_settings(), debug=True)  # type: ignore[arg-type] # breaks
