"""Put challengers in force and record the events: one concept, or many in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_concept, lock_free_concepts
from datasets.store.params.columns import columns_of_params, question_rows
from datasets.store.params.events import (
    EventDecision,
    NewEvent,
    decisions_of,
    pinned_concepts,
    record_decisions,
)
from datasets.store.params.skill_params import deactivate
from datasets.store.schema.tables import QuestionParamsRow, SkillParamsRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from datasets.store.params.events import PromotionEvent
    from datasets.store.params.skill_params import Challenger


class Switch(StrEnum):
    """What happened when a run tried to put a challenger in force."""

    PROMOTED = "promoted"
    ALREADY_DONE = "already_done"  # by this run, before it was interrupted
    PINNED = "pinned"
    INCUMBENT_CHANGED = "incumbent_changed"


@dataclass(frozen=True, slots=True)
class SwitchOutcome:
    """What happened at one concept; `param_id` is the row in force (None means defaults)."""

    switch: Switch
    param_id: int | None

    @property
    def promoted(self) -> bool:
        """Whether this run put its parameters in force, now or in an earlier call."""
        return self.switch in (Switch.PROMOTED, Switch.ALREADY_DONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRequest:
    """A challenger to put in force, the row it was judged against, and the reasons.

    `expected_incumbent` None means that it was judged against the defaults.
    """

    concept_id: str
    challenger: Challenger
    expected_incumbent: int | None
    reasons: Sequence[Any] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Switching:
    """Arguments that all switches of one call share."""

    run_id: str
    algo_version_id: int
    at: datetime
    actor: str


def switch(
    conn: Connection,
    *,
    run_id: str,
    concept_id: str,
    algo_version_id: int,
    challenger: Challenger,
    expected_incumbent: int | None,
    at: datetime,
    reasons: Sequence[Any] = (),
    actor: str = "retrain",
) -> SwitchOutcome:
    """Put a challenger in force and record the event; the caller commits.

    Call it in a short transaction for this concept alone: it holds the concept's exclusive
    lock. The call may be repeated after an unknown outcome, because nothing is written twice
    for the same run and concept. A pinned concept, or one whose incumbent is no longer
    `expected_incumbent` (None means the defaults), keeps its parameters; the event records why.
    """
    lock_concept(conn, concept_id)
    request = SwitchRequest(
        concept_id=concept_id,
        challenger=challenger,
        expected_incumbent=expected_incumbent,
        reasons=reasons,
    )
    shared = _Switching(run_id=run_id, algo_version_id=algo_version_id, at=at, actor=actor)
    return _switch_locked(conn, [request], shared)[concept_id]


def switch_many(
    conn: Connection,
    requests: Sequence[SwitchRequest],
    *,
    run_id: str,
    algo_version_id: int,
    at: datetime,
    actor: str = "retrain",
) -> dict[str, SwitchOutcome]:
    """Like `switch`, for many concepts in one transaction; return the outcome by concept.

    Only concepts whose lock is free are switched. Concepts locked by an import or an attempt
    have no entry in the result; call `switch` for them, which waits for the lock.
    """
    free = lock_free_concepts(conn, [request.concept_id for request in requests])
    shared = _Switching(run_id=run_id, algo_version_id=algo_version_id, at=at, actor=actor)
    unlocked = [request for request in requests if request.concept_id in free]
    return _switch_locked(conn, unlocked, shared)


def _switch_locked(
    conn: Connection, requests: Sequence[SwitchRequest], shared: _Switching
) -> dict[str, SwitchOutcome]:
    """Switch concepts whose exclusive locks this transaction already holds."""
    if not requests:
        return {}
    reached("switch: locked")
    concepts = [request.concept_id for request in requests]
    mine = _written_by(conn, shared.run_id, concepts)
    active = _active_ids(conn, concepts, shared.algo_version_id)
    decided = decisions_of(conn, shared.run_id, concepts)
    pinned = pinned_concepts(conn, shared.algo_version_id, among=concepts)
    outcomes: dict[str, SwitchOutcome] = {}
    kept: list[NewEvent] = []
    winners: list[SwitchRequest] = []
    for request in requests:
        incumbent = active.get(request.concept_id)
        if request.concept_id in mine:
            outcomes[request.concept_id] = SwitchOutcome(Switch.ALREADY_DONE, incumbent)
            continue
        why = _why_kept(request, incumbent, decided.get(request.concept_id), pinned)
        if why is None:
            winners.append(request)
        else:
            outcomes[request.concept_id] = SwitchOutcome(why, incumbent)
            kept.append(_kept_event(request, incumbent, why, shared))
    record_decisions(conn, kept)
    if winners:
        outcomes |= _promote(conn, winners, active, shared)
    return outcomes


def _promote(
    conn: Connection,
    winners: Sequence[SwitchRequest],
    active: dict[str, int],
    shared: _Switching,
) -> dict[str, SwitchOutcome]:
    deactivate(conn, [request.concept_id for request in winners], shared.algo_version_id)
    reached("switch: deactivated")
    written = _insert(conn, winners, shared)
    reached("switch: inserted")
    record_decisions(
        conn,
        [
            NewEvent(
                run_id=shared.run_id,
                concept_id=request.concept_id,
                algo_version_id=shared.algo_version_id,
                decision=EventDecision.PROMOTED,
                from_param_id=active.get(request.concept_id),
                to_param_id=written[request.concept_id],
                reasons=request.reasons,
                actor=shared.actor,
                at=shared.at,
            )
            for request in winners
        ],
    )
    return {concept: SwitchOutcome(Switch.PROMOTED, row) for concept, row in written.items()}


def _why_kept(
    request: SwitchRequest,
    incumbent: int | None,
    decided: PromotionEvent | None,
    pinned: frozenset[str],
) -> Switch | None:
    """Return why a concept keeps its parameters; None means that it switches.

    A reason that this run recorded earlier takes precedence.
    """
    if decided is not None:
        checks = [why.get("check") for why in decided.reasons if isinstance(why, dict)]
        return Switch.PINNED if Switch.PINNED.value in checks else Switch.INCUMBENT_CHANGED
    if request.concept_id in pinned:
        return Switch.PINNED
    return None if incumbent == request.expected_incumbent else Switch.INCUMBENT_CHANGED


def _kept_event(
    request: SwitchRequest, incumbent: int | None, why: Switch, shared: _Switching
) -> NewEvent:
    found = {
        "check": why.value,
        "expected_param_id": request.expected_incumbent,
        "found_param_id": incumbent,
    }
    return NewEvent(
        run_id=shared.run_id,
        concept_id=request.concept_id,
        algo_version_id=shared.algo_version_id,
        decision=EventDecision.KEPT,
        from_param_id=incumbent,
        to_param_id=incumbent,
        reasons=[found, *request.reasons],
        actor=shared.actor,
        at=shared.at,
    )


def _written_by(conn: Connection, run_id: str, concepts: Sequence[str]) -> frozenset[str]:
    """Return those of `concepts` for which the run has already written parameters."""
    rows = conn.execute(
        select(SkillParamsRow.concept_id).where(
            SkillParamsRow.run_id == run_id, SkillParamsRow.concept_id.in_(concepts)
        )
    )
    return frozenset(rows.scalars())


def _active_ids(
    conn: Connection, concepts: Sequence[str], algo_version_id: int
) -> dict[str, int]:
    """Return the id of the active row of each concept that has one."""
    rows = conn.execute(
        select(SkillParamsRow.concept_id, SkillParamsRow.id).where(
            SkillParamsRow.concept_id.in_(concepts),
            SkillParamsRow.algo_version_id == algo_version_id,
            SkillParamsRow.is_active,
        )
    )
    return {row.concept_id: row.id for row in rows}


def _insert(
    conn: Connection, winners: Sequence[SwitchRequest], shared: _Switching
) -> dict[str, int]:
    """Insert the challengers as active rows, and their questions; return ids by concept."""
    rows = conn.execute(
        insert(SkillParamsRow).returning(SkillParamsRow.concept_id, SkillParamsRow.id),
        [_row(request, shared) for request in winners],
    )
    ids = {row.concept_id: row.id for row in rows}
    questions = [
        row
        for request in winners
        for row in question_rows(
            ids[request.concept_id],
            request.challenger.params,
            request.challenger.question_attempts,
        )
    ]
    if questions:
        conn.execute(insert(QuestionParamsRow), questions)
    return ids


def _row(request: SwitchRequest, shared: _Switching) -> dict[str, Any]:
    challenger = request.challenger
    return {
        "concept_id": request.concept_id,
        "algo_version_id": shared.algo_version_id,
        **columns_of_params(challenger.params),
        "metrics": challenger.metrics,
        "n_attempts": challenger.n_attempts,
        "n_users": challenger.n_users,
        "fitted_at": challenger.fitted_at,
        "fitted_on_data_from": challenger.fitted_on_data_from,
        "fitted_on_data_to": challenger.fitted_on_data_to,
        "run_id": shared.run_id,
        "is_active": True,
        "created_at": shared.at,
    }
