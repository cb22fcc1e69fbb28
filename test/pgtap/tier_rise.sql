-- The short test whether a win may lift anybody (prm._may_rise) against the whole evaluation, on ladders and deals by chance; what
-- it keeps of the definitions; and the trigger of prm.deal that makes it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();

-- Ladders without scores and alternatives, over metrics of every way to measure: deals in three windows, people, and others.
CREATE FUNCTION pg_temp.chance(the_seed double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.programme(format('rise %s', the_seed));
  INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales'), ('tech', 'Tech');
  INSERT INTO prm.metric (metric, label, source, measure, window_kind, certification) VALUES
    ('won_month', 'Won', 'built_in', 'deals_won', 'rolling_1_month', NULL), ('revenue_month', 'Revenue', 'built_in', 'revenue', 'rolling_1_month', NULL),
    ('revenue_quarter', 'Revenue', 'built_in', 'revenue', 'quarter_to_date', NULL), ('revenue_ever', 'Revenue', 'built_in', 'revenue', 'lifetime', NULL),
    ('sales_people', 'Sales', 'built_in', 'certified_people', 'point', 'sales'), ('any_people', 'Any', 'built_in', 'certified_people', 'point', NULL),
    ('covered', 'Covered', 'built_in', 'training_coverage', 'point', NULL), ('heads', 'People', 'built_in', 'active_people', 'point', NULL),
    ('average', 'Average', 'built_in', 'average_deal', 'rolling_12_months', NULL), ('win_share', 'Win rate', 'built_in', 'win_rate', 'rolling_12_months', NULL),
    ('pushed', 'Pushed', 'pushed', NULL, 'point', NULL);
  PERFORM setseed(the_seed);
  INSERT INTO prm.ladder (ladder, label) VALUES ('second', 'Second');
  INSERT INTO prm.tier (ladder, tier, rank, label) SELECT l, 't' || t, t, 't' || t FROM unnest('{main,second}'::text[]) l CROSS JOIN generate_series(1, 4) t;
  INSERT INTO prm.tier_requirement (ladder, tier, track, metric, op, threshold)
    SELECT l, 't' || t, 'track ' || k, m.metric, CASE WHEN random() < 0.1 THEN '<=' ELSE '>=' END, least(round((m.usual * t * random() * 0.7)::numeric, 2), CASE WHEN m.metric IN ('covered', 'win_share') THEN 1 END)
    FROM unnest('{main,second}'::text[]) l CROSS JOIN generate_series(1, 4) t CROSS JOIN generate_series(1, 2) k
    CROSS JOIN (VALUES ('won_month', 2), ('revenue_month', 300), ('revenue_quarter', 300), ('revenue_ever', 900), ('sales_people', 1), ('any_people', 1), ('covered', 0.4),
      ('heads', 1.5), ('average', 80), ('win_share', 0.4), ('pushed', 20), ('nowhere', 0)) AS m(metric, usual)
    WHERE random() < CASE m.metric WHEN 'nowhere' THEN 0.02 ELSE 0.2 END;
  INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 18) i;
  INSERT INTO prm.partner_user (partner_user_id, partner_id, name, is_active) SELECT 10 * i + u, i, 'u', random() < 0.8 FROM generate_series(1, 18) i CROSS JOIN generate_series(1, 3) u;
  INSERT INTO prm.certificate (partner_user_id, partner_id, certification, issued_on, valid_until)
    SELECT u.partner_user_id, u.partner_id, CASE WHEN random() < 0.5 THEN 'sales' ELSE 'tech' END, prm.now()::date - 100, prm.now()::date + (random() * 20 - 5)::integer
    FROM prm.partner_user u WHERE u.program_id = prm.current_program() AND random() < 0.7;
  PERFORM prm.record_metric(i, 'pushed', round((random() * 60)::numeric, 2)) FROM generate_series(1, 18) i WHERE random() < 0.8;
  PERFORM prm.evaluate_tiers();
  -- Deals that nobody has looked at: what they lift is found by the two in question.
  SET LOCAL session_replication_role = replica;
  INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency, state, created_at, closed_at)
    SELECT i, 1 + (random() * 17)::integer, 'd', CASE WHEN random() < 0.9 THEN round((random() * 400)::numeric, 2) END, CASE WHEN random() < 0.8 THEN 'EUR' ELSE 'CHF' END,
      (ARRAY['won', 'lost', 'won'])[1 + (random() * 2)::integer], prm.now() - interval '3 years', prm.now() - random() * random() * interval '400 days'
    FROM generate_series(1, 90) i;
  SET LOCAL session_replication_role = origin;
END $$;
CREATE TEMP TABLE judged (round int, partner_id bigint, may boolean, rises boolean) ON COMMIT DROP;
DO $$
DECLARE r int; the_ids bigint[] := ARRAY(SELECT generate_series(1, 18)); the_some bigint[];
BEGIN
  FOR r IN 1 .. 8 LOOP
    PERFORM pg_temp.chance(r / 30.0);
    the_some := prm._may_rise(prm.current_program(), the_ids);
    INSERT INTO judged SELECT r, i, coalesce(i = ANY (the_some), false),
        EXISTS (SELECT 1 FROM prm._tier_findings(prm.current_program(), ARRAY[i]) f WHERE f.outcome = 'promote' OR f.recovered OR f.standing <> 'active')
      FROM unnest(the_ids) i;
  END LOOP;
END $$;
SELECT cmp_ok((SELECT count(*) FROM judged WHERE rises), '>', 15::bigint, 'some partners rise');
SELECT cmp_ok((SELECT count(*) FROM judged WHERE NOT rises), '>', 15::bigint, 'and some do not');
SELECT is_empty($$ SELECT * FROM judged WHERE rises AND NOT may $$, 'whoever rises is named by the short test');
SELECT is_empty($$ SELECT * FROM judged j WHERE may AND NOT rises $$, 'and nobody else, without pins and approvals');

-- What a programme defines is looked at as it is, also within one transaction.
SELECT pg_temp.programme('definitions');
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('won', 'Won', 'built_in', 'deals_won', 'rolling_12_months'), ('ever', 'Ever', 'built_in', 'deals_won', 'lifetime');
INSERT INTO prm.tier (tier, rank, label) VALUES ('low', 1, 'Low'), ('high', 2, 'High');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('low', 'won', 1), ('high', 'won', 3);
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'one'), (2, 'two');
SELECT is((SELECT count(*) FROM prm.evaluate_tiers()), 2::bigint, 'both are evaluated once');
CREATE FUNCTION pg_temp.book(the_partner bigint, VARIADIC the_ages interval[] DEFAULT '{0}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_age interval;
BEGIN
  FOREACH the_age IN ARRAY the_ages LOOP
    INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (the_partner, 'new', 10, 'EUR');
    UPDATE prm.deal SET state = 'won', name = 'won', closed_at = prm.now() - the_age WHERE program_id = prm.current_program() AND name = 'new';
  END LOOP;
  RETURN coalesce((SELECT tier FROM prm.partner WHERE program_id = prm.current_program() AND partner_id = the_partner), 'none');
END $$;
CREATE FUNCTION pg_temp.due() RETURNS bigint LANGUAGE sql AS $$
  WITH taken AS (DELETE FROM prm.tier_due WHERE program_id = prm.current_program() RETURNING partner_id) SELECT count(*) FROM taken
$$;
SELECT is(pg_temp.book(1), 'low', 'a first win gives the tier that asks for one');
SELECT is(pg_temp.due(), 1::bigint, 'and leaves a row for the jobs');
SELECT is(pg_temp.book(1), 'low', 'two are not three');
UPDATE prm.tier_requirement SET threshold = 2 WHERE program_id = prm.current_program() AND tier = 'high';
SELECT is(prm._may_rise(prm.current_program(), '{1,2}'), '{1}', 'a lower threshold is seen at once');
UPDATE prm.tier_requirement SET metric = 'nowhere' WHERE program_id = prm.current_program() AND tier = 'high';
SELECT is(prm._may_rise(prm.current_program(), '{1,2}'), NULL, 'a metric that does not exist is never met');
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('nowhere', 'Now it is', 'built_in', 'deals_won', 'lifetime');
SELECT is(prm._may_rise(prm.current_program(), '{1,2}'), '{1}', 'until it does');
UPDATE prm.tier SET rank = 0 WHERE program_id = prm.current_program() AND tier = 'high';
SELECT is(prm._may_rise(prm.current_program(), '{1,2}'), NULL, 'nobody rises to what is lower');
UPDATE prm.tier SET rank = 2 WHERE program_id = prm.current_program() AND tier = 'high';
INSERT INTO prm.tier_policy (ladder, entry_tier) VALUES ('main', 'low');
SELECT is(prm._may_rise(prm.current_program(), '{2}'), '{2}', 'whoever is below the entry tier rises to it');
UPDATE prm.tier_policy SET entry_tier = NULL, mode = 'score', mark = 1000 WHERE program_id = prm.current_program();
SELECT is(prm._may_rise(prm.current_program(), '{2,1,2}'), '{1,2}', 'with scores the whole evaluation says who rises');
DELETE FROM prm.tier_policy WHERE program_id = prm.current_program();
SAVEPOINT before;
UPDATE prm.tier_requirement SET metric = 'won', threshold = 0 WHERE program_id = prm.current_program() AND tier = 'high';
SELECT is(prm._may_rise(prm.current_program(), '{2}'), '{2}', 'what is changed is seen');
ROLLBACK TO before;
SELECT is(prm._may_rise(prm.current_program(), '{2}'), NULL, 'and what is taken back again is not');
SELECT is(prm._may_rise(prm.current_program(), '{2,NULL}', 'no such ladder'), NULL, 'a ladder that does not exist lifts nobody');
SELECT is(prm._may_rise(prm.current_program(), '{}'), NULL, 'nor does nobody rise');
SELECT is(prm._may_rise(prm.current_program(), NULL), NULL, 'nor does NULL');

-- The trigger.
SELECT is(pg_temp.book(2, '2 years'), 'none', 'two years ago is in no window of a year,');
SELECT is(pg_temp.due(), 2::bigint, 'but in that of a metric that looks back for ever it is');
DELETE FROM prm.tier_requirement WHERE program_id = prm.current_program() AND metric = 'nowhere';
SELECT pg_temp.book(2, '2 years');
SELECT is(pg_temp.due(), 0::bigint, 'where none does, it is not looked at');
UPDATE prm.metric SET window_kind = 'rolling_36_months' WHERE program_id = prm.current_program() AND metric = 'won';
SELECT is(pg_temp.book(2, '2 years'), 'low', 'a window of three years looks back so far');
SELECT is(pg_temp.due(), 1::bigint, 'and the jobs look again');
UPDATE prm.metric SET window_kind = 'last_4_years' WHERE program_id = prm.current_program() AND metric = 'won';
SELECT pg_temp.book(2, '3 years');
SELECT is(pg_temp.due(), 1::bigint, 'the four years before this one hold what was won three years ago');
UPDATE prm.metric SET window_kind = '20_quarters_to_date' WHERE program_id = prm.current_program() AND metric = 'won';
SELECT pg_temp.book(2, '4 years'), pg_temp.book(2, '6 years');
SELECT is(pg_temp.due(), 1::bigint, 'twenty quarters what was won four years ago, but not six');
UPDATE prm.deal SET name = 'renamed', amount = 10.00 WHERE program_id = prm.current_program();
SELECT is(pg_temp.due(), 0::bigint, 'a change that counts for nothing is not looked at');
UPDATE prm.deal SET amount = 11 WHERE program_id = prm.current_program() AND partner_id = 1;
SELECT is(pg_temp.due(), 1::bigint, 'one of the amount is, once for each partner');
UPDATE prm.deal SET partner_id = 2 WHERE program_id = prm.current_program() AND partner_id = 1;
SELECT results_eq($$ DELETE FROM prm.tier_due WHERE program_id = prm.current_program() RETURNING partner_id, cause $$, $$ VALUES (2::bigint, 'deal won') $$, 'one of the partner is, for the new one');
INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (1, 'open', 1, 'EUR');
INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (NULL, 'nobody', 1, 'EUR'), (1, 'lost', 1, 'EUR');
UPDATE prm.deal SET state = CASE name WHEN 'lost' THEN 'lost' ELSE 'won' END WHERE program_id = prm.current_program() AND name IN ('nobody', 'lost');
SELECT is(pg_temp.due(), 0::bigint, 'open and lost deals, and those of nobody, are not');
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program() AND name = 'open';
SELECT is(pg_temp.due(), 1::bigint, 'until one is won');

-- Several programmes in one statement, and many partners.
SELECT prm.current_program() AS first \gset
SELECT pg_temp.programme('other');
SELECT prm.current_program() AS other \gset
INSERT INTO prm.metric (metric, label, source, measure, window_kind) VALUES ('won', 'Won', 'built_in', 'deals_won', 'rolling_12_months');
INSERT INTO prm.tier (tier, rank, label) VALUES ('only', 1, 'Only');
INSERT INTO prm.tier_requirement (tier, metric, threshold) VALUES ('only', 'won', 2);
INSERT INTO prm.partner (partner_id, name) SELECT i, 'p' || i FROM generate_series(1, 40) i;
INSERT INTO prm.deal (program_id, partner_id, name, amount, currency)
  SELECT CASE WHEN n = 3 THEN :first ELSE :other END, CASE WHEN n = 3 THEN 1 + i % 2 ELSE i END, 'many', 1, 'EUR' FROM generate_series(1, 40) i CROSS JOIN generate_series(1, 3) n;
UPDATE prm.deal SET state = 'won' WHERE program_id IN (:first, :other) AND name = 'many';
SELECT is((SELECT count(*) FROM prm.partner WHERE program_id = :other AND tier = 'only'), 40::bigint, 'one statement lifts the partners of one programme');
SELECT results_eq(format('SELECT program_id, count(*) FROM prm.tier_due WHERE program_id IN (%1$s, %2$s) GROUP BY 1 ORDER BY 1', :first, :other), format('VALUES (%s::bigint, 2::bigint), (%s, 40)', :first, :other),
  'and notes each partner of both once');

-- Its rights are the owner's, so it serves one table only.
CREATE TABLE public.rise_deal (program_id bigint, deal_id bigint, partner_id bigint, state text, amount numeric, currency text, closed_at timestamptz);
CREATE TRIGGER t AFTER INSERT ON public.rise_deal REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.tier_trigger();
SELECT throws_ok($$ INSERT INTO public.rise_deal VALUES (1, 1, 1, 'won', 1, 'EUR', now()) $$, '42501', 'table "rise_deal" has no tiers to look at', 'the trigger refuses other tables');
DROP TRIGGER t ON public.rise_deal;
CREATE TRIGGER t AFTER INSERT ON public.rise_deal FOR EACH ROW EXECUTE FUNCTION prm.tier_trigger();
SELECT throws_ok($$ INSERT INTO public.rise_deal VALUES (1, 1, 1, 'won', 1, 'EUR', now()) $$, '39P01', NULL, 'and other ways to fire it');
SELECT throws_ok($$ SELECT prm.tier_trigger() $$, '39P01', NULL, 'it is a trigger function');

SELECT * FROM finish();
ROLLBACK;
