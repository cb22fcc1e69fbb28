/*
 * earning_document.c: what a ledger row says about itself, as the jsonb of prm.ledger.explain: the plan, the rule, what it was
 * paid on, its cap, and the parts of its commission. Called by earning.c for each row that an accrual pays; reads no table. It
 * stands here and not in the accrual's SQL because there it was a quarter of the time that an accrual takes. Reversals are
 * explained by that SQL, which knows what they take back from.
 */
#include "earning_pay.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"

typedef JsonbParseState *Document;

static void
push_string(Document *document, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(document, token, &value);
}

static void
push_numeric(Document *document, Datum number)
{
	JsonbValue value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(number);
	pushJsonbValue(document, WJB_VALUE, &value);
}

/* What is not given is left out. */
static void
add_text(Document *document, const char *key, const char *text)
{
	if (text == NULL)
		return;
	push_string(document, WJB_KEY, key);
	push_string(document, WJB_VALUE, text);
}

static void
add_money(Document *document, const char *key, PrmMoney money)
{
	if (!money.given)
		return;
	push_string(document, WJB_KEY, key);
	push_numeric(document, money.value);
}

/* A part of the commission, as prm.commission_parts() shows it, NULLs included. */
static void
add_part(void *receiver, Datum *values, bool *nulls)
{
	static const char *const keys[PRM_PART_COLUMNS] = {"part", "lower", "upper", "amount", "rate", "commission"};
	Document *document = receiver;

	pushJsonbValue(document, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < PRM_PART_COLUMNS; i++)
	{
		push_string(document, WJB_KEY, keys[i]);
		if (nulls[i])
		{
			JsonbValue null;

			null.type = jbvNull;
			pushJsonbValue(document, WJB_VALUE, &null);
		}
		else
			push_numeric(document, i == 0 ? prm_numeric_int(DatumGetInt32(values[i])) : values[i]);
	}
	pushJsonbValue(document, WJB_END_OBJECT, NULL);
}

/* NULL, as the value 0, for reversals. */
Datum
prm_outcome_document(const PrmOutcome *outcome)
{
	const PrmRule *rule = outcome->rule;
	bool other_measure;
	Document document = NULL;

	if (outcome->candidate == NULL || rule == NULL)
		return (Datum) 0;
	other_measure = rule->measure != rule->basis;
	pushJsonbValue(&document, WJB_BEGIN_OBJECT, NULL);
	add_text(&document, "plan", rule->plan->name);
	add_text(&document, "rule", rule->label);
	add_text(&document, "basis", prm_measure_name(rule->basis));
	add_money(&document, "basis_amount", outcome->basis_amount);
	if (other_measure)
	{
		add_text(&document, "measure", prm_measure_name(rule->measure));
		add_money(&document, "measure_amount", outcome->measure_amount);
	}
	add_money(&document, "attained_before", outcome->attained_before);
	if (outcome->has_window)
	{
		char day[MAXDATELEN + 1];

		add_text(&document, "window_start", JsonEncodeDateTime(day, DateADTGetDatum(outcome->window_start), DATEOID, NULL));
	}
	add_text(&document, "schedule", rule->schedule_text);
	add_money(&document, "commission", outcome->commission);
	add_money(&document, "amount", outcome->amount);
	add_money(&document, "exchange_rate", outcome->exchange_rate);
	add_text(&document, "override_mode", prm_override_name(rule->override_mode));
	if (outcome->cause_entry_id != 0)
		add_money(&document, "cause", prm_money(prm_numeric_int(outcome->cause_entry_id)));
	if (outcome->cap_used_before.given)
	{
		push_string(&document, WJB_KEY, "cap");
		pushJsonbValue(&document, WJB_BEGIN_OBJECT, NULL);
		add_money(&document, "amount", rule->cap_amount);
		add_money(&document, "used_before", outcome->cap_used_before);
		if (rule->cap_scope != PRM_CAP_NONE)
		{
			add_text(&document, "scope", prm_cap_scope_name(rule->cap_scope));
			add_text(&document, "window", prm_window_name(rule->cap_window));
		}
		pushJsonbValue(&document, WJB_END_OBJECT, NULL);
	}
	/* Where another measure chooses the bracket, or the sum does, the schedule has no slices of the basis. */
	if (!other_measure && (!outcome->attained_before.given || rule->accumulate == PRM_ACCUMULATE_CUMULATIVE) && outcome->basis_amount.given)
	{
		push_string(&document, WJB_KEY, "parts");
		pushJsonbValue(&document, WJB_BEGIN_ARRAY, NULL);
		prm_rule_parts(rule, outcome->basis_amount.value,
					   outcome->attained_before.given ? outcome->attained_before.value : prm_numeric_int(0), add_part, &document);
		pushJsonbValue(&document, WJB_END_ARRAY, NULL);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&document, WJB_END_OBJECT, NULL)));
}
