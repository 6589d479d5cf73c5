"""What v3, v4 and v5 reach out of fold on real logs, and the CPU seconds of their fits.

`BKT_BENCHMARK_DATA=folder python -m benchmarks.family` prints the figures beside their bars:
five folds by user, predictions of all held-out users pooled, the prior learned on the log.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.fitting import can_be_fitted, real_concepts
from benchmarks.data.stamps import stamped_concepts, stamped_log
from benchmarks.parts.family_pybkt import against_pybkt
from bkt_core.evaluation.comparison import sign_flip_p
from bkt_core.evaluation.cross_validation import MIN_USABLE_FOLDS, fold_of, usable_folds
from bkt_core.evaluation.metrics import area_under_curve, attempt_losses, score
from bkt_core.family.engine import MapEngine
from bkt_core.family.replay import multipliers, predict, step
from bkt_core.family.stamped import StampedSequences
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.shrinkage import choose_teachers
from bkt_core.params import WIDE_BOX
from bkt_core.variant import ForgettingBounds, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bkt_core.family.fit import FamilyFit
    from bkt_core.sequences import AttemptSequences

    Concepts = Mapping[str, tuple[AttemptSequences, NDArray[np.uint64]]]

N_FOLDS = 5
OPTIONS = FitOptions(bounds=WIDE_BOX, n_starts=1)
V3 = Variant(forgetting=True)
V4 = Variant(forgetting=True, questions=True)
V5 = Variant(forgetting=True, questions=True, history=True, gap=True)
#: AUC and within at least, RMSE, log loss and CPU seconds at most.
BARS = {
    "v3, algebra": (0.757, 0.640, 0.3920, 0.474, None),
    "v3, builder_train": (0.813, None, None, 0.470, 12.0),
    "v3, builder_train -> builder_test": (0.824, None, 0.3890, None, None),
    "v4, algebra": (0.793, 0.705, 0.3785, 0.447, None),
    "v5, algebra": (0.814, 0.748, 0.3710, 0.430, 30.0),
}
RIGHT_ANSWERS, THRESHOLD = 20, 0.95
#: CPU seconds of pyBKT's fits with `forgets` in units of ours.
LEAST_RATIO = 2_000


@dataclass(frozen=True)
class Measured:
    """Out-of-fold predictions of every concept of a log, and what making them took."""

    p_correct: dict[str, NDArray[np.float64]]
    fits: dict[str, FamilyFit]  # on all users
    cpu: float


def cpu_seconds() -> float:
    """Of this process, so far."""
    times = os.times()
    return times.user + times.system


def measure(concepts: Concepts, variant: Variant) -> Measured:
    """Learn the prior, fit every concept on all users and without each fold."""
    began = cpu_seconds()
    teachers = choose_teachers({name: one.n_attempts for name, (one, _) in concepts.items()})
    bounds = ForgettingBounds()
    prior = learn_prior([concepts[name][0] for name in teachers], variant, OPTIONS, bounds)
    engine = MapEngine(variant, prior, bounds_of_F=bounds)
    predictions, final = {}, {}
    for name, (sequences, users) in concepts.items():
        folds = fold_of(users, seed=0, n_folds=N_FOLDS)
        usable = usable_folds(folds, n_folds=N_FOLDS)
        if len(usable) < MIN_USABLE_FOLDS:
            continue
        everyone = np.ones(sequences.n_users, np.bool_)
        sets = np.stack([everyone, *(folds != fold for fold in usable)])
        final[name], *fits = engine.fit(sequences, sets, OPTIONS)
        expected = np.full(sequences.n_attempts, np.nan)
        for fold, fit in zip(usable, fits, strict=True):
            own = np.repeat(folds == fold, sequences.lengths)
            expected[own] = predicted(sequences.of_users(folds == fold), fit)
        predictions[name] = expected
    return Measured(predictions, final, cpu_seconds() - began)


def predicted(sequences: AttemptSequences, fit: FamilyFit) -> NDArray[np.float64]:
    """P(correct) before each attempt under a fit."""
    odds = None
    if isinstance(sequences, StampedSequences):
        odds = multipliers(sequences, fit.params, np.array(fit.question_odds))
    return predict(sequences, fit.params, odds)


def show(
    title: str, outcomes: list[NDArray[np.int8]], p: list[NDArray[np.float64]], cpu: float
) -> int:
    """Print the figures beside their bars; how many were missed."""
    inside = [~np.isnan(one) for one in p]
    kept = [(c[i], q[i]) for c, q, i in zip(outcomes, p, inside, strict=True) if i.any()]
    scores = score(np.concatenate([c for c, _ in kept]), np.concatenate([q for _, q in kept]))
    aucs = [(area_under_curve(c != 0, q), c.size) for c, q in kept]
    known = [(auc, n) for auc, n in aucs if auc is not None]
    within = float(np.average([auc for auc, _ in known], weights=[n for _, n in known]))
    found = (scores.auc or 0.0, within, scores.rmse, scores.log_loss, cpu)
    names, missed = ("AUC", "within", "RMSE", "log loss", "CPU s"), 0
    print(f"\n{title}, {len(kept)} concepts")
    for name, value, bar in zip(names, found, BARS[title], strict=True):
        at_least = name in {"AUC", "within"}
        fails = bar is not None and (value < bar if at_least else value > bar)
        missed += fails
        verdict = "" if bar is None else f"bar {bar:g} {'MISSED' if fails else 'ok'}"
        print(f"  {name:10}{value:9.4f}  {verdict}")
    return missed


def show_gain(title: str, concepts: Concepts, before: Measured, after: Measured) -> None:
    """The log loss that a step saves, paired by user."""
    by_user: dict[int, float] = {}
    for name, later in after.p_correct.items():
        sequences, users = concepts[name]
        saved = attempt_losses(sequences.correct, before.p_correct[name])
        saved = np.nan_to_num(saved - attempt_losses(sequences.correct, later))
        for user, one in zip(
            users.tolist(), np.add.reduceat(saved, sequences.offsets[:-1]), strict=True
        ):
            by_user[user] = by_user.get(user, 0.0) + float(one)
    gains = np.array(list(by_user.values()))
    z = -gains.sum() / np.sqrt(np.sum((gains - gains.mean()) ** 2))
    print(f"{title}: z {z:.1f}, p {sign_flip_p(gains):.1g}")


def unreachable(fits: Mapping[str, FamilyFit]) -> int:
    """Concepts in which twenty right answers do not pass the threshold."""
    n = 0
    for fit in fits.values():
        mastery = None
        for _ in range(RIGHT_ANSWERS):
            mastery, _ = step(mastery, True, fit.params)
        n += mastery is not None and mastery < THRESHOLD
    return n


def outcomes_of(concepts: Concepts, measured: Measured) -> list[NDArray[np.int8]]:
    """In the order of the predictions."""
    return [concepts[name][0].correct for name in measured.p_correct]


def fitted(concepts: Concepts) -> Concepts:
    """Those that can be."""
    return {name: both for name, both in concepts.items() if can_be_fitted(both[0])}


def main() -> int:
    """Print every table; the number of bars missed."""
    folder = Path(os.environ["BKT_BENCHMARK_DATA"])
    missed = int(against_pybkt() < LEAST_RATIO)
    train = fitted(real_concepts(folder / "assist0910_builder_train.parquet"))
    measure(dict(list(train.items())[:1]), V3)  # compiles
    done = measure(train, V3)
    p = list(done.p_correct.values())
    missed += show("v3, builder_train", outcomes_of(train, done), p, done.cpu)
    print(f"  unreachable in {unreachable(done.fits)} of {len(done.fits)} concepts")
    test = real_concepts(folder / "assist0910_builder_test.parquet")
    both = {name: test[name][0] for name in test if name in done.fits}
    p = [predicted(sequences, done.fits[name]) for name, sequences in both.items()]
    title = "v3, builder_train -> builder_test"
    missed += show(title, [one.correct for one in both.values()], p, done.cpu)
    return missed + algebra(folder / "algebra05_114u.parquet")


def algebra(path: Path) -> int:
    """The three versions on the log with questions and times, each after the one before."""
    log, missed = stamped_log(path), 0
    before: Measured | None = None
    for name, variant in (("v3", V3), ("v4", V4), ("v5", V5)):
        every = stamped_concepts(log, variant) if variant.multiplies else real_concepts(path)
        concepts = fitted(every)
        now = measure(concepts, variant)
        p = list(now.p_correct.values())
        missed += show(f"{name}, algebra", outcomes_of(concepts, now), p, now.cpu)
        print(f"  unreachable in {unreachable(now.fits)} of {len(now.fits)} concepts")
        if before is not None:
            show_gain(f"{name} after the version before", concepts, before, now)
        before = now
    return missed


if __name__ == "__main__":
    sys.exit(main())
