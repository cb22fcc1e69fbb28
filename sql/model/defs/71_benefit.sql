
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
      array_agg(DISTINCT r.certification) FILTER (WHERE r.certification IS NOT NULL) AS certifications
    FROM changed_rows r GROUP BY r.program_id ORDER BY r.program_id
  LOOP
    -- With the programme itself all of it goes.
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.program g WHERE g.program_id = batch.number);
    SELECT array_agg(DISTINCT x.partner_id ORDER BY x.partner_id) INTO the_ids FROM (
      SELECT e.partner_id FROM prm.enrolment e WHERE e.program_id = batch.number AND e.ladder || '/' || e.tier = ANY (batch.tiers)
      UNION ALL
      SELECT u.partner_id FROM prm.certificate c
        JOIN prm.partner_user u ON u.program_id = batch.number AND u.partner_user_id = c.partner_user_id
        WHERE c.program_id = batch.number AND c.certification = ANY (batch.certifications)) x;
    IF the_ids IS NOT NULL THEN
      PERFORM prm._sync_benefits(batch.number, the_ids);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._benefits_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._benefits_changed() IS 'Statement trigger of prm.benefit: a benefit that is added, changed or deleted reaches those who hold its tier or certificate at once.';

CREATE OR REPLACE TRIGGER prm_40_benefits_insert AFTER INSERT ON prm.benefit REFERENCING NEW TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_update AFTER UPDATE ON prm.benefit REFERENCING NEW TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_moved AFTER UPDATE ON prm.benefit REFERENCING OLD TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();
CREATE OR REPLACE TRIGGER prm_40_benefits_delete AFTER DELETE ON prm.benefit REFERENCING OLD TABLE AS changed_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._benefits_changed();

CREATE OR REPLACE VIEW prm.v_entitlement WITH (security_invoker = true) AS
  SELECT DISTINCT ON (g.program_id, g.partner_id, g.benefit) g.program_id, g.partner_id, g.benefit, g.kind, x.value, x.is_capped,
    g.ladder, CASE WHEN x.is_capped THEN e.cap_tier ELSE g.tier END AS tier, g.certification, lower(g.valid) AS valid_from, upper(g.valid) AS valid_until
  FROM prm.benefit_grant g
  LEFT JOIN prm.enrolment e ON e.program_id = g.program_id AND e.partner_id = g.partner_id AND e.ladder = g.ladder
  LEFT JOIN prm.tier h ON h.program_id = g.program_id AND h.ladder = g.ladder AND h.tier = g.tier
  LEFT JOIN prm.tier c ON c.program_id = g.program_id AND c.ladder = g.ladder AND c.tier = e.cap_tier AND (e.cap_until IS NULL OR e.cap_until > prm.now())
  LEFT JOIN prm.benefit b ON b.program_id = g.program_id AND b.ladder = c.ladder AND b.tier = c.tier AND b.benefit = g.benefit AND b.valid @> (prm.now() AT TIME ZONE prm._program_time_zone(g.program_id))::date
  CROSS JOIN LATERAL (SELECT coalesce(c.rank < h.rank, false) AS is_capped, CASE WHEN c.rank < h.rank THEN b.value ELSE g.value END AS value) x
  WHERE g.valid @> prm.now() AND x.value IS NOT NULL
  ORDER BY g.program_id, g.partner_id, g.benefit, CASE WHEN g.kind IN ('discount', 'mdf_share', 'lead_priority') THEN x.value::numeric END DESC NULLS LAST,
    g.ladder IS NULL, g.ladder <> 'main', g.ladder, g.certification;
COMMENT ON VIEW prm.v_entitlement IS 'What each partner is entitled to now: one row per benefit, the one that counts where several give it. entitlement() asks for one. A partner reads its own rows.';
COMMENT ON COLUMN prm.v_entitlement.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_entitlement.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_entitlement.benefit IS 'The benefit.';
COMMENT ON COLUMN prm.v_entitlement.kind IS 'discount, mdf_share, support_level, product_access, lead_priority or other.';
COMMENT ON COLUMN prm.v_entitlement.value IS 'Its value, as text.';
COMMENT ON COLUMN prm.v_entitlement.is_capped IS 'Whether a cap lets the partner have less than the tier it holds gives.';
COMMENT ON COLUMN prm.v_entitlement.ladder IS 'The ladder that gives it; empty for a certification.';
COMMENT ON COLUMN prm.v_entitlement.tier IS 'The tier that gives it, that of the cap where it is capped.';
COMMENT ON COLUMN prm.v_entitlement.certification IS 'The certification that gives it; empty for a tier.';
COMMENT ON COLUMN prm.v_entitlement.valid_from IS 'Since when it has it.';
COMMENT ON COLUMN prm.v_entitlement.valid_until IS 'When it ends, as far as is known now; empty: with its cause.';

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
        SELECT string_agg(DISTINCT coalesce('tier ' || b.tier || ' of ladder ' || b.ladder, 'certification ' || b.certification), ', ')
        FROM prm.benefit b WHERE b.program_id = NEW.program_id AND b.kind = 'product_access' AND b.value = NEW.product_family)),
      HINT = 'tier_gap() tells what the partner lacks.', SCHEMA = 'prm', TABLE = 'registration', COLUMN = 'product_family';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._registration_access() FROM PUBLIC;
COMMENT ON FUNCTION prm._registration_access() IS 'Row trigger of prm.registration: refuses (23514) a family that a benefit of kind product_access opens, for a partner that has no such benefit.';
CREATE OR REPLACE TRIGGER prm_05_product_access BEFORE INSERT ON prm.registration FOR EACH ROW WHEN (NEW.state IN ('draft', 'submitted')) EXECUTE FUNCTION prm._registration_access();

COMMENT ON TABLE prm.benefit IS 'What a tier gives, or a certification.';
COMMENT ON COLUMN prm.benefit.benefit_id IS 'Number of the row.';
COMMENT ON COLUMN prm.benefit.ladder IS 'The ladder of the tier; means nothing for a certification.';
COMMENT ON COLUMN prm.benefit.tier IS 'The tier that gives it; empty where a certification does.';
COMMENT ON COLUMN prm.benefit.certification IS 'The certification that gives it; empty where a tier does.';
COMMENT ON COLUMN prm.benefit.min_people IS 'How many people of the partner must have a valid certificate.';
COMMENT ON COLUMN prm.benefit.benefit IS 'The benefit: discount_percent, support_level, mdf_percent ...';
COMMENT ON COLUMN prm.benefit.kind IS 'discount and mdf_share: percent of revenue, they count in v_tier_mismatch; lead_priority: higher comes first; product_access: a product family that only its holders may register deals for; support_level; other.';
COMMENT ON COLUMN prm.benefit.value IS 'Its value, as text; a number for discount, mdf_share and lead_priority.';
COMMENT ON COLUMN prm.benefit.label IS 'Name for people.';
COMMENT ON COLUMN prm.benefit.valid IS 'The days on which it is given, from (inclusive) to (exclusive).';

COMMENT ON TABLE prm.benefit_grant IS 'Which benefit a partner had when. Follows the tier held and the certificates of its people.';
COMMENT ON COLUMN prm.benefit_grant.benefit_grant_id IS 'Number of the row.';
COMMENT ON COLUMN prm.benefit_grant.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.benefit_grant.benefit IS 'The benefit.';
COMMENT ON COLUMN prm.benefit_grant.kind IS 'Its kind.';
COMMENT ON COLUMN prm.benefit_grant.ladder IS 'The ladder that gave it; empty for a certification.';
COMMENT ON COLUMN prm.benefit_grant.tier IS 'The tier that gave it; empty for a certification.';
COMMENT ON COLUMN prm.benefit_grant.certification IS 'The certification that gave it; empty for a tier.';
COMMENT ON COLUMN prm.benefit_grant.value IS 'Its value.';
COMMENT ON COLUMN prm.benefit_grant.valid IS 'From (inclusive) to (exclusive); without end while the tier is held.';
