
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
  IF NOT EXISTS (SELECT 1 FROM prm.model m WHERE m.step = 0 AND m.fingerprint = the_fingerprint) THEN
    PERFORM prm._defs();
    INSERT INTO prm.model (step, name, fingerprint, version) VALUES (0, '_defs', the_fingerprint, prm._library_version())
      ON CONFLICT (step) DO UPDATE SET fingerprint = excluded.fingerprint, version = excluded.version, applied_at = clock_timestamp();
  END IF;
  UPDATE prm.model SET version = prm._library_version() WHERE step = 0 AND version <> prm._library_version();
  RETURN prm._library_version();
END
$prm$;
COMMENT ON FUNCTION prm.install() IS
'Creates the model (tables, views, triggers, policies) in schema prm, or migrates it after ALTER EXTENSION prm UPDATE; returns its version. Safe to run again at any time. Only for the owner of schema prm (42501), never inside an extension''s script (55000).';
