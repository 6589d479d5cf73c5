"""Metrics of nights and states for Prometheus, read from the database from time to time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import Gauge

from bkt_core.errors import BktError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from datasets.store.runs.standing import Standing

#: Decisions of a night that a series is kept for.
DECISIONS = ("promoted", "kept", "rejected", "skipped", "failed")


class NightMetrics:
    """Gauges of the last night, of runs by kind, of states and of drift."""

    def __init__(
        self,
        registry: CollectorRegistry,
        read: Callable[[], Awaitable[Standing]],
        *,
        max_age: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._max_age, self._clock = read, max_age, clock
        self._read_at: float | None = None
        self._one_reader = asyncio.Lock()
        if max_age:
            self._gauges = _gauges(registry)

    async def refresh(self) -> None:
        """Read the numbers anew if they are too old; without a database they stay."""
        if not self._max_age:
            return
        async with self._one_reader:
            now = self._clock()
            if self._read_at is not None and now - self._read_at < self._max_age:
                return
            with suppress(BktError):  # `bkt_database_up` says so
                self._set(await self._read())
                self._read_at = now

    def _set(self, standing: Standing) -> None:
        for one in standing.kinds:
            self._at("run_last_success_timestamp_seconds", one.last_success, kind=one.kind)
            self._at("run_last_end_timestamp_seconds", one.last_end, kind=one.kind)
            self._put("runs_unfinished", one.unfinished, kind=one.kind)
        self._set_night(standing.night)
        states, in_force = standing.states, standing.in_force
        outdated = states.stale + states.old_stamped
        self._put("states", states.total - outdated, condition="current")
        self._put("states", states.stale, condition="stale")
        self._put("states", states.old_stamped, condition="old_parameters")
        self._put("concepts_in_force", in_force.fitted, source="fit")
        self._put("concepts_in_force", in_force.at_defaults, source="defaults")
        self._put("concepts_pinned", in_force.pinned)
        if standing.monitoring:
            self._put("drift_concepts_scored", standing.monitoring.get("scored", 0))
            self._put("drift_concepts_drifted", standing.monitoring.get("drifted", 0))
        self._put("night_metrics_read_timestamp_seconds", time.time())

    def _set_night(self, night: Mapping[str, object]) -> None:
        if "exit_code" in night:
            self._put("night_exit_code", night["exit_code"])
        for stage, seconds in _numbers(night.get("seconds")).items():
            self._put("night_stage_seconds", seconds, stage=stage)
        counts = _numbers(night.get("concepts"))
        for decision in DECISIONS:
            if decision in counts:
                self._put("night_concepts", counts[decision], decision=decision)
        for outcome, count in _numbers(night.get("rows")).items():
            self._put("night_rows", count, outcome=outcome)

    def _at(self, name: str, moment: datetime | None, **labels: str) -> None:
        if moment is not None:
            self._put(name, moment.timestamp(), **labels)

    def _put(self, name: str, value: object, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(float(str(value)))


def _numbers(values: object) -> Mapping[str, float]:
    return values if isinstance(values, dict) else {}


def _gauges(registry: CollectorRegistry) -> dict[str, Gauge]:
    described: dict[str, tuple[str, tuple[str, ...]]] = {
        "run_last_success_timestamp_seconds": (
            "End of the last run of a kind that did what was requested.",
            ("kind",),
        ),
        "run_last_end_timestamp_seconds": ("End of the last run of a kind.", ("kind",)),
        "runs_unfinished": ("Runs of a kind that run, or that were killed.", ("kind",)),
        "night_exit_code": ("Exit code of the last night; docs/command-line.md.", ()),
        "night_stage_seconds": ("Duration of the last night by stage.", ("stage",)),
        "night_concepts": ("Concepts of the last night by decision.", ("decision",)),
        "night_rows": ("Rows of the log in the last night by outcome.", ("outcome",)),
        "states": ("States: current, stale, or with old parameters.", ("condition",)),
        "concepts_in_force": ("Concepts by where their parameters come from.", ("source",)),
        "concepts_pinned": ("Concepts that a rollback keeps from nights.", ()),
        "drift_concepts_scored": ("Concepts that the last monitoring scored.", ()),
        "drift_concepts_drifted": ("Concepts that the last monitoring named.", ()),
        "night_metrics_read_timestamp_seconds": ("When these numbers were read.", ()),
    }
    return {
        name: Gauge(f"bkt_{name}", text, labels, registry=registry)
        for name, (text, labels) in described.items()
    }
