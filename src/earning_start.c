/*
 * earning_start.c: prm.recurring_start: the first sale of each payee to each customer under a component, from which recurring
 * months count. Called by earning_state.c.
 *
 * A first sale never changes once it stands, so it is read without a lock. Where there is none, its place is held by a row that
 * says infinity, inserted and locked in the order of the keys: whoever comes at the same time waits. The place becomes the
 * first sale, or goes again if nothing is sold after all. What a component paid before any rule of it recurred was written down
 * when the first such rule was (prm._note_first_sales()), so the ledger, however long it is, is never searched here.
 *
 * Replays take the first sales that stand, too: a sale that was credited to somebody else since remains the first one, for
 * recalculations as for new sales.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define START_COLUMNS "plan_id, component, partner_id, customer_id"
#define START_ARRAYS                                                                                                           \
	"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"                     \
	" WITH ORDINALITY AS u(" START_COLUMNS ", n)"
#define READ_STARTS(how)                                                                                                       \
	"SELECT k.n, i.rule_id, i.lineage_id, i.started_on, i.earning_event_id FROM (SELECT * FROM " START_ARRAYS                     \
	" ORDER BY " START_COLUMNS " OFFSET 0) k CROSS JOIN LATERAL (SELECT s.rule_id, s.lineage_id, s.started_on, s.earning_event_id" \
	" FROM prm.recurring_start s WHERE s.program_id OPERATOR(pg_catalog.=) $1 AND s.plan_id OPERATOR(pg_catalog.=) k.plan_id"      \
	" AND s.component OPERATOR(pg_catalog.=) k.component AND s.partner_id OPERATOR(pg_catalog.=) k.partner_id"                    \
	" AND s.customer_id OPERATOR(pg_catalog.=) k.customer_id " how ") i"

static const char *const read_starts_query = READ_STARTS("OFFSET 0");
static const char *const lock_starts_query = READ_STARTS("FOR UPDATE");

static const char *const insert_starts_query =
	"INSERT INTO prm.recurring_start (program_id, " START_COLUMNS ", rule_id, lineage_id, earning_event_id, started_on)"
	" SELECT $1, k.plan_id, k.component, k.partner_id, k.customer_id, k.rule_id, k.lineage_id, k.event_id, 'infinity'"
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
	" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) AS k(" START_COLUMNS ", rule_id, lineage_id, event_id)"
	" ORDER BY " START_COLUMNS " ON CONFLICT (program_id, " START_COLUMNS ") DO NOTHING";

static const char *const store_starts_query =
	"INSERT INTO prm.recurring_start (program_id, " START_COLUMNS ", rule_id, lineage_id, earning_event_id, started_on, recorded_at)"
	" SELECT $1, pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), $10"
	" ON CONFLICT (program_id, " START_COLUMNS ") DO UPDATE SET rule_id = excluded.rule_id, lineage_id = excluded.lineage_id,"
	" earning_event_id = excluded.earning_event_id, started_on = excluded.started_on, recorded_at = excluded.recorded_at";

/* By their places in the table, so that no plan reads all of it. */
static const char *const drop_starts_query =
	"DELETE FROM prm.recurring_start s WHERE s.program_id OPERATOR(pg_catalog.=) $1 AND s.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT i.ctid FROM " START_ARRAYS " CROSS JOIN LATERAL (SELECT t.ctid FROM prm.recurring_start t"
	" WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.plan_id OPERATOR(pg_catalog.=) u.plan_id"
	" AND t.component OPERATOR(pg_catalog.=) u.component AND t.partner_id OPERATOR(pg_catalog.=) u.partner_id"
	" AND t.customer_id OPERATOR(pg_catalog.=) u.customer_id"
	" AND t.started_on OPERATOR(pg_catalog.=) 'infinity'::pg_catalog.date OFFSET 0) i))";

static const Oid start_types[] = {INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
								  DATEARRAYOID};

static void
set_start_key(PrmEarningRun *run, PrmColumns *columns, const PrmStart *start)
{
	prm_set_column(columns, 0, Int64GetDatum(start->key.plan_id), true);
	prm_set_column(columns, 1, CStringGetTextDatum(prm_text_of(run->state, start->key.component)), true);
	prm_set_column(columns, 2, Int64GetDatum(start->key.partner_id), true);
	prm_set_column(columns, 3, Int64GetDatum(start->key.customer_id), true);
}

/* Takes over the rows that a query found, and returns what is still asked for. */
static List *
take_starts(PrmEarningRun *run, List *asked)
{
	List *left = NIL;
	ListCell *cell;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		bool isnull;
		PrmStart *start = list_nth(asked, DatumGetInt64(SPI_getbinval(row, form, 1, &isnull)) - 1);

		start->started_on = DatumGetDateADT(SPI_getbinval(row, form, 4, &isnull));
		if (DATE_IS_NOEND(start->started_on))
			continue;
		start->given = true;
		start->rule_id = DatumGetInt64(SPI_getbinval(row, form, 2, &isnull));
		start->lineage_id = DatumGetInt64(SPI_getbinval(row, form, 3, &isnull));
		/* The events of a forecast are deals, whose numbers are others. */
		start->event_id = run->mode == PRM_EARNING_DEAL ? 0 : DatumGetInt64(SPI_getbinval(row, form, 5, &isnull));
	}
	foreach (cell, asked)
	{
		if (!((PrmStart *) lfirst(cell))->given)
			left = lappend(left, lfirst(cell));
	}
	SPI_freetuptable(SPI_tuptable);
	return left;
}

static PrmColumns *
start_columns(PrmEarningRun *run, List *asked, int width)
{
	PrmColumns *columns = prm_columns(width, list_length(asked));
	ListCell *cell;

	foreach (cell, asked)
	{
		PrmStart *start = lfirst(cell);

		set_start_key(run, columns, start);
		if (width > 4)
		{
			prm_set_column(columns, 4, Int64GetDatum(start->rule_id), true);
			prm_set_column(columns, 5, Int64GetDatum(start->lineage_id), true);
			prm_set_column(columns, 6, Int64GetDatum(start->event_id), true);
		}
		columns->rows++;
	}
	return columns;
}

/* The first sales that are asked for, each of them once. */
void
prm_starts_load(PrmEarningRun *run, List *asked)
{
	static PrmKept read_plan = {"recurring_start"}, lock_plan = {"recurring_start"}, insert_plan;

	if (asked == NIL)
		return;
	prm_run_query(run, &read_plan, read_starts_query, start_types, start_columns(run, asked, 4), NULL, SPI_OK_SELECT);
	asked = take_starts(run, asked);
	if (asked != NIL && run->mode == PRM_EARNING_ACCRUE)
	{
		uint64 found;

		/* Whoever held the place may have given it up while we waited: then it is ours to take. */
		do
		{
			CHECK_FOR_INTERRUPTS();
			prm_run_query(run, &insert_plan, insert_starts_query, start_types, start_columns(run, asked, 7), NULL, SPI_OK_INSERT);
			prm_run_query(run, &lock_plan, lock_starts_query, start_types, start_columns(run, asked, 4), NULL, SPI_OK_SELECT);
			found = SPI_processed;
			if (found < list_length(asked))
				SPI_freetuptable(SPI_tuptable);
		} while (found < list_length(asked));
		(void) take_starts(run, asked);
	}
}

void
prm_starts_store(PrmEarningRun *run)
{
	static PrmKept store_plan, drop_plan = {"recurring_start"};
	int count = hash_get_num_entries(run->state->starts);
	PrmColumns *drop = prm_columns(4, count);
	HASH_SEQ_STATUS scan;
	PrmStart *start;
	ListCell *cell;

	if (count == 0)
		return;
	if (run->state->new_starts != NIL)
	{
		PrmColumns *columns = prm_columns(8, list_length(run->state->new_starts));

		foreach (cell, run->state->new_starts)
		{
			start = lfirst(cell);
			set_start_key(run, columns, start);
			prm_set_column(columns, 4, Int64GetDatum(start->rule_id), true);
			prm_set_column(columns, 5, Int64GetDatum(start->lineage_id), true);
			prm_set_column(columns, 6, Int64GetDatum(start->event_id), true);
			prm_set_column(columns, 7, DateADTGetDatum(start->started_on), true);
			columns->rows++;
		}
		prm_run_query(run, &store_plan, store_starts_query, start_types, columns, &run->recorded_at, SPI_OK_INSERT);
	}
	hash_seq_init(&scan, run->state->starts);
	while ((start = hash_seq_search(&scan)) != NULL)
	{
		if (start->given)
			continue;
		set_start_key(run, drop, start);
		drop->rows++;
	}
	if (drop->rows > 0)
		prm_run_query(run, &drop_plan, drop_starts_query, start_types, drop, NULL, SPI_OK_DELETE);
}
