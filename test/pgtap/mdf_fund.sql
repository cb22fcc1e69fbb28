-- Market development funds: the entries of a fund, its years, its terms, and what explains a claim.
BEGIN;
\ir settlement.psql

SELECT pg_temp.program('Fund years') AS program \gset
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
-- The entries of a fund in one line: kind and amount, a year after the other.
CREATE FUNCTION pg_temp.entries(the_fund bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', to_char(period, 'YYYY'), kind, trim_scale(amount)), ', ' ORDER BY period, mdf_entry_id) FROM prm.mdf_entry WHERE program_id = prm.current_program() AND fund_id = the_fund $$;
CREATE FUNCTION pg_temp.post(the_fund bigint, the_dry boolean DEFAULT false) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', to_char(p.period, 'YYYY'), p.kind, trim_scale(p.amount)), ', '), 'nothing') FROM prm.post_mdf(the_fund, the_dry) p $$;
CREATE FUNCTION pg_temp.fund(the_name text, the_terms jsonb) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO prm.mdf_fund (name, partner_id, currency, granted, is_renewed, accrual_rate, accrual_basis, accrual_kind, accrual_benefit, limit_amount, share, share_benefit, claim_days, evidence, year_start, carry_over, carry_share, carry_cap)
  SELECT the_name, f.partner_id, coalesce(f.currency, 'USD'), coalesce(f.granted, 0), coalesce(f.is_renewed, false), coalesce(f.accrual_rate, 0), coalesce(f.accrual_basis, 'none'), coalesce(f.accrual_kind, 'sell_in'), f.accrual_benefit,
    f.limit_amount, coalesce(f.share, 0.5), f.share_benefit, coalesce(f.claim_days, 60), coalesce(f.evidence, '{}'), coalesce(f.year_start, '2026-01-01'), coalesce(f.carry_over, 'none'), f.carry_share, f.carry_cap
  FROM jsonb_populate_record(NULL::prm.mdf_fund, the_terms) f RETURNING fund_id $$;
CREATE FUNCTION pg_temp.explained(the_request bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s%s', subject, coalesce(trim_scale(amount)::text, '-'), CASE WHEN binding THEN '*' END), ', ' ORDER BY step) FROM prm.explain_mdf(the_request) $$;
CREATE FUNCTION pg_temp.why(the_request bigint) RETURNS text LANGUAGE sql AS $$ SELECT reason FROM prm.explain_mdf(the_request) WHERE subject = 'result' $$;
CREATE FUNCTION pg_temp.ask(the_fund bigint, the_partner bigint, the_expense numeric, the_days daterange DEFAULT '[2026-02-01,2026-03-01)') RETURNS bigint LANGUAGE sql AS $$
  SELECT prm.request_mdf(the_fund, 'Fair', the_expense, the_days, the_partner) $$;

-- What a fund holds is the sum of its entries.
SELECT pg_temp.at('2026-01-10 12:00+00');
SELECT pg_temp.fund('Pool', '{"granted": 10000}') AS pool \gset
SELECT is(pg_temp.entries(:pool), '2026 grant 10000', 'the terms grant, as soon as the fund is there');
SELECT is(prm.grant_mdf(:pool, 500, 'trade fair'), 10500::numeric, 'more is given');
SELECT is(prm.grant_mdf(:pool, -1500, 'taken back'), 9000::numeric, 'or taken back');
SELECT throws_ok(format('SELECT prm.grant_mdf(%s, -9000.01, ''x'')', :pool), '23514', NULL, 'as far as it is free');
SELECT throws_ok(format('SELECT prm.grant_mdf(%s, %s, ''x'')', :pool, bad), '22023', NULL, 'no grant: ' || bad) FROM unnest(ARRAY['0', 'NULL', '''NaN''', '''Infinity''', '0.001']) bad;
SELECT throws_ok(format('SELECT prm.grant_mdf(%s, 1, '' '')', :pool), '22023', NULL, 'a grant has a reason');
SELECT throws_ok('SELECT prm.grant_mdf(-1, 1, ''x'')', '42704', NULL, 'and a fund');
UPDATE prm.mdf_fund SET granted = 12000 WHERE fund_id = :pool;
SELECT is(pg_temp.entries(:pool), '2026 grant 10000, 2026 grant 500, 2026 grant -1500, 2026 grant 2000', 'changed terms post the difference');
SELECT is(pg_temp.post(:pool), 'nothing', 'once');
SELECT throws_ok('UPDATE prm.mdf_entry SET amount = 1', '55000', NULL, 'entries are never changed');
SELECT throws_ok('DELETE FROM prm.mdf_entry', '55000', NULL, 'nor deleted');
SELECT throws_ok(format('UPDATE prm.mdf_fund SET currency = ''EUR'' WHERE fund_id = %s', :pool), '55000', NULL, 'a fund in use keeps its currency');
SELECT pg_temp.ask(:pool, :ann, 9000) AS r1 \gset
SELECT is(pg_temp.explained(:r1), 'expense 9000, share 4500*, approval -, remaining 11000, limit -, deadline -, evidence -, result 4500', 'before approval: so much can be approved');
SELECT prm.approve_mdf(:r1, 4000) AS approved;
SELECT is(pg_temp.explained(:r1), 'expense 9000, share 4500, approval 4000*, remaining 11000, limit -, deadline -, evidence -, result 4000', 'before the claim: so much if all is spent');
SELECT pg_temp.at('2026-03-10 12:00+00');
SELECT prm.claim_mdf(:r1, 7000, '{"invoice": "F-1"}') AS state;
SELECT is(pg_temp.explained(:r1), 'claim 7000, share 3500*, approval 4000, remaining 11000, limit -, deadline -, evidence -, result 3500', 'a claim: the share binds');
SELECT prm.reimburse_mdf(:r1) AS paid;
SELECT is(pg_temp.entries(:pool), '2026 grant 10000, 2026 grant 500, 2026 grant -1500, 2026 grant 2000, 2026 commitment -4000, 2026 release 4000, 2026 reimbursement -3500', 'a request from commitment to reimbursement');
SELECT is(pg_temp.explained(:r1), 'claim 7000, share 3500*, approval 4000, remaining 11000, limit -, deadline -, evidence -, result 3500', 'the same afterwards, however the fund went on');
SELECT is((SELECT concat_ws(' ', granted, committed, spent, remaining, expiring) FROM prm.v_mdf_balance WHERE program_id = :program AND fund_id = :pool), '11000 0 3500.00 7500.00 7500.00', 'the view for BI');
SELECT is((SELECT explain_mdf.amount FROM prm.explain_mdf(claim_id => (SELECT claim_id FROM prm.mdf_claim WHERE request_id = :r1)) WHERE subject = 'result'), 3500.00, 'asked by its claim');
SELECT throws_ok('SELECT prm.explain_mdf()', '42704', NULL, 'of nothing there is nothing to explain');
SELECT throws_ok(format('SELECT prm.explain_mdf(%s, -1)', :r1), '42704', NULL, 'nor of a claim of another request');

-- Why nothing is paid.
SELECT pg_temp.at('2026-01-20 12:00+00');
SELECT pg_temp.ask(:pool, :ann, 100) AS w1, pg_temp.ask(:pool, :ann, 100) AS w2, pg_temp.ask(:pool, :ann, 100) AS w3, pg_temp.ask(:pool, :ann, 100) AS w4 \gset
SELECT prm.approve_mdf(r) FROM unnest(ARRAY[:w1, :w2]::bigint[]) r;
SELECT prm.reject_mdf(:w3, 'no logo on it') AS state;
SELECT is(pg_temp.why(:w1), 'nothing is paid yet: it is not claimed; so much if all of it is spent', 'approved');
SELECT is(pg_temp.why(:w4), 'nothing is paid yet: it waits for approval; so much can be approved', 'requested');
SELECT pg_temp.at('2026-05-01 12:00+00');
SELECT is(pg_temp.why(:w4), 'nothing can be approved: its days to claim are over', 'requested too long ago');
SELECT throws_ok(format('SELECT prm.approve_mdf(%s)', :w4), '55000', NULL, 'and not approved any more');
SELECT prm.claim_mdf(:w1, 100, '{"invoice": "F-2"}') AS state;
SELECT is(pg_temp.why(:w1), 'nothing is paid: it was claimed on 2026-05-01, after 2026-04-29', 'claimed too late');
SELECT prm._work_mdf(:program, 100) AS funds;
SELECT is(pg_temp.why(:w2), 'nothing is paid: nobody claimed it until 2026-04-29', 'expired');
SELECT is(pg_temp.why(:w3), 'nothing is paid: it was rejected: no logo on it', 'rejected');
SELECT is((SELECT string_agg(subject, ',') FROM prm.explain_mdf(:w2) WHERE binding), 'deadline', 'the deadline binds');
SELECT is((SELECT concat_ws(' ', committed, available) FROM prm.mdf_budget(:pool)), '0.00 7500.00', 'all of it is free again');

-- Whatever way a request goes, the fund follows; and an amount comes from the functions only.
SELECT pg_temp.ask(:pool, :ann, 100, '[2026-06-01,2026-07-01)') AS x1 \gset
SELECT throws_ok(format('SELECT prm.fire(''mdf_request'', %s, ''approve'')', :x1), '55000', NULL, 'nothing is approved without an amount');
SELECT throws_ok(format('UPDATE prm.mdf_request SET state = ''approved'', approved = 7500.01 WHERE request_id = %s', :x1), '23514', NULL, 'not even the owner approves more than there is');
SELECT throws_ok(format('UPDATE prm.mdf_request SET state = ''approved'', approved = ''NaN'' WHERE request_id = %s', :x1), '23514', NULL, 'or what is no number');
SELECT prm.approve_mdf(:x1) AS approved;
SELECT throws_ok(format('SELECT prm.fire(''mdf_request'', %s, ''claim'')', :x1), '55000', NULL, 'nothing is claimed without a claim');
SELECT throws_ok(format('UPDATE prm.mdf_request SET approved = 8000 WHERE request_id = %s', :x1), '23514', NULL, 'an approval does not grow beyond the fund');
SELECT throws_ok(format('UPDATE prm.mdf_request SET partner_id = %s WHERE request_id = %s', :bob, :x1), '55000', NULL, 'a request does not move to another partner');
SELECT is(prm.fire('mdf_request', :x1, 'reject', 'off'), 'rejected', 'rejected by its machine');
SELECT is((SELECT concat_ws(' ', committed, available) FROM prm.mdf_budget(:pool)), '0.00 7500.00', 'it gives back what it had');
SELECT throws_ok(format('SELECT prm.request_mdf(%s, ''x'', %s, %L, %s)', :pool, e, d, :ann), '23514', NULL, format('no request: %s %s', e, d))
  FROM (VALUES ('-1', '[2026-06-01,2026-07-01)'), ('0', '[2026-06-01,2026-07-01)'), ('''NaN''', '[2026-06-01,2026-07-01)'), ('''Infinity''', '[2026-06-01,2026-07-01)'), ('1', 'empty'), ('1', '[2026-06-01,)'),
    ('1', '[2026-06-01,infinity)'), ('1', '(,2026-06-01)'), ('1', '[-infinity,2026-06-01)')) AS v(e, d);
SELECT throws_ok(format('SELECT prm.request_mdf(%s, ''x'', NULL, ''[2026-06-01,2026-07-01)'', %s)', :pool, :ann), '23502', NULL, 'nor one without an expense');

-- Accruals, from events, as often as one likes.
SELECT pg_temp.at('2026-02-01 12:00+00');
SELECT pg_temp.fund('Ann accrues', format('{"partner_id": %s, "accrual_rate": 0.02, "accrual_basis": "this_year"}', :ann)::jsonb) AS acc \gset
SELECT is(pg_temp.entries(:acc), NULL, 'nothing is sold yet');
SELECT pg_temp.sale(:ann, 'sell_in', 10000, '2026-01-15') AS s1, pg_temp.sale(:ann, 'sell_in', 333.33, '2026-01-16') AS s2, pg_temp.sale(:ann, 'sell_in', 500, '2025-12-31') AS s3,
  pg_temp.sale(:bob, 'sell_in', 7000, '2026-01-15') AS s4, pg_temp.sale(:ann, 'sell_in', 7000, '2026-01-15', 'EUR') AS s5 \gset
SELECT is((SELECT accrued FROM prm.mdf_budget(:acc)), 206.67, 'a budget knows what is not posted yet');
SELECT is(pg_temp.post(:acc, true), '2026 accrual 206.67', 'what is due');
SELECT is(pg_temp.entries(:acc), NULL, 'a dry run posts nothing');
SELECT is(pg_temp.post(:acc), '2026 accrual 206.67', 'of its own sales, of its year, in its currency');
SELECT is(pg_temp.post(:acc), 'nothing', 'and not twice');
SELECT pg_temp.refund(:s1, 4000, '2026-01-20') AS r;
SELECT is(pg_temp.post(:acc), '2026 accrual -80', 'refunds take it back');
SELECT is(pg_temp.post(:acc), 'nothing', 'once');
UPDATE prm.mdf_fund SET limit_amount = 100 WHERE fund_id = :acc;
SELECT is(pg_temp.entries(:acc), '2026 accrual 206.67, 2026 accrual -80, 2026 accrual -26.67', 'never above the limit');
SELECT is((SELECT binding FROM prm.mdf_budget(:acc)), 'limit', 'which is named');
SELECT throws_ok(format('SELECT prm.grant_mdf(%s, 100.01, ''x'')', :acc), '23514', NULL, 'no grant above it');
SELECT is(prm.grant_mdf(:acc, 60, 'fair'), 100.00, 'a grant leaves less to accrue below it');
SELECT throws_ok(format('UPDATE prm.mdf_fund SET granted = 101 WHERE fund_id = %s', :acc), '23514', NULL, 'the terms keep to it, too');

-- More was committed than is left after a refund: nothing more is approved, and the claim is paid what there is.
SELECT pg_temp.fund('Bob accrues', format('{"partner_id": %s, "accrual_rate": 0.1, "accrual_basis": "this_year", "share": 1}', :bob)::jsonb) AS bacc \gset
SELECT pg_temp.post(:bacc) AS posted;
SELECT pg_temp.ask(:bacc, :bob, 600, '[2026-02-10,2026-02-20)') AS b1 \gset
SELECT is(prm.approve_mdf(:b1), 600.00, 'committed from accruals');
SELECT pg_temp.refund(:s4, 3000, '2026-02-01') AS r;
SELECT is((SELECT available FROM prm.mdf_budget(:bacc)), -200.00, 'a refund may leave less than is committed');
SELECT prm.claim_mdf(:b1, 600, '{"invoice": "F-3"}') AS state;
SELECT is(pg_temp.explained(:b1), 'claim 600, share 600, approval 600, remaining 400*, limit -, deadline -, evidence -, result 400', 'the rest binds');
SELECT is(prm.reimburse_mdf(:b1), 400.00, 'and is paid');
SELECT is((SELECT paid_limit FROM prm.mdf_request WHERE request_id = :b1), 'budget', 'which is named');
SELECT is((SELECT available FROM prm.mdf_budget(:bacc)), 0.00, 'nothing is left');
SELECT pg_temp.ask(:bacc, :bob, 600, '[2026-02-10,2026-02-20)') AS b2 \gset
SELECT is(pg_temp.why(:b2), 'nothing can be approved: the fund has nothing left', 'and that is said');

-- The end of a year: none, all or a share goes on, at most the cap.
SELECT pg_temp.at('2026-01-10 12:00+00');
SELECT pg_temp.fund('None', '{"granted": 1000}') AS none, pg_temp.fund('All', '{"granted": 1000, "carry_over": "all"}') AS all, pg_temp.fund('Share', '{"granted": 1000, "carry_over": "share", "carry_share": 0.333, "is_renewed": true}') AS share,
  pg_temp.fund('Cap', '{"granted": 1000, "carry_over": "all", "carry_cap": 300}') AS cap, pg_temp.fund('Limit', '{"granted": 1000, "carry_over": "all", "limit_amount": 1200, "is_renewed": true}') AS lim \gset
SELECT is((SELECT string_agg(format('%s %s', name, trim_scale(expiring)), ', ' ORDER BY name) FROM prm.mdf_budget() WHERE name IN ('None', 'All', 'Share', 'Cap')), 'All 0, Cap 700, None 1000, Share 667', 'what is lost as things stand');
SELECT pg_temp.ask(:all, :ann, 400, '[2026-12-01,2027-02-01)') AS c1 \gset
SELECT prm.approve_mdf(:c1) AS committed;
SELECT pg_temp.at('2027-01-01 00:00+00');
SELECT is((SELECT string_agg(format('%s %s', name, trim_scale(available)), ', ' ORDER BY name) FROM prm.mdf_budget() WHERE name IN ('None', 'All', 'Share', 'Cap', 'Limit')), 'All 800, Cap 300, Limit 1200, None 0, Share 1333', 'a budget knows of the new year before it is posted');
SELECT is(prm._work_mdf(:program, 1000), (SELECT count(*) FROM prm.mdf_fund WHERE program_id = :program), 'the job goes through the funds');
SELECT is(prm._work_mdf(:program, 1000), 0::bigint, 'once a day');
SELECT is(pg_temp.entries(:none), '2026 grant 1000, 2026 expiry -1000', 'none');
SELECT is(pg_temp.entries(:all), '2026 grant 1000, 2026 commitment -200, 2026 carry_out -800, 2027 carry_in 800', 'all; what is committed stays');
SELECT is(pg_temp.entries(:share), '2026 grant 1000, 2026 carry_out -333, 2026 expiry -667, 2027 carry_in 333, 2027 grant 1000', 'a share, beside what is granted anew');
SELECT is(pg_temp.entries(:cap), '2026 grant 1000, 2026 carry_out -300, 2026 expiry -700, 2027 carry_in 300', 'at most the cap');
SELECT is(pg_temp.entries(:lim), '2026 grant 1000, 2026 carry_out -200, 2026 expiry -800, 2027 carry_in 200, 2027 grant 1000', 'and not beyond the limit of the next year');
SELECT is((SELECT string_agg(format('%s %s %s', to_char(period, 'YYYY'), trim_scale(remaining), is_current), ', ' ORDER BY period) FROM prm.v_mdf_balance WHERE program_id = :program AND fund_id = :all), '2026 0 f, 2027 800 t', 'a year a row');
-- What was committed in the old year comes back in the new one.
SELECT is(prm.reject_mdf(:c1, 'never took place'), 'rejected', 'a commitment of the old year');
SELECT is(pg_temp.entries(:all), '2026 grant 1000, 2026 commitment -200, 2026 carry_out -800, 2026 release 200, 2026 carry_out -200, 2027 carry_in 800, 2027 carry_in 200', 'goes the way of its year');
-- Policies hold from now on, not backwards; several years at once.
UPDATE prm.mdf_fund SET carry_over = 'all' WHERE fund_id = :none;
SELECT is(pg_temp.post(:none), 'nothing', 'what expired stays expired');
SELECT pg_temp.at('2029-06-01 12:00+00');
SELECT pg_temp.post(:none) AS posted;
UPDATE prm.mdf_fund SET is_renewed = true WHERE fund_id = :none;
SELECT is(pg_temp.entries(:none), '2026 grant 1000, 2026 expiry -1000, 2029 grant 1000', 'years that are over are granted nothing anew');
SELECT pg_temp.at('2029-06-01 12:00+00');
SELECT is(pg_temp.post(:share), '2027 carry_out -443.89, 2027 expiry -889.11, 2028 carry_in 443.89, 2028 grant 1000, 2028 carry_out -480.82, 2028 expiry -963.07, 2029 carry_in 480.82, 2029 grant 1000', 'years that nobody looked at');
SELECT is(pg_temp.post(:share), 'nothing', 'are posted once');
SELECT is((SELECT sum(amount) FROM prm.mdf_entry WHERE program_id = :program AND fund_id = :share AND kind IN ('carry_in', 'carry_out')), 0.00, 'what goes out comes in');
-- Sales that come late change what went on.
SELECT pg_temp.at('2026-06-01 12:00+00');
SELECT pg_temp.partner('Cat') AS cat \gset
SELECT pg_temp.fund('Late', format('{"partner_id": %s, "accrual_rate": 0.1, "accrual_basis": "this_year", "carry_over": "share", "carry_share": 0.5}', :cat)::jsonb) AS late \gset
SELECT pg_temp.sale(:cat, 'sell_in', 1000, '2026-05-01') AS s6 \gset
SELECT pg_temp.at('2027-01-05 12:00+00');
SELECT is(pg_temp.post(:late), '2026 accrual 100, 2026 carry_out -50, 2026 expiry -50, 2027 carry_in 50', 'the year ends');
SELECT pg_temp.sale(:cat, 'sell_in', 200, '2026-12-31') AS s7 \gset
SELECT is(pg_temp.post(:late), '2026 accrual 20, 2026 carry_out -10, 2026 expiry -10, 2027 carry_in 10', 'a sale that comes late');
SELECT pg_temp.refund(:s6, 800, '2027-01-04') AS r;
SELECT is(pg_temp.post(:late), '2026 accrual -80, 2026 carry_out 20, 2026 expiry 60, 2027 carry_in -20', 'a refund that comes late: first of what expired');
SELECT is((SELECT sum(amount) FROM prm.mdf_entry WHERE program_id = :program AND fund_id = :late AND period = '2026-01-01'), 0.00, 'nothing is left of the year');

-- What came from the year before leaves less to accrue below the limit.
SELECT pg_temp.at('2026-06-01 12:00+00');
SELECT pg_temp.fund('Full', format('{"partner_id": %s, "accrual_rate": 0.1, "accrual_basis": "this_year", "carry_over": "all", "limit_amount": 100}', :cat)::jsonb) AS full \gset
SELECT pg_temp.at('2027-01-05 12:00+00');
SELECT pg_temp.sale(:cat, 'sell_in', 5000, '2027-01-04') AS s8 \gset
SELECT is(pg_temp.post(:full), '2026 carry_out -40, 2027 carry_in 40, 2027 accrual 60', 'a year holds no more than its limit, wherever it came from');

-- The share that a tier gives.
INSERT INTO prm.tier (ladder, tier, rank, label) VALUES ('main', 'gold', 1, 'Gold'), ('main', 'odd', 2, 'Odd');
INSERT INTO prm.benefit (ladder, tier, benefit, value, label) VALUES ('main', 'gold', 'mdf_share', '75 %', 'Share of marketing expenses'), ('main', 'odd', 'mdf_share', 'lots', 'Share of marketing expenses');
SELECT prm.pin_tier(:ann, 'gold', NULL, 'test') AS gold, prm.pin_tier(:cat, 'odd', NULL, 'test') AS odd;
SELECT throws_ok('SELECT pg_temp.fund(''Bad'', ''{"share_benefit": "none"}'')', '42704', NULL, 'a benefit that nobody knows');
SELECT pg_temp.fund('Tiers', '{"granted": 1000, "year_start": "2027-01-01", "share": 0.4, "share_benefit": "mdf_share", "evidence": ["invoice", "photo"]}') AS tiers \gset
SELECT pg_temp.ask(:tiers, :ann, 100, '[2027-02-01,2027-03-01)') AS t1, pg_temp.ask(:tiers, :bob, 100, '[2027-02-01,2027-03-01)') AS t2, pg_temp.ask(:tiers, :cat, 100, '[2027-02-01,2027-03-01)') AS t3 \gset
SELECT is(prm.approve_mdf(:t1), 75.00, 'the share of its tier');
SELECT is(prm.approve_mdf(:t2), 40.00, 'without one the fund''s');
SELECT throws_ok(format('SELECT prm.approve_mdf(%s)', :t3), '22023', NULL, 'a benefit that is no percentage');
SELECT prm.pin_tier(:ann, NULL, NULL, 'test') IS NULL AS unpinned;
DELETE FROM prm.benefit WHERE program_id = :program AND tier = 'gold';
SELECT throws_ok(format('SELECT prm.claim_mdf(%s, 100, ''{"invoice": "F-9", "photo": " "}'')', :t1), '23514', NULL, 'the evidence that the fund asks for');
SELECT is(prm.claim_mdf(:t1, 80, '{"invoice": "F-9", "photo": "p.jpg"}'), 'claimed', 'given');
SELECT is(prm.reimburse_mdf(:t1), 60.00, 'the share of the approval holds, whatever the tier is by then');

-- The rate that a tier gives, as it was held at the sale.
INSERT INTO prm.benefit (ladder, tier, benefit, value, label) VALUES ('main', 'gold', 'mdf_percent', '3', 'Marketing funds');
SELECT pg_temp.partner('Dan') AS dan \gset
SELECT pg_temp.at('2027-02-01 00:00+00');
SELECT prm.pin_tier(:dan, 'gold', NULL, 'test') AS gold;
SELECT pg_temp.at('2027-03-01 00:00+00');
SELECT prm.pin_tier(:dan, 'odd', NULL, 'test') AS odd;
SELECT pg_temp.sale(:dan, 'sell_in', 1000, '2027-01-20') AS d1, pg_temp.sale(:dan, 'sell_in', 2000, '2027-02-10') AS d2, pg_temp.sale(:dan, 'sell_in', 4000, '2027-02-28') AS d3 \gset
SELECT pg_temp.refund(:d2, 500, '2027-02-20') AS r;
SELECT pg_temp.fund('By tier', format('{"partner_id": %s, "accrual_benefit": "mdf_percent", "accrual_basis": "this_year", "accrual_rate": 0.01, "year_start": "2027-01-01"}', :dan)::jsonb) AS bytier \gset
SELECT is(pg_temp.entries(:bytier), '2027 accrual 175', '1 % of 1000, and 3 % of 1500 and 4000');
SELECT is((SELECT string_agg(DISTINCT e.reason, '; ' ORDER BY e.reason) FROM prm.mdf_entry e WHERE e.program_id = :program AND e.kind = 'accrual' AND e.fund_id IN (:bytier, :acc)), '"mdf_percent" of sell_in, this year; 2% of sell_in, this year', 'what it comes from');
SELECT is(pg_temp.post(:bytier), 'nothing', 'once');
SELECT throws_ok('SELECT pg_temp.fund(''Bad'', ''{"accrual_benefit": "mdf_percent", "accrual_basis": "growth"}'')', '23514', NULL, 'growth has one rate');
SELECT throws_ok('SELECT pg_temp.fund(''Bad'', ''{"accrual_benefit": "none", "accrual_basis": "this_year"}'')', '42704', NULL, 'a benefit that nobody knows');
SELECT pg_temp.at('2027-01-05 12:00+00');

-- As it was known.
SELECT fund_id AS then_fund, clock_timestamp() AS then FROM prm.mdf_fund WHERE fund_id = :tiers \gset
SELECT prm.approve_mdf(prm.request_mdf(:tiers, 'Later', 200, '[2027-02-01,2027-03-01)', :bob)) AS approved;
SELECT is((SELECT available FROM prm.mdf_budget(:tiers)), 820.00, 'now');
SELECT is((SELECT format('%s %s %s %s', b.granted, b.committed, b.paid, b.available) FROM prm._mdf_balance(:program, :tiers, '2027-01-05', :'then', false) b), '1000 40.00 60.00 900.00', 'as it was known then');
SELECT throws_ok('SELECT prm.mdf_budget_as_of(NULL)', '22023', NULL, 'a moment is needed');
SELECT throws_ok('SELECT prm.mdf_budget_as_of(''infinity'')', '22023', NULL, 'on a calendar');
SELECT is((SELECT count(*) FROM prm.mdf_budget_as_of('2020-01-01')  WHERE available <> 0), 0::bigint, 'before everything there was nothing');

-- Each fund and year: what the entries say is what the requests say.
SELECT is((SELECT string_agg(detail, ', ') FROM prm._audit_mdf(:program)), NULL, 'the funds are sound');
ALTER TABLE prm.mdf_entry DISABLE TRIGGER prm_append_only;
DELETE FROM prm.mdf_entry WHERE program_id = :program AND request_id = :t1 AND kind = 'reimbursement';
ALTER TABLE prm.mdf_entry ENABLE ALWAYS TRIGGER prm_append_only;
SELECT is((SELECT string_agg(rule, ', ') FROM prm._audit_mdf(:program)), 'fund_request', 'and it is seen where they are not');

-- Terms that are none.
SELECT throws_ok(format('INSERT INTO prm.mdf_fund (name, %s) VALUES (''Odd terms'', %s)', c, v), e, NULL, format('no fund: %s = %s', c, v)) FROM (VALUES
  ('currency', '''QQQ''', '22023'), ('granted', '0.001', '22023'), ('granted', '''NaN''', '22003'), ('granted', '-1', '23514'), ('limit_amount', '''Infinity''', '22003'), ('share', '''NaN''', '23514'), ('share', '0', '23514'), ('accrual_rate', '0.1', '23514'),
  ('evidence', '''{""}''', '23514'), ('evidence', '''{NULL}''', '23514'), ('claim_days', '-1', '23514'), ('claim_days', '731', '23514'), ('year_start', '''infinity''', '23514'), ('carry_over', '''half''', '23514'),
  ('carry_over', '''share''', '23514'), ('carry_cap', '1', '23514'), ('accrual_kind', '''nothing''', '23503'), ('legal_entity', '''nobody''', '23503')) AS x(c, v, e);
SELECT throws_ok('INSERT INTO prm.mdf_fund (name) VALUES ('' '')', '23514', NULL, 'no fund without a name');
SELECT throws_ok(format('SELECT prm.request_mdf(%s, ''x'', 1, ''[2027-06-01,2027-07-01)'', -1)', :tiers), '42704', NULL, 'no request of nobody');

-- Defaults.
INSERT INTO prm.mdf_fund (name) VALUES ('Bare') RETURNING fund_id AS bare \gset
SELECT is((SELECT concat_ws(' ', currency, year_start, granted, share) FROM prm.mdf_fund WHERE fund_id = :bare), 'USD 2027-01-01 0 0.5', 'a fund needs nothing but a name');

SELECT * FROM finish();
ROLLBACK;
