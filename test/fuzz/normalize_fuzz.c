/*
 * normalize_fuzz.c: fuzzes the plain C of health scores: the reading of numbers and ranges, steps and ranges as they are
 * looked up, and every way to normalise. Whatever comes in must not crash, and what is accepted keeps its promises: a
 * score lies in 0 to 100, is found where a naive look finds it, and does not fall where more is better.
 *
 * fuzz-sources: src/normalize.c
 *
 * Without libFuzzer: gcc -g -O1 -fsanitize=address,undefined -DPRM_FUZZ_STANDALONE -Isrc, this file and that; the
 * argument is the number of seconds.
 */
#include "normalize.h"

#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECES 12

typedef struct Input
{
	const uint8_t *data;
	size_t size;
} Input;

static unsigned
byte_of(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

/* Small numbers with halves, so that bounds and values meet; now and then any number at all. */
static double
number_of(Input *input)
{
	unsigned byte = byte_of(input);
	double number;

	if (byte < 250 || input->size < sizeof(number))
		return ((int) byte - 120) / 2.0;
	memcpy(&number, input->data, sizeof(number));
	input->data += sizeof(number);
	input->size -= sizeof(number);
	return isfinite(number) ? number : 0;
}

static bool
holds(const PrmRange *range, double value)
{
	return (value > range->low || (value == range->low && range->low_inside)) &&
		   (value < range->high || (value == range->high && range->high_inside));
}

static bool
overlap(const PrmRange *a, const PrmRange *b)
{
	double low = a->low > b->low ? a->low : b->low;
	double high = a->high < b->high ? a->high : b->high;

	return low < high || (low == high && holds(a, low) && holds(b, low));
}

static void
check_text(const uint8_t *data, size_t size)
{
	PrmRange range;
	double number;
	char again[200];
	PrmRange other;
	char low[64] = "";
	char high[64] = "";

	if (prm_number_from_text((const char *) data, size, &number))
		PROMISE(isfinite(number));
	if (!prm_range_from_text((const char *) data, size, &range))
		return;
	PROMISE(range.low <= range.high && !isnan(range.low) && !isnan(range.high));
	PROMISE(!range.low_inside || isfinite(range.low));
	PROMISE(!range.high_inside || isfinite(range.high));
	if (isfinite(range.low))
		snprintf(low, sizeof(low), "%.17g", range.low);
	if (isfinite(range.high))
		snprintf(high, sizeof(high), "%.17g", range.high);
	snprintf(again, sizeof(again), "%c%s,%s%c", range.low_inside ? '[' : '(', low, high, range.high_inside ? ']' : ')');
	PROMISE(prm_range_from_text(again, strlen(again), &other));
	PROMISE(other.low == range.low && other.high == range.high && other.low_inside == range.low_inside && other.high_inside == range.high_inside);
}

static void
check_ranges(Input input, bool as_steps)
{
	PrmNormalizer normalizer = {.how = PRM_NORMALIZE_STEP};
	PrmRange range[PIECES + 1];
	PrmRange given[PIECES + 1];
	int count = 1 + (int) (byte_of(&input) % PIECES);
	bool ties_low = byte_of(&input) & 1;
	double score;

	memset(range, 0, sizeof(range));
	for (int i = 0; i < count; i++)
	{
		unsigned ends = byte_of(&input);

		range[i].low = number_of(&input);
		range[i].high = range[i].low + fabs(number_of(&input));
		range[i].low_inside = ends & 1;
		range[i].high_inside = ends & 2;
		range[i].score = byte_of(&input) % 101;
		if (!as_steps && !(range[i].low < range[i].high || (range[i].low_inside && range[i].high_inside)))
			range[i].low_inside = range[i].high_inside = true;
	}
	memcpy(given, range, sizeof(given));
	normalizer.range = range;
	normalizer.count = as_steps ? count + 1 : count;
	if ((as_steps ? prm_steps_to_ranges(range, count, ties_low) : prm_ranges_sort(range, count)) > 0)
	{
		bool meet = false;

		for (int i = 0; i < count; i++)
		{
			for (int j = 0; j < i; j++)
				meet |= as_steps ? given[i].low == given[j].low : overlap(&given[i], &given[j]);
		}
		PROMISE(meet);
		return;
	}
	while (input.size > 0)
	{
		double value = number_of(&input);
		bool known = prm_normalize(&normalizer, value, &score);
		int found = -1;

		if (!as_steps)
		{
			for (int i = 0; i < count; i++)
			{
				if (holds(&given[i], value))
				{
					PROMISE(found < 0);
					found = i;
				}
			}
			PROMISE(known == (found >= 0));
			PROMISE(!known || score == given[found].score);
			continue;
		}
		/* By hand: the highest bound that the value has reached; on a bound as the ties say, the first one being its own. */
		for (int i = 0; i < count; i++)
		{
			bool is_first = true;

			for (int j = 0; j < count; j++)
				is_first &= given[i].low <= given[j].low;
			if ((value > given[i].low || (value == given[i].low && (!ties_low || is_first))) && (found < 0 || given[i].low > given[found].low))
				found = i;
		}
		PROMISE(known && score == (found < 0 ? 0 : given[found].score));
	}
}

static void
check_ways(Input input)
{
	double population[PIECES];
	PrmNormalizer normalizer = {.low = number_of(&input)};
	double before = -1e300;

	normalizer.target_low = normalizer.low + fabs(number_of(&input));
	normalizer.target_high = normalizer.target_low + fabs(number_of(&input));
	normalizer.high = normalizer.target_high + fabs(number_of(&input));
	normalizer.population = population;
	normalizer.count = (int) (byte_of(&input) % PIECES);
	for (int i = 0; i < normalizer.count; i++)
		population[i] = number_of(&input);
	prm_population_sort(population, normalizer.count);
	/* health_read.c refuses what is out of order. */
	if (!(normalizer.low < normalizer.target_low && normalizer.target_high < normalizer.high && isfinite(normalizer.high - normalizer.low)))
		return;
	while (input.size > 0)
	{
		double value = number_of(&input);
		double low = value < before ? value : before;
		double high = value < before ? before : value;

		for (int how = PRM_NORMALIZE_LINEAR; how <= PRM_NORMALIZE_PERCENTILE; how++)
		{
			double at_low;
			double at_high;

			if (how == PRM_NORMALIZE_STEP)
				continue;
			normalizer.how = (PrmNormalization) how;
			PROMISE(prm_normalize(&normalizer, low, &at_low) && prm_normalize(&normalizer, high, &at_high));
			PROMISE(at_low >= 0 && at_low <= 100 && at_high >= 0 && at_high <= 100);
			if (how == PRM_NORMALIZE_INVERSE)
				PROMISE(at_low >= at_high);
			else if (how != PRM_NORMALIZE_TARGET || high <= normalizer.target_high)
				PROMISE(at_low <= at_high);
			else if (low >= normalizer.target_low)
				PROMISE(at_low >= at_high);
		}
		before = value;
	}
}

static void
check_digits(Input input)
{
	int16_t digits[8];
	int count = (int) (byte_of(&input) % 8);
	int weight = (int) (byte_of(&input) % 16) - 8;
	char text[100];
	double result;
	size_t used = 0;

	for (int i = 0; i < count; i++)
	{
		unsigned high = byte_of(&input);

		digits[i] = (int16_t) ((high << 8 | byte_of(&input)) % 10000);
	}
	if (!prm_digits_to_double(digits, count, weight, false, &result))
		return;
	if (count == 0)
	{
		PROMISE(result == 0);
		return;
	}
	for (int i = 0; i < count; i++)
		used += (size_t) snprintf(text + used, sizeof(text) - used, "%04d", digits[i]);
	snprintf(text + used, sizeof(text) - used, "e%d", 4 * (weight - count + 1));
	PROMISE(result == strtod(text, NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PrmNormalization how;

	(void) prm_normalization_from_name((const char *) data, size, &how);
	check_text(data, size);
	check_ranges((Input){data, size}, false);
	check_ranges((Input){data, size}, true);
	check_ways((Input){data, size});
	check_digits((Input){data, size});
	return 0;
}

#ifdef PRM_FUZZ_STANDALONE
static size_t
fuzz_fill(uint8_t *data, size_t room)
{
	size_t size = (size_t) rand() % room;
	bool as_text = rand() % 4 == 0;

	for (size_t i = 0; i < size; i++)
		data[i] = as_text ? (uint8_t) "[](),.-0123456789e"[rand() % 18] : (uint8_t) rand();
	return as_text ? size % 9 : size;
}
#endif
