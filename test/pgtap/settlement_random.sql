-- Random months: sales, refunds, collections, holds, disputes, adjustments, royalties, draws, delegations, money that comes in,
-- closes (forced ones too), statements that are cancelled, carried or converted, and payouts that fail, are paid, come back or are
-- sent again. At the end of each month: what is on statements and what is open is the ledger, every entry is settled once, and the
-- balances say the same. The seed is fixed; SET prm_test.seed tries another.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(14);
SET LOCAL prm.clock = '2025-01-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Random months', 'blank', 'USD', 'UTC')::text, true) AS program \gset
SELECT setseed(coalesce(nullif(current_setting('prm_test.seed', true), ''), '0.4711')::float8) IS NOT NULL AS seeded;

INSERT INTO prm.legal_entity (legal_entity, label) VALUES ('us', 'US'), ('eu', 'EU');
INSERT INTO prm.partner (name) SELECT 'P' || i FROM generate_series(1, 6) i;
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2024-01-01', 1.1);
INSERT INTO prm.commission_plan (name, earn_on, pay_on, hold_days, clawback_days, currency) VALUES ('now', 'booked', 'earned', 0, NULL, 'USD'), ('later', 'invoiced', 'earned', 20, 60, 'USD'), ('paid', 'sell_out', 'collected', 5, NULL, 'USD');
INSERT INTO prm.commission_rule (plan_id, schedule) SELECT plan_id, '7.5%' FROM prm.commission_plan WHERE program_id = :program;
INSERT INTO prm.payee (partner_id, legal_name, currency) SELECT partner_id, name || ' Ltd', 'USD' FROM prm.partner WHERE program_id = :program AND name <> 'P6';
INSERT INTO prm.settlement_profile (payee_id, currency, period_kind, min_payout, debt_policy, write_off_days, auto_approve)
  SELECT y.payee_id, 'USD', v.kind, v.least, v.policy, v.days, v.auto FROM prm.payee y JOIN prm.partner p USING (program_id, partner_id)
  JOIN (VALUES ('P1', 'month', 0, 'net', NULL::int, true), ('P2', 'half_month', 40, 'block', NULL, true), ('P3', 'quarter', 0, 'write_off', 15, true), ('P4', 'month', 75, 'net', NULL, false)) AS v(name, kind, least, policy, days, auto) ON v.name = p.name
  WHERE y.program_id = :program;
UPDATE prm.settlement_profile SET pay_currency = 'EUR', convert_at = 'statement' WHERE program_id = :program AND min_payout = 75;
INSERT INTO prm.payout_fee_rule (currency, rate, hard_rate, waiver, borne_by) VALUES ('USD', 0.02, 0.001, 200, 'payee');
INSERT INTO prm.partner_payee (partner_id, payee_id, valid) SELECT p.partner_id, y.payee_id, '[2025-04-01,2025-08-01)' FROM prm.partner p, prm.payee y JOIN prm.partner q USING (program_id, partner_id)
  WHERE p.program_id = :program AND p.name = 'P5' AND y.program_id = :program AND q.name = 'P1';
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) SELECT partner_id, 'USD', 60, '[2025-02-01,2025-07-01)' FROM prm.partner WHERE program_id = :program AND name = 'P6';

CREATE FUNCTION pg_temp.a_month(the_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  day date; step integer; roll float8; a float8; b float8; c float8; d float8; one record; the_end date := (the_month + interval '1 month')::date;
BEGIN
  FOR step IN 1 .. 30 LOOP
    day := the_month + (random() * 27)::integer;
    PERFORM set_config('prm.clock', greatest(day, the_month)::text || ' 13:00+00', true);
    roll := random(); a := random(); b := random(); c := random(); d := random();
    IF roll < 0.5 THEN
      INSERT INTO prm.earning_event (kind, partner_id, amount, currency, legal_entity, occurred_at)
        SELECT (ARRAY['booked', 'invoiced', 'sell_out'])[1 + (a * 2)::integer], p.partner_id, round((b * 900 + 1)::numeric, 2), CASE WHEN c < 0.2 THEN 'EUR' ELSE 'USD' END,
          CASE WHEN d < 0.3 THEN 'eu' END, (day::text || ' 12:00+00')::timestamptz
        FROM prm.partner p WHERE p.program_id = prm.current_program() ORDER BY random() LIMIT 1;
    ELSIF roll < 0.75 THEN
      INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
        SELECT 'refunded', e.earning_event_id, -CASE WHEN a < 0.5 THEN e.amount - r.done ELSE round((e.amount - r.done) / 3, 2) END, e.currency, greatest(e.occurred_at, (day::text || ' 12:30+00')::timestamptz)
        FROM prm.earning_event e CROSS JOIN LATERAL (SELECT coalesce(-sum(i.amount), 0) AS done FROM prm.earning_event i WHERE i.program_id = e.program_id AND i.applies_to_id = e.earning_event_id AND i.kind = 'refunded') r
        WHERE e.program_id = prm.current_program() AND e.kind IN ('booked', 'invoiced', 'sell_out') AND r.done < e.amount ORDER BY random() LIMIT 1;
    ELSIF roll < 0.9 THEN
      INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
        SELECT 'collected', e.earning_event_id, round(e.amount / (2 + (a * 2)::integer), 2), e.currency, greatest(e.occurred_at, (day::text || ' 12:40+00')::timestamptz)
        FROM prm.earning_event e WHERE e.program_id = prm.current_program() AND e.kind = 'sell_out'
          AND 2 > (SELECT count(*) FROM prm.earning_event c WHERE c.program_id = e.program_id AND c.applies_to_id = e.earning_event_id AND c.kind = 'collected') ORDER BY random() LIMIT 1;
    ELSIF roll < 0.94 THEN
      INSERT INTO prm.ledger (partner_id, kind, amount, currency, earned_on, eligible_at, idempotency_key)
        SELECT p.partner_id, (ARRAY['royalty', 'adjustment'])[1 + (a)::integer], round((b * 80 - 60)::numeric, 2), 'USD', day, prm.now(), 'random/' || the_month || '/' || step
        FROM prm.partner p WHERE p.program_id = prm.current_program() ORDER BY random() LIMIT 1;
    ELSIF roll < 0.95 THEN
      INSERT INTO prm.payout_request (partner_id) SELECT p.partner_id FROM prm.partner p WHERE p.program_id = prm.current_program() ORDER BY random() LIMIT 1;
      PERFORM prm.receive_payment(p.partner_id, round((a * 30 + 1)::numeric, 2), 'USD', the_month || '/' || step) FROM prm.partner p WHERE p.program_id = prm.current_program() ORDER BY random() LIMIT 1;
    ELSIF roll < 0.96 THEN
      -- Whoever leaves (it may come back) is paid out of turn.
      SELECT p.partner_id INTO one FROM prm.partner p WHERE p.program_id = prm.current_program() ORDER BY random() LIMIT 1;
      PERFORM prm.force_payout(one.partner_id, 'random');
    ELSIF roll < 0.98 THEN
      SELECT o.entry_id INTO one FROM prm.ledger_open o WHERE o.program_id = prm.current_program()
        AND NOT EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = o.program_id AND h.entry_id = o.entry_id) ORDER BY random() LIMIT 1;
      PERFORM prm.dispute(one.entry_id, 'random') WHERE one.entry_id IS NOT NULL;
    ELSE
      SELECT d.entry_id INTO one FROM prm.v_dispute d WHERE d.program_id = prm.current_program() AND d.state = 'open' ORDER BY random() LIMIT 1;
      PERFORM prm.resolve_dispute(one.entry_id, 'rejected', 'random') WHERE one.entry_id IS NOT NULL;
    END IF;
  END LOOP;
  -- Chance alone forced nobody in one run of twenty.
  PERFORM prm.force_payout(p.partner_id, 'all in May') FROM prm.partner p WHERE p.program_id = prm.current_program() AND the_month = '2025-05-01';
  PERFORM set_config('prm.clock', the_end::text || ' 03:00+00', true);
  PERFORM prm.write_off_debts();
  PERFORM prm.close_period((the_end - 1));
  PERFORM prm.close_period((the_end - 1));
  UPDATE prm.statement SET state = 'approved' WHERE program_id = prm.current_program() AND state = 'settled' AND random() < 0.7;
  PERFORM prm.cancel_statement(s.statement_id, 'random') FROM prm.statement s WHERE s.program_id = prm.current_program() AND s.state IN ('settled', 'approved') AND random() < 0.15
    AND NOT EXISTS (SELECT 1 FROM prm.payout_statement c WHERE c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL);
  PERFORM prm.create_documents() WHERE random() < 0.5;
  PERFORM prm.cancel_document(d.document_id, 'random') FROM prm.billing_document d WHERE d.program_id = prm.current_program() AND d.cancelled_at IS NULL AND random() < 0.1
    AND NOT EXISTS (SELECT 1 FROM prm.billing_document_statement b JOIN prm.payout_statement c ON c.program_id = b.program_id AND c.statement_id = b.statement_id AND c.released_at IS NULL
      WHERE b.program_id = d.program_id AND b.document_id = d.document_id AND b.released_at IS NULL);
  PERFORM prm.create_payouts();
  PERFORM prm.settle_payout(p.payout_id, CASE WHEN random() < 0.75 THEN 'paid' ELSE 'failed' END) FROM prm.payout p WHERE p.program_id = prm.current_program() AND p.state = 'pending';
  PERFORM prm.settle_payout(p.payout_id, 'failed') FROM prm.payout p WHERE p.program_id = prm.current_program() AND p.state = 'paid' AND p.amount > 0 AND random() < 0.1;
  -- Sent again where nothing else took its statements meanwhile, and they stand.
  FOR one IN SELECT p.payout_id FROM prm.payout p WHERE p.program_id = prm.current_program() AND p.state = 'failed' AND random() < 0.3 ORDER BY p.payout_id LOOP
    BEGIN
      PERFORM prm.settle_payout(one.payout_id, 'reissued');
      PERFORM prm.settle_payout(one.payout_id, CASE WHEN random() < 0.6 THEN 'paid' ELSE 'failed' END);
    EXCEPTION WHEN SQLSTATE '55000' THEN NULL;
    END;
  END LOOP;
END $$;
SELECT pg_temp.a_month(m::date) FROM generate_series('2025-01-01'::timestamp, '2025-09-01', '1 month') m;

SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program), '>', 40::bigint, 'there are statements');
SELECT cmp_ok((SELECT count(*) FROM prm.statement_line WHERE program_id = :program AND part > 1), '>', 0::bigint, 'entries that came in parts');
SELECT cmp_ok((SELECT count(*) FROM prm.payout WHERE program_id = :program AND state = 'failed'), '>', 0::bigint, 'and payouts that failed');
SELECT cmp_ok((SELECT count(*) FROM prm.payout WHERE program_id = :program AND attempts > 1 AND state = 'paid'), '>', 0::bigint, 'that were sent again');
SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program AND state = 'carried'), '>', 0::bigint, 'debts that were carried');
SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program AND state = 'cancelled'), '>', 6::bigint, 'statements that were cancelled');
SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program AND pay_currency = 'EUR'), '>', 0::bigint, 'converted');
SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program AND is_forced), '>', 0::bigint, 'and forced');
SELECT is((SELECT string_agg(DISTINCT state, ',') FROM prm.statement s WHERE program_id = :program AND cancels_id IS NOT NULL), 'cancelled', 'what cancels is cancelled itself');
SELECT results_eq(format($$SELECT currency, sum(amount) FROM prm.ledger WHERE program_id = %1$s AND (kind NOT IN ('payout', 'payout_fee') OR component = 'received') AND NOT (kind = 'carry' AND component = 'closed') GROUP BY currency ORDER BY currency$$, :program),
  format($$SELECT currency, sum(amount) FROM (SELECT currency, total AS amount FROM prm.statement WHERE program_id = %1$s UNION ALL SELECT currency, amount FROM prm.ledger_open WHERE program_id = %1$s) x GROUP BY currency ORDER BY currency$$, :program),
  'statements and what is open are the ledger');
SELECT results_eq(format($$SELECT currency, sum(amount) FROM prm.ledger WHERE program_id = %1$s GROUP BY currency ORDER BY currency$$, :program),
  format($$SELECT currency, sum(amount) FROM (SELECT currency, total AS amount FROM prm.statement WHERE program_id = %1$s AND state NOT IN ('paid', 'carried', 'cancelled') UNION ALL SELECT currency, amount FROM prm.ledger_open WHERE program_id = %1$s) x GROUP BY currency ORDER BY currency$$, :program),
  'with what was paid taken off, unpaid statements and what is open are what is owed');
SELECT results_eq(format($$SELECT b.currency, sum(b.pending + b.held + b.eligible + b.on_statement + b.paid - b.debt) FROM prm.partner p CROSS JOIN LATERAL prm.partner_balance(p.partner_id) b WHERE p.program_id = %s GROUP BY 1 ORDER BY 1$$, :program),
  format($$SELECT currency, sum(amount) FROM prm.ledger WHERE program_id = %1$s AND (kind NOT IN ('payout', 'payout_fee') OR component = 'received') GROUP BY currency ORDER BY currency$$, :program), 'the balances are the ledger');
SELECT is((SELECT string_agg(format('%s %s: %s', rule, entry_id, detail), '; ') FROM prm._audit_settlement(:program)), NULL, 'the books are sound');
SELECT is((SELECT string_agg(statement_id::text, ',') FROM prm.statement s WHERE program_id = :program
  AND total IS DISTINCT FROM (SELECT running_total FROM prm.my_statement(s.statement_id) ORDER BY line_no DESC LIMIT 1)), NULL, 'every statement is reproduced to the cent');
SELECT * FROM finish();
ROLLBACK;
