"""The tables and their constraints (docs/tables.md).

Tables of attempts are in `attempt_tables.py` and can be imported from here. `migrations/`
creates the same schema without importing either module; a test compares the two on both
databases, including checks, index predicates and collations.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from datasets.store.schema.attempt_tables import (
    AttemptCorrectionRow,
    AttemptRewriteRow,
    AttemptRow,
    ErasedUserRow,
    QuestionConceptRow,
)
from datasets.store.schema.base import Base
from datasets.store.schema.rules import RULES
from datasets.store.schema.types import BigId, Id, Json

__all__ = [
    "AlgoParamsRow",
    "AlgoVersionRow",
    "AttemptCorrectionRow",
    "AttemptRewriteRow",
    "AttemptRow",
    "Base",
    "ErasedUserRow",
    "MasteryStateRow",
    "PromotionEventRow",
    "QuestionConceptRow",
    "RunRow",
    "SkillParamsRow",
    "SnapshotRow",
]

RUN_STATUSES = ("running", "done", "unchanged", "empty", "failed", "abandoned")
DECISIONS = (
    "promoted", "kept", "rejected", "skipped", "rolled_back", "released", "activated",
)  # fmt: skip


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class AlgoVersionRow(Base):
    """A version of an algorithm; at most one version per key is ACTIVE."""

    __tablename__ = "algo_versions"
    __table_args__ = (
        UniqueConstraint("algo_key", "version"),
        CheckConstraint(_one_of("status", ("ACTIVE", "CANDIDATE", "RETIRED")), name="status"),
        Index(
            "uq_algo_versions_active",
            "algo_key",
            unique=True,
            postgresql_where=text("status = 'ACTIVE'"),
            sqlite_where=text("status = 'ACTIVE'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    algo_key: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class AlgoParamsRow(Base):
    """The settings of one version, which never change."""

    __tablename__ = "algo_params"
    __table_args__ = (UniqueConstraint("algo_version_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    algo_version_id: Mapped[int] = mapped_column(BigId, ForeignKey(AlgoVersionRow.id))
    params: Mapped[dict[str, Any]] = mapped_column(Json)


class RunRow(Base):
    """One run of any kind; the row is written before the run does anything else."""

    __tablename__ = "bkt_run"
    __table_args__ = (
        CheckConstraint(_one_of("status", RUN_STATUSES), name="status"),
        Index("ix_bkt_run_status", "status", "identity"),
    )

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    #: Hash of all inputs of the run except the incumbents; a run with the same hash may resume
    #: it.
    identity: Mapped[str | None] = mapped_column(String(64))
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    manifest: Mapped[dict[str, Any]] = mapped_column(Json)


class SkillParamsRow(Base):
    """Fitted parameters of one concept; at most one row per concept and version is active."""

    __tablename__ = "bkt_skill_params"
    __table_args__ = (
        *(
            CheckConstraint(f"{name} > 0 AND {name} < 1", name=f"{name}_in_0_1")
            for name in ("p_l0", "p_t", "p_s", "p_g")
        ),
        CheckConstraint("p_s + p_g < 1", name="slip_and_guess_leave_room"),
        CheckConstraint("p_f >= 0 AND p_f < 1", name="p_f_in_0_1"),
        UniqueConstraint("run_id", "concept_id"),
        Index(
            "uq_bkt_skill_params_active",
            "concept_id",
            "algo_version_id",
            unique=True,
            postgresql_where=text("is_active"),
            sqlite_where=text("is_active"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    concept_id: Mapped[str] = mapped_column(Id)
    algo_version_id: Mapped[int] = mapped_column(BigId, ForeignKey(AlgoVersionRow.id))
    p_l0: Mapped[float]
    p_t: Mapped[float]
    p_s: Mapped[float]
    p_g: Mapped[float]
    p_f: Mapped[float | None]
    w_recent: Mapped[float | None]
    w_long: Mapped[float | None]
    w_share: Mapped[float | None]
    w_gap: Mapped[float | None]
    w_first: Mapped[float | None]
    metrics: Mapped[dict[str, Any]] = mapped_column(Json)
    n_attempts: Mapped[int] = mapped_column(BigId)
    n_users: Mapped[int] = mapped_column(BigId)
    fitted_at: Mapped[datetime]
    fitted_on_data_from: Mapped[datetime | None]
    fitted_on_data_to: Mapped[datetime | None]
    run_id: Mapped[str] = mapped_column(String(64), ForeignKey(RunRow.run_id))
    is_active: Mapped[bool]
    created_at: Mapped[datetime]


class QuestionParamsRow(Base):
    """The odds multiplier of one question within a concept; append only.

    It belongs to the row of parameters with which it was fitted and promoted. A question
    without a row has odds 1.
    """

    __tablename__ = "bkt_question_params"
    __table_args__ = (
        CheckConstraint("odds > 0", name="odds_above_0"),
        {"sqlite_with_rowid": False},
    )

    param_id: Mapped[int] = mapped_column(
        BigId, ForeignKey(SkillParamsRow.id), primary_key=True, autoincrement=False
    )
    question_id: Mapped[str] = mapped_column(Id, primary_key=True)
    odds: Mapped[float]
    n_attempts: Mapped[int] = mapped_column(BigInteger)


class MasteryStateRow(Base):
    """Mastery of one user at one concept, with the version and parameters that produced it.

    The concept comes first in the key because sweeps write in that order. Half of each page is
    left free so that updates stay on their page. On PostgreSQL a trigger checks `param_id` once
    per statement (docs/decisions/0202).
    """

    __tablename__ = "bkt_user_skill_state"
    __table_args__ = (
        CheckConstraint("p_mastery >= 0 AND p_mastery <= 1", name="p_mastery_in_0_1"),
        CheckConstraint("n_attempts >= 0", name="n_attempts_not_negative"),
        ForeignKeyConstraint(["param_id"], [SkillParamsRow.id]).ddl_if(dialect="sqlite"),
        Index("ix_bkt_user_skill_state_user_id", "user_id"),
        {"postgresql_with": {"fillfactor": 50}, "sqlite_with_rowid": False},
    )

    concept_id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    p_mastery: Mapped[float]
    n_attempts: Mapped[int]
    last_attempt_at: Mapped[datetime | None]
    last_attempt_id: Mapped[int | None] = mapped_column(BigId)
    last_question_id: Mapped[str | None] = mapped_column(Id)
    algo_version_id: Mapped[int] = mapped_column(BigId, ForeignKey(AlgoVersionRow.id))
    param_id: Mapped[int | None] = mapped_column(BigId)
    is_stale: Mapped[bool] = mapped_column(server_default=false())
    version: Mapped[int] = mapped_column(BigId, server_default=text("0"))
    updated_at: Mapped[datetime]


class SnapshotRow(Base):
    """Mastery at a time in the past; there is a row only where it changed since the row before.

    On PostgreSQL a trigger checks the references once per statement (docs/decisions/0202).
    """

    __tablename__ = "mastery_snapshot"
    __table_args__ = (
        UniqueConstraint("run_id", "user_id", "concept_id"),
        CheckConstraint("p_mastery >= 0 AND p_mastery <= 1", name="p_mastery_in_0_1"),
        Index("ix_mastery_snapshot_concept", "concept_id", "user_id", "snapshot_at", "id"),
        Index("ix_mastery_snapshot_user", "user_id", "snapshot_at"),
        *(
            ForeignKeyConstraint([name], [there]).ddl_if(dialect="sqlite")
            for name, there in (
                ("run_id", RunRow.run_id),
                ("param_id", SkillParamsRow.id),
                ("algo_version_id", AlgoVersionRow.id),
            )
        ),
        Index("ix_mastery_snapshot_at", "snapshot_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    snapshot_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(Id)
    concept_id: Mapped[str] = mapped_column(Id)
    p_mastery: Mapped[float]
    n_attempts: Mapped[int]
    param_id: Mapped[int | None] = mapped_column(BigId)
    algo_version_id: Mapped[int] = mapped_column(BigId)


class PromotionEventRow(Base):
    """One decision on one concept; append only."""

    __tablename__ = "bkt_promotion_event"
    __table_args__ = (
        UniqueConstraint("run_id", "concept_id"),
        CheckConstraint(_one_of("decision", DECISIONS), name="decision"),
        Index("ix_bkt_promotion_event_concept_id", "concept_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    run_id: Mapped[str | None] = mapped_column(String(64), ForeignKey(RunRow.run_id))
    concept_id: Mapped[str] = mapped_column(Id)
    algo_version_id: Mapped[int] = mapped_column(BigId, ForeignKey(AlgoVersionRow.id))
    decision: Mapped[str] = mapped_column(String(16))
    from_param_id: Mapped[int | None] = mapped_column(BigId, ForeignKey(SkillParamsRow.id))
    to_param_id: Mapped[int | None] = mapped_column(BigId, ForeignKey(SkillParamsRow.id))
    reasons: Mapped[list[Any]] = mapped_column(Json)
    actor: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


for _dialect, _statements in RULES.items():
    for _statement in _statements:
        event.listen(
            Base.metadata,
            "after_create",
            DDL(_statement).execute_if(dialect=_dialect),  # type: ignore[no-untyped-call] # SQLAlchemy's
        )
