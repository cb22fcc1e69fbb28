
-- Tiers: what is asked, what is met, and what follows for the standing of a partner. All of it is set-based, and nothing here
-- writes. 70_tier_evaluate.sql makes the findings true, 71_tier_gap.sql explains them, 71_tier_hand.sql is for decisions by hand.

CREATE TYPE prm.tier_evaluation AS (partner_id bigint, ladder text, held text, qualified text, outcome text, reason text, effective_on date);
COMMENT ON TYPE prm.tier_evaluation IS
'A row of evaluate_tiers(): partner, ladder, the tier held before, the highest tier met, the outcome (promote, keep, at_risk, grace, demote, pinned, needs_approval), why, and the day on which it takes effect (at_risk and grace: the day of the demotion to come).';

CREATE TYPE prm.tier_finding AS (partner_id bigint, ladder text, held text, qualified text, outcome text, reason text, effective_on date,
  to_tier text, standing text, grace_on date, review_on date, at_risk_on date, metrics jsonb, changed boolean, recovered boolean);
COMMENT ON TYPE prm.tier_finding IS
'What an evaluation found for a partner on a ladder and what the enrolment should become; internal, between _tier_findings() and _apply_tiers().';

CREATE TYPE prm.tier_asked AS (ladder text, tier text, rank integer, needs_approval boolean, track text, place integer, metric text, op text, threshold numeric,
  keep_threshold numeric, weight numeric, floor numeric, is_capped boolean, is_partial boolean, alternative_group text, bit bigint, full_mask bigint, floor_mask bigint,
  mode text, mark numeric, keep_mark numeric);
COMMENT ON TYPE prm.tier_asked IS
'A requirement with what its track, tier and ladder say of it. place numbers the tracks, better tiers higher; bit is the requirement''s alternative group, the masks are the groups of the track, and those with a floor; internal.';

CREATE TYPE prm.tier_place AS (partner_id bigint, ladder text, metric text, op text, value_multiplier numeric, threshold_multiplier numeric);
COMMENT ON TYPE prm.tier_place IS 'What a growth market changes for a partner, ladder, metric and direction; internal.';

CREATE TYPE prm.tier_met AS (partner_id bigint, ladder text, rank integer, free_rank integer, source text);
COMMENT ON TYPE prm.tier_met IS
'The rank of the highest tier that a partner meets on a ladder (NULL: none), that of the highest among those that need no approval, and what gave it: requirements, entry, bought, inherited; internal.';

CREATE FUNCTION prm._tier_meets(op text, value numeric, need numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE _tier_meets.op WHEN '>=' THEN _tier_meets.value >= _tier_meets.need ELSE _tier_meets.value <= _tier_meets.need END;
END;
COMMENT ON FUNCTION prm._tier_meets(text, numeric, numeric) IS 'Whether a value meets what is needed; NULL: nothing is known.';

CREATE FUNCTION prm._tier_points(op text, value numeric, need numeric, weight numeric, is_capped boolean, is_partial boolean) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE
    WHEN _tier_points.value IS NULL THEN 0
    WHEN _tier_points.op = '<=' THEN
      CASE WHEN _tier_points.value <= _tier_points.need THEN _tier_points.weight WHEN _tier_points.need <= 0 OR NOT _tier_points.is_partial THEN 0
           ELSE _tier_points.weight * _tier_points.need / _tier_points.value END
    WHEN _tier_points.need <= 0 THEN CASE WHEN _tier_points.value >= _tier_points.need THEN _tier_points.weight ELSE 0 END
    WHEN _tier_points.value <= 0 THEN 0
    WHEN _tier_points.is_capped AND _tier_points.value >= _tier_points.need THEN _tier_points.weight
    WHEN NOT _tier_points.is_partial THEN _tier_points.weight * div(_tier_points.value, _tier_points.need)
    ELSE _tier_points.weight * _tier_points.value / _tier_points.need END;
END;
COMMENT ON FUNCTION prm._tier_points(text, numeric, numeric, numeric, boolean, boolean) IS
'What a requirement adds to a score: weight x value / need, at most the weight unless it is not capped, never below 0; for <= weight x need / value. Not partial: only whole weights. Nothing known gives 0.';

CREATE FUNCTION prm._ladder_argument(program_id bigint, ladder text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.ladder l WHERE l.program_id = _ladder_argument.program_id AND l.ladder = _ladder_argument.ladder) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('ladder "%s" does not exist', coalesce(_ladder_argument.ladder, 'NULL')),
      DETAIL = format('The ladders of programme %s are %s.', _ladder_argument.program_id,
        coalesce((SELECT string_agg(l.ladder, ', ' ORDER BY l.ladder) FROM prm.ladder l WHERE l.program_id = _ladder_argument.program_id), 'none')),
      HINT = 'SELECT ladder FROM prm.ladder lists them.';
  END IF;
  RETURN _ladder_argument.ladder;
END
$prm$;
COMMENT ON FUNCTION prm._ladder_argument(bigint, text) IS 'Returns the ladder given. Error 42704 where the programme has no such ladder.';

CREATE FUNCTION prm._tier_argument(program_id bigint, ladder text, tier text, hint text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_rank integer;
BEGIN
  SELECT t.rank INTO the_rank FROM prm.tier t WHERE t.program_id = _tier_argument.program_id AND t.ladder = _tier_argument.ladder AND t.tier = _tier_argument.tier;
  IF the_rank IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('tier "%s" does not exist', coalesce(_tier_argument.tier, 'NULL')),
      DETAIL = format('The tiers of ladder %s are %s.', _tier_argument.ladder,
        coalesce((SELECT string_agg(t.tier, ', ' ORDER BY t.rank) FROM prm.tier t WHERE t.program_id = _tier_argument.program_id AND t.ladder = _tier_argument.ladder), 'none')),
      HINT = _tier_argument.hint;
  END IF;
  RETURN the_rank;
END
$prm$;
COMMENT ON FUNCTION prm._tier_argument(bigint, text, text, text) IS 'Returns the rank of a tier. Error 42704 with the hint given where the ladder has no such tier.';

CREATE FUNCTION prm._ladder_option(program_id bigint, verb text, options jsonb, others text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._known_options(_ladder_option.verb, _ladder_option.options, ARRAY['ladder'] || _ladder_option.others);
  RETURN prm._ladder_argument(_ladder_option.program_id, coalesce(_ladder_option.options ->> 'ladder', 'main'));
END
$prm$;
COMMENT ON FUNCTION prm._ladder_option(bigint, text, jsonb, text[]) IS 'Returns the ladder that options name, else main, after a look at the other options. Errors: 22023 unknown option, 42704 unknown ladder.';

CREATE FUNCTION prm._next_review(anchor date, step interval, earliest date) RETURNS date
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_days numeric := extract(epoch FROM _next_review.step) / 86400;
  the_count integer := greatest(floor((_next_review.earliest - _next_review.anchor) / the_days)::integer - 1, 0);
BEGIN
  WHILE (_next_review.anchor + the_count * _next_review.step)::date < _next_review.earliest LOOP
    the_count := the_count + 1;
  END LOOP;
  RETURN (_next_review.anchor + the_count * _next_review.step)::date;
END
$prm$;
COMMENT ON FUNCTION prm._next_review(date, interval, date) IS 'The first of the days anchor, anchor + step, anchor + 2 x step ... that is not before earliest.';

CREATE FUNCTION prm._tier_asked(program_id bigint, ladder text DEFAULT NULL, unsound boolean DEFAULT false) RETURNS SETOF prm.tier_asked
LANGUAGE plpgsql STABLE ROWS 30 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
BEGIN
  -- A track that asks for a metric which does not exist is never met, so it is left out as a whole.
  RETURN QUERY
    WITH asked AS (
      SELECT r.ladder, r.tier, t.rank, t.needs_approval, r.track, r.metric, r.op, r.threshold, r.keep_threshold, r.weight, r.floor, r.is_capped, r.is_partial, r.alternative_group,
        dense_rank() OVER (PARTITION BY r.ladder, r.tier, r.track ORDER BY coalesce('group ' || r.alternative_group, 'metric ' || r.metric)) AS number,
        dense_rank() OVER (ORDER BY t.rank, r.track DESC, r.ladder) AS place,
        bool_and(m.metric IS NOT NULL) OVER (PARTITION BY r.ladder, r.tier, r.track) AS is_sound,
        count(*) OVER (PARTITION BY r.ladder, r.tier, r.track) AS size,
        coalesce(k.mode, y.mode, 'all') AS mode, coalesce(k.mark, y.mark) AS mark, coalesce(k.keep_mark, k.mark, y.mark) AS keep_mark
      FROM prm.tier_requirement r
      JOIN prm.tier t ON t.program_id = _tier_asked.program_id AND t.ladder = r.ladder AND t.tier = r.tier
      LEFT JOIN prm.tier_policy y ON y.program_id = _tier_asked.program_id AND y.ladder = r.ladder
      LEFT JOIN prm.tier_track k ON k.program_id = _tier_asked.program_id AND k.ladder = r.ladder AND k.tier = r.tier AND k.track = r.track
      LEFT JOIN prm.metric m ON m.program_id = _tier_asked.program_id AND m.metric = r.metric
      WHERE r.program_id = _tier_asked.program_id AND (_tier_asked.ladder IS NULL OR r.ladder = _tier_asked.ladder))
    SELECT a.ladder, a.tier, a.rank, a.needs_approval, a.track, a.place::integer, a.metric, a.op, a.threshold, a.keep_threshold, a.weight, a.floor, a.is_capped, a.is_partial,
      a.alternative_group, 1::bigint << (a.number - 1)::integer,
      bit_or(1::bigint << (a.number - 1)::integer) OVER (PARTITION BY a.place),
      coalesce(bit_or(1::bigint << (a.number - 1)::integer) FILTER (WHERE a.floor IS NOT NULL) OVER (PARTITION BY a.place), 0),
      a.mode, a.mark, a.keep_mark
    FROM asked a WHERE _tier_asked.unsound OR a.is_sound AND a.size <= 62 AND (a.mode = 'all' OR a.mark IS NOT NULL)
    ORDER BY a.place, a.metric;
END
$prm$;
COMMENT ON FUNCTION prm._tier_asked(bigint, text, boolean) IS
'The requirements of a programme''s ladders (or of one) that can be met: tracks with a metric that does not exist, with a score but no mark, or with more than 62 requirements are left out as a whole, unless unsound ones are asked for.';

CREATE FUNCTION prm._tier_places(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.tier_place
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  -- Most programmes have no growth markets, and then this is one look.
  IF NOT EXISTS (SELECT 1 FROM prm.tier_market k WHERE k.program_id = _tier_places.program_id AND k.applies_to = 'partner') THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT DISTINCT ON (p.partner_id, r.ladder, r.metric, r.op) p.partner_id, r.ladder, r.metric, r.op, k.value_multiplier, k.threshold_multiplier
    FROM prm.partner p
    JOIN prm.tier_market k ON k.program_id = _tier_places.program_id AND k.applies_to = 'partner'
      AND (k.country IS NULL OR k.country = p.country) AND (k.region IS NULL OR k.region = p.region)
    JOIN (SELECT DISTINCT x.ladder, x.metric, x.op FROM prm.tier_requirement x WHERE x.program_id = _tier_places.program_id) r
      -- Half of what is to be reached is a help, half of what must not be exceeded is none: that must be named.
      ON (k.ladder IS NULL OR k.ladder = r.ladder) AND (k.metric = r.metric OR k.metric IS NULL AND r.op = '>=')
    WHERE p.program_id = _tier_places.program_id AND p.partner_id = ANY (_tier_places.partner_ids)
    ORDER BY p.partner_id, r.ladder, r.metric, r.op, k.metric IS NULL, num_nonnulls(k.country, k.region) DESC, k.country IS NULL, k.ladder IS NULL, k.tier_market_id;
END
$prm$;
COMMENT ON FUNCTION prm._tier_places(bigint, bigint[]) IS
'What growth markets change for the partners: of several rows that fit the one that names the metric, then the one that names more of the place, a country before a region, a ladder before none. A row that names no metric is for requirements with >= only. No rows without growth markets.';

CREATE FUNCTION prm._tiers_met(program_id bigint, partner_ids bigint[], moment timestamptz, ladder text, asked prm.tier_asked[], measured prm.metric_row[]) RETURNS SETOF prm.tier_met
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_places prm.tier_place[];
  the_tiers text[];
BEGIN
  IF cardinality(_tiers_met.partner_ids) <= 20 THEN
    -- For a few partners one plan is as good as another, and making it would cost more than running it.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  the_places := ARRAY(SELECT k FROM prm._tier_places(_tiers_met.program_id, _tiers_met.partner_ids) k);
  RETURN QUERY
    WITH held AS (
      SELECT e.partner_id, e.ladder, t.rank FROM unnest(_tiers_met.partner_ids) AS i(partner_id)
      JOIN prm.enrolment e ON e.program_id = _tiers_met.program_id AND e.partner_id = i.partner_id
      JOIN prm.tier t ON t.program_id = _tiers_met.program_id AND t.ladder = e.ladder AND t.tier = e.tier),
    checked AS (
      -- What is held already needs only its keep_threshold. A metric without value has no row, and meets nothing.
      SELECT v.partner_id, r.place, r.bit, r.full_mask,
        CASE WHEN k.partner_id IS NULL THEN v.value ELSE v.value * k.value_multiplier END AS value,
        CASE WHEN k.partner_id IS NULL THEN n.need ELSE n.need * k.threshold_multiplier END AS need, r.op, v.value AS raw,
        r.mode, r.weight, r.is_capped, r.is_partial, r.floor, r.floor_mask, CASE WHEN r.rank <= h.rank THEN r.keep_mark ELSE r.mark END AS mark
      FROM unnest(_tiers_met.measured) v
      JOIN unnest(_tiers_met.asked) r ON r.metric = v.metric
      LEFT JOIN held h ON h.partner_id = v.partner_id AND h.ladder = r.ladder
      LEFT JOIN unnest(the_places) k ON k.partner_id = v.partner_id AND k.ladder = r.ladder AND k.metric = v.metric AND k.op = r.op
      CROSS JOIN LATERAL (SELECT CASE WHEN r.rank <= h.rank THEN coalesce(r.keep_threshold, r.threshold) ELSE r.threshold END AS need) n),
    tracks AS (
      SELECT c.partner_id, c.place FROM checked c
        WHERE c.mode = 'all' AND CASE c.op WHEN '>=' THEN c.value >= c.need ELSE c.value <= c.need END
        GROUP BY c.partner_id, c.place HAVING bit_or(c.bit) = min(c.full_mask)
      UNION ALL
      -- The best of each alternative group counts; a group keeps its floor where one of its metrics does. A third of a weight has no
      -- last digit: ten digits are what tier_gap() shows, and what is compared.
      SELECT g.partner_id, g.place FROM (
          SELECT c.partner_id, c.place, c.bit, min(c.mark) AS mark, min(c.floor_mask) AS floor_mask,
            max(prm._tier_points(c.op, c.value, c.need, c.weight, c.is_capped, c.is_partial)) AS points,
            bool_or(c.floor IS NULL OR CASE c.op WHEN '>=' THEN c.raw > c.floor ELSE c.raw < c.floor END) AS kept
          FROM checked c WHERE c.mode = 'score' GROUP BY c.partner_id, c.place, c.bit) g
        GROUP BY g.partner_id, g.place
        HAVING round(sum(g.points), 10) >= min(g.mark) AND coalesce(bit_or(g.bit) FILTER (WHERE g.kept), 0) & min(g.floor_mask) = min(g.floor_mask)),
    gained AS (
      SELECT t.partner_id, q.ladder, q.rank, q.needs_approval, 'requirements' AS source
      FROM tracks t JOIN (SELECT DISTINCT r.place, r.ladder, r.rank, r.needs_approval FROM unnest(_tiers_met.asked) r) q ON q.place = t.place
      UNION ALL
      SELECT i.partner_id, y.ladder, t.rank, false, 'entry'
      FROM prm.tier_policy y
      JOIN prm.tier t ON t.program_id = _tiers_met.program_id AND t.ladder = y.ladder AND t.tier = y.entry_tier
      CROSS JOIN unnest(_tiers_met.partner_ids) AS i(partner_id)
      WHERE y.program_id = _tiers_met.program_id AND (_tiers_met.ladder IS NULL OR y.ladder = _tiers_met.ladder)
      UNION ALL
      SELECT b.partner_id, b.ladder, b.rank, false, 'bought' FROM prm._tiers_bought(_tiers_met.program_id, _tiers_met.partner_ids, _tiers_met.moment, _tiers_met.ladder) b)
    SELECT i.partner_id, l.ladder, g.rank, g.free_rank, g.source
    FROM unnest(_tiers_met.partner_ids) AS i(partner_id)
    CROSS JOIN (SELECT x.ladder FROM prm.ladder x WHERE x.program_id = _tiers_met.program_id AND (_tiers_met.ladder IS NULL OR x.ladder = _tiers_met.ladder)) l
    LEFT JOIN (
      SELECT a.partner_id, a.ladder, max(a.rank) AS rank, max(a.rank) FILTER (WHERE NOT a.needs_approval) AS free_rank,
        substr(max(lpad(a.rank::text, 12, '0') || a.source), 13) AS source
      FROM gained a GROUP BY a.partner_id, a.ladder) g ON g.partner_id = i.partner_id AND g.ladder = l.ladder;
END
$prm$;
COMMENT ON FUNCTION prm._tiers_met(bigint, bigint[], timestamptz, text, prm.tier_asked[], prm.metric_row[]) IS
'The highest tier that each partner meets on each ladder (NULL: all), by requirements, as entry or because it was bought; not what it inherits. measured are the values of the metrics.';

CREATE FUNCTION prm._tiers_bought(program_id bigint, partner_ids bigint[], moment timestamptz, ladder text) RETURNS SETOF prm.tier_met
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_tiers_bought.program_id);
  the_won text[];
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.tier_product x WHERE x.program_id = _tiers_bought.program_id AND (_tiers_bought.ladder IS NULL OR x.ladder = _tiers_bought.ladder)) THEN
    RETURN;
  END IF;
  the_won := prm._won_states(_tiers_bought.program_id);
  RETURN QUERY
    SELECT d.partner_id, x.ladder, max(t.rank), max(t.rank), 'bought'
    FROM prm.deal d
    LEFT JOIN prm.deal_line n ON n.program_id = _tiers_bought.program_id AND n.deal_id = d.deal_id
    JOIN prm.tier_product x ON x.program_id = _tiers_bought.program_id AND x.product = coalesce(n.product, d.product)
      AND (_tiers_bought.ladder IS NULL OR x.ladder = _tiers_bought.ladder)
    JOIN prm.tier t ON t.program_id = _tiers_bought.program_id AND t.ladder = x.ladder AND t.tier = x.tier
    WHERE d.program_id = _tiers_bought.program_id AND d.partner_id = ANY (_tiers_bought.partner_ids) AND d.state = ANY (the_won)
      AND d.closed_at <= _tiers_bought.moment AND (x.lasts IS NULL OR ((d.closed_at AT TIME ZONE the_zone) + x.lasts) AT TIME ZONE the_zone > _tiers_bought.moment)
    GROUP BY d.partner_id, x.ladder;
END
$prm$;
COMMENT ON FUNCTION prm._tiers_bought(bigint, bigint[], timestamptz, text) IS 'The best tier that each partner has bought and still has: a won deal holds a product of tier_product. No rows in programmes without such products.';

CREATE FUNCTION prm._judge_tiers(program_id bigint, moment timestamptz, met prm.tier_met[]) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_judge_tiers.program_id);
  the_today date := (_judge_tiers.moment AT TIME ZONE prm._program_time_zone(_judge_tiers.program_id))::date;
  the_month integer;
  the_left bigint[];
  the_left_states text[];
BEGIN
  IF cardinality(_judge_tiers.met) <= 40 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  SELECT g.fiscal_year_start INTO the_month FROM prm.program g WHERE g.program_id = _judge_tiers.program_id;
  -- Who has left, or was never let in, holds nothing, whatever it meets.
  SELECT array_agg(x.partner_id), array_agg(x.state) INTO the_left, the_left_states FROM (
    SELECT DISTINCT p.partner_id, p.state FROM unnest(_judge_tiers.met) m
    JOIN prm.partner p ON p.program_id = _judge_tiers.program_id AND p.partner_id = m.partner_id
    WHERE p.state = ANY ((SELECT prm._partner_final_states(_judge_tiers.program_id))::text[])) x;
  RETURN QUERY
    WITH standing AS (
      SELECT m.partner_id, m.ladder, e.tier AS held, h.rank, m.source, o.ended, e.qualified_tier, coalesce(e.standing, 'active') AS standing, e.pinned_until, e.pin_reason,
        e.at_risk_on, e.grace_on, e.review_on, e.effective_on, e.partner_id IS NULL AS is_new, e.valid, w.state AS left_as,
        q.tier AS qualified, q.rank AS qualified_rank, f.tier AS free_tier, f.rank AS free_rank,
        coalesce(y.review, interval '0') AS review, coalesce(y.grace, interval '0') AS grace, coalesce(y.review_kind, 'term') AS review_kind, y.period_start, y.demotion,
        coalesce(y.promotion, 'at_once') = 'approval' OR coalesce(q.needs_approval, false) AND m.free_rank IS DISTINCT FROM m.rank AS asks, a.state AS asked, a.to_tier AS asked_tier,
        coalesce(a.state = 'refused' AND a.to_tier = q.tier AND (a.asks_again_on IS NULL OR the_today < a.asks_again_on), false) AS is_refused, a.decision_reason
      FROM unnest(_judge_tiers.met) m
      LEFT JOIN prm.enrolment e ON e.program_id = _judge_tiers.program_id AND e.partner_id = m.partner_id AND e.ladder = m.ladder
      LEFT JOIN prm.tier_policy y ON y.program_id = _judge_tiers.program_id AND y.ladder = m.ladder
      LEFT JOIN unnest(the_left, the_left_states) AS w(partner_id, state) ON w.partner_id = m.partner_id
      CROSS JOIN LATERAL (SELECT coalesce(upper(e.valid) <= _judge_tiers.moment, false) OR w.partner_id IS NOT NULL AS ended,
        coalesce(y.enrolment = 'by_row' AND lower(e.valid) > _judge_tiers.moment, false) AS not_yet) o
      LEFT JOIN prm.tier h ON h.program_id = _judge_tiers.program_id AND h.ladder = m.ladder AND h.tier = e.tier
      LEFT JOIN prm.tier q ON q.program_id = _judge_tiers.program_id AND q.ladder = m.ladder AND q.rank = CASE WHEN NOT o.ended THEN m.rank END
      LEFT JOIN prm.tier f ON f.program_id = _judge_tiers.program_id AND f.ladder = m.ladder AND coalesce(y.promotion, 'at_once') = 'at_once'
        AND f.rank = CASE WHEN NOT o.ended THEN m.free_rank END AND (h.rank IS NULL OR f.rank > h.rank)
      LEFT JOIN prm.tier_approval a ON a.program_id = _judge_tiers.program_id AND a.partner_id = m.partner_id AND a.ladder = m.ladder
        AND a.stands AND a.state IN ('open', 'refused')
      WHERE NOT o.not_yet AND (e.partner_id IS NOT NULL OR coalesce(y.enrolment, 'everybody') = 'everybody')),
    judged AS (
      SELECT s.*, d.review_day, d.grace_day,
        CASE WHEN s.ended AND s.held IS NOT NULL THEN 'demote'
             WHEN s.ended THEN 'keep'
             WHEN s.pinned_until > _judge_tiers.moment THEN 'pinned'
             WHEN s.qualified_rank IS NOT DISTINCT FROM s.rank THEN 'keep'
             WHEN NOT r.is_short THEN CASE WHEN NOT s.asks THEN 'promote' WHEN NOT s.is_refused THEN 'needs_approval'
                                           WHEN s.free_rank IS NOT NULL THEN 'promote' ELSE 'keep' END
             WHEN the_today >= d.review_day THEN 'demote'
             WHEN the_today >= d.grace_day THEN 'grace'
             ELSE 'at_risk' END AS outcome
      FROM standing s
      CROSS JOIN LATERAL (SELECT coalesce(s.qualified_rank < s.rank, s.rank IS NOT NULL) AS is_short) r
      CROSS JOIN LATERAL (
        -- The date stands once it is set. Between being found short and losing the tier lies at least the grace.
        SELECT CASE
          WHEN NOT r.is_short THEN NULL
          WHEN s.standing <> 'active' THEN s.review_on
          WHEN s.review_kind = 'anniversary' THEN prm._next_review(coalesce((SELECT p.joined_on FROM prm.partner p WHERE p.program_id = _judge_tiers.program_id AND p.partner_id = s.partner_id),
            (lower(s.valid) AT TIME ZONE the_zone)::date, s.effective_on, the_today), s.review, greatest((the_today + s.grace)::date, the_today + 1))
          WHEN s.review_kind = 'period' THEN prm._next_review(coalesce(s.period_start, make_date(2000, the_month, 1)), s.review, greatest((the_today + s.grace)::date, the_today + 1))
          ELSE greatest((the_today + s.grace)::date, (s.effective_on + s.review)::date) END AS review_day) v
      CROSS JOIN LATERAL (
        SELECT v.review_day, CASE WHEN s.standing <> 'active' THEN s.grace_on ELSE greatest(the_today + 1, (v.review_day - s.grace)::date) END AS grace_day) d)
    SELECT j.partner_id, j.ladder, j.held, j.qualified, j.outcome,
      CASE WHEN j.left_as IS NOT NULL THEN 'the partner is ' || j.left_as
        WHEN j.ended THEN 'the enrolment ended on ' || to_char(upper(j.valid) AT TIME ZONE the_zone, 'YYYY-MM-DD')
        WHEN j.outcome = 'pinned' THEN 'pinned' || CASE WHEN isfinite(j.pinned_until) THEN ' until ' || to_char(j.pinned_until AT TIME ZONE the_zone, 'YYYY-MM-DD') ELSE '' END
                           || coalesce(': ' || j.pin_reason, '')
        WHEN j.outcome = 'keep' AND j.is_refused AND j.qualified IS DISTINCT FROM j.held THEN format('tier %s was refused: %s', j.qualified, j.decision_reason)
        WHEN j.outcome IN ('keep', 'promote', 'needs_approval') AND j.source = 'entry' THEN 'it is the entry tier'
        WHEN j.outcome IN ('keep', 'promote', 'needs_approval') AND j.source = 'bought' THEN 'it was bought'
        WHEN j.outcome IN ('keep', 'promote', 'needs_approval') AND j.source = 'inherited' THEN 'the parent holds it'
        WHEN j.outcome = 'keep' AND j.qualified IS NULL THEN 'no tier is met' END,
      CASE WHEN j.outcome IN ('promote', 'demote') THEN the_today WHEN j.outcome IN ('at_risk', 'grace') THEN j.review_day
        WHEN j.outcome = 'pinned' AND isfinite(j.pinned_until) THEN (j.pinned_until AT TIME ZONE the_zone)::date END,
      n.to_tier, n.standing, n.grace_on, n.review_on, n.at_risk_on, '{}'::jsonb,
      j.is_new OR (n.to_tier, n.standing, n.grace_on, n.review_on, j.qualified) IS DISTINCT FROM (j.held, j.standing, j.grace_on, j.review_on, j.qualified_tier)
        OR CASE WHEN j.outcome = 'needs_approval' THEN (j.asked, j.asked_tier) IS DISTINCT FROM ('open', j.qualified)
                ELSE j.asked IS NOT NULL AND NOT j.is_refused END,
      j.outcome = 'keep' AND j.standing <> 'active'
    FROM judged j
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.outcome = 'demote' AND j.demotion = 'one_step' AND NOT j.ended THEN coalesce((
                    SELECT t.tier FROM prm.tier t WHERE t.program_id = _judge_tiers.program_id AND t.ladder = j.ladder AND t.rank < j.rank ORDER BY t.rank DESC LIMIT 1), j.qualified)
                  WHEN j.outcome = 'demote' THEN j.qualified
                  WHEN j.outcome = 'promote' AND NOT j.asks THEN j.qualified
                  WHEN j.outcome IN ('promote', 'needs_approval') THEN coalesce(j.free_tier, j.held)
                  ELSE j.held END AS to_tier,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.outcome ELSE 'active' END AS standing,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.grace_day END AS grace_on,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN j.review_day END AS review_on,
        CASE WHEN j.outcome IN ('at_risk', 'grace') THEN coalesce(j.at_risk_on, the_today) END AS at_risk_on) n;
END
$prm$;
COMMENT ON FUNCTION prm._judge_tiers(bigint, timestamptz, prm.tier_met[]) IS
'What follows from what partners meet, given what they hold, their pins, approvals, dates, and the ladder''s policy. The reason is NULL where it stands in the requirements: _tier_reasons() has it.';

CREATE TYPE prm.tier_check AS (partner_id bigint, ladder text, tier text, track text, mode text, metric text, alternative_group text, bit bigint, op text,
  have numeric, need numeric, raw_need numeric, met boolean, points numeric, weight numeric, mark numeric, is_low boolean, floor numeric);
COMMENT ON TYPE prm.tier_check IS
'A requirement as it stands for a partner: what it has and needs, after growth markets and keep_threshold; raw_need is in the metric''s own unit, is_low tells of a broken floor; internal.';

CREATE FUNCTION prm._tier_checks(program_id bigint, partner_ids bigint[], ladders text[], tiers text[], asked prm.tier_asked[], measured prm.metric_row[]) RETURNS SETOF prm.tier_check
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET enable_nestloop = on SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_places prm.tier_place[];
BEGIN
  IF cardinality(_tier_checks.partner_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  ELSE
    -- Whatever the statistics say of the enrolments: no loop over them for each partner.
    PERFORM set_config('enable_nestloop', 'off', true);
  END IF;
  the_places := ARRAY(SELECT k FROM prm._tier_places(_tier_checks.program_id, _tier_checks.partner_ids) k);
  RETURN QUERY
    SELECT w.partner_id, w.ladder, w.tier, r.track, r.mode, r.metric, r.alternative_group, r.bit, r.op, b.value, b.need, b.need / coalesce(k.value_multiplier, 1),
      coalesce(prm._tier_meets(r.op, b.value, b.need), false), prm._tier_points(r.op, b.value, b.need, r.weight, r.is_capped, r.is_partial), r.weight,
      CASE WHEN r.rank <= h.rank THEN r.keep_mark ELSE r.mark END,
      r.floor IS NOT NULL AND coalesce(CASE r.op WHEN '>=' THEN v.value <= r.floor ELSE v.value >= r.floor END, true), r.floor
    FROM unnest(_tier_checks.partner_ids, _tier_checks.ladders, _tier_checks.tiers) AS w(partner_id, ladder, tier)
    JOIN unnest(_tier_checks.asked) r ON r.ladder = w.ladder AND r.tier = w.tier
    LEFT JOIN prm.enrolment e ON e.program_id = _tier_checks.program_id AND e.partner_id = w.partner_id AND e.ladder = w.ladder
    LEFT JOIN prm.tier h ON h.program_id = _tier_checks.program_id AND h.ladder = w.ladder AND h.tier = e.tier
    LEFT JOIN unnest(_tier_checks.measured) v ON v.partner_id = w.partner_id AND v.metric = r.metric
    LEFT JOIN unnest(the_places) k ON k.partner_id = w.partner_id AND k.ladder = r.ladder AND k.metric = r.metric AND k.op = r.op
    CROSS JOIN LATERAL (SELECT v.value * coalesce(k.value_multiplier, 1) AS value,
      CASE WHEN r.rank <= h.rank THEN coalesce(r.keep_threshold, r.threshold) ELSE r.threshold END * coalesce(k.threshold_multiplier, 1) AS need) b;
END
$prm$;
COMMENT ON FUNCTION prm._tier_checks(bigint, bigint[], text[], text[], prm.tier_asked[], prm.metric_row[]) IS
'The requirements of the tiers named, each as it stands for its partner: partner, ladder and tier come as three arrays side by side.';

CREATE TYPE prm.tier_track_state AS (partner_id bigint, ladder text, tier text, track text, mode text, met boolean, short integer, score numeric, mark numeric, has text, lacks text);
COMMENT ON TYPE prm.tier_track_state IS 'A track as it stands for a partner: whether it is met, how many requirements are short, the score and its mark, and in words what there is and what lacks; internal.';

CREATE FUNCTION prm._track_states(checks prm.tier_check[]) RETURNS SETOF prm.tier_track_state
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
BEGIN
  IF cardinality(_track_states.checks) <= 200 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  RETURN QUERY
    WITH words AS (
      SELECT c.partner_id, c.ladder, c.tier, c.track, c.mode, c.mark, c.metric, c.bit, c.met, c.points, c.weight, c.is_low,
        c.metric || ' ' || coalesce(trim_scale(c.have)::text, 'unknown') AS has, c.op || ' ' || trim_scale(c.need) AS need
      FROM unnest(_track_states.checks) c),
    groups AS (
      SELECT w.partner_id, w.ladder, w.tier, w.track, w.bit, min(w.mode) AS mode, min(w.mark) AS mark, bool_or(w.met) AS met, max(w.points) AS points,
        bool_and(w.is_low) AS is_low, min(w.metric) AS metric, string_agg(w.has || ' ' || w.need, ', ' ORDER BY w.metric) FILTER (WHERE w.met) AS has,
        string_agg(w.has || ', needed ' || w.need, ' or ' ORDER BY w.metric) AS lacks, string_agg(w.has, ', ' ORDER BY w.metric) AS parts,
        string_agg(w.metric, ', ' ORDER BY w.metric) FILTER (WHERE w.is_low) AS low
      FROM words w GROUP BY w.partner_id, w.ladder, w.tier, w.track, w.bit),
    tracks AS (
      SELECT g.partner_id, g.ladder, g.tier, g.track, min(g.mode) AS mode, min(g.mark) AS mark, bool_and(g.met) AS met, count(*) FILTER (WHERE NOT g.met) AS short,
        round(sum(g.points), 10) AS score, bool_or(g.is_low) AS is_low, string_agg(g.has, ', ' ORDER BY g.metric) AS has,
        string_agg(g.lacks, '; ' ORDER BY g.metric) FILTER (WHERE NOT g.met) AS lacks, string_agg(g.parts, ', ' ORDER BY g.metric) AS parts,
        string_agg(g.low, ', ' ORDER BY g.metric) FILTER (WHERE g.is_low) AS low
      FROM groups g GROUP BY g.partner_id, g.ladder, g.tier, g.track)
    SELECT t.partner_id, t.ladder, t.tier, t.track, t.mode, CASE WHEN t.mode = 'all' THEN t.met ELSE coalesce(t.score >= t.mark, false) AND NOT t.is_low END, t.short::integer,
      CASE WHEN t.mode = 'score' THEN t.score END, CASE WHEN t.mode = 'score' THEN t.mark END,
      CASE WHEN t.mode = 'all' THEN t.has ELSE format('score %s >= %s (%s)', trim_scale(round(t.score, 4)), trim_scale(t.mark), t.parts) END,
      CASE WHEN t.mode = 'all' THEN t.lacks
           ELSE format('score %s, needed >= %s (%s)', trim_scale(round(t.score, 4)), coalesce(trim_scale(t.mark)::text, 'a mark'), t.parts) || coalesce('; at or below its floor: ' || t.low, '') END
    FROM tracks t;
END
$prm$;
COMMENT ON FUNCTION prm._track_states(prm.tier_check[]) IS 'Adds the requirements up by track: all of them, or a score with the best of each alternative group.';

CREATE FUNCTION prm._tier_reasons(program_id bigint, findings prm.tier_finding[], asked prm.tier_asked[], measured prm.metric_row[]) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_partners bigint[];
  the_ladders text[];
  the_tiers text[];
  the_checks prm.tier_check[];
BEGIN
  IF cardinality(_tier_reasons.findings) <= 40 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  -- Why a tier is not met is told of the one held, why one is met of the one that is.
  SELECT array_agg(f.partner_id), array_agg(f.ladder), array_agg(CASE WHEN f.outcome IN ('at_risk', 'grace', 'demote') THEN f.held ELSE f.qualified END)
    INTO the_partners, the_ladders, the_tiers FROM unnest(_tier_reasons.findings) f WHERE f.reason IS NULL;
  the_checks := ARRAY(SELECT c FROM prm._tier_checks(_tier_reasons.program_id, the_partners, the_ladders, the_tiers, _tier_reasons.asked, _tier_reasons.measured) c);
  RETURN QUERY
    SELECT f.partner_id, f.ladder, f.held, f.qualified, f.outcome,
      CASE WHEN f.recovered THEN 'recovered before the review: ' ELSE '' END || coalesce(f.reason,
        CASE WHEN f.outcome IN ('at_risk', 'grace', 'demote') THEN coalesce(t.lacks, 'tier ' || f.held || ' has no requirements that could be met') ELSE coalesce(t.has, 'no tier is met') END)
        || CASE WHEN f.outcome = 'demote' AND f.to_tier IS DISTINCT FROM f.qualified THEN '; one step down' ELSE '' END,
      f.effective_on, f.to_tier, f.standing, f.grace_on, f.review_on, f.at_risk_on, f.metrics, f.changed, f.recovered
    FROM unnest(_tier_reasons.findings) f
    LEFT JOIN (
      SELECT DISTINCT ON (s.partner_id, s.ladder) s.partner_id, s.ladder, s.has, s.lacks FROM prm._track_states(the_checks) s
      ORDER BY s.partner_id, s.ladder, s.met DESC, s.short, s.track) t ON t.partner_id = f.partner_id AND t.ladder = f.ladder;
END
$prm$;
COMMENT ON FUNCTION prm._tier_reasons(bigint, prm.tier_finding[], prm.tier_asked[], prm.metric_row[]) IS
'The findings with the reasons that were left open: what the tier met has, or what the tier held lacks on the track that is nearest.';

CREATE FUNCTION prm._tier_findings(program_id bigint, partner_ids bigint[], ladder text DEFAULT NULL, detailed boolean DEFAULT true) RETURNS SETOF prm.tier_finding
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_ids bigint[] := _tier_findings.partner_ids;
  the_asked prm.tier_asked[] := ARRAY(SELECT r FROM prm._tier_asked(_tier_findings.program_id, _tier_findings.ladder) r);
  the_heirs text[];
  the_measured prm.metric_row[];
  the_met prm.tier_met[];
  the_findings prm.tier_finding[];
  the_more prm.tier_finding[];
  the_left bigint[];
  the_turn bigint[];
BEGIN
  IF the_ids IS NULL THEN
    the_ids := ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _tier_findings.program_id ORDER BY p.partner_id);
  END IF;
  IF cardinality(the_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  the_measured := ARRAY(SELECT v FROM prm._metric_values(_tier_findings.program_id, _tier_findings.partner_ids, the_now, ARRAY(SELECT DISTINCT a.metric FROM unnest(the_asked) a)) v WHERE v.value IS NOT NULL);
  the_met := ARRAY(SELECT m FROM prm._tiers_met(_tier_findings.program_id, the_ids, the_now, _tier_findings.ladder, the_asked, the_measured) m);
  SELECT array_agg(y.ladder) INTO the_heirs FROM prm.tier_policy y
    WHERE y.program_id = _tier_findings.program_id AND y.inherits = 'parent' AND (_tier_findings.ladder IS NULL OR y.ladder = _tier_findings.ladder);
  IF the_heirs IS NULL THEN
    the_findings := ARRAY(SELECT f FROM prm._judge_tiers(_tier_findings.program_id, the_now, the_met) f);
  ELSE
    the_findings := ARRAY(SELECT f FROM prm._judge_tiers(_tier_findings.program_id, the_now, ARRAY(SELECT m FROM unnest(the_met) m WHERE NOT m.ladder = ANY (the_heirs))) f);
    -- From the top down, because a child meets what its parent holds once that is judged.
    the_left := the_ids;
    WHILE cardinality(the_left) > 0 LOOP
      the_turn := ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _tier_findings.program_id AND p.partner_id = ANY (the_left)
        AND (p.parent_id IS NULL OR NOT p.parent_id = ANY (the_left)));
      EXIT WHEN cardinality(the_turn) = 0;
      the_more := ARRAY(
        SELECT j FROM prm._judge_tiers(_tier_findings.program_id, the_now, ARRAY(
          SELECT ROW(m.partner_id, m.ladder, greatest(m.rank, t.rank), greatest(m.free_rank, t.rank), CASE WHEN m.rank >= t.rank OR t.rank IS NULL THEN m.source ELSE 'inherited' END)::prm.tier_met
          FROM unnest(the_met) m
          JOIN prm.partner p ON p.program_id = _tier_findings.program_id AND p.partner_id = m.partner_id
          LEFT JOIN prm.enrolment e ON e.program_id = _tier_findings.program_id AND e.partner_id = p.parent_id AND e.ladder = m.ladder
          LEFT JOIN unnest(the_findings) f ON f.partner_id = p.parent_id AND f.ladder = m.ladder
          LEFT JOIN prm.tier h ON h.program_id = _tier_findings.program_id AND h.ladder = m.ladder AND h.tier = CASE WHEN f.partner_id IS NULL THEN e.tier ELSE f.to_tier END
          LEFT JOIN prm.tier c ON c.program_id = _tier_findings.program_id AND c.ladder = m.ladder AND c.tier = e.cap_tier AND (e.cap_until IS NULL OR e.cap_until > the_now)
          -- What it inherits is what counts for the parent: the lower of what it holds and its cap.
          CROSS JOIN LATERAL (SELECT CASE WHEN h.rank IS NOT NULL THEN least(h.rank, c.rank) END AS rank) t
          WHERE m.partner_id = ANY (the_turn) AND m.ladder = ANY (the_heirs))) j);
      the_findings := the_findings || the_more;
      the_left := ARRAY(SELECT i FROM unnest(the_left) i WHERE NOT i = ANY (the_turn));
    END LOOP;
  END IF;
  IF NOT _tier_findings.detailed THEN
    RETURN QUERY SELECT f.* FROM unnest(the_findings) f;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT f.partner_id, f.ladder, f.held, f.qualified, f.outcome, f.reason, f.effective_on, f.to_tier, f.standing, f.grace_on, f.review_on, f.at_risk_on,
      CASE WHEN f.changed THEN coalesce(b.metrics, '{}') ELSE f.metrics END, f.changed, f.recovered
    FROM prm._tier_reasons(_tier_findings.program_id, the_findings, the_asked, the_measured) f
    LEFT JOIN (
      SELECT v.partner_id, jsonb_object_agg(v.metric, v.value) AS metrics FROM unnest(the_measured) v
      WHERE v.partner_id = ANY (ARRAY(SELECT x.partner_id FROM unnest(the_findings) x WHERE x.changed)) GROUP BY v.partner_id) b ON b.partner_id = f.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm._tier_findings(bigint, bigint[], text, boolean) IS
'Evaluates the partners (NULL: all) on a ladder (NULL: all) in one pass and writes nothing: a row for each partner and ladder with the outcome and what the enrolment should become. detailed: with reasons, and for what changes with the metrics it is based on.';
