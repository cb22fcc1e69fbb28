/*
 * machine_target.c: which table a machine serves. Owns the backend's cache of prm.machine_target, which attach_machine()
 * writes, beside the tables of the model itself, and the keys of rows (PrmSubject).
 *
 * Called by the walk, which refuses tables that are not registered, and by fire() and allowed_events(), which keep their plans
 * here: the plans name the table, so they are made again after the table was renamed.
 */
#include "machine.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* ---- keys -------------------------------------------------------------------------------------------------------------- */

/* Reads the key of a row; false where it is NULL or of no type that a key may have. */
bool
prm_subject_read(PrmSubject *subject, TupleTableSlot *row, AttrNumber column, Oid type)
{
	bool isnull;
	Datum value = slot_getattr(row, column, &isnull);

	if (unlikely(isnull))
		return false;
	switch (type)
	{
		case INT8OID:
			subject->is_uuid = false;
			subject->id = DatumGetInt64(value);
			return true;
		case INT4OID:
			subject->is_uuid = false;
			subject->id = DatumGetInt32(value);
			return true;
		case INT2OID:
			subject->is_uuid = false;
			subject->id = DatumGetInt16(value);
			return true;
		case UUIDOID:
			subject->is_uuid = true;
			subject->uuid = *DatumGetUUIDP(value);
			return true;
		default:
			return false;
	}
}

/* For messages and calls shown in hints: 42, or a quoted uuid. */
char *
prm_subject_text(const PrmSubject *subject)
{
	if (!subject->is_uuid)
		return psprintf(INT64_FORMAT, subject->id);
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&subject->uuid)));
}

/* ---- tables ------------------------------------------------------------------------------------------------------------ */

typedef struct TargetSlotKey
{
	int64 program_id;
	char machine[NAMEDATALEN];
} TargetSlotKey;

typedef struct TargetSlot
{
	TargetSlotKey key;
	uint64 generation;
	bool exists;
	PrmTarget target;
} TargetSlot;

static const char *const target_query =
	"SELECT t.target, t.key_column, t.state_column, t.program_column FROM prm.machine_target t"
	" WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.machine OPERATOR(pg_catalog.=) $2";

static HTAB *targets = NULL;
static SPIPlanPtr target_plan = NULL;
static PrmTarget own_targets[7];

/* The table that is named in statements: of a partition the partitioned one at the top. */
Oid
prm_target_root(Oid relation)
{
	List *ancestors;
	Oid root;

	if (!get_rel_relispartition(relation))
		return relation;
	ancestors = get_partition_ancestors(relation);
	root = ancestors == NIL ? relation : llast_oid(ancestors);
	list_free(ancestors);
	return root;
}

static void
free_plan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		SPI_freeplan(*plan);
	*plan = NULL;
}

/*
 * What was planned, and the names in it. While a fire() runs by these plans, in a statement around this one, they are left
 * to it and never freed; that takes a definition changed by a trigger of the very table.
 */
static void
forget_plans(PrmTarget *target)
{
	if (target->running > 0)
	{
		target->lock_plan = target->read_plan = target->update_plan = NULL;
		target->running = 0;
	}
	else
	{
		free_plan(&target->lock_plan);
		free_plan(&target->read_plan);
		free_plan(&target->update_plan);
		if (target->table != NULL)
		{
			pfree(target->table);
			pfree(target->schema);
		}
	}
	target->table = target->schema = NULL;
}

/* The name under which statements know the table now; what was planned under another one is thrown away. */
static void
name_target(PrmTarget *target)
{
	char *table = get_rel_name(target->relation);
	Oid key_type;
	char *schema = table == NULL ? NULL : get_namespace_name(get_rel_namespace(target->relation));

	if (schema == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table that the machine served is gone"),
						errdetail("prm.machine_target names the table with OID %u, which does not exist.", target->relation),
						errhint("Attach the machine to another table: SELECT prm.attach_machine(...).")));
	key_type = get_atttype(target->relation, get_attnum(target->relation, target->key_column));
	if (target->table != NULL && target->key_type == key_type && strcmp(target->table, table) == 0 &&
		strcmp(target->schema, schema) == 0)
		return;
	forget_plans(target);
	target->schema = MemoryContextStrdup(TopMemoryContext, schema);
	target->table = MemoryContextStrdup(TopMemoryContext, table);
	target->key_type = key_type;
}

static PrmTarget *
own_target(const char *machine)
{
	static const char *const names[][2] = {
		{"lead", "lead_id"}, {"deal", "deal_id"}, {"partner", "partner_id"},
		{"registration", "registration_id"}, {"statement", "statement_id"}, {"payout", "payout_id"},
		{"mdf_request", "request_id"}};

	StaticAssertStmt(lengthof(names) == lengthof(own_targets), "each of the model's tables with a machine has a place");
	for (int i = 0; i < lengthof(names); i++)
	{
		PrmTarget *target = &own_targets[i];

		if (strcmp(machine, names[i][0]) != 0)
			continue;
		target->is_own = true;
		target->relation = prm_model_relation(names[i][0], false);
		target->key_column = unconstify(char *, names[i][1]);
		target->state_column = "state";
		target->program_column = "program_id";
		name_target(target);
		return target;
	}
	return NULL;
}

/* Keeps a column's text. One that it replaces is left to a fire() that may still hold it; registrations hardly change. */
static void
keep_text(char **kept, int column)
{
	char *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	if (value == NULL)
		*kept = NULL;
	else if (*kept == NULL || strcmp(*kept, value) != 0)
		*kept = MemoryContextStrdup(TopMemoryContext, value);
}

static void
load_target(TargetSlot *entry)
{
	PrmTarget *target = &entry->target;
	uint64 generation = prm_definition_generation();
	MemoryContext caller = CurrentMemoryContext;
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2];
	PrmOwnerScope scope;
	bool isnull;

	prm_definitions_loaded();
	entry->exists = false;
	forget_plans(target);
	values[0] = Int64GetDatum(entry->key.program_id);
	values[1] = CStringGetTextDatum(entry->key.machine);
	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (target_plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(target_query, 2, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "preparing failed: %s", target_query);
		target_plan = plan;
	}
	if (SPI_execute_plan(target_plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.machine_target failed");
	if (SPI_processed > 0)
	{
		target->relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		keep_text(&target->key_column, 2);
		keep_text(&target->state_column, 3);
		keep_text(&target->program_column, 4);
		entry->exists = true;
	}
	entry->generation = generation;
	SPI_finish();
	prm_leave_owner(&scope);
	MemoryContextSwitchTo(caller);
}

/* The table that the machine serves in the programme; NULL where it serves none. Good until the next lookup. */
PrmTarget *
prm_target_lookup(int64 program_id, const char *machine)
{
	PrmTarget *own = own_target(machine);
	TargetSlotKey key;
	TargetSlot *entry;
	bool found;

	if (own != NULL)
		return own;
	memset(&key, 0, sizeof(key));
	key.program_id = program_id;
	strlcpy(key.machine, machine, NAMEDATALEN);
	if (targets == NULL)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(TargetSlotKey);
		info.entrysize = sizeof(TargetSlot);
		targets = hash_create("prm machine targets", 16, &info, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(targets, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->generation = 0;
		entry->exists = false;
		memset(&entry->target, 0, sizeof(entry->target));
	}
	if (entry->generation != prm_definition_generation())
		load_target(entry);
	if (!entry->exists)
		return NULL;
	name_target(&entry->target);
	return &entry->target;
}
