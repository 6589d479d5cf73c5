"""Parameters in force: read them, switch to a challenger.

`rollback.py` goes back; `promotion_events.py` keeps who did what and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from bkt_core.params import BktParams
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_concept
from datasets.store.params.events import (
    EventDecision,
    decision_of,
    is_pinned,
    record_decision,
)
from datasets.store.schema.tables import SkillParamsRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParams:
    """One row of `bkt_skill_params`."""

    param_id: int
    concept_id: str
    algo_version_id: int
    params: BktParams
    metrics: dict[str, Any]
    n_attempts: int
    n_users: int
    fitted_at: datetime
    fitted_on_data_from: datetime | None
    fitted_on_data_to: datetime | None
    run_id: str
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """Fitted parameters that want to be in force."""

    params: BktParams
    n_attempts: int
    n_users: int
    fitted_at: datetime
    metrics: dict[str, Any] = field(default_factory=dict)
    fitted_on_data_from: datetime | None = None
    fitted_on_data_to: datetime | None = None


class Switch(StrEnum):
    """What came of an attempt to switch."""

    PROMOTED = "promoted"
    ALREADY_DONE = "already_done"  # by this run, before it was interrupted
    PINNED = "pinned"
    INCUMBENT_CHANGED = "incumbent_changed"


@dataclass(frozen=True, slots=True)
class SwitchOutcome:
    """What came of it, and which row is in force now (None: the defaults)."""

    switch: Switch
    param_id: int | None

    @property
    def promoted(self) -> bool:
        """Whether this run's parameters were put in force, now or before."""
        return self.switch in (Switch.PROMOTED, Switch.ALREADY_DONE)


def active_params(conn: Connection, algo_version_id: int) -> dict[str, StoredParams]:
    """The active row of each concept that has one."""
    rows = _stored(
        conn, SkillParamsRow.is_active, SkillParamsRow.algo_version_id == algo_version_id
    )
    return {row.concept_id: row for row in rows}


def stored_params(conn: Connection, param_id: int) -> StoredParams | None:
    """The row of that id, active or not."""
    return next(iter(_stored(conn, SkillParamsRow.id == param_id)), None)


def params_of_run(conn: Connection, run_id: str) -> dict[str, StoredParams]:
    """The rows that a run wrote, active or not, by concept."""
    return {row.concept_id: row for row in _stored(conn, SkillParamsRow.run_id == run_id)}


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
    """Put a challenger in force, with its event, in a transaction of milliseconds of its own.

    Nothing is written twice for one (run, concept), so it may be repeated after an unknown
    outcome. A pinned concept, and one whose incumbent is not `expected_incumbent` any more
    (None: the defaults), keep what they have, and the event says so.
    """
    lock_concept(conn, concept_id)
    reached("switch: locked")
    mine = _stored(
        conn, SkillParamsRow.run_id == run_id, SkillParamsRow.concept_id == concept_id
    )
    incumbent = _active_id(conn, concept_id, algo_version_id)
    if mine:
        return SwitchOutcome(Switch.ALREADY_DONE, incumbent)
    kept = _kept_before(conn, run_id, concept_id)
    if kept is None and is_pinned(conn, concept_id, algo_version_id):
        kept = Switch.PINNED
    elif kept is None and incumbent != expected_incumbent:
        kept = Switch.INCUMBENT_CHANGED
    if kept is not None:
        why = {
            "check": kept.value,
            "expected_param_id": expected_incumbent,
            "found_param_id": incumbent,
        }
        record_decision(
            conn, run_id=run_id, concept_id=concept_id, algo_version_id=algo_version_id,
            decision=EventDecision.KEPT, from_param_id=incumbent, to_param_id=incumbent,
            reasons=[why, *reasons], actor=actor, at=at,
        )  # fmt: skip
        return SwitchOutcome(kept, incumbent)
    deactivate(conn, concept_id, algo_version_id)
    reached("switch: deactivated")
    param_id = _insert(conn, run_id, concept_id, algo_version_id, challenger, at)
    reached("switch: inserted")
    record_decision(
        conn, run_id=run_id, concept_id=concept_id, algo_version_id=algo_version_id,
        decision=EventDecision.PROMOTED, from_param_id=incumbent, to_param_id=param_id,
        reasons=reasons, actor=actor, at=at,
    )  # fmt: skip
    return SwitchOutcome(Switch.PROMOTED, param_id)


def deactivate(conn: Connection, concept_id: str, algo_version_id: int) -> None:
    """Leave the concept without an active row. Call under its exclusive lock."""
    conn.execute(
        update(SkillParamsRow)
        .where(
            SkillParamsRow.concept_id == concept_id,
            SkillParamsRow.algo_version_id == algo_version_id,
            SkillParamsRow.is_active,
        )
        .values(is_active=False)
    )


def activate(conn: Connection, param_id: int) -> None:
    """Make one row active. Call under its concept's exclusive lock."""
    conn.execute(
        update(SkillParamsRow).where(SkillParamsRow.id == param_id).values(is_active=True)
    )


def _kept_before(conn: Connection, run_id: str, concept_id: str) -> Switch | None:
    """Why this run kept the incumbent when it came here before, if it did."""
    decided = decision_of(conn, run_id, concept_id)
    if decided is None:
        return None
    checks = [why.get("check") for why in decided.reasons if isinstance(why, dict)]
    return Switch.PINNED if Switch.PINNED.value in checks else Switch.INCUMBENT_CHANGED


def _active_id(conn: Connection, concept_id: str, algo_version_id: int) -> int | None:
    return conn.execute(
        select(SkillParamsRow.id).where(
            SkillParamsRow.concept_id == concept_id,
            SkillParamsRow.algo_version_id == algo_version_id,
            SkillParamsRow.is_active,
        )
    ).scalar_one_or_none()


def _insert(
    conn: Connection,
    run_id: str,
    concept_id: str,
    algo_version_id: int,
    challenger: Challenger,
    at: datetime,
) -> int:
    letters = challenger.params
    inserted = conn.execute(
        insert(SkillParamsRow)
        .values(
            concept_id=concept_id,
            algo_version_id=algo_version_id,
            p_l0=letters.p_L0,
            p_t=letters.p_T,
            p_s=letters.p_S,
            p_g=letters.p_G,
            metrics=challenger.metrics,
            n_attempts=challenger.n_attempts,
            n_users=challenger.n_users,
            fitted_at=challenger.fitted_at,
            fitted_on_data_from=challenger.fitted_on_data_from,
            fitted_on_data_to=challenger.fitted_on_data_to,
            run_id=run_id,
            is_active=True,
            created_at=at,
        )
        .returning(SkillParamsRow.id)
    )
    return int(inserted.scalar_one())


def _stored(conn: Connection, *conditions: Any) -> list[StoredParams]:  # noqa: ANN401 - SQLAlchemy's expressions
    rows = conn.execute(
        select(SkillParamsRow.__table__).where(*conditions).order_by(SkillParamsRow.id)
    )
    return [
        StoredParams(
            param_id=row.id,
            concept_id=row.concept_id,
            algo_version_id=row.algo_version_id,
            params=BktParams(row.p_l0, row.p_t, row.p_s, row.p_g),
            metrics=row.metrics,
            n_attempts=row.n_attempts,
            n_users=row.n_users,
            fitted_at=row.fitted_at,
            fitted_on_data_from=row.fitted_on_data_from,
            fitted_on_data_to=row.fitted_on_data_to,
            run_id=row.run_id,
            is_active=row.is_active,
        )
        for row in rows
    ]
