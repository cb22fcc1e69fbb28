/*
 * earning_evaluate.c: what one rule gives for one credit, before caps and minima: conversion into the plan's currency, basis
 * and measure, what was attained before, and the six ways in which an upline derives its money from a sale. Called by
 * earning_pay.c for winners and, where they are to be told, for losers; it changes no count.
 */
#include "earning_pay.h"

/* ---- order of preference ------------------------------------------------------------------------------------------------ */

/* Higher priority, then more specific, then later, then newer. */
bool
prm_is_better(const PrmCandidate *a, const PrmCandidate *b)
{
	if (a->rule->priority != b->rule->priority)
		return a->rule->priority > b->rule->priority;
	if (a->specificity != b->specificity)
		return a->specificity > b->specificity;
	if (a->rule->valid_from != b->rule->valid_from)
		return a->rule->valid_from > b->rule->valid_from;
	return a->rule->rule_id > b->rule->rule_id;
}

/* ---- rows below ---------------------------------------------------------------------------------------------------------- */

/* What a row moved, whichever way: a share of a royalty is paid, although the royalty itself is owed. */
static Datum
magnitude(const PrmOutcome *row)
{
	return row->rule->owed ? prm_numeric_negative(row->amount.value) : row->amount.value;
}

static bool
is_below(const PrmOutcome *row, const PrmAttempt *attempt)
{
	return row->candidate->credit == attempt->candidate->credit && row->candidate->plan == attempt->candidate->plan &&
		   row->level < attempt->candidate->level;
}

static bool
same_component(const PrmOutcome *row, const PrmAttempt *attempt)
{
	return strcmp(row->rule->component, attempt->rule->component) == 0;
}

/*
 * The rows of the next level below that has any: those of the same component, else all that are paid, else all that are owed.
 * Their sum, in the currency of the event; attempt->below is the first of them.
 */
static Datum
sum_of_level_below(PrmAttempt *attempt, List *paid)
{
	Datum sum = prm_numeric_int(0);
	int level = -1;
	int best = 0;
	ListCell *cell;

	foreach (cell, paid)
	{
		PrmOutcome *row = lfirst(cell);

		if (is_below(row, attempt) && row->level > level)
			level = row->level;
	}
	for (int pass = 0; level >= 0 && pass < 2; pass++)
	{
		foreach (cell, paid)
		{
			PrmOutcome *row = lfirst(cell);
			int rank = same_component(row, attempt) ? 3 : row->rule->owed ? 1 : 2;

			if (!is_below(row, attempt) || row->level != level)
				continue;
			if (pass == 0)
				best = Max(best, rank);
			else if (rank == best)
			{
				sum = prm_numeric_plus(sum, magnitude(row));
				if (attempt->below == NULL)
					attempt->below = row;
			}
		}
	}
	return sum;
}

/* What all levels below got under the same component. */
static Datum
sum_of_all_below(PrmAttempt *attempt, List *paid)
{
	Datum sum = prm_numeric_int(0);
	ListCell *cell;

	foreach (cell, paid)
	{
		PrmOutcome *row = lfirst(cell);

		if (is_below(row, attempt) && same_component(row, attempt))
			sum = prm_numeric_plus(sum, magnitude(row));
	}
	return sum;
}

/* ---- basis and measure ------------------------------------------------------------------------------------------------- */

static bool
fail(PrmAttempt *attempt, const char *code, const char *reason)
{
	attempt->code = code;
	attempt->reason = reason;
	return false;
}

/* A share of the credit in the plan's currency; quantities are no money. */
static PrmMoney
share_of(const PrmAttempt *attempt, PrmMeasure measure)
{
	PrmMoney share = attempt->candidate->credit->share[measure];

	if (share.given && measure != PRM_MEASURE_QUANTITY)
		share.value = prm_money_to_plan(&attempt->rate, share.value);
	return share;
}

static bool
find_basis(PrmAttempt *attempt, List *paid)
{
	const PrmRule *rule = attempt->rule;
	PrmMeasure measure = rule->measure == PRM_MEASURE_ATTAINMENT ? rule->basis : rule->measure;

	if (rule->override_mode == PRM_OVERRIDE_PERCENT_OF_BELOW && attempt->candidate->level > 0)
	{
		Datum below = sum_of_level_below(attempt, paid);

		if (attempt->below == NULL)
			return fail(attempt, "zero", "nothing is paid on a level below");
		attempt->basis = prm_money(prm_money_to_plan(&attempt->rate, below));
	}
	else
		attempt->basis = share_of(attempt, rule->basis);
	if (!attempt->basis.given)
		return fail(attempt, "missing_basis", psprintf("the event has no %s", prm_measure_name(rule->basis)));
	attempt->measure = measure == rule->basis ? attempt->basis : share_of(attempt, measure);
	if (!attempt->measure.given)
		return fail(attempt, "missing_basis", psprintf("the event has no %s", prm_measure_name(measure)));
	return true;
}

/* ---- schedules over what was attained ----------------------------------------------------------------------------------- */

static Datum
measured_by(const PrmRule *rule, const PrmMoney *quota, Datum measure)
{
	return rule->measure == PRM_MEASURE_ATTAINMENT ? prm_money_quotient(measure, quota->value) : measure;
}

/* Fractions that do not end, for people. */
static Datum
shown(Datum measure)
{
	return prm_numeric_trim(DirectFunctionCall2(numeric_round, measure, Int32GetDatum(12)));
}

/* What a rule gives for all that was counted in a window. */
Datum
prm_cumulative(PrmEarningRun *run, const PrmRule *rule, const PrmMoney *quota, Datum measure, Datum basis)
{
	if (rule->measure == rule->basis)
		return prm_rule_commission(rule, measure, prm_numeric_int(0));
	return prm_rule_rate_at(rule, measured_by(rule, quota, measure), basis);
}

static void
find_commission(PrmEarningRun *run, PrmAttempt *attempt)
{
	const PrmRule *rule = attempt->rule;
	const char *currency = rule->plan->currency;
	PrmMoney quota = {0};
	PrmCountKey key;
	Datum measure, basis;

	if (rule->measure == PRM_MEASURE_ATTAINMENT)
	{
		quota = prm_quota_of(run, rule, attempt->candidate->payee->partner_id, attempt->event->earned_on);
		if (!quota.given)
		{
			fail(attempt, "no_quota", psprintf("the partner has no quota of %s for this %s", prm_measure_name(rule->basis),
											   prm_window_name(rule->window_kind)));
			return;
		}
	}
	if (rule->accumulate == PRM_ACCUMULATE_TRANSACTION)
	{
		attempt->measured = prm_money(shown(measured_by(rule, &quota, attempt->measure.value)));
		attempt->commission = prm_money(prm_cumulative(run, rule, &quota, attempt->measure.value, attempt->basis.value));
		attempt->money = prm_money_round(run->book, attempt->commission.value, currency);
		return;
	}
	key = prm_attained_key(run, rule, attempt->candidate->payee->partner_id, attempt->candidate->credit->credit_type,
						   attempt->event->earned_on);
	attempt->attained = prm_count_at(run, &key, attempt->event->earning_event_id);
	attempt->attained_before = prm_money(attempt->attained->amount);
	attempt->basis_before = prm_money(attempt->attained->basis);
	measure = prm_numeric_plus(attempt->attained->amount, attempt->measure.value);
	basis = prm_numeric_plus(attempt->attained->basis, attempt->basis.value);
	attempt->measured = rule->measure == PRM_MEASURE_ATTAINMENT ? prm_money(shown(measured_by(rule, &quota, measure)))
																	: attempt->measure;
	if (rule->accumulate == PRM_ACCUMULATE_LOOKUP)
	{
		attempt->commission =
			prm_money(prm_rule_rate_at(rule, measured_by(rule, &quota, measure), attempt->basis.value));
		attempt->money = prm_money_round(run->book, attempt->commission.value, currency);
	}
	else
	{
		Datum after = prm_cumulative(run, rule, &quota, measure, basis);
		Datum before = prm_cumulative(run, rule, &quota, attempt->attained->amount, attempt->attained->basis);

		attempt->commission = prm_money(prm_numeric_trim(prm_numeric_minus(after, before)));
		attempt->money =
			prm_numeric_minus(prm_money_round(run->book, after, currency), prm_money_round(run->book, before, currency));
		attempt->of_cents = true;
	}
}

/* ---- overrides that look at others --------------------------------------------------------------------------------------- */

/* The own rate, less what the levels below got: never negative, so that all of them together get the highest rate. */
static void
take_differential(PrmEarningRun *run, PrmAttempt *attempt, List *paid)
{
	Datum below = prm_money_to_plan(&attempt->rate, sum_of_all_below(attempt, paid));
	Datum own = attempt->of_cents ? attempt->money : attempt->commission.value;
	Datum rest = prm_numeric_minus(own, below);

	if (prm_numeric_sign(rest) < 0)
		rest = prm_numeric_int(0);
	attempt->commission = prm_money(prm_numeric_trim(rest));
	attempt->money = prm_money_round(run->book, rest, attempt->rule->plan->currency);
	if (prm_numeric_sign(rest) == 0)
	{
		attempt->code = "zero";
		attempt->reason = "the levels below are paid as much already";
	}
}

/*
 * No more than the seller's plan pays at this component and level. Where the seller is in several plans, the best of them
 * counts; the money of another plan is brought into this plan's currency through that of the event.
 */
static void
take_lower_of_plans(PrmEarningRun *run, PrmAttempt *attempt, List *paid, List *candidates)
{
	const PrmCandidate *own = attempt->candidate;
	PrmMoney limit = {0};
	ListCell *cell;

	if (own->seller_enrolled)
		return;
	foreach (cell, candidates)
	{
		PrmCandidate *other = lfirst(cell);
		PrmAttempt compared = {0};
		Datum money;
		bool best = true;
		ListCell *rival_cell;

		if (!other->of_sellers_plan || other->beside != own->plan || other->fault != NULL || other->rule == NULL ||
			other->credit != own->credit || other->level != own->level || other->payee->partner_id != own->payee->partner_id ||
			strcmp(other->rule->component, own->rule->component) != 0)
			continue;
		foreach (rival_cell, candidates)
		{
			PrmCandidate *rival = lfirst(rival_cell);

			best = best && !(rival->of_sellers_plan && rival->beside == own->plan && rival->fault == NULL && rival->rule != NULL &&
							 rival->credit == own->credit && rival->level == own->level && rival->plan == other->plan &&
							 rival->payee->partner_id == own->payee->partner_id &&
							 strcmp(rival->rule->component, own->rule->component) == 0 && prm_is_better(rival, other));
		}
		if (!best)
			continue;
		compared.candidate = other;
		compared.event = attempt->event;
		compared.rule = other->rule;
		prm_evaluate(run, &compared, paid, NIL);
		if (!compared.commission.given)
			continue;
		money = prm_money_to_plan(&attempt->rate, prm_money_from_plan(&compared.rate, compared.commission.value));
		if (!limit.given || prm_numeric_compare(money, limit.value) > 0)
			limit = prm_money(money);
	}
	if (!limit.given)
	{
		attempt->code = "no_seller_plan";
		attempt->reason = "no plan of the seller pays this component at this level";
	}
	else if (prm_numeric_compare(limit.value, attempt->of_cents ? attempt->money : attempt->commission.value) < 0)
	{
		attempt->commission = limit;
		attempt->money = prm_money_round(run->book, limit.value, attempt->rule->plan->currency);
		attempt->of_cents = false;
		attempt->reason = "the plan of the seller pays less at this level";
	}
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

/*
 * Fills in what the governing version gives; code and reason where it gives nothing. paid: the rows of this event so far;
 * candidates: all of the event, for comparing plans.
 */
void
prm_evaluate(PrmEarningRun *run, PrmAttempt *attempt, List *paid, List *candidates)
{
	const PrmRule *rule = attempt->rule;
	int level = attempt->candidate->level;

	attempt->evaluated = true;
	attempt->money = prm_numeric_int(0);
	attempt->rate = prm_rate_of(run, attempt->event->currency, rule->plan->currency, attempt->event->earned_on);
	if (attempt->rate.needed && !attempt->rate.given)
	{
		attempt->basis = attempt->candidate->credit->share[rule->basis];
		fail(attempt, "no_exchange_rate",
			 psprintf("no exchange rate from %s to %s", attempt->event->currency, rule->plan->currency));
		return;
	}
	if (!find_basis(attempt, paid))
		return;
	find_commission(run, attempt);
	if (attempt->code != NULL || level == 0)
		return;
	if (attempt->below == NULL)
		(void) sum_of_level_below(attempt, paid);
	if (rule->override_mode == PRM_OVERRIDE_DIFFERENTIAL)
		take_differential(run, attempt, paid);
	else if (rule->override_mode == PRM_OVERRIDE_LOWER_OF_PLANS && !attempt->candidate->of_sellers_plan)
		take_lower_of_plans(run, attempt, paid, candidates);
}
