
-- Installation: the model is made by install(), not by this script, so that it belongs to its owner and survives the code.

CREATE FUNCTION prm._ready() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_ready';
COMMENT ON FUNCTION prm._ready() IS
'Checks once per session that library, extension and model fit together. Error 55000 with the statement that mends it.';

CREATE FUNCTION prm._library_version() RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_library_version';
COMMENT ON FUNCTION prm._library_version() IS 'The version that the loaded library was built from.';

CREATE FUNCTION prm._library_steps() RETURNS integer
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_library_steps';
COMMENT ON FUNCTION prm._library_steps() IS 'The number of steps of the model that the loaded library works with.';

CREATE FUNCTION prm._check_installer() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_check_installer';
COMMENT ON FUNCTION prm._check_installer() IS
'Refuses anybody but the owner of schema prm (42501), and any call inside an extension''s script (55000).';

CREATE TYPE prm.version_row AS (component text, version text, detail text);
COMMENT ON TYPE prm.version_row IS 'A row of version(): component (library, extension, model, server), its version, and a detail.';

CREATE FUNCTION prm.version() RETURNS SETOF prm.version_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  steps integer;
  installed timestamptz;
BEGIN
  RETURN NEXT ROW('library', prm._library_version(), format('needs step %s of the model', prm._library_steps()))::prm.version_row;
  RETURN QUERY SELECT 'extension', e.extversion, NULL::text FROM pg_extension e WHERE e.extname = 'prm';
  IF to_regclass('prm.model') IS NULL THEN
    RETURN NEXT ROW('model', NULL, 'not installed: run SELECT prm.install() as the owner of schema prm')::prm.version_row;
  ELSE
    SELECT max(m.step), max(m.applied_at) INTO steps, installed FROM prm.model m;
    RETURN QUERY SELECT 'model', m.version, format('step %s, last changed %s', steps, installed)
      FROM prm.model m WHERE m.step = 0;
  END IF;
  RETURN NEXT ROW('server', current_setting('server_version'), NULL)::prm.version_row;
END
$prm$;
COMMENT ON FUNCTION prm.version() IS 'The versions of the library, the extension, the model and the server, a row each.';

CREATE FUNCTION prm._extension_identity() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT e.oid::text FROM pg_extension e WHERE e.extname = 'prm' $prm$;
COMMENT ON FUNCTION prm._extension_identity() IS
'Differs for each CREATE EXTENSION: what DROP EXTENSION ... CASCADE took away is known to be missing by it.';

CREATE FUNCTION prm._require_btree_gist() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  home text;
BEGIN
  IF EXISTS (SELECT 1 FROM pg_extension e WHERE e.extname = 'btree_gist') THEN
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_available_extensions a WHERE a.name = 'btree_gist') THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'the contrib module btree_gist is not available on this server',
      DETAIL = 'prm keeps validity ranges apart with exclusion constraints, which need it.',
      HINT = 'Install the package with PostgreSQL''s contrib modules and run SELECT prm.install() again.';
  END IF;
  -- Not schema prm: it must be empty when a dump is restored, and its contents are prm's own.
  SELECT n.nspname::text INTO home FROM pg_namespace n
    WHERE n.nspname <> 'prm' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'CREATE')
    ORDER BY n.nspname <> 'public', n.nspname LIMIT 1;
  IF home IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'there is no schema in which you may create the extension btree_gist',
      DETAIL = 'prm needs btree_gist, which is not installed in this database.',
      HINT = 'Let the owner of the database run CREATE EXTENSION btree_gist, then SELECT prm.install() again.';
  END IF;
  EXECUTE format('CREATE EXTENSION btree_gist WITH SCHEMA %I', home);
END
$prm$;
COMMENT ON FUNCTION prm._require_btree_gist() IS 'Creates the trusted contrib module btree_gist where it is missing. Errors: 55000 not on the server, 42501 no schema to put it in.';

CREATE TYPE prm._model_object AS (kind text, relation text, name text);
COMMENT ON TYPE prm._model_object IS 'An object that the text of the model makes: kind (table, index, view, function, trigger, policy, constraint, default), the table it stands on, its name.';

CREATE FUNCTION prm._model_objects() RETURNS SETOF prm._model_object
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
BEGIN
  -- The embedded text is the only list of what there must be, so it is read, not repeated. Comments and bodies of nested
  -- functions say nothing about objects and are taken out first.
  RETURN QUERY
  WITH source AS (
    SELECT regexp_replace(regexp_replace(p.prosrc, '\$prm\$([^$]|\$[^p])*\$prm\$', '', 'g'), '--[^\n]*', '', 'g') AS body
    FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace
      AND (p.proname = '_defs' OR (p.proname ~ '^_step_[0-9]{4}$' AND substr(p.proname, 7)::integer <= prm._library_steps()))
  ), statement AS (
    SELECT m.found[1] AS body FROM source s CROSS JOIN LATERAL regexp_matches(s.body, '[\n;]\s*((?:CREATE|ALTER TABLE)\M[^;]*)(?=;)', 'g') AS m(found)
  ), part AS (
    SELECT regexp_match(s.body, '^CREATE (?:OR REPLACE )?(?:UNIQUE )?(TABLE|INDEX|VIEW|FUNCTION)\s+(?:IF NOT EXISTS\s+)?(?:prm\.)?(\w+)') AS plain,
           regexp_match(s.body, '^CREATE (?:OR REPLACE )?(?:CONSTRAINT )?(TRIGGER|POLICY)\s+(\w+)') AS attached,
           substring(s.body FROM '\sON\s+prm\.(\w+)') AS stands_on,
           regexp_match(s.body, '^ALTER TABLE\s+(?:ONLY\s+)?prm\.(\w+)\s+ADD CONSTRAINT\s+(\w+)') AS added,
           regexp_match(s.body, '^ALTER TABLE\s+(?:ONLY\s+)?prm\.(\w+)\s+ALTER (?:COLUMN\s+)?(\w+)\s+SET DEFAULT') AS preset
    FROM statement s
  )
  SELECT lower(p.plain[1]), NULL::text, p.plain[2] FROM part p WHERE p.plain IS NOT NULL
  UNION SELECT lower(p.attached[1]), p.stands_on, p.attached[2] FROM part p WHERE p.attached IS NOT NULL
  UNION SELECT 'constraint', p.added[1], p.added[2] FROM part p WHERE p.added IS NOT NULL
  UNION SELECT 'default', p.preset[1], p.preset[2] FROM part p WHERE p.preset IS NOT NULL
  UNION SELECT 'default', c.relname::text, 'program_id' FROM pg_class c
    WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'program'
      AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'program_id');
END
$prm$;
COMMENT ON FUNCTION prm._model_objects() IS 'The objects that the model consists of, read from its embedded text. For install() and check().';

CREATE FUNCTION prm._missing_objects() RETURNS SETOF prm._model_object
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT o.kind, o.relation, o.name FROM prm._model_objects() o
  LEFT JOIN pg_class t ON t.relnamespace = 'prm'::regnamespace AND t.relname = o.relation
  WHERE NOT CASE o.kind
    WHEN 'function' THEN EXISTS (SELECT 1 FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace AND p.proname = o.name)
    WHEN 'trigger' THEN EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgname = o.name)
    WHEN 'policy' THEN EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = o.name)
    WHEN 'constraint' THEN EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conrelid = t.oid AND c.conname = o.name)
    WHEN 'default' THEN EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = o.name AND a.atthasdef)
    ELSE EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relname = o.name)
  END;
END
$prm$;
COMMENT ON FUNCTION prm._missing_objects() IS 'What the model should consist of and is not there. For install() and check().';

CREATE FUNCTION prm._index_step(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
  SELECT min(p.proname::text) FROM pg_proc p
  WHERE p.pronamespace = 'prm'::regnamespace AND p.proname ~ '^_step_' AND p.prosrc ~ ('INDEX ' || _index_step.name || '\M')
$prm$;
COMMENT ON FUNCTION prm._index_step(text) IS 'The step that made an index, which does not run again; NULL for an index of the re-creatable part, which install() puts back.';

CREATE FUNCTION prm.install() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $prm$
#variable_conflict use_column
DECLARE
  next_step record;
  newest integer;
  the_fingerprint text;
BEGIN
  PERFORM prm._check_installer();
  PERFORM pg_advisory_xact_lock(7239211, 1);
  IF NOT EXISTS (SELECT 1 FROM pg_extension e WHERE e.extname = 'prm' AND e.extversion = prm._library_version()) THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('prm library is version %s but extension "prm" is another version', prm._library_version()),
      DETAIL = 'Code of one release would install the model of another.',
      HINT = 'Reconnect if this session is older than the upgrade; otherwise run ALTER EXTENSION prm UPDATE.';
  END IF;
  PERFORM prm._require_btree_gist();

  IF to_regclass('prm.model') IS NULL THEN
    CREATE TABLE prm.model (
      step integer PRIMARY KEY,
      name text NOT NULL,
      fingerprint text NOT NULL,
      version text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
  END IF;
  SELECT max(m.step) INTO newest FROM prm.model m;
  IF newest > prm._library_steps() THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('the prm model is at step %s but this code knows only %s steps', newest, prm._library_steps()),
      DETAIL = 'The tables were made by a newer release; older code cannot take them back.',
      HINT = 'Install the newer package, run ALTER EXTENSION prm UPDATE, and reconnect.';
  END IF;

  FOR next_step IN
    SELECT substr(p.proname, 7)::integer AS number, p.proname AS name, md5(p.prosrc) AS fingerprint
    FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace AND p.proname ~ '^_step_[0-9]{4}$'
      AND NOT EXISTS (SELECT 1 FROM prm.model m WHERE m.step = substr(p.proname, 7)::integer)
    ORDER BY 1
  LOOP
    EXECUTE format('SELECT prm.%I()', next_step.name);
    INSERT INTO prm.model (step, name, fingerprint, version)
      VALUES (next_step.number, next_step.name, next_step.fingerprint, prm._library_version());
  END LOOP;

  SELECT md5(p.prosrc) || ' ' || prm._extension_identity() INTO the_fingerprint
    FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace AND p.proname = '_defs';
  IF NOT EXISTS (SELECT 1 FROM prm.model m WHERE m.step = 0 AND m.fingerprint = the_fingerprint)
     OR EXISTS (SELECT 1 FROM prm._missing_objects() o WHERE o.kind NOT IN ('table', 'index')
                OR (o.kind = 'index' AND prm._index_step(o.name) IS NULL)) THEN
    PERFORM prm._defs();
    INSERT INTO prm.model (step, name, fingerprint, version) VALUES (0, '_defs', the_fingerprint, prm._library_version())
      ON CONFLICT (step) DO UPDATE SET fingerprint = excluded.fingerprint, version = excluded.version, applied_at = clock_timestamp();
  END IF;
  UPDATE prm.model SET version = prm._library_version() WHERE step = 0 AND version <> prm._library_version();
  RETURN prm._library_version();
END
$prm$;
COMMENT ON FUNCTION prm.install() IS
'Creates the model (tables, views, triggers, policies) in schema prm, or migrates it after ALTER EXTENSION prm UPDATE, and puts back views, triggers, defaults and policies that are missing; returns its version. Safe to run again at any time. Only for the owner of schema prm (42501), never inside an extension''s script (55000).';

CREATE FUNCTION prm.uninstall(confirmation text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $prm$
#variable_conflict use_column
DECLARE
  the_foreigners text;
  the_tables text;
  the_table_count bigint;
  the_view_count bigint := 0;
  the_function_count bigint := 0;
  the_rest text;
  progress boolean;
  thing record;
BEGIN
  PERFORM prm._check_installer();
  IF uninstall.confirmation IS DISTINCT FROM 'drop all prm data' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the model is not dropped without its confirmation',
      DETAIL = 'uninstall() drops every table of schema prm with all partners, deals and ledger entries.',
      HINT = 'After a backup, run SELECT prm.uninstall(''drop all prm data'').';
  END IF;
  PERFORM pg_advisory_xact_lock(7239211, 1);

  -- Objects of others that need the model would have to go with it: those outside the schema that depend on something in it,
  -- and those inside that belong to another role.
  WITH thing AS (
    SELECT 'pg_class'::regclass AS class, c.oid, c.relowner AS owner FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind <> 'c'
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner FROM pg_type t WHERE t.typnamespace = 'prm'::regnamespace
  ), model AS (
    SELECT t.class, t.oid, t.owner FROM thing t
    -- The array of a member type is a member only by way of its element.
    WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = t.class AND d.deptype = 'e'
                      AND d.objid IN (t.oid, (SELECT y.typelem FROM pg_type y WHERE t.class = 'pg_type'::regclass AND y.oid = t.oid)))
  ), dependent AS (
    SELECT d.classid, d.objid, d.objsubid,
      -- Rules, triggers, constraints, defaults and policies stand on a relation.
      coalesce((SELECT w.ev_class FROM pg_rewrite w WHERE d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid),
               (SELECT g.tgrelid FROM pg_trigger g WHERE d.classid = 'pg_trigger'::regclass AND g.oid = d.objid),
               (SELECT c.conrelid FROM pg_constraint c WHERE d.classid = 'pg_constraint'::regclass AND c.oid = d.objid),
               (SELECT a.adrelid FROM pg_attrdef a WHERE d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid),
               (SELECT p.polrelid FROM pg_policy p WHERE d.classid = 'pg_policy'::regclass AND p.oid = d.objid)) AS stands_on
    FROM pg_depend d
    WHERE d.deptype = 'n'
      AND (EXISTS (SELECT 1 FROM model m WHERE m.class = d.refclassid AND m.oid = d.refobjid)
           -- A trigger on a table of the user's (attach_machine) calls a function of the code, but works on the model.
           OR (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT 1 FROM thing t WHERE t.class = d.refclassid AND t.oid = d.refobjid)))
  ), foreigner AS (
    SELECT CASE WHEN d.classid = 'pg_rewrite'::regclass THEN pg_describe_object('pg_class'::regclass, d.stands_on, 0)
                ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END AS name
    FROM dependent d
    WHERE NOT EXISTS (SELECT 1 FROM model m WHERE (d.stands_on IS NULL AND m.class = d.classid AND m.oid = d.objid)
                                               OR (m.class = 'pg_class'::regclass AND m.oid = d.stands_on))
    UNION
    SELECT pg_describe_object(m.class, m.oid, 0) || ' of role ' || m.owner::regrole FROM model m
    WHERE m.owner <> current_user::regrole::oid AND m.class <> 'pg_type'::regclass
  )
  SELECT string_agg(f.name, ', ' ORDER BY f.name) INTO the_foreigners FROM foreigner f;
  IF the_foreigners IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '2BP01', MESSAGE = 'objects that are not part of the prm model depend on it',
      DETAIL = format('They are: %s.', the_foreigners),
      HINT = 'Drop or change them first (prm.detach_machine() for tables with a machine); uninstall() never drops what is not its own.';
  END IF;

  -- What stands on a table goes first, so that a function used by it and made of its row type can go at all.
  FOR thing IN
    SELECT format('DROP POLICY %I ON prm.%I', p.polname, c.relname) AS command FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
      WHERE c.relnamespace = 'prm'::regnamespace
    UNION ALL
    SELECT format('DROP TRIGGER %I ON prm.%I', g.tgname, c.relname) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
      WHERE c.relnamespace = 'prm'::regnamespace AND NOT g.tgisinternal AND g.tgparentid = 0
  LOOP
    EXECUTE thing.command;
  END LOOP;

  SELECT string_agg(format('prm.%I', c.relname), ', '), count(*) INTO the_tables, the_table_count
    FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
  LOOP
    progress := false;
    FOR thing IN
      SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'SEQUENCE' END AS kind,
             format('prm.%I', c.relname) AS name
      FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('v', 'm', 'f', 'S')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i', 'a'))
      UNION ALL
      SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
             format('prm.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid))
      FROM pg_proc p WHERE p.pronamespace = 'prm'::regnamespace
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'TYPE', format('prm.%I', t.typname)
      FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.typnamespace = 'prm'::regnamespace AND t.typtype IN ('c', 'd', 'e') AND coalesce(c.relkind, 'c') = 'c'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'TABLE', the_tables WHERE the_tables IS NOT NULL
    LOOP
      BEGIN
        EXECUTE format('DROP %s %s', thing.kind, thing.name);
        progress := true;
        IF thing.kind = 'TABLE' THEN the_tables := NULL;
        ELSIF thing.kind IN ('VIEW', 'MATERIALIZED VIEW') THEN the_view_count := the_view_count + 1;
        ELSIF thing.kind IN ('FUNCTION', 'PROCEDURE', 'AGGREGATE') THEN the_function_count := the_function_count + 1;
        END IF;
      EXCEPTION WHEN dependent_objects_still_exist THEN
        -- Its turn comes when what depends on it is gone.
        the_rest := thing.kind || ' ' || thing.name;
      END;
    END LOOP;
    EXIT WHEN NOT progress;
  END LOOP;

  IF EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) THEN
    RAISE EXCEPTION USING ERRCODE = '2BP01', MESSAGE = 'the prm model could not be dropped whole, so nothing was dropped',
      DETAIL = format('What could not go: %s.', the_rest),
      HINT = 'DROP it without CASCADE to see what depends on it, remove that, and run uninstall() again.';
  END IF;
  RETURN format('dropped: %s tables, %s views, %s functions', the_table_count, the_view_count, the_function_count);
END
$prm$;
COMMENT ON FUNCTION prm.uninstall(text) IS
'Drops the model with all its data: every table, view and function of schema prm that is not part of an extension. confirmation must be ''drop all prm data'' (else 22023). Refused while objects of others depend on it (2BP01, which names them). Only for the owner of schema prm (42501). DROP EXTENSION prm afterwards removes the code.';

CREATE TYPE prm.check_row AS (severity text, object text, message text, fix text);
COMMENT ON TYPE prm.check_row IS 'A row of check(): severity (error: something does not work; warning: it will hurt), the object, what is wrong, the statement that mends it.';

CREATE FUNCTION prm.check() RETURNS SETOF prm.check_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_owner oid := (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'prm');
BEGIN
  RETURN QUERY SELECT 'error', 'extension prm', format('the library is version %s, the extension %s', prm._library_version(), e.extversion),
      'Reconnect; if it stays, run ALTER EXTENSION prm UPDATE.'
    FROM pg_extension e WHERE e.extname = 'prm' AND e.extversion <> prm._library_version();
  IF to_regclass('prm.model') IS NULL THEN
    RETURN NEXT ROW('error', 'schema prm', 'the model is not installed', 'SELECT prm.install();')::prm.check_row;
    RETURN;
  END IF;
  RETURN QUERY SELECT 'error', 'table prm.model', format('the model is at step %s, the code works with step %s', coalesce(max(m.step), 0), prm._library_steps()),
      CASE WHEN coalesce(max(m.step), 0) < prm._library_steps() THEN 'SELECT prm.install();' ELSE 'Install the newer package again and run ALTER EXTENSION prm UPDATE.' END
    FROM prm.model m HAVING coalesce(max(m.step), 0) <> prm._library_steps();
  RETURN QUERY SELECT 'error', o.kind || ' ' || concat_ws('.', 'prm', o.relation, o.name), format('the %s is missing', o.kind),
      CASE WHEN o.kind = 'table' THEN 'Restore it from a backup.'
           WHEN o.kind = 'index' AND prm._index_step(o.name) IS NOT NULL THEN format('Create it again as prm.%I does.', prm._index_step(o.name))
           ELSE 'SELECT prm.install();' END
    FROM prm._missing_objects() o ORDER BY 2;
  RETURN QUERY SELECT 'error', format('trigger %s on prm.%s', g.tgname, c.relname), 'the trigger is disabled',
      format('ALTER TABLE prm.%I ENABLE TRIGGER %I;', c.relname, g.tgname)
    FROM prm._model_objects() o JOIN pg_class c ON c.relnamespace = 'prm'::regnamespace AND c.relname = o.relation
    JOIN pg_trigger g ON g.tgrelid = c.oid AND g.tgname = o.name
    WHERE o.kind = 'trigger' AND g.tgenabled IN ('D', 'R') ORDER BY 2;
  RETURN QUERY SELECT 'error', format('view prm.%s', c.relname), 'the view uses the rights of its owner, not of its reader',
      format('ALTER VIEW prm.%I SET (security_invoker = true);', c.relname)
    FROM prm._model_objects() o JOIN pg_class c ON c.relnamespace = 'prm'::regnamespace AND c.relname = o.name AND c.relkind = 'v'
    WHERE o.kind = 'view' AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false) ORDER BY 2;
  RETURN QUERY SELECT 'error', format('table prm.%s', c.relname), format('the table is a member of extension %s and would be dropped with it', e.extname),
      format('ALTER EXTENSION %I DROP TABLE prm.%I;', e.extname, c.relname)
    FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid
    WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 2;
  RETURN QUERY SELECT 'error', format('%s prm.%s', o.kind, c.relname), format('it belongs to %s, the schema to %s', c.relowner::regrole, the_owner::regrole),
      format('ALTER %s prm.%I OWNER TO %s;', upper(o.kind), c.relname, the_owner::regrole)
    FROM prm._model_objects() o JOIN pg_class c ON c.relnamespace = 'prm'::regnamespace AND c.relname = o.name AND c.relkind IN ('r', 'p', 'v')
    WHERE o.kind IN ('table', 'view') AND c.relowner <> the_owner ORDER BY 2;
  RETURN QUERY SELECT 'warning', format('table prm.%s', c.relname), 'row security is forced upon the owner, whose dumps would fail',
      format('ALTER TABLE prm.%I NO FORCE ROW LEVEL SECURITY;', c.relname)
    FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relforcerowsecurity ORDER BY 2;
  -- Not in a model that lacks the tables: that was said above.
  IF to_regclass('prm.program') IS NOT NULL AND to_regclass('prm.machine') IS NOT NULL THEN
    RETURN QUERY SELECT 'error', format('programme %s (%s)', p.program_id, p.name), format('no machine "%s" is in force, so its rows cannot change state', n.machine),
        format('SELECT prm.define_machine(%L, ''...'', %s);', n.machine, p.program_id)
      FROM prm.program p CROSS JOIN unnest(ARRAY['deal', 'lead', 'partner', 'registration']) AS n(machine)
      WHERE NOT EXISTS (SELECT 1 FROM prm.machine m WHERE m.program_id = p.program_id AND m.machine = n.machine AND m.is_current) ORDER BY 2, 3;
  END IF;
  IF to_regclass('prm.machine_target') IS NOT NULL THEN
    RETURN QUERY SELECT c.severity, c.object, c.message, c.fix FROM prm._check_targets() c;
  END IF;
  IF to_regclass('prm.escalation_role') IS NOT NULL AND to_regclass('prm.machine_state') IS NOT NULL AND to_regclass('prm.machine') IS NOT NULL THEN
    RETURN QUERY SELECT c.severity, c.object, c.message, c.fix FROM prm._check_escalations() c;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM unnest(ARRAY['metric', 'tier_requirement', 'tier_policy', 'tier_track', 'tier_market', 'mission_step', 'campaign', 'point_rule',
      'streak_rule', 'survey', 'adoption_policy', 'usage_activity', 'earning_kind']) AS n(name) WHERE to_regclass('prm.' || n.name) IS NULL) THEN
    RETURN QUERY SELECT c.severity, c.object, c.message, c.fix FROM prm._check_definitions() c;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.check() IS
'Self-check of the installation: versions that do not fit, objects of the model that are missing, disabled, owned by others or members of an extension, programmes without a machine, attached tables without a trigger, levels of escalation without a role. And what _check_definitions() says: definitions that can never work. A row for each fault, with the statement that mends it; no row means healthy.';
