-- Roles of the database: who may do what (PostgreSQL; SQLite has none).
--
-- Run it as a superuser, in the database, after every `bkt init`; repeating it is harmless:
--     psql --set ON_ERROR_STOP=1 --dbname bkt --file docs/roles.sql
-- It makes roles that cannot log in. Give them to accounts of your own:
--     CREATE ROLE night LOGIN PASSWORD '…' IN ROLE bkt_promotion;
--
-- bkt_migration   owns everything: `bkt init`
-- bkt_extraction  only reads: BKT_EXTRACTION_URL of a night, `bkt status`, dashboards
-- bkt_promotion   nights, backfills, recompute, rollback: never touches an attempt
-- bkt_service     `bkt serve`: takes attempts, changes no parameters, deletes nothing
-- bkt_import      `bkt import`, corrections included, and `bkt stamp`: deletes nothing
-- bkt_erasure     `bkt erase` and `bkt prune`: the only one that deletes
--
-- Nobody but the owner may change or delete an event, a correction or the settings of an
-- algorithm version.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['bkt_migration', 'bkt_extraction', 'bkt_promotion',
                                'bkt_service', 'bkt_import', 'bkt_erasure']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    -- Temporary tables are for those that write; nobody else makes anything here.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bkt_migration, bkt_extraction, '
                   'bkt_promotion, bkt_service, bkt_import, bkt_erasure', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO bkt_migration, bkt_promotion, '
                   'bkt_service, bkt_import, bkt_erasure', current_database());
    -- What `bkt init` made belongs to the migration, whoever ran it.
    FOR name IN SELECT format('TABLE %I.%I', schemaname, tablename) FROM pg_tables
                WHERE schemaname = current_schema()
                UNION ALL
                SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc p
                WHERE p.pronamespace = current_schema()::regnamespace
                  AND NOT EXISTS (SELECT FROM pg_depend d
                                  WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('ALTER %s OWNER TO bkt_migration', name);
    END LOOP;
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT CREATE, USAGE ON SCHEMA %I TO bkt_migration', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO bkt_extraction, bkt_promotion, bkt_service, '
                   'bkt_import, bkt_erasure', current_schema());
    -- From nothing, so that a right that is no longer named here is gone.
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC, bkt_extraction, '
                   'bkt_promotion, bkt_service, bkt_import, bkt_erasure', current_schema());
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM PUBLIC, bkt_extraction, '
                   'bkt_promotion, bkt_service, bkt_import, bkt_erasure', current_schema());
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO bkt_extraction, '
                   'bkt_promotion, bkt_service, bkt_import, bkt_erasure', current_schema());
END $$;

-- A night switches parameters, writes their events, sweeps states and adds snapshots.
GRANT INSERT ON bkt_run, bkt_skill_params, bkt_promotion_event, mastery_snapshot
    TO bkt_promotion;
GRANT UPDATE ON bkt_run TO bkt_promotion;
GRANT UPDATE (is_active) ON bkt_skill_params TO bkt_promotion;
GRANT UPDATE (status) ON algo_versions TO bkt_promotion;
GRANT UPDATE ON bkt_user_skill_state TO bkt_promotion;
GRANT USAGE ON SEQUENCE bkt_skill_params_id_seq, bkt_promotion_event_id_seq,
    mastery_snapshot_id_seq TO bkt_promotion;

-- The service takes one attempt after the other, with its state.
GRANT INSERT ON attempts, bkt_user_skill_state, mastery_snapshot TO bkt_service;
GRANT UPDATE ON bkt_user_skill_state TO bkt_service;
GRANT USAGE, SELECT ON SEQUENCE attempts_id_seq TO bkt_service;
GRANT USAGE ON SEQUENCE mastery_snapshot_id_seq TO bkt_service;

-- Imports write attempts and mark states; a correction replaces `correct`, and is logged.
GRANT INSERT ON attempts, attempt_correction, attempt_rewrites, bkt_user_skill_state
    TO bkt_import;
GRANT UPDATE (correct, xact_id) ON attempts TO bkt_import;
GRANT UPDATE ON bkt_user_skill_state TO bkt_import;
GRANT USAGE, SELECT ON SEQUENCE attempts_id_seq TO bkt_import;
GRANT USAGE ON SEQUENCE attempt_correction_id_seq, attempt_rewrites_id_seq TO bkt_import;
-- `bkt stamp` fills what rows of earlier releases lack.
GRANT UPDATE (attempt_code, recent_outcomes, n_before, n_right_before) ON attempts
    TO bkt_import;
-- An import by query is a run, whose row says how far it came.
GRANT INSERT ON bkt_run TO bkt_import;
GRANT UPDATE (status, finished_at, manifest) ON bkt_run TO bkt_import;

-- An erasure sets a tombstone and deletes rows; retention thins snapshots.
GRANT INSERT, DELETE ON erased_user TO bkt_erasure;
GRANT DELETE ON attempts, bkt_user_skill_state, mastery_snapshot TO bkt_erasure;
GRANT INSERT ON attempt_rewrites TO bkt_erasure;
GRANT USAGE ON SEQUENCE attempt_rewrites_id_seq TO bkt_erasure;
