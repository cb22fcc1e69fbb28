
-- What an amount in a table may be; used by CHECK constraints of the model. C, see src/amount.c.

CREATE FUNCTION prm.check_amount(amount numeric, column_name text) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_check_amount';
COMMENT ON FUNCTION prm.check_amount(numeric, text) IS
'For CHECK constraints: true for a finite amount of zero or more. column_name (table.column) is named in the error 23514 that it raises otherwise.';

CREATE FUNCTION prm.check_finite(amount numeric, column_name text) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_check_finite';
COMMENT ON FUNCTION prm.check_finite(numeric, text) IS
'For CHECK constraints: true for a finite number of either sign. column_name (table.column) is named in the error 23514 that it raises otherwise.';
