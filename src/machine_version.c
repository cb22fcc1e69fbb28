/*
 * machine_version.c: the version of the machine that a row is on. A row stays on the version that it started with until
 * migrate_subjects() moves it; the last entry of its history names it, so nothing else has to be kept, dumped or restored.
 *
 * Asking the history costs an index lookup per row, so it is asked only where it matters: while the row in prm.machine of an
 * older version says that rows are still on it (has_rows, which define_machine() and migrate_subjects() keep), for a state
 * that the version in force does not know, and for one that is final in one version and not in another. Called by the walk,
 * which asks for many rows at a time by reading ahead, and by fire(), allowed_events() and the row trigger of deals.
 */
#include "machine_walk.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define AHEAD_ROWS 10240

/* Rows of the walk whose version was asked for, in the order of the rows. */
typedef struct WalkAhead
{
	int old_pointer;
	int new_pointer;
	TupleTableSlot *old_slot;
	TupleTableSlot *new_slot;
	int64 until; /* the walk's row up to which was looked */
	int count;
	int next;
	int capacity;
	int *versions;
	int *links; /* to the next row of the same programme */
	PrmSubject *subjects;
} WalkAhead;

/*
 * $3 are the keys. The correlated subquery stands in the target list, where it streams; each is one descent of the index.
 * Without statistics any join could become a scan of the whole history.
 */
static const char *const version_queries[2] = {
	"SELECT (SELECT h.machine_version FROM prm.state_history h WHERE h.program_id OPERATOR(pg_catalog.=) $1"
	" AND h.subject_id OPERATOR(pg_catalog.=) k.key AND h.machine OPERATOR(pg_catalog.=) $2 ORDER BY h.history_id DESC LIMIT 1)"
	" FROM pg_catalog.unnest($3) WITH ORDINALITY AS k(key, number) ORDER BY k.number",
	"SELECT (SELECT h.machine_version FROM prm.state_history h WHERE h.program_id OPERATOR(pg_catalog.=) $1"
	" AND h.subject_uuid OPERATOR(pg_catalog.=) k.key AND h.machine OPERATOR(pg_catalog.=) $2 ORDER BY h.history_id DESC LIMIT 1)"
	" FROM pg_catalog.unnest($3) WITH ORDINALITY AS k(key, number) ORDER BY k.number"};

static SPIPlanPtr version_plans[2];

/* The version of each subject; 0 where the history has no entry. SPI must be connected. */
void
prm_versions_read(const PrmMachine *machine, const void *subjects, int count, bool is_uuid, int *versions)
{
	SPIPlanPtr *kept = &version_plans[is_uuid];
	MemoryContext caller = CurrentMemoryContext;
	PrmOwnerScope scope;
	Datum values[3];

	values[0] = Int64GetDatum(machine->program_id);
	values[1] = machine->name_text;
	values[2] = prm_subject_array(subjects, count, is_uuid);
	prm_enter_owner(&scope);
	if (*kept == NULL)
	{
		Oid types[3] = {INT8OID, TEXTOID, is_uuid ? UUIDARRAYOID : INT8ARRAYOID};
		SPIPlanPtr plan = SPI_prepare(version_queries[is_uuid], 3, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", version_queries[is_uuid]);
		*kept = plan;
	}
	if (SPI_execute_plan(*kept, values, NULL, false, 0) != SPI_OK_SELECT || SPI_processed != count)
		elog(ERROR, "reading the versions of subjects failed");
	for (int i = 0; i < count; i++)
	{
		bool isnull;
		Datum version = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		versions[i] = isnull ? 0 : DatumGetInt32(version);
	}
	SPI_freetuptable(SPI_tuptable);
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
	pfree(DatumGetPointer(values[2]));
}

/* The machine in the version that one subject is on. SPI must be connected. */
PrmMachine *
prm_machine_of_subject(PrmMachine *current, const PrmSubject *subject)
{
	PrmMachine *machine = NULL;
	int version;

	if (current->version == 1)
		return current;
	prm_versions_read(current, subject->is_uuid ? (const void *) &subject->uuid : (const void *) &subject->id, 1,
					  subject->is_uuid, &version);
	if (version != 0 && version != current->version)
		machine = prm_machine_lookup_version(current->program_id, current->name, version);
	return machine == NULL ? current : machine;
}

/* ---- for the walk ------------------------------------------------------------------------------------------------------ */

/* Must the version of a row that was in this state be known? */
bool
prm_version_matters(const WalkProgram *program, RowText from)
{
	const PrmMachine *current = program->machines->machine;
	const PrmState *state;

	if (likely(current->version == 1))
		return false;
	if (current->has_older)
		return true;
	state = prm_machine_state(current, from.data, from.length);
	return state == NULL || state->final_differs;
}

static void
add_row(Walk *walk, WalkAhead *ahead, WalkProgram *program, const PrmSubject *subject, WalkProgram **touched)
{
	if (ahead->count == ahead->capacity)
	{
		ahead->capacity = ahead->capacity == 0 ? 8 : ahead->capacity * 4;
		if (ahead->versions == NULL)
		{
			ahead->versions = MemoryContextAlloc(walk->context, sizeof(int) * ahead->capacity);
			ahead->links = MemoryContextAlloc(walk->context, sizeof(int) * ahead->capacity);
			ahead->subjects = MemoryContextAlloc(walk->context, sizeof(PrmSubject) * ahead->capacity);
		}
		else
		{
			ahead->versions = repalloc(ahead->versions, sizeof(int) * ahead->capacity);
			ahead->links = repalloc(ahead->links, sizeof(int) * ahead->capacity);
			ahead->subjects = repalloc(ahead->subjects, sizeof(PrmSubject) * ahead->capacity);
		}
	}
	if (program->ahead_count++ == 0)
	{
		program->ahead_first = -1;
		program->ahead_next = *touched;
		*touched = program;
	}
	ahead->subjects[ahead->count] = *subject;
	ahead->links[ahead->count] = program->ahead_first;
	program->ahead_first = ahead->count++;
}

static void
ask_for_program(Walk *walk, WalkAhead *ahead, WalkProgram *program)
{
	bool is_uuid = walk->key_type == UUIDOID;
	MemoryContext caller = MemoryContextSwitchTo(walk->row_context);
	void *keys = palloc((is_uuid ? sizeof(pg_uuid_t) : sizeof(int64)) * program->ahead_count);
	int *versions = palloc(sizeof(int) * program->ahead_count);
	int count = 0;

	for (int row = program->ahead_first; row >= 0; row = ahead->links[row], count++)
		if (is_uuid)
			((pg_uuid_t *) keys)[count] = ahead->subjects[row].uuid;
		else
			((int64 *) keys)[count] = ahead->subjects[row].id;
	prm_versions_read(program->machines->machine, keys, count, is_uuid, versions);
	count = 0;
	for (int row = program->ahead_first; row >= 0; row = ahead->links[row])
		ahead->versions[row] = versions[count++];
	program->ahead_count = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(walk->row_context);
}

static void
begin_ahead(Walk *walk)
{
	MemoryContext caller = MemoryContextSwitchTo(walk->context);
	WalkAhead *ahead = palloc0(sizeof(WalkAhead));

	ahead->old_pointer = tuplestore_alloc_read_pointer(walk->old_rows, EXEC_FLAG_REWIND);
	ahead->old_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);
	if (walk->new_rows != NULL)
	{
		ahead->new_pointer = tuplestore_alloc_read_pointer(walk->new_rows, EXEC_FLAG_REWIND);
		ahead->new_slot = MakeSingleTupleTableSlot(walk->tupdesc, &TTSOpsMinimalTuple);
	}
	walk->ahead = ahead;
	MemoryContextSwitchTo(caller);
}

/* Asks for the versions of the present row and of those that follow it. */
static void
look_ahead(Walk *walk, const WalkRow *present)
{
	WalkAhead *ahead = walk->ahead;
	WalkProgram *touched = NULL;
	WalkProgram *program = walk->program;

	ahead->count = ahead->next = 0;
	ahead->until = walk->rows;
	add_row(walk, ahead, program, &present->subject, &touched);

	tuplestore_copy_read_pointer(walk->old_rows, walk->old_pointer, ahead->old_pointer);
	tuplestore_select_read_pointer(walk->old_rows, ahead->old_pointer);
	if (walk->new_rows != NULL)
	{
		tuplestore_copy_read_pointer(walk->new_rows, walk->new_pointer, ahead->new_pointer);
		tuplestore_select_read_pointer(walk->new_rows, ahead->new_pointer);
	}
	for (int i = 0; i < AHEAD_ROWS; i++)
	{
		WalkRow row;

		if (!tuplestore_gettupleslot(walk->old_rows, true, false, ahead->old_slot) ||
			(walk->new_rows != NULL && !tuplestore_gettupleslot(walk->new_rows, true, false, ahead->new_slot)))
			break;
		prm_walk_read(walk, ahead->old_slot, ahead->new_slot, &row);
		ahead->until++;
		if (!row.changed)
			continue;
		if (program->program_id != row.program_id)
			program = prm_walk_program(walk, row.program_id);
		if (program->machines != NULL && !program->is_migrating && prm_version_matters(program, row.from))
			add_row(walk, ahead, program, &row.subject, &touched);
	}
	tuplestore_select_read_pointer(walk->old_rows, walk->old_pointer);
	ExecClearTuple(ahead->old_slot);
	if (walk->new_rows != NULL)
	{
		tuplestore_select_read_pointer(walk->new_rows, walk->new_pointer);
		ExecClearTuple(ahead->new_slot);
	}

	prm_walk_connect(walk);
	for (program = touched; program != NULL; program = program->ahead_next)
		ask_for_program(walk, ahead, program);
}

/* The version of the walk's present row; 0 where its history is empty. Must be called once for each row that it matters to. */
int
prm_walk_version(Walk *walk, const WalkRow *row)
{
	if (walk->ahead == NULL)
		begin_ahead(walk);
	if (walk->rows > walk->ahead->until)
		look_ahead(walk, row);
	return walk->ahead->versions[walk->ahead->next++];
}

/* Before the end: the slots. */
void
prm_walk_forget(Walk *walk)
{
	if (walk->ahead == NULL)
		return;
	ExecDropSingleTupleTableSlot(walk->ahead->old_slot);
	if (walk->ahead->new_slot != NULL)
		ExecDropSingleTupleTableSlot(walk->ahead->new_slot);
}
