
-- Whether training shows in what partners sell afterwards, beside partners who were not trained.

CREATE TYPE prm.training_lift_row AS (part text, partners bigint, revenue_before numeric, revenue_after numeric, revenue_change numeric, deals_before numeric, deals_after numeric, deals_change numeric);
COMMENT ON TYPE prm.training_lift_row IS
'A row of training_lift(): trained, untrained, or lift (the change of the trained less that of the untrained); how many partners, and per partner what it won within the horizon before and after, the revenue in the programme''s currency, the deals in all.';

CREATE FUNCTION prm.training_lift(course text, horizon interval DEFAULT '90 days', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.training_lift_row
LANGUAGE plpgsql STABLE ROWS 3 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(training_lift.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_currency text := prm._program_currency(the_program);
  the_won text[] := prm._won_states(the_program);
  the_ids bigint[];
  the_moments timestamptz[];
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.course c WHERE c.program_id = the_program AND c.course = training_lift.course) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('course "%s" does not exist', coalesce(training_lift.course, 'NULL')),
      DETAIL = format('The courses of programme %s are %s.', the_program, coalesce((SELECT string_agg(c.course, ', ' ORDER BY c.course) FROM prm.course c WHERE c.program_id = the_program), 'none')),
      HINT = 'Name one of them.';
  ELSIF training_lift.horizon IS NULL OR training_lift.horizon <= interval '0' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the horizon is no time after the course', DETAIL = format('It is %s.', coalesce(training_lift.horizon::text, 'NULL')),
      HINT = 'Give it as "90 days", which is the default.';
  END IF;
  -- A partner is trained when the first of its people has done the course.
  SELECT array_agg(f.partner_id ORDER BY f.partner_id), array_agg(f.moment ORDER BY f.partner_id) INTO the_ids, the_moments
    FROM (SELECT c.partner_id, min(c.completed_at) AS moment FROM prm.course_completion c WHERE c.program_id = the_program AND c.course = training_lift.course GROUP BY c.partner_id) f;
  RETURN QUERY
    WITH partner AS MATERIALIZED (
      SELECT p.partner_id, coalesce(p.joined_on::timestamp AT TIME ZONE the_zone, p.created_at) AS joined, f.moment
      FROM prm.partner p LEFT JOIN unnest(the_ids, the_moments) AS f(partner_id, moment) ON f.partner_id = p.partner_id
      WHERE p.program_id = the_program),
    -- Whose time after the course is over, and who was there for as long before: others would look better than they are.
    trained AS MATERIALIZED (
      SELECT p.partner_id, p.moment FROM partner p WHERE p.moment + training_lift.horizon <= prm.now() AND p.joined <= p.moment - training_lift.horizon),
    -- The others beside them: in each month in which partners were trained, those who were not until the horizon was over.
    months AS MATERIALIZED (
      SELECT date_trunc('month', t.moment AT TIME ZONE the_zone) AT TIME ZONE the_zone AS moment, count(*) AS weight FROM trained t GROUP BY 1),
    seen AS MATERIALIZED (
      SELECT 'trained' AS part, t.partner_id, t.moment, 1::numeric AS weight FROM trained t
      UNION ALL
      SELECT 'untrained', p.partner_id, m.moment, m.weight::numeric / count(*) OVER (PARTITION BY m.moment)
      FROM months m JOIN partner p ON p.joined <= m.moment - training_lift.horizon AND (p.moment IS NULL OR p.moment > m.moment + training_lift.horizon)),
    counted AS (
      SELECT s.part, count(DISTINCT s.partner_id) AS partners, sum(s.weight * d.revenue_before) / sum(s.weight) AS revenue_before, sum(s.weight * d.revenue_after) / sum(s.weight) AS revenue_after,
        sum(s.weight * d.deals_before) / sum(s.weight) AS deals_before, sum(s.weight * d.deals_after) / sum(s.weight) AS deals_after
      FROM seen s
      CROSS JOIN LATERAL (
        SELECT coalesce(sum(x.amount) FILTER (WHERE x.currency = the_currency AND x.closed_at <= s.moment), 0) AS revenue_before, count(*) FILTER (WHERE x.closed_at <= s.moment) AS deals_before,
          coalesce(sum(x.amount) FILTER (WHERE x.currency = the_currency AND x.closed_at > s.moment), 0) AS revenue_after, count(*) FILTER (WHERE x.closed_at > s.moment) AS deals_after
        FROM prm.deal x
        WHERE x.program_id = the_program AND x.partner_id = s.partner_id AND x.state = ANY (the_won)
          AND x.closed_at > s.moment - training_lift.horizon AND x.closed_at <= s.moment + training_lift.horizon) d
      GROUP BY s.part),
    both_parts AS (SELECT n.part, coalesce(c.partners, 0) AS partners, c.revenue_before, c.revenue_after, c.deals_before, c.deals_after FROM (VALUES ('trained'), ('untrained')) AS n(part) LEFT JOIN counted c ON c.part = n.part)
    SELECT b.part, b.partners, round(b.revenue_before, 2), round(b.revenue_after, 2), round(b.revenue_after - b.revenue_before, 2), round(b.deals_before, 4), round(b.deals_after, 4), round(b.deals_after - b.deals_before, 4)
    FROM both_parts b
    UNION ALL
    SELECT 'lift', NULL, NULL, NULL, round((t.revenue_after - t.revenue_before) - (u.revenue_after - u.revenue_before), 2), NULL, NULL, round((t.deals_after - t.deals_before) - (u.deals_after - u.deals_before), 4)
    FROM both_parts t JOIN both_parts u ON t.part = 'trained' AND u.part = 'untrained';
END
$prm$;
COMMENT ON FUNCTION prm.training_lift(text, interval, bigint) IS
'Whether a course shows in what partners win: per partner the revenue and the deals within the horizon before and after the first of its people did it, the same of partners who did not, and the lift, the difference of the two changes. Counts partners who were there for the horizon before and whose time after is over. It is no proof: who is trained may be keener anyway. Errors: 42704 unknown course, 22023 no horizon.';
