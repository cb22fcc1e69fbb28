-- Import: what a mapping may say, what becomes of each row, and that a second run changes nothing.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Import', 'reseller', 'EUR', 'America/Sao_Paulo')::text, true) AS program \gset
CREATE SCHEMA import_test;
CREATE TABLE import_test.company (id text, "Company name" text, boss text, since text, staff integer, "when" date, active boolean, seen timestamptz, note jsonb);
SET LOCAL DateStyle = 'SQL, DMY';
INSERT INTO import_test.company VALUES
  ('C1', '  Acorn  ', 'C3', '3/1/2017', 10, '2017-03-01', true, '2017-03-01 02:00+00', '{"a": 1}'),
  ('C2', 'Birch', '', '', NULL, NULL, NULL, NULL, NULL),
  ('C3', 'Cedar', 'C2', '12/31/2016', 3, '2016-12-31', false, NULL, NULL),
  ('C4', 'Dogwood', 'C9', '', NULL, NULL, NULL, NULL, NULL),
  ('C5', '', '', '', NULL, NULL, NULL, NULL, NULL),
  ('C1', 'Acorn again', '', '', NULL, NULL, NULL, NULL, NULL),
  ('  ', 'Nameless', '', '', NULL, NULL, NULL, NULL, NULL),
  ('C6', 'Elm', 'C6', '', NULL, NULL, NULL, NULL, NULL);
CREATE FUNCTION pg_temp.outcomes(kind text, source regclass, mapping jsonb, options jsonb DEFAULT '{}', dry boolean DEFAULT false) RETURNS text LANGUAGE sql AS
  $$SELECT string_agg(outcome || ' ' || count, ', ' ORDER BY outcome) FROM (SELECT outcome, count(*) FROM prm.import(kind, source, mapping, options, dry) GROUP BY 1) o$$;
CREATE FUNCTION pg_temp.messages(kind text, source regclass, mapping jsonb, options jsonb DEFAULT '{}') RETURNS SETOF text LANGUAGE sql AS
  $$SELECT source_row || ': ' || message FROM prm.import(kind, source, mapping, options) WHERE outcome = 'rejected' ORDER BY source_row$$;

-- Mappings that make no sense are refused before anything is read.
PREPARE bad(text, regclass, jsonb, jsonb) AS SELECT * FROM prm.import($1, $2, $3, $4);
SELECT throws_ok($$EXECUTE bad('ship', 'import_test.company', '{}', '{}')$$, '22023', 'rows of kind "ship" cannot be imported', 'an unknown kind');
SELECT throws_ok($$EXECUTE bad(NULL, 'import_test.company', '{}', '{}')$$, '22023', 'rows of kind "NULL" cannot be imported', 'no kind');
SELECT throws_ok($$EXECUTE bad('customer', NULL, '{}', '{}')$$, '22023', 'the source of an import is no table', 'no source');
SELECT throws_ok($$EXECUTE bad('customer', 'prm.deal_pkey', '{}', '{}')$$, '22023', 'the source of an import is no table', 'an index as source');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', NULL, '{}')$$, '22023', 'the mapping of an import is no JSON object', 'no mapping');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"name": "id"}', '{}')$$, '22023', 'the mapping lacks target field "external_ref"', 'no key');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id"}', '{}')$$, '22023', 'the mapping lacks target field "name"', 'a needed column');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "colour": "boss"}', '{}')$$, '22023',
  'an import of kind "customer" has no target field "colour"', 'an unknown target');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "program_id": "boss"}', '{}')$$, '22023', NULL, 'the programme is no target');
SELECT throws_ok($$EXECUTE bad('partner', 'import_test.company', '{"external_ref": "id", "tier": "boss"}', '{}')$$, '22023', NULL, 'a tier is earned');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "colour"}', '{}')$$, '22023',
  'the source has no column "colour"', 'an unknown source column');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "ctid", "name": "id"}', '{}')$$, '22023', NULL, 'nor a system column');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": 7}', '{}')$$, '22023', NULL, 'a number as column');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": {"colum": "id"}}', '{}')$$, '22023',
  'target field "name" has the unknown key "colum"', 'an unknown key');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": {"column": "id", "value": "x"}}', '{}')$$, '22023', NULL, 'column and value');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": {"column": "id", "map": []}}', '{}')$$, '22023', NULL, 'a map that is no object');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": {"column": "id", "format": "DD"}}', '{}')$$, '22023',
  'target field "name" takes no format', 'a format for text');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "id", "created_at": {"column": "since", "format": "MM/DD"}}', '{}')$$, '22023',
  '"MM/DD" is no format of a date', 'a format without year');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "id", "created_at": {"column": "since", "format": "Q \" YYYY"}}', '{}')$$, '22023',
  NULL, 'a format that cannot be read');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "id", "parent_ref": "boss", "parent_id": "staff"}', '{}')$$, '22023',
  'the mapping fills "parent_id" twice', 'the same column twice');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "id"}', '{"bach": 1}')$$, '22023', 'import has no option "bach"', 'an unknown option');
SELECT throws_ok($$EXECUTE bad('customer', 'import_test.company', '{"external_ref": "id", "name": "id"}', '{"batch": 0}')$$, '22023', NULL, 'an empty batch');
SELECT throws_ok($$SELECT * FROM prm.import('customer', 'import_test.company', '{"external_ref": "id", "name": "id"}', program_id => 999999999)$$, '42704', NULL, 'an unknown programme');
SELECT throws_ok($$SELECT * FROM prm.import('customer', 'import_test.company', '{"external_ref": "id", "name": "id"}', dry_run => NULL)$$, '22023', NULL, 'dry_run NULL');
SELECT is((SELECT count(*) FROM prm.customer WHERE program_id = :program), 0::bigint, 'nothing was written');

-- Customers, with parents further down in the source.
\set mapping '{"external_ref": "id", "name": "Company name", "parent_ref": "boss", "created_at": {"column": "since", "format": "MM/DD/YYYY"}, "attributes.staff": "staff", "attributes.when": "when", "attributes.active": "active", "country": {"value": "BR"}}'
SELECT is(pg_temp.outcomes('customer', 'import_test.company', :'mapping', dry => true), 'inserted 3, rejected 5', 'a dry run tells');
SELECT is((SELECT count(*) FROM prm.customer WHERE program_id = :program), 0::bigint, 'and writes nothing');
SELECT is((SELECT count(*) FROM prm.import('customer', 'import_test.company', :'mapping', dry_run => true) WHERE id IS NOT NULL), 0::bigint, 'nor gives it numbers');
SELECT results_eq($$SELECT source_row, outcome, id IS NOT NULL, message FROM prm.import('customer', 'import_test.company', $$ || quote_literal(:'mapping') || $$) ORDER BY source_row$$,
  $$VALUES (1::bigint, 'inserted', true, NULL), (2, 'inserted', true, NULL), (3, 'inserted', true, NULL),
    (4, 'rejected', false, 'no customer has the external_ref "C9"'), (5, 'rejected', false, 'name is empty'),
    (6, 'rejected', false, 'external_ref "C1" stands already in row 1; row 6 repeats it'), (7, 'rejected', false, 'external_ref is empty'),
    (8, 'rejected', false, 'no customer has the external_ref "C6"')$$, 'each row has its outcome and its reason');
SELECT results_eq($$SELECT c.external_ref, c.name, p.external_ref, c.country, c.created_at, c.attributes FROM prm.customer c
    LEFT JOIN prm.customer p ON p.program_id = c.program_id AND p.customer_id = c.parent_id WHERE c.program_id = prm.current_program() AND c.external_ref < 'C2' OR c.external_ref = 'C3' AND c.program_id = prm.current_program() ORDER BY 1$$,
  $$VALUES ('C1', 'Acorn', 'C3', 'BR', '2017-03-01 03:00+00'::timestamptz, '{"staff": "10", "when": "2017-03-01", "active": "true"}'::jsonb),
    ('C3', 'Cedar', 'C2', 'BR', '2016-12-31 02:00+00', '{"staff": "3", "when": "2016-12-31", "active": "false"}')$$,
  'values are trimmed, dates are the programme''s, typed columns read in ISO form whatever DateStyle says, a single attribute is set');
CREATE TABLE import_test.before AS SELECT c.customer_id, c.xmin::text AS written_by, c.ctid AS place FROM prm.customer c WHERE c.program_id = :program;
SELECT is(pg_temp.outcomes('customer', 'import_test.company', :'mapping'), 'rejected 5, unchanged 3', 'a second run changes nothing');
SELECT is(pg_temp.outcomes('customer', 'import_test.company', :'mapping', '{"batch": 1}'), 'rejected 5, unchanged 3', 'whatever the batch');
SELECT results_eq($$SELECT customer_id, xmin::text, ctid FROM prm.customer WHERE program_id = prm.current_program() ORDER BY 1$$,
  $$SELECT customer_id, written_by, place FROM import_test.before ORDER BY 1$$, 'no row was written again');
UPDATE prm.customer SET attributes = attributes || '{"ours": "kept"}', region = 'South' WHERE program_id = :program AND external_ref = 'C1';
-- An updated row of the source moves to the end of its table: the repetition goes away first.
DELETE FROM import_test.company WHERE "Company name" = 'Acorn again';
UPDATE import_test.company SET staff = 11 WHERE id = 'C1';
SELECT is((SELECT string_agg(outcome || ' ' || coalesce(message, ''), ', ') FROM prm.import('customer', 'import_test.company', :'mapping') WHERE outcome = 'updated'), 'updated ', 'a change is written');
SELECT is((SELECT attributes || jsonb_build_object('region', region) FROM prm.customer WHERE program_id = :program AND external_ref = 'C1'),
  '{"ours": "kept", "when": "2017-03-01", "staff": "11", "active": "true", "region": "South"}', 'what is not mapped stays');
CREATE VIEW import_test.view AS SELECT id, "Company name" AS name FROM import_test.company WHERE id = 'C2';
SELECT is(pg_temp.outcomes('customer', 'import_test.view', '{"external_ref": "id", "name": "name"}'), 'unchanged 1', 'a view is a source too');
CREATE TABLE import_test.empty (id text);
SELECT is(pg_temp.outcomes('customer', 'import_test.empty', '{"external_ref": "id", "name": "id"}'), NULL, 'an empty source');

-- Products: the key is the name where no external_ref is mapped.
CREATE TABLE import_test.product (name text, family text, price text, variant_of text);
INSERT INTO import_test.product VALUES ('GTX Pro', 'GTX', '4821', ''), ('GTX Pro Max', 'GTX', '1e3', 'GTX Pro'), ('Cheap', 'X', '-1', ''), ('None', 'X', 'NaN', ''), ('Much', 'X', '1,000', ''), ('Free', 'X', '', 'Nothing');
SELECT results_eq($$SELECT * FROM pg_temp.messages('product', 'import_test.product', '{"product": "name", "family": "family", "list_price": "price", "parent": "variant_of"}')$$,
  $$VALUES ('3: list_price "-1" is negative'),
    ('4: list_price "NaN" is no finite number'), ('5: list_price "1,000" is no finite number'), ('6: there is no parent product "Nothing"')$$, 'bad prices and parents');
SELECT results_eq($$SELECT product, label, parent, list_price FROM prm.product WHERE program_id = prm.current_program() ORDER BY 1$$,
  $$VALUES ('GTX Pro', 'GTX Pro', NULL, 4821::numeric), ('GTX Pro Max', 'GTX Pro Max', 'GTX Pro', 1000)$$, 'the good ones are there; the label is the name');

-- Deals: references, suggestions, history, bad cells of every kind in one message.
INSERT INTO prm.partner (name, external_ref) VALUES ('Alder', 'P1');
CREATE TABLE import_test.deal (id text, partner text, customer text, product text, stage text, opened text, closed text, value text);
INSERT INTO import_test.deal VALUES
  ('D1', 'P1', 'C1', 'GTX Pro', 'Won', '10/20/2016', '3/1/2017', '1054'),
  ('D2', 'P1', 'C1', 'GTXPro', 'Won', '10/20/2016', '3/1/2017', '1'),
  ('D3', 'P9', '', 'gtx pro max', 'Open', '2/30/2017', '2017-01-01', 'abc'),
  ('D4', 'P1', '', '', 'Wonn', '3/1/17', '', ''),
  ('D5', 'P1', '', '', 'Prospecting', '', '', '12.50'),
  ('D6', 'P1', '', '', 'Lost', '1/2/2017', '1/3/2017', 'Infinity');
\set deals '{"external_ref": "id", "partner_ref": "partner", "customer_ref": "customer", "product": "product", "amount": "value", "state": {"column": "stage", "map": {"Won": "won", "Lost": "lost", "Prospecting": "prospecting", "Open": null}}, "created_at": {"column": "opened", "format": "MM/DD/YYYY"}, "closed_at": {"column": "closed", "format": "MM/DD/YYYY"}}'
SELECT results_eq($$SELECT * FROM pg_temp.messages('deal', 'import_test.deal', $$ || quote_literal(:'deals') || $$)$$,
  $$VALUES ('2: product "GTXPro" does not exist, did you mean "GTX Pro"?'),
    ('3: amount "abc" is no finite number; closed_at "2017-01-01" is no moment of the form MM/DD/YYYY; created_at "2/30/2017" is no moment of the form MM/DD/YYYY; no partner has the external_ref "P9"; product "gtx pro max" does not exist, did you mean "GTX Pro Max"?'),
    ('4: created_at "3/1/17" is no moment of the form MM/DD/YYYY; the machine deal has no state "Wonn"'),
    ('6: amount "Infinity" is no finite number')$$, 'all that is wrong with a row is said at once');
SELECT results_eq($$SELECT name, currency, state, amount, created_at, closed_at FROM prm.deal WHERE program_id = prm.current_program() ORDER BY external_ref$$,
  $$VALUES ('D1', 'EUR', 'won', 1054::numeric, '2016-10-20 02:00+00'::timestamptz, '2017-03-01 03:00+00'::timestamptz), ('D5', 'EUR', 'prospecting', 12.50, now(), NULL)$$,
  'historical states and dates are as given (midnight in Sao Paulo); the name and the currency are filled');
SELECT results_eq($$SELECT actor_kind, event, to_state, at FROM prm.state_history h JOIN prm.deal d ON d.program_id = h.program_id AND d.deal_id = h.subject_id
    WHERE h.program_id = prm.current_program() AND h.machine = 'deal' AND d.external_ref = 'D1'$$,
  $$VALUES ('import', NULL::text, 'won', '2017-03-01 03:00+00'::timestamptz)$$, 'the history says that the state was imported');
SELECT results_eq($$SELECT e.kind, e.amount, e.occurred_at FROM prm.earning_event e JOIN prm.deal d ON d.program_id = e.program_id AND d.deal_id = e.deal_id
    WHERE e.program_id = prm.current_program() AND d.external_ref = 'D1'$$, $$VALUES ('booked', 1054::numeric, '2017-03-01 03:00+00'::timestamptz)$$, 'a won one is booked at its date');
UPDATE import_test.deal SET stage = 'Lost', closed = '4/1/2017' WHERE id = 'D5';
SELECT is(pg_temp.outcomes('deal', 'import_test.deal', :'deals'), 'rejected 4, unchanged 1, updated 1', 'an update jumps too');
SELECT is((SELECT state || ' ' || closed_at FROM prm.deal WHERE program_id = :program AND external_ref = 'D5'), 'lost ' || '2017-04-01 03:00+00'::timestamptz, 'to the given state and date');
SELECT throws_ok($$UPDATE prm.deal SET state = 'prospecting' WHERE program_id = prm.current_program() AND external_ref = 'D5'$$, '23514', NULL, 'after the import the machine rules again');

-- Back to an open state: no closing date is left, which the next win would keep.
UPDATE import_test.deal SET stage = 'Prospecting', closed = '' WHERE id = 'D5';
SELECT is((SELECT count(*) FROM prm.import('deal', 'import_test.deal', :'deals') WHERE outcome = 'updated'), 1::bigint, 'a closed deal is taken back');
SELECT results_eq($$SELECT state, closed_at FROM prm.deal WHERE program_id = prm.current_program() AND external_ref = 'D5'$$, $$VALUES ('prospecting', NULL::timestamptz)$$, 'and is no longer closed');
UPDATE import_test.deal SET stage = 'Lost', closed = '04/01/2017' WHERE id = 'D5';
SELECT is((SELECT count(*) FROM prm.import('deal', 'import_test.deal', :'deals') WHERE outcome = 'updated'), 1::bigint, 'and lost again');

-- A bad row is found among many, and only it is lost.
CREATE TABLE import_test.many AS SELECT 'M' || n AS id, n AS value FROM generate_series(1, 1500) n;
ALTER TABLE prm.deal ADD CONSTRAINT unlucky CHECK (amount NOT IN (17, 1403));
SELECT is(pg_temp.outcomes('deal', 'import_test.many', '{"external_ref": "id", "amount": "value"}'), 'inserted 1498, rejected 2', 'two bad rows of 1,500');
SELECT is((SELECT count(*) FROM prm.deal WHERE program_id = :program AND external_ref LIKE 'M%'), 1498::bigint, 'the others are there');
SELECT is(pg_temp.outcomes('deal', 'import_test.many', '{"external_ref": "id", "amount": "value"}', '{"batch": 97}'), 'rejected 2, unchanged 1498', 'again');
SELECT is((SELECT string_agg(substr(message, 1, 64), ' / ') FROM prm.import('deal', 'import_test.many', '{"external_ref": "id", "amount": "value"}') WHERE outcome = 'rejected'),
  'new row for relation "deal" violates check constraint "unlucky": / new row for relation "deal" violates check constraint "unlucky":', 'with the table''s own words');

-- Names and values of any kind are names and values.
CREATE TABLE import_test."we""ird 'table" ("a""b'c%s $1" text, "select" text);
INSERT INTO import_test."we""ird 'table" VALUES (E'k''1\\', E'x''"\\%s'), ('k2', ' $5 ');
SELECT is(pg_temp.outcomes('customer', 'import_test."we""ird ''table"', $${"external_ref": "a\"b'c%s $1", "name": {"column": "select", "map": {"x'\"\\%s": "%L' \\\" $2"}},
  "attributes.o'x%I\"": "select", "domain": {"value": "'; DROP TABLE x; --"}, "region": {"column": "select", "default": "d'%s"}}$$), 'inserted 2', 'quotes, percent signs and dollars');
SELECT results_eq($$SELECT name, attributes, domain, region FROM prm.customer WHERE program_id = prm.current_program() AND external_ref = E'k''1\\'$$,
  $$VALUES (E'%L'' \\" $2', jsonb_build_object('o''x%I"', E'x''"\\%s'), '''; DROP TABLE x; --', E'x''"\\%s')$$, 'arrive as they are');

-- Leads and partners.
CREATE TABLE import_test.lead (id text, partner text, company text, budget text, decides text);
INSERT INTO import_test.lead VALUES ('L1', 'P1', 'Acorn', '500', '2026-05-01'), ('L2', '', 'Birch', '', '2026-02-29'), ('L3', '', 'Cedar', '', '');
SELECT is(pg_temp.outcomes('lead', 'import_test.lead', '{"external_ref": "id", "partner_ref": "partner", "company": "company", "budget": "budget", "timeline_on": "decides"}'),
  'inserted 2, rejected 1', 'leads; there is no 29 February 2026');
SELECT is((SELECT string_agg(actor_kind || ' ' || to_state, ', ') FROM prm.state_history WHERE program_id = :program AND machine = 'lead'), 'vendor new, vendor new',
  'without historical fields it is an ordinary insert');
CREATE TABLE import_test.partner (id text, name text, kind text, boss text, lat text);
INSERT INTO import_test.partner VALUES ('Q1', 'Hub', 'hub', '', '-23.5'), ('Q2', 'Member', '', 'Q1', '91'), ('Q3', 'Odd', 'pirate', '', ''), ('Q4', 'Two', '', 'Q1', ' 5 ');
SELECT results_eq($$SELECT source_row, outcome, left(message, 40) FROM prm.import('partner', 'import_test.partner',
    '{"external_ref": "id", "name": "name", "kind": "kind", "parent_ref": "boss", "latitude": "lat", "state": {"value": "active"}}') ORDER BY 1$$,
  $$VALUES (1::bigint, 'inserted', NULL), (2, 'rejected', 'new row for relation "partner" violates '), (3, 'rejected', 'there is no partner kind "pirate"'), (4, 'inserted', NULL)$$, 'partners');
SELECT results_eq($$SELECT kind, state, latitude FROM prm.partner WHERE program_id = prm.current_program() AND external_ref LIKE 'Q%' ORDER BY external_ref$$,
  $$VALUES ('hub', 'active', -23.5::float8), ('reseller', 'active', 5)$$, 'an empty kind is the default one');

-- Earning events are appended, never changed.
CREATE TABLE import_test.invoice (id text, deal text, kind text, amount text, at text);
INSERT INTO import_test.invoice VALUES ('I1', 'D1', 'invoiced', '100.50', '2017-04-01T10:00:00Z'), ('I2', 'D1', 'eaten', '1', '2017-04-01'), ('I3', 'D8', 'invoiced', '1', '2017-04-01 10:00'),
  ('I4', 'D1', 'invoiced', '7', '2017-04-01 10:00:00.5-03:00'), ('I5', 'D1', 'invoiced', '7', '10:00:00'), ('I6', 'D1', 'invoiced', '7', '');
\set events '{"external_ref": "id", "deal_ref": "deal", "kind": "kind", "amount": "amount", "occurred_at": "at", "partner_ref": {"value": "P1"}}'
SELECT results_eq($$SELECT source_row, outcome, message FROM prm.import('earning_event', 'import_test.invoice', $$ || quote_literal(:'events') || $$) ORDER BY 1$$,
  $$VALUES (1::bigint, 'inserted', NULL), (2, 'rejected', 'there is no earning kind "eaten"'), (3, 'rejected', 'no deal has the external_ref "D8"'), (4, 'inserted', NULL),
    (5, 'rejected', 'occurred_at "10:00:00" is no moment of the form YYYY-MM-DD HH24:MI:SS'), (6, 'rejected', 'occurred_at is empty')$$, 'events');
SELECT results_eq($$SELECT amount, currency, occurred_at FROM prm.earning_event WHERE program_id = prm.current_program() AND external_ref IN ('I1', 'I4') ORDER BY 1 DESC$$,
  $$VALUES (100.50, 'EUR', '2017-04-01 10:00+00'::timestamptz), (7, 'EUR', '2017-04-01 13:00:00.5+00')$$, 'a zone that is given counts');
UPDATE import_test.invoice SET amount = '8' WHERE id = 'I4';
SELECT results_eq($$SELECT source_row, outcome, message FROM prm.import('earning_event', 'import_test.invoice', $$ || quote_literal(:'events') || $$) WHERE source_row IN (1, 6) ORDER BY 1$$,
  $$VALUES (1::bigint, 'unchanged', NULL), (6, 'rejected', 'an earning event with the external_ref "I4" exists and is different; events are never changed')$$, 'again');

-- A long import has kept plans made anew: those of small tables would read all rows of the programme for each row.
SET LOCAL plan_cache_mode = force_generic_plan;
PREPARE import_test_kept(bigint) AS SELECT customer_id FROM prm.customer WHERE program_id >= $1;
CREATE FUNCTION pg_temp.expected_rows() RETURNS numeric LANGUAGE plpgsql AS $$ DECLARE the_plan json; BEGIN
  EXECUTE 'EXPLAIN (FORMAT JSON) EXECUTE import_test_kept(0)' INTO the_plan; RETURN (the_plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric; END $$;
SELECT pg_temp.expected_rows() AS few \gset
CREATE TABLE import_test.growing AS SELECT 'M' || i AS id FROM generate_series(1, 4000) i;
SELECT is((SELECT count(*) FROM prm.import('customer', 'import_test.growing', '{"external_ref": "id", "name": "id"}', '{"batch": 500}') WHERE outcome = 'inserted'), 4000::bigint, 'many rows');
SELECT cmp_ok(pg_temp.expected_rows(), '>', :few::numeric, 'plans that are kept know that the table has grown');
DEALLOCATE import_test_kept;
SET LOCAL plan_cache_mode = auto;

-- Dates.
SELECT is(prm._import_moment('15-Mar-2017', 'DD-Mon-YYYY'), '2017-03-15', 'names of months');
SELECT is(prm._import_moment('3/1/2017 x', 'MM/DD/YYYY'), NULL, 'nothing may follow');
SELECT is(prm._import_moment('13/01/2017', 'MM/DD/YYYY'), NULL, 'no thirteenth month');
SELECT is(prm._import_moment('2017-03-01T10:00', NULL)::timestamp, '2017-03-01 10:00'::timestamp, 'ISO without seconds');
SELECT is(prm._import_moment('2017-03-01T10:00:00+0200', NULL)::timestamptz, '2017-03-01 08:00+00'::timestamptz, 'an offset without colon');

-- Rights.
CREATE ROLE prm_test_import_manager;
CREATE ROLE prm_test_import_admin;
CREATE ROLE prm_test_import_analyst;
SELECT prm.grant_access('prm_test_import_manager', 'manager');
SELECT prm.grant_access('prm_test_import_admin', 'admin');
SELECT prm.grant_access('prm_test_import_analyst', 'analyst');
GRANT USAGE ON SCHEMA import_test TO prm_test_import_manager, prm_test_import_admin, prm_test_import_analyst;
GRANT SELECT ON import_test.deal TO prm_test_import_manager, prm_test_import_admin, prm_test_import_analyst;
CREATE TABLE import_test.again AS SELECT * FROM import_test.deal;
TRUNCATE import_test.deal;
INSERT INTO import_test.deal SELECT 'R' || id, '', '', '', CASE WHEN id IN ('D3', 'D4', 'D5') THEN 'Prospecting' ELSE stage END, '', '', '5' FROM import_test.again ORDER BY id;
SET LOCAL ROLE prm_test_import_manager;
SELECT throws_ok($$SELECT * FROM prm.import('lead', 'import_test.lead', '{"external_ref": "id"}')$$, '42501', 'permission denied to read import_test.lead', 'the source is read with the caller''s rights');
SELECT throws_ok($$SELECT * FROM prm.import('deal', 'import_test.deal', $$ || quote_literal(:'deals') || $$)$$, '42501', 'permission denied to import historical dates (created_at)',
  'a manager may not give historical dates');
SELECT results_eq($$SELECT source_row, outcome, message FROM prm.import('deal', 'import_test.deal', $$ || quote_literal(:'deals'::jsonb - '{created_at,closed_at}'::text[]) || $$) ORDER BY 1$$,
  $$VALUES (1::bigint, 'rejected', 'only the owner of schema prm and admins may import the historical state "won" (SQLSTATE 42501)'),
    (2, 'rejected', 'only the owner of schema prm and admins may import the historical state "won" (SQLSTATE 42501)'), (3, 'inserted', NULL), (4, 'inserted', NULL), (5, 'inserted', NULL),
    (6, 'rejected', 'only the owner of schema prm and admins may import the historical state "lost" (SQLSTATE 42501)')$$, 'nor states, but the initial ones');
SET LOCAL ROLE prm_test_import_analyst;
SELECT throws_ok($$SELECT * FROM prm.import('deal', 'import_test.deal', '{"external_ref": "id"}')$$, '42501', 'permission denied to import rows of kind "deal"', 'an analyst may not import');
SET LOCAL ROLE prm_test_import_admin;
SELECT is((SELECT string_agg(outcome, ', ' ORDER BY source_row) FROM prm.import('deal', 'import_test.deal', :'deals')), 'inserted, inserted, unchanged, unchanged, unchanged, inserted', 'an admin may');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
