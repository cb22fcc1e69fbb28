-- A year at random: sales with uplines, caps, windows and a second currency, refunds, payments that come in and bounce, credits that
-- change, partners that move, disputes, holds, bans, draws, delegations, taxes, marketing funds, closes of all kinds of periods,
-- statements that are cancelled, carried or converted, documents, payouts that fail, come back and are sent again; in a zone with
-- summer time, rounded half to even. After each step the books of settlement are sound and the balances are the ledger, every few
-- steps all of it is audited, and what was known then is noted; at the end ledger_as_of() still says the same of each of those
-- moments, and computing the year again finds nothing. The seed is fixed; SET prm_test.seed tries another, prm_test.steps more.
BEGIN;
SET LOCAL datestyle = 'ISO, YMD';
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(16);
SET LOCAL prm.clock = '2025-01-01 12:00-05';
SELECT set_config('prm.program_id', prm.create_program('A year', 'blank', 'USD', 'America/New_York')::text, true) AS program \gset
SELECT setseed(coalesce(nullif(current_setting('prm_test.seed', true), ''), '0.2026')::float8) IS NOT NULL AS seeded;
UPDATE prm.program SET rounding = 'half_even', fiscal_year_start = 4 WHERE program_id = :program;

INSERT INTO prm.legal_entity (legal_entity, label) VALUES ('us', 'US');
INSERT INTO prm.earning_kind (kind, label) SELECT k, k FROM unnest(ARRAY['booked','invoiced','sell_out','collected','refunded']) k ON CONFLICT DO NOTHING;
INSERT INTO prm.partner (name) SELECT 'P' || i FROM generate_series(1, 7) i;
UPDATE prm.partner p SET parent_id = (SELECT q.partner_id FROM prm.partner q WHERE q.program_id = p.program_id AND q.name = 'P1') WHERE p.program_id = :program AND p.name IN ('P2', 'P3');
INSERT INTO prm.customer (name) SELECT 'C' || i FROM generate_series(1, 5) i;
INSERT INTO prm.tax_rule (tax_rule, label, vat_rate, withholding_rate) VALUES ('full', 'VAT and withholding', 0.19, 0.05);
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2024-01-01', 1.1), ('EUR', 'USD', '2025-06-01', 1.07);
INSERT INTO prm.commission_plan (name, earn_on, pay_on, hold_days, clawback_days, currency, includes_vat) VALUES
  ('base', 'booked', 'earned', 0, NULL, 'USD', false), ('later', 'invoiced', 'earned', 20, 60, 'USD', false), ('paid', 'sell_out', 'collected', 5, NULL, 'USD', true);
INSERT INTO prm.commission_rule (plan_id, component, schedule, level, override_mode, accumulate, window_kind, cap_amount, cap_window, min_amount, entry_kind, recurring_months)
  SELECT p.plan_id, r.component, r.schedule, r.level, r.mode, r.accumulate, r.window_kind, r.cap, r.cap_window, r.least, r.kind, r.months FROM prm.commission_plan p JOIN (VALUES
    ('base', 'plain', '7.5%', 0, NULL, 'transaction', NULL, NULL, NULL, NULL, 'commission', NULL::int),
    ('base', 'steps', 'marginal 0: 1%, 800: 2.5%, 2000: 4%', 0, NULL, 'cumulative', 'month', NULL, NULL, NULL, 'commission', NULL),
    ('base', 'capped', '5%', 0, NULL, 'transaction', NULL, 60, 'month', 2, 'bonus', NULL),
    ('base', 'fee', '0.5%', 0, NULL, 'transaction', NULL, NULL, NULL, NULL, 'fee', NULL),
    ('base', 'first', '3%', 0, NULL, 'transaction', NULL, NULL, NULL, NULL, 'commission', 2),
    ('later', 'sale', '8%', 0, NULL, 'transaction', NULL, NULL, NULL, NULL, 'commission', NULL),
    ('later', 'sale', '25%', 1, 'percent_of_below', 'transaction', NULL, NULL, NULL, NULL, 'commission', NULL),
    ('paid', 'sale', '6%', 0, NULL, 'transaction', NULL, NULL, NULL, NULL, 'commission', NULL)) r(plan, component, schedule, level, mode, accumulate, window_kind, cap, cap_window, least, kind, months) ON r.plan = p.name
  WHERE p.program_id = :program;
INSERT INTO prm.payee (partner_id, legal_name, currency, tax_rule) SELECT partner_id, name || ' Ltd', 'USD', CASE WHEN name IN ('P3', 'P5') THEN 'full' END FROM prm.partner WHERE program_id = :program AND name <> 'P7';
INSERT INTO prm.settlement_profile (payee_id, currency, period_kind, min_payout, debt_policy, write_off_days, auto_approve)
  SELECT y.payee_id, 'USD', v.kind, v.least, v.policy, v.days, v.auto FROM prm.payee y JOIN prm.partner p USING (program_id, partner_id)
  JOIN (VALUES ('P1', 'month', 0, 'net', NULL::int, true), ('P2', 'half_month', 40, 'block', NULL, true), ('P3', 'quarter', 0, 'write_off', 15, true), ('P4', 'month', 75, 'net', NULL, false)) AS v(name, kind, least, policy, days, auto) ON v.name = p.name
  WHERE y.program_id = :program;
UPDATE prm.settlement_profile SET pay_currency = 'EUR', convert_at = 'statement' WHERE program_id = :program AND min_payout = 75;
INSERT INTO prm.payout_fee_rule (currency, rate, hard_rate, waiver, borne_by) VALUES ('USD', 0.02, 0.001, 200, 'payee');
INSERT INTO prm.partner_payee (partner_id, payee_id, valid) SELECT p.partner_id, y.payee_id, '[2025-04-01,2025-08-01)' FROM prm.partner p, prm.payee y JOIN prm.partner q USING (program_id, partner_id)
  WHERE p.program_id = :program AND p.name = 'P5' AND y.program_id = :program AND q.name = 'P1';
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) SELECT partner_id, 'USD', 60, '[2025-02-01,2025-10-01)' FROM prm.partner WHERE program_id = :program AND name = 'P6';
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES ('fast', 'Fast', 'velocity', '{"events": 100000, "within": "1 hour"}');

INSERT INTO prm.commission_plan (name, earn_on, currency, clawback_days) VALUES ('more', 'invoiced', 'USD', NULL), ('euro', 'booked', 'EUR', 90);
INSERT INTO prm.quota (partner_id, measure, window_kind, amount, valid) SELECT partner_id, 'amount', 'quarter', 900, '[2025-01-01,2026-01-01)' FROM prm.partner WHERE program_id = :program;
INSERT INTO prm.commission_rule (plan_id, component, schedule, level, through_level, override_mode, accumulate, window_kind, measure, cap_amount, cap_scope, cap_window, min_amount, entry_kind)
  SELECT p.plan_id, r.component, r.schedule, r.level, r.through, r.mode, r.accumulate, r.window_kind, r.measure, r.cap, r.scope, r.cap_window, r.least, r.kind FROM prm.commission_plan p JOIN (VALUES
    ('more', 'quota', 'slab 0: 0.2%, 0.5: 0.7%, 1: 1.1%', 0, NULL::int, NULL, 'cumulative', 'quarter', 'attainment', NULL::numeric, NULL, NULL, NULL::numeric, 'commission'),
    ('more', 'look', 'slab 0: 0.5%, 500: 1.5%', 0, NULL, NULL, 'lookup', 'month', NULL, NULL, NULL, NULL, NULL, 'commission'),
    ('more', 'pool', '2%', 0, NULL, NULL, 'transaction', NULL, NULL, 30, 'plan', 'month', NULL, 'bonus'),
    ('more', 'cust', '1%', 0, NULL, NULL, 'transaction', NULL, NULL, 15, 'customer', 'quarter', 0.5, 'commission'),
    ('more', 'diff', '2%', 0, NULL, NULL, 'transaction', NULL, NULL, NULL, NULL, NULL, NULL, 'commission'),
    ('more', 'diff', '3.5%', 1, 2, 'differential', 'transaction', NULL, NULL, NULL, NULL, NULL, NULL, 'commission'),
    ('euro', 'steps', 'marginal 0: 1%, 300: 3%', 0, NULL, NULL, 'cumulative', 'month', NULL, 25, 'partner', 'month', NULL, 'commission'),
    ('euro', 'royalty', '0.7%', 0, NULL, NULL, 'cumulative', 'quarter', NULL, 20, 'partner', 'quarter', NULL, 'royalty')) r(plan, component, schedule, level, through, mode, accumulate, window_kind, measure, cap, scope, cap_window, least, kind) ON r.plan = p.name
  WHERE p.program_id = :program;
INSERT INTO prm.mdf_fund (name, partner_id, currency, granted, is_renewed, accrual_basis, accrual_rate, accrual_kind, carry_over, year_start, limit_amount) SELECT 'F', NULL, 'USD', 300, true, 'this_year', 0.02, 'booked', 'all', '2024-07-01', 500;

CREATE TEMP TABLE year_step (n serial, what text NOT NULL, at timestamptz NOT NULL, refused text);
CREATE TEMP TABLE known (at timestamptz, n integer, sum text);
CREATE FUNCTION pg_temp.pick(the_name text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$ SELECT partner_id FROM prm.partner WHERE program_id = prm.current_program() AND (the_name IS NULL OR name = the_name) ORDER BY random() LIMIT 1 $$;
CREATE FUNCTION pg_temp.step(the_now timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE roll float8 := random(); a float8 := random(); b float8 := random(); c float8 := random(); d float8 := random(); one record; what text;
BEGIN
  IF random() < 0.08 THEN
    CASE floor(a * 8)::int
      WHEN 0 THEN PERFORM prm.request_mdf((SELECT fund_id FROM prm.mdf_fund WHERE program_id = prm.current_program()), 'c', round((b * 300 + 1)::numeric, 2), daterange((the_now::date), (the_now::date + 20)), pg_temp.pick()); RETURN 'mdf request';
      WHEN 1 THEN SELECT request_id INTO one FROM prm.mdf_request WHERE program_id = prm.current_program() AND state = 'requested' ORDER BY random() LIMIT 1;
        IF (SELECT available FROM prm.mdf_budget() LIMIT 1) > 1 AND one.request_id IS NOT NULL THEN PERFORM prm.approve_mdf(one.request_id); END IF; RETURN 'mdf approve';
      WHEN 2 THEN SELECT request_id, expense INTO one FROM prm.mdf_request WHERE program_id = prm.current_program() AND state = 'approved' ORDER BY random() LIMIT 1;
        PERFORM prm.claim_mdf(one.request_id, round(one.expense * (0.5 + b)::numeric, 2), '{"f": "x"}') WHERE one.request_id IS NOT NULL; RETURN 'mdf claim';
      WHEN 3 THEN SELECT request_id INTO one FROM prm.mdf_request WHERE program_id = prm.current_program() AND state = 'claimed' ORDER BY random() LIMIT 1;
        PERFORM prm.reimburse_mdf(one.request_id) WHERE one.request_id IS NOT NULL; RETURN 'mdf pay';
      WHEN 4 THEN PERFORM prm._work_mdf(prm.current_program(), 100), prm._work_risks(prm.current_program(), 100), prm._work_risk_review(prm.current_program()); RETURN 'jobs';
      WHEN 5 THEN
        INSERT INTO prm.sales_credit (earning_event_id, credit_type, partner_id, weight, revision)
          SELECT e.earning_event_id, 'sourced', x.partner_id, x.weight, e.revision + 1 FROM (
            SELECT v.earning_event_id, greatest((SELECT max(s.revision) FROM prm.sales_credit s WHERE s.program_id = v.program_id AND s.earning_event_id = v.earning_event_id), 0) AS revision
            FROM prm.earning_event v WHERE v.program_id = prm.current_program() AND v.kind IN ('booked', 'invoiced', 'sell_out') ORDER BY random() LIMIT 1) e
          CROSS JOIN LATERAL (SELECT p.partner_id, CASE WHEN b < 0.4 THEN 100 WHEN row_number() OVER () = 1 THEN 60 ELSE 40 END AS weight FROM (SELECT partner_id FROM prm.partner WHERE program_id = prm.current_program() ORDER BY random() LIMIT CASE WHEN b < 0.4 THEN 1 ELSE 2 END) p) x;
        RETURN 'credit';
      WHEN 6 THEN
        PERFORM prm.cancel_event(e.earning_event_id, 'random') FROM (SELECT v.earning_event_id FROM prm.earning_event v LEFT JOIN prm.refund_total t USING (program_id, earning_event_id)
          WHERE v.program_id = prm.current_program() AND v.kind IN ('booked', 'invoiced', 'sell_out') AND coalesce(t.refunded, 0) < v.amount ORDER BY random() LIMIT 1) e; RETURN 'cancel event';
      ELSE
        UPDATE prm.partner SET parent_id = CASE WHEN b < 0.5 THEN pg_temp.pick('P1') END WHERE program_id = prm.current_program() AND partner_id = (SELECT partner_id FROM prm.partner WHERE program_id = prm.current_program() AND name IN ('P2', 'P3', 'P4') ORDER BY random() LIMIT 1);
        RETURN 'parent';
    END CASE;
  END IF;
  IF roll < 0.40 THEN
    INSERT INTO prm.earning_event (kind, partner_id, customer_id, amount, currency, legal_entity, occurred_at)
      SELECT (ARRAY['booked','booked','invoiced','sell_out'])[1 + floor(a * 4)::int], pg_temp.pick(), (SELECT customer_id FROM prm.customer WHERE program_id = prm.current_program() ORDER BY random() LIMIT 1),
        round((b * b * 1200 + 1)::numeric, 2), CASE WHEN c < 0.15 THEN 'EUR' ELSE 'USD' END, CASE WHEN d < 0.3 THEN 'us' END, greatest(the_now - CASE WHEN random() < 0.1 THEN interval '20 days' ELSE interval '0' END, '2025-01-01 05:00Z');
    RETURN 'sale';
  ELSIF roll < 0.58 THEN
    INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
      SELECT 'refunded', e.earning_event_id, -CASE WHEN a < 0.5 THEN e.amount - r.done ELSE round((e.amount - r.done) / 3, 2) END, e.currency, greatest(e.occurred_at, the_now)
      FROM prm.earning_event e CROSS JOIN LATERAL (SELECT coalesce(-sum(i.amount), 0) AS done FROM prm.earning_event i WHERE i.program_id = e.program_id AND i.applies_to_id = e.earning_event_id AND i.kind = 'refunded') r
      WHERE e.program_id = prm.current_program() AND e.kind IN ('booked', 'invoiced', 'sell_out', 'collected') AND e.amount - r.done > 0.05 ORDER BY random() LIMIT 1;
    RETURN 'refund';
  ELSIF roll < 0.66 THEN
    INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
      SELECT 'collected', e.earning_event_id, round(e.amount / (1 + floor(a * 3)::integer), 2), e.currency, greatest(e.occurred_at, the_now)
      FROM prm.earning_event e WHERE e.program_id = prm.current_program() AND e.kind = 'sell_out'
        AND 2 > (SELECT count(*) FROM prm.earning_event c WHERE c.program_id = e.program_id AND c.applies_to_id = e.earning_event_id AND c.kind = 'collected') ORDER BY random() LIMIT 1;
    RETURN 'collect';
  ELSIF roll < 0.69 THEN
    PERFORM prm.post_adjustment(pg_temp.pick(), round((b * 80 - 50)::numeric, 2), 'USD', 'random'); RETURN 'adjust';
  ELSIF roll < 0.71 THEN
    PERFORM prm.receive_payment(pg_temp.pick(), round((a * 30 + 1)::numeric, 2), 'USD', 'ref ' || random()); RETURN 'receive';
  ELSIF roll < 0.72 THEN
    PERFORM prm.force_payout(pg_temp.pick(), 'random'); RETURN 'force';
  ELSIF roll < 0.75 THEN
    SELECT o.entry_id INTO one FROM prm.ledger_open o WHERE o.program_id = prm.current_program()
      AND NOT EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = o.program_id AND h.entry_id = o.entry_id) ORDER BY random() LIMIT 1;
    PERFORM prm.dispute(one.entry_id, 'random') WHERE one.entry_id IS NOT NULL; RETURN 'dispute open';
  ELSIF roll < 0.77 THEN
    SELECT l.entry_id INTO one FROM prm.statement_line l JOIN prm.statement s USING (program_id, statement_id) WHERE l.program_id = prm.current_program() AND s.state IN ('settled', 'approved')
      AND NOT EXISTS (SELECT 1 FROM prm._standing_hold h WHERE h.program_id = l.program_id AND h.entry_id = l.entry_id)
      AND NOT EXISTS (SELECT 1 FROM prm.payout_statement h WHERE h.program_id = l.program_id AND h.statement_id = l.statement_id AND h.released_at IS NULL) ORDER BY random() LIMIT 1;
    PERFORM prm.dispute(one.entry_id, 'random') WHERE one.entry_id IS NOT NULL; RETURN 'dispute settled';
  ELSIF roll < 0.80 THEN
    SELECT d.entry_id INTO one FROM prm.v_dispute d WHERE d.program_id = prm.current_program() AND d.state = 'open' ORDER BY random() LIMIT 1;
    PERFORM prm.resolve_dispute(one.entry_id, 'rejected', 'random') WHERE one.entry_id IS NOT NULL; RETURN 'resolve';
  ELSIF roll < 0.84 THEN
    PERFORM prm.write_off_debts();
    PERFORM prm.close_period((the_now AT TIME ZONE 'America/New_York')::date); RETURN 'close';
  ELSIF roll < 0.87 THEN
    UPDATE prm.statement SET state = 'approved' WHERE program_id = prm.current_program() AND state = 'settled' AND random() < 0.7; RETURN 'approve';
  ELSIF roll < 0.89 THEN
    SELECT s.statement_id INTO one FROM prm.statement s WHERE s.program_id = prm.current_program() AND s.state IN ('settled', 'approved')
      AND NOT EXISTS (SELECT 1 FROM prm.payout_statement c WHERE c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM prm.billing_document_statement c WHERE c.program_id = s.program_id AND c.statement_id = s.statement_id AND c.released_at IS NULL) ORDER BY random() LIMIT 1;
    PERFORM prm.cancel_statement(one.statement_id, 'random') WHERE one.statement_id IS NOT NULL; RETURN 'cancel';
  ELSIF roll < 0.905 THEN
    PERFORM prm.create_documents(); RETURN 'document';
  ELSIF roll < 0.915 THEN
    SELECT d.document_id INTO one FROM prm.billing_document d WHERE d.program_id = prm.current_program() AND d.cancelled_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM prm.billing_document_statement b JOIN prm.payout_statement c ON c.program_id = b.program_id AND c.statement_id = b.statement_id AND c.released_at IS NULL
        WHERE b.program_id = d.program_id AND b.document_id = d.document_id AND b.released_at IS NULL) ORDER BY random() LIMIT 1;
    PERFORM prm.cancel_document(one.document_id, 'random') WHERE one.document_id IS NOT NULL; RETURN 'undocument';
  ELSIF roll < 0.94 THEN
    PERFORM prm.create_payouts(); RETURN 'pay';
  ELSIF roll < 0.965 THEN
    SELECT p.payout_id, p.state INTO one FROM prm.payout p WHERE p.program_id = prm.current_program() AND p.state = 'pending' ORDER BY random() LIMIT 1;
    PERFORM prm.settle_payout(one.payout_id, CASE WHEN a < 0.8 THEN 'paid' ELSE 'failed' END) WHERE one.payout_id IS NOT NULL; RETURN 'settle';
  ELSIF roll < 0.975 THEN
    SELECT p.payout_id, p.state INTO one FROM prm.payout p WHERE p.program_id = prm.current_program() AND p.state IN ('failed', 'paid') AND p.amount > 0 ORDER BY random() LIMIT 1;
    PERFORM prm.settle_payout(one.payout_id, CASE one.state WHEN 'paid' THEN 'failed' ELSE 'reissued' END) WHERE one.payout_id IS NOT NULL; RETURN 'again ' || coalesce(one.state, '');
  ELSIF roll < 0.985 THEN
    SELECT h.hold_id INTO one FROM prm._standing_hold h WHERE h.program_id = prm.current_program() AND h.kind = 'manual' ORDER BY random() LIMIT 1;
    IF one.hold_id IS NOT NULL THEN PERFORM prm.release_hold(one.hold_id, 'random'); ELSE PERFORM prm.hold_partner(pg_temp.pick(), 'random'); END IF; RETURN 'hold';
  ELSE
    SELECT r.risk_event_id, r.state INTO one FROM prm.risk_event r WHERE r.program_id = prm.current_program() AND r.state IN ('open', 'banned') ORDER BY random() LIMIT 1;
    IF one.risk_event_id IS NULL THEN INSERT INTO prm.risk_event (risk_rule, partner_id, evidence) VALUES ('fast', pg_temp.pick(), '[]'); RETURN 'risk';
    ELSE PERFORM prm.resolve_risk(one.risk_event_id, CASE WHEN one.state = 'open' AND a < 0.6 THEN 'banned' ELSE 'benign' END, 'random'); RETURN 'resolve risk'; END IF;
  END IF;
END $$;

-- What is wrong after a step; NULL: nothing.
CREATE FUNCTION pg_temp.unsound(the_whole boolean) RETURNS text LANGUAGE sql AS $$
  SELECT nullif(concat_ws('; ',
    CASE WHEN the_whole THEN (SELECT string_agg(format('%s %s: %s', v.rule, v.entry_id, v.detail), '; ') FROM prm.audit_ledger() v)
      ELSE (SELECT string_agg(format('%s %s: %s', v.rule, v.entry_id, v.detail), '; ') FROM prm._audit_settlement(prm.current_program()) v) END,
    (SELECT string_agg(format('%s has a balance of %s, the ledger %s %s', p.name, b.sum, coalesce(l.amount, 0), b.currency), '; ')
     FROM prm.partner p CROSS JOIN LATERAL (SELECT i.currency, i.pending + i.held + i.eligible + i.on_statement + i.paid - i.debt AS sum FROM prm.partner_balance(p.partner_id) i) b
     LEFT JOIN (SELECT i.partner_id, i.currency, sum(i.amount) AS amount FROM prm.ledger i
       WHERE i.program_id = prm.current_program() AND (i.kind NOT IN ('payout', 'payout_fee') OR i.component = 'received') GROUP BY 1, 2) l ON l.partner_id = p.partner_id AND l.currency = b.currency
     WHERE p.program_id = prm.current_program() AND b.sum <> coalesce(l.amount, 0)),
    (SELECT string_agg(format('statement %s is disputed, by nobody', s.statement_id), '; ') FROM prm.statement s
     WHERE s.program_id = prm.current_program() AND s.state = 'disputed' AND NOT EXISTS (SELECT 1 FROM prm.statement_line l
       JOIN prm._standing_hold h ON h.program_id = l.program_id AND h.entry_id = l.entry_id AND h.kind = 'dispute' WHERE l.program_id = s.program_id AND l.statement_id = s.statement_id)),
    (SELECT string_agg(format('payout %s pays a disputed statement', c.payout_id), '; ') FROM prm.payout_statement c JOIN prm.statement s USING (program_id, statement_id)
     WHERE c.program_id = prm.current_program() AND c.released_at IS NULL AND s.state = 'disputed')), '') $$;

CREATE FUNCTION pg_temp.year(the_steps integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  the_now timestamptz := '2025-01-02 12:00-05';
  the_what text;
  the_fault text;
  the_moment timestamptz;
BEGIN
  FOR n IN 1 .. the_steps LOOP
    the_now := the_now + (365 * 24 * 2 * random() / the_steps) * interval '1 hour';
    PERFORM set_config('prm.clock', the_now::text, true);
    the_fault := NULL;
    BEGIN
      the_what := pg_temp.step(the_now);
    EXCEPTION WHEN SQLSTATE '55000' THEN
      -- What cannot be done at this moment is refused, and leaves nothing behind.
      GET STACKED DIAGNOSTICS the_fault = MESSAGE_TEXT;
      the_what := 'refused';
    END;
    INSERT INTO year_step (what, at, refused) VALUES (the_what, the_now, the_fault);
    the_fault := pg_temp.unsound(n % 8 = 0);
    IF the_fault IS NOT NULL THEN
      RETURN format('step %s, %s at %s: %s', n, the_what, the_now, the_fault);
    END IF;
    IF n % 8 = 0 THEN
      the_moment := clock_timestamp();
      INSERT INTO known SELECT the_moment, n, md5(string_agg(k::text, '/' ORDER BY k.entry_id)) FROM prm.ledger_as_of(the_moment) k;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;
SELECT is(pg_temp.year(coalesce(nullif(current_setting('prm_test.steps', true), '')::integer, 120)), NULL, 'every step of the year leaves the books sound');
SELECT cmp_ok((SELECT count(*) FROM prm.ledger WHERE program_id = :program), '>', 100::bigint, 'there was something to do');
SELECT cmp_ok((SELECT count(*) FROM prm.statement WHERE program_id = :program), '>', 5::bigint, 'statements, too');
SELECT cmp_ok((SELECT count(DISTINCT what) FROM year_step WHERE refused IS NULL), '>', 12::bigint, 'of many kinds');
SELECT cmp_ok((SELECT count(*) FROM year_step WHERE refused IS NOT NULL), '<', 15::bigint, 'and little was refused');
SELECT is((SELECT string_agg(format('step %s', k.n), ', ' ORDER BY k.n) FROM known k
  WHERE k.sum IS DISTINCT FROM (SELECT md5(string_agg(o::text, '/' ORDER BY o.entry_id)) FROM prm.ledger_as_of(k.at) o)), NULL, 'ledger_as_of() says of each moment what was known then');
SELECT is_empty($$SELECT * FROM prm.recalculate('2024-01-01', '2026-12-31')$$, 'computing the year again finds nothing');
SELECT is(pg_temp.unsound(true), NULL, 'and leaves it sound');
-- Facts are corrected afterwards.
INSERT INTO prm.exchange_rate (from_currency, to_currency, valid_from, rate) VALUES ('EUR', 'USD', '2025-03-01', 1.2);
UPDATE prm.partner_history SET parent_id = pg_temp.pick('P1') WHERE program_id = :program AND partner_id = pg_temp.pick('P4');
SELECT cmp_ok((SELECT count(*) FROM prm.recalculate('2024-01-01', '2026-12-31')), '>', 0::bigint, 'with other facts it finds differences');
SELECT is_empty($$SELECT * FROM prm.recalculate('2024-01-01', '2026-12-31')$$, 'once');
SELECT is(pg_temp.unsound(true), NULL, 'which leave it sound');
-- The end: what is disputed is decided, all periods are closed, and all is paid.
SET LOCAL prm.clock = '2026-04-02 12:00+00';
SELECT count(prm.resolve_dispute(d.entry_id, 'upheld', 'at the end')) AS resolved FROM prm.v_dispute d WHERE d.program_id = :program AND d.state = 'open' \gset
SELECT count(prm.release_hold(h.hold_id, 'at the end')) AS released FROM prm._standing_hold h WHERE h.program_id = :program AND h.kind = 'manual' \gset
SELECT count(c.outcome) AS closed FROM prm.close_period('2026-03-31') c \gset
UPDATE prm.statement SET state = 'approved' WHERE program_id = :program AND state = 'settled';
SELECT count(p.outcome) AS made FROM prm.create_payouts() p \gset
SELECT count(prm.settle_payout(p.payout_id, 'paid')) AS settled FROM prm.payout p WHERE p.program_id = :program AND p.state = 'pending' \gset
SELECT is(pg_temp.unsound(true), NULL, 'closed and paid it is sound');
SELECT is((SELECT string_agg(statement_id::text, ',') FROM prm.statement s WHERE program_id = :program AND state IN ('approved', 'invoiced') AND total > 0
  AND NOT EXISTS (SELECT 1 FROM prm.statement d WHERE d.program_id = s.program_id AND d.payee_id = s.payee_id AND d.currency = s.currency AND d.state NOT IN ('paid', 'carried', 'cancelled') AND d.total < 0)
  AND NOT EXISTS (SELECT 1 FROM prm.settlement_profile f WHERE f.program_id = s.program_id AND f.payee_id = s.payee_id AND f.min_payout > 0)), NULL, 'nothing waits that could be paid');
SELECT is((SELECT string_agg(statement_id::text, ',') FROM prm.statement s WHERE program_id = :program
  AND total IS DISTINCT FROM (SELECT running_total FROM prm.my_statement(s.statement_id) ORDER BY line_no DESC LIMIT 1)), NULL, 'every statement is reproduced to the cent');
SELECT is_empty(format($$SELECT entry_id FROM prm.ledger WHERE program_id = %1$s AND (kind NOT IN ('payout', 'payout_fee') OR component = 'received') AND NOT (kind = 'carry' AND component = 'closed')
  EXCEPT ALL (SELECT entry_id FROM prm.ledger_open WHERE program_id = %1$s UNION SELECT entry_id FROM prm.statement_line WHERE program_id = %1$s)$$, :program), 'every entry is on a statement or open');
SELECT is((SELECT string_agg(format('step %s', k.n), ', ' ORDER BY k.n) FROM known k
  WHERE k.sum IS DISTINCT FROM (SELECT md5(string_agg(o::text, '/' ORDER BY o.entry_id)) FROM prm.ledger_as_of(k.at) o)), NULL, 'and of the past the same is known as before');
SELECT * FROM finish();
ROLLBACK;
