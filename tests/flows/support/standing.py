"""What stands in a database after an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets.store.connections.engines import reading
from datasets.store.params.skill_params import active_params
from datasets.store.runs.runs import list_runs

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from datasets.store.runs.runs import RunStatus


def in_force(engine: Engine) -> dict[str, int]:
    """The row in force at each concept."""
    with reading(engine) as conn:
        return {concept: row.param_id for concept, row in active_params(conn, 1).items()}


def runs_of(engine: Engine, kind: str) -> list[tuple[RunStatus, object]]:
    """How the runs of a kind ended, the newest first, and what they say of it."""
    with reading(engine) as conn:
        return [(run.status, run.manifest.get("outcome")) for run in list_runs(conn, kind=kind)]
