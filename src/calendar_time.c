/*
 * calendar_time.c: the arithmetic of business time, as plain C without a server (see calendar.h). Owns what a business hour
 * and a business day are, and the reading of durations.
 *
 * A moment is business time when the wall clock of the calendar's zone then shows an hour at which it is open. That one
 * sentence settles the days on which clocks change: an hour that is skipped is worth nothing, an hour that is shown twice
 * counts twice, a date that a zone left out (Apia, 30 December 2011) has no hours. The walk therefore goes through stretches
 * in which the zone keeps one distance from UTC, day by day within a stretch, and cuts the hours at its ends.
 */
#include "calendar.h"

#include <string.h>

typedef struct Walk
{
	const PrmCalendar *calendar;
	int64_t limit;
	int64_t from; /* the present stretch ... */
	int64_t until;
	int64_t ahead; /* ... and its distance from UTC */
	int32_t day;
	int next; /* which of the day's hours comes next */
} Walk;

static int32_t
day_of(int64_t wall_clock)
{
	int64_t day = wall_clock / PRM_DAY;

	return (int32_t) (wall_clock % PRM_DAY < 0 ? day - 1 : day);
}

static void
begin_stretch(Walk *walk, int64_t moment)
{
	walk->calendar->zone_at(walk->calendar->zone, moment, &walk->ahead, &walk->until);
	if (walk->until <= moment || walk->until > walk->limit)
		walk->until = walk->limit;
	walk->from = moment;
	walk->day = day_of(moment + walk->ahead);
	walk->next = 0;
}

static const PrmHours *
hours_of(const PrmCalendar *calendar, int32_t day, int *count)
{
	int low = 0;
	int high = calendar->holiday_count;
	int weekday;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (calendar->holidays[middle].day < day)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < calendar->holiday_count && calendar->holidays[low].day == day)
	{
		*count = calendar->holidays[low].closed ? 0 : 1;
		return &calendar->holidays[low].hours;
	}
	/* Day 0 was a Saturday, which is the sixth, number 5 from Monday. */
	weekday = (int) (((int64_t) day + 5) % 7);
	if (weekday < 0)
		weekday += 7;
	*count = calendar->week_count[weekday];
	return calendar->week[weekday];
}

/* The next open stretch of time [*from, *to) before the limit, and the date that the wall clock shows in it. */
static bool
next_open(Walk *walk, int64_t *from, int64_t *to, int32_t *day)
{
	while (walk->from < walk->limit)
	{
		int64_t midnight = (int64_t) walk->day * PRM_DAY - walk->ahead;
		const PrmHours *hours;
		int count;

		if (midnight >= walk->until)
		{
			if (walk->until >= walk->limit)
				return false;
			begin_stretch(walk, walk->until);
			continue;
		}
		hours = hours_of(walk->calendar, walk->day, &count);
		while (walk->next < count)
		{
			const PrmHours *open = &hours[walk->next++];

			*from = midnight + open->opens < walk->from ? walk->from : midnight + open->opens;
			*to = midnight + open->closes > walk->until ? walk->until : midnight + open->closes;
			*day = walk->day;
			if (*from < *to)
				return true;
		}
		walk->day++;
		walk->next = 0;
	}
	return false;
}

static void
begin_walk(Walk *walk, const PrmCalendar *calendar, int64_t start, int64_t limit)
{
	walk->calendar = calendar;
	walk->limit = limit;
	begin_stretch(walk, start);
}

/* The end of the last open time of the nth date with open time after the date of the start. */
static bool
add_days(const PrmCalendar *calendar, int64_t start, int32_t days, int64_t *end)
{
	Walk walk;
	int64_t from, to;
	int32_t day, last;
	int32_t counted = 0;

	begin_walk(&walk, calendar, start, start + PRM_CALENDAR_REACH);
	last = walk.day;
	while (next_open(&walk, &from, &to, &day))
	{
		/* A clock that is put back over midnight shows a date again; it is still the same one. */
		if (day > last)
		{
			if (counted == days)
				return true;
			counted++;
			last = day;
		}
		if (day == last)
			*end = to;
	}
	return counted == days;
}

/* The first moment by which so much business time has passed since the start. */
static bool
add_time(const PrmCalendar *calendar, int64_t start, int64_t time, int64_t *end)
{
	Walk walk;
	int64_t from, to;
	int32_t day;

	begin_walk(&walk, calendar, start, start + PRM_CALENDAR_REACH);
	while (next_open(&walk, &from, &to, &day))
	{
		if (to - from >= time)
		{
			*end = from + time;
			return true;
		}
		time -= to - from;
	}
	return false;
}

/* False where the calendar has not that much business time within PRM_CALENDAR_REACH. */
bool
prm_calendar_add(const PrmCalendar *calendar, int64_t start, const PrmBusinessDuration *duration, int64_t *end)
{
	return duration->days > 0 ? add_days(calendar, start, duration->days, end)
							  : add_time(calendar, start, duration->time, end);
}

/* Negative where the second moment comes first. */
int64_t
prm_calendar_between(const PrmCalendar *calendar, int64_t from, int64_t to)
{
	Walk walk;
	int64_t open_from, open_to;
	int64_t total = 0;
	int32_t day;

	if (from > to)
		return -prm_calendar_between(calendar, to, from);
	begin_walk(&walk, calendar, from, to);
	while (next_open(&walk, &open_from, &open_to, &day))
		total += open_to - open_from;
	return total;
}

/* ---- durations --------------------------------------------------------------------------------------------------------- */

/* Digits, and for seconds a fraction of up to six; the result is in millionths. False where there is no number. */
static bool
read_number(const char **at, const char *end, int64_t *number, bool *has_fraction, bool *too_long)
{
	const char *digits = *at;
	int64_t value = 0;

	*has_fraction = false;
	while (*at < end && **at >= '0' && **at <= '9')
	{
		value = value * 10 + (**at - '0');
		if (value > INT64_C(1000000000))
		{
			*too_long = true;
			value = 0;
		}
		(*at)++;
	}
	if (*at == digits)
		return false;
	value *= PRM_SECOND;
	if (*at < end && **at == '.')
	{
		int64_t weight = PRM_SECOND / 10;

		*has_fraction = true;
		(*at)++;
		if (*at == end || **at < '0' || **at > '9')
			return false;
		while (*at < end && **at >= '0' && **at <= '9')
		{
			if (weight == 0 && **at != '0')
				return false;
			value += (**at - '0') * weight;
			weight /= 10;
			(*at)++;
		}
	}
	*number = value;
	return true;
}

/*
 * 3d; 8h, 90m, 30s and their sums in this order (1h 30m); or ISO 8601: P3D, PT8H, PT1H30M. Days end with the close of
 * business, so they do not mix with hours. Only seconds have a fraction.
 */
PrmDurationFault
prm_business_duration_parse(const char *text, size_t length, PrmBusinessDuration *duration)
{
	const char *at = text;
	const char *end = text + length;
	bool iso, in_time = false, too_long = false;
	int last_unit = -1;
	int64_t days = 0;
	int64_t time = 0;

	duration->days = 0;
	duration->time = 0;
	if (memchr(text, '-', length) != NULL)
		return PRM_DURATION_NEGATIVE;
	iso = at < end && *at == 'P';
	if (iso)
		at++;
	if (at == end)
		return PRM_DURATION_FORM;
	while (at < end)
	{
		static const char units[] = "dhms";
		static const int64_t worth[] = {0, 3600, 60, 1};
		const char *unit;
		int64_t number;
		bool has_fraction;

		if (iso && *at == 'T' && !in_time)
		{
			in_time = true;
			if (++at == end)
				return PRM_DURATION_FORM;
			continue;
		}
		if (!iso && *at == ' ' && last_unit >= 0)
		{
			if (++at == end)
				return PRM_DURATION_FORM;
		}
		if (!read_number(&at, end, &number, &has_fraction, &too_long) || at == end)
			return PRM_DURATION_FORM;
		if (iso && !in_time && (*at == 'Y' || *at == 'M' || *at == 'W'))
			return PRM_DURATION_UNIT;
		unit = *at == '\0' ? NULL : strchr(units, iso && *at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
		if (iso && unit != NULL && *at >= 'a')
			return PRM_DURATION_FORM;
		if (unit == NULL)
			return PRM_DURATION_UNIT;
		if (unit - units <= last_unit || (has_fraction && *unit != 's') || (iso && (*unit == 'd') == in_time))
			return PRM_DURATION_FORM;
		last_unit = (int) (unit - units);
		at++;
		if (*unit == 'd')
			days = number / PRM_SECOND;
		else if (number > PRM_CALENDAR_REACH / worth[last_unit])
			too_long = true;
		else
			time += number * worth[last_unit];
	}
	if (last_unit < 0)
		return PRM_DURATION_FORM;
	if (too_long || days > PRM_CALENDAR_REACH / PRM_DAY || time > PRM_CALENDAR_REACH)
		return PRM_DURATION_TOO_LONG;
	if (days > 0 && time > 0)
		return PRM_DURATION_MIXED;
	if (days == 0 && time == 0)
		return PRM_DURATION_ZERO;
	duration->days = (int32_t) days;
	duration->time = time;
	return PRM_DURATION_GOOD;
}
