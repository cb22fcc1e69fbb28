/*
 * machine.h: what the machine*.c files share. No other file includes it.
 *
 *   machine.c          compiled machines: loading, the backend's cache, pins, finding a state or an event
 *   machine_check.c    may this row take this event? actor, required fields, guard, reason
 *   machine_gate.c     what an event waits for beyond the row: criteria, reviews
 *   machine_walk.c     the statement trigger: walks old and new rows, judges each change of state
 *   machine_lane.c     collects what the walk found, by programme and transition
 *   machine_history.c  writes what the walk collected, set-wise, as the owner of the model
 *   machine_error.c    the errors that name the row, every reason and the next step
 *   machine_context.c  who acts for the library itself: import, hooks, a fired event
 *   machine_fire.c     fire() and allowed_events()
 *   machine_row.c      row trigger of deals, append-only trigger
 */
#ifndef PRM_MACHINE_H
#define PRM_MACHINE_H

#include "prm.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/jsonpath.h"

/* ---- compiled machines (machine.c) ---------------------------------------------------------------------------------- */

typedef struct PrmState PrmState;

/* A field that an event requires: a column, or a key of the column attributes. */
typedef struct PrmField
{
	char *name;      /* as defined */
	char *column;    /* the column that holds it */
	char *attribute; /* key in column attributes, NULL for a plain column */
} PrmField;

typedef enum PrmAllowedActor
{
	PRM_ALLOW_ANY,
	PRM_ALLOW_PARTNER,
	PRM_ALLOW_VENDOR,
	PRM_ALLOW_SYSTEM
} PrmAllowedActor;

/* One event out of one state; a machine's entry into a state without an event is one too (from and event are NULL). */
typedef struct PrmTransition
{
	int number; /* index in PrmMachine.transitions */
	char *event;
	PrmState *from;
	PrmState *to;
	PrmAllowedActor actor;
	int field_count;
	PrmField *fields;
	char *guard_text;
	JsonPath *guard; /* NULL: no guard */
	bool guard_whole_row;
	bool guard_has_variable;
	int guard_column_count;
	char **guard_columns; /* the columns that the guard names, where it does not need the whole row */
	bool needs_reason;
	bool is_gated; /* waits for criteria or reviews: prm._gate_faults() is asked */
	bool has_hook; /* an outbox rule or creates: prm._state_entered() is called for it */
	Datum event_text;
} PrmTransition;

struct PrmState
{
	char *name;
	int length;
	bool is_initial;
	bool is_final;
	Datum name_text;
	int exit_count;
	PrmTransition **exits; /* ordered by event */
	PrmTransition *entry;  /* first state of a row */
};

typedef struct PrmMachine
{
	MemoryContext context;
	int64 program_id;
	char *name;
	int version;
	uint64 generation;
	int pins;       /* running statements that use it */
	bool abandoned; /* no longer in the cache: freed with the last pin */
	PrmState *initial;
	int state_count;
	PrmState *states;
	int slot_count; /* a power of two */
	PrmState **slots;
	int transition_count;
	PrmTransition *transitions; /* those with events first, then one entry per state */
	Datum name_text;
} PrmMachine;

extern PrmMachine *prm_machine_lookup(int64 program_id, const char *name, bool missing_ok);
extern void prm_machine_pin(PrmMachine *machine);
extern void prm_machine_unpin(PrmMachine *machine);
extern PrmState *prm_machine_state(const PrmMachine *machine, const char *name, int length);
extern PrmTransition *prm_state_exit(const PrmState *state, const char *event);
extern bool prm_machine_has_event(const PrmMachine *machine, const char *event);

/* ---- may this row take this event? (machine_check.c) ---------------------------------------------------------------- */

/* Who acts, for one programme and statement. */
typedef struct PrmActing
{
	PrmActorKind kind;
	int64 partner_id;
	bool reason_given;
} PrmActing;

/* A transition seen from one table: its fields and guard bound to column numbers. */
typedef struct PrmBinding
{
	const PrmTransition *transition;
	TupleDesc tupdesc;
	AttrNumber *fields;
	Oid *field_types;
	AttrNumber *guard_columns;
	AttrNumber partner; /* 0: the table has no column partner_id */
} PrmBinding;

typedef enum PrmFaultKind
{
	PRM_FAULT_ACTOR,
	PRM_FAULT_FIELD,
	PRM_FAULT_GUARD,
	PRM_FAULT_REASON,
	PRM_FAULT_GATE
} PrmFaultKind;

typedef struct PrmFault
{
	PrmFaultKind kind;
	char *text;   /* a clause, for lists */
	char *column; /* for PRM_FAULT_FIELD */
} PrmFault;

extern void prm_guard_compile(PrmTransition *transition, const char *text);
extern AttrNumber prm_find_column(TupleDesc tupdesc, const char *name);
extern void prm_bind(PrmBinding *binding, const PrmTransition *transition, TupleDesc tupdesc, const char *table);
extern bool prm_actor_allowed(const PrmTransition *transition, const PrmActing *acting);
extern bool prm_partner_owns(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row,
							 TupleTableSlot *new_row);
extern bool prm_fields_given(const PrmBinding *binding, TupleTableSlot *row);
extern bool prm_guard_holds(const PrmBinding *binding, TupleTableSlot *row);
extern bool prm_may_take(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row,
						 TupleTableSlot *new_row);
extern List *prm_faults(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row, TupleTableSlot *new_row);

/* ---- gates (machine_gate.c); subjects is an array, type is that of its elements -------------------------------------- */

extern void prm_gate_check(const PrmMachine *machine, const PrmTransition *transition, Datum subjects, Oid type,
						   const char *schema, const char *table, const char *state_column);
extern List *prm_gate_faults(const PrmMachine *machine, const PrmTransition *transition, Datum subject, Oid type);

/* ---- writing (machine_history.c) ------------------------------------------------------------------------------------- */

/* What all rows of one call of the history writer share. */
typedef struct PrmHistoryBatch
{
	const PrmMachine *machine;
	const PrmTransition *transition; /* NULL: import */
	Datum from_text;                 /* import only, 0 = none */
	const PrmState *to;              /* import only */
	int count;
	int64 *subjects;
	TimestampTz *moments; /* import only: one per subject */
	Datum actor;          /* text */
	const char *actor_kind;
	int64 partner_id; /* 0: none */
	Datum reason;     /* text, 0 = none */
	TimestampTz at;
} PrmHistoryBatch;

extern void prm_history_write(const PrmHistoryBatch *batch);
extern Datum prm_subject_array(const int64 *subjects, int count);
extern void prm_history_call_hook(const PrmHistoryBatch *batch);

/* ---- contexts (machine_context.c) ------------------------------------------------------------------------------------ */

/* An event on its way to one row; it counts for the first change that fits it exactly. */
typedef struct PrmFiring
{
	const char *machine;
	int64 program_id;
	int64 subject_id;
	const PrmTransition *transition;
	const char *reason;
	bool used;
} PrmFiring;

extern PrmFiring *prm_firing;
extern const char *prm_hook_actor; /* not NULL while a hook runs: the library acts, on behalf of this actor */

extern bool prm_importing(void);

/* ---- errors (machine_error.c) ---------------------------------------------------------------------------------------- */

/* The place of an error: a row of a table. The slots may be NULL where no row is at hand. */
typedef struct PrmPlace
{
	const PrmMachine *machine;
	const char *schema;
	const char *table;
	const char *state_column;
	int64 subject_id;
	const PrmActing *acting;
	TupleTableSlot *old_row;
	TupleTableSlot *new_row;
} PrmPlace;

PRM_NORETURN extern void prm_error_unknown_state(const PrmPlace *place, const char *state);
PRM_NORETURN extern void prm_error_not_initial(const PrmPlace *place, const char *state);
PRM_NORETURN extern void prm_error_stranded(const PrmPlace *place, const char *state);
PRM_NORETURN extern void prm_error_no_event(const PrmPlace *place, const PrmState *from, const PrmState *to);
PRM_NORETURN extern void prm_error_wrong_state(const PrmPlace *place, const PrmState *from, const char *event);
PRM_NORETURN extern void prm_error_ambiguous(const PrmPlace *place, const PrmState *from, const PrmState *to);
PRM_NORETURN extern void prm_error_refused(const PrmPlace *place, const PrmTransition *transition);

#endif /* PRM_MACHINE_H */
