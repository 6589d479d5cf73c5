"""The protocol of fit engines and the result of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bkt_core.errors import InvalidSequencesError
from bkt_core.params import BktParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences


class Stop(StrEnum):
    """Why a fit stopped."""

    CONVERGED = "converged"
    STALLED = "stalled"  # no step raised the likelihood although a gain was expected
    MAX_STEPS = "max_steps"
    TIME_LIMIT = "time_limit"


class FitOutcome(StrEnum):
    """The quality of a fit; if several values apply, the last one of them counts."""

    OK = "ok"
    ON_BOUND = "on_bound"
    NOT_IDENTIFIABLE = "not_identifiable"
    DID_NOT_CONVERGE = "did_not_converge"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """The fit of one concept on one training set."""

    params: BktParams
    log_likelihood: float  # nats, of the training set
    log_likelihoods: tuple[float, ...]  # of the best start: initially and after each step
    stopped_by: Stop
    outcome: FitOutcome
    n_steps: int  # of the best start
    n_attempts: int  # of the training set
    n_users: int
    on_bounds: tuple[str, ...]  # such as "L0_max"
    #: None for a parameter on a bound, and for all parameters if the information is singular.
    standard_errors: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]  # 95 %
    #: Log-likelihood that each start reached.
    start_log_likelihoods: tuple[float, ...]
    #: Largest minus smallest value of each parameter over the ends of all starts.
    start_spread: Mapping[str, float]
    #: True if the engine fitted without bounds and the result was clipped to them.
    clipped: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values; `from_json` is the inverse."""
        return fit_as_json(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FitResult:
        """Build the object from the values that `as_json` returned."""
        return cls(**fit_fields(values) | {"params": BktParams(**values["params"])})


def fit_as_json(fit: Any) -> dict[str, Any]:  # noqa: ANN401 - any fit with these fields
    """Return the fields of a fit as plain values; `fit_fields` reads all but `params` back."""
    values = {name: getattr(fit, name) for name in fit.__slots__}
    return values | {
        "params": fit.params.as_dict(),
        "log_likelihoods": list(fit.log_likelihoods),
        "on_bounds": list(fit.on_bounds),
        "standard_errors": dict(fit.standard_errors),
        "intervals": {
            name: None if interval is None else list(interval)
            for name, interval in fit.intervals.items()
        },
        "start_log_likelihoods": list(fit.start_log_likelihoods),
        "start_spread": dict(fit.start_spread),
        "stopped_by": fit.stopped_by.value,
        "outcome": fit.outcome.value,
    }


def fit_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that `fit_as_json` wrote, with `params` as plain values."""
    return dict(values) | {
        "log_likelihoods": tuple(values["log_likelihoods"]),
        "on_bounds": tuple(values["on_bounds"]),
        "intervals": {
            name: None if interval is None else (interval[0], interval[1])
            for name, interval in values["intervals"].items()
        },
        "start_log_likelihoods": tuple(values["start_log_likelihoods"]),
        "stopped_by": Stop(values["stopped_by"]),
        "outcome": FitOutcome(values["outcome"]),
    }


class FitEngine(Protocol):
    """An engine that fits BKT parameters by maximum likelihood."""

    name: str

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[FitResult, ...]:
        """Fit each row of `training_sets` (n_sets, n_users), a mask of users.

        One result each.
        """
        ...


def check_training_sets(sequences: AttemptSequences, training_sets: NDArray[np.bool_]) -> None:
    """Raise `InvalidSequencesError` if sets do not match the users or a set has no user."""
    shape, dtype = training_sets.shape, training_sets.dtype
    if len(shape) != 2 or shape[1] != sequences.n_users or dtype != np.bool_:
        raise InvalidSequencesError(
            f"Training sets must be bool of shape (n_sets, {sequences.n_users}), "
            f"got {dtype} of shape {shape}."
        )
    has_users = np.logical_or.reduce(training_sets, axis=1).tolist()
    if not all(has_users):
        raise InvalidSequencesError(f"Training set {has_users.index(False)} has no user.")


def outcome_of(stopped_by: Stop, identifiable: bool, on_bounds: tuple[str, ...]) -> FitOutcome:
    """Return the worst outcome that applies."""
    if stopped_by is not Stop.CONVERGED:
        return FitOutcome.DID_NOT_CONVERGE
    if not identifiable:
        return FitOutcome.NOT_IDENTIFIABLE
    return FitOutcome.ON_BOUND if on_bounds else FitOutcome.OK
