
-- Money: rounding to minor units and dealing in shares. C, see src/money.c.

CREATE FUNCTION prm.minor_units(currency text) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_minor_units';
COMMENT ON FUNCTION prm.minor_units(text) IS
'Decimal places of a currency by ISO 4217: JPY 0, USD 2, KWD 3. Error 22023 for anything else than a code with a minor unit, in capitals.';

CREATE FUNCTION prm.round_money(amount numeric, currency text, mode text DEFAULT 'half_up') RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_round_money';
COMMENT ON FUNCTION prm.round_money(numeric, text, text) IS
'Rounds to the minor unit of the currency (ISO 4217). mode: half_up (half away from zero) or half_even; both are symmetric, round_money(-x) = -round_money(x). Errors: 22023 unknown currency or mode, 22003 NaN or infinity.';

CREATE FUNCTION prm._round_digits(amount numeric, digits integer, mode text) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_round_digits';
COMMENT ON FUNCTION prm._round_digits(numeric, integer, text) IS
'prm.round_money() with the number of decimal places (0 to 100) in place of the currency, for programmes with units of their own. Errors: 22023 digits or mode, 22003 NaN or infinity. Not for direct use.';

CREATE FUNCTION prm.allocate(total numeric, weights numeric[], digits integer DEFAULT 2) RETURNS numeric[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_allocate';
COMMENT ON FUNCTION prm.allocate(numeric, numeric[], integer) IS
'Deals a total in proportion to the weights, in shares of digits decimal places (0 to 100) that sum to it exactly: largest remainder, the earlier one among equals. allocate(-t) = -allocate(t); a weight of 0 gets 0. Errors: 22023 for a weight that is negative or NULL, for weights that are all 0, for a total with more decimal places than digits; 22003 for NaN and infinities.';
