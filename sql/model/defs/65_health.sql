
-- Health: the models and the snapshots.

COMMENT ON TABLE prm.health_model IS 'Health models. One is in force for each kind of partner, and one for all the others.';
COMMENT ON COLUMN prm.health_model.model IS 'The model.';
COMMENT ON COLUMN prm.health_model.label IS 'Name for people.';
COMMENT ON COLUMN prm.health_model.kind IS 'weighted: the weighted mean of groups, each the weighted mean of its metrics.';
COMMENT ON COLUMN prm.health_model.partner_kind IS 'The kind of partner it is for; empty: for all kinds without a model of their own.';
COMMENT ON COLUMN prm.health_model.is_active IS 'Whether it is in force.';

COMMENT ON TABLE prm.health_metric IS 'The metrics of a health model: how each becomes a score, and how much it weighs.';
COMMENT ON COLUMN prm.health_metric.model IS 'The model.';
COMMENT ON COLUMN prm.health_metric.metric IS 'The metric.';
COMMENT ON COLUMN prm.health_metric.group_name IS 'The group of metrics it belongs to.';
COMMENT ON COLUMN prm.health_metric.group_weight IS 'Weight of the group in the score; the same on all rows of the group, the highest counts. More than 0.';
COMMENT ON COLUMN prm.health_metric.weight IS 'Weight of the metric in its group. More than 0.';
COMMENT ON COLUMN prm.health_metric.how IS 'How the value becomes a score of 0 to 100: linear, inverse, as_is; see normalize_metric().';
COMMENT ON COLUMN prm.health_metric.low IS 'The lower bound for linear and inverse.';
COMMENT ON COLUMN prm.health_metric.high IS 'The upper bound for linear and inverse.';
COMMENT ON COLUMN prm.health_metric.half_life IS 'After this time the metric''s score counts half; computed when the score is read. Empty: it does not age.';
COMMENT ON COLUMN prm.health_metric.missing IS 'What a missing value does: skip (leaves the denominator), zero (counts as 0), neutral (counts as 50).';
COMMENT ON COLUMN prm.health_metric.knock_out_below IS 'Where the value is below this, the whole score is at most knock_out_cap.';
COMMENT ON COLUMN prm.health_metric.knock_out_cap IS 'The highest score then.';
COMMENT ON COLUMN prm.health_metric.options IS 'Options of normalize_metric().';

COMMENT ON TABLE prm.health_band IS 'Bands of a health model. A score on a lower bound belongs to that band.';
COMMENT ON COLUMN prm.health_band.model IS 'The model.';
COMMENT ON COLUMN prm.health_band.band IS 'The band: red, yellow, green. unknown needs no row.';
COMMENT ON COLUMN prm.health_band.lower IS 'Its lower bound, 0 to 100.';
COMMENT ON COLUMN prm.health_band.rank IS 'Its place: a higher rank is better.';

COMMENT ON TABLE prm.health_snapshot IS 'The health of the partners as it was, written by refresh_health(). The trend is read from it.';
COMMENT ON COLUMN prm.health_snapshot.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.health_snapshot.model IS 'The model that was in force for it.';
COMMENT ON COLUMN prm.health_snapshot.taken_at IS 'The moment of which it tells.';
COMMENT ON COLUMN prm.health_snapshot.score IS 'The score then, 0 to 100; empty: nothing was known.';
COMMENT ON COLUMN prm.health_snapshot.band IS 'The band then.';
COMMENT ON COLUMN prm.health_snapshot.coverage IS 'Share of the weight for which a value was known, 0 to 1.';
COMMENT ON COLUMN prm.health_snapshot.parts IS 'The score of each metric then, an object for each group.';
