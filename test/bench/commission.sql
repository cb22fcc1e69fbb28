-- Commission arithmetic against the built-in sum and against plain SQL, on random data. Nothing but CREATE EXTENSION prm is needed:
--   test/bench/commission.sh, or psql -X -q -At -d DATABASE -f test/bench/commission.sql [-v rows=2000000] [-v rounds=7]
-- Prints lines "bench NAME ratio=R goal<=G ok|short". A ratio is the median over rounds of variant / floor, both timed in the same
-- round in alternating order. Equal totals are asserted first.
\if :{?rows}
\else
\set rows 2000000
\endif
\if :{?rounds}
\else
\set rounds 7
\endif
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET jit = off;
SET work_mem = '256MB';
SET max_parallel_workers_per_gather = 0;
DROP SCHEMA IF EXISTS prm_bench CASCADE;
CREATE SCHEMA prm_bench;
SET search_path = prm_bench, pg_catalog;

CREATE FUNCTION median(numbers float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE
AS 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM unnest(numbers) AS n';

CREATE FUNCTION milliseconds(query text, settings text DEFAULT '') RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE the_start timestamptz; the_result text;
BEGIN
  IF settings <> '' THEN EXECUTE settings; END IF;
  the_start := clock_timestamp();
  EXECUTE query INTO the_result;
  RETURN extract(epoch FROM clock_timestamp() - the_start) * 1000;
END $$;

CREATE FUNCTION race(name text, goal numeric, variant text, floor text, rounds integer, variant_settings text DEFAULT '', floor_settings text DEFAULT '')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_ratios float8[]; the_variant float8; the_floor float8; the_ratio numeric;
BEGIN
  PERFORM milliseconds(variant, variant_settings), milliseconds(floor, floor_settings);
  FOR i IN 1 .. rounds LOOP
    IF i % 2 = 0 THEN
      the_variant := milliseconds(variant, variant_settings); the_floor := milliseconds(floor, floor_settings);
    ELSE
      the_floor := milliseconds(floor, floor_settings); the_variant := milliseconds(variant, variant_settings);
    END IF;
    the_ratios := the_ratios || the_variant / the_floor;
  END LOOP;
  the_ratio := round(median(the_ratios)::numeric, 3);
  RETURN format('bench %s ratio=%s goal<=%s %s', name, the_ratio, goal, CASE WHEN the_ratio <= goal THEN 'ok' ELSE 'short' END);
END $$;

-- 4 tiers x 3 effective periods, 5 marginal brackets each; and 240 plans.
CREATE TABLE plan AS
SELECT p AS plan_no, p % 4 AS tier, date '2025-01-01' + p / 4 * 200 AS first_day, date '2025-01-01' + (p / 4 + 1) * 200 AS next_day
FROM generate_series(0, 11) AS p;
CREATE TABLE bracket AS
SELECT plan_no, lower, lead(lower) OVER (PARTITION BY plan_no ORDER BY lower) AS upper, (plan_no % 4 + 1) * 1.0 + k * 0.5 + plan_no / 4 * 0.1 AS percentage
FROM plan, (VALUES (0, 0), (1, 1000), (2, 5000), (3, 20000), (4, 100000)) AS b (k, lower);
ALTER TABLE plan ADD schedule prm.commission_schedule;
UPDATE plan SET schedule = (SELECT 'marginal ' || string_agg(lower || ': ' || percentage || '%', ', ' ORDER BY lower) FROM bracket WHERE bracket.plan_no = plan.plan_no)::prm.commission_schedule;
CREATE UNIQUE INDEX ON plan (plan_no);
CREATE INDEX ON bracket (plan_no, lower);
CREATE TABLE plan_240 AS
SELECT p AS plan_no, format('marginal 0: %s%%, %s: %s%%, %s: %s%%, 20000: %s%%, 100000: 9%%', p % 10 + 1, 500 + p, p % 7 + 2, 5000 + p, p % 5 + 4, p % 3 + 6)::prm.commission_schedule AS schedule
FROM generate_series(0, 239) AS p;

SELECT setseed(0.5) \g /dev/null
-- Each column that is measured stands in a row of its own width: the same for the sum and for the commission.
CREATE UNLOGGED TABLE sale AS
SELECT i AS sale_id, (random() * 19999)::int AS partner_id, tier, day, tier + 4 * ((day - date '2025-01-01') / 200) AS plan_no,
       amount::numeric(18, 4) AS amount
FROM (SELECT i, floor(random() * 4)::int AS tier, date '2025-01-01' + (random() * 599)::int AS day, round((random() * 150000)::numeric, 2) AS amount
      FROM generate_series(1, :rows) AS i OFFSET 0) AS raw;
CREATE UNLOGGED TABLE sale_12 AS SELECT sale_id, partner_id, sale.tier, day, plan_no, amount, schedule FROM sale JOIN plan USING (plan_no) ORDER BY sale_id;
CREATE UNLOGGED TABLE sale_240 AS
SELECT sale_id, amount, schedule FROM (SELECT *, (random() * 239)::int AS plan_240 FROM sale OFFSET 0) AS s JOIN plan_240 ON plan_240.plan_no = plan_240 ORDER BY sale_id;
CREATE UNLOGGED TABLE sale_small AS SELECT * FROM sale_12 WHERE sale_id <= 50000;
VACUUM (FREEZE, ANALYZE) sale_12;
VACUUM (FREEZE, ANALYZE) sale_240;
VACUUM (FREEZE, ANALYZE) sale_small;
DROP TABLE sale;

-- The best plain SQL: a CASE that somebody's program generates from the plans.
CREATE FUNCTION generated_case() RETURNS text LANGUAGE sql AS $$
  SELECT 'CASE tier ' || string_agg(format('WHEN %s THEN %s', tier, by_day), ' ' ORDER BY tier) || ' END'
  FROM (SELECT tier, 'CASE ' || string_agg(format('WHEN day < %L THEN %s', next_day, by_amount), ' ' ORDER BY next_day) || ' END' AS by_day
        FROM (SELECT tier, next_day, 'CASE ' || string_agg(CASE WHEN upper IS NULL THEN 'ELSE ' ELSE format('WHEN amount < %s THEN ', upper) END
                       || format('%s + (amount - %s) * %s', paid, lower, trim_scale(percentage / 100)), ' ' ORDER BY lower) || ' END' AS by_amount
              FROM (SELECT plan_no, lower, upper, percentage,
                           trim_scale(coalesce(sum((upper - lower) * percentage / 100) OVER (PARTITION BY plan_no ORDER BY lower ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS paid
                    FROM bracket) AS line JOIN plan USING (plan_no) GROUP BY tier, next_day) AS a GROUP BY tier) AS d
$$;
-- What is written first, usually: a function that reads the brackets.
CREATE FUNCTION by_query(a numeric, t integer, d date) RETURNS numeric LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE the_sum numeric := 0; slice record;
BEGIN
  FOR slice IN SELECT b.lower, b.upper, b.percentage FROM prm_bench.plan AS p JOIN prm_bench.bracket AS b USING (plan_no)
               WHERE p.tier = t AND d >= p.first_day AND d < p.next_day AND b.lower < a ORDER BY b.lower LOOP
    the_sum := the_sum + (least(a, coalesce(slice.upper, a)) - slice.lower) * slice.percentage / 100;
  END LOOP;
  RETURN the_sum;
END $$;
SELECT 'SELECT sum(' || generated_case() || ') FROM sale_12' AS case_query \gset

-- Equal totals, or no figures.
CREATE FUNCTION assert_equal(what text, a text, b text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE the_a numeric; the_b numeric;
BEGIN
  EXECUTE a INTO the_a;
  EXECUTE b INTO the_b;
  IF the_a IS DISTINCT FROM the_b OR the_a IS NULL THEN
    RAISE EXCEPTION USING MESSAGE = format('%s: totals differ: %s and %s', what, the_a, the_b);
  END IF;
END $$;
SELECT assert_equal('aggregate and scalar', 'SELECT prm.commission_total(schedule, amount) FROM sale_12', 'SELECT sum(prm.commission(schedule, amount)) FROM sale_12') \g /dev/null
SELECT assert_equal('aggregate and scalar, 240', 'SELECT prm.commission_total(schedule, amount) FROM sale_240', 'SELECT sum(prm.commission(schedule, amount)) FROM sale_240') \g /dev/null
SELECT assert_equal('aggregate and CASE', 'SELECT prm.commission_total(schedule, amount) FROM sale_12', :'case_query') \g /dev/null
SELECT assert_equal('aggregate and PL/pgSQL', 'SELECT prm.commission_total(schedule, amount) FROM sale_small', 'SELECT sum(by_query(amount, tier, day)) FROM sale_small') \g /dev/null
SELECT assert_equal('running and cumulative', 'SELECT sum(paid) FROM (SELECT prm.commission_running((SELECT schedule FROM plan WHERE plan_no = 1), amount, 2) OVER (PARTITION BY partner_id ORDER BY sale_id) AS paid FROM sale_12) AS s',
                    'SELECT sum(paid) FROM (SELECT prm.commission_cumulative((SELECT schedule FROM plan WHERE plan_no = 1), amount, 2) AS paid FROM sale_12 GROUP BY partner_id) AS s') \g /dev/null

SELECT race('commission_total_12', 1.0, 'SELECT prm.commission_total(schedule, amount) FROM sale_12', 'SELECT sum(amount) FROM sale_12', :rounds);
SELECT race('commission_total_240', 1.2, 'SELECT prm.commission_total(schedule, amount) FROM sale_240', 'SELECT sum(amount) FROM sale_240', :rounds);
SELECT race('commission_total_join', 1.2, 'SELECT prm.commission_total(plan.schedule, amount) FROM sale_12 JOIN plan USING (plan_no)', 'SELECT sum(amount) FROM sale_12 JOIN plan USING (plan_no)', :rounds);
SELECT race('commission_scalar', 1.6, 'SELECT sum(prm.commission(schedule, amount)) FROM sale_12', 'SELECT sum(amount) FROM sale_12', :rounds);
SELECT race('commission_running', 0.95, 'SELECT count(paid) FROM (SELECT prm.commission_running(schedule, amount, 2) OVER (PARTITION BY partner_id ORDER BY sale_id) AS paid FROM sale_12) AS s',
            'SELECT count(paid) FROM (SELECT sum(amount) OVER (PARTITION BY partner_id ORDER BY sale_id) AS paid FROM sale_12) AS s', least(:rounds, 5));
-- One plan for all, as a parameter would pass it: the rows that are sorted are no wider than those of the sum.
SELECT race('commission_running_one', 0.95, 'SELECT count(paid) FROM (SELECT prm.commission_running((SELECT schedule FROM plan WHERE plan_no = 5), amount, 2) OVER (PARTITION BY partner_id ORDER BY sale_id) AS paid FROM sale_12) AS s',
            'SELECT count(paid) FROM (SELECT sum(amount) OVER (PARTITION BY partner_id ORDER BY sale_id) AS paid FROM sale_12) AS s', least(:rounds, 5));
SELECT race('commission_total_parallel', 0.6, 'SELECT prm.commission_total(schedule, amount) FROM sale_12', 'SELECT sum(amount) FROM sale_12', :rounds,
            'SET max_parallel_workers_per_gather = 1', 'SET max_parallel_workers_per_gather = 0');
SET max_parallel_workers_per_gather = 0;
SELECT race('commission_total_to_case', 0.2, 'SELECT prm.commission_total(schedule, amount) FROM sale_12', :'case_query', 3);
SELECT race('commission_total_to_plpgsql', 0.01, 'SELECT prm.commission_total(schedule, amount) FROM sale_small', 'SELECT sum(by_query(amount, tier, day)) FROM sale_small', 3);

-- Memory of a hash aggregate of 20,000 groups.
CREATE FUNCTION peak_memory(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE the_plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' || query INTO the_plan;
  RETURN jsonb_path_query_first(the_plan, 'strict $.**."Peak Memory Usage"')::numeric;
END $$;
SET enable_sort = off;
SELECT format('bench commission_total_memory ratio=%s goal<=1 %s', r, CASE WHEN r <= 1 THEN 'ok' ELSE 'short' END)
FROM (SELECT round(peak_memory('SELECT partner_id, prm.commission_total(schedule, amount) FROM sale_12 GROUP BY partner_id')
                 / peak_memory('SELECT partner_id, sum(amount) FROM sale_12 GROUP BY partner_id'), 3) AS r) AS memory;
DROP SCHEMA prm_bench CASCADE;
