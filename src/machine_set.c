/*
 * machine_set.c: the options of fire(): the version that the caller saw, and the values to set in the same UPDATE.
 *
 * Owns their form and the conversion of the values, which the server does (jsonb_to_record, as in jsonb_populate_record), one
 * column at a time, so that an error names the column. The UPDATE itself is fire()'s: an ordinary one with the caller's rights
 * on the columns, before which nothing is checked but that the columns exist and are not the key, the programme or the state.
 * A value for a jsonb column attributes is merged into what the row has.
 */
#include "machine.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define OPTIONS_HINT "Pass '{}', '{\"version\": 17}' or '{\"set\": {\"budget\": 5000, \"attributes\": {\"x\": 1}}}'."

static void
bad_option(const char *message, const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message), errdetail("%s", detail),
					errhint(OPTIONS_HINT)));
}

/* ---- form ---------------------------------------------------------------------------------------------------------------- */

static bool
is_key(const JsonbValue *value, const char *name)
{
	return value->val.string.len == strlen(name) && memcmp(value->val.string.val, name, value->val.string.len) == 0;
}

static void
read_values(PrmFireOptions *options, JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;

	options->values = palloc0(sizeof(PrmFireValue) * Max(JsonContainerSize(object), 1));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		PrmFireValue *item = &options->values[options->count];

		if (token != WJB_KEY)
			continue;
		item->column = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		item->is_object = value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data);
		item->json = JsonbValueToJsonb(&value);
		options->count++;
	}
}

/* Reads {"version": n, "set": {column: value}}. */
void
prm_fire_options_read(PrmFireOptions *options, Jsonb *document)
{
	JsonbIterator *iterator = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(document))
		bad_option("options is no JSON object", "The options are version and set.");
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool is_version;

		if (token != WJB_KEY)
			continue;
		is_version = is_key(&value, "version");
		if (!is_version && !is_key(&value, "set"))
			bad_option(psprintf("unknown option \"%s\"", pnstrdup(value.val.string.val, value.val.string.len)),
					   "The options are version and set.");
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (is_version)
		{
			if (value.type != jbvNumeric)
				bad_option("option \"version\" is no number",
						   "It is the history_id of the last entry of the history that you saw.");
			options->seen = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
		}
		else
		{
			if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
				bad_option("option \"set\" is no JSON object",
						   "It names columns of the row, each with the value that it gets together with the new state.");
			read_values(options, value.val.binary.data);
		}
	}
}

/* ---- columns -------------------------------------------------------------------------------------------------------------- */

static bool
is_reserved(const PrmTarget *target, const char *column)
{
	return strcmp(column, target->state_column) == 0 || strcmp(column, target->key_column) == 0 ||
		   (target->program_column != NULL && strcmp(column, target->program_column) == 0);
}

static void
append_name(StringInfo names, const char *name)
{
	appendStringInfo(names, "%s\"%s\"", names->len > 0 ? ", " : "", name);
}

/* Finds the columns in the table; refuses those that it lacks and those that no event may set, all of them by name. */
void
prm_fire_options_bind(PrmFireOptions *options, const PrmTarget *target)
{
	StringInfoData unknown;
	StringInfoData refused;

	initStringInfo(&unknown);
	initStringInfo(&refused);
	for (int i = 0; i < options->count; i++)
	{
		PrmFireValue *item = &options->values[i];
		HeapTuple tuple = SearchSysCacheAttName(target->relation, item->column);
		Form_pg_attribute attribute = HeapTupleIsValid(tuple) ? (Form_pg_attribute) GETSTRUCT(tuple) : NULL;

		if (attribute == NULL || attribute->attnum <= 0)
			append_name(&unknown, item->column);
		else if (is_reserved(target, item->column) || attribute->attgenerated != '\0' ||
				 attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			append_name(&refused, item->column);
		else
		{
			item->type = attribute->atttypid;
			item->typmod = attribute->atttypmod;
			item->is_merged = strcmp(item->column, "attributes") == 0 && item->type == JSONBOID;
		}
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
	}
	if (unknown.len > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"set\" names what is no column of %s.%s: %s", target->schema, target->table, unknown.data),
						errdetail("The keys of \"set\" are columns of the table that the machine serves."),
						errhint("What has no column of its own can go into a column attributes: '{\"set\": {\"attributes\": {\"x\": 1}}}'."),
						err_generic_string(PG_DIAG_SCHEMA_NAME, target->schema),
						err_generic_string(PG_DIAG_TABLE_NAME, target->table)));
	if (refused.len > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"set\" cannot set %s", refused.data),
						errdetail("The state of a row of %s.%s changes by the event alone; its key, its programme and generated "
								  "columns do not change.",
								  target->schema, target->table),
						errhint("Leave them out of \"set\"."), err_generic_string(PG_DIAG_SCHEMA_NAME, target->schema),
						err_generic_string(PG_DIAG_TABLE_NAME, target->table)));
	for (int i = 0; i < options->count; i++)
		if (options->values[i].is_merged && !options->values[i].is_object)
			bad_option("option \"set\": the value of \"attributes\" is no JSON object",
					   "It is merged into the attributes that the row has; a key that is given takes the place of the one there.");
}

/* ---- values --------------------------------------------------------------------------------------------------------------- */

static void
name_column(void *arg)
{
	const PrmFireValue *item = arg;

	errcontext("value for column \"%s\" in option \"set\" of prm.fire()", item->column);
	errhint("Column \"%s\" is of type %s; its value is converted as by jsonb_populate_record().", item->column,
			format_type_with_typemod(item->type, item->typmod));
}

/* Converts the values to the types of their columns. SPI is connected; the values lie in the present context. */
void
prm_fire_options_convert(PrmFireOptions *options)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid types[1] = {JSONBOID};

	for (int i = 0; i < options->count; i++)
	{
		PrmFireValue *item = &options->values[i];
		ErrorContextCallback context;
		JsonbParseState *state = NULL;
		JsonbValue key;
		JsonbValue value;
		Datum values[1];
		Datum result;

		key.type = jbvString;
		key.val.string.val = "value";
		key.val.string.len = 5;
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		pushJsonbValue(&state, WJB_KEY, &key);
		if (!JB_ROOT_IS_SCALAR(item->json) || !JsonbExtractScalar(&item->json->root, &value))
		{
			value.type = jbvBinary;
			value.val.binary.data = &item->json->root;
			value.val.binary.len = VARSIZE(item->json) - VARHDRSZ;
		}
		pushJsonbValue(&state, WJB_VALUE, &value);
		values[0] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));

		context.previous = error_context_stack;
		context.callback = name_column;
		context.arg = item;
		error_context_stack = &context;
		if (SPI_execute_with_args(psprintf("SELECT v.value FROM pg_catalog.jsonb_to_record($1) AS v(value %s)",
										   format_type_extended(item->type, item->typmod,
																FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY)),
								  1, types, values, NULL, true, 1) != SPI_OK_SELECT ||
			SPI_processed != 1)
			elog(ERROR, "converting a value failed");
		error_context_stack = context.previous;
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &item->isnull);
		MemoryContextSwitchTo(caller);
		if (!item->isnull)
			item->value = datumCopy(result, get_typbyval(item->type), get_typlen(item->type));
		SPI_freetuptable(SPI_tuptable);
	}
}

/* For the UPDATE: ", column = $first ...", to be appended to its SET list. */
char *
prm_fire_options_assign(const PrmFireOptions *options, int first)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < options->count; i++)
	{
		const char *column = quote_identifier(options->values[i].column);

		if (options->values[i].is_merged)
			appendStringInfo(&list, ", %s = COALESCE(t.%s, '{}'::pg_catalog.jsonb) OPERATOR(pg_catalog.||) $%d", column, column,
							 first + i);
		else
			appendStringInfo(&list, ", %s = $%d", column, first + i);
	}
	return list.data;
}
