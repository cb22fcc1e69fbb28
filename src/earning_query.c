/*
 * earning_query.c: statements that take arrays: a value of each column for each row. Called by the files of the paying half
 * that read and write tables; owns no table.
 *
 * A plan that was made while a table was empty reads all of it for each key, and one long transaction may fill it. So a plan
 * remembers how large its table was, and is made anew when the table has outgrown it.
 */
#include "earning_pay.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/rel.h"

SPIPlanPtr
prm_kept_plan(PrmKept *kept, const char *query, int count, const Oid *types)
{
	if (kept->table != NULL)
	{
		Relation table = table_open(prm_model_relation(kept->table, false), AccessShareLock);
		BlockNumber blocks = RelationGetNumberOfBlocks(table);

		table_close(table, NoLock);
		if (kept->plan == NULL || blocks / 4 > kept->blocks + 4)
		{
			SPIPlanPtr outgrown = kept->plan;

			kept->plan = NULL;
			kept->blocks = blocks;
			if (outgrown != NULL)
				SPI_freeplan(outgrown);
		}
	}
	return prm_earning_plan(&kept->plan, query, count, types);
}

Datum
prm_array(const Datum *values, const bool *nulls, int count, Oid type)
{
	int dimensions[1] = {count};
	int bounds[1] = {1};
	bool by_value = type == INT8OID || type == INT4OID || type == DATEOID;
	int length = type == INT8OID ? sizeof(int64) : by_value ? sizeof(int32) : -1;
	char alignment = type == INT8OID ? TYPALIGN_DOUBLE : TYPALIGN_INT;

	return PointerGetDatum(construct_md_array((Datum *) values, (bool *) nulls, 1, dimensions, bounds, type, length,
											  type == INT8OID ? FLOAT8PASSBYVAL : by_value, alignment));
}

PrmColumns *
prm_columns(int width, int room)
{
	PrmColumns *columns = palloc0(sizeof(PrmColumns));

	columns->width = width;
	columns->values = palloc(sizeof(Datum *) * width);
	columns->nulls = palloc(sizeof(bool *) * width);
	for (int i = 0; i < width; i++)
	{
		columns->values[i] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(room, 1));
		columns->nulls[i] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(bool) * Max(room, 1));
	}
	return columns;
}

/* Runs a statement over the programme, the columns, and perhaps a moment. */
void
prm_run_query(PrmEarningRun *run, PrmKept *kept, const char *query, const Oid *array_types, const PrmColumns *columns,
		  const TimestampTz *moment, int expected)
{
	static const Oid elements[][2] = {{INT8ARRAYOID, INT8OID}, {TEXTARRAYOID, TEXTOID}, {DATEARRAYOID, DATEOID},
									  {INT4ARRAYOID, INT4OID}, {NUMERICARRAYOID, NUMERICOID}};
	MemoryContext caller = CurrentMemoryContext;
	Datum values[16];
	Oid types[16];
	int count = 1 + columns->width;

	values[0] = Int64GetDatum(run->program_id);
	types[0] = INT8OID;
	for (int i = 0; i < columns->width; i++)
	{
		Oid element = InvalidOid;

		types[i + 1] = array_types[i];
		for (int j = 0; j < lengthof(elements); j++)
			if (elements[j][0] == array_types[i])
				element = elements[j][1];
		values[i + 1] = prm_array(columns->values[i], columns->nulls[i], columns->rows, element);
	}
	if (moment != NULL)
	{
		types[count] = TIMESTAMPTZOID;
		values[count++] = TimestampTzGetDatum(*moment);
	}
	if (SPI_execute_plan(prm_kept_plan(kept, query, count, types), values, NULL, run->read_only, 0) != expected)
		elog(ERROR, "counting what was earned failed: %s", query);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < columns->width; i++)
		pfree(DatumGetPointer(values[i + 1]));
}
