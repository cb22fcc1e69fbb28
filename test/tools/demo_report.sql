-- What the owner of a channel programme wants to see first. Run by make demo; every statement works in psql as it stands.
\set QUIET on
\pset footer off
\pset null ''
\pset linestyle unicode
\pset border 2

\echo
\echo The tier ladder
SELECT label AS tier, partners, rpad('', partners::integer, '#') AS " ", at_risk, requirements FROM prm.v_tier WHERE program_id = prm.current_program() ORDER BY rank DESC;

\echo The lead funnel, from history
SELECT stage, reached, round(100 * share_of_previous, 1) AS "% of the stage before", round(100 * share_of_first, 1) AS "% of all"
FROM prm.v_lead_funnel WHERE program_id = prm.current_program() ORDER BY stage_no;

\echo The best partners, and what they lack for the next tier
SELECT p.name, p.tier, round(p.health_score, 1) AS health, p.health_band AS band, p.revenue_12m, p.next_tier,
  (SELECT string_agg(g.metric || ' ' || round(g.have) || ' of ' || round(g.need), ', ' ORDER BY g.metric)
   FROM prm.tier_gap(p.partner_id, p.next_tier) g WHERE NOT g.met) AS missing
FROM prm.v_partner p WHERE p.program_id = prm.current_program() AND p.state = 'active' ORDER BY p.revenue_12m DESC LIMIT 8;

\echo How the partners are doing, by tier: mean health, and how many are in which band
SELECT h.portfolio AS tier, h.partners, round(h.score, 1) AS health, round(h.lowest, 1) AS lowest, coalesce((h.bands ->> 'green')::integer, 0) AS green,
  coalesce((h.bands ->> 'yellow')::integer, 0) AS yellow, coalesce((h.bands ->> 'red')::integer, 0) AS red
FROM prm.health_portfolio('tier') h JOIN prm.v_tier t ON t.program_id = prm.current_program() AND t.ladder = 'main' AND t.tier = h.portfolio ORDER BY t.rank DESC;

\echo The partner whose health fell most, and what did it since its last snapshot
SELECT name AS fell, round(score, 1) AS health, band, round(trend, 1) AS trend, partner_id
FROM (SELECT p.name, p.partner_id, h.* FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() AND p.state = 'active') x
ORDER BY trend NULLS LAST, partner_id LIMIT 1;
SELECT c.group_name, c.metric, round(c.value_before, 2) AS before, round(c.value_after, 2) AS after, round(c.effect, 1) AS effect, c.note
FROM (SELECT p.partner_id, h.trend FROM prm.partner p CROSS JOIN LATERAL prm.health(p.partner_id) h WHERE p.program_id = prm.current_program() AND p.state = 'active' ORDER BY h.trend NULLS LAST, 1 LIMIT 1) p
CROSS JOIN LATERAL (SELECT max(s.taken_at) AS taken_at FROM prm.health_snapshot s WHERE s.program_id = prm.current_program() AND s.partner_id = p.partner_id) s
CROSS JOIN LATERAL prm.health_changes(p.partner_id, s.taken_at) c WHERE c.effect <> 0 ORDER BY c.effect;

\echo Commissions of the last three months
SELECT month, currency, entries, partners, amount FROM prm.v_commission_month WHERE program_id = prm.current_program() ORDER BY month DESC, currency LIMIT 3;

\echo Why one commission is what it is
SELECT step, outcome, reason, amount, part_lower, part_upper, rate
FROM prm.explain_commission((
  SELECT l.earning_event_id FROM prm.v_ledger l WHERE l.program_id = prm.current_program() AND l.kind = 'commission' ORDER BY l.amount DESC, l.entry_id LIMIT 1)) ORDER BY step;

\echo The last periods that were closed: statements by state
SELECT to_char(period, 'YYYY-MM') AS period, count(*) AS statements, sum(total) AS total, currency, string_agg(DISTINCT state, ', ') AS state
FROM prm.v_statement WHERE program_id = prm.current_program() GROUP BY period, currency ORDER BY v_statement.period DESC LIMIT 4;

\echo The statement-to-be of the partner with the most open money
SELECT partner, period, earned_on, what, amount, currency, status
FROM prm.v_statement_preview s
WHERE (program_id, partner_id, period) = (
  SELECT p.program_id, p.partner_id, max(p.period) FROM prm.v_statement_preview p WHERE p.program_id = prm.current_program()
  GROUP BY 1, 2 ORDER BY count(*) FILTER (WHERE p.status = 'pending') DESC, 2 LIMIT 1)
ORDER BY earned_on, entry_id;
