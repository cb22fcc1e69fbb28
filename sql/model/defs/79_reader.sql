
-- What partners read of themselves past their rights: each function takes on the rights of the owner, and first finds out by
-- the role of the session whose partner asks (_own_partner). A setting decides nothing for a partner's role. What they hide is
-- said by partner_visible of metrics, health models, segments and benchmarks, and by boards; everything else follows from it.

CREATE OR REPLACE FUNCTION prm._own_metric(partner_id bigint, metric text, program_id bigint) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_metric.program_id, _own_metric.partner_id);
BEGIN
  IF EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = _own_metric.program_id AND m.metric = _own_metric.metric AND m.partner_visible) THEN
    RETURN QUERY SELECT v.* FROM prm._metric_values(_own_metric.program_id, ARRAY[the_self], prm.now(), ARRAY[_own_metric.metric]) v WHERE v.metric = _own_metric.metric;
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_metric(bigint, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_metric(bigint, text, bigint) IS 'A metric of the partner that asks, now, where it is partner_visible; no row otherwise. Errors: 42501 no partner asks, 42704 another is asked about.';

CREATE OR REPLACE FUNCTION prm._own_tier_gap(partner_id bigint, tier text, options jsonb, program_id bigint) RETURNS SETOF prm.tier_gap_row
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_tier_gap.program_id, _own_tier_gap.partner_id);
BEGIN
  RETURN QUERY
    SELECT s.track, s.metric, CASE WHEN s.is_shown THEN s.have END, s.need, CASE WHEN s.is_shown THEN s.missing END, s.met,
      CASE WHEN s.is_shown THEN s.lapses_on END, CASE WHEN s.is_shown THEN s.points END, s.weight, s.alternative_group, s.floor
    FROM (
      -- The score of a track would tell of the one metric in it that is hidden.
      SELECT g.track, g.metric, g.have, g.need, g.missing, g.met, g.lapses_on, g.points, g.weight, g.alternative_group, g.floor,
        CASE WHEN k.is_score THEN bool_and(k.is_score OR coalesce(m.partner_visible, false)) OVER (PARTITION BY g.track) ELSE coalesce(m.partner_visible, false) END AS is_shown
      FROM prm._tier_gap(_own_tier_gap.program_id, the_self, _own_tier_gap.tier, _own_tier_gap.options) g
      CROSS JOIN LATERAL (SELECT g.points IS NOT NULL AND g.weight IS NULL AS is_score) k
      LEFT JOIN prm.metric m ON m.program_id = _own_tier_gap.program_id AND m.metric = g.metric) s
    ORDER BY s.track, s.met, s.metric;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_tier_gap(bigint, text, jsonb, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_tier_gap(bigint, text, jsonb, bigint) IS
'tier_gap() of the partner that asks: what it needs and whether that is met; what it has, of metrics that are partner_visible. Errors: as tier_gap(), 42501 no partner asks.';

CREATE OR REPLACE FUNCTION prm._own_health(partner_id bigint, program_id bigint) RETURNS SETOF prm.health_row
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_health.program_id, _own_health.partner_id);
  the_definitions jsonb := prm._own_health_definitions(_own_health.program_id);
  the_shown text[] := ARRAY(SELECT e.metric FROM prm._shown_health(_own_health.program_id, the_self, the_definitions) e WHERE e.metric IS NOT NULL);
BEGIN
  RETURN QUERY
    SELECT h.score, h.band, h.coverage, h.trend, h.slope, CASE WHEN k.hidden @> '{performance}' THEN NULL ELSE h.performance END,
      CASE WHEN k.hidden @> '{relationship}' THEN NULL ELSE h.relationship END,
      -- The name of a model for a segment would tell of the segment.
      CASE WHEN g.is_told THEN h.model END, CASE WHEN g.is_told THEN h.version END
    FROM prm._health_row(_own_health.program_id, the_self, the_definitions, true) h
    JOIN prm.health_model m ON m.program_id = _own_health.program_id AND m.model = h.model AND m.partner_visible
    LEFT JOIN prm.segment s ON s.program_id = _own_health.program_id AND s.segment = m.segment
    CROSS JOIN LATERAL (SELECT m.segment IS NULL OR coalesce(s.partner_visible, false) AS is_told) g
    CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(DISTINCT x ->> 'aspect'), '{}') AS hidden
      FROM jsonb_array_elements(the_definitions) AS d, jsonb_array_elements(d -> 'metrics') AS x
      WHERE d ->> 'model' = h.model AND NOT x ->> 'metric' = ANY (the_shown)) k;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_health(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_health(bigint, bigint) IS
'health() of the partner that asks, by its model where that is partner_visible; no row otherwise. Errors: 42501 no partner asks, 42704 another is asked about.';

CREATE OR REPLACE FUNCTION prm._own_explain_health(partner_id bigint, program_id bigint) RETURNS SETOF prm.health_explanation
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_explain_health.program_id, _own_explain_health.partner_id);
  the_definitions jsonb := prm._own_health_definitions(_own_explain_health.program_id);
BEGIN
  IF EXISTS (SELECT 1 FROM prm._health_scores(_own_explain_health.program_id, ARRAY[the_self], prm.now(), false, the_definitions) h
             JOIN prm.health_model m ON m.program_id = _own_explain_health.program_id AND m.model = h.model AND m.partner_visible) THEN
    RETURN QUERY SELECT e.* FROM prm._shown_health(_own_explain_health.program_id, the_self, the_definitions) e;
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_explain_health(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_explain_health(bigint, bigint) IS
'explain_health() of the partner that asks, by its model where that is partner_visible; no rows otherwise. Errors: 42501 no partner asks, 42704 another is asked about.';

CREATE OR REPLACE FUNCTION prm._own_segments(partner_id bigint, program_id bigint) RETURNS SETOF prm.my_segment_row
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_segments.program_id, _own_segments.partner_id);
BEGIN
  RETURN QUERY
    SELECT s.segment, s.label, lower(m.valid), upper(m.valid)
    FROM prm.segment_member m JOIN prm.segment s ON s.program_id = _own_segments.program_id AND s.segment = m.segment
    WHERE m.program_id = _own_segments.program_id AND m.partner_id = the_self AND m.valid @> prm.now() AND s.partner_visible
    ORDER BY s.position, s.segment;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_segments(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_segments(bigint, bigint) IS 'my_segments() of the partner that asks. Errors: 42501 no partner asks, 42704 another is asked about.';

CREATE OR REPLACE FUNCTION prm._own_leaderboard(partner_id bigint, board text, program_id bigint) RETURNS SETOF prm.my_leaderboard_row
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._own_partner(_own_leaderboard.program_id, _own_leaderboard.partner_id);
  the_from timestamptz;
  the_to timestamptz;
  chosen record;
BEGIN
  SELECT b.metric, b.window_kind, b.partner_kind, b.tier, b.country, b.places, b.shows, b.shows_values INTO chosen
    FROM prm.board b WHERE b.program_id = _own_leaderboard.program_id AND b.board = _own_leaderboard.board AND b.is_active;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('leaderboard "%s" does not exist', coalesce(_own_leaderboard.board, 'NULL')),
      DETAIL = format('Programme %s has no such leaderboard that partners may see.', _own_leaderboard.program_id), HINT = 'SELECT board, label FROM prm.board lists them.';
  ELSIF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = _own_leaderboard.program_id AND p.partner_id = the_self AND prm._is_live_partner(p.state)
      AND (chosen.partner_kind IS NULL OR p.kind = chosen.partner_kind) AND (chosen.tier IS NULL OR p.tier = chosen.tier) AND (chosen.country IS NULL OR p.country = chosen.country)) THEN
    RETURN;
  END IF;
  IF chosen.window_kind IS NOT NULL THEN
    -- Windows of metrics leave their first moment out and hold their last; those of leaderboards are the other way round.
    SELECT w.after + interval '1 microsecond', w.until + interval '1 microsecond' INTO the_from, the_to
      FROM prm._metric_window(_own_leaderboard.program_id, chosen.window_kind, prm.now()) w;
  END IF;
  RETURN QUERY
    SELECT l.place, CASE WHEN l.is_self OR chosen.shows = 'names' THEN l.partner END,
      CASE WHEN l.is_self OR chosen.shows_values AND (chosen.shows = 'names' OR l.partners >= 5) THEN l.value END, l.is_self, l.partners
    FROM (
      SELECT x.place, x.partner, x.value, x.partner_id = the_self AS is_self, count(*) OVER () AS partners
      FROM prm._leaderboard(_own_leaderboard.program_id, chosen.metric, the_from, the_to,
        jsonb_strip_nulls(jsonb_build_object('partner_kind', chosen.partner_kind, 'tier', chosen.tier, 'country', chosen.country))) x) l
    WHERE l.is_self OR chosen.shows <> 'own' AND (chosen.places IS NULL OR l.place <= chosen.places)
    ORDER BY l.place, l.is_self DESC, CASE WHEN chosen.shows = 'names' THEN l.partner END;
END
$prm$;
REVOKE ALL ON FUNCTION prm._own_leaderboard(bigint, text, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._own_leaderboard(bigint, text, bigint) IS 'my_leaderboard() of the partner that asks. Errors: as there, 42501 no partner asks, 42704 another is asked about.';
