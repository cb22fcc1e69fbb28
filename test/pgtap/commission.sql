-- Commission arithmetic: the worked examples by their id, and the invariants as properties over random schedules.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- Amounts of a case are in major units; "minor" cases use whole minor units and round to 0 digits.
CREATE FUNCTION pg_temp.earn(schedule text, amount numeric, digits integer DEFAULT 2) RETURNS numeric
LANGUAGE sql AS 'SELECT prm._round_digits(prm.commission(schedule::prm.commission_schedule, amount), digits, ''half_up'')';

---- A. flat and percent, rounding ------------------------------------------------------------------------------------
SELECT is(pg_temp.earn('20%', 1000, 0), 200::numeric, 'COM-001');
SELECT is(pg_temp.earn('10%', 1900, 0), 190::numeric, 'COM-003');
SELECT is(pg_temp.earn('20%', 7, 0), 1::numeric, 'COM-004 rounds down');
SELECT is(pg_temp.earn('20%', 2, 0), 0::numeric, 'COM-005');
SELECT is(pg_temp.earn('20%', 3, 0), 1::numeric, 'COM-006');
SELECT is(pg_temp.earn('10%', 15, 0), 2::numeric, 'COM-007');
SELECT is(pg_temp.earn('50%', 1, 0), 1::numeric, 'COM-008 half up');
SELECT is(prm._round_digits(prm.commission('50%', 1), 0, 'half_even'), 0::numeric, 'COM-008 half even');
SELECT is(pg_temp.earn('2.9%', 500, 0), 15::numeric, 'COM-009 exact 14.5');
SELECT is(pg_temp.earn('20%', 1000, 0), 200::numeric, 'COM-012 the amount is the line total');
SELECT is(pg_temp.earn('slab 0: 5000 each', 1, 0), 5000::numeric, 'COM-013 flat per unit');
SELECT is(pg_temp.earn('slab 0: 500 each', 2, 0), 1000::numeric, 'COM-014');
SELECT throws_ok($$SELECT 'bogus 10'::prm.commission_schedule$$, '22P02', NULL, 'COM-016 a rule of unknown kind is refused');
SELECT is(ARRAY[pg_temp.earn('19%', 317.50), pg_temp.earn('19%', -317.50)], ARRAY[60.33, -60.33], 'RND-001 symmetric');
SELECT is(ARRAY[prm.round_money(82.50 * 0.85 * 10, 'EUR'), prm.round_money(82.50 * 0.85 * -10, 'EUR')],
          ARRAY[701.25, -701.25], 'RND-003 rounded once, at the line');
SELECT is(pg_temp.earn('20%', 1999, 0), 400::numeric, 'RND-004');
SELECT is(ARRAY[pg_temp.earn('0%', 500), pg_temp.earn('10%', 500), pg_temp.earn('100%', 500)], ARRAY[0.00, 50, 500], 'COM-017 rates 0, 10, 100');
SELECT is(prm.round_money(prm.commission('5%', 750) + prm.commission('10%', prm.commission('5%', 750)), 'EUR'), 41.25, 'COM-019 compound');
SELECT is(prm.round_money(prm.commission('5%', -750) + prm.commission('10%', prm.commission('5%', -750)), 'EUR'), -41.25, 'COM-020');

---- B. brackets ------------------------------------------------------------------------------------------------------
SELECT is(array_agg((SELECT rate FROM prm.commission_parts('slab 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', amount)) ORDER BY amount),
          ARRAY[0.01, 0.02, 0.03], 'BRK-001') FROM unnest(ARRAY[5000, 15000, 60000]) AS amount;
SELECT is(array_agg(pg_temp.earn('slab 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', amount) ORDER BY amount),
          ARRAY[50.00, 300, 1800], 'BRK-002') FROM unnest(ARRAY[5000, 15000, 60000]) AS amount;
SELECT results_eq($$SELECT amount, rate, sum(commission) OVER () FROM prm.commission_parts('marginal 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 15000)$$,
  $$VALUES (10000::numeric, 0.01, 200::numeric), (5000, 0.02, 200)$$, 'BRK-003');
SELECT results_eq($$SELECT amount, rate, sum(commission) OVER () FROM prm.commission_parts('marginal 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 60000)$$,
  $$VALUES (10000::numeric, 0.01, 1200::numeric), (40000, 0.02, 1200), (10000, 0.03, 1200)$$, 'BRK-004');
SELECT is((SELECT rate FROM prm.commission_parts('slab 0: 1%, 25000: 2%, 50000: 3%, 75000: 4%', 50000)), 0.03, 'BRK-005 a bound belongs to the higher bracket');
SELECT is((SELECT rate FROM prm.commission_parts('slab 0: 1%, 25000: 2%, 50000: 3%, 75000: 4% ties low', 50000)), 0.02, 'BRK-005 ties low reverses it');
SELECT is(array_agg(pg_temp.earn('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount) ORDER BY n), ARRAY[2.00, 3, 20, 14, 30, 95], 'BRK-006')
FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS sale (amount, n);
SELECT is(array_agg(round(100 * prm.commission('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount) / amount, 3) ORDER BY n),
          ARRAY[1.333, 1.167, 1.5, 2.111], 'BRK-007 blended')
FROM unnest(ARRAY[1500, 1200, 2000, 4500]) WITH ORDINALITY AS sale (amount, n);
SELECT is(array_agg(prm.commission('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount, attained) ORDER BY n), ARRAY[2, 3, 25, 26, 60, 169]::numeric[], 'BRK-008 cumulative')
FROM (SELECT amount, n, sum(amount) OVER (ORDER BY n) - amount AS attained FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS sale (amount, n)) AS quarter;
SELECT is(prm.commission('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 9700), 285::numeric, 'BRK-008 the total is marginal(9700)');
SELECT is(array_agg(pg_temp.earn('marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', amount) ORDER BY n), ARRAY[30.00, 56, 95], 'BRK-009')
FROM unnest(ARRAY[2000, 3200, 4500]) WITH ORDINALITY AS month (amount, n);
SELECT is(array_agg(prm.commission('interpolated 0: 0, 1000: 10, 3000: 50, 8000: 150, 20000: 2150', amount) ORDER BY n), ARRAY[2, 3, 20, 14, 30, 80]::numeric[], 'BRK-010')
FROM unnest(ARRAY[200, 300, 1500, 1200, 2000, 4500]) WITH ORDINALITY AS sale (amount, n);
SELECT results_eq($$SELECT amount, rate, 100 * commission / 2500 FROM prm.commission_parts('marginal 0: 1%, 1000: 2%, 5000: 3%', 2500)$$,
  $$VALUES (1000::numeric, 0.01, 0.4), (1500, 0.02, 1.2)$$, 'BRK-011');
SELECT results_eq($$SELECT amount, rate, sum(commission) OVER (), round(100 * sum(commission) OVER () / 20000, 1) FROM prm.commission_parts('marginal 0: 4%, 150000: 6%, 250000: 8%', 20000, 145000)$$,
  $$VALUES (5000::numeric, 0.04, 1100::numeric, 5.5), (15000, 0.06, 1100, 5.5)$$, 'BRK-012');
SELECT is(array_agg(amount ORDER BY part) || sum(commission), ARRAY[50000, 50000, 2000, 5640]::numeric[], 'BRK-014')
FROM prm.commission_parts('marginal 0: 5%, 50000: 6%, 100000: 7%', 102000);
SELECT is(pg_temp.earn('marginal 0: 10%, 10000: 20%', 15000), 2000.00, 'BRK-015');
SELECT is(pg_temp.earn('marginal 0: 5%, 10000: 7%, 25000: 10%', 30000), 2050.00, 'BRK-016');
SELECT is(array_agg(commission ORDER BY part) || sum(commission), ARRAY[5000, 1500, 1750, 8250]::numeric[], 'BRK-017')
FROM prm.commission_parts('marginal 0: 5%, 100000: 6%, 125000: 7%', 150000);
SELECT is(array_agg(commission ORDER BY part), ARRAY[3125, 2250]::numeric[], 'BRK-018 accelerated credit, written each')
FROM prm.commission_parts('marginal 0: 1 each, 10000: 1.25 each, 12500: 1.5 each', 4000, 10000);
SELECT is(ARRAY[pg_temp.earn('slab 0: 6%, 100000: 8%, 150000: 10%', 110000), pg_temp.earn('marginal 0: 6%, 100000: 8%, 150000: 10%', 110000)],
          ARRAY[8800.00, 6800], 'BRK-019 two readings of one plan');
SELECT is(pg_temp.earn('marginal 0: 0 each, 500: 2 each, 1000: 3 each', 1200), 1600.00, 'BRK-020');
SELECT is((SELECT rate FROM prm.commission_parts('slab 0: 0%, 500: 5%, 1000: 10%', 1200)) * 1200 * 10, 1200.00, 'BRK-021 bracket by units, paid on value');
SELECT is(ARRAY[pg_temp.earn('slab 0: 0, 100000: 1000', 110000), pg_temp.earn('slab 0: 0, 100000: 1000', 90000)], ARRAY[1000.00, 0], 'BRK-022');
SELECT is(array_agg(prm.commission('marginal 0: 10 each, 2: 20 each, 4: 30 each', 2, 2 * n) ORDER BY n), ARRAY[20, 40, 60]::numeric[], 'BRK-023')
FROM generate_series(0, 2) AS n;
SELECT is(prm.commission('marginal 0: 10 each, 2: 20 each, 4: 30 each', -2, 6), -60::numeric, 'BRK-024 a return unwinds from the top');
SELECT is(pg_temp.earn('slab 15000: 20%, 16000: 0%', 15100), 3020.00, 'BRK-026 a section of its own');

---- shares -----------------------------------------------------------------------------------------------------------
SELECT is(prm.allocate(100.00, ARRAY[1, 1, 1]), ARRAY[33.34, 33.33, 33.33], 'SPL-003 largest remainder');
SELECT is(prm.allocate(500, ARRAY[60, 40]), ARRAY[300.00, 200.00], 'SPL-005 shares of 60 and 40');

---- refusals ---------------------------------------------------------------------------------------------------------
SELECT throws_ok($$SELECT 'slab 0: NaN'::prm.commission_schedule$$, '22P02', NULL, 'NaN is no value');
SELECT throws_ok($$SELECT prm.commission('10%', 'NaN')$$, '22003', NULL, 'NaN is no amount');
SELECT throws_ok($$SELECT prm.commission('10%', '-Infinity')$$, '22003', NULL, 'infinity is no amount');
SELECT throws_ok($$SELECT prm.commission('10%', 1, 'NaN')$$, '22003', NULL, 'NaN was not attained');
SELECT throws_ok($$SELECT * FROM prm.commission_parts('10%', 'NaN')$$, '22003', NULL, 'NaN has no parts');
SELECT throws_ok($$SELECT prm.round_money('NaN', 'USD')$$, '22003', NULL, 'NaN is not rounded');
SELECT throws_ok($$SELECT prm.allocate('Infinity', '{1}')$$, '22003', NULL, 'infinity is not dealt');
SELECT throws_ok($$SELECT prm.allocate(1, '{NaN}')$$, '22003', NULL, 'NaN is no weight');
SELECT throws_ok($$SELECT prm.allocate(1, '{0,0}')$$, '22023', NULL, 'weights that are all zero');
SELECT throws_ok($$SELECT prm.round_money(1, 'ABC')$$, '22023', NULL, 'unknown currency');
SELECT throws_ok($$SELECT '{"mode":"slab","brackets":[]}'::jsonb::prm.commission_schedule$$, '22023', NULL, 'jsonb without a bracket');

-- The position is that of the fault, for every prefix of a schedule that is cut short.
CREATE FUNCTION pg_temp.place(source text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_detail text;
BEGIN
  PERFORM source::prm.commission_schedule;
  RETURN NULL;
EXCEPTION WHEN invalid_text_representation THEN
  GET STACKED DIAGNOSTICS the_detail = PG_EXCEPTION_DETAIL;
  RETURN substring(the_detail FROM 'At character (\d+):');
END $$;
SELECT is(pg_temp.place('slab 0: 1%, 10: x'), '17', 'the fault is at character 17');
SELECT is(pg_temp.place(E'slab 0: 1%,\u00a0 10: 2%'), '12', 'a no-break space is no space');
SELECT is(count(*) FILTER (WHERE pg_temp.place(left('slab 0: 1%, 10: 2%, 20: 3', n)) IS NOT DISTINCT FROM NULL), 5::bigint,
          'of all prefixes only five are schedules') FROM generate_series(0, 25) AS n;

---- forms ------------------------------------------------------------------------------------------------------------
SELECT setseed(0.42);
-- Random schedules: every mode, up to 30 brackets, coarse and fine numbers.
CREATE TEMP TABLE random_schedule AS
WITH shape AS (
  SELECT n, (ARRAY['percent', 'marginal', 'slab', 'interpolated'])[1 + n % 4] AS mode,
         CASE WHEN n % 7 = 0 THEN 30 ELSE 1 + n % 6 END AS brackets, n % 5 = 0 AS fine, n % 3 = 0 AS ties
  FROM generate_series(1, 600) AS n),
bracket AS (
  SELECT shape.*, i, random() AS dice,
         CASE WHEN fine THEN round((random() * 10)::numeric, 9) + 20 * i ELSE round((random() * 900)::numeric, n % 5) + 1000 * i END
           * CASE WHEN i = 0 AND n % 2 = 0 THEN 0 ELSE 1 END AS bound,
         CASE WHEN fine THEN round((random() * 100)::numeric, 12) ELSE round((random() * 100)::numeric, n % 4) END AS value
  FROM shape, generate_series(0, brackets - 1) AS i)
SELECT n, mode, CASE mode WHEN 'percent' THEN min(value) || '%'
  ELSE mode || ' ' || string_agg(bound || ': ' || CASE
     WHEN mode = 'interpolated' THEN CASE i WHEN 0 THEN 0 ELSE value * i END::text
     WHEN dice < 0.5 THEN value || '%'
     WHEN mode = 'slab' AND dice < 0.7 THEN (value - 30)::text
     ELSE value - 20 || ' each' END, ', ' ORDER BY i)
  || CASE WHEN ties THEN ' ties low' ELSE '' END END::prm.commission_schedule AS schedule
FROM bracket GROUP BY n, mode, ties;

-- The properties below say something only if there is enough to say it of.
SELECT ok(count(*) = 600 AND count(DISTINCT schedule) > 500, 'random schedules were made') FROM random_schedule;
SELECT is(count(*), 0::bigint, 'text reads back to the same value and the same text') FROM random_schedule
WHERE schedule::text::prm.commission_schedule OPERATOR(prm.<>) schedule OR schedule::text::prm.commission_schedule::text <> schedule::text;
SELECT is(count(*), 0::bigint, 'jsonb reads back to the same value') FROM random_schedule
WHERE schedule::jsonb::prm.commission_schedule OPERATOR(prm.<>) schedule;
SELECT is(count(*), 0::bigint, 'equal values have equal hashes') FROM random_schedule
WHERE prm.commission_schedule_hash(schedule::text::prm.commission_schedule) <> prm.commission_schedule_hash(schedule)
   OR prm.commission_schedule_hash_extended(schedule::text::prm.commission_schedule, 7) <> prm.commission_schedule_hash_extended(schedule, 7);
SELECT is(count(*), 0::bigint, 'the order is total and agrees with equality') FROM random_schedule AS a JOIN random_schedule AS b ON b.n <= 80
WHERE a.n <= 80 AND (prm.commission_schedule_cmp(a.schedule, b.schedule) <> -prm.commission_schedule_cmp(b.schedule, a.schedule)
  OR (a.schedule OPERATOR(prm.<) b.schedule)::int + (a.schedule OPERATOR(prm.=) b.schedule)::int + (a.schedule OPERATOR(prm.>) b.schedule)::int <> 1);
SELECT ok('slab 0: 2%'::prm.commission_schedule OPERATOR(prm.<) 'slab 0: 10%', 'ordered as numbers, not as text');
SELECT is(encode(prm.commission_schedule_send('10%'), 'hex'), '01010101' || '0000' || '000a', 'the binary form, byte by byte');

---- evaluation -------------------------------------------------------------------------------------------------------
-- Amounts: on bounds and beside them, coarse, fine, with up to 30 digits, both signs.
CREATE TEMP TABLE random_amount AS
SELECT n, x FROM (
  SELECT n, 'near a bound' AS kind, (schedule::jsonb #>> ARRAY['brackets', (n % 4)::text, 'from'])::numeric + (k - 1) * 0.0001 AS x FROM random_schedule, generate_series(0, 2) AS k
  UNION ALL SELECT n, 'coarse', round((random() * 40000)::numeric - 10000, n % 5) FROM random_schedule
  UNION ALL SELECT n, 'fine', round((random() * 700)::numeric, 11) FROM random_schedule
  UNION ALL SELECT n, 'wide', round((random() * 1e15)::numeric * 1e9 + (random() * 1e15)::numeric / 1e9, 6) - 100000000000000 FROM random_schedule
  UNION ALL SELECT n, 'edge of the fast path', (ARRAY[99999999999999.9999, 100000000000000, -99999999999999.9999, 0, 0.0001, -0.0001, 1e13 + n])[1 + n % 7] FROM random_schedule) AS amount
WHERE x IS NOT NULL;

SELECT cmp_ok(count(*), '>', 3400::bigint, 'random amounts were made') FROM random_amount;
SELECT is(count(*), 0::bigint, 'both paths give identical results, to the last place and digit shown')
FROM random_schedule JOIN random_amount AS a USING (n) JOIN random_amount AS b USING (n)
WHERE prm.commission(schedule, a.x, b.x)::text <> prm._commission_exact(schedule, a.x, b.x)::text;
SELECT is(count(*), 0::bigint, 'F(-x) = -F(x)') FROM random_schedule JOIN random_amount USING (n)
WHERE prm.commission(schedule, -x) <> -prm.commission(schedule, x);
SELECT is(count(*), 0::bigint, 'F(0) = 0') FROM random_schedule WHERE prm.commission(schedule, 0) <> 0 OR prm.commission(schedule, 0.00, 17) <> 0;
SELECT is(count(*), 0::bigint, 'additive: what two amounts earn one after the other is what their sum earns')
FROM random_schedule JOIN random_amount AS a USING (n) JOIN random_amount AS b USING (n)
WHERE prm.commission(schedule, a.x) + prm.commission(schedule, b.x, a.x) <> prm.commission(schedule, a.x + b.x);
SELECT is(count(*), 0::bigint, 'the total does not depend on the order')
FROM random_schedule JOIN random_amount AS a USING (n) JOIN random_amount AS b USING (n)
WHERE prm.commission(schedule, a.x) + prm.commission(schedule, b.x, a.x) <> prm.commission(schedule, b.x) + prm.commission(schedule, a.x, b.x);
SELECT is(count(*), 0::bigint, 'marginal with rates that are not negative never pays less for more')
FROM random_schedule JOIN random_amount AS a USING (n) JOIN random_amount AS b USING (n)
WHERE mode = 'marginal' AND schedule::text NOT LIKE '%-%' AND a.x <= b.x AND prm.commission(schedule, a.x) > prm.commission(schedule, b.x);
SELECT is(count(*), 0::bigint, 'nothing below the first bound') FROM random_schedule
WHERE mode <> 'percent' AND prm.commission(schedule, greatest((schedule::jsonb #>> '{brackets,0,from}')::numeric - 0.0001, 0)) <> 0;
SELECT is(count(*), 0::bigint, 'parts sum to the amount and to the commission')
FROM random_schedule JOIN random_amount AS a USING (n) JOIN random_amount AS b USING (n),
     LATERAL (SELECT sum(amount) AS amount, sum(commission) AS commission, bool_and(rate IS NULL OR mode = 'interpolated' OR part.commission = part.amount * rate) AS by_rate
              FROM prm.commission_parts(schedule, a.x, b.x) AS part) AS whole
WHERE (whole.amount, whole.commission, by_rate) IS DISTINCT FROM (a.x, prm.commission(schedule, a.x, b.x), true);

-- Against another way of computing the same: sums over the brackets of the jsonb form in plain SQL.
SELECT is(count(*), 0::bigint, 'marginal is the sum of its slices, slab the rate of its bracket')
FROM random_schedule JOIN random_amount USING (n),
     LATERAL (SELECT sum(CASE mode
                WHEN 'marginal' THEN greatest(least(abs(x), coalesce(upper, abs(x))) - lower, 0) * rate
                ELSE CASE WHEN (CASE WHEN ties THEN lower < abs(x) AND (upper IS NULL OR abs(x) <= upper)
                                     ELSE lower <= abs(x) AND (upper IS NULL OR abs(x) < upper) END) AND x <> 0
                          THEN coalesce(amount, rate * abs(x)) ELSE 0 END END) * sign(x) AS expected
              FROM (SELECT (b ->> 'from')::numeric AS lower, lead((b ->> 'from')::numeric) OVER (ORDER BY i) AS upper,
                           coalesce((b ->> 'rate')::numeric, (b ->> 'each')::numeric) AS rate, (b ->> 'amount')::numeric AS amount,
                           schedule::jsonb ? 'ties' AS ties
                    FROM jsonb_array_elements(schedule::jsonb -> 'brackets') WITH ORDINALITY AS e (b, i)) AS bracket) AS plain
WHERE mode IN ('marginal', 'slab') AND expected <> prm.commission(schedule, x);

---- rounding and sharing ---------------------------------------------------------------------------------------------
SELECT is(count(*), 0::bigint, 'round_money is symmetric in both modes') FROM random_amount, unnest(ARRAY['half_up', 'half_even']) AS mode, unnest(ARRAY['JPY', 'USD', 'KWD']) AS currency
WHERE prm.round_money(-x, currency, mode) <> -prm.round_money(x, currency, mode);
SELECT is(count(*), 0::bigint, 'half_up is round()') FROM random_amount, generate_series(0, 12) AS digits
WHERE prm._round_digits(x, digits, 'half_up')::text <> CASE WHEN round(x, digits) = 0 THEN abs(round(x, digits)) ELSE round(x, digits) END::text;
SELECT is(array_agg(prm._round_digits(x, 0, 'half_even') ORDER BY x), ARRAY[-4, -2, -2, 0, 0, 2, 2, 4]::numeric[], 'half_even')
FROM unnest(ARRAY[-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]) AS x;
SELECT is(array_agg(prm._round_digits(x, 6, 'half_even') ORDER BY x), ARRAY[0.000000, 0.000002, 0.000002, 1000000000000000000000.000000], 'half_even on the exact path')
FROM unnest(ARRAY[0.0000005, 0.0000015, 0.0000025, 1000000000000000000000.0000005]) AS x;

SELECT is(count(*), 0::bigint, 'shares sum to the total, are symmetric, and a weight of 0 gets 0') FROM (
  SELECT total, weights, digits, prm.allocate(total, weights, digits) AS shares, prm.allocate(-total, weights, digits) AS negative
  FROM (SELECT round((random() * 10 ^ (n % 12))::numeric, n % 4) AS total, n % 4 AS digits,
               ARRAY(SELECT CASE WHEN random() < 0.2 AND i > 1 THEN 0 ELSE round((0.01 + random() * 100)::numeric, n % 3 + 2) END FROM generate_series(1, 1 + n % 9) AS i) AS weights
        FROM generate_series(1, 500) AS n) AS deal) AS dealt
WHERE (SELECT sum(s) FROM unnest(shares) AS s) <> total
   OR (SELECT array_agg(-s ORDER BY i) FROM unnest(shares) WITH ORDINALITY AS e (s, i)) <> negative
   OR EXISTS (SELECT FROM unnest(shares, weights) AS e (s, w) WHERE (w = 0 AND s <> 0)
              OR abs(s - total * w / (SELECT sum(v) FROM unnest(weights) AS v)) >= power(10::numeric, -digits));

-- Labels that the planner relies on.
SELECT is(array_agg(proname::text ORDER BY proname), NULL, 'every function of the arithmetic is immutable, strict and parallel safe')
FROM pg_proc WHERE pronamespace = 'prm'::regnamespace AND proname ~ '^(commission(|_parts|_schedule_.*)|round_money|allocate|minor_units|_round_digits)$'
  AND NOT (provolatile = 'i' AND proisstrict AND proparallel = 's')
  AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_proc.oid AND d.deptype = 'e');

SELECT * FROM finish();
ROLLBACK;
