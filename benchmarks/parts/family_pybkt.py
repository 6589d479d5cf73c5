"""The cost of v3's fits beside pyBKT's with `forgets`, which fits from five starts."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from bkt_core import BktParams, draw_lengths, draw_params
from bkt_core.family.engine import FORGETTING, MapEngine
from bkt_core.family.params import FamilyParams
from bkt_core.family.replay import simulate
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.pybkt_engine import run_pybkt
from bkt_core.params import WIDE_BOX, Bounds
from bkt_core.pybkt_forgets import forgetting_model
from bkt_core.variant import ForgettingBounds

if TYPE_CHECKING:
    from bkt_core.sequences import AttemptSequences

#: Likelihoods are equal within this, relatively; pyBKT's own limit of iterations.
EQUAL, PYBKT_LIMIT = 1e-6, 100
#: Training sets of one concept together: all users, and five times four fifths of them.
SHARES, N_STARTS = 5, 5
OPEN = FitOptions(bounds=Bounds(*(4 * (1e-6, 1.0 - 1e-6))), n_starts=1)
START = FamilyParams(BktParams(0.4, 0.15, 0.15, 0.25), 0.05)


def medium_set(n_concepts: int = 50, n_users: int = 1_000) -> list[AttemptSequences]:
    """Simulated concepts whose users forget between 1 and 10 % of what they know."""
    rng = np.random.default_rng(2)
    truths, forgotten = draw_params(n_concepts, rng=rng), rng.uniform(0.01, 0.1, n_concepts)
    return [
        simulate(
            FamilyParams(BktParams(*truth), p_F),
            lengths=draw_lengths(n_users, rng=rng),
            rng=rng,
        )
        for truth, p_F in zip(truths.tolist(), forgotten.tolist(), strict=True)
    ]


def pybkt_until(sequences: AttemptSequences, target: float) -> tuple[float, int]:
    """CPU seconds and iterations of one start, until its likelihood equals `target`."""
    _, history = run_pybkt(
        forgetting_model(START), sequences, tolerance=-1.0, n_steps=PYBKT_LIMIT
    )
    lacks = [(target - one) / abs(target) for one in history]
    n_steps = next((n for n, one in enumerate(lacks, 1) if one <= EQUAL), PYBKT_LIMIT)
    began = time.process_time()
    run_pybkt(forgetting_model(START), sequences, tolerance=-1.0, n_steps=n_steps)
    return time.process_time() - began, n_steps


def fit_all(concepts: list[AttemptSequences]) -> None:
    """As a night does: the prior, then cross-validation and final fit of every concept."""
    options = FitOptions(bounds=WIDE_BOX)
    prior = learn_prior(concepts, FORGETTING, options, ForgettingBounds())
    engine = MapEngine(FORGETTING, prior)
    for one in concepts:
        folds = np.arange(one.n_users) % 5
        everyone = np.ones(one.n_users, np.bool_)
        engine.fit(one, np.stack([everyone, *(folds != k for k in range(5))]), options)


def against_pybkt(measured: tuple[int, ...] = (0, 1, 2)) -> float:
    """Print both costs, pyBKT's extrapolated from one-start fits; return the ratio."""
    concepts = medium_set()
    fit_all(concepts[:1])
    engine = MapEngine(FORGETTING, flat=True, bounds_of_F=ForgettingBounds(0.0, 0.9))
    own, spent, iterations = math.inf, 0.0, []
    for index in measured:
        began = time.process_time()
        fit_all(concepts)
        own = min(own, time.process_time() - began)
        one = concepts[index]
        everyone = np.ones((1, one.n_users), np.bool_)
        target = engine.fit(one, everyone, OPEN)[0].log_likelihood
        seconds, n_steps = pybkt_until(one, target)
        spent, iterations = spent + seconds, [*iterations, n_steps]
    per_attempt = spent / sum(concepts[index].n_attempts for index in measured)
    n_attempts = sum(one.n_attempts for one in concepts)
    theirs = per_attempt * n_attempts * SHARES * N_STARTS
    print(
        f"v3, CV + final, 50 x 1,000 users, {n_attempts:,} attempts: {theirs / own:,.0f} x "
        f"(at least 2,000): ours {own:.2f} CPU s with the prior; pyBKT {theirs / 3600:.1f} h "
        f"EXTRAPOLATED from one-start fits of {len(measured)} concepts in "
        f"{min(iterations)}-{max(iterations)} iterations"
    )
    return theirs / own
