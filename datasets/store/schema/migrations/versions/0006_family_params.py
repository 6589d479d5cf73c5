"""Parameters of versions beyond v2: forgetting, and weights of covariates."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "bkt_skill_params"
WEIGHTS = ("w_recent", "w_long", "w_share", "w_gap", "w_first")


def upgrade() -> None:
    # Written out: Alembic would copy the whole table on SQLite for the constraint.
    double = "DOUBLE PRECISION" if op.get_bind().dialect.name == "postgresql" else "FLOAT"
    op.execute(
        f"ALTER TABLE {TABLE} ADD COLUMN p_f {double} "
        f"CONSTRAINT ck_{TABLE}_p_f_in_0_1 CHECK (p_f >= 0 AND p_f < 1)"
    )
    for name in WEIGHTS:
        op.execute(f"ALTER TABLE {TABLE} ADD COLUMN {name} {double}")


def downgrade() -> None:
    # The former release replays four probabilities: rows of versions with more must not be
    # in force when it reads them, and stay as history of a version that it refuses to run.
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT ck_{TABLE}_p_f_in_0_1")
        for name in ("p_f", *WEIGHTS):
            op.execute(f"ALTER TABLE {TABLE} DROP COLUMN {name}")
    else:
        for name in WEIGHTS:
            op.execute(f"ALTER TABLE {TABLE} DROP COLUMN {name}")
        op.execute(f"ALTER TABLE {TABLE} DROP COLUMN p_f")
