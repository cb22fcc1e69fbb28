/*
 * machine_walk.h: what a statement's walk holds, shared by machine_walk.c (judges the rows) and machine_lane.c (collects and
 * writes what they did). No other file includes it.
 */
#ifndef PRM_MACHINE_WALK_H
#define PRM_MACHINE_WALK_H

#include "machine.h"

#include "utils/hsearch.h"

/* The rows of one statement that take the same transition in the same programme. */
typedef struct Lane
{
	PrmBinding binding; /* transition NULL: import */
	bool always_legal;  /* actor and reason fit, and nothing else is to be checked row by row */
	Datum from_text;    /* import only */
	const PrmState *to; /* import only */
	struct Lane *next;  /* import only: the programme's list */
	int count;
	int capacity;
	int64 *subjects;
	TimestampTz *moments; /* import only */
} Lane;

typedef struct WalkProgram
{
	int64 program_id;
	struct WalkProgram *next;
	PrmMachine *machine;
	PrmActing acting;
	Lane **lanes; /* by number of transition */
	Lane *imported;
	PrmState *last_from;
	PrmState *last_to;
} WalkProgram;

typedef struct Walk
{
	const char *machine;
	TupleDesc tupdesc;
	const char *schema;
	const char *table;
	AttrNumber program_column;
	AttrNumber key_column;
	AttrNumber state_column;
	AttrNumber created_column;
	AttrNumber closed_column;
	bool importing;
	PrmFiring *firing;
	MemoryContext context; /* of the statement */
	MemoryContext row_context;
	WalkProgram *programs; /* a list */
	int program_count;
	HTAB *index;		  /* of the list, once it is long */
	WalkProgram *program; /* of the last row */
	TupleTableSlot *old_slot;
	TupleTableSlot *new_slot;
	int64 buffered;
	bool connected; /* to SPI */
	Datum actor;
	Datum reason;
	TimestampTz at;
	MemoryContextCallback unpin;
} Walk;

extern WalkProgram *prm_walk_program(Walk *walk, int64 program_id);
extern void prm_walk_unpin(void *walk);
extern Lane *prm_walk_lane(Walk *walk, WalkProgram *program, const PrmTransition *transition);
extern Lane *prm_walk_imported_lane(Walk *walk, WalkProgram *program, const PrmState *to, const char *from, int from_length);
extern void prm_walk_append(Walk *walk, WalkProgram *program, Lane *lane, int64 subject_id, TimestampTz moment);
extern void prm_walk_flush(Walk *walk);

#endif /* PRM_MACHINE_WALK_H */
