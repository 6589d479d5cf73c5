"""Which collector the environment names, and what is imported where it names none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bkt_settings import telemetry
from bkt_settings.telemetry import open_telemetry, signals_wanted, why_not

BOTH = {"traces", "metrics"}
HERE = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, set()),
        ({"OTEL_SERVICE_NAME": "bkt"}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}, BOTH),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": HERE}, {"traces"}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": HERE}, {"metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_METRICS_EXPORTER": "none"}, {"traces"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "TRUE"}, set()),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], wanted: set[str]):
    assert signals_wanted(environ) == wanted


def test_a_collector_that_cannot_be_used_is_told_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
):
    """Another protocol, or no exporter; who names none is told nothing."""
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE}
    assert why_not({}) is None
    assert why_not(named) is None
    assert "got grpc" in str(why_not(named | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}))
    monkeypatch.setattr(telemetry, "EXPORTER", "opentelemetry.exporter.nowhere.at_all")
    assert "install bkt-pipeline[telemetry]" in str(why_not(named))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", HERE)
    assert open_telemetry("bkt") is None


def test_without_a_collector_nothing_of_opentelemetry_is_imported():
    """By the modules that make traces, in a process of its own."""
    program = (
        "import sys; import flows.runs.log, serving.observation.tracing\n"
        "from flows.runs.run_trace import run_trace\n"
        "assert run_trace('retrain', ()) is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
