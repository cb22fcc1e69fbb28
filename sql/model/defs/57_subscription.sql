
-- Subscriptions and quotas: what their columns go by, and the views over them.

CREATE OR REPLACE FUNCTION prm._subscription_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_day date := (prm.now() AT TIME ZONE prm._program_time_zone(NEW.program_id))::date;
BEGIN
  IF TG_OP = 'INSERT' THEN
    -- A subscription that was billed elsewhere so far says where to begin.
    NEW.next_period_on := CASE WHEN NEW.next_period_on IS NULL THEN NEW.started_on
      WHEN prm._subscription_period(NEW.started_on, NEW.period_kind, NEW.next_period_on) = NEW.next_period_on THEN NEW.next_period_on
      ELSE (SELECT min(n.first_day) FROM (SELECT (NEW.started_on + make_interval(months => k.number * prm._period_months(NEW.period_kind)))::date AS first_day
              FROM generate_series(0, 2 + greatest(NEW.next_period_on - NEW.started_on, 0) / (28 * prm._period_months(NEW.period_kind))) AS k(number)) n
            WHERE n.first_day >= NEW.next_period_on) END;
    RETURN NEW;
  END IF;
  IF (NEW.started_on <> OLD.started_on OR NEW.period_kind <> OLD.period_kind) AND OLD.next_period_on > OLD.started_on THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('subscription "%s" has booked periods and keeps them', OLD.subscription_id),
      DETAIL = format('It began on %s, by the %s; everything before %s is booked.', OLD.started_on, OLD.period_kind, OLD.next_period_on),
      HINT = 'Set ended_on and insert the subscription that follows it.', SCHEMA = 'prm', TABLE = 'subscription', COLUMN = 'started_on';
  ELSIF NEW.started_on <> OLD.started_on OR NEW.period_kind <> OLD.period_kind THEN
    NEW.next_period_on := NEW.started_on;
  ELSIF OLD.state = 'paused' AND NEW.state = 'active' AND NEW.next_period_on < the_day THEN
    -- What began during the pause is not booked.
    SELECT min(n.first_day) INTO NEW.next_period_on
      FROM (SELECT (NEW.started_on + make_interval(months => k.number * prm._period_months(NEW.period_kind)))::date AS first_day
            FROM generate_series(0, 2 + greatest(the_day - NEW.started_on, 0) / (28 * prm._period_months(NEW.period_kind))) AS k(number)) n
      WHERE n.first_day >= the_day;
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._subscription_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._subscription_row() IS 'Row trigger of subscription: keeps next_period_on; a subscription that has booked keeps its first day and its periods (55000).';
CREATE OR REPLACE TRIGGER prm_10_subscription_insert BEFORE INSERT ON prm.subscription FOR EACH ROW EXECUTE FUNCTION prm._subscription_row();
CREATE OR REPLACE TRIGGER prm_10_subscription_update BEFORE UPDATE ON prm.subscription FOR EACH ROW
  WHEN (NEW.started_on <> OLD.started_on OR NEW.period_kind <> OLD.period_kind OR NEW.state <> OLD.state) EXECUTE FUNCTION prm._subscription_row();

CREATE OR REPLACE VIEW prm.v_recurring_revenue WITH (security_invoker = true) AS
  SELECT s.program_id, s.partner_id, p.name AS partner, s.currency, count(*) AS subscriptions, count(DISTINCT s.customer_id) AS customers,
    prm.round_money(sum(s.amount / prm._period_months(s.period_kind)), s.currency) AS monthly_revenue,
    prm.round_money(sum(s.amount * 12 / prm._period_months(s.period_kind)), s.currency) AS yearly_revenue
  FROM prm.subscription s
  LEFT JOIN prm.partner p ON p.program_id = s.program_id AND p.partner_id = s.partner_id
  WHERE s.state = 'active' AND s.started_on <= (prm.now() AT TIME ZONE prm._program_time_zone(s.program_id))::date
    AND (s.ended_on IS NULL OR s.ended_on >= (prm.now() AT TIME ZONE prm._program_time_zone(s.program_id))::date)
  GROUP BY s.program_id, s.partner_id, p.name, s.currency;
COMMENT ON VIEW prm.v_recurring_revenue IS 'What the running subscriptions of each partner bring each month, per currency.';
COMMENT ON COLUMN prm.v_recurring_revenue.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_recurring_revenue.partner_id IS 'The partner; NULL: sold without one.';
COMMENT ON COLUMN prm.v_recurring_revenue.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_recurring_revenue.currency IS 'ISO 4217; currencies are never added.';
COMMENT ON COLUMN prm.v_recurring_revenue.subscriptions IS 'Number of subscriptions that run today.';
COMMENT ON COLUMN prm.v_recurring_revenue.customers IS 'Number of their customers.';
COMMENT ON COLUMN prm.v_recurring_revenue.monthly_revenue IS 'Their amounts by the month; a yearly one counts with a twelfth.';
COMMENT ON COLUMN prm.v_recurring_revenue.yearly_revenue IS 'Their amounts by the year.';

CREATE OR REPLACE VIEW prm.v_quota WITH (security_invoker = true) AS
  SELECT q.program_id, q.quota_id, q.partner_id, p.name AS partner, q.measure, q.window_kind, w.window_start,
    prm.period_end(w.any_day, q.window_kind, g.fiscal_year_start) AS window_end, q.amount AS quota, d.quota_prorated,
    CASE q.measure WHEN 'quantity' THEN trim_scale(w.attained) ELSE prm.round_money(w.attained, g.currency, g.rounding) END AS attained,
    round(w.attained / d.quota_prorated, 4) AS attainment, CASE WHEN q.measure <> 'quantity' THEN g.currency END AS currency
  FROM prm.quota q
  JOIN prm.program g ON g.program_id = q.program_id
  JOIN prm.partner p ON p.program_id = q.program_id AND p.partner_id = q.partner_id
  CROSS JOIN LATERAL (
    SELECT c.window_start, max(c.occurred_on) AS any_day, sum(c.measured) AS attained FROM (
      SELECT prm.period_start(t.today, q.window_kind, g.fiscal_year_start) AS window_start, t.today AS occurred_on, 0::numeric AS measured
      FROM (SELECT (prm.now() AT TIME ZONE g.time_zone)::date AS today) t
      UNION ALL
      SELECT prm.period_start(e.occurred_on, q.window_kind, g.fiscal_year_start), e.occurred_on,
        CASE q.measure WHEN 'quantity' THEN e.quantity WHEN 'list_amount' THEN e.list_amount WHEN 'margin' THEN greatest(e.base - coalesce(e.cost, 0), 0) ELSE e.base END
          * CASE WHEN q.measure = 'quantity' THEN 1 ELSE prm._exchange_rate(q.program_id, e.currency, g.currency, e.occurred_on) END
          * e.weight / 100 * (1 - CASE WHEN coalesce(e.amount, 0) = 0 THEN least(e.refunds, 1) ELSE e.refunded / e.amount END)
      FROM (
        SELECT i.amount, coalesce(i.commissionable_amount, i.amount) AS base, i.cost, i.list_amount, i.quantity, i.currency, r.weight,
          (i.occurred_at AT TIME ZONE g.time_zone)::date AS occurred_on, coalesce(t.refunded, 0) AS refunded, coalesce(t.refunds, 0) AS refunds, i.kind
        FROM (
          -- An event counts once, with the largest of the partner's credits.
          SELECT c.earning_event_id, max(c.weight) AS weight FROM prm.sales_credit c
          WHERE c.program_id = q.program_id AND c.partner_id = q.partner_id
            AND c.revision = (SELECT max(m.revision) FROM prm.sales_credit m WHERE m.program_id = c.program_id AND m.earning_event_id = c.earning_event_id
                              AND m.credit_type = c.credit_type)
          GROUP BY c.earning_event_id
          UNION ALL
          SELECT o.earning_event_id, 100 FROM prm.earning_event o
          WHERE o.program_id = q.program_id AND o.partner_id = q.partner_id
            AND NOT EXISTS (SELECT 1 FROM prm.sales_credit c WHERE c.program_id = o.program_id AND c.earning_event_id = o.earning_event_id)) r
        JOIN prm.earning_event i ON i.program_id = q.program_id AND i.earning_event_id = r.earning_event_id
        LEFT JOIN prm.refund_total t ON t.program_id = q.program_id AND t.earning_event_id = r.earning_event_id) e
      -- What the rules by attainment earn on counts; without such rules, bookings.
      WHERE q.valid @> e.occurred_on AND e.kind = ANY (coalesce((SELECT array_agg(DISTINCT l.earn_on) FROM prm.commission_plan l
          JOIN prm.commission_rule u ON u.program_id = l.program_id AND u.plan_id = l.plan_id
          WHERE l.program_id = q.program_id AND l.is_active AND u.measure = 'attainment' AND u.basis = q.measure AND u.window_kind = q.window_kind), '{booked}'))) c
    GROUP BY c.window_start) w
  CROSS JOIN LATERAL (
    SELECT CASE WHEN q.window_kind = 'lifetime' THEN q.amount ELSE
      q.amount * (least(prm.period_end(w.any_day, q.window_kind, g.fiscal_year_start), upper(q.valid) - 1) - greatest(w.window_start, lower(q.valid), p.joined_on) + 1)
        / (prm.period_end(w.any_day, q.window_kind, g.fiscal_year_start) - w.window_start + 1) END AS quota_prorated) d
  WHERE d.quota_prorated > 0;
COMMENT ON VIEW prm.v_quota IS 'Quotas and what was reached of them: a row for the window of today and for each one in which the partner sold. Refunded sales do not count.';
COMMENT ON COLUMN prm.v_quota.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_quota.quota_id IS 'The quota.';
COMMENT ON COLUMN prm.v_quota.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_quota.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_quota.measure IS 'What counts: amount, list_amount, margin or quantity.';
COMMENT ON COLUMN prm.v_quota.window_kind IS 'month, half_month, quarter, half, year or lifetime.';
COMMENT ON COLUMN prm.v_quota.window_start IS 'First day of the window; -infinity for lifetime.';
COMMENT ON COLUMN prm.v_quota.window_end IS 'Last day of the window.';
COMMENT ON COLUMN prm.v_quota.quota IS 'The quota of a whole window.';
COMMENT ON COLUMN prm.v_quota.quota_prorated IS 'What of it falls on the days on which it is valid and the partner was in the programme.';
COMMENT ON COLUMN prm.v_quota.attained IS 'The partner''s credited share of what was sold, less refunds; money in the currency of the programme.';
COMMENT ON COLUMN prm.v_quota.attainment IS 'attained by quota_prorated; 1 is reached.';
COMMENT ON COLUMN prm.v_quota.currency IS 'Currency of the programme, for measures in money; NULL for quantity.';
