"""The results of the stages of a run: extracted, fitted, promoted, recomputed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from bkt_core.evaluation.checks import Decision
from datasets.extracts.extraction import Extract, open_extract
from flows.shards.works import Origin
from flows.tracking.evidence_log import TrackingResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets.store.states.snapshot_marks import SnapshotMark
    from flows.evidence.decisions import ConceptDecision
    from flows.evidence.evidence import RunEvidence
    from flows.runs.plan import RunPlan

#: Key of the snapshot mark in the outcome in a run's row.
SNAPSHOT_MARK = "snapshot_mark"


class Extracted(BaseModel):
    """The location of an extraction; small enough to be passed between flows."""

    model_config = ConfigDict(frozen=True)

    root: Path
    session: Path

    def open(self) -> Extract:
        """Open the extraction."""
        return open_extract(self.root, self.session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Result of the fit stage: one origin and one decision per concept, and their evidence."""

    #: Origin of the fit of each concept, including concepts that failed.
    origins: tuple[Origin, ...]
    decisions: tuple[ConceptDecision, ...]
    evidence: RunEvidence
    seconds: Mapping[str, float]
    #: Whether attempts were added or removed since the last nightly run.
    data_is_new: bool
    logged: TrackingResult = field(default_factory=TrackingResult)
    #: Sentences that a person should read.
    remarks: tuple[str, ...] = ()

    @property
    def has_news(self) -> bool:
        """Whether there is anything to promote, log or snapshot."""
        return not (self.is_empty or self.is_unchanged)

    def goes_to_mlflow(self, plan: RunPlan) -> bool:
        """Whether the run is logged to MLflow."""
        return self.has_news and not plan.dry_run

    @property
    def is_empty(self) -> bool:
        """Whether no concept has an attempt in the window."""
        return not self.origins

    @property
    def is_unchanged(self) -> bool:
        """Whether attempts are those of the last run and nothing was fitted, failed or won."""
        fresh = any(origin in (Origin.FITTED, Origin.FAILED) for origin in self.origins)
        return (
            not self.data_is_new
            and not fresh
            and all(decided.challenger is None for decided in self.decisions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """The concepts that were promoted, and winners that kept their parameters."""

    promoted: tuple[str, ...]
    #: Winners that kept their parameters, with the reason.
    kept_after_all: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """Numbers of states written and of snapshot rows added."""

    replayed: int
    snapshotted: int
    seconds: dict[str, float]
    #: Mark from which the next run reads changed states; None means all states.
    mark: SnapshotMark | None = None


NOTHING_PROMOTED = Promoted(promoted=(), kept_after_all={})
NOTHING_RECOMPUTED = Recomputed(replayed=0, snapshotted=0, seconds={})


def count_origins(origins: Sequence[Origin]) -> dict[str, int]:
    """Count concepts by origin, with the keys of the summary."""
    counts = dict.fromkeys(("fitted", "reused", "skipped", "failed"), 0)
    for origin in origins:
        counts["reused" if origin is Origin.KEPT else origin.value] += 1
    return counts


def count_decisions(
    decisions: Sequence[ConceptDecision], promoted: Promoted
) -> Counter[Decision]:
    """Count final decisions: a winner that kept its parameters counts as kept."""
    counts = Counter(decided.decision for decided in decisions)
    counts[Decision.PROMOTED] -= len(promoted.kept_after_all)
    counts[Decision.KEPT] += len(promoted.kept_after_all)
    return counts
