-- fire() with values: one UPDATE sets the state and the columns, and is judged as a whole.
BEGIN;
-- The expectations write moments as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL intervalstyle = postgres;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

SELECT set_config('prm.program_id', prm.create_program('Values with events', 'blank')::text, true) AS p \gset
SELECT prm.define_machine('lead', '{"initial": "new", "states": {
  "new": {"on": {"qualify": {"target": "warm", "required": ["need", "attributes.size"], "guard": "$.budget >= 1000"}, "note": {"target": "new"}}},
  "warm": {"on": {"close": {"target": "done"}, "note": {"target": "warm"}}},
  "done": {"type": "final"}}}') > 0 AS defined \gset
INSERT INTO prm.lead (lead_id, company, attributes) VALUES (9003001, 'Acme', '{"kept": true, "size": null}'), (9003002, 'Beta', '{}');
CREATE FUNCTION pg_temp.lead(the_lead bigint) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws('|', l.state, l.need, l.budget, l.timeline_on, l.decision_maker, l.attributes) FROM prm.lead l
  WHERE l.program_id = prm.current_program() AND l.lead_id = the_lead $$;
CREATE FUNCTION pg_temp.fault(the_set text, OUT the_code text, OUT the_hint text, OUT the_context text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM prm.fire('lead', 9003002, 'note', NULL, format('{"set": %s}', the_set)::jsonb);
  the_code := 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS the_code = RETURNED_SQLSTATE, the_hint = PG_EXCEPTION_HINT, the_context = PG_EXCEPTION_CONTEXT;
END $$;

-- ---- what is set is what is judged -----------------------------------------------------------------------------------------
SELECT throws_ok($$SELECT prm.fire('lead', 9003001, 'qualify')$$, '23514', NULL, 'the row alone does not qualify');
SELECT throws_ok($$SELECT prm.fire('lead', 9003001, 'qualify', NULL, '{"set": {"budget": 5000, "attributes": {"size": 3}}}')$$, '23514',
  'lead 9003001 cannot take event "qualify" to "warm": "need" is empty', 'values are set before the required fields are checked');
SELECT throws_ok($$SELECT prm.fire('lead', 9003001, 'qualify', NULL, '{"set": {"need": "many", "budget": 999, "attributes": {"size": 3}}}')$$, '23514',
  NULL, 'and before the guard is');
SELECT is(pg_temp.lead(9003001), 'new|{"kept": true, "size": null}', 'a refused event sets nothing');
SELECT is(prm.fire('lead', 9003001, 'qualify', 'by phone',
  '{"set": {"need": "many", "budget": "5000.50", "timeline_on": "2026-12-24", "decision_maker": "Kim", "attributes": {"size": 3}}}'), 'warm');
SELECT is(pg_temp.lead(9003001), 'warm|many|5000.50|2026-12-24|Kim|{"kept": true, "size": 3}', 'each value in its type, attributes merged');
SELECT is((SELECT count(*) FROM prm.state_history WHERE program_id = :p AND subject_id = 9003001 AND event = 'qualify' AND reason = 'by phone'), 1::bigint, 'one change, one entry');
SELECT is(prm.fire('lead', 9003001, 'note', NULL, '{"set": {"need": null, "decision_maker": null}}'), 'warm', 'an event that stays sets too');
SELECT is(pg_temp.lead(9003001), 'warm|5000.50|2026-12-24|{"kept": true, "size": 3}', 'null empties a column');
SELECT throws_ok($$SELECT prm.fire('lead', 9003001, 'close', NULL, '{"version": 1, "set": {"need": "x"}}')$$, '55000', 'lead 9003001 is no longer at version 1', 'the version holds for values too');
SELECT is(prm.fire('lead', 9003001, 'close', NULL, jsonb_build_object('set', '{"need": "last"}'::jsonb,
  'version', (SELECT max(history_id) FROM prm.state_history WHERE program_id = :p AND subject_id = 9003001))), 'done', 'both options');
SELECT is(prm.fire('lead', 9003002, 'note', NULL, '{"set": {}}'), 'new', 'nothing to set');

-- ---- errors -----------------------------------------------------------------------------------------------------------------
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": 5}')$$, '22023', 'option "set" is no JSON object');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": null}')$$, '22023', 'option "set" is no JSON object');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"values": {}}')$$, '22023', 'unknown option "values"');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"need": "x", "colour": 1, "siez": 2}}')$$, '22023',
  'option "set" names what is no column of prm.lead: "siez", "colour"', 'unknown columns, all of them');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"ctid": "(0,1)"}}')$$, '22023', 'option "set" names what is no column of prm.lead: "ctid"');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"state": "warm", "lead_id": 5, "program_id": 1}}')$$, '22023',
  'option "set" cannot set "state", "lead_id", "program_id"', 'state, key and programme');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"attributes": [1]}}')$$, '22023',
  'option "set": the value of "attributes" is no JSON object');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"attributes": null}}')$$, '22023',
  'option "set": the value of "attributes" is no JSON object');
SELECT is((SELECT the_code FROM pg_temp.fault('{"need": "x", "budget": "much"}')), '22P02', 'a value of no such type');
SELECT matches((SELECT the_context FROM pg_temp.fault('{"need": "x", "budget": "much"}')), 'value for column "budget" in option "set"', 'and its column is named');
SELECT matches((SELECT the_hint FROM pg_temp.fault('{"budget": "much"}')), '^Column "budget" is of type numeric', 'and its type');
SELECT is((SELECT the_code FROM pg_temp.fault('{"timeline_on": "2026-02-30"}')), '22008', 'a date that does not exist');
SELECT is((SELECT the_code FROM pg_temp.fault('{"created_at": null}')), '23502', 'a column that must not be empty');
SELECT is((SELECT the_code FROM pg_temp.fault('{"partner_id": 9003999}')), '23503', 'a partner who does not exist');
SELECT is(pg_temp.lead(9003002), 'new|{}', 'what failed left nothing');

-- ---- rights: those of the caller, column by column ----------------------------------------------------------------------------
CREATE ROLE prm_test_set;
GRANT USAGE ON SCHEMA prm TO prm_test_set;
GRANT SELECT ON prm.lead TO prm_test_set;
GRANT UPDATE (state, need) ON prm.lead TO prm_test_set;
SET LOCAL ROLE prm_test_set;
SELECT lives_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"need": "mine"}}')$$, 'a column that he may write');
SELECT throws_ok($$SELECT prm.fire('lead', 9003002, 'note', NULL, '{"set": {"need": "x", "budget": 5}}')$$, '42501', NULL, 'one that he may not');
RESET ROLE;

-- ---- tables of the user's, uuid keys, types of all kinds -----------------------------------------------------------------------
CREATE SCHEMA prm_test_set;
CREATE TYPE prm_test_set.mood AS ENUM ('good', 'bad');
CREATE DOMAIN prm_test_set.short AS varchar(5) NOT NULL;
CREATE TABLE prm_test_set.ticket (id uuid PRIMARY KEY, state text NOT NULL DEFAULT 'open', "Mood of it" prm_test_set.mood, tags text[], score numeric(4,1),
  code prm_test_set.short DEFAULT 'a', doubled numeric GENERATED ALWAYS AS (score * 2) STORED, attributes json);
SELECT prm.define_machine('ticket', '{"initial": "open", "states": {"open": {"on": {"close": {"target": "closed", "required": ["score"]}}}, "closed": {"type": "final"}}}') AS v \gset
SELECT prm.attach_machine('prm_test_set.ticket', 'ticket') AS n \gset
INSERT INTO prm_test_set.ticket (id) VALUES ('00000000-0000-0000-0000-000000000001');
SELECT throws_ok($$SELECT prm.fire_uuid('ticket', '00000000-0000-0000-0000-000000000001', 'close', NULL, '{"set": {"doubled": 4}}')$$, '22023',
  'option "set" cannot set "doubled"', 'a generated column');
SELECT throws_ok($$SELECT prm.fire_uuid('ticket', '00000000-0000-0000-0000-000000000001', 'close', NULL, '{"set": {"score": 5, "Mood of it": "odd"}}')$$, '22P02',
  'invalid input value for enum prm_test_set.mood: "odd"');
SELECT throws_ok($$SELECT prm.fire_uuid('ticket', '00000000-0000-0000-0000-000000000001', 'close', NULL, '{"set": {"score": 5, "code": null}}')$$, '23502', NULL, 'a domain');
SELECT is(prm.fire_uuid('ticket', '00000000-0000-0000-0000-000000000001', 'close', NULL,
  '{"set": {"score": 4.25, "Mood of it": "bad", "tags": ["a", "b c"], "attributes": {"x": [1]}}}'), 'closed');
SELECT is((SELECT t::text FROM prm_test_set.ticket t), '(00000000-0000-0000-0000-000000000001,closed,bad,"{a,""b c""}",4.3,a,8.6,"{""x"": [1]}")',
  'enum, array, scale, quoted name; json is replaced');

-- ---- the picture of a row whose key is a uuid -------------------------------------------------------------------------------------
SELECT is(prm.machine_dot_uuid('ticket', '00000000-0000-0000-0000-000000000001'), 'digraph "ticket" {
  rankdir=LR;
  node [shape=box, style=rounded, fontname="sans-serif"];
  edge [fontname="sans-serif", fontsize=10];
  "open" [label="open", color="#1f6feb", penwidth=2];
  "closed" [label="closed", peripheries=2, color="#1f6feb", penwidth=2, style="rounded,filled", fillcolor="#cfe2ff"];
  "" [shape=point];
  "" -> "open";
  "open" -> "closed" [label="close\nneeds score", color="#1f6feb", penwidth=2];
}
', 'dot with the path of a row');
SELECT alike(prm.machine_mermaid_uuid('ticket', '00000000-0000-0000-0000-000000000001'), '%class s1,s2 visited%class s2 present%', 'mermaid too');
SELECT is(prm.machine_dot_uuid('ticket', '00000000-0000-0000-0000-000000000002'), prm.machine_dot('ticket'), 'a row that was never there');
SELECT throws_ok($$SELECT prm.machine_dot_uuid('nothing', NULL)$$, '42704');
SELECT throws_ok($$SELECT prm.machine_mermaid_uuid('ticket', NULL, 0)$$, '42704');

-- ---- the path by which names are found while the history is written --------------------------------------------------------------
SET LOCAL search_path = prm_test_set, public;
CREATE TABLE prm_test_set.seen (path text);
INSERT INTO prm.lead (lead_id, company) VALUES (9003010, 'Gamma');
CREATE FUNCTION prm_test_set.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO prm_test_set.seen VALUES (current_setting('search_path')); RETURN NEW; END $$;
CREATE TRIGGER look BEFORE INSERT ON prm.state_history FOR EACH ROW EXECUTE FUNCTION prm_test_set.look();
UPDATE prm.lead SET state = 'new' WHERE program_id = :p AND lead_id = 9003010;
SELECT prm.fire('lead', 9003010, 'note') AS fired \gset
SELECT is((SELECT string_agg(path, ';') FROM prm_test_set.seen), 'pg_catalog, pg_temp', 'a trigger on the history does not run under the caller''s search_path');
DROP TRIGGER look ON prm.state_history;
CREATE FUNCTION prm_test_set.fits(the_event text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN IF current_setting('search_path') <> 'pg_catalog, pg_temp' THEN RAISE 'found by %', current_setting('search_path'); END IF; RETURN true; END $$;
SELECT prm.fire('lead', 9003010, 'note') AS fired \gset
ALTER TABLE prm.state_history ADD CONSTRAINT fits CHECK (prm_test_set.fits(event)) NOT VALID;
SELECT lives_ok($$SELECT prm.fire('lead', 9003010, 'note')$$, 'nor a function in a check that was added');
ALTER TABLE prm.state_history DROP CONSTRAINT fits;
SET LOCAL search_path = pg_catalog, pg_temp;
CREATE INDEX fits ON prm.state_history (history_id) WHERE prm_test_set.fits(event);
SET LOCAL search_path = prm_test_set, public;
SELECT lives_ok($$SELECT prm.fire('lead', 9003010, 'note')$$, 'nor one in an index');
DROP INDEX prm.fits;
SET LOCAL search_path = pg_catalog, pg_temp;
ALTER TABLE prm.state_history ADD COLUMN extra boolean DEFAULT prm_test_set.fits('x');
SET LOCAL search_path = prm_test_set, public;
SELECT lives_ok($$SELECT prm.fire('lead', 9003010, 'note')$$, 'nor one in a default');

SELECT * FROM finish();
ROLLBACK;
