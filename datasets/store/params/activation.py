"""Put another algorithm version in force, in one transaction.

Every transaction that reads the parameters in force in order to write holds the shared lock of
the version from before the read until its end. The switch holds it exclusively: transactions
that began under the old version have committed before, and their states have an old stamp
afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import update

from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_version
from datasets.store.params.algorithms import ALGO_KEY, active_algorithm, algorithm
from datasets.store.params.events import EventDecision, NewEvent, record_decisions
from datasets.store.params.skill_params import active_params
from datasets.store.schema.tables import AlgoVersionRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Flipped:
    """The version before and after; they are equal if nothing was changed."""

    before: str
    after: str
    #: Number of concepts whose parameters changed; each has an event.
    concepts: int


def flip_version(
    conn: Connection, *, run_id: str, version: str, at: datetime, actor: str
) -> Flipped:
    """Make `version` the ACTIVE one and the former a CANDIDATE, with an event per concept.

    The call needs a transaction of its own, which the caller commits. Afterwards all states
    have an old stamp until a sweep. A repeated call changes nothing. Concepts that neither
    version has fitted get no event.
    """
    lock_version(conn)
    reached("activate: locked")
    before, after = active_algorithm(conn), algorithm(conn, version)
    if before.id == after.id:
        return Flipped(before.version, after.version, 0)
    for one, status in ((before, "CANDIDATE"), (after, "ACTIVE")):
        conn.execute(
            update(AlgoVersionRow)
            .where(AlgoVersionRow.algo_key == ALGO_KEY, AlgoVersionRow.id == one.id)
            .values(status=status)
        )
    reached("activate: flipped")
    was, now = active_params(conn, before.id), active_params(conn, after.id)
    events = [
        NewEvent(
            run_id=run_id,
            concept_id=concept,
            algo_version_id=after.id,
            decision=EventDecision.ACTIVATED,
            from_param_id=was[concept].param_id if concept in was else None,
            to_param_id=now[concept].param_id if concept in now else None,
            reasons=[f"version {before.version} gave way to {after.version}"],
            actor=actor,
            at=at,
        )
        for concept in sorted(was.keys() | now.keys(), key=str.encode)
    ]
    record_decisions(conn, events)
    reached("activate: recorded")
    return Flipped(before.version, after.version, len(events))
