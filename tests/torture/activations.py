"""Children that put another algorithm version in force, there and back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from datasets.store.connections.engines import make_engine, reading
from datasets.store.connections.fault_points import reached
from datasets.store.errors import DatabaseError, LockedError, RunLockLostError
from datasets.store.params import activation
from datasets.store.params.algorithms import active_algorithm
from datasets.store.runs.run_lock import run_lock
from datasets.store.runs.runs import RunStatus, finish_run, list_runs, start_run
from datasets.store.states.snapshots import write_snapshots
from datasets.store.states.sweep import sweep
from tests.torture.bad_designs import flip_without_guard
from tests.torture.batches import missed
from tests.torture.writers import cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.torture.faults import Ledger
    from tests.torture.world import World

OTHER = {"v1": "v2", "v2": "v1"}


def activate_forever(world: World, ledger: Ledger, slot: int) -> None:
    """One activation after the other, each of the version that is not in force."""
    engine = make_engine(world.url)
    while not ledger.stopping:
        rng = world.rng("activate", slot, int(ledger.units[slot]))
        try:
            with run_lock(engine, holder=f"activation {slot}") as lock:
                activate(engine, world, lock.check)
                if world.design != "real":
                    ledger.missed[slot] += missed(engine)
            ledger.units[slot] += 1
            time.sleep(rng.random())
        except LockedError:
            time.sleep(0.05)
        except (DBAPIError, DatabaseError, RunLockLostError) as error:
            cut_off(error, ledger, slot, engine)
    engine.dispose()


def activate(engine: Engine, world: World, check: Callable[[], None]) -> None:
    """Flip, sweep, snapshot rows; one that was killed behind its flip is finished first."""
    now = datetime.now(UTC)
    run_id, version = _asked(engine)
    check()
    with engine.begin() as conn:
        manifest = {"version": version}
        start_run(conn, run_id=run_id, kind="activate", at=now, manifest=manifest)
    flip = flip_without_guard if world.design == "unguarded" else activation.flip_version
    with engine.begin() as conn:
        flip(conn, run_id=run_id, version=version, at=now, actor="torture")
    reached("activate: committed")
    sweep(engine, at=now, replay_chunk=200, before_chunk=check)
    write_snapshots(engine, run_id=run_id, at=now, before_batch=check)
    check()
    with engine.begin() as conn:
        finish_run(conn, run_id=run_id, status=RunStatus.DONE, at=now)
    reached("run: finished")


def _asked(engine: Engine) -> tuple[str, str]:
    """The activation that was interrupted, else a new one, and its version."""
    with reading(engine) as conn:
        runs = list_runs(conn, kind="activate")
        active = active_algorithm(conn).version
    unfinished = [run for run in runs if run.status is RunStatus.RUNNING]
    if unfinished:
        return unfinished[0].run_id, unfinished[0].manifest["version"]
    return f"activate-{len(runs)}", OTHER[active]
