
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
