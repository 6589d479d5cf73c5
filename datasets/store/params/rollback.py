"""Roll back: make an older row or the defaults active again, and pin the concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import hold_version, lock_concept
from datasets.store.errors import IncumbentChangedError, RollbackError
from datasets.store.params.algorithms import active_algorithm
from datasets.store.params.events import EventDecision, NewEvent, is_pinned, record_decisions
from datasets.store.params.skill_params import (
    activate,
    active_params,
    deactivate,
    params_of_run,
    stored_params,
)
from datasets.store.schema.tables import PromotionEventRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


#: The largest id that the databases can store.
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The parameters in force before and after; None means the defaults."""

    concept_id: str
    from_param_id: int | None
    to_param_id: int | None


@dataclass(frozen=True, slots=True)
class RunConcepts:
    """The concepts of a run: those with an active row of the run (its id), and the others."""

    active: dict[str, int]
    superseded: tuple[str, ...]


def roll_back(
    conn: Connection,
    *,
    run_id: str,
    concept_id: str,
    algo_version_id: int,
    to_param_id: int | None,
    at: datetime,
    actor: str,
    only_from: int | None = None,
    reason: str = "",
) -> RolledBack:
    """Make `to_param_id` (None means the defaults) active again and pin the concept.

    `run_id` is the row of this rollback in `bkt_run`; a repeated call with the same run changes
    nothing. If the target was chosen because of the row in force, pass that row as `only_from`:
    raises `IncumbentChangedError` if another row is in force by now. Afterwards the states of
    the concept have an old stamp until a sweep.
    """
    hold_version(conn)
    lock_concept(conn, concept_id)
    done = _event_of(conn, run_id, concept_id)
    if done is not None:
        return done
    if active_algorithm(conn).id != algo_version_id:
        raise RollbackError(
            "Another algorithm version came into force while the rollback began; nothing more "
            "was changed. See `bkt algo list`, then repeat the rollback."
        )
    incumbent = active_params(conn, algo_version_id).get(concept_id)
    incumbent_id = incumbent.param_id if incumbent else None
    if only_from not in (None, incumbent_id):
        raise IncumbentChangedError(
            concept_id=concept_id, expected=only_from, found=incumbent_id
        )
    require_target(conn, concept_id, algo_version_id, to_param_id, incumbent_id)
    deactivate(conn, [concept_id], algo_version_id)
    if to_param_id is not None:
        activate(conn, to_param_id)
    event = NewEvent(
        run_id=run_id, concept_id=concept_id, algo_version_id=algo_version_id,
        decision=EventDecision.ROLLED_BACK, from_param_id=incumbent_id, to_param_id=to_param_id,
        reasons=[reason] if reason else [], actor=actor, at=at,
    )  # fmt: skip
    record_decisions(conn, [event])
    reached("rollback: switched")
    return RolledBack(concept_id, incumbent_id, to_param_id)


def release(
    conn: Connection,
    *,
    run_id: str,
    concept_id: str,
    algo_version_id: int,
    at: datetime,
    actor: str,
) -> None:
    """Remove the pin of a concept, so that the next run may promote it again."""
    lock_concept(conn, concept_id)
    if _event_of(conn, run_id, concept_id) is not None:
        return
    require_pinned(conn, concept_id, algo_version_id)
    incumbent = active_params(conn, algo_version_id).get(concept_id)
    incumbent_id = incumbent.param_id if incumbent else None
    event = NewEvent(
        run_id=run_id, concept_id=concept_id, algo_version_id=algo_version_id,
        decision=EventDecision.RELEASED, from_param_id=incumbent_id, to_param_id=incumbent_id,
        actor=actor, at=at,
    )  # fmt: skip
    record_decisions(conn, [event])
    reached("release: recorded")


def concepts_of_run(conn: Connection, run_id: str) -> RunConcepts:
    """Return which concepts a rollback of this run would change, and which it would not."""
    rows = params_of_run(conn, run_id)
    if not rows:
        raise RollbackError(
            f"Run {run_id!r} has not promoted any concept, so there is nothing to roll back."
        )
    return RunConcepts(
        active={concept: row.param_id for concept, row in rows.items() if row.is_active},
        superseded=tuple(concept for concept, row in rows.items() if not row.is_active),
    )


def row_before(conn: Connection, param_id: int) -> int | None:
    """Return what was in force before a row was promoted; None means the defaults."""
    return conn.execute(
        select(PromotionEventRow.from_param_id).where(
            PromotionEventRow.to_param_id == param_id,
            PromotionEventRow.decision == EventDecision.PROMOTED.value,
        )
    ).scalar_one_or_none()


def require_pinned(conn: Connection, concept_id: str, algo_version_id: int) -> None:
    """Raise `RollbackError` if the concept is not pinned."""
    if not is_pinned(conn, concept_id, algo_version_id):
        raise RollbackError(
            f"Concept {concept_id!r} must be pinned to be released, and it is not; "
            "`bkt params --history` shows what happened to it."
        )


def require_target(
    conn: Connection,
    concept_id: str,
    algo_version_id: int,
    to_param_id: int | None,
    incumbent_id: int | None,
) -> None:
    """Raise `RollbackError` if the row is missing, already active, or of another concept."""
    if to_param_id == incumbent_id:
        what = "The defaults are" if to_param_id is None else f"Row {to_param_id} is"
        raise RollbackError(f"{what} already in force for {concept_id!r}; nothing was changed.")
    if to_param_id is None:
        return
    target = stored_params(conn, to_param_id) if to_param_id <= MAX_ID else None
    if target is None:
        raise RollbackError(
            f"Row {to_param_id} must be one of bkt_skill_params, and there is none; "
            f"`bkt params --history` lists the rows of {concept_id!r}."
        )
    if target.concept_id != concept_id:
        raise RollbackError(
            f"Row {to_param_id} must be of concept {concept_id!r}, it is of "
            f"{target.concept_id!r}; nothing was changed."
        )
    if target.algo_version_id != algo_version_id:
        raise RollbackError(
            f"Row {to_param_id} is of another algorithm version; nothing was changed."
        )


def _event_of(conn: Connection, run_id: str, concept_id: str) -> RolledBack | None:
    row = conn.execute(
        select(PromotionEventRow.from_param_id, PromotionEventRow.to_param_id).where(
            PromotionEventRow.run_id == run_id, PromotionEventRow.concept_id == concept_id
        )
    ).one_or_none()
    return RolledBack(concept_id, row.from_param_id, row.to_param_id) if row else None
