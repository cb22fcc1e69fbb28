/*
 * tier.h: what the files of the tier engine share. Which tier a partner meets is found set-wise in SQL (_tier_findings());
 * what is here is only the short test whether a partner may rise at all, which every win asks.
 *
 *   tier_book.c   the ladders of a programme, compiled and kept until a definition changes
 *   tier_rise.c   the test
 *   tier.c        the statement trigger of prm.deal, which makes it for those who won something
 */
#ifndef PRM_TIER_H
#define PRM_TIER_H

#include "prm.h"

#include "utils/array.h"

/* How a metric is measured: the deals and the people by queries of tier.c, all others by prm._metric_values(). */
typedef enum PrmTierMeasure
{
	PRM_TIER_REVENUE,
	PRM_TIER_DEALS_WON,
	PRM_TIER_CERTIFIED,
	PRM_TIER_COVERAGE,
	PRM_TIER_PEOPLE,
	PRM_TIER_OTHER,
	PRM_TIER_UNKNOWN /* no such metric: never met */
} PrmTierMeasure;

typedef struct PrmTierMetric
{
	char *name;
	PrmTierMeasure measure;
	Datum window;		 /* of the deals: the interval of a rolling window; 0: since ever */
	Datum certification; /* of the people: a text; 0: any */
} PrmTierMetric;

typedef struct PrmTierRequirement
{
	int metric; /* of the book's metrics */
	bool at_least; /* op is >=, else <= */
	Datum threshold;
} PrmTierRequirement;

/* A tier is met by any of its tracks, a track when all of its requirements are. */
typedef struct PrmTierTrack
{
	int ladder;
	int rank;
	int count;
	PrmTierRequirement *requirements; /* those that cost least first */
} PrmTierTrack;

typedef struct PrmTierPlace
{
	int ladder;
	int rank;
	char *tier;
} PrmTierPlace;

typedef struct PrmTierLadder
{
	char *name;
	bool has_entry;
	int entry_rank; /* of the tier that everybody meets */
} PrmTierLadder;

typedef struct PrmTierBook
{
	int64 program_id;
	uint64 generation;
	MemoryContext context;
	int pins; /* statements that use it */
	bool abandoned; /* out of the cache: goes with the last pin */
	bool plain; /* no scores, alternatives, growth markets, bought or inherited tiers, enrolments by row: the short test will do */
	ArrayType *won; /* text[]: the states in which a deal is won, and the same as strings */
	int won_count;
	char **won_names;
	Datum zone;		/* text */
	Datum currency; /* text */
	Datum reach;	/* interval: the longest window, at least a year; 0: some metric looks back for ever */
	int ladder_count;
	PrmTierLadder *ladders;
	int place_count;
	PrmTierPlace *places;
	int metric_count;
	PrmTierMetric *metrics;
	int track_count;
	PrmTierTrack *tracks;
} PrmTierBook;

/* tier_book.c */
extern PrmTierBook *prm_tier_book(int64 program_id, MemoryContext user); /* pinned until the context of its user goes */

/* tier_rise.c */
typedef struct PrmTierValue PrmTierValue;

typedef struct PrmRiseTest
{
	PrmTierBook *book;
	bool read_only; /* SPI: with the snapshot of the caller's statement */
	MemoryContext context;
	TimestampTz now;
	int64 partner_id;	  /* of whom is tested now, as the rest */
	PrmTierValue *values; /* by metric */
} PrmRiseTest;

extern int prm_tier_choose(PrmRiseTest *test, const char *ladder, int64 *ids, int count); /* leaves those who may rise */
extern TimestampTz prm_tier_window_start(const PrmTierBook *book, Datum window, TimestampTz moment);
extern int prm_tier_unique(int64 *ids, int count); /* sorts them too */
extern ArrayType *prm_tier_ids(const int64 *ids, int count);

#endif /* PRM_TIER_H */
