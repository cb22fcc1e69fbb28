-- Segments: criteria that are checked when written, membership with history, by hand too, refresh twice = once, explanation, prospects,
-- who may; and the ideal partner profile: additive scores, and whether it tells the future.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-01-10 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP segment', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
CREATE FUNCTION pg_temp.members(the_segment text) RETURNS bigint[] LANGUAGE sql AS
  $$ SELECT array_agg(m.partner_id ORDER BY m.partner_id) FROM prm.segment_member m WHERE m.program_id = prm.current_program() AND m.segment = the_segment AND m.valid @> prm.now() $$;
CREATE FUNCTION pg_temp.as_of(the_segment text, the_moment timestamptz) RETURNS bigint[] LANGUAGE sql AS
  $$ SELECT array_agg(m.partner_id ORDER BY m.partner_id) FROM prm.segment_member m WHERE m.program_id = prm.current_program() AND m.segment = the_segment AND m.valid @> the_moment $$;
CREATE FUNCTION pg_temp.refresh() RETURNS text[] LANGUAGE sql AS
  $$ SELECT array_agg(format('%s %s %s', c.segment, c.partner_id, c.outcome) ORDER BY c.segment, c.partner_id) FROM prm.refresh_segments() c $$;
INSERT INTO prm.metric (metric, label, source) VALUES ('size', 'Size', 'pushed');
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales');
INSERT INTO prm.partner (partner_id, name, country, joined_on, attributes) VALUES (1, 'Ann', 'DE', '2026-01-01', '{"vertical": "retail", "staff": 50}'), (2, 'Bob', 'DE', '2026-01-02', '{"vertical": "health"}'),
  (3, 'Cid', 'US', '2026-01-03', '{}'), (4, 'Dee', NULL, NULL, '{"vertical": "retail"}');
UPDATE prm.partner SET state = 'onboarding' WHERE program_id = :program AND partner_id = 1;
SELECT prm.record_metric(1, 'size', 10), prm.record_metric(2, 'size', 100);

-- Criteria are checked when they are written.
SELECT throws_ok(format($$ INSERT INTO prm.segment (segment, label, criteria) VALUES ('bad', 'Bad', %L) $$, c.criteria), c.state, NULL, c.what)
FROM (VALUES ('$.partner.country = "DE"', '22P02', 'no jsonpath'), ('$.deal.amount > 1', '22023', 'no such part'), ('$.partner.county == "DE"', '22023', 'no such field'), ('$.metrics.revenu_12m > 1', '22023', 'no such metric'),
  ('$.certifications.magic >= 1', '22023', 'no such certification'), ('$.health.colour == "red"', '22023', 'no such field of health'), ('$.metrics.size > "10"', '22023', 'a number against text'),
  ('$.metrics.size == "10"', '22023', 'and equal to it'), ('$.partner.country', '22023', 'a value'), ('$.partner.joined_on.datetime() > "2026-01-01".datetime()', '22023', 'dates made inside'), ('$x > 1', '22023', 'a variable')) AS c(criteria, state, what);
SELECT throws_ok($$ INSERT INTO prm.ipp_criterion (criterion, criteria) VALUES ('bad', '$.partner.county == "DE"') $$, '22023', NULL, 'those of a profile, too');

INSERT INTO prm.segment (segment, label, criteria, position) VALUES ('german', 'German', '$.partner.country == "DE"', 1), ('retail', 'Retail', 'strict $.partner.attributes.vertical == "retail"', 2),
  ('foreign', 'Foreign', '$.partner.country != "DE"', 3), ('big', 'Big', '$.metrics.size >= 100 && $.partner.country == "DE"', 4), ('trained', 'Trained', '$.certifications.sales >= 1', 5),
  ('prospect', 'Prospects', '$.partner.state == "applicant"', 6), ('vip', 'VIP', NULL, 7);
SELECT is(prm._criteria_names(ARRAY['$.metrics.size >= 100 && $.partner.country == "DE"', '$.metrics.other > 1'], 'metrics'), '{other,size}', 'only the metrics that criteria name are computed');
SELECT is(prm._criteria_names(ARRAY['exists($.metrics ? (@.size > 1))'], 'metrics'), NULL, 'all of them where metrics are taken as a whole');

-- A dry run only tells; the refresh writes; a second one finds nothing.
SELECT is((SELECT count(*) FROM prm.refresh_segments(dry_run => true)), 9::bigint, 'a dry run tells');
SELECT is((SELECT count(*) FROM prm.segment_member WHERE program_id = :program), 0::bigint, 'and writes nothing');
SELECT is(pg_temp.refresh(), '{"big 2 joined","foreign 3 joined","german 1 joined","german 2 joined","prospect 2 joined","prospect 3 joined","prospect 4 joined","retail 1 joined","retail 4 joined"}',
  'several segments at once, prospects included; what is absent satisfies nothing, not even "not equal"');
SELECT is(pg_temp.refresh(), NULL, 'refresh twice = once');
CREATE TEMP TABLE before AS SELECT m.*, m.xmin::text AS version FROM prm.segment_member m WHERE m.program_id = :program;
SET LOCAL prm.clock = '2026-01-11 12:00+00';
SELECT is(pg_temp.refresh(), NULL, 'the next day, too');
SELECT is_empty($$ TABLE before EXCEPT ALL SELECT m.*, m.xmin::text FROM prm.segment_member m $$, 'not a row is written');

-- History: membership as of a moment.
SET LOCAL prm.clock = '2026-02-01 12:00+00';
UPDATE prm.partner SET country = 'US' WHERE program_id = :program AND partner_id = 2;
UPDATE prm.partner SET attributes = attributes || '{"vertical": "retail"}' WHERE program_id = :program AND partner_id = 2;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 3, 'Cara');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-02-01', '2026-02-10');
SELECT is(pg_temp.refresh(), '{"big 2 left","foreign 2 joined","german 2 left","retail 2 joined","trained 3 joined"}', 'who joined and who left');
SELECT is(pg_temp.as_of('german', '2026-01-15'), '{1,2}', 'as of a moment before');
SELECT is(pg_temp.as_of('german', '2026-02-01 12:00+00'), '{1}', 'from the moment on it is out');
SELECT is(pg_temp.as_of('german', '2026-02-01 11:59:59+00'), '{1,2}', 'until then it was in');
SET LOCAL prm.clock = '2026-02-11 12:00+00';
SELECT is(pg_temp.refresh(), '{"trained 3 left"}', 'a certificate that ended takes the segment with it');
UPDATE prm.partner SET country = 'DE' WHERE program_id = :program AND partner_id = 2;
SELECT pg_temp.refresh();
UPDATE prm.partner SET country = 'US' WHERE program_id = :program AND partner_id = 2;
SELECT pg_temp.refresh();
SELECT is(pg_temp.members('german') || pg_temp.members('foreign'), '{1,2,3}', 'to and fro at one moment');
SELECT is(pg_temp.refresh(), NULL, 'and then it rests');
SET LOCAL prm.clock = '2026-01-20 12:00+00';
SELECT lives_ok($$ SELECT prm.refresh_segments() $$, 'with the clock turned back it does not run into what comes later');
SELECT is(pg_temp.refresh(), NULL, 'and rests');
SET LOCAL prm.clock = '2026-03-01 12:00+00';

-- By hand.
SELECT ok(prm.add_segment_member('vip', 4, 'founder''s friend'), 'a static segment');
SELECT ok(NOT prm.add_segment_member('vip', 4), 'once');
SELECT ok(prm.add_segment_member('german', 3, 'moves soon', '2026-04-01'), 'in spite of the criteria');
SELECT ok(prm.add_segment_member('german', 1, 'for good'), 'one that the criteria took in becomes one by hand');
SELECT is(pg_temp.refresh(), NULL, 'members by hand stay');
SELECT is((SELECT array_agg(format('%s %s', partner_id, source) ORDER BY partner_id) FROM prm.v_segment_member WHERE program_id = :program AND segment = 'german'), '{"1 manual","3 manual"}', 'the view tells them apart');
SELECT is((SELECT count(*) FROM prm.segment_member WHERE program_id = :program AND segment = 'german' AND partner_id = 1), 2::bigint, 'the time before is kept');
SET LOCAL prm.clock = '2026-04-01 12:00+00';
SELECT is(pg_temp.members('german'), '{1}', 'until it ends');
SELECT ok(prm.remove_segment_member('german', 1), 'taken out by hand');
SELECT ok(NOT prm.remove_segment_member('german', 1), 'once');
SELECT is(pg_temp.refresh(), '{"german 1 joined"}', 'but the criteria hold');
SELECT throws_ok($$ SELECT prm.remove_segment_member('german', 1) $$, '55000', NULL, 'whom the criteria hold cannot be taken out');
SELECT throws_ok($$ SELECT prm.add_segment_member('vip', 1, NULL, '2026-03-01') $$, '22023', NULL, 'an end that has passed');
SELECT throws_ok($$ SELECT prm.add_segment_member('none', 1) $$, '42704', 'segment "none" does not exist', 'unknown segment');
SELECT throws_ok($$ SELECT prm.add_segment_member('vip', 99) $$, '42704', NULL, 'unknown partner');
SELECT throws_ok($$ INSERT INTO prm.segment_member (segment, partner_id, valid, actor) VALUES ('vip', 4, '[2026-05-01,)', 'x') $$, '23P01', NULL, 'at most once at a time');
UPDATE prm.segment SET is_active = false WHERE program_id = :program AND segment = 'retail';
SELECT is(pg_temp.refresh(), '{"retail 1 left","retail 2 left","retail 4 left"}', 'a segment that is put out of force');
SELECT is((SELECT format('%s %s %s', members, by_hand, prospects) FROM prm.v_segment WHERE program_id = :program AND segment = 'vip'), '1 1 1', 'and the list of segments');

-- Why, and why not.
SELECT results_eq($$ SELECT condition, holds, found, is_member, matches FROM prm.explain_segment(2, 'big') $$,
  $$ VALUES ('$."metrics"."size" >= 100', true, '{"metrics.size": 100}'::jsonb, false, false), ('$."partner"."country" == "DE"', false, '{"partner.country": "US"}', false, false) $$, 'each comparison on its own');
SELECT is((SELECT format('%s %s %s', holds IS NULL, found, note) FROM prm.explain_segment(4, 'german')), 't {"partner.country": null} cannot be decided: there is no partner.country', 'what is absent');
SELECT is((SELECT format('%s %s', source, note) FROM prm.explain_segment(4, 'vip')), 'manual set by hand: founder''s friend', 'by hand');
SELECT is((SELECT count(DISTINCT segment) FROM prm.explain_segment(1)), 7::bigint, 'all segments');
UPDATE prm.partner SET country = 'FR' WHERE program_id = :program AND partner_id = 1;
SELECT is((SELECT note FROM prm.explain_segment(1, 'german')), 'the next refresh_segments() will change it', 'what is out of date says so');
SELECT throws_ok($$ SELECT prm.explain_segment(1, 'none') $$, '42704', NULL, 'unknown segment');
SELECT is(prm._condition_parts('$.partner.name == "a && (b" && ($.partner.country == "DE" || $.partner.country == "AT") && !($.metrics.size > 1)'),
  '{"$.\"partner\".\"name\" == \"a && (b\"","($.\"partner\".\"country\" == \"DE\" || $.\"partner\".\"country\" == \"AT\")","!($.\"metrics\".\"size\" > 1)"}', 'texts and brackets are no conjunctions');
SELECT is(cardinality(prm._condition_parts('$.metrics.size > 1 && $.metrics.size < 5 || $.partner.country == "DE"')), 1, 'nor is what a disjunction joins');
-- The parts mean together what the whole means.
SELECT is_empty($$ SELECT c, d FROM unnest(ARRAY['$.partner.country == "DE" && $.metrics.size > 5', '$.partner.country == "DE" || $.metrics.size > 5', '($.metrics.size > 5)', '($.metrics.size > 5 && $.partner.country == "DE") is unknown', '(($.metrics.size > 5 && $.partner.country == "DE") is unknown) && $.metrics.size < 50', '!($.metrics.size > 5 && $.metrics.size < 7) && exists($.partner.country)', '$.metrics.size > 5 && ($.metrics.size < 50 && $.partner.country == "DE")',
    '($.partner.country == "DE" || $.metrics.size > 5) && ($.metrics.size < 50 || $.partner.country == "AT")']) AS c
  CROSS JOIN unnest(ARRAY['{"partner": {"country": "DE"}, "metrics": {"size": 10}}', '{"partner": {"country": "AT"}, "metrics": {"size": 100}}', '{"partner": {"country": "AT"}, "metrics": {"size": 1}}', '{}']::jsonb[]) AS d
  WHERE coalesce(jsonb_path_match(d, prm._condition(c), '{}', true), false) <> (SELECT coalesce(bool_and(jsonb_path_match(d, prm._condition(p), '{}', true) IS TRUE), false) FROM unnest(prm._condition_parts(c)) AS p) $$,
  'the parts of a condition hold together when it holds');
SELECT is(prm.segment_document(2) - 'metrics' #- '{partner,days_joined}', '{"partner": {"name": "Bob", "kind": "reseller", "state": "applicant", "country": "US", "joined_on": "2026-01-02", "attributes": {"vertical": "retail"}, "partner_id": 2}, "certifications": {"sales": 0}}', 'what criteria see');

-- The job.
SELECT ok('segments' = ANY (prm._job_names()), 'run_jobs() does it');
SELECT is(prm._job_step(:program, 'segments', NULL), NULL, 'by its step');
SELECT is((SELECT format('%s %s', outcome, done) FROM prm.job_run WHERE program_id = :program AND job = 'segments'), 'done 2', 'once per business day');

-- Who may: staff reads, managers and admins change, a partner sees nothing of it.
CREATE ROLE segment_test_partner;
CREATE ROLE segment_test_manager;
CREATE ROLE segment_test_analyst;
SELECT prm.grant_access('segment_test_partner', 'partner');
SELECT prm.grant_access('segment_test_manager', 'manager');
SELECT prm.grant_access('segment_test_analyst', 'analyst');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('segment_test_partner', 1);
SET LOCAL ROLE segment_test_manager;
SELECT ok(prm.add_segment_member('vip', 2), 'a manager sets members');
SELECT lives_ok($$ SELECT prm.refresh_segments() $$, 'and refreshes');
SELECT throws_ok($$ DELETE FROM prm.segment_member $$, '42501', NULL, 'but rewrites no history');
SET LOCAL ROLE segment_test_analyst;
SELECT is((SELECT count(*) FROM prm.v_segment_member WHERE segment = 'vip' AND program_id = :program), 2::bigint, 'an analyst reads');
SELECT throws_ok($$ SELECT prm.add_segment_member('vip', 3) $$, '42501', NULL, 'and changes nothing');
SET LOCAL ROLE segment_test_partner;
SELECT throws_ok($$ SELECT * FROM prm.segment_member $$, '42501', NULL, 'a partner does not see how it is sorted');
SELECT throws_ok($$ SELECT * FROM prm.v_segment $$, '42501', NULL, 'nor the segments');
RESET ROLE;

-- The ideal partner profile: points that sum to the score.
INSERT INTO prm.ipp_model (version, label, is_active) VALUES (1, 'First', false), (2, 'Second', true);
INSERT INTO prm.ipp_criterion (version, criterion, criteria, weight, position) VALUES (1, 'any', '$.partner.partner_id > 0', 1, 1),
  (2, 'country', '$.partner.country == "DE"', 1, 1), (2, 'vertical', '$.partner.attributes.vertical == "retail"', 1, 2), (2, 'staff', '$.partner.attributes.staff >= 20', 1, 3);
UPDATE prm.partner SET country = 'DE' WHERE program_id = :program AND partner_id = 1;
SELECT results_eq($$ SELECT criterion, holds, points, possible FROM prm.ipp_score(1) $$, $$ VALUES ('country', true, 33.3334, 33.3334), ('vertical', true, 33.3333, 33.3333), ('staff', true, 33.3333, 33.3333) $$, 'points by weight that sum to 100');
SELECT is((SELECT sum(points) FROM prm.ipp_score(1)), 100.0000, 'exactly');
SELECT is((SELECT array_agg(holds ORDER BY criterion) FROM prm.ipp_score(2)), '{f,NULL,t}', 'what is not known counts as no');
SELECT is((SELECT sum(points) FROM prm.ipp_score(2, options => '{"version": 1}')), 100.0000, 'another version');
SELECT is_empty($$ SELECT v.partner_id FROM prm.v_ipp_score v WHERE v.program_id = prm.current_program() AND v.score <> (SELECT sum(points) FROM prm.ipp_score(v.partner_id)) $$, 'the view has the sum for every partner');
SELECT is((SELECT count(*) FROM prm.v_ipp_score WHERE program_id = :program), 4::bigint, 'prospects included');
SELECT throws_ok($$ SELECT prm.ipp_score(1, 'other') $$, '42704', 'ideal partner profile "other" does not exist', 'unknown profile');
SELECT throws_ok($$ SELECT prm.ipp_score(1, options => '{"version": 9}') $$, '42704', NULL, 'unknown version');
SELECT throws_ok($$ SELECT prm.ipp_score(1, options => '{"v": 9}') $$, '22023', NULL, 'unknown option');

-- Does it tell the future? Twelve partners join, those like the profile sell and stay; as they were when they joined.
SET LOCAL prm.clock = '2026-05-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP profile', 'blank', 'EUR', 'UTC')::text, true) AS profile \gset
INSERT INTO prm.ipp_model (label) VALUES ('P');
INSERT INTO prm.ipp_criterion (criterion, criteria, weight) VALUES ('staff', '$.partner.attributes.staff >= 7', 3), ('some', '$.partner.attributes.staff >= 4', 1), ('few', '$.partner.attributes.staff >= 10', 1);
INSERT INTO prm.partner (partner_id, name, joined_on, attributes) SELECT i, 'P' || i, '2026-05-01', jsonb_build_object('staff', i) FROM generate_series(1, 12) i;
SET LOCAL prm.clock = '2026-06-01 12:00+00';
-- What comes later does not count: everybody grows.
UPDATE prm.partner SET attributes = '{"staff": 100}' WHERE program_id = :profile;
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) SELECT i, i, 'D', i * 100, 'EUR' FROM generate_series(5, 12) i;
UPDATE prm.deal SET state = 'proposal' WHERE program_id = :profile;
UPDATE prm.deal SET state = 'negotiation' WHERE program_id = :profile;
UPDATE prm.deal SET state = 'won' WHERE program_id = :profile;
SET LOCAL prm.reason = 'no business';
UPDATE prm.partner SET state = 'rejected' WHERE program_id = :profile AND partner_id IN (1, 2, 3, 8);
SET LOCAL prm.clock = '2027-04-30 12:00+00';
SELECT is((SELECT count(*) FROM prm.ipp_validate()), 0::bigint, 'before the horizon is over nobody is judged');
SET LOCAL prm.clock = '2027-06-01 12:00+00';
UPDATE prm.partner SET state = 'rejected' WHERE program_id = :profile AND partner_id = 12;
SELECT results_eq($$ SELECT part, partners, score_from, score_to, mean_revenue, survived, survival FROM prm.ipp_validate() $$,
  $$ VALUES ('all', 12::bigint, 0.0000, 100.0000, 566.67, 8::bigint, 0.6667), ('quartile 1', 3, 0.0000, 0.0000, 0.00, 0, 0.0000), ('quartile 2', 3, 20.0000, 20.0000, 366.67, 3, 1.0000),
     ('quartile 3', 3, 80.0000, 80.0000, 800.00, 2, 0.6667), ('quartile 4', 3, 100.0000, 100.0000, 1100.00, 3, 1.0000) $$, 'quartiles by the score at joining; who leaves after the horizon survived it');
-- Survivors 4 5 6 (20), 7 9 (80), 10 11 12 (100) against 1 2 3 (0) and 8 (80): of 32 pairs 24 + (3 * 0 + 2 * 0.5 + 3) = 28.
SELECT is((SELECT auc_survival FROM prm.ipp_validate() WHERE part = 'all'), round(28 / 32.0, 4), 'the AUC counts pairs, ties half');
-- Median revenue is that of the sixth, 600: above it 7 to 12, of 36 pairs all are right.
SELECT is((SELECT auc_revenue FROM prm.ipp_validate() WHERE part = 'all'), 1.0000, 'and against revenue');
SELECT is((SELECT count(*) FROM prm.ipp_validate(horizon => '2 years')), 0::bigint, 'a longer horizon is not over');
SELECT is((SELECT count(*) FROM prm.ipp_validate(options => '{"joined_from": "2026-05-02"}')), 0::bigint, 'a later cohort is empty');
SELECT throws_ok($$ SELECT prm.ipp_validate(horizon => '-1 day') $$, '22023', NULL, 'no horizon');
SELECT throws_ok($$ SELECT prm.ipp_validate('other') $$, '42704', NULL, 'unknown profile');

SELECT * FROM finish();
ROLLBACK;
