-- Who acts, when, in which programme; and who may do what.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(60);

-- The programme in force.
SELECT throws_ok('SELECT prm.current_program()', '55000', 'there is no programme yet', 'no programme: a clear error');
SELECT lives_ok($$SELECT prm.create_program('First', 'reseller', 'EUR', 'America/Sao_Paulo')$$, 'a programme from the template');
SELECT is(prm.current_program(), (SELECT max(program_id) FROM prm.program), 'the only programme is in force by itself');
SELECT lives_ok($$SELECT prm.create_program('Second', 'blank')$$, 'a second one');
SELECT throws_ok('SELECT prm.current_program()', '55000', 'no programme is chosen', 'two programmes and none chosen');
SELECT throws_ok($$INSERT INTO prm.lead (company) VALUES ('x')$$, '55000', 'no programme is chosen', 'the column default says the same');
SELECT throws_ok($$SELECT prm._check_program(NULL::bigint)$$, '55000', 'no programme is chosen', 'a NULL programme is the one in force, and there is none');
SELECT throws_ok($$SELECT prm._check_program(999999999)$$, '42704', 'programme 999999999 does not exist', 'an unknown programme');
SET LOCAL prm.program_id = '999999999';
SELECT throws_ok($$SELECT prm._check_program(NULL::bigint)$$, '42704', NULL, 'an unknown programme by the setting');
SELECT throws_ok($$SET LOCAL prm.program_id = 'seven'$$, '22023', NULL, 'the setting takes a number');
SELECT throws_ok($$SET LOCAL prm.programm = '7'$$, '42602', NULL, 'a mistyped setting is refused');
SELECT set_config('prm.program_id', (SELECT program_id::text FROM prm.program WHERE name = 'First'), true) IS NOT NULL AS chosen \gset
SELECT is(prm.current_program(), (SELECT program_id FROM prm.program WHERE name = 'First'), 'the setting chooses');
SELECT is(prm._program_currency(prm.current_program()), 'EUR', 'its currency is cached');
SELECT is(prm._program_time_zone(prm.current_program()), 'America/Sao_Paulo', 'its time zone too');
UPDATE prm.program SET currency = 'BRL' WHERE name = 'First';
SELECT is(prm._program_currency(prm.current_program()), 'BRL', 'a change is seen at the next statement');
SAVEPOINT s;
UPDATE prm.program SET currency = 'CHF' WHERE name = 'First';
SELECT is(prm._program_currency(prm.current_program()), 'CHF', 'inside a savepoint too');
ROLLBACK TO s;
SELECT is(prm._program_currency(prm.current_program()), 'BRL', 'and a rolled-back change is not');

-- Bad programmes leave nothing behind.
SELECT throws_ok($$SELECT prm.create_program(' ')$$, '22023', 'a programme needs a name', 'no name');
SELECT throws_ok($$SELECT prm.create_program('x', 'nonsense')$$, '22023', 'there is no template "nonsense"', 'no such template');
SELECT throws_ok($$SELECT prm.create_program('x', 'blank', 'euro')$$, '22023', '"euro" is no currency code', 'no currency');
SELECT throws_ok($$SELECT prm.create_program('x', 'blank', 'EUR', 'Mars/Olympus')$$, '22023', '"Mars/Olympus" is no time zone', 'no time zone');
SELECT throws_ok($$SELECT prm.create_program('FIRST')$$, '23505', 'there is already a programme "FIRST"', 'the name is taken');
SELECT is((SELECT count(*) FROM prm.program), 2::bigint, 'no row is left of the refused ones');

-- The clock.
SELECT is(prm.now(), now(), 'by default the time of the transaction');
SET LOCAL prm.clock = '2026-03-01 12:00+00';
SELECT is(prm.now(), '2026-03-01 12:00+00'::timestamptz, 'the owner may move it');
SELECT is(current_setting('prm.clock'), '2026-03-01 12:00:00.000000+00', 'it is kept in UTC, which a parallel worker can read before it has a time zone');
SELECT throws_ok($$SET LOCAL prm.clock = '0044-03-15 BC'$$, '22023', NULL, 'a moment before the year 1 is refused');
SELECT throws_ok($$SET LOCAL prm.clock = 'never'$$, '22007', NULL, 'nonsense is refused when it is set');
SELECT throws_ok($$SET LOCAL prm.clock = 'infinity'$$, '22023', NULL, 'so is infinity');
SET LOCAL prm.clock = '';

-- Who acts. The superuser of the session may act for a partner by the setting.
INSERT INTO prm.partner (name, external_ref) VALUES ('Alder', 'A'), ('Birch', 'B');
SELECT partner_id AS alder FROM prm.partner WHERE external_ref = 'A' AND program_id = prm.current_program() \gset
SELECT partner_id AS birch FROM prm.partner WHERE external_ref = 'B' AND program_id = prm.current_program() \gset
SELECT is(prm.current_partner(), NULL, 'nobody chosen: the vendor''s staff');
SELECT set_config('prm.partner_id', :'alder', true) IS NOT NULL AS chosen \gset
SELECT is(prm.current_partner(), :alder::bigint, 'the setting, for the owner');
SELECT set_config('prm.partner_id', '', true) IS NOT NULL AS chosen \gset
SELECT set_config('request.jwt.claims', format('{"partner_id": %s}', :birch), true) IS NOT NULL AS chosen \gset
SELECT is(prm.current_partner(), :birch::bigint, 'the claim of an API layer');
SELECT set_config('request.jwt.claims', '', true) IS NOT NULL AS chosen \gset
SELECT is(prm.current_actor(), current_user::text, 'the actor is the role');
SET LOCAL prm.actor = 'Ana';
SELECT is(prm.current_actor(), 'Ana', 'or what the application says');

-- Profiles.
CREATE ROLE prm_test_partner;
CREATE ROLE prm_test_analyst;
CREATE ROLE prm_test_app;
CREATE ROLE prm_test_stranger;
SELECT throws_ok($$SELECT prm.grant_access('prm_nobody', 'analyst')$$, '42704', 'role "prm_nobody" does not exist', 'no such role');
SELECT throws_ok($$SELECT prm.grant_access('prm_test_analyst', 'boss')$$, '22023', 'there is no profile "boss"', 'no such profile');
SELECT lives_ok($$SELECT prm.grant_access('prm_test_partner', 'partner'), prm.grant_access('prm_test_analyst', 'analyst'), prm.grant_access('prm_test_app', 'app')$$,
  'profiles are given');
SELECT is((SELECT string_agg(format('%s %s', r.rolname, p.proname), ', ' ORDER BY r.rolname, p.proname) FROM pg_roles r, pg_proc p WHERE r.rolname ~ '^prm_test_' AND p.pronamespace = 'prm'::regnamespace
  AND p.prosecdef AND p.provolatile = 'v' AND has_function_privilege(r.rolname, p.oid, 'EXECUTE')), NULL, 'none of which may write with the owner''s rights');
SELECT is((SELECT string_agg(p.proname, ', ' ORDER BY p.proname) FROM prm._access_functions('admin') f JOIN pg_proc p ON p.oid = f WHERE p.provolatile = 'v' OR p.prorettype = 'trigger'::regtype),
  '_book_recalculation, _write_adjustment, _write_segment_members', 'administrators may by these alone');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_test_partner', :alder);
INSERT INTO prm.lead (partner_id, company) VALUES (:alder, 'Own'), (:birch, 'Rival');

SET LOCAL ROLE prm_test_partner;
SELECT is(prm.current_partner(), :alder::bigint, 'a partner''s role acts for its partner');
SELECT set_config('prm.partner_id', :'birch', true) IS NOT NULL AS chosen \gset
SELECT is(prm.current_partner(), :alder::bigint, 'and no setting changes that');
SELECT results_eq('SELECT company FROM prm.lead', ARRAY['Own'], 'it sees its own leads only');
SELECT throws_ok(format('INSERT INTO prm.lead (partner_id, company) VALUES (%s, %L)', :birch, 'Sneaked'), '42501', NULL, 'and cannot write for another');
SELECT throws_ok('SELECT * FROM prm.metric_value', '42501', NULL, 'tables of the vendor are closed');
-- What a deal pays and what it counts for.
SELECT throws_ok(format($$INSERT INTO prm.deal (partner_id, name, amount, closed_at) VALUES (%s, 'Old', 5, '2001-01-01')$$, :alder), '42501', NULL, 'it cannot date its deals back');
INSERT INTO prm.deal (partner_id, name, amount) VALUES (:alder, 'Small', 10);
SELECT throws_ok($$UPDATE prm.deal SET closed_at = '2001-01-01', state = 'won'$$, '42501', NULL, 'nor when it wins them');
SELECT lives_ok($$UPDATE prm.deal SET amount = 20; UPDATE prm.deal SET state = 'won'$$, 'it changes and wins its open deal');
SELECT throws_ok($$UPDATE prm.deal SET amount = 1000000$$, '42501', NULL, 'a won deal does not grow');
SELECT throws_ok($$UPDATE prm.deal SET closed_at = closed_at + interval '1 year'$$, '42501', NULL, 'nor stay young');
SELECT lives_ok($$UPDATE prm.deal SET name = 'Small one'$$, 'its name may change');
SELECT throws_ok(format($$INSERT INTO prm.deal (deal_id, partner_id, name) VALUES (9000000000, %s, 'Squat')$$, :alder), '42501', NULL, 'it does not use up numbers');
CREATE TEMP TABLE prm_test_leads AS SELECT 'L1' AS id, 'Imported' AS name;
SELECT is((SELECT outcome FROM prm.import('lead', 'prm_test_leads', format('{"external_ref": "id", "company": "name", "partner_id": {"value": "%s"}}', :alder)::jsonb)), 'inserted', 'it imports its leads');
DELETE FROM prm_test_leads;
SET LOCAL ROLE prm_test_analyst;
SELECT is((SELECT count(*) FROM prm.lead), 3::bigint, 'an analyst sees all');
SELECT throws_ok($$UPDATE prm.partner SET name = 'x'$$, '42501', NULL, 'and changes nothing');
SELECT is(prm.current_partner(), NULL, 'the setting does not make an analyst a partner');
SET LOCAL ROLE prm_test_app;
SELECT is(prm.current_partner(), :birch::bigint, 'an application chooses the partner');
SELECT results_eq('SELECT company FROM prm.lead', ARRAY['Rival'], 'and sees what that partner sees');
SELECT throws_ok(format($$INSERT INTO prm.deal (partner_id, name, amount, closed_at) VALUES (%s, 'Old', 5, '2001-01-01')$$, :birch), '42501',
  'a partner does not set when a deal was closed', 'and may date no more back than it');
SET LOCAL ROLE prm_test_stranger;
SELECT throws_ok('SELECT * FROM prm.lead', '42501', NULL, 'a stranger sees nothing');
RESET ROLE;
SELECT set_config('prm.partner_id', '', true) IS NOT NULL AS chosen \gset
SELECT prm.revoke_access('prm_test_analyst');
SELECT ok(NOT has_table_privilege('prm_test_analyst', 'prm.lead', 'SELECT'), 'a profile is taken back');

SELECT * FROM finish();
ROLLBACK;
