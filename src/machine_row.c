/*
 * machine_row.c: the row trigger of deals, which sets what a deal must carry, and the trigger that keeps a table
 * append-only. Both are called by the executor only.
 */
#include "machine.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* Where the columns of prm.deal stand, found once per query. */
typedef struct DealColumns
{
	AttrNumber program_id;
	AttrNumber deal_id;
	AttrNumber currency;
	AttrNumber state;
	AttrNumber closed_at;
} DealColumns;

static DealColumns *
deal_columns(FunctionCallInfo fcinfo, TupleDesc tupdesc, const char *table)
{
	DealColumns *columns = fcinfo->flinfo->fn_extra;

	if (columns != NULL)
		return columns;
	columns = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(DealColumns));
	columns->program_id = prm_find_column(tupdesc, "program_id");
	columns->deal_id = prm_find_column(tupdesc, "deal_id");
	columns->currency = prm_find_column(tupdesc, "currency");
	columns->state = prm_find_column(tupdesc, "state");
	columns->closed_at = prm_find_column(tupdesc, "closed_at");
	if (columns->program_id == 0 || columns->deal_id == 0 || columns->currency == 0 || columns->state == 0 || columns->closed_at == 0)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.deal_row() serves only the table prm.deal"),
						errdetail("Table \"%s\" lacks a column of prm.deal.", table), errhint("Drop the trigger from this table.")));
	fcinfo->flinfo->fn_extra = columns;
	return columns;
}

/* The state in the version of the machine that the deal is on. */
static PrmState *
reached_in_version(PrmMachine *machine, HeapTuple row, TupleDesc tupdesc, AttrNumber column, text *name)
{
	PrmSubject subject = {0};
	bool isnull;

	subject.id = DatumGetInt64(SPI_getbinval(row, tupdesc, column, &isnull));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	machine = prm_machine_of_subject(machine, &subject);
	SPI_finish();
	return prm_machine_state(machine, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deal_row);

/*
 * BEFORE INSERT OR UPDATE ON prm.deal FOR EACH ROW: an absent currency becomes the programme's, and closed_at is set when the
 * deal reaches a final state. Whether it may reach it is judged afterwards, by the machine trigger.
 */
Datum
prm_deal_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc tupdesc;
	HeapTuple row;
	DealColumns *columns;
	int changed[2];
	Datum values[2];
	bool nulls[2] = {false, false};
	int count = 0;
	int64 program_id;
	Datum state;
	bool isnull;
	bool state_null;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.deal_row() was called in a way that it does not serve"),
						errdetail("It must be fired BEFORE INSERT OR UPDATE, FOR EACH ROW."),
						errhint("Run SELECT prm.install() as the owner of schema prm to restore the model's triggers.")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	tupdesc = RelationGetDescr(trigger->tg_relation);
	columns = deal_columns(fcinfo, tupdesc, RelationGetRelationName(trigger->tg_relation));

	program_id = DatumGetInt64(SPI_getbinval(row, tupdesc, columns->program_id, &isnull));
	if (isnull)
		return PointerGetDatum(row); /* the NOT NULL of the column says it better */

	(void) SPI_getbinval(row, tupdesc, columns->currency, &isnull);
	if (isnull)
	{
		const PrmProgram *program = prm_program_lookup(program_id, true);

		if (program != NULL)
		{
			changed[count] = columns->currency;
			values[count++] = CStringGetTextDatum(program->currency);
		}
	}

	(void) SPI_getbinval(row, tupdesc, columns->closed_at, &isnull);
	state = SPI_getbinval(row, tupdesc, columns->state, &state_null);
	if (isnull && !state_null)
	{
		text *name = DatumGetTextPP(state);
		bool entered = true;

		if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		{
			Datum before = SPI_getbinval(trigger->tg_trigtuple, tupdesc, columns->state, &isnull);

			if (!isnull)
			{
				text *old_name = DatumGetTextPP(before);

				entered = VARSIZE_ANY_EXHDR(old_name) != VARSIZE_ANY_EXHDR(name) ||
						  memcmp(VARDATA_ANY(old_name), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) != 0;
			}
		}
		if (entered)
		{
			PrmMachine *machine = prm_machine_lookup(program_id, "deal", true);
			PrmState *reached =
				machine == NULL ? NULL : prm_machine_state(machine, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

			/* Rare: what the versions do not agree on is for the row's own version to say. */
			if (machine != NULL && machine->version > 1 && TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) &&
				(reached == NULL || reached->final_differs))
				reached = reached_in_version(machine, row, tupdesc, columns->deal_id, name);
			if (reached != NULL && reached->is_final)
			{
				changed[count] = columns->closed_at;
				values[count++] = TimestampTzGetDatum(prm_current_time());
			}
		}
	}
	if (count > 0)
		row = heap_modify_tuple_by_cols(row, tupdesc, count, changed, values, nulls);
	return PointerGetDatum(row);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_append_only);

/* BEFORE UPDATE OR DELETE OR TRUNCATE, FOR EACH STATEMENT: nobody changes what has been recorded. */
Datum
prm_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *table;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.append_only() can only be called as a trigger"),
						errdetail("It refuses UPDATE, DELETE and TRUNCATE of the table that it stands on."),
						errhint("CREATE TRIGGER ... BEFORE UPDATE OR DELETE OR TRUNCATE ... FOR EACH STATEMENT.")));
	/* The history goes with its row where the machine's definition says so. */
	if (prm_history_deleting && TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		RelationGetRelid(trigger->tg_relation) == prm_model_relation("state_history", false))
		PG_RETURN_POINTER(NULL);
	/* So do the records of a programme that is deleted as a whole; it had no ledger. */
	if (prm_program_deleting && TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && RelationGetNamespace(trigger->tg_relation) == prm_schema_oid() &&
		RelationGetRelid(trigger->tg_relation) != prm_model_relation("ledger", false))
		return TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ? PointerGetDatum(trigger->tg_trigtuple) : PointerGetDatum(NULL);
	table = RelationGetRelationName(trigger->tg_relation);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("table \"%s\" is append-only", table),
					errdetail("What it records stays as it was recorded: rows are neither changed nor deleted, by anyone."),
					errhint("Record a correction as a new row."), err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"),
					err_generic_string(PG_DIAG_TABLE_NAME, table)));
	PG_RETURN_POINTER(NULL);
}
