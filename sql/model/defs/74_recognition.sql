
-- Recognition: points that follow earning events and usage by themselves, and the views.

COMMENT ON TABLE prm.badge IS 'Badges: what a partner is recognised for, once.';
COMMENT ON COLUMN prm.badge.badge IS 'The badge.';
COMMENT ON COLUMN prm.badge.label IS 'Name for people.';
COMMENT ON COLUMN prm.badge.description IS 'What it is for.';
COMMENT ON COLUMN prm.badge.metric IS 'Awarded by itself when this metric reaches threshold; NULL: by award_badge(), missions and campaigns only.';
COMMENT ON COLUMN prm.badge.threshold IS 'At least this (at most, where lower is better).';
COMMENT ON COLUMN prm.badge.points IS 'Points that come with it.';
COMMENT ON COLUMN prm.badge.is_active IS 'False: no longer awarded.';

COMMENT ON TABLE prm.badge_award IS 'Who has which badge. A badge is awarded once.';
COMMENT ON COLUMN prm.badge_award.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.badge_award.badge IS 'The badge.';
COMMENT ON COLUMN prm.badge_award.awarded_at IS 'When.';
COMMENT ON COLUMN prm.badge_award.awarded_by IS 'By whom.';
COMMENT ON COLUMN prm.badge_award.reason IS 'What for.';

COMMENT ON TABLE prm.point_rule IS 'Rules that give points for earning events and for usage, by themselves.';
COMMENT ON COLUMN prm.point_rule.point_rule IS 'The rule.';
COMMENT ON COLUMN prm.point_rule.label IS 'Name for people.';
COMMENT ON COLUMN prm.point_rule.source IS 'earning: events on which partners earn, shared like their credits. usage: what people do in the portal.';
COMMENT ON COLUMN prm.point_rule.kind IS 'Only this kind of event, or this activity; NULL: any (refunds give no points, they take back).';
COMMENT ON COLUMN prm.point_rule.credit_type IS 'Only for credits of this type: sourced, assisted, managed ...; NULL: any.';
COMMENT ON COLUMN prm.point_rule.points IS 'How many points: for each event, or for each per_amount of the partner''s share.';
COMMENT ON COLUMN prm.point_rule.per_amount IS 'Points are for each full measure of this amount, whole points only: points x amount / per_amount, cut off; NULL: for the event as such.';
COMMENT ON COLUMN prm.point_rule.currency IS 'Only events in this currency; NULL: the programme''s, where per_amount is given.';
COMMENT ON COLUMN prm.point_rule.growth_countries IS 'Growth markets: countries of the customer (else of the partner) where the rate is multiplied.';
COMMENT ON COLUMN prm.point_rule.growth_factor IS 'By how much.';
COMMENT ON COLUMN prm.point_rule.rate_policy IS 'in_force: the rule must be valid on the event''s day. first_sale: it must have been on the day of the first sale of that partner, customer and product family.';
COMMENT ON COLUMN prm.point_rule.once_per IS 'For usage: once per event, partner and day, or partner ever.';
COMMENT ON COLUMN prm.point_rule.valid IS 'The days on which it holds.';
COMMENT ON COLUMN prm.point_rule.is_active IS 'False: gives no new points; refunds still take back what it gave.';
COMMENT ON COLUMN prm.point_rule.expires_days IS 'Its points lapse so many days after they count, at the same time of day in the programme''s zone; NULL: never.';

COMMENT ON TABLE prm.point_entry IS 'The ledger of points, append-only: what is taken back is a negative row.';
COMMENT ON COLUMN prm.point_entry.point_entry_id IS 'Number of the entry.';
COMMENT ON COLUMN prm.point_entry.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.point_entry.points IS 'Points, negative where they are taken back.';
COMMENT ON COLUMN prm.point_entry.source IS 'earning, refund (also: other credits), usage, badge, mission, campaign, manual.';
COMMENT ON COLUMN prm.point_entry.point_rule IS 'The rule that gave them.';
COMMENT ON COLUMN prm.point_entry.earning_event_id IS 'The event they are for.';
COMMENT ON COLUMN prm.point_entry.credit_type IS 'The credit they are for.';
COMMENT ON COLUMN prm.point_entry.amount IS 'The partner''s share of the event, net of refunds, where points depend on it.';
COMMENT ON COLUMN prm.point_entry.rate IS 'Points for each unit of amount, or for the event: kept for what is refunded later.';
COMMENT ON COLUMN prm.point_entry.cause_key IS 'What caused it; each cause gives points once.';
COMMENT ON COLUMN prm.point_entry.reason IS 'In words.';
COMMENT ON COLUMN prm.point_entry.at IS 'When they count.';
COMMENT ON COLUMN prm.point_entry.expires_at IS 'From when on they count no more; what is taken back or spent of points has the moment of these. NULL: never.';

COMMENT ON TABLE prm.mission IS 'Missions: steps that earn a reward when all are reached.';
COMMENT ON COLUMN prm.mission.mission IS 'The mission.';
COMMENT ON COLUMN prm.mission.label IS 'Name for people.';
COMMENT ON COLUMN prm.mission.description IS 'What is to be done, and why.';
COMMENT ON COLUMN prm.mission.partner_kind IS 'Only partners of this kind; NULL: all.';
COMMENT ON COLUMN prm.mission.enrol_all IS 'Whether all partners are in it by themselves, from joining on; else join_mission() enrols.';
COMMENT ON COLUMN prm.mission.approval IS 'manual: what is complete is submitted, decide_mission() approves. automatic: approved at once.';
COMMENT ON COLUMN prm.mission.within_days IS 'How many days a partner has from its start; NULL: no limit.';
COMMENT ON COLUMN prm.mission.starts_at IS 'Nothing before counts; NULL: from the partner''s joining.';
COMMENT ON COLUMN prm.mission.ends_at IS 'Nothing from here on counts; NULL: no end.';
COMMENT ON COLUMN prm.mission.points IS 'Reward.';
COMMENT ON COLUMN prm.mission.badge IS 'Reward.';
COMMENT ON COLUMN prm.mission.is_active IS 'False: nobody is enrolled.';

COMMENT ON TABLE prm.mission_step IS 'The steps of a mission.';
COMMENT ON COLUMN prm.mission_step.mission IS 'The mission.';
COMMENT ON COLUMN prm.mission_step.step IS 'The step.';
COMMENT ON COLUMN prm.mission_step.label IS 'Name for people.';
COMMENT ON COLUMN prm.mission_step.position IS 'Its place in the order shown.';
COMMENT ON COLUMN prm.mission_step.measure IS 'What is counted: leads, deals_won, earning (events, without those that were refunded altogether), usage, certificates, points, or manual (advance_mission).';
COMMENT ON COLUMN prm.mission_step.kind IS 'Only this kind of deal, earning event, activity or certification; NULL: any.';
COMMENT ON COLUMN prm.mission_step.goal IS 'Reached at this count.';

COMMENT ON TABLE prm.mission_run IS 'Partners in missions.';
COMMENT ON COLUMN prm.mission_run.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.mission_run.mission IS 'The mission.';
COMMENT ON COLUMN prm.mission_run.started_at IS 'What counts begins here.';
COMMENT ON COLUMN prm.mission_run.ends_at IS 'And ends before this; NULL: no end.';
COMMENT ON COLUMN prm.mission_run.state IS 'draft, submitted, approved, rejected, expired.';
COMMENT ON COLUMN prm.mission_run.submitted_at IS 'When all steps were seen to be reached.';
COMMENT ON COLUMN prm.mission_run.decided_at IS 'When it was approved, rejected or expired.';
COMMENT ON COLUMN prm.mission_run.decided_by IS 'By whom.';
COMMENT ON COLUMN prm.mission_run.reason IS 'Why.';

COMMENT ON TABLE prm.mission_progress IS 'How far each step of a run is.';
COMMENT ON COLUMN prm.mission_progress.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.mission_progress.mission IS 'The mission.';
COMMENT ON COLUMN prm.mission_progress.step IS 'The step.';
COMMENT ON COLUMN prm.mission_progress.progress IS 'The count so far.';
COMMENT ON COLUMN prm.mission_progress.reached_at IS 'When it was first seen at the goal.';

COMMENT ON TABLE prm.campaign IS 'Incentive campaigns: whoever reaches the goal within [starts_at, ends_at) is rewarded, once.';
COMMENT ON COLUMN prm.campaign.campaign IS 'The campaign.';
COMMENT ON COLUMN prm.campaign.label IS 'Name for people.';
COMMENT ON COLUMN prm.campaign.starts_at IS 'Its first moment.';
COMMENT ON COLUMN prm.campaign.ends_at IS 'The moment at which it is over.';
COMMENT ON COLUMN prm.campaign.partner_kind IS 'Only partners of this kind; NULL: all.';
COMMENT ON COLUMN prm.campaign.measure IS 'What is counted: leads, deals_won, earning, usage, certificates, points.';
COMMENT ON COLUMN prm.campaign.kind IS 'Only this kind of deal, earning event, activity or certification; NULL: any.';
COMMENT ON COLUMN prm.campaign.goal IS 'Reward at this count.';
COMMENT ON COLUMN prm.campaign.points IS 'Reward.';
COMMENT ON COLUMN prm.campaign.badge IS 'Reward.';
COMMENT ON COLUMN prm.campaign.holdout_percent IS 'Part of the partners that is held out: measured, never rewarded, to see what happens without.';
COMMENT ON COLUMN prm.campaign.cost IS 'What it cost, in the programme''s currency, for v_campaign_roi.';
COMMENT ON COLUMN prm.campaign.lag_days IS 'Retention is looked at this many days after the end; late events count until then.';
COMMENT ON COLUMN prm.campaign.retained_days IS 'Over so many days.';
COMMENT ON COLUMN prm.campaign.is_active IS 'False: not worked on.';

COMMENT ON TABLE prm.campaign_member IS 'Partners in campaigns.';
COMMENT ON COLUMN prm.campaign_member.campaign IS 'The campaign.';
COMMENT ON COLUMN prm.campaign_member.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.campaign_member.held_out IS 'Whether it is in the group without reward.';
COMMENT ON COLUMN prm.campaign_member.progress IS 'The count so far.';
COMMENT ON COLUMN prm.campaign_member.rewarded_at IS 'When it was rewarded; NULL: not.';

COMMENT ON TABLE prm.board IS 'Leaderboards that partners may look at with my_leaderboard().';
COMMENT ON COLUMN prm.board.board IS 'The board.';
COMMENT ON COLUMN prm.board.label IS 'Name for people.';
COMMENT ON COLUMN prm.board.metric IS 'By what partners are ranked, as in leaderboard(): points, revenue, deals_won, leads, usage, usage:ACTIVITY, or a row of prm.metric.';
COMMENT ON COLUMN prm.board.window_kind IS 'Over which window, as in prm.metric.window_kind: month_to_date, last_quarter, rolling_30_days ...; empty: over all time, or that of the metric.';
COMMENT ON COLUMN prm.board.partner_kind IS 'Only partners of this kind are on it and see it; empty: all.';
COMMENT ON COLUMN prm.board.tier IS 'Only partners that hold this tier on ladder main; empty: all.';
COMMENT ON COLUMN prm.board.country IS 'Only partners of this country; empty: all.';
COMMENT ON COLUMN prm.board.places IS 'Of others only the first so many places are shown; empty: all. Its own place a partner always sees.';
COMMENT ON COLUMN prm.board.shows IS 'What a partner sees of others. own: only how many they are. places: a row for each, without its name. names: with its name.';
COMMENT ON COLUMN prm.board.shows_values IS 'Whether it sees their values too; without names only where at least five partners are on the board. Two boards over the same metric, one with names and one with values, tell both.';
COMMENT ON COLUMN prm.board.is_active IS 'False: no partner sees it.';

CREATE OR REPLACE FUNCTION prm._board_defined() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NEW.metric IN ('points', 'revenue', 'deals_won', 'leads', 'usage')
     OR NEW.metric LIKE 'usage:%' AND EXISTS (SELECT 1 FROM prm.usage_activity a WHERE a.program_id = NEW.program_id AND a.activity = substr(NEW.metric, 7)) THEN
    RETURN NEW;
  ELSIF NOT EXISTS (SELECT 1 FROM prm.metric m WHERE m.program_id = NEW.program_id AND m.metric = NEW.metric) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no leaderboard by "%s"', NEW.metric), DETAIL = format('Programme %s has no such metric.', NEW.program_id),
      HINT = 'Rank by points, revenue, deals_won, leads, usage, usage:ACTIVITY, or a row of prm.metric.', SCHEMA = 'prm', TABLE = 'board', COLUMN = 'metric';
  ELSIF NEW.window_kind IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the window of metric "%s" is its own', NEW.metric),
      DETAIL = 'Over how long a metric counts is part of its definition.', HINT = 'Leave window_kind out.', SCHEMA = 'prm', TABLE = 'board', COLUMN = 'window_kind';
  END IF;
  RETURN NEW;
END
$prm$;
COMMENT ON FUNCTION prm._board_defined() IS 'Row trigger of prm.board: refuses (22023) what leaderboard() would refuse when it is asked.';
CREATE OR REPLACE TRIGGER prm_10_defined BEFORE INSERT OR UPDATE ON prm.board FOR EACH ROW EXECUTE FUNCTION prm._board_defined();

COMMENT ON TABLE prm.streak_rule IS 'Streaks: days on which something was done, without a gap.';
COMMENT ON COLUMN prm.streak_rule.streak IS 'The streak.';
COMMENT ON COLUMN prm.streak_rule.label IS 'Name for people.';
COMMENT ON COLUMN prm.streak_rule.activity IS 'What has to be done; NULL: anything in the portal.';
COMMENT ON COLUMN prm.streak_rule.freezes IS 'Missed days that each partner may have.';
COMMENT ON COLUMN prm.streak_rule.freezes_per IS 'ever: so many in all. month: so many in each calendar month; on its first day there are all of them again.';
COMMENT ON COLUMN prm.streak_rule.working_days_only IS 'Whether a Saturday or Sunday without activity counts as no missed day.';
COMMENT ON COLUMN prm.streak_rule.is_active IS 'False: not carried on.';

COMMENT ON TABLE prm.streak IS 'The streaks of partners, through the last day that is over.';
COMMENT ON COLUMN prm.streak.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.streak.streak IS 'The streak.';
COMMENT ON COLUMN prm.streak.days IS 'Days so far; 0 after a break.';
COMMENT ON COLUMN prm.streak.longest IS 'The longest ever.';
COMMENT ON COLUMN prm.streak.freezes IS 'Freezes left.';
COMMENT ON COLUMN prm.streak.state IS 'active or broken.';
COMMENT ON COLUMN prm.streak.through_on IS 'The last day that was counted.';
COMMENT ON COLUMN prm.streak.counted_at IS 'When it was counted, wall clock; usage of days before that comes in later is counted then.';

CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.point_entry
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.point_entry ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE FUNCTION prm._point_events(program_id bigint, earning_event_ids bigint[]) RETURNS SETOF prm.point_event
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT e.earning_event_id, e.kind, e.partner_id, e.customer_id, e.product_family, e.currency, e.occurred_at,
      (SELECT c.country FROM prm.customer c WHERE c.program_id = _point_events.program_id AND c.customer_id = e.customer_id),
      e.amount + r.amount, r.refunds = 0 OR (coalesce(e.amount, 0) <> 0 AND e.amount + r.amount <> 0)
    FROM unnest(_point_events.earning_event_ids) AS i(earning_event_id)
    CROSS JOIN LATERAL (SELECT * FROM prm.earning_event o WHERE o.program_id = _point_events.program_id AND o.earning_event_id = i.earning_event_id AND o.kind <> 'refunded' OFFSET 0) e
    CROSS JOIN LATERAL (SELECT coalesce(sum(o.amount), 0) AS amount, count(*) AS refunds FROM prm.earning_event o
      WHERE o.program_id = _point_events.program_id AND o.applies_to_id = i.earning_event_id AND o.kind = 'refunded' OFFSET 0) r;
END
$prm$;
REVOKE ALL ON FUNCTION prm._point_events(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._point_events(bigint, bigint[]) IS 'Earning events, net of their refunds, as the rules for points see them.';

CREATE OR REPLACE FUNCTION prm._points_of_events(program_id bigint, earning_event_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_points_of_events.program_id);
  the_currency text := prm._program_currency(_points_of_events.program_id);
  the_count bigint;
BEGIN
  -- What an event gives is reckoned anew, and the difference to what it gave so far is written: refunds and late credits need
  -- nothing of their own. The lock lets two of them go one after the other.
  PERFORM e.earning_event_id FROM prm.earning_event e
    WHERE e.program_id = _points_of_events.program_id AND e.earning_event_id = ANY (_points_of_events.earning_event_ids) ORDER BY e.earning_event_id FOR NO KEY UPDATE;
  INSERT INTO prm.point_entry (program_id, partner_id, points, source, point_rule, earning_event_id, credit_type, amount, rate, cause_key, at, expires_at)
    SELECT _points_of_events.program_id, d.partner_id, d.target - d.given, CASE WHEN d.entries = 0 THEN 'earning' ELSE 'refund' END, d.point_rule, d.earning_event_id, d.credit_type,
      trim_scale(d.net), d.rate, format('earning/%s/%s/%s/%s/%s', d.earning_event_id, d.point_rule, d.credit_type, d.partner_id, d.entries), CASE WHEN d.entries = 0 THEN d.occurred_at ELSE prm.now() END,
      CASE WHEN d.entries = 0 THEN prm._days_later(_points_of_events.program_id, d.occurred_at, d.expires_days) ELSE d.expires_at END
    FROM (
      SELECT f.earning_event_id, f.occurred_at, f.point_rule, f.credit_type, f.partner_id, max(f.rate) AS rate, sum(f.entries) AS entries, sum(f.given) AS given, max(f.expires_days) AS expires_days, max(f.expires_at) AS expires_at,
        CASE WHEN bool_or(f.by_amount) THEN coalesce(max(f.weight) * max(f.net) * 0.01, 0) END AS net,
        -- A rate such as a point for 300 never ends as a decimal fraction: what it lacks of a whole point is given back before the rest is cut off.
        CASE WHEN bool_or(f.by_amount) THEN trunc(round(max(f.rate) * coalesce(max(f.weight) * max(f.net), 0) * 0.01, 20))
             WHEN max(f.weight) > 0 AND bool_and(f.is_standing) THEN max(f.rate) ELSE 0 END AS target
      FROM (
        SELECT e.earning_event_id, e.occurred_at, e.net, e.is_standing, c.credit_type, c.partner_id, c.weight, r.point_rule, r.per_amount IS NOT NULL AS by_amount,
          -- The rate that was given at first holds for ever.
          coalesce(g.rate, trim_scale(round(r.points * CASE WHEN coalesce(e.country, c.country) = ANY (r.growth_countries) THEN r.growth_factor ELSE 1 END, 40) / coalesce(r.per_amount, 1))) AS rate,
          0::bigint AS entries, 0::numeric AS given, r.expires_days, NULL::timestamptz AS expires_at
        FROM prm._point_events(_points_of_events.program_id, _points_of_events.earning_event_ids) e
        CROSS JOIN LATERAL (
          SELECT s.credit_type, s.partner_id, s.weight, p.country FROM prm.sales_credit s JOIN prm.partner p ON p.program_id = _points_of_events.program_id AND p.partner_id = s.partner_id
            WHERE s.program_id = _points_of_events.program_id AND s.earning_event_id = e.earning_event_id AND s.weight > 0
              AND s.revision = (SELECT max(n.revision) FROM prm.sales_credit n WHERE n.program_id = _points_of_events.program_id AND n.earning_event_id = e.earning_event_id AND n.credit_type = s.credit_type)
          UNION ALL
          SELECT 'sourced', p.partner_id, 100, p.country FROM prm.partner p WHERE p.program_id = _points_of_events.program_id AND p.partner_id = e.partner_id
            AND NOT EXISTS (SELECT 1 FROM prm.sales_credit n WHERE n.program_id = _points_of_events.program_id AND n.earning_event_id = e.earning_event_id)) c
        JOIN prm.point_rule r ON r.program_id = _points_of_events.program_id AND r.source = 'earning' AND (r.kind IS NULL OR r.kind = e.kind)
          AND (r.credit_type IS NULL OR r.credit_type = c.credit_type)
          AND (r.currency IS NULL AND r.per_amount IS NULL OR coalesce(r.currency, the_currency) = e.currency)
        LEFT JOIN LATERAL (SELECT max(o.rate) AS rate FROM prm.point_entry o WHERE o.program_id = _points_of_events.program_id AND o.earning_event_id = e.earning_event_id
          AND o.point_rule = r.point_rule AND o.credit_type = c.credit_type AND o.partner_id = c.partner_id) g ON true
        WHERE g.rate IS NOT NULL OR (r.is_active AND r.valid @> (CASE WHEN r.rate_policy = 'first_sale' THEN coalesce((
            SELECT min(o.occurred_at) FROM prm.earning_event o WHERE o.program_id = _points_of_events.program_id AND o.customer_id = e.customer_id AND o.kind <> 'refunded'
              AND o.product_family IS NOT DISTINCT FROM e.product_family AND o.partner_id IS NOT DISTINCT FROM e.partner_id), e.occurred_at) ELSE e.occurred_at END AT TIME ZONE the_zone)::date)
        UNION ALL
        SELECT e.earning_event_id, e.occurred_at, e.net, e.is_standing, o.credit_type, o.partner_id, 0, o.point_rule, o.amount IS NOT NULL, o.rate, 1, o.points, NULL, o.expires_at
        FROM prm._point_events(_points_of_events.program_id, _points_of_events.earning_event_ids) e
        CROSS JOIN LATERAL (SELECT * FROM prm.point_entry n WHERE n.program_id = _points_of_events.program_id AND n.earning_event_id = e.earning_event_id OFFSET 0) o) f
      GROUP BY f.earning_event_id, f.occurred_at, f.point_rule, f.credit_type, f.partner_id) d
    WHERE d.target <> d.given
    ORDER BY d.earning_event_id, d.point_rule, d.credit_type, d.partner_id;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_count;
END
$prm$;
REVOKE ALL ON FUNCTION prm._points_of_events(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._points_of_events(bigint, bigint[]) IS
'Writes the points that the rules give for earning events, or the difference to what was given for them before: after a refund, or other credits. Returns how many entries.';

CREATE OR REPLACE FUNCTION prm._points_due() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_ids bigint[];
BEGIN
  SELECT array_agg(DISTINCT n.program_id ORDER BY n.program_id) INTO the_programs FROM new_rows n;
  FOREACH the_program IN ARRAY coalesce(the_programs, '{}')
  LOOP
    -- A programme that never had such a rule pays for no more than this.
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.point_rule r WHERE r.program_id = the_program AND r.source = 'earning');
    IF TG_TABLE_NAME = 'earning_event' THEN
      SELECT array_agg(DISTINCT CASE WHEN n.kind = 'refunded' THEN n.applies_to_id ELSE n.earning_event_id END) INTO the_ids FROM new_rows n WHERE n.program_id = the_program;
    ELSE
      SELECT array_agg(DISTINCT n.earning_event_id) INTO the_ids FROM new_rows n WHERE n.program_id = the_program;
    END IF;
    PERFORM prm._points_of_events(the_program, the_ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._points_due() FROM PUBLIC;
COMMENT ON FUNCTION prm._points_due() IS 'Statement trigger of earning_event and sales_credit: points follow what is earned, refunded and credited.';
CREATE OR REPLACE TRIGGER prm_45_points AFTER INSERT ON prm.earning_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._points_due();
CREATE OR REPLACE TRIGGER prm_45_points AFTER INSERT ON prm.sales_credit REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._points_due();

CREATE OR REPLACE FUNCTION prm._usage_points() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_zone text;
  the_ids bigint[];
BEGIN
  SELECT array_agg(DISTINCT n.program_id ORDER BY n.program_id) INTO the_programs FROM new_rows n;
  FOREACH the_program IN ARRAY coalesce(the_programs, '{}')
  LOOP
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.point_rule r WHERE r.program_id = the_program AND r.source = 'usage' AND r.is_active);
    SELECT array_agg(n.usage_event_id) INTO the_ids FROM new_rows n WHERE n.program_id = the_program;
    the_zone := prm._program_time_zone(the_program);
    INSERT INTO prm.point_entry (program_id, partner_id, points, source, point_rule, rate, cause_key, at, expires_at)
      SELECT the_program, k.partner_id, k.points, 'usage', k.point_rule, k.points, k.cause_key, k.at, prm._days_later(the_program, k.at, k.expires_days)
      FROM (
        SELECT DISTINCT ON (c.cause_key) u.partner_id, r.points, r.point_rule, c.cause_key, u.at, r.expires_days
        FROM unnest(the_ids) AS i(usage_event_id)
        CROSS JOIN LATERAL (SELECT o.usage_event_id, o.partner_id, o.activity, o.at FROM prm.usage_event o WHERE o.program_id = the_program AND o.usage_event_id = i.usage_event_id OFFSET 0) u
        JOIN prm.point_rule r ON r.program_id = the_program AND r.source = 'usage' AND r.is_active AND (r.kind IS NULL OR r.kind = u.activity)
          AND r.valid @> (u.at AT TIME ZONE the_zone)::date
        CROSS JOIN LATERAL (SELECT format('usage/%s/%s', r.point_rule, CASE r.once_per WHEN 'event' THEN format('event/%s', u.usage_event_id)
          WHEN 'day' THEN format('%s/%s', u.partner_id, to_char(u.at AT TIME ZONE the_zone, 'YYYY-MM-DD')) ELSE u.partner_id::text END) AS cause_key) c
        ORDER BY c.cause_key, u.at, u.usage_event_id) k
      ON CONFLICT (program_id, cause_key) DO NOTHING;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._usage_points() FROM PUBLIC;
COMMENT ON FUNCTION prm._usage_points() IS 'Statement trigger of usage_event: points for usage, once per event, day or ever, as the rule says.';
CREATE OR REPLACE TRIGGER prm_45_points AFTER INSERT ON prm.usage_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._usage_points();

CREATE OR REPLACE VIEW prm.v_points WITH (security_invoker = true) AS
  SELECT e.program_id, e.partner_id, p.name AS partner, coalesce(sum(e.points) FILTER (WHERE e.expires_at IS NULL OR e.expires_at > prm.now()), 0) AS points,
    coalesce(sum(e.points) FILTER (WHERE e.points > 0), 0) AS gained, coalesce(-sum(e.points) FILTER (WHERE e.points < 0), 0) AS taken_back,
    -- To the hour by the programme's clocks, which is asked only of what lies near: it would be a call for each entry.
    coalesce(sum(e.points) FILTER (WHERE e.at > prm.now() - interval '744 hours' AND e.at > prm._days_later(e.program_id, prm.now(), -30)), 0) AS points_30d, max(e.at) AS last_at,
    coalesce(sum(e.points) FILTER (WHERE e.expires_at <= prm.now()), 0) AS expired,
    coalesce(sum(e.points) FILTER (WHERE e.expires_at > prm.now() AND e.expires_at <= prm.now() + interval '744 hours' AND e.expires_at <= prm._days_later(e.program_id, prm.now(), 30)), 0) AS expiring_30d
  FROM prm.point_entry e JOIN prm.partner p ON p.program_id = e.program_id AND p.partner_id = e.partner_id
  WHERE e.at <= prm.now()
  GROUP BY e.program_id, e.partner_id, p.name;
COMMENT ON VIEW prm.v_points IS 'The points of each partner that has any.';
COMMENT ON COLUMN prm.v_points.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_points.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_points.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_points.points IS 'Balance, without what has lapsed.';
COMMENT ON COLUMN prm.v_points.gained IS 'Sum of what was gained.';
COMMENT ON COLUMN prm.v_points.taken_back IS 'Sum of what was taken back.';
COMMENT ON COLUMN prm.v_points.points_30d IS 'Balance of the last 30 days.';
COMMENT ON COLUMN prm.v_points.last_at IS 'The latest entry.';
COMMENT ON COLUMN prm.v_points.expired IS 'What has lapsed, less what was taken back or spent of it before.';
COMMENT ON COLUMN prm.v_points.expiring_30d IS 'What of the balance lapses within 30 days.';

CREATE OR REPLACE VIEW prm.v_mission WITH (security_invoker = true) AS
  SELECT r.program_id, r.partner_id, p.name AS partner, r.mission, m.label, r.state, r.started_at, r.ends_at, s.step, s.label AS step_label, s.position,
    coalesce(g.progress, 0) AS progress, s.goal, coalesce(g.progress, 0) >= s.goal AS is_reached, g.reached_at
  FROM prm.mission_run r
  JOIN prm.mission m ON m.program_id = r.program_id AND m.mission = r.mission
  JOIN prm.partner p ON p.program_id = r.program_id AND p.partner_id = r.partner_id
  JOIN prm.mission_step s ON s.program_id = r.program_id AND s.mission = r.mission
  LEFT JOIN prm.mission_progress g ON g.program_id = r.program_id AND g.partner_id = r.partner_id AND g.mission = r.mission AND g.step = s.step;
COMMENT ON VIEW prm.v_mission IS 'Partners in missions, a row for each step.';
COMMENT ON COLUMN prm.v_mission.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_mission.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_mission.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_mission.mission IS 'The mission.';
COMMENT ON COLUMN prm.v_mission.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_mission.state IS 'draft, submitted, approved, rejected, expired.';
COMMENT ON COLUMN prm.v_mission.started_at IS 'What counts begins here.';
COMMENT ON COLUMN prm.v_mission.ends_at IS 'And ends before this.';
COMMENT ON COLUMN prm.v_mission.step IS 'The step.';
COMMENT ON COLUMN prm.v_mission.step_label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_mission.position IS 'Its place in the order.';
COMMENT ON COLUMN prm.v_mission.progress IS 'The count so far, as of the last run of the job recognition.';
COMMENT ON COLUMN prm.v_mission.goal IS 'Reached at this count.';
COMMENT ON COLUMN prm.v_mission.is_reached IS 'Whether it is reached.';
COMMENT ON COLUMN prm.v_mission.reached_at IS 'When it was first seen to be.';

CREATE OR REPLACE VIEW prm.v_campaign WITH (security_invoker = true) AS
  SELECT c.program_id, c.campaign, c.label, c.starts_at, c.ends_at, c.starts_at <= prm.now() AS has_started, c.ends_at <= prm.now() AS has_ended,
    c.starts_at <= prm.now() AND c.ends_at > prm.now() AND c.is_active AS is_running,
    count(m.partner_id) AS members, count(*) FILTER (WHERE m.held_out) AS held_out, count(m.rewarded_at) AS rewarded
  FROM prm.campaign c LEFT JOIN prm.campaign_member m ON m.program_id = c.program_id AND m.campaign = c.campaign
  GROUP BY c.program_id, c.campaign;
COMMENT ON VIEW prm.v_campaign IS 'Campaigns and how they stand at prm.now(); the interval is [starts_at, ends_at).';
COMMENT ON COLUMN prm.v_campaign.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_campaign.campaign IS 'The campaign.';
COMMENT ON COLUMN prm.v_campaign.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_campaign.starts_at IS 'Its first moment.';
COMMENT ON COLUMN prm.v_campaign.ends_at IS 'The moment at which it is over.';
COMMENT ON COLUMN prm.v_campaign.has_started IS 'Whether starts_at has come.';
COMMENT ON COLUMN prm.v_campaign.has_ended IS 'Whether ends_at has come.';
COMMENT ON COLUMN prm.v_campaign.is_running IS 'Started, not ended, and active.';
COMMENT ON COLUMN prm.v_campaign.members IS 'Partners in it.';
COMMENT ON COLUMN prm.v_campaign.held_out IS 'Those of them without reward, to compare.';
COMMENT ON COLUMN prm.v_campaign.rewarded IS 'Those that were rewarded.';

CREATE OR REPLACE VIEW prm.v_campaign_roi WITH (security_invoker = true) AS
  SELECT r.program_id, r.campaign, r.treated, r.held_out, r.rewarded, r.is_final, round(r.treated_retained, 6) AS treated_retention, round(r.held_out_retained, 6) AS held_out_retention,
    round(r.treated_retained - r.held_out_retained, 6) AS retention_lift, round(r.treated_mean, 2) AS treated_revenue, round(r.held_out_mean, 2) AS held_out_revenue,
    round((r.treated_mean - r.held_out_mean) * r.treated, 2) AS extra_revenue, r.cost,
    round(((r.treated_mean - r.held_out_mean) * r.treated - r.cost) / nullif(r.cost, 0), 6) AS roi
  FROM (
    SELECT c.program_id, c.campaign, c.cost, f.until <= prm.now() AS is_final,
      count(*) FILTER (WHERE NOT m.held_out) AS treated, count(*) FILTER (WHERE m.held_out) AS held_out, count(m.rewarded_at) AS rewarded,
      CASE WHEN f.until <= prm.now() THEN avg(k.retained) FILTER (WHERE NOT m.held_out) END AS treated_retained,
      CASE WHEN f.until <= prm.now() THEN avg(k.retained) FILTER (WHERE m.held_out) END AS held_out_retained,
      avg(k.revenue) FILTER (WHERE NOT m.held_out) AS treated_mean, avg(k.revenue) FILTER (WHERE m.held_out) AS held_out_mean
    FROM prm.campaign c
    JOIN prm.program g ON g.program_id = c.program_id
    CROSS JOIN LATERAL (SELECT prm._days_later(c.program_id, c.ends_at, c.lag_days) AS since, prm._days_later(c.program_id, c.ends_at, c.lag_days + c.retained_days) AS until) f
    JOIN prm.campaign_member m ON m.program_id = c.program_id AND m.campaign = c.campaign
    CROSS JOIN LATERAL (
      SELECT CASE WHEN EXISTS (SELECT 1 FROM prm.usage_event u WHERE u.program_id = c.program_id AND u.partner_id = m.partner_id AND u.at >= f.since AND u.at < f.until)
          OR EXISTS (SELECT 1 FROM prm.earning_event e WHERE e.program_id = c.program_id AND e.partner_id = m.partner_id AND e.kind <> 'refunded' AND e.occurred_at >= f.since AND e.occurred_at < f.until)
          THEN 1::numeric ELSE 0 END AS retained,
        (SELECT coalesce(sum(e.amount), 0) FROM prm.earning_event e WHERE e.program_id = c.program_id AND e.partner_id = m.partner_id AND e.kind IN ('booked', 'refunded')
          AND e.currency = g.currency AND e.occurred_at >= c.starts_at AND e.occurred_at < f.until) AS revenue) k
    GROUP BY c.program_id, c.campaign, f.until) r;
COMMENT ON VIEW prm.v_campaign_roi IS 'What campaigns brought: the rewarded partners against the group that was held out, from the start to the end of the lagged window of retention.';
COMMENT ON COLUMN prm.v_campaign_roi.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_campaign_roi.campaign IS 'The campaign.';
COMMENT ON COLUMN prm.v_campaign_roi.treated IS 'Partners that could be rewarded.';
COMMENT ON COLUMN prm.v_campaign_roi.held_out IS 'Partners that were held out.';
COMMENT ON COLUMN prm.v_campaign_roi.rewarded IS 'Partners that were rewarded.';
COMMENT ON COLUMN prm.v_campaign_roi.is_final IS 'Whether the window of retention, [ends_at + lag_days, + retained_days), is over; retention is shown only then.';
COMMENT ON COLUMN prm.v_campaign_roi.treated_retention IS 'Part of the treated with usage or earning events in that window, 0 to 1.';
COMMENT ON COLUMN prm.v_campaign_roi.held_out_retention IS 'The same of those held out; NULL where nobody was.';
COMMENT ON COLUMN prm.v_campaign_roi.retention_lift IS 'The difference.';
COMMENT ON COLUMN prm.v_campaign_roi.treated_revenue IS 'Booked less refunded, per treated partner, in the programme''s currency, from starts_at to the end of the window.';
COMMENT ON COLUMN prm.v_campaign_roi.held_out_revenue IS 'The same per partner held out.';
COMMENT ON COLUMN prm.v_campaign_roi.extra_revenue IS 'The difference, times the treated: what the campaign seems to have brought.';
COMMENT ON COLUMN prm.v_campaign_roi.cost IS 'What it cost.';
COMMENT ON COLUMN prm.v_campaign_roi.roi IS '(extra_revenue - cost) / cost; NULL without a cost or a held-out group.';

CREATE OR REPLACE VIEW prm.v_badge WITH (security_invoker = true) AS
  SELECT a.program_id, a.partner_id, p.name AS partner, a.badge, b.label, a.awarded_at, a.reason
  FROM prm.badge_award a
  JOIN prm.badge b ON b.program_id = a.program_id AND b.badge = a.badge
  JOIN prm.partner p ON p.program_id = a.program_id AND p.partner_id = a.partner_id;
COMMENT ON VIEW prm.v_badge IS 'Who has which badge.';
COMMENT ON COLUMN prm.v_badge.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_badge.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_badge.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_badge.badge IS 'The badge.';
COMMENT ON COLUMN prm.v_badge.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_badge.awarded_at IS 'Since when.';
COMMENT ON COLUMN prm.v_badge.reason IS 'What for.';

CREATE OR REPLACE VIEW prm.v_streak WITH (security_invoker = true) AS
  SELECT s.program_id, s.partner_id, p.name AS partner, s.streak, r.label, s.days, s.longest, s.freezes, s.state, s.through_on
  FROM prm.streak s
  JOIN prm.streak_rule r ON r.program_id = s.program_id AND r.streak = s.streak
  JOIN prm.partner p ON p.program_id = s.program_id AND p.partner_id = s.partner_id;
COMMENT ON VIEW prm.v_streak IS 'How many days in a row partners did something, a row for each partner and streak.';
COMMENT ON COLUMN prm.v_streak.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_streak.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_streak.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_streak.streak IS 'The streak.';
COMMENT ON COLUMN prm.v_streak.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_streak.days IS 'Days so far; 0: it is broken.';
COMMENT ON COLUMN prm.v_streak.longest IS 'The longest there was.';
COMMENT ON COLUMN prm.v_streak.freezes IS 'Days that may still be missed.';
COMMENT ON COLUMN prm.v_streak.state IS 'active or broken.';
COMMENT ON COLUMN prm.v_streak.through_on IS 'The last day that was counted.';
