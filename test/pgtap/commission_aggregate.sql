-- Aggregates, the window function and the windows of plans.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT setseed(0.17);

CREATE TEMP TABLE plan (n int PRIMARY KEY, schedule prm.commission_schedule);
INSERT INTO plan VALUES
  (0, '7.5%'), (1, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%'), (2, 'slab 0: 1%, 5000: 2%, 9000: 250'),
  (3, 'interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150'), (4, 'interpolated 0: 0, 3: 1, 10000: 700'),
  (5, 'marginal 0: 1.123456789012%, 0.00001: 2 each'), (6, 'slab 10: 5 each, 100: 3% ties low');
-- Long enough to be stored outside the row.
INSERT INTO plan SELECT 7, 'marginal ' || string_agg(100 * i + i % 7 || ': ' || (i * 37 % 101) || '.' || i * 7919 % 1000 || ' each', ', ' ORDER BY i)
FROM generate_series(0, 999) AS i;
CREATE TABLE public.prm_test_sale AS
SELECT i AS id, i % 13 AS partner, (random() * 7)::int AS n, CASE WHEN i % 50 = 0 THEN NULL
  WHEN i % 60 = 0 THEN round((random() * 1e6)::numeric, 9) WHEN i % 70 = 0 THEN 1e16 * random()::numeric
  ELSE round((random() * 20000 - 4000)::numeric, 4) END AS amount
FROM generate_series(1, 8000) AS i;
ANALYZE public.prm_test_sale;
CREATE TABLE public.prm_test_plan AS SELECT * FROM plan;
-- Toasted by its length, and stored as it comes.
ALTER TABLE public.prm_test_plan ALTER schedule SET STORAGE EXTERNAL;
INSERT INTO public.prm_test_plan SELECT n + 100, schedule FROM plan;
SELECT cmp_ok(max(pg_column_size(schedule)), '>', 5000, 'one schedule is long') FROM public.prm_test_plan;

---- commission_total -------------------------------------------------------------------------------------------------
SELECT is(prm.commission_total(schedule, amount)::text, trim_scale(sum(prm._commission_exact(schedule, amount)))::text,
          'commission_total is the sum of the exact path') FROM public.prm_test_sale JOIN public.prm_test_plan USING (n);
SELECT results_eq($$SELECT partner, prm.commission_total(schedule, amount) FROM public.prm_test_sale JOIN plan USING (n) GROUP BY partner ORDER BY 1$$,
                  $$SELECT partner, sum(prm.commission(schedule, amount)) FROM public.prm_test_sale JOIN plan USING (n) GROUP BY partner ORDER BY 1$$,
                  'commission_total by group');
SELECT is(prm.commission_total(schedule, NULL), NULL, 'nothing but NULL is NULL') FROM plan;
SELECT is(prm.commission_total(NULL, 5), NULL, 'no schedule, no row') FROM plan;
SELECT is(prm.commission_total('5%', amount), NULL, 'no rows, NULL') FROM public.prm_test_sale WHERE false;
SELECT is(prm.commission_total('5%', amount), 0.5, 'NULLs are skipped') FROM (VALUES (10.0), (NULL)) AS sale (amount);
SELECT is(prm.commission_total('slab 0: 900000000 each', 99999999999999), 900000000::numeric * 99999999999999 * 3000, 'a total beyond 128 bits') FROM generate_series(1, 3000);
SELECT throws_ok($$SELECT prm.commission_total('5%', 'NaN')$$, '22003', NULL, 'NaN is refused');
SELECT throws_ok($$SELECT prm.commission_total('5%', 'Infinity')$$, '22003', NULL, 'infinity is refused');
SELECT is(count(*), 0::bigint, 'a moving window takes rows back exactly') FROM (
  SELECT prm.commission_total(schedule, amount) OVER w AS moving, sum(prm.commission(schedule, amount)) OVER w AS expected
  FROM public.prm_test_sale JOIN plan USING (n) WINDOW w AS (PARTITION BY partner ORDER BY id ROWS BETWEEN 7 PRECEDING AND 2 PRECEDING)) AS row
WHERE moving IS DISTINCT FROM expected;

SELECT is(array_agg(moving ORDER BY n), ARRAY[NULL, NULL, 0.5, 0.5, NULL, NULL, 1.0]::numeric[], 'a moving window that has become empty is NULL') FROM (
  SELECT n, prm.commission_total('5%', amount) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS moving
  FROM unnest(ARRAY[NULL, NULL, 10, NULL, NULL, NULL, 20]) WITH ORDINALITY AS sale (amount, n)) AS row;
-- More schedules than the cache has slots, and more than it keeps: each row is paid by its own.
SELECT is(prm.commission_total(('slab 0: ' || i % 6000 || ' each')::prm.commission_schedule, 1), sum(i % 6000)::numeric, '6,000 schedules in one query') FROM generate_series(1, 12000) AS i;
SELECT is(prm.commission_total(('slab 0: ' || i || ' each')::prm.commission_schedule, 1), sum(i)::numeric, '20,000 schedules in one query') FROM generate_series(1, 20000) AS i;
SELECT is(sum(paid), sum(i)::numeric, '20,000 schedules in one window') FROM (
  SELECT i, prm.commission_running(('slab 0: ' || i || ' each')::prm.commission_schedule, 1, 0) OVER (ORDER BY i) AS paid FROM generate_series(1, 20000) AS i) AS row;

---- commission_cumulative, commission_running -----------------------------------------------------------------------------
SELECT results_eq($$SELECT partner, n, prm.commission_cumulative(schedule, amount, 2)::text FROM public.prm_test_sale JOIN plan USING (n) GROUP BY 1, 2 ORDER BY 1, 2$$,
  $$SELECT partner, n, prm._round_digits(prm._commission_exact((SELECT schedule FROM plan WHERE plan.n = sale.n), sum(amount)), 2, 'half_up')::text
    FROM public.prm_test_sale AS sale GROUP BY 1, 2 ORDER BY 1, 2$$, 'commission_cumulative is round(F(sum))');
SELECT results_eq($$SELECT partner, n, sum(paid) FROM (SELECT partner, n, prm.commission_running(schedule, amount, 2) OVER (PARTITION BY partner, n ORDER BY id) AS paid
    FROM public.prm_test_sale JOIN plan USING (n)) AS row GROUP BY 1, 2 ORDER BY 1, 2$$,
  $$SELECT partner, n, prm.commission_cumulative(schedule, amount, 2) FROM public.prm_test_sale JOIN plan USING (n) GROUP BY 1, 2 ORDER BY 1, 2$$,
  'commission_running adds up to commission_cumulative to the cent');
SELECT is(count(*), 0::bigint, 'each running row is round(F(after)) - round(F(before)), schedules changing from row to row') FROM (
  SELECT id, amount, prm.commission_running(schedule, amount, 2) OVER (PARTITION BY partner ORDER BY id) AS paid,
    prm._round_digits(prm._commission_exact(schedule, coalesce(sum(amount) OVER (PARTITION BY partner ORDER BY id), 0)), 2, 'half_up')
    - prm._round_digits(prm._commission_exact(schedule, coalesce(sum(amount) OVER (PARTITION BY partner ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)), 2, 'half_up') AS expected
  FROM public.prm_test_sale JOIN plan USING (n)) AS row
WHERE paid::text IS DISTINCT FROM CASE WHEN amount IS NULL THEN NULL ELSE expected::text END;
SELECT is(array_agg(paid ORDER BY n), ARRAY[2.00, 3, NULL, 25, 26, 60, 169], 'BRK-008 as a window; NULL pays NULL') FROM (
  SELECT n, prm.commission_running('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount, 2) OVER (ORDER BY n) AS paid
  FROM unnest(ARRAY[200, 300, NULL, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS sale (amount, n)) AS row;
SELECT is(prm.commission_cumulative('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount, 0), 285::numeric, 'BRK-008 as a total')
FROM unnest(ARRAY[200, 300, NULL, 1500, 1200, 2000, 4500]) AS amount;
SELECT is(prm.commission_cumulative('5%', NULL, 2), NULL, 'nothing but NULL is NULL');
SELECT throws_ok($$SELECT prm.commission_cumulative(schedule, 1, 2) FROM plan$$, '22023', NULL, 'one schedule per group');
SELECT throws_ok($$SELECT prm.commission_cumulative('5%', 1, d) FROM generate_series(1, 2) AS d$$, '22023', NULL, 'one number of digits per group');
SELECT throws_ok($$SELECT prm.commission_cumulative('5%', 1, 13)$$, '22023', NULL, 'too many digits');
SELECT throws_ok($$SELECT prm.commission_cumulative('5%', 1, NULL)$$, '22023', NULL, 'NULL digits');
SELECT throws_ok($$SELECT prm.commission_cumulative('5%', 'NaN', 2)$$, '22003', NULL, 'NaN is refused');
SELECT throws_ok($$SELECT prm.commission_running('5%', 'NaN', 2) OVER ()$$, '22003', NULL, 'NaN is refused by the window');
SELECT throws_ok($$SELECT prm.commission_running('5%', 1, -1) OVER ()$$, '22023', NULL, 'negative digits are refused by the window');
SELECT lives_ok($$SELECT prm.commission_cumulative(schedule, 1, 2) FROM public.prm_test_plan WHERE n % 100 = 7$$,
  'the same schedule stored in two ways is one schedule');

---- in parallel ------------------------------------------------------------------------------------------------------
CREATE TEMP TABLE serial_result AS
SELECT partner, prm.commission_total(schedule, amount) AS total, prm.commission_cumulative('marginal 0: 1%, 1000: 2%', amount, 2) AS cumulative
FROM public.prm_test_sale JOIN public.prm_test_plan USING (n) GROUP BY partner;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SET LOCAL parallel_leader_participation = off;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_line text; the_plan text := '';
BEGIN
  FOR the_line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP the_plan := the_plan || the_line || E'\n'; END LOOP;
  RETURN the_plan;
END $$;
SELECT matches(pg_temp.plan_of('SELECT prm.commission_total(schedule, amount) FROM public.prm_test_sale JOIN public.prm_test_plan USING (n)'),
               'Finalize(.|\n)*Partial', 'the planner splits the aggregate among workers');
-- A table, because a cursor or a call from a test function would run in one process.
CREATE TEMP TABLE parallel_result AS
SELECT partner, prm.commission_total(schedule, amount) AS total, prm.commission_cumulative('marginal 0: 1%, 1000: 2%', amount, 2) AS cumulative
FROM public.prm_test_sale JOIN public.prm_test_plan USING (n) GROUP BY partner;
CREATE TEMP TABLE parallel_nothing AS SELECT prm.commission_total('5%', amount) AS total, prm.commission_cumulative('5%', amount, 2) AS cumulative
FROM public.prm_test_sale WHERE amount IS NULL;
SELECT set_eq('SELECT * FROM parallel_result', 'SELECT * FROM serial_result', 'parallel workers give the same');
SELECT results_eq('SELECT * FROM parallel_nothing', 'SELECT NULL::numeric, NULL::numeric', 'parallel and nothing but NULL');
SELECT throws_ok($$SELECT prm.commission_cumulative(schedule, amount, 2) FROM public.prm_test_sale JOIN public.prm_test_plan USING (n)$$, '22023', NULL, 'different schedules are refused in parallel too');
RESET parallel_leader_participation;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = on;
SET LOCAL jit_above_cost = 0;
SET LOCAL jit_inline_above_cost = 0;
SELECT results_eq($$SELECT partner, prm.commission_total(schedule, amount), prm.commission_cumulative('marginal 0: 1%, 1000: 2%', amount, 2)
                    FROM public.prm_test_sale JOIN public.prm_test_plan USING (n) GROUP BY partner ORDER BY 1$$,
                  'SELECT * FROM serial_result ORDER BY partner', 'JIT gives the same');
RESET jit;

---- windows of plans ---------------------------------------------------------------------------------------------------
SELECT is(ARRAY[prm.period_start(day, kind), prm.period_end(day, kind)], ARRAY[first, last], kind || ' of ' || day)
FROM (VALUES (date '2024-02-29', 'month', date '2024-02-01', date '2024-02-29'), ('2025-01-15', 'half_month', '2025-01-01', '2025-01-15'),
  ('2025-01-16', 'half_month', '2025-01-16', '2025-01-31'), ('2025-02-28', 'half_month', '2025-02-16', '2025-02-28'),
  ('2025-12-31', 'quarter', '2025-10-01', '2025-12-31'), ('2025-06-30', 'half', '2025-01-01', '2025-06-30'),
  ('2025-07-01', 'half', '2025-07-01', '2025-12-31'), ('2025-07-01', 'year', '2025-01-01', '2025-12-31'),
  ('2025-07-01', 'lifetime', '-infinity', 'infinity'), ('0001-02-03 BC', 'quarter', '0001-01-01 BC', '0001-03-31 BC')) AS c (day, kind, first, last);
SELECT is(ARRAY[prm.period_start(day, kind, 4), prm.period_end(day, kind, 4)], ARRAY[first, last], kind || ' of ' || day || ', fiscal year from April')
FROM (VALUES (date '2025-03-31', 'year', date '2024-04-01', date '2025-03-31'), ('2025-04-01', 'year', '2025-04-01', '2026-03-31'),
  ('2025-02-10', 'half', '2024-10-01', '2025-03-31'), ('2025-02-10', 'quarter', '2025-01-01', '2025-03-31')) AS c (day, kind, first, last);
SELECT is(prm.period_start('2025-01-31', 'quarter', 2), date '2024-11-01', 'a fiscal year from February has quarters from November');
SELECT is(count(*), 0::bigint, 'windows contain their day, follow each other without a gap, and every day of one has the same')
FROM generate_series(date '2019-12-01', '2025-02-01', '1 day') AS d, unnest(ARRAY['month', 'half_month', 'quarter', 'half', 'year']) AS kind, generate_series(1, 12) AS fiscal,
  LATERAL (SELECT d::date AS day, prm.period_start(d::date, kind, fiscal) AS first, prm.period_end(d::date, kind, fiscal) AS last) AS w
WHERE NOT (day BETWEEN first AND last) OR prm.period_start(last + 1, kind, fiscal) <> last + 1 OR prm.period_end(first, kind, fiscal) <> last OR prm.period_start(last, kind, fiscal) <> first
   OR (kind = 'year' AND extract(month FROM first) <> fiscal);
SELECT throws_ok($$SELECT prm.period_start('2025-01-01', 'week')$$, '22023', NULL, 'unknown window');
SELECT throws_ok($$SELECT prm.period_end('2025-01-01', 'year', 13)$$, '22023', NULL, 'unknown month');
SELECT throws_ok($$SELECT prm.period_end('infinity', 'year')$$, '22008', NULL, 'infinite day');
SELECT throws_ok($$SELECT prm.period_end('5874897-12-31', 'year')$$, '22008', NULL, 'beyond the calendar');

SELECT * FROM finish();
ROLLBACK;
