/*
 * commission.h: what the files of the type commission_schedule share inside the server. schedule.h holds what
 * needs none.
 */
#ifndef PRM_COMMISSION_H
#define PRM_COMMISSION_H

#include "decimal.h"
#include "schedule.h"

/* Brackets as numerics, for the exact path; made when a value first needs it. */
typedef struct PrmExactBracket
{
	Datum from;
	Datum rate;  /* 0 for fixed amounts; the slope of an interpolated bracket */
	Datum below; /* what is paid at the bound: by the marginal brackets below, or the interpolated or fixed
					amount */
	Datum rise;  /* interpolated with a slope that never ends: rise / run */
	Datum run;
	bool endless;
} PrmExactBracket;

/* One schedule, expanded once per query. The raw bytes stand right behind it. */
typedef struct PrmCompiled
{
	Size raw_length;
	PrmFast *fast;          /* NULL where the schedule does not fit the integers */
	PrmExactBracket *exact; /* NULL until needed */
	MemoryContext context;
	const PrmSchedule *schedule;
	struct PrmCompiled *next; /* in its bucket */
	uint64 serial;            /* never used twice by one cache, unlike an address */
	uint32 hash;
	char raw[FLEXIBLE_ARRAY_MEMBER]; /* the bytes of the argument that it was made from */
} PrmCompiled;

/*
 * The schedules of one call site. While there is only one, it is found by comparing bytes; from the second
 * one on there are two tables: guess, in which a few bytes of the argument choose the slot, and bucket, a
 * true hash table over all of them.
 */
#define PRM_GUESS_SLOTS 2048
#define PRM_CACHE_BUCKETS 1024

typedef struct PrmCacheTables
{
	PrmCompiled *guess[PRM_GUESS_SLOTS];
	PrmCompiled *bucket[PRM_CACHE_BUCKETS];
} PrmCacheTables;

typedef struct PrmScheduleCache
{
	PrmCompiled *only;      /* the first schedule, while there are no tables */
	PrmCacheTables *tables; /* NULL until there is a second one */
	MemoryContext context;  /* reset when it grows too large */
	int entries;
	Size bytes;
	uint64 serials;
} PrmScheduleCache;

/* commission.c */
extern void prm_schedule_unpack_datum(Datum value, PrmSchedule *schedule);

/* commission_eval.c */
extern PrmScheduleCache *prm_cache_make(FmgrInfo *flinfo);
extern PrmCompiled *prm_cache_search(PrmScheduleCache *cache, Datum value);
extern Datum prm_exact_eval(PrmCompiled *compiled, Datum amount);
extern int prm_exact_bracket(PrmCompiled *compiled, Datum size);
extern const PrmExactBracket *prm_exact_bracket_at(PrmCompiled *compiled, int number);
extern Datum prm_exact_rate(PrmCompiled *compiled, int number);

/* commission_parts.c: part, lower, upper, amount, rate, commission. */
#define PRM_PART_COLUMNS 6
typedef void (*PrmPartReceiver)(void *receiver, Datum *values, bool *nulls);
extern void prm_parts_each(PrmCompiled *compiled, Datum amount, Datum attained, PrmPartReceiver receive, void *receiver);

static inline PrmScheduleCache *
prm_cache(FmgrInfo *flinfo)
{
	if (unlikely(flinfo->fn_extra == NULL))
		flinfo->fn_extra = prm_cache_make(flinfo);
	return (PrmScheduleCache *)flinfo->fn_extra;
}

/* memcmp() == 0 without a call and without a branch per byte; at least 8 bytes. */
PRM_INLINE bool
prm_same_bytes(const char *a, const char *b, Size length)
{
	uint64 left, right;
	uint64 difference = 0;

	for (Size at = 0; at + sizeof(left) < length; at += sizeof(left))
	{
		memcpy(&left, a + at, sizeof(left));
		memcpy(&right, b + at, sizeof(right));
		difference |= left ^ right;
	}
	memcpy(&left, a + length - sizeof(left), sizeof(left));
	memcpy(&right, b + length - sizeof(right), sizeof(right));
	return (difference | (left ^ right)) == 0;
}

static inline uint32
prm_guess_slot(const char *raw, Size length)
{
	uint64 middle, end;

	memcpy(&middle, raw + (length - sizeof(middle)) / 2, sizeof(middle));
	memcpy(&end, raw + length - sizeof(end), sizeof(end));
	end += (middle << 29 | middle >> 35) ^ length;
	return (uint32)((end * UINT64CONST(0x9E3779B97F4A7C15)) >> 53);
}

/* The compiled form of an argument. It lives until the next call for another schedule. */
PRM_INLINE PrmCompiled *
prm_cache_lookup(PrmScheduleCache *cache, Datum value)
{
	struct varlena *raw = (struct varlena *)DatumGetPointer(value);

	if (likely(!VARATT_IS_EXTERNAL(raw) || VARATT_IS_EXTERNAL_ONDISK(raw)))
	{
		Size length = VARSIZE_ANY(raw);

		if (likely(length >= sizeof(uint64)))
		{
			PrmCompiled *guess = cache->tables == NULL
									 ? cache->only
									 : cache->tables->guess[prm_guess_slot((char *)raw, length)];

			if (likely(guess != NULL && guess->raw_length == length &&
					   prm_same_bytes(guess->raw, (char *)raw, length)))
				return guess;
		}
	}
	return prm_cache_search(cache, value);
}

#endif /* PRM_COMMISSION_H */
