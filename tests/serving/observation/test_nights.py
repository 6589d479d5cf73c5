"""Metrics of nights by /metrics: their values, their age, and a database that is away."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from datasets.store.connections.engines import make_engine
from datasets.store.runs.runs import RunStatus, finish_run, note_outcome, start_run
from tests.datasets.store.writing import import_rows
from tests.moments import STARTED
from tests.serving.calling import new_api

NIGHT = {
    "exit_code": 3,
    "rows": {"read": 10, "accepted": 8, "duplicates": 0, "quarantined": 2},
    "concepts": {"seen": 4, "fitted": 2, "promoted": 1, "rejected": 1, "skipped": 2},
    "seconds": {"extract": 1.5, "fit": 20.0, "total": 30.25},
}


def a_night(url: str) -> None:
    """One night, one monitoring and two stale states."""
    engine = make_engine(url)
    with engine.begin() as conn:
        for run_id, kind in (("night", "retrain"), ("monitoring", "monitor")):
            start_run(conn, run_id=run_id, kind=kind, at=STARTED)
        note_outcome(conn, "monitoring", {"scored": 7, "drifted": 3})
        finish_run(conn, run_id="monitoring", status=RunStatus.DONE, at=STARTED)
        finish_run(conn, run_id="night", status=RunStatus.DONE, at=STARTED, outcome=NIGHT)
    import_rows(engine, [{"concept": "a", "user": user} for user in ("ann", "bob")])
    engine.dispose()


def samples(text: str) -> dict[str, float]:
    """Every sample, by its name and labels as Prometheus writes them."""
    return {
        sample.name
        + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_last_night_is_told(database_url):
    a_night(database_url)
    api = new_api(database_url)
    with api.http.running():
        told = samples(api.http.get("/metrics").text)
    assert told["bkt_run_last_success_timestamp_seconds kind=retrain"] == STARTED.timestamp()
    assert told["bkt_night_exit_code"] == 3
    assert told["bkt_night_stage_seconds stage=fit"] == 20.0
    assert told["bkt_night_stage_seconds stage=total"] == 30.25
    assert told["bkt_night_concepts decision=promoted"] == 1
    assert told["bkt_night_concepts decision=rejected"] == 1
    assert told["bkt_night_rows outcome=quarantined"] == 2
    assert told["bkt_states condition=stale"] == 2
    assert told["bkt_states condition=current"] == 0
    assert told["bkt_concepts_in_force source=defaults"] == 1
    assert (told["bkt_drift_concepts_scored"], told["bkt_drift_concepts_drifted"]) == (7, 3)


def test_numbers_are_as_old_as_declared_and_no_older(sqlite_url):
    """Metrics are asked for often; the states are not scanned each time."""
    now = [0.0]
    api = new_api(sqlite_url, night_metrics_seconds=60.0)
    api.app.state.service.nights._clock = lambda: now[0]
    with api.http.running():
        before = samples(api.http.get("/metrics").text)
        a_night(sqlite_url)
        now[0] = 59.0
        assert samples(api.http.get("/metrics").text)["bkt_states condition=stale"] == 0
        now[0] = 60.0
        assert samples(api.http.get("/metrics").text)["bkt_states condition=stale"] == 2
    assert not any("last_success" in name for name in before)


def test_none_are_shown_where_nobody_wants_them(sqlite_url):
    a_night(sqlite_url)
    api = new_api(sqlite_url, night_metrics_seconds=0.0)
    with api.http.running():
        assert not re.search("bkt_night|bkt_run_", api.http.get("/metrics").text)


def test_metrics_answer_also_without_a_database(tmp_path):
    """Then they say that it is away, and nothing of nights."""
    api = new_api(f"sqlite:///{tmp_path / 'empty.db'}")
    with api.http.running():
        answer = api.http.get("/metrics")
    assert answer.status_code == 200
    told = samples(answer.text)
    assert told["bkt_database_up"] == 0
    assert "bkt_states condition=stale" not in told
