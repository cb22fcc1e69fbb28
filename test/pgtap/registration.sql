-- Registrations: the machine, the protection that approval gives, exclusivity, and what booking makes of it.
BEGIN;
-- The expectations write moments as ISO does.
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL timezone = 'UTC';
SET LOCAL intervalstyle = postgres;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL prm.clock = '2026-01-01 12:00+00';
SELECT set_config('prm.program_id', prm.create_program('Registration test', 'blank', 'USD', 'Europe/Berlin')::text, true) AS program \gset
INSERT INTO prm.partner (name) VALUES ('Ann') RETURNING partner_id AS ann \gset
INSERT INTO prm.partner (name) VALUES ('Bob') RETURNING partner_id AS bob \gset
INSERT INTO prm.customer (name) VALUES ('Acme') RETURNING customer_id AS acme \gset
INSERT INTO prm.customer (name) VALUES ('Best') RETURNING customer_id AS best \gset
INSERT INTO prm.product (product, label, family, parent) VALUES ('suite', 'Suite', 'software', NULL), ('suite-pro', 'Suite Pro', NULL, 'suite'), ('box', 'Box', 'hardware', NULL);
CREATE FUNCTION pg_temp.register(the_partner bigint, the_customer bigint, the_family text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
  INSERT INTO prm.registration (partner_id, customer_id, product_family, amount, currency) VALUES (the_partner, the_customer, the_family, 1000, 'USD') RETURNING registration_id INTO id;
  PERFORM prm.fire('registration', id, 'submit');
  RETURN id;
END $$;
CREATE FUNCTION pg_temp.win(the_name text, the_partner bigint, the_customer bigint, the_family text, the_product text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE answer boolean;
BEGIN
  INSERT INTO prm.deal (name, partner_id, customer_id, product_family, product, amount, currency) VALUES (the_name, the_partner, the_customer, the_family, the_product, 100, 'USD');
  UPDATE prm.deal SET state = 'won' WHERE name = the_name AND program_id = prm.current_program();
  SELECT e.registered INTO answer FROM prm.earning_event e JOIN prm.deal d USING (program_id, deal_id) WHERE d.name = the_name AND e.program_id = prm.current_program();
  RETURN answer;
END $$;
SELECT is(pg_temp.win('nothing is registered', :ann, :acme, 'software'), false, 'a programme without registrations books no registered sale');

-- The machine.
SELECT is((SELECT array_agg(format('%s -%s-> %s', from_state, event, to_state) ORDER BY from_state, event) FROM prm.machine_transition WHERE machine = 'registration' AND program_id = :program),
  ARRAY['approved -cancel-> canceled', 'approved -close-> closed', 'approved -expire-> expired', 'draft -cancel-> canceled', 'draft -submit-> submitted',
    'pending_approval -approve-> approved', 'pending_approval -cancel-> canceled', 'pending_approval -reject-> rejected', 'submitted -approve-> approved', 'submitted -cancel-> canceled',
    'submitted -reject-> rejected', 'submitted -review-> under_review', 'under_review -approve-> approved', 'under_review -cancel-> canceled', 'under_review -forward-> pending_approval',
    'under_review -reject-> rejected'], 'the machine of the templates');
INSERT INTO prm.registration (partner_id, customer_id, product_family) VALUES (:ann, :acme, 'software') RETURNING registration_id AS first \gset
SELECT is(prm.fire('registration', :first, 'submit'), 'submitted', 'submitted');
SELECT is((SELECT format('%s %s', submitted_at, protected) FROM prm.registration WHERE registration_id = :first), '2026-01-01 12:00:00+00 ', 'when it was submitted; it protects nothing yet');
SELECT is(prm.fire('registration', :first, 'review'), 'under_review', 'looked at');
SELECT is(prm.fire('registration', :first, 'forward'), 'pending_approval', 'handed on');
UPDATE prm.registration SET state = 'approved' WHERE registration_id = :first;
SELECT is((SELECT array_agg(to_state ORDER BY history_id) FROM prm.state_history WHERE machine = 'registration' AND subject_id = :first AND program_id = :program), '{draft,submitted,under_review,pending_approval,approved}', 'every step is in the history');
SELECT is((SELECT format('%s %s', protected, is_exclusive) FROM prm.registration WHERE registration_id = :first), '["2026-01-01 12:00:00+00","2026-04-01 11:00:00+00") t', 'DR-001 90 days from approval, in the programme''s zone');
SELECT is((SELECT format('%s %s %s %s', partner, customer, is_protected, protected_until) FROM prm.v_registration WHERE registration_id = :first), 'Ann Acme t 2026-04-01 11:00:00+00', 'the view');
SELECT throws_ok(format('SELECT prm.fire(''registration'', %s, ''reject'')', :first), '23514', NULL, 'what is approved is not rejected');
INSERT INTO prm.registration (partner_id, product_family) VALUES (:bob, 'software') RETURNING registration_id AS nobody \gset
SELECT prm.fire('registration', :nobody, 'submit');
SELECT throws_ok(format('SELECT prm.fire(''registration'', %s, ''approve'')', :nobody), '23514', NULL, 'no approval without a customer');
SELECT throws_ok(format('UPDATE prm.registration SET protected = NULL WHERE registration_id = %s', :first), '23514', NULL, 'what is approved is protected');
SELECT throws_ok(format('INSERT INTO prm.registration (partner_id, product_family) VALUES (%s, '' '')', :ann), '23514', NULL, 'a family is named');
SELECT throws_ok(format('INSERT INTO prm.registration (partner_id, product_family, amount) VALUES (%s, ''x'', -1)', :ann), '23514', NULL, 'an amount is no less than zero');

-- Exclusive.
SELECT pg_temp.register(:bob, :acme, 'software') AS rival, pg_temp.register(:bob, :acme, 'hardware') AS hardware, pg_temp.register(:bob, :best, 'software') AS best_software \gset
SELECT throws_ok(format('SELECT prm.fire(''registration'', %s, ''approve'')', :rival), '23P01', 'the customer is protected already for product family "software"', 'a second one is refused');
SELECT is((SELECT state FROM prm.registration WHERE registration_id = :rival), 'submitted', 'and stays where it was');
CREATE FUNCTION pg_temp.told(the_registration bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_detail text; the_hint text;
BEGIN
  PERFORM prm.fire('registration', the_registration, 'approve');
  RETURN 'approved';
EXCEPTION WHEN exclusion_violation THEN
  GET STACKED DIAGNOSTICS the_detail = PG_EXCEPTION_DETAIL, the_hint = PG_EXCEPTION_HINT;
  RETURN SQLERRM || ' / ' || the_detail || ' / ' || the_hint;
END $$;
SELECT matches(pg_temp.told(:rival), 'software', 'it names the family');
SELECT doesnt_match(lower(pg_temp.told(:rival)), format('ann |partner|registration %s ', :first), 'but not the rival');
SELECT is(prm.fire('registration', :hardware, 'approve'), 'approved', 'another family');
SELECT is(prm.fire('registration', :best_software, 'approve'), 'approved', 'another customer');
SET LOCAL prm.clock = '2026-04-01 10:59+00';
SELECT throws_ok(format('SELECT prm.fire(''registration'', %s, ''approve'')', :rival), '23P01', NULL, 'until the last minute');
SET LOCAL prm.clock = '2026-04-01 11:00+00';
SELECT is(prm.fire('registration', :rival, 'approve'), 'approved', 'it ends by time, not by a job');
SELECT throws_ok(format('UPDATE prm.registration SET protected = tstzrange(lower(protected), upper(protected) + interval ''1 day'') WHERE registration_id = %s', :first), '23P01', NULL, 'the constraint stands behind it all');
SELECT is(prm.fire('registration', :rival, 'cancel'), 'canceled', 'given up');
SELECT is((SELECT isempty(protected) FROM prm.registration WHERE registration_id = :rival), true, 'at once: it protected nothing');
SELECT pg_temp.register(:ann, :acme, 'software') AS third \gset
SELECT is(prm.fire('registration', :third, 'approve'), 'approved', 'the customer is free again');
SET LOCAL prm.clock = '2026-04-11 11:00+00';
SELECT prm.fire('registration', :third, 'cancel');
SELECT is((SELECT upper(protected) FROM prm.registration WHERE registration_id = :third), '2026-04-11 11:00+00'::timestamptz, 'one that is canceled protected until then');
SELECT pg_temp.register(:bob, :acme, 'software') AS fourth \gset
SELECT is(prm.fire('registration', :fourth, 'approve'), 'approved', 'whoever comes then is protected');
SELECT is(prm.fire('registration', :fourth, 'close'), 'closed', 'closed');
SELECT pg_temp.register(:ann, :acme, 'software') AS fifth \gset
SELECT throws_ok(format('SELECT prm.fire(''registration'', %s, ''approve'')', :fifth), '23P01', NULL, 'what is closed protects to the end of its time');

-- Shared, and other intervals.
UPDATE prm.program SET registration_policy = 'shared', registration_protection = '6 months' WHERE program_id = :program;
SELECT pg_temp.register(:ann, :best, 'hardware') AS shared_one, pg_temp.register(:bob, :best, 'hardware') AS shared_two \gset
SELECT prm.fire('registration', :shared_one, 'approve'), prm.fire('registration', :shared_two, 'approve');
SELECT is((SELECT count(*) FROM prm.v_registration WHERE customer_id = :best AND product_family = 'hardware' AND is_protected AND NOT is_exclusive), 2::bigint, 'a shared programme protects several');
SELECT is((SELECT upper(protected) FROM prm.registration WHERE registration_id = :shared_one), '2026-10-11 11:00+00'::timestamptz, 'six months');
SELECT throws_ok(format('UPDATE prm.program SET registration_policy = ''open'' WHERE program_id = %s', :program), '23514', NULL, 'an unknown policy');
SELECT throws_ok(format('UPDATE prm.program SET registration_protection = ''0 days'' WHERE program_id = %s', :program), '23514', NULL, 'no time at all');

-- Booking asks whether the sale was registered. Said in the plainest way, for comparison:
CREATE FUNCTION pg_temp.registered(the_program bigint, the_partner bigint, the_customer bigint, the_family text, the_moment timestamptz) RETURNS boolean LANGUAGE sql AS $$
  SELECT EXISTS (SELECT 1 FROM prm.registration r WHERE r.program_id = the_program AND r.partner_id = the_partner AND r.customer_id = the_customer
    AND r.product_family = the_family AND r.protected @> the_moment) $$;
SELECT is(pg_temp.registered(:program, :ann, :acme, 'software', '2026-02-01'), true, 'in force then');
SELECT is(pg_temp.registered(:program, :ann, :acme, 'software', '2026-04-01 11:00+00'), true, 'in force then, by the next one');
SELECT is(pg_temp.registered(:program, :ann, :acme, 'software', '2026-04-12'), false, 'not after it was canceled');
SELECT is(pg_temp.registered(:program, :bob, :acme, 'software', '2026-02-01'), false, 'not the rival''s');
SELECT is(pg_temp.win('bob software', :bob, :acme, 'software'), true, 'registered');
SELECT is(pg_temp.win('bob variant', :bob, :acme, NULL, 'suite-pro'), true, 'by the family of the product of the variant');
SELECT is(pg_temp.win('ann software', :ann, :acme, 'software'), false, 'the other partner is not');
SELECT is(pg_temp.win('bob services', :bob, :acme, 'services'), false, 'another family is not');
SELECT is(pg_temp.win('no customer', :bob, NULL, 'software'), false, 'nobody in particular is not');
INSERT INTO prm.deal (name, partner_id, customer_id, amount, currency) VALUES ('bob lines', :bob, :acme, 100, 'USD') RETURNING deal_id AS lines \gset
INSERT INTO prm.deal_line (deal_id, line_no, product, net) VALUES (:lines, 1, 'suite', 100);
UPDATE prm.deal SET state = 'won' WHERE deal_id = :lines;
SELECT is((SELECT registered FROM prm.earning_event WHERE deal_id = :lines), true, 'by the families of its lines');
INSERT INTO prm.deal (name, partner_id, customer_id, product_family, amount, currency) VALUES ('bob direct', :bob, :acme, 'unheard of', 100, 'USD') RETURNING deal_id AS direct \gset
UPDATE prm.registration SET deal_id = :direct WHERE registration_id = :fourth;
SELECT is(prm._registered_deals(:program, ARRAY[:direct, :lines]::bigint[]), ARRAY[:lines, :direct]::bigint[], 'by the deal that it names; the set-wise twin');
SELECT is((SELECT array_agg(d.deal_id) FROM prm.deal d WHERE d.program_id = :program AND d.name NOT IN ('bob direct', 'bob lines', 'bob variant') AND (d.deal_id = ANY (prm._registered_deals(:program, ARRAY[d.deal_id])))
    <> coalesce(pg_temp.registered(:program, d.partner_id, d.customer_id, d.product_family, d.closed_at), false)), NULL, 'both say the same');

-- Messages, deadlines and historical rows work as for the other machines.
INSERT INTO prm.outbox_rule (source, event, event_type, fields) VALUES ('registration', 'approve', 'registration.approved', '{product_family,partner_id}');
SELECT pg_temp.register(:ann, :best, 'services') AS told \gset
SELECT prm.fire('registration', :told, 'approve');
SELECT is((SELECT format('%s %s %s', aggregate_type, aggregate_id = :'told', payload ->> 'product_family') FROM prm.outbox WHERE program_id = :program), 'registration t services', 'a message with its fields');
SELECT is((SELECT array_agg(event ORDER BY event) FROM prm.allowed_events('registration', :told) WHERE allowed), '{cancel,close,expire}', 'allowed events');
SELECT is_empty($$SELECT * FROM prm.check() WHERE message LIKE '%registration%'$$, 'check() is content');

-- Who may write what.
CREATE ROLE registration_test_partner;
SELECT prm.grant_access('registration_test_partner', 'partner');
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('registration_test_partner', :ann);
SET LOCAL ROLE registration_test_partner;
SELECT is((SELECT array_agg(DISTINCT partner_id) FROM prm.registration), ARRAY[:ann::bigint], 'a partner sees its own');
INSERT INTO prm.registration (partner_id, customer_id, product_family) VALUES (:ann, :best, 'training');
SELECT is((SELECT prm.fire('registration', registration_id, 'submit') FROM prm.registration WHERE product_family = 'training'), 'submitted', 'registers and submits');
SELECT throws_ok($$SELECT prm.fire('registration', registration_id, 'approve') FROM prm.registration WHERE product_family = 'training'$$, '42501', NULL, 'but does not approve');
SELECT throws_ok(format('INSERT INTO prm.registration (partner_id, product_family) VALUES (%s, ''training'')', :bob), '42501', NULL, 'nor registers for others');
SELECT throws_ok($$UPDATE prm.registration SET protected = NULL$$, '42501', NULL, 'nor writes what is protected');
RESET ROLE;
CREATE ROLE registration_test_app;
SELECT prm.grant_access('registration_test_app', 'app');
SET LOCAL ROLE registration_test_app;
SELECT set_config('prm.partner_id', :'ann', true);
SELECT throws_ok(format('INSERT INTO prm.registration (partner_id, customer_id, product_family, protected) VALUES (%s, %s, ''training'', tstzrange(''2020-01-01'', ''2030-01-01''))', :ann, :best), '42501',
  'a partner does not set what a registration protects', 'an application that acts for a partner does not either');
RESET ROLE;
SELECT set_config('prm.partner_id', '', true);

-- Bulk.
UPDATE prm.program SET registration_policy = 'exclusive' WHERE program_id = :program;
INSERT INTO prm.customer (name) SELECT 'bulk ' || n FROM generate_series(1, 1000) n;
INSERT INTO prm.registration (partner_id, customer_id, product_family) SELECT :ann, c.customer_id, 'bulk' FROM prm.customer c WHERE c.program_id = :program AND c.name LIKE 'bulk %';
UPDATE prm.registration SET state = 'submitted' WHERE product_family = 'bulk' AND program_id = :program;
UPDATE prm.registration SET state = 'approved' WHERE product_family = 'bulk' AND program_id = :program;
SELECT is((SELECT count(*) FROM prm.v_registration WHERE product_family = 'bulk' AND is_protected AND program_id = :program), 1000::bigint, 'bulk: a thousand approved by one statement');
INSERT INTO prm.deal (partner_id, customer_id, name, product_family, amount, currency)
  SELECT CASE c.customer_id % 2 WHEN 0 THEN :ann ELSE :bob END, c.customer_id, 'bulk', 'bulk', 1, 'USD' FROM prm.customer c WHERE c.program_id = :program AND c.name LIKE 'bulk %';
UPDATE prm.deal SET state = 'won' WHERE name = 'bulk' AND program_id = :program;
SELECT is((SELECT format('%s %s', count(*), bool_and(e.registered = (e.partner_id = :ann))) FROM prm.earning_event e WHERE e.product_family = 'bulk' AND e.program_id = :program), '1000 t', 'bulk: and booked as registered, or not');

SELECT * FROM finish();
ROLLBACK;
