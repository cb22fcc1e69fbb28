/*
 * machine_error.c: the errors of the machines. Each names the row, says in DETAIL every reason and in HINT what is allowed
 * instead, and fills the fields schema, table, column and constraint, which client libraries show apart.
 *
 * 23514 for everything that the machine forbids, 42501 where the wrong party acts.
 */
#include "machine.h"

#include "lib/stringinfo.h"

/* The fields that all of them have. */
static int
fields(const PrmPlace *place, const char *column)
{
	err_generic_string(PG_DIAG_SCHEMA_NAME, place->schema);
	err_generic_string(PG_DIAG_TABLE_NAME, place->table);
	err_generic_string(PG_DIAG_COLUMN_NAME, column);
	err_generic_string(PG_DIAG_CONSTRAINT_NAME, psprintf("machine_%s", place->machine->name));
	return 0;
}

/* The key as an argument of a call. */
static char *
subject_argument(const PrmSubject *subject)
{
	char *key = prm_subject_text(subject);

	return subject->is_uuid ? psprintf("'%s'", key) : key;
}

static char *
state_list(const PrmMachine *machine)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < machine->state_count; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", machine->states[i].name);
	return list.data;
}

/* The events that the row could take now, also those that only lack a reason. */
static char *
allowed_list(const PrmPlace *place, const PrmState *from)
{
	StringInfoData list;
	TupleTableSlot *row = place->new_row;
	int allowed = 0;

	initStringInfo(&list);
	for (int i = 0; i < from->exit_count; i++)
	{
		PrmBinding binding;
		List *faults;
		PrmFault *only;

		prm_bind(&binding, from->exits[i], row->tts_tupleDescriptor, place->table);
		faults = list_concat(prm_faults(&binding, place->acting, place->old_row, row),
							 prm_gate_faults(place->machine, from->exits[i], place->subject));
		only = list_length(faults) == 1 ? linitial(faults) : NULL;
		if (faults != NIL && (only == NULL || only->kind != PRM_FAULT_REASON))
			continue;
		appendStringInfo(&list, "%s\"%s\" to \"%s\"%s", allowed++ > 0 ? ", " : "Events allowed now: ", from->exits[i]->event,
						 from->exits[i]->to->name, only != NULL ? " (with a reason)" : "");
	}
	if (from->exit_count == 0)
		appendStringInfo(&list, "State \"%s\" is final: no event leaves it", from->name);
	else if (allowed == 0)
		appendStringInfoString(&list, "No event is allowed now");
	if (allowed < from->exit_count)
		appendStringInfo(&list, ". SELECT * FROM prm.allowed_events%s('%s', %s) says why not the others",
						 place->subject->is_uuid ? "_uuid" : "", place->machine->name, subject_argument(place->subject));
	appendStringInfoChar(&list, '.');
	return list.data;
}

void
prm_error_unknown_state(const PrmPlace *place, const char *state)
{
	const PrmMachine *machine = place->machine;

	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s: machine \"%s\" has no state \"%s\"", machine->name, prm_subject_text(place->subject),
						   machine->name, state),
					errdetail("The states of version %d in programme " INT64_FORMAT " are %s.", machine->version,
							  machine->program_id, state_list(machine)),
					errhint("Use one of these states, or define a version of the machine that has it."),
					fields(place, place->state_column)));
}

void
prm_error_not_initial(const PrmPlace *place, const char *state)
{
	const PrmMachine *machine = place->machine;

	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s cannot begin in state \"%s\"", machine->name, prm_subject_text(place->subject), state),
					errdetail("Machine \"%s\" (version %d, programme " INT64_FORMAT ") begins in \"%s\".", machine->name,
							  machine->version, machine->program_id,
							  machine->initial != NULL ? machine->initial->name : ""),
					errhint("Insert the row in its initial state and send it events; historical states come in through "
							"prm.import()."),
					fields(place, place->state_column)));
}

void
prm_error_stranded(const PrmPlace *place, const char *state)
{
	const PrmMachine *machine = place->machine;

	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s is in state \"%s\", which machine \"%s\" no longer has", machine->name,
						   prm_subject_text(place->subject), state, machine->name),
					errdetail("The states of version %d in programme " INT64_FORMAT " are %s.", machine->version,
							  machine->program_id, state_list(machine)),
					errhint("Define a version of the machine that has the state and a way out of it."),
					fields(place, place->state_column)));
}

void
prm_error_no_event(const PrmPlace *place, const PrmState *from, const PrmState *to)
{
	const PrmMachine *machine = place->machine;

	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s cannot go from \"%s\" to \"%s\"", machine->name, prm_subject_text(place->subject), from->name,
						   to->name),
					errdetail("No event of machine \"%s\" (version %d, programme " INT64_FORMAT ") leads there.", machine->name,
							  machine->version, machine->program_id),
					errhint("%s", allowed_list(place, from)), fields(place, place->state_column)));
}

void
prm_error_wrong_state(const PrmPlace *place, const PrmState *from, const char *event)
{
	const PrmMachine *machine = place->machine;

	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s cannot take event \"%s\" in state \"%s\"", machine->name, prm_subject_text(place->subject),
						   event, from->name),
					errdetail("Machine \"%s\" (version %d, programme " INT64_FORMAT ") has the event only in other states.",
							  machine->name, machine->version, machine->program_id),
					errhint("%s", allowed_list(place, from)), fields(place, place->state_column)));
}

void
prm_error_ambiguous(const PrmPlace *place, const PrmState *from, const PrmState *to)
{
	const PrmMachine *machine = place->machine;
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < from->exit_count; i++)
		if (from->exits[i]->to == to)
			appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "", from->exits[i]->event);
	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s can go from \"%s\" to \"%s\" by more than one event", machine->name,
						   prm_subject_text(place->subject), from->name, to->name),
					errdetail("Events that lead there: %s.", list.data),
					errhint("Say which: SELECT prm.fire%s('%s', %s, event).", place->subject->is_uuid ? "_uuid" : "", machine->name,
							subject_argument(place->subject)),
					fields(place, place->state_column)));
}

static const char *
next_step(const PrmFault *fault)
{
	switch (fault->kind)
	{
		case PRM_FAULT_FIELD:
			return "Fill the field, in the same UPDATE if you like. ";
		case PRM_FAULT_REASON:
			return "Give a reason: prm.fire(..., reason => '...'), or SET LOCAL prm.reason = '...'. ";
		default:
			return "";
	}
}

void
prm_error_refused(const PrmPlace *place, const PrmTransition *transition)
{
	const PrmMachine *machine = place->machine;
	PrmBinding binding;
	StringInfoData reasons;
	List *faults;
	ListCell *cell;
	PrmFault *first;
	char *what;

	prm_bind(&binding, transition, place->new_row->tts_tupleDescriptor, place->table);
	faults = prm_faults(&binding, place->acting, place->old_row, place->new_row);
	if (transition->from != NULL)
		faults = list_concat(faults, prm_gate_faults(place->machine, transition, place->subject));
	if (faults == NIL)
		elog(ERROR, "event \"%s\" was refused without a reason", transition->event);
	first = linitial(faults);
	initStringInfo(&reasons);
	foreach (cell, faults)
		appendStringInfo(&reasons, "%s%s", reasons.len > 0 ? "; " : "", ((PrmFault *) lfirst(cell))->text);

	what = transition->event == NULL
			   ? psprintf("%s %s cannot begin in state \"%s\"", machine->name, prm_subject_text(place->subject),
						  transition->to->name)
			   : psprintf("%s %s cannot take event \"%s\" to \"%s\"", machine->name, prm_subject_text(place->subject),
						  transition->event, transition->to->name);
	ereport(ERROR,
			(errcode(first->kind == PRM_FAULT_ACTOR ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_CHECK_VIOLATION),
			 errmsg("%s: %s", what, first->text),
			 errdetail("All reasons (machine \"%s\" version %d, programme " INT64_FORMAT "): %s.", machine->name,
					   machine->version, machine->program_id, reasons.data),
			 errhint("%s%s", next_step(first),
					 transition->from != NULL ? allowed_list(place, transition->from)
											  : "A partner registers only what is its own: set partner_id to it."),
			 fields(place, first->column != NULL ? first->column : place->state_column)));
}
