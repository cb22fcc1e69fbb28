/*
 * earning_money.c: the exact arithmetic of the earning engine: what a rule's schedule makes of an amount, conversion at a
 * rate of exchange, rounding by the programme's mode, and the windows in which rules count. It keeps nothing but the
 * schedules that it has expanded, reads no table, and is called by the paying half.
 */
#include "earning_pay.h"

#include "utils/datetime.h"
#include "utils/memutils.h"

#include "period.h"

/* ---- schedules ------------------------------------------------------------------------------------------------------- */

/*
 * The schedules that this backend has expanded, found by their bytes: rules come and go with the rule book, and equal
 * schedules are equal whichever rule has them. The cache bounds itself.
 */
static PrmCompiled *
compiled_schedule(const PrmRule *rule)
{
	static PrmScheduleCache *cache = NULL;

	if (unlikely(cache == NULL))
	{
		FmgrInfo keeper = {0};

		keeper.fn_mcxt = TopMemoryContext;
		cache = prm_cache_make(&keeper);
	}
	return prm_cache_lookup(cache, rule->schedule);
}

void
prm_rule_parts(const PrmRule *rule, Datum amount, Datum attained, PrmPartReceiver receive, void *receiver)
{
	prm_parts_each(compiled_schedule(rule), amount, attained, receive, receiver);
}

Datum
prm_rule_commission(const PrmRule *rule, Datum amount, Datum attained)
{
	PrmCompiled *compiled = compiled_schedule(rule);
	int64 amount_units;
	int64 attained_units;

	if (likely(compiled->fast != NULL && prm_numeric_units(amount, &amount_units) &&
			   prm_numeric_units(attained, &attained_units)))
	{
		PrmWide result = prm_fast_eval(compiled->fast, attained_units + amount_units);

		if (attained_units != 0)
			result -= prm_fast_eval(compiled->fast, attained_units);
		return prm_units_numeric(result, -1);
	}
	return prm_numeric_trim(prm_numeric_minus(prm_exact_eval(compiled, prm_numeric_plus(attained, amount)),
											  prm_exact_eval(compiled, attained)));
}

/*
 * The bracket in which the measure lies, applied to the basis: its rate, or the fixed amount of a slab. Sign-symmetric in
 * the basis, as F is.
 */
Datum
prm_rule_rate_at(const PrmRule *rule, Datum measure, Datum basis)
{
	PrmCompiled *compiled = compiled_schedule(rule);
	int sign = prm_numeric_sign(basis);
	int number = prm_exact_bracket(compiled, prm_numeric_sign(measure) < 0 ? prm_numeric_negative(measure) : measure);
	const PrmExactBracket *bracket;

	if (number < 0 || sign == 0)
		return prm_numeric_int(0);
	bracket = prm_exact_bracket_at(compiled, number);
	if (compiled->schedule->mode == PRM_MODE_SLAB && compiled->schedule->bracket[number].kind == PRM_KIND_FIXED)
		return sign < 0 ? prm_numeric_negative(bracket->below) : bracket->below;
	return prm_numeric_trim(prm_numeric_times(prm_exact_rate(compiled, number), basis));
}

/* ---- amounts ----------------------------------------------------------------------------------------------------------- */

PrmMoney
prm_money(Datum value)
{
	PrmMoney money = {value, true};

	return money;
}

#define QUOTIENT_PLACES 24
#define CONVERTED_PLACES 18

/* A division that may not end is kept to so many places, however large the amount; numeric alone keeps 16 digits in all. */
Datum
prm_money_quotient(Datum amount, Datum divisor)
{
	Datum wide = DirectFunctionCall2(numeric_round, amount, Int32GetDatum(QUOTIENT_PLACES));

	return prm_numeric_trim(DirectFunctionCall2(numeric_div, wide, divisor));
}

Datum
prm_money_to_plan(const PrmRate *rate, Datum amount)
{
	if (!rate->needed)
		return amount;
	return rate->divides ? prm_money_quotient(amount, rate->rate) : prm_numeric_trim(prm_numeric_times(amount, rate->rate));
}

/* There and back gives what it was: what the first division cut off is rounded away again. */
Datum
prm_money_from_plan(const PrmRate *rate, Datum amount)
{
	Datum converted;

	if (!rate->needed)
		return amount;
	converted = rate->divides ? prm_numeric_times(amount, rate->rate) : prm_money_quotient(amount, rate->rate);
	return prm_numeric_trim(DirectFunctionCall2(numeric_round, converted, Int32GetDatum(CONVERTED_PLACES)));
}

PrmMoney
prm_rate_shown(const PrmRate *rate)
{
	PrmMoney none = {0};

	if (!rate->needed || !rate->given)
		return none;
	return prm_money(rate->divides ? prm_money_quotient(prm_numeric_int(1), rate->rate) : rate->rate);
}

/* To the minor unit of a currency, in the programme's way. */
Datum
prm_money_round(const PrmRuleBook *book, Datum amount, const char *currency)
{
	return prm_numeric_round(amount, prm_currency_digits(currency, strlen(currency)), strcmp(book->rounding, "half_even") == 0);
}

const char *
prm_money_text(Datum amount)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, prm_numeric_trim(amount)));
}

/* ---- windows ------------------------------------------------------------------------------------------------------------ */

static int
window_months(PrmWindowKind kind)
{
	switch (kind)
	{
		case PRM_WINDOW_MONTH:
			return 1;
		case PRM_WINDOW_HALF_MONTH:
			return 0;
		case PRM_WINDOW_QUARTER:
			return 3;
		case PRM_WINDOW_HALF:
			return 6;
		case PRM_WINDOW_YEAR:
			return 12;
		case PRM_WINDOW_LIFETIME:
			break;
	}
	return -1;
}

const char *
prm_window_name(PrmWindowKind kind)
{
	switch (kind)
	{
		case PRM_WINDOW_MONTH:
			return "month";
		case PRM_WINDOW_HALF_MONTH:
			return "half_month";
		case PRM_WINDOW_QUARTER:
			return "quarter";
		case PRM_WINDOW_HALF:
			return "half";
		case PRM_WINDOW_YEAR:
			return "year";
		case PRM_WINDOW_LIFETIME:
			break;
	}
	return "lifetime";
}

DateADT
prm_window_start(const PrmRuleBook *book, PrmWindowKind kind, DateADT day)
{
	DateADT first, last;

	prm_find_window(day, window_months(kind), book->fiscal_month, &first, &last);
	return first;
}

DateADT
prm_window_end(const PrmRuleBook *book, PrmWindowKind kind, DateADT day)
{
	DateADT first, last;

	prm_find_window(day, window_months(kind), book->fiscal_month, &first, &last);
	return last;
}

/* As date + interval: the last day of a shorter month stands for the days that it does not have. */
DateADT
prm_months_later(DateADT day, int months)
{
	int year, month, day_of_month, number;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &day_of_month);
	number = year * 12 + month - 1 + months;
	year = number / 12;
	month = number % 12 + 1;
	day_of_month = Min(day_of_month, day_tab[isleap(year)][month - 1]);
	return date2j(year, month, day_of_month) - POSTGRES_EPOCH_JDATE;
}
