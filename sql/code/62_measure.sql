
-- Measures: what the built-in metrics count, each for many partners in one pass. A family of measures that come from the same rows
-- is one function; _metric_values() chooses it, names are the metrics and measures what each of them is. An array that is compared with
-- each row is written (SELECT x): PL/pgSQL keeps its arrays unfolded, and would fold them for every row.

CREATE TYPE prm.measure_kind AS (measure text, is_windowed boolean, default_window text, meaning text);
COMMENT ON TYPE prm.measure_kind IS 'A measure that metrics can have: whether it is counted over a window, the window it has where a metric names none, and what it means.';

CREATE FUNCTION prm._measures() RETURNS SETOF prm.measure_kind
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 30 SET search_path = pg_catalog, pg_temp AS $prm$
  VALUES ('revenue', true, 'rolling_12_months', 'won amount, in the programme''s currency; with a credit_type the partner''s share of it'),
    ('deals_won', true, 'rolling_12_months', 'won deals, in every currency; with a credit_type those in which the partner has a share'),
    ('win_rate', true, 'rolling_12_months', 'share of the closed deals that were won'),
    ('average_deal', true, 'rolling_12_months', 'average amount of a won deal, in the programme''s currency'),
    ('cycle_days', true, 'rolling_12_months', 'median days from the creation of a won deal until it closed'),
    ('open_pipeline', false, 'point', 'amount of the open deals, in the programme''s currency'),
    ('registrations_approved', true, 'rolling_12_months', 'deal registrations that were approved'),
    ('registrations_refused', true, 'rolling_12_months', 'deal registrations that were rejected'),
    ('registration_approval', true, 'rolling_12_months', 'share of the decided deal registrations that were approved'),
    ('leads', true, 'rolling_12_months', 'leads that came to it'),
    ('lead_acceptance', true, 'rolling_12_months', 'share of the leads that came to it which it took up: accepted or qualified'),
    ('return_rate', true, 'rolling_12_months', 'share of the leads it qualified that the vendor returned'),
    ('response_hours', true, 'rolling_12_months', 'median hours until a lead is first qualified'),
    ('certified_people', false, 'point', 'active people with a valid certificate'),
    ('training_coverage', false, 'point', 'share of its active people with a valid certificate'),
    ('active_people', false, 'point', 'its active people'),
    ('customer_nps', true, 'rolling_12_months', 'net promoter score by its customers'),
    ('partner_nps', true, 'rolling_12_months', 'net promoter score by its own people'),
    ('customer_churn', true, 'rolling_12_months', 'share of the customers with a subscription at the beginning who have none at the end'),
    ('buyer_churn', true, 'rolling_12_months', 'share of the customers who bought in the window before who did not buy in this one'),
    ('logins', true, 'rolling_30_days', 'logins to the portal'),
    ('content_use', true, 'rolling_30_days', 'material opened'),
    ('key_activities', true, 'rolling_30_days', 'key activities in the portal'),
    ('active_days', true, 'rolling_30_days', 'days with activity in the portal'),
    ('breaches', true, 'rolling_12_months', 'stays in a state where the partner was to act and let an escalation come due'),
    ('payout_disputes', true, 'rolling_12_months', 'disputes over its earnings that were opened')
$prm$;
COMMENT ON FUNCTION prm._measures() IS 'The measures that built-in metrics can have.';

CREATE TYPE prm.deal_total AS (partner_id bigint, won bigint, amount numeric);
COMMENT ON TYPE prm.deal_total IS 'A partner, how many deals it won, and the sum of their amounts in one currency; internal, of prm._deals_won().';

CREATE FUNCTION prm._deals_won_step(state internal, partner_id bigint, deal_state text, amount numeric, currency text, won text[], home text) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_deals_won_step';
COMMENT ON FUNCTION prm._deals_won_step(internal, bigint, text, numeric, text, text[], text) IS 'Adds a deal to prm._deals_won(). Not for direct use.';
CREATE FUNCTION prm._deals_won_final(state internal) RETURNS prm.deal_total[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_deals_won_final';
COMMENT ON FUNCTION prm._deals_won_final(internal) IS 'Result of prm._deals_won(). Not for direct use.';
CREATE FUNCTION prm._deals_won_combine("left" internal, "right" internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_deals_won_combine';
COMMENT ON FUNCTION prm._deals_won_combine(internal, internal) IS 'Joins two parts of prm._deals_won(). Not for direct use.';
CREATE FUNCTION prm._deals_won_serial(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_deals_won_serial';
COMMENT ON FUNCTION prm._deals_won_serial(internal) IS 'Sends a part of prm._deals_won() to another process. Not for direct use.';
CREATE FUNCTION prm._deals_won_deserial(part bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_deals_won_deserial';
COMMENT ON FUNCTION prm._deals_won_deserial(bytea, internal) IS 'Receives a part of prm._deals_won(). Not for direct use.';

CREATE AGGREGATE prm._deals_won(partner_id bigint, deal_state text, amount numeric, currency text, won text[], home text) (
  SFUNC = prm._deals_won_step, STYPE = internal, SSPACE = 262144,
  FINALFUNC = prm._deals_won_final, COMBINEFUNC = prm._deals_won_combine,
  SERIALFUNC = prm._deals_won_serial, DESERIALFUNC = prm._deals_won_deserial,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE prm._deals_won(bigint, text, numeric, text, text[], text) IS
'An element for each partner with deals whose state is one of won: how many, and the sum of those amounts that are in the currency home (NULL where none is), in no order. What count(*) and sum(amount) by partner give, in one call for each row.';

CREATE FUNCTION prm._measure_deals(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_ids bigint[] := _measure_deals.partner_ids;
  the_won text[] := prm._won_states(_measure_deals.program_id);
  the_currency text := prm._program_currency(_measure_deals.program_id);
  the_after timestamptz := (_measure_deals.span).after;
  the_until timestamptz := (_measure_deals.span).until;
BEGIN
  IF _measure_deals.partner_ids IS NULL AND NOT _measure_deals.measures && ARRAY['win_rate', 'average_deal'] THEN
    -- What tiers ask for most, with nothing that they do not: little more than the sum itself.
    RETURN QUERY
      SELECT i.partner_id, n.metric, coalesce(CASE n.measure WHEN 'revenue' THEN s.amount ELSE s.won::numeric END, 0), _measure_deals.moment
      FROM prm.partner i
      LEFT JOIN unnest((
        SELECT prm._deals_won(d.partner_id, d.state, d.amount, d.currency, (SELECT the_won)::text[], the_currency)
        FROM prm.deal d
        WHERE d.program_id = _measure_deals.program_id AND d.closed_at > the_after AND d.closed_at <= the_until)) s ON s.partner_id = i.partner_id
      CROSS JOIN unnest(_measure_deals.names, _measure_deals.measures) AS n(metric, measure)
      WHERE i.program_id = _measure_deals.program_id;
    RETURN;
  END IF;
  IF the_ids IS NULL THEN
    the_ids := ARRAY(SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _measure_deals.program_id ORDER BY p.partner_id);
  END IF;
  -- Partner by partner from the covering index, be it one or all of them: grouping the deals, and asking each of them twice whether it is won,
  -- cost as much as reading them.
  IF 'win_rate' = ANY (_measure_deals.measures) THEN
    RETURN QUERY
      SELECT i.partner_id, n.metric, f.value, _measure_deals.moment
      FROM unnest(the_ids) AS i(partner_id)
      CROSS JOIN LATERAL (
        SELECT count(*) AS closed, count(*) FILTER (WHERE d.state = ANY ((SELECT the_won)::text[])) AS won,
          sum(d.amount) FILTER (WHERE d.state = ANY ((SELECT the_won)::text[]) AND d.currency = the_currency) AS revenue,
          avg(d.amount) FILTER (WHERE d.state = ANY ((SELECT the_won)::text[]) AND d.currency = the_currency) AS average
        FROM prm.deal d
        WHERE d.program_id = _measure_deals.program_id AND d.partner_id = i.partner_id AND d.closed_at > the_after AND d.closed_at <= the_until) s
      CROSS JOIN unnest(_measure_deals.names, _measure_deals.measures) AS n(metric, measure)
      CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'revenue' THEN coalesce(s.revenue, 0) WHEN 'deals_won' THEN s.won::numeric
        WHEN 'win_rate' THEN round(s.won::numeric / nullif(s.closed, 0), 6) WHEN 'average_deal' THEN round(s.average, 6) END AS value) f
      WHERE f.value IS NOT NULL;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT i.partner_id, n.metric, f.value, _measure_deals.moment
    FROM unnest(the_ids) AS i(partner_id)
    CROSS JOIN LATERAL (
      SELECT count(*) AS won, sum(d.amount) FILTER (WHERE d.currency = the_currency) AS revenue, avg(d.amount) FILTER (WHERE d.currency = the_currency) AS average
      FROM prm.deal d
      WHERE d.program_id = _measure_deals.program_id AND d.partner_id = i.partner_id AND d.closed_at > the_after AND d.closed_at <= the_until
        AND d.state = ANY ((SELECT the_won)::text[])) s
    CROSS JOIN unnest(_measure_deals.names, _measure_deals.measures) AS n(metric, measure)
    CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'revenue' THEN coalesce(s.revenue, 0) WHEN 'deals_won' THEN s.won::numeric WHEN 'average_deal' THEN round(s.average, 6) END AS value) f
    WHERE f.value IS NOT NULL;
END
$prm$;
COMMENT ON FUNCTION prm._measure_deals(bigint, bigint[], text[], text[], prm.metric_window, timestamptz) IS 'The measures revenue, deals_won, win_rate and average_deal of the partners'' own deals; partner_ids NULL: of all partners.';

CREATE FUNCTION prm._measure_credits(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz, credit_type text) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_won text[] := prm._won_states(_measure_credits.program_id);
  the_currency text := prm._program_currency(_measure_credits.program_id);
  the_after timestamptz := (_measure_credits.span).after;
  the_until timestamptz := (_measure_credits.span).until;
BEGIN
  RETURN QUERY
    SELECT i.partner_id, n.metric, CASE n.measure WHEN 'revenue' THEN coalesce(s.revenue, 0) ELSE coalesce(s.won, 0)::numeric END, _measure_credits.moment
    FROM unnest(_measure_credits.partner_ids) AS i(partner_id)
    LEFT JOIN (
      -- Shares are not rounded, so that those of all partners sum to the amounts.
      SELECT c.partner_id, count(*) AS won, trim_scale(sum(c.amount * c.weight * 0.01) FILTER (WHERE c.currency = the_currency)) AS revenue
      FROM (
        SELECT x.partner_id, d.amount, x.weight, d.currency
        FROM prm.deal_partner x
        JOIN prm.deal d ON d.program_id = _measure_credits.program_id AND d.deal_id = x.deal_id
        WHERE x.program_id = _measure_credits.program_id AND x.partner_id = ANY (_measure_credits.partner_ids) AND x.credit_type = _measure_credits.credit_type
          AND d.closed_at > the_after AND d.closed_at <= the_until AND d.state = ANY ((SELECT the_won)::text[])
        UNION ALL
        -- Whose deal it is sourced it, unless somebody is named.
        SELECT d.partner_id, d.amount, 100, d.currency
        FROM prm.deal d
        WHERE _measure_credits.credit_type = 'sourced' AND d.program_id = _measure_credits.program_id AND d.partner_id = ANY (_measure_credits.partner_ids)
          AND d.closed_at > the_after AND d.closed_at <= the_until AND d.state = ANY ((SELECT the_won)::text[])
          AND NOT EXISTS (SELECT 1 FROM prm.deal_partner x
            WHERE x.program_id = _measure_credits.program_id AND x.deal_id = d.deal_id AND x.credit_type = 'sourced')) c
      GROUP BY c.partner_id) s ON s.partner_id = i.partner_id
    CROSS JOIN unnest(_measure_credits.names, _measure_credits.measures) AS n(metric, measure);
END
$prm$;
COMMENT ON FUNCTION prm._measure_credits(bigint, bigint[], text[], text[], prm.metric_window, timestamptz, text) IS
'The measures revenue and deals_won by credits of one type (prm.deal_partner). A deal for which nobody is named as sourced was sourced by its own partner.';

CREATE FUNCTION prm._measure_cycle(program_id bigint, partner_ids bigint[], names text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_won text[] := prm._won_states(_measure_cycle.program_id);
BEGIN
  RETURN QUERY
    SELECT s.partner_id, n.metric, round(s.days::numeric, 4), _measure_cycle.moment
    FROM (
      SELECT d.partner_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM d.closed_at - d.created_at)::float8 / 86400) AS days
      FROM prm.deal d
      WHERE d.program_id = _measure_cycle.program_id AND d.partner_id = ANY (_measure_cycle.partner_ids) AND d.state = ANY ((SELECT the_won)::text[])
        AND d.closed_at > (_measure_cycle.span).after AND d.closed_at <= (_measure_cycle.span).until AND d.created_at <= d.closed_at
      GROUP BY d.partner_id) s
    CROSS JOIN unnest(_measure_cycle.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_cycle(bigint, bigint[], text[], prm.metric_window, timestamptz) IS 'The measure cycle_days. Deals that were closed before they were created (imports) tell nothing.';

CREATE FUNCTION prm._measure_pipeline(program_id bigint, partner_ids bigint[], names text[], moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_currency text := prm._program_currency(_measure_pipeline.program_id);
BEGIN
  RETURN QUERY
    SELECT i.partner_id, n.metric, coalesce(s.amount, 0), _measure_pipeline.moment
    FROM unnest(_measure_pipeline.partner_ids) AS i(partner_id)
    LEFT JOIN (
      SELECT d.partner_id, sum(d.amount) AS amount
      FROM (
        SELECT o.partner_id, o.amount, o.currency FROM prm.deal o
        WHERE o.program_id = _measure_pipeline.program_id AND o.partner_id = ANY (_measure_pipeline.partner_ids) AND o.closed_at IS NULL AND o.created_at <= _measure_pipeline.moment
        UNION ALL
        -- What was open then and is closed now.
        SELECT o.partner_id, o.amount, o.currency FROM prm.deal o
        WHERE o.program_id = _measure_pipeline.program_id AND o.partner_id = ANY (_measure_pipeline.partner_ids) AND o.closed_at > _measure_pipeline.moment
          AND o.created_at <= _measure_pipeline.moment) d
      WHERE d.currency = the_currency
      GROUP BY d.partner_id) s ON s.partner_id = i.partner_id
    CROSS JOIN unnest(_measure_pipeline.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_pipeline(bigint, bigint[], text[], timestamptz) IS 'The measure open_pipeline: deals that were open at the moment, with the amounts that they have today.';

CREATE FUNCTION prm._measure_people(program_id bigint, partner_ids bigint[], names text[], measures text[], moment timestamptz, certification text) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_day date := (_measure_people.moment AT TIME ZONE prm._program_time_zone(_measure_people.program_id))::date;
BEGIN
  -- A look into the index for each person: the planner would hash everybody's certificates for one of them.
  RETURN QUERY
    SELECT i.partner_id, n.metric, f.value, _measure_people.moment
    FROM unnest(_measure_people.partner_ids) AS i(partner_id)
    CROSS JOIN LATERAL (
      SELECT count(*) AS people, count(v.is_valid) AS certified
      FROM prm.partner_user u
      LEFT JOIN LATERAL (
        SELECT true AS is_valid FROM prm.certificate c WHERE c.program_id = _measure_people.program_id AND c.partner_user_id = u.partner_user_id
          AND (_measure_people.certification IS NULL OR c.certification = _measure_people.certification)
          AND c.issued_on <= the_day AND (c.valid_until IS NULL OR c.valid_until >= the_day) LIMIT 1) v ON true
      WHERE u.program_id = _measure_people.program_id AND u.partner_id = i.partner_id AND u.is_active) s
    CROSS JOIN unnest(_measure_people.names, _measure_people.measures) AS n(metric, measure)
    CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'certified_people' THEN s.certified::numeric WHEN 'active_people' THEN s.people::numeric
      WHEN 'training_coverage' THEN round(s.certified::numeric / nullif(s.people, 0), 6) END AS value) f
    WHERE f.value IS NOT NULL;
END
$prm$;
COMMENT ON FUNCTION prm._measure_people(bigint, bigint[], text[], text[], timestamptz, text) IS
'The measures certified_people, training_coverage and active_people: people who are active today, certificates (of the certification, NULL: any) that were valid on the day of the moment. Without people the coverage is not known.';

CREATE FUNCTION prm._measure_leads(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_after timestamptz := (_measure_leads.span).after;
  the_until timestamptz := (_measure_leads.span).until;
BEGIN
  IF _measure_leads.measures && ARRAY['return_rate', 'response_hours'] THEN
    RETURN QUERY
      SELECT s.partner_id, n.metric, f.value, _measure_leads.moment
      FROM (
        SELECT q.partner_id, count(*) FILTER (WHERE q.qualified) AS qualified, count(*) FILTER (WHERE q.qualified AND q.returned) AS returned,
          percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM q.first_at - q.created_at)::float8)
            FILTER (WHERE q.first_at > the_after AND q.first_at >= q.created_at) AS seconds
        FROM (
          SELECT l.partner_id, l.created_at, min(h.at) FILTER (WHERE h.event = 'qualify') AS first_at,
            bool_or(h.event = 'qualify' AND h.at > the_after) AS qualified, bool_or(h.event = 'return' AND h.at > the_after) AS returned
          FROM prm.lead l
          JOIN prm.state_history h ON h.program_id = _measure_leads.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id
            AND h.event IN ('qualify', 'return') AND h.at <= the_until
          WHERE l.program_id = _measure_leads.program_id AND l.partner_id = ANY (_measure_leads.partner_ids) AND l.created_at <= the_until
          GROUP BY l.lead_id, l.partner_id, l.created_at) q
        GROUP BY q.partner_id) s
      CROSS JOIN unnest(_measure_leads.names, _measure_leads.measures) AS n(metric, measure)
      CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'return_rate' THEN round(s.returned::numeric / nullif(s.qualified, 0), 6)
        WHEN 'response_hours' THEN round(s.seconds::numeric / 3600, 4) END AS value) f
      WHERE f.value IS NOT NULL;
  END IF;
  IF _measure_leads.measures && ARRAY['leads', 'lead_acceptance'] THEN
    RETURN QUERY
      SELECT i.partner_id, n.metric, f.value, _measure_leads.moment
      FROM unnest(_measure_leads.partner_ids) AS i(partner_id)
      LEFT JOIN (
        SELECT l.partner_id, count(*) AS leads, count(e.is_accepted) AS accepted
        FROM prm.lead l
        LEFT JOIN LATERAL (
          SELECT true AS is_accepted FROM prm.state_history h WHERE h.program_id = _measure_leads.program_id AND h.machine = 'lead' AND h.subject_id = l.lead_id
            AND h.event IN ('accept', 'qualify') AND h.at <= the_until LIMIT 1) e ON true
        WHERE l.program_id = _measure_leads.program_id AND l.partner_id = ANY (_measure_leads.partner_ids) AND l.created_at > the_after AND l.created_at <= the_until
        GROUP BY l.partner_id) s ON s.partner_id = i.partner_id
      CROSS JOIN unnest(_measure_leads.names, _measure_leads.measures) AS n(metric, measure)
      CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'leads' THEN coalesce(s.leads, 0)::numeric WHEN 'lead_acceptance' THEN round(s.accepted::numeric / s.leads, 6) END AS value) f
      WHERE f.value IS NOT NULL;
  END IF;
END
$prm$;
COMMENT ON FUNCTION prm._measure_leads(bigint, bigint[], text[], text[], prm.metric_window, timestamptz) IS
'The measures leads, lead_acceptance (of the leads that came in the window), return_rate and response_hours (of the qualifications in the window).';

CREATE FUNCTION prm._measure_registrations(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_after timestamptz := (_measure_registrations.span).after;
  the_until timestamptz := (_measure_registrations.span).until;
BEGIN
  RETURN QUERY
    SELECT i.partner_id, n.metric, f.value, _measure_registrations.moment
    FROM unnest(_measure_registrations.partner_ids) AS i(partner_id)
    LEFT JOIN (
      SELECT r.partner_id, count(*) FILTER (WHERE r.approved_at > the_after AND r.approved_at <= the_until) AS approved,
        count(e.is_refused) AS refused
      FROM prm.registration r
      LEFT JOIN LATERAL (
        SELECT true AS is_refused FROM prm.state_history h WHERE h.program_id = _measure_registrations.program_id AND h.machine = 'registration' AND h.subject_id = r.registration_id
          AND h.to_state = 'rejected' AND h.at > the_after AND h.at <= the_until LIMIT 1) e ON true
      WHERE r.program_id = _measure_registrations.program_id AND r.partner_id = ANY (_measure_registrations.partner_ids)
      GROUP BY r.partner_id) s ON s.partner_id = i.partner_id
    CROSS JOIN unnest(_measure_registrations.names, _measure_registrations.measures) AS n(metric, measure)
    CROSS JOIN LATERAL (SELECT CASE n.measure WHEN 'registrations_approved' THEN coalesce(s.approved, 0)::numeric WHEN 'registrations_refused' THEN coalesce(s.refused, 0)::numeric
      ELSE round(s.approved::numeric / nullif(s.approved + s.refused, 0), 6) END AS value) f
    WHERE f.value IS NOT NULL;
END
$prm$;
COMMENT ON FUNCTION prm._measure_registrations(bigint, bigint[], text[], text[], prm.metric_window, timestamptz) IS
'The measures registrations_approved, registrations_refused and registration_approval, by the day of the decision.';

CREATE FUNCTION prm._measure_surveys(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- Surveys of too few answers tell nothing: who said it could be guessed.
  RETURN QUERY
    SELECT s.partner_id, n.metric, round(s.score, 4), _measure_surveys.moment
    FROM (
      SELECT r.partner_id, v.asks, prm.nps(r.score) AS score FROM prm.survey_response r
      JOIN prm.survey v ON v.program_id = _measure_surveys.program_id AND v.survey = r.survey
      WHERE r.program_id = _measure_surveys.program_id AND r.partner_id = ANY (_measure_surveys.partner_ids)
        AND r.answered_at > (_measure_surveys.span).after AND r.answered_at <= (_measure_surveys.span).until
      GROUP BY r.partner_id, v.asks HAVING count(*) >= max(v.min_answers)) s
    JOIN unnest(_measure_surveys.names, _measure_surveys.measures) AS n(metric, measure) ON n.measure = s.asks || '_nps';
END
$prm$;
COMMENT ON FUNCTION prm._measure_surveys(bigint, bigint[], text[], text[], prm.metric_window, timestamptz) IS
'The measures customer_nps (customers about the partner) and partner_nps (its own people); no row below the survey''s min_answers.';

CREATE FUNCTION prm._measure_usage(program_id bigint, partner_ids bigint[], names text[], measures text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_measure_usage.program_id);
BEGIN
  -- Where no usage comes in at all, nothing is known; where it does, nobody's is a zero.
  IF NOT EXISTS (SELECT 1 FROM prm.usage_event u WHERE u.program_id = _measure_usage.program_id AND u.at <= _measure_usage.moment) THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT i.partner_id, n.metric, CASE n.measure WHEN 'logins' THEN s.logins WHEN 'content_use' THEN s.contents WHEN 'key_activities' THEN s.key_events ELSE s.active_days END::numeric,
      _measure_usage.moment
    FROM unnest(_measure_usage.partner_ids) AS i(partner_id)
    CROSS JOIN LATERAL (
      SELECT count(*) FILTER (WHERE a.kind = 'login') AS logins, count(*) FILTER (WHERE a.kind = 'content') AS contents, count(*) FILTER (WHERE a.is_key) AS key_events,
        count(DISTINCT (u.at AT TIME ZONE the_zone)::date) AS active_days
      FROM (SELECT x.at, x.activity FROM prm.usage_event x WHERE x.program_id = _measure_usage.program_id AND x.partner_id = i.partner_id
        AND x.at > (_measure_usage.span).after AND x.at <= (_measure_usage.span).until OFFSET 0) u
      JOIN prm.usage_activity a ON a.program_id = _measure_usage.program_id AND a.activity = u.activity) s
    CROSS JOIN unnest(_measure_usage.names, _measure_usage.measures) AS n(metric, measure);
END
$prm$;
COMMENT ON FUNCTION prm._measure_usage(bigint, bigint[], text[], text[], prm.metric_window, timestamptz) IS
'The measures logins, content_use, key_activities and active_days from usage events; none where the programme takes no usage.';

CREATE FUNCTION prm._measure_churn(program_id bigint, partner_ids bigint[], names text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_zone text := prm._program_time_zone(_measure_churn.program_id);
  the_first date := ((_measure_churn.span).after AT TIME ZONE the_zone)::date;
  the_last date := ((_measure_churn.span).until AT TIME ZONE the_zone)::date;
BEGIN
  RETURN QUERY
    SELECT s.partner_id, n.metric, round(s.lost::numeric / s.had, 6), _measure_churn.moment
    FROM (
      SELECT c.partner_id, count(*) AS had, count(*) FILTER (WHERE NOT c.stayed) AS lost
      FROM (
        -- A customer with several subscriptions is lost with the last of them.
        SELECT b.partner_id, bool_or(b.started_on <= the_last AND (b.ended_on IS NULL OR b.ended_on >= the_last)) AS stayed
        FROM prm.subscription b
        WHERE b.program_id = _measure_churn.program_id AND b.partner_id = ANY (_measure_churn.partner_ids)
        GROUP BY b.partner_id, coalesce(b.customer_id::text, b.subscription_id), b.customer_id IS NULL
        HAVING bool_or(b.started_on <= the_first AND (b.ended_on IS NULL OR b.ended_on >= the_first))) c
      GROUP BY c.partner_id) s
    CROSS JOIN unnest(_measure_churn.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_churn(bigint, bigint[], text[], prm.metric_window, timestamptz) IS
'The measure customer_churn: of the customers with a subscription on the day on which the window begins, the share without one on its last day. Without such customers nothing is known.';

CREATE FUNCTION prm._measure_buyers(program_id bigint, partner_ids bigint[], names text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_won text[] := prm._won_states(_measure_buyers.program_id);
  the_after timestamptz := (_measure_buyers.span).after;
  the_until timestamptz := (_measure_buyers.span).until;
BEGIN
  RETURN QUERY
    SELECT s.partner_id, n.metric, round(s.lost::numeric / s.had, 6), _measure_buyers.moment
    FROM (
      SELECT c.partner_id, count(*) AS had, count(*) FILTER (WHERE NOT c.bought) AS lost
      FROM (
        SELECT d.partner_id, bool_or(d.closed_at > the_after) AS bought
        FROM prm.deal d
        WHERE d.program_id = _measure_buyers.program_id AND d.partner_id = ANY (_measure_buyers.partner_ids) AND d.customer_id IS NOT NULL
          AND d.closed_at > the_after - (the_until - the_after) AND d.closed_at <= the_until AND d.state = ANY ((SELECT the_won)::text[])
        GROUP BY d.partner_id, d.customer_id
        HAVING bool_or(d.closed_at <= the_after)) c
      GROUP BY c.partner_id) s
    CROSS JOIN unnest(_measure_buyers.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_buyers(bigint, bigint[], text[], prm.metric_window, timestamptz) IS
'The measure buyer_churn: of the customers with a won deal in the equally long time before the window, the share without one in it.';

CREATE FUNCTION prm._measure_breaches(program_id bigint, partner_ids bigint[], names text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_after timestamptz := (_measure_breaches.span).after;
  the_until timestamptz := (_measure_breaches.span).until;
BEGIN
  RETURN QUERY
    SELECT i.partner_id, n.metric, coalesce(s.breaches, 0)::numeric, _measure_breaches.moment
    FROM unnest(_measure_breaches.partner_ids) AS i(partner_id)
    LEFT JOIN (
      -- Several levels of one stay are one breach. Due is what counts, not when a job came round.
      SELECT o.partner_id, count(DISTINCT (t.machine, t.subject_id, t.state, t.created_at)) AS breaches
      FROM (
        SELECT 'lead' AS machine, l.lead_id AS subject_id, l.partner_id FROM prm.lead l
          WHERE l.program_id = _measure_breaches.program_id AND l.partner_id = ANY (_measure_breaches.partner_ids)
        UNION ALL
        SELECT 'deal', d.deal_id, d.partner_id FROM prm.deal d
          WHERE d.program_id = _measure_breaches.program_id AND d.partner_id = ANY (_measure_breaches.partner_ids)
        UNION ALL
        SELECT 'registration', r.registration_id, r.partner_id FROM prm.registration r
          WHERE r.program_id = _measure_breaches.program_id AND r.partner_id = ANY (_measure_breaches.partner_ids)
        UNION ALL
        SELECT 'partner', p.partner_id, p.partner_id FROM unnest(_measure_breaches.partner_ids) AS p(partner_id)) o
      JOIN prm.timer t ON t.program_id = _measure_breaches.program_id AND t.machine = o.machine AND t.subject_id = o.subject_id
      WHERE t.action = 'escalate' AND t.due_at > the_after AND t.due_at <= the_until
        AND (t.fired_at IS NOT NULL OR (t.paused_at IS NULL AND (t.canceled_at IS NULL OR t.canceled_at > t.due_at)))
        -- Not where only the vendor could act: that breach is the vendor's.
        AND (SELECT coalesce(bool_or(e.actor = 'partner') OR NOT bool_or(e.actor = 'vendor'), true) FROM prm.machine_transition e
          WHERE e.program_id = _measure_breaches.program_id AND e.machine = t.machine AND e.version = t.machine_version AND e.from_state = t.state)
      GROUP BY o.partner_id) s ON s.partner_id = i.partner_id
    CROSS JOIN unnest(_measure_breaches.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_breaches(bigint, bigint[], text[], prm.metric_window, timestamptz) IS
'The measure breaches: stays of its leads, deals, registrations and of the partner itself in a state where it was to act, and an escalation came due in the window. What timer_retention forgot is not counted.';

CREATE FUNCTION prm._measure_disputes(program_id bigint, partner_ids bigint[], names text[], span prm.metric_window, moment timestamptz) RETURNS SETOF prm.metric_row
LANGUAGE plpgsql STABLE ROWS 5000 SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT i.partner_id, n.metric, coalesce(s.disputes, 0)::numeric, _measure_disputes.moment
    FROM unnest(_measure_disputes.partner_ids) AS i(partner_id)
    LEFT JOIN (
      SELECT d.partner_id, count(*) AS disputes FROM prm.dispute d
      WHERE d.program_id = _measure_disputes.program_id AND d.partner_id = ANY (_measure_disputes.partner_ids)
        AND d.opened_at > (_measure_disputes.span).after AND d.opened_at <= (_measure_disputes.span).until
      GROUP BY d.partner_id) s ON s.partner_id = i.partner_id
    CROSS JOIN unnest(_measure_disputes.names) AS n(metric);
END
$prm$;
COMMENT ON FUNCTION prm._measure_disputes(bigint, bigint[], text[], prm.metric_window, timestamptz) IS 'The measure payout_disputes: disputes over the partner''s ledger entries that were opened in the window.';
