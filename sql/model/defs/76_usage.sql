
-- Usage: comments and the views of activation and adoption.

COMMENT ON TABLE prm.usage_activity IS 'What people can do in the portal: the activities that usage_ingest() takes.';
COMMENT ON COLUMN prm.usage_activity.activity IS 'The activity.';
COMMENT ON COLUMN prm.usage_activity.label IS 'Name for people.';
COMMENT ON COLUMN prm.usage_activity.kind IS 'login, content (material that is opened), other.';
COMMENT ON COLUMN prm.usage_activity.is_key IS 'Whether it is a key activity: one that shows real use.';
COMMENT ON COLUMN prm.usage_activity.weight IS 'How much it counts in the adoption score.';

COMMENT ON TABLE prm.usage_event IS 'What was done in the portal, by usage_ingest().';
COMMENT ON COLUMN prm.usage_event.usage_event_id IS 'Number of the event.';
COMMENT ON COLUMN prm.usage_event.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.usage_event.partner_user_id IS 'Who of the partner.';
COMMENT ON COLUMN prm.usage_event.activity IS 'What was done.';
COMMENT ON COLUMN prm.usage_event.content IS 'With which material or page.';
COMMENT ON COLUMN prm.usage_event.seconds IS 'How long.';
COMMENT ON COLUMN prm.usage_event.at IS 'When.';

COMMENT ON TABLE prm.adoption_policy IS 'The bounds of adoption; a programme without a row has the defaults.';
COMMENT ON COLUMN prm.adoption_policy.policy IS 'standard.';
COMMENT ON COLUMN prm.adoption_policy.window_days IS 'What counts is the last so many days, compared with as many before.';
COMMENT ON COLUMN prm.adoption_policy.activation_days IS 'A partner has so many days after joining for its first login and key activity.';
COMMENT ON COLUMN prm.adoption_policy.adopter_days IS 'An adopter is active on at least so many days of the window ...';
COMMENT ON COLUMN prm.adoption_policy.adopter_key_events IS '... with at least so many key activities.';
COMMENT ON COLUMN prm.adoption_policy.drop_percent IS 'A fall of events by this much is a drop.';
COMMENT ON COLUMN prm.adoption_policy.drop_min_events IS 'Only where there were at least so many events before.';
COMMENT ON COLUMN prm.adoption_policy.rescue_to IS 'For whom the rescue tasks are: owner (the vendor''s people, with the reasons and suggestions) or partner (its people, told only that activity fell).';
COMMENT ON COLUMN prm.adoption_policy.rescue_role IS 'The database role whose members do the rescue tasks; NULL: anybody.';
COMMENT ON COLUMN prm.adoption_policy.rescue_due IS 'When they are due.';

COMMENT ON TABLE prm.usage_drop IS 'Drops of usage that were noticed; each has one rescue task.';
COMMENT ON COLUMN prm.usage_drop.usage_drop_id IS 'Number of the drop; its task has the cause_key drop/NUMBER.';
COMMENT ON COLUMN prm.usage_drop.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.usage_drop.detected_on IS 'When it was noticed.';
COMMENT ON COLUMN prm.usage_drop.before IS 'Events in the window before.';
COMMENT ON COLUMN prm.usage_drop.after IS 'Events in the window.';
COMMENT ON COLUMN prm.usage_drop.reasons IS 'What was known of why, see v_adoption.';
COMMENT ON COLUMN prm.usage_drop.suggestion IS 'What may win it back, as the task says.';
COMMENT ON COLUMN prm.usage_drop.recovered_on IS 'When usage was back; NULL: not yet. Only then a further drop is one of its own.';

CREATE OR REPLACE VIEW prm.v_activation WITH (security_invoker = true) AS
  SELECT p.program_id, p.partner_id, p.name AS partner, s.started_at, s.until, u.first_login_at, u.first_key_at, coalesce(u.logins, 0) AS logins, coalesce(u.key_events, 0) AS key_events,
    round((extract(epoch FROM u.first_login_at - s.started_at) / 3600)::numeric, 2) AS hours_to_login,
    coalesce(u.logins > 0 AND u.key_events > 0, false) AS is_activated, s.until <= prm.now() AS is_over,
    w.first_win_at, round((extract(epoch FROM w.first_win_at - s.started_at) / 86400)::numeric, 2) AS days_to_first_win
  FROM prm.partner p
  JOIN prm.program g ON g.program_id = p.program_id
  LEFT JOIN prm.adoption_policy y ON y.program_id = p.program_id
  CROSS JOIN LATERAL (SELECT coalesce(p.joined_on::timestamp AT TIME ZONE g.time_zone, p.created_at) AS started_at,
    prm._days_later(p.program_id, coalesce(p.joined_on::timestamp AT TIME ZONE g.time_zone, p.created_at), coalesce(y.activation_days, 7)) AS until) s
  LEFT JOIN LATERAL (
    SELECT min(e.at) FILTER (WHERE a.kind = 'login') AS first_login_at, min(e.at) FILTER (WHERE a.is_key) AS first_key_at,
      count(*) FILTER (WHERE a.kind = 'login') AS logins, count(*) FILTER (WHERE a.is_key) AS key_events
    FROM prm.usage_event e JOIN prm.usage_activity a ON a.program_id = p.program_id AND a.activity = e.activity
    WHERE e.program_id = p.program_id AND e.partner_id = p.partner_id AND e.at >= s.started_at AND e.at < s.until AND e.at <= prm.now()) u ON true
  LEFT JOIN LATERAL (
    SELECT min(d.closed_at) AS first_win_at FROM prm.deal d
    WHERE d.program_id = p.program_id AND d.partner_id = p.partner_id AND d.closed_at <= prm.now()
      AND EXISTS (SELECT 1 FROM prm.machine_state m WHERE m.program_id = p.program_id AND m.machine = 'deal' AND m.state = d.state AND m.category = 'won')) w ON true
  WHERE prm._is_live_partner(p.state);
COMMENT ON VIEW prm.v_activation IS 'Whether partners came and did something in their first days (adoption_policy.activation_days, 7 by default).';
COMMENT ON COLUMN prm.v_activation.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_activation.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_activation.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_activation.started_at IS 'When it joined.';
COMMENT ON COLUMN prm.v_activation.until IS 'The end of its first days.';
COMMENT ON COLUMN prm.v_activation.first_login_at IS 'Its first login in them.';
COMMENT ON COLUMN prm.v_activation.first_key_at IS 'Its first key activity in them.';
COMMENT ON COLUMN prm.v_activation.logins IS 'Logins in them.';
COMMENT ON COLUMN prm.v_activation.key_events IS 'Key activities in them.';
COMMENT ON COLUMN prm.v_activation.hours_to_login IS 'Hours from joining to the first login.';
COMMENT ON COLUMN prm.v_activation.is_activated IS 'Whether there was a login and a key activity.';
COMMENT ON COLUMN prm.v_activation.is_over IS 'Whether the first days are over.';
COMMENT ON COLUMN prm.v_activation.first_win_at IS 'When it won its first deal, also after its first days; empty: not yet.';
COMMENT ON COLUMN prm.v_activation.days_to_first_win IS 'Days from joining to that: how long it took until the programme was worth something to it.';

CREATE OR REPLACE VIEW prm.v_adoption WITH (security_invoker = true) AS
  SELECT g.program_id, a.partner_id, a.partner, a.class, a.score, a.reasons, a.logins, a.active_days, a.key_events, a.events, a.events_before, a.drop_percent, a.has_dropped, a.last_at, a.unanswered
  FROM prm.program g
  CROSS JOIN LATERAL prm._adoption(g.program_id, NULL, prm.now()) a;
COMMENT ON VIEW prm.v_adoption IS 'How partners adopt the portal, at prm.now(), over the window of the adoption policy (30 days by default).';
COMMENT ON COLUMN prm.v_adoption.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_adoption.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_adoption.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_adoption.class IS 'adopter (active on enough days, with enough key activities), resistant (joined long enough ago, and nothing in the window), ambivalent (all others).';
COMMENT ON COLUMN prm.v_adoption.score IS '0 to 100: half for active days, half for key activities, by weight.';
COMMENT ON COLUMN prm.v_adoption.reasons IS 'What speaks against it, in words; also attributes.resistance_reason of the partner, where it said so.';
COMMENT ON COLUMN prm.v_adoption.logins IS 'Logins in the window.';
COMMENT ON COLUMN prm.v_adoption.active_days IS 'Days with any activity in it.';
COMMENT ON COLUMN prm.v_adoption.key_events IS 'Key activities in it.';
COMMENT ON COLUMN prm.v_adoption.events IS 'All events in it.';
COMMENT ON COLUMN prm.v_adoption.events_before IS 'Events in as many days before.';
COMMENT ON COLUMN prm.v_adoption.drop_percent IS 'By how much events fell, in percent; negative: rose; NULL: there were none before.';
COMMENT ON COLUMN prm.v_adoption.has_dropped IS 'Whether that is a drop by the policy.';
COMMENT ON COLUMN prm.v_adoption.last_at IS 'The last event ever.';
COMMENT ON COLUMN prm.v_adoption.unanswered IS 'Surveys its people were asked in the window and did not answer.';

CREATE OR REPLACE VIEW prm.v_usage_drop WITH (security_invoker = true) AS
  SELECT d.program_id, d.usage_drop_id, d.partner_id, p.name AS partner, d.detected_on, d.before, d.after, round(100 * (1 - d.after::numeric / d.before), 2) AS drop_percent, d.reasons, d.suggestion,
    k.task_id, k.state AS task_state, k.done_by, k.done_at, d.recovered_on, d.recovered_on - d.detected_on AS days_to_recover, d.recovered_on IS NULL AS is_open
  FROM prm.usage_drop d
  JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = d.partner_id
  LEFT JOIN prm.task k ON k.program_id = d.program_id AND k.cause_key = format('drop/%s', d.usage_drop_id);
COMMENT ON VIEW prm.v_usage_drop IS 'Drops of usage, what was suggested against each, and whether it helped.';
COMMENT ON COLUMN prm.v_usage_drop.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_usage_drop.usage_drop_id IS 'Number of the drop.';
COMMENT ON COLUMN prm.v_usage_drop.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_usage_drop.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_usage_drop.detected_on IS 'The day on which it was noticed.';
COMMENT ON COLUMN prm.v_usage_drop.before IS 'Events in the window before.';
COMMENT ON COLUMN prm.v_usage_drop.after IS 'Events in the window after it.';
COMMENT ON COLUMN prm.v_usage_drop.drop_percent IS 'By how much they fell, in percent.';
COMMENT ON COLUMN prm.v_usage_drop.reasons IS 'What was known of why, in words.';
COMMENT ON COLUMN prm.v_usage_drop.suggestion IS 'What was suggested.';
COMMENT ON COLUMN prm.v_usage_drop.task_id IS 'The rescue task, for complete_task().';
COMMENT ON COLUMN prm.v_usage_drop.task_state IS 'open or done.';
COMMENT ON COLUMN prm.v_usage_drop.done_by IS 'Who did it.';
COMMENT ON COLUMN prm.v_usage_drop.done_at IS 'When it was done.';
COMMENT ON COLUMN prm.v_usage_drop.recovered_on IS 'The day on which the usage was seen to be back; empty: not yet.';
COMMENT ON COLUMN prm.v_usage_drop.days_to_recover IS 'Days from one to the other.';
COMMENT ON COLUMN prm.v_usage_drop.is_open IS 'Whether it has not recovered yet.';
