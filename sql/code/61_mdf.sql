
-- Market development funds: a partner asks, the vendor commits, the partner claims what it spent, and the least of share,
-- approval and budget becomes a ledger entry, which goes on the next statement.

CREATE TYPE prm.mdf_budget AS (fund_id bigint, name text, partner_id bigint, currency text, granted numeric, accrued numeric, limit_amount numeric, budget numeric,
  committed numeric, paid numeric, available numeric, binding text);
COMMENT ON TYPE prm.mdf_budget IS 'What a fund holds: granted and accrued, at most limit_amount; less what is committed and paid. binding: limit or budget, whichever says what there is.';

CREATE FUNCTION prm.mdf_budget(fund_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.mdf_budget
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(mdf_budget.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_rounding text;
BEGIN
  SELECT p.rounding INTO the_rounding FROM prm.program p WHERE p.program_id = the_program;
  RETURN QUERY
  SELECT f.fund_id, f.name, f.partner_id, f.currency, f.granted, a.accrued, f.limit_amount, b.budget, r.committed, r.paid, b.budget - r.committed - r.paid,
    CASE WHEN f.limit_amount < f.granted + a.accrued THEN 'limit' ELSE 'budget' END
  FROM prm.mdf_fund f
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.amount) FILTER (WHERE e.this_year), 0) AS this_year, coalesce(sum(e.amount) FILTER (WHERE NOT e.this_year), 0) AS last_year
    FROM (SELECT i.amount, i.occurred_at >= f.year_start::timestamp AT TIME ZONE the_zone AS this_year FROM prm.earning_event i
      WHERE i.program_id = the_program AND f.accrual_basis <> 'none' AND (f.partner_id IS NULL OR i.partner_id = f.partner_id) AND i.kind = f.accrual_kind AND i.currency = f.currency
        AND i.occurred_at >= (f.year_start - interval '1 year') AT TIME ZONE the_zone AND i.occurred_at < (f.year_start + interval '1 year') AT TIME ZONE the_zone) e) s
  CROSS JOIN LATERAL (SELECT prm.round_money(f.accrual_rate * CASE f.accrual_basis WHEN 'this_year' THEN s.this_year WHEN 'last_year' THEN s.last_year
    WHEN 'growth' THEN greatest(s.this_year - s.last_year, 0) ELSE 0 END, f.currency, the_rounding) AS accrued) a
  CROSS JOIN LATERAL (SELECT least(f.granted + a.accrued, f.limit_amount) AS budget) b
  -- What is approved is committed until it is paid, rejected or expired.
  CROSS JOIN LATERAL (SELECT coalesce(sum(i.approved) FILTER (WHERE i.state IN ('approved', 'claimed')), 0) AS committed, coalesce(sum(i.paid) FILTER (WHERE i.state = 'reimbursed'), 0) AS paid
    FROM prm.mdf_request i WHERE i.program_id = the_program AND i.fund_id = f.fund_id) r
  WHERE f.program_id = the_program AND (mdf_budget.fund_id IS NULL OR f.fund_id = mdf_budget.fund_id)
  ORDER BY f.fund_id;
END
$prm$;
COMMENT ON FUNCTION prm.mdf_budget(bigint, bigint) IS
'What a fund (NULL: each) holds and has left. Accrual is a share of the partner''s events of a kind: of the fund''s year, the year before, or what the year is above the one before.';

CREATE FUNCTION prm._lock_fund(program_id bigint, request_id bigint, states text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  request prm.mdf_request;
BEGIN
  PERFORM prm._check_settler();
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = _lock_fund.program_id AND r.request_id = _lock_fund.request_id;
  IF request.request_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no fund request %s', coalesce(_lock_fund.request_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', _lock_fund.program_id), HINT = 'SELECT request_id, campaign, state FROM prm.mdf_request lists them.';
  END IF;
  -- Whoever decides changes the fund, so the next one waits and sees it, or fails with 40001.
  UPDATE prm.mdf_fund f SET decisions = f.decisions + 1 WHERE f.program_id = _lock_fund.program_id AND f.fund_id = request.fund_id;
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = _lock_fund.program_id AND r.request_id = _lock_fund.request_id FOR UPDATE;
  IF NOT request.state = ANY (_lock_fund.states) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s is %s', request.request_id, request.state),
      DETAIL = format('That is possible while it is %s.', array_to_string(_lock_fund.states, ' or ')),
      HINT = format('SELECT * FROM prm.state_history WHERE machine = ''mdf_request'' AND subject_id = %s shows how it came.', request.request_id), SCHEMA = 'prm', TABLE = 'mdf_request';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._lock_fund(bigint, bigint, text[]) IS 'Locks a request and its fund until the end of the transaction. Errors: 42704 unknown, 55000 in another state, 42501 not the owner.';

CREATE FUNCTION prm.request_mdf(fund_id bigint, campaign text, expense numeric, activity daterange, partner_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(request_mdf.program_id);
  the_partner bigint := coalesce(request_mdf.partner_id, prm._acting_partner(the_program));
  the_request bigint;
BEGIN
  IF the_partner IS NULL THEN
    SELECT f.partner_id INTO the_partner FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request_mdf.fund_id;
  END IF;
  IF the_partner IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a fund request is a partner''s', DETAIL = 'The fund is for everybody, and no partner acts or is given.',
      HINT = 'SELECT prm.request_mdf(fund_id, campaign, expense, activity, partner_id).';
  END IF;
  INSERT INTO prm.mdf_request (program_id, fund_id, partner_id, campaign, expense, activity)
    VALUES (the_program, request_mdf.fund_id, the_partner, request_mdf.campaign, request_mdf.expense, request_mdf.activity)
    RETURNING request_id INTO the_request;
  RETURN the_request;
END
$prm$;
COMMENT ON FUNCTION prm.request_mdf(bigint, text, numeric, daterange, bigint, bigint) IS
'Asks for money of a fund for a campaign: the expense that is planned, and the days of the activity. Returns the request. Errors: 22023 no partner, 23503 unknown fund, 23514 expense or days, 42501 a fund of another partner.';

CREATE FUNCTION prm.approve_mdf(request_id bigint, amount numeric DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(approve_mdf.program_id);
  request prm.mdf_request;
  budget prm.mdf_budget;
  fund prm.mdf_fund;
  the_amount numeric;
BEGIN
  PERFORM prm._lock_fund(the_program, approve_mdf.request_id, ARRAY['requested']);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = approve_mdf.request_id;
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request.fund_id;
  SELECT b.* INTO budget FROM prm.mdf_budget(request.fund_id, the_program) b;
  the_amount := coalesce(approve_mdf.amount, least(prm.round_money(request.expense * fund.share, fund.currency), budget.available));
  IF the_amount <= 0 OR the_amount > budget.available OR the_amount <> prm.round_money(the_amount, fund.currency) THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('%s %s cannot be approved', the_amount, fund.currency),
      DETAIL = format('Fund "%s" holds %s by its %s, of which %s is committed, %s paid and %s left.', fund.name, budget.budget, budget.binding, budget.committed, budget.paid, budget.available),
      HINT = 'Approve less, or wait until commitments are released.', SCHEMA = 'prm', TABLE = 'mdf_request', COLUMN = 'approved';
  END IF;
  UPDATE prm.mdf_request r SET state = 'approved', approved = the_amount, claim_until = upper(request.activity) - 1 + fund.claim_days,
      approved_limit = CASE WHEN approve_mdf.amount IS NOT NULL THEN 'approval' WHEN the_amount < prm.round_money(request.expense * fund.share, fund.currency) THEN budget.binding ELSE 'share' END
    WHERE r.program_id = the_program AND r.request_id = request.request_id;
  RETURN the_amount;
END
$prm$;
COMMENT ON FUNCTION prm.approve_mdf(bigint, numeric, bigint) IS
'Commits money of the fund to a request: the amount given, or the least of the fund''s share of the expense and what is left. Two approvals never commit the same money. Returns the amount. Errors: 23514 more than there is, 55000 not requested, 42704, 42501.';

CREATE FUNCTION prm.reject_mdf(request_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(reject_mdf.program_id);
  request prm.mdf_request;
BEGIN
  PERFORM prm._lock_fund(the_program, reject_mdf.request_id, ARRAY['requested', 'approved', 'claimed']);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = reject_mdf.request_id;
  RETURN prm.fire('mdf_request', request.request_id, 'reject', reject_mdf.reason, '{}', the_program);
END
$prm$;
COMMENT ON FUNCTION prm.reject_mdf(bigint, text, bigint) IS 'Rejects a request or its claim, with a reason; what was committed is free again. Errors: 23514 no reason, 55000 it is over, 42704, 42501.';

CREATE FUNCTION prm.claim_mdf(request_id bigint, amount numeric, evidence jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(claim_mdf.program_id);
  the_partner bigint;
BEGIN
  SELECT r.partner_id INTO the_partner FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = claim_mdf.request_id;
  IF the_partner IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no fund request %s', coalesce(claim_mdf.request_id::text, 'NULL')),
      DETAIL = 'None that you may see has this number.', HINT = 'SELECT request_id, campaign, state FROM prm.mdf_request lists them.';
  END IF;
  INSERT INTO prm.mdf_claim (program_id, request_id, partner_id, amount, evidence) VALUES (the_program, claim_mdf.request_id, the_partner, claim_mdf.amount, claim_mdf.evidence);
  RETURN (SELECT r.state FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = claim_mdf.request_id);
END
$prm$;
COMMENT ON FUNCTION prm.claim_mdf(bigint, numeric, jsonb, bigint) IS
'Claims what was spent, with evidence (a JSON object: files, invoice numbers ...). Returns the state of the request: claimed, or rejected_late after its claim_until, when the commitment is free again. Errors: 42704, 55000 not approved, 23514 amount or evidence.';

CREATE FUNCTION prm.reimburse_mdf(request_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(reimburse_mdf.program_id);
  request prm.mdf_request;
  budget prm.mdf_budget;
  fund prm.mdf_fund;
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_share numeric;
  the_left numeric;
  the_paid numeric;
  the_limit text;
  the_entry bigint;
BEGIN
  PERFORM prm._lock_fund(the_program, reimburse_mdf.request_id, ARRAY['claimed']);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = reimburse_mdf.request_id;
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request.fund_id;
  SELECT b.* INTO budget FROM prm.mdf_budget(request.fund_id, the_program) b;
  SELECT prm.round_money(c.amount * fund.share, fund.currency) INTO the_share FROM prm.mdf_claim c WHERE c.program_id = the_program AND c.request_id = request.request_id;
  -- What is left for this request: the fund less what is committed to others and paid.
  the_left := greatest(budget.available + request.approved, 0);
  the_paid := least(the_share, request.approved, the_left);
  the_limit := CASE the_paid WHEN the_share THEN 'share' WHEN request.approved THEN request.approved_limit ELSE budget.binding END;
  IF the_paid > 0 THEN
    INSERT INTO prm.ledger (program_id, partner_id, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
      VALUES (the_program, request.partner_id, 'mdf', 'reimbursement', the_paid, fund.currency, the_today, prm.now(), format('%s, by its %s', request.campaign, the_limit),
        concat_ws('/', 'mdf', request.request_id), jsonb_build_object('request', request.request_id, 'fund', fund.name, 'share', the_share, 'approved', request.approved, 'left', the_left, 'limit', the_limit))
      RETURNING entry_id INTO the_entry;
  END IF;
  UPDATE prm.mdf_request r SET state = 'reimbursed', paid = the_paid, paid_limit = the_limit, entry_id = the_entry WHERE r.program_id = the_program AND r.request_id = request.request_id;
  RETURN the_paid;
END
$prm$;
COMMENT ON FUNCTION prm.reimburse_mdf(bigint, bigint) IS
'Pays a claim: the least of the fund''s share of it, what was approved and what is left, as a ledger entry of kind mdf. paid_limit names what was binding: share, approval, budget or limit. Returns the amount. Errors: 55000 not claimed, 42704, 42501.';

CREATE FUNCTION prm._work_mdf(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_work_mdf.program_id))::date;
  the_count bigint;
BEGIN
  WITH due AS (
    SELECT r.request_id FROM prm.mdf_request r WHERE r.program_id = _work_mdf.program_id AND r.state = 'approved' AND r.claim_until < the_today
    ORDER BY r.claim_until, r.request_id LIMIT _work_mdf.batch FOR UPDATE SKIP LOCKED
  )
  UPDATE prm.mdf_request r SET state = 'expired' FROM due d WHERE r.program_id = _work_mdf.program_id AND r.request_id = d.request_id;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_mdf(bigint, integer) IS 'One batch of a job: approved requests whose days to claim are over expire, which returns what they committed. Returns how many.';
