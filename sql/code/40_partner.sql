
-- Partners: what the triggers of the model share.

CREATE FUNCTION prm._caller() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Inside a SECURITY DEFINER function current_user is the owner of the model; the role that called it stands in the setting role.
  RETURN coalesce(nullif(current_setting('prm.actor', true), ''), nullif(current_setting('role', true), 'none'), session_user::text);
END
$prm$;
COMMENT ON FUNCTION prm._caller() IS
'Who acts, as text for the history, also when asked inside a SECURITY DEFINER function: the setting prm.actor, else the role of the session.';

CREATE FUNCTION prm._partner_final_states(program_id bigint) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN ARRAY(SELECT DISTINCT s.state FROM prm.machine_state s WHERE s.program_id = _partner_final_states.program_id AND s.machine = 'partner' AND s.is_final);
END
$prm$;
COMMENT ON FUNCTION prm._partner_final_states(bigint) IS 'The final states of the partner machine, in any of its versions: who is in one has left, or was never let in.';
