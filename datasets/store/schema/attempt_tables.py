"""Tables of attempts, of the concepts of questions, and of erased users."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from datasets.store.schema.base import Base, finite
from datasets.store.schema.types import BigId, Id


class AttemptRow(Base):
    """One attempt of one user at one concept.

    The stamp (`recent_outcomes`, `n_before`, `n_right_before`) is what was known of the user's
    earlier attempts, at any concept, when the row was written; it is never rewritten. Null: the
    row, or the user's attempt before it, was written by a release that had no stamps.

    On PostgreSQL the column `xact_id` holds the id of the transaction that wrote the row, so
    that an incremental extraction can find new rows.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("idempotency_key"),
        CheckConstraint("correct IN (0, 1)", name="correct_is_0_or_1"),
        CheckConstraint("length(user_id) <= 255", name="user_id_length"),
        CheckConstraint("length(concept_id) <= 255", name="concept_id_length"),
        CheckConstraint("length(idempotency_key) <= 255", name="idempotency_key_length"),
        *finite("attempted_at"),
        *finite("created_at"),
        Index("ix_attempts_key", "user_id", "concept_id", "attempted_at", "id"),
        Index("ix_attempts_moment", "user_id", "attempted_at"),
        Index(
            "ix_attempts_unstamped",
            "user_id",
            postgresql_where=text("recent_outcomes IS NULL"),
            sqlite_where=text("recent_outcomes IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(String(255), server_default="")
    idempotency_key: Mapped[str] = mapped_column(Id)
    user_id: Mapped[str] = mapped_column(Id)
    question_id: Mapped[str | None] = mapped_column(Id)
    concept_id: Mapped[str | None] = mapped_column(Id)
    correct: Mapped[int] = mapped_column(SmallInteger)
    attempted_at: Mapped[datetime]
    created_at: Mapped[datetime]
    #: The same in all rows of an attempt at several concepts; null in rows of earlier releases.
    attempt_code: Mapped[int | None] = mapped_column(BigInteger)
    #: The last outcomes as bits, newest lowest, a 1 above the oldest; 1: none yet.
    recent_outcomes: Mapped[int | None] = mapped_column(BigInteger)
    #: Numbers of attempts of the user at earlier moments, and of right ones among them.
    n_before: Mapped[int | None] = mapped_column(Integer)
    n_right_before: Mapped[int | None] = mapped_column(Integer)


class AttemptRewriteRow(Base):
    """A change or deletion of stored attempts, after which an extraction reads the full log.

    Triggers write it, so that no writer can omit it. On PostgreSQL the column `xact_id` tells
    which snapshots have seen it; on SQLite each change replaces the row by one with a higher
    id.
    """

    __tablename__ = "attempt_rewrites"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)


class AttemptCorrectionRow(Base):
    """The outcome of an attempt before it was corrected; append only."""

    __tablename__ = "attempt_correction"
    __table_args__ = (
        CheckConstraint("old_correct IN (0, 1)", name="old_correct_is_0_or_1"),
        CheckConstraint("new_correct IN (0, 1)", name="new_correct_is_0_or_1"),
        Index("ix_attempt_correction_attempt_id", "attempt_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    attempt_id: Mapped[int] = mapped_column(
        BigId, ForeignKey(AttemptRow.id, ondelete="CASCADE")
    )
    old_correct: Mapped[int] = mapped_column(SmallInteger)
    new_correct: Mapped[int] = mapped_column(SmallInteger)
    actor: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


class QuestionConceptRow(Base):
    """A concept that a question practises."""

    __tablename__ = "question_concepts"

    question_id: Mapped[str] = mapped_column(Id, primary_key=True)
    concept_id: Mapped[str] = mapped_column(Id, primary_key=True)


class ErasedUserRow(Base):
    """A tombstone: no data of this user is accepted until it is lifted."""

    __tablename__ = "erased_user"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    actor: Mapped[str] = mapped_column(String(255))
    erased_at: Mapped[datetime]
