-- Is a parameter used bare anywhere? Each PL/pgSQL function is copied with its parameters renamed, together with every
-- use that is written function_name.parameter. Whatever still means the parameter by its bare name no longer resolves, and
-- plpgsql_check says so. Prints first how many functions were sound, then a line for each finding.
-- Runs in a transaction that is rolled back.
BEGIN;
SET LOCAL check_function_bodies = off;
SET LOCAL client_min_messages = error;
CREATE SCHEMA prm_renamed;
CREATE FUNCTION prm_renamed._copy(source oid) RETURNS oid LANGUAGE plpgsql AS $copy$
DECLARE
  routine record;
  body text;
  arguments text := '';
  number int;
  clash bool;
BEGIN
  SELECT p.* INTO routine FROM pg_proc p WHERE p.oid = source;
  body := routine.prosrc;
  FOR number IN 1 .. routine.pronargs LOOP
    body := regexp_replace(body, '\m' || routine.proname || '\.' || routine.proargnames[number] || '\M',
                           routine.proname || '.zz_' || routine.proargnames[number], 'g');
    arguments := arguments || CASE WHEN number > 1 THEN ', ' ELSE '' END
                 || format('%I %s', 'zz_' || routine.proargnames[number], format_type(routine.proargtypes[number - 1], NULL));
  END LOOP;
  EXECUTE format('CREATE %s prm_renamed.%I(%s) %s LANGUAGE plpgsql %s AS %L',
    CASE routine.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, routine.proname, arguments,
    CASE routine.prokind WHEN 'p' THEN '' ELSE 'RETURNS ' || CASE WHEN routine.proretset THEN 'SETOF ' ELSE '' END || format_type(routine.prorettype, NULL) END,
    CASE WHEN routine.proconfig IS NULL THEN '' ELSE 'SET search_path = pg_catalog, pg_temp' END, body);
  RETURN (SELECT max(p.oid::bigint)::oid FROM pg_proc p WHERE p.pronamespace = 'prm_renamed'::regnamespace AND p.proname = routine.proname);
END
$copy$;
CREATE TEMP TABLE copy AS
SELECT p.oid AS original, prm_renamed._copy(p.oid) AS renamed
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'prm'::regnamespace AND l.lanname = 'plpgsql' AND p.pronargs > 0 AND p.prokind IN ('f', 'p')
  AND p.proargnames IS NOT NULL AND p.proargmodes IS NULL AND NOT ('' = ANY (p.proargnames));
CREATE TEMP TABLE finding AS
SELECT c.original::regprocedure::text AS name, f.message
FROM copy c LEFT JOIN LATERAL plpgsql_check_function_tb(c.renamed, fatal_errors => false, other_warnings => false,
     extra_warnings => false, performance_warnings => false) f ON f.level = 'error'
  -- What the original is itself accused of is reported by plpgsql_check.sql.
  AND NOT EXISTS (SELECT 1 FROM plpgsql_check_function_tb(c.original, fatal_errors => false, other_warnings => false,
      extra_warnings => false, performance_warnings => false) o WHERE o.level = 'error' AND o.message = f.message);
SELECT 'checked', count(*) FROM finding WHERE message IS NULL;
SELECT DISTINCT name || ' uses a parameter by its bare name: ' || message FROM finding WHERE message IS NOT NULL ORDER BY 1;
ROLLBACK;
