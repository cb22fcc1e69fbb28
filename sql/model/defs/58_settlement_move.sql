
-- Settlement: what follows when the state of a statement moves. A debt that is carried is closed and opened again in the next
-- period; a statement that is cancelled is taken back by another one. Both are rows; nothing that stands is changed.

-- Closes and opens: two entries for each partner that has a part in it, which come to nothing together.
CREATE OR REPLACE FUNCTION prm._post_carries(program_id bigint, statement_ids bigint[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
  INSERT INTO prm.ledger (program_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, reason, idempotency_key, explain)
    SELECT _post_carries.program_id, x.partner_id, s.payee_id, s.legal_entity, 'carry', k.component, k.amount, s.currency, s.period_end + 1,
      (s.period_end + 1)::timestamp AT TIME ZONE prm._program_time_zone(_post_carries.program_id),
      CASE k.component WHEN 'closed' THEN format('debt of statement %s, carried on', s.statement_id) ELSE format('brought forward from statement %s', s.statement_id) END,
      concat_ws('/', 'carry', s.statement_id, x.partner_id, k.component),
      jsonb_build_object('statement', s.statement_id, 'since', coalesce(s.debt_since, s.period_end), 'amount', k.amount)
    FROM prm.statement s
    CROSS JOIN LATERAL (
      -- Claims of the vendor (royalties, fees) stay claims: they are dealt to those who owe, up to what they owe.
      SELECT i.partner_id, i.amount, least(greatest(-i.amount, 0),
        greatest(s.receivable - coalesce(sum(greatest(-i.amount, 0)) OVER (ORDER BY i.partner_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0), 0)) AS receivable
      FROM prm.statement_share i WHERE i.program_id = _post_carries.program_id AND i.statement_id = s.statement_id) x
    CROSS JOIN LATERAL (VALUES ('closed', -x.amount), ('debt', x.amount + x.receivable), ('receivable', -x.receivable)) AS k(component, amount)
    WHERE s.program_id = _post_carries.program_id AND s.statement_id = ANY (_post_carries.statement_ids) AND k.amount <> 0
    ORDER BY s.statement_id, x.partner_id, k.component
$prm$;
REVOKE ALL ON FUNCTION prm._post_carries(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._post_carries(bigint, bigint[]) IS
'Writes the carry entries of statements below zero: what closes them, and what opens the debt again on the day after their period.';

CREATE OR REPLACE FUNCTION prm._cancel_statements(program_id bigint, statement_ids bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  the_entries constant regclass := pg_get_serial_sequence('prm.ledger', 'entry_id');
  the_zone constant text := prm._program_time_zone(_cancel_statements.program_id);
  the_deferred bigint[];
  the_gross bigint[];
  the_reason constant text := current_setting('prm.reason', true);
  the_new bigint[];
BEGIN
  SELECT array_agg(p.plan_id) FILTER (WHERE p.pay_on = 'collected'), array_agg(p.plan_id) FILTER (WHERE p.includes_vat) INTO the_deferred, the_gross
    FROM prm.commission_plan p WHERE p.program_id = _cancel_statements.program_id AND (p.pay_on = 'collected' OR p.includes_vat);
  WITH line AS MATERIALIZED (
    SELECT l.statement_id, l.entry_id, l.amount, e.partner_id AS earner_id, e.payee_id, e.legal_entity, e.kind, e.component, e.currency, e.plan_id, e.earning_event_id,
      e.eligible_at, e.earned_on, x.is_tax, CASE WHEN x.is_tax THEN nextval(the_entries) END AS tax_entry_id, e.explain,
      -- The parts that come next: two statements may have had parts of one entry.
      greatest(coalesce(o.part - 1, 0), m.part) + row_number() OVER (PARTITION BY l.entry_id ORDER BY l.part) AS part
    FROM prm.statement_line l
    CROSS JOIN LATERAL (SELECT i.* FROM prm.ledger i WHERE i.program_id = _cancel_statements.program_id AND i.entry_id = l.entry_id OFFSET 0) e
    CROSS JOIN LATERAL (SELECT max(i.part) AS part FROM prm.statement_line i WHERE i.program_id = _cancel_statements.program_id AND i.entry_id = l.entry_id) m
    LEFT JOIN LATERAL (SELECT i.part FROM prm.ledger_open i
      WHERE i.program_id = _cancel_statements.program_id AND i.partner_id = e.partner_id AND i.entry_id = l.entry_id OFFSET 0) o ON true
    CROSS JOIN LATERAL (SELECT e.kind = 'tax' AND e.explain ? 'statement' AS is_tax) x
    WHERE l.program_id = _cancel_statements.program_id AND l.statement_id = ANY (_cancel_statements.statement_ids)
  ), made AS (
    INSERT INTO prm.statement (program_id, payee_id, partner_id, legal_entity, currency, period, period_end, period_kind, total, entries, vat, vat_included, withholding,
        is_forced, carried, cancels_id, closed_at, closed_by)
      SELECT s.program_id, s.payee_id, s.partner_id, s.legal_entity, s.currency, s.period, s.period_end, s.period_kind, -s.total, s.entries, -s.vat, -s.vat_included, -s.withholding,
        s.is_forced, -s.carried, s.statement_id, prm.now(), prm.current_actor()
      FROM prm.statement s WHERE s.program_id = _cancel_statements.program_id AND s.statement_id = ANY (_cancel_statements.statement_ids)
      ORDER BY s.statement_id
      RETURNING statement_id, cancels_id, partner_id, currency
  ), posted AS (
    -- Taxes are reckoned anew on the next statement.
    INSERT INTO prm.ledger (program_id, entry_id, partner_id, payee_id, legal_entity, kind, component, amount, currency, earned_on, eligible_at, cause_entry_id, reason, idempotency_key, explain)
      SELECT _cancel_statements.program_id, l.tax_entry_id, l.earner_id, l.payee_id, l.legal_entity, 'tax', l.component, -l.amount, l.currency, l.earned_on, l.eligible_at, l.entry_id,
        format('statement %s is cancelled', l.statement_id), concat_ws('/', 'tax', m.statement_id, l.entry_id, 'cancelled'),
        l.explain || jsonb_build_object('statement', m.statement_id, 'basis_amount', -(l.explain ->> 'basis_amount')::numeric, 'amount', -l.amount)
      FROM line l JOIN made m ON m.cancels_id = l.statement_id WHERE l.is_tax ORDER BY l.tax_entry_id
  ), taken AS (
    INSERT INTO prm.statement_line (program_id, entry_id, statement_id, partner_id, part, amount)
      SELECT _cancel_statements.program_id, coalesce(l.tax_entry_id, l.entry_id), m.statement_id, m.partner_id, CASE WHEN l.is_tax THEN 1 ELSE l.part END, -l.amount
      FROM line l JOIN made m ON m.cancels_id = l.statement_id
  ), shared AS (
    INSERT INTO prm.statement_share (program_id, partner_id, statement_id, currency, amount, entries)
      SELECT _cancel_statements.program_id, i.partner_id, m.statement_id, i.currency, -i.amount, i.entries
      FROM made m JOIN prm.statement_share i ON i.program_id = _cancel_statements.program_id AND i.statement_id = m.cancels_id
  ), opened AS (
    -- As _ledger_opened() lists new entries; what is still open of an entry comes together again.
    INSERT INTO prm.ledger_open AS o (program_id, partner_id, entry_id, payee_id, eligible_at, due_on, part, is_receivable, is_owed, is_deferred, tax_class, amount, currency, legal_entity, is_carry, counted)
      SELECT _cancel_statements.program_id, n.earner_id, n.entry_id, coalesce(n.payee_id, 0), n.eligible_at, greatest(n.earned_on, (n.eligible_at AT TIME ZONE the_zone)::date), n.part + 1,
        n.kind IN ('royalty', 'fee') OR n.kind = 'carry' AND n.component = 'receivable', n.kind IN ('clawback', 'royalty', 'fee', 'carry'),
        n.earning_event_id IS NOT NULL AND coalesce(n.plan_id = ANY (the_deferred), false),
        CASE WHEN n.kind NOT IN ('commission', 'override', 'bonus', 'adjustment', 'reversal', 'clawback')
          OR n.kind = 'reversal' AND n.plan_id IS NULL AND n.component IN ('reimbursement', 'recoverable', 'guarantee') THEN 0 WHEN n.plan_id = ANY (the_gross) THEN 2 ELSE 1 END,
        -- The draw of the period that settled them has counted them.
        n.amount, n.currency, coalesce(n.legal_entity, ''), n.kind = 'carry', n.amount
      FROM (SELECT l.earner_id, l.entry_id, l.payee_id, l.legal_entity, l.kind, l.component, l.currency, l.plan_id, l.earning_event_id, l.eligible_at, l.earned_on,
          max(l.part) AS part, sum(l.amount) AS amount
        FROM line l WHERE NOT l.is_tax GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) n
      ORDER BY n.earner_id, n.entry_id
      ON CONFLICT (program_id, partner_id, entry_id) DO UPDATE SET amount = o.amount + excluded.amount, part = excluded.part, counted = o.counted + excluded.counted
  )
  SELECT array_agg(m.statement_id ORDER BY m.statement_id) INTO the_new FROM made m;
  PERFORM set_config('prm.reason', 'it takes a statement back', true);
  UPDATE prm.statement s SET state = 'cancelled' WHERE s.program_id = _cancel_statements.program_id AND s.statement_id = ANY (the_new);
  PERFORM set_config('prm.reason', coalesce(the_reason, ''), true);
END
$prm$;
REVOKE ALL ON FUNCTION prm._cancel_statements(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._cancel_statements(bigint, bigint[]) IS
'Takes statements back: writes one for each with the same lines below zero, takes back its taxes, and opens its entries again.';

CREATE OR REPLACE FUNCTION prm._statement_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $prm$
#variable_conflict use_column
DECLARE
  batch record;
  fault record;
BEGIN
  FOR batch IN
    SELECT n.program_id, n.state, array_agg(n.statement_id ORDER BY n.statement_id) AS ids
    FROM (
      SELECT i.program_id, i.state, i.statement_id FROM new_rows i WHERE i.state IN ('paid', 'carried', 'cancelled') AND i.cancels_id IS NULL OR i.state IN ('settled', 'disputed')
      EXCEPT SELECT o.program_id, o.state, o.statement_id FROM old_rows o) n
    GROUP BY n.program_id, n.state
    ORDER BY n.program_id, n.state
  LOOP
    SELECT i.statement_id, s.payout_id, s.payout_state, s.document_no INTO fault
      FROM unnest(batch.ids) AS i(statement_id)
      CROSS JOIN LATERAL (
        SELECT max(p.payout_id) AS payout_id, max(p.state) AS payout_state, max(d.document_no) AS document_no
        FROM (VALUES (1)) AS one(row)
        LEFT JOIN prm.payout_statement c ON c.program_id = batch.program_id AND c.statement_id = i.statement_id AND c.released_at IS NULL
        LEFT JOIN prm.payout p ON p.program_id = batch.program_id AND p.payout_id = c.payout_id
        LEFT JOIN prm.billing_document_statement b ON b.program_id = batch.program_id AND b.statement_id = i.statement_id AND b.released_at IS NULL
        LEFT JOIN prm.billing_document d ON d.program_id = batch.program_id AND d.document_id = b.document_id AND d.cancelled_at IS NULL) s
      WHERE CASE batch.state WHEN 'paid' THEN s.payout_state IS DISTINCT FROM 'paid'
        WHEN 'settled' THEN s.payout_id IS NOT NULL OR s.document_no IS NOT NULL WHEN 'cancelled' THEN s.payout_id IS NOT NULL OR s.document_no IS NOT NULL
        ELSE s.payout_id IS NOT NULL END
      ORDER BY i.statement_id LIMIT 1;
    IF fault.statement_id IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('statement %s cannot be %s', fault.statement_id, batch.state),
        DETAIL = CASE WHEN batch.state = 'paid' THEN 'No payout that was paid pays it.' WHEN fault.payout_id IS NOT NULL THEN format('Payout %s pays it.', fault.payout_id)
          ELSE format('It stands on document %s.', fault.document_no) END,
        HINT = CASE WHEN batch.state = 'paid' THEN 'SELECT * FROM prm.create_payouts(), then prm.settle_payout(payout_id, ''paid'').'
          WHEN fault.payout_id IS NOT NULL THEN format('SELECT prm.settle_payout(%s, ''failed'') lets go of it.', fault.payout_id)
          ELSE 'SELECT prm.cancel_document(document_id, ''reason'') returns it to settled.' END, SCHEMA = 'prm', TABLE = 'statement';
    END IF;
    CONTINUE WHEN batch.state NOT IN ('carried', 'cancelled');
    -- Neither a close nor a payout meanwhile.
    PERFORM prm._lock_calendar(batch.program_id, true);
    IF batch.state = 'carried' THEN
      PERFORM prm._post_carries(batch.program_id, batch.ids);
    ELSE
      PERFORM prm._cancel_statements(batch.program_id, batch.ids);
    END IF;
  END LOOP;
  RETURN NULL;
END
$prm$;
REVOKE ALL ON FUNCTION prm._statement_moved() FROM PUBLIC;
COMMENT ON FUNCTION prm._statement_moved() IS
'Trigger of statement: a carried one is closed and opened by carry entries, a cancelled one is taken back. What a payout pays is not taken from it, nor what stands on a document made settled or cancelled. Error 55000 where that, or where no payout pays what is said to be paid.';
CREATE OR REPLACE TRIGGER prm_20_moved AFTER UPDATE ON prm.statement
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prm._statement_moved();
