
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.program
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.program ENABLE ALWAYS TRIGGER prm_definition_changed;
