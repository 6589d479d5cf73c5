"""The name of a fit has all that the fit depends on; its file is read back to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bkt_core.engines import engine_named
from bkt_core.evaluation.concept_fit import FitPlan, fit_concept
from bkt_core.evaluation.concept_fit_json import concept_fit_as_json
from bkt_core.family.prior import usual_prior
from bkt_core.fitting.options import FitOptions
from bkt_core.fitting.shrinkage import Prior
from bkt_core.judgement.warm_up import FORGETTING
from bkt_core.params import AlgoParams, BktParams
from bkt_core.variant import ForgettingBounds
from datasets.fit_files import fit_key, read_fit, settings_digest, write_fit
from datasets.sequences.readers import Window
from tests.bkt_core.evaluation.fits import SOUND, hashes, simulated

if TYPE_CHECKING:
    from pathlib import Path

BETA = Prior(BktParams(0.3, 0.2, 0.1, 0.2), (10.0, 10.0, 10.0, 10.0))
NORMAL = usual_prior(FORGETTING.variant)


def plan_of(algo: AlgoParams) -> FitPlan:
    return FitPlan(options=FitOptions(bounds=algo.bounds), algo=algo)


def digest(plan: FitPlan, **changes: object) -> str:
    asked = {
        "engine": "em", "shrink": True, "window": Window(),
        "left_out": "nobody", "version": "1",
    } | changes  # fmt: skip
    return settings_digest(plan, **asked)


def test_the_settings_know_the_variant_and_the_bounds_of_F():
    """And not the prior, which depends on attempts and belongs to the fit's own name."""
    forgetting = plan_of(FORGETTING)
    plain = plan_of(AlgoParams(bounds=FORGETTING.bounds))
    other = plan_of(replace(FORGETTING, bounds_of_F=ForgettingBounds(0.0, 0.2)))
    digests = {digest(plan) for plan in (forgetting, plain, other)}
    digests |= {digest(forgetting, engine="pybkt"), digest(forgetting, shrink=False)}
    assert len(digests) == 5
    assert digest(replace(forgetting, prior=NORMAL)) == digest(forgetting)


def test_the_name_of_a_fit_knows_its_prior():
    """Any number of it; v1's fits without a prior keep the name without one."""
    moved = replace(NORMAL, mean=(*NORMAL.mean[:4], NORMAL.mean[4] + 0.01))
    names = [fit_key("c", "d", "s", prior=prior) for prior in (None, BETA, NORMAL, moved)]
    assert len(set(names)) == 4
    assert fit_key("c", "d", "s") == names[0]


@pytest.mark.parametrize("algo", [AlgoParams(), FORGETTING], ids=["v1", "forgetting"])
def test_a_fit_is_read_as_it_was_written(tmp_path: Path, algo: AlgoParams):
    """Of four probabilities, and of a version that forgets."""
    plan = plan_of(algo)
    fit = fit_concept(
        "é 'x'",
        simulated(SOUND, n_users=40, length=6, seed=2),
        hashes(40),
        engine=engine_named("em", algo),
        plan=plan if algo.variant.is_plain else replace(plan, prior=NORMAL),
    )
    write_fit(tmp_path, "00key", fit)
    again = read_fit(tmp_path, "00key")
    assert again is not None
    assert concept_fit_as_json(again) == concept_fit_as_json(fit)
    assert again.params == fit.params
    assert again.fold_params == fit.fold_params
