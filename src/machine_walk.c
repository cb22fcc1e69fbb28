/*
 * machine_walk.c: the statement trigger of every table with a machine, prm.machine_trigger(machine, key column, state column),
 * on an attached table with two more arguments: programme column or '', and the programme where there is no such column.
 * Owns the walk over the rows of one statement and nothing that outlives it.
 *
 * AFTER INSERT, UPDATE and DELETE, FOR EACH STATEMENT, with transition tables; TRUNCATE is refused. Old and new rows are walked
 * in lockstep; each changed state is judged by the compiled machine of the row's programme and version (machine_judge.c), and
 * the subject's key goes into the lane of its (programme, version, transition), see machine_lane.c.
 *
 * The hazards, each of which was met:
 * - Other triggers share the transition tables: private read pointers, rewound.
 * - SPI leaves its context current, and a spilled tuplestore pallocs each row in the current context: the context is
 *   switched back after SPI, and the slots are cleared before SPI_finish frees what they might hold.
 * - Old and new rows pair only while nothing moves between partitions: counts and keys are compared, differing ones refused.
 * - Nested statements (row triggers of the history, hooks) may walk, fail and be caught: all state is local, and machines are
 *   unpinned by a reset callback of the statement's context, which also runs on abort.
 * - The function writes with the rights of the model's owner: it refuses tables that are neither the owner's own in schema prm nor
 *   registered in prm.machine_target, which only that owner writes; the trigger's arguments are worth nothing without it.
 */
#include "machine_walk.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* ---- beginning --------------------------------------------------------------------------------------------------------- */

/* A column by its name, of one of the types that it may have. */
static AttrNumber
typed_column(Relation relation, const char *name, bool is_state, bool is_key, Oid *type)
{
	AttrNumber number = prm_find_column(RelationGetDescr(relation), name);
	Oid found = number == 0 ? InvalidOid : TupleDescAttr(RelationGetDescr(relation), number - 1)->atttypid;
	bool fits = is_state ? found == TEXTOID || found == VARCHAROID
						 : found == INT8OID || found == INT4OID || found == INT2OID || (is_key && found == UUIDOID);

	if (!fits)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("table \"%s\" has no column \"%s\" of type %s", RelationGetRelationName(relation), name,
							   is_state ? "text" : is_key ? "bigint, integer or uuid" : "bigint or integer"),
						errdetail("prm.machine_trigger() was told to find %s there.",
								  is_state ? "the state" : is_key ? "the key" : "the programme"),
						errhint("A table of the model: run SELECT prm.install() as the owner of schema prm. One of your own: after a "
								"column was renamed or its type changed, prm.detach_machine() and prm.attach_machine() again.")));
	if (type != NULL)
		*type = found;
	return number;
}

static AttrNumber
optional_moment(TupleDesc tupdesc, const char *name)
{
	AttrNumber number = prm_find_column(tupdesc, name);

	return number != 0 && TupleDescAttr(tupdesc, number - 1)->atttypid == TIMESTAMPTZOID ? number : 0;
}

Datum
prm_text_or_null(const char *text)
{
	return text == NULL || *text == '\0' ? (Datum) 0 : CStringGetTextDatum(text);
}

static Walk *
begin_walk(TriggerData *trigger)
{
	Relation relation = trigger->tg_relation;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "prm machine walk", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Walk *walk = palloc0(sizeof(Walk));
	char **arguments = trigger->tg_trigger->tgargs;

	if (trigger->tg_trigger->tgnargs != 3 && trigger->tg_trigger->tgnargs != 5)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.machine_trigger() needs three or five arguments"),
						errdetail("They are the machine, the key column and the state column; for an attached table also the programme "
								  "column and the programme."),
						errhint("Use prm.attach_machine(), which makes the triggers.")));

	walk->context = context;
	walk->machine = arguments[0];
	walk->tupdesc = RelationGetDescr(relation);
	walk->schema = get_namespace_name(RelationGetNamespace(relation));
	walk->table = pstrdup(RelationGetRelationName(relation));
	walk->key_name = arguments[1];
	walk->state_name = arguments[2];
	if (trigger->tg_trigger->tgnargs == 5)
	{
		/* An attached table: whether it is registered is asked for each programme that the statement touches. */
		walk->relation = prm_target_root(RelationGetRelid(relation));
		walk->program_name = *arguments[3] == '\0' ? NULL : arguments[3];
		if (walk->program_name == NULL)
			walk->program_id = strtoi64(arguments[4], NULL, 10);
	}
	else
	{
		/* It writes as the owner of the model, so only the owner's own tables may ask for it. */
		if (RelationGetNamespace(relation) != prm_schema_oid() || relation->rd_rel->relowner != prm_model_owner())
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("table \"%s\" is not registered for a state machine", RelationGetRelationName(relation)),
							errdetail("prm.machine_trigger() serves the tables of the model, and those that prm.attach_machine() "
									  "registered."),
							errhint("Drop the trigger from this table; the owner of schema prm can attach a machine to it.")));
		walk->program_name = "program_id";
	}
	if (walk->program_name != NULL)
		walk->program_column = typed_column(relation, walk->program_name, false, false, &walk->program_type);
	walk->key_column = typed_column(relation, walk->key_name, false, true, &walk->key_type);
	walk->state_column = typed_column(relation, walk->state_name, true, false, NULL);
	walk->created_column = optional_moment(walk->tupdesc, "created_at");
	walk->closed_column = optional_moment(walk->tupdesc, "closed_at");
	walk->migration = prm_hook_actor != NULL || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? NULL : prm_migrating(walk->machine);
	walk->importing = prm_importing() && prm_hook_actor == NULL;
	if (prm_firing != NULL && !prm_firing->used && strcmp(prm_firing->machine, walk->machine) == 0)
		walk->firing = prm_firing;
	walk->row_context = AllocSetContextCreate(context, "prm machine row", ALLOCSET_SMALL_SIZES);
	walk->actor = CStringGetTextDatum(prm_hook_actor != NULL ? prm_hook_actor : prm_acting_name());
	walk->reason = prm_text_or_null(prm_setting_reason);
	walk->at = prm_current_time();

	walk->unpin.func = prm_walk_unpin;
	walk->unpin.arg = walk;
	MemoryContextRegisterResetCallback(context, &walk->unpin);
	MemoryContextSwitchTo(caller);
	return walk;
}

/* ---- walking ----------------------------------------------------------------------------------------------------------- */

static void
misaligned(Walk *walk, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", what),
					errdetail("Table \"%s.%s\": the history of states is kept under the row's key (%s%s\"%s\").", walk->schema,
							  walk->table, walk->program_name != NULL ? walk->program_name : "",
							  walk->program_name != NULL ? " and " : "", walk->key_name),
					errhint("Leave the key as it is; insert a new row where a new key is needed."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, walk->schema),
					err_generic_string(PG_DIAG_TABLE_NAME, walk->table)));
}

static inline RowText
state_text(Walk *walk, TupleTableSlot *slot)
{
	bool isnull;
	Datum value = slot_getattr(slot, walk->state_column, &isnull);
	RowText result = {"", 0};

	if (!isnull)
	{
		text *content = DatumGetTextPP(value);

		result.data = VARDATA_ANY(content);
		result.length = VARSIZE_ANY_EXHDR(content);
	}
	return result;
}

/* The programme and the key of a row. */
static inline void
read_key(Walk *walk, TupleTableSlot *slot, int64 *program_id, PrmSubject *subject)
{
	PrmSubject program;

	if (walk->program_column == 0)
		program.id = walk->program_id;
	else if (!prm_subject_read(&program, slot, walk->program_column, walk->program_type))
		misaligned(walk, "the programme of a row with a state machine is NULL");
	*program_id = program.id;
	if (!prm_subject_read(subject, slot, walk->key_column, walk->key_type))
		misaligned(walk, "the key of a row with a state machine is NULL");
}

void
prm_walk_read(Walk *walk, TupleTableSlot *old_row, TupleTableSlot *new_row, WalkRow *row)
{
	row->from.data = row->to.data = "";
	row->from.length = row->to.length = 0;
	row->changed = true;
	read_key(walk, walk->new_rows != NULL ? new_row : old_row, &row->program_id, &row->subject);
	if (walk->new_rows != NULL)
		row->to = state_text(walk, new_row);
	if (walk->old_rows == NULL)
		return;
	row->from = state_text(walk, old_row);
	if (walk->new_rows != NULL)
	{
		int64 program_id;
		PrmSubject subject;

		read_key(walk, old_row, &program_id, &subject);
		if (unlikely(program_id != row->program_id || !prm_same_subject(&subject, &row->subject)))
			misaligned(walk, "the key of a row with a state machine cannot change");
		row->changed = row->from.length != row->to.length || memcmp(row->from.data, row->to.data, row->to.length) != 0 ||
					   (walk->migration != NULL && walk->migration->program_id == program_id) || prm_judge_fired(walk, row);
	}
}

static int
rewind_store(Tuplestorestate *store)
{
	int pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);

	tuplestore_select_read_pointer(store, pointer);
	tuplestore_rescan(store);
	return pointer;
}

/* The next row of the statement into the slots; false after the last one. */
static bool
next_row(Walk *walk)
{
	if (walk->new_rows != NULL && !tuplestore_gettupleslot(walk->new_rows, true, false, walk->new_slot))
		return false;
	if (walk->old_rows != NULL && !tuplestore_gettupleslot(walk->old_rows, true, false, walk->old_slot))
	{
		if (walk->new_rows != NULL)
			misaligned(walk, "the old and the new rows of the statement do not pair");
		return false;
	}
	return true;
}

static void
walk_rows(Walk *walk)
{
	if (walk->new_rows != NULL)
		walk->new_pointer = rewind_store(walk->new_rows);
	if (walk->old_rows != NULL)
		walk->old_pointer = rewind_store(walk->old_rows);
	while (next_row(walk))
	{
		WalkProgram *program = walk->program;
		WalkMachine *version;
		WalkRow row;

		if ((++walk->rows & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		prm_walk_read(walk, walk->old_slot, walk->new_slot, &row);
		if (!row.changed)
			continue;
		if (unlikely(program == NULL || program->program_id != row.program_id))
			program = walk->program = prm_walk_program(walk, row.program_id);
		version = program->machines;
		if (unlikely(version == NULL))
			continue;
		if (unlikely(program->is_migrating))
			version = prm_walk_machine(walk, program, walk->migration->version);
		else if (walk->old_rows != NULL && unlikely(prm_version_matters(program, row.from)))
			version = prm_walk_machine(walk, program, prm_walk_version(walk, &row));
		if (unlikely(walk->new_rows == NULL))
			prm_judge_deletion(walk, program, version, &row);
		else if (unlikely(program->is_migrating || walk->importing))
			prm_judge_given(walk, program, version, &row);
		else if (walk->old_rows == NULL)
			prm_judge_first(walk, program, &row);
		else
			prm_judge_change(walk, program, version, &row);
	}
}

static void
refuse_truncate(TriggerData *trigger)
{
	const char *table = RelationGetRelationName(trigger->tg_relation);

	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\" cannot be truncated while a state machine serves it", table),
					errdetail("TRUNCATE does not say which rows go, so deadlines and history would be left without them."),
					errhint("DELETE the rows; or prm.detach_machine() first, where the table is your own."),
					err_generic_string(PG_DIAG_TABLE_NAME, table)));
}

/* Is the trigger one of those that attach_machine() and the model make? */
static bool
served(TriggerData *trigger)
{
	if (!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		return false;
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		return true;
	return TRIGGER_FIRED_AFTER(trigger->tg_event) &&
		   (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || trigger->tg_newtable != NULL) &&
		   (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || trigger->tg_oldtable != NULL);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_machine_trigger);

Datum
prm_machine_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tuplestorestate *old_rows;
	Tuplestorestate *new_rows;
	Walk *walk;
	MemoryContext caller;

	if (!CALLED_AS_TRIGGER(fcinfo) || !served(trigger))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.machine_trigger() was called in a way that it does not serve"),
						errdetail("It must be fired AFTER INSERT, UPDATE or DELETE, FOR EACH STATEMENT, with transition tables."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		refuse_truncate(trigger);
	new_rows = TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? NULL : trigger->tg_newtable;
	old_rows = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_oldtable;
	if ((new_rows == NULL || tuplestore_tuple_count(new_rows) == 0) && (old_rows == NULL || tuplestore_tuple_count(old_rows) == 0))
		return PointerGetDatum(NULL);

	/* A session that holds all its locks already receives no messages by itself. */
	AcceptInvalidationMessages();
	walk = begin_walk(trigger);
	caller = MemoryContextSwitchTo(walk->context);
	walk->old_rows = old_rows;
	walk->new_rows = new_rows;
	if (old_rows != NULL && new_rows != NULL && tuplestore_tuple_count(old_rows) != tuplestore_tuple_count(new_rows))
		misaligned(walk, "the old and the new rows of the statement do not pair");
	walk->new_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);
	walk->old_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);

	walk_rows(walk);
	prm_walk_flush(walk);

	/* Before SPI_finish: a slot may hold a row that lies in a context of SPI's. */
	ExecClearTuple(walk->new_slot);
	ExecClearTuple(walk->old_slot);
	if (walk->connected)
		SPI_finish();
	MemoryContextSwitchTo(walk->context);
	prm_walk_forget(walk);
	ExecDropSingleTupleTableSlot(walk->new_slot);
	ExecDropSingleTupleTableSlot(walk->old_slot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(walk->context);
	return PointerGetDatum(NULL);
}
