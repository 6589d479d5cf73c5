"""What a verdict on a concept is based on: its fit, champion, comparison and impact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bkt_core.evaluation.checks import Check, Decision, GateReport, Severity
from bkt_core.evaluation.comparison import Comparison
from bkt_core.evaluation.concept_fit import ConceptFit
from bkt_core.family.params import FamilyParams, Params, params_from_stored
from bkt_core.judgement.impact import Impact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_core.family.params import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The fitted parameters in force, with the information needed to score them again."""

    params: Params
    fold_seed: int | None = None
    #: Parameters fitted without each fold of `fold_seed`; empty if the row does not have them.
    fold_params: tuple[Params | None, ...] = ()
    #: Days from the end of its data to the end of the run's; None: unknown, never stale.
    age_days: float | None = None
    param_id: int | None = None

    @classmethod
    def from_metrics(
        cls,
        params: Params,
        metrics: Mapping[str, Any],
        *,
        age_days: float | None = None,
        param_id: int | None = None,
    ) -> Champion:
        """Read what `ConceptFit.metrics` wrote.

        A row not written by this pipeline has no folds and is scored in-sample. Folds of a
        version with questions are in the file of its fit: see `with_folds_of`.
        """
        stored = metrics.get("fold_params") or ()
        return cls(
            params=params,
            fold_seed=metrics.get("fold_seed"),
            fold_params=tuple(
                row if row is None else params_from_stored(row) for row in stored
            ),
            age_days=age_days,
            param_id=param_id,
        )

    @property
    def lacks_folds(self) -> bool:
        """Whether its fold parameters are in the file of its fit, not in its row."""
        params = self.params
        has_questions = isinstance(params, FamilyParams) and params.question_odds is not None
        return has_questions and not self.fold_params

    def with_folds_of(self, fit: ConceptFit | None) -> Champion:
        """Return the same with the fold parameters of the fit that made it, if there is one."""
        if fit is None or fit.fold_seed != self.fold_seed:
            return self
        return replace(self, fold_params=fit.fold_params)

    @property
    def scored_in_sample(self) -> bool:
        """Whether its fold parameters are unknown, so that it can only be scored in-sample."""
        return self.fold_seed is None or not self.fold_params


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptEvidence:
    """The evidence on one concept that does not depend on other concepts of the run."""

    fit: ConceptFit
    champion: Champion | None  # None means that the defaults are in force
    against_champion: Comparison | None
    impact: Impact | None
    report: GateReport  # all checks that do not depend on other concepts

    @property
    def concept_id(self) -> str:
        """The id of the concept."""
        return self.fit.concept_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision on one concept, with all its checks."""

    evidence: ConceptEvidence
    report: GateReport
    #: Lowest false discovery rate at which it would be promoted; None means not tested.
    adjusted_p: float | None

    @property
    def concept_id(self) -> str:
        """The id of the concept."""
        return self.evidence.concept_id

    @property
    def decision(self) -> Decision:
        """The decision on the concept."""
        return self.report.decision

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The failed checks that decided, or the comparisons on which a promotion is based."""
        if self.report.deciding:
            return self.report.deciding
        return tuple(c for c in self.report.checks if c.severity is Severity.COMPARE)
