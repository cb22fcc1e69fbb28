
-- Registrations: the machine that serves them, what approval means, and who may write what.

ALTER TABLE prm.registration DROP CONSTRAINT IF EXISTS registration_amount_check;
ALTER TABLE prm.registration ADD CONSTRAINT registration_amount_check CHECK (prm.check_amount(amount, 'registration.amount'));

CREATE OR REPLACE FUNCTION prm._registration_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_now timestamptz := prm.now();
  the_zone text := prm._program_time_zone(NEW.program_id);
  the_policy text;
  the_protection interval;
  the_end timestamptz;
BEGIN
  IF prm._acting_partner(NEW.program_id) IS NOT NULL AND (
      TG_OP = 'INSERT' AND num_nonnulls(NEW.protected, NEW.submitted_at, NEW.approved_at) > 0
      OR TG_OP = 'UPDATE' AND ((NEW.protected, NEW.is_exclusive, NEW.submitted_at, NEW.approved_at) IS DISTINCT FROM (OLD.protected, OLD.is_exclusive, OLD.submitted_at, OLD.approved_at)
        OR OLD.approved_at IS NOT NULL AND (NEW.partner_id, NEW.customer_id, NEW.product_family) IS DISTINCT FROM (OLD.partner_id, OLD.customer_id, OLD.product_family))) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a partner does not set what a registration protects',
      DETAIL = 'The times follow from submission and approval; once approved, customer and product family stay as they were.',
      HINT = 'Ask the vendor, or register another one.', SCHEMA = 'prm', TABLE = 'registration', COLUMN = 'protected';
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    RETURN NEW;
  END IF;
  IF NEW.state = 'submitted' AND NEW.submitted_at IS NULL THEN
    NEW.submitted_at := the_now;
  ELSIF NEW.state = 'approved' THEN
    SELECT p.registration_policy, p.registration_protection INTO the_policy, the_protection FROM prm.program p WHERE p.program_id = NEW.program_id;
    NEW.approved_at := coalesce(NEW.approved_at, the_now);
    NEW.is_exclusive := the_policy = 'exclusive';
    -- An import gives the range of then.
    NEW.protected := coalesce(NEW.protected, tstzrange(NEW.approved_at, ((NEW.approved_at AT TIME ZONE the_zone) + the_protection) AT TIME ZONE the_zone));
    -- The exclusion constraint decides; this says it in words, where the other one can be seen already.
    IF NEW.is_exclusive THEN
      SELECT max(upper(r.protected)) INTO the_end FROM prm.registration r
        WHERE r.program_id = NEW.program_id AND r.customer_id = NEW.customer_id AND r.product_family = NEW.product_family
          AND r.protected && NEW.protected AND r.is_exclusive AND r.registration_id <> NEW.registration_id;
      IF FOUND AND the_end IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23P01', MESSAGE = format('the customer is protected already for product family "%s"', NEW.product_family),
          DETAIL = format('Registration %s cannot be approved while another one protects customer %s there, until %s.', NEW.registration_id, NEW.customer_id,
            to_char(the_end AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI')),
          HINT = 'Reject this one, or approve it after that.', SCHEMA = 'prm', TABLE = 'registration', CONSTRAINT = 'registration_exclusive';
      END IF;
    END IF;
  ELSIF TG_OP = 'UPDATE' AND OLD.state = 'approved' AND NEW.state IN ('canceled', 'rejected') AND upper(NEW.protected) > the_now THEN
    -- Given up: from now on the customer is free. What is closed or expires keeps its time to the end.
    NEW.protected := CASE WHEN lower(NEW.protected) < the_now THEN tstzrange(lower(NEW.protected), the_now) ELSE 'empty'::tstzrange END;
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._registration_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._registration_row() IS
'Row trigger of registration: when it was submitted and approved, and from approval on the protection of the programme''s interval; one that is canceled frees the customer. Errors: 23P01 the customer is protected already (names the family, not the rival), 42501 a partner that sets what is protected.';

CREATE OR REPLACE TRIGGER prm_00_registration_row BEFORE INSERT OR UPDATE ON prm.registration FOR EACH ROW EXECUTE FUNCTION prm._registration_row();

-- Every way to change a state goes through these.
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.registration
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('registration', 'registration_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.registration
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('registration', 'registration_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON prm.registration
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('registration', 'registration_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.registration
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('registration', 'registration_id', 'state');

CREATE OR REPLACE VIEW prm.v_registration WITH (security_invoker = true) AS
  SELECT r.program_id, r.registration_id, r.partner_id, p.name AS partner, r.customer_id, c.name AS customer, r.product_family, r.name, r.deal_id, r.amount, r.currency,
    r.state, r.submitted_at, r.approved_at, lower(r.protected) AS protected_from, upper(r.protected) AS protected_until,
    coalesce(r.protected @> prm.now(), false) AS is_protected, r.is_exclusive, r.expected_close_on, r.created_at, r.external_ref
  FROM prm.registration r
  LEFT JOIN prm.partner p ON p.program_id = r.program_id AND p.partner_id = r.partner_id
  LEFT JOIN prm.customer c ON c.program_id = r.program_id AND c.customer_id = r.customer_id;
COMMENT ON VIEW prm.v_registration IS 'Registrations with the names of partner and customer and until when they protect. One row per registration.';
COMMENT ON COLUMN prm.v_registration.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_registration.registration_id IS 'Number of the registration.';
COMMENT ON COLUMN prm.v_registration.partner_id IS 'The partner that registered.';
COMMENT ON COLUMN prm.v_registration.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_registration.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.v_registration.customer IS 'Its name; NULL where you may not see it.';
COMMENT ON COLUMN prm.v_registration.product_family IS 'The product family.';
COMMENT ON COLUMN prm.v_registration.name IS 'Name for people.';
COMMENT ON COLUMN prm.v_registration.deal_id IS 'The deal that it is about.';
COMMENT ON COLUMN prm.v_registration.amount IS 'Expected value in currency.';
COMMENT ON COLUMN prm.v_registration.currency IS 'ISO 4217; NULL: the programme''s.';
COMMENT ON COLUMN prm.v_registration.state IS 'State in the machine registration.';
COMMENT ON COLUMN prm.v_registration.submitted_at IS 'When it was submitted.';
COMMENT ON COLUMN prm.v_registration.approved_at IS 'When it was approved.';
COMMENT ON COLUMN prm.v_registration.protected_from IS 'From when on it protects.';
COMMENT ON COLUMN prm.v_registration.protected_until IS 'Until when, exclusive.';
COMMENT ON COLUMN prm.v_registration.is_protected IS 'Whether it protects now.';
COMMENT ON COLUMN prm.v_registration.is_exclusive IS 'Whether nobody else could be approved for the customer and the family meanwhile.';
COMMENT ON COLUMN prm.v_registration.expected_close_on IS 'When the partner expects the customer to decide.';
COMMENT ON COLUMN prm.v_registration.created_at IS 'When it came to be.';
COMMENT ON COLUMN prm.v_registration.external_ref IS 'Its id in the system it came from.';

COMMENT ON TABLE prm.registration IS 'Deal registrations: a partner asks to be protected for a customer and a product family. From approval it is, for the interval of the programme; the machine registration says who may do what next.';
COMMENT ON COLUMN prm.registration.registration_id IS 'Number of the registration in the programme.';
COMMENT ON COLUMN prm.registration.partner_id IS 'The partner that registers.';
COMMENT ON COLUMN prm.registration.customer_id IS 'The customer; needed for approval.';
COMMENT ON COLUMN prm.registration.product_family IS 'The product family that it is about, not blank.';
COMMENT ON COLUMN prm.registration.deal_id IS 'The deal that it is about, where there is one.';
COMMENT ON COLUMN prm.registration.name IS 'Name for people.';
COMMENT ON COLUMN prm.registration.amount IS 'Expected value in currency, zero or more.';
COMMENT ON COLUMN prm.registration.currency IS 'Currency of the amount, ISO 4217; NULL: the programme''s.';
COMMENT ON COLUMN prm.registration.expected_close_on IS 'When the partner expects the customer to decide.';
COMMENT ON COLUMN prm.registration.state IS 'State in the machine registration; changed by fire() or by UPDATE, always checked.';
COMMENT ON COLUMN prm.registration.protected IS 'When it protects, from approval (inclusive) for the programme''s interval (exclusive); shortened where it is canceled. It ends by time, not by a job.';
COMMENT ON COLUMN prm.registration.is_exclusive IS 'Whether the policy of the programme was exclusive when it was approved: nobody else is approved for the same customer and family at the same time.';
COMMENT ON COLUMN prm.registration.submitted_at IS 'When it was submitted.';
COMMENT ON COLUMN prm.registration.approved_at IS 'When it was approved.';
COMMENT ON COLUMN prm.program.registration_policy IS 'exclusive: one approved registration for a customer and a product family at a time; shared: several.';
COMMENT ON COLUMN prm.program.registration_protection IS 'How long an approved registration protects, such as 90 days or 6 months; above 0.';
