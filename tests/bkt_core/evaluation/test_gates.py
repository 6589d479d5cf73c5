"""Each rejecting gate refuses what it is there for, keeps its evidence, and says so."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core.evaluation.checks import Check, Decision, GateReport, Severity
from bkt_core.evaluation.gates import (
    data_checks,
    fit_checks,
    folds_check,
    mastery_reachable,
    warn_checks,
)
from bkt_core.evaluation.limits import GateLimits
from bkt_core.family.params import FAMILY_NAMES, FamilyParams
from bkt_core.fitting.engine import FitOutcome, Stop
from bkt_core.judgement.warm_up import FORGETTING
from bkt_core.params import AlgoParams, BktParams, Bounds
from bkt_core.sequences import AttemptSequences
from tests.bkt_core.evaluation.fits import SOUND, fit_of
from tests.oracles.family import trace

ALGO = AlgoParams()
LIMITS = GateLimits()
LARGE_SLIP, NO_LEARNING = "valid_parameters.slip_below_half", "not_degenerate.learning_happens"


def _sequences(*users: list[int]) -> AttemptSequences:
    offsets = np.cumsum([0, *(len(user) for user in users)], dtype=np.int64)
    return AttemptSequences(np.concatenate(users).astype(np.int8), offsets)


def test_a_sound_fit_passes_every_check_and_shows_each():
    report = GateReport(fit_checks(fit_of(), ALGO) + warn_checks(fit_of(), (), LIMITS))
    assert report.decision is Decision.PROMOTED
    assert report.reasons == ()
    assert report.warnings == ()
    names = {check.name for check in report.checks}
    assert {"valid_parameters", "not_degenerate", "inside_bounds", "converged"} <= names


@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (fit_of(BktParams(0.3, 0.15, 0.55, 0.2)), LARGE_SLIP),
        (fit_of(BktParams(0.3, 0.005, 0.1, 0.2)), NO_LEARNING),
        (fit_of(BktParams(0.3, 0.15, 0.46, 0.45)), "not_degenerate.states_differ"),
        (fit_of(BktParams(0.6, 0.15, 0.1, 0.2)), "inside_bounds"),
        (fit_of(stopped_by=Stop.MAX_STEPS), "converged"),
        (fit_of(stopped_by=Stop.TIME_LIMIT), "converged"),
        (fit_of(outcome=FitOutcome.DID_NOT_CONVERGE), "converged"),
        (fit_of(outcome=FitOutcome.NOT_IDENTIFIABLE), "identifiable"),
    ],
)
def test_an_unusable_fit_is_rejected_with_the_measured_value(fit, name):
    report = GateReport(fit_checks(fit, ALGO))
    failed = {check.name: check for check in report.failed(Severity.REJECT)}
    assert report.decision is Decision.REJECTED
    assert failed[name].sentence in report.reasons
    assert failed[name].measured is not None or name == "identifiable"
    assert not any(check.passed for check in failed.values())


def forgetting_fit(base: BktParams, p_F: float, **changes):
    """A fit of a version with forgetting without a flaw, but for what is changed."""
    known = dict.fromkeys(FAMILY_NAMES, 0.01)
    return fit_of(FamilyParams(base, p_F), standard_errors=known, **changes)


def test_a_sound_fit_that_forgets_passes_every_check():
    """Mastery is then a check of its own; v1's report stays as it is."""
    fit = forgetting_fit(BktParams(0.8, 0.09, 0.2, 0.17), 0.03)
    report = GateReport(fit_checks(fit, FORGETTING) + warn_checks(fit, (fit, None), LIMITS))
    assert report.decision is Decision.PROMOTED
    assert "mastery_reachable" in {check.name for check in report.checks}
    assert "mastery_reachable" not in {check.name for check in fit_checks(fit_of(), ALGO)}


@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (forgetting_fit(BktParams(0.76, 0.1, 0.226, 0.4), 0.097), "mastery_reachable"),
        (forgetting_fit(SOUND, 0.11), "inside_bounds"),
        (forgetting_fit(BktParams(0.96, 0.15, 0.1, 0.2), 0.05), "inside_bounds"),
        (
            forgetting_fit(BktParams(0.3, 0.005, 0.1, 0.2), 0.0),
            NO_LEARNING,
        ),
        (
            forgetting_fit(BktParams(0.3, 0.15, 0.55, 0.2), 0.0),
            LARGE_SLIP,
        ),
        (
            forgetting_fit(SOUND, 0.01, outcome=FitOutcome.NOT_IDENTIFIABLE),
            "identifiable",
        ),
    ],
)
def test_an_unusable_fit_that_forgets_is_rejected(fit, name):
    """By the rules of the base probabilities, by F's bounds, by what twenty answers reach."""
    report = GateReport(fit_checks(fit, FORGETTING))
    assert report.decision is Decision.REJECTED
    assert name in {check.name for check in report.failed(Severity.REJECT)}


@given(
    p_L0=st.floats(0.001, 0.95), p_T=st.floats(0.001, 0.5), p_S=st.floats(0.001, 0.4),
    p_G=st.floats(0.001, 0.4), p_F=st.floats(0.0, 0.1),
)  # fmt: skip
def test_mastery_is_reachable_if_twenty_right_answers_pass_the_threshold(
    p_L0, p_T, p_S, p_G, p_F
):
    """As plain Python replays them, to the bit."""
    reached = trace([1] * 20, (p_L0, p_T, p_S, p_G, p_F))[-1][0]
    check = mastery_reachable(FamilyParams(BktParams(p_L0, p_T, p_S, p_G), p_F), 0.95)
    assert check.measured == reached
    assert check.passed == (reached >= 0.95)


def test_an_unbounded_fit_that_was_clipped_says_so():
    (check,) = [c for c in fit_checks(fit_of(clipped=True), ALGO) if c.name == "inside_bounds"]
    assert check.passed
    assert "clipped" in check.sentence


def test_states_may_be_alike_where_the_algorithm_does_not_ask():
    alike, wide = fit_of(BktParams(0.3, 0.15, 0.46, 0.45)), Bounds(S_max=0.49, G_max=0.49)
    lenient = AlgoParams(bounds=wide, require_learned_better_than_unlearned=False)
    assert GateReport(fit_checks(alike, lenient)).decision is Decision.PROMOTED
    strict = AlgoParams(bounds=wide)
    assert GateReport(fit_checks(alike, strict)).decision is Decision.REJECTED


@pytest.mark.parametrize(
    ("sequences", "name"),
    [
        (_sequences([1, 0, 1], [0, 1, 1]), "enough_attempts"),
        (_sequences([1, 0] * 10), "enough_users"),
        (_sequences([1] * 10, [1] * 10), "both_outcomes"),
        (_sequences([0] * 10, [0] * 10), "both_outcomes"),
    ],
)
def test_too_little_data_is_skipped_before_any_fit(sequences, name):
    report = data_checks(sequences, ALGO)
    assert report.decision is Decision.SKIPPED
    assert [check.name for check in report.deciding] == [name]
    assert all("Insufficient data" in reason for reason in report.reasons)


def test_just_enough_data_is_fitted():
    """Ten attempts, two users, one of another outcome: the least that is fitted."""
    report = data_checks(_sequences([1] * 9, [0]), ALGO)
    assert report.decision is Decision.PROMOTED
    assert folds_check(2, needed=2).passed
    assert not folds_check(1, needed=2).passed


@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (fit_of(on_bounds=("L0_max",)), "off_bounds"),
        (fit_of(start_spread={"p_T": 0.2}), "starts_agree"),
        (fit_of(intervals={"p_T": (0.0, 0.9), "p_S": None}), "intervals_narrow"),
    ],
)
def test_a_warning_never_decides(fit, name):
    report = GateReport(warn_checks(fit, (fit_of(), None), LIMITS))
    assert [check.name for check in report.warnings] == [name]
    assert report.decision is Decision.PROMOTED


def test_what_no_fit_shows_has_no_spread():
    """Without restarts, folds and intervals there is nothing to warn of."""
    fit = fit_of(start_spread={}, intervals={})
    measured = {check.name: check.measured for check in warn_checks(fit, (None,), LIMITS)}
    assert measured == dict.fromkeys(
        ("off_bounds", "starts_agree", "folds_agree", "intervals_narrow"), 0.0
    )


@pytest.mark.parametrize(("over", "passed"), [(0.0, True), (0.125, False)])
def test_a_warning_is_given_above_its_limit(over, passed):
    limits = GateLimits(warn_start_spread=0.25, warn_fold_spread=0.25, warn_interval_width=0.25)
    fit = fit_of(start_spread={"p_T": 0.25 + over}, intervals={"p_T": (0.125, 0.375 + over)})
    folds = (fit_of(BktParams(0.3, 0.125, 0.1, 0.2)), fit_of(
        BktParams(0.3, 0.375 + over, 0.1, 0.2)
    ))  # fmt: skip
    checks = {check.name: check for check in warn_checks(fit, folds, limits)}
    for name in ("starts_agree", "folds_agree", "intervals_narrow"):
        check = checks[name]
        assert (check.passed, check.measured, check.limit) == (passed, 0.25 + over, 0.25)


def test_intervals_are_told_with_those_that_are_missing():
    checks = warn_checks(fit_of(intervals={"p_T": (0.125, 0.25), "p_S": None}), (), LIMITS)
    assert checks[-1].sentence == (
        "95 % intervals: T 0.125 to 0.250, S none; the widest is 0.125 wide."
    )


def test_a_bound_that_is_left_is_measured_by_how_far():
    inside, outside = (
        next(c for c in fit_checks(fit_of(BktParams(L0, 0.15, 0.1, 0.2)), ALGO)
             if c.name == "inside_bounds")
        for L0 in (0.5, 0.625)
    )  # fmt: skip
    assert (inside.measured, inside.limit) == (0.0, 0.0)
    assert inside.sentence == "The parameters are inside the bounds."
    assert outside.measured == 0.125
    assert "up to 0.12 outside" in outside.sentence
    assert warn_checks(fit_of(), (), LIMITS)[0].limit == 0.0


def test_the_limits_are_those_that_the_settings_document():
    """Another default here would promote or hold back what nobody decided on."""
    assert asdict(GateLimits()) == {
        "worse_level": 0.05, "min_users_first_promotion": 5, "false_discovery_rate": 0.05,
        "stale_after_days": 90.0, "stale_margin": 0.002, "min_parameter_change": 1e-4,
        "max_crossing_share": 0.2, "min_crossing_users": 10, "warn_start_spread": 0.01,
        "warn_fold_spread": 0.2, "warn_interval_width": 0.3,
    }  # fmt: skip


def test_folds_that_disagree_are_a_warning():
    folds = (fit_of(), fit_of(BktParams(0.3, 0.45, 0.1, 0.2)), None)
    (check,) = GateReport(warn_checks(fit_of(), folds, LIMITS)).warnings
    assert check.name == "folds_agree"
    assert check.measured == pytest.approx(0.30, abs=1e-12)


def test_the_worst_failure_decides():
    def failing(severity: Severity) -> Check:
        return Check(severity.value, False, 1.0, 0.0, severity, f"{severity.value} failed")

    order = [Severity.WARN, Severity.HOLD, Severity.COMPARE, Severity.REJECT, Severity.SKIP]
    decided = []
    report = GateReport(())
    for severity in order:
        report = report.with_checks(failing(severity))
        decided.append(report.decision)
        if severity is not Severity.WARN:
            assert report.reasons == (f"{severity.value} failed",)
    assert decided == ["promoted", "kept", "kept", "rejected", "skipped"]


def test_a_report_survives_json():
    report = GateReport(fit_checks(fit_of(SOUND, on_bounds=("S_max",)), ALGO))
    assert GateReport.from_json(report.as_json()) == report
