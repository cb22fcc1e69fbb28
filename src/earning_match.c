/*
 * earning_match.c: which rules match which credit at which level, and why the others do not. Called by earning.c once the facts
 * are there; fills run->candidates and reads nothing. What the candidates pay, and which of them wins, is for earning_pay.c.
 *
 * Level 0 is the seller; each parent above it has the next level, except that with the plan's compress an upline for whom no rule
 * of the level matches is passed over, and its level goes to the next one. Only matching rules become candidates, and those
 * that only the upline itself keeps from matching (its level stays unpaid); with run->everything all of them do.
 */
#include "earning.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "decimal.h"

/* A plan beside a credit. */
typedef struct Match
{
	PrmEarningRun *run;
	PrmEvent *event;
	PrmCredit *credit;
	PrmPlan *plan;
	List *found;
	/* whom the rules are tried for */
	MemoryContext scratch; /* for documents; reset after each event */
	PrmCandidate *block;   /* candidates are made by the block: in bulk there are many */
	int left;			   /* of the block */
	PrmPartnerThen *payee;
	int position; /* in the chain */
	int level;
	bool enrolled;
	Jsonb *document; /* for conditions; made when one is first tried */
} Match;

typedef struct Fault
{
	const char *code; /* NULL: the rule matches */
	const char *reason;
	bool of_payee; /* it lies in who the payee was then */
} Fault;

/* ---- conditions ------------------------------------------------------------------------------------------------------- */

static void
push_part(JsonbParseState **state, const char *name, Jsonb *part)
{
	JsonbValue value;

	if (part == NULL)
		return;
	value.type = jbvString;
	value.val.string.val = (char *) name;
	value.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &value);
	JsonbToJsonbValue(part, &value);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

/* What a condition sees for the present payee and level. */
static Jsonb *
make_document(const Match *match)
{
	int wanted = match->run->book->parts;
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	if ((wanted & (PRM_PART_PARTNER | PRM_PART_PAYEE | PRM_PART_METRICS | PRM_PART_BENEFITS | PRM_PART_LEVEL)) == 0)
		return match->event->document;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	iterator = JsonbIteratorInit(&match->event->document->root);
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_KEY || token == WJB_VALUE)
		(void) pushJsonbValue(&state, token, &value);
	if (wanted & PRM_PART_PARTNER)
		push_part(&state, "partner", match->credit->chain[0]->document);
	if (wanted & PRM_PART_PAYEE)
		push_part(&state, "payee", match->payee->document);
	if (wanted & PRM_PART_METRICS)
		push_part(&state, "metrics", match->credit->metrics[match->position]);
	if (wanted & PRM_PART_BENEFITS)
		push_part(&state, "benefits", match->credit->benefits[match->position]);
	value.type = jbvString;
	value.val.string.val = "level";
	value.val.string.len = strlen("level");
	(void) pushJsonbValue(&state, WJB_KEY, &value);
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(prm_numeric_int(match->level));
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Only a clear true is true: what is absent, or of the wrong type, satisfies nothing. */
static bool
is_true(Match *match, const PrmRule *rule)
{
	LOCAL_FCINFO(call, 4);
	MemoryContext caller;
	Datum result;

	if (match->event->document == NULL)
		return false;
	caller = MemoryContextSwitchTo(match->scratch);
	if (match->document == NULL)
		match->document = make_document(match);
	InitFunctionCallInfoData(*call, NULL, 4, InvalidOid, NULL, NULL);
	call->args[0].value = JsonbPGetDatum(match->document);
	call->args[1].value = rule->condition;
	call->args[2].value = match->run->no_variables;
	call->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		call->args[i].isnull = false;
	result = jsonb_path_match(call);
	MemoryContextSwitchTo(caller);
	return !call->isnull && DatumGetBool(result);
}

/* ---- one rule --------------------------------------------------------------------------------------------------------- */

static inline bool
differs(const char *wanted, const char *present)
{
	return wanted != NULL && (present == NULL || strcmp(wanted, present) != 0);
}

static int
place_in(const List *words, const char *word)
{
	ListCell *cell;

	foreach (cell, words)
		if (strcmp(lfirst(cell), word) == 0)
			return foreach_current_index(cell) + 1;
	return 0;
}

static bool
has_family(const PrmEvent *event, const char *family)
{
	return !differs(family, event->product_family) || place_in(event->families, family) > 0 || place_in(event->products, family) > 0;
}

#define SAY(...) (match->run->everything ? psprintf(__VA_ARGS__) : "")
#define OR_NONE(word, none) ((word) == NULL ? (none) : (word))

/*
 * Why the rule does not match, the first reason in the order of the dimensions. With for_anybody, who the payee is does not
 * count: what is left then keeps everybody from it.
 */
static Fault
fault_of(Match *match, const PrmRule *rule, bool for_anybody)
{
	const PrmEvent *event = match->event;
	const PrmPartnerThen *payee = match->payee;

	if (!match->enrolled && !for_anybody)
		return (Fault){"not_enrolled", "the partner is not enrolled in the plan on that date", true};
	if (!event->commissionable)
		return (Fault){"not_commissionable", "the product earns no commission", false};
	if (event->earned_on < rule->valid_from || (event->earned_on >= rule->valid_to && rule->valid_to != DATEVAL_NOEND))
		return (Fault){"not_in_force", "the rule is not in force on that date", false};
	if (rule->override_mode == PRM_OVERRIDE_TOP_OF_CHAIN && payee->parent_id != 0)
		return (Fault){"not_top_of_chain",
					   SAY("only the top of the chain is paid, and partner " INT64_FORMAT " has a parent", payee->partner_id), false};
	if (rule->partner_id != 0 && rule->partner_id != payee->partner_id && !for_anybody)
		return (Fault){"other_partner", "the rule is for another partner", true};
	if (rule->customer_id != 0 && rule->customer_id != event->customer_id)
		return (Fault){"other_customer", "the rule is for another customer", false};
	if (rule->product != NULL && place_in(event->products, rule->product) == 0)
		return (Fault){"other_product",
					   SAY("the rule is for the product %s, sold was %s", rule->product, OR_NONE(event->product, "none in particular")),
					   false};
	if (rule->product_family != NULL && !has_family(event, rule->product_family))
		return (Fault){"other_family",
					   SAY("the rule is for the product family %s, sold was %s", rule->product_family,
						   OR_NONE(event->product_family, "none in particular")),
					   false};
	if (differs(rule->credit_type, match->credit->credit_type))
		return (Fault){"other_credit_type",
					   SAY("the rule is for %s credit, this is %s", rule->credit_type, match->credit->credit_type), false};
	if (differs(rule->deal_kind, event->deal_kind))
		return (Fault){"other_deal_kind",
					   SAY("the rule is for %s deals, this is %s", rule->deal_kind, OR_NONE(event->deal_kind, "none")), false};
	if (rule->registered >= 0 && rule->registered != event->registered)
		return (Fault){"other_registration",
					   rule->registered ? "the rule is for registered deals, and this one was not registered"
										: "the rule is for deals that were not registered, and this one was",
					   false};
	if (differs(rule->tier, payee->tier) && !for_anybody)
		return (Fault){"other_tier", SAY("the rule is for tier %s, the partner held %s", rule->tier, OR_NONE(payee->tier, "none")),
					   true};
	if (differs(rule->partner_kind, payee->kind) && !for_anybody)
		return (Fault){
			"other_partner_kind",
			SAY("the rule is for partners of kind %s, the partner was %s", rule->partner_kind, OR_NONE(payee->kind, "of none")), true};
	if (differs(rule->region, payee->region) && !for_anybody)
		return (Fault){"other_region",
					   SAY("the rule is for region %s, the partner was in %s", rule->region, OR_NONE(payee->region, "none")), true};
	if (rule->condition != (Datum) 0 && !is_true(match, rule))
		return (Fault){"condition", SAY("the condition %s is not true", rule->condition_text), false};
	return (Fault){NULL, NULL, false};
}

static PrmCandidate *
add_candidate(Match *match, PrmRule *rule, Fault fault)
{
	PrmCandidate *candidate;

	if (match->left == 0)
	{
		/* A single event needs a few. */
		match->left = match->block == NULL ? 8 : 256;
		match->block = palloc0(sizeof(PrmCandidate) * match->left);
	}
	candidate = match->block++;
	match->left--;
	candidate->credit = match->credit;
	candidate->plan = rule == NULL ? match->plan : rule->plan;
	candidate->rule = rule;
	candidate->level = match->level;
	candidate->payee = match->payee;
	candidate->fault = fault.reason;
	candidate->fault_code = fault.code;
	if (rule != NULL)
	{
		int place = rule->product == NULL ? 0 : place_in(match->event->products, rule->product);

		candidate->specificity = rule->specificity + (place == 0 ? 0 : (10 - place) * 512);
	}
	match->found = lappend(match->found, candidate);
	return candidate;
}

/* ---- one level -------------------------------------------------------------------------------------------------------- */

static void
try_for(Match *match, int position, int level)
{
	PrmPartnerThen *payee = match->credit->chain[position];

	match->payee = payee;
	match->position = position;
	match->level = level;
	match->document = NULL;
	match->enrolled = prm_is_enrolled(match->run, match->plan, payee->partner_id, match->event->earned_on);
}

static inline bool
serves(const PrmRule *rule, int level)
{
	return rule->level <= level && level <= rule->through_level;
}

/* The rules of the plans that the seller is in, for the payee at this level: lower_of_plans pays no more than they do. */
static void
add_sellers_rules(Match *match)
{
	PrmPlan *own = match->plan;
	int64 seller = match->credit->partner_id;

	for (int i = 0; i < match->run->book->plan_count; i++)
	{
		PrmPlan *plan = &match->run->book->plans[i];

		if (plan == own || (!plan->is_active && !list_member_ptr(match->run->plans, plan)) ||
			strcmp(plan->earn_on, match->event->kind) != 0 ||
			!prm_is_enrolled(match->run, plan, seller, match->event->earned_on))
			continue;
		for (int j = 0; j < plan->rule_count; j++)
		{
			PrmRule *rule = plan->rules[j];
			Fault fault;

			if (!serves(rule, match->level))
				continue;
			match->enrolled = true;
			fault = fault_of(match, rule, false);
			if (fault.code == NULL)
			{
				PrmCandidate *candidate = add_candidate(match, rule, fault);

				candidate->of_sellers_plan = true;
				candidate->beside = own;
			}
		}
	}
}

/*
 * Nobody takes the level: the best rule of each component that only the payee itself keeps from matching shows what stays
 * unpaid.
 */
static void
mark_unqualified(Match *match, int first)
{
	List *best = NIL; /* PrmRule *, one for each component */
	ListCell *cell;

	/* A plan that neither the seller nor the upline is in has nothing to do with the sale. */
	if (!match->enrolled && !prm_is_enrolled(match->run, match->plan, match->credit->partner_id, match->event->earned_on))
		return;
	for (int i = 0; i < match->plan->rule_count; i++)
	{
		PrmRule *rule = match->plan->rules[i];
		bool known = false;

		if (!serves(rule, match->level) || !fault_of(match, rule, false).of_payee || fault_of(match, rule, true).code != NULL)
			continue;
		/* Where each is paid by the plan that he is in, nobody is short of a plan that he is not in. */
		if (!match->enrolled && rule->override_mode == PRM_OVERRIDE_LOWER_OF_PLANS)
			continue;
		foreach (cell, best)
		{
			PrmRule *other = lfirst(cell);

			if (strcmp(other->component, rule->component) != 0)
				continue;
			known = true;
			if (rule->priority > other->priority ||
				(rule->priority == other->priority && rule->specificity >= other->specificity))
				lfirst(cell) = rule;
		}
		if (!known)
			best = lappend(best, rule);
	}
	foreach (cell, best)
	{
		PrmRule *rule = lfirst(cell);
		PrmCandidate *candidate = NULL;

		for (int i = first; i < list_length(match->found) && candidate == NULL; i++)
			if (((PrmCandidate *) list_nth(match->found, i))->rule == rule)
				candidate = list_nth(match->found, i);
		if (candidate == NULL)
			candidate = add_candidate(match, rule, fault_of(match, rule, false));
		candidate->unqualified = true;
	}
}

/* Tries the rules of a level for the payee; true where some rule matches, so that the payee takes the level. */
static bool
match_level(Match *match, int position, int level)
{
	bool matched = false;
	bool compares = false;
	bool seller_enrolled;
	int first = list_length(match->found);

	try_for(match, position, level);
	for (int i = 0; i < match->plan->rule_count; i++)
	{
		PrmRule *rule = match->plan->rules[i];
		Fault fault;

		if (!serves(rule, level))
			continue;
		fault = fault_of(match, rule, false);
		if (fault.code == NULL)
		{
			matched = true;
			compares |= rule->override_mode == PRM_OVERRIDE_LOWER_OF_PLANS;
			(void) add_candidate(match, rule, fault);
		}
		else if (match->run->everything)
			(void) add_candidate(match, rule, fault);
	}
	if (level > 0 && !matched && !match->plan->compress)
		mark_unqualified(match, first);
	if (!compares)
		return matched;
	seller_enrolled = prm_is_enrolled(match->run, match->plan, match->credit->partner_id, match->event->earned_on);
	for (int i = first; i < list_length(match->found); i++)
		((PrmCandidate *) list_nth(match->found, i))->seller_enrolled = seller_enrolled;
	if (!seller_enrolled)
		add_sellers_rules(match);
	return matched;
}

/* ---- one plan --------------------------------------------------------------------------------------------------------- */

/* Levels above the last partner of the chain: rollup pays them to the seller, and only explanations speak of the others. */
static void
match_missing_level(Match *match, int level)
{
	try_for(match, 0, level);
	for (int i = 0; i < match->plan->rule_count; i++)
	{
		PrmRule *rule = match->plan->rules[i];
		Fault fault;

		if (!serves(rule, level))
			continue;
		if (rule->override_mode == PRM_OVERRIDE_ROLLUP)
			fault = fault_of(match, rule, false);
		else
			fault = (Fault){"no_such_level", SAY("the chain above the seller has no level %d", level), false};
		if (fault.code == NULL || match->run->everything)
			(void) add_candidate(match, rule, fault);
	}
}

static void
match_plan(Match *match)
{
	PrmPlan *plan = match->plan;
	int level = 1;

	if (plan->rule_count == 0)
	{
		if (match->run->everything)
		{
			try_for(match, 0, 0);
			(void) add_candidate(match, NULL, (Fault){"no_rules", "the plan has no rules", false});
		}
		return;
	}
	(void) match_level(match, 0, 0);
	if (plan->highest_level == 0)
		return;
	for (int position = 1; position < match->credit->chain_length && position <= plan->override_depth && level <= plan->highest_level;
		 position++)
	{
		bool matched = match_level(match, position, level);

		if (matched || !plan->compress)
			level++;
	}
	for (; level <= plan->highest_level && level <= plan->override_depth; level++)
		match_missing_level(match, level);
}

/* Candidates of each event: by credit, plan, level. */
void
prm_earning_match(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	Match match = {0};
	ListCell *cell;
	ListCell *credit;
	ListCell *plan;

	match.run = run;
	match.scratch = AllocSetContextCreate(run->context, "prm conditions", ALLOCSET_DEFAULT_SIZES);
	run->candidates = MemoryContextAllocHuge(run->context, sizeof(List *) * Max(list_length(run->events), 1));
	foreach (cell, run->events)
	{
		match.event = lfirst(cell);
		match.found = NIL;
		foreach (credit, match.event->credits)
		{
			match.credit = lfirst(credit);
			foreach (plan, run->plans)
			{
				match.plan = lfirst(plan);
				if (strcmp(match.plan->earn_on, match.event->kind) == 0)
					match_plan(&match);
			}
		}
		run->candidates[match.event->ordinal] = match.found;
		if (run->book->has_conditions)
			MemoryContextReset(match.scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(caller);
}
