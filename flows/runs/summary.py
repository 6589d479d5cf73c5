"""The result of a run in numbers: the output of `bkt retrain --json` (docs/command-line.md)."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bkt_core.errors import BktError
from flows.runs.log import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The stages that are timed, in order.
STAGES = (
    "extract",
    "fit",
    "gate",
    "log",
    "promote",
    "recompute",
    "snapshot",
    "compile",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptCounts:
    """Numbers of concepts by origin and by decision; both sums are equal."""

    fitted: int = 0
    reused: int = 0
    promoted: int = 0
    kept: int = 0
    rejected: int = 0
    skipped: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        judged = self.promoted + self.kept + self.rejected
        if self.fitted + self.reused != judged:
            raise BktError(
                f"{self.fitted} fitted and {self.reused} reused concepts must equal the "
                f"{judged} judged ones; this is a defect, please report it with the run files."
            )

    @property
    def seen(self) -> int:
        """The number of concepts with at least one attempt."""
        return self.fitted + self.reused + self.skipped + self.failed

    def as_json(self) -> dict[str, int]:
        """Return all counts, `seen` first."""
        return {"seen": self.seen, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The result of one run, small enough to be returned, printed and logged."""

    run_id: str
    status: str
    mlflow_run_id: str | None
    rows: Mapping[str, int]
    concepts: ConceptCounts
    metrics: Mapping[str, float | int | None]
    states: Mapping[str, int]
    seconds: Mapping[str, float]
    #: Number of rows of the log by the first rule that they broke.
    reasons: Mapping[str, int] = field(default_factory=dict)
    #: Sentences that a person should read, such as on evidence that was not delivered.
    remarks: tuple[str, ...] = ()
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "mlflow_run_id": self.mlflow_run_id,
            "rows": dict(self.rows),
            "reasons": dict(self.reasons),
            "concepts": self.concepts.as_json(),
            "metrics": dict(self.metrics),
            "states": dict(self.states),
            "seconds": dict(self.seconds),
            "remarks": list(self.remarks),
        }


def summary_from_json(values: Mapping[str, Any]) -> RunSummary:
    """Read the summary in a row of `bkt_run`: `as_json`, and the exit code."""
    counts = {name: count for name, count in values["concepts"].items() if name != "seen"}
    return RunSummary(
        run_id=values["run_id"],
        status=values["status"],
        mlflow_run_id=values["mlflow_run_id"],
        rows=values["rows"],
        reasons=values["reasons"],
        concepts=ConceptCounts(**counts),
        metrics=values["metrics"],
        states=values["states"],
        seconds=values["seconds"],
        remarks=tuple(values["remarks"]),
        exit_code=values["exit_code"],
    )


@dataclass(slots=True)
class Stopwatch:
    """Measures seconds per stage, added up over tasks."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        before = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - before
            self.seconds[name] += took
            event("stage done", stage=name, seconds=round(took, 3))

    def as_json(self) -> dict[str, float]:
        """Return seconds per stage and in total, rounded to milliseconds."""
        total = time.perf_counter() - self.started
        return {name: round(s, 3) for name, s in self.seconds.items()} | {
            "total": round(total, 3)
        }
