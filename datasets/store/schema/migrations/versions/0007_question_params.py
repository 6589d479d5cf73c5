"""The odds of questions: parameters of versions with questions, written with their row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bkt_question_params",
        sa.Column("param_id", BIG_ID, nullable=False),
        sa.Column("question_id", ID, nullable=False),
        sa.Column("odds", sa.Float(53), nullable=False),
        sa.Column("n_attempts", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("odds > 0", name="ck_bkt_question_params_odds_above_0"),
        sa.ForeignKeyConstraint(
            ["param_id"], ["bkt_skill_params.id"], name="fk_bkt_question_params_param_id"
        ),
        sa.PrimaryKeyConstraint("param_id", "question_id", name="pk_bkt_question_params"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("bkt_question_params")
