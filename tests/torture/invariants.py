"""What must hold once everything has settled, and how often it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import text

from datasets.store.attempts.erasure import erase_user, erased_users
from datasets.store.attempts.fill_stamps import fill_stamps
from datasets.store.attempts.keys import attempt_key
from datasets.store.attempts.unstamped import count_unstamped
from datasets.store.connections.engines import make_engine, reading
from datasets.store.states.outstanding import outstanding
from datasets.store.states.sweep import sweep
from tests.datasets.store.oracle import expected_states
from tests.torture.batches import next_run, release_all, retrain
from tests.torture.world import ERASABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.torture.faults import Ledger
    from tests.torture.world import World

TABLES = ("attempts", "bkt_skill_params", "bkt_user_skill_state", "mastery_snapshot",
"bkt_promotion_event", "erased_user")  # fmt: skip


def settle(world: World) -> None:
    """What an operator does after a bad night: complete what was interrupted, then sweep."""
    engine = make_engine(world.url)
    with reading(engine) as conn:
        erased = sorted(erased_users(conn))
        unfinished = conn.execute(
            text("SELECT count(*) FROM bkt_run WHERE status = 'running' AND kind = 'retrain'")
        ).scalar_one()
    for user in erased:
        erase_user(engine, user, at=datetime.now(UTC), actor="torture")
    release_all(engine, "settle")
    if unfinished:
        retrain(engine, world, next_run(engine))
    if world.design == "real":
        sweep(engine, at=datetime.now(UTC))
        fill_stamps(engine, at=datetime.now(UTC))
    engine.dispose()


def violations(world: World, ledger: Ledger, online: range, imports: range) -> dict[str, int]:
    """Violations of each invariant; `online` and `imports` are slots that acknowledge."""
    engine = make_engine(world.url)
    with reading(engine) as conn:
        found = {
            "states unlike their replay": _wrong_states(conn),
            "keys without a state, states without attempts": _unpaired(conn),
            "stale or old-stamped states": sum(outstanding(conn).values()),
            "more than one active row": _doubly_active(conn),
            "no active row without a reason": _unreasonably_inactive(conn),
            "rows of erased users": _erased_rows(conn),
            "acknowledged attempts lost": _lost(conn, world, ledger, online, imports),
        }
    if world.design != "real":
        found["old-stamped states right after a sweep"] = int(ledger.missed.sum())
    if world.design == "real":
        with reading(engine) as conn:
            found["attempts without a stamp"] = count_unstamped(conn)
        found["rows changed by a second run of one manifest"] = _changed_by_repetition(
            engine, world
        )
    engine.dispose()
    return found


def _wrong_states(conn: Connection) -> int:
    expected = expected_states(conn)
    rows = conn.execute(
        text("SELECT user_id, concept_id, p_mastery, n_attempts FROM bkt_user_skill_state")
    )
    return sum(
        expected.get((row.user_id, row.concept_id), (row.p_mastery, row.n_attempts))[:2]
        != (row.p_mastery, row.n_attempts)
        for row in rows
    )


def _unpaired(conn: Connection) -> int:
    keys = set(expected_states(conn))
    rows = conn.execute(text("SELECT user_id, concept_id FROM bkt_user_skill_state"))
    return len(keys ^ {(row.user_id, row.concept_id) for row in rows})


def _doubly_active(conn: Connection) -> int:
    return len(
        conn.execute(
            text(
                "SELECT concept_id FROM bkt_skill_params WHERE is_active "
                "GROUP BY concept_id, algo_version_id HAVING count(*) > 1"
            )
        ).all()
    )


def _unreasonably_inactive(conn: Connection) -> int:
    """Concepts whose latest change put a row in force that is not active, or the other way."""
    rows = conn.execute(
        text(
            "SELECT concept_id, algo_version_id, to_param_id FROM bkt_promotion_event "
            "WHERE decision IN ('promoted', 'rolled_back') ORDER BY id"
        )
    )
    latest = {(row.concept_id, row.algo_version_id): row.to_param_id for row in rows}
    active = {
        (row.concept_id, row.algo_version_id): row.id
        for row in conn.execute(
            text("SELECT id, concept_id, algo_version_id FROM bkt_skill_params WHERE is_active")
        )
    }
    return sum(active.get(concept) != param for concept, param in latest.items())


def _erased_rows(conn: Connection) -> int:
    return sum(
        conn.execute(
            text(
                f"SELECT count(*) FROM {table} "  # noqa: S608 - constants
                "WHERE user_id IN (SELECT user_id FROM erased_user)"
            )
        ).scalar_one()
        for table in ("attempts", "bkt_user_skill_state", "mastery_snapshot")
    )


def _lost(conn: Connection, world: World, ledger: Ledger, online: range, imports: range) -> int:
    """Acknowledged attempts that are not stored; users who may be erased are owed none."""
    stored = set(conn.execute(text("SELECT idempotency_key FROM attempts")).scalars())
    lost = 0
    for slot in (*online, *imports):
        for n in range(int(ledger.acknowledged[slot])):
            attempt = world.attempt(slot, n)
            if attempt.user_id in ERASABLE:
                continue
            n_concepts = len(attempt.concept_ids)
            keys = {
                attempt_key(attempt.idempotency_key, concept, n_concepts)
                if slot in online
                else f"{attempt.idempotency_key}/{concept}"
                for concept in attempt.concept_ids
            }
            lost += len(keys - stored)
    return lost


def _changed_by_repetition(engine: Engine, world: World) -> int:
    """Run the latest retrain again, twice: the second time no row of any table may differ.

    The first time it snapshots what the writers did after it had ended.
    """
    with reading(engine) as conn:
        run_id = conn.execute(
            text(
                "SELECT run_id FROM bkt_run WHERE kind = 'retrain' "
                "ORDER BY started_at DESC LIMIT 1"
            )
        ).scalar_one_or_none()
    if run_id is None:
        return 0
    retrain(engine, world, run_id)
    with reading(engine) as conn:
        before = _contents(conn)
    retrain(engine, world, run_id)
    with reading(engine) as conn:
        after = _contents(conn)
    return sum(len(before[table] ^ after[table]) for table in TABLES)


def _contents(conn: Connection) -> dict[str, set[bytes]]:
    return {
        table: {
            blake2b(repr(tuple(row)).encode(), digest_size=16).digest()
            for row in conn.execute(text(f"SELECT * FROM {table}"))  # noqa: S608 - constants
        }
        for table in TABLES
    }
