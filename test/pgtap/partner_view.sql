-- The views that analysts read of metrics, health, tiers, benefits and certificates: what they say, a row for each thing, and that
-- they measure a programme once, whatever the planner knows of its tables.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();
SELECT set_config('prm.clock', '2026-05-10 12:00+00', true);
SELECT prm.create_program('Views', 'reseller', 'EUR', 'UTC') AS program, prm.create_program('Another', 'reseller') AS another \gset
INSERT INTO prm.partner (program_id, name) VALUES (:another, 'Elsewhere');
SELECT set_config('prm.program_id', :'program', true);
INSERT INTO prm.partner (name, joined_on) SELECT 'Partner ' || n, '2025-01-01' FROM generate_series(1, 12) n;
SELECT prm.fire('partner', partner_id, 'admit'), prm.fire('partner', partner_id, 'activate') FROM prm.partner WHERE program_id = :program \g /dev/null
SELECT min(partner_id) AS ann, min(partner_id) + 1 AS bob, min(partner_id) + 2 AS eve FROM prm.partner WHERE program_id = :program \gset
INSERT INTO prm.partner_user (partner_id, name) SELECT partner_id, 'Person of ' || name FROM prm.partner WHERE program_id = :program;
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT partner_user_id, 'sales', '2025-03-01' FROM prm.partner_user WHERE program_id = :program;
INSERT INTO prm.metric (metric, label) VALUES ('mood', 'Mood'), ('care', 'Care'), ('zest', 'Zest');
DELETE FROM prm.health_metric WHERE program_id = :program;
INSERT INTO prm.health_metric (model, metric, group_name, how, weight) VALUES ('standard', 'mood', 'all', 'as_is', 3), ('standard', 'care', 'all', 'as_is', 1), ('standard', 'zest', 'all', 'as_is', 2);

-- Health now, 30 days before, and what moved it.
SELECT prm.record_metric(:ann, 'mood', 80), prm.record_metric(:ann, 'care', 40), prm.record_metric(:bob, 'mood', 50);
SELECT prm.record_metric(:eve + 1, m, 50) FROM unnest('{mood,care,zest}'::text[]) m;
SELECT set_config('prm.clock', '2026-06-15 12:00+00', true);
SELECT prm.record_metric(:ann, 'mood', 60), prm.record_metric(:ann, 'care', 60), prm.record_metric(:eve, 'mood', 90);
SELECT results_eq(format($$ SELECT partner, model, score, band, score_before, band_before, change, metric, metric_label, effect FROM prm.v_health
    WHERE program_id = %s AND partner_id IN (%s, %s, %s) ORDER BY partner_id $$, :program, :ann, :bob, :eve),
  $$ VALUES ('Partner 1', 'standard', 60::numeric, 'yellow', 70::numeric, 'green', -10::numeric, 'mood', 'Mood', -15::numeric),
    ('Partner 2', 'standard', 50, 'yellow', 50, 'yellow', 0, NULL, NULL, NULL), ('Partner 3', 'standard', 90, 'green', NULL, 'unknown', NULL, NULL, NULL, NULL) $$,
  'a fall with the metric that caused most of it, no change, and no score before');
SELECT is((SELECT effect FROM prm.health_changes(:ann, prm.now() - interval '30 days') WHERE metric = 'mood'), -15::numeric, 'health_changes() says the same');
SELECT prm.record_metric(:bob, 'mood', 52);
SELECT is((SELECT format('%s %s %s', change, metric, effect) FROM prm.v_health WHERE program_id = :program AND partner_id = :bob), '2 mood 2', 'a rise with what caused it');
SELECT prm.record_metric(:eve + 1, 'mood', 35), prm.record_metric(:eve + 1, 'care', 20), prm.record_metric(:eve + 1, 'zest', 80);
SELECT is((SELECT format('%s %s %s', change, metric, effect) FROM prm.v_health WHERE program_id = :program AND partner_id = :eve + 1), '-2.5 mood -7.5', 'what rose most is no cause of a fall');
SELECT is((SELECT count(*) FROM prm.v_health WHERE program_id = :program AND score IS NULL AND band = 'unknown'), 8::bigint, 'those of whom nothing is known are there');

-- Benefits and their use.
INSERT INTO prm.benefit (tier, benefit, kind, value) VALUES ('certified', 'early_access', 'product_access', 'beta'), ('certified', 'leads', 'lead_priority', '3'), ('certified', 'funds', 'mdf_share', '2'),
  ('certified', 'hotline', 'support_level', 'day'), ('certified', 'course', 'other', 'free');
INSERT INTO prm.usage_activity (activity, label) VALUES ('hotline', 'Call of the hotline');
SELECT is((SELECT DISTINCT tier FROM prm.partner WHERE program_id = :program), 'certified', 'all are certified');
SELECT is((SELECT string_agg(format('%s %s', benefit, coalesce(uses::text, '?')), ', ' ORDER BY benefit) FROM prm.v_benefit_use WHERE program_id = :program AND partner_id = :ann),
  'course ?, discount_percent 0, early_access 0, funds 0, hotline 0, leads 0', 'nothing is used yet, and of a course nobody can know');
INSERT INTO prm.deal (partner_id, name, product_family, amount, created_at) VALUES (:ann, 'One', 'beta', 100, prm.now());
SELECT is((SELECT uses FROM prm.v_benefit_use WHERE program_id = :program AND partner_id = :ann AND benefit = 'discount_percent'), NULL, 'a deal without lines says nothing of discounts');
INSERT INTO prm.deal (partner_id, name, amount, created_at) VALUES (:ann, 'Two', 90, prm.now()), (:ann, 'Three', 100, prm.now());
INSERT INTO prm.deal_line (deal_id, line_no, net, list_amount) SELECT deal_id, 1, amount, 100 FROM prm.deal WHERE program_id = :program AND name IN ('Two', 'Three');
INSERT INTO prm.mdf_fund (name, partner_id) VALUES ('Fund', :ann) RETURNING fund_id AS fund \gset
SELECT prm.grant_mdf(:fund, 500, 'fair') AS granted \gset
SELECT prm.request_mdf(:fund, 'Fair', 100, daterange('2026-07-01', '2026-07-02')) AS request \gset
INSERT INTO prm.lead (partner_id, company, created_at) VALUES (:ann, 'A', prm.now()), (:ann, 'B', prm.now()), (:ann, 'Old', '2024-06-01'), (:bob, 'C', prm.now());
SELECT count(*) AS sent FROM prm.usage_ingest(format('[{"external_ref": "h1", "partner_id": %s, "activity": "hotline", "at": "2026-06-01T08:00:00Z"}, {"external_ref": "h2", "partner_id": %s, "activity": "hotline", "at": "2025-06-01T08:00:00Z"}]', :ann, :ann)::jsonb) \gset
SELECT is((SELECT string_agg(format('%s %s %s', benefit, coalesce(uses::text, '?'), is_used), ', ' ORDER BY benefit) FROM prm.v_benefit_use WHERE program_id = :program AND partner_id = :ann),
  'course ? , discount_percent 1 t, early_access 1 t, funds 1 t, hotline 1 t, leads 2 t', 'each kind is used in its own way, in the last 12 months');
SELECT is((SELECT max(last_used_at) FROM prm.v_benefit_use WHERE program_id = :program AND partner_id = :ann AND benefit = 'hotline'), '2026-06-01 08:00+00'::timestamptz, 'and last then');
SELECT is((SELECT string_agg(format('%s %s', benefit, is_used), ', ' ORDER BY benefit) FROM prm.v_benefit_use WHERE program_id = :program AND partner_id = :bob),
  'course , discount_percent f, early_access f, funds f, hotline f, leads t', 'another partner''s use is its own');
SELECT is((SELECT string_agg(DISTINCT partner, ',') FROM prm.v_entitlement WHERE program_id = :program AND partner_id = :ann), 'Partner 1', 'entitlements name the partner');

-- The first win.
UPDATE prm.deal SET state = 'won', closed_at = '2026-06-10 12:00+00' WHERE program_id = :program AND name = 'Two';
UPDATE prm.deal SET state = 'won', closed_at = '2026-06-12 12:00+00' WHERE program_id = :program AND name = 'Three';
UPDATE prm.deal SET state = 'lost', closed_at = '2026-06-01 12:00+00' WHERE program_id = :program AND name = 'One';
SELECT is((SELECT format('%s %s', first_win_at = '2026-06-10 12:00+00', days_to_first_win) FROM prm.v_activation WHERE program_id = :program AND partner_id = :ann), 't 525.50', 'the first deal that was won, and how long that took');
SELECT is((SELECT first_win_at FROM prm.v_activation WHERE program_id = :program AND partner_id = :bob), NULL, 'nothing won yet');

-- What happened to tiers, streaks and drops of usage.
SELECT prm.pin_tier(:bob, 'gold', NULL, 'strategic') AS pinned \gset
SELECT prm.pin_tier(:bob, NULL, NULL, 'over') AS unpinned \gset
SELECT set_config('prm.clock', '2026-06-16 12:00+00', true);
SELECT prm.pin_tier(:bob, 'registered', NULL, 'a mistake') AS pinned \gset
SELECT is((SELECT string_agg(format('%s %s %s', direction, to_tier, reason), ', ' ORDER BY tier_history_id) FROM prm.v_tier_history WHERE program_id = :program AND partner_id = :bob AND outcome LIKE 'pin%'),
  'up gold strategic, down registered a mistake', 'tiers go up and down, with the reason');
SELECT is((SELECT string_agg(DISTINCT direction, ',') FROM prm.v_tier_history WHERE program_id = :program AND partner_id = :eve), 'up', 'the first tiers are a way up');
INSERT INTO prm.streak_rule (streak, label, activity) VALUES ('calls', 'Calls every day', 'hotline');
INSERT INTO prm.streak (partner_id, streak, days, longest, freezes, state, through_on) VALUES (:ann, 'calls', 3, 7, 1, 'active', '2026-06-15');
SELECT is((SELECT format('%s %s %s %s', partner, label, days, longest) FROM prm.v_streak WHERE program_id = :program), 'Partner 1 Calls every day 3 7', 'a streak');
INSERT INTO prm.usage_drop (partner_id, detected_on, before, after, reasons, suggestion, recovered_on) VALUES (:ann, '2026-06-01', 20, 5, '{quiet}', 'call', '2026-06-11') RETURNING usage_drop_id AS drop \gset
INSERT INTO prm.task (title, cause_key, created_by, state, done_by, done_at) VALUES ('Win back', 'drop/' || :'drop', 'jobs', 'done', 'Kim', '2026-06-02');
SELECT is((SELECT format('%s %s %s %s %s %s', partner, drop_percent, task_state, done_by, days_to_recover, is_open) FROM prm.v_usage_drop WHERE program_id = :program), 'Partner 1 75.00 done Kim 10 f', 'a drop, who saw to it, and that it helped');

-- A row for each thing.
CREATE FUNCTION pg_temp.twice(the_view text, the_key text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE the_count bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM prm.%I WHERE program_id = prm.current_program() GROUP BY program_id, %s HAVING count(*) > 1) d', the_view, the_key) INTO the_count;
  RETURN the_count;
END $$;
SELECT prm.open_survey_wave('partner_nps') AS wave \gset
SELECT is(pg_temp.twice(v.name, v.key), 0::bigint, format('%s has one row for each %s', v.name, v.key)) FROM (VALUES
  ('v_partner', 'partner_id'), ('v_partner_metric', 'partner_id, metric'), ('v_health', 'partner_id, model'), ('v_tier', 'ladder, tier'), ('v_tier_standing', 'partner_id, ladder'),
  ('v_tier_mismatch', 'partner_id, ladder'), ('v_entitlement', 'partner_id, benefit'), ('v_benefit_use', 'partner_id, benefit'), ('v_certificate', 'certificate_id'),
  ('v_certification_coverage', 'partner_id, certification'), ('v_certificate_impact', 'certificate_id, ladder, track, metric'), ('v_segment', 'segment'), ('v_segment_member', 'segment, partner_id'),
  ('v_ipp_score', 'partner_id, model'), ('v_survey_due', 'survey_ask_id'), ('v_adoption', 'partner_id'), ('v_activation', 'partner_id'), ('v_points', 'partner_id'),
  ('v_tier_history', 'tier_history_id'), ('v_usage_drop', 'usage_drop_id'), ('v_streak', 'partner_id, streak')) AS v(name, key);
SELECT is_empty($$ SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind = 'v' AND c.relname LIKE 'v\_%' AND t.typnamespace <> 'pg_catalog'::regnamespace $$, 'all columns have core types');
SELECT is_empty($$ SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind = 'v' AND c.relname IN
    ('v_partner_metric', 'v_health', 'v_tier_standing', 'v_tier_mismatch', 'v_tier_plan', 'v_tier_approval', 'v_entitlement', 'v_benefit_use', 'v_certificate', 'v_certificate_impact',
     'v_certification_coverage', 'v_training', 'v_segment_member', 'v_ipp_score', 'v_survey_due', 'v_adoption', 'v_activation', 'v_badge', 'v_points', 'v_mission', 'v_tier_history', 'v_usage_drop', 'v_streak')
  AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('program_id', 'partner_id', 'partner')) < 3 $$, 'whatever is about a partner has program_id, partner_id and the name of the partner');

-- How often the function behind a view is called for one programme.
CREATE FUNCTION pg_temp.calls(the_view text, the_programs text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE the_plan json;
BEGIN
  EXECUTE format('EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF, FORMAT JSON) SELECT * FROM prm.%I %s', the_view, the_programs) INTO the_plan;
  RETURN (SELECT max((n ->> 'Actual Loops')::integer) FROM jsonb_path_query(the_plan::jsonb, 'strict $.**') n WHERE n ->> 'Node Type' = 'Function Scan' AND n ->> 'Function Name' LIKE '\_%');
END $$;
SELECT is(pg_temp.calls(v.name, 'WHERE program_id = ' || :program), 1, v.name || ' measures the programme once') FROM unnest(ARRAY['v_partner', 'v_partner_metric', 'v_health', 'v_tier_mismatch', 'v_certificate_impact', 'v_ipp_score', 'v_adoption', 'v_exam_attempts']) AS v(name);
SELECT is(pg_temp.calls(v.name, ''), (SELECT count(*)::integer FROM prm.program), v.name || ' measures each programme once')
  FROM unnest(ARRAY['v_partner', 'v_partner_metric', 'v_health', 'v_tier_mismatch', 'v_certificate_impact', 'v_adoption', 'v_exam_attempts']) AS v(name);

SELECT * FROM finish();
ROLLBACK;
