
-- Market development funds: the way of a request. A partner asks, the vendor commits, the partner claims what it spent, and the
-- least of share, approval and what is left becomes a ledger entry, which goes on the next statement.

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
  PERFORM prm._post_mdf(_lock_fund.program_id, request.fund_id);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = _lock_fund.program_id AND r.request_id = _lock_fund.request_id FOR NO KEY UPDATE;
  IF NOT request.state = ANY (_lock_fund.states) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s is %s', request.request_id, request.state),
      DETAIL = format('That is possible while it is %s.', array_to_string(_lock_fund.states, ' or ')),
      HINT = format('SELECT * FROM prm.explain_mdf(%s) says how it stands.', request.request_id), SCHEMA = 'prm', TABLE = 'mdf_request';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._lock_fund(bigint, bigint, text[]) IS
'Locks a request and its fund until the end of the transaction, and posts what is due on the fund. Errors: 42704 unknown, 55000 in another state, 42501 not the owner.';

CREATE FUNCTION prm._mdf_share(program_id bigint, fund_id bigint, partner_id bigint) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  fund prm.mdf_fund;
  the_value text;
BEGIN
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = _mdf_share.program_id AND f.fund_id = _mdf_share.fund_id;
  IF fund.share_benefit IS NULL THEN
    RETURN fund.share;
  END IF;
  the_value := prm.entitlement(_mdf_share.partner_id, fund.share_benefit, _mdf_share.program_id);
  RETURN coalesce(prm._mdf_percent(the_value, fund.share_benefit, fund.name), fund.share);
END
$prm$;
COMMENT ON FUNCTION prm._mdf_share(bigint, bigint, bigint) IS
'The share of an expense that a fund pays a partner: the percentage that the fund''s share_benefit says for its tier, else the fund''s share. Errors: 22023 the benefit''s value is no percentage, 42704 there is no such benefit.';

CREATE FUNCTION prm.request_mdf(fund_id bigint, campaign text, expense numeric, activity daterange, partner_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(request_mdf.program_id);
  the_partner bigint := coalesce(request_mdf.partner_id, prm._acting_partner(the_program));
  the_request bigint;
BEGIN
  PERFORM prm._check_fund(the_program, request_mdf.fund_id);
  IF the_partner IS NULL THEN
    SELECT f.partner_id INTO the_partner FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request_mdf.fund_id;
  END IF;
  IF the_partner IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a fund request is a partner''s', DETAIL = 'The fund is for everybody, and no partner acts or is given.',
      HINT = 'SELECT prm.request_mdf(fund_id, campaign, expense, activity, partner_id).';
  END IF;
  PERFORM prm._partner_argument(the_program, the_partner);
  INSERT INTO prm.mdf_request (program_id, fund_id, partner_id, campaign, expense, activity)
    VALUES (the_program, request_mdf.fund_id, the_partner, request_mdf.campaign, request_mdf.expense, request_mdf.activity)
    RETURNING request_id INTO the_request;
  RETURN the_request;
END
$prm$;
COMMENT ON FUNCTION prm.request_mdf(bigint, text, numeric, daterange, bigint, bigint) IS
'Asks for money of a fund for a campaign: the expense that is planned, and the days of the activity. Returns the request. Errors: 22023 no partner, 42704 no such fund or partner that you may see, 23514 expense or days, 42501 a fund of another partner, or a request in another''s name.';

CREATE FUNCTION prm.approve_mdf(request_id bigint, amount numeric DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(approve_mdf.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  request prm.mdf_request;
  budget prm.mdf_budget;
  fund prm.mdf_fund;
  the_share numeric;
  the_part numeric;
  the_amount numeric;
  the_until date;
BEGIN
  PERFORM prm._lock_fund(the_program, approve_mdf.request_id, ARRAY['requested']);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = approve_mdf.request_id;
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request.fund_id;
  SELECT b.* INTO budget FROM prm._mdf_balance(the_program, request.fund_id, the_today, NULL, false) b;
  the_until := upper(request.activity) - 1 + fund.claim_days;
  IF the_until < the_today THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s comes too late', request.request_id),
      DETAIL = format('Its activity ended on %s, and it could be claimed until %s.', to_char(upper(request.activity) - 1, 'YYYY-MM-DD'), to_char(the_until, 'YYYY-MM-DD')),
      HINT = 'Reject it, or give the fund more claim_days.', SCHEMA = 'prm', TABLE = 'mdf_request', COLUMN = 'activity';
  END IF;
  the_share := prm._mdf_share(the_program, fund.fund_id, request.partner_id);
  the_part := prm.round_money(request.expense * the_share, fund.currency, prm._mdf_rounding(the_program));
  the_amount := coalesce(approve_mdf.amount, least(the_part, budget.available));
  IF the_amount <= 0 OR the_amount > budget.available OR the_amount <> prm.round_money(the_amount, fund.currency) THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('%s %s cannot be approved', the_amount, fund.currency),
      DETAIL = format('Fund "%s" holds %s by its %s, of which %s is committed, %s paid and %s left.', fund.name, budget.budget, budget.binding, budget.committed, budget.paid, budget.available),
      HINT = 'Approve less, or wait until commitments are released.', SCHEMA = 'prm', TABLE = 'mdf_request', COLUMN = 'approved';
  END IF;
  UPDATE prm.mdf_request r SET state = 'approved', share = the_share, approved = the_amount, claim_until = the_until,
      approved_limit = CASE WHEN approve_mdf.amount IS NOT NULL THEN 'approval' WHEN the_amount < the_part THEN budget.binding ELSE 'share' END
    WHERE r.program_id = the_program AND r.request_id = request.request_id;
  RETURN the_amount;
END
$prm$;
COMMENT ON FUNCTION prm.approve_mdf(bigint, numeric, bigint) IS
'Commits money of the fund to a request: the amount given, or the least of the share of the expense and what is left. The share is the one that the partner''s tier gives it now, where the fund says so. Two approvals never commit the same money. Returns the amount. Errors: 23514 more than there is, 55000 not requested, or its days to claim are over, 42704, 42501.';

CREATE FUNCTION prm.reject_mdf(request_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(reject_mdf.program_id);
BEGIN
  PERFORM prm._lock_fund(the_program, reject_mdf.request_id, ARRAY['requested', 'approved', 'claimed']);
  RETURN prm.fire('mdf_request', reject_mdf.request_id, 'reject', reject_mdf.reason, '{}', the_program);
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
'Claims what was spent, with evidence (a JSON object: files, invoice numbers ...; mdf_fund.evidence says what it must have). Returns the state of the request: claimed, or rejected_late after its claim_until, when the commitment is free again. Errors: 42704, 55000 not approved, 23514 amount or evidence, 23502 no amount.';

CREATE FUNCTION prm.reimburse_mdf(request_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(reimburse_mdf.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  request prm.mdf_request;
  fund prm.mdf_fund;
  due prm.mdf_due_payment;
  the_entry bigint;
BEGIN
  PERFORM prm._lock_fund(the_program, reimburse_mdf.request_id, ARRAY['claimed']);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = reimburse_mdf.request_id;
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request.fund_id;
  SELECT d.* INTO due FROM prm._mdf_payment(the_program, request.request_id) d;
  IF due.claimed IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s has no claim', request.request_id), DETAIL = 'What was spent is not known.',
      HINT = format('SELECT prm.claim_mdf(%s, amount, evidence).', request.request_id), SCHEMA = 'prm', TABLE = 'mdf_request';
  END IF;
  IF due.payable > 0 THEN
    INSERT INTO prm.ledger (program_id, partner_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
      VALUES (the_program, request.partner_id, fund.legal_entity, 'mdf', 'reimbursement', due.payable, fund.currency, the_today, prm.now(), format('%s, by its %s', request.campaign, due.binding),
        concat_ws('/', 'mdf', request.request_id), jsonb_build_object('request', request.request_id, 'fund', fund.name, 'claimed', due.claimed, 'share', due.by_share, 'approved', due.approved, 'left', due.left_for_it, 'limit', due.binding))
      RETURNING entry_id INTO the_entry;
  END IF;
  UPDATE prm.mdf_request r SET state = 'reimbursed', paid = due.payable, paid_limit = due.binding, entry_id = the_entry WHERE r.program_id = the_program AND r.request_id = request.request_id;
  RETURN due.payable;
END
$prm$;
COMMENT ON FUNCTION prm.reimburse_mdf(bigint, bigint) IS
'Pays a claim: the least of the share of it, what was approved and what is left, as a ledger entry of kind mdf. paid_limit names what was binding: share, approval, budget or limit. Returns the amount. Errors: 55000 not claimed, 42704, 42501.';

CREATE TYPE prm.mdf_due_payment AS (claimed numeric, by_share numeric, approved numeric, left_for_it numeric, payable numeric, binding text);
COMMENT ON TYPE prm.mdf_due_payment IS 'What a claim is worth: the share of it, the approval and what is left for it; the least of them is payable, binding names it.';

CREATE FUNCTION prm._mdf_payment(program_id bigint, request_id bigint) RETURNS SETOF prm.mdf_due_payment
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  -- What is left for a request: its own commitment, and, where less came in than was committed, that much less.
  SELECT c.amount, w.by_share, r.approved, w.left_for_it, w.payable,
    CASE w.payable WHEN w.by_share THEN 'share' WHEN r.approved THEN r.approved_limit ELSE b.binding END
  FROM prm.mdf_request r
  JOIN prm.mdf_fund f ON f.program_id = r.program_id AND f.fund_id = r.fund_id
  JOIN prm.mdf_claim c ON c.program_id = r.program_id AND c.request_id = r.request_id
  CROSS JOIN LATERAL (SELECT min(e.period) AS period FROM prm.mdf_entry e WHERE e.program_id = r.program_id AND e.request_id = r.request_id AND e.kind = 'commitment') y
  CROSS JOIN LATERAL prm._mdf_balance(r.program_id, r.fund_id, y.period, NULL, false) b
  CROSS JOIN LATERAL (SELECT p.by_share, p.left_for_it, least(p.by_share, r.approved, p.left_for_it) AS payable
    FROM (SELECT prm.round_money(c.amount * coalesce(r.share, f.share), f.currency, prm._mdf_rounding(r.program_id)) AS by_share, greatest(b.available + r.approved, 0) AS left_for_it) p) w
  WHERE r.program_id = _mdf_payment.program_id AND r.request_id = _mdf_payment.request_id
$prm$;
COMMENT ON FUNCTION prm._mdf_payment(bigint, bigint) IS 'What a claim is worth as things stand; no row where nothing is claimed.';

CREATE TYPE prm.mdf_explanation AS (step integer, subject text, amount numeric, currency text, binding boolean, reason text);
COMMENT ON TYPE prm.mdf_explanation IS
'A row of explain_mdf(): subject is request, claim or expense, then the limits (share, approval, remaining, limit, deadline, evidence), then result: what is paid, or would be. binding: the limit that decides.';

CREATE FUNCTION prm.explain_mdf(request_id bigint DEFAULT NULL, claim_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.mdf_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_mdf.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_id bigint := explain_mdf.request_id;
  request prm.mdf_request;
  fund prm.mdf_fund;
  claim prm.mdf_claim;
  budget prm.mdf_budget;
  the_share numeric;
  the_base numeric;
  the_part numeric;
  the_left numeric;
  the_result numeric;
  the_binding text;
  the_why text;
  the_until date;
  the_missing text;
  the_open boolean;
  the_known boolean;
BEGIN
  IF the_id IS NULL THEN
    SELECT c.request_id INTO the_id FROM prm.mdf_claim c WHERE c.program_id = the_program AND c.claim_id = explain_mdf.claim_id;
  END IF;
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = the_program AND r.request_id = the_id;
  SELECT c.* INTO claim FROM prm.mdf_claim c WHERE c.program_id = the_program AND c.request_id = the_id;
  IF request.request_id IS NULL OR explain_mdf.claim_id IS NOT NULL AND claim.claim_id IS DISTINCT FROM explain_mdf.claim_id THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no fund request %s%s', coalesce(explain_mdf.request_id::text, 'NULL'), ' with claim ' || explain_mdf.claim_id),
      DETAIL = 'None that you may see has this number.', HINT = 'SELECT prm.explain_mdf(request_id), or prm.explain_mdf(claim_id => ...).';
  END IF;
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = the_program AND f.fund_id = request.fund_id;
  the_open := request.state IN ('requested', 'approved', 'claimed');
  the_base := coalesce(claim.amount, request.expense);
  the_share := coalesce(request.share, prm._mdf_share(the_program, fund.fund_id, request.partner_id));
  the_part := prm.round_money(the_base * the_share, fund.currency, prm._mdf_rounding(the_program));
  the_until := coalesce(request.claim_until, upper(request.activity) - 1 + fund.claim_days);
  -- What a fund for everybody holds is not a partner's business.
  the_known := prm._acting_partner(the_program) IS NULL OR fund.partner_id = prm._acting_partner(the_program);
  IF the_known THEN
    SELECT b.* INTO budget FROM prm._mdf_balance(the_program, fund.fund_id,
      coalesce((SELECT min(e.period) FROM prm.mdf_entry e WHERE e.program_id = the_program AND e.request_id = request.request_id AND e.kind = 'commitment'), the_today),
      NULL, the_open AND prm._acting_partner(the_program) IS NULL) b;
    IF the_open THEN
      the_left := greatest(budget.available + coalesce(request.approved, 0), 0);
    ELSIF request.state = 'reimbursed' THEN
      the_left := coalesce((SELECT (l.explain ->> 'left')::numeric FROM prm.ledger l WHERE l.program_id = the_program AND l.entry_id = request.entry_id), 0);
    END IF;
  END IF;
  SELECT string_agg(k, ', ' ORDER BY k) INTO the_missing FROM unnest(fund.evidence) k WHERE NOT coalesce(claim.evidence, '{}') ? k;

  the_result := CASE WHEN request.state = 'reimbursed' THEN request.paid WHEN the_open AND the_until >= the_today OR request.state = 'claimed' THEN greatest(least(the_part, request.approved, the_left), 0) ELSE 0 END;
  the_binding := CASE WHEN request.state = 'reimbursed' THEN request.paid_limit
    WHEN request.state IN ('rejected_late', 'expired') OR request.state IN ('requested', 'approved') AND the_until < the_today THEN 'deadline'
    WHEN NOT the_open THEN request.state
    WHEN the_result = the_part THEN 'share' WHEN the_result = request.approved THEN 'approval' ELSE budget.binding END;
  -- An approval that was cut itself names what cut it; here that is the approval.
  IF request.state = 'reimbursed' AND request.paid = request.approved AND request.paid_limit <> 'share' THEN
    the_binding := 'approval';
  END IF;
  the_why := CASE request.state
    WHEN 'reimbursed' THEN CASE WHEN request.paid > 0 THEN format('paid as ledger entry %s', request.entry_id) ELSE 'nothing is paid: the fund has nothing left' END
    WHEN 'claimed' THEN CASE WHEN the_result > 0 THEN 'would be paid now: prm.reimburse_mdf()' ELSE 'nothing would be paid: the fund has nothing left' END
    WHEN 'rejected_late' THEN format('nothing is paid: it was claimed on %s, after %s', to_char(claim.claimed_at AT TIME ZONE prm._program_time_zone(the_program), 'YYYY-MM-DD'), to_char(the_until, 'YYYY-MM-DD'))
    WHEN 'expired' THEN format('nothing is paid: nobody claimed it until %s', to_char(the_until, 'YYYY-MM-DD'))
    WHEN 'rejected' THEN 'nothing is paid: it was rejected' || coalesce(': ' || prm._mdf_reason(the_program, request.request_id), '')
    WHEN 'approved' THEN CASE WHEN the_until < the_today THEN format('nothing is paid: it could be claimed until %s', to_char(the_until, 'YYYY-MM-DD')) ELSE 'nothing is paid yet: it is not claimed; so much if all of it is spent' END
    WHEN 'requested' THEN CASE WHEN the_until < the_today THEN 'nothing can be approved: its days to claim are over' WHEN the_known AND the_result <= 0 THEN 'nothing can be approved: the fund has nothing left'
      ELSE 'nothing is paid yet: it waits for approval; so much can be approved' END
    ELSE format('nothing is paid: it is %s', request.state) END;

  RETURN QUERY
  SELECT row_number() OVER (ORDER BY x.place)::integer, x.subject, x.amount, fund.currency, x.is_binding, x.reason
  FROM (VALUES
    (1, CASE WHEN claim.claim_id IS NULL THEN 'expense' ELSE 'claim' END, the_base, false,
      CASE WHEN claim.claim_id IS NULL THEN format('planned for "%s"', request.campaign) ELSE format('claimed for "%s"; %s was planned', request.campaign, request.expense) END),
    (2, 'share', the_part, the_binding = 'share', format('%s%% of it%s', trim_scale(the_share * 100), CASE WHEN fund.share_benefit IS NOT NULL THEN format(', by benefit "%s"', fund.share_benefit) END)),
    (3, 'approval', request.approved, the_binding = 'approval', CASE WHEN request.approved IS NULL THEN 'not approved' ELSE format('approved, by its %s', request.approved_limit) END),
    (4, 'remaining', the_left, the_binding = 'budget', CASE WHEN the_left IS NOT NULL THEN format('left for it in the year from %s of fund "%s"', to_char(budget.period, 'YYYY-MM-DD'), fund.name)
      WHEN the_known THEN 'nothing is reserved for it any more' ELSE 'known to the vendor' END),
    (5, 'limit', fund.limit_amount, the_binding = 'limit', CASE WHEN fund.limit_amount IS NULL THEN 'the fund has no absolute limit' ELSE 'what the fund holds in a year at most' END),
    (6, 'deadline', NULL, the_binding = 'deadline', format('claimed by %s, %s days after the activity', to_char(the_until, 'YYYY-MM-DD'), fund.claim_days)),
    (7, 'evidence', NULL, false, CASE WHEN fund.evidence = '{}' AND claim.claim_id IS NOT NULL THEN 'given' WHEN claim.claim_id IS NULL THEN 'none yet; needed: ' || CASE WHEN fund.evidence = '{}' THEN 'any' ELSE array_to_string(fund.evidence, ', ') END
      WHEN the_missing IS NULL THEN 'complete' ELSE 'missing: ' || the_missing END),
    (8, 'result', the_result, false, the_why)) AS x(place, subject, amount, is_binding, reason);
END
$prm$;
COMMENT ON FUNCTION prm.explain_mdf(bigint, bigint, bigint) IS
'Why a request or claim is paid what it is: each limit as a row (share, approval, remaining, limit, deadline, evidence), the one that decides marked as binding, and the result, with the reason where nothing is paid. Of what is still open it says what would be paid or approved now. Error 42704 no such request or claim.';

CREATE FUNCTION prm._mdf_reason(program_id bigint, request_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Partners do not read the history.
  IF NOT has_table_privilege('prm.state_history', 'SELECT') THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT h.reason FROM prm.state_history h WHERE h.program_id = _mdf_reason.program_id AND h.machine = 'mdf_request' AND h.subject_id = _mdf_reason.request_id
    ORDER BY h.history_id DESC LIMIT 1);
END
$prm$;
COMMENT ON FUNCTION prm._mdf_reason(bigint, bigint) IS 'The reason of the last step of a request, for those who may read the history.';

CREATE FUNCTION prm._work_mdf(program_id bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_work_mdf.program_id))::date;
  the_count bigint := 0;
  the_rows bigint;
  fund record;
BEGIN
  -- First the fund, then its requests, as everybody does.
  FOR fund IN
    SELECT f.fund_id FROM prm.mdf_fund f WHERE f.program_id = _work_mdf.program_id
      AND (f.posted_on IS NULL OR f.posted_on < the_today
        OR f.fund_id IN (SELECT r.fund_id FROM prm.mdf_request r WHERE r.program_id = _work_mdf.program_id AND r.state = 'approved' AND r.claim_until < the_today))
    ORDER BY f.fund_id LIMIT _work_mdf.batch
  LOOP
    PERFORM prm._post_mdf(_work_mdf.program_id, fund.fund_id);
    UPDATE prm.mdf_request r SET state = 'expired'
      WHERE r.program_id = _work_mdf.program_id AND r.fund_id = fund.fund_id AND r.state = 'approved' AND r.claim_until < the_today;
    GET DIAGNOSTICS the_rows = ROW_COUNT;
    IF the_rows > 0 THEN
      PERFORM prm._post_mdf(_work_mdf.program_id, fund.fund_id);
    END IF;
    the_count := the_count + 1;
  END LOOP;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_mdf(bigint, integer) IS
'One batch of a job: on each fund, once per business day, posts what sales and time made due; approved requests whose days to claim are over expire, which returns what they committed. Returns the number of funds.';
