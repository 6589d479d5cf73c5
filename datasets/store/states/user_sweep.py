"""Replay every state of one user from the log, whether it is outdated or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import select

from datasets.store.connections.engines import reading
from datasets.store.connections.locks import lock_concepts_shared
from datasets.store.params.in_force import in_force
from datasets.store.schema.tables import MasteryStateRow
from datasets.store.states.replays import replay_keys
from datasets.store.states.sweep import write_staged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from sqlalchemy import Engine


def sweep_user(
    engine: Engine,
    user_id: str,
    *,
    at: datetime,
    concepts: Collection[str] = (),
    before_concept: Callable[[], None] = lambda: None,
) -> int:
    """Replay the user's states, at these concepts or at all; return the number written.

    Each concept is one transaction, preceded by a call of `before_concept`, which may raise;
    the call may be interrupted and repeated.
    """
    with reading(engine) as conn:
        known = conn.execute(
            select(MasteryStateRow.concept_id)
            .where(MasteryStateRow.user_id == user_id)
            .order_by(MasteryStateRow.concept_id)
        ).scalars()
        chosen = [concept for concept in known if not concepts or concept in concepts]
    n_written = 0
    for concept in chosen:
        before_concept()
        n_written += _sweep_one(engine, user_id, concept, at)
    return n_written


def _sweep_one(engine: Engine, user_id: str, concept_id: str, at: datetime) -> int:
    with engine.begin() as conn:
        lock_concepts_shared(conn, [concept_id])
        stamp = in_force(conn, concept_id)
        wanted = select(MasteryStateRow.version).where(
            MasteryStateRow.user_id == user_id, MasteryStateRow.concept_id == concept_id
        )
        version = conn.execute(wanted.with_for_update()).scalar_one_or_none()
        if version is None:
            return 0  # erased in the meantime
        values = replay_keys(conn, concept_id, [user_id], stamp)
        values = values.with_columns(base_version=pl.lit(version, dtype=pl.Int64))
        return write_staged(conn, concept_id, stamp, values, at)
