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

/* Where the subjects of a machine are. */
typedef struct Subject
{
	const char *machine;
	const char *table;
	const char *key;
	SPIPlanPtr lock_plan;
	SPIPlanPtr read_plan;
	SPIPlanPtr update_plan;
} Subject;

static Subject subjects[] = {{"lead", "lead", "lead_id"}, {"deal", "deal", "deal_id"}, {"partner", "partner", "partner_id"}};

static SPIPlanPtr version_plan = NULL;

static SPIPlanPtr
kept_plan(SPIPlanPtr *plan, char *query, int argument_count)
{
	Oid types[3] = {INT8OID, INT8OID, TEXTOID};

	if (*plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(query, argument_count, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "preparing failed: %s", query);
		*plan = fresh;
	}
	return *plan;
}

static Subject *
subject_of(const PrmMachine *machine)
{
	for (int i = 0; i < lengthof(subjects); i++)
		if (strcmp(subjects[i].machine, machine->name) == 0)
			return &subjects[i];
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("machine \"%s\" serves no table", machine->name),
					errdetail("Tables with a machine are prm.lead, prm.deal and prm.partner."),
					errhint("Name one of the machines lead, deal and partner.")));
	return NULL; /* keep the compiler quiet */
}

static void
no_such_subject(const PrmMachine *machine, const Subject *subject, int64 subject_id)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("%s " INT64_FORMAT " does not exist in programme " INT64_FORMAT, machine->name, subject_id,
						   machine->program_id),
					errdetail("No row of prm.%s that you may see has this key.", subject->table),
					errhint("It may belong to another programme: pass program_id, or SET LOCAL prm.program_id."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"), err_generic_string(PG_DIAG_TABLE_NAME, subject->table)));
}

/*
 * Reads one row by one of the subject's queries into SPI_tuptable; false where the caller sees none. Read-only means with
 * the snapshot of the caller's statement, as a STABLE function reads.
 */
static bool
select_subject(SPIPlanPtr plan, int64 program_id, int64 subject_id, bool read_only)
{
	Datum values[2] = {Int64GetDatum(program_id), Int64GetDatum(subject_id)};

	if (SPI_execute_plan(plan, values, NULL, read_only, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading a subject failed");
	return SPI_processed > 0;
}

static SPIPlanPtr
read_plan(Subject *subject)
{
	return kept_plan(&subject->read_plan,
					 psprintf("SELECT t.* FROM prm.%s t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
							  " AND t.%s OPERATOR(pg_catalog.=) $2",
							  subject->table, subject->key),
					 2);
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
place_in(const PrmMachine *machine, const Subject *subject, int64 subject_id, const PrmActing *acting, TupleTableSlot *row)
{
	PrmPlace place;

	place.machine = machine;
	place.schema = "prm";
	place.table = subject->table;
	place.state_column = "state";
	place.subject_id = subject_id;
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
check_version(const PrmMachine *machine, int64 subject_id, int64 seen)
{
	PrmOwnerScope scope;
	Oid types[3] = {INT8OID, TEXTOID, INT8OID};
	Datum values[3];
	bool isnull;
	int64 last;

	values[0] = Int64GetDatum(machine->program_id);
	values[1] = machine->name_text;
	values[2] = Int64GetDatum(subject_id);
	prm_enter_owner(&scope);
	if (version_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare("SELECT pg_catalog.max(h.history_id) FROM prm.state_history h"
									  " WHERE h.program_id OPERATOR(pg_catalog.=) $1 AND h.machine OPERATOR(pg_catalog.=) $2"
									  " AND h.subject_id OPERATOR(pg_catalog.=) $3",
									  3, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing the reading of prm.state_history failed");
		version_plan = plan;
	}
	if (SPI_execute_plan(version_plan, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "reading prm.state_history failed");
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	prm_leave_owner(&scope);
	if (isnull || last != seen)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s " INT64_FORMAT " is no longer at version " INT64_FORMAT, machine->name, subject_id, seen),
						errdetail("The last entry of its history is " INT64_FORMAT ".", isnull ? 0 : last),
						errhint("Read the row again, then decide.")));
}

/* The update, with the event on its way. */
static void
update_state(Subject *subject, PrmMachine *machine, PrmFiring *firing)
{
	PrmFiring *outer = prm_firing;
	Datum values[3];
	SPIPlanPtr plan =
		kept_plan(&subject->update_plan,
				  psprintf("UPDATE prm.%s AS t SET state = $3 WHERE t.program_id OPERATOR(pg_catalog.=) $1"
						   " AND t.%s OPERATOR(pg_catalog.=) $2",
						   subject->table, subject->key),
				  3);

	values[0] = Int64GetDatum(firing->program_id);
	values[1] = Int64GetDatum(firing->subject_id);
	values[2] = firing->transition->to->name_text;
	prm_machine_pin(machine);
	PG_TRY();
	{
		int result;

		prm_firing = firing;
		result = SPI_execute_plan(plan, values, NULL, false, 0);
		if (result != SPI_OK_UPDATE && result != SPI_OK_REWRITTEN)
			elog(ERROR, "updating a subject failed: %s", SPI_result_code_string(result));
		if (SPI_processed != 1 || !firing->used)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("%s " INT64_FORMAT " did not take event \"%s\"", machine->name, firing->subject_id,
								   firing->transition->event),
							errdetail("A policy or trigger of prm.%s skipped the row or changed its state, or the machine's "
									  "trigger is missing.",
									  subject->table),
							errhint("SELECT * FROM prm.check() finds a missing trigger; look at the others with \\d prm.%s.",
									subject->table)));
	}
	PG_FINALLY();
	{
		prm_firing = outer;
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

static int64
subject_argument(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"subject_id\" is NULL"),
						errdetail("It is the key of the row, lead_id for a lead."), errhint("Pass a value.")));
	return PG_GETARG_INT64(number);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fire);

/* prm.fire(machine, subject_id, event, reason, options, program_id) -> the new state */
Datum
prm_fire(PG_FUNCTION_ARGS)
{
	int64 program_id = program_argument(fcinfo, 5);
	char *name = text_argument(fcinfo, 0, "machine");
	int64 subject_id = subject_argument(fcinfo, 1);
	char *event = text_argument(fcinfo, 2, "event");
	char *reason = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	int64 seen = PG_ARGISNULL(4) ? 0 : seen_version(PG_GETARG_JSONB_P(4));
	MemoryContext caller = CurrentMemoryContext;
	PrmFiring firing = {0};
	PrmMachine *machine;
	PrmState *from;
	Subject *subject;
	char *state;
	text *result;

	AcceptInvalidationMessages();
	subject = subject_of(prm_machine_lookup(program_id, name, false));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!select_subject(kept_plan(&subject->lock_plan,
								  psprintf("SELECT t.state FROM prm.%s t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
										   " AND t.%s OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
										   subject->table, subject->key),
								  2),
						program_id, subject_id, false))
		no_such_subject(prm_machine_lookup(program_id, name, false), subject, subject_id);
	state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

	/* While the lock was awaited, another version may have come into force. */
	AcceptInvalidationMessages();
	machine = prm_machine_lookup(program_id, name, false);
	if (!prm_machine_has_event(machine, event))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("machine \"%s\" has no event \"%s\"", name, event),
						errdetail("Version %d of programme " INT64_FORMAT " has no such event in any state.", machine->version,
								  program_id),
						errhint("SELECT * FROM prm.allowed_events('%s', " INT64_FORMAT ") lists those of the present state.", name,
								subject_id)));
	if (seen != 0)
		check_version(machine, subject_id, seen);
	from = prm_machine_state(machine, state, strlen(state));
	firing.machine = name;
	firing.program_id = program_id;
	firing.subject_id = subject_id;
	firing.reason = reason;
	firing.transition = from == NULL ? NULL : prm_state_exit(from, event);
	if (firing.transition == NULL)
	{
		PrmActing acting;
		PrmPlace place;

		/* The error lists what is allowed instead, which depends on the whole row. */
		find_acting(&acting, program_id, reason);
		if (!select_subject(read_plan(subject), program_id, subject_id, false))
			no_such_subject(machine, subject, subject_id);
		place = place_in(machine, subject, subject_id, &acting, found_row());
		if (from == NULL)
			prm_error_stranded(&place, state);
		prm_error_wrong_state(&place, from, event);
	}
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(firing.transition->to->name);
	update_state(subject, machine, &firing);
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}

/* ---- allowed_events() -------------------------------------------------------------------------------------------------- */

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_allowed_events);

/* prm.allowed_events(machine, subject_id, program_id) -> rows of prm.allowed_event */
Datum
prm_allowed_events(PG_FUNCTION_ARGS)
{
	int64 program_id = program_argument(fcinfo, 2);
	char *name = text_argument(fcinfo, 0, "machine");
	int64 subject_id = subject_argument(fcinfo, 1);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	PrmMachine *machine;
	Subject *subject;
	PrmActing acting;
	TupleTableSlot *row;
	PrmState *from;
	char *state;

	InitMaterializedSRF(fcinfo, 0);
	AcceptInvalidationMessages();
	machine = prm_machine_lookup(program_id, name, false);
	subject = subject_of(machine);
	find_acting(&acting, program_id, NULL);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!select_subject(read_plan(subject), program_id, subject_id, true))
		no_such_subject(machine, subject, subject_id);
	row = found_row();
	machine = prm_machine_lookup(program_id, name, false);
	state = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						 prm_find_column(SPI_tuptable->tupdesc, "state"));
	from = prm_machine_state(machine, state, strlen(state));
	if (from == NULL)
	{
		PrmPlace place = place_in(machine, subject, subject_id, &acting, row);

		prm_error_stranded(&place, state);
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

		prm_bind(&binding, transition, row->tts_tupleDescriptor, subject->table);
		faults = list_concat(prm_faults(&binding, &acting, row, row),
							 prm_gate_faults(machine, transition, Int64GetDatum(subject_id), INT8OID));
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
