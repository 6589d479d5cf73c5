"""Write attempts of many users, as imports do.

Each write takes the shared locks of the concepts, refuses erased users, and marks the affected
states as stale, all in one transaction of the caller (docs/protocol.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import IntegrityError

from datasets.store.attempts.pending import PendingAttempts
from datasets.store.connections.copy_rows import add_rows, empty_temporary, fill_temporary
from datasets.store.connections.database_errors import is_unique_violation
from datasets.store.connections.fault_points import reached
from datasets.store.connections.locks import lock_many_users
from datasets.store.errors import DatabaseError
from datasets.store.schema.tables import QuestionConceptRow
from datasets.store.schema.types import UtcDateTime
from datasets.store.states.sweep import VERSION_START

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

INCOMING = {
    "row": "int",
    "source": "id",
    "idempotency_key": "id",
    "user_id": "id",
    "question_id": "id",
    "concept_id": "id",
    "correct": "small",
    "attempted_at": "moment",
}
#: The keys of states to mark, as a temporary table.
OUTDATED = {"concept_id": "id", "user_id": "id"}
_KEY = {"idempotency_key": "id"}
#: The columns of a line that are written to the log.
_ATTEMPT = {name: kind for name, kind in INCOMING.items() if name != "row"} | {
    "created_at": "moment",
    "attempt_code": "int",
    "recent_outcomes": "int",
    "n_before": "int32",
    "n_right_before": "int32",
}

_ERASED = text("SELECT user_id FROM erased_user")
_SAME = """
    a.user_id = i.user_id AND a.concept_id IS NOT DISTINCT FROM i.concept_id
    AND a.question_id IS NOT DISTINCT FROM i.question_id AND a.attempted_at = i.attempted_at
"""
_STORED = text(
    f"SELECT i.idempotency_key, a.id, a.correct AS old_correct, ({_SAME}) AS same_but_outcome "  # noqa: S608 - constants
    "FROM incoming_attempt i JOIN attempts a ON a.idempotency_key = i.idempotency_key"
)
_STORED_KEYS = text(
    "SELECT i.idempotency_key FROM incoming_key i "
    "WHERE EXISTS (SELECT 1 FROM attempts a WHERE a.idempotency_key = i.idempotency_key)"
)

_MARK = f"""
    INSERT INTO bkt_user_skill_state
        (concept_id, user_id, p_mastery, n_attempts, algo_version_id, is_stale, version,
         updated_at)
    SELECT k.concept_id, k.user_id, 0, 0, v.id, true, {{start}}, :at
    FROM (SELECT DISTINCT concept_id, user_id FROM outdated_state) k CROSS JOIN algo_versions v
    WHERE v.algo_key = 'bkt' AND v.status = 'ACTIVE'
    ORDER BY k.concept_id, k.user_id
    ON CONFLICT (concept_id, user_id) DO UPDATE
    SET is_stale = true, version = bkt_user_skill_state.version + 1, updated_at = :at
"""  # noqa: F541 - constants
_CORRECT = text(
    "UPDATE attempts SET correct = c.new_correct FROM corrected_attempt c "
    "WHERE attempts.id = c.attempt_id"
)
_CORRECT_XACT = text(
    "UPDATE attempts SET correct = c.new_correct, xact_id = pg_current_xact_id() "
    "FROM corrected_attempt c WHERE attempts.id = c.attempt_id"
)
_LOG = text(
    "INSERT INTO attempt_correction (attempt_id, old_correct, new_correct, actor, created_at) "
    "SELECT attempt_id, old_correct, new_correct, :actor, :at FROM corrected_attempt "
    "ORDER BY attempt_id"
).bindparams(bindparam("at", type_=UtcDateTime()))


def concepts_of_questions(conn: Connection) -> dict[str, tuple[str, ...]]:
    """Return the concepts of each mapped question, sorted."""
    rows = conn.execute(
        select(QuestionConceptRow.question_id, QuestionConceptRow.concept_id).order_by(
            QuestionConceptRow.question_id, QuestionConceptRow.concept_id
        )
    )
    found: dict[str, list[str]] = {}
    for question_id, concept_id in rows:
        found.setdefault(question_id, []).append(concept_id)
    return {question: tuple(concepts) for question, concepts in found.items()}


def write_attempts(
    conn: Connection,
    new: pl.DataFrame,
    *,
    at: datetime,
    corrections: bool = False,
    actor: str = "import",
) -> pl.DataFrame:
    """Write one frame of `NewAttempt`; see `AttemptWriter`."""
    writer = AttemptWriter(conn, at=at, corrections=corrections, actor=actor)
    outcomes = writer.write(new)
    writer.finish()
    return outcomes


class AttemptWriter:
    """Writes attempts of many users, batch by batch, in one transaction of the caller.

    `finish` inserts the attempts in the order in which they came, stamped in order of time, and
    marks the states of inserted and corrected attempts as stale; the next sweep or reader
    replays them. They are marked at the end and in order, because an online update that waits
    for one state may hold another.
    """

    def __init__(
        self,
        conn: Connection,
        *,
        at: datetime,
        corrections: bool = False,
        actor: str = "import",
    ) -> None:
        self._conn, self._at = conn, at
        self._corrections, self._actor = corrections, actor
        self._pending = PendingAttempts()
        empty_temporary(conn, "outdated_state", OUTDATED)

    def write(self, new: pl.DataFrame) -> pl.DataFrame:
        """Judge a frame of `NewAttempt`; return a frame with `row` and `outcome`.

        There is one outcome per line of `new`: `inserted`; `duplicate` (the same is already
        stored); `conflict` (another content is stored); `corrected` (only `correct` differed
        and `corrections` is on); `erased` (the user has a tombstone). If one line of a row is a
        conflict or erased, no line of that row is written.
        """
        conn = self._conn
        incoming = new.select(*INCOMING, "attempt_code")
        lock_many_users(conn, incoming["concept_id"].unique().to_list())
        reached("import: locked")
        judged = _judge(conn, incoming, corrections=self._corrections)
        inserted = judged.filter(pl.col("outcome") == "inserted")
        corrected = judged.filter(pl.col("outcome") == "corrected")
        self._pending.add(inserted)
        _correct(conn, corrected, self._at, self._actor)
        if corrected.height:
            reached("import: attempts corrected")
        keys = pl.concat([inserted, corrected]).select(OUTDATED.keys()).unique()
        add_rows(conn, "outdated_state", OUTDATED, keys)
        return judged.select("row", "outcome")

    def finish(self) -> None:
        """Insert the attempts; mark the states as stale, and insert those that are missing."""
        for attempts in self._pending.stamped(self._conn):
            _insert(self._conn, attempts, self._at)
        reached("import: attempts inserted")
        mark_outdated(self._conn, self._at)
        reached("import: states marked")


def _judge(conn: Connection, incoming: pl.DataFrame, *, corrections: bool) -> pl.DataFrame:
    """Decide the outcome of each line, with the id and outcome stored under its key."""
    erased = conn.execute(_ERASED).scalars().all()
    stored = _stored(conn, incoming)
    differs = pl.when(pl.lit(corrections) & pl.col("same_but_outcome"))
    return (
        incoming.join(stored, on="idempotency_key", how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(pl.col("user_id").is_in(erased))
            .then(pl.lit("erased"))
            .when(pl.col("attempt_id").is_null())
            .then(pl.lit("inserted"))
            .when(pl.col("same_but_outcome") & (pl.col("old_correct") == pl.col("correct")))
            .then(pl.lit("duplicate"))
            .otherwise(differs.then(pl.lit("corrected")).otherwise(pl.lit("conflict")))
        )
        .with_columns(
            outcome=pl.when((pl.col("outcome") == "erased").any().over("row"))
            .then(pl.lit("erased"))
            .when((pl.col("outcome") == "conflict").any().over("row"))
            .then(pl.lit("conflict"))
            .otherwise("outcome")
        )
    )


def _stored(conn: Connection, incoming: pl.DataFrame) -> pl.DataFrame:
    """Find lines whose key is stored: id and outcome there, and whether the rest is equal."""
    fill_temporary(conn, "incoming_key", _KEY, incoming.select(_KEY.keys()))
    keys = conn.execute(_STORED_KEYS).scalars().all()
    among = incoming.filter(pl.col("idempotency_key").is_in(keys)) if keys else incoming.clear()
    rows = []
    if among.height:
        fill_temporary(conn, "incoming_attempt", INCOMING, among)
        rows = [tuple(row) for row in conn.execute(_STORED)]
    return pl.DataFrame(
        rows,
        schema={
            "idempotency_key": pl.String,
            "attempt_id": pl.Int64,
            "old_correct": pl.Int8,
            "same_but_outcome": pl.Boolean,
        },
        orient="row",
    )


def _insert(conn: Connection, new: pl.DataFrame, at: datetime) -> None:
    """Append lines to the log in order; the caller knows that none of their keys is stored."""
    created = pl.lit(at).dt.cast_time_unit("us").alias("created_at")
    try:
        add_rows(conn, "attempts", _ATTEMPT, new.with_columns(created))
    except IntegrityError as error:
        if not is_unique_violation(error):
            raise
        raise DatabaseError(
            f"All {new.height} new attempts must be inserted, but another writer stored some "
            "of them at the same time; nothing was written, import again."
        ) from error


def _correct(conn: Connection, corrected: pl.DataFrame, at: datetime, actor: str) -> None:
    if corrected.is_empty():
        return
    columns = {"attempt_id": "int", "old_correct": "small", "new_correct": "small"}
    rows = corrected.with_columns(new_correct="correct").select(columns.keys())
    fill_temporary(conn, "corrected_attempt", columns, rows)
    conn.execute(_CORRECT if conn.dialect.name == "sqlite" else _CORRECT_XACT)
    conn.execute(_LOG, {"actor": actor, "at": at})


def mark_outdated(conn: Connection, at: datetime) -> None:
    """Mark the states in `outdated_state` as stale; insert those that are missing."""
    statement = _MARK.format(start=VERSION_START[conn.dialect.name])
    conn.execute(text(statement).bindparams(bindparam("at", type_=UtcDateTime())), {"at": at})
