/*
 * earning_cap.c: what caps let pass, and what rows use of them. Called by earning_pay.c; the counts are those of earning_count.c,
 * and a cap of each event is counted here, for as long as the event is under way.
 */
#include "earning_pay.h"

/* What an event's rows have used of a cap that counts each event by itself. */
typedef struct EventCap
{
	int64 lineage_id;
	Datum used;
} EventCap;

static EventCap *
event_cap(PrmEarningRun *run, int64 lineage_id)
{
	EventCap *cap;
	ListCell *cell;

	foreach (cell, run->state->event_caps)
	{
		cap = lfirst(cell);
		if (cap->lineage_id == lineage_id)
			return cap;
	}
	cap = palloc(sizeof(EventCap));
	cap->lineage_id = lineage_id;
	cap->used = prm_numeric_int(0);
	run->state->event_caps = lappend(run->state->event_caps, cap);
	return cap;
}

/* What the cap of the rule lets pass of the money. */
Datum
prm_cap_leaves(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row)
{
	const PrmRule *rule = attempt->rule;
	PrmCountKey key;
	Datum room;

	if (!rule->cap_amount.given || rule->cap_scope == PRM_CAP_NONE)
		return attempt->money;
	if (prm_cap_key(run, rule, row->partner_id, attempt->event->customer_id, attempt->event->earned_on, &key))
		row->cap_used_before = prm_money(prm_count_at(run, &key, attempt->event->earning_event_id)->amount);
	else
		row->cap_used_before = prm_money(event_cap(run, rule->lineage_id)->used);
	room = prm_numeric_minus(rule->cap_amount.value, row->cap_used_before.value);
	if (prm_numeric_sign(attempt->money) <= 0 || prm_numeric_compare(attempt->money, room) <= 0)
		return attempt->money;
	if (prm_numeric_sign(room) < 0)
		room = prm_numeric_int(0);
	/* Whole minor units, and never one too many. */
	return DirectFunctionCall2(numeric_trunc, room,
							   Int32GetDatum(prm_currency_digits(rule->plan->currency, strlen(rule->plan->currency))));
}

static List *
use_cap(PrmEarningRun *run, PrmOutcome *row, const PrmCountKey *key, Datum amount, List *uses)
{
	PrmCapUse *use = palloc(sizeof(PrmCapUse));

	prm_count_add(run, prm_count_at(run, key, row->event->earning_event_id), row->event->earning_event_id, row, amount,
				  prm_numeric_int(0));
	use->key = *key;
	use->amount = amount;
	return lappend(uses, use);
}

/* A row counts towards the cap of its rule, and towards each cap of the whole plan. */
List *
prm_cap_use(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row, Datum amount)
{
	const PrmRule *rule = attempt->rule;
	int windows = prm_plan_facts(run, rule->plan)->cap_windows;
	List *uses = NIL;
	PrmCountKey key;

	if (rule->cap_amount.given && rule->cap_scope != PRM_CAP_PLAN && rule->cap_scope != PRM_CAP_NONE)
	{
		if (prm_cap_key(run, rule, row->partner_id, row->event->customer_id, row->event->earned_on, &key))
			uses = use_cap(run, row, &key, amount, uses);
		else
		{
			EventCap *cap = event_cap(run, rule->lineage_id);

			cap->used = prm_numeric_plus(cap->used, amount);
		}
	}
	for (int kind = 0; windows >> kind != 0; kind++)
	{
		if ((windows & 1 << kind) == 0)
			continue;
		key = prm_plan_cap_key(run, rule->plan, kind, row->event->earned_on);
		uses = use_cap(run, row, &key, amount, uses);
	}
	return uses;
}

/* Why a row is smaller than what the rule gives, or is none. */
const char *
prm_cap_reason(const PrmAttempt *attempt, const PrmOutcome *row)
{
	static const char *const windows[] = {"", " a month", " a half month", " a quarter", " a half year", " a year"};
	const PrmRule *rule = attempt->rule;
	const char *cap = prm_money_text(rule->cap_amount.value);
	const char *window = rule->cap_scope == PRM_CAP_EVENT ? " an event" : windows[rule->cap_window];
	Datum room = prm_numeric_minus(rule->cap_amount.value, row->cap_used_before.value);

	if (prm_numeric_sign(room) <= 0)
		return psprintf("the cap of %s %s%s is used up", cap, rule->plan->currency, window);
	return psprintf("the cap of %s %s%s leaves only %s", cap, rule->plan->currency, window, prm_money_text(room));
}
