/*
 * schedule_eval.c: turns a schedule into lines over integers. Plain C, no server; see schedule.h for units
 * and limits.
 *
 * Every mode becomes the same thing: per bracket one line constant + rate * x. A marginal bracket's constant
 * carries what the brackets below it pay, a slab's is zero or its fixed amount, an interpolated one's follows
 * from its slope.
 */
#include "schedule.h"

#define RATE_LIMIT INT64_C(100000000000000000)

static PrmWide
power_of_ten(int exponent)
{
	PrmWide result = 1;

	while (exponent-- > 0)
		result *= 10;
	return result;
}

/* The number in units of 10^-places, which are no coarser than it: at most 10^18 * 10^18, so it always fits.
 */
static PrmWide
units_of(PrmNumber number, int places)
{
	return (PrmWide)number.digits * power_of_ten(places - number.scale);
}

static bool
in_units(PrmNumber number, int places, PrmWide *units)
{
	if (number.scale > places)
		return false;
	*units = units_of(number, places);
	return true;
}

static bool
in_units64(PrmNumber number, int places, int64_t limit, int64_t *units)
{
	PrmWide wide;

	if (!in_units(number, places, &wide) || wide > limit || wide < -limit)
		return false;
	*units = (int64_t)wide;
	return true;
}

size_t
prm_fast_size(int count)
{
	return sizeof(PrmFast) + sizeof(int64_t) * (size_t)count + sizeof(PrmLine) * ((size_t)count + 1);
}

/* The rate of a bracket as a factor: 5% is 0.05, 5 each is 5. */
static bool
rate_of(const PrmBracket *bracket, int64_t *rate)
{
	PrmNumber factor = bracket->value;

	if (bracket->kind == PRM_KIND_PERCENT)
		factor.scale += 2;
	return in_units64(factor, PRM_RATE_PLACES, RATE_LIMIT, rate);
}

/* The slope between two points in units of 10^-8; false where it does not end there. */
static bool
slope_of(const PrmBracket *low, const PrmBracket *high, int64_t *slope)
{
	PrmWide low_amount, high_amount, rise;
	int64_t low_bound, high_bound, run;

	if (!in_units(low->value, PRM_RESULT_PLACES, &low_amount) ||
		!in_units(high->value, PRM_RESULT_PLACES, &high_amount) ||
		!in_units64(low->from, PRM_AMOUNT_PLACES, PRM_AMOUNT_LIMIT, &low_bound) ||
		!in_units64(high->from, PRM_AMOUNT_PLACES, PRM_AMOUNT_LIMIT, &high_bound))
		return false;
	rise = high_amount - low_amount;
	run = high_bound - low_bound;
	if (rise % run != 0 || rise / run > RATE_LIMIT || rise / run < -RATE_LIMIT)
		return false;
	*slope = (int64_t)(rise / run);
	return true;
}

/*
 * Fills the fast form, for which the caller has provided prm_fast_size(count) bytes. Returns false where the
 * schedule needs finer units. The largest value is 2 * 10^18 units of amount times 10^17 units of rate, which
 * leaves room in 128 bits.
 */
bool
prm_fast_compile(const PrmSchedule *schedule, PrmFast *fast)
{
	PrmWide paid_below = 0;

	fast->count = schedule->count;
	fast->ties = schedule->ties_low ? 1 : 0;
	fast->line = (PrmLine *)(fast + 1);
	fast->from = (int64_t *)(fast->line + schedule->count + 1);
	fast->line[0].constant = 0;
	fast->line[0].rate = 0;
	for (int i = 0; i < schedule->count; i++)
	{
		const PrmBracket *bracket = &schedule->bracket[i];
		const PrmBracket *next = i + 1 < schedule->count ? bracket + 1 : NULL;
		PrmLine *line = &fast->line[i + 1];
		PrmWide amount;

		if (!in_units64(bracket->from, PRM_AMOUNT_PLACES, PRM_AMOUNT_LIMIT, &fast->from[i]))
			return false;
		line->rate = 0;
		line->constant = 0;
		switch (schedule->mode)
		{
			case PRM_MODE_PERCENT:
			case PRM_MODE_SLAB:
				if (bracket->kind != PRM_KIND_FIXED)
				{
					if (!rate_of(bracket, &line->rate))
						return false;
				}
				else
				{
					if (!in_units(bracket->value, PRM_RESULT_PLACES, &amount))
						return false;
					line->constant = amount;
				}
				break;
			case PRM_MODE_MARGINAL:
				if (!rate_of(bracket, &line->rate))
					return false;
				/* What the brackets below pay for the whole of theirs, up to this bound. */
				if (i > 0)
					paid_below += (PrmWide)(fast->from[i] - fast->from[i - 1]) * line[-1].rate;
				line->constant = paid_below - (PrmWide)fast->from[i] * line->rate;
				break;
			case PRM_MODE_INTERPOLATED:
				if (!in_units(bracket->value, PRM_RESULT_PLACES, &amount))
					return false;
				if (next != NULL && !slope_of(bracket, next, &line->rate))
					return false;
				line->constant = amount - (PrmWide)fast->from[i] * line->rate;
				break;
		}
	}
	return true;
}

static PrmUWide
greatest_common_divisor(PrmUWide a, PrmUWide b)
{
	while (b != 0)
	{
		PrmUWide rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/*
 * How many places the slope between two interpolated points has: the decimal fraction of a quotient ends
 * exactly when its reduced denominator has no other factors than 2 and 5. Returns -1 where it never ends.
 */
int
prm_slope_places(const PrmBracket *low, const PrmBracket *high)
{
	/* 18 places hold every number of a schedule. */
	PrmWide low_amount = units_of(low->value, PRM_MAX_DIGITS);
	PrmWide high_amount = units_of(high->value, PRM_MAX_DIGITS);
	PrmUWide rise, run, common;
	int twos = 0;
	int fives = 0;

	rise = (PrmUWide)(high_amount >= low_amount ? high_amount - low_amount : low_amount - high_amount);
	run = (PrmUWide)(units_of(high->from, PRM_MAX_DIGITS) - units_of(low->from, PRM_MAX_DIGITS));
	if (rise == 0)
		return 0;
	common = greatest_common_divisor(run, rise);
	run /= common;
	for (; run % 2 == 0; run /= 2)
		twos++;
	for (; run % 5 == 0; run /= 5)
		fives++;
	if (run != 1)
		return -1;
	return twos > fives ? twos : fives;
}
