"""Each limit of a verdict at the limit itself, and one step to either side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bkt_core.evaluation.comparison import Rival, compare
from bkt_core.evaluation.limits import GateLimits
from bkt_core.judgement.evidence import Champion, ConceptEvidence
from bkt_core.judgement.impact import Impact, impact
from bkt_core.judgement.verdict_checks import (
    describe,
    is_stale,
    moves_few_users,
    not_shown_worse,
    parameters_moved,
    promotion_p,
)
from bkt_core.params import BktParams
from bkt_core.replay import predict, replay
from tests.bkt_core.evaluation.fits import SOUND, simulated

LIMITS = GateLimits(
    worse_level=0.05, max_crossing_share=0.25, min_crossing_users=4, stale_after_days=30.0,
    min_parameter_change=0.125,
)  # fmt: skip
SEQUENCES = simulated(SOUND, n_users=12, length=5, seed=5)


class _Fit:
    """What the checks look at of a concept's fit."""

    def __init__(self, params: BktParams | None) -> None:
        self.params = params


def evidence(*, params=SOUND, champion=None, moved=None, against=None) -> ConceptEvidence:
    """Evidence of which only some parts matter."""
    return ConceptEvidence(
        fit=_Fit(params), champion=champion, against_champion=against, impact=moved, report=None
    )


def comparison(margin: float | None = None):
    """The defaults against what the model predicts."""
    own, other = predict(SEQUENCES, SOUND), predict(SEQUENCES, BktParams(0.1, 0.1, 0.1, 0.25))
    return compare(
        Rival.CHAMPION, SEQUENCES, challenger=own, rival_predictions=other, margin=margin
    )


@pytest.mark.parametrize(("p", "passed"), [(0.05, True), (0.049, False)])
def test_worse_is_shown_below_the_level(p, passed):
    assert not_shown_worse(comparison(), p, LIMITS).passed is passed


@pytest.mark.parametrize(
    ("gain", "error", "told"),
    [
        (0.25, None, "log loss 0.2500 nats per attempt better than the champion"),
        (0.0, None, "log loss 0.0000 nats per attempt better than the champion"),
        (-0.25, 0.5, "log loss 0.2500 ± 0.9800 nats per attempt worse than the champion"),
    ],
)
def test_a_comparison_is_told_with_its_sign_and_its_error(gain, error, told):
    assert describe(replace(comparison(), gain=gain, standard_error=error)).startswith(told)


@pytest.mark.parametrize(
    ("crossing", "n_users", "held"),
    [(4, 15, True), (3, 11, False), (4, 16, False), (5, 19, True)],
)
def test_a_champion_is_held_from_both_limits_on(crossing, n_users, held):
    """At least so many users, and more than the share of them."""
    moved = Impact(n_users=n_users, mastered_before=0, up=crossing - 1, down=1)
    champion = Champion(params=SOUND)
    one = evidence(champion=champion, moved=moved)
    assert moves_few_users(one, LIMITS, is_approved=False).passed is not held
    assert moves_few_users(one, LIMITS, is_approved=True).passed
    assert moves_few_users(replace(one, champion=None), LIMITS, is_approved=False).passed


@pytest.mark.parametrize(
    ("up", "down", "champion", "approved", "told"),
    [
        (0, 0, True, False, "No user would cross the mastery threshold."),
        (3, 2, True, False, "3 users would gain mastery and 2 lose it, 50% of 10; "
                            "more than 25% wait for a person."),
        (3, 2, True, True, "3 users would gain mastery and 2 lose it, 50% of 10; approved."),
        (3, 2, False, False, "3 users would gain mastery and 2 lose it, 50% of 10; "
                             "no limit on a first promotion."),
        (0, 1, True, False, "0 users would gain mastery and 1 lose it, 10% of 10."),
    ],
)  # fmt: skip
def test_the_impact_is_told_with_what_follows_from_it(up, down, champion, approved, told):
    moved = Impact(n_users=10, mastered_before=0, up=up, down=down)
    one = evidence(champion=Champion(params=SOUND) if champion else None, moved=moved)
    check = moves_few_users(one, LIMITS, is_approved=approved)
    assert (check.sentence, check.measured) == (told, (up + down) / 10)


def test_without_an_impact_or_without_users_nobody_crosses():
    check = moves_few_users(evidence(), LIMITS, is_approved=False)
    assert (check.measured, check.passed) == (0.0, True)
    assert check.sentence == "No user would cross the mastery threshold."
    assert Impact(n_users=0, mastered_before=0, up=0, down=0).share == 0.0


@pytest.mark.parametrize(("step", "passed"), [(0.125, True), (0.0625, False)])
def test_parameters_have_moved_from_the_limit_on(step, passed):
    before = BktParams(0.25, 0.25, 0.25, 0.25)
    after = BktParams(0.25, 0.25 + step, 0.25, 0.25)
    check = parameters_moved(evidence(params=after, champion=Champion(params=before)), LIMITS)
    assert (check.passed, check.measured) == (passed, step)


def test_without_a_fit_or_a_champion_nothing_has_moved():
    for one in (evidence(params=None, champion=Champion(params=SOUND)), evidence()):
        assert parameters_moved(one, LIMITS).measured == 0.0


@pytest.mark.parametrize(("age", "stale"), [(30.0, False), (30.5, True), (None, False)])
def test_a_champion_is_stale_beyond_the_limit(age, stale):
    one = evidence(champion=Champion(params=SOUND, age_days=age))
    assert is_stale(one, LIMITS) is stale
    assert is_stale(evidence(), LIMITS) is False


def test_a_stale_champion_is_asked_another_question_where_it_has_an_answer():
    with_margin, without = comparison(margin=0.002), comparison()
    old, new = Champion(params=SOUND, age_days=99.0), Champion(params=SOUND, age_days=1.0)
    assert promotion_p(evidence(champion=old, against=with_margin), LIMITS) == (
        with_margin.p_worse_by_margin
    )
    assert promotion_p(evidence(champion=old, against=without), LIMITS) == without.p_not_better
    assert promotion_p(evidence(champion=new, against=with_margin), LIMITS) == (
        with_margin.p_not_better
    )
    assert promotion_p(evidence(champion=new), LIMITS) == 1.0


def test_mastery_at_the_threshold_itself_is_mastered():
    """Up and down are counted against exactly the replayed value."""
    other = BktParams(0.01, 0.01, 0.3, 0.3)
    high, low = replay(SEQUENCES, SOUND), replay(SEQUENCES, other)
    threshold = float(high.max())
    found = impact(SEQUENCES, before=other, after=SOUND, threshold=threshold)
    assert (found.up, found.down) == (int((high == threshold).sum()), 0)
    assert low.max() < threshold
    back = impact(SEQUENCES, before=SOUND, after=other, threshold=threshold)
    assert (back.up, back.down, back.mastered_before) == (0, found.up, found.up)


@pytest.mark.parametrize(
    ("seed", "folds", "in_sample"),
    [(None, (SOUND,), True), (1, (), True), (1, (SOUND,), False), (0, (None,), False)],
)
def test_a_champion_needs_seed_and_folds_to_be_held_out(seed, folds, in_sample):
    champion = Champion(params=SOUND, fold_seed=seed, fold_params=folds)
    assert champion.scored_in_sample is in_sample
