
-- Credits: who is credited with an event, from the first, and what follows when that changes afterwards.

CREATE OR REPLACE FUNCTION prm._credit_given() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  fault record;
  the_ids bigint[];
  the_numbers bigint[];
  the_sourced boolean[];
  the_first bigint[];
  the_late bigint[];
  the_implied bigint[];
  the_refunds bigint[];
BEGIN
  FOR batch IN
    SELECT n.program_id, array_agg(DISTINCT n.earning_event_id) AS ids, bool_or(n.origin = 'deal') AS copied,
      array_agg(DISTINCT n.earning_event_id) FILTER (WHERE n.origin <> 'deal') AS given
    FROM new_rows n GROUP BY n.program_id ORDER BY n.program_id
  LOOP
    IF batch.copied AND pg_trigger_depth() = 1 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'credits of origin deal are copied by the model only',
        DETAIL = 'They were given by hand, and would earn nothing.', HINT = 'Leave origin out.', SCHEMA = 'prm', TABLE = 'sales_credit', COLUMN = 'origin';
    END IF;
    SELECT c.earning_event_id, c.credit_type, c.revision, sum(c.weight) AS total,
        string_agg(format('partner %s has %s', c.partner_id, trim_scale(c.weight)), ', ' ORDER BY c.partner_id) AS weights,
        (SELECT e.deal_id FROM prm.earning_event e WHERE e.program_id = batch.program_id AND e.earning_event_id = c.earning_event_id) AS deal_id
      INTO fault
      FROM prm.sales_credit c
      WHERE c.program_id = batch.program_id AND c.earning_event_id = ANY (batch.ids)
      GROUP BY c.earning_event_id, c.credit_type, c.revision HAVING sum(c.weight) <> 100 AND (c.revision = 1 OR sum(c.weight) <> 0)
      ORDER BY c.earning_event_id, c.credit_type LIMIT 1;
    IF fault.earning_event_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514',
        MESSAGE = format('the %s credits of %s do not total 100', fault.credit_type,
          CASE WHEN fault.deal_id IS NULL THEN format('earning event %s', fault.earning_event_id) ELSE format('deal %s', fault.deal_id) END),
        DETAIL = format('By weight, %s: together %s.', fault.weights, trim_scale(fault.total)),
        HINT = CASE WHEN fault.total > 100 AND fault.deal_id IS NULL THEN 'Give weights that total 100; what replaces credits that are there is the next revision of their type.'
          ELSE 'Give weights that total 100 within each credit type.' END,
        SCHEMA = 'prm', TABLE = 'sales_credit', COLUMN = 'weight';
    END IF;
    SELECT c.earning_event_id, c.credit_type, max(c.revision) AS revision, count(DISTINCT c.revision) AS revisions INTO fault
      FROM prm.sales_credit c WHERE c.program_id = batch.program_id AND c.earning_event_id = ANY (batch.ids)
      GROUP BY c.earning_event_id, c.credit_type
      HAVING max(c.revision) <> count(DISTINCT c.revision) ORDER BY c.earning_event_id, c.credit_type LIMIT 1;
    IF fault.earning_event_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('revision %s of the %s credits of earning event %s leaves one out', fault.revision, fault.credit_type, fault.earning_event_id),
        DETAIL = format('There are %s revisions.', fault.revisions), HINT = 'Revisions are numbered 1, 2, 3 ... within each credit type.',
        SCHEMA = 'prm', TABLE = 'sales_credit', COLUMN = 'revision';
    END IF;
    -- What was copied from a deal is accrued by the event's own trigger, in one go with the other events.
    CONTINUE WHEN batch.given IS NULL;
    SELECT e.earning_event_id INTO fault FROM prm.earning_event e
      WHERE e.program_id = batch.program_id AND e.earning_event_id = ANY (batch.given) AND e.kind = 'refunded' ORDER BY e.earning_event_id LIMIT 1;
    IF fault.earning_event_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('earning event %s is a refund and has no credits', fault.earning_event_id),
        DETAIL = 'A refund takes back from those who earned.', HINT = 'Give credits to the event that it refunds.', SCHEMA = 'prm', TABLE = 'sales_credit';
    END IF;
    -- Without a partner of its own, and without other credits, nobody has earned on the event yet.
    SELECT array_agg(r.earning_event_id), array_agg(r.credits), array_agg(r.has_sourced) INTO the_ids, the_numbers, the_sourced
      FROM (SELECT n.earning_event_id, count(*) AS credits, bool_or(n.credit_type = 'sourced') AS has_sourced
            FROM new_rows n WHERE n.program_id = batch.program_id AND n.origin <> 'deal' GROUP BY n.earning_event_id) r;
    SELECT array_agg(e.earning_event_id) FILTER (WHERE e.partner_id IS NULL AND e.is_alone), array_agg(e.earning_event_id) FILTER (WHERE e.partner_id IS NOT NULL OR NOT e.is_alone),
        array_agg(e.earning_event_id) FILTER (WHERE e.partner_id IS NOT NULL AND e.is_alone AND NOT e.has_sourced)
      INTO the_first, the_late, the_implied
      FROM (SELECT t.earning_event_id, t.partner_id, i.has_sourced,
              (SELECT count(*) FROM prm.sales_credit c WHERE c.program_id = batch.program_id AND c.earning_event_id = i.earning_event_id) = i.credits AS is_alone
            FROM unnest(the_ids, the_numbers, the_sourced) AS i(earning_event_id, credits, has_sourced)
            CROSS JOIN LATERAL (SELECT o.earning_event_id, o.partner_id FROM prm.earning_event o
              WHERE o.program_id = batch.program_id AND o.earning_event_id = i.earning_event_id OFFSET 0) t) e;
    IF the_first IS NOT NULL THEN
      -- What was refunded before anybody was credited is taken back from whoever earns it now. The row keeps off a refund that
      -- cannot see the new entries.
      INSERT INTO prm.refund_total AS t (program_id, earning_event_id, refunded, refunds)
        SELECT batch.program_id, i.earning_event_id, 0, 0 FROM unnest(the_first) AS i(earning_event_id) ORDER BY i.earning_event_id
        ON CONFLICT (program_id, earning_event_id) DO UPDATE SET refunds = t.refunds;
      SELECT array_agg(r.earning_event_id) INTO the_refunds FROM prm.earning_event r
        WHERE r.program_id = batch.program_id AND r.applies_to_id = ANY (the_first) AND r.kind = 'refunded';
      PERFORM prm._accrue(batch.program_id, the_first || the_refunds);
    END IF;
    -- An event without credits is its own partner's, as sourced; another type comes beside that and does not take it away.
    IF the_implied IS NOT NULL THEN
      INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight)
        SELECT batch.program_id, e.earning_event_id, 'sourced', e.partner_id, 100 FROM prm.earning_event e
        WHERE e.program_id = batch.program_id AND e.earning_event_id = ANY (the_implied) ORDER BY e.earning_event_id;
    END IF;
    IF the_late IS NOT NULL THEN
      PERFORM prm._recredit(batch.program_id, the_late);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._credit_given() FROM PUBLIC;
COMMENT ON FUNCTION prm._credit_given() IS
'Trigger of sales_credit: weights total 100 within a credit type and revision, and revisions have no gaps (23514); the first credits of an event that has no partner accrue at once; later ones post adjustments. Refunds have none (55000).';

CREATE OR REPLACE TRIGGER prm_30_accrual AFTER INSERT ON prm.sales_credit REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._credit_given();

-- What the events pay with the credits of now, less what they paid, is posted payee by payee.
CREATE OR REPLACE FUNCTION prm._recredit(program_id bigint, earning_event_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_zone constant text := prm._program_time_zone(_recredit.program_id);
  the_from date;
  the_to date;
  the_plans bigint[];
  the_counting bigint[];
  the_plan bigint;
BEGIN
  SELECT min((e.occurred_at AT TIME ZONE the_zone)::date), max((e.occurred_at AT TIME ZONE the_zone)::date) INTO the_from, the_to FROM prm.earning_event e
    WHERE e.program_id = _recredit.program_id AND e.earning_event_id = ANY (_recredit.earning_event_ids);
  SELECT array_agg(p.plan_id ORDER BY p.plan_id) INTO the_plans FROM prm.commission_plan p
    WHERE p.program_id = _recredit.program_id AND p.is_active AND p.earn_on IN (SELECT e.kind FROM prm.earning_event e
      WHERE e.program_id = _recredit.program_id AND e.earning_event_id = ANY (_recredit.earning_event_ids));
  the_counting := prm._counting_plans(_recredit.program_id, the_plans);
  -- Plans that count are replayed one by one, each with the events that it counted.
  SELECT array_agg(p) INTO the_plans FROM unnest(the_plans) p WHERE NOT p = ANY (coalesce(the_counting, '{}'));
  IF the_plans IS NOT NULL THEN
    PERFORM prm._book_recalculation(the_from, the_to, _recredit.program_id, _recredit.earning_event_ids, the_plans);
  END IF;
  FOREACH the_plan IN ARRAY coalesce(the_counting, '{}')
  LOOP
    PERFORM prm._book_recalculation(the_from, the_to, _recredit.program_id, _recredit.earning_event_ids, ARRAY[the_plan]);
  END LOOP;
END
$prm$;
REVOKE ALL ON FUNCTION prm._recredit(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._recredit(bigint, bigint[]) IS
'Posts adjustments for events whose credits have changed; plans that count are brought right for the partners concerned in the later events as well. A second time it finds nothing.';

-- The credits of a deal that was booked change: each of its events gets the next revision of the types that were touched.
CREATE OR REPLACE FUNCTION prm._deal_credits_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  touched record;
  fault record;
  the_new jsonb;
  the_old jsonb;
BEGIN
  IF TG_OP <> 'DELETE' THEN
    SELECT jsonb_object_agg(t.program_id, t.ids) INTO the_new FROM (SELECT n.program_id, jsonb_agg(DISTINCT n.deal_id) AS ids FROM new_rows n GROUP BY n.program_id) t;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    SELECT jsonb_object_agg(t.program_id, t.ids) INTO the_old FROM (SELECT o.program_id, jsonb_agg(DISTINCT o.deal_id) AS ids FROM old_rows o GROUP BY o.program_id) t;
  END IF;
  FOR touched IN
    SELECT t.program_id, array_agg(DISTINCT i.deal_id::bigint) AS ids
    FROM (SELECT n.key::bigint AS program_id, n.value AS ids FROM jsonb_each(the_new) n
          UNION ALL SELECT o.key::bigint, o.value FROM jsonb_each(the_old) o) t
    CROSS JOIN LATERAL jsonb_array_elements_text(t.ids) AS i(deal_id)
    GROUP BY t.program_id ORDER BY t.program_id
  LOOP
    -- Whoever wins the deal at this moment either sees these credits or is waited for: none of them is lost in between.
    PERFORM d.deal_id FROM prm.deal d WHERE d.program_id = touched.program_id AND d.deal_id = ANY (touched.ids) ORDER BY d.deal_id FOR NO KEY UPDATE;
    CONTINUE WHEN NOT EXISTS (SELECT 1 FROM unnest(touched.ids) AS i(deal_id)
      CROSS JOIN LATERAL (SELECT 1 FROM prm.earning_event e WHERE e.program_id = touched.program_id AND e.deal_id = i.deal_id LIMIT 1) e);
    SELECT d.deal_id, d.credit_type, d.total INTO fault
      FROM (SELECT p.deal_id, p.credit_type, sum(p.weight) AS total FROM prm.deal_partner p
            WHERE p.program_id = touched.program_id AND p.deal_id = ANY (touched.ids) GROUP BY p.deal_id, p.credit_type HAVING sum(p.weight) <> 100) d
      WHERE EXISTS (SELECT 1 FROM prm.earning_event e WHERE e.program_id = touched.program_id AND e.deal_id = d.deal_id AND e.kind <> 'refunded')
      ORDER BY d.deal_id, d.credit_type LIMIT 1;
    IF fault.deal_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = format('the %s credits of deal %s do not total 100', fault.credit_type, fault.deal_id),
        DETAIL = format('The deal is booked, and they come to %s.', trim_scale(fault.total)),
        HINT = 'Change all credits of the type by one statement: INSERT ... ON CONFLICT DO UPDATE, or UPDATE ... SET weight = CASE ... END.',
        SCHEMA = 'prm', TABLE = 'deal_partner', COLUMN = 'weight';
    END IF;
    INSERT INTO prm.sales_credit (program_id, earning_event_id, credit_type, partner_id, weight, revision, origin)
      SELECT touched.program_id, t.earning_event_id, t.credit_type, r.partner_id, r.weight, t.revision + 1, 'late'
      FROM (
        -- Each type that the event or its deal knows, with what the event has of it and what it shall have.
        SELECT e.earning_event_id, k.credit_type,
          coalesce((SELECT max(c.revision) FROM prm.sales_credit c
            WHERE c.program_id = touched.program_id AND c.earning_event_id = e.earning_event_id AND c.credit_type = k.credit_type), 0) AS revision,
          coalesce((SELECT jsonb_object_agg(c.partner_id, trim_scale(c.weight)) FROM prm.sales_credit c
            WHERE c.program_id = touched.program_id AND c.earning_event_id = e.earning_event_id AND c.credit_type = k.credit_type AND c.weight > 0
              AND c.revision = (SELECT max(m.revision) FROM prm.sales_credit m WHERE m.program_id = touched.program_id
                AND m.earning_event_id = e.earning_event_id AND m.credit_type = k.credit_type)), '{}') AS have,
          coalesce((SELECT jsonb_object_agg(p.partner_id, trim_scale(p.weight)) FROM prm.deal_partner p
              WHERE p.program_id = touched.program_id AND p.deal_id = e.deal_id AND p.credit_type = k.credit_type),
            -- A deal that has no credits any more is its own partner's again.
            CASE WHEN k.credit_type = 'sourced' AND e.partner_id IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM prm.deal_partner p WHERE p.program_id = touched.program_id AND p.deal_id = e.deal_id)
              THEN jsonb_build_object(e.partner_id, 100) END, '{}') AS want
        FROM unnest(touched.ids) AS i(deal_id)
        CROSS JOIN LATERAL (SELECT v.earning_event_id, v.deal_id, v.partner_id FROM prm.earning_event v
          WHERE v.program_id = touched.program_id AND v.deal_id = i.deal_id AND v.kind <> 'refunded' OFFSET 0) e
        CROSS JOIN LATERAL (SELECT p.credit_type FROM prm.deal_partner p WHERE p.program_id = touched.program_id AND p.deal_id = e.deal_id
          UNION SELECT c.credit_type FROM prm.sales_credit c WHERE c.program_id = touched.program_id AND c.earning_event_id = e.earning_event_id AND c.origin <> 'given') k
      ) t
      CROSS JOIN LATERAL (
        SELECT w.key::bigint AS partner_id, w.value::numeric AS weight FROM jsonb_each_text(t.want) w
        UNION ALL
        -- Nobody has the type any more: said by a revision of weight 0.
        SELECT h.key::bigint, 0 FROM jsonb_each_text(t.have) h WHERE t.want = '{}') r
      WHERE t.have <> t.want
      ORDER BY t.earning_event_id, t.credit_type, r.partner_id;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._deal_credits_changed() FROM PUBLIC;
COMMENT ON FUNCTION prm._deal_credits_changed() IS
'Trigger of deal_partner: where the deal is booked, its events get the new credits, which post adjustments. Error 23514 where the weights of a type do not total 100.';
CREATE OR REPLACE TRIGGER prm_30_credit_insert AFTER INSERT ON prm.deal_partner REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._deal_credits_changed();
CREATE OR REPLACE TRIGGER prm_30_credit_update AFTER UPDATE ON prm.deal_partner REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._deal_credits_changed();
CREATE OR REPLACE TRIGGER prm_30_credit_delete AFTER DELETE ON prm.deal_partner REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION prm._deal_credits_changed();

-- Entries by hand. Checked by post_adjustment(); here only so that it may write the ledger.
CREATE OR REPLACE FUNCTION prm._write_adjustment(program_id bigint, partner_id bigint, amount numeric, currency text, reason text, cause_entry_id bigint, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_entry bigint;
  cause prm.ledger;
BEGIN
  SELECT l.* INTO cause FROM prm.ledger l WHERE l.program_id = _write_adjustment.program_id AND l.entry_id = _write_adjustment.cause_entry_id;
  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, cause_entry_id, earned_on, eligible_at,
      reason, idempotency_key, explain)
    VALUES (_write_adjustment.program_id, _write_adjustment.partner_id, cause.payee_id, cause.legal_entity, 'adjustment', coalesce(cause.component, 'base'),
      prm.round_money(_write_adjustment.amount, _write_adjustment.currency), _write_adjustment.currency, cause.entry_id, (prm.now() AT TIME ZONE prm._program_time_zone(_write_adjustment.program_id))::date, prm.now(),
      _write_adjustment.reason, concat_ws('/', 'manual', gen_random_uuid()),
      jsonb_build_object('actor', _write_adjustment.actor, 'amount', _write_adjustment.amount))
    RETURNING entry_id INTO the_entry;
  RETURN the_entry;
END
$prm$;
REVOKE ALL ON FUNCTION prm._write_adjustment(bigint, bigint, numeric, text, text, bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION prm._write_adjustment(bigint, bigint, numeric, text, text, bigint, text) IS 'Writes the entry of post_adjustment(). For the profiles admin and manager, see grant_access().';
