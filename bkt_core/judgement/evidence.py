"""What is known of a concept when its verdict is reached: fit, champion, comparison, impact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.checks import Check, Decision, GateReport, Severity
from bkt_core.evaluation.comparison import Comparison
from bkt_core.evaluation.concept_fit import ConceptFit
from bkt_core.judgement.impact import Impact
from bkt_core.params import BktParams

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The fitted parameters in force, with what their row remembers of how they were scored."""

    params: BktParams
    fold_seed: int | None = None
    #: Fitted without each fold of that seed; empty where the row does not know.
    fold_params: tuple[BktParams | None, ...] = ()
    #: How many days its data ended before this run's; None: not known, never stale.
    age_days: float | None = None
    param_id: int | None = None

    @classmethod
    def from_metrics(
        cls,
        params: BktParams,
        metrics: Mapping[str, Any],
        *,
        age_days: float | None = None,
        param_id: int | None = None,
    ) -> Champion:
        """Read what `ConceptFit.metrics` wrote; rows of another make are scored in-sample."""
        stored = metrics.get("fold_params") or ()
        return cls(
            params=params,
            fold_seed=metrics.get("fold_seed"),
            fold_params=tuple(None if row is None else BktParams(*row) for row in stored),
            age_days=age_days,
            param_id=param_id,
        )

    @property
    def scored_in_sample(self) -> bool:
        """Whether its fold parameters are unknown."""
        return self.fold_seed is None or not self.fold_params


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptEvidence:
    """All that is known of one concept before the whole run is looked at."""

    fit: ConceptFit
    champion: Champion | None  # None: the defaults are in force
    against_champion: Comparison | None
    impact: Impact | None
    report: GateReport  # every check that needs no other concept

    @property
    def concept_id(self) -> str:
        """The concept."""
        return self.fit.concept_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one concept, and every check that led there."""

    evidence: ConceptEvidence
    report: GateReport
    #: Least false discovery rate at which it would be promoted; None: not tested.
    adjusted_p: float | None

    @property
    def concept_id(self) -> str:
        """The concept."""
        return self.evidence.concept_id

    @property
    def decision(self) -> Decision:
        """What becomes of the concept."""
        return self.report.decision

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The failed checks that decided, or the comparisons that a promotion rests on."""
        if self.report.deciding:
            return self.report.deciding
        return tuple(c for c in self.report.checks if c.severity is Severity.COMPARE)
