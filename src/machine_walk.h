/*
 * machine_walk.h: what a statement's walk holds, shared by machine_walk.c (reads the rows), machine_judge.c (judges them),
 * machine_version.c (finds the version that they are on) and machine_lane.c (collects and writes what they did). No other
 * file includes it.
 */
#ifndef PRM_MACHINE_WALK_H
#define PRM_MACHINE_WALK_H

#include "machine.h"

#include "utils/hsearch.h"
#include "utils/tuplestore.h"

typedef enum LaneKind
{
	LANE_EVENT,	   /* an event, or the first state of new rows */
	LANE_IMPORT,   /* a historical import: each row has its own moment */
	LANE_MIGRATION, /* to another version of the machine */
	LANE_DELETE
} LaneKind;

/* The rows of one statement that take the same transition of the same version of a programme's machine. */
typedef struct Lane
{
	LaneKind kind;
	PrmBinding binding; /* LANE_EVENT only */
	bool always_legal;	/* actor and reason fit, and nothing else is to be checked row by row */
	Datum from_text;	/* of the others; 0: new rows */
	const PrmState *to; /* of the others; NULL: deleted rows */
	struct Lane *next;	/* of the others: the machine's list */
	int count;
	int capacity;
	void *subjects; /* int64 or pg_uuid_t */
	TimestampTz *moments; /* LANE_IMPORT only */
} Lane;

/* A version of a programme's machine, with the lanes of the rows that are on it. */
typedef struct WalkMachine
{
	PrmMachine *machine;
	struct WalkMachine *next;
	Lane **lanes; /* by number of transition */
	Lane *others;
	PrmState *last_from;
	PrmState *last_to;
} WalkMachine;

typedef struct WalkProgram
{
	int64 program_id;
	struct WalkProgram *next;
	WalkMachine *machines; /* a list; the version in force first */
	bool is_migrating;
	PrmActing acting;
	struct WalkProgram *ahead_next; /* while the versions of rows ahead are looked up */
	int ahead_first;
	int ahead_count;
} WalkProgram;

typedef struct RowText
{
	const char *data;
	int length;
} RowText;

/* What the walk sees of one row. */
typedef struct WalkRow
{
	int64 program_id;
	PrmSubject subject;
	RowText from;
	RowText to;
	bool changed;
} WalkRow;

typedef struct Walk
{
	const char *machine;
	TupleDesc tupdesc;
	const char *schema;
	const char *table;
	Oid relation; /* the attached table, or the root of the partition; InvalidOid: a table of the model */
	const char *key_name;
	const char *state_name;
	const char *program_name;
	int64 program_id; /* of all rows, where the table has no column for it */
	AttrNumber program_column;
	Oid program_type;
	AttrNumber key_column;
	Oid key_type;
	AttrNumber state_column;
	AttrNumber created_column;
	AttrNumber closed_column;
	bool importing;
	const PrmMigration *migration;
	PrmFiring *firing;
	MemoryContext context; /* of the statement */
	MemoryContext row_context;
	WalkProgram *programs; /* a list */
	int program_count;
	HTAB *index;		  /* of the list, once it is long */
	WalkProgram *program; /* of the last row */
	Tuplestorestate *old_rows; /* NULL: INSERT */
	Tuplestorestate *new_rows; /* NULL: DELETE */
	int old_pointer;
	int new_pointer;
	TupleTableSlot *old_slot;
	TupleTableSlot *new_slot;
	int64 rows; /* walked so far */
	struct WalkAhead *ahead;
	int64 buffered;
	bool connected; /* to SPI */
	Datum actor;
	Datum reason;
	TimestampTz at;
	MemoryContextCallback unpin;
} Walk;

extern Datum prm_text_or_null(const char *text);
extern bool prm_judge_fired(Walk *walk, const WalkRow *row);
extern void prm_judge_given(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row);
extern void prm_judge_first(Walk *walk, WalkProgram *program, const WalkRow *row);
extern void prm_judge_deletion(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row);
extern void prm_judge_change(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row);
extern void prm_walk_connect(Walk *walk);
extern void prm_walk_read(Walk *walk, TupleTableSlot *old_row, TupleTableSlot *new_row, WalkRow *row);
extern WalkProgram *prm_walk_program(Walk *walk, int64 program_id);
extern WalkMachine *prm_walk_machine(Walk *walk, WalkProgram *program, int version);
extern void prm_walk_unpin(void *walk);
extern bool prm_version_matters(const WalkProgram *program, RowText from);
extern int prm_walk_version(Walk *walk, const WalkRow *row);
extern void prm_walk_forget(Walk *walk);
extern Lane *prm_walk_lane(Walk *walk, WalkProgram *program, WalkMachine *machine, const PrmTransition *transition);
extern Lane *prm_walk_other_lane(Walk *walk, WalkMachine *machine, LaneKind kind, const PrmState *to, const char *from,
								 int from_length);
extern void prm_walk_append(Walk *walk, WalkProgram *program, WalkMachine *machine, Lane *lane, const PrmSubject *subject,
							TimestampTz moment);
extern void prm_walk_flush(Walk *walk);

#endif /* PRM_MACHINE_WALK_H */
