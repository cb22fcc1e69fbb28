
-- Timers: deadlines of states.

CREATE FUNCTION prm._check_after(machine text, definition jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT format('state "%s", after "%s": it is no JSON object with one of event, escalate and warn', s.key, a.key)
    FROM jsonb_each(_check_after.definition -> 'states') s, LATERAL jsonb_each(coalesce(s.value -> 'after', '{}')) a
    WHERE jsonb_typeof(a.value) <> 'object' OR NOT a.value ?| ARRAY['event', 'escalate', 'warn'] ORDER BY s.key, a.key;
END
$prm$;
COMMENT ON FUNCTION prm._check_after(text, jsonb) IS
'What is wrong with the deadlines (after) of a machine''s definition of right form, one text per fault with its place.';
