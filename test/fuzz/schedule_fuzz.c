/*
 * schedule_fuzz.c: fuzzes the plain C of commission schedules: text reader and writer, binary reader and writer,
 * evaluation in integers. Whatever comes in must not crash, and whatever is accepted must keep its promises: one
 * text form, one binary form, an evaluation that equals a naive one.
 *
 * fuzz-sources: src/schedule.c src/schedule_binary.c src/schedule_eval.c
 *
 * Without libFuzzer: gcc -g -O1 -fsanitize=address,undefined -DPRM_FUZZ_STANDALONE -Isrc, this file and those; the
 * argument is the number of seconds.
 */
#include "schedule.h"

#define PRM_FUZZ_OWN_MAIN
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PrmSchedule schedule;
static PrmSchedule again;
static char text[PRM_TEXT_MAX(PRM_MAX_BRACKETS)];
static char text_again[PRM_TEXT_MAX(PRM_MAX_BRACKETS)];
static unsigned char packed[PRM_PACKED_MAX(PRM_MAX_BRACKETS)];
static unsigned char packed_again[PRM_PACKED_MAX(PRM_MAX_BRACKETS)];

static PrmWide
scaled(PrmNumber number, int places)
{
	PrmWide result = number.digits;

	for (int i = number.scale; i < places; i++)
		result *= 10;
	return result;
}

/* F(x) for x >= 0 in units of 10^-12, bracket by bracket, the way one would do it by hand. */
static PrmWide
naive(const PrmSchedule *s, int64_t x)
{
	PrmWide total = 0;

	if (x == 0)
		return 0;
	for (int i = 0; i < s->count; i++)
	{
		PrmWide from = scaled(s->bracket[i].from, PRM_AMOUNT_PLACES);
		int last = i + 1 == s->count;
		PrmWide to = last ? 0 : scaled(s->bracket[i + 1].from, PRM_AMOUNT_PLACES);
		int inside = s->ties_low ? x > from && (last || x <= to) : x >= from && (last || x < to);
		PrmNumber factor = s->bracket[i].value;

		if (s->bracket[i].kind == PRM_KIND_PERCENT)
			factor.scale += 2;
		switch (s->mode)
		{
			case PRM_MODE_PERCENT:
			case PRM_MODE_SLAB:
				if (inside)
					return s->bracket[i].kind == PRM_KIND_FIXED ? scaled(factor, PRM_RESULT_PLACES)
																: x * scaled(factor, PRM_RATE_PLACES);
				break;
			case PRM_MODE_MARGINAL:
				if (x > from)
					total += ((last || x < to ? x : to) - from) * scaled(factor, PRM_RATE_PLACES);
				break;
			case PRM_MODE_INTERPOLATED:
				if (x >= from && (last || x < to))
				{
					PrmWide amount = scaled(s->bracket[i].value, PRM_RESULT_PLACES);
					PrmWide rise;

					if (last)
						return amount;
					rise = scaled(s->bracket[i + 1].value, PRM_RESULT_PLACES) - amount;
					PROMISE(rise % (to - from) == 0);
					return amount + rise / (to - from) * (x - from);
				}
				break;
		}
	}
	return total;
}

static void
check_evaluation(const uint8_t *data, size_t size)
{
	PrmFast *fast = malloc(prm_fast_size(schedule.count));

	if (prm_fast_compile(&schedule, fast))
	{
		/* Amounts from the input, every bound, and the neighbours of every bound. */
		for (int i = 0; i < 8 + 3 * schedule.count; i++)
		{
			int64_t x = 0;

			if (i < 8)
			{
				for (size_t k = 0; k < size && k < 8; k++)
					x = (int64_t) ((uint64_t) x * 257 + data[(k + (size_t) i) % size]);
				x %= PRM_AMOUNT_LIMIT;
			}
			else
				x = fast->from[(i - 8) / 3] + (i - 8) % 3 - 1;
			PROMISE(prm_fast_eval(fast, x < 0 ? -x : x) == naive(&schedule, x < 0 ? -x : x));
			PROMISE(prm_fast_eval(fast, -x) == -prm_fast_eval(fast, x));
		}
		PROMISE(prm_fast_eval(fast, 0) == 0);
	}
	free(fast);
	for (int i = 0; schedule.mode == PRM_MODE_INTERPOLATED && i + 1 < schedule.count; i++)
	{
		int places = prm_slope_places(&schedule.bracket[i], &schedule.bracket[i + 1]);

		PROMISE(places >= -1 && places <= 128);
	}
}

/* What has been accepted in one form keeps its promises in all. */
static void
check_accepted(const uint8_t *data, size_t size)
{
	PrmFault fault;
	size_t length = prm_schedule_write(&schedule, text, sizeof(text));
	size_t bytes = prm_schedule_pack(&schedule, packed);

	PROMISE(prm_schedule_check(&schedule, &fault));
	PROMISE(length < PRM_TEXT_MAX(schedule.count) && strlen(text) == length);
	PROMISE(prm_schedule_parse(text, length, &again, &fault));
	PROMISE(prm_schedule_compare(&schedule, &again) == 0);
	PROMISE(prm_schedule_write(&again, text_again, sizeof(text_again)) == length && memcmp(text, text_again, length) == 0);

	PROMISE(bytes <= PRM_PACKED_MAX(schedule.count));
	PROMISE(prm_schedule_packed_count(packed, bytes) == schedule.count);
	PROMISE(prm_schedule_unpack(packed, bytes, &again, &fault));
	PROMISE(prm_schedule_compare(&schedule, &again) == 0);
	PROMISE(prm_schedule_pack(&again, packed_again) == bytes && memcmp(packed, packed_again, bytes) == 0);

	/* Cut short or with a byte too many, it is nothing. */
	PROMISE(!prm_schedule_unpack(packed, bytes - 1, &again, &fault));
	packed[bytes] = 0;
	PROMISE(!prm_schedule_unpack(packed, bytes + 1, &again, &fault));
	check_evaluation(data, size);
}

static void
check_fault(const PrmFault *fault, size_t size)
{
	PROMISE(fault->offset <= size);
	PROMISE(memchr(fault->what, '\0', sizeof(fault->what)) != NULL && fault->what[0] != '\0');
	PROMISE(memchr(fault->hint, '\0', sizeof(fault->hint)) != NULL && fault->hint[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PrmFault fault;
	char *copy;

	if (size == 0)
		return 0;
	/* Copies of the exact size, so that a read past the end is seen. */
	copy = malloc(size);
	memcpy(copy, data, size);
	if (prm_schedule_parse(copy, size, &schedule, &fault))
		check_accepted(data, size);
	else
		check_fault(&fault, size);
	if (prm_schedule_unpack((unsigned char *) copy, size, &schedule, &fault))
	{
		size_t bytes = prm_schedule_pack(&schedule, packed);

		PROMISE(bytes == size && memcmp(packed, data, size) == 0);
		check_accepted(data, size);
	}
	else
		check_fault(&fault, size);
	free(copy);
	return 0;
}

#ifdef PRM_FUZZ_STANDALONE

#include <time.h>

static uint64_t dice_state = 88172645463325252u;

static uint32_t
dice(uint32_t sides)
{
	dice_state ^= dice_state << 13;
	dice_state ^= dice_state >> 7;
	dice_state ^= dice_state << 17;
	return (uint32_t) (dice_state >> 32) % sides;
}

/* Strings of words that schedules are made of, then a few random changes; every other one in binary. */
int
main(int argc, char **argv)
{
	static const char *const words[] = {"10%", "marginal", "slab", "interpolated", "ties low", "each", "%", ":", ", ", " ", "0", "0: 0",
										"0: 1%", "1000: 2%", "2.5: 3 each", "3000: 50", "99999999999999.9999", "0.000000000001", "-",
										"100", "1e5", "NaN", "\xc3\xa9", "123456789012345678", ": 5", "8000: 150", "20000: 2150"};
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	unsigned long runs = 0;

	while (time(NULL) < end)
	{
		for (int round = 0; round < 5000; round++, runs++)
		{
			uint8_t input[4096];
			size_t size = 0;
			PrmFault fault;

			if (dice(2) == 0)
			{
				/* A schedule of random numbers, mostly valid. */
				int count = 1 + (int) dice(dice(10) == 0 ? 40 : 6);
				uint64_t bound = dice(2) * dice(1000);
				int mode = (int) dice(3);

				size = (size_t) sprintf((char *) input, "%s ", words[1 + mode]);
				for (int i = 0; i < count; i++)
				{
					size += (size_t) sprintf((char *) input + size, "%s%llu.%u: %u.%u%s", i > 0 ? ", " : "", (unsigned long long) bound,
											 dice(3) * dice(10000), mode == 2 && i == 0 ? 0 : dice(100),
											 mode == 2 && i == 0 ? 0 : dice(2) * dice(1000),
											 mode == 2 ? "" : mode == 1 && dice(3) == 0 ? "" : dice(2) == 0 ? "%" : " each");
					bound += 1 + dice(1u << dice(20));
				}
				if (dice(4) == 0)
					size += (size_t) sprintf((char *) input + size, " ties low");
			}
			else
			{
				for (int parts = 1 + (int) dice(12); parts > 0 && size < 4000; parts--)
				{
					const char *word = words[dice(sizeof(words) / sizeof(words[0]))];

					memcpy(input + size, word, strlen(word));
					size += strlen(word);
				}
			}
			if (dice(2) == 0 && prm_schedule_parse((char *) input, size, &schedule, &fault))
				size = prm_schedule_pack(&schedule, input);
			for (int changes = (int) dice(3); changes > 0; changes--)
				input[dice((uint32_t) size)] = (uint8_t) dice(256);
			LLVMFuzzerTestOneInput(input, size);
		}
	}
	printf("schedule_fuzz: %lu inputs\n", runs);
	return 0;
}

#endif
