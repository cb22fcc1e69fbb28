-- Usage: ingest once only, activation, adoption classes with reasons, drops and their rescue tasks, metrics.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-06-15 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('pgTAP usage', 'blank', 'EUR', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (partner_id, name, external_ref, joined_on, attributes) VALUES (1, 'Ann', 'P1', '2026-01-01', '{}'), (2, 'Bob', 'P2', '2026-06-10', '{}'), (3, 'Cid', NULL, '2026-01-01', '{"resistance_reason": "fears to lose control of leads"}'), (4, 'Dee', NULL, '2026-01-01', '{}');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name, external_ref) VALUES (1, 1, 'Ada', 'U1'), (2, 2, 'Ben', 'U2');
INSERT INTO prm.metric (metric, label, source) VALUES ('logins_30d', 'l', 'built_in') ON CONFLICT (program_id, metric) DO UPDATE SET source = 'built_in';
SELECT is((SELECT count(*) FROM prm.partner_metrics(1) WHERE metric IN ('logins_30d', 'content_use_30d')), 0::bigint, 'without usage nothing is known');

SELECT results_eq($$ SELECT item, outcome, message FROM prm.usage_ingest('[
  {"external_ref": "e1", "partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z", "seconds": 12.5},
  {"external_ref": "e2", "partner_ref": "P2", "partner_user_ref": "U2", "activity": "upload", "at": "2026-06-16 00:30"},
  {"external_ref": "e3", "partner_user_id": 2, "activity": "content_view", "at": "2026-06-12T09:00:00+02:00", "content": "deck", "attributes": {"page": 3}},
  {"external_ref": "e1", "partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "f2", "partner_id": 99, "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "f3", "partner_id": 2, "activity": "dance", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "f4", "partner_id": 2, "activity": "login", "at": "2026-02-30T09:00:00Z"},
  {"external_ref": "f5", "partner_id": 2, "activity": "login", "at": "yesterday"},
  {"external_ref": "f6", "partner_id": 1, "partner_user_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "f7", "partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z", "seconds": "-1"},
  {"external_ref": "f8", "partner_id": 2, "activity": "login", "at": "2026-06-18T09:00:00Z"},
  {"external_ref": "f9", "partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z", "wen": 1},
  {"external_ref": "g1", "partner_id": 2, "partner_user_ref": "U9", "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "g2", "activity": "login", "at": "2026-06-11T09:00:00Z"},
  {"external_ref": "g3", "partner_id": "two", "activity": "login", "at": "2026-06-11T09:00:00Z"},
  7]') $$, $$ VALUES (1, 'inserted', NULL), (2, 'inserted', NULL), (3, 'inserted', NULL), (4, 'unchanged', NULL),
  (5, 'rejected', 'external_ref is missing: without it a batch could not be sent again'), (6, 'rejected', 'there is no such partner'), (7, 'rejected', 'activity "dance" is not in prm.usage_activity'),
  (8, 'rejected', 'at is no moment in ISO 8601'), (9, 'rejected', 'at is no moment in ISO 8601'), (10, 'rejected', 'the person is not of this partner'), (11, 'rejected', 'seconds is no number of zero or more'),
  (12, 'rejected', 'at lies in the future'), (13, 'rejected', 'there is no field "wen"'), (14, 'rejected', 'there is no such person'), (15, 'rejected', 'there is no such partner'), (16, 'rejected', 'there is no such partner'),
  (17, 'rejected', 'it is no JSON object') $$, 'a bad item does not stop the others');
SELECT is((SELECT array_agg(outcome) FROM prm.usage_ingest('[{"external_ref": "e1", "partner_id": 2, "activity": "login", "at": "2026-06-11T09:00:00Z"}]')), '{unchanged}', 'sent again: nothing');
SELECT is((SELECT array_agg(format('%s %s %s', external_ref, partner_user_id, at) ORDER BY external_ref) FROM prm.usage_event WHERE program_id = :program),
  '{"e1  2026-06-11 09:00:00+00","e2 2 2026-06-15 22:30:00+00","e3 2 2026-06-12 07:00:00+00"}', 'moments without an offset are of the programme''s zone; the person names the partner');
SELECT is((SELECT count(*) FROM prm.usage_ingest('[]')), 0::bigint, 'an empty batch');
SELECT throws_ok($$ SELECT prm.usage_ingest('{}') $$, '22023', 'a batch of usage is a JSON array', 'no batch');
SELECT throws_ok($$ SELECT prm.usage_ingest(NULL) $$, '22023', NULL, 'nothing');

-- Activation in the first seven days.
SELECT is((SELECT format('%s %s %s', is_activated, is_over, hours_to_login) FROM prm.v_activation WHERE program_id = :program AND partner_id = 2), 'f f 35.00', 'a login, but no key activity yet');
SET LOCAL prm.clock = '2026-06-16 12:00+00';
SELECT is((SELECT format('%s %s %s %s', is_activated, is_over, logins, key_events) FROM prm.v_activation WHERE program_id = :program AND partner_id = 2), 't f 1 1', 'both: activated');
SELECT is((SELECT format('%s %s', is_activated, is_over) FROM prm.v_activation WHERE program_id = :program AND partner_id = 1), 'f t', 'and one that never came');

-- Classes with reasons.
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref)
  SELECT 1, a, timestamptz '2026-06-16 08:00+00' - i * interval '1 day', format('a%s%s', a, i) FROM generate_series(1, 5) i, unnest('{login,lead_registered}'::text[]) a
  UNION ALL SELECT 4, 'login', timestamptz '2026-05-10 08:00+00' - i * interval '1 day', format('d%s', i) FROM generate_series(0, 9) i;
SELECT results_eq($$ SELECT partner, class, score, reasons FROM prm.v_adoption WHERE program_id = prm.current_program() ORDER BY 1 $$,
  $$ VALUES ('Ann', 'adopter', 100.00, '{}'::text[]), ('Bob', 'ambivalent', 50.00, '{"1 key activities","active on 3 days"}'), ('Cid', 'resistant', 0.00, '{"never used the portal","said: fears to lose control of leads"}'),
     ('Dee', 'resistant', 0.00, '{"no activity for 37 days","activity fell by 100 %"}') $$, 'adopter, ambivalent, resistant, and why');
-- Messages without an answer are a reason.
INSERT INTO prm.survey_wave (survey_wave_id, survey, starts_on, ends_on) VALUES (1, 'partner_nps', '2026-06-01', '2026-06-20');
INSERT INTO prm.survey_ask (survey_wave_id, survey, partner_id, partner_user_id, channel, due_at, asked_at) VALUES (1, 'partner_nps', 1, 1, 'email', '2026-06-01', '2026-06-01');
SELECT is((SELECT reasons FROM prm.v_adoption WHERE program_id = :program AND partner_id = 1), '{"1 surveys not answered"}', 'silence');

-- Drops and their rescue, once.
SELECT is(prm._work_usage(:program), 1::bigint, 'a drop');
SELECT is((SELECT format('%s | %s | %s', title, detail, due_at) FROM prm.task WHERE program_id = :program),
  'Win back Dee: activity fell from 10 to 0 | no activity for 37 days, activity fell by 100 %. Suggested: call them and ask what keeps them away, show the key activities in a short demo. | 2026-06-19 12:00:00+00', 'one task that says what to do');
SET LOCAL prm.clock = '2026-06-17 12:00+00';
SELECT is(prm._work_usage(:program), 0::bigint, 'the same drop the next day: nothing');
INSERT INTO prm.usage_event (partner_id, activity, at, external_ref) SELECT 4, 'login', timestamptz '2026-06-18 08:00+00' + i * interval '1 hour', format('e%s/d', i) FROM generate_series(0, 5) i;
SET LOCAL prm.clock = '2026-06-19 12:00+00';
SELECT is(prm._work_usage(:program), 1::bigint, 'it recovers');
SELECT is((SELECT recovered_on FROM prm.usage_drop WHERE program_id = :program), '2026-06-19'::date, 'on this day');
SET LOCAL prm.clock = '2026-07-25 12:00+00';
SELECT is(prm._work_usage(:program), 2::bigint, 'and falls again, as does another');
SELECT is((SELECT count(*) FROM prm.task WHERE program_id = :program AND cause_key LIKE 'drop/%'), 3::bigint, 'each drop has a task of its own');
INSERT INTO prm.adoption_policy (drop_min_events, rescue_due) VALUES (7, '1 day');
UPDATE prm.usage_drop SET recovered_on = detected_on WHERE program_id = :program AND recovered_on IS NULL;
SELECT is(prm._work_usage(:program), 1::bigint, 'by the policy, six events before are too few to fall from');

-- Metrics.
SET LOCAL prm.clock = '2026-06-16 12:00+00';
SELECT results_eq($$ SELECT metric, value FROM prm.partner_metrics(1) WHERE metric IN ('logins_30d', 'content_use_30d', 'key_activities_30d', 'active_days_30d') ORDER BY 1 $$,
  $$ VALUES ('active_days_30d', 5::numeric), ('content_use_30d', 0), ('key_activities_30d', 5), ('logins_30d', 5) $$, 'computed, zero where there is nothing');
SELECT is((SELECT value FROM prm.partner_metrics(3) WHERE metric = 'logins_30d'), 0::numeric, 'who never came has none');
-- The job.
SELECT ok(ARRAY['surveys', 'usage', 'recognition'] <@ prm._job_names(), 'run_jobs() does it');
SELECT is(prm._job_step(:program, j, NULL), NULL, j) FROM unnest('{surveys,usage,recognition}'::text[]) j;
SELECT is((SELECT array_agg(outcome ORDER BY job) FROM prm.job_run WHERE program_id = :program), '{done,done,done}', 'once per business day');

-- Other programmes are none of it.
SELECT prm.create_program('pgTAP usage elsewhere', 'blank', 'EUR', 'UTC') AS elsewhere \gset
INSERT INTO prm.partner (program_id, partner_id, name, joined_on) VALUES (:elsewhere, 77, 'Elsewhere', '2026-01-01');
SELECT is((SELECT string_agg(a.partner_id::text, ',') FROM prm._adoption(:program, NULL, prm.now()) a WHERE a.partner_id = 77), NULL, 'nobody of another programme');
SELECT is((SELECT string_agg(a.partner_id::text, ',') FROM prm.v_adoption a WHERE a.program_id = :elsewhere), '77', 'and that one has its own alone');
SELECT * FROM finish();
ROLLBACK;
