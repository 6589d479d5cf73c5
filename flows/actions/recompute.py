"""Recompute mastery from the attempt log: all states, or those of a concept or a user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bkt_core.errors import UsageError
from datasets.store.connections.engines import reading
from datasets.store.runs.run_lock import run_lock
from datasets.store.states.reads import has_states
from datasets.store.states.sweep import sweep
from datasets.store.states.user_sweep import sweep_user
from flows.lifecycle.record import close_dead_runs, recorded
from flows.runs.database import open_database

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Engine

    from bkt_settings.pipeline import Settings


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One recomputation, and the number of states that it wrote."""

    run_id: str
    states: int


def recompute(
    settings: Settings, *, concepts: Collection[str] = (), user: str | None = None
) -> Recomputed:
    """Replay states from the log, whether they are outdated or not."""
    with (
        open_database(settings) as engine,
        run_lock(engine, holder="bkt recompute") as lock,
    ):
        _refuse_unknown(engine, concepts, user)
        close_dead_runs(engine, settings)
        with recorded(engine, "recompute") as run_id:
            at = datetime.now(UTC)
            if user is None:
                chosen = sorted(concepts) or None
                swept = sweep(
                    engine, at=at, concepts=chosen, force=True, before_chunk=lock.check
                )
                return Recomputed(run_id, swept.written)
            n_states = sweep_user(
                engine, user, at=at, concepts=concepts, before_concept=lock.check
            )
            return Recomputed(run_id, n_states)


def _refuse_unknown(engine: Engine, concepts: Collection[str], user: str | None) -> None:
    """Raise `UsageError` for a user or concept without attempts: probably a misspelling."""
    with reading(engine) as conn:
        if user is not None and not has_states(conn, user_id=user):
            raise UsageError(f"--user must name a user with attempts, got {user!r}.")
        for concept in concepts:
            if not has_states(conn, concept_id=concept, user_id=user):
                whom = "" if user is None else f" of user {user!r}"
                raise UsageError(
                    f"--concept must name concepts with attempts{whom}, got {concept!r}."
                )
