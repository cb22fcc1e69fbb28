-- training_lift(): figures that are reckoned by hand, who is compared with whom, and by chance against a slow and simple way.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
\ir tier.psql
SELECT no_plan();
CREATE FUNCTION pg_temp.deal(the_partner bigint, the_amount numeric, the_moment text, the_state text DEFAULT 'won', the_currency text DEFAULT 'EUR') RETURNS void LANGUAGE plpgsql AS $$
DECLARE the_id bigint;
BEGIN
  PERFORM pg_temp.at(the_moment);
  INSERT INTO prm.deal (partner_id, name, amount, currency) VALUES (the_partner, 'deal', the_amount, the_currency) RETURNING deal_id INTO the_id;
  UPDATE prm.deal d SET state = the_state, closed_at = prm.now() WHERE d.program_id = prm.current_program() AND d.deal_id = the_id;
END $$;
DO $$ BEGIN PERFORM pg_temp.at('2025-01-01 12:00+01'); PERFORM pg_temp.programme('lift'); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales'), ('rare', 'Rare'), ('both', 'Both');
INSERT INTO prm.course (course, label) VALUES ('intro', 'Intro'), ('both', 'Both');
INSERT INTO prm.partner (partner_id, name, joined_on) SELECT i, 'p' || i, '2025-01-01' FROM generate_series(1, 9) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, i, 'u' FROM generate_series(1, 9) i;
-- 1 and 2 are certified in March; January and February against April and May, with 3, 4 and 5.
DO $$ BEGIN
  PERFORM pg_temp.deal(1, 100, '2027-01-01 00:00+01'), pg_temp.deal(1, 1000, '2026-12-31 23:59+01'), pg_temp.deal(1, 5000, '2027-03-15 12:00+01'), pg_temp.deal(1, 200, '2027-04-01 00:00+02'), pg_temp.deal(1, 100, '2027-05-31 23:59+02'),
    pg_temp.deal(1, 7000, '2027-06-01 00:00+02'), pg_temp.deal(1, 900, '2027-05-01 12:00+02', 'lost'), pg_temp.deal(1, 900, '2027-05-01 12:00+02', 'won', 'USD');
  PERFORM pg_temp.deal(2, 200, '2027-02-28 23:59+01'), pg_temp.deal(2, 220, '2027-04-05 12:00+02');
  PERFORM pg_temp.deal(3, 100, '2027-01-05 12:00+01'), pg_temp.deal(3, 120, '2027-04-05 12:00+02');
  PERFORM pg_temp.deal(4, 50, '2027-01-05 12:00+01'), pg_temp.deal(4, 30, '2027-04-05 12:00+02'), pg_temp.deal(4, 20, '2027-05-05 12:00+02');
  PERFORM pg_temp.deal(5, 70, '2027-05-05 12:00+02');
  -- 6 never closed a deal and is a prospect still, 7 came too late to have a whole January, 8 is certified before the end of May, 9 left in February.
  PERFORM pg_temp.deal(7, 9999, '2027-04-05 12:00+02'), pg_temp.deal(8, 9999, '2027-04-05 12:00+02'), pg_temp.deal(9, 9999, '2027-01-05 12:00+01');
END $$;
UPDATE prm.partner SET joined_on = CASE partner_id WHEN 7 THEN '2027-01-02' ELSE '2027-01-01' END::date WHERE program_id = prm.current_program() AND partner_id IN (5, 7);
DO $$ BEGIN PERFORM pg_temp.at('2026-06-01 12:00+02'); PERFORM prm.fire('partner', 9, 'admit'), prm.fire('partner', 9, 'activate');
  PERFORM pg_temp.at('2027-02-05 12:00+01'); PERFORM prm.fire('partner', 9, 'offboard', 'x'); PERFORM pg_temp.at('2027-08-15 12:00+02'); END $$;
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2027-03-31', '2028-03-30'), (1, 'sales', '2027-07-01', NULL), (2, 'sales', '2027-03-01', NULL), (7, 'sales', '2027-03-10', NULL), (8, 'sales', '2027-05-31', NULL), (3, 'sales', '2027-02-01', '2027-01-31');
SELECT results_eq($$ SELECT measure, trained_partners, trained_before, trained_after, other_partners, other_before, other_after, lift, margin, lift_low, lift_high, left_out, note FROM prm.training_lift('sales', 2, '{"to": "2027-04-30"}') WHERE measure = 'revenue' $$,
  $$ SELECT 'revenue', 2::bigint, 150.0000, 260.0000, 3::bigint, 50.0000, 80.0000, 80.0000, m, 80 - m, 80 + m, 1::bigint, 'few partners, so the margin is rough; no difference can be told from chance'
     FROM (SELECT round(1.96 * sqrt(16200::numeric / 2 + 1300::numeric / 3), 4) AS m) x $$, 'changes of 200 and 20 against 20, 0 and 70: 110 less 30, with the error of two means');
SELECT results_eq($$ SELECT measure, trained_before, trained_after, other_partners, lift FROM prm.training_lift('sales', 2, '{"to": "2027-04-30"}') WHERE measure <> 'revenue' $$,
  $$ VALUES ('deals_won', 1.0000, 2.0000, 3::bigint, 0.3333), ('win_rate', 1.0000, 0.8750, 2::bigint, -0.1250), ('average_deal', 150.0000, 185.0000, 2, 37.5000) $$,
  'deals won; the share that was won and the average of those who had deals on both sides');
SELECT results_eq($$ SELECT trained_partners, other_partners, left_out FROM prm.training_lift('sales', 1, '{"to": "2027-04-30"}') WHERE measure = 'revenue' $$, $$ VALUES (3::bigint, 4::bigint, 0::bigint) $$,
  'over shorter sides more can be compared: the one that came in January, and with the one certified in May, before it was');
SELECT results_eq($$ SELECT trained_partners, left_out FROM prm.training_lift('sales', 2) WHERE measure = 'revenue' $$, $$ VALUES (3::bigint, 1::bigint) $$, 'those of May have June and July');
SELECT results_eq($$ SELECT trained_partners, left_out FROM prm.training_lift('sales', 3) WHERE measure = 'revenue' $$, $$ VALUES (2::bigint, 2::bigint) $$, 'and August is not over');
SELECT results_eq($$ SELECT trained_partners, left_out, note FROM prm.training_lift('sales', 2, '{"from": "2027-03-02", "to": "2027-04-30"}') WHERE measure = 'revenue' $$, $$ VALUES (1::bigint, 1::bigint, 'few partners, so the margin is rough') $$, 'of those trained from a day on');
SELECT results_eq($$ SELECT margin, lift_low FROM prm.training_lift('sales', 2, '{"to": "2027-03-01"}') WHERE measure = 'revenue' $$, $$ VALUES (NULL::numeric, NULL::numeric) $$, 'one partner tells no spread');
SELECT results_eq($$ SELECT measure, trained_partners, lift, note FROM prm.training_lift('rare') $$, $$ SELECT m, 0::bigint, NULL::numeric, 'nobody was trained then' FROM unnest('{revenue,deals_won,win_rate,average_deal}'::text[]) m $$, 'nobody');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT i, 'both', '2027-03-01' FROM generate_series(1, 9) i;
SELECT matches((SELECT note FROM prm.training_lift('both', 2) WHERE measure = 'revenue'), '^of 9 trained partners none can be compared', 'everybody: nobody to compare with');
INSERT INTO prm.course_completion (partner_user_id, course, completed_at) VALUES (1, 'intro', '2027-03-01 00:00+01'), (2, 'intro', '2027-03-31 23:59+02'), (2, 'both', '2027-03-31 23:59+02');
SELECT is((SELECT lift FROM prm.training_lift('intro', 2) WHERE measure = 'revenue'), -2412.2500, 'a course: by when it was completed first; 8 stands among the others here');
SELECT is((SELECT trained_partners FROM prm.training_lift('both', 2, '{"kind": "course"}') WHERE measure = 'revenue'), 1::bigint, 'a name of both: the certification, unless the course is asked for');
SELECT throws_ok($$ SELECT prm.training_lift('none') $$, '42704', 'certification or course "none" does not exist', 'unknown');
SELECT throws_ok($$ SELECT prm.training_lift('intro', 6, '{"kind": "certification"}') $$, '42704', 'certification "intro" does not exist', 'unknown of that kind');
SELECT throws_ok($$ SELECT prm.training_lift('sales', 0) $$, '22023', NULL, 'no months');
SELECT throws_ok($$ SELECT prm.training_lift('sales', NULL) $$, '22023', NULL, 'nothing');
SELECT throws_ok($$ SELECT prm.training_lift('sales', 6, '{"x": 1}') $$, '22023', NULL, 'unknown option');
SELECT throws_ok($$ SELECT prm.training_lift('sales', 6, '{"from": "soon"}') $$, '22023', 'option "from" of training_lift is no day', 'no day to begin');
SELECT throws_ok($$ SELECT prm.training_lift('sales', 6, '{"to": "infinity"}') $$, '22023', 'option "to" of training_lift is no day', 'no day to end');
SELECT throws_ok($$ SELECT prm.training_lift('sales', 6, '{"kind": "exam"}') $$, '22023', NULL, 'unknown kind');

-- By chance: partners certified in several months, against a slow and simple reckoning.
DO $$ BEGIN PERFORM pg_temp.at('2025-01-01 12:00+01'); PERFORM pg_temp.programme('lift by chance'); PERFORM setseed(0.37); END $$;
INSERT INTO prm.certification (certification, label) VALUES ('sales', 'Sales');
INSERT INTO prm.partner (partner_id, name, joined_on) SELECT i, 'p' || i, '2025-06-01'::date + (random() * 500)::int FROM generate_series(1, 60) i;
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) SELECT i, i, 'u' FROM generate_series(1, 60) i;
DO $$ BEGIN PERFORM pg_temp.deal(1 + (random() * 59)::int, round((random() * 1000)::numeric, 2), (timestamptz '2026-01-01 00:00+01' + random() * interval '20 months')::text, CASE WHEN random() < 0.7 THEN 'won' ELSE 'lost' END) FROM generate_series(1, 900);
  PERFORM pg_temp.at('2027-08-15 12:00+02'); END $$;
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT i, 'sales', '2026-01-01'::date + (random() * 560)::int FROM generate_series(1, 60) i WHERE random() < 0.6;
CREATE FUNCTION pg_temp.side(the_partner bigint, the_from date, the_measure text) RETURNS numeric LANGUAGE sql AS $$
  SELECT CASE the_measure WHEN 'revenue' THEN coalesce(sum(amount) FILTER (WHERE state = 'won'), 0) WHEN 'deals_won' THEN count(*) FILTER (WHERE state = 'won')
    WHEN 'win_rate' THEN count(*) FILTER (WHERE state = 'won')::numeric / nullif(count(*), 0) ELSE sum(amount) FILTER (WHERE state = 'won') / nullif(count(*) FILTER (WHERE state = 'won'), 0) END
  FROM prm.deal WHERE program_id = prm.current_program() AND partner_id = the_partner AND closed_at >= the_from::timestamp AT TIME ZONE 'Europe/Berlin' AND closed_at < (the_from + interval '3 months') AT TIME ZONE 'Europe/Berlin' $$;
CREATE TEMP TABLE slow (measure text, trained bigint, others bigint, lift numeric, margin numeric) ON COMMIT DROP;
DO $$
DECLARE m text; t record; o record; the_change numeric; the_sum numeric; n bigint; changes numeric[]; parts jsonb; mean numeric; d numeric[]; ids bigint[]; months date[]; the_lift numeric; k bigint; used bigint[]; i int; c numeric;
BEGIN
  FOREACH m IN ARRAY '{revenue,deals_won,win_rate,average_deal}'::text[] LOOP
    d := '{}'; ids := '{}'; months := '{}'; used := '{}';
    FOR t IN SELECT u.partner_id, date_trunc('month', c.issued_on)::date AS month, p.joined_on FROM prm.certificate c JOIN prm.partner_user u USING (program_id, partner_user_id) JOIN prm.partner p ON p.program_id = u.program_id AND p.partner_id = u.partner_id
        WHERE c.program_id = prm.current_program() AND c.issued_on < '2027-05-01' AND p.joined_on <= date_trunc('month', c.issued_on) - interval '3 months' ORDER BY 1 LOOP
      the_change := pg_temp.side(t.partner_id, (t.month + interval '1 month')::date, m) - pg_temp.side(t.partner_id, (t.month - interval '3 months')::date, m);
      CONTINUE WHEN the_change IS NULL;
      SELECT avg(x.change) INTO mean FROM (SELECT pg_temp.side(p.partner_id, (t.month + interval '1 month')::date, m) - pg_temp.side(p.partner_id, (t.month - interval '3 months')::date, m) AS change FROM prm.partner p
        WHERE p.program_id = prm.current_program() AND p.joined_on <= t.month - interval '3 months'
          AND NOT EXISTS (SELECT 1 FROM prm.certificate c WHERE c.program_id = prm.current_program() AND c.partner_id = p.partner_id AND c.issued_on < t.month + interval '4 months')) x;
      CONTINUE WHEN mean IS NULL;
      d := d || (the_change - mean); ids := ids || t.partner_id; months := months || t.month;
    END LOOP;
    n := cardinality(d);
    SELECT avg(x) INTO the_lift FROM unnest(d) x;
    parts := '{}';
    FOR i IN 1 .. n LOOP
      parts := parts || jsonb_build_object(ids[i]::text, coalesce((parts ->> ids[i]::text)::numeric, 0) + (d[i] - the_lift) / n * sqrt(n::numeric / (n - 1)));
    END LOOP;
    FOR t IN SELECT x.month, count(*) AS trained FROM unnest(months) AS x(month) GROUP BY 1 LOOP
      FOR o IN SELECT p.partner_id, count(*) OVER () AS k, x.change, avg(x.change) OVER () AS mean FROM prm.partner p
          CROSS JOIN LATERAL (SELECT pg_temp.side(p.partner_id, (t.month + interval '1 month')::date, m) - pg_temp.side(p.partner_id, (t.month - interval '3 months')::date, m) AS change OFFSET 0) x
          WHERE p.program_id = prm.current_program() AND p.joined_on <= t.month - interval '3 months' AND x.change IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM prm.certificate c WHERE c.program_id = prm.current_program() AND c.partner_id = p.partner_id AND c.issued_on < t.month + interval '4 months') LOOP
        used := used || o.partner_id;
        parts := parts || jsonb_build_object(o.partner_id::text, coalesce((parts ->> o.partner_id::text)::numeric, 0) - CASE WHEN o.k > 1 THEN (o.change - o.mean) / o.k * t.trained / n * sqrt(o.k::numeric / (o.k - 1)) ELSE 0 END);
      END LOOP;
    END LOOP;
    SELECT 1.96 * sqrt(sum(v.value::numeric ^ 2)) INTO c FROM jsonb_each_text(parts) v;
    INSERT INTO slow VALUES (m, n, (SELECT count(DISTINCT u) FROM unnest(used) u), round(the_lift, 4), round(c, 4));
  END LOOP;
END $$;
SELECT cmp_ok((SELECT min(trained) FROM slow), '>=', 5::bigint, 'by chance: there is something to compare');
SELECT results_eq($$ SELECT measure, trained_partners, other_partners, lift, margin FROM prm.training_lift('sales', 3) ORDER BY measure $$, $$ SELECT * FROM slow ORDER BY measure $$, 'the slow way finds the same figures');

-- What is put in comes out: who was certified wins 500 a quarter more from then on.
DO $$ BEGIN PERFORM pg_temp.deal(partner_id, 500, (date_trunc('month', issued_on::timestamp) + interval '45 days')::text || '+01') FROM prm.certificate WHERE program_id = prm.current_program() AND issued_on < '2027-05-01'; PERFORM pg_temp.at('2027-08-15 12:00+02'); END $$;
SELECT is((SELECT r.lift FROM prm.training_lift('sales', 3) r WHERE measure = 'revenue'), (SELECT lift + 500 FROM slow WHERE measure = 'revenue'), 'five hundred more for each is five hundred more lift');
SELECT * FROM finish();
ROLLBACK;
