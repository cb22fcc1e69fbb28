
-- Registrations: whether a sale was registered by its partner when it was made.

CREATE FUNCTION prm._registered_deals(program_id bigint, deal_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
DECLARE
  the_registrations jsonb;
  the_products jsonb;
BEGIN
  -- Most programmes have none, and pay for no more than this.
  IF NOT EXISTS (SELECT 1 FROM prm.registration r WHERE r.program_id = _registered_deals.program_id AND r.protected IS NOT NULL) THEN
    RETURN '{}';
  END IF;
  -- What the customers of these deals have is read once, by all keys, into a map: a look-up for each deal then joins nothing.
  SELECT jsonb_object_agg(c.customer_id, c.registrations) INTO the_registrations FROM (
    SELECT r.customer_id, jsonb_agg(jsonb_build_object('partner', r.partner_id, 'deal', r.deal_id, 'family', r.product_family, 'protected', r.protected)) AS registrations
    FROM prm.registration r
    WHERE r.program_id = _registered_deals.program_id AND r.protected IS NOT NULL
      AND r.customer_id = ANY (ARRAY(SELECT DISTINCT d.customer_id FROM prm.deal d
        WHERE d.program_id = _registered_deals.program_id AND d.deal_id = ANY (_registered_deals.deal_ids) AND d.customer_id IS NOT NULL))
    GROUP BY r.customer_id) c;
  IF the_registrations IS NULL THEN
    RETURN '{}';
  END IF;
  -- The families of each product: its own and those of what it is a variant of.
  WITH RECURSIVE chain AS (
    SELECT p.product AS sold, p.parent, p.family, 0 AS depth FROM prm.product p WHERE p.program_id = _registered_deals.program_id
    UNION ALL
    SELECT c.sold, p.parent, p.family, c.depth + 1 FROM chain c
    JOIN prm.product p ON p.program_id = _registered_deals.program_id AND p.product = c.parent WHERE c.depth < 9
  )
  SELECT coalesce(jsonb_object_agg(f.sold, f.families), '{}') INTO the_products FROM (
    SELECT c.sold, jsonb_agg(c.family) AS families FROM chain c WHERE c.family IS NOT NULL GROUP BY c.sold) f;
  RETURN (
    SELECT coalesce(array_agg(d.deal_id ORDER BY d.deal_id), '{}')
    FROM (SELECT t.deal_id, t.partner_id, t.customer_id, t.product, t.product_family, coalesce(t.closed_at, prm.now()) AS moment FROM prm.deal t
      WHERE t.program_id = _registered_deals.program_id AND t.deal_id = ANY (_registered_deals.deal_ids) AND t.customer_id IS NOT NULL OFFSET 0) d
    WHERE EXISTS (
      SELECT 1 FROM jsonb_array_elements(the_registrations -> d.customer_id::text) r
      WHERE (r ->> 'partner')::bigint = d.partner_id AND (r ->> 'protected')::tstzrange @> d.moment
        AND ((r ->> 'deal')::bigint = d.deal_id OR r ->> 'family' = d.product_family OR the_products -> d.product ? (r ->> 'family')
          -- A deal that says what it is about in its lines only.
          OR d.product IS NULL AND d.product_family IS NULL AND EXISTS (SELECT 1 FROM prm.deal_line l
            WHERE l.program_id = _registered_deals.program_id AND l.deal_id = d.deal_id AND the_products -> l.product ? (r ->> 'family')))));
END
$prm$;
COMMENT ON FUNCTION prm._registered_deals(bigint, bigint[]) IS
'Which of the deals their partner had registered when they were closed (or now, where they are open): for the customer and the product family of the deal, its product or its lines, or for the very deal. In order.';
