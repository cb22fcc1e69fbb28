/*
 * calendar.h: business time as plain C. What is declared here needs no server: it allocates nothing, raises nothing, and
 * can be tested and fuzzed alone. calendar.c adds what the server needs: rows, time zones, errors.
 *
 * Moments are microseconds since 2000-01-01 00:00 UTC, days are counted from 2000-01-01, as PostgreSQL keeps them.
 */
#ifndef PRM_CALENDAR_H
#define PRM_CALENDAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRM_SECOND INT64_C(1000000)
#define PRM_MINUTE (60 * PRM_SECOND)
#define PRM_HOUR (60 * PRM_MINUTE)
#define PRM_DAY (24 * PRM_HOUR)

/* How far ahead of its start the end of a duration is looked for: ten years. */
#define PRM_CALENDAR_REACH (3653 * PRM_DAY)

/* Open from one reading of the wall clock up to another, in microseconds since the midnight before; 0 <= opens < closes <= PRM_DAY. */
typedef struct PrmHours
{
	int64_t opens;
	int64_t closes;
} PrmHours;

typedef struct PrmHoliday
{
	int32_t day;
	bool closed; /* all day; otherwise hours takes the place of the weekday's */
	PrmHours hours;
} PrmHoliday;

/*
 * A time zone: by how much its wall clock is ahead of UTC at a moment, and the next moment (after the one given) at which
 * that changes, INT64_MAX where it never does. Both in microseconds.
 */
typedef void (*PrmZone)(const void *zone, int64_t moment, int64_t *ahead, int64_t *until);

typedef struct PrmCalendar
{
	PrmHours *week[7]; /* from Monday; each day's in order and apart */
	int week_count[7];
	PrmHoliday *holidays; /* by day, each day once */
	int holiday_count;
	PrmZone zone_at;
	const void *zone;
} PrmCalendar;

/* So many whole business days, or so much business time; one of them is 0. */
typedef struct PrmBusinessDuration
{
	int32_t days;
	int64_t time;
} PrmBusinessDuration;

typedef enum PrmDurationFault
{
	PRM_DURATION_GOOD,
	PRM_DURATION_FORM,
	PRM_DURATION_NEGATIVE,
	PRM_DURATION_ZERO,
	PRM_DURATION_MIXED,
	PRM_DURATION_UNIT,
	PRM_DURATION_TOO_LONG
} PrmDurationFault;

extern PrmDurationFault prm_business_duration_parse(const char *text, size_t length, PrmBusinessDuration *duration);
extern bool prm_calendar_add(const PrmCalendar *calendar, int64_t start, const PrmBusinessDuration *duration, int64_t *end);
extern int64_t prm_calendar_between(const PrmCalendar *calendar, int64_t from, int64_t to);

#endif /* PRM_CALENDAR_H */
