/*
 * machine_fire.c: prm.fire() and prm.allowed_events(), the two calls about one subject.
 *
 * fire() is an ordinary UPDATE of the state, run as the caller, so that his rights, policies and triggers hold; it only says
 * beforehand which event is meant (prm_firing), for that one row and change. The row is locked first, so of two callers the
 * second sees the state that the first left behind.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"

static SPIPlanPtr seen_plans[2] = {NULL, NULL};

/* $1 programme, $2 key, $3 state */
static SPIPlanPtr
kept_plan(SPIPlanPtr *plan, char *query, int argument_count, Oid key_type)
{
	Oid types[3] = {INT8OID, key_type == UUIDOID ? UUIDOID : INT8OID, TEXTOID};

	if (*plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(query, argument_count, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "preparing failed: %s", query);
		*plan = fresh;
	}
	return *plan;
}

/* The table that the machine serves, whose keys must be of the kind that was given. */
static PrmTarget *
target_of(const PrmMachine *machine, const PrmSubject *subject)
{
	PrmTarget *target = prm_target_lookup(machine->program_id, machine->name);

	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("machine \"%s\" serves no table in programme " INT64_FORMAT, machine->name, machine->program_id),
				 errdetail("Tables with a machine are prm.lead, prm.deal, prm.partner and prm.registration, and those in prm.machine_target."),
				 errhint("SELECT prm.attach_machine('your_table', '%s') attaches it to a table of yours.", machine->name)));
	if (subject->is_uuid != (target->key_type == UUIDOID))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the keys of machine \"%s\" are %s", machine->name, subject->is_uuid ? "numbers" : "uuids"),
						errdetail("Column \"%s\" of %s.%s is of type %s.", target->key_column, target->schema, target->table,
								  OidIsValid(target->key_type) ? format_type_be(target->key_type) : "none"),
						errhint("Use prm.%s for it.", subject->is_uuid ? "fire and prm.allowed_events"
																		 : "fire_uuid and prm.allowed_events_uuid")));
	return target;
}

static void
no_such_subject(const PrmMachine *machine, const PrmTarget *target, const PrmSubject *subject)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("%s %s does not exist in programme " INT64_FORMAT, machine->name, prm_subject_text(subject),
						   machine->program_id),
					errdetail("No row of %s.%s that you may see has this key.", target->schema, target->table),
					errhint("It may belong to another programme: pass program_id, or SET LOCAL prm.program_id."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, target->schema),
					err_generic_string(PG_DIAG_TABLE_NAME, target->table)));
}

static Datum
key_datum(const PrmSubject *subject)
{
	return subject->is_uuid ? UUIDPGetDatum(&subject->uuid) : Int64GetDatum(subject->id);
}

/*
 * Reads one row by one of the target's queries into SPI_tuptable; false where the caller sees none. Read-only means with
 * the snapshot of the caller's statement, as a STABLE function reads.
 */
static bool
select_subject(SPIPlanPtr plan, int64 program_id, const PrmSubject *subject, bool read_only)
{
	Datum values[2] = {Int64GetDatum(program_id), key_datum(subject)};

	if (SPI_execute_plan(plan, values, NULL, read_only, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading a subject failed");
	return SPI_processed > 0;
}

static const char *
qualified(const PrmTarget *target)
{
	return quote_qualified_identifier(target->schema, target->table);
}

/* The row with the key, where the programme is $1 and the key $2. */
static char *
row_condition(const PrmTarget *target)
{
	char *programme = target->program_column == NULL
						  ? "$1 IS NOT NULL"
						  : psprintf("t.%s OPERATOR(pg_catalog.=) $1", quote_identifier(target->program_column));

	return psprintf("%s AND t.%s OPERATOR(pg_catalog.=) $2", programme, quote_identifier(target->key_column));
}

static SPIPlanPtr
read_plan(PrmTarget *target)
{
	return kept_plan(&target->read_plan, psprintf("SELECT t.* FROM %s t WHERE %s", qualified(target), row_condition(target)), 2,
					 target->key_type);
}

static SPIPlanPtr
lock_plan(PrmTarget *target)
{
	return kept_plan(&target->lock_plan,
					 psprintf("SELECT t.%s FROM %s t WHERE %s FOR NO KEY UPDATE", quote_identifier(target->state_column),
							  qualified(target), row_condition(target)),
					 2, target->key_type);
}

static void
find_acting(PrmActing *acting, int64 program_id, const char *reason)
{
	acting->partner_id = prm_hook_actor != NULL ? 0 : prm_acting_partner(program_id);
	acting->kind = prm_hook_actor != NULL		? PRM_ACTOR_SYSTEM
				   : acting->partner_id != 0 ? PRM_ACTOR_PARTNER
											  : PRM_ACTOR_VENDOR;
	acting->reason_given =
		(reason != NULL && *reason != '\0') || (prm_setting_reason != NULL && *prm_setting_reason != '\0');
}

/* A slot over the row that the last query found. */
static TupleTableSlot *
found_row(void)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);

	ExecStoreHeapTuple(SPI_tuptable->vals[0], slot, false);
	return slot;
}

static PrmPlace
place_in(const PrmMachine *machine, const PrmTarget *target, const PrmSubject *subject, const PrmActing *acting,
		 TupleTableSlot *row)
{
	PrmPlace place;

	place.machine = machine;
	place.schema = target->schema;
	place.table = target->table;
	place.state_column = target->state_column;
	place.subject = subject;
	place.acting = acting;
	place.old_row = row;
	place.new_row = row;
	return place;
}

/* ---- fire() ------------------------------------------------------------------------------------------------------------ */

/* The options of fire(): {"version": n}, the last entry of the subject's history that the caller saw; 0 where not given. */
static int64
seen_version(Jsonb *options)
{
	JsonbIterator *iterator = JsonbIteratorInit(&options->root);
	JsonbIteratorToken token;
	JsonbValue value;
	int64 version = 0;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options is no JSON object"),
						errdetail("The only option is version."), errhint("Pass '{}', or '{\"version\": 17}'.")));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		if (value.val.string.len != 7 || memcmp(value.val.string.val, "version", 7) != 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("unknown option \"%s\"", pnstrdup(value.val.string.val, value.val.string.len)),
							errdetail("The only option is version."), errhint("Pass '{}', or '{\"version\": 17}'.")));
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvNumeric)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"version\" is no number"),
							errdetail("It is the history_id of the last entry of the history that you saw."),
							errhint("Pass '{\"version\": 17}'.")));
		version = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
	}
	return version;
}

static void
check_version(const PrmMachine *machine, const PrmSubject *subject, int64 seen)
{
	PrmOwnerScope scope;
	SPIPlanPtr *kept = &seen_plans[subject->is_uuid];
	Oid types[3] = {INT8OID, TEXTOID, subject->is_uuid ? UUIDOID : INT8OID};
	Datum values[3];
	bool isnull;
	int64 last;

	values[0] = Int64GetDatum(machine->program_id);
	values[1] = machine->name_text;
	values[2] = key_datum(subject);
	prm_enter_owner(&scope);
	if (*kept == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(psprintf("SELECT pg_catalog.max(h.history_id) FROM prm.state_history h"
									  " WHERE h.program_id OPERATOR(pg_catalog.=) $1 AND h.machine OPERATOR(pg_catalog.=) $2"
									  " AND h.%s OPERATOR(pg_catalog.=) $3",
											   subject->is_uuid ? "subject_uuid" : "subject_id"),
									  3, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing the reading of prm.state_history failed");
		*kept = plan;
	}
	if (SPI_execute_plan(*kept, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "reading prm.state_history failed");
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	prm_leave_owner(&scope);
	if (isnull || last != seen)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s %s is no longer at version " INT64_FORMAT, machine->name, prm_subject_text(subject), seen),
						errdetail("The last entry of its history is " INT64_FORMAT ".", isnull ? 0 : last),
						errhint("Read the row again, then decide.")));
}

/* The update, with the event on its way. */
static void
update_state(PrmTarget *target, PrmMachine *machine, PrmFiring *firing)
{
	PrmFiring *outer = prm_firing;
	char *table = pstrdup(qualified(target));
	Datum values[3];
	SPIPlanPtr plan = kept_plan(&target->update_plan,
								psprintf("UPDATE %s AS t SET %s = $3 WHERE %s", table, quote_identifier(target->state_column),
										 row_condition(target)),
								3, target->key_type);

	values[0] = Int64GetDatum(firing->program_id);
	values[1] = key_datum(&firing->subject);
	values[2] = firing->transition->to->name_text;
	prm_machine_pin(machine);
	target->running++;
	PG_TRY();
	{
		int result;

		prm_firing = firing;
		result = SPI_execute_plan(plan, values, NULL, false, 0);
		if (result != SPI_OK_UPDATE && result != SPI_OK_REWRITTEN)
			elog(ERROR, "updating a subject failed: %s", SPI_result_code_string(result));
		if (SPI_processed != 1 || !firing->used)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("%s %s did not take event \"%s\"", machine->name, prm_subject_text(&firing->subject),
								   firing->transition->event),
							errdetail("A policy or trigger of %s skipped the row or changed its state, or the machine's "
									  "trigger is missing.",
									  table),
							errhint("SELECT * FROM prm.check() finds a missing trigger; look at the others with \\d %s.", table)));
	}
	PG_FINALLY();
	{
		prm_firing = outer;
		if (target->running > 0)
			target->running--;
		prm_machine_unpin(machine);
	}
	PG_END_TRY();
}

static int64
program_argument(FunctionCallInfo fcinfo, int number)
{
	int64 program_id;

	prm_require_model();
	program_id = PG_ARGISNULL(number) ? prm_chosen_program() : PG_GETARG_INT64(number);
	(void) prm_program_lookup(program_id, false);
	return program_id;
}

static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"%s\" is NULL", name),
						errdetail("It says what is to be done, so it has no default."), errhint("Pass a value.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static PrmSubject
subject_argument(FunctionCallInfo fcinfo, int number, bool is_uuid)
{
	PrmSubject subject = {0};

	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("parameter \"%s\" is NULL", is_uuid ? "subject_uuid" : "subject_id"),
						errdetail("It is the key of the row, lead_id for a lead."), errhint("Pass a value.")));
	subject.is_uuid = is_uuid;
	if (is_uuid)
		subject.uuid = *PG_GETARG_UUID_P(number);
	else
		subject.id = PG_GETARG_INT64(number);
	return subject;
}

/* (machine, key, event, reason, options, program_id) -> the new state */
static Datum
fire(FunctionCallInfo fcinfo, bool is_uuid)
{
	int64 program_id = program_argument(fcinfo, 5);
	char *name = text_argument(fcinfo, 0, "machine");
	PrmSubject subject = subject_argument(fcinfo, 1, is_uuid);
	char *event = text_argument(fcinfo, 2, "event");
	char *reason = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	int64 seen = PG_ARGISNULL(4) ? 0 : seen_version(PG_GETARG_JSONB_P(4));
	MemoryContext caller = CurrentMemoryContext;
	PrmFiring firing = {0};
	PrmMachine *machine;
	PrmState *from;
	PrmTarget *target;
	char *state;
	text *result;

	AcceptInvalidationMessages();
	machine = prm_machine_lookup(program_id, name, false);
	target = target_of(machine, &subject);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!select_subject(lock_plan(target), program_id, &subject, false))
		no_such_subject(prm_machine_lookup(program_id, name, false), target, &subject);
	state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

	/* While the lock was awaited, another version may have come into force, or the row been moved to one. */
	AcceptInvalidationMessages();
	machine = prm_machine_of_subject(prm_machine_lookup(program_id, name, false), &subject);
	target = target_of(machine, &subject);
	if (!prm_machine_has_event(machine, event))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("machine \"%s\" has no event \"%s\"", name, event),
						errdetail("Version %d of programme " INT64_FORMAT ", which %s %s is on, has no such event in any state.",
								  machine->version, program_id, name, prm_subject_text(&subject)),
						errhint(is_uuid ? "SELECT * FROM prm.allowed_events_uuid('%s', '%s') lists those of the present state."
										  : "SELECT * FROM prm.allowed_events('%s', %s) lists those of the present state.",
								name, prm_subject_text(&subject))));
	if (seen != 0)
		check_version(machine, &subject, seen);
	from = state == NULL ? NULL : prm_machine_state(machine, state, strlen(state));
	firing.machine = name;
	firing.program_id = program_id;
	firing.subject = subject;
	firing.reason = reason;
	firing.transition = from == NULL ? NULL : prm_state_exit(from, event);
	if (firing.transition == NULL)
	{
		PrmActing acting;
		PrmPlace place;

		/* The error lists what is allowed instead, which depends on the whole row. */
		find_acting(&acting, program_id, reason);
		if (!select_subject(read_plan(target), program_id, &subject, false))
			no_such_subject(machine, target, &subject);
		place = place_in(machine, target, &subject, &acting, found_row());
		if (from == NULL)
			prm_error_stranded(&place, state == NULL ? "" : state);
		prm_error_wrong_state(&place, from, event);
	}
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(firing.transition->to->name);
	update_state(target, machine, &firing);
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fire);
PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fire_uuid);

/* prm.fire(machine, subject_id, event, reason, options, program_id) */
Datum
prm_fire(PG_FUNCTION_ARGS)
{
	return fire(fcinfo, false);
}

/* prm.fire_uuid(machine, subject_uuid, event, reason, options, program_id) */
Datum
prm_fire_uuid(PG_FUNCTION_ARGS)
{
	return fire(fcinfo, true);
}

/* ---- allowed_events() -------------------------------------------------------------------------------------------------- */

/* (machine, key, program_id) -> rows of prm.allowed_event */
static Datum
allowed_events(FunctionCallInfo fcinfo, bool is_uuid)
{
	int64 program_id = program_argument(fcinfo, 2);
	char *name = text_argument(fcinfo, 0, "machine");
	PrmSubject subject = subject_argument(fcinfo, 1, is_uuid);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	PrmMachine *machine;
	PrmTarget *target;
	PrmActing acting;
	TupleTableSlot *row;
	PrmState *from;
	char *state;

	InitMaterializedSRF(fcinfo, 0);
	AcceptInvalidationMessages();
	target = target_of(prm_machine_lookup(program_id, name, false), &subject);
	find_acting(&acting, program_id, NULL);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!select_subject(read_plan(target), program_id, &subject, true))
		no_such_subject(prm_machine_lookup(program_id, name, false), target, &subject);
	row = found_row();
	state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						 prm_find_column(SPI_tuptable->tupdesc, target->state_column));
	machine = prm_machine_of_subject(prm_machine_lookup(program_id, name, false), &subject);
	from = state == NULL ? NULL : prm_machine_state(machine, state, strlen(state));
	if (from == NULL)
	{
		PrmPlace place = place_in(machine, target, &subject, &acting, row);

		prm_error_stranded(&place, state == NULL ? "" : state);
	}
	for (int i = 0; i < from->exit_count; i++)
	{
		PrmTransition *transition = from->exits[i];
		PrmBinding binding;
		List *faults;
		Datum *reasons;
		int count = 0;
		ListCell *cell;
		Datum values[5];
		bool nulls[5] = {false};

		prm_bind(&binding, transition, row->tts_tupleDescriptor, target->table);
		faults = list_concat(prm_faults(&binding, &acting, row, row), prm_gate_faults(machine, transition, &subject));
		reasons = palloc(sizeof(Datum) * Max(list_length(faults), 1));
		foreach (cell, faults)
			reasons[count++] = CStringGetTextDatum(((PrmFault *) lfirst(cell))->text);
		values[0] = transition->event_text;
		values[1] = transition->to->name_text;
		values[2] = BoolGetDatum(count == 0);
		values[3] = PointerGetDatum(construct_array(reasons, count, TEXTOID, -1, false, TYPALIGN_INT));
		values[4] = BoolGetDatum(transition->needs_reason);
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	ExecDropSingleTupleTableSlot(row);
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_allowed_events);
PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_allowed_events_uuid);

/* prm.allowed_events(machine, subject_id, program_id) */
Datum
prm_allowed_events(PG_FUNCTION_ARGS)
{
	return allowed_events(fcinfo, false);
}

/* prm.allowed_events_uuid(machine, subject_uuid, program_id) */
Datum
prm_allowed_events_uuid(PG_FUNCTION_ARGS)
{
	return allowed_events(fcinfo, true);
}
