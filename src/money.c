/*
 * money.c: rounding and sharing of money: prm.round_money(), prm.allocate(), the minor units of ISO 4217.
 *
 * Rounding is symmetric: what is paid for an amount is exactly what its return takes back. Half away from
 * zero is the default, half to even an option.
 */
#include "prm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "decimal.h"

#define MAX_DIGITS 100 /* of round and allocate; the aggregates have PRM_RESULT_PLACES */

/* ---- checks shared by money and commissions ---------------------------------------------------------- */

void
prm_refuse_special(Numeric value, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("%s must be a finite number", what),
					errdetail("The value is %s.", numeric_is_nan(value) ? "NaN" : "infinite"),
					errhint("Leave such rows out, or pass NULL, which is skipped.")));
}

void
prm_check_digits(int digits, int limit)
{
	if (digits < 0 || digits > limit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("digits must lie between 0 and %d", limit),
				 errdetail("The value is %d.", digits),
				 errhint("Pass the minor unit of the currency: 2 for USD, 0 for JPY, 3 for KWD.")));
}

/* ---- rounding ---------------------------------------------------------------------------------------- */

static Datum
core_round(Datum value, int digits)
{
	return DirectFunctionCall2(numeric_round, value, Int32GetDatum(digits));
}

/* Rounds a finite value; the result shows as many places as digits says. */
Datum
prm_numeric_round(Datum value, int digits, bool half_even)
{
	Datum rounded;
	Datum twice_off;
	int64 units;

	if (digits <= PRM_RESULT_PLACES && prm_numeric_units(value, &units))
		return prm_units_numeric(prm_units_round((PrmWide)units * 100000000, digits, half_even), digits);
	rounded = core_round(value, digits); /* half away from zero */
	if (!half_even)
		return rounded;

	/* In the middle exactly, and the last digit odd: the other neighbour is the even one. */
	twice_off = prm_numeric_times(prm_numeric_minus(rounded, value), prm_numeric_int(2));
	if (prm_numeric_compare(DirectFunctionCall1(numeric_abs, twice_off), prm_numeric_power_of_ten(-digits)) ==
		0)
	{
		Datum last = DirectFunctionCall2(
			numeric_mod, prm_numeric_times(rounded, prm_numeric_power_of_ten(digits)), prm_numeric_int(2));

		if (prm_numeric_sign(last) != 0)
			rounded = core_round(prm_numeric_minus(rounded, twice_off), digits);
	}
	return rounded;
}

/* 'half_up' or 'half_even'. */
static bool
is_half_even(text *mode)
{
	const char *name = VARDATA_ANY(mode);
	int length = VARSIZE_ANY_EXHDR(mode);

	if (length == 7 && memcmp(name, "half_up", 7) == 0)
		return false;
	if (length == 9 && memcmp(name, "half_even", 9) == 0)
		return true;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown rounding mode \"%s\"", text_to_cstring(mode)),
					errdetail("The modes are half_up (half away from zero) and half_even."),
					errhint("Leave the mode out for half_up.")));
	return false; /* keep the compiler quiet */
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_round_digits);

Datum
prm_round_digits(PG_FUNCTION_ARGS)
{
	Datum amount = PG_GETARG_DATUM(0);
	int digits = PG_GETARG_INT32(1);
	bool half_even = is_half_even(PG_GETARG_TEXT_PP(2));
	int64 units;

	prm_check_digits(digits, MAX_DIGITS);
	if (!prm_numeric_units(amount, &units))
	{
		amount = NumericGetDatum(DatumGetNumeric(amount));
		prm_check_finite(amount, "amount");
	}
	PG_RETURN_DATUM(prm_numeric_round(amount, digits, half_even));
}

/* ---- currencies -------------------------------------------------------------------------------------- */

/*
 * ISO 4217: the codes in use, and those withdrawn since 2000, because a ledger keeps its past. Codes without
 * a minor unit (gold, test codes, drawing rights) are not here: nobody is paid in them.
 */
static const char currencies_2[] = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV "
								   "BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY "
								   "COP COU CRC CUC CUP CVE CYP CZK DKK DOP DZD EEK EGP ERN ETB EUR FJD FKP "
								   "GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF "
								   "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL LTL LVL "
								   "MAD MDL MGA MKD MMK MNT MOP MRU MTL MUR MVR MWK "
								   "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON "
								   "RSD RUB SAR SBD SCR SDG SEK SGD SHP SKK SLE SLL "
								   "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN "
								   "UYU UZS VED VEF VES WST XCD XCG YER ZAR ZMW ZWG "
								   "ZWL ";
static const char currencies_0[] = "BIF BYR CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ";
static const char currencies_3[] = "BHD IQD JOD KWD LYD OMR TND ";
static const char currencies_4[] = "CLF UYW ";

static bool
is_listed(const char *list, const char *code)
{
	for (; *list != '\0'; list += 4)
	{
		if (memcmp(list, code, 3) == 0)
			return true;
	}
	return false;
}

/* The minor unit of a currency; 22023 where it is none. */
int
prm_currency_digits(const char *code, int length)
{
	if (length == 3)
	{
		if (is_listed(currencies_2, code))
			return 2;
		if (is_listed(currencies_0, code))
			return 0;
		if (is_listed(currencies_3, code))
			return 3;
		if (is_listed(currencies_4, code))
			return 4;
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unknown currency \"%s\"", pnstrdup(code, length)),
					errdetail("It is no code of ISO 4217 that has a minor unit."),
					errhint("Write the three capital letters of the currency, such as USD, EUR or JPY.")));
	return 0; /* keep the compiler quiet */
}

static int
minor_units(text *currency)
{
	return prm_currency_digits(VARDATA_ANY(currency), VARSIZE_ANY_EXHDR(currency));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_minor_units);

Datum
prm_minor_units(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(minor_units(PG_GETARG_TEXT_PP(0)));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_round_money);

Datum
prm_round_money(PG_FUNCTION_ARGS)
{
	Datum amount = PG_GETARG_DATUM(0);
	int digits = minor_units(PG_GETARG_TEXT_PP(1));
	bool half_even = is_half_even(PG_GETARG_TEXT_PP(2));
	int64 units;

	if (!prm_numeric_units(amount, &units))
	{
		amount = NumericGetDatum(DatumGetNumeric(amount));
		prm_check_finite(amount, "amount");
	}
	PG_RETURN_DATUM(prm_numeric_round(amount, digits, half_even));
}

/* ---- sharing ----------------------------------------------------------------------------------------- */

typedef struct Share
{
	int place;
	Datum units; /* whole minor units */
	Datum rest;  /* what the division left, the larger the nearer to one more unit */
} Share;

/* Largest remainder first; among equals the earlier place, so that the result does not depend on the sort. */
static int
by_rest(const void *a, const void *b)
{
	const Share *left = a;
	const Share *right = b;
	int order = prm_numeric_compare(right->rest, left->rest);

	return order != 0 ? order : left->place - right->place;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_allocate);

/* Deals a total by weights so that the shares sum to it exactly. allocate(-t) is -allocate(t). */
Datum
prm_allocate(PG_FUNCTION_ARGS)
{
	Datum total = NumericGetDatum(PG_GETARG_NUMERIC(0));
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(1);
	int digits = PG_GETARG_INT32(2);
	Datum zero = prm_numeric_int(0);
	Datum weight_sum = zero;
	Datum left;
	Datum total_units;
	Datum *weights;
	Datum *results;
	bool *nulls;
	Share *shares;
	int count, extra;
	bool negative;

	prm_check_digits(digits, MAX_DIGITS);
	prm_check_finite(total, "total");
	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("weights must be a list"),
						errdetail("The array has %d dimensions.", ARR_NDIM(array)),
						errhint("Pass an array like ARRAY[60, 40].")));
	if (prm_numeric_compare(core_round(total, digits), total) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("total has more than %d decimal places", digits),
						errdetail("%s cannot be dealt in shares of %d places that sum to it.",
								  DatumGetCString(DirectFunctionCall1(numeric_out, total)), digits),
						errhint("Round it first with prm.round_money(amount, currency).")));
	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &weights, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("weights must not be NULL"),
					 errdetail("Element %d is NULL.", i + 1), errhint("Pass 0 for one who gets nothing.")));
		prm_check_finite(weights[i], "weight");
		if (prm_numeric_sign(weights[i]) < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("weights must not be negative"),
							errdetail("Element %d is %s.", i + 1,
									  DatumGetCString(DirectFunctionCall1(numeric_out, weights[i]))),
							errhint("Pass 0 for one who gets nothing.")));
		weight_sum = prm_numeric_plus(weight_sum, weights[i]);
	}
	if (prm_numeric_sign(weight_sum) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("weights must not all be zero"),
						errdetail("There are %d weights, and their sum is 0.", count),
						errhint("Pass at least one weight above 0.")));

	negative = prm_numeric_sign(total) < 0;
	total_units =
		prm_numeric_times(negative ? prm_numeric_negative(total) : total, prm_numeric_power_of_ten(digits));
	left = total_units;
	shares = palloc(sizeof(Share) * count);
	for (int i = 0; i < count; i++)
	{
		Datum product = prm_numeric_times(total_units, weights[i]);

		CHECK_FOR_INTERRUPTS();
		shares[i].place = i;
		shares[i].units = prm_numeric_whole_quotient(product, weight_sum);
		shares[i].rest = prm_numeric_minus(product, prm_numeric_times(shares[i].units, weight_sum));
		left = prm_numeric_minus(left, shares[i].units);
	}
	/* Fewer units are left than there are weights, and none of them goes to a weight of 0: its remainder is
	 * 0. */
	extra = DatumGetInt32(DirectFunctionCall1(numeric_int4, left));
	qsort(shares, count, sizeof(Share), by_rest);
	results = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		Datum units = i < extra ? prm_numeric_plus(shares[i].units, prm_numeric_int(1)) : shares[i].units;
		Datum share = core_round(prm_numeric_times(units, prm_numeric_power_of_ten(-digits)), digits);

		results[shares[i].place] = negative ? prm_numeric_negative(share) : share;
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(results, count, NUMERICOID, -1, false, TYPALIGN_INT));
}
