/*
 * commission_parts.c: prm.commission_parts(): why a commission is what it is, one row for each part. Amounts
 * sum to the amount and commissions to prm.commission() of the same arguments. earning_document.c keeps them
 * with each ledger row. Runs on the exact path only: what it tells is read, not summed.
 *
 * marginal, interpolated: the way from attained to attained + amount, cut at the bounds, in the order in
 * which it is walked; a return walks down from the top bracket. Below zero the brackets are mirrored, and are
 * shown as the schedule writes them. slab, percent: the whole pays at one rate, so where attained lies in
 * another bracket there are two parts: the new total at its rate, and what was earned before, taken back.
 */
#include "prm.h"

#include "funcapi.h"
#include "utils/tuplestore.h"

#include "commission.h"

typedef struct Parts
{
	PrmCompiled *compiled;
	PrmPartReceiver receive;
	void *receiver;
	int count;
} Parts;

/* One row; bracket -1 is what lies below the first bound and pays nothing. */
static void
put_part(Parts *parts, int bracket, Datum amount, Datum commission)
{
	const PrmSchedule *schedule = parts->compiled->schedule;
	Datum values[PRM_PART_COLUMNS];
	bool nulls[PRM_PART_COLUMNS] = {false};

	values[0] = Int32GetDatum(++parts->count);
	values[1] = bracket < 0 ? prm_numeric_int(0) : prm_exact_bracket_at(parts->compiled, bracket)->from;
	if (bracket + 1 < schedule->count)
		values[2] = prm_exact_bracket_at(parts->compiled, bracket + 1)->from;
	else
	{
		values[2] = (Datum)0;
		nulls[2] = true;
	}
	values[3] = prm_numeric_trim(amount);
	if (bracket < 0)
		values[4] = prm_numeric_int(0);
	else if (schedule->mode != PRM_MODE_INTERPOLATED && schedule->bracket[bracket].kind == PRM_KIND_FIXED)
	{
		values[4] = (Datum)0;
		nulls[4] = true;
	}
	else
		values[4] = prm_numeric_trim(prm_exact_rate(parts->compiled, bracket));
	values[5] = prm_numeric_trim(commission);
	parts->receive(parts->receiver, values, nulls);
}

/* The way between two sizes on one side of zero, up or down; sign is that of the amount. */
static void
walk(Parts *parts, Datum from, Datum to, int sign)
{
	bool up = prm_numeric_compare(to, from) > 0;
	Datum low = up ? from : to;
	Datum high = up ? to : from;
	int count = parts->compiled->schedule->count;

	for (int step = -1; step < count; step++)
	{
		int bracket = up ? step : count - 2 - step;
		Datum start = bracket < 0 ? prm_numeric_int(0) : prm_exact_bracket_at(parts->compiled, bracket)->from;
		Datum amount;
		Datum commission;
		Datum end = high;

		if (prm_numeric_compare(start, low) < 0)
			start = low;
		if (bracket + 1 < count &&
			prm_numeric_compare(prm_exact_bracket_at(parts->compiled, bracket + 1)->from, high) < 0)
			end = prm_exact_bracket_at(parts->compiled, bracket + 1)->from;
		if (prm_numeric_compare(start, end) >= 0)
			continue;
		amount = prm_numeric_minus(end, start);
		commission =
			prm_numeric_minus(prm_exact_eval(parts->compiled, end), prm_exact_eval(parts->compiled, start));
		if (sign < 0)
		{
			amount = prm_numeric_negative(amount);
			commission = prm_numeric_negative(commission);
		}
		put_part(parts, bracket, amount, commission);
	}
}

static Datum
size_of(Datum value)
{
	return prm_numeric_sign(value) < 0 ? prm_numeric_negative(value) : value;
}

/* Each part of a commission, in order, to the receiver: the columns of prm.commission_parts(). */
void
prm_parts_each(PrmCompiled *compiled, Datum amount, Datum attained, PrmPartReceiver receive, void *receiver)
{
	Parts parts = {compiled, receive, receiver, 0};
	Datum zero = prm_numeric_int(0);
	Datum total;
	int amount_sign, before_sign, after_sign, before, after;

	total = prm_numeric_plus(attained, amount);
	amount_sign = prm_numeric_sign(amount);
	before_sign = prm_numeric_sign(attained);
	after_sign = prm_numeric_sign(total);
	before = before_sign == 0 ? -1 : prm_exact_bracket(parts.compiled, size_of(attained));
	after = after_sign == 0 ? -1 : prm_exact_bracket(parts.compiled, size_of(total));

	if (amount_sign == 0)
	{
		/* Nothing is sold and nothing earned; the row says in which bracket. */
		put_part(&parts, before, zero, zero);
	}
	else if (parts.compiled->schedule->mode == PRM_MODE_MARGINAL ||
			 parts.compiled->schedule->mode == PRM_MODE_INTERPOLATED)
	{
		/* On a way through zero the one side is walked down to it, the other up from it. */
		if (before_sign * amount_sign < 0)
			walk(&parts, size_of(attained), before_sign * after_sign > 0 ? size_of(total) : zero,
				 amount_sign);
		if (after_sign * amount_sign > 0)
			walk(&parts, before_sign * after_sign > 0 ? size_of(attained) : zero, size_of(total),
				 amount_sign);
	}
	else if (before_sign == 0)
		put_part(&parts, after, amount, prm_exact_eval(parts.compiled, total));
	else if (before == after && after_sign != 0 &&
			 (before_sign == after_sign ||
			  (after >= 0 && parts.compiled->schedule->bracket[after].kind != PRM_KIND_FIXED)))
		put_part(&parts, after, amount,
				 prm_numeric_minus(prm_exact_eval(parts.compiled, total),
								   prm_exact_eval(parts.compiled, attained)));
	else
	{
		if (after_sign != 0)
			put_part(&parts, after, total, prm_exact_eval(parts.compiled, total));
		put_part(&parts, before, prm_numeric_negative(attained),
				 prm_numeric_negative(prm_exact_eval(parts.compiled, attained)));
	}
}

static void
put_row(void *receiver, Datum *values, bool *nulls)
{
	ReturnSetInfo *result = receiver;

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_parts);

Datum
prm_commission_parts(PG_FUNCTION_ARGS)
{
	Datum amount = NumericGetDatum(PG_GETARG_NUMERIC(1));
	Datum attained = NumericGetDatum(PG_GETARG_NUMERIC(2));
	PrmCompiled *compiled = prm_cache_lookup(prm_cache(fcinfo->flinfo), PG_GETARG_DATUM(0));

	prm_check_finite(amount, "amount");
	prm_check_finite(attained, "attained");
	InitMaterializedSRF(fcinfo, 0);
	prm_parts_each(compiled, amount, attained, put_row, fcinfo->resultinfo);
	return (Datum)0;
}
