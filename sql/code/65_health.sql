
-- Health: one score of 0 to 100 for each partner, that can be explained. The arithmetic is C, see src/health.c.

CREATE FUNCTION prm.normalize_metric(value numeric, how text, low numeric, high numeric, options jsonb DEFAULT '{}') RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_normalize_metric';
COMMENT ON FUNCTION prm.normalize_metric(numeric, text, numeric, numeric, jsonb) IS
'Turns a measure into a score of 0 to 100. how: linear (low gives 0, high gives 100), inverse (low gives 100, high gives 0), as_is (it is a score already), step (options: steps, each with from and score; a value on a bound belongs to the higher step, with "ties": "low" to the lower one; or ranges such as (0,50], each with its score), target (options: target, tolerance: 100 there, falling to 0 at low and at high; a bound left out means that side does not fall), percentile (options: population: its place among those values), choice (options: choices: each number or word with its score, other: that of anything else). What lies outside the bounds counts as the bound. NULL gives NULL, as does a value in no range and of no choice. Error 22023: unknown way or option, bounds missing or not in order, ranges that overlap, NaN.';

CREATE FUNCTION prm._weighted_score_add(state float8[], score numeric, weight numeric) RETURNS float8[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_add';
COMMENT ON FUNCTION prm._weighted_score_add(float8[], numeric, numeric) IS 'Transition function of the aggregate weighted_score.';

CREATE FUNCTION prm._weighted_score_combine(state float8[], other float8[]) RETURNS float8[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_combine';
COMMENT ON FUNCTION prm._weighted_score_combine(float8[], float8[]) IS 'Combine function of the aggregate weighted_score.';

CREATE FUNCTION prm._weighted_score_final(state float8[]) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_weighted_score_final';
COMMENT ON FUNCTION prm._weighted_score_final(float8[]) IS 'Final function of the aggregate weighted_score.';

CREATE AGGREGATE prm.weighted_score(score numeric, weight numeric) (
  SFUNC = prm._weighted_score_add, STYPE = float8[], INITCOND = '{0,0}',
  COMBINEFUNC = prm._weighted_score_combine, FINALFUNC = prm._weighted_score_final, PARALLEL = safe);
COMMENT ON AGGREGATE prm.weighted_score(numeric, numeric) IS
'Weighted mean of the scores that are known: sum(weight * score) / sum(weight), a NULL score leaves the denominator. NULL where no score is known, or all weigh nothing. Error 22023: negative weight, NaN.';

CREATE FUNCTION prm._score_metrics_add(state bytea, metric text, value numeric, model jsonb) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_score_metrics_add';
COMMENT ON FUNCTION prm._score_metrics_add(bytea, text, numeric, jsonb) IS 'Transition function of the aggregate score_metrics.';

CREATE FUNCTION prm._score_metrics_combine(state bytea, other bytea) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_score_metrics_combine';
COMMENT ON FUNCTION prm._score_metrics_combine(bytea, bytea) IS 'Combine function of the aggregate score_metrics.';

CREATE FUNCTION prm._score_metrics_final(state bytea) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_score_metrics_final';
COMMENT ON FUNCTION prm._score_metrics_final(bytea) IS 'Final function of the aggregate score_metrics.';

CREATE AGGREGATE prm.score_metrics(metric text, value numeric, model jsonb) (
  SFUNC = prm._score_metrics_add, STYPE = bytea, SSPACE = 256,
  COMBINEFUNC = prm._score_metrics_combine, FINALFUNC = prm._score_metrics_final, PARALLEL = safe);
COMMENT ON AGGREGATE prm.score_metrics(text, numeric, jsonb) IS
'The health score from rows of metrics, one for each metric, by a model as health_definition() gives it: many partners in one pass, without a join (GROUP BY partner_id), also over rows of your own. Metrics that the model does not know are left out; NULL where nothing is known. For models of every kind whose metrics need nothing but their value. Errors: 22023 a model whose metrics need more (percentiles, half-life, max_age, inputs of customers), or NaN, 22003 weights or points beyond the range of numbers.';

CREATE TYPE prm.health_row AS (score numeric, band text, coverage numeric, trend numeric, slope numeric, performance numeric, relationship numeric,
  model text, version integer);
COMMENT ON TYPE prm.health_row IS
'A row of health(): score 0 to 100 (NULL: nothing is known), band (unknown without a score), coverage: share of the weight for which a value is known, 0 to 1, trend: score less that of the latest earlier snapshot, slope: points per 30 days over the last six snapshots and now, performance and relationship: the score of the groups of either aspect alone, the model and its version (one more than the last one used where it was edited since).';

CREATE TYPE prm.health_explanation AS (group_name text, metric text, value numeric, normalized numeric, share numeric, contribution numeric, note text,
  choice text, aspect text);
COMMENT ON TYPE prm.health_explanation IS
'A row of explain_health(): group, metric, its value, its score of 0 to 100, its share of the weight that counts (0 to 1), what it contributes to the score, a note, the answer in words where it was one, and the aspect (performance, relationship). Rows without a metric say where a score starts, is clamped, capped or taken over from members. The contributions sum to the score exactly.';

CREATE TYPE prm.health_part AS (partner_id bigint, model text, metric text, group_name text, group_weight numeric, weight numeric,
  value numeric, normalized numeric, cap numeric, note text, version integer, kind text, aspect text, points numeric, choice text, known boolean, class text);
COMMENT ON TYPE prm.health_part IS 'A metric of a partner''s health model with its score; internal, a row of _health_parts().';

CREATE TYPE prm.health_score_row AS (partner_id bigint, model text, score numeric, band text, coverage numeric, uncapped numeric, parts jsonb,
  version integer, performance numeric, relationship numeric, own numeric, raw numeric, start numeric, shares jsonb, rolled text);
COMMENT ON TYPE prm.health_score_row IS
'The health of a partner; internal, a row of _health_scores(): raw is what the metrics give, uncapped the same after clamping, own after knock-outs, score after the roll-up of members, whose note is rolled; parts and shares hold the contribution and the share of each metric, where asked for.';

CREATE TYPE prm.health_subject AS (partner_id bigint, kind text, parent_id bigint, region text, country text, tier text, is_gone boolean);
COMMENT ON TYPE prm.health_subject IS 'A partner as it was at a moment; internal, a row of _health_subjects().';

CREATE TYPE prm.health_input AS (partner_id bigint, model text, metric text, value numeric, normalized numeric, observed_at timestamptz, choice text, note text);
COMMENT ON TYPE prm.health_input IS 'What goes into a health model beside plain metrics: percentiles, choices, values of customers; internal, a row of _health_inputs().';

CREATE TYPE prm.health_member AS (partner_id bigint, segment text);
COMMENT ON TYPE prm.health_member IS 'A partner and a segment that it is in; internal, a row of _health_segments().';

CREATE TYPE prm.health_below AS (hub bigint, partner_id bigint);
COMMENT ON TYPE prm.health_below IS 'A partner and one of those below it; internal, a row of _health_below().';

CREATE TYPE prm.health_group_row AS (aspect text, group_name text, score numeric, coverage numeric, contribution numeric);
COMMENT ON TYPE prm.health_group_row IS
'A row of health_groups(): a group of metrics with its own score of 0 to 100, the share of its weight that is known and what it contributes to the score; without a group the whole of an aspect, without an aspect the whole score.';

CREATE TYPE prm.health_change_row AS (group_name text, metric text, value_before numeric, value_after numeric, normalized_before numeric, normalized_after numeric,
  contribution_before numeric, contribution_after numeric, effect numeric, note text);
COMMENT ON TYPE prm.health_change_row IS
'A row of health_changes(): a metric with value, score of 0 to 100 and contribution then and now, effect: what it did to the score, and a note. The effects sum to the change of the score exactly.';

CREATE TYPE prm.health_trend_row AS (taken_at timestamptz, model text, version integer, score numeric, band text, coverage numeric, change numeric,
  slope numeric, reason text, reason_effect numeric);
COMMENT ON TYPE prm.health_trend_row IS
'A row of health_trend(): a snapshot, the change since the one before by the same model, slope: points per 30 days over it and up to five before, and the metric whose contribution changed most, with that change.';

CREATE TYPE prm.health_portfolio_row AS (portfolio text, partners bigint, scored bigint, score numeric, lowest numeric, bands jsonb);
COMMENT ON TYPE prm.health_portfolio_row IS
'A row of health_portfolio(): the part of the partners, how many they are, how many have a score, the mean of the scores (or of what the bands are worth), the lowest score, and how many partners each band has.';

CREATE TYPE prm.health_backtest_row AS (model text, version integer, outcome text, dates integer, observations bigint, lost bigint, base_rate numeric,
  auc numeric, lift numeric, first_at timestamptz, last_at timestamptz, note text);
COMMENT ON TYPE prm.health_backtest_row IS
'A row of health_backtest(): a version of a model, what was to be foreseen, at how many past dates how many partners had a score, how many of those were lost within the horizon and which share that is, auc: the probability that a lost partner had a lower score than one that stayed (0.5: no better than chance), lift: how much more often the tenth with the lowest scores was lost than all of them.';

CREATE FUNCTION prm._check_health_options(kind text, options jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_keys text[] := CASE _check_health_options.kind WHEN 'additive' THEN ARRAY['start', 'low', 'high']
    WHEN 'rules' THEN ARRAY['rule', 'good_from', 'average_from', 'scores'] ELSE '{}' END;
  the_numbers text[] := ARRAY['start', 'low', 'high', 'good_from', 'average_from'];
  the_fault text;
BEGIN
  IF jsonb_typeof(_check_health_options.options) <> 'object' THEN
    the_fault := 'The options are no object.';
  ELSE
    SELECT format('Option "%s" is unknown to models of kind %s.', o.key, _check_health_options.kind) INTO the_fault
      FROM jsonb_each(_check_health_options.options) o WHERE NOT o.key = ANY (the_keys) ORDER BY o.key LIMIT 1;
    IF the_fault IS NULL THEN
      SELECT format('Option "%s" is no number.', o.key) INTO the_fault
        FROM jsonb_each(_check_health_options.options) o WHERE o.key = ANY (the_numbers) AND jsonb_typeof(o.value) <> 'number' ORDER BY o.key LIMIT 1;
    END IF;
    IF the_fault IS NULL AND _check_health_options.options ? 'rule' AND NOT _check_health_options.options -> 'rule' IN ('"all_good"', '"worst"') THEN
      the_fault := 'The rule is all_good or worst.';
    END IF;
    IF the_fault IS NULL AND _check_health_options.options ? 'scores' AND (jsonb_typeof(_check_health_options.options -> 'scores') <> 'object'
        OR EXISTS (SELECT 1 FROM jsonb_each(_check_health_options.options -> 'scores') o
                   WHERE NOT o.key IN ('good', 'average', 'poor') OR jsonb_typeof(o.value) <> 'number')) THEN
      the_fault := 'The scores are an object of numbers for good, average and poor.';
    END IF;
    IF the_fault IS NULL AND coalesce((_check_health_options.options ->> 'low')::numeric, 0) >= coalesce((_check_health_options.options ->> 'high')::numeric, 100) THEN
      the_fault := 'low is not below high.';
    END IF;
    IF the_fault IS NULL AND coalesce((_check_health_options.options ->> 'average_from')::numeric, 50) > coalesce((_check_health_options.options ->> 'good_from')::numeric, 75) THEN
      the_fault := 'average_from is above good_from.';
    END IF;
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the options of a health model make no sense', DETAIL = the_fault,
      HINT = 'additive: {"start": 100, "low": 0, "high": 100}; rules: {"rule": "all_good", "good_from": 75, "average_from": 50, "scores": {"good": 100, "average": 60, "poor": 40}} or {"rule": "worst"}; weighted: {}.';
  END IF;
  RETURN true;
END
$prm$;
COMMENT ON FUNCTION prm._check_health_options(text, jsonb) IS 'Refuses options that a health model of that kind does not know (22023), else true. Behind a CHECK of prm.health_model.';

CREATE FUNCTION prm._health_definition(program_id bigint, model text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN (
    SELECT jsonb_build_object('model', m.model, 'kind', m.kind, 'partner_kind', m.partner_kind, 'segment', m.segment, 'priority', m.priority,
      'band_ties', m.band_ties, 'rollup', m.rollup, 'rollup_own', m.rollup_own, 'options', m.options,
      'metrics', (SELECT coalesce(jsonb_agg(to_jsonb(h) - '{program_id,model}'::text[] ORDER BY h.metric), '[]') FROM prm.health_metric h
                  WHERE h.program_id = _health_definition.program_id AND h.model = m.model),
      'bands', (SELECT coalesce(jsonb_agg(to_jsonb(b) - '{program_id,model}'::text[] ORDER BY b.lower), '[]') FROM prm.health_band b
                WHERE b.program_id = _health_definition.program_id AND b.model = m.model))
    FROM prm.health_model m WHERE m.program_id = _health_definition.program_id AND m.model = _health_definition.model);
END
$prm$;
COMMENT ON FUNCTION prm._health_definition(bigint, text) IS 'A health model as it stands now, as one document; NULL where there is none.';

CREATE FUNCTION prm._health_definitions(program_id bigint, moment timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_past jsonb;
BEGIN
  IF _health_definitions.moment < prm.now() THEN
    SELECT jsonb_agg(v.definition || jsonb_build_object('version', v.version) ORDER BY v.model) INTO the_past FROM prm.health_model_version v
      WHERE v.program_id = _health_definitions.program_id AND v.used_from <= _health_definitions.moment
        AND (v.used_until IS NULL OR v.used_until > _health_definitions.moment);
    IF the_past IS NOT NULL THEN
      RETURN the_past;
    END IF;
  END IF;
  RETURN (
    SELECT jsonb_agg(d.definition || jsonb_build_object('version', CASE WHEN d.definition = v.definition THEN v.version ELSE coalesce(v.version, 0) + 1 END) ORDER BY d.model)
    FROM (SELECT m.model, prm._health_definition(_health_definitions.program_id, m.model) AS definition FROM prm.health_model m
          WHERE m.program_id = _health_definitions.program_id AND m.is_active) d
    LEFT JOIN LATERAL (
      SELECT x.version, x.definition FROM prm.health_model_version x
      WHERE x.program_id = _health_definitions.program_id AND x.model = d.model ORDER BY x.version DESC LIMIT 1) v ON true);
END
$prm$;
COMMENT ON FUNCTION prm._health_definitions(bigint, timestamptz) IS
'The health models in force at a moment, as an array of documents, each with its version: in the past the versions that were used then, where there were any; else the models as they stand. NULL where there is none.';

CREATE FUNCTION prm.health_definition(model text, version integer DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_definition.program_id);
  the_definition jsonb;
BEGIN
  IF health_definition.version IS NULL THEN
    the_definition := prm._health_definition(the_program, health_definition.model);
  ELSE
    SELECT v.definition INTO the_definition FROM prm.health_model_version v
      WHERE v.program_id = the_program AND v.model = health_definition.model AND v.version = health_definition.version;
  END IF;
  IF the_definition IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704',
      MESSAGE = format('health model "%s"%s does not exist', coalesce(health_definition.model, 'NULL'), coalesce(' version ' || health_definition.version, '')),
      DETAIL = format('The health models of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(m.model, ', ' ORDER BY m.model) FROM prm.health_model m WHERE m.program_id = the_program), 'none')),
      HINT = 'Correct the name, or look into prm.health_model_version for the versions that were used.';
  END IF;
  RETURN the_definition;
END
$prm$;
COMMENT ON FUNCTION prm.health_definition(text, integer, bigint) IS
'A health model with its metrics and bands as one document: as it stands now, or a version that a snapshot was taken by. For score_metrics() and to compare versions. Error 42704: no such model or version.';

CREATE FUNCTION prm._keep_health_versions(program_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- One session at a time numbers the versions of a programme.
  PERFORM pg_advisory_xact_lock(hashtextextended(format('prm health version %s', _keep_health_versions.program_id), 7239211));
  UPDATE prm.health_model_version v SET used_until = greatest(prm.now(), v.used_from)
    WHERE v.program_id = _keep_health_versions.program_id AND v.used_until IS NULL
      AND NOT EXISTS (SELECT 1 FROM prm.health_model m WHERE m.program_id = _keep_health_versions.program_id AND m.model = v.model AND m.is_active
                        AND prm._health_definition(_keep_health_versions.program_id, m.model) = v.definition);
  INSERT INTO prm.health_model_version (program_id, model, version, definition, used_from)
    SELECT _keep_health_versions.program_id, m.model,
      coalesce((SELECT max(v.version) FROM prm.health_model_version v WHERE v.program_id = _keep_health_versions.program_id AND v.model = m.model), 0) + 1,
      prm._health_definition(_keep_health_versions.program_id, m.model), prm.now()
    FROM prm.health_model m
    WHERE m.program_id = _keep_health_versions.program_id AND m.is_active
      AND NOT EXISTS (SELECT 1 FROM prm.health_model_version v
                      WHERE v.program_id = _keep_health_versions.program_id AND v.model = m.model AND v.used_until IS NULL);
END
$prm$;
COMMENT ON FUNCTION prm._keep_health_versions(bigint) IS
'Keeps the health models in force as versions, where they are not kept yet: before a snapshot names them. A version that was edited since, or is out of force, ends.';
