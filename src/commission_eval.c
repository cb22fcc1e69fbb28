/*
 * commission_eval.c: what a schedule pays: the cache of compiled schedules, the exact path in numeric,
 * prm.commission(). commission_parts.c explains, commission_aggregate.c adds up.
 *
 * A schedule argument is expanded once per query, whatever its source: the key of the cache is the raw bytes
 * of the argument, which for a toasted value are its 18-byte pointer. fn_expr_arg_stable would miss
 * parameters and columns of joins.
 *
 * There are two paths with the same results. Fast: amounts of at most 4 decimal places below 10^14, integers
 * only. Exact: everything else, core numeric. test/pgtap/commission.sql compares them over random schedules
 * and amounts.
 */
#include "prm.h"

#include "access/detoast.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "commission.h"

#define CACHE_ENTRIES 8192
#define CACHE_BYTES (32 * 1024 * 1024)

/* ---- the cache --------------------------------------------------------------------------------------- */

PrmScheduleCache *
prm_cache_make(FmgrInfo *flinfo)
{
	PrmScheduleCache *cache = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(PrmScheduleCache));

	cache->context =
		AllocSetContextCreate(flinfo->fn_mcxt, "prm commission schedules", ALLOCSET_DEFAULT_SIZES);
	return cache;
}

/* Eight bytes at a time: every row of a join brings another schedule, so this runs once per row. */
static inline uint32
hash_bytes_fast(const char *bytes, Size length)
{
	uint64 hash = length;
	uint64 part;

	for (; length >= sizeof(part); bytes += sizeof(part), length -= sizeof(part))
	{
		memcpy(&part, bytes, sizeof(part));
		hash = (hash ^ part) * UINT64CONST(0x9E3779B97F4A7C15);
		hash ^= hash >> 32;
	}
	part = 0;
	memcpy(&part, bytes, length);
	hash = (hash ^ part) * UINT64CONST(0x9E3779B97F4A7C15);
	return (uint32)(hash >> 32);
}

static PrmCompiled *
compile(PrmScheduleCache *cache, struct varlena *raw, Size raw_length, uint32 hash)
{
	MemoryContext caller = CurrentMemoryContext;
	bytea *stored;
	PrmCompiled *compiled;
	PrmSchedule *schedule;
	PrmFast *fast;
	int count;

	/* Detoasted in the caller's short-lived context; only what is kept goes into the cache's. */
	stored = (bytea *)pg_detoast_datum_packed(raw);
	count = prm_schedule_packed_count((unsigned char *)VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored));

	if (cache->entries >= CACHE_ENTRIES || cache->bytes >= CACHE_BYTES)
	{
		/* More schedules than any programme has: begin anew rather than grow without end. */
		cache->last = NULL;
		cache->entries = 0;
		cache->bytes = 0;
		memset(cache->bucket, 0, sizeof(cache->bucket));
		MemoryContextReset(cache->context);
	}
	MemoryContextSwitchTo(cache->context);
	schedule = palloc(PRM_SCHEDULE_SIZE(Max(count, 1)));
	prm_schedule_unpack_datum(PointerGetDatum(stored), schedule);
	compiled = palloc0(sizeof(PrmCompiled));
	compiled->hash = hash;
	compiled->context = cache->context;
	compiled->schedule = schedule;
	compiled->raw = palloc(raw_length);
	compiled->raw_length = raw_length;
	memcpy(compiled->raw, raw, raw_length);
	fast = palloc(prm_fast_size(schedule->count));
	if (prm_fast_compile(schedule, fast))
		compiled->fast = fast;
	else
		pfree(fast);
	MemoryContextSwitchTo(caller);

	/* Complete: only now does it become known. */
	compiled->next = cache->bucket[hash % PRM_CACHE_BUCKETS];
	cache->bucket[hash % PRM_CACHE_BUCKETS] = compiled;
	cache->entries++;
	cache->bytes += raw_length + PRM_SCHEDULE_SIZE(schedule->count) + prm_fast_size(schedule->count) +
					sizeof(PrmCompiled);
	return compiled;
}

/* The slow half of prm_cache_lookup: another schedule than the row before. */
PrmCompiled *
prm_cache_search(PrmScheduleCache *cache, Datum value)
{
	struct varlena *raw = (struct varlena *)DatumGetPointer(value);
	PrmCompiled *compiled;
	Size length;
	uint32 hash;

	/*
	 * The bytes of a pointer to a toast table name one value for as long as a query runs. The bytes of a
	 * pointer into memory do not: such a value is fetched first.
	 */
	if (unlikely(VARATT_IS_EXTERNAL(raw) && !VARATT_IS_EXTERNAL_ONDISK(raw)))
		raw = detoast_attr(raw);
	length = VARSIZE_ANY(raw);
	hash = hash_bytes_fast((char *)raw, length);
	for (compiled = cache->bucket[hash % PRM_CACHE_BUCKETS]; compiled != NULL; compiled = compiled->next)
	{
		if (compiled->hash == hash && compiled->raw_length == length &&
			memcmp(compiled->raw, raw, length) == 0)
			break;
	}
	if (unlikely(compiled == NULL))
		compiled = compile(cache, raw, length, hash);
	cache->last = compiled;
	return compiled;
}

/* ---- the exact path ---------------------------------------------------------------------------------- */

static Datum
number_numeric(PrmNumber number, int further_places)
{
	return NumericGetDatum(int64_div_fast_to_numeric(number.digits, number.scale + further_places));
}

static Datum
copied(Datum value)
{
	return datumCopy(value, false, -1);
}

/* Expands the brackets to numerics, once per schedule and query. */
static PrmExactBracket *
exact_form(PrmCompiled *compiled)
{
	const PrmSchedule *schedule = compiled->schedule;
	MemoryContext working;
	MemoryContext caller;
	PrmExactBracket *exact;

	if (likely(compiled->exact != NULL))
		return compiled->exact;
	working = AllocSetContextCreate(CurrentMemoryContext, "prm exact schedule", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(working);
	exact = MemoryContextAllocZero(compiled->context, sizeof(PrmExactBracket) * schedule->count);
	for (int i = 0; i < schedule->count; i++)
	{
		const PrmBracket *from = &schedule->bracket[i];
		PrmExactBracket *to = &exact[i];
		Datum zero = prm_numeric_int(0);

		to->from = number_numeric(from->from, 0);
		to->rate = zero;
		to->below = zero;
		switch (from->kind)
		{
			case PRM_KIND_PERCENT:
				to->rate = number_numeric(from->value, 2);
				break;
			case PRM_KIND_EACH:
				to->rate = number_numeric(from->value, 0);
				break;
			case PRM_KIND_FIXED:
				to->below = number_numeric(from->value, 0);
				break;
		}
		if (schedule->mode == PRM_MODE_MARGINAL && i > 0)
			to->below = prm_numeric_plus(
				to[-1].below, prm_numeric_times(prm_numeric_minus(to->from, to[-1].from), to[-1].rate));
		if (schedule->mode == PRM_MODE_INTERPOLATED && i + 1 < schedule->count)
		{
			Datum rise = prm_numeric_minus(number_numeric(from[1].value, 0), to->below);
			Datum run = prm_numeric_minus(number_numeric(from[1].from, 0), to->from);
			int places = prm_slope_places(from, from + 1);

			/* Both in units of 10^-18, so that they are whole numbers for the division below. */
			rise = prm_numeric_times(rise, prm_numeric_power_of_ten(PRM_MAX_DIGITS));
			run = prm_numeric_times(run, prm_numeric_power_of_ten(PRM_MAX_DIGITS));
			if (places >= 0)
				to->rate =
					prm_numeric_times(prm_numeric_whole_quotient(
										  prm_numeric_times(rise, prm_numeric_power_of_ten(places)), run),
									  prm_numeric_power_of_ten(-places));
			to->endless = places < 0;
			MemoryContextSwitchTo(compiled->context);
			to->rise = copied(rise);
			to->run = copied(run);
			MemoryContextSwitchTo(working);
		}
		MemoryContextSwitchTo(compiled->context);
		to->from = copied(to->from);
		to->rate = copied(to->rate);
		to->below = copied(to->below);
		MemoryContextSwitchTo(working);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(working);
	compiled->exact = exact;
	return exact;
}

/* The bracket that holds a size above 0, -1 below the first bound. */
static int
exact_bracket(const PrmCompiled *compiled, const PrmExactBracket *exact, Datum size)
{
	int low = 0;
	int high = compiled->schedule->count;

	while (low < high)
	{
		int middle = (low + high) / 2;
		int order = prm_numeric_compare(exact[middle].from, size);

		if (order < 0 || (order == 0 && !compiled->schedule->ties_low))
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}

/*
 * (size - from) * rise / run, rounded half away from zero at PRM_SLOPE_PLACES: a quotient that never ends has
 * to stop somewhere, and it stops at the same place for every amount, so that differences telescope.
 */
static Datum
endless_slice(Datum over, const PrmExactBracket *bracket)
{
	Datum two = prm_numeric_int(2);
	Datum product = prm_numeric_times(over, bracket->rise);
	Datum divisor = bracket->run;
	int sign = prm_numeric_sign(product);
	int scale = DatumGetInt32(DirectFunctionCall1(numeric_scale, product));
	Datum quotient;

	if (sign < 0)
		product = prm_numeric_negative(product);
	/* Whole numbers on both sides, then floor((2 product + divisor) / (2 divisor)) is the rounded quotient.
	 */
	product = prm_numeric_times(product, prm_numeric_power_of_ten(PRM_SLOPE_PLACES + scale));
	divisor = prm_numeric_times(divisor, prm_numeric_power_of_ten(scale));
	quotient = prm_numeric_whole_quotient(prm_numeric_plus(prm_numeric_times(product, two), divisor),
										  prm_numeric_times(divisor, two));
	quotient = prm_numeric_times(quotient, prm_numeric_power_of_ten(-PRM_SLOPE_PLACES));
	return sign < 0 ? prm_numeric_negative(quotient) : quotient;
}

/* F of a size that is not negative. */
static Datum
exact_size(PrmCompiled *compiled, Datum size, int *bracket_number)
{
	PrmExactBracket *exact = exact_form(compiled);
	int number = exact_bracket(compiled, exact, size);
	const PrmExactBracket *bracket;

	*bracket_number = number;
	if (number < 0)
		return prm_numeric_int(0);
	bracket = &exact[number];
	if (compiled->schedule->mode == PRM_MODE_MARGINAL || compiled->schedule->mode == PRM_MODE_INTERPOLATED)
	{
		Datum over = prm_numeric_minus(size, bracket->from);

		return prm_numeric_plus(bracket->below, bracket->endless ? endless_slice(over, bracket)
																 : prm_numeric_times(over, bracket->rate));
	}
	return prm_numeric_plus(bracket->below, prm_numeric_times(size, bracket->rate));
}

/* F of any finite amount, not trimmed. */
Datum
prm_exact_eval(PrmCompiled *compiled, Datum amount)
{
	int sign = prm_numeric_sign(amount);
	int bracket;
	Datum result;

	if (sign == 0)
		return prm_numeric_int(0);
	result = exact_size(compiled, sign < 0 ? prm_numeric_negative(amount) : amount, &bracket);
	return sign < 0 ? prm_numeric_negative(result) : result;
}

/* ---- for the explanation ----------------------------------------------------------------------------- */

int
prm_exact_bracket(PrmCompiled *compiled, Datum size)
{
	return exact_bracket(compiled, exact_form(compiled), size);
}

const PrmExactBracket *
prm_exact_bracket_at(PrmCompiled *compiled, int number)
{
	return &exact_form(compiled)[number];
}

/* The rate of a bracket as it is shown: an endless slope as far as it is kept. */
Datum
prm_exact_rate(PrmCompiled *compiled, int number)
{
	const PrmExactBracket *bracket = prm_exact_bracket_at(compiled, number);

	return bracket->endless ? endless_slice(prm_numeric_int(1), bracket) : bracket->rate;
}

/* ---- prm.commission() -------------------------------------------------------------------------------- */

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission);

Datum
prm_commission(PG_FUNCTION_ARGS)
{
	PrmCompiled *compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PG_GETARG_DATUM(0));
	int64 amount_units;
	int64 attained_units;
	Datum amount;
	Datum attained;

	if (likely(compiled->fast != NULL && prm_numeric_units(PG_GETARG_DATUM(1), &amount_units) &&
			   prm_numeric_units(PG_GETARG_DATUM(2), &attained_units)))
	{
		PrmWide result = prm_fast_eval(compiled->fast, attained_units + amount_units);

		if (attained_units != 0)
			result -= prm_fast_eval(compiled->fast, attained_units);
		PG_RETURN_DATUM(prm_units_numeric(result, -1));
	}
	amount = NumericGetDatum(PG_GETARG_NUMERIC(1));
	attained = NumericGetDatum(PG_GETARG_NUMERIC(2));
	prm_check_finite(amount, "amount");
	prm_check_finite(attained, "attained");
	PG_RETURN_DATUM(prm_numeric_trim(prm_numeric_minus(
		prm_exact_eval(compiled, prm_numeric_plus(attained, amount)), prm_exact_eval(compiled, attained))));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_exact);

/* The same by the exact path alone: what the tests compare the fast path with. */
Datum
prm_commission_exact(PG_FUNCTION_ARGS)
{
	PrmCompiled *compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PG_GETARG_DATUM(0));
	Datum amount = NumericGetDatum(PG_GETARG_NUMERIC(1));
	Datum attained = NumericGetDatum(PG_GETARG_NUMERIC(2));

	prm_check_finite(amount, "amount");
	prm_check_finite(attained, "attained");
	PG_RETURN_DATUM(prm_numeric_trim(prm_numeric_minus(
		prm_exact_eval(compiled, prm_numeric_plus(attained, amount)), prm_exact_eval(compiled, attained))));
}
