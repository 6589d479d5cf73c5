"""What was known of a user when an attempt was written, and which rows are one attempt.

The columns are null in rows of earlier releases; `bkt stamp` fills them. On both databases the
table is not rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = {
    "attempt_code": sa.BigInteger(),
    "recent_outcomes": sa.BigInteger(),
    "n_before": sa.Integer(),
    "n_right_before": sa.Integer(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("attempts", sa.Column(name, kind, nullable=True))
    op.create_index("ix_attempts_moment", "attempts", ["user_id", "attempted_at"])
    unstamped = sa.text("recent_outcomes IS NULL")
    op.create_index(
        "ix_attempts_unstamped",
        "attempts",
        ["user_id"],
        postgresql_where=unstamped,
        sqlite_where=unstamped,
    )


def downgrade() -> None:
    op.drop_index("ix_attempts_unstamped", "attempts")
    op.drop_index("ix_attempts_moment", "attempts")
    for name in reversed(COLUMNS):
        op.drop_column("attempts", name)
