
-- Metrics: the definitions, the pushed values, and every metric of every partner as a view.

COMMENT ON TABLE prm.metric IS 'Metrics of a programme: numbers that say how a partner is doing.';
COMMENT ON COLUMN prm.metric.metric IS 'The metric. Built in: revenue_12m, deals_won_12m, win_rate, average_deal, open_pipeline, return_rate, response_hours, certified_people, customer_nps, partner_nps, content_use_30d, key_activities_30d, active_days_30d; and nps and logins_30d where their source is built_in.';
COMMENT ON COLUMN prm.metric.label IS 'Name for people.';
COMMENT ON COLUMN prm.metric.unit IS 'money (in the programme''s currency), count, ratio (0 to 1), hours, people, points ...';
COMMENT ON COLUMN prm.metric.higher_is_better IS 'Whether more is better.';
COMMENT ON COLUMN prm.metric.source IS 'built_in: computed from the model when asked. pushed: recorded with record_metric().';
COMMENT ON COLUMN prm.metric.window_kind IS 'point, rolling_30_days, rolling_12_months or lifetime. For a pushed metric it only says what the sender counts.';

COMMENT ON TABLE prm.metric_value IS 'Values of pushed metrics. The newest counts; built-in metrics are not stored.';
COMMENT ON COLUMN prm.metric_value.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.metric_value.metric IS 'The metric.';
COMMENT ON COLUMN prm.metric_value.observed_at IS 'The moment for which the value holds.';
COMMENT ON COLUMN prm.metric_value.value IS 'The value, in the metric''s unit; finite.';

CREATE OR REPLACE VIEW prm.v_partner_metric WITH (security_invoker = true) AS
  SELECT p.program_id, p.partner_id, p.name AS partner, m.metric, m.label, m.unit, v.value, v.observed_at
  FROM prm.program g
  CROSS JOIN LATERAL prm._metric_values(g.program_id, NULL, prm.now()) v
  JOIN prm.metric m ON m.program_id = g.program_id AND m.metric = v.metric
  JOIN prm.partner p ON p.program_id = g.program_id AND p.partner_id = v.partner_id;
COMMENT ON VIEW prm.v_partner_metric IS 'Every metric of every partner at prm.now(), a row for each value that is known. For one partner partner_metrics() is quicker.';
COMMENT ON COLUMN prm.v_partner_metric.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_partner_metric.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_partner_metric.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_partner_metric.metric IS 'The metric.';
COMMENT ON COLUMN prm.v_partner_metric.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_partner_metric.unit IS 'Its unit.';
COMMENT ON COLUMN prm.v_partner_metric.value IS 'Its value.';
COMMENT ON COLUMN prm.v_partner_metric.observed_at IS 'When it was observed; for built-in metrics prm.now().';
