"""A decision `activated`: the parameters of another algorithm version came into force."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE, NAME = "bkt_promotion_event", "ck_bkt_promotion_event_decision"
BEFORE = ("promoted", "kept", "rejected", "skipped", "rolled_back", "released")


def upgrade() -> None:
    allow((*BEFORE, "activated"))


def downgrade() -> None:
    # The former release has no such word; its events tell which row came into force by `kept`.
    op.execute("UPDATE bkt_promotion_event SET decision = 'kept' WHERE decision = 'activated'")
    allow(BEFORE)


def allow(decisions: tuple[str, ...]) -> None:
    allowed = f"decision IN ({', '.join(map(repr, decisions))})"
    with op.batch_alter_table(TABLE, table_kwargs={"sqlite_autoincrement": True}) as table:
        table.drop_constraint(NAME, type_="check")
        table.create_check_constraint(NAME, allowed)
