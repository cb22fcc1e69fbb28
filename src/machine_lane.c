/*
 * machine_lane.c: what a statement's walk collects. Owns the programmes that the statement touches, with the machine and the
 * acting party of each, and the lanes: the ids of the subjects that take the same transition in the same programme, which
 * machine_history.c writes together. Called by machine_walk.c only.
 *
 * The memory is bounded: a lane is written when it is full, and all of them when together they hold LANES_TOTAL ids. SPI is
 * connected when the first lane is written, so that a statement that changes no state pays nothing for it.
 */
#include "machine_walk.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A lane is written when it is this long, and all lanes when together they hold LANES_TOTAL ids: that bounds the memory. */
#define LANE_LENGTH 10240
#define LANES_TOTAL 102400

/* ---- programmes ------------------------------------------------------------------------------------------------------- */

/* Reset callback of the statement's context, so it runs after an error too. */
void
prm_walk_unpin(void *arg)
{
	for (WalkProgram *program = ((Walk *) arg)->programs; program != NULL; program = program->next)
		prm_machine_unpin(program->machine);
}

typedef struct IndexEntry
{
	int64 program_id; /* hash key */
	WalkProgram *program;
} IndexEntry;

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
	program->machine = prm_machine_lookup(program_id, walk->machine, false);
	program->lanes = MemoryContextAllocZero(walk->context, sizeof(Lane *) * Max(program->machine->transition_count, 1));
	program->last_from = program->last_to = program->machine->initial;
	/* From here on the reset of the statement's context unpins it. */
	prm_machine_pin(program->machine);
	program->next = walk->programs;
	walk->programs = program;
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
prm_walk_lane(Walk *walk, WalkProgram *program, const PrmTransition *transition)
{
	Lane *lane = program->lanes[transition->number];
	MemoryContext caller;

	if (likely(lane != NULL))
		return lane;
	caller = MemoryContextSwitchTo(walk->context);
	lane = palloc0(sizeof(Lane));
	prm_bind(&lane->binding, transition, walk->tupdesc, walk->table);
	lane->always_legal = prm_actor_allowed(transition, &program->acting) && transition->field_count == 0 &&
						 transition->guard == NULL && !transition->needs_reason &&
						 (program->acting.kind != PRM_ACTOR_PARTNER || lane->binding.partner == 0);
	program->lanes[transition->number] = lane;
	MemoryContextSwitchTo(caller);
	return lane;
}

/* The lane of an import's rows that came from one state (NULL for new rows) to another. */
Lane *
prm_walk_imported_lane(Walk *walk, WalkProgram *program, const PrmState *to, const char *from, int from_length)
{
	MemoryContext caller;
	Lane *lane;

	for (lane = program->imported; lane != NULL; lane = lane->next)
	{
		if (lane->to != to || (lane->from_text == (Datum) 0) != (from == NULL))
			continue;
		if (from == NULL || (VARSIZE_ANY_EXHDR(DatumGetPointer(lane->from_text)) == from_length &&
							 memcmp(VARDATA_ANY(DatumGetPointer(lane->from_text)), from, from_length) == 0))
			return lane;
	}
	caller = MemoryContextSwitchTo(walk->context);
	lane = palloc0(sizeof(Lane));
	lane->to = to;
	lane->from_text = from == NULL ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(from, from_length));
	lane->next = program->imported;
	program->imported = lane;
	MemoryContextSwitchTo(caller);
	return lane;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

static void
flush_lane(Walk *walk, WalkProgram *program, Lane *lane)
{
	static const char *const kinds[] = {"vendor", "partner", "system"};
	MemoryContext caller;
	PrmHistoryBatch batch = {0};

	if (lane->count == 0)
		return;
	if (!walk->connected)
	{
		MemoryContext context = CurrentMemoryContext;

		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		MemoryContextSwitchTo(context);
		walk->connected = true;
	}
	batch.machine = program->machine;
	batch.transition = lane->binding.transition;
	batch.from_text = lane->from_text;
	batch.to = lane->to;
	batch.count = lane->count;
	batch.subjects = lane->subjects;
	batch.moments = lane->moments;
	batch.actor = walk->actor;
	batch.actor_kind = lane->binding.transition == NULL ? "import" : kinds[program->acting.kind];
	batch.partner_id = lane->binding.transition == NULL ? 0 : program->acting.partner_id;
	batch.reason = walk->reason;
	batch.at = walk->at;

	caller = MemoryContextSwitchTo(walk->row_context);
	if (batch.transition != NULL && unlikely(batch.transition->is_gated))
		prm_gate_check(program->machine, batch.transition, prm_subject_array(batch.subjects, batch.count), INT8OID, walk->schema,
					   walk->table, NameStr(TupleDescAttr(walk->tupdesc, walk->state_column - 1)->attname));
	prm_history_write(&batch);
	if (batch.transition != NULL && batch.transition->has_hook)
		prm_history_call_hook(&batch);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(walk->row_context);
	walk->buffered -= lane->count;
	lane->count = 0;
}

void
prm_walk_flush(Walk *walk)
{
	for (WalkProgram *program = walk->programs; program != NULL; program = program->next)
	{
		for (int i = 0; i < program->machine->transition_count; i++)
			if (program->lanes[i] != NULL)
				flush_lane(walk, program, program->lanes[i]);
		for (Lane *lane = program->imported; lane != NULL; lane = lane->next)
			flush_lane(walk, program, lane);
	}
}

void
prm_walk_append(Walk *walk, WalkProgram *program, Lane *lane, int64 subject_id, TimestampTz moment)
{
	if (lane->count == lane->capacity)
	{
		if (lane->capacity == LANE_LENGTH)
			flush_lane(walk, program, lane);
		else
		{
			lane->capacity = lane->capacity == 0 ? 8 : Min(lane->capacity * 4, LANE_LENGTH);
			lane->subjects = lane->subjects == NULL
								 ? MemoryContextAlloc(walk->context, sizeof(int64) * lane->capacity)
								 : repalloc(lane->subjects, sizeof(int64) * lane->capacity);
			if (lane->binding.transition == NULL)
				lane->moments = lane->moments == NULL
									? MemoryContextAlloc(walk->context, sizeof(TimestampTz) * lane->capacity)
									: repalloc(lane->moments, sizeof(TimestampTz) * lane->capacity);
		}
	}
	if (lane->moments != NULL)
		lane->moments[lane->count] = moment;
	lane->subjects[lane->count++] = subject_id;
	if (++walk->buffered >= LANES_TOTAL)
		prm_walk_flush(walk);
}
