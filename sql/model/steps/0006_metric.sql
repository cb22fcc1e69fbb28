
-- Metrics, health and tiers: how a partner is doing and what that entitles it to.

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

CREATE TABLE prm.health_model (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  model text NOT NULL,
  label text NOT NULL,
  kind text NOT NULL DEFAULT 'weighted',
  partner_kind text,
  is_active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT health_model_pkey PRIMARY KEY (program_id, model),
  CONSTRAINT health_model_kind_fkey FOREIGN KEY (program_id, partner_kind) REFERENCES prm.partner_kind (program_id, kind),
  CONSTRAINT health_model_kind_check CHECK (kind = 'weighted')
);
-- One model in force for each kind of partner, and one for all the others.
CREATE UNIQUE INDEX health_model_active_key ON prm.health_model (program_id, coalesce(partner_kind, '')) WHERE is_active;

CREATE TABLE prm.health_metric (
  program_id bigint NOT NULL,
  model text NOT NULL,
  metric text NOT NULL,
  group_name text NOT NULL,
  group_weight numeric NOT NULL DEFAULT 1,
  weight numeric NOT NULL DEFAULT 1,
  how text NOT NULL DEFAULT 'linear',
  low numeric,
  high numeric,
  half_life interval,
  missing text NOT NULL DEFAULT 'skip',
  knock_out_below numeric,
  knock_out_cap numeric,
  options jsonb NOT NULL DEFAULT '{}',
  CONSTRAINT health_metric_pkey PRIMARY KEY (program_id, model, metric),
  CONSTRAINT health_metric_model_fkey FOREIGN KEY (program_id, model) REFERENCES prm.health_model (program_id, model) ON DELETE CASCADE,
  CONSTRAINT health_metric_metric_fkey FOREIGN KEY (program_id, metric) REFERENCES prm.metric (program_id, metric),
  CONSTRAINT health_metric_weight_check CHECK (weight > 0 AND group_weight > 0),
  CONSTRAINT health_metric_missing_check CHECK (missing IN ('skip', 'zero', 'neutral')),
  CONSTRAINT health_metric_how_check CHECK (how IN ('linear', 'inverse', 'as_is')),
  CONSTRAINT health_metric_bounds_check CHECK (how = 'as_is' OR (low IS NOT NULL AND high IS NOT NULL AND low < high)),
  CONSTRAINT health_metric_half_life_check CHECK (half_life > interval '0'),
  CONSTRAINT health_metric_knock_out_check CHECK (num_nonnulls(knock_out_below, knock_out_cap) IN (0, 2))
);

CREATE TABLE prm.health_band (
  program_id bigint NOT NULL,
  model text NOT NULL,
  band text NOT NULL,
  lower numeric NOT NULL,
  rank integer NOT NULL,
  CONSTRAINT health_band_pkey PRIMARY KEY (program_id, model, band),
  CONSTRAINT health_band_lower_key UNIQUE (program_id, model, lower),
  CONSTRAINT health_band_model_fkey FOREIGN KEY (program_id, model) REFERENCES prm.health_model (program_id, model) ON DELETE CASCADE
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
  CONSTRAINT health_snapshot_pkey PRIMARY KEY (program_id, partner_id, model, taken_at),
  CONSTRAINT health_snapshot_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE
);

CREATE TABLE prm.tier_requirement (
  program_id bigint NOT NULL,
  ladder text NOT NULL DEFAULT 'main',
  tier text NOT NULL,
  track text NOT NULL DEFAULT 'standard',
  metric text NOT NULL,
  op text NOT NULL DEFAULT '>=',
  threshold numeric NOT NULL,
  keep_threshold numeric,
  CONSTRAINT tier_requirement_pkey PRIMARY KEY (program_id, ladder, tier, track, metric),
  CONSTRAINT tier_requirement_tier_fkey FOREIGN KEY (program_id, ladder, tier) REFERENCES prm.tier (program_id, ladder, tier) ON DELETE CASCADE,
  CONSTRAINT tier_requirement_op_check CHECK (op IN ('>=', '<='))
);

CREATE TABLE prm.tier_policy (
  program_id bigint NOT NULL,
  ladder text NOT NULL DEFAULT 'main',
  mode text NOT NULL DEFAULT 'all',
  promotion text NOT NULL DEFAULT 'at_once',
  review interval NOT NULL DEFAULT '1 year',
  grace interval NOT NULL DEFAULT '3 months',
  entry_tier text,
  CONSTRAINT tier_policy_pkey PRIMARY KEY (program_id, ladder),
  CONSTRAINT tier_policy_ladder_fkey FOREIGN KEY (program_id, ladder) REFERENCES prm.ladder (program_id, ladder) ON DELETE CASCADE,
  CONSTRAINT tier_policy_entry_fkey FOREIGN KEY (program_id, ladder, entry_tier) REFERENCES prm.tier (program_id, ladder, tier),
  CONSTRAINT tier_policy_mode_check CHECK (mode = 'all'),
  CONSTRAINT tier_policy_promotion_check CHECK (promotion IN ('at_once', 'approval')),
  CONSTRAINT tier_policy_interval_check CHECK (review >= interval '0' AND grace >= interval '0')
);

CREATE TABLE prm.tier_history (
  program_id bigint NOT NULL,
  tier_history_id bigint GENERATED BY DEFAULT AS IDENTITY,
  partner_id bigint NOT NULL,
  ladder text NOT NULL,
  from_tier text,
  to_tier text,
  outcome text NOT NULL,
  reason text,
  metrics jsonb NOT NULL DEFAULT '{}',
  actor text NOT NULL,
  at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT tier_history_pkey PRIMARY KEY (program_id, tier_history_id),
  CONSTRAINT tier_history_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE
);
CREATE INDEX tier_history_partner_idx ON prm.tier_history (program_id, partner_id, ladder, at);

-- Partners whose tier must be looked at again because concurrent wins may have hidden each other. run_jobs() empties it.
CREATE TABLE prm.tier_due (
  program_id bigint NOT NULL,
  tier_due_id bigint GENERATED BY DEFAULT AS IDENTITY,
  partner_id bigint NOT NULL,
  cause text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT tier_due_pkey PRIMARY KEY (program_id, tier_due_id),
  CONSTRAINT tier_due_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE
);

CREATE TABLE prm.benefit (
  program_id bigint NOT NULL,
  ladder text NOT NULL DEFAULT 'main',
  tier text NOT NULL,
  benefit text NOT NULL,
  value text NOT NULL,
  label text,
  CONSTRAINT benefit_pkey PRIMARY KEY (program_id, ladder, tier, benefit),
  CONSTRAINT benefit_tier_fkey FOREIGN KEY (program_id, ladder, tier) REFERENCES prm.tier (program_id, ladder, tier) ON DELETE CASCADE
);

CREATE TABLE prm.benefit_grant (
  program_id bigint NOT NULL,
  partner_id bigint NOT NULL,
  benefit text NOT NULL,
  ladder text NOT NULL,
  tier text NOT NULL,
  value text NOT NULL,
  valid tstzrange NOT NULL,
  CONSTRAINT benefit_grant_pkey PRIMARY KEY (program_id, partner_id, ladder, benefit, valid),
  CONSTRAINT benefit_grant_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE,
  CONSTRAINT benefit_grant_overlap EXCLUDE USING gist (program_id WITH =, partner_id WITH =, ladder WITH =, benefit WITH =, valid WITH &&)
);

CREATE TABLE prm.certification (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  certification text NOT NULL,
  label text NOT NULL,
  valid_months integer,
  CONSTRAINT certification_pkey PRIMARY KEY (program_id, certification),
  CONSTRAINT certification_valid_months_check CHECK (valid_months > 0)
);

CREATE TABLE prm.certificate (
  program_id bigint NOT NULL,
  certificate_id bigint GENERATED BY DEFAULT AS IDENTITY,
  partner_user_id bigint NOT NULL,
  certification text NOT NULL,
  issued_on date NOT NULL,
  valid_until date,
  external_ref text,
  CONSTRAINT certificate_pkey PRIMARY KEY (program_id, certificate_id),
  CONSTRAINT certificate_external_ref_key UNIQUE (program_id, external_ref),
  CONSTRAINT certificate_user_fkey FOREIGN KEY (program_id, partner_user_id) REFERENCES prm.partner_user (program_id, partner_user_id) ON DELETE CASCADE,
  CONSTRAINT certificate_certification_fkey FOREIGN KEY (program_id, certification) REFERENCES prm.certification (program_id, certification),
  CONSTRAINT certificate_valid_check CHECK (valid_until >= issued_on)
);
CREATE INDEX certificate_user_idx ON prm.certificate (program_id, partner_user_id);
