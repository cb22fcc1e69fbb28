
-- Campaigns, streaks, and the job recognition.

CREATE TYPE prm.streak_state AS (days integer, longest integer, freezes integer, state text);
COMMENT ON TYPE prm.streak_state IS 'How a streak stands: days so far, the longest ever, freezes left, active or broken.';

CREATE FUNCTION prm._work_campaigns(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_requests prm.measure_request[];
  the_partners bigint[];
  the_badges text[];
  the_count bigint;
BEGIN
  -- Who is held out follows from the numbers alone: the same on every machine and in every run.
  INSERT INTO prm.campaign_member (program_id, campaign, partner_id, held_out)
    SELECT _work_campaigns.program_id, c.campaign, p.partner_id,
      ('x' || substr(md5(format('%s/%s/%s', _work_campaigns.program_id, c.campaign, p.partner_id)), 1, 7))::bit(28)::integer % 10000 < c.holdout_percent * 100
    FROM prm.campaign c JOIN prm.partner p ON p.program_id = _work_campaigns.program_id
    WHERE c.program_id = _work_campaigns.program_id AND c.is_active AND c.starts_at <= prm.now() AND prm._days_later(_work_campaigns.program_id, c.ends_at, c.lag_days) > prm.now()
      AND p.created_at < c.ends_at AND prm._is_live_partner(p.state) AND (c.partner_kind IS NULL OR c.partner_kind = p.kind)
      AND NOT EXISTS (SELECT 1 FROM prm.campaign_member m WHERE m.program_id = _work_campaigns.program_id AND m.campaign = c.campaign AND m.partner_id = p.partner_id)
    ON CONFLICT (program_id, campaign, partner_id) DO NOTHING;
  SELECT array_agg(ROW(m.partner_id, m.campaign, NULL, c.goal, c.measure, c.kind, c.starts_at, least(c.ends_at, prm.now() + interval '1 microsecond'))::prm.measure_request)
    INTO the_requests
    FROM prm.campaign c JOIN prm.campaign_member m ON m.program_id = _work_campaigns.program_id AND m.campaign = c.campaign
    WHERE c.program_id = _work_campaigns.program_id AND c.is_active AND c.starts_at <= prm.now() AND prm._days_later(_work_campaigns.program_id, c.ends_at, c.lag_days) > prm.now();
  UPDATE prm.campaign_member m SET progress = v.value
    FROM prm._measure(_work_campaigns.program_id, the_requests) v
    WHERE m.program_id = _work_campaigns.program_id AND m.campaign = v.subject AND m.partner_id = v.partner_id AND m.progress IS DISTINCT FROM v.value;
  WITH won AS (
    UPDATE prm.campaign_member m SET rewarded_at = prm.now()
    FROM prm.campaign c
    WHERE m.program_id = _work_campaigns.program_id AND c.program_id = _work_campaigns.program_id AND c.campaign = m.campaign AND c.is_active
      AND NOT m.held_out AND m.rewarded_at IS NULL AND m.progress >= c.goal
    RETURNING m.partner_id, m.campaign, c.points, c.badge, c.label),
  paid AS (
    INSERT INTO prm.point_entry (program_id, partner_id, points, source, cause_key, reason, at)
      SELECT _work_campaigns.program_id, w.partner_id, w.points, 'campaign', format('campaign/%s/%s', w.campaign, w.partner_id), w.label, prm.now() FROM won w WHERE w.points <> 0
      ON CONFLICT (program_id, cause_key) DO NOTHING)
  SELECT count(*), array_agg(w.partner_id), array_agg(w.badge) INTO the_count, the_partners, the_badges FROM won w;
  PERFORM prm._award_badges(_work_campaigns.program_id, the_partners, the_badges, 'campaign');
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_campaigns(bigint) IS
'Enrols partners in the campaigns that have started, deals a part of them into the group that is held out, counts what they do within [starts_at, ends_at), and rewards whoever reached the goal, once. Returns how many rewards.';

CREATE FUNCTION prm._recount_streak(program_id bigint, partner_id bigint, streak text, through date) RETURNS prm.streak_state
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_recount_streak.program_id);
  the_state prm.streak_state;
  the_freezes integer;
  the_left integer;
  the_last date;
  the_gap date;
  rules record;
  seen record;
BEGIN
  SELECT r.activity, r.freezes, r.freezes_per = 'month' AS by_month, r.working_days_only INTO rules FROM prm.streak_rule r
    WHERE r.program_id = _recount_streak.program_id AND r.streak = _recount_streak.streak;
  the_freezes := rules.freezes;
  the_left := the_freezes;
  the_state := ROW(0, 0, the_left, 'active')::prm.streak_state;
  -- From one day with the activity to the next; the last row is the end, which is none.
  FOR seen IN SELECT d.on_day, d.is_seen FROM (
      SELECT DISTINCT (u.at AT TIME ZONE the_zone)::date AS on_day, true AS is_seen FROM prm.usage_event u
        WHERE u.program_id = _recount_streak.program_id AND u.partner_id = _recount_streak.partner_id AND (rules.activity IS NULL OR u.activity = rules.activity)
          AND u.at < (_recount_streak.through + 1)::timestamp AT TIME ZONE the_zone
      UNION ALL SELECT _recount_streak.through + 1, false) d ORDER BY d.on_day
  LOOP
    the_gap := coalesce(the_last + 1, seen.on_day);
    WHILE the_gap < seen.on_day LOOP
      IF rules.by_month AND extract(day FROM the_gap) = 1 THEN
        the_left := the_freezes;
      END IF;
      IF NOT (rules.working_days_only AND extract(isodow FROM the_gap) IN (6, 7)) THEN
        IF the_state.days > 0 AND the_left > 0 THEN
          the_left := the_left - 1;
        ELSE
          the_state.days := 0;
          the_state.state := 'broken';
          -- A broken streak takes no freezes: the rest of the gap is passed over.
          IF rules.by_month AND date_trunc('month', seen.on_day - CASE WHEN seen.is_seen THEN 0 ELSE 1 END) > the_gap THEN
            the_left := the_freezes;
          END IF;
          EXIT;
        END IF;
      END IF;
      the_gap := the_gap + 1;
    END LOOP;
    EXIT WHEN NOT seen.is_seen;
    IF rules.by_month AND extract(day FROM seen.on_day) = 1 THEN
      the_left := the_freezes;
    END IF;
    the_state.days := the_state.days + 1;
    the_state.longest := greatest(the_state.longest, the_state.days);
    the_state.state := 'active';
    the_last := seen.on_day;
  END LOOP;
  the_state.freezes := the_left;
  RETURN the_state;
END
$prm$;
COMMENT ON FUNCTION prm._recount_streak(bigint, bigint, text, date) IS
'A streak of a partner through a day, counted from its first day on from what usage is there now: the same as _work_streaks() comes to day by day.';

CREATE FUNCTION prm._work_streaks(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_work_streaks.program_id);
  the_yesterday date := (prm.now() AT TIME ZONE the_zone)::date - 1;
  the_day date;
  the_rows bigint;
  the_partners bigint[];
  the_streaks text[];
  the_ends date[];
  the_states prm.streak_state[];
  the_count bigint;
BEGIN
  INSERT INTO prm.streak (program_id, partner_id, streak, days, longest, freezes, state, through_on)
    SELECT _work_streaks.program_id, f.partner_id, r.streak, 0, 0, r.freezes, 'active', f.first_on - 1
    FROM prm.streak_rule r
    CROSS JOIN LATERAL (SELECT u.partner_id, min((u.at AT TIME ZONE the_zone)::date) AS first_on FROM prm.usage_event u
      WHERE u.program_id = _work_streaks.program_id AND (r.activity IS NULL OR u.activity = r.activity) GROUP BY u.partner_id) f
    WHERE r.program_id = _work_streaks.program_id AND r.is_active AND f.first_on <= the_yesterday
    ON CONFLICT (program_id, partner_id, streak) DO NOTHING;
  -- Usage that came in late, of days that were counted already (or in a transaction that was under way then): these are counted anew.
  SELECT array_agg(l.partner_id), array_agg(l.streak), array_agg(l.through_on) INTO the_partners, the_streaks, the_ends FROM (
    SELECT DISTINCT k.partner_id, k.streak, k.through_on FROM (
      SELECT u.partner_id, u.activity, (u.at AT TIME ZONE the_zone)::date AS on_day, max(u.recorded_at) AS recorded_at FROM prm.usage_event u
        WHERE u.program_id = _work_streaks.program_id
          AND u.recorded_at > (SELECT min(k.counted_at) FROM prm.streak k WHERE k.program_id = _work_streaks.program_id) - interval '15 minutes'
        GROUP BY 1, 2, 3) e
    CROSS JOIN LATERAL (SELECT s.partner_id, s.streak, s.through_on, s.counted_at FROM prm.streak s
      WHERE s.program_id = _work_streaks.program_id AND s.partner_id = e.partner_id AND s.through_on >= e.on_day AND s.counted_at < e.recorded_at + interval '15 minutes' OFFSET 0) k
    JOIN prm.streak_rule r ON r.program_id = _work_streaks.program_id AND r.streak = k.streak AND r.is_active AND (r.activity IS NULL OR r.activity = e.activity)) l;
  SELECT array_agg(prm._recount_streak(_work_streaks.program_id, l.partner_id, l.streak, l.through_on)) INTO the_states
    FROM unnest(the_partners, the_streaks, the_ends) AS l(partner_id, streak, through_on);
  UPDATE prm.streak s SET days = k.days, longest = k.longest, freezes = k.freezes, state = k.state, counted_at = clock_timestamp()
    FROM (SELECT l.partner_id, l.streak, l.through_on, t.days, t.longest, t.freezes, t.state FROM unnest(the_partners, the_streaks, the_ends) WITH ORDINALITY AS l(partner_id, streak, through_on, place)
      JOIN unnest(the_states) WITH ORDINALITY AS t(days, longest, freezes, state, place) ON t.place = l.place) k
    WHERE s.program_id = _work_streaks.program_id AND s.partner_id = k.partner_id AND s.streak = k.streak AND s.through_on = k.through_on
      AND (s.days, s.longest, s.freezes, s.state) IS DISTINCT FROM (k.days, k.longest, k.freezes, k.state);
  GET DIAGNOSTICS the_count = ROW_COUNT;
  SELECT min(s.through_on) + 1 INTO the_day FROM prm.streak s JOIN prm.streak_rule r ON r.program_id = _work_streaks.program_id AND r.streak = s.streak AND r.is_active
    WHERE s.program_id = _work_streaks.program_id;
  -- Day by day, for all partners at once: normally one day.
  WHILE the_day <= the_yesterday LOOP
    UPDATE prm.streak s SET through_on = the_day, counted_at = clock_timestamp(),
      days = CASE WHEN k.is_seen THEN s.days + 1 WHEN k.is_off OR k.freezes > 0 THEN s.days ELSE 0 END,
      longest = CASE WHEN k.is_seen THEN greatest(s.longest, s.days + 1) ELSE s.longest END,
      freezes = CASE WHEN NOT k.is_seen AND NOT k.is_off AND s.days > 0 AND k.freezes > 0 THEN k.freezes - 1 ELSE k.freezes END,
      state = CASE WHEN k.is_seen THEN 'active' WHEN k.is_off OR (s.days > 0 AND k.freezes > 0) THEN s.state ELSE 'broken' END
    FROM (
      SELECT t.partner_id, t.streak, CASE WHEN r.freezes_per = 'month' AND extract(day FROM the_day) = 1 THEN r.freezes ELSE t.freezes END AS freezes, r.working_days_only AND extract(isodow FROM the_day) IN (6, 7) AS is_off,
        EXISTS (SELECT 1 FROM prm.usage_event u WHERE u.program_id = _work_streaks.program_id AND u.partner_id = t.partner_id AND (r.activity IS NULL OR r.activity = u.activity)
          AND u.at >= the_day::timestamp AT TIME ZONE the_zone AND u.at < (the_day + 1)::timestamp AT TIME ZONE the_zone) AS is_seen
      FROM prm.streak t
      JOIN prm.streak_rule r ON r.program_id = _work_streaks.program_id AND r.streak = t.streak AND r.is_active
      WHERE t.program_id = _work_streaks.program_id AND t.through_on = the_day - 1 OFFSET 0) k
    -- Another run may have counted the day meanwhile: it is counted once.
    WHERE s.program_id = _work_streaks.program_id AND s.partner_id = k.partner_id AND s.streak = k.streak AND s.through_on = the_day - 1;
    GET DIAGNOSTICS the_rows = ROW_COUNT;
    the_count := the_count + the_rows;
    the_day := the_day + 1;
  END LOOP;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_streaks(bigint) IS
'Carries the streaks through yesterday, in the programme''s time zone: a day with the activity adds one; a day without takes a freeze, and without one ends the streak. Each day is counted once; where usage of days that were counted comes in late, the streak is counted anew. Returns how many days of partners, and how many streaks changed by being counted anew.';

CREATE FUNCTION prm.refresh_recognition(program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(refresh_recognition.program_id);
  the_partners bigint[];
  the_badges text[];
  the_names text[];
BEGIN
  SELECT array_agg(DISTINCT b.metric) INTO the_names FROM prm.badge b WHERE b.program_id = the_program AND b.is_active AND b.metric IS NOT NULL;
  IF the_names IS NOT NULL THEN
    SELECT array_agg(v.partner_id), array_agg(b.badge) INTO the_partners, the_badges
      FROM prm._metric_values(the_program, NULL, prm.now(), the_names) v
      JOIN prm.badge b ON b.program_id = the_program AND b.metric = v.metric AND b.is_active
      JOIN prm.metric m ON m.program_id = the_program AND m.metric = v.metric
      JOIN prm.partner p ON p.program_id = the_program AND p.partner_id = v.partner_id
      WHERE prm._is_live_partner(p.state) AND CASE WHEN m.higher_is_better THEN v.value >= b.threshold ELSE v.value <= b.threshold END;
  END IF;
  RETURN prm._award_badges(the_program, the_partners, the_badges, 'reached') + prm._work_missions(the_program) + prm._work_campaigns(the_program) + prm._work_streaks(the_program);
END
$prm$;
COMMENT ON FUNCTION prm.refresh_recognition(bigint) IS
'Awards the badges whose metric was reached, measures missions and campaigns and gives their rewards, and carries the streaks on; run_jobs() does it once per business day. Each reward is given once. Returns how much changed.';
