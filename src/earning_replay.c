/*
 * earning_replay.c: prm._earning_counts(): the steps by which a replay of events counts attained amounts and the use of caps.
 * recalculate() compares them with those that were stored; see sql/model/defs/54_earning_whatif.sql. Writes nothing.
 */
#include "earning_pay.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#define COLUMNS 10

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_earning_counts);

/* prm._earning_counts(program_id bigint, earning_event_ids bigint[], plan_ids bigint[]) */
Datum
prm_earning_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row_context;
	PrmEarningRun *run;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (result->setDesc->natts != COLUMNS)
		elog(ERROR, "prm.earning_count has %d columns, not %d", result->setDesc->natts, COLUMNS);
	run = prm_earning_run(PG_GETARG_INT64(0), PRM_EARNING_REPLAY, PG_GETARG_ARRAYTYPE_P(1), PG_GETARG_ARRAYTYPE_P(2));
	row_context = AllocSetContextCreate(run->context, "prm earning row", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(row_context);
	foreach (cell, run->state->entries)
	{
		const PrmCountEntry *entry = lfirst(cell);
		const PrmCountKey *key = &entry->count->key;
		bool nulls[COLUMNS] = {false};
		Datum values[COLUMNS];

		CHECK_FOR_INTERRUPTS();
		values[0] = CStringGetTextDatum(key->purpose == PRM_PURPOSE_CAP ? "cap" : "attained");
		values[1] = Int64GetDatum(key->lineage_id);
		values[2] = Int64GetDatum(key->plan_id);
		values[3] = Int64GetDatum(key->partner_id);
		values[4] = Int64GetDatum(key->customer_id);
		values[5] = CStringGetTextDatum(prm_text_of(run->state, key->credit_type));
		values[6] = DateADTGetDatum(key->window_start);
		values[7] = Int64GetDatum(entry->event_id);
		values[8] = entry->amount;
		values[9] = entry->basis;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(run->context);
	return (Datum) 0;
}
