-- Prints the README's table of the API from the catalog: public functions in the order of their engines, then the views.
\pset tuples_only on
\pset format unaligned
\pset footer off
WITH routine AS (
  SELECT p.oid, p.proname, p.prokind, p.proargnames[1:p.pronargs] AS argument_names, p.proargtypes, obj_description(p.oid, 'pg_proc') AS comment,
    EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e') AS is_member
  FROM pg_proc p
  WHERE p.pronamespace = 'prm'::regnamespace AND p.proname !~ '^_' AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype)
    AND NOT EXISTS (SELECT 1 FROM pg_type t WHERE t.typnamespace = p.pronamespace AND p.oid IN (t.typinput, t.typoutput, t.typsend, t.typreceive))
    AND NOT EXISTS (SELECT 1 FROM pg_operator o WHERE o.oprcode = p.oid)
    AND NOT EXISTS (SELECT 1 FROM pg_amproc a WHERE a.amproc = p.oid)
    AND NOT EXISTS (SELECT 1 FROM pg_cast c WHERE c.castfunc = p.oid)
    AND NOT EXISTS (SELECT 1 FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn))
), line AS (
  SELECT 1 AS part, row_number() OVER (ORDER BY NOT r.is_member, r.oid) AS number,
    format('| `%s%s(%s)` | %s |', CASE r.prokind WHEN 'p' THEN 'CALL ' ELSE '' END,
      CASE WHEN r.is_member THEN r.proname ELSE (SELECT t.typname FROM pg_type t WHERE t.oid = r.proargtypes[0]) || '.' || r.proname END,
      CASE WHEN r.is_member THEN coalesce(array_to_string(array_remove(r.argument_names, 'program_id'), ', '), '') ELSE '' END,
      replace(substring(r.comment FROM '^(.*?[^0-9])(?:[.] |[.]$|$)'), '|', '\|')) AS text
  FROM routine r
  UNION ALL
  SELECT 2, row_number() OVER (ORDER BY c.relname), format('| view `%s` | %s |', c.relname,
    replace(substring(obj_description(c.oid, 'pg_class') FROM '^(.*?[^0-9])(?:[.] |[.]$|$)'), '|', '\|'))
  FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind = 'v' AND c.relname !~ '^_'
)
SELECT '| what | meaning |' UNION ALL SELECT '|---|---|' UNION ALL (SELECT text FROM line ORDER BY part, number);
