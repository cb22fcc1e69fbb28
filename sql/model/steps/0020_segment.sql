
-- Segments: groups of partners by criteria or by hand, with history; and what the ideal partner looks like.

CREATE TABLE prm.segment (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  segment text NOT NULL,
  label text NOT NULL,
  description text,
  criteria text,
  touch_model text,
  position integer NOT NULL DEFAULT 0,
  is_active boolean NOT NULL DEFAULT true,
  partner_visible boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT segment_pkey PRIMARY KEY (program_id, segment),
  CONSTRAINT segment_name_check CHECK (btrim(segment) <> '' AND length(segment) <= 200),
  CONSTRAINT segment_touch_model_check CHECK (touch_model IN ('high', 'tech', 'pooled'))
);

-- Health models and market benchmarks may be for the members of a segment.
ALTER TABLE prm.health_model ADD CONSTRAINT health_model_segment_fkey FOREIGN KEY (program_id, segment) REFERENCES prm.segment (program_id, segment);
ALTER TABLE prm.metric_benchmark ADD CONSTRAINT metric_benchmark_segment_fkey FOREIGN KEY (program_id, segment) REFERENCES prm.segment (program_id, segment);

-- Who is, or was, in a segment when. A partner may be in several; in one of them it is at most once at a time.
CREATE TABLE prm.segment_member (
  program_id bigint NOT NULL,
  segment text NOT NULL,
  partner_id bigint NOT NULL,
  valid tstzrange NOT NULL,
  source text NOT NULL DEFAULT 'criteria',
  reason text,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT segment_member_pkey PRIMARY KEY (program_id, segment, partner_id, valid),
  CONSTRAINT segment_member_segment_fkey FOREIGN KEY (program_id, segment) REFERENCES prm.segment (program_id, segment) ON DELETE CASCADE,
  CONSTRAINT segment_member_partner_fkey FOREIGN KEY (program_id, partner_id) REFERENCES prm.partner (program_id, partner_id) ON DELETE CASCADE,
  CONSTRAINT segment_member_source_check CHECK (source IN ('criteria', 'manual')),
  CONSTRAINT segment_member_valid_check CHECK (NOT isempty(valid) AND lower(valid) IS NOT NULL AND lower_inc(valid) AND NOT upper_inc(valid)),
  CONSTRAINT segment_member_overlap EXCLUDE USING gist (program_id WITH =, segment WITH =, partner_id WITH =, valid WITH &&)
);
-- Most questions are about now: the memberships without an end, by partner.
CREATE INDEX segment_member_partner_idx ON prm.segment_member (program_id, partner_id, segment);

-- The ideal partner: versions of a model, of which one is in force, and what each counts.
CREATE TABLE prm.ipp_model (
  program_id bigint NOT NULL REFERENCES prm.program (program_id) ON DELETE CASCADE,
  model text NOT NULL DEFAULT 'standard',
  version integer NOT NULL DEFAULT 1,
  label text NOT NULL,
  is_active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT ipp_model_name_check CHECK (btrim(model) <> '' AND length(model) <= 200),
  CONSTRAINT ipp_model_pkey PRIMARY KEY (program_id, model, version),
  CONSTRAINT ipp_model_version_check CHECK (version >= 1)
);
CREATE UNIQUE INDEX ipp_model_active_key ON prm.ipp_model (program_id, model) WHERE is_active;

CREATE TABLE prm.ipp_criterion (
  program_id bigint NOT NULL,
  model text NOT NULL DEFAULT 'standard',
  version integer NOT NULL DEFAULT 1,
  criterion text NOT NULL,
  label text,
  criteria text NOT NULL,
  weight numeric NOT NULL DEFAULT 1,
  position integer NOT NULL DEFAULT 0,
  CONSTRAINT ipp_criterion_name_check CHECK (btrim(criterion) <> '' AND length(criterion) <= 200),
  CONSTRAINT ipp_criterion_pkey PRIMARY KEY (program_id, model, version, criterion),
  CONSTRAINT ipp_criterion_model_fkey FOREIGN KEY (program_id, model, version) REFERENCES prm.ipp_model (program_id, model, version) ON DELETE CASCADE,
  CONSTRAINT ipp_criterion_weight_check CHECK (weight > 0 AND weight < 'Infinity')
);

-- What its members have.
ALTER TABLE prm.benefit ADD CONSTRAINT benefit_segment_fkey FOREIGN KEY (program_id, segment) REFERENCES prm.segment (program_id, segment) ON DELETE CASCADE;
