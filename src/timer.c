/*
 * timer.c: prm._fire_timer(), which sends the event of a due timer as the system. Called by run_jobs() only.
 *
 * The system's context is a variable of the backend that no client can set (machine_context.c), so this is the one way in
 * from SQL, and it does nothing but what is due. The subject is locked before the timer, in the order in which everybody who
 * moves the subject takes the two; a subject that somebody else has is left to the next run. The timer is then claimed by
 * the UPDATE that marks it, if it still is due, so of two workers the second sends nothing. All of it runs with the caller's
 * rights, and nobody but the owner of the model may write prm.timer.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#define TIMER_ACTOR "deadline"

#define WAITING "t.fired_at IS NULL AND t.canceled_at IS NULL AND t.paused_at IS NULL AND t.due_at OPERATOR(pg_catalog.<=) $3"

extern Datum prm_fire(PG_FUNCTION_ARGS);
extern Datum prm_fire_uuid(PG_FUNCTION_ARGS);

typedef struct Timer
{
	Datum program_id;
	Datum timer_id;
	Datum now;
	char *machine;
	Datum subject; /* int8 or uuid */
	bool is_uuid;
	char *state;
	char *event;
	char *delay;
} Timer;

static void
run(const char *query, int count, Oid *types, Datum *values, int expected)
{
	if (SPI_execute_with_args(query, count, types, values, NULL, false, 0) != expected)
		elog(ERROR, "a query about a timer failed: %s", query);
}

static char *
column(int number)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number);
}

/* Reads the timer; false where there is nothing to be fired. */
static bool
read_timer(Timer *timer)
{
	Oid types[3] = {INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum values[3] = {timer->program_id, timer->timer_id, timer->now};
	bool isnull;

	run("SELECT t.machine, t.state, t.event, t.delay, t.subject_id, t.subject_uuid FROM prm.timer t"
		" WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.timer_id OPERATOR(pg_catalog.=) $2"
		" AND t.action OPERATOR(pg_catalog.=) 'event' AND " WAITING,
		3, types, values, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	timer->machine = column(1);
	timer->state = column(2);
	timer->event = column(3);
	timer->delay = column(4);
	timer->subject = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &timer->is_uuid);
	if (timer->is_uuid)
		timer->subject = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 6, &isnull);
	return true;
}

/* Locks the subject; its state, an empty text where it does not exist, NULL where another session has it. */
static char *
lock_subject(const Timer *timer)
{
	PrmTarget *target = prm_target_lookup(DatumGetInt64(timer->program_id), timer->machine);
	Oid types[2] = {INT8OID, timer->is_uuid ? UUIDOID : INT8OID};
	Datum values[2] = {timer->program_id, timer->subject};
	char *row;

	if (target == NULL || (target->key_type == UUIDOID) != timer->is_uuid)
		return "";
	row = psprintf("SELECT t.%s FROM %s t WHERE %s AND t.%s OPERATOR(pg_catalog.=) $2", quote_identifier(target->state_column),
				   quote_qualified_identifier(target->schema, target->table),
				   target->program_column == NULL
					   ? "$1 IS NOT NULL"
					   : psprintf("t.%s OPERATOR(pg_catalog.=) $1", quote_identifier(target->program_column)),
				   quote_identifier(target->key_column));
	run(psprintf("%s FOR NO KEY UPDATE SKIP LOCKED", row), 2, types, values, SPI_OK_SELECT);
	if (SPI_processed > 0)
		return column(1);
	run(row, 2, types, values, SPI_OK_SELECT);
	return SPI_processed > 0 ? NULL : "";
}

/* Marks the timer, as fired or as cancelled; false where another worker was first. */
static bool
claim(const Timer *timer, const char *outcome, const char *detail)
{
	Oid types[5] = {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum values[5] = {timer->program_id, timer->timer_id, timer->now, CStringGetTextDatum(outcome), CStringGetTextDatum(detail)};

	run("UPDATE prm.timer AS t SET outcome = $4, detail = CASE WHEN $5 OPERATOR(pg_catalog.<>) '' THEN $5 END,"
		" fired_at = CASE WHEN $4 OPERATOR(pg_catalog.=) 'fired' THEN $3 END,"
		" canceled_at = CASE WHEN $4 OPERATOR(pg_catalog.=) 'canceled' THEN $3 END,"
		" ended_at = CASE WHEN $4 OPERATOR(pg_catalog.=) 'canceled' THEN $3 END"
		" WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.timer_id OPERATOR(pg_catalog.=) $2 AND " WAITING,
		5, types, values, SPI_OK_UPDATE);
	return SPI_processed > 0;
}

static void
fire(const Timer *timer)
{
	LOCAL_FCINFO(call, 6);
	const char *outer_actor = prm_hook_actor;
	FmgrInfo function;

	/* They ask for nothing that a catalog entry would tell. */
	memset(&function, 0, sizeof(function));
	function.fn_mcxt = CurrentMemoryContext;
	InitFunctionCallInfoData(*call, &function, 6, InvalidOid, NULL, NULL);
	for (int i = 0; i < 6; i++)
		call->args[i].isnull = i == 4;
	call->args[0].value = CStringGetTextDatum(timer->machine);
	call->args[1].value = timer->subject;
	call->args[2].value = CStringGetTextDatum(timer->event);
	call->args[3].value = CStringGetTextDatum(psprintf("deadline %s", timer->delay));
	call->args[5].value = timer->program_id;
	PG_TRY();
	{
		prm_hook_actor = TIMER_ACTOR;
		(void) (timer->is_uuid ? prm_fire_uuid(call) : prm_fire(call));
	}
	PG_FINALLY();
	{
		prm_hook_actor = outer_actor;
	}
	PG_END_TRY();
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fire_timer);

/* prm._fire_timer(program_id, timer_id) -> fired, canceled, or NULL where there was nothing to be done */
Datum
prm_fire_timer(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	const char *outcome = NULL;
	Timer timer;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	prm_require_model();
	timer.program_id = PG_GETARG_DATUM(0);
	timer.timer_id = PG_GETARG_DATUM(1);
	timer.now = TimestampTzGetDatum(prm_current_time());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (read_timer(&timer))
	{
		char *state = lock_subject(&timer);

		if (state == NULL)
			outcome = NULL;
		else if (strcmp(state, timer.state) == 0)
		{
			if (claim(&timer, "fired", ""))
			{
				fire(&timer);
				outcome = "fired";
			}
		}
		else if (claim(&timer, "canceled",
					   *state == '\0' ? "its subject is gone" : psprintf("its subject was in state \"%s\"", state)))
			outcome = "canceled";
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	if (outcome == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}
