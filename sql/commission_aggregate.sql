-- Many commissions at once, on one's own tables.
CREATE TABLE sale (sale_id int, seller text, schedule prm.commission_schedule, amount numeric);
INSERT INTO sale VALUES
  (1, 'ann', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 200), (2, 'ann', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 300),
  (3, 'ann', 'marginal 0: 1%, 1000: 2%, 3000: 3%, 8000: 5%', 1500), (4, 'bob', '7.5%', 19.99), (5, 'bob', '7.5%', 19.99),
  (6, 'bob', '7.5%', NULL), (7, 'bob', NULL, 5), (8, 'bob', '7.5%', -19.99);
-- Each sale on its own, exact.
SELECT seller, prm.commission_total(schedule, amount) FROM sale GROUP BY seller ORDER BY seller;
-- Each sale on top of those before it; the rows add up to the total to the cent.
SELECT sale_id, seller, amount, prm.commission_running(schedule, amount, 2) OVER (PARTITION BY seller ORDER BY sale_id) FROM sale ORDER BY sale_id;
SELECT seller, prm.commission_cumulative(schedule, amount, 2) FROM sale GROUP BY seller ORDER BY seller;
-- A group with two schedules has no F.
SELECT prm.commission_cumulative(schedule, amount, 2) FROM sale;
-- By rolling three sales.
SELECT sale_id, prm.commission_total(schedule, amount) OVER (ORDER BY sale_id ROWS 2 PRECEDING) FROM sale ORDER BY sale_id;
SELECT prm.commission_total('5%', 'Infinity');
DROP TABLE sale;

-- Windows of plans.
SELECT kind, prm.period_start('2025-01-31', kind), prm.period_end('2025-01-31', kind), prm.period_start('2025-01-31', kind, 7) AS fiscal_start, prm.period_end('2025-01-31', kind, 7) AS fiscal_end
FROM unnest(ARRAY['month', 'half_month', 'quarter', 'half', 'year', 'lifetime']) AS kind;
SELECT prm.period_start('2025-01-31', 'week');
SELECT prm.period_start('2025-01-31', 'year', 0);
