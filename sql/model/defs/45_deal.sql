
-- Customers, products, leads and deals: what their columns mean, what an amount may be, the deal that a converted lead
-- becomes, and the two views of the pipeline.

COMMENT ON TABLE prm.customer IS 'Customers: the companies that partners sell to. One row for a company; subsidiaries point to their parent.';
COMMENT ON COLUMN prm.customer.customer_id IS 'Number of the customer in the programme.';
COMMENT ON COLUMN prm.customer.name IS 'Name of the company, not blank.';
COMMENT ON COLUMN prm.customer.domain IS 'Internet domain of the company; a converted lead of the same domain is the same customer.';
COMMENT ON COLUMN prm.customer.tax_id IS 'Tax number, the surest mark of identity.';
COMMENT ON COLUMN prm.customer.country IS 'Country, ISO 3166 by convention.';
COMMENT ON COLUMN prm.customer.region IS 'Region in the vendor''s own terms.';
COMMENT ON COLUMN prm.customer.segment IS 'Market segment or industry in the vendor''s own terms.';
COMMENT ON COLUMN prm.customer.parent_id IS 'The customer that this one is a subsidiary of.';

COMMENT ON TABLE prm.product IS 'What is sold. A variant points to its product by parent; family groups products for rules and exclusivity.';
COMMENT ON COLUMN prm.product.product IS 'Short name of the product, its key.';
COMMENT ON COLUMN prm.product.label IS 'Name for people.';
COMMENT ON COLUMN prm.product.family IS 'Product family.';
COMMENT ON COLUMN prm.product.parent IS 'The product that this one is a variant of.';
COMMENT ON COLUMN prm.product.commissionable IS 'False: nothing is earned on it.';
COMMENT ON COLUMN prm.product.list_price IS 'List price of one unit in currency, zero or more.';
COMMENT ON COLUMN prm.product.currency IS 'Currency of the list price, ISO 4217; NULL: the programme''s.';

COMMENT ON TABLE prm.lead IS 'Leads: a company that may buy. Partner and vendor qualify it together; the machine lead says who may do what next.';
COMMENT ON COLUMN prm.lead.lead_id IS 'Number of the lead in the programme.';
COMMENT ON COLUMN prm.lead.partner_id IS 'The partner that works on it.';
COMMENT ON COLUMN prm.lead.customer_id IS 'The customer it turned out to be; filled at conversion where it is empty.';
COMMENT ON COLUMN prm.lead.company IS 'Name of the company.';
COMMENT ON COLUMN prm.lead.contact_name IS 'The person there.';
COMMENT ON COLUMN prm.lead.email IS 'The person''s address.';
COMMENT ON COLUMN prm.lead.phone IS 'The person''s number.';
COMMENT ON COLUMN prm.lead.domain IS 'Internet domain of the company.';
COMMENT ON COLUMN prm.lead.country IS 'Country, ISO 3166 by convention.';
COMMENT ON COLUMN prm.lead.region IS 'Region in the vendor''s own terms.';
COMMENT ON COLUMN prm.lead.postal_code IS 'Postal code.';
COMMENT ON COLUMN prm.lead.latitude IS 'Degrees north, -90 to 90.';
COMMENT ON COLUMN prm.lead.longitude IS 'Degrees east, -180 to 180.';
COMMENT ON COLUMN prm.lead.source IS 'Where it came from: web, event, referral ...';
COMMENT ON COLUMN prm.lead.campaign IS 'The campaign that brought it.';
COMMENT ON COLUMN prm.lead.product_family IS 'The product family it is about.';
COMMENT ON COLUMN prm.lead.need IS 'What the company needs; required to qualify.';
COMMENT ON COLUMN prm.lead.budget IS 'What the company can spend, in currency, zero or more; required to qualify.';
COMMENT ON COLUMN prm.lead.currency IS 'Currency of the budget, ISO 4217; NULL: the programme''s.';
COMMENT ON COLUMN prm.lead.timeline_on IS 'When the company means to decide; required to qualify.';
COMMENT ON COLUMN prm.lead.decision_maker IS 'Who decides there; required to qualify.';
COMMENT ON COLUMN prm.lead.state IS 'State in the machine lead; changed by fire() or by UPDATE, always checked.';

COMMENT ON TABLE prm.deal IS 'Deals: what a partner tries to sell to a customer. A won deal books an earning event, on which commissions accrue.';
COMMENT ON COLUMN prm.deal.deal_id IS 'Number of the deal in the programme.';
COMMENT ON COLUMN prm.deal.partner_id IS 'The partner that sells; credit for it unless deal_partner says otherwise.';
COMMENT ON COLUMN prm.deal.lead_id IS 'The lead that it came from.';
COMMENT ON COLUMN prm.deal.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.deal.name IS 'Name for people.';
COMMENT ON COLUMN prm.deal.product IS 'The product, for deals without lines.';
COMMENT ON COLUMN prm.deal.product_family IS 'The product family, for deals without product.';
COMMENT ON COLUMN prm.deal.kind IS 'new, renewal or upsell.';
COMMENT ON COLUMN prm.deal.amount IS 'Value of the deal in currency, zero or more; required to win it.';
COMMENT ON COLUMN prm.deal.cost IS 'What the goods cost the vendor, in currency, zero or more; for rules that pay on margin.';
COMMENT ON COLUMN prm.deal.currency IS 'Currency of amount and cost, ISO 4217.';
COMMENT ON COLUMN prm.deal.book_by IS 'How it is booked when it is won: deal (one earning event) or line (one for each line); NULL: as the programme says.';
COMMENT ON COLUMN prm.deal.state IS 'State in the machine deal; changed by fire() or by UPDATE, always checked.';
COMMENT ON COLUMN prm.deal.expected_close_on IS 'When it is expected to be decided.';
COMMENT ON COLUMN prm.deal.closed_at IS 'When it reached a final state; set by the model, an import may give a past moment.';

COMMENT ON TABLE prm.deal_line IS 'Lines of a deal, where it has several products. Their sum need not be the deal''s amount.';
COMMENT ON COLUMN prm.deal_line.deal_id IS 'The deal.';
COMMENT ON COLUMN prm.deal_line.line_no IS 'Number of the line in the deal.';
COMMENT ON COLUMN prm.deal_line.product IS 'The product.';
COMMENT ON COLUMN prm.deal_line.quantity IS 'Units, a finite number.';
COMMENT ON COLUMN prm.deal_line.unit_price IS 'Price of one unit before discount, in the deal''s currency, zero or more.';
COMMENT ON COLUMN prm.deal_line.discount IS 'Share taken off, 0 to 1.';
COMMENT ON COLUMN prm.deal_line.net IS 'Amount of the line after discount, in the deal''s currency, zero or more.';
COMMENT ON COLUMN prm.deal_line.list_amount IS 'Amount at list price, zero or more; for rules that pay on it.';
COMMENT ON COLUMN prm.deal_line.cost IS 'What the goods of the line cost the vendor, zero or more.';

COMMENT ON TABLE prm.deal_partner IS 'Who gets credit for a deal: weights total 100 within a credit type. A deal without rows credits its own partner as sourced.';
COMMENT ON COLUMN prm.deal_partner.deal_id IS 'The deal.';
COMMENT ON COLUMN prm.deal_partner.credit_type IS 'sourced, influenced, managed, assisted ...; each type is a full credit.';
COMMENT ON COLUMN prm.deal_partner.partner_id IS 'The partner that gets credit.';
COMMENT ON COLUMN prm.deal_partner.weight IS 'Its share in percent, above 0 up to 100.';

ALTER TABLE prm.product DROP CONSTRAINT IF EXISTS product_list_price_check;
ALTER TABLE prm.product ADD CONSTRAINT product_list_price_check CHECK (prm.check_amount(list_price, 'product.list_price'));
ALTER TABLE prm.lead DROP CONSTRAINT IF EXISTS lead_budget_check;
ALTER TABLE prm.lead ADD CONSTRAINT lead_budget_check CHECK (prm.check_amount(budget, 'lead.budget'));
ALTER TABLE prm.deal DROP CONSTRAINT IF EXISTS deal_amount_check;
ALTER TABLE prm.deal ADD CONSTRAINT deal_amount_check CHECK (prm.check_amount(amount, 'deal.amount'));
ALTER TABLE prm.deal DROP CONSTRAINT IF EXISTS deal_cost_check;
ALTER TABLE prm.deal ADD CONSTRAINT deal_cost_check CHECK (prm.check_amount(cost, 'deal.cost'));
ALTER TABLE prm.deal_line DROP CONSTRAINT IF EXISTS deal_line_quantity_check;
ALTER TABLE prm.deal_line ADD CONSTRAINT deal_line_quantity_check CHECK (prm.check_finite(quantity, 'deal_line.quantity'));
ALTER TABLE prm.deal_line DROP CONSTRAINT IF EXISTS deal_line_unit_price_check;
ALTER TABLE prm.deal_line ADD CONSTRAINT deal_line_unit_price_check CHECK (prm.check_amount(unit_price, 'deal_line.unit_price'));
ALTER TABLE prm.deal_line DROP CONSTRAINT IF EXISTS deal_line_net_check;
ALTER TABLE prm.deal_line ADD CONSTRAINT deal_line_net_check CHECK (prm.check_amount(net, 'deal_line.net'));
ALTER TABLE prm.deal_line DROP CONSTRAINT IF EXISTS deal_line_list_amount_check;
ALTER TABLE prm.deal_line ADD CONSTRAINT deal_line_list_amount_check CHECK (prm.check_amount(list_amount, 'deal_line.list_amount'));
ALTER TABLE prm.deal_line DROP CONSTRAINT IF EXISTS deal_line_cost_check;
ALTER TABLE prm.deal_line ADD CONSTRAINT deal_line_cost_check CHECK (prm.check_amount(cost, 'deal_line.cost'));

-- What a deal pays and what it counts for goes by these columns, so they are not the partner's to write: a past closing date
-- would choose the rates and end the hold at once, and a won deal made bigger would lift the partner's tier.

CREATE OR REPLACE FUNCTION prm._deal_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RAISE EXCEPTION USING ERRCODE = '42501',
    MESSAGE = CASE WHEN TG_OP = 'UPDATE' AND OLD.closed_at IS NOT NULL THEN format('deal %s is closed and no longer the partner''s to change', OLD.deal_id)
              ELSE 'a partner does not set when a deal was closed' END,
    DETAIL = 'closed_at is set when the deal reaches a final state; from then on partner, customer, product, amount, cost, currency and kind stay as they were.',
    HINT = CASE WHEN TG_OP = 'UPDATE' AND OLD.closed_at IS NOT NULL THEN 'Ask the vendor to correct the deal.' ELSE 'Leave closed_at out.' END,
    SCHEMA = 'prm', TABLE = 'deal', COLUMN = 'closed_at';
END
$prm$;
REVOKE ALL ON FUNCTION prm._deal_guard() FROM PUBLIC;
COMMENT ON FUNCTION prm._deal_guard() IS
'Row trigger of deal, fired only for an acting partner that sets closed_at or changes what a closed deal pays and counts for: refuses (42501).';

-- The names sort before prm_00_deal_row, which sets closed_at itself.
CREATE OR REPLACE TRIGGER prm_00_deal_guard_insert BEFORE INSERT ON prm.deal FOR EACH ROW
  WHEN (NEW.closed_at IS NOT NULL AND prm._acting_partner(NEW.program_id) IS NOT NULL) EXECUTE FUNCTION prm._deal_guard();
CREATE OR REPLACE TRIGGER prm_00_deal_guard_update BEFORE UPDATE ON prm.deal FOR EACH ROW
  WHEN ((NEW.closed_at IS DISTINCT FROM OLD.closed_at OR (OLD.closed_at IS NOT NULL AND (
           NEW.partner_id IS DISTINCT FROM OLD.partner_id OR NEW.customer_id IS DISTINCT FROM OLD.customer_id OR NEW.product IS DISTINCT FROM OLD.product
           OR NEW.product_family IS DISTINCT FROM OLD.product_family OR NEW.amount IS DISTINCT FROM OLD.amount OR NEW.cost IS DISTINCT FROM OLD.cost
           OR NEW.currency IS DISTINCT FROM OLD.currency OR NEW.kind IS DISTINCT FROM OLD.kind)))
        AND prm._acting_partner(NEW.program_id) IS NOT NULL) EXECUTE FUNCTION prm._deal_guard();

-- An import may take a closed deal back to an open state: it has no closing date then, and gets a new one when it closes again.

CREATE OR REPLACE FUNCTION prm._deal_reopened() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- The newest version that knows the state: a deal may still be on an older one. An unknown state is refused by the machine.
  IF (SELECT s.is_final FROM prm.machine_state s
      WHERE s.program_id = NEW.program_id AND s.machine = 'deal' AND s.state = NEW.state ORDER BY s.version DESC LIMIT 1) IS FALSE THEN
    NEW.closed_at := NULL;
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._deal_reopened() FROM PUBLIC;
COMMENT ON FUNCTION prm._deal_reopened() IS 'Row trigger of deal, fired only for a closed deal that changes its state: an open one has no closed_at.';

CREATE OR REPLACE TRIGGER prm_00_deal_reopened BEFORE UPDATE ON prm.deal FOR EACH ROW
  WHEN (OLD.closed_at IS NOT NULL AND NEW.state <> OLD.state) EXECUTE FUNCTION prm._deal_reopened();

-- Serve the search for the customer of a converted lead.
CREATE INDEX IF NOT EXISTS customer_domain_idx ON prm.customer (program_id, lower(domain)) WHERE domain IS NOT NULL;
CREATE INDEX IF NOT EXISTS customer_plain_name_idx ON prm.customer (program_id, prm._plain_name(name));

CREATE OR REPLACE FUNCTION prm._convert_leads(program_id bigint, subjects bigint[]) RETURNS void
-- No joins and always a plan of its own: statistics that have not heard of the programme yet take it for one row, and a join
-- would read all of its rows for each lead.
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
DECLARE
  the_state text;
  the_key bigint;
  the_names text[];
  the_domains text[];
  the_by_name jsonb;
  the_by_domain jsonb;
BEGIN
  SELECT array_agg(DISTINCT prm._plain_name(l.company)), array_agg(DISTINCT prm._company_domain(l.domain)) INTO the_names, the_domains
    FROM prm.lead l WHERE l.program_id = _convert_leads.program_id AND l.lead_id = ANY (_convert_leads.subjects) AND l.customer_id IS NULL;
  -- Two sessions that convert leads of one new company must not both make the customer: a lock on each name and domain,
  -- in order; a bulk conversion takes the programme's lock instead, which the small ones share.
  IF cardinality(_convert_leads.subjects) > 500 THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('prm customer ' || _convert_leads.program_id, 7239211));
  ELSE
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('prm customer ' || _convert_leads.program_id, 7239211));
    FOR the_key IN
      SELECT DISTINCT hashtextextended(format('prm customer %s %s', _convert_leads.program_id, k.word), 7239211) AS lock_key
      FROM unnest(the_names || the_domains) AS k(word) WHERE k.word IS NOT NULL ORDER BY lock_key
    LOOP
      PERFORM pg_advisory_xact_lock(the_key);
    END LOOP;
  END IF;

  -- The customers that there are, the oldest of several.
  SELECT coalesce(jsonb_object_agg(prm._plain_name(c.name), c.customer_id ORDER BY c.customer_id DESC), '{}') INTO the_by_name FROM prm.customer c
    WHERE c.program_id = _convert_leads.program_id AND prm._plain_name(c.name) = ANY (the_names);
  SELECT coalesce(jsonb_object_agg(lower(c.domain), c.customer_id ORDER BY c.customer_id DESC), '{}') INTO the_by_domain FROM prm.customer c
    WHERE c.program_id = _convert_leads.program_id AND lower(c.domain) = ANY (the_domains);

  -- The customers that are missing: one for each company among the leads, known neither by domain nor by name.
  INSERT INTO prm.customer (program_id, name, domain, country, region)
  SELECT DISTINCT ON (n.identity) _convert_leads.program_id, n.company, n.domain, n.country, n.region
  FROM (
    SELECT l.lead_id, l.company, prm._company_domain(l.domain) AS domain, l.country, l.region,
      -- Leads of one domain are one company, whatever name each of them wrote.
      CASE WHEN prm._company_domain(l.domain) IS NULL THEN prm._plain_name(l.company)
           ELSE first_value(prm._plain_name(l.company)) OVER (PARTITION BY prm._company_domain(l.domain) ORDER BY l.lead_id) END AS identity
    FROM prm.lead l
    WHERE l.program_id = _convert_leads.program_id AND l.lead_id = ANY (_convert_leads.subjects) AND l.customer_id IS NULL
      AND btrim(l.company) <> '' AND coalesce(the_by_domain -> prm._company_domain(l.domain), the_by_name -> prm._plain_name(l.company)) IS NULL
  ) n
  ORDER BY n.identity, n.lead_id;

  -- With the new ones.
  SELECT coalesce(jsonb_object_agg(prm._plain_name(c.name), c.customer_id ORDER BY c.customer_id DESC), '{}') INTO the_by_name FROM prm.customer c
    WHERE c.program_id = _convert_leads.program_id AND prm._plain_name(c.name) = ANY (the_names);
  SELECT coalesce(jsonb_object_agg(lower(c.domain), c.customer_id ORDER BY c.customer_id DESC), '{}') INTO the_by_domain FROM prm.customer c
    WHERE c.program_id = _convert_leads.program_id AND lower(c.domain) = ANY (the_domains);
  UPDATE prm.lead l SET customer_id = (coalesce(the_by_domain -> prm._company_domain(l.domain), the_by_name -> prm._plain_name(l.company)))::bigint
    WHERE l.program_id = _convert_leads.program_id AND l.lead_id = ANY (_convert_leads.subjects) AND l.customer_id IS NULL
      AND coalesce(the_by_domain -> prm._company_domain(l.domain), the_by_name -> prm._plain_name(l.company)) IS NOT NULL;

  SELECT s.state INTO the_state FROM prm.machine m
    JOIN prm.machine_state s ON s.program_id = m.program_id AND s.machine = m.machine AND s.version = m.version
    WHERE m.program_id = _convert_leads.program_id AND m.machine = 'deal' AND m.is_current AND s.is_initial;
  INSERT INTO prm.deal (program_id, partner_id, lead_id, customer_id, name, product_family, amount, currency, state, created_at)
  SELECT l.program_id, l.partner_id, l.lead_id, l.customer_id, coalesce(nullif(btrim(l.company), ''), l.contact_name, 'Lead ' || l.lead_id),
    l.product_family, l.budget, coalesce(l.currency, prm._program_currency(l.program_id)), coalesce(the_state, 'prospecting'), prm.now()
  FROM prm.lead l
  WHERE l.program_id = _convert_leads.program_id AND l.lead_id = ANY (_convert_leads.subjects)
  ORDER BY l.lead_id;
END
$prm$;
REVOKE ALL ON FUNCTION prm._convert_leads(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._convert_leads(bigint, bigint[]) IS
'What a transition with creates = deal does: one deal in its initial state for each lead, linked to lead, partner and customer; a customer of the same domain or the same name is reused, else made. Called by the machine''s trigger.';

CREATE OR REPLACE VIEW prm.v_deal WITH (security_invoker = true) AS
SELECT d.program_id, d.deal_id, d.name, d.partner_id, p.name AS partner, p.region AS partner_region, p.tier AS partner_tier,
  d.customer_id, c.name AS customer, d.lead_id, d.product, coalesce(d.product_family, o.family) AS product_family, d.kind,
  d.amount, d.cost, d.currency, d.state, s.label AS state_label, s.category AS state_category,
  NOT coalesce(s.is_final, false) AS is_open, coalesce(s.category = 'won', false) AS is_won, coalesce(s.category = 'lost', false) AS is_lost,
  d.expected_close_on, d.created_at, d.closed_at, d.external_ref
FROM prm.deal d
LEFT JOIN prm.partner p ON p.program_id = d.program_id AND p.partner_id = d.partner_id
LEFT JOIN prm.customer c ON c.program_id = d.program_id AND c.customer_id = d.customer_id
LEFT JOIN prm.product o ON o.program_id = d.program_id AND o.product = d.product
-- The newest version that knows the state: a deal may still be on an older one.
LEFT JOIN (SELECT DISTINCT ON (m.program_id, m.state) m.program_id, m.state, m.label, m.category, m.is_final
           FROM prm.machine_state m WHERE m.machine = 'deal' ORDER BY m.program_id, m.state, m.version DESC) s
  ON s.program_id = d.program_id AND s.state = d.state;
COMMENT ON VIEW prm.v_deal IS 'Deals with the names of partner and customer and what their state means. One row per deal.';
COMMENT ON COLUMN prm.v_deal.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_deal.deal_id IS 'Number of the deal in the programme.';
COMMENT ON COLUMN prm.v_deal.name IS 'Name of the deal.';
COMMENT ON COLUMN prm.v_deal.partner_id IS 'The partner that sells.';
COMMENT ON COLUMN prm.v_deal.partner IS 'Name of the partner.';
COMMENT ON COLUMN prm.v_deal.partner_region IS 'Present region of the partner.';
COMMENT ON COLUMN prm.v_deal.partner_tier IS 'Tier that the partner holds at present on the ladder main.';
COMMENT ON COLUMN prm.v_deal.customer_id IS 'The customer.';
COMMENT ON COLUMN prm.v_deal.customer IS 'Name of the customer.';
COMMENT ON COLUMN prm.v_deal.lead_id IS 'The lead that the deal came from.';
COMMENT ON COLUMN prm.v_deal.product IS 'The product, for deals without lines.';
COMMENT ON COLUMN prm.v_deal.product_family IS 'The product family of the deal, else that of its product.';
COMMENT ON COLUMN prm.v_deal.kind IS 'new, renewal or upsell.';
COMMENT ON COLUMN prm.v_deal.amount IS 'Value of the deal in currency.';
COMMENT ON COLUMN prm.v_deal.cost IS 'What the goods cost the vendor, in currency.';
COMMENT ON COLUMN prm.v_deal.currency IS 'Currency of amount and cost, ISO 4217.';
COMMENT ON COLUMN prm.v_deal.state IS 'State in the machine deal.';
COMMENT ON COLUMN prm.v_deal.state_label IS 'Name of the state for people, where the machine gives one.';
COMMENT ON COLUMN prm.v_deal.state_category IS 'What the state means: won, lost, or NULL for the others.';
COMMENT ON COLUMN prm.v_deal.is_open IS 'True while no final state is reached.';
COMMENT ON COLUMN prm.v_deal.is_won IS 'True in a state of category won.';
COMMENT ON COLUMN prm.v_deal.is_lost IS 'True in a state of category lost.';
COMMENT ON COLUMN prm.v_deal.expected_close_on IS 'When the deal is expected to be decided.';
COMMENT ON COLUMN prm.v_deal.created_at IS 'When the deal came to be.';
COMMENT ON COLUMN prm.v_deal.closed_at IS 'When it reached a final state.';
COMMENT ON COLUMN prm.v_deal.external_ref IS 'Its id in the system it came from.';

-- A stage is a state on a way from the initial state to a won one that never steps back (a returned lead steps back, so
-- returned is none). Whoever is in a stage has reached all stages before it, also one that it jumped over or that an import
-- does not know; so the shares never exceed one.
CREATE OR REPLACE VIEW prm.v_lead_funnel WITH (security_invoker = true) AS
WITH RECURSIVE state AS (
  SELECT s.program_id, s.state, s.label, s.is_initial, s.is_final, s.category, count(*) OVER (PARTITION BY s.program_id) AS states
  FROM prm.machine m
  JOIN prm.machine_state s ON s.program_id = m.program_id AND s.machine = m.machine AND s.version = m.version
  WHERE m.machine = 'lead' AND m.is_current
), step AS (
  SELECT DISTINCT t.program_id, t.from_state, t.to_state
  FROM prm.machine m
  JOIN prm.machine_transition t ON t.program_id = m.program_id AND t.machine = m.machine AND t.version = m.version
  WHERE m.machine = 'lead' AND m.is_current
), walk AS (
  SELECT s.program_id, s.state, 0 AS depth FROM state s WHERE s.is_initial
  UNION
  SELECT s.program_id, s.state, w.depth + 1 FROM walk w
  JOIN step t ON t.program_id = w.program_id AND t.from_state = w.state
  JOIN state s ON s.program_id = t.program_id AND s.state = t.to_state
  WHERE w.depth < s.states
), placed AS (
  SELECT s.program_id, s.state, s.label, s.is_initial, s.is_final, s.category, min(w.depth) AS depth
  FROM state s JOIN walk w ON w.program_id = s.program_id AND w.state = s.state
  GROUP BY s.program_id, s.state, s.label, s.is_initial, s.is_final, s.category
), forward AS (
  SELECT t.program_id, t.from_state, t.to_state
  FROM step t
  JOIN placed a ON a.program_id = t.program_id AND a.state = t.from_state
  JOIN placed b ON b.program_id = t.program_id AND b.state = t.to_state
  WHERE b.is_final OR b.depth > a.depth
), leads_to_won AS (
  SELECT p.program_id, p.state FROM placed p WHERE p.category = 'won'
  UNION
  SELECT f.program_id, f.from_state FROM leads_to_won l JOIN forward f ON f.program_id = l.program_id AND f.to_state = l.state
), stage AS (
  SELECT p.program_id, p.state, p.label,
    row_number() OVER (PARTITION BY p.program_id ORDER BY p.is_final, p.depth, p.state) AS stage_no
  FROM placed p JOIN leads_to_won l ON l.program_id = p.program_id AND l.state = p.state
), furthest AS (
  SELECT h.program_id, h.subject_id, max(g.stage_no) AS stage_no
  FROM prm.state_history h JOIN stage g ON g.program_id = h.program_id AND g.state = h.to_state
  WHERE h.machine = 'lead' AND h.subject_id IS NOT NULL
  GROUP BY h.program_id, h.subject_id
), reached AS (
  SELECT g.program_id, g.stage_no, g.state, g.label, sum(count(f.subject_id)) OVER (PARTITION BY g.program_id ORDER BY g.stage_no DESC) AS reached
  FROM stage g LEFT JOIN furthest f ON f.program_id = g.program_id AND f.stage_no = g.stage_no
  GROUP BY g.program_id, g.stage_no, g.state, g.label
), present AS (
  SELECT l.program_id, l.state, count(*) AS present FROM prm.lead l GROUP BY l.program_id, l.state
)
SELECT r.program_id, r.stage_no::integer AS stage_no, r.state AS stage, coalesce(r.label, r.state) AS label, r.reached::bigint AS reached,
  coalesce(n.present, 0) AS present,
  round(r.reached / nullif(lag(r.reached) OVER (PARTITION BY r.program_id ORDER BY r.stage_no), 0), 4) AS share_of_previous,
  round(r.reached / nullif(first_value(r.reached) OVER (PARTITION BY r.program_id ORDER BY r.stage_no), 0), 4) AS share_of_first
FROM reached r LEFT JOIN present n ON n.program_id = r.program_id AND n.state = r.state;
COMMENT ON VIEW prm.v_lead_funnel IS
'The lead funnel of each programme from the history of states: how many leads reached each stage on the way to conversion. One row per programme and stage.';
COMMENT ON COLUMN prm.v_lead_funnel.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead_funnel.stage_no IS 'Place of the stage in the funnel, from 1.';
COMMENT ON COLUMN prm.v_lead_funnel.stage IS 'The stage: a state of the machine lead on a way to a won state that never steps back.';
COMMENT ON COLUMN prm.v_lead_funnel.label IS 'Name of the stage for people.';
COMMENT ON COLUMN prm.v_lead_funnel.reached IS 'Leads that were ever in this stage or a later one.';
COMMENT ON COLUMN prm.v_lead_funnel.present IS 'Leads that are in this stage now.';
COMMENT ON COLUMN prm.v_lead_funnel.share_of_previous IS 'reached as a share of the stage before, 0 to 1; NULL for the first stage.';
COMMENT ON COLUMN prm.v_lead_funnel.share_of_first IS 'reached as a share of the first stage, 0 to 1.';
