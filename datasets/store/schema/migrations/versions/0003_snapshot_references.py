"""On PostgreSQL the references of snapshots are checked once per statement, not row by row."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Column of a snapshot, what it refers to, and the key's name.
REFERENCES = (
    ("run_id", "bkt_run", "run_id", "fk_mastery_snapshot_run_id"),
    ("param_id", "bkt_skill_params", "id", "fk_mastery_snapshot_param_id"),
    ("algo_version_id", "algo_versions", "id", "fk_mastery_snapshot_algo_version_id"),
)
RULES = (
    "CREATE FUNCTION mastery_snapshot_refers() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF EXISTS (SELECT FROM (SELECT DISTINCT run_id, param_id, algo_version_id FROM written) w "
    "LEFT JOIN bkt_run r ON r.run_id = w.run_id "
    "LEFT JOIN bkt_skill_params p ON p.id = w.param_id "
    "LEFT JOIN algo_versions v ON v.id = w.algo_version_id "
    "WHERE v.id IS NULL OR (w.run_id IS NOT NULL AND r.run_id IS NULL) "
    "OR (w.param_id IS NOT NULL AND p.id IS NULL)) "
    "THEN RAISE foreign_key_violation USING MESSAGE = "
    "'run_id, param_id and algo_version_id of a snapshot must be rows of their tables'; "
    "END IF; RETURN NULL; END $$",
    "CREATE TRIGGER mastery_snapshot_refers_insert AFTER INSERT ON mastery_snapshot "
    "REFERENCING NEW TABLE AS written "
    "FOR EACH STATEMENT EXECUTE FUNCTION mastery_snapshot_refers()",
    "CREATE TRIGGER mastery_snapshot_refers_update AFTER UPDATE ON mastery_snapshot "
    "REFERENCING NEW TABLE AS written "
    "FOR EACH STATEMENT EXECUTE FUNCTION mastery_snapshot_refers()",
    "CREATE FUNCTION bkt_rows_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE restrict_violation USING MESSAGE = "
    "'rows of ' || TG_TABLE_NAME || ' are history: never delete or renumber them'; "
    "END $$",
    "CREATE TRIGGER bkt_run_stays BEFORE DELETE OR UPDATE OF run_id OR TRUNCATE "
    "ON bkt_run FOR EACH STATEMENT EXECUTE FUNCTION bkt_rows_stay()",
    "CREATE TRIGGER algo_versions_stay BEFORE DELETE OR UPDATE OF id OR TRUNCATE "
    "ON algo_versions FOR EACH STATEMENT EXECUTE FUNCTION bkt_rows_stay()",
)
BACK = (
    "DROP TRIGGER algo_versions_stay ON algo_versions",
    "DROP TRIGGER bkt_run_stays ON bkt_run",
    "DROP FUNCTION bkt_rows_stay()",
    "DROP TRIGGER mastery_snapshot_refers_update ON mastery_snapshot",
    "DROP TRIGGER mastery_snapshot_refers_insert ON mastery_snapshot",
    "DROP FUNCTION mastery_snapshot_refers()",
)


def upgrade() -> None:
    if not on_postgresql():
        return  # there a key costs next to nothing
    for _, _, _, name in REFERENCES:
        op.drop_constraint(name, "mastery_snapshot", type_="foreignkey")
    for statement in RULES:
        op.execute(statement)


def downgrade() -> None:
    if not on_postgresql():
        return
    for statement in BACK:
        op.execute(statement)
    for column, table, key, name in REFERENCES:
        op.create_foreign_key(name, "mastery_snapshot", table, [column], [key])


def on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
