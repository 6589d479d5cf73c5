"""The climb to the most probable parameters of one concept, inside their box.

Quasi-Newton steps come near. Newton's steps on differences of the exact gradient finish where
the parameters are few, and their decrement estimates what is left to gain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family import kernels
from bkt_core.fitting.engine import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: The exponential of a larger number overflows.
LARGEST_LOGIT = 700.0
#: Between two gradients whose difference makes a row of the Hessian, in logits.
DIFFERENCE = 1e-5
#: Newton's steps begin where quasi-Newton ones promise this many nats per attempt or less.
ROUGH = 1e-8
#: Most steps of Newton's, most halvings of one.
FINISH, HALVINGS = 12, 30
#: The clock is read after about this many attempts walked.
ATTEMPTS_BETWEEN_LOOKS = 50_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """Where one start ended."""

    x: Floats
    value: float  # log posterior up to a constant, nats
    held: NDArray[np.bool_]  # by a bound
    complete: Floats  # information that known paths would give, diagonal, without the prior
    curvature: Floats | None  # minus the Hessian; None where the parameters are many
    left: float  # nats left to gain, estimated
    history: tuple[float, ...]  # log posterior at the start and after each step
    stopped_by: Stop


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The log posterior at `x`, with its derivatives."""

    x: Floats
    value: float
    gradient: Floats
    complete: Floats


def expit(x: Floats) -> Floats:
    """Probabilities of logits."""
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(-x, LARGEST_LOGIT))))


def logit(p: Floats) -> Floats:
    """Logits of probabilities inside (0, 1)."""
    return np.asarray(np.log(p) - np.log1p(-p))


def look(posterior: kernels.Posterior, x: Floats) -> Place:
    """Evaluate the posterior at `x`."""
    gradient, complete = np.empty(x.size), np.empty(x.size)
    value = kernels.evaluate(posterior, x, gradient, complete, _work(posterior))
    return Place(x, value, gradient, complete)


def climb(
    posterior: kernels.Posterior,
    start: Floats,
    *,
    enough: float,
    max_steps: int,
    seconds_left: Callable[[], float],
) -> Climb:
    """The top that `start` leads to; it has converged when `enough` nats or less are left."""
    few = posterior.questions.size == 0
    near = max(enough, ROUGH * float(posterior.times @ np.diff(posterior.offsets)))
    x = np.clip(start, posterior.lower, posterior.upper)
    ascent = _Ascent(posterior, x, max_steps, seconds_left)
    stopped_by = ascent.until(near if few else enough)
    if few and stopped_by is Stop.CONVERGED:
        return _finish(ascent, enough)
    return _ended(ascent, look(posterior, x), enough, stopped_by, None)


class _Ascent:
    """Quasi-Newton steps from a start, taken in pieces between looks at the clock."""

    def __init__(
        self,
        posterior: kernels.Posterior,
        x: Floats,
        max_steps: int,
        seconds_left: Callable[[], float],
    ) -> None:
        self.posterior, self.x = posterior, x
        self.max_steps, self.seconds_left = max_steps, seconds_left
        self.history: list[float] = []
        shape = (kernels.N_PAIRS, x.size)
        self.pairs = kernels.Pairs(np.zeros(shape), np.zeros(shape), np.zeros(1, np.int64))

    @property
    def n_steps(self) -> int:
        """Steps taken so far."""
        return max(len(self.history) - 1, 0)

    def until(self, enough: float) -> Stop:
        """Climb until `enough` nats or less are promised, or a limit is met."""
        work = _work(self.posterior)
        some = 1 + ATTEMPTS_BETWEEN_LOOKS // (1 + self.posterior.correct.size)
        while True:
            now = min(some, self.max_steps - self.n_steps)
            found = np.empty(now + 1)
            status, n = kernels.climb(
                self.posterior, self.x, self.pairs, enough, now, work, found
            )
            self.history += found[1 if self.history else 0 : n + 1].tolist()
            if status == kernels.CONVERGED:
                return Stop.CONVERGED
            if status == kernels.STALLED:
                return Stop.STALLED
            if self.n_steps >= self.max_steps:
                return Stop.MAX_STEPS
            if self.seconds_left() <= 0.0:
                return Stop.TIME_LIMIT


def _finish(ascent: _Ascent, enough: float) -> Climb:
    """Newton's steps from near the top, on a Hessian that is kept while it serves."""
    posterior, place = ascent.posterior, look(ascent.posterior, ascent.x)
    curvature, before = curvature_at(posterior, place), np.inf
    stopped_by = Stop.STALLED
    for _ in range(FINISH):
        held = kernels.held_by(posterior, place.x, place.gradient)
        step = newton_step(curvature, place.gradient, ~held)
        if step is None:
            ascent.x[:] = place.x
            stopped_by = ascent.until(enough)
            place = look(posterior, ascent.x)
            curvature = curvature_at(posterior, place)
            break
        left = 0.5 * float(place.gradient @ step)
        if left <= enough:
            stopped_by = Stop.CONVERGED
            break
        if left > 0.1 * before:
            curvature, before = curvature_at(posterior, place), np.inf
            continue
        if ascent.n_steps >= ascent.max_steps:
            stopped_by = Stop.MAX_STEPS
            break
        risen = _risen(posterior, place, step)
        if risen is None:
            break
        place, before = risen, left
        ascent.history.append(place.value)
    return _ended(ascent, place, enough, stopped_by, curvature)


def _ended(
    ascent: _Ascent,
    place: Place,
    enough: float,
    stopped_by: Stop,
    curvature: Floats | None,
) -> Climb:
    held = kernels.held_by(ascent.posterior, place.x, place.gradient)
    step = None if curvature is None else newton_step(curvature, place.gradient, ~held)
    left = enough if stopped_by is Stop.CONVERGED else np.inf
    if step is not None:
        left = 0.5 * float(place.gradient @ step)
    return Climb(
        x=place.x.copy(),
        value=place.value,
        held=held,
        complete=place.complete,
        curvature=curvature,
        left=left,
        history=tuple(ascent.history),
        stopped_by=stopped_by,
    )


def _risen(posterior: kernels.Posterior, place: Place, step: Floats) -> Place | None:
    """The first of the step and its halves that does not fall; None where all do."""
    for halving in range(HALVINGS):
        x = np.clip(place.x + step * 0.5**halving, posterior.lower, posterior.upper)
        found = look(posterior, x)
        if found.value >= place.value and not np.array_equal(x, place.x):
            return found
    return None


def curvature_at(posterior: kernels.Posterior, place: Place) -> Floats:
    """Minus the Hessian, by differences of the exact gradient."""
    rows = gradient_falls(posterior, place, place.x.size)
    return np.asarray(0.5 * (rows + rows.T))


def gradient_falls(posterior: kernels.Posterior, place: Place, n_rows: int) -> Floats:
    """The first rows of minus the Hessian, (n_rows, x.size), by differences."""
    rows = np.empty((n_rows, place.x.size))
    for k in range(n_rows):
        x = place.x.copy()
        x[k] += DIFFERENCE
        rows[k] = (place.gradient - look(posterior, x).gradient) / DIFFERENCE
    return rows


def newton_step(curvature: Floats, gradient: Floats, free: NDArray[np.bool_]) -> Floats | None:
    """Solve curvature step = gradient where free; None where it is not positive definite."""
    step = np.zeros(gradient.size)
    try:
        factor = np.linalg.cholesky(curvature[np.ix_(free, free)])
    except np.linalg.LinAlgError:
        return None
    step[free] = np.linalg.solve(factor.T, np.linalg.solve(factor, gradient[free]))
    return step


def deadline(max_seconds: float) -> Callable[[], float]:
    """A function that tells the seconds left from now on."""
    end = time.monotonic() + max_seconds
    return lambda: end - time.monotonic()


def _work(posterior: kernels.Posterior) -> Floats:
    multiplied = posterior.questions.size > 0 or posterior.covariates.shape[1] > 0
    return np.empty((3, posterior.correct.size if multiplied else 0))
