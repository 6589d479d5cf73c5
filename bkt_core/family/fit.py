"""What a fit of the family answers: the parameters with their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bkt_core.family.params import FamilyParams, params_as_json
from bkt_core.fitting.engine import FitResult, fit_as_json, fit_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bkt_core.fitting.engine import FitOutcome, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFit:
    """One fit of one concept on one training set; fields are those of `FitResult`."""

    params: FamilyParams
    log_likelihood: float  # nats, of the training set, without the prior
    log_likelihoods: tuple[float, ...]  # log posterior of the best start, step by step
    stopped_by: Stop
    outcome: FitOutcome
    n_steps: int  # of the best start
    n_attempts: int  # of the training set
    n_users: int
    on_bounds: tuple[str, ...]  # such as "F_max"
    #: None for a parameter on a bound, and for all where the attempts determine nothing.
    standard_errors: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]  # 95 %
    start_log_likelihoods: tuple[float, ...]  # log posterior that each start reached
    start_spread: Mapping[str, float]
    clipped: bool = False
    #: Of each question by its code, where the version has them: the multiplier, the standard
    #: error of its logarithm, and the attempts of the training set.
    question_odds: tuple[float, ...] = ()
    question_errors: tuple[float, ...] = ()
    question_attempts: tuple[int, ...] = ()
    question_ids: tuple[str | None, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        of_questions = {name: list(getattr(self, name)) for name in _OF_QUESTIONS}
        return fit_as_json(self) | {"params": params_as_json(self.params)} | of_questions

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FamilyFit:
        """Build the object from the values that `as_json` returned."""
        of_questions = {name: tuple(values[name]) for name in _OF_QUESTIONS}
        params = FamilyParams.from_dict(values["params"])
        return cls(**fit_fields(values) | of_questions | {"params": params})


_OF_QUESTIONS = ("question_odds", "question_errors", "question_attempts", "question_ids")

#: A fit of any version.
Fit: TypeAlias = FitResult | FamilyFit


def fit_from_json(values: Mapping[str, Any]) -> Fit:
    """Read what `as_json` of either class wrote."""
    is_family = _OF_QUESTIONS[0] in values
    return FamilyFit.from_json(values) if is_family else FitResult.from_json(values)
