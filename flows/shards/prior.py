"""The prior of a run for its small concepts, learned from its large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.fitting.engines import engine_named
from bkt_core.fitting.shrinkage import Prior, choose_teachers, prior_from
from bkt_settings.pipeline import EngineName
from datasets.sequences.readers import concept_sequences
from flows.runs.plan import flood_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bkt_core.evaluation.concept_fit import FitPlan
    from bkt_core.sequences import AttemptSequences
    from bkt_settings.pipeline import Settings
    from datasets.extracts.extraction import Extract
    from flows.runs.plan import RunPlan


def learn_prior_of(
    settings: Settings, plan: RunPlan, fit_plan: FitPlan, extract: Extract
) -> Prior | None:
    """Learn the prior for the small concepts of a run; None if fits use no prior.

    It is learned from all concepts of the extraction, also if the run is restricted to some.
    The same attempts give the same prior. Fits by pyBKT use no prior.
    """
    if not settings.fit.shrink or plan.engine != EngineName.EM:
        return None
    names = extract.concepts["concept_id"].to_pylist()
    sizes = dict(zip(names, extract.concepts["n_attempts"].to_pylist(), strict=True))
    if plan.window.is_open and not any(map(Prior.reaches, sizes.values())):
        return None
    codes = {name: code for code, name in enumerate(names)}
    flood = flood_of(settings, extract)
    left_out = None if flood is None else flood.users

    def teachers() -> Iterator[AttemptSequences]:
        for name in choose_teachers(sizes):
            found = concept_sequences(extract, codes[name], plan.window, left_out=left_out)
            yield found.sequences

    return prior_from(teachers(), engine_named(plan.engine), fit_plan.options)


def prior_facts(prior: Prior | None) -> dict[str, str]:
    """Return mean and strength (observations) of each parameter as text, for reports."""
    if prior is None:
        return {}
    means = prior.mean.as_dict()
    return {
        name: f"{mean:g} x {strength:g}"
        for (name, mean), strength in zip(means.items(), prior.strength, strict=True)
    }
