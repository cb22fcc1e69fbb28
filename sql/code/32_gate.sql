
-- Gates and hooks: what a change of state waits for (criteria, reviews), and what rows of prm.machine_hook make follow it.
-- The trigger asks src/machine_gate.c, which asks prm._gate_faults().

CREATE TYPE prm.gate_fault AS (subject_id bigint, subject_uuid uuid, fault text, hint text);
COMMENT ON TYPE prm.gate_fault IS 'A subject that a gate holds back, why, and what to do about it.';

CREATE TYPE prm.hook_row AS (subject_id bigint, subject_uuid uuid, fields jsonb);
COMMENT ON TYPE prm.hook_row IS 'A subject of a hook with what its templates may name: the columns of the row, the event, the reason ...';

CREATE FUNCTION prm._check_review(machine text, definition jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH review AS (
      SELECT s.key AS state, s.value ->> 'type' = 'final' AS is_final, s.value -> 'review' AS body, coalesce(s.value -> 'on', '{}') AS exits
      FROM jsonb_each(_check_review.definition -> 'states') s WHERE jsonb_typeof(s.value -> 'review') = 'object'
    ), problem AS (
      SELECT r.state, 'a final state has no review' AS what FROM review r WHERE r.is_final
      UNION ALL
      SELECT r.state, format('review has the unknown key "%s"', k) FROM review r, jsonb_object_keys(r.body) k
        WHERE k NOT IN ('role', 'quorum', 'of', 'accept', 'return')
      UNION ALL
      SELECT r.state, format('review lacks the key "%s"', k) FROM review r, unnest(ARRAY['accept', 'return']) k WHERE NOT r.body ? k
      UNION ALL
      SELECT r.state, format('review key "%s" is no text', k) FROM review r, unnest(ARRAY['role', 'accept', 'return']) k
        WHERE jsonb_typeof(r.body -> k) <> 'string' OR r.body ->> k = ''
      UNION ALL
      SELECT r.state, format('review key "%s" is no whole number from 1 to 99', k) FROM review r, unnest(ARRAY['quorum', 'of']) k
        WHERE r.body ? k AND r.body ->> k !~ '^[1-9][0-9]?$'
      UNION ALL
      SELECT r.state, 'review asks for a quorum of more reviewers than there are' FROM review r
        WHERE CASE WHEN coalesce(r.body ->> 'quorum', '1') ~ '^[1-9][0-9]?$' AND r.body ->> 'of' ~ '^[1-9][0-9]?$'
              THEN coalesce(r.body ->> 'quorum', '1')::integer > (r.body ->> 'of')::integer END
      UNION ALL
      SELECT r.state, format('review names the event "%s", which does not leave the state', r.body ->> k) FROM review r, unnest(ARRAY['accept', 'return']) k
        WHERE jsonb_typeof(r.body -> k) = 'string' AND NOT r.exits ? (r.body ->> k)
      UNION ALL
      SELECT r.state, format('review would send the event "%s", which is not for the vendor', r.body ->> k) FROM review r, unnest(ARRAY['accept', 'return']) k
        WHERE coalesce(r.exits -> (r.body ->> k) ->> 'actor', 'any') NOT IN ('vendor', 'any')
      UNION ALL
      SELECT r.state, 'review has the same event for accept and return' FROM review r WHERE r.body -> 'accept' = r.body -> 'return'
    )
    SELECT format('state "%s": %s', p.state, p.what) FROM problem p ORDER BY p.state, p.what;
  RETURN QUERY
    SELECT format('state "%s", event "%s": key "criteria" can only be true or false, and only in the machine lead', s.key, e.key)
    FROM jsonb_each(_check_review.definition -> 'states') s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e
    WHERE e.value ? 'criteria' AND (jsonb_typeof(e.value -> 'criteria') <> 'boolean' OR _check_review.machine <> 'lead') ORDER BY s.key, e.key;
END
$prm$;
COMMENT ON FUNCTION prm._check_review(text, jsonb) IS
'What is wrong with the reviews and criteria of a machine''s definition of right form, one text per fault with its place.';

CREATE FUNCTION prm._reviewer() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_reviewer';
COMMENT ON FUNCTION prm._reviewer() IS
'Under whose name a review counts: the setting prm.actor where the role may act for others (owner, app, admin), else the role itself, so that one person does not vote twice.';

CREATE FUNCTION prm._fill_template(template text, fields jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_fill_template';
COMMENT ON FUNCTION prm._fill_template(text, jsonb) IS 'A template with its {fields} filled in; a field that is empty leaves nothing.';

CREATE FUNCTION prm._template_fields(template text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
  SELECT t.piece[1] FROM regexp_matches(_template_fields.template, '\{([a-z_][a-z0-9_.]*)\}', 'g') AS t(piece)
$prm$;
COMMENT ON FUNCTION prm._template_fields(text) IS 'The fields that a template names.';

CREATE FUNCTION prm._may_act_as(role_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT _may_act_as.role_name IS NULL
    OR EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = _may_act_as.role_name AND pg_has_role(current_user, r.oid, 'MEMBER'))
$prm$;
COMMENT ON FUNCTION prm._may_act_as(text) IS 'Whether the caller is a member of a database role; true for NULL, false where there is no such role.';

CREATE TYPE prm.review_place AS (state text, entered bigint, role_name text, quorum integer, panel integer, accept_event text, return_event text);
COMMENT ON TYPE prm.review_place IS 'The present state of a subject, the history_id of its entry, and the review that the state asks for; quorum is NULL where it asks for none.';

CREATE FUNCTION prm._review_of(program_id bigint, machine text, subject_id bigint, subject_uuid uuid) RETURNS SETOF prm.review_place
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- An event that returns to its own state is no new visit, so its votes go on counting.
  RETURN QUERY
    SELECT e.to_state, e.history_id, s.review ->> 'role', CASE WHEN s.review IS NOT NULL THEN coalesce((s.review ->> 'quorum')::integer, 1) END,
      coalesce((s.review ->> 'of')::integer, (s.review ->> 'quorum')::integer, 1), s.review ->> 'accept', s.review ->> 'return'
    FROM (SELECT max(h.history_id) FILTER (WHERE h.from_state IS DISTINCT FROM h.to_state) AS history_id,
            (array_agg(h.to_state ORDER BY h.history_id DESC))[1] AS to_state, (array_agg(h.machine_version ORDER BY h.history_id DESC))[1] AS version
          FROM prm.state_history h
          WHERE h.program_id = _review_of.program_id AND h.machine = _review_of.machine
            AND (h.subject_id = _review_of.subject_id OR h.subject_uuid = _review_of.subject_uuid)) e
    LEFT JOIN prm.machine_state s ON s.program_id = _review_of.program_id AND s.machine = _review_of.machine AND s.version = e.version
      AND s.state = e.to_state
    WHERE e.to_state IS NOT NULL;
END
$prm$;
COMMENT ON FUNCTION prm._review_of(bigint, text, bigint, uuid) IS 'The state of a subject and the review that it asks for; no row where the subject has no history.';

CREATE FUNCTION prm._lock_for_review(program_id bigint, machine text, subject_id bigint, subject_uuid uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer := prm._machine_version(_lock_for_review.machine, _lock_for_review.program_id);
  the_place prm.machine_table := prm._machine_table(_lock_for_review.machine, _lock_for_review.program_id);
  the_count bigint;
BEGIN
  IF the_place.target IS NULL OR the_place.is_uuid <> (_lock_for_review.subject_uuid IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('machine "%s" serves no table with such a key', _lock_for_review.machine),
      DETAIL = format('Version %s of programme %s serves %s.', the_version, _lock_for_review.program_id, coalesce(the_place.target::text, 'none')),
      HINT = CASE WHEN the_place.is_uuid THEN 'Its keys are uuids: prm.review_uuid().' WHEN the_place.target IS NULL THEN 'Attach it to a table first: prm.attach_machine().'
             ELSE 'Its keys are numbers: prm.review().' END;
  END IF;
  EXECUTE format('SELECT 1 FROM %s t WHERE t.%I = %s AND %s FOR NO KEY UPDATE', the_place.target, the_place.key_column,
      CASE WHEN the_place.is_uuid THEN '$2' ELSE '$1' END, CASE WHEN the_place.program_column IS NULL THEN '$3 IS NOT NULL' ELSE format('t.%I = $3', the_place.program_column) END)
    USING _lock_for_review.subject_id, _lock_for_review.subject_uuid, _lock_for_review.program_id;
  GET DIAGNOSTICS the_count = ROW_COUNT;
  IF the_count = 0 THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('%s %s does not exist in programme %s', _lock_for_review.machine,
        coalesce(_lock_for_review.subject_id::text, _lock_for_review.subject_uuid::text, 'NULL'), _lock_for_review.program_id),
      DETAIL = format('No row of %s that you may see has this key.', the_place.target),
      HINT = 'It may belong to another programme: pass program_id, or SET LOCAL prm.program_id.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._lock_for_review(bigint, text, bigint, uuid) IS
'Locks the row that is reviewed until the end of the transaction. Errors: 42704 no such machine or row, 55000 the machine serves no table with such a key.';

CREATE FUNCTION prm._review(program_id bigint, machine text, subject_id bigint, subject_uuid uuid, decision text, reason text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_reason text := nullif(btrim(_review.reason, E' \t\r\n'), '');
  the_event text;
  vote record;
BEGIN
  IF _review.decision IS NULL OR _review.decision NOT IN ('accept', 'return') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a review cannot decide "%s"', _review.decision),
      DETAIL = 'The decisions are accept and return.',
      HINT = format('SELECT prm.review(''%s'', %s, ''accept'').', _review.machine, coalesce(_review.subject_id::text, quote_literal(_review.subject_uuid)));
  END IF;
  -- Of two reviewers at once the second waits and counts with the first one's vote.
  PERFORM prm._lock_for_review(_review.program_id, _review.machine, _review.subject_id, _review.subject_uuid);
  INSERT INTO prm.review_decision AS d (program_id, machine, subject_id, subject_uuid, decision, reason)
    VALUES (_review.program_id, _review.machine, _review.subject_id, _review.subject_uuid, _review.decision, the_reason)
    RETURNING d.state, d.entered INTO vote;
  SELECT CASE WHEN r.accepted >= v.quorum THEN v.accept_event WHEN r.returned > v.panel - v.quorum THEN v.return_event END INTO the_event
    FROM prm._review_of(_review.program_id, _review.machine, _review.subject_id, _review.subject_uuid) v
    JOIN prm.review_round r ON r.program_id = _review.program_id AND r.machine = _review.machine AND r.entered = v.entered;
  IF the_event IS NULL THEN
    RETURN vote.state;
  ELSIF _review.subject_uuid IS NOT NULL THEN
    RETURN prm.fire_uuid(_review.machine, _review.subject_uuid, the_event, the_reason, '{}', _review.program_id);
  END IF;
  RETURN prm.fire(_review.machine, _review.subject_id, the_event, the_reason, '{}', _review.program_id);
END
$prm$;
COMMENT ON FUNCTION prm._review(bigint, text, bigint, uuid, text, text) IS 'What review() and review_uuid() have in common.';

CREATE FUNCTION prm.review(machine text, subject_id bigint, decision text, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(review.program_id);
BEGIN
  RETURN prm._review(the_program, review.machine, review.subject_id, NULL, review.decision, review.reason);
END
$prm$;
COMMENT ON FUNCTION prm.review(text, bigint, text, text, bigint) IS
'Records the decision of a reviewer (accept, or return with a reason) on a row whose state asks for a review, and sends the accept event when the quorum is reached, the return event when it no longer can be. Returns the state afterwards. Errors: 22023 unknown decision, 42704 no such row, 55000 the state needs no review, 42501 not a reviewer, 23505 voted already, 23514 a return without a reason.';

CREATE FUNCTION prm.review_uuid(machine text, subject_uuid uuid, decision text, reason text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(review_uuid.program_id);
BEGIN
  RETURN prm._review(the_program, review_uuid.machine, NULL, review_uuid.subject_uuid, review_uuid.decision, review_uuid.reason);
END
$prm$;
COMMENT ON FUNCTION prm.review_uuid(text, uuid, text, text, bigint) IS 'review() for an attached table whose key is a uuid.';

CREATE FUNCTION prm.complete_task(task_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(complete_task.program_id);
  task record;
BEGIN
  SELECT t.role_name, t.title, t.state, t.done_by, t.done_at INTO task FROM prm.task t
    WHERE t.program_id = the_program AND t.task_id = complete_task.task_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('task %s does not exist in programme %s', coalesce(complete_task.task_id::text, 'NULL'), the_program),
      DETAIL = 'No row of prm.task that you may see has this number.', HINT = 'SELECT * FROM prm.task WHERE state = ''open'' lists the open ones.',
      SCHEMA = 'prm', TABLE = 'task';
  END IF;
  IF task.state = 'done' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('task %s is done already', complete_task.task_id),
      DETAIL = format('%s did it on %s.', task.done_by, task.done_at), HINT = 'Nothing is left to do.', SCHEMA = 'prm', TABLE = 'task';
  END IF;
  IF NOT prm._may_act_as(task.role_name) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('task %s is for the role "%s"', complete_task.task_id, task.role_name),
      DETAIL = format('Role "%s" is not a member of it.', current_user),
      HINT = format('Let a member complete it, or GRANT %I TO %I.', task.role_name, current_user), SCHEMA = 'prm', TABLE = 'task';
  END IF;
  UPDATE prm.task t SET state = 'done', done_by = prm.current_actor(), done_at = prm.now()
    WHERE t.program_id = the_program AND t.task_id = complete_task.task_id;
  RETURN prm.now();
END
$prm$;
COMMENT ON FUNCTION prm.complete_task(bigint, bigint) IS
'Marks a task as done and returns when. Only members of the task''s role may. Errors: 42704 no such task, 55000 done already, 42501 not a member.';
