"""Who wins, and that nobody wins by luck, by degeneracy, or by seeing its own users."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bkt_core.engines import engine_named
from bkt_core.evaluation.checks import Decision, Severity
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.concept_fit_json import concept_fit_as_json, concept_fit_from_json
from bkt_core.evaluation.limits import GateLimits
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.shrinkage import SHRUNK_BELOW, Prior
from bkt_core.judgement.evidence import Champion
from bkt_core.judgement.evidence_json import evidence_as_json, evidence_from_json
from bkt_core.judgement.impact import impact
from bkt_core.judgement.selection import decide, judge_concept, keep_untested
from bkt_core.judgement.verdict_checks import beats_champion
from bkt_core.params import AlgoParams, BktParams, Bounds
from bkt_core.replay import replay
from tests.bkt_core.evaluation.fits import SOUND, fit_of, hashes, simulated

ALGO = AlgoParams()
LIMITS = GateLimits()
PLAN = FitPlan(options=FitOptions(), algo=ALGO, n_folds=5, fold_seed=1)
#: Off in every letter: worse than SOUND on any sample of a few hundred users.
POOR = BktParams(p_L0=0.05, p_T=0.4, p_S=0.35, p_G=0.05)


class FixedEngine:
    """Finds the same parameters whatever it sees."""

    name = "fixed"

    def __init__(self, params: BktParams, **changes) -> None:
        self.fit_result = fit_of(params, **changes)

    def fit(self, sequences, training_sets, options):  # noqa: ARG002 - the protocol's
        """One fit per training set."""
        return tuple(self.fit_result for _ in training_sets)


def _evidence(params=SOUND, champion=None, *, n_users=300, plan=PLAN, seed=3, **changes):
    sequences = simulated(SOUND, n_users=n_users, length=6, seed=seed)
    engine = FixedEngine(params, **changes)
    fit = fit_concept("fractions", sequences, hashes(n_users), engine=engine, plan=plan)
    return judge_concept(
        fit, sequences, hashes(n_users), champion=champion, algo=plan.algo, limits=LIMITS
    )


def _verdict(evidence, limits=LIMITS, **choices):
    (verdict,) = decide([evidence], limits, **choices)
    return verdict


def _names(checks):
    return [check.name for check in checks]


def test_a_first_fit_that_is_not_worse_is_promoted():
    verdict = _verdict(_evidence())
    assert verdict.decision is Decision.PROMOTED
    rests_on = ["not_worse_than_defaults", "not_worse_than_mean", "users_to_compare"]
    assert _names(verdict.reasons) == rests_on
    assert verdict.adjusted_p is None


@pytest.mark.parametrize(("n_users", "decision"), [(4, Decision.KEPT), (5, Decision.PROMOTED)])
def test_a_first_fit_needs_users_enough_to_be_shown_worse(n_users, decision):
    """With n users no sign-flip p-value is below 2^-n: four cannot show anything at 5 %."""
    one = _evidence()
    against = replace(one.fit.evidence.against_defaults, n_users=n_users)
    evidence = replace(one.fit.evidence, against_defaults=against)
    verdict = _verdict(replace(one, fit=replace(one.fit, evidence=evidence)))
    assert verdict.decision is decision
    assert ("users_to_compare" in _names(verdict.report.deciding)) is (n_users == 4)


def test_a_champion_is_challenged_by_few_users_as_well():
    """The rule is for first fits: a challenger must be shown to be better anyway."""
    champion = Champion(params=SOUND, fold_seed=1, fold_params=(SOUND,) * 5)
    verdict = _verdict(_evidence(POOR, champion))
    assert "users_to_compare" not in _names(verdict.report.checks)


def test_a_first_fit_shown_to_be_worse_is_kept_out():
    verdict = _verdict(_evidence(POOR))
    assert verdict.decision is Decision.KEPT
    assert _names(verdict.reasons) == ["not_worse_than_defaults"]


def test_a_better_challenger_wins():
    poor = Champion(params=POOR, fold_seed=1, fold_params=(POOR,) * 5)
    verdict = _verdict(_evidence(SOUND, poor), GateLimits(max_crossing_share=1.0))
    assert verdict.decision is Decision.PROMOTED
    assert "better_than_champion" in _names(verdict.reasons)


@pytest.mark.parametrize(("adjusted", "passed"), [(0.05, True), (0.0501, False), (0.1, False)])
def test_the_false_discovery_rate_is_the_limit_itself(adjusted, passed):
    """At the rate a challenger passes, above it none does, nor at twice of it."""
    champion = Champion(params=POOR, fold_seed=1, fold_params=(POOR,) * 5)
    check = beats_champion(_evidence(SOUND, champion), adjusted, LIMITS)
    assert (check.passed, check.limit) == (passed, 0.05)


def test_a_worse_challenger_loses():
    champion = Champion(params=SOUND, fold_seed=1, fold_params=(SOUND,) * 5)
    verdict = _verdict(_evidence(POOR, champion))
    assert verdict.decision is Decision.KEPT
    assert "better_than_champion" in _names(verdict.reasons)


def test_the_champion_again_is_no_promotion():
    champion = Champion(params=SOUND, age_days=1_000.0)
    verdict = _verdict(_evidence(SOUND, champion))
    assert verdict.decision is Decision.KEPT
    assert "parameters_moved" in _names(verdict.reasons)


def test_a_champion_is_scored_without_the_fold_of_its_own_seed():
    """Each user is predicted by what the champion had without that user, whatever our folds."""
    from bkt_core.evaluation.cross_validation import fold_of
    from bkt_core.evaluation.metrics import score
    from bkt_core.replay import predict

    old = tuple(BktParams(0.1 * k + 0.05, 0.1, 0.1, 0.2) for k in range(4))
    champion = Champion(params=POOR, fold_seed=99, fold_params=(*old, None))
    against = _evidence(SOUND, champion).against_champion
    assert not against.rival_in_sample
    sequences = simulated(SOUND, n_users=300, length=6, seed=3)
    folds = fold_of(hashes(300), seed=99, n_folds=5)
    expected = np.empty(sequences.n_attempts)
    for user, fold in enumerate(folds):
        own = slice(sequences.offsets[user], sequences.offsets[user + 1])
        alone = sequences.of_users(np.arange(300) == user)
        expected[own] = predict(alone, old[fold] if fold < 4 else POOR)
    assert against.rival_scores == score(sequences.correct, expected)


@pytest.mark.parametrize(
    "champion",
    [
        Champion(params=POOR),
        Champion(params=POOR, fold_seed=1),
        Champion(params=POOR, fold_params=(SOUND,) * 5),
    ],
)
def test_a_champion_without_seed_or_folds_is_scored_in_sample_and_the_report_says_so(champion):
    from bkt_core.evaluation.metrics import score
    from bkt_core.replay import predict

    evidence = _evidence(SOUND, champion)
    assert evidence.against_champion.rival_in_sample
    sequences = simulated(SOUND, n_users=300, length=6, seed=3)
    expected = score(sequences.correct, predict(sequences, POOR))
    assert evidence.against_champion.rival_scores == expected
    verdict = _verdict(evidence)
    sentences = [check.sentence for check in verdict.report.checks]
    assert any("scored on users it was fitted on" in sentence for sentence in sentences)


def test_a_stale_champion_gives_way_to_what_is_not_much_worse():
    """A hair worse: kept against a fresh champion, promoted against a stale one."""
    near = BktParams(0.3, 0.15, 0.1, 0.202)
    fresh = Champion(params=SOUND, fold_seed=1, fold_params=(SOUND,) * 5, age_days=10.0)
    stale = replace(fresh, age_days=LIMITS.stale_after_days + 1)
    assert _verdict(_evidence(near, fresh)).decision is Decision.KEPT
    verdict = _verdict(_evidence(near, stale))
    assert verdict.decision is Decision.PROMOTED
    assert "not_worse_than_stale_champion" in _names(verdict.reasons)
    assert _verdict(_evidence(POOR, stale)).decision is Decision.KEPT


@pytest.mark.parametrize("champion", [None, Champion(params=POOR)])
def test_a_degenerate_fit_is_never_promoted(champion):
    degenerate = BktParams(p_L0=0.3, p_T=0.005, p_S=0.1, p_G=0.2)
    verdict = _verdict(_evidence(degenerate, champion), approved={"fractions"})
    assert verdict.decision is Decision.REJECTED
    assert verdict.adjusted_p is None


def test_a_promotion_that_moves_many_users_waits_for_a_person():
    poor = Champion(params=POOR, fold_seed=1, fold_params=(POOR,) * 5)
    limits = GateLimits(max_crossing_share=0.0, min_crossing_users=1)
    held = _verdict(_evidence(SOUND, poor), limits)
    assert held.decision is Decision.KEPT
    assert _names(held.reasons) == ["impact"]
    assert "wait for a person" in held.reasons[0].sentence
    approved = _verdict(_evidence(SOUND, poor), limits, approved={"fractions"})
    assert approved.decision is Decision.PROMOTED


def test_a_first_promotion_is_not_held_by_its_impact():
    limits = GateLimits(max_crossing_share=0.0, min_crossing_users=1)
    evidence = _evidence()
    assert evidence.impact.crossing > 0
    assert _verdict(evidence, limits).decision is Decision.PROMOTED


def test_a_pinned_concept_keeps_what_it_has():
    verdict = _verdict(_evidence(SOUND, Champion(params=POOR)), pinned={"fractions"})
    assert verdict.decision is Decision.KEPT
    assert "pinned" in _names(verdict.reasons)


def test_impact_counts_users_on_each_side_by_replay():
    sequences = simulated(SOUND, n_users=200, length=8, seed=2)
    moved = impact(sequences, before=POOR, after=SOUND, threshold=0.9)
    was, will_be = (replay(sequences, p) >= 0.9 for p in (POOR, SOUND))
    assert moved.mastered_before == was.sum()
    assert moved.up - moved.down == int(will_be.sum()) - int(was.sum())
    assert moved.crossing == (was != will_be).sum()


def test_false_discovery_control_looks_at_the_whole_run():
    """One lucky challenger in a hundred is not promoted; alone it would have been."""
    champion = Champion(params=SOUND, fold_seed=1, fold_params=(SOUND,) * 5)
    near = BktParams(0.3, 0.15, 0.1, 0.205)
    evidence = _evidence(near, champion)
    lucky = replace(
        evidence, against_champion=replace(evidence.against_champion, p_not_better=0.02)
    )
    unlucky = replace(
        evidence, against_champion=replace(evidence.against_champion, p_not_better=0.7)
    )
    assert _verdict(lucky).decision is Decision.PROMOTED
    verdicts = decide([lucky] + [unlucky] * 99, LIMITS)
    assert {verdict.decision for verdict in verdicts} == {Decision.KEPT}
    assert verdicts[0].adjusted_p > LIMITS.false_discovery_rate


def test_being_shown_worse_is_adjusted_over_the_first_fits_of_a_run():
    """At p = .02 a lone concept is kept out; among 40 that is chance."""
    evidence = _evidence()
    found = evidence.fit.evidence

    def with_p(p: float):
        mean = replace(found.against_mean, p_not_worse=p)
        return replace(
            evidence,
            fit=replace(evidence.fit, evidence=replace(found, against_mean=mean)),
        )

    assert _verdict(with_p(0.02)).decision is Decision.KEPT
    verdicts = decide([with_p(0.02)] + [with_p(0.9)] * 40, LIMITS)
    assert {verdict.decision for verdict in verdicts} == {Decision.PROMOTED}
    certain = decide([with_p(1e-6)] + [with_p(0.9)] * 40, LIMITS)
    assert certain[0].decision is Decision.KEPT


def test_rejected_challengers_do_not_count_as_tried():
    champion = Champion(params=POOR, fold_seed=1, fold_params=(POOR,) * 5)
    degenerate = BktParams(p_L0=0.3, p_T=0.005, p_S=0.1, p_G=0.2)
    good, bad = _evidence(SOUND, champion), _evidence(degenerate, champion)
    alone, among = _verdict(good), decide([good, *[bad] * 50], LIMITS)[0]
    assert among.adjusted_p == alone.adjusted_p


def test_too_little_data_is_skipped_without_calling_the_engine():
    class NoEngine:
        name = "none"

        def fit(self, *_):
            raise AssertionError

    sequences = simulated(SOUND, n_users=1, length=30, seed=1)
    fit = fit_concept("tiny", sequences, hashes(1), engine=NoEngine(), plan=PLAN)
    evidence = judge_concept(fit, sequences, hashes(1), champion=None, algo=ALGO, limits=LIMITS)
    verdict = _verdict(evidence)
    assert verdict.decision is Decision.SKIPPED
    assert {"enough_users", "usable_folds"} == set(_names(verdict.reasons))


def test_a_concept_that_is_not_tested_is_kept_with_its_reason():
    evidence = _evidence()
    champion = Champion(params=SOUND)
    kept = keep_untested(evidence.fit, champion, name="unchanged", sentence="Same attempts.")
    verdict = _verdict(kept)
    assert verdict.decision is Decision.KEPT
    assert _names(verdict.reasons) == ["unchanged"]


def test_a_fit_on_a_bound_is_repeated_in_the_wider_box():
    wide = Bounds(L0_max=0.95)
    plan = replace(PLAN, wide_bounds=wide)
    on_bound = _evidence(plan=plan, on_bounds=("L0_max",))
    assert on_bound.fit.wide.bounds == wide
    assert on_bound.fit.wide.scores.n == on_bound.fit.evidence.scores.n
    assert _evidence(plan=plan).fit.wide is None


@pytest.mark.slow
def test_a_plan_with_a_prior_shrinks_small_concepts_and_says_so():
    sequences = simulated(SOUND, n_users=12, length=4, seed=3)
    prior = Prior(SOUND, (50.0, 50.0, 50.0, 50.0))
    found = {}
    for plan in (PLAN, replace(PLAN, prior=prior)):
        fit = fit_concept("few", sequences, hashes(12), engine=engine_named("em"), plan=plan)
        distance = np.abs(np.subtract(fit.params.as_tuple(), SOUND.as_tuple())).max()
        found[fit.engine] = distance
    assert found["em+prior"] < found["em"]


def test_a_prior_leaves_a_large_concept_its_plain_fit_to_the_bit():
    sequences = simulated(SOUND, n_users=SHRUNK_BELOW // 5 + 1, length=5, seed=1)
    prior = Prior(POOR, (50.0, 50.0, 50.0, 50.0))
    with_prior, without = (
        fit_concept(
            "many",
            sequences,
            hashes(sequences.n_users),
            engine=engine_named("em"),
            plan=replace(PLAN, prior=one),
        )
        for one in (prior, None)
    )
    assert concept_fit_as_json(with_prior) == concept_fit_as_json(without)


def test_evidence_survives_json_text_with_the_same_bits():
    champion = Champion(
        params=POOR, fold_seed=2, fold_params=(POOR, None), age_days=3.5, param_id=7
    )
    plan = replace(PLAN, wide_bounds=Bounds(L0_max=0.95))
    evidence = _evidence(SOUND, champion, plan=plan, on_bounds=("L0_max",))
    text = json.dumps(evidence_as_json(evidence), allow_nan=False)
    again = evidence_from_json(json.loads(text))
    assert json.dumps(evidence_as_json(again)) == text
    assert again.champion == champion
    assert again.against_champion == evidence.against_champion
    assert _verdict(again).report == _verdict(evidence).report
    fit_text = json.dumps(concept_fit_as_json(evidence.fit))
    assert (
        json.dumps(concept_fit_as_json(concept_fit_from_json(json.loads(fit_text)))) == fit_text
    )


def test_the_metrics_of_a_row_give_its_champion_back():
    fit = _evidence().fit
    metrics = json.loads(json.dumps(fit.metrics(), allow_nan=False))
    assert {"auc", "rmse", "log_loss", "accuracy", "n"} <= metrics.keys()
    champion = Champion.from_metrics(SOUND, metrics, age_days=2.0, param_id=1)
    assert champion.fold_seed == PLAN.fold_seed
    assert champion.fold_params == fit.fold_params
    assert not champion.scored_in_sample
    assert Champion.from_metrics(SOUND, {}).scored_in_sample


def test_a_champion_beside_makes_the_simple_rivals_a_warning():
    champion = Champion(params=SOUND, fold_seed=1, fold_params=(SOUND,) * 5)
    severities = {
        check.name: check.severity for check in _evidence(POOR, champion).report.checks
    }
    assert severities["not_worse_than_mean"] is Severity.WARN
