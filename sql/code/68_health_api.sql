
-- Health, for people: the score now, why, what changed, how it went, and how the partners are doing together.

CREATE FUNCTION prm._health_row(program_id bigint, partner_id bigint, definitions jsonb DEFAULT NULL, is_own boolean DEFAULT false) RETURNS SETOF prm.health_row
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT h.score, h.band, h.coverage, trim_scale(h.score - e.latest), e.slope, h.performance, h.relationship, h.model, h.version
    FROM prm._health_scores(_health_row.program_id, ARRAY[_health_row.partner_id], prm.now(), false, _health_row.definitions) h
    CROSS JOIN LATERAL (
      SELECT max(x.score) FILTER (WHERE x.place = 1) AS latest,
        -- Within a day there is no slope, only noise.
        CASE WHEN max(x.taken_at) - min(x.taken_at) >= interval '1 day'
             THEN round(regr_slope(x.score::float8, extract(epoch FROM x.taken_at)::float8 / 2592000)::numeric, 4) END AS slope
      FROM (SELECT 0 AS place, h.score, prm.now() AS taken_at
            UNION ALL
            SELECT row_number() OVER (ORDER BY s.taken_at DESC), s.score, s.taken_at FROM (
              -- Without what its members added, where the partner's own score is asked for; what it had none of it cannot have fallen from.
              SELECT y.score - CASE WHEN _health_row.is_own THEN coalesce((y.parts ->> '(members)')::numeric, 0) ELSE 0 END AS score, y.taken_at FROM prm.health_snapshot y
              WHERE y.program_id = _health_row.program_id AND y.partner_id = _health_row.partner_id AND y.model = h.model AND y.taken_at < prm.now() AND y.score IS NOT NULL
                AND (NOT _health_row.is_own OR y.coverage > 0)
              ORDER BY y.taken_at DESC LIMIT 6) s) x) e;
END
$prm$;
COMMENT ON FUNCTION prm._health_row(bigint, bigint, jsonb, boolean) IS
'The health of a partner now, no row where no model is in force. definitions: the models to use instead; is_own: the trend of its own score, before members are rolled up into it.';

CREATE FUNCTION prm.health(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_row
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health.program_id);
  the_partner bigint := prm._partner_argument(the_program, health.partner_id);
BEGIN
  IF prm._acting_partner(the_program) IS NULL THEN
    RETURN QUERY SELECT h.* FROM prm._health_row(the_program, the_partner) h;
  ELSE
    RETURN QUERY SELECT h.* FROM prm._own_health(the_partner, the_program) h;
  END IF;
  IF NOT FOUND THEN
    RETURN NEXT ROW(NULL, 'unknown', 0, NULL, NULL, NULL, NULL, NULL, NULL)::prm.health_row;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.health(bigint, bigint) IS
'The health of a partner now: one row with score, band, coverage, trend and slope, the scores of its performance and relationship groups apart, the model and its version. Without any known value the score is NULL and the band unknown, never 0. A partner reads its own, by models that are partner_visible: without what the partners below it add, and the score of an aspect only where it may see all its metrics. Error 42704 unknown partner, or another''s.';

CREATE FUNCTION prm._row_health(program_id bigint, partner_id bigint) RETURNS SETOF prm.health_row
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._acting_partner(_row_health.program_id);
BEGIN
  IF the_self IS NULL THEN
    RETURN QUERY SELECT h.score, h.band, h.coverage, NULL::numeric, NULL::numeric, h.performance, h.relationship, h.model, h.version
      FROM prm._health_scores(_row_health.program_id, ARRAY[_row_health.partner_id], prm.now()) h;
  ELSIF the_self = _row_health.partner_id THEN
    RETURN QUERY SELECT h.* FROM prm._own_health(the_self, _row_health.program_id) h;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._row_health(bigint, bigint) IS 'The health behind the functions over a row of prm.partner, which anybody may make up: a partner gets no row for another.';

CREATE FUNCTION prm._health_explain(program_id bigint, partner_id bigint, moment timestamptz, definitions jsonb DEFAULT NULL) RETURNS SETOF prm.health_explanation
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_definitions jsonb := coalesce(_health_explain.definitions, prm._health_definitions(_health_explain.program_id, _health_explain.moment));
  whole record;
BEGIN
  SELECT h.score, h.uncapped, h.own, h.raw, h.start, h.parts, h.shares, h.rolled INTO whole
    FROM prm._health_scores(_health_explain.program_id, ARRAY[_health_explain.partner_id], _health_explain.moment, true, the_definitions) h;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT e.group_name, e.metric, e.value, e.normalized, e.share, e.contribution, e.note, e.choice, e.aspect
    FROM (
      SELECT 1 AS place, max(h.group_weight) OVER (PARTITION BY h.aspect, h.group_name) AS heavy, h.group_name, h.weight, h.metric, h.value, h.normalized,
        (whole.shares ->> h.metric)::numeric AS share, (whole.parts ->> h.metric)::numeric AS contribution, h.note, h.choice, h.aspect
      FROM prm._health_parts(_health_explain.program_id, ARRAY[_health_explain.partner_id], _health_explain.moment, the_definitions) h
      UNION ALL
      SELECT 0, NULL, 'start', NULL, NULL, NULL, NULL, 0, whole.start, 'every score starts here', NULL, NULL WHERE whole.parts ? '(start)'
      UNION ALL
      SELECT 2, NULL, 'clamp', NULL, NULL, NULL, NULL, 0, whole.uncapped - whole.raw, 'clamped to ' || trim_scale(whole.uncapped), NULL, NULL WHERE whole.parts ? '(clamp)'
      UNION ALL
      SELECT 3, NULL, 'knock-out', NULL, NULL, NULL, NULL, 0, whole.own - whole.uncapped, 'capped at ' || trim_scale(whole.own), NULL, NULL WHERE whole.parts ? '(knock-out)'
      UNION ALL
      SELECT 4, NULL, 'members', NULL, NULL, NULL, NULL, 0, (whole.parts ->> '(members)')::numeric, whole.rolled, NULL, NULL WHERE whole.parts ? '(members)') e
    ORDER BY e.place, e.heavy DESC, e.group_name, e.weight DESC, e.metric;
END
$prm$;
COMMENT ON FUNCTION prm._health_explain(bigint, bigint, timestamptz, jsonb) IS 'Why the health of a partner was what it was at a moment: see explain_health(). definitions: the models to use instead of those in force then.';

CREATE FUNCTION prm._own_health_definitions(program_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  -- What the partners below it add to its score is not the hub's to read: of few members it would tell each.
  SELECT jsonb_agg(d.value || '{"rollup": null}') FROM jsonb_array_elements(prm._health_definitions(_own_health_definitions.program_id, prm.now())) d
$prm$;
COMMENT ON FUNCTION prm._own_health_definitions(bigint) IS 'The health models in force now as partners are judged by them when they ask themselves: without the roll-up of members.';

CREATE FUNCTION prm._shown_health(program_id bigint, partner_id bigint, definitions jsonb) RETURNS SETOF prm.health_explanation
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_percentiles text[];
BEGIN
  SELECT array_agg(DISTINCT h ->> 'metric') INTO the_percentiles
    FROM jsonb_array_elements(_shown_health.definitions) AS d, jsonb_array_elements(d -> 'metrics') AS h WHERE h ->> 'how' = 'percentile';
  RETURN QUERY
    WITH part AS MATERIALIZED (
      -- A place among fewer than five tells of the others.
      SELECT row_number() OVER () AS line, e.group_name, e.metric, e.value, e.normalized, e.share, e.contribution, e.note, e.choice, e.aspect,
        coalesce(m.partner_visible, false) AND (NOT e.metric = ANY (coalesce(the_percentiles, '{}')) OR e.normalized IS NULL
          OR coalesce(substring(e.note FROM '^place [0-9]+ of ([0-9]+)$')::bigint, 0) >= 5) AS is_open
      FROM prm._health_explain(_shown_health.program_id, _shown_health.partner_id, prm.now(), _shown_health.definitions) e
      LEFT JOIN prm.metric m ON m.program_id = _shown_health.program_id AND m.metric = e.metric),
    -- What is left over of a sum is no secret: where it were one metric alone, the open one that counts least is kept back too.
    kept AS MATERIALIZED (
      SELECT p.line, p.metric, p.note, p.is_open AND NOT (count(*) FILTER (WHERE NOT p.is_open) OVER () = 1
          AND row_number() OVER (PARTITION BY p.is_open ORDER BY abs(p.contribution) NULLS LAST, p.metric) = 1) AS is_shown
      FROM part p WHERE p.metric IS NOT NULL),
    shown AS (
      SELECT p.line, p.group_name, p.metric, p.value, p.normalized, p.share, p.contribution, p.note, p.choice, p.aspect,
        CASE WHEN p.metric IS NOT NULL THEN k.is_shown
             -- Why a score was capped is told where the metric is that did it.
             WHEN p.group_name = 'knock-out' THEN NOT EXISTS (SELECT 1 FROM kept x WHERE x.note LIKE 'knock-out: %' AND NOT x.is_shown) ELSE true END AS is_shown
      FROM part p LEFT JOIN kept k ON k.line = p.line)
    SELECT s.group_name, s.metric, s.value, s.normalized, s.share, s.contribution, s.note, s.choice, s.aspect
    FROM (
      SELECT o.line, o.group_name, o.metric, o.value, o.normalized, o.share, o.contribution, o.note, o.choice, o.aspect FROM shown o WHERE o.is_shown
      UNION ALL
      SELECT max(o.line), 'other', NULL, NULL, NULL, trim_scale(sum(o.share)), trim_scale(sum(o.contribution)), 'what is not shown to partners', NULL, NULL
      FROM shown o WHERE NOT o.is_shown HAVING count(*) > 0) s
    ORDER BY s.group_name = 'other' AND s.metric IS NULL, s.line;
END
$prm$;
COMMENT ON FUNCTION prm._shown_health(bigint, bigint, jsonb) IS
'explain_health() as its partner reads it: metrics that are not partner_visible, and percentiles among fewer than five, are one row together, never one of them alone.';

CREATE FUNCTION prm.explain_health(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_explanation
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_health.program_id);
  the_partner bigint := prm._partner_argument(the_program, explain_health.partner_id);
BEGIN
  IF prm._acting_partner(the_program) IS NULL THEN
    RETURN QUERY
      SELECT e.group_name, e.metric, e.value, e.normalized, e.share, e.contribution, e.note, e.choice, e.aspect
      FROM prm._health_explain(the_program, the_partner, prm.now()) e;
  ELSE
    RETURN QUERY SELECT e.* FROM prm._own_explain_health(the_partner, the_program) e;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.explain_health(bigint, bigint) IS
'Why the health of a partner is what it is: a row for each metric of its model, also for those without a value, and one for each of: where an additive score starts, what clamping, a knock-out and the members of a hub did to it. The contributions sum to the score exactly, whatever the kind of the model; they are NULL where there is no score. A partner reads its own: a row for each metric that is partner_visible, and one without a metric, group other, for all the rest together, so that it still sums. Error 42704 unknown partner, or another''s.';

CREATE FUNCTION prm.health_groups(partner_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_group_row
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_groups.program_id);
  the_partner bigint := prm._partner_argument(the_program, health_groups.partner_id);
BEGIN
  RETURN QUERY
    WITH whole AS MATERIALIZED (
      SELECT h.score, h.coverage, h.parts, h.performance, h.relationship FROM prm._health_scores(the_program, ARRAY[the_partner], prm.now(), true) h),
    grouped AS MATERIALIZED (
      SELECT h.aspect, h.group_name, max(h.group_weight) AS weight, prm.weighted_score(h.normalized, h.weight ORDER BY h.metric) AS score,
        coalesce(sum(h.weight) FILTER (WHERE h.known), 0) / sum(h.weight) AS present, sum((w.parts ->> h.metric)::numeric) AS contribution
      FROM prm._health_parts(the_program, ARRAY[the_partner], prm.now()) h CROSS JOIN whole w
      GROUP BY h.aspect, h.group_name)
    SELECT e.aspect, e.group_name, e.score, e.coverage, e.contribution
    FROM (
      SELECT g.aspect, g.group_name, CASE WHEN g.present > 0 THEN g.score END AS score, round(g.present, 6) AS coverage, g.contribution, g.weight FROM grouped g
      UNION ALL
      SELECT g.aspect, NULL, max(CASE g.aspect WHEN 'performance' THEN w.performance ELSE w.relationship END), round(sum(g.weight * g.present) / sum(g.weight), 6), sum(g.contribution), NULL
      FROM grouped g CROSS JOIN whole w GROUP BY g.aspect
      UNION ALL
      SELECT NULL, NULL, w.score, w.coverage, w.score, NULL FROM whole w) e
    ORDER BY e.aspect NULLS LAST, e.group_name IS NULL, e.weight DESC, e.group_name;
END
$prm$;
COMMENT ON FUNCTION prm.health_groups(bigint, bigint) IS
'The health of a partner now by groups: a row for each group of metrics, then one for its aspect (performance, relationship), and at the end the whole. The contributions of the aspects sum to the score, but for what clamping, knock-outs and members did. Error 42704 unknown partner.';

CREATE FUNCTION prm.health_changes(partner_id bigint, since timestamptz, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_change_row
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_changes.program_id);
  the_partner bigint := prm._partner_argument(the_program, health_changes.partner_id);
BEGIN
  IF health_changes.since IS NULL OR NOT isfinite(health_changes.since) OR health_changes.since > prm.now() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'changes are told since a moment in the past',
      DETAIL = format('since is %s, and it is %s.', coalesce(health_changes.since::text, 'NULL'), prm.now()), HINT = 'SELECT * FROM prm.health_changes(1, prm.now() - interval ''30 days'').';
  END IF;
  RETURN QUERY
    SELECT e.group_name, e.metric, e.value_before, e.value_after, e.normalized_before, e.normalized_after, e.contribution_before, e.contribution_after,
      -- Without a score then or now there is no change to be told.
      CASE WHEN e.is_told THEN trim_scale(coalesce(e.contribution_after, 0) - coalesce(e.contribution_before, 0)) END,
      CASE WHEN e.metric IS NULL THEN e.note WHEN NOT e.was_there THEN 'new in the model' WHEN NOT e.is_there THEN 'no longer in the model'
           WHEN e.value_before IS NULL AND e.choice_before IS NULL AND (e.value_after IS NOT NULL OR e.choice_after IS NOT NULL) THEN 'known now'
           WHEN e.value_after IS NULL AND e.choice_after IS NULL AND (e.value_before IS NOT NULL OR e.choice_before IS NOT NULL) THEN 'no longer known'
           WHEN e.choice_before <> e.choice_after THEN format('%s, was %s', e.choice_after, e.choice_before)
           WHEN e.value_before IS DISTINCT FROM e.value_after THEN 'its value changed'
           WHEN e.normalized_before IS DISTINCT FROM e.normalized_after THEN 'the same value has another score'
           WHEN e.contribution_before IS DISTINCT FROM e.contribution_after THEN 'the weights that count changed' END
    FROM (
      SELECT coalesce(a.group_name, b.group_name) AS group_name, coalesce(a.metric, b.metric) AS metric, b.value AS value_before, a.value AS value_after,
        b.normalized AS normalized_before, a.normalized AS normalized_after, b.contribution AS contribution_before, a.contribution AS contribution_after,
        b.choice AS choice_before, a.choice AS choice_after, b.group_name IS NOT NULL AS was_there, a.group_name IS NOT NULL AS is_there, coalesce(a.note, b.note) AS note,
        count(a.contribution) OVER () > 0 AND count(b.contribution) OVER () > 0 AS is_told
      FROM prm._health_explain(the_program, the_partner, prm.now()) a
      FULL JOIN prm._health_explain(the_program, the_partner, health_changes.since) b ON coalesce(b.metric, '(' || b.group_name) = coalesce(a.metric, '(' || a.group_name)) e
    ORDER BY abs(coalesce(e.contribution_after, 0) - coalesce(e.contribution_before, 0)) DESC, e.group_name, e.metric;
END
$prm$;
COMMENT ON FUNCTION prm.health_changes(bigint, timestamptz, bigint) IS
'What changed in the health of a partner since a moment: a row for each metric with value, score and contribution then and now, and its effect, the greatest first. Then is reckoned from the history of the metrics and by the version of the model that was in use. The effects sum to the change of the score exactly; they are NULL where there was no score then, or is none now. Errors: 42704 unknown partner, 22023 a moment that is not past.';

CREATE TYPE prm.health_move AS (partner_id bigint, partner text, model text, score numeric, band text, coverage numeric, performance numeric, relationship numeric, score_before numeric, band_before text,
  change numeric, metric text, metric_label text, effect numeric);
COMMENT ON TYPE prm.health_move IS 'The health of a partner now and 30 days before, and the metric that moved it most; internal, a row of the view v_health.';

CREATE FUNCTION prm._health_moves(program_id bigint) RETURNS SETOF prm.health_move
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH now_scores AS MATERIALIZED (SELECT x.* FROM prm._health_scores(_health_moves.program_id, NULL, prm.now(), true) x),
    then_scores AS MATERIALIZED (SELECT x.partner_id, x.model, x.score, x.band, x.parts FROM prm._health_scores(_health_moves.program_id, NULL, prm.now() - interval '30 days', true) x),
    -- By the same model, or it is another score.
    moved AS MATERIALIZED (
      SELECT n.partner_id, n.model, n.score, n.band, n.coverage, n.performance, n.relationship, n.parts, t.score AS score_before, t.band AS band_before, t.parts AS parts_before
      FROM now_scores n LEFT JOIN then_scores t ON t.partner_id = n.partner_id AND t.model = n.model)
    SELECT h.partner_id, p.name, h.model, h.score, coalesce(h.band, 'unknown'), h.coverage, h.performance, h.relationship, h.score_before, h.band_before,
      trim_scale(h.score - h.score_before), c.metric, c.label, c.effect
    FROM moved h
    CROSS JOIN LATERAL (SELECT x.name FROM prm.partner x WHERE x.program_id = _health_moves.program_id AND x.partner_id = h.partner_id OFFSET 0) p
    LEFT JOIN LATERAL (
      -- The one that moved the score most in the direction in which it went.
      SELECT d.metric, d.effect, m.label
      FROM (
        SELECT coalesce(n.key, o.key) AS metric, trim_scale(coalesce(n.value::numeric, 0) - coalesce(o.value::numeric, 0)) AS effect
        FROM jsonb_each_text(h.parts) n FULL JOIN jsonb_each_text(h.parts_before) o ON o.key = n.key) d
      LEFT JOIN prm.metric m ON m.program_id = _health_moves.program_id AND m.metric = d.metric
      WHERE d.effect * sign(h.score - h.score_before) > 0
      ORDER BY abs(d.effect) DESC, d.metric LIMIT 1) c ON h.score <> h.score_before;
END
$prm$;
COMMENT ON FUNCTION prm._health_moves(bigint) IS 'The health of all partners now and 30 days before, and the metric that moved each most, for the view v_health: both moments in one pass each.';

CREATE FUNCTION prm.health_trend(partner_id bigint, points integer DEFAULT 12, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_trend_row
LANGUAGE plpgsql STABLE ROWS 12 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_trend.program_id);
  the_partner bigint := prm._partner_argument(the_program, health_trend.partner_id);
BEGIN
  IF health_trend.points IS NULL OR health_trend.points < 1 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a trend has at least one point', DETAIL = format('points is %s.', coalesce(health_trend.points::text, 'NULL')),
      HINT = 'Leave points out for the last twelve snapshots.';
  END IF;
  RETURN QUERY
    WITH shot AS (
      SELECT s.taken_at, s.model, s.version, s.score, s.band, s.coverage, s.parts, lag(s.score) OVER w AS before, lag(s.parts) OVER w AS parts_before,
        CASE WHEN s.taken_at - min(s.taken_at) OVER v >= interval '1 day' THEN regr_slope(s.score::float8, extract(epoch FROM s.taken_at)::float8 / 2592000) OVER v END AS slope
      FROM prm.health_snapshot s
      WHERE s.program_id = the_program AND s.partner_id = the_partner AND s.taken_at <= prm.now()
      WINDOW w AS (PARTITION BY s.model ORDER BY s.taken_at), v AS (PARTITION BY s.model ORDER BY s.taken_at ROWS 5 PRECEDING)),
    latest AS (SELECT s.taken_at, s.model, s.version, s.score, s.band, s.coverage, s.parts, s.before, s.parts_before, s.slope
               FROM shot s ORDER BY s.taken_at DESC, s.model LIMIT health_trend.points)
    SELECT l.taken_at, l.model, l.version, l.score, l.band, l.coverage, trim_scale(l.score - l.before), round(l.slope::numeric, 4), r.metric, r.effect
    FROM latest l
    LEFT JOIN LATERAL (
      SELECT coalesce(a.key, b.key) AS metric, coalesce(a.value::numeric, 0) - coalesce(b.value::numeric, 0) AS effect
      FROM jsonb_each_text(l.parts) a FULL JOIN jsonb_each_text(l.parts_before) b ON b.key = a.key
      WHERE coalesce(a.value::numeric, 0) <> coalesce(b.value::numeric, 0)
      ORDER BY abs(coalesce(a.value::numeric, 0) - coalesce(b.value::numeric, 0)) DESC, 1 LIMIT 1) r ON l.before IS NOT NULL AND l.score IS NOT NULL
    ORDER BY l.taken_at, l.model;
END
$prm$;
COMMENT ON FUNCTION prm.health_trend(bigint, integer, bigint) IS
'The last snapshots of a partner''s health, the oldest first: what each changed, by which metric most, and the slope. Errors: 42704 unknown partner, 22023 less than one point.';

CREATE FUNCTION prm.health_portfolio(part_by text DEFAULT 'program', scores jsonb DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.health_portfolio_row
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(health_portfolio.program_id);
  the_band text;
BEGIN
  IF health_portfolio.part_by IS NULL OR NOT health_portfolio.part_by IN ('program', 'kind', 'region', 'country', 'tier', 'parent', 'model') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('partners are not told apart by "%s"', coalesce(health_portfolio.part_by, 'NULL')),
      DETAIL = 'A portfolio is all of the programme, or a kind, region, country, tier, parent or model.', HINT = 'SELECT * FROM prm.health_portfolio(''region'').';
  END IF;
  IF health_portfolio.scores IS NOT NULL AND (jsonb_typeof(health_portfolio.scores) <> 'object'
      OR EXISTS (SELECT 1 FROM jsonb_each(health_portfolio.scores) x WHERE jsonb_typeof(x.value) <> 'number')) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'scores say what each band is worth', DETAIL = format('They are %s.', health_portfolio.scores),
      HINT = 'Give {"good": 100, "average": 60, "poor": 40} with the names of your bands, or leave it out for the mean of the scores.';
  END IF;
  SELECT k.name INTO the_band FROM jsonb_object_keys(health_portfolio.scores) AS k(name)
    WHERE NOT EXISTS (SELECT 1 FROM prm.health_band b WHERE b.program_id = the_program AND b.band = k.name) ORDER BY k.name LIMIT 1;
  IF the_band IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('band "%s" does not exist', the_band),
      DETAIL = format('The bands of programme %s are %s.', the_program, coalesce((SELECT string_agg(DISTINCT b.band, ', ' ORDER BY b.band) FROM prm.health_band b WHERE b.program_id = the_program), 'none')),
      HINT = 'Correct the name; a band that is left out leaves the mean.';
  END IF;
  RETURN QUERY
    WITH scored AS (
      SELECT CASE health_portfolio.part_by WHEN 'program' THEN 'all' WHEN 'kind' THEN s.kind WHEN 'region' THEN s.region WHEN 'country' THEN s.country WHEN 'tier' THEN s.tier
               WHEN 'parent' THEN s.parent_id::text ELSE h.model END AS portfolio,
        h.score, coalesce(h.band, 'unknown') AS band
      FROM prm._health_subjects(the_program, NULL, prm.now()) s
      LEFT JOIN prm._health_scores(the_program, NULL, prm.now()) h ON h.partner_id = s.partner_id
      WHERE NOT s.is_gone),
    counted AS (SELECT c.portfolio, jsonb_object_agg(c.band, c.number ORDER BY c.band) AS bands
                FROM (SELECT x.portfolio, x.band, count(*) AS number FROM scored x GROUP BY x.portfolio, x.band) c GROUP BY c.portfolio)
    SELECT s.portfolio, count(*), count(s.score),
      prm.weighted_score(CASE WHEN health_portfolio.scores IS NULL THEN s.score WHEN s.score IS NOT NULL THEN (health_portfolio.scores ->> s.band)::numeric END, 1), min(s.score), c.bands
    FROM scored s JOIN counted c ON c.portfolio IS NOT DISTINCT FROM s.portfolio
    GROUP BY s.portfolio, c.bands ORDER BY s.portfolio NULLS LAST;
END
$prm$;
COMMENT ON FUNCTION prm.health_portfolio(text, jsonb, bigint) IS
'How the partners are doing together, for the programme or by kind, region, country, tier, parent or model: the mean of the scores, or, where scores says what each band is worth, of those; partners without a score are counted but leave the mean. Who is terminated or rejected does not count. Errors: 22023 another way to tell them apart, or scores that are no numbers; 42704 no such band.';

CREATE FUNCTION prm.record_choice(partner_id bigint, metric text, choice text, observed_at timestamptz DEFAULT prm.now(), program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(record_choice.program_id);
  the_partner bigint := prm._partner_argument(the_program, record_choice.partner_id);
  the_choices text;
BEGIN
  SELECT string_agg(DISTINCT c.key, ', ' ORDER BY c.key) INTO the_choices FROM prm.health_metric h
    CROSS JOIN LATERAL jsonb_object_keys(h.options -> 'choices') AS c(key)
    WHERE h.program_id = the_program AND h.metric = record_choice.metric AND h.how = 'choice';
  IF the_choices IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" has no choices', coalesce(record_choice.metric, 'NULL')),
      DETAIL = format('The metrics with choices in programme %s are %s.', the_program,
        coalesce((SELECT string_agg(DISTINCT h.metric, ', ' ORDER BY h.metric) FROM prm.health_metric h WHERE h.program_id = the_program AND h.how = 'choice'), 'none')),
      HINT = 'Correct the name, or give the metric in prm.health_metric how = ''choice'' and its choices.';
  END IF;
  IF record_choice.choice IS NULL OR NOT EXISTS (
      SELECT 1 FROM prm.health_metric h WHERE h.program_id = the_program AND h.metric = record_choice.metric AND h.how = 'choice'
        AND (h.options -> 'choices' ? record_choice.choice OR h.options ? 'other')) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no choice of metric "%s"', coalesce(record_choice.choice, 'NULL'), record_choice.metric),
      DETAIL = format('The choices are %s.', the_choices), HINT = 'Record one of them, or add the choice to the options in prm.health_metric.';
  END IF;
  IF record_choice.observed_at IS NULL OR NOT isfinite(record_choice.observed_at) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an answer needs the moment at which it was given',
      DETAIL = format('observed_at is %s.', coalesce(record_choice.observed_at::text, 'NULL')), HINT = 'Leave observed_at out for the present moment.';
  END IF;
  INSERT INTO prm.health_choice (program_id, partner_id, metric, observed_at, choice, recorded_by)
    VALUES (the_program, the_partner, record_choice.metric, record_choice.observed_at, record_choice.choice, prm.current_actor())
    ON CONFLICT (program_id, partner_id, metric, observed_at) DO UPDATE SET choice = excluded.choice, recorded_by = excluded.recorded_by, recorded_at = clock_timestamp();
END
$prm$;
COMMENT ON FUNCTION prm.record_choice(bigint, text, text, timestamptz, bigint) IS
'Stores an answer in words for a metric with choices; a second answer for the same moment takes the place of the first. Errors: 42704 unknown partner or a metric without choices, 22023 no such choice.';

CREATE FUNCTION prm.record_customer_metric(customer_id bigint, metric text, value numeric, observed_at timestamptz DEFAULT prm.now(), program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(record_customer_metric.program_id);
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.customer c WHERE c.program_id = the_program AND c.customer_id = record_customer_metric.customer_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('customer %s does not exist', coalesce(record_customer_metric.customer_id::text, 'NULL')),
      DETAIL = format('Programme %s has no such customer that you may see.', the_program), HINT = 'SELECT customer_id, name FROM prm.customer lists them.';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = the_program AND m.metric = record_customer_metric.metric) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('metric "%s" does not exist', coalesce(record_customer_metric.metric, 'NULL')),
      DETAIL = format('Programme %s has no metric of that name.', the_program), HINT = 'Correct the name, or define the metric: INSERT INTO prm.metric (metric, label) VALUES (...).';
  END IF;
  IF record_customer_metric.value IS NULL OR record_customer_metric.value IN ('NaN', 'Infinity', '-Infinity') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is no value of a metric', coalesce(record_customer_metric.value::text, 'NULL')),
      DETAIL = format('It was given for metric "%s".', record_customer_metric.metric), HINT = 'Give a finite number; where nothing is known, record nothing.';
  END IF;
  IF record_customer_metric.observed_at IS NULL OR NOT isfinite(record_customer_metric.observed_at) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a value needs the moment at which it was observed',
      DETAIL = format('observed_at is %s.', coalesce(record_customer_metric.observed_at::text, 'NULL')), HINT = 'Leave observed_at out for the present moment.';
  END IF;
  INSERT INTO prm.customer_metric_value (program_id, customer_id, metric, observed_at, value)
    VALUES (the_program, record_customer_metric.customer_id, record_customer_metric.metric, record_customer_metric.observed_at, record_customer_metric.value)
    ON CONFLICT (program_id, customer_id, metric, observed_at) DO UPDATE SET value = excluded.value, recorded_at = clock_timestamp();
END
$prm$;
COMMENT ON FUNCTION prm.record_customer_metric(bigint, text, numeric, timestamptz, bigint) IS
'Stores a value of a metric for a customer; the health of the partners that won deals with it takes it over where their model says so (health_metric.customers). Errors: 42704 unknown customer or metric, 22023 no finite number.';

CREATE FUNCTION prm.refresh_health(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refresh_health.program_id);
  the_count bigint;
BEGIN
  -- First the versions, so that the snapshots can name them.
  PERFORM prm._keep_health_versions(the_program);
  INSERT INTO prm.health_snapshot (program_id, partner_id, model, taken_at, score, band, coverage, parts, version, performance, relationship)
    SELECT the_program, h.partner_id, h.model, prm.now(), h.score, h.band, h.coverage, h.parts, h.version, h.performance, h.relationship
    FROM prm._health_scores(the_program, NULL, prm.now(), true) h
    ORDER BY h.partner_id
    ON CONFLICT (program_id, partner_id, model, taken_at) DO UPDATE
      SET score = excluded.score, band = excluded.band, coverage = excluded.coverage, parts = excluded.parts, version = excluded.version,
          performance = excluded.performance, relationship = excluded.relationship;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm.refresh_health(bigint) IS
'Writes the health of every partner at prm.now() into health_snapshot, in one statement; returns how many. The models as they are then are kept as versions, which the snapshots name. A second call for the same moment replaces the first.';
