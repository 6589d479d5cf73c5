"""Assign users to folds and compute out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bkt_core.errors import InsufficientDataError
from bkt_core.replay import predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bkt_core.engines import Engine
    from bkt_core.family.fit import Fit
    from bkt_core.family.params import Params
    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

#: Cross-validation needs at least this many usable folds.
MIN_USABLE_FOLDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """The fit of one concept on all users, and the fits without each fold."""

    final: Fit
    fold_fits: tuple[Fit | None, ...]  # (n_folds,); None: the fold is not usable
    p_correct: NDArray[np.float64]  # (n_attempts,), out of fold; NaN if the fold is not usable


def fold_of(user_hashes: NDArray[np.uint64], *, seed: int, n_folds: int) -> NDArray[np.int8]:
    """Return the fold of each user, (n_users,): a hash of the user and the seed.

    The assignment must never change, because stored fits refer to it.
    """
    salt = _splitmix64(np.array([seed], dtype=np.uint64))
    mixed = _splitmix64(user_hashes ^ salt)
    # The upper half of the hash, scaled to n_folds; the bias is below one in 2**32.
    return ((mixed >> np.uint64(32)) * np.uint64(n_folds) >> np.uint64(32)).astype(np.int8)


def usable_folds(folds: NDArray[np.int8], *, n_folds: int) -> list[int]:
    """Return the folds that have users inside and outside."""
    sizes = np.bincount(folds, minlength=n_folds).tolist()
    return [fold for fold in range(n_folds) if 0 < sizes[fold] < folds.size]


def cross_validate(
    engine: Engine,
    sequences: AttemptSequences,
    folds: NDArray[np.int8],  # (n_users,)
    *,
    n_folds: int,
    options: FitOptions,
) -> CrossValidation:
    """Fit on all users and without each usable fold, in one call of the engine."""
    usable = usable_folds(folds, n_folds=n_folds)
    if len(usable) < MIN_USABLE_FOLDS:
        raise InsufficientDataError(n_usable=len(usable), needed=MIN_USABLE_FOLDS)
    everyone = np.ones(sequences.n_users, dtype=np.bool_)
    training_sets = np.stack([everyone, *(folds != fold for fold in usable)])
    final, *fitted = engine.fit(sequences, training_sets, options)
    by_fold = dict(zip(usable, fitted, strict=True))
    fold_fits = tuple(by_fold.get(fold) for fold in range(n_folds))
    params = [None if fit is None else fit.params for fit in fold_fits]
    return CrossValidation(final, fold_fits, predict_by_fold(sequences, folds, params))


def predict_by_fold(
    sequences: AttemptSequences, folds: NDArray[np.int8], params: Sequence[Params | None]
) -> NDArray[np.float64]:
    """Predict P(correct) before each attempt, (n_attempts,), fold `k` with `params[k]`.

    Predictions are NaN in folds whose parameters are None.
    """
    p_correct = np.full(sequences.n_attempts, np.nan)
    of_attempt = np.repeat(folds, sequences.lengths)
    for fold, chosen in enumerate(params):
        if chosen is None:
            continue
        p_correct[of_attempt == fold] = predict(sequences.of_users(folds == fold), chosen)
    return p_correct


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of 64-bit integers (SplitMix64: Steele, Lea & Flood 2014), modulo 2**64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
