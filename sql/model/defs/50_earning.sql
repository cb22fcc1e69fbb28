
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
-- An accrual holds the place of a first sale by a row that says infinity, and nobody else ever sees one.
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE ON prm.recurring_start
  FOR EACH ROW WHEN (OLD.started_on <> 'infinity') EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.recurring_start ENABLE ALWAYS TRIGGER prm_append_only;
CREATE OR REPLACE TRIGGER prm_append_only_truncate BEFORE TRUNCATE ON prm.recurring_start
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.recurring_start ENABLE ALWAYS TRIGGER prm_append_only_truncate;
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
-- Rows are found by their keys, whatever the statistics say. All events go in one piece: the engine locks plans, counts and first
-- sales once, each in the order of its keys, and a second piece would lock smaller keys after greater ones, so that two statements
-- that accrue at once could wait for each other. The engine reads facts and writes counts in slices instead; what stays in memory
-- is about a kilobyte for each event.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[];
BEGIN
  -- For a few events one plan is as good as another, and making it would cost more than running it.
  IF cardinality(_accrue.earning_event_ids) <= 20 THEN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  END IF;
  -- What has entries has had its turn: counting it again would be worse than writing it again.
  SELECT array_agg(i.earning_event_id) INTO the_ids FROM unnest(_accrue.earning_event_ids) AS i(earning_event_id)
    WHERE NOT EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = _accrue.program_id AND l.earning_event_id = i.earning_event_id OFFSET 0);
  IF the_ids IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO prm.ledger (program_id, entry_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earning_event_id, credit_type,
      plan_id, rule_id, lineage_id, level, cause_entry_id, attained_before, sequence_no, earned_on, eligible_at, idempotency_key, explain, recorded_at)
    SELECT _accrue.program_id, o.entry_id, o.partner_id, c.payee_id, o.legal_entity, coalesce(c.kind, o.entry_kind), o.component, o.amount, o.currency,
      o.earning_event_id, o.credit_type, o.plan_id, o.rule_id, o.lineage_id, o.level, o.cause_entry_id, o.attained_before, o.sequence_no, o.earned_on,
      coalesce(c.eligible_at, o.eligible_at),
      concat_ws('/', o.earning_event_id, o.credit_type, o.partner_id, o.lineage_id, o.level, coalesce(c.kind, o.entry_kind), o.sequence_no),
      coalesce(o.explain, jsonb_strip_nulls(jsonb_build_object('plan', o.plan_name, 'rule', o.rule_label, 'basis', o.basis, 'basis_amount', o.basis_amount,
          'measure', nullif(o.measure, o.basis), 'measure_amount', CASE WHEN o.measure <> o.basis THEN o.measure_amount END,
          'attained_before', o.attained_before, 'window_start', o.window_start, 'schedule', o.schedule, 'commission', o.commission, 'amount', o.amount,
          'exchange_rate', o.exchange_rate, 'override_mode', o.override_mode, 'cause', o.cause_entry_id,
          'cap', CASE WHEN o.cap_used_before IS NOT NULL THEN (SELECT jsonb_build_object('amount', r.cap_amount, 'used_before', o.cap_used_before, 'scope', r.cap_scope,
              'window', r.cap_window) FROM prm.commission_rule r WHERE r.program_id = _accrue.program_id AND r.rule_id = o.rule_id) END)) || coalesce(c.explain, '{}')), o.recorded_at
    FROM prm._earning_outcome(_accrue.program_id, the_ids, 'accrue') o
    -- What is taken back goes to whoever was paid, and what stands on a statement already is clawed back from the next one.
    LEFT JOIN LATERAL (
      SELECT l.payee_id, CASE WHEN prm._is_settled(_accrue.program_id, ARRAY[l.entry_id]) IS NULL THEN 'reversal' ELSE 'clawback' END AS kind,
        CASE WHEN prm._is_settled(_accrue.program_id, ARRAY[l.entry_id]) IS NOT NULL THEN least(o.eligible_at, o.occurred_at) END AS eligible_at,
        jsonb_build_object('earned', l.amount, 'event_amount', e.amount, 'refunded_so_far', o.measure_amount, 'given_back_before', o.basis_before) AS explain
      FROM prm.ledger l JOIN prm.earning_event e ON e.program_id = l.program_id AND e.earning_event_id = l.earning_event_id
      WHERE o.entry_kind = 'reversal' AND l.program_id = _accrue.program_id AND l.entry_id = o.cause_entry_id OFFSET 0) c ON true
    WHERE o.outcome = 'won'
    ORDER BY o.ordinal;
END
$prm$;
REVOKE ALL ON FUNCTION prm._accrue(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._accrue(bigint, bigint[]) IS
'Writes the ledger entries that the rules give for earning events, and what refunds among them take back: clawbacks where the cause stands on a statement, else reversals. Events that have entries are left as they are.';

CREATE OR REPLACE FUNCTION prm._accrue_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  FOR batch IN
    SELECT n.program_id, array_agg(n.earning_event_id) AS ids, array_agg(DISTINCT n.kind) AS kinds,
      array_agg(DISTINCT n.deal_id) FILTER (WHERE n.deal_id IS NOT NULL AND n.kind <> 'refunded') AS deals
    FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    -- For a few events one plan is as good as another, and making it would cost more than running it.
    PERFORM set_config('plan_cache_mode', CASE WHEN cardinality(batch.ids) <= 20 THEN 'force_generic_plan' ELSE 'auto' END, true);
    IF EXISTS (SELECT 1 FROM unnest(batch.deals) AS i(deal_id)
        CROSS JOIN LATERAL (SELECT 1 FROM prm.deal_partner p WHERE p.program_id = batch.program_id AND p.deal_id = i.deal_id LIMIT 1) p) THEN
      INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight, origin)
        SELECT e.program_id, e.earning_event_id, d.credit_type, d.partner_id, d.weight, 'deal'
        FROM (SELECT t.program_id, t.earning_event_id, t.deal_id FROM prm.earning_event t
          WHERE t.program_id = batch.program_id AND t.earning_event_id = ANY (batch.ids) AND t.kind <> 'refunded' OFFSET 0) e
        CROSS JOIN LATERAL (SELECT p.credit_type, p.partner_id, p.weight FROM prm.deal_partner p
          WHERE p.program_id = batch.program_id AND p.deal_id = e.deal_id OFFSET 0) d;
    END IF;
    IF 'collected' = ANY (batch.kinds) THEN
      PERFORM prm._collect(batch.program_id, batch.ids);
    END IF;
    IF 'refunded' = ANY (batch.kinds) THEN
      PERFORM prm._count_refunds(batch.program_id, batch.ids);
    END IF;
    IF 'refunded' = ANY (batch.kinds)
       OR EXISTS (SELECT 1 FROM prm.commission_plan p WHERE p.program_id = batch.program_id AND p.is_active AND p.earn_on = ANY (batch.kinds)) THEN
      PERFORM prm._accrue(batch.program_id, batch.ids);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._accrue_events() FROM PUBLIC;
COMMENT ON FUNCTION prm._accrue_events() IS
'Trigger of earning_event: copies the credits of the deal, counts refunds and collections, and writes the ledger entries. Error 23514 where the weights of a credit type do not total 100, or a refund or collection does not fit its sale.';

CREATE OR REPLACE TRIGGER prm_30_accrual AFTER INSERT ON prm.earning_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._accrue_events();
