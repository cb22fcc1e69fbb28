
-- Benefits: what tiers and certifications give, and what a partner is entitled to.

CREATE TYPE prm.benefit_due AS (partner_id bigint, benefit text, kind text, ladder text, tier text, certification text, value text, until timestamptz);
COMMENT ON TYPE prm.benefit_due IS 'A benefit that a partner has by its tier or by the certificates of its people; until NULL: without end; internal.';

CREATE FUNCTION prm._benefits_due(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.benefit_due
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_benefits_due.program_id);
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_benefits_due.program_id))::date;
BEGIN
  IF cardinality(_benefits_due.partner_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  RETURN QUERY
    SELECT e.partner_id, b.benefit, b.kind, e.ladder, e.tier, NULL::text, b.value, upper(b.valid)::timestamp AT TIME ZONE the_zone
    FROM prm.enrolment e
    JOIN prm.benefit b ON b.program_id = _benefits_due.program_id AND b.ladder = e.ladder AND b.tier = e.tier AND b.valid @> the_today
    WHERE e.program_id = _benefits_due.program_id AND e.partner_id = ANY (_benefits_due.partner_ids);
  IF NOT EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _benefits_due.program_id AND b.certification IS NOT NULL) THEN
    RETURN;
  END IF;
  RETURN QUERY
    WITH people AS (
      SELECT u.partner_id, c.certification, max(coalesce(c.valid_until, 'infinity')) AS until
      FROM prm.partner_user u
      JOIN prm.certificate c ON c.program_id = _benefits_due.program_id AND c.partner_user_id = u.partner_user_id
      WHERE u.program_id = _benefits_due.program_id AND u.partner_id = ANY (_benefits_due.partner_ids) AND u.is_active
        AND c.issued_on <= the_today AND (c.valid_until IS NULL OR c.valid_until >= the_today)
      GROUP BY u.partner_id, u.partner_user_id, c.certification),
    ranked AS (
      SELECT p.partner_id, p.certification, p.until, row_number() OVER (PARTITION BY p.partner_id, p.certification ORDER BY p.until DESC) AS place FROM people p)
    -- It lasts as long as enough people are certified: the last that is needed ends it.
    SELECT r.partner_id, b.benefit, b.kind, NULL::text, NULL::text, b.certification, b.value,
      least(upper(b.valid)::timestamp AT TIME ZONE the_zone, CASE WHEN isfinite(r.until) THEN (r.until + 1)::timestamp AT TIME ZONE the_zone END)
    FROM prm.benefit b
    JOIN ranked r ON r.certification = b.certification AND r.place = b.min_people
    WHERE b.program_id = _benefits_due.program_id AND b.certification IS NOT NULL AND b.valid @> the_today;
END
$prm$;
COMMENT ON FUNCTION prm._benefits_due(bigint, bigint[]) IS 'What the partners are to have now, by the tiers they hold and by the certificates of their people.';

CREATE FUNCTION prm._sync_benefits(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_due prm.benefit_due[];
  the_gone bigint[];
BEGIN
  IF cardinality(_sync_benefits.partner_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  the_due := ARRAY(SELECT d FROM prm._benefits_due(_sync_benefits.program_id, _sync_benefits.partner_ids) d);
  SELECT array_agg(g.benefit_grant_id) INTO the_gone
    FROM prm.benefit_grant g
    LEFT JOIN unnest(the_due) d ON d.partner_id = g.partner_id AND d.benefit = g.benefit AND coalesce(d.ladder, '') = coalesce(g.ladder, '')
      AND coalesce(d.tier, '') = coalesce(g.tier, '') AND coalesce(d.certification, '') = coalesce(g.certification, '') AND d.value = g.value AND d.kind = g.kind
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids)
      AND coalesce(upper(g.valid), 'infinity') > the_now AND d.partner_id IS NULL;
  IF the_gone IS NOT NULL THEN
    -- A grant that began at this moment never held: it goes. Others end now.
    DELETE FROM prm.benefit_grant g WHERE g.program_id = _sync_benefits.program_id AND g.benefit_grant_id = ANY (the_gone) AND lower(g.valid) >= the_now;
    UPDATE prm.benefit_grant g SET valid = tstzrange(lower(g.valid), the_now) WHERE g.program_id = _sync_benefits.program_id AND g.benefit_grant_id = ANY (the_gone);
  END IF;
  UPDATE prm.benefit_grant g SET valid = tstzrange(lower(g.valid), d.until)
    FROM unnest(the_due) d
    WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids) AND coalesce(upper(g.valid), 'infinity') > the_now
      AND d.partner_id = g.partner_id AND d.benefit = g.benefit AND coalesce(d.ladder, '') = coalesce(g.ladder, '') AND coalesce(d.certification, '') = coalesce(g.certification, '')
      AND upper(g.valid) IS DISTINCT FROM d.until AND (d.until IS NULL OR d.until > lower(g.valid));
  INSERT INTO prm.benefit_grant (program_id, partner_id, benefit, kind, ladder, tier, certification, value, valid)
    SELECT _sync_benefits.program_id, d.partner_id, d.benefit, d.kind, d.ladder, d.tier, d.certification, d.value, tstzrange(the_now, d.until)
    FROM unnest(the_due) d
    WHERE NOT EXISTS (
        SELECT 1 FROM prm.benefit_grant g
        WHERE g.program_id = _sync_benefits.program_id AND g.partner_id = ANY (_sync_benefits.partner_ids) AND g.partner_id = d.partner_id AND g.benefit = d.benefit
          AND coalesce(g.ladder, '') = coalesce(d.ladder, '') AND coalesce(g.certification, '') = coalesce(d.certification, '') AND coalesce(upper(g.valid), 'infinity') > the_now)
    ORDER BY d.partner_id, d.ladder, d.certification, d.benefit;
END
$prm$;
COMMENT ON FUNCTION prm._sync_benefits(bigint, bigint[]) IS
'Ends the grants that no longer follow from the tiers that the partners hold and the certificates of their people, and makes those that do, from prm.now() on.';

CREATE FUNCTION prm._sync_dated_benefits(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _sync_dated_benefits.program_id
             AND (b.certification IS NOT NULL OR NOT lower_inf(b.valid) OR NOT upper_inf(b.valid))) THEN
    PERFORM prm._sync_benefits(_sync_dated_benefits.program_id, coalesce(_sync_dated_benefits.partner_ids,
      ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _sync_dated_benefits.program_id ORDER BY p.partner_id)));
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._sync_dated_benefits(bigint, bigint[]) IS
'Brings the grants of the partners (NULL: all) up to date where the programme has benefits that begin and end by the day: by certificate, or for a time.';

CREATE FUNCTION prm.entitlement(partner_id bigint, benefit text, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(entitlement.program_id);
  the_partner bigint := prm._partner_argument(the_program, entitlement.partner_id);
  the_value text;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = the_program AND b.benefit = entitlement.benefit) THEN
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
'The value of a benefit that a partner has now, by its tiers or the certificates of its people; NULL: it has none. Where the enrolment is capped, the value of the capped tier. Of several a discount, share or priority counts by the highest, anything else by ladder main, then the other ladders, then certifications, by name. Errors: 42704 unknown partner or benefit.';
