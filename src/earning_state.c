/*
 * earning_state.c: the tables behind the counts: prm.accumulator, accumulator_entry, breakage (earning_start.c: recurring_start).
 * Finds out which counts and first sales the events of a run need, locks them in the order of their keys when the run will
 * write them, reads them, and writes back what the run made of them. Called by earning.c before and after paying.
 *
 * Everything is set-wise: one statement for all keys, never one for each event, and every row is found by its key whatever the
 * statistics say (LATERAL, ON CONFLICT). A run in which no rule counts anything touches none of the tables.
 *
 * Locks. First all missing rows are inserted, in the order of the keys, then all are locked, in the same order: nobody waits
 * for a row that is not there yet while holding one that others lock.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
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

/* So much is put into arrays at once, however large the run is. */
#define ENTRIES_AT_ONCE 20000

static const char *const known_breakage_query =
	"SELECT DISTINCT i.earning_event_id, i.plan_id FROM (SELECT b.earning_event_id, b.plan_id FROM prm.breakage b"
	" WHERE b.program_id OPERATOR(pg_catalog.=) $1 AND b.earning_event_id OPERATOR(pg_catalog.>=) $3"
	" AND b.earning_event_id OPERATOR(pg_catalog.<=) $4 OFFSET 0) i WHERE i.earning_event_id OPERATOR(pg_catalog.=) ANY ($2)";

static const char *const store_breakage_query =
	"INSERT INTO prm.breakage (program_id, earning_event_id, credit_type, partner_id, plan_id, rule_id, lineage_id, component, level,"
	" reason_code, reason, amount, currency, recorded_at)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
	" pg_catalog.unnest($12), pg_catalog.unnest($13), $14";

/* ---- keys ------------------------------------------------------------------------------------------------------------ */

static const char *const purposes[] = {"attained", "cap"};

static void
set_key(PrmEarningRun *run, PrmColumns *columns, const PrmCountKey *key)
{
	prm_set_column(columns, 0, prm_text_value(run->state, prm_text_number(run->state, purposes[key->purpose])), true);
	prm_set_column(columns, 1, Int64GetDatum(key->lineage_id), true);
	prm_set_column(columns, 2, Int64GetDatum(key->plan_id), true);
	prm_set_column(columns, 3, Int64GetDatum(key->partner_id), true);
	prm_set_column(columns, 4, Int64GetDatum(key->customer_id), true);
	prm_set_column(columns, 5, prm_text_value(run->state, key->credit_type), true);
	prm_set_column(columns, 6, DateADTGetDatum(key->window_start), true);
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

static const Oid key_types[] = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, DATEARRAYOID,
								NUMERICARRAYOID, NUMERICARRAYOID, INT8ARRAYOID};

/* ---- counts ------------------------------------------------------------------------------------------------------------- */

static void
load_counts(PrmEarningRun *run)
{
	static PrmKept insert_plan, lock_plan = {"accumulator"}, read_plan = {"accumulator"};
	int count = hash_get_num_entries(run->state->counts);
	PrmColumns *columns = prm_columns(7, count);
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
		prm_run_query(run, &insert_plan, insert_counts_query, key_types, columns, NULL, SPI_OK_INSERT);
		prm_run_query(run, &lock_plan, lock_counts_query, key_types, columns, NULL, SPI_OK_SELECT);
		if (SPI_processed != count)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("what was attained so far could not be locked"),
							errdetail("%d rows of prm.accumulator were needed, " UINT64_FORMAT " were found.", count, SPI_processed),
							errhint("A trigger or policy on prm.accumulator hides rows from the owner of the model; drop it.")));
	}
	else
		prm_run_query(run, &read_plan, read_counts_query, key_types, columns, NULL, SPI_OK_SELECT);
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

/*
 * Reads by events: a range of their numbers, in which a batch that is new has nothing, and then those of the batch. The result
 * is in SPI_tuptable.
 */
static void
read_by_events(PrmEarningRun *run, PrmKept *kept, const char *query, const Datum *ids, int count)
{
	static const Oid types[4] = {INT8OID, INT8ARRAYOID, INT8OID, INT8OID};
	MemoryContext caller = CurrentMemoryContext;
	int64 low = PG_INT64_MAX;
	int64 high = PG_INT64_MIN;
	Datum values[4];

	for (int i = 0; i < count; i++)
	{
		low = Min(low, DatumGetInt64(ids[i]));
		high = Max(high, DatumGetInt64(ids[i]));
	}
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_array(ids, NULL, count, INT8OID);
	values[2] = Int64GetDatum(low);
	values[3] = Int64GetDatum(high);
	if (SPI_execute_plan(prm_kept_plan(kept, query, 4, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading what was counted failed: %s", query);
	MemoryContextSwitchTo(caller);
}

/* What events that were counted before found then; see earning_count.c. */
static void
load_past(PrmEarningRun *run)
{
	static PrmKept kept = {"accumulator_entry"};
	int count = list_length(run->events);
	Datum *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(count, 1));
	ListCell *cell;

	if (count == 0 || hash_get_num_entries(run->state->counts) == 0)
		return;
	foreach (cell, run->events)
		ids[foreach_current_index(cell)] = Int64GetDatum(((PrmEvent *) lfirst(cell))->earning_event_id);
	read_by_events(run, &kept, past_query, ids, count);
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
			/* Until the load tells, given says only that it was asked for; the rest holds its place. */
			start->given = true;
			start->rule_id = rule->rule_id;
			start->lineage_id = rule->lineage_id;
			start->event_id = event->earning_event_id;
			asked = lappend(asked, start);
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
	(void) prm_text_number(state, "");
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
		((PrmStart *) lfirst(cell))->given = false;
	if (state->has_refunds)
		prm_originals_load(run);
	prm_load_fetch(run);
	if (run->mode != PRM_EARNING_REPLAY)
	{
		load_counts(run);
		prm_starts_load(run, asked);
		if (run->mode != PRM_EARNING_DEAL)
			load_past(run);
	}
	else
		prm_canceled_load(run);
	MemoryContextSwitchTo(caller);
}

/* ---- writing back ----------------------------------------------------------------------------------------------------------- */

static void
store_counts(PrmEarningRun *run)
{
	static PrmKept count_plan, entry_plan;
	static const Oid entry_types[] = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
									  TEXTARRAYOID, DATEARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
									  NUMERICARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID, NUMERICARRAYOID};
	PrmEarningState *state = run->state;
	PrmColumns *columns;
	HASH_SEQ_STATUS scan;
	PrmCount *count;
	ListCell *cell;

	if (state->entries == NIL)
		return;
	columns = prm_columns(10, hash_get_num_entries(state->counts));
	hash_seq_init(&scan, state->counts);
	while ((count = hash_seq_search(&scan)) != NULL)
	{
		if (!count->changed)
			continue;
		set_key(run, columns, &count->key);
		prm_set_column(columns, 7, count->amount, true);
		prm_set_column(columns, 8, count->basis, true);
		prm_set_column(columns, 9, Int64GetDatum(count->entries), true);
		columns->rows++;
	}
	prm_run_query(run, &count_plan, store_counts_query, key_types, columns, NULL, SPI_OK_INSERT);

	columns = prm_columns(14, Min(list_length(state->entries), ENTRIES_AT_ONCE));
	foreach (cell, state->entries)
	{
		PrmCountEntry *entry = lfirst(cell);
		int64 entry_id = entry->outcome == NULL ? 0 : entry->outcome->entry_id;

		set_key(run, columns, &entry->count->key);
		prm_set_column(columns, 7, Int64GetDatum(entry->sequence_no), true);
		prm_set_column(columns, 8, Int64GetDatum(entry->event_id), true);
		prm_set_column(columns, 9, Int64GetDatum(entry_id), entry_id != 0);
		prm_set_column(columns, 10, entry->amount, true);
		prm_set_column(columns, 11, entry->basis, true);
		prm_set_column(columns, 12, entry->amount_before, true);
		prm_set_column(columns, 13, entry->basis_before, true);
		if (++columns->rows == ENTRIES_AT_ONCE || lnext(state->entries, cell) == NULL)
		{
			prm_run_query(run, &entry_plan, store_entries_query, entry_types, columns, &run->recorded_at, SPI_OK_INSERT);
			columns->rows = 0;
		}
	}
}

/* An accrual that is repeated tells nothing twice: the events and plans that have breakage already; NULL: none. */
static HTAB *
known_breakage(PrmEarningRun *run)
{
	static PrmKept kept = {"breakage"};
	Datum *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * list_length(run->state->breakage));
	HTAB *known = NULL;
	ListCell *cell;

	foreach (cell, run->state->breakage)
		ids[foreach_current_index(cell)] = Int64GetDatum(((PrmOutcome *) lfirst(cell))->event->earning_event_id);
	read_by_events(run, &kept, known_breakage_query, ids, list_length(run->state->breakage));
	if (SPI_processed > 0)
		known = table_of("prm breakage", 2 * sizeof(int64), 2 * sizeof(int64));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		int64 key[2];

		key[0] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		key[1] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		(void) hash_search(known, key, HASH_ENTER, NULL);
	}
	SPI_freetuptable(SPI_tuptable);
	return known;
}

static void
store_breakage(PrmEarningRun *run)
{
	static PrmKept kept;
	static const Oid types[] = {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
								TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, NUMERICARRAYOID, TEXTARRAYOID};
	HTAB *known;
	PrmColumns *columns;
	ListCell *cell;

	if (run->state->breakage == NIL)
		return;
	known = known_breakage(run);
	columns = prm_columns(12, list_length(run->state->breakage));
	foreach (cell, run->state->breakage)
	{
		PrmOutcome *row = lfirst(cell);
		int64 key[2] = {row->event->earning_event_id, row->rule->plan->plan_id};

		if (known != NULL && hash_search(known, key, HASH_FIND, NULL) != NULL)
			continue;
		prm_set_column(columns, 0, Int64GetDatum(row->event->earning_event_id), true);
		prm_set_column(columns, 1, CStringGetTextDatum(row->credit_type), true);
		prm_set_column(columns, 2, Int64GetDatum(row->partner_id), true);
		prm_set_column(columns, 3, Int64GetDatum(row->rule->plan->plan_id), true);
		prm_set_column(columns, 4, Int64GetDatum(row->rule_id), true);
		prm_set_column(columns, 5, Int64GetDatum(row->lineage_id), true);
		prm_set_column(columns, 6, CStringGetTextDatum(row->rule->component), true);
		prm_set_column(columns, 7, Int32GetDatum(row->level), true);
		prm_set_column(columns, 8, CStringGetTextDatum(row->reason_code), true);
		prm_set_column(columns, 9, CStringGetTextDatum(row->reason), true);
		prm_set_column(columns, 10, row->unpaid_amount.value, row->unpaid_amount.given);
		prm_set_column(columns, 11, CStringGetTextDatum(row->currency), true);
		columns->rows++;
	}
	if (columns->rows > 0)
		prm_run_query(run, &kept, store_breakage_query, types, columns, &run->recorded_at, SPI_OK_INSERT);
}

void
prm_earning_state_store(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	store_counts(run);
	prm_starts_store(run);
	store_breakage(run);
	MemoryContextSwitchTo(caller);
}
