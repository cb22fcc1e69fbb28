
-- Health: models, their metrics and bands, and how each partner was.

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
