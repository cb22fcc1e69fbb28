/*
 * machine.c: compiled machines. Owns the backend's cache of prm.machine, prm.machine_state and prm.machine_transition, one
 * entry per (programme, machine) for the version in force and one for each older version that rows are still on, and nothing else. Called by the trigger walk, fire() and the row
 * trigger of deals.
 *
 * A compiled machine lives in a memory context of its own and is never changed. When the definitions change
 * (prm_definition_generation), the next lookup compiles a new one; the old one is freed at once, or, while a running
 * statement still walks with it, by that statement's last unpin. A statement thus goes on with the machine it began with.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct MachineKey
{
	int64 program_id;
	int version; /* 0: the one in force */
	char name[NAMEDATALEN];
} MachineKey;

typedef struct MachineEntry
{
	MachineKey key;
	PrmMachine *machine; /* NULL while the first load runs or after it failed */
} MachineEntry;

static HTAB *machines = NULL;
static SPIPlanPtr machine_plan = NULL;
static SPIPlanPtr states_plan = NULL;
static SPIPlanPtr transitions_plan = NULL;

static const char *const machine_query =
	"SELECT m.version, m.definition OPERATOR(pg_catalog.->>) 'on_delete' OPERATOR(pg_catalog.=) 'cascade',"
	" EXISTS (SELECT 1 FROM prm.machine o WHERE o.program_id OPERATOR(pg_catalog.=) $1"
	"   AND o.machine OPERATOR(pg_catalog.=) $2 AND o.has_rows AND NOT o.is_current)"
	" FROM prm.machine m WHERE m.program_id OPERATOR(pg_catalog.=) $1 AND m.machine OPERATOR(pg_catalog.=) $2"
	" AND (m.version OPERATOR(pg_catalog.=) $3 OR ($3 OPERATOR(pg_catalog.=) 0 AND m.is_current))";

/* Which changes prm._state_entered() follows is for the view prm._machine_follow to say. */
#define FOLLOWED                                                                                                        \
	"EXISTS (SELECT 1 FROM prm._machine_follow f WHERE f.program_id OPERATOR(pg_catalog.=) $1"                               \
	" AND f.machine OPERATOR(pg_catalog.=) $2 AND (f.version IS NULL OR f.version OPERATOR(pg_catalog.=) $3)"

/* Column 4: is entering the state as the first one followed? Column 5: the deletion of a row in it?
 * Column 6: do the versions differ in whether it is final? */
static const char *const states_query =
	"SELECT s.state, s.is_initial, s.is_final,"
	" " FOLLOWED " AND f.event IS NULL AND f.from_state IS NULL"
	"   AND (f.to_state IS NULL OR f.to_state OPERATOR(pg_catalog.=) s.state)),"
	" " FOLLOWED " AND f.on_delete AND (f.from_state IS NULL OR f.from_state OPERATOR(pg_catalog.=) s.state)),"
	" EXISTS (SELECT 1 FROM prm.machine_state o WHERE o.program_id OPERATOR(pg_catalog.=) $1"
	"   AND o.machine OPERATOR(pg_catalog.=) $2 AND o.state OPERATOR(pg_catalog.=) s.state"
	"   AND o.is_final OPERATOR(pg_catalog.<>) s.is_final)"
	" FROM prm.machine_state s WHERE s.program_id OPERATOR(pg_catalog.=) $1 AND s.machine OPERATOR(pg_catalog.=) $2"
	" AND s.version OPERATOR(pg_catalog.=) $3 ORDER BY s.position";

static const char *const transitions_query =
	"SELECT t.from_state, t.event, t.to_state, t.actor, t.required, t.guard, t.needs_reason,"
	" " FOLLOWED " AND (f.event IS NULL OR f.event OPERATOR(pg_catalog.=) t.event)"
	"   AND (f.from_state IS NULL OR f.from_state OPERATOR(pg_catalog.=) t.from_state)"
	"   AND (f.to_state IS NULL OR f.to_state OPERATOR(pg_catalog.=) t.to_state)),"
	" (t.needs_criteria AND EXISTS (SELECT 1 FROM prm.lead_criterion c WHERE c.program_id OPERATOR(pg_catalog.=) $1"
	"   AND c.is_active AND c.required))"
	" OR EXISTS (SELECT 1 FROM prm.machine_state s WHERE s.program_id OPERATOR(pg_catalog.=) $1"
	"   AND s.machine OPERATOR(pg_catalog.=) $2 AND s.version OPERATOR(pg_catalog.=) $3"
	"   AND s.state OPERATOR(pg_catalog.=) t.from_state"
	"   AND s.review OPERATOR(pg_catalog.->>) 'accept'::pg_catalog.text OPERATOR(pg_catalog.=) t.event)"
	" FROM prm.machine_transition t WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.machine OPERATOR(pg_catalog.=) $2"
	" AND t.version OPERATOR(pg_catalog.=) $3 ORDER BY t.from_state, t.event";

/* ---- finding ---------------------------------------------------------------------------------------------------------- */

PrmState *
prm_machine_state(const PrmMachine *machine, const char *name, int length)
{
	uint32 slot = hash_bytes((const unsigned char *) name, length) & (machine->slot_count - 1);
	PrmState *state;

	while ((state = machine->slots[slot]) != NULL)
	{
		if (state->length == length && memcmp(state->name, name, length) == 0)
			return state;
		slot = (slot + 1) & (machine->slot_count - 1);
	}
	return NULL;
}

PrmTransition *
prm_state_exit(const PrmState *state, const char *event)
{
	for (int i = 0; i < state->exit_count; i++)
		if (strcmp(state->exits[i]->event, event) == 0)
			return state->exits[i];
	return NULL;
}

bool
prm_machine_has_event(const PrmMachine *machine, const char *event)
{
	for (int i = 0; i < machine->transition_count; i++)
		if (machine->transitions[i].event != NULL && strcmp(machine->transitions[i].event, event) == 0)
			return true;
	return false;
}

/* ---- compiling -------------------------------------------------------------------------------------------------------- */

static SPIPlanPtr
keep_plan(const char *query, int argument_count, Oid *types)
{
	SPIPlanPtr plan = SPI_prepare(query, argument_count, types);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "preparing failed: %s", query);
	return plan;
}

static char *
row_text(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static bool
row_bool(int row, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return !isnull && DatumGetBool(value);
}

static void
compile_states(PrmMachine *machine)
{
	machine->state_count = (int) SPI_processed;
	machine->states = palloc0(sizeof(PrmState) * Max(machine->state_count, 1));
	machine->slot_count = 8;
	while (machine->slot_count < machine->state_count * 2)
		machine->slot_count *= 2;
	machine->slots = palloc0(sizeof(PrmState *) * machine->slot_count);
	for (int i = 0; i < machine->state_count; i++)
	{
		PrmState *state = &machine->states[i];
		uint32 slot;

		state->name = row_text(i, 1);
		state->length = strlen(state->name);
		state->name_text = CStringGetTextDatum(state->name);
		state->is_initial = row_bool(i, 2);
		state->is_final = row_bool(i, 3);
		state->has_clock = row_bool(i, 5);
		state->final_differs = row_bool(i, 6);
		machine->has_clock |= state->has_clock;
		if (state->is_initial)
			machine->initial = state;
		slot = hash_bytes((const unsigned char *) state->name, state->length) & (machine->slot_count - 1);
		while (machine->slots[slot] != NULL)
			slot = (slot + 1) & (machine->slot_count - 1);
		machine->slots[slot] = state;
	}
}

static void
compile_required(PrmTransition *transition, Datum required)
{
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(required), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	transition->fields = palloc0(sizeof(PrmField) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		PrmField *field = &transition->fields[transition->field_count];

		if (nulls[i])
			continue;
		field->name = TextDatumGetCString(elements[i]);
		if (strncmp(field->name, "attributes.", 11) == 0 && field->name[11] != '\0')
		{
			field->column = "attributes";
			field->attribute = field->name + 11;
		}
		else
			field->column = field->name;
		transition->field_count++;
	}
}

static void
compile_transitions(PrmMachine *machine, const bool *entry_has_hook)
{
	int rows = (int) SPI_processed;

	machine->transition_count = rows + machine->state_count;
	machine->transitions = palloc0(sizeof(PrmTransition) * Max(machine->transition_count, 1));
	for (int i = 0; i < rows; i++)
	{
		PrmTransition *transition = &machine->transitions[i];
		char *from = row_text(i, 1);
		char *to = row_text(i, 3);
		char *actor = row_text(i, 4);
		char *guard = row_text(i, 6);
		bool isnull;
		Datum required = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5, &isnull);

		transition->number = i;
		transition->event = row_text(i, 2);
		transition->event_text = CStringGetTextDatum(transition->event);
		transition->from = prm_machine_state(machine, from, strlen(from));
		transition->to = prm_machine_state(machine, to, strlen(to));
		if (transition->from == NULL || transition->to == NULL)
			elog(ERROR, "transition \"%s\" of machine \"%s\" has no states", transition->event, machine->name);
		transition->actor = actor[0] == 'p'	  ? PRM_ALLOW_PARTNER
							: actor[0] == 'v' ? PRM_ALLOW_VENDOR
							: actor[0] == 's' ? PRM_ALLOW_SYSTEM
											  : PRM_ALLOW_ANY;
		if (!isnull)
			compile_required(transition, required);
		if (guard != NULL)
			prm_guard_compile(transition, guard);
		transition->needs_reason = row_bool(i, 7);
		transition->has_hook = row_bool(i, 8);
		transition->is_gated = row_bool(i, 9);
		transition->from->exit_count++;
	}
	for (int i = 0; i < machine->state_count; i++)
	{
		PrmState *state = &machine->states[i];
		PrmTransition *entry = &machine->transitions[rows + i];

		entry->number = rows + i;
		entry->to = state;
		entry->has_hook = entry_has_hook[i];
		state->entry = entry;
		state->exits = palloc(sizeof(PrmTransition *) * Max(state->exit_count, 1));
		state->exit_count = 0;
	}
	for (int i = 0; i < rows; i++)
	{
		PrmState *from = machine->transitions[i].from;

		from->exits[from->exit_count++] = &machine->transitions[i];
	}
}

/* Reads and compiles a version, 0 for the one in force; NULL where the programme has no such machine. */
static PrmMachine *
load_machine(int64 program_id, const char *name, int version)
{
	uint64 generation = prm_definition_generation();
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	PrmOwnerScope scope;
	PrmMachine *machine = NULL;
	Oid types[3] = {INT8OID, TEXTOID, INT4OID};
	Datum values[3];
	bool *entry_has_hook;
	bool isnull;

	prm_definitions_loaded();
	context = AllocSetContextCreate(caller, "prm machine", ALLOCSET_SMALL_SIZES);
	values[0] = Int64GetDatum(program_id);
	values[1] = CStringGetTextDatum(name);
	values[2] = Int32GetDatum(version);

	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (machine_plan == NULL)
		machine_plan = keep_plan(machine_query, 3, types);
	if (states_plan == NULL)
		states_plan = keep_plan(states_query, 3, types);
	if (transitions_plan == NULL)
		transitions_plan = keep_plan(transitions_query, 3, types);

	/* Not read-only: the definitions may have been written by this very transaction. */
	if (SPI_execute_plan(machine_plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.machine failed");
	if (SPI_processed > 0)
	{
		values[2] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContextSwitchTo(context);
		machine = palloc0(sizeof(PrmMachine));
		machine->context = context;
		machine->program_id = program_id;
		machine->name = pstrdup(name);
		machine->name_text = CStringGetTextDatum(name);
		machine->version = DatumGetInt32(values[2]);
		machine->generation = generation;
		machine->cascade = row_bool(0, 2);
		machine->has_older = row_bool(0, 3);

		if (SPI_execute_plan(states_plan, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "reading prm.machine_state failed");
		MemoryContextSwitchTo(context);
		compile_states(machine);
		entry_has_hook = palloc(sizeof(bool) * Max(machine->state_count, 1));
		for (int i = 0; i < machine->state_count; i++)
			entry_has_hook[i] = row_bool(i, 4);

		if (SPI_execute_plan(transitions_plan, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "reading prm.machine_transition failed");
		MemoryContextSwitchTo(context);
		compile_transitions(machine, entry_has_hook);
	}
	SPI_finish();
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);

	if (machine == NULL)
		MemoryContextDelete(context);
	else
		MemoryContextSetParent(context, TopMemoryContext);
	return machine;
}

/* ---- the cache -------------------------------------------------------------------------------------------------------- */

void
prm_machine_pin(PrmMachine *machine)
{
	machine->pins++;
}

void
prm_machine_unpin(PrmMachine *machine)
{
	if (--machine->pins == 0 && machine->abandoned)
		MemoryContextDelete(machine->context);
}

static void
abandon(MachineEntry *entry)
{
	PrmMachine *machine = entry->machine;

	entry->machine = NULL;
	if (machine == NULL)
		return;
	machine->abandoned = true;
	if (machine->pins == 0)
		MemoryContextDelete(machine->context);
}

static PrmMachine *
lookup(int64 program_id, const char *name, int version)
{
	MachineKey key;
	MachineEntry *entry;
	PrmMachine *machine;
	bool found;

	memset(&key, 0, sizeof(key));
	key.program_id = program_id;
	key.version = version;
	strlcpy(key.name, name, NAMEDATALEN);
	if (machines == NULL)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(MachineKey);
		info.entrysize = sizeof(MachineEntry);
		machines = hash_create("prm machines", 64, &info, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(machines, &key, HASH_FIND, NULL);
	if (likely(entry != NULL && entry->machine != NULL && entry->machine->generation == prm_definition_generation()))
		return entry->machine;

	machine = load_machine(program_id, name, version);
	/* Looked up again: the load may have run a trigger or a policy that looked machines up itself. */
	entry = hash_search(machines, &key, machine != NULL ? HASH_ENTER : HASH_FIND, &found);
	if (found)
		abandon(entry);
	if (machine != NULL)
	{
		entry->machine = machine;
		return machine;
	}
	if (found)
		hash_search(machines, &key, HASH_REMOVE, NULL);
	return NULL;
}

/* The version in force of a programme's machine. Who keeps the pointer beyond the next lookup must pin it. */
PrmMachine *
prm_machine_lookup(int64 program_id, const char *name, bool missing_ok)
{
	PrmMachine *machine = lookup(program_id, name, 0);

	if (machine == NULL && !missing_ok)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("programme " INT64_FORMAT " has no machine \"%s\"", program_id, name),
						errdetail("No version of it is in force in prm.machine."),
						errhint("SELECT machine FROM prm.machine lists the machines; prm.define_machine() makes one.")));
	return machine;
}

/* One version of it; NULL where there is none, or no longer. */
PrmMachine *
prm_machine_lookup_version(int64 program_id, const char *name, int version)
{
	return lookup(program_id, name, version);
}
