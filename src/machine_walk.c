/*
 * machine_walk.c: the statement trigger of every table with a machine, prm.machine_trigger(machine, key column, state column).
 * Owns the walk over the rows of one statement and nothing that outlives it.
 *
 * AFTER INSERT and AFTER UPDATE, FOR EACH STATEMENT, with transition tables. Old and new rows are walked in lockstep; each
 * changed state is judged by the compiled machine of the row's programme, and the subject's id goes into the lane of its
 * (programme, transition), see machine_lane.c.
 *
 * The hazards, each of which was met:
 * - Other triggers share the transition tables: private read pointers, rewound.
 * - SPI leaves its context current, and a spilled tuplestore pallocs each row in the current context: the context is
 *   switched back after SPI, and the slots are cleared before SPI_finish frees what they might hold.
 * - Old and new rows pair only while nothing moves between partitions: counts and keys are compared, differing ones refused.
 * - Nested statements (row triggers of the history, hooks) may walk, fail and be caught: all state is local, and machines are
 *   unpinned by a reset callback of the statement's context, which also runs on abort.
 * - The function writes with the rights of the model's owner: it refuses tables that are not the owner's own in schema prm.
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

typedef struct RowText
{
	const char *data;
	int length;
} RowText;

/* ---- beginning --------------------------------------------------------------------------------------------------------- */

static AttrNumber
typed_column(Relation relation, const char *name, Oid type)
{
	AttrNumber number = prm_find_column(RelationGetDescr(relation), name);

	if (number == 0 || TupleDescAttr(RelationGetDescr(relation), number - 1)->atttypid != type)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("table \"%s\" has no column \"%s\" of type %s", RelationGetRelationName(relation), name,
							   format_type_be(type)),
						errdetail("prm.machine_trigger() was told to find the subject and its state there."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	return number;
}

static AttrNumber
optional_moment(TupleDesc tupdesc, const char *name)
{
	AttrNumber number = prm_find_column(tupdesc, name);

	return number != 0 && TupleDescAttr(tupdesc, number - 1)->atttypid == TIMESTAMPTZOID ? number : 0;
}

static Datum
text_or_null(const char *text)
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

	/* It writes as the owner of the model, so only the owner's own tables may ask for it. */
	if (RelationGetNamespace(relation) != prm_schema_oid() || relation->rd_rel->relowner != prm_model_owner())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("table \"%s\" is not registered for a state machine", RelationGetRelationName(relation)),
						errdetail("prm.machine_trigger() serves only tables in schema prm that belong to the schema's owner."),
						errhint("Drop the trigger from this table.")));
	if (trigger->tg_trigger->tgnargs != 3)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.machine_trigger() needs three arguments"),
						errdetail("They are the machine, the key column and the state column."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	walk->context = context;
	walk->machine = trigger->tg_trigger->tgargs[0];
	walk->tupdesc = RelationGetDescr(relation);
	walk->schema = get_namespace_name(RelationGetNamespace(relation));
	walk->table = pstrdup(RelationGetRelationName(relation));
	walk->program_column = typed_column(relation, "program_id", INT8OID);
	walk->key_column = typed_column(relation, trigger->tg_trigger->tgargs[1], INT8OID);
	walk->state_column = typed_column(relation, trigger->tg_trigger->tgargs[2], TEXTOID);
	walk->created_column = optional_moment(walk->tupdesc, "created_at");
	walk->closed_column = optional_moment(walk->tupdesc, "closed_at");
	walk->importing = prm_importing() && prm_hook_actor == NULL;
	if (prm_firing != NULL && !prm_firing->used && strcmp(prm_firing->machine, walk->machine) == 0)
		walk->firing = prm_firing;
	walk->row_context = AllocSetContextCreate(context, "prm machine row", ALLOCSET_SMALL_SIZES);
	walk->actor = CStringGetTextDatum(prm_hook_actor != NULL ? prm_hook_actor : prm_acting_name());
	walk->reason = text_or_null(prm_setting_reason);
	walk->at = prm_current_time();

	walk->unpin.func = prm_walk_unpin;
	walk->unpin.arg = walk;
	MemoryContextRegisterResetCallback(context, &walk->unpin);
	MemoryContextSwitchTo(caller);
	return walk;
}

/* ---- judging ----------------------------------------------------------------------------------------------------------- */

static PrmPlace
place_of(Walk *walk, WalkProgram *program, int64 subject_id, bool has_old)
{
	PrmPlace place;

	place.machine = program->machine;
	place.schema = walk->schema;
	place.table = walk->table;
	place.state_column = NameStr(TupleDescAttr(walk->tupdesc, walk->state_column - 1)->attname);
	place.subject_id = subject_id;
	place.acting = &program->acting;
	place.old_row = has_old ? walk->old_slot : NULL;
	place.new_row = walk->new_slot;
	return place;
}

static inline PrmState *
find_state(const PrmMachine *machine, PrmState **last, RowText name)
{
	PrmState *state = *last;

	if (likely(state != NULL && state->length == name.length && memcmp(state->name, name.data, name.length) == 0))
		return state;
	state = prm_machine_state(machine, name.data, name.length);
	if (state != NULL)
		*last = state;
	return state;
}

static bool
legal(Walk *walk, WalkProgram *program, Lane *lane, bool has_old)
{
	bool result;
	MemoryContext caller;

	if (likely(lane->always_legal))
		return true;
	caller = MemoryContextSwitchTo(walk->row_context);
	result = prm_may_take(&lane->binding, &program->acting, has_old ? walk->old_slot : NULL, walk->new_slot);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(walk->row_context);
	return result;
}

/* An import: any state that the machine knows, at the moment that the row itself tells, without the path. */
static void
take_imported(Walk *walk, WalkProgram *program, int64 subject_id, bool has_old, RowText from, RowText to)
{
	PrmState *state = find_state(program->machine, &program->last_to, to);
	TimestampTz moment = walk->at;
	Lane *lane;
	bool isnull = true;
	Datum value = 0;

	if (state == NULL)
	{
		PrmPlace place = place_of(walk, program, subject_id, has_old);

		prm_error_unknown_state(&place, pnstrdup(to.data, to.length));
	}
	if (walk->closed_column != 0 && state->is_final)
		value = slot_getattr(walk->new_slot, walk->closed_column, &isnull);
	if (isnull && walk->created_column != 0)
		value = slot_getattr(walk->new_slot, walk->created_column, &isnull);
	if (!isnull)
		moment = DatumGetTimestampTz(value);

	lane = prm_walk_imported_lane(walk, program, state, has_old ? from.data : NULL, from.length);
	prm_walk_append(walk, program, lane, subject_id, moment);
}

static void
take_first_state(Walk *walk, WalkProgram *program, int64 subject_id, RowText to)
{
	PrmState *state = find_state(program->machine, &program->last_to, to);
	Lane *lane;

	if (unlikely(state == NULL || !state->is_initial))
	{
		PrmPlace place = place_of(walk, program, subject_id, false);
		char *name = pnstrdup(to.data, to.length);

		if (state == NULL)
			prm_error_unknown_state(&place, name);
		prm_error_not_initial(&place, name);
	}
	lane = prm_walk_lane(walk, program, state->entry);
	if (unlikely(!legal(walk, program, lane, false)))
	{
		PrmPlace place = place_of(walk, program, subject_id, false);

		prm_error_refused(&place, state->entry);
	}
	prm_walk_append(walk, program, lane, subject_id, 0);
}

/* Does the event on its way fit this change exactly? */
static bool
fired(Walk *walk, int64 program_id, int64 subject_id, RowText from, RowText to)
{
	PrmFiring *firing = walk->firing;

	return firing != NULL && !firing->used && firing->subject_id == subject_id && firing->program_id == program_id &&
		   firing->transition->from->length == from.length &&
		   memcmp(firing->transition->from->name, from.data, from.length) == 0 &&
		   firing->transition->to->length == to.length && memcmp(firing->transition->to->name, to.data, to.length) == 0;
}

/* Several events lead there, or the one that does is refused: the one legal event counts, everything else is an error. */
static PrmTransition *
only_legal(Walk *walk, WalkProgram *program, int64 subject_id, PrmState *from, PrmState *to)
{
	PrmTransition *chosen = NULL;
	PrmTransition *nearest = NULL; /* the first whose actor fits, else the first */
	PrmPlace place = place_of(walk, program, subject_id, true);

	for (int i = 0; i < from->exit_count; i++)
	{
		PrmTransition *transition = from->exits[i];

		if (transition->to != to)
			continue;
		if (legal(walk, program, prm_walk_lane(walk, program, transition), true))
		{
			if (chosen != NULL)
				prm_error_ambiguous(&place, from, to);
			chosen = transition;
		}
		if (nearest == NULL || (!prm_actor_allowed(nearest, &program->acting) && prm_actor_allowed(transition, &program->acting)))
			nearest = transition;
	}
	if (chosen != NULL)
		return chosen;
	if (nearest == NULL)
		prm_error_no_event(&place, from, to);
	prm_error_refused(&place, nearest);
	return NULL; /* keep the compiler quiet */
}

static void
take_change(Walk *walk, WalkProgram *program, int64 subject_id, RowText from_name, RowText to_name)
{
	PrmMachine *machine = program->machine;
	PrmState *from = find_state(machine, &program->last_from, from_name);
	PrmState *to = find_state(machine, &program->last_to, to_name);
	PrmTransition *transition = NULL;
	int ways = 0;

	if (unlikely(from == NULL || to == NULL))
	{
		PrmPlace place = place_of(walk, program, subject_id, true);

		if (to == NULL)
			prm_error_unknown_state(&place, pnstrdup(to_name.data, to_name.length));
		prm_error_stranded(&place, pnstrdup(from_name.data, from_name.length));
	}
	if (unlikely(fired(walk, program->program_id, subject_id, from_name, to_name)))
	{
		PrmPlace place = place_of(walk, program, subject_id, true);

		if (walk->firing->reason != NULL && *walk->firing->reason != '\0')
		{
			walk->reason = text_or_null(walk->firing->reason);
			program->acting.reason_given = true;
		}
		transition = prm_state_exit(from, walk->firing->transition->event);
		if (transition == NULL || transition->to != to)
			prm_error_wrong_state(&place, from, walk->firing->transition->event);
		if (!legal(walk, program, prm_walk_lane(walk, program, transition), true))
			prm_error_refused(&place, transition);
		walk->firing->used = true;
		prm_walk_append(walk, program, prm_walk_lane(walk, program, transition), subject_id, 0);
		return;
	}
	for (int i = 0; i < from->exit_count; i++)
		if (from->exits[i]->to == to && ways++ == 0)
			transition = from->exits[i];
	if (unlikely(ways != 1 || !legal(walk, program, prm_walk_lane(walk, program, transition), true)))
		transition = only_legal(walk, program, subject_id, from, to);
	prm_walk_append(walk, program, prm_walk_lane(walk, program, transition), subject_id, 0);
}

/* ---- walking ----------------------------------------------------------------------------------------------------------- */

static void
misaligned(Walk *walk, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", what),
					errdetail("Table \"%s.%s\": the history of states is kept under the row's key (program_id and \"%s\").",
							  walk->schema, walk->table,
							  NameStr(TupleDescAttr(walk->tupdesc, walk->key_column - 1)->attname)),
					errhint("Leave the key as it is; insert a new row where a new key is needed."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, walk->schema),
					err_generic_string(PG_DIAG_TABLE_NAME, walk->table)));
}

static RowText
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

static void
rewind_store(Tuplestorestate *store)
{
	tuplestore_select_read_pointer(store, tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND));
	tuplestore_rescan(store);
}

static void
walk_rows(Walk *walk, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	int64 rows = 0;

	rewind_store(new_rows);
	if (old_rows != NULL)
		rewind_store(old_rows);
	while (tuplestore_gettupleslot(new_rows, true, false, walk->new_slot))
	{
		bool isnull;
		int64 program_id = DatumGetInt64(slot_getattr(walk->new_slot, walk->program_column, &isnull));
		int64 subject_id = DatumGetInt64(slot_getattr(walk->new_slot, walk->key_column, &isnull));
		RowText to = state_text(walk, walk->new_slot);
		RowText from = {"", 0};

		if ((++rows & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		if (old_rows != NULL)
		{
			if (!tuplestore_gettupleslot(old_rows, true, false, walk->old_slot))
				misaligned(walk, "the old and the new rows of the statement do not pair");
			if (unlikely(DatumGetInt64(slot_getattr(walk->old_slot, walk->program_column, &isnull)) != program_id ||
						 DatumGetInt64(slot_getattr(walk->old_slot, walk->key_column, &isnull)) != subject_id))
				misaligned(walk, "the key of a row with a state machine cannot change");
			from = state_text(walk, walk->old_slot);
			if (from.length == to.length && memcmp(from.data, to.data, to.length) == 0 &&
				!fired(walk, program_id, subject_id, from, to))
				continue;
		}
		if (unlikely(walk->program == NULL || walk->program->program_id != program_id))
			walk->program = prm_walk_program(walk, program_id);
		if (unlikely(walk->importing))
			take_imported(walk, walk->program, subject_id, old_rows != NULL, from, to);
		else if (old_rows == NULL)
			take_first_state(walk, walk->program, subject_id, to);
		else
			take_change(walk, walk->program, subject_id, from, to);
	}
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

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL ||
		!(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		  (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && trigger->tg_oldtable != NULL)))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.machine_trigger() was called in a way that it does not serve"),
						errdetail("It must be fired AFTER INSERT or AFTER UPDATE, FOR EACH STATEMENT, with transition tables."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	new_rows = trigger->tg_newtable;
	old_rows = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_oldtable : NULL;
	if (tuplestore_tuple_count(new_rows) == 0 && (old_rows == NULL || tuplestore_tuple_count(old_rows) == 0))
		return PointerGetDatum(NULL);

	/* A session that holds all its locks already receives no messages by itself. */
	AcceptInvalidationMessages();
	walk = begin_walk(trigger);
	caller = MemoryContextSwitchTo(walk->context);
	if (old_rows != NULL && tuplestore_tuple_count(old_rows) != tuplestore_tuple_count(new_rows))
		misaligned(walk, "the old and the new rows of the statement do not pair");
	walk->new_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);
	if (old_rows != NULL)
		walk->old_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);

	walk_rows(walk, old_rows, new_rows);
	prm_walk_flush(walk);

	/* Before SPI_finish: a slot may hold a row that lies in a context of SPI's. */
	ExecClearTuple(walk->new_slot);
	if (walk->old_slot != NULL)
		ExecClearTuple(walk->old_slot);
	if (walk->connected)
		SPI_finish();
	MemoryContextSwitchTo(walk->context);
	ExecDropSingleTupleTableSlot(walk->new_slot);
	if (walk->old_slot != NULL)
		ExecDropSingleTupleTableSlot(walk->old_slot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(walk->context);
	return PointerGetDatum(NULL);
}
