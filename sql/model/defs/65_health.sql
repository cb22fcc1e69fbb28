
-- Health: the models and the snapshots.

COMMENT ON TABLE prm.health_model IS 'Health models. For each partner the one for its segment and kind is in force, else for its segment, else for its kind, else the one for all the others. Edit them freely: what snapshots were taken by is kept in health_model_version.';
COMMENT ON COLUMN prm.health_model.model IS 'The model.';
COMMENT ON COLUMN prm.health_model.label IS 'Name for people.';
COMMENT ON COLUMN prm.health_model.kind IS 'weighted: the weighted mean of groups, each the weighted mean of its metrics. additive: a start, to which metrics add points or take them, clamped at the end. rules: all good is good, any poor is poor, else average; or the worst metric is the score.';
COMMENT ON COLUMN prm.health_model.partner_kind IS 'The kind of partner it is for; empty: for all kinds without a model of their own.';
COMMENT ON COLUMN prm.health_model.segment IS 'The segment it is for, one of prm.segment; empty: for everybody. A segment that a model is for cannot be deleted.';
COMMENT ON COLUMN prm.health_model.priority IS 'Where a partner is in several segments with a model: the highest goes first, then the name.';
COMMENT ON COLUMN prm.health_model.is_active IS 'Whether it is in force.';
COMMENT ON COLUMN prm.health_model.partner_visible IS 'Whether partners read their own score by it. Single metrics they see where prm.metric.partner_visible says so; of a model with few metrics the score tells of those too.';
COMMENT ON COLUMN prm.health_model.band_ties IS 'Where a score on a band''s lower bound belongs: high (to that band) or low (to the band below; the lowest band holds its own bound).';
COMMENT ON COLUMN prm.health_model.rollup IS 'How a partner takes over the scores of the partners below it: mean, revenue_weighted (by revenue_12m; the mean where nobody has any) or minimum. Empty: it does not.';
COMMENT ON COLUMN prm.health_model.rollup_own IS 'Whether its own score counts beside theirs; where it does not, it still does when none of them has a score.';
COMMENT ON COLUMN prm.health_model.options IS 'additive: start (100), low (0), high (100). rules: rule (all_good, worst), good_from (75) and average_from (50): which score of a metric is good or average, scores: what good (100), average (60) and poor (40) are worth.';

COMMENT ON TABLE prm.health_metric IS 'The metrics of a health model: how each becomes a score, and how much it weighs.';
COMMENT ON COLUMN prm.health_metric.model IS 'The model.';
COMMENT ON COLUMN prm.health_metric.metric IS 'The metric.';
COMMENT ON COLUMN prm.health_metric.group_name IS 'The group of metrics it belongs to.';
COMMENT ON COLUMN prm.health_metric.aspect IS 'performance or relationship: the groups of either are also scored apart.';
COMMENT ON COLUMN prm.health_metric.group_weight IS 'Weight of the group in the score; the same on all rows of the group, the highest counts. More than 0.';
COMMENT ON COLUMN prm.health_metric.weight IS 'Weight of the metric in its group; in models of other kinds its weight in the coverage. More than 0.';
COMMENT ON COLUMN prm.health_metric.points IS 'Additive models: what the metric adds (negative: takes), with how = per_unit for each unit of its value, else in full at a score of 100 and in proportion below.';
COMMENT ON COLUMN prm.health_metric.how IS 'How the value becomes a score of 0 to 100: linear, inverse, as_is, step, target, percentile, choice; see normalize_metric(). per_unit: not at all, for additive models.';
COMMENT ON COLUMN prm.health_metric.low IS 'The lower bound for linear and inverse; with target where the score is 0.';
COMMENT ON COLUMN prm.health_metric.high IS 'The upper bound for linear and inverse; with target where the score is 0 again.';
COMMENT ON COLUMN prm.health_metric.half_life IS 'After this time the metric''s score counts half; computed when the score is read. Empty: it does not age.';
COMMENT ON COLUMN prm.health_metric.max_age IS 'A value older than this counts as missing. Empty: none is too old.';
COMMENT ON COLUMN prm.health_metric.missing IS 'What a missing value does: skip (leaves the denominator), zero (counts as 0), neutral (counts as 50).';
COMMENT ON COLUMN prm.health_metric.customers IS 'The metric is that of the partner''s customers, those of its won deals: each is scored, and the scores become one by mean, revenue_weighted or minimum. Empty: the metric is the partner''s own.';
COMMENT ON COLUMN prm.health_metric.knock_out_below IS 'Where the value (of a choice in words: its score) is below this, the whole score is at most knock_out_cap.';
COMMENT ON COLUMN prm.health_metric.knock_out_above IS 'Where it is above this, likewise.';
COMMENT ON COLUMN prm.health_metric.knock_out_cap IS 'The highest score then.';
COMMENT ON COLUMN prm.health_metric.options IS 'Options of normalize_metric(); for a percentile also within: program, kind, region, country, tier or segment (that of the model).';

ALTER TABLE prm.health_model DROP CONSTRAINT IF EXISTS health_model_options_check;
ALTER TABLE prm.health_model ADD CONSTRAINT health_model_options_check CHECK (prm._check_health_options(kind, options));
ALTER TABLE prm.health_metric DROP CONSTRAINT IF EXISTS health_metric_normalize_check;
ALTER TABLE prm.health_metric ADD CONSTRAINT health_metric_normalize_check CHECK (how = 'per_unit' OR prm.normalize_metric(NULL, how, low, high, options) IS NULL);

CREATE OR REPLACE FUNCTION prm._health_metric_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_kind text := (SELECT m.kind FROM prm.health_model m WHERE m.program_id = NEW.program_id AND m.model = NEW.model);
BEGIN
  -- Elsewhere it would count for nothing, and nobody would know why.
  IF the_kind <> 'additive' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('metric "%s" cannot count per unit in health model "%s"', NEW.metric, NEW.model),
      DETAIL = format('The model is of kind %s: points for each unit of a value are added in additive models only.', the_kind),
      HINT = 'Let the value become a score (how = linear, inverse, step ...), or make the model additive.', SCHEMA = 'prm', TABLE = 'health_metric', COLUMN = 'how';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._health_metric_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._health_metric_row() IS 'Trigger of health_metric: refuses how = per_unit in models that are not additive (22023).';
CREATE OR REPLACE TRIGGER prm_10_metric BEFORE INSERT OR UPDATE ON prm.health_metric FOR EACH ROW WHEN (NEW.how = 'per_unit') EXECUTE FUNCTION prm._health_metric_row();

CREATE OR REPLACE FUNCTION prm._health_model_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_metric text := (SELECT min(h.metric) FROM prm.health_metric h WHERE h.program_id = NEW.program_id AND h.model = NEW.model AND h.how = 'per_unit');
BEGIN
  IF the_metric IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('health model "%s" cannot become one of kind %s', NEW.model, NEW.kind),
      DETAIL = format('Its metric "%s" counts per unit, which only additive models do.', the_metric),
      HINT = 'Give the metric another way first: UPDATE prm.health_metric SET how = ...', SCHEMA = 'prm', TABLE = 'health_model', COLUMN = 'kind';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._health_model_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._health_model_row() IS 'Trigger of health_model: refuses a kind in which its metrics with how = per_unit would count for nothing (22023).';
CREATE OR REPLACE TRIGGER prm_10_kind BEFORE UPDATE OF kind ON prm.health_model FOR EACH ROW WHEN (NEW.kind <> 'additive') EXECUTE FUNCTION prm._health_model_row();

COMMENT ON TABLE prm.health_band IS 'Bands of a health model. Where a score on a lower bound belongs is said by health_model.band_ties.';
COMMENT ON COLUMN prm.health_band.model IS 'The model.';
COMMENT ON COLUMN prm.health_band.band IS 'The band: red, yellow, green. unknown needs no row.';
COMMENT ON COLUMN prm.health_band.lower IS 'Its lower bound, 0 to 100.';
COMMENT ON COLUMN prm.health_band.rank IS 'Its place: a higher rank is better.';

COMMENT ON TABLE prm.health_model_version IS 'The health models as they were when snapshots were taken by them; written by refresh_health(), never changed but for their end.';
COMMENT ON COLUMN prm.health_model_version.model IS 'The model.';
COMMENT ON COLUMN prm.health_model_version.version IS 'Its version, counted from 1.';
COMMENT ON COLUMN prm.health_model_version.definition IS 'The model with its metrics and bands, as health_definition() gives it.';
COMMENT ON COLUMN prm.health_model_version.used_from IS 'When the first snapshot was taken by it.';
COMMENT ON COLUMN prm.health_model_version.used_until IS 'When snapshots were first taken by another version, or the model was out of force; empty: it is in use.';

COMMENT ON TABLE prm.health_choice IS 'Answers in words for metrics with choices, with their history. The newest counts.';
COMMENT ON COLUMN prm.health_choice.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.health_choice.metric IS 'The metric.';
COMMENT ON COLUMN prm.health_choice.observed_at IS 'The moment for which the answer holds.';
COMMENT ON COLUMN prm.health_choice.choice IS 'The answer: one of the choices in the options of the metric in a health model.';
COMMENT ON COLUMN prm.health_choice.recorded_by IS 'Who recorded it.';

COMMENT ON TABLE prm.customer_metric_value IS 'Values of metrics of customers, with their history. The newest counts, for the partners that won deals with the customer.';
COMMENT ON COLUMN prm.customer_metric_value.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.customer_metric_value.metric IS 'The metric.';
COMMENT ON COLUMN prm.customer_metric_value.observed_at IS 'The moment for which the value holds.';
COMMENT ON COLUMN prm.customer_metric_value.value IS 'The value, in the metric''s unit; finite.';

COMMENT ON TABLE prm.health_snapshot IS 'The health of the partners as it was, written by refresh_health(). The trend is read from it.';
COMMENT ON COLUMN prm.health_snapshot.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.health_snapshot.model IS 'The model that was in force for it.';
COMMENT ON COLUMN prm.health_snapshot.taken_at IS 'The moment of which it tells.';
COMMENT ON COLUMN prm.health_snapshot.score IS 'The score then, 0 to 100; empty: nothing was known.';
COMMENT ON COLUMN prm.health_snapshot.band IS 'The band then.';
COMMENT ON COLUMN prm.health_snapshot.coverage IS 'Share of the weight for which a value was known, 0 to 1.';
COMMENT ON COLUMN prm.health_snapshot.parts IS 'What each metric contributed, as explain_health() says; (start), (clamp), (knock-out) and (members) stand for its other rows. The values sum to the score.';
COMMENT ON COLUMN prm.health_snapshot.version IS 'The version of the model.';
COMMENT ON COLUMN prm.health_snapshot.performance IS 'The score of the performance groups alone.';
COMMENT ON COLUMN prm.health_snapshot.relationship IS 'The score of the relationship groups alone.';

CREATE OR REPLACE VIEW prm.v_health WITH (security_invoker = true) AS
  SELECT g.program_id, h.partner_id, h.partner, h.model, h.score, h.band, h.coverage, h.performance, h.relationship, h.score_before, h.band_before, h.change, h.metric, h.metric_label, h.effect
  FROM prm.program g
  CROSS JOIN LATERAL prm._health_moves(g.program_id) h;
COMMENT ON VIEW prm.v_health IS 'The health of each partner at prm.now() and 30 days before, and the metric that moved it most. Computed for all partners at once; for one partner health() and health_changes() are quicker, and say all.';
COMMENT ON COLUMN prm.v_health.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_health.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_health.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_health.model IS 'The health model that it is scored by.';
COMMENT ON COLUMN prm.v_health.score IS '0 to 100; empty: nothing is known.';
COMMENT ON COLUMN prm.v_health.band IS 'The band of the score; unknown without one.';
COMMENT ON COLUMN prm.v_health.coverage IS 'Share of the weight of the model for which a value is known, 0 to 1.';
COMMENT ON COLUMN prm.v_health.performance IS 'The score of the groups of performance.';
COMMENT ON COLUMN prm.v_health.relationship IS 'The score of the groups of relationship.';
COMMENT ON COLUMN prm.v_health.score_before IS 'The score 30 days before, by the same model; empty: there was none.';
COMMENT ON COLUMN prm.v_health.band_before IS 'The band then.';
COMMENT ON COLUMN prm.v_health.change IS 'score less score_before; negative: it fell.';
COMMENT ON COLUMN prm.v_health.metric IS 'The metric that moved the score most in the direction in which it went; empty where it did not move.';
COMMENT ON COLUMN prm.v_health.metric_label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_health.effect IS 'By how many points it moved the score.';
