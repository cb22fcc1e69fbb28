
-- Criteria: what the vendor asks of a lead before a partner may call it qualified. The questions are rows of
-- prm.lead_criterion, the answers rows of prm.lead_answer; a transition with "criteria": true waits for the required ones.

CREATE FUNCTION prm.answer_criteria(lead_id bigint, answers jsonb, program_id bigint DEFAULT prm.current_program()) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(answer_criteria.program_id);
  the_acting bigint := prm._acting_partner(the_program);
  the_partner bigint;
  the_unknown text;
  the_withdrawn text[] := '{}';
  the_names text[] := '{}';
  the_texts text[] := '{}';
  the_numbers numeric[] := '{}';
  the_dates date[] := '{}';
  the_booleans boolean[] := '{}';
  the_text text;
  the_date date;
  the_changed integer;
  the_count integer;
  answer record;
BEGIN
  IF answer_criteria.answers IS NULL OR jsonb_typeof(answer_criteria.answers) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the answers are no JSON object',
      DETAIL = 'Each key is a criterion, each value its answer; null withdraws an answer.',
      HINT = 'SELECT prm.answer_criteria(7, ''{"budget_approved": true}'').';
  END IF;
  SELECT l.partner_id INTO the_partner FROM prm.lead l WHERE l.program_id = the_program AND l.lead_id = answer_criteria.lead_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('lead %s does not exist in programme %s',
        coalesce(answer_criteria.lead_id::text, 'NULL'), the_program),
      DETAIL = 'No row of prm.lead that you may see has this key.',
      HINT = 'It may belong to another programme: pass program_id, or SET LOCAL prm.program_id.', SCHEMA = 'prm', TABLE = 'lead';
  END IF;
  IF the_acting IS NOT NULL AND the_acting IS DISTINCT FROM the_partner THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('lead %s is not of partner %s, who acts', answer_criteria.lead_id, the_acting),
      DETAIL = 'A partner answers for its own leads only.', HINT = 'Let the lead''s partner or the vendor answer.',
      SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = 'lead_id';
  END IF;
  SELECT k INTO the_unknown FROM jsonb_object_keys(answer_criteria.answers) k
    WHERE NOT EXISTS (SELECT 1 FROM prm.lead_criterion c WHERE c.program_id = the_program AND c.criterion = k) ORDER BY k LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('programme %s has no criterion "%s"', the_program, the_unknown),
      DETAIL = format('The criteria are %s.', coalesce((SELECT string_agg(c.criterion, ', ' ORDER BY c.position, c.criterion)
        FROM prm.lead_criterion c WHERE c.program_id = the_program AND c.is_active), 'none')),
      HINT = 'Correct the name, or add a row to prm.lead_criterion.', SCHEMA = 'prm', TABLE = 'lead_criterion', COLUMN = 'criterion';
  END IF;

  FOR answer IN
    SELECT a.key AS name, a.value, c.kind, jsonb_typeof(a.value) AS form
    FROM jsonb_each(answer_criteria.answers) a
    JOIN prm.lead_criterion c ON c.program_id = the_program AND c.criterion = a.key
    ORDER BY c.position, a.key
  LOOP
    IF answer.form = 'null' THEN
      the_withdrawn := the_withdrawn || answer.name;
      CONTINUE;
    END IF;
    the_text := answer.value #>> '{}';
    the_date := NULL;
    IF answer.kind = 'date' AND answer.form = 'string' AND the_text ~ '^\d{4}-\d{2}-\d{2}$' THEN
      BEGIN
        the_date := make_date(substr(the_text, 1, 4)::integer, substr(the_text, 6, 2)::integer, substr(the_text, 9, 2)::integer);
      EXCEPTION WHEN datetime_field_overflow THEN
        the_date := NULL;
      END;
    END IF;
    IF NOT (CASE answer.kind
             WHEN 'number' THEN answer.form = 'number' OR (answer.form = 'string' AND the_text ~ '^[+-]?(\d{1,100}(\.\d{0,100})?|\.\d{1,100})$')
             WHEN 'boolean' THEN answer.form = 'boolean' OR (answer.form = 'string' AND the_text IN ('true', 'false'))
             WHEN 'date' THEN the_date IS NOT NULL
             ELSE answer.form = 'string' END) THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is no answer to criterion "%s"', answer.value, answer.name),
        DETAIL = format('The criterion is of the kind %s.', answer.kind),
        HINT = CASE answer.kind WHEN 'number' THEN 'Give a number, like 1200.50.' WHEN 'boolean' THEN 'Give true or false.'
               WHEN 'date' THEN 'Give a date as text, like "2026-06-30".' ELSE 'Give a text.' END,
        SCHEMA = 'prm', TABLE = 'lead_answer', COLUMN = CASE WHEN answer.kind = 'choice' THEN 'text' ELSE answer.kind END || '_value';
    END IF;
    the_names := the_names || answer.name;
    the_texts := the_texts || CASE WHEN answer.kind IN ('text', 'choice') THEN the_text END;
    the_numbers := the_numbers || CASE WHEN answer.kind = 'number' THEN the_text::numeric END;
    the_dates := the_dates || the_date;
    the_booleans := the_booleans || CASE WHEN answer.kind = 'boolean' THEN the_text::boolean END;
  END LOOP;

  DELETE FROM prm.lead_answer a
    WHERE a.program_id = the_program AND a.lead_id = answer_criteria.lead_id AND a.criterion = ANY (the_withdrawn);
  GET DIAGNOSTICS the_changed = ROW_COUNT;
  -- The trigger of the table fills kind, partner and who answered.
  INSERT INTO prm.lead_answer AS a (program_id, lead_id, criterion, text_value, number_value, date_value, boolean_value)
  SELECT the_program, answer_criteria.lead_id, g.name, g.text_value, g.number_value, g.date_value, g.boolean_value
  FROM unnest(the_names, the_texts, the_numbers, the_dates, the_booleans) g(name, text_value, number_value, date_value, boolean_value)
  ON CONFLICT (program_id, lead_id, criterion) DO UPDATE
    SET text_value = excluded.text_value, number_value = excluded.number_value, date_value = excluded.date_value,
        boolean_value = excluded.boolean_value
    WHERE (a.text_value, a.number_value, a.date_value, a.boolean_value)
      IS DISTINCT FROM (excluded.text_value, excluded.number_value, excluded.date_value, excluded.boolean_value);
  GET DIAGNOSTICS the_count = ROW_COUNT;
  RETURN the_changed + the_count;
END
$prm$;
COMMENT ON FUNCTION prm.answer_criteria(bigint, jsonb, bigint) IS
'Answers criteria of a lead: {"criterion": answer, ...}; null withdraws an answer. Returns how many answers changed. A partner answers for its own leads only. Errors: 42704 no such lead, 22023 unknown criterion (the known ones are named), wrong kind, or a value that is not allowed, 42501 another partner''s lead.';
