
-- Commission schedules: the type, its casts and operators, and what it pays. C, see src/schedule.c and src/commission*.c.

CREATE TYPE prm.commission_schedule;

CREATE FUNCTION prm.commission_schedule_in(source cstring) RETURNS prm.commission_schedule
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_in';
COMMENT ON FUNCTION prm.commission_schedule_in(cstring) IS
'Reads the text form of a commission schedule. Error 22P02 with the character at fault.';

CREATE FUNCTION prm.commission_schedule_out(schedule prm.commission_schedule) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_out';
COMMENT ON FUNCTION prm.commission_schedule_out(prm.commission_schedule) IS
'The canonical text form, which reads back to the same value.';

CREATE FUNCTION prm.commission_schedule_recv(source internal) RETURNS prm.commission_schedule
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_recv';
COMMENT ON FUNCTION prm.commission_schedule_recv(internal) IS
'Reads the binary form, which begins with its version, as strictly as text. Error 22P03 with the byte or bracket at fault.';

CREATE FUNCTION prm.commission_schedule_send(schedule prm.commission_schedule) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_send';
COMMENT ON FUNCTION prm.commission_schedule_send(prm.commission_schedule) IS
'The binary form: a version byte and the stored bytes.';

CREATE TYPE prm.commission_schedule (
  INPUT = prm.commission_schedule_in,
  OUTPUT = prm.commission_schedule_out,
  RECEIVE = prm.commission_schedule_recv,
  SEND = prm.commission_schedule_send,
  INTERNALLENGTH = VARIABLE,
  ALIGNMENT = int4,
  STORAGE = extended
);
COMMENT ON TYPE prm.commission_schedule IS
'What an amount earns: "10%", or marginal, slab or interpolated with up to 1000 brackets of lower bound and value, such as "marginal 0: 1%, 1000: 2%". A value is a percentage from 0 to 100, an amount for "each" unit, or a fixed amount. Brackets are half-open, a value on a bound belongs to the higher one; "ties low" at the end reverses that. Below the first bound nothing is paid, amounts below zero earn the same with the sign reversed.';

-- Text, both ways on assignment, so that a column of text can be filled from a schedule and the other way round.

CREATE CAST (text AS prm.commission_schedule) WITH INOUT AS ASSIGNMENT;
COMMENT ON CAST (text AS prm.commission_schedule) IS 'Reads the text form. Error 22P02 with the character at fault.';
CREATE CAST (prm.commission_schedule AS text) WITH INOUT AS ASSIGNMENT;
COMMENT ON CAST (prm.commission_schedule AS text) IS 'The canonical text form.';

CREATE FUNCTION prm.commission_schedule_from_jsonb(definition jsonb) RETURNS prm.commission_schedule
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_from_jsonb';
COMMENT ON FUNCTION prm.commission_schedule_from_jsonb(jsonb) IS
'Reads {"mode": "percent", "rate": 0.1} or {"mode": "marginal", "brackets": [{"from": 0, "rate": 0.01}], "ties": "low"}. A bracket has "from" and one of "rate" (0.05 is 5%), "each" (an amount per unit) and "amount" (a fixed amount); "ties" is optional, "high" or "low". Error 22023 for unknown keys and whatever the text form refuses.';

CREATE FUNCTION prm.commission_schedule_to_jsonb(schedule prm.commission_schedule) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_to_jsonb';
COMMENT ON FUNCTION prm.commission_schedule_to_jsonb(prm.commission_schedule) IS
'The jsonb form that commission_schedule_from_jsonb reads back to the same value.';

CREATE CAST (jsonb AS prm.commission_schedule) WITH FUNCTION prm.commission_schedule_from_jsonb(jsonb);
COMMENT ON CAST (jsonb AS prm.commission_schedule) IS 'Reads the jsonb form. Error 22023.';
CREATE CAST (prm.commission_schedule AS jsonb) WITH FUNCTION prm.commission_schedule_to_jsonb(prm.commission_schedule);
COMMENT ON CAST (prm.commission_schedule AS jsonb) IS 'The jsonb form.';

-- Equality is equality of the canonical form ("10%" and "slab 0: 10%" pay the same but are not equal). The order serves
-- sorting and unique indexes: by mode, then bracket by bracket.

CREATE FUNCTION prm.commission_schedule_eq("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_eq';
COMMENT ON FUNCTION prm.commission_schedule_eq(prm.commission_schedule, prm.commission_schedule) IS 'Whether both have the same canonical form.';
CREATE FUNCTION prm.commission_schedule_ne("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_ne';
COMMENT ON FUNCTION prm.commission_schedule_ne(prm.commission_schedule, prm.commission_schedule) IS 'Whether the canonical forms differ.';
CREATE FUNCTION prm.commission_schedule_lt("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_lt';
COMMENT ON FUNCTION prm.commission_schedule_lt(prm.commission_schedule, prm.commission_schedule) IS 'Whether the left one sorts before the right one.';
CREATE FUNCTION prm.commission_schedule_le("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_le';
COMMENT ON FUNCTION prm.commission_schedule_le(prm.commission_schedule, prm.commission_schedule) IS 'Whether the left one sorts before the right one or equals it.';
CREATE FUNCTION prm.commission_schedule_gt("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_gt';
COMMENT ON FUNCTION prm.commission_schedule_gt(prm.commission_schedule, prm.commission_schedule) IS 'Whether the left one sorts after the right one.';
CREATE FUNCTION prm.commission_schedule_ge("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_ge';
COMMENT ON FUNCTION prm.commission_schedule_ge(prm.commission_schedule, prm.commission_schedule) IS 'Whether the left one sorts after the right one or equals it.';
CREATE FUNCTION prm.commission_schedule_cmp("left" prm.commission_schedule, "right" prm.commission_schedule) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_cmp';
COMMENT ON FUNCTION prm.commission_schedule_cmp(prm.commission_schedule, prm.commission_schedule) IS 'Negative, zero or positive as the left one sorts before, with or after the right one.';
CREATE FUNCTION prm.commission_schedule_hash(schedule prm.commission_schedule) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_hash';
COMMENT ON FUNCTION prm.commission_schedule_hash(prm.commission_schedule) IS 'Hash of the canonical form, for hash joins and indexes.';
CREATE FUNCTION prm.commission_schedule_hash_extended(schedule prm.commission_schedule, seed bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_schedule_hash_extended';
COMMENT ON FUNCTION prm.commission_schedule_hash_extended(prm.commission_schedule, bigint) IS 'Hash of 64 bits with a seed, for hash partitions.';

CREATE OPERATOR prm.= (
  FUNCTION = prm.commission_schedule_eq, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.=), NEGATOR = OPERATOR(prm.<>), RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR prm.= (prm.commission_schedule, prm.commission_schedule) IS 'same canonical form';
CREATE OPERATOR prm.<> (
  FUNCTION = prm.commission_schedule_ne, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.<>), NEGATOR = OPERATOR(prm.=), RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
COMMENT ON OPERATOR prm.<> (prm.commission_schedule, prm.commission_schedule) IS 'another canonical form';
CREATE OPERATOR prm.< (
  FUNCTION = prm.commission_schedule_lt, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.>), NEGATOR = OPERATOR(prm.>=), RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
COMMENT ON OPERATOR prm.< (prm.commission_schedule, prm.commission_schedule) IS 'sorts before';
CREATE OPERATOR prm.<= (
  FUNCTION = prm.commission_schedule_le, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.>=), NEGATOR = OPERATOR(prm.>), RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
COMMENT ON OPERATOR prm.<= (prm.commission_schedule, prm.commission_schedule) IS 'sorts before or equal';
CREATE OPERATOR prm.> (
  FUNCTION = prm.commission_schedule_gt, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.<), NEGATOR = OPERATOR(prm.<=), RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);
COMMENT ON OPERATOR prm.> (prm.commission_schedule, prm.commission_schedule) IS 'sorts after';
CREATE OPERATOR prm.>= (
  FUNCTION = prm.commission_schedule_ge, LEFTARG = prm.commission_schedule, RIGHTARG = prm.commission_schedule,
  COMMUTATOR = OPERATOR(prm.<=), NEGATOR = OPERATOR(prm.<), RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);
COMMENT ON OPERATOR prm.>= (prm.commission_schedule, prm.commission_schedule) IS 'sorts after or equal';

CREATE OPERATOR FAMILY prm.commission_schedule_ops USING btree;
COMMENT ON OPERATOR FAMILY prm.commission_schedule_ops USING btree IS 'order of commission schedules';
CREATE OPERATOR CLASS prm.commission_schedule_ops DEFAULT FOR TYPE prm.commission_schedule USING btree
FAMILY prm.commission_schedule_ops AS
  OPERATOR 1 prm.<, OPERATOR 2 prm.<=, OPERATOR 3 prm.=, OPERATOR 4 prm.>=, OPERATOR 5 prm.>,
  FUNCTION 1 prm.commission_schedule_cmp(prm.commission_schedule, prm.commission_schedule);
COMMENT ON OPERATOR CLASS prm.commission_schedule_ops USING btree IS 'order of commission schedules: by mode, then bracket by bracket';

CREATE OPERATOR FAMILY prm.commission_schedule_ops USING hash;
COMMENT ON OPERATOR FAMILY prm.commission_schedule_ops USING hash IS 'equality of commission schedules';
CREATE OPERATOR CLASS prm.commission_schedule_ops DEFAULT FOR TYPE prm.commission_schedule USING hash
FAMILY prm.commission_schedule_ops AS
  OPERATOR 1 prm.=,
  FUNCTION 1 prm.commission_schedule_hash(prm.commission_schedule),
  FUNCTION 2 prm.commission_schedule_hash_extended(prm.commission_schedule, bigint);
COMMENT ON OPERATOR CLASS prm.commission_schedule_ops USING hash IS 'equality of commission schedules';

-- What it pays.

CREATE FUNCTION prm.commission(schedule prm.commission_schedule, amount numeric, attained numeric DEFAULT 0) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission';
COMMENT ON FUNCTION prm.commission(prm.commission_schedule, numeric, numeric) IS
'What an amount earns after attained was reached: F(attained + amount) - F(attained), where F is the schedule and F(-x) = -F(x). Exact and not rounded, shown with as many decimal places as it needs; only a slope of interpolated that never ends as a decimal fraction is rounded, in F, at the 20th place. Pass it to prm.round_money. Error 22003 for NaN and infinities.';

CREATE FUNCTION prm._commission_exact(schedule prm.commission_schedule, amount numeric, attained numeric DEFAULT 0) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_exact';
COMMENT ON FUNCTION prm._commission_exact(prm.commission_schedule, numeric, numeric) IS
'prm.commission() computed with numeric only, for tests: the integers of the fast path must give the same. Not for direct use.';

CREATE TYPE prm.commission_part AS (part integer, lower numeric, upper numeric, amount numeric, rate numeric, commission numeric);
COMMENT ON TYPE prm.commission_part IS 'One part of a commission, see prm.commission_parts().';
COMMENT ON COLUMN prm.commission_part.part IS 'Number of the part, from 1, in the order in which the amount passes through the brackets.';
COMMENT ON COLUMN prm.commission_part.lower IS 'Lower bound of the bracket, as the schedule writes it (0 for what lies below the first bound).';
COMMENT ON COLUMN prm.commission_part.upper IS 'Upper bound of the bracket; NULL for the last one, which has no end.';
COMMENT ON COLUMN prm.commission_part.amount IS 'How much of the amount lies in this part, signed; the parts sum to the amount.';
COMMENT ON COLUMN prm.commission_part.rate IS 'Factor that was applied (0.05 is 5%); NULL for a fixed amount.';
COMMENT ON COLUMN prm.commission_part.commission IS 'What the part earns, signed, exact and not rounded; the parts sum to prm.commission().';

CREATE FUNCTION prm.commission_parts(schedule prm.commission_schedule, amount numeric, attained numeric DEFAULT 0)
RETURNS SETOF prm.commission_part
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'prm_commission_parts';
COMMENT ON FUNCTION prm.commission_parts(prm.commission_schedule, numeric, numeric) IS
'Explains prm.commission() of the same arguments. marginal and interpolated: one part for each bracket that the way from attained to attained + amount passes; a return unwinds from the top. slab and percent: one part, or, where attained lies in another bracket, the new total at its rate and what was earned before taken back. Error 22003 for NaN and infinities.';
