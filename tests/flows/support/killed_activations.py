"""A process that forks an activation for each line it reads, and kills it at one place.

`python -m tests.flows.support.killed_activations`: imports once, so that a kill costs a second
and not the imports. Nothing but imports and compilation happens before a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.deployment.home import stay_offline

stay_offline()

from bkt_core.judgement.warm_up import compile_kernels  # noqa: E402
from bkt_settings.pipeline import load_settings  # noqa: E402
from datasets.sequences.warm_up import compile_row_kernels  # noqa: E402
from datasets.store.connections.fault_points import FAULT_POINTS, install_harness  # noqa: E402
from flows.actions.activate import activate  # noqa: E402
from tests.flows.support.killed_runs import NOBODY, die, forked  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from bkt_settings.pipeline import Settings

#: Places at which an activation dies, in its order, each a fault point or before or after a
#: call in a module: the evidence, the row of the run, the switch, the sweep, the snapshots,
#: MLflow, the end of the row.
UNSWITCHED = (
    "after flows.versions.evidence.extract_attempts",
    "before flows.lifecycle.record.start_run",
    "before flows.actions.activate.write_files",
    "after flows.actions.activate.write_files",
    "activate: locked",
    "activate: flipped",
    "activate: recorded",
)
SWITCHED = (
    "activate: committed",
    "sweep: chunk written",
    "sweep: chunk committed",
    "snapshot: rows written",
    "snapshot: committed",
    "before flows.actions.activate.log_to_mlflow",
    "after flows.actions.activate.log_to_mlflow",
    "after flows.actions.activate.update_champion_alias",
    "before flows.lifecycle.record.finish_run",
)


#: Only these need MLflow, which takes most of a small activation.
LOGGED = ("log_to_mlflow", "update_champion_alias")


def settings_for(place: str) -> Settings:
    """The settings of an activation that dies at a place, with MLflow where that matters."""
    if place.endswith(LOGGED):
        return load_settings()
    return load_settings(mlflow_tracking_uri=NOBODY)


def killed_at(place: str) -> None:
    """Let this process die when it comes to a place."""
    when, _, called = place.partition(" ")
    if when not in ("before", "after"):
        assert place in FAULT_POINTS
        install_harness(lambda point: die() if point == place else None)
        return
    path, _, name = called.rpartition(".")
    module = import_module(path)
    work: Callable[..., Any] = getattr(module, name)

    def then_die(*arguments: Any, **named: Any) -> None:
        work(*arguments, **named)
        die()

    setattr(module, name, die if when == "before" else then_die)


def activate_and_die(place: str, *, approve: bool) -> None:
    """Activate v2 and die at a place."""
    killed_at(place)
    activate(settings_for(place), "v2", approve=approve)


def main() -> None:
    """Answer each line, `place` or `approve place`, with how the activation ended."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401, TID251 - only imported
    from matplotlib import figure  # noqa: F401

    settings = load_settings()
    compile_kernels(settings.fit.engine, settings.gates)
    forked(compile_row_kernels)  # onto the disk: here it would start threads
    for line in sys.stdin:
        place = line.strip().removeprefix("approve ")
        approve = place != line.strip()

        def case(place: str = place, approve: bool = approve) -> None:
            activate_and_die(place, approve=approve)

        print(forked(case) == -signal.SIGKILL, flush=True)  # noqa: T201 - the answer
    os._exit(0)


if __name__ == "__main__":
    main()
