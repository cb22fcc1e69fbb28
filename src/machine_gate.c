/*
 * machine_gate.c: what an event waits for beyond the row itself: answers to criteria and decisions of reviewers. Owns the
 * call of prm._gate_faults(), which knows both, for whole batches of subjects and for one.
 *
 * Only transitions that are compiled as gated come here, one query for each batch of a programme and transition, before its
 * history is written. The answers lie in other tables than the row, so they are read with the rights of the model's owner:
 * what a caller may see must not decide what holds for everybody.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

static SPIPlanPtr gate_plan = NULL;

static const char *const gate_query =
	"SELECT f.fault, f.hint, coalesce(f.subject_id::pg_catalog.text, f.subject_uuid::pg_catalog.text)"
	" FROM prm._gate_faults($1, $2, $3, $4, $5, $6, $7) f";

/*
 * Runs the query into SPI_tuptable; the caller has connected SPI. Read-only means with the snapshot of the caller's
 * statement, for lists; the check itself looks at what is committed now.
 */
static void
select_faults(const PrmMachine *machine, const PrmTransition *transition, Datum subjects, bool is_uuid, bool read_only)
{
	Oid types[7] = {INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT8ARRAYOID, UUIDARRAYOID};
	Datum values[7];
	char nulls[7] = {' ', ' ', ' ', ' ', ' ', 'n', 'n'};
	PrmOwnerScope scope;
	int which = is_uuid ? 6 : 5;

	values[0] = Int64GetDatum(machine->program_id);
	values[1] = machine->name_text;
	values[2] = Int32GetDatum(machine->version);
	values[3] = transition->from->name_text;
	values[4] = transition->event_text;
	values[5] = values[6] = (Datum) 0;
	values[which] = subjects;
	nulls[which] = ' ';

	prm_enter_owner(&scope);
	if (gate_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(gate_query, 7, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", gate_query);
		gate_plan = plan;
	}
	if (SPI_execute_plan(gate_plan, values, nulls, read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "calling prm._gate_faults failed");
	prm_leave_owner(&scope);
}

static char *
found_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Refuses the first subject of a batch that the gates of its transition hold back. The caller has connected SPI. */
void
prm_gate_check(const char *schema, const char *table, const char *state_column, const PrmHistoryBatch *batch,
			   const PrmTransition *transition)
{
	const PrmMachine *machine = batch->machine;
	MemoryContext caller = CurrentMemoryContext;
	StringInfoData reasons;
	char *subject;

	select_faults(machine, transition, prm_subject_array(batch->subjects, batch->count, batch->is_uuid), batch->is_uuid, false);
	MemoryContextSwitchTo(caller);
	if (SPI_processed == 0)
	{
		SPI_freetuptable(SPI_tuptable);
		return;
	}
	subject = found_text(0, 3);
	initStringInfo(&reasons);
	for (uint64 i = 0; i < SPI_processed; i++)
		if (strcmp(found_text(i, 3), subject) == 0)
			appendStringInfo(&reasons, "%s%s", i > 0 ? "; " : "", found_text(i, 1));
	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("%s %s cannot take event \"%s\" to \"%s\": %s", machine->name, subject, transition->event,
						   transition->to->name, found_text(0, 1)),
					errdetail("All reasons (machine \"%s\" version %d, programme " INT64_FORMAT "): %s.", machine->name,
							  machine->version, machine->program_id, reasons.data),
					errhint("%s", found_text(0, 2)), err_generic_string(PG_DIAG_SCHEMA_NAME, schema),
					err_generic_string(PG_DIAG_TABLE_NAME, table), err_generic_string(PG_DIAG_COLUMN_NAME, state_column),
					err_generic_string(PG_DIAG_CONSTRAINT_NAME, psprintf("machine_%s", machine->name))));
}

/* What the gates of a transition hold against one subject, for lists. */
List *
prm_gate_faults(const PrmMachine *machine, const PrmTransition *transition, const PrmSubject *subject)
{
	MemoryContext caller = CurrentMemoryContext;
	List *faults = NIL;
	Datum subjects;

	if (!transition->is_gated)
		return NIL;
	subjects = prm_subject_array(subject->is_uuid ? (const void *) &subject->uuid : (const void *) &subject->id, 1,
								 subject->is_uuid);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	select_faults(machine, transition, subjects, subject->is_uuid, true);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PrmFault *fault = palloc(sizeof(PrmFault));

		fault->kind = PRM_FAULT_GATE;
		fault->text = found_text(i, 1);
		fault->column = NULL;
		faults = lappend(faults, fault);
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return faults;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_reviewer);

/* A setting that anybody can set is no identity: only roles that may act for others are believed what prm.actor says. */
Datum
prm_reviewer(PG_FUNCTION_ARGS)
{
	Oid role = GetUserId();

	if (superuser_arg(role) || has_privs_of_role(role, prm_model_owner()) || prm_has_profile(role, "app") ||
		prm_has_profile(role, "admin"))
		PG_RETURN_TEXT_P(cstring_to_text(prm_acting_name()));
	PG_RETURN_TEXT_P(cstring_to_text(GetUserNameFromId(role, false)));
}
