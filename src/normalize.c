/*
 * normalize.c: the arithmetic of health scores, as plain C without a server (see normalize.h). Owns the ways in which a
 * measure becomes a score of 0 to 100, and the reading of a decimal number into a double.
 *
 * Called by health.c, once per row, so there is no allocation and no error here: what may be wrong with the bounds is
 * checked by the caller.
 */
#include "normalize.h"

#include <string.h>

bool
prm_normalization_from_name(const char *name, size_t length, PrmNormalization *how)
{
	if (length == 6 && memcmp(name, "linear", 6) == 0)
		*how = PRM_NORMALIZE_LINEAR;
	else if (length == 7 && memcmp(name, "inverse", 7) == 0)
		*how = PRM_NORMALIZE_INVERSE;
	else if (length == 5 && memcmp(name, "as_is", 5) == 0)
		*how = PRM_NORMALIZE_AS_IS;
	else
		return false;
	return true;
}

/* A score of 0 to 100. What lies outside the bounds counts as the bound: nobody is healthier than healthy. */
double
prm_normalize(double value, PrmNormalization how, double low, double high)
{
	double score = value;

	if (how != PRM_NORMALIZE_AS_IS)
	{
		/* The ends are compared before the division, so that they give exactly 0 and 100. */
		if (value <= low)
			score = 0;
		else if (value >= high)
			score = 100;
		else
			score = (value - low) * 100 / (high - low);
		if (how == PRM_NORMALIZE_INVERSE)
			score = 100 - score;
	}
	return score < 0 ? 0 : score > 100 ? 100 : score;
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
