
-- Access: which role may do what. No role is created here; roles belong to the cluster, not to a database.

CREATE TYPE prm.access_table AS (relation text, privileges text, partner_column boolean);
COMMENT ON TYPE prm.access_table IS 'A relation of the model, the privileges of a profile on it, and whether its rows belong to a partner.';

CREATE FUNCTION prm._access_tables(profile text) RETURNS SETOF prm.access_table
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  -- What each profile may do with each relation of the model. Nobody but the owner writes history, ledger or steps.
  SELECT c.relname::text,
    CASE
      WHEN c.relkind = 'v' THEN 'SELECT'
      WHEN _access_tables.profile = 'partner' THEN
        -- Leads, deals, registrations, disputes and requests are written column by column: see _apply_access().
        CASE c.relname WHEN 'lead_answer' THEN 'SELECT, INSERT, UPDATE, DELETE' WHEN 'benefit_grant' THEN '' WHEN 'enrolment' THEN '' WHEN 'tier_history' THEN '' WHEN 'tier_approval' THEN '' ELSE 'SELECT' END
      WHEN _access_tables.profile = 'analyst' OR c.relname IN ('model', 'access_grant', 'machine_target', 'state_history', 'ledger', 'tier_history', 'partner_history',
        'benefit_grant', 'health_snapshot', 'metric_standing', 'health_model_version', 'segment_member', 'certificate_reminder', 'job_run', 'tier_due', 'refund_total', 'collected_total', 'accumulator', 'accumulator_entry', 'recurring_start', 'breakage',
        'timer', 'lead_answer_history', 'review_round', 'statement', 'statement_line', 'statement_share', 'ledger_open', 'settlement_calendar', 'payout', 'payout_statement', 'billing_document', 'billing_document_statement', 'document_series', 'mdf_entry') THEN 'SELECT'
      WHEN c.relname IN ('review_decision', 'ledger_hold', 'dispute', 'payout_request', 'mdf_request', 'mdf_claim', 'survey_response', 'point_entry', 'badge_award', 'usage_event', 'certificate_revocation', 'metric_entry') THEN 'SELECT, INSERT'
      WHEN c.relname = 'risk_event' THEN 'SELECT, INSERT, UPDATE'
      WHEN c.relname = 'tier_approval' THEN 'SELECT, UPDATE'
      WHEN _access_tables.profile = 'admin' THEN 'SELECT, INSERT, UPDATE, DELETE'
      WHEN c.relname IN ('partner', 'partner_user', 'customer', 'product', 'lead', 'deal', 'deal_line', 'deal_partner', 'registration', 'earning_event',
        'sales_credit', 'subscription', 'metric_value', 'health_choice', 'customer_metric_value', 'certificate', 'track_enrolment', 'course_completion', 'exam_attempt', 'enrolment', 'external_id', 'outbox', 'task', 'survey_wave', 'survey_ask', 'mission_run',
        'mission_progress', 'campaign_member', 'streak', 'usage_drop', 'tier_plan') THEN 'SELECT, INSERT, UPDATE'
      WHEN c.relname = 'lead_answer' THEN 'SELECT, INSERT, UPDATE, DELETE'
      ELSE 'SELECT'
    END,
    EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'partner_id' AND NOT a.attisdropped)
  FROM pg_class c
  WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p', 'v')
    AND (_access_tables.profile <> 'partner' OR c.relname IN ('partner', 'partner_user', 'enrolment', 'tier_history', 'benefit_grant', 'lead', 'deal', 'registration',
      'earning_event', 'ledger', 'partner_kind', 'ladder', 'tier', 'tier_requirement', 'tier_track', 'tier_approval', 'tier_plan', 'v_tier_plan', 'lead_criterion', 'lead_answer', 'lead_answer_history', 'benefit', 'product', 'v_ledger', 'v_statement_preview', 'v_lead_answer',
      'ledger_hold', '_standing_hold', 'v_entry_hold', 'payee', 'statement', 'statement_line', 'statement_share', 'statement_policy', 'ledger_open', 'dispute', 'payout', 'payout_statement',
      'payout_request', 'v_statement', 'v_payout', 'v_dispute', 'v_aged_balance', 'billing_document', 'billing_document_statement', 'mdf_fund', 'mdf_entry', 'mdf_request', 'mdf_claim', 'v_mdf_balance',
      'task', 'badge', 'badge_award', 'point_rule', 'point_entry', 'mission', 'mission_step', 'mission_run', 'mission_progress', 'streak_rule', 'streak', 'board', 'v_task', 'v_entitlement', 'v_points', 'v_mission', 'v_badge',
      'certification', 'certificate', 'certificate_revocation', 'course', 'exam', 'exam_limit', 'track', 'track_step', 'track_enrolment', 'course_completion', 'exam_attempt',
      'v_certificate', 'v_certification_coverage', 'v_training', 'v_exam_attempts', 'metric', 'metric_entry', 'metric_standing'))
  ORDER BY 1
$prm$;
COMMENT ON FUNCTION prm._access_tables(text) IS 'What a profile may do with each relation of the model, and whether its rows belong to a partner.';

CREATE FUNCTION prm._access_functions(profile text) RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  -- Functions of the model that act with the rights of its owner, so that PUBLIC may not call them.
  SELECT p.oid::regprocedure FROM pg_proc p
  WHERE p.pronamespace = 'prm'::regnamespace AND p.prosecdef
    AND (_access_functions.profile IN ('admin', 'manager') AND p.proname IN ('_book_recalculation', '_write_adjustment', '_write_segment_members')
      -- These tell a partner of itself and find out by themselves who asks, so any role may that could have a row of partner_login.
      OR p.proname IN ('_own_metric', '_own_tier_gap', '_own_health', '_own_explain_health', '_own_segments', '_own_leaderboard'))
  ORDER BY 1
$prm$;
COMMENT ON FUNCTION prm._access_functions(text) IS 'The functions with the owner''s rights that a profile may call.';

CREATE FUNCTION prm._apply_access() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $prm$
#variable_conflict use_column
DECLARE
  the_staff text;
  the_apps text;
  the_partners text;
  the_columns text;
  target record;
BEGIN
  -- Roles that were dropped meanwhile are left out; their rows stay until revoke_access().
  SELECT string_agg(quote_ident(g.role_name), ', ') FILTER (WHERE g.profile IN ('admin', 'manager', 'analyst')),
         string_agg(quote_ident(g.role_name), ', ') FILTER (WHERE g.profile = 'app'),
         string_agg(quote_ident(g.role_name), ', ') FILTER (WHERE g.profile = 'partner')
    INTO the_staff, the_apps, the_partners
    FROM prm.access_grant g JOIN pg_roles r ON r.rolname = g.role_name;
  -- Row security guards every table that a partner's role can reach, as soon as there is such a role or an application; it
  -- is never taken off again, since the user may rely on it, and not forced, so that the owner dumps everything.
  FOR target IN
    SELECT t.relation, t.partner_column FROM prm._access_tables('partner') t
    JOIN pg_class c ON c.relname = t.relation AND c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p')
  LOOP
    IF the_apps IS NOT NULL OR the_partners IS NOT NULL THEN
      EXECUTE format('ALTER TABLE prm.%I ENABLE ROW LEVEL SECURITY', target.relation);
    END IF;
    EXECUTE format('DROP POLICY IF EXISTS prm_staff ON prm.%I', target.relation);
    EXECUTE format('DROP POLICY IF EXISTS prm_app ON prm.%I', target.relation);
    EXECUTE format('DROP POLICY IF EXISTS prm_partner ON prm.%I', target.relation);
    IF the_staff IS NOT NULL THEN
      EXECUTE format('CREATE POLICY prm_staff ON prm.%I TO %s USING (true)', target.relation, the_staff);
    END IF;
    IF the_apps IS NOT NULL THEN
      EXECUTE format('CREATE POLICY prm_app ON prm.%I TO %s USING (%s)', target.relation, the_apps,
        -- Two programmes may have partners of one number: it acts for that of the programme in force.
        CASE WHEN target.relation = 'mdf_fund' THEN 'prm.current_partner() IS NULL OR program_id = prm.current_program() AND coalesce(partner_id, prm.current_partner()) = prm.current_partner()'
             WHEN target.relation = 'board' THEN 'prm.current_partner() IS NULL OR program_id = prm.current_program() AND is_active'
             WHEN target.relation = 'benefit' THEN 'prm.current_partner() IS NULL OR segment IS NULL'
             WHEN target.partner_column THEN 'prm.current_partner() IS NULL OR program_id = prm.current_program() AND partner_id = prm.current_partner()'
             ELSE 'true' END);
    END IF;
    IF the_partners IS NOT NULL THEN
      EXECUTE format('CREATE POLICY prm_partner ON prm.%I TO %s USING (program_id = prm.current_program() AND %s)', target.relation, the_partners,
        -- A fund without a partner is for everybody.
        CASE WHEN target.relation = 'mdf_fund' THEN 'coalesce(partner_id, prm.current_partner()) = prm.current_partner()'
             WHEN target.relation = 'board' THEN 'prm.current_partner() IS NOT NULL AND is_active'
             WHEN target.relation = 'benefit' THEN 'prm.current_partner() IS NOT NULL AND segment IS NULL'
             WHEN target.partner_column THEN 'partner_id = prm.current_partner()' ELSE 'prm.current_partner() IS NOT NULL' END);
    END IF;
  END LOOP;
  FOR target IN
    SELECT g.role_name, g.profile, t.relation, t.privileges FROM prm.access_grant g
    JOIN pg_roles r ON r.rolname = g.role_name
    CROSS JOIN LATERAL prm._access_tables(g.profile) t
  LOOP
    IF target.privileges <> '' THEN
      EXECUTE format('GRANT %s ON prm.%I TO %I', target.privileges, target.relation, target.role_name);
    END IF;
    IF target.profile = 'partner' AND target.relation IN ('lead', 'deal', 'registration') THEN
      -- Not the key, whose numbers it could use up before the others get there, nor the moments, which decide on money.
      SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO the_columns FROM pg_attribute a
        WHERE a.attrelid = ('prm.' || quote_ident(target.relation))::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          AND a.attname NOT IN ('lead_id', 'deal_id', 'registration_id', 'created_at', 'closed_at', 'protected', 'is_exclusive', 'submitted_at', 'approved_at');
      EXECUTE format('GRANT INSERT (%1$s), UPDATE (%1$s) ON prm.%2$I TO %3$I', the_columns, target.relation, target.role_name);
    ELSIF target.profile = 'partner' AND target.relation IN ('dispute', 'payout_request', 'mdf_request', 'mdf_claim', 'metric_entry') THEN
      -- What it may say; who and when is filled in, and the key too.
      EXECUTE format('GRANT INSERT (program_id, partner_id, %s) ON prm.%I TO %I', CASE target.relation WHEN 'dispute' THEN 'entry_id, reason' WHEN 'payout_request' THEN 'currency, reason'
        WHEN 'metric_entry' THEN 'metric, observed_at, value'
        WHEN 'mdf_request' THEN 'fund_id, campaign, expense, activity' ELSE 'request_id, amount, evidence' END, target.relation, target.role_name);
    ELSIF target.profile = 'partner' AND target.relation IN ('benefit_grant', 'enrolment', 'tier_history', 'tier_approval') THEN
      -- Not the segment that gave a benefit (my_segments() tells of segments, where the vendor wishes), nor what the vendor wrote
      -- down for itself: notes on pins, caps and decisions, and the values of metrics, some of which the partner may not see.
      SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO the_columns FROM pg_attribute a
        WHERE a.attrelid = ('prm.' || quote_ident(target.relation))::regclass AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname NOT IN ('segment', 'pin_reason', 'cap_reason', 'reason', 'metrics', 'decided_by', 'decision_reason', 'actor');
      EXECUTE format('GRANT SELECT (%s) ON prm.%I TO %I', the_columns, target.relation, target.role_name);
    ELSIF target.profile = 'partner' AND target.relation = 'task' THEN
      -- For complete_task().
      EXECUTE format('GRANT UPDATE (state, done_by, done_at) ON prm.task TO %I', target.role_name);
    END IF;
  END LOOP;
  FOR target IN
    SELECT g.role_name, f.signature FROM prm.access_grant g JOIN pg_roles r ON r.rolname = g.role_name
    CROSS JOIN LATERAL prm._access_functions(g.profile) AS f(signature)
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', target.signature, target.role_name);
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._apply_access() IS
'Brings grants and row security policies in line with prm.access_grant. Part of install(), grant_access() and revoke_access().';

CREATE FUNCTION prm._check_access_argument(role_name text, profile text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._ready();
  PERFORM prm._check_installer();
  IF NOT EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = _check_access_argument.role_name) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('role "%s" does not exist', _check_access_argument.role_name),
      DETAIL = 'prm creates no roles.', HINT = 'CREATE ROLE first, then grant it access.';
  END IF;
  IF _check_access_argument.profile IS NULL OR _check_access_argument.profile NOT IN ('admin', 'manager', 'analyst', 'app', 'partner') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no profile "%s"', _check_access_argument.profile),
      DETAIL = 'The profiles are admin, manager, analyst, app and partner.', HINT = 'SELECT prm.grant_access(''role'', ''analyst'').';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._check_access_argument(text, text) IS 'Refuses an unknown role (42704), an unknown profile (22023) and anybody but the owner of schema prm (42501).';

CREATE FUNCTION prm.grant_access(role_name text, profile text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_missing text;
BEGIN
  PERFORM prm._check_access_argument(grant_access.role_name, grant_access.profile);
  INSERT INTO prm.access_grant (role_name, profile) VALUES (grant_access.role_name, grant_access.profile)
    ON CONFLICT (role_name, profile) DO NOTHING;
  EXECUTE format('GRANT USAGE ON SCHEMA prm TO %I', grant_access.role_name);
  PERFORM prm._apply_access();
  -- A GRANT that could not be given is only a warning to the server; here it is an error.
  -- (Asked for several privileges at once, the server is content with one.)
  SELECT string_agg(DISTINCT t.relation, ', ') INTO the_missing FROM prm._access_tables(grant_access.profile) t
    CROSS JOIN LATERAL unnest(string_to_array(t.privileges, ', ')) AS p(privilege)
    WHERE NOT has_table_privilege(grant_access.role_name, ('prm.' || quote_ident(t.relation))::regclass, p.privilege);
  IF the_missing IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('role "%s" did not get all rights of profile %s', grant_access.role_name, grant_access.profile),
      DETAIL = format('They are missing on %s.', the_missing), HINT = 'The tables must belong to the owner of schema prm: see SELECT * FROM prm.check().';
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm.grant_access(text, text) IS
'Gives a role the rights of a profile: admin (everything but history and ledger), manager (daily work), analyst (reads), app (manager who may act for any partner by prm.partner_id), partner (its own rows, by prm.partner_login). Only for the owner of schema prm. Errors: 42704 unknown role, 22023 unknown profile, 42501.';

CREATE FUNCTION prm.revoke_access(role_name text, profile text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  target record;
BEGIN
  PERFORM prm._check_access_argument(revoke_access.role_name, coalesce(revoke_access.profile, 'analyst'));
  DELETE FROM prm.access_grant WHERE role_name = revoke_access.role_name
    AND profile = coalesce(revoke_access.profile, profile);
  FOR target IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'prm'::regnamespace AND c.relkind IN ('r', 'p', 'v')
  LOOP
    EXECUTE format('REVOKE ALL ON prm.%I FROM %I', target.relname, revoke_access.role_name);
  END LOOP;
  FOR target IN SELECT f.signature FROM prm._access_functions('admin') AS f(signature)
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', target.signature, revoke_access.role_name);
  END LOOP;
  IF NOT EXISTS (SELECT 1 FROM prm.access_grant g WHERE g.role_name = revoke_access.role_name) THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA prm FROM %I', revoke_access.role_name);
  END IF;
  PERFORM prm._apply_access();
END
$prm$;
COMMENT ON FUNCTION prm.revoke_access(text, text) IS
'Takes a profile, or for NULL every profile, from a role; what its other profiles give stays. Only for the owner of schema prm. Errors: 42704 unknown role, 22023 unknown profile, 42501.';
