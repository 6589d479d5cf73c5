"""Which engine fits which version, and what is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bkt_core.engines import engine_named, under_prior
from bkt_core.errors import UsageError
from bkt_core.family.engine import MapEngine
from bkt_core.family.prior import usual_prior
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.pybkt_engine import PyBktEngine
from bkt_core.fitting.shrinkage import Prior, ShrinkingEngine
from bkt_core.judgement.warm_up import FORGETTING
from bkt_core.params import AlgoParams, BktParams
from bkt_core.pybkt_forgets import PyBktForgetsEngine
from bkt_core.variant import ForgettingBounds, Variant

BETA = Prior(BktParams(0.3, 0.2, 0.1, 0.2), (10.0, 10.0, 10.0, 10.0))
NORMAL = usual_prior(FORGETTING.variant)


@pytest.mark.parametrize(
    ("name", "algo", "engine"),
    [
        ("em", None, EmEngine),
        ("em", AlgoParams(), EmEngine),
        ("em", FORGETTING, MapEngine),
        ("pybkt", None, PyBktEngine),
        ("pybkt", FORGETTING, PyBktForgetsEngine),
    ],
)
def test_the_version_chooses_the_engine_behind_a_name(name, algo, engine):
    """An engine of the family has the version's bounds of F."""
    chosen = engine_named(name, algo)
    assert type(chosen) is engine
    if algo is FORGETTING:
        of_F = ForgettingBounds(0.0, 0.3)
        wider = engine_named(name, replace(algo, bounds_of_F=of_F))
        assert of_F in (getattr(wider, "forgetting", None), getattr(wider, "bounds_of_F", None))


@pytest.mark.parametrize(
    "variant", [Variant(questions=True), Variant(forgetting=True, history=True, gap=True)]
)
def test_pybkt_has_no_multipliers(variant):
    """The sentence names what the version has."""
    of_F = ForgettingBounds() if variant.forgetting else None
    algo = AlgoParams(variant=variant, bounds_of_F=of_F)
    with pytest.raises(UsageError, match=next(iter(reversed(variant.as_json())))):
        engine_named("pybkt", algo)


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(UsageError, match="em, pybkt"):
        engine_named("hmm")


def test_a_prior_draws_the_fits_of_the_engine_that_it_belongs_to():
    """One that belongs to another engine is refused; none changes nothing."""
    em, fitted = engine_named("em"), engine_named("em", FORGETTING)
    assert under_prior(em, None) is em
    assert isinstance(under_prior(em, BETA), ShrinkingEngine)
    assert under_prior(fitted, NORMAL).prior == NORMAL
    assert fitted.prior is None
    for engine, prior in ((em, NORMAL), (fitted, BETA)):
        with pytest.raises(UsageError, match="no fits under a"):
            under_prior(engine, prior)
