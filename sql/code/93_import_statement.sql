
-- Import: the statement that judges a batch and writes what is good of it. One statement, so that triggers see a batch at once.

CREATE FUNCTION prm._import_cells(source_rows jsonb[], place integer) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT array_agg(DISTINCT u.r -> 2 ->> _import_cells.place) FROM unnest(_import_cells.source_rows) AS u(r);
END;
COMMENT ON FUNCTION prm._import_cells(jsonb[], integer) IS
'The different texts of one field in a batch. Immutable, so that the planner computes it once and searches the array by hash.';

-- How a batch finds rows that exist: by all its keys at once ("= ANY"), gathered into an array and unnested again. A plain join is at
-- the mercy of statistics that have not heard of the programme yet: taking it for one row, the planner would read all of its rows for
-- each row of the batch.
CREATE FUNCTION prm._import_statement(kind text, fields prm.import_field[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_kind constant text := _import_statement.kind;
  the_key constant text := (_import_statement.fields[1]).column_name;
  the_id constant text := CASE WHEN the_kind = 'product' THEN 'NULL::bigint' ELSE format('t.%I', the_kind || '_id') END;
  the_cells text;
  the_moments text := '';
  the_lookups text := '';
  the_joins text := '';
  the_complaints text;
  the_waits text := 'false';
  the_values text := '';
  the_columns text := '';
  the_new text := '';
  the_sets text;
  the_fresh text;
  the_old text;
  the_updated text[] := '{}';
  the_attributes text;
  the_value text;
  field prm.import_field;
BEGIN
  the_complaints := format('CASE WHEN w.c1 IS NULL THEN %L WHEN w.first_row < w.source_row THEN format(%L, left(w.c1, 100), w.first_row, w.source_row) END',
    the_key || ' is empty', the_key || ' "%s" stands already in row %s; row %s repeats it');
  FOREACH field IN ARRAY _import_statement.fields
  LOOP
    IF field.role <> 'filled' THEN
      the_cells := concat_ws(', ', the_cells, format('u.r -> 2 ->> %s AS c%s', field.position - 1, field.position));
      the_complaints := concat_ws(', ', the_complaints, prm._import_complaint(the_kind, field));
    END IF;
    IF field.role = 'column' AND (field.column_type = 'date' OR field.column_type LIKE 'timestamp%') THEN
      the_moments := the_moments || format(', prm._import_moment(i.c%1$s, %2$L) AS p%1$s', field.position, field.format);
    END IF;
    IF field.role = 'reference' THEN
      the_lookups := the_lookups || format(', r%1$s AS MATERIALIZED (SELECT f.k, f.v FROM (SELECT array_agg(l.k) AS keys, array_agg(l.v) AS results FROM (%2$s) l '
        'WHERE l.k = ANY (prm._import_cells($1, %3$s))) a CROSS JOIN LATERAL unnest(a.keys, a.results) AS f(k, v))', field.position, field.lookup, field.position - 1);
      the_joins := the_joins || format(' LEFT JOIN r%1$s ON r%1$s.k = w.c%1$s', field.position);
      IF field.self_reference THEN
        the_waits := the_waits || format(' OR (NOT $4 AND w.c%1$s IS NOT NULL AND r%1$s.k IS NULL)', field.position);
      END IF;
      IF field.lookup NOT LIKE '%.external_ref AS k%' THEN
        -- Once for each name that is missing, not for each row.
        the_lookups := the_lookups || format(', h%1$s AS MATERIALIZED (SELECT d.cell, %2$s AS hint FROM (SELECT DISTINCT w.c%1$s AS cell FROM w '
          'WHERE w.c%1$s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM r%1$s WHERE r%1$s.k = w.c%1$s)) d)',
          field.position, prm._import_suggestion(field.lookup, 'd.cell'));
        the_joins := the_joins || format(' LEFT JOIN h%1$s ON h%1$s.cell = w.c%1$s', field.position);
      END IF;
    END IF;

    CONTINUE WHEN field.role = 'attribute' OR field.target = 'attributes';
    IF field.role = 'filled' THEN
      the_value := NULL;
      the_new := the_new || format(', %s', field.fallback);
    ELSE
      the_value := prm._import_value(field);
      IF field.target = 'currency' AND field.not_null THEN
        field.default_expression := 'prm._program_currency($2)';
      END IF;
      IF field.not_null OR field.target = 'closed_at' THEN
        -- An empty cell leaves what is there, and gives a new row the column's default.
        the_value := format('coalesce(%s)', concat_ws(', ', the_value, format('t.%I', field.column_name), field.default_expression));
      END IF;
      the_values := the_values || format(', %s AS n%s', the_value, field.position);
      the_new := the_new || format(', j.n%s', field.position);
      IF field.column_name <> the_key THEN
        the_values := the_values || format(', t.%I AS o%s', field.column_name, field.position);
        the_sets := concat_ws(', ', the_sets, format('%1$I = excluded.%1$I', field.column_name));
        the_fresh := concat_ws(', ', the_fresh, format('j.n%s', field.position));
        the_old := concat_ws(', ', the_old, format('j.o%s', field.position));
        the_updated := the_updated || field.column_name;
      END IF;
    END IF;
    the_columns := the_columns || format(', %I', field.column_name);
  END LOOP;

  -- Single attributes are set beside those that are there.
  SELECT string_agg(format('%L, w.c%s', substr(f.target, 12), f.position), ', ') INTO the_attributes
    FROM unnest(_import_statement.fields) f WHERE f.role = 'attribute';
  SELECT concat_ws(' || ', format('coalesce(%s)', concat_ws(', ', max(format('w.c%s::jsonb', f.position)), 't.attributes', '''{}''::jsonb')),
                   'jsonb_strip_nulls(jsonb_build_object(' || the_attributes || '))')
    INTO the_value FROM unnest(_import_statement.fields) f WHERE f.target = 'attributes';
  IF the_attributes IS NOT NULL OR EXISTS (SELECT 1 FROM unnest(_import_statement.fields) f WHERE f.target = 'attributes') THEN
    the_values := the_values || format(', %s AS n0, t.attributes AS o0', the_value);
    the_columns := the_columns || ', attributes';
    the_new := the_new || ', j.n0';
    the_sets := concat_ws(', ', the_sets, 'attributes = excluded.attributes');
    the_fresh := concat_ws(', ', the_fresh, 'j.n0');
    the_old := concat_ws(', ', the_old, 'j.o0');
    the_updated := the_updated || 'attributes'::text;
  END IF;

  RETURN format('WITH input AS (SELECT (u.r ->> 0)::bigint AS source_row, (u.r ->> 1)::bigint AS first_row, %s FROM unnest($1) AS u(r))', the_cells)
    || format(', w AS MATERIALIZED (SELECT i.*%s FROM input i)', the_moments)
    || the_lookups
    || format(', t AS MATERIALIZED (SELECT f.* FROM (SELECT array_agg(e) AS found FROM prm.%I e WHERE e.program_id = $2 AND e.%I = ANY (prm._import_cells($1, 0))) a '
              'CROSS JOIN LATERAL unnest(a.found) AS f)', the_kind, the_key)
    || format(', judged AS MATERIALIZED (SELECT w.source_row, w.c1 AS key, %s AS id, t.program_id IS NOT NULL AS known, concat_ws(''; '', %s) AS problem, '
              '%s AS waiting%s FROM w LEFT JOIN t ON t.%I = w.c1%s)',
              the_id, the_complaints, the_waits, the_values, the_key, the_joins)
    || format(', j AS MATERIALIZED (SELECT j.*, %s AS changed FROM judged j)',
              CASE WHEN the_fresh IS NULL THEN 'NOT j.known' ELSE format('NOT j.known OR ROW(%s) IS DISTINCT FROM ROW(%s)', the_fresh, the_old) END)
    || format(', written AS (INSERT INTO prm.%I AS t (program_id%s) SELECT $2%s FROM j WHERE j.problem = '''' AND NOT j.waiting AND j.changed%s '
              'ORDER BY j.source_row ON CONFLICT (program_id, %I) %s RETURNING %s AS id, t.%I AS key, t.xmax = 0 AS fresh)',
              the_kind, the_columns, the_new, CASE WHEN the_kind = 'earning_event' THEN ' AND NOT j.known' ELSE '' END, the_key,
              CASE WHEN the_sets IS NULL OR the_kind = 'earning_event' THEN 'DO NOTHING'
                   ELSE format('DO UPDATE SET %s WHERE ROW(%s) IS DISTINCT FROM ROW(%s)', the_sets,
                     (SELECT string_agg(format('t.%I', c), ', ') FROM unnest(the_updated) c),
                     (SELECT string_agg(format('excluded.%I', c), ', ') FROM unnest(the_updated) c)) END,
              the_id, the_key)
    || format(' SELECT array_agg(ROW(j.source_row, CASE WHEN j.waiting AND j.problem = '''' THEN ''waiting'' WHEN j.problem <> ''''%1$s THEN ''rejected'' '
              'WHEN x.fresh THEN ''inserted'' WHEN x.key IS NOT NULL THEN ''updated'' ELSE ''unchanged'' END, coalesce(x.id, j.id), '
              'coalesce(nullif(j.problem, '''')%2$s))::prm.import_result ORDER BY j.source_row) '
              'FROM j LEFT JOIN written x ON x.key = j.key AND j.problem = '''' AND NOT j.waiting',
              CASE WHEN the_kind = 'earning_event' THEN ' OR (j.known AND j.changed)' ELSE '' END,
              CASE WHEN the_kind = 'earning_event' THEN ', CASE WHEN j.known AND j.changed THEN format(''an earning event with the external_ref "%s" exists and is '
                'different; events are never changed'', left(j.key, 100)) END' ELSE ', NULL' END);
END
$prm$;
COMMENT ON FUNCTION prm._import_statement(text, prm.import_field[]) IS
'The statement that judges and writes a batch of an import and returns its prm.import_result[]. $1 rows, $2 programme, $3 may historical states be given, $4 last pass, $5 time zone.';
