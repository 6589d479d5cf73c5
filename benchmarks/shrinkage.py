"""Whether shrinking fits of small concepts wins: held-out log loss of 10 to 100 attempts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.judgement import ENGINE, PLAN, Sample, concepts_of, fitted, sample
from bkt_core.evaluation.comparison import sign_flip_p
from bkt_core.fitting.shrinkage import (
    FEWEST_TEACHERS,
    TEACHES_FROM,
    Prior,
    choose_teachers,
    prior_from,
)
from bkt_core.params import BktParams
from bkt_core.simulation import draw_params

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (range(10, 31), range(31, 101), range(10, 101), range(101, 301))
SEED = 20_261


def learned(concepts: Sequence[tuple[str, Sample]]) -> Prior | None:
    """The prior that a night over these concepts would learn."""
    sizes = {name: users.sequences.n_attempts for name, users in concepts}
    by_name = dict(concepts)
    teachers = (by_name[name].sequences for name in choose_teachers(sizes))
    return prior_from(teachers, ENGINE, PLAN.options)


def losses(name: str, users: Sample, prior: Prior) -> tuple[float, ...] | None:
    """Attempts, and held-out log loss of the plain fit, the shrunk one, defaults, mean."""
    plain = fitted(name, users).evidence
    drawn = fitted(name, users, replace(PLAN, prior=prior)).evidence
    if plain is None or drawn is None:
        return None
    return (
        plain.scores.n,
        plain.scores.log_loss,
        drawn.scores.log_loss,
        plain.against_defaults.rival_scores.log_loss,
        plain.against_mean.rival_scores.log_loss,
    )


def table(title: str, concepts: Sequence[tuple[str, Sample]]) -> None:
    """Print log loss by size of concept."""
    prior = learned(concepts)
    if prior is None:
        print(
            f"\n{title}: fewer than {FEWEST_TEACHERS} concepts of {TEACHES_FROM} attempts "
            "to learn from"
        )
        return
    print(f"\n{title}: prior {prior.mean.as_tuple()}, strength {prior.strength}")
    print(
        f"{'attempts':10}{'concepts':>9}{'plain':>9}{'shrunk':>9}{'defaults':>9}{'mean':>9}"
        f"{'p: no better than plain':>25}{'than defaults':>15}"
    )
    for sizes in SIZES:
        some = [one for one in concepts if one[1].sequences.n_attempts in sizes]
        rows = [row for one in some if (row := losses(*one, prior)) is not None]
        if not rows:
            continue
        n, plain, shrunk, defaults, mean = np.array(rows).T
        pooled = [(n * loss).sum() / n.sum() for loss in (plain, shrunk, defaults, mean)]
        print(
            f"{sizes.start:>4}-{sizes.stop - 1:<5}{len(rows):9}"
            + "".join(f"{loss:9.4f}" for loss in pooled)
            + f"{sign_flip_p(n * (plain - shrunk)):25.2g}"
            + f"{sign_flip_p(n * (defaults - shrunk)):15.2g}"
        )


def simulated(n_small: int = 400, n_large: int = 60) -> list[tuple[str, Sample]]:
    """Concepts of few users beside some of many, parameters drawn alike."""
    rng = np.random.default_rng(SEED)
    drawn = [BktParams(*row) for row in draw_params(n_small + n_large, rng=rng).tolist()]
    users = [int(n) for n in rng.integers(2, 13, n_small)] + [400] * n_large
    return [
        (f"c{i}", sample(truth, n, rng))
        for i, (truth, n) in enumerate(zip(drawn, users, strict=True))
    ]


def main() -> None:
    """Print the table on simulation and, where it is, on real data."""
    table(f"simulation, seed {SEED}", simulated())
    folder = os.environ.get("BKT_BENCHMARK_DATA")
    if folder:
        table("algebra05_114u", list(concepts_of(Path(folder) / "algebra05_114u.parquet")))


if __name__ == "__main__":
    main()
