/*
 * earning_origin.c: what refunds need of the events that they refund: what those earned and attained, what was refunded and
 * given back before. Of events that the same run pays it is noted as they pass; of all others earning_origin_read.c reads it.
 * Called by earning_state.c (which locks the counts found here) and earning_pay.c; used by earning_refund.c.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"

PrmOriginal *
prm_original_of(PrmEarningRun *run, int64 event_id)
{
	return hash_search(run->state->originals, &event_id, HASH_FIND, NULL);
}

PrmEarned *
prm_earned_make(PrmRule *rule, const char *credit_type, int64 partner_id)
{
	PrmEarned *earned = palloc0(sizeof(PrmEarned));

	earned->rule = rule;
	earned->credit_type = credit_type;
	earned->partner_id = partner_id;
	earned->level = rule->level;
	earned->given_back = prm_numeric_int(0);
	return earned;
}

/* What attained and was paid nothing used no cap; what is unwound of it lowers the caps all the same. */
void
prm_note_unused_caps(PrmEarningRun *run, const PrmOriginal *original, PrmEarned *earned)
{
	const PrmRule *rule = earned->rule;
	int windows = prm_plan_facts(run, rule->plan)->cap_windows;
	PrmCountKey keys[PRM_WINDOW_YEAR + 2];
	int count = 0;

	if (!earned->has_attained || rule->accumulate != PRM_ACCUMULATE_CUMULATIVE || earned->caps != NIL)
		return;
	if (rule->cap_amount.given && rule->cap_scope != PRM_CAP_PLAN &&
		prm_cap_key(run, rule, earned->partner_id, original->customer_id, original->earned_on, &keys[count]))
		count++;
	for (int kind = 0; windows >> kind != 0; kind++)
		if ((windows & 1 << kind) != 0)
			keys[count++] = prm_plan_cap_key(run, rule->plan, kind, original->earned_on);
	for (int i = 0; i < count; i++)
	{
		PrmCapUse *use = palloc(sizeof(PrmCapUse));

		use->key = keys[i];
		use->amount = prm_numeric_int(0);
		earned->caps = lappend(earned->caps, use);
		(void) prm_count_at(run, &use->key, 0);
	}
}

/* The state is in the making: its counts learn which keys the refunds need. */
void
prm_originals_load(PrmEarningRun *run)
{
	HASHCTL info = {0};
	HASH_SEQ_STATUS scan;
	PrmOriginal *original;
	Datum *ids;
	ListCell *cell;
	int count = 0;

	info.keysize = sizeof(int64);
	info.entrysize = sizeof(PrmOriginal);
	info.hcxt = CurrentMemoryContext;
	run->state->originals = hash_create("prm refunded events", 32, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	info.entrysize = sizeof(int64);
	run->state->refund_ids = hash_create("prm refunds", 32, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);
		bool found;

		if (!event->is_refund || event->applies_to_id == 0)
			continue;
		(void) hash_search(run->state->refund_ids, &event->earning_event_id, HASH_ENTER, NULL);
		original = hash_search(run->state->originals, &event->applies_to_id, HASH_ENTER, &found);
		if (!found)
		{
			memset((char *) original + sizeof(int64), 0, sizeof(PrmOriginal) - sizeof(int64));
			count++;
		}
	}
	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		original = event->is_refund || run->mode == PRM_EARNING_EXPLAIN ? NULL : prm_original_of(run, event->earning_event_id);
		if (original == NULL)
			continue;
		original->in_run = true;
		original->amount = event->amount;
		original->currency = event->currency;
		original->legal_entity = event->legal_entity;
		original->occurred_at = event->occurred_at;
		original->earned_on = event->earned_on;
		original->customer_id = event->customer_id;
		count--;
	}
	ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(count, 1));
	count = 0;
	hash_seq_init(&scan, run->state->originals);
	while ((original = hash_seq_search(&scan)) != NULL)
		if (!original->in_run)
			ids[count++] = Int64GetDatum(original->event_id);
	if (count > 0)
		prm_originals_read(run, prm_array(ids, NULL, count, INT8OID));
}

/* What the windows hold from which refunds of earlier events take; those of events of this run are read when they are asked for. */
void
prm_originals_paid(PrmEarningRun *run)
{
	List *counts = NIL;
	ListCell *cell;
	ListCell *earned_cell;

	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);
		PrmOriginal *original = event->is_refund ? prm_original_of(run, event->applies_to_id) : NULL;

		if (original == NULL)
			continue;
		foreach (earned_cell, original->earned)
		{
			PrmEarned *earned = lfirst(earned_cell);

			if (prm_is_unwound(earned) && prm_is_limited(earned->rule))
				counts = lappend(counts, prm_count_at(run, &earned->attained_key, event->earning_event_id));
		}
	}
	prm_paid_load(run, counts);
}

/* A winner has been paid, or not: what a refund later in this run would have to know of it. */
void
prm_original_note(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row, List *caps)
{
	PrmOriginal *original;
	PrmEarned *earned;

	if (run->state->originals == NULL || (row->outcome != PRM_OUTCOME_WON && attempt->attained == NULL))
		return;
	original = prm_original_of(run, row->event->earning_event_id);
	if (original == NULL || !original->in_run)
		return;
	earned = prm_earned_make(attempt->rule, row->credit_type, row->partner_id);
	earned->seller_id = row->seller_id;
	earned->level = row->level;
	earned->outcome = row;
	if (row->outcome == PRM_OUTCOME_WON)
		earned->amount = row->amount;
	earned->currency = row->currency;
	earned->legal_entity = row->event->legal_entity;
	earned->eligible_at = row->eligible_at;
	earned->rate = attempt->rate;
	earned->caps = caps;
	if (attempt->attained != NULL)
	{
		earned->has_attained = true;
		earned->attained_key = attempt->attained->key;
		earned->attained_key.event_id = 0;
		earned->measure = attempt->measure.value;
		earned->basis = attempt->basis.value;
	}
	prm_note_unused_caps(run, original, earned);
	original->earned = lappend(original->earned, earned);
}
