"""Traces and metrics of requests for the collector that the environment names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from serving.observation.metrics import METHODS, UNROUTED

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from bkt_settings.telemetry import Telemetry

#: Statuses from here on are errors of the service.
SERVER_ERROR = 500


class Traced:
    """One span for each request, below the caller's span where the request names one.

    Spans have the method, the route and the status, and nothing that a request contains.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app, self._tracer = app, telemetry.tracer
        self._callers = TraceContextTextMapPropagator()
        self._seconds = telemetry.meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of requests to the service.",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on inside a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        began, status = time.perf_counter(), SERVER_ERROR

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"] if scope["method"] in METHODS else "other",
            context=self._callers.extract(headers),
            kind=SpanKind.SERVER,
            record_exception=False,  # its text may hold what a request contained
        ) as span:
            try:
                await self._app(scope, receive, noted)
            finally:
                self._measure(span, scope, status, time.perf_counter() - began)

    def _measure(self, span: Span, scope: Scope, status: int, seconds: float) -> None:
        from opentelemetry.trace import Status, StatusCode

        route = getattr(scope.get("route"), "path", UNROUTED)
        method = scope["method"] if scope["method"] in METHODS else "other"
        facts = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        span.update_name(f"{method} {route}")
        span.set_attributes(facts)
        if status >= SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
        self._seconds.record(seconds, facts)
