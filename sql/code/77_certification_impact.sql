
-- What depends on a certificate: which requirement its end breaks, which tier falls, and which benefits go with it.

CREATE TYPE prm.certificate_impact_row AS (partner_id bigint, certificate_id bigint, partner_user_id bigint, certification text, lapses_on date, ladder text, tier text, track text,
  metric text, op text, need numeric, have numeric, have_after numeric, requirement_fails boolean, tier_falls boolean, to_tier text, benefits text[], required_by text);
COMMENT ON TYPE prm.certificate_impact_row IS
'A row of certificate_impact(): a certificate that ends, a requirement of the tier held that counts it (or, without ladder and tier, the number of people that a benefit asks for), what is had on its last day and the day after, whether the requirement fails with it, whether the tier falls with it and to which, the benefits that go: name: value -> what is left of it; and whose requirement it is: mostly of the tier held, but also of a better one by which alone the tier held is met.';

CREATE TYPE prm.certificate_count AS (partner_id bigint, last_day date, turn integer, certification text, people bigint, have bigint, have_after bigint);
COMMENT ON TYPE prm.certificate_count IS
'Of a partner and a last day of some of its certificates (the turn-th of these days): its active people, and those with a certificate of the certification (NULL: of any) on that day and on the day after; internal.';

CREATE FUNCTION prm._certificate_counts(program_id bigint, partner_ids bigint[], certifications text[]) RETURNS SETOF prm.certificate_count
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_certificate_counts.program_id))::date;
BEGIN
  RETURN QUERY
    WITH person AS MATERIALIZED (
      SELECT u.partner_id, u.partner_user_id FROM unnest(_certificate_counts.partner_ids) AS i(partner_id)
      CROSS JOIN LATERAL (SELECT x.partner_id, x.partner_user_id FROM prm.partner_user x
        WHERE x.program_id = _certificate_counts.program_id AND x.partner_id = i.partner_id AND x.is_active OFFSET 0) u),
    paper AS MATERIALIZED (
      SELECT p.partner_id, p.partner_user_id, c.certification, c.issued_on, coalesce(c.valid_until, 'infinity') AS last_day FROM person p
      CROSS JOIN LATERAL (SELECT x.certification, x.issued_on, x.valid_until FROM prm.certificate x
        WHERE x.program_id = _certificate_counts.program_id AND x.partner_user_id = p.partner_user_id AND (x.valid_until IS NULL OR x.valid_until >= the_today) OFFSET 0) c),
    ending AS (
      SELECT d.partner_id, d.last_day, row_number() OVER (PARTITION BY d.partner_id ORDER BY d.last_day)::integer AS turn
      FROM (SELECT DISTINCT p.partner_id, p.last_day FROM paper p WHERE isfinite(p.last_day)) d),
    size AS (SELECT p.partner_id, count(*) AS people FROM person p GROUP BY p.partner_id)
    SELECT e.partner_id, e.last_day, e.turn, k.certification, z.people,
      count(DISTINCT p.partner_user_id) FILTER (WHERE p.issued_on <= e.last_day AND p.last_day >= e.last_day),
      count(DISTINCT p.partner_user_id) FILTER (WHERE p.issued_on <= e.last_day + 1 AND p.last_day > e.last_day)
    FROM ending e
    JOIN size z ON z.partner_id = e.partner_id
    CROSS JOIN unnest(_certificate_counts.certifications) AS k(certification)
    LEFT JOIN paper p ON p.partner_id = e.partner_id AND (k.certification IS NULL OR p.certification = k.certification)
    GROUP BY e.partner_id, e.last_day, e.turn, k.certification, z.people;
END
$prm$;
COMMENT ON FUNCTION prm._certificate_counts(bigint, bigint[], text[]) IS 'How many people of the partners hold the certifications (NULL: any) on each last day of one of their certificates, and on the day after.';

CREATE FUNCTION prm._certificate_impacts(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.certificate_impact_row
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan SET enable_nestloop = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_certificate_impacts.program_id);
  the_now timestamptz := prm.now();
  the_today date := (prm.now() AT TIME ZONE prm._program_time_zone(_certificate_impacts.program_id))::date;
  the_asked prm.tier_asked[] := ARRAY(SELECT r FROM prm._tier_asked(_certificate_impacts.program_id) r);
  the_sold boolean := EXISTS (SELECT 1 FROM prm.tier_product x WHERE x.program_id = _certificate_impacts.program_id);
  the_won text[] := prm._won_states(_certificate_impacts.program_id);
  the_metrics text[];
  the_certifications text[];
  the_kinds text[];
  the_ids bigint[];
  the_counts prm.certificate_count[];
  the_others prm.metric_row[];
  the_before prm.metric_row[];
  the_after prm.metric_row[];
  the_checks prm.tier_check[];
  the_checks_after prm.tier_check[];
  the_met prm.tier_met[];
  the_met_after prm.tier_met[];
  the_partners bigint[];
  the_ladders text[];
  the_checked text[];
  the_flipped prm.tier_track_state[];
BEGIN
  -- Arrays say nothing of their length, so loops over loops would be taken for cheap; what is looked up by key here is small.
  -- The metrics that count certificates, and of which certification.
  SELECT array_agg(m.metric), array_agg(m.certification), array_agg(m.measure) INTO the_metrics, the_certifications, the_kinds FROM prm.metric m
    WHERE m.program_id = _certificate_impacts.program_id AND m.measure IN ('certified_people', 'training_coverage') AND m.any_day_window IS NULL
      AND EXISTS (SELECT 1 FROM unnest(the_asked) a WHERE a.metric = m.metric);
  -- Only partners that have something to lose: a tier that counts certificates, or a benefit that comes with one.
  SELECT array_agg(p.partner_id ORDER BY p.partner_id) INTO the_ids FROM prm.partner p
    WHERE p.program_id = _certificate_impacts.program_id AND (_certificate_impacts.partner_ids IS NULL OR p.partner_id = ANY (_certificate_impacts.partner_ids))
      AND EXISTS (SELECT 1 FROM prm.certificate c WHERE c.program_id = _certificate_impacts.program_id AND c.partner_id = p.partner_id AND c.valid_until >= the_today
        AND (EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = _certificate_impacts.program_id AND b.certification = c.certification)
          -- A better tier that is met, too: with it all those below.
          OR EXISTS (SELECT 1 FROM prm.enrolment e JOIN prm.tier h ON h.program_id = _certificate_impacts.program_id AND h.ladder = e.ladder AND h.tier = e.tier
            JOIN unnest(the_asked) a ON a.ladder = e.ladder AND a.rank >= h.rank AND a.metric = ANY (the_metrics)
            WHERE e.program_id = _certificate_impacts.program_id AND e.partner_id = p.partner_id)));
  IF the_ids IS NULL THEN
    RETURN;
  END IF;
  the_counts := ARRAY(SELECT c FROM prm._certificate_counts(_certificate_impacts.program_id, the_ids, ARRAY(
    SELECT n.certification FROM unnest(the_certifications) AS n(certification)
    UNION SELECT b.certification FROM prm.benefit b WHERE b.program_id = _certificate_impacts.program_id AND b.certification IS NOT NULL)) c);
  -- What the other requirements rest on is taken as it is now.
  the_others := ARRAY(SELECT v FROM prm._metric_values(_certificate_impacts.program_id, the_ids, the_now,
    ARRAY(SELECT DISTINCT a.metric FROM unnest(the_asked) a WHERE NOT a.metric = ANY (coalesce(the_metrics, '{}')))) v WHERE v.value IS NOT NULL);

  -- What comes with certificates themselves.
  RETURN QUERY
    SELECT k.partner_id, c.certificate_id, c.partner_user_id, c.certification, k.last_day + 1, NULL::text, NULL::text, NULL::text, 'certified_people', '>=', b.min_people::numeric,
      k.have::numeric, k.have_after::numeric, true, false, NULL::text, array_agg(format('%s: %s -> none', b.benefit, b.value) ORDER BY b.benefit), NULL::text
    FROM unnest(the_counts) k
    JOIN prm.benefit b ON b.program_id = _certificate_impacts.program_id AND b.certification = k.certification AND b.valid @> (k.last_day + 1)
      AND k.have >= b.min_people AND k.have_after < b.min_people
    CROSS JOIN LATERAL (SELECT x.certificate_id, x.partner_user_id, x.certification FROM prm.certificate x
      JOIN prm.partner_user u ON u.program_id = _certificate_impacts.program_id AND u.partner_user_id = x.partner_user_id AND u.is_active
      WHERE x.program_id = _certificate_impacts.program_id AND x.partner_id = k.partner_id AND x.valid_until = k.last_day AND x.certification = k.certification) c
    GROUP BY k.partner_id, c.certificate_id, c.partner_user_id, c.certification, k.last_day, b.min_people, k.have, k.have_after;

  -- The tiers: the engine of tiers judges the last day and the day after, for all partners' first last days at once, then the second ones ...
  FOR turn_no IN 1 .. coalesce((SELECT max(k.turn) FROM unnest(the_counts) k), 0) LOOP
    EXIT WHEN the_metrics IS NULL;
    the_ids := ARRAY(SELECT DISTINCT k.partner_id FROM unnest(the_counts) k WHERE k.turn = turn_no ORDER BY 1);
    -- The tier held, and the better ones that count certificates.
    SELECT array_agg(e.partner_id), array_agg(e.ladder), array_agg(t.tier) INTO the_partners, the_ladders, the_checked FROM prm.enrolment e
      JOIN prm.tier h ON h.program_id = _certificate_impacts.program_id AND h.ladder = e.ladder AND h.tier = e.tier
      JOIN prm.tier t ON t.program_id = _certificate_impacts.program_id AND t.ladder = e.ladder
        AND (t.rank = h.rank OR t.rank > h.rank AND EXISTS (SELECT 1 FROM unnest(the_asked) a WHERE a.ladder = t.ladder AND a.tier = t.tier AND a.metric = ANY (the_metrics)))
      WHERE e.program_id = _certificate_impacts.program_id AND e.partner_id = ANY (the_ids);
    the_before := ARRAY(SELECT v FROM unnest(the_others) v WHERE v.partner_id = ANY (the_ids)) || ARRAY(
      SELECT ROW(k.partner_id, n.metric, CASE n.kind WHEN 'certified_people' THEN k.have ELSE round(k.have::numeric / k.people, 6) END, the_now)::prm.metric_row
      FROM unnest(the_counts) k JOIN unnest(the_metrics, the_certifications, the_kinds) AS n(metric, certification, kind) ON n.certification IS NOT DISTINCT FROM k.certification WHERE k.turn = turn_no);
    the_after := ARRAY(SELECT v FROM unnest(the_others) v WHERE v.partner_id = ANY (the_ids)) || ARRAY(
      SELECT ROW(k.partner_id, n.metric, CASE n.kind WHEN 'certified_people' THEN k.have_after ELSE round(k.have_after::numeric / k.people, 6) END, the_now)::prm.metric_row
      FROM unnest(the_counts) k JOIN unnest(the_metrics, the_certifications, the_kinds) AS n(metric, certification, kind) ON n.certification IS NOT DISTINCT FROM k.certification WHERE k.turn = turn_no);
    the_checks := ARRAY(SELECT c FROM prm._tier_checks(_certificate_impacts.program_id, the_partners, the_ladders, the_checked, the_asked, the_before) c);
    the_checks_after := ARRAY(SELECT c FROM prm._tier_checks(_certificate_impacts.program_id, the_partners, the_ladders, the_checked, the_asked, the_after) c);
    -- The tracks that are met with it and not without it.
    the_flipped := ARRAY(SELECT b FROM prm._track_states(the_checks) b JOIN prm._track_states(the_checks_after) a ON a.partner_id = b.partner_id AND a.ladder = b.ladder AND a.tier = b.tier AND a.track = b.track WHERE b.met AND NOT a.met);
    -- By requirements and as entry; what is bought, inherited or pinned is looked at on the day of each partner.
    the_met := ARRAY(SELECT m FROM prm._tiers_met(_certificate_impacts.program_id, the_ids, '-infinity', NULL, the_asked, the_before) m);
    the_met_after := ARRAY(SELECT m FROM prm._tiers_met(_certificate_impacts.program_id, the_ids, '-infinity', NULL, the_asked, the_after) m);
    RETURN QUERY
      WITH day AS MATERIALIZED (
        SELECT DISTINCT k.partner_id, k.last_day, (k.last_day + 1)::timestamp AT TIME ZONE the_zone AS moment FROM unnest(the_counts) k WHERE k.turn = turn_no),
      sold AS MATERIALIZED (
        SELECT o.partner_id, x.ladder, t.rank, o.closed_at, ((o.closed_at AT TIME ZONE the_zone) + x.lasts) AT TIME ZONE the_zone AS ends_at
        FROM prm.deal o
        LEFT JOIN prm.deal_line n ON n.program_id = _certificate_impacts.program_id AND n.deal_id = o.deal_id
        JOIN prm.tier_product x ON x.program_id = _certificate_impacts.program_id AND x.product = coalesce(n.product, o.product)
        JOIN prm.tier t ON t.program_id = _certificate_impacts.program_id AND t.ladder = x.ladder AND t.tier = x.tier
        WHERE the_sold AND o.program_id = _certificate_impacts.program_id AND o.partner_id = ANY (the_ids) AND o.state = ANY (the_won)),
      bought AS (
        SELECT d.partner_id, o.ladder, max(o.rank) FILTER (WHERE o.closed_at < d.moment AND (o.ends_at IS NULL OR o.ends_at >= d.moment)) AS rank_before,
          max(o.rank) FILTER (WHERE o.closed_at <= d.moment AND (o.ends_at IS NULL OR o.ends_at > d.moment)) AS rank_after
        FROM day d JOIN sold o ON o.partner_id = d.partner_id GROUP BY d.partner_id, o.ladder),
      inherited AS (
        -- What the parent holds now, and of it what counts then.
        SELECT d.partner_id, f.ladder, CASE WHEN f.cap_until >= d.moment OR f.cap_until IS NULL THEN least(t.rank, c.rank) ELSE t.rank END AS rank_before,
          CASE WHEN f.cap_until > d.moment OR f.cap_until IS NULL THEN least(t.rank, c.rank) ELSE t.rank END AS rank_after
        FROM day d
        JOIN prm.partner p ON p.program_id = _certificate_impacts.program_id AND p.partner_id = d.partner_id
        JOIN prm.enrolment f ON f.program_id = _certificate_impacts.program_id AND f.partner_id = p.parent_id
        JOIN prm.tier_policy y ON y.program_id = _certificate_impacts.program_id AND y.ladder = f.ladder AND y.inherits = 'parent'
        JOIN prm.tier t ON t.program_id = _certificate_impacts.program_id AND t.ladder = f.ladder AND t.tier = f.tier
        LEFT JOIN prm.tier c ON c.program_id = _certificate_impacts.program_id AND c.ladder = f.ladder AND c.tier = f.cap_tier),
      fall AS (
        SELECT e.partner_id, e.ladder, e.tier, x.is_fall,
          CASE WHEN x.is_fall THEN (SELECT t.tier FROM prm.tier t WHERE t.program_id = _certificate_impacts.program_id AND t.ladder = e.ladder
            -- A soft landing is one step, and never below what is met.
            AND t.rank = CASE WHEN EXISTS (SELECT 1 FROM prm.tier_policy y WHERE y.program_id = _certificate_impacts.program_id AND y.ladder = e.ladder AND y.demotion = 'one_step')
              THEN (SELECT max(l.rank) FROM prm.tier l WHERE l.program_id = _certificate_impacts.program_id AND l.ladder = e.ladder AND l.rank < h.rank)
              ELSE greatest(a.rank, w.rank_after, i.rank_after) END) END AS to_tier
        FROM day d
        JOIN prm.enrolment e ON e.program_id = _certificate_impacts.program_id AND e.partner_id = d.partner_id
        JOIN prm.tier h ON h.program_id = _certificate_impacts.program_id AND h.ladder = e.ladder AND h.tier = e.tier
        JOIN unnest(the_met) b ON b.partner_id = e.partner_id AND b.ladder = e.ladder
        JOIN unnest(the_met_after) a ON a.partner_id = e.partner_id AND a.ladder = e.ladder
        LEFT JOIN bought w ON w.partner_id = e.partner_id AND w.ladder = e.ladder
        LEFT JOIN inherited i ON i.partner_id = e.partner_id AND i.ladder = e.ladder
        -- A pin holds it nevertheless, and where the enrolment is over nothing is left to fall.
        CROSS JOIN LATERAL (SELECT coalesce(greatest(b.rank, w.rank_before, i.rank_before) >= h.rank, false) AND NOT coalesce(greatest(a.rank, w.rank_after, i.rank_after) >= h.rank, false)
          AND NOT coalesce(e.pinned_until > d.moment, false) AND NOT coalesce(upper(e.valid) <= d.moment, false) AS is_fall) x)
      SELECT b.partner_id, c.certificate_id, c.partner_user_id, c.certification, d.last_day + 1, b.ladder, f.tier, b.track, b.metric, b.op, b.need, b.have, a.have,
        b.met AND NOT a.met, f.is_fall, f.to_tier,
        CASE WHEN f.is_fall THEN (
          SELECT array_agg(format('%s: %s -> %s', h.benefit, h.value, coalesce(l.value, 'none')) ORDER BY h.benefit) FROM prm.benefit h
          LEFT JOIN prm.benefit l ON l.program_id = _certificate_impacts.program_id AND l.ladder = f.ladder AND l.tier = f.to_tier AND l.benefit = h.benefit AND l.valid @> (d.last_day + 1)
          WHERE h.program_id = _certificate_impacts.program_id AND h.ladder = f.ladder AND h.tier = f.tier AND h.valid @> (d.last_day + 1) AND l.value IS DISTINCT FROM h.value) END, b.tier
      FROM day d
      JOIN unnest(the_checks) b ON b.partner_id = d.partner_id
      JOIN unnest(the_metrics, the_certifications) AS n(metric, certification) ON n.metric = b.metric
      JOIN unnest(the_checks_after) a ON a.partner_id = b.partner_id AND a.ladder = b.ladder AND a.tier = b.tier AND a.track = b.track AND a.metric = b.metric
      JOIN fall f ON f.partner_id = b.partner_id AND f.ladder = b.ladder
        AND (b.tier = f.tier OR f.is_fall AND EXISTS (SELECT 1 FROM unnest(the_flipped) z WHERE z.partner_id = b.partner_id AND z.ladder = b.ladder AND z.tier = b.tier AND z.track = b.track))
      CROSS JOIN LATERAL (SELECT x.certificate_id, x.partner_user_id, x.certification FROM prm.certificate x
        JOIN prm.partner_user u ON u.program_id = _certificate_impacts.program_id AND u.partner_user_id = x.partner_user_id AND u.is_active
        WHERE x.program_id = _certificate_impacts.program_id AND x.partner_id = d.partner_id AND x.valid_until = d.last_day AND (n.certification IS NULL OR x.certification = n.certification)) c;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._certificate_impacts(bigint, bigint[]) IS 'What depends on the certificates of the partners (NULL: all) that end, see certificate_impact().';

CREATE FUNCTION prm.certificate_impact(partner_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.certificate_impact_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(certificate_impact.program_id);
BEGIN
  RETURN QUERY SELECT i.* FROM prm._certificate_impacts(the_program,
      CASE WHEN certificate_impact.partner_id IS NOT NULL THEN ARRAY[prm._partner_argument(the_program, certificate_impact.partner_id)] END) i
    ORDER BY i.lapses_on, i.partner_id, i.certificate_id, i.ladder, i.track, i.metric;
END
$prm$;
COMMENT ON FUNCTION prm.certificate_impact(bigint, bigint) IS
'What depends on the certificates of a partner (NULL: of all) that end: for each the requirements of the tiers held that count it, whether they fail the day after, which tier falls to which, and the benefits that go. Other metrics, and the tier of a parent that is inherited, are taken as they are now, and metrics over any day of a window are such others; renewals that are booked already count. Scores, growth markets, bought tiers that end, pins, and caps of the parent are judged for the day as evaluate_tiers() does. Rows without ladder and tier are benefits that come with the certification itself. Error 42704 unknown partner.';
