/*
 * earning_fact.c: what the events of a run were: the events themselves, or open deals as if they were booked now, and what
 * conditions see of them. Called by earning.c; earning_credit.c reads what was sold and who is credited, earning_partner.c the
 * partners.
 *
 * Everything is read set-wise, by kept plans, and each row by its key: LATERAL (... WHERE key >= id AND key <= id ORDER BY key),
 * with sorting and sequential scans switched off (earning.c), which only the index on that key can serve. An equality would
 * leave the choice to statistics, and these may not know the programme: any index that begins with program_id looks as good
 * as the right one then, and a look-up for each event would read all events of the programme each time.
 */
#include "earning.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "earning_fact.h"

static SPIPlanPtr events_plan = NULL;
static SPIPlanPtr deals_plan = NULL;
static SPIPlanPtr stored_plan = NULL;
static SPIPlanPtr documents_plan = NULL;
static SPIPlanPtr deal_documents_plan = NULL;

/* The columns of both, in order: EVENT_... below. */
static const char *const events_query =
	"SELECT e.earning_event_id, e.kind, e.applies_to_id, e.deal_id, e.customer_id, e.product, e.product_family, e.deal_kind,"
	" e.currency, e.legal_entity, e.registered, e.occurred_at, e.partner_id, e.amount, coalesce(e.commissionable_amount, e.amount),"
	" e.list_amount, greatest(coalesce(e.commissionable_amount, e.amount) - e.cost, 0)"
	"   + 0 * (coalesce(e.commissionable_amount, e.amount) - e.cost), e.quantity, e.recorded_at"
	" FROM unnest($2) AS i(id) CROSS JOIN LATERAL (SELECT * FROM prm.earning_event t WHERE t.program_id = $1"
	"   AND t.earning_event_id >= i.id AND t.earning_event_id <= i.id ORDER BY t.earning_event_id OFFSET 0) e";

/* What the lines of a deal come to, as its booking sums them. */
#define DEAL_LINES                                                                                                             \
	" LEFT JOIN LATERAL (SELECT sum(n.net) FILTER (WHERE NOT n.commissionable) AS excluded,"                                   \
	"   sum(n.quantity) FILTER (WHERE n.commissionable) AS quantity,"                                                          \
	"   sum(n.list_amount) FILTER (WHERE n.commissionable) AS list_amount, sum(n.cost) FILTER (WHERE n.commissionable) AS cost" \
	"   FROM (SELECT t.net, t.quantity, t.list_amount, t.cost, coalesce((SELECT q.commissionable FROM prm.product q"            \
	"       WHERE q.program_id = $1 AND q.product >= t.product AND q.product <= t.product ORDER BY q.product), true)"           \
	"       AS commissionable"                                                                                                  \
	"     FROM prm.deal_line t WHERE t.program_id = $1 AND t.deal_id >= d.deal_id AND t.deal_id <= d.deal_id"                   \
	"     ORDER BY t.deal_id OFFSET 0) n) l ON true"                                                                            \
	" CROSS JOIN LATERAL (SELECT CASE WHEN l.excluded <> 0 THEN greatest(d.amount - l.excluded, 0) ELSE d.amount END AS amount," \
	"   coalesce(l.cost, d.cost) AS cost, coalesce(d.product_family, (SELECT q.family FROM prm.product q"                       \
	"     WHERE q.program_id = $1 AND q.product >= d.product AND q.product <= d.product ORDER BY q.product))"                   \
	"     AS product_family) c"

#define DEALS                                                                                                                  \
	" FROM unnest($2) AS i(id) CROSS JOIN LATERAL (SELECT * FROM prm.deal t WHERE t.program_id = $1 AND t.deal_id >= i.id"      \
	"   AND t.deal_id <= i.id ORDER BY t.deal_id OFFSET 0) d" DEAL_LINES

static const char *const deals_query =
	"SELECT d.deal_id, 'booked'::text, NULL::bigint, d.deal_id, d.customer_id, d.product, c.product_family, d.kind, d.currency,"
	" NULL::text, NULL::boolean, $3, d.partner_id, d.amount, c.amount, l.list_amount,"
	" greatest(c.amount - c.cost, 0) + 0 * (c.amount - c.cost), l.quantity, $3" DEALS;

/*
 * The order in which events were accrued first: all rows of one accrual have the same moment, taken after its locks. What was
 * adjusted later moves nothing.
 */
#define FIRST_ROW(table, condition)                                                                                            \
	"(SELECT min(a.recorded_at) FROM (SELECT t.recorded_at FROM " table " t WHERE t.program_id = $1"                            \
	"   AND t.earning_event_id >= i.id AND t.earning_event_id <= i.id" condition " ORDER BY t.earning_event_id OFFSET 0) a)"

static const char *const stored_query =
	"SELECT i.place, least(" FIRST_ROW("prm.accumulator_entry", "") ", " FIRST_ROW("prm.ledger", " AND t.kind <> 'adjustment'") ", "
	FIRST_ROW("prm.breakage", "") ") FROM unnest($2) WITH ORDINALITY AS i(id, place)";

/* $4 to $7: which parts are wanted. */
#define DOCUMENT_PARTS(source)                                                                                                 \
	"'deal', CASE WHEN $5 THEN (SELECT to_jsonb(t) FROM prm.deal t WHERE t.program_id = $1 AND t.deal_id >= " source            \
	".deal_id AND t.deal_id <= " source ".deal_id ORDER BY t.deal_id) END,"                                                     \
	" 'customer', CASE WHEN $6 THEN (SELECT to_jsonb(t) FROM prm.customer t WHERE t.program_id = $1"                            \
	"   AND t.customer_id >= " source ".customer_id AND t.customer_id <= " source ".customer_id ORDER BY t.customer_id) END,"   \
	" 'product', CASE WHEN $7 THEN (SELECT to_jsonb(t) FROM prm.product t WHERE t.program_id = $1"                              \
	"   AND t.product >= " source ".product AND t.product <= " source ".product ORDER BY t.product) END"

static const char *const documents_query =
	"SELECT i.place, jsonb_strip_nulls(jsonb_build_object('event', CASE WHEN $4"
	"   THEN to_jsonb(e) || jsonb_build_object('occurred_on', i.day) END, " DOCUMENT_PARTS("e") "))"
	" FROM unnest($2, $3) WITH ORDINALITY AS i(id, day, place)"
	" CROSS JOIN LATERAL (SELECT * FROM prm.earning_event t WHERE t.program_id = $1 AND t.earning_event_id >= i.id"
	"   AND t.earning_event_id <= i.id ORDER BY t.earning_event_id OFFSET 0) e";

static const char *const deal_documents_query =
	"SELECT i.place, jsonb_strip_nulls(jsonb_build_object('event', CASE WHEN $4 THEN jsonb_build_object('kind', 'booked',"
	"   'deal_id', d.deal_id, 'partner_id', d.partner_id, 'customer_id', d.customer_id, 'product', d.product,"
	"   'product_family', c.product_family, 'deal_kind', d.kind, 'quantity', l.quantity, 'amount', d.amount,"
	"   'commissionable_amount', CASE WHEN l.excluded <> 0 THEN c.amount END, 'list_amount', l.list_amount, 'cost', c.cost,"
	"   'currency', d.currency, 'occurred_at', $8, 'occurred_on', i.day, 'attributes', '{}'::jsonb) END, " DOCUMENT_PARTS("d") "))"
	" FROM unnest($2, $3) WITH ORDINALITY AS i(id, day, place) CROSS JOIN LATERAL (SELECT * FROM prm.deal t"
	"   WHERE t.program_id = $1 AND t.deal_id >= i.id AND t.deal_id <= i.id ORDER BY t.deal_id OFFSET 0) d" DEAL_LINES;

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

/* A query that is prepared once in a session, always with the generic plan: it depends on no value. */
SPIPlanPtr
prm_earning_plan(SPIPlanPtr *kept, const char *query, int argument_count, const Oid *types)
{
	if (unlikely(*kept == NULL))
	{
		SPIPlanPtr plan = SPI_prepare_cursor(query, argument_count, (Oid *) types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", query);
		*kept = plan;
	}
	return *kept;
}

/* Runs it; from here on what is made lives as long as the run. */
void
prm_fact_read(PrmEarningRun *run, SPIPlanPtr plan, Datum *values)
{
	if (SPI_execute_plan(plan, values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading the facts of earning events failed");
	MemoryContextSwitchTo(run->context);
}

Datum
prm_fact_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int64
prm_fact_id(uint64 row, int column)
{
	bool isnull;
	Datum value = prm_fact_value(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* Words repeat from row to row: the last one of a column is used again. NULL stays NULL. */
char *
prm_fact_word(uint64 row, int column, char **last)
{
	bool isnull;
	Datum value = prm_fact_value(row, column, &isnull);
	text *word;

	if (isnull)
		return NULL;
	word = DatumGetTextPP(value);
	if (*last == NULL || strlen(*last) != VARSIZE_ANY_EXHDR(word) ||
		memcmp(*last, VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word)) != 0)
		*last = text_to_cstring(word);
	return *last;
}

static PrmMoney
fact_money(uint64 row, int column)
{
	PrmMoney money = {0};
	bool isnull;
	Datum value = prm_fact_value(row, column, &isnull);

	if (!isnull)
	{
		money.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		money.given = true;
	}
	return money;
}

Jsonb *
prm_fact_document(uint64 row, int column)
{
	bool isnull;
	Datum value = prm_fact_value(row, column, &isnull);

	return isnull ? NULL : (Jsonb *) PG_DETOAST_DATUM_COPY(value);
}

Datum
prm_fact_ids(const int64 *ids, int count)
{
	Datum *values = palloc(sizeof(Datum) * Max(count, 1));
	ArrayType *array;

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(ids[i]);
	array = construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(values);
	return PointerGetDatum(array);
}

/* ---- time ------------------------------------------------------------------------------------------------------------- */

DateADT
prm_business_day(const PrmRuleBook *book, TimestampTz moment)
{
	return DatumGetDateADT(DirectFunctionCall1(
		timestamp_date, DirectFunctionCall2(timestamptz_zone, book->zone_text, TimestampTzGetDatum(moment))));
}

TimestampTz
prm_days_later(const PrmRuleBook *book, TimestampTz moment, int days)
{
	Interval span = {0, days, 0};
	Datum local;

	if (days == 0)
		return moment;
	local = DirectFunctionCall2(timestamptz_zone, book->zone_text, TimestampTzGetDatum(moment));
	local = DirectFunctionCall2(timestamp_pl_interval, local, IntervalPGetDatum(&span));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, book->zone_text, local));
}

/* ---- events ----------------------------------------------------------------------------------------------------------- */

static int
by_moment(const ListCell *a, const ListCell *b)
{
	const PrmEvent *left = lfirst(a);
	const PrmEvent *right = lfirst(b);

	if (left->stored_at != right->stored_at)
		return left->stored_at < right->stored_at ? -1 : 1;
	if (left->occurred_at != right->occurred_at)
		return left->occurred_at < right->occurred_at ? -1 : 1;
	return left->earning_event_id < right->earning_event_id ? -1 : 1;
}

static int
by_id(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

static void
read_events(PrmEarningRun *run, const int64 *ids, int count)
{
	static const Oid types[3] = {INT8OID, INT8ARRAYOID, TIMESTAMPTZOID};
	char *words[20] = {NULL};
	Datum values[3];
	PrmEvent *events;
	SPIPlanPtr plan = run->mode == PRM_EARNING_DEAL ? prm_earning_plan(&deals_plan, deals_query, 3, types)
													: prm_earning_plan(&events_plan, events_query, 2, types);

	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_fact_ids(ids, count);
	values[2] = TimestampTzGetDatum(prm_current_time());
	prm_fact_read(run, plan, values);
	events = palloc0(sizeof(PrmEvent) * SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PrmEvent *event = &events[i];
		bool isnull;
		Datum value;

		event->earning_event_id = prm_fact_id(i, 1);
		event->kind = prm_fact_word(i, 2, &words[2]);
		event->is_refund = strcmp(event->kind, "refunded") == 0;
		event->applies_to_id = prm_fact_id(i, 3);
		event->deal_id = prm_fact_id(i, 4);
		event->customer_id = prm_fact_id(i, 5);
		event->product = prm_fact_word(i, 6, &words[6]);
		event->product_family = prm_fact_word(i, 7, &words[7]);
		event->deal_kind = prm_fact_word(i, 8, &words[8]);
		event->currency = prm_fact_word(i, 9, &words[9]);
		event->legal_entity = prm_fact_word(i, 10, &words[10]);
		value = prm_fact_value(i, 11, &isnull);
		event->registered = !isnull && DatumGetBool(value);
		event->occurred_at = DatumGetTimestampTz(prm_fact_value(i, 12, &isnull));
		event->partner_id = prm_fact_id(i, 13);
		event->amount = fact_money(i, 14);
		event->share[PRM_MEASURE_AMOUNT] = fact_money(i, 15);
		event->share[PRM_MEASURE_LIST_AMOUNT] = fact_money(i, 16);
		event->share[PRM_MEASURE_MARGIN] = fact_money(i, 17);
		event->share[PRM_MEASURE_QUANTITY] = fact_money(i, 18);
		if (run->mode == PRM_EARNING_REPLAY)
			event->stored_at = DatumGetTimestampTz(prm_fact_value(i, 19, &isnull));
		event->commissionable = true;
		run->events = lappend(run->events, event);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Replays go in the order in which events were accrued, which may be later than when they were recorded. */
static void
read_stored_order(PrmEarningRun *run)
{
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};

	for (int start = 0; start < list_length(run->events); start += PRM_FACT_SLICE)
	{
		Datum values[2];

		values[0] = Int64GetDatum(run->program_id);
		values[1] = prm_fact_event_ids(run->events, start, PRM_FACT_SLICE);
		prm_fact_read(run, prm_earning_plan(&stored_plan, stored_query, 2, types), values);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool isnull;
			Datum moment = prm_fact_value(i, 2, &isnull);

			if (!isnull)
				((PrmEvent *) list_nth(run->events, start + (int) prm_fact_id(i, 1) - 1))->stored_at = DatumGetTimestampTz(moment);
		}
		SPI_freetuptable(SPI_tuptable);
	}
}

/* The ids of a slice of events. */
Datum
prm_fact_event_ids(const List *events, int start, int limit)
{
	int count = Min(list_length(events) - start, limit);
	int64 *ids = palloc(sizeof(int64) * Max(count, 1));
	Datum array;

	for (int i = 0; i < count; i++)
		ids[i] = ((PrmEvent *) list_nth(events, start + i))->earning_event_id;
	array = prm_fact_ids(ids, count);
	pfree(ids);
	return array;
}

/* Fills run->events in the order of processing; an id that there is not, or that may not be read, is left out. */
void
prm_earning_events(PrmEarningRun *run, int64 *ids, int count)
{
	int unique = 0;
	int ordinal = 0;
	ListCell *cell;

	qsort(ids, count, sizeof(int64), by_id);
	for (int i = 0; i < count; i++)
		if (i == 0 || ids[i] != ids[unique - 1])
			ids[unique++] = ids[i];
	for (int start = 0; start < unique; start += PRM_FACT_SLICE)
		read_events(run, ids + start, Min(PRM_FACT_SLICE, unique - start));
	if (run->mode == PRM_EARNING_REPLAY)
		read_stored_order(run);
	list_sort(run->events, by_moment);
	foreach (cell, run->events)
		((PrmEvent *) lfirst(cell))->ordinal = ordinal++;
}

/* ---- documents -------------------------------------------------------------------------------------------------------- */

/* What conditions see of an event, its deal, customer and product. The time zone is UTC while they are made. */
static void
read_documents(PrmEarningRun *run, const List *events)
{
	static const Oid types[8] = {INT8OID, INT8ARRAYOID, DATEARRAYOID, BOOLOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID};
	SPIPlanPtr plan = run->mode == PRM_EARNING_DEAL ? prm_earning_plan(&deal_documents_plan, deal_documents_query, 8, types)
													: prm_earning_plan(&documents_plan, documents_query, 7, types);

	for (int start = 0; start < list_length(events); start += PRM_FACT_SLICE)
	{
		int count = Min(list_length(events) - start, PRM_FACT_SLICE);
		Datum *days = palloc(sizeof(Datum) * count);
		Datum values[8];

		for (int i = 0; i < count; i++)
			days[i] = DateADTGetDatum(((PrmEvent *) list_nth(events, start + i))->earned_on);
		values[0] = Int64GetDatum(run->program_id);
		values[1] = prm_fact_event_ids(events, start, PRM_FACT_SLICE);
		values[2] = PointerGetDatum(construct_array(days, count, DATEOID, sizeof(DateADT), true, TYPALIGN_INT));
		values[3] = BoolGetDatum(run->book->parts & PRM_PART_EVENT);
		values[4] = BoolGetDatum(run->book->parts & PRM_PART_DEAL);
		values[5] = BoolGetDatum(run->book->parts & PRM_PART_CUSTOMER);
		values[6] = BoolGetDatum(run->book->parts & PRM_PART_PRODUCT);
		values[7] = TimestampTzGetDatum(prm_current_time());
		prm_fact_read(run, plan, values);
		for (uint64 i = 0; i < SPI_processed; i++)
			((PrmEvent *) list_nth(events, start + (int) prm_fact_id(i, 1) - 1))->document = prm_fact_document(i, 2);
		SPI_freetuptable(SPI_tuptable);
		pfree(days);
	}
}

/* ---- all of it -------------------------------------------------------------------------------------------------------- */

void
prm_earning_facts(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	List *earning = NIL;
	ListCell *cell;
	ListCell *plan;

	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		event->earned_on = prm_business_day(run->book, event->occurred_at);
		foreach (plan, run->plans)
			event->is_earning |= strcmp(((PrmPlan *) lfirst(plan))->earn_on, event->kind) == 0;
		if (event->is_earning)
			earning = lappend(earning, event);
	}
	if (earning != NIL)
	{
		prm_earning_products(run);
		prm_earning_credits(run, earning);
		if (run->book->has_conditions)
			read_documents(run, earning);
		prm_earning_partners(run, earning);
	}
	MemoryContextSwitchTo(caller);
}
