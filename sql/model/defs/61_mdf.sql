
-- Market development funds: what partners may write, the machine of requests, and the views.

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
BEGIN
  SELECT r.* INTO request FROM prm.mdf_request r WHERE r.program_id = NEW.program_id AND r.request_id = NEW.request_id FOR UPDATE;
  IF request.partner_id <> NEW.partner_id THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('fund request %s is another partner''s', NEW.request_id), DETAIL = 'A partner claims what it asked for.',
      HINT = 'SELECT request_id FROM prm.mdf_request lists yours.', SCHEMA = 'prm', TABLE = 'mdf_claim';
  END IF;
  IF request.state <> 'approved' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('fund request %s is %s', NEW.request_id, request.state), DETAIL = 'What was approved can be claimed, once.',
      HINT = 'Ask for a new approval: prm.request_mdf(...).', SCHEMA = 'prm', TABLE = 'mdf_claim';
  END IF;
  UPDATE prm.mdf_request r SET state = CASE WHEN (NEW.claimed_at AT TIME ZONE prm._program_time_zone(NEW.program_id))::date > request.claim_until THEN 'rejected_late' ELSE 'claimed' END
    WHERE r.program_id = NEW.program_id AND r.request_id = NEW.request_id;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._mdf_claimed() FROM PUBLIC;
COMMENT ON FUNCTION prm._mdf_claimed() IS 'Trigger of mdf_claim: the request is claimed, or rejected_late after its deadline. Errors: 42501 another partner''s, 55000 not approved.';
CREATE OR REPLACE TRIGGER prm_20_claim AFTER INSERT ON prm.mdf_claim FOR EACH ROW EXECUTE FUNCTION prm._mdf_claimed();
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.mdf_claim
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.mdf_claim ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE VIEW prm.v_mdf_campaign WITH (security_invoker = true) AS
  SELECT m.program_id, m.campaign, m.currency, m.requests, m.committed, m.paid, coalesce(l.leads, 0) AS leads, coalesce(l.deals_won, 0) AS deals_won, coalesce(l.revenue, 0) AS revenue,
    CASE WHEN m.paid > 0 THEN round(coalesce(l.revenue, 0) / m.paid, 2) END AS return_on_investment
  FROM (
    SELECT r.program_id, r.campaign, f.currency, count(*) AS requests, coalesce(sum(r.approved) FILTER (WHERE r.state IN ('approved', 'claimed')), 0) AS committed,
      coalesce(sum(r.paid), 0) AS paid
    FROM prm.mdf_request r JOIN prm.mdf_fund f ON f.program_id = r.program_id AND f.fund_id = r.fund_id
    GROUP BY r.program_id, r.campaign, f.currency) m
  LEFT JOIN LATERAL (
    SELECT count(DISTINCT i.lead_id) AS leads, count(DISTINCT d.deal_id) FILTER (WHERE d.state = 'won') AS deals_won, sum(d.amount) FILTER (WHERE d.state = 'won' AND d.currency = m.currency) AS revenue
    FROM prm.lead i LEFT JOIN prm.deal d ON d.program_id = i.program_id AND d.lead_id = i.lead_id
    WHERE i.program_id = m.program_id AND i.campaign = m.campaign) l ON true;
COMMENT ON VIEW prm.v_mdf_campaign IS 'What campaigns that funds paid for brought in: leads that name the campaign, and the deals that they became.';
COMMENT ON COLUMN prm.v_mdf_campaign.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_mdf_campaign.campaign IS 'The campaign, as requests and leads name it.';
COMMENT ON COLUMN prm.v_mdf_campaign.currency IS 'Currency of the fund.';
COMMENT ON COLUMN prm.v_mdf_campaign.requests IS 'Number of requests.';
COMMENT ON COLUMN prm.v_mdf_campaign.committed IS 'Approved and not paid yet.';
COMMENT ON COLUMN prm.v_mdf_campaign.paid IS 'What was reimbursed.';
COMMENT ON COLUMN prm.v_mdf_campaign.leads IS 'Leads of the campaign.';
COMMENT ON COLUMN prm.v_mdf_campaign.deals_won IS 'Won deals of these leads.';
COMMENT ON COLUMN prm.v_mdf_campaign.revenue IS 'Their amount, of deals in the fund''s currency.';
COMMENT ON COLUMN prm.v_mdf_campaign.return_on_investment IS 'revenue for each unit that was paid; NULL where nothing was.';

COMMENT ON TABLE prm.mdf_fund IS 'Market development funds: what a partner, or anybody, may be paid for campaigns in a year.';
COMMENT ON COLUMN prm.mdf_fund.fund_id IS 'Number of the fund.';
COMMENT ON COLUMN prm.mdf_fund.name IS 'Name for people, unique.';
COMMENT ON COLUMN prm.mdf_fund.partner_id IS 'The only partner that may use it; NULL: anybody.';
COMMENT ON COLUMN prm.mdf_fund.currency IS 'ISO 4217.';
COMMENT ON COLUMN prm.mdf_fund.granted IS 'Amount that it holds from the start.';
COMMENT ON COLUMN prm.mdf_fund.accrual_rate IS 'Share of the basis that it accrues, 0.01 = 1 percent.';
COMMENT ON COLUMN prm.mdf_fund.accrual_basis IS 'The partner''s events of accrual_kind: none, this_year, last_year, growth (this year above the last).';
COMMENT ON COLUMN prm.mdf_fund.accrual_kind IS 'Kind of the events: sell_in for purchases, sell_out for sales ...';
COMMENT ON COLUMN prm.mdf_fund.limit_amount IS 'What it never exceeds; NULL: no limit.';
COMMENT ON COLUMN prm.mdf_fund.share IS 'Share of the expense that is paid, above 0 up to 1.';
COMMENT ON COLUMN prm.mdf_fund.claim_days IS 'Days after the activity in which it can be claimed.';
COMMENT ON COLUMN prm.mdf_fund.year_start IS 'First day of its year.';
COMMENT ON COLUMN prm.mdf_fund.decisions IS 'How many decisions were taken on it; each changes it, so that they go one after the other.';
COMMENT ON TABLE prm.mdf_request IS 'What partners ask of funds. The machine mdf_request says what may follow; approvals commit, claims are paid at most what was approved.';
COMMENT ON COLUMN prm.mdf_request.request_id IS 'Number of the request.';
COMMENT ON COLUMN prm.mdf_request.fund_id IS 'The fund.';
COMMENT ON COLUMN prm.mdf_request.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.mdf_request.campaign IS 'The campaign; leads name it, too.';
COMMENT ON COLUMN prm.mdf_request.expense IS 'What it will cost, in the fund''s currency.';
COMMENT ON COLUMN prm.mdf_request.activity IS 'The days of the activity.';
COMMENT ON COLUMN prm.mdf_request.state IS 'requested, approved, claimed, reimbursed, rejected, rejected_late or expired.';
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
