-- DELETE FROM prm.program: one in which nothing was booked goes with all that is in it; one with a ledger stays.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
-- The tables in which the programme still has rows.
CREATE FUNCTION pg_temp.rows_of(the_program bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  target record;
  the_count bigint;
BEGIN
  FOR target IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'program_id' AND NOT a.attisdropped
      WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) FROM prm.%I WHERE program_id = $1', target.relname) INTO the_count USING the_program;
    IF the_count > 0 THEN
      RETURN NEXT target.relname;
    END IF;
  END LOOP;
END $$;

-- ---- each template, as it was made -------------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.make(template text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RETURN prm.create_program('pgTAP delete ' || template, template);
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN NULL;  -- not every name that is known is a template
END $$;
CREATE FUNCTION pg_temp.delete_program(the_program bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM prm.program WHERE program_id = the_program;
  RETURN (SELECT string_agg(t, ', ') FROM pg_temp.rows_of(the_program) t);
END $$;
CREATE TEMP TABLE made AS SELECT t.template, pg_temp.make(t.template) AS program_id FROM unnest('{reseller,referral,affiliate,franchise,blank}'::text[]) AS t(template);
SELECT cmp_ok((SELECT count(*) FROM made WHERE program_id IS NOT NULL), '>=', 2::bigint, 'there are templates');
SELECT is(pg_temp.delete_program(m.program_id), NULL, 'a programme of template ' || m.template || ' goes with all that is in it') FROM made m WHERE m.program_id IS NOT NULL;

-- ---- a programme that was used, but in which nothing was booked -----------------------------------------------------------
DO $$ BEGIN
  PERFORM set_config('prm.clock', '2026-06-01 12:00:00+00', true);
  PERFORM set_config('prm.program_id', prm.create_program('pgTAP delete used', 'reseller')::text, true);
END $$;
DELETE FROM prm.commission_rule WHERE program_id = prm.current_program();
INSERT INTO prm.partner (partner_id, name, parent_id) VALUES (1, 'hub', NULL), (2, 'member', 1);
INSERT INTO prm.partner_user (partner_user_id, partner_id, name) VALUES (1, 1, 'one'), (2, 2, 'two');
INSERT INTO prm.certificate (partner_user_id, certification, issued_on, valid_until) VALUES (1, 'sales', '2026-01-01', '2027-01-01');
INSERT INTO prm.customer (customer_id, name, parent_id) VALUES (1, 'group', NULL), (2, 'daughter', 1);
INSERT INTO prm.product (product, label, parent) VALUES ('suite', 'Suite', NULL), ('part', 'Part', 'suite');
INSERT INTO prm.lead (lead_id, partner_id, company) VALUES (1, 1, 'lead');
INSERT INTO prm.lead_criterion (criterion, label, kind) VALUES ('size', 'How big', 'text');
INSERT INTO prm.lead_answer (lead_id, criterion, text_value) VALUES (1, 'size', 'big');
INSERT INTO prm.deal (deal_id, partner_id, customer_id, lead_id, product, name, amount, currency) VALUES (1, 1, 2, 1, 'part', 'deal', 100, 'USD');
INSERT INTO prm.deal_line (deal_id, line_no, product, quantity, unit_price, net) VALUES (1, 1, 'part', 1, 100, 100);
INSERT INTO prm.deal_partner (deal_id, partner_id, credit_type, weight) VALUES (1, 1, 'sourced', 60), (1, 2, 'sourced', 40);
UPDATE prm.deal SET state = 'won' WHERE program_id = prm.current_program();
INSERT INTO prm.registration (partner_id, customer_id, product_family) VALUES (2, 1, 'suite');
INSERT INTO prm.payee (payee_id, partner_id, legal_name, currency) VALUES (1, 1, 'hub', 'USD');
INSERT INTO prm.settlement_profile (payee_id, currency) VALUES (1, 'USD');
INSERT INTO prm.segment (segment, label) VALUES ('vip', 'VIP');
SELECT prm.add_segment_member('vip', 1), prm.record_metric(1, 'nps', 50), prm.refresh_health(), prm.refresh_metrics();
INSERT INTO prm.health_model (model, label, segment) VALUES ('vip', 'VIP', 'vip');
SELECT count(*) FROM prm.evaluate_tiers();
SELECT prm.grant_mdf((SELECT f.fund_id FROM prm.mdf_fund f WHERE f.program_id = prm.current_program()), 1000, 'budget');
CREATE TEMP TABLE used AS SELECT prm.current_program() AS program_id;
SELECT is((SELECT count(*) FROM prm.ledger l JOIN used USING (program_id)), 0::bigint, 'nothing was booked');
SELECT ok((SELECT array_agg(t) FROM used, pg_temp.rows_of(program_id) t) @> '{deal,deal_line,deal_partner,earning_event,sales_credit,health_snapshot,lead_answer,lead_answer_history,mdf_entry,metric_standing,outbox,partner_history,registration,segment_member,state_history}'::text[], 'but there is much in it');
SELECT throws_ok($$ DELETE FROM prm.state_history WHERE program_id = prm.current_program() $$, '55000', NULL, 'its history cannot be deleted by itself');
SELECT throws_ok($$ SELECT prm._empty_program(prm.current_program()) $$, '55000', NULL, 'nor by the function alone');
-- Tables of the user's own that refer to it are asked first.
CREATE TABLE public.pgtap_note (program_id bigint, partner_id bigint, FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id));
INSERT INTO public.pgtap_note SELECT program_id, 1 FROM used;
SELECT throws_ok($$ DELETE FROM prm.program WHERE program_id = prm.current_program() $$, '23503', NULL, 'what the user refers to stays');
SELECT ok(EXISTS (SELECT 1 FROM used, pg_temp.rows_of(program_id) t WHERE t = 'state_history'), 'and a delete that failed deleted nothing');
DROP TABLE public.pgtap_note;
CREATE ROLE pgtap_delete_admin;
SELECT prm.grant_access('pgtap_delete_admin', 'admin');
SET LOCAL ROLE pgtap_delete_admin;
SELECT throws_ok($$ DELETE FROM prm.program WHERE program_id = prm.current_program() $$, '42501', 'only the owner of the model deletes a programme', 'an administrator does not');
RESET ROLE;
SELECT prm.create_program('pgTAP delete other', 'reseller') AS other \gset
CREATE TEMP TABLE others AS SELECT t FROM pg_temp.rows_of(:other) t;
SELECT is((SELECT pg_temp.delete_program(program_id) FROM used), NULL, 'in one DELETE it goes with all that is in it');
SELECT set_eq(format('SELECT * FROM pg_temp.rows_of(%s)', :other), 'SELECT t FROM others', 'another programme keeps what it has');
SELECT throws_ok(format($$ DELETE FROM prm.machine_state WHERE program_id = %s; DELETE FROM prm.state_history WHERE program_id = %s $$, :other, :other), '55000', NULL, 'afterwards records are records again');

-- ---- a programme with a ledger ------------------------------------------------------------------------------------------------
DO $$ BEGIN PERFORM set_config('prm.program_id', prm.create_program('pgTAP delete booked', 'reseller')::text, true); END $$;
INSERT INTO prm.partner (partner_id, name) VALUES (1, 'hub');
SELECT prm.post_adjustment(1, 10, 'USD', 'a beginning');
SELECT throws_ok($$ DELETE FROM prm.program WHERE program_id = prm.current_program() $$, '55000', format('programme %s has booked money and cannot be deleted', prm.current_program()), 'one with a ledger stays');
SELECT cmp_ok((SELECT count(*) FROM pg_temp.rows_of(prm.current_program())), '>', 20::bigint, 'whole');

SELECT * FROM finish();
ROLLBACK;
