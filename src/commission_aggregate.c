/*
 * commission_aggregate.c: many commissions at once: the aggregates commission_total() and
 * commission_cumulative() and the window function commission_running().
 *
 * Sums are kept in two parts (sum.h), so a group costs less memory than one of sum(numeric).
 */
#include "prm.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "windowapi.h"

#include "commission.h"
#include "sum.h"

/* ---- commission_total -------------------------------------------------------------------------------- */

typedef struct TotalState
{
	Sum sum;
	int64 count; /* rows that were neither skipped nor taken back: with none the total is NULL */
} TotalState;

static TotalState *
new_total(MemoryContext context)
{
	return MemoryContextAllocZero(context, sizeof(TotalState));
}

/* One row forward (sign 1), or out of a moving window (sign -1). */
PRM_INLINE void
total_row(FunctionCallInfo fcinfo, TotalState *state, int sign)
{
	PrmCompiled *compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PG_GETARG_DATUM(1));
	int64 units;
	Datum value;

	state->count += sign;
	if (likely(compiled->fast != NULL && prm_numeric_units(PG_GETARG_DATUM(2), &units)))
	{
		PrmWide earned = prm_fast_eval(compiled->fast, units);
		PrmWide total;

		if (likely(!__builtin_add_overflow(state->sum.units, sign < 0 ? -earned : earned, &total)))
			state->sum.units = total;
		else
			add_units(&state->sum, sign < 0 ? -earned : earned, PRM_RESULT_PLACES, aggregate_context(fcinfo));
		return;
	}
	value = NumericGetDatum(PG_GETARG_NUMERIC(2));
	prm_check_finite(value, "amount");
	value = prm_exact_eval(compiled, value);
	add_exact(&state->sum, sign < 0 ? prm_numeric_negative(value) : value, aggregate_context(fcinfo));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_step);

Datum
prm_commission_total_step(PG_FUNCTION_ARGS)
{
	TotalState *state = PG_ARGISNULL(0) ? NULL : (TotalState *)PG_GETARG_POINTER(0);

	if (unlikely(state == NULL))
		state = new_total(aggregate_context(fcinfo));
	if (likely(!PG_ARGISNULL(1) && !PG_ARGISNULL(2)))
		total_row(fcinfo, state, 1);
	PG_RETURN_POINTER(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_back);

/* Sums are exact, so a row that leaves a moving window is simply subtracted. */
Datum
prm_commission_total_back(PG_FUNCTION_ARGS)
{
	TotalState *state = (TotalState *)PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
		total_row(fcinfo, state, -1);
	PG_RETURN_POINTER(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_final);

Datum
prm_commission_total_final(PG_FUNCTION_ARGS)
{
	TotalState *state = PG_ARGISNULL(0) ? NULL : (TotalState *)PG_GETARG_POINTER(0);

	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(prm_numeric_trim(sum_value(&state->sum, PRM_RESULT_PLACES)));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_combine);

Datum
prm_commission_total_combine(PG_FUNCTION_ARGS)
{
	TotalState *to = PG_ARGISNULL(0) ? NULL : (TotalState *)PG_GETARG_POINTER(0);
	MemoryContext context = aggregate_context(fcinfo);

	if (to == NULL)
		to = new_total(context);
	if (!PG_ARGISNULL(1))
	{
		TotalState *from = (TotalState *)PG_GETARG_POINTER(1);

		add_sum(&to->sum, &from->sum, PRM_RESULT_PLACES, context);
		to->count += from->count;
	}
	PG_RETURN_POINTER(to);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_serial);

Datum
prm_commission_total_serial(PG_FUNCTION_ARGS)
{
	TotalState *state = (TotalState *)PG_GETARG_POINTER(0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint64(&message, state->count);
	send_sum(&message, &state->sum);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_total_deserial);

Datum
prm_commission_total_deserial(PG_FUNCTION_ARGS)
{
	TotalState *state = new_total(CurrentMemoryContext);
	StringInfoData message;

	(void)aggregate_context(fcinfo);
	open_message(PG_GETARG_BYTEA_PP(0), &message);
	state->count = pq_getmsgint64(&message);
	receive_sum(&message, &state->sum);
	pq_getmsgend(&message);
	PG_RETURN_POINTER(state);
}

/* ---- commission_cumulative --------------------------------------------------------------------------- */

typedef struct CumulativeState
{
	Sum sum;       /* of amounts, 10^-4 */
	bytea *packed; /* the one schedule of the group, detoasted; NULL while every row was skipped */
	uint64 serial; /* of that schedule in the step function's cache; 0 = not known */
	int digits;
} CumulativeState;

static CumulativeState *
new_cumulative(MemoryContext context)
{
	return MemoryContextAllocZero(context, sizeof(CumulativeState));
}

static void
keep_schedule(CumulativeState *state, Datum packed, int digits, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);

	state->packed = DatumGetByteaPCopy(packed);
	state->digits = digits;
	MemoryContextSwitchTo(caller);
}

/* F of a sum has a meaning for one F only. */
static void
check_same_schedule(CumulativeState *state, Datum other, int digits)
{
	if (!DatumGetBool(DirectFunctionCall2(byteaeq, PointerGetDatum(state->packed), other)))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("commission_cumulative needs one schedule per group"),
			 errdetail("The rows of one group have different schedules."),
			 errhint("GROUP BY the schedule too, or use commission_running(), which takes each row's own.")));
	if (state->digits != digits)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("commission_cumulative needs one number of digits per group"),
						errdetail("The rows of one group have %d and %d.", state->digits, digits),
						errhint("GROUP BY the currency too.")));
}

static int
digits_argument(bool isnull, Datum value)
{
	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("digits must not be NULL"),
						errdetail("The result is rounded to that many decimal places."),
						errhint("Pass the minor unit of the currency: 2 for USD, 0 for JPY, 3 for KWD.")));
	prm_check_digits(DatumGetInt32(value), PRM_RESULT_PLACES);
	return DatumGetInt32(value);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_cumulative_step);

Datum
prm_commission_cumulative_step(PG_FUNCTION_ARGS)
{
	CumulativeState *state = PG_ARGISNULL(0) ? NULL : (CumulativeState *)PG_GETARG_POINTER(0);
	PrmCompiled *compiled;
	int64 units;
	int digits;

	if (unlikely(state == NULL))
		state = new_cumulative(aggregate_context(fcinfo));
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	digits = digits_argument(PG_ARGISNULL(3), PG_GETARG_DATUM(3));
	compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PG_GETARG_DATUM(1));
	if (unlikely(state->packed == NULL))
	{
		keep_schedule(state, PG_GETARG_DATUM(1), digits, aggregate_context(fcinfo));
		state->serial = compiled->serial;
	}
	else if (unlikely(state->serial != compiled->serial || state->digits != digits))
	{
		check_same_schedule(state, PG_GETARG_DATUM(1), digits);
		state->serial = compiled->serial;
	}
	if (likely(prm_numeric_units(PG_GETARG_DATUM(2), &units)))
		state->sum.units += units; /* 10^20 rows would overflow it */
	else
	{
		Datum amount = NumericGetDatum(PG_GETARG_NUMERIC(2));

		prm_check_finite(amount, "amount");
		add_exact(&state->sum, amount, aggregate_context(fcinfo));
	}
	PG_RETURN_POINTER(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_cumulative_final);

Datum
prm_commission_cumulative_final(PG_FUNCTION_ARGS)
{
	CumulativeState *state = PG_ARGISNULL(0) ? NULL : (CumulativeState *)PG_GETARG_POINTER(0);
	PrmCompiled *compiled;
	PrmWide units;

	if (state == NULL || state->packed == NULL)
		PG_RETURN_NULL();
	compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PointerGetDatum(state->packed));
	units = state->sum.units;
	if (compiled->fast != NULL && state->sum.exact == 0 && units < PRM_AMOUNT_LIMIT &&
		units > -PRM_AMOUNT_LIMIT)
		PG_RETURN_DATUM(prm_units_numeric(
			prm_units_round(prm_fast_eval(compiled->fast, (int64)units), state->digits, false),
			state->digits));
	PG_RETURN_DATUM(prm_numeric_round(prm_exact_eval(compiled, sum_value(&state->sum, PRM_AMOUNT_PLACES)),
									  state->digits, false));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_cumulative_combine);

Datum
prm_commission_cumulative_combine(PG_FUNCTION_ARGS)
{
	CumulativeState *to = PG_ARGISNULL(0) ? NULL : (CumulativeState *)PG_GETARG_POINTER(0);
	MemoryContext context = aggregate_context(fcinfo);

	if (to == NULL)
		to = new_cumulative(context);
	if (!PG_ARGISNULL(1) && ((CumulativeState *)PG_GETARG_POINTER(1))->packed != NULL)
	{
		CumulativeState *from = (CumulativeState *)PG_GETARG_POINTER(1);

		if (to->packed == NULL)
			keep_schedule(to, PointerGetDatum(from->packed), from->digits, context);
		else
			check_same_schedule(to, PointerGetDatum(from->packed), from->digits);
		to->serial = 0;
		add_sum(&to->sum, &from->sum, PRM_AMOUNT_PLACES, context);
	}
	PG_RETURN_POINTER(to);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_cumulative_serial);

Datum
prm_commission_cumulative_serial(PG_FUNCTION_ARGS)
{
	CumulativeState *state = (CumulativeState *)PG_GETARG_POINTER(0);
	StringInfoData message;

	pq_begintypsend(&message);
	send_sum(&message, &state->sum);
	pq_sendint32(&message, state->digits);
	pq_sendint32(&message, state->packed == NULL ? 0 : VARSIZE(state->packed));
	if (state->packed != NULL)
		pq_sendbytes(&message, (char *)state->packed, VARSIZE(state->packed));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_cumulative_deserial);

Datum
prm_commission_cumulative_deserial(PG_FUNCTION_ARGS)
{
	CumulativeState *state = new_cumulative(CurrentMemoryContext);
	StringInfoData message;
	int length;

	(void)aggregate_context(fcinfo);
	open_message(PG_GETARG_BYTEA_PP(0), &message);
	receive_sum(&message, &state->sum);
	state->digits = pq_getmsgint(&message, 4);
	length = pq_getmsgint(&message, 4);
	if (length > 0)
	{
		state->packed = palloc(length);
		pq_copymsgbytes(&message, (char *)state->packed, length);
	}
	pq_getmsgend(&message);
	PG_RETURN_POINTER(state);
}

/* ---- commission_running ------------------------------------------------------------------------------ */

/* Of the function, for the whole query. */
typedef struct RunningCall
{
	PrmScheduleCache *cache;
	MemoryContext context;
	bool digits_stable; /* the argument is the same for every row, and has been read */
	int digits;
	Datum exact; /* the sum so far, where the partition has left the integers; 0 = none */
} RunningCall;

/* Of one partition. */
typedef struct RunningState
{
	int64 units; /* the sum so far, 10^-4 */
	bool exact;
	uint64 serial; /* schedule and digits of the row before, and what had been paid by then */
	int digits;
	PrmWide paid;
} RunningState;

/* round(F(sum)) on the exact path. */
static Datum
rounded_exact(PrmCompiled *compiled, Datum sum, int digits)
{
	return prm_numeric_round(prm_exact_eval(compiled, sum), digits, false);
}

static Datum
units_as_numeric(int64 units)
{
	return prm_units_numeric((PrmWide)units * 100000000, -1);
}

/* A row that the integers cannot hold: from here on the partition keeps its sum as a numeric. */
static Datum
running_exact(RunningCall *call, RunningState *state, PrmCompiled *compiled, Datum amount, int digits)
{
	MemoryContext caller;
	Datum before = state->exact ? call->exact : units_as_numeric(state->units);
	Datum after;
	Datum result;
	Datum old = call->exact;

	amount = NumericGetDatum(DatumGetNumeric(amount));
	prm_check_finite(amount, "amount");
	after = prm_numeric_plus(before, amount);
	result =
		prm_numeric_minus(rounded_exact(compiled, after, digits), rounded_exact(compiled, before, digits));

	/* The sum of the partition before this one was kept in the same place, and is freed here too. */
	caller = MemoryContextSwitchTo(call->context);
	call->exact = datumCopy(after, false, -1);
	MemoryContextSwitchTo(caller);
	if (old != 0)
		pfree(DatumGetPointer(old));
	state->exact = true;
	return result;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_running);

/*
 * round(F(sum up to this row)) - round(F(sum before it)), so that the rows add up to the rounded total to the
 * cent. The frame plays no part: the order of the window does. A row of NULL gets NULL and adds nothing.
 */
Datum
prm_commission_running(PG_FUNCTION_ARGS)
{
	WindowObject window = PG_WINDOW_OBJECT();
	RunningState *state = WinGetPartitionLocalMemory(window, sizeof(RunningState));
	RunningCall *call = fcinfo->flinfo->fn_extra;
	PrmCompiled *compiled;
	bool schedule_null, amount_null;
	Datum schedule = WinGetFuncArgCurrent(window, 0, &schedule_null);
	Datum amount = WinGetFuncArgCurrent(window, 1, &amount_null);
	int64 units;
	int digits;

	if (schedule_null || amount_null)
		PG_RETURN_NULL();
	if (unlikely(call == NULL))
	{
		call = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(RunningCall));
		call->cache = prm_cache_make(fcinfo->flinfo);
		call->context = fcinfo->flinfo->fn_mcxt;
		fcinfo->flinfo->fn_extra = call;
	}
	if (call->digits_stable)
		digits = call->digits;
	else
	{
		bool digits_null;
		Datum digits_value = WinGetFuncArgCurrent(window, 2, &digits_null);

		digits = call->digits = digits_argument(digits_null, digits_value);
		call->digits_stable = get_fn_expr_arg_stable(fcinfo->flinfo, 2);
	}
	compiled = prm_cache_lookup(call->cache, schedule);
	if (likely(!state->exact && compiled->fast != NULL && prm_numeric_units(amount, &units)) &&
		likely(state->units + units < PRM_AMOUNT_LIMIT && state->units + units > -PRM_AMOUNT_LIMIT))
	{
		PrmWide before = state->paid;
		PrmWide after;

		/* Another schedule, or the first row: what it would have paid so far. */
		if (state->serial != compiled->serial || state->digits != digits)
			before = prm_units_round(prm_fast_eval(compiled->fast, state->units), digits, false);
		state->units += units;
		after = prm_units_round(prm_fast_eval(compiled->fast, state->units), digits, false);
		state->paid = after;
		state->serial = compiled->serial;
		state->digits = digits;
		PG_RETURN_DATUM(prm_units_numeric(after - before, digits));
	}
	if (!state->exact && compiled->fast == NULL && prm_numeric_units(amount, &units) &&
		state->units + units < PRM_AMOUNT_LIMIT && state->units + units > -PRM_AMOUNT_LIMIT)
	{
		/* Only the schedule is fine, not the sum: that stays in integers for the schedules of other rows. */
		Datum before = rounded_exact(compiled, units_as_numeric(state->units), digits);

		state->units += units;
		state->serial = 0;
		PG_RETURN_DATUM(
			prm_numeric_minus(rounded_exact(compiled, units_as_numeric(state->units), digits), before));
	}
	PG_RETURN_DATUM(running_exact(call, state, compiled, amount, digits));
}
