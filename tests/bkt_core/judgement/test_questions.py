"""Questions of a concept in the order of their odds, and those out of line."""

from __future__ import annotations

import math

import pytest

from bkt_core.judgement.questions import MIN_QUESTIONS, questions_of


def asked(odds, error=0.1, **more):
    errors = dict.fromkeys(odds, error)
    given = {"n_attempts": {}, "errors": errors, "before": {}} | more
    return {one.question_id: one for one in questions_of(odds, **given)}


ALIKE = {f"q{i}": math.exp(0.1 * (i - 4)) for i in range(9)}


def test_the_hardest_question_comes_first():
    found = asked({"b": 2.0, "a": 0.5, "c": 1.0}, n_attempts={"a": 3}, before={"b": 1.5})
    assert list(found) == ["a", "c", "b"]
    assert (found["a"].n_attempts, found["c"].n_attempts) == (3, 0)
    assert (found["b"].before, found["a"].before) == (1.5, None)


def test_an_interval_is_that_of_the_logarithm():
    low, high = asked({"a": 2.0}, error=0.5)["a"].interval
    assert low == pytest.approx(2.0 * math.exp(-1.96 * 0.5), rel=1e-4)
    assert high == pytest.approx(2.0 * math.exp(1.96 * 0.5), rel=1e-4)
    assert asked({"a": 2.0}, errors={})["a"].interval is None


def test_a_question_far_from_the_others_is_out_of_line_if_it_is_known_well():
    """The others lie within .4 of the median of log odds; this one lies 3 away."""
    odds = ALIKE | {"wrong key": math.exp(-3.0)}
    assert [name for name, one in asked(odds).items() if one.out_of_line] == ["wrong key"]
    assert not any(one.out_of_line for one in asked(odds, error=1.5).values())
    assert not any(one.out_of_line for one in asked(odds, errors={}).values())
    assert not any(one.out_of_line for one in asked(ALIKE).values())


def test_few_questions_have_no_line():
    few = dict(list(ALIKE.items())[: MIN_QUESTIONS - 2])
    assert not any(one.out_of_line for one in asked(few | {"far": 0.01}).values())
    enough = dict(list(ALIKE.items())[: MIN_QUESTIONS - 1])
    assert asked(enough | {"far": 0.01})["far"].out_of_line


def test_no_questions():
    assert asked({}) == {}
