
-- Earning: what the tables admit, booking of won deals, accrual, and the append-only ledger.

ALTER TABLE prm.earning_event DROP CONSTRAINT IF EXISTS earning_event_amount_check;
ALTER TABLE prm.earning_event ADD CONSTRAINT earning_event_amount_check CHECK (CASE WHEN kind = 'refunded'
  THEN prm.check_finite(amount, 'earning_event.amount') ELSE prm.check_amount(amount, 'earning_event.amount') END);
ALTER TABLE prm.earning_event DROP CONSTRAINT IF EXISTS earning_event_measures_check;
ALTER TABLE prm.earning_event ADD CONSTRAINT earning_event_measures_check CHECK (
  CASE WHEN kind = 'refunded'
    THEN prm.check_finite(quantity, 'earning_event.quantity') AND prm.check_finite(list_amount, 'earning_event.list_amount')
      AND prm.check_finite(cost, 'earning_event.cost') AND prm.check_finite(commissionable_amount, 'earning_event.commissionable_amount')
    ELSE prm.check_amount(quantity, 'earning_event.quantity') AND prm.check_amount(list_amount, 'earning_event.list_amount')
      AND prm.check_amount(cost, 'earning_event.cost') AND prm.check_amount(commissionable_amount, 'earning_event.commissionable_amount') END);
ALTER TABLE prm.ledger DROP CONSTRAINT IF EXISTS ledger_amount_check;
ALTER TABLE prm.ledger ADD CONSTRAINT ledger_amount_check CHECK (prm.check_finite(amount, 'ledger.amount'));
ALTER TABLE prm.commission_plan DROP CONSTRAINT IF EXISTS commission_plan_minor_unit_check;
ALTER TABLE prm.commission_plan ADD CONSTRAINT commission_plan_minor_unit_check CHECK (prm.minor_units(currency) IS NOT NULL);
ALTER TABLE prm.commission_rule DROP CONSTRAINT IF EXISTS commission_rule_schedule_check;
ALTER TABLE prm.commission_rule ADD CONSTRAINT commission_rule_schedule_check CHECK (schedule::prm.commission_schedule IS NOT NULL);
ALTER TABLE prm.commission_rule DROP CONSTRAINT IF EXISTS commission_rule_condition_check;
ALTER TABLE prm.commission_rule ADD CONSTRAINT commission_rule_condition_check CHECK (prm._check_condition(condition));

ALTER TABLE prm.commission_rule DROP CONSTRAINT IF EXISTS commission_rule_money_check;
ALTER TABLE prm.commission_rule ADD CONSTRAINT commission_rule_money_check CHECK (
  prm.check_amount(min_amount, 'commission_rule.min_amount') AND prm.check_amount(cap_amount, 'commission_rule.cap_amount'));
ALTER TABLE prm.subscription DROP CONSTRAINT IF EXISTS subscription_amount_check;
ALTER TABLE prm.subscription ADD CONSTRAINT subscription_amount_check CHECK (
  prm.check_amount(amount, 'subscription.amount') AND prm.check_amount(list_amount, 'subscription.list_amount')
  AND prm.check_amount(cost, 'subscription.cost') AND prm.check_amount(quantity, 'subscription.quantity'));

-- Never changed, by anybody.

CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.ledger
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.ledger ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.earning_event
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.earning_event ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.sales_credit
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.sales_credit ENABLE ALWAYS TRIGGER prm_append_only;

CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.accumulator_entry
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.accumulator_entry ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.recurring_start
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.recurring_start ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.breakage
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.breakage ENABLE ALWAYS TRIGGER prm_append_only;

-- What the backends keep of plans and rules is read anew after a change.

CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.commission_plan
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.commission_plan ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.commission_rule
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.commission_rule ENABLE ALWAYS TRIGGER prm_definition_changed;

-- Accrual: events become ledger entries, in the same transaction.

CREATE OR REPLACE FUNCTION prm._accrue(program_id bigint, earning_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  INSERT INTO prm.ledger (program_id, partner_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type,
      plan_id, rule_id, lineage_id, level, sequence_no, earned_on, eligible_at, idempotency_key, explain)
    SELECT _accrue.program_id, o.partner_id, o.legal_entity, 'commission', o.component, o.amount, o.currency, o.earning_event_id, o.credit_type,
      o.plan_id, o.rule_id, o.lineage_id, 0, 1, o.earned_on, o.eligible_at,
      concat_ws('/', o.earning_event_id, o.credit_type, o.partner_id, o.lineage_id, 0, 'commission', 1),
      jsonb_build_object('plan', o.plan_name, 'rule', o.rule_label, 'basis', o.basis, 'basis_amount', o.basis_amount, 'schedule', o.schedule,
        'commission', o.commission, 'amount', o.amount, 'parts', (
          SELECT jsonb_agg(jsonb_build_object('part', p.part, 'lower', p.lower, 'upper', p.upper, 'amount', p.amount, 'rate', p.rate,
            'commission', p.commission) ORDER BY p.part)
          FROM prm.commission_parts(o.schedule::prm.commission_schedule, o.basis_amount) p))
    FROM prm._earning_outcome(_accrue.program_id, _accrue.earning_event_ids, false) o
    ORDER BY o.occurred_at, o.earning_event_id, o.credit_type, o.partner_id, o.plan_id, o.component, o.place
    ON CONFLICT (program_id, idempotency_key) DO NOTHING;
END
$prm$;
REVOKE ALL ON FUNCTION prm._accrue(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._accrue(bigint, bigint[]) IS 'Writes the ledger entries that the rules give for earning events; entries that exist are left as they are.';

CREATE OR REPLACE FUNCTION prm._accrue_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  FOR batch IN
    SELECT n.program_id, array_agg(n.earning_event_id) AS ids, array_agg(DISTINCT n.kind) AS kinds,
      bool_or(n.deal_id IS NOT NULL AND n.kind <> 'refunded') AS of_deals
    FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    IF batch.of_deals THEN
      INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight)
        SELECT e.program_id, e.earning_event_id, d.credit_type, d.partner_id, d.weight
        FROM (SELECT t.program_id, t.earning_event_id, t.deal_id FROM prm.earning_event t
          WHERE t.program_id = batch.program_id AND t.earning_event_id = ANY (batch.ids) AND t.kind <> 'refunded' OFFSET 0) e
        CROSS JOIN LATERAL (SELECT p.credit_type, p.partner_id, p.weight FROM prm.deal_partner p
          WHERE p.program_id = batch.program_id AND p.deal_id = e.deal_id OFFSET 0) d;
    END IF;
    IF EXISTS (SELECT 1 FROM prm.commission_plan p WHERE p.program_id = batch.program_id AND p.is_active AND p.earn_on = ANY (batch.kinds)) THEN
      PERFORM prm._accrue(batch.program_id, batch.ids);
    END IF;
    IF 'collected' = ANY (batch.kinds) THEN
      PERFORM prm._collect(batch.program_id, batch.ids);
    END IF;
    IF 'refunded' = ANY (batch.kinds) THEN
      PERFORM prm._take_back(batch.program_id, batch.ids, false);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._accrue_events() FROM PUBLIC;
COMMENT ON FUNCTION prm._accrue_events() IS
'Trigger of earning_event: copies the credits of the deal and writes the ledger entries; a refund takes back. Error 23514 where the weights of a credit type do not total 100.';

CREATE OR REPLACE TRIGGER prm_30_accrual AFTER INSERT ON prm.earning_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._accrue_events();

CREATE OR REPLACE FUNCTION prm._credit_given() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  fault record;
  the_given bigint[];
  the_refunds bigint[];
BEGIN
  FOR batch IN
    SELECT n.program_id, array_agg(DISTINCT n.earning_event_id) AS ids FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    SELECT c.earning_event_id, c.credit_type, sum(c.weight) AS total,
        string_agg(format('partner %s has %s', c.partner_id, trim_scale(c.weight)), ', ' ORDER BY c.partner_id) AS weights,
        (SELECT e.deal_id FROM prm.earning_event e WHERE e.program_id = batch.program_id AND e.earning_event_id = c.earning_event_id) AS deal_id
      INTO fault
      FROM prm.sales_credit c
      WHERE c.program_id = batch.program_id AND c.earning_event_id = ANY (batch.ids)
      GROUP BY c.earning_event_id, c.credit_type HAVING sum(c.weight) <> 100 ORDER BY c.earning_event_id, c.credit_type LIMIT 1;
    IF fault.earning_event_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514',
        MESSAGE = format('the %s credits of %s do not total 100', fault.credit_type,
          CASE WHEN fault.deal_id IS NULL THEN format('earning event %s', fault.earning_event_id) ELSE format('deal %s', fault.deal_id) END),
        DETAIL = format('By weight, %s: together %s.', fault.weights, trim_scale(fault.total)),
        HINT = 'Give weights that total 100 within each credit type.', SCHEMA = 'prm', TABLE = 'sales_credit', COLUMN = 'weight';
    END IF;
    SELECT e.earning_event_id INTO fault
      FROM prm.earning_event e
      WHERE e.program_id = batch.program_id AND e.earning_event_id = ANY (batch.ids)
        AND ((SELECT l.entry_id FROM prm.ledger l WHERE l.program_id = batch.program_id AND l.earning_event_id = e.earning_event_id LIMIT 1) IS NOT NULL
             OR (e.partner_id IS NOT NULL
                 AND (SELECT d.partner_id FROM prm.deal_partner d WHERE d.program_id = batch.program_id AND d.deal_id = e.deal_id LIMIT 1) IS NULL))
      ORDER BY e.earning_event_id LIMIT 1;
    IF fault.earning_event_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('earning event %s has its credits already', fault.earning_event_id),
        DETAIL = 'Credits are dealt when the event is recorded: those of the deal, else the event''s own partner.',
        HINT = 'Record an event without partner_id and give its credits afterwards, or put the credits into prm.deal_partner before the deal is won.',
        SCHEMA = 'prm', TABLE = 'sales_credit';
    END IF;
    -- What was copied from a deal is accrued by the event's own trigger, in one go.
    SELECT array_agg(e.earning_event_id) INTO the_given
      FROM prm.earning_event e
      WHERE e.program_id = batch.program_id AND e.earning_event_id = ANY (batch.ids)
        AND (SELECT d.partner_id FROM prm.deal_partner d WHERE d.program_id = batch.program_id AND d.deal_id = e.deal_id LIMIT 1) IS NULL;
    IF the_given IS NOT NULL THEN
      PERFORM prm._accrue(batch.program_id, the_given);
      -- What was refunded before anybody was credited is taken back from whoever earns it now. The row keeps off a refund that
      -- cannot see the new entries.
      INSERT INTO prm.refund_total AS t (program_id, earning_event_id, refunded, refunds)
        SELECT batch.program_id, i.earning_event_id, 0, 0 FROM unnest(the_given) AS i(earning_event_id) ORDER BY i.earning_event_id
        ON CONFLICT (program_id, earning_event_id) DO UPDATE SET refunds = t.refunds;
      SELECT array_agg(r.earning_event_id) INTO the_refunds FROM prm.earning_event r
        WHERE r.program_id = batch.program_id AND r.applies_to_id = ANY (the_given) AND r.kind = 'refunded';
      IF the_refunds IS NOT NULL THEN
        PERFORM prm._take_back(batch.program_id, the_refunds, true);
      END IF;
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._credit_given() FROM PUBLIC;
COMMENT ON FUNCTION prm._credit_given() IS
'Trigger of sales_credit: weights total 100 within a credit type (23514); credits given to an event that has no partner accrue at once; an event that has its credits gets no others (55000).';

CREATE OR REPLACE TRIGGER prm_30_accrual AFTER INSERT ON prm.sales_credit REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._credit_given();
