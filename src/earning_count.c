/*
 * earning_count.c: what rules count, in memory: attained amounts and used caps by window, and first sales. Owns the hash
 * tables of a run and the steps that it adds to them; earning_state.c fills them from the tables and writes the steps back.
 *
 * A count is a running sum. An event that was counted before (an explanation of the past, or an accrual that is repeated) must
 * find it as it was then: such an event has counts of its own, whose key carries the event, filled from the steps that it
 * left. What is added to those goes nowhere.
 */
#include "earning_pay.h"

#include "utils/builtins.h"

/* ---- texts in keys --------------------------------------------------------------------------------------------------- */

/* A run meets few credit types and components, so they are looked for one by one. The first text is ''. */
int
prm_text_number(PrmEarningState *state, const char *text)
{
	ListCell *cell;

	foreach (cell, state->texts)
		if (strcmp(lfirst(cell), text) == 0)
			return foreach_current_index(cell);
	state->texts = lappend(state->texts, pstrdup(text));
	state->text_values = lappend(state->text_values, cstring_to_text(text));
	return list_length(state->texts) - 1;
}

/* The same as a value of type text, which all that name it share. */
Datum
prm_text_value(PrmEarningState *state, int number)
{
	return PointerGetDatum(list_nth(state->text_values, number));
}

const char *
prm_text_of(PrmEarningState *state, int number)
{
	return list_nth(state->texts, number);
}

/* ---- keys ------------------------------------------------------------------------------------------------------------ */

static PrmCountKey
empty_key(PrmPurpose purpose)
{
	PrmCountKey key;

	memset(&key, 0, sizeof(key));
	key.purpose = purpose;
	return key;
}

PrmCountKey
prm_attained_key(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, const char *credit_type, DateADT day)
{
	PrmCountKey key = empty_key(PRM_PURPOSE_ATTAINED);

	key.lineage_id = rule->lineage_id;
	key.plan_id = rule->plan->plan_id;
	key.partner_id = partner_id;
	key.credit_type = prm_text_number(run->state, credit_type);
	key.window_start = prm_window_start(run->book, rule->window_kind, day);
	return key;
}

PrmCountKey
prm_plan_cap_key(PrmEarningRun *run, const PrmPlan *plan, PrmWindowKind kind, DateADT day)
{
	PrmCountKey key = empty_key(PRM_PURPOSE_CAP);

	key.plan_id = plan->plan_id;
	key.window_start = prm_window_start(run->book, kind, day);
	return key;
}

/*
 * The count that a rule's cap looks at; false where it needs none: no cap, a cap of each event, or one of each customer and
 * an event without a customer, which then stands for itself.
 */
bool
prm_cap_key(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, int64 customer_id, DateADT day, PrmCountKey *key)
{
	if (rule->cap_scope == PRM_CAP_NONE || rule->cap_scope == PRM_CAP_EVENT ||
		(rule->cap_scope == PRM_CAP_CUSTOMER && customer_id == 0))
		return false;
	*key = prm_plan_cap_key(run, rule->plan, rule->cap_window, day);
	if (rule->cap_scope != PRM_CAP_PLAN)
		key->lineage_id = rule->lineage_id;
	if (rule->cap_scope == PRM_CAP_PARTNER)
		key->partner_id = partner_id;
	if (rule->cap_scope == PRM_CAP_CUSTOMER)
		key->customer_id = customer_id;
	return true;
}

/* A cap of the whole plan counts what all of its rules pay, so each row of such a plan is counted in these windows. */
const PrmPlanFacts *
prm_plan_facts(PrmEarningRun *run, const PrmPlan *plan)
{
	PrmPlanFacts *facts;
	ListCell *cell;

	foreach (cell, run->state->plans)
	{
		facts = lfirst(cell);
		if (facts->plan == plan)
			return facts;
	}
	facts = palloc0(sizeof(PrmPlanFacts));
	facts->plan = plan;
	for (int i = 0; i < plan->rule_count; i++)
	{
		const PrmRule *rule = plan->rules[i];

		facts->counts |= rule->accumulate != PRM_ACCUMULATE_TRANSACTION || rule->cap_amount.given;
		facts->recurs |= rule->lineage_recurs;
		if (rule->cap_amount.given && rule->cap_scope == PRM_CAP_PLAN)
			facts->cap_windows |= 1 << rule->cap_window;
	}
	run->state->plans = lappend(run->state->plans, facts);
	return facts;
}

/* ---- counts ---------------------------------------------------------------------------------------------------------- */

static PrmCount *
enter_count(PrmEarningRun *run, const PrmCountKey *key, const PrmCount *from)
{
	bool found;
	PrmCount *count = hash_search(run->state->counts, key, HASH_ENTER, &found);

	if (!found)
	{
		count->amount = from != NULL ? from->amount : prm_numeric_int(0);
		count->basis = from != NULL ? from->basis : prm_numeric_int(0);
		count->entries = 0;
		count->changed = false;
	}
	return count;
}

/* The count as the event finds it. */
PrmCount *
prm_count_at(PrmEarningRun *run, const PrmCountKey *key, int64 event_id)
{
	PrmCount *count;
	PrmCountKey past = *key;

	past.event_id = 0;
	count = enter_count(run, &past, NULL);
	if (run->mode == PRM_EARNING_EXPLAIN || run->state->has_past)
	{
		PrmCount *then;

		past.event_id = event_id;
		then = hash_search(run->state->counts, &past, HASH_FIND, NULL);
		if (then != NULL)
			return then;
		if (run->mode == PRM_EARNING_EXPLAIN)
			return enter_count(run, &past, count);
	}
	return count;
}

/* Steps that change nothing are not kept. */
void
prm_count_add(PrmEarningRun *run, PrmCount *count, int64 event_id, PrmOutcome *outcome, Datum amount, Datum basis)
{
	if (prm_numeric_sign(amount) == 0 && prm_numeric_sign(basis) == 0)
		return;
	if ((run->mode == PRM_EARNING_ACCRUE || run->mode == PRM_EARNING_REPLAY) && count->key.event_id == 0)
	{
		PrmCountEntry *entry = palloc(sizeof(PrmCountEntry));

		entry->count = count;
		entry->sequence_no = ++count->entries;
		entry->event_id = event_id;
		entry->outcome = outcome;
		entry->amount = amount;
		entry->basis = basis;
		entry->amount_before = count->amount;
		entry->basis_before = count->basis;
		count->changed = true;
		run->state->entries = lappend(run->state->entries, entry);
	}
	count->amount = prm_numeric_trim(prm_numeric_plus(count->amount, amount));
	count->basis = prm_numeric_trim(prm_numeric_plus(count->basis, basis));
}

/* ---- first sales ----------------------------------------------------------------------------------------------------- */

/* Whether some rule of the component recurs: then the first sale of each pair is to be known. */
static bool
component_recurs(const PrmPlan *plan, const char *component)
{
	for (int i = 0; i < plan->rule_count; i++)
		if (plan->rules[i]->lineage_recurs && strcmp(plan->rules[i]->component, component) == 0)
			return true;
	return false;
}

/* NULL where nothing recurs, or where there is no customer to sell to again. */
PrmStart *
prm_start_of(PrmEarningRun *run, const PrmPlan *plan, const char *component, int64 partner_id, int64 customer_id)
{
	PrmStartKey key;
	PrmStart *start;
	bool found;

	if (customer_id == 0 || !prm_plan_facts(run, plan)->recurs || !component_recurs(plan, component))
		return NULL;
	memset(&key, 0, sizeof(key));
	key.plan_id = plan->plan_id;
	key.partner_id = partner_id;
	key.customer_id = customer_id;
	key.component = prm_text_number(run->state, component);
	start = hash_search(run->state->starts, &key, HASH_ENTER, &found);
	if (!found)
	{
		start->given = false;
		start->is_new = false;
	}
	return start;
}
