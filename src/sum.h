/*
 * sum.h: sums of money for aggregates, kept in two parts, and the value is that of both together: integers for what the fast
 * path of decimal.h takes, a numeric for the rest. The numeric is absent until a value needs it.
 */
#ifndef PRM_SUM_H
#define PRM_SUM_H

#include "prm.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "decimal.h"

typedef struct Sum
{
	PrmWide units; /* 10^-12 for commissions, 10^-4 for amounts */
	Datum exact;   /* 0 = none */
} Sum;

/* Adds a numeric; what it replaces is freed, so that a group of slow values does not grow. */
static inline void
add_exact(Sum *sum, Datum value, MemoryContext context)
{
	MemoryContext caller;
	Datum total = sum->exact == 0 ? value : prm_numeric_plus(sum->exact, value);
	Datum old = sum->exact;

	caller = MemoryContextSwitchTo(context);
	sum->exact = datumCopy(total, false, -1);
	MemoryContextSwitchTo(caller);
	if (old != 0)
		pfree(DatumGetPointer(old));
}

/* Adds units of 10^-places; a sum that would leave 128 bits goes on in the numeric part. */
static inline void
add_units(Sum *sum, PrmWide units, int places, MemoryContext context)
{
	PrmWide total;

	if (likely(!__builtin_add_overflow(sum->units, units, &total)))
	{
		sum->units = total;
		return;
	}
	add_exact(sum,
			  prm_numeric_times(prm_units_numeric(sum->units, -1),
								prm_numeric_power_of_ten(PRM_RESULT_PLACES - places)),
			  context);
	sum->units = units;
}

static inline Datum
sum_value(const Sum *sum, int places)
{
	Datum value = prm_units_numeric(sum->units, -1);

	if (places != PRM_RESULT_PLACES)
		value = prm_numeric_times(value, prm_numeric_power_of_ten(PRM_RESULT_PLACES - places));
	return sum->exact == 0 ? value : prm_numeric_plus(value, sum->exact);
}

static inline void
add_sum(Sum *to, const Sum *from, int places, MemoryContext context)
{
	add_units(to, from->units, places, context);
	if (from->exact != 0)
		add_exact(to, from->exact, context);
}

static inline MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (unlikely(!AggCheckCallContext(fcinfo, &context)))
		elog(ERROR, "aggregate support function called outside an aggregate");
	return context;
}

static inline void
send_sum(StringInfo message, const Sum *sum)
{
	pq_sendbytes(message, (const char *)&sum->units, sizeof(sum->units));
	pq_sendint32(message, sum->exact == 0 ? 0 : VARSIZE_ANY(DatumGetPointer(sum->exact)));
	if (sum->exact != 0)
		pq_sendbytes(message, DatumGetPointer(sum->exact), VARSIZE_ANY(DatumGetPointer(sum->exact)));
}

/* In the present context: the combine function copies what it keeps. */
static inline void
receive_sum(StringInfo message, Sum *sum)
{
	int length;

	pq_copymsgbytes(message, (char *)&sum->units, sizeof(sum->units));
	length = pq_getmsgint(message, 4);
	sum->exact = 0;
	if (length > 0)
	{
		char *exact = palloc(length);

		pq_copymsgbytes(message, exact, length);
		sum->exact = PointerGetDatum(exact);
	}
}

/* The bytes that a serial function wrote, as a message to read. */
static inline void
open_message(bytea *bytes, StringInfo message)
{
	initStringInfo(message);
	appendBinaryStringInfo(message, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

#endif /* PRM_SUM_H */
