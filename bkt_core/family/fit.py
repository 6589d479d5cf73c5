"""What a fit of the family answers: the parameters with their evidence."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bkt_core.family.params import FamilyParams
from bkt_core.fitting.engine import FitOutcome, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping


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

    def as_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal fit."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values | {
            "params": self.params.as_dict(),
            "log_likelihoods": list(self.log_likelihoods),
            "on_bounds": list(self.on_bounds),
            "standard_errors": dict(self.standard_errors),
            "intervals": {
                name: None if interval is None else list(interval)
                for name, interval in self.intervals.items()
            },
            "start_log_likelihoods": list(self.start_log_likelihoods),
            "start_spread": dict(self.start_spread),
            "question_odds": list(self.question_odds),
            "question_errors": list(self.question_errors),
            "question_attempts": list(self.question_attempts),
            "stopped_by": self.stopped_by.value,
            "outcome": self.outcome.value,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FamilyFit:
        """Read what `as_json` wrote."""
        read = dict(values) | {
            "params": FamilyParams.from_dict(values["params"]),
            "log_likelihoods": tuple(values["log_likelihoods"]),
            "on_bounds": tuple(values["on_bounds"]),
            "intervals": {
                name: None if interval is None else (interval[0], interval[1])
                for name, interval in values["intervals"].items()
            },
            "start_log_likelihoods": tuple(values["start_log_likelihoods"]),
            "question_odds": tuple(values["question_odds"]),
            "question_errors": tuple(values["question_errors"]),
            "question_attempts": tuple(values["question_attempts"]),
            "stopped_by": Stop(values["stopped_by"]),
            "outcome": FitOutcome(values["outcome"]),
        }
        return cls(**read)
