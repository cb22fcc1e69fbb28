
-- The guard. The schema prm is no member of the extension (a member schema would take every table with it on DROP ...
-- CASCADE), so anybody who may create schemas could have made it first. It must be empty, and must belong to a superuser,
-- to the caller or to the owner of the database. prm.adopt = on reconnects a model that outlived its extension, or restores
-- into a database of another owner; it counts only for a superuser and for the owner of the schema.
DO $prm_guard$
DECLARE
  schema_owner pg_catalog.oid;
  contents pg_catalog.int8;
  adopt pg_catalog.bool := pg_catalog.lower(coalesce(pg_catalog.current_setting('prm.adopt', true), ''))
                           OPERATOR(pg_catalog.=) ANY (ARRAY['on', 'true', 'yes', '1']);
  session_role pg_catalog.oid;
BEGIN
  SELECT n.nspowner INTO STRICT schema_owner FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'prm';
  SELECT r.oid INTO STRICT session_role FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) session_user;
  adopt := adopt AND (session_role OPERATOR(pg_catalog.=) schema_owner
                      OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) session_role AND r.rolsuper));
  IF NOT adopt THEN
    SELECT pg_catalog.count(*) INTO contents FROM pg_catalog.pg_depend d
    WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
      AND d.refobjid OPERATOR(pg_catalog.=) 'prm'::pg_catalog.regnamespace::pg_catalog.oid
      AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass;
    IF contents OPERATOR(pg_catalog.<>) 0::pg_catalog.int8 THEN
      RAISE EXCEPTION USING ERRCODE = '42P06', MESSAGE = 'schema "prm" already exists and is not empty',
        DETAIL = pg_catalog.format('The schema holds %s objects that are not part of the extension.', contents),
        HINT = 'If this is a prm model that outlived its extension, SET prm.adopt = on as its owner or a superuser and try again; '
               'otherwise look at what stands in the schema before you drop it.';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) schema_owner
                   AND (r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) current_user OR r.rolname OPERATOR(pg_catalog.=) session_user))
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_database b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
                       AND b.datdba OPERATOR(pg_catalog.=) schema_owner) THEN
      RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'schema "prm" belongs to a role that may not own the extension''s schema',
        DETAIL = pg_catalog.format('The owner is %s, who is neither a superuser, nor you, nor the owner of the database.', schema_owner::pg_catalog.regrole),
        HINT = 'ALTER SCHEMA prm OWNER TO the role that shall own the model, or SET prm.adopt = on as a superuser.';
    END IF;
  END IF;
END
$prm_guard$;
