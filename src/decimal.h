/*
 * decimal.h: numeric read and written directly, for the fast paths of money arithmetic. Calling numeric's own
 * functions once per row costs more than the whole calculation.
 *
 * The stored form of numeric is that of every table on disk and has not changed since 9.1; what is read here
 * is that form, never numeric.c's private structs. Values that the fast path does not take (wide, fine,
 * compressed, NaN, infinite) are refused by prm_numeric_units, and the caller goes through numeric's
 * functions.
 */
#ifndef PRM_DECIMAL_H
#define PRM_DECIMAL_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "compat.h"
#include "schedule.h"

#define PRM_NUMERIC_SIGN_MASK 0xC000
#define PRM_NUMERIC_NEGATIVE 0x4000
#define PRM_NUMERIC_SHORT 0x8000
#define PRM_NUMERIC_SPECIAL 0xC000
#define PRM_NUMERIC_SHORT_NEGATIVE 0x2000
#define PRM_NUMERIC_SHORT_SCALE_SHIFT 7
#define PRM_NUMERIC_SHORT_WEIGHT_SIGN 0x0040
#define PRM_NUMERIC_SHORT_WEIGHT_MASK 0x003F

/* The value in units of 10^-4, where it has no finer part and lies below 10^18 units; false otherwise. */
PRM_INLINE bool
prm_numeric_units(Datum value, int64 *units)
{
	struct varlena *stored = (struct varlena *)DatumGetPointer(value);
	const char *data;
	uint16 header;
	int length, weight, count, i;
	uint64 sum = 0;
	bool negative;

	if (unlikely(VARATT_IS_EXTENDED(stored) && !VARATT_IS_SHORT(stored)))
		return false;
	data = VARDATA_ANY(stored);
	length = VARSIZE_ANY_EXHDR(stored);
	memcpy(&header, data, sizeof(header));
	if (likely((header & PRM_NUMERIC_SIGN_MASK) == PRM_NUMERIC_SHORT))
	{
		negative = (header & PRM_NUMERIC_SHORT_NEGATIVE) != 0;
		weight = (header & PRM_NUMERIC_SHORT_WEIGHT_MASK) |
				 ((header & PRM_NUMERIC_SHORT_WEIGHT_SIGN) ? ~PRM_NUMERIC_SHORT_WEIGHT_MASK : 0);
		data += sizeof(header);
		count = (length - (int)sizeof(header)) / 2;
	}
	else if ((header & PRM_NUMERIC_SIGN_MASK) == PRM_NUMERIC_SPECIAL)
		return false;
	else
	{
		int16 long_weight;

		negative = (header & PRM_NUMERIC_SIGN_MASK) == PRM_NUMERIC_NEGATIVE;
		memcpy(&long_weight, data + sizeof(header), sizeof(long_weight));
		weight = long_weight;
		data += sizeof(header) + sizeof(long_weight);
		count = (length - (int)(sizeof(header) + sizeof(long_weight))) / 2;
	}
	if (count == 0)
	{
		*units = 0;
		return true;
	}
	/* Digits have base 10^4, the first has weight 10^(4 * weight), and one digit may stand behind the point.
	 */
	if (unlikely(count - 1 > weight + 1 || weight > 3))
		return false;
	for (i = 0; i < count; i++)
	{
		uint16 digit;

		memcpy(&digit, data + 2 * i, sizeof(digit));
		if (unlikely(i == 0 && weight == 3 && digit >= 100))
			return false;
		sum = sum * 10000 + digit;
	}
	for (; i < weight + 2; i++)
		sum *= 10000;
	*units = negative ? -(int64)sum : (int64)sum;
	return true;
}

/*
 * A numeric from units of 10^-12. With scale -1 it shows as few decimal places as it needs, otherwise that
 * many (the value has no finer part then). Equal values thus have equal bytes, whichever path computed them.
 */
static inline Datum
prm_units_numeric(PrmWide units, int scale)
{
	int16 digits[12]; /* base 10^4, least significant first */
	PrmUWide rest = units < 0 ? (PrmUWide)0 - (PrmUWide)units : (PrmUWide)units;
	int count = 0;
	int first = 0;
	int shown;
	int weight;
	uint16 header;
	char *result;

	while (unlikely(rest > PG_UINT64_MAX))
	{
		uint64 part = (uint64)(rest % UINT64CONST(10000000000000000));

		rest /= UINT64CONST(10000000000000000);
		for (int i = 0; i < 4; i++, part /= 10000)
			digits[count++] = (int16)(part % 10000);
	}
	for (uint64 part = (uint64)rest; part > 0; part /= 10000)
		digits[count++] = (int16)(part % 10000);
	while (first < count && digits[first] == 0)
		first++;
	if (first == count)
	{
		first = count = 0;
		weight = 0;
		shown = 0;
	}
	else
	{
		weight = count - 1 - 3;
		shown = first >= 3 ? 0 : (3 - first) * 4;
		if (shown > 0)
		{
			if (digits[first] % 1000 == 0)
				shown -= 3;
			else if (digits[first] % 100 == 0)
				shown -= 2;
			else if (digits[first] % 10 == 0)
				shown -= 1;
		}
	}
	if (scale >= 0)
		shown = scale;
	result = palloc(VARHDRSZ + sizeof(uint16) + 2 * (count - first));
	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) + 2 * (count - first));
	header =
		(uint16)(PRM_NUMERIC_SHORT | (units < 0 ? PRM_NUMERIC_SHORT_NEGATIVE : 0) |
				 (shown << PRM_NUMERIC_SHORT_SCALE_SHIFT) | (weight < 0 ? PRM_NUMERIC_SHORT_WEIGHT_SIGN : 0) |
				 (weight & PRM_NUMERIC_SHORT_WEIGHT_MASK));
	memcpy(result + VARHDRSZ, &header, sizeof(header));
	for (int i = count - 1, at = VARHDRSZ + (int)sizeof(header); i >= first; i--, at += 2)
		memcpy(result + at, &digits[i], 2);
	return PointerGetDatum(result);
}

/* 10^-12 in units of 10^-digits, rounded down. For the usual currencies the compiler turns the division into
 * a product. */
PRM_INLINE uint64
prm_whole_units(uint64 size, int digits, uint64 step)
{
	switch (digits)
	{
		case 2:
			return size / UINT64CONST(10000000000);
		case 0:
			return size / UINT64CONST(1000000000000);
		default:
			return size / step;
	}
}

/* Rounds units of 10^-12 to digits places (0 to 12), half away from zero or half to even; the units stay
 * 10^-12. */
static inline PrmWide
prm_units_round(PrmWide units, int digits, bool half_even)
{
	static const uint64 steps[] = {UINT64CONST(1000000000000),
								   UINT64CONST(100000000000),
								   UINT64CONST(10000000000),
								   UINT64CONST(1000000000),
								   UINT64CONST(100000000),
								   UINT64CONST(10000000),
								   UINT64CONST(1000000),
								   UINT64CONST(100000),
								   UINT64CONST(10000),
								   UINT64CONST(1000),
								   UINT64CONST(100),
								   UINT64CONST(10),
								   UINT64CONST(1)};
	uint64 step = steps[digits];
	PrmUWide size = units < 0 ? (PrmUWide)0 - (PrmUWide)units : (PrmUWide)units;
	PrmUWide whole;
	uint64 rest;

	/* A division of 64 bits costs a tenth of one of 128. */
	if (likely(size <= PG_UINT64_MAX))
		whole = prm_whole_units((uint64)size, digits, step);
	else
		whole = size / step;
	rest = (uint64)(size - whole * step);
	if (rest * 2 > step || (rest != 0 && rest * 2 == step && (!half_even || (whole & 1) != 0)))
		whole++;
	size = whole * step;
	return units < 0 ? -(PrmWide)size : (PrmWide)size;
}

/* ---- numeric's own functions, for the exact path ----------------------------------------------------- */

#define PRM_NUMERIC_2(name, function)                                                                        \
	static inline Datum name(Datum a, Datum b)                                                               \
	{                                                                                                        \
		return DirectFunctionCall2(function, a, b);                                                          \
	}
PRM_NUMERIC_2(prm_numeric_plus, numeric_add)
PRM_NUMERIC_2(prm_numeric_minus, numeric_sub)
PRM_NUMERIC_2(prm_numeric_times, numeric_mul)
PRM_NUMERIC_2(prm_numeric_whole_quotient, numeric_div_trunc)

static inline int
prm_numeric_compare(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

static inline Datum
prm_numeric_int(int64 value)
{
	return NumericGetDatum(int64_to_numeric(value));
}

/* 10 to a power that may be negative, exactly. */
static inline Datum
prm_numeric_power_of_ten(int exponent)
{
	char text[32];

	snprintf(text, sizeof(text), "1e%d", exponent);
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

static inline int
prm_numeric_sign(Datum value)
{
	return prm_numeric_compare(value, prm_numeric_int(0));
}

static inline Datum
prm_numeric_negative(Datum value)
{
	return DirectFunctionCall1(numeric_uminus, value);
}

/* As few decimal places as the value needs, as the fast path writes it. */
static inline Datum
prm_numeric_trim(Datum value)
{
	return DirectFunctionCall1(numeric_trim_scale, value);
}

/* money.c */
extern Datum prm_numeric_round(Datum value, int digits, bool half_even);
extern void prm_check_digits(int digits, int limit);
extern int prm_currency_digits(const char *code, int length);
extern void prm_refuse_special(Numeric value, const char *what);

/* Refuses NaN and infinities, which are no amounts: 22003. */
static inline void
prm_check_finite(Datum value, const char *what)
{
	Numeric number = DatumGetNumeric(value);

	if (unlikely(numeric_is_nan(number) || numeric_is_inf(number)))
		prm_refuse_special(number, what);
}

#endif /* PRM_DECIMAL_H */
