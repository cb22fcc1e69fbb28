-- Rows in every state, made the way users make them; then what users add to the model. Deterministic but for moments and ids.
\set QUIET on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT prm.create_program('Main Channel', 'reseller', 'USD', 'America/New_York') AS main \gset
SELECT prm.create_program('Other Channel', 'blank', 'EUR', 'Europe/Berlin') AS other \gset
SET prm.program_id = :main;
SET prm.actor = 'filler';

INSERT INTO prm.partner (name, kind, state, region, domain, external_ref, attributes)
  SELECT 'Partner ' || n, 'reseller', 'applicant', CASE n % 3 WHEN 0 THEN 'EMEA' WHEN 1 THEN 'AMER' ELSE 'APAC' END, 'p' || n || '.example',
         'P-' || n, jsonb_build_object('size', n) FROM generate_series(1, 12) n;
SELECT count(prm.fire('partner', partner_id, 'admit')) FROM prm.partner WHERE external_ref <> ALL (ARRAY['P-1', 'P-2']);
SELECT count(prm.fire('partner', partner_id, 'reject', 'too small')) FROM prm.partner WHERE external_ref = 'P-2';
SELECT count(prm.fire('partner', partner_id, 'activate')) FROM prm.partner WHERE state = 'onboarding' AND external_ref <> 'P-3';
SELECT count(prm.fire('partner', partner_id, 'suspend', 'unpaid')) FROM prm.partner WHERE external_ref = 'P-4';
SELECT count(prm.fire('partner', partner_id, 'offboard', 'left')) FROM prm.partner WHERE external_ref IN ('P-5', 'P-6');
SELECT count(prm.fire('partner', partner_id, 'terminate')) FROM prm.partner WHERE external_ref = 'P-6';
UPDATE prm.partner SET parent_id = (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-7') WHERE external_ref IN ('P-8', 'P-9');

INSERT INTO prm.customer (name, domain, external_ref) SELECT 'Customer ' || n, 'c' || n || '.example', 'C-' || n FROM generate_series(1, 5) n;
INSERT INTO prm.product (product, label, family, list_price, currency) VALUES ('crm', 'CRM', 'software', 1000, 'USD'), ('care', 'Care', 'service', 100, 'USD');
INSERT INTO prm.lead (partner_id, customer_id, company, need, budget, timeline_on, decision_maker, external_ref)
  SELECT (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-' || 7 + n % 5), (SELECT customer_id FROM prm.customer WHERE external_ref = 'C-' || 1 + n % 5),
         'Prospect ' || n, 'needs ' || n, 1000 * n, '2026-12-31', 'Dr. ' || n, 'L-' || n FROM generate_series(1, 10) n;
-- A lead is qualified by its partner.
SELECT count(prm.fire('lead', lead_id, 'qualify')) FROM prm.lead WHERE set_config('prm.partner_id', partner_id::text, false) <> '' AND external_ref <> 'L-1';
SET prm.partner_id = '';
SELECT count(prm.fire('lead', lead_id, 'return', 'no budget shown')) FROM prm.lead WHERE external_ref IN ('L-2', 'L-3');
SELECT count(prm.fire('lead', lead_id, 'qualify')) FROM prm.lead WHERE set_config('prm.partner_id', partner_id::text, false) <> '' AND external_ref = 'L-3';
SET prm.partner_id = '';
SELECT count(prm.fire('lead', lead_id, 'approve')) FROM prm.lead WHERE external_ref IN ('L-4', 'L-5', 'L-6', 'L-7');
SELECT count(prm.fire('lead', lead_id, 'deepen')) FROM prm.lead WHERE external_ref IN ('L-5', 'L-6');
SELECT count(prm.fire('lead', lead_id, 'convert')) FROM prm.lead WHERE external_ref IN ('L-6', 'L-7');
SELECT count(prm.fire('lead', lead_id, 'disqualify', 'bankrupt')) FROM prm.lead WHERE external_ref = 'L-8';

INSERT INTO prm.deal (partner_id, customer_id, name, product, kind, amount, currency, external_ref)
  SELECT (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-' || 7 + n % 5), (SELECT customer_id FROM prm.customer WHERE external_ref = 'C-' || 1 + n % 5),
         'Deal ' || n, CASE n % 2 WHEN 0 THEN 'crm' ELSE 'care' END, CASE n % 4 WHEN 0 THEN 'renewal' ELSE 'new' END, 1234.56 * n, 'USD', 'D-' || n
  FROM generate_series(1, 16) n;
INSERT INTO prm.deal_line (deal_id, line_no, product, quantity, unit_price, net) SELECT deal_id, 1, 'crm', 2, 500, 1000 FROM prm.deal WHERE external_ref = 'D-1';
INSERT INTO prm.deal_partner (deal_id, credit_type, partner_id, weight)
  SELECT d.deal_id, 'sourced', p.partner_id, 50 FROM prm.deal d, prm.partner p WHERE d.external_ref = 'D-16' AND p.external_ref IN ('P-7', 'P-8');
SELECT count(prm.fire('deal', deal_id, 'propose')) FROM prm.deal WHERE external_ref ~ '^D-[2-9]$';
SELECT count(prm.fire('deal', deal_id, 'negotiate')) FROM prm.deal WHERE external_ref IN ('D-3', 'D-4', 'D-5');
SELECT count(prm.fire('deal', deal_id, 'win')) FROM prm.deal WHERE external_ref IN ('D-4', 'D-6', 'D-16');
UPDATE prm.deal SET state = 'won' WHERE external_ref IN ('D-7', 'D-8', 'D-10', 'D-11', 'D-12', 'D-13');
UPDATE prm.deal SET state = 'lost' WHERE external_ref IN ('D-5', 'D-9');
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at, external_ref)
  SELECT 'signup', partner_id, 10, 'USD', '2026-01-15 12:00Z', 'E-1' FROM prm.partner WHERE external_ref = 'P-7';
INSERT INTO prm.partner_user (partner_id, name, email, external_ref) SELECT partner_id, 'Ada', 'ada@p7.example', 'U-1' FROM prm.partner WHERE external_ref = 'P-7';
INSERT INTO prm.certificate (partner_user_id, certification, issued_on) SELECT partner_user_id, 'sales', '2026-01-01' FROM prm.partner_user;
INSERT INTO prm.external_id (system, kind, external_ref, id) SELECT 'billing', 'partner', 'B' || partner_id, partner_id FROM prm.partner;
CALL prm.run_jobs();
SELECT count(*) FROM prm.claim_outbox('tester', 2);
-- Two months later: statements, one of them paid, one disputed; a document, a fund, and entries that stay open.
SELECT count(prm.post_adjustment(partner_id, 10 * partner_id, 'USD', 'filler')) FROM prm.partner WHERE external_ref IN ('P-7', 'P-8', 'P-9', 'P-10');
SELECT set_config('prm.clock', (now() + interval '65 days')::text, false) <> '' AS later;
SELECT count(*) FROM prm.close_period((prm.now() - interval '35 days')::date);
SELECT count(prm.dispute(entry_id, 'not right')) FROM prm.ledger WHERE reason = 'filler' AND partner_id = (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-10');
UPDATE prm.statement SET state = 'approved' WHERE state = 'settled' AND partner_id <> (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-9');
SELECT count(*) FROM prm.create_documents();
SELECT count(*) FROM prm.create_payouts();
SELECT prm.settle_payout(min(payout_id), 'paid', 'wire') FROM prm.payout;
INSERT INTO prm.mdf_fund (name, currency, granted) VALUES ('Pool', 'USD', 5000);
SELECT prm.approve_mdf(prm.request_mdf(fund_id, 'Fair', 100, daterange(prm.now()::date, prm.now()::date + 30), (SELECT partner_id FROM prm.partner WHERE external_ref = 'P-7'))) FROM prm.mdf_fund WHERE name = 'Pool';
RESET prm.clock;

SET prm.program_id = :other;
INSERT INTO prm.partner (name) VALUES ('Elsewhere');

-- What a user adds to the model.
ALTER TABLE prm.partner ADD COLUMN erp_code text, ADD CONSTRAINT erp_code_check CHECK (erp_code <> '');
UPDATE prm.partner SET erp_code = 'ERP' || partner_id;
CREATE INDEX partner_erp_idx ON prm.partner (program_id, erp_code);
COMMENT ON COLUMN prm.partner.erp_code IS 'Ours.';
CREATE TABLE public.audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
CREATE FUNCTION public.audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit (what) VALUES (TG_OP || ' ' || NEW.name); RETURN NEW; END $$;
CREATE TRIGGER zz_audited AFTER INSERT ON prm.partner FOR EACH ROW EXECUTE FUNCTION public.audited();
ALTER TABLE prm.customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY ours ON prm.customer USING (name <> 'Hidden');
CREATE VIEW public.won_deal WITH (security_invoker = true) AS SELECT program_id, deal_id, amount FROM prm.deal WHERE state = 'won';
GRANT SELECT ON prm.product TO PUBLIC;
