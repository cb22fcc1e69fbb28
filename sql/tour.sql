-- The tour of the README: what stands between the two marks is copied there with its output (test/tools/readme.pl).
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
SELECT prm.install() IS NOT NULL AS installed;
ALTER TABLE prm.program ALTER COLUMN program_id RESTART WITH 901;
ALTER TABLE prm.partner ALTER COLUMN partner_id RESTART WITH 1;
ALTER TABLE prm.lead ALTER COLUMN lead_id RESTART WITH 1;
ALTER TABLE prm.deal ALTER COLUMN deal_id RESTART WITH 1;
ALTER TABLE prm.earning_event ALTER COLUMN earning_event_id RESTART WITH 1;
ALTER TABLE prm.outbox ALTER COLUMN outbox_id RESTART WITH 1;
-- The tour begins
SET prm.clock = '2026-07-01 12:00+00';        -- a fixed day; leave it out and the story ends today
SELECT prm.demo() AS program_id \gset
SET prm.program_id = :program_id;

-- 1. The tier ladder.
SELECT label, partners, requirements FROM prm.v_tier ORDER BY rank DESC;

-- 2. How many leads reached which stage.
SELECT stage, reached, share_of_first FROM prm.v_lead_funnel ORDER BY stage_no;

-- 3. The best partners.
SELECT partner_id, name, tier, round(health_score, 1) AS health, health_band, revenue_12m, next_tier
FROM prm.v_partner ORDER BY revenue_12m DESC NULLS LAST LIMIT 4;

-- 4. What one of them lacks for the next tier, and when it loses what it has.
SELECT metric, have, need, missing, met, lapses_on FROM prm.tier_gap(1);

-- 5. Why its health is what it is; the contributions sum to the score.
SELECT metric, round(value, 2) AS value, round(normalized, 1) AS normalized, round(contribution, 1) AS contribution
FROM prm.explain_health(1);

-- 6. What may happen to a lead, and why not.
SELECT event, to_state, allowed, array_to_string(why_not, '; ') AS why_not FROM prm.allowed_events('lead', 1991);

-- 7. No client gets round the machine.
UPDATE prm.lead SET state = 'converted' WHERE lead_id = 1991;

-- 8. A deal is won: the commission is there in the same transaction, and explains itself.
UPDATE prm.deal SET state = 'won' WHERE deal_id = 1497;
SELECT step, outcome, amount, reason
FROM prm.explain_commission((SELECT earning_event_id FROM prm.earning_event WHERE deal_id = 1497 AND kind = 'booked'));

-- 9. So is the message.
SELECT event_type, payload::jsonb ->> 'name' AS deal, payload::jsonb ->> 'amount' AS amount, status FROM prm.v_outbox WHERE aggregate_type = 'deal' AND aggregate_id = '1497';

-- 10. What the partner of that deal will be paid, line by line.
SELECT period, earned_on, what, amount, currency, status
FROM prm.v_statement_preview
WHERE partner_id = (SELECT partner_id FROM prm.deal WHERE deal_id = 1497) ORDER BY period DESC, earned_on DESC, entry_id DESC LIMIT 3;
-- The tour ends

-- The demonstration has something of everything: statements that wait and that were approved, health that changed since the last snapshot.
SELECT state, count(*) AS statements, sum(total) AS total, min(period) AS first, max(period) AS last FROM prm.v_statement GROUP BY state ORDER BY state;
SELECT portfolio, partners, round(score, 2) AS health, bands FROM prm.health_portfolio('tier');
SELECT count(*) FILTER (WHERE h.trend > 0) AS better, count(*) FILTER (WHERE h.trend < 0) AS worse FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program();
SELECT * FROM prm.audit_ledger();
