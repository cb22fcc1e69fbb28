/*
 * earning_pay.c: what the matching rules pay, event by event in order. Picks one winner of each plan, component, level and
 * payee, or all where the plan says so, lets caps (earning_cap.c) and minima hold back what they must, counts what was attained and used, and
 * adds an outcome for each row, each loser and each amount that is not paid. Called by earning.c between the state's load and
 * its store; writes nothing itself except the numbers that it draws for the rows.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

/* ---- outcomes ----------------------------------------------------------------------------------------------------------- */

PrmOutcome *
prm_outcome_make(PrmEarningRun *run, PrmEvent *event)
{
	PrmOutcome *outcome = palloc0(sizeof(PrmOutcome));

	outcome->event = event;
	outcome->currency = event->currency;
	outcome->eligible_at = event->occurred_at;
	outcome->sequence_no = 1;
	run->outcomes = lappend(run->outcomes, outcome);
	return outcome;
}

static PrmOutcome *
outcome_of_candidate(PrmEarningRun *run, PrmCandidate *candidate)
{
	PrmOutcome *outcome = prm_outcome_make(run, candidate->credit->event);

	outcome->candidate = candidate;
	outcome->credit_type = candidate->credit->credit_type;
	outcome->partner_id = candidate->payee->partner_id;
	outcome->seller_id = candidate->credit->partner_id;
	outcome->level = candidate->level;
	outcome->rule = candidate->rule;
	outcome->entry_kind = "commission";
	if (candidate->rule != NULL)
	{
		outcome->rule_id = candidate->rule->rule_id;
		outcome->lineage_id = candidate->rule->lineage_id;
		if (candidate->level == 0 || strcmp(candidate->rule->entry_kind, "commission") != 0)
			outcome->entry_kind = candidate->rule->entry_kind;
		else
			outcome->entry_kind = "override";
	}
	return outcome;
}

static PrmOutcome *
outcome_of_attempt(PrmEarningRun *run, PrmAttempt *attempt)
{
	PrmCandidate *candidate = attempt->candidate;
	PrmOutcome *outcome = outcome_of_candidate(run, candidate);

	outcome->rule = attempt->rule;
	outcome->rule_id = attempt->rule->rule_id;
	outcome->basis_amount = attempt->basis;
	outcome->measure_amount = attempt->measured;
	outcome->attained_before = attempt->attained_before;
	outcome->basis_before = attempt->basis_before;
	if (attempt->attained != NULL)
	{
		outcome->has_window = true;
		outcome->window_start = attempt->attained->key.window_start;
	}
	outcome->commission = attempt->commission;
	outcome->exchange_rate = prm_rate_shown(&attempt->rate);
	outcome->place = attempt->place;
	outcome->eligible_at = prm_days_later(run->book, attempt->event->occurred_at, candidate->plan->hold_days);
	outcome->reason_code = attempt->code;
	outcome->reason = attempt->reason;
	outcome->cause = attempt->below;
	return outcome;
}

static void
add_no_match(PrmEarningRun *run, PrmCandidate *candidate, const char *code, const char *reason)
{
	PrmOutcome *outcome;

	if (!run->everything)
		return;
	outcome = outcome_of_candidate(run, candidate);
	outcome->outcome = PRM_OUTCOME_NO_MATCH;
	outcome->reason_code = code;
	outcome->reason = reason;
}

/* ---- what is held back --------------------------------------------------------------------------------------------------- */

/* Money of the plan as money of the event, at the rate of the attempt; what is owed is negative. */
static Datum
paid_out(PrmEarningRun *run, const PrmAttempt *attempt, Datum money)
{
	Datum amount = money;

	if (attempt->rate.needed)
		amount = prm_money_round(run->book, prm_money_from_plan(&attempt->rate, money), attempt->event->currency);
	return attempt->rule->owed ? prm_numeric_negative(amount) : amount;
}

static void
add_breakage(PrmEarningRun *run, PrmOutcome *row)
{
	if (run->mode == PRM_EARNING_ACCRUE)
		run->state->breakage = lappend(run->state->breakage, row);
}

/* ---- paying -------------------------------------------------------------------------------------------------------------- */

/* A row of its own for each event, credit type, payee, lineage, level and kind; two sellers may share an upline. */
static int
next_sequence_no(const PrmOutcome *row, List *paid)
{
	int number = 1;
	ListCell *cell;

	foreach (cell, paid)
	{
		PrmOutcome *other = lfirst(cell);

		if (other->partner_id == row->partner_id && other->lineage_id == row->lineage_id && other->level == row->level &&
			strcmp(other->credit_type, row->credit_type) == 0 && strcmp(other->entry_kind, row->entry_kind) == 0)
			number++;
	}
	return number;
}

/* The pair's first sale under the component: what it would pay counts, whatever a cap leaves of it. */
static void
note_start(PrmEarningRun *run, PrmAttempt *attempt)
{
	PrmStart *start = attempt->start;

	if (start == NULL || start->given || run->mode == PRM_EARNING_EXPLAIN)
		return;
	start->given = true;
	start->is_new = true;
	start->rule_id = attempt->rule->rule_id;
	start->lineage_id = attempt->rule->lineage_id;
	start->started_on = attempt->event->earned_on;
	start->event_id = attempt->event->earning_event_id;
	run->state->new_starts = lappend(run->state->new_starts, start);
}

/* The winner cannot be paid: amount is what it would have been, absent where nobody can tell. */
static void
leave_unpaid(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row, const char *code, const char *reason)
{
	row->outcome = PRM_OUTCOME_UNPAID;
	row->reason_code = code;
	row->reason = reason;
	if (strcmp(code, "zero") == 0 || strcmp(code, "missing_basis") == 0)
		return;
	if (attempt->commission.given)
	{
		Datum amount = paid_out(run, attempt, attempt->money);

		if (prm_numeric_sign(amount) == 0)
			return;
		row->unpaid_amount = prm_money(amount);
	}
	add_breakage(run, row);
}

static const char *
won_reason(const PrmAttempt *attempt)
{
	if (attempt->reason != NULL)
		return attempt->reason;
	switch (attempt->candidate->plan->pick)
	{
		case PRM_PICK_ALL:
			return "every rule that matches pays";
		case PRM_PICK_HIGHEST_PAYING:
			return "pays most of the rules that match";
		case PRM_PICK_MOST_SPECIFIC:
			break;
	}
	return "the most specific of the rules that match";
}

/*
 * The winner of a component: what the rule gives, less what the cap clamps, nothing below the minimum, converted and rounded
 * once. What it attains counts whether it pays or not.
 */
static void
pay_winner(PrmEarningRun *run, PrmAttempt *attempt, List **paid)
{
	const PrmRule *rule = attempt->rule;
	int64 event_id = attempt->event->earning_event_id;
	PrmOutcome *row = outcome_of_attempt(run, attempt);
	List *caps = NIL;
	Datum allowed, amount;
	bool is_small;

	if (!attempt->commission.given)
	{
		leave_unpaid(run, attempt, row, attempt->code, attempt->reason);
		return;
	}
	if (attempt->attained != NULL)
		prm_count_add(run, attempt->attained, event_id, row, attempt->measure.value, attempt->basis.value);
	if (attempt->code != NULL)
	{
		leave_unpaid(run, attempt, row, attempt->code, attempt->reason);
		prm_original_note(run, attempt, row, attempt->money, NIL);
		return;
	}
	allowed = prm_cap_leaves(run, attempt, row);
	is_small = rule->min_amount.given && prm_numeric_sign(allowed) > 0 && prm_numeric_compare(allowed, rule->min_amount.value) < 0;
	if (prm_numeric_sign(attempt->money) != 0 &&
		!(rule->min_amount.given && prm_numeric_sign(attempt->money) > 0 &&
		  prm_numeric_compare(attempt->money, rule->min_amount.value) < 0))
		note_start(run, attempt);
	if (is_small)
	{
		leave_unpaid(run, attempt, row, "below_minimum",
					 psprintf("%s %s is below the minimum of %s", prm_money_text(allowed), rule->plan->currency,
							  prm_money_text(rule->min_amount.value)));
		prm_original_note(run, attempt, row, attempt->money, NIL);
		return;
	}
	/* In another currency the unrounded commission is converted, so that it is rounded once. */
	if (attempt->rate.needed && !attempt->of_cents && prm_numeric_compare(allowed, attempt->money) == 0)
		amount = paid_out(run, attempt, attempt->commission.value);
	else
		amount = paid_out(run, attempt, allowed);
	if (prm_numeric_sign(amount) == 0)
	{
		if (prm_numeric_compare(allowed, attempt->money) < 0)
			leave_unpaid(run, attempt, row, "capped", prm_cap_reason(attempt, row));
		else
			leave_unpaid(run, attempt, row, "zero", "the commission is zero");
		prm_original_note(run, attempt, row, attempt->money, NIL);
		return;
	}
	row->outcome = PRM_OUTCOME_WON;
	row->amount = prm_money(amount);
	row->reason = won_reason(attempt);
	row->sequence_no = next_sequence_no(row, *paid);
	if (prm_numeric_compare(allowed, attempt->money) < 0)
	{
		row->reason_code = "capped";
		row->reason = prm_cap_reason(attempt, row);
		row->unpaid_amount = prm_money(prm_numeric_minus(paid_out(run, attempt, attempt->money), amount));
		add_breakage(run, row);
	}
	caps = prm_cap_use(run, attempt, row, allowed);
	prm_original_note(run, attempt, row, prm_numeric_minus(attempt->money, allowed), caps);
	*paid = lappend(*paid, row);
}

/* ---- picking ------------------------------------------------------------------------------------------------------------- */

/*
 * Recurring months are part of being a candidate, so that an expired rule lets another win. The version of the first sale
 * governs, where the policy says so and the sale was made under the same lineage.
 */
static void
judge_recurring(PrmEarningRun *run, PrmAttempt *attempt)
{
	PrmRule *rule = attempt->candidate->rule;
	PrmStart *start;

	attempt->rule = rule;
	if (!run->state->stateful)
		return;
	start = prm_start_of(run, rule->plan, rule->component, attempt->candidate->payee->partner_id, attempt->event->customer_id);
	attempt->start = start;
	if (start == NULL || !start->given || start->event_id == attempt->event->earning_event_id || !rule->lineage_recurs)
		return;
	if (!rule->recurring_in_force && start->lineage_id == rule->lineage_id && start->rule_id != rule->rule_id)
	{
		for (int i = 0; i < rule->plan->rule_count; i++)
			if (rule->plan->rules[i]->rule_id == start->rule_id)
				attempt->rule = rule->plan->rules[i];
	}
	rule = attempt->rule;
	if (rule->recurring_months >= 0)
		attempt->expired = rule->recurring_months == 0 ||
						   attempt->event->earned_on >= prm_months_later(start->started_on, rule->recurring_months);
}

static const char *
recurring_reason(const PrmAttempt *attempt)
{
	const char *first = DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(attempt->start->started_on)));

	if (attempt->rule->recurring_months == 0)
		return psprintf("the rule pays only the first sale to a customer, which was on %s", first);
	return psprintf("the %d months since the first sale to the customer on %s are over", attempt->rule->recurring_months, first);
}

/* For highest_paying; those that pay nothing at all come last. */
static bool
pays_more(const PrmAttempt *a, const PrmAttempt *b)
{
	int order;

	if (a->commission.given != b->commission.given)
		return a->commission.given;
	order = a->commission.given ? prm_numeric_compare(a->commission.value, b->commission.value) : 0;
	return order != 0 ? order > 0 : prm_is_better(a->candidate, b->candidate);
}

/* The candidates of one credit, plan, level, payee and component. */
static void
pay_group(PrmEarningRun *run, PrmAttempt *group, int count, List **paid, List *candidates)
{
	PrmAttempt **order = palloc(sizeof(PrmAttempt *) * count);
	PrmPick pick = group->candidate->plan->pick;
	bool any_qualified = false;
	bool any_lasting = false;
	int ranked = 0;

	for (int i = 0; i < count; i++)
	{
		if (group[i].candidate->unqualified)
			continue;
		judge_recurring(run, &group[i]);
		any_qualified = true;
		any_lasting |= !group[i].expired;
	}
	for (int i = 0; i < count; i++)
	{
		PrmAttempt *attempt = &group[i];
		int place = ranked;

		if (any_qualified && attempt->candidate->unqualified)
		{
			add_no_match(run, attempt->candidate, attempt->candidate->fault_code, attempt->candidate->fault);
			continue;
		}
		if (any_lasting && attempt->expired)
		{
			add_no_match(run, attempt->candidate, "recurring_over", recurring_reason(attempt));
			continue;
		}
		attempt->rule = any_qualified ? attempt->rule : attempt->candidate->rule;
		if (any_lasting && pick == PRM_PICK_HIGHEST_PAYING)
			prm_evaluate(run, attempt, *paid, candidates);
		for (; place > 0 && (attempt->evaluated ? pays_more(attempt, order[place - 1])
												: prm_is_better(attempt->candidate, order[place - 1]->candidate)); place--)
			order[place] = order[place - 1];
		order[place] = attempt;
		ranked++;
	}
	for (int i = 0; i < ranked; i++)
	{
		PrmAttempt *attempt = order[i];

		attempt->place = i + 1;
		if (!any_qualified)
		{
			PrmOutcome *row;

			if (i > 0)
			{
				add_no_match(run, attempt->candidate, attempt->candidate->fault_code, attempt->candidate->fault);
				continue;
			}
			/* What cannot be told without looking at counts that are not the upline's to have stays untold. */
			if (attempt->rule->accumulate == PRM_ACCUMULATE_TRANSACTION && attempt->rule->measure != PRM_MEASURE_ATTAINMENT)
				prm_evaluate(run, attempt, *paid, candidates);
			row = outcome_of_attempt(run, attempt);
			if (attempt->code == NULL || strcmp(attempt->code, "zero") != 0)
				leave_unpaid(run, attempt, row, "unqualified_upline",
							 attempt->candidate->fault[0] != '\0' ? attempt->candidate->fault
																  : "the upline does not qualify for the rule");
			else
				leave_unpaid(run, attempt, row, "zero", attempt->reason);
		}
		else if (i == 0 || (pick == PRM_PICK_ALL && any_lasting))
		{
			if (!attempt->evaluated)
				prm_evaluate(run, attempt, *paid, candidates);
			if (any_lasting)
				pay_winner(run, attempt, paid);
			else
				leave_unpaid(run, attempt, outcome_of_attempt(run, attempt), "recurring_over", recurring_reason(attempt));
		}
		else if (run->everything)
		{
			PrmOutcome *row;

			if (!any_lasting)
			{
				add_no_match(run, attempt->candidate, "recurring_over", recurring_reason(attempt));
				continue;
			}
			if (!attempt->evaluated)
				prm_evaluate(run, attempt, *paid, candidates);
			row = outcome_of_attempt(run, attempt);
			row->outcome = PRM_OUTCOME_LOST;
			row->reason_code = NULL;
			row->reason = pick == PRM_PICK_HIGHEST_PAYING
							  ? "another rule of this component pays more"
							  : "a rule of higher priority, or more specific, or later, wins this component";
		}
	}
	pfree(order);
}

/* By credit as they come, then plan, level, payee and component. */
static int
compare_attempts(const void *left, const void *right)
{
	const PrmAttempt *a = left;
	const PrmAttempt *b = right;

	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	if (a->candidate->plan != b->candidate->plan)
		return a->candidate->plan->plan_id < b->candidate->plan->plan_id ? -1 : 1;
	if (a->candidate->level != b->candidate->level)
		return a->candidate->level < b->candidate->level ? -1 : 1;
	if (a->candidate->payee->partner_id != b->candidate->payee->partner_id)
		return a->candidate->payee->partner_id < b->candidate->payee->partner_id ? -1 : 1;
	return strcmp(a->candidate->rule->component, b->candidate->rule->component);
}

static int
compare_with_rule(const void *left, const void *right)
{
	int order = compare_attempts(left, right);
	const PrmAttempt *a = left;
	const PrmAttempt *b = right;

	if (order != 0)
		return order;
	return a->candidate->rule->rule_id < b->candidate->rule->rule_id ? -1 : a->candidate->rule->rule_id > b->candidate->rule->rule_id;
}

static void
pay_event(PrmEarningRun *run, PrmEvent *event, List *candidates)
{
	PrmAttempt *attempts;
	PrmCredit *credit = NULL;
	List *paid = NIL;
	ListCell *cell;
	int count = 0;
	int group = 0;

	if (candidates == NIL)
		return;
	attempts = palloc0(sizeof(PrmAttempt) * list_length(candidates));
	run->state->event_caps = NIL;
	foreach (cell, candidates)
	{
		PrmCandidate *candidate = lfirst(cell);

		if (candidate->of_sellers_plan)
			continue;
		if (candidate->rule == NULL || (candidate->fault != NULL && !candidate->unqualified))
		{
			add_no_match(run, candidate, candidate->fault_code, candidate->fault);
			continue;
		}
		if (candidate->credit != credit)
		{
			credit = candidate->credit;
			group++;
		}
		attempts[count].candidate = candidate;
		attempts[count].event = event;
		attempts[count].group = group;
		count++;
	}
	if (count > 1)
		qsort(attempts, count, sizeof(PrmAttempt), compare_with_rule);
	for (int from = 0, to; from < count; from = to)
	{
		for (to = from + 1; to < count && compare_attempts(&attempts[from], &attempts[to]) == 0; to++)
			;
		pay_group(run, &attempts[from], to - from, &paid, candidates);
	}
	pfree(attempts);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------- */

/* Draws the numbers of the rows, so that what is written beside them can name them, and rows each other. */
static void
number_rows(PrmEarningRun *run)
{
	static SPIPlanPtr kept = NULL;
	static const Oid types[1] = {INT4OID};
	MemoryContext caller = CurrentMemoryContext;
	Datum values[1];
	List *won = NIL;
	ListCell *cell;
	uint64 at = 0;
	int count;

	/* Nobody wants the others: what was not paid is in prm.breakage. */
	foreach (cell, run->outcomes)
		if (((PrmOutcome *) lfirst(cell))->outcome == PRM_OUTCOME_WON)
			won = lappend(won, lfirst(cell));
	run->outcomes = won;
	count = list_length(won);
	if (count == 0)
		return;
	values[0] = Int32GetDatum(count);
	if (SPI_execute_plan(prm_earning_plan(&kept,
										  "SELECT pg_catalog.nextval((SELECT pg_catalog.pg_get_serial_sequence('prm.ledger', 'entry_id')"
										  "::pg_catalog.regclass)) FROM pg_catalog.generate_series(1, $1)",
										  1, types),
						 values, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != count)
		elog(ERROR, "drawing numbers for prm.ledger failed");
	MemoryContextSwitchTo(caller);
	foreach (cell, run->outcomes)
	{
		PrmOutcome *outcome = lfirst(cell);
		bool isnull;

		outcome->entry_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[at++], SPI_tuptable->tupdesc, 1, &isnull));
		if (outcome->cause != NULL)
			outcome->cause_entry_id = outcome->cause->entry_id;
	}
	SPI_freetuptable(SPI_tuptable);
}

void
prm_earning_pay(PrmEarningRun *run)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);
	ListCell *cell;

	foreach (cell, run->events)
	{
		PrmEvent *event = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		prm_canceled_until(run, event->stored_at);
		if (event->is_refund)
			prm_earning_refund(run, event);
		else
		{
			pay_event(run, event, run->candidates[event->ordinal]);
			if (run->state->originals != NULL)
				prm_original_passed(run, event);
		}
	}
	prm_canceled_until(run, DT_NOEND);
	if (run->mode == PRM_EARNING_ACCRUE)
		number_rows(run);
	MemoryContextSwitchTo(caller);
}
