
-- Market development funds: the entries, what partners may write, the machine of requests, and the views.

CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.mdf_entry
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.mdf_entry ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE FUNCTION prm._mdf_fund_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_unknown text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.currency := coalesce(NEW.currency, prm._program_currency(NEW.program_id));
    NEW.year_start := coalesce(NEW.year_start, prm.period_start((prm.now() AT TIME ZONE prm._program_time_zone(NEW.program_id))::date, 'year',
      (SELECT p.fiscal_year_start FROM prm.program p WHERE p.program_id = NEW.program_id)));
    NEW.decisions := 0;
    NEW.posted_on := NULL;
  ELSIF (NEW.fund_id, NEW.partner_id, NEW.currency, NEW.year_start) IS DISTINCT FROM (OLD.fund_id, OLD.partner_id, OLD.currency, OLD.year_start)
      AND EXISTS (SELECT 1 FROM prm.mdf_entry e WHERE e.program_id = OLD.program_id AND e.fund_id = OLD.fund_id
        UNION ALL SELECT 1 FROM prm.mdf_request r WHERE r.program_id = OLD.program_id AND r.fund_id = OLD.fund_id) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund "%s" is in use', OLD.name),
      DETAIL = 'Its partner, currency and year_start stand in its entries and requests.', HINT = 'Make another fund.', SCHEMA = 'prm', TABLE = 'mdf_fund';
  END IF;
  -- round_money() refuses an unknown currency.
  IF NEW.granted <> prm.round_money(NEW.granted, NEW.currency) OR NEW.limit_amount <> prm.round_money(NEW.limit_amount, NEW.currency) OR NEW.carry_cap <> prm.round_money(NEW.carry_cap, NEW.currency) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the amounts of fund "%s" are no amounts of %s', NEW.name, NEW.currency),
      DETAIL = 'granted, limit_amount and carry_cap are in whole minor units of the currency.', HINT = 'Round them.', SCHEMA = 'prm', TABLE = 'mdf_fund';
  END IF;
  SELECT b INTO the_unknown FROM unnest(ARRAY[NEW.share_benefit, NEW.accrual_benefit]) b
    WHERE b IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.benefit k WHERE k.program_id = NEW.program_id AND k.benefit = b) LIMIT 1;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('benefit "%s" does not exist', the_unknown),
      DETAIL = 'share_benefit and accrual_benefit name benefits of tiers.', HINT = 'Add it to prm.benefit first.', SCHEMA = 'prm', TABLE = 'mdf_fund';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_fund_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_fund_row() IS
'Trigger of mdf_fund: by default the programme''s currency and the fiscal year that runs. Errors: 55000 a fund in use changes its partner, currency or year, 42704 an unknown benefit, 22023 an unknown currency, or amounts that are none of it.';
CREATE OR REPLACE TRIGGER prm_00_fund BEFORE INSERT OR UPDATE ON prm.mdf_fund FOR EACH ROW EXECUTE FUNCTION prm._mdf_fund_row();

CREATE OR REPLACE FUNCTION prm._mdf_fund_terms() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._post_mdf(NEW.program_id, NEW.fund_id);
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_fund_terms() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_fund_terms() IS 'Trigger of mdf_fund: what its terms grant and accrue is posted at once.';
CREATE OR REPLACE TRIGGER prm_20_terms AFTER INSERT OR UPDATE OF granted, is_renewed, accrual_rate, accrual_basis, accrual_kind, accrual_benefit, limit_amount ON prm.mdf_fund
  FOR EACH ROW EXECUTE FUNCTION prm._mdf_fund_terms();

CREATE OR REPLACE FUNCTION prm._mdf_request_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_owner bigint;
BEGIN
  SELECT f.partner_id INTO the_owner FROM prm.mdf_fund f WHERE f.program_id = NEW.program_id AND f.fund_id = NEW.fund_id;
  IF the_owner <> NEW.partner_id THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('fund %s is another partner''s', NEW.fund_id), DETAIL = 'A fund of one partner serves nobody else.',
      HINT = 'SELECT fund_id, name FROM prm.mdf_fund lists those that you may use.', SCHEMA = 'prm', TABLE = 'mdf_request';
  END IF;
  NEW.state := 'requested';
  NEW.share := NULL;
  NEW.approved := NULL;
  NEW.approved_limit := NULL;
  NEW.claim_until := NULL;
  NEW.paid := NULL;
  NEW.paid_limit := NULL;
  NEW.entry_id := NULL;
  NEW.requested_at := prm.now();
  NEW.requested_by := prm._caller();
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_request_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_request_row() IS 'Trigger of mdf_request: a new one is requested and nothing more. Error 42501 for a fund of another partner.';
CREATE OR REPLACE TRIGGER prm_00_request BEFORE INSERT ON prm.mdf_request FOR EACH ROW EXECUTE FUNCTION prm._mdf_request_row();
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.mdf_request
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('mdf_request', 'request_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.mdf_request
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('mdf_request', 'request_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON prm.mdf_request
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('mdf_request', 'request_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.mdf_request
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('mdf_request', 'request_id', 'state');

CREATE OR REPLACE FUNCTION prm._mdf_request_entries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(NEW.program_id))::date;
  -- Whatever way a request went, what it committed and was paid follows from how it stands.
  the_over constant text[] := ARRAY['reimbursed', 'rejected', 'rejected_late', 'expired'];
  the_committed numeric := CASE WHEN NEW.state = ANY (the_over) THEN 0 ELSE coalesce(NEW.approved, 0) END - CASE WHEN OLD.state = ANY (the_over) THEN 0 ELSE coalesce(OLD.approved, 0) END;
  the_paid numeric := CASE WHEN NEW.state = 'reimbursed' THEN coalesce(NEW.paid, 0) ELSE 0 END - CASE WHEN OLD.state = 'reimbursed' THEN coalesce(OLD.paid, 0) ELSE 0 END;
  fund prm.mdf_fund;
  budget prm.mdf_budget;
  the_period date;
BEGIN
  IF (NEW.fund_id, NEW.partner_id) IS DISTINCT FROM (OLD.fund_id, OLD.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s cannot move', OLD.request_id), DETAIL = 'Its fund and its partner stay what they are.',
      HINT = 'Reject it, and ask again: prm.request_mdf(...).', SCHEMA = 'prm', TABLE = 'mdf_request';
  END IF;
  IF NEW.state <> OLD.state AND (NEW.state = 'approved' AND NEW.approved IS NULL OR NEW.state = 'reimbursed' AND NEW.paid IS NULL
      OR NEW.state = 'claimed' AND NOT EXISTS (SELECT 1 FROM prm.mdf_claim c WHERE c.program_id = NEW.program_id AND c.request_id = NEW.request_id)) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s cannot be %s without an amount', NEW.request_id, NEW.state), DETAIL = 'Only the functions know the amount.',
      HINT = format('SELECT prm.%s.', CASE NEW.state WHEN 'approved' THEN format('approve_mdf(%s)', NEW.request_id) WHEN 'claimed' THEN format('claim_mdf(%s, amount, evidence)', NEW.request_id) ELSE format('reimburse_mdf(%s)', NEW.request_id) END),
      SCHEMA = 'prm', TABLE = 'mdf_request', COLUMN = 'state';
  END IF;
  IF the_committed = 0 AND the_paid = 0 THEN
    RETURN NULL;
  END IF;
  PERFORM prm._post_mdf(NEW.program_id, NEW.fund_id);
  SELECT f.* INTO fund FROM prm.mdf_fund f WHERE f.program_id = NEW.program_id AND f.fund_id = NEW.fund_id;
  -- A request stays in the year that committed it.
  SELECT min(e.period) INTO the_period FROM prm.mdf_entry e WHERE e.program_id = NEW.program_id AND e.request_id = NEW.request_id AND e.kind = 'commitment';
  the_period := coalesce(the_period, prm._mdf_period(fund.year_start, prm._mdf_year(fund.year_start, the_today)));
  SELECT b.* INTO budget FROM prm._mdf_balance(NEW.program_id, NEW.fund_id, the_period, NULL, false) b;
  IF the_committed > 0 AND the_committed > budget.available THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('%s %s cannot be approved', NEW.approved, fund.currency),
      DETAIL = format('Fund "%s" holds %s by its %s, of which %s is committed, %s paid and %s left.', fund.name, budget.budget, budget.binding, budget.committed, budget.paid, budget.available),
      HINT = 'Approve less, or wait until commitments are released.', SCHEMA = 'prm', TABLE = 'mdf_request', COLUMN = 'approved';
  END IF;
  INSERT INTO prm.mdf_entry (program_id, fund_id, partner_id, period, kind, amount, request_id, effective_on, reason, posted_by)
    SELECT NEW.program_id, NEW.fund_id, NEW.partner_id, the_period, x.kind, x.amount, NEW.request_id, the_today, format('%s: %s', NEW.campaign, NEW.state), prm._caller()
    FROM (VALUES (1, CASE WHEN the_committed > 0 THEN 'commitment' ELSE 'release' END, -the_committed), (2, 'reimbursement', -the_paid)) AS x(place, kind, amount)
    WHERE x.amount <> 0 ORDER BY x.place;
  -- What a year gives back that is over goes on or expires.
  IF the_committed < 0 AND the_period < prm._mdf_period(fund.year_start, prm._mdf_year(fund.year_start, the_today)) THEN
    PERFORM prm._post_mdf(NEW.program_id, NEW.fund_id);
  END IF;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_request_entries() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_request_entries() IS
'Trigger of mdf_request: posts commitments, releases and reimbursements as entries of the fund, whoever changed the state. Errors: 23514 more than the fund has left, 55000 a state without its amount, or a request that would move.';
CREATE OR REPLACE TRIGGER prm_20_entries AFTER UPDATE ON prm.mdf_request FOR EACH ROW EXECUTE FUNCTION prm._mdf_request_entries();

CREATE OR REPLACE FUNCTION prm._mdf_claim_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  NEW.claimed_at := prm.now();
  NEW.claimed_by := prm.current_actor();
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._mdf_claim_row() IS 'Trigger of mdf_claim: fills who and when.';
CREATE OR REPLACE TRIGGER prm_00_claim BEFORE INSERT ON prm.mdf_claim FOR EACH ROW EXECUTE FUNCTION prm._mdf_claim_row();

CREATE OR REPLACE FUNCTION prm._mdf_claimed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  request prm.mdf_request;
  the_missing text;
BEGIN
  -- First the fund, then its requests, as everybody does.
  UPDATE prm.mdf_fund f SET decisions = f.decisions + 1
    WHERE f.program_id = NEW.program_id AND f.fund_id = (SELECT r.fund_id FROM prm.mdf_request r WHERE r.program_id = NEW.program_id AND r.request_id = NEW.request_id);
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = NEW.program_id AND r.request_id = NEW.request_id FOR NO KEY UPDATE;
  IF request.partner_id <> NEW.partner_id THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('fund request %s is another partner''s', NEW.request_id), DETAIL = 'A partner claims what it asked for.',
      HINT = 'SELECT request_id FROM prm.mdf_request lists yours.', SCHEMA = 'prm', TABLE = 'mdf_claim';
  END IF;
  IF request.state <> 'approved' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s is %s', NEW.request_id, request.state), DETAIL = 'What was approved can be claimed, once.',
      HINT = 'Ask for a new approval: prm.request_mdf(...).', SCHEMA = 'prm', TABLE = 'mdf_claim';
  END IF;
  SELECT string_agg(k, ', ' ORDER BY k) INTO the_missing
    FROM prm.mdf_fund f CROSS JOIN LATERAL unnest(f.evidence) k
    WHERE f.program_id = NEW.program_id AND f.fund_id = request.fund_id AND coalesce(btrim(NEW.evidence ->> k), '') = '';
  IF the_missing IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('the claim of fund request %s lacks evidence', NEW.request_id), DETAIL = format('Missing: %s.', the_missing),
      HINT = 'Evidence is a JSON object with these fields, such as {"invoice": "F-77"}.', SCHEMA = 'prm', TABLE = 'mdf_claim', COLUMN = 'evidence';
  END IF;
  UPDATE prm.mdf_request r SET state = CASE WHEN (NEW.claimed_at AT TIME ZONE prm._program_time_zone(NEW.program_id))::date > request.claim_until THEN 'rejected_late' ELSE 'claimed' END
    WHERE r.program_id = NEW.program_id AND r.request_id = NEW.request_id;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_claimed() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_claimed() IS 'Trigger of mdf_claim: the request is claimed, or rejected_late after its deadline. Errors: 42501 another partner''s, 55000 not approved, 23514 evidence that the fund asks for is missing.';
CREATE OR REPLACE TRIGGER prm_20_claim AFTER INSERT ON prm.mdf_claim FOR EACH ROW EXECUTE FUNCTION prm._mdf_claimed();
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.mdf_claim
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.mdf_claim ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE VIEW prm.v_mdf_balance WITH (security_invoker = true) AS
  SELECT f.program_id, f.fund_id, f.name AS fund, f.partner_id, f.currency, y.period, prm._mdf_period(f.year_start, y.years + 1) - 1 AS period_end, y.period_is_current AS is_current,
    CASE WHEN y.is_known THEN e.granted END AS granted, CASE WHEN y.is_known THEN e.accrued END AS accrued, CASE WHEN y.is_known THEN e.carried_in END AS carried_in,
    CASE WHEN y.is_known THEN f.limit_amount END AS limit_amount, e.committed, e.spent,
    CASE WHEN y.is_known THEN e.carried_out END AS carried_out, CASE WHEN y.is_known THEN e.expired END AS expired, CASE WHEN y.is_known THEN e.remaining END AS remaining,
    CASE WHEN y.is_known AND y.period_is_current THEN greatest(e.remaining - prm._mdf_carry(f.carry_over, f.carry_share, f.carry_cap, greatest(e.remaining, 0), e.carried_out, f.currency,
      prm._mdf_rounding(f.program_id)), 0) END AS expiring,
    coalesce(r.open_requests, 0) AS open_requests, r.next_claim_until
  FROM prm.mdf_fund f
  CROSS JOIN LATERAL (SELECT prm._mdf_year(f.year_start, (prm.now() AT TIME ZONE prm._program_time_zone(f.program_id))::date) AS years) o
  CROSS JOIN LATERAL (SELECT n AS years, prm._mdf_period(f.year_start, n) AS period, n = o.years AS period_is_current,
      prm._acting_partner(f.program_id) IS NULL OR coalesce(f.partner_id = prm._acting_partner(f.program_id), false) AS is_known
    FROM generate_series(0, o.years) AS n) y
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(i.amount) FILTER (WHERE i.kind = 'grant'), 0) AS granted, coalesce(sum(i.amount) FILTER (WHERE i.kind = 'accrual'), 0) AS accrued,
      coalesce(sum(i.amount) FILTER (WHERE i.kind = 'carry_in'), 0) AS carried_in, coalesce(-sum(i.amount) FILTER (WHERE i.kind = 'carry_out'), 0) AS carried_out,
      coalesce(-sum(i.amount) FILTER (WHERE i.kind = 'expiry'), 0) AS expired, coalesce(-sum(i.amount) FILTER (WHERE i.kind IN ('commitment', 'release')), 0) AS committed,
      coalesce(-sum(i.amount) FILTER (WHERE i.kind = 'reimbursement'), 0) AS spent, coalesce(sum(i.amount), 0) AS remaining
    FROM prm.mdf_entry i WHERE i.program_id = f.program_id AND i.fund_id = f.fund_id AND i.period = y.period) e
  LEFT JOIN LATERAL (
    SELECT count(*) AS open_requests, min(i.claim_until) AS next_claim_until FROM prm.mdf_request i
    WHERE i.program_id = f.program_id AND i.fund_id = f.fund_id AND i.state IN ('requested', 'approved', 'claimed') AND y.period_is_current) r ON true;
COMMENT ON VIEW prm.v_mdf_balance IS
'What each fund holds, a row per year of the fund, from its entries as posted: granted + accrued + carried_in - committed - spent - carried_out - expired = remaining. Partners see their own funds, and of those for everybody only what is theirs.';
COMMENT ON COLUMN prm.v_mdf_balance.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_mdf_balance.fund_id IS 'The fund.';
COMMENT ON COLUMN prm.v_mdf_balance.fund IS 'Its name.';
COMMENT ON COLUMN prm.v_mdf_balance.partner_id IS 'The only partner that may use it; NULL: anybody.';
COMMENT ON COLUMN prm.v_mdf_balance.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.v_mdf_balance.period IS 'First day of the year.';
COMMENT ON COLUMN prm.v_mdf_balance.period_end IS 'Last day of the year.';
COMMENT ON COLUMN prm.v_mdf_balance.is_current IS 'Whether it is the year that runs.';
COMMENT ON COLUMN prm.v_mdf_balance.granted IS 'Granted by its terms and by grant_mdf().';
COMMENT ON COLUMN prm.v_mdf_balance.accrued IS 'Accrued from sales or purchases, within the limit.';
COMMENT ON COLUMN prm.v_mdf_balance.carried_in IS 'Came from the year before.';
COMMENT ON COLUMN prm.v_mdf_balance.limit_amount IS 'What granted, accrued and carried_in come to at most.';
COMMENT ON COLUMN prm.v_mdf_balance.committed IS 'Approved and not over.';
COMMENT ON COLUMN prm.v_mdf_balance.spent IS 'Reimbursed.';
COMMENT ON COLUMN prm.v_mdf_balance.carried_out IS 'Went to the next year.';
COMMENT ON COLUMN prm.v_mdf_balance.expired IS 'Was lost at the end of the year.';
COMMENT ON COLUMN prm.v_mdf_balance.remaining IS 'What can be approved; below zero where refunds took more than was left.';
COMMENT ON COLUMN prm.v_mdf_balance.expiring IS 'What of remaining is lost at period_end as things stand; NULL for years that are over.';
COMMENT ON COLUMN prm.v_mdf_balance.open_requests IS 'Requests that wait for approval, claim or payment; 0 for years that are over.';
COMMENT ON COLUMN prm.v_mdf_balance.next_claim_until IS 'The next deadline of claims.';

CREATE OR REPLACE VIEW prm.v_mdf_campaign WITH (security_invoker = true) AS
  SELECT m.program_id, m.campaign, m.currency, m.requests, m.committed, m.paid, coalesce(l.leads, 0) AS leads, coalesce(l.deals_won, 0) AS deals_won, coalesce(l.revenue, 0) AS revenue,
    CASE WHEN m.paid > 0 THEN round(coalesce(l.revenue, 0) / m.paid, 2) END AS return_on_investment,
    m.partners, m.first_day, m.last_day, coalesce(l.deals, 0) AS deals, coalesce(l.pipeline, 0) AS pipeline,
    CASE WHEN m.paid > 0 AND l.leads > 0 THEN round(m.paid / l.leads, 2) END AS cost_per_lead
  FROM (
    SELECT r.program_id, r.campaign, f.currency, count(*) AS requests, coalesce(sum(r.approved) FILTER (WHERE r.state IN ('approved', 'claimed')), 0) AS committed,
      coalesce(sum(r.paid), 0) AS paid, count(DISTINCT r.partner_id) AS partners, array_agg(DISTINCT r.partner_id) AS partner_ids,
      min(lower(r.activity)) AS first_day, max(upper(r.activity) - 1) AS last_day
    FROM prm.mdf_request r JOIN prm.mdf_fund f ON f.program_id = r.program_id AND f.fund_id = r.fund_id
    GROUP BY r.program_id, r.campaign, f.currency) m
  LEFT JOIN LATERAL (
    SELECT count(DISTINCT i.lead_id) AS leads, count(DISTINCT d.deal_id) AS deals, count(DISTINCT d.deal_id) FILTER (WHERE d.state = 'won') AS deals_won,
      sum(d.amount) FILTER (WHERE d.state = 'won' AND d.currency = m.currency) AS revenue,
      sum(d.amount) FILTER (WHERE d.closed_at IS NULL AND d.currency = m.currency) AS pipeline
    FROM prm.lead i LEFT JOIN prm.deal d ON d.program_id = i.program_id AND d.lead_id = i.lead_id
    WHERE i.program_id = m.program_id AND i.campaign = m.campaign AND i.partner_id = ANY (m.partner_ids)) l ON true;
COMMENT ON VIEW prm.v_mdf_campaign IS 'What campaigns that funds paid for brought in: leads of their partners that name the campaign, and the deals that these became.';
COMMENT ON COLUMN prm.v_mdf_campaign.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_mdf_campaign.campaign IS 'The campaign, as requests and leads name it.';
COMMENT ON COLUMN prm.v_mdf_campaign.currency IS 'Currency of the fund.';
COMMENT ON COLUMN prm.v_mdf_campaign.requests IS 'Number of requests.';
COMMENT ON COLUMN prm.v_mdf_campaign.committed IS 'Approved and not paid yet.';
COMMENT ON COLUMN prm.v_mdf_campaign.paid IS 'What was reimbursed.';
COMMENT ON COLUMN prm.v_mdf_campaign.leads IS 'Leads of the campaign, of partners that asked for money for it.';
COMMENT ON COLUMN prm.v_mdf_campaign.deals_won IS 'Won deals of these leads.';
COMMENT ON COLUMN prm.v_mdf_campaign.revenue IS 'Their amount, of deals in the fund''s currency.';
COMMENT ON COLUMN prm.v_mdf_campaign.return_on_investment IS 'revenue for each unit that was paid; NULL where nothing was.';
COMMENT ON COLUMN prm.v_mdf_campaign.partners IS 'Number of partners that asked.';
COMMENT ON COLUMN prm.v_mdf_campaign.first_day IS 'First day of the activities.';
COMMENT ON COLUMN prm.v_mdf_campaign.last_day IS 'Last day of the activities.';
COMMENT ON COLUMN prm.v_mdf_campaign.deals IS 'Deals of these leads, won or not.';
COMMENT ON COLUMN prm.v_mdf_campaign.pipeline IS 'Amount of those that are open, in the fund''s currency.';
COMMENT ON COLUMN prm.v_mdf_campaign.cost_per_lead IS 'paid for each lead; NULL without leads or payments.';

COMMENT ON TABLE prm.mdf_fund IS 'Market development funds: the terms on which a partner, or anybody, may be paid for campaigns, year by year. What a fund holds stands in mdf_entry.';
COMMENT ON COLUMN prm.mdf_fund.fund_id IS 'Number of the fund.';
COMMENT ON COLUMN prm.mdf_fund.name IS 'Name for people, unique.';
COMMENT ON COLUMN prm.mdf_fund.partner_id IS 'The only partner that may use it; NULL: anybody.';
COMMENT ON COLUMN prm.mdf_fund.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.mdf_fund.granted IS 'Amount that is granted at the start of its first year; a change is posted as the difference, in the year that runs. More is given by grant_mdf().';
COMMENT ON COLUMN prm.mdf_fund.is_renewed IS 'Whether granted is granted again at the start of each year.';
COMMENT ON COLUMN prm.mdf_fund.accrual_rate IS 'Share of the basis that it accrues, 0.01 = 1 percent.';
COMMENT ON COLUMN prm.mdf_fund.accrual_basis IS 'The partner''s events of accrual_kind in the fund''s currency, less what was refunded of them: none, this_year, last_year, growth (this year above the last). Where the fund is for anybody, the events of all.';
COMMENT ON COLUMN prm.mdf_fund.accrual_kind IS 'Kind of the events: sell_in for purchases, sell_out for sales ...';
COMMENT ON COLUMN prm.mdf_fund.accrual_benefit IS 'Benefit of tiers whose value in percent is the rate in place of accrual_rate, as the partner had it when it sold; with accrual_basis this_year.';
COMMENT ON COLUMN prm.mdf_fund.limit_amount IS 'What is granted, accrued and carried into a year comes to at most; NULL: no limit. A lower limit takes back what accrued, not what was given.';
COMMENT ON COLUMN prm.mdf_fund.share IS 'Share of the expense that is paid, above 0 up to 1.';
COMMENT ON COLUMN prm.mdf_fund.share_benefit IS 'Benefit of tiers whose value in percent is the share in place of it, for partners whose tier has it when the request is approved; NULL: share for all.';
COMMENT ON COLUMN prm.mdf_fund.evidence IS 'Fields that the evidence of claims must have, such as {invoice,photo}.';
COMMENT ON COLUMN prm.mdf_fund.claim_days IS 'Days after the activity in which it can be claimed.';
COMMENT ON COLUMN prm.mdf_fund.year_start IS 'First day of its first year; by default of the fiscal year that runs. Its years begin on the same day.';
COMMENT ON COLUMN prm.mdf_fund.carry_over IS 'What of the rest of a year goes to the next: none (it expires), all, share (carry_share of it).';
COMMENT ON COLUMN prm.mdf_fund.carry_share IS 'That share, above 0 up to 1.';
COMMENT ON COLUMN prm.mdf_fund.carry_cap IS 'What goes to the next year at most; NULL: no cap.';
COMMENT ON COLUMN prm.mdf_fund.legal_entity IS 'The company that pays, for the ledger.';
COMMENT ON COLUMN prm.mdf_fund.posted_on IS 'Business day up to which its entries are posted.';
COMMENT ON COLUMN prm.mdf_fund.decisions IS 'How many decisions were taken on it; each changes it, so that they go one after the other.';
COMMENT ON TABLE prm.mdf_request IS 'What partners ask of funds. The machine mdf_request says what may follow; approvals commit, claims are paid at most what was approved.';
COMMENT ON COLUMN prm.mdf_request.request_id IS 'Number of the request.';
COMMENT ON COLUMN prm.mdf_request.fund_id IS 'The fund.';
COMMENT ON COLUMN prm.mdf_request.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.mdf_request.campaign IS 'The campaign; leads name it, too.';
COMMENT ON COLUMN prm.mdf_request.expense IS 'What it will cost, in the fund''s currency.';
COMMENT ON COLUMN prm.mdf_request.activity IS 'The days of the activity.';
COMMENT ON COLUMN prm.mdf_request.state IS 'requested, approved, claimed, reimbursed, rejected, rejected_late or expired.';
COMMENT ON COLUMN prm.mdf_request.share IS 'Share of the expense that is paid, as it was when it was approved.';
COMMENT ON COLUMN prm.mdf_request.approved IS 'What is committed.';
COMMENT ON COLUMN prm.mdf_request.approved_limit IS 'What said so: approval, share, budget or limit.';
COMMENT ON COLUMN prm.mdf_request.claim_until IS 'Last day to claim it.';
COMMENT ON COLUMN prm.mdf_request.paid IS 'What was reimbursed.';
COMMENT ON COLUMN prm.mdf_request.paid_limit IS 'The binding limit: share, approval, budget or limit.';
COMMENT ON COLUMN prm.mdf_request.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.mdf_request.requested_at IS 'When.';
COMMENT ON COLUMN prm.mdf_request.requested_by IS 'By whom.';
COMMENT ON TABLE prm.mdf_claim IS 'What was spent on approved requests, with evidence, append-only; one for each request.';
COMMENT ON COLUMN prm.mdf_claim.claim_id IS 'Number of the claim.';
COMMENT ON COLUMN prm.mdf_claim.request_id IS 'The request.';
COMMENT ON COLUMN prm.mdf_claim.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.mdf_claim.amount IS 'What was spent, in the fund''s currency.';
COMMENT ON COLUMN prm.mdf_claim.evidence IS 'Files, invoice numbers ..., a JSON object.';
COMMENT ON COLUMN prm.mdf_claim.claimed_at IS 'When.';
COMMENT ON COLUMN prm.mdf_claim.claimed_by IS 'By whom.';
COMMENT ON TABLE prm.mdf_entry IS 'What funds hold, append-only and signed: the sum of the entries of a fund and year is what is free in it.';
COMMENT ON COLUMN prm.mdf_entry.mdf_entry_id IS 'Number of the entry.';
COMMENT ON COLUMN prm.mdf_entry.fund_id IS 'The fund.';
COMMENT ON COLUMN prm.mdf_entry.partner_id IS 'Whose it is: of a request its partner, else the partner of the fund; NULL: of a fund for anybody.';
COMMENT ON COLUMN prm.mdf_entry.period IS 'First day of the year of the fund in which it counts.';
COMMENT ON COLUMN prm.mdf_entry.kind IS 'grant, accrual, carry_in, carry_out, expiry; of requests commitment, release, reimbursement.';
COMMENT ON COLUMN prm.mdf_entry.amount IS 'Above zero adds to what is free, below zero takes from it.';
COMMENT ON COLUMN prm.mdf_entry.is_given IS 'Whether a grant was given by grant_mdf() and not by the terms of the fund.';
COMMENT ON COLUMN prm.mdf_entry.request_id IS 'The request.';
COMMENT ON COLUMN prm.mdf_entry.effective_on IS 'Business day.';
COMMENT ON COLUMN prm.mdf_entry.reason IS 'Why.';
COMMENT ON COLUMN prm.mdf_entry.posted_by IS 'By whom.';
