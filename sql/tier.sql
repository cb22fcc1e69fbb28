-- Tiers: promotion, the gap to the next tier, risk, grace and demotion, seen from the outside.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET TIME ZONE 'UTC';
SET datestyle = 'ISO, MDY';
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 821;
SELECT prm.create_program('Tiers', 'reseller', 'USD') AS programme;
SET prm.program_id = '821';
SET prm.clock = '2026-03-02 12:00:00+00';
SELECT tier, rank, partners, requirements, benefits FROM prm.v_tier WHERE program_id = 821 ORDER BY rank;

INSERT INTO prm.partner (partner_id, name) VALUES (1, 'Alder Systems'), (2, 'Birch Hub');
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (8210001, 1, 'Ada'), (8210002, 1, 'Ben');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (8210001, 'sales', '2026-01-10', '2028-01-09'), (8210002, 'technical', '2026-02-01', '2027-01-31');
SELECT name, tier, next_tier FROM prm.v_partner WHERE program_id = 821 ORDER BY partner_id;
SELECT metric, have, need, missing, met, lapses_on FROM prm.tier_gap(1);

-- Winning deals promotes, in the same transaction.
INSERT INTO prm.deal (deal_id, partner_id, name, amount, currency) SELECT 8210000 + i, 1, 'Deal ' || i, 24000, 'USD' FROM generate_series(1, 5) i;
UPDATE prm.deal SET state = 'won' WHERE program_id = 821 AND deal_id <= 8210002;
SELECT tier FROM prm.partner WHERE program_id = 821 AND partner_id = 1;
UPDATE prm.deal SET state = 'won' WHERE program_id = 821 AND deal_id > 8210002;
SELECT at, from_tier, to_tier, outcome, reason, metrics FROM prm.tier_history WHERE program_id = 821 AND partner_id = 1 ORDER BY tier_history_id;
SELECT prm.entitlement(1, 'discount_percent') AS discount, prm.entitlement(1, 'support_level') AS support, prm.entitlement(2, 'support_level') AS of_another;
SELECT event_type, payload ->> 'from_tier' AS from_tier, payload ->> 'to_tier' AS to_tier FROM prm.outbox WHERE program_id = 821 AND event_type = 'tier.changed' ORDER BY outbox_id;

-- What it needs to keep gold, and when that lapses by itself.
SELECT metric, have, need, met, lapses_on FROM prm.tier_gap(1, 'gold');

-- A certificate ends; a dry run only tells; then risk, grace, demotion.
SET prm.clock = '2027-02-01 08:00:00+00';
SELECT * FROM prm.evaluate_tiers(dry_run => true);
SELECT held, qualified, outcome, reason, effective_on FROM prm.evaluate_tiers(1);
SET prm.clock = '2027-03-01 08:00:00+00';
SELECT held, qualified, outcome, reason, effective_on FROM prm.evaluate_tiers(1);
SET prm.clock = '2027-05-01 08:00:00+00';
SELECT held, qualified, outcome, reason, effective_on FROM prm.evaluate_tiers(1);
SELECT tier, standing, review_on FROM prm.v_partner WHERE program_id = 821 AND partner_id = 1;

-- A pin overrides the rules, with a reason and an end.
SELECT prm.pin_tier(2, 'platinum', '2027-12-31 00:00:00+00', 'founding partner');
SELECT held, qualified, outcome, reason, effective_on FROM prm.evaluate_tiers(2);

-- What is refused.
SELECT prm.pin_tier(2, 'platinum', NULL, '');
SELECT prm.pin_tier(2, 'diamond', NULL, 'because');
SELECT * FROM prm.evaluate_tiers(99);
SELECT * FROM prm.evaluate_tiers(1, '{"pace": "fast"}');
SELECT * FROM prm.tier_gap(1, 'diamond');
SELECT prm.entitlement(1, 'yacht');
SELECT t.tier, prm.partners(t) FROM prm.tier t WHERE program_id = 821 ORDER BY rank;
RESET prm.clock;
RESET prm.program_id;
