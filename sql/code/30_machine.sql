
-- Machines: defining what may happen next. The trigger that holds everybody to it is C, see src/machine*.c.

CREATE FUNCTION prm._guard_columns(guard text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_guard_columns';
COMMENT ON FUNCTION prm._guard_columns(text) IS
'The columns that a guard names; NULL where it takes the row as a whole. Errors: 42601 no jsonpath, 22023 a value instead of a condition, or a variable.';

CREATE FUNCTION prm._machine_shape(machine text, definition jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  IF _machine_shape.definition IS NULL OR jsonb_typeof(_machine_shape.definition) <> 'object' THEN
    RETURN NEXT 'the definition is no JSON object';
    RETURN;
  END IF;
  RETURN QUERY SELECT format('unknown key "%s" at the top', k) FROM jsonb_object_keys(_machine_shape.definition) k
    WHERE k NOT IN ('initial', 'states', 'label', 'on_delete') ORDER BY k;
  IF _machine_shape.definition -> 'on_delete' NOT IN ('"keep"', '"cascade"') THEN
    RETURN NEXT format('unknown on_delete %s, it is "keep" or "cascade"', _machine_shape.definition -> 'on_delete');
  END IF;
  IF _machine_shape.definition -> 'initial' IS NULL THEN
    RETURN NEXT 'there is no initial state: key "initial" is missing';
  ELSIF jsonb_typeof(_machine_shape.definition -> 'initial') = 'array' THEN
    RETURN NEXT format('exactly one initial state is needed, "initial" lists %s', jsonb_array_length(_machine_shape.definition -> 'initial'));
  ELSIF jsonb_typeof(_machine_shape.definition -> 'initial') <> 'string' THEN
    RETURN NEXT 'key "initial" is no text';
  END IF;
  IF coalesce(jsonb_typeof(_machine_shape.definition -> 'states'), '') <> 'object' OR _machine_shape.definition -> 'states' = '{}' THEN
    RETURN NEXT 'there are no states: key "states" is missing, empty or no object';
    RETURN;
  END IF;
  RETURN QUERY
    WITH state AS (
      SELECT s.key AS name, s.value AS body FROM jsonb_each(_machine_shape.definition -> 'states') s
    ), problem AS (
      SELECT s.name, 'its name is blank or longer than 63 characters' AS what FROM state s WHERE btrim(s.name) = '' OR length(s.name) > 63
      UNION ALL
      SELECT s.name, 'it is no JSON object' FROM state s WHERE jsonb_typeof(s.body) <> 'object'
      UNION ALL
      SELECT s.name, format('unknown key "%s"', k) FROM state s, jsonb_object_keys(CASE jsonb_typeof(s.body) WHEN 'object' THEN s.body ELSE '{}' END) k
        WHERE k NOT IN ('on', 'type', 'category', 'label', 'after', 'paused', 'review')
      UNION ALL
      SELECT s.name, format('unknown type %s, the only one is "final"', s.body -> 'type') FROM state s WHERE s.body -> 'type' <> '"final"'
      UNION ALL
      SELECT s.name, format('key "%s" is no text', k) FROM state s, unnest(ARRAY['category', 'label']) k WHERE jsonb_typeof(s.body -> k) <> 'string'
      UNION ALL
      SELECT s.name, 'key "paused" is neither true nor false' FROM state s WHERE jsonb_typeof(s.body -> 'paused') <> 'boolean'
      UNION ALL
      SELECT s.name, format('key "%s" is no JSON object', k) FROM state s, unnest(ARRAY['after', 'review']) k WHERE jsonb_typeof(s.body -> k) <> 'object'
      UNION ALL
      SELECT s.name, 'key "on" is no JSON object' FROM state s WHERE jsonb_typeof(s.body -> 'on') <> 'object'
    )
    SELECT format('state "%s": %s', p.name, p.what) FROM problem p ORDER BY p.name, p.what;
  RETURN QUERY
    WITH transition AS (
      SELECT s.key AS state, e.key AS event, e.value AS body
      FROM jsonb_each(_machine_shape.definition -> 'states') s,
        LATERAL jsonb_each(CASE jsonb_typeof(s.value -> 'on') WHEN 'object' THEN s.value -> 'on' ELSE '{}' END) e
    ), problem AS (
      SELECT t.state, t.event, 'its name is blank or longer than 63 characters' AS what FROM transition t WHERE btrim(t.event) = '' OR length(t.event) > 63
      UNION ALL
      SELECT t.state, t.event, 'it is no JSON object' FROM transition t WHERE jsonb_typeof(t.body) <> 'object'
      UNION ALL
      SELECT t.state, t.event, format('unknown key "%s"', k)
        FROM transition t, jsonb_object_keys(CASE jsonb_typeof(t.body) WHEN 'object' THEN t.body ELSE '{}' END) k
        WHERE k NOT IN ('target', 'actor', 'required', 'guard', 'reason', 'creates', 'criteria')
      UNION ALL
      SELECT t.state, t.event, 'key "target" is missing or no text' FROM transition t
        WHERE jsonb_typeof(t.body) = 'object' AND coalesce(jsonb_typeof(t.body -> 'target'), '') <> 'string'
      UNION ALL
      SELECT t.state, t.event, format('unknown actor %s, they are partner, vendor, system and any', t.body -> 'actor') FROM transition t
        WHERE t.body -> 'actor' NOT IN ('"partner"', '"vendor"', '"system"', '"any"')
      UNION ALL
      SELECT t.state, t.event, 'key "required" is no list of column names' FROM transition t
        WHERE t.body ? 'required' AND (jsonb_typeof(t.body -> 'required') <> 'array'
          OR jsonb_path_exists(t.body -> 'required', 'strict $[*] ? (@.type() != "string" || @ == "")'))
      UNION ALL
      SELECT t.state, t.event, 'key "guard" is no text' FROM transition t WHERE jsonb_typeof(t.body -> 'guard') <> 'string'
      UNION ALL
      SELECT t.state, t.event, 'key "reason" is neither true nor false' FROM transition t WHERE jsonb_typeof(t.body -> 'reason') <> 'boolean'
      UNION ALL
      SELECT t.state, t.event, 'key "creates" can only be "deal", and only in the machine lead' FROM transition t
        WHERE t.body ? 'creates' AND (t.body -> 'creates' <> '"deal"' OR _machine_shape.machine <> 'lead')
    )
    SELECT format('state "%s", event "%s": %s', p.state, p.event, p.what) FROM problem p ORDER BY p.state, p.event, p.what;
END
$prm$;
COMMENT ON FUNCTION prm._machine_shape(text, jsonb) IS
'What is wrong with the form of a machine''s definition (unknown keys, wrong types, unknown actors), one text per fault with its place.';

CREATE FUNCTION prm._machine_faults(machine text, definition jsonb, target regclass) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_states constant jsonb := _machine_faults.definition -> 'states';
  the_initial constant text := _machine_faults.definition ->> 'initial';
  transition record;
  the_columns text[];
BEGIN
  IF NOT the_states ? the_initial THEN
    RETURN NEXT format('the initial state "%s" is not among the states', the_initial);
  END IF;
  RETURN QUERY SELECT format('state "%s", event "%s": unknown target "%s"', s.key, e.key, e.value ->> 'target')
    FROM jsonb_each(the_states) s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e
    WHERE NOT the_states ? (e.value ->> 'target') ORDER BY s.key, e.key;
  RETURN QUERY SELECT format('state "%s" is final, but event "%s" leaves it', s.key, e.key)
    FROM jsonb_each(the_states) s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e
    WHERE s.value ->> 'type' = 'final' ORDER BY s.key, e.key;
  RETURN QUERY
    WITH RECURSIVE reached(state) AS (
      SELECT the_initial
      UNION
      SELECT e.value ->> 'target' FROM reached r, LATERAL jsonb_each(coalesce(the_states -> r.state -> 'on', '{}')) e
    )
    SELECT format('state "%s" cannot be reached from the initial state "%s"', s, the_initial) FROM jsonb_object_keys(the_states) s
    WHERE the_states ? the_initial AND NOT EXISTS (SELECT 1 FROM reached r WHERE r.state = s) ORDER BY s;
  RETURN QUERY
    WITH RECURSIVE step AS (
      SELECT s.key AS source, e.value ->> 'target' AS target
      FROM jsonb_each(the_states) s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e
    ), ending(state) AS (
      SELECT s.key FROM jsonb_each(the_states) s WHERE s.value ->> 'type' = 'final'
      UNION
      SELECT t.source FROM ending e JOIN step t ON t.target = e.state
    )
    SELECT format('state "%s" is a trap: no final state can be reached from it', s) FROM jsonb_object_keys(the_states) s
    WHERE EXISTS (SELECT 1 FROM ending) AND NOT EXISTS (SELECT 1 FROM ending e WHERE e.state = s) ORDER BY s;

  -- A machine that serves no table yet: attach_machine() checks the columns.
  IF _machine_faults.target IS NOT NULL THEN
    RETURN QUERY SELECT format('state "%s", event "%s": required column "%s" is not in table %s', s.key, e.key, f, _machine_faults.target)
      FROM jsonb_each(the_states) s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e,
        LATERAL jsonb_array_elements_text(coalesce(e.value -> 'required', '[]')) f
      WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a
        WHERE a.attrelid = _machine_faults.target AND a.attname = CASE WHEN f ~ '^attributes\..' THEN 'attributes' ELSE f END AND a.attnum > 0 AND NOT a.attisdropped)
      ORDER BY s.key, e.key, f;
  END IF;
  FOR transition IN
    SELECT s.key AS state, e.key AS event, e.value ->> 'guard' AS guard
    FROM jsonb_each(the_states) s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e
    WHERE e.value ? 'guard' ORDER BY s.key, e.key
  LOOP
    BEGIN
      the_columns := prm._guard_columns(transition.guard);
      IF _machine_faults.target IS NOT NULL THEN
        RETURN QUERY SELECT format('state "%s", event "%s": guard %s names column "%s", which is not in table %s',
            transition.state, transition.event, transition.guard, c, _machine_faults.target)
          FROM unnest(the_columns) c WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = _machine_faults.target AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped)
          ORDER BY c;
      END IF;
    EXCEPTION WHEN syntax_error OR data_exception OR invalid_regular_expression THEN
      RETURN NEXT format('state "%s", event "%s": guard %s is no condition in jsonpath: %s', transition.state, transition.event, transition.guard, SQLERRM);
    END;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._machine_faults(text, jsonb, regclass) IS
'What is wrong with the meaning of a machine''s definition of right form (unknown targets, unreachable states, traps, guards, and the columns of the table that it serves where there is one), one text per fault with its place.';

CREATE FUNCTION prm.define_machine(machine text, definition jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(define_machine.program_id);
  the_version integer;
  the_faults text[];
BEGIN
  IF define_machine.machine IS NULL OR define_machine.machine !~ '^[a-z][a-z0-9_]{0,62}$' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no name for a machine', define_machine.machine),
      DETAIL = 'A name begins with a small letter and has only small letters, digits and underscores, 63 at most.',
      HINT = 'Use a name like lead, deal or support_case.';
  END IF;
  SELECT array_agg(f) INTO the_faults FROM prm._machine_shape(define_machine.machine, define_machine.definition) f;
  IF the_faults IS NULL THEN
    SELECT array_agg(f) INTO the_faults FROM (
      SELECT f FROM prm._machine_faults(define_machine.machine, define_machine.definition,
        (prm._machine_table(define_machine.machine, the_program)).target) f
      UNION ALL SELECT f FROM prm._check_after(define_machine.machine, define_machine.definition) f
      UNION ALL SELECT f FROM prm._check_review(define_machine.machine, define_machine.definition) f) a;
  END IF;
  IF the_faults IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('machine "%s": %s', define_machine.machine, the_faults[1]),
      DETAIL = CASE WHEN cardinality(the_faults) = 1 THEN 'It is the only fault; no version was made.'
               ELSE format('All %s faults: %s. No version was made.', cardinality(the_faults), array_to_string(the_faults, '; ')) END,
      HINT = format('Correct the definition; SELECT prm.machine_json(''%s'') shows one that is in force.', coalesce(
        (SELECT m.machine FROM prm.machine m WHERE m.program_id = the_program AND m.is_current
         ORDER BY m.machine <> define_machine.machine, m.machine LIMIT 1), 'lead'));
  END IF;

  -- Versions are numbered without a gap, also when two sessions define at once.
  PERFORM pg_advisory_xact_lock(7239211, 3);
  SELECT coalesce(max(m.version), 0) + 1 INTO the_version FROM prm.machine m
    WHERE m.program_id = the_program AND m.machine = define_machine.machine;
  UPDATE prm.machine m SET is_current = false
    WHERE m.program_id = the_program AND m.machine = define_machine.machine AND m.is_current;
  INSERT INTO prm.machine (program_id, machine, version, definition, is_current)
    VALUES (the_program, define_machine.machine, the_version, define_machine.definition, true);
  -- JSON objects have no order of their own; the distance from the initial state is what people read.
  WITH RECURSIVE reached(state, distance) AS (
    SELECT define_machine.definition ->> 'initial', 0
    UNION
    SELECT e.value ->> 'target', r.distance + 1
    FROM reached r, LATERAL jsonb_each(coalesce(define_machine.definition -> 'states' -> r.state -> 'on', '{}')) e
    WHERE r.distance < (SELECT count(*) FROM jsonb_object_keys(define_machine.definition -> 'states'))
  )
  INSERT INTO prm.machine_state (program_id, machine, version, state, is_initial, is_final, category, label, after, is_paused, review, position)
    SELECT the_program, define_machine.machine, the_version, s.key, s.key = define_machine.definition ->> 'initial',
      coalesce(s.value ->> 'type' = 'final', false), s.value ->> 'category', s.value ->> 'label',
      coalesce(s.value -> 'after', '{}'), coalesce((s.value ->> 'paused')::boolean, false), s.value -> 'review',
      row_number() OVER (ORDER BY (s.value ->> 'type') IS NOT NULL,
        (SELECT min(r.distance) FROM reached r WHERE r.state = s.key), s.key)
    FROM jsonb_each(define_machine.definition -> 'states') s;
  INSERT INTO prm.machine_transition (program_id, machine, version, from_state, event, to_state, actor, required, guard, needs_reason, creates,
      needs_criteria)
    SELECT the_program, define_machine.machine, the_version, s.key, e.key, e.value ->> 'target', coalesce(e.value ->> 'actor', 'any'),
      ARRAY(SELECT f.value FROM jsonb_array_elements_text(coalesce(e.value -> 'required', '[]')) WITH ORDINALITY f ORDER BY f.ordinality),
      e.value ->> 'guard', coalesce((e.value ->> 'reason')::boolean, false), e.value ->> 'creates', coalesce((e.value ->> 'criteria')::boolean, false)
    FROM jsonb_each(define_machine.definition -> 'states') s, LATERAL jsonb_each(coalesce(s.value -> 'on', '{}')) e;
  RETURN the_version;
END
$prm$;
COMMENT ON FUNCTION prm.define_machine(text, jsonb, bigint) IS
'Makes a new version of a machine and puts it in force; returns its number. definition: {"initial": "new", "states": {"new": {"on": {"qualify": {"target": ..., "actor": "partner|vendor|system|any", "required": [columns or attributes.x], "guard": jsonpath, "reason": true, "criteria": true}}}, "won": {"type": "final", "category": "won"}}}. Rows stay on the version that they started with until migrate_subjects() moves them. "on_delete": "cascade" deletes the history with the row; "keep" is the default. A state may have "label", "category", "after" (deadlines), "paused" and "review". Errors: 22023 names the place of each fault, 42704 no such programme.';

CREATE FUNCTION prm._machine_version(machine text, program_id bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer;
BEGIN
  SELECT m.version INTO the_version FROM prm.machine m
    WHERE m.program_id = _machine_version.program_id AND m.machine = _machine_version.machine AND m.is_current;
  IF the_version IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('programme %s has no machine "%s"', _machine_version.program_id, _machine_version.machine),
      DETAIL = 'No version of it is in force in prm.machine.',
      HINT = 'SELECT machine FROM prm.machine lists the machines; prm.define_machine() makes one.';
  END IF;
  RETURN the_version;
END
$prm$;
COMMENT ON FUNCTION prm._machine_version(text, bigint) IS 'The version of a machine that is in force. Error 42704 where the programme has no such machine.';

CREATE FUNCTION prm._subject_version(machine text, subject_id bigint, subject_uuid uuid, program_id bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_current integer := prm._machine_version(_subject_version.machine, _subject_version.program_id);
  the_version integer;
BEGIN
  IF _subject_version.subject_uuid IS NOT NULL THEN
    SELECT h.machine_version INTO the_version FROM prm.state_history h
      WHERE h.program_id = _subject_version.program_id AND h.subject_uuid = _subject_version.subject_uuid AND h.machine = _subject_version.machine
      ORDER BY h.history_id DESC LIMIT 1;
  ELSE
    SELECT h.machine_version INTO the_version FROM prm.state_history h
      WHERE h.program_id = _subject_version.program_id AND h.subject_id = _subject_version.subject_id AND h.machine = _subject_version.machine
      ORDER BY h.history_id DESC LIMIT 1;
  END IF;
  -- The version may have been deleted since.
  RETURN coalesce((SELECT m.version FROM prm.machine m
    WHERE m.program_id = _subject_version.program_id AND m.machine = _subject_version.machine AND m.version = the_version), the_current);
END
$prm$;
COMMENT ON FUNCTION prm._subject_version(text, bigint, uuid, bigint) IS 'The version of a machine that a row is on, its key a number or a uuid; the one in force for a row without history, and where both keys are NULL. Error 42704 where the programme has no such machine.';

CREATE FUNCTION prm.machine_json(machine text, program_id bigint DEFAULT prm.current_program()) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_json.program_id);
  the_version integer := prm._machine_version(machine_json.machine, the_program);
BEGIN
  RETURN (SELECT m.definition FROM prm.machine m
    WHERE m.program_id = the_program AND m.machine = machine_json.machine AND m.version = the_version);
END
$prm$;
COMMENT ON FUNCTION prm.machine_json(text, bigint) IS 'The definition of a machine in force, as define_machine() took it. Error 42704 where there is none.';

-- What stands on the arrow of a transition: event, who may send it, what it needs.
CREATE FUNCTION prm._transition_label(transition jsonb, separator text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN concat_ws(_transition_label.separator, (_transition_label.transition ->> 'event') ||
      CASE WHEN _transition_label.transition ->> 'actor' = 'any' THEN '' ELSE format(' (%s)', _transition_label.transition ->> 'actor') END,
    'needs ' || nullif((SELECT string_agg(f, ', ') FROM jsonb_array_elements_text(_transition_label.transition -> 'required') f), ''),
    CASE WHEN (_transition_label.transition ->> 'needs_criteria')::boolean THEN 'needs the criteria' END,
    'if ' || (_transition_label.transition ->> 'guard'),
    CASE WHEN (_transition_label.transition ->> 'needs_reason')::boolean THEN 'with a reason' END,
    'creates a ' || (_transition_label.transition ->> 'creates'));
END
$prm$;
COMMENT ON FUNCTION prm._transition_label(jsonb, text) IS 'The label of a transition in a picture: event, actor, required fields, guard, reason.';

CREATE FUNCTION prm._machine_dot(machine text, subject_id bigint, subject_uuid uuid, program_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer := prm._subject_version(_machine_dot.machine, _machine_dot.subject_id, _machine_dot.subject_uuid, _machine_dot.program_id);
  the_nodes text;
  the_edges text;
BEGIN
  WITH visited AS (
    SELECT h.to_state, h.history_id = max(h.history_id) OVER () AS is_last FROM prm.state_history h
    WHERE h.program_id = _machine_dot.program_id AND h.machine = _machine_dot.machine AND (h.subject_id = _machine_dot.subject_id OR h.subject_uuid = _machine_dot.subject_uuid)
  )
  SELECT string_agg(format('  %s [label=%s%s%s%s];', to_json(s.state), to_json(coalesce(s.label, s.state) || prm._deadline_label(s.after, s.is_paused, E'\n')),
      CASE WHEN s.is_final THEN ', peripheries=2' ELSE '' END,
      CASE WHEN EXISTS (SELECT 1 FROM visited v WHERE v.to_state = s.state) THEN ', color="#1f6feb", penwidth=2' ELSE '' END,
      CASE WHEN EXISTS (SELECT 1 FROM visited v WHERE v.to_state = s.state AND v.is_last) THEN ', style="rounded,filled", fillcolor="#cfe2ff"' ELSE '' END),
      E'\n' ORDER BY s.position) ||
    string_agg(CASE WHEN s.is_initial THEN format(E'\n  "" [shape=point];\n  "" -> %s;', to_json(s.state)) ELSE '' END, '')
    INTO the_nodes
    FROM prm.machine_state s WHERE s.program_id = _machine_dot.program_id AND s.machine = _machine_dot.machine AND s.version = the_version;
  SELECT string_agg(format('  %s -> %s [label=%s%s];', to_json(t.from_state), to_json(t.to_state),
      to_json(prm._transition_label(to_jsonb(t), E'\n')),
      CASE WHEN EXISTS (SELECT 1 FROM prm.state_history h WHERE h.program_id = _machine_dot.program_id AND h.machine = _machine_dot.machine
        AND (h.subject_id = _machine_dot.subject_id OR h.subject_uuid = _machine_dot.subject_uuid) AND h.from_state = t.from_state AND h.to_state = t.to_state
        AND (h.event = t.event OR h.event IS NULL)) THEN ', color="#1f6feb", penwidth=2' ELSE '' END),
      E'\n' ORDER BY f.position, t.event) INTO the_edges
    FROM prm.machine_transition t
    JOIN prm.machine_state f ON f.program_id = t.program_id AND f.machine = t.machine AND f.version = t.version AND f.state = t.from_state
    WHERE t.program_id = _machine_dot.program_id AND t.machine = _machine_dot.machine AND t.version = the_version;
  RETURN format(E'digraph %s {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname="sans-serif"];\n  edge [fontname="sans-serif", fontsize=10];\n%s\n}\n',
    to_json(_machine_dot.machine), concat_ws(E'\n', the_nodes, the_edges));
END
$prm$;
COMMENT ON FUNCTION prm._machine_dot(text, bigint, uuid, bigint) IS 'What machine_dot() and machine_dot_uuid() have in common.';

CREATE FUNCTION prm.machine_dot(machine text, subject_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_dot.program_id);
BEGIN
  RETURN prm._machine_dot(machine_dot.machine, machine_dot.subject_id, NULL, the_program);
END
$prm$;
COMMENT ON FUNCTION prm.machine_dot(text, bigint, bigint) IS
'A machine in force as a picture for Graphviz: states with their deadlines, events, actors, guards, required fields. With subject_id, in the version that the row is on, the path that it took is drawn blue and its present state filled. Error 42704 where there is no such machine.';

CREATE FUNCTION prm.machine_dot_uuid(machine text, subject_uuid uuid, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_dot_uuid.program_id);
BEGIN
  RETURN prm._machine_dot(machine_dot_uuid.machine, NULL, machine_dot_uuid.subject_uuid, the_program);
END
$prm$;
COMMENT ON FUNCTION prm.machine_dot_uuid(text, uuid, bigint) IS 'machine_dot() with the path of one row of an attached table whose key is a uuid. Error 42704 where there is no such machine.';

CREATE FUNCTION prm._machine_mermaid(machine text, subject_id bigint, subject_uuid uuid, program_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_version integer := prm._subject_version(_machine_mermaid.machine, _machine_mermaid.subject_id, _machine_mermaid.subject_uuid, _machine_mermaid.program_id);
  the_states text;
  the_arrows text;
  the_path text;
  the_present text;
BEGIN
  -- Mermaid takes identifiers without blanks and has no quoting inside labels, so states get numbers and labels lose # ; and :.
  SELECT string_agg(format('  state "%s" as s%s', translate(coalesce(s.label, s.state), '"#;', '''  ') || translate(prm._deadline_label(s.after, s.is_paused, '<br/>'), '"#;', '''  '), s.position), E'\n' ORDER BY s.position) ||
    string_agg(CASE WHEN s.is_initial THEN format(E'\n  [*] --> s%s', s.position) ELSE '' END, '')
    INTO the_states
    FROM prm.machine_state s WHERE s.program_id = _machine_mermaid.program_id AND s.machine = _machine_mermaid.machine AND s.version = the_version;
  SELECT string_agg(a.line, E'\n' ORDER BY a.place, a.event) INTO the_arrows FROM (
    SELECT format('  s%s --> s%s: %s', f.position, g.position, translate(prm._transition_label(to_jsonb(t), ', '), '#;:', '   ')) AS line,
      f.position AS place, t.event
    FROM prm.machine_transition t
    JOIN prm.machine_state f ON f.program_id = t.program_id AND f.machine = t.machine AND f.version = t.version AND f.state = t.from_state
    JOIN prm.machine_state g ON g.program_id = t.program_id AND g.machine = t.machine AND g.version = t.version AND g.state = t.to_state
    WHERE t.program_id = _machine_mermaid.program_id AND t.machine = _machine_mermaid.machine AND t.version = the_version
    UNION ALL
    SELECT format('  s%s --> [*]', s.position), s.position, ''
    FROM prm.machine_state s
    WHERE s.program_id = _machine_mermaid.program_id AND s.machine = _machine_mermaid.machine AND s.version = the_version AND s.is_final) a;
  SELECT string_agg(DISTINCT 's' || s.position, ','), max('s' || s.position) FILTER (WHERE h.is_last) INTO the_path, the_present
    FROM (SELECT i.to_state, i.history_id = max(i.history_id) OVER () AS is_last FROM prm.state_history i
          WHERE i.program_id = _machine_mermaid.program_id AND i.machine = _machine_mermaid.machine AND (i.subject_id = _machine_mermaid.subject_id OR i.subject_uuid = _machine_mermaid.subject_uuid)) h
    JOIN prm.machine_state s ON s.program_id = _machine_mermaid.program_id AND s.machine = _machine_mermaid.machine AND s.version = the_version AND s.state = h.to_state;
  RETURN concat_ws(E'\n', 'stateDiagram-v2', the_states, the_arrows,
    E'  classDef visited stroke:#1f6feb,stroke-width:2px\n  classDef present fill:#cfe2ff,stroke:#1f6feb,stroke-width:2px\n  class ' || the_path || ' visited',
    '  class ' || the_present || ' present') || E'\n';
END
$prm$;
COMMENT ON FUNCTION prm._machine_mermaid(text, bigint, uuid, bigint) IS 'What machine_mermaid() and machine_mermaid_uuid() have in common.';

CREATE FUNCTION prm.machine_mermaid(machine text, subject_id bigint DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_mermaid.program_id);
BEGIN
  RETURN prm._machine_mermaid(machine_mermaid.machine, machine_mermaid.subject_id, NULL, the_program);
END
$prm$;
COMMENT ON FUNCTION prm.machine_mermaid(text, bigint, bigint) IS
'A machine in force as a Mermaid state diagram: states with their deadlines, events, actors, guards, required fields. With subject_id, in the version that the row is on, the states that it passed are outlined and its present one filled. Error 42704 where there is no such machine.';

CREATE FUNCTION prm.machine_mermaid_uuid(machine text, subject_uuid uuid, program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(machine_mermaid_uuid.program_id);
BEGIN
  RETURN prm._machine_mermaid(machine_mermaid_uuid.machine, NULL, machine_mermaid_uuid.subject_uuid, the_program);
END
$prm$;
COMMENT ON FUNCTION prm.machine_mermaid_uuid(text, uuid, bigint) IS 'machine_mermaid() with the path of one row of an attached table whose key is a uuid. Error 42704 where there is no such machine.';
