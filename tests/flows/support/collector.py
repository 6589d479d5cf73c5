"""A collector on loopback that keeps the spans and metrics which it is sent over OTLP/HTTP."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class SeenSpan:
    """One span as it came in; times in seconds."""

    name: str
    span_id: bytes
    parent_id: bytes
    trace_id: bytes
    service: str
    began: float
    ended: float
    attributes: dict[str, Any]
    events: tuple[str, ...]
    failed: bool
    status: str


@dataclass
class Collector:
    """What came in so far, and where to send more."""

    url: str = ""
    spans: list[SeenSpan] = field(default_factory=list)
    #: Of each metric, the attributes of its points with count or sum.
    points: dict[str, list[tuple[dict[str, Any], float]]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    def named(self, name: str) -> SeenSpan:
        """The only span of that name."""
        (one,) = (span for span in self.spans if span.name == name)
        return one

    def below(self, parent: SeenSpan) -> set[str]:
        """The names of its children."""
        return {span.name for span in self.spans if span.parent_id == parent.span_id}

    def take_traces(self, body: bytes) -> None:
        """Keep every span."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(span, service) for span in scope.spans]

    def take_metrics(self, body: bytes) -> None:
        """Keep every point."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
                kept = self.points.setdefault(metric.name, [])
                kept += [(_values(p.attributes), p.sum) for p in metric.histogram.data_points]
                kept += [(_values(p.attributes), p.as_int) for p in metric.sum.data_points]


def _seen(span: Any, service: str) -> SeenSpan:
    return SeenSpan(
        name=span.name,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        trace_id=span.trace_id,
        service=service,
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        attributes=_values(span.attributes),
        events=tuple(event.name for event in span.events),
        failed=span.status.code == 2,
        status=span.status.message,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A running collector."""
    kept = Collector()
    ways = {"/v1/traces": kept.take_traces, "/v1/metrics": kept.take_metrics}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            kept.bodies.append(body)
            ways[self.path](body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        yield kept
        server.shutdown()
        thread.join()
