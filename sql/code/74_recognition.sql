
-- Recognition: leaderboards, points, badges, missions, campaigns and streaks. Points for sales and usage are written by triggers,
-- see defs; what needs the clock is done by the job recognition.

CREATE TYPE prm.leaderboard_row AS (place bigint, partner_id bigint, partner text, value numeric);
COMMENT ON TYPE prm.leaderboard_row IS 'A row of leaderboard(): place (equal values share one, the next is left out), the partner and what it is ranked by.';
CREATE TYPE prm.my_leaderboard_row AS (place bigint, partner text, value numeric, is_self boolean, partners bigint);
COMMENT ON TYPE prm.my_leaderboard_row IS
'A row of my_leaderboard(): place, the name of the partner and its value, as far as the board shows them, whether it is the reader, and how many partners are on the board.';
CREATE TYPE prm.measure_request AS (partner_id bigint, subject text, step text, goal numeric, measure text, kind text, window_from timestamptz, window_to timestamptz);
COMMENT ON TYPE prm.measure_request IS 'What _measure() is asked: a measure of a partner over [window_from, window_to), and for what: subject, step and goal come back as they are.';
CREATE TYPE prm.measure_row AS (partner_id bigint, subject text, step text, goal numeric, value numeric);
COMMENT ON TYPE prm.measure_row IS 'An answer of _measure().';

CREATE TYPE prm.point_event AS (earning_event_id bigint, kind text, partner_id bigint, customer_id bigint, product_family text, currency text, occurred_at timestamptz, country text,
  net numeric, is_standing boolean);
COMMENT ON TYPE prm.point_event IS 'An earning event as the rules for points see it: net of refunds, and whether it was not refunded altogether.';

CREATE FUNCTION prm._measure(program_id bigint, requests prm.measure_request[]) RETURNS SETOF prm.measure_row
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_won text[] := prm._won_states(_measure.program_id);
  the_zone text := prm._program_time_zone(_measure.program_id);
BEGIN
  -- One look into an index for each request, however many rows the tables have.
  RETURN QUERY
    SELECT q.partner_id, q.subject, q.step, q.goal, CASE q.measure
      WHEN 'leads' THEN (SELECT count(*)::numeric FROM prm.lead l WHERE l.program_id = _measure.program_id AND l.partner_id = q.partner_id
        AND l.created_at >= q.window_from AND l.created_at < q.window_to)
      WHEN 'deals_won' THEN (SELECT count(*)::numeric FROM prm.deal d WHERE d.program_id = _measure.program_id AND d.partner_id = q.partner_id
        AND d.state = ANY (the_won) AND d.closed_at >= q.window_from AND d.closed_at < q.window_to AND (q.kind IS NULL OR d.kind = q.kind))
      WHEN 'earning' THEN (SELECT count(*)::numeric FROM prm.earning_event e WHERE e.program_id = _measure.program_id AND e.partner_id = q.partner_id
        AND e.occurred_at >= q.window_from AND e.occurred_at < q.window_to AND CASE WHEN q.kind IS NULL THEN e.kind <> 'refunded' ELSE e.kind = q.kind END
        -- What was refunded altogether is none.
        AND (coalesce(e.amount, 0) = 0 OR e.kind = 'refunded' OR e.amount + coalesce((SELECT sum(o.amount) FROM prm.earning_event o WHERE o.program_id = _measure.program_id
          AND o.applies_to_id = e.earning_event_id AND o.kind = 'refunded'), 0) <> 0))
      WHEN 'usage' THEN (SELECT count(*)::numeric FROM prm.usage_event u WHERE u.program_id = _measure.program_id AND u.partner_id = q.partner_id
        AND u.at >= q.window_from AND u.at < q.window_to AND (q.kind IS NULL OR u.activity = q.kind))
      WHEN 'certificates' THEN (SELECT count(*)::numeric FROM prm.partner_user u JOIN prm.certificate c ON c.program_id = _measure.program_id AND c.partner_user_id = u.partner_user_id
        WHERE u.program_id = _measure.program_id AND u.partner_id = q.partner_id AND (q.kind IS NULL OR c.certification = q.kind)
          AND c.issued_on >= (q.window_from AT TIME ZONE the_zone)::date AND c.issued_on < q.window_to AT TIME ZONE the_zone)
      WHEN 'points' THEN (SELECT coalesce(sum(e.points), 0) FROM prm.point_entry e WHERE e.program_id = _measure.program_id AND e.partner_id = q.partner_id
        AND e.at >= q.window_from AND e.at < q.window_to) END
    FROM unnest(_measure.requests) q;
END
$prm$;
COMMENT ON FUNCTION prm._measure(bigint, prm.measure_request[]) IS 'Counts leads, deals won, earning events, usage, certificates or points of partners over half-open windows. NULL for the measure manual.';

CREATE FUNCTION prm._leaderboard(program_id bigint, metric text, window_from timestamptz, window_to timestamptz, options jsonb) RETURNS SETOF prm.leaderboard_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := _leaderboard.program_id;
  the_from timestamptz := coalesce(_leaderboard.window_from, '-infinity');
  the_to timestamptz := coalesce(_leaderboard.window_to, 'infinity');
  the_won text[] := prm._won_states(the_program);
  the_currency text := prm._program_currency(the_program);
  the_higher boolean := true;
  the_limit bigint;
BEGIN
  PERFORM prm._known_options('leaderboard', _leaderboard.options, ARRAY['limit', 'partner_kind', 'tier', 'country']);
  IF the_from > the_to THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the window of the leaderboard ends before it begins',
      DETAIL = format('It is [%s, %s).', the_from, the_to), HINT = 'Give window_from before window_to; NULL leaves a side open.';
  END IF;
  IF _leaderboard.options ? 'limit' AND coalesce(_leaderboard.options ->> 'limit', '') !~ '^[1-9][0-9]{0,8}$' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the limit of the leaderboard is no number of places',
      DETAIL = format('It is %s.', _leaderboard.options -> 'limit'), HINT = 'Give a whole number above zero, or leave it out.';
  END IF;
  the_limit := (_leaderboard.options ->> 'limit')::bigint;
  IF _leaderboard.metric IN ('points', 'revenue', 'deals_won', 'leads', 'usage') OR _leaderboard.metric LIKE 'usage:_%' THEN
    IF _leaderboard.metric LIKE 'usage:%' AND NOT EXISTS (SELECT 1 FROM prm.usage_activity a WHERE a.program_id = the_program AND a.activity = substr(_leaderboard.metric, 7)) THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('activity "%s" does not exist', substr(_leaderboard.metric, 7)),
        DETAIL = format('The activities of programme %s are %s.', the_program,
          coalesce((SELECT string_agg(a.activity, ', ' ORDER BY a.activity) FROM prm.usage_activity a WHERE a.program_id = the_program), 'none')),
        HINT = 'Correct the name, or rank by usage for all of them.';
    END IF;
  ELSE
    SELECT m.higher_is_better INTO the_higher FROM prm.metric m WHERE m.program_id = the_program AND m.metric = _leaderboard.metric;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no leaderboard by "%s"', coalesce(_leaderboard.metric, 'NULL')),
        DETAIL = format('Programme %s has no such metric.', the_program),
        HINT = 'Rank by points, revenue, deals_won, leads, usage, usage:ACTIVITY, or a row of prm.metric.';
    ELSIF _leaderboard.window_from IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the window of metric "%s" is its own', _leaderboard.metric),
        DETAIL = 'A metric has a value at a moment; over how long it counts is part of its definition.', HINT = 'Leave window_from out; window_to is the moment.';
    END IF;
  END IF;
  RETURN QUERY
    SELECT r.place, r.partner_id, r.name, r.value FROM (
      SELECT rank() OVER (ORDER BY CASE WHEN the_higher THEN s.value ELSE -s.value END DESC) AS place, p.partner_id, p.name, s.value
      FROM (
        SELECT e.partner_id, sum(e.points) AS value FROM prm.point_entry e
          WHERE _leaderboard.metric = 'points' AND e.program_id = the_program AND e.at >= the_from AND e.at < the_to GROUP BY e.partner_id HAVING sum(e.points) <> 0
        UNION ALL
        SELECT d.partner_id, CASE WHEN _leaderboard.metric = 'revenue' THEN sum(d.amount) FILTER (WHERE d.currency = the_currency) ELSE count(*)::numeric END FROM prm.deal d
          WHERE _leaderboard.metric IN ('revenue', 'deals_won') AND d.program_id = the_program AND d.partner_id IS NOT NULL AND d.state = ANY (the_won)
            AND d.closed_at >= the_from AND d.closed_at < the_to GROUP BY d.partner_id
        UNION ALL
        SELECT l.partner_id, count(*)::numeric FROM prm.lead l
          WHERE _leaderboard.metric = 'leads' AND l.program_id = the_program AND l.partner_id IS NOT NULL AND l.created_at >= the_from AND l.created_at < the_to GROUP BY l.partner_id
        UNION ALL
        SELECT u.partner_id, count(*)::numeric FROM prm.usage_event u
          WHERE _leaderboard.metric LIKE 'usage%' AND u.program_id = the_program AND u.at >= the_from AND u.at < the_to
            AND (_leaderboard.metric = 'usage' OR u.activity = substr(_leaderboard.metric, 7)) GROUP BY u.partner_id
        UNION ALL
        SELECT v.partner_id, v.value FROM prm._metric_values(the_program, NULL, CASE WHEN isfinite(the_to) THEN the_to ELSE prm.now() END, ARRAY[_leaderboard.metric]) v
      ) s JOIN prm.partner p ON p.program_id = the_program AND p.partner_id = s.partner_id
      WHERE s.value IS NOT NULL AND prm._is_live_partner(p.state)
        AND p.kind = coalesce(_leaderboard.options ->> 'partner_kind', p.kind)
        AND (_leaderboard.options ->> 'tier' IS NULL OR p.tier = _leaderboard.options ->> 'tier')
        AND (_leaderboard.options ->> 'country' IS NULL OR p.country = _leaderboard.options ->> 'country')) r
    WHERE the_limit IS NULL OR r.place <= the_limit
    ORDER BY r.place, r.partner_id;
END
$prm$;
COMMENT ON FUNCTION prm._leaderboard(bigint, text, timestamptz, timestamptz, jsonb) IS 'What leaderboard() tells, whoever asks.';

CREATE FUNCTION prm.leaderboard(metric text DEFAULT 'points', window_from timestamptz DEFAULT NULL, window_to timestamptz DEFAULT NULL, options jsonb DEFAULT '{}',
  program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.leaderboard_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(leaderboard.program_id);
BEGIN
  IF prm._acting_partner(the_program) IS NOT NULL THEN
    -- It would be first among the rows that it may see, which are its own.
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'partners look at the leaderboards that are meant for them',
      DETAIL = format('They are %s.', coalesce((SELECT string_agg(b.board, ', ' ORDER BY b.board) FROM prm.board b WHERE b.program_id = the_program AND b.is_active), 'none yet')),
      HINT = 'SELECT * FROM prm.my_leaderboard(''...''); the vendor makes them: INSERT INTO prm.board (board, label, metric, shows) VALUES (...).';
  END IF;
  RETURN QUERY SELECT l.* FROM prm._leaderboard(the_program, leaderboard.metric, leaderboard.window_from, leaderboard.window_to, leaderboard.options) l;
END
$prm$;
COMMENT ON FUNCTION prm.leaderboard(text, timestamptz, timestamptz, jsonb, bigint) IS
'Partners ranked by points gained, revenue, deals_won, leads, usage or usage:ACTIVITY in the window [window_from, window_to) (NULL: open), or by any metric at window_to. Equal values share a place, and the next place is left out (1, 2, 2, 4); a limit is one of places. Partners with nothing are left out. options: limit, partner_kind, tier, country. Errors: 42704 unknown metric, 22023 window or option, 42501 a partner asks: for partners there is my_leaderboard().';

CREATE FUNCTION prm.my_leaderboard(board text, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.my_leaderboard_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(my_leaderboard.program_id);
  the_self bigint := prm._self_argument(the_program, 'my_leaderboard() tells a partner where it stands', 'SELECT * FROM prm.leaderboard()');
BEGIN
  RETURN QUERY SELECT l.* FROM prm._own_leaderboard(the_self, my_leaderboard.board, the_program) l;
END
$prm$;
COMMENT ON FUNCTION prm.my_leaderboard(text, bigint) IS
'A leaderboard as the acting partner may see it, see prm.board: its own place and value, and as the board says nothing of the others, their places, or their names. Nothing for a partner that the board is not for. Errors: 42704 no such board, 55000 no partner acts.';


CREATE FUNCTION prm.add_points(partner_id bigint, points numeric, reason text, external_ref text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(add_points.program_id);
  the_partner bigint := prm._partner_argument(the_program, add_points.partner_id);
  the_key text := 'manual/' || coalesce(add_points.external_ref, gen_random_uuid()::text);
  the_id bigint;
BEGIN
  IF add_points.points IS NULL OR add_points.points IN (0, 'NaN', 'Infinity', '-Infinity') OR coalesce(btrim(add_points.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'points need a number other than zero, and a reason',
      DETAIL = format('They are %s, because of %s.', coalesce(add_points.points::text, 'NULL'), coalesce(quote_literal(add_points.reason), 'NULL')),
      HINT = 'Say why; negative points take back.';
  END IF;
  IF add_points.points < 0 THEN
    -- Two that spend of the same points go one after the other.
    PERFORM pg_advisory_xact_lock(hashtextextended(format('prm points %s %s', the_program, the_partner), 7239211));
  END IF;
  WITH part AS (
    -- What is spent is taken from what lapses first, and lapses with it; what nothing is left for stands for itself.
    SELECT l.expires_at, least(l.points, -add_points.points - l.before) AS points FROM (
      SELECT e.expires_at, sum(e.points) AS points, coalesce(sum(sum(e.points)) OVER (ORDER BY e.expires_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
      FROM prm.point_entry e WHERE add_points.points < 0 AND e.program_id = the_program AND e.partner_id = the_partner AND e.expires_at > prm.now()
      GROUP BY e.expires_at HAVING sum(e.points) > 0) l
    WHERE l.before < -add_points.points),
  piece AS (
    SELECT -p.points AS points, p.expires_at FROM part p
    UNION ALL
    SELECT add_points.points + coalesce((SELECT sum(p.points) FROM part p), 0), NULL),
  given AS (
    INSERT INTO prm.point_entry (program_id, partner_id, points, source, cause_key, reason, at, expires_at)
      SELECT the_program, the_partner, n.points, 'manual', CASE n.number WHEN 1 THEN the_key ELSE format('spent/%s/%s', n.number, the_key) END, btrim(add_points.reason), prm.now(), n.expires_at
      FROM (SELECT p.points, p.expires_at, row_number() OVER (ORDER BY p.expires_at) AS number FROM piece p WHERE p.points <> 0) n
      WHERE NOT EXISTS (SELECT 1 FROM prm.point_entry e WHERE e.program_id = the_program AND e.cause_key = the_key) ORDER BY n.number
      ON CONFLICT (program_id, cause_key) DO NOTHING RETURNING point_entry_id, cause_key)
  SELECT g.point_entry_id INTO the_id FROM given g WHERE g.cause_key = the_key;
  IF the_id IS NULL THEN
    SELECT min(e.point_entry_id) FILTER (WHERE e.cause_key = the_key) INTO the_id FROM prm.point_entry e
      WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.source = 'manual' AND regexp_replace(e.cause_key, '^spent/[0-9]+/', '') = the_key
      HAVING sum(e.points) = add_points.points;
    IF the_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('points with the reference "%s" were given already', add_points.external_ref), SCHEMA = 'prm', TABLE = 'point_entry',
        DETAIL = 'They were others, or of another partner.', HINT = 'Give a reference of its own; points are corrected by further points.';
    END IF;
  END IF;
  RETURN the_id;
END
$prm$;
COMMENT ON FUNCTION prm.add_points(bigint, numeric, text, text, bigint) IS
'Gives a partner points by hand, or takes some back or lets it spend some, with a reason; once for each external_ref. What is spent is taken from the points that lapse first, in an entry for each such moment. Returns the number of the (first) entry. Errors: 42704 unknown partner, 22023 no points or no reason, 23505 the reference with other points.';

CREATE FUNCTION prm._award_badges(program_id bigint, partner_ids bigint[], badges text[], reason text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_count bigint;
BEGIN
  WITH given AS (
    INSERT INTO prm.badge_award (program_id, partner_id, badge, awarded_at, awarded_by, reason)
      SELECT DISTINCT _award_badges.program_id, a.partner_id, a.badge, prm.now(), prm.current_actor(), _award_badges.reason
      FROM unnest(_award_badges.partner_ids, _award_badges.badges) AS a(partner_id, badge) WHERE a.badge IS NOT NULL ORDER BY 2, 3
      ON CONFLICT (program_id, partner_id, badge) DO NOTHING RETURNING partner_id, badge),
  paid AS (
    INSERT INTO prm.point_entry (program_id, partner_id, points, source, cause_key, reason, at)
      SELECT _award_badges.program_id, g.partner_id, b.points, 'badge', format('badge/%s/%s', g.badge, g.partner_id), b.label, prm.now()
      FROM given g JOIN prm.badge b ON b.program_id = _award_badges.program_id AND b.badge = g.badge WHERE b.points <> 0
      ON CONFLICT (program_id, cause_key) DO NOTHING)
  SELECT count(*) INTO the_count FROM given;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._award_badges(bigint, bigint[], text[], text) IS 'Awards the badges that the partners (of the same place in the list) do not have yet, with their points. Returns how many.';

CREATE FUNCTION prm.award_badge(partner_id bigint, badge text, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(award_badge.program_id);
  the_partner bigint := prm._partner_argument(the_program, award_badge.partner_id);
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.badge b WHERE b.program_id = the_program AND b.badge = award_badge.badge AND b.is_active) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('badge "%s" does not exist', coalesce(award_badge.badge, 'NULL')),
      DETAIL = format('The badges of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(b.badge, ', ' ORDER BY b.badge) FROM prm.badge b WHERE b.program_id = the_program AND b.is_active), 'none')),
      HINT = 'Correct the name, or define it: INSERT INTO prm.badge (badge, label) VALUES (...).';
  END IF;
  RETURN prm._award_badges(the_program, ARRAY[the_partner], ARRAY[award_badge.badge], award_badge.reason) > 0;
END
$prm$;
COMMENT ON FUNCTION prm.award_badge(bigint, text, text, bigint) IS 'Awards a badge and its points, once only: false where the partner has it already. Errors: 42704 unknown partner or badge.';

CREATE FUNCTION prm._reward_missions(program_id bigint, partner_ids bigint[], missions text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partners bigint[];
  the_badges text[];
BEGIN
  INSERT INTO prm.point_entry (program_id, partner_id, points, source, cause_key, reason, at)
    SELECT _reward_missions.program_id, a.partner_id, m.points, 'mission', format('mission/%s/%s', a.mission, a.partner_id), m.label, prm.now()
    FROM unnest(_reward_missions.partner_ids, _reward_missions.missions) AS a(partner_id, mission)
    JOIN prm.mission m ON m.program_id = _reward_missions.program_id AND m.mission = a.mission WHERE m.points <> 0
    ON CONFLICT (program_id, cause_key) DO NOTHING;
  SELECT array_agg(a.partner_id), array_agg(m.badge) INTO the_partners, the_badges
    FROM unnest(_reward_missions.partner_ids, _reward_missions.missions) AS a(partner_id, mission)
    JOIN prm.mission m ON m.program_id = _reward_missions.program_id AND m.mission = a.mission AND m.badge IS NOT NULL;
  PERFORM prm._award_badges(_reward_missions.program_id, the_partners, the_badges, 'mission');
END
$prm$;
COMMENT ON FUNCTION prm._reward_missions(bigint, bigint[], text[]) IS 'Gives the points and badges of missions that were approved, once only.';

CREATE FUNCTION prm._work_missions(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_work_missions.program_id);
  the_requests prm.measure_request[];
  the_count bigint;
  the_more bigint;
  done record;
BEGIN
  INSERT INTO prm.mission_run (program_id, partner_id, mission, started_at, ends_at)
    SELECT _work_missions.program_id, p.partner_id, m.mission, s.moment, least(m.ends_at, prm._days_later(_work_missions.program_id, s.moment, m.within_days))
    FROM prm.mission m JOIN prm.partner p ON p.program_id = _work_missions.program_id
    CROSS JOIN LATERAL (SELECT greatest(m.starts_at, coalesce(p.joined_on::timestamp AT TIME ZONE the_zone, p.created_at)) AS moment) s
    WHERE m.program_id = _work_missions.program_id AND m.is_active AND m.enrol_all AND s.moment <= prm.now() AND coalesce(m.ends_at > prm.now(), true)
      AND prm._is_live_partner(p.state) AND (m.partner_kind IS NULL OR m.partner_kind = p.kind)
      AND NOT EXISTS (SELECT 1 FROM prm.mission_run r WHERE r.program_id = _work_missions.program_id AND r.partner_id = p.partner_id AND r.mission = m.mission)
    ON CONFLICT (program_id, partner_id, mission) DO NOTHING;
  GET DIAGNOSTICS the_count = ROW_COUNT;

  INSERT INTO prm.mission_progress (program_id, partner_id, mission, step)
    SELECT _work_missions.program_id, r.partner_id, r.mission, s.step
    FROM prm.mission_run r JOIN prm.mission_step s ON s.program_id = _work_missions.program_id AND s.mission = r.mission
    WHERE r.program_id = _work_missions.program_id AND r.state = 'draft'
    ON CONFLICT (program_id, partner_id, mission, step) DO NOTHING;
  -- What is counted is measured in one call, and written where it changed.
  SELECT array_agg(ROW(r.partner_id, r.mission, s.step, s.goal, s.measure, s.kind, r.started_at, least(r.ends_at, prm.now() + interval '1 microsecond'))::prm.measure_request)
    INTO the_requests
    FROM prm.mission_run r JOIN prm.mission_step s ON s.program_id = _work_missions.program_id AND s.mission = r.mission
    WHERE r.program_id = _work_missions.program_id AND r.state = 'draft' AND s.measure <> 'manual';
  UPDATE prm.mission_progress g SET progress = v.value, reached_at = CASE WHEN v.value >= v.goal THEN coalesce(g.reached_at, prm.now()) END
    FROM prm._measure(_work_missions.program_id, the_requests) v
    WHERE g.program_id = _work_missions.program_id AND g.partner_id = v.partner_id AND g.mission = v.subject AND g.step = v.step AND g.progress IS DISTINCT FROM v.value;

  WITH complete AS (
    UPDATE prm.mission_run r SET state = CASE m.approval WHEN 'automatic' THEN 'approved' ELSE 'submitted' END, submitted_at = prm.now(),
      decided_at = CASE m.approval WHEN 'automatic' THEN prm.now() END, decided_by = CASE m.approval WHEN 'automatic' THEN prm.current_actor() END
    FROM prm.mission m
    WHERE r.program_id = _work_missions.program_id AND r.state = 'draft' AND m.program_id = _work_missions.program_id AND m.mission = r.mission
      AND EXISTS (SELECT 1 FROM prm.mission_step s WHERE s.program_id = _work_missions.program_id AND s.mission = r.mission)
      AND NOT EXISTS (SELECT 1 FROM prm.mission_step s
        LEFT JOIN prm.mission_progress g ON g.program_id = _work_missions.program_id AND g.partner_id = r.partner_id AND g.mission = r.mission AND g.step = s.step
        WHERE s.program_id = _work_missions.program_id AND s.mission = r.mission AND coalesce(g.progress, 0) < s.goal)
    RETURNING r.partner_id, r.mission, r.state)
  SELECT count(*) AS runs, array_agg(c.partner_id) FILTER (WHERE c.state = 'approved') AS partners, array_agg(c.mission) FILTER (WHERE c.state = 'approved') AS missions
    INTO done FROM complete c;
  PERFORM prm._reward_missions(_work_missions.program_id, done.partners, done.missions);
  UPDATE prm.mission_run r SET state = 'expired', decided_at = prm.now()
    WHERE r.program_id = _work_missions.program_id AND r.state = 'draft' AND r.ends_at <= prm.now();
  GET DIAGNOSTICS the_more = ROW_COUNT;
  RETURN the_count + done.runs + the_more;
END
$prm$;
COMMENT ON FUNCTION prm._work_missions(bigint) IS
'Enrols partners in the missions that are for all, measures the steps, submits (or approves and rewards) the missions whose steps are all reached, and ends those whose time is over. Returns how many runs began or changed their state.';

CREATE FUNCTION prm._mission_run_argument(program_id bigint, partner_id bigint, mission text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_state text;
BEGIN
  SELECT r.state INTO the_state FROM prm.mission_run r WHERE r.program_id = _mission_run_argument.program_id AND r.partner_id = _mission_run_argument.partner_id
    AND r.mission = _mission_run_argument.mission FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('partner %s is not in mission "%s"', coalesce(_mission_run_argument.partner_id::text, 'NULL'), coalesce(_mission_run_argument.mission, 'NULL')),
      DETAIL = format('Programme %s has no such run that you may see.', _mission_run_argument.program_id),
      HINT = 'SELECT prm.join_mission(partner, mission) enrols it; SELECT * FROM prm.v_mission lists the runs.';
  END IF;
  RETURN the_state;
END
$prm$;
COMMENT ON FUNCTION prm._mission_run_argument(bigint, bigint, text) IS 'Locks the run of a mission and returns its state. Error 42704 where there is none.';

CREATE FUNCTION prm.join_mission(partner_id bigint, mission text, program_id bigint DEFAULT prm.current_program()) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(join_mission.program_id);
  the_partner bigint := prm._partner_argument(the_program, join_mission.partner_id);
  the_count bigint;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.mission m WHERE m.program_id = the_program AND m.mission = join_mission.mission AND m.is_active
      AND coalesce(m.starts_at <= prm.now(), true) AND coalesce(m.ends_at > prm.now(), true)) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no open mission "%s"', coalesce(join_mission.mission, 'NULL')),
      DETAIL = format('Programme %s has no such mission that is active at %s.', the_program, prm.now()), HINT = 'SELECT mission, starts_at, ends_at FROM prm.mission lists them.';
  END IF;
  INSERT INTO prm.mission_run (program_id, partner_id, mission, started_at, ends_at)
    SELECT the_program, the_partner, m.mission, prm.now(), least(m.ends_at, prm._days_later(the_program, prm.now(), m.within_days))
    FROM prm.mission m WHERE m.program_id = the_program AND m.mission = join_mission.mission
    ON CONFLICT (program_id, partner_id, mission) DO NOTHING;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count > 0;
END
$prm$;
COMMENT ON FUNCTION prm.join_mission(bigint, text, bigint) IS 'Enrols a partner in a mission from now on; false where it is in it already. Errors: 42704 unknown partner, or no such open mission.';

CREATE FUNCTION prm.advance_mission(partner_id bigint, mission text, step text, progress numeric DEFAULT 1, program_id bigint DEFAULT prm.current_program()) RETURNS numeric
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(advance_mission.program_id);
  the_state text := prm._mission_run_argument(the_program, advance_mission.partner_id, advance_mission.mission);
  the_progress numeric;
  the_goal numeric;
BEGIN
  SELECT s.goal INTO the_goal FROM prm.mission_step s WHERE s.program_id = the_program AND s.mission = advance_mission.mission AND s.step = advance_mission.step AND s.measure = 'manual';
  IF NOT FOUND OR advance_mission.progress IS NULL OR advance_mission.progress <= 0 OR advance_mission.progress >= 'Infinity' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('step "%s" of mission "%s" cannot be advanced by %s', coalesce(advance_mission.step, 'NULL'), advance_mission.mission, coalesce(advance_mission.progress::text, 'NULL')),
      DETAIL = format('The steps with measure manual are %s.', coalesce((SELECT string_agg(s.step, ', ' ORDER BY s.position, s.step) FROM prm.mission_step s
        WHERE s.program_id = the_program AND s.mission = advance_mission.mission AND s.measure = 'manual'), 'none')),
      HINT = 'Name one of these, and an amount above zero; the other steps are counted.';
  END IF;
  IF the_state <> 'draft' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('mission "%s" of partner %s is %s', advance_mission.mission, advance_mission.partner_id, the_state),
      DETAIL = 'Only a draft is still counted.', HINT = 'Nothing is left to count.';
  END IF;
  INSERT INTO prm.mission_progress AS g (program_id, partner_id, mission, step, progress, reached_at)
    VALUES (the_program, advance_mission.partner_id, advance_mission.mission, advance_mission.step, advance_mission.progress, CASE WHEN advance_mission.progress >= the_goal THEN prm.now() END)
    ON CONFLICT (program_id, partner_id, mission, step) DO UPDATE SET progress = g.progress + excluded.progress,
      reached_at = coalesce(g.reached_at, CASE WHEN g.progress + excluded.progress >= the_goal THEN prm.now() END)
    RETURNING g.progress INTO the_progress;
  RETURN the_progress;
END
$prm$;
COMMENT ON FUNCTION prm.advance_mission(bigint, text, text, numeric, bigint) IS
'Adds to the progress of a step that is counted by hand (measure manual) and returns the sum; the job recognition submits the mission. Errors: 42704 not in the mission, 22023 no such step or amount, 55000 the mission is no draft any more.';

CREATE FUNCTION prm.decide_mission(partner_id bigint, mission text, outcome text, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(decide_mission.program_id);
  the_state text := prm._mission_run_argument(the_program, decide_mission.partner_id, decide_mission.mission);
BEGIN
  IF decide_mission.outcome IS NULL OR decide_mission.outcome NOT IN ('approved', 'rejected') OR (decide_mission.outcome = 'rejected' AND coalesce(btrim(decide_mission.reason), '') = '') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a mission is approved, or rejected with a reason',
      DETAIL = format('The outcome is %s, the reason %s.', coalesce(decide_mission.outcome, 'NULL'), coalesce(quote_literal(decide_mission.reason), 'NULL')), HINT = 'Give approved, or rejected and why.';
  END IF;
  IF the_state = decide_mission.outcome THEN
    RETURN the_state;
  ELSIF the_state <> 'submitted' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('mission "%s" of partner %s is %s', decide_mission.mission, decide_mission.partner_id, the_state),
      DETAIL = 'Only what was submitted is decided.', HINT = 'SELECT * FROM prm.v_mission shows what is missing.';
  END IF;
  UPDATE prm.mission_run r SET state = decide_mission.outcome, decided_at = prm.now(), decided_by = prm.current_actor(), reason = decide_mission.reason
    WHERE r.program_id = the_program AND r.partner_id = decide_mission.partner_id AND r.mission = decide_mission.mission;
  IF decide_mission.outcome = 'approved' THEN
    PERFORM prm._reward_missions(the_program, ARRAY[decide_mission.partner_id], ARRAY[decide_mission.mission]);
  END IF;
  RETURN decide_mission.outcome;
END
$prm$;
COMMENT ON FUNCTION prm.decide_mission(bigint, text, text, text, bigint) IS
'Approves a submitted mission, which gives its points and badge once, or rejects it with a reason. Returns the state; the same decision again changes nothing. Errors: 42704 not in the mission, 22023 outcome or reason, 55000 it is not submitted.';
