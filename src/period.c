/*
 * period.c: the windows in which plans count: month, half-month, quarter, half-year, year, lifetime. A
 * programme's fiscal year begins with a month of its choice; quarters and halves follow from it. Pure
 * calendar arithmetic on business dates, which the caller has taken in the programme's time zone.
 *
 * A half-month ends on the 15th and on the last day of the month.
 */
#include "prm.h"

#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#include "period.h"

typedef struct Window
{
	const char *name;
	int months; /* 0 = half a month, -1 = all time */
} Window;

static const Window windows[] = {{"month", 1}, {"half_month", 0}, {"quarter", 3},
								 {"half", 6},  {"year", 12},      {"lifetime", -1}};

static const Window *
window_by_name(text *name)
{
	for (int i = 0; i < (int)lengthof(windows); i++)
	{
		if ((int)strlen(windows[i].name) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(windows[i].name, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0)
			return &windows[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown window \"%s\"", text_to_cstring(name)),
			 errdetail("The windows are month, half_month, quarter, half, year and lifetime."),
			 errhint("Pass one of them as window_kind.")));
	return NULL; /* keep the compiler quiet */
}

/* The first day of the month that lies so many months after January of year 0. */
static DateADT
first_of_month(int month_number)
{
	int year = month_number / 12;
	int month = month_number % 12;
	int days;

	if (month < 0)
	{
		month += 12;
		year--;
	}
	if (!IS_VALID_JULIAN(year, month + 1, 1))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("date out of range"),
						errdetail("The window reaches beyond the calendar of the server."),
						errhint("Check the date.")));
	days = date2j(year, month + 1, 1) - POSTGRES_EPOCH_JDATE;
	if (!IS_VALID_DATE(days))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("date out of range"),
						errdetail("The window reaches beyond the calendar of the server."),
						errhint("Check the date.")));
	return days;
}

/* First and last day of the window of so many months (0 = half a month, -1 = all time) that contains a day. */
void
prm_find_window(DateADT day, int months, int fiscal_start, DateADT *first, DateADT *last)
{
	int year, month, day_of_month, number, offset;

	if (months < 0)
	{
		DATE_NOBEGIN(*first);
		DATE_NOEND(*last);
		return;
	}
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &day_of_month);
	number = year * 12 + month - 1;
	if (months == 0)
	{
		*first = first_of_month(number) + (day_of_month > 15 ? 15 : 0);
		*last = day_of_month > 15 ? first_of_month(number + 1) - 1 : *first + 14;
		return;
	}
	/* How many months of the window have begun before this one; years before 1 are negative or zero here. */
	offset = (number - (fiscal_start - 1)) % months;
	if (offset < 0)
		offset += months;
	*first = first_of_month(number - offset);
	*last = first_of_month(number - offset + months) - 1;
}

static void
find_window(DateADT day, text *name, int fiscal_start, DateADT *first, DateADT *last)
{
	const Window *window = window_by_name(name);

	if (fiscal_start < 1 || fiscal_start > 12)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fiscal_year_start must lie between 1 and 12"),
				 errdetail("The value is %d.", fiscal_start),
				 errhint("Pass the number of the month in which the fiscal year begins, 1 for January.")));
	if (DATE_NOT_FINITE(day))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("day must be a finite date"),
						errdetail("Infinity lies in no window."), errhint("Pass a business date.")));
	prm_find_window(day, window->months, fiscal_start, first, last);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_period_start);

Datum
prm_period_start(PG_FUNCTION_ARGS)
{
	DateADT first, last;

	find_window(PG_GETARG_DATEADT(0), PG_GETARG_TEXT_PP(1), PG_GETARG_INT32(2), &first, &last);
	PG_RETURN_DATEADT(first);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_period_end);

Datum
prm_period_end(PG_FUNCTION_ARGS)
{
	DateADT first, last;

	find_window(PG_GETARG_DATEADT(0), PG_GETARG_TEXT_PP(1), PG_GETARG_INT32(2), &first, &last);
	PG_RETURN_DATEADT(last);
}
