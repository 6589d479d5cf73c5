"""Checks that a fit must pass before it is compared; the result is a report of all checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.evaluation.checks import Check, GateReport, Severity
from bkt_core.family.params import FamilyParams, base_of, without_multipliers
from bkt_core.fitting.engine import FitOutcome, Stop
from bkt_core.model import check_degeneracy, validate_bkt_params
from bkt_core.params import PARAM_NAMES
from bkt_core.replay import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bkt_core.evaluation.limits import GateLimits
    from bkt_core.family.fit import Fit
    from bkt_core.family.params import Params
    from bkt_core.model import RuleFailure
    from bkt_core.params import AlgoParams
    from bkt_core.sequences import AttemptSequences

#: Smallest number of users for which a concept is fitted.
MIN_USERS = 2
#: Mastery is reachable if this many right answers in a row, from the first on, pass the
#: threshold.
RIGHT_ANSWERS = 20


def data_checks(sequences: AttemptSequences, algo: AlgoParams) -> GateReport:
    """Check whether there is enough data; a concept that fails is skipped before fitting."""
    n, right, users = sequences.n_attempts, sequences.n_correct, sequences.n_users
    rarer = min(right, n - right)
    enough = algo.min_attempts_for_fit
    return GateReport(
        (
            _at_least(
                "enough_attempts",
                n,
                enough,
                Severity.SKIP,
                f"Insufficient data: {n} attempts, a fit needs at least {enough}.",
            ),
            _at_least(
                "enough_users",
                users,
                MIN_USERS,
                Severity.SKIP,
                f"Insufficient data: {users} users, a fit needs at least {MIN_USERS}.",
            ),
            _at_least(
                "both_outcomes",
                rarer,
                1,
                Severity.SKIP,
                f"Insufficient data: {right} of {n} attempts are correct, "
                "a fit needs both correct and incorrect ones.",
            ),
        )
    )


def folds_check(n_usable: int, *, needed: int) -> Check:
    """Check whether the users fall into enough usable folds for cross-validation."""
    return _at_least(
        "usable_folds",
        n_usable,
        needed,
        Severity.SKIP,
        f"Insufficient data: users fall into {n_usable} usable folds, "
        f"cross-validation needs at least {needed}.",
    )


def fit_checks(fit: Fit, algo: AlgoParams) -> tuple[Check, ...]:
    """Check that a fit is valid, not degenerate, within bounds, converged and identifiable.

    Where a version forgets, mastery must also be reachable: without forgetting every right
    answer raises it, so that valid parameters which are not degenerate reach any threshold.
    """
    checks = (
        *_rule_checks(fit, algo),
        _inside_bounds(fit, algo),
        _converged(fit),
        _identifiable(fit),
    )
    if not algo.variant.forgetting:
        return checks
    return (*checks, mastery_reachable(fit.params, algo.mastery_threshold))


def mastery_reachable(params: Params, threshold: float) -> Check:
    """Check that right answers alone, from the first on, pass the mastery threshold.

    A fit that fails may predict well, but under it nobody could show mastery: it is rejected.
    The answers are to questions of odds 1, with no history.
    """
    params = without_multipliers(params)
    reached: float | None = None
    for _ in range(RIGHT_ANSWERS):
        reached = step(reached, 1, params).p_L_next
    mastery = params.p_L0 if reached is None else reached
    passed = mastery >= threshold
    word = "reaches" if passed else "stays below"
    sentence = (
        f"After {RIGHT_ANSWERS} right answers in a row mastery is {mastery:.3f}, which {word} "
        f"the threshold {threshold:g}."
    )
    return Check("mastery_reachable", passed, mastery, threshold, Severity.REJECT, sentence)


def warn_checks(
    fit: Fit, fold_fits: tuple[Fit | None, ...], limits: GateLimits
) -> tuple[Check, ...]:
    """Check properties of a usable fit that a person should know about."""
    return (
        _off_bounds(fit),
        _starts_agree(fit, limits),
        _folds_agree(fold_fits, limits),
        _intervals_narrow(fit, limits),
    )


def _rule_checks(fit: Fit, algo: AlgoParams) -> tuple[Check, ...]:
    params = base_of(fit.params).as_tuple()
    p_F = fit.params.p_F if isinstance(fit.params, FamilyParams) else None
    validity = validate_bkt_params(*params)
    degeneracy = check_degeneracy(*params, p_F=p_F, min_learning_gain=algo.min_learning_gain)
    # The settings of the algorithm can switch off this rule.
    optional = set() if algo.require_learned_better_than_unlearned else {"states_differ"}
    broken = [failure for failure in degeneracy.failures if failure.rule not in optional]
    return (
        *_rules("valid_parameters", "parameters are valid", validity.failures),
        *_rules("not_degenerate", "parameters mean something", broken),
    )


def _rules(name: str, holds: str, failures: Sequence[RuleFailure]) -> list[Check]:
    """Return one passed check, or one failed check per broken rule."""
    if not failures:
        return [Check(name, True, None, None, Severity.REJECT, f"The {holds}.")]
    return [
        Check(f"{name}.{f.rule}", False, f.measured, f.limit, Severity.REJECT, f.sentence)
        for f in failures
    ]


def _inside_bounds(fit: Fit, algo: AlgoParams) -> Check:
    base, of_F = base_of(fit.params), algo.bounds_of_F
    moves = zip(base.as_tuple(), algo.bounds.clip(base).as_tuple(), strict=True)
    outside = max(abs(value - nearest) for value, nearest in moves)
    if isinstance(fit.params, FamilyParams) and fit.params.p_F is not None:
        low, high = (0.0, 0.0) if of_F is None else (of_F.F_min, of_F.F_max)
        outside = max(outside, low - fit.params.p_F, fit.params.p_F - high)
    note = " (clipped to them: the engine fits without bounds)" if fit.clipped else ""
    word = "inside" if outside == 0.0 else f"up to {outside:.2g} outside"
    sentence = f"The parameters are {word} the bounds{note}."
    return Check("inside_bounds", outside == 0.0, outside, 0.0, Severity.REJECT, sentence)


def _converged(fit: Fit) -> Check:
    done = fit.stopped_by is Stop.CONVERGED and fit.outcome is not FitOutcome.DID_NOT_CONVERGE
    word = "converged" if done else f"stopped by {fit.stopped_by.value.replace('_', ' ')}"
    sentence = f"The fit {word} after {fit.n_steps} steps."
    return Check("converged", done, float(fit.n_steps), None, Severity.REJECT, sentence)


def _identifiable(fit: Fit) -> Check:
    known = fit.outcome is not FitOutcome.NOT_IDENTIFIABLE
    sentence = (
        "The attempts determine the parameters."
        if known
        else "The attempts do not determine all four parameters: other values fit as well."
        if len(fit.standard_errors) == len(PARAM_NAMES)
        else "The attempts do not determine the parameters: very different values fit as well."
    )
    return Check("identifiable", known, None, None, Severity.REJECT, sentence)


def _off_bounds(fit: Fit) -> Check:
    names = ", ".join(fit.on_bounds)
    sentence = f"On the bound {names}." if names else "No parameter is on a bound."
    count = float(len(fit.on_bounds))
    return Check("off_bounds", not names, count, 0.0, Severity.WARN, sentence)


def _starts_agree(fit: Fit, limits: GateLimits) -> Check:
    spread = max(fit.start_spread.values(), default=0.0)
    return _at_most(
        "starts_agree",
        spread,
        limits.warn_start_spread,
        f"Restarts end up to {spread:.3f} apart.",
    )


def _folds_agree(fold_fits: tuple[Fit | None, ...], limits: GateLimits) -> Check:
    values = [fold.params.as_tuple() for fold in fold_fits if fold is not None]
    by_letter = zip(*values, strict=True)
    spread = max((max(letter) - min(letter) for letter in by_letter), default=0.0)
    return _at_most(
        "folds_agree",
        spread,
        limits.warn_fold_spread,
        f"Fits without one fold differ by up to {spread:.3f}.",
    )


def _intervals_narrow(fit: Fit, limits: GateLimits) -> Check:
    known = {name: interval for name, interval in fit.intervals.items() if interval}
    widest = max(  # of the probabilities; weights have another scale
        (high - low for name, (low, high) in known.items() if name.startswith("p_")),
        default=0.0,
    )
    texts = [
        f"{name.removeprefix('p_')} {low:.3f} to {high:.3f}"
        for name, (low, high) in known.items()
    ]
    texts += [f"{name.removeprefix('p_')} none" for name in fit.intervals if name not in known]
    return Check(
        "intervals_narrow",
        widest <= limits.warn_interval_width,
        widest,
        limits.warn_interval_width,
        Severity.WARN,
        f"95 % intervals: {', '.join(texts)}; the widest is {widest:.3f} wide.",
    )


def _at_least(
    name: str, measured: float, limit: float, severity: Severity, failing: str
) -> Check:
    passed = measured >= limit
    sentence = f"{measured:g}, at least {limit:g} needed." if passed else failing
    return Check(name, passed, float(measured), float(limit), severity, sentence)


def _at_most(name: str, measured: float, limit: float, sentence: str) -> Check:
    return Check(name, measured <= limit, measured, limit, Severity.WARN, sentence)
