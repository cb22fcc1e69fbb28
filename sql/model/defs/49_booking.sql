
-- Booking: a deal that is won becomes earning events, once; a deal that is no longer won takes them back.

CREATE OR REPLACE FUNCTION prm._is_won(program_id bigint, state text) RETURNS boolean
-- PL/pgSQL keeps its plan; a function in SQL would be planned anew by each statement that calls it.
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- The newest version that knows the state: a deal may still be on an older one.
  RETURN coalesce((SELECT s.is_final AND s.category = 'won' FROM prm.machine_state s
    WHERE s.program_id = _is_won.program_id AND s.machine = 'deal' AND s.state = _is_won.state ORDER BY s.version DESC LIMIT 1), false);
END
$prm$;
REVOKE ALL ON FUNCTION prm._is_won(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION prm._is_won(bigint, text) IS 'Whether a state of the machine deal is a final one of category won.';

-- What was not refunded yet goes back. The rows of refund_total are locked first, in order, so that a refund that arrives at the
-- same time is counted.
CREATE OR REPLACE FUNCTION prm._refund_rest(program_id bigint, earning_event_ids bigint[], occurred_at timestamptz, reason text) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_refunds bigint[];
BEGIN
  INSERT INTO prm.refund_total AS t (program_id, earning_event_id, refunded, refunds)
    SELECT _refund_rest.program_id, i.earning_event_id, 0, 0 FROM unnest(_refund_rest.earning_event_ids) AS i(earning_event_id) ORDER BY i.earning_event_id
    ON CONFLICT (program_id, earning_event_id) DO UPDATE SET refunds = t.refunds;
  WITH booked AS (
    INSERT INTO prm.earning_event (program_id, kind, deal_id, line_no, document_ref, partner_id, customer_id, product, product_family, deal_kind, subscription_id,
        amount, currency, legal_entity, occurred_at, applies_to_id, booking_no, attributes)
      SELECT e.program_id, 'refunded', e.deal_id, e.line_no, e.document_ref, e.partner_id, e.customer_id, e.product, e.product_family, e.deal_kind, e.subscription_id,
        t.refunded - coalesce(e.amount, 0), e.currency, e.legal_entity, greatest(_refund_rest.occurred_at, e.occurred_at), e.earning_event_id, e.booking_no,
        jsonb_strip_nulls(jsonb_build_object('reason', _refund_rest.reason))
      FROM unnest(_refund_rest.earning_event_ids) AS i(earning_event_id)
      CROSS JOIN LATERAL (SELECT * FROM prm.earning_event o
        WHERE o.program_id = _refund_rest.program_id AND o.earning_event_id = i.earning_event_id OFFSET 0) e
      CROSS JOIN LATERAL (SELECT o.refunded, o.refunds FROM prm.refund_total o
        WHERE o.program_id = _refund_rest.program_id AND o.earning_event_id = i.earning_event_id OFFSET 0) t
      WHERE coalesce(e.amount, 0) > t.refunded OR (coalesce(e.amount, 0) = 0 AND t.refunds = 0)
      ORDER BY e.occurred_at, e.earning_event_id
      RETURNING earning_event_id)
  SELECT array_agg(b.earning_event_id) INTO the_refunds FROM booked b;
  RETURN the_refunds;
END
$prm$;
REVOKE ALL ON FUNCTION prm._refund_rest(bigint, bigint[], timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION prm._refund_rest(bigint, bigint[], timestamptz, text) IS
'Books a refund of what is left of each event and returns the refunds; NULL where nothing was left. An event without an amount is refunded once, with 0.';

CREATE OR REPLACE FUNCTION prm._book_won_deals() RETURNS trigger
-- Rows are found by their keys, whatever the statistics say: a plan that was made while earning_event was empty would read all of it.
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = auto AS $prm$
#variable_conflict use_column
DECLARE
  touched record;
  the_ids bigint[];
  the_old bigint[];
  the_events bigint[];
  the_registered jsonb;
  the_protected bigint[];
BEGIN
  -- The few states that occur are looked at first: a statement that wins nothing pays for no more than that.
  IF TG_OP = 'UPDATE' THEN
    FOR touched IN SELECT o.program_id, o.state FROM old_rows o GROUP BY o.program_id, o.state ORDER BY 1, 2
    LOOP
      CONTINUE WHEN NOT prm._is_won(touched.program_id, touched.state);
      SELECT array_agg(o.deal_id) INTO the_ids FROM old_rows o WHERE o.program_id = touched.program_id AND o.state = touched.state;
      the_old := the_old || the_ids;
      -- Of those that were won, the ones that are so no longer.
      SELECT array_agg(e.earning_event_id) INTO the_events
        FROM unnest((SELECT array_agg(d.deal_id) FROM prm.deal d
          WHERE d.program_id = touched.program_id AND d.deal_id = ANY (the_ids) AND d.state <> touched.state
            AND NOT prm._is_won(touched.program_id, d.state))) AS i(deal_id)
        CROSS JOIN LATERAL (SELECT b.earning_event_id FROM prm.earning_event b
          WHERE b.program_id = touched.program_id AND b.deal_id = i.deal_id AND b.kind = 'booked' OFFSET 0) e;
      IF the_events IS NOT NULL THEN
        PERFORM prm._refund_rest(touched.program_id, the_events, prm.now(), 'the deal is no longer won');
      END IF;
    END LOOP;
  END IF;

  FOR touched IN SELECT n.program_id, n.state FROM new_rows n GROUP BY n.program_id, n.state ORDER BY 1, 2
  LOOP
    CONTINUE WHEN NOT prm._is_won(touched.program_id, touched.state);
    SELECT array_agg(n.deal_id) INTO the_ids FROM new_rows n WHERE n.program_id = touched.program_id AND n.state = touched.state;
    -- For a few deals one plan is as good as another, and making it would cost more than running it.
    PERFORM set_config('plan_cache_mode', CASE WHEN cardinality(the_ids) <= 20 THEN 'force_generic_plan' ELSE 'auto' END, true);
    -- A deal that was won before the statement may lack its booking, as it had no amount; it is never booked a second time.
    SELECT array_agg(d.deal_id) INTO the_ids
      FROM unnest(the_ids) AS d(deal_id)
      LEFT JOIN (SELECT DISTINCT w.deal_id FROM unnest(the_old) AS w(deal_id)) w ON w.deal_id = d.deal_id
      CROSS JOIN LATERAL (SELECT count(*) AS bookings, count(*) FILTER (WHERE t.refunds > 0 AND t.refunded >= coalesce(b.amount, 0)) AS taken_back
        FROM prm.earning_event b
        LEFT JOIN LATERAL (SELECT r.refunds, r.refunded FROM prm.refund_total r
          WHERE r.program_id = b.program_id AND r.earning_event_id = b.earning_event_id OFFSET 0) t ON true
        WHERE b.program_id = touched.program_id AND b.deal_id = d.deal_id AND b.kind = 'booked' OFFSET 0) e
      WHERE e.bookings = 0 OR (e.bookings = e.taken_back AND w.deal_id IS NULL);
    CONTINUE WHEN the_ids IS NULL;
    -- A map, so that each deal is looked up and not searched for.
    the_registered := '{}';
    the_protected := prm._registered_deals(touched.program_id, the_ids);
    IF cardinality(the_protected) > 0 THEN
      SELECT jsonb_object_agg(i, true) INTO the_registered FROM unnest(the_protected) i;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM unnest(the_ids) AS i(deal_id)
        CROSS JOIN LATERAL (SELECT 1 FROM prm.deal_line l WHERE l.program_id = touched.program_id AND l.deal_id = i.deal_id LIMIT 1) l) THEN
      -- The statement below, less what it says of lines: where no deal has any, most of its time went into that.
      INSERT INTO prm.earning_event (program_id, kind, deal_id, partner_id, customer_id, product, product_family, deal_kind, amount, cost, currency, occurred_at,
          registered, booking_no)
        SELECT d.program_id, 'booked', d.deal_id, d.partner_id, d.customer_id, d.product,
          coalesce(d.product_family, (SELECT p.family FROM prm.product p WHERE p.program_id = touched.program_id AND p.product = d.product)),
          d.kind, d.amount, d.cost, d.currency, coalesce(d.closed_at, prm.now()), the_registered ? d.deal_id::text,
          (SELECT coalesce(max(e.booking_no), 0) + 1 FROM prm.earning_event e
            WHERE e.program_id = touched.program_id AND e.deal_id = d.deal_id AND e.kind = 'booked')
        FROM prm.deal d
        WHERE d.program_id = touched.program_id AND d.deal_id = ANY (the_ids) AND d.amount IS NOT NULL
        ORDER BY coalesce(d.closed_at, prm.now()), d.deal_id
        ON CONFLICT (program_id, deal_id, coalesce(line_no, 0), booking_no) WHERE kind = 'booked' AND deal_id IS NOT NULL DO NOTHING;
      CONTINUE;
    END IF;
    INSERT INTO prm.earning_event (program_id, kind, deal_id, line_no, partner_id, customer_id, product, product_family, deal_kind, quantity,
        amount, commissionable_amount, list_amount, cost, currency, occurred_at, registered, booking_no)
      SELECT d.program_id, 'booked', d.deal_id, l.line_no, d.partner_id, d.customer_id, coalesce(l.product, d.product),
        CASE WHEN l.line_no IS NULL THEN coalesce(d.product_family, p.family) ELSE coalesce(p.family, d.product_family) END, d.kind, l.quantity,
        CASE WHEN l.line_no IS NULL THEN d.amount ELSE l.net END, CASE WHEN l.excluded <> 0 THEN greatest(d.amount - l.excluded, 0) END,
        l.list_amount, CASE WHEN l.line_no IS NULL THEN coalesce(l.cost, d.cost) ELSE l.cost END,
        d.currency, coalesce(d.closed_at, prm.now()), the_registered ? d.deal_id::text, b.booking_no
      -- By all keys at once, never by a join or a look-up that depends on statistics: see _earning_outcome().
      FROM (SELECT t.*, coalesce(t.book_by, (SELECT g.book_by FROM prm.program g WHERE g.program_id = touched.program_id)) = 'line'
              AND EXISTS (SELECT 1 FROM prm.deal_line i WHERE i.program_id = touched.program_id AND i.deal_id = t.deal_id) AS by_line
            FROM prm.deal t WHERE t.program_id = touched.program_id AND t.deal_id = ANY (the_ids) OFFSET 0) d
      CROSS JOIN LATERAL (
        SELECT NULL::integer AS line_no, NULL::text AS product, NULL::numeric AS net,
          sum(i.net) FILTER (WHERE NOT coalesce(q.commissionable, true)) AS excluded,
          sum(i.quantity) FILTER (WHERE coalesce(q.commissionable, true)) AS quantity,
          sum(i.list_amount) FILTER (WHERE coalesce(q.commissionable, true)) AS list_amount,
          sum(i.cost) FILTER (WHERE coalesce(q.commissionable, true)) AS cost
        FROM prm.deal_line i LEFT JOIN prm.product q ON q.program_id = touched.program_id AND q.product = i.product
        WHERE NOT d.by_line AND i.program_id = touched.program_id AND i.deal_id = d.deal_id
        HAVING NOT d.by_line
        UNION ALL
        SELECT i.line_no, i.product, i.net, NULL, i.quantity, i.list_amount, i.cost
        FROM prm.deal_line i WHERE d.by_line AND i.program_id = touched.program_id AND i.deal_id = d.deal_id
      ) l
      CROSS JOIN LATERAL (SELECT coalesce(max(e.booking_no), 0) + 1 AS booking_no FROM prm.earning_event e
        WHERE e.program_id = touched.program_id AND e.deal_id = d.deal_id AND e.kind = 'booked' OFFSET 0) b
      LEFT JOIN prm.product p ON p.program_id = touched.program_id AND p.product = coalesce(l.product, d.product)
      WHERE d.amount IS NOT NULL
      ORDER BY coalesce(d.closed_at, prm.now()), d.deal_id, l.line_no
      ON CONFLICT (program_id, deal_id, coalesce(line_no, 0), booking_no) WHERE kind = 'booked' AND deal_id IS NOT NULL DO NOTHING;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._book_won_deals() FROM PUBLIC;
COMMENT ON FUNCTION prm._book_won_deals() IS
'Trigger of deal: each deal that comes into a state of category won and has an amount becomes one earning event of kind booked, or one for each line, at its closing time. Commission-free lines are taken out of the commissionable amount. A deal that leaves such a state has what is left refunded, and books anew when it is won again.';

CREATE OR REPLACE TRIGGER prm_20_booking_insert AFTER INSERT ON prm.deal REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._book_won_deals();
CREATE OR REPLACE TRIGGER prm_20_booking_update AFTER UPDATE ON prm.deal REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._book_won_deals();
