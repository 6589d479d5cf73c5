"""All tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
DOUBLE = sa.Float(53)
SQLITE_MOMENT = (
    "-".join(["[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2])
    + " "
    + ":".join(["[0-9]" * 2] * 3)
    + "."
    + "[0-9]" * 6
)

PARAMS_RULES_POSTGRESQL = (
    "CREATE FUNCTION bkt_params_exist() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF EXISTS (SELECT FROM (SELECT DISTINCT param_id FROM written "
    "WHERE param_id IS NOT NULL) w "
    "WHERE NOT EXISTS (SELECT FROM bkt_skill_params p WHERE p.id = w.param_id)) "
    "THEN RAISE foreign_key_violation USING "
    "MESSAGE = 'param_id must be a row of bkt_skill_params'; "
    "END IF; RETURN NULL; END $$",
    "CREATE TRIGGER bkt_params_exist_insert AFTER INSERT ON bkt_user_skill_state "
    "REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_exist()",
    "CREATE TRIGGER bkt_params_exist_update AFTER UPDATE ON bkt_user_skill_state "
    "REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_exist()",
    "CREATE FUNCTION bkt_params_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE restrict_violation USING MESSAGE = "
    "'rows of bkt_skill_params are history: deactivate them, never delete or renumber'; "
    "END $$",
    "CREATE TRIGGER bkt_params_stay BEFORE DELETE OR UPDATE OF id OR TRUNCATE "
    "ON bkt_skill_params FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_stay()",
)
PARAMS_RULES_SQLITE = (
    "CREATE TRIGGER bkt_params_stay BEFORE DELETE ON bkt_skill_params BEGIN "
    "SELECT RAISE(ABORT, 'rows of bkt_skill_params are history: never delete them'); END",
)


def upgrade() -> None:
    op.create_table(
        "algo_versions",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("algo_key", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_algo_versions"),
        sa.UniqueConstraint("algo_key", "version", name="uq_algo_versions_algo_key_version"),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'CANDIDATE', 'RETIRED')", name="ck_algo_versions_status"
        ),
        sqlite_autoincrement=True,
    )
    partial_unique(
        "uq_algo_versions_active", "algo_versions", ["algo_key"], "status = 'ACTIVE'"
    )
    op.create_table(
        "algo_params",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("algo_version_id", BIG_ID, nullable=False),
        sa.Column("params", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_algo_params"),
        sa.UniqueConstraint("algo_version_id", name="uq_algo_params_algo_version_id"),
        sa.ForeignKeyConstraint(
            ["algo_version_id"], ["algo_versions.id"], name="fk_algo_params_algo_version_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "bkt_run",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("identity", sa.String(64), nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("manifest", JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_bkt_run"),
        sa.CheckConstraint(
            "status IN ('running', 'done', 'unchanged', 'empty', 'failed', 'abandoned')",
            name="ck_bkt_run_status",
        ),
    )
    op.create_index("ix_bkt_run_status", "bkt_run", ["status", "identity"])
    create_attempts()
    create_skill_params()
    create_states()
    for statement in PARAMS_RULES_POSTGRESQL if on_postgresql() else PARAMS_RULES_SQLITE:
        op.execute(statement)


def create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(255), nullable=False, server_default=""),
        sa.Column("idempotency_key", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("question_id", ID, nullable=True),
        sa.Column("concept_id", ID, nullable=True),
        sa.Column("correct", sa.SmallInteger(), nullable=False),
        sa.Column("attempted_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("idempotency_key", name="uq_attempts_idempotency_key"),
        sa.CheckConstraint("correct IN (0, 1)", name="ck_attempts_correct_is_0_or_1"),
        sa.CheckConstraint("length(user_id) <= 255", name="ck_attempts_user_id_length"),
        sa.CheckConstraint("length(concept_id) <= 255", name="ck_attempts_concept_id_length"),
        sa.CheckConstraint(
            "length(idempotency_key) <= 255", name="ck_attempts_idempotency_key_length"
        ),
        *finite("attempts", "attempted_at"),
        *finite("attempts", "created_at"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_attempts_key", "attempts", ["user_id", "concept_id", "attempted_at", "id"]
    )
    if on_postgresql():
        op.execute(
            "ALTER TABLE attempts ADD COLUMN xact_id xid8 NOT NULL DEFAULT pg_current_xact_id()"
        )
    op.create_table(
        "attempt_correction",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("attempt_id", BIG_ID, nullable=False),
        sa.Column("old_correct", sa.SmallInteger(), nullable=False),
        sa.Column("new_correct", sa.SmallInteger(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempt_correction"),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempts.id"],
            name="fk_attempt_correction_attempt_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "old_correct IN (0, 1)", name="ck_attempt_correction_old_correct_is_0_or_1"
        ),
        sa.CheckConstraint(
            "new_correct IN (0, 1)", name="ck_attempt_correction_new_correct_is_0_or_1"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempt_correction_attempt_id", "attempt_correction", ["attempt_id"])
    op.create_table(
        "question_concepts",
        sa.Column("question_id", ID, nullable=False),
        sa.Column("concept_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("question_id", "concept_id", name="pk_question_concepts"),
    )
    op.create_table(
        "erased_user",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_erased_user"),
    )


def create_skill_params() -> None:
    op.create_table(
        "bkt_skill_params",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("concept_id", ID, nullable=False),
        sa.Column("algo_version_id", BIG_ID, nullable=False),
        sa.Column("p_l0", DOUBLE, nullable=False),
        sa.Column("p_t", DOUBLE, nullable=False),
        sa.Column("p_s", DOUBLE, nullable=False),
        sa.Column("p_g", DOUBLE, nullable=False),
        sa.Column("metrics", JSON, nullable=False),
        sa.Column("n_attempts", BIG_ID, nullable=False),
        sa.Column("n_users", BIG_ID, nullable=False),
        sa.Column("fitted_at", MOMENT, nullable=False),
        sa.Column("fitted_on_data_from", MOMENT, nullable=True),
        sa.Column("fitted_on_data_to", MOMENT, nullable=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bkt_skill_params"),
        sa.ForeignKeyConstraint(
            ["algo_version_id"],
            ["algo_versions.id"],
            name="fk_bkt_skill_params_algo_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["bkt_run.run_id"], name="fk_bkt_skill_params_run_id"
        ),
        sa.UniqueConstraint(
            "run_id", "concept_id", name="uq_bkt_skill_params_run_id_concept_id"
        ),
        sa.CheckConstraint("p_l0 > 0 AND p_l0 < 1", name="ck_bkt_skill_params_p_l0_in_0_1"),
        sa.CheckConstraint("p_t > 0 AND p_t < 1", name="ck_bkt_skill_params_p_t_in_0_1"),
        sa.CheckConstraint("p_s > 0 AND p_s < 1", name="ck_bkt_skill_params_p_s_in_0_1"),
        sa.CheckConstraint("p_g > 0 AND p_g < 1", name="ck_bkt_skill_params_p_g_in_0_1"),
        sa.CheckConstraint(
            "p_s + p_g < 1", name="ck_bkt_skill_params_slip_and_guess_leave_room"
        ),
        sqlite_autoincrement=True,
    )
    partial_unique(
        "uq_bkt_skill_params_active",
        "bkt_skill_params",
        ["concept_id", "algo_version_id"],
        "is_active",
    )
    op.create_table(
        "bkt_promotion_event",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("concept_id", ID, nullable=False),
        sa.Column("algo_version_id", BIG_ID, nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("from_param_id", BIG_ID, nullable=True),
        sa.Column("to_param_id", BIG_ID, nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bkt_promotion_event"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["bkt_run.run_id"], name="fk_bkt_promotion_event_run_id"
        ),
        sa.ForeignKeyConstraint(
            ["algo_version_id"],
            ["algo_versions.id"],
            name="fk_bkt_promotion_event_algo_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["from_param_id"],
            ["bkt_skill_params.id"],
            name="fk_bkt_promotion_event_from_param_id",
        ),
        sa.ForeignKeyConstraint(
            ["to_param_id"], ["bkt_skill_params.id"], name="fk_bkt_promotion_event_to_param_id"
        ),
        sa.UniqueConstraint(
            "run_id", "concept_id", name="uq_bkt_promotion_event_run_id_concept_id"
        ),
        sa.CheckConstraint(
            "decision IN ('promoted', 'kept', 'rejected', 'skipped', 'rolled_back', 'released')",
            name="ck_bkt_promotion_event_decision",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_bkt_promotion_event_concept_id", "bkt_promotion_event", ["concept_id", "id"]
    )


def create_states() -> None:
    op.create_table(
        "bkt_user_skill_state",
        sa.Column("concept_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("p_mastery", DOUBLE, nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("last_attempt_at", MOMENT, nullable=True),
        sa.Column("last_attempt_id", BIG_ID, nullable=True),
        sa.Column("last_question_id", ID, nullable=True),
        sa.Column("algo_version_id", BIG_ID, nullable=False),
        sa.Column("param_id", BIG_ID, nullable=True),
        sa.Column("is_stale", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", BIG_ID, nullable=False, server_default=sa.text("0")),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("concept_id", "user_id", name="pk_bkt_user_skill_state"),
        sa.ForeignKeyConstraint(
            ["algo_version_id"],
            ["algo_versions.id"],
            name="fk_bkt_user_skill_state_algo_version_id",
        ),
        sa.CheckConstraint(
            "p_mastery >= 0 AND p_mastery <= 1", name="ck_bkt_user_skill_state_p_mastery_in_0_1"
        ),
        sa.CheckConstraint(
            "n_attempts >= 0", name="ck_bkt_user_skill_state_n_attempts_not_negative"
        ),
        *params_key(),
        postgresql_with={"fillfactor": 50},
        sqlite_with_rowid=False,
    )
    op.create_index("ix_bkt_user_skill_state_user_id", "bkt_user_skill_state", ["user_id"])
    op.create_table(
        "mastery_snapshot",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("snapshot_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("concept_id", ID, nullable=False),
        sa.Column("p_mastery", DOUBLE, nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("param_id", BIG_ID, nullable=True),
        sa.Column("algo_version_id", BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mastery_snapshot"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["bkt_run.run_id"], name="fk_mastery_snapshot_run_id"
        ),
        sa.ForeignKeyConstraint(
            ["param_id"], ["bkt_skill_params.id"], name="fk_mastery_snapshot_param_id"
        ),
        sa.ForeignKeyConstraint(
            ["algo_version_id"],
            ["algo_versions.id"],
            name="fk_mastery_snapshot_algo_version_id",
        ),
        sa.UniqueConstraint(
            "run_id",
            "user_id",
            "concept_id",
            name="uq_mastery_snapshot_run_id_user_id_concept_id",
        ),
        sa.CheckConstraint(
            "p_mastery >= 0 AND p_mastery <= 1", name="ck_mastery_snapshot_p_mastery_in_0_1"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_mastery_snapshot_concept",
        "mastery_snapshot",
        ["concept_id", "user_id", "snapshot_at", "id"],
    )
    op.create_index("ix_mastery_snapshot_user", "mastery_snapshot", ["user_id", "snapshot_at"])
    op.create_index("ix_mastery_snapshot_at", "mastery_snapshot", ["snapshot_at"])


def downgrade() -> None:
    for table in (
        "mastery_snapshot",
        "bkt_user_skill_state",
        "bkt_promotion_event",
        "bkt_skill_params",
        "erased_user",
        "question_concepts",
        "attempt_correction",
        "attempts",
        "bkt_run",
        "algo_params",
        "algo_versions",
    ):
        op.drop_table(table)
    if on_postgresql():
        op.execute("DROP FUNCTION bkt_params_exist()")
        op.execute("DROP FUNCTION bkt_params_stay()")


def on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def params_key() -> list[sa.ForeignKeyConstraint]:
    """On PostgreSQL a rule of `PARAMS_RULES_POSTGRESQL` stands for this key."""
    if on_postgresql():
        return []
    return [
        sa.ForeignKeyConstraint(
            ["param_id"], ["bkt_skill_params.id"], name="fk_bkt_user_skill_state_param_id"
        )
    ]


def finite(table: str, column: str) -> list[sa.CheckConstraint]:
    rule = f"isfinite({column})" if on_postgresql() else f"{column} GLOB '{SQLITE_MOMENT}'"
    return [sa.CheckConstraint(rule, name=f"ck_{table}_{column}_is_finite")]


def partial_unique(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=True,
        postgresql_where=sa.text(where),
        sqlite_where=sa.text(where),
    )
