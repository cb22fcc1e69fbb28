-- Partners: what is kept by itself, and what is refused.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, MDY';
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 801;
SELECT prm.create_program('Partners', 'reseller', 'USD') AS programme;
SET prm.program_id = '801';
SET prm.clock = '2026-01-05 09:00:00+00';

INSERT INTO prm.partner (partner_id, name, kind, region) VALUES (1, 'Alder Systems', 'reseller', 'north'), (2, 'Birch Hub', 'hub', 'north');
SELECT partner_id, name, tier FROM prm.partner WHERE program_id = 801 ORDER BY 1;

-- The partner moves, and then joins a hub; the past stays readable.
SET prm.clock = '2026-04-01 00:00:00+00';
UPDATE prm.partner SET region = 'south' WHERE program_id = 801 AND partner_id = 1;
SET prm.clock = '2026-06-15 10:30:00+00';
UPDATE prm.partner SET parent_id = 2, tier = 'silver' WHERE program_id = 801 AND partner_id = 1;
SELECT valid, region, parent_id, tier FROM prm.partner_history WHERE program_id = 801 AND partner_id = 1 ORDER BY valid;
SELECT region, tier FROM prm.partner_history WHERE program_id = 801 AND partner_id = 1 AND valid @> '2026-05-01 00:00+00'::timestamptz;
SELECT at, from_tier, to_tier, outcome, reason FROM prm.tier_history WHERE program_id = 801 AND partner_id = 1 ORDER BY tier_history_id;
SELECT benefit, value, valid FROM prm.benefit_grant WHERE program_id = 801 AND partner_id = 1 ORDER BY benefit, valid;

-- What is refused.
UPDATE prm.partner SET parent_id = 1 WHERE program_id = 801 AND partner_id = 2;
UPDATE prm.partner SET tier = 'diamond' WHERE program_id = 801 AND partner_id = 1;
INSERT INTO prm.partner (partner_id, name, tier) VALUES (3, 'Cedar', 'diamond');
INSERT INTO prm.partner (partner_id, name, kind) VALUES (3, 'Cedar', 'wizard');
SELECT count(*) FROM prm.partner WHERE program_id = 801;

-- Metrics.
SELECT prm.record_metric(1, 'logins_30d', 12);
SELECT * FROM prm.partner_metrics(1);
SELECT prm.record_metric(1, 'login_count', 12);
SELECT prm.record_metric(1, 'revenue_12m', 12);
SELECT prm.record_metric(1, 'logins_30d', 'NaN');
SELECT prm.record_metric(99, 'logins_30d', 1);
RESET prm.clock;
RESET prm.program_id;
