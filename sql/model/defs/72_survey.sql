
-- Surveys: what follows from an answer, the due list, and the scores as views.

COMMENT ON COLUMN prm.task.partner_id IS 'The partner whose people are to do it, and who reads it; NULL: it is for the vendor''s people, whomever it is about (machine, subject_id), and no partner reads it.';
COMMENT ON COLUMN prm.task.cause_key IS 'What caused it, where one cause makes one task: nps/17, drop/4 ...';

COMMENT ON TABLE prm.survey IS 'Surveys with one recommendation question, of the customers about their partner, or of the partner''s people about the vendor.';
COMMENT ON COLUMN prm.survey.survey IS 'The survey.';
COMMENT ON COLUMN prm.survey.label IS 'Name for people.';
COMMENT ON COLUMN prm.survey.question IS 'What is asked.';
COMMENT ON COLUMN prm.survey.asks IS 'customer: who bought through a partner, about it. partner: the active people of the partners.';
COMMENT ON COLUMN prm.survey.partner_kind IS 'Only partners of this kind; NULL: all.';
COMMENT ON COLUMN prm.survey.channel IS 'The channel of the messages that ask: email, whatsapp ...';
COMMENT ON COLUMN prm.survey.every IS 'How often run_jobs() opens a wave, one day or more; NULL: only by open_survey_wave().';
COMMENT ON COLUMN prm.survey.open_days IS 'How many days a wave takes answers.';
COMMENT ON COLUMN prm.survey.spread_days IS 'The asks of a wave are spread over this many further days; 0: all on the first.';
COMMENT ON COLUMN prm.survey.min_gap_days IS 'Nobody is asked again, by any survey, within this many days.';
COMMENT ON COLUMN prm.survey.min_answers IS 'Anonymity: views and metrics show nothing of fewer answers than this, v_nps also nothing from which that could be reckoned.';
COMMENT ON COLUMN prm.survey.alert_to IS 'For whom the task is that a detractor opens: owner (the vendor''s people, see alert_role), partner (its people), none.';
COMMENT ON COLUMN prm.survey.alert_role IS 'The database role whose members do the task; NULL: anybody.';
COMMENT ON COLUMN prm.survey.alert_due IS 'When the task is due, from the answer on.';
COMMENT ON COLUMN prm.survey.is_active IS 'False: no new waves and no messages; answers are still taken.';

COMMENT ON TABLE prm.survey_wave IS 'A round of a survey.';
COMMENT ON COLUMN prm.survey_wave.survey_wave_id IS 'Number of the wave.';
COMMENT ON COLUMN prm.survey_wave.survey IS 'The survey.';
COMMENT ON COLUMN prm.survey_wave.starts_on IS 'Its first day.';
COMMENT ON COLUMN prm.survey_wave.ends_on IS 'The day after its last: the wave is [starts_on, ends_on).';

COMMENT ON TABLE prm.survey_ask IS 'The due lists of the waves: who is to be asked, when, by which channel.';
COMMENT ON COLUMN prm.survey_ask.survey_ask_id IS 'Number of the ask.';
COMMENT ON COLUMN prm.survey_ask.survey_wave_id IS 'The wave.';
COMMENT ON COLUMN prm.survey_ask.survey IS 'The survey.';
COMMENT ON COLUMN prm.survey_ask.partner_id IS 'The partner it is about, or whose people are asked.';
COMMENT ON COLUMN prm.survey_ask.partner_user_id IS 'The person of the partner that is asked; NULL where a customer is.';
COMMENT ON COLUMN prm.survey_ask.customer_id IS 'The customer that is asked; NULL where somebody of the partner is.';
COMMENT ON COLUMN prm.survey_ask.channel IS 'By which channel.';
COMMENT ON COLUMN prm.survey_ask.due_at IS 'Not to be asked before.';
COMMENT ON COLUMN prm.survey_ask.asked_at IS 'When the message that asks was written; NULL: not yet.';

COMMENT ON TABLE prm.survey_response IS 'The answers, raw: scores are never averaged, classes never stored.';
COMMENT ON COLUMN prm.survey_response.survey_response_id IS 'Number of the answer.';
COMMENT ON COLUMN prm.survey_response.survey IS 'The survey.';
COMMENT ON COLUMN prm.survey_response.survey_wave_id IS 'The wave; NULL for an answer outside of one.';
COMMENT ON COLUMN prm.survey_response.survey_ask_id IS 'The row of the due list that it answers; one answer each.';
COMMENT ON COLUMN prm.survey_response.partner_id IS 'The partner it is about, or whose people answered.';
COMMENT ON COLUMN prm.survey_response.partner_user_id IS 'Who of the partner answered, where it is known.';
COMMENT ON COLUMN prm.survey_response.customer_id IS 'Which customer answered, where it is known.';
COMMENT ON COLUMN prm.survey_response.score IS 'The answer, 0 to 10.';
COMMENT ON COLUMN prm.survey_response.comment IS 'What was said besides.';
COMMENT ON COLUMN prm.survey_response.answered_at IS 'When it was answered.';

CREATE OR REPLACE FUNCTION prm._survey_answered() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
BEGIN
  -- The answers first, alone; a detractor is rare, so the rest is looked up by key.
  FOR batch IN SELECT n.program_id, array_agg(n.survey_response_id ORDER BY n.survey_response_id) AS ids FROM new_rows n WHERE n.score <= 6 GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    INSERT INTO prm.task (program_id, role_name, title, detail, machine, subject_id, partner_id, cause_key, created_by, created_at, due_at)
      SELECT batch.program_id, s.alert_role, format('Unhappy answer (%s of 10) about %s', r.score, p.name),
        concat_ws(': ', format('Survey "%s"', s.label), nullif(btrim(r.comment), '')), 'partner', r.partner_id,
        CASE WHEN s.alert_to = 'partner' THEN r.partner_id END, format('nps/%s', r.survey_response_id), prm.current_actor(), prm.now(), r.answered_at + s.alert_due
      FROM prm.survey_response r
      JOIN prm.survey s ON s.program_id = batch.program_id AND s.survey = r.survey
      JOIN prm.partner p ON p.program_id = batch.program_id AND p.partner_id = r.partner_id
      WHERE r.program_id = batch.program_id AND r.survey_response_id = ANY (batch.ids) AND s.alert_to <> 'none'
      ORDER BY r.survey_response_id
      ON CONFLICT (program_id, cause_key) DO NOTHING;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._survey_answered() FROM PUBLIC;
COMMENT ON FUNCTION prm._survey_answered() IS 'Statement trigger of survey_response: one alert task for each detractor, for the owner or the partner, as its survey says.';
CREATE OR REPLACE TRIGGER prm_10_alert AFTER INSERT ON prm.survey_response
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._survey_answered();

CREATE OR REPLACE VIEW prm.v_survey_due WITH (security_invoker = true) AS
  SELECT a.program_id, a.survey_ask_id, a.survey, a.survey_wave_id, a.partner_id, p.name AS partner, a.partner_user_id, a.customer_id,
    coalesce(u.name, c.name) AS person, u.email, a.channel, a.due_at, a.asked_at, a.due_at <= prm.now() AND a.asked_at IS NULL AS is_due
  FROM prm.survey_ask a
  JOIN prm.survey_wave w ON w.program_id = a.program_id AND w.survey_wave_id = a.survey_wave_id
  JOIN prm.program g ON g.program_id = a.program_id
  JOIN prm.partner p ON p.program_id = a.program_id AND p.partner_id = a.partner_id
  LEFT JOIN prm.partner_user u ON u.program_id = a.program_id AND u.partner_user_id = a.partner_user_id
  LEFT JOIN prm.customer c ON c.program_id = a.program_id AND c.customer_id = a.customer_id
  WHERE w.ends_on > (prm.now() AT TIME ZONE g.time_zone)::date
    AND NOT EXISTS (SELECT 1 FROM prm.survey_response r WHERE r.program_id = a.program_id AND r.survey_ask_id = a.survey_ask_id);
COMMENT ON VIEW prm.v_survey_due IS 'Who is still to answer in the waves that are open or to come: the due list.';
COMMENT ON COLUMN prm.v_survey_due.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_survey_due.survey_ask_id IS 'Number of the ask; nps_response() takes it.';
COMMENT ON COLUMN prm.v_survey_due.survey IS 'The survey.';
COMMENT ON COLUMN prm.v_survey_due.survey_wave_id IS 'The wave.';
COMMENT ON COLUMN prm.v_survey_due.partner_id IS 'The partner.';
COMMENT ON COLUMN prm.v_survey_due.partner IS 'Its name.';
COMMENT ON COLUMN prm.v_survey_due.partner_user_id IS 'The person of the partner that is asked.';
COMMENT ON COLUMN prm.v_survey_due.customer_id IS 'The customer that is asked.';
COMMENT ON COLUMN prm.v_survey_due.person IS 'The name of either.';
COMMENT ON COLUMN prm.v_survey_due.email IS 'The address of the partner''s person, where it is known.';
COMMENT ON COLUMN prm.v_survey_due.channel IS 'By which channel.';
COMMENT ON COLUMN prm.v_survey_due.due_at IS 'Not to be asked before.';
COMMENT ON COLUMN prm.v_survey_due.asked_at IS 'When the message was written.';
COMMENT ON COLUMN prm.v_survey_due.is_due IS 'Whether the time has come and nobody has asked.';

CREATE OR REPLACE VIEW prm.v_nps WITH (security_invoker = true) AS
  SELECT p.program_id, g.survey, g.dimension, g.member, g.partner_id, g.survey_wave_id,
    CASE WHEN NOT g.is_hidden THEN g.answers END AS answers,
    CASE WHEN NOT g.is_hidden THEN g.promoters END AS promoters,
    CASE WHEN NOT g.is_hidden THEN g.answers - g.promoters - g.detractors END AS passives,
    CASE WHEN NOT g.is_hidden THEN g.detractors END AS detractors,
    CASE WHEN NOT g.is_hidden THEN round(g.score, 4) END AS nps,
    CASE WHEN NOT g.is_hidden THEN round(g.margin, 4) END AS margin,
    g.is_hidden
  FROM prm.program p
  CROSS JOIN LATERAL prm._nps_groups(p.program_id) g;
COMMENT ON VIEW prm.v_nps IS 'Net promoter scores of each survey: of all answers, and for each partner, wave, partner in a wave, month, kind of partner, tier, country and customer segment. Groups with fewer answers than the survey''s min_answers are shown without figures, and so are as many of the smallest others that no hidden one, and nothing of fewer answers, is what remains when the figures shown are subtracted from each other: see _nps_hidden().';
COMMENT ON COLUMN prm.v_nps.program_id IS 'The programme.';
COMMENT ON COLUMN prm.v_nps.survey IS 'The survey.';
COMMENT ON COLUMN prm.v_nps.dimension IS 'What the answers are grouped by: all, partner, wave, partner_wave, month, partner_kind, tier, country (of the customer, else the partner), customer_segment.';
COMMENT ON COLUMN prm.v_nps.member IS 'Which one of these; months are YYYY-MM in the programme''s time zone.';
COMMENT ON COLUMN prm.v_nps.partner_id IS 'The partner, where the group is of one.';
COMMENT ON COLUMN prm.v_nps.survey_wave_id IS 'The wave, where the group is of one.';
COMMENT ON COLUMN prm.v_nps.answers IS 'How many answered.';
COMMENT ON COLUMN prm.v_nps.promoters IS 'Answers of 9 and 10.';
COMMENT ON COLUMN prm.v_nps.passives IS 'Answers of 7 and 8.';
COMMENT ON COLUMN prm.v_nps.detractors IS 'Answers of 0 to 6.';
COMMENT ON COLUMN prm.v_nps.nps IS 'Percentage of promoters less that of detractors, -100 to 100.';
COMMENT ON COLUMN prm.v_nps.margin IS 'Margin of error at 95 %, in points; NULL for one answer.';
COMMENT ON COLUMN prm.v_nps.is_hidden IS 'Whether no figures are shown: there are too few answers, or they would tell those of a group that has too few.';
