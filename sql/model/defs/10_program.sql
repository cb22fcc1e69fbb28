
-- What every table has: the programme in force as default of program_id, and the same meaning of the same column.
PERFORM prm._apply_common();

COMMENT ON TABLE prm.model IS 'The steps of the model that were run in this database (step 0: the re-creatable part). Written by install() only.';
COMMENT ON COLUMN prm.model.step IS 'Number of the step; 0 stands for the re-creatable part.';
COMMENT ON COLUMN prm.model.name IS 'The function that ran.';
COMMENT ON COLUMN prm.model.fingerprint IS 'MD5 of the text that ran; for step 0 followed by the identity of the extension.';
COMMENT ON COLUMN prm.model.version IS 'Version of the code that ran it.';
COMMENT ON COLUMN prm.model.applied_at IS 'When it ran, wall clock.';

COMMENT ON TABLE prm.program IS 'Programmes: the tenants. A vendor runs one or several channel programmes; nothing is shared between them.';
COMMENT ON COLUMN prm.program.program_id IS 'Number of the programme; first column of every key of the model.';
COMMENT ON COLUMN prm.program.name IS 'Name for people.';
COMMENT ON COLUMN prm.program.template IS 'The template that create_program() began with.';
COMMENT ON COLUMN prm.program.currency IS 'Home currency of the programme, ISO 4217; metrics in money are in it.';
COMMENT ON COLUMN prm.program.time_zone IS 'Time zone in which business dates are taken, a name that the server knows.';
COMMENT ON COLUMN prm.program.fiscal_year_start IS 'Month in which the fiscal year begins, 1 to 12.';
COMMENT ON COLUMN prm.program.rounding IS 'How money is rounded: half_up (half away from zero) or half_even.';
COMMENT ON COLUMN prm.program.outbox_retention IS 'How long run_jobs() keeps delivered messages of prm.outbox, from done_at; NULL: for ever. What failed is kept until somebody deletes it.';
COMMENT ON COLUMN prm.program.timer_retention IS 'How long run_jobs() keeps the deadlines of stays that ended, fired or cancelled, from ended_at; NULL: for ever. The history of states is never purged.';
COMMENT ON COLUMN prm.program.book_by IS 'How a won deal is booked where it does not say so itself: deal (one earning event) or line (one for each line).';

COMMENT ON TABLE prm.access_grant IS 'Rights that grant_access() handed out to roles of this database.';
COMMENT ON COLUMN prm.access_grant.role_name IS 'The role.';
COMMENT ON COLUMN prm.access_grant.profile IS 'admin, manager, analyst, app or partner.';
COMMENT ON COLUMN prm.access_grant.granted_at IS 'When, wall clock.';

CREATE OR REPLACE TRIGGER prm_00_deleted BEFORE DELETE ON prm.program FOR EACH ROW EXECUTE FUNCTION prm.program_deleted();
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.program
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.program ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.access_grant
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.access_grant ENABLE ALWAYS TRIGGER prm_definition_changed;
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.partner_login
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.partner_login ENABLE ALWAYS TRIGGER prm_definition_changed;
