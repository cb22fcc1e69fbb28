
-- What depends on a certificate: which requirement its end breaks, which tier falls, and which benefits go with it.

CREATE TYPE prm.certificate_impact_row AS (partner_id bigint, certificate_id bigint, partner_user_id bigint, certification text, lapses_on date, ladder text, tier text, track text,
  metric text, op text, need numeric, have numeric, have_after numeric, requirement_fails boolean, tier_falls boolean, to_tier text, benefits text[]);
COMMENT ON TYPE prm.certificate_impact_row IS
'A row of certificate_impact(): a certificate that ends, a requirement of the tier held that counts it, what is had on its last day and the day after, whether the requirement fails with it, whether the tier falls with it and to which, and the benefits that go: name: value -> what is left of it.';

CREATE FUNCTION prm._certificate_impacts(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.certificate_impact_row
LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_certificate_impacts.program_id);
  the_today date := (prm.now() AT TIME ZONE the_zone)::date;
  the_ids bigint[];
  the_metrics text[];
  the_values jsonb;
BEGIN
  -- Only those partners that hold a tier which counts certificates, and have one that ends.
  SELECT array_agg(DISTINCT c.partner_id) INTO the_ids FROM prm.certificate c
    WHERE c.program_id = _certificate_impacts.program_id AND c.valid_until >= the_today AND (_certificate_impacts.partner_ids IS NULL OR c.partner_id = ANY (_certificate_impacts.partner_ids))
      AND EXISTS (SELECT 1 FROM prm.enrolment e JOIN prm.tier_requirement r ON r.program_id = e.program_id AND r.ladder = e.ladder AND r.tier = e.tier
        WHERE e.program_id = _certificate_impacts.program_id AND e.partner_id = c.partner_id AND (r.metric IN ('certified_people', 'training_coverage') OR starts_with(r.metric, 'certified_people_')));
  IF the_ids IS NULL THEN
    RETURN;
  END IF;
  -- What the other requirements rest on is taken as it is now.
  SELECT array_agg(DISTINCT r.metric) INTO the_metrics FROM prm.tier_requirement r
    WHERE r.program_id = _certificate_impacts.program_id AND NOT (r.metric IN ('certified_people', 'training_coverage') OR starts_with(r.metric, 'certified_people_'));
  IF the_metrics IS NOT NULL THEN
    SELECT jsonb_object_agg(v.partner_id || ' ' || v.metric, v.value) INTO the_values FROM prm._metric_values(_certificate_impacts.program_id, the_ids, prm.now(), the_metrics) v;
  END IF;
  RETURN QUERY
    WITH person AS MATERIALIZED (
      SELECT u.partner_id, u.partner_user_id FROM unnest(the_ids) AS i(partner_id)
      CROSS JOIN LATERAL (SELECT x.partner_id, x.partner_user_id FROM prm.partner_user x
        WHERE x.program_id = _certificate_impacts.program_id AND x.partner_id = i.partner_id AND x.is_active OFFSET 0) u),
    paper AS MATERIALIZED (
      SELECT p.partner_id, p.partner_user_id, c.certificate_id, c.certification, c.issued_on, coalesce(c.valid_until, 'infinity') AS last_day FROM person p
      CROSS JOIN LATERAL (SELECT x.certificate_id, x.certification, x.issued_on, x.valid_until FROM prm.certificate x
        WHERE x.program_id = _certificate_impacts.program_id AND x.partner_user_id = p.partner_user_id AND (x.valid_until IS NULL OR x.valid_until >= the_today) OFFSET 0) c),
    ending AS (SELECT DISTINCT p.partner_id, p.last_day FROM paper p WHERE isfinite(p.last_day)),
    standing AS MATERIALIZED (
      SELECT d.partner_id, d.last_day, e.ladder, e.tier, h.rank, coalesce(y.mode, 'all') AS mode, y.entry_tier,
        coalesce((e.pinned_until AT TIME ZONE the_zone)::date > d.last_day, false) AS is_pinned
      FROM ending d
      JOIN prm.enrolment e ON e.program_id = _certificate_impacts.program_id AND e.partner_id = d.partner_id
      JOIN prm.tier h ON h.program_id = _certificate_impacts.program_id AND h.ladder = e.ladder AND h.tier = e.tier
      LEFT JOIN prm.tier_policy y ON y.program_id = _certificate_impacts.program_id AND y.ladder = e.ladder),
    counted AS MATERIALIZED (
      -- Each metric over certificates on the last day and on the day after.
      SELECT d.partner_id, d.last_day, m.metric, v.is_after, CASE WHEN m.metric = 'training_coverage'
          THEN round(v.people::numeric / nullif((SELECT count(*) FROM person q WHERE q.partner_id = d.partner_id), 0), 6) ELSE v.people::numeric END AS value
      FROM ending d
      CROSS JOIN (SELECT DISTINCT r.metric FROM prm.tier_requirement r WHERE r.program_id = _certificate_impacts.program_id
        AND (r.metric IN ('certified_people', 'training_coverage') OR starts_with(r.metric, 'certified_people_'))) m
      CROSS JOIN LATERAL (
        SELECT a.is_after, count(DISTINCT p.partner_user_id) AS people FROM (VALUES (false, d.last_day), (true, d.last_day + 1)) AS a(is_after, day)
        LEFT JOIN paper p ON p.partner_id = d.partner_id AND p.issued_on <= a.day AND p.last_day >= a.day
          AND (m.metric IN ('certified_people', 'training_coverage') OR p.certification = substr(m.metric, 18))
        GROUP BY a.is_after) v),
    checked AS (
      SELECT s.partner_id, s.last_day, s.ladder, t.tier, t.rank, r.track, r.metric, r.op, n.need, b.value AS have, a.value AS have_after,
        coalesce(CASE r.op WHEN '>=' THEN coalesce(b.value, n.other) >= n.need ELSE coalesce(b.value, n.other) <= n.need END, false) AS met,
        coalesce(CASE r.op WHEN '>=' THEN coalesce(a.value, n.other) >= n.need ELSE coalesce(a.value, n.other) <= n.need END, false) AS met_after
      FROM standing s
      JOIN prm.tier t ON t.program_id = _certificate_impacts.program_id AND t.ladder = s.ladder AND t.rank <= s.rank
      JOIN prm.tier_requirement r ON r.program_id = _certificate_impacts.program_id AND r.ladder = t.ladder AND r.tier = t.tier
      CROSS JOIN LATERAL (SELECT coalesce(r.keep_threshold, r.threshold) AS need, (the_values ->> (s.partner_id || ' ' || r.metric))::numeric AS other) n
      LEFT JOIN counted b ON b.partner_id = s.partner_id AND b.last_day = s.last_day AND b.metric = r.metric AND NOT b.is_after
      LEFT JOIN counted a ON a.partner_id = s.partner_id AND a.last_day = s.last_day AND a.metric = r.metric AND a.is_after),
    tracked AS (
      SELECT c.partner_id, c.last_day, c.ladder, c.tier, c.rank, c.track, bool_and(c.met) AS met, bool_and(c.met_after) AS met_after
      FROM checked c GROUP BY c.partner_id, c.last_day, c.ladder, c.tier, c.rank, c.track),
    judged AS (
      SELECT s.partner_id, s.last_day, s.ladder, s.tier, f.is_fall, f.to_tier,
        CASE WHEN f.is_fall THEN (
          SELECT array_agg(format('%s: %s -> %s', h.benefit, h.value, coalesce(l.value, 'none')) ORDER BY h.benefit) FROM prm.benefit h
          LEFT JOIN prm.benefit l ON l.program_id = _certificate_impacts.program_id AND l.ladder = s.ladder AND l.tier = f.to_tier AND l.benefit = h.benefit
          WHERE h.program_id = _certificate_impacts.program_id AND h.ladder = s.ladder AND h.tier = s.tier AND l.value IS DISTINCT FROM h.value) END AS benefits
      FROM standing s
      CROSS JOIN LATERAL (
        SELECT CASE WHEN s.mode = 'all' THEN NOT s.is_pinned AND coalesce(bool_or(k.met) FILTER (WHERE k.tier = s.tier), false)
            AND NOT coalesce(bool_or(k.met_after) FILTER (WHERE k.tier = s.tier), false) AND s.tier IS DISTINCT FROM s.entry_tier END AS is_fall,
          coalesce((array_agg(k.tier ORDER BY k.rank DESC) FILTER (WHERE k.met_after AND k.rank < s.rank
              AND k.rank >= coalesce((SELECT t.rank FROM prm.tier t WHERE t.program_id = _certificate_impacts.program_id AND t.ladder = s.ladder AND t.tier = s.entry_tier), k.rank)))[1],
            CASE WHEN s.entry_tier IS DISTINCT FROM s.tier THEN s.entry_tier END) AS best
        FROM tracked k WHERE k.partner_id = s.partner_id AND k.last_day = s.last_day AND k.ladder = s.ladder) j
      CROSS JOIN LATERAL (SELECT j.is_fall, CASE WHEN j.is_fall THEN j.best END AS to_tier) f)
    SELECT p.partner_id, p.certificate_id, p.partner_user_id, p.certification, p.last_day + 1, c.ladder, c.tier, c.track, c.metric, c.op, c.need, c.have, c.have_after,
      c.met AND NOT c.met_after, j.is_fall, j.to_tier, j.benefits
    FROM paper p
    JOIN judged j ON j.partner_id = p.partner_id AND j.last_day = p.last_day
    JOIN checked c ON c.partner_id = p.partner_id AND c.last_day = p.last_day AND c.ladder = j.ladder AND c.tier = j.tier
    WHERE isfinite(p.last_day) AND (c.metric IN ('certified_people', 'training_coverage') OR c.metric = 'certified_people_' || p.certification);
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
'What depends on the certificates of a partner (NULL: of all) that end: for each the requirements of the tiers held that count it, whether they fail the day after, which tier falls to which, and the benefits that go. Other metrics are taken as they are now; renewals that are booked already count. On a ladder whose mode is not all, whether the tier falls is NULL. Error 42704 unknown partner.';
