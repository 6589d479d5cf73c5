"""Parameters, their box, the settings of an algorithm: what they refuse, how they are read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given

from bkt_core import AlgoParams, BktParams, Bounds
from bkt_core.errors import BktError, InvalidParamsError
from bkt_core.params import FALLBACK_PARAMS, PARAM_NAMES, WIDE_BOX
from bkt_core.variant import ForgettingBounds, Variant
from tests.strategies import bkt_params

#: The JSON of version v1, as the contract gives it.
SEEDED = json.loads(
    """{"default_L0": 0.1, "default_T": 0.1, "default_S": 0.1, "default_G": 0.25,
    "mastery_threshold": 0.95, "min_attempts_for_fit": 10,
    "constraints": {"L0_min": 0.001, "L0_max": 0.5, "T_min": 0.001, "T_max": 0.5,
                    "S_min": 0.001, "S_max": 0.4, "G_min": 0.001, "G_max": 0.4},
    "degeneracy_checks": {"require_learned_better_than_unlearned": true,
                          "min_learning_gain": 0.05}}"""
)


@pytest.mark.parametrize("bad", [-1e-300, 1.0 + 1e-15, float("nan"), float("inf")])
@pytest.mark.parametrize("name", PARAM_NAMES)
def test_what_is_no_probability_cannot_be_built(name, bad):
    with pytest.raises(InvalidParamsError, match=name):
        replace(FALLBACK_PARAMS, **{name: bad})


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.3), (0.4, 0.3), (-0.1, 0.3), (0.3, 1.1)])
def test_a_box_without_room_cannot_be_built(low, high):
    with pytest.raises(BktError, match="bounds of p_T must satisfy"):
        Bounds(T_min=low, T_max=high)


@given(params=bkt_params())
def test_clipping_moves_only_what_is_outside_and_to_the_edge_that_is_named(params):
    box = Bounds()
    clipped = box.clip(params)
    touched = box.touched_by(clipped)
    rows = zip(
        PARAM_NAMES, params.as_tuple(), clipped.as_tuple(), box.lower, box.upper, strict=True
    )
    for name, before, after, low, high in rows:
        letter = name.removeprefix("p_")
        assert low <= after <= high
        assert (
            after == before or (f"{letter}_min" if before < low else f"{letter}_max") in touched
        )


def test_a_bound_is_touched_only_at_the_bound_itself():
    box = Bounds()
    assert box.touched_by(BktParams(0.001, 0.5, 0.2, 0.4)) == ("L0_min", "T_max", "G_max")
    assert box.touched_by(BktParams(0.3, 0.1, 0.1, 0.2)) == ()
    assert Bounds(L0_max=0.95) == WIDE_BOX


def test_a_box_inside_keeps_the_edges_that_are_far_enough_from_0_and_1():
    inside = Bounds(L0_min=0.0, G_max=1.0).inside(1e-10)
    assert inside == Bounds(L0_min=1e-10, G_max=1.0 - 1e-10)


def test_the_settings_of_a_version_are_read_from_its_json():
    assert AlgoParams.from_json(SEEDED) == AlgoParams()
    other = SEEDED | {
        "default_G": 0.2,
        "constraints": {"L0_max": 0.9},
        "mastery_threshold": 0.9,
    }
    read = AlgoParams.from_json(other)
    assert read.defaults == BktParams(0.1, 0.1, 0.1, 0.2)
    assert read.bounds == Bounds(L0_max=0.9)
    assert read.mastery_threshold == 0.9


def test_the_least_settings_are_settings():
    """A concept may be fitted from one attempt on, and mastered at any probability."""
    least = {"min_attempts_for_fit": 1, "mastery_threshold": 0}
    read = AlgoParams.from_json(SEEDED | least)
    assert (read.min_attempts_for_fit, read.mastery_threshold) == (1, 0.0)


def test_forgetting_and_its_bounds_go_together():
    for wrong in ({"variant": Variant(forgetting=True)}, {"bounds_of_F": ForgettingBounds()}):
        with pytest.raises(BktError, match="if and only if"):
            AlgoParams(**wrong)


def test_a_variant_with_forgetting_has_bounds_of_its_own():
    forgets = SEEDED | {
        "variant": {"forgetting": True},
        "constraints": SEEDED["constraints"] | {"F_max": 0.2},
    }
    read = AlgoParams.from_json(forgets)
    assert read.variant == Variant(forgetting=True)
    assert read.bounds_of_F == ForgettingBounds(F_min=0.0, F_max=0.2)
    assert AlgoParams.from_json(read.as_json()) == read
    assert "variant" not in AlgoParams().as_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"constraints": {"F_max": 0.1}},
        {"variant": {"multigs": True}},
        {"variant": {"forgetting": "yes"}},
        {"variant": True},
        {"constraints": {"L0_mxa": 0.9}},
        {"constraints": {"L0_max": "wide"}},
        {"constraints": None},
        {"degeneracy_checks": {"min_learning_gian": 0.1}},
        {"default_L0": "a tenth"},
        {"default_L0": True},
        {"degeneracy_checks": {"min_learning_gain": 1.5}},
        {"min_attempts_for_fit": None},
        {"min_attempts_for_fit": 2.5},
        {"min_attempts_for_fit": float("inf")},
        {"mastery_threshold": float("nan")},
        {"mastery_threshold": 1.5},
        {"min_attempts_for_fit": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    key, value = next(iter(wrong.items()))
    with pytest.raises(BktError, match=next(iter(value)) if isinstance(value, dict) else key):
        AlgoParams.from_json(SEEDED | wrong)
