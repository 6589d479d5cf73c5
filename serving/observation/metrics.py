"""Metrics for Prometheus: requests by route and status, attempts by outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Upper edges of the histogram in seconds.
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
#: Label of requests without a route, so that scanners create no time series.
UNROUTED = "unrouted"
#: Methods that have a label of their own; all others share one label.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The time series of one application; labels never contain an id."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bkt_http_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "bkt_http_request_seconds",
            "Time from the first byte of a request to the end of its response.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.attempts = Counter(
            "bkt_attempts_total",
            "Attempts by outcome: recorded or duplicate.",
            ("outcome",),
            registry=self.registry,
        )
        self.launches = Counter(
            "bkt_launches_total",
            "Admin work started.",
            ("command", "via"),
            registry=self.registry,
        )
        self.database_up = Gauge(
            "bkt_database_up",
            "1 if the last use of the database succeeded.",
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return the exposition format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record its status and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", UNROUTED)
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
