
-- Risk: what the tables admit, the triggers that hold, release and cancel, and the views.

ALTER TABLE prm.risk_rule DROP CONSTRAINT IF EXISTS risk_rule_parameters_check;
ALTER TABLE prm.risk_rule ADD CONSTRAINT risk_rule_parameters_check CHECK (prm._check_risk_parameters(kind, parameters));
ALTER TABLE prm.risk_rule DROP CONSTRAINT IF EXISTS risk_rule_condition_check;
ALTER TABLE prm.risk_rule ADD CONSTRAINT risk_rule_condition_check CHECK (prm._check_condition(condition));

CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.ledger_hold
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();
ALTER TABLE prm.ledger_hold ENABLE ALWAYS TRIGGER prm_append_only;

-- Holds.

CREATE OR REPLACE FUNCTION prm._guard_hold() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  placed prm.ledger_hold;
  the_state text;
  the_fault text;
BEGIN
  -- What a partner does may place one, through the triggers of the model.
  IF prm._acting_partner(NEW.program_id) IS NOT NULL AND pg_trigger_depth() < 2 THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a partner neither places nor ends holds', DETAIL = 'Holds are the vendor''s.',
      HINT = 'Ask the vendor.', SCHEMA = 'prm', TABLE = 'ledger_hold';
  END IF;
  NEW.actor := prm._caller();
  NEW.recorded_at := clock_timestamp();
  IF NEW.action = 'place' THEN
    NEW.placed_at := prm.now();
    IF NEW.entry_id IS NOT NULL THEN
      SELECT l.partner_id INTO NEW.partner_id FROM prm.ledger l WHERE l.program_id = NEW.program_id AND l.entry_id = NEW.entry_id;
      IF NEW.partner_id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no ledger entry %s', NEW.entry_id),
          DETAIL = format('It was looked for in programme %s.', NEW.program_id), HINT = 'SELECT entry_id, partner, amount FROM prm.v_ledger lists the entries.';
      END IF;
      IF NEW.kind = 'manual' AND prm._is_settled(NEW.program_id, ARRAY[NEW.entry_id]) IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('ledger entry %s is on a statement already', NEW.entry_id),
          DETAIL = 'A hold keeps an entry off the next statement; this one has been settled.', HINT = 'Take it back by an adjustment.';
      END IF;
    END IF;
  ELSE
    SELECT h.* INTO placed FROM prm.ledger_hold h WHERE h.program_id = NEW.program_id AND h.hold_id = NEW.hold_ref AND h.action = 'place';
    IF placed.hold_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no hold %s', coalesce(NEW.hold_ref::text, 'NULL')),
        DETAIL = format('It was looked for in programme %s, among the rows that place one.', NEW.program_id), HINT = 'SELECT * FROM prm.v_hold WHERE stands lists the holds.';
    END IF;
    NEW.entry_id := placed.entry_id;
    NEW.partner_id := placed.partner_id;
    NEW.kind := placed.kind;
    NEW.risk_event_id := placed.risk_event_id;
    NEW.placed_at := placed.placed_at;
    NEW.released_at := CASE WHEN NEW.action <> 'cancel' THEN prm.now() END;
    IF EXISTS (SELECT 1 FROM prm.ledger_hold h WHERE h.program_id = NEW.program_id AND h.hold_ref = NEW.hold_ref AND h.action IN ('release', 'expire')) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('hold %s has ended already', NEW.hold_ref),
        DETAIL = 'A hold ends once.', HINT = 'SELECT * FROM prm.v_hold shows how it ended.', SCHEMA = 'prm', TABLE = 'ledger_hold';
    END IF;
  END IF;
  IF NEW.kind = 'risk' THEN
    -- Whoever writes the row, the hold of a risk event is always what the state of the event says.
    SELECT k.state INTO the_state FROM prm.risk_event k WHERE k.program_id = NEW.program_id AND k.risk_event_id = NEW.risk_event_id;
    IF (NEW.action = 'place' AND the_state IN ('open', 'banned') OR NEW.action = 'release' AND the_state = 'benign'
        OR NEW.action = 'expire' AND the_state = 'expired' OR NEW.action = 'cancel' AND the_state = 'banned') IS NOT TRUE THEN
      the_fault := format('Risk event %s is %s.', coalesce(NEW.risk_event_id::text, '(none)'), coalesce(the_state, 'unknown'));
    END IF;
  ELSIF NEW.action NOT IN ('place', 'release') THEN
    the_fault := 'Only the hold of a risk event expires or turns into a ban.';
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = CASE NEW.action WHEN 'place' THEN 'this hold cannot be placed' ELSE format('hold %s cannot end like this', NEW.hold_ref) END,
      DETAIL = the_fault, HINT = CASE WHEN NEW.kind = 'risk' THEN format('SELECT prm.resolve_risk(%s, ''benign'', ''...'') releases it.', coalesce(NEW.risk_event_id, 0)) ELSE 'SELECT prm.release_hold(hold_id, reason).' END,
      SCHEMA = 'prm', TABLE = 'ledger_hold';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._guard_hold() FROM PUBLIC;
COMMENT ON FUNCTION prm._guard_hold() IS
'Row trigger of ledger_hold: fills who and when, and what a row that ends a hold takes from the one that placed it. Errors: 42501 a partner, 42704 unknown entry or hold, 55000 the hold has ended, the entry is settled, or the risk event is in another state.';

CREATE OR REPLACE TRIGGER prm_10_hold BEFORE INSERT ON prm.ledger_hold FOR EACH ROW EXECUTE FUNCTION prm._guard_hold();

-- Risk events.

CREATE OR REPLACE FUNCTION prm._guard_risk_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_days integer;
  the_zone text;
BEGIN
  -- What a partner does may raise one, through the triggers of the model.
  IF prm._acting_partner(NEW.program_id) IS NOT NULL AND pg_trigger_depth() < 2 THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a partner does not decide about risks', DETAIL = 'Risk events are the vendor''s.',
      HINT = 'Ask the vendor.', SCHEMA = 'prm', TABLE = 'risk_event';
  END IF;
  IF TG_OP = 'INSERT' THEN
    SELECT r.expires_after_days INTO the_days FROM prm.risk_rule r WHERE r.program_id = NEW.program_id AND r.risk_rule = NEW.risk_rule;
    the_zone := prm._program_time_zone(NEW.program_id);
    NEW.state := 'open';
    NEW.opened_at := prm.now();
    NEW.last_found_at := NEW.opened_at;
    NEW.expires_at := ((NEW.opened_at AT TIME ZONE the_zone) + make_interval(days => the_days)) AT TIME ZONE the_zone;
    NEW.resolved_at := NULL;
    NEW.resolved_by := NULL;
    NEW.reason := NULL;
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
  END IF;
  IF (NEW.program_id, NEW.risk_event_id, NEW.risk_rule, NEW.partner_id, NEW.opened_at, NEW.recorded_at) IS DISTINCT FROM
     (OLD.program_id, OLD.risk_event_id, OLD.risk_rule, OLD.partner_id, OLD.opened_at, OLD.recorded_at)
     OR NEW.evidence IS DISTINCT FROM OLD.evidence AND NOT NEW.evidence @> OLD.evidence OR NEW.findings < OLD.findings THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('what risk event %s found cannot be changed', OLD.risk_event_id),
      DETAIL = 'Rule, partner and times stay, and evidence is only added.', HINT = format('SELECT prm.resolve_risk(%s, outcome, reason) decides about it.', OLD.risk_event_id),
      SCHEMA = 'prm', TABLE = 'risk_event';
  END IF;
  IF NEW.state = OLD.state THEN
    NEW.resolved_at := OLD.resolved_at;
    NEW.resolved_by := OLD.resolved_by;
    NEW.reason := OLD.reason;
    RETURN NEW;
  END IF;
  IF NOT (OLD.state = 'open' OR OLD.state = 'banned' AND NEW.state = 'benign') THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('risk event %s is resolved already', OLD.risk_event_id),
      DETAIL = format('It is %s since %s, by %s.', OLD.state, to_char(OLD.resolved_at AT TIME ZONE prm._program_time_zone(OLD.program_id), 'YYYY-MM-DD'), OLD.resolved_by),
      HINT = 'Only a ban can be lifted, by resolving it as benign.', SCHEMA = 'prm', TABLE = 'risk_event', COLUMN = 'state';
  END IF;
  IF NEW.state = 'expired' AND (OLD.expires_at <= prm.now()) IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('risk event %s has not expired', OLD.risk_event_id),
      DETAIL = coalesce(format('It does at %s.', to_char(OLD.expires_at AT TIME ZONE prm._program_time_zone(OLD.program_id), 'YYYY-MM-DD HH24:MI')), 'Those of its rule never do.'),
      HINT = format('SELECT prm.resolve_risk(%s, outcome, reason) decides about it.', OLD.risk_event_id), SCHEMA = 'prm', TABLE = 'risk_event', COLUMN = 'state';
  END IF;
  PERFORM prm._check_reason(NEW.reason, 'the resolution of a risk');
  NEW.resolved_at := prm.now();
  NEW.resolved_by := prm._caller();
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._guard_risk_event() FROM PUBLIC;
COMMENT ON FUNCTION prm._guard_risk_event() IS
'Row trigger of risk_event: when it opened and expires, who resolved it and when; a resolved one stays so, but a ban can be lifted. Errors: 42501 a partner, 22023 no reason, 55000 anything else that is changed.';

CREATE OR REPLACE TRIGGER prm_10_risk BEFORE INSERT OR UPDATE ON prm.risk_event FOR EACH ROW EXECUTE FUNCTION prm._guard_risk_event();

CREATE OR REPLACE FUNCTION prm._outbox_risk_changed(program_id bigint, risk_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.outbox_rule r WHERE r.program_id = _outbox_risk_changed.program_id AND r.source = 'risk' AND r.is_active) THEN
    RETURN;
  END IF;
  INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
  SELECT k.program_id, 'risk_event', k.risk_event_id::text, r.event_type, r.channel,
    jsonb_strip_nulls(jsonb_build_object('event', CASE k.state WHEN 'open' THEN 'opened' ELSE k.state END, 'to_state', k.state,
      'actor', coalesce(k.resolved_by, prm._caller()), 'reason', k.reason))
      || coalesce((SELECT jsonb_object_agg(f, to_jsonb(k) -> f) FROM unnest(r.fields) f), '{}'),
    coalesce(k.resolved_at, k.opened_at), prm.now()
  FROM prm.risk_event k
  JOIN prm.outbox_rule r ON r.program_id = k.program_id AND r.source = 'risk' AND r.is_active
    AND (r.event IS NULL OR r.event = CASE k.state WHEN 'open' THEN 'opened' ELSE k.state END) AND (r.to_state IS NULL OR r.to_state = k.state)
  WHERE k.program_id = _outbox_risk_changed.program_id AND k.risk_event_id = ANY (_outbox_risk_changed.risk_event_ids)
  ORDER BY k.risk_event_id, r.outbox_rule_id;
END
$prm$;
REVOKE ALL ON FUNCTION prm._outbox_risk_changed(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._outbox_risk_changed(bigint, bigint[]) IS
'Messages about risk events that opened or were resolved, where an outbox rule of source risk asks for them (events opened, benign, banned, expired).';

CREATE OR REPLACE FUNCTION prm._risk_opened() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  FOR batch IN SELECT n.program_id, array_agg(n.risk_event_id ORDER BY n.risk_event_id) AS ids FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    INSERT INTO prm.ledger_hold (program_id, partner_id, kind, risk_event_id, reason)
      SELECT k.program_id, k.partner_id, 'risk', k.risk_event_id, r.label
      FROM prm.risk_event k JOIN prm.risk_rule r ON r.program_id = k.program_id AND r.risk_rule = k.risk_rule
      WHERE k.program_id = batch.program_id AND k.risk_event_id = ANY (batch.ids) AND r.action = 'hold' ORDER BY k.risk_event_id;
    PERFORM prm._outbox_risk_changed(batch.program_id, batch.ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._risk_opened() FROM PUBLIC;
COMMENT ON FUNCTION prm._risk_opened() IS 'Statement trigger of risk_event: a new one holds what its partner earned, where its rule says so.';

CREATE OR REPLACE TRIGGER prm_20_risk_insert AFTER INSERT ON prm.risk_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._risk_opened();

CREATE OR REPLACE FUNCTION prm._risk_resolved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  the_partners bigint[];
BEGIN
  FOR batch IN
    SELECT c.program_id, array_agg(c.risk_event_id ORDER BY c.risk_event_id) AS ids, array_agg(c.risk_event_id) FILTER (WHERE c.state = 'banned') AS bans
    FROM (SELECT n.program_id, n.risk_event_id, n.state FROM new_rows n EXCEPT SELECT o.program_id, o.risk_event_id, o.state FROM old_rows o) c
    GROUP BY c.program_id ORDER BY c.program_id
  LOOP
    IF batch.bans IS NOT NULL THEN
      -- A rule that only flags has placed no hold; a ban needs one, for what is earned later.
      INSERT INTO prm.ledger_hold (program_id, partner_id, kind, risk_event_id, reason)
        SELECT k.program_id, k.partner_id, 'risk', k.risk_event_id, k.reason FROM prm.risk_event k
        WHERE k.program_id = batch.program_id AND k.risk_event_id = ANY (batch.bans)
          AND NOT EXISTS (SELECT 1 FROM prm.ledger_hold h WHERE h.program_id = batch.program_id AND h.risk_event_id = k.risk_event_id AND h.action = 'place')
        ORDER BY k.risk_event_id;
    END IF;
    INSERT INTO prm.ledger_hold (program_id, hold_ref, action, reason)
      SELECT k.program_id, h.hold_id, CASE k.state WHEN 'benign' THEN 'release' WHEN 'expired' THEN 'expire' ELSE 'cancel' END, k.reason
      FROM prm.risk_event k JOIN prm.ledger_hold h ON h.program_id = k.program_id AND h.risk_event_id = k.risk_event_id AND h.action = 'place'
      WHERE k.program_id = batch.program_id AND k.risk_event_id = ANY (batch.ids) ORDER BY h.hold_id;
    IF batch.bans IS NOT NULL THEN
      SELECT array_agg(DISTINCT k.partner_id ORDER BY k.partner_id) INTO the_partners FROM prm.risk_event k
        WHERE k.program_id = batch.program_id AND k.risk_event_id = ANY (batch.bans);
      PERFORM prm._cancel_unsettled(batch.program_id, the_partners, NULL, false);
    END IF;
    PERFORM prm._outbox_risk_changed(batch.program_id, batch.ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._risk_resolved() FROM PUBLIC;
COMMENT ON FUNCTION prm._risk_resolved() IS
'Statement trigger of risk_event: benign and expired end its hold; banned turns it into a ban and cancels what the partner earned and is not settled.';

CREATE OR REPLACE TRIGGER prm_20_risk_update AFTER UPDATE ON prm.risk_event REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._risk_resolved();

-- Earning events and credits, after they accrued: the names sort behind prm_30_accrual.

CREATE OR REPLACE FUNCTION prm._risk_assessed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_programs bigint[];
  the_program bigint;
  the_ids bigint[];
BEGIN
  SELECT array_agg(DISTINCT n.program_id ORDER BY n.program_id) INTO the_programs FROM new_rows n;
  FOREACH the_program IN ARRAY coalesce(the_programs, '{}')
  LOOP
    -- A programme that neither has such rules nor banned anybody pays for no more than this.
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM prm.risk_rule r WHERE r.program_id = the_program AND r.is_active AND r.kind NOT IN ('duplicate_account', 'network_ban'))
      AND NOT EXISTS (SELECT 1 FROM prm.risk_event k WHERE k.program_id = the_program AND k.state IN ('banned', 'benign'));
    SELECT array_agg(DISTINCT n.earning_event_id) INTO the_ids FROM new_rows n WHERE n.program_id = the_program;
    PERFORM prm._assess_events(the_program, the_ids);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._risk_assessed() FROM PUBLIC;
COMMENT ON FUNCTION prm._risk_assessed() IS 'Statement trigger of earning_event and sales_credit: the risk rules look at what was just earned, and what banned partners earned is canceled.';

CREATE OR REPLACE TRIGGER prm_35_risk AFTER INSERT ON prm.earning_event REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._risk_assessed();
CREATE OR REPLACE TRIGGER prm_35_risk AFTER INSERT ON prm.sales_credit REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._risk_assessed();

-- Views.

CREATE OR REPLACE VIEW prm.v_entry_hold WITH (security_invoker = true) AS
  SELECT l.program_id, l.entry_id, h.hold_id IS NOT NULL AS held, h.kind, h.reason, h.placed_at AS since, h.hold_id, l.partner_id
  FROM prm.ledger l
  LEFT JOIN LATERAL (
    SELECT s.hold_id, s.kind, s.reason, s.placed_at FROM (
      SELECT p.hold_id, p.kind, p.reason, p.placed_at FROM prm._standing_hold p
      WHERE p.program_id = l.program_id AND p.partner_id = l.partner_id AND p.entry_id IS NULL AND (NOT p.is_ban OR l.kind NOT IN ('clawback', 'royalty', 'fee'))
      UNION ALL
      SELECT e.hold_id, e.kind, e.reason, e.placed_at FROM prm._standing_hold e
      WHERE e.program_id = l.program_id AND e.entry_id = ANY (ARRAY[l.entry_id, CASE WHEN l.kind = 'reversal' THEN l.cause_entry_id END])
    ) s ORDER BY s.placed_at, s.hold_id LIMIT 1) h ON true;
COMMENT ON VIEW prm.v_entry_hold IS
'Whether each ledger entry is held from being paid, by its own hold, by that of the entry that it takes back, or by one of its partner; of several the oldest. One row per entry.';
COMMENT ON COLUMN prm.v_entry_hold.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_entry_hold.entry_id IS 'The ledger entry.';
COMMENT ON COLUMN prm.v_entry_hold.held IS 'Whether it is held.';
COMMENT ON COLUMN prm.v_entry_hold.kind IS 'risk (the partner is suspected, or banned), dispute or manual.';
COMMENT ON COLUMN prm.v_entry_hold.reason IS 'Why.';
COMMENT ON COLUMN prm.v_entry_hold.since IS 'Since when.';
COMMENT ON COLUMN prm.v_entry_hold.hold_id IS 'The hold.';
COMMENT ON COLUMN prm.v_entry_hold.partner_id IS 'The partner of the entry.';

CREATE OR REPLACE VIEW prm.v_hold WITH (security_invoker = true) AS
  SELECT h.program_id, h.hold_id, h.partner_id, p.name AS partner, h.entry_id, h.kind, h.reason, h.placed_at, h.actor AS placed_by, h.risk_event_id,
    e.action IS NULL AS stands, coalesce(e.action, c.action) AS outcome, coalesce(e.released_at, c.recorded_at) AS ended_at,
    coalesce(e.reason, c.reason) AS end_reason, coalesce(e.actor, c.actor) AS ended_by
  FROM prm.ledger_hold h
  JOIN prm.partner p ON p.program_id = h.program_id AND p.partner_id = h.partner_id
  LEFT JOIN prm.ledger_hold e ON e.program_id = h.program_id AND e.hold_ref = h.hold_id AND e.action IN ('release', 'expire')
  LEFT JOIN prm.ledger_hold c ON c.program_id = h.program_id AND c.hold_ref = h.hold_id AND c.action = 'cancel'
  WHERE h.action = 'place';
COMMENT ON VIEW prm.v_hold IS 'The holds, each with what became of it. One row per hold.';
COMMENT ON COLUMN prm.v_hold.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_hold.hold_id IS 'Number of the hold; release_hold() takes it.';
COMMENT ON COLUMN prm.v_hold.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_hold.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_hold.entry_id IS 'The ledger entry that is held; NULL: all that the partner earned and is on no statement.';
COMMENT ON COLUMN prm.v_hold.kind IS 'risk, dispute or manual.';
COMMENT ON COLUMN prm.v_hold.reason IS 'Why it was placed.';
COMMENT ON COLUMN prm.v_hold.placed_at IS 'When it was placed.';
COMMENT ON COLUMN prm.v_hold.placed_by IS 'By whom.';
COMMENT ON COLUMN prm.v_hold.risk_event_id IS 'The risk event behind it.';
COMMENT ON COLUMN prm.v_hold.stands IS 'Whether it still holds; that of a ban does.';
COMMENT ON COLUMN prm.v_hold.outcome IS 'release, expire, or cancel for a ban; NULL: nothing yet.';
COMMENT ON COLUMN prm.v_hold.ended_at IS 'When that was.';
COMMENT ON COLUMN prm.v_hold.end_reason IS 'Why.';
COMMENT ON COLUMN prm.v_hold.ended_by IS 'By whom.';

CREATE OR REPLACE VIEW prm.v_risk_event WITH (security_invoker = true) AS
  SELECT k.program_id, k.risk_event_id, k.risk_rule, r.label, r.kind, r.action, k.partner_id, p.name AS partner, k.earning_event_id, k.state,
    k.evidence -> 0 ->> 'found' AS found, k.findings, k.opened_at, k.last_found_at, k.expires_at, k.resolved_at, k.resolved_by, k.reason, k.evidence::text AS evidence
  FROM prm.risk_event k
  JOIN prm.risk_rule r ON r.program_id = k.program_id AND r.risk_rule = k.risk_rule
  JOIN prm.partner p ON p.program_id = k.program_id AND p.partner_id = k.partner_id;
COMMENT ON VIEW prm.v_risk_event IS 'What the risk rules found, with partner, rule and the first piece of evidence in words. One row per risk event.';
COMMENT ON COLUMN prm.v_risk_event.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_risk_event.risk_event_id IS 'Number of the risk event; resolve_risk() takes it.';
COMMENT ON COLUMN prm.v_risk_event.risk_rule IS 'The rule.';
COMMENT ON COLUMN prm.v_risk_event.label IS 'Its name for people.';
COMMENT ON COLUMN prm.v_risk_event.kind IS 'What it looks for.';
COMMENT ON COLUMN prm.v_risk_event.action IS 'hold: the partner''s entries are held while it is open; flag: they are not.';
COMMENT ON COLUMN prm.v_risk_event.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_risk_event.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_risk_event.earning_event_id IS 'The first earning event that it was found in; NULL for accounts.';
COMMENT ON COLUMN prm.v_risk_event.state IS 'open, benign, banned or expired.';
COMMENT ON COLUMN prm.v_risk_event.found IS 'What was found first, in words.';
COMMENT ON COLUMN prm.v_risk_event.findings IS 'How often.';
COMMENT ON COLUMN prm.v_risk_event.opened_at IS 'When it was opened.';
COMMENT ON COLUMN prm.v_risk_event.last_found_at IS 'When it was last found.';
COMMENT ON COLUMN prm.v_risk_event.expires_at IS 'When it expires unless it is resolved before; NULL: never.';
COMMENT ON COLUMN prm.v_risk_event.resolved_at IS 'When it was resolved.';
COMMENT ON COLUMN prm.v_risk_event.resolved_by IS 'By whom.';
COMMENT ON COLUMN prm.v_risk_event.reason IS 'Why it was resolved so.';
COMMENT ON COLUMN prm.v_risk_event.evidence IS 'The pieces of evidence, JSON as text.';

COMMENT ON TABLE prm.risk_rule IS 'Rules that look for fraud. The kinds are code of the engine, the rows say which are looked for, with which parameters, and what follows.';
COMMENT ON COLUMN prm.risk_rule.risk_rule IS 'Short name of the rule, its key.';
COMMENT ON COLUMN prm.risk_rule.label IS 'Name for people; also the reason of the hold, which the partner can read.';
COMMENT ON COLUMN prm.risk_rule.kind IS 'self_referral (the buyer is the partner), duplicate_account (two partners are one), banned_source, velocity (too much at once), paid_traffic (the customer came by an advertisement), network_ban (barred, or the same as a banned partner), condition (what its condition says).';
COMMENT ON COLUMN prm.risk_rule.parameters IS 'What the kind needs: self_referral match; duplicate_account match, within_group; banned_source sources, campaigns, referrers; velocity events, amount, currency, within; paid_traffic click_ids, mediums; network_ban emails, domains, tax_ids, match; and for events kinds (of earning events, all by default).';
COMMENT ON COLUMN prm.risk_rule.condition IS 'Narrows the rule: a jsonpath comparison over the document that commission rules see; only a clear true counts.';
COMMENT ON COLUMN prm.risk_rule.action IS 'hold: what the partner earned is held until the risk is resolved; flag: it is only recorded.';
COMMENT ON COLUMN prm.risk_rule.expires_after_days IS 'Days after which what nobody resolved expires, 1 to 3650; NULL: never.';
COMMENT ON COLUMN prm.risk_rule.is_active IS 'Whether the rule looks.';

COMMENT ON TABLE prm.risk_event IS 'What the risk rules found, one open event per rule and partner. resolve_risk(), or an UPDATE of state and reason, decides about it. Inserting one by hand reports a suspicion.';
COMMENT ON COLUMN prm.risk_event.risk_event_id IS 'Number of the risk event.';
COMMENT ON COLUMN prm.risk_event.risk_rule IS 'The rule that found it.';
COMMENT ON COLUMN prm.risk_event.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.risk_event.earning_event_id IS 'The first earning event that it was found in; NULL for accounts.';
COMMENT ON COLUMN prm.risk_event.state IS 'open, benign (released), banned (canceled, and so is what comes later) or expired (released, nobody resolved it).';
COMMENT ON COLUMN prm.risk_event.evidence IS 'The first pieces of evidence, a JSON array: found (in words), mark (by which the same is known again), earning_event_id. Only ever added to.';
COMMENT ON COLUMN prm.risk_event.findings IS 'How often it was found.';
COMMENT ON COLUMN prm.risk_event.opened_at IS 'When it was opened.';
COMMENT ON COLUMN prm.risk_event.last_found_at IS 'When it was last found.';
COMMENT ON COLUMN prm.risk_event.expires_at IS 'When it expires unless it is resolved before, by the days of its rule; NULL: never.';
COMMENT ON COLUMN prm.risk_event.resolved_at IS 'When it was resolved, or the ban lifted.';
COMMENT ON COLUMN prm.risk_event.resolved_by IS 'By whom.';
COMMENT ON COLUMN prm.risk_event.reason IS 'Why it was resolved so.';

COMMENT ON TABLE prm.ledger_hold IS 'Holds, append-only: a row places one, another ends it. They keep entries off statements and change nothing else. v_hold shows each hold in one row, v_entry_hold each entry.';
COMMENT ON COLUMN prm.ledger_hold.hold_id IS 'Number of the row; that of the placing row is the number of the hold.';
COMMENT ON COLUMN prm.ledger_hold.entry_id IS 'The ledger entry that is held; NULL: all that the partner earned and is on no statement, also what comes while it stands.';
COMMENT ON COLUMN prm.ledger_hold.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.ledger_hold.kind IS 'risk (of a partner), dispute (of one entry) or manual.';
COMMENT ON COLUMN prm.ledger_hold.action IS 'place; release and expire end it; cancel turns it into a ban, which stands until it is released.';
COMMENT ON COLUMN prm.ledger_hold.hold_ref IS 'The placing row, of a row that ends or turns it.';
COMMENT ON COLUMN prm.ledger_hold.risk_event_id IS 'The risk event behind a hold of kind risk.';
COMMENT ON COLUMN prm.ledger_hold.placed_at IS 'When it was placed, prm.now().';
COMMENT ON COLUMN prm.ledger_hold.released_at IS 'When it was released or expired, prm.now(); empty in other rows.';
COMMENT ON COLUMN prm.ledger_hold.reason IS 'Why.';
COMMENT ON COLUMN prm.ledger_hold.actor IS 'Who did it.';
