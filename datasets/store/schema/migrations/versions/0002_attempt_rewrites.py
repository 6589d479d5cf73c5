"""A trace of every attempt that was changed or deleted, and an index for incremental reads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ON_POSTGRESQL = (
    "ALTER TABLE attempt_rewrites ADD COLUMN xact_id xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE INDEX ix_attempts_xact_id ON attempts (xact_id)",
    "CREATE FUNCTION attempt_rewritten() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN INSERT INTO attempt_rewrites DEFAULT VALUES; RETURN NULL; END $$",
    "CREATE TRIGGER attempt_rewritten AFTER UPDATE OR DELETE OR TRUNCATE ON attempts "
    "FOR EACH STATEMENT EXECUTE FUNCTION attempt_rewritten()",
)
ON_SQLITE = tuple(
    f"CREATE TRIGGER attempt_{event.lower()} AFTER {event} ON attempts BEGIN "  # noqa: S608 - constants
    "DELETE FROM attempt_rewrites; INSERT INTO attempt_rewrites (id) VALUES (NULL); END"
    for event in ("UPDATE", "DELETE")
)


def upgrade() -> None:
    op.create_table(
        "attempt_rewrites",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_attempt_rewrites"),
        sqlite_autoincrement=True,
    )
    for statement in ON_POSTGRESQL if on_postgresql() else ON_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    if on_postgresql():
        op.execute("DROP TRIGGER attempt_rewritten ON attempts")
        op.execute("DROP FUNCTION attempt_rewritten()")
    else:
        op.execute("DROP TRIGGER attempt_update")
        op.execute("DROP TRIGGER attempt_delete")
    if on_postgresql():
        op.execute("DROP INDEX ix_attempts_xact_id")
    op.drop_table("attempt_rewrites")


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
