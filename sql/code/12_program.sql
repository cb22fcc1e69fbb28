
-- Programmes: making one from a template, and what all tables of the model have in common.

CREATE FUNCTION prm._apply_common() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  common record;
BEGIN
  FOR common IN
    SELECT c.relname, a.attname
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname IN ('program_id', 'created_at', 'recorded_at', 'attributes', 'external_ref')
      AND NOT (c.relname = 'program' AND a.attname = 'program_id')
      AND EXISTS (SELECT 1 FROM pg_attribute p WHERE p.attrelid = c.oid AND p.attname = 'program_id')
    ORDER BY 1, 2
  LOOP
    IF common.attname = 'program_id' THEN
      EXECUTE format('ALTER TABLE prm.%I ALTER COLUMN program_id SET DEFAULT prm.current_program()', common.relname);
    END IF;
    EXECUTE format('COMMENT ON COLUMN prm.%I.%I IS %L', common.relname, common.attname,
      CASE common.attname
        WHEN 'program_id' THEN 'The programme; by default the one in force.'
        WHEN 'created_at' THEN 'When the thing came to be; an import may give a past moment.'
        WHEN 'recorded_at' THEN 'When the row was written, wall clock, never moved by prm.clock.'
        WHEN 'attributes' THEN 'Further fields of the user''s own, a JSON object.'
        ELSE 'Its id in the system it came from; unique in the programme; import() recognises rows by it.'
      END);
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._apply_common() IS 'Sets the default of program_id and the comments of common columns on every table of the model. Part of install().';

CREATE FUNCTION prm._load_definition(program_id bigint, definition jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  -- The order in which foreign keys allow the rows to come.
  the_tables constant text[] := ARRAY['partner_kind', 'earning_kind', 'legal_entity', 'ladder', 'tier', 'tier_policy', 'certification', 'metric', 'segment',
    'metric_benchmark', 'tier_requirement', 'tier_track', 'tier_market', 'course', 'exam', 'track', 'track_step', 'exam_limit', 'benefit', 'health_model', 'health_metric', 'health_band', 'product', 'tier_product', 'tier_point_rate', 'commission_plan',
    'commission_rule', 'exchange_rate', 'outbox_rule', 'calendar', 'calendar_hours', 'calendar_holiday', 'escalation_role', 'lead_criterion', 'machine_hook',
    'risk_rule', 'survey', 'badge', 'point_rule', 'mission', 'mission_step', 'campaign', 'board', 'streak_rule', 'usage_activity', 'adoption_policy',
    'tax_rule', 'settlement_profile', 'payout_fee_rule', 'account_map', 'statement_policy', 'ipp_model', 'ipp_criterion', 'mdf_fund'];
  the_table text;
  the_rows jsonb;
  the_columns text;
  the_unknown text;
  shape record;
  machine record;
BEGIN
  SELECT k INTO the_unknown FROM jsonb_object_keys(_load_definition.definition) AS k
    WHERE k <> 'machine' AND NOT k = ANY (the_tables) ORDER BY k LIMIT 1;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a programme''s definition has no part "%s"', the_unknown),
      DETAIL = format('The parts are machine, %s.', array_to_string(the_tables, ', ')),
      HINT = 'Correct the name of the part.';
  END IF;

  FOR machine IN SELECT m.key, m.value FROM jsonb_each(coalesce(_load_definition.definition -> 'machine', '{}')) m ORDER BY m.key
  LOOP
    PERFORM prm.define_machine(machine.key, machine.value, _load_definition.program_id);
  END LOOP;

  FOREACH the_table IN ARRAY the_tables
  LOOP
    the_rows := coalesce(_load_definition.definition -> the_table, '[]');
    IF the_table = 'commission_rule' THEN
      -- A rule names its plan; the number of the plan is known only now.
      SELECT coalesce(jsonb_agg((r.value - 'plan') || jsonb_build_object('plan_id', p.plan_id)), '[]') INTO the_rows
        FROM jsonb_array_elements(the_rows) r
        JOIN prm.commission_plan p ON p.program_id = _load_definition.program_id AND p.name = r.value ->> 'plan';
    END IF;
    -- Rows that give the same columns go in by one statement; columns that a row leaves out get their defaults.
    FOR shape IN
      SELECT k.names, jsonb_agg(r.value ORDER BY r.ordinality) AS members
      FROM jsonb_array_elements(the_rows) WITH ORDINALITY AS r(value, ordinality)
      CROSS JOIN LATERAL (SELECT array_agg(n ORDER BY n) AS names FROM jsonb_object_keys(r.value) n) k
      GROUP BY k.names ORDER BY min(r.ordinality)
    LOOP
      SELECT n INTO the_unknown FROM unnest(shape.names) n
        WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = ('prm.' || quote_ident(the_table))::regclass
                          AND a.attname = n AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
      IF the_unknown IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('part "%s" of the definition has no field "%s"', the_table, the_unknown),
          DETAIL = format('It was given in the row %s.', shape.members -> 0),
          HINT = format('The fields are the columns of prm.%s.', the_table);
      END IF;
      SELECT string_agg(quote_ident(n), ', ') INTO the_columns FROM unnest(shape.names) n;
      EXECUTE format('INSERT INTO prm.%1$I (program_id, %2$s) SELECT $1, %2$s FROM jsonb_populate_recordset(NULL::prm.%1$I, $2)',
                     the_table, the_columns) USING _load_definition.program_id, shape.members;
    END LOOP;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._load_definition(bigint, jsonb) IS
'Writes a programme''s configuration (machines, tiers, metrics, plans, outbox rules ...) from one JSON document. Error 22023 names an unknown part or field.';

CREATE FUNCTION prm.create_program(name text, template text DEFAULT 'reseller', currency text DEFAULT 'USD', time_zone text DEFAULT 'UTC') RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_definition jsonb;
  the_program bigint;
BEGIN
  PERFORM prm._ready();
  IF coalesce(btrim(create_program.name), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a programme needs a name',
      DETAIL = 'The name given is empty.', HINT = 'SELECT prm.create_program(''My channel'').';
  END IF;
  IF coalesce(create_program.currency, '') !~ '^[A-Z]{3}$' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no currency code', create_program.currency),
      DETAIL = 'A currency is three capital letters of ISO 4217.', HINT = 'Use a code like USD, EUR or BRL.';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_timezone_names z WHERE z.name = create_program.time_zone) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no time zone', create_program.time_zone),
      DETAIL = 'The server does not know this name.', HINT = 'SELECT name FROM pg_timezone_names lists them.';
  END IF;
  the_definition := prm._template(create_program.template);
  -- Two programmes of one name are a mistake; the lock makes the test hold when two sessions create at once.
  PERFORM pg_advisory_xact_lock(7239211, 2);
  SELECT p.program_id INTO the_program FROM prm.program p WHERE lower(p.name) = lower(btrim(create_program.name));
  IF the_program IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('there is already a programme "%s"', btrim(create_program.name)),
      DETAIL = format('It has the number %s.', the_program), HINT = 'Choose another name, or work in the one that exists.';
  END IF;
  INSERT INTO prm.program (name, template, currency, time_zone)
    VALUES (btrim(create_program.name), create_program.template, create_program.currency, create_program.time_zone)
    RETURNING program_id INTO the_program;
  -- A plan of a template is in the currency of its programme.
  the_definition := jsonb_set(the_definition, '{commission_plan}',
    (SELECT coalesce(jsonb_agg(jsonb_build_object('currency', create_program.currency) || e.value), '[]')
     FROM jsonb_array_elements(coalesce(the_definition -> 'commission_plan', '[]')) e));
  PERFORM prm._load_definition(the_program, the_definition);
  RETURN the_program;
END
$prm$;
COMMENT ON FUNCTION prm.create_program(text, text, text, text) IS
'Makes a programme from a template (reseller, blank): rows that you then edit. Returns its number. Errors: 22023 bad name, currency, time zone or template, 23505 the name is taken.';

CREATE FUNCTION prm._empty_program(program_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_entries bigint := (SELECT count(*) FROM (SELECT 1 FROM prm.ledger l WHERE l.program_id = _empty_program.program_id LIMIT 1000) x);
  the_facts oid[];
  the_left oid[];
  the_next oid[];
  target record;
BEGIN
  IF the_entries > 0 THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('programme %s has booked money and cannot be deleted', _empty_program.program_id),
      DETAIL = format('Its ledger has %s%s. The ledger is never deleted, and neither is what its entries refer to.', CASE WHEN the_entries = 1000 THEN 'at least ' ELSE '' END,
        CASE the_entries WHEN 1 THEN '1 entry' ELSE the_entries || ' entries' END),
      HINT = 'Leave the programme, and end what is in force: offboard its partners, set upper(valid) of its commission rules. What was only a trial is best made in a database of its own.',
      SCHEMA = 'prm', TABLE = 'program';
  END IF;
  -- What may earn goes first: while an event is there, taking away the credits of its deal would book again.
  the_facts := ARRAY(
    WITH RECURSIVE fact AS (
      SELECT 'prm.earning_event'::regclass::oid AS relation
      UNION SELECT c.conrelid FROM fact f JOIN pg_constraint c ON c.contype = 'f' AND c.confrelid = f.relation AND c.connamespace = 'prm'::regnamespace)
    SELECT f.relation FROM fact f);
  -- Twice: triggers write down that something went.
  FOR round_no IN 1 .. 2 LOOP
    the_left := ARRAY(
      SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'program_id' AND NOT a.attisdropped
      WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN ('program', 'ledger') ORDER BY c.relname);
    WHILE cardinality(the_left) > 0 LOOP
      -- The tables that no other refers to any more. In a circle, if ever there is one, the foreign keys decide.
      the_next := ARRAY(
        SELECT t.relation FROM unnest(the_left) AS t(relation)
        WHERE NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = t.relation AND c.conrelid <> t.relation AND c.conrelid = ANY (the_left)));
      IF the_next && the_facts THEN
        the_next := ARRAY(SELECT n.relation FROM unnest(the_next) AS n(relation) WHERE n.relation = ANY (the_facts));
      ELSIF the_next = '{}' THEN
        the_next := the_left;
      END IF;
      FOR target IN SELECT c.relname AS name FROM unnest(the_next) AS n(relation) JOIN pg_class c ON c.oid = n.relation ORDER BY c.relname LOOP
        EXECUTE format('DELETE FROM prm.%I WHERE program_id = $1', target.name) USING _empty_program.program_id;
      END LOOP;
      the_left := ARRAY(SELECT l.relation FROM unnest(the_left) AS l(relation) WHERE NOT l.relation = ANY (the_next));
    END LOOP;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._empty_program(bigint) IS
'Deletes everything of a programme but its row, in the order that the foreign keys allow. Part of DELETE FROM prm.program; called otherwise, the tables of records refuse. Error 55000 where its ledger has entries.';

CREATE FUNCTION prm.program_deleted() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_program_deleted';
COMMENT ON FUNCTION prm.program_deleted() IS
'Trigger of prm.program: a programme in which nothing was booked goes with all that is in it, history included; one with a ledger stays (55000). For the owner of the model (42501).';
