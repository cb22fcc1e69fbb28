
-- Gates and hooks: the checks of reviews and hooks, what holds a subject back, and what hooks do.

COMMENT ON TABLE prm.review_decision IS 'What reviewers decided about rows whose state asks for a review. Written by review(). Append-only (55000).';
COMMENT ON COLUMN prm.review_decision.review_decision_id IS 'Number of the decision.';
COMMENT ON COLUMN prm.review_decision.machine IS 'The machine.';
COMMENT ON COLUMN prm.review_decision.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.review_decision.subject_uuid IS 'Key of the row where it is a uuid.';
COMMENT ON COLUMN prm.review_decision.state IS 'The state that asked for the review; filled by the model.';
COMMENT ON COLUMN prm.review_decision.entered IS 'history_id of the entry into the state; votes count for this visit only. Filled by the model.';
COMMENT ON COLUMN prm.review_decision.reviewer IS 'Who decided; one vote for each visit. Filled by the model.';
COMMENT ON COLUMN prm.review_decision.decision IS 'accept or return.';
COMMENT ON COLUMN prm.review_decision.reason IS 'The reason; needed for return.';
COMMENT ON COLUMN prm.review_decision.at IS 'When it was decided, prm.now().';
COMMENT ON TABLE prm.review_round IS 'The votes of each visit to a state that asks for a review, counted. Written by the model.';
COMMENT ON COLUMN prm.review_round.machine IS 'The machine.';
COMMENT ON COLUMN prm.review_round.entered IS 'history_id of the entry into the state.';
COMMENT ON COLUMN prm.review_round.accepted IS 'Decisions to accept.';
COMMENT ON COLUMN prm.review_round.returned IS 'Decisions to return.';

-- With the caller's rights: who may vote is asked of the role that votes.
CREATE OR REPLACE FUNCTION prm._review_decision_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_acting bigint := prm._acting_partner(NEW.program_id);
  place record;
BEGIN
  IF the_acting IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a partner cannot review',
      DETAIL = format('Partner %s acts; reviews are for the vendor.', the_acting), HINT = 'Let somebody of the vendor decide.',
      SCHEMA = 'prm', TABLE = 'review_decision';
  END IF;
  SELECT v.state, v.entered, v.role_name, v.quorum INTO place
    FROM prm._review_of(NEW.program_id, NEW.machine, NEW.subject_id, NEW.subject_uuid) v;
  IF place.quorum IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('%s %s: state "%s" needs no review', NEW.machine,
        coalesce(NEW.subject_id::text, NEW.subject_uuid::text), place.state),
      DETAIL = 'Only states with a "review" in the machine''s definition take decisions; it may have been decided meanwhile.',
      HINT = format('SELECT * FROM prm.allowed_events%s(''%s'', %s) lists what can be done.', CASE WHEN NEW.subject_uuid IS NOT NULL THEN '_uuid' END, NEW.machine, coalesce(NEW.subject_id::text, quote_literal(NEW.subject_uuid))),
      SCHEMA = 'prm', TABLE = 'review_decision';
  END IF;
  IF NOT prm._may_act_as(place.role_name) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('state "%s" is reviewed by the role "%s"', place.state, place.role_name),
      DETAIL = format('Role "%s" is not a member of it.', current_user),
      HINT = format('Let a member decide, or GRANT %I TO %I.', place.role_name, current_user), SCHEMA = 'prm', TABLE = 'review_decision';
  END IF;
  IF NEW.decision = 'return' AND coalesce(btrim(NEW.reason, E' \t\r\n'), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'a return needs a reason',
      DETAIL = format('%s %s is to leave state "%s" without one.', NEW.machine, coalesce(NEW.subject_id::text, NEW.subject_uuid::text), place.state),
      HINT = 'Say what is to be done better: prm.review(..., reason => ''...'').',
      SCHEMA = 'prm', TABLE = 'review_decision', COLUMN = 'reason', CONSTRAINT = 'review_decision_reason_check';
  END IF;
  NEW.state := place.state;
  NEW.entered := place.entered;
  NEW.reviewer := prm._reviewer();
  NEW.at := prm.now();
  IF EXISTS (SELECT 1 FROM prm.review_decision d WHERE d.program_id = NEW.program_id AND d.machine = NEW.machine
             AND d.entered = NEW.entered AND d.reviewer = NEW.reviewer) THEN
    RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('"%s" has reviewed %s %s already', NEW.reviewer, NEW.machine,
        coalesce(NEW.subject_id::text, NEW.subject_uuid::text)),
      DETAIL = format('Each reviewer has one vote for each visit to state "%s".', NEW.state),
      HINT = 'Let another reviewer decide; prm.review_decision shows the votes.',
      SCHEMA = 'prm', TABLE = 'review_decision', COLUMN = 'reviewer', CONSTRAINT = 'review_decision_vote_key';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._review_decision_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._review_decision_row() IS
'Checks a decision and fills state, visit, reviewer and moment. Errors: 42501 a partner or no reviewer, 55000 no review asked for, 23514 no reason, 23505 voted already.';
CREATE OR REPLACE TRIGGER prm_review_decision_row BEFORE INSERT ON prm.review_decision
  FOR EACH ROW EXECUTE FUNCTION prm._review_decision_row();

CREATE OR REPLACE FUNCTION prm._review_decision_counted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  INSERT INTO prm.review_round AS r (program_id, machine, entered, accepted, returned)
    VALUES (NEW.program_id, NEW.machine, NEW.entered, (NEW.decision = 'accept')::integer, (NEW.decision = 'return')::integer)
    ON CONFLICT (program_id, machine, entered) DO UPDATE
    SET accepted = r.accepted + excluded.accepted, returned = r.returned + excluded.returned;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._review_decision_counted() FROM PUBLIC;
COMMENT ON FUNCTION prm._review_decision_counted() IS 'Counts a decision in prm.review_round, so that of two votes at once the later one sees the earlier.';
CREATE OR REPLACE TRIGGER prm_review_decision_counted AFTER INSERT ON prm.review_decision
  FOR EACH ROW EXECUTE FUNCTION prm._review_decision_counted();
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.review_decision
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();

CREATE OR REPLACE FUNCTION prm._gate_faults(program_id bigint, machine text, version integer, from_state text, event text, subjects bigint[],
  subject_uuids uuid[]) RETURNS SETOF prm.gate_fault
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_review jsonb;
  the_quorum integer;
  the_required text[];
  the_today date;
BEGIN
  IF _gate_faults.subjects IS NOT NULL AND EXISTS (
      SELECT 1 FROM prm.machine_transition t WHERE t.program_id = _gate_faults.program_id AND t.machine = _gate_faults.machine
        AND t.version = _gate_faults.version AND t.from_state = _gate_faults.from_state AND t.event = _gate_faults.event AND t.needs_criteria) THEN
    SELECT (prm.now() AT TIME ZONE p.time_zone)::date INTO the_today FROM prm.program p WHERE p.program_id = _gate_faults.program_id;
    SELECT array_agg(c.criterion ORDER BY c.position, c.criterion) INTO the_required FROM prm.lead_criterion c
      WHERE c.program_id = _gate_faults.program_id AND c.is_active AND c.required
        AND the_today BETWEEN coalesce(c.valid_from, '-infinity') AND coalesce(c.valid_until, 'infinity');
    -- Who lacks an answer is found by counting, one look into the key for each lead; what it lacks is asked of those only.
    IF the_required IS NOT NULL THEN
      RETURN QUERY
        SELECT s.id, NULL::uuid, format('criterion "%s" is not answered', q.criterion),
          format('Answer it: SELECT prm.answer_criteria(%s, ''{"%s": ...}'').', s.id, q.criterion)
        FROM (
          SELECT u.id, u.number FROM unnest(_gate_faults.subjects) WITH ORDINALITY AS u(id, number)
          WHERE (SELECT count(*) FROM prm.lead_answer a WHERE a.program_id = _gate_faults.program_id AND a.lead_id = u.id
                 AND a.criterion = ANY (the_required)) < cardinality(the_required)
          ORDER BY u.number LIMIT 10) s
        CROSS JOIN unnest(the_required) WITH ORDINALITY AS q(criterion, number)
        WHERE NOT EXISTS (SELECT 1 FROM prm.lead_answer a WHERE a.program_id = _gate_faults.program_id AND a.lead_id = s.id AND a.criterion = q.criterion)
        ORDER BY s.number, q.number;
    END IF;
  END IF;

  SELECT s.review INTO the_review FROM prm.machine_state s WHERE s.program_id = _gate_faults.program_id AND s.machine = _gate_faults.machine
    AND s.version = _gate_faults.version AND s.state = _gate_faults.from_state AND s.review ->> 'accept' = _gate_faults.event;
  IF the_review IS NOT NULL THEN
    the_quorum := coalesce((the_review ->> 'quorum')::integer, 1);
    RETURN QUERY
      SELECT u.id, u.uuid, format('it has %s of %s reviews', coalesce(r.accepted, 0), the_quorum),
        format('Reviewers%s decide: SELECT prm.review%s(''%s'', %s, ''accept'').', ' of the role ' || quote_ident(the_review ->> 'role'),
          CASE WHEN u.uuid IS NOT NULL THEN '_uuid' END, _gate_faults.machine, coalesce(u.id::text, quote_literal(u.uuid)))
      FROM (SELECT n.id, NULL::uuid AS uuid, n.number FROM unnest(_gate_faults.subjects) WITH ORDINALITY AS n(id, number)
            UNION ALL
            SELECT NULL, n.uuid, n.number FROM unnest(_gate_faults.subject_uuids) WITH ORDINALITY AS n(uuid, number)) u
      CROSS JOIN LATERAL (
        SELECT coalesce(
          (SELECT h.history_id FROM prm.state_history h WHERE h.program_id = _gate_faults.program_id AND h.machine = _gate_faults.machine
             AND h.subject_id = u.id AND h.from_state IS DISTINCT FROM h.to_state ORDER BY h.history_id DESC LIMIT 1),
          (SELECT h.history_id FROM prm.state_history h WHERE h.program_id = _gate_faults.program_id AND h.machine = _gate_faults.machine
             AND h.subject_uuid = u.uuid AND h.from_state IS DISTINCT FROM h.to_state ORDER BY h.history_id DESC LIMIT 1)) AS entered) e
      LEFT JOIN LATERAL (SELECT o.accepted FROM prm.review_round o WHERE o.program_id = _gate_faults.program_id
        AND o.machine = _gate_faults.machine AND o.entered = e.entered OFFSET 0) r ON true
      WHERE coalesce(r.accepted, 0) < the_quorum
      ORDER BY u.number LIMIT 10;
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._gate_faults(bigint, text, integer, text, text, bigint[], uuid[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._gate_faults(bigint, text, integer, text, text, bigint[], uuid[]) IS
'Which of the subjects an event''s gates hold back, and why: unanswered criteria, missing reviews. Names the first ten at most. Called by the machine''s trigger and allowed_events() with the owner''s rights.';

COMMENT ON TABLE prm.machine_hook IS 'What follows a change of state, as rows: a message, a task for a role, a column set. Hooks run as the system, inside the transaction of the change.';
COMMENT ON COLUMN prm.machine_hook.hook_id IS 'Number of the hook.';
COMMENT ON COLUMN prm.machine_hook.machine IS 'The machine whose changes it follows.';
COMMENT ON COLUMN prm.machine_hook.fires_on IS 'enter: a row comes into to_state; leave: it goes out of from_state; event: an event was taken, also one that returns to its state.';
COMMENT ON COLUMN prm.machine_hook.event IS 'Only this event; NULL: any.';
COMMENT ON COLUMN prm.machine_hook.from_state IS 'Only from this state; NULL: any.';
COMMENT ON COLUMN prm.machine_hook.to_state IS 'Only to this state; NULL: any.';
COMMENT ON COLUMN prm.machine_hook.action IS 'outbox: writes a message; task: opens a task; set: sets a column of the lead, deal or partner; earn: books an earning event for the partner and customer of the row, once for each row and hook.';
COMMENT ON COLUMN prm.machine_hook.event_type IS 'outbox: what the message says happened.';
COMMENT ON COLUMN prm.machine_hook.channel IS 'outbox: which consumer it is for: webhook, email ...';
COMMENT ON COLUMN prm.machine_hook.template IS 'outbox: the payload, an object of texts with {fields}: columns of the row, {attributes.x}, {event}, {from_state}, {to_state}, {actor}, {reason}, {now}, {subject}.';
COMMENT ON COLUMN prm.machine_hook.role_name IS 'task: the database role whose members are to do it; NULL: anybody of the vendor.';
COMMENT ON COLUMN prm.machine_hook.title IS 'task: what is to be done, with {fields}.';
COMMENT ON COLUMN prm.machine_hook.detail IS 'task: further text, with {fields}.';
COMMENT ON COLUMN prm.machine_hook.due_after IS 'task: how long after the change it is due; NULL: at no time.';
COMMENT ON COLUMN prm.machine_hook.column_name IS 'set: the column; not the state, the key, the programme or a generated one.';
COMMENT ON COLUMN prm.machine_hook.value IS 'set: the value as JSON; "{now}" is the moment (for a date: the business date), "{actor}" who caused the change.';
COMMENT ON COLUMN prm.machine_hook.earn_kind IS 'earn: kind of the earning event, a row of earning_kind such as lead or signup; not booked, collected or refunded. It has the quantity 1.';
COMMENT ON COLUMN prm.machine_hook.amount IS 'earn: amount of the event, zero or more; NULL for none, where rules pay on its quantity.';
COMMENT ON COLUMN prm.machine_hook.currency IS 'earn: currency of the event, ISO 4217; NULL: that of the programme.';
COMMENT ON COLUMN prm.machine_hook.position IS 'Order among the hooks of a change; columns are set before messages and tasks are written.';
COMMENT ON COLUMN prm.machine_hook.is_active IS 'False: does nothing.';
COMMENT ON TABLE prm.task IS 'Things to do for people, opened by hooks or by hand; complete_task() closes them.';
COMMENT ON COLUMN prm.task.task_id IS 'Number of the task.';
COMMENT ON COLUMN prm.task.role_name IS 'The database role whose members are to do it; NULL: anybody of the vendor.';
COMMENT ON COLUMN prm.task.title IS 'What is to be done.';
COMMENT ON COLUMN prm.task.detail IS 'Further text.';
COMMENT ON COLUMN prm.task.machine IS 'The machine of the row that it is about.';
COMMENT ON COLUMN prm.task.subject_id IS 'Key of that row: lead_id, deal_id, partner_id.';
COMMENT ON COLUMN prm.task.subject_uuid IS 'Key of that row where it is a uuid.';
COMMENT ON COLUMN prm.task.hook_id IS 'The hook that opened it; NULL: opened by hand.';
COMMENT ON COLUMN prm.task.state IS 'open or done.';
COMMENT ON COLUMN prm.task.created_by IS 'Who caused it.';
COMMENT ON COLUMN prm.task.due_at IS 'When it is due.';
COMMENT ON COLUMN prm.task.done_by IS 'Who did it.';
COMMENT ON COLUMN prm.task.done_at IS 'When it was done.';
ALTER TABLE prm.task ALTER COLUMN created_by SET DEFAULT prm.current_actor();
ALTER TABLE prm.task ALTER COLUMN created_at SET DEFAULT prm.now();

-- Compiled machines know which changes have hooks.
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.machine_hook
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.machine_hook ENABLE ALWAYS TRIGGER prm_definition_changed;

CREATE OR REPLACE FUNCTION prm._hook_value(table_name text, column_name text, value jsonb, actor text, program_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_type oid;
BEGIN
  IF _hook_value.value = '"{actor}"' THEN
    RETURN to_jsonb(_hook_value.actor);
  ELSIF _hook_value.value = '"{now}"' THEN
    SELECT a.atttypid INTO the_type FROM pg_attribute a
      WHERE a.attrelid = to_regclass('prm.' || _hook_value.table_name) AND a.attname = _hook_value.column_name;
    IF the_type = 'date'::regtype THEN
      RETURN to_jsonb((prm.now() AT TIME ZONE (SELECT p.time_zone FROM prm.program p WHERE p.program_id = _hook_value.program_id))::date);
    END IF;
    RETURN to_jsonb(prm.now());
  END IF;
  RETURN _hook_value.value;
END
$prm$;
COMMENT ON FUNCTION prm._hook_value(text, text, jsonb, text, bigint) IS 'What a hook writes into a column: its value, or what {now} and {actor} mean.';

CREATE OR REPLACE FUNCTION prm._machine_hook_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table text := CASE WHEN NEW.machine IN ('lead', 'deal', 'partner') THEN NEW.machine END;
  the_target regclass := (prm._machine_table(NEW.machine, NEW.program_id)).target;
  the_fault text;
  the_column text;
  the_hint text := 'Correct the row; the comments of prm.machine_hook say what each column is for.';
  the_unknown text;
  place record;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.machine m WHERE m.program_id = NEW.program_id AND m.machine = NEW.machine) THEN
    the_fault := format('there is no machine "%s"', NEW.machine);
    the_column := 'machine';
    the_hint := 'The machines: SELECT DISTINCT machine FROM prm.machine.';
  ELSIF NEW.event IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.machine_transition t
      WHERE t.program_id = NEW.program_id AND t.machine = NEW.machine AND t.event = NEW.event) THEN
    the_fault := format('machine "%s" has no event "%s"', NEW.machine, NEW.event);
    the_column := 'event';
  ELSIF NEW.fires_on = 'event' AND NEW.event IS NULL THEN
    the_fault := 'a hook on an event must name it';
    the_column := 'event';
  ELSE
    SELECT s.state INTO the_unknown FROM unnest(ARRAY[NEW.from_state, NEW.to_state]) AS s(state)
      WHERE s.state IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.machine_state t
        WHERE t.program_id = NEW.program_id AND t.machine = NEW.machine AND t.state = s.state) LIMIT 1;
    IF FOUND THEN
      the_fault := format('machine "%s" has no state "%s"', NEW.machine, the_unknown);
      the_column := CASE WHEN the_unknown = NEW.from_state THEN 'from_state' ELSE 'to_state' END;
    END IF;
  END IF;

  IF the_fault IS NULL AND NEW.action = 'outbox' THEN
    IF coalesce(btrim(NEW.event_type), '') = '' THEN
      the_fault := 'a message needs an event_type';
      the_column := 'event_type';
    ELSIF coalesce(jsonb_typeof(NEW.template), '') <> 'object' OR jsonb_path_exists(NEW.template, 'strict $.* ? (@.type() != "string")') THEN
      the_fault := 'the template is no object of texts';
      the_column := 'template';
      the_hint := 'Write it like {"text": "Lead {company} returned: {reason}"}.';
    END IF;
  ELSIF the_fault IS NULL AND NEW.action = 'task' AND coalesce(btrim(NEW.title), '') = '' THEN
    the_fault := 'a task needs a title';
    the_column := 'title';
  ELSIF the_fault IS NULL AND NEW.action = 'earn' THEN
    the_column := 'earn_kind';
    IF NEW.earn_kind IS NULL OR NEW.earn_kind IN ('booked', 'collected', 'refunded') THEN
      the_fault := CASE WHEN NEW.earn_kind IS NULL THEN 'an earning event needs its kind, earn_kind' ELSE format('an event of kind %s is not booked by a hook', NEW.earn_kind) END;
      the_hint := 'Name a kind such as lead or signup: SELECT kind FROM prm.earning_kind. A won deal books itself.';
    ELSIF NOT EXISTS (SELECT 1 FROM prm.earning_kind t WHERE t.program_id = NEW.program_id AND t.kind = NEW.earn_kind) THEN
      the_fault := format('there is no earning kind "%s"', NEW.earn_kind);
      the_hint := 'The kinds: SELECT kind FROM prm.earning_kind.';
    ELSIF NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = the_target AND a.attname = 'partner_id'
        AND a.atttypid IN ('int4'::regtype, 'int8'::regtype) AND NOT a.attisdropped) THEN
      the_fault := 'only rows with a partner_id can earn';
      the_column := 'machine';
      the_hint := 'Give the table of the machine a column partner_id bigint.';
    ELSIF NEW.amount < 0 OR NEW.amount IN ('NaN', 'Infinity') THEN
      the_fault := format('an event cannot have the amount %s', NEW.amount);
      the_column := 'amount';
      the_hint := 'Give zero or more, or leave the amount out.';
    END IF;
  ELSIF the_fault IS NULL AND NEW.action = 'set' THEN
    the_column := 'column_name';
    IF the_table IS NULL THEN
      the_fault := 'only columns of prm.lead, prm.deal and prm.partner can be set';
      the_column := 'machine';
    ELSIF NEW.column_name IS NULL OR NEW.value IS NULL THEN
      the_fault := 'a column to set needs column_name and value';
    ELSE
      SELECT a.attname, a.attnotnull, a.attgenerated <> '' OR a.attidentity <> '' AS is_generated,
          EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS is_key INTO place
        FROM pg_attribute a WHERE a.attrelid = to_regclass('prm.' || the_table) AND a.attname = NEW.column_name AND a.attnum > 0 AND NOT a.attisdropped;
      IF NOT FOUND THEN
        the_fault := format('table prm.%s has no column "%s"', the_table, NEW.column_name);
      ELSIF place.attname = 'state' OR place.is_key OR place.is_generated THEN
        the_fault := format('column "%s" cannot be set by a hook', NEW.column_name);
        the_hint := 'States change by events; keys, the programme and generated columns do not change.';
      ELSIF jsonb_typeof(NEW.value) = 'string' AND NEW.value NOT IN ('"{now}"', '"{actor}"')
          AND EXISTS (SELECT 1 FROM prm._template_fields(NEW.value #>> '{}')) THEN
        the_fault := format('%s is no value: a column is set to a constant, to {now} or to {actor}', NEW.value);
        the_column := 'value';
      ELSIF place.attnotnull AND NEW.value = 'null' THEN
        the_fault := format('column "%s" cannot be empty', NEW.column_name);
        the_column := 'value';
      ELSE
        BEGIN
          EXECUTE format('SELECT (jsonb_populate_record(NULL::prm.%I, jsonb_build_object($1, $2))).%I', the_table, NEW.column_name)
            USING NEW.column_name, prm._hook_value(the_table, NEW.column_name, NEW.value, 'actor', NEW.program_id);
        EXCEPTION WHEN data_exception THEN
          the_fault := format('%s is no value for column "%s": %s', NEW.value, NEW.column_name, SQLERRM);
          the_column := 'value';
        END;
      END IF;
    END IF;
  END IF;

  IF the_fault IS NULL THEN
    SELECT f.name, f.origin INTO place
      FROM (SELECT n AS name, 'template' AS origin FROM jsonb_each_text(CASE WHEN NEW.action = 'outbox' THEN NEW.template ELSE '{}' END) t, prm._template_fields(t.value) n
            UNION ALL SELECT n, 'title' FROM prm._template_fields(NEW.title) n WHERE NEW.action = 'task'
            UNION ALL SELECT n, 'detail' FROM prm._template_fields(NEW.detail) n WHERE NEW.action = 'task') f
      WHERE f.name NOT IN ('event', 'from_state', 'to_state', 'actor', 'reason', 'now', 'subject')
        AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = the_target
          AND a.attname = CASE WHEN f.name LIKE 'attributes.%' THEN 'attributes' ELSE f.name END AND a.attnum > 0 AND NOT a.attisdropped)
      LIMIT 1;
    IF FOUND THEN
      the_fault := format('there is no field {%s}', place.name);
      the_column := place.origin;
      the_hint := format('The fields are %s{event}, {from_state}, {to_state}, {actor}, {reason}, {now} and {subject}.',
        CASE WHEN the_target IS NULL THEN '' ELSE format('the columns of %s, {attributes.x}, ', the_target) END);
    END IF;
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('hook of machine "%s": %s', NEW.machine, the_fault),
      DETAIL = format('Its action is %s.', NEW.action), HINT = the_hint, SCHEMA = 'prm', TABLE = 'machine_hook', COLUMN = the_column;
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._machine_hook_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._machine_hook_row() IS 'Refuses a hook that names what does not exist or sets what it may not (22023).';
CREATE OR REPLACE TRIGGER prm_machine_hook_row BEFORE INSERT OR UPDATE ON prm.machine_hook
  FOR EACH ROW EXECUTE FUNCTION prm._machine_hook_row();

CREATE OR REPLACE FUNCTION prm._hook_rows(program_id bigint, machine text, subjects bigint[], subject_uuids uuid[], context jsonb) RETURNS SETOF prm.hook_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_place prm.machine_table;
  the_rows jsonb := '{}';
BEGIN
  -- Rows of an attached table by their keys; where policies hide some from the owner, these have no columns to tell.
  IF _hook_rows.machine NOT IN ('lead', 'deal', 'partner') THEN
    the_place := prm._machine_table(_hook_rows.machine, _hook_rows.program_id);
    IF the_place.target IS NOT NULL AND has_table_privilege(the_place.target, 'SELECT') THEN
      EXECUTE format('SELECT coalesce(jsonb_object_agg(t.%I::text, to_jsonb(t)), ''{}'') FROM %s t WHERE t.%I = ANY (%s) AND %s', the_place.key_column,
          the_place.target, the_place.key_column, CASE WHEN the_place.is_uuid THEN '$2' ELSE '$1' END,
          CASE WHEN the_place.program_column IS NULL THEN '$3 IS NOT NULL' ELSE format('t.%I = $3', the_place.program_column) END)
        INTO the_rows USING _hook_rows.subjects, _hook_rows.subject_uuids, _hook_rows.program_id;
    END IF;
  END IF;
  RETURN QUERY
    SELECT s.id, s.uuid, s.row_values || _hook_rows.context || jsonb_build_object('subject', coalesce(s.id::text, s.uuid::text),
      'reason', CASE WHEN s.id IS NOT NULL THEN
          -- The reason stands in the history, which the trigger wrote just before.
          (SELECT h.reason FROM prm.state_history h WHERE h.program_id = _hook_rows.program_id AND h.machine = _hook_rows.machine
             AND h.subject_id = s.id ORDER BY h.history_id DESC LIMIT 1)
        ELSE
          (SELECT h.reason FROM prm.state_history h WHERE h.program_id = _hook_rows.program_id AND h.machine = _hook_rows.machine
             AND h.subject_uuid = s.uuid ORDER BY h.history_id DESC LIMIT 1) END)
    FROM (
      SELECT l.lead_id AS id, NULL::uuid AS uuid, to_jsonb(l) AS row_values FROM prm.lead l
        WHERE _hook_rows.machine = 'lead' AND l.program_id = _hook_rows.program_id AND l.lead_id = ANY (_hook_rows.subjects)
      UNION ALL
      SELECT d.deal_id, NULL, to_jsonb(d) FROM prm.deal d
        WHERE _hook_rows.machine = 'deal' AND d.program_id = _hook_rows.program_id AND d.deal_id = ANY (_hook_rows.subjects)
      UNION ALL
      SELECT p.partner_id, NULL, to_jsonb(p) FROM prm.partner p
        WHERE _hook_rows.machine = 'partner' AND p.program_id = _hook_rows.program_id AND p.partner_id = ANY (_hook_rows.subjects)
      UNION ALL
      SELECT u.id, NULL, coalesce(the_rows -> u.id::text, '{}') FROM unnest(_hook_rows.subjects) u(id) WHERE _hook_rows.machine NOT IN ('lead', 'deal', 'partner')
      UNION ALL
      SELECT NULL, u.uuid, coalesce(the_rows -> u.uuid::text, '{}') FROM unnest(_hook_rows.subject_uuids) u(uuid)) s;
END
$prm$;
COMMENT ON FUNCTION prm._hook_rows(bigint, text, bigint[], uuid[], jsonb) IS 'The subjects of a hook with the fields that templates may name.';

CREATE OR REPLACE FUNCTION prm._hooks_run(program_id bigint, machine text, event text, from_state text, to_state text, subjects bigint[],
  subject_uuids uuid[], actor text, at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_hooks bigint[];
  the_context jsonb;
  the_actions text[];
  hook record;
BEGIN
  -- A deleted row is no change that hooks follow, nor is one that migrate_subjects() moves to another version.
  IF _hooks_run.to_state IS NULL OR (_hooks_run.event IS NULL AND _hooks_run.from_state IS NOT NULL) THEN
    RETURN;
  END IF;
  SELECT array_agg(k.hook_id ORDER BY k.position, k.hook_id), array_agg(DISTINCT k.action) INTO the_hooks, the_actions FROM prm.machine_hook k
    WHERE k.program_id = _hooks_run.program_id AND k.machine = _hooks_run.machine AND k.is_active
      AND (k.event IS NULL OR k.event = _hooks_run.event) AND (k.from_state IS NULL OR k.from_state = _hooks_run.from_state)
      AND (k.to_state IS NULL OR k.to_state = _hooks_run.to_state)
      AND CASE k.fires_on WHEN 'event' THEN _hooks_run.event IS NOT NULL
          WHEN 'enter' THEN _hooks_run.from_state IS DISTINCT FROM _hooks_run.to_state
          ELSE _hooks_run.from_state IS NOT NULL AND _hooks_run.from_state <> _hooks_run.to_state END;
  IF the_hooks IS NULL THEN
    RETURN;
  END IF;
  -- Columns first, so that messages and tasks show them. The state is never among them, so no event follows from it.
  IF 'set' = ANY (the_actions) THEN
    FOR hook IN
      SELECT k.column_name, prm._hook_value(k.machine, k.column_name, k.value, _hooks_run.actor, k.program_id) AS new_value
      FROM prm.machine_hook k WHERE k.program_id = _hooks_run.program_id AND k.hook_id = ANY (the_hooks) AND k.action = 'set'
      ORDER BY k.position, k.hook_id
    LOOP
      EXECUTE format('UPDATE prm.%1$I t SET %2$I = (jsonb_populate_record(NULL::prm.%1$I, $1)).%2$I WHERE t.program_id = $2 AND t.%3$I = ANY ($3)',
          _hooks_run.machine, hook.column_name, _hooks_run.machine || '_id')
        USING jsonb_build_object(hook.column_name, hook.new_value), _hooks_run.program_id, _hooks_run.subjects;
    END LOOP;
  END IF;
  the_context := jsonb_build_object('event', _hooks_run.event, 'from_state', _hooks_run.from_state, 'to_state', _hooks_run.to_state,
    'actor', _hooks_run.actor, 'now', to_char(_hooks_run.at AT TIME ZONE (SELECT p.time_zone FROM prm.program p WHERE p.program_id = _hooks_run.program_id), 'YYYY-MM-DD HH24:MI'));
  IF 'earn' = ANY (the_actions) THEN
    INSERT INTO prm.earning_event (program_id, kind, deal_id, partner_id, customer_id, product_family, quantity, amount, currency, occurred_at,
        external_ref, attributes)
    SELECT _hooks_run.program_id, k.earn_kind, CASE WHEN _hooks_run.machine = 'deal' THEN s.subject_id END, (s.fields ->> 'partner_id')::bigint,
      (s.fields ->> 'customer_id')::bigint, s.fields ->> 'product_family', 1, k.amount,
      coalesce(k.currency, prm._program_currency(_hooks_run.program_id)), _hooks_run.at,
      concat_ws('/', 'hook', k.hook_id, coalesce(s.subject_id::text, s.subject_uuid::text)),
      jsonb_build_object('machine', _hooks_run.machine, 'subject', coalesce(to_jsonb(s.subject_id), to_jsonb(s.subject_uuid)), 'hook_id', k.hook_id)
    FROM prm._hook_rows(_hooks_run.program_id, _hooks_run.machine, _hooks_run.subjects, _hooks_run.subject_uuids, the_context) s
    CROSS JOIN prm.machine_hook k
    WHERE k.program_id = _hooks_run.program_id AND k.hook_id = ANY (the_hooks) AND k.action = 'earn' AND s.fields ->> 'partner_id' IS NOT NULL
    ORDER BY s.subject_id, s.subject_uuid, k.position, k.hook_id
    ON CONFLICT (program_id, external_ref) DO NOTHING;
  END IF;
  IF 'outbox' = ANY (the_actions) THEN
    INSERT INTO prm.outbox (program_id, aggregate_type, aggregate_id, event_type, channel, payload, occurred_at, available_at)
    SELECT _hooks_run.program_id, _hooks_run.machine, coalesce(s.subject_id::text, s.subject_uuid::text), k.event_type, k.channel,
      (SELECT coalesce(jsonb_object_agg(t.key, prm._fill_template(t.value, s.fields)), '{}') FROM jsonb_each_text(k.template) t), _hooks_run.at, prm.now()
    FROM prm._hook_rows(_hooks_run.program_id, _hooks_run.machine, _hooks_run.subjects, _hooks_run.subject_uuids, the_context) s
    CROSS JOIN prm.machine_hook k
    WHERE k.program_id = _hooks_run.program_id AND k.hook_id = ANY (the_hooks) AND k.action = 'outbox'
    ORDER BY s.subject_id, s.subject_uuid, k.position, k.hook_id;
  END IF;
  IF 'task' = ANY (the_actions) THEN
    INSERT INTO prm.task (program_id, role_name, title, detail, machine, subject_id, subject_uuid, hook_id, created_by, created_at, due_at)
    SELECT _hooks_run.program_id, k.role_name, coalesce(nullif(btrim(prm._fill_template(k.title, s.fields)), ''), 'Task'),
      prm._fill_template(k.detail, s.fields), _hooks_run.machine, s.subject_id, s.subject_uuid, k.hook_id, _hooks_run.actor, _hooks_run.at,
      _hooks_run.at + k.due_after
    FROM prm._hook_rows(_hooks_run.program_id, _hooks_run.machine, _hooks_run.subjects, _hooks_run.subject_uuids, the_context) s
    CROSS JOIN prm.machine_hook k
    WHERE k.program_id = _hooks_run.program_id AND k.hook_id = ANY (the_hooks) AND k.action = 'task'
    ORDER BY s.subject_id, s.subject_uuid, k.position, k.hook_id;
  END IF;
END
$prm$;
REVOKE ALL ON FUNCTION prm._hooks_run(bigint, text, text, text, text, bigint[], uuid[], text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION prm._hooks_run(bigint, text, text, text, text, bigint[], uuid[], text, timestamptz) IS
'Does what the hooks of a change of state ask for, for all its subjects at once. Called by prm._state_entered().';
