/*
 * health.c: scores of 0 to 100. Owns normalize_metric() and the aggregate weighted_score(); the arithmetic itself stands
 * in normalize.c. Called by the health functions of sql/code/65_health.sql and by anybody who weighs scores.
 *
 * Both take and give numeric, but reckon in double precision: numeric arithmetic through the function manager, once per
 * row, would cost more than the whole score. A score has 15 significant digits.
 */
#include "prm.h"

#include "normalize.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/*
 * A finite numeric as a double. The digits are read from the stored form, which is part of the format on disk and has
 * not changed since 9.1: a two-byte header with sign, scale and weight (the short form) or sign and scale followed by
 * the weight (the long form), then digits in base 10000. What does not fit goes the long way round, through text.
 */
static double
finite_double(Numeric number, const char *what)
{
	const uint16 *form = (const uint16 *) VARDATA(number);
	uint16 header = form[0];
	int head;
	int weight;
	bool negative;
	double result;

	if (unlikely(numeric_is_nan(number) || numeric_is_inf(number)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is not a finite number", what),
						errdetail("NaN and infinities cannot be scored."),
						errhint("Give a finite number, or NULL where nothing is known.")));
	if (header & 0x8000)
	{
		head = 1;
		negative = (header & 0x2000) != 0;
		weight = (header & 0x0040 ? ~0x003F : 0) | (header & 0x003F);
	}
	else
	{
		head = 2;
		negative = (header & 0xC000) == 0x4000;
		weight = (int16) form[1];
	}
	if (likely(prm_digits_to_double((const int16_t *) form + head, (int) (VARSIZE(number) - VARHDRSZ) / 2 - head, weight,
									negative, &result)))
		return result;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
}

static Datum
double_numeric(double value)
{
	return DirectFunctionCall1(float8_numeric, Float8GetDatum(value));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_normalize_metric);

Datum
prm_normalize_metric(PG_FUNCTION_ARGS)
{
	PrmNormalization how;
	double low = 0;
	double high = 0;
	text *name;

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the way to normalise a metric is missing"),
						errdetail("Argument how is NULL."), errhint("Use linear, inverse or as_is.")));
	name = PG_GETARG_TEXT_PP(1);
	if (!prm_normalization_from_name(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &how))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no way \"%s\" to normalise a metric", text_to_cstring(name)),
						errdetail("The ways are linear (low is 0, high is 100), inverse (low is 100, high is 0) and as_is."),
						errhint("Use one of them.")));
	if (!PG_ARGISNULL(4) && JB_ROOT_COUNT(PG_GETARG_JSONB_P(4)) > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("normalize_metric has no such option"),
						errdetail("The ways linear, inverse and as_is take no options."), errhint("Leave options out.")));
	if (how != PRM_NORMALIZE_AS_IS)
	{
		if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a metric needs two bounds to be normalised"),
							errdetail("With %s both low and high must be given.", text_to_cstring(name)),
							errhint("Give low and high, or as_is for a metric that is a score already.")));
		low = finite_double(PG_GETARG_NUMERIC(2), "the low bound");
		high = finite_double(PG_GETARG_NUMERIC(3), "the high bound");
		if (!(low < high))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the bounds of a metric are not in order"),
							errdetail("low is %.15g and high is %.15g.", low, high),
							errhint("low must be below high; where less is better, use inverse.")));
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(double_numeric(prm_normalize(finite_double(PG_GETARG_NUMERIC(0), "the value"), how, low, high)));
}

/* The state of weighted_score(): sum of weight * score, sum of weight, as float8[2], so that it can travel. */
static float8 *
weighted_sums(ArrayType *state)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] != 2 || ARR_HASNULL(state) || ARR_ELEMTYPE(state) != FLOAT8OID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the state of weighted_score is not its own"),
						errdetail("It is expected to be an array of two numbers."),
						errhint("Call the aggregate prm.weighted_score(score, weight), not its parts.")));
	return (float8 *) ARR_DATA_PTR(state);
}

/* Inside an aggregate the state is changed in place; a caller of the bare function keeps his array. */
static ArrayType *
own_state(FunctionCallInfo fcinfo)
{
	return AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(0) : PG_GETARG_ARRAYTYPE_P_COPY(0);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_weighted_score_add);

Datum
prm_weighted_score_add(PG_FUNCTION_ARGS)
{
	ArrayType *state;
	float8 *sums;
	double weight;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = own_state(fcinfo);
	/* A score that is not known, or weighs nothing known, leaves the denominator. */
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_ARRAYTYPE_P(state);
	weight = finite_double(PG_GETARG_NUMERIC(2), "a weight");
	if (weight < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a weight is negative"),
						errdetail("The weight is %.15g.", weight), errhint("Weights are zero or more.")));
	sums = weighted_sums(state);
	sums[0] += weight * finite_double(PG_GETARG_NUMERIC(1), "a score");
	sums[1] += weight;
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_weighted_score_combine);

Datum
prm_weighted_score_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state;
	float8 *sums;
	float8 *more;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_ARGISNULL(0) ? PG_GETARG_DATUM(1) : PG_GETARG_DATUM(0));
	}
	state = own_state(fcinfo);
	sums = weighted_sums(state);
	more = weighted_sums(PG_GETARG_ARRAYTYPE_P(1));
	sums[0] += more[0];
	sums[1] += more[1];
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_weighted_score_final);

/* NULL where nothing was known: that is never a score of zero. */
Datum
prm_weighted_score_final(PG_FUNCTION_ARGS)
{
	float8 *sums;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	sums = weighted_sums(PG_GETARG_ARRAYTYPE_P(0));
	if (sums[1] == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(double_numeric(sums[0] / sums[1]));
}
