"""The prior of a run, learned from its large concepts.

Small concepts of v1 and v2 are drawn towards it, and in the model family all concepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bkt_core.family.climbing import expit
from bkt_core.family.params import FAMILY_NAMES
from bkt_core.family.prior import FamilyPrior
from bkt_core.family.teaching import learn_prior
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.shrinkage import TEACHES_FROM, Prior, choose_teachers, prior_from
from bkt_settings.pipeline import EngineName
from datasets.sequences.readers import concept_sequences
from flows.runs.plan import flood_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bkt_core.engines import AnyPrior
    from bkt_core.evaluation.concept_fit import FitPlan
    from bkt_core.sequences import AttemptSequences
    from bkt_core.variant import Variant
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from flows.runs.plan import RunPlan


def learn_prior_of(
    settings: Settings, plan: RunPlan, fit_plan: FitPlan, extract: Extract
) -> AnyPrior | None:
    """Learn the prior of a run; None if its fits use no prior.

    It is learned from all concepts of the extraction, also if the run is restricted to some.
    The same attempts give the same prior. Fits by pyBKT use no prior.
    """
    if not settings.fit.shrink or plan.engine != EngineName.EM:
        return None
    names = extract.concepts["concept_id"].to_pylist()
    sizes = dict(zip(names, extract.concepts["n_attempts"].to_pylist(), strict=True))
    variant = fit_plan.algo.variant
    nobody_small = plan.window.is_open and not any(map(Prior.reaches, sizes.values()))
    if variant.is_plain and nobody_small:
        return None
    codes = {name: code for code, name in enumerate(names)}
    flood = flood_of(settings, extract)
    left_out = None if flood is None else flood.users

    def teachers() -> Iterator[AttemptSequences]:
        for name in choose_teachers(sizes):
            found = concept_sequences(
                extract, codes[name], plan.window, left_out=left_out, variant=variant
            )
            yield found.sequences

    if variant.is_plain:
        return prior_from(teachers(), EmEngine(), fit_plan.options)
    large = [one for one in teachers() if one.n_attempts >= TEACHES_FROM]
    return learn_prior(large, variant, fit_plan.options, fit_plan.algo.bounds_of_F)


def prior_facts(prior: AnyPrior | None, variant: Variant) -> dict[str, str]:
    """Return the prior of each parameter as text, for reports.

    Mean and strength in observations; in the family the typical value, and the standard
    deviation in logits, or of the weight itself.
    """
    if prior is None:
        return {}
    if isinstance(prior, FamilyPrior):
        return _family_facts(prior, variant)
    means = prior.mean.as_dict()
    return {
        name: f"{mean:g} x {strength:g}"
        for (name, mean), strength in zip(means.items(), prior.strength, strict=True)
    }


def _family_facts(prior: FamilyPrior, variant: Variant) -> dict[str, str]:
    names = (*FAMILY_NAMES, *variant.weight_names)
    facts = {}
    for name, mean, width in zip(names, prior.mean, prior.width, strict=True):
        if name == "p_F" and not variant.forgetting:
            continue
        typical = float(expit(np.asarray(mean))) if name in FAMILY_NAMES else mean
        facts[name] = f"{typical:.3g} ± {width:g}"
    if variant.questions:
        facts["questions"] = f"1 ± {prior.question_width:g}"
    return facts
