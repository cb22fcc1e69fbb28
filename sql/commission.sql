-- What a user of the type commission_schedule types and sees. Nothing but CREATE EXTENSION is needed.

-- Every form, and its canonical text.
SELECT source, source::prm.commission_schedule
FROM (VALUES (1, '10%'), (2, ' 2.50 % '),
             (3, 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%'),
             (4, 'SLAB 0:1%,10000:2% ,50000:3%'),
             (5, 'interpolated 0: 0, 1000: 10, 3000: 50'),
             (6, 'slab 0: 0, 100000: 1000'),
             (7, 'marginal 0: 10 each, 2: 20each, 4: 30 EACH Ties  Low'),
             (8, 'slab .5: -0, 1.500: -12.50'),
             (9, 'slab 0: 0.000000000000000001 each')) AS form (n, source)
ORDER BY n;

-- What is no schedule says so, with the character.
SELECT ''::prm.commission_schedule;
SELECT '10'::prm.commission_schedule;
SELECT 'tiered 0: 1%'::prm.commission_schedule;
SELECT 'marginal 0: 1%, 10,000: 2%'::prm.commission_schedule;
SELECT 'marginal 0: 1%, 5000: 2%, 1000: 3%'::prm.commission_schedule;
SELECT 'marginal 0: 1%, 0.0: 2%'::prm.commission_schedule;
SELECT 'marginal 0: 100'::prm.commission_schedule;
SELECT 'slab -5: 1%'::prm.commission_schedule;
SELECT 'slab 0: 100.01%'::prm.commission_schedule;
SELECT '-1%'::prm.commission_schedule;
SELECT 'slab 0: NaN'::prm.commission_schedule;
SELECT 'slab Infinity: 1'::prm.commission_schedule;
SELECT 'interpolated 0: 5, 10: 10'::prm.commission_schedule;
SELECT 'interpolated 0: 0%'::prm.commission_schedule;
SELECT 'slab 0: 1234567890123456789'::prm.commission_schedule;
SELECT 'slab 0: 1%,'::prm.commission_schedule;
SELECT 'slab 0: 1% ties high'::prm.commission_schedule;
SELECT '10% ties low'::prm.commission_schedule;
-- Characters are counted, not bytes.
SELECT E'slab 0: 1%, \u00e9\u00e9'::prm.commission_schedule;
-- At most 1,000 brackets.
SELECT length(('marginal ' || string_agg(i || ': 1%', ', ' ORDER BY i))::prm.commission_schedule::text) FROM generate_series(0, 999) AS i;
\set VERBOSITY terse
SELECT ('marginal ' || string_agg(i || ': 1%', ', ' ORDER BY i))::prm.commission_schedule FROM generate_series(0, 1000) AS i;
\set VERBOSITY default

-- jsonb.
SELECT 'marginal 0: 1%, 2.5: 12 each ties low'::prm.commission_schedule::jsonb;
SELECT '10%'::prm.commission_schedule::jsonb;
SELECT '{"mode": "slab", "brackets": [{"from": 0, "rate": 0.05}, {"from": 1e3, "amount": 7.50}]}'::jsonb::prm.commission_schedule;
SELECT '{"mode": "slab"}'::jsonb::prm.commission_schedule;
SELECT '{"mode": "slab", "brackets": [{"from": 0, "rate": 0.05, "each": 1}]}'::jsonb::prm.commission_schedule;
SELECT '{"mode": "slab", "brackets": [{"from": 0, "rate": "5%"}]}'::jsonb::prm.commission_schedule;
SELECT '{"mode": "slab", "brackets": [{"from": 0, "rate": 5}]}'::jsonb::prm.commission_schedule;
SELECT '{"mode": "slab", "bracket": []}'::jsonb::prm.commission_schedule;

-- Money owed.
SELECT prm.commission('10%', 1250);
SELECT prm.commission('marginal 0: 1%, 10000: 2%, 50000: 3%, 100000: 4%', 60000);
SELECT prm.commission('marginal 0: 4%, 150000: 6%, 250000: 8%', 20000, attained => 145000);
SELECT * FROM prm.commission_parts('marginal 0: 4%, 150000: 6%, 250000: 8%', 20000, 145000);
-- A return unwinds from the top.
SELECT * FROM prm.commission_parts('marginal 0: 10 each, 2: 20 each, 4: 30 each', -3, 5);
-- A slab trues up back to the first unit.
SELECT * FROM prm.commission_parts('slab 0: 6%, 100000: 8%, 150000: 10%', 30000, 80000);
SELECT * FROM prm.commission_parts('interpolated 0: 0, 3: 1, 6: 3', 5);
SELECT * FROM prm.commission_parts('slab 0: 0, 100000: 1000', 110000);
-- Below the first bound nothing is paid; nothing sold, nothing earned.
SELECT * FROM prm.commission_parts('marginal 100: 5%', 150);
SELECT * FROM prm.commission_parts('marginal 100: 5%', 0, 120);
SELECT prm.commission('10%', 'NaN');
SELECT prm.commission('10%', 1, 'Infinity');
SELECT prm.commission(NULL, 1) IS NULL AS "null";

-- On one's own tables.
CREATE TABLE plan (region text PRIMARY KEY, schedule prm.commission_schedule NOT NULL);
INSERT INTO plan VALUES ('north', 'marginal 0: 5%, 1000: 10%'), ('south', '8%');
CREATE TABLE sale (region text, amount numeric);
INSERT INTO sale VALUES ('north', 1500), ('north', 20), ('south', 1500), ('south', NULL);
SELECT region, amount, round(prm.commission(schedule, amount), 2) AS commission FROM sale JOIN plan USING (region) ORDER BY 1, 2;
INSERT INTO plan VALUES ('east', '120%');
SELECT region FROM plan WHERE schedule OPERATOR(prm.=) '8.0%';
SELECT DISTINCT schedule FROM plan ORDER BY schedule DESC;
DROP TABLE plan, sale;
