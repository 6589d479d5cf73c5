"""Mastery at times in the past: `bkt backfill snapshots`.

The log is read once per time in the order of its index, some users at a time, so that a hundred
million attempts need no more memory than a thousand. All times of some users are one
transaction. It ends by restoring the values that were valid after the last of these times, so
that a killed run leaves no user half done and no other day changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import bindparam, text

from bkt_core.family.params import has_multipliers
from bkt_core.replay import replay
from bkt_core.sequences import AttemptSequences
from datasets.store.connections.copy_rows import fill_temporary
from datasets.store.connections.engines import reading
from datasets.store.connections.locks import lock_many_users
from datasets.store.params.in_force import InForce
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.attempt_facts import (
    facts_frame,
    facts_in,
    with_facts,
)
from datasets.store.states.past_params import Clock, PastParams, past_params

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine


#: Number of attempts of one time that are in memory at once, plus those of one user.
ROWS_AT_ONCE = 100_000
#: Lower limit of that number when many times share a transaction.
ROWS_OF_A_PART = 5_000

#: ANSWERED selects attempts by when they happened, whenever they were stored. KNOWN selects
#: them by when they were stored, with the outcome stored at that time.
_LOG = """
    SELECT a.user_id, a.concept_id, coalesce((
        SELECT c.old_correct FROM attempt_correction c
        WHERE c.attempt_id = a.id AND c.created_at > :at AND :known = 1
        ORDER BY c.id LIMIT 1), a.correct) AS correct, a.attempted_at {{facts}}
    FROM attempts a {{odds}}
    WHERE a.user_id > :after {upto} AND {moment} <= :at AND a.concept_id IS NOT NULL
    ORDER BY a.user_id, a.concept_id, a.attempted_at, a.id
"""
_ROW_OF_CONCEPT = "(SELECT w.param_id FROM past_row w WHERE w.concept_id = a.concept_id)"
_BORDER = text(
    "SELECT a.user_id FROM attempts a WHERE a.user_id > :after ORDER BY a.user_id "
    "LIMIT 1 OFFSET :n"
)
_ROWS = {
    "user_id": "id",
    "concept_id": "id",
    "p_mastery": "double",
    "n_attempts": "int",
    "param_id": "int",
    "algo_version_id": "int",
}
_WRITE = text(
    """
    INSERT INTO mastery_snapshot
        (snapshot_at, run_id, user_id, concept_id, p_mastery, n_attempts, param_id,
         algo_version_id)
    SELECT :at, :run_id, r.user_id, r.concept_id, r.p_mastery, r.n_attempts, r.param_id,
           r.algo_version_id
    FROM past_state r LEFT JOIN mastery_snapshot l ON l.id = (
        SELECT m.id FROM mastery_snapshot m
        WHERE m.concept_id = r.concept_id AND m.user_id = r.user_id AND m.snapshot_at <= :at
        ORDER BY m.snapshot_at DESC, m.id DESC LIMIT 1)
    WHERE r.user_id NOT IN (SELECT user_id FROM erased_user)
      AND (l.id IS NULL OR l.p_mastery <> r.p_mastery OR l.n_attempts <> r.n_attempts
           OR l.param_id IS DISTINCT FROM r.param_id)
    ORDER BY r.user_id, r.concept_id
    ON CONFLICT (run_id, user_id, concept_id) DO NOTHING
    """
).bindparams(bindparam("at", type_=UtcDateTime()))
_NEWEST = text("SELECT coalesce(max(id), 0) FROM mastery_snapshot")
_AS_OF = """
    SELECT m.id FROM mastery_snapshot m
    WHERE m.concept_id = w.concept_id AND m.user_id = w.user_id AND m.snapshot_at <= :at {older}
    ORDER BY m.snapshot_at DESC, m.id DESC LIMIT 1
"""
_RESTORE = text(
    f"""
    INSERT INTO mastery_snapshot
        (snapshot_at, run_id, user_id, concept_id, p_mastery, n_attempts, param_id,
         algo_version_id)
    SELECT :at, :run_id, w.user_id, w.concept_id, b.p_mastery, b.n_attempts, b.param_id,
           b.algo_version_id
    FROM (SELECT DISTINCT user_id, concept_id FROM mastery_snapshot
          WHERE id > :newest AND snapshot_at >= :first AND snapshot_at < :at) w
    JOIN mastery_snapshot b ON b.id = ({_AS_OF.format(older="AND m.id <= :newest")})
    JOIN mastery_snapshot l ON l.id = ({_AS_OF.format(older="")})
    WHERE l.p_mastery <> b.p_mastery OR l.n_attempts <> b.n_attempts
       OR l.param_id IS DISTINCT FROM b.param_id
    ORDER BY w.user_id, w.concept_id
    ON CONFLICT (run_id, user_id, concept_id) DO NOTHING
    """  # noqa: S608 - constants
).bindparams(bindparam("at", type_=UtcDateTime()), bindparam("first", type_=UtcDateTime()))


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in the past, and the run that writes its rows."""

    at: datetime
    run_id: str


@dataclass(frozen=True, slots=True)
class _Users:
    """A range of users by id: after one, up to another; None means to the end."""

    after: str
    upto: str | None


def backfill_snapshots(
    engine: Engine,
    moments: Iterable[Moment],
    *,
    clock: Clock = Clock.ANSWERED,
    params_of: str | None = None,
    afterwards: Moment | None = None,
    before_part: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write the snapshot rows of times in the past; return the number of rows by run.

    `params_of` names a run whose parameters are used for the concepts it has fitted. Each time
    needs a run of its own in `bkt_run`, because a run has one row per user and concept.
    `afterwards` is a time after all others, at which states get back the values they had. Each
    transaction is preceded by a call of `before_part`, which may raise. A repeated call writes
    no row that equals the row before it.
    """
    moments = sorted(moments, key=lambda one: one.at)
    with reading(engine) as conn:
        stamps = [past_params(conn, moment.at, clock, params_of) for moment in moments]
    n_attempts = max(ROWS_AT_ONCE // max(len(moments), 1), min(ROWS_AT_ONCE, ROWS_OF_A_PART))
    n_rows = dict.fromkeys((moment.run_id for moment in moments), 0)
    after: str | None = ""
    while after is not None:
        before_part()
        with engine.begin() as conn:
            lock_many_users(conn, ())  # erasures wait: no erased user is written again
            users = _next_users(conn, after, n_attempts)
            newest = conn.execute(_NEWEST).scalar_one()
            for moment, judged_by in zip(moments, stamps, strict=True):
                rows = _log(conn, users, moment.at, clock, judged_by)
                if rows:
                    n_rows[moment.run_id] += _write(conn, moment, _replayed(rows, judged_by))
            if afterwards is not None:
                _restore(conn, afterwards, first=moments[0].at, newest=newest)
        after = users.upto
    return n_rows


def _next_users(conn: Connection, after: str, n_attempts: int) -> _Users:
    """Return the next range of users, up to the user whose attempts exceed `n_attempts`."""
    border = conn.execute(_BORDER, {"after": after, "n": n_attempts})
    return _Users(after, border.scalar_one_or_none())


def _log(
    conn: Connection, users: _Users, at: datetime, clock: Clock, stamps: PastParams
) -> Sequence[Any]:
    """Read the attempts of these users up to a time, in canonical order."""
    moment = "a.created_at" if clock is Clock.KNOWN else "a.attempted_at"
    bound = {"after": users.after, "at": at, "known": int(clock is Clock.KNOWN)}
    upto = ""
    if users.upto is not None:
        upto, bound["upto"] = "AND a.user_id <= :upto", users.upto
    if stamps.multiply:
        fill_temporary(conn, "past_row", {"concept_id": "id", "param_id": "int"}, stamps.rows)
    log = _LOG.format(upto=upto, moment=moment)
    statement = with_facts(log, _ROW_OF_CONCEPT, wanted=stamps.multiply)
    return conn.execute(statement.bindparams(bindparam("at", type_=UtcDateTime())), bound).all()


def _replayed(rows: Sequence[Any], stamps: PastParams) -> pl.DataFrame:
    """Compute mastery of each user at each concept from these attempts: a frame of `_ROWS`."""
    users, concepts, outcomes, moments, *facts = zip(*rows, strict=True)
    log = pl.DataFrame(
        {"user_id": users, "concept_id": concepts, "correct": outcomes},
        schema={"user_id": pl.String, "concept_id": pl.String, "correct": pl.Int8},
    )
    if facts:
        log = log.hstack(facts_frame(moments, facts))
    by_concept = log.partition_by("concept_id", maintain_order=True, as_dict=True)
    return pl.concat(
        _replayed_at(str(concept), own, stamps.of(str(concept)))
        for (concept,), own in by_concept.items()
    ).select(_ROWS.keys())


def _replayed_at(concept_id: str, log: pl.DataFrame, stamp: InForce) -> pl.DataFrame:
    users = log["user_id"]
    begins = np.flatnonzero(users.ne_missing(users.shift()).to_numpy())
    offsets = np.append(begins, len(users)).astype(np.int64)
    sequences = AttemptSequences(log["correct"].to_numpy(), offsets)
    facts = None
    if has_multipliers(stamp.params):
        facts = facts_in(log, offsets)
    return pl.DataFrame(
        {
            "user_id": users.gather(begins),
            "p_mastery": replay(sequences, stamp.params, facts),
            "n_attempts": sequences.lengths,
        }
    ).with_columns(
        concept_id=pl.lit(concept_id),
        param_id=pl.lit(stamp.param_id, dtype=pl.Int64),
        algo_version_id=pl.lit(stamp.algo_version_id, dtype=pl.Int64),
    )


def _write(conn: Connection, moment: Moment, past: pl.DataFrame) -> int:
    fill_temporary(conn, "past_state", _ROWS, past)
    return int(conn.execute(_WRITE, {"at": moment.at, "run_id": moment.run_id}).rowcount)


def _restore(conn: Connection, moment: Moment, *, first: datetime, newest: int) -> None:
    """Restore the values at `moment` of each state that has rows since `newest`."""
    conn.execute(
        _RESTORE,
        {"at": moment.at, "run_id": moment.run_id, "first": first, "newest": newest},
    )
