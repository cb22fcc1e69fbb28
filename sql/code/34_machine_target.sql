
-- Tables of the user's with a machine: attaching and detaching.

CREATE FUNCTION prm._check_attacher(target regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_owner regrole := (SELECT n.nspowner::regrole FROM pg_namespace n WHERE n.nspname = 'prm');
BEGIN
  IF _check_attacher.target IS NULL OR NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = _check_attacher.target) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'parameter "target" names no table',
      DETAIL = 'It is the table whose rows have a state.', HINT = 'Pass its name: ''public.ticket''.';
  END IF;
  IF NOT pg_has_role(the_owner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('only the owner of schema prm attaches and detaches machines, not %s', current_user),
      DETAIL = format('The history of %s is written with the rights of %s, who must agree to it.', _check_attacher.target, the_owner),
      HINT = format('Let %s call it, after GRANT SELECT, UPDATE, TRIGGER ON %s TO %s.', the_owner, _check_attacher.target, the_owner);
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_attacher(regclass) IS 'Refuses what is no table (22023), and anybody but the owner of schema prm (42501).';

-- What speaks against a table, in the order in which people would look.
CREATE FUNCTION prm._target_faults(target regclass, state_column text, key_column text, program_column text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_class pg_class;
  the_keys text[] := array_remove(ARRAY[_target_faults.program_column, _target_faults.key_column], NULL);
BEGIN
  SELECT c.* INTO the_class FROM pg_class c WHERE c.oid = _target_faults.target;
  IF the_class.relnamespace = 'prm'::regnamespace THEN
    RETURN NEXT 'it is a table of prm, which has its own machines';
  ELSIF the_class.relkind NOT IN ('r', 'p') THEN
    RETURN NEXT 'it is no table';
  ELSIF the_class.relpersistence = 't' THEN
    RETURN NEXT 'it is a temporary table';
  ELSIF the_class.relispartition THEN
    RETURN NEXT format('it is a partition; attach the partitioned table %s', (SELECT a.relid FROM pg_partition_ancestors(_target_faults.target) WITH ORDINALITY a(relid, n) ORDER BY a.n DESC LIMIT 1));
  ELSIF EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = _target_faults.target OR i.inhrelid = _target_faults.target)
      AND the_class.relkind = 'r' THEN
    RETURN NEXT 'it takes part in inheritance, where statements on one table change rows of another';
  ELSE
    RETURN QUERY SELECT CASE WHEN a.attname IS NULL THEN format('it has no column "%s"', n.name)
        ELSE format('its column "%s" is of type %s; %s', n.name, a.atttypid::regtype, n.wanted) END
      FROM (VALUES (1, _target_faults.key_column, ARRAY['bigint', 'integer', 'smallint', 'uuid']::regtype[], 'a key is bigint, integer, smallint or uuid'),
                   (2, _target_faults.state_column, ARRAY['text', 'varchar']::regtype[], 'a state is text or varchar'),
                   (3, _target_faults.program_column, ARRAY['bigint', 'integer', 'smallint']::regtype[], 'a programme is bigint, integer or smallint')) n(place, name, types, wanted)
      LEFT JOIN pg_attribute a ON a.attrelid = _target_faults.target AND a.attname = n.name AND a.attnum > 0 AND NOT a.attisdropped
      WHERE (n.name IS NOT NULL OR n.place < 3) AND (a.attname IS NULL OR a.atttypid <> ALL (n.types)) ORDER BY n.place;
    RETURN QUERY SELECT format('its column "%s" may be NULL', a.attname) FROM pg_attribute a
      WHERE a.attrelid = _target_faults.target AND a.attname = ANY (the_keys) AND NOT a.attnotnull ORDER BY a.attname;
    -- Rows move between partitions where the partition key changes; the key of the row must never change.
    RETURN QUERY SELECT format('%s is partitioned by %s, which is not within the key (%s), so rows could move between partitions', p.partrelid::regclass,
        pg_get_partkeydef(p.partrelid), array_to_string(the_keys, ', '))
      FROM pg_partitioned_table p WHERE p.partrelid IN (SELECT t.relid FROM pg_partition_tree(_target_faults.target) t)
        AND EXISTS (SELECT 1 FROM unnest(p.partattrs::smallint[]) k WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a
          WHERE a.attrelid = p.partrelid AND a.attnum = k AND a.attname = ANY (the_keys))) ORDER BY p.partrelid;
    IF NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = _target_faults.target AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
        AND (SELECT bool_or(a.attname = _target_faults.key_column) AND bool_and(a.attname = ANY (the_keys))
             FROM unnest((i.indkey::smallint[])[0:i.indnkeyatts - 1]) k JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k)) THEN
      RETURN NEXT format('it has no unique key over (%s)', array_to_string(the_keys, ', '));
    END IF;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._target_faults(regclass, text, text, text) IS 'Why a machine cannot serve a table: its kind, its columns, its partition keys, its unique keys. One text per fault.';

CREATE FUNCTION prm._apply_target_triggers(target regclass, machine text, key_column text, state_column text, program_column text, program_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_arguments text := format('%L, %L, %L, %L, %L', _apply_target_triggers.machine, _apply_target_triggers.key_column, _apply_target_triggers.state_column,
    coalesce(_apply_target_triggers.program_column, ''),
    CASE WHEN _apply_target_triggers.program_column IS NULL THEN _apply_target_triggers.program_id::text ELSE '' END);
  part record;
BEGIN
  -- On every partition too: a statement that names a partition fires only the triggers of that partition.
  FOR part IN SELECT t.relid FROM pg_partition_tree(_apply_target_triggers.target) t UNION SELECT _apply_target_triggers.target ORDER BY 1 LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows'
      ' FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger(%s)', part.relid, the_arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
      ' FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger(%s)', part.relid, the_arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows'
      ' FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger(%s)', part.relid, the_arguments);
    EXECUTE format('CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON %s'
      ' FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger(%s)', part.relid, the_arguments);
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._apply_target_triggers(regclass, text, text, text, text, bigint) IS 'Makes the machine''s triggers on a table and on each of its partitions.';

CREATE FUNCTION prm._check_target_free(target regclass, machine text, state_column text, key_column text, program_column text, program_id bigint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table prm.machine_table := prm._machine_table(_check_target_free.machine, _check_target_free.program_id);
  the_other prm.machine_target;
BEGIN
  IF (the_table).target IS NOT NULL AND (the_table).target <> _check_target_free.target THEN
    RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('machine "%s" serves table %s already', _check_target_free.machine, (the_table).target),
      DETAIL = format('A machine serves one table per programme, and the history of programme %s is kept by machine and key.', _check_target_free.program_id),
      HINT = CASE WHEN _check_target_free.machine IN ('lead', 'deal', 'partner', 'registration') THEN 'Define a machine of another name for your table.'
                  ELSE format('Define a machine of another name, or SELECT prm.detach_machine(%L) first.', (the_table).target) END;
  END IF;
  -- Other programmes may have attached the same table; they must agree on what it is.
  SELECT t.* INTO the_other FROM prm.machine_target t
    WHERE t.target = _check_target_free.target AND (t.program_id, t.machine) <> (_check_target_free.program_id, _check_target_free.machine)
      AND (t.machine <> _check_target_free.machine OR t.program_column IS NULL OR _check_target_free.program_column IS NULL
        OR t.program_column <> _check_target_free.program_column OR t.key_column <> _check_target_free.key_column OR t.state_column <> _check_target_free.state_column)
    ORDER BY t.program_id LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '23505', MESSAGE = format('table %s is served by machine "%s" of programme %s already', the_other.target, the_other.machine, the_other.program_id),
      DETAIL = format('Its key is "%s", its state "%s", its programme %s.', the_other.key_column, the_other.state_column,
        coalesce('"' || the_other.program_column || '"', 'the same for all rows')),
      HINT = 'Several programmes share a table by a programme column, with the same machine and columns; otherwise prm.detach_machine() first.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_target_free(regclass, text, text, text, text, bigint) IS 'Refuses (23505) a second table for a machine, and a second machine for a table.';

CREATE FUNCTION prm._record_present_states(target regclass, machine text, program_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table prm.machine_table := prm._machine_table(_record_present_states.machine, _record_present_states.program_id);
  the_version integer := prm._machine_version(_record_present_states.machine, _record_present_states.program_id);
  the_key text := CASE WHEN (the_table).is_uuid THEN 'subject_uuid' ELSE 'subject_id' END;
  the_moment text := CASE WHEN EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = _record_present_states.target AND a.attname = 'created_at'
    AND a.atttypid = 'timestamptz'::regtype AND NOT a.attisdropped) THEN 'CASE WHEN h.to_state IS NULL THEN t.created_at END' ELSE 'NULL' END;
  the_unknown text;
  the_count bigint := 0;
  the_state text;
  the_ids bigint[];
  the_uuids uuid[];
  the_rows bigint;
BEGIN
  EXECUTE format('SELECT string_agg(format(''%%s (rows: %%s)'', coalesce(''"'' || u.state || ''"'', ''NULL''), u.rows), '', '' ORDER BY u.state)'
      ' FROM (SELECT r.state, count(*) AS rows FROM (%s) r WHERE NOT EXISTS (SELECT 1 FROM prm.machine_state s'
      ' WHERE s.program_id = $1 AND s.machine = $2 AND s.version = coalesce(r.version, $3) AND s.state = r.state) GROUP BY r.state) u',
      prm._machine_rows_sql(the_table, 'true'))
    INTO the_unknown USING _record_present_states.program_id, _record_present_states.machine, the_version;
  IF the_unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('rows of %s are in states that machine "%s" lacks: %s', _record_present_states.target, _record_present_states.machine, the_unknown),
      DETAIL = format('The states of version %s are %s. Nothing was attached.', the_version, (SELECT string_agg(format('"%s"', s.state), ', ' ORDER BY s.position)
        FROM prm.machine_state s WHERE s.program_id = _record_present_states.program_id AND s.machine = _record_present_states.machine AND s.version = the_version)),
      HINT = 'Correct the rows, or define a version of the machine that has the states.';
  END IF;
  FOR the_state, the_ids, the_uuids, the_rows IN EXECUTE format('WITH written AS ('
      'INSERT INTO prm.state_history (program_id, machine, machine_version, %1$I, from_state, to_state, actor, actor_kind, at)'
      ' SELECT $1, $2, coalesce(h.machine_version, $3), t.%2$I, h.to_state, t.%3$I, prm.current_actor(), ''import'', coalesce(%4$s, prm.now())'
      ' FROM %5$s t LEFT JOIN LATERAL (SELECT i.to_state, i.machine_version FROM prm.state_history i WHERE i.program_id = $1 AND i.%1$I = t.%2$I'
      ' AND i.machine = $2 ORDER BY i.history_id DESC LIMIT 1) h ON true WHERE %6$s AND h.to_state IS DISTINCT FROM t.%3$I'
      ' RETURNING subject_id, subject_uuid, to_state)'
      ' SELECT w.to_state, array_agg(w.subject_id) FILTER (WHERE w.subject_id IS NOT NULL) AS ids,'
      ' array_agg(w.subject_uuid) FILTER (WHERE w.subject_uuid IS NOT NULL) AS uuids, count(*) AS rows FROM written w GROUP BY w.to_state ORDER BY w.to_state',
      the_key, (the_table).key_column, (the_table).state_column, the_moment, _record_present_states.target,
      coalesce('t.' || quote_ident((the_table).program_column) || ' = $1', '$1 IS NOT NULL'))
    USING _record_present_states.program_id, _record_present_states.machine, the_version
  LOOP
    the_count := the_count + the_rows;
    -- Their deadlines run from now on.
    IF EXISTS (SELECT 1 FROM prm.machine_state s WHERE s.program_id = _record_present_states.program_id AND s.machine = _record_present_states.machine
        AND s.version = the_version AND s.state = the_state AND (s.after <> '{}' OR s.review IS NOT NULL)) THEN
      PERFORM prm._state_entered(_record_present_states.program_id, _record_present_states.machine, NULL, NULL, the_state, the_ids, the_uuids,
        prm.current_actor(), prm.now());
    END IF;
  END LOOP;
  RETURN the_count;
END
$prm$;
COMMENT ON FUNCTION prm._record_present_states(regclass, text, bigint) IS
'Writes a history row (actor_kind import) for each row of an attached table whose present state the history does not end with; returns how many. Error 23514 names states that the machine lacks.';

CREATE FUNCTION prm.attach_machine(target regclass, machine text, state_column text DEFAULT 'state', key_column text DEFAULT 'id', program_column text DEFAULT NULL,
  program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(attach_machine.program_id);
  the_version integer := prm._machine_version(attach_machine.machine, the_program);
  the_faults text[];
BEGIN
  PERFORM prm._check_attacher(attach_machine.target);
  SELECT array_agg(f) INTO the_faults FROM prm._target_faults(attach_machine.target, attach_machine.state_column, attach_machine.key_column, attach_machine.program_column) f;
  IF the_faults IS NULL THEN
    PERFORM prm._check_target_free(attach_machine.target, attach_machine.machine, attach_machine.state_column, attach_machine.key_column, attach_machine.program_column, the_program);
    SELECT array_agg(f) INTO the_faults FROM prm.machine m, prm._machine_faults(m.machine, m.definition, attach_machine.target) f
      WHERE m.program_id = the_program AND m.machine = attach_machine.machine AND m.version = the_version;
  END IF;
  IF the_faults IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('machine "%s" cannot serve %s: %s', attach_machine.machine, attach_machine.target, the_faults[1]),
      DETAIL = CASE WHEN cardinality(the_faults) = 1 THEN 'It is the only fault; nothing was attached.'
               ELSE format('All %s faults: %s. Nothing was attached.', cardinality(the_faults), array_to_string(the_faults, '; ')) END,
      HINT = 'A table needs a key that never changes and a column for the state: prm.attach_machine(target, machine, state_column, key_column, program_column).';
  END IF;
  IF NOT has_table_privilege(attach_machine.target, 'TRIGGER') OR NOT has_table_privilege(attach_machine.target, 'SELECT') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('%s may not read %s or not put triggers on it', current_user, attach_machine.target),
      DETAIL = format('The table belongs to %s, who must agree to it.', (SELECT c.relowner::regrole FROM pg_class c WHERE c.oid = attach_machine.target)),
      HINT = format('Let its owner run GRANT SELECT, UPDATE, TRIGGER ON %s TO %s.', attach_machine.target, current_user::regrole);
  END IF;
  -- The triggers first: their lock keeps other sessions from writing until all is done.
  PERFORM prm._apply_target_triggers(attach_machine.target, attach_machine.machine, attach_machine.key_column, attach_machine.state_column, attach_machine.program_column, the_program);
  INSERT INTO prm.machine_target AS t (program_id, machine, target, key_column, state_column, program_column)
    VALUES (the_program, attach_machine.machine, attach_machine.target, attach_machine.key_column, attach_machine.state_column, attach_machine.program_column)
    ON CONFLICT ON CONSTRAINT machine_target_pkey DO UPDATE SET target = excluded.target, key_column = excluded.key_column,
      state_column = excluded.state_column, program_column = excluded.program_column;
  RETURN prm._record_present_states(attach_machine.target, attach_machine.machine, the_program);
END
$prm$;
COMMENT ON FUNCTION prm.attach_machine(regclass, text, text, text, text, bigint) IS
'Puts a table of your own under a machine: every change of its state column is judged and written to prm.state_history from then on. Returns how many present rows got a first history row. Keys are bigint, integer, smallint or uuid; without program_column all rows belong to the programme. Call it again after adding a partition. Attach only tables whose owner you trust: deadlines and migrations update them, and so run their triggers, with your rights. Errors: 22023 names what speaks against the table, 23505 machine or table is taken, 23514 rows in states that the machine lacks, 42501 for anybody but the owner of schema prm, 42704 no such machine.';

CREATE FUNCTION prm.detach_machine(target regclass, program_id bigint DEFAULT prm.current_program()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(detach_machine.program_id);
  part record;
BEGIN
  PERFORM prm._check_attacher(detach_machine.target);
  DELETE FROM prm.machine_target t WHERE t.program_id = the_program AND t.target = detach_machine.target;
  -- Triggers may be left over from a programme that was deleted.
  IF NOT FOUND AND (EXISTS (SELECT 1 FROM prm.machine_target t WHERE t.target = detach_machine.target)
      OR NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = detach_machine.target AND g.tgfoid = 'prm.machine_trigger()'::regprocedure AND g.tgname ~ '^prm_10_machine_')) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('no machine of programme %s serves %s', the_program, detach_machine.target),
      DETAIL = 'prm.machine_target has no row for it.', HINT = 'SELECT program_id, machine, target FROM prm.machine_target lists the attached tables.';
  END IF;
  IF EXISTS (SELECT 1 FROM prm.machine_target t WHERE t.target = detach_machine.target) THEN
    RETURN;
  END IF;
  FOR part IN
    SELECT g.tgname, g.tgrelid::regclass AS relation, c.relowner FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    WHERE g.tgfoid = 'prm.machine_trigger()'::regprocedure AND NOT g.tgisinternal AND g.tgname ~ '^prm_10_machine_'
      AND (g.tgrelid = detach_machine.target OR g.tgrelid IN (SELECT t.relid FROM pg_partition_tree(detach_machine.target) t))
    ORDER BY g.tgrelid, g.tgname
  LOOP
    IF NOT pg_has_role(part.relowner, 'USAGE') THEN
      RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('%s may not drop the triggers of %s', current_user, part.relation),
        DETAIL = format('The table belongs to %s.', part.relowner::regrole),
        HINT = format('Let its owner drop the triggers whose names begin with prm_10_machine first: DROP TRIGGER %I ON %s ..., then detach.', part.tgname, part.relation);
    END IF;
    EXECUTE format('DROP TRIGGER %I ON %s', part.tgname, part.relation);
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm.detach_machine(regclass, bigint) IS
'Lets a table of your own go: the programme''s registration, and with the last one the triggers. The history stays. Errors: 42704 nothing attached, 42501 for anybody but the owner of schema prm.';

CREATE FUNCTION prm._check_targets() RETURNS SETOF prm.check_row
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT 'error', format('machine %s of programme %s', t.machine, t.program_id), format('the table that it served is gone (OID %s)', t.target::oid),
      format('DELETE FROM prm.machine_target WHERE program_id = %s AND machine = %L;', t.program_id, t.machine)
    FROM prm.machine_target t WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = t.target) ORDER BY 2;
  RETURN QUERY SELECT 'error', format('table %s', p.relid), format('trigger %s of machine %s is missing or disabled, so states change unseen', n.name, p.machine),
      format('SELECT prm.attach_machine(%L, %L, %L, %L, %L, %s);', p.target, p.machine, p.state_column, p.key_column, p.program_column, p.program_id)
    FROM (SELECT DISTINCT ON (t.target, r.relid) t.*, r.relid FROM prm.machine_target t JOIN pg_class c ON c.oid = t.target
          CROSS JOIN LATERAL (SELECT b.relid FROM pg_partition_tree(t.target) b UNION SELECT t.target) r ORDER BY t.target, r.relid, t.program_id) p
    CROSS JOIN unnest(ARRAY['prm_10_machine_insert', 'prm_10_machine_update', 'prm_10_machine_delete', 'prm_10_machine_truncate']) n(name)
    WHERE NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = p.relid AND g.tgname = n.name AND g.tgenabled <> 'D') ORDER BY 2, 3;
END
$prm$;
COMMENT ON FUNCTION prm._check_targets() IS 'The part of check() about attached tables: registrations without a table, tables and partitions without a trigger.';
