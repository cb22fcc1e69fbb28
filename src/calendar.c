/*
 * calendar.c: prm.business_add(), prm.business_between() and the backend's cache of calendars. The arithmetic itself is in
 * calendar_time.c; here are the rows, the time zones and the errors.
 *
 * A calendar is compiled at its first use and kept until a definition changes (definitions.c), whether in this session or in
 * another. It is read with the owner's rights: who may move a lead need not be able to read the calendars. Both functions
 * are STABLE and PARALLEL SAFE: a worker loads its own copy.
 */
#include "prm.h"
#include "calendar.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Between the epochs of time zones, 1970, and of timestamps, 2000. */
#define SECONDS_BETWEEN_EPOCHS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* A name is 63 bytes at most (a constraint says so); an empty one stands for the default calendar. */
typedef struct CalendarKey
{
	int64 program_id;
	char name[NAMEDATALEN];
} CalendarKey;

typedef struct CalendarEntry
{
	CalendarKey key;
	char *name;
	PrmCalendar calendar;
	bool has_hours;
} CalendarEntry;

static HTAB *calendars = NULL;
static MemoryContext calendars_context = NULL;
static uint64 calendars_generation = 0;

/* ---- time zones -------------------------------------------------------------------------------------------------------- */

/* PrmZone over a zone of the server. */
static void
server_zone(const void *zone, int64_t moment, int64_t *ahead, int64_t *until)
{
	int64 second = moment / USECS_PER_SEC - (moment % USECS_PER_SEC < 0 ? 1 : 0);
	pg_time_t at = (pg_time_t) (second + SECONDS_BETWEEN_EPOCHS);
	pg_time_t boundary;
	long before, after;
	int before_isdst, after_isdst;
	int found = pg_next_dst_boundary(&at, &before, &before_isdst, &boundary, &after, &after_isdst, (const pg_tz *) zone);

	if (found < 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range"),
						errdetail("Time zone \"%s\" is not known at that time.", pg_get_timezone_name((pg_tz *) zone)),
						errhint("Check the moment.")));
	*ahead = (int64) before * USECS_PER_SEC;
	*until = found == 0 ? PG_INT64_MAX : ((int64) boundary - SECONDS_BETWEEN_EPOCHS) * USECS_PER_SEC;
}

/* ---- the cache --------------------------------------------------------------------------------------------------------- */

static void
run_query(const char *query, int argument_count, Datum *values)
{
	Oid types[2] = {INT8OID, TEXTOID};

	/* Not read-only, so with a snapshot of its own: see load_programs() in session.c. */
	if (SPI_execute_with_args(query, argument_count, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading the calendars failed: %s", query);
}

static Datum
cell(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static void
load_hours(CalendarEntry *entry, MemoryContext context)
{
	bool isnull;

	for (int day = 0; day < 7; day++)
		entry->calendar.week[day] = MemoryContextAlloc(context, sizeof(PrmHours) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int day = DatumGetInt32(cell(i, 1, &isnull)) - 1;
		PrmHours *hours = &entry->calendar.week[day][entry->calendar.week_count[day]++];

		hours->opens = DatumGetTimeADT(cell(i, 2, &isnull));
		hours->closes = DatumGetTimeADT(cell(i, 3, &isnull));
		entry->has_hours = true;
	}
}

static void
load_holidays(CalendarEntry *entry, MemoryContext context)
{
	bool isnull;

	entry->calendar.holidays = MemoryContextAlloc(context, sizeof(PrmHoliday) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PrmHoliday *holiday = &entry->calendar.holidays[entry->calendar.holiday_count++];

		holiday->day = DatumGetDateADT(cell(i, 1, &isnull));
		holiday->hours.opens = DatumGetTimeADT(cell(i, 2, &isnull));
		holiday->closed = isnull;
		holiday->hours.closes = isnull ? 0 : DatumGetTimeADT(cell(i, 3, &isnull));
		entry->has_hours |= !holiday->closed;
	}
}

static void
no_calendar(const CalendarKey *key)
{
	if (key->name[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("programme " INT64_FORMAT " has no default calendar", key->program_id),
						errdetail("No row of prm.calendar has is_default, and no calendar is named."),
						errhint("INSERT INTO prm.calendar (calendar, is_default) VALUES ('office', true), and its hours into "
								"prm.calendar_hours."),
						err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"), err_generic_string(PG_DIAG_TABLE_NAME, "calendar")));
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("programme " INT64_FORMAT " has no calendar \"%s\"", key->program_id, key->name),
					errdetail("No row of prm.calendar has this name."),
					errhint("SELECT calendar FROM prm.calendar lists them."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"), err_generic_string(PG_DIAG_TABLE_NAME, "calendar")));
}

/* Compiles a calendar into a context of its own, which the cache adopts when nothing can fail any more. */
static MemoryContext
load_calendar(const CalendarKey *key, CalendarEntry *entry)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "prm calendar", ALLOCSET_SMALL_SIZES);
	PrmOwnerScope scope;
	Datum values[2];
	bool isnull;
	char *zone_name;
	pg_tz *zone;

	prm_definitions_loaded();
	memset(entry, 0, sizeof(CalendarEntry));
	entry->key = *key;
	values[0] = Int64GetDatum(key->program_id);
	values[1] = CStringGetTextDatum(key->name);
	prm_enter_owner(&scope);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (key->name[0] == '\0')
		run_query("SELECT c.calendar, c.time_zone FROM prm.calendar c"
				  " WHERE c.program_id OPERATOR(pg_catalog.=) $1 AND c.is_default", 1, values);
	else
		run_query("SELECT c.calendar, c.time_zone FROM prm.calendar c"
				  " WHERE c.program_id OPERATOR(pg_catalog.=) $1 AND c.calendar OPERATOR(pg_catalog.=) $2", 2, values);
	if (SPI_processed == 0)
		no_calendar(key);
	entry->name = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	values[1] = CStringGetTextDatum(entry->name);
	(void) cell(0, 2, &isnull);
	zone_name = isnull ? prm_program_lookup(key->program_id, false)->time_zone
					   : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	zone = pg_tzset(zone_name);
	if (zone == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is no time zone", zone_name),
						errdetail("The server has no such zone; it is that of calendar \"%s\".", entry->name),
						errhint("SELECT name FROM pg_catalog.pg_timezone_names lists them.")));
	entry->calendar.zone = zone;
	entry->calendar.zone_at = server_zone;
	run_query("SELECT h.weekday, h.opens, h.closes FROM prm.calendar_hours h"
			  " WHERE h.program_id OPERATOR(pg_catalog.=) $1 AND h.calendar OPERATOR(pg_catalog.=) $2"
			  " ORDER BY h.weekday, h.opens", 2, values);
	load_hours(entry, context);
	run_query("SELECT d.day, d.opens, d.closes FROM prm.calendar_holiday d"
			  " WHERE d.program_id OPERATOR(pg_catalog.=) $1 AND d.calendar OPERATOR(pg_catalog.=) $2 ORDER BY d.day",
			  2, values);
	load_holidays(entry, context);
	SPI_finish();
	prm_leave_owner(&scope);
	return context;
}

static const CalendarEntry *
find_calendar(int64 program_id, const text *name)
{
	uint64 generation = prm_definition_generation();
	CalendarKey key;
	CalendarEntry loaded;
	CalendarEntry *entry;
	MemoryContext context;

	memset(&key, 0, sizeof(key));
	key.program_id = program_id;
	if (name != NULL)
	{
		int length = VARSIZE_ANY_EXHDR(name);

		if (length == 0 || length >= NAMEDATALEN)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("a calendar's name has 1 to 63 bytes"),
							errdetail("The name given has %d.", length),
							errhint("SELECT calendar FROM prm.calendar lists them; pass NULL for the default one.")));
		memcpy(key.name, VARDATA_ANY(name), length);
	}
	if (calendars == NULL || calendars_generation != generation)
	{
		HASHCTL info = {0};

		if (calendars_context != NULL)
			MemoryContextDelete(calendars_context);
		calendars = NULL;
		calendars_context = AllocSetContextCreate(TopMemoryContext, "prm calendars", ALLOCSET_SMALL_SIZES);
		info.keysize = sizeof(CalendarKey);
		info.entrysize = sizeof(CalendarEntry);
		info.hcxt = calendars_context;
		calendars = hash_create("prm calendars", 16, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		calendars_generation = generation;
	}
	entry = hash_search(calendars, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;
	context = load_calendar(&key, &loaded);
	entry = hash_search(calendars, &key, HASH_ENTER, NULL);
	*entry = loaded;
	MemoryContextSetParent(context, calendars_context);
	return entry;
}

/* ---- the functions ----------------------------------------------------------------------------------------------------- */

static const CalendarEntry *
calendar_argument(FunctionCallInfo fcinfo, int calendar, int program)
{
	static const char accepted = 'y';
	int64 program_id;

	/* Once per expression: a session in a transaction that has all its locks receives no messages by itself. */
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		AcceptInvalidationMessages();
		fcinfo->flinfo->fn_extra = unconstify(char *, &accepted);
	}
	prm_require_model();
	program_id = PG_ARGISNULL(program) ? prm_chosen_program() : PG_GETARG_INT64(program);
	(void) prm_program_lookup(program_id, false);
	return find_calendar(program_id, PG_ARGISNULL(calendar) ? NULL : PG_GETARG_TEXT_PP(calendar));
}

static TimestampTz
moment_argument(FunctionCallInfo fcinfo, int number)
{
	TimestampTz moment = PG_GETARG_TIMESTAMPTZ(number);

	if (TIMESTAMP_NOT_FINITE(moment))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("the moment must be finite"),
						errdetail("Business time cannot be counted from or to infinity."), errhint("Pass a moment.")));
	return moment;
}

/* What is wrong with the text of a business duration, as a sentence; NULL where it is good. */
static const char *
duration_fault(const text *duration, PrmBusinessDuration *result)
{
	switch (prm_business_duration_parse(VARDATA_ANY(duration), VARSIZE_ANY_EXHDR(duration), result))
	{
		case PRM_DURATION_GOOD:
			return NULL;
		case PRM_DURATION_FORM:
			break;
		case PRM_DURATION_NEGATIVE:
			return "A duration is not negative.";
		case PRM_DURATION_ZERO:
			return "A duration is longer than nothing.";
		case PRM_DURATION_MIXED:
			return "Business days end with the close of business, so they do not mix with hours.";
		case PRM_DURATION_UNIT:
			return "The units of business time are days, hours, minutes and seconds.";
		case PRM_DURATION_TOO_LONG:
			return "It is longer than ten years.";
	}
	return "It has not the form of a duration.";
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_business_duration_fault);

/* prm._business_duration_fault(duration) -> what is wrong with it, NULL where nothing is */
Datum
prm_business_duration_fault(PG_FUNCTION_ARGS)
{
	PrmBusinessDuration duration;
	const char *fault = duration_fault(PG_GETARG_TEXT_PP(0), &duration);

	if (fault == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(fault));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_business_add);

/* prm.business_add(start, duration, calendar, program_id) -> the moment at which the duration has passed */
Datum
prm_business_add(PG_FUNCTION_ARGS)
{
	PrmBusinessDuration duration;
	const CalendarEntry *entry;
	const char *fault;
	TimestampTz start;
	int64_t end;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	start = moment_argument(fcinfo, 0);
	fault = duration_fault(PG_GETARG_TEXT_PP(1), &duration);
	if (fault != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" is no duration in business time", text_to_cstring(PG_GETARG_TEXT_PP(1))),
						errdetail("%s", fault), errhint("Write 8h, 90m, 1h 30m or PT8H, or whole days as 3d or P3D.")));
	entry = calendar_argument(fcinfo, 2, 3);
	if (!entry->has_hours)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("calendar \"%s\" of programme " INT64_FORMAT " is never open", entry->name,
							   entry->key.program_id),
						errdetail("It has no hours, so no business time ever passes."),
						errhint("INSERT INTO prm.calendar_hours (calendar, weekday, opens, closes) VALUES ('%s', 1, '09:00', "
								"'18:00') ...", entry->name)));
	if (!IS_VALID_TIMESTAMP(start + PRM_CALENDAR_REACH))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range"),
						errdetail("The end may lie beyond the last moment that the server knows."),
						errhint("Check the start.")));
	if (!prm_calendar_add(&entry->calendar, start, &duration, &end))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s of business time do not pass within ten years",
							   text_to_cstring(PG_GETARG_TEXT_PP(1))),
						errdetail("Calendar \"%s\" of programme " INT64_FORMAT " is not open that much.", entry->name,
								  entry->key.program_id),
						errhint("Look at prm.calendar_hours and prm.calendar_holiday.")));
	PG_RETURN_TIMESTAMPTZ(end);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_business_between);

/* prm.business_between(date_from, date_to, calendar, program_id) -> the business time between two moments */
Datum
prm_business_between(PG_FUNCTION_ARGS)
{
	const CalendarEntry *entry;
	TimestampTz from, to;
	Interval *result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	from = moment_argument(fcinfo, 0);
	to = moment_argument(fcinfo, 1);
	if (from > to + 100 * PRM_CALENDAR_REACH || to > from + 100 * PRM_CALENDAR_REACH)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("the moments lie more than a thousand years apart"),
						errdetail("The business time between them is counted day by day."),
						errhint("Check the moments.")));
	entry = calendar_argument(fcinfo, 2, 3);
	result = palloc0(sizeof(Interval));
	result->time = prm_calendar_between(&entry->calendar, from, to);
	PG_RETURN_INTERVAL_P(result);
}
