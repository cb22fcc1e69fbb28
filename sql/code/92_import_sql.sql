
-- Import: the fields of a mapping as rows, and the text of the two statements.

CREATE FUNCTION prm._import_fields(kind text, source regclass, mapping jsonb) RETURNS SETOF prm.import_field
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table regclass := ('prm.' || quote_ident(_import_fields.kind))::regclass;
  the_key text := prm._import_key(_import_fields.kind, _import_fields.mapping);
  the_name text;
  field prm.import_field;
BEGIN
  PERFORM prm._import_check_mapping(_import_fields.kind, _import_fields.source, _import_fields.mapping);
  SELECT max(d.column_name) INTO the_name FROM (
      SELECT coalesce(r.column_name, m.k) AS column_name FROM jsonb_object_keys(_import_fields.mapping) m(k)
      LEFT JOIN prm._import_references() r ON r.kind = _import_fields.kind AND r.target = m.k
      GROUP BY coalesce(r.column_name, m.k) HAVING count(*) > 1) d;
  IF the_name IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the mapping fills "%s" twice', the_name),
      DETAIL = 'A row is named either by its number or by its external_ref, not by both.', HINT = 'Take one of the two target fields out.';
  END IF;

  FOR field IN
    SELECT row_number() OVER (ORDER BY m.key <> the_key, m.key)::integer, m.key, coalesce(r.column_name, m.key), format_type(a.atttypid, a.atttypmod),
      CASE WHEN r.target IS NOT NULL THEN 'reference' WHEN a.attname IS NULL THEN 'attribute' ELSE 'column' END,
      r.lookup, r.missing, coalesce(r.self_reference, false),
      CASE jsonb_typeof(m.value) WHEN 'string' THEN m.value #>> '{}' ELSE m.value ->> 'column' END,
      NULL::boolean, m.value ->> 'format', m.value ->> 'default', m.value -> 'map', m.value ->> 'value', coalesce(a.attnotnull, false),
      pg_get_expr(d.adbin, d.adrelid)
    FROM jsonb_each(_import_fields.mapping) m
    LEFT JOIN prm._import_references() r ON r.kind = _import_fields.kind AND r.target = m.key
    LEFT JOIN pg_attribute a ON a.attrelid = the_table AND a.attname = coalesce(r.column_name, m.key) AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = the_table AND d.adnum = a.attnum
    ORDER BY 1
  LOOP
    IF field.source_column IS NOT NULL THEN
      SELECT t.typcategory = 'S' INTO field.source_is_text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = _import_fields.source AND a.attname = field.source_column;
      IF NOT field.source_is_text THEN
        -- Typed columns are read in ISO form whatever DateStyle says; a format is for text.
        field.format := NULL;
      END IF;
    END IF;
    PERFORM prm._import_check_format(field.target, coalesce(field.column_type, 'text'), field.format);
    RETURN NEXT field;
  END LOOP;

  -- Columns that must have a value and were not mapped: a new row gets a sensible one, or the mapping is incomplete.
  FOR field IN
    SELECT 1000 + a.attnum, a.attname, a.attname, format_type(a.atttypid, a.atttypmod), 'filled', NULL, NULL, false, NULL, NULL::boolean, NULL,
      CASE WHEN a.attname = 'currency' THEN 'prm._program_currency($2)' WHEN a.attname IN ('name', 'label') AND _import_fields.kind IN ('deal', 'product') THEN 'j.key' END,
      NULL::jsonb, NULL, true, NULL
    FROM pg_attribute a
    WHERE a.attrelid = the_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
      AND (NOT a.atthasdef OR a.attname = 'currency') AND a.attidentity = '' AND a.attname <> 'program_id'
      AND NOT EXISTS (SELECT 1 FROM jsonb_object_keys(_import_fields.mapping) k
        LEFT JOIN prm._import_references() r ON r.kind = _import_fields.kind AND r.target = k WHERE coalesce(r.column_name, k) = a.attname)
    ORDER BY a.attnum
  LOOP
    IF field.fallback IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the mapping lacks target field "%s"', field.target),
        DETAIL = format('A row of kind "%s" cannot be without it.', _import_fields.kind), HINT = 'Map it to a column, or give {"value": ...}.';
    END IF;
    RETURN NEXT field;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._import_fields(text, regclass, jsonb) IS
'The fields of an import, checked against the catalog: those of the mapping, and the columns that new rows need besides. Error 22023 names what is wrong.';

CREATE FUNCTION prm._import_reading(kind text, source regclass, fields prm.import_field[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_cells text;
  the_key text;
  the_cell text;
  the_relation text;
  the_order text;
  field prm.import_field;
BEGIN
  SELECT format('%I.%I', n.nspname, c.relname), CASE WHEN c.relkind IN ('r', 'p', 'm') THEN 'ORDER BY s.tableoid, s.ctid' ELSE '' END
    INTO the_relation, the_order
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = _import_reading.source;
  FOREACH field IN ARRAY _import_reading.fields
  LOOP
    CONTINUE WHEN field.role = 'filled';
    IF field.source_column IS NULL THEN
      the_cell := quote_nullable(nullif(btrim(field.constant), ''));
    ELSE
      the_cell := format(CASE WHEN field.source_is_text THEN 's.%I::text' ELSE 'to_jsonb(s.%I) #>> ''{}''' END, field.source_column);
      the_cell := format('nullif(btrim(%s, E'' \t\r\n''), '''')', the_cell);
      IF field.map IS NOT NULL THEN
        the_cell := format('CASE WHEN %L::jsonb ? (%s) THEN %L::jsonb ->> (%s) ELSE %s END', field.map, the_cell, field.map, the_cell, the_cell);
      END IF;
      IF field.fallback IS NOT NULL THEN
        the_cell := format('coalesce(%s, %L)', the_cell, field.fallback);
      END IF;
    END IF;
    the_cell := the_cell || '::text';
    the_cells := concat_ws(', ', the_cells, the_cell);
    the_key := coalesce(the_key, the_cell);
  END LOOP;
  RETURN format('SELECT array_agg(jsonb_build_array(k.n, k.first_row, k.cells) ORDER BY k.n) FROM ('
    'SELECT c.n, CASE WHEN c.cells ->> 0 IS NOT NULL THEN min(c.n) OVER (PARTITION BY c.cells ->> 0) END AS first_row, c.cells FROM ('
    'SELECT row_number() OVER (%s) AS n, to_jsonb(ARRAY[%s]) AS cells FROM %s s) c) k GROUP BY (k.n - 1) / $1 ORDER BY (k.n - 1) / $1',
    the_order, the_cells, the_relation);
END
$prm$;
COMMENT ON FUNCTION prm._import_reading(text, regclass, prm.import_field[]) IS
'The statement that reads the source of an import: batches of [row, first row of the same key, [cells as text]]. $1 is the size of a batch.';

CREATE FUNCTION prm._import_suggestion(lookup text, cell text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_home text;
BEGIN
  SELECT n.nspname INTO the_home FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm';
  RETURN format('coalesce((SELECT string_agg(format(''"%%s"'', g.k), '' or '' ORDER BY g.k) FROM (%1$s) g '
      'WHERE regexp_replace(lower(g.k), ''[^[:alnum:]]+'', '''', ''g'') = regexp_replace(lower(%2$s), ''[^[:alnum:]]+'', '''', ''g'')), %3$s)',
    _import_suggestion.lookup, _import_suggestion.cell,
    CASE WHEN the_home IS NULL THEN 'NULL'
         ELSE format('(SELECT format(''"%%s"'', g.k) FROM (%1$s) g WHERE %3$I.similarity(g.k, %2$s) >= 0.4 ORDER BY %3$I.similarity(g.k, %2$s) DESC, g.k LIMIT 1)',
                     _import_suggestion.lookup, _import_suggestion.cell, the_home) END);
END
$prm$;
COMMENT ON FUNCTION prm._import_suggestion(text, text) IS
'Expression: the names of a lookup that equal a cell but for case, blanks and punctuation, or with pg_trgm the most similar one; NULL where there is none.';

CREATE FUNCTION prm._import_value(field prm.import_field) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_cell text := 'w.c' || (_import_value.field).position;
  the_parsed text := 'w.p' || (_import_value.field).position;
  the_type text := (_import_value.field).column_type;
BEGIN
  IF (_import_value.field).role = 'reference' THEN
    RETURN format('r%s.v', (_import_value.field).position);
  END IF;
  RETURN CASE
    WHEN the_type = 'text' THEN the_cell
    WHEN the_type IN ('integer', 'bigint', 'smallint', 'numeric', 'double precision', 'real', 'boolean') OR the_type LIKE 'numeric(%' THEN
      format('CASE WHEN %s THEN %s::%s END', prm._import_valid(_import_value.field), the_cell, the_type)
    WHEN the_type = 'date' THEN
      format('CASE WHEN %1$s THEN CASE WHEN %2$s ~ ''T.*[+-]\d\d:?\d*$'' THEN (%2$s::timestamptz AT TIME ZONE $5)::date ELSE %2$s::date END END',
             prm._import_valid(_import_value.field), the_parsed)
    WHEN the_type IN ('timestamp with time zone', 'timestamp without time zone') THEN
      format('CASE WHEN %1$s THEN CASE WHEN %2$s ~ ''T.*[+-]\d\d:?\d*$'' THEN %2$s::timestamptz ELSE %2$s::timestamp AT TIME ZONE $5 END %3$s END',
             prm._import_valid(_import_value.field), the_parsed, CASE WHEN the_type LIKE '%without%' THEN 'AT TIME ZONE $5' ELSE '' END)
    ELSE format('%s::%s', the_cell, the_type)
  END;
END
$prm$;
COMMENT ON FUNCTION prm._import_value(prm.import_field) IS 'Expression: the value of a field in the type of its column, NULL for a cell that is not valid.';

CREATE FUNCTION prm._import_valid(field prm.import_field) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_cell text := 'w.c' || (_import_valid.field).position;
  the_type text := (_import_valid.field).column_type;
BEGIN
  IF (_import_valid.field).role = 'reference' THEN
    RETURN format('r%s.k IS NOT NULL', (_import_valid.field).position);
  ELSIF (_import_valid.field).role <> 'column' THEN
    RETURN NULL;
  END IF;
  RETURN CASE
    WHEN the_type = 'smallint' THEN format('length(%1$s) <= 4 AND %1$s ~ ''^[+-]?[0-9]+$''', the_cell)
    WHEN the_type = 'integer' THEN format('length(%1$s) <= 9 AND %1$s ~ ''^[+-]?[0-9]+$''', the_cell)
    WHEN the_type = 'bigint' THEN format('length(%1$s) <= 18 AND %1$s ~ ''^[+-]?[0-9]+$''', the_cell)
    WHEN the_type IN ('double precision', 'real') OR the_type LIKE 'numeric%' THEN
      format('length(%1$s) <= 1000 AND %1$s ~ ''^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$''', the_cell)
    WHEN the_type = 'boolean' THEN format('lower(%s) IN (''true'', ''t'', ''yes'', ''y'', ''on'', ''1'', ''false'', ''f'', ''no'', ''n'', ''off'', ''0'')', the_cell)
    WHEN the_type = 'date' OR the_type LIKE 'timestamp%' THEN format('w.p%s ~ ''^[1-9][0-9]{3}-''', (_import_valid.field).position)
  END;
END
$prm$;
COMMENT ON FUNCTION prm._import_valid(prm.import_field) IS 'Expression: does the text of a field''s cell read as a value of its column, or name a row that exists? NULL where only the conversion can tell.';

CREATE FUNCTION prm._import_complaint(kind text, field prm.import_field) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_field prm.import_field := _import_complaint.field;
  the_cell text := 'w.c' || (_import_complaint.field).position;
  the_what text;
BEGIN
  IF the_field.role = 'reference' THEN
    -- Another row of the same source may be the parent: that row waits, until the last pass.
    the_what := format('CASE WHEN %1$s IS NOT NULL AND %2$s r%3$s.k IS NULL THEN %4$L || left(%1$s, 100) || ''"''%5$s%6$s END',
      the_cell, CASE WHEN the_field.self_reference THEN '$4 AND' ELSE '' END, the_field.position, the_field.lookup_text || ' "',
      CASE WHEN the_field.lookup_text = 'product' THEN ' || '' does not exist''' ELSE '' END,
      CASE WHEN the_field.lookup LIKE '%.external_ref AS k%' THEN ''
           ELSE format(' || coalesce('', did you mean '' || h%s.hint || ''?'', '''')', the_field.position) END);
    IF the_field.target = 'state' THEN
      the_what := the_what || format(', CASE WHEN NOT $3 AND t.program_id IS NULL AND %1$s <> (SELECT s.state FROM prm.machine m JOIN prm.machine_state s '
        'ON s.program_id = m.program_id AND s.machine = m.machine AND s.version = m.version AND s.is_initial '
        'WHERE m.program_id = $2 AND m.machine = %2$L AND m.is_current) THEN ''only the owner of schema prm and admins may import the historical state "'' '
        '|| left(%1$s, 100) || ''" (SQLSTATE 42501)'' END', the_cell, _import_complaint.kind);
    END IF;
  ELSIF prm._import_valid(the_field) IS NOT NULL THEN
    the_what := format('CASE WHEN %1$s IS NOT NULL AND (%2$s) IS NOT TRUE THEN %3$L || left(%1$s, 100) || %4$L END', the_cell, prm._import_valid(the_field),
      the_field.target || ' "', '" is no ' || CASE
        WHEN the_field.column_type = 'date' THEN 'date of the form ' || coalesce(the_field.format, 'YYYY-MM-DD')
        WHEN the_field.column_type LIKE 'timestamp%' THEN 'moment of the form ' || coalesce(the_field.format, 'YYYY-MM-DD HH24:MI:SS')
        WHEN the_field.column_type = 'boolean' THEN 'true or false'
        WHEN the_field.column_type IN ('smallint', 'integer', 'bigint') THEN 'whole number'
        ELSE 'finite number' END);
  END IF;
  IF (_import_complaint.kind, the_field.column_name) IN (('deal', 'amount'), ('deal', 'cost'), ('lead', 'budget'), ('product', 'list_price')) THEN
    -- The table refuses these too, but only one row at a time.
    the_what := concat_ws(', ', the_what, format('CASE WHEN %1$s < 0 THEN %2$L || left(%3$s, 100) || ''" is negative'' END',
      prm._import_value(the_field), the_field.target || ' "', the_cell));
  END IF;
  IF the_field.role <> 'attribute' AND the_field.not_null AND the_field.default_expression IS NULL AND the_field.target <> 'currency' THEN
    the_what := concat_ws(', ', the_what, format('CASE WHEN %s IS NULL THEN %L END', the_cell, the_field.target || ' is empty'));
  END IF;
  RETURN the_what;
END
$prm$;
COMMENT ON FUNCTION prm._import_complaint(text, prm.import_field) IS 'Expressions, one after the other: what is wrong with a field of a row, NULL where nothing is.';
