-- Programmes that vendors publish, written as rows: who gets what, why, and what is missing. The figures are those of the vendors'
-- pages where they give any (HubSpot 2025, Odoo 2018, Dell 2013 and 2017, Google 2022, Salesforce FY22, Xero 2016), else invented.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- HubSpot: points of twelve months, of them a minimum by deals that the partner sourced itself, a certified person, and three tools used.
DO $$ BEGIN PERFORM pg_temp.programme('published hubspot'); PERFORM pg_temp.metrics('median_tools'); END $$;
INSERT INTO prm.tier_point_rate (credit_type, points, valid) VALUES ('sourced', 3, '(,2024-02-27)'), ('sourced', 5, '[2024-02-27,)'), ('assisted', 3, '(,)'), ('managed', 1, '(,)');
INSERT INTO prm.tier_market (applies_to, country, value_multiplier) VALUES ('deal', 'IN', 2);
CREATE VIEW public.pgtap_sourced AS
  SELECT program_id, partner_id, sum(points) AS value FROM prm.v_deal_points WHERE credit_type = 'sourced' AND closed_at > prm.now() - interval '1 year' GROUP BY program_id, partner_id;
INSERT INTO prm.metric (metric, label, unit, source, relation) VALUES ('total_points', 'Total points', 'points', 'view', 'prm.v_tier_points'), ('sourced_points', 'Sourced points', 'points', 'view', 'public.pgtap_sourced');
INSERT INTO prm.tier (tier, rank, label) VALUES ('certified', 1, 'Certified'), ('gold', 2, 'Gold'), ('platinum', 3, 'Platinum');
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('certified', '0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('gold', 'total_points', 395), ('gold', 'sourced_points', 75), ('gold', 'certified_people', 1), ('gold', 'median_tools', 3),
  ('platinum', 'total_points', 1155), ('platinum', 'sourced_points', 225), ('platinum', 'certified_people', 1), ('platinum', 'median_tools', 3);
INSERT INTO prm.customer (customer_id, name, country) VALUES (1, 'Pune', 'IN'), (2, 'Bonn', 'DE');
INSERT INTO prm.partner (partner_id, name, country) SELECT i, 'p' || i, 'DE' FROM generate_series(1, 6) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, i, 'Ada' FROM generate_series(1, 6) i;
INSERT INTO prm.certification (certification, label) VALUES ('partner', 'Partner');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT i, 'partner', '2026-01-01' FROM generate_series(1, 5) i;
-- 1: 75 sourced, 320 managed. 2: 74.9 sourced. 3: sold in a growth market. 4: assisted only. 5: two tools. 6: nobody certified.
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, customer_id) SELECT 10 * i + k, i, 'd', a, 'EUR', c FROM (VALUES
  (1, 1, 1500, 2), (1, 2, 32000, 2), (2, 1, 1498, 2), (2, 2, 40000, 2), (3, 1, 2250, 1), (3, 2, 46500, 1), (4, 1, 50000, 2), (5, 1, 1500, 2), (5, 2, 32000, 2), (6, 1, 1500, 2), (6, 2, 32000, 2)) x(i, k, a, c);
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type) SELECT 10 * i + 2, i, 'managed' FROM unnest('{1,2,3,5,6}'::int[]) i;
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type) VALUES (41, 4, 'assisted');
UPDATE prm.deal SET state = 'won', closed_at = prm.now() WHERE program_id = prm.current_program();
DO $$ BEGIN PERFORM prm.record_metric(i, 'median_tools', CASE i WHEN 5 THEN 2 ELSE 3 END) FROM generate_series(1, 6) i; END $$;
SELECT results_eq($$ SELECT partner_id, qualified FROM prm.evaluate_tiers() $$, $$ VALUES (1::bigint, 'gold'), (2, 'certified'), (3, 'platinum'), (4, 'certified'), (5, 'certified'), (6, 'certified') $$,
  'HubSpot: points alone are not enough');
SELECT results_eq($$ SELECT metric, have, missing, met FROM prm.tier_gap(2) $$, $$ VALUES ('sourced_points', 74.9, 0.1, false), ('certified_people', 1, 0, true), ('median_tools', 3, 0, true), ('total_points', 474.9, 0, true) $$, 'a tenth of a sourced point short');
SELECT is((SELECT reason FROM prm.tier_history WHERE program_id = prm.current_program() AND partner_id = 3 AND outcome = 'promote'), 'certified_people 1 >= 1, median_tools 3 >= 3, sourced_points 225 >= 225, total_points 1155 >= 1155', 'sold to a growth market all counts twice, exactly to the bound');

-- Odoo: three requirements for each level, up at once, looked at each quarter and then set to what is met.
DO $$ BEGIN PERFORM pg_temp.at('2026-01-10 12:00+01'); PERFORM pg_temp.programme('published odoo'); PERFORM pg_temp.metrics('new_users'); INSERT INTO prm.metric (metric, label, unit) VALUES ('retention', 'Retention', 'ratio'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('gold', 40, 'Gold'), ('learning', 10, 'Learning'), ('silver', 30, 'Silver'), ('ready', 20, 'Ready');
INSERT INTO prm.tier_policy (entry_tier, review_kind, review, grace, period_start) VALUES ('learning', 'period', '3 months', '0', '2026-01-01');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('ready', 'new_users', 10), ('ready', 'certified_people', 1), ('silver', 'new_users', 50), ('silver', 'certified_people', 2), ('silver', 'retention', 0.7),
  ('gold', 'new_users', 150), ('gold', 'certified_people', 3), ('gold', 'retention', 0.8);
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('ready', 'commission', 'discount', '10'), ('silver', 'commission', 'discount', '15'), ('gold', 'commission', 'discount', '20');
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 3) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT 10 * i + k, i, 'u' FROM generate_series(1, 3) i CROSS JOIN generate_series(1, 3) k;
INSERT INTO prm.certification (certification, label) VALUES ('v17', 'Version 17');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) SELECT 10 * i + k, 'v17', '2026-01-01', CASE WHEN k = 3 THEN DATE '2026-04-30' END FROM generate_series(1, 3) i CROSS JOIN generate_series(1, 3) k;
DO $$ BEGIN
  PERFORM prm.record_metric(1, 'new_users', 150), prm.record_metric(1, 'retention', 0.8), prm.record_metric(2, 'new_users', 400), prm.record_metric(2, 'retention', 0.7999), prm.record_metric(3, 'new_users', 49.9);
  PERFORM pg_temp.evaluate();
END $$;
SELECT results_eq($$ SELECT pg_temp.held(i), prm.entitlement(i, 'commission') FROM generate_series(1, 3) i $$, $$ VALUES ('gold', '20'), ('silver', '15'), ('ready', '10') $$, 'Odoo: the highest level of which all is met');
SELECT results_eq($$ SELECT metric, lapses_on FROM prm.tier_gap(1, 'gold') WHERE lapses_on IS NOT NULL $$, $$ VALUES ('certified_people', '2026-05-01'::date) $$, 'and the day is known on which the third certificate ends');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-01 00:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'at_risk 2026-07-01', 'one certificate short in May: looked at on the first of July');
DO $$ BEGIN PERFORM pg_temp.at('2026-06-30 23:59:59+02'); END $$;
SELECT is((SELECT tier FROM prm.partner WHERE program_id = prm.current_program() AND partner_id = 1), 'gold', 'gold until then');
DO $$ BEGIN PERFORM pg_temp.at('2026-07-01 00:00+02'); END $$;
SELECT results_eq($$ SELECT outcome, qualified, prm.entitlement(1, 'commission') FROM prm.evaluate_tiers(1) $$, $$ VALUES ('demote', 'silver', '20') $$, 'then what is met');
SELECT is(prm.entitlement(1, 'commission'), '15', 'with its commission');

-- Dell: revenue of the last four fiscal quarters, three quarters of it in Canada; few sales with much training as a second path; the top tier by invitation.
DO $$ BEGIN PERFORM pg_temp.at('2013-03-01 12:00+01'); PERFORM pg_temp.programme('published dell'); PERFORM pg_temp.metrics('competencies', 'invited'); UPDATE prm.program SET fiscal_year_start = 2 WHERE program_id = prm.current_program(); END $$;
INSERT INTO prm.metric (metric, label, unit, source, measure, window_kind) VALUES ('four_quarters', 'Sales of four quarters', 'money', 'built_in', 'revenue', 'last_4_quarters');
INSERT INTO prm.tier (tier, rank, label) VALUES ('registered', 1, 'Registered'), ('premier', 2, 'Premier'), ('black', 3, 'By invitation');
INSERT INTO prm.tier_policy (entry_tier, review, grace) VALUES ('registered', '0', '5 months');
INSERT INTO prm.tier_requirement (tier, track, metric, threshold) VALUES ('premier', 'sales', 'four_quarters', 750000), ('premier', 'training', 'four_quarters', 300000), ('premier', 'training', 'competencies', 4), ('black', 'standard', 'invited', 1), ('black', 'standard', 'four_quarters', 1000000);
INSERT INTO prm.tier_market (country, metric, threshold_multiplier) VALUES ('CA', 'four_quarters', 0.75);
INSERT INTO prm.partner (partner_id, name, country) VALUES (1, 'US', 'US'), (2, 'CA', 'CA'), (3, 'US small, trained', 'US'), (4, 'US in February', 'US'), (5, 'CA small, trained', 'CA');
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, created_at) SELECT i, i, 'd', a, 'EUR', '2012-01-01' FROM (VALUES (1, 800000), (2, 600000), (3, 300000), (4, 900000), (5, 225000)) x(i, a);
UPDATE prm.deal SET state = 'won', closed_at = CASE deal_id WHEN 4 THEN '2013-02-01 00:00+01' WHEN 1 THEN '2012-02-01 00:00+01' ELSE '2013-01-31 23:59+01' END::timestamptz WHERE program_id = prm.current_program();
DO $$ BEGIN PERFORM prm.record_metric(i, 'competencies', 4) FROM unnest('{3,5}'::int[]) i; PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(1, 5) i $$, $$ VALUES ('premier'), ('premier'), ('premier'), ('registered'), ('premier') $$, 'Dell: four whole fiscal quarters, from the first moment of February to the last of January, by either path');
-- The bar is raised; who has the tier keeps it until August.
UPDATE prm.tier_requirement SET threshold = 1000000 WHERE program_id = prm.current_program() AND tier = 'premier' AND track = 'sales';
SELECT results_eq($$ SELECT partner_id, outcome, effective_on, reason FROM prm.evaluate_tiers() WHERE partner_id IN (1, 2, 3) $$,
  $$ VALUES (1::bigint, 'at_risk', '2013-08-01'::date, 'four_quarters 800000, needed >= 1000000'), (2, 'at_risk', '2013-08-01', 'four_quarters 600000, needed >= 750000'), (3, 'keep', NULL, 'competencies 4 >= 4, four_quarters 300000 >= 300000') $$,
  'Dell raises the bar: five months to reach it');
DO $$ BEGIN PERFORM prm.record_metric(4, 'invited', 1), prm.record_metric(1, 'invited', 1); PERFORM pg_temp.at('2013-05-01 00:00+02'); PERFORM pg_temp.evaluate(); END $$;
SELECT results_eq($$ SELECT pg_temp.held(i) FROM unnest('{1,4}'::int[]) i $$, $$ VALUES ('premier'), ('registered') $$, 'an invitation alone is not enough; February counts once its quarter is over');

-- Google: optimisation score, spend of 90 days, and half of the strategists certified, of a hundred at most.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('published google'); PERFORM pg_temp.metrics('optimisation'); END $$;
INSERT INTO prm.metric (metric, label, unit, source, measure, window_kind) VALUES ('spend_90d', 'Spend', 'money', 'built_in', 'revenue', 'rolling_90_days');
INSERT INTO prm.tier (tier, rank, label) VALUES ('partner', 1, 'Partner');
INSERT INTO prm.tier_policy (review, grace) VALUES ('0', '0');
INSERT INTO prm.tier_requirement (tier, metric, threshold, alternative_group) VALUES ('partner', 'optimisation', 70, NULL), ('partner', 'spend_90d', 10000, NULL), ('partner', 'training_coverage', 0.5, 'certified'), ('partner', 'certified_people', 50, 'certified');
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'two of four'), (2, 'one of three'), (3, 'fifty of 200'), (4, 'nobody at all');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT 1000 * i + k, i, 'u' FROM (VALUES (1, 4), (2, 3), (3, 200)) x(i, n) CROSS JOIN LATERAL generate_series(1, n) k;
INSERT INTO prm.certification (certification, label) VALUES ('ads', 'Ads');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT 1000 * i + k, 'ads', '2026-01-01' FROM (VALUES (1, 2), (2, 1), (3, 50)) x(i, n) CROSS JOIN LATERAL generate_series(1, n) k;
DO $$ BEGIN
  PERFORM prm.record_metric(i, 'optimisation', 70) FROM generate_series(1, 4) i; PERFORM pg_temp.win(i, 10000) FROM generate_series(1, 4) i;
  PERFORM pg_temp.evaluate();
END $$;
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(1, 4) i $$, $$ VALUES ('partner'), (NULL), ('partner'), (NULL) $$, 'Google: half of them, or fifty');
SELECT results_eq($$ SELECT metric, have, need, met, alternative_group FROM prm.tier_gap(2) WHERE alternative_group IS NOT NULL $$, $$ VALUES ('certified_people', 1::numeric, 50::numeric, false, 'certified'), ('training_coverage', 0.333333, 0.5, false, 'certified') $$, 'the gap shows both');
SELECT is((SELECT lapses_on FROM prm.tier_gap(1, 'partner') WHERE metric = 'spend_90d'), '2026-05-31'::date, 'checked each day: the spend of 2 March is gone on 31 May');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-31 11:59:59+02'); END $$;
SELECT is(pg_temp.outcome(1), 'keep', 'until the same hour by the clock on the wall, across the change to summer time');
DO $$ BEGIN PERFORM pg_temp.at('2026-05-31 12:00+02'); END $$;
SELECT is(pg_temp.outcome(1), 'demote 2026-05-31', 'and then no longer');

-- Salesforce: up to 1000 points for three goals, each worth no more than its share; assigned on 1 March and kept for the year, up in between.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-01 00:00+01'); PERFORM pg_temp.programme('published salesforce'); PERFORM pg_temp.metrics('csat', 'acv', 'people'); END $$;
INSERT INTO prm.tier (tier, rank, label) VALUES ('base', 0, 'Base'), ('ridge', 1, 'Ridge'), ('crest', 2, 'Crest'), ('summit', 3, 'Summit');
INSERT INTO prm.tier_policy (entry_tier, mode, review_kind, review, grace, period_start) VALUES ('base', 'score', 'period', '1 year', '0', '2020-03-01');
INSERT INTO prm.tier_track (tier, mark) VALUES ('ridge', 250), ('crest', 500), ('summit', 750);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight) SELECT t, m, n, w FROM unnest('{ridge,crest,summit}'::text[]) t CROSS JOIN (VALUES ('csat', 4.5, 250), ('acv', 2000000, 400), ('people', 120, 350)) x(m, n, w);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 4) i;
DO $$ BEGIN
  PERFORM prm.record_metric(1, 'csat', 4.5), prm.record_metric(2, 'acv', 90000000), prm.record_metric(2, 'csat', 1.79), prm.record_metric(3, 'csat', 5), prm.record_metric(3, 'acv', 750000), prm.record_metric(3, 'people', 120);
  PERFORM pg_temp.evaluate();
END $$;
SELECT results_eq($$ SELECT pg_temp.held(i) FROM generate_series(1, 4) i $$, $$ VALUES ('ridge'), ('ridge'), ('summit'), ('base') $$, 'Salesforce: 250, 400 + 99.4, 250 + 150 + 350, and nothing known');
SELECT results_eq($$ SELECT metric, have, need, missing, points, weight FROM prm.tier_gap(2) $$,
  $$ VALUES ('csat', 1.79, 4.5, 2.71, 99.4444444444, 250::numeric), ('people', NULL, 120, 120, 0, 350), ('score', 499.4444444444, 500, 0.5555555556, 499.4444444444, NULL), ('acv', 90000000, 2000000, 0, 400, 400) $$, 'what it has of each goal, and what is missing of the score');
SELECT is((SELECT sum(points) FILTER (WHERE metric <> 'score') - sum(points) FILTER (WHERE metric = 'score') FROM prm.tier_gap(3, 'summit')), 0::numeric, 'the rows sum to the score');
DO $$ BEGIN
  PERFORM pg_temp.at('2026-06-01 12:00+02'); PERFORM prm.record_metric(1, 'people', 90), prm.record_metric(3, 'people', 0); PERFORM pg_temp.evaluate();
END $$;
SELECT results_eq($$ SELECT partner_id, outcome, effective_on FROM prm.evaluate_tiers() WHERE partner_id IN (1, 3) $$, $$ VALUES (1::bigint, 'keep', NULL::date), (3, 'at_risk', '2027-03-01') $$, 'up during the year, down on the first of March');
DO $$ BEGIN PERFORM pg_temp.at('2027-02-28 23:59:59+01'); END $$;
SELECT is(pg_temp.outcome(3), 'at_risk 2027-03-01', 'not a second sooner');
DO $$ BEGIN PERFORM pg_temp.at('2027-03-01 00:00+01'); END $$;
SELECT results_eq($$ SELECT outcome, held, qualified FROM prm.evaluate_tiers(3) $$, $$ VALUES ('demote', 'summit', 'ridge') $$, 'then to what the score gives: 250 + 150');

-- Xero: points for what clients use, whole ones only, and certified staff; champions by growth against the year before.
DO $$ BEGIN PERFORM pg_temp.at('2026-03-02 12:00+01'); PERFORM pg_temp.programme('published xero'); PERFORM pg_temp.metrics('premium', 'cashbook', 'ledgers', 'points_growth'); END $$;
INSERT INTO prm.ladder (ladder, label) VALUES ('champion', 'Champion');
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('main', 'partner', 1, 'Partner'), ('main', 'bronze', 2, 'Bronze'), ('main', 'silver', 3, 'Silver'), ('champion', 'champion', 1, 'Champion');
INSERT INTO prm.tier_policy (ladder, entry_tier, review, grace) VALUES ('main', 'partner', '0', '0'), ('champion', NULL, '0', '0');
INSERT INTO prm.tier_track (tier, mark) VALUES ('bronze', 10), ('silver', 100);
INSERT INTO prm.tier_requirement (tier, metric, threshold, weight, is_capped, is_partial) SELECT t, m, n, w, false, false FROM unnest('{bronze,silver}'::text[]) t CROSS JOIN (VALUES ('premium', 1, 2), ('cashbook', 1, 1), ('ledgers', 10, 1)) x(m, n, w);
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) VALUES ('champion', 'champion', 'points_growth', 0.2), ('champion', 'champion', 'certified_people', 2);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 3) i;
DO $$ BEGIN PERFORM prm.record_metric(1, 'premium', 4), prm.record_metric(1, 'cashbook', 1), prm.record_metric(1, 'ledgers', 19), prm.record_metric(2, 'premium', 4), prm.record_metric(2, 'ledgers', 19), prm.record_metric(3, 'premium', 50), prm.record_metric(3, 'points_growth', 0.5); END $$;
SELECT results_eq($$ SELECT partner_id, ladder, qualified, reason FROM prm.evaluate_tiers() WHERE qualified <> 'partner' $$,
  $$ VALUES (1::bigint, 'main', 'bronze', 'score 10 >= 10 (cashbook 1, ledgers 19, premium 4)'), (3, 'main', 'silver', 'score 100 >= 100 (cashbook unknown, ledgers unknown, premium 50)') $$, 'Xero: 8 + 1 + 1, the nine ledgers beyond ten give nothing');
SELECT results_eq($$ SELECT metric, missing FROM prm.tier_gap(3, 'champion') WHERE NOT met $$, $$ VALUES ('certified_people', 2::numeric) $$, 'a ladder of its own for growth, with what is missing there');

-- Cisco, AWS and VMware: a tier of the company takes designations, which are ladders; and time as a partner.
DO $$ BEGIN PERFORM pg_temp.programme('published designations'); PERFORM pg_temp.metrics('security', 'cloud', 'data'); END $$;
INSERT INTO prm.ladder (ladder, label) SELECT l, l FROM unnest('{security,cloud,data}'::text[]) l;
CREATE VIEW public.pgtap_designations AS SELECT program_id, partner_id, count(*) AS value FROM prm.v_tier_standing WHERE ladder <> 'main' AND effective_tier IS NOT NULL GROUP BY program_id, partner_id;
CREATE VIEW public.pgtap_tenure AS SELECT p.program_id, p.partner_id, (prm.now() AT TIME ZONE g.time_zone)::date - p.joined_on AS value FROM prm.partner p JOIN prm.program g USING (program_id);
INSERT INTO prm.metric (metric, label, source, relation) VALUES ('designations', 'Designations', 'view', 'public.pgtap_designations'), ('days_joined', 'Days since it joined', 'view', 'public.pgtap_tenure');
INSERT INTO prm.tier (ladder, tier, rank, label) SELECT l, 'advanced', 1, 'Advanced' FROM unnest('{security,cloud,data}'::text[]) l UNION ALL VALUES ('main', 'select', 1, 'Select'), ('main', 'premier', 2, 'Premier');
INSERT INTO prm.tier_policy (ladder, entry_tier) VALUES ('main', 'select');
INSERT INTO prm.tier_requirement (ladder, tier, metric, threshold) SELECT l, 'advanced', l, 5 FROM unnest('{security,cloud,data}'::text[]) l;
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('premier', 'designations', 2), ('premier', 'days_joined', 365);
INSERT INTO prm.partner (partner_id, name, joined_on) VALUES (1, 'two of three', '2025-03-02'), (2, 'one day too young', '2025-03-03'), (3, 'one', '2000-01-01'), (4, 'capped', '2000-01-01');
DO $$ BEGIN
  PERFORM prm.record_metric(i, m, 5) FROM unnest('{1,2,4}'::bigint[]) i CROSS JOIN unnest('{security,cloud}'::text[]) m; PERFORM prm.record_metric(3, 'data', 9);
  PERFORM pg_temp.evaluate(); PERFORM prm.set_tier_cap(4, NULL, NULL, 'x');
END $$;
SELECT is((SELECT count(*) FROM prm.enrolment WHERE program_id = prm.current_program() AND ladder <> 'main' AND tier IS NOT NULL), 7::bigint, 'the designations first');
SELECT results_eq($$ SELECT partner_id, qualified, reason FROM prm.evaluate_tiers(options => '{"ladder": "main"}') WHERE outcome = 'promote' $$, $$ VALUES (1::bigint, 'premier', 'days_joined 365 >= 365, designations 2 >= 2'), (4, 'premier', 'days_joined 9557 >= 365, designations 2 >= 2') $$,
  'what counts designations sees them with the next evaluation');
SELECT results_eq($$ SELECT metric, have, missing FROM prm.tier_gap(2) WHERE NOT met $$, $$ VALUES ('days_joined', 364::numeric, 1::numeric) $$, 'one day');

SELECT * FROM finish();
ROLLBACK;
