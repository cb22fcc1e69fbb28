
-- Criteria: the checks and the history of answers, and how partners qualify.

COMMENT ON COLUMN prm.machine_transition.needs_criteria IS 'Whether the event waits for the required criteria of the lead (key "criteria" of the definition).';
COMMENT ON TABLE prm.lead_criterion IS 'What is asked about a lead before it counts as qualified, by programme. Answers are given by answer_criteria().';
COMMENT ON COLUMN prm.lead_criterion.criterion IS 'Short name: small letters, digits, underscores.';
COMMENT ON COLUMN prm.lead_criterion.kind IS 'text, number, date, boolean, or choice (one of allowed_values). Fixed once there are answers.';
COMMENT ON COLUMN prm.lead_criterion.label IS 'The question for people.';
COMMENT ON COLUMN prm.lead_criterion.required IS 'Whether a transition with "criteria": true waits for an answer.';
COMMENT ON COLUMN prm.lead_criterion.allowed_values IS 'The answers that are allowed, as text (dates as YYYY-MM-DD); NULL: any. Needed for choice, not for boolean.';
COMMENT ON COLUMN prm.lead_criterion.position IS 'Place in the form.';
COMMENT ON COLUMN prm.lead_criterion.is_active IS 'False: no longer asked; its answers stay.';
COMMENT ON COLUMN prm.lead_criterion.valid_from IS 'First business day on which it is asked; NULL: always.';
COMMENT ON COLUMN prm.lead_criterion.valid_until IS 'Last business day on which it is asked; NULL: without end.';
COMMENT ON TABLE prm.lead_answer IS 'The present answers to the criteria: one row per lead and criterion, the value in the column of its kind.';
COMMENT ON COLUMN prm.lead_answer.lead_id IS 'The lead.';
COMMENT ON COLUMN prm.lead_answer.criterion IS 'The criterion.';
COMMENT ON COLUMN prm.lead_answer.kind IS 'The kind of the criterion; filled by the model.';
COMMENT ON COLUMN prm.lead_answer.text_value IS 'The answer to a criterion of kind text or choice.';
COMMENT ON COLUMN prm.lead_answer.number_value IS 'The answer to a criterion of kind number, finite.';
COMMENT ON COLUMN prm.lead_answer.date_value IS 'The answer to a criterion of kind date.';
COMMENT ON COLUMN prm.lead_answer.boolean_value IS 'The answer to a criterion of kind boolean.';
COMMENT ON COLUMN prm.lead_answer.partner_id IS 'The partner of the lead; filled by the model and moved with the lead.';
COMMENT ON COLUMN prm.lead_answer.answered_by IS 'Who answered: the setting prm.actor, else the role.';
COMMENT ON COLUMN prm.lead_answer.answered_at IS 'When it was answered, prm.now().';
COMMENT ON TABLE prm.lead_answer_history IS 'Every answer that was given, changed or withdrawn. Append-only (55000).';
COMMENT ON COLUMN prm.lead_answer_history.lead_answer_history_id IS 'Number of the entry; later ones are higher.';
COMMENT ON COLUMN prm.lead_answer_history.lead_id IS 'The lead.';
COMMENT ON COLUMN prm.lead_answer_history.criterion IS 'The criterion.';
COMMENT ON COLUMN prm.lead_answer_history.kind IS 'The kind of the criterion.';
COMMENT ON COLUMN prm.lead_answer_history.action IS 'given, changed or withdrawn; a withdrawn entry shows the answer that went.';
COMMENT ON COLUMN prm.lead_answer_history.text_value IS 'The answer, kinds text and choice.';
COMMENT ON COLUMN prm.lead_answer_history.number_value IS 'The answer, kind number.';
COMMENT ON COLUMN prm.lead_answer_history.date_value IS 'The answer, kind date.';
COMMENT ON COLUMN prm.lead_answer_history.boolean_value IS 'The answer, kind boolean.';
COMMENT ON COLUMN prm.lead_answer_history.partner_id IS 'The partner of the lead.';
COMMENT ON COLUMN prm.lead_answer_history.answered_by IS 'Who did it: the setting prm.actor, else the role.';
COMMENT ON COLUMN prm.lead_answer_history.answered_at IS 'When it was done, prm.now().';

-- The machine is compiled again: only while a programme asks anything do its transitions pay for the check.
CREATE OR REPLACE TRIGGER prm_definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON prm.lead_criterion
  FOR EACH STATEMENT EXECUTE FUNCTION prm.definition_changed();
ALTER TABLE prm.lead_criterion ENABLE ALWAYS TRIGGER prm_definition_changed;

CREATE OR REPLACE FUNCTION prm._lead_criterion_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_value text;
  the_fault text;
BEGIN
  IF NEW.kind = 'choice' AND coalesce(cardinality(NEW.allowed_values), 0) = 0 THEN
    the_fault := 'a choice needs allowed_values';
  ELSIF NEW.allowed_values = '{}' THEN
    the_fault := 'allowed_values is empty, so nothing could be answered';
  ELSIF NEW.kind = 'boolean' AND NEW.allowed_values IS NOT NULL THEN
    the_fault := 'a boolean has no allowed_values';
  ELSE
    FOREACH the_value IN ARRAY coalesce(NEW.allowed_values, '{}')
    LOOP
      BEGIN
        IF coalesce(btrim(the_value), '') = '' THEN
          the_fault := 'one of the allowed_values is blank';
        ELSIF NEW.kind = 'number' AND the_value::numeric IN ('NaN', 'Infinity', '-Infinity') THEN
          the_fault := format('the allowed value "%s" is no finite number', the_value);
        ELSIF NEW.kind = 'date' AND (the_value !~ '^\d{4}-\d{2}-\d{2}$' OR the_value::date IS NULL) THEN
          the_fault := format('the allowed value "%s" is no date', the_value);
        END IF;
      EXCEPTION WHEN data_exception THEN
        the_fault := format('the allowed value "%s" is no %s', the_value, NEW.kind);
      END;
    END LOOP;
  END IF;
  IF the_fault IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('criterion "%s": %s', NEW.criterion, the_fault),
      DETAIL = format('Its kind is %s.', NEW.kind),
      HINT = 'List the answers as texts, like ''{yes,no}'', numbers like ''{10,20}'', dates like ''{2026-06-30}''.',
      SCHEMA = 'prm', TABLE = 'lead_criterion', COLUMN = 'allowed_values';
  END IF;
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._lead_criterion_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._lead_criterion_row() IS 'Refuses a criterion whose allowed values do not fit its kind (22023).';
CREATE OR REPLACE TRIGGER prm_lead_criterion_row BEFORE INSERT OR UPDATE ON prm.lead_criterion
  FOR EACH ROW EXECUTE FUNCTION prm._lead_criterion_row();

-- Not with the owner's rights: a partner's policies decide which leads it finds here.
CREATE OR REPLACE FUNCTION prm._lead_answer_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_partner bigint;
  the_acting bigint;
  the_column text;
  the_given text[];
  question record;
BEGIN
  SELECT l.partner_id INTO the_partner FROM prm.lead l WHERE l.program_id = NEW.program_id AND l.lead_id = NEW.lead_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('lead %s does not exist in programme %s', NEW.lead_id, NEW.program_id),
      DETAIL = 'No row of prm.lead that you may see has this key.', HINT = 'Answer for a lead that exists and is yours.',
      SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = 'lead_id';
  END IF;
  NEW.partner_id := the_partner;
  IF TG_OP = 'UPDATE' AND (OLD.lead_id, OLD.criterion, OLD.text_value, OLD.number_value, OLD.date_value, OLD.boolean_value)
     IS NOT DISTINCT FROM (NEW.lead_id, NEW.criterion, NEW.text_value, NEW.number_value, NEW.date_value, NEW.boolean_value) THEN
    NEW.kind := OLD.kind;
    NEW.answered_by := OLD.answered_by;
    NEW.answered_at := OLD.answered_at;
    RETURN NEW;
  END IF;

  the_acting := prm._acting_partner(NEW.program_id);
  IF the_acting IS NOT NULL AND the_acting IS DISTINCT FROM the_partner THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('lead %s is not of partner %s, who acts', NEW.lead_id, the_acting),
      DETAIL = 'A partner answers for its own leads only.', HINT = 'Let the lead''s partner or the vendor answer.',
      SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = 'lead_id';
  END IF;
  SELECT c.kind, c.allowed_values, c.is_active INTO question FROM prm.lead_criterion c
    WHERE c.program_id = NEW.program_id AND c.criterion = NEW.criterion;
  IF NOT FOUND OR NOT question.is_active THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('programme %s has no criterion "%s"', NEW.program_id, NEW.criterion),
      DETAIL = format('The criteria are %s.', coalesce((SELECT string_agg(k.criterion, ', ' ORDER BY k.position, k.criterion)
        FROM prm.lead_criterion k WHERE k.program_id = NEW.program_id AND k.is_active), 'none')),
      HINT = 'Correct the name, or add a row to prm.lead_criterion.', SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = 'criterion';
  END IF;
  the_column := CASE WHEN question.kind = 'choice' THEN 'text' ELSE question.kind END || '_value';
  the_given := array_remove(ARRAY[CASE WHEN NEW.text_value IS NOT NULL THEN 'text_value' END, CASE WHEN NEW.number_value IS NOT NULL THEN 'number_value' END,
    CASE WHEN NEW.date_value IS NOT NULL THEN 'date_value' END, CASE WHEN NEW.boolean_value IS NOT NULL THEN 'boolean_value' END], NULL);
  IF the_given <> ARRAY[the_column] THEN
    RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('the answer to criterion "%s" belongs into %s', NEW.criterion, the_column),
      DETAIL = format('The criterion is of the kind %s; filled is %s.', question.kind, coalesce(nullif(array_to_string(the_given, ', '), ''), 'nothing')),
      HINT = format('Fill %s and leave the other values NULL; prm.answer_criteria() does so by itself.', the_column),
      SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = the_column, CONSTRAINT = 'lead_answer_value_check';
  END IF;
  IF NEW.number_value IN ('NaN', 'Infinity', '-Infinity') OR NOT isfinite(NEW.date_value) OR btrim(NEW.text_value, E' \t\r\n') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('the answer to criterion "%s" is %s', NEW.criterion,
        CASE WHEN NEW.text_value IS NOT NULL THEN 'blank' ELSE 'not finite' END),
      DETAIL = format('The criterion is of the kind %s.', question.kind),
      HINT = 'Give the answer, or withdraw it: prm.answer_criteria() with null.', SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = the_column;
  END IF;
  IF question.allowed_values IS NOT NULL AND NOT (CASE question.kind
       WHEN 'number' THEN NEW.number_value = ANY (question.allowed_values::numeric[])
       WHEN 'date' THEN NEW.date_value = ANY (question.allowed_values::date[])
       ELSE NEW.text_value = ANY (question.allowed_values) END) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('"%s" is no allowed answer to criterion "%s"',
        coalesce(NEW.text_value, NEW.number_value::text, to_char(NEW.date_value, 'YYYY-MM-DD')), NEW.criterion),
      DETAIL = format('Allowed are %s.', array_to_string(question.allowed_values, ', ')),
      HINT = 'Choose one of them, or change allowed_values of the criterion.', SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = the_column;
  END IF;
  NEW.kind := question.kind;
  NEW.answered_by := prm.current_actor();
  NEW.answered_at := prm.now();
  RETURN NEW;
END
$prm$;
REVOKE ALL ON FUNCTION prm._lead_answer_row() FROM PUBLIC;
COMMENT ON FUNCTION prm._lead_answer_row() IS
'Checks an answer and fills kind, partner, who and when. Errors: 42704 no such lead, 42501 another partner''s lead, 22023 unknown criterion or value, 23514 value in the wrong column.';
CREATE OR REPLACE TRIGGER prm_lead_answer_row BEFORE INSERT OR UPDATE ON prm.lead_answer
  FOR EACH ROW EXECUTE FUNCTION prm._lead_answer_row();

CREATE OR REPLACE FUNCTION prm._lead_answer_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  INSERT INTO prm.lead_answer_history (program_id, lead_id, criterion, kind, action, text_value, number_value, date_value, boolean_value,
    partner_id, answered_by, answered_at)
  SELECT r.program_id, r.lead_id, r.criterion, r.kind, TG_ARGV[0], r.text_value, r.number_value, r.date_value, r.boolean_value, r.partner_id,
    CASE WHEN TG_ARGV[0] = 'withdrawn' THEN prm.current_actor() ELSE r.answered_by END,
    CASE WHEN TG_ARGV[0] = 'withdrawn' THEN prm.now() ELSE r.answered_at END
  FROM changed_rows r;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._lead_answer_history() FROM PUBLIC;
COMMENT ON FUNCTION prm._lead_answer_history() IS 'Writes answers that were given, changed or withdrawn to prm.lead_answer_history.';
CREATE OR REPLACE TRIGGER prm_lead_answer_given AFTER INSERT ON prm.lead_answer
  REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._lead_answer_history('given');
CREATE OR REPLACE TRIGGER prm_lead_answer_changed AFTER UPDATE ON prm.lead_answer
  REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._lead_answer_history('changed');
CREATE OR REPLACE TRIGGER prm_lead_answer_withdrawn AFTER DELETE ON prm.lead_answer
  REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._lead_answer_history('withdrawn');
CREATE OR REPLACE TRIGGER prm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm.lead_answer_history
  FOR EACH STATEMENT EXECUTE FUNCTION prm.append_only();

CREATE OR REPLACE FUNCTION prm._lead_partner_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  UPDATE prm.lead_answer a SET partner_id = NEW.partner_id WHERE a.program_id = NEW.program_id AND a.lead_id = NEW.lead_id;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._lead_partner_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._lead_partner_changed() IS 'Hands the answers of a lead to its new partner, whose row security would hide them otherwise.';
-- Only statements that set the partner look at it.
CREATE OR REPLACE TRIGGER prm_50_lead_partner AFTER UPDATE OF partner_id ON prm.lead
  FOR EACH ROW WHEN (OLD.partner_id IS DISTINCT FROM NEW.partner_id) EXECUTE FUNCTION prm._lead_partner_changed();

CREATE OR REPLACE VIEW prm.v_lead_answer WITH (security_invoker = true) AS
SELECT a.program_id, a.lead_id, l.company, l.state AS lead_state, a.partner_id, a.criterion, c.label, a.kind, c.required, c.is_active,
  coalesce(a.text_value, a.number_value::text, to_char(a.date_value, 'YYYY-MM-DD'), a.boolean_value::text) AS value,
  a.text_value, a.number_value, a.date_value, a.boolean_value, a.answered_by, a.answered_at
FROM prm.lead_answer a
JOIN prm.lead_criterion c ON c.program_id = a.program_id AND c.criterion = a.criterion
JOIN prm.lead l ON l.program_id = a.program_id AND l.lead_id = a.lead_id;
COMMENT ON VIEW prm.v_lead_answer IS 'The present answers to the criteria with their questions. One row per lead and answered criterion.';
COMMENT ON COLUMN prm.v_lead_answer.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead_answer.lead_id IS 'The lead.';
COMMENT ON COLUMN prm.v_lead_answer.company IS 'Company of the lead.';
COMMENT ON COLUMN prm.v_lead_answer.lead_state IS 'Present state of the lead.';
COMMENT ON COLUMN prm.v_lead_answer.partner_id IS 'The partner of the lead.';
COMMENT ON COLUMN prm.v_lead_answer.criterion IS 'The criterion.';
COMMENT ON COLUMN prm.v_lead_answer.label IS 'The question for people.';
COMMENT ON COLUMN prm.v_lead_answer.kind IS 'text, number, date, boolean or choice.';
COMMENT ON COLUMN prm.v_lead_answer.required IS 'Whether qualification waits for it.';
COMMENT ON COLUMN prm.v_lead_answer.is_active IS 'Whether it is still asked.';
COMMENT ON COLUMN prm.v_lead_answer.value IS 'The answer as text, whatever its kind.';
COMMENT ON COLUMN prm.v_lead_answer.text_value IS 'The answer, kinds text and choice.';
COMMENT ON COLUMN prm.v_lead_answer.number_value IS 'The answer, kind number.';
COMMENT ON COLUMN prm.v_lead_answer.date_value IS 'The answer, kind date.';
COMMENT ON COLUMN prm.v_lead_answer.boolean_value IS 'The answer, kind boolean.';
COMMENT ON COLUMN prm.v_lead_answer.answered_by IS 'Who answered.';
COMMENT ON COLUMN prm.v_lead_answer.answered_at IS 'When it was answered.';

CREATE OR REPLACE VIEW prm.v_lead_checklist WITH (security_invoker = true) AS
SELECT l.program_id, l.lead_id, l.partner_id, c.criterion, c.label, c.kind, c.required, array_to_string(c.allowed_values, ', ') AS allowed_values,
  c.position, a.lead_id IS NOT NULL AS is_answered,
  coalesce(a.text_value, a.number_value::text, to_char(a.date_value, 'YYYY-MM-DD'), a.boolean_value::text) AS value, a.answered_by, a.answered_at
FROM prm.lead l
JOIN prm.program p ON p.program_id = l.program_id
JOIN prm.lead_criterion c ON c.program_id = l.program_id AND c.is_active
  AND (prm.now() AT TIME ZONE p.time_zone)::date BETWEEN coalesce(c.valid_from, '-infinity') AND coalesce(c.valid_until, 'infinity')
LEFT JOIN prm.lead_answer a ON a.program_id = l.program_id AND a.lead_id = l.lead_id AND a.criterion = c.criterion;
COMMENT ON VIEW prm.v_lead_checklist IS 'The form of each lead: every criterion that is asked at present, answered or not. One row per lead and criterion.';
COMMENT ON COLUMN prm.v_lead_checklist.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead_checklist.lead_id IS 'The lead.';
COMMENT ON COLUMN prm.v_lead_checklist.partner_id IS 'The partner of the lead.';
COMMENT ON COLUMN prm.v_lead_checklist.criterion IS 'The criterion.';
COMMENT ON COLUMN prm.v_lead_checklist.label IS 'The question for people.';
COMMENT ON COLUMN prm.v_lead_checklist.kind IS 'text, number, date, boolean or choice.';
COMMENT ON COLUMN prm.v_lead_checklist.required IS 'Whether qualification waits for it.';
COMMENT ON COLUMN prm.v_lead_checklist.allowed_values IS 'The allowed answers; NULL: any.';
COMMENT ON COLUMN prm.v_lead_checklist.position IS 'Place in the form.';
COMMENT ON COLUMN prm.v_lead_checklist.is_answered IS 'Whether there is an answer.';
COMMENT ON COLUMN prm.v_lead_checklist.value IS 'The answer as text; NULL: not answered.';
COMMENT ON COLUMN prm.v_lead_checklist.answered_by IS 'Who answered.';
COMMENT ON COLUMN prm.v_lead_checklist.answered_at IS 'When it was answered.';

-- How partners qualify. What an import recorded without a path counts as received, and as converted where it was.
CREATE OR REPLACE VIEW prm.v_lead_qualification_month WITH (security_invoker = true) AS
WITH step AS (
  SELECT h.program_id, l.partner_id, h.subject_id AS lead_id, h.event, h.at, s.category,
    max(h.at) FILTER (WHERE h.event = 'qualify') OVER (PARTITION BY h.program_id, h.subject_id ORDER BY h.history_id) AS qualified_at
  FROM prm.state_history h
  JOIN prm.lead l ON l.program_id = h.program_id AND l.lead_id = h.subject_id
  LEFT JOIN prm.machine_state s ON s.program_id = h.program_id AND s.machine = h.machine AND s.version = h.machine_version AND s.state = h.to_state
  WHERE h.machine = 'lead' AND l.partner_id IS NOT NULL
), happening AS (
  SELECT l.program_id, l.partner_id, l.lead_id, 'receive' AS what, l.created_at AS at, NULL::numeric AS hours
  FROM prm.lead l WHERE l.partner_id IS NOT NULL
  UNION ALL
  SELECT t.program_id, t.partner_id, t.lead_id, CASE WHEN t.category = 'won' THEN 'convert' ELSE t.event END, t.at,
    CASE WHEN t.event = 'approve' THEN extract(epoch FROM t.at - t.qualified_at) / 3600 END
  FROM step t WHERE t.category = 'won' OR t.event IN ('qualify', 'return', 'approve')
)
SELECT h.program_id, h.partner_id, p.name AS partner, date_trunc('month', h.at AT TIME ZONE g.time_zone)::date AS month,
  count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'receive') AS received,
  count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'qualify') AS qualified,
  count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'return') AS returned,
  round(count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'return')::numeric / nullif(count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'qualify'), 0), 4) AS return_rate,
  count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'approve') AS approved,
  round((percentile_cont(0.5) WITHIN GROUP (ORDER BY h.hours::float8) FILTER (WHERE h.hours >= 0))::numeric, 2) AS approval_hours,
  round(count(*) FILTER (WHERE h.what = 'return')::numeric / nullif(count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'qualify'), 0), 4) AS rework,
  count(DISTINCT h.lead_id) FILTER (WHERE h.what = 'convert') AS converted
FROM happening h
JOIN prm.program g ON g.program_id = h.program_id
JOIN prm.partner p ON p.program_id = h.program_id AND p.partner_id = h.partner_id
GROUP BY h.program_id, h.partner_id, p.name, date_trunc('month', h.at AT TIME ZONE g.time_zone)::date;
COMMENT ON VIEW prm.v_lead_qualification_month IS
'Joint qualification by partner and month in which each thing happened: how many leads came, were qualified, returned, approved, converted. One row per partner and month with any of it.';
COMMENT ON COLUMN prm.v_lead_qualification_month.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead_qualification_month.partner_id IS 'The present partner of the leads.';
COMMENT ON COLUMN prm.v_lead_qualification_month.partner IS 'Name of the partner.';
COMMENT ON COLUMN prm.v_lead_qualification_month.month IS 'First day of the month, in the programme''s time zone.';
COMMENT ON COLUMN prm.v_lead_qualification_month.received IS 'Leads that came to be.';
COMMENT ON COLUMN prm.v_lead_qualification_month.qualified IS 'Leads that were qualified by their partner (event qualify).';
COMMENT ON COLUMN prm.v_lead_qualification_month.returned IS 'Leads that the vendor returned (event return).';
COMMENT ON COLUMN prm.v_lead_qualification_month.return_rate IS 'returned as a share of qualified; NULL where none was qualified; above 1 where leads of an earlier month came back.';
COMMENT ON COLUMN prm.v_lead_qualification_month.approved IS 'Leads that the vendor approved (event approve).';
COMMENT ON COLUMN prm.v_lead_qualification_month.approval_hours IS 'Median hours from the last qualification to the approval.';
COMMENT ON COLUMN prm.v_lead_qualification_month.rework IS 'Returns per qualified lead; a lead that was returned twice counts twice.';
COMMENT ON COLUMN prm.v_lead_qualification_month.converted IS 'Leads that reached a state of category won.';

CREATE OR REPLACE VIEW prm.v_lead_qualification WITH (security_invoker = true) AS
WITH step AS (
  SELECT h.program_id, h.subject_id AS lead_id, h.event, h.at, s.category,
    max(h.at) FILTER (WHERE h.event = 'qualify') OVER (PARTITION BY h.program_id, h.subject_id ORDER BY h.history_id) AS qualified_at
  FROM prm.state_history h
  LEFT JOIN prm.machine_state s ON s.program_id = h.program_id AND s.machine = h.machine AND s.version = h.machine_version AND s.state = h.to_state
  WHERE h.machine = 'lead' AND h.subject_id IS NOT NULL
), per_lead AS (
  SELECT t.program_id, t.lead_id, bool_or(t.event = 'qualify') AS qualified, count(*) FILTER (WHERE t.event = 'return') AS returns,
    bool_or(t.event = 'approve') AS approved, bool_or(t.category = 'won') AS converted,
    min(extract(epoch FROM t.at - t.qualified_at) / 3600) FILTER (WHERE t.event = 'approve') AS hours
  FROM step t GROUP BY t.program_id, t.lead_id
)
SELECT p.program_id, p.partner_id, p.name AS partner, count(l.lead_id) AS received,
  count(*) FILTER (WHERE q.qualified) AS qualified, count(*) FILTER (WHERE q.returns > 0) AS returned,
  round(count(*) FILTER (WHERE q.returns > 0)::numeric / nullif(count(*) FILTER (WHERE q.qualified), 0), 4) AS return_rate,
  count(*) FILTER (WHERE q.approved) AS approved,
  round((percentile_cont(0.5) WITHIN GROUP (ORDER BY q.hours::float8) FILTER (WHERE q.hours >= 0))::numeric, 2) AS approval_hours,
  round(sum(q.returns)::numeric / nullif(count(*) FILTER (WHERE q.qualified), 0), 4) AS rework,
  count(*) FILTER (WHERE q.converted) AS converted,
  round(count(*) FILTER (WHERE q.converted)::numeric / nullif(count(l.lead_id), 0), 4) AS conversion_rate
FROM prm.partner p
LEFT JOIN prm.lead l ON l.program_id = p.program_id AND l.partner_id = p.partner_id
LEFT JOIN per_lead q ON q.program_id = l.program_id AND q.lead_id = l.lead_id
GROUP BY p.program_id, p.partner_id, p.name;
COMMENT ON VIEW prm.v_lead_qualification IS
'Joint qualification by partner, over all time: how many of its leads were qualified, returned, approved and converted, how long approval took and how often work came back. One row per partner.';
COMMENT ON COLUMN prm.v_lead_qualification.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_lead_qualification.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_lead_qualification.partner IS 'Name of the partner.';
COMMENT ON COLUMN prm.v_lead_qualification.received IS 'Leads that the partner has at present.';
COMMENT ON COLUMN prm.v_lead_qualification.qualified IS 'Leads that were qualified by their partner (event qualify).';
COMMENT ON COLUMN prm.v_lead_qualification.returned IS 'Leads that the vendor returned at least once (event return).';
COMMENT ON COLUMN prm.v_lead_qualification.return_rate IS 'returned as a share of qualified, 0 to 1; NULL where none was qualified.';
COMMENT ON COLUMN prm.v_lead_qualification.approved IS 'Leads that the vendor approved (event approve).';
COMMENT ON COLUMN prm.v_lead_qualification.approval_hours IS 'Median hours from the last qualification to the approval.';
COMMENT ON COLUMN prm.v_lead_qualification.rework IS 'Average number of returns per qualified lead.';
COMMENT ON COLUMN prm.v_lead_qualification.converted IS 'Leads that reached a state of category won.';
COMMENT ON COLUMN prm.v_lead_qualification.conversion_rate IS 'converted as a share of received, 0 to 1.';
