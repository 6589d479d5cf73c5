"""The trace of a run: its stages and shards as spans, made from the events of its log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bkt_settings.redaction import hide
from bkt_settings.telemetry import open_telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from bkt_settings.telemetry import Telemetry

NANOSECONDS = 1_000_000_000


class RunTrace(logging.Handler):
    """Turns events into spans below the span of the run, and its end into metrics.

    A stage and a shard are logged when they are done, with their seconds: their spans end then
    and begin as many seconds before. All other events are events of the run's span.
    """

    def __init__(self, telemetry: Telemetry, kind: str, secrets: tuple[str, ...]) -> None:
        super().__init__(logging.INFO)
        self._telemetry, self._kind, self._secrets = telemetry, kind, secrets
        self._run: Span = telemetry.tracer.start_span(f"bkt {kind}")
        self._stage_seconds = telemetry.meter.create_histogram(
            "bkt.run.stage.duration", unit="s", description="Duration of a stage of a run."
        )
        self._seconds = telemetry.meter.create_histogram(
            "bkt.run.duration", unit="s", description="Duration of a run."
        )
        self._concepts = telemetry.meter.create_counter(
            "bkt.run.concepts", description="Concepts of runs by decision."
        )
        self._rows = telemetry.meter.create_counter(
            "bkt.run.rows", description="Rows of the log that runs read, by outcome."
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Make a span or an event of the run's span from one event."""
        name: str = getattr(record, "event", record.getMessage())
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        run_id = getattr(record, "run_id", None)
        if run_id:
            self._run.set_attribute("bkt.run_id", run_id)
        if name == "stage done":
            self._stage_seconds.record(
                facts["seconds"], {"kind": self._kind, "stage": facts["stage"]}
            )
            self._past_span(f"stage {facts['stage']}", record, facts["seconds"], facts)
        elif name == "shard done":
            seconds = sum(v for k, v in facts.items() if k.endswith("_seconds"))
            self._past_span(f"shard {facts['shard']}", record, seconds, facts)
        elif name == "run ends":
            self._end_of_run(facts)
        else:
            self._run.add_event(name, self._attributes(facts), _nanoseconds(record.created))
            if name == "run broke off":
                self._break_off(facts)

    def close(self) -> None:
        """End the span of the run and deliver everything."""
        super().close()
        if self._run.is_recording():
            self._run.end()
            self._telemetry.close()

    def _past_span(
        self, name: str, record: logging.LogRecord, seconds: float, facts: Mapping[str, Any]
    ) -> None:
        from opentelemetry.trace import set_span_in_context

        self._telemetry.tracer.start_span(
            name,
            context=set_span_in_context(self._run),
            attributes=self._attributes(facts),
            start_time=_nanoseconds(record.created - seconds),
        ).end(_nanoseconds(record.created))

    def _end_of_run(self, facts: Mapping[str, Any]) -> None:
        self._run.set_attributes(self._attributes(facts))
        if facts.get("seconds") is not None:
            self._seconds.record(
                facts["seconds"], {"kind": self._kind, "status": str(facts["status"])}
            )
        for decision, count in facts["concepts"].items():
            self._concepts.add(count, {"kind": self._kind, "decision": decision})
        for outcome, count in facts["rows"].items():
            self._rows.add(count, {"kind": self._kind, "outcome": outcome})

    def _break_off(self, facts: Mapping[str, Any]) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._run.set_status(Status(StatusCode.ERROR, hide(str(facts["error"]), self._secrets)))

    def _attributes(self, facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
        """Return the facts as attributes: flat, without nulls and secrets."""
        flat: dict[str, AttributeValue] = {}
        for key, value in facts.items():
            if isinstance(value, dict):
                flat |= {f"{key}.{k}": v for k, v in self._attributes(value).items()}
            elif isinstance(value, bool | int | float):
                flat[key] = value
            elif value is not None:
                flat[key] = hide(str(value), self._secrets)
        return flat


def run_trace(kind: str, secrets: tuple[str, ...]) -> RunTrace | None:
    """Return a handler that traces a run; None where the environment names no collector."""
    telemetry = open_telemetry("bkt")
    return None if telemetry is None else RunTrace(telemetry, kind, secrets)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
