-- A property of the machines: whatever is tried, the history is exactly the moves that were accepted, and it replays to the
-- present state. Random leads walk through random machines (seeded, so that a failure comes again): by fire(), by UPDATE one
-- by one, by UPDATE and MERGE of many rows, with moves that are illegal and moves that are rolled back. What is legal is
-- worked out here from the rows of prm.machine_transition, and where each lead should be is kept here too; the machine's
-- trigger is compared with both.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

CREATE FUNCTION pg_temp.pick(lowest integer, highest integer) RETURNS integer LANGUAGE sql VOLATILE AS
  $$ SELECT lowest + floor(random() * (highest - lowest + 1))::integer $$;

-- A machine of n states. Each state has a way in from an earlier one and, but for the last, a way on to a later one, so it is
-- reachable and no trap; then come random ways, back, round and double.
CREATE FUNCTION pg_temp.random_machine(n integer) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  the_states jsonb := '{}';
  the_from integer;
  the_to integer;
  the_way jsonb;
BEGIN
  FOR i IN 0..n - 1 LOOP
    the_states := the_states || jsonb_build_object('s' || i, CASE WHEN i = n - 1 THEN '{"type": "final"}' ELSE '{"on": {}}' END::jsonb);
  END LOOP;
  FOR i IN 1..3 * n LOOP
    IF i < n THEN the_from := pg_temp.pick(0, i - 1); the_to := i;
    ELSIF i < 2 * n - 1 THEN the_from := i - n; the_to := pg_temp.pick(the_from + 1, n - 1);
    ELSE the_from := pg_temp.pick(0, n - 2); the_to := pg_temp.pick(0, n - 1);
    END IF;
    the_way := jsonb_build_object('target', 's' || the_to) || CASE WHEN i < 2 * n - 1 THEN '{}' ELSE (ARRAY['{}', '{}', '{"actor": "system"}', '{"actor": "partner"}',
      '{"reason": true}', '{"guard": "$.budget >= 500"}', '{"required": ["need"]}', '{"required": ["attributes.a"], "guard": "$.budget < 500"}'])[pg_temp.pick(1, 8)] END::jsonb;
    the_states := jsonb_set(the_states, ARRAY['s' || the_from, 'on', 'e' || i], the_way);
  END LOOP;
  RETURN jsonb_build_object('initial', 's0', 'states', the_states);
END $$;

-- Where each lead should be, and the states that it should have passed.
CREATE TEMP TABLE walker (program_id bigint, lead_id bigint, state text, path text[], budget numeric, need text, attributes jsonb);
CREATE TEMP TABLE surprise (program_id bigint, what text);
CREATE TEMP TABLE tried (what text, accepted boolean);
CREATE TEMP TABLE step (lead_id bigint, target text);

-- The events that lead a walker to a state, as the rules say: an UPDATE needs exactly one of them to be legal.
CREATE FUNCTION pg_temp.legal(w walker, the_event text, the_target text, the_reason text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT t.event FROM prm.machine_transition t
  WHERE t.program_id = w.program_id AND t.machine = 'lead' AND t.version = 2 AND t.from_state = w.state
    AND (the_event IS NULL OR t.event = the_event) AND (the_target IS NULL OR t.to_state = the_target)
    AND t.actor = 'any' AND (NOT t.needs_reason OR coalesce(the_reason, '') <> '')
    AND (t.guard IS NULL OR CASE WHEN t.guard LIKE '%>=%' THEN w.budget >= 500 ELSE w.budget < 500 END)
    AND (NOT 'need' = ANY (t.required) OR btrim(coalesce(w.need, '')) <> '')
    AND (NOT 'attributes.a' = ANY (t.required) OR btrim(coalesce(w.attributes ->> 'a', '')) <> '') $$;

CREATE FUNCTION pg_temp.note(the_program bigint, the_kind text, expected boolean, accepted boolean, the_text text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO surprise SELECT the_program, format('%s: %s expected, %s', the_kind, CASE WHEN expected THEN 'legal' ELSE 'illegal' END, the_text) WHERE expected <> accepted;
  INSERT INTO tried VALUES (the_kind, accepted) $$;

-- One random machine, its leads, and some hundred tries.
CREATE FUNCTION pg_temp.walk(n integer, leads integer, tries integer) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  the_program bigint := prm.create_program('Walk ' || n || ' ' || random(), 'blank');
  the_reason text;
  the_event text;
  the_target text;
  the_kind text;
  the_error text;
  w walker;
  is_legal boolean;
  spoil boolean;
BEGIN
  PERFORM set_config('prm.program_id', the_program::text, true);
  IF prm.define_machine('lead', pg_temp.random_machine(n)) <> 2 THEN RAISE EXCEPTION 'the second version was expected'; END IF;
  WITH born AS (
    INSERT INTO prm.lead (company, state, budget, need, attributes)
    SELECT 'Walker ' || i, 's0', pg_temp.pick(0, 1000), (ARRAY['x', ' ', NULL])[pg_temp.pick(1, 3)], (ARRAY['{"a": 1}', '{"a": ""}', '{}'])[pg_temp.pick(1, 3)]::jsonb
    FROM generate_series(1, leads) i RETURNING *)
  INSERT INTO walker SELECT b.program_id, b.lead_id, b.state, ARRAY[b.state], b.budget, b.need, b.attributes FROM born b;

  FOR i IN 1..tries LOOP
    the_kind := (ARRAY['fire', 'fire', 'update', 'bulk update', 'merge', 'rolled back'])[pg_temp.pick(1, 6)];
    the_reason := (ARRAY['because', NULL])[pg_temp.pick(1, 2)];
    the_error := NULL;
    PERFORM set_config('prm.reason', coalesce(the_reason, ''), true);
    SELECT * INTO w FROM walker WHERE program_id = the_program ORDER BY random() LIMIT 1;
    IF the_kind = 'fire' THEN
      SELECT t.event, t.to_state INTO the_event, the_target FROM prm.machine_transition t
        WHERE t.program_id = the_program AND t.version = 2 AND t.machine = 'lead' ORDER BY t.from_state <> w.state AND random() < 0.8, random() LIMIT 1;
      is_legal := EXISTS (SELECT pg_temp.legal(w, the_event, NULL, the_reason));
      PERFORM set_config('prm.reason', '', true);
      BEGIN
        PERFORM prm.fire('lead', w.lead_id, the_event, the_reason);
        UPDATE walker SET state = the_target, path = path || the_target WHERE program_id = the_program AND lead_id = w.lead_id;
      EXCEPTION WHEN check_violation OR insufficient_privilege THEN the_error := SQLERRM;
      END;
      PERFORM pg_temp.note(the_program, 'fire', is_legal, the_error IS NULL, format('%s from %s for %s: %s', the_event, w.state, w.lead_id, the_error));
    ELSIF the_kind = 'update' THEN
      the_target := 's' || pg_temp.pick(0, n);      -- the last one is no state at all
      is_legal := the_target = w.state OR (SELECT count(*) = 1 FROM pg_temp.legal(w, NULL, the_target, the_reason));
      BEGIN
        UPDATE prm.lead SET state = the_target WHERE program_id = the_program AND lead_id = w.lead_id;
        UPDATE walker SET state = the_target, path = path || the_target WHERE program_id = the_program AND lead_id = w.lead_id AND state <> the_target;
      EXCEPTION WHEN check_violation OR insufficient_privilege THEN the_error := SQLERRM;
      END;
      PERFORM pg_temp.note(the_program, the_kind, is_legal, the_error IS NULL, format('%s to %s for %s: %s', w.state, the_target, w.lead_id, the_error));
    ELSE
      -- A legal step for about half of the leads; one of them may get a state that it cannot go to.
      DELETE FROM step;
      INSERT INTO step
        SELECT r.lead_id, (SELECT x.to_state FROM (SELECT t.to_state, t.to_state = r.state AS stays FROM prm.machine_transition t
            WHERE t.program_id = the_program AND t.machine = 'lead' AND t.version = 2 AND t.from_state = r.state) x
          WHERE x.stays OR (SELECT count(*) = 1 FROM pg_temp.legal(r, NULL, x.to_state, the_reason)) ORDER BY random() LIMIT 1) AS target
        FROM walker r WHERE r.program_id = the_program AND random() < 0.5;
      DELETE FROM step WHERE target IS NULL;
      spoil := random() < 0.3 AND EXISTS (SELECT 1 FROM step);
      IF spoil THEN
        UPDATE step s SET target = 's' || n WHERE s.lead_id = (SELECT lead_id FROM step ORDER BY random() LIMIT 1);
      END IF;
      BEGIN
        IF the_kind = 'merge' THEN
          MERGE INTO prm.lead l USING step s ON l.program_id = the_program AND l.lead_id = s.lead_id WHEN MATCHED THEN UPDATE SET state = s.target;
        ELSE
          UPDATE prm.lead l SET state = s.target FROM step s WHERE l.program_id = the_program AND l.lead_id = s.lead_id;
        END IF;
        IF the_kind = 'rolled back' THEN
          RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
        END IF;
        UPDATE walker r SET state = s.target, path = r.path || s.target FROM step s
          WHERE r.program_id = the_program AND r.lead_id = s.lead_id AND r.state <> s.target;
      EXCEPTION WHEN check_violation OR insufficient_privilege THEN the_error := SQLERRM;
        WHEN SQLSTATE 'ZZZZZ' THEN NULL;
      END;
      PERFORM pg_temp.note(the_program, the_kind, NOT spoil, the_error IS NULL, coalesce(the_error, 'accepted'));
    END IF;
  END LOOP;
END $$;

SET LOCAL client_min_messages = warning;
SELECT setseed(0.4711) \gset ignored_
DO $$ BEGIN FOR i IN 1..12 LOOP PERFORM pg_temp.walk(3 + i % 6, 20, 75); END LOOP; END $$;
SET LOCAL prm.reason = '';

SELECT is_empty('SELECT what FROM surprise', 'every try ends as the rules say');
SELECT cmp_ok((SELECT count(*) FROM (SELECT what, accepted FROM tried GROUP BY 1, 2 HAVING count(*) >= 20) x), '>=', 9::bigint, 'every way was tried, legally and not');
SELECT is_empty($$SELECT w.lead_id, w.state, l.state FROM walker w JOIN prm.lead l USING (program_id, lead_id) WHERE w.state <> l.state$$, 'every lead is where it should be');
SELECT is_empty($$SELECT w.lead_id, w.path, h.path FROM walker w
  LEFT JOIN (SELECT program_id, subject_id, array_agg(to_state ORDER BY history_id) AS path FROM prm.state_history WHERE machine = 'lead' GROUP BY 1, 2) h
    ON h.program_id = w.program_id AND h.subject_id = w.lead_id WHERE h.path IS DISTINCT FROM w.path$$, 'the history is the moves that were accepted, no more and no fewer');
SELECT is((SELECT count(*) FROM prm.state_history h JOIN (SELECT DISTINCT program_id FROM walker) p USING (program_id) WHERE h.machine = 'lead'),
  (SELECT sum(cardinality(path))::bigint FROM walker), 'also in number: a refused or rolled-back move leaves none');
SELECT is_empty($$SELECT subject_id, history_id FROM (SELECT h.*, lag(h.to_state) OVER (PARTITION BY h.program_id, h.subject_id ORDER BY h.history_id) AS before
    FROM prm.state_history h JOIN (SELECT DISTINCT program_id FROM walker) p USING (program_id) WHERE h.machine = 'lead') x WHERE x.before IS DISTINCT FROM x.from_state$$,
  'each entry begins where the one before it ended');
SELECT is_empty($$SELECT w.lead_id FROM walker w JOIN prm.lead l USING (program_id, lead_id) WHERE l.state IS DISTINCT FROM (SELECT h.to_state FROM prm.state_history h
    WHERE h.program_id = w.program_id AND h.machine = 'lead' AND h.subject_id = w.lead_id ORDER BY h.history_id DESC LIMIT 1)$$, 'the history replays to the present state');
SELECT is_empty($$SELECT h.* FROM prm.state_history h JOIN (SELECT DISTINCT program_id FROM walker) p USING (program_id) WHERE h.machine = 'lead' AND h.from_state IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM prm.machine_transition t WHERE t.program_id = h.program_id AND t.machine = h.machine AND t.version = h.machine_version
      AND t.from_state = h.from_state AND t.event = h.event AND t.to_state = h.to_state)$$, 'each entry is a transition of its version');
SELECT is_empty($$SELECT d.subject_id FROM prm.v_state_duration d JOIN walker w ON w.program_id = d.program_id AND w.lead_id = d.subject_id WHERE d.machine = 'lead'
    GROUP BY d.program_id, d.subject_id, w.path HAVING count(*) <> 1 + (SELECT count(*) FROM generate_series(2, cardinality(w.path)) i WHERE w.path[i] <> w.path[i - 1])$$,
  'the stays are the path without its rounds on the spot');

SELECT * FROM finish();
ROLLBACK;
