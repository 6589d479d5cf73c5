"""OpenTelemetry traces and metrics, sent where the environment names a collector.

The standard variables decide (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin). Without them nothing
of OpenTelemetry is imported. The providers are not the global ones: those belong to whoever
embeds this package.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

NAME = "bkt-pipeline"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
#: The one protocol that the exporter speaks.
PROTOCOL = "http/protobuf"
EXPORTER = "opentelemetry.exporter.otlp.proto.http"
#: Milliseconds that the last spans and metrics have to be delivered.
FLUSH_MS = 10_000


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A tracer and a meter, and the providers that deliver what they measure."""

    tracer: Tracer
    meter: Meter
    tracers: TracerProvider
    meters: MeterProvider

    def close(self) -> None:
        """Deliver what is left, within a bounded time; errors are logged by the exporter."""
        self.tracers.force_flush(FLUSH_MS)
        self.tracers.shutdown()
        self.meters.shutdown(FLUSH_MS)


def signals_wanted(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return which of `traces` and `metrics` have a collector in the environment."""
    env = os.environ if environ is None else environ
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return frozenset()
    return frozenset(
        signal
        for signal in ("traces", "metrics")
        if (env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or env.get(ENDPOINT))
        and env.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") != "none"
    )


def why_not(environ: Mapping[str, str] | None = None) -> str | None:
    """Return why a collector that is named cannot be used; None if it can, or none is."""
    env = os.environ if environ is None else environ
    if not signals_wanted(env):
        return None
    if not _is_installed():
        return (
            f"{ENDPOINT} names a collector, but the exporter is not installed: "
            f"install {NAME}[telemetry], or unset the variable"
        )
    asked = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL)
    if asked != PROTOCOL:
        return f"OTEL_EXPORTER_OTLP_PROTOCOL must be {PROTOCOL}, got {asked}"
    return None


def open_telemetry(service: str) -> Telemetry | None:
    """Start to deliver to the collector of the environment; None where there is none.

    `service` is the name of the resource unless `OTEL_SERVICE_NAME` gives another.
    """
    wanted = signals_wanted()
    if not wanted or why_not() is not None:
        return None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {"service.version": version(NAME)}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = service
    resource = Resource.create(own)
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    if "traces" in wanted:
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    readers = (
        [PeriodicExportingMetricReader(OTLPMetricExporter())] if "metrics" in wanted else []
    )
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    return Telemetry(tracers.get_tracer(NAME), meters.get_meter(NAME), tracers, meters)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:
        return False
