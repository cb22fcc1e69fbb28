/*
 * earning_load.c: what the paying half reads beside the counts: rates of exchange and quotas. What all events of a run need is
 * noted first and read by one query; what nobody foresaw is read when it is asked for. Reads only.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

typedef struct RateKey
{
	int32 from_currency;
	int32 to_currency;
	DateADT day;
} RateKey;

typedef struct RateEntry
{
	RateKey key;
	bool fetched;
	PrmRate rate;
} RateEntry;

typedef struct QuotaKey
{
	int64 partner_id;
	int32 measure;
	int32 window_kind;
} QuotaKey;

typedef struct QuotaPiece
{
	Datum amount;
	DateADT from;
	DateADT to;
} QuotaPiece;

typedef struct QuotaEntry
{
	QuotaKey key;
	bool fetched;
	DateADT joined_on;
	List *pieces; /* QuotaPiece * */
} QuotaEntry;

/* The latest rate of each direction; ours is the direct one, if there is any. */
static const char *const rates_query =
	"SELECT k.n, d.rate, i.rate FROM unnest($2, $3, $4) WITH ORDINALITY"
	" AS k(from_currency, to_currency, day, n)"
	" LEFT JOIN LATERAL (SELECT r.rate FROM prm.exchange_rate r WHERE r.program_id OPERATOR(pg_catalog.=) $1"
	" AND r.from_currency OPERATOR(pg_catalog.=) k.from_currency AND r.to_currency OPERATOR(pg_catalog.=) k.to_currency"
	" AND r.valid_from OPERATOR(pg_catalog.<=) k.day ORDER BY r.valid_from DESC LIMIT 1) d ON true"
	" LEFT JOIN LATERAL (SELECT r.rate FROM prm.exchange_rate r WHERE r.program_id OPERATOR(pg_catalog.=) $1"
	" AND r.from_currency OPERATOR(pg_catalog.=) k.to_currency AND r.to_currency OPERATOR(pg_catalog.=) k.from_currency"
	" AND r.valid_from OPERATOR(pg_catalog.<=) k.day ORDER BY r.valid_from DESC LIMIT 1) i ON true";

static const char *const quotas_query =
	"SELECT k.n, q.amount, pg_catalog.lower(q.valid), pg_catalog.upper(q.valid), p.joined_on"
	" FROM unnest($2, $3, $4) WITH ORDINALITY"
	" AS k(partner_id, measure, window_kind, n)"
	" CROSS JOIN LATERAL (SELECT t.amount, t.valid FROM prm.quota t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
	" AND t.partner_id OPERATOR(pg_catalog.=) k.partner_id AND t.measure OPERATOR(pg_catalog.=) k.measure"
	" AND t.window_kind OPERATOR(pg_catalog.=) k.window_kind OFFSET 0) q"
	" CROSS JOIN LATERAL (SELECT t.joined_on FROM prm.partner t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
	" AND t.partner_id OPERATOR(pg_catalog.=) k.partner_id OFFSET 0) p"
	" ORDER BY k.n, pg_catalog.lower(q.valid)";

static HTAB *
table_of(const char *name, Size key, Size entry)
{
	HASHCTL info = {0};

	info.keysize = key;
	info.entrysize = entry;
	info.hcxt = CurrentMemoryContext;
	return hash_create(name, 32, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* ---- rates ----------------------------------------------------------------------------------------------------------- */

static RateEntry *
rate_entry(PrmEarningRun *run, const char *from, const char *to, DateADT day)
{
	RateKey key = {prm_text_number(run->state, from), prm_text_number(run->state, to), day};
	RateEntry *entry;
	bool found;

	if (run->state->rates == NULL)
		run->state->rates = table_of("prm rates", sizeof(RateKey), sizeof(RateEntry));
	entry = hash_search(run->state->rates, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->fetched = false;
		memset(&entry->rate, 0, sizeof(entry->rate));
		entry->rate.needed = true;
	}
	return entry;
}

void
prm_rate_need(PrmEarningRun *run, const char *from, const char *to, DateADT day)
{
	if (strcmp(from, to) != 0)
		(void) rate_entry(run, from, to, day);
}

static void
fetch_rates(PrmEarningRun *run)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[4] = {INT8OID, TEXTARRAYOID, TEXTARRAYOID, DATEARRAYOID};
	MemoryContext caller = CurrentMemoryContext;
	int count = run->state->rates == NULL ? 0 : hash_get_num_entries(run->state->rates);
	RateEntry **entries = palloc(sizeof(RateEntry *) * Max(count, 1));
	Datum *columns = palloc(sizeof(Datum) * 3 * Max(count, 1));
	HASH_SEQ_STATUS scan;
	RateEntry *entry;
	Datum values[4];
	int wanted = 0;

	if (count == 0)
		return;
	hash_seq_init(&scan, run->state->rates);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->fetched)
			continue;
		entries[wanted] = entry;
		columns[wanted] = CStringGetTextDatum(prm_text_of(run->state, entry->key.from_currency));
		columns[count + wanted] = CStringGetTextDatum(prm_text_of(run->state, entry->key.to_currency));
		columns[2 * count + wanted] = DateADTGetDatum(entry->key.day);
		wanted++;
	}
	if (wanted == 0)
		return;
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_array(columns, NULL, wanted, TEXTOID);
	values[2] = prm_array(columns + count, NULL, wanted, TEXTOID);
	values[3] = prm_array(columns + 2 * count, NULL, wanted, DATEOID);
	if (SPI_execute_plan(prm_earning_plan(&kept, rates_query, 4, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.exchange_rate failed");
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		bool isnull;
		Datum rate;

		entry = entries[DatumGetInt64(SPI_getbinval(row, form, 1, &isnull)) - 1];
		entry->fetched = true;
		rate = SPI_getbinval(row, form, 2, &isnull);
		if (isnull)
		{
			rate = SPI_getbinval(row, form, 3, &isnull);
			entry->rate.divides = true;
		}
		entry->rate.given = !isnull;
		if (!isnull)
			entry->rate.rate = PointerGetDatum(PG_DETOAST_DATUM_COPY(rate));
	}
	SPI_freetuptable(SPI_tuptable);
}

PrmRate
prm_rate_of(PrmEarningRun *run, const char *from, const char *to, DateADT day)
{
	PrmRate same = {0};
	RateEntry *entry;

	if (strcmp(from, to) == 0)
		return same;
	entry = rate_entry(run, from, to, day);
	if (!entry->fetched)
		fetch_rates(run);
	return entry->rate;
}

/* ---- quotas ---------------------------------------------------------------------------------------------------------- */

static QuotaEntry *
quota_entry(PrmEarningRun *run, const PrmRule *rule, int64 partner_id)
{
	QuotaKey key = {partner_id, rule->basis, rule->window_kind};
	QuotaEntry *entry;
	bool found;

	if (run->state->quotas == NULL)
		run->state->quotas = table_of("prm quotas", sizeof(QuotaKey), sizeof(QuotaEntry));
	entry = hash_search(run->state->quotas, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->fetched = false;
		entry->joined_on = DATEVAL_NOBEGIN;
		entry->pieces = NIL;
	}
	return entry;
}

void
prm_quota_need(PrmEarningRun *run, const PrmRule *rule, int64 partner_id)
{
	if (rule->measure == PRM_MEASURE_ATTAINMENT)
		(void) quota_entry(run, rule, partner_id);
}

static void
fetch_quotas(PrmEarningRun *run)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[4] = {INT8OID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	MemoryContext caller = CurrentMemoryContext;
	int count = run->state->quotas == NULL ? 0 : hash_get_num_entries(run->state->quotas);
	QuotaEntry **entries = palloc(sizeof(QuotaEntry *) * Max(count, 1));
	Datum *columns = palloc(sizeof(Datum) * 3 * Max(count, 1));
	HASH_SEQ_STATUS scan;
	QuotaEntry *entry;
	Datum values[4];
	int wanted = 0;

	if (count == 0)
		return;
	hash_seq_init(&scan, run->state->quotas);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->fetched)
			continue;
		entry->fetched = true;
		entries[wanted] = entry;
		columns[wanted] = Int64GetDatum(entry->key.partner_id);
		columns[count + wanted] = CStringGetTextDatum(prm_measure_name(entry->key.measure));
		columns[2 * count + wanted] = CStringGetTextDatum(prm_window_name(entry->key.window_kind));
		wanted++;
	}
	if (wanted == 0)
		return;
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_array(columns, NULL, wanted, INT8OID);
	values[2] = prm_array(columns + count, NULL, wanted, TEXTOID);
	values[3] = prm_array(columns + 2 * count, NULL, wanted, TEXTOID);
	if (SPI_execute_plan(prm_earning_plan(&kept, quotas_query, 4, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.quota failed");
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		QuotaPiece *piece = palloc(sizeof(QuotaPiece));
		bool isnull;
		Datum value;

		entry = entries[DatumGetInt64(SPI_getbinval(row, form, 1, &isnull)) - 1];
		piece->amount = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, form, 2, &isnull)));
		value = SPI_getbinval(row, form, 3, &isnull);
		piece->from = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(value);
		value = SPI_getbinval(row, form, 4, &isnull);
		piece->to = isnull ? DATEVAL_NOEND : DatumGetDateADT(value);
		value = SPI_getbinval(row, form, 5, &isnull);
		if (!isnull)
			entry->joined_on = DatumGetDateADT(value);
		entry->pieces = lappend(entry->pieces, piece);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * The quota of the window that contains a day: of each piece so much as its days in the window are of all of its days, none
 * before the partner joined. A lifetime has no days to divide by: the piece in force on the day counts whole.
 */
PrmMoney
prm_quota_of(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, DateADT day)
{
	QuotaEntry *entry = quota_entry(run, rule, partner_id);
	DateADT first = prm_window_start(run->book, rule->window_kind, day);
	DateADT last = prm_window_end(run->book, rule->window_kind, day);
	PrmMoney quota = {0};
	ListCell *cell;

	if (!entry->fetched)
		fetch_quotas(run);
	foreach (cell, entry->pieces)
	{
		QuotaPiece *piece = lfirst(cell);
		DateADT from = Max(Max(first, piece->from), entry->joined_on);
		int64 days;
		Datum amount;

		if (rule->window_kind == PRM_WINDOW_LIFETIME)
		{
			if (day >= piece->from && day < piece->to)
				return prm_money(piece->amount);
			continue;
		}
		days = (int64) Min(last, piece->to == DATEVAL_NOEND ? last : piece->to - 1) - from + 1;
		if (days <= 0)
			continue;
		amount = prm_money_quotient(prm_numeric_times(piece->amount, prm_numeric_int(days)), prm_numeric_int(last - first + 1));
		quota = prm_money(quota.given ? prm_numeric_plus(quota.value, amount) : amount);
	}
	return quota;
}

void
prm_load_fetch(PrmEarningRun *run)
{
	fetch_rates(run);
	fetch_quotas(run);
}
