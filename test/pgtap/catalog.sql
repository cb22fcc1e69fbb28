-- The catalog lint: promises that hold for every object of the schema prm. Each rule lists what breaks it, so that a failure
-- names the object. Exceptions are lists of names here, each with its reason.
BEGIN;
SET LOCAL search_path = public, pg_catalog;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- What the rules below speak of. Relations of the model, with the number of their program_id.
CREATE TEMP VIEW model_table AS
SELECT c.oid, c.relname::text AS name, c.oid::regclass AS relation,
       (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'program_id' AND a.atttypid = 'int8'::regtype
          AND a.attnotnull) AS tenant
FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p')
  -- The steps that ran and the grants to roles of the database belong to no programme.
  AND c.relname NOT IN ('model', 'access_grant');

CREATE TEMP VIEW routine AS
SELECT p.*, l.lanname AS language, p.oid::regprocedure::text AS signature,
       EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'prm'
               WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e') AS member,
       p.prokind = 'f' AND p.pronargs = 1 AND EXISTS (SELECT 1 FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
         WHERE t.oid = p.proargtypes[0] AND c.relkind IN ('r', 'p', 'v') AND c.relnamespace = 'prm'::regnamespace) AS of_row
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'prm'::regnamespace;

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'prm'
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';

-- ---- the tenant is in every key -------------------------------------------------------------------------------------
SELECT is_empty($$ SELECT relation FROM model_table WHERE tenant IS NULL $$, 'every table has program_id bigint NOT NULL');
SELECT is_empty($$ SELECT i.indexrelid::regclass FROM pg_index i JOIN model_table t ON t.oid = i.indrelid
  WHERE (i.indisunique OR i.indisexclusion) AND i.indkey[0] IS DISTINCT FROM t.tenant $$, 'program_id is the first column of every unique key and exclusion');
SELECT is_empty($$ SELECT c.conname, t.relation FROM pg_constraint c JOIN model_table t ON t.oid = c.conrelid JOIN model_table p ON p.oid = c.confrelid
  WHERE c.contype = 'f' AND NOT coalesce(c.conkey[1] = t.tenant AND c.confkey[1] = p.tenant, false) $$, 'program_id is the first column of every foreign key');
SELECT is_empty($$ SELECT t.relation FROM model_table t WHERE NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary) $$,
  'every table has a primary key');
SELECT is_empty($$ SELECT c.conname, t.relation FROM pg_constraint c JOIN model_table t ON t.oid = c.conrelid
  WHERE c.contype = 'f' AND (c.confdeltype IN ('n', 'd') OR c.confupdtype IN ('c', 'n', 'd')) $$, 'no foreign key sets null or default, or cascades an update');
SELECT is_empty($$ SELECT c.conname FROM pg_constraint c JOIN model_table t ON t.oid = c.conrelid WHERE c.condeferrable $$, 'no constraint is deferrable');
SELECT is_empty($$ SELECT s.seqrelid::regclass FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
  WHERE c.relnamespace = 'prm'::regnamespace AND s.seqtypid <> 'int8'::regtype $$, 'every sequence is bigint');
SELECT is_empty($$ SELECT t.relation FROM model_table t WHERE t.name <> 'program' AND NOT EXISTS (SELECT 1 FROM pg_attrdef d
  WHERE d.adrelid = t.oid AND d.adnum = t.tenant AND pg_get_expr(d.adbin, d.adrelid) IN ('prm.current_program()', 'current_program()')) $$,
  'program_id defaults to the programme in force');
SELECT is_empty($$ SELECT t.relation, a.attname, a.atttypid::regtype FROM model_table t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type y ON y.oid = a.atttypid WHERE y.typnamespace <> 'pg_catalog'::regnamespace $$, 'columns of tables have core types only');
SELECT is_empty($$ SELECT t.relation, a.attname FROM model_table t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.atttypid IN ('float4'::regtype, 'float8'::regtype, 'money'::regtype) AND a.attname NOT IN ('latitude', 'longitude') $$, 'no amount is a floating-point number');
SELECT is_empty($$ SELECT t.relation, a.attname FROM model_table t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.atttypid = 'timestamp'::regtype $$, 'moments carry their time zone');
SELECT is_empty($$ SELECT relation FROM model_table t JOIN pg_class c ON c.oid = t.oid WHERE c.relpersistence <> 'p' $$, 'every table survives a crash');

-- ---- what belongs to the extension, and what does not ---------------------------------------------------------------
SELECT is_empty($$ SELECT pg_describe_object(classid, objid, 0) FROM member
  WHERE classid NOT IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass) $$,
  'members are functions, aggregates, types, casts and operators only');
SELECT is_empty($$ SELECT relation FROM model_table t WHERE EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid AND d.deptype = 'e') $$,
  'no table is a member of an extension');
SELECT is_empty($$ SELECT pg_describe_object(i.classoid, i.objoid, i.objsubid) FROM pg_init_privs i JOIN member m ON m.classid = i.classoid AND m.objid = i.objoid $$,
  'no member has initial privileges');
SELECT is_empty($$ SELECT signature FROM routine WHERE prosecdef AND member $$, 'no member function runs with other rights');
SELECT is_empty($$ SELECT signature FROM routine WHERE prosecdef AND NOT coalesce(proconfig && ARRAY['search_path=pg_catalog, pg_temp', 'search_path="pg_catalog, pg_temp"'], false) $$,
  'functions with the owner''s rights pin the search_path');
SELECT is_empty($$ SELECT r.signature FROM routine r WHERE r.prosecdef AND (r.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(r.proacl) x WHERE x.grantee = 0)) $$,
  'functions with the owner''s rights are not for PUBLIC');
SELECT is_empty($$ SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind = 'v'
  AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false) $$, 'views use the rights of their reader');
SELECT is_empty($$ SELECT c.oid::regclass, a.attname, a.atttypid::regtype FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  JOIN pg_type y ON y.oid = a.atttypid WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind = 'v' AND c.relname ~ '^v_' AND y.typnamespace <> 'pg_catalog'::regnamespace $$,
  'views for outsiders return core types');
SELECT is_empty($$ SELECT p.polname, t.relation FROM pg_policy p JOIN model_table t ON t.oid = p.polrelid
  WHERE coalesce(p.polqual::text, '') || coalesce(p.polwithcheck::text, '') ~ 'SUBLINK' $$, 'no policy has a subquery');
SELECT is_empty($$ SELECT relation FROM model_table t JOIN pg_class c ON c.oid = t.oid WHERE c.relforcerowsecurity $$, 'row security is not forced upon the owner, who must be able to dump');
SELECT is_empty($$ SELECT g.tgname, t.relation, g.tgfoid::regprocedure FROM pg_trigger g JOIN model_table t ON t.oid = g.tgrelid JOIN pg_proc p ON p.oid = g.tgfoid
  WHERE NOT g.tgisinternal AND p.pronamespace <> 'prm'::regnamespace $$, 'triggers of the model call functions of the schema');
SELECT is_empty($$ SELECT g.tgname, t.relation FROM pg_trigger g JOIN model_table t ON t.oid = g.tgrelid WHERE NOT g.tgisinternal AND g.tgenabled = 'D' $$, 'no trigger of the model is disabled');

-- ---- functions ------------------------------------------------------------------------------------------------------
SELECT is_empty($$ SELECT signature FROM routine WHERE language IN ('plpgsql', 'sql') AND prosqlbody IS NULL
  AND NOT coalesce(proconfig && ARRAY['search_path=pg_catalog, pg_temp', 'search_path="pg_catalog, pg_temp"'], false)
  -- A procedure that commits can have no SET clause; the rule after the next holds for it.
  AND NOT (prokind = 'p' AND prosrc ~* '\mCOMMIT\M') $$, 'every function in PL/pgSQL or SQL pins the search_path');
SELECT is_empty($$ SELECT signature FROM routine WHERE language IN ('plpgsql', 'sql') AND position(chr(92) IN prosrc) > 0
  AND proname !~ '^_(defs|step_[0-9]{4})$' AND NOT coalesce(proconfig && ARRAY['standard_conforming_strings=on'], false) $$,
  'a backslash in a function means the same in every session');
SELECT is_empty($$ SELECT signature FROM routine WHERE language = 'plpgsql' AND prosrc !~ '^\s*#variable_conflict use_column\n' $$,
  'PL/pgSQL bodies begin with #variable_conflict use_column');

-- The identifiers and signs of a body, without comments and literals.
CREATE FUNCTION pg_temp.bare_text(body text) RETURNS text LANGUAGE sql IMMUTABLE AS $fn$
  SELECT regexp_replace(body, $re$'([^']|'')*'|--[^\n]*|/\*[^*]*\*+([^/*][^*]*\*+)*/|\$[a-z_]*\$([^$]|\$[^a-z_$])*\$[a-z_]*\$|#variable_conflict[^\n]*$re$, ' '''' ', 'g') $fn$;
CREATE TEMP TABLE token AS
SELECT r.oid, t.position, t.word, lower(t.word) AS name,
       lag(t.word) OVER w AS before, lag(t.word, 2) OVER w AS before2, lead(t.word) OVER w AS after, lead(t.word, 2) OVER w AS after2,
       -- Statements are told apart by what ends or opens one.
       count(*) FILTER (WHERE t.word IN (';') OR lower(t.word) IN ('then', 'else', 'loop', 'begin', 'declare')) OVER (PARTITION BY r.oid ORDER BY t.position) AS statement
FROM routine r
CROSS JOIN LATERAL (SELECT m.ordinality AS position, m.found[1] AS word
  FROM regexp_matches(pg_temp.bare_text(r.prosrc), '[A-Za-z_][A-Za-z0-9_]*|"[^"]*"|[0-9]+|:=|::|=>|<>|<=|>=|''''|[^\sA-Za-z0-9_]', 'g') WITH ORDINALITY AS m(found, ordinality)) t
WHERE r.language = 'plpgsql' AND r.proname !~ '^_(defs|step_[0-9]{4})$'
WINDOW w AS (PARTITION BY r.oid ORDER BY t.position);
CREATE INDEX ON token (oid, statement);
SELECT is_empty($$ SELECT DISTINCT r.signature, k.name FROM token k JOIN routine r ON r.oid = k.oid
  WHERE r.prokind = 'p' AND r.prosrc ~* '\mCOMMIT\M' AND k.after = '(' AND k.before IS DISTINCT FROM '.'
    AND k.name NOT IN ('if', 'elsif', 'while', 'in', 'exists', 'values', 'coalesce', 'and', 'or', 'not', 'case', 'when', 'exit', 'any', 'all', 'array', 'as', 'select', 'from', 'where', 'using', 'then', 'nullif', 'greatest', 'least', 'return', 'row', 'call', 'over', 'on', 'numeric')
    AND k.word ~ '^[A-Za-z_]' $$, 'procedures that commit call by qualified names only');

-- A bare parameter is a fault where it can be nothing else: where no table has a column of its name, or in a statement that
-- reads no table. (plpgsql_check finds the rest: see test/tools/parameters.sql.)
CREATE TEMP VIEW parameter AS
SELECT r.oid, r.signature, r.proname, a.name FROM routine r CROSS JOIN LATERAL unnest(r.proargnames) WITH ORDINALITY AS a(name, number)
WHERE r.language = 'plpgsql' AND a.name <> '' AND (r.proargmodes IS NULL OR r.proargmodes[a.number] IN ('i', 'b', 'v'));
SELECT is_empty($$ SELECT DISTINCT p.signature, p.name FROM parameter p JOIN token k ON k.oid = p.oid AND k.name = p.name
  WHERE k.before IS DISTINCT FROM '.' AND k.after IS DISTINCT FROM '.' AND k.before IS DISTINCT FROM '"' AND lower(coalesce(k.before, '')) NOT IN ('as') AND k.after IS DISTINCT FROM '=>'
    AND k.after IS DISTINCT FROM '(' AND NOT (k.name = 'at' AND lower(k.after) = 'time')
    AND (NOT EXISTS (SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attname = p.name AND a.attnum > 0
                     AND (c.relnamespace = 'prm'::regnamespace OR c.relnamespace = 'pg_catalog'::regnamespace))
         OR NOT EXISTS (SELECT 1 FROM token s WHERE s.oid = k.oid AND s.statement = k.statement
                        AND s.name IN ('from', 'into', 'update', 'insert', 'delete', 'merge', 'using', 'select', 'join', 'returning', 'set', 'where', 'order', 'perform')))
    -- A name that the function itself gives to a column or an alias.
    AND NOT EXISTS (SELECT 1 FROM token s WHERE s.oid = k.oid AND s.name = p.name AND lower(s.before) = 'as') $$,
  'parameters are written function_name.parameter');
SELECT is_empty($$ SELECT DISTINCT r.signature, k.name FROM token k JOIN routine r ON r.oid = k.oid
  WHERE k.word ~ '^[A-Za-z_]' AND k.after = '=' AND lower(k.after2) = k.name AND k.before IS DISTINCT FROM '.'
    AND NOT EXISTS (SELECT 1 FROM token s WHERE s.oid = k.oid AND s.position = k.position + 3 AND s.word IN ('.', '(')) $$, 'no column is compared with itself');

SELECT is_empty($$ SELECT signature FROM routine WHERE prokind IN ('f', 'p') AND proname !~ '^_' AND NOT of_row AND provolatile <> 'i'
  AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
  AND proname NOT IN ('install', 'uninstall', 'version', 'check', 'now', 'current_program', 'current_partner', 'current_actor',
                      'create_program', 'import_program', 'demo', 'grant_access', 'revoke_access')
  -- Jobs are run and scheduled for all programmes where none is given.
  AND NOT (proname IN ('run_jobs', 'schedule_jobs') AND pg_get_function_arguments(oid) ~ 'program_id bigint DEFAULT NULL::bigint$')
  AND pg_get_function_arguments(oid) !~ 'program_id bigint DEFAULT (prm\.)?current_program\(\)$' $$, 'API functions take program_id last, by default the one in force');
SELECT is_empty($$ SELECT signature FROM routine WHERE prokind IN ('f', 'p') AND (prorettype = 'record'::regtype OR coalesce(proargmodes && '{o,b,t}', false)) $$,
  'no function returns record, a table or out parameters');
SELECT is_empty($$ SELECT signature FROM routine WHERE prokind IN ('f', 'p') AND proretset AND proname !~ '^_'
  AND NOT EXISTS (SELECT 1 FROM pg_type t WHERE t.oid = prorettype AND t.typtype = 'c' AND t.typnamespace = 'prm'::regnamespace) $$,
  'functions that return rows return a named type of the schema');
SELECT is_empty($$ SELECT proname, count(*) FROM routine WHERE NOT of_row GROUP BY proname HAVING count(*) > 1 $$, 'no function is overloaded, but for functions over one row');
SELECT is_empty($$ SELECT signature FROM routine WHERE provariadic <> 0 $$, 'no function is variadic');
SELECT is_empty($$ SELECT signature FROM routine r WHERE prokind IN ('f', 'p') AND pronargs > 0 AND proname !~ '^_' AND NOT of_row
  AND (proargnames IS NULL OR '' = ANY (proargnames[1:pronargs]))
  -- Functions that only serve a type, a cast, an operator or an aggregate are not called by name.
  AND NOT EXISTS (SELECT 1 FROM pg_type t WHERE r.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze))
  AND NOT EXISTS (SELECT 1 FROM pg_operator o WHERE o.oprcode = r.oid) AND NOT EXISTS (SELECT 1 FROM pg_amproc a WHERE a.amproc = r.oid)
  AND NOT EXISTS (SELECT 1 FROM pg_cast c WHERE c.castfunc = r.oid)
  AND NOT EXISTS (SELECT 1 FROM pg_aggregate a WHERE r.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)) $$,
  'every argument is named');
SELECT is_empty($$ SELECT a.aggfnoid::regprocedure FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'prm'::regnamespace AND a.aggcombinefn = 0 $$,
  'every aggregate can be split (has a combine function)');

-- ---- labels ---------------------------------------------------------------------------------------------------------
SELECT is_empty($$ SELECT r.signature, r.provolatile, e.volatility FROM routine r JOIN (VALUES
    ('now', 's'), ('state_times', 's'), ('machine_funnel', 's'), ('current_program', 's'), ('current_partner', 's'), ('current_actor', 's'), ('version', 's'), ('check', 's'),
    ('commission', 'i'), ('commission_parts', 'i'), ('round_money', 'i'), ('allocate', 'i'), ('normalize_metric', 'i'),
    ('allowed_events', 's'), ('allowed_events_uuid', 's'), ('machine_json', 's'), ('machine_dot', 's'), ('machine_dot_uuid', 's'), ('machine_mermaid', 's'), ('machine_mermaid_uuid', 's'),
    ('business_add', 's'), ('business_between', 's'), ('explain_commission', 's'), ('simulate_plan', 's'), ('commission_forecast', 's'), ('recalculate', 'v'), ('explain_health', 's'), ('health_definition', 's'), ('health_groups', 's'), ('health_changes', 's'), ('health_trend', 's'), ('health_portfolio', 's'), ('health_backtest', 's'), ('score_metrics', 'i'), ('weighted_score', 'i'), ('record_choice', 'v'), ('record_customer_metric', 'v'), ('refresh_health', 'v'), ('explain_registration', 's'), ('health', 's'), ('partner_metrics', 's'), ('tier_gap', 's'),
    ('partner_balance', 's'), ('ledger_as_of', 's'), ('audit_ledger', 's'), ('entitlement', 's'), ('explain_entitlement', 's'), ('certificate_impact', 's'), ('lms_ingest', 'v'), ('exam_attempts_left', 's'), ('award_certificates', 'v'), ('renew_certificate', 'v'), ('revoke_certificate', 'v'), ('segment_document', 's'), ('refresh_segments', 'v'), ('explain_segment', 's'), ('add_segment_member', 'v'), ('remove_segment_member', 'v'), ('ipp_score', 's'), ('ipp_validate', 's'), ('conflicts', 's'), ('export_program', 's'),
    ('fire', 'v'), ('fire_uuid', 'v'), ('review', 'v'), ('review_uuid', 'v'), ('answer_criteria', 'v'), ('complete_task', 'v'), ('migrate_subjects', 'v'), ('define_machine', 'v'), ('attach_machine', 'v'), ('detach_machine', 'v'), ('install', 'v'), ('uninstall', 'v'), ('create_program', 'v'),
    ('import', 'v'), ('demo', 'v'), ('close_period', 'v'), ('preview_period', 'v'), ('approve_statement', 'v'), ('create_payouts', 'v'), ('settle_payout', 'v'), ('force_payout', 'v'), ('request_payout', 'v'), ('receive_payment', 'v'), ('write_off_debts', 'v'), ('dispute', 'v'), ('resolve_dispute', 'v'), ('my_statement', 's'), ('mdf_budget', 's'), ('request_mdf', 'v'), ('approve_mdf', 'v'), ('reject_mdf', 'v'), ('claim_mdf', 'v'), ('reimburse_mdf', 'v'), ('mdf_budget_as_of', 's'), ('explain_mdf', 's'), ('post_mdf', 'v'), ('grant_mdf', 'v'), ('_mdf_due', 's'), ('_mdf_balance', 's'), ('_mdf_payment', 's'), ('_audit_mdf', 's'), ('_post_mdf', 'v'), ('_mdf_year', 'i'), ('_mdf_carry', 'i'), ('_mdf_percent', 'i'), ('_mdf_tier_accrual', 's'), ('create_documents', 'v'), ('cancel_document', 'v'), ('payout_batch', 's'), ('payout_batch_xml', 's'), ('journal', 's'), ('_bank_text', 'i'), ('_bank_details', 'i'), ('_pain_account', 'i'), ('_pain_bank', 'i'), ('_pain_options', 's'), ('my_earnings', 's'), ('evaluate_tiers', 'v'), ('pin_tier', 'v'), ('set_tier_cap', 'v'), ('approve_tier', 'v'), ('refuse_tier', 'v'), ('enrol_partner', 'v'), ('plan_tier', 'v'), ('drop_tier_plan', 'v'), ('resolve_risk', 'v'), ('hold_entry', 'v'), ('hold_partner', 'v'), ('release_hold', 'v'), ('claim_outbox', 'v'), ('ack_outbox', 'v'), ('record_metric', 'v'), ('nps_class', 'i'), ('open_survey_wave', 'v'), ('nps_response', 'v'), ('leaderboard', 's'), ('add_points', 'v'), ('award_badge', 'v'), ('join_mission', 'v'), ('advance_mission', 'v'), ('decide_mission', 'v'), ('refresh_recognition', 'v'), ('usage_ingest', 'v'), ('_days_later', 's'), ('_recount_streak', 's'), ('_work_streaks', 'v'), ('_leaderboard', 's'), ('my_leaderboard', 's'), ('_own_leaderboard', 's'), ('my_segments', 's'), ('_own_segments', 's'), ('_tier_gap', 's'), ('_own_tier_gap', 's'), ('_health_row', 's'), ('_row_health', 's'), ('_row_metric', 's'), ('_shown_health', 's'), ('_own_health', 's'), ('_own_explain_health', 's'), ('_own_metric', 's'), ('_own_partner', 's'), ('_calling_partner', 's'), ('_nps_groups', 's')) AS e(name, volatility)
  ON e.name = r.proname WHERE NOT r.of_row AND r.provolatile::text <> e.volatility $$, 'functions have the volatility that was reviewed');
SELECT is_empty($$ SELECT signature FROM routine WHERE prorettype = 'trigger'::regtype AND provolatile <> 'v' $$, 'trigger functions are volatile');
SELECT is_empty($$ SELECT signature FROM routine WHERE provolatile = 'i' AND language <> 'c' AND prokind = 'f'
  AND pg_temp.bare_text(prosrc) ~* '\m(now|clock_timestamp|current_setting|current_date|current_timestamp|to_regclass)\M|\mfrom\s+prm\.' $$, 'immutable functions read no table, clock or setting');
SELECT is_empty($$ SELECT signature FROM routine WHERE provolatile = 'v' AND proparallel = 's' AND prokind IN ('f', 'p') $$, 'no volatile function is parallel safe');
SELECT is_empty($$ SELECT signature FROM routine WHERE provolatile = 'i' AND proparallel <> 's' AND prokind = 'f' AND proname !~ '^_' $$, 'immutable functions are parallel safe');
SELECT is_empty($$ SELECT signature FROM routine WHERE proleakproof $$, 'no function is leakproof');

-- ---- comments -------------------------------------------------------------------------------------------------------
SELECT is_empty($$ SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND coalesce(btrim(obj_description(c.oid, 'pg_class')), '') = '' $$, 'every table and view has a comment');
SELECT is_empty($$ SELECT c.oid::regclass, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND coalesce(btrim(col_description(c.oid, a.attnum)), '') = '' $$,
  'every column of a table or view has a comment');
SELECT is_empty($$ SELECT signature FROM routine WHERE coalesce(btrim(obj_description(oid, 'pg_proc')), '') = '' $$, 'every function and aggregate has a comment');
SELECT is_empty($$ SELECT t.oid::regtype FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
  WHERE t.typnamespace = 'prm'::regnamespace AND t.typelem = 0 AND coalesce(c.relkind, 'c') = 'c' AND coalesce(btrim(obj_description(t.oid, 'pg_type')), '') = '' $$, 'every type has a comment');
SELECT is_empty($$ SELECT c.castsource::regtype, c.casttarget::regtype FROM pg_cast c JOIN member m ON m.classid = 'pg_cast'::regclass AND m.objid = c.oid
  WHERE coalesce(btrim(obj_description(c.oid, 'pg_cast')), '') = '' $$, 'every cast has a comment');
SELECT is_empty($$ SELECT o.oid::regoperator FROM pg_operator o WHERE o.oprnamespace = 'prm'::regnamespace AND coalesce(btrim(obj_description(o.oid, 'pg_operator')), '') = '' $$,
  'every operator has a comment');

-- A name that a list of rights misspells leaves its relation with the rights of all others.
SELECT is_empty($$ SELECT m[1] FROM pg_proc p CROSS JOIN LATERAL regexp_matches(regexp_replace(p.prosrc, '--[^\n]*', '', 'g'), '''((?:[^'']|'''')*)''', 'g') AS m
  WHERE p.oid = 'prm._access_tables'::regproc AND m[1] !~ '^(SELECT|INSERT|UPDATE|DELETE|prm$|partner_id$|analyst$|admin$|manager$|app$|[rvp]$)'
    AND to_regclass('prm.' || quote_ident(replace(m[1], '''''', ''''))) IS NULL $$, 'every relation that a profile has rights on by name exists');
SELECT is_empty($$ SELECT m[1] FROM pg_proc p CROSS JOIN LATERAL regexp_matches(regexp_replace(p.prosrc, '--[^\n]*', '', 'g'), '''(_[a-z_]+)''', 'g') AS m
  WHERE p.oid = 'prm._access_functions'::regproc AND NOT EXISTS (SELECT 1 FROM routine r WHERE r.proname = m[1] AND r.prosecdef) $$,
  'every function that a profile may call with the owner''s rights exists');
SELECT is_empty($$ SELECT signature FROM routine WHERE prosecdef AND proname ~ '^_own_' AND prosrc !~ '_own_partner\(' $$, 'functions that read for a partner check who asks');
SELECT * FROM finish();
ROLLBACK;
