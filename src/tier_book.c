/*
 * tier_book.c: the ladders of a programme as the short test of tier.c needs them: who is above whom, what each tier asks for,
 * and how that is measured. Owns the backend's cache of them, an entry for each programme, and nothing else.
 *
 * A book lives in a memory context of its own and is never changed. When a definition changed (prm_definition_generation), the
 * next look makes a new one; the old one goes at once, or with the last statement that uses it. Definitions are read with the
 * rights of the model's owner, whoever asks.
 */
#include "tier.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct BookEntry
{
	int64 program_id;
	PrmTierBook *book;
} BookEntry;

static HTAB *books = NULL;
static SPIPlanPtr program_plan = NULL;
static SPIPlanPtr ladders_plan = NULL;
static SPIPlanPtr tiers_plan = NULL;
static SPIPlanPtr metrics_plan = NULL;
static SPIPlanPtr requirements_plan = NULL;

#define OF_PROGRAM(alias) alias ".program_id OPERATOR(pg_catalog.=) $1"

/*
 * How far back a won deal may lie and still count: of a metric its window, and where any day of another window counts, that too.
 * Of calendar windows one more of what they count: the running one, before them or among them.
 */
#define REACH(column)                                                                                                          \
	"CASE WHEN " column " IS NULL THEN pg_catalog.make_interval() WHEN " column " IN ('lifetime', 'point') THEN NULL"             \
	" WHEN " column " LIKE 'rolling%' THEN CAST(pg_catalog.replace(pg_catalog.substr(" column ", 9), '_', ' ') AS pg_catalog.interval)" \
	" ELSE pg_catalog.make_interval(months => (CASE WHEN " column " LIKE '%month%' THEN 1 WHEN " column " LIKE '%quarter%' THEN 3"        \
	" WHEN " column " LIKE '%half%' THEN 6 ELSE 12 END)"                                                                         \
	" OPERATOR(pg_catalog.*) (coalesce(CAST(pg_catalog.substring(" column ", '[0-9]+') AS pg_catalog.int4), 1) OPERATOR(pg_catalog.+) 1)) END"

/* Of every version of the machine: deals that closed under an older one are won all the same. */
static const char *const program_query =
	"SELECT NOT EXISTS (SELECT 1 FROM prm.tier_policy y WHERE " OF_PROGRAM("y")
	"   AND (y.mode OPERATOR(pg_catalog.<>) 'all' OR y.inherits OPERATOR(pg_catalog.<>) 'none' OR y.enrolment OPERATOR(pg_catalog.<>) 'everybody'))"
	" AND NOT EXISTS (SELECT 1 FROM prm.tier_track k WHERE " OF_PROGRAM("k") ")"
	" AND NOT EXISTS (SELECT 1 FROM prm.tier_market k WHERE " OF_PROGRAM("k") ")"
	" AND NOT EXISTS (SELECT 1 FROM prm.tier_requirement r WHERE " OF_PROGRAM("r") " AND r.alternative_group IS NOT NULL)"
	" AND NOT b.sells_tiers,"
	" coalesce((SELECT pg_catalog.array_agg(DISTINCT s.state) FROM prm.machine_state s WHERE " OF_PROGRAM("s")
	"   AND s.machine OPERATOR(pg_catalog.=) 'deal' AND s.category OPERATOR(pg_catalog.=) 'won'), CAST('{won}' AS pg_catalog.text[])),"
	" CASE WHEN NOT b.sells_tiers AND NOT coalesce(m.is_endless, false)"
	"   THEN greatest(m.longest, pg_catalog.make_interval(years => 1)) END"
	" FROM (SELECT EXISTS (SELECT 1 FROM prm.tier_product x WHERE " OF_PROGRAM("x") ") AS sells_tiers) b"
	" CROSS JOIN (SELECT pg_catalog.bool_or(w.reach IS NULL) AS is_endless, pg_catalog.max(w.reach) AS longest"
	"   FROM (SELECT " REACH("t.window_kind") " OPERATOR(pg_catalog.+) " REACH("t.any_day_window") " AS reach"
	"     FROM prm.metric t WHERE " OF_PROGRAM("t")
	"     AND t.measure IN ('revenue', 'deals_won', 'win_rate', 'average_deal', 'cycle_days', 'buyer_churn')"
	"     AND EXISTS (SELECT 1 FROM prm.tier_requirement r WHERE " OF_PROGRAM("r") " AND r.metric OPERATOR(pg_catalog.=) t.metric)) w) m";

static const char *const ladders_query =
	"SELECT l.ladder, (SELECT t.rank FROM prm.tier_policy y JOIN prm.tier t ON " OF_PROGRAM("t")
	" AND t.ladder OPERATOR(pg_catalog.=) y.ladder AND t.tier OPERATOR(pg_catalog.=) y.entry_tier"
	" WHERE " OF_PROGRAM("y") " AND y.ladder OPERATOR(pg_catalog.=) l.ladder)"
	" FROM prm.ladder l WHERE " OF_PROGRAM("l") " ORDER BY l.ladder";

static const char *const tiers_query = "SELECT t.ladder, t.rank, t.tier FROM prm.tier t WHERE " OF_PROGRAM("t");

static const char *const metrics_query =
	"SELECT r.metric, CASE WHEN m.metric IS NULL THEN 'unknown'"
	" WHEN m.any_day_window IS NOT NULL OR m.credit_type IS NOT NULL OR m.source OPERATOR(pg_catalog.<>) 'built_in' THEN 'other'"
	" WHEN m.measure IN ('revenue', 'deals_won') AND (m.window_kind LIKE 'rolling%' OR m.window_kind IN ('lifetime', 'point')) THEN m.measure"
	" WHEN m.measure IN ('certified_people', 'training_coverage', 'active_people') THEN m.measure ELSE 'other' END,"
	" CASE WHEN m.measure IN ('revenue', 'deals_won') AND m.window_kind LIKE 'rolling%' THEN " REACH("m.window_kind") " END, m.certification"
	" FROM (SELECT DISTINCT q.metric FROM prm.tier_requirement q WHERE " OF_PROGRAM("q") ") r"
	" LEFT JOIN prm.metric m ON " OF_PROGRAM("m") " AND m.metric OPERATOR(pg_catalog.=) r.metric";

static const char *const requirements_query =
	"SELECT r.ladder, t.rank, r.track, r.metric, r.op OPERATOR(pg_catalog.=) '>=', r.threshold"
	" FROM prm.tier_requirement r JOIN prm.tier t ON " OF_PROGRAM("t")
	" AND t.ladder OPERATOR(pg_catalog.=) r.ladder AND t.tier OPERATOR(pg_catalog.=) r.tier"
	" WHERE " OF_PROGRAM("r") " ORDER BY r.ladder, t.rank, r.track";

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static void
read_rows(SPIPlanPtr *kept, const char *query, int64 program_id)
{
	Datum values[1] = {Int64GetDatum(program_id)};

	if (*kept == NULL)
	{
		Oid types[1] = {INT8OID};
		SPIPlanPtr plan = SPI_prepare(query, 1, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", query);
		*kept = plan;
	}
	/* Not read-only: the snapshot of the statement under way may be older than the message that made the book stale. */
	if (SPI_execute_plan(*kept, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading the ladders failed");
}

static Datum
column(uint64 row, int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

/* A value of a type that is passed by reference, copied into the book; 0 for NULL. */
static Datum
kept_column(PrmTierBook *book, uint64 row, int number)
{
	MemoryContext caller = MemoryContextSwitchTo(book->context);
	bool isnull;
	Datum value = column(row, number, &isnull);

	if (!isnull)
		value = SPI_gettypeid(SPI_tuptable->tupdesc, number) == INTERVALOID ? datumCopy(value, false, sizeof(Interval))
																		   : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(caller);
	return isnull ? (Datum) 0 : value;
}

static char *
kept_text(PrmTierBook *book, uint64 row, int number)
{
	return MemoryContextStrdup(book->context, SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number));
}

static int
ladder_number(const PrmTierBook *book, const char *name)
{
	for (int i = 0; i < book->ladder_count; i++)
		if (strcmp(book->ladders[i].name, name) == 0)
			return i;
	elog(ERROR, "ladder %s of a tier is not there", name);
	return 0;
}

static int
metric_number(const PrmTierBook *book, const char *name)
{
	for (int i = 0; i < book->metric_count; i++)
		if (strcmp(book->metrics[i].name, name) == 0)
			return i;
	elog(ERROR, "metric %s of a requirement was not read", name);
	return 0;
}

static PrmTierMeasure
measure_of(const char *name)
{
	static const char *const names[] = {"revenue", "deals_won", "certified_people", "training_coverage", "active_people", "other", "unknown"};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (PrmTierMeasure) i;
	elog(ERROR, "measure %s is not known", name);
	return PRM_TIER_UNKNOWN;
}

static int
compare_metrics(const void *a, const void *b)
{
	return (int) ((const PrmTierMetric *) a)->measure - (int) ((const PrmTierMetric *) b)->measure;
}

static int
compare_requirements(const void *a, const void *b)
{
	return ((const PrmTierRequirement *) a)->metric - ((const PrmTierRequirement *) b)->metric;
}

static void
read_program(PrmTierBook *book)
{
	const PrmProgram *program = prm_program_lookup(book->program_id, false);
	MemoryContext caller = MemoryContextSwitchTo(book->context);
	Datum *states;
	bool isnull;

	book->zone = CStringGetTextDatum(program->time_zone);
	book->currency = CStringGetTextDatum(program->currency);
	MemoryContextSwitchTo(caller);
	read_rows(&program_plan, program_query, book->program_id);
	book->plain = DatumGetBool(column(0, 1, &isnull));
	book->won = DatumGetArrayTypeP(kept_column(book, 0, 2));
	book->reach = kept_column(book, 0, 3);
	SPI_freetuptable(SPI_tuptable);
	deconstruct_array(book->won, TEXTOID, -1, false, TYPALIGN_INT, &states, NULL, &book->won_count);
	book->won_names = MemoryContextAlloc(book->context, sizeof(char *) * Max(book->won_count, 1));
	for (int i = 0; i < book->won_count; i++)
		book->won_names[i] = MemoryContextStrdup(book->context, TextDatumGetCString(states[i]));
}

static void
read_ladders(PrmTierBook *book)
{
	read_rows(&ladders_plan, ladders_query, book->program_id);
	book->ladders = MemoryContextAllocZero(book->context, sizeof(PrmTierLadder) * Max(SPI_processed, 1));
	book->ladder_count = (int) SPI_processed;
	for (int i = 0; i < book->ladder_count; i++)
	{
		bool isnull;
		Datum rank = column(i, 2, &isnull);

		book->ladders[i].name = kept_text(book, i, 1);
		book->ladders[i].has_entry = !isnull;
		book->ladders[i].entry_rank = isnull ? 0 : DatumGetInt32(rank);
	}
	SPI_freetuptable(SPI_tuptable);

	read_rows(&tiers_plan, tiers_query, book->program_id);
	book->places = MemoryContextAllocZero(book->context, sizeof(PrmTierPlace) * Max(SPI_processed, 1));
	book->place_count = (int) SPI_processed;
	for (int i = 0; i < book->place_count; i++)
	{
		bool isnull;

		book->places[i].ladder = ladder_number(book, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		book->places[i].rank = DatumGetInt32(column(i, 2, &isnull));
		book->places[i].tier = kept_text(book, i, 3);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
read_metrics(PrmTierBook *book)
{
	read_rows(&metrics_plan, metrics_query, book->program_id);
	book->metrics = MemoryContextAllocZero(book->context, sizeof(PrmTierMetric) * Max(SPI_processed, 1));
	book->metric_count = (int) SPI_processed;
	for (int i = 0; i < book->metric_count; i++)
	{
		PrmTierMetric *metric = &book->metrics[i];

		metric->name = kept_text(book, i, 1);
		metric->measure = measure_of(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		metric->window = kept_column(book, i, 3);
		metric->certification = kept_column(book, i, 4);
	}
	SPI_freetuptable(SPI_tuptable);
	/* Those that deals decide first: their sum is one look into one index, and where it is short nothing else is measured. */
	qsort(book->metrics, book->metric_count, sizeof(PrmTierMetric), compare_metrics);
}

static void
read_requirements(PrmTierBook *book)
{
	PrmTierRequirement *requirements;
	PrmTierTrack *track = NULL;
	char *last = NULL;

	read_rows(&requirements_plan, requirements_query, book->program_id);
	requirements = MemoryContextAllocZero(book->context, sizeof(PrmTierRequirement) * Max(SPI_processed, 1));
	book->tracks = MemoryContextAllocZero(book->context, sizeof(PrmTierTrack) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int ladder = ladder_number(book, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		char *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);
		bool isnull;
		int rank = DatumGetInt32(column(i, 2, &isnull));

		if (track == NULL || track->ladder != ladder || track->rank != rank || strcmp(last, name) != 0)
		{
			track = &book->tracks[book->track_count++];
			track->ladder = ladder;
			track->rank = rank;
			track->requirements = &requirements[i];
			last = name;
		}
		track->count++;
		requirements[i].metric = metric_number(book, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4));
		requirements[i].at_least = DatumGetBool(column(i, 5, &isnull));
		requirements[i].threshold = kept_column(book, i, 6);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < book->track_count; i++)
		qsort(book->tracks[i].requirements, book->tracks[i].count, sizeof(PrmTierRequirement), compare_requirements);
}

static PrmTierBook *
load_book(int64 program_id)
{
	uint64 generation = prm_definition_generation();
	MemoryContext context;
	PrmTierBook *book;
	PrmOwnerScope scope;

	prm_definitions_loaded();
	/* Under the current context while it is made: an error takes it along. */
	context = AllocSetContextCreate(CurrentMemoryContext, "prm tier book", ALLOCSET_SMALL_SIZES);
	book = MemoryContextAllocZero(context, sizeof(PrmTierBook));
	book->context = context;
	book->program_id = program_id;
	book->generation = generation;
	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	read_program(book);
	read_ladders(book);
	read_metrics(book);
	read_requirements(book);
	SPI_finish();
	prm_leave_owner(&scope);
	return book;
}

/* ---- keeping ---------------------------------------------------------------------------------------------------------- */

static void
unpin(void *argument)
{
	PrmTierBook *book = argument;

	if (--book->pins == 0 && book->abandoned)
		MemoryContextDelete(book->context);
}

static PrmTierBook *
pin(PrmTierBook *book, MemoryContext user)
{
	MemoryContextCallback *callback = MemoryContextAlloc(user, sizeof(MemoryContextCallback));

	callback->func = unpin;
	callback->arg = book;
	MemoryContextRegisterResetCallback(user, callback);
	book->pins++;
	return book;
}

PrmTierBook *
prm_tier_book(int64 program_id, MemoryContext user)
{
	BookEntry *entry;
	PrmTierBook *book;
	bool found;

	if (books == NULL)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(int64);
		info.entrysize = sizeof(BookEntry);
		books = hash_create("prm tier books", 16, &info, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(books, &program_id, HASH_FIND, NULL);
	if (likely(entry != NULL && entry->book != NULL && entry->book->generation == prm_definition_generation()))
		return pin(entry->book, user);

	book = load_book(program_id);
	/* Only now, when nothing can fail any more, does the new book take the place of the old one. */
	MemoryContextSetParent(book->context, TopMemoryContext);
	entry = hash_search(books, &program_id, HASH_ENTER, &found);
	if (found && entry->book != NULL)
	{
		entry->book->abandoned = true;
		if (entry->book->pins == 0)
			MemoryContextDelete(entry->book->context);
	}
	entry->book = book;
	return pin(book, user);
}
