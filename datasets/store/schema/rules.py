"""Rules of the database beyond constraints: triggers, and columns that only PostgreSQL has."""

from __future__ import annotations

#: Statements that are executed after the tables are created, by dialect.
RULES: dict[str, tuple[str, ...]] = {
    "postgresql": (
        # The transaction that wrote an attempt; an incremental extraction finds new rows by it.
        "ALTER TABLE attempts ADD COLUMN xact_id xid8 NOT NULL DEFAULT pg_current_xact_id()",
        # Every change or deletion of stored attempts is recorded.
        "ALTER TABLE attempt_rewrites "
        "ADD COLUMN xact_id xid8 NOT NULL DEFAULT pg_current_xact_id()",
        "CREATE INDEX ix_attempts_xact_id ON attempts (xact_id)",
        "CREATE FUNCTION attempt_rewritten() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO attempt_rewrites DEFAULT VALUES; RETURN NULL; END $$",
        "CREATE TRIGGER attempt_rewritten AFTER UPDATE OR DELETE OR TRUNCATE ON attempts "
        "FOR EACH STATEMENT EXECUTE FUNCTION attempt_rewritten()",
        # The foreign key of a state's param_id, checked once per statement: checking row by row
        # took 45 % of a sweep. Rows of parameters are never deleted, so it stays valid.
        "CREATE FUNCTION bkt_params_exist() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF EXISTS (SELECT FROM (SELECT DISTINCT param_id FROM written "
        "WHERE param_id IS NOT NULL) w "
        "WHERE NOT EXISTS (SELECT FROM bkt_skill_params p WHERE p.id = w.param_id)) "
        "THEN RAISE foreign_key_violation USING "
        "MESSAGE = 'param_id must be a row of bkt_skill_params'; "
        "END IF; RETURN NULL; END $$",
        "CREATE TRIGGER bkt_params_exist_insert AFTER INSERT ON bkt_user_skill_state "
        "REFERENCING NEW TABLE AS written "
        "FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_exist()",
        "CREATE TRIGGER bkt_params_exist_update AFTER UPDATE ON bkt_user_skill_state "
        "REFERENCING NEW TABLE AS written "
        "FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_exist()",
        "CREATE FUNCTION bkt_params_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE restrict_violation USING MESSAGE = "
        "'rows of bkt_skill_params are history: deactivate them, never delete or renumber'; "
        "END $$",
        "CREATE TRIGGER bkt_params_stay BEFORE DELETE OR UPDATE OF id OR TRUNCATE "
        "ON bkt_skill_params FOR EACH STATEMENT EXECUTE FUNCTION bkt_params_stay()",
        # The foreign keys of a snapshot, likewise: row by row they took half of the write time.
        "CREATE FUNCTION mastery_snapshot_refers() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF EXISTS (SELECT FROM "
        "(SELECT DISTINCT run_id, param_id, algo_version_id FROM written) w "
        "LEFT JOIN bkt_run r ON r.run_id = w.run_id "
        "LEFT JOIN bkt_skill_params p ON p.id = w.param_id "
        "LEFT JOIN algo_versions v ON v.id = w.algo_version_id "
        "WHERE v.id IS NULL OR (w.run_id IS NOT NULL AND r.run_id IS NULL) "
        "OR (w.param_id IS NOT NULL AND p.id IS NULL)) "
        "THEN RAISE foreign_key_violation USING MESSAGE = "
        "'run_id, param_id and algo_version_id of a snapshot must be rows of their tables'; "
        "END IF; RETURN NULL; END $$",
        *(
            f"CREATE TRIGGER mastery_snapshot_refers_{change.lower()} AFTER {change} "
            "ON mastery_snapshot REFERENCING NEW TABLE AS written "
            "FOR EACH STATEMENT EXECUTE FUNCTION mastery_snapshot_refers()"
            for change in ("INSERT", "UPDATE")
        ),
        "CREATE FUNCTION bkt_rows_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE restrict_violation USING MESSAGE = "
        "'rows of ' || TG_TABLE_NAME || ' are history: never delete or renumber them'; "
        "END $$",
        "CREATE TRIGGER bkt_run_stays BEFORE DELETE OR UPDATE OF run_id OR TRUNCATE "
        "ON bkt_run FOR EACH STATEMENT EXECUTE FUNCTION bkt_rows_stay()",
        "CREATE TRIGGER algo_versions_stay BEFORE DELETE OR UPDATE OF id OR TRUNCATE "
        "ON algo_versions FOR EACH STATEMENT EXECUTE FUNCTION bkt_rows_stay()",
    ),
    "sqlite": (
        *(
            f"CREATE TRIGGER attempt_{change.lower()} AFTER {change} ON attempts BEGIN "  # noqa: S608 - constants
            "DELETE FROM attempt_rewrites; INSERT INTO attempt_rewrites (id) VALUES (NULL); END"
            for change in ("UPDATE", "DELETE")
        ),
        "CREATE TRIGGER bkt_params_stay BEFORE DELETE ON bkt_skill_params BEGIN "
        "SELECT RAISE(ABORT, 'rows of bkt_skill_params are history: never delete them'); END",
    ),
}
