"""The options of a fit: everything that it depends on besides the attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan

from bkt_core.errors import UsageError
from bkt_core.params import BktParams, Bounds


class Method(StrEnum):
    """How the likelihood is maximised."""

    EM = "em"  # plain expectation-maximisation, the reference in tests
    ACCELERATED = "accelerated"  # Newton steps, damped towards EM steps where they fail


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Everything besides the attempts that a fit depends on."""

    #: The box of the parameters; None fits in the open unit box.
    bounds: Bounds | None = field(default_factory=Bounds)
    n_starts: int = 5
    #: Starts are drawn from this seed alone; they are the same for every concept.
    seed: int = 0
    #: Explicit starts, which replace the drawn ones.
    starts: tuple[BktParams, ...] = ()
    #: The fit has converged when the expected gain is below this many nats per attempt.
    tolerance: float = 1e-11
    #: Largest number of accepted steps per start.
    max_steps: int = 1000
    #: Time limit of one call of `fit`; if it triggers, the result depends on the machine.
    max_seconds: float = 3600.0
    method: Method = Method.ACCELERATED

    def __post_init__(self) -> None:
        if not self.starts and self.n_starts < 1:
            raise UsageError(f"n_starts must be at least 1, got {self.n_starts!r}.")
        if self.max_steps < 0:
            raise UsageError(f"max_steps must be at least 0, got {self.max_steps!r}.")
        if not self.max_seconds > 0.0:
            raise UsageError(f"max_seconds must be above 0, got {self.max_seconds!r}.")
        if isnan(self.tolerance):
            raise UsageError("tolerance must be a number of nats per attempt, got NaN.")
