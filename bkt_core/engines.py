"""Engines by name, as in `--engine`, for the variant of an algorithm version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from bkt_core.errors import UsageError
from bkt_core.family.engine import MapEngine
from bkt_core.family.prior import FamilyPrior
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.pybkt_engine import PyBktEngine
from bkt_core.fitting.shrinkage import Prior, ShrinkingEngine
from bkt_core.params import AlgoParams
from bkt_core.pybkt_forgets import PyBktForgetsEngine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bkt_core.family.fit import Fit
    from bkt_core.fitting.engine import FitEngine
    from bkt_core.fitting.options import FitOptions
    from bkt_core.sequences import AttemptSequences

#: The prior of a run: of the small concepts of v1 and v2, or of all concepts of the family.
AnyPrior: TypeAlias = Prior | FamilyPrior
#: Names that `--engine` accepts.
ENGINES = (EmEngine.name, PyBktEngine.name)
#: Starts of a fit of the family without a prior, whose likelihood may have several maxima.
FLAT_STARTS = 5


class Engine(Protocol):
    """An engine that fits the parameters of any version; see `fitting.engine.FitEngine`."""

    name: str

    def fit(
        self,
        sequences: AttemptSequences,
        training_sets: NDArray[np.bool_],
        options: FitOptions,
    ) -> tuple[Fit, ...]:
        """Fit each row of `training_sets` (n_sets, n_users), a mask of users.

        One result each.
        """
        ...


def engine_named(name: str, algo: AlgoParams | None = None) -> Engine:
    """Return the engine of that name for a version, which is v1 if `algo` is None.

    `em` fits four probabilities by maximum likelihood, and versions with a variant by
    `MapEngine`. Raises `UsageError` for an unknown name, and for a variant that pyBKT does not
    have.
    """
    algo = algo or AlgoParams()
    variant = algo.variant
    if name == EmEngine.name:
        if variant.is_plain:
            return EmEngine()
        bounds_of_F = algo.bounds_of_F
        return MapEngine(variant, bounds_of_F=bounds_of_F, flat=True, n_starts=FLAT_STARTS)
    if name == PyBktEngine.name:
        if variant.is_plain:
            return PyBktEngine()
        if variant.forgetting and not variant.multiplies and algo.bounds_of_F is not None:
            return PyBktForgetsEngine(algo.bounds_of_F)
        raise UsageError(
            "The engine pybkt fits four probabilities, with or without forgetting, got a "
            f"version with {', '.join(variant.as_json())}; use --engine em."
        )
    raise UsageError(f"The engine must be one of {', '.join(ENGINES)}, got {name!r}.")


def under_prior(engine: Engine, prior: AnyPrior | None) -> Engine:
    """Return the engine that draws its fits to a prior; the same one if `prior` is None."""
    if prior is None:
        return engine
    if isinstance(engine, MapEngine) and isinstance(prior, FamilyPrior):
        return engine.under(prior)
    if isinstance(engine, MapEngine) or isinstance(prior, FamilyPrior):
        raise UsageError(f"Engine {engine.name} has no fits under a {type(prior).__name__}.")
    return ShrinkingEngine(cast("FitEngine", engine), prior)
