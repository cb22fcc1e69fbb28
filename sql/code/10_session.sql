
-- Session: who acts, when, in which programme. C, see src/session.c.

CREATE FUNCTION prm.now() RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_now';
COMMENT ON FUNCTION prm.now() IS
'The present moment for every engine: the time at which the transaction began, or the setting prm.clock where it is given and the session''s user is a superuser or owns schema prm.';

CREATE FUNCTION prm.current_program() RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_current_program';
COMMENT ON FUNCTION prm.current_program() IS
'The programme in force: the setting prm.program_id, else the only programme there is. Errors: 55000 where there is none, or several and none is chosen.';

CREATE FUNCTION prm.current_partner() RETURNS bigint
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'prm_current_partner';
COMMENT ON FUNCTION prm.current_partner() IS
'The partner on whose behalf the session acts: that of its role (prm.partner_login); for applications, the owner and superusers the setting prm.partner_id, else the claim partner_id of request.jwt.claims. NULL means the vendor''s staff.';

CREATE FUNCTION prm._acting_partner(program_id bigint) RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'prm_acting_partner_of';
COMMENT ON FUNCTION prm._acting_partner(bigint) IS 'current_partner() of a given programme, NULL while a hook acts for the library: for triggers, which judge the programme of the row.';

CREATE FUNCTION prm._self_argument(program_id bigint, tells text, instead text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_self bigint := prm._acting_partner(_self_argument.program_id);
BEGIN
  IF the_self IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'no partner acts', DETAIL = format('%s.', _self_argument.tells), HINT = format('SET LOCAL prm.partner_id = ..., or %s.', _self_argument.instead);
  END IF;
  RETURN the_self;
END
$prm$;
COMMENT ON FUNCTION prm._self_argument(bigint, text, text) IS
'The acting partner, for functions that tell a partner of itself. Error 55000 where none acts; tells says what the function tells, instead what staff ask.';

CREATE FUNCTION prm._calling_partner(program_id bigint) RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'prm_calling_partner_of';
COMMENT ON FUNCTION prm._calling_partner(bigint) IS
'The partner of the session''s role, or of that of SET ROLE: for functions that run with the owner''s rights, where the current role is the owner and _acting_partner() would believe any setting. NULL where that role acts for none.';

CREATE FUNCTION prm.current_actor() RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'prm_current_actor';
COMMENT ON FUNCTION prm.current_actor() IS
'Who acts, as text for the history: the setting prm.actor, else the name of the current role.';

CREATE FUNCTION prm._check_program(program_id bigint) RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_program_argument';
COMMENT ON FUNCTION prm._check_program(bigint) IS
'First call of every API function: returns the programme given, or the one in force for NULL. Errors: 55000 where the model is missing or of another version, 42704 where the programme does not exist.';

CREATE FUNCTION prm._program_currency(program_id bigint) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_program_currency';
COMMENT ON FUNCTION prm._program_currency(bigint) IS 'The currency of a programme (ISO 4217), from the session''s cache. Error 42704 where it does not exist.';

CREATE FUNCTION prm._program_time_zone(program_id bigint) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_program_time_zone';
COMMENT ON FUNCTION prm._program_time_zone(bigint) IS 'The time zone of a programme, in which its business dates are taken, from the session''s cache. Error 42704 where it does not exist.';

CREATE FUNCTION prm._days_later(program_id bigint, moment timestamptz, days integer) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_days_later.program_id);
BEGIN
  RETURN ((_days_later.moment AT TIME ZONE the_zone) + make_interval(days => _days_later.days)) AT TIME ZONE the_zone;
END
$prm$;
COMMENT ON FUNCTION prm._days_later(bigint, timestamptz, integer) IS
'The same time of day so many days later (negative: earlier) by the clocks of the programme''s zone, whatever the zone of the session.';

CREATE FUNCTION prm.definition_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_definition_changed';
COMMENT ON FUNCTION prm.definition_changed() IS
'Statement trigger of the definition tables: tells every backend, at commit, that what it caches of them is out of date.';
