
-- Import: from a mapping to the two statements of an import, one that reads the source and one that judges and writes a batch.
-- Names in them come from the catalog, values of the mapping are literals; nothing that the caller wrote is executed.

CREATE TYPE prm.import_field AS (position integer, target text, column_name text, column_type text, role text, lookup text, lookup_text text,
  self_reference boolean, source_column text, source_is_text boolean, format text, fallback text, map jsonb, constant text, not_null boolean,
  default_expression text);
COMMENT ON TYPE prm.import_field IS
'One field of an import, internal: where its value comes from, which column it fills (role column, attribute or reference), and how text is turned into it.';

CREATE TYPE prm.import_reference AS (kind text, target text, column_name text, lookup text, missing text, self_reference boolean, suggest boolean);
COMMENT ON TYPE prm.import_reference IS 'A target of an import that names a row of another table, internal: the query (k, v) that finds it and what is said where it finds none.';

CREATE FUNCTION prm._import_references() RETURNS SETOF prm.import_reference
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT r.kind, r.target, r.column_name,
    CASE r.relation
      WHEN 'machine_state' THEN format('SELECT s.state AS k, s.state AS v FROM prm.machine m JOIN prm.machine_state s ON s.program_id = m.program_id '
        'AND s.machine = m.machine AND s.version = m.version WHERE m.program_id = $2 AND m.is_current AND m.machine = %L', r.kind)
      ELSE format('SELECT x.%I AS k, x.%I AS v FROM prm.%I x WHERE x.program_id = $2', r.key_column, r.result_column, r.relation)
    END, r.missing, r.relation = r.kind, r.key_column <> 'external_ref'
  FROM (VALUES
    ('partner', 'parent_ref', 'parent_id', 'partner', 'external_ref', 'partner_id', 'no partner has the external_ref'),
    ('partner', 'kind', 'kind', 'partner_kind', 'kind', 'kind', 'there is no partner kind'),
    ('partner', 'state', 'state', 'machine_state', 'state', 'state', 'the machine partner has no state'),
    ('customer', 'parent_ref', 'parent_id', 'customer', 'external_ref', 'customer_id', 'no customer has the external_ref'),
    ('product', 'parent', 'parent', 'product', 'product', 'product', 'there is no parent product'),
    ('product', 'parent_ref', 'parent', 'product', 'external_ref', 'product', 'no product has the external_ref'),
    ('lead', 'partner_ref', 'partner_id', 'partner', 'external_ref', 'partner_id', 'no partner has the external_ref'),
    ('lead', 'customer_ref', 'customer_id', 'customer', 'external_ref', 'customer_id', 'no customer has the external_ref'),
    ('lead', 'state', 'state', 'machine_state', 'state', 'state', 'the machine lead has no state'),
    ('deal', 'partner_ref', 'partner_id', 'partner', 'external_ref', 'partner_id', 'no partner has the external_ref'),
    ('deal', 'customer_ref', 'customer_id', 'customer', 'external_ref', 'customer_id', 'no customer has the external_ref'),
    ('deal', 'lead_ref', 'lead_id', 'lead', 'external_ref', 'lead_id', 'no lead has the external_ref'),
    ('deal', 'product', 'product', 'product', 'product', 'product', 'product'),
    ('deal', 'state', 'state', 'machine_state', 'state', 'state', 'the machine deal has no state'),
    ('earning_event', 'partner_ref', 'partner_id', 'partner', 'external_ref', 'partner_id', 'no partner has the external_ref'),
    ('earning_event', 'customer_ref', 'customer_id', 'customer', 'external_ref', 'customer_id', 'no customer has the external_ref'),
    ('earning_event', 'deal_ref', 'deal_id', 'deal', 'external_ref', 'deal_id', 'no deal has the external_ref'),
    ('earning_event', 'applies_to_ref', 'applies_to_id', 'earning_event', 'external_ref', 'earning_event_id', 'no earning event has the external_ref'),
    ('earning_event', 'product', 'product', 'product', 'product', 'product', 'product'),
    ('earning_event', 'kind', 'kind', 'earning_kind', 'kind', 'kind', 'there is no earning kind'),
    ('earning_event', 'legal_entity', 'legal_entity', 'legal_entity', 'legal_entity', 'legal_entity', 'there is no legal entity')
  ) AS r(kind, target, column_name, relation, key_column, result_column, missing)
$prm$;
COMMENT ON FUNCTION prm._import_references() IS 'The targets of an import that name a row of another table, by kind.';

CREATE FUNCTION prm._import_check_kind(kind text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF _import_check_kind.kind IS NULL OR _import_check_kind.kind NOT IN ('partner', 'customer', 'product', 'lead', 'deal', 'earning_event') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('rows of kind "%s" cannot be imported', coalesce(_import_check_kind.kind, 'NULL')),
      DETAIL = 'The kinds are partner, customer, product, lead, deal and earning_event.', HINT = 'Correct the first argument.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._import_check_kind(text) IS 'Refuses an unknown kind of import (22023).';

CREATE FUNCTION prm._import_key(kind text, mapping jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT CASE WHEN _import_key.kind = 'product' AND NOT _import_key.mapping ? 'external_ref' THEN 'product' ELSE 'external_ref' END $prm$;
COMMENT ON FUNCTION prm._import_key(text, jsonb) IS 'The column by which an import recognises rows: external_ref, for products without one the product''s name.';

CREATE FUNCTION prm._import_targets(kind text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT array_agg(t.target ORDER BY t.target) FROM (
    SELECT a.attname::text AS target FROM pg_attribute a
    WHERE a.attrelid = ('prm.' || quote_ident(_import_targets.kind))::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      -- Keys are the model's, and a tier is earned: neither is imported.
      AND a.attname NOT IN ('program_id', 'recorded_at') AND a.attidentity = '' AND NOT (_import_targets.kind = 'partner' AND a.attname = 'tier')
    UNION
    SELECT r.target FROM prm._import_references() r WHERE r.kind = _import_targets.kind
  ) t
$prm$;
COMMENT ON FUNCTION prm._import_targets(text) IS 'The target fields of an import of a kind, without the attributes.';

CREATE FUNCTION prm._import_check_mapping(kind text, source regclass, mapping jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_targets text[] := prm._import_targets(_import_check_mapping.kind);
  the_key text;
  the_unknown text;
  field record;
BEGIN
  IF _import_check_mapping.mapping IS NULL OR jsonb_typeof(_import_check_mapping.mapping) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the mapping of an import is no JSON object',
      DETAIL = 'It says which source column fills which target field.', HINT = 'Write it as {"external_ref": "id", "name": "company"}.';
  END IF;
  FOR field IN SELECT m.key AS target, m.value FROM jsonb_each(_import_check_mapping.mapping) m ORDER BY m.key
  LOOP
    IF NOT field.target = ANY (the_targets) AND field.target !~ '^attributes\..' THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('an import of kind "%s" has no target field "%s"', _import_check_mapping.kind, field.target),
        DETAIL = format('The fields are %s, and attributes.NAME.', array_to_string(the_targets, ', ')), HINT = 'Correct the name on the left side of the mapping.';
    END IF;
    IF jsonb_typeof(field.value) NOT IN ('string', 'object') THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('target field "%s" is mapped to neither a column nor an object', field.target),
        DETAIL = format('It was given as %s.', field.value), HINT = 'Write the source column''s name, or {"column": ...}, or {"value": ...}.';
    END IF;
    IF jsonb_typeof(field.value) = 'object' THEN
      SELECT k INTO the_unknown FROM jsonb_object_keys(field.value) k WHERE k NOT IN ('column', 'format', 'default', 'map', 'value') ORDER BY k LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('target field "%s" has the unknown key "%s"', field.target, the_unknown),
          DETAIL = 'The keys are column, format, default, map and value.', HINT = 'Correct the key.';
      END IF;
      IF (field.value ? 'column') = (field.value ? 'value') OR (field.value ? 'value' AND field.value - 'value' <> '{}')
         OR coalesce(jsonb_typeof(field.value -> 'column'), 'string') <> 'string' OR coalesce(jsonb_typeof(field.value -> 'map'), 'object') <> 'object'
         OR coalesce(jsonb_typeof(field.value -> 'format'), 'string') <> 'string' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the mapping of target field "%s" makes no sense', field.target),
          DETAIL = format('It was given as %s.', field.value),
          HINT = 'Give either {"column": text, "format": text, "default": value, "map": object}, of which only column is needed, or {"value": value}.';
      END IF;
    END IF;
    the_unknown := CASE jsonb_typeof(field.value) WHEN 'string' THEN field.value #>> '{}' ELSE field.value ->> 'column' END;
    IF the_unknown IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = _import_check_mapping.source
        AND a.attname = the_unknown AND a.attnum > 0 AND NOT a.attisdropped) THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the source has no column "%s"', the_unknown),
        DETAIL = format('Target field "%s" is mapped to it; the columns of %s are %s.', field.target, _import_check_mapping.source,
          (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
           WHERE a.attrelid = _import_check_mapping.source AND a.attnum > 0 AND NOT a.attisdropped)),
        HINT = 'Correct the name on the right side of the mapping.';
    END IF;
  END LOOP;
  the_key := prm._import_key(_import_check_mapping.kind, _import_check_mapping.mapping);
  IF NOT _import_check_mapping.mapping ? the_key THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the mapping lacks target field "%s"', the_key),
      DETAIL = 'The import recognises rows by it, so that it can be repeated.', HINT = 'Map it to the column that identifies a row in the source.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._import_check_mapping(text, regclass, jsonb) IS 'Refuses a mapping that names an unknown target field, key or source column, or that lacks the key (22023).';

CREATE FUNCTION prm._import_moment(cell text, format text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
-- No SET clause and one expression, so that it is inlined and the path compiled once; BEGIN ATOMIC, so that no search_path matters.
-- jsonpath's datetime() is strict and says NULL for what is no date, where to_date() guesses or fails.
BEGIN ATOMIC
  SELECT jsonb_path_query_first(
    to_jsonb(CASE WHEN _import_moment.format IS NULL
      THEN regexp_replace(regexp_replace(regexp_replace(_import_moment.cell, '^(\d+-\d+-\d+[T ]\d+:\d\d)(?=$|[Z+-])', '\1:00'),
                                         '(\d)Z$', '\1+00:00'), '(:[0-9.]+[+-]\d\d)(\d\d)?$', '\1:\2')
      ELSE _import_moment.cell END),
    CASE WHEN _import_moment.format IS NULL THEN '$.datetime()'
         ELSE '$.datetime("' || replace(replace(_import_moment.format, '\', '\\'), '"', '\"') || '")' END::jsonpath,
    '{}', true) #>> '{}';
END;
COMMENT ON FUNCTION prm._import_moment(text, text) IS
'Text as a date or moment in ISO form, read strictly by a format of to_date(), or for NULL as ISO 8601; NULL for what is none.';

CREATE FUNCTION prm._import_check_format(target text, column_type text, format text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_sample text;
BEGIN
  IF _import_check_format.format IS NULL THEN
    RETURN;
  END IF;
  IF _import_check_format.column_type NOT IN ('date', 'timestamp with time zone', 'timestamp without time zone') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('target field "%s" takes no format', _import_check_format.target),
      DETAIL = format('It is of type %s; only dates and moments have a format.', _import_check_format.column_type), HINT = 'Leave the format out.';
  END IF;
  -- A format is good when the server can read what it writes by it.
  the_sample := to_char(timestamptz '2017-11-23 12:42:35+00', _import_check_format.format);
  IF coalesce(prm._import_moment(the_sample, _import_check_format.format), '') !~ '^2017-11-2[234]' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no format of a date', _import_check_format.format),
      DETAIL = format('Target field "%s": a date written in this format (%s) cannot be read back.', _import_check_format.target, the_sample),
      HINT = 'Use YYYY, MM, DD, Mon, HH24, MI, SS and the like, as for to_date(): MM/DD/YYYY.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._import_check_format(text, text, text) IS 'Refuses a format for what is no date, and one that says no date (22023).';
