"""The comparison of two versions as metrics with stable names, and as sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bkt_core.judgement.versions import Source
from flows.runs.plan import PACKAGE_VERSION
from flows.runs.tags import git_commit, trigger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flows.versions.comparison import VersionComparison

#: One-sided level at which a version counts as better or worse.
LEVEL = 0.05
#: The scores: label, and whether higher is better.
TITLES = {
    "log_loss": ("log loss", False),
    "rmse": ("RMSE", False),
    "accuracy": ("accuracy", True),
    "auc": ("AUC", True),
    "within_auc": ("AUC within concepts", True),
    "calibration_error": ("calibration error", False),
}
#: Scores that a nightly run logs under the same key.
SHARED = ("auc", "log_loss", "rmse", "accuracy", "calibration_error")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VersionReport:
    """A comparison with its identification."""

    run_id: str
    at: datetime
    comparison: VersionComparison
    #: Window, engine, seed, digests, trigger: the tags of a nightly run.
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """A name for people."""
        a, b = self.comparison.a, self.comparison.b
        kind = self.tags["kind"]
        return f"{kind} {a} {b} {self.at:%Y-%m-%d %H:%M} ({self.run_id[:8]})"

    def metrics(self) -> dict[str, float]:
        """Return B's scores under the keys of a run, A's with `rival_`, and the differences.

        Undefined values are NaN, so that the keys are always the same.
        """
        pooled, moves = self.comparison.pooled, self.comparison.moves
        values: dict[str, Any] = {"pooled_n": pooled.n_attempts}
        for name, one in pooled.scores.items():
            key = f"pooled_{name}" if name in SHARED else name
            low, high = one.interval or (None, None)
            values |= {
                key: one.b,
                f"rival_{key}": one.a,
                f"change_{name}": one.change,
                f"change_{name}_low": low,
                f"change_{name}_high": high,
            }
        values |= {"p_not_better": pooled.p_not_better, "p_not_worse": pooled.p_not_worse}
        values |= moves.as_json()
        values |= {"concepts_seen": self.comparison.concepts.height, "users": pooled.n_users}
        return {key: math.nan if one is None else float(one) for key, one in values.items()}

    def outcome(self) -> dict[str, Any]:
        """Return the value for the row of the run: everything except the concepts."""
        values = self.comparison.as_json()
        del values["concepts"]
        return {"comparison": values}

    def sentences(self) -> list[str]:
        """Return the main results as sentences."""
        found = self.comparison
        return [
            verdict_sentence(found),
            moves_sentence(found),
            *source_sentences(found),
        ]


def version_report(
    comparison: VersionComparison,
    *,
    run_id: str,
    tags: Mapping[str, str],
    data_digest: str,
    at: datetime,
) -> VersionReport:
    """Build the report of a comparison; `tags` take precedence over its own."""
    return VersionReport(
        run_id=run_id,
        at=at,
        comparison=comparison,
        tags={
            "run_id": run_id,
            "kind": "compare",
            "role": "comparison",
            "algo_version": comparison.b,
            "rival_version": comparison.a,
            "data_digest": data_digest,
            "package_version": PACKAGE_VERSION,
            "git_commit": git_commit(),
            "trigger": trigger(),
            **tags,
        },
    )


def verdict_of(p_not_better: float | None, p_not_worse: float | None) -> str:
    """Return `better` or `worse` (than A, one-sided at 5 %), or `not told apart`."""
    if p_not_better is not None and p_not_better < LEVEL:
        return "better"
    if p_not_worse is not None and p_not_worse < LEVEL:
        return "worse"
    return "not told apart"


def verdict_sentence(found: VersionComparison) -> str:
    """Return a sentence: whether B is better overall, and how certain that is."""
    pooled = found.pooled
    loss = pooled.scores["log_loss"]
    if loss.a is None or loss.b is None or loss.change is None:
        return f"No attempt is predicted by both {found.a} and {found.b}."
    said = verdict_of(pooled.p_not_better, pooled.p_not_worse)
    if said == "not told apart":
        head = f"{found.b} and {found.a} are not told apart"
        p = min(pooled.p_not_better, pooled.p_not_worse)
    else:
        head = f"{found.b} is shown to be {said} than {found.a}"
        p = pooled.p_not_better if said == "better" else pooled.p_not_worse
    return (
        f"{head} on {pooled.n_attempts:,} held-out attempts of {pooled.n_users:,} users at "
        f"{pooled.n_concepts:,} concepts: log loss {loss.b:.4f} instead of {loss.a:.4f} "
        f"({loss.change:+.4f}{_plus_minus(loss.interval)}; one-sided p {p:.2g}, paired by "
        "user)."
    )


def moves_sentence(found: VersionComparison) -> str:
    """Return a sentence: how many users B would affect, and by how much."""
    moves = found.moves
    return (
        f"Of {moves.states:,} mastery states {moves.mastered_a:,} are mastered under "
        f"{found.a}, {moves.mastered_b:,} under {found.b}: {moves.up:,} would gain mastery "
        f"and {moves.down:,} lose it, at some concept for "
        f"{moves.users_crossing:,} of {moves.users:,} users ({moves.share:.1%}). Mastery moves "
        f"by {moves.mean_move:.4f} on average, by more than {moves.large_move:.4f} for one "
        "state in twenty."
    )


def source_sentences(found: VersionComparison) -> list[str]:
    """Return sentences on parameters that are not fits of held-out users."""
    sentences = []
    for side, name in (("a", found.a), ("b", found.b)):
        defaults = found.count(side, Source.DEFAULTS)
        in_sample = found.count(side, Source.IN_SAMPLE)
        if defaults:
            sentences.append(
                f"{name} has no fit of {defaults:,} concepts and uses its defaults."
            )
        if in_sample:
            sentences.append(
                f"{name} is scored in-sample at {in_sample:,} concepts, whose rows lack "
                "the parameters fitted without each fold."
            )
    if found.at_same_defaults:
        sentences.append(
            f"{found.at_same_defaults:,} concepts have no fit under either and the same "
            "defaults under both; they are left out."
        )
    return sentences


def _plus_minus(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.4f}"
