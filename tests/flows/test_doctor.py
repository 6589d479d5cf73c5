"""`bkt doctor`: sound after `bkt init`, and each fault is found with its remedy."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

from datasets.store.schema import downgrade
from datasets.store.session import reading
from flows import doctor_machine, doctor_services
from flows.cli import run
from flows.doctor import Verdict, _examined, examine
from flows.prefect_api import Planned, PrefectServer
from flows.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from flows.doctor import Examination, Finding


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch):
    """Nobody's Prefect and MLflow are asked."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)


def found(examination: Examination) -> dict[str, Finding]:
    """What one examination finds, by name."""
    return {finding.name: finding for finding in examination(load_settings())}


def faulty(examination: Examination, name: str) -> str:
    """The one fault that an examination finds under a name, with its remedy in a sentence."""
    fault = found(examination)[name]
    assert fault.verdict is Verdict.FAIL
    assert fault.remedy is not None
    assert fault.remedy.endswith(".")
    return f"{fault.told} {fault.remedy}"


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
    assert finding.verdict is Verdict.WARN
    assert "1 of 1 differ" in finding.told


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
    assert found(doctor_machine.examine_disks)["disk"].verdict is Verdict.OK


def some_function() -> None:
    """Stands for a kernel; its place in this file is in the name of its index."""


@pytest.mark.usefixtures("bkt_home")
def test_stale_and_unkept_kernels_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An index older than the source is none; a closed folder is a fault."""
    cache = tmp_path / "cache"
    cache.mkdir()
    kernel = SimpleNamespace(
        stats=SimpleNamespace(cache_path=str(cache)), py_func=some_function
    )
    monkeypatch.setattr(doctor_machine, "_cached_kernels", lambda _module: [kernel])
    line = some_function.__code__.co_firstlineno
    index = cache / f"test_doctor.some_function-{line}.py311.nbi"
    for written, verdict in ((0, Verdict.WARN), (2**33, Verdict.OK)):
        index.touch()
        os.utime(index, (written, written))
        assert found(doctor_machine.examine_kernels)["kernels"].verdict is verdict
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
    compiled = [k for k in doctor_machine._cached_kernels(kernels) if k.nopython_signatures]
    assert compiled
    assert all(map(doctor_machine._is_compiled, compiled))


@pytest.fixture
def named(engine: Engine, bkt_home: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The settings name a database of each kind."""
    assert bkt_home.is_dir()
    url = engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BKT_DATABASE_URL", url)
    return engine


def test_a_database_is_examined_on_both_kinds(named: Engine):
    """Its product and revision; without fsync it is not durable, and that is found."""
    findings = found(doctor_services.examine_database)
    assert findings["database"].verdict is Verdict.OK
    assert findings["clock"].verdict is Verdict.OK
    if named.dialect.name == "sqlite":
        assert "durability" not in findings
        return
    with reading(named) as conn:
        fsync = conn.exec_driver_sql("SHOW fsync").scalar_one()
    assert ("durability" in findings) == (fsync == "off")


def test_a_database_that_is_not_migrated_is_found(named: Engine):
    """With both revisions and the remedy."""
    downgrade(named, "0001")
    told = faulty(doctor_services.examine_database, "database")
    assert "has revision 0001" in told
    assert "`bkt init`" in told


@pytest.mark.postgres
def test_a_clock_that_differs_is_found(
    new_postgres_database: Callable[[], str],
    postgres_template: str,
    bkt_home: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Half a minute, in the direction in which it differs."""
    assert bkt_home.is_dir()
    assert new_postgres_database is not None
    monkeypatch.setenv("BKT_DATABASE_URL", postgres_template)
    slow = timedelta(seconds=-30)
    monkeypatch.setattr(doctor_services, "_now", lambda: datetime.now(UTC) + slow)
    told = faulty(doctor_services.examine_database, "clock")
    assert "+30.0" in told or "+29.9" in told
    assert "NTP" in told


@pytest.mark.usefixtures("bkt_home")
def test_a_database_that_is_away_is_found_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
):
    """Where it should be, and what to check."""
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://me:hush@127.0.0.1:9/none")
    told = faulty(doctor_services.examine_database, "database")
    assert "127.0.0.1:9/none" in told
    assert "BKT_DATABASE_URL" in told
    assert "hush" not in told


@pytest.mark.usefixtures("bkt_home")
@pytest.mark.parametrize(
    ("version", "status", "verdict", "part"),
    [
        ("3.17.2", 404, None, "version 3.17.2"),
        ("2.0.0", 200, Verdict.WARN, "has version 2.0.0"),
        ("3.17.2", 401, Verdict.FAIL, "refused with 401"),
    ],
)
def test_an_mlflow_server_is_examined(
    monkeypatch: pytest.MonkeyPatch, version: str, status: int, verdict: str | None, part: str
):
    """An experiment that is not there yet is no fault; other versions and refusals are told."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path == "/version":
            return httpx.Response(200, text=version)
        return httpx.Response(status, json={})

    client = httpx.Client
    monkeypatch.setattr(doctor_services, "version", lambda _name: "3.17.2")
    monkeypatch.setattr(
        doctor_services.httpx,
        "Client",
        lambda **given: client(transport=httpx.MockTransport(answer), **given),
    )
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://ann:hu%40sh@tracking:5000")
    finding = found(doctor_services.examine_mlflow)["mlflow"]
    assert finding.verdict is (verdict or Verdict.OK)
    assert part in finding.told
    assert "sh@" not in finding.told
    assert {request.headers["authorization"] for request in asked} == {"Basic YW5uOmh1QHNo"}


@pytest.mark.usefixtures("bkt_home")
def test_an_mlflow_server_that_is_away_is_found(monkeypatch: pytest.MonkeyPatch):
    """And what happens to evidence meanwhile."""
    monkeypatch.setenv("BKT_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "--relog" in faulty(doctor_services.examine_mlflow, "mlflow")


def planned(**other: object) -> Planned:
    """A deployment whose schedule is kept, unless told otherwise."""
    usual: dict[str, object] = {
        "deployment": "nightly/nightly",
        "next_at": datetime(2026, 3, 1, 2, 15, tzinfo=UTC),
        "scheduled": True,
        "paused": False,
        "late": 0,
    }
    return Planned(**usual | other)  # type: ignore[arg-type] # a dict of mixed values


@pytest.mark.usefixtures("bkt_home")
@pytest.mark.parametrize(
    ("server", "name", "verdict"),
    [
        ({}, "schedule", Verdict.OK),
        ({}, "worker", Verdict.OK),
        ({"version": "1.0"}, "prefect", Verdict.WARN),
        ({"problem": "It refused with 403."}, "prefect", Verdict.FAIL),
        ({"planned": ()}, "schedule", Verdict.WARN),
        ({"planned": (planned(next_at=None),)}, "schedule", Verdict.FAIL),
        ({"planned": (planned(next_at=None, scheduled=False),)}, "schedule", Verdict.WARN),
        ({"workers_online": 0}, "worker", Verdict.FAIL),
    ],
)
def test_a_prefect_server_is_examined(
    monkeypatch: pytest.MonkeyPatch, server: dict[str, object], name: str, verdict: Verdict
):
    """Whether it plans what was deployed, and whether anybody would do it."""
    usual = {"url": "http://p/api", "version": "3.8.8", "planned": (planned(),)}
    told = PrefectServer(**usual | {"workers_online": 1} | server)  # type: ignore[arg-type] # mixed values
    monkeypatch.setattr(doctor_services, "ask_server", lambda: told)
    monkeypatch.setattr(doctor_services, "version", lambda _name: "3.8.8")
    finding = found(doctor_services.examine_prefect)[name]
    assert finding.verdict is verdict
    assert (finding.remedy is None) == (verdict is Verdict.OK)


def test_an_examination_that_breaks_hides_no_other(
    bkt_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is a fault itself, beside all the others; --debug lets it through."""
    assert bkt_home.is_dir()

    def breaks(_settings: object) -> object:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setitem(doctor_machine.MACHINE, "disk", breaks)
    findings = {finding.name: finding for finding in examine(load_settings())}
    assert findings["disk"].verdict is Verdict.FAIL
    assert "nobody thought of this" in findings["disk"].told
    assert findings["python"].verdict is Verdict.OK
    with pytest.raises(ZeroDivisionError):
        _examined("disk", breaks, load_settings(), debug=True)  # type: ignore[arg-type] # breaks
