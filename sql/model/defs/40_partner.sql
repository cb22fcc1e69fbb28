
-- Partners: their history, kept by itself, and their standing in the ladders.

CREATE OR REPLACE FUNCTION prm._partner_check_parents(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partner bigint;
  the_name text;
BEGIN
  WITH RECURSIVE upline(start_id, parent_id) AS (
    SELECT p.partner_id, p.parent_id FROM prm.partner p
      WHERE p.program_id = _partner_check_parents.program_id AND p.partner_id = ANY (_partner_check_parents.partner_ids)
        AND p.parent_id IS NOT NULL
    UNION
    SELECT u.start_id, p.parent_id FROM upline u
      JOIN prm.partner p ON p.program_id = _partner_check_parents.program_id AND p.partner_id = u.parent_id
      WHERE p.parent_id IS NOT NULL AND u.parent_id <> u.start_id
  )
  SELECT u.start_id INTO the_partner FROM upline u WHERE u.parent_id = u.start_id ORDER BY u.start_id LIMIT 1;
  IF the_partner IS NOT NULL THEN
    SELECT p.name INTO the_name FROM prm.partner p
      WHERE p.program_id = _partner_check_parents.program_id AND p.partner_id = the_partner;
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('partner %s would be above itself', the_partner),
      DETAIL = format('The chain of parents that begins at "%s" comes back to it.', the_name),
      HINT = 'Choose a parent that does not stand below the partner.',
      SCHEMA = 'prm', TABLE = 'partner', COLUMN = 'parent_id', CONSTRAINT = 'partner_parent_check';
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._partner_check_parents(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._partner_check_parents(bigint, bigint[]) IS
'Refuses (23514) a partner that stands in its own chain of parents. Called by the triggers of prm.partner.';

CREATE OR REPLACE FUNCTION prm._partner_check_tiers(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  stranger record;
BEGIN
  SELECT p.partner_id, p.tier INTO stranger FROM prm.partner p
    WHERE p.program_id = _partner_check_tiers.program_id AND p.partner_id = ANY (_partner_check_tiers.partner_ids)
      AND p.tier IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM prm.tier t WHERE t.program_id = _partner_check_tiers.program_id AND t.ladder = 'main' AND t.tier = p.tier)
    ORDER BY p.partner_id LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('tier "%s" does not exist', stranger.tier),
      DETAIL = format('Partner %s cannot hold it: the tiers of ladder main are %s.', stranger.partner_id,
        coalesce((SELECT string_agg(t.tier, ', ' ORDER BY t.rank) FROM prm.tier t
                  WHERE t.program_id = _partner_check_tiers.program_id AND t.ladder = 'main'), 'none')),
      HINT = 'Name one of them, or add the tier to prm.tier first.',
      SCHEMA = 'prm', TABLE = 'partner', COLUMN = 'tier';
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._partner_check_tiers(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._partner_check_tiers(bigint, bigint[]) IS
'Refuses (42704) a partner whose tier is no tier of ladder main. Called by the triggers of prm.partner.';

CREATE OR REPLACE FUNCTION prm._partner_remember(program_id bigint, partner_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_changed bigint[];
BEGIN
  SELECT array_agg(p.partner_id) INTO the_changed
    FROM prm.partner p JOIN prm.partner_history h
      ON h.program_id = p.program_id AND h.partner_id = p.partner_id AND upper_inf(h.valid)
    WHERE p.program_id = _partner_remember.program_id AND p.partner_id = ANY (_partner_remember.partner_ids)
      AND (p.kind, p.parent_id, p.country, p.region, p.tier, p.attributes)
          IS DISTINCT FROM (h.kind, h.parent_id, h.country, h.region, h.tier, h.attributes);
  IF the_changed IS NULL THEN
    RETURN;
  END IF;
  -- A row that began at this very moment, or after it (the clock was turned back), is changed in place: it never held before.
  UPDATE prm.partner_history h
    SET kind = p.kind, parent_id = p.parent_id, country = p.country, region = p.region, tier = p.tier, attributes = p.attributes
    FROM prm.partner p
    WHERE h.program_id = _partner_remember.program_id AND h.partner_id = ANY (the_changed) AND upper_inf(h.valid)
      AND lower(h.valid) >= the_now
      AND p.program_id = _partner_remember.program_id AND p.partner_id = h.partner_id;
  UPDATE prm.partner_history h SET valid = tstzrange(lower(h.valid), the_now)
    WHERE h.program_id = _partner_remember.program_id AND h.partner_id = ANY (the_changed) AND upper_inf(h.valid)
      AND (lower_inf(h.valid) OR lower(h.valid) < the_now);
  INSERT INTO prm.partner_history (program_id, partner_id, valid, kind, parent_id, country, region, tier, attributes)
    SELECT p.program_id, p.partner_id, tstzrange(the_now, NULL), p.kind, p.parent_id, p.country, p.region, p.tier, p.attributes
    FROM prm.partner p
    WHERE p.program_id = _partner_remember.program_id AND p.partner_id = ANY (the_changed)
      AND NOT EXISTS (SELECT 1 FROM prm.partner_history h
                      WHERE h.program_id = p.program_id AND h.partner_id = p.partner_id AND upper_inf(h.valid));
END
$prm$;
REVOKE ALL ON FUNCTION prm._partner_remember(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._partner_remember(bigint, bigint[]) IS
'Brings partner_history up to date with the present rows of the partners: closes the open row at prm.now() and opens the next, or changes it in place where it began at that moment. Called by the triggers of prm.partner.';

CREATE OR REPLACE FUNCTION prm._partner_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = on AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_findings prm.tier_finding[];
BEGIN
  FOR batch IN
    SELECT n.program_id AS number, array_agg(n.partner_id ORDER BY n.partner_id) AS ids, bool_or(n.parent_id IS NOT NULL) AS has_parents,
      bool_or(n.tier IS NOT NULL) AS has_tiers
    FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    -- Without statistics every table seems to hold one row of the programme, and a loop over two of them grows with the square.
    PERFORM set_config('enable_nestloop', CASE WHEN cardinality(batch.ids) > 200 THEN 'off' ELSE 'on' END, true);
    IF batch.has_parents THEN
      PERFORM prm._partner_check_parents(batch.number, batch.ids);
    END IF;
    IF batch.has_tiers THEN
      PERFORM prm._partner_check_tiers(batch.number, batch.ids);
    END IF;
    -- Whoever is new stands at the entry of each ladder, or where the vendor put it; nothing was ever different before.
    INSERT INTO prm.partner_history (program_id, partner_id, valid, kind, parent_id, country, region, tier, attributes)
      SELECT p.program_id, p.partner_id, tstzrange(NULL, NULL), p.kind, p.parent_id, p.country, p.region,
        coalesce(p.tier, (SELECT y.entry_tier FROM prm.tier_policy y WHERE y.program_id = batch.number AND y.ladder = 'main')), p.attributes
      FROM prm.partner p WHERE p.program_id = batch.number AND p.partner_id = ANY (batch.ids);
    SELECT array_agg(ROW(p.partner_id, l.ladder, NULL, y.entry_tier, 'entry', 'new partner', NULL,
                         CASE WHEN l.ladder = 'main' THEN coalesce(p.tier, y.entry_tier) ELSE y.entry_tier END,
                         'active', NULL, NULL, NULL, '{}', true, false)::prm.tier_finding ORDER BY p.partner_id, l.ladder)
      INTO the_findings
      FROM prm.partner p
      JOIN prm.ladder l ON l.program_id = batch.number
      LEFT JOIN prm.tier_policy y ON y.program_id = batch.number AND y.ladder = l.ladder
      WHERE p.program_id = batch.number AND p.partner_id = ANY (batch.ids) AND coalesce(y.enrolment, 'everybody') = 'everybody';
    IF the_findings IS NOT NULL THEN
      PERFORM prm._apply_tiers(batch.number, the_findings);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._partner_inserted() FROM PUBLIC;
COMMENT ON FUNCTION prm._partner_inserted() IS
'Statement trigger of prm.partner: checks parents and tiers, opens the history, and enrols the new partners in each ladder. Errors: 23514 a partner above itself, 42704 unknown tier.';

CREATE OR REPLACE FUNCTION prm._partner_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = on AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_moved bigint[];
  the_placed bigint[];
  the_findings prm.tier_finding[];
BEGIN
  -- EXCEPT, because a join of the two would be planned before their size is known, and grow with its square.
  FOR batch IN
    SELECT c.program_id AS number, array_agg(c.partner_id ORDER BY c.partner_id) AS ids
    FROM (SELECT n.program_id, n.partner_id, n.kind, n.parent_id, n.country, n.region, n.tier, n.attributes FROM new_rows n
          EXCEPT
          SELECT o.program_id, o.partner_id, o.kind, o.parent_id, o.country, o.region, o.tier, o.attributes FROM old_rows o) c
    GROUP BY c.program_id ORDER BY c.program_id
  LOOP
    -- As in _partner_inserted().
    PERFORM set_config('enable_nestloop', CASE WHEN cardinality(batch.ids) > 200 THEN 'off' ELSE 'on' END, true);
    SELECT array_agg(c.partner_id) INTO the_moved
      FROM (SELECT n.partner_id, n.parent_id FROM new_rows n WHERE n.program_id = batch.number AND n.parent_id IS NOT NULL
            EXCEPT
            SELECT o.partner_id, o.parent_id FROM old_rows o WHERE o.program_id = batch.number) c;
    SELECT array_agg(c.partner_id) INTO the_placed
      FROM (SELECT n.partner_id, n.tier FROM new_rows n WHERE n.program_id = batch.number
            EXCEPT
            SELECT o.partner_id, o.tier FROM old_rows o WHERE o.program_id = batch.number) c;
    IF the_moved IS NOT NULL THEN
      -- Two sessions that move two partners below each other must see one another: one at a time, until commit.
      PERFORM pg_advisory_xact_lock(hashtextextended('prm partner parents', batch.number));
      PERFORM prm._partner_check_parents(batch.number, the_moved);
    END IF;
    IF the_placed IS NOT NULL THEN
      PERFORM prm._partner_check_tiers(batch.number, the_placed);
      -- evaluate_tiers() changes the enrolment before the partner, so a difference here was made by hand.
      SELECT array_agg(ROW(p.partner_id, 'main', e.tier, e.qualified_tier, 'manual',
                           coalesce(nullif(current_setting('prm.reason', true), ''), 'set by hand'),
                           (prm.now() AT TIME ZONE prm._program_time_zone(batch.number))::date, p.tier,
                           'active', NULL, NULL, NULL, '{}', true, false)::prm.tier_finding ORDER BY p.partner_id)
        INTO the_findings
        FROM prm.partner p
        LEFT JOIN prm.enrolment e ON e.program_id = batch.number AND e.partner_id = p.partner_id AND e.ladder = 'main'
        WHERE p.program_id = batch.number AND p.partner_id = ANY (the_placed) AND p.tier IS DISTINCT FROM e.tier;
      IF the_findings IS NOT NULL THEN
        PERFORM prm._apply_tiers(batch.number, the_findings);
      END IF;
    END IF;
    PERFORM prm._partner_remember(batch.number, batch.ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._partner_updated() FROM PUBLIC;
COMMENT ON FUNCTION prm._partner_updated() IS
'Statement trigger of prm.partner: keeps the history, refuses cycles of parents (23514) and unknown tiers (42704), and keeps enrolment and tier_history in step with a tier that was set by hand (outcome manual).';

CREATE OR REPLACE TRIGGER prm_40_partner_insert AFTER INSERT ON prm.partner
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._partner_inserted();
CREATE OR REPLACE TRIGGER prm_40_partner_update AFTER UPDATE ON prm.partner
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._partner_updated();

COMMENT ON TABLE prm.partner_kind IS 'Kinds of partners in a programme, and what each does.';
COMMENT ON COLUMN prm.partner_kind.kind IS 'The kind: reseller, affiliate, hub, franchisee ...';
COMMENT ON COLUMN prm.partner_kind.label IS 'Name for people.';
COMMENT ON COLUMN prm.partner_kind.prospects IS 'Whether partners of this kind find customers.';
COMMENT ON COLUMN prm.partner_kind.sells IS 'Whether they sell.';
COMMENT ON COLUMN prm.partner_kind.implements IS 'Whether they put the product to work at the customer.';
COMMENT ON COLUMN prm.partner_kind.supports IS 'Whether they support the customer afterwards.';

COMMENT ON TABLE prm.ladder IS 'Ladders of tiers. A programme may run several (sales, services, a designation); main is the one that partner.tier shows.';
COMMENT ON COLUMN prm.ladder.ladder IS 'The ladder; main is the default everywhere.';
COMMENT ON COLUMN prm.ladder.label IS 'Name for people.';

COMMENT ON TABLE prm.tier IS 'The tiers of a ladder.';
COMMENT ON COLUMN prm.tier.ladder IS 'The ladder the tier belongs to.';
COMMENT ON COLUMN prm.tier.tier IS 'The tier: registered, silver, gold ...';
COMMENT ON COLUMN prm.tier.rank IS 'Its place: a higher rank is better. The order in which tiers are defined means nothing.';
COMMENT ON COLUMN prm.tier.label IS 'Name for people.';
COMMENT ON COLUMN prm.tier.needs_approval IS 'Whether promotion to it waits for approve_tier(), whatever the ladder''s policy says of the others.';

COMMENT ON TABLE prm.partner IS 'Partners: the firms and people that sell, refer or serve for the vendor.';
COMMENT ON COLUMN prm.partner.partner_id IS 'Number of the partner.';
COMMENT ON COLUMN prm.partner.name IS 'Name of the firm or person.';
COMMENT ON COLUMN prm.partner.kind IS 'A row of prm.partner_kind.';
COMMENT ON COLUMN prm.partner.parent_id IS 'The partner above it (a hub, a distributor, the owner of several franchises). A chain of parents never comes back to itself.';
COMMENT ON COLUMN prm.partner.state IS 'State of the partner machine: applicant, onboarding, active, suspended, offboarding, terminated, rejected.';
COMMENT ON COLUMN prm.partner.tier IS 'The tier it holds on ladder main. Set by evaluate_tiers(); where it is set by hand, tier_history says manual.';
COMMENT ON COLUMN prm.partner.country IS 'Country, ISO 3166 code by habit.';
COMMENT ON COLUMN prm.partner.region IS 'Sales region, in the vendor''s own words.';
COMMENT ON COLUMN prm.partner.postal_code IS 'Postal code.';
COMMENT ON COLUMN prm.partner.latitude IS 'Degrees north, -90 to 90.';
COMMENT ON COLUMN prm.partner.longitude IS 'Degrees east, -180 to 180.';
COMMENT ON COLUMN prm.partner.email IS 'Where the partner is written to.';
COMMENT ON COLUMN prm.partner.domain IS 'Domain of its web site.';
COMMENT ON COLUMN prm.partner.tax_id IS 'Tax number; unique in the programme.';
COMMENT ON COLUMN prm.partner.joined_on IS 'Day on which it joined the programme.';

COMMENT ON TABLE prm.partner_history IS 'What was true of a partner when. Kept by triggers; every decision about a past event reads it. The ranges of a partner meet without a gap, the first has no beginning and the last no end.';
COMMENT ON COLUMN prm.partner_history.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.partner_history.valid IS 'When it was so: from (inclusive) to (exclusive).';
COMMENT ON COLUMN prm.partner_history.kind IS 'Its kind then.';
COMMENT ON COLUMN prm.partner_history.parent_id IS 'The partner above it then.';
COMMENT ON COLUMN prm.partner_history.country IS 'Its country then.';
COMMENT ON COLUMN prm.partner_history.region IS 'Its region then.';
COMMENT ON COLUMN prm.partner_history.tier IS 'The tier it held on ladder main then.';

COMMENT ON TABLE prm.partner_user IS 'People who work at a partner.';
COMMENT ON COLUMN prm.partner_user.partner_user_id IS 'Number of the person.';
COMMENT ON COLUMN prm.partner_user.partner_id IS 'The partner the person works for.';
COMMENT ON COLUMN prm.partner_user.name IS 'Name.';
COMMENT ON COLUMN prm.partner_user.email IS 'Where the person is written to.';
COMMENT ON COLUMN prm.partner_user.role IS 'What the person does there, in the vendor''s own words.';
COMMENT ON COLUMN prm.partner_user.is_active IS 'Whether the person still works there; certificates of people who left do not count.';

COMMENT ON TABLE prm.partner_login IS 'Which database role acts for which partner.';
COMMENT ON COLUMN prm.partner_login.role_name IS 'The role.';
COMMENT ON COLUMN prm.partner_login.partner_id IS 'The partner it acts for.';
COMMENT ON COLUMN prm.partner_login.partner_user_id IS 'The person, where the role is one person''s.';

COMMENT ON TABLE prm.payee IS 'Who is paid for a partner. A partner without a row here is paid itself.';
COMMENT ON COLUMN prm.payee.payee_id IS 'Number of the payee.';
COMMENT ON COLUMN prm.payee.partner_id IS 'The partner whose earnings it gets.';
COMMENT ON COLUMN prm.payee.legal_name IS 'Name on documents.';
COMMENT ON COLUMN prm.payee.tax_id IS 'Its tax number.';
COMMENT ON COLUMN prm.payee.tax_rule IS 'Name of the tax rule that applies to it.';
COMMENT ON COLUMN prm.payee.bank IS 'Bank details, a JSON object.';
COMMENT ON COLUMN prm.payee.currency IS 'Currency it is paid in, ISO 4217.';

COMMENT ON TABLE prm.enrolment IS 'The standing of a partner in a ladder. What it meets (qualified_tier), what it holds (tier) and a cap on what counts are kept apart.';
COMMENT ON COLUMN prm.enrolment.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.enrolment.ladder IS 'The ladder.';
COMMENT ON COLUMN prm.enrolment.tier IS 'The tier it holds.';
COMMENT ON COLUMN prm.enrolment.qualified_tier IS 'The highest tier whose requirements it met when last evaluated.';
COMMENT ON COLUMN prm.enrolment.cap_tier IS 'Where it counts for less than it holds: benefits follow the lower of the two, and so do entitlement(), the product families that it may register, funds, what those below it inherit, and the benefits that conditions of commission rules see. It does not change the tier held, and rules for a tier are paid by the tier held.';
COMMENT ON COLUMN prm.enrolment.cap_until IS 'Until when the cap counts; empty: without end.';
COMMENT ON COLUMN prm.enrolment.cap_reason IS 'Why there is a cap.';
COMMENT ON COLUMN prm.enrolment.standing IS 'active; at_risk: short of the tier it holds; grace: the last stretch before the review date.';
COMMENT ON COLUMN prm.enrolment.pinned_until IS 'Until then pin_tier() overrides promotion and demotion; infinity means without end.';
COMMENT ON COLUMN prm.enrolment.pin_reason IS 'Why the tier was pinned.';
COMMENT ON COLUMN prm.enrolment.at_risk_on IS 'Day on which it was first found short of its tier; empty when it is not.';
COMMENT ON COLUMN prm.enrolment.grace_on IS 'Day on which the grace begins.';
COMMENT ON COLUMN prm.enrolment.review_on IS 'Day on which it is demoted unless it recovers before.';
COMMENT ON COLUMN prm.enrolment.effective_on IS 'Day since which it holds its tier.';
COMMENT ON COLUMN prm.enrolment.evaluated_at IS 'When an evaluation last changed this row.';
COMMENT ON COLUMN prm.enrolment.valid IS 'When it was enrolled in the ladder.';
