/*
 * machine_lane.c: what a statement's walk collects. Owns the programmes that the statement touches, with the machine and the
 * acting party of each, and the lanes: the ids of the subjects that take the same transition in the same programme, which
 * machine_history.c writes together. Called by machine_walk.c only.
 *
 * The memory is bounded: all lanes are written when together they hold LANES_TOTAL ids. SPI is connected when the first lane is
 * written, so that a statement that changes no state pays nothing for it.
 */
#include "machine_walk.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define ST_SORT sort_ids
#define ST_ELEMENT_TYPE int64
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_uuids
#define ST_ELEMENT_TYPE pg_uuid_t
#define ST_COMPARE(a, b) memcmp((a)->data, (b)->data, UUID_LEN)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* From this length on a lane is written in the order of its keys: neighbours in the index of the history come together. */
#define SORTED_LENGTH 512

/*
 * All lanes are written when together they hold so many ids: that bounds the memory, to few megabytes. The longer they are, the more neighbours in the index come together.
 */
#define LANES_TOTAL 102400
/* Hooks, which build rows of JSON, get no more subjects than this at a time. */
#define HOOK_LENGTH 10240

/* ---- programmes ------------------------------------------------------------------------------------------------------- */

/* Reset callback of the statement's context, so it runs after an error too. */
void
prm_walk_unpin(void *arg)
{
	for (WalkProgram *program = ((Walk *) arg)->programs; program != NULL; program = program->next)
		for (WalkMachine *version = program->machines; version != NULL; version = version->next)
			prm_machine_unpin(version->machine);
}

typedef struct IndexEntry
{
	int64 program_id; /* hash key */
	WalkProgram *program;
} IndexEntry;

/*
 * The table of a programme's machine is this one: what stands between a trigger that somebody put on a table of his own and
 * the rights that the walk writes with.
 */
static bool
is_registered(Walk *walk, int64 program_id)
{
	PrmTarget *target = prm_target_lookup(program_id, walk->machine);

	if (target != NULL && !target->is_own && target->relation == walk->relation &&
		strcmp(target->key_column, walk->key_name) == 0 && strcmp(target->state_column, walk->state_name) == 0 &&
		(target->program_column == NULL ? walk->program_name == NULL
										: walk->program_name != NULL && strcmp(target->program_column, walk->program_name) == 0))
		return true;
	if (walk->new_rows == NULL)
		return false; /* whoever lets go of a table or a programme may delete what is left */
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("table \"%s\" is not registered for machine \"%s\" in programme " INT64_FORMAT, walk->table,
						   walk->machine, program_id),
					errdetail("prm.machine_target has no row for it, or one with other columns."),
					errhint("Let the owner of schema prm run prm.attach_machine(); a trigger that is left over goes with "
							"prm.detach_machine()."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, walk->schema), err_generic_string(PG_DIAG_TABLE_NAME, walk->table)));
	return false; /* keep the compiler quiet */
}

static WalkMachine *
add_machine(Walk *walk, PrmMachine *machine)
{
	WalkMachine *version = MemoryContextAllocZero(walk->context, sizeof(WalkMachine));

	version->lanes = MemoryContextAllocZero(walk->context, sizeof(Lane *) * Max(machine->transition_count, 1));
	version->last_from = version->last_to = machine->initial;
	version->machine = machine;
	return version;
}

/* A version of the programme's machine; where it is gone, the one in force. */
WalkMachine *
prm_walk_machine(Walk *walk, WalkProgram *program, int version)
{
	WalkMachine *current = program->machines;
	WalkMachine *found;
	PrmMachine *machine;

	for (found = current; found != NULL; found = found->next)
		if (found->machine->version == version)
			return found;
	machine = version == 0 ? NULL : prm_machine_lookup_version(program->program_id, walk->machine, version);
	if (machine == NULL)
		return current;
	found = add_machine(walk, machine);
	prm_machine_pin(machine);
	found->next = current->next;
	current->next = found;
	return found;
}

static void
index_program(Walk *walk, WalkProgram *program)
{
	IndexEntry *entry = hash_search(walk->index, &program->program_id, HASH_ENTER, NULL);

	entry->program = program;
}

/* The machine and the acting party of the row's programme, found once per statement. */
WalkProgram *
prm_walk_program(Walk *walk, int64 program_id)
{
	WalkProgram *program;
	PrmMachine *machine;

	if (walk->index != NULL)
	{
		IndexEntry *entry = hash_search(walk->index, &program_id, HASH_FIND, NULL);

		if (entry != NULL)
			return entry->program;
	}
	else
	{
		for (program = walk->programs; program != NULL; program = program->next)
			if (program->program_id == program_id)
				return program;
	}

	program = MemoryContextAllocZero(walk->context, sizeof(WalkProgram));
	program->program_id = program_id;
	/* Rows may be deleted where nothing is defined any more, as with the programme itself. */
	machine = OidIsValid(walk->relation) && !is_registered(walk, program_id)
				  ? NULL
				  : prm_machine_lookup(program_id, walk->machine, walk->new_rows == NULL);
	if (machine != NULL)
	{
		program->machines = add_machine(walk, machine);
		/* From here on the reset of the statement's context unpins it. */
		prm_machine_pin(machine);
	}
	program->next = walk->programs;
	walk->programs = program;
	program->is_migrating = walk->migration != NULL && walk->migration->program_id == program_id;
	if (prm_hook_actor != NULL)
		program->acting.kind = PRM_ACTOR_SYSTEM;
	else
	{
		program->acting.partner_id = prm_acting_partner(program_id);
		program->acting.kind = program->acting.partner_id != 0 ? PRM_ACTOR_PARTNER : PRM_ACTOR_VENDOR;
	}
	program->acting.reason_given = walk->reason != (Datum) 0;

	/* Most statements touch one programme; a hash is made only for those that touch many. */
	if (++walk->program_count == 9)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(int64);
		info.entrysize = sizeof(IndexEntry);
		info.hcxt = walk->context;
		walk->index = hash_create("prm machine walk", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		for (WalkProgram *other = walk->programs; other != NULL; other = other->next)
			index_program(walk, other);
	}
	else if (walk->index != NULL)
		index_program(walk, program);
	return program;
}

/* ---- lanes ------------------------------------------------------------------------------------------------------------ */

/* The lane of a transition, bound to the table when it is first needed. */
Lane *
prm_walk_lane(Walk *walk, WalkProgram *program, WalkMachine *machine, const PrmTransition *transition)
{
	Lane *lane = machine->lanes[transition->number];
	MemoryContext caller;

	if (likely(lane != NULL))
		return lane;
	caller = MemoryContextSwitchTo(walk->context);
	lane = palloc0(sizeof(Lane));
	prm_bind(&lane->binding, transition, walk->tupdesc, walk->table);
	lane->always_legal = prm_actor_allowed(transition, &program->acting) && transition->field_count == 0 &&
						 transition->guard == NULL && !transition->needs_reason &&
						 (program->acting.kind != PRM_ACTOR_PARTNER || lane->binding.partner == 0);
	machine->lanes[transition->number] = lane;
	MemoryContextSwitchTo(caller);
	return lane;
}

/* The lane of rows that take no event: they came from one state (NULL for new rows) to another (NULL for deleted ones). */
Lane *
prm_walk_other_lane(Walk *walk, WalkMachine *machine, LaneKind kind, const PrmState *to, const char *from, int from_length)
{
	MemoryContext caller;
	Lane *lane;

	for (lane = machine->others; lane != NULL; lane = lane->next)
	{
		if (lane->kind != kind || lane->to != to || (lane->from_text == (Datum) 0) != (from == NULL))
			continue;
		if (from == NULL || (VARSIZE_ANY_EXHDR(DatumGetPointer(lane->from_text)) == from_length &&
							 memcmp(VARDATA_ANY(DatumGetPointer(lane->from_text)), from, from_length) == 0))
			return lane;
	}
	caller = MemoryContextSwitchTo(walk->context);
	lane = palloc0(sizeof(Lane));
	lane->kind = kind;
	lane->to = to;
	lane->from_text = from == NULL ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(from, from_length));
	lane->next = machine->others;
	machine->others = lane;
	MemoryContextSwitchTo(caller);
	return lane;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

void
prm_walk_connect(Walk *walk)
{
	MemoryContext context = CurrentMemoryContext;

	if (walk->connected)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(context);
	walk->connected = true;
}

/* What follows the change, for so many of its subjects at a time as it can take. */
static void
call_hooks(const PrmHistoryBatch *all, LaneKind kind)
{
	Size size = all->is_uuid ? sizeof(pg_uuid_t) : sizeof(int64);

	for (int first = 0; first < all->count; first += HOOK_LENGTH)
	{
		PrmHistoryBatch batch = *all;

		batch.count = Min(HOOK_LENGTH, all->count - first);
		batch.subjects = (char *) all->subjects + size * first;
		if (kind == LANE_IMPORT)
		{
			batch.moments = all->moments + first;
			prm_history_start_clocks(&batch);
		}
		else
			prm_history_call_hook(&batch);
	}
}

static void
flush_lane(Walk *walk, WalkProgram *program, WalkMachine *machine, Lane *lane)
{
	static const char *const kinds[] = {"vendor", "partner", "system"};
	const PrmTransition *transition = lane->binding.transition;
	MemoryContext caller;
	PrmHistoryBatch batch = {0};

	if (lane->count == 0)
		return;
	prm_walk_connect(walk);
	batch.machine = machine->machine;
	batch.count = lane->count;
	batch.is_uuid = walk->key_type == UUIDOID;
	batch.subjects = lane->subjects;
	batch.moments = lane->moments;
	batch.actor = walk->actor;
	batch.reason = walk->reason;
	batch.at = walk->at;
	if (lane->kind == LANE_EVENT)
	{
		batch.event = transition->event_text;
		batch.from = transition->from != NULL ? transition->from->name_text : (Datum) 0;
		batch.to = transition->to->name_text;
		batch.actor_kind = kinds[program->acting.kind];
		batch.partner_id = program->acting.partner_id;
	}
	else
	{
		batch.from = lane->from_text;
		batch.to = lane->to != NULL ? lane->to->name_text : (Datum) 0;
		batch.actor_kind = lane->kind == LANE_IMPORT ? "import" : "system";
	}

	/* The moments of an import stand in the order of its rows, which thus must stay. */
	if (lane->count >= SORTED_LENGTH && lane->moments == NULL)
	{
		if (batch.is_uuid)
			sort_uuids(lane->subjects, lane->count);
		else
			sort_ids(lane->subjects, lane->count);
	}
	caller = MemoryContextSwitchTo(walk->row_context);
	if (lane->kind == LANE_EVENT && unlikely(transition->is_gated))
		prm_gate_check(walk->schema, walk->table, NameStr(TupleDescAttr(walk->tupdesc, walk->state_column - 1)->attname), &batch,
					   transition);
	if (lane->kind != LANE_DELETE)
		prm_history_write(&batch);
	if (lane->kind == LANE_IMPORT ? lane->to->has_clock || (batch.from != (Datum) 0 && machine->machine->has_clock)
								  : lane->kind != LANE_EVENT || transition->has_hook)
		call_hooks(&batch, lane->kind);
	if (lane->kind == LANE_DELETE && program->machines->machine->cascade)
		prm_history_delete(&batch);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(walk->row_context);
	walk->buffered -= lane->count;
	lane->count = 0;
	/* Lanes that were long one after the other must not add up. */
	if (lane->capacity > HOOK_LENGTH)
	{
		pfree(lane->subjects);
		if (lane->moments != NULL)
			pfree(lane->moments);
		lane->subjects = NULL;
		lane->moments = NULL;
		lane->capacity = 0;
	}
}

void
prm_walk_flush(Walk *walk)
{
	for (WalkProgram *program = walk->programs; program != NULL; program = program->next)
		for (WalkMachine *machine = program->machines; machine != NULL; machine = machine->next)
		{
			for (int i = 0; i < machine->machine->transition_count; i++)
				if (machine->lanes[i] != NULL)
					flush_lane(walk, program, machine, machine->lanes[i]);
			for (Lane *lane = machine->others; lane != NULL; lane = lane->next)
				flush_lane(walk, program, machine, lane);
		}
}

void
prm_walk_append(Walk *walk, WalkProgram *program, WalkMachine *machine, Lane *lane, const PrmSubject *subject,
				TimestampTz moment)
{
	if (lane->count == lane->capacity)
	{
		Size size = walk->key_type == UUIDOID ? sizeof(pg_uuid_t) : sizeof(int64);

		lane->capacity = lane->capacity == 0 ? 8 : Min(lane->capacity * 4, LANES_TOTAL);
		lane->subjects = lane->subjects == NULL ? MemoryContextAlloc(walk->context, size * lane->capacity)
												: repalloc(lane->subjects, size * lane->capacity);
		if (lane->kind == LANE_IMPORT)
			lane->moments = lane->moments == NULL ? MemoryContextAlloc(walk->context, sizeof(TimestampTz) * lane->capacity)
												  : repalloc(lane->moments, sizeof(TimestampTz) * lane->capacity);
	}
	if (lane->moments != NULL)
		lane->moments[lane->count] = moment;
	if (walk->key_type == UUIDOID)
		((pg_uuid_t *) lane->subjects)[lane->count++] = subject->uuid;
	else
		((int64 *) lane->subjects)[lane->count++] = subject->id;
	if (++walk->buffered >= LANES_TOTAL)
		prm_walk_flush(walk);
}
