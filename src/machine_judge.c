/*
 * machine_judge.c: what the machine says to one row of a statement: its first state, a change, a deletion, a state that an import
 * or a migration gives. Called by machine_walk.c for each row that it reads; what is legal goes into a lane (machine_lane.c), what
 * is not raises the error (machine_error.c).
 *
 * Only what differs from row to row is done here; what a statement's rows have in common stands in the walk, the programme, the
 * version and the lane.
 */
#include "machine_walk.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static PrmPlace
place_of(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row)
{
	PrmPlace place;

	place.machine = version->machine;
	place.schema = walk->schema;
	place.table = walk->table;
	place.state_column = walk->state_name;
	place.subject = &row->subject;
	place.acting = &program->acting;
	place.old_row = walk->old_rows != NULL ? walk->old_slot : NULL;
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
legal(Walk *walk, WalkProgram *program, Lane *lane)
{
	bool result;
	MemoryContext caller;

	if (likely(lane->always_legal))
		return true;
	caller = MemoryContextSwitchTo(walk->row_context);
	result = prm_may_take(&lane->binding, &program->acting, walk->old_rows != NULL ? walk->old_slot : NULL, walk->new_slot);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(walk->row_context);
	return result;
}

/*
 * An import: any state that the machine knows, at the moment that the row itself tells, without the path. A migration: any
 * state that the version knows which the row moves to.
 */
void
prm_judge_given(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row)
{
	bool has_old = walk->old_rows != NULL;
	PrmState *state = find_state(version->machine, &version->last_to, row->to);
	TimestampTz moment = walk->at;
	LaneKind kind = program->is_migrating ? LANE_MIGRATION : LANE_IMPORT;
	Lane *lane;
	bool isnull = true;
	Datum value = 0;

	if (state == NULL)
	{
		PrmPlace place = place_of(walk, program, version, row);

		prm_error_unknown_state(&place, pnstrdup(row->to.data, row->to.length));
	}
	if (walk->closed_column != 0 && state->is_final)
		value = slot_getattr(walk->new_slot, walk->closed_column, &isnull);
	if (isnull && walk->created_column != 0)
		value = slot_getattr(walk->new_slot, walk->created_column, &isnull);
	if (!isnull)
		moment = DatumGetTimestampTz(value);

	lane = prm_walk_other_lane(walk, version, kind, state, has_old ? row->from.data : NULL, row->from.length);
	prm_walk_append(walk, program, version, lane, &row->subject, moment);
}

void
prm_judge_first(Walk *walk, WalkProgram *program, const WalkRow *row)
{
	WalkMachine *version = program->machines;
	PrmState *state = find_state(version->machine, &version->last_to, row->to);
	Lane *lane;

	if (unlikely(state == NULL || !state->is_initial))
	{
		PrmPlace place = place_of(walk, program, version, row);
		char *name = pnstrdup(row->to.data, row->to.length);

		if (state == NULL)
			prm_error_unknown_state(&place, name);
		prm_error_not_initial(&place, name);
	}
	lane = prm_walk_lane(walk, program, version, state->entry);
	if (unlikely(!legal(walk, program, lane)))
	{
		PrmPlace place = place_of(walk, program, version, row);

		prm_error_refused(&place, state->entry);
	}
	prm_walk_append(walk, program, version, lane, &row->subject, 0);
}

/* A row is gone. Its history stays, unless the definition says otherwise; what waits for it is called off. */
void
prm_judge_deletion(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row)
{
	PrmState *state = find_state(version->machine, &version->last_from, row->from);

	if (program->machines->machine->cascade || (state != NULL && state->has_clock))
		prm_walk_append(walk, program, version,
						prm_walk_other_lane(walk, version, LANE_DELETE, NULL, row->from.data, row->from.length), &row->subject, 0);
}

/* Does the event on its way fit this change exactly? */
bool
prm_judge_fired(Walk *walk, const WalkRow *row)
{
	PrmFiring *firing = walk->firing;

	return firing != NULL && !firing->used && firing->program_id == row->program_id &&
		   prm_same_subject(&firing->subject, &row->subject) && firing->transition->from->length == row->from.length &&
		   memcmp(firing->transition->from->name, row->from.data, row->from.length) == 0 &&
		   firing->transition->to->length == row->to.length &&
		   memcmp(firing->transition->to->name, row->to.data, row->to.length) == 0;
}

/*
 * The version that the row is on if it is another one than was thought: the row may have been inserted while a session that
 * did not see it yet defined the next version. Asked before a change is refused.
 */
static WalkMachine *
other_version(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row)
{
	PrmMachine *machine;

	if (version != program->machines || version->machine->version == 1)
		return NULL;
	prm_walk_connect(walk);
	machine = prm_machine_of_subject(version->machine, &row->subject);
	return machine == version->machine ? NULL : prm_walk_machine(walk, program, machine->version);
}

/* Several events lead there, or the one that does is refused: the one legal event counts, everything else is an error. */
static void
take_only_legal(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row, PrmState *from, PrmState *to)
{
	PrmTransition *chosen = NULL;
	PrmTransition *nearest = NULL; /* the first whose actor fits, else the first */
	PrmPlace place = place_of(walk, program, version, row);
	WalkMachine *other;

	for (int i = 0; i < from->exit_count; i++)
	{
		PrmTransition *transition = from->exits[i];

		if (transition->to != to)
			continue;
		if (legal(walk, program, prm_walk_lane(walk, program, version, transition)))
		{
			if (chosen != NULL)
				prm_error_ambiguous(&place, from, to);
			chosen = transition;
		}
		if (nearest == NULL || (!prm_actor_allowed(nearest, &program->acting) && prm_actor_allowed(transition, &program->acting)))
			nearest = transition;
	}
	if (chosen != NULL)
	{
		prm_walk_append(walk, program, version, prm_walk_lane(walk, program, version, chosen), &row->subject, 0);
		return;
	}
	other = other_version(walk, program, version, row);
	if (other != NULL)
	{
		prm_judge_change(walk, program, other, row);
		return;
	}
	if (nearest == NULL)
		prm_error_no_event(&place, from, to);
	prm_error_refused(&place, nearest);
}

void
prm_judge_change(Walk *walk, WalkProgram *program, WalkMachine *version, const WalkRow *row)
{
	PrmMachine *machine = version->machine;
	PrmState *from = find_state(machine, &version->last_from, row->from);
	PrmState *to = find_state(machine, &version->last_to, row->to);
	PrmTransition *transition = NULL;
	Lane *lane;
	int ways = 0;

	if (unlikely(from == NULL || to == NULL))
	{
		WalkMachine *other = other_version(walk, program, version, row);
		PrmPlace place = place_of(walk, program, version, row);

		if (other != NULL)
		{
			prm_judge_change(walk, program, other, row);
			return;
		}
		if (to == NULL)
			prm_error_unknown_state(&place, pnstrdup(row->to.data, row->to.length));
		prm_error_stranded(&place, pnstrdup(row->from.data, row->from.length));
	}
	if (unlikely(prm_judge_fired(walk, row)))
	{
		PrmPlace place = place_of(walk, program, version, row);

		if (walk->firing->reason != NULL && *walk->firing->reason != '\0')
		{
			walk->reason = prm_text_or_null(walk->firing->reason);
			program->acting.reason_given = true;
		}
		transition = prm_state_exit(from, walk->firing->transition->event);
		if (transition == NULL || transition->to != to)
		{
			WalkMachine *other = other_version(walk, program, version, row);

			if (other == NULL)
				prm_error_wrong_state(&place, from, walk->firing->transition->event);
			prm_judge_change(walk, program, other, row);
			return;
		}
		lane = prm_walk_lane(walk, program, version, transition);
		if (!legal(walk, program, lane))
			prm_error_refused(&place, transition);
		walk->firing->used = true;
		prm_walk_append(walk, program, version, lane, &row->subject, 0);
		return;
	}
	for (int i = 0; i < from->exit_count; i++)
		if (from->exits[i]->to == to && ways++ == 0)
			transition = from->exits[i];
	if (likely(ways == 1))
	{
		lane = prm_walk_lane(walk, program, version, transition);
		if (likely(legal(walk, program, lane)))
		{
			prm_walk_append(walk, program, version, lane, &row->subject, 0);
			return;
		}
	}
	take_only_legal(walk, program, version, row, from, to);
}
