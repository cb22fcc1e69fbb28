
-- Machines at work: the triggers and the calls about one subject. C, see src/machine*.c.

CREATE FUNCTION prm.machine_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_machine_trigger';
COMMENT ON FUNCTION prm.machine_trigger() IS
'Statement trigger with transition tables of every table with a machine; arguments: machine, key column, state column; on attached tables also programme column or an empty text, and the programme where there is none. Judges each change of state and writes prm.state_history. Errors: 23514 forbidden, 42501 wrong party, 42704 no such machine, 0A000 changed key, 42501 table that attach_machine() did not register, 55000 TRUNCATE.';

CREATE FUNCTION prm.deal_row() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_deal_row';
COMMENT ON FUNCTION prm.deal_row() IS 'Row trigger of prm.deal: fills an absent currency from the programme, and closed_at when the deal reaches a final state.';

CREATE FUNCTION prm.append_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_append_only';
COMMENT ON FUNCTION prm.append_only() IS 'Trigger that refuses UPDATE, DELETE and TRUNCATE of a table of records (55000).';

CREATE FUNCTION prm._import_context() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_import_context';
COMMENT ON FUNCTION prm._import_context() IS
'Until the end of the present (sub)transaction, states written by the present role are recorded as a historical import: as given, at the row''s closed_at or created_at, without the path: no event, no hooks, no messages; the deadlines of a state that is open run from that moment. Error 42501 for anybody but the owner of schema prm and the profile admin.';

CREATE FUNCTION prm._migration_context(machine text, version integer, program_id bigint) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'prm_migration_context';
COMMENT ON FUNCTION prm._migration_context(text, integer, bigint) IS
'Until the end of the present (sub)transaction, updates of a machine''s rows by the present role move them to a version, in the state given, without an event; version 0 ends that. Used by migrate_subjects(). Error 42501 for anybody but the owner of schema prm and the profile admin.';

CREATE FUNCTION prm.fire(machine text, subject_id bigint, event text, reason text DEFAULT NULL, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_fire';
COMMENT ON FUNCTION prm.fire(text, bigint, text, text, jsonb, bigint) IS
'Sends an event to one row and returns its new state; runs with the caller''s rights. options: {"version": history_id of the last entry that you saw, "set": {"budget": 5000, "attributes": {"x": 1}}}: "set" names columns that get a value in the same UPDATE, before required fields and guard are checked, with your rights on them; attributes are merged, everything else is replaced. Errors: 42704 no such machine, row or event, 23514 not allowed now (DETAIL has all reasons, HINT what is), 42501 wrong party, 55000 the row has moved on since version, 22023 bad option, or one that sets the key, the programme, the state or what is no column, 22P02 a value that is none of its column''s type.';

CREATE FUNCTION prm.fire_uuid(machine text, subject_uuid uuid, event text, reason text DEFAULT NULL, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'prm_fire_uuid';
COMMENT ON FUNCTION prm.fire_uuid(text, uuid, text, text, jsonb, bigint) IS 'fire() for an attached table whose key is a uuid.';

CREATE TYPE prm.allowed_event AS (event text, to_state text, allowed boolean, why_not text[], needs_reason boolean);
COMMENT ON TYPE prm.allowed_event IS
'A row of allowed_events(): event, the state it leads to, whether it may be sent now as things are, every reason against it, and whether it needs a reason.';

CREATE FUNCTION prm.allowed_events(machine text, subject_id bigint, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.allowed_event
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'prm_allowed_events';
COMMENT ON FUNCTION prm.allowed_events(text, bigint, bigint) IS
'The events out of a row''s present state, each with every reason against it for the party who asks. Errors: 42704 no such machine or row.';

CREATE FUNCTION prm.allowed_events_uuid(machine text, subject_uuid uuid, program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.allowed_event
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'prm_allowed_events_uuid';
COMMENT ON FUNCTION prm.allowed_events_uuid(text, uuid, bigint) IS 'allowed_events() for an attached table whose key is a uuid.';
