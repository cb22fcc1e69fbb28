-- Settlement, where closes, draws, disputes and bans meet: cases that once went wrong.
BEGIN;
\ir settlement.psql
CREATE FUNCTION pg_temp.profile(the_partner bigint, the_kind text, the_least numeric DEFAULT 0, the_auto boolean DEFAULT false, the_debt text DEFAULT 'net') RETURNS bigint LANGUAGE sql AS $$
  WITH y AS (INSERT INTO prm.payee (partner_id, legal_name, currency) SELECT p.partner_id, p.name, 'USD' FROM prm.partner p WHERE p.program_id = prm.current_program() AND p.partner_id = the_partner RETURNING payee_id)
  INSERT INTO prm.settlement_profile (payee_id, currency, period_kind, min_payout, auto_approve, debt_policy) SELECT y.payee_id, 'USD', the_kind, the_least, the_auto, the_debt FROM y RETURNING payee_id $$;
CREATE FUNCTION pg_temp.draws() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s %s', l.earned_on, l.amount), ', ' ORDER BY l.earned_on) FROM prm.ledger l WHERE l.program_id = prm.current_program() AND l.kind = 'draw' $$;
CREATE FUNCTION pg_temp.sound() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s %s: %s', rule, entry_id, detail), '; ') FROM prm.audit_ledger() $$;

-- Why something stays open is said whatever kinds of periods there are beside its own.
SELECT pg_temp.program('Reasons') AS program \gset
SELECT pg_temp.at('2025-01-20 12:00+00');
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
SELECT pg_temp.profile(:ann, 'half_month', 100);
SELECT pg_temp.sale(:ann, 'sell_out', 100, '2025-01-03'), pg_temp.sale(:bob, 'sell_out', 100, '2025-01-03');
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is((SELECT string_agg(format('%s %s', c.outcome, c.reason), ', ') FROM prm.close_period('2025-01-31', true) c WHERE c.payee = 'Ann'), 'below_minimum 10.00 is below the minimum of 100; it stays open', 'half months: a dry run says what is too little');
SELECT is((SELECT string_agg(format('%s %s', c.outcome, c.reason), ', ') FROM prm.close_period('2025-01-31') c WHERE c.payee = 'Ann'), 'below_minimum 10.00 is below the minimum of 100; it stays open', 'and so does the close');

-- Half months that nobody closed have their draws, the short ones too.
SELECT pg_temp.program('Half months') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.profile(:ann, 'half_month');
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:ann, 'USD', 50, '[2025-01-01,2026-01-01)');
SELECT pg_temp.at('2025-05-01 12:00+00');
SELECT is(pg_temp.closing('2025-04-30'), 'settled Ann 50 USD 2025-01-01, settled Ann 50 USD 2025-01-16, settled Ann 50 USD 2025-02-01, settled Ann 50 USD 2025-02-16, settled Ann 50 USD 2025-03-01, settled Ann 50 USD 2025-03-16, settled Ann 50 USD 2025-04-01, settled Ann 50 USD 2025-04-16',
  'periods that are made up for: no draw is left out');
-- An agreement without a first day begins with the first close.
SELECT pg_temp.program('For ever') AS program \gset
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:ann, 'USD', 60, '[-infinity,infinity)');
SET LOCAL statement_timeout = '20s';
SELECT is(pg_temp.closing('2025-02-28'), 'settled Ann 60 USD 2025-02-01', 'an agreement from -infinity to infinity draws, and the close ends');
SELECT pg_temp.at('2025-06-01 12:00+00');
SELECT is(pg_temp.closing('2025-05-31'), 'settled Ann 60 USD 2025-03-01, settled Ann 60 USD 2025-04-01, settled Ann 60 USD 2025-05-01', 'periods after that are made up for');
SET LOCAL statement_timeout = 0;

-- What was earned in one period is not earned again in the next because it is not settled yet.
SELECT pg_temp.program('Little') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
SELECT pg_temp.plan('later', 'invoiced', 0, '10%', 'collected');
SELECT pg_temp.profile(:ann, 'month', 75);
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:ann, 'USD', 60, '[2025-01-01,2025-06-01)');
SELECT pg_temp.sale(:ann, 'sell_out', 400, '2025-01-03'), pg_temp.sale(:ann, 'invoiced', 1000, '2025-01-03') AS invoice \gset
SELECT pg_temp.collect(:invoice, 100, '2025-01-20') \g /dev/null
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'below_minimum Ann 60.00 USD 2025-01-01, uncollected Ann 100.00 USD 2025-01-01', 'below the minimum with the draw');
SELECT pg_temp.collect(:invoice, 50, '2025-02-10') \g /dev/null
SELECT pg_temp.at('2025-03-03 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'settled Ann 120.00 USD 2025-02-01, uncollected Ann 85.00 USD 2025-02-01', 'two periods together have two guarantees');
SELECT is(pg_temp.draws(), '2025-01-31 10.00, 2025-02-28 55.00', 'of the second period only what was new counts: 5 of a collection');
-- Nor because its statement was cancelled.
SELECT prm.cancel_statement(statement_id, 'wrong') FROM prm.statement WHERE program_id = :program AND cancels_id IS NULL;
SELECT pg_temp.sale(:ann, 'sell_out', 200, '2025-03-10') \g /dev/null
SELECT pg_temp.at('2025-04-03 12:00+00');
SELECT is(pg_temp.closing('2025-03-31'), 'settled Ann 180.00 USD 2025-03-01, uncollected Ann 85.00 USD 2025-03-01', 'what comes back from a cancelled statement is paid beside the guarantee');
SELECT is(pg_temp.draws(), '2025-01-31 10.00, 2025-02-28 55.00, 2025-03-31 40.00', 'and counts no second time');
SELECT is(pg_temp.sound(), NULL, 'the books are sound');

-- A payment that bounced releases nothing.
SELECT pg_temp.program('Bounced') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('later', 'invoiced', 0, '10%', 'collected');
SELECT pg_temp.sale(:ann, 'invoiced', 1000, '2025-01-03') AS invoice \gset
SELECT pg_temp.collect(:invoice, 600, '2025-01-10') AS payment, pg_temp.collect(:invoice, 100, '2025-01-11') AS other \gset
SELECT pg_temp.refund(:payment, 400, '2025-01-20') \g /dev/null
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is((SELECT released FROM prm.v_released WHERE program_id = :program), 30.00, 'what is released counts without what bounced');
SELECT is(pg_temp.closing('2025-01-31'), 'settled Ann 30.00 USD 2025-01-01, uncollected Ann 70.00 USD 2025-01-01', 'and so does the close');
SELECT pg_temp.collect(:invoice, 700, '2025-02-10') \g /dev/null
SELECT pg_temp.at('2025-03-03 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'settled Ann 70.00 USD 2025-02-01', 'the rest comes with the rest');

-- Several periods at once, whose statements are approved as they are made: a debt is carried on before that.
SELECT pg_temp.program('Carried at once') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
SELECT pg_temp.profile(:ann, 'month', 0, true);
SELECT prm.post_adjustment(:ann, -30, 'USD', 'advance') \g /dev/null
SELECT pg_temp.sale(:ann, 'sell_out', 500, '2025-02-03') \g /dev/null
SELECT pg_temp.at('2025-03-03 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'carry Ann -30.00 USD 2025-01-01, settled Ann 20.00 USD 2025-02-01', 'two periods are closed by one call');
SELECT is((SELECT string_agg(format('%s %s', total, state), ', ' ORDER BY statement_id) FROM prm.statement WHERE program_id = :program), '-30.00 carried, 20.00 approved', 'the debt was carried, the rest approved');

-- A debt that is disputed is not taken off, and nobody else waits for it.
SELECT pg_temp.program('Disputed debt') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann, pg_temp.partner('Bob') AS bob \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
SELECT prm.post_adjustment(:ann, -30, 'USD', 'advance') AS entry \gset
SELECT pg_temp.sale(:bob, 'sell_out', 500, '2025-01-03') \g /dev/null
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'carry Ann -30.00 USD 2025-01-01, settled Bob 50.00 USD 2025-01-01', 'a debt and a claim');
SELECT prm.dispute(:entry, 'I never had it') \g /dev/null
SELECT pg_temp.approve();
SELECT is((SELECT string_agg(format('%s %s %s', payee, outcome, coalesce(reason, '-')), ', ' ORDER BY payee) FROM prm.create_payouts()), 'Ann not_approved a statement is disputed, Bob paid_out -', 'the others are paid');
SELECT prm.resolve_dispute(:entry, 'rejected', 'she had');
SELECT is(pg_temp.pay(), 'owes Ann -30.00 USD', 'afterwards it is owed');

-- What a ban canceled was never paid, so a refund takes nothing back of it, also where it was settled since the ban was lifted.
SELECT pg_temp.program('Lifted') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES ('fast', 'Fast', 'velocity', '{"events": 100000, "within": "1 hour"}');
SELECT pg_temp.sale(:ann, 'sell_out', 300, '2025-01-03') AS sale \gset
SELECT pg_temp.at('2025-01-10 12:00+00');
INSERT INTO prm.risk_event (risk_rule, partner_id, evidence) VALUES ('fast', :ann, '[]') RETURNING risk_event_id AS risk \gset
SELECT prm.resolve_risk(:risk, 'banned', 'fraud');
SELECT is(pg_temp.sound(), NULL, 'a ban after the day of the sale leaves the books sound');
SELECT prm.resolve_risk(:risk, 'benign', 'it was none');
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'settled Ann 0.00 USD 2025-01-01', 'what was canceled is settled with what cancels it');
SELECT pg_temp.refund(:sale, 100, '2025-02-10') \g /dev/null
SELECT is((SELECT sum(amount) FROM prm.ledger WHERE program_id = :program), 0.00, 'a refund leaves it at nothing');
SELECT is(pg_temp.sound(), NULL, 'and the books are sound');
SELECT pg_temp.at('2025-03-03 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'settled Ann 0.00 USD 2025-02-01', 'nothing is owed of it');

-- Nor is it taxed, or owed, where it was a fund's money or a draw.
SELECT pg_temp.program('Not earned') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
INSERT INTO prm.tax_rule (tax_rule, label, vat_rate) VALUES ('vat', 'VAT', 0.2);
SELECT pg_temp.profile(:ann, 'month', 500) AS payee \gset
UPDATE prm.payee SET tax_rule = 'vat' WHERE program_id = :program;
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:ann, 'USD', 60, '[2025-01-01,2025-02-15)');
INSERT INTO prm.mdf_fund (name, currency, granted, year_start) VALUES ('F', 'USD', 1000, '2025-01-01') RETURNING fund_id AS fund \gset
INSERT INTO prm.risk_rule (risk_rule, label, kind, parameters) VALUES ('fast', 'Fast', 'velocity', '{"events": 100000, "within": "1 hour"}');
SELECT prm.request_mdf(:fund, 'fair', 200, '[2025-01-01,2025-01-05)', :ann) AS request \gset
SELECT prm.approve_mdf(:request), prm.claim_mdf(:request, 200, '{"invoice": "1"}'), prm.reimburse_mdf(:request);
SELECT pg_temp.at('2025-02-03 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'below_minimum Ann 160.00 USD 2025-01-01', 'a reimbursement and a draw');
INSERT INTO prm.risk_event (risk_rule, partner_id, evidence) VALUES ('fast', :ann, '[]') RETURNING risk_event_id AS risk \gset
SELECT prm.resolve_risk(:risk, 'banned', 'fraud'), prm.resolve_risk(:risk, 'benign', 'it was none');
SELECT is(pg_temp.balance(:ann), 'USD pending 0 held 0 eligible 0.00 statement 0 paid 0 debt 0 draw 0', 'a ban cancels both, and no draw is left to be repaid');
SELECT is((SELECT count(*) FROM prm.v_aged_balance WHERE program_id = :program AND side = 'draw' AND total <> 0), 0::bigint, 'by age neither');
SELECT pg_temp.at('2025-03-03 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'settled Ann 0.00 USD 2025-02-01', 'they are settled with what cancels them, without a tax');
SELECT is(pg_temp.sound(), NULL, 'and the books are sound');
-- A debt is given up once, also where it was carried on before what gives it up is settled.
SELECT pg_temp.program('Given up') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
INSERT INTO prm.settlement_profile (debt_policy, write_off_days) VALUES ('write_off', 15);
SELECT prm.post_adjustment(:ann, -100, 'USD', 'advance') \g /dev/null
SELECT pg_temp.at('2025-02-02 12:00+00');
SELECT is(pg_temp.closing('2025-01-31'), 'carry Ann -100.00 USD 2025-01-01', 'a debt');
SELECT pg_temp.sale(:ann, 'sell_out', 300, '2025-02-10') \g /dev/null
SELECT pg_temp.at('2025-03-05 12:00+00');
SELECT is(prm.write_off_debts(), 1::bigint, 'is given up in March');
SELECT pg_temp.at('2025-03-06 12:00+00');
SELECT is(pg_temp.closing('2025-02-28'), 'carry Ann -70.00 USD 2025-02-01, pending Ann 100.00 USD 2025-02-01', 'and carried into February, less what was earned');
SELECT pg_temp.at('2025-03-07 12:00+00');
SELECT is(prm.write_off_debts(), 0::bigint, 'where it is not given up again');
SELECT pg_temp.at('2025-04-03 12:00+00');
SELECT is(pg_temp.closing('2025-03-31'), 'settled Ann 30.00 USD 2025-03-01', 'what was earned is left');
SELECT is(pg_temp.sound(), NULL, 'and the books are sound');
-- Periods that were settled month by month have no draw of their quarter.
SELECT pg_temp.program('Quarters now') AS program \gset
SELECT pg_temp.at('2025-01-01 12:00+00');
SELECT pg_temp.partner('Ann') AS ann \gset
SELECT pg_temp.plan('ten', 'sell_out', 0, '10%');
INSERT INTO prm.settlement_profile (auto_approve) VALUES (true);
INSERT INTO prm.draw_agreement (partner_id, currency, amount, valid) VALUES (:ann, 'USD', 60, '[2025-01-01,2026-01-01)');
SELECT count(pg_temp.sale(:ann, 'sell_out', 1000, day)) AS sales FROM unnest(ARRAY['2025-01-10', '2025-02-10', '2025-03-10', '2025-04-10']) day \gset
SELECT pg_temp.at('2025-06-03 12:00+00');
SELECT count(c.outcome) AS closed FROM prm.close_period('2025-05-31') c \gset
UPDATE prm.settlement_profile SET period_kind = 'quarter' WHERE program_id = :program;
SELECT pg_temp.at('2025-10-03 12:00+00');
SELECT is(pg_temp.closing('2025-09-30'), 'settled Ann 60 USD 2025-07-01', 'from months to quarters: the first whole quarter is closed');
SELECT is(pg_temp.draws(), '2025-05-31 60, 2025-09-30 60', 'and nothing is drawn for what the months have settled');
SELECT is((SELECT string_agg(outcome, ',') FROM prm.create_payouts(options => '{"legal_entity": null}')), 'paid_out', 'an option that is null is not given');
SELECT * FROM finish();
ROLLBACK;
