
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
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $prm$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH who AS (
    SELECT p.partner_id, p.email, p.domain, p.tax_id FROM prm.partner p
    WHERE p.program_id = _partner_marks.program_id AND p.partner_id = ANY (_partner_marks.partner_ids)
  ), person AS (
    SELECT u.partner_id, u.email FROM prm.partner_user u
    WHERE u.program_id = _partner_marks.program_id AND u.partner_id = ANY (_partner_marks.partner_ids) AND u.email IS NOT NULL
  ), paid AS (
    SELECT y.partner_id, y.tax_id, y.bank FROM prm.payee y
    WHERE y.program_id = _partner_marks.program_id AND y.partner_id = ANY (_partner_marks.partner_ids)
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
'By what partners are known again: e-mail addresses and domains (no public mail providers) of the partner, its people and payees, tax numbers, bank accounts.';

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
-- All is found by keys, for one event as for many: planning each time would cost more than finding.
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_find_event_risks.program_id);
  -- Who is credited with what, a list for each column.
  the_events bigint[];
  the_partners bigint[];
  the_kinds text[];
  the_deals bigint[];
  the_customers bigint[];
  the_attributes jsonb[];
  -- What stands behind them, by number.
  the_deal_facts jsonb;
  the_lead_facts jsonb;
  the_buyers jsonb;
  the_known jsonb;
  the_sales bigint[];
  the_sellers bigint[];
  the_marks jsonb[];
  the_match text[];
  the_sources text[];
  the_campaigns text[];
  the_referrers text[];
  the_mediums text[];
  the_clicks text[];
  the_span interval;
  the_stretches jsonb;
  the_first timestamptz;
  the_last timestamptz;
  the_currency text;
  the_events_most numeric;
  the_amount_most numeric;
  rule record;
BEGIN
  -- By all keys at once, and what belongs to them from variables: with statistics that do not know the programme, a look-up
  -- for each event may read all of the programme each time, and a join more. See _earning_outcome().
  SELECT array_agg(e.earning_event_id), array_agg(c.partner_id), array_agg(e.kind), array_agg(e.deal_id), array_agg(e.customer_id), array_agg(e.attributes)
    INTO the_events, the_partners, the_kinds, the_deals, the_customers, the_attributes
    FROM (SELECT t.earning_event_id, t.partner_id, t.kind, t.deal_id, t.customer_id, t.attributes FROM prm.earning_event t
      WHERE t.program_id = _find_event_risks.program_id AND t.earning_event_id = ANY (_find_event_risks.earning_event_ids) AND t.kind <> 'refunded' OFFSET 0) e
    CROSS JOIN LATERAL (
      SELECT e.partner_id WHERE e.partner_id IS NOT NULL
      UNION
      -- The last revision counts.
      (SELECT s.partner_id FROM (SELECT i.partner_id, i.revision, max(i.revision) OVER (PARTITION BY i.credit_type) AS latest FROM prm.sales_credit i
        WHERE i.program_id = _find_event_risks.program_id AND i.earning_event_id = e.earning_event_id) s WHERE s.revision = s.latest)) c;
  IF the_events IS NULL THEN
    RETURN;
  END IF;

  FOR rule IN
    SELECT r.*, prm._condition(r.condition) AS path, ARRAY(SELECT jsonb_array_elements_text(r.parameters -> 'kinds')) AS kinds
    FROM prm.risk_rule r
    WHERE r.program_id = _find_event_risks.program_id AND r.is_active AND r.kind IN ('self_referral', 'banned_source', 'velocity', 'paid_traffic', 'condition')
    ORDER BY r.risk_rule
  LOOP
    IF rule.kind IN ('self_referral', 'banned_source') AND the_deal_facts IS NULL THEN
      the_deal_facts := '{}';
      the_lead_facts := '{}';
      IF EXISTS (SELECT 1 FROM unnest(the_deals) i WHERE i IS NOT NULL) THEN
        SELECT coalesce(jsonb_object_agg(d.deal_id, jsonb_build_object('lead_id', d.lead_id, 'email', d.attributes ->> 'email')), '{}') INTO the_deal_facts
          FROM prm.deal d WHERE d.program_id = _find_event_risks.program_id AND d.deal_id = ANY (the_deals) AND (d.lead_id IS NOT NULL OR d.attributes ? 'email');
        IF the_deal_facts <> '{}' THEN
          SELECT coalesce(jsonb_object_agg(l.lead_id, jsonb_build_object('email', l.email, 'domain', l.domain, 'source', l.source, 'campaign', l.campaign,
              'referrer', l.attributes ->> 'referrer')), '{}') INTO the_lead_facts
            FROM prm.lead l WHERE l.program_id = _find_event_risks.program_id
              AND l.lead_id = ANY (ARRAY(SELECT (f.value ->> 'lead_id')::bigint FROM jsonb_each(the_deal_facts) f));
        END IF;
      END IF;
    END IF;

    CASE rule.kind
    WHEN 'self_referral' THEN
      the_match := coalesce(prm._risk_words(rule.parameters, 'match'), ARRAY['email', 'domain', 'tax_id']);
      SELECT jsonb_object_agg(c.customer_id, jsonb_build_object('email', c.attributes ->> 'email', 'domain', c.domain, 'tax_id', c.tax_id)) INTO the_buyers
        FROM prm.customer c WHERE c.program_id = _find_event_risks.program_id AND c.customer_id = ANY (the_customers)
          AND (c.domain IS NOT NULL OR c.tax_id IS NOT NULL OR c.attributes ? 'email');
      -- What is known of the buyer. A public mail provider's domain is no partner's mark, so it need not be sorted out here.
      SELECT array_agg(t.earning_event_id), array_agg(t.partner_id), array_agg(b.marks) INTO the_sales, the_sellers, the_marks
        FROM unnest(the_events, the_partners, the_kinds, the_deals, the_customers, the_attributes) AS t(earning_event_id, partner_id, kind, deal_id, customer_id, attributes)
        CROSS JOIN LATERAL (SELECT the_deal_facts -> t.deal_id::text AS deal, the_buyers -> t.customer_id::text AS customer OFFSET 0) f
        CROSS JOIN LATERAL (SELECT the_lead_facts -> (f.deal ->> 'lead_id') AS lead OFFSET 0) g
        CROSS JOIN LATERAL (
          SELECT jsonb_object_agg(m.what || ':' || m.word, m.place) AS marks FROM (
            SELECT 'email' AS what, prm._plain_email(a.email) AS word, a.place FROM (VALUES (t.attributes ->> 'email', 'event'),
              (t.attributes ->> 'customer_email', 'event'), (f.deal ->> 'email', 'deal'), (g.lead ->> 'email', 'lead'), (f.customer ->> 'email', 'customer')) AS a(email, place)
              WHERE a.email IS NOT NULL
            UNION ALL
            SELECT 'domain', regexp_replace(lower(btrim(a.word)), '^(https?://)?(www\.)?', ''), a.place FROM (VALUES (t.attributes ->> 'domain', 'event'),
              (g.lead ->> 'domain', 'lead'), (f.customer ->> 'domain', 'customer'), (split_part(t.attributes ->> 'email', '@', 2), 'event'),
              (split_part(t.attributes ->> 'customer_email', '@', 2), 'event'), (split_part(g.lead ->> 'email', '@', 2), 'lead')) AS a(word, place)
              WHERE a.word IS NOT NULL
            UNION ALL
            SELECT 'tax_id', prm._plain_number(f.customer ->> 'tax_id'), 'customer' WHERE f.customer ->> 'tax_id' IS NOT NULL
          ) m WHERE m.word <> '' AND m.what = ANY (the_match)
        ) b
        WHERE (f.deal IS NOT NULL OR f.customer IS NOT NULL OR t.attributes ?| ARRAY['email', 'customer_email', 'domain'])
          AND b.marks IS NOT NULL AND (rule.kinds = '{}' OR t.kind = ANY (rule.kinds));
      CONTINUE WHEN the_sales IS NULL;
      SELECT jsonb_object_agg(k.partner_id, k.marks) INTO the_known FROM (
        SELECT m.partner_id, jsonb_object_agg(m.what || ':' || m.word, m.place) AS marks
        FROM prm._partner_marks(_find_event_risks.program_id, ARRAY(SELECT DISTINCT i FROM unnest(the_sellers) i)) m GROUP BY m.partner_id) k;
      RETURN QUERY
      SELECT rule.risk_rule, y.partner_id, y.earning_event_id, f.mark, NULL::timestamptz,
        jsonb_build_object('found', format('the %s of the %s is that of the %s', replace(split_part(f.mark, ':', 1), '_', ' '), f.place, f.owner))
      FROM unnest(the_sales, the_sellers, the_marks) AS y(earning_event_id, partner_id, marks)
      CROSS JOIN LATERAL (
        SELECT b.key AS mark, b.value #>> '{}' AS place, CASE v.word WHEN 'person' THEN 'partner''s own people' WHEN 'payee' THEN 'partner''s payee' ELSE 'partner' END AS owner
        FROM jsonb_each(y.marks) b
        CROSS JOIN LATERAL (SELECT the_known -> y.partner_id::text ->> b.key AS word) v
        WHERE v.word IS NOT NULL
        -- An address says more than its domain.
        ORDER BY position('email' IN b.key) = 0, b.key LIMIT 1) f
      WHERE rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, y.earning_event_id, y.partner_id), rule.path, '{}', true);

    WHEN 'banned_source' THEN
      the_sources := prm._risk_words(rule.parameters, 'sources');
      the_campaigns := prm._risk_words(rule.parameters, 'campaigns');
      the_referrers := prm._risk_words(rule.parameters, 'referrers');
      RETURN QUERY
      SELECT rule.risk_rule, t.partner_id, t.earning_event_id, f.mark, NULL::timestamptz, jsonb_build_object('found', f.found)
      FROM unnest(the_events, the_partners, the_kinds, the_deals, the_attributes) AS t(earning_event_id, partner_id, kind, deal_id, attributes)
      CROSS JOIN LATERAL (SELECT the_lead_facts -> (the_deal_facts -> t.deal_id::text ->> 'lead_id') AS lead OFFSET 0) g
      CROSS JOIN LATERAL (
        SELECT w.what || ':' || lower(btrim(w.word)) AS mark, format('the %s is "%s"', w.what, btrim(w.word)) AS found
        FROM (VALUES ('source', t.attributes ->> 'source'), ('source', t.attributes ->> 'utm_source'), ('source', g.lead ->> 'source'),
          ('campaign', t.attributes ->> 'campaign'), ('campaign', t.attributes ->> 'utm_campaign'), ('campaign', g.lead ->> 'campaign')) AS w(what, word)
        WHERE lower(btrim(w.word)) = ANY (CASE w.what WHEN 'source' THEN the_sources ELSE the_campaigns END)
        UNION ALL
        SELECT 'referrer:' || h.host, format('the referrer is "%s"', h.host)
        FROM (SELECT prm._plain_domain(r.address) AS host FROM (VALUES (t.attributes ->> 'referrer'), (g.lead ->> 'referrer')) AS r(address) WHERE r.address IS NOT NULL) h
        WHERE EXISTS (SELECT 1 FROM unnest(the_referrers) x WHERE h.host = x OR right(h.host, length(x) + 1) = '.' || x)
        LIMIT 1) f
      WHERE (t.attributes <> '{}' OR g.lead IS NOT NULL) AND (rule.kinds = '{}' OR t.kind = ANY (rule.kinds))
        AND (rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, t.earning_event_id, t.partner_id), rule.path, '{}', true));

    WHEN 'paid_traffic' THEN
      the_mediums := coalesce(prm._risk_words(rule.parameters, 'mediums'), ARRAY['cpc', 'ppc', 'paid', 'paid_search', 'paidsearch', 'sem']);
      the_clicks := coalesce(prm._risk_words(rule.parameters, 'click_ids'), ARRAY['gclid', 'gbraid', 'wbraid', 'msclkid', 'fbclid', 'ttclid']);
      RETURN QUERY
      SELECT rule.risk_rule, t.partner_id, t.earning_event_id, f.mark, NULL::timestamptz, jsonb_build_object('found', f.found)
      FROM unnest(the_events, the_partners, the_kinds, the_attributes) AS t(earning_event_id, partner_id, kind, attributes)
      CROSS JOIN LATERAL (
        SELECT 'medium:' || lower(btrim(m.word)) AS mark, format('the medium is "%s"', btrim(m.word)) AS found
        FROM (VALUES (t.attributes ->> 'medium'), (t.attributes ->> 'utm_medium')) AS m(word) WHERE lower(btrim(m.word)) = ANY (the_mediums)
        UNION ALL
        SELECT 'click_id:' || c.id, format('the visitor came by an advertisement (%s)', c.id) FROM unnest(the_clicks) AS c(id)
        WHERE t.attributes ? c.id
          OR EXISTS (SELECT 1 FROM (VALUES (t.attributes ->> 'landing_url'), (t.attributes ->> 'url')) AS u(address)
                     WHERE strpos(u.address, '?' || c.id || '=') > 0 OR strpos(u.address, '&' || c.id || '=') > 0)
        LIMIT 1) f
      WHERE t.attributes <> '{}' AND (rule.kinds = '{}' OR t.kind = ANY (rule.kinds))
        AND (rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, t.earning_event_id, t.partner_id), rule.path, '{}', true));

    WHEN 'velocity' THEN
      the_span := (rule.parameters ->> 'within')::interval;
      the_events_most := (rule.parameters ->> 'events')::numeric;
      the_amount_most := (rule.parameters ->> 'amount')::numeric;
      the_currency := coalesce(rule.parameters ->> 'currency', prm._program_currency(_find_event_risks.program_id));
      -- The stretch of each partner's time that the new events can have filled.
      SELECT jsonb_object_agg(w.partner_id, jsonb_build_object('from', w.lower, 'to', w.upper)), min(w.lower) - the_span, max(w.upper) INTO the_stretches, the_first, the_last
        FROM (SELECT e.partner_id, min(e.occurred_at) AS lower, max(e.occurred_at) + the_span AS upper FROM prm.earning_event e
          WHERE e.program_id = _find_event_risks.program_id AND e.earning_event_id = ANY (_find_event_risks.earning_event_ids) AND e.kind <> 'refunded'
            AND e.partner_id IS NOT NULL AND (rule.kinds = '{}' OR e.kind = ANY (rule.kinds))
          GROUP BY e.partner_id) w;
      CONTINUE WHEN the_stretches IS NULL;
      RETURN QUERY
      SELECT rule.risk_rule, f.partner_id, f.earning_event_id, NULL::text, f.occurred_at - the_span,
        jsonb_build_object('found', concat_ws(' and ', CASE WHEN f.events > the_events_most THEN format('%s events', f.events) END,
            CASE WHEN f.amount > the_amount_most THEN format('%s %s', trim_scale(f.amount), the_currency) END)
          || format(' within %s up to %s', rule.parameters ->> 'within', to_char(f.occurred_at AT TIME ZONE the_zone, 'YYYY-MM-DD HH24:MI')))
      FROM (
        SELECT DISTINCT ON (c.partner_id) c.* FROM (
          SELECT i.partner_id, i.earning_event_id, i.occurred_at, count(*) OVER span AS events, sum(i.amount) FILTER (WHERE i.currency = the_currency) OVER span AS amount
          FROM (SELECT e.partner_id, e.earning_event_id, e.occurred_at, e.amount, e.currency FROM prm.earning_event e
            WHERE e.program_id = _find_event_risks.program_id
              AND e.partner_id = ANY (ARRAY(SELECT k::bigint FROM jsonb_object_keys(the_stretches) k)) AND e.occurred_at > the_first AND e.occurred_at <= the_last
              AND e.kind <> 'refunded' AND (rule.kinds = '{}' OR e.kind = ANY (rule.kinds)) OFFSET 0) i
          WINDOW span AS (PARTITION BY i.partner_id ORDER BY i.occurred_at RANGE BETWEEN the_span PRECEDING AND CURRENT ROW)) c
        WHERE (c.events > the_events_most OR c.amount > the_amount_most)
          AND c.occurred_at BETWEEN (the_stretches -> c.partner_id::text ->> 'from')::timestamptz AND (the_stretches -> c.partner_id::text ->> 'to')::timestamptz
        ORDER BY c.partner_id, c.occurred_at DESC, c.earning_event_id DESC) f
      WHERE rule.path IS NULL OR jsonb_path_match(prm._risk_document(_find_event_risks.program_id, f.earning_event_id, f.partner_id), rule.path, '{}', true);

    WHEN 'condition' THEN
      RETURN QUERY
      SELECT rule.risk_rule, t.partner_id, t.earning_event_id, NULL::text, NULL::timestamptz, jsonb_build_object('found', rule.condition || ' is true')
      FROM unnest(the_events, the_partners, the_kinds) AS t(earning_event_id, partner_id, kind)
      WHERE (rule.kinds = '{}' OR t.kind = ANY (rule.kinds))
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
  the_partners bigint[];
  rule record;
BEGIN
  SELECT array_agg(p.partner_id) INTO the_partners FROM prm.partner p WHERE p.program_id = _find_account_risks.program_id;
  FOR rule IN
    SELECT r.*, prm._condition(r.condition) AS path FROM prm.risk_rule r
    WHERE r.program_id = _find_account_risks.program_id AND r.is_active AND r.kind IN ('duplicate_account', 'network_ban') ORDER BY r.risk_rule
  LOOP
    the_match := coalesce(prm._risk_words(rule.parameters, 'match'), ARRAY['tax_id', 'bank', 'email', 'domain']);
    IF rule.kind = 'duplicate_account' THEN
      RETURN QUERY
      WITH mark AS MATERIALIZED (
        SELECT DISTINCT m.what, m.word, m.partner_id FROM prm._partner_marks(_find_account_risks.program_id, the_partners) m WHERE m.what = ANY (the_match)
      ), shared AS MATERIALIZED (
        SELECT m.what, m.word, array_agg(m.partner_id ORDER BY m.partner_id) AS partners FROM mark m GROUP BY m.what, m.word HAVING count(*) > 1
      )
      -- The account that came first is not the one to answer for it; each later one is compared with the first that is none
      -- of its own group (a parent and its children, and the children of one parent).
      SELECT rule.risk_rule, p.partner_id, NULL::bigint, format('%s:%s:%s', s.what, s.word, o.partner_id), NULL::timestamptz,
        jsonb_build_object('found', format('the same %s as partner %s', CASE s.what WHEN 'bank' THEN 'bank account' ELSE replace(s.what, '_', ' ') END, o.partner_id), 'other', o.partner_id)
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
        jsonb_build_object('found', format('the %s is one of %s', CASE m.what WHEN 'bank' THEN 'bank account' ELSE replace(m.what, '_', ' ') END, f.place))
      FROM (SELECT DISTINCT n.partner_id, n.what, n.word FROM prm._partner_marks(_find_account_risks.program_id, the_partners) n) m
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
