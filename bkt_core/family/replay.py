"""Mastery and predictions of any version of the family, from attempts and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import InvalidInputError, InvalidSequencesError
from bkt_core.family import kernels
from bkt_core.family.exponentials import EXPONENTIALS
from bkt_core.kernels import clamp, predict_correct, update_mastery
from bkt_core.sequences import AttemptSequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bkt_core.family.params import FamilyParams
    from bkt_core.family.stamped import StampedSequences

    Floats = NDArray[np.float64]

#: Value of `odds` for versions without multipliers.
NO_ODDS = np.empty(0, dtype=np.float64)


def step(
    p_L: float | None, correct: bool, params: FamilyParams, odds: float | None = None
) -> tuple[float, float]:
    """Process one attempt; return mastery to store after it and P(correct) before it.

    `p_L` is the mastery stored after the previous attempt, None for the first one. `odds` is
    the attempt's multiplier, None if the version has no multipliers.
    """
    p_L0, p_T, p_S, p_G, p_F = params.as_tuple()
    p_T, slip, guess = clamp(p_T), clamp(p_S), clamp(p_G)
    now = clamp(p_L0) if p_L is None else kernels.forget(clamp(p_L), p_F)
    if odds is not None:
        if not (np.isfinite(odds) and odds > 0.0):
            raise InvalidInputError(name="odds", value=odds, expected="a finite number above 0")
        slip, guess = kernels.slip_at(slip, odds), kernels.guess_at(guess, odds)
    return update_mastery(now, correct, p_T, slip, guess), predict_correct(now, slip, guess)


def replay(
    sequences: AttemptSequences, params: FamilyParams, odds: Floats | None = None
) -> Floats:
    """Return mastery of each user after the last attempt, (n_users,)."""
    out = np.empty(sequences.n_users)
    kernels.replay_users(
        sequences.correct, sequences.offsets, checked(sequences, odds), params.as_tuple(), out
    )
    return out


def trace(
    sequences: AttemptSequences, params: FamilyParams, odds: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return mastery stored after each attempt and P(correct) before it, each (n_attempts,)."""
    mastery, p_correct = np.empty(sequences.n_attempts), np.empty(sequences.n_attempts)
    kernels.trace_users(
        sequences.correct,
        sequences.offsets,
        checked(sequences, odds),
        params.as_tuple(),
        mastery,
        p_correct,
    )
    return mastery, p_correct


def predict(
    sequences: AttemptSequences, params: FamilyParams, odds: Floats | None = None
) -> Floats:
    """Return P(correct) before each attempt, (n_attempts,)."""
    return trace(sequences, params, odds)[1]


def multipliers(
    sequences: StampedSequences, params: FamilyParams, question_odds: Floats | None = None
) -> Floats:
    """Each attempt's multiplier, (n_attempts,); the order of operations is the contract's.

    The odds of questions are those of `params`, by id; `question_odds` (n_questions,) gives
    them by code instead.
    """
    weights = np.array([*params.weights.values()], dtype=np.float64)
    covariates = sequences.covariates_for(params.weights)
    questions = sequences.questions
    if question_odds is not None:
        odds = np.ascontiguousarray(question_odds, dtype=np.float64)
        if questions.size and odds.shape != (sequences.n_questions,):
            raise InvalidSequencesError(
                f"There must be one multiplier per question, {sequences.n_questions}, "
                f"got {odds.shape}."
            )
    elif params.question_odds is not None:
        odds = sequences.odds_for(params.question_odds)
    else:
        questions, odds = questions[:0], NO_ODDS
    out = np.empty(sequences.n_attempts)
    kernels.multiply_out(questions, odds, covariates, weights, EXPONENTIALS, out)
    return out


def simulate(
    params: FamilyParams,
    *,
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
    odds: Floats | None = None,
) -> AttemptSequences:
    """Simulate users who follow the model exactly; `lengths` (n_users,) has their attempts."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    correct = np.zeros(int(offsets[-1]), dtype=np.int8)
    multipliers = checked(AttemptSequences(correct=correct, offsets=offsets), odds)
    draws = rng.random((correct.size, 3))
    kernels.simulate_users(offsets, multipliers, params.as_tuple(), draws, correct)
    return AttemptSequences(correct=correct, offsets=offsets)


def checked(sequences: AttemptSequences, odds: Floats | None) -> Floats:
    """Return multipliers in the form of the kernels: one per attempt, finite and above 0."""
    if odds is None:
        return NO_ODDS
    given = np.ascontiguousarray(odds, dtype=np.float64)
    if given.shape != (sequences.n_attempts,):
        raise InvalidSequencesError(
            f"Multipliers must have shape ({sequences.n_attempts},), one per attempt, "
            f"got {given.shape}."
        )
    if not bool(np.all(np.isfinite(given) & (given > 0.0))):
        raise InvalidSequencesError("Every multiplier must be finite and above 0.")
    return given
