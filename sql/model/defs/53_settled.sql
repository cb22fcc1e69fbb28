
-- Earning: what settlement has to say to accrual.

CREATE OR REPLACE FUNCTION prm._is_settled(program_id bigint, entry_ids bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT NULL::bigint[] WHERE _is_settled.program_id IS NOT NULL AND _is_settled.entry_ids IS NOT NULL
$prm$;
REVOKE ALL ON FUNCTION prm._is_settled(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._is_settled(bigint, bigint[]) IS
'Those of the ledger entries that stand on a statement, NULL for none: what takes them back is a clawback, not a reversal.';
