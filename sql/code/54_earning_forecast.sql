
-- Earning, ahead: what the open deals would earn, by how likely they are.

CREATE TYPE prm.commission_forecast_row AS (deal_id bigint, deal text, state text, partner_id bigint, level integer, component text, rule_id bigint,
  deal_amount numeric, probability numeric, cases bigint, commission_if_won numeric, expected numeric, currency text, reason text, expected_close_on date, plan_id bigint, credit_type text,
  seller_id bigint);
COMMENT ON TYPE prm.commission_forecast_row IS 'A row of commission_forecast().';
COMMENT ON COLUMN prm.commission_forecast_row.deal_id IS 'The open deal.';
COMMENT ON COLUMN prm.commission_forecast_row.deal IS 'Its name.';
COMMENT ON COLUMN prm.commission_forecast_row.state IS 'Its state.';
COMMENT ON COLUMN prm.commission_forecast_row.partner_id IS 'Who would be paid; where nothing would be paid, the partner of the deal.';
COMMENT ON COLUMN prm.commission_forecast_row.level IS '0 for the seller, 1 for its parent ...';
COMMENT ON COLUMN prm.commission_forecast_row.component IS 'The component of the plan.';
COMMENT ON COLUMN prm.commission_forecast_row.rule_id IS 'The rule that would pay.';
COMMENT ON COLUMN prm.commission_forecast_row.deal_amount IS 'Amount of the deal as it stands.';
COMMENT ON COLUMN prm.commission_forecast_row.probability IS 'From 0 to 1: that of the deal, where there is such a column, else the share of won deals among those that passed through its state and were decided. NULL: none was decided yet.';
COMMENT ON COLUMN prm.commission_forecast_row.cases IS 'How many decided deals the probability comes from; NULL where the deal has its own.';
COMMENT ON COLUMN prm.commission_forecast_row.commission_if_won IS 'What it would pay if it were won now, with what was attained and used of caps today.';
COMMENT ON COLUMN prm.commission_forecast_row.expected IS 'commission_if_won times probability, rounded.';
COMMENT ON COLUMN prm.commission_forecast_row.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.commission_forecast_row.reason IS 'Where both come from, in words.';
COMMENT ON COLUMN prm.commission_forecast_row.expected_close_on IS 'When the deal is expected to be decided.';
COMMENT ON COLUMN prm.commission_forecast_row.plan_id IS 'The plan.';
COMMENT ON COLUMN prm.commission_forecast_row.credit_type IS 'The type of the credit.';
COMMENT ON COLUMN prm.commission_forecast_row.seller_id IS 'The partner that would be credited.';

CREATE FUNCTION prm.commission_forecast(partner_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.commission_forecast_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(commission_forecast.program_id);
  the_deals bigint[];
BEGIN
  IF commission_forecast.partner_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = commission_forecast.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('partner %s does not exist in programme %s', commission_forecast.partner_id, the_program),
      DETAIL = 'The forecast is for one partner, or for all with NULL.', HINT = 'SELECT partner_id, name FROM prm.partner lists the partners.';
  END IF;
  SELECT array_agg(d.deal_id) INTO the_deals FROM prm.deal d
    WHERE d.program_id = the_program AND d.amount IS NOT NULL
      AND (SELECT s.is_final FROM prm.machine_state s WHERE s.program_id = the_program AND s.machine = 'deal' AND s.state = d.state ORDER BY s.version DESC LIMIT 1) IS NOT TRUE;
  RETURN QUERY
    WITH final AS (
      SELECT DISTINCT ON (s.state) s.state, s.is_final, s.category FROM prm.machine_state s
      WHERE s.program_id = the_program AND s.machine = 'deal' ORDER BY s.state, s.version DESC
    ),
    -- Each state that a decided deal passed through counts once for it.
    odds AS (
      SELECT h.state, count(*) AS cases, count(*) FILTER (WHERE h.won) AS won
      FROM (SELECT DISTINCT i.to_state AS state, d.deal_id, f.category IS NOT DISTINCT FROM 'won' AS won
            FROM prm.deal d JOIN final f ON f.state = d.state AND f.is_final
            JOIN prm.state_history i ON i.program_id = the_program AND i.machine = 'deal' AND i.subject_id = d.deal_id
            WHERE d.program_id = the_program) h
      GROUP BY h.state
    ),
    paid AS (
      SELECT o.* FROM prm._earning_outcome(the_program, coalesce(the_deals, '{}'), 'deal') o WHERE o.outcome IN ('won', 'unpaid')
    ),
    chance AS (
      SELECT d.deal_id, d.name, d.state, d.partner_id, d.amount, d.currency, d.expected_close_on, o.cases,
        x.own, coalesce(CASE WHEN x.own > 1 THEN x.own / 100 ELSE x.own END, o.won::numeric / nullif(o.cases, 0)) AS probability
      FROM prm.deal d
      LEFT JOIN odds o ON o.state = d.state
      -- The column is the user's own, where there is one.
      CROSS JOIN LATERAL (SELECT (to_jsonb(d) ->> 'probability')::numeric AS own) x
      WHERE d.program_id = the_program AND d.deal_id = ANY (the_deals)
    )
    SELECT c.deal_id, c.name, c.state, coalesce(o.partner_id, c.partner_id), coalesce(o.level, 0), o.component, o.rule_id, c.amount, round(c.probability, 4),
      CASE WHEN c.own IS NULL THEN coalesce(c.cases, 0) END, coalesce(o.amount, 0), prm.round_money(coalesce(o.amount, 0) * c.probability, coalesce(o.currency, c.currency)),
      coalesce(o.currency, c.currency),
      concat_ws('; ',
        CASE WHEN c.own IS NOT NULL THEN 'the deal gives its own probability'
          WHEN c.cases IS NULL THEN format('no deal that passed through %s was decided yet', c.state)
          ELSE format('%s%s of %s decided deals that passed through %s were won', CASE WHEN c.cases < 20 THEN 'few cases: ' ELSE '' END,
            round(c.probability * c.cases), c.cases, c.state) END,
        CASE WHEN o.earning_event_id IS NULL THEN 'no rule of a plan in force would pay it' ELSE concat_ws(': ', o.rule_label, o.reason) END),
      c.expected_close_on, o.plan_id, o.credit_type, o.seller_id
    FROM chance c
    LEFT JOIN paid o ON o.earning_event_id = c.deal_id
    WHERE commission_forecast.partner_id IS NULL OR coalesce(o.partner_id, c.partner_id) = commission_forecast.partner_id
    ORDER BY c.expected_close_on NULLS LAST, c.deal_id, o.level, o.partner_id, o.plan_id, o.component, o.rule_id;
END
$prm$;
COMMENT ON FUNCTION prm.commission_forecast(bigint, bigint) IS
'What the open deals would earn a partner (NULL: everybody whom you may see), each as if it were won now, times its probability; a row for each deal, payee and component, and one with the reason for deals that would pay nothing. Sum expected by currency. Error 42704 for an unknown partner.';
