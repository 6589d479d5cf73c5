"""Traces and metrics of requests, seen in a collector."""

from __future__ import annotations

import pytest

from tests.flows.support.collector import collecting
from tests.serving.calling import ROOT, bearer, new_api

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_requests_are_spans_below_their_callers(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    """By route, not by path, so that no id of a user or a run is sent."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        api = new_api(sqlite_url)
        with api.http.running():
            api.submit("a-key", user_id="a-user")
            headers = bearer("admin") | {"traceparent": CALLER}
            api.http.get(f"{ROOT}/runs/a-run-of-somebody", headers=headers)
            api.http.get("/no/such/path")
    submitted = collector.named(f"POST {ROOT}/attempts")
    assert submitted.service == "bkt-service"
    assert submitted.attributes == {
        "http.request.method": "POST",
        "http.route": f"{ROOT}/attempts",
        "http.response.status_code": 200,
    }
    (asked,) = (span for span in collector.spans if "/runs/" in span.name)
    assert asked.name.endswith("}")
    assert asked.trace_id.hex() == CALLER.split("-")[1]
    assert asked.parent_id.hex() == CALLER.split("-")[2]
    assert collector.named("GET unrouted").attributes["http.response.status_code"] == 404
    assert len(collector.points["http.server.request.duration"]) == 3
    sent = b"".join(collector.bodies)
    assert not any(secret in sent for secret in (b"a-user", b"a-key", b"a-run-of"))


def test_a_service_without_a_collector_has_no_such_layer(sqlite_url: str):
    assert "Traced" not in str(new_api(sqlite_url).app.user_middleware)
