-- Training and what is won after it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();
SELECT set_config('prm.clock', '2026-06-15 12:00+00', true);
SELECT prm.create_program('Lift', 'reseller', 'EUR', 'UTC') AS program \gset
SELECT set_config('prm.program_id', :'program', true);
SELECT results_eq($$ SELECT part, partners, revenue_change FROM prm.training_lift('sales_basics') $$, $$ VALUES ('trained', 0::bigint, NULL::numeric), ('untrained', 0, NULL), ('lift', NULL, NULL) $$, 'nobody was trained');
SELECT throws_ok($$ SELECT * FROM prm.training_lift('knitting') $$, '42704', 'course "knitting" does not exist', 'no such course');
SELECT throws_ok($$ SELECT * FROM prm.training_lift('sales_basics', '-1 day') $$, '22023', 'the horizon is no time after the course', 'no horizon');
SELECT throws_ok($$ SELECT * FROM prm.training_lift('sales_basics', NULL) $$, '22023', 'the horizon is no time after the course', 'none at all');
-- One and two are trained on 1 February; three is not; four comes too late, five is trained too late, six joined too late to be told before and after.
INSERT INTO prm.partner (name, joined_on, external_ref) VALUES ('One', '2025-01-01', 'p1'), ('Two', '2025-01-01', 'p2'), ('Three', '2025-01-01', 'p3'), ('Four', '2026-01-20', 'p4'), ('Five', '2025-01-01', 'p5'), ('Six', '2026-01-20', 'p6');
INSERT INTO prm.partner_user (partner_id, name, external_ref) SELECT partner_id, 'Person', replace(external_ref, 'p', 'u') FROM prm.partner WHERE program_id = :program;
SELECT count(*) AS sent FROM prm.lms_ingest((SELECT jsonb_agg(jsonb_build_object('kind', 'completion', 'external_ref', 'c' || v.n, 'partner_user_ref', v.who, 'course', 'sales_basics', 'at', v.at)) FROM (VALUES
  (1, 'u1', '2026-02-01T00:00:00Z'), (2, 'u1', '2026-05-01T00:00:00Z'), (3, 'u2', '2026-02-01T00:00:00Z'), (4, 'u5', '2026-06-01T00:00:00Z'), (5, 'u6', '2026-02-01T00:00:00Z')) AS v(n, who, at))) \gset
INSERT INTO prm.deal (partner_id, name, amount, currency, created_at, attributes)
  SELECT p.partner_id, 'Deal', v.amount, v.currency, v.day::timestamptz - interval '1 day', jsonb_build_object('day', v.day) FROM (VALUES
    ('p1', 100, 'EUR', '2026-01-15'), ('p1', 300, 'EUR', '2026-02-15'), ('p1', 999, 'EUR', '2025-06-01'), ('p1', 999, 'USD', '2026-02-20'),
    ('p2', 100, 'EUR', '2026-01-15'), ('p2', 200, 'EUR', '2026-03-15'), ('p3', 50, 'EUR', '2026-01-10'), ('p3', 80, 'EUR', '2026-02-10'), ('p5', 150, 'EUR', '2026-01-10'), ('p5', 180, 'EUR', '2026-02-10'),
    ('p4', 5000, 'EUR', '2026-02-10'), ('p6', 7000, 'EUR', '2026-02-10')) AS v(who, amount, currency, day) JOIN prm.partner p ON p.program_id = :program AND p.external_ref = v.who;
UPDATE prm.deal SET state = 'won', closed_at = (attributes ->> 'day')::timestamptz WHERE program_id = :program;
SELECT results_eq($$ SELECT * FROM prm.training_lift('sales_basics', '60 days') $$,
  $$ VALUES ('trained', 2::bigint, 100.00, 250.00, 150.00, 1.0000, 2.0 - 0.5, 0.5000), ('untrained', 2, 100.00, 130.00, 30.00, 1.0000, 1.0000, 0.0000), ('lift', NULL, NULL, NULL, 120.00, NULL, NULL, 0.5000) $$,
  'the change of the trained less that of the others, each within 60 days, other currencies as deals only');
SELECT is((SELECT partners FROM prm.training_lift('sales_basics', '200 days') WHERE part = 'trained'), 0::bigint, 'of a time that is not over nothing is told');
SELECT is((SELECT partners FROM prm.training_lift('sales_basics', '10 days') WHERE part = 'trained'), 4::bigint, 'a shorter one tells of more');
SELECT * FROM finish();
ROLLBACK;
