
-- Many commissions at once: aggregates and the window function. C, see src/commission_aggregate.c.

CREATE FUNCTION prm._commission_total_step(state internal, schedule prm.commission_schedule, amount numeric) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_step';
COMMENT ON FUNCTION prm._commission_total_step(internal, prm.commission_schedule, numeric) IS 'Adds a row to prm.commission_total(). Not for direct use.';
CREATE FUNCTION prm._commission_total_back(state internal, schedule prm.commission_schedule, amount numeric) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_back';
COMMENT ON FUNCTION prm._commission_total_back(internal, prm.commission_schedule, numeric) IS 'Takes a row out of prm.commission_total() over a moving window. Not for direct use.';
CREATE FUNCTION prm._commission_total_final(state internal) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_final';
COMMENT ON FUNCTION prm._commission_total_final(internal) IS 'Result of prm.commission_total(). Not for direct use.';
CREATE FUNCTION prm._commission_total_combine("left" internal, "right" internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_combine';
COMMENT ON FUNCTION prm._commission_total_combine(internal, internal) IS 'Joins two parts of prm.commission_total(). Not for direct use.';
CREATE FUNCTION prm._commission_total_serial(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_serial';
COMMENT ON FUNCTION prm._commission_total_serial(internal) IS 'Sends a part of prm.commission_total() to another process. Not for direct use.';
CREATE FUNCTION prm._commission_total_deserial(part bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_total_deserial';
COMMENT ON FUNCTION prm._commission_total_deserial(bytea, internal) IS 'Receives a part of prm.commission_total(). Not for direct use.';

CREATE AGGREGATE prm.commission_total(schedule prm.commission_schedule, amount numeric) (
  SFUNC = prm._commission_total_step, STYPE = internal, SSPACE = 64,
  FINALFUNC = prm._commission_total_final, COMBINEFUNC = prm._commission_total_combine,
  SERIALFUNC = prm._commission_total_serial, DESERIALFUNC = prm._commission_total_deserial,
  MSFUNC = prm._commission_total_step, MINVFUNC = prm._commission_total_back, MSTYPE = internal, MSSPACE = 64,
  MFINALFUNC = prm._commission_total_final,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE prm.commission_total(prm.commission_schedule, numeric) IS
'Sum of prm.commission(schedule, amount) row by row, each on its own, exact and not rounded. Rows with a NULL are skipped; NULL where nothing is left. Error 22003 for NaN and infinities.';

CREATE FUNCTION prm._commission_cumulative_step(state internal, schedule prm.commission_schedule, amount numeric, digits integer) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_cumulative_step';
COMMENT ON FUNCTION prm._commission_cumulative_step(internal, prm.commission_schedule, numeric, integer) IS 'Adds a row to prm.commission_cumulative(). Not for direct use.';
CREATE FUNCTION prm._commission_cumulative_final(state internal) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_cumulative_final';
COMMENT ON FUNCTION prm._commission_cumulative_final(internal) IS 'Result of prm.commission_cumulative(). Not for direct use.';
CREATE FUNCTION prm._commission_cumulative_combine("left" internal, "right" internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_cumulative_combine';
COMMENT ON FUNCTION prm._commission_cumulative_combine(internal, internal) IS 'Joins two parts of prm.commission_cumulative(). Not for direct use.';
CREATE FUNCTION prm._commission_cumulative_serial(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_cumulative_serial';
COMMENT ON FUNCTION prm._commission_cumulative_serial(internal) IS 'Sends a part of prm.commission_cumulative() to another process. Not for direct use.';
CREATE FUNCTION prm._commission_cumulative_deserial(part bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_cumulative_deserial';
COMMENT ON FUNCTION prm._commission_cumulative_deserial(bytea, internal) IS 'Receives a part of prm.commission_cumulative(). Not for direct use.';

CREATE AGGREGATE prm.commission_cumulative(schedule prm.commission_schedule, amount numeric, digits integer) (
  SFUNC = prm._commission_cumulative_step, STYPE = internal, SSPACE = 128,
  FINALFUNC = prm._commission_cumulative_final, COMBINEFUNC = prm._commission_cumulative_combine,
  SERIALFUNC = prm._commission_cumulative_serial, DESERIALFUNC = prm._commission_cumulative_deserial,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE prm.commission_cumulative(prm.commission_schedule, numeric, integer) IS
'What the sum of the amounts earns, F(sum(amount)), rounded half away from zero to digits decimal places (0 to 12): the total that prm.commission_running() pays row by row. Does not depend on the order. Rows with a NULL schedule or amount are skipped; NULL where nothing is left. Errors: 22023 where a group has several schedules or digits, 22003 for NaN and infinities.';

CREATE FUNCTION prm.commission_running(schedule prm.commission_schedule, amount numeric, digits integer) RETURNS numeric
LANGUAGE c WINDOW IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_commission_running';
COMMENT ON FUNCTION prm.commission_running(prm.commission_schedule, numeric, integer) IS
'Window function: what each row earns in the order of the window, round(F(sum so far)) - round(F(sum before)) with the row''s own schedule, half away from zero to digits decimal places (0 to 12). With one schedule the rows add up to prm.commission_cumulative() to the cent. The frame plays no part. A row with a NULL schedule or amount gets NULL and adds nothing. Errors: 22023 digits, 22003 NaN and infinities.';
