"""Fits of the real logs: out-of-fold figures, and likelihoods against many random starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.fitting import can_be_fitted, real_concepts
from bkt_core import BktParams, Bounds, check_degeneracy, predict
from bkt_core.evaluation.cross_validation import (
    MIN_USABLE_FOLDS,
    cross_validate,
    fold_of,
    usable_folds,
)
from bkt_core.evaluation.metrics import score
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.options import FitOptions, Method
from bkt_core.params import FALLBACK_PARAMS

if TYPE_CHECKING:
    from pathlib import Path

    from bkt_core import AttemptSequences

ENGINE = EmEngine(n_threads=1)
#: What a careful EM reaches (AUC, RMSE, log loss), by the data's own notes.
REFERENCE = {
    "algebra05_114u": (0.7382, 0.3964, 0.4855),
    "assist0910_builder_train": (0.7940, 0.4068, 0.4937),
    "builder_train -> builder_test": (0.8035, 0.4019, 0.4884),
}


def print_quality(folder: Path) -> None:
    """Every figure of the two logs, and of the fixed test half."""
    for name in ("algebra05_114u", "assist0910_builder_train"):
        concepts = real_concepts(folder / f"{name}.parquet")
        kept = [both for both in concepts.values() if can_be_fitted(both[0])]
        correct, expected = [], []
        for sequences, users in kept:
            folds = fold_of(users, seed=0, n_folds=5)
            if len(usable_folds(folds, n_folds=5)) < MIN_USABLE_FOLDS:
                continue
            done = cross_validate(ENGINE, sequences, folds, n_folds=5, options=FitOptions())
            inside = np.isfinite(done.p_correct)
            correct.append(sequences.correct[inside])
            expected.append(done.p_correct[inside])
        print_figures(name, correct, expected, f"{len(correct)} concepts out of fold")
        print_against_random_starts(name, [sequences for sequences, _ in kept])
    print_held_out(folder)


def print_held_out(folder: Path) -> None:
    """Fit the train half, score the test half; the defaults where a fit is degenerate."""
    train = real_concepts(folder / "assist0910_builder_train.parquet")
    test = real_concepts(folder / "assist0910_builder_test.parquet")
    correct, expected = [], []
    for name, (sequences, _) in test.items():
        params = FALLBACK_PARAMS
        if name in train and can_be_fitted(train[name][0]):
            one = train[name][0]
            fitted = ENGINE.fit(one, np.ones((1, one.n_users), bool), FitOptions())[0].params
            if check_degeneracy(*fitted.as_tuple()).passed:
                params = fitted
        correct.append(sequences.correct)
        expected.append(predict(sequences, params))
    print_figures("builder_train -> builder_test", correct, expected, "")


def print_figures(
    name: str, correct: list[np.ndarray], expected: list[np.ndarray], note: str
) -> None:
    """Pooled AUC, RMSE and log loss beside the reference."""
    scores = score(np.concatenate(correct), np.concatenate(expected))
    auc, rmse, log_loss = REFERENCE[name]
    print(
        f"{name}: AUC {scores.auc:.4f} ({auc}), RMSE {scores.rmse:.4f} ({rmse}), "
        f"log loss {scores.log_loss:.4f} ({log_loss}) {note}",
        flush=True,
    )


def print_against_random_starts(name: str, concepts: list[AttemptSequences]) -> None:
    """Our five starts against twenty random ones of plain EM, concept by concept."""
    rng = np.random.default_rng(2026)
    box, worst, n_lower = Bounds(), 0.0, 0
    for one in concepts:
        everyone = np.ones((1, one.n_users), bool)
        starts = rng.uniform(box.lower, box.upper, size=(20, 4)).tolist()
        plainly = FitOptions(
            method=Method.EM,
            starts=tuple(BktParams(*start) for start in starts),
            tolerance=1e-9,
            max_steps=3000,
        )
        ours = ENGINE.fit(one, everyone, FitOptions())[0].log_likelihood
        theirs = ENGINE.fit(one, everyone, plainly)[0].log_likelihood
        gap = (theirs - ours) / abs(theirs)
        worst, n_lower = max(worst, gap), n_lower + (gap > 1e-6)
    print(
        f"{name}: {n_lower} of {len(concepts)} concepts below 20 random starts of plain EM by "
        f"more than 1e-6; the worst by {worst:.1e} (at most 1e-6)",
        flush=True,
    )
