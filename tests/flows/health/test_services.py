"""`bkt doctor` asks the database, MLflow and Prefect, and finds each fault with its remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from datasets.store.connections.engines import reading
from datasets.store.schema.revision import downgrade
from flows.deployment.api import Planned, PrefectServer
from flows.health import services as doctor_services
from flows.health.findings import Level
from flows.health.services import examine_telemetry
from tests.flows.support.examining import faulty, found

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


pytestmark = pytest.mark.usefixtures("no_server")


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
    assert findings["database"].level is Level.OK
    assert findings["clock"].level is Level.OK
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
        ("2.0.0", 200, Level.WARN, "has version 2.0.0"),
        ("3.17.2", 401, Level.FAIL, "refused with 401"),
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
    assert finding.level is (verdict or Level.OK)
    assert part in finding.message
    assert "sh@" not in finding.message
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
        ({}, "schedule", Level.OK),
        ({}, "worker", Level.OK),
        ({"version": "1.0"}, "prefect", Level.WARN),
        ({"problem": "It refused with 403."}, "prefect", Level.FAIL),
        ({"planned": ()}, "schedule", Level.WARN),
        ({"planned": (planned(next_at=None),)}, "schedule", Level.FAIL),
        ({"planned": (planned(next_at=None, scheduled=False),)}, "schedule", Level.WARN),
        ({"workers_online": 0}, "worker", Level.FAIL),
    ],
)
def test_a_prefect_server_is_examined(
    monkeypatch: pytest.MonkeyPatch, server: dict[str, object], name: str, verdict: Level
):
    """Whether it plans what was deployed, and whether anybody would do it."""
    usual = {"url": "http://p/api", "version": "3.8.8", "planned": (planned(),)}
    told = PrefectServer(**usual | {"workers_online": 1} | server)  # type: ignore[arg-type] # mixed values
    monkeypatch.setattr(doctor_services, "ask_server", lambda: told)
    monkeypatch.setattr(doctor_services, "version", lambda _name: "3.8.8")
    finding = found(doctor_services.examine_prefect)[name]
    assert finding.level is verdict
    assert (finding.remedy is None) == (verdict is Level.OK)


def test_a_collector_is_told_only_where_one_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """What cannot be used is a warning: no run fails for it."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert list(examine_telemetry(settings)) == []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    (good,) = examine_telemetry(settings)
    assert (good.level, good.message) == (Level.OK, "metrics and traces go to the collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    (bad,) = examine_telemetry(settings)
    assert (bad.level, "grpc" in bad.message) == (Level.WARN, True)
