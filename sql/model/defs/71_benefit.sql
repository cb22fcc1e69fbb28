
-- Benefits: what changes their definition reaches those who have them, what they are used for, and the views.

CREATE OR REPLACE FUNCTION prm._benefits_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_ids bigint[];
BEGIN
  FOR batch IN
    SELECT r.program_id AS number, array_agg(DISTINCT r.ladder || '/' || r.tier) FILTER (WHERE r.tier IS NOT NULL) AS tiers,
      array_agg(DISTINCT r.certification) FILTER (WHERE r.certification IS NOT NULL) AS certifications, array_agg(DISTINCT r.segment) FILTER (WHERE r.segment IS NOT NULL) AS segments
    FROM changed_rows r GROUP BY r.program_id ORDER BY r.program_id
  LOOP
    -- With the programme itself all of it goes.
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.program g WHERE g.program_id = batch.number);
    SELECT array_agg(DISTINCT x.partner_id ORDER BY x.partner_id) INTO the_ids FROM (
      SELECT e.partner_id FROM prm.enrolment e WHERE e.program_id = batch.number AND (e.ladder || '/' || e.tier = ANY (batch.tiers) OR e.ladder || '/' || e.cap_tier = ANY (batch.tiers))
      UNION ALL
      SELECT u.partner_id FROM prm.certificate c
        JOIN prm.partner_user u ON u.program_id = batch.number AND u.partner_user_id = c.partner_user_id
        WHERE c.program_id = batch.number AND c.certification = ANY (batch.certifications)
      UNION ALL
      SELECT m.partner_id FROM prm.segment_member m WHERE m.program_id = batch.number AND m.segment = ANY (batch.segments) AND m.valid @> prm.now()
      UNION ALL
      -- With a segment its members went, but not what they had by it.
      SELECT g.partner_id FROM prm.benefit_grant g WHERE g.program_id = batch.number AND g.segment = ANY (batch.segments) AND coalesce(upper(g.valid), 'infinity') > prm.now()) x;
    IF the_ids IS NOT NULL THEN
      PERFORM prm._sync_benefits(batch.number, the_ids);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._benefits_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._benefits_changed() IS 'Statement trigger of prm.benefit: a benefit that is added, changed or deleted reaches those who hold its tier or certificate, or are in its segment, at once.';

CREATE OR REPLACE TRIGGER prm_40_benefits_insert AFTER INSERT ON prm.benefit REFERENCING NEW TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_update AFTER UPDATE ON prm.benefit REFERENCING NEW TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_moved AFTER UPDATE ON prm.benefit REFERENCING OLD TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_delete AFTER DELETE ON prm.benefit REFERENCING OLD TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();

-- A cap that is set, changed or ended changes what is given.
CREATE OR REPLACE FUNCTION prm._caps_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  FOR batch IN
    SELECT c.program_id AS number, array_agg(DISTINCT c.partner_id ORDER BY c.partner_id) AS ids
    FROM (SELECT n.program_id, n.partner_id, n.ladder, n.cap_tier, n.cap_until FROM new_rows n
          EXCEPT
          SELECT o.program_id, o.partner_id, o.ladder, o.cap_tier, o.cap_until FROM old_rows o) c
    GROUP BY c.program_id ORDER BY c.program_id
  LOOP
    PERFORM prm._sync_benefits(batch.number, batch.ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._caps_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._caps_changed() IS 'Statement trigger of prm.enrolment: brings the grants of the partners whose cap changed up to date.';
CREATE OR REPLACE TRIGGER prm_40_caps AFTER UPDATE ON prm.enrolment REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._caps_changed();

CREATE OR REPLACE VIEW prm.v_entitlement WITH (security_invoker = true) AS
  SELECT DISTINCT ON (g.program_id, g.partner_id, g.benefit) g.program_id, g.partner_id, g.benefit, g.kind, g.value, coalesce(e.cap_tier = g.tier AND e.tier <> g.tier, false) AS is_capped,
    g.ladder, g.tier, g.certification, lower(g.valid) AS valid_from, upper(g.valid) AS valid_until,
    CASE WHEN g.ladder IS NULL AND g.certification IS NULL THEN prm._grant_segment(g.program_id, g.benefit_grant_id) END AS segment, n.name AS partner, g.benefit_grant_id
  FROM prm.benefit_grant g
  JOIN prm.partner n ON n.program_id = g.program_id AND n.partner_id = g.partner_id
  LEFT JOIN prm.enrolment e ON e.program_id = g.program_id AND e.partner_id = g.partner_id AND e.ladder = g.ladder
  WHERE g.valid @> prm.now()
  ORDER BY g.program_id, g.partner_id, g.benefit, CASE WHEN g.kind IN ('discount', 'mdf_share', 'lead_priority') THEN g.value::numeric END DESC NULLS LAST,
    g.ladder IS NULL, g.ladder <> 'main', g.ladder, g.certification, g.benefit_grant_id;
COMMENT ON VIEW prm.v_entitlement IS 'What each partner is entitled to now, by the tiers that count (the lower of held and cap), by certificates and by segments: one row per benefit, the one that counts where several give it. entitlement() asks for one, explain_entitlement() also names what does not count. A partner reads its own rows, without the segments.';
COMMENT ON COLUMN prm.v_entitlement.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_entitlement.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_entitlement.benefit IS 'The benefit.';
COMMENT ON COLUMN prm.v_entitlement.kind IS 'discount, mdf_share, support_level, product_access, lead_priority or other.';
COMMENT ON COLUMN prm.v_entitlement.value IS 'Its value, as text.';
COMMENT ON COLUMN prm.v_entitlement.is_capped IS 'Whether a cap lets the partner have less than the tier it holds gives.';
COMMENT ON COLUMN prm.v_entitlement.ladder IS 'The ladder that gives it; empty for a certification or a segment.';
COMMENT ON COLUMN prm.v_entitlement.tier IS 'The tier that gives it, that of the cap where it is capped.';
COMMENT ON COLUMN prm.v_entitlement.certification IS 'The certification that gives it; empty for a tier or a segment.';
COMMENT ON COLUMN prm.v_entitlement.valid_from IS 'Since when it has it.';
COMMENT ON COLUMN prm.v_entitlement.valid_until IS 'When it ends, as far as is known now; empty: with its cause.';
COMMENT ON COLUMN prm.v_entitlement.segment IS 'The segment that gives it; empty for a tier or a certification, and for partners, who do not learn it from here.';
COMMENT ON COLUMN prm.v_entitlement.partner IS 'Name of the partner.';
COMMENT ON COLUMN prm.v_entitlement.benefit_grant_id IS 'Number of the grant that counts, in prm.benefit_grant.';

CREATE OR REPLACE VIEW prm.v_benefit_use WITH (security_invoker = true) AS
  SELECT e.program_id, e.partner_id, e.partner, e.benefit, e.kind, e.value, e.ladder, e.tier, e.certification, e.valid_from, e.valid_until,
    CASE WHEN k.is_known OR a.is_known THEN coalesce(k.uses, 0) + coalesce(u.uses, 0) END AS uses,
    greatest(k.last_at, u.last_at) AS last_used_at, CASE WHEN k.is_known OR a.is_known THEN coalesce(k.uses, 0) + coalesce(u.uses, 0) > 0 END AS is_used
  FROM prm.v_entitlement e
  CROSS JOIN LATERAL (SELECT prm._year_before(e.program_id, prm.now()) AS since OFFSET 0) w
  CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM prm.usage_activity x WHERE x.program_id = e.program_id AND x.activity = e.benefit) AS is_known) a
  LEFT JOIN LATERAL (
    SELECT count(*) AS uses, max(x.at) AS last_at FROM prm.usage_event x
    WHERE a.is_known AND x.program_id = e.program_id AND x.partner_id = e.partner_id AND x.activity = e.benefit AND x.at > w.since AND x.at <= prm.now()) u ON true
  LEFT JOIN LATERAL (
    -- A discount is seen in the lines of deals: without any line nothing is known of it.
    SELECT count(*) FILTER (WHERE l.is_discounted) AS uses, max(d.created_at) FILTER (WHERE l.is_discounted) AS last_at, coalesce(bool_or(l.is_discounted IS NOT NULL), true) AS is_known
    FROM prm.deal d
    CROSS JOIN LATERAL (SELECT bool_or(y.discount > 0 OR y.net < y.list_amount) AS is_discounted FROM prm.deal_line y WHERE y.program_id = d.program_id AND y.deal_id = d.deal_id) l
    WHERE e.kind = 'discount' AND d.program_id = e.program_id AND d.partner_id = e.partner_id AND d.created_at > w.since AND d.created_at <= prm.now()
    HAVING e.kind = 'discount'
    UNION ALL
    SELECT count(*), max(r.requested_at), true FROM prm.mdf_request r
    WHERE e.kind = 'mdf_share' AND r.program_id = e.program_id AND r.partner_id = e.partner_id AND r.requested_at > w.since AND r.requested_at <= prm.now()
    HAVING e.kind = 'mdf_share'
    UNION ALL
    SELECT count(*), max(x.at), true FROM (
      SELECT d.created_at AS at FROM prm.deal d WHERE d.program_id = e.program_id AND d.partner_id = e.partner_id AND d.product_family = e.value
      UNION ALL
      SELECT r.created_at FROM prm.registration r WHERE r.program_id = e.program_id AND r.partner_id = e.partner_id AND r.product_family = e.value) x
    WHERE e.kind = 'product_access' AND x.at > w.since AND x.at <= prm.now()
    HAVING e.kind = 'product_access'
    UNION ALL
    SELECT count(*), max(l.created_at), true FROM prm.lead l
    WHERE e.kind = 'lead_priority' AND l.program_id = e.program_id AND l.partner_id = e.partner_id AND l.created_at > w.since AND l.created_at <= prm.now()
    HAVING e.kind = 'lead_priority') k ON true;
COMMENT ON VIEW prm.v_benefit_use IS 'Whether partners use what they are entitled to: a row for each benefit of v_entitlement, with its uses in the last 12 months. A discount is used by deals with lines below list price, marketing funds by requests, product access by deals and registrations of the family, lead priority by leads; any benefit by usage events whose activity has its name.';
COMMENT ON COLUMN prm.v_benefit_use.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_benefit_use.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_benefit_use.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_benefit_use.benefit IS 'The benefit.';
COMMENT ON COLUMN prm.v_benefit_use.kind IS 'discount, mdf_share, support_level, product_access, lead_priority or other.';
COMMENT ON COLUMN prm.v_benefit_use.value IS 'Its value, as text.';
COMMENT ON COLUMN prm.v_benefit_use.ladder IS 'The ladder that gives it; empty for a certification.';
COMMENT ON COLUMN prm.v_benefit_use.tier IS 'The tier that gives it.';
COMMENT ON COLUMN prm.v_benefit_use.certification IS 'The certification that gives it; empty for a tier.';
COMMENT ON COLUMN prm.v_benefit_use.valid_from IS 'Since when it has it.';
COMMENT ON COLUMN prm.v_benefit_use.valid_until IS 'When it ends, as far as is known now; empty: with its cause.';
COMMENT ON COLUMN prm.v_benefit_use.uses IS 'How often it was used in the last 12 months; empty: nobody can know, because no activity has its name, or no deal has lines.';
COMMENT ON COLUMN prm.v_benefit_use.last_used_at IS 'The last use in that time.';
COMMENT ON COLUMN prm.v_benefit_use.is_used IS 'Whether there was any; empty: nobody can know.';

-- Product access: where some benefit opens a product family, only who has it registers deals for that family.
CREATE OR REPLACE FUNCTION prm._registration_access() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT 1 FROM prm.benefit b WHERE b.program_id = NEW.program_id AND b.kind = 'product_access' AND b.value = NEW.product_family)
     AND NOT EXISTS (SELECT 1 FROM prm.benefit_grant g WHERE g.program_id = NEW.program_id AND g.partner_id = NEW.partner_id
                     AND g.kind = 'product_access' AND g.value = NEW.product_family AND g.valid @> prm.now()) THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('partner %s has no access to product family "%s"', NEW.partner_id, NEW.product_family),
      DETAIL = format('It comes with %s.', (
        SELECT string_agg(DISTINCT coalesce('tier ' || b.tier || ' of ladder ' || b.ladder, 'certification ' || b.certification, 'segment ' || b.segment), ', ')
        FROM prm.benefit b WHERE b.program_id = NEW.program_id AND b.kind = 'product_access' AND b.value = NEW.product_family)),
      HINT = 'explain_entitlement() tells what the partner lacks.', SCHEMA = 'prm', TABLE = 'registration', COLUMN = 'product_family';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._registration_access() FROM PUBLIC;
COMMENT ON FUNCTION prm._registration_access() IS 'Row trigger of prm.registration: refuses (23514) a family that a benefit of kind product_access opens, for a partner that has no such benefit, by the tier that counts for it (the lower of held and cap), a certification or a segment.';
CREATE OR REPLACE TRIGGER prm_05_product_access BEFORE INSERT ON prm.registration FOR EACH ROW WHEN (NEW.state IN ('draft', 'submitted')) EXECUTE FUNCTION prm._registration_access();

COMMENT ON TABLE prm.benefit IS 'What a tier gives, or a certification, or a segment.';
COMMENT ON COLUMN prm.benefit.benefit_id IS 'Number of the row.';
COMMENT ON COLUMN prm.benefit.ladder IS 'The ladder of the tier; means nothing for a certification or a segment.';
COMMENT ON COLUMN prm.benefit.tier IS 'The tier that gives it; empty where a certification or a segment does.';
COMMENT ON COLUMN prm.benefit.certification IS 'The certification that gives it; empty where a tier or a segment does.';
COMMENT ON COLUMN prm.benefit.segment IS 'The segment that gives it to its members, by criteria or by hand, from the moment they join until they leave; partners are told the benefit, not the segment; empty where a tier or a certification does.';
COMMENT ON COLUMN prm.benefit.min_people IS 'How many people of the partner must have a valid certificate.';
COMMENT ON COLUMN prm.benefit.benefit IS 'The benefit: discount_percent, support_level, mdf_percent ...';
COMMENT ON COLUMN prm.benefit.kind IS 'discount and mdf_share: percent of revenue, they count in v_tier_mismatch; lead_priority: higher comes first; product_access: a product family that only its holders may register deals for; support_level; other.';
COMMENT ON COLUMN prm.benefit.value IS 'Its value, as text; a number for discount, mdf_share and lead_priority.';
COMMENT ON COLUMN prm.benefit.label IS 'Name for people.';
COMMENT ON COLUMN prm.benefit.valid IS 'The days on which it is given, from (inclusive) to (exclusive).';

COMMENT ON TABLE prm.benefit_grant IS 'Which benefit a partner had when. Follows the tier that counts (the lower of held and cap), the certificates of its people and its segments. A row that begins later is what it has again when a cap ends.';
COMMENT ON COLUMN prm.benefit_grant.benefit_grant_id IS 'Number of the row.';
COMMENT ON COLUMN prm.benefit_grant.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.benefit_grant.benefit IS 'The benefit.';
COMMENT ON COLUMN prm.benefit_grant.kind IS 'Its kind.';
COMMENT ON COLUMN prm.benefit_grant.ladder IS 'The ladder that gave it; empty for a certification or a segment.';
COMMENT ON COLUMN prm.benefit_grant.tier IS 'The tier that gave it, that of the cap while it is capped; empty for a certification or a segment.';
COMMENT ON COLUMN prm.benefit_grant.certification IS 'The certification that gave it; empty for a tier or a segment.';
COMMENT ON COLUMN prm.benefit_grant.segment IS 'The segment that gave it; empty for a tier or a certification.';
COMMENT ON COLUMN prm.benefit_grant.value IS 'Its value.';
COMMENT ON COLUMN prm.benefit_grant.valid IS 'From (inclusive) to (exclusive); without end while its cause lasts.';
