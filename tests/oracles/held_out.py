"""Held-out predictions of a version in plain Python: folds, replay, scores; nothing of ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sklearn.metrics import roc_auc_score

from tests.datasets.extracts.plain_hashes import plain_hash
from tests.oracles import family
from tests.oracles.replay import Params, clamp, step

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = (1 << 64) - 1
#: (concept, user, outcomes in canonical order).
Log = dict[str, dict[str, list[int]]]
#: Parameters without each fold, and those of all users.
Fit = tuple[list[Params | None], Params]


def splitmix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def fold_of_user(user: str, *, seed: int, n_folds: int) -> int:
    mixed = splitmix64(plain_hash(user.encode()) ^ splitmix64(seed))
    return (mixed >> 32) * n_folds >> 32


def predicted(outcomes: Iterable[int], params: Params) -> list[float]:
    """P(correct) before each attempt of one user at one concept; five values forget."""
    if len(params) == len(family.FORGETTING):
        return [p for _, p in family.trace(list(outcomes), params)]
    p, t, s, g = params
    p, found = clamp(p), []
    for correct in outcomes:
        p, c = step(p, correct, t, s, g)
        found.append(c)
    return found


def held_out(log: Log, fits: dict[str, Fit], *, seed: int) -> dict[tuple[str, str, int], float]:
    """P(correct) of each (concept, user, opportunity) by what was fitted without the user."""
    found = {}
    for concept, (by_fold, _) in fits.items():
        for user, outcomes in log[concept].items():
            params = by_fold[fold_of_user(user, seed=seed, n_folds=len(by_fold))]
            if params is not None:
                for place, p in enumerate(predicted(outcomes, params)):
                    found[concept, user, place] = p
    return found


def scores(rows: list[tuple[str, int, float]]) -> dict[str, float]:
    """Of (concept, correct, P(correct)): each score by its definition."""
    of_concept: dict[str, list[tuple[int, float]]] = {}
    for concept, right, p in rows:
        of_concept.setdefault(concept, []).append((right, p))
    whole = [pair for own in of_concept.values() for pair in own]
    n, within, weight = len(whole), 0.0, 0
    for own in of_concept.values():
        if len({right for right, _ in own}) == 2:
            within += len(own) * roc_auc_score(*zip(*own, strict=True))
            weight += len(own)
    gaps = [0.0] * 20
    for right, p in whole:
        gaps[min(int(p * 20), 19)] += p - right
    return {
        "log_loss": math.fsum(-math.log(p if right else 1 - p) for right, p in whole) / n,
        "rmse": math.sqrt(math.fsum((p - right) ** 2 for right, p in whole) / n),
        "accuracy": sum((p >= 0.5) == bool(right) for right, p in whole) / n,
        "auc": roc_auc_score(*zip(*whole, strict=True)),
        "within_auc": within / weight,
        "calibration_error": math.fsum(map(abs, gaps)) / n,
    }
