"""Engines by name, as in `--engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from bkt_core.fitting.em_engine import EmEngine
from bkt_core.fitting.pybkt_engine import PyBktEngine

if TYPE_CHECKING:
    from bkt_core.fitting.engine import FitEngine

ENGINES: tuple[type[FitEngine], ...] = (EmEngine, PyBktEngine)


def engine_named(name: str) -> FitEngine:
    """Return the engine of that name; raises `UsageError` for an unknown name."""
    for engine in ENGINES:
        if engine.name == name:
            return engine()
    known = ", ".join(engine.name for engine in ENGINES)
    raise UsageError(f"The engine must be one of {known}, got {name!r}.")
