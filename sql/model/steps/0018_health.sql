
-- Health: models, their metrics and bands, the versions that were used, what goes in beside the metrics, and how each partner was.

CREATE TABLE prm.health_model (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  model text NOT NULL,
  label text NOT NULL,
  kind text NOT NULL DEFAULT 'weighted',
  partner_kind text,
  segment text,
  priority integer NOT NULL DEFAULT 0,
  is_active boolean NOT NULL DEFAULT true,
  partner_visible boolean NOT NULL DEFAULT true,
  band_ties text NOT NULL DEFAULT 'high',
  rollup text,
  rollup_own boolean NOT NULL DEFAULT true,
  options jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT health_model_name_check CHECK (btrim(model) <> '' AND length(model) <= 200),
  CONSTRAINT health_model_pkey PRIMARY KEY (program_id, model),
  CONSTRAINT health_model_kind_fkey FOREIGN KEY (program_id, partner_kind) REFERENCES prm.partner_kind (program_id, kind),
  CONSTRAINT health_model_kind_check CHECK (kind IN ('weighted', 'additive', 'rules')),
  CONSTRAINT health_model_band_ties_check CHECK (band_ties IN ('high', 'low')),
  CONSTRAINT health_model_rollup_check CHECK (rollup IN ('mean', 'revenue_weighted', 'minimum'))
);
-- One model in force for each kind of partner in each segment, and one for all the others.
CREATE UNIQUE INDEX health_model_active_key ON prm.health_model (program_id, coalesce(partner_kind, ''), coalesce(segment, '')) WHERE is_active;

CREATE TABLE prm.health_metric (
  program_id bigint NOT NULL,
  model text NOT NULL,
  metric text NOT NULL,
  group_name text NOT NULL,
  aspect text NOT NULL DEFAULT 'performance',
  group_weight numeric NOT NULL DEFAULT 1,
  weight numeric NOT NULL DEFAULT 1,
  points numeric,
  how text NOT NULL DEFAULT 'linear',
  low numeric,
  high numeric,
  half_life interval,
  max_age interval,
  missing text NOT NULL DEFAULT 'skip',
  customers text,
  knock_out_below numeric,
  knock_out_above numeric,
  knock_out_cap numeric,
  options jsonb NOT NULL DEFAULT '{}',
  CONSTRAINT health_metric_name_check CHECK (btrim(group_name) <> '' AND length(group_name) <= 200),
  CONSTRAINT health_metric_pkey PRIMARY KEY (program_id, model, metric),
  CONSTRAINT health_metric_model_fkey FOREIGN KEY (program_id, model) REFERENCES prm.health_model (program_id, model) ON DELETE CASCADE,
  CONSTRAINT health_metric_metric_fkey FOREIGN KEY (program_id, metric) REFERENCES prm.metric (program_id, metric),
  CONSTRAINT health_metric_aspect_check CHECK (aspect IN ('performance', 'relationship')),
  CONSTRAINT health_metric_weight_check CHECK (weight > 0 AND weight < 'Infinity' AND group_weight > 0 AND group_weight < 'Infinity'),
  CONSTRAINT health_metric_points_check CHECK (points > '-Infinity' AND points < 'Infinity'),
  CONSTRAINT health_metric_missing_check CHECK (missing IN ('skip', 'zero', 'neutral')),
  CONSTRAINT health_metric_customers_check CHECK (customers IS NULL OR (customers IN ('mean', 'revenue_weighted', 'minimum') AND how <> ALL ('{percentile,per_unit}'))),
  CONSTRAINT health_metric_how_check CHECK (how IN ('linear', 'inverse', 'as_is', 'step', 'target', 'percentile', 'choice', 'per_unit')),
  CONSTRAINT health_metric_bounds_check CHECK (how <> ALL ('{linear,inverse}') OR (low IS NOT NULL AND high IS NOT NULL AND low < high)),
  CONSTRAINT health_metric_half_life_check CHECK (half_life > interval '0'),
  CONSTRAINT health_metric_max_age_check CHECK (max_age > interval '0'),
  CONSTRAINT health_metric_per_unit_check CHECK (how <> 'per_unit' OR (missing <> 'neutral' AND half_life IS NULL AND options = '{}')),
  CONSTRAINT health_metric_finite_check CHECK (knock_out_below > '-Infinity' AND knock_out_below < 'Infinity' AND knock_out_above > '-Infinity' AND knock_out_above < 'Infinity'
    AND knock_out_cap > '-Infinity' AND knock_out_cap < 'Infinity'),
  CONSTRAINT health_metric_knock_out_check CHECK ((knock_out_cap IS NOT NULL) = (knock_out_below IS NOT NULL OR knock_out_above IS NOT NULL))
);

CREATE TABLE prm.health_band (
  program_id bigint NOT NULL,
  model text NOT NULL,
  band text NOT NULL,
  lower numeric NOT NULL,
  rank integer NOT NULL,
  CONSTRAINT health_band_name_check CHECK (btrim(band) <> '' AND length(band) <= 200),
  CONSTRAINT health_band_pkey PRIMARY KEY (program_id, model, band),
  CONSTRAINT health_band_lower_check CHECK (lower > '-Infinity' AND lower < 'Infinity'),
  CONSTRAINT health_band_lower_key UNIQUE (program_id, model, lower),
  CONSTRAINT health_band_model_fkey FOREIGN KEY (program_id, model) REFERENCES prm.health_model (program_id, model) ON DELETE CASCADE
);

-- What a model said when a snapshot was taken by it. The tables above may be edited at any time: this is never.
CREATE TABLE prm.health_model_version (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  model text NOT NULL,
  version integer NOT NULL,
  definition jsonb NOT NULL,
  used_from timestamptz NOT NULL,
  used_until timestamptz,
  CONSTRAINT health_model_version_pkey PRIMARY KEY (program_id, model, version),
  CONSTRAINT health_model_version_check CHECK (version > 0)
);

-- Answers in words, for metrics with choices.
CREATE TABLE prm.health_choice (
  program_id bigint NOT NULL,
  partner_id bigint NOT NULL,
  metric text NOT NULL,
  observed_at timestamptz NOT NULL,
  choice text NOT NULL,
  recorded_by text NOT NULL DEFAULT current_user,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT health_choice_pkey PRIMARY KEY (program_id, partner_id, metric, observed_at),
  CONSTRAINT health_choice_metric_fkey FOREIGN KEY (program_id, metric) REFERENCES prm.metric (program_id, metric) ON DELETE CASCADE,
  CONSTRAINT health_choice_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE,
  CONSTRAINT health_choice_observed_at_check CHECK (isfinite(observed_at))
);

-- How the customers are doing, for metrics that a partner takes over from its customers.
CREATE TABLE prm.customer_metric_value (
  program_id bigint NOT NULL,
  customer_id bigint NOT NULL,
  metric text NOT NULL,
  observed_at timestamptz NOT NULL,
  value numeric NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT customer_metric_value_pkey PRIMARY KEY (program_id, customer_id, metric, observed_at),
  CONSTRAINT customer_metric_value_metric_fkey FOREIGN KEY (program_id, metric) REFERENCES prm.metric (program_id, metric) ON DELETE CASCADE,
  CONSTRAINT customer_metric_value_customer_fkey FOREIGN KEY (program_id, customer_id) REFERENCES prm.customer (program_id, customer_id) ON DELETE CASCADE,
  CONSTRAINT customer_metric_value_observed_at_check CHECK (isfinite(observed_at)),
  CONSTRAINT customer_metric_value_finite_check CHECK (value < 'Infinity' AND value > '-Infinity')
);

CREATE TABLE prm.health_snapshot (
  program_id bigint NOT NULL,
  partner_id bigint NOT NULL,
  model text NOT NULL,
  taken_at timestamptz NOT NULL,
  score numeric,
  band text NOT NULL,
  coverage numeric NOT NULL,
  parts jsonb NOT NULL,
  version integer NOT NULL,
  performance numeric,
  relationship numeric,
  CONSTRAINT health_snapshot_pkey PRIMARY KEY (program_id, partner_id, model, taken_at),
  CONSTRAINT health_snapshot_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE,
  -- A version that was used cannot go.
  CONSTRAINT health_snapshot_version_fkey FOREIGN KEY (program_id, model, version) REFERENCES prm.health_model_version (program_id, model, version)
);
