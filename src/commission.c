/*
 * commission.c: the type prm.commission_schedule: text, binary and jsonb forms, equality, order, hash. The
 * forms themselves are read and checked in schedule.c; here faults become errors of the server. Evaluation is
 * in commission_eval.c.
 *
 * Stored: a varlena that holds the binary form of schedule.c, which has one form per schedule, so equality is
 * equality of bytes.
 */
#include "prm.h"

#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "commission.h"

#define EXCERPT 80 /* bytes of a long text that an error repeats */

/* ---- packing ----------------------------------------------------------------------------------------- */

static PrmSchedule *
new_schedule(int count)
{
	return palloc(PRM_SCHEDULE_SIZE(count));
}

static Datum
packed(const PrmSchedule *schedule)
{
	Size room = PRM_PACKED_MAX(schedule->count);
	bytea *result = palloc(VARHDRSZ + room);
	Size length = prm_schedule_pack(schedule, (unsigned char *)VARDATA(result));

	SET_VARSIZE(result, VARHDRSZ + length);
	return PointerGetDatum(result);
}

/* Unpacks a stored value, for which the caller has provided room for as many brackets as it has. */
void
prm_schedule_unpack_datum(Datum value, PrmSchedule *schedule)
{
	bytea *stored = DatumGetByteaPP(value);
	PrmFault fault;

	if (!prm_schedule_unpack((unsigned char *)VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored), schedule,
							 &fault))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a stored commission schedule is damaged"),
						errdetail("At byte %zu: %s.", fault.offset, fault.what),
						errhint("Restore the value from a backup.")));
}

/* A stored value that is already plain in memory. */
static PrmSchedule *
unpacked(bytea *stored)
{
	int count = prm_schedule_packed_count((unsigned char *)VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored));
	PrmSchedule *schedule = new_schedule(Max(count, 1));

	prm_schedule_unpack_datum(PointerGetDatum(stored), schedule);
	return schedule;
}

/* ---- text -------------------------------------------------------------------------------------------- */

/* No text has more brackets than it has colons, and one that is begun. */
static int
most_brackets(const char *text)
{
	int count = 1;

	for (; *text != '\0' && count < PRM_MAX_BRACKETS; text++)
		count += *text == ':';
	return count;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_in);

Datum
prm_commission_schedule_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	int length = (int)strlen(text);
	PrmSchedule *schedule = new_schedule(most_brackets(text));
	PrmFault fault;
	Datum result;

	if (!prm_schedule_parse(text, length, schedule, &fault))
	{
		int shown = length <= EXCERPT ? length : pg_mbcliplen(text, length, EXCERPT);

		ereturn(
			PRM_ESCONTEXT(fcinfo), (Datum)0,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%.*s%s\"", "commission_schedule", shown, text,
					shown < length ? "..." : ""),
			 errdetail("At character %d: %s.", pg_mbstrlen_with_len(text, (int)fault.offset) + 1, fault.what),
			 errhint("%s", fault.hint)));
	}
	result = packed(schedule);
	pfree(schedule);
	PG_RETURN_DATUM(result);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_out);

Datum
prm_commission_schedule_out(PG_FUNCTION_ARGS)
{
	PrmSchedule *schedule = unpacked(PG_GETARG_BYTEA_PP(0));
	Size room = PRM_TEXT_MAX(schedule->count);
	char *text = palloc(room);

	prm_schedule_write(schedule, text, room);
	PG_RETURN_CSTRING(text);
}

/* ---- binary ------------------------------------------------------------------------------------------ */

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_recv);

/* As strict as the text form: a client may send anything. */
Datum
prm_commission_schedule_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo)PG_GETARG_POINTER(0);
	int length = message->len - message->cursor;
	const unsigned char *bytes = (const unsigned char *)pq_getmsgbytes(message, length);
	int count = length < 3 ? 1 : prm_schedule_packed_count(bytes, length);
	PrmSchedule *schedule = new_schedule(Max(count, 1));
	PrmFault fault;

	if (!prm_schedule_unpack(bytes, length, schedule, &fault))
	{
		if (fault.offset == 0 && fault.bracket > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("invalid binary form of type %s", "commission_schedule"),
					 errdetail("In bracket %d: %s.", fault.bracket, fault.what), errhint("%s", fault.hint)));
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("invalid binary form of type %s", "commission_schedule"),
						errdetail("At byte %zu: %s.", fault.offset, fault.what), errhint("%s", fault.hint)));
	}
	PG_RETURN_DATUM(packed(schedule));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_send);

/* The stored form is the wire form; both begin with the version. */
Datum
prm_commission_schedule_send(PG_FUNCTION_ARGS)
{
	bytea *stored = PG_GETARG_BYTEA_PP(0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendbytes(&message, VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* ---- equality, order, hash --------------------------------------------------------------------------- */

static bool
same_bytes(bytea *a, bytea *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static int
compare(bytea *a, bytea *b)
{
	PrmSchedule *left;
	PrmSchedule *right;
	int order;

	if (same_bytes(a, b))
		return 0;
	left = unpacked(a);
	right = unpacked(b);
	order = prm_schedule_compare(left, right);
	pfree(left);
	pfree(right);
	return order;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_cmp);

/* A sort calls this very often: what was detoasted is freed at once. */
Datum
prm_commission_schedule_cmp(PG_FUNCTION_ARGS)
{
	bytea *a = PG_GETARG_BYTEA_PP(0);
	bytea *b = PG_GETARG_BYTEA_PP(1);
	int order = compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	PG_RETURN_INT32(order);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_eq);

Datum
prm_commission_schedule_eq(PG_FUNCTION_ARGS)
{
	bytea *a = PG_GETARG_BYTEA_PP(0);
	bytea *b = PG_GETARG_BYTEA_PP(1);
	bool same = same_bytes(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	PG_RETURN_BOOL(same);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_ne);

Datum
prm_commission_schedule_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!DatumGetBool(prm_commission_schedule_eq(fcinfo)));
}

#define SCHEDULE_COMPARISON(name, relation)                                                                  \
	PGDLLEXPORT PG_FUNCTION_INFO_V1(name);                                                                   \
	Datum name(PG_FUNCTION_ARGS)                                                                             \
	{                                                                                                        \
		PG_RETURN_BOOL(DatumGetInt32(prm_commission_schedule_cmp(fcinfo)) relation 0);                       \
	}
SCHEDULE_COMPARISON(prm_commission_schedule_lt, <)
SCHEDULE_COMPARISON(prm_commission_schedule_le, <=)
SCHEDULE_COMPARISON(prm_commission_schedule_gt, >)
SCHEDULE_COMPARISON(prm_commission_schedule_ge, >=)

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_hash);

Datum
prm_commission_schedule_hash(PG_FUNCTION_ARGS)
{
	bytea *stored = PG_GETARG_BYTEA_PP(0);
	Datum hash = hash_any((unsigned char *)VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored));

	PG_FREE_IF_COPY(stored, 0);
	PG_RETURN_DATUM(hash);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_hash_extended);

Datum
prm_commission_schedule_hash_extended(PG_FUNCTION_ARGS)
{
	bytea *stored = PG_GETARG_BYTEA_PP(0);
	Datum hash = hash_any_extended((unsigned char *)VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored),
								   PG_GETARG_INT64(1));

	PG_FREE_IF_COPY(stored, 0);
	PG_RETURN_DATUM(hash);
}

/* ---- jsonb ------------------------------------------------------------------------------------------- */

static const char *const json_hint =
	"Write {\"mode\": \"marginal\", \"brackets\": [{\"from\": 0, \"rate\": 0.01}]} or {\"mode\": "
	"\"percent\", \"rate\": 0.1}; a "
	"bracket has one of rate (0.05 is 5%), each and amount, and \"ties\": \"low\" is optional.";

#define JSON_FAULT(...)                                                                                      \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),                                                \
					errmsg("invalid jsonb for type %s", "commission_schedule"), errdetail(__VA_ARGS__),      \
					errhint("%s", json_hint)))

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = (char *)text;
	value.val.string.len = (int)strlen(text);
	pushJsonbValue(state, token, &value);
}

/* The value of a bracket. A percentage is written as a fraction: that is what amounts are multiplied by. */
static void
push_value(JsonbParseState **state, PrmNumber number, PrmKind kind)
{
	static const char *const keys[] = {NULL, "rate", "each", "amount"};
	JsonbValue value;

	if (keys[kind] == NULL)
		elog(ERROR, "unknown kind of bracket %d", (int)kind);
	push_text(state, WJB_KEY, keys[kind]);
	value.type = jbvNumeric;
	value.val.numeric =
		int64_div_fast_to_numeric(number.digits, number.scale + (kind == PRM_KIND_PERCENT ? 2 : 0));
	value.val.numeric = DatumGetNumeric(prm_numeric_trim(NumericGetDatum(value.val.numeric)));
	pushJsonbValue(state, WJB_VALUE, &value);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_to_jsonb);

Datum
prm_commission_schedule_to_jsonb(PG_FUNCTION_ARGS)
{
	PrmSchedule *schedule = unpacked(PG_GETARG_BYTEA_PP(0));
	JsonbParseState *state = NULL;
	JsonbValue *whole;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, WJB_KEY, "mode");
	push_text(&state, WJB_VALUE, prm_mode_name(schedule->mode));
	if (schedule->mode == PRM_MODE_PERCENT)
		push_value(&state, schedule->bracket[0].value, PRM_KIND_PERCENT);
	else
	{
		push_text(&state, WJB_KEY, "brackets");
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 0; i < schedule->count; i++)
		{
			JsonbValue value;

			pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
			push_text(&state, WJB_KEY, "from");
			value.type = jbvNumeric;
			value.val.numeric =
				int64_div_fast_to_numeric(schedule->bracket[i].from.digits, schedule->bracket[i].from.scale);
			pushJsonbValue(&state, WJB_VALUE, &value);
			push_value(&state, schedule->bracket[i].value, schedule->bracket[i].kind);
			pushJsonbValue(&state, WJB_END_OBJECT, NULL);
		}
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	if (schedule->ties_low)
	{
		push_text(&state, WJB_KEY, "ties");
		push_text(&state, WJB_VALUE, "low");
	}
	whole = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(whole));
}

/* The number at a key, which must be one; bracket 0 is the schedule itself. */
static PrmNumber
json_number(const JsonbValue *value, const char *key, int bracket)
{
	PrmNumber number;
	char *text;

	if (value->type != jbvNumeric)
		JSON_FAULT("Key \"%s\" of bracket %d is no number.", key, bracket);
	/* A fraction of a percentage may have two places more than the percentage itself, and is trimmed before
	 * it is read. */
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (!prm_number_parse(text, strlen(text), &number))
		JSON_FAULT("Key \"%s\" of bracket %d is \"%s\"; a number has at most 18 significant digits.", key,
				   bracket, text);
	return number;
}

/* A fraction as a percentage: 0.05 is 5%. */
static PrmNumber
json_percentage(const JsonbValue *value, const char *key, int bracket)
{
	JsonbValue scaled = *value;

	if (scaled.type == jbvNumeric)
		scaled.val.numeric =
			DatumGetNumeric(prm_numeric_times(NumericGetDatum(value->val.numeric), prm_numeric_int(100)));
	return json_number(&scaled, key, bracket);
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int)strlen(name) &&
		   memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

static void
json_bracket(JsonbContainer *container, PrmBracket *bracket, int number)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;
	bool has_from = false;
	int values = 0;

	(void)JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void)JsonbIteratorNext(&iterator, &value, true);
		if (is_key(&key, "from"))
		{
			bracket->from = json_number(&value, "from", number);
			has_from = true;
		}
		else if (is_key(&key, "rate"))
		{
			bracket->value = json_percentage(&value, "rate", number);
			bracket->kind = PRM_KIND_PERCENT;
			values++;
		}
		else if (is_key(&key, "each"))
		{
			bracket->value = json_number(&value, "each", number);
			bracket->kind = PRM_KIND_EACH;
			values++;
		}
		else if (is_key(&key, "amount"))
		{
			bracket->value = json_number(&value, "amount", number);
			bracket->kind = PRM_KIND_FIXED;
			values++;
		}
		else
			JSON_FAULT("Bracket %d has the unknown key \"%.*s\".", number, key.val.string.len,
					   key.val.string.val);
	}
	if (!has_from)
		JSON_FAULT("Bracket %d has no key \"from\".", number);
	if (values != 1)
		JSON_FAULT("Bracket %d has %d of the keys rate, each and amount; it needs one.", number, values);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_commission_schedule_from_jsonb);

Datum
prm_commission_schedule_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb *document = PG_GETARG_JSONB_P(0);
	PrmSchedule *schedule = new_schedule(PRM_MAX_BRACKETS);
	JsonbIterator *iterator;
	JsonbValue key;
	JsonbValue value;
	JsonbIteratorToken token;
	bool has_mode = false;
	bool has_rate = false;
	bool has_brackets = false;
	PrmFault fault;

	if (!JB_ROOT_IS_OBJECT(document))
		JSON_FAULT("The document is no object.");
	schedule->count = 0;
	schedule->ties_low = false;
	iterator = JsonbIteratorInit(&document->root);
	(void)JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void)JsonbIteratorNext(&iterator, &value, true);
		if (is_key(&key, "mode"))
		{
			if (value.type != jbvString ||
				!prm_mode_from_name(value.val.string.val, value.val.string.len, &schedule->mode))
				JSON_FAULT("Key \"mode\" is none of percent, marginal, slab and interpolated.");
			has_mode = true;
		}
		else if (is_key(&key, "rate"))
		{
			schedule->bracket[0].from.digits = 0;
			schedule->bracket[0].from.scale = 0;
			schedule->bracket[0].kind = PRM_KIND_PERCENT;
			schedule->bracket[0].value = json_percentage(&value, "rate", 1);
			schedule->count = 1;
			has_rate = true;
		}
		else if (is_key(&key, "ties"))
		{
			if (value.type != jbvString || !(is_key(&value, "low") || is_key(&value, "high")))
				JSON_FAULT("Key \"ties\" is neither \"low\" nor \"high\".");
			schedule->ties_low = is_key(&value, "low");
		}
		else if (is_key(&key, "brackets"))
		{
			JsonbIterator *inner;
			JsonbValue element;

			has_brackets = true;
			if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
				JSON_FAULT("Key \"brackets\" is no array.");
			inner = JsonbIteratorInit(value.val.binary.data);
			(void)JsonbIteratorNext(&inner, &element, true);
			while ((token = JsonbIteratorNext(&inner, &element, true)) == WJB_ELEM)
			{
				if (schedule->count == PRM_MAX_BRACKETS)
					JSON_FAULT("There are more than %d brackets.", PRM_MAX_BRACKETS);
				if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
					JSON_FAULT("Element %d of brackets is no object.", schedule->count + 1);
				json_bracket(element.val.binary.data, &schedule->bracket[schedule->count],
							 schedule->count + 1);
				schedule->count++;
			}
		}
		else
			JSON_FAULT("Unknown key \"%.*s\".", key.val.string.len, key.val.string.val);
	}
	if (!has_mode)
		JSON_FAULT("Key \"mode\" is missing.");
	if (has_rate != (schedule->mode == PRM_MODE_PERCENT) || has_brackets == has_rate)
		JSON_FAULT("The mode percent has the key \"rate\", the others have \"brackets\".");
	if (!prm_schedule_check(schedule, &fault))
	{
		if (fault.bracket > 0)
			JSON_FAULT("In bracket %d: %s.", fault.bracket, fault.what);
		JSON_FAULT("The schedule: %s.", fault.what);
	}
	PG_RETURN_DATUM(packed(schedule));
}
