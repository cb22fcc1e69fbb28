/*
 * earning_origin_read.c: what the ledger knows of refunded events: their rows, what was given back of them before, and what they
 * counted. Read set-wise, a query each for all events of the run. Called by earning_origin.c alone.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#define EACH(columns, table, key, more)                                                                                         \
	"SELECT " columns " FROM pg_catalog.unnest($2) WITH ORDINALITY AS k(id, n) CROSS JOIN LATERAL (SELECT t.* FROM " table          \
	" t WHERE t.program_id OPERATOR(pg_catalog.=) $1 AND t." key " OPERATOR(pg_catalog.=) k.id OFFSET 0) i " more

static const char *const events_query =
	EACH("i.earning_event_id, i.amount, i.currency, i.legal_entity, i.occurred_at, i.customer_id", "prm.earning_event",
		 "earning_event_id", "");

/* All refunds of them, in the order in which they were stored. */
static const char *const refunds_query = EACH("i.applies_to_id, i.earning_event_id, i.occurred_at, i.amount", "prm.earning_event",
											  "applies_to_id",
											  "WHERE i.kind OPERATOR(pg_catalog.=) 'refunded' ORDER BY i.recorded_at, i.occurred_at,"
											  " i.earning_event_id");

static const char *const rows_query =
	EACH("i.earning_event_id, i.entry_id, i.rule_id, i.credit_type, i.partner_id, i.level, i.amount, i.currency, i.legal_entity,"
		 " i.eligible_at, (i.explain OPERATOR(pg_catalog.->>) 'exchange_rate')::pg_catalog.numeric, i.kind OPERATOR(pg_catalog.=) 'adjustment'",
		 "prm.ledger", "earning_event_id",
		 "WHERE i.kind OPERATOR(pg_catalog.=) ANY (ARRAY['commission', 'override', 'bonus', 'royalty', 'fee', 'adjustment'])"
		 " AND i.rule_id IS NOT NULL ORDER BY k.n, i.entry_id");

static const char *const given_back_query =
	EACH("i.cause_entry_id, i.earning_event_id, i.amount", "prm.ledger", "cause_entry_id",
		 "WHERE i.kind OPERATOR(pg_catalog.=) ANY (ARRAY['reversal', 'clawback'])"
		 /* What a ban canceled was not given back: it goes on being canceled, whatever is refunded. */
		 " AND i.idempotency_key OPERATOR(pg_catalog.!~~) 'cancel/%'");

/* What recalculations found missing or too much in reversals: it is given back, too. */
static const char *const mended_query =
	EACH("i.applies_to_id, i.earning_event_id, l.rule_id, l.credit_type, l.partner_id, l.level, l.amount", "prm.earning_event", "applies_to_id",
		 "CROSS JOIN LATERAL (SELECT t.* FROM prm.ledger t WHERE t.program_id OPERATOR(pg_catalog.=) $1"
		 " AND t.earning_event_id OPERATOR(pg_catalog.=) i.earning_event_id OFFSET 0) l"
		 " WHERE i.kind OPERATOR(pg_catalog.=) 'refunded' AND l.kind OPERATOR(pg_catalog.=) 'adjustment' AND l.rule_id IS NOT NULL");

static const char *const counts_query =
	EACH("i.purpose, i.lineage_id, i.plan_id, i.partner_id, i.customer_id, i.credit_type, i.window_start, i.earning_event_id,"
		 " i.entry_id, i.amount, i.basis_amount",
		 "prm.accumulator_entry", "earning_event_id", "ORDER BY k.n, i.accumulator_entry_id");

static const char *const breakage_query =
	EACH("i.earning_event_id, i.credit_type, i.partner_id, i.lineage_id, i.level", "prm.breakage", "earning_event_id",
		 "WHERE i.amount IS NOT NULL AND i.reason_code OPERATOR(pg_catalog.=) ANY (ARRAY['below_minimum', 'capped', 'no_seller_plan'])"
		 " ORDER BY k.n, i.breakage_id");

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static HeapTuple tuple;
static TupleDesc form;

static inline Datum
value_at(int column, bool *isnull)
{
	return SPI_getbinval(tuple, form, column, isnull);
}

static int64
id_at(int column)
{
	bool isnull;
	Datum value = value_at(column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static char *
text_at(int column)
{
	bool isnull;
	Datum value = value_at(column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static PrmMoney
money_at(int column)
{
	PrmMoney money = {0};
	bool isnull;
	Datum value = value_at(column, &isnull);

	if (!isnull)
		money = prm_money(PointerGetDatum(PG_DETOAST_DATUM_COPY(value)));
	return money;
}

static bool
go_to(uint64 row)
{
	if (row >= SPI_processed)
	{
		SPI_freetuptable(SPI_tuptable);
		return false;
	}
	tuple = SPI_tuptable->vals[row];
	form = SPI_tuptable->tupdesc;
	return true;
}

static void
query(PrmEarningRun *run, PrmKept *kept, const char *text, Datum ids)
{
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};
	MemoryContext caller = CurrentMemoryContext;
	Datum values[2] = {Int64GetDatum(run->program_id), ids};

	if (SPI_execute_plan(prm_kept_plan(kept, text, 2, types), values, NULL, run->read_only, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading what was earned failed: %s", text);
	MemoryContextSwitchTo(caller);
}

/* ---- finding ------------------------------------------------------------------------------------------------------------ */

static PrmRule *
rule_by_id(PrmEarningRun *run, int64 rule_id)
{
	for (int i = 0; i < run->book->plan_count; i++)
		for (int j = 0; j < run->book->plans[i].rule_count; j++)
			if (run->book->plans[i].rules[j]->rule_id == rule_id)
				return run->book->plans[i].rules[j];
	return NULL;
}

/* The version of a lineage that was in force on a day. */
static PrmRule *
rule_in_force(PrmEarningRun *run, int64 lineage_id, DateADT day)
{
	for (int i = 0; i < run->book->plan_count; i++)
	{
		for (int j = 0; j < run->book->plans[i].rule_count; j++)
		{
			PrmRule *rule = run->book->plans[i].rules[j];

			if (rule->lineage_id == lineage_id && day >= rule->valid_from && (day < rule->valid_to || DATE_IS_NOEND(rule->valid_to)))
				return rule;
		}
	}
	return NULL;
}

static PrmEarned *
earned_by_entry(PrmOriginal *original, int64 entry_id)
{
	ListCell *cell;

	foreach (cell, original->earned)
	{
		PrmEarned *earned = lfirst(cell);

		if (entry_id != 0 && (earned->entry_id == entry_id || list_member_ptr(earned->adjustments, (void *) (uintptr_t) entry_id)))
			return earned;
	}
	return NULL;
}

/* The row of the same thing: what corrects a row, or counts for it later, belongs to it. level < 0: of any. */
static PrmEarned *
earned_of_lineage(PrmOriginal *original, int64 lineage_id, const char *credit_type, int64 partner_id, int level)
{
	ListCell *cell;

	foreach (cell, original->earned)
	{
		PrmEarned *earned = lfirst(cell);

		if (earned->rule->lineage_id == lineage_id && earned->partner_id == partner_id && (level < 0 || earned->level == level) &&
			strcmp(earned->credit_type, credit_type) == 0)
			return earned;
	}
	return NULL;
}

/* ---- what the ledger knows -------------------------------------------------------------------------------------------- */

static void
read_rows(PrmEarningRun *run, Datum ids, List **entries)
{
	static PrmKept kept = {"ledger"};

	query(run, &kept, rows_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		PrmOriginal *original = prm_original_of(run, id_at(1));
		PrmRule *rule = rule_by_id(run, id_at(3));
		PrmMoney rate = money_at(11);
		PrmEarned *earned;
		bool isnull;

		if (rule == NULL)
			continue; /* a plan that the reader may not see */
		if (DatumGetBool(value_at(12, &isnull)))
		{
			earned = earned_of_lineage(original, rule->lineage_id, text_at(4), id_at(5), DatumGetInt32(value_at(6, &isnull)));
			if (earned != NULL)
			{
				earned->amount = prm_money(prm_numeric_plus(earned->amount.value, money_at(7).value));
				earned->adjustments = lappend(earned->adjustments, (void *) (uintptr_t) id_at(2));
				continue;
			}
		}
		earned = prm_earned_make(rule, text_at(4), id_at(5));
		earned->entry_id = id_at(2);
		earned->level = DatumGetInt32(value_at(6, &isnull));
		earned->amount = money_at(7);
		earned->currency = text_at(8);
		earned->legal_entity = text_at(9);
		earned->eligible_at = DatumGetTimestampTz(value_at(10, &isnull));
		earned->rate.needed = rate.given;
		earned->rate.given = rate.given;
		earned->rate.rate = rate.value;
		original->earned = lappend(original->earned, earned);
		*entries = lappend(*entries, earned);
	}
}

static void
read_given_back(PrmEarningRun *run, List *entries)
{
	static PrmKept kept = {"ledger"};
	Datum *ids = palloc(sizeof(Datum) * Max(list_length(entries), 1));
	ListCell *cell;
	HTAB *table;
	HASHCTL info = {0};
	struct
	{
		int64 entry_id;
		PrmEarned *earned;
	} *found;

	if (entries == NIL)
		return;
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(*found);
	info.hcxt = CurrentMemoryContext;
	table = hash_create("prm refunded entries", list_length(entries), &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach (cell, entries)
	{
		PrmEarned *earned = lfirst(cell);

		ids[foreach_current_index(cell)] = Int64GetDatum(earned->entry_id);
		found = hash_search(table, &earned->entry_id, HASH_ENTER, NULL);
		found->earned = earned;
	}
	query(run, &kept, given_back_query, prm_array(ids, NULL, list_length(entries), INT8OID));
	for (uint64 i = 0; go_to(i); i++)
	{
		int64 entry_id = id_at(1);
		int64 refund_id = id_at(2);

		/* What a refund of this very run gave back is computed anew. */
		if (hash_search(run->state->refund_ids, &refund_id, HASH_FIND, NULL) != NULL)
			continue;
		found = hash_search(table, &entry_id, HASH_FIND, NULL);
		found->earned->given_back = prm_numeric_plus(found->earned->given_back, money_at(3).value);
	}
	hash_destroy(table);
}

static void
read_mended(PrmEarningRun *run, Datum ids)
{
	static PrmKept kept = {"ledger"};

	query(run, &kept, mended_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		PrmOriginal *original = prm_original_of(run, id_at(1));
		int64 refund_id = id_at(2);
		PrmRule *rule = rule_by_id(run, id_at(3));
		PrmEarned *earned;
		bool isnull;

		if (rule == NULL || hash_search(run->state->refund_ids, &refund_id, HASH_FIND, NULL) != NULL)
			continue;
		earned = earned_of_lineage(original, rule->lineage_id, text_at(4), id_at(5), DatumGetInt32(value_at(6, &isnull)));
		if (earned != NULL)
			earned->given_back = prm_numeric_plus(earned->given_back, money_at(7).value);
	}
}

/* What the event counted: joined to the row that it earned, or an item of its own where it earned nothing. */
static void
read_counts(PrmEarningRun *run, Datum ids)
{
	static PrmKept kept = {"accumulator_entry"};

	query(run, &kept, counts_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		PrmCountKey key = prm_key_of_row(run, tuple, form, 1);
		PrmOriginal *original = prm_original_of(run, id_at(8));
		PrmEarned *earned = earned_by_entry(original, id_at(9));

		if (key.purpose == PRM_PURPOSE_CAP)
		{
			PrmCapUse *use = NULL;
			ListCell *cell;

			if (earned == NULL)
				continue;
			foreach (cell, earned->caps)
				if (memcmp(&((PrmCapUse *) lfirst(cell))->key, &key, sizeof(key)) == 0)
					use = lfirst(cell);
			if (use == NULL)
			{
				use = palloc(sizeof(PrmCapUse));
				use->key = key;
				use->amount = prm_numeric_int(0);
				earned->caps = lappend(earned->caps, use);
			}
			use->amount = prm_numeric_plus(use->amount, money_at(10).value);
		}
		else
		{
			if (earned == NULL)
				earned = earned_of_lineage(original, key.lineage_id, prm_text_of(run->state, key.credit_type), key.partner_id, -1);
			if (earned == NULL)
			{
				PrmRule *rule = rule_in_force(run, key.lineage_id, original->earned_on);

				if (rule == NULL)
					continue;
				earned = prm_earned_make(rule, prm_text_of(run->state, key.credit_type), key.partner_id);
				earned->currency = original->currency;
				earned->legal_entity = original->legal_entity;
				earned->eligible_at = prm_days_later(run->book, original->occurred_at, rule->plan->hold_days);
				original->earned = lappend(original->earned, earned);
			}
			/* Later steps of the same count correct the first one. */
			earned->measure = earned->has_attained ? prm_numeric_plus(earned->measure, money_at(10).value) : money_at(10).value;
			earned->basis = earned->has_attained ? prm_numeric_plus(earned->basis, money_at(11).value) : money_at(11).value;
			earned->has_attained = true;
			earned->attained_key = key;
		}
		(void) prm_count_at(run, &key, 0);
	}
}

/* At which level an event counted that earned nothing: what caps or minima held back tells it. */
static void
read_levels(PrmEarningRun *run, Datum ids)
{
	static PrmKept kept = {"breakage"};

	query(run, &kept, breakage_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		PrmEarned *earned = earned_of_lineage(prm_original_of(run, id_at(1)), id_at(4), text_at(2), id_at(3), -1);
		bool isnull;

		if (earned != NULL && !earned->amount.given)
			earned->level = DatumGetInt32(value_at(5, &isnull));
	}
}

static bool
book_counts(PrmEarningRun *run)
{
	for (int i = 0; i < run->book->plan_count; i++)
		if (prm_plan_facts(run, &run->book->plans[i])->counts)
			return true;
	return false;
}

/* The events that ids name are among the originals already; they learn what is read. */
void
prm_originals_read(PrmEarningRun *run, Datum ids)
{
	HASH_SEQ_STATUS scan;
	PrmOriginal *original;
	ListCell *cell;
	static PrmKept event_plan = {"earning_event"}, refund_plan = {"earning_event"};
	List *entries = NIL;

	query(run, &event_plan, events_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		bool isnull;

		original = prm_original_of(run, id_at(1));
		original->given = true;
		original->amount = money_at(2);
		original->currency = text_at(3);
		original->legal_entity = text_at(4);
		original->occurred_at = DatumGetTimestampTz(value_at(5, &isnull));
		original->earned_on = prm_business_day(run->book, original->occurred_at);
		original->customer_id = id_at(6);
	}
	query(run, &refund_plan, refunds_query, ids);
	for (uint64 i = 0; go_to(i); i++)
	{
		PrmRefunded *refund = palloc(sizeof(PrmRefunded));
		int64 refund_id = id_at(2);
		bool isnull;

		original = prm_original_of(run, id_at(1));
		/* An explanation sees no refund that was stored after the one explained. */
		if (hash_search(run->state->refund_ids, &refund_id, HASH_FIND, NULL) != NULL)
		{
			original->passed_own = true;
			continue;
		}
		if (run->mode == PRM_EARNING_EXPLAIN && original->passed_own)
		{
			(void) hash_search(run->state->refund_ids, &refund_id, HASH_ENTER, NULL);
			continue;
		}
		refund->event_id = refund_id;
		refund->occurred_at = DatumGetTimestampTz(value_at(3, &isnull));
		refund->amount = prm_numeric_negative(money_at(4).value);
		original->refunds = lappend(original->refunds, refund);
	}
	read_rows(run, ids, &entries);
	read_given_back(run, entries);
	read_mended(run, ids);
	if (book_counts(run))
	{
		read_counts(run, ids);
		read_levels(run, ids);
		hash_seq_init(&scan, run->state->originals);
		while ((original = hash_seq_search(&scan)) != NULL)
			foreach (cell, original->earned)
				prm_note_unused_caps(run, original, lfirst(cell));
	}
}
