"""Roll back parameters by concept or by run, and release the pins that rollbacks create."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Any

from bkt_core.errors import UsageError
from datasets.store.connections.engines import reading
from datasets.store.errors import IncumbentChangedError, RollbackError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.events import events_of_run
from datasets.store.params.rollback import (
    concepts_of_run,
    release,
    require_pinned,
    require_target,
    roll_back,
    row_before,
)
from datasets.store.params.skill_params import active_params
from datasets.store.runs.runs import RunStatus, list_runs
from datasets.store.states.sweep import sweep
from flows.lifecycle.record import recorded
from flows.runs.database import open_database
from flows.runs.folders import stored_run
from flows.runs.known_concepts import refuse_unknown_concepts
from flows.tracking.evidence_log import update_champion_alias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from bkt_settings.pipeline import Settings
    from datasets.store.params.algorithms import Algorithm
    from datasets.store.params.rollback import RolledBack

DEFAULTS = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReport:
    """The concepts that were rolled back or left, and the number of replayed states."""

    run_id: str
    rolled_back: tuple[RolledBack, ...]
    #: Concepts of the run whose row is not in force -> the row that is (None means defaults).
    left: dict[str, int | None]
    states: int
    #: Why MLflow could not be updated; None if it was.
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The target row of one rollback; None means the defaults."""

    to_param_id: int | None
    #: The row that must still be in force; None accepts any row.
    only_from: int | None


@dataclass(frozen=True, slots=True)
class _Begun:
    """An unfinished rollback to resume (None means a new one), and what it has switched."""

    run_id: str | None
    ways: dict[str, _Way]


def roll_back_concepts(
    settings: Settings, concepts: Sequence[str], *, to: str | None, actor: str | None = None
) -> RollbackReport:
    """Roll back to the row `to`, to `default`, or (None) to what was in force before.

    All concepts are checked before the first is changed. The default `actor` is the account
    that runs the process. A repeated call after a kill finishes the rollback, and does not go
    back further.
    """
    with open_database(settings) as engine:
        asked = {"concepts": sorted(set(concepts)), "to": to}
        with reading(engine) as conn:
            refuse_unknown_concepts(conn, "--concept", concepts)
            begun = _begun(conn, asked)
            ways = begun.ways | {
                concept: _way(conn, active_algorithm(conn), concept, to)
                for concept in concepts
                if concept not in begun.ways
            }
        return _roll_back(engine, settings, begun.run_id, asked, ways, left=None, actor=actor)


def roll_back_run(settings: Settings, run: str, *, actor: str | None = None) -> RollbackReport:
    """Roll back every concept whose active row is this run's; report the others as left."""
    with open_database(settings) as engine:
        with reading(engine) as conn:
            asked = {"run": stored_run(conn, run)}
            found = concepts_of_run(conn, asked["run"])
            begun = _begun(conn, asked)
            active = active_params(conn, active_algorithm(conn).id)
            ways = begun.ways | {
                concept: _Way(to_param_id=row_before(conn, param_id), only_from=param_id)
                for concept, param_id in found.active.items()
            }
        left = {
            concept: active[concept].param_id if concept in active else None
            for concept in found.superseded
            if concept not in ways
        }
        return _roll_back(engine, settings, begun.run_id, asked, ways, left=left, actor=actor)


def release_concepts(
    settings: Settings, concepts: Sequence[str], *, actor: str | None = None
) -> str:
    """Remove the pins of concepts, so that a run may promote them again; return the run id."""
    with open_database(settings) as engine:
        with reading(engine) as conn:
            version = active_algorithm(conn)
            for concept in concepts:
                require_pinned(conn, concept, version.id)
        with recorded(engine, "release") as run_id:
            for concept in concepts:
                with engine.begin() as conn:
                    release(
                        conn,
                        run_id=run_id,
                        concept_id=concept,
                        algo_version_id=version.id,
                        at=datetime.now(UTC),
                        actor=actor or getuser(),
                    )
        return run_id


def _begun(conn: Connection, asked: dict[str, Any]) -> _Begun:
    """Find the same rollback if it was interrupted after its first switch.

    It is resumed only if the rows that it put in force still are.
    """
    runs = (
        run for run in list_runs(conn, kind="rollback") if run.manifest.get("asked") == asked
    )
    last = next(runs, None)
    if last is None or last.status is RunStatus.DONE:
        return _Begun(None, {})
    active = active_params(conn, active_algorithm(conn).id)
    in_force = {concept: row.param_id for concept, row in active.items()}
    events = events_of_run(conn, last.run_id)
    if any(in_force.get(one.concept_id) != one.to_param_id for one in events) or not events:
        return _Begun(None, {})
    ways = {one.concept_id: _Way(to_param_id=one.to_param_id, only_from=None) for one in events}
    return _Begun(last.run_id, ways)


def _roll_back(
    engine: Engine,
    settings: Settings,
    begun: str | None,
    asked: dict[str, Any],
    ways: dict[str, _Way],
    *,
    left: dict[str, int | None] | None,
    actor: str | None,
) -> RollbackReport:
    """Roll back in one transaction per concept, then recompute states, then update MLflow.

    A concept whose parameters changed in the meantime is left alone and added to `left`. If
    `left` is None, the first such concept raises an error after the other states are done.
    """
    done: list[RolledBack] = []
    changed: list[IncumbentChangedError] = []
    with reading(engine) as conn:
        version = active_algorithm(conn)
    with recorded(engine, "rollback", run_id=begun, manifest={"asked": asked}) as run_id:
        for concept, way in ways.items():
            try:
                with engine.begin() as conn:
                    done.append(
                        roll_back(
                            conn,
                            run_id=run_id,
                            concept_id=concept,
                            algo_version_id=version.id,
                            to_param_id=way.to_param_id,
                            only_from=way.only_from,
                            at=datetime.now(UTC),
                            actor=actor or getuser(),
                        )
                    )
            except IncumbentChangedError as error:
                changed.append(error)
        swept = sweep(engine, at=datetime.now(UTC), concepts=[one.concept_id for one in done])
        problem = update_champion_alias(engine, settings) if done else None
        if changed and left is None:
            raise changed[0]
    return RollbackReport(
        run_id=run_id,
        rolled_back=tuple(done),
        left=(left or {}) | {error.concept_id: error.found for error in changed},
        states=swept.written,
        problem=problem,
    )


def _way(conn: Connection, version: Algorithm, concept: str, to: str | None) -> _Way:
    """Return the target of a rollback, checked against the rows and the incumbent."""
    incumbent = active_params(conn, version.id).get(concept)
    incumbent_id = incumbent.param_id if incumbent else None
    if to is None:
        if incumbent is None:
            raise RollbackError(
                f"Concept {concept!r} already has the defaults, so there is nothing to roll "
                "back; `bkt params --history` shows its rows, and --to selects one."
            )
        before = row_before(conn, incumbent.param_id)
        return _Way(to_param_id=before, only_from=incumbent.param_id)
    if to != DEFAULTS and not to.isdecimal():
        raise UsageError(f"--to takes a row's id or {DEFAULTS!r}, got {to!r}.")
    target = None if to == DEFAULTS else int(to)
    require_target(conn, concept, version.id, target, incumbent_id)
    return _Way(to_param_id=target, only_from=None)
