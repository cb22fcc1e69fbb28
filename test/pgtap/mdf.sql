-- Market development funds: budgets, approvals, claims, limits. Acceptance ids stand in the names.
BEGIN;
\ir settlement.psql

SELECT pg_temp.program('Funds') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
SELECT pg_temp.at('2026-01-10 12:00+00');
INSERT INTO prm.mdf_fund (name, currency, granted, year_start, claim_days) VALUES ('Pool', 'USD', 10000, '2026-01-01', 31) RETURNING fund_id AS pool \gset

-- MDF-001.
SELECT prm.request_mdf(:pool, 'Spring fair', 9000, '[2026-02-01,2026-03-01)', :ann) AS r1 \gset
SELECT is((SELECT format('%s %s', state, approved) FROM prm.mdf_request WHERE request_id = :r1), 'requested ', 'MDF-001 a request');
SELECT throws_ok(format('SELECT prm.claim_mdf(%s, 10, ''{"a": 1}'')', :r1), '55000', NULL, 'nothing is claimed before it is approved');
SELECT throws_ok(format('SELECT prm.approve_mdf(%s, 10000.01)', :r1), '23514', NULL, 'more than there is cannot be approved');
SELECT is(prm.approve_mdf(:r1, 4000), 4000::numeric, 'MDF-001 approved');
SELECT throws_ok(format('SELECT prm.approve_mdf(%s, 1)', :r1), '55000', NULL, 'once');
SELECT is((SELECT format('%s %s %s %s', budget, committed, paid, available) FROM prm.mdf_budget(:pool)), '10000 4000 0 6000', 'MDF-001 committed');
SELECT pg_temp.at('2026-03-10 12:00+00');
SELECT throws_ok(format('SELECT prm.claim_mdf(%s, 10, ''{}'')', :r1), '23514', NULL, 'a claim has evidence');
SELECT is(prm.claim_mdf(:r1, 9000, '{"invoice": "F-77"}'), 'claimed', 'MDF-001 claimed');
SELECT is(prm.reimburse_mdf(:r1), 4000::numeric, 'MDF-001 paid: the least of share, approved and budget');
SELECT is((SELECT format('%s %s %s', l.kind, l.amount, r.paid_limit) FROM prm.mdf_request r JOIN prm.ledger l USING (program_id, entry_id) WHERE r.request_id = :r1), 'mdf 4000 approval', 'MDF-001 as a ledger entry, with the binding limit');
SELECT is((SELECT format('%s %s %s', committed, paid, available) FROM prm.mdf_budget(:pool)), '0 4000 6000', 'MDF-001 budget left 6000');
SELECT throws_ok(format('SELECT prm.reimburse_mdf(%s)', :r1), '55000', NULL, 'and not twice');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 4000 statement 0 paid 0 debt 0 draw 0', 'it is due, and goes on the next statement');

-- MDF-002: a claim after the deadline; and one that never comes.
SELECT prm.request_mdf(:pool, 'Road show', 4000, '[2026-02-01,2026-03-01)', :ann) AS r2, prm.request_mdf(:pool, 'Never', 1000, '[2026-02-01,2026-03-01)', :bob) AS r3 \gset
SELECT prm.approve_mdf(:r2), prm.approve_mdf(:r3);
SELECT is((SELECT claim_until FROM prm.mdf_request WHERE request_id = :r2), date '2026-03-31', 'MDF-002 the deadline');
SELECT pg_temp.at('2026-04-01 12:00+00');
SELECT is(prm.claim_mdf(:r2, 3000, '{"invoice": "F-78"}'), 'rejected_late', 'MDF-002 a claim after it');
SELECT is((SELECT format('%s %s', committed, available) FROM prm.mdf_budget(:pool)), '500.00 5500.00', 'MDF-002 what was committed is free again');
SELECT is(prm._work_mdf(:program, 100), 1::bigint, 'what nobody claims expires');
SELECT is((SELECT format('%s %s', committed, available) FROM prm.mdf_budget(:pool)), '0.00 6000.00', 'and is free again');
SELECT throws_ok(format('SELECT prm.reject_mdf(%s, ''x'')', :r3), '55000', NULL, 'what is over is not rejected');

-- MDF-003 in one session: two approvals, one budget (the isolation spec has two sessions).
INSERT INTO prm.mdf_fund (name, currency, granted, year_start) VALUES ('Small', 'USD', 5000, '2026-01-01') RETURNING fund_id AS small \gset
SELECT prm.request_mdf(:small, 'A', 6000, '[2026-05-01,2026-06-01)', :ann) AS a, prm.request_mdf(:small, 'B', 6000, '[2026-05-01,2026-06-01)', :bob) AS b \gset
SELECT is(prm.approve_mdf(:a, 3000), 3000::numeric, 'MDF-003 the first is approved');
SELECT throws_ok(format('SELECT prm.approve_mdf(%s, 3000)', :b), '23514', NULL, 'MDF-003 the second is not');
SELECT is(prm.approve_mdf(:b), 2000::numeric, 'without an amount it gets what is left');
SELECT is((SELECT approved_limit FROM prm.mdf_request WHERE request_id = :b), 'budget', 'and is told why');
SELECT is(prm.reject_mdf(:a, 'the venue is gone'), 'rejected', 'a rejected request');
SELECT is((SELECT available FROM prm.mdf_budget(:small)), 3000::numeric, 'gives back what it had');
SELECT throws_ok(format('SELECT prm.reject_mdf(%s, NULL)', :b), '23514', NULL, 'a rejection has a reason');

-- MDF-004: half of the expense, at most 1 % of last year's purchases, at most 10000.
CREATE FUNCTION pg_temp.fund(the_name text, the_purchases numeric, the_expense numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE the_partner bigint := pg_temp.partner(the_name); the_fund bigint; the_request bigint;
BEGIN
  INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('sell_in', the_partner, the_purchases / 2, 'USD', '2025-03-01'), ('sell_in', the_partner, the_purchases / 2, 'USD', '2025-12-31 20:00+00'),
    ('sell_in', the_partner, 999999, 'USD', '2026-01-01 00:00+00');
  INSERT INTO prm.mdf_fund (name, partner_id, currency, accrual_rate, accrual_basis, limit_amount, share, year_start) VALUES (the_name, the_partner, 'USD', 0.01, 'last_year', 10000, 0.5, '2026-01-01') RETURNING fund_id INTO the_fund;
  the_request := prm.request_mdf(the_fund, the_name, the_expense, '[2026-04-01,2026-05-01)');
  PERFORM prm.approve_mdf(the_request);
  PERFORM prm.claim_mdf(the_request, the_expense, '{"invoice": 1}');
  PERFORM prm.reimburse_mdf(the_request);
  RETURN (SELECT format('%s %s', trim_scale(paid), paid_limit) FROM prm.mdf_request WHERE request_id = the_request AND program_id = prm.current_program());
END $$;
SELECT is(pg_temp.fund('P1', 600000, 20000), '6000 budget', 'MDF-004 the accrual binds');
SELECT is(pg_temp.fund('P2', 2000000, 30000), '10000 limit', 'MDF-004 the absolute limit binds');
SELECT is(pg_temp.fund('P3', 900000, 8000), '4000 share', 'MDF-004 the share binds');

-- MDF-005: 2 % of the growth.
INSERT INTO prm.earning_event (kind, partner_id, amount, currency, occurred_at) VALUES ('sell_in', :bob, 500000, 'USD', '2025-06-01'), ('sell_in', :bob, 650000, 'USD', '2026-02-01');
INSERT INTO prm.mdf_fund (name, partner_id, currency, accrual_rate, accrual_basis, year_start) VALUES ('Growth', :bob, 'USD', 0.02, 'growth', '2026-01-01') RETURNING fund_id AS growth \gset
SELECT is((SELECT budget FROM prm.mdf_budget(:growth)), 3000.00, 'MDF-005 growth pool');
SELECT throws_ok(format('SELECT prm.request_mdf(%s, ''x'', 10, ''[2026-05-01,2026-06-01)'', %s)', :growth, :ann), '42501', NULL, 'a fund of another partner');
SELECT throws_ok('SELECT prm.approve_mdf(-1)', '42704', NULL, 'an unknown request');

-- What the campaign brought in.
SELECT prm._import_context();
INSERT INTO prm.lead (partner_id, company, campaign, state) VALUES (:ann, 'Acorn', 'Spring fair', 'new') RETURNING lead_id AS lead \gset
INSERT INTO prm.deal (partner_id, lead_id, name, amount, currency, state) VALUES (:ann, :lead, 'Acorn', 20000, 'USD', 'won');
SELECT is((SELECT format('%s %s %s %s %s', paid, leads, deals_won, revenue, return_on_investment) FROM prm.v_mdf_campaign WHERE program_id = :program AND campaign = 'Spring fair'), '4000 1 1 20000 5.00', 'return on investment per campaign');

-- By partners.
CREATE ROLE prm_mdf_ann;
INSERT INTO prm.partner_login (role_name, partner_id) VALUES ('prm_mdf_ann', :ann);
SELECT prm.grant_access('prm_mdf_ann', 'partner');
SET LOCAL ROLE prm_mdf_ann;
SELECT throws_ok('SELECT prm.approve_mdf(1)', '42501', NULL, 'a partner approves nothing');
SELECT is((SELECT count(*) FROM prm.mdf_request WHERE partner_id <> prm.current_partner()), 0::bigint, 'and sees its own requests only');
SELECT prm.request_mdf(:pool, 'Fair in autumn', 100, '[2026-04-01,2026-04-02)') AS mine \gset
SELECT is((SELECT format('%s %s', state, requested_by) FROM prm.mdf_request WHERE request_id = :mine), 'requested prm_mdf_ann', 'it asks');
SELECT throws_ok(format('SELECT prm.request_mdf(%s, ''x'', 1, ''[2026-04-01,2026-04-02)'')', :growth), '42704', NULL, 'not of another partner''s fund, which it does not see');
SELECT throws_ok(format('INSERT INTO prm.mdf_request (fund_id, partner_id, campaign, expense, activity) VALUES (%s, %s, ''x'', 1, ''[2026-04-01,2026-04-02)'')', :growth, :ann), '42501', NULL, 'not even by its number');
SELECT throws_ok(format('INSERT INTO prm.mdf_request (request_id, fund_id, partner_id, campaign, expense, activity) VALUES (999999, %s, %s, ''x'', 1, ''[2026-04-01,2026-04-02)'')', :pool, :ann), '42501', NULL, 'a number is not chosen');
SELECT throws_ok(format('INSERT INTO prm.mdf_request (fund_id, partner_id, campaign, expense, activity) VALUES (%s, %s, ''x'', 1, ''[2026-04-01,2026-04-02)'')', :pool, :bob), '42501', NULL, 'nor in another''s name');
RESET ROLE;
SELECT prm.approve_mdf(:mine) AS approved;
SET LOCAL ROLE prm_mdf_ann;
SELECT is(prm.claim_mdf(:mine, 80, '{"invoice": "F-90"}'), 'claimed', 'and claims');
SELECT throws_ok(format('UPDATE prm.mdf_request SET approved = 1000 WHERE request_id = %s', :mine), '42501', NULL, 'but changes nothing');
RESET ROLE;
SELECT is(prm.reimburse_mdf(:mine), 40.00, 'and is paid its share');


-- What a partner sees of funds: its own, and those for everybody without what they hold.
INSERT INTO prm.mdf_fund (name, partner_id, currency, granted, year_start) VALUES ('Of Ann', :ann, 'USD', 700, '2026-01-01') RETURNING fund_id AS own \gset
SELECT prm.approve_mdf(prm.request_mdf(:own, 'Own', 200, '[2026-04-01,2026-04-02)')) AS approved;
SELECT prm.request_mdf(:pool, 'Bob asks', 100, '[2026-04-01,2026-04-02)', :bob) AS bobs \gset
SET LOCAL ROLE prm_mdf_ann;
SELECT is((SELECT string_agg(name, ', ' ORDER BY name) FROM prm.mdf_fund), 'Of Ann, Pool, Small', 'a partner sees its funds and those for everybody');
SELECT is((SELECT string_agg(format('%s %s %s', fund, coalesce(remaining::text, '-'), committed), ', ' ORDER BY fund) FROM prm.v_mdf_balance), 'Of Ann 600.00 100.00, Pool - 0.00, Small - 0', 'and what its own ones hold');
SELECT is((SELECT string_agg(format('%s %s', name, available), ', ') FROM prm.mdf_budget()), 'Of Ann 600.00', 'so does mdf_budget()');
SELECT is((SELECT count(*) FROM prm.mdf_budget(:pool)), 0::bigint, 'which tells nothing of others');
SELECT is((SELECT count(*) FROM prm.mdf_entry WHERE partner_id IS DISTINCT FROM prm.current_partner()), 0::bigint, 'of the entries only its own');
SELECT is((SELECT string_agg(concat_ws(' ', subject, amount), ', ' ORDER BY step) FROM prm.explain_mdf(:mine)), 'claim 80, share 40.00, approval 50.00, remaining, limit, deadline, evidence, result 40.00', 'it may ask why, but not what the fund holds');
SELECT is((SELECT reason FROM prm.explain_mdf(:r2) WHERE subject = 'result'), 'nothing is paid: it was claimed on 2026-04-01, after 2026-03-31', 'and why not');
SELECT throws_ok(format('SELECT * FROM prm.explain_mdf(%s)', :bobs), '42704', NULL, 'only of its own requests');
SELECT throws_ok(format('SELECT prm.claim_mdf(%s, 1, ''{"a": 1}'')', :bobs), '42704', NULL, 'it claims only its own');
SELECT throws_ok(format('INSERT INTO prm.mdf_claim (request_id, partner_id, amount, evidence) VALUES (%s, %s, 1, ''{"a": 1}'')', :bobs, :ann), '42501', NULL, 'not even by its number');
SELECT throws_ok(q, '42501', NULL, 'a partner may not: ' || left(q, 40)) FROM unnest(ARRAY['SELECT prm.approve_mdf(1)', 'SELECT prm.reject_mdf(1, ''x'')', 'SELECT prm.reimburse_mdf(1)', 'SELECT prm.grant_mdf(1, 1, ''x'')', 'SELECT prm.post_mdf()',
  'INSERT INTO prm.mdf_fund (name) VALUES (''x'')', 'UPDATE prm.mdf_fund SET granted = 1', 'INSERT INTO prm.mdf_entry DEFAULT VALUES', 'SELECT prm._mdf_fund_row()', format('SELECT prm._post_mdf(%s, 1)', prm.current_program()),
  'UPDATE prm.mdf_request SET state = ''approved''', 'DELETE FROM prm.mdf_claim']) q;
SELECT throws_ok(format('SELECT prm.fire(''mdf_request'', %s, ''approve'')', :mine), '42501', 'permission denied for table mdf_request', 'nor fire an approval');
RESET ROLE;
CREATE ROLE prm_mdf_manager;
SELECT prm.grant_access('prm_mdf_manager', 'manager');
SET LOCAL ROLE prm_mdf_manager;
SELECT is((SELECT count(*) FROM prm.v_mdf_balance WHERE remaining IS NULL), 0::bigint, 'staff sees what funds hold');
SELECT is((SELECT available FROM prm.mdf_budget(:own)), 600.00, 'in mdf_budget(), too');
SELECT throws_ok('SELECT prm.approve_mdf(1)', '42501', NULL, 'approvals are the owner''s');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
