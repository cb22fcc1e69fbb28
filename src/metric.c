/*
 * metric.c: the aggregate prm._deals_won(), what tiers ask for most: how many closed deals each partner won, and for how much.
 *
 * It is asked over every deal of a programme at once. Filters, sum(numeric) and the executor's table of groups cost a call each
 * for every row, together more than reading it; here a row is one call, which compares bytes, finds the partner in a table of
 * integers, and adds integers. Deals in another currency are won, but their amounts are not added.
 *
 * The memory is an entry for each partner with a closed deal, whatever the number of deals.
 */
#include "prm.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "sum.h"

typedef struct WonEntry
{
	int64 partner_id;
	char status; /* of the table */
	int scale;	 /* the most decimal places that an amount showed */
	int64 count; /* deals that were won */
	int64 added; /* those of them whose amount was added */
	Sum sum;	 /* of the amounts, in 10^-4 */
} WonEntry;

#define SH_PREFIX won
#define SH_ELEMENT_TYPE WonEntry
#define SH_KEY_TYPE int64
#define SH_KEY partner_id
#define SH_HASH_KEY(table, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct WonState
{
	won_hash *entries;
	WonEntry *last; /* of the last row: rows of one partner often come together */
} WonState;

static WonState *
new_state(MemoryContext context)
{
	WonState *state = MemoryContextAllocZero(context, sizeof(WonState));

	state->entries = won_create(context, 256, NULL);
	return state;
}

static inline WonEntry *
entry_of(WonState *state, int64 partner_id)
{
	bool found;
	WonEntry *entry = state->last;

	if (entry != NULL && entry->partner_id == partner_id)
		return entry;
	entry = won_insert(state->entries, partner_id, &found);
	if (!found)
	{
		entry->scale = 0;
		entry->count = entry->added = 0;
		memset(&entry->sum, 0, sizeof(entry->sum));
	}
	return state->last = entry;
}

/* The same bytes: the names of states and currencies have no other form in which they are equal. */
static inline bool
same_text(const struct varlena *a, const struct varlena *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* The states as the last row gave them: an array that is stored short must be unfolded to be read, and that only once. */
typedef struct WonNames
{
	Size size;
	char *given; /* as it came, to tell whether the next one is the same */
	int count;
	struct varlena **names;
} WonNames;

static WonNames *
won_names(FunctionCallInfo fcinfo, int argument)
{
	WonNames *names = fcinfo->flinfo->fn_extra;
	struct varlena *given = (struct varlena *) DatumGetPointer(fcinfo->args[argument].value);
	MemoryContext caller;
	Datum *elements;

	if (likely(names != NULL && names->size == VARSIZE_ANY(given) && memcmp(names->given, given, names->size) == 0))
		return names;
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	names = palloc0(sizeof(WonNames));
	names->size = VARSIZE_ANY(given);
	names->given = memcpy(palloc(names->size), given, names->size);
	deconstruct_array(DatumGetArrayTypePCopy(PointerGetDatum(given)), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &names->count);
	names->names = palloc(sizeof(struct varlena *) * Max(names->count, 1));
	for (int i = 0; i < names->count; i++)
		names->names[i] = (struct varlena *) DatumGetPointer(elements[i]);
	MemoryContextSwitchTo(caller);
	return fcinfo->flinfo->fn_extra = names;
}

static inline bool
is_one_of(const struct varlena *name, const WonNames *names)
{
	for (int i = 0; i < names->count; i++)
		if (same_text(name, names->names[i]))
			return true;
	return false;
}

/* The decimal places that a stored numeric shows. */
static inline int
shown_scale(Datum value)
{
	uint16 header;

	memcpy(&header, VARDATA_ANY(DatumGetPointer(value)), sizeof(header));
	if (likely((header & PRM_NUMERIC_SIGN_MASK) == PRM_NUMERIC_SHORT))
		return (header >> PRM_NUMERIC_SHORT_SCALE_SHIFT) & 0x3F;
	return (header & PRM_NUMERIC_SIGN_MASK) == PRM_NUMERIC_SPECIAL ? 0 : header & ~PRM_NUMERIC_SIGN_MASK;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deals_won_step);

/* prm._deals_won_step(state internal, partner_id bigint, deal_state text, amount numeric, currency text, won text[], home text) */
Datum
prm_deals_won_step(PG_FUNCTION_ARGS)
{
	WonState *state = PG_ARGISNULL(0) ? NULL : (WonState *) PG_GETARG_POINTER(0);
	WonEntry *entry;
	Datum amount;
	PrmWide total;
	int64 units;

	if (unlikely(state == NULL))
		state = new_state(aggregate_context(fcinfo));
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(5) || !is_one_of(PG_GETARG_TEXT_PP(2), won_names(fcinfo, 5)))
		PG_RETURN_POINTER(state);
	entry = entry_of(state, PG_GETARG_INT64(1));
	entry->count++;
	if (PG_ARGISNULL(3) || PG_ARGISNULL(4) || PG_ARGISNULL(6) || !same_text(PG_GETARG_TEXT_PP(4), PG_GETARG_TEXT_PP(6)))
		PG_RETURN_POINTER(state);
	entry->added++;
	amount = PG_GETARG_DATUM(3);
	if (likely(prm_numeric_units(amount, &units)))
	{
		if (likely(!__builtin_add_overflow(entry->sum.units, (PrmWide) units, &total)))
			entry->sum.units = total;
		else
			add_units(&entry->sum, units, 4, aggregate_context(fcinfo));
	}
	else
	{
		amount = NumericGetDatum(PG_GETARG_NUMERIC(3));
		add_exact(&entry->sum, amount, aggregate_context(fcinfo));
	}
	entry->scale = Max(entry->scale, shown_scale(amount));
	PG_RETURN_POINTER(state);
}

/* A row of the result; the amount is NULL where none was added: what count(*) and sum(amount) give, to the last place. */
static Datum
entry_row(const WonEntry *entry, TupleDesc tupdesc)
{
	Datum values[3] = {Int64GetDatum(entry->partner_id), Int64GetDatum(entry->count), (Datum) 0};
	bool nulls[3] = {false, false, entry->added == 0};

	if (entry->added > 0)
	{
		/* Trimmed it shows what it needs, which is never more than was shown; adding a zero of so many places shows the rest. */
		Datum zero = DirectFunctionCall2(numeric_round, prm_numeric_int(0), Int32GetDatum(entry->scale));

		values[2] = prm_numeric_plus(prm_numeric_trim(sum_value(&entry->sum, 4)), zero);
	}
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deals_won_final);

Datum
prm_deals_won_final(PG_FUNCTION_ARGS)
{
	WonState *state = PG_ARGISNULL(0) ? NULL : (WonState *) PG_GETARG_POINTER(0);
	Oid row_type = get_element_type(get_fn_expr_rettype(fcinfo->flinfo));
	TupleDesc tupdesc;
	won_iterator place;
	WonEntry *entry;
	Datum *rows;
	int count = 0;

	if (state == NULL || state->entries->members == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(row_type));
	tupdesc = lookup_rowtype_tupdesc(row_type, -1);
	rows = palloc(sizeof(Datum) * state->entries->members);
	won_start_iterate(state->entries, &place);
	while ((entry = won_iterate(state->entries, &place)) != NULL)
		rows[count++] = entry_row(entry, tupdesc);
	ReleaseTupleDesc(tupdesc);
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, count, row_type, -1, false, TYPALIGN_DOUBLE));
}

static void
add_entry(WonState *to, const WonEntry *from, MemoryContext context)
{
	WonEntry *entry = entry_of(to, from->partner_id);

	add_sum(&entry->sum, &from->sum, 4, context);
	entry->count += from->count;
	entry->added += from->added;
	entry->scale = Max(entry->scale, from->scale);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deals_won_combine);

Datum
prm_deals_won_combine(PG_FUNCTION_ARGS)
{
	WonState *to = PG_ARGISNULL(0) ? NULL : (WonState *) PG_GETARG_POINTER(0);
	MemoryContext context = aggregate_context(fcinfo);

	if (to == NULL)
		to = new_state(context);
	if (!PG_ARGISNULL(1))
	{
		WonState *from = (WonState *) PG_GETARG_POINTER(1);
		won_iterator place;
		WonEntry *entry;

		won_start_iterate(from->entries, &place);
		while ((entry = won_iterate(from->entries, &place)) != NULL)
			add_entry(to, entry, context);
	}
	PG_RETURN_POINTER(to);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deals_won_serial);

Datum
prm_deals_won_serial(PG_FUNCTION_ARGS)
{
	WonState *state = (WonState *) PG_GETARG_POINTER(0);
	StringInfoData message;
	won_iterator place;
	WonEntry *entry;

	pq_begintypsend(&message);
	pq_sendint64(&message, state->entries->members);
	won_start_iterate(state->entries, &place);
	while ((entry = won_iterate(state->entries, &place)) != NULL)
	{
		pq_sendint64(&message, entry->partner_id);
		pq_sendint64(&message, entry->count);
		pq_sendint64(&message, entry->added);
		pq_sendint32(&message, entry->scale);
		send_sum(&message, &entry->sum);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_deals_won_deserial);

Datum
prm_deals_won_deserial(PG_FUNCTION_ARGS)
{
	WonState *state = new_state(CurrentMemoryContext);
	StringInfoData message;
	int64 members;

	(void) aggregate_context(fcinfo);
	open_message(PG_GETARG_BYTEA_PP(0), &message);
	members = pq_getmsgint64(&message);
	for (int64 i = 0; i < members; i++)
	{
		WonEntry *entry = entry_of(state, pq_getmsgint64(&message));

		entry->count = pq_getmsgint64(&message);
		entry->added = pq_getmsgint64(&message);
		entry->scale = pq_getmsgint(&message, 4);
		receive_sum(&message, &entry->sum);
	}
	pq_getmsgend(&message);
	PG_RETURN_POINTER(state);
}
