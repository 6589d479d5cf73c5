"""The append-only history of decisions: who decided what on which concept, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from datasets.store.schema.sql import insert_into
from datasets.store.schema.tables import PromotionEventRow, RunRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


class EventDecision(StrEnum):
    """The decision on a concept in one run."""

    PROMOTED = "promoted"
    KEPT = "kept"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    ROLLED_BACK = "rolled_back"
    RELEASED = "released"
    ACTIVATED = "activated"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionEvent:
    """One row of `bkt_promotion_event`; a param id of None means the defaults."""

    event_id: int
    run_id: str | None
    concept_id: str
    algo_version_id: int
    decision: EventDecision
    from_param_id: int | None
    to_param_id: int | None
    reasons: list[Any]
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One decision to be recorded; a param id of None means the defaults."""

    run_id: str | None
    concept_id: str
    algo_version_id: int
    decision: EventDecision
    from_param_id: int | None
    to_param_id: int | None
    actor: str
    at: datetime
    reasons: Sequence[Any] = ()


def record_decisions(conn: Connection, events: Sequence[NewEvent]) -> None:
    """Append decisions; a second decision for the same run and concept is ignored."""
    if not events:
        return
    conn.execute(
        insert_into(conn, PromotionEventRow).on_conflict_do_nothing(
            index_elements=["run_id", "concept_id"]
        ),
        [
            {
                "run_id": event.run_id,
                "concept_id": event.concept_id,
                "algo_version_id": event.algo_version_id,
                "decision": event.decision.value,
                "from_param_id": event.from_param_id,
                "to_param_id": event.to_param_id,
                "reasons": list(event.reasons),
                "actor": event.actor,
                "created_at": event.at,
            }
            for event in events
        ],
    )


def history(conn: Connection, concept_id: str) -> tuple[PromotionEvent, ...]:
    """Return every decision on a concept, newest first."""
    return _events(conn, PromotionEventRow.concept_id == concept_id)


def events_of_run(conn: Connection, run_id: str) -> tuple[PromotionEvent, ...]:
    """Return every decision of a run, newest first."""
    return _events(conn, PromotionEventRow.run_id == run_id)


def decisions_of(
    conn: Connection, run_id: str, concept_ids: Sequence[str]
) -> dict[str, PromotionEvent]:
    """Return the decisions of a run on some concepts; concepts without one have no entry."""
    found = _events(
        conn,
        PromotionEventRow.run_id == run_id,
        PromotionEventRow.concept_id.in_(concept_ids),
    )
    return {event.concept_id: event for event in found}


def is_pinned(conn: Connection, concept_id: str, algo_version_id: int) -> bool:
    """Return whether the concept was rolled back and not released since."""
    return concept_id in pinned_concepts(conn, algo_version_id, among=[concept_id])


def last_switch(conn: Connection, algo_version_id: int) -> int | None:
    """Return the newest event that may have changed parameters in force; None without one."""
    moves = (
        EventDecision.PROMOTED,
        EventDecision.ROLLED_BACK,
        EventDecision.RELEASED,
        EventDecision.ACTIVATED,
    )
    return conn.execute(
        select(func.max(PromotionEventRow.id)).where(
            PromotionEventRow.algo_version_id == algo_version_id,
            PromotionEventRow.decision.in_(moves),
        )
    ).scalar_one_or_none()


def version_at(conn: Connection, at: datetime) -> int | None:
    """Return the algorithm version in force at a time, from the last decision before it.

    Decisions are made under the version in force, except those of runs of candidates, which
    are ignored. Before the first decision, its version is returned; None without any decision.
    """
    of_candidates = select(RunRow.run_id).where(RunRow.kind == "candidate")
    run = PromotionEventRow.run_id
    version = (
        select(PromotionEventRow.algo_version_id)
        .where(or_(run.is_(None), run.not_in(of_candidates)))
        .limit(1)
    )
    then = version.where(PromotionEventRow.created_at <= at)
    found = conn.execute(then.order_by(PromotionEventRow.id.desc())).scalar_one_or_none()
    if found is None:
        found = conn.execute(version.order_by(PromotionEventRow.id)).scalar_one_or_none()
    return found


def pinned_concepts(
    conn: Connection, algo_version_id: int, *, among: Sequence[str] | None = None
) -> frozenset[str]:
    """Return the concepts (all, or those of `among`) that are rolled back and not released."""
    moves = (EventDecision.ROLLED_BACK, EventDecision.RELEASED)
    wanted = [
        PromotionEventRow.algo_version_id == algo_version_id,
        PromotionEventRow.decision.in_(moves),
    ]
    if among is not None:
        wanted.append(PromotionEventRow.concept_id.in_(among))
    rows = conn.execute(
        select(PromotionEventRow.concept_id, PromotionEventRow.decision)
        .where(*wanted)
        .order_by(PromotionEventRow.id)
    )
    latest = {row.concept_id: row.decision for row in rows}
    return frozenset(
        c for c, decision in latest.items() if decision == EventDecision.ROLLED_BACK
    )


def _events(conn: Connection, *conditions: Any) -> tuple[PromotionEvent, ...]:  # noqa: ANN401 - SQLAlchemy's expressions
    rows = conn.execute(
        select(PromotionEventRow.__table__)
        .where(*conditions)
        .order_by(PromotionEventRow.id.desc())
    )
    return tuple(
        PromotionEvent(
            event_id=row.id,
            run_id=row.run_id,
            concept_id=row.concept_id,
            algo_version_id=row.algo_version_id,
            decision=EventDecision(row.decision),
            from_param_id=row.from_param_id,
            to_param_id=row.to_param_id,
            reasons=row.reasons,
            actor=row.actor,
            created_at=row.created_at,
        )
        for row in rows
    )
