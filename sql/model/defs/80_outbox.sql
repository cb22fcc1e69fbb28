
-- The outbox: what is told to whom. A message is a row, written in the transaction of its cause.

COMMENT ON TABLE prm.outbox_rule IS 'Which happenings become messages. One message for each rule that matches.';
COMMENT ON COLUMN prm.outbox_rule.outbox_rule_id IS 'Number of the rule.';
COMMENT ON COLUMN prm.outbox_rule.source IS 'What happens: the name of a machine (a subject entered a state), tier (a partner''s tier changed), or risk (a risk event was opened or resolved).';
COMMENT ON COLUMN prm.outbox_rule.event IS 'Only this event of the machine, this outcome of the tier evaluation, or opened, benign, banned, expired for risks; NULL: any.';
COMMENT ON COLUMN prm.outbox_rule.to_state IS 'Only on reaching this state, or this tier; NULL: any.';
COMMENT ON COLUMN prm.outbox_rule.event_type IS 'What the message says happened, in the consumer''s words: deal.won, lead.returned ...';
COMMENT ON COLUMN prm.outbox_rule.channel IS 'Which consumer it is for: webhook, email ...; claim_outbox() can ask for one.';
COMMENT ON COLUMN prm.outbox_rule.fields IS 'Columns of the lead, deal, partner, tier_history or risk_event row that go into the payload.';
COMMENT ON COLUMN prm.outbox_rule.is_active IS 'False: writes no messages.';

COMMENT ON TABLE prm.outbox IS 'Messages to the outside, written in the transaction of their cause; consumers take them with claim_outbox() and report with ack_outbox().';
COMMENT ON COLUMN prm.outbox.outbox_id IS 'Number of the message.';
COMMENT ON COLUMN prm.outbox.aggregate_type IS 'What it is about: the machine''s name (lead, deal, partner ...), partner for a tier, risk_event for a risk.';
COMMENT ON COLUMN prm.outbox.aggregate_id IS 'The number of the lead, deal, partner ..., as text.';
COMMENT ON COLUMN prm.outbox.event_type IS 'What happened, from the rule.';
COMMENT ON COLUMN prm.outbox.channel IS 'Which consumer it is for, from the rule.';
COMMENT ON COLUMN prm.outbox.payload IS 'event, from_state, to_state, actor, reason where known, and the rule''s fields, each with its value when it happened.';
COMMENT ON COLUMN prm.outbox.occurred_at IS 'When it happened.';
COMMENT ON COLUMN prm.outbox.attempts IS 'How often it was claimed.';
COMMENT ON COLUMN prm.outbox.available_at IS 'Not to be claimed before: end of the lease while claimed, the next attempt after a failure.';
COMMENT ON COLUMN prm.outbox.claimed_by IS 'The consumer that has, or last had, it.';
COMMENT ON COLUMN prm.outbox.claimed_at IS 'When it was last claimed.';
COMMENT ON COLUMN prm.outbox.done_at IS 'When it was delivered, or given up; NULL while it is to be sent.';
COMMENT ON COLUMN prm.outbox.status IS 'pending, claimed, done, or failed (given up after 10 attempts).';
COMMENT ON COLUMN prm.outbox.detail IS 'What the consumer said last.';

ALTER TABLE prm.outbox ALTER COLUMN available_at SET DEFAULT prm.now();

CREATE OR REPLACE FUNCTION prm._outbox_rule_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table text;
  the_unknown text;
BEGIN
  IF NEW.source NOT IN ('tier', 'risk') AND NOT EXISTS (SELECT 1 FROM prm.machine m WHERE m.program_id = NEW.program_id AND m.machine = NEW.source) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('an outbox rule cannot have the source "%s"', NEW.source),
      DETAIL = format('Programme %s has no machine of this name.', NEW.program_id),
      HINT = 'The sources are tier, risk and the machines: SELECT DISTINCT machine FROM prm.machine.',
      SCHEMA = 'prm', TABLE = 'outbox_rule', COLUMN = 'source';
  END IF;
  the_table := CASE WHEN NEW.source = 'tier' THEN 'tier_history' WHEN NEW.source = 'risk' THEN 'risk_event' WHEN NEW.source IN ('lead', 'deal', 'partner', 'registration') THEN NEW.source END;
  SELECT f INTO the_unknown FROM unnest(NEW.fields) f
    WHERE f IS NULL OR the_table IS NULL OR NOT EXISTS (SELECT 1 FROM pg_attribute a
      WHERE a.attrelid = to_regclass('prm.' || the_table) AND a.attname = f AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('an outbox rule of source "%s" cannot have the field "%s"', NEW.source, the_unknown),
      DETAIL = CASE WHEN the_table IS NULL THEN format('Messages of the machine "%s" carry its event and states only.', NEW.source)
                    ELSE format('Table prm.%s has no column of this name.', the_table) END,
      HINT = CASE WHEN the_table IS NULL THEN 'Leave fields empty.' ELSE format('The fields are the columns of prm.%s.', the_table) END,
      SCHEMA = 'prm', TABLE = 'outbox_rule', COLUMN = 'fields';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._outbox_rule_check() FROM PUBLIC;
COMMENT ON FUNCTION prm._outbox_rule_check() IS 'Refuses an outbox rule whose source or fields do not exist (22023).';
CREATE OR REPLACE TRIGGER prm_outbox_rule_check BEFORE INSERT OR UPDATE ON prm.outbox_rule
  FOR EACH ROW EXECUTE FUNCTION prm._outbox_rule_check();

CREATE OR REPLACE FUNCTION prm._message_fields(program_id bigint, machine text, subject_id bigint, fields text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_document jsonb;
BEGIN
  -- A statement for each machine, so that each keeps its plan.
  IF _message_fields.machine = 'deal' THEN
    SELECT to_jsonb(t) INTO the_document FROM prm.deal t WHERE t.program_id = _message_fields.program_id AND t.deal_id = _message_fields.subject_id;
  ELSIF _message_fields.machine = 'lead' THEN
    SELECT to_jsonb(t) INTO the_document FROM prm.lead t WHERE t.program_id = _message_fields.program_id AND t.lead_id = _message_fields.subject_id;
  ELSIF _message_fields.machine = 'partner' THEN
    SELECT to_jsonb(t) INTO the_document FROM prm.partner t WHERE t.program_id = _message_fields.program_id AND t.partner_id = _message_fields.subject_id;
  ELSIF _message_fields.machine = 'registration' THEN
    SELECT to_jsonb(t) INTO the_document FROM prm.registration t WHERE t.program_id = _message_fields.program_id AND t.registration_id = _message_fields.subject_id;
  END IF;
  IF the_document IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT jsonb_object_agg(f.name, coalesce(the_document -> f.name, 'null')) FROM unnest(_message_fields.fields) AS f(name));
END
$prm$;
REVOKE ALL ON FUNCTION prm._message_fields(bigint, text, bigint, text[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._message_fields(bigint, text, bigint, text[]) IS
'The fields of a subject that an outbox rule puts into its messages; one that there is no column for is null. NULL where there is no such subject.';

CREATE OR REPLACE FUNCTION prm._state_entered(program_id bigint, machine text, event text, from_state text, to_state text, subjects bigint[],
  subject_uuids uuid[], actor text, at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_actor_before text := current_setting('prm.actor', true);
  the_common jsonb;
  rule record;
BEGIN
  IF _state_entered.to_state IS NOT NULL THEN
    FOR rule IN
      SELECT r.event_type, r.channel, r.fields FROM prm.outbox_rule r
      WHERE r.program_id = _state_entered.program_id AND r.source = _state_entered.machine AND r.is_active
        AND (r.event IS NULL OR r.event = _state_entered.event) AND (r.to_state IS NULL OR r.to_state = _state_entered.to_state)
      ORDER BY r.outbox_rule_id
    LOOP
      -- What all messages of the batch have in common is made once. The reason stands in the history, which the trigger wrote just
      -- before; a batch has one.
      IF the_common IS NULL THEN
        the_common := jsonb_strip_nulls(jsonb_build_object('event', _state_entered.event, 'from_state', _state_entered.from_state,
          'to_state', _state_entered.to_state, 'actor', _state_entered.actor, 'reason', CASE WHEN _state_entered.subjects IS NULL
            THEN (SELECT h.reason FROM prm.state_history h WHERE h.program_id = _state_entered.program_id AND h.machine = _state_entered.machine
                    AND h.subject_uuid = _state_entered.subject_uuids[1] ORDER BY h.history_id DESC LIMIT 1)
            ELSE (SELECT h.reason FROM prm.state_history h WHERE h.program_id = _state_entered.program_id AND h.machine = _state_entered.machine
                    AND h.subject_id = _state_entered.subjects[1] ORDER BY h.history_id DESC LIMIT 1) END));
      END IF;
      IF rule.fields = '{}' OR _state_entered.machine NOT IN ('lead', 'deal', 'partner', 'registration') THEN
        INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
        SELECT _state_entered.program_id, _state_entered.machine, u.id, rule.event_type, rule.channel, the_common, _state_entered.at, prm.now()
        FROM (SELECT unnest(_state_entered.subjects)::text AS id UNION ALL SELECT unnest(_state_entered.subject_uuids)::text) u;
      ELSIF cardinality(_state_entered.subjects) <= 20 THEN
        -- For a few rows a plan that is kept beats one that reads less.
        INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
        SELECT _state_entered.program_id, _state_entered.machine, u.id::text, rule.event_type, rule.channel, the_common || r.fields, _state_entered.at, prm.now()
        FROM unnest(_state_entered.subjects) AS u(id)
        CROSS JOIN LATERAL (SELECT prm._message_fields(_state_entered.program_id, _state_entered.machine, u.id, rule.fields) AS fields OFFSET 0) r
        WHERE r.fields IS NOT NULL;
      ELSE
        -- Only the fields of the rule are read; making JSON of whole rows would cost more than the change of state itself. A
        -- column that was dropped since is null.
        EXECUTE format('INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
            SELECT $1, $2, u.id::text, $3, $4, $5 || r.fields, $6, prm.now()
            FROM unnest($7) u(id)
            -- Row by row through the key, so that many batches of a large table stay linear.
            CROSS JOIN LATERAL (SELECT %3$s AS fields FROM prm.%1$I t WHERE t.program_id = $1 AND t.%2$I = u.id OFFSET 0) r',
          _state_entered.machine, _state_entered.machine || '_id',
          (SELECT string_agg(format('jsonb_build_object(%s)', g.pairs), ' || ') FROM (
            SELECT string_agg(format('%L, %s', f.name, CASE WHEN a.attname IS NULL THEN 'NULL' ELSE format('t.%I', a.attname) END), ', ') AS pairs
            FROM unnest(rule.fields) WITH ORDINALITY f(name, number)
            LEFT JOIN pg_attribute a ON a.attrelid = ('prm.' || _state_entered.machine)::regclass AND a.attname = f.name AND a.attnum > 0 AND NOT a.attisdropped
            -- A function takes a hundred arguments.
            GROUP BY (f.number - 1) / 40) g))
        USING _state_entered.program_id, _state_entered.machine, rule.event_type, rule.channel, the_common, _state_entered.at, _state_entered.subjects;
      END IF;
    END LOOP;
  END IF;

  PERFORM prm._timers_moved(_state_entered.program_id, _state_entered.machine, _state_entered.event, _state_entered.from_state, _state_entered.to_state,
    _state_entered.subjects, _state_entered.subject_uuids, _state_entered.at);

  PERFORM prm._hooks_run(_state_entered.program_id, _state_entered.machine, _state_entered.event, _state_entered.from_state, _state_entered.to_state,
    _state_entered.subjects, _state_entered.subject_uuids, _state_entered.actor, _state_entered.at);

  IF _state_entered.machine <> 'lead' OR _state_entered.event IS NULL THEN
    RETURN;
  END IF;
  IF EXISTS (
      -- The history names the version that judged the event; all subjects are on the same one.
      SELECT 1 FROM prm.machine_transition t
      WHERE t.program_id = _state_entered.program_id AND t.machine = 'lead'
        AND t.version = prm._subject_version('lead', _state_entered.subjects[1], NULL, _state_entered.program_id)
        AND t.from_state = _state_entered.from_state AND t.event = _state_entered.event AND t.creates = 'deal') THEN
    -- The deal's first state is the doing of whoever converted the lead, not of the model's owner.
    PERFORM set_config('prm.actor', _state_entered.actor, true);
    PERFORM prm._convert_leads(_state_entered.program_id, _state_entered.subjects);
    PERFORM set_config('prm.actor', coalesce(the_actor_before, ''), true);
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._state_entered(bigint, text, text, text, text, bigint[], uuid[], text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION prm._state_entered(bigint, text, text, text, text, bigint[], uuid[], text, timestamptz) IS
'What follows when subjects entered a state: messages where an outbox rule asks for them, the clocks of deadlines, what hooks do, and a deal where the transition creates one. One of subjects and subject_uuids is NULL; from_state is NULL for new rows, to_state for deleted ones, event for both and for a migration. Called by the machine''s trigger once per transition and batch.';

CREATE OR REPLACE FUNCTION prm._outbox_tier_changed(program_id bigint, tier_history_ids bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
  SELECT h.program_id, 'partner', h.partner_id::text, r.event_type, r.channel,
    jsonb_strip_nulls(jsonb_build_object('event', h.outcome, 'from_state', h.from_tier, 'to_state', h.to_tier, 'actor', h.actor, 'reason', h.reason))
      || coalesce((SELECT jsonb_object_agg(f, to_jsonb(h) -> f) FROM unnest(r.fields) f), '{}'),
    h.at, prm.now()
  FROM prm.tier_history h
  JOIN prm.outbox_rule r ON r.program_id = h.program_id AND r.source = 'tier' AND r.is_active
    -- What moves nobody (at_risk, grace, needs_approval ...) is told only where a rule names it.
    AND (r.event = h.outcome OR r.event IS NULL AND h.from_tier IS DISTINCT FROM h.to_tier) AND (r.to_state IS NULL OR r.to_state = h.to_tier)
  WHERE h.program_id = _outbox_tier_changed.program_id AND h.tier_history_id = ANY (_outbox_tier_changed.tier_history_ids)
  ORDER BY h.tier_history_id, r.outbox_rule_id;
END
$prm$;
REVOKE ALL ON FUNCTION prm._outbox_tier_changed(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._outbox_tier_changed(bigint, bigint[]) IS
'Messages about changes of tier, given by their rows of tier_history, where an outbox rule of source tier asks for them. Called by the tier engine.';

CREATE OR REPLACE VIEW prm.v_outbox WITH (security_invoker = true) AS
SELECT o.program_id, o.outbox_id, o.aggregate_type, o.aggregate_id, o.event_type, o.channel, o.status, o.attempts, o.occurred_at, o.available_at,
  o.claimed_by, o.claimed_at, o.done_at, o.detail, o.payload::text AS payload
FROM prm.outbox o;
COMMENT ON VIEW prm.v_outbox IS 'Messages to the outside and how far they got. One row per message.';
COMMENT ON COLUMN prm.v_outbox.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_outbox.outbox_id IS 'Number of the message.';
COMMENT ON COLUMN prm.v_outbox.aggregate_type IS 'What it is about: lead, deal, partner, or a machine of your own.';
COMMENT ON COLUMN prm.v_outbox.aggregate_id IS 'The number of the lead, deal, partner ..., as text.';
COMMENT ON COLUMN prm.v_outbox.event_type IS 'What happened.';
COMMENT ON COLUMN prm.v_outbox.channel IS 'Which consumer it is for.';
COMMENT ON COLUMN prm.v_outbox.status IS 'pending, claimed, done, or failed (given up).';
COMMENT ON COLUMN prm.v_outbox.attempts IS 'How often it was claimed.';
COMMENT ON COLUMN prm.v_outbox.occurred_at IS 'When it happened.';
COMMENT ON COLUMN prm.v_outbox.available_at IS 'Not to be claimed before.';
COMMENT ON COLUMN prm.v_outbox.claimed_by IS 'The consumer that has, or last had, it.';
COMMENT ON COLUMN prm.v_outbox.claimed_at IS 'When it was last claimed.';
COMMENT ON COLUMN prm.v_outbox.done_at IS 'When it was delivered, or given up.';
COMMENT ON COLUMN prm.v_outbox.detail IS 'What the consumer said last.';
COMMENT ON COLUMN prm.v_outbox.payload IS 'The message, JSON as text.';

COMMENT ON TABLE prm.external_id IS 'Ids of the same things in further systems (CRM, billing, LMS), beside external_ref.';
COMMENT ON COLUMN prm.external_id.system IS 'The other system.';
COMMENT ON COLUMN prm.external_id.kind IS 'What kind of thing: partner, customer, lead, deal ...';
COMMENT ON COLUMN prm.external_id.id IS 'Its number here.';
