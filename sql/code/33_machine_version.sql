
-- Versions of machines: which rows are on which, and moving them.

CREATE TYPE prm.machine_table AS (target regclass, key_column text, state_column text, program_column text, is_uuid boolean);
COMMENT ON TYPE prm.machine_table IS 'The table that a machine serves in a programme, with its columns.';

CREATE FUNCTION prm._machine_table(machine text, program_id bigint) RETURNS prm.machine_table
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table prm.machine_table;
BEGIN
  IF _machine_table.machine IN ('lead', 'deal', 'partner', 'registration') THEN
    RETURN ROW(to_regclass('prm.' || _machine_table.machine), _machine_table.machine || '_id', 'state', 'program_id', false)::prm.machine_table;
  END IF;
  SELECT t.target, t.key_column, t.state_column, t.program_column,
      EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.target AND a.attname = t.key_column AND a.atttypid = 'uuid'::regtype)
    INTO the_table
    FROM prm.machine_target t JOIN pg_class c ON c.oid = t.target
    WHERE t.program_id = _machine_table.program_id AND t.machine = _machine_table.machine;
  RETURN the_table;
END
$prm$;
COMMENT ON FUNCTION prm._machine_table(text, bigint) IS 'The table that a machine serves in a programme; NULLs where it serves none.';

-- Rows of the table with the version that each is on; $1 the programme, $2 the machine. A correlated subquery, so that each
-- row costs one descent of the index whatever the statistics say.
CREATE FUNCTION prm._machine_rows_sql(served prm.machine_table, condition text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN format('SELECT t.%1$I AS key, t.%2$I::text AS state, (SELECT h.machine_version FROM prm.state_history h WHERE h.program_id = $1'
      ' AND h.%3$I = t.%1$I AND h.machine = $2 ORDER BY h.history_id DESC LIMIT 1) AS version FROM %4$s t WHERE %5$s AND %6$s',
    (_machine_rows_sql.served).key_column, (_machine_rows_sql.served).state_column,
    CASE WHEN (_machine_rows_sql.served).is_uuid THEN 'subject_uuid' ELSE 'subject_id' END, (_machine_rows_sql.served).target,
    coalesce('t.' || quote_ident((_machine_rows_sql.served).program_column) || ' = $1', '$1 IS NOT NULL'), _machine_rows_sql.condition);
END
$prm$;
COMMENT ON FUNCTION prm._machine_rows_sql(prm.machine_table, text) IS 'The statement that reads the rows that a machine serves, each with its version.';

CREATE FUNCTION prm._refresh_versions(machine text, program_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_table prm.machine_table := prm._machine_table(_refresh_versions.machine, _refresh_versions.program_id);
  the_versions integer[] := '{}';
BEGIN
  IF (the_table).target IS NOT NULL THEN
    EXECUTE format('SELECT coalesce(array_agg(DISTINCT r.version), ''{}'') FROM (%s) r JOIN prm.machine_state s'
        ' ON s.program_id = $1 AND s.machine = $2 AND s.version = r.version AND s.state = r.state AND NOT s.is_final',
        prm._machine_rows_sql(the_table, format('t.%I IN (SELECT o.state FROM prm.machine_state o JOIN prm.machine m ON m.program_id = o.program_id'
          ' AND m.machine = o.machine AND m.version = o.version AND NOT m.is_current'
          ' WHERE o.program_id = $1 AND o.machine = $2 AND NOT o.is_final)', (the_table).state_column)))
      INTO the_versions USING _refresh_versions.program_id, _refresh_versions.machine;
  END IF;
  UPDATE prm.machine m SET has_rows = m.version = ANY (the_versions)
    WHERE m.program_id = _refresh_versions.program_id AND m.machine = _refresh_versions.machine AND NOT m.is_current
      AND m.has_rows <> (m.version = ANY (the_versions));
END
$prm$;
COMMENT ON FUNCTION prm._refresh_versions(text, bigint) IS 'Finds out which older versions of a machine still have rows that are not in a final state, and marks them.';

CREATE TYPE prm.migrated_subject AS (subject_id bigint, subject_uuid uuid, from_state text, to_state text, outcome text, reason text);
COMMENT ON TYPE prm.migrated_subject IS
'A row of migrate_subjects(): the key of the subject, its state before and after, outcome (moved, refused) and the reason where it was refused.';

CREATE FUNCTION prm._check_migration(machine text, from_version integer, to_version integer, state_map jsonb, program_id bigint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_current integer := prm._machine_version(_check_migration.machine, _check_migration.program_id);
  the_missing integer;
  the_fault text;
BEGIN
  SELECT v INTO the_missing FROM unnest(ARRAY[_check_migration.from_version, _check_migration.to_version]) WITH ORDINALITY u(v, place)
    WHERE NOT EXISTS (SELECT 1 FROM prm.machine m WHERE m.program_id = _check_migration.program_id AND m.machine = _check_migration.machine AND m.version = v)
    ORDER BY place LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('machine "%s" has no version %s', _check_migration.machine, coalesce(the_missing::text, 'NULL')),
      DETAIL = format('Version %s is in force in programme %s.', the_current, _check_migration.program_id),
      HINT = format('SELECT version, is_current, has_rows FROM prm.machine WHERE program_id = %s AND machine = %L lists the versions.',
        _check_migration.program_id, _check_migration.machine);
  END IF;
  IF _check_migration.from_version = _check_migration.to_version THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('from_version and to_version are both %s', _check_migration.to_version),
      DETAIL = 'Rows move from one version of the machine to another.', HINT = format('Version %s is in force.', the_current);
  END IF;
  IF _check_migration.state_map IS NULL OR jsonb_typeof(_check_migration.state_map) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'state_map is no JSON object',
      DETAIL = 'It says for a state of the old version which state of the new one takes its place.', HINT = 'Pass ''{}'', or ''{"warm": "hot"}''.';
  END IF;
  SELECT format('it maps "%s", which version %s lacks', e.key, _check_migration.from_version) INTO the_fault
    FROM jsonb_each(_check_migration.state_map) e WHERE NOT EXISTS (SELECT 1 FROM prm.machine_state s WHERE s.program_id = _check_migration.program_id
      AND s.machine = _check_migration.machine AND s.version = _check_migration.from_version AND s.state = e.key) ORDER BY e.key LIMIT 1;
  IF NOT FOUND THEN
    SELECT format('it maps "%s" to %s, which version %s lacks', e.key, e.value, _check_migration.to_version) INTO the_fault
      FROM jsonb_each(_check_migration.state_map) e WHERE NOT EXISTS (SELECT 1 FROM prm.machine_state s WHERE s.program_id = _check_migration.program_id
        AND s.machine = _check_migration.machine AND s.version = _check_migration.to_version AND to_jsonb(s.state) = e.value) ORDER BY e.key LIMIT 1;
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('state_map does not fit machine "%s": %s', _check_migration.machine, the_fault),
      DETAIL = format('Version %s has the states %s; version %s has %s.',
        _check_migration.from_version, (SELECT string_agg(format('"%s"', s.state), ', ' ORDER BY s.position) FROM prm.machine_state s
          WHERE s.program_id = _check_migration.program_id AND s.machine = _check_migration.machine AND s.version = _check_migration.from_version),
        _check_migration.to_version, (SELECT string_agg(format('"%s"', s.state), ', ' ORDER BY s.position) FROM prm.machine_state s
          WHERE s.program_id = _check_migration.program_id AND s.machine = _check_migration.machine AND s.version = _check_migration.to_version)),
      HINT = 'Map states of the old version to states of the new one.';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_migration(text, integer, integer, jsonb, bigint) IS
'Refuses a migration between versions that do not exist (42704) and a state map that does not fit them (22023).';

CREATE FUNCTION prm.migrate_subjects(machine text, from_version integer, to_version integer, state_map jsonb DEFAULT '{}', dry_run boolean DEFAULT false,
  program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.migrated_subject
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(migrate_subjects.program_id);
  the_table prm.machine_table;
  the_rows prm.migrated_subject[];
  the_refused text;
BEGIN
  PERFORM prm._check_migration(migrate_subjects.machine, migrate_subjects.from_version, migrate_subjects.to_version, migrate_subjects.state_map, the_program);
  the_table := prm._machine_table(migrate_subjects.machine, the_program);
  IF (the_table).target IS NULL THEN
    RETURN;
  END IF;
  IF NOT coalesce(migrate_subjects.dry_run, false) THEN
    PERFORM prm._migration_context(migrate_subjects.machine, migrate_subjects.to_version, the_program);
  END IF;
  -- Rows in a final state have nothing ahead of them; they move only where the map names their state.
  EXECUTE format('SELECT coalesce(array_agg(ROW(%1$s, r.state, n.state, CASE WHEN s.state IS NULL THEN ''refused'' ELSE ''moved'' END,'
      ' CASE WHEN s.state IS NULL THEN format(''version %%s has no state "%%s"'', $4, n.state) END)::prm.migrated_subject ORDER BY r.key), ''{}'')'
      ' FROM (%2$s %3$s) r'
      ' LEFT JOIN prm.machine_state o ON o.program_id = $1 AND o.machine = $2 AND o.version = $3 AND o.state = r.state'
      ' CROSS JOIN LATERAL (SELECT coalesce($5 ->> r.state, r.state) AS state) n'
      ' LEFT JOIN prm.machine_state s ON s.program_id = $1 AND s.machine = $2 AND s.version = $4 AND s.state = n.state'
      ' WHERE r.version = $3 AND (NOT coalesce(o.is_final, false) OR $5 ? r.state)',
      CASE WHEN (the_table).is_uuid THEN 'NULL::bigint, r.key' ELSE 'r.key::bigint, NULL::uuid' END,
      prm._machine_rows_sql(the_table, 'true'), CASE WHEN coalesce(migrate_subjects.dry_run, false) THEN '' ELSE 'FOR NO KEY UPDATE OF t' END)
    INTO the_rows USING the_program, migrate_subjects.machine, migrate_subjects.from_version, migrate_subjects.to_version, migrate_subjects.state_map;
  IF NOT coalesce(migrate_subjects.dry_run, false) THEN
    SELECT string_agg(format('"%s" (rows: %s)', f.to_state, f.rows), ', ' ORDER BY f.to_state) INTO the_refused
      FROM (SELECT m.to_state, count(*) AS rows FROM unnest(the_rows) m WHERE m.outcome = 'refused' GROUP BY m.to_state) f;
    IF the_refused IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514',
        MESSAGE = format('version %s of machine "%s" lacks states that rows are in: %s', migrate_subjects.to_version, migrate_subjects.machine, the_refused),
        DETAIL = format('Nothing was moved. The states of version %s are %s.', migrate_subjects.to_version,
          (SELECT string_agg(format('"%s"', s.state), ', ' ORDER BY s.position) FROM prm.machine_state s
           WHERE s.program_id = the_program AND s.machine = migrate_subjects.machine AND s.version = migrate_subjects.to_version)),
        HINT = 'Say in state_map which state takes their place: ''{"old": "new"}''; dry_run => true shows every row.';
    END IF;
    -- The trigger writes the history, as the system's doing, also where the state stays.
    EXECUTE format('UPDATE %1$s AS t SET %2$I = m.to_state FROM unnest($2) m WHERE %3$s AND t.%4$I = m.%5$I', (the_table).target, (the_table).state_column,
        coalesce('t.' || quote_ident((the_table).program_column) || ' = $1', '$1 IS NOT NULL'), (the_table).key_column,
        CASE WHEN (the_table).is_uuid THEN 'subject_uuid' ELSE 'subject_id' END)
      USING the_program, the_rows;
    PERFORM prm._migration_context(migrate_subjects.machine, 0, the_program);
    PERFORM prm._refresh_versions(migrate_subjects.machine, the_program);
  END IF;
  RETURN QUERY SELECT m.subject_id, m.subject_uuid, m.from_state, m.to_state, m.outcome, m.reason FROM unnest(the_rows) m;
END
$prm$;
COMMENT ON FUNCTION prm.migrate_subjects(text, integer, integer, jsonb, boolean, bigint) IS
'Moves the rows of a machine from one of its versions to another, a row of the answer for each. state_map: {"old state": "new state"}, other states keep their name; rows in a final state move only where it names their state. The history says actor_kind system and no event. dry_run only shows, and says refused where the version lacks a state. Errors: 23514 a state that the version lacks (nothing is moved), 22023 a map that does not fit, 42704 no such version, 42501 for anybody but the owner of schema prm and the profile admin.';
