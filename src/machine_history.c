/*
 * machine_history.c: writes prm.state_history and calls the hook. Called by the walk only.
 *
 * The rows of one batch belong to one programme and one transition, so only the ids of the subjects (and, in an import,
 * the moments) differ from row to row: they are handed over as arrays and unnested in the target list, which streams, while
 * unnest() in FROM would fill a tuplestore first. It is an ordinary INSERT through a kept plan as the owner of the model, so
 * checks, row triggers, partition routing, logical decoding and audit see it. Its count is compared with the batch, so that
 * a trigger or rule that swallows history rows is found.
 *
 * The caller has connected SPI. SPI leaves its own memory context current, so it is switched back after each call.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define HISTORY_COLUMNS                                                                                                  \
	"INSERT INTO prm.state_history (program_id, machine, machine_version, event, from_state, to_state, actor, actor_kind,"   \
	" partner_id, reason, at, "

typedef enum HistoryPlan
{
	ONE_ROW,
	MANY_ROWS,
	IMPORTED_ROWS
} HistoryPlan;

static const char *const history_queries[2][3] = {
	{HISTORY_COLUMNS "subject_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $11)",
	 HISTORY_COLUMNS "subject_id) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, pg_catalog.unnest($11)",
	 HISTORY_COLUMNS
	 "subject_id) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, pg_catalog.unnest($12), pg_catalog.unnest($11)"},
	{HISTORY_COLUMNS "subject_uuid) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, $11)",
	 HISTORY_COLUMNS "subject_uuid) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12, pg_catalog.unnest($11)",
	 HISTORY_COLUMNS
	 "subject_uuid) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, pg_catalog.unnest($12), pg_catalog.unnest($11)"}};

/* The last index says whether they run under the caller's search_path. A plan is made anew when the path changes. */
static SPIPlanPtr history_plans[2][3][2];
static SPIPlanPtr hook_plan = NULL;
static SPIPlanPtr import_plan = NULL;
static SPIPlanPtr delete_plans[2];

bool prm_history_deleting = false;

static const char *const hook_query = "SELECT prm._state_entered($1, $2, $3, $4, $5, $6, $7, $8, $9)";

static const char *const import_query = "SELECT prm._timers_imported($1, $2, $3, $4, $5, $6, $7, $8, $9)";

static const char *const delete_queries[2] = {
	"DELETE FROM prm.state_history AS h WHERE h.program_id OPERATOR(pg_catalog.=) $1 AND h.machine OPERATOR(pg_catalog.=) $2"
	" AND h.subject_id OPERATOR(pg_catalog.=) ANY ($3)",
	"DELETE FROM prm.state_history AS h WHERE h.program_id OPERATOR(pg_catalog.=) $1 AND h.machine OPERATOR(pg_catalog.=) $2"
	" AND h.subject_uuid OPERATOR(pg_catalog.=) ANY ($3)"};

static Datum
array_of(const void *values, Size width, int count, Oid type)
{
	Size size = ARR_OVERHEAD_NONULLS(1) + width * count;
	ArrayType *array = palloc(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = type;
	ARR_DIMS(array)[0] = count;
	ARR_LBOUND(array)[0] = 1;
	memcpy(ARR_DATA_PTR(array), values, width * count);
	return PointerGetDatum(array);
}

/* Keys as they lie in memory, as an array of bigint or uuid. */
Datum
prm_subject_array(const void *subjects, int count, bool is_uuid)
{
	return is_uuid ? array_of(subjects, UUID_LEN, count, UUIDOID) : array_of(subjects, sizeof(int64), count, INT8OID);
}

static Datum
or_null(Datum value, char *null)
{
	*null = value == (Datum) 0 ? 'n' : ' ';
	return value;
}

void
prm_history_write(const PrmHistoryBatch *batch)
{
	HistoryPlan kind = batch->moments != NULL ? IMPORTED_ROWS : batch->count > 1 ? MANY_ROWS : ONE_ROW;
	MemoryContext caller = CurrentMemoryContext;
	/* A hook has the path pinned already. */
	bool keeps_path = prm_hook_actor == NULL && prm_history_is_plain();
	SPIPlanPtr *kept = &history_plans[batch->is_uuid][kind][keeps_path];
	PrmOwnerScope scope;
	Datum values[12];
	char nulls[12];
	int result;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(batch->machine->program_id);
	values[1] = batch->machine->name_text;
	values[2] = Int32GetDatum(batch->machine->version);
	values[3] = or_null(batch->event, &nulls[3]);
	values[4] = or_null(batch->from, &nulls[4]);
	values[5] = batch->to;
	values[6] = batch->actor;
	values[7] = CStringGetTextDatum(batch->actor_kind);
	values[8] = Int64GetDatum(batch->partner_id);
	nulls[8] = batch->partner_id == 0 ? 'n' : ' ';
	values[9] = or_null(batch->reason, &nulls[9]);
	if (kind != ONE_ROW)
		values[10] = prm_subject_array(batch->subjects, batch->count, batch->is_uuid);
	else if (batch->is_uuid)
		values[10] = UUIDPGetDatum((pg_uuid_t *) batch->subjects);
	else
		values[10] = Int64GetDatum(*(int64 *) batch->subjects);
	values[11] = kind == IMPORTED_ROWS ? array_of(batch->moments, sizeof(TimestampTz), batch->count, TIMESTAMPTZOID)
									   : TimestampTzGetDatum(batch->at);

	if (keeps_path)
		prm_enter_owner_rights(&scope);
	else
		prm_enter_owner(&scope);
	if (*kept == NULL)
	{
		Oid types[12] = {INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID};
		SPIPlanPtr plan;

		types[10] = kind == ONE_ROW ? (batch->is_uuid ? UUIDOID : INT8OID) : (batch->is_uuid ? UUIDARRAYOID : INT8ARRAYOID);
		types[11] = kind == IMPORTED_ROWS ? TIMESTAMPTZARRAYOID : TIMESTAMPTZOID;
		plan = SPI_prepare(history_queries[batch->is_uuid][kind], 12, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", history_queries[batch->is_uuid][kind]);
		*kept = plan;
	}
	result = SPI_execute_plan(*kept, values, nulls, false, 0);
	if (result != SPI_OK_INSERT && result != SPI_OK_REWRITTEN)
		elog(ERROR, "writing prm.state_history failed: %s", SPI_result_code_string(result));
	if (SPI_processed != batch->count)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the history of states was not written"),
						errdetail("%d rows were to be written to prm.state_history, " UINT64_FORMAT " were.", batch->count,
								  SPI_processed),
						errhint("A trigger or rule on prm.state_history swallows rows; drop it.")));
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
	if (kind != ONE_ROW)
		pfree(DatumGetPointer(values[10]));
	if (kind == IMPORTED_ROWS)
		pfree(DatumGetPointer(values[11]));
}

/*
 * Calls prm._state_entered() for a batch whose history is written: messages, and what a transition creates. The hook acts
 * as the system, in the name of who caused the change.
 */
void
prm_history_call_hook(const PrmHistoryBatch *batch)
{
	const char *outer_actor = prm_hook_actor;
	PrmFiring *outer_firing = prm_firing;
	MemoryContext caller = CurrentMemoryContext;
	Oid types[9] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID, UUIDARRAYOID, TEXTOID, TIMESTAMPTZOID};
	PrmOwnerScope scope;
	Datum values[9];
	char nulls[9];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(batch->machine->program_id);
	values[1] = batch->machine->name_text;
	values[2] = or_null(batch->event, &nulls[2]);
	values[3] = or_null(batch->from, &nulls[3]);
	values[4] = or_null(batch->to, &nulls[4]);
	values[5] = or_null(batch->is_uuid ? 0 : prm_subject_array(batch->subjects, batch->count, false), &nulls[5]);
	values[6] = or_null(batch->is_uuid ? prm_subject_array(batch->subjects, batch->count, true) : 0, &nulls[6]);
	values[7] = batch->actor;
	values[8] = TimestampTzGetDatum(batch->at);

	prm_enter_owner(&scope);
	if (hook_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(hook_query, 9, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", hook_query);
		hook_plan = plan;
	}
	PG_TRY();
	{
		prm_hook_actor = TextDatumGetCString(batch->actor);
		prm_firing = NULL;
		if (SPI_execute_plan(hook_plan, values, nulls, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "calling prm._state_entered failed");
	}
	PG_FINALLY();
	{
		prm_hook_actor = outer_actor;
		prm_firing = outer_firing;
	}
	PG_END_TRY();
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
}

/* Starts the clocks of imported rows, and nothing else: an import is not what hooks and messages are about. */
void
prm_history_start_clocks(const PrmHistoryBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[9] = {INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT8ARRAYOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID};
	PrmOwnerScope scope;
	Datum values[9];
	char nulls[9];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(batch->machine->program_id);
	values[1] = batch->machine->name_text;
	values[2] = Int32GetDatum(batch->machine->version);
	values[3] = or_null(batch->from, &nulls[3]);
	values[4] = batch->to;
	values[5] = or_null(batch->is_uuid ? 0 : prm_subject_array(batch->subjects, batch->count, false), &nulls[5]);
	values[6] = or_null(batch->is_uuid ? prm_subject_array(batch->subjects, batch->count, true) : 0, &nulls[6]);
	values[7] = array_of(batch->moments, sizeof(TimestampTz), batch->count, TIMESTAMPTZOID);
	values[8] = TimestampTzGetDatum(batch->at);
	prm_enter_owner(&scope);
	if (import_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(import_query, 9, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", import_query);
		import_plan = plan;
	}
	if (SPI_execute_plan(import_plan, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "calling prm._timers_imported failed");
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
}

/* Deletes the history of deleted rows, where the machine's definition says so. */
void
prm_history_delete(const PrmHistoryBatch *batch)
{
	SPIPlanPtr *kept = &delete_plans[batch->is_uuid];
	bool outer = prm_history_deleting;
	MemoryContext caller = CurrentMemoryContext;
	PrmOwnerScope scope;
	Datum values[3];

	values[0] = Int64GetDatum(batch->machine->program_id);
	values[1] = batch->machine->name_text;
	values[2] = prm_subject_array(batch->subjects, batch->count, batch->is_uuid);
	prm_enter_owner(&scope);
	if (*kept == NULL)
	{
		Oid types[3] = {INT8OID, TEXTOID, batch->is_uuid ? UUIDARRAYOID : INT8ARRAYOID};
		SPIPlanPtr plan = SPI_prepare(delete_queries[batch->is_uuid], 3, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", delete_queries[batch->is_uuid]);
		*kept = plan;
	}
	PG_TRY();
	{
		int result;

		prm_history_deleting = true;
		result = SPI_execute_plan(*kept, values, NULL, false, 0);
		if (result != SPI_OK_DELETE && result != SPI_OK_REWRITTEN)
			elog(ERROR, "deleting from prm.state_history failed: %s", SPI_result_code_string(result));
	}
	PG_FINALLY();
	{
		prm_history_deleting = outer;
	}
	PG_END_TRY();
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
}
