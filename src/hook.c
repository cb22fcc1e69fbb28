/*
 * hook.c: fills the templates of hooks, once per row and text that a hook writes. Owns prm._fill_template() and nothing else;
 * what hooks do is SQL (prm._hooks_run), since it moves sets of rows.
 *
 * The template is read once from left to right and values are copied as they are, so a value that contains {x} stays so.
 */
#include "prm.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

/* The length of the field name that begins here, 0 where none does or it is not closed. Names are a-z, 0-9, _ and dots. */
static int
field_length(const char *text, const char *end)
{
	const char *at = text;

	if (at >= end || !((*at >= 'a' && *at <= 'z') || *at == '_'))
		return 0;
	while (at < end && ((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_' || *at == '.'))
		at++;
	return at < end && *at == '}' ? at - text : 0;
}

/* Appends the value of a field, a path of keys with dots between them; nothing where there is none. */
static void
append_field(StringInfo result, Datum fields, const char *name, int length)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum *keys = palloc(sizeof(Datum) * (length + 1));
	int count = 0;
	int start = 0;
	Datum value;

	for (int i = 0; i <= length; i++)
		if (i == length || name[i] == '.')
		{
			keys[count++] = PointerGetDatum(cstring_to_text_with_len(name + start, i - start));
			start = i + 1;
		}
	/* Not DirectFunctionCall: the answer may be NULL. */
	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = fields;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
	fcinfo->args[1].isnull = false;
	value = jsonb_extract_path_text(fcinfo);
	if (!fcinfo->isnull)
	{
		text *content = DatumGetTextPP(value);

		appendBinaryStringInfo(result, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
	}
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_fill_template);

/* prm._fill_template(template, fields) */
Datum
prm_fill_template(PG_FUNCTION_ARGS)
{
	text *template = PG_GETARG_TEXT_PP(0);
	const char *at = VARDATA_ANY(template);
	const char *end = at + VARSIZE_ANY_EXHDR(template);
	StringInfoData result;

	initStringInfo(&result);
	while (at < end)
	{
		int length = *at == '{' ? field_length(at + 1, end) : 0;

		if (length > 0)
		{
			append_field(&result, PG_GETARG_DATUM(1), at + 1, length);
			at += length + 2;
		}
		else
			appendStringInfoCharMacro(&result, *at++);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(result.data, result.len));
}
