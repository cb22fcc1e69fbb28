
-- Health against what came of it: whether a low score foretold who was lost.

CREATE FUNCTION prm._health_lost(program_id bigint, moment timestamptz, horizon interval, outcome text, drop_to numeric) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_end timestamptz := _health_lost.moment + _health_lost.horizon;
  the_currency text := prm._program_currency(_health_lost.program_id);
  the_won text[];
BEGIN
  IF _health_lost.outcome = 'churn' THEN
    RETURN ARRAY(
      SELECT DISTINCT s.subject_id FROM prm.state_history s
      WHERE s.program_id = _health_lost.program_id AND s.machine = 'partner' AND s.to_state IN ('offboarding', 'terminated')
        AND s.at > _health_lost.moment AND s.at <= the_end AND s.subject_id IS NOT NULL);
  END IF;
  the_won := prm._won_states(_health_lost.program_id);
  RETURN ARRAY(
    SELECT d.partner_id FROM prm.deal d
    WHERE d.program_id = _health_lost.program_id AND d.partner_id IS NOT NULL AND d.state = ANY (the_won) AND d.currency = the_currency
      AND d.closed_at > _health_lost.moment - _health_lost.horizon AND d.closed_at <= the_end
    GROUP BY d.partner_id
    HAVING sum(d.amount) FILTER (WHERE d.closed_at <= _health_lost.moment) > 0
      AND coalesce(sum(d.amount) FILTER (WHERE d.closed_at > _health_lost.moment), 0)
          < _health_lost.drop_to * sum(d.amount) FILTER (WHERE d.closed_at <= _health_lost.moment));
END
$prm$;
COMMENT ON FUNCTION prm._health_lost(bigint, timestamptz, interval, text, numeric) IS
'The partners that were lost within the horizon after a moment: churn: they began to be offboarded, or were terminated; revenue: what they won was less than drop_to times what they won in the same time before.';

CREATE FUNCTION prm._health_watched(program_id bigint, moment timestamptz, horizon interval, outcome text) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_currency text := prm._program_currency(_health_watched.program_id);
  the_won text[];
BEGIN
  IF _health_watched.outcome = 'churn' THEN
    -- Who is on the way out already is foretold by nobody.
    RETURN ARRAY(
      SELECT s.partner_id FROM prm._health_subjects(_health_watched.program_id, NULL, _health_watched.moment) s
      WHERE NOT s.is_gone AND NOT EXISTS (
        SELECT 1 FROM prm.state_history h
        WHERE h.program_id = _health_watched.program_id AND h.subject_id = s.partner_id AND h.machine = 'partner' AND h.subject_id IS NOT NULL
          AND h.to_state IN ('offboarding', 'terminated') AND h.at <= _health_watched.moment)
      ORDER BY 1);
  END IF;
  the_won := prm._won_states(_health_watched.program_id);
  RETURN ARRAY(
    SELECT s.partner_id FROM prm._health_subjects(_health_watched.program_id, NULL, _health_watched.moment) s
    WHERE NOT s.is_gone AND EXISTS (
      SELECT 1 FROM prm.deal d
      WHERE d.program_id = _health_watched.program_id AND d.partner_id = s.partner_id AND d.state = ANY (the_won) AND d.currency = the_currency
        AND d.closed_at > _health_watched.moment - _health_watched.horizon AND d.closed_at <= _health_watched.moment AND d.amount > 0)
    ORDER BY 1);
END
$prm$;
COMMENT ON FUNCTION prm._health_watched(bigint, timestamptz, interval, text) IS
'The partners that could be lost after a moment: churn: who was there and not on the way out; revenue: who won something in the time before.';

CREATE FUNCTION prm.health_backtest(model text, horizon interval DEFAULT '180 days', options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_backtest_row
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_backtest.program_id);
  the_options jsonb := coalesce(health_backtest.options, '{}');
  the_now jsonb := prm.health_definition(health_backtest.model, NULL, the_program);
  the_outcome text := coalesce(the_options ->> 'outcome', 'churn');
  the_every interval := coalesce(prm._option_value('health_backtest', the_options, 'every', 'length of time')::interval, interval '1 month');
  the_number bigint := coalesce(prm._option_value('health_backtest', the_options, 'dates', 'whole number')::bigint, 12);
  the_drop numeric := coalesce(prm._option_value('health_backtest', the_options, 'drop_to', 'number')::numeric, 0.5);
  the_others jsonb;
  the_scores numeric[];
  the_losses boolean[];
  the_moments timestamptz[];
  the_used timestamptz[];
  batch record;
  tried record;
  found_rows record;
BEGIN
  PERFORM prm._known_options('health_backtest', the_options, ARRAY['outcome', 'every', 'dates', 'drop_to']);
  IF NOT the_outcome IN ('churn', 'revenue') OR the_number < 1 OR the_number > 120 OR the_every <= interval '0' OR NOT (the_drop > 0 AND the_drop <= 1) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the options of health_backtest make no sense',
      DETAIL = format('outcome is %s, dates %s, every %s, drop_to %s.', the_outcome, the_number, the_every, the_drop),
      HINT = 'outcome is churn or revenue, dates 1 to 120, every a time, drop_to more than 0 and at most 1.';
  END IF;
  IF health_backtest.horizon IS NULL OR health_backtest.horizon <= interval '0' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a backtest looks ahead from a past date', DETAIL = format('The horizon is %s.', coalesce(health_backtest.horizon::text, 'NULL')),
      HINT = 'Give a horizon such as interval ''180 days''.';
  END IF;
  -- The last date from which the whole horizon has passed, and those before it.
  the_moments := ARRAY(SELECT prm.now() - health_backtest.horizon - i * the_every FROM generate_series(0, the_number - 1) i ORDER BY 1);
  -- Partners that another model is for keep it, and are not counted.
  SELECT coalesce(jsonb_agg(prm._health_definition(the_program, m.model) || '{"version": 0}'), '[]') INTO the_others FROM prm.health_model m
    WHERE m.program_id = the_program AND m.is_active AND m.model <> health_backtest.model;
  FOR tried IN
    SELECT x.version, x.definition, x.note FROM (
      SELECT v.version, v.definition, NULL::text AS note FROM prm.health_model_version v WHERE v.program_id = the_program AND v.model = health_backtest.model
      UNION ALL
      SELECT coalesce((SELECT max(v.version) FROM prm.health_model_version v WHERE v.program_id = the_program AND v.model = health_backtest.model), 0) + 1, the_now, 'as it stands now, not used yet'
      WHERE NOT EXISTS (SELECT 1 FROM prm.health_model_version v WHERE v.program_id = the_program AND v.model = health_backtest.model AND v.definition = the_now)) x
    ORDER BY x.version
  LOOP
    the_scores := '{}';
    the_losses := '{}';
    the_used := '{}';
    FOR batch IN SELECT m.moment AS at_moment FROM unnest(the_moments) AS m(moment) LOOP
      SELECT array_agg(h.score ORDER BY h.partner_id) AS scores, array_agg(h.partner_id = ANY (l.lost) ORDER BY h.partner_id) AS losses INTO found_rows
        FROM (SELECT prm._health_lost(the_program, batch.at_moment, health_backtest.horizon, the_outcome, the_drop) AS lost,
                prm._health_watched(the_program, batch.at_moment, health_backtest.horizon, the_outcome) AS watched) l
        CROSS JOIN LATERAL prm._health_scores(the_program, l.watched, batch.at_moment, false,
          the_others || jsonb_build_array(tried.definition || jsonb_build_object('version', tried.version))) h
        WHERE h.model = health_backtest.model AND h.score IS NOT NULL;
      IF found_rows.scores IS NOT NULL THEN
        the_scores := the_scores || found_rows.scores;
        the_losses := the_losses || found_rows.losses;
        the_used := the_used || batch.at_moment;
      END IF;
    END LOOP;
    RETURN QUERY
      WITH seen AS MATERIALIZED (
        SELECT o.score, o.is_lost, rank() OVER (ORDER BY o.score) + (count(*) OVER (PARTITION BY o.score) - 1) / 2.0 AS place
        FROM unnest(the_scores, the_losses) AS o(score, is_lost)),
      total AS (
        SELECT count(*) AS observations, count(*) FILTER (WHERE s.is_lost) AS lost, sum(s.place) FILTER (WHERE NOT s.is_lost) AS places,
          count(*) FILTER (WHERE NOT s.is_lost) AS kept, ceil(count(*) / 10.0) AS decile FROM seen s),
      -- The tenth with the lowest scores; of those who share the last place, as many as fit.
      edge AS (
        SELECT t.decile, (SELECT s.score FROM seen s ORDER BY s.score OFFSET greatest(t.decile - 1, 0)::bigint LIMIT 1) AS score FROM total t),
      lowest AS (
        SELECT count(*) FILTER (WHERE s.is_lost AND s.score < e.score)
          + (e.decile - count(*) FILTER (WHERE s.score < e.score)) * count(*) FILTER (WHERE s.is_lost AND s.score = e.score)::numeric
            / nullif(count(*) FILTER (WHERE s.score = e.score), 0) AS lost, e.decile
        FROM seen s CROSS JOIN edge e GROUP BY e.decile)
      SELECT health_backtest.model, tried.version, the_outcome, cardinality(the_used), t.observations, t.lost,
        round(t.lost::numeric / nullif(t.observations, 0), 6),
        round((t.places - t.kept * (t.kept + 1) / 2.0) / nullif(t.kept * t.lost, 0), 6),
        round(l.lost / nullif(l.decile, 0) / nullif(t.lost::numeric / nullif(t.observations, 0), 0), 6),
        (SELECT min(u) FROM unnest(the_used) u), (SELECT max(u) FROM unnest(the_used) u),
        concat_ws('; ', tried.note, CASE WHEN t.observations = 0 THEN 'no partner had a score then' WHEN t.lost = 0 THEN 'nobody was lost' WHEN t.kept = 0 THEN 'everybody was lost' END)
      FROM total t LEFT JOIN lowest l ON true;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.health_backtest(text, interval, jsonb, bigint) IS
'Whether a health model foretells who is lost, for each of its versions and for the model as it stands: the scores of past dates, from the metrics as they were then, against what came within the horizon. options: outcome (churn: offboarded or terminated; revenue: won less than drop_to, 0.5, times what it won in the same time before), every (1 month), dates (12, the last one a horizon ago). auc 0.5 and lift 1 are no better than chance; NULL where nobody or everybody was lost, see note. Errors: 42704 unknown model, 22023 unknown or senseless option.';
