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

/* One schedule, expanded once per query. */
typedef struct PrmCompiled
{
	struct PrmCompiled *next; /* in its bucket */
	uint32 hash;
	Size raw_length;
	char *raw;              /* the bytes of the argument that it was made from */
	PrmFast *fast;          /* NULL where the schedule does not fit the integers */
	PrmExactBracket *exact; /* NULL until needed */
	MemoryContext context;
	const PrmSchedule *schedule;
} PrmCompiled;

#define PRM_CACHE_BUCKETS 1024

typedef struct PrmScheduleCache
{
	MemoryContext context; /* reset when it grows too large */
	PrmCompiled *last;
	int entries;
	Size bytes;
	PrmCompiled *bucket[PRM_CACHE_BUCKETS];
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

static inline PrmScheduleCache *
prm_cache(FmgrInfo *flinfo)
{
	if (unlikely(flinfo->fn_extra == NULL))
		flinfo->fn_extra = prm_cache_make(flinfo);
	return (PrmScheduleCache *)flinfo->fn_extra;
}

/* The compiled form of an argument. It lives until the next call for another schedule. */
static inline PrmCompiled *
prm_cache_lookup(PrmScheduleCache *cache, Datum value)
{
	PrmCompiled *last = cache->last;
	struct varlena *raw = (struct varlena *)DatumGetPointer(value);

	if (likely(last != NULL) && !VARATT_IS_EXTERNAL(raw) && VARSIZE_ANY(raw) == last->raw_length &&
		memcmp(raw, last->raw, last->raw_length) == 0)
		return last;
	return prm_cache_search(cache, value);
}

#endif /* PRM_COMMISSION_H */
