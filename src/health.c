/*
 * health.c: scores of 0 to 100. Owns normalize_metric() and the aggregate weighted_score(); the arithmetic itself stands
 * in normalize.c, the reading of options in health_read.c. Called by the health functions of sql/code/65_health.sql and by
 * anybody who weighs scores.
 *
 * Both take and give numeric, but reckon in double precision: numeric arithmetic through the function manager, once per
 * row, would cost more than the whole score. A score has 15 significant digits.
 */
#include "prm.h"

#include "health.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

/*
 * A finite numeric as a double. The digits are read from the stored form, which is part of the format on disk and has
 * not changed since 9.1: a two-byte header with sign, scale and weight (the short form) or sign and scale followed by
 * the weight (the long form), then digits in base 10000. What does not fit goes the long way round, through text; what is
 * greater than every double counts as the greatest, so that it lies within bounds that have no end.
 */
double
prm_finite_double(Numeric number, const char *what)
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
	result = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
	return Max(Min(result, DBL_MAX), -DBL_MAX);
}

Datum
prm_double_numeric(double value)
{
	return DirectFunctionCall1(float8_numeric, Float8GetDatum(value));
}

/*
 * Definitions with options are read once and kept: in a query over the metrics of a model they follow each other row by
 * row. The key is the bytes of the arguments as they came, so that it does not matter where they came from.
 */
#define KEPT_MAX 32

typedef struct KeptNormalizer
{
	Size size;
	char *bytes;
	PrmNormalizer normalizer;
} KeptNormalizer;

typedef struct KeptNormalizers
{
	int count;
	int oldest;
	KeptNormalizer kept[KEPT_MAX];
} KeptNormalizers;

/* The empty options, as they lie in a table or in memory: most definitions have none. */
static bool
is_empty_jsonb(struct varlena *value)
{
	if (VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))
		return false;
	return VARSIZE_ANY_EXHDR(value) == sizeof(uint32);
}

static Numeric
optional_numeric(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : PG_GETARG_NUMERIC(number);
}

/* The four arguments that define a normalizer, one after the other; NULL is an empty piece. */
static char *
normalizer_key(FunctionCallInfo fcinfo, Size *size)
{
	char *key;
	char *end;

	*size = 4;
	for (int i = 1; i <= 4; i++)
	{
		if (!PG_ARGISNULL(i))
			*size += VARSIZE_ANY(PG_GETARG_RAW_VARLENA_P(i));
	}
	key = end = palloc(*size);
	for (int i = 1; i <= 4; i++)
	{
		*end++ = PG_ARGISNULL(i);
		if (!PG_ARGISNULL(i))
		{
			memcpy(end, PG_GETARG_RAW_VARLENA_P(i), VARSIZE_ANY(PG_GETARG_RAW_VARLENA_P(i)));
			end += VARSIZE_ANY(PG_GETARG_RAW_VARLENA_P(i));
		}
	}
	return key;
}

static const PrmNormalizer *
kept_normalizer(FunctionCallInfo fcinfo)
{
	KeptNormalizers *all = fcinfo->flinfo->fn_extra;
	KeptNormalizer *kept;
	PrmNormalizer fresh;
	MemoryContext before;
	Jsonb *options;
	text *name;
	Size size;
	char *key = normalizer_key(fcinfo, &size);

	if (all == NULL)
		fcinfo->flinfo->fn_extra = all = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeptNormalizers));
	for (int i = 0; i < all->count; i++)
	{
		if (all->kept[i].size == size && memcmp(all->kept[i].bytes, key, size) == 0)
		{
			pfree(key);
			return &all->kept[i].normalizer;
		}
	}
	/* It is read before anything is let go: an error leaves what is kept as it was. */
	name = PG_GETARG_TEXT_PP(1);
	options = PG_GETARG_JSONB_P(4);
	before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	prm_read_normalizer(&fresh, VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name), optional_numeric(fcinfo, 2), optional_numeric(fcinfo, 3),
						&options->root);
	if (all->count < KEPT_MAX)
		kept = &all->kept[all->count++];
	else
	{
		kept = &all->kept[all->oldest];
		all->oldest = (all->oldest + 1) % KEPT_MAX;
		pfree(kept->bytes);
		if (kept->normalizer.range != NULL)
			pfree(kept->normalizer.range);
		if (kept->normalizer.population != NULL)
			pfree(kept->normalizer.population);
	}
	kept->bytes = palloc(size);
	memcpy(kept->bytes, key, size);
	kept->size = size;
	kept->normalizer = fresh;
	MemoryContextSwitchTo(before);
	return &kept->normalizer;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_normalize_metric);

Datum
prm_normalize_metric(PG_FUNCTION_ARGS)
{
	PrmNormalizer plain;
	const PrmNormalizer *normalizer = &plain;
	double score;

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the way to normalise a metric is missing"),
						errdetail("Argument how is NULL."), errhint("Use linear, inverse, as_is, step, target, percentile or choice.")));
	if (PG_ARGISNULL(4) || is_empty_jsonb(PG_GETARG_RAW_VARLENA_P(4)))
	{
		text *name = PG_GETARG_TEXT_PP(1);

		prm_read_normalizer(&plain, VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name), optional_numeric(fcinfo, 2), optional_numeric(fcinfo, 3), NULL);
	}
	else
		normalizer = kept_normalizer(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (normalizer->how == PRM_NORMALIZE_PERCENTILE && normalizer->count == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a percentile needs the values of the others"),
						errdetail("One value alone has no place among others."),
						errhint("Give {\"population\": [1, 2, 3]}, or use the metric in a health model: health() knows the others.")));
	if (!prm_normalize(normalizer, prm_finite_double(PG_GETARG_NUMERIC(0), "the value"), &score))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(prm_double_numeric(score));
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
	weight = prm_finite_double(PG_GETARG_NUMERIC(2), "a weight");
	if (weight < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a weight is negative"),
						errdetail("The weight is %.15g.", weight), errhint("Weights are zero or more.")));
	sums = weighted_sums(state);
	sums[0] += weight * prm_finite_double(PG_GETARG_NUMERIC(1), "a score");
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
	if (!isfinite(sums[0] / sums[1]))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the score is out of range"),
						errdetail("The weights are so great that their sum leaves the range of numbers."),
						errhint("Weigh scores by numbers such as 1 to 100.")));
	PG_RETURN_DATUM(prm_double_numeric(sums[0] / sums[1]));
}
