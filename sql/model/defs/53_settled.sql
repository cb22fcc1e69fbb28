
-- Earning: what settlement has to say to accrual.

CREATE OR REPLACE FUNCTION prm._is_settled(program_id bigint, entry_ids bigint[]) RETURNS bigint[]
-- PL/pgSQL keeps its plan; a function in SQL would be planned anew by each statement that calls it.
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $prm$
#variable_conflict use_column
BEGIN
  -- What a cancelled statement took back is on none.
  RETURN (SELECT array_agg(s.entry_id) FROM (SELECT l.entry_id FROM prm.statement_line l
    WHERE l.program_id = _is_settled.program_id AND l.entry_id = ANY (_is_settled.entry_ids)
    GROUP BY l.entry_id HAVING sum(l.amount) <> 0) s);
END
$prm$;
REVOKE ALL ON FUNCTION prm._is_settled(bigint, bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION prm._is_settled(bigint, bigint[]) IS
'Those of the ledger entries that stand on a statement, NULL for none: what takes them back is a clawback, not a reversal.';
