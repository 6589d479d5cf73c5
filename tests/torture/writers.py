"""Children that write attempts: the online service, plain and async, and imports."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import numpy as np
import polars as pl
import pyarrow as pa
from sqlalchemy.exc import DBAPIError

from bkt_core.stamps import Log, stamp_log
from datasets.id_codes import IdCodes
from datasets.store.attempts.new_attempt import attempt_code
from datasets.store.attempts.writer import write_attempts
from datasets.store.connections.engines import make_async_engine, make_engine
from datasets.store.connections.fault_points import reached
from datasets.store.errors import DatabaseError, ErasedUserError
from datasets.store.online.recording import record, record_attempt
from tests.torture.bad_designs import record_with_early_params

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from datasets.store.attempts.new_attempt import NewAttempt
    from tests.torture.faults import Ledger
    from tests.torture.world import World

ASYNC_TASKS = 4
IMPORT_ROWS = 120
#: What asyncpg raises past SQLAlchemy while a connection is being made and the server dies.
ASYNCPG_CUT_OFF = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
#: SQLSTATE of a deadlock.
DEADLOCK = "40P01"
#: Deadlocks, shutdowns and cut connections pass; anything else is a finding.
PASSING = (DEADLOCK, "57", "08")


def write_online(world: World, ledger: Ledger, slot: int) -> None:
    """Answer by answer, in the order of the slot; what is unacknowledged is repeated."""
    engine = make_engine(world.url)
    write = record_with_early_params if world.design == "early" else record
    while not ledger.stopping:
        attempt = world.attempt(slot, int(ledger.acknowledged[slot]))
        try:
            with engine.begin() as conn:
                write(conn, attempt, at=datetime.now(UTC))
        except ErasedUserError:
            pass  # refused by right: nothing is owed
        except (DBAPIError, DatabaseError) as error:
            cut_off(error, ledger, slot, engine)
            continue
        reached("online: committed")
        ledger.acknowledged[slot] += 1
        time.sleep(ledger.pause)
    engine.dispose()


def write_online_async(world: World, ledger: Ledger, slot: int) -> None:
    """The same through the async drivers, several users at once; slots from `slot` on."""
    asyncio.run(_service(world, ledger, slot))


async def _service(world: World, ledger: Ledger, first: int) -> None:
    engine = make_async_engine(world.url)

    async def task(slot: int) -> None:
        while not ledger.stopping:
            attempt = world.attempt(slot, int(ledger.acknowledged[slot]))
            try:
                async with engine.begin() as conn:
                    await record_attempt(conn, attempt, at=datetime.now(UTC))
            except ErasedUserError:
                pass
            except (DBAPIError, DatabaseError, *ASYNCPG_CUT_OFF) as error:
                if isinstance(error, DBAPIError):
                    _count_deadlock(error, ledger, slot)
                await asyncio.sleep(0.1)
                continue
            reached("online: committed")
            ledger.acknowledged[slot] += 1
            await asyncio.sleep(ledger.pause)

    await asyncio.gather(*(task(first + i) for i in range(ASYNC_TASKS)))
    await engine.dispose()


def warm_up_imports() -> None:
    """Compile what an import runs, so that forked children inherit it."""
    IdCodes().encode(pa.array(["user"]))
    none = np.zeros(0, np.int64)
    log = Log(none, none, none, np.zeros(0, np.int8), np.zeros(0, np.bool_))
    stamp_log(log, np.zeros((0, 3), np.int64))


def import_files(world: World, ledger: Ledger, slot: int) -> None:
    """Files of attempts; every second file overlaps the one before it, and corrects it."""
    engine = make_engine(world.url)
    while not ledger.stopping:
        n_done = int(ledger.acknowledged[slot])
        overlap = 10 if n_done and n_done % (2 * IMPORT_ROWS) else 0
        numbers = range(n_done - overlap, n_done + IMPORT_ROWS)
        frame = frame_of([world.attempt(slot, n, turned=n < n_done) for n in numbers])
        try:
            with engine.begin() as conn:
                write_attempts(conn, frame, at=datetime.now(UTC), corrections=overlap > 0)
            reached("import: committed")
        except (DBAPIError, DatabaseError) as error:
            cut_off(error, ledger, slot, engine)
            continue
        ledger.acknowledged[slot] += IMPORT_ROWS
        time.sleep(0.2 + 10 * ledger.pause)
    engine.dispose()


def frame_of(attempts: list[NewAttempt]) -> pl.DataFrame:
    """Attempts as an import brings them, one line per concept."""
    lines = [
        {
            "row": row,
            "source": attempt.source,
            "idempotency_key": f"{attempt.idempotency_key}/{concept}",
            "user_id": attempt.user_id,
            "question_id": attempt.question_id,
            "concept_id": concept,
            "correct": attempt.correct,
            "attempted_at": attempt.attempted_at,
            "attempt_code": attempt_code(attempt.idempotency_key),
        }
        for row, attempt in enumerate(attempts)
        for concept in sorted(attempt.concept_ids)
    ]
    return pl.DataFrame(
        lines,
        schema_overrides={
            "question_id": pl.String,
            "correct": pl.Int8,
            "attempted_at": pl.Datetime("us", "UTC"),
        },
    )


def cut_off(error: Exception, ledger: Ledger, slot: int, engine: Engine) -> None:
    """The server went away, or two waited for each other: wait a little, then try again."""
    if isinstance(error, DBAPIError):
        _count_deadlock(error, ledger, slot)
        if error.connection_invalidated:
            engine.dispose()
        elif not str(getattr(error.orig, "sqlstate", None) or DEADLOCK).startswith(PASSING):
            raise error
    time.sleep(0.05)


def _count_deadlock(error: DBAPIError, ledger: Ledger, slot: int) -> None:
    if getattr(error.orig, "sqlstate", None) == DEADLOCK:
        ledger.deadlocks[slot] += 1
