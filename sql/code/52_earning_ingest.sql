
-- Earning: facts that come from outside. Rates of exchange, the intake of billing systems, cancellations and manual entries.

CREATE FUNCTION prm._exchange_rate(program_id bigint, from_currency text, to_currency text, on_date date) RETURNS numeric
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_rate numeric;
BEGIN
  IF _exchange_rate.from_currency = _exchange_rate.to_currency THEN
    RETURN 1;
  END IF;
  SELECT r.rate INTO the_rate FROM prm.exchange_rate r
    WHERE r.program_id = _exchange_rate.program_id AND r.from_currency = _exchange_rate.from_currency AND r.to_currency = _exchange_rate.to_currency
      AND r.valid_from <= _exchange_rate.on_date
    ORDER BY r.valid_from DESC LIMIT 1;
  IF the_rate IS NULL THEN
    SELECT 1 / r.rate INTO the_rate FROM prm.exchange_rate r
      WHERE r.program_id = _exchange_rate.program_id AND r.from_currency = _exchange_rate.to_currency AND r.to_currency = _exchange_rate.from_currency
        AND r.valid_from <= _exchange_rate.on_date
      ORDER BY r.valid_from DESC LIMIT 1;
  END IF;
  RETURN the_rate;
END
$prm$;
COMMENT ON FUNCTION prm._exchange_rate(bigint, text, text, date) IS
'How much of to_currency one unit of from_currency is on a business date: the rate that is in force, else the inverse of the other direction''s, else NULL.';

CREATE TYPE prm.ingest_result AS (position integer, external_ref text, outcome text, earning_event_id bigint, message text);
COMMENT ON TYPE prm.ingest_result IS
'What became of an element of earning_ingest(): its place in the batch from 1, its external_ref, recorded, unchanged (it was there already), conflict (it is there with other facts, which stay) or rejected, the earning event, and why.';

CREATE TYPE prm.ingest_element AS (position integer, external_ref text, facts jsonb, credits jsonb, waits_for text, problem text);
COMMENT ON TYPE prm.ingest_element IS 'An element of earning_ingest() made ready, internal: its columns with all references resolved, or what is wrong with it, or the element that must come first.';

CREATE FUNCTION prm._ingest_judge(program_id bigint, batch jsonb, positions integer[]) RETURNS SETOF prm.ingest_element
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_columns constant text[] := ARRAY['kind', 'document_ref', 'product', 'product_family', 'deal_kind', 'subscription_id', 'service_period', 'line_no', 'quantity',
    'amount', 'commissionable_amount', 'list_amount', 'cost', 'currency', 'legal_entity', 'occurred_at', 'registered', 'external_ref', 'attributes',
    'partner_id', 'customer_id', 'deal_id', 'applies_to_id'];
  the_references constant text[] := ARRAY['partner_ref', 'customer_ref', 'deal_ref', 'applies_to_ref', 'credits'];
BEGIN
  RETURN QUERY
  SELECT r.position, r.element ->> 'external_ref',
    jsonb_strip_nulls((r.element - the_references) || jsonb_build_object('partner_id', r.partner_id, 'customer_id', r.customer_id, 'deal_id', r.deal_id,
      'applies_to_id', r.applies_to_id)),
    c.credits,
    CASE WHEN r.applies_to_id IS NULL THEN r.element ->> 'applies_to_ref' END,
    nullif(concat_ws('; ',
      CASE WHEN r.element ->> 'external_ref' IS NULL OR btrim(r.element ->> 'external_ref') = '' THEN 'external_ref is empty: an event that may be sent twice needs one' END,
      'there is no field ' || (SELECT string_agg(quote_ident(k), ', ' ORDER BY k) FROM jsonb_object_keys(r.element) k
        WHERE NOT k = ANY (the_columns || the_references)),
      CASE WHEN r.element ->> 'kind' IS NULL THEN 'kind is empty'
           WHEN NOT EXISTS (SELECT 1 FROM prm.earning_kind k WHERE k.program_id = _ingest_judge.program_id AND k.kind = r.element ->> 'kind')
           THEN format('there is no earning kind "%s"', r.element ->> 'kind') END,
      CASE WHEN r.element ->> 'occurred_at' IS NULL THEN 'occurred_at is empty: when it happened decides what it earns' END,
      CASE WHEN r.partner_id IS NULL AND r.element ->> 'partner_ref' IS NOT NULL THEN format('no partner has the external_ref "%s"', r.element ->> 'partner_ref') END,
      CASE WHEN r.customer_id IS NULL AND r.element ->> 'customer_ref' IS NOT NULL THEN format('no customer has the external_ref "%s"', r.element ->> 'customer_ref') END,
      CASE WHEN r.deal_id IS NULL AND r.element ->> 'deal_ref' IS NOT NULL THEN format('no deal has the external_ref "%s"', r.element ->> 'deal_ref') END,
      CASE WHEN r.element ->> 'product' IS NOT NULL AND NOT EXISTS (SELECT 1 FROM prm.product p
             WHERE p.program_id = _ingest_judge.program_id AND p.product = r.element ->> 'product')
           THEN format('product "%s" does not exist', r.element ->> 'product') END,
      c.problem,
      CASE WHEN c.credits IS NOT NULL AND r.partner_id IS NOT NULL THEN 'credits and partner are both given: with credits, leave the partner out' END), '')
  FROM (
    SELECT i.position, i.element,
      coalesce((SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _ingest_judge.program_id AND p.external_ref = i.element ->> 'partner_ref'),
               CASE WHEN i.element ->> 'partner_id' ~ '^[0-9]{1,18}$' THEN (i.element ->> 'partner_id')::bigint END) AS partner_id,
      coalesce((SELECT p.customer_id FROM prm.customer p WHERE p.program_id = _ingest_judge.program_id AND p.external_ref = i.element ->> 'customer_ref'),
               CASE WHEN i.element ->> 'customer_id' ~ '^[0-9]{1,18}$' THEN (i.element ->> 'customer_id')::bigint END) AS customer_id,
      coalesce((SELECT p.deal_id FROM prm.deal p WHERE p.program_id = _ingest_judge.program_id AND p.external_ref = i.element ->> 'deal_ref'),
               CASE WHEN i.element ->> 'deal_id' ~ '^[0-9]{1,18}$' THEN (i.element ->> 'deal_id')::bigint END) AS deal_id,
      coalesce((SELECT p.earning_event_id FROM prm.earning_event p WHERE p.program_id = _ingest_judge.program_id AND p.external_ref = i.element ->> 'applies_to_ref'),
               CASE WHEN i.element ->> 'applies_to_id' ~ '^[0-9]{1,18}$' THEN (i.element ->> 'applies_to_id')::bigint END) AS applies_to_id
    FROM (SELECT n.position, CASE WHEN jsonb_typeof(_ingest_judge.batch -> (n.position - 1)) = 'object' THEN _ingest_judge.batch -> (n.position - 1) ELSE '{}' END AS element
          FROM unnest(_ingest_judge.positions) AS n(position)) i
  ) r
  CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) > 0 THEN jsonb_agg(jsonb_build_object('partner_id', g.partner_id, 'credit_type', coalesce(g.credit ->> 'credit_type', 'sourced'),
        'weight', coalesce(g.credit -> 'weight', '100')) ORDER BY g.partner_id) END AS credits,
      coalesce(max('no partner has the external_ref "' || coalesce(g.credit ->> 'partner_ref', '') || '" of a credit') FILTER (WHERE g.partner_id IS NULL),
        CASE WHEN jsonb_typeof(r.element -> 'credits') NOT IN ('array', 'null') THEN 'credits are no array' END) AS problem
    FROM (SELECT c.credit, coalesce((SELECT p.partner_id FROM prm.partner p WHERE p.program_id = _ingest_judge.program_id AND p.external_ref = c.credit ->> 'partner_ref'),
            CASE WHEN c.credit ->> 'partner_id' ~ '^[0-9]{1,18}$' THEN (c.credit ->> 'partner_id')::bigint END) AS partner_id
          FROM jsonb_array_elements(CASE WHEN jsonb_typeof(r.element -> 'credits') = 'array' THEN r.element -> 'credits' ELSE '[]' END) AS c(credit)) g
  ) c;
END
$prm$;
COMMENT ON FUNCTION prm._ingest_judge(bigint, jsonb, integer[]) IS 'Looks at elements of a batch: resolves what they refer to and says what is wrong with them. Reads only.';

CREATE FUNCTION prm._ingest_rows(program_id bigint, elements prm.ingest_element[]) RETURNS SETOF prm.ingest_result
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_half integer := cardinality(_ingest_rows.elements) / 2;
  the_facts jsonb;
  the_new jsonb;
  the_message text;
  the_detail text;
BEGIN
  IF the_half IS NULL THEN
    RETURN;
  END IF;
  BEGIN
    SELECT jsonb_agg(jsonb_build_object('currency', prm._program_currency(_ingest_rows.program_id)) || e.facts ORDER BY (e.facts ->> 'occurred_at')::timestamptz, e.position)
      INTO the_facts FROM unnest(_ingest_rows.elements) e;
    WITH written AS (
      INSERT INTO prm.earning_event (program_id, kind, deal_id, line_no, document_ref, partner_id, customer_id, product, product_family, deal_kind, subscription_id,
          service_period, quantity, amount, commissionable_amount, list_amount, cost, currency, legal_entity, occurred_at, applies_to_id, registered, external_ref,
          attributes)
        SELECT _ingest_rows.program_id, f.kind, f.deal_id, f.line_no, f.document_ref, f.partner_id, f.customer_id, f.product, f.product_family, f.deal_kind, f.subscription_id,
          f.service_period, f.quantity, f.amount, f.commissionable_amount, f.list_amount, f.cost, f.currency, f.legal_entity, f.occurred_at, f.applies_to_id, f.registered,
          f.external_ref, coalesce(f.attributes, '{}')
        FROM jsonb_array_elements(the_facts) WITH ORDINALITY AS i(fact, place)
        CROSS JOIN LATERAL jsonb_populate_record(NULL::prm.earning_event, i.fact) f
        ORDER BY i.place
        ON CONFLICT (program_id, external_ref) DO NOTHING
        RETURNING external_ref, earning_event_id)
    SELECT coalesce(jsonb_object_agg(w.external_ref, w.earning_event_id), '{}') INTO the_new FROM written w;
    INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight)
      SELECT _ingest_rows.program_id, (the_new ->> e.external_ref)::bigint, c.credit_type, c.partner_id, c.weight
      FROM (SELECT DISTINCT ON (u.external_ref) u.external_ref, u.credits, u.position FROM unnest(_ingest_rows.elements) u ORDER BY u.external_ref, u.position) e
      CROSS JOIN LATERAL jsonb_to_recordset(e.credits) AS c(partner_id bigint, credit_type text, weight numeric)
      WHERE the_new ? e.external_ref AND e.credits IS NOT NULL
      ORDER BY e.position;
    -- Of two elements of one name in a batch, the first was recorded.
    RETURN QUERY
    SELECT e.position, e.external_ref,
      CASE WHEN e.is_first AND the_new ? e.external_ref THEN 'recorded' WHEN d.differences IS NULL THEN 'unchanged' ELSE 'conflict' END,
      coalesce((the_new ->> e.external_ref)::bigint, d.earning_event_id),
      CASE WHEN NOT (e.is_first AND the_new ? e.external_ref) THEN 'it was recorded with ' || d.differences || '; events are never changed' END
    FROM (SELECT u.*, row_number() OVER (PARTITION BY u.external_ref ORDER BY (u.facts ->> 'occurred_at')::timestamptz, u.position) = 1 AS is_first
          FROM unnest(_ingest_rows.elements) u) e
    CROSS JOIN LATERAL (
      SELECT t.earning_event_id, concat_ws(', ',
        (SELECT string_agg(format('%s %s', f.key, coalesce(to_jsonb(t) ->> f.key, 'empty')), ', ' ORDER BY f.key)
         FROM jsonb_each(to_jsonb(jsonb_populate_record(NULL::prm.earning_event, e.facts))) f
         WHERE e.facts ? f.key AND to_jsonb(t) -> f.key IS DISTINCT FROM f.value),
        CASE WHEN e.credits IS NOT NULL AND e.credits <> (SELECT coalesce(jsonb_agg(jsonb_build_object('partner_id', c.partner_id, 'credit_type', c.credit_type, 'weight', c.weight)
               ORDER BY c.partner_id), '[]') FROM prm.sales_credit c
             WHERE c.program_id = _ingest_rows.program_id AND c.earning_event_id = t.earning_event_id AND c.revision = 1) THEN 'other credits' END) AS differences
      FROM prm.earning_event t WHERE t.program_id = _ingest_rows.program_id AND t.external_ref = e.external_ref OFFSET 0) x
    CROSS JOIN LATERAL (SELECT x.earning_event_id, nullif(x.differences, '') AS differences) d;
    RETURN;
  EXCEPTION
    WHEN serialization_failure OR deadlock_detected THEN
      RAISE;
    WHEN OTHERS THEN
      -- What is wrong with the server, the statement or the rights is no fault of an element.
      IF SQLSTATE ~ '^(40|53|57|58|XX|25|F0)' OR (SQLSTATE ~ '^42' AND SQLSTATE <> '42704') THEN
        RAISE;
      END IF;
      GET STACKED DIAGNOSTICS the_message = MESSAGE_TEXT, the_detail = PG_EXCEPTION_DETAIL;
      the_message := concat_ws(': ', the_message, left(nullif(the_detail, ''), 500)) || format(' (SQLSTATE %s)', SQLSTATE);
  END;
  IF the_half = 0 THEN
    RETURN NEXT ROW(_ingest_rows.elements[1].position, _ingest_rows.elements[1].external_ref, 'rejected', NULL, the_message)::prm.ingest_result;
    RETURN;
  END IF;
  RETURN QUERY SELECT r.position, r.external_ref, r.outcome, r.earning_event_id, r.message
    FROM prm._ingest_rows(_ingest_rows.program_id, _ingest_rows.elements[:the_half]) r;
  RETURN QUERY SELECT r.position, r.external_ref, r.outcome, r.earning_event_id, r.message
    FROM prm._ingest_rows(_ingest_rows.program_id, _ingest_rows.elements[the_half + 1:]) r;
END
$prm$;
COMMENT ON FUNCTION prm._ingest_rows(bigint, prm.ingest_element[]) IS
'Records elements of earning_ingest() in a subtransaction; where that fails, each half of them, until the bad one stands alone and is rejected with the error''s text.';

CREATE FUNCTION prm.earning_ingest(batch jsonb, options jsonb DEFAULT '{}', program_id bigint DEFAULT prm.current_program()) RETURNS SETOF prm.ingest_result
-- The time zone is that of the programme while it runs, so that a moment without one means the same in every session.
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(earning_ingest.program_id);
  the_size integer := 500;
  the_pending integer[];
  the_judged prm.ingest_element[];
  the_ready prm.ingest_element[];
  the_results prm.ingest_result[] := '{}';
  the_start integer;
BEGIN
  PERFORM prm._check_options(earning_ingest.options, ARRAY['batch'], 'earning_ingest');
  IF earning_ingest.options ? 'batch' THEN
    IF earning_ingest.options ->> 'batch' !~ '^[0-9]{1,6}$' OR (earning_ingest.options ->> 'batch')::integer NOT BETWEEN 1 AND 100000 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('a batch of %s elements cannot be recorded', earning_ingest.options ->> 'batch'),
        DETAIL = 'A batch has 1 to 100000 elements.', HINT = 'Leave the option out for 500.';
    END IF;
    the_size := (earning_ingest.options ->> 'batch')::integer;
  END IF;
  IF coalesce(jsonb_typeof(earning_ingest.batch), '') <> 'array' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the batch is no JSON array',
      DETAIL = format('It was given as %s.', left(coalesce(earning_ingest.batch::text, 'NULL'), 100)),
      HINT = 'Give [{"external_ref": "INV-1", "kind": "invoiced", "partner_ref": "P1", "amount": 100, "occurred_at": "2026-01-31"}].';
  END IF;
  PERFORM set_config('TimeZone', prm._program_time_zone(the_program), true);

  SELECT array_agg(n) INTO the_pending FROM generate_series(1, jsonb_array_length(earning_ingest.batch)) n;
  WHILE cardinality(the_pending) > 0
  LOOP
    SELECT array_agg(j) INTO the_judged FROM prm._ingest_judge(the_program, earning_ingest.batch, the_pending) j;
    the_results := the_results || ARRAY(SELECT ROW(j.position, j.external_ref, 'rejected', NULL,
        CASE WHEN jsonb_typeof(earning_ingest.batch -> (j.position - 1)) <> 'object' THEN 'the element is no JSON object' ELSE j.problem END)::prm.ingest_result
      FROM unnest(the_judged) j WHERE j.problem IS NOT NULL);
    -- What refers to an element that is still to come waits for it; where all wait, it never comes.
    SELECT array_agg(j ORDER BY j.position) INTO the_ready FROM unnest(the_judged) j WHERE j.problem IS NULL AND j.waits_for IS NULL;
    IF the_ready IS NULL THEN
      the_results := the_results || ARRAY(SELECT ROW(j.position, j.external_ref, 'rejected', NULL,
          format('no earning event has the external_ref "%s", which it applies to', j.waits_for))::prm.ingest_result
        FROM unnest(the_judged) j WHERE j.problem IS NULL);
      EXIT;
    END IF;
    the_start := 1;
    WHILE the_start <= cardinality(the_ready)
    LOOP
      the_results := the_results || ARRAY(SELECT r FROM prm._ingest_rows(the_program, the_ready[the_start : the_start + the_size - 1]) r);
      the_start := the_start + the_size;
    END LOOP;
    SELECT array_agg(j.position ORDER BY j.position) INTO the_pending FROM unnest(the_judged) j WHERE j.problem IS NULL AND j.waits_for IS NOT NULL;
  END LOOP;
  RETURN QUERY SELECT r.position, r.external_ref, r.outcome, r.earning_event_id, r.message FROM unnest(the_results) r ORDER BY r.position;
END
$prm$;
COMMENT ON FUNCTION prm.earning_ingest(jsonb, jsonb, bigint) IS
'Records earning events of a billing system, an array of objects with the columns of earning_event, where partner_ref, customer_ref, deal_ref and applies_to_ref name rows by their external_ref and credits is an array of {partner_ref, credit_type, weight}. May be sent again: an element is recorded, unchanged, in conflict (the same external_ref with other facts: the first ones stay) or rejected with the reason, and no bad element stops a good one. Option: batch (500). Errors: 22023 no array or an unknown option.';

CREATE FUNCTION prm.cancel_event(earning_event_id bigint, reason text, program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(cancel_event.program_id);
  event prm.earning_event;
  total prm.refund_total;
  the_refund bigint;
BEGIN
  IF coalesce(btrim(cancel_event.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a cancellation needs a reason', DETAIL = 'The reason given is empty.',
      HINT = 'SELECT prm.cancel_event(17, ''ordered twice'').';
  END IF;
  SELECT e.* INTO event FROM prm.earning_event e WHERE e.program_id = the_program AND e.earning_event_id = cancel_event.earning_event_id;
  IF event.earning_event_id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no earning event %s', cancel_event.earning_event_id),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT * FROM prm.v_earning lists the events and their deals.';
  END IF;
  SELECT t.* INTO total FROM prm.refund_total t WHERE t.program_id = the_program AND t.earning_event_id = cancel_event.earning_event_id;
  IF event.kind = 'refunded' OR (total.refunds > 0 AND total.refunded >= coalesce(event.amount, 0)) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('earning event %s cannot be cancelled', event.earning_event_id),
      DETAIL = CASE WHEN event.kind = 'refunded' THEN 'It is a refund itself.' ELSE 'All of it was taken back before.' END,
      HINT = 'Only what is left of a sale can be taken back.';
  END IF;
  INSERT INTO prm.earning_event (program_id, kind, deal_id, line_no, document_ref, partner_id, customer_id, product, product_family, deal_kind, subscription_id,
      amount, currency, legal_entity, occurred_at, applies_to_id, booking_no, attributes)
    VALUES (the_program, 'refunded', event.deal_id, event.line_no, event.document_ref, event.partner_id, event.customer_id, event.product, event.product_family,
      event.deal_kind, event.subscription_id, coalesce(total.refunded, 0) - coalesce(event.amount, 0), event.currency, event.legal_entity,
      greatest(prm.now(), event.occurred_at), event.earning_event_id, event.booking_no, jsonb_build_object('reason', cancel_event.reason))
    RETURNING earning_event_id INTO the_refund;
  RETURN the_refund;
END
$prm$;
COMMENT ON FUNCTION prm.cancel_event(bigint, text, bigint) IS
'Takes back what is left of an earning event: books a refund of it, now, and returns that event. Errors: 42704 unknown event, 22023 no reason, 55000 a refund, or nothing left.';

CREATE FUNCTION prm.post_adjustment(partner_id bigint, amount numeric, currency text, reason text, cause_entry_id bigint DEFAULT NULL,
  program_id bigint DEFAULT prm.current_program()) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_program bigint := prm._check_program(post_adjustment.program_id);
  the_entry bigint;
  cause prm.ledger;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM prm.partner p WHERE p.program_id = the_program AND p.partner_id = post_adjustment.partner_id) THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no partner %s', coalesce(post_adjustment.partner_id::text, 'NULL')),
      DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT partner_id, name FROM prm.partner lists the partners.';
  END IF;
  IF coalesce(btrim(post_adjustment.reason), '') = '' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'an adjustment needs a reason', DETAIL = 'The reason given is empty; it stands on the statement.',
      HINT = 'SELECT prm.post_adjustment(17, 250, ''USD'', ''bonus for the launch'').';
  END IF;
  IF coalesce(post_adjustment.amount, 0) = 0 OR post_adjustment.amount <> prm.round_money(post_adjustment.amount, coalesce(post_adjustment.currency, '')) THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is no amount of %s', coalesce(post_adjustment.amount::text, 'NULL'), post_adjustment.currency),
      DETAIL = format('An adjustment is not zero and has at most %s decimal places.', prm.minor_units(post_adjustment.currency)),
      HINT = 'Give a positive amount for what the partner gets, a negative one for what goes back.';
  END IF;
  IF post_adjustment.cause_entry_id IS NOT NULL THEN
    SELECT l.* INTO cause FROM prm.ledger l WHERE l.program_id = the_program AND l.entry_id = post_adjustment.cause_entry_id;
    IF cause.entry_id IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no ledger entry %s', post_adjustment.cause_entry_id),
        DETAIL = format('It was looked for in programme %s.', the_program), HINT = 'SELECT * FROM prm.v_ledger lists the entries.';
    ELSIF cause.partner_id <> post_adjustment.partner_id OR cause.currency <> post_adjustment.currency THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('ledger entry %s cannot be adjusted like this', cause.entry_id),
        DETAIL = format('It is of partner %s, in %s.', cause.partner_id, cause.currency), HINT = 'Adjust it for its partner and in its currency, or name no entry.';
    END IF;
  END IF;
  the_entry := prm._write_adjustment(the_program, post_adjustment.partner_id, post_adjustment.amount, post_adjustment.currency, post_adjustment.reason,
    cause.entry_id, prm.current_actor());
  RETURN the_entry;
END
$prm$;
COMMENT ON FUNCTION prm.post_adjustment(bigint, numeric, text, text, bigint, bigint) IS
'Writes an entry of kind adjustment by hand, payable at once, and returns it. For the owner of schema prm and the profiles admin and manager, see grant_access(). Errors: 42704 unknown partner or entry, 22023 no reason, no amount, or a cause of another partner or currency.';
