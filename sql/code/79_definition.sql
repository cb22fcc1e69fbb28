
-- What users give: options read without surprises, numbers that a metric can have, and the definitions that can never work.

CREATE FUNCTION prm._option_value(verb text, options jsonb, option text, kind text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_text text := _option_value.options ->> _option_value.option;
  the_good boolean;
BEGIN
  IF the_text IS NULL THEN
    RETURN NULL;
  END IF;
  BEGIN
    the_good := CASE _option_value.kind
      WHEN 'whole number' THEN the_text::bigint IS NOT NULL
      WHEN 'number' THEN the_text::numeric > '-Infinity' AND the_text::numeric < 'Infinity'
      WHEN 'day' THEN isfinite(the_text::date)
      WHEN 'moment' THEN isfinite(the_text::timestamptz)
      ELSE the_text::interval IS NOT NULL END;
  EXCEPTION WHEN data_exception THEN
    -- Every fault of a text that is read as another type is of this class.
    the_good := false;
  END;
  IF NOT the_good THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('option "%s" of %s is no %s', _option_value.option, _option_value.verb, _option_value.kind),
      DETAIL = format('It is %s.', _option_value.options -> _option_value.option),
      HINT = CASE _option_value.kind WHEN 'whole number' THEN 'Give a number without decimals, such as 12.' WHEN 'number' THEN 'Give a finite number, such as 0.5.'
        WHEN 'day' THEN 'Write it as 2026-12-31.' WHEN 'moment' THEN 'Write it as 2026-12-31 18:00+00.' ELSE 'Write it as 30 days, or 1 month.' END;
  END IF;
  RETURN the_text;
END
$prm$;
COMMENT ON FUNCTION prm._option_value(text, jsonb, text, text) IS
'The text of an option, which can be read as a whole number, number, day, moment or length of time; NULL where it is not given. Error 22023 where it cannot, is no finite one, or is out of range.';

CREATE FUNCTION prm._not_to_come(moment timestamptz, what text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- A day more than now: clocks and time zones of other systems are not ours.
  IF _not_to_come.moment > prm.now() + interval '1 day' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s lies in the future', _not_to_come.what),
      DETAIL = format('It is %s, and it is %s now.', _not_to_come.moment, prm.now()), HINT = 'Look whether day and month are the right way round, or leave it out for the present moment.';
  END IF;
  RETURN _not_to_come.moment;
END
$prm$;
COMMENT ON FUNCTION prm._not_to_come(timestamptz, text) IS 'Returns the moment given. Error 22023 where it is more than a day ahead of prm.now().';

CREATE FUNCTION prm._metric_range(program_id bigint, metric text) RETURNS numrange
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN (
    SELECT CASE WHEN m.source = 'view' THEN numrange(NULL, NULL)
      WHEN m.source = 'pushed' THEN numrange(m.plausible_low, m.plausible_high, '[]')
      WHEN m.measure IN ('customer_nps', 'partner_nps') THEN numrange(-100, 100, '[]')
      WHEN m.measure IN ('win_rate', 'registration_approval', 'lead_acceptance', 'return_rate', 'training_coverage', 'customer_churn', 'buyer_churn') THEN numrange(0, 1, '[]')
      ELSE numrange(0, NULL) END
    FROM prm.metric m WHERE m.program_id = _metric_range.program_id AND m.metric = _metric_range.metric);
END
$prm$;
COMMENT ON FUNCTION prm._metric_range(bigint, text) IS
'The values that a metric can have: shares 0 to 1, net promoter scores -100 to 100, other measures zero or more, pushed metrics what is plausible. NULL for a metric that does not exist.';

CREATE FUNCTION prm._check_definitions() RETURNS SETOF prm.check_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT 'warning', format('tier %s of ladder %s (programme %s)', r.tier, r.ladder, r.program_id), format('track "%s" is never met: it asks for metric "%s", which does not exist', r.track, r.metric),
      format('UPDATE prm.tier_requirement SET metric = ''...'' WHERE metric = %L; SELECT metric FROM prm.metric lists the names.', r.metric)
    FROM prm.tier_requirement r
    WHERE NOT EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = r.program_id AND m.metric = r.metric)
    ORDER BY r.program_id, r.ladder, r.tier, r.track, r.metric;
  RETURN QUERY
    SELECT DISTINCT 'warning', format('tier %s of ladder %s (programme %s)', r.tier, r.ladder, r.program_id), format('track "%s" is never met: it goes by score, and no mark says how much is enough', r.track),
      'Give prm.tier_policy.mark, or prm.tier_track.mark, a number.'
    FROM prm.tier_requirement r
    LEFT JOIN prm.tier_policy y ON y.program_id = r.program_id AND y.ladder = r.ladder
    LEFT JOIN prm.tier_track k ON k.program_id = r.program_id AND k.ladder = r.ladder AND k.tier = r.tier AND k.track = r.track
    WHERE coalesce(k.mode, y.mode) = 'score' AND coalesce(k.mark, y.mark) IS NULL ORDER BY 2, 3;
  RETURN QUERY
    SELECT 'warning', format('tier %s of ladder %s (programme %s)', r.tier, r.ladder, r.program_id),
      format('who reaches it is at risk at once: %s takes %s to keep, and only %s to reach', r.metric, trim_scale(r.keep_threshold), trim_scale(r.threshold)),
      format('UPDATE prm.tier_requirement SET keep_threshold = %s WHERE program_id = %s AND ladder = %L AND tier = %L AND track = %L AND metric = %L;',
        trim_scale(r.threshold), r.program_id, r.ladder, r.tier, r.track, r.metric)
    FROM prm.tier_requirement r WHERE CASE r.op WHEN '>=' THEN r.keep_threshold > r.threshold ELSE r.keep_threshold < r.threshold END
    ORDER BY r.program_id, r.ladder, r.tier, r.track, r.metric;
  -- Names of things that may be defined later, so no foreign key asks for them.
  RETURN QUERY
    SELECT 'warning', format('%s (programme %s)', n.what, n.program_id), format('it names %s "%s", which does not exist', n.kind, n.name), n.fix
    FROM (
      SELECT k.program_id, format('growth market %s', concat_ws(' ', k.country, k.region)) AS what, 'metric' AS kind, k.metric AS name, 'Correct prm.tier_market.metric.' AS fix FROM prm.tier_market k
      UNION ALL SELECT s.program_id, format('step %s of mission %s', s.step, s.mission), CASE s.measure WHEN 'usage' THEN 'activity' ELSE 'earning kind' END, s.kind, 'Correct prm.mission_step.kind.'
        FROM prm.mission_step s WHERE s.measure IN ('usage', 'earning')
      UNION ALL SELECT c.program_id, format('campaign %s', c.campaign), CASE c.measure WHEN 'usage' THEN 'activity' ELSE 'earning kind' END, c.kind, 'Correct prm.campaign.kind.'
        FROM prm.campaign c WHERE c.measure IN ('usage', 'earning')
      UNION ALL SELECT p.program_id, format('point rule %s', p.point_rule), CASE p.source WHEN 'usage' THEN 'activity' ELSE 'earning kind' END, p.kind, 'Correct prm.point_rule.kind.' FROM prm.point_rule p
      UNION ALL SELECT t.program_id, format('streak %s', t.streak), 'activity', t.activity, 'Correct prm.streak_rule.activity.' FROM prm.streak_rule t
      UNION ALL SELECT v.program_id, format('survey %s', v.survey), 'role', v.alert_role, 'Create the role, or correct prm.survey.alert_role: nobody can do its tasks.' FROM prm.survey v
      UNION ALL SELECT a.program_id, 'adoption policy', 'role', a.rescue_role, 'Create the role, or correct prm.adoption_policy.rescue_role: nobody can do its tasks.' FROM prm.adoption_policy a
    ) n
    WHERE n.name IS NOT NULL AND CASE n.kind
        WHEN 'metric' THEN NOT EXISTS (SELECT 1 FROM prm.metric x WHERE x.program_id = n.program_id AND x.metric = n.name)
        WHEN 'activity' THEN NOT EXISTS (SELECT 1 FROM prm.usage_activity x WHERE x.program_id = n.program_id AND x.activity = n.name)
        WHEN 'earning kind' THEN NOT EXISTS (SELECT 1 FROM prm.earning_kind x WHERE x.program_id = n.program_id AND x.kind = n.name)
        ELSE NOT EXISTS (SELECT 1 FROM pg_roles x WHERE x.rolname = n.name) END
    ORDER BY n.program_id, n.what, n.kind;
END
$prm$;
COMMENT ON FUNCTION prm._check_definitions() IS
'What check() says of definitions that can never work: tiers that ask for metrics which do not exist, or for a score without a mark, or for more to be kept than to be reached, and rows that name metrics, activities, kinds or roles which do not exist.';
