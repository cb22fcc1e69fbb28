
-- Definitions: what is in use does not go, and no bound is one that its metric can never have.

CREATE OR REPLACE FUNCTION prm._definition_in_use() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  -- The name stands in the column that is called like the table.
  the_name text := to_jsonb(OLD) ->> TG_TABLE_NAME;
  the_users text;
  the_advice text := 'Change or delete what uses it first.';
BEGIN
  -- With its programme everything goes.
  IF NOT EXISTS (SELECT 1 FROM prm.program p WHERE p.program_id = OLD.program_id) THEN
    RETURN OLD;
  END IF;
  CASE TG_TABLE_NAME
    WHEN 'metric' THEN
      IF TG_OP = 'UPDATE' AND to_jsonb(NEW) ->> TG_TABLE_NAME = the_name AND NEW.program_id = OLD.program_id THEN
        RETURN NEW;
      END IF;
      SELECT string_agg(u.what, ', ' ORDER BY u.what) INTO the_users FROM (
        SELECT format('tier %s of ladder %s', r.tier, r.ladder) AS what FROM prm.tier_requirement r WHERE r.program_id = OLD.program_id AND r.metric = the_name
        UNION SELECT format('segment %s', s.segment) FROM prm.segment s WHERE s.program_id = OLD.program_id AND the_name = ANY (prm._criteria_names(ARRAY[s.criteria], 'metrics'))
        UNION SELECT format('criterion %s of the ideal partner profile %s', c.criterion, c.model) FROM prm.ipp_criterion c
          WHERE c.program_id = OLD.program_id AND the_name = ANY (prm._criteria_names(ARRAY[c.criteria], 'metrics'))) u;
      IF the_users IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('metric "%s" is in use', the_name), DETAIL = format('It is asked for by %s.', the_users), HINT = the_advice, SCHEMA = 'prm', TABLE = 'metric';
      END IF;
    WHEN 'ladder' THEN
      SELECT format('%s partners hold its tiers.', count(*)) INTO the_users FROM prm.enrolment e WHERE e.program_id = OLD.program_id AND e.ladder = the_name AND e.tier IS NOT NULL HAVING count(*) > 0;
      IF the_users IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('ladder "%s" is in use', the_name), DETAIL = the_users,
          HINT = 'Delete its requirements and let prm.evaluate_tiers() take the tiers back first; their benefits end with them.', SCHEMA = 'prm', TABLE = 'ladder';
      END IF;
    WHEN 'survey' THEN
      SELECT format('%s answers were given.', count(*)) INTO the_users FROM prm.survey_response r WHERE r.program_id = OLD.program_id AND r.survey = the_name HAVING count(*) > 0;
      IF the_users IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = format('survey "%s" has answers', the_name), DETAIL = the_users,
          HINT = format('UPDATE prm.survey SET is_active = false WHERE survey = %L ends it and keeps them.', the_name), SCHEMA = 'prm', TABLE = 'survey';
      END IF;
  END CASE;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$prm$;
COMMENT ON FUNCTION prm._definition_in_use() IS
'Row trigger of prm.metric, prm.ladder and prm.survey: what tiers, segments or profiles ask for, what partners hold and what was answered does not go with its definition. Error 23503.';
CREATE OR REPLACE TRIGGER prm_10_in_use BEFORE DELETE OR UPDATE OF metric ON prm.metric FOR EACH ROW EXECUTE FUNCTION prm._definition_in_use();
CREATE OR REPLACE TRIGGER prm_10_in_use BEFORE DELETE ON prm.ladder FOR EACH ROW EXECUTE FUNCTION prm._definition_in_use();
CREATE OR REPLACE TRIGGER prm_10_in_use BEFORE DELETE ON prm.survey FOR EACH ROW EXECUTE FUNCTION prm._definition_in_use();

CREATE OR REPLACE FUNCTION prm._definition_in_range() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_row jsonb := to_jsonb(NEW);
  the_range numrange := prm._metric_range(NEW.program_id, NEW.metric);
  the_value numeric;
  the_column text;
BEGIN
  FOREACH the_column IN ARRAY TG_ARGV LOOP
    the_value := (the_row ->> the_column)::numeric;
    IF NOT the_range @> the_value THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('metric "%s" can never be %s', NEW.metric, trim_scale(the_value)),
        DETAIL = format('%s is %s; the values of the metric are %s.', the_column, trim_scale(the_value), CASE WHEN upper_inf(the_range) THEN format('at least %s', trim_scale(lower(the_range)))
          WHEN lower_inf(the_range) THEN format('at most %s', trim_scale(upper(the_range))) ELSE format('%s to %s', trim_scale(lower(the_range)), trim_scale(upper(the_range))) END),
        HINT = CASE WHEN the_range = numrange(0, 1, '[]') THEN 'It is a share: 20 % is 0.2.'
          ELSE 'Look whether the number and its unit are right; what a pushed metric can be stands in prm.metric.plausible_low and plausible_high.' END,
        SCHEMA = 'prm', TABLE = TG_TABLE_NAME, COLUMN = the_column;
    END IF;
  END LOOP;
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._definition_in_range() IS
'Row trigger of definitions that hold bounds of a metric, in the columns that are its arguments: a bound that the metric can never have (20 for a share) is refused. A metric that does not exist yet is none to be asked. Error 22023.';
CREATE OR REPLACE TRIGGER prm_10_in_range BEFORE INSERT OR UPDATE ON prm.tier_requirement FOR EACH ROW EXECUTE FUNCTION prm._definition_in_range('threshold', 'keep_threshold');
CREATE OR REPLACE TRIGGER prm_10_in_range BEFORE INSERT OR UPDATE ON prm.badge FOR EACH ROW EXECUTE FUNCTION prm._definition_in_range('threshold');
CREATE OR REPLACE TRIGGER prm_10_in_range BEFORE INSERT OR UPDATE ON prm.metric_benchmark FOR EACH ROW EXECUTE FUNCTION prm._definition_in_range('p10', 'p25', 'p50', 'p75', 'p90');
CREATE OR REPLACE TRIGGER prm_10_in_range BEFORE INSERT OR UPDATE ON prm.health_metric FOR EACH ROW EXECUTE FUNCTION prm._definition_in_range('high', 'knock_out_below', 'knock_out_above');
