-- Months of sales, refunds and changes of credits at random, in plans that count, that cap and that pay uplines. Whatever came
-- late: the audit finds nothing, and computing everything again finds no difference.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

CREATE FUNCTION pg_temp.months(the_name text, the_seed double precision, the_days integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  program bigint;
  plan bigint;
  top bigint;
  partners bigint[];
  one bigint;
  target bigint;
  sale record;
BEGIN
  program := prm.create_program(the_name, 'blank');
  PERFORM set_config('prm.program_id', program::text, true), setseed(the_seed);
  INSERT INTO prm.partner (name, kind, joined_on) VALUES ('top', 'reseller', '2025-01-01') RETURNING partner_id INTO top;
  FOR n IN 1..6 LOOP
    INSERT INTO prm.partner (name, kind, parent_id, joined_on) VALUES ('partner ' || n, 'reseller', CASE WHEN n < 4 THEN top END, '2025-01-01') RETURNING partner_id INTO one;
    partners := partners || one;
  END LOOP;
  DELETE FROM prm.partner_history WHERE program_id = program;
  INSERT INTO prm.partner_history (partner_id, valid, kind, parent_id) SELECT partner_id, tstzrange(NULL, NULL), kind, parent_id FROM prm.partner WHERE program_id = program;
  INSERT INTO prm.commission_plan (name, currency) VALUES ('flat', 'USD') RETURNING plan_id INTO plan;
  INSERT INTO prm.commission_rule (plan_id, schedule, component, level, credit_type) VALUES (plan, 'marginal 0: 7.3%, 500: 3.1%', 'base', 0, NULL),
    (plan, '1.7%', 'up', 1, NULL), (plan, '2%', 'influence', 0, 'influenced');
  INSERT INTO prm.commission_plan (name, currency) VALUES ('counting', 'USD') RETURNING plan_id INTO plan;
  INSERT INTO prm.commission_rule (plan_id, schedule, accumulate, window_kind) VALUES (plan, 'slab 0: 1%, 2000: 2%, 5000: 4%', 'cumulative', 'quarter');
  INSERT INTO prm.commission_plan (name, currency) VALUES ('capped', 'USD') RETURNING plan_id INTO plan;
  INSERT INTO prm.commission_rule (plan_id, schedule, cap_amount, cap_window) VALUES (plan, '5%', 100, 'month');
  FOR day IN 1..the_days LOOP
    PERFORM set_config('prm.clock', ('2026-02-01 12:00+00'::timestamptz + make_interval(days => day))::text, true);
    CASE
      WHEN random() < 0.5 THEN
        one := partners[1 + floor(random() * 6)];
        INSERT INTO prm.deal (name, partner_id, amount, currency) VALUES ('deal ' || day, one, round((random() * 2000)::numeric, 2), 'USD') RETURNING deal_id INTO target;
        IF random() < 0.3 THEN
          INSERT INTO prm.deal_partner (deal_id, partner_id, weight) SELECT target, one, 60 UNION ALL (SELECT target, q, 40 FROM unnest(partners) q WHERE q <> one ORDER BY random() LIMIT 1);
        END IF;
        UPDATE prm.deal SET state = 'won' WHERE deal_id = target AND program_id = program;
      WHEN random() < 0.6 THEN
        FOR sale IN SELECT e.earning_event_id, e.amount - coalesce(t.refunded, 0) AS rest FROM prm.earning_event e LEFT JOIN prm.refund_total t USING (program_id, earning_event_id)
          WHERE e.program_id = program AND e.kind = 'booked' AND e.amount > coalesce(t.refunded, 0) ORDER BY random() LIMIT 1
        LOOP
          INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
            VALUES ('refunded', sale.earning_event_id, -CASE WHEN random() < 0.3 THEN sale.rest ELSE round(sale.rest * random()::numeric, 2) END, 'USD', prm.now());
        END LOOP;
      ELSE
        SELECT deal_id INTO target FROM prm.deal WHERE program_id = program ORDER BY random() LIMIT 1;
        CONTINUE WHEN target IS NULL;
        IF random() < 0.3 THEN
          DELETE FROM prm.deal_partner WHERE program_id = program AND deal_id = target AND credit_type = 'influenced';
        ELSIF random() < 0.5 THEN
          INSERT INTO prm.deal_partner (deal_id, credit_type, partner_id) SELECT target, 'influenced', q FROM unnest(partners) q
            WHERE NOT EXISTS (SELECT 1 FROM prm.deal_partner d WHERE d.program_id = program AND d.deal_id = target AND d.credit_type = 'influenced') ORDER BY random() LIMIT 1;
        ELSIF NOT EXISTS (SELECT 1 FROM prm.deal_partner d WHERE d.program_id = program AND d.deal_id = target AND d.credit_type = 'sourced') THEN
          INSERT INTO prm.deal_partner (deal_id, partner_id, weight)
            SELECT target, z.q, CASE row_number() OVER () WHEN 1 THEN 35 ELSE 65 END FROM (SELECT q FROM unnest(partners) q ORDER BY random() LIMIT 2) z;
        ELSE
          UPDATE prm.deal_partner d SET weight = CASE WHEN a.team = 1 THEN 100 WHEN a.place = 1 THEN 20 ELSE 80 END
            FROM (SELECT partner_id, row_number() OVER () AS place, count(*) OVER () AS team FROM prm.deal_partner WHERE program_id = program AND deal_id = target AND credit_type = 'sourced') a
            WHERE d.program_id = program AND d.deal_id = target AND d.credit_type = 'sourced' AND d.partner_id = a.partner_id;
        END IF;
    END CASE;
  END LOOP;
  PERFORM set_config('prm.clock', '', true);
  RETURN program;
END $$;

SELECT pg_temp.months('Late credits 1', 0.06, 80) AS program \gset
SELECT cmp_ok((SELECT count(*) FROM prm.ledger WHERE program_id = :program AND kind = 'adjustment'), '>', 20::bigint, 'credits came late');
SELECT is_empty('SELECT rule, entry_id, detail FROM prm.audit_ledger()', 'the ledger is sound');
SELECT is_empty('SELECT earning_event_id, partner_id, component, booked, should_be FROM prm.recalculate(''2026-01-01'', ''2026-12-31'', true)', 'and nothing is left to recalculate');
SELECT pg_temp.months('Late credits 2', 0.12, 80) AS program \gset
SELECT is_empty('SELECT rule, entry_id, detail FROM prm.audit_ledger()', 'the ledger is sound');
SELECT is_empty('SELECT earning_event_id, partner_id, component, booked, should_be FROM prm.recalculate(''2026-01-01'', ''2026-12-31'', true)', 'and nothing is left to recalculate');
SELECT * FROM finish();
ROLLBACK;
