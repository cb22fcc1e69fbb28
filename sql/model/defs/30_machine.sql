
-- Machines: what tells the other backends that a definition changed.
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.machine
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.machine ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.machine_state
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.machine_state ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.machine_transition
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.machine_transition ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.outbox_rule
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.outbox_rule ENABLE ALWAYS TRIGGER prm_definition_changed;

CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.machine_target
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.machine_target ENABLE ALWAYS TRIGGER prm_definition_changed;

-- Which older versions still have rows decides whether the history is asked for the version of each row.
CREATE OR REPLACE FUNCTION prm._machine_defined() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  definition record;
BEGIN
  FOR definition IN SELECT n.program_id, n.machine, n.version FROM new_rows n WHERE n.version > 1 LOOP
    PERFORM prm._version_superseded(definition.machine, (SELECT max(m.version) FROM prm.machine m WHERE m.program_id = definition.program_id
      AND m.machine = definition.machine AND m.version < definition.version), definition.program_id);
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._machine_defined() FROM PUBLIC;
COMMENT ON FUNCTION prm._machine_defined() IS 'Marks the version of a machine that was in force as one that still has rows, when a new version is made.';
CREATE OR REPLACE TRIGGER prm_machine_defined AFTER INSERT ON prm.machine
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._machine_defined();

-- Every way to change a state goes through these. The names sort before booking (prm_20), accrual (prm_30) and tiers (prm_40).
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.lead
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('lead', 'lead_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.lead
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('lead', 'lead_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.deal
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('deal', 'deal_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.deal
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('deal', 'deal_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_insert AFTER INSERT ON prm.partner
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('partner', 'partner_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_update AFTER UPDATE ON prm.partner
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('partner', 'partner_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON prm.lead
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('lead', 'lead_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.lead
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('lead', 'lead_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON prm.deal
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('deal', 'deal_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.deal
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('deal', 'deal_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_delete AFTER DELETE ON prm.partner
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('partner', 'partner_id', 'state');
CREATE OR REPLACE TRIGGER prm_10_machine_truncate BEFORE TRUNCATE ON prm.partner
  FOR EACH STATEMENT EXECUTE FUNCTION prm.machine_trigger('partner', 'partner_id', 'state');
CREATE OR REPLACE TRIGGER prm_00_deal_row BEFORE INSERT OR UPDATE ON prm.deal
  FOR EACH ROW EXECUTE FUNCTION prm.deal_row();
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.state_history
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();

-- What makes prm._state_entered() follow a change of state. The compiled machine asks here and nowhere else; NULL means any.
-- Whoever gives that function something more to do adds a branch.
CREATE OR REPLACE VIEW prm._machine_follow WITH (security_invoker = true) AS
  SELECT r.program_id, r.source AS machine, NULL::integer AS version, r.event, NULL::text AS from_state, r.to_state, false AS on_delete
  FROM prm.outbox_rule r WHERE r.is_active
  UNION ALL
  SELECT t.program_id, t.machine, t.version, t.event, t.from_state, t.to_state, false
  FROM prm.machine_transition t WHERE t.creates IS NOT NULL
  UNION ALL
  SELECT k.program_id, k.machine, NULL, k.event, k.from_state, k.to_state, false
  FROM prm.machine_hook k WHERE k.is_active
  UNION ALL
  SELECT s.program_id, s.machine, s.version, NULL, NULL, s.state, false
  FROM prm.machine_state s WHERE s.is_paused OR s.after <> '{}'
  UNION ALL
  SELECT s.program_id, s.machine, s.version, NULL, s.state, NULL, true
  FROM prm.machine_state s WHERE s.is_paused OR s.after <> '{}';
COMMENT ON VIEW prm._machine_follow IS 'Which changes of state prm._state_entered() is called for; not for direct use.';
COMMENT ON COLUMN prm._machine_follow.program_id IS 'The programme.';
COMMENT ON COLUMN prm._machine_follow.machine IS 'The machine.';
COMMENT ON COLUMN prm._machine_follow.version IS 'Only this version; NULL: any.';
COMMENT ON COLUMN prm._machine_follow.event IS 'Only this event; NULL: any, and first states.';
COMMENT ON COLUMN prm._machine_follow.from_state IS 'Only on leaving this state; NULL: any, and first states.';
COMMENT ON COLUMN prm._machine_follow.to_state IS 'Only on entering this state; NULL: any.';
COMMENT ON COLUMN prm._machine_follow.on_delete IS 'Whether it also follows the deletion of a row in from_state (NULL: in any), as a change to no state.';

CREATE OR REPLACE VIEW prm.v_state_history WITH (security_invoker = true) AS
  SELECT h.program_id, h.history_id, h.machine, h.machine_version, h.subject_id, h.subject_uuid, h.event, h.from_state,
    coalesce(f.label, h.from_state) AS from_label, h.to_state, coalesce(t.label, h.to_state) AS to_label, t.category,
    t.is_final, h.actor, h.actor_kind, h.partner_id, h.reason, h.at, h.recorded_at
  FROM prm.state_history h
  LEFT JOIN prm.machine_state f ON f.program_id = h.program_id AND f.machine = h.machine AND f.version = h.machine_version
    AND f.state = h.from_state
  LEFT JOIN prm.machine_state t ON t.program_id = h.program_id AND t.machine = h.machine AND t.version = h.machine_version
    AND t.state = h.to_state;
COMMENT ON VIEW prm.v_state_history IS 'The history of states with the labels of the states, a row per change, for every machine.';
COMMENT ON COLUMN prm.v_state_history.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_state_history.history_id IS 'Number of the entry; a later change of the same subject has a higher one.';
COMMENT ON COLUMN prm.v_state_history.machine IS 'The machine: lead, deal, partner.';
COMMENT ON COLUMN prm.v_state_history.machine_version IS 'The version of the machine that judged the change.';
COMMENT ON COLUMN prm.v_state_history.subject_id IS 'Key of the row whose state changed: lead_id, deal_id, partner_id.';
COMMENT ON COLUMN prm.v_state_history.subject_uuid IS 'Key of the row where it is a uuid; otherwise NULL.';
COMMENT ON COLUMN prm.v_state_history.event IS 'The event; NULL for a first state and for an import.';
COMMENT ON COLUMN prm.v_state_history.from_state IS 'The state before; NULL for the first one.';
COMMENT ON COLUMN prm.v_state_history.from_label IS 'Label of the state before.';
COMMENT ON COLUMN prm.v_state_history.to_state IS 'The state after.';
COMMENT ON COLUMN prm.v_state_history.to_label IS 'Label of the state after.';
COMMENT ON COLUMN prm.v_state_history.category IS 'Category of the state after, such as won and lost.';
COMMENT ON COLUMN prm.v_state_history.is_final IS 'Whether no event leaves the state after.';
COMMENT ON COLUMN prm.v_state_history.actor IS 'Who caused it: the setting prm.actor, else the role.';
COMMENT ON COLUMN prm.v_state_history.actor_kind IS 'partner, vendor, system or import.';
COMMENT ON COLUMN prm.v_state_history.partner_id IS 'The acting partner; NULL for everybody else.';
COMMENT ON COLUMN prm.v_state_history.reason IS 'The reason that was given.';
COMMENT ON COLUMN prm.v_state_history.at IS 'When it took effect; an import gives a past moment.';
COMMENT ON COLUMN prm.v_state_history.recorded_at IS 'When it was written, wall clock.';

COMMENT ON TABLE prm.machine IS 'State machines by version. Written by define_machine(); the version in force is the one with is_current.';
COMMENT ON COLUMN prm.machine.machine IS 'Name: lead, deal, partner, or one of your own; small letters, digits, underscores.';
COMMENT ON COLUMN prm.machine.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN prm.machine.definition IS 'The definition as it was given.';
COMMENT ON COLUMN prm.machine.is_current IS 'Whether this version is in force; at most one is.';
COMMENT ON COLUMN prm.machine.has_rows IS 'Of a version that is not in force: whether rows that are not in a final state may still be on it. Set by define_machine(), looked at again by migrate_subjects(), and by run_jobs() once per business day.';
COMMENT ON COLUMN prm.machine.created_by IS 'The role that defined it.';
COMMENT ON TABLE prm.machine_state IS 'The states of a version of a machine.';
COMMENT ON COLUMN prm.machine_state.machine IS 'The machine.';
COMMENT ON COLUMN prm.machine_state.version IS 'Its version.';
COMMENT ON COLUMN prm.machine_state.state IS 'Name of the state, as it stands in the rows.';
COMMENT ON COLUMN prm.machine_state.is_initial IS 'Whether rows begin here; exactly one state of a version is initial.';
COMMENT ON COLUMN prm.machine_state.is_final IS 'Whether no event leaves it.';
COMMENT ON COLUMN prm.machine_state.category IS 'What it counts as, such as won and lost; metrics go by it.';
COMMENT ON COLUMN prm.machine_state.label IS 'Name for people.';
COMMENT ON COLUMN prm.machine_state.position IS 'Order for people: by distance from the initial state, final states last.';
COMMENT ON COLUMN prm.machine_state.after IS 'Deadlines: duration text (P2D, business:8h) to what then happens: {"event": e}, {"escalate": n} or {"warn": true}.';
COMMENT ON COLUMN prm.machine_state.is_paused IS 'Whether clocks stop while a row is in the state.';
COMMENT ON COLUMN prm.machine_state.review IS 'What reviewers must decide before a row leaves the state: {"role": r, "quorum": 1, "of": 1, "accept": event, "return": event}; NULL: nothing.';
COMMENT ON TABLE prm.machine_transition IS 'What may happen next: the events out of each state of a version of a machine.';
COMMENT ON COLUMN prm.machine_transition.machine IS 'The machine.';
COMMENT ON COLUMN prm.machine_transition.version IS 'Its version.';
COMMENT ON COLUMN prm.machine_transition.from_state IS 'The state that the event leaves.';
COMMENT ON COLUMN prm.machine_transition.event IS 'Name of the event; once per state.';
COMMENT ON COLUMN prm.machine_transition.to_state IS 'The state that it leads to; may be the same one.';
COMMENT ON COLUMN prm.machine_transition.actor IS 'Who may send it: partner, vendor, system, any.';
COMMENT ON COLUMN prm.machine_transition.required IS 'Columns, or attributes.x, that must be neither NULL nor blank.';
COMMENT ON COLUMN prm.machine_transition.guard IS 'Condition over the row as jsonpath, such as $.budget >= 1000; only a clear true lets the event pass.';
COMMENT ON COLUMN prm.machine_transition.needs_reason IS 'Whether a reason must be given: by fire(), or SET LOCAL prm.reason.';
COMMENT ON COLUMN prm.machine_transition.creates IS 'What it creates: deal, for leads that become one.';
COMMENT ON TABLE prm.machine_target IS 'Tables of the user''s that a machine serves, one per machine and programme. Written by attach_machine() and detach_machine(), only by the owner of schema prm, with whose rights the history of such a table is written.';
COMMENT ON COLUMN prm.machine_target.machine IS 'The machine.';
COMMENT ON COLUMN prm.machine_target.target IS 'The table; partitioned ones are named at the top.';
COMMENT ON COLUMN prm.machine_target.key_column IS 'Its column with the key: bigint, integer, smallint or uuid.';
COMMENT ON COLUMN prm.machine_target.state_column IS 'Its column with the state.';
COMMENT ON COLUMN prm.machine_target.program_column IS 'Its column with the programme; NULL: all its rows belong to this programme.';
COMMENT ON COLUMN prm.machine_target.attached_by IS 'The role that attached it.';
COMMENT ON COLUMN prm.machine_target.attached_at IS 'When, wall clock.';
COMMENT ON TABLE prm.state_history IS 'Every change of state of every machine, in the transaction that made it. Append-only: UPDATE, DELETE and TRUNCATE are refused (55000); rows go only with their subject, where the machine''s definition says "on_delete": "cascade".';
COMMENT ON COLUMN prm.state_history.history_id IS 'Number of the entry; a later change of the same subject has a higher one.';
COMMENT ON COLUMN prm.state_history.machine IS 'The machine.';
COMMENT ON COLUMN prm.state_history.machine_version IS 'The version of the machine that judged the change.';
COMMENT ON COLUMN prm.state_history.subject_id IS 'Key of the row: lead_id, deal_id, partner_id; NULL where the key is a uuid.';
COMMENT ON COLUMN prm.state_history.subject_uuid IS 'Key of the row where it is a uuid; exactly one of the two is filled.';
COMMENT ON COLUMN prm.state_history.event IS 'The event; NULL for a first state and for an import.';
COMMENT ON COLUMN prm.state_history.from_state IS 'The state before; NULL for the first one.';
COMMENT ON COLUMN prm.state_history.to_state IS 'The state after.';
COMMENT ON COLUMN prm.state_history.actor IS 'Who caused it: the setting prm.actor, else the role.';
COMMENT ON COLUMN prm.state_history.actor_kind IS 'partner, vendor, system (hooks and jobs) or import (a historical state, without the path that led there).';
COMMENT ON COLUMN prm.state_history.partner_id IS 'The acting partner; NULL for everybody else.';
COMMENT ON COLUMN prm.state_history.reason IS 'The reason that was given.';
COMMENT ON COLUMN prm.state_history.at IS 'When it took effect, prm.now(); an import gives the row''s closed_at or created_at.';
