
-- Usage: what partners' people do in the portal, and what it says of how they adopt it.

CREATE TYPE prm.usage_ingest_row AS (item integer, outcome text, usage_event_id bigint, message text);
COMMENT ON TYPE prm.usage_ingest_row IS 'A row of usage_ingest(): place in the batch (from 1), inserted, unchanged (it is there already) or rejected, the number of the event, and why it was rejected.';
CREATE TYPE prm.usage_item AS (item integer, external_ref text, partner_id bigint, partner_user_id bigint, activity text, content text, seconds numeric, moment timestamptz, attributes jsonb, fault text);
COMMENT ON TYPE prm.usage_item IS 'An item of a batch of usage, as usage_ingest() understood it.';
CREATE TYPE prm.adoption_row AS (partner_id bigint, partner text, logins bigint, active_days bigint, key_events bigint, events bigint, events_before bigint, drop_percent numeric,
  has_dropped boolean, last_at timestamptz, unanswered bigint, score numeric, class text, reasons text[]);
COMMENT ON TYPE prm.adoption_row IS 'How a partner adopts the portal, see the view v_adoption.';

CREATE FUNCTION prm._usage_moment(moment text, zone_name text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Looked at before it is read, so that a bad one rejects its item and not the batch.
  IF _usage_moment.moment !~ '^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?$'
     OR to_char(to_date(left(_usage_moment.moment, 8) || '01', 'YYYY-MM-DD') + substr(_usage_moment.moment, 9, 2)::integer - 1, 'YYYY-MM-DD') <> left(_usage_moment.moment, 10) THEN
    RETURN NULL;
  ELSIF _usage_moment.moment ~ '(Z|[+-][0-9:]+)$' AND substr(_usage_moment.moment, 11) ~ '[Z+-]' THEN
    RETURN _usage_moment.moment::timestamptz;
  END IF;
  RETURN _usage_moment.moment::timestamp AT TIME ZONE _usage_moment.zone_name;
END
$prm$;
COMMENT ON FUNCTION prm._usage_moment(text, text) IS 'A moment in ISO 8601, where it has no offset in the zone given; NULL for anything else.';

CREATE FUNCTION prm.usage_ingest(batch jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.usage_ingest_row
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(usage_ingest.program_id);
  the_zone text := prm._program_time_zone(the_program);
  the_items prm.usage_item[];
  the_new bigint[];
BEGIN
  IF usage_ingest.batch IS NULL OR jsonb_typeof(usage_ingest.batch) <> 'array' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a batch of usage is a JSON array',
      DETAIL = format('It is %s.', coalesce(jsonb_typeof(usage_ingest.batch), 'NULL')),
      HINT = 'Give [{"external_ref": "e1", "partner_id": 1, "activity": "login", "at": "2026-06-01T09:00:00Z"}, ...].';
  END IF;
  -- What is named is looked up by key, item by item; then what was judged is written, and then read again by key.
  SELECT array_agg(ROW(i.item, i.external_ref, i.partner_id, i.partner_user_id, i.activity, i.content, i.seconds, i.moment, i.attributes, CASE
      WHEN NOT i.is_object THEN 'it is no JSON object'
      WHEN i.stray IS NOT NULL THEN format('there is no field "%s"', i.stray)
      WHEN coalesce(btrim(i.external_ref), '') = '' THEN 'external_ref is missing: without it a batch could not be sent again'
      WHEN i.partner_id IS NULL THEN 'there is no such partner'
      WHEN i.two_partners THEN 'partner_id and partner_ref name different partners'
      WHEN i.person IS NOT NULL AND i.partner_user_id IS NULL THEN 'there is no such person'
      WHEN i.two_people THEN 'partner_user_id and partner_user_ref name different people'
      WHEN i.partner_user_id IS NOT NULL AND i.user_partner <> i.partner_id THEN 'the person is not of this partner'
      WHEN i.known_activity IS NULL THEN format('activity "%s" is not in prm.usage_activity', coalesce(i.activity, ''))
      WHEN i.moment IS NULL THEN 'at is no moment in ISO 8601'
      WHEN i.moment > prm.now() + interval '1 day' THEN 'at lies in the future'
      WHEN i.seconds_text IS NOT NULL AND i.seconds IS NULL THEN 'seconds is no number of zero or more'
      WHEN jsonb_typeof(i.attributes) <> 'object' THEN 'attributes is no JSON object' END)::prm.usage_item ORDER BY i.item) INTO the_items
    FROM (
      SELECT k.item, k.external_ref, k.activity, k.content, k.seconds, k.seconds_text, k.moment, k.person, k.attributes, k.is_object, k.stray, u.partner_user_id, u.partner_id AS user_partner,
        coalesce(p.partner_id, CASE WHEN NOT k.names_partner THEN u.partner_id END) AS partner_id,
        k.id_given AND k.partner_ref IS NOT NULL AND (k.partner_number IS DISTINCT FROM p.partner_id OR k.partner_ref IS DISTINCT FROM p.external_ref) AS two_partners,
        k.user_given AND k.user_ref IS NOT NULL AND (k.user_number IS DISTINCT FROM u.partner_user_id OR k.user_ref IS DISTINCT FROM u.external_ref) AS two_people,
        (SELECT a.activity FROM prm.usage_activity a WHERE a.program_id = the_program AND a.activity = k.activity) AS known_activity
      FROM (
        SELECT b.place::integer AS item, b.entry ->> 'external_ref' AS external_ref, b.entry ->> 'activity' AS activity, b.entry ->> 'content' AS content,
          CASE WHEN b.entry ->> 'seconds' ~ '^[0-9]{1,9}([.][0-9]{1,9})?$' THEN (b.entry ->> 'seconds')::numeric END AS seconds, b.entry ->> 'seconds' AS seconds_text,
          prm._usage_moment(b.entry ->> 'at', the_zone) AS moment, coalesce(b.entry ->> 'partner_user_id', b.entry ->> 'partner_user_ref') AS person,
          CASE WHEN b.entry ->> 'partner_id' ~ '^[0-9]{1,18}$' THEN (b.entry ->> 'partner_id')::bigint END AS partner_number, b.entry ->> 'partner_ref' AS partner_ref,
          CASE WHEN b.entry ->> 'partner_user_id' ~ '^[0-9]{1,18}$' THEN (b.entry ->> 'partner_user_id')::bigint END AS user_number, b.entry ->> 'partner_user_ref' AS user_ref,
          coalesce(b.entry ->> 'partner_id', b.entry ->> 'partner_ref') IS NOT NULL AS names_partner, b.entry ->> 'partner_id' IS NOT NULL AS id_given, b.entry ->> 'partner_user_id' IS NOT NULL AS user_given,
          coalesce(b.entry -> 'attributes', '{}') AS attributes, jsonb_typeof(b.entry) = 'object' AS is_object,
          (SELECT k.name FROM jsonb_object_keys(CASE WHEN jsonb_typeof(b.entry) = 'object' THEN b.entry ELSE '{}' END) AS k(name)
            WHERE k.name NOT IN ('external_ref', 'partner_id', 'partner_ref', 'partner_user_id', 'partner_user_ref', 'activity', 'content', 'seconds', 'at', 'attributes') ORDER BY 1 LIMIT 1) AS stray
        FROM jsonb_array_elements(usage_ingest.batch) WITH ORDINALITY AS b(entry, place) OFFSET 0) k
      LEFT JOIN LATERAL (
        SELECT o.partner_user_id, o.partner_id, o.external_ref FROM prm.partner_user o WHERE o.program_id = the_program AND o.partner_user_id = k.user_number
        UNION ALL
        SELECT o.partner_user_id, o.partner_id, o.external_ref FROM prm.partner_user o WHERE o.program_id = the_program AND o.external_ref = k.user_ref AND k.user_number IS NULL OFFSET 0) u ON true
      LEFT JOIN LATERAL (
        SELECT o.partner_id, o.external_ref FROM prm.partner o WHERE o.program_id = the_program AND o.partner_id = k.partner_number
        UNION ALL
        SELECT o.partner_id, o.external_ref FROM prm.partner o WHERE o.program_id = the_program AND o.external_ref = k.partner_ref AND k.partner_number IS NULL OFFSET 0) p ON true) i;
  WITH written AS (
    INSERT INTO prm.usage_event (program_id, partner_id, partner_user_id, activity, content, seconds, at, external_ref, attributes)
      SELECT the_program, f.partner_id, f.partner_user_id, f.activity, f.content, f.seconds, f.moment, f.external_ref, f.attributes
      FROM (SELECT DISTINCT ON (j.external_ref) j.* FROM unnest(the_items) j WHERE j.fault IS NULL ORDER BY j.external_ref, j.item) f ORDER BY f.external_ref
      ON CONFLICT (program_id, external_ref) DO NOTHING RETURNING usage_event_id)
  SELECT array_agg(w.usage_event_id) INTO the_new FROM written w;
  RETURN QUERY
    SELECT j.item, CASE WHEN j.fault IS NOT NULL THEN 'rejected' WHEN n.usage_event_id IS NOT NULL AND j.item = j.first_item THEN 'inserted' ELSE 'unchanged' END, e.usage_event_id, j.fault
    FROM (SELECT k.item, k.fault, k.external_ref, min(k.item) FILTER (WHERE k.fault IS NULL) OVER (PARTITION BY k.external_ref) AS first_item FROM unnest(the_items) k) j
    LEFT JOIN LATERAL (SELECT o.usage_event_id FROM prm.usage_event o WHERE o.program_id = the_program AND o.external_ref = j.external_ref AND j.fault IS NULL OFFSET 0) e ON true
    LEFT JOIN unnest(the_new) AS n(usage_event_id) ON n.usage_event_id = e.usage_event_id
    ORDER BY j.item;
END
$prm$;
COMMENT ON FUNCTION prm.usage_ingest(jsonb, bigint) IS
'Takes a batch of usage, a JSON array of {external_ref, partner_id or partner_ref, partner_user_id or partner_user_ref, activity, at, content, seconds, attributes}; the partner may be left out where the person is given. Each external_ref is taken once, however often it is sent. Returns a row for each item: inserted, unchanged or rejected with the reason; a bad item does not stop the others. Error 22023 where the batch is no array.';

CREATE FUNCTION prm._adoption(program_id bigint, partner_ids bigint[], moment timestamptz) RETURNS SETOF prm.adoption_row
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_adoption.program_id);
  the_since timestamptz;
  the_before timestamptz;
  policy record;
BEGIN
  -- The row of the programme, or the defaults.
  SELECT coalesce(min(a.window_days), 30) AS window_days, coalesce(min(a.activation_days), 7) AS activation_days, coalesce(min(a.adopter_days), 4) AS adopter_days,
      coalesce(min(a.adopter_key_events), 4) AS adopter_key_events, coalesce(min(a.drop_percent), 50) AS drop_percent, coalesce(min(a.drop_min_events), 5) AS drop_min_events
    INTO policy FROM prm.adoption_policy a WHERE a.program_id = _adoption.program_id;
  the_since := prm._days_later(_adoption.program_id, _adoption.moment, -policy.window_days);
  the_before := prm._days_later(_adoption.program_id, _adoption.moment, -2 * policy.window_days);
  RETURN QUERY
    SELECT s.partner_id, s.name, s.logins, s.active_days, s.key_events, s.events, s.events_before, s.fall, s.has_dropped, s.last_at, s.unanswered,
      round(50 * least(s.active_days::numeric / policy.adopter_days, 1) + 50 * least(s.weighted / greatest(policy.adopter_key_events, 1), 1), 2),
      CASE WHEN s.active_days >= policy.adopter_days AND s.key_events >= policy.adopter_key_events THEN 'adopter'
        WHEN s.events = 0 AND s.is_settled THEN 'resistant' ELSE 'ambivalent' END,
      array_remove(ARRAY[
        CASE WHEN s.last_at IS NULL THEN 'never used the portal' END,
        CASE WHEN s.events = 0 AND s.last_at IS NOT NULL THEN format('no activity for %s days', floor(extract(epoch FROM _adoption.moment - s.last_at) / 86400)) END,
        CASE WHEN s.has_dropped THEN format('activity fell by %s %%', round(s.fall)) END,
        CASE WHEN s.events > 0 AND s.key_events < policy.adopter_key_events THEN format('%s key activities', s.key_events) END,
        CASE WHEN s.events > 0 AND s.active_days < policy.adopter_days THEN format('active on %s days', s.active_days) END,
        CASE WHEN s.unanswered > 0 THEN format('%s surveys not answered', s.unanswered) END,
        CASE WHEN s.said IS NOT NULL THEN 'said: ' || s.said END], NULL)
    FROM (
      SELECT p.partner_id, p.name, coalesce(u.logins, 0) AS logins, coalesce(u.active_days, 0) AS active_days, coalesce(u.key_events, 0) AS key_events, coalesce(u.weighted, 0) AS weighted,
        coalesce(u.events, 0) AS events, coalesce(u.events_before, 0) AS events_before,
        CASE WHEN u.events_before > 0 THEN round(100 * (1 - u.events::numeric / u.events_before), 4) END AS fall,
        coalesce(u.events_before >= policy.drop_min_events AND u.events <= u.events_before * (1 - policy.drop_percent / 100), false) AS has_dropped,
        l.last_at, n.unanswered, nullif(btrim(p.attributes ->> 'resistance_reason'), '') AS said,
        prm._days_later(_adoption.program_id, coalesce(p.joined_on::timestamp AT TIME ZONE the_zone, p.created_at), policy.activation_days) <= _adoption.moment AS is_settled
      FROM prm.partner p
      -- Partner by partner from the index: linear whatever the planner knows of the tables.
      CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.at > w.since) AS events, count(*) FILTER (WHERE e.at <= w.since) AS events_before,
          count(*) FILTER (WHERE e.at > w.since AND a.kind = 'login') AS logins, count(*) FILTER (WHERE e.at > w.since AND a.is_key) AS key_events,
          coalesce(sum(a.weight) FILTER (WHERE e.at > w.since AND a.is_key), 0) AS weighted, count(DISTINCT (e.at AT TIME ZONE the_zone)::date) FILTER (WHERE e.at > w.since) AS active_days
        FROM (SELECT the_since AS since, the_before AS before) w
        CROSS JOIN LATERAL (SELECT x.at, x.activity FROM prm.usage_event x
          WHERE x.program_id = _adoption.program_id AND x.partner_id = p.partner_id AND x.at > w.before AND x.at <= _adoption.moment OFFSET 0) e
        JOIN prm.usage_activity a ON a.program_id = _adoption.program_id AND a.activity = e.activity) u
      LEFT JOIN LATERAL (SELECT e.at AS last_at FROM prm.usage_event e WHERE e.program_id = _adoption.program_id AND e.partner_id = p.partner_id AND e.at <= _adoption.moment
        ORDER BY e.at DESC LIMIT 1) l ON true
      CROSS JOIN LATERAL (SELECT count(*) AS unanswered FROM prm.survey_ask k WHERE k.program_id = _adoption.program_id AND k.partner_id = p.partner_id AND k.partner_user_id IS NOT NULL
        AND k.asked_at > the_since AND k.asked_at <= _adoption.moment
        AND NOT EXISTS (SELECT 1 FROM prm.survey_response r WHERE r.program_id = _adoption.program_id AND r.survey_ask_id = k.survey_ask_id)) n
      WHERE p.program_id = _adoption.program_id AND prm._is_live_partner(p.state) AND (_adoption.partner_ids IS NULL OR p.partner_id = ANY (_adoption.partner_ids))) s;
END
$prm$;
COMMENT ON FUNCTION prm._adoption(bigint, bigint[], timestamptz) IS 'How partners (NULL: all) adopt the portal at a moment, with class and reasons, in one pass.';

CREATE FUNCTION prm._work_usage(program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_work_usage.program_id))::date;
  the_rows prm.adoption_row[];
  the_recovered bigint;
  the_count bigint;
BEGIN
  SELECT array_agg(a) INTO the_rows FROM prm._adoption(_work_usage.program_id, NULL, prm.now()) a;
  UPDATE prm.usage_drop d SET recovered_on = greatest(the_today, d.detected_on)
    FROM unnest(the_rows) a
    WHERE d.program_id = _work_usage.program_id AND d.recovered_on IS NULL AND a.partner_id = d.partner_id AND a.events > d.before * (1 - coalesce((SELECT y.drop_percent FROM prm.adoption_policy y WHERE y.program_id = _work_usage.program_id), 50) / 100);
  GET DIAGNOSTICS the_recovered = ROW_COUNT;
  WITH fallen AS (
    INSERT INTO prm.usage_drop (program_id, partner_id, detected_on, before, after, reasons, suggestion)
      SELECT _work_usage.program_id, a.partner_id, the_today, a.events_before, a.events, a.reasons, concat_ws(', ',
        CASE WHEN a.events = 0 THEN 'call them and ask what keeps them away' ELSE 'send what is new since they were last here' END,
        CASE WHEN a.key_events = 0 THEN 'show the key activities in a short demo' ELSE 'look whether the incentives still fit' END,
        CASE WHEN a.unanswered > 0 THEN 'try another channel' END)
      FROM unnest(the_rows) a WHERE a.has_dropped ORDER BY a.partner_id
      ON CONFLICT (program_id, partner_id) WHERE recovered_on IS NULL DO NOTHING
      RETURNING usage_drop_id, partner_id, before, after, reasons, suggestion)
  INSERT INTO prm.task (program_id, role_name, title, detail, machine, subject_id, partner_id, cause_key, created_by, created_at, due_at)
    -- What the partner reads is not what was thought of it.
    SELECT _work_usage.program_id, y.rescue_role, CASE WHEN y.rescue_to = 'partner' THEN format('Use the portal again: activity fell from %s to %s', f.before, f.after)
        ELSE format('Win back %s: activity fell from %s to %s', p.name, f.before, f.after) END,
      CASE WHEN y.rescue_to IS DISTINCT FROM 'partner' THEN format('%s. Suggested: %s.', array_to_string(f.reasons, ', '), f.suggestion) END, 'partner', f.partner_id,
      CASE WHEN y.rescue_to = 'partner' THEN f.partner_id END, format('drop/%s', f.usage_drop_id), prm.current_actor(), prm.now(),
      prm.now() + coalesce(y.rescue_due, interval '3 days')
    FROM fallen f
    CROSS JOIN LATERAL (SELECT o.name FROM prm.partner o WHERE o.program_id = _work_usage.program_id AND o.partner_id = f.partner_id OFFSET 0) p
    LEFT JOIN prm.adoption_policy y ON y.program_id = _work_usage.program_id
    ORDER BY f.usage_drop_id
    ON CONFLICT (program_id, cause_key) DO NOTHING;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_recovered + the_count;
END
$prm$;
COMMENT ON FUNCTION prm._work_usage(bigint) IS 'The job usage: ends the drops of usage that were made good, notices new ones, and opens one rescue task for each, with suggestions. Returns how many began or ended.';
