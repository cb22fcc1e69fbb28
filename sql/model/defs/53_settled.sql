
-- Earning: what settlement has to say to accrual.

CREATE OR REPLACE FUNCTION prm._is_settled(program_id bigint, entry_ids bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT NULL::bigint[] WHERE _is_settled.program_id IS NOT NULL AND _is_settled.entry_ids IS NOT NULL
$prm$;
REVOKE ALL ON FUNCTION prm._is_settled(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._is_settled(bigint, bigint[]) IS
'Those of the ledger entries that stand on a statement, NULL for none: what takes them back is a clawback, not a reversal.';

-- Entries by hand. Checked by post_adjustment(); here only so that it may write the ledger.
CREATE OR REPLACE FUNCTION prm._write_adjustment(program_id bigint, partner_id bigint, amount numeric, currency text, reason text, cause_entry_id bigint, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prm$
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
