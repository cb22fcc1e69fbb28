/*
 * schedule.h: commission schedules as plain C. What is declared here needs no server: it allocates nothing,
 * raises nothing and is fuzzed alone (test/fuzz/schedule_fuzz.c). commission.h adds what the server needs.
 *
 * A schedule is a mode and a list of brackets. A number in it is digits / 10^scale with at most 18
 * significant digits.
 */
#ifndef PRM_SCHEDULE_H
#define PRM_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRM_MAX_BRACKETS 1000
#define PRM_MAX_DIGITS 18
#define PRM_DIGITS_LIMIT INT64_C(1000000000000000000)
#define PRM_SCHEDULE_VERSION 1

/* 128 bits, aligned as loosely as the server's allocator aligns. */
__extension__ typedef __int128 PrmWide __attribute__((aligned(8)));
__extension__ typedef unsigned __int128 PrmUWide __attribute__((aligned(8)));

/* The numbers of modes and kinds stand in the stored form: they never change. */
typedef enum PrmMode
{
	PRM_MODE_PERCENT = 1,
	PRM_MODE_MARGINAL = 2,
	PRM_MODE_SLAB = 3,
	PRM_MODE_INTERPOLATED = 4
} PrmMode;

typedef enum PrmKind
{
	PRM_KIND_PERCENT = 1, /* 5%: value is 5 */
	PRM_KIND_EACH = 2,    /* 5 each: 5 per unit of what is measured */
	PRM_KIND_FIXED = 3    /* 5: a fixed amount */
} PrmKind;

/* Canonical: no trailing zero in the digits while scale > 0; zero is 0 with scale 0. */
typedef struct PrmNumber
{
	int64_t digits;
	int scale;
} PrmNumber;

typedef struct PrmBracket
{
	PrmNumber from;
	PrmNumber value;
	PrmKind kind;
} PrmBracket;

typedef struct PrmSchedule
{
	PrmMode mode;
	bool ties_low; /* a value on a bound belongs to the lower bracket */
	int count;
	PrmBracket bracket[PRM_MAX_BRACKETS];
} PrmSchedule;

#define PRM_SCHEDULE_SIZE(count) (offsetof(PrmSchedule, bracket) + sizeof(PrmBracket) * (size_t)(count))

/* What is wrong with a form, and where: the offset is in bytes, the bracket counts from 1 (0 = none). */
typedef struct PrmFault
{
	size_t offset;
	int bracket;
	char what[160]; /* goes behind the place: "at character 9: expected a number" */
	char hint[200];
} PrmFault;

/* schedule.c: text form, checks, names */
extern bool prm_fault(PrmFault *fault, const char *hint, const char *what, ...)
	__attribute__((format(printf, 3, 4)));
extern const char *prm_mode_name(PrmMode mode);
extern bool prm_mode_from_name(const char *name, size_t length, PrmMode *mode);
extern bool prm_schedule_parse(const char *text, size_t length, PrmSchedule *schedule, PrmFault *fault);
extern bool prm_schedule_check(const PrmSchedule *schedule, PrmFault *fault);
extern size_t prm_schedule_write(const PrmSchedule *schedule, char *buffer, size_t size);
extern bool prm_number_parse(const char *text, size_t length, PrmNumber *number);
extern size_t prm_number_write(PrmNumber number, char *buffer, size_t size);
extern int prm_number_compare(PrmNumber a, PrmNumber b);

/* schedule_binary.c: binary form, order */
extern size_t prm_schedule_pack(const PrmSchedule *schedule, unsigned char *buffer);
extern bool prm_schedule_unpack(const unsigned char *bytes, size_t length, PrmSchedule *schedule,
								PrmFault *fault);
extern int prm_schedule_packed_count(const unsigned char *bytes, size_t length);
extern int prm_schedule_compare(const PrmSchedule *a, const PrmSchedule *b);

#define PRM_NUMBER_TEXT 48
#define PRM_PACKED_MAX(count) (8 + (size_t)(count)*24)
#define PRM_TEXT_MAX(count) (32 + (size_t)(count)*60)

/*
 * schedule_eval.c: evaluation in integers. Amounts are in units of 10^-4 below 10^18 units, results in units
 * of 10^-12. A schedule that does not fit (finer bounds or rates, slopes that do not end) has no fast form;
 * the caller then computes with core numeric, which gives the same result.
 */
#define PRM_AMOUNT_PLACES 4
#define PRM_RATE_PLACES 8
#define PRM_RESULT_PLACES 12
#define PRM_AMOUNT_LIMIT INT64_C(1000000000000000000)
#define PRM_SLOPE_PLACES 20 /* places kept of an interpolated value whose slope never ends */

/* In bracket i the schedule is the line constant + rate * x. */
typedef struct PrmLine
{
	PrmWide constant; /* 10^-12 */
	int64_t rate;     /* 10^-8 */
} PrmLine;

typedef struct PrmFast
{
	int count;    /* bounds; there is one line more than bounds: line 0 lies below the first of them */
	int64_t ties; /* 1 where a value on a bound belongs to the lower bracket */
	int64_t *from;
	PrmLine *line;
} PrmFast;

extern size_t prm_fast_size(int count);
extern bool prm_fast_compile(const PrmSchedule *schedule, PrmFast *fast);
extern int prm_slope_places(const PrmBracket *low, const PrmBracket *high);

/* In the loops over rows a call would cost as much as its work. */
#define PRM_INLINE static inline __attribute__((always_inline))

/* F(x) for |x| up to twice the limit, so that attained + amount needs no check. */
PRM_INLINE PrmWide
prm_fast_eval(const PrmFast *fast, int64_t x)
{
	int64_t size = x < 0 ? -x : x;
	int64_t key = size - fast->ties;
	const PrmLine *line;
	int below = 0;
	PrmWide result;

	if (size == 0)
		return 0;
	if (fast->count <= 24)
	{
		/* Counting without a branch: random amounts would make every branch of a search a wrong guess. */
		for (int i = 0; i < fast->count; i++)
			below += fast->from[i] <= key;
	}
	else
	{
		int high = fast->count;

		while (below < high)
		{
			int middle = (below + high) / 2;

			if (fast->from[middle] <= key)
				below = middle + 1;
			else
				high = middle;
		}
	}
	line = &fast->line[below];
	result = line->constant + (PrmWide)size * line->rate;
	return x < 0 ? -result : result;
}

#endif /* PRM_SCHEDULE_H */
