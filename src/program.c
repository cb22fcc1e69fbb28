/*
 * program.c: the end of a programme. Owns the trigger that empties a programme before its row goes, and the flag that lets the
 * records of that programme go with it, which prm_append_only() of machine_row.c asks for. What is emptied in which order, and
 * what refuses it, stands in _empty_program() of sql/code/12_program.sql.
 */
#include "prm.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

bool prm_program_deleting = false;

static void
require_owner(void)
{
	if (!has_privs_of_role(GetUserId(), prm_model_owner()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("only the owner of the model deletes a programme"),
						errdetail("With it go its history and all other records, which nobody else may delete."),
						errhint("Ask the owner of schema prm, or end what is in force: the programme itself can stay."),
						err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"), err_generic_string(PG_DIAG_TABLE_NAME, "program")));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_program_deleted);

/* BEFORE DELETE ON prm.program, FOR EACH ROW. */
Datum
prm_program_deleted(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool outer = prm_program_deleting;
	PrmOwnerScope scope;
	Oid type = INT8OID;
	Datum program_id;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || RelationGetRelid(trigger->tg_relation) != prm_model_relation("program", false))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("prm.program_deleted() can only be called as the trigger of prm.program"),
						errdetail("It empties a programme before its row is deleted."),
						errhint("SELECT prm.install() sets it up.")));
	require_owner();
	program_id = SPI_getbinval(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation),
							   SPI_fnumber(RelationGetDescr(trigger->tg_relation), "program_id"), &isnull);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prm_enter_owner(&scope);
	PG_TRY();
	{
		prm_program_deleting = true;
		if (SPI_execute_with_args("SELECT prm._empty_program($1)", 1, &type, &program_id, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "emptying a programme failed");
	}
	PG_FINALLY();
	{
		prm_program_deleting = outer;
	}
	PG_END_TRY();
	prm_leave_owner(&scope);
	SPI_finish();
	return PointerGetDatum(trigger->tg_trigtuple);
}
