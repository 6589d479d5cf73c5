"""A version that forgets is fitted, judged, stored and compared like v1."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bkt_core import BktParams
from bkt_core.engines import engine_named
from bkt_core.evaluation.checks import Decision
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept, held_out_predictions
from bkt_core.evaluation.concept_fit_json import concept_fit_as_json, concept_fit_from_json
from bkt_core.evaluation.cross_validation import fold_of
from bkt_core.evaluation.limits import GateLimits
from bkt_core.family.params import (
    FamilyParams,
    params_as_stored,
    params_from_dict,
    params_from_stored,
)
from bkt_core.family.prior import usual_prior
from bkt_core.family.replay import simulate
from bkt_core.fitting.options import FitOptions
from bkt_core.judgement.evidence import Champion
from bkt_core.judgement.evidence_json import evidence_as_json, evidence_from_json
from bkt_core.judgement.selection import decide, judge_concept
from bkt_core.judgement.versions import compare_at_concept, params_in_force, params_of_fit
from bkt_core.judgement.warm_up import FORGETTING
from bkt_core.params import AlgoParams
from tests.bkt_core.evaluation.fits import hashes
from tests.oracles import family as oracle
from tests.oracles import replay as plain_oracle
from tests.strategies import as_lists

TRUTH = FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2), 0.08)
LIMITS = GateLimits()
V1 = AlgoParams()
PLANS = {
    "v1": FitPlan(options=FitOptions(bounds=V1.bounds), algo=V1, fold_seed=3),
    "v3": FitPlan(
        options=FitOptions(bounds=FORGETTING.bounds),
        algo=FORGETTING,
        fold_seed=3,
        prior=usual_prior(FORGETTING.variant),
    ),
}


def fitted(version, sequences, users):
    plan = PLANS[version]
    return fit_concept(
        "fractions", sequences, users, engine=engine_named("em", plan.algo), plan=plan
    )


def through_json(values):
    return json.loads(json.dumps(values))


@pytest.fixture(scope="module")
def attempts():
    rng = np.random.default_rng(5)
    lengths = rng.integers(4, 20, 250).astype(np.int64)
    return simulate(TRUTH, lengths=lengths, rng=rng), hashes(250)


@pytest.fixture(scope="module")
def fit(attempts):
    return fitted("v3", *attempts)


def replayed(sequences, users, params_of_fold, n_folds):
    """Held-out predictions in plain Python."""
    folds = fold_of(users, seed=3, n_folds=n_folds)
    return [
        p
        for outcomes, fold in zip(as_lists(sequences), folds.tolist(), strict=True)
        for _, p in oracle.trace(outcomes, params_of_fold[fold].as_tuple())
    ]


def test_users_are_predicted_by_a_fit_without_their_fold_to_the_bit(attempts, fit):
    expected = replayed(*attempts, fit.fold_params, fit.n_folds)
    assert held_out_predictions(fit, *attempts).tolist() == expected
    assert fit.engine == "map"
    assert fit.params.p_F > 0.0


def test_a_fit_survives_json_and_so_does_its_evidence(attempts, fit):
    """Bit for bit, with p_F and its interval; a champion's folds as well."""
    assert concept_fit_from_json(through_json(concept_fit_as_json(fit))).params == fit.params
    champion = Champion.from_metrics(fit.params, through_json(fit.metrics()), param_id=4)
    evidence = judge_concept(fit, *attempts, champion=champion, algo=FORGETTING, limits=LIMITS)
    stored = through_json(evidence_as_json(evidence))
    again = evidence_from_json(stored)
    assert through_json(evidence_as_json(again)) == stored
    assert again.champion == champion
    assert again.fit.evidence.final == fit.evidence.final
    assert "p_F" in again.fit.evidence.final.intervals


def test_a_champion_has_five_numbers_per_fold_and_predicts_by_them(attempts, fit):
    """Compared with itself a fit gains nothing; old rows with four numbers are still read."""
    folds = through_json(fit.metrics())["fold_params"]
    assert [len(row) for row in folds] == [5] * fit.n_folds
    champion = Champion.from_metrics(fit.params, through_json(fit.metrics()))
    assert champion.fold_params == fit.fold_params
    evidence = judge_concept(fit, *attempts, champion=champion, algo=FORGETTING, limits=LIMITS)
    assert evidence.against_champion.gain == 0.0
    (verdict,) = decide([evidence], LIMITS)
    assert "parameters_moved" in {check.name for check in verdict.reasons}
    old = Champion.from_metrics(V1.defaults, {"fold_seed": 1, "fold_params": [[0.1] * 4, None]})
    assert old.fold_params == (BktParams(0.1, 0.1, 0.1, 0.1), None)


def test_a_change_of_F_alone_is_a_change(attempts, fit):
    moved = FamilyParams(fit.params.base, fit.params.p_F / 2)
    champion = Champion.from_metrics(moved, fit.metrics())
    evidence = judge_concept(fit, *attempts, champion=champion, algo=FORGETTING, limits=LIMITS)
    (verdict,) = decide([evidence], LIMITS)
    checks = {check.name: check for check in verdict.report.checks}
    assert checks["parameters_moved"].measured == pytest.approx(fit.params.p_F / 2)


def test_a_first_fit_is_promoted_and_its_impact_is_counted_by_its_own_replay(attempts, fit):
    evidence = judge_concept(fit, *attempts, champion=None, algo=FORGETTING, limits=LIMITS)
    (verdict,) = decide([evidence], LIMITS)
    assert verdict.decision is Decision.PROMOTED
    users = as_lists(attempts[0])
    after = [oracle.trace(one, fit.params.as_tuple())[-1][0] >= 0.95 for one in users]
    before = [plain_oracle.mastery(one, V1.defaults.as_tuple()) >= 0.95 for one in users]
    moves = list(zip(before, after, strict=True))
    assert evidence.impact.up == moves.count((False, True))
    assert evidence.impact.down == moves.count((True, False))


def test_versions_are_compared_each_by_its_own_row_and_variant(attempts, fit):
    """Forgetting predicts better where users forget; mastery is each version's own replay."""
    v1 = fitted("v1", *attempts)
    sides = params_of_fit(v1, V1), params_of_fit(fit, FORGETTING)
    found = compare_at_concept(*sides, *attempts)
    assert found.comparison.gain > 0.0
    assert found.p_b.tolist() == replayed(*attempts, fit.fold_params, fit.n_folds)
    users = as_lists(attempts[0])
    for mastery, replay in (
        (found.mastery_a, lambda one: plain_oracle.mastery(one, v1.params.as_tuple())),
        (found.mastery_b, lambda one: oracle.trace(one, fit.params.as_tuple())[-1][0]),
    ):
        assert mastery.tolist() == [replay(one) for one in users]
    row = Champion.from_metrics(fit.params, through_json(fit.metrics()))
    stored = compare_at_concept(sides[0], params_in_force(row, FORGETTING), *attempts)
    assert stored.comparison == found.comparison


def test_a_fit_on_the_bound_of_F_has_no_wider_box_for_it(attempts):
    """The wider box widens L0 alone, so that nothing is repeated."""
    sequences, users = attempts
    of_F = replace(FORGETTING.bounds_of_F, F_max=0.01)
    plan = replace(
        PLANS["v3"],
        algo=replace(FORGETTING, bounds_of_F=of_F),
        wide_bounds=replace(FORGETTING.bounds, L0_max=0.99),
    )
    engine = engine_named("em", plan.algo)
    tight = fit_concept("fractions", sequences, users, engine=engine, plan=plan)
    assert tight.evidence.final.on_bounds == ("F_max",)
    assert tight.wide is None


@pytest.mark.parametrize(
    "params",
    [
        BktParams(0.1 + 0.2, 1 / 3, 0.1, 0.2),
        FamilyParams(BktParams(0.1 + 0.2, 1 / 3, 0.1, 0.2), 1 / 30),
        FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2), None, {"w_gap": 1 / 3, "w_first": -0.1}),
        FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2), 0.05, {"w_recent": 1 / 7}),
        FamilyParams(BktParams(0.3, 0.2, 0.1, 0.2)),
    ],
)
def test_parameters_of_any_version_survive_both_forms_of_json(params):
    """By name, and the short form of folds."""
    assert params_from_stored(through_json(params_as_stored(params))) == params
    plain = isinstance(params, FamilyParams) and params.as_dict().keys() == {
        "p_L0", "p_T", "p_S", "p_G",
    }  # fmt: skip
    expected = params.base if plain else params  # the same arithmetic
    assert params_from_dict(through_json(params.as_dict())) == expected
