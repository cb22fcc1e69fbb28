
-- Import: rows of any table of the caller's become partners, customers, products, leads, deals or earning events. This file
-- is what the caller sees and the walk through the source; 91_import_plan.sql turns a mapping into statements.

CREATE TYPE prm.import_result AS (source_row bigint, outcome text, id bigint, message text);
COMMENT ON TYPE prm.import_result IS
'What became of a row of the source: its position there (from 1, in the physical order of a table, in the order of delivery of a view), inserted, updated, unchanged or rejected, the number of the row in the model (NULL for products, which have none), and why it was rejected.';

CREATE FUNCTION prm._import_rows(statement text, source_rows jsonb[], program_id bigint, historical boolean, last_pass boolean, context boolean)
RETURNS SETOF prm.import_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_results prm.import_result[];
  the_half integer := cardinality(_import_rows.source_rows) / 2;
  the_message text;
  the_detail text;
BEGIN
  BEGIN
    IF _import_rows.context THEN
      PERFORM prm._import_context();
    END IF;
    EXECUTE _import_rows.statement INTO the_results
      USING _import_rows.source_rows, _import_rows.program_id, _import_rows.historical, _import_rows.last_pass,
        prm._program_time_zone(_import_rows.program_id);
    RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message FROM unnest(the_results) r;
    RETURN;
  EXCEPTION
    WHEN serialization_failure OR deadlock_detected THEN
      RAISE;
    WHEN OTHERS THEN
      -- What is wrong with the server, the statement or the transaction is no fault of a row.
      IF SQLSTATE ~ '^(40|53|57|58|XX|25|F0)' OR (SQLSTATE ~ '^42' AND SQLSTATE NOT IN ('42501', '42704')) THEN
        RAISE;
      END IF;
      GET STACKED DIAGNOSTICS the_message = MESSAGE_TEXT, the_detail = PG_EXCEPTION_DETAIL;
      the_message := concat_ws(': ', the_message, left(nullif(the_detail, ''), 500)) || format(' (SQLSTATE %s)', SQLSTATE);
  END;
  IF the_half = 0 THEN
    RETURN NEXT ROW((_import_rows.source_rows[1] ->> 0)::bigint, 'rejected', NULL, the_message)::prm.import_result;
    RETURN;
  END IF;
  RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message
    FROM prm._import_rows(_import_rows.statement, _import_rows.source_rows[:the_half], _import_rows.program_id, _import_rows.historical,
                          _import_rows.last_pass, _import_rows.context) r;
  RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message
    FROM prm._import_rows(_import_rows.statement, _import_rows.source_rows[the_half + 1:], _import_rows.program_id, _import_rows.historical,
                          _import_rows.last_pass, _import_rows.context) r;
END
$prm$;
COMMENT ON FUNCTION prm._import_rows(text, jsonb[], bigint, boolean, boolean, boolean) IS
'Writes one batch of an import in a subtransaction; where it fails, each half of it, until the bad row stands alone and is rejected with the error''s text. Errors that are no fault of a row pass through.';

CREATE FUNCTION prm._plans_outdated() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_plans_outdated';
COMMENT ON FUNCTION prm._plans_outdated() IS
'Has the plans that are kept over the tables of the model made anew: those of an empty table may read a whole programme for each row. Changes nothing else.';

CREATE FUNCTION prm._import_all(reading text, statement text, batch integer, program_id bigint, historical boolean, context boolean)
RETURNS SETOF prm.import_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_rows jsonb[];
  the_results prm.import_result[];
  the_waiting jsonb[] := '{}';
  the_next jsonb[];
  the_last boolean := false;
  the_start integer;
  the_batches integer := 0;
  the_next_plans integer := 1;
BEGIN
  FOR the_rows IN EXECUTE _import_all.reading USING _import_all.batch
  LOOP
    -- After 1, 2, 4 ... batches: often enough to follow the growth, seldom enough to cost nothing.
    IF the_batches = the_next_plans THEN
      PERFORM prm._plans_outdated();
      the_next_plans := the_next_plans * 2;
    END IF;
    the_batches := the_batches + 1;
    SELECT array_agg(r) INTO the_results
      FROM prm._import_rows(_import_all.statement, the_rows, _import_all.program_id, _import_all.historical, false, _import_all.context) r;
    RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message FROM unnest(the_results) r WHERE r.outcome <> 'waiting';
    the_waiting := the_waiting || ARRAY(SELECT w FROM unnest(the_rows) w
      JOIN unnest(the_results) r ON r.source_row = (w ->> 0)::bigint WHERE r.outcome = 'waiting' ORDER BY r.source_row);
  END LOOP;

  -- Rows that wait for their parent, which may stand further down in the source: again and again while that helps, and a
  -- last time in which those whose parent is nowhere are rejected.
  WHILE cardinality(the_waiting) > 0
  LOOP
    the_next := '{}';
    the_start := 1;
    WHILE the_start <= cardinality(the_waiting)
    LOOP
      the_rows := the_waiting[the_start : the_start + _import_all.batch - 1];
      SELECT array_agg(r) INTO the_results
        FROM prm._import_rows(_import_all.statement, the_rows, _import_all.program_id, _import_all.historical, the_last, _import_all.context) r;
      RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message FROM unnest(the_results) r WHERE r.outcome <> 'waiting';
      the_next := the_next || ARRAY(SELECT w FROM unnest(the_rows) w
        JOIN unnest(the_results) r ON r.source_row = (w ->> 0)::bigint WHERE r.outcome = 'waiting' ORDER BY r.source_row);
      the_start := the_start + _import_all.batch;
    END LOOP;
    the_last := cardinality(the_next) = cardinality(the_waiting);
    the_waiting := the_next;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._import_all(text, text, integer, bigint, boolean, boolean) IS
'Reads the source of an import once, batch by batch, and writes the batches; rows that name a parent further down in the source come after it.';

CREATE FUNCTION prm._import_check_source(source regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  relation record;
BEGIN
  SELECT c.relkind, format('%I.%I', n.nspname, c.relname) AS name INTO relation
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = _import_check_source.source;
  IF NOT FOUND OR relation.relkind NOT IN ('r', 'p', 'v', 'm', 'f') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the source of an import is no table',
      DETAIL = format('It was given as %s.', coalesce(_import_check_source.source::text, 'NULL')),
      HINT = 'Load the file into a table with COPY and name that table, or name a view or a foreign table.';
  END IF;
  IF NOT has_any_column_privilege(_import_check_source.source, 'SELECT') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to read %s', relation.name),
      DETAIL = 'An import reads its source with your rights.', HINT = 'Let the owner of the table GRANT SELECT on it to you.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._import_check_source(regclass) IS 'Refuses a source that is no table (22023) or that the caller may not read (42501).';

CREATE FUNCTION prm._import_check_rights(kind text, mapping jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_historical boolean;
  the_target text;
BEGIN
  IF NOT has_any_column_privilege(('prm.' || quote_ident(_import_check_rights.kind))::regclass, 'INSERT')
     OR (_import_check_rights.kind <> 'earning_event' AND NOT has_any_column_privilege(('prm.' || quote_ident(_import_check_rights.kind))::regclass, 'UPDATE')) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to import rows of kind "%s"', _import_check_rights.kind),
      DETAIL = format('You may not write table prm.%s.', _import_check_rights.kind),
      HINT = 'Let the owner of schema prm give you a profile: prm.grant_access(role, ''manager'').';
  END IF;
  -- Two statements: the rights of all tables of one are asked for before it begins, and a partner's role may not read the profiles.
  the_historical := pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'prm'), 'USAGE');
  IF NOT the_historical AND has_table_privilege('prm.access_grant', 'SELECT') THEN
    the_historical := EXISTS (SELECT 1 FROM prm.access_grant g JOIN pg_roles r ON r.rolname = g.role_name WHERE g.profile = 'admin' AND pg_has_role(r.oid, 'USAGE'));
  END IF;
  SELECT t INTO the_target FROM unnest(ARRAY['created_at', 'closed_at']) t WHERE _import_check_rights.mapping ? t LIMIT 1;
  IF FOUND AND NOT the_historical THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to import historical dates (%s)', the_target),
      DETAIL = 'Past moments are recorded as given, without the path that led there.',
      HINT = 'Leave the field out, or let the owner of schema prm or a role with the profile admin run the import.';
  END IF;
  RETURN the_historical;
END
$prm$;
COMMENT ON FUNCTION prm._import_check_rights(text, jsonb) IS
'Refuses a caller that may not write the rows, or their historical dates (42501); returns whether it may write historical states.';

CREATE FUNCTION prm.import(kind text, source regclass, mapping jsonb, options jsonb DEFAULT '{}', dry_run boolean DEFAULT false,
  program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.import_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(import.program_id);
  the_batch integer := 1000;
  the_fields prm.import_field[];
  the_reading text;
  the_statement text;
  the_historical boolean;
  the_context boolean;
BEGIN
  PERFORM prm._check_options(import.options, ARRAY['batch'], 'import');
  IF import.options ? 'batch' THEN
    IF import.options ->> 'batch' !~ '^[0-9]{1,6}$' OR (import.options ->> 'batch')::integer NOT BETWEEN 1 AND 100000 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a batch of %s rows cannot be imported', import.options ->> 'batch'),
        DETAIL = 'A batch has 1 to 100000 rows.', HINT = 'Leave the option out for 1000.';
    END IF;
    the_batch := (import.options ->> 'batch')::integer;
  END IF;
  IF import.dry_run IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'dry_run is neither true nor false', DETAIL = 'It was given as NULL.',
      HINT = 'true only tells what would happen, false writes.';
  END IF;
  PERFORM prm._import_check_kind(import.kind);
  PERFORM prm._import_check_source(import.source);
  SELECT array_agg(f ORDER BY f.position) INTO the_fields FROM prm._import_fields(import.kind, import.source, import.mapping) f;
  the_historical := prm._import_check_rights(import.kind, import.mapping);
  the_context := the_historical AND import.kind IN ('partner', 'lead', 'deal')
    AND import.mapping ?| ARRAY['state', 'created_at', 'closed_at'];
  the_reading := prm._import_reading(import.kind, import.source, the_fields);
  the_statement := prm._import_statement(import.kind, the_fields);

  IF import.dry_run THEN
    -- The real import, undone: so that what it says is what would happen.
    BEGIN
      RETURN QUERY SELECT r.source_row, r.outcome, CASE WHEN r.outcome <> 'inserted' THEN r.id END, r.message
        FROM prm._import_all(the_reading, the_statement, the_batch, the_program, the_historical, the_context) r;
      RAISE EXCEPTION USING ERRCODE = 'PRMDR', MESSAGE = 'end of the dry run',
        DETAIL = 'Everything that the import wrote is undone.', HINT = 'This message is never shown.';
    EXCEPTION WHEN SQLSTATE 'PRMDR' THEN
      NULL;
    END;
  ELSE
    RETURN QUERY SELECT r.source_row, r.outcome, r.id, r.message
      FROM prm._import_all(the_reading, the_statement, the_batch, the_program, the_historical, the_context) r;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.import(text, regclass, jsonb, jsonb, boolean, bigint) IS
'Imports rows of a table, view or foreign table as kind partner, customer, product, lead, deal or earning_event, and says what became of each. mapping: target field -> source column, or {"column": c, "format": "MM/DD/YYYY", "default": v, "map": {"from": "to"}}, or {"value": v}; attributes.NAME sets one attribute; partner_ref, customer_ref, lead_ref, deal_ref and parent_ref name other rows by external_ref. Blanks around a value are taken off and empty text is NULL; a moment without zone is in the programme''s. Idempotent by external_ref. Past states and dates are recorded as given (only for the owner of schema prm and admins), without the path that led there: no hooks and no messages follow, but a state with deadlines starts them, from created_at on, so they may be due at once. A bad row is rejected with its reason and does not stop the good ones. Option: batch (1000). dry_run undoes everything. Errors before anything is read: 22023 unknown kind, option, target or source column, 42501 missing rights.';
