"""What a person does by hand: recompute, roll back, release, erase, lift."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING
from uuid import uuid4

from bkt_core.errors import UsageError
from datasets.store.algorithms import active_algorithm
from datasets.store.mastery_states import sweep
from datasets.store.rollback import concepts_of_run, release, roll_back, row_before
from datasets.store.runs import RunStatus, finish_run, run_lock, start_run
from datasets.store.session import reading
from datasets.store.skill_params import active_params
from datasets.store.user_sweep import sweep_user
from flows.database import open_database

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Engine

    from datasets.store.rollback import RolledBack
    from datasets.store.skill_params import StoredParams
    from flows.settings import Settings

DEFAULTS = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReport:
    """What went back, what was left, and the states that followed."""

    run_id: str
    rolled_back: tuple[RolledBack, ...]
    #: Concepts of the run that something newer has replaced already.
    left: tuple[str, ...]
    states: int


def recompute(
    settings: Settings, *, concepts: Collection[str] = (), user: str | None = None
) -> int:
    """Replay states from the log, up to date or not; returns how many were written."""
    with (
        open_database(settings) as engine,
        run_lock(engine, holder="bkt recompute"),
        recorded(engine, "recompute"),
    ):
        at = datetime.now(UTC)
        if user is not None:
            return sweep_user(engine, user, at=at, concepts=concepts)
        return sweep(engine, at=at, concepts=sorted(concepts) or None, force=True).written


def roll_back_concepts(
    settings: Settings, concepts: Sequence[str], *, to: str | None
) -> RollbackReport:
    """Go back `to` a row's id or to `default`; None: to what was in force before."""
    with open_database(settings) as engine:
        return _roll_back(engine, concepts, to=to, left=())


def roll_back_run(settings: Settings, run_id: str) -> RollbackReport:
    """Undo a run where it is still in force; what was promoted since is left, and named."""
    with open_database(settings) as engine:
        with reading(engine) as conn:
            found = concepts_of_run(conn, run_id)
        return _roll_back(engine, found.active, to=None, left=found.superseded)


def release_concepts(settings: Settings, concepts: Sequence[str]) -> None:
    """Take the pin off concepts, so that the next run may promote them again."""
    with open_database(settings) as engine, recorded(engine, "release") as run_id:
        with reading(engine) as conn:
            version = active_algorithm(conn)
        for concept in concepts:
            with engine.begin() as conn:
                release(
                    conn,
                    run_id=run_id,
                    concept_id=concept,
                    algo_version_id=version.id,
                    at=datetime.now(UTC),
                    actor=getuser(),
                )


@contextmanager
def recorded(engine: Engine, kind: str) -> Iterator[str]:
    """A row of `bkt_run` before anything else, closed as done or failed; yields its id."""
    run_id = uuid4().hex
    with engine.begin() as conn:
        start_run(conn, run_id=run_id, kind=kind, at=datetime.now(UTC))
    status = RunStatus.FAILED
    try:
        yield run_id
        status = RunStatus.DONE
    finally:
        with engine.begin() as conn:
            finish_run(conn, run_id=run_id, status=status, at=datetime.now(UTC))


def _roll_back(
    engine: Engine, concepts: Sequence[str], *, to: str | None, left: tuple[str, ...]
) -> RollbackReport:
    with recorded(engine, "rollback") as run_id:
        with reading(engine) as conn:
            version = active_algorithm(conn)
            active = active_params(conn, version.id)
        targets = {concept: _target(engine, active, concept, to) for concept in concepts}
        done = []
        for concept, target in targets.items():
            with engine.begin() as conn:
                done.append(
                    roll_back(
                        conn,
                        run_id=run_id,
                        concept_id=concept,
                        algo_version_id=version.id,
                        to_param_id=target,
                        at=datetime.now(UTC),
                        actor=getuser(),
                    )
                )
        swept = sweep(engine, at=datetime.now(UTC), concepts=list(concepts))
    return RollbackReport(
        run_id=run_id, rolled_back=tuple(done), left=left, states=swept.written
    )


def _target(
    engine: Engine, active: dict[str, StoredParams], concept: str, to: str | None
) -> int | None:
    """The row to go back to; None is the defaults."""
    if to == DEFAULTS:
        return None
    if to is not None:
        if not to.isdecimal():
            raise UsageError(f"--to takes a row's id or {DEFAULTS!r}, got {to!r}.")
        return int(to)
    incumbent = active.get(concept)
    if incumbent is None:
        raise UsageError(
            f"Concept {concept!r} is at the defaults already, so there is nothing to go back "
            "from; `bkt params --history` shows its rows, and --to chooses one."
        )
    with reading(engine) as conn:
        return row_before(conn, incumbent.param_id)
