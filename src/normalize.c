/*
 * normalize.c: the arithmetic of health scores, as plain C without a server (see normalize.h). Owns the ways in which a
 * measure becomes a score of 0 to 100, the reading of a range such as "(0,50]", and of a decimal number into a double.
 *
 * Called once per row, so there is no allocation and no error here: what may be wrong with a definition is checked by
 * health_read.c with the functions below, before it is used.
 */
#include "normalize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool
prm_normalization_from_name(const char *name, size_t length, PrmNormalization *how)
{
	static const struct
	{
		const char *name;
		PrmNormalization how;
	} known[] = {{"linear", PRM_NORMALIZE_LINEAR}, {"inverse", PRM_NORMALIZE_INVERSE}, {"as_is", PRM_NORMALIZE_AS_IS},
				 {"step", PRM_NORMALIZE_STEP},	   {"target", PRM_NORMALIZE_TARGET},   {"percentile", PRM_NORMALIZE_PERCENTILE},
				 {"choice", PRM_NORMALIZE_CHOICE}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0)
		{
			*how = known[i].how;
			return true;
		}
	}
	return false;
}

static double
clamped(double score)
{
	return score < 0 ? 0 : score > 100 ? 100 : score;
}

/* The range that holds the value: the last one that begins before it, if it has not ended. */
static const PrmRange *
range_of(const PrmNormalizer *normalizer, double value)
{
	const PrmRange *found = NULL;
	int from = 0;
	int to = normalizer->count;

	while (from < to)
	{
		int middle = from + (to - from) / 2;
		const PrmRange *range = &normalizer->range[middle];

		if (range->low < value || (range->low == value && range->low_inside))
		{
			found = range;
			from = middle + 1;
		}
		else
			to = middle;
	}
	if (found == NULL || value > found->high || (value == found->high && !found->high_inside))
		return NULL;
	return found;
}

/*
 * The place of a value among all of them: 0 for the lowest, 100 for the highest, ties in the middle of their places. A
 * value that is not among them stands between its neighbours. Alone it is neither good nor bad.
 */
static double
percentile_of(const PrmNormalizer *normalizer, double value)
{
	int below = 0;
	int same = 0;

	while (below < normalizer->count && normalizer->population[below] < value)
		below++;
	while (below + same < normalizer->count && normalizer->population[below + same] == value)
		same++;
	if (same == 0)
		return normalizer->count == 0 ? 50 : 100.0 * below / normalizer->count;
	return normalizer->count == 1 ? 50 : 100.0 * (below + (same - 1) / 2.0) / (normalizer->count - 1);
}

/*
 * A score of 0 to 100; false where the definition says nothing about the value. What lies outside the bounds counts as
 * the bound: nobody is healthier than healthy. The ends are compared before the division, so that they give exactly 0
 * and 100.
 */
bool
prm_normalize(const PrmNormalizer *normalizer, double value, double *score)
{
	const PrmRange *range;
	double low = normalizer->low;
	double high = normalizer->high;

	switch (normalizer->how)
	{
		case PRM_NORMALIZE_LINEAR:
			*score = value <= low ? 0 : value >= high ? 100 : clamped((value - low) * 100 / (high - low));
			return true;
		case PRM_NORMALIZE_INVERSE:
			*score = value <= low ? 100 : value >= high ? 0 : clamped(100 - (value - low) * 100 / (high - low));
			return true;
		case PRM_NORMALIZE_AS_IS:
			*score = clamped(value);
			return true;
		case PRM_NORMALIZE_STEP:
			range = range_of(normalizer, value);
			if (range == NULL)
				return false;
			*score = range->score;
			return true;
		case PRM_NORMALIZE_TARGET:
			if (value < normalizer->target_low)
				*score = isinf(low) ? 100 : value <= low ? 0 : clamped((value - low) * 100 / (normalizer->target_low - low));
			else if (value > normalizer->target_high)
				*score = isinf(high) ? 100 : value >= high ? 0 : clamped((high - value) * 100 / (high - normalizer->target_high));
			else
				*score = 100;
			return true;
		case PRM_NORMALIZE_PERCENTILE:
			*score = percentile_of(normalizer, value);
			return true;
		case PRM_NORMALIZE_CHOICE:
			range = range_of(normalizer, value);
			if (range == NULL && !normalizer->has_other)
				return false;
			*score = range == NULL ? normalizer->other : range->score;
			return true;
	}
	return false;
}

/* A whole text that is a finite decimal number. */
bool
prm_number_from_text(const char *text, size_t length, double *number)
{
	char copy[64];
	char *end;

	if (length == 0 || length >= sizeof(copy))
		return false;
	/* No names of infinities, no hexadecimals, no blanks. */
	for (size_t i = 0; i < length; i++)
	{
		if (!((text[i] >= '0' && text[i] <= '9') || text[i] == '.' || text[i] == '-' || text[i] == '+' || text[i] == 'e' || text[i] == 'E'))
			return false;
		copy[i] = text[i];
	}
	copy[length] = '\0';
	*number = strtod(copy, &end);
	return *end == '\0' && isfinite(*number);
}

/* "(0,50]", "[10,)", "(,5)": as the server writes its own ranges. */
bool
prm_range_from_text(const char *text, size_t length, PrmRange *range)
{
	const char *comma;
	size_t before;
	size_t after;

	if (length < 3 || (text[0] != '(' && text[0] != '[') || (text[length - 1] != ')' && text[length - 1] != ']'))
		return false;
	comma = memchr(text, ',', length);
	if (comma == NULL)
		return false;
	before = (size_t) (comma - text) - 1;
	after = length - before - 3;
	range->low = -INFINITY;
	range->high = INFINITY;
	if ((before > 0 && !prm_number_from_text(text + 1, before, &range->low)) ||
		(after > 0 && !prm_number_from_text(comma + 1, after, &range->high)))
		return false;
	range->low_inside = text[0] == '[' && before > 0;
	range->high_inside = text[length - 1] == ']' && after > 0;
	return range->low < range->high || (range->low == range->high && range->low_inside && range->high_inside);
}

static int
compare_ranges(const void *left, const void *right)
{
	const PrmRange *a = left;
	const PrmRange *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	return (int) b->low_inside - (int) a->low_inside;
}

/* Sorts; returns the place of the first range that overlaps the one before it, or 0. */
int
prm_ranges_sort(PrmRange *range, int count)
{
	if (count > 0)
		qsort(range, (size_t) count, sizeof(PrmRange), compare_ranges);
	for (int i = 1; i < count; i++)
	{
		if (range[i].low < range[i - 1].high ||
			(range[i].low == range[i - 1].high && range[i].low_inside && range[i - 1].high_inside))
			return i;
	}
	return 0;
}

/*
 * Steps, given by their lower bounds, become ranges without gaps; below the first step lies nothing, with score 0. There
 * must be room for one range more. A value on a bound belongs to the higher step; with ties_low to the lower one, except
 * on the first bound, below which there is no step. Returns the place of the first repeated bound, or 0.
 */
int
prm_steps_to_ranges(PrmRange *range, int count, bool ties_low)
{
	PrmRange nothing = {-INFINITY, INFINITY, false, false, 0};

	for (int i = 0; i < count; i++)
		range[i].low_inside = true;
	if (count > 0)
		qsort(range, (size_t) count, sizeof(PrmRange), compare_ranges);
	for (int i = 1; i < count; i++)
	{
		if (range[i].low == range[i - 1].low)
			return i;
	}
	memmove(range + 1, range, (size_t) count * sizeof(PrmRange));
	range[0] = nothing;
	for (int i = 0; i <= count; i++)
	{
		range[i].high = i == count ? INFINITY : range[i + 1].low;
		range[i].low_inside = i > 0 && (!ties_low || i == 1);
		range[i].high_inside = ties_low && i > 0 && i < count;
	}
	return 0;
}

static int
compare_numbers(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return a < b ? -1 : a > b;
}

void
prm_population_sort(double *population, int count)
{
	if (count > 0)
		qsort(population, (size_t) count, sizeof(double), compare_numbers);
}

/*
 * A number written in base 10000, most significant digit first: the sum of digit[i] * 10000^(weight - i). False where
 * the digits do not fit a double exactly, or the power of ten does not: then the answer would not be correctly rounded.
 */
bool
prm_digits_to_double(const int16_t *digits, int count, int weight, bool negative, double *result)
{
	static const double power[] = {1, 1e4, 1e8, 1e12, 1e16, 1e20};
	int64_t whole = 0;
	int places = count - 1 - weight; /* base-10000 places behind the point; negative: zeros that are not stored */

	if (count == 0)
	{
		*result = 0;
		return true;
	}
	if (count > 4 || places > 5 || places < -5)
		return false;
	for (int i = 0; i < count; i++)
		whole = whole * 10000 + digits[i];
	if (whole > INT64_C(1) << 53)
		return false;
	*result = places >= 0 ? (double) whole / power[places] : (double) whole * power[-places];
	if (negative)
		*result = -*result;
	return true;
}
