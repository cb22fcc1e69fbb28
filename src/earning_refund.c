/*
 * earning_refund.c: what a refund takes back. No rule is selected again: each row of the refunded event gives back
 * round(row * refunded so far / event amount), less what it gave back before. Rows of cumulative rules are unwound instead:
 * what the rule gives for the rest of the original's window, less what it gave for all of it, so that a return comes off the
 * top bracket. Events that attained and earned nothing unwind too. Used caps go down in the window of the cause.
 *
 * In the reversal's outcome basis_amount is what the cause earned, measure_amount what was refunded so far, basis_before what
 * was given back before and attained_before, for cumulative rules, what was attained before.
 */
#include "earning_pay.h"

#include "miscadmin.h"

/* How much of the original has been refunded before this refund, and with it, as far as the plan still cares. */
typedef struct Progress
{
	Datum before;
	Datum after;
	Datum whole;
} Progress;

/* A share of what the original counted or earned, as large as the share of it that was refunded. */
static Datum
part_of(Datum amount, Datum refunded, Datum whole)
{
	if (prm_numeric_compare(refunded, whole) == 0)
		return amount;
	return prm_money_quotient(prm_numeric_times(amount, refunded), whole);
}

static Datum
part_added(Datum amount, const Progress *progress)
{
	return prm_numeric_minus(part_of(amount, progress->after, progress->whole), part_of(amount, progress->before, progress->whole));
}

/* The same of an amount of money, which is only ever taken in whole minor units. */
static Datum
money_added(PrmEarningRun *run, Datum amount, const Progress *progress, const char *currency)
{
	return prm_numeric_minus(
		prm_money_round(run->book, part_of(amount, progress->after, progress->whole), currency),
		prm_money_round(run->book, part_of(amount, progress->before, progress->whole), currency));
}

static bool
within_clawback(PrmEarningRun *run, const PrmPlan *plan, const PrmOriginal *original, TimestampTz refunded_at)
{
	return plan->clawback_days < 0 ||
		   refunded_at <= prm_days_later(run->book, original->occurred_at, plan->clawback_days);
}

static Progress
progress_of(PrmEarningRun *run, const PrmPlan *plan, const PrmOriginal *original, const PrmEvent *refund)
{
	Progress progress;
	ListCell *cell;

	progress.before = prm_numeric_int(0);
	progress.whole = original->amount.value;
	if (!original->amount.given || prm_numeric_sign(original->amount.value) == 0)
	{
		/* An event without an amount, such as a sign-up, is refunded as a whole. */
		progress.before = prm_numeric_int(original->refunds != NIL ? 1 : 0);
		progress.after = progress.whole = prm_numeric_int(1);
		return progress;
	}
	foreach (cell, original->refunds)
	{
		PrmRefunded *earlier = lfirst(cell);

		if (within_clawback(run, plan, original, earlier->occurred_at))
			progress.before = prm_numeric_plus(progress.before, earlier->amount);
	}
	progress.after = prm_numeric_minus(progress.before, refund->amount.value);
	return progress;
}

/* A row that others made smaller than what the rule gives goes back in proportion, as rows of rules that add nothing up do. */
static bool
is_unwound(const PrmEarned *earned)
{
	return earned->has_attained && earned->rule->accumulate == PRM_ACCUMULATE_CUMULATIVE &&
		   (earned->level == 0 || (earned->rule->override_mode != PRM_OVERRIDE_DIFFERENTIAL &&
								   earned->rule->override_mode != PRM_OVERRIDE_LOWER_OF_PLANS));
}

static void
lower_caps(PrmEarningRun *run, const PrmEarned *earned, const PrmEvent *refund, PrmOutcome *row, const Progress *progress,
		   Datum unwound, Datum freed)
{
	ListCell *cell;

	foreach (cell, earned->caps)
	{
		PrmCapUse *use = lfirst(cell);
		Datum amount = unwound;

		/* A cap that the row alone used is freed of what the row gives back, to the cent. */
		if (amount == (Datum) 0 && freed != (Datum) 0 && prm_numeric_compare(use->amount, earned->amount.value) == 0)
			amount = freed;
		if (amount == (Datum) 0)
			amount = prm_numeric_negative(money_added(run, use->amount, progress, earned->rule->plan->currency));
		prm_count_add(run, prm_count_at(run, &use->key, refund->earning_event_id), refund->earning_event_id, row, amount,
					  prm_numeric_int(0));
	}
}

/*
 * What the rule gives for the rest of the window less what it gave before, in the plan's currency; what a cap or minimum held
 * back of the original is not taken from what others earned.
 */
static Datum
unwind(PrmEarningRun *run, const PrmEarned *earned, const PrmOriginal *original, const PrmCount *count, Datum measure, Datum basis,
	   const Progress *progress)
{
	const PrmRule *rule = earned->rule;
	const char *currency = rule->plan->currency;
	PrmMoney quota = {0};
	Datum before, after, money, held;

	if (rule->measure == PRM_MEASURE_ATTAINMENT)
	{
		quota = prm_quota_of(run, rule, earned->partner_id, original->earned_on);
		if (!quota.given)
			return prm_numeric_int(0);
	}
	before = prm_cumulative(run, rule, &quota, count->amount, count->basis);
	after = prm_cumulative(run, rule, &quota, prm_numeric_minus(count->amount, measure), prm_numeric_minus(count->basis, basis));
	money = prm_numeric_minus(prm_money_round(run->book, after, currency), prm_money_round(run->book, before, currency));
	held = money_added(run, earned->unpaid, progress, currency);
	if (prm_numeric_sign(money) < 0 && prm_numeric_sign(held) > 0)
	{
		money = prm_numeric_plus(money, held);
		if (prm_numeric_sign(money) > 0)
			money = prm_numeric_int(0);
	}
	return money;
}

/*
 * What the rows of the same thing before this one earned: two sellers may share an upline. Rounding their running sum makes what
 * all of them give back the same, however later credits deal it among them.
 */
static Datum
earned_before(const PrmOriginal *original, const PrmEarned *earned)
{
	Datum sum = prm_numeric_int(0);
	ListCell *cell;

	foreach (cell, original->earned)
	{
		PrmEarned *other = lfirst(cell);

		if (other == earned)
			break;
		if (other->amount.given && other->rule->lineage_id == earned->rule->lineage_id && other->partner_id == earned->partner_id &&
			other->level == earned->level && strcmp(other->credit_type, earned->credit_type) == 0 &&
			strcmp(other->currency, earned->currency) == 0)
			sum = prm_numeric_plus(sum, other->amount.value);
	}
	return sum;
}

static void
take_back(PrmEarningRun *run, PrmEvent *refund, const PrmOriginal *original, PrmEarned *earned)
{
	const PrmRule *rule = earned->rule;
	Progress progress = progress_of(run, rule->plan, original, refund);
	PrmOutcome *row = prm_outcome_make(run, refund);
	PrmCount *count = NULL;
	Datum measure = 0, basis = 0, unwound = 0, freed = 0;
	Datum amount;

	row->credit_type = earned->credit_type;
	row->partner_id = earned->partner_id;
	row->seller_id = earned->seller_id;
	row->level = earned->level;
	row->rule = earned->rule;
	row->rule_id = rule->rule_id;
	row->lineage_id = rule->lineage_id;
	row->entry_kind = "reversal";
	row->currency = earned->currency;
	row->legal_entity = earned->legal_entity;
	row->eligible_at = earned->eligible_at;
	row->cause_entry_id = earned->entry_id;
	row->cause = earned->amount.given ? earned->outcome : NULL;
	row->basis_amount = earned->amount.given ? earned->amount : prm_money(prm_numeric_int(0));
	row->measure_amount = prm_money(progress.after);
	row->basis_before = prm_money(earned->given_back);
	row->exchange_rate = prm_rate_shown(&earned->rate);
	if (earned->has_attained)
	{
		count = prm_count_at(run, &earned->attained_key, refund->earning_event_id);
		row->attained_before = prm_money(count->amount);
		row->has_window = true;
		row->window_start = earned->attained_key.window_start;
		measure = part_added(earned->measure, &progress);
		basis = part_added(earned->basis, &progress);
	}
	if (is_unwound(earned))
	{
		PrmRate rate = earned->rate;

		if (!rate.needed && strcmp(earned->currency, rule->plan->currency) != 0)
			rate = prm_rate_of(run, earned->currency, rule->plan->currency, original->earned_on);
		unwound = unwind(run, earned, original, count, measure, basis, &progress);
		if (rate.needed && !rate.given)
			unwound = prm_numeric_int(0);
		row->commission = prm_money(unwound);
		amount = rate.needed ? prm_money_round(run->book, prm_money_from_plan(&rate, unwound), earned->currency) : unwound;
		if (rule->owed)
			amount = prm_numeric_negative(amount);
		earned->given_back = prm_numeric_plus(earned->given_back, amount);
	}
	else
	{
		Datum target = prm_numeric_int(0);

		if (earned->amount.given)
		{
			Datum before = earned_before(original, earned);
			Datum through = prm_numeric_plus(before, earned->amount.value);

			row->commission = prm_money(prm_numeric_negative(part_of(earned->amount.value, progress.after, progress.whole)));
			target = prm_numeric_minus(prm_money_round(run->book, part_of(before, progress.after, progress.whole), earned->currency),
									   prm_money_round(run->book, part_of(through, progress.after, progress.whole), earned->currency));
		}
		amount = prm_numeric_minus(target, earned->given_back);
		earned->given_back = target;
		if (earned->amount.given && !rule->owed && strcmp(earned->currency, rule->plan->currency) == 0)
			freed = amount;
	}
	if (count != NULL)
		prm_count_add(run, count, refund->earning_event_id, row, prm_numeric_negative(measure), prm_numeric_negative(basis));
	lower_caps(run, earned, refund, row, &progress, unwound, freed);
	if (prm_numeric_sign(amount) == 0)
	{
		row->outcome = PRM_OUTCOME_UNPAID;
		row->reason_code = "zero";
		row->reason = "nothing is left to take back";
		return;
	}
	row->outcome = PRM_OUTCOME_WON;
	row->amount = prm_money(amount);
	row->reason = unwound != (Datum) 0 ? "what the rule gives for the rest of the window, less what it gave"
									   : "the share of the row that was refunded, less what was given back before";
}

static void
say_too_late(PrmEarningRun *run, PrmEvent *refund, const PrmEarned *earned)
{
	PrmOutcome *row;

	if (!run->everything || !earned->amount.given)
		return;
	row = prm_outcome_make(run, refund);
	row->credit_type = earned->credit_type;
	row->partner_id = earned->partner_id;
	row->level = earned->level;
	row->rule = earned->rule;
	row->rule_id = earned->rule->rule_id;
	row->lineage_id = earned->rule->lineage_id;
	row->entry_kind = "reversal";
	row->outcome = PRM_OUTCOME_UNPAID;
	row->reason_code = "clawback_over";
	row->reason = psprintf("after the %d days of the plan nothing is taken back", earned->rule->plan->clawback_days);
	row->basis_amount = earned->amount;
	row->cause_entry_id = earned->entry_id;
}

/* Reversals of one refund that only their causes tell apart get numbers, as rows of one event do. */
static void
number_reversals(PrmEarningRun *run, int first)
{
	for (int i = first; i < list_length(run->outcomes); i++)
	{
		PrmOutcome *row = list_nth(run->outcomes, i);

		if (row->outcome != PRM_OUTCOME_WON)
			continue;
		for (int j = first; j < i; j++)
		{
			PrmOutcome *other = list_nth(run->outcomes, j);

			if (other->outcome == PRM_OUTCOME_WON && other->partner_id == row->partner_id && other->lineage_id == row->lineage_id &&
				other->level == row->level && strcmp(other->credit_type, row->credit_type) == 0)
				row->sequence_no++;
		}
	}
}

void
prm_earning_refund(PrmEarningRun *run, PrmEvent *refund)
{
	PrmOriginal *original = hash_search(run->state->originals, &refund->applies_to_id, HASH_FIND, NULL);
	int first = list_length(run->outcomes);
	PrmRefunded *done;
	ListCell *cell;

	if (original == NULL)
		return;
	if (!original->given)
	{
		/* It stands later in this run: first earned, then given back. */
		if (original->in_run)
			original->waiting = lappend(original->waiting, refund);
		return;
	}
	if (!refund->amount.given)
		return;
	foreach (cell, original->earned)
	{
		PrmEarned *earned = lfirst(cell);

		if (run->mode == PRM_EARNING_REPLAY && !list_member_ptr(run->plans, earned->rule->plan))
			continue;
		if (within_clawback(run, earned->rule->plan, original, refund->occurred_at))
			take_back(run, refund, original, earned);
		else
			say_too_late(run, refund, earned);
	}
	number_reversals(run, first);
	done = palloc(sizeof(PrmRefunded));
	done->event_id = refund->earning_event_id;
	done->occurred_at = refund->occurred_at;
	done->amount = prm_numeric_negative(refund->amount.value);
	original->refunds = lappend(original->refunds, done);
}

/* The event has been paid: refunds of it may go on, and those that came before it do so now. */
void
prm_original_passed(PrmEarningRun *run, PrmEvent *event)
{
	PrmOriginal *original = hash_search(run->state->originals, &event->earning_event_id, HASH_FIND, NULL);
	ListCell *cell;

	if (original == NULL || !original->in_run)
		return;
	original->given = true;
	foreach (cell, original->waiting)
		prm_earning_refund(run, lfirst(cell));
	original->waiting = NIL;
}
