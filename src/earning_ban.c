/*
 * earning_ban.c: what a ban canceled, for replays. Canceling an entry gives back what it used of a cap (prm.accumulator_entry of
 * the reversal, see prm._cancel_unsettled()), so what is earned afterwards finds the cap less used. It is no event, so a replay
 * reads these steps and takes them between the events, at the moment at which they were recorded; or it would find fault with
 * what others earned since. Called by earning_state.c, which loads, and by earning_pay.c before each event.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

struct PrmCanceled
{
	PrmCountKey key;
	int64 event_id;
	TimestampTz recorded_at;
	Datum amount;
};

/* By the partners that were ever banned, of whom there are few: no index finds the entries otherwise. */
static const char *const canceled_query =
	"SELECT e.purpose, e.lineage_id, e.plan_id, e.partner_id, e.customer_id, e.credit_type, e.window_start, e.earning_event_id,"
	" e.amount, e.recorded_at FROM (SELECT DISTINCT r.partner_id FROM prm.risk_event r WHERE r.program_id OPERATOR(pg_catalog.=) $1"
	" AND r.state OPERATOR(pg_catalog.=) ANY (ARRAY['banned', 'benign'])) k"
	" CROSS JOIN LATERAL (SELECT t.entry_id, t.earning_event_id FROM prm.ledger t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
	" AND t.partner_id OPERATOR(pg_catalog.=) k.partner_id AND t.idempotency_key OPERATOR(pg_catalog.~~) 'cancel/%' OFFSET 0) l"
	" CROSS JOIN LATERAL (SELECT i.* FROM prm.accumulator_entry i WHERE i.program_id OPERATOR(pg_catalog.=) $1"
	" AND i.earning_event_id OPERATOR(pg_catalog.=) l.earning_event_id AND i.entry_id OPERATOR(pg_catalog.=) l.entry_id"
	" AND i.purpose OPERATOR(pg_catalog.=) 'cap' OFFSET 0) e"
	" WHERE l.earning_event_id OPERATOR(pg_catalog.=) ANY ($2)"
	" ORDER BY e.recorded_at, e.accumulator_entry_id";

static const char *const banned_query =
	"SELECT 1 FROM prm.risk_event r WHERE r.program_id OPERATOR(pg_catalog.=) $1"
	" AND r.state OPERATOR(pg_catalog.=) ANY (ARRAY['banned', 'benign']) LIMIT 1";

void
prm_canceled_load(PrmEarningRun *run)
{
	static PrmKept kept = {"accumulator_entry"};
	static PrmKept kept_banned = {"accumulator_entry"};
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};
	MemoryContext caller = CurrentMemoryContext;
	PrmEarningState *state = run->state;
	int count = list_length(run->events);
	Datum *ids;
	Datum values[2];
	ListCell *cell;

	if (count == 0 || hash_get_num_entries(state->counts) == 0)
		return;
	values[0] = Int64GetDatum(run->program_id);
	if (SPI_execute_plan(prm_kept_plan(&kept_banned, banned_query, 1, types), values, NULL, run->read_only, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.risk_event failed");
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 0)
		return;
	SPI_freetuptable(SPI_tuptable);
	ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * count);
	foreach (cell, run->events)
		ids[foreach_current_index(cell)] = Int64GetDatum(((PrmEvent *) lfirst(cell))->earning_event_id);
	values[1] = prm_array(ids, NULL, count, INT8OID);
	if (SPI_execute_plan(prm_kept_plan(&kept, canceled_query, 2, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading what was canceled failed");
	MemoryContextSwitchTo(caller);
	state->canceled = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(struct PrmCanceled) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		struct PrmCanceled *step = &state->canceled[i];
		bool isnull;

		step->key = prm_key_of_row(run, row, form, 1);
		step->event_id = DatumGetInt64(SPI_getbinval(row, form, 8, &isnull));
		step->amount = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 9, &isnull)));
		step->recorded_at = DatumGetTimestampTz(SPI_getbinval(row, form, 10, &isnull));
	}
	state->canceled_count = (int64) SPI_processed;
	SPI_freetuptable(SPI_tuptable);
}

/* Takes the steps that were recorded before the moment. Counts that the replay does not keep are none of its business. */
void
prm_canceled_until(PrmEarningRun *run, TimestampTz moment)
{
	PrmEarningState *state = run->state;

	for (; state->canceled_next < state->canceled_count && state->canceled[state->canceled_next].recorded_at < moment; state->canceled_next++)
	{
		struct PrmCanceled *step = &state->canceled[state->canceled_next];
		PrmCount *count = hash_search(state->counts, &step->key, HASH_FIND, NULL);

		if (count != NULL)
			prm_count_add(run, count, step->event_id, NULL, step->amount, prm_numeric_int(0));
	}
}
