
-- Business time. C, see src/calendar*.c.

CREATE FUNCTION prm._business_duration_fault(duration text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_business_duration_fault';
COMMENT ON FUNCTION prm._business_duration_fault(text) IS 'What is wrong with a duration in business time, as a sentence; NULL where nothing is.';

CREATE FUNCTION prm.business_add(start timestamptz, duration text, calendar text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_business_add';
COMMENT ON FUNCTION prm.business_add(timestamptz, text, text, bigint) IS
'The moment at which so much business time has passed since start, by a calendar (NULL: the default one). duration: 8h, 90m, 1h 30m, PT8H; or 3d, P3D: the close of business of the third business day after. Exact where clocks change: an hour that they skip is worth nothing, one that they repeat counts twice. NULL for NULL. Errors: 22023 bad duration, 42704 unknown calendar, 55000 no default calendar, or one that is not open that much within ten years.';

CREATE FUNCTION prm.business_between(date_from timestamptz, date_to timestamptz, calendar text DEFAULT NULL, program_id bigint DEFAULT prm.current_program()) RETURNS interval
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_business_between';
COMMENT ON FUNCTION prm.business_between(timestamptz, timestamptz, text, bigint) IS
'The business time between two moments by a calendar (NULL: the default one), in hours, minutes and seconds; negative where date_to comes first. NULL for NULL. Errors: 42704 unknown calendar, 55000 no default calendar, 22008 infinite, or more than a thousand years apart.';
