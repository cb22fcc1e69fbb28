/*
 * timer.c: prm._fire_timer(), which sends the event of a due timer as the system. Called by run_jobs() only.
 *
 * The system's context is a variable of the backend that no client can set (machine_context.c), so this is the one way in
 * from SQL, and it does nothing but what is due: the timer's row is claimed by the UPDATE that marks it, by its own state and
 * prm.now(). Of two workers the second finds the mark and sends nothing. The UPDATE runs with the caller's rights, and nobody
 * but the owner of the model may write prm.timer.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define TIMER_ACTOR "deadline"

extern Datum prm_fire(PG_FUNCTION_ARGS);

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fire_timer);

Datum
prm_fire_timer(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, 6);
	MemoryContext caller = CurrentMemoryContext;
	const char *outer_actor = prm_hook_actor;
	Oid types[3] = {INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum values[3];
	bool isnull;
	char *machine;
	char *event;
	char *delay;
	int64 subject_id;
	volatile Datum state = (Datum) 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	prm_require_model();
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = TimestampTzGetDatum(prm_current_time());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE prm.timer AS t SET fired_at = $3, outcome = 'fired'"
							  " WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.timer_id OPERATOR(pg_catalog.=) $2"
							  " AND t.action OPERATOR(pg_catalog.=) 'event' AND t.due_at OPERATOR(pg_catalog.<=) $3"
							  " AND t.fired_at IS NULL AND t.canceled_at IS NULL AND t.paused_at IS NULL"
							  " RETURNING t.machine, t.subject_id, t.event, t.delay",
							  3, types, values, NULL, false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "marking a timer failed");
	if (SPI_processed == 0)
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	MemoryContextSwitchTo(caller);
	machine = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	subject_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	event = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	delay = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4);
	SPI_finish();

	InitFunctionCallInfoData(*call, fcinfo->flinfo, 6, InvalidOid, NULL, NULL);
	for (int i = 0; i < 6; i++)
		call->args[i].isnull = false;
	call->args[0].value = CStringGetTextDatum(machine);
	call->args[1].value = Int64GetDatum(subject_id);
	call->args[2].value = CStringGetTextDatum(event);
	call->args[3].value = CStringGetTextDatum(psprintf("deadline %s", delay));
	call->args[4].isnull = true;
	call->args[5].value = values[0];
	PG_TRY();
	{
		prm_hook_actor = TIMER_ACTOR;
		state = prm_fire(call);
	}
	PG_FINALLY();
	{
		prm_hook_actor = outer_actor;
	}
	PG_END_TRY();
	PG_RETURN_DATUM(state);
}
