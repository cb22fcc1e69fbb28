-- Every PL/pgSQL function of schema prm by plpgsql_check: first how many were sound, then the findings, a line each.
-- Trigger functions are checked for a table that they serve. Functions that embed the model (they create what they then use)
-- cannot be checked before they ran.
CREATE TEMP TABLE finding AS
WITH target AS (
  SELECT p.oid, p.oid::regprocedure::text AS name,
         (SELECT min(t.tgrelid) FROM pg_trigger t WHERE t.tgfoid = p.oid) AS relation,
         (SELECT max(t.tgnewtable) FROM pg_trigger t WHERE t.tgfoid = p.oid) AS new_table,
         (SELECT max(t.tgoldtable) FROM pg_trigger t WHERE t.tgfoid = p.oid) AS old_table
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace = 'prm'::regnamespace AND l.lanname = 'plpgsql'
    AND p.proname !~ '^_(defs|step_[0-9]{4})$'
    AND (p.prorettype <> 'trigger'::regtype OR EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)))
SELECT t.name, c.functionid IS NOT NULL AS found, c.lineno, c.statement, c.sqlstate, c.message, c.level
FROM target t LEFT JOIN LATERAL plpgsql_check_function_tb(t.oid, coalesce(t.relation, 0)::regclass, fatal_errors => false,
     other_warnings => false, extra_warnings => false, performance_warnings => true, security_warnings => true,
     -- One name for what came and for what went, in triggers of their own, is one table to the function.
     newtable => t.new_table, oldtable => nullif(t.old_table, t.new_table)) c
  -- PL/pgSQL only orchestrates here: a cast, or a SELECT where an assignment would do, once per call is no matter, and versions
  -- of plpgsql_check see different ones.
  ON c.message NOT IN ('target type is different type than source type', 'detected "SELECT expr INTO variable"');
SELECT 'checked', count(DISTINCT name) FILTER (WHERE NOT EXISTS (SELECT 1 FROM finding o WHERE o.name = f.name AND o.found)) FROM finding f;
SELECT name || ' ' || level || ': ' || message FROM finding WHERE found ORDER BY 1;
