/*
 * tier.c: prm.tier_trigger(), the statement trigger of prm.deal: who won something is noted for the jobs, and those who may rise
 * (tier_rise.c) are evaluated at once. No row counts for a partner, so that busy partners do not queue.
 *
 * Hazards: other triggers share the transition tables, so the walk has read pointers of its own; SPI leaves its context current,
 * so the walk is over before SPI is connected.
 */
#include "tier.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* The columns of prm.deal that decide whether a deal counts, and for whom. */
typedef enum DealColumn
{
	DEAL_PROGRAM,
	DEAL_KEY,
	DEAL_PARTNER,
	DEAL_STATE,
	DEAL_AMOUNT,
	DEAL_CURRENCY,
	DEAL_CLOSED,
	DEAL_COLUMNS
} DealColumn;

typedef struct DealRow
{
	Datum values[DEAL_COLUMNS];
	bool nulls[DEAL_COLUMNS];
} DealRow;

/* Who won something, by programme. */
typedef struct Winners
{
	PrmTierBook *book;
	TimestampTz start; /* what was won until then counts in no window: loading history costs no evaluation */
	int64 *ids;
	int count;
	int capacity;
} Winners;

typedef struct DealWalk
{
	MemoryContext context;
	AttrNumber columns[DEAL_COLUMNS];
	TimestampTz now;
	List *programs; /* Winners * */
	Winners *last;
} DealWalk;

static void
find_columns(DealWalk *walk, TupleDesc tupdesc)
{
	static const char *const names[DEAL_COLUMNS] = {"program_id", "deal_id", "partner_id", "state", "amount", "currency", "closed_at"};

	for (int i = 0; i < DEAL_COLUMNS; i++)
	{
		walk->columns[i] = 0;
		for (int j = 0; j < tupdesc->natts && walk->columns[i] == 0; j++)
			if (!TupleDescAttr(tupdesc, j)->attisdropped && strcmp(NameStr(TupleDescAttr(tupdesc, j)->attname), names[i]) == 0)
				walk->columns[i] = j + 1;
		if (walk->columns[i] == 0)
			elog(ERROR, "prm.deal has no column %s", names[i]);
	}
}

static void
read_deal(const DealWalk *walk, TupleTableSlot *slot, DealRow *row)
{
	for (int i = 0; i < DEAL_COLUMNS; i++)
		row->values[i] = slot_getattr(slot, walk->columns[i], &row->nulls[i]);
}

static bool
same_value(const DealRow *a, const DealRow *b, DealColumn column)
{
	if (a->nulls[column] || b->nulls[column])
		return a->nulls[column] && b->nulls[column];
	switch (column)
	{
		case DEAL_STATE:
		case DEAL_CURRENCY:
			return DatumGetBool(DirectFunctionCall2Coll(texteq, DEFAULT_COLLATION_OID, a->values[column], b->values[column]));
		case DEAL_AMOUNT:
			return DatumGetBool(DirectFunctionCall2(numeric_eq, a->values[column], b->values[column]));
		default:
			return DatumGetInt64(a->values[column]) == DatumGetInt64(b->values[column]);
	}
}

static bool
counted_before(const DealRow *row, const DealRow *old)
{
	for (DealColumn i = DEAL_PROGRAM; i < DEAL_COLUMNS; i++)
		if (!same_value(row, old, i))
			return false;
	return true;
}

static bool
is_won(const PrmTierBook *book, Datum state)
{
	text *name = DatumGetTextPP(state);

	for (int i = 0; i < book->won_count; i++)
		if (strlen(book->won_names[i]) == VARSIZE_ANY_EXHDR(name) && memcmp(book->won_names[i], VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0)
			return true;
	return false;
}

static Winners *
winners_of(DealWalk *walk, int64 program_id)
{
	ListCell *cell;
	Winners *winners;

	if (likely(walk->last != NULL && walk->last->book->program_id == program_id))
		return walk->last;
	foreach (cell, walk->programs)
		if (((Winners *) lfirst(cell))->book->program_id == program_id)
			return walk->last = lfirst(cell);
	winners = palloc0(sizeof(Winners));
	winners->book = prm_tier_book(program_id, walk->context);
	winners->start = prm_tier_window_start(winners->book, winners->book->reach, walk->now);
	walk->programs = lappend(walk->programs, winners);
	return walk->last = winners;
}

static void
note_winner(DealWalk *walk, const DealRow *row)
{
	Winners *winners = winners_of(walk, DatumGetInt64(row->values[DEAL_PROGRAM]));
	int64 partner_id = DatumGetInt64(row->values[DEAL_PARTNER]);

	if (DatumGetTimestampTz(row->values[DEAL_CLOSED]) <= winners->start || !is_won(winners->book, row->values[DEAL_STATE]) ||
		(winners->count > 0 && winners->ids[winners->count - 1] == partner_id))
		return;
	if (winners->count == winners->capacity)
	{
		winners->capacity = Max(winners->capacity * 2, 8);
		winners->ids = winners->ids == NULL ? palloc(sizeof(int64) * winners->capacity)
											: repalloc_huge(winners->ids, sizeof(int64) * winners->capacity);
	}
	winners->ids[winners->count++] = partner_id;
}

static TupleTableSlot *
begin_store(Tuplestorestate *store, TupleDesc tupdesc, int *pointer)
{
	if (store == NULL)
		return NULL;
	*pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(store, *pointer);
	tuplestore_rescan(store);
	return MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
}

static bool
next_deal(Tuplestorestate *store, int pointer, TupleTableSlot *slot)
{
	tuplestore_select_read_pointer(store, pointer);
	return tuplestore_gettupleslot(store, true, false, slot);
}

/*
 * The old and the new rows of an UPDATE come in the same order, for nothing moves between partitions here: a row that counted as
 * it is now, before the statement, lifts nobody.
 */
static void
walk_deals(DealWalk *walk, TriggerData *trigger)
{
	Tuplestorestate *new_rows = trigger->tg_newtable;
	Tuplestorestate *old_rows = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_oldtable : NULL;
	TupleDesc tupdesc = RelationGetDescr(trigger->tg_relation);
	int new_pointer = 0;
	int old_pointer = 0;
	TupleTableSlot *new_slot = begin_store(new_rows, tupdesc, &new_pointer);
	TupleTableSlot *old_slot = begin_store(old_rows, tupdesc, &old_pointer);
	int64 seen = 0;

	find_columns(walk, tupdesc);
	while (next_deal(new_rows, new_pointer, new_slot))
	{
		bool has_old = old_rows != NULL && next_deal(old_rows, old_pointer, old_slot);
		DealRow row;
		DealRow old;

		if ((++seen & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		read_deal(walk, new_slot, &row);
		if (row.nulls[DEAL_CLOSED] || row.nulls[DEAL_PARTNER] || row.nulls[DEAL_STATE])
			continue;
		if (has_old)
		{
			read_deal(walk, old_slot, &old);
			if (counted_before(&row, &old))
				continue;
		}
		note_winner(walk, &row);
	}
	ExecDropSingleTupleTableSlot(new_slot);
	if (old_slot != NULL)
		ExecDropSingleTupleTableSlot(old_slot);
}

/* Two sessions that win deals of one partner at once do not see each other: whoever works off these rows sees both. */
static void
note_due(int64 program_id, ArrayType *ids)
{
	static SPIPlanPtr kept = NULL;
	Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum values[2] = {Int64GetDatum(program_id), PointerGetDatum(ids)};

	if (kept == NULL)
	{
		SPIPlanPtr plan = SPI_prepare_cursor("INSERT INTO prm.tier_due (program_id, partner_id, cause)"
											 " SELECT $1, i.partner_id, 'deal won' FROM pg_catalog.unnest($2) AS i(partner_id)",
											 2, types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing the INSERT into prm.tier_due failed");
		kept = plan;
	}
	if (SPI_execute_plan(kept, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "writing prm.tier_due failed");
}

static void
evaluate(int64 program_id, ArrayType *ids)
{
	static SPIPlanPtr kept = NULL;
	Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum values[2] = {Int64GetDatum(program_id), PointerGetDatum(ids)};

	if (kept == NULL)
	{
		SPIPlanPtr plan = SPI_prepare("SELECT pg_catalog.count(*) FROM prm._evaluate_tiers($1, $2, NULL, true, false) f", 2, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing the evaluation of tiers failed");
		kept = plan;
	}
	if (SPI_execute_plan(kept, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "evaluating tiers failed");
	SPI_freetuptable(SPI_tuptable);
}

static int
compare_winners(const ListCell *a, const ListCell *b)
{
		int64 x = ((const Winners *) lfirst(a))->book->program_id;
	int64 y = ((const Winners *) lfirst(b))->book->program_id;

	return x < y ? -1 : x > y ? 1 : 0;
}

static void
lift_winners(DealWalk *walk)
{
	PrmOwnerScope scope;
	ListCell *cell;

	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(walk->context);
	/* In one order, so that statements that win deals of the same programmes do not wait for each other in a circle. */
	list_sort(walk->programs, compare_winners);
	foreach (cell, walk->programs)
	{
		Winners *winners = lfirst(cell);
		PrmRiseTest test = {.book = winners->book, .context = walk->context, .now = walk->now};

		if (winners->count == 0)
			continue;
		winners->count = prm_tier_unique(winners->ids, winners->count);
		note_due(winners->book->program_id, prm_tier_ids(winners->ids, winners->count));
		MemoryContextSwitchTo(walk->context);
		winners->count = prm_tier_choose(&test, NULL, winners->ids, winners->count);
		if (winners->count > 0)
			evaluate(winners->book->program_id, prm_tier_ids(winners->ids, winners->count));
		MemoryContextSwitchTo(walk->context);
	}
	SPI_finish();
	prm_leave_owner(&scope);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_tier_trigger);

/* CREATE TRIGGER ... AFTER INSERT OR UPDATE ON prm.deal REFERENCING ... FOR EACH STATEMENT EXECUTE FUNCTION prm.tier_trigger() */
Datum
prm_tier_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	MemoryContext caller = CurrentMemoryContext;
	DealWalk *walk;
	ListCell *cell;
	bool any = false;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		trigger->tg_newtable == NULL || (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && trigger->tg_oldtable == NULL))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.tier_trigger() was called in a way that it does not serve"),
						errdetail("It must be fired AFTER INSERT or UPDATE of prm.deal, FOR EACH STATEMENT, with transition tables."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	/* It writes as the owner of the model, so only the owner's own table may ask for it. */
	if (RelationGetRelid(trigger->tg_relation) != prm_model_relation("deal", true) ||
		trigger->tg_relation->rd_rel->relowner != prm_model_owner())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("table \"%s\" has no tiers to look at", RelationGetRelationName(trigger->tg_relation)),
						errdetail("prm.tier_trigger() serves prm.deal only."), errhint("Drop the trigger from this table.")));
	if (tuplestore_tuple_count(trigger->tg_newtable) == 0)
		return PointerGetDatum(NULL);

	/* A session that holds all its locks already receives no messages by itself. */
	AcceptInvalidationMessages();
	walk = MemoryContextAllocZero(caller, sizeof(DealWalk));
	walk->context = AllocSetContextCreate(caller, "prm tier walk", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(walk->context);
	walk->now = prm_current_time();
	walk_deals(walk, trigger);
	foreach (cell, walk->programs)
		any |= ((Winners *) lfirst(cell))->count > 0;
	if (any)
		lift_winners(walk);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(walk->context);
	pfree(walk);
	return PointerGetDatum(NULL);
}
