-- Random walks through random machines: whatever is legal happens and is recorded, whatever is not leaves nothing, and the history
-- replays to the present states, version by version. Single rows and sets, four kinds of table, versions that come while rows are
-- on their way, migrations between them. The seed is fixed; set prm_test.seed for another.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

SELECT set_config('prm.program_id', prm.create_program('Random walks', 'blank')::text, true) AS p \gset
SELECT setseed(coalesce(nullif(current_setting('prm_test.seed', true), '')::float8, 0.42)) AS seeded \gset
CREATE TABLE public.walk_int (id integer PRIMARY KEY, state text NOT NULL);
CREATE TABLE public.walk_big (tenant integer NOT NULL DEFAULT prm.current_program(), id bigint NOT NULL, state varchar(30) NOT NULL, PRIMARY KEY (tenant, id)) PARTITION BY HASH (id);
CREATE TABLE public.walk_big_0 PARTITION OF public.walk_big FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.walk_big_1 PARTITION OF public.walk_big FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE public.walk_uuid (id uuid PRIMARY KEY, state text NOT NULL);

-- A machine of s0 .. sN: a way from each state to the next, some at random, two final states. A version differs in its arrows, and
-- knows one state that the others do not.
CREATE FUNCTION pg_temp.random_machine(round integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  the_size integer := 4 + floor(random() * 4)::integer;
  the_states jsonb := '{"done": {"type": "final"}, "lost": {"type": "final"}}';
  the_events jsonb;
BEGIN
  FOR i IN 0 .. the_size LOOP
    the_events := jsonb_build_object('next', jsonb_build_object('target', CASE WHEN i = the_size THEN 'only' || round ELSE 's' || i + 1 END));
    FOR j IN 1 .. floor(random() * 4)::integer LOOP
      the_events := the_events || jsonb_build_object('e' || j, jsonb_build_object('target', CASE WHEN random() < 0.1 THEN 'lost' ELSE 's' || floor(random() * (the_size + 1))::integer END));
    END LOOP;
    the_states := the_states || jsonb_build_object('s' || i, jsonb_build_object('on', the_events || jsonb_build_object('drop', jsonb_build_object('target', 'lost'))));
  END LOOP;
  RETURN jsonb_build_object('initial', 's0', 'states', the_states || jsonb_build_object('only' || round,
    jsonb_build_object('on', jsonb_build_object('end', jsonb_build_object('target', 'done'), 'back', jsonb_build_object('target', 's0')))));
END $$;

-- What each row should have gone through, kept beside the engine: state and version, and how many changes there were.
CREATE TEMP TABLE model (machine text, key text, version integer, state text, changes integer, PRIMARY KEY (machine, key));
CREATE TEMP TABLE place (machine text, relation text, id text);
INSERT INTO place VALUES ('walk_int', 'public.walk_int', 'id'), ('walk_big', 'public.walk_big', 'id'), ('walk_uuid', 'public.walk_uuid', 'id'), ('lead', 'prm.lead', 'lead_id');
CREATE FUNCTION pg_temp.is_legal(the_machine text, the_version integer, from_state text, wanted text) RETURNS boolean LANGUAGE sql AS $$
  SELECT count(*) = 1 FROM prm.machine_transition t WHERE t.program_id = prm.current_program() AND t.machine = the_machine AND t.version = the_version
    AND t.from_state = is_legal.from_state AND t.to_state = wanted $$;

CREATE FUNCTION pg_temp.walk(the_machine text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  the_place place := (SELECT p FROM place p WHERE p.machine = the_machine);
  the_rows integer := 0;
  the_refusals integer := 0;
  the_version integer;
  the_other integer;
  the_key text;
  the_wanted text;
  the_keys text[];
  the_legal boolean;
  the_moved integer;
  subject model;
BEGIN
  FOR round IN 1 .. 6 LOOP
    the_version := prm.define_machine(the_machine, pg_temp.random_machine(round));
    IF round = 1 AND the_machine <> 'lead' THEN
      PERFORM prm.attach_machine(the_place.relation::regclass, the_machine, program_column => CASE the_machine WHEN 'walk_big' THEN 'tenant' END);
    END IF;
    FOR i IN 1 .. 12 LOOP
      the_rows := the_rows + 1;
      the_key := CASE the_machine WHEN 'walk_uuid' THEN md5(the_rows::text)::uuid::text ELSE (9400000 + the_rows)::text END;
      EXECUTE format('INSERT INTO %s (%I, state) VALUES (%L, ''s0'')', the_place.relation, the_place.id, the_key);
      INSERT INTO model VALUES (the_machine, the_key, the_version, 's0', 1);
    END LOOP;
    -- Sets: all rows of a state to another one, in one statement, legal only if it is so for each of them in its version.
    FOR i IN 1 .. 25 LOOP
      SELECT m.state INTO the_wanted FROM model m WHERE m.machine = the_machine ORDER BY random() LIMIT 1;
      SELECT array_agg(m.key ORDER BY m.key) INTO the_keys FROM model m WHERE m.machine = the_machine AND m.state = the_wanted AND hashtext(m.key) % 3 = i % 3;
      CONTINUE WHEN the_keys IS NULL;
      SELECT t.to_state INTO the_wanted FROM prm.machine_transition t WHERE t.program_id = prm.current_program() AND t.machine = the_machine
        AND t.from_state = the_wanted ORDER BY random() LIMIT 1;
      CONTINUE WHEN the_wanted IS NULL;
      SELECT bool_and(m.state = the_wanted OR pg_temp.is_legal(the_machine, m.version, m.state, the_wanted)) INTO the_legal
        FROM model m WHERE m.machine = the_machine AND m.key = ANY (the_keys);
      BEGIN
        EXECUTE format('UPDATE %s SET state = $1 WHERE %I::text = ANY ($2)', the_place.relation, the_place.id) USING the_wanted, the_keys;
        IF NOT the_legal THEN RETURN format('round %s: an illegal set went to %s', round, the_wanted); END IF;
        UPDATE model m SET changes = m.changes + (m.state <> the_wanted)::integer, state = the_wanted WHERE m.machine = the_machine AND m.key = ANY (the_keys);
      EXCEPTION WHEN check_violation THEN
        IF the_legal THEN RETURN format('round %s: a legal set was refused: %s', round, SQLERRM); END IF;
        the_refusals := the_refusals + 1;
      END;
    END LOOP;
    -- Single rows, by events: every event that the row's version has is allowed, and no other.
    FOR subject IN SELECT m.* FROM model m WHERE m.machine = the_machine ORDER BY random() LIMIT 15 LOOP
      FOR the_key, the_wanted IN SELECT t.event, t.to_state FROM prm.machine_transition t WHERE t.program_id = prm.current_program() AND t.machine = the_machine
          AND t.version = subject.version AND t.from_state = subject.state ORDER BY random() LIMIT 1 LOOP
        IF the_machine = 'walk_uuid' THEN PERFORM prm.fire_uuid(the_machine, subject.key::uuid, the_key);
        ELSE PERFORM prm.fire(the_machine, subject.key::bigint, the_key); END IF;
        UPDATE model m SET state = the_wanted, changes = m.changes + 1 WHERE m.machine = the_machine AND m.key = subject.key;
      END LOOP;
    END LOOP;
    -- Now and then the rows of an older version move to the one in force, what it does not know to its beginning.
    IF round % 2 = 0 THEN
      the_other := the_version - 1;
      SELECT count(*) INTO the_moved FROM prm.migrate_subjects(the_machine, the_other, the_version, (SELECT coalesce(jsonb_object_agg(s.state, 's0'), '{}') FROM prm.machine_state s
        WHERE s.program_id = prm.current_program() AND s.machine = the_machine AND s.version = the_other AND NOT s.is_final AND NOT EXISTS (SELECT 1 FROM prm.machine_state n
          WHERE n.program_id = s.program_id AND n.machine = s.machine AND n.version = the_version AND n.state = s.state)));
      IF the_moved <> (SELECT count(*) FROM model m WHERE m.machine = the_machine AND m.version = the_other AND m.state NOT IN ('done', 'lost')) THEN
        RETURN format('round %s: %s rows were moved', round, the_moved);
      END IF;
      UPDATE model m SET version = the_version, changes = m.changes + 1, state = CASE WHEN EXISTS (SELECT 1 FROM prm.machine_state n WHERE n.program_id = prm.current_program()
          AND n.machine = the_machine AND n.version = the_version AND n.state = m.state) THEN m.state ELSE 's0' END
        WHERE m.machine = the_machine AND m.version = the_other AND m.state NOT IN ('done', 'lost');
    END IF;
  END LOOP;
  RETURN CASE WHEN the_refusals = 0 THEN 'nothing was refused' ELSE 'walked' END;
END $$;
SELECT is(pg_temp.walk(machine), 'walked', machine || ': what is legal happens, and nothing else') FROM place;

CREATE TEMP VIEW history AS
SELECT h.machine, coalesce(h.subject_id::text, h.subject_uuid::text) AS key, h.history_id, h.machine_version, h.from_state, h.to_state, h.event,
  lag(h.to_state) OVER w AS before, row_number() OVER w AS number, count(*) OVER (PARTITION BY h.machine, h.subject_id, h.subject_uuid) AS changes
FROM prm.state_history h WHERE h.program_id = prm.current_program()
WINDOW w AS (PARTITION BY h.machine, h.subject_id, h.subject_uuid ORDER BY h.history_id);
SELECT is_empty('SELECT * FROM history WHERE from_state IS DISTINCT FROM before', 'each entry begins where the one before ended');
SELECT is_empty($$SELECT * FROM history h WHERE h.event IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.machine_transition t WHERE t.program_id = prm.current_program()
  AND t.machine = h.machine AND t.version = h.machine_version AND t.from_state = h.from_state AND t.event = h.event AND t.to_state = h.to_state)$$, 'each is an event of its version');
SELECT results_eq($$SELECT h.machine, h.key, h.machine_version, h.to_state, h.changes FROM history h WHERE h.number = h.changes ORDER BY 1, 2$$,
  $$SELECT m.machine, m.key, m.version, m.state, m.changes::bigint FROM model m ORDER BY 1, 2$$, 'the last one is what the row should be by now, and no change is missing');
SELECT results_eq($$SELECT m.machine, m.key, m.state FROM model m ORDER BY 1, 2$$,
  $$SELECT * FROM (SELECT 'lead', lead_id::text, state FROM prm.lead WHERE program_id = prm.current_program() UNION ALL SELECT 'walk_int', id::text, state FROM public.walk_int
    UNION ALL SELECT 'walk_big', id::text, state FROM public.walk_big UNION ALL SELECT 'walk_uuid', id::text, state FROM public.walk_uuid) r ORDER BY 1, 2$$, 'and so is the row itself');
SELECT is((SELECT count(DISTINCT (machine, version)) > 12 FROM model), true, 'on many versions at once');

SELECT * FROM finish();
ROLLBACK;
