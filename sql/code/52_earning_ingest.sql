
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
