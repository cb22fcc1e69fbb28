/*
 * tier_rise.c: the short test whether partners may rise.
 *
 * Most wins lift nobody, and every win must find that out in its own transaction. The test reads what a partner holds and
 * measures, of the tiers above that, what they ask for until something is short: deals first, one look into the covering index.
 * It errs on one side only: whom it names, the whole evaluation (prm._evaluate_tiers) judges, with locks, pins and approvals;
 * whom it does not name would not rise there either. What it measures is what prm._metric_values() measures: a test compares
 * the two on programmes made at random.
 *
 * Called by the trigger of tier.c, with the rights of the model's owner, and by prm._may_rise(), with those of the caller.
 */
#include "tier.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* So many partners are tested one by one; more are evaluated as a set at once. */
#define FEW 20

typedef enum ValueState
{
	VALUE_OPEN, /* not measured yet */
	VALUE_NONE,
	VALUE_KNOWN
} ValueState;

struct PrmTierValue
{
	ValueState state;
	Datum number; /* numeric */
};

#define NUMERIC_HOLDS(function, a, b) DatumGetBool(DirectFunctionCall2(function, a, b))

static const char *const deals_query =
	"SELECT coalesce(pg_catalog.max(t.amount), 0), CAST(coalesce(pg_catalog.max(t.won), 0) AS pg_catalog.numeric)"
	" FROM pg_catalog.unnest((SELECT prm._deals_won(d.partner_id, d.state, d.amount, d.currency, $6, $5)"
	"   FROM prm.deal d WHERE d.program_id OPERATOR(pg_catalog.=) $1 AND d.partner_id OPERATOR(pg_catalog.=) $2"
	"   AND d.closed_at OPERATOR(pg_catalog.>) $3 AND d.closed_at OPERATOR(pg_catalog.<=) $4)) t";

/* A look into the index for each person, as in prm._measure_people(). */
static const char *const people_query =
	"SELECT CAST(s.certified AS pg_catalog.numeric), pg_catalog.round(CAST(s.certified AS pg_catalog.numeric) OPERATOR(pg_catalog./) NULLIF(s.people, 0), 6),"
	" CAST(s.people AS pg_catalog.numeric)"
	" FROM (SELECT pg_catalog.count(*) AS people, pg_catalog.count(v.is_valid) AS certified FROM prm.partner_user u"
	"   LEFT JOIN LATERAL (SELECT true AS is_valid FROM prm.certificate c WHERE c.program_id OPERATOR(pg_catalog.=) $1"
	"     AND c.partner_user_id OPERATOR(pg_catalog.=) u.partner_user_id AND ($4 IS NULL OR c.certification OPERATOR(pg_catalog.=) $4)"
	"     AND c.issued_on OPERATOR(pg_catalog.<=) $3 AND (c.valid_until IS NULL OR c.valid_until OPERATOR(pg_catalog.>=) $3) LIMIT 1) v ON true"
	"   WHERE u.program_id OPERATOR(pg_catalog.=) $1 AND u.partner_id OPERATOR(pg_catalog.=) $2 AND u.is_active) s";

static const char *const other_query =
	"SELECT v.value FROM prm._metric_values($1, ARRAY[$2], $3, ARRAY[$4]) v WHERE v.metric OPERATOR(pg_catalog.=) $4";

static const char *const standing_query =
	"SELECT e.ladder, e.tier, e.standing OPERATOR(pg_catalog.<>) 'active' FROM prm.enrolment e"
	" WHERE e.program_id OPERATOR(pg_catalog.=) $1 AND e.partner_id OPERATOR(pg_catalog.=) $2";

/* ---- measuring -------------------------------------------------------------------------------------------------------- */

/* What it reads lies in the context of SPI; from here on the context of the test is current again. */
static void
run_query(const PrmRiseTest *test, SPIPlanPtr *kept, const char *query, int count, const Oid *types, Datum *values, const char *nulls)
{
	if (unlikely(*kept == NULL))
	{
		SPIPlanPtr plan = SPI_prepare_cursor(query, count, (Oid *) types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", query);
		*kept = plan;
	}
	if (SPI_execute_plan(*kept, values, nulls, test->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading what tiers ask for failed");
	MemoryContextSwitchTo(test->context);
}

static void
note_value(PrmRiseTest *test, int metric, int column)
{
	PrmTierValue *value = &test->values[metric];
	bool isnull = true;
	Datum number = SPI_processed == 0 ? (Datum) 0 : SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	value->state = isnull ? VALUE_NONE : VALUE_KNOWN;
	if (!isnull)
		value->number = PointerGetDatum(PG_DETOAST_DATUM_COPY(number));
}

/* Where a rolling window begins: as prm._metric_window() has it, by the clock on the wall of the programme. */
TimestampTz
prm_tier_window_start(const PrmTierBook *book, Datum window, TimestampTz moment)
{
	Datum local;

	if (window == (Datum) 0)
		return DT_NOBEGIN;
	local = DirectFunctionCall2(timestamptz_zone, book->zone, TimestampTzGetDatum(moment));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, book->zone, DirectFunctionCall2(timestamp_mi_interval, local, window)));
}

static bool
same_window(Datum a, Datum b)
{
	return a == b || (a != (Datum) 0 && b != (Datum) 0 && memcmp(DatumGetIntervalP(a), DatumGetIntervalP(b), sizeof(Interval)) == 0);
}

static bool
same_certification(Datum a, Datum b)
{
	return a == b || (a != (Datum) 0 && b != (Datum) 0 && DatumGetBool(DirectFunctionCall2Coll(texteq, DEFAULT_COLLATION_OID, a, b)));
}

/* Revenue and number of the deals won in the window of the metric, for all metrics that have it. */
static void
measure_deals(PrmRiseTest *test, Datum window)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[6] = {INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTARRAYOID};
	PrmTierBook *book = test->book;
	Datum values[6] = {Int64GetDatum(book->program_id), Int64GetDatum(test->partner_id), TimestampTzGetDatum(prm_tier_window_start(book, window, test->now)),
					   TimestampTzGetDatum(test->now), book->currency, PointerGetDatum(book->won)};

	run_query(test, &kept, deals_query, 6, types, values, NULL);
	for (int i = 0; i < book->metric_count; i++)
		if (book->metrics[i].measure <= PRM_TIER_DEALS_WON && same_window(book->metrics[i].window, window))
			note_value(test, i, book->metrics[i].measure == PRM_TIER_REVENUE ? 1 : 2);
	SPI_freetuptable(SPI_tuptable);
}

static void
measure_people(PrmRiseTest *test, Datum certification)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[4] = {INT8OID, INT8OID, DATEOID, TEXTOID};
	PrmTierBook *book = test->book;
	Datum local = DirectFunctionCall2(timestamptz_zone, book->zone, TimestampTzGetDatum(test->now));
	Datum values[4] = {Int64GetDatum(book->program_id), Int64GetDatum(test->partner_id), DirectFunctionCall1(timestamp_date, local), certification};

	run_query(test, &kept, people_query, 4, types, values, certification == (Datum) 0 ? "   n" : NULL);
	for (int i = 0; i < book->metric_count; i++)
		if (book->metrics[i].measure >= PRM_TIER_CERTIFIED && book->metrics[i].measure <= PRM_TIER_PEOPLE &&
			same_certification(book->metrics[i].certification, certification))
			note_value(test, i, (int) book->metrics[i].measure - PRM_TIER_CERTIFIED + 1);
	SPI_freetuptable(SPI_tuptable);
}

static void
measure_other(PrmRiseTest *test, int metric)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[4] = {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID};
	Datum values[4] = {Int64GetDatum(test->book->program_id), Int64GetDatum(test->partner_id), TimestampTzGetDatum(test->now),
					   CStringGetTextDatum(test->book->metrics[metric].name)};

	run_query(test, &kept, other_query, 4, types, values, NULL);
	note_value(test, metric, 1);
	SPI_freetuptable(SPI_tuptable);
}

/* ---- the test --------------------------------------------------------------------------------------------------------- */

static bool
is_met(PrmRiseTest *test, const PrmTierRequirement *requirement)
{
	PrmTierMetric *metric = &test->book->metrics[requirement->metric];
	PrmTierValue *value = &test->values[requirement->metric];

	if (value->state == VALUE_OPEN)
	{
		if (metric->measure <= PRM_TIER_DEALS_WON)
			measure_deals(test, metric->window);
		else if (metric->measure <= PRM_TIER_PEOPLE)
			measure_people(test, metric->certification);
		else if (metric->measure == PRM_TIER_OTHER)
			measure_other(test, requirement->metric);
		else
			value->state = VALUE_NONE;
	}
	if (value->state != VALUE_KNOWN)
		return false;
	return requirement->at_least ? NUMERIC_HOLDS(numeric_ge, value->number, requirement->threshold)
								 : NUMERIC_HOLDS(numeric_le, value->number, requirement->threshold);
}

static bool
track_is_met(PrmRiseTest *test, const PrmTierTrack *track)
{
	for (int i = 0; i < track->count; i++)
		if (!is_met(test, &track->requirements[i]))
			return false;
	return true;
}

/* Of each ladder the rank that the partner holds, INT_MIN for none. True where it may recover, whatever it meets. */
static bool
read_standing(PrmRiseTest *test, const char *ladder, int64 *ranks)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[2] = {INT8OID, INT8OID};
	PrmTierBook *book = test->book;
	Datum values[2] = {Int64GetDatum(book->program_id), Int64GetDatum(test->partner_id)};
	bool may_recover = false;

	for (int i = 0; i < book->ladder_count; i++)
		ranks[i] = PG_INT64_MIN;
	run_query(test, &kept, standing_query, 2, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char *name = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1);
		char *tier = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2);
		bool isnull;
		bool is_short = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 3, &isnull));

		if (ladder != NULL && strcmp(ladder, name) != 0)
			continue;
		may_recover |= is_short;
		for (int i = 0; tier != NULL && i < book->place_count; i++)
			if (strcmp(book->places[i].tier, tier) == 0 && strcmp(book->ladders[book->places[i].ladder].name, name) == 0)
				ranks[book->places[i].ladder] = book->places[i].rank;
	}
	SPI_freetuptable(SPI_tuptable);
	return may_recover;
}

static bool
may_rise(PrmRiseTest *test, const char *ladder)
{
	PrmTierBook *book = test->book;
	int64 *ranks = palloc(sizeof(int64) * Max(book->ladder_count, 1));

	test->values = palloc0(sizeof(PrmTierValue) * Max(book->metric_count, 1));
	if (read_standing(test, ladder, ranks))
		return true;
	for (int i = 0; i < book->ladder_count; i++)
		if ((ladder == NULL || strcmp(ladder, book->ladders[i].name) == 0) && book->ladders[i].has_entry && book->ladders[i].entry_rank > ranks[i])
			return true;
	for (int i = 0; i < book->track_count; i++)
	{
		const PrmTierTrack *track = &book->tracks[i];

		if (track->rank > ranks[track->ladder] && (ladder == NULL || strcmp(ladder, book->ladders[track->ladder].name) == 0) &&
			track_is_met(test, track))
			return true;
	}
	return false;
}

/* Leaves those of the partners who may rise; all of them where the test does not do. SPI must be connected. */
int
prm_tier_choose(PrmRiseTest *test, const char *ladder, int64 *ids, int count)
{
	int chosen = 0;
	int level;

	if (!test->book->plain || count > FEW)
		return count;
	/* Rows are found by their keys, whatever the statistics say; compiling (jit) such a look never pays. */
	level = NewGUCNestLevel();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	for (int i = 0; i < count; i++)
	{
		test->partner_id = ids[i];
		if (may_rise(test, ladder))
			ids[chosen++] = ids[i];
	}
	AtEOXact_GUC(true, level);
	return chosen;
}

ArrayType *
prm_tier_ids(const int64 *ids, int count)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int64GetDatum(ids[i]);
	return construct_array(elements, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static int
compare_ids(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

int
prm_tier_unique(int64 *ids, int count)
{
	int kept = 0;

	qsort(ids, count, sizeof(int64), compare_ids);
	for (int i = 0; i < count; i++)
		if (kept == 0 || ids[kept - 1] != ids[i])
			ids[kept++] = ids[i];
	return kept;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_may_rise);

/* prm._may_rise(program_id bigint, partner_ids bigint[], ladder text DEFAULT NULL) RETURNS bigint[] */
Datum
prm_may_rise(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	PrmRiseTest test = {0};
	ArrayType *array;
	Datum *elements;
	bool *nulls;
	int64 *ids;
	int total;
	int count = 0;
	ArrayType *result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	array = PG_GETARG_ARRAYTYPE_P(1);
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, &total);
	ids = palloc(sizeof(int64) * Max(total, 1));
	for (int i = 0; i < total; i++)
		if (!nulls[i])
			ids[count++] = DatumGetInt64(elements[i]);
	count = prm_tier_unique(ids, count);
	test.context = AllocSetContextCreate(caller, "prm tier test", ALLOCSET_SMALL_SIZES);
	test.read_only = true;
	test.now = prm_current_time();
	test.book = prm_tier_book(PG_GETARG_INT64(0), test.context);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(test.context);
	count = prm_tier_choose(&test, PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), ids, count);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(test.context);
	if (count == 0)
		PG_RETURN_NULL();
	result = prm_tier_ids(ids, count);
	PG_RETURN_ARRAYTYPE_P(result);
}

