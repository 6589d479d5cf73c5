"""Locks of a transaction, by concept and by user (docs/protocol.md).

On PostgreSQL these are advisory locks that end with the transaction. Concepts share a fixed
number of keys, so that an import of any number of concepts needs a bounded number of locks. On
SQLite, which has one writer at a time, `lock_*` becomes the writer by a write without effect.

All transactions take locks in this order: the algorithm version, the gate, users, concepts by
key, states by (concept, user).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from datasets.store.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Number of keys that concepts share; PostgreSQL holds 6,400 locks by default.
CONCEPT_KEYS = 1024
#: Milliseconds that an exclusive lock may queue, because requests behind it wait as well.
QUEUE_MS = 200
#: Seconds after which a request for an exclusive lock fails.
GIVE_UP_SECONDS = 120.0

_SHARED = text(
    "SELECT pg_advisory_xact_lock_shared(key), current_setting('transaction_isolation') "
    "FROM unnest(:keys) AS key"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger())))
_IF_FREE = text(
    "SELECT key, pg_try_advisory_xact_lock(key) AS locked FROM unnest(:keys) AS key"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger())))
_EXCLUSIVE = text("SELECT pg_advisory_xact_lock(:key)")
_WRITE_NOTHING = text("UPDATE bkt_run SET status = status WHERE 1 = 0")
_LOCK_NOT_AVAILABLE = "55P03"


def named_key(name: str) -> int:
    """Return a stable 64-bit key, signed, as PostgreSQL requires."""
    digest = blake2b(name.encode(), digest_size=8, person=b"bkt-lock").digest()
    return int.from_bytes(digest, "big", signed=True)


def concept_key(concept_id: str) -> int:
    """Return the key of a concept, which other concepts may share."""
    return named_key(f"concept {named_key(concept_id) % CONCEPT_KEYS}")


def user_key(user_id: str) -> int:
    """Return the key of one user."""
    return named_key(f"user {user_id}")


def gate_key() -> int:
    """Return the key that multi-user writers share and an erasure takes exclusively first."""
    return named_key("many users")


def version_key() -> int:
    """Return the key that readers of parameters in force share and an activation excludes."""
    return named_key("algorithm version")


def lock_version(conn: Connection) -> None:
    """Take the exclusive lock of the algorithm version, to put another one in force.

    It waits for all holders of locks of `lock_attempt`, `lock_many_users`,
    `lock_concepts_shared` or `hold_version`, and blocks new ones until the transaction ends.
    """
    _lock_exclusive(conn, version_key(), "the algorithm version")


def hold_version(conn: Connection) -> None:
    """Take the shared lock of the version: the version in force stays until the end."""
    _lock_shared(conn, [])


def lock_attempt(conn: Connection, user_id: str, concept_ids: Iterable[str]) -> None:
    """Take shared locks of one user and some concepts, for one attempt."""
    _lock_shared(conn, [user_key(user_id), *_concept_keys(concept_ids)])


def lock_many_users(conn: Connection, concept_ids: Iterable[str]) -> None:
    """Take shared locks for a writer of attempts of many users, such as an import."""
    _lock_shared(conn, [gate_key(), *_concept_keys(concept_ids)])


def lock_concepts_shared(conn: Connection, concept_ids: Iterable[str]) -> None:
    """Take shared locks of some concepts: their active parameters stay until the end."""
    _lock_shared(conn, _concept_keys(concept_ids))


def lock_concept(conn: Connection, concept_id: str) -> None:
    """Take the exclusive lock of one concept, to change its active parameters."""
    _lock_exclusive(conn, concept_key(concept_id), f"concept {concept_id!r}")


def lock_free_concepts(conn: Connection, concept_ids: Iterable[str]) -> frozenset[str]:
    """Take the exclusive locks of those concepts that nobody holds; return these concepts.

    It never waits, because a transaction that holds locks must not queue for others.
    """
    concepts = list(concept_ids)
    if conn.dialect.name == "sqlite":
        conn.execute(_WRITE_NOTHING)
        return frozenset(concepts)
    keys = _concept_keys(concepts)
    free = {row.key for row in conn.execute(_IF_FREE, {"keys": keys}) if row.locked}
    return frozenset(concept for concept in concepts if concept_key(concept) in free)


def lock_user(conn: Connection, user_id: str) -> None:
    """Take the exclusive lock of one user, to erase all of their data."""
    _lock_exclusive(conn, gate_key(), "imports")
    _lock_exclusive(conn, user_key(user_id), "a user")


def _concept_keys(concept_ids: Iterable[str]) -> list[int]:
    return sorted({concept_key(concept_id) for concept_id in concept_ids})


def _lock_shared(conn: Connection, keys: list[int]) -> None:
    """Take shared locks in the given order, the lock of the version first."""
    if conn.dialect.name == "sqlite":
        conn.execute(_WRITE_NOTHING)
        return
    rows = conn.execute(_SHARED, {"keys": [version_key(), *keys]}).all()
    if any(isolation != "read committed" for _, isolation in rows):
        raise DatabaseError(
            "Attempts must be written in a READ COMMITTED transaction, got "
            f"{rows[0][1].upper()}; leave the isolation level of this transaction alone."
        )


def _lock_exclusive(conn: Connection, key: int, what: str) -> None:
    """Take an exclusive lock; queue only briefly, because later shared lockers wait as well."""
    if conn.dialect.name == "sqlite":
        conn.execute(_WRITE_NOTHING)
        return
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not _locked_soon(conn, key):
        if time.monotonic() > give_up_at:
            raise DatabaseError(
                f"The lock of {what} must come free within {GIVE_UP_SECONDS:g} s, but did not; "
                "a long import may hold it. Try again when that has ended."
            )
        time.sleep(QUEUE_MS / 1000)


def _locked_soon(conn: Connection, key: int) -> bool:
    try:
        with conn.begin_nested():
            conn.execute(text(f"SET LOCAL lock_timeout = {QUEUE_MS}"))
            conn.execute(_EXCLUSIVE, {"key": key})
            conn.execute(text("SET LOCAL lock_timeout = DEFAULT"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            return False
        raise
    return True
