"""Traces and metrics of runs, seen in a collector."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bkt_settings.pipeline import load_settings
from flows.nightly import nightly
from flows.runs.log import LOGGER, event, run_log
from flows.runs.requests import RetrainRequest
from flows.runs.summary import Stopwatch
from tests.flows.support.collector import collecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.flows.support.collector import Collector


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with collecting() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        yield one


@pytest.mark.harness
@pytest.mark.usefixtures("prefect_server")
def test_one_night_is_one_trace(sqlite_night: Engine, collector: Collector):
    """Stages and shards below the run, inside its time; its counts; no id of a user."""
    assert sqlite_night
    summary = nightly(RetrainRequest())
    run = collector.named("bkt retrain")
    assert (run.service, run.failed) == ("bkt", False)
    assert run.attributes["bkt.run_id"] == summary.run_id
    assert run.attributes["status"] == "done"
    assert run.attributes["concepts.promoted"] == summary.concepts.promoted
    assert {"run begins", "attempts read", "concepts judged"} <= set(run.events)
    assert {"stage extract", "stage promote", "stage recompute", "shard 0"} <= (
        collector.below(run)
    )
    assert {span.trace_id for span in collector.spans} == {run.trace_id}
    assert all(run.began - 1 < s.began <= s.ended <= run.ended for s in collector.spans)
    assert not any(b"user-0" in body for body in collector.bodies)
    stages = {
        facts["stage"]: total for facts, total in collector.points["bkt.run.stage.duration"]
    }
    assert stages["extract"] == pytest.approx(summary.seconds["extract"], abs=0.01)
    promoted = {"kind": "retrain", "decision": "promoted"}
    assert (promoted, summary.concepts.promoted) in collector.points["bkt.run.concepts"]
    read = {"kind": "retrain", "outcome": "read"}
    assert (read, summary.rows["read"]) in collector.points["bkt.run.rows"]


def test_a_run_that_breaks_off_is_a_failed_span_without_secrets(
    bkt_home: object, collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    """Its error is its status; what was cut out of logs is cut out here."""
    assert bkt_home
    monkeypatch.setenv("BKT_DATABASE_URL", "postgresql://me:s3cret-word@h/db")
    before = (LOGGER.handlers[:], LOGGER.level)

    def breaks_off() -> None:
        with run_log(load_settings(), "retrain", RetrainRequest()):
            with Stopwatch().stage("extract"):
                event("a driver said", said="me:s3cret-word@h")
            raise ConnectionError("no answer from me:s3cret-word@h")

    with pytest.raises(ConnectionError):
        breaks_off()
    run = collector.named("bkt retrain")
    assert run.failed
    assert run.status == "ConnectionError: no answer from me:***@h"
    assert collector.below(run) == {"stage extract"}
    assert not any(b"s3cret-word" in body for body in collector.bodies)
    assert (LOGGER.handlers, LOGGER.level) == before


def test_a_collector_that_is_away_costs_seconds_and_no_run(
    bkt_home: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The run ends as without it, and says on stderr that nothing was delivered."""
    assert bkt_home
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    began = time.monotonic()
    with run_log(load_settings(), "retrain", RetrainRequest()):
        event("run ends", status="done", seconds=1.0, concepts={}, rows={})
    assert time.monotonic() - began < 30
    assert capsys.readouterr().out == ""
