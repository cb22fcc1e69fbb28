
-- Windows of plans. C, see src/period.c.

CREATE FUNCTION prm.period_start(day date, window_kind text, fiscal_year_start integer DEFAULT 1) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_period_start';
COMMENT ON FUNCTION prm.period_start(date, text, integer) IS
'First day of the window that contains a business date. window_kind: month, half_month (from the 1st and the 16th), quarter, half, year, lifetime (from -infinity). fiscal_year_start is the month in which the fiscal year begins, 1 to 12. Errors: 22023 window or month, 22008 infinite date.';

CREATE FUNCTION prm.period_end(day date, window_kind text, fiscal_year_start integer DEFAULT 1) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'prm_period_end';
COMMENT ON FUNCTION prm.period_end(date, text, integer) IS
'Last day of the window that contains a business date, inclusive; half a month ends on the 15th and on the last day, lifetime with infinity. Arguments and errors as prm.period_start().';
