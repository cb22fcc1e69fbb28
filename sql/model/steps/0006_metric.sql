
-- Metrics: their definitions and the values that were pushed.

CREATE TABLE prm.metric (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  metric text NOT NULL,
  label text NOT NULL,
  unit text NOT NULL DEFAULT 'count',
  higher_is_better boolean NOT NULL DEFAULT true,
  source text NOT NULL DEFAULT 'pushed',
  window_kind text NOT NULL DEFAULT 'point',
  CONSTRAINT metric_pkey PRIMARY KEY (program_id, metric),
  CONSTRAINT metric_source_check CHECK (source IN ('built_in', 'pushed')),
  CONSTRAINT metric_window_check CHECK (window_kind IN ('point', 'rolling_30_days', 'rolling_12_months', 'lifetime'))
);

-- Values that were pushed by record_metric(); built-in metrics are computed from the model when asked.
CREATE TABLE prm.metric_value (
  program_id bigint NOT NULL,
  partner_id bigint NOT NULL,
  metric text NOT NULL,
  observed_at timestamptz NOT NULL,
  value numeric NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT metric_value_pkey PRIMARY KEY (program_id, partner_id, metric, observed_at),
  CONSTRAINT metric_value_metric_fkey FOREIGN KEY (program_id, metric) REFERENCES prm.metric (program_id, metric) ON DELETE CASCADE,
  CONSTRAINT metric_value_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE,
  CONSTRAINT metric_value_observed_at_check CHECK (isfinite(observed_at)),
  CONSTRAINT metric_value_finite_check CHECK (value < 'Infinity' AND value > '-Infinity')
);
