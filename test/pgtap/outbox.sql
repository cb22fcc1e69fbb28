-- The outbox: what becomes a message, who gets it, what becomes of failures; and the deal that a converted lead becomes.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT set_config('prm.program_id', prm.create_program('Outbox')::text, true) AS program \gset
SET LOCAL prm.clock = '2026-03-02 09:00:00+00';

INSERT INTO prm.partner (name, external_ref) VALUES ('Alder', 'P1');
SELECT partner_id AS partner FROM prm.partner WHERE external_ref = 'P1' \gset
INSERT INTO prm.lead (partner_id, company, contact_name, domain, budget, product_family, need, timeline_on, decision_maker, external_ref)
  VALUES (:partner, 'Acorn Foods Inc.', 'Ann', 'acorn.example', 5000, 'ledger', 'books', '2026-06-01', 'Ann', 'L1'),
         (:partner, 'ACORN foods', 'Bob', NULL, 700, 'ledger', 'books', '2026-06-01', 'Bob', 'L2'),
         (:partner, 'Birch', 'Cid', 'gmail.com', 800, NULL, 'books', '2026-06-01', 'Cid', 'L3'),
         (:partner, 'Cedar', 'Dan', 'gmail.com', NULL, NULL, 'books', '2026-06-01', 'Dan', 'L4');
CREATE FUNCTION pg_temp.lead(ref text) RETURNS bigint LANGUAGE sql AS $$SELECT lead_id FROM prm.lead WHERE program_id = prm.current_program() AND external_ref = ref$$;

-- Rules are checked when they are written.
SELECT throws_ok($$INSERT INTO prm.outbox_rule (source, event_type) VALUES ('dream', 'x')$$, '22023',
  'an outbox rule cannot have the source "dream"', 'an unknown source');
SELECT throws_ok($$INSERT INTO prm.outbox_rule (source, event_type, fields) VALUES ('lead', 'x', '{company,colour}')$$, '22023',
  'an outbox rule of source "lead" cannot have the field "colour"', 'a field that the table lacks');
SELECT throws_ok($$UPDATE prm.outbox_rule SET fields = '{amount}' WHERE source = 'tier' AND program_id = prm.current_program()$$, '22023', NULL,
  'also at an update: tier messages take fields of tier_history');
SELECT throws_ok($$INSERT INTO prm.outbox_rule (source, event_type) VALUES ('lead', ' ')$$, '23514', NULL, 'a blank event type');

-- Messages are written for matching rules only.
SELECT prm._state_entered(:program, 'lead', 'return', 'partner_qualified', 'returned', ARRAY[pg_temp.lead('L1'), pg_temp.lead('L2')], NULL, 'vera', prm.now());
SELECT results_eq($$SELECT aggregate_type, aggregate_id::bigint, event_type, channel, payload ->> 'company', payload ->> 'event', payload ->> 'from_state',
    payload ->> 'to_state', payload ->> 'actor', occurred_at, status FROM prm.outbox WHERE program_id = prm.current_program() ORDER BY outbox_id$$,
  $$VALUES ('lead', pg_temp.lead('L1'), 'lead.returned', 'webhook', 'Acorn Foods Inc.', 'return', 'partner_qualified', 'returned', 'vera', prm.now(), 'pending'),
           ('lead', pg_temp.lead('L2'), 'lead.returned', 'webhook', 'ACORN foods', 'return', 'partner_qualified', 'returned', 'vera', prm.now(), 'pending')$$,
  'one message for each subject, with event, states, actor and the rule''s fields');
SELECT prm._state_entered(:program, 'lead', 'qualify', 'new', 'partner_qualified', ARRAY[pg_temp.lead('L1')], NULL, 'vera', prm.now());
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program), 2::bigint, 'no rule, no message');
UPDATE prm.outbox_rule SET is_active = false WHERE program_id = :program AND event_type = 'lead.approved';
SELECT prm._state_entered(:program, 'lead', 'approve', 'partner_qualified', 'approved', ARRAY[pg_temp.lead('L1')], NULL, 'vera', prm.now());
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program), 2::bigint, 'a rule that is switched off writes none');
INSERT INTO prm.outbox_rule (source, event_type, channel) VALUES ('lead', 'lead.any', 'mail');
SELECT prm._state_entered(:program, 'lead', 'approve', 'partner_qualified', 'approved', ARRAY[pg_temp.lead('L1')], NULL, 'vera', prm.now());
SELECT is((SELECT string_agg(event_type || '/' || channel, ', ') FROM prm.outbox WHERE program_id = :program AND outbox_id > 2 AND event_type = 'lead.any'),
  'lead.any/mail', 'a rule without event and state matches every one');
INSERT INTO prm.tier_history (program_id, partner_id, ladder, from_tier, to_tier, outcome, reason, actor, at)
  VALUES (:program, :partner, 'main', 'registered', 'silver', 'promote', 'meets silver', 'system', prm.now());
SELECT prm._outbox_tier_changed(:program, ARRAY(SELECT tier_history_id FROM prm.tier_history WHERE program_id = :program AND outcome = 'promote' AND reason = 'meets silver'));
SELECT results_eq($$SELECT aggregate_type, aggregate_id, payload ->> 'event', payload ->> 'from_tier', payload ->> 'to_tier', payload ->> 'reason' FROM prm.outbox
    WHERE program_id = prm.current_program() AND event_type = 'tier.changed' AND payload ->> 'reason' = 'meets silver'$$,
  format($$VALUES ('partner', %L, 'promote', 'registered', 'silver', 'meets silver')$$, :partner), 'a change of tier is told about the partner');

-- A consumer takes a batch, nobody else gets it, and reports.
DELETE FROM prm.outbox WHERE program_id = :program;
INSERT INTO prm.outbox (aggregate_type, aggregate_id, event_type, channel, payload, occurred_at)
  SELECT 'lead', n::text, 'lead.any', CASE WHEN n = 5 THEN 'mail' ELSE 'webhook' END, '{}', prm.now() FROM generate_series(1, 5) n;
SELECT results_eq($$SELECT aggregate_id, attempts, lease_until FROM prm.claim_outbox('one', 2)$$,
  $$VALUES ('1', 1, prm.now() + interval '5 minutes'), ('2', 1, prm.now() + interval '5 minutes')$$, 'the oldest first, for five minutes');
SELECT is((SELECT array_agg(aggregate_id) FROM prm.claim_outbox('two', 10, '{"channel": "mail"}')), ARRAY['5'], 'only of a channel');
SELECT is((SELECT array_agg(aggregate_id) FROM prm.claim_outbox('two')), ARRAY['3', '4'], 'what another has is not handed out');
SELECT is_empty($$SELECT * FROM prm.claim_outbox('two')$$, 'nothing is left');
CREATE FUNCTION pg_temp.message(subject text) RETURNS bigint LANGUAGE sql AS
  $$SELECT outbox_id FROM prm.outbox WHERE program_id = prm.current_program() AND aggregate_id = subject$$;
SELECT is(prm.ack_outbox(pg_temp.message('1')), 'done', 'delivered');
SELECT is((SELECT done_at FROM prm.outbox WHERE program_id = :program AND aggregate_id = '1'), prm.now(), 'and so recorded');
SELECT throws_ok($$SELECT prm.ack_outbox(pg_temp.message('1'))$$, '55000', format('message %s is not claimed', pg_temp.message('1')), 'reported twice');
SELECT throws_ok($$SELECT prm.ack_outbox(0)$$, '42704', 'message 0 does not exist', 'an unknown message');
SELECT throws_ok($$SELECT prm.ack_outbox(NULL)$$, '42704', 'message NULL does not exist', 'no message');
SELECT throws_ok($$SELECT prm.ack_outbox(pg_temp.message('2'), 'lost')$$, '22023', 'a message cannot be reported as "lost"', 'an unknown status');
SELECT throws_ok($$SELECT * FROM prm.claim_outbox(' ')$$, '22023', 'a consumer needs a name', 'no consumer');
SELECT throws_ok($$SELECT * FROM prm.claim_outbox('x', 0)$$, '22023', 'a batch of 0 messages cannot be claimed', 'an empty batch');
SELECT throws_ok($$SELECT * FROM prm.claim_outbox('x', 1, '{"leese": "1 hour"}')$$, '22023', 'claim_outbox has no option "leese"', 'an unknown option');
SELECT throws_ok($$SELECT * FROM prm.claim_outbox('x', 1, '{"lease": "a while"}')$$, '22023', NULL, 'a lease that is no time');
SELECT throws_ok($$SELECT * FROM prm.claim_outbox('x', 1, '[]')$$, '22023', NULL, 'options that are no object');

-- A failure is tried again, later and later; a lost consumer's messages come back.
SELECT is(prm.ack_outbox(pg_temp.message('2'), 'failed', 'host is down'), 'pending', 'a failure is not the end');
SELECT is((SELECT available_at FROM prm.outbox WHERE program_id = :program AND aggregate_id = '2'), prm.now() + interval '1 minute', 'after a minute');
SELECT throws_ok($$SELECT prm.ack_outbox(pg_temp.message('2'))$$, '55000', NULL, 'it is nobody''s now');
SET LOCAL prm.clock = '2026-03-02 09:01:00+00';
SELECT results_eq($$SELECT aggregate_id, attempts FROM prm.claim_outbox('one')$$, $$VALUES ('2', 2)$$, 'it comes again');
SELECT prm.ack_outbox(pg_temp.message('2'), 'failed');
SELECT is((SELECT available_at FROM prm.outbox WHERE program_id = :program AND aggregate_id = '2'), prm.now() + interval '2 minutes', 'then after two');
SET LOCAL prm.clock = '2026-03-02 09:05:00+00';
SELECT results_eq($$SELECT aggregate_id, attempts FROM prm.claim_outbox('three', 1, '{"lease": "1 hour"}')$$, $$VALUES ('2', 3)$$, 'ordered by age');
SELECT results_eq($$SELECT aggregate_id, attempts FROM prm.claim_outbox('three')$$, $$VALUES ('3', 2), ('4', 2), ('5', 2)$$, 'leases ended at 09:05');
UPDATE prm.outbox SET attempts = 10 WHERE program_id = :program AND aggregate_id = '2';
SELECT is(prm.ack_outbox(pg_temp.message('2'), 'failed', 'for good'), 'failed', 'after ten attempts it is given up');
SET LOCAL prm.clock = '2026-03-09 09:00:00+00';
SELECT is((SELECT array_agg(aggregate_id) FROM prm.claim_outbox('one')), ARRAY['3', '4', '5'], 'and never handed out again');
SELECT results_eq($$SELECT aggregate_id, status, detail FROM prm.v_outbox WHERE program_id = prm.current_program() AND done_at IS NOT NULL ORDER BY 1$$,
  $$VALUES ('1', 'done', NULL), ('2', 'failed', 'for good')$$, 'the view shows how far they got');

-- A converted lead becomes a deal of the right customer.
SELECT prm.create_program('Outbox, another') AS other \gset
INSERT INTO prm.customer (program_id, name, domain) VALUES (:other, 'Acorn Foods', 'acorn.example');
INSERT INTO prm.customer (name) VALUES ('Cedar, Inc.');
SELECT prm._convert_leads(:program, ARRAY(SELECT lead_id FROM prm.lead WHERE program_id = :program));
SELECT results_eq($$SELECT d.name, d.amount, d.currency, d.state, d.partner_id, d.product_family, c.name, c.program_id FROM prm.deal d
    JOIN prm.customer c ON c.program_id = d.program_id AND c.customer_id = d.customer_id WHERE d.program_id = prm.current_program() ORDER BY d.deal_id$$,
  format($$VALUES ('Acorn Foods Inc.', 5000::numeric, 'USD', 'prospecting', %1$s::bigint, 'ledger', 'Acorn Foods Inc.', %2$s::bigint),
           ('ACORN foods', 700, 'USD', 'prospecting', %1$s, 'ledger', 'Acorn Foods Inc.', %2$s),
           ('Birch', 800, 'USD', 'prospecting', %1$s, NULL, 'Birch', %2$s), ('Cedar', NULL, 'USD', 'prospecting', %1$s, NULL, 'Cedar, Inc.', %2$s)$$, :partner, :program),
  'one deal for each; one customer for two spellings; a public mail provider makes nobody a customer of another; another programme''s customer is none of ours');
SELECT is((SELECT count(*) FROM prm.customer WHERE program_id = :program), 3::bigint, 'no customer more than needed');
SELECT is((SELECT count(*) FROM prm.lead l JOIN prm.deal d ON d.program_id = l.program_id AND d.lead_id = l.lead_id AND d.customer_id = l.customer_id
  WHERE l.program_id = :program), 4::bigint, 'lead, deal and customer are linked');
INSERT INTO prm.lead (partner_id, company, domain, external_ref) VALUES (:partner, 'Something else', 'ACORN.example', 'L5');
SELECT prm._convert_leads(:program, ARRAY[pg_temp.lead('L5')]);
SELECT is((SELECT c.name FROM prm.lead l JOIN prm.customer c ON c.program_id = l.program_id AND c.customer_id = l.customer_id WHERE l.lead_id = pg_temp.lead('L5') AND l.program_id = :program),
  'Acorn Foods Inc.', 'the domain counts before the name');

-- The whole way through the machine: qualify (partner), return, qualify, approve, convert (vendor); a deal is won.
INSERT INTO prm.lead (partner_id, company, need, budget, timeline_on, decision_maker, external_ref) VALUES (:partner, 'Dogwood', 'books', 900, '2026-06-01', 'Eve', 'L6');
DELETE FROM prm.outbox WHERE program_id = :program;
UPDATE prm.outbox_rule SET is_active = event_type <> 'lead.any' WHERE program_id = :program;
SET LOCAL prm.actor = 'pat';
SELECT set_config('prm.partner_id', :'partner', true);
UPDATE prm.lead SET state = 'partner_qualified' WHERE program_id = :program AND external_ref = 'L6';
SET LOCAL prm.partner_id = '';
SET LOCAL prm.actor = 'vera';
SELECT prm.fire('lead', pg_temp.lead('L6'), 'return', 'which books?');
SELECT set_config('prm.partner_id', :'partner', true);
SELECT prm.fire('lead', pg_temp.lead('L6'), 'qualify');
SET LOCAL prm.partner_id = '';
SELECT prm.fire('lead', pg_temp.lead('L6'), 'approve');
SELECT results_eq($$SELECT event_type, payload ->> 'actor', payload ->> 'reason', payload ->> 'company' FROM prm.outbox WHERE program_id = prm.current_program() ORDER BY outbox_id$$,
  $$VALUES ('lead.returned', 'vera', 'which books?', 'Dogwood'), ('lead.approved', 'vera', NULL, 'Dogwood')$$, 'the reason of a fired event is told');
SELECT prm.fire('lead', pg_temp.lead('L6'), 'convert');
SELECT results_eq($$SELECT d.name, d.amount, d.state, h.actor, current_setting('prm.actor') FROM prm.deal d
    JOIN prm.state_history h ON h.program_id = d.program_id AND h.machine = 'deal' AND h.subject_id = d.deal_id
    WHERE d.program_id = prm.current_program() AND d.lead_id = pg_temp.lead('L6')$$, $$VALUES ('Dogwood', 900::numeric, 'prospecting', 'vera', 'vera')$$,
  'converting makes the deal, in the name of who converted');
SELECT is((SELECT c.name FROM prm.lead l JOIN prm.customer c ON c.program_id = l.program_id AND c.customer_id = l.customer_id WHERE l.program_id = :program AND l.external_ref = 'L6'),
  'Dogwood', 'and the customer');
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND lead_id = pg_temp.lead('L6');
SELECT is((SELECT payload ->> 'amount' FROM prm.outbox WHERE program_id = :program AND event_type = 'deal.won'), '900', 'a won deal is told');
SAVEPOINT undone;
UPDATE prm.deal SET state = 'won' WHERE program_id = :program AND lead_id = pg_temp.lead('L1');
ROLLBACK TO undone;
SELECT is((SELECT count(*) FROM prm.outbox WHERE program_id = :program AND event_type = 'deal.won'), 1::bigint, 'what is rolled back is not told');

-- The funnel: who is in a stage has reached those before it.
SELECT results_eq($$SELECT stage, reached, present, share_of_previous FROM prm.v_lead_funnel WHERE program_id = prm.current_program() ORDER BY stage_no$$,
  $$VALUES ('new', 6::bigint, 5::bigint, NULL::numeric), ('partner_qualified', 1, 0, round(1 / 6.0, 4)), ('approved', 1, 0, 1), ('vendor_qualified', 1, 0, 1), ('converted', 1, 1, 1)$$,
  'returned is no stage, vendor_qualified was jumped over');
SELECT results_eq($$SELECT name, customer, partner, state_category, is_open, is_won, is_lost FROM prm.v_deal WHERE program_id = prm.current_program() AND name IN ('Dogwood', 'Birch') ORDER BY 1$$,
  $$VALUES ('Birch', 'Birch', 'Alder', NULL, true, false, false), ('Dogwood', 'Dogwood', 'Alder', 'won', false, true, false)$$, 'deals with their names');

-- Names.
SELECT is(prm._plain_name('ACME, Inc.'), 'acme', 'legal form, case and punctuation do not count');
SELECT is(prm._plain_name('Company Co. Ltd.'), 'company', 'but the first word stays');
SELECT is(prm._plain_name('Inc.'), 'inc', 'a name of nothing but a legal form too');
SELECT is(prm._plain_name('...'), '...', 'and one of punctuation');
SELECT is(prm._plain_name('  '), NULL, 'a blank name is none');

-- Amounts of deals.
SELECT throws_ok($$INSERT INTO prm.deal (name, amount) VALUES ('x', -1)$$, '23514', NULL, 'a negative amount');
SELECT throws_ok($$INSERT INTO prm.deal (name, amount) VALUES ('x', 'NaN')$$, '23514', NULL, 'no number');
SELECT throws_ok($$INSERT INTO prm.deal (name, cost) VALUES ('x', 'Infinity')$$, '23514', NULL, 'an infinite cost');
SELECT throws_ok($$INSERT INTO prm.lead (company, budget) VALUES ('x', -1)$$, '23514', NULL, 'a negative budget');
SELECT throws_ok($$INSERT INTO prm.product (product, label, list_price) VALUES ('x', 'x', 'NaN')$$, '23514', NULL, 'a price that is no number');
SELECT prm.create_program('Outbox, euro', 'blank', 'EUR') AS euro \gset
INSERT INTO prm.deal (program_id, name) VALUES (:euro, 'x');
SELECT is((SELECT currency FROM prm.deal WHERE name = 'x' AND program_id = :euro), 'EUR', 'a deal without currency is in that of its own programme');

SELECT * FROM finish();
ROLLBACK;
