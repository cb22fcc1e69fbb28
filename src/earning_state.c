/*
 * earning_state.c: the tables behind the counts: prm.accumulator, accumulator_entry, recurring_start, breakage. Finds out which
 * counts and first sales the events of a run need, locks them in the order of their keys when the run will write them, reads
 * them, and writes back what the run made of them. Called by earning.c before and after paying.
 *
 * Everything is set-wise: one statement for all keys, never one for each event, and every row is found by its key whatever the
 * statistics say (LATERAL, ON CONFLICT). A run in which no rule counts anything touches none of the tables.
 *
 * Locks. First all missing rows are inserted, in the order of the keys, then all are locked, in the same order: nobody waits
 * for a row that is not there yet while holding one that others lock. recurring_start rows never change once they stand, so
 * only missing ones are locked: by a row of our own that says infinity, which goes again if nothing is sold after all.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define KEY_COLUMNS "purpose, lineage_id, plan_id, partner_id, customer_id, credit_type, window_start"
#define KEY_ARRAYS                                                                                                             \
	"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"                     \
	" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) WITH ORDINALITY AS u(" KEY_COLUMNS ", n)"
#define KEY_MATCHES                                                                                                            \
	"a.program_id OPERATOR(pg_catalog.=) $1 AND a.purpose OPERATOR(pg_catalog.=) k.purpose"                                      \
	" AND a.lineage_id OPERATOR(pg_catalog.=) k.lineage_id AND a.plan_id OPERATOR(pg_catalog.=) k.plan_id"                       \
	" AND a.partner_id OPERATOR(pg_catalog.=) k.partner_id AND a.customer_id OPERATOR(pg_catalog.=) k.customer_id"               \
	" AND a.credit_type OPERATOR(pg_catalog.=) k.credit_type AND a.window_start OPERATOR(pg_catalog.=) k.window_start"
#define READ_COUNTS(how)                                                                                                       \
	"SELECT k.n, i.amount, i.basis_amount, i.entries FROM (SELECT * FROM " KEY_ARRAYS " ORDER BY " KEY_COLUMNS " OFFSET 0) k"     \
	" CROSS JOIN LATERAL (SELECT a.amount, a.basis_amount, a.entries FROM prm.accumulator a WHERE " KEY_MATCHES " " how ") i"
#define KEY_TYPES INT8OID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, DATEARRAYOID

static const char *const insert_counts_query =
	"INSERT INTO prm.accumulator (program_id, " KEY_COLUMNS ") SELECT $1, " KEY_COLUMNS " FROM " KEY_ARRAYS
	" ORDER BY " KEY_COLUMNS " ON CONFLICT (program_id, " KEY_COLUMNS ") DO NOTHING";
static const char *const lock_counts_query = READ_COUNTS("FOR UPDATE");
static const char *const read_counts_query = READ_COUNTS("OFFSET 0");

static const char *const past_query =
	"SELECT e.purpose, e.lineage_id, e.plan_id, e.partner_id, e.customer_id, e.credit_type, e.window_start, e.earning_event_id,"
	" e.amount_before, e.basis_before FROM (SELECT * FROM prm.accumulator_entry i WHERE i.program_id OPERATOR(pg_catalog.=) $1"
	" AND i.earning_event_id OPERATOR(pg_catalog.>=) $3 AND i.earning_event_id OPERATOR(pg_catalog.<=) $4 OFFSET 0) e"
	" WHERE e.earning_event_id OPERATOR(pg_catalog.=) ANY ($2) ORDER BY e.sequence_no";

static const char *const store_counts_query =
	"INSERT INTO prm.accumulator (program_id, " KEY_COLUMNS ", amount, basis_amount, entries)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11)"
	" ON CONFLICT (program_id, " KEY_COLUMNS ") DO UPDATE SET amount = excluded.amount, basis_amount = excluded.basis_amount,"
	" entries = excluded.entries";

static const char *const store_entries_query =
	"INSERT INTO prm.accumulator_entry (program_id, " KEY_COLUMNS ", sequence_no, earning_event_id, entry_id, amount, basis_amount,"
	" amount_before, basis_before, recorded_at)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
	" pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), $16";

static const char *const store_breakage_query =
	"INSERT INTO prm.breakage (program_id, earning_event_id, credit_type, partner_id, plan_id, rule_id, lineage_id, component, level,"
	" reason_code, reason, amount, currency, recorded_at)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
	" pg_catalog.unnest($12), pg_catalog.unnest($13), $14";

#define START_COLUMNS "plan_id, component, partner_id, customer_id"
#define START_ARRAYS                                                                                                           \
	"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"                     \
	" WITH ORDINALITY AS u(" START_COLUMNS ", n)"
#define READ_STARTS(how)                                                                                                       \
	"SELECT k.n, i.rule_id, i.lineage_id, i.started_on, i.earning_event_id FROM (SELECT * FROM " START_ARRAYS                     \
	" ORDER BY " START_COLUMNS " OFFSET 0) k CROSS JOIN LATERAL (SELECT s.rule_id, s.lineage_id, s.started_on, s.earning_event_id" \
	" FROM prm.recurring_start s WHERE s.program_id OPERATOR(pg_catalog.=) $1 AND s.plan_id OPERATOR(pg_catalog.=) k.plan_id"      \
	" AND s.component OPERATOR(pg_catalog.=) k.component AND s.partner_id OPERATOR(pg_catalog.=) k.partner_id"                    \
	" AND s.customer_id OPERATOR(pg_catalog.=) k.customer_id " how ") i"

static const char *const read_starts_query = READ_STARTS("OFFSET 0");
static const char *const lock_starts_query = READ_STARTS("FOR UPDATE");

static const char *const insert_starts_query =
	"INSERT INTO prm.recurring_start (program_id, " START_COLUMNS ", rule_id, lineage_id, earning_event_id, started_on)"
	" SELECT $1, k.plan_id, k.component, k.partner_id, k.customer_id, k.rule_id, k.lineage_id, k.event_id, 'infinity'"
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
	" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS k(" START_COLUMNS ", rule_id, lineage_id, event_id)"
	" ORDER BY " START_COLUMNS " ON CONFLICT (program_id, " START_COLUMNS ") DO NOTHING";

/* The pair's first row of the component, in the order in which rows were stored. */
static const char *const first_rows_query =
	"SELECT k.n, i.rule_id, i.lineage_id, i.earned_on, i.earning_event_id FROM " START_ARRAYS
	" CROSS JOIN LATERAL (SELECT u.n) k CROSS JOIN LATERAL (SELECT l.rule_id, l.lineage_id, l.earned_on, l.earning_event_id"
	" FROM (SELECT t.earning_event_id, t.occurred_at FROM prm.earning_event t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
	" AND t.customer_id OPERATOR(pg_catalog.=) u.customer_id OFFSET 0) e"
	" CROSS JOIN LATERAL (SELECT t.* FROM prm.ledger t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
	" AND t.earning_event_id OPERATOR(pg_catalog.=) e.earning_event_id OFFSET 0) l"
	" WHERE l.plan_id OPERATOR(pg_catalog.=) u.plan_id AND l.component OPERATOR(pg_catalog.=) u.component"
	" AND l.partner_id OPERATOR(pg_catalog.=) u.partner_id AND l.rule_id IS NOT NULL"
	" AND l.kind OPERATOR(pg_catalog.=) ANY (ARRAY['commission', 'override', 'bonus', 'royalty', 'fee'])"
	" ORDER BY l.recorded_at, e.occurred_at, e.earning_event_id LIMIT 1) i";

static const char *const store_starts_query =
	"INSERT INTO prm.recurring_start (program_id, " START_COLUMNS ", rule_id, lineage_id, earning_event_id, started_on, recorded_at)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), $10"
	" ON CONFLICT (program_id, " START_COLUMNS ") DO UPDATE SET rule_id = excluded.rule_id, lineage_id = excluded.lineage_id,"
	" earning_event_id = excluded.earning_event_id, started_on = excluded.started_on, recorded_at = excluded.recorded_at";

static const char *const drop_starts_query =
	"DELETE FROM prm.recurring_start s USING " START_ARRAYS " WHERE s.program_id OPERATOR(pg_catalog.=) $1"
	" AND s.plan_id OPERATOR(pg_catalog.=) u.plan_id AND s.component OPERATOR(pg_catalog.=) u.component"
	" AND s.partner_id OPERATOR(pg_catalog.=) u.partner_id AND s.customer_id OPERATOR(pg_catalog.=) u.customer_id"
	" AND s.started_on OPERATOR(pg_catalog.=) 'infinity'::pg_catalog.date";

/* ---- arrays ------------------------------------------------------------------------------------------------------------ */

Datum
prm_array(const Datum *values, const bool *nulls, int count, Oid type)
{
	int dimensions[1] = {count};
	int bounds[1] = {1};
	bool by_value = type == INT8OID || type == INT4OID || type == DATEOID;
	int length = type == INT8OID ? sizeof(int64) : by_value ? sizeof(int32) : -1;
	char alignment = type == INT8OID ? TYPALIGN_DOUBLE : TYPALIGN_INT;

	return PointerGetDatum(construct_md_array((Datum *) values, (bool *) nulls, 1, dimensions, bounds, type, length,
											  type == INT8OID ? FLOAT8PASSBYVAL : by_value, alignment));
}

/* A table of values in the making: so many columns of as many rows. */
typedef struct Columns
{
	int width;
	int room;
	int rows;
	Datum **values;
	bool **nulls;
} Columns;

static Columns *
make_columns(int width, int room)
{
	Columns *columns = palloc0(sizeof(Columns));

	columns->width = width;
	columns->room = Max(room, 1);
	columns->values = palloc(sizeof(Datum *) * width);
	columns->nulls = palloc(sizeof(bool *) * width);
	for (int i = 0; i < width; i++)
	{
		columns->values[i] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * columns->room);
		columns->nulls[i] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(bool) * columns->room);
	}
	return columns;
}

static inline void
set_column(Columns *columns, int column, Datum value, bool given)
{
	columns->values[column][columns->rows] = value;
	columns->nulls[column][columns->rows] = !given;
}

static const char *const purposes[] = {"attained", "cap"};

static void
set_key(PrmEarningRun *run, Columns *columns, const PrmCountKey *key)
{
	set_column(columns, 0, CStringGetTextDatum(purposes[key->purpose]), true);
	set_column(columns, 1, Int64GetDatum(key->lineage_id), true);
	set_column(columns, 2, Int64GetDatum(key->plan_id), true);
	set_column(columns, 3, Int64GetDatum(key->partner_id), true);
	set_column(columns, 4, Int64GetDatum(key->customer_id), true);
	set_column(columns, 5, CStringGetTextDatum(prm_text_of(run->state, key->credit_type)), true);
	set_column(columns, 6, DateADTGetDatum(key->window_start), true);
}

/* The key that a row shows in seven columns. */
PrmCountKey
prm_key_of_row(PrmEarningRun *run, HeapTuple row, TupleDesc form, int first)
{
	PrmCountKey key;
	bool isnull;

	memset(&key, 0, sizeof(key));
	key.purpose = strcmp(TextDatumGetCString(SPI_getbinval(row, form, first, &isnull)), "cap") == 0 ? PRM_PURPOSE_CAP
																									 : PRM_PURPOSE_ATTAINED;
	key.lineage_id = DatumGetInt64(SPI_getbinval(row, form, first + 1, &isnull));
	key.plan_id = DatumGetInt64(SPI_getbinval(row, form, first + 2, &isnull));
	key.partner_id = DatumGetInt64(SPI_getbinval(row, form, first + 3, &isnull));
	key.customer_id = DatumGetInt64(SPI_getbinval(row, form, first + 4, &isnull));
	key.credit_type = prm_text_number(run->state, TextDatumGetCString(SPI_getbinval(row, form, first + 5, &isnull)));
	key.window_start = DatumGetDateADT(SPI_getbinval(row, form, first + 6, &isnull));
	return key;
}

/* Runs a statement over the programme, the columns, and perhaps a moment. */
static void
run_query(PrmEarningRun *run, SPIPlanPtr *kept, const char *query, const Oid *array_types, const Columns *columns,
		  const TimestampTz *moment, int expected)
{
	static const Oid elements[][2] = {{INT8ARRAYOID, INT8OID}, {TEXTARRAYOID, TEXTOID}, {DATEARRAYOID, DATEOID},
									  {INT4ARRAYOID, INT4OID}, {NUMERICARRAYOID, NUMERICOID}};
	MemoryContext caller = CurrentMemoryContext;
	Datum values[16];
	Oid types[16];
	int count = 1 + columns->width;

	values[0] = Int64GetDatum(run->program_id);
	types[0] = INT8OID;
	for (int i = 0; i < columns->width; i++)
	{
		Oid element = InvalidOid;

		types[i + 1] = array_types[i];
		for (int j = 0; j < lengthof(elements); j++)
			if (elements[j][0] == array_types[i])
				element = elements[j][1];
		values[i + 1] = prm_array(columns->values[i], columns->nulls[i], columns->rows, element);
	}
	if (moment != NULL)
	{
		types[count] = TIMESTAMPTZOID;
		values[count++] = TimestampTzGetDatum(*moment);
	}
	if (SPI_execute_plan(prm_earning_plan(kept, query, count, types), values, NULL, run->read_only, 0) != expected)
		elog(ERROR, "counting what was earned failed: %s", query);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < columns->width; i++)
		pfree(DatumGetPointer(values[i + 1]));
}

static const Oid key_types[] = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, DATEARRAYOID,
								NUMERICARRAYOID, NUMERICARRAYOID, INT8ARRAYOID};

/* ---- counts ------------------------------------------------------------------------------------------------------------- */

static void
load_counts(PrmEarningRun *run)
{
	static SPIPlanPtr insert_plan, lock_plan, read_plan;
	int count = hash_get_num_entries(run->state->counts);
	Columns *columns = make_columns(7, count);
	PrmCount **order = palloc(sizeof(PrmCount *) * Max(count, 1));
	HASH_SEQ_STATUS scan;
	PrmCount *entry;

	if (count == 0)
		return;
	hash_seq_init(&scan, run->state->counts);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		set_key(run, columns, &entry->key);
		order[columns->rows++] = entry;
	}
	if (run->mode == PRM_EARNING_ACCRUE)
	{
		run_query(run, &insert_plan, insert_counts_query, key_types, columns, NULL, SPI_OK_INSERT);
		run_query(run, &lock_plan, lock_counts_query, key_types, columns, NULL, SPI_OK_SELECT);
		if (SPI_processed != count)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("what was attained so far could not be locked"),
							errdetail("%d rows of prm.accumulator were needed, " UINT64_FORMAT " were found.", count, SPI_processed),
							errhint("A trigger or policy on prm.accumulator hides rows from the owner of the model; drop it.")));
	}
	else
		run_query(run, &read_plan, read_counts_query, key_types, columns, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		bool isnull;

		entry = order[DatumGetInt64(SPI_getbinval(row, form, 1, &isnull)) - 1];
		entry->amount = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 2, &isnull)));
		entry->basis = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 3, &isnull)));
		entry->entries = DatumGetInt64(SPI_getbinval(row, form, 4, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* What events that were counted before found then; see earning_count.c. */
static void
load_past(PrmEarningRun *run)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[4] = {INT8OID, INT8ARRAYOID, INT8OID, INT8OID};
	MemoryContext caller = CurrentMemoryContext;
	int count = list_length(run->events);
	Datum *ids = MemoryContextAllocHuge(caller, sizeof(Datum) * Max(count, 1));
	int64 low = PG_INT64_MAX;
	int64 high = PG_INT64_MIN;
	Datum values[4];
	ListCell *cell;

	if (count == 0 || hash_get_num_entries(run->state->counts) == 0)
		return;
	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		ids[foreach_current_index(cell)] = Int64GetDatum(event->earning_event_id);
		low = Min(low, event->earning_event_id);
		high = Max(high, event->earning_event_id);
	}
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_array(ids, NULL, count, INT8OID);
	values[2] = Int64GetDatum(low);
	values[3] = Int64GetDatum(high);
	if (SPI_execute_plan(prm_earning_plan(&kept, past_query, 4, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.accumulator_entry failed");
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		PrmCountKey key = prm_key_of_row(run, row, form, 1);
		PrmCount *then;
		bool isnull;
		bool found;

		key.event_id = DatumGetInt64(SPI_getbinval(row, form, 8, &isnull));
		then = hash_search(run->state->counts, &key, HASH_ENTER, &found);
		if (found)
			continue;
		then->amount = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 9, &isnull)));
		then->basis = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 10, &isnull)));
		then->entries = 0;
		then->changed = false;
		run->state->has_past = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- first sales -------------------------------------------------------------------------------------------------------- */

static const Oid start_types[] = {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
								  DATEARRAYOID};

/* What holds the place of a first sale until there is one: the rule and the event that asked. */
typedef struct StartAsked
{
	PrmStart *start;
	int64 rule_id;
	int64 lineage_id;
	int64 event_id;
} StartAsked;

static void
set_start_key(PrmEarningRun *run, Columns *columns, const PrmStart *start)
{
	set_column(columns, 0, Int64GetDatum(start->key.plan_id), true);
	set_column(columns, 1, CStringGetTextDatum(prm_text_of(run->state, start->key.component)), true);
	set_column(columns, 2, Int64GetDatum(start->key.partner_id), true);
	set_column(columns, 3, Int64GetDatum(start->key.customer_id), true);
}

/* Takes over the rows that a query found, and returns those that are still asked for; found counts all of them. */
static List *
take_starts(PrmEarningRun *run, List *asked, bool from_ledger)
{
	List *left = NIL;
	ListCell *cell;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		bool isnull;
		StartAsked *one = list_nth(asked, DatumGetInt64(SPI_getbinval(row, form, 1, &isnull)) - 1);
		PrmStart *start = one->start;

		start->started_on = DatumGetDateADT(SPI_getbinval(row, form, 4, &isnull));
		if (DATE_IS_NOEND(start->started_on))
			continue;
		start->given = true;
		start->rule_id = DatumGetInt64(SPI_getbinval(row, form, 2, &isnull));
		start->lineage_id = DatumGetInt64(SPI_getbinval(row, form, 3, &isnull));
		start->event_id = DatumGetInt64(SPI_getbinval(row, form, 5, &isnull));
		if (from_ledger && run->mode == PRM_EARNING_ACCRUE)
		{
			start->is_new = true;
			run->state->new_starts = lappend(run->state->new_starts, start);
		}
	}
	foreach (cell, asked)
	{
		StartAsked *one = lfirst(cell);

		if (!one->start->given)
			left = lappend(left, one);
	}
	SPI_freetuptable(SPI_tuptable);
	return left;
}

static Columns *
start_columns(PrmEarningRun *run, List *asked, int width)
{
	Columns *columns = make_columns(width, list_length(asked));
	ListCell *cell;

	foreach (cell, asked)
	{
		StartAsked *one = lfirst(cell);

		set_start_key(run, columns, one->start);
		if (width > 4)
		{
			set_column(columns, 4, Int64GetDatum(one->rule_id), true);
			set_column(columns, 5, Int64GetDatum(one->lineage_id), true);
			set_column(columns, 6, Int64GetDatum(one->event_id), true);
		}
		columns->rows++;
	}
	return columns;
}

static void
load_starts(PrmEarningRun *run, List *asked)
{
	static SPIPlanPtr read_plan, insert_plan, lock_plan, first_plan;
	Columns *columns;

	if (asked == NIL)
		return;
	run_query(run, &read_plan, read_starts_query, start_types, start_columns(run, asked, 4), NULL, SPI_OK_SELECT);
	asked = take_starts(run, asked, false);
	if (asked == NIL)
		return;
	if (run->mode == PRM_EARNING_ACCRUE)
	{
		uint64 found;

		/* Whoever held the place may have given it up while we waited: then it is ours to take. */
		do
		{
			CHECK_FOR_INTERRUPTS();
			run_query(run, &insert_plan, insert_starts_query, start_types, start_columns(run, asked, 7), NULL, SPI_OK_INSERT);
			run_query(run, &lock_plan, lock_starts_query, start_types, start_columns(run, asked, 4), NULL, SPI_OK_SELECT);
			found = SPI_processed;
			if (found < list_length(asked))
				SPI_freetuptable(SPI_tuptable);
		} while (found < list_length(asked));
		asked = take_starts(run, asked, false);
		if (asked == NIL)
			return;
	}
	columns = start_columns(run, asked, 4);
	run_query(run, &first_plan, first_rows_query, start_types, columns, NULL, SPI_OK_SELECT);
	(void) take_starts(run, asked, true);
}

/* ---- what the candidates need --------------------------------------------------------------------------------------------- */

static void
need_rule(PrmEarningRun *run, PrmCandidate *candidate, PrmRule *rule)
{
	PrmEvent *event = candidate->credit->event;
	int64 payee = candidate->payee->partner_id;
	PrmCountKey key;

	prm_quota_need(run, rule, payee);
	if (rule->accumulate != PRM_ACCUMULATE_TRANSACTION)
	{
		key = prm_attained_key(run, rule, payee, candidate->credit->credit_type, event->earned_on);
		(void) prm_count_at(run, &key, 0);
	}
	if (rule->cap_amount.given && prm_cap_key(run, rule, payee, event->customer_id, event->earned_on, &key))
		(void) prm_count_at(run, &key, 0);
}

static List *
need_candidate(PrmEarningRun *run, PrmCandidate *candidate, List *asked)
{
	PrmRule *rule = candidate->rule;
	PrmEvent *event = candidate->credit->event;
	const PrmPlanFacts *facts = prm_plan_facts(run, rule->plan);
	PrmStart *start;

	prm_rate_need(run, event->currency, rule->plan->currency, event->earned_on);
	if (facts->counts)
	{
		need_rule(run, candidate, rule);
		for (int kind = 0; facts->cap_windows >> kind != 0; kind++)
		{
			if ((facts->cap_windows & 1 << kind) != 0)
			{
				PrmCountKey key = prm_plan_cap_key(run, rule->plan, kind, event->earned_on);

				(void) prm_count_at(run, &key, 0);
			}
		}
		/* The version of the first sale may govern, and it is not known yet which that is. */
		for (int i = 0; rule->lineage_recurs && !rule->recurring_in_force && i < rule->plan->rule_count; i++)
			if (rule->plan->rules[i]->lineage_id == rule->lineage_id && rule->plan->rules[i] != rule)
				need_rule(run, candidate, rule->plan->rules[i]);
	}
	if (facts->recurs && run->mode != PRM_EARNING_REPLAY && !candidate->of_sellers_plan)
	{
		start = prm_start_of(run, rule->plan, rule->component, candidate->payee->partner_id, event->customer_id);
		if (start != NULL && !start->given)
		{
			StartAsked *one = palloc(sizeof(StartAsked));

			/* Until the load tells, this says only that it was asked for. */
			start->given = true;
			one->start = start;
			one->rule_id = rule->rule_id;
			one->lineage_id = rule->lineage_id;
			one->event_id = event->earning_event_id;
			asked = lappend(asked, one);
		}
	}
	return asked;
}

static HTAB *
table_of(const char *name, Size key, Size entry)
{
	HASHCTL info = {0};

	info.keysize = key;
	info.entrysize = entry;
	info.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void
prm_earning_state_load(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	PrmEarningState *state = palloc0(sizeof(PrmEarningState));
	List *asked = NIL;
	ListCell *cell;
	ListCell *candidate_cell;

	run->state = state;
	state->texts = list_make1("");
	state->counts = table_of("prm counts", sizeof(PrmCountKey), sizeof(PrmCount));
	state->starts = table_of("prm first sales", sizeof(PrmStartKey), sizeof(PrmStart));
	foreach (cell, run->plans)
	{
		const PrmPlanFacts *facts = prm_plan_facts(run, lfirst(cell));

		state->stateful |= facts->counts || facts->recurs;
	}
	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		state->has_refunds |= event->is_refund;
		foreach (candidate_cell, run->candidates[event->ordinal])
		{
			PrmCandidate *candidate = lfirst(candidate_cell);

			if (candidate->rule != NULL && candidate->fault == NULL)
				asked = need_candidate(run, candidate, asked);
			else if (candidate->rule != NULL && candidate->unqualified)
				prm_rate_need(run, event->currency, candidate->plan->currency, event->earned_on);
		}
	}
	foreach (cell, asked)
		((StartAsked *) lfirst(cell))->start->given = false;
	if (state->has_refunds)
		prm_originals_load(run);
	prm_load_fetch(run);
	if (run->mode != PRM_EARNING_REPLAY)
	{
		load_counts(run);
		load_starts(run, asked);
		if (run->mode != PRM_EARNING_DEAL)
			load_past(run);
	}
	MemoryContextSwitchTo(caller);
}

/* ---- writing back ----------------------------------------------------------------------------------------------------------- */

static void
store_counts(PrmEarningRun *run)
{
	static SPIPlanPtr count_plan, entry_plan;
	static const Oid entry_types[] = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
									  TEXTARRAYOID, DATEARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
									  NUMERICARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID};
	PrmEarningState *state = run->state;
	Columns *columns;
	HASH_SEQ_STATUS scan;
	PrmCount *count;
	ListCell *cell;

	if (state->entries == NIL)
		return;
	columns = make_columns(10, hash_get_num_entries(state->counts));
	hash_seq_init(&scan, state->counts);
	while ((count = hash_seq_search(&scan)) != NULL)
	{
		if (!count->changed)
			continue;
		set_key(run, columns, &count->key);
		set_column(columns, 7, count->amount, true);
		set_column(columns, 8, count->basis, true);
		set_column(columns, 9, Int64GetDatum(count->entries), true);
		columns->rows++;
	}
	run_query(run, &count_plan, store_counts_query, key_types, columns, NULL, SPI_OK_INSERT);

	columns = make_columns(14, list_length(state->entries));
	foreach (cell, state->entries)
	{
		PrmCountEntry *entry = lfirst(cell);
		int64 entry_id = entry->outcome == NULL ? 0 : entry->outcome->entry_id;

		set_key(run, columns, &entry->count->key);
		set_column(columns, 7, Int64GetDatum(entry->sequence_no), true);
		set_column(columns, 8, Int64GetDatum(entry->event_id), true);
		set_column(columns, 9, Int64GetDatum(entry_id), entry_id != 0);
		set_column(columns, 10, entry->amount, true);
		set_column(columns, 11, entry->basis, true);
		set_column(columns, 12, entry->amount_before, true);
		set_column(columns, 13, entry->basis_before, true);
		columns->rows++;
	}
	run_query(run, &entry_plan, store_entries_query, entry_types, columns, &run->recorded_at, SPI_OK_INSERT);
}

static void
store_starts(PrmEarningRun *run)
{
	static SPIPlanPtr store_plan, drop_plan;
	int count = hash_get_num_entries(run->state->starts);
	Columns *drop = make_columns(4, count);
	HASH_SEQ_STATUS scan;
	PrmStart *start;
	ListCell *cell;

	if (count == 0)
		return;
	if (run->state->new_starts != NIL)
	{
		Columns *columns = make_columns(8, list_length(run->state->new_starts));

		foreach (cell, run->state->new_starts)
		{
			start = lfirst(cell);
			set_start_key(run, columns, start);
			set_column(columns, 4, Int64GetDatum(start->rule_id), true);
			set_column(columns, 5, Int64GetDatum(start->lineage_id), true);
			set_column(columns, 6, Int64GetDatum(start->event_id), true);
			set_column(columns, 7, DateADTGetDatum(start->started_on), true);
			columns->rows++;
		}
		run_query(run, &store_plan, store_starts_query, start_types, columns, &run->recorded_at, SPI_OK_INSERT);
	}
	hash_seq_init(&scan, run->state->starts);
	while ((start = hash_seq_search(&scan)) != NULL)
	{
		if (start->given)
			continue;
		set_start_key(run, drop, start);
		drop->rows++;
	}
	if (drop->rows > 0)
		run_query(run, &drop_plan, drop_starts_query, start_types, drop, NULL, SPI_OK_DELETE);
}

static void
store_breakage(PrmEarningRun *run)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[] = {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
								TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, NUMERICARRAYOID, TEXTARRAYOID};
	Columns *columns;
	ListCell *cell;

	if (run->state->breakage == NIL)
		return;
	columns = make_columns(12, list_length(run->state->breakage));
	foreach (cell, run->state->breakage)
	{
		PrmOutcome *row = lfirst(cell);

		set_column(columns, 0, Int64GetDatum(row->event->earning_event_id), true);
		set_column(columns, 1, CStringGetTextDatum(row->credit_type), true);
		set_column(columns, 2, Int64GetDatum(row->partner_id), true);
		set_column(columns, 3, Int64GetDatum(row->rule->plan->plan_id), true);
		set_column(columns, 4, Int64GetDatum(row->rule_id), true);
		set_column(columns, 5, Int64GetDatum(row->lineage_id), true);
		set_column(columns, 6, CStringGetTextDatum(row->rule->component), true);
		set_column(columns, 7, Int32GetDatum(row->level), true);
		set_column(columns, 8, CStringGetTextDatum(row->reason_code), true);
		set_column(columns, 9, CStringGetTextDatum(row->reason), true);
		set_column(columns, 10, row->unpaid_amount.value, row->unpaid_amount.given);
		set_column(columns, 11, CStringGetTextDatum(row->currency), true);
		columns->rows++;
	}
	run_query(run, &kept, store_breakage_query, types, columns, &run->recorded_at, SPI_OK_INSERT);
}

void
prm_earning_state_store(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	store_counts(run);
	store_starts(run);
	store_breakage(run);
	MemoryContextSwitchTo(caller);
}
