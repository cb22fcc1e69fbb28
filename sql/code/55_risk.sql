
-- Risk: the kinds of rules that look for fraud. A rule is a row; what its kind means is code of this file, never text of the
-- user's. Nothing here writes: what is found goes to prm._raise_risks() of 56_risk_hold.sql.

CREATE FUNCTION prm._plain_email(email text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_word text := regexp_replace(lower(btrim(_plain_email.email)), '\+[^@]*@', '@');
BEGIN
  IF the_word LIKE '%@gmail.com' OR the_word LIKE '%@googlemail.com' THEN
    the_word := replace(split_part(the_word, '@', 1), '.', '') || '@gmail.com';
  END IF;
  RETURN CASE WHEN the_word LIKE '_%@_%' THEN the_word END;
END
$prm$;
COMMENT ON FUNCTION prm._plain_email(text) IS
'An e-mail address for comparing: small letters, without a +tag, and at Gmail without dots, which it does not tell apart. NULL for what is no address.';

CREATE FUNCTION prm._plain_domain(domain text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
BEGIN
  RETURN prm._company_domain(regexp_replace(regexp_replace(lower(btrim(_plain_domain.domain)), '^([a-z]+://)?(www\.)?', ''), '[/:?#].*$', ''));
END
$prm$;
COMMENT ON FUNCTION prm._plain_domain(text) IS
'The domain of an address of a web site, for comparing; NULL where it is blank or a public mail provider''s.';

CREATE FUNCTION prm._plain_number(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT nullif(regexp_replace(upper(_plain_number.number), '[^A-Z0-9]', '', 'g'), '') $prm$;
COMMENT ON FUNCTION prm._plain_number(text) IS 'A tax or account number for comparing: capital letters and digits only. NULL where nothing is left.';

CREATE FUNCTION prm._check_risk_parameters(kind text, parameters jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_known jsonb;
  the_fault text;
  the_span interval;
  given record;
BEGIN
  -- What each kind understands: a list of these words, or of any words ("*"), or what the key says.
  the_known := CASE _check_risk_parameters.kind
    WHEN 'self_referral' THEN '{"match": ["email", "domain", "tax_id"], "kinds": "*"}'
    WHEN 'duplicate_account' THEN '{"match": ["tax_id", "bank", "email", "domain"], "within_group": "boolean"}'
    WHEN 'banned_source' THEN '{"sources": "*", "campaigns": "*", "referrers": "*", "kinds": "*"}'
    WHEN 'velocity' THEN '{"events": "number", "amount": "number", "currency": "string", "within": "string", "kinds": "*"}'
    WHEN 'paid_traffic' THEN '{"click_ids": "*", "mediums": "*", "kinds": "*"}'
    WHEN 'network_ban' THEN '{"emails": "*", "domains": "*", "tax_ids": "*", "match": ["tax_id", "bank", "email", "domain"]}'
    WHEN 'condition' THEN '{"kinds": "*"}' END;
  IF the_known IS NULL OR _check_risk_parameters.parameters IS NULL THEN
    RETURN true;   -- NOT NULL and the CHECK of the kind speak for themselves.
  END IF;
  IF jsonb_typeof(_check_risk_parameters.parameters) <> 'object' THEN
    the_fault := 'They are no JSON object.';
  ELSE
    FOR given IN SELECT p.key, p.value, jsonb_typeof(p.value) AS shape, the_known -> p.key AS known
      FROM jsonb_each(_check_risk_parameters.parameters) p ORDER BY p.key
    LOOP
      IF given.known IS NULL THEN
        the_fault := format('There is no parameter "%s".', given.key);
      ELSIF given.known IN ('"boolean"', '"number"', '"string"') THEN
        IF to_jsonb(given.shape) <> given.known THEN
          the_fault := format('"%s" is no %s.', given.key, given.known #>> '{}');
        END IF;
      ELSIF given.shape <> 'array' OR given.value = '[]' OR EXISTS (SELECT 1 FROM jsonb_array_elements(
          CASE given.shape WHEN 'array' THEN given.value ELSE '[]' END) e WHERE jsonb_typeof(e) <> 'string' OR btrim(e #>> '{}') = '') THEN
        the_fault := format('"%s" is no list of words.', given.key);
      ELSIF given.known <> '"*"' AND NOT given.known @> given.value THEN
        the_fault := format('"%s" knows %s only.', given.key, (SELECT string_agg(e, ', ') FROM jsonb_array_elements_text(given.known) e));
      END IF;
      EXIT WHEN the_fault IS NOT NULL;
    END LOOP;
    IF the_fault IS NULL AND _check_risk_parameters.kind = 'velocity' THEN
      BEGIN
        the_span := (_check_risk_parameters.parameters ->> 'within')::interval;
      EXCEPTION WHEN data_exception THEN
        the_span := NULL;
      END;
      IF the_span IS NULL OR the_span <= interval '0' OR the_span > interval '10 years' THEN
        the_fault := '"within" is no span of time, such as "1 hour" or "30 days".';
      ELSIF num_nonnulls(_check_risk_parameters.parameters -> 'events', _check_risk_parameters.parameters -> 'amount') = 0 THEN
        the_fault := 'Neither "events" nor "amount" is given: how many, or how much, is too much.';
      ELSIF (_check_risk_parameters.parameters ->> 'events')::numeric < 1 OR (_check_risk_parameters.parameters ->> 'amount')::numeric <= 0 THEN
        the_fault := '"events" is at least 1, and "amount" above 0.';
      ELSIF (_check_risk_parameters.parameters ->> 'currency') !~ '^[A-Z]{3}$' THEN
        the_fault := '"currency" is no code of ISO 4217.';
      END IF;
    ELSIF the_fault IS NULL AND _check_risk_parameters.kind = 'banned_source' AND NOT _check_risk_parameters.parameters ?| ARRAY['sources', 'campaigns', 'referrers'] THEN
      the_fault := 'None of "sources", "campaigns" and "referrers" is given.';
    END IF;
  END IF;
  IF the_fault IS NULL THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a risk rule of kind %s cannot have these parameters', _check_risk_parameters.kind),
    DETAIL = the_fault, HINT = format('Its parameters are %s.', (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(the_known) k)),
    SCHEMA = 'prm', TABLE = 'risk_rule', COLUMN = 'parameters';
END
$prm$;
COMMENT ON FUNCTION prm._check_risk_parameters(text, jsonb) IS
'For a CHECK constraint: true for parameters that a risk rule of the kind may have. Error 22023 names the parameter at fault and those that there are.';

CREATE FUNCTION prm._risk_words(parameters jsonb, name text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$prm$ SELECT array_agg(lower(btrim(w))) FROM jsonb_array_elements_text(_risk_words.parameters -> _risk_words.name) w $prm$;
COMMENT ON FUNCTION prm._risk_words(jsonb, text) IS 'A list of words among the parameters of a risk rule, in small letters; NULL where it is not given.';

CREATE TYPE prm.partner_mark AS (partner_id bigint, what text, word text, place text);
COMMENT ON TYPE prm.partner_mark IS
'Something by which a partner is known again: what is email, domain, tax_id or bank, word its form for comparing, place where it was found.';

CREATE FUNCTION prm._partner_marks(program_id bigint, partner_ids bigint[]) RETURNS SETOF prm.partner_mark
-- A plan of its own for one partner and for all of them.
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH who AS (
    SELECT p.partner_id, p.email, p.domain, p.tax_id FROM prm.partner p
    WHERE p.program_id = _partner_marks.program_id AND (_partner_marks.partner_ids IS NULL OR p.partner_id = ANY (_partner_marks.partner_ids))
  ), person AS (
    SELECT u.partner_id, u.email FROM prm.partner_user u
    WHERE u.program_id = _partner_marks.program_id AND (_partner_marks.partner_ids IS NULL OR u.partner_id = ANY (_partner_marks.partner_ids)) AND u.email IS NOT NULL
  ), paid AS (
    SELECT y.partner_id, y.tax_id, y.bank FROM prm.payee y
    WHERE y.program_id = _partner_marks.program_id AND (_partner_marks.partner_ids IS NULL OR y.partner_id = ANY (_partner_marks.partner_ids))
  ), address AS (
    SELECT w.partner_id, w.email, 'partner' AS place FROM who w WHERE w.email IS NOT NULL
    UNION ALL SELECT u.partner_id, u.email, 'person' FROM person u
    UNION ALL SELECT y.partner_id, y.bank ->> 'email', 'payee' FROM paid y WHERE y.bank ? 'email'
  )
  SELECT m.partner_id, m.what, m.word, m.place FROM (
    SELECT a.partner_id, 'email' AS what, prm._plain_email(a.email) AS word, a.place FROM address a
    UNION ALL SELECT a.partner_id, 'domain', prm._plain_domain(split_part(a.email, '@', 2)), a.place FROM address a
    UNION ALL SELECT w.partner_id, 'domain', prm._plain_domain(w.domain), 'partner' FROM who w WHERE w.domain IS NOT NULL
    UNION ALL SELECT w.partner_id, 'tax_id', prm._plain_number(w.tax_id), 'partner' FROM who w WHERE w.tax_id IS NOT NULL
    UNION ALL SELECT y.partner_id, 'tax_id', prm._plain_number(y.tax_id), 'payee' FROM paid y WHERE y.tax_id IS NOT NULL
    UNION ALL SELECT y.partner_id, 'bank', prm._plain_number(coalesce(y.bank ->> 'iban',
        concat(y.bank ->> 'bank_code', y.bank ->> 'routing_number', y.bank ->> 'bic') || coalesce(y.bank ->> 'account', y.bank ->> 'account_number'))), 'payee'
      FROM paid y WHERE y.bank IS NOT NULL
  ) m WHERE m.word IS NOT NULL;
END
$prm$;
COMMENT ON FUNCTION prm._partner_marks(bigint, bigint[]) IS
'By what partners are known again: e-mail addresses and domains (no public mail providers) of the partner, its people and payees, tax numbers, bank accounts. NULL: all partners of the programme.';

CREATE TYPE prm.risk_finding AS (risk_rule text, partner_id bigint, earning_event_id bigint, mark text, since timestamptz, evidence jsonb);
COMMENT ON TYPE prm.risk_finding IS
'What a risk rule found: the rule, the partner, the event (NULL for what is found about accounts), the mark by which the same thing is known again, since when it counts (velocity), and the facts.';

CREATE FUNCTION prm._risk_document(program_id bigint, earning_event_id bigint, partner_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $prm$
#variable_conflict use_column
DECLARE
  event prm.earning_event;
  the_partner jsonb;
BEGIN
  SELECT e.* INTO event FROM prm.earning_event e WHERE e.program_id = _risk_document.program_id AND e.earning_event_id = _risk_document.earning_event_id;
  SELECT to_jsonb(h) INTO the_partner FROM (
    SELECT i.partner_id, i.kind, i.parent_id, i.country, i.region, i.tier, i.attributes FROM prm.partner_history i
    WHERE i.program_id = _risk_document.program_id AND i.partner_id = _risk_document.partner_id
      AND coalesce(lower(i.valid), '-infinity') < coalesce(event.occurred_at, prm.now()) AND coalesce(upper(i.valid), 'infinity') >= coalesce(event.occurred_at, prm.now())
    LIMIT 1) h;
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'event', to_jsonb(event) || jsonb_build_object('occurred_on', (event.occurred_at AT TIME ZONE prm._program_time_zone(_risk_document.program_id))::date),
    'deal', (SELECT to_jsonb(d) FROM prm.deal d WHERE d.program_id = _risk_document.program_id AND d.deal_id = event.deal_id),
    'customer', (SELECT to_jsonb(c) FROM prm.customer c WHERE c.program_id = _risk_document.program_id AND c.customer_id = event.customer_id),
    'product', (SELECT to_jsonb(q) FROM prm.product q WHERE q.program_id = _risk_document.program_id AND q.product = event.product),
    'partner', the_partner, 'payee', the_partner, 'level', 0,
    'metrics', (SELECT jsonb_object_agg(v.metric, v.value) FROM (
      SELECT DISTINCT ON (i.metric) i.metric, i.value FROM prm.metric_value i
      WHERE i.program_id = _risk_document.program_id AND i.partner_id = _risk_document.partner_id AND i.observed_at <= coalesce(event.occurred_at, prm.now())
      ORDER BY i.metric, i.observed_at DESC) v)));
END
$prm$;
COMMENT ON FUNCTION prm._risk_document(bigint, bigint, bigint) IS
'The document that the condition of a risk rule sees, the same as that of commission rules: event, deal, customer, product, partner, payee, metrics, level. Without an event: what is true of the partner now.';

CREATE FUNCTION prm._find_event_risks(program_id bigint, earning_event_ids bigint[]) RETURNS SETOF prm.risk_finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_find_event_risks.program_id);
  the_credits bigint[];
  the_events bigint[];
  the_match text[];
  the_words text[];
  the_span interval;
  the_currency text;
  the_events_most numeric;
  the_amount_most numeric;
  rule record;
BEGIN
  -- Who is credited with what: two lists side by side, so that no query below joins what has no statistics.
  SELECT array_agg(c.earning_event_id ORDER BY c.earning_event_id, c.partner_id), array_agg(c.partner_id ORDER BY c.earning_event_id, c.partner_id)
    INTO the_events, the_credits
    FROM (SELECT e.earning_event_id, e.partner_id FROM prm.earning_event e
            WHERE e.program_id = _find_event_risks.program_id AND e.earning_event_id = ANY (_find_event_risks.earning_event_ids)
              AND e.kind <> 'refunded' AND e.partner_id IS NOT NULL
          UNION
          SELECT s.earning_event_id, s.partner_id FROM prm.sales_credit s
            WHERE s.program_id = _find_event_risks.program_id AND s.earning_event_id = ANY (_find_event_risks.earning_event_ids)) c;
  IF the_events IS NULL THEN
    RETURN;
  END IF;

  FOR rule IN
    SELECT r.*, prm._condition(r.condition) AS path, ARRAY(SELECT jsonb_array_elements_text(r.parameters -> 'kinds')) AS kinds
    FROM prm.risk_rule r
    WHERE r.program_id = _find_event_risks.program_id AND r.is_active AND r.kind IN ('self_referral', 'banned_source', 'velocity', 'paid_traffic', 'condition')
    ORDER BY r.risk_rule
  LOOP
    CASE rule.kind
    WHEN 'self_referral' THEN
      the_match := coalesce(prm._risk_words(rule.parameters, 'match'), ARRAY['email', 'domain', 'tax_id']);
      RETURN QUERY
      WITH buyer AS MATERIALIZED (
        SELECT t.earning_event_id, t.partner_id, b.marks
        FROM unnest(the_events, the_credits) AS t(earning_event_id, partner_id)
        CROSS JOIN LATERAL (SELECT i.kind, i.deal_id, i.customer_id, i.attributes FROM prm.earning_event i
          WHERE i.program_id = _find_event_risks.program_id AND i.earning_event_id = t.earning_event_id OFFSET 0) e
        LEFT JOIN LATERAL (SELECT i.lead_id, i.attributes FROM prm.deal i
          WHERE i.program_id = _find_event_risks.program_id AND i.deal_id = e.deal_id OFFSET 0) d ON true
        LEFT JOIN LATERAL (SELECT i.email, i.domain FROM prm.lead i
          WHERE i.program_id = _find_event_risks.program_id AND i.lead_id = d.lead_id OFFSET 0) l ON true
        LEFT JOIN LATERAL (SELECT i.domain, i.tax_id, i.attributes FROM prm.customer i
          WHERE i.program_id = _find_event_risks.program_id AND i.customer_id = e.customer_id OFFSET 0) c ON true
        CROSS JOIN LATERAL (
          -- A public provider's domain is no partner's mark, so it need not be sorted out here.
          SELECT jsonb_object_agg(m.what || ':' || m.word, m.place) AS marks FROM (
            SELECT 'email' AS what, prm._plain_email(a.email) AS word, a.place FROM (VALUES (e.attributes ->> 'email', 'event'),
              (e.attributes ->> 'customer_email', 'event'), (d.attributes ->> 'email', 'deal'), (l.email, 'lead'), (c.attributes ->> 'email', 'customer')) AS a(email, place)
              WHERE a.email IS NOT NULL
            UNION ALL
            SELECT 'domain', regexp_replace(lower(btrim(a.word)), '^(https?://)?(www\.)?', ''), a.place FROM (VALUES (e.attributes ->> 'domain', 'event'), (l.domain, 'lead'), (c.domain, 'customer'),
              (split_part(e.attributes ->> 'email', '@', 2), 'event'), (split_part(e.attributes ->> 'customer_email', '@', 2), 'event'),
              (split_part(l.email, '@', 2), 'lead')) AS a(word, place)
            UNION ALL
            SELECT 'tax_id', prm._plain_number(c.tax_id), 'customer' WHERE c.tax_id IS NOT NULL
          ) m WHERE m.word <> '' AND m.what = ANY (the_match)
        ) b
        WHERE b.marks IS NOT NULL AND (rule.kinds = '{}' OR e.kind = ANY (rule.kinds))
      ), known AS MATERIALIZED (
        -- One map of all partners that matter: a look-up for each event costs no join.
        SELECT jsonb_object_agg(k.partner_id, k.marks) AS partners FROM (
          SELECT m.partner_id, jsonb_object_agg(m.what || ':' || m.word, m.place) AS marks
          FROM prm._partner_marks(_find_event_risks.program_id, (SELECT array_agg(DISTINCT y.partner_id) FROM buyer y)) m
          WHERE EXISTS (SELECT 1 FROM buyer y) GROUP BY m.partner_id) k
      )
      SELECT rule.risk_rule, y.partner_id, y.earning_event_id, f.mark, NULL::timestamptz,
        jsonb_build_object('found', format('the %s of the %s is that of the %s', replace(split_part(f.mark, ':', 1), '_', ' '), f.place, f.owner))
      FROM buyer y CROSS JOIN known n
      CROSS JOIN LATERAL (
        SELECT b.key AS mark, b.value #>> '{}' AS place, CASE v.word WHEN 'person' THEN 'partner''s own people' WHEN 'payee' THEN 'partner''s payee' ELSE 'partner' END AS owner
        FROM jsonb_each(y.marks) b
        CROSS JOIN LATERAL (SELECT n.partners -> y.partner_id::text ->> b.key AS word) v
        WHERE v.word IS NOT NULL
        -- An address says more than its domain.
        ORDER BY position('email' IN b.key) = 0, b.key LIMIT 1) f
      WHERE rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, y.earning_event_id, y.partner_id), rule.path, '{}', true);

    WHEN 'banned_source', 'paid_traffic' THEN
      RETURN QUERY
      SELECT rule.risk_rule, t.partner_id, t.earning_event_id, f.mark, NULL::timestamptz, jsonb_build_object('found', f.found)
      FROM unnest(the_events, the_credits) AS t(earning_event_id, partner_id)
      CROSS JOIN LATERAL (SELECT i.kind, i.deal_id, i.attributes FROM prm.earning_event i
        WHERE i.program_id = _find_event_risks.program_id AND i.earning_event_id = t.earning_event_id OFFSET 0) e
      LEFT JOIN LATERAL (SELECT i.lead_id FROM prm.deal i
        WHERE i.program_id = _find_event_risks.program_id AND i.deal_id = e.deal_id OFFSET 0) d ON true
      LEFT JOIN LATERAL (SELECT i.source, i.campaign, i.attributes FROM prm.lead i
        WHERE i.program_id = _find_event_risks.program_id AND i.lead_id = d.lead_id OFFSET 0) l ON true
      CROSS JOIN LATERAL (
        SELECT w.what || ':' || lower(btrim(w.word)) AS mark, format('the %s is "%s"', w.what, btrim(w.word)) AS found
        FROM (VALUES ('source', e.attributes ->> 'source', 'sources'), ('source', e.attributes ->> 'utm_source', 'sources'), ('source', l.source, 'sources'),
          ('campaign', e.attributes ->> 'campaign', 'campaigns'), ('campaign', e.attributes ->> 'utm_campaign', 'campaigns'), ('campaign', l.campaign, 'campaigns'))
          AS w(what, word, list)
        WHERE rule.kind = 'banned_source' AND lower(btrim(w.word)) = ANY (prm._risk_words(rule.parameters, w.list))
        UNION ALL
        SELECT 'referrer:' || h.host, format('the referrer is "%s"', h.host)
        FROM (SELECT prm._plain_domain(r.address) AS host FROM (VALUES (e.attributes ->> 'referrer'), (l.attributes ->> 'referrer')) AS r(address)) h
        WHERE rule.kind = 'banned_source' AND EXISTS (SELECT 1 FROM unnest(prm._risk_words(rule.parameters, 'referrers')) x WHERE h.host = x OR right(h.host, length(x) + 1) = '.' || x)
        UNION ALL
        SELECT 'medium:' || lower(btrim(m.word)), format('the medium is "%s"', btrim(m.word))
        FROM (VALUES (e.attributes ->> 'medium'), (e.attributes ->> 'utm_medium')) AS m(word)
        WHERE rule.kind = 'paid_traffic' AND lower(btrim(m.word)) = ANY (coalesce(prm._risk_words(rule.parameters, 'mediums'), ARRAY['cpc', 'ppc', 'paid', 'paid_search', 'paidsearch', 'sem']))
        UNION ALL
        SELECT 'click_id:' || c.id, format('the visitor came by an advertisement (%s)', c.id)
        FROM unnest(coalesce(prm._risk_words(rule.parameters, 'click_ids'), ARRAY['gclid', 'gbraid', 'wbraid', 'msclkid', 'fbclid', 'ttclid'])) AS c(id)
        WHERE rule.kind = 'paid_traffic' AND (e.attributes ? c.id
          OR EXISTS (SELECT 1 FROM (VALUES (e.attributes ->> 'landing_url'), (e.attributes ->> 'url')) AS u(address)
                     WHERE strpos(u.address, '?' || c.id || '=') > 0 OR strpos(u.address, '&' || c.id || '=') > 0))
        LIMIT 1) f
      WHERE (rule.kinds = '{}' OR e.kind = ANY (rule.kinds))
        AND (rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, t.earning_event_id, t.partner_id), rule.path, '{}', true));

    WHEN 'velocity' THEN
      the_span := (rule.parameters ->> 'within')::interval;
      the_events_most := (rule.parameters ->> 'events')::numeric;
      the_amount_most := (rule.parameters ->> 'amount')::numeric;
      the_currency := coalesce(rule.parameters ->> 'currency', prm._program_currency(_find_event_risks.program_id));
      RETURN QUERY
      WITH touched AS MATERIALIZED (
        -- The stretch of each partner's time that the new events can have filled.
        SELECT e.partner_id, min(e.occurred_at) - the_span AS lower, max(e.occurred_at) + the_span AS upper
        FROM prm.earning_event e
        WHERE e.program_id = _find_event_risks.program_id AND e.earning_event_id = ANY (_find_event_risks.earning_event_ids) AND e.kind <> 'refunded'
          AND e.partner_id IS NOT NULL AND (rule.kinds = '{}' OR e.kind = ANY (rule.kinds))
        GROUP BY e.partner_id
      ), counted AS (
        SELECT w.partner_id, i.earning_event_id, i.occurred_at, count(*) OVER span AS events,
          sum(i.amount) FILTER (WHERE i.currency = the_currency) OVER span AS amount
        FROM touched w
        CROSS JOIN LATERAL (SELECT e.earning_event_id, e.occurred_at, e.amount, e.currency FROM prm.earning_event e
          WHERE e.program_id = _find_event_risks.program_id AND e.partner_id = w.partner_id AND e.occurred_at > w.lower AND e.occurred_at <= w.upper
            AND e.kind <> 'refunded' AND (rule.kinds = '{}' OR e.kind = ANY (rule.kinds)) OFFSET 0) i
        WINDOW span AS (PARTITION BY w.partner_id ORDER BY i.occurred_at RANGE BETWEEN the_span PRECEDING AND CURRENT ROW)
      )
      SELECT rule.risk_rule, f.partner_id, f.earning_event_id, NULL::text, f.occurred_at - the_span,
        jsonb_build_object('found', concat_ws(' and ', CASE WHEN f.events > the_events_most THEN format('%s events', f.events) END,
            CASE WHEN f.amount > the_amount_most THEN format('%s %s', trim_scale(f.amount), the_currency) END)
          || format(' within %s up to %s', rule.parameters ->> 'within', to_char(f.occurred_at AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI')))
      FROM (SELECT DISTINCT ON (c.partner_id) c.* FROM counted c WHERE c.events > the_events_most OR c.amount > the_amount_most
            ORDER BY c.partner_id, c.occurred_at DESC, c.earning_event_id DESC) f
      WHERE rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, f.earning_event_id, f.partner_id), rule.path, '{}', true);

    WHEN 'condition' THEN
      RETURN QUERY
      SELECT rule.risk_rule, t.partner_id, t.earning_event_id, NULL::text, NULL::timestamptz, jsonb_build_object('found', rule.condition || ' is true')
      FROM unnest(the_events, the_credits) AS t(earning_event_id, partner_id)
      CROSS JOIN LATERAL (SELECT i.kind FROM prm.earning_event i
        WHERE i.program_id = _find_event_risks.program_id AND i.earning_event_id = t.earning_event_id OFFSET 0) e
      WHERE (rule.kinds = '{}' OR e.kind = ANY (rule.kinds))
        AND jsonb_path_match(prm._risk_document(_find_event_risks.program_id, t.earning_event_id, t.partner_id), rule.path, '{}', true);
    END CASE;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._find_event_risks(bigint, bigint[]) IS
'What the active risk rules find in earning events (refunds aside), for each partner that is credited with them. Reads only.';

CREATE FUNCTION prm._find_account_risks(program_id bigint) RETURNS SETOF prm.risk_finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_match text[];
  rule record;
BEGIN
  FOR rule IN
    SELECT r.*, prm._condition(r.condition) AS path FROM prm.risk_rule r
    WHERE r.program_id = _find_account_risks.program_id AND r.is_active AND r.kind IN ('duplicate_account', 'network_ban') ORDER BY r.risk_rule
  LOOP
    the_match := coalesce(prm._risk_words(rule.parameters, 'match'), ARRAY['tax_id', 'bank', 'email', 'domain']);
    IF rule.kind = 'duplicate_account' THEN
      RETURN QUERY
      WITH mark AS MATERIALIZED (
        SELECT DISTINCT m.what, m.word, m.partner_id FROM prm._partner_marks(_find_account_risks.program_id, NULL) m WHERE m.what = ANY (the_match)
      ), shared AS MATERIALIZED (
        SELECT m.what, m.word, array_agg(m.partner_id ORDER BY m.partner_id) AS partners FROM mark m GROUP BY m.what, m.word HAVING count(*) > 1
      )
      -- The account that came first is not the one to answer for it; each later one is compared with the first that is none
      -- of its own group (a parent and its children, and the children of one parent).
      SELECT rule.risk_rule, p.partner_id, NULL::bigint, format('%s:%s:%s', s.what, s.word, o.partner_id), NULL::timestamptz,
        jsonb_build_object('found', format('the same %s as partner %s', replace(s.what, '_', ' '), o.partner_id), 'other', o.partner_id)
      FROM shared s
      CROSS JOIN LATERAL unnest(s.partners) WITH ORDINALITY AS i(partner_id, place)
      CROSS JOIN LATERAL (SELECT q.partner_id, q.parent_id FROM prm.partner q
        WHERE q.program_id = _find_account_risks.program_id AND q.partner_id = i.partner_id OFFSET 0) p
      CROSS JOIN LATERAL (
        SELECT q.partner_id FROM unnest(s.partners[1:i.place - 1]) WITH ORDINALITY AS e(partner_id, place)
        CROSS JOIN LATERAL (SELECT x.partner_id, x.parent_id FROM prm.partner x
          WHERE x.program_id = _find_account_risks.program_id AND x.partner_id = e.partner_id OFFSET 0) q
        WHERE coalesce((rule.parameters ->> 'within_group')::boolean, false)
          OR (q.partner_id IS DISTINCT FROM p.parent_id AND p.partner_id IS DISTINCT FROM q.parent_id AND (p.parent_id = q.parent_id) IS NOT TRUE)
        ORDER BY e.place LIMIT 1) o
      WHERE rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_account_risks.program_id, NULL, p.partner_id), rule.path, '{}', true);
    ELSE
      RETURN QUERY
      WITH banned AS MATERIALIZED (
        SELECT 'email' AS what, prm._plain_email(w) AS word, 'the list of the rule' AS place, NULL::bigint AS partner_id FROM unnest(prm._risk_words(rule.parameters, 'emails')) w
        UNION ALL SELECT 'domain', prm._plain_domain(w), 'the list of the rule', NULL FROM unnest(prm._risk_words(rule.parameters, 'domains')) w
        UNION ALL SELECT 'tax_id', prm._plain_number(w), 'the list of the rule', NULL FROM unnest(prm._risk_words(rule.parameters, 'tax_ids')) w
        UNION ALL
        SELECT m.what, m.word, format('partner %s, which is banned', m.partner_id), m.partner_id
        FROM prm._partner_marks(_find_account_risks.program_id, coalesce((SELECT array_agg(DISTINCT k.partner_id) FROM prm.risk_event k
          WHERE k.program_id = _find_account_risks.program_id AND k.state = 'banned'), '{}')) m WHERE m.what = ANY (the_match)
      ), barred AS MATERIALIZED (
        SELECT jsonb_object_agg(b.what || ':' || b.word, b.place ORDER BY b.partner_id DESC NULLS FIRST) AS marks FROM banned b WHERE b.word IS NOT NULL
      )
      SELECT rule.risk_rule, m.partner_id, NULL::bigint, m.what || ':' || m.word, NULL::timestamptz,
        jsonb_build_object('found', format('the %s is one of %s', replace(m.what, '_', ' '), f.place))
      FROM (SELECT DISTINCT n.partner_id, n.what, n.word FROM prm._partner_marks(_find_account_risks.program_id, NULL) n) m
      CROSS JOIN barred b
      CROSS JOIN LATERAL (SELECT b.marks ->> (m.what || ':' || m.word) AS place) f
      WHERE f.place IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM prm.risk_event k WHERE k.program_id = _find_account_risks.program_id AND k.partner_id = m.partner_id AND k.state = 'banned')
        AND (rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_account_risks.program_id, NULL, m.partner_id), rule.path, '{}', true));
    END IF;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._find_account_risks(bigint) IS
'What the active risk rules about accounts find among all partners of a programme: the same tax number, bank account, address or domain twice, and what is barred. Reads only.';
