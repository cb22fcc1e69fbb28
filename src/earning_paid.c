/*
 * earning_paid.c: what a lineage holds in a window: the money of its rows so far, less what was given back. Only refunds under
 * cumulative rules that have a cap or a minimum ask for it: what such rules held back was never paid, so F alone does not tell
 * what there is to take back. Used by earning_refund.c; earning_pay.c adds each row that is paid.
 *
 * A replay starts at nothing, as it does with what was attained. Otherwise the ledger is read, after the counts are locked, and
 * set-wise for all refunds of a run; for an event that was counted before, as it was then. The amounts are those of the ledger
 * (royalties and fees are negative), in the plan's currency.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#define SAME_KEY                                                                                                               \
	"a.program_id OPERATOR(pg_catalog.=) $1 AND a.purpose OPERATOR(pg_catalog.=) 'attained'"                                     \
	" AND a.lineage_id OPERATOR(pg_catalog.=) u.lineage_id AND a.plan_id OPERATOR(pg_catalog.=) u.plan_id"                       \
	" AND a.partner_id OPERATOR(pg_catalog.=) u.partner_id AND a.customer_id OPERATOR(pg_catalog.=) 0"                           \
	" AND a.credit_type OPERATOR(pg_catalog.=) u.credit_type AND a.window_start OPERATOR(pg_catalog.=) u.window_start"

#define ASKED_COUNTS                                                                                                            \
	"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"                      \
	" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) WITH ORDINALITY"                                      \
	" AS u(lineage_id, plan_id, partner_id, credit_type, window_start, event_id, currency, n)"

/*
 * The rows of all events that the count knows, those before the event where it has one; what a ban canceled goes on being paid.
 * A row and what corrected it are converted as one, as a replay does.
 */
static const char *const paid_query =
	"SELECT u.n, l.amount, l.rate, l.currency, CASE WHEN l.rate IS NULL AND l.currency OPERATOR(pg_catalog.<>) u.currency THEN"
	" (SELECT coalesce((SELECT o.occurred_at FROM prm.earning_event o WHERE o.program_id OPERATOR(pg_catalog.=) $1"
	" AND o.earning_event_id OPERATOR(pg_catalog.=) v.applies_to_id), v.occurred_at) FROM prm.earning_event v"
	" WHERE v.program_id OPERATOR(pg_catalog.=) $1 AND v.earning_event_id OPERATOR(pg_catalog.=) e.earning_event_id) END"
	" FROM " ASKED_COUNTS
	" CROSS JOIN LATERAL (SELECT pg_catalog.min(b.sequence_no) AS sequence_no, pg_catalog.min(b.recorded_at) AS recorded_at FROM"
	" (SELECT a.sequence_no, a.recorded_at FROM prm.accumulator_entry a WHERE a.earning_event_id OPERATOR(pg_catalog.=) u.event_id"
	" AND " SAME_KEY " OFFSET 0) b) s"
	" CROSS JOIN LATERAL (SELECT DISTINCT a.earning_event_id FROM prm.accumulator_entry a WHERE " SAME_KEY
	" AND (s.sequence_no IS NULL OR a.sequence_no OPERATOR(pg_catalog.<) s.sequence_no) OFFSET 0) e"
	" CROSS JOIN LATERAL (SELECT pg_catalog.sum(t.amount) AS amount, t.currency,"
	" pg_catalog.max((t.explain OPERATOR(pg_catalog.->>) 'exchange_rate')::pg_catalog.numeric) AS rate"
	" FROM prm.ledger t WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t.earning_event_id OPERATOR(pg_catalog.=) e.earning_event_id"
	" AND t.lineage_id OPERATOR(pg_catalog.=) u.lineage_id AND t.partner_id OPERATOR(pg_catalog.=) u.partner_id"
	" AND t.credit_type OPERATOR(pg_catalog.=) u.credit_type AND t.kind OPERATOR(pg_catalog.=) ANY"
	" (ARRAY['commission', 'override', 'bonus', 'royalty', 'fee', 'reversal', 'clawback', 'adjustment'])"
	" AND t.idempotency_key OPERATOR(pg_catalog.!~~) 'cancel/%'"
	" AND (s.recorded_at IS NULL OR t.recorded_at OPERATOR(pg_catalog.<=) s.recorded_at) GROUP BY t.level, t.currency) l";

static const Oid paid_types[] = {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, DATEARRAYOID, INT8ARRAYOID, TEXTARRAYOID};

/* A row of the ledger, with what corrected it. */
typedef struct PaidRow
{
	PrmCount *count;
	const char *plan_currency;
	Datum amount;
	PrmMoney rate;
	char *currency;
	TimestampTz sold_at; /* where the rate is to be found: corrections tell none */
	bool has_sold_at;
} PaidRow;

bool
prm_is_limited(const PrmRule *rule)
{
	return rule->lineage_limited && rule->accumulate == PRM_ACCUMULATE_CUMULATIVE;
}

static Datum
in_plan_currency(PrmEarningRun *run, const char *plan_currency, Datum amount, PrmMoney rate)
{
	return rate.given ? prm_money_round(run->book, prm_numeric_times(amount, rate.value), plan_currency) : amount;
}

static const char *
currency_of_plan(PrmEarningRun *run, int64 plan_id)
{
	for (int i = 0; i < run->book->plan_count; i++)
		if (run->book->plans[i].plan_id == plan_id)
			return run->book->plans[i].currency;
	return "";
}

/* Reads what the counts hold, each of them once. */
void
prm_paid_load(PrmEarningRun *run, List *counts)
{
	static PrmKept kept = {"accumulator_entry"};
	PrmColumns *columns = prm_columns(7, list_length(counts));
	List *asked = NIL;
	List *rows = NIL;
	ListCell *cell;

	foreach (cell, counts)
	{
		PrmCount *count = lfirst(cell);

		if (count->paid_known)
			continue;
		count->paid_known = true;
		if (run->mode == PRM_EARNING_REPLAY || run->mode == PRM_EARNING_DEAL)
			continue;
		prm_set_column(columns, 0, Int64GetDatum(count->key.lineage_id), true);
		prm_set_column(columns, 1, Int64GetDatum(count->key.plan_id), true);
		prm_set_column(columns, 2, Int64GetDatum(count->key.partner_id), true);
		prm_set_column(columns, 3, prm_text_value(run->state, count->key.credit_type), true);
		prm_set_column(columns, 4, DateADTGetDatum(count->key.window_start), true);
		prm_set_column(columns, 5, Int64GetDatum(count->key.event_id), true);
		prm_set_column(columns, 6, CStringGetTextDatum(currency_of_plan(run, count->key.plan_id)), true);
		columns->rows++;
		asked = lappend(asked, count);
	}
	if (asked == NIL)
		return;
	prm_run_query(run, &kept, paid_query, paid_types, columns, NULL, SPI_OK_SELECT);
	/* Copied first: a rate may have to be read, and one result at a time is open. */
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc form = SPI_tuptable->tupdesc;
		PaidRow *row = palloc0(sizeof(PaidRow));
		bool isnull;
		Datum value;

		row->count = list_nth(asked, DatumGetInt64(SPI_getbinval(tuple, form, 1, &isnull)) - 1);
		row->plan_currency = currency_of_plan(run, row->count->key.plan_id);
		row->amount = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(tuple, form, 2, &isnull)));
		value = SPI_getbinval(tuple, form, 3, &isnull);
		if (!isnull)
			row->rate = prm_money(PointerGetDatum(PG_DETOAST_DATUM_COPY(value)));
		row->currency = TextDatumGetCString(SPI_getbinval(tuple, form, 4, &isnull));
		value = SPI_getbinval(tuple, form, 5, &isnull);
		row->has_sold_at = !isnull;
		if (!isnull)
			row->sold_at = DatumGetTimestampTz(value);
		rows = lappend(rows, row);
	}
	SPI_freetuptable(SPI_tuptable);
	foreach (cell, rows)
	{
		PaidRow *row = lfirst(cell);

		if (row->has_sold_at)
		{
			PrmRate rate = prm_rate_of(run, row->currency, row->plan_currency, prm_business_day(run->book, row->sold_at));

			row->rate = prm_rate_shown(&rate);
			if (!row->rate.given)
				continue;
		}
		row->count->paid = prm_numeric_plus(row->count->paid, in_plan_currency(run, row->plan_currency, row->amount, row->rate));
	}
}

/* A row of this run is paid or given back. */
void
prm_paid_add(PrmEarningRun *run, const PrmRule *rule, PrmCount *count, const PrmOutcome *row)
{
	if (prm_is_limited(rule))
		count->paid = prm_numeric_plus(count->paid, in_plan_currency(run, rule->plan->currency, row->amount.value, row->exchange_rate));
}

/* What the count holds, as the rule gives it: what the partner owes is positive. */
Datum
prm_paid_so_far(PrmEarningRun *run, const PrmRule *rule, PrmCount *count)
{
	if (!count->paid_known)
		prm_paid_load(run, list_make1(count));
	return rule->owed ? prm_numeric_negative(count->paid) : count->paid;
}
