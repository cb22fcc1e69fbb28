-- Three random years of funds: whatever is sold, refunded, asked, approved, claimed, rejected and forgotten in whatever order, a fund
-- never commits more than it has, its entries are what its requests say, and nothing is posted twice.
BEGIN;
\ir settlement.psql
SELECT setseed(0.42) IS NULL AS seeded;
SELECT pg_temp.program('Random funds') AS program \gset
SELECT pg_temp.at('2024-01-01 12:00+00');
SELECT pg_temp.partner('Partner ' || n) IS NOT NULL AS made FROM generate_series(1, 6) n;
INSERT INTO prm.mdf_fund (name, partner_id, granted, is_renewed, accrual_rate, accrual_basis, limit_amount, share, claim_days, carry_over, carry_share, carry_cap)
  SELECT 'Fund ' || row_number() OVER (), p.partner_id, 100 * floor(random() * 20), random() < 0.5, CASE b.basis WHEN 'none' THEN 0 ELSE 0.03 END, b.basis, CASE WHEN random() < 0.5 THEN 2500 END, 0.25 + 0.25 * floor(random() * 4), 30,
    c.carry, CASE c.carry WHEN 'share' THEN 0.4 END, CASE WHEN c.carry <> 'none' AND random() < 0.5 THEN 300 END
  FROM (VALUES ('none'), ('this_year'), ('last_year'), ('growth')) AS b(basis) CROSS JOIN (VALUES ('none'), ('all'), ('share')) AS c(carry)
  LEFT JOIN LATERAL (SELECT i.partner_id FROM prm.partner i WHERE i.program_id = :program AND b.basis <> 'none' ORDER BY random() LIMIT 1) p ON true;

CREATE FUNCTION pg_temp.live(the_program bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_day date := '2024-01-01'; the_fund record; the_request record; the_dice double precision; the_over bigint := 0; the_failed bigint := 0; the_doubles bigint := 0;
BEGIN
  WHILE the_day < '2027-02-01' LOOP
    PERFORM set_config('prm.clock', the_day + time '12:00' || '+00', true);
    the_dice := random();
    IF the_dice < 0.35 THEN
      -- Some sales are told late.
      INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at)
        SELECT 'sell_in', p.partner_id, round((random() * 20000)::numeric, 2), CASE WHEN random() < 0.9 THEN 'USD' ELSE 'EUR' END, (the_day - (random() * 40)::integer)::timestamp AT TIME ZONE 'UTC'
        FROM prm.partner p WHERE p.program_id = the_program ORDER BY random() LIMIT 2;
    ELSIF the_dice < 0.45 THEN
      INSERT INTO prm.earning_event (kind, applies_to_id, amount, currency, occurred_at)
        SELECT 'refunded', e.earning_event_id, -round(e.amount * random()::numeric, 2), e.currency, prm.now() FROM prm.earning_event e
        WHERE e.program_id = the_program AND e.kind = 'sell_in' AND NOT EXISTS (SELECT 1 FROM prm.earning_event r WHERE r.program_id = the_program AND r.applies_to_id = e.earning_event_id) ORDER BY random() LIMIT 1;
    ELSE
      SELECT f.fund_id, f.partner_id INTO the_fund FROM prm.mdf_fund f WHERE f.program_id = the_program ORDER BY random() LIMIT 1;
      PERFORM prm.request_mdf(the_fund.fund_id, 'Campaign', round((10 + random() * 3000)::numeric, 2), daterange(the_day, the_day + 1 + (random() * 60)::integer),
        coalesce(the_fund.partner_id, (SELECT min(p.partner_id) FROM prm.partner p WHERE p.program_id = the_program)));
    END IF;
    FOR the_request IN SELECT r.request_id, r.state, r.expense, r.claim_until FROM prm.mdf_request r WHERE r.program_id = the_program AND r.state IN ('requested', 'approved', 'claimed') AND random() < 0.3 ORDER BY r.request_id LOOP
      BEGIN
        CASE the_request.state
          WHEN 'requested' THEN
            IF random() < 0.8 THEN PERFORM prm.approve_mdf(the_request.request_id, CASE WHEN random() < 0.3 THEN round((random() * 2000)::numeric, 2) END); ELSE PERFORM prm.reject_mdf(the_request.request_id, 'no'); END IF;
          WHEN 'approved' THEN
            IF random() < 0.3 THEN PERFORM prm.claim_mdf(the_request.request_id, round((the_request.expense * (0.2 + random())::numeric), 2), '{"invoice": 1}'); END IF;
          ELSE
            IF random() < 0.9 THEN PERFORM prm.reimburse_mdf(the_request.request_id); ELSE PERFORM prm.reject_mdf(the_request.request_id, 'no'); END IF;
        END CASE;
      EXCEPTION WHEN check_violation OR object_not_in_prerequisite_state THEN
        the_failed := the_failed + 1;
      END;
    END LOOP;
    IF random() < 0.3 THEN
      PERFORM prm._work_mdf(the_program, 100);
    END IF;
    -- What is committed beyond what there is comes from refunds only, so never in funds without accruals.
    the_over := the_over + (SELECT count(*) FROM prm._mdf_balance(the_program, NULL, the_day, NULL, false) b JOIN prm.mdf_fund f USING (fund_id) WHERE f.program_id = the_program AND f.accrual_basis = 'none' AND b.available < 0);
    the_day := the_day + 2 + (random() * 7)::integer;
  END LOOP;
  PERFORM prm.post_mdf();
  SELECT count(*) INTO the_doubles FROM prm.post_mdf();
  RETURN format('over %s doubles %s refused %s', the_over, the_doubles, CASE WHEN the_failed > 0 THEN 'some' ELSE 'none' END);
END $$;
SELECT is(pg_temp.live(:program), 'over 0 doubles 0 refused some', 'a fund never commits more than it has, and posts once');
SELECT cmp_ok((SELECT count(*) FROM prm.mdf_request WHERE program_id = :program AND state = 'reimbursed'), '>', 10::bigint, 'many were paid');
SELECT cmp_ok((SELECT count(DISTINCT state) FROM prm.mdf_request WHERE program_id = :program AND state IN ('expired', 'rejected', 'rejected_late', 'reimbursed')), '>=', 3::bigint, 'and others were not');
SELECT is((SELECT string_agg(detail, ', ') FROM prm._audit_mdf(:program)), NULL, 'entries, requests and ledger agree');
SELECT is((SELECT string_agg(rule || ' ' || detail, ', ') FROM prm.audit_ledger() WHERE rule <> 'event'), NULL, 'so does the ledger');
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program AND kind = 'mdf'), (SELECT -sum(amount) FROM prm.mdf_entry WHERE program_id = :program AND kind = 'reimbursement'), 'what was spent is what the ledger has');
SELECT is((SELECT count(*) FROM prm.v_mdf_balance WHERE program_id = :program AND granted + accrued + carried_in - committed - spent - carried_out - expired <> remaining), 0::bigint, 'every row of the view adds up');
SELECT is((SELECT count(*) FROM prm.v_mdf_balance WHERE program_id = :program AND granted + accrued + carried_in > limit_amount), 0::bigint, 'no year goes beyond its limit');
SELECT is((SELECT count(*) FROM prm.v_mdf_balance WHERE program_id = :program AND NOT is_current AND remaining > 0), 0::bigint, 'nothing is left in years that are over');
SELECT is((SELECT count(*) FROM prm.mdf_request r JOIN prm.mdf_claim c USING (program_id, request_id) WHERE r.program_id = :program AND r.state = 'reimbursed' AND r.paid > least(r.approved, prm.round_money(c.amount * r.share, 'USD'))), 0::bigint, 'nobody is paid more than approval and share');
SELECT is((SELECT count(*) FROM prm.mdf_request r CROSS JOIN LATERAL prm.explain_mdf(r.request_id) x WHERE r.program_id = :program AND r.state = 'reimbursed' AND x.subject = 'result' AND x.amount <> r.paid), 0::bigint, 'what is explained is what was paid');
SELECT is((SELECT count(*) FROM prm.mdf_request r WHERE r.program_id = :program AND r.state IN ('reimbursed', 'expired', 'rejected_late')
  AND (SELECT count(*) FROM prm.explain_mdf(r.request_id) x WHERE x.binding) <> 1), 0::bigint, 'and names one limit');
SELECT * FROM finish();
ROLLBACK;
