/*
 * machine_check.c: may this row take this event? Owns the checks of actor, required fields, guard and reason, in that order,
 * once as quick tests for the walk and once as a list of all faults for errors and allowed_events().
 *
 * A guard is a core jsonpath over the row as a JSON object. Building that object is what costs, so it is made only from the
 * columns that the guard names, which are found when the machine is compiled; only a guard that takes the row as a whole
 * ($ alone, $.*, $.**) gets all columns. A guard that yields NULL, or anything but true, is not satisfied.
 */
#include "machine.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

/* ---- guards: compiling ------------------------------------------------------------------------------------------------ */

static void
name_guard_column(PrmTransition *transition, char *name, int length)
{
	for (int i = 0; i < transition->guard_column_count; i++)
		if (strlen(transition->guard_columns[i]) == length && memcmp(transition->guard_columns[i], name, length) == 0)
			return;
	if (transition->guard_columns == NULL)
		transition->guard_columns = palloc(sizeof(char *));
	else
		transition->guard_columns =
			repalloc(transition->guard_columns, sizeof(char *) * (transition->guard_column_count + 1));
	transition->guard_columns[transition->guard_column_count++] = pnstrdup(name, length);
}

/* Visits one item of a jsonpath and all below it; a key right after $ is a column. */
static void
scan_guard(PrmTransition *transition, JsonPathItem *item)
{
	JsonPathItem other;
	JsonPathItem next;

	check_stack_depth();
	switch (item->type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiAdd:
		case jpiSub:
		case jpiMul:
		case jpiDiv:
		case jpiMod:
		case jpiStartsWith:
			jspGetLeftArg(item, &other);
			scan_guard(transition, &other);
			jspGetRightArg(item, &other);
			scan_guard(transition, &other);
			break;
		case jpiLikeRegex:
			jspInitByBuffer(&other, item->base, item->content.like_regex.expr);
			scan_guard(transition, &other);
			break;
		case jpiNot:
		case jpiIsUnknown:
		case jpiPlus:
		case jpiMinus:
		case jpiFilter:
		case jpiExists:
			jspGetArg(item, &other);
			scan_guard(transition, &other);
			break;
		case jpiIndexArray:
			for (int i = 0; i < item->content.array.nelems; i++)
			{
				JsonPathItem to;

				if (jspGetArraySubscript(item, &other, &to, i))
					scan_guard(transition, &to);
				scan_guard(transition, &other);
			}
			break;
		case jpiRoot:
			if (jspGetNext(item, &next) && next.type == jpiKey)
			{
				int32 length;
				char *name = jspGetString(&next, &length);

				name_guard_column(transition, name, length);
			}
			else
				transition->guard_whole_row = true;
			break;
		case jpiVariable:
			transition->guard_has_variable = true;
			break;
		case jpiDatetime:
			/* Its argument, where there is one, is a constant template. */
			break;
		case jpiNull:
		case jpiString:
		case jpiNumeric:
		case jpiBool:
		case jpiKey:
		case jpiAny:
		case jpiAnyKey:
		case jpiAnyArray:
		case jpiCurrent:
		case jpiLast:
		case jpiType:
		case jpiSize:
		case jpiAbs:
		case jpiFloor:
		case jpiCeiling:
		case jpiDouble:
		case jpiKeyValue:
			break;
		default:
			/* An item that a later release knows: be safe, hand over the whole row. */
			transition->guard_whole_row = true;
			break;
	}
	if (jspGetNext(item, &next))
		scan_guard(transition, &next);
}

/* To be called in the memory context of the machine. */
void
prm_guard_compile(PrmTransition *transition, const char *text)
{
	JsonPathItem root;

	transition->guard_text = pstrdup(text);
	transition->guard = DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)));
	jspInit(&root, transition->guard);
	scan_guard(transition, &root);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_guard_columns);

/*
 * prm._guard_columns(guard): the columns that a guard names; NULL where it needs the whole row. Raises 22023 for a jsonpath
 * that could never be a condition: one that yields a value instead of a truth, or that has variables.
 */
Datum
prm_guard_columns(PG_FUNCTION_ARGS)
{
	char *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PrmTransition *transition = palloc0(sizeof(PrmTransition));
	JsonPathItem root;
	Datum *names;

	prm_guard_compile(transition, source);
	jspInit(&root, transition->guard);
	if (jspHasNext(&root))
	{
		JsonPathItem item = root;
		JsonPathItem next;

		while (jspGetNext(&item, &next))
			item = next;
		root = item;
	}
	switch (root.type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiNot:
		case jpiIsUnknown:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiExists:
		case jpiStartsWith:
		case jpiLikeRegex:
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("it yields a value instead of true or false"),
							errdetail("The guard is %s.", source), errhint("Compare the value, as in $.budget >= 1000.")));
	}
	if (transition->guard_has_variable)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("it has a variable, which nobody sets"),
						errdetail("The guard is %s.", source), errhint("Name columns of the row, as in $.budget >= 1000.")));
	if (transition->guard_whole_row)
		PG_RETURN_NULL();
	names = palloc(sizeof(Datum) * Max(transition->guard_column_count, 1));
	for (int i = 0; i < transition->guard_column_count; i++)
		names[i] = CStringGetTextDatum(transition->guard_columns[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, transition->guard_column_count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ---- binding to a table ------------------------------------------------------------------------------------------------ */

AttrNumber
prm_find_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return attribute->attnum;
	}
	return 0;
}

/* Binds a transition to the columns of a table. Allocates in the current context. */
void
prm_bind(PrmBinding *binding, const PrmTransition *transition, TupleDesc tupdesc, const char *table)
{
	binding->transition = transition;
	binding->tupdesc = tupdesc;
	binding->partner = prm_find_column(tupdesc, "partner_id");
	binding->fields = palloc0(sizeof(AttrNumber) * Max(transition->field_count, 1));
	binding->field_types = palloc0(sizeof(Oid) * Max(transition->field_count, 1));
	for (int i = 0; i < transition->field_count; i++)
	{
		AttrNumber number = prm_find_column(tupdesc, transition->fields[i].column);

		if (number == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("event \"%s\" requires column \"%s\", which table \"%s\" lacks", transition->event,
							transition->fields[i].column, table),
					 errdetail("The machine was defined when the table had the column, or for another table."),
					 errhint("Add the column, or define a version of the machine that does not require it.")));
		binding->fields[i] = number;
		binding->field_types[i] = TupleDescAttr(tupdesc, number - 1)->atttypid;
	}
	binding->guard_columns = palloc0(sizeof(AttrNumber) * Max(transition->guard_column_count, 1));
	for (int i = 0; i < transition->guard_column_count; i++)
		binding->guard_columns[i] = prm_find_column(tupdesc, transition->guard_columns[i]);
}

/* ---- the quick tests --------------------------------------------------------------------------------------------------- */

bool
prm_actor_allowed(const PrmTransition *transition, const PrmActing *acting)
{
	switch (transition->actor)
	{
		case PRM_ALLOW_ANY:
			return true;
		case PRM_ALLOW_PARTNER:
			return acting->kind == PRM_ACTOR_PARTNER;
		case PRM_ALLOW_VENDOR:
			return acting->kind == PRM_ACTOR_VENDOR;
		case PRM_ALLOW_SYSTEM:
			return acting->kind == PRM_ACTOR_SYSTEM;
	}
	return false;
}

static bool
row_is_of_partner(const PrmBinding *binding, int64 partner_id, TupleTableSlot *row)
{
	bool isnull;
	Datum value;

	if (row == NULL)
		return true;
	value = slot_getattr(row, binding->partner, &isnull);
	return !isnull && TupleDescAttr(binding->tupdesc, binding->partner - 1)->atttypid == INT8OID &&
		   DatumGetInt64(value) == partner_id;
}

/* A partner moves only what is its own, before and after the change. */
bool
prm_partner_owns(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	if (acting->kind != PRM_ACTOR_PARTNER || binding->partner == 0)
		return true;
	return row_is_of_partner(binding, acting->partner_id, old_row) && row_is_of_partner(binding, acting->partner_id, new_row);
}

static bool
blank(const char *text, int length)
{
	for (int i = 0; i < length; i++)
		if (!isspace((unsigned char) text[i]))
			return false;
	return true;
}

/* Not null and not blank; for a key of attributes: present, not JSON null, not a blank text. */
static bool
field_given(const PrmBinding *binding, int index, TupleTableSlot *row)
{
	const PrmField *field = &binding->transition->fields[index];
	bool isnull;
	Datum value = slot_getattr(row, binding->fields[index], &isnull);

	if (isnull)
		return false;
	if (field->attribute != NULL)
	{
		Jsonb *document;
		JsonbValue found;

		if (binding->field_types[index] != JSONBOID)
			return false;
		document = DatumGetJsonbP(value);
		if (!JB_ROOT_IS_OBJECT(document) ||
			getKeyJsonValueFromContainer(&document->root, field->attribute, strlen(field->attribute), &found) == NULL)
			return false;
		return found.type != jbvNull && !(found.type == jbvString && blank(found.val.string.val, found.val.string.len));
	}
	if (binding->field_types[index] == TEXTOID || binding->field_types[index] == VARCHAROID ||
		binding->field_types[index] == BPCHAROID)
	{
		text *content = DatumGetTextPP(value);

		return !blank(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
	}
	return true;
}

bool
prm_fields_given(const PrmBinding *binding, TupleTableSlot *row)
{
	for (int i = 0; i < binding->transition->field_count; i++)
		if (!field_given(binding, i, row))
			return false;
	return true;
}

/* Any value as jsonb: to_jsonb() asks for the type of its argument, so the call carries an expression that tells it. */
static Jsonb *
value_to_jsonb(Datum value, Oid type)
{
	FmgrInfo function;
	Const *argument = makeConst(type, -1, InvalidOid, get_typlen(type), (Datum) 0, true, get_typbyval(type));

	fmgr_info(F_TO_JSONB, &function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &function);
	return DatumGetJsonbP(FunctionCall1(&function, value));
}

static void
push_column(JsonbParseState **state, TupleDesc tupdesc, AttrNumber number, TupleTableSlot *row)
{
	Form_pg_attribute attribute = TupleDescAttr(tupdesc, number - 1);
	JsonbValue key;
	JsonbValue item;
	bool isnull;
	Datum value = slot_getattr(row, number, &isnull);

	key.type = jbvString;
	key.val.string.val = NameStr(attribute->attname);
	key.val.string.len = strlen(key.val.string.val);
	pushJsonbValue(state, WJB_KEY, &key);

	if (isnull)
		item.type = jbvNull;
	else if (attribute->atttypid == TEXTOID)
	{
		text *content = DatumGetTextPP(value);

		item.type = jbvString;
		item.val.string.val = VARDATA_ANY(content);
		item.val.string.len = VARSIZE_ANY_EXHDR(content);
	}
	else if (attribute->atttypid == NUMERICOID && !numeric_is_nan(DatumGetNumeric(value)) &&
			 !numeric_is_inf(DatumGetNumeric(value)))
	{
		item.type = jbvNumeric;
		item.val.numeric = DatumGetNumeric(value);
	}
	else if (attribute->atttypid == BOOLOID)
	{
		item.type = jbvBool;
		item.val.boolean = DatumGetBool(value);
	}
	else
	{
		Jsonb *document = value_to_jsonb(value, attribute->atttypid);

		if (JB_ROOT_IS_SCALAR(document))
			(void) JsonbExtractScalar(&document->root, &item);
		else
		{
			item.type = jbvBinary;
			item.val.binary.data = &document->root;
			item.val.binary.len = VARSIZE(document) - VARHDRSZ;
		}
	}
	pushJsonbValue(state, WJB_VALUE, &item);
}

/* What a guard sees of a row. */
static Jsonb *
guard_document(const PrmBinding *binding, TupleTableSlot *row)
{
	const PrmTransition *transition = binding->transition;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (transition->guard_whole_row)
	{
		for (int i = 0; i < binding->tupdesc->natts; i++)
			if (!TupleDescAttr(binding->tupdesc, i)->attisdropped)
				push_column(&state, binding->tupdesc, i + 1, row);
	}
	else
	{
		for (int i = 0; i < transition->guard_column_count; i++)
			if (binding->guard_columns[i] != 0)
				push_column(&state, binding->tupdesc, binding->guard_columns[i], row);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Leaves its garbage in the current context, which the caller resets. */
bool
prm_guard_holds(const PrmBinding *binding, TupleTableSlot *row)
{
	LOCAL_FCINFO(fcinfo, 4);
	static Jsonb *no_variables = NULL;
	Datum result;

	if (binding->transition->guard == NULL)
		return true;
	if (no_variables == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		no_variables = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
		MemoryContextSwitchTo(caller);
	}
	/* Not DirectFunctionCall: the answer may be NULL. The time-zone aware form, so that dates compare instead of failing. */
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(guard_document(binding, row));
	fcinfo->args[1].value = PointerGetDatum(binding->transition->guard);
	fcinfo->args[2].value = JsonbPGetDatum(no_variables);
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	result = jsonb_path_match_tz(fcinfo);
	return !fcinfo->isnull && DatumGetBool(result);
}

bool
prm_may_take(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	return prm_actor_allowed(binding->transition, acting) && prm_partner_owns(binding, acting, old_row, new_row) &&
		   prm_fields_given(binding, new_row) && prm_guard_holds(binding, new_row) &&
		   (!binding->transition->needs_reason || acting->reason_given);
}

/* ---- all faults, in the order of the checks ----------------------------------------------------------------------------- */

static List *
add_fault(List *faults, PrmFaultKind kind, char *text, char *column)
{
	PrmFault *fault = palloc(sizeof(PrmFault));

	fault->kind = kind;
	fault->text = text;
	fault->column = column;
	return lappend(faults, fault);
}

List *
prm_faults(const PrmBinding *binding, const PrmActing *acting, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	static const char *const allowed[] = {"anybody", "a partner", "the vendor", "the system"};
	const PrmTransition *transition = binding->transition;
	List *faults = NIL;

	if (!prm_actor_allowed(transition, acting))
	{
		char *who = acting->kind == PRM_ACTOR_PARTNER  ? psprintf("partner " INT64_FORMAT, acting->partner_id)
					: acting->kind == PRM_ACTOR_SYSTEM ? pstrdup("the system")
													   : pstrdup("the vendor");

		faults = add_fault(faults, PRM_FAULT_ACTOR, psprintf("it is for %s, not for %s", allowed[transition->actor], who), NULL);
	}
	if (!prm_partner_owns(binding, acting, old_row, new_row))
		faults = add_fault(faults, PRM_FAULT_ACTOR,
						   psprintf("the row is not of partner " INT64_FORMAT ", who acts", acting->partner_id), "partner_id");
	for (int i = 0; i < transition->field_count; i++)
		if (!field_given(binding, i, new_row))
			faults = add_fault(faults, PRM_FAULT_FIELD, psprintf("\"%s\" is empty", transition->fields[i].name),
							   transition->fields[i].column);
	if (!prm_guard_holds(binding, new_row))
		faults = add_fault(faults, PRM_FAULT_GUARD,
						   psprintf("guard %s does not hold for %s", transition->guard_text,
									transition->guard_whole_row
										? "the row"
										: JsonbToCString(NULL, &guard_document(binding, new_row)->root, -1)),
						   NULL);
	if (transition->needs_reason && !acting->reason_given)
		faults = add_fault(faults, PRM_FAULT_REASON, pstrdup("no reason is given"), NULL);
	return faults;
}
