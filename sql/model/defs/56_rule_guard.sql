
-- Earning: what rules and plans may say, and that what has earned never changes.

-- Accrual holds the row of its plan until it commits, and whoever changes rules or enrolments changes that row: so neither
-- happens while the other is half done.
CREATE OR REPLACE FUNCTION prm._touch_plan(program_id bigint, plan_id bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $prm$
  UPDATE prm.commission_plan p SET rules_changed_at = clock_timestamp()
  WHERE p.program_id = _touch_plan.program_id AND p.plan_id = _touch_plan.plan_id
    -- Once in a transaction is enough: thousands of rules do not make thousands of versions of one row.
    AND p.xmin <> pg_current_xact_id()::xid
$prm$;
REVOKE ALL ON FUNCTION prm._touch_plan(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._touch_plan(bigint, bigint) IS 'Notes that the rules or enrolments of a plan change, and waits for accruals that use them.';

-- The last business date on which a version of a rule earned, counted or kept something back.
CREATE OR REPLACE FUNCTION prm._rule_last_used(program_id bigint, rule_id bigint) RETURNS date
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT max(u.used_on) FROM (
    SELECT max(l.earned_on) AS used_on FROM prm.ledger l WHERE l.program_id = _rule_last_used.program_id AND l.rule_id = _rule_last_used.rule_id
    UNION ALL
    SELECT max((e.occurred_at AT TIME ZONE prm._program_time_zone(_rule_last_used.program_id))::date) FROM prm.breakage b
      JOIN prm.earning_event e ON e.program_id = b.program_id AND e.earning_event_id = b.earning_event_id
      WHERE b.program_id = _rule_last_used.program_id AND b.rule_id = _rule_last_used.rule_id
    UNION ALL
    SELECT max(s.started_on) FROM prm.recurring_start s WHERE s.program_id = _rule_last_used.program_id AND s.rule_id = _rule_last_used.rule_id
    UNION ALL
    SELECT max(c.counted_on) FROM prm.commission_rule r
      CROSS JOIN LATERAL (SELECT (e.occurred_at AT TIME ZONE prm._program_time_zone(_rule_last_used.program_id))::date AS counted_on
        FROM prm.accumulator_entry a
        JOIN prm.earning_event e ON e.program_id = a.program_id AND e.earning_event_id = a.earning_event_id AND e.kind <> 'refunded'
        WHERE a.program_id = r.program_id AND a.purpose = 'attained' AND a.lineage_id = r.lineage_id OFFSET 0) c
      WHERE r.program_id = _rule_last_used.program_id AND r.rule_id = _rule_last_used.rule_id AND r.accumulate <> 'transaction'
        AND r.valid @> c.counted_on) u
$prm$;
REVOKE ALL ON FUNCTION prm._rule_last_used(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION prm._rule_last_used(bigint, bigint) IS 'The last business date of an event that a version of a rule earned or counted on; NULL: it was never used and may be changed.';

-- Months are counted from the first sale, which may be older than the first rule that asks for it. It is looked for once, here,
-- while the plan is locked against accruals; from then on accrual notes each first sale of the component. At REPEATABLE READ a
-- sale that commits in this moment is not seen, and the pair counts from its next one.
CREATE OR REPLACE FUNCTION prm._note_first_sales(program_id bigint, plan_id bigint, component text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  INSERT INTO prm.recurring_start (program_id, plan_id, component, partner_id, customer_id, rule_id, lineage_id, started_on, earning_event_id)
    SELECT DISTINCT ON (l.partner_id, e.customer_id)
      l.program_id, l.plan_id, l.component, l.partner_id, e.customer_id, l.rule_id, l.lineage_id, l.earned_on, l.earning_event_id
    FROM prm.commission_rule r
    JOIN prm.ledger l ON l.program_id = _note_first_sales.program_id AND l.rule_id = r.rule_id
    JOIN prm.earning_event e ON e.program_id = _note_first_sales.program_id AND e.earning_event_id = l.earning_event_id
    WHERE r.program_id = _note_first_sales.program_id AND r.plan_id = _note_first_sales.plan_id
      AND l.plan_id = _note_first_sales.plan_id AND l.component = _note_first_sales.component
      AND l.kind = ANY (ARRAY['commission', 'override', 'bonus', 'royalty', 'fee']) AND e.customer_id IS NOT NULL
    ORDER BY l.partner_id, e.customer_id, l.recorded_at, e.occurred_at, e.earning_event_id
  ON CONFLICT DO NOTHING
$prm$;
REVOKE ALL ON FUNCTION prm._note_first_sales(bigint, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION prm._note_first_sales(bigint, bigint, text) IS
'Notes the first sale of each partner to each customer that a component of a plan has paid so far; those that are noted stay. Called when the component gets its first rule with recurring_months.';

CREATE OR REPLACE FUNCTION prm._guard_rule() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_last date;
  the_mode text;
  the_column text;
  the_message text;
  the_detail text;
  the_hint text;
  the_state text := '23514';
  the_depth integer;
  the_plan text;
  other_version record;
  recurring record;
BEGIN
  IF TG_OP <> 'DELETE' THEN
    PERFORM prm._touch_plan(NEW.program_id, NEW.plan_id);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM prm._touch_plan(OLD.program_id, OLD.plan_id);
    -- Entries that another session is about to commit hold the rule by their foreign key: wait for them, then look.
    PERFORM r.rule_id FROM prm.commission_rule r WHERE r.program_id = OLD.program_id AND r.rule_id = OLD.rule_id FOR UPDATE;
    the_last := prm._rule_last_used(OLD.program_id, OLD.rule_id);
    IF the_last IS NOT NULL AND (TG_OP = 'DELETE'
         OR to_jsonb(NEW) - 'valid' - 'label' <> to_jsonb(OLD) - 'valid' - 'label'
         OR NEW.valid <> OLD.valid AND (coalesce(lower(NEW.valid), '-infinity') <> coalesce(lower(OLD.valid), '-infinity')
              OR coalesce(upper(NEW.valid), 'infinity') > coalesce(upper(OLD.valid), 'infinity') OR NOT NEW.valid @> the_last)) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('commission rule %s has earned and cannot be %s', OLD.rule_id,
          CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE 'changed' END),
        DETAIL = format('Ledger entries up to %s name it; only its end may be set, after that day.', to_char(the_last, 'YYYY-MM-DD')),
        HINT = format('SELECT prm.supersede_rule(%s, date ''%s'', ''{"schedule": "..."}'') opens its next version.', OLD.rule_id, to_char(the_last + 1, 'YYYY-MM-DD')),
        SCHEMA = 'prm', TABLE = 'commission_rule';
    END IF;
    IF TG_OP = 'DELETE' THEN
      RETURN OLD;
    END IF;
  END IF;

  NEW.lineage_id := coalesce(NEW.lineage_id, NEW.rule_id);
  NEW.schedule := (NEW.schedule::prm.commission_schedule)::text;
  -- What is left out and follows from the rest is written out.
  IF NEW.measure = NEW.basis THEN
    NEW.measure := NULL;
  END IF;
  IF NEW.level > 0 AND NEW.override_mode IS NULL THEN
    NEW.override_mode := 'percent_of_sale';
  END IF;
  IF NEW.cap_amount IS NOT NULL THEN
    NEW.cap_scope := coalesce(NEW.cap_scope, 'partner');
    NEW.cap_window := coalesce(NEW.cap_window, 'lifetime');
  END IF;
  the_mode := coalesce(substring(NEW.schedule FROM '^[a-z]+'), 'rate');
  SELECT p.override_depth, p.name INTO the_depth, the_plan FROM prm.commission_plan p WHERE p.program_id = NEW.program_id AND p.plan_id = NEW.plan_id;

  IF NEW.tier IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.tier t WHERE t.program_id = NEW.program_id AND t.ladder = 'main' AND t.tier = NEW.tier) THEN
    the_state := '23503';
    the_column := 'tier';
    the_message := format('there is no tier "%s"', NEW.tier);
    the_detail := 'The rule would never match: rules go by the tier held on the ladder main.';
    the_hint := 'SELECT tier FROM prm.tier lists the tiers.';
  ELSIF NEW.measure IS NOT NULL AND the_mode IN ('marginal', 'interpolated') THEN
    the_column := 'measure';
    the_message := format('a schedule that is %s cannot measure %s and pay on %s', the_mode, NEW.measure, NEW.basis);
    the_detail := 'Its slices are slices of what is measured; where something else is paid on, one bracket must hold for the whole of it.';
    the_hint := 'Use a slab schedule, such as slab 0: 5%, 1: 8%, or leave measure out.';
  ELSIF NEW.accumulate <> 'transaction' AND NEW.window_kind IS NULL THEN
    the_column := 'window_kind';
    the_message := format('a rule with accumulate = %s needs a window_kind', NEW.accumulate);
    the_detail := 'The sum that it goes by must begin anew at some time, or never.';
    the_hint := 'Set window_kind to month, half_month, quarter, half, year or lifetime.';
  ELSIF NEW.measure = 'attainment' AND NEW.accumulate = 'transaction' THEN
    the_column := 'accumulate';
    the_message := 'attainment of a quota is measured over a window';
    the_detail := format('The rule has accumulate = transaction and window_kind %s.', coalesce(NEW.window_kind, 'NULL'));
    the_hint := 'Set accumulate to cumulative or lookup, and window_kind to that of the quota.';
  ELSIF NEW.accumulate = 'transaction' AND NEW.window_kind IS NOT NULL THEN
    the_column := 'window_kind';
    the_message := 'a rule with accumulate = transaction has no window';
    the_detail := format('window_kind is %s, but each event is taken on its own.', NEW.window_kind);
    the_hint := 'Leave window_kind out, or set accumulate to cumulative or lookup.';
  ELSIF NEW.cap_amount IS NULL AND (NEW.cap_scope IS NOT NULL OR NEW.cap_window IS NOT NULL) THEN
    the_column := 'cap_amount';
    the_message := 'a cap needs an amount';
    the_detail := format('cap_scope is %s and cap_window is %s, but cap_amount is NULL.', coalesce(NEW.cap_scope, 'NULL'), coalesce(NEW.cap_window, 'NULL'));
    the_hint := 'Set cap_amount, in the currency of the plan, or leave the others out.';
  ELSIF NEW.cap_scope = 'event' AND NEW.cap_window <> 'lifetime' THEN
    the_column := 'cap_window';
    the_message := 'a cap of one event has no window';
    the_detail := format('cap_window is %s; an event lies in one window only.', NEW.cap_window);
    the_hint := 'Leave cap_window out.';
  ELSIF NEW.level = 0 AND NEW.override_mode <> 'top_of_chain' THEN
    the_column := 'override_mode';
    the_message := format('a rule of level 0 cannot have override_mode %s', NEW.override_mode);
    the_detail := 'Level 0 is the seller itself; it is paid by the schedule, not by what others get.';
    the_hint := 'Give the rule level 1 (the parent of the seller) or more, or leave override_mode out.';
  ELSIF NEW.override_mode = 'percent_of_below' AND (NEW.accumulate <> 'transaction' OR NEW.measure IS NOT NULL) THEN
    the_column := 'override_mode';
    the_message := 'percent_of_below is paid on the entry below and counts nothing';
    the_detail := format('The rule has accumulate = %s and measure %s.', NEW.accumulate, coalesce(NEW.measure, 'NULL'));
    the_hint := 'Leave accumulate, window_kind and measure out, or take another override_mode.';
  ELSIF coalesce(NEW.through_level, NEW.level) > the_depth THEN
    the_column := 'level';
    the_message := format('plan "%s" looks only %s levels up', the_plan, the_depth);
    the_detail := format('The rule pays level %s.', coalesce(NEW.through_level, NEW.level));
    the_hint := format('UPDATE prm.commission_plan SET override_depth = %s WHERE plan_id = %s.', coalesce(NEW.through_level, NEW.level), NEW.plan_id);
  END IF;
  IF the_message IS NULL THEN
    -- The versions of a rule go on counting what the first one began to count.
    SELECT r.rule_id, r.basis, coalesce(r.measure, r.basis) AS measure, r.window_kind INTO other_version
      FROM prm.commission_rule r
      WHERE r.program_id = NEW.program_id AND r.lineage_id = NEW.lineage_id AND r.rule_id <> NEW.rule_id
        AND r.accumulate <> 'transaction' AND NEW.accumulate <> 'transaction'
        AND (r.basis, coalesce(r.measure, r.basis), r.window_kind) IS DISTINCT FROM (NEW.basis, coalesce(NEW.measure, NEW.basis), NEW.window_kind)
      ORDER BY r.rule_id LIMIT 1;
    IF other_version.rule_id IS NOT NULL THEN
      the_column := 'measure';
      the_message := 'the versions of a rule that accumulates count the same thing';
      the_detail := format('Version %s counts %s, paid on %s, by %s; this one would count %s, paid on %s, by %s.', other_version.rule_id,
        other_version.measure, other_version.basis, other_version.window_kind, coalesce(NEW.measure, NEW.basis), NEW.basis, NEW.window_kind);
      the_hint := 'End the old rule and write a new one, which begins to count from zero.';
    END IF;
  END IF;
  IF the_message IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = the_state, MESSAGE = the_message, DETAIL = the_detail, HINT = the_hint,
      SCHEMA = 'prm', TABLE = 'commission_rule', COLUMN = the_column;
  END IF;
  -- Of a lineage that recurs in one version, every version's component counts months: those that begin to do so with this row.
  FOR recurring IN
    SELECT DISTINCT v.component FROM (
      SELECT NEW.component AS component
      UNION ALL
      SELECT r.component FROM prm.commission_rule r WHERE r.program_id = NEW.program_id AND r.lineage_id = NEW.lineage_id AND NEW.recurring_months IS NOT NULL) v
    WHERE (NEW.recurring_months IS NOT NULL OR EXISTS (SELECT 1 FROM prm.commission_rule r
        WHERE r.program_id = NEW.program_id AND r.lineage_id = NEW.lineage_id AND r.rule_id <> NEW.rule_id AND r.recurring_months IS NOT NULL))
      AND NOT EXISTS (SELECT 1 FROM prm.commission_rule r
        JOIN prm.commission_rule w ON w.program_id = NEW.program_id AND w.lineage_id = r.lineage_id AND w.recurring_months IS NOT NULL
        WHERE r.program_id = NEW.program_id AND r.plan_id = NEW.plan_id AND r.component = v.component)
  LOOP
    PERFORM prm._note_first_sales(NEW.program_id, NEW.plan_id, recurring.component);
  END LOOP;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._guard_rule() FROM PUBLIC;
COMMENT ON FUNCTION prm._guard_rule() IS
'Trigger of commission_rule: fills the lineage and what follows from other columns, writes the schedule in its canonical form, refuses what cannot work (23514) and to change or delete a rule that has earned (55000). Errors: 22P02 no schedule, 23503 unknown tier.';

CREATE OR REPLACE TRIGGER prm_10_rule BEFORE INSERT OR UPDATE OR DELETE ON prm.commission_rule
  FOR EACH ROW EXECUTE FUNCTION prm._guard_rule();

CREATE OR REPLACE FUNCTION prm._guard_plan() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_column text;
  the_level integer;
BEGIN
  IF NEW.earn_on = 'collected' AND NEW.pay_on = 'collected' THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'a plan that earns on collections pays as earned',
      DETAIL = 'earn_on and pay_on are both collected: nothing is ever collected of a collection.',
      HINT = 'Set earn_on to what is invoiced and pay_on to collected, or earn_on to collected and pay_on to earned.',
      SCHEMA = 'prm', TABLE = 'commission_plan', COLUMN = 'pay_on';
  END IF;
  IF TG_OP = 'UPDATE' THEN
    the_column := CASE WHEN NEW.currency <> OLD.currency THEN 'currency' WHEN NEW.earn_on <> OLD.earn_on THEN 'earn_on'
      WHEN NEW.pay_on <> OLD.pay_on THEN 'pay_on' END;
    IF the_column IS NOT NULL AND EXISTS (SELECT 1 FROM prm.commission_rule r WHERE r.program_id = OLD.program_id AND r.plan_id = OLD.plan_id
        AND (EXISTS (SELECT 1 FROM prm.ledger l WHERE l.program_id = OLD.program_id AND l.rule_id = r.rule_id)
             OR EXISTS (SELECT 1 FROM prm.breakage b WHERE b.program_id = OLD.program_id AND b.rule_id = r.rule_id)
             OR EXISTS (SELECT 1 FROM prm.accumulator a WHERE a.program_id = OLD.program_id AND a.purpose = 'attained' AND a.lineage_id = r.lineage_id))) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('plan "%s" has earned and keeps its %s', OLD.name, the_column),
        DETAIL = format('It is %s; what was earned and counted goes by it.', to_jsonb(OLD) ->> the_column),
        HINT = 'End the plan with is_active = false and write a new one.', SCHEMA = 'prm', TABLE = 'commission_plan', COLUMN = the_column;
    END IF;
    IF NEW.override_depth < OLD.override_depth THEN
      SELECT max(coalesce(r.through_level, r.level)) INTO the_level FROM prm.commission_rule r WHERE r.program_id = OLD.program_id AND r.plan_id = OLD.plan_id;
      IF the_level > NEW.override_depth THEN
        RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('plan "%s" has rules for level %s', OLD.name, the_level),
          DETAIL = format('override_depth would be %s.', NEW.override_depth), HINT = 'Keep it as deep as the rules, or end those rules first.',
          SCHEMA = 'prm', TABLE = 'commission_plan', COLUMN = 'override_depth';
      END IF;
    END IF;
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._guard_plan() FROM PUBLIC;
COMMENT ON FUNCTION prm._guard_plan() IS
'Trigger of commission_plan: a plan that has earned keeps its currency, earn_on and pay_on (55000); its depth covers its rules, and collections are not collected (23514).';
CREATE OR REPLACE TRIGGER prm_10_plan_insert BEFORE INSERT ON prm.commission_plan FOR EACH ROW EXECUTE FUNCTION prm._guard_plan();
CREATE OR REPLACE TRIGGER prm_10_plan_update BEFORE UPDATE ON prm.commission_plan FOR EACH ROW
  WHEN (NEW.currency <> OLD.currency OR NEW.earn_on <> OLD.earn_on OR NEW.pay_on <> OLD.pay_on OR NEW.override_depth < OLD.override_depth)
  EXECUTE FUNCTION prm._guard_plan();

CREATE OR REPLACE FUNCTION prm._guard_enrolment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM prm._touch_plan(OLD.program_id, OLD.plan_id);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    PERFORM prm._touch_plan(NEW.program_id, NEW.plan_id);
    RETURN NEW;
  END IF;
  RETURN OLD;
END
$prm$;
REVOKE ALL ON FUNCTION prm._guard_enrolment() FROM PUBLIC;
COMMENT ON FUNCTION prm._guard_enrolment() IS 'Trigger of plan_enrolment: a change of who is in a plan and an accrual by it wait for each other.';
CREATE OR REPLACE TRIGGER prm_10_enrolment BEFORE INSERT OR UPDATE OR DELETE ON prm.plan_enrolment
  FOR EACH ROW EXECUTE FUNCTION prm._guard_enrolment();
