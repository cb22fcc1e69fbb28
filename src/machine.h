/*
 * machine.h: what the machine*.c files share. No other file includes it.
 *
 *   machine.c          compiled machines: loading, the backend's cache, pins, finding a state or an event
 *   machine_check.c    may this row take this event? actor, required fields, guard, reason
 *   machine_gate.c     what an event waits for beyond the row: criteria, reviews
 *   machine_walk.c     the statement trigger: walks old and new rows
 *   machine_judge.c    judges each change of state that the walk finds
 *   machine_lane.c     collects what the walk found, by programme and transition
 *   machine_history.c  writes what the walk collected, set-wise, as the owner of the model
 *   machine_plain.c    may the history be written without pinning the search_path?
 *   machine_error.c    the errors that name the row, every reason and the next step
 *   machine_version.c  the version of the machine that a row is on
 *   machine_target.c   which table a machine serves: the model's own, or one that attach_machine() registered
 *   machine_context.c  who acts for the library itself: import, hooks, a fired event
 *   machine_fire.c     fire() and allowed_events()
 *   machine_set.c      the options of fire(), among them values to set
 *   machine_row.c      row trigger of deals, append-only trigger
 */
#ifndef PRM_MACHINE_H
#define PRM_MACHINE_H

#include "prm.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"
#include "utils/uuid.h"

/* The key of a row: a number or a uuid. */
typedef struct PrmSubject
{
	bool is_uuid;
	int64 id;
	pg_uuid_t uuid;
} PrmSubject;

static inline bool
prm_same_subject(const PrmSubject *a, const PrmSubject *b)
{
	return a->is_uuid ? memcmp(&a->uuid, &b->uuid, UUID_LEN) == 0 : a->id == b->id;
}

extern bool prm_subject_read(PrmSubject *subject, TupleTableSlot *row, AttrNumber column, Oid type);
extern char *prm_subject_text(const PrmSubject *subject);

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
	bool final_differs; /* another version of the machine sees the opposite in is_final */
	bool has_clock; /* it has deadlines or stops clocks: a row that leaves it, or is deleted in it, has timers */
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
	bool has_older; /* rows that are not in a final state may be on other versions */
	bool cascade;	/* the history goes with the row */
	bool has_clock; /* of any of its states */
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
extern PrmMachine *prm_machine_lookup_version(int64 program_id, const char *name, int version);
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

/* ---- writing (machine_history.c) ------------------------------------------------------------------------------------- */

/* What all rows of one call of the history writer share. A text that is 0 is NULL. */
typedef struct PrmHistoryBatch
{
	const PrmMachine *machine;
	Datum event;
	Datum from;
	Datum to; /* 0: the rows were deleted */
	int count;
	bool is_uuid;
	void *subjects; /* int64 or pg_uuid_t, as is_uuid says */
	TimestampTz *moments; /* one per subject; NULL: at holds for all */
	Datum actor;
	const char *actor_kind;
	int64 partner_id; /* 0: none */
	Datum reason;
	TimestampTz at;
} PrmHistoryBatch;

extern void prm_history_write(const PrmHistoryBatch *batch);
extern void prm_history_call_hook(const PrmHistoryBatch *batch);
extern void prm_history_start_clocks(const PrmHistoryBatch *batch);
extern void prm_history_delete(const PrmHistoryBatch *batch);
extern bool prm_history_deleting; /* while the library itself deletes from prm.state_history */
extern Datum prm_subject_array(const void *subjects, int count, bool is_uuid);

/* Whether an INSERT into prm.state_history runs nothing but the server's own functions (machine_plain.c). */
extern bool prm_history_is_plain(void);

/* ---- gates (machine_gate.c) ------------------------------------------------------------------------------------------ */

extern void prm_gate_check(const char *schema, const char *table, const char *state_column, const PrmHistoryBatch *batch,
						   const PrmTransition *transition);
extern List *prm_gate_faults(const PrmMachine *machine, const PrmTransition *transition, const PrmSubject *subject);

/* ---- versions (machine_version.c) ------------------------------------------------------------------------------------- */

extern void prm_versions_read(const PrmMachine *machine, const void *subjects, int count, bool is_uuid, int *versions);
extern PrmMachine *prm_machine_of_subject(PrmMachine *current, const PrmSubject *subject);

/* ---- tables (machine_target.c) ------------------------------------------------------------------------------------------ */

/* The table that a machine serves in a programme. The plans are those of fire() and allowed_events(), made when needed. */
typedef struct PrmTarget
{
	Oid relation;
	bool is_own; /* a table of the model */
	char *key_column;
	char *state_column;
	char *program_column; /* NULL: all rows are of the programme that the table was attached for */
	char *schema; /* as the plans have it */
	char *table;
	Oid key_type;
	int running; /* updates under way by the plans */
	SPIPlanPtr lock_plan;
	SPIPlanPtr read_plan;
	SPIPlanPtr update_plan;
} PrmTarget;

extern PrmTarget *prm_target_lookup(int64 program_id, const char *machine);
extern Oid prm_target_root(Oid relation);

/* ---- options of fire() (machine_set.c) -------------------------------------------------------------------------------- */

typedef struct PrmFireValue
{
	char *column;
	Jsonb *json;
	bool is_object;
	bool is_merged; /* into what the column holds */
	Oid type;
	int32 typmod;
	Datum value;
	bool isnull;
} PrmFireValue;

typedef struct PrmFireOptions
{
	int64 seen; /* 0: not given */
	int count;
	PrmFireValue *values;
} PrmFireOptions;

extern void prm_fire_options_read(PrmFireOptions *options, Jsonb *document);
extern void prm_fire_options_bind(PrmFireOptions *options, const PrmTarget *target);
extern void prm_fire_options_convert(PrmFireOptions *options);
extern char *prm_fire_options_assign(const PrmFireOptions *options, int first);

/* ---- contexts (machine_context.c) ------------------------------------------------------------------------------------ */

/* An event on its way to one row; it counts for the first change that fits it exactly. */
typedef struct PrmFiring
{
	const char *machine;
	int64 program_id;
	PrmSubject subject;
	const PrmTransition *transition;
	const char *reason;
	bool used;
} PrmFiring;

extern PrmFiring *prm_firing;

extern bool prm_importing(void);

/* Rows of one machine on their way to another version: states as given, recorded as the system's doing. */
typedef struct PrmMigration
{
	int64 program_id;
	char machine[NAMEDATALEN];
	int version;
} PrmMigration;

extern const PrmMigration *prm_migrating(const char *machine);

/* ---- errors (machine_error.c) ---------------------------------------------------------------------------------------- */

/* The place of an error: a row of a table. The slots may be NULL where no row is at hand. */
typedef struct PrmPlace
{
	const PrmMachine *machine;
	const char *schema;
	const char *table;
	const char *state_column;
	const PrmSubject *subject;
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
