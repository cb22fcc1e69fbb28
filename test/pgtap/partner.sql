-- Partners: history kept by itself, chains of parents, enrolment, tiers set by hand.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-03-01 12:00:00+01', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP partners', 'reseller', 'USD', 'Europe/Berlin')::text, true);
END $$;

-- The first row of the history, and the enrolment.
INSERT INTO prm.partner (partner_id, name, region, tier) VALUES (1, 'Aurora', 'north', NULL), (2, 'Boreal', 'north', 'gold'), (3, 'Corona', 'south', NULL);
SELECT results_eq(
  $$ SELECT partner_id, valid::text, region, tier FROM prm.partner_history WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, '(,)', 'north', 'registered'), (2, '(,)', 'north', 'gold'), (3, '(,)', 'south', 'registered') $$,
  'a new partner has one row of history without bounds, with the tier it enters at');
SELECT results_eq(
  $$ SELECT partner_id, tier FROM prm.partner WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, 'registered'), (2, 'gold'), (3, 'registered') $$, 'partner.tier shows the entry tier, or the tier given');
SELECT results_eq(
  $$ SELECT partner_id, ladder, tier, standing, effective_on FROM prm.enrolment WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, 'main', 'registered', 'active', '2026-03-01'::date), (2, 'main', 'gold', 'active', '2026-03-01'), (3, 'main', 'registered', 'active', '2026-03-01') $$,
  'each new partner is enrolled in the ladder');
SELECT results_eq(
  $$ SELECT partner_id, from_tier, to_tier, outcome FROM prm.tier_history WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES (1::bigint, NULL::text, 'registered', 'entry'), (2, NULL, 'gold', 'entry'), (3, NULL, 'registered', 'entry') $$,
  'the history of tiers begins with the entry');
SELECT results_eq(
  $$ SELECT partner_id, benefit, value FROM prm.benefit_grant WHERE program_id = prm.current_program() AND partner_id <= 2 ORDER BY 1, 2 $$,
  $$ VALUES (1::bigint, 'discount_percent', '5'), (2, 'discount_percent', '20'), (2, 'mdf_percent', '1'), (2, 'support_level', 'dedicated') $$,
  'benefits are granted with the tier');
SELECT throws_ok($$ INSERT INTO prm.partner (partner_id, name, tier) VALUES (10, 'Delta', 'diamond') $$, '42704', 'tier "diamond" does not exist',
  'a new partner cannot have a tier that does not exist');

-- A change splits the history at prm.now().
SET LOCAL prm.clock = '2026-04-01 00:00:00+02';
UPDATE prm.partner SET region = 'east' WHERE partner_id IN (1, 3);
SELECT results_eq(
  $$ SELECT valid, region FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY valid $$,
  $$ VALUES (tstzrange(NULL, '2026-04-01 00:00+02'), 'north'), (tstzrange('2026-04-01 00:00+02', NULL), 'east') $$,
  'a change closes the open row at prm.now() and opens the next');
UPDATE prm.partner SET region = 'west' WHERE partner_id = 1;
SELECT results_eq(
  $$ SELECT valid, region FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY valid $$,
  $$ VALUES (tstzrange(NULL, '2026-04-01 00:00+02'), 'north'), (tstzrange('2026-04-01 00:00+02', NULL), 'west') $$,
  'a second change at the same instant is made in place');
SET LOCAL prm.clock = '2026-03-15 00:00:00+01';
UPDATE prm.partner SET region = 'centre' WHERE partner_id = 1;
SELECT results_eq(
  $$ SELECT valid, region FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY valid $$,
  $$ VALUES (tstzrange(NULL, '2026-04-01 00:00+02'), 'north'), (tstzrange('2026-04-01 00:00+02', NULL), 'centre') $$,
  'with the clock turned back no range is ever empty or inverted');
SET LOCAL prm.clock = '2026-05-01 00:00:00+02';
UPDATE prm.partner SET name = 'Aurora Ltd', email = 'hello@aurora.test' WHERE partner_id = 1;
SELECT is((SELECT count(*) FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1), 2::bigint,
  'a change of name or address is no new row of history');
UPDATE prm.partner SET kind = 'hub', parent_id = 2, country = 'DE', attributes = '{"size": 3}' WHERE partner_id = 1;
SELECT results_eq(
  $$ SELECT kind, parent_id, country, attributes FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 AND valid @> prm.now() $$,
  $$ VALUES ('hub', 2::bigint, 'DE', '{"size": 3}'::jsonb) $$, 'kind, parent, country and attributes are kept too');
SELECT results_eq(
  $$ SELECT kind, parent_id FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 AND valid @> '2026-04-15'::timestamptz $$,
  $$ VALUES ('reseller', NULL::bigint) $$, 'what was true before can still be read');

-- Chains of parents.
UPDATE prm.partner SET parent_id = 1 WHERE partner_id = 3;
SELECT throws_ok($$ UPDATE prm.partner SET parent_id = 3 WHERE partner_id = 2 $$, '23514', 'partner 2 would be above itself', 'a cycle of parents is refused');
SELECT throws_ok($$ UPDATE prm.partner SET parent_id = 1 WHERE partner_id = 1 $$, '23514', NULL, 'nobody is its own parent');
SELECT throws_ok($$ INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (11, 'K', 12), (12, 'L', 11) $$, '23514', NULL,
  'a cycle that comes in one INSERT is refused as well');
SELECT is((SELECT parent_id FROM prm.partner WHERE program_id = prm.current_program() AND partner_id = 2), NULL::bigint, 'and nothing was changed');

-- A tier set by hand.
SET LOCAL prm.reason = 'flagship project';
UPDATE prm.partner SET tier = 'silver' WHERE partner_id = 1;
SELECT results_eq(
  $$ SELECT e.tier, e.effective_on FROM prm.enrolment e WHERE e.program_id = prm.current_program() AND e.partner_id = 1 $$,
  $$ VALUES ('silver', '2026-05-01'::date) $$, 'a tier set by hand is carried into the enrolment');
SELECT results_eq(
  $$ SELECT from_tier, to_tier, outcome, reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY tier_history_id DESC LIMIT 1 $$,
  $$ VALUES ('registered', 'silver', 'manual', 'flagship project') $$, 'and into its history, as manual');
SELECT is((SELECT tier FROM prm.partner_history WHERE program_id = prm.current_program() AND partner_id = 1 AND valid @> prm.now()), 'silver',
  'and into the partner''s history');
SELECT results_eq(
  $$ SELECT benefit, value, valid FROM prm.benefit_grant WHERE program_id = prm.current_program() AND partner_id = 1 ORDER BY benefit, valid $$,
  $$ VALUES ('discount_percent', '5', tstzrange('2026-03-01 12:00+01', '2026-05-01 00:00+02')),
            ('discount_percent', '15', tstzrange('2026-05-01 00:00+02', NULL)),
            ('support_level', 'business hours', tstzrange('2026-05-01 00:00+02', NULL)) $$, 'benefits follow with ranges that meet');
SELECT throws_ok($$ UPDATE prm.partner SET tier = 'diamond' WHERE partner_id = 1 $$, '42704', 'tier "diamond" does not exist', 'an unknown tier is refused');
UPDATE prm.partner SET tier = tier, state = state;
SELECT is((SELECT count(*) FROM prm.tier_history WHERE program_id = prm.current_program() AND outcome = 'manual'), 1::bigint,
  'an UPDATE that changes nothing leaves no trace');

-- Two programmes in one statement.
DO $$ BEGIN PERFORM set_config('test.other', prm.create_program('pgTAP partners 2', 'blank', 'EUR')::text, true); END $$;
INSERT INTO prm.partner (program_id, partner_id, name)
  VALUES (prm.current_program(), 21, 'Here'), (current_setting('test.other')::bigint, 21, 'There');
SELECT results_eq(
  $$ SELECT p.name, p.tier, e.ladder, e.tier FROM prm.partner p LEFT JOIN prm.enrolment e USING (program_id, partner_id) WHERE p.partner_id = 21 AND p.name IN ('Here', 'There') ORDER BY 1 $$,
  $$ VALUES ('Here', 'registered', 'main', 'registered'), ('There', NULL, 'main', NULL) $$, 'each programme has its own ladder; a blank one has no entry tier');
UPDATE prm.partner SET region = 'x' WHERE partner_id = 21;
SELECT is((SELECT count(*) FROM prm.partner_history WHERE partner_id = 21 AND region = 'x' AND program_id IN (prm.current_program(), current_setting('test.other')::bigint)), 2::bigint,
  'one UPDATE over two programmes is remembered in both');

-- Bulk is normal.
INSERT INTO prm.partner (partner_id, name) SELECT 1000 + i, 'bulk ' || i FROM generate_series(1, 500) i;
SELECT is((SELECT count(*) FROM prm.partner_history h JOIN prm.partner p USING (program_id, partner_id)
           WHERE p.program_id = prm.current_program() AND p.name LIKE 'bulk %' AND h.tier = 'registered' AND h.valid = '(,)'), 500::bigint, '500 partners at once');

-- A deleted partner takes its history along.
DELETE FROM prm.partner WHERE name = 'bulk 1';
SELECT is((SELECT count(*) FROM prm.partner_history WHERE program_id = prm.current_program()) >= 504, true, 'the history of the others stays');
SELECT is_empty($$ SELECT 1 FROM prm.partner_history a JOIN prm.partner_history b USING (program_id, partner_id)
                   WHERE a.valid < b.valid AND (a.valid && b.valid OR NOT (a.valid -|- b.valid))
                     AND NOT EXISTS (SELECT 1 FROM prm.partner_history c WHERE c.program_id = a.program_id AND c.partner_id = a.partner_id AND c.valid > a.valid AND c.valid < b.valid) $$,
  'the ranges of each partner meet without gap or overlap');

-- What a name comes down to stands in an index, so it depends on no setting.
SET LOCAL standard_conforming_strings = off;
SELECT is(prm._plain_name('Acme.Sales   Inc.'), 'acmesales', 'backslashes mean the same in an old-fashioned session');
SET LOCAL standard_conforming_strings = on;

SELECT * FROM finish();
ROLLBACK;
