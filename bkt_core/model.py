"""The six functions of the BKT model, for numbers and arrays (Corbett & Anderson 1995).

Each takes numbers or arrays that broadcast against each other, and returns a float if all
arguments are numbers, else an array. The arithmetic is that of `kernels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

import numpy as np

from bkt_core import kernels
from bkt_core.errors import InvalidInputError
from bkt_core.params import PARAM_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Numbers: TypeAlias = float | Array
    Outcome: TypeAlias = int | NDArray[np.integer] | NDArray[np.bool_]

#: Least p_T, least (1 - p_S) - p_G, and the opportunities of the expected learning gain.
MIN_TRANSITION = 0.01
MIN_SEPARATION = 0.1
GAIN_OPPORTUNITIES = 10


class Update(NamedTuple):
    """The result of one attempt."""

    p_L_next: float  # mastery before the next attempt
    p_correct: float  # the prediction before the outcome was known


class Updates(NamedTuple):
    """The results of one attempt of each of many users, as arrays."""

    p_L_next: Array
    p_correct: Array


@overload
def predict_correct(p_L: float, p_S: float, p_G: float) -> float: ...
@overload
def predict_correct(p_L: Array, p_S: Numbers, p_G: Numbers) -> Array: ...
def predict_correct(p_L: Numbers, p_S: Numbers, p_G: Numbers) -> Numbers:
    """P(correct) = P(L)(1 - P(S)) + (1 - P(L))P(G)."""
    given = _floats(p_L, p_S, p_G)
    out = _apply(kernels.predict_correct_each, *given)
    return _usable(out, given, ("p_L", "p_S", "p_G"))


@overload
def posterior_given_obs(p_L: float, correct: int, p_S: float, p_G: float) -> float: ...
@overload
def posterior_given_obs(p_L: Array, correct: Outcome, p_S: Numbers, p_G: Numbers) -> Array: ...
def posterior_given_obs(p_L: Numbers, correct: Outcome, p_S: Numbers, p_G: Numbers) -> Numbers:
    """P(L given right) = P(L)(1 - P(S)) / P(right); P(L given wrong) = P(L)P(S) / P(wrong)."""
    given = _floats(p_L, correct, p_S, p_G)
    out = _apply(kernels.posterior_given_obs_each, *given)
    return _usable(out, given, ("p_L", "correct", "p_S", "p_G"))


@overload
def apply_learning_transition(p_L_given_obs: float, p_T: float) -> float: ...
@overload
def apply_learning_transition(p_L_given_obs: Array, p_T: Numbers) -> Array: ...
def apply_learning_transition(p_L_given_obs: Numbers, p_T: Numbers) -> Numbers:
    """P(L next) = P(L given the outcome) + (1 - P(L given the outcome))P(T)."""
    given = _floats(p_L_given_obs, p_T)
    out = _apply(kernels.apply_learning_transition_each, *given)
    return _usable(out, given, ("p_L_given_obs", "p_T"))


@overload
def update_mastery(p_L: float, correct: int, p_T: float, p_S: float, p_G: float) -> Update: ...
@overload
def update_mastery(
    p_L: Array, correct: Outcome, p_T: Numbers, p_S: Numbers, p_G: Numbers
) -> Updates: ...
def update_mastery(
    p_L: Numbers, correct: Outcome, p_T: Numbers, p_S: Numbers, p_G: Numbers
) -> Update | Updates:
    """Apply the three steps in order; return the new mastery and the earlier prediction."""
    given = before, seen, T, S, G = _floats(p_L, correct, p_T, p_S, p_G)
    p_correct = _apply(kernels.predict_correct_each, before, S, G)
    known = _apply(kernels.posterior_given_obs_each, before, seen, S, G)
    out = _apply(kernels.apply_learning_transition_each, known, T)
    p_L_next = _usable(out, given, ("p_L", "correct", "p_T", "p_S", "p_G"))
    if isinstance(p_L_next, float):
        return Update(p_L_next, float(p_correct))
    return Updates(p_L_next, np.broadcast_to(p_correct, p_L_next.shape))


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """One rule that the parameters break."""

    rule: str
    measured: float
    limit: float
    sentence: str


@dataclass(frozen=True, slots=True)
class RuleReport:
    """All rules that the parameters break; empty if they pass."""

    failures: tuple[RuleFailure, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return not self.failures


def validate_bkt_params(p_L0: Numbers, p_T: Numbers, p_S: Numbers, p_G: Numbers) -> RuleReport:
    """Check that these are BKT parameters; arrays are judged by their worst element.

    NaN breaks every rule in which it occurs; it is reported, not raised.
    """
    given = _, _, S, G = _floats(p_L0, p_T, p_S, p_G)
    named = dict(zip(PARAM_NAMES, given, strict=True))
    rules = [_must_exceed(f"{name}_above_0", p, 0.0, name) for name, p in named.items()]
    rules += [_must_stay_below(f"{name}_below_1", p, 1.0, name) for name, p in named.items()]
    rules += [
        _must_exceed("known_better_than_guessing", (1.0 - S) - G, 0.0, "(1 - p_S) - p_G"),
        _must_stay_below("slip_below_half", S, 0.5, "p_S"),
        _must_stay_below("guess_below_half", G, 0.5, "p_G"),
    ]
    return RuleReport(tuple(failure for failure in rules if failure is not None))


def check_degeneracy(
    p_L0: Numbers,
    p_T: Numbers,
    p_S: Numbers,
    p_G: Numbers,
    *,
    p_F: float | None = None,
    min_learning_gain: float = 0.05,
) -> RuleReport:
    """Check that the parameters are not degenerate (Baker, Corbett & Aleven 2008).

    The learning gain is the one expected over ten opportunities: (1 - L0)(1 - (1 - T)^10). With
    forgetting it is that of a user who does not know before: where many know before and
    learning balances forgetting, the mean does not rise, though the parameters mean something.
    """
    given = L0, T, S, G = _floats(p_L0, p_T, p_S, p_G)
    _refuse(given, PARAM_NAMES)
    gain = (1.0 - L0) * (1.0 - (1.0 - T) ** GAIN_OPPORTUNITIES)
    if p_F is not None:
        gain = _gain_with_forgetting(T, p_F)
    rules = [
        _must_reach("learning_happens", T, MIN_TRANSITION, "p_T"),
        _must_reach("states_differ", (1.0 - S) - G, MIN_SEPARATION, "(1 - p_S) - p_G"),
        _must_reach("learning_gain", gain, min_learning_gain, "expected learning gain"),
    ]
    return RuleReport(tuple(failure for failure in rules if failure is not None))


def _gain_with_forgetting(T: Array, p_F: float) -> Array:
    """Return the expected mastery, from 0, after ten opportunities.

    It tends to T / (T + F - T F), where what is learned at an opportunity balances what was
    forgotten before it.
    """
    known = np.zeros_like(T)
    for _ in range(GAIN_OPPORTUNITIES):
        known = known * (1.0 - p_F)
        known = known + (1.0 - known) * T
    return known


def _must_exceed(rule: str, p: Array, limit: float, what: str) -> RuleFailure | None:
    worst = float(np.min(p, initial=np.inf))
    if worst > limit:
        return None
    return RuleFailure(rule, worst, limit, f"{what} must be above {limit:g}, got {worst:g}.")


def _must_reach(rule: str, p: Array, limit: float, what: str) -> RuleFailure | None:
    worst = float(np.min(p, initial=np.inf))
    if worst >= limit:
        return None
    return RuleFailure(rule, worst, limit, f"{what} must be at least {limit:g}, got {worst:g}.")


def _must_stay_below(rule: str, p: Array, limit: float, what: str) -> RuleFailure | None:
    worst = float(np.max(p, initial=-np.inf))
    if worst < limit:
        return None
    return RuleFailure(rule, worst, limit, f"{what} must be below {limit:g}, got {worst:g}.")


def _floats(*values: Numbers | Outcome) -> list[Array]:
    return [np.asarray(value, dtype=np.float64) for value in values]


def _apply(ufunc: Callable[..., Array], *given: Array) -> Array:
    with np.errstate(invalid="ignore"):  # `_usable` refuses the argument that gave NaN
        return ufunc(*given)


def _usable(out: Array, given: list[Array], names: tuple[str, ...]) -> Numbers:
    """Return the result as a float or an array; name the argument that made it invalid."""
    if np.isnan(out).any():
        _refuse(given, names)
    return out if out.ndim else float(out)


def _refuse(given: list[Array], names: tuple[str, ...]) -> None:
    """Raise for the first argument that is not finite, or an outcome that is not 0 or 1."""
    for name, values in zip(names, given, strict=True):
        is_outcome = name == "correct"
        usable = np.isin(values, (0.0, 1.0)) if is_outcome else np.isfinite(values)
        if not usable.all():
            raise InvalidInputError(
                name=name,
                value=float(values[~usable].flat[0]),
                expected="0 or 1" if is_outcome else "a finite number",
            )
