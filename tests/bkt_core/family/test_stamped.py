"""Questions, history and gap: covariates, the posterior with multipliers, and its fits."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkt_core import BktParams
from bkt_core.errors import BktError, InvalidInputError, InvalidSequencesError
from bkt_core.family.climbing import expit, look
from bkt_core.family.covariates import covariates_of
from bkt_core.family.engine import MapEngine
from bkt_core.family.exponentials import EXPONENTIALS
from bkt_core.family.fit import FamilyFit
from bkt_core.family.params import FamilyParams
from bkt_core.family.posteriors import posteriors_of
from bkt_core.family.prior import usual_prior
from bkt_core.family.replay import multipliers, predict, simulate
from bkt_core.family.stamped import StampedSequences
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.engine import Stop
from bkt_core.fitting.options import FitOptions
from bkt_core.params import WIDE_BOX
from bkt_core.replay import predict as predict_any
from bkt_core.sequences import AttemptSequences
from bkt_core.variant import ForgettingBounds, Variant
from tests.oracles import family as oracle
from tests.strategies import as_lists, users

V4 = Variant(forgetting=True, questions=True)
V5 = Variant(forgetting=True, questions=True, history=True, gap=True)
OPTIONS = FitOptions(bounds=WIDE_BOX, n_starts=1)


def plain_share(recent: int, fading: float) -> float:
    total, weight = 0.0, 1.0
    for bit in bin(recent)[:2:-1]:  # newest first, without the mark
        total += weight * (1.0 if bit == "1" else -1.0)
        weight *= fading
    return total * (1.0 - fading)


@given(st.integers(1, 2**63 - 1), st.integers(0, 10**6), st.integers(-1, 2**40), st.data())
def test_covariates_equal_plain_python_to_the_bit(recent, n_before, seconds, data):
    """Each by its definition; r4 is 0 at a key's first attempt and ends at 31 bits."""
    n_right = data.draw(st.integers(0, n_before))
    found = covariates_of(
        V5,
        recent=np.array([recent]),
        n_before=np.array([n_before]),
        n_right_before=np.array([n_right]),
        seconds=np.array([seconds]),
    )
    expected = [
        plain_share(recent, 0.9),
        plain_share(recent, 0.97),
        (2 * n_right - n_before) / (n_before + 10),
        min(max(seconds, 0).bit_length(), 31) / 10,
        1.0 if seconds < 0 else 0.0,
    ]
    assert found.tolist() == [expected]


def test_a_missing_stamp_says_nothing_and_versions_have_their_own_columns():
    """A row without a stamp has r1 = r2 = r3 = 0."""
    facts = {
        "recent": np.array([1]),
        "n_before": np.array([0]),
        "n_right_before": np.array([0]),
        "seconds": np.array([-1]),
    }
    assert covariates_of(V5, **facts).tolist() == [[0.0, 0.0, 0.0, 0.0, 1.0]]
    assert covariates_of(Variant(history=True), **facts).tolist() == [[0.0, 0.0, 0.0]]
    assert covariates_of(Variant(gap=True), **facts).tolist() == [[0.0, 1.0]]
    assert covariates_of(V4, **facts).shape == (1, 0)


def test_the_table_holds_the_correctly_rounded_exponentials():
    """By decimal arithmetic of 60 digits; `float` of a Decimal rounds correctly."""
    with localcontext() as context:
        context.prec = 60
        exact = [float((Decimal(k) / 64).exp()) for k in range(-1024, 1025)]
    assert EXPONENTIALS.tolist() == exact


def stamped(outcomes, questions, covariates, n_questions=3):
    return StampedSequences(
        correct=np.array([o for user in outcomes for o in user], dtype=np.int8),
        offsets=np.cumsum([0, *map(len, outcomes)]).astype(np.int64),
        questions=np.array(questions, dtype=np.int64),
        n_questions=n_questions,
        covariates=np.asarray(covariates, dtype=np.float64),
    )


@given(users(max_users=3, longest=5), st.integers(0, 2**32 - 1))
def test_the_posterior_is_the_enumerated_likelihood_and_the_prior(outcomes, seed):
    """With questions and all covariates; its gradient meets differences."""
    rng = np.random.default_rng(seed)
    n = sum(map(len, outcomes))
    sequences = stamped(outcomes, rng.integers(0, 3, n), rng.uniform(-1, 1, (n, 5)))
    prior, x = usual_prior(V5), rng.uniform(-2, 2, 13)
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    (posterior,) = posteriors_of(sequences, everyone, prior, WIDE_BOX, ForgettingBounds())
    odds = np.exp(sequences.covariates @ x[5:10] + x[10 + sequences.questions])
    cuts = pairwise(sequences.offsets.tolist())
    nats = sum(
        oracle.log_likelihood(user, tuple(expit(x[:5]).tolist()), odds[a:b].tolist())
        for user, (a, b) in zip(as_lists(sequences), cuts, strict=True)
    )
    mean, width = np.array([*prior.mean, 0, 0, 0]), np.array([*prior.width, 1, 1, 1])
    nats -= 0.5 * float((((x - mean) / width) ** 2).sum())
    here = look(posterior, x)
    assert here.value == pytest.approx(nats, rel=1e-9)
    for k, move in enumerate(1e-5 * np.eye(13)):
        slope = (look(posterior, x + move).value - look(posterior, x - move).value) / 2e-5
        assert here.gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)


weight = st.floats(-20, 20)


@given(st.lists(weight, min_size=5, max_size=5), st.integers(0, 2**32 - 1), st.booleans())
def test_multipliers_equal_plain_python_to_the_bit(weights, seed, with_questions):
    """Sum from left to right, nearest 64th, ties to even, cut at 16, then the odds."""
    rng = np.random.default_rng(seed)
    rows, codes, odds = rng.uniform(-1, 1, (4, 5)), [0, 2, 1, 2], [0.3, 1.7, 2.9]
    rows[0] = 0.0
    rows[0, 0] = 1.0 / 128.0
    params = FamilyParams(
        BktParams(0.3, 0.1, 0.1, 0.2), 0.1, dict(zip(V5.weight_names, weights, strict=True))
    )
    expected = []
    for row, code in zip(rows.tolist(), codes, strict=True):
        total = 0.0
        for w, r in zip(weights, row, strict=True):
            total += w * r
        factor = EXPONENTIALS.item(min(max(round(64.0 * total), -1024), 1024) + 1024)
        expected.append(odds[code] * factor if with_questions else factor)
    sequences = stamped([[1, 0, 1, 0]], codes if with_questions else [], rows)
    assert multipliers(sequences, params, np.array(odds)).tolist() == expected


def test_weights_that_are_not_those_of_the_attempts_are_refused():
    """A version's attempts have its own covariates."""
    params = FamilyParams(BktParams(0.3, 0.1, 0.1, 0.2), 0.1, {"w_recent": 1.0})
    with pytest.raises(InvalidSequencesError, match="covariate per weight"):
        multipliers(stamped([[1]], [0], np.zeros((1, 2))), params, np.ones(3))
    with pytest.raises(InvalidSequencesError, match="multiplier per question"):
        multipliers(stamped([[1]], [0], np.zeros((1, 1))), params, np.ones(2))


def practised(n_users=400, n_questions=12, seed=1):
    """Users who follow a known v5, and what they follow."""
    rng = np.random.default_rng(seed)
    n = n_users * 10
    weights = dict(zip(V5.weight_names, (1.2, 0.1, 1.5, -0.4, -0.5), strict=True))
    params = FamilyParams(BktParams(0.3, 0.15, 0.15, 0.25), 0.05, weights)
    odds = np.exp(rng.normal(0.0, 0.8, n_questions))
    facts = stamped(
        [[0] * 10] * n_users,
        rng.integers(0, n_questions, n),
        rng.uniform(-0.7, 0.7, (n, 5)),
        n_questions,
    )
    lengths = np.full(n_users, 10, np.int64)
    found = simulate(params, lengths=lengths, rng=rng, odds=multipliers(facts, params, odds))
    cut = {name: getattr(facts, name) for name in ("offsets", "questions", "covariates")}
    return StampedSequences(correct=found.correct, n_questions=n_questions, **cut), params, odds


def test_questions_and_weights_are_found_again():
    """Roughly, from 4,000 attempts; the slow recovery test says how well."""
    sequences, params, odds = practised()
    everyone = np.ones((1, sequences.n_users), dtype=np.bool_)
    (fit,) = MapEngine(V5).fit(sequences, everyone, OPTIONS)
    assert fit.stopped_by is Stop.CONVERGED
    away = np.log(np.array(fit.question_odds) / odds)
    assert np.corrcoef(np.log(fit.question_odds), np.log(odds))[0, 1] > 0.95
    assert np.abs(away - away.mean()).max() < 0.6
    for name, weight in params.weights.items():
        low, high = fit.intervals[name]
        assert low - 0.3 < weight < high + 0.3
    assert fit.question_attempts == tuple(np.bincount(sequences.questions).tolist())
    assert len(fit.question_errors) == 12
    assert FamilyFit.from_json(json.loads(json.dumps(fit.as_json()))) == fit


def test_a_question_without_attempts_has_odds_of_one():
    """As a question without a row has."""
    sequences, *_ = practised(60)
    unseen = StampedSequences(
        correct=sequences.correct,
        offsets=sequences.offsets,
        questions=sequences.questions,
        n_questions=13,
        covariates=sequences.covariates,
    )
    (fit,) = MapEngine(V5).fit(unseen, np.ones((1, 60), dtype=np.bool_), OPTIONS)
    assert fit.question_odds[12] == 1.0
    assert fit.question_attempts[12] == 0


def test_many_questions_have_errors_too():
    """Beyond the size at which the whole Hessian is made."""
    sequences, *_ = practised(150, n_questions=120)
    (fit,) = MapEngine(V4).fit(
        StampedSequences(
            correct=sequences.correct,
            offsets=sequences.offsets,
            questions=sequences.questions,
            n_questions=120,
            covariates=np.empty((sequences.n_attempts, 0)),
        ),
        np.ones((1, 150), dtype=np.bool_),
        OPTIONS,
    )
    assert len(fit.question_errors) == 120
    assert all(0.0 < error <= 1.0 for error in fit.question_errors)


def test_concepts_teach_weights_and_the_width_of_questions():
    """Of the questions' odds, the standard deviation of their logarithm."""
    teachers = [practised(150, seed=seed)[0] for seed in range(12)]
    prior = learn_prior(teachers, V5, OPTIONS, ForgettingBounds())
    np.testing.assert_allclose(prior.mean[5:], (1.2, 0.1, 1.5, -0.4, -0.5), atol=0.25)
    assert 0.6 < prior.question_width < 1.0


def test_some_users_keep_their_questions():
    """The codes of questions are those of all users."""
    sequences, *_ = practised(20)
    part = sequences.of_users(np.arange(20) == 3)
    assert part.questions.tolist() == sequences.questions[30:40].tolist()
    assert part.covariates.tolist() == sequences.covariates[30:40].tolist()
    assert part.n_questions == sequences.n_questions


def test_what_does_not_fit_the_attempts_is_refused():
    """Codes beyond the questions, other lengths, values that are not finite."""
    one = np.zeros((1, 1))
    for questions, covariates in (([3], one), ([0, 1], one), ([0], [[np.nan]]), ([0], [])):
        with pytest.raises(InvalidSequencesError, match=r"uestions|ovariates"):
            stamped([[1]], questions, covariates)
    with pytest.raises((BktError, InvalidInputError), match="w_recent"):
        FamilyParams(BktParams(0.3, 0.1, 0.1, 0.2), 0.1, {"w_recent": np.nan})


def named(sequences, ids, names=V5.weight_names):
    return replace(sequences, question_ids=ids, weight_names=names)


def test_a_fit_is_replayed_by_the_ids_of_its_questions():
    """Whatever the codes of another extraction; attempts without a question have odds 1."""
    sequences, *_ = practised(80, n_questions=5)
    ids = ("a", "b", "c", "d", None)
    (fit,) = MapEngine(V5).fit(named(sequences, ids), np.ones((1, 80), dtype=np.bool_), OPTIONS)
    assert fit.question_odds[4] == 1.0
    assert list(fit.params.question_odds) == ["a", "b", "c", "d"]
    by_code = multipliers(sequences, fit.params, np.array(fit.question_odds))
    assert multipliers(named(sequences, ids), fit.params).tolist() == by_code.tolist()
    renamed = replace(
        named(sequences, (None, "d", "c", "b", "a")), questions=4 - sequences.questions
    )
    expected = predict(sequences, fit.params, by_code)
    assert predict_any(renamed, fit.params).tolist() == expected.tolist()
    assert FamilyFit.from_json(json.loads(json.dumps(fit.as_json()))) == fit


def test_each_version_takes_its_own_columns_of_the_same_attempts():
    """v4 and v5 are compared on one reading of the log."""
    sequences, params, _odds = practised(20, n_questions=2)
    sequences = named(sequences, ("a", "b"))
    gap = FamilyParams(params.base, 0.05, {"w_gap": -0.4, "w_first": -0.5})
    own = replace(
        sequences, covariates=sequences.covariates[:, 3:], weight_names=("w_gap", "w_first")
    )
    assert multipliers(sequences, gap).tolist() == multipliers(own, gap).tolist()
    with pytest.raises(InvalidSequencesError, match="covariate per weight"):
        multipliers(own, params)
    plain = BktParams(0.3, 0.1, 0.1, 0.2)
    outcomes = AttemptSequences(sequences.correct, sequences.offsets)
    assert predict_any(sequences, plain).tolist() == predict_any(outcomes, plain).tolist()


def test_the_ids_of_questions_are_as_many_as_their_codes():
    with pytest.raises(InvalidSequencesError, match="one id per question"):
        named(practised(20, n_questions=2)[0], ("a",))
    with pytest.raises(InvalidInputError, match="odds"):
        FamilyParams(BktParams(0.3, 0.1, 0.1, 0.2), None, {}, {"a": 0.0})
