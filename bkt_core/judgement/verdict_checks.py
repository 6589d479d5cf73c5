"""The checks that compare a challenger, with their measures, limits and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.evaluation.checks import Check, Severity
from bkt_core.evaluation.comparison import Rival
from bkt_core.fitting.uncertainty import Z_95

if TYPE_CHECKING:
    from bkt_core.evaluation.comparison import Comparison
    from bkt_core.evaluation.limits import GateLimits
    from bkt_core.judgement.evidence import ConceptEvidence

PINNED = Check(
    "pinned",
    False,
    None,
    None,
    Severity.HOLD,
    "Pinned by a rollback: `bkt rollback --release` lets it be promoted again.",
)

_NAMES = {
    Rival.DEFAULTS: "the defaults",
    Rival.MEAN: "the concept's mean",
    Rival.CHAMPION: "the champion",
}


def describe(comparison: Comparison) -> str:
    """Return a clause: how much better or worse, how certain, on how many users."""
    word = "better" if comparison.gain >= 0 else "worse"
    error = comparison.standard_error
    spread = "" if error is None else f" ± {Z_95 * error:.4f}"
    note = ", scored on users it was fitted on" if comparison.rival_in_sample else ""
    return (
        f"log loss {abs(comparison.gain):.4f}{spread} nats per attempt {word} than "
        f"{_NAMES[comparison.rival]}{note} ({comparison.n_users} held-out users)"
    )


def not_shown_worse(
    comparison: Comparison,
    p: float,
    limits: GateLimits,
    *,
    severity: Severity = Severity.COMPARE,
) -> Check:
    """Check that a fit is not shown to be worse than the defaults or the mean.

    `p` is the p-value for "worse"; it may be adjusted.
    """
    passed = p >= limits.worse_level
    verdict = "Not shown to be worse" if passed else f"Shown to be worse (p = {p:.2g})"
    return Check(
        f"not_worse_than_{comparison.rival.value}",
        passed,
        p,
        limits.worse_level,
        severity,
        f"{verdict}: {describe(comparison)}.",
    )


def users_to_compare(comparison: Comparison, limits: GateLimits) -> Check:
    """Check that a first fit has enough held-out users to be shown worse if it is."""
    n, needed = comparison.n_users, limits.min_users_first_promotion
    return Check(
        "users_to_compare",
        n >= needed,
        float(n),
        float(needed),
        Severity.COMPARE,
        f"{n} held-out users; with fewer than {needed} no fit could be shown to be worse.",
    )


def is_stale(evidence: ConceptEvidence, limits: GateLimits) -> bool:
    """Return whether the champion's data is older than the limit."""
    champion = evidence.champion
    age = None if champion is None else champion.age_days
    return age is not None and age > limits.stale_after_days


def promotion_p(evidence: ConceptEvidence, limits: GateLimits) -> float:
    """Return the p-value to adjust: for "not better", or if stale for "worse by the margin"."""
    against = evidence.against_champion
    if against is None:
        return 1.0
    if is_stale(evidence, limits) and against.p_worse_by_margin is not None:
        return against.p_worse_by_margin
    return against.p_not_better


def beats_champion(evidence: ConceptEvidence, adjusted: float, limits: GateLimits) -> Check:
    """Check that a fit is shown to be better, or not much worse than a stale champion."""
    rate = limits.false_discovery_rate
    passed = adjusted <= rate
    stale = is_stale(evidence, limits)
    if stale:
        name = "not_worse_than_stale_champion"
        claim = f"not worse than a stale champion by more than {limits.stale_margin:g}"
    else:
        name, claim = "better_than_champion", "better than the champion"
    against = evidence.against_champion
    found = "" if against is None else f": {describe(against)}"
    verdict = "Shown to be" if passed else "Not shown to be"
    sentence = f"{verdict} {claim}{found}; false discovery rate {adjusted:.2g}."
    return Check(name, passed, adjusted, rate, Severity.COMPARE, sentence)


def parameters_moved(evidence: ConceptEvidence, limits: GateLimits) -> Check:
    """Check that the challenger differs from the champion."""
    challenger, champion = evidence.fit.params, evidence.champion
    change = 0.0
    if challenger is not None and champion is not None:
        new, old = challenger.as_dict(), champion.params.as_dict()
        # A parameter that one of them lacks does what 0 would do.
        change = max(abs(new.get(k, 0.0) - old.get(k, 0.0)) for k in new.keys() | old.keys())
    passed = change >= limits.min_parameter_change
    return Check(
        "parameters_moved",
        passed,
        change,
        limits.min_parameter_change,
        Severity.COMPARE,
        f"Parameters moved by up to {change:.2g}."
        if passed
        else f"The same parameters as the champion's, to {limits.min_parameter_change:g}.",
    )


def moves_few_users(
    evidence: ConceptEvidence, limits: GateLimits, *, is_approved: bool
) -> Check:
    """Check that replacing a champion moves few users across the mastery threshold."""
    moved = evidence.impact
    share, crossing = (0.0, 0) if moved is None else (moved.share, moved.crossing)
    large = share > limits.max_crossing_share and crossing >= limits.min_crossing_users
    held = large and evidence.champion is not None and not is_approved
    sentence = "No user would cross the mastery threshold."
    if moved is not None and crossing:
        sentence = (
            f"{moved.up} users would gain mastery and {moved.down} lose it, "
            f"{share:.0%} of {moved.n_users}"
        )
        if held:
            sentence += f"; more than {limits.max_crossing_share:.0%} wait for a person"
        elif large:
            sentence += "; approved" if is_approved else "; no limit on a first promotion"
        sentence += "."
    return Check("impact", not held, share, limits.max_crossing_share, Severity.HOLD, sentence)
