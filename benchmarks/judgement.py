"""How often the judgement is right: challengers of known worth, simulated and real.

`python -m benchmarks.judgement` prints counts with their seeds. Real data is used where
$BKT_BENCHMARK_DATA names its folder.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import ConceptFit, FitPlan, fit_concept
from bkt_core.evaluation.limits import GateLimits
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.evidence import Champion, ConceptEvidence
from bkt_core.judgement.selection import decide, judge_concept
from bkt_core.params import AlgoParams, BktParams
from bkt_core.sequences import AttemptSequences
from bkt_core.simulation import draw_lengths, draw_params, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ALGO = AlgoParams()
#: The impact limit is a matter for a person, not of being right.
LIMITS = GateLimits(max_crossing_share=1.0)
PLAN = FitPlan(options=FitOptions(n_starts=2, seed=1), algo=ALGO, n_folds=5, fold_seed=1)
N_USERS = 2_000
ENGINE = engine_named("em")


@dataclass(frozen=True)
class Sample:
    """Users of one concept."""

    sequences: AttemptSequences
    hashes: NDArray[np.uint64]


def sample(params: BktParams, n_users: int, rng: np.random.Generator) -> Sample:
    """Fresh users who follow the model."""
    lengths = draw_lengths(n_users, rng=rng)
    hashes = rng.integers(0, 2**64, size=n_users, dtype=np.uint64)
    return Sample(simulate(params, lengths=lengths, rng=rng), hashes)


def fitted(name: str, users: Sample, plan: FitPlan = PLAN) -> ConceptFit:
    """One concept fitted on these users."""
    return fit_concept(name, users.sequences, users.hashes, engine=ENGINE, plan=plan)


def champion_of(fit: ConceptFit) -> Champion | None:
    """What the row of a promoted fit would say."""
    return None if fit.params is None else Champion.from_metrics(fit.params, fit.metrics())


def challenge(name: str, truth: BktParams, n_before: int, rng) -> ConceptEvidence:  # noqa: ANN001
    """A champion fitted on some users, challenged by a fit on 2,000 others."""
    before, now = sample(truth, n_before, rng), sample(truth, N_USERS, rng)
    champion = champion_of(fitted(name, before))
    return judge_concept(
        fitted(name, now),
        now.sequences,
        now.hashes,
        champion=champion,
        algo=ALGO,
        limits=LIMITS,
    )


def simulated_table(n_concepts: int, seed: int) -> None:
    """Ties, better challengers, degenerate ones; each kind alone and all in one run."""
    rng = np.random.default_rng(seed)
    truths = [BktParams(*row) for row in draw_params(n_concepts, rng=rng).tolist()]
    degenerate = [replace(truth, p_T=0.002) for truth in truths[: n_concepts // 4]]
    kinds = {
        "equal (2,000 users each)": [challenge("", t, N_USERS, rng) for t in truths],
        "better (champion on 1/40)": [challenge("", t, N_USERS // 40, rng) for t in truths],
        "better (champion on 1/10)": [challenge("", t, N_USERS // 10, rng) for t in truths],
        "degenerate truth (T = .002)": [challenge("", t, 50, rng) for t in degenerate],
    }
    together = decide([one for kind in kinds.values() for one in kind], LIMITS)
    print(
        f"\nSimulated challengers of fitted champions, seed {seed}, {N_USERS} users a concept"
    )
    print(f"{'':32}{'concepts':>9}{'promoted alone':>16}{'in one run':>12}{'p < .05':>9}")
    start = 0
    for name, kind in kinds.items():
        alone = sum(verdict.decision == "promoted" for verdict in decide(kind, LIMITS))
        mixed = together[start : start + len(kind)]
        start += len(kind)
        promoted = sum(verdict.decision == "promoted" for verdict in mixed)
        raw = sum(
            one.against_champion is not None and one.against_champion.p_not_better < 0.05
            for one in kind
        )
        n = len(kind)
        print(f"{name:32}{n:9}{alone / n:16.1%}{promoted / n:12.1%}{raw / n:9.1%}")


def concepts_of(path: Path) -> Iterator[tuple[str, Sample]]:
    """Each concept of a real log, users in the order of their ids."""
    frame = pl.read_parquet(path).sort("concept_id", "user_id", "attempted_at", "attempt_id")
    for (concept,), rows in frame.group_by("concept_id", maintain_order=True):
        users = rows.group_by("user_id", maintain_order=True).len()
        offsets = np.concatenate([[0], np.cumsum(users["len"].to_numpy())]).astype(np.int64)
        correct = rows["correct"].to_numpy().astype(np.int8)
        hashes = users["user_id"].cast(pl.Int64).to_numpy().astype(np.uint64)
        yield str(concept), Sample(AttemptSequences(correct, offsets), hashes)


def real_table(path: Path) -> None:
    """A first run, a second with another seed, and half of the users against all."""
    again = replace(PLAN, fold_seed=2, options=replace(PLAN.options, seed=2))
    users_of = dict(concepts_of(path))
    fits = {name: fitted(name, users) for name, users in users_of.items()}
    first = [_judged(fit, users_of[name], None) for name, fit in fits.items()]
    in_force = {
        verdict.concept_id: champion_of(verdict.evidence.fit)
        for verdict in decide(first, LIMITS)
        if verdict.decision == "promoted"
    }
    second = [
        _judged(fitted(name, users, again), users, in_force.get(name))
        for name, users in users_of.items()
    ]
    halves = []
    for name, users in users_of.items():
        half = users.hashes % np.uint64(2) == 0
        if half.any():
            part = Sample(users.sequences.of_users(half), users.hashes[half])
            halves.append(_judged(fits[name], users, champion_of(fitted(name, part))))
    print(f"\n{path.name}")
    for title, evidences in (
        ("first run, no champions", first),
        ("again with another seed", second),
        ("champions of half the users", halves),
    ):
        verdicts = decide(evidences, LIMITS)
        counts = Counter(verdict.decision.value for verdict in verdicts)
        share = counts["promoted"] / len(verdicts)
        print(f"{title:32}{len(verdicts):5} concepts, {share:.1%} promoted: {dict(counts)}")


def _judged(fit: ConceptFit, users: Sample, champion: Champion | None) -> ConceptEvidence:
    return judge_concept(
        fit, users.sequences, users.hashes, champion=champion, algo=ALGO, limits=LIMITS
    )


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20_261)
    chosen = parser.parse_args()
    started = time.perf_counter()
    simulated_table(chosen.concepts, chosen.seed)
    folder = os.environ.get("BKT_BENCHMARK_DATA")
    if folder:
        real_table(Path(folder) / "assist0910_builder_train.parquet")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
