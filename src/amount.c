/*
 * amount.c: what an amount in a table may be. Owns the functions that CHECK constraints call on amounts and quantities.
 *
 * A plain CHECK (amount >= 0) lets NaN pass (it sorts above every number) and tells the user only the name of a constraint.
 * These functions raise the error themselves, with the facts and the next step, and name table and column as a constraint
 * would.
 */
#include "prm.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

static void
refuse(Numeric amount, const char *column, const char *why, const char *hint)
{
	const char *dot = strchr(column, '.');
	char *table = dot ? pnstrdup(column, dot - column) : pstrdup("");

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("%s %s is not an amount that %s may have", column,
					DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(amount))), table),
			 errdetail("%s", why), errhint("%s", hint), err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"),
			 err_generic_string(PG_DIAG_TABLE_NAME, table), err_generic_string(PG_DIAG_COLUMN_NAME, dot ? dot + 1 : column)));
}

static inline void
check_finite(Numeric amount, text *column)
{
	if (unlikely(numeric_is_nan(amount) || numeric_is_inf(amount)))
		refuse(amount, text_to_cstring(column), "NaN and infinities are no amounts of money.",
			   "Give a finite number, or NULL where the amount is not known.");
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_check_amount);

/* Finite and not negative. NULL passes, as in every CHECK. */
Datum
prm_check_amount(PG_FUNCTION_ARGS)
{
	Numeric amount = PG_GETARG_NUMERIC(0);

	check_finite(amount, PG_GETARG_TEXT_PP(1));
	if (unlikely(DatumGetInt32(DirectFunctionCall2(
					 numeric_cmp, NumericGetDatum(amount), NumericGetDatum(int64_to_numeric(0)))) < 0))
		refuse(amount, text_to_cstring(PG_GETARG_TEXT_PP(1)), "It is negative.",
			   "Give zero or more; money that goes back is a refund, an earning event of kind refunded.");
	PG_RETURN_BOOL(true);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_check_finite);

/* Finite, of either sign. */
Datum
prm_check_finite(PG_FUNCTION_ARGS)
{
	check_finite(PG_GETARG_NUMERIC(0), PG_GETARG_TEXT_PP(1));
	PG_RETURN_BOOL(true);
}
