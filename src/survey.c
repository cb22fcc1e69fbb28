/*
 * survey.c: net promoter scores. Owns nps_class() and the aggregates nps() and nps_margin(). Called by the views of
 * surveys and by anybody who has answers of 0 to 10.
 *
 * The state of both aggregates is bigint[3]: answers, promoters, detractors. An array of core type travels between
 * processes and nodes as it is, so no serial functions are needed, and counting is exact in any order.
 */
#include "prm.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* A whole number of 0 to 10, or the error that says what was given. */
static int
checked_score(Numeric score)
{
	double value = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(score)));

	if (!(value >= 0 && value <= 10) || value != floor(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s is no answer to a recommendation question",
							   DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(score)))),
						errdetail("Answers are the whole numbers 0 to 10."),
						errhint("Leave out who did not answer, or give NULL: that is never a 0.")));
	return (int) value;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_nps_class);

Datum
prm_nps_class(PG_FUNCTION_ARGS)
{
	int score = checked_score(PG_GETARG_NUMERIC(0));

	PG_RETURN_TEXT_P(cstring_to_text(score >= 9 ? "promoter" : score >= 7 ? "passive" : "detractor"));
}

static int64 *
nps_counts(ArrayType *state)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] != 3 || ARR_HASNULL(state) || ARR_ELEMTYPE(state) != INT8OID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the state of nps is not its own"),
						errdetail("It is expected to be an array of three counts."),
						errhint("Call the aggregate prm.nps(score), not its parts.")));
	return (int64 *) ARR_DATA_PTR(state);
}

/* Inside an aggregate the state is changed in place; a caller of the bare function keeps his array. */
static ArrayType *
own_counts(FunctionCallInfo fcinfo)
{
	return AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(0) : PG_GETARG_ARRAYTYPE_P_COPY(0);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_nps_add);

Datum
prm_nps_add(PG_FUNCTION_ARGS)
{
	ArrayType *state;
	int64 *counts;
	int score;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = own_counts(fcinfo);
	/* Who did not answer is in no count. */
	if (PG_ARGISNULL(1))
		PG_RETURN_ARRAYTYPE_P(state);
	score = checked_score(PG_GETARG_NUMERIC(1));
	counts = nps_counts(state);
	counts[0]++;
	counts[1] += score >= 9;
	counts[2] += score <= 6;
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_nps_combine);

Datum
prm_nps_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state;
	int64 *counts;
	int64 *more;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_ARGISNULL(0) ? PG_GETARG_DATUM(1) : PG_GETARG_DATUM(0));
	}
	state = own_counts(fcinfo);
	counts = nps_counts(state);
	more = nps_counts(PG_GETARG_ARRAYTYPE_P(1));
	for (int i = 0; i < 3; i++)
		counts[i] += more[i];
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_nps_final);

/* Exact: 100 times a difference of counts, divided once. NULL without answers. */
Datum
prm_nps_final(PG_FUNCTION_ARGS)
{
	int64 *counts;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	counts = nps_counts(PG_GETARG_ARRAYTYPE_P(0));
	if (counts[0] <= 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(numeric_trim_scale,
		DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(100 * (counts[1] - counts[2]))),
							NumericGetDatum(int64_to_numeric(counts[0])))));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_nps_margin_final);

/*
 * Half the width of the 95 % interval: 1.96 standard errors of a quantity that is 100, 0 or -100 for each answer. One
 * answer says nothing about how answers differ, so it has no margin.
 */
Datum
prm_nps_margin_final(PG_FUNCTION_ARGS)
{
	int64 *counts;
	double n;
	double mean;
	double spread;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	counts = nps_counts(PG_GETARG_ARRAYTYPE_P(0));
	if (counts[0] < 2)
		PG_RETURN_NULL();
	n = (double) counts[0];
	mean = (counts[1] - counts[2]) / n;
	spread = (counts[1] + counts[2]) / n - mean * mean;
	PG_RETURN_DATUM(DirectFunctionCall1(float8_numeric,
		Float8GetDatum(rint(195.996398454005 * sqrt(Max(spread, 0) / n) * 1e6) / 1e6)));
}
