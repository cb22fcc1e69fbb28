
-- Demonstration: a programme of 24 months that was lived through the engines themselves, with the clock moved from step to
-- step. Everything in it is drawn from the seed, so that one seed gives one programme.

CREATE FUNCTION prm._draw(seed bigint, what text, key text) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT ('x' || substr(md5(_draw.seed || ':' || _draw.what || ':' || _draw.key), 1, 8))::bit(32)::bigint / 4294967296.0
$prm$;
COMMENT ON FUNCTION prm._draw(bigint, text, text) IS
'A number from 0 up to but not including 1, always the same for the same seed, name and key; for demo(). Keys are external references, never ids, which differ from database to database.';

CREATE FUNCTION prm._demo_clock(moment timestamptz, partner_id bigint DEFAULT NULL, reason text DEFAULT '') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM set_config('prm.clock', _demo_clock.moment::text, true),
          set_config('prm.partner_id', coalesce(_demo_clock.partner_id::text, ''), true),
          set_config('prm.actor', CASE WHEN _demo_clock.partner_id IS NULL THEN 'channel manager' ELSE 'partner ' || _demo_clock.partner_id END, true),
          set_config('prm.reason', _demo_clock.reason, true);
END
$prm$;
COMMENT ON FUNCTION prm._demo_clock(timestamptz, bigint, text) IS
'Sets the moment, the acting partner (NULL: the vendor) and the reason for the next step of demo(), until the end of the transaction.';

CREATE FUNCTION prm._demo_partners(program_id bigint, seed bigint, partners integer, start_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  PERFORM prm._demo_clock(_demo_partners.start_at);
  INSERT INTO prm.product (program_id, product, label, family, list_price, currency) VALUES
    (_demo_partners.program_id, 'ledger-basic', 'Ledger Basic', 'ledger', 1200, 'USD'),
    (_demo_partners.program_id, 'ledger-pro', 'Ledger Pro', 'ledger', 4800, 'USD'),
    (_demo_partners.program_id, 'payroll', 'Payroll', 'payroll', 2600, 'USD'),
    (_demo_partners.program_id, 'store-front', 'Store Front', 'commerce', 7400, 'USD');
  -- quality (0 to 1, the best partner first) drives how fast a partner answers, how well it sells and how many people it trains.
  INSERT INTO prm.partner (program_id, name, kind, country, region, email, domain, joined_on, created_at, external_ref, attributes)
  SELECT _demo_partners.program_id,
    (ARRAY['Northwind', 'Alder', 'Bluefin', 'Cedar', 'Delta', 'Ember', 'Falcon', 'Granite', 'Harbor', 'Iris', 'Juniper', 'Kestrel',
           'Lumen', 'Maple', 'Nimbus', 'Orchid', 'Pioneer', 'Quartz', 'Redwood', 'Summit'])[1 + (n - 1) % 20] || ' ' ||
    (ARRAY['Systems', 'Consulting', 'Partners', 'Solutions', 'Digital'])[1 + ((n - 1) / 20) % 5] ||
      CASE WHEN n > 100 THEN ' ' || n ELSE '' END,
    (ARRAY['reseller', 'reseller', 'integrator', 'reseller', 'consultant', 'franchisee'])[1 + (n - 1) % 6],
    (ARRAY['US', 'BR', 'DE'])[1 + n % 3], (ARRAY['Americas North', 'Americas South', 'Europe'])[1 + n % 3],
    'channel@partner' || n || '.example', 'partner' || n || '.example',
    (_demo_partners.start_at - make_interval(days => (prm._draw(_demo_partners.seed, 'joined', n::text) * 700)::integer))::date,
    _demo_partners.start_at, 'P' || lpad(n::text, 4, '0'),
    jsonb_build_object('quality', round((1 - (n - 0.5) / _demo_partners.partners)::numeric, 3),
      'sales_people', 1 + round((5 * (1 - (n - 0.5) / _demo_partners.partners) * (0.5 + prm._draw(_demo_partners.seed, 'sellers', n::text)))::numeric),
      'technical_people', round((4 * (1 - (n - 0.5) / _demo_partners.partners) * (0.5 + prm._draw(_demo_partners.seed, 'technicians', n::text)))::numeric),
      'customers', round((200 * prm._draw(_demo_partners.seed, 'customers', n::text))::numeric))
  FROM generate_series(1, _demo_partners.partners) n ORDER BY n;
  -- Every tenth partner is a hub, and the nine after it are its members where they are of the same region.
  UPDATE prm.partner p SET parent_id = h.partner_id
    FROM prm.partner h
    WHERE p.program_id = _demo_partners.program_id AND h.program_id = _demo_partners.program_id
      AND substr(h.external_ref, 2)::integer % 10 = 1 AND h.region = p.region AND p.partner_id > h.partner_id
      AND substr(p.external_ref, 2)::integer - substr(h.external_ref, 2)::integer < 10;

  PERFORM prm._demo_clock(_demo_partners.start_at + interval '1 day');
  UPDATE prm.partner SET state = 'onboarding' WHERE program_id = _demo_partners.program_id AND state = 'applicant'
    AND prm._draw(_demo_partners.seed, 'admit', external_ref) < 0.97;
  PERFORM prm._demo_clock(_demo_partners.start_at + interval '2 days', NULL, 'no business in our markets');
  UPDATE prm.partner SET state = 'rejected' WHERE program_id = _demo_partners.program_id AND state = 'applicant'
    AND (attributes ->> 'quality')::numeric < 0.2;
  PERFORM prm._demo_clock(_demo_partners.start_at + interval '10 days');
  UPDATE prm.partner SET state = 'active' WHERE program_id = _demo_partners.program_id AND state = 'onboarding';

  INSERT INTO prm.partner_user (program_id, partner_id, name, email, role, external_ref)
  SELECT p.program_id, p.partner_id, 'Person ' || n || ' of ' || p.name, 'person' || n || '@' || p.domain,
    CASE n WHEN 1 THEN 'owner' WHEN 2 THEN 'sales' ELSE 'technical' END, p.external_ref || '-' || n
  FROM prm.partner p
  CROSS JOIN LATERAL generate_series(1, 1 + round((p.attributes ->> 'quality')::numeric * 5)::integer) n
  WHERE p.program_id = _demo_partners.program_id;
  -- Certificates are valid for 24 months from the day of the exam; some lapse before the end of the story.
  INSERT INTO prm.certificate (program_id, partner_user_id, certification, issued_on, valid_until)
  SELECT u.program_id, u.partner_user_id, CASE WHEN u.role = 'technical' THEN 'technical' ELSE 'sales' END, d.issued_on,
    (d.issued_on + interval '24 months' - interval '1 day')::date
  FROM prm.partner_user u
  JOIN prm.partner p ON p.program_id = u.program_id AND p.partner_id = u.partner_id
  CROSS JOIN LATERAL (SELECT (_demo_partners.start_at + make_interval(days =>
    (prm._draw(_demo_partners.seed, 'exam', u.external_ref) * 640 - 30)::integer))::date AS issued_on) d
  WHERE u.program_id = _demo_partners.program_id AND u.role <> 'owner'
    AND prm._draw(_demo_partners.seed, 'certified', u.external_ref) < 0.4 + (p.attributes ->> 'quality')::numeric / 2;
END
$prm$;
COMMENT ON FUNCTION prm._demo_partners(bigint, bigint, integer, timestamptz) IS 'The products, partners, people and certificates of demo().';

CREATE FUNCTION prm._demo_leads(program_id bigint, seed bigint, month_no integer, leads integer, month_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partners bigint[];
  partner record;
BEGIN
  SELECT array_agg(p.partner_id ORDER BY (p.attributes ->> 'quality')::numeric DESC, p.partner_id) INTO the_partners
    FROM prm.partner p WHERE p.program_id = _demo_leads.program_id AND p.state = 'active';

  PERFORM prm._demo_clock(_demo_leads.month_at + interval '1 day');
  INSERT INTO prm.lead (program_id, partner_id, company, contact_name, email, country, region, source, campaign, product_family, created_at, external_ref)
  SELECT p.program_id, p.partner_id, c.company, 'Contact ' || c.number, 'contact@customer' || c.number || '.example', p.country, p.region,
    (ARRAY['web', 'event', 'referral', 'campaign'])[1 + (prm._draw(_demo_leads.seed, 'source', c.number::text) * 4)::integer % 4],
    CASE WHEN c.number % 5 = 0 THEN 'spring tour' END,
    (ARRAY['ledger', 'payroll', 'commerce'])[1 + (prm._draw(_demo_leads.seed, 'family', c.number::text) * 3)::integer % 3],
    _demo_leads.month_at + interval '1 day', 'L' || lpad(c.number::text, 8, '0')
  FROM (SELECT _demo_leads.month_no * 1000000 + n AS number,
               (ARRAY['Acorn', 'Brook', 'Cobalt', 'Dune', 'Elm', 'Fjord', 'Grove', 'Heron', 'Inlet', 'Jade', 'Knoll', 'Lark'])[1 + n % 12] || ' ' ||
               (ARRAY['Foods', 'Clinic', 'Motors', 'School', 'Logistics', 'Books', 'Textiles'])[1 + n % 7] || ' ' || _demo_leads.month_no || '-' || n AS company
        FROM generate_series(1, _demo_leads.leads) n) c
  JOIN prm.partner p ON p.program_id = _demo_leads.program_id
    AND p.partner_id = the_partners[1 + floor(power(prm._draw(_demo_leads.seed, 'partner', c.number::text), 1.8) * cardinality(the_partners))::integer]
  ORDER BY c.number;

  -- Step 1, by each partner: qualify by the vendor's criteria. Good partners answer within hours, weak ones within days.
  FOR partner IN
    SELECT p.partner_id, (p.attributes ->> 'quality')::numeric AS quality FROM prm.partner p
    WHERE p.program_id = _demo_leads.program_id AND p.partner_id = ANY (the_partners) ORDER BY p.partner_id
  LOOP
    PERFORM prm._demo_clock(_demo_leads.month_at + interval '1 day' + make_interval(hours => 2 + ((1 - partner.quality) * 90)::integer), partner.partner_id);
    UPDATE prm.lead SET state = 'partner_qualified',
        need = 'Replace ' || product_family || ' on spreadsheets',
        budget = 10 * round(((100 + 3600 * power(prm._draw(_demo_leads.seed, 'budget', external_ref), 3)) * (0.4 + partner.quality))::numeric),
        currency = 'USD', timeline_on = (_demo_leads.month_at + interval '60 days')::date,
        decision_maker = 'Owner of ' || company
      WHERE program_id = _demo_leads.program_id AND partner_id = partner.partner_id
        AND (state = 'returned' OR state = 'new' AND prm._draw(_demo_leads.seed, 'qualify', external_ref) < 0.5 + partner.quality / 3);
  END LOOP;

  -- Step 2, by the vendor: return what is thin, approve the rest.
  PERFORM prm._demo_clock(_demo_leads.month_at + interval '7 days', NULL, 'budget not confirmed by the customer');
  UPDATE prm.lead l SET state = 'returned' FROM prm.partner p
    WHERE l.program_id = _demo_leads.program_id AND p.program_id = _demo_leads.program_id AND p.partner_id = l.partner_id
      AND l.state = 'partner_qualified'
      AND prm._draw(_demo_leads.seed, 'return' || _demo_leads.month_no, l.external_ref) < 0.3 - (p.attributes ->> 'quality')::numeric / 4;
  PERFORM prm._demo_clock(_demo_leads.month_at + interval '8 days');
  UPDATE prm.lead SET state = 'approved' WHERE program_id = _demo_leads.program_id AND state = 'partner_qualified';
  -- Step 3: the vendor deepens some, and what stands the test becomes a deal.
  PERFORM prm._demo_clock(_demo_leads.month_at + interval '11 days');
  UPDATE prm.lead SET state = 'vendor_qualified' WHERE program_id = _demo_leads.program_id AND state = 'approved'
    AND prm._draw(_demo_leads.seed, 'deepen', external_ref) < 0.4;
  PERFORM prm._demo_clock(_demo_leads.month_at + interval '14 days');
  UPDATE prm.lead SET state = 'converted' WHERE program_id = _demo_leads.program_id AND state IN ('approved', 'vendor_qualified')
    AND prm._draw(_demo_leads.seed, 'convert', external_ref) < 0.65;
  PERFORM prm._demo_clock(_demo_leads.month_at + interval '15 days', NULL, 'no project this year');
  UPDATE prm.lead SET state = 'disqualified' WHERE program_id = _demo_leads.program_id AND state IN ('new', 'approved', 'vendor_qualified')
    AND prm._draw(_demo_leads.seed, 'lost' || _demo_leads.month_no, external_ref) < 0.3;
END
$prm$;
COMMENT ON FUNCTION prm._demo_leads(bigint, bigint, integer, integer, timestamptz) IS 'One month of lead qualification of demo(), in the three steps.';

CREATE FUNCTION prm._demo_deals(program_id bigint, seed bigint, month_no integer, target integer, month_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_partners bigint[];
  the_count integer;
BEGIN
  SELECT count(*) INTO the_count FROM prm.deal d WHERE d.program_id = _demo_deals.program_id;
  SELECT array_agg(p.partner_id ORDER BY (p.attributes ->> 'quality')::numeric DESC, p.partner_id) INTO the_partners
    FROM prm.partner p WHERE p.program_id = _demo_deals.program_id AND p.state = 'active';

  -- What a conversion created is known by its lead from now on.
  UPDATE prm.deal d SET external_ref = 'D' || l.external_ref, name = 'First project of ' || l.company FROM prm.lead l
    WHERE d.program_id = _demo_deals.program_id AND l.program_id = _demo_deals.program_id AND l.lead_id = d.lead_id AND d.external_ref IS NULL;

  -- Besides the converted leads, partners sell again to the customers they have, and find some by themselves.
  PERFORM prm._demo_clock(_demo_deals.month_at + interval '16 days');
  INSERT INTO prm.deal (program_id, partner_id, customer_id, name, product, product_family, kind, amount, expected_close_on, external_ref, created_at)
  SELECT _demo_deals.program_id, p.partner_id, c.customer_id,
    CASE WHEN c.customer_id IS NULL THEN 'Project ' || n.number ELSE (ARRAY['Renewal', 'Upsell'])[1 + n.number::integer % 2] || ' ' || c.name END,
    v.product, v.family, CASE WHEN c.customer_id IS NULL THEN 'new' WHEN n.number % 2 = 0 THEN 'renewal' ELSE 'upsell' END,
    10 * round(((80 + 2600 * power(prm._draw(_demo_deals.seed, 'amount', n.number::text), 3)) * (0.4 + (p.attributes ->> 'quality')::numeric))::numeric),
    (_demo_deals.month_at + interval '75 days')::date, 'D' || lpad(n.number::text, 8, '0'), _demo_deals.month_at + interval '16 days'
  FROM (SELECT (_demo_deals.month_no * 1000000 + g)::bigint AS number FROM generate_series(1, greatest(_demo_deals.target - the_count, 0)) g) n
  JOIN prm.partner p ON p.program_id = _demo_deals.program_id
    AND p.partner_id = the_partners[1 + floor(power(prm._draw(_demo_deals.seed, 'seller', n.number::text), 1.8) * cardinality(the_partners))::integer]
  JOIN prm.product v ON v.program_id = _demo_deals.program_id
    AND v.product = (ARRAY['ledger-basic', 'ledger-pro', 'payroll', 'store-front'])[1 + (prm._draw(_demo_deals.seed, 'product', n.number::text) * 4)::integer % 4]
  LEFT JOIN LATERAL (
    SELECT e.customer_id, k.name FROM prm.deal e
    JOIN prm.customer k ON k.program_id = e.program_id AND k.customer_id = e.customer_id
    WHERE e.program_id = _demo_deals.program_id AND e.partner_id = p.partner_id AND e.state = 'won'
    ORDER BY prm._draw(_demo_deals.seed, 'again' || n.number, e.external_ref) LIMIT 1) c ON n.number % 4 <> 0
  ORDER BY n.number;

  PERFORM prm._demo_clock(_demo_deals.month_at + interval '18 days');
  UPDATE prm.deal SET state = 'proposal' WHERE program_id = _demo_deals.program_id AND state = 'prospecting'
    AND prm._draw(_demo_deals.seed, 'propose' || _demo_deals.month_no, external_ref) < 0.9;
  PERFORM prm._demo_clock(_demo_deals.month_at + interval '21 days');
  UPDATE prm.deal SET state = 'negotiation' WHERE program_id = _demo_deals.program_id AND state = 'proposal'
    AND prm._draw(_demo_deals.seed, 'negotiate' || _demo_deals.month_no, external_ref) < 0.7;
  FOR day_no IN 22..26 LOOP
    PERFORM prm._demo_clock(_demo_deals.month_at + make_interval(days => day_no, hours => 9));
    UPDATE prm.deal d SET state = 'won' FROM prm.partner p
      WHERE d.program_id = _demo_deals.program_id AND p.program_id = _demo_deals.program_id AND p.partner_id = d.partner_id
        AND d.state IN ('proposal', 'negotiation') AND floor(prm._draw(_demo_deals.seed, 'day', d.external_ref) * 5) = day_no - 22
        AND prm._draw(_demo_deals.seed, 'win' || _demo_deals.month_no, d.external_ref) < 0.2 + (p.attributes ->> 'quality')::numeric * 0.45;
    UPDATE prm.deal SET state = 'lost' WHERE program_id = _demo_deals.program_id AND state IN ('proposal', 'negotiation')
      AND floor(prm._draw(_demo_deals.seed, 'day', external_ref) * 5) = day_no - 22 AND prm._draw(_demo_deals.seed, 'lose' || _demo_deals.month_no, external_ref) < 0.35;
  END LOOP;
END
$prm$;
COMMENT ON FUNCTION prm._demo_deals(bigint, bigint, integer, integer, timestamptz) IS 'One month of deals of demo(): new, renewed, won and lost.';

CREATE FUNCTION prm._demo_funds(program_id bigint, seed bigint, until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_fund bigint := (SELECT f.fund_id FROM prm.mdf_fund f WHERE f.program_id = _demo_funds.program_id AND f.name = 'Joint marketing');
  the_requests bigint[];
BEGIN
  PERFORM prm._demo_clock(_demo_funds.until - interval '150 days');
  PERFORM prm.grant_mdf(the_fund, 20000, 'budget of the year', _demo_funds.program_id);
  SELECT array_agg(prm.request_mdf(the_fund, 'spring tour', 500 + 100 * floor(prm._draw(_demo_funds.seed, 'fund', p.external_ref) * 40)::numeric,
      daterange((prm.now() AT TIME ZONE 'UTC')::date + 10, (prm.now() AT TIME ZONE 'UTC')::date + 20), p.partner_id, _demo_funds.program_id) ORDER BY p.external_ref)
    INTO the_requests
    FROM (SELECT i.* FROM prm.partner i WHERE i.program_id = _demo_funds.program_id AND i.state = 'active' ORDER BY i.external_ref LIMIT 5) p;
  PERFORM prm.approve_mdf(r, NULL, _demo_funds.program_id) FROM unnest(the_requests[1:4]) r;
  -- Two are paid, one waits to be paid, one was never claimed, one never decided.
  PERFORM prm._demo_clock(_demo_funds.until - interval '120 days');
  PERFORM prm.claim_mdf(r.request_id, 0.9 * r.expense, jsonb_build_object('invoice', 'F-' || r.place), _demo_funds.program_id)
    FROM (SELECT i.request_id, i.expense, row_number() OVER (ORDER BY i.request_id) AS place FROM prm.mdf_request i
      WHERE i.program_id = _demo_funds.program_id AND i.request_id = ANY (the_requests[1:3])) r ORDER BY r.request_id;
  PERFORM prm._demo_clock(_demo_funds.until - interval '110 days');
  PERFORM prm.reimburse_mdf(r, _demo_funds.program_id) FROM unnest(the_requests[1:2]) r;
  PERFORM prm._demo_clock(_demo_funds.until);
  PERFORM prm._work_mdf(_demo_funds.program_id, 100);
END
$prm$;
COMMENT ON FUNCTION prm._demo_funds(bigint, bigint, timestamptz) IS 'A fund for the demonstration: requests for one campaign, some of them claimed and paid.';

CREATE FUNCTION prm._demo_statements(program_id bigint, until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- For all payees and currencies; whoever wants a minimum adds a row for a currency, which goes before this one.
  INSERT INTO prm.settlement_profile (program_id, payment_days) VALUES (_demo_statements.program_id, 14);
  -- The first year was closed and approved in its time; the second is closed but for the last two months, and waits to be approved.
  PERFORM prm._demo_clock(_demo_statements.until - interval '11 months', NULL, 'checked against the ledger');
  PERFORM count(*) FROM prm.close_period(date_trunc('month', (_demo_statements.until - interval '12 months') AT TIME ZONE 'UTC')::date - 1, program_id => _demo_statements.program_id);
  UPDATE prm.statement SET state = 'approved' WHERE program_id = _demo_statements.program_id AND state = 'settled';
  PERFORM prm._demo_clock(_demo_statements.until);
  PERFORM count(*) FROM prm.close_period(date_trunc('month', (_demo_statements.until - interval '1 month') AT TIME ZONE 'UTC')::date - 1, program_id => _demo_statements.program_id);
END
$prm$;
COMMENT ON FUNCTION prm._demo_statements(bigint, timestamptz) IS 'The statements of demo(): terms for everybody, and the periods closed but for the last.';

CREATE FUNCTION prm.demo(seed bigint DEFAULT 1, partners integer DEFAULT 60, deals integer DEFAULT 1500) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
#variable_conflict use_column
DECLARE
  the_months constant integer := 24;
  the_end constant timestamptz := prm.now();
  the_settings jsonb;
  the_program bigint;
  the_start timestamptz;
  the_month timestamptz;
  the_name text;
BEGIN
  PERFORM prm._ready();
  IF demo.partners NOT BETWEEN 6 AND 5000 OR demo.deals NOT BETWEEN 100 AND 1000000 OR num_nulls(demo.seed, demo.partners, demo.deals) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a demonstration needs a seed, 6 to 5,000 partners and 100 to 1,000,000 deals',
      DETAIL = format('The seed is %s, the partners are %s, the deals are %s.', demo.seed, demo.partners, demo.deals),
      HINT = 'SELECT prm.demo() takes 60 partners and 1,500 deals.';
  END IF;
  IF NOT pg_has_role(session_user, (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'prm'), 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'only the owner of schema "prm" can make a demonstration programme',
      DETAIL = 'Its 24 months are lived through with prm.clock, which counts only for the owner.',
      HINT = 'Connect as the owner of schema prm.';
  END IF;
  SELECT jsonb_object_agg(s, coalesce(current_setting('prm.' || s, true), '')) INTO the_settings
    FROM unnest(ARRAY['clock', 'partner_id', 'actor', 'reason', 'program_id']) s;

  SELECT 'Demonstration' || CASE WHEN count(*) > 0 THEN ' ' || count(*) + 1 ELSE '' END INTO the_name
    FROM prm.program p WHERE p.name ~ '^Demonstration( \d+)?$';
  the_program := prm.create_program(the_name, 'reseller');
  PERFORM set_config('prm.program_id', the_program::text, true);

  the_start := the_end - make_interval(months => the_months);
  PERFORM prm._demo_partners(the_program, demo.seed, demo.partners, the_start - interval '20 days');
  FOR month_no IN 0 .. the_months - 1 LOOP
    the_month := the_start + make_interval(months => month_no);
    PERFORM prm._demo_leads(the_program, demo.seed, month_no, (demo.deals * 4 / 3 + month_no) / the_months, the_month);
    PERFORM prm._demo_deals(the_program, demo.seed, month_no, demo.deals * (month_no + 1) / the_months, the_month);
    PERFORM prm._demo_clock(the_month + interval '27 days');
    PERFORM count(*) FROM prm.evaluate_tiers(program_id => the_program);
    PERFORM count(*) FROM prm.refresh_segments(program_id => the_program);
    -- What was measured last is in no snapshot yet: health() shows a trend, health_changes() why.
    IF month_no IN (11, 17, 20, 23) THEN
      INSERT INTO prm.metric_value (program_id, partner_id, metric, observed_at, value)
      SELECT p.program_id, p.partner_id, m.metric, the_month + interval '26 days',
        CASE m.metric WHEN 'nps' THEN round((prm._draw(demo.seed, 'nps' || month_no, p.external_ref) * 60 - 20)::numeric + (p.attributes ->> 'quality')::numeric * 50)
        ELSE round((prm._draw(demo.seed, 'logins' || month_no, p.external_ref) * 10)::numeric + (p.attributes ->> 'quality')::numeric * 15) END
      FROM prm.partner p CROSS JOIN (VALUES ('nps'), ('logins_30d')) m(metric)
      WHERE p.program_id = the_program AND p.state = 'active' AND prm._draw(demo.seed, 'measured', p.external_ref) < 0.9;
      IF month_no < 23 THEN
        PERFORM prm.refresh_health(program_id => the_program);
      END IF;
    END IF;
  END LOOP;

  PERFORM prm._demo_funds(the_program, demo.seed, the_end);
  PERFORM prm._demo_statements(the_program, the_end);

  PERFORM set_config('prm.' || s.key, s.value, true) FROM jsonb_each_text(the_settings) s;
  RETURN the_program;
END
$prm$;
COMMENT ON FUNCTION prm.demo(bigint, integer, integer) IS
'Makes a demonstration programme of 24 months that end now: partners in 3 regions, 4 leads for 3 deals, commissions, statements, tiers, health. The same seed gives the same programme. Returns its number. Only for the owner of schema prm (42501).';
