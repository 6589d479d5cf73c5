"""What each stage of a run returns: extracted, fitted, promoted, recomputed."""

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

#: Key of the snapshot mark in the outcome of a run's row.
SNAPSHOT_MARK = "snapshot_mark"


class Extracted(BaseModel):
    """Where an extraction lies; small enough to travel between flows."""

    model_config = ConfigDict(frozen=True)

    root: Path
    session: Path

    def open(self) -> Extract:
        """The extraction itself."""
        return open_extract(self.root, self.session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Result of the fit stage: one origin and one decision per concept, and their evidence."""

    #: Where the fit of each concept comes from, those that failed among them.
    origins: tuple[Origin, ...]
    decisions: tuple[ConceptDecision, ...]
    evidence: RunEvidence
    seconds: Mapping[str, float]
    #: Whether attempts have come, or gone, since the last night.
    data_is_new: bool
    logged: TrackingResult = field(default_factory=TrackingResult)
    #: Sentences that a person should read.
    remarks: tuple[str, ...] = ()

    @property
    def has_news(self) -> bool:
        """Whether there is anything to promote, log or snapshot."""
        return not (self.is_empty or self.is_unchanged)

    def goes_to_mlflow(self, plan: RunPlan) -> bool:
        """Whether MLflow hears of the run."""
        return self.has_news and not plan.dry_run

    @property
    def is_empty(self) -> bool:
        """Whether no concept had an attempt in the window."""
        return not self.origins

    @property
    def is_unchanged(self) -> bool:
        """Whether the attempts are the last night's, nothing was fitted, failed or won."""
        fresh = any(origin in (Origin.FITTED, Origin.FAILED) for origin in self.origins)
        return (
            not self.data_is_new
            and not fresh
            and all(decided.challenger is None for decided in self.decisions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """Concepts whose parameters were promoted, and those that kept what they had."""

    promoted: tuple[str, ...]
    #: Concepts that were to be promoted and kept what they have, and why.
    kept_after_all: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """States that were written, and snapshot rows that were added."""

    replayed: int
    snapshotted: int
    seconds: dict[str, float]
    #: From where on the next run looks for changed states; None: at all of them.
    mark: SnapshotMark | None = None


NOTHING_PROMOTED = Promoted(promoted=(), kept_after_all={})
NOTHING_RECOMPUTED = Recomputed(replayed=0, snapshotted=0, seconds={})


def count_origins(origins: Sequence[Origin]) -> dict[str, int]:
    """Concepts by where their fit comes from, as the summary names them."""
    counts = dict.fromkeys(("fitted", "reused", "skipped", "failed"), 0)
    for origin in origins:
        counts["reused" if origin is Origin.KEPT else origin.value] += 1
    return counts


def count_decisions(
    decisions: Sequence[ConceptDecision], promoted: Promoted
) -> Counter[Decision]:
    """Decisions as they came out: a winner that kept what it had counts as kept."""
    counts = Counter(decided.decision for decided in decisions)
    counts[Decision.PROMOTED] -= len(promoted.kept_after_all)
    counts[Decision.KEPT] += len(promoted.kept_after_all)
    return counts
