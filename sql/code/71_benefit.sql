
-- Benefits: what tiers, certifications and segments give, and what a partner is entitled to.

CREATE TYPE prm.benefit_due AS (partner_id bigint, benefit text, kind text, ladder text, tier text, certification text, segment text, value text, since timestamptz, until timestamptz);
COMMENT ON TYPE prm.benefit_due IS
'A benefit that a partner has by its tier, by the certificates of its people or by a segment; since NULL: now, else what it will have from that moment on, when a cap ends; until NULL: without end; internal.';

CREATE FUNCTION prm._benefits_due(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.benefit_due
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_benefits_due.program_id);
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_benefits_due.program_id))::date;
  the_ids bigint[];
BEGIN
  IF cardinality(_benefits_due.partner_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  -- Who has left, or was never let in, has nothing.
  the_ids := ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _benefits_due.program_id AND p.partner_id = ANY (_benefits_due.partner_ids)
    AND NOT p.state = ANY ((SELECT prm._partner_final_states(_benefits_due.program_id))::text[]));
  -- What counts is the lower of the tier held and the cap; what is held counts again from the end of the cap on.
  RETURN QUERY
    SELECT e.partner_id, b.benefit, b.kind, e.ladder, w.tier, NULL::text, NULL::text, b.value, w.since, least(w.until, upper(b.valid)::timestamp AT TIME ZONE the_zone)
    FROM prm.enrolment e
    LEFT JOIN prm.tier h ON h.program_id = _benefits_due.program_id AND h.ladder = e.ladder AND h.tier = e.tier AND e.cap_tier IS NOT NULL
    LEFT JOIN prm.tier c ON c.program_id = _benefits_due.program_id AND c.ladder = e.ladder AND c.tier = e.cap_tier AND c.rank < h.rank AND (e.cap_until IS NULL OR e.cap_until > the_now)
    CROSS JOIN LATERAL (
      SELECT coalesce(c.tier, e.tier) AS tier, NULL::timestamptz AS since, CASE WHEN c.tier IS NOT NULL THEN nullif(e.cap_until, 'infinity') END AS until
      UNION ALL
      SELECT e.tier, e.cap_until, NULL WHERE c.tier IS NOT NULL AND isfinite(e.cap_until)) w
    JOIN prm.benefit b ON b.program_id = _benefits_due.program_id AND b.ladder = e.ladder AND b.tier = w.tier
      AND b.valid @> CASE WHEN w.since IS NULL THEN the_today ELSE (w.since AT TIME ZONE the_zone)::date END
    WHERE e.program_id = _benefits_due.program_id AND e.partner_id = ANY (the_ids);
  IF EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _benefits_due.program_id AND b.segment IS NOT NULL) THEN
    RETURN QUERY
      SELECT m.partner_id, b.benefit, b.kind, NULL::text, NULL::text, NULL::text, b.segment, b.value, NULL::timestamptz, least(upper(m.valid), upper(b.valid)::timestamp AT TIME ZONE the_zone)
      FROM prm.segment_member m
      JOIN prm.benefit b ON b.program_id = _benefits_due.program_id AND b.segment = m.segment AND b.valid @> the_today
      WHERE m.program_id = _benefits_due.program_id AND m.partner_id = ANY (the_ids) AND m.valid @> the_now;
  END IF;
  IF NOT EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _benefits_due.program_id AND b.certification IS NOT NULL) THEN
    RETURN;
  END IF;
  RETURN QUERY
    WITH people AS (
      SELECT u.partner_id, c.certification, max(coalesce(c.valid_until, 'infinity')) AS until
      FROM prm.partner_user u
      JOIN prm.certificate c ON c.program_id = _benefits_due.program_id AND c.partner_user_id = u.partner_user_id
      WHERE u.program_id = _benefits_due.program_id AND u.partner_id = ANY (the_ids) AND u.is_active
        AND c.issued_on <= the_today AND (c.valid_until IS NULL OR c.valid_until >= the_today)
      GROUP BY u.partner_id, u.partner_user_id, c.certification),
    ranked AS (
      SELECT p.partner_id, p.certification, p.until, row_number() OVER (PARTITION BY p.partner_id, p.certification ORDER BY p.until DESC) AS place FROM people p)
    -- It lasts as long as enough people are certified: the last that is needed ends it.
    SELECT r.partner_id, b.benefit, b.kind, NULL::text, NULL::text, b.certification, NULL::text, b.value, NULL::timestamptz,
      least(upper(b.valid)::timestamp AT TIME ZONE the_zone, CASE WHEN isfinite(r.until) THEN (r.until + 1)::timestamp AT TIME ZONE the_zone END)
    FROM prm.benefit b
    JOIN ranked r ON r.certification = b.certification AND r.place = b.min_people
    WHERE b.program_id = _benefits_due.program_id AND b.certification IS NOT NULL AND b.valid @> the_today;
END
$prm$;
COMMENT ON FUNCTION prm._benefits_due(bigint, bigint[]) IS
'What the partners are to have now, by the tiers that count for them (the lower of held and cap), by the certificates of their people and by the segments they are in; and what they will have when a cap ends. Nothing for whoever has left.';

CREATE FUNCTION prm._sync_benefits(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan SET enable_nestloop = on AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_due prm.benefit_due[];
  the_gone bigint[];
BEGIN
  IF cardinality(_sync_benefits.partner_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  ELSIF cardinality(_sync_benefits.partner_ids) > 200 THEN
    -- Without statistics every table seems to hold one row of the programme, and a loop over two of them grows with the square.
    PERFORM set_config('enable_nestloop', 'off', true);
  END IF;
  the_due := ARRAY(SELECT d FROM prm._benefits_due(_sync_benefits.program_id, _sync_benefits.partner_ids) d);
  SELECT array_agg(g.benefit_grant_id) INTO the_gone
    FROM prm.benefit_grant g
    LEFT JOIN unnest(the_due) d ON d.partner_id = g.partner_id AND d.benefit = g.benefit AND coalesce(d.ladder, '') = coalesce(g.ladder, '')
      AND coalesce(d.tier, '') = coalesce(g.tier, '') AND coalesce(d.certification, '') = coalesce(g.certification, '') AND coalesce(d.segment, '') = coalesce(g.segment, '')
      AND d.value = g.value AND d.kind = g.kind AND CASE WHEN d.since IS NULL THEN coalesce(lower(g.valid), '-infinity') <= the_now ELSE lower(g.valid) = d.since END
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids)
      AND coalesce(upper(g.valid), 'infinity') > the_now AND d.partner_id IS NULL;
  IF the_gone IS NOT NULL THEN
    -- A grant that began at this moment, or was to begin later, never held: it goes. Others end now.
    DELETE FROM prm.benefit_grant g WHERE g.program_id = _sync_benefits.program_id AND g.benefit_grant_id = ANY (the_gone) AND lower(g.valid) >= the_now;
    UPDATE prm.benefit_grant g SET valid = tstzrange(lower(g.valid), the_now) WHERE g.program_id = _sync_benefits.program_id AND g.benefit_grant_id = ANY (the_gone);
  END IF;
  -- What is left follows from something, so that its place (present or to come) tells one from the other.
  UPDATE prm.benefit_grant g SET valid = tstzrange(lower(g.valid), d.until)
    FROM unnest(the_due) d
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids) AND coalesce(upper(g.valid), 'infinity') > the_now
      AND d.partner_id = g.partner_id AND d.benefit = g.benefit AND coalesce(d.ladder, '') = coalesce(g.ladder, '') AND coalesce(d.certification, '') = coalesce(g.certification, '')
      AND coalesce(d.segment, '') = coalesce(g.segment, '') AND (d.since IS NULL) = (coalesce(lower(g.valid), '-infinity') <= the_now)
      AND upper(g.valid) IS DISTINCT FROM d.until AND (d.until IS NULL OR d.until > lower(g.valid));
  INSERT INTO prm.benefit_grant (program_id, partner_id, benefit, kind, ladder, tier, certification, segment, value, valid)
    SELECT _sync_benefits.program_id, d.partner_id, d.benefit, d.kind, d.ladder, d.tier, d.certification, d.segment, d.value, tstzrange(coalesce(d.since, the_now), d.until)
    FROM unnest(the_due) d
    LEFT JOIN (
        SELECT g.partner_id, g.benefit, coalesce(g.ladder, '') AS ladder, coalesce(g.certification, '') AS certification, coalesce(g.segment, '') AS segment,
          coalesce(lower(g.valid), '-infinity') > the_now AS is_to_come FROM prm.benefit_grant g
        WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids) AND coalesce(upper(g.valid), 'infinity') > the_now) x
      ON x.partner_id = d.partner_id AND x.benefit = d.benefit AND x.ladder = coalesce(d.ladder, '') AND x.certification = coalesce(d.certification, '')
        AND x.segment = coalesce(d.segment, '') AND x.is_to_come = (d.since IS NOT NULL)
    WHERE x.partner_id IS NULL
    ORDER BY d.partner_id, d.ladder, d.certification, d.segment, d.benefit, d.since NULLS FIRST;
END
$prm$;
COMMENT ON FUNCTION prm._sync_benefits(bigint, bigint[]) IS
'Ends the grants that no longer follow from the tiers that count for the partners, the certificates of their people and their segments, and makes those that do, from prm.now() on, or from the end of a cap.';

CREATE FUNCTION prm._sync_dated_benefits(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _sync_dated_benefits.program_id
             AND (b.certification IS NOT NULL OR b.segment IS NOT NULL OR NOT lower_inf(b.valid) OR NOT upper_inf(b.valid)))
     -- Of everybody also where caps were set: the tiers may have got other ranks.
     OR _sync_dated_benefits.partner_ids IS NULL AND EXISTS (SELECT 1 FROM prm.enrolment e WHERE e.program_id = _sync_dated_benefits.program_id AND e.cap_tier IS NOT NULL) THEN
    PERFORM prm._sync_benefits(_sync_dated_benefits.program_id, coalesce(_sync_dated_benefits.partner_ids,
      ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _sync_dated_benefits.program_id ORDER BY p.partner_id)));
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._sync_dated_benefits(bigint, bigint[]) IS
'Brings the grants of the partners (NULL: all) up to date where the programme has benefits that begin and end by the day: by certificate, by segment, or for a time.';

CREATE FUNCTION prm._grant_segment(program_id bigint, benefit_grant_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- The column alone would have to be readable for whoever reads the view.
  IF prm._acting_partner(_grant_segment.program_id) IS NOT NULL OR NOT has_column_privilege('prm.benefit_grant', 'segment', 'SELECT') THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT g.segment FROM prm.benefit_grant g WHERE g.program_id = _grant_segment.program_id AND g.benefit_grant_id = _grant_segment.benefit_grant_id);
END
$prm$;
COMMENT ON FUNCTION prm._grant_segment(bigint, bigint) IS 'The segment that gave a benefit; NULL for partners: a benefit must not tell them how they are sorted.';

CREATE FUNCTION prm.entitlement(partner_id bigint, benefit text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(entitlement.program_id);
  the_partner bigint := prm._partner_argument(the_program, entitlement.partner_id);
  the_value text;
BEGIN
  -- What a segment gives a partner finds among its grants only.
  IF NOT EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = the_program AND b.benefit = entitlement.benefit)
     AND NOT EXISTS (SELECT 1 FROM prm.benefit_grant g WHERE g.program_id = the_program AND g.partner_id = the_partner AND g.benefit = entitlement.benefit) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('benefit "%s" does not exist', coalesce(entitlement.benefit, 'NULL')),
      DETAIL = format('The benefits of programme %s are %s.', the_program,
        coalesce((SELECT string_agg(DISTINCT b.benefit, ', ' ORDER BY b.benefit) FROM prm.benefit b WHERE b.program_id = the_program), 'none')),
      HINT = 'Name one of them, or add the benefit to prm.benefit first.';
  END IF;
  SELECT v.value INTO the_value FROM prm.v_entitlement v WHERE v.program_id = the_program AND v.partner_id = the_partner AND v.benefit = entitlement.benefit;
  RETURN the_value;
END
$prm$;
COMMENT ON FUNCTION prm.entitlement(bigint, text, bigint) IS
'The value of a benefit that a partner has now, by its tiers, the certificates of its people or its segments; NULL: it has none. Of a tier the one that counts, the lower of held and cap. Of several a discount, share or priority counts by the highest, anything else by ladder main, then the other ladders, then certifications, by name, then segments, by which gave it first. explain_entitlement() names the source. Errors: 42704 unknown partner or benefit.';

CREATE TYPE prm.entitlement_row AS (benefit text, value text, counts boolean, source text, name text, ladder text, valid_from timestamptz, valid_until timestamptz, note text);
COMMENT ON TYPE prm.entitlement_row IS
'A row of explain_entitlement(): a benefit that the partner has, or could have, with its value; whether this row is the one that counts; source (tier, certification or segment) and its name, the ladder of a tier; since when it has it (NULL: it has not) and until when as far as is known; and why it does not count, or what is special.';

CREATE FUNCTION prm.explain_entitlement(partner_id bigint, benefit text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.entitlement_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(explain_entitlement.program_id);
  the_partner bigint := prm._partner_argument(the_program, explain_entitlement.partner_id);
  the_zone text := prm._program_time_zone(the_program);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(the_program))::date;
  the_staff boolean := prm._acting_partner(the_program) IS NULL;
BEGIN
  IF explain_entitlement.benefit IS NOT NULL THEN
    PERFORM prm.entitlement(the_partner, explain_entitlement.benefit, the_program);
  END IF;
  RETURN QUERY
    SELECT x.benefit, x.value, coalesce(x.counts, false), x.source, x.name, x.ladder, x.since, x.until, x.note
    FROM (
      -- What it has, or will have when a cap ends.
      SELECT g.benefit, g.value, v.partner_id IS NOT NULL AS counts, CASE WHEN g.segment IS NOT NULL THEN 'segment' WHEN g.certification IS NOT NULL THEN 'certification' ELSE 'tier' END AS source,
        coalesce(g.tier, g.certification, CASE WHEN the_staff THEN g.segment END) AS name, g.ladder, lower(g.valid) AS since, upper(g.valid) AS until,
        CASE WHEN lower(g.valid) > prm.now() THEN 'when the cap ends'
          WHEN v.partner_id IS NULL THEN format('%s gives %s, which %s', coalesce('tier ' || w.tier, 'certification ' || w.certification, 'segment ' || w.segment, 'a segment'), w.value,
            CASE WHEN g.kind IN ('discount', 'mdf_share', 'lead_priority') AND w.value::numeric > g.value::numeric THEN 'is more' ELSE 'comes first' END)
          WHEN v.is_capped THEN format('capped: it holds tier %s', (SELECT e.tier FROM prm.enrolment e WHERE e.program_id = the_program AND e.partner_id = the_partner AND e.ladder = g.ladder)) END AS note
      FROM prm.benefit_grant g
      LEFT JOIN prm.v_entitlement w ON w.program_id = the_program AND w.partner_id = the_partner AND w.benefit = g.benefit
      LEFT JOIN prm.v_entitlement v ON v.program_id = the_program AND v.partner_id = the_partner AND v.benefit = g.benefit AND lower(g.valid) <= prm.now()
        AND v.benefit_grant_id = g.benefit_grant_id
      WHERE g.program_id = the_program AND g.partner_id = the_partner AND coalesce(upper(g.valid), 'infinity') > prm.now()
      UNION ALL
      -- What others have.
      SELECT b.benefit, b.value, false, CASE WHEN b.segment IS NOT NULL THEN 'segment' WHEN b.certification IS NOT NULL THEN 'certification' ELSE 'tier' END, coalesce(b.tier, b.certification, b.segment),
        CASE WHEN b.tier IS NOT NULL THEN b.ladder END, NULL, NULL,
        CASE WHEN NOT b.valid @> the_today THEN format('it is given %s', b.valid)
          WHEN b.tier IS NOT NULL THEN format('it counts for %s', coalesce('tier ' || s.effective_tier, 'no tier'))
          WHEN b.certification IS NOT NULL THEN format('%s of %s people are certified', trim_scale(coalesce((SELECT k.value FROM prm._certified_people(the_program, ARRAY[the_partner], prm.now(), ARRAY[b.certification]) k), 0)), b.min_people)
          ELSE 'it is not in the segment' END
      FROM prm.benefit b
      LEFT JOIN prm.v_tier_standing s ON s.program_id = the_program AND s.partner_id = the_partner AND s.ladder = b.ladder AND b.tier IS NOT NULL
      WHERE b.program_id = the_program AND NOT EXISTS (
        SELECT 1 FROM prm.benefit_grant g WHERE g.program_id = the_program AND g.partner_id = the_partner AND g.benefit = b.benefit AND coalesce(upper(g.valid), 'infinity') > prm.now()
          AND coalesce(g.tier, '') = coalesce(b.tier, '') AND coalesce(g.certification, '') = coalesce(b.certification, '') AND coalesce(g.segment, '') = coalesce(b.segment, '')
          AND (b.tier IS NULL OR g.ladder = b.ladder) AND (b.valid @> the_today OR b.valid @> (lower(g.valid) AT TIME ZONE the_zone)::date))) x
    WHERE explain_entitlement.benefit IS NULL OR x.benefit = explain_entitlement.benefit
    ORDER BY x.benefit, coalesce(x.counts, false) DESC, x.since IS NULL, x.source DESC, x.ladder <> 'main', x.ladder, x.name, x.since;
END
$prm$;
COMMENT ON FUNCTION prm.explain_entitlement(bigint, text, bigint) IS
'Why a partner has a benefit (NULL: each) or has it not: a row for each tier, certification and segment that gives it, the one that counts first. Errors: 42704 unknown partner or benefit.';
