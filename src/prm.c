/*
 * prm.c: the module itself. Owns the settings prm.* and what happens when the library is loaded.
 *
 * Each setting that is read once per row is parsed when it is set: the check hook refuses nonsense with a message, the
 * assign hook keeps the parsed value in a plain variable.
 */
#include "prm.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"

PRM_MODULE_MAGIC;

int64 prm_setting_program_id = 0;
int64 prm_setting_partner_id = 0;
char *prm_setting_actor = NULL;
char *prm_setting_reason = NULL;
char *prm_setting_clock = NULL;
bool prm_setting_clock_given = false;
TimestampTz prm_setting_clock_time = 0;

static char *program_id_text = NULL;
static char *partner_id_text = NULL;
static bool adopt = false;

PGDLLEXPORT void _PG_init(void);

/* Accepts an empty text (not set) or a positive bigint, and hands the number to the assign hook. */
static bool
check_id(char **newval, void **extra, GucSource source)
{
	int64 value = 0;

	if (*newval != NULL && **newval != '\0')
	{
		char *end;

		errno = 0;
		value = strtoll(*newval, &end, 10);
		if (errno != 0 || *end != '\0' || value <= 0)
		{
			GUC_check_errdetail("It must be the number of a row, or empty for none.");
			return false;
		}
	}
	*extra = PRM_GUC_MALLOC(sizeof(int64));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &value, sizeof(int64));
	return true;
}

static void
assign_program_id(const char *newval, void *extra)
{
	memcpy(&prm_setting_program_id, extra, sizeof(int64));
}

static void
assign_partner_id(const char *newval, void *extra)
{
	memcpy(&prm_setting_partner_id, extra, sizeof(int64));
}

typedef struct ClockValue
{
	bool given;
	TimestampTz time;
} ClockValue;

#define CLOCK_LENGTH 48

/* The setting's text when it is kept: in UTC, in a form that is read without the tables of time zones. */
static void
write_clock(TimestampTz time, char *text)
{
	struct pg_tm day;
	fsec_t fraction;

	if (timestamp2tm(time, NULL, &day, &fraction, NULL, NULL) != 0)
		elog(ERROR, "a moment cannot be taken apart");
	snprintf(text, CLOCK_LENGTH, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00", day.tm_year, day.tm_mon, day.tm_mday, day.tm_hour, day.tm_min,
			 day.tm_sec, (int) fraction);
}

static bool
read_clock(const char *text, TimestampTz *time)
{
	struct pg_tm day = {0};
	int fraction;
	int zone = 0;

	return sscanf(text, "%d-%d-%d %d:%d:%d.%6d+00", &day.tm_year, &day.tm_mon, &day.tm_mday, &day.tm_hour, &day.tm_min, &day.tm_sec,
				  &fraction) == 7 &&
		   tm2timestamp(&day, fraction, &zone, time) == 0;
}

/*
 * A moment is read as timestamptz, in the session's time zone, and kept in UTC. Outside a transaction (the server's start)
 * catalogs cannot be asked, so only an empty value is accepted there. A parallel worker is given the text that was kept: it
 * restores one setting after the other, and while it does, the tables of time zones and the style of dates are not there.
 */
static bool
check_clock(char **newval, void **extra, GucSource source)
{
	ClockValue value = {false, 0};

	if (*newval != NULL && **newval != '\0')
	{
		if (!IsTransactionState())
		{
			GUC_check_errdetail("It can only be set inside a session.");
			return false;
		}
		if (InitializingParallelWorker)
		{
			if (!read_clock(*newval, &value.time))
				return false;
		}
		else
		{
			char text[CLOCK_LENGTH];
			char *kept;

			value.time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(*newval),
																 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
			if (TIMESTAMP_NOT_FINITE(value.time))
			{
				GUC_check_errdetail("It must be a finite moment.");
				return false;
			}
			write_clock(value.time, text);
			if (text[0] == '-' || strncmp(text, "0000", 4) == 0)
			{
				GUC_check_errdetail("It must be a moment after the beginning of the year 1.");
				return false;
			}
			kept = PRM_GUC_MALLOC(CLOCK_LENGTH);
			if (kept == NULL)
				return false;
			strlcpy(kept, text, CLOCK_LENGTH);
			PRM_GUC_FREE(*newval);
			*newval = kept;
		}
		value.given = true;
	}
	*extra = PRM_GUC_MALLOC(sizeof(ClockValue));
	if (*extra == NULL)
		return false;
	memcpy(*extra, &value, sizeof(ClockValue));
	return true;
}

static void
assign_clock(const char *newval, void *extra)
{
	const ClockValue *value = extra;

	prm_setting_clock_given = value->given;
	prm_setting_clock_time = value->time;
}

void
_PG_init(void)
{
	DefineCustomStringVariable("prm.actor", "Who acts, as text for the history.",
							   "Empty: the name of the role. Set it with SET LOCAL, so that a pooled connection does not keep it.",
							   &prm_setting_actor, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("prm.adopt", "Lets CREATE EXTENSION prm take over a schema prm that is not empty.",
							 "Honoured only for a superuser and for the owner of the schema.", &adopt, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("prm.clock", "Moves prm.now() to this moment, for tests and simulations.",
							   "Honoured only when the session's user is a superuser or owns the schema prm.", &prm_setting_clock,
							   "", PGC_USERSET, 0, check_clock, assign_clock, NULL);
	DefineCustomStringVariable("prm.partner_id", "The partner on whose behalf an application acts.",
							   "Honoured only for roles that may act for partners. Set it with SET LOCAL.", &partner_id_text, "",
							   PGC_USERSET, 0, check_id, assign_partner_id, NULL);
	DefineCustomStringVariable("prm.program_id", "The programme in which this session works.",
							   "Needed only where there are several programmes.", &program_id_text, "", PGC_USERSET, 0, check_id,
							   assign_program_id, NULL);
	DefineCustomStringVariable("prm.reason", "The reason that the history records with the next changes of state.",
							   "Set it with SET LOCAL.", &prm_setting_reason, "", PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("prm");
	prm_install_hints();
}
