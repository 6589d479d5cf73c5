"""Bayesian Knowledge Tracing: the public names, each imported when it is first used.

Reading one number from a table therefore does not import the compiled kernels.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bkt_core.model import (
        RuleFailure,
        RuleReport,
        Update,
        Updates,
        apply_learning_transition,
        check_degeneracy,
        posterior_given_obs,
        predict_correct,
        update_mastery,
        validate_bkt_params,
    )
    from bkt_core.params import AlgoParams, BktParams, Bounds
    from bkt_core.replay import predict, replay, trace
    from bkt_core.sequences import AttemptSequences
    from bkt_core.simulation import draw_lengths, draw_params, simulate

__all__ = [
    "AlgoParams",
    "AttemptSequences",
    "BktParams",
    "Bounds",
    "RuleFailure",
    "RuleReport",
    "Update",
    "Updates",
    "apply_learning_transition",
    "check_degeneracy",
    "draw_lengths",
    "draw_params",
    "posterior_given_obs",
    "predict",
    "predict_correct",
    "replay",
    "simulate",
    "trace",
    "update_mastery",
    "validate_bkt_params",
]

#: Module -> the public names that it defines.
_HOMES = {
    "params": ("AlgoParams", "BktParams", "Bounds"),
    "replay": ("predict", "replay", "trace"),
    "sequences": ("AttemptSequences",),
    "simulation": ("draw_lengths", "draw_params", "simulate"),
}


def __getattr__(name: str) -> object:
    """Import the public name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "model")
    return getattr(import_module(f"bkt_core.{home}"), name)


class _Package(ModuleType):
    """Keeps `bkt_core.replay` the function, even after the module of that name is imported."""

    @property
    def replay(self) -> object:
        return __getattr__("replay")

    @replay.setter
    def replay(self, module: object) -> None:
        """Ignore the import system setting the module; it stays available in `sys.modules`."""


sys.modules[__name__].__class__ = _Package
