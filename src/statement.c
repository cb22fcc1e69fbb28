/*
 * statement.c: what a partner may read of others on its statements. Owns prm._statement_customer(), which reads past the
 * caller's rights: a partner has none on customers, but its statement names them, as far as the programme's policy goes.
 *
 * Called by my_statement(), once per line that is shown. Writes nothing.
 */
#include "prm.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* The acting partner is looked up with the caller's identity, before the owner's is taken on. */
static const char *const customer_query =
	"SELECT CASE WHEN $3 OPERATOR(pg_catalog.=) 0 THEN c.name ELSE CASE coalesce(p.customer_shown, 'full')"
	" WHEN 'full' THEN c.name WHEN 'initials' THEN (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.\"left\"(w, 1), '.'), ' ')"
	" FROM pg_catalog.regexp_split_to_table(c.name, '[[:space:]]+') AS w) END END"
	" FROM prm.ledger l"
	" JOIN prm.earning_event e ON e.program_id OPERATOR(pg_catalog.=) $1 AND e.earning_event_id OPERATOR(pg_catalog.=) l.earning_event_id"
	" LEFT JOIN prm.earning_event o ON o.program_id OPERATOR(pg_catalog.=) $1 AND o.earning_event_id OPERATOR(pg_catalog.=) e.applies_to_id"
	" JOIN prm.customer c ON c.program_id OPERATOR(pg_catalog.=) $1"
	" AND c.customer_id OPERATOR(pg_catalog.=) coalesce(e.customer_id, o.customer_id)"
	" LEFT JOIN prm.statement_policy p ON p.program_id OPERATOR(pg_catalog.=) $1"
	" WHERE l.program_id OPERATOR(pg_catalog.=) $1 AND l.entry_id OPERATOR(pg_catalog.=) $2"
	" AND ($3 OPERATOR(pg_catalog.=) 0 OR l.partner_id OPERATOR(pg_catalog.=) $3)";

static SPIPlanPtr customer_plan = NULL;

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_statement_customer);

Datum
prm_statement_customer(PG_FUNCTION_ARGS)
{
	Oid types[3] = {INT8OID, INT8OID, INT8OID};
	int64 partner = prm_acting_partner(PG_GETARG_INT64(0));
	MemoryContext caller = CurrentMemoryContext;
	PrmOwnerScope scope;
	Datum values[3];
	char *label = NULL;

	/* Staff sees what it has been granted; whoever has no right on customers is not told by this way. */
	if (partner == 0 && pg_class_aclcheck(prm_model_relation("customer", false), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		PG_RETURN_NULL();
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = Int64GetDatum(partner);
	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (customer_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(customer_query, 3, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", customer_query);
		customer_plan = plan;
	}
	if (SPI_execute_plan(customer_plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading the customer of a ledger entry failed");
	if (SPI_processed > 0)
	{
		char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
			label = MemoryContextStrdup(caller, value);
	}
	SPI_finish();
	prm_leave_owner(&scope);
	if (label == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(label));
}
