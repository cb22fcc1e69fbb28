/*
 * calendar_fuzz.c: fuzzes business time: calendars, zones and durations made of whatever bytes come in. Durations must not
 * crash; time that is added must be found again between the two moments, must add up and never go back; and the walk
 * must agree with a count that asks minute by minute whether the calendar is open.
 *
 * fuzz-sources: src/calendar_time.c
 *
 * Without libFuzzer: gcc -g -O1 -fsanitize=address,undefined -DPRM_FUZZ_STANDALONE -Isrc, this file and those; the argument
 * is the number of seconds.
 */
#include "calendar.h"

#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A zone with up to four changes of its distance from UTC. */
typedef struct Zone
{
	int count;
	int64_t from[5];
	int64_t ahead[5];
} Zone;

static const uint8_t *input;
static size_t left;

static int
byte(void)
{
	if (left == 0)
		return 0;
	left--;
	return *input++;
}

static void
zone_at(const void *zone, int64_t moment, int64_t *ahead, int64_t *until)
{
	const Zone *z = zone;
	int i = 0;

	while (i + 1 < z->count && moment >= z->from[i + 1])
		i++;
	*ahead = z->ahead[i];
	*until = i + 1 < z->count ? z->from[i + 1] : INT64_MAX;
}

static int64_t
floor_day(int64_t wall)
{
	return wall / PRM_DAY - (wall % PRM_DAY < 0);
}

/* Is it open at this moment? Asked the naive way. */
static bool
is_open(const PrmCalendar *calendar, int64_t moment)
{
	int64_t ahead, until, wall, day, time;

	zone_at(calendar->zone, moment, &ahead, &until);
	wall = moment + ahead;
	day = floor_day(wall);
	time = wall - day * PRM_DAY;
	for (int i = 0; i < calendar->holiday_count; i++)
		if (calendar->holidays[i].day == day)
			return !calendar->holidays[i].closed && time >= calendar->holidays[i].hours.opens && time < calendar->holidays[i].hours.closes;
	for (int weekday = 0; weekday < 7; weekday++)
		if ((day + 5 - weekday) % 7 == 0)
			for (int i = 0; i < calendar->week_count[weekday]; i++)
				if (time >= calendar->week[weekday][i].opens && time < calendar->week[weekday][i].closes)
					return true;
	return false;
}

static int
in_order(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static PrmHours hours[7][4];
	static PrmHoliday holidays[8];
	PrmCalendar calendar;
	PrmBusinessDuration duration;
	Zone zone;
	int64_t start, end, sum, again, counted = 0;
	bool any = false;

	/* Whatever is no duration is refused; what is one lies in its bounds. */
	if (prm_business_duration_parse((const char *) data, size, &duration) == PRM_DURATION_GOOD)
	{
		PROMISE((duration.days > 0) != (duration.time > 0));
		PROMISE(duration.days >= 0 && duration.time >= 0 && duration.days <= 3653 && duration.time <= PRM_CALENDAR_REACH);
	}

	input = data;
	left = size;
	memset(&calendar, 0, sizeof(calendar));
	for (int day = 0; day < 7; day++)
	{
		int times[8];
		int count = byte() % 5;

		for (int i = 0; i < 2 * count; i++)
			times[i] = (byte() * 256 + byte()) % 1441;
		qsort(times, 2 * count, sizeof(int), in_order);
		calendar.week[day] = hours[day];
		for (int i = 0; i < count; i++)
		{
			if (times[2 * i] == times[2 * i + 1])
				continue;
			hours[day][calendar.week_count[day]].opens = times[2 * i] * PRM_MINUTE;
			hours[day][calendar.week_count[day]++].closes = times[2 * i + 1] * PRM_MINUTE;
			any = true;
		}
	}
	calendar.holidays = holidays;
	calendar.holiday_count = byte() % 8;
	for (int i = 0; i < calendar.holiday_count; i++)
	{
		int opens = byte() * 5;

		holidays[i].day = (i == 0 ? -10 : holidays[i - 1].day) + 1 + byte() % 5;
		holidays[i].closed = opens % 2 == 0;
		holidays[i].hours.opens = opens * PRM_MINUTE;
		holidays[i].hours.closes = (opens + 1 + byte() % 100) * PRM_MINUTE;
	}
	zone.count = 1 + byte() % 4;
	for (int i = 0; i < zone.count; i++)
	{
		zone.from[i] = (i == 0 ? -20 * PRM_DAY : zone.from[i - 1]) + (1 + byte()) * 60 * PRM_MINUTE;
		zone.ahead[i] = (byte() - 128) * 15 * PRM_MINUTE;
	}
	calendar.zone_at = zone_at;
	calendar.zone = &zone;
	start = (byte() * 256 + byte() - 30000) * PRM_MINUTE;

	/* Ten days, minute by minute. */
	for (int minute = 0; minute < 10 * 1440; minute++)
		counted += is_open(&calendar, start + minute * PRM_MINUTE);
	PROMISE(prm_calendar_between(&calendar, start, start + 10 * PRM_DAY) == counted * PRM_MINUTE);
	PROMISE(prm_calendar_between(&calendar, start + 10 * PRM_DAY, start) == -counted * PRM_MINUTE);

	duration.days = 0;
	duration.time = (1 + byte() * 256 + byte()) * PRM_SECOND;
	if (!prm_calendar_add(&calendar, start, &duration, &end))
	{
		/* A minute a week does not add up to a day within the reach. */
		PROMISE(prm_calendar_between(&calendar, start, start + PRM_CALENDAR_REACH) < duration.time);
		return 0;
	}
	PROMISE(end > start && prm_calendar_between(&calendar, start, end) == duration.time);
	PROMISE(prm_calendar_between(&calendar, start, end - 1) == duration.time - 1);
	sum = duration.time;
	if (any && prm_calendar_add(&calendar, end, &duration, &again))
	{
		int64_t direct;

		duration.time += sum;
		PROMISE(again > end);
		if (prm_calendar_add(&calendar, start, &duration, &direct))
			PROMISE(direct == again);
		else
			PROMISE(prm_calendar_between(&calendar, start, start + PRM_CALENDAR_REACH) < duration.time);
	}
	/* Days: the end is a close, later than the start, and one more day is later. */
	duration.time = 0;
	duration.days = 1 + byte() % 20;
	if (prm_calendar_add(&calendar, start, &duration, &end))
	{
		PROMISE(end > start && is_open(&calendar, end - 1));
		duration.days++;
		PROMISE(!prm_calendar_add(&calendar, start, &duration, &again) || again > end);
	}
	else
		PROMISE(!any);
	return 0;
}

#ifdef PRM_FUZZ_STANDALONE
static size_t
fuzz_fill(uint8_t *data, size_t room)
{
	size_t size = (size_t) rand() % room;

	for (size_t i = 0; i < size; i++)
		data[i] = rand() % 4 ? (uint8_t) rand() : (uint8_t) "PT0123456789dhms. -"[rand() % 19];
	return size;
}
#endif
