/*
 * earning_rule.c: the rule book: the plans and rules of a programme, compiled. Owns the backend's cache of prm.commission_plan and
 * prm.commission_rule, one book per programme, and the lock that keeps rules from changing under an accrual. Called by
 * earning.c only.
 *
 * The cache is read with the owner's rights and serves whoever may read everything: accrual, the owner and superusers. Anybody
 * else gets a book of his own for the call, read with his own rights, so that row security and missing rights count.
 *
 * A book is never changed. When the definitions change, the next run compiles a new one; the old one is freed at once, or,
 * while a run still uses it, by the last unpin.
 */
#include "earning.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"

typedef struct BookEntry
{
	int64 program_id; /* hash key */
	PrmRuleBook *book;
} BookEntry;

static HTAB *books = NULL;
static SPIPlanPtr program_plan = NULL;
static SPIPlanPtr plans_plan = NULL;
static SPIPlanPtr rules_plan = NULL;
static SPIPlanPtr lock_plan = NULL;

static const char *const program_query =
	"SELECT p.time_zone, p.rounding, p.fiscal_year_start FROM prm.program p WHERE p.program_id OPERATOR(pg_catalog.=) $1";

static const char *const plans_query =
	"SELECT p.plan_id, p.name, p.earn_on, p.currency, p.is_active, p.enrol_all, p.compress, p.pay_on, p.hold_days, p.clawback_days,"
	" p.override_depth, p.pick FROM prm.commission_plan p WHERE p.program_id OPERATOR(pg_catalog.=) $1 ORDER BY p.plan_id";

static const char *const rules_query =
	"SELECT r.plan_id, r.rule_id, r.lineage_id, coalesce(r.component, 'base'), r.label, r.entry_kind, r.level,"
	" coalesce(r.through_level, r.level), r.override_mode, r.basis, coalesce(r.measure, r.basis), r.accumulate, r.window_kind,"
	" r.schedule::prm.commission_schedule, r.schedule, r.recurring_months, r.recurring_policy, r.min_amount, r.cap_amount,"
	" r.cap_scope, r.cap_window, r.product, r.product_family, r.deal_kind, r.credit_type, r.tier, r.partner_kind, r.partner_id,"
	" r.customer_id, r.region, r.registered, r.condition, prm._condition(r.condition),"
	" prm._condition(r.condition)::pg_catalog.text, r.priority, pg_catalog.lower(r.valid), pg_catalog.upper(r.valid)"
	" FROM prm.commission_rule r WHERE r.program_id OPERATOR(pg_catalog.=) $1 ORDER BY r.plan_id, r.rule_id";

/* The guard triggers of rules and enrolments change the row of their plan, so neither overlaps an accrual. */
static const char *const lock_query =
	"SELECT p.plan_id FROM prm.commission_plan p WHERE p.program_id OPERATOR(pg_catalog.=) $1"
	" AND p.plan_id OPERATOR(pg_catalog.=) ANY ($2) ORDER BY p.plan_id FOR SHARE";

/* ---- words ------------------------------------------------------------------------------------------------------------ */

static const char *const measures[] = {"amount", "list_amount", "margin", "quantity", "attainment", NULL};
static const char *const accumulates[] = {"transaction", "cumulative", "lookup", NULL};
static const char *const windows[] = {"lifetime", "month", "half_month", "quarter", "half", "year", NULL};
static const char *const overrides[] = {"",		  "percent_of_sale", "percent_of_below", "differential",
										"rollup", "lower_of_plans",	 "top_of_chain",	 NULL};
static const char *const cap_scopes[] = {"", "partner", "customer", "programme", "plan", "event", NULL};
static const char *const picks[] = {"most_specific", "highest_paying", "all", NULL};
static const char *const entry_kinds[] = {"commission", "bonus", "royalty", "fee", NULL};
static const char *const parts[] = {"event", "deal", "customer", "product", "partner", "payee", "metrics", "level", "benefits", NULL};

const char *
prm_measure_name(PrmMeasure measure)
{
	return measures[measure];
}

const char *
prm_override_name(PrmOverrideMode mode)
{
	return mode == PRM_OVERRIDE_NONE ? NULL : overrides[mode];
}

const char *
prm_cap_scope_name(PrmCapScope scope)
{
	return scope == PRM_CAP_NONE ? NULL : cap_scopes[scope];
}

/* The place of a word in its list; the fallback where the column is empty. */
static int
word(const char *const *list, const char *text, int fallback)
{
	if (text == NULL)
		return fallback;
	for (int i = 0; list[i] != NULL; i++)
		if (strcmp(list[i], text) == 0)
			return i;
	elog(ERROR, "unknown word \"%s\" in a commission rule", text);
	return 0; /* keep the compiler quiet */
}

/* ---- compiling -------------------------------------------------------------------------------------------------------- */

static Datum
row_value(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static char *
row_text(int row, int column)
{
	bool isnull;
	Datum value = row_value(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int64
row_id(int row, int column)
{
	bool isnull;
	Datum value = row_value(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static int
row_int(int row, int column, int fallback)
{
	bool isnull;
	Datum value = row_value(row, column, &isnull);

	return isnull ? fallback : DatumGetInt32(value);
}

static bool
row_bool(int row, int column)
{
	bool isnull;
	Datum value = row_value(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

static PrmMoney
row_money(int row, int column)
{
	PrmMoney money = {0};
	bool isnull;
	Datum value = row_value(row, column, &isnull);

	if (!isnull)
	{
		money.value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		money.given = true;
	}
	return money;
}

static void
compile_plan(PrmPlan *plan, int row)
{
	char *pay_on;

	plan->plan_id = row_id(row, 1);
	plan->name = row_text(row, 2);
	plan->earn_on = row_text(row, 3);
	plan->currency = row_text(row, 4);
	plan->is_active = row_bool(row, 5);
	plan->enrol_all = row_bool(row, 6);
	plan->compress = row_bool(row, 7);
	pay_on = row_text(row, 8);
	plan->pay_on_collected = pay_on != NULL && strcmp(pay_on, "collected") == 0;
	plan->hold_days = row_int(row, 9, 0);
	plan->clawback_days = row_int(row, 10, -1);
	plan->override_depth = row_int(row, 11, 10);
	plan->pick = word(picks, row_text(row, 12), PRM_PICK_MOST_SPECIFIC);
}

/*
 * Which parts of the document a condition names. It stands in its canonical form, in which every name is quoted; a $ that is
 * followed by anything but a name may see all of it.
 */
static int
condition_parts(const char *path)
{
	int named = 0;
	bool in_quotes = false;

	for (const char *at = path; *at != '\0'; at++)
	{
		bool found = false;

		if (in_quotes && *at == '\\' && at[1] != '\0')
			at++;
		else if (*at == '"')
			in_quotes = !in_quotes;
		else if (*at == '$' && !in_quotes)
		{
			for (int i = 0; parts[i] != NULL && !found; i++)
			{
				int length = strlen(parts[i]);

				if (strncmp(at, "$.\"", 3) == 0 && strncmp(at + 3, parts[i], length) == 0 && at[3 + length] == '"')
				{
					named |= 1 << i;
					found = true;
				}
			}
			if (!found)
				return (1 << (lengthof(parts) - 1)) - 1;
		}
	}
	return named;
}

/* The vector of specificity as one number; the place of the product in its chain (times 512) comes in from the event. */
static int
specificity(const PrmRule *rule)
{
	return (rule->partner_id != 0 ? 16384 : 0) + (rule->customer_id != 0 ? 8192 : 0) + (rule->product_family != NULL ? 256 : 0) +
		   (rule->credit_type != NULL ? 128 : 0) + (rule->deal_kind != NULL ? 64 : 0) + (rule->tier != NULL ? 32 : 0) +
		   (rule->partner_kind != NULL ? 16 : 0) + (rule->region != NULL ? 8 : 0) + (rule->registered >= 0 ? 4 : 0);
}

static void
compile_rule(PrmRuleBook *book, PrmRule *rule, int row)
{
	bool isnull;
	Datum value;
	char *text;

	rule->rule_id = row_id(row, 2);
	rule->lineage_id = row_id(row, 3);
	rule->component = row_text(row, 4);
	rule->label = row_text(row, 5);
	rule->entry_kind = entry_kinds[word(entry_kinds, row_text(row, 6), 0)];
	rule->owed = strcmp(rule->entry_kind, "royalty") == 0 || strcmp(rule->entry_kind, "fee") == 0;
	rule->level = row_int(row, 7, 0);
	rule->through_level = row_int(row, 8, rule->level);
	rule->override_mode =
		word(overrides, row_text(row, 9), rule->through_level > 0 ? PRM_OVERRIDE_PERCENT_OF_SALE : PRM_OVERRIDE_NONE);
	rule->basis = word(measures, row_text(row, 10), PRM_MEASURE_AMOUNT);
	rule->measure = word(measures, row_text(row, 11), rule->basis);
	rule->accumulate = word(accumulates, row_text(row, 12), PRM_ACCUMULATE_TRANSACTION);
	rule->window_kind = word(windows, row_text(row, 13), PRM_WINDOW_LIFETIME);
	rule->schedule = PointerGetDatum(PG_DETOAST_DATUM_COPY(row_value(row, 14, &isnull)));
	rule->schedule_text = row_text(row, 15);
	rule->recurring_months = row_int(row, 16, -1);
	text = row_text(row, 17);
	rule->recurring_in_force = text != NULL && strcmp(text, "in_force") == 0;
	rule->min_amount = row_money(row, 18);
	rule->cap_amount = row_money(row, 19);
	rule->cap_scope = word(cap_scopes, row_text(row, 20), rule->cap_amount.given ? PRM_CAP_PARTNER : PRM_CAP_NONE);
	rule->cap_window = word(windows, row_text(row, 21), PRM_WINDOW_LIFETIME);
	rule->product = row_text(row, 22);
	rule->product_family = row_text(row, 23);
	rule->deal_kind = row_text(row, 24);
	rule->credit_type = row_text(row, 25);
	rule->tier = row_text(row, 26);
	rule->partner_kind = row_text(row, 27);
	rule->partner_id = row_id(row, 28);
	rule->customer_id = row_id(row, 29);
	rule->region = row_text(row, 30);
	value = row_value(row, 31, &isnull);
	rule->registered = isnull ? -1 : DatumGetBool(value);
	rule->condition_text = row_text(row, 32);
	value = row_value(row, 33, &isnull);
	if (!isnull)
	{
		rule->condition = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		book->has_conditions = true;
		book->parts |= condition_parts(row_text(row, 34));
		book->wants_metrics = (book->parts & PRM_PART_METRICS) != 0;
	}
	rule->priority = row_int(row, 35, 0);
	value = row_value(row, 36, &isnull);
	rule->valid_from = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(value);
	value = row_value(row, 37, &isnull);
	rule->valid_to = isnull ? DATEVAL_NOEND : DatumGetDateADT(value);
	rule->specificity = specificity(rule);
	book->wants_joined |= rule->measure == PRM_MEASURE_ATTAINMENT;
}

/* The rules come in the order of their plans, as the plans do. */
static void
compile_rules(PrmRuleBook *book)
{
	int count = (int) SPI_processed;
	PrmRule *rules = palloc0(sizeof(PrmRule) * Max(count, 1));
	PrmRule **list = palloc(sizeof(PrmRule *) * Max(count, 1));
	int at = 0;

	for (int i = 0; i < count; i++)
	{
		PrmRule *rule = &rules[i];
		PrmPlan *plan;

		while (at < book->plan_count && book->plans[at].plan_id != row_id(i, 1))
			at++;
		if (at == book->plan_count)
			break; /* a plan that the reader may not see, or that came between the two queries */
		plan = &book->plans[at];
		compile_rule(book, rule, i);
		rule->plan = plan;
		list[i] = rule;
		if (plan->rule_count++ == 0)
			plan->rules = &list[i];
		plan->highest_level = Max(plan->highest_level, rule->through_level);
		plan->compares |= rule->override_mode == PRM_OVERRIDE_LOWER_OF_PLANS;
	}
}

/* Whether some version of the lineage recurs, or holds something back, for all of them; the versions of a lineage share its plan. */
static void
spread_over_lineages(PrmRuleBook *book)
{
	for (int i = 0; i < book->plan_count; i++)
	{
		PrmPlan *plan = &book->plans[i];

		for (int j = 0; j < plan->rule_count; j++)
		{
			PrmRule *rule = plan->rules[j];

			for (int k = 0; k < plan->rule_count; k++)
			{
				const PrmRule *version = plan->rules[k];

				if (version->lineage_id != rule->lineage_id)
					continue;
				rule->lineage_recurs |= version->recurring_months >= 0;
				rule->lineage_limited |= version->cap_amount.given || version->min_amount.given;
			}
		}
	}
}

/* SPI must be connected. Not read-only: the definitions may have been written by this very transaction. */
static PrmRuleBook *
load_book(int64 program_id, MemoryContext parent)
{
	static const Oid types[1] = {INT8OID};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(parent, "prm rule book", ALLOCSET_SMALL_SIZES);
	Datum values[1];
	PrmRuleBook *book;
	uint64 generation = prm_definition_generation();

	prm_definitions_loaded();
	values[0] = Int64GetDatum(program_id);
	if (SPI_execute_plan(prm_earning_plan(&program_plan, program_query, 1, types), values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.program failed");
	MemoryContextSwitchTo(context);
	book = palloc0(sizeof(PrmRuleBook));
	book->program_id = program_id;
	book->generation = generation;
	book->context = context;
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("programme " INT64_FORMAT " does not exist", program_id),
						errdetail("There is no such row in prm.program, or it may not be read."),
						errhint("SELECT program_id, name FROM prm.program lists them; prm.create_program(name) makes one.")));
	book->time_zone = row_text(0, 1);
	book->zone_text = CStringGetTextDatum(book->time_zone);
	book->rounding = row_text(0, 2);
	book->fiscal_month = row_int(0, 3, 1);
	book->fiscal_day = 1;
	SPI_freetuptable(SPI_tuptable);

	if (SPI_execute_plan(prm_earning_plan(&plans_plan, plans_query, 1, types), values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.commission_plan failed");
	MemoryContextSwitchTo(context);
	book->plan_count = (int) SPI_processed;
	book->plans = palloc0(sizeof(PrmPlan) * Max(book->plan_count, 1));
	for (int i = 0; i < book->plan_count; i++)
		compile_plan(&book->plans[i], i);
	SPI_freetuptable(SPI_tuptable);

	if (SPI_execute_plan(prm_earning_plan(&rules_plan, rules_query, 1, types), values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "reading prm.commission_rule failed");
	MemoryContextSwitchTo(context);
	compile_rules(book);
	spread_over_lineages(book);
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(caller);
	return book;
}

/* ---- the cache -------------------------------------------------------------------------------------------------------- */

/* Reset callback of the run's context, so it runs after an error too. */
static void
unpin(void *arg)
{
	PrmRuleBook *book = arg;

	if (--book->pins == 0 && book->abandoned)
		MemoryContextDelete(book->context);
}

static PrmRuleBook *
pin(PrmEarningRun *run, PrmRuleBook *book)
{
	MemoryContextCallback *callback = MemoryContextAlloc(run->context, sizeof(MemoryContextCallback));

	callback->func = unpin;
	callback->arg = book;
	MemoryContextRegisterResetCallback(run->context, callback);
	book->pins++;
	return book;
}

static void
abandon(BookEntry *entry)
{
	PrmRuleBook *book = entry->book;

	entry->book = NULL;
	if (book == NULL)
		return;
	book->abandoned = true;
	if (book->pins == 0)
		MemoryContextDelete(book->context);
}

/* The book of the run's programme, pinned until the context of the run goes. SPI must be connected. */
PrmRuleBook *
prm_rule_book(PrmEarningRun *run)
{
	BookEntry *entry;
	PrmRuleBook *book;
	PrmOwnerScope scope;
	bool found;

	if (run->mode != PRM_EARNING_ACCRUE && !superuser_arg(GetUserId()) && GetUserId() != prm_model_owner())
		return load_book(run->program_id, run->context);
	if (books == NULL)
	{
		HASHCTL info = {0};

		info.keysize = sizeof(int64);
		info.entrysize = sizeof(BookEntry);
		books = hash_create("prm rule books", 16, &info, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(books, &run->program_id, HASH_FIND, NULL);
	if (likely(entry != NULL && entry->book != NULL && entry->book->generation == prm_definition_generation()))
		return pin(run, entry->book);

	prm_enter_owner(&scope);
	book = load_book(run->program_id, CurrentMemoryContext);
	prm_leave_owner(&scope);
	/* Only now, when nothing can fail any more, does the new book take the place of the old one. */
	MemoryContextSetParent(book->context, TopMemoryContext);
	entry = hash_search(books, &run->program_id, HASH_ENTER, &found);
	if (found)
		abandon(entry);
	entry->book = book;
	return pin(run, book);
}

/* ---- the plans of a run ------------------------------------------------------------------------------------------------ */

static bool
is_wanted(const PrmEarningRun *run, const PrmPlan *plan, const int64 *plan_ids, int count)
{
	bool listed = plan_ids == NULL && plan->is_active;
	ListCell *cell;

	for (int i = 0; i < count && !listed; i++)
		listed = plan_ids[i] == plan->plan_id;
	if (!listed)
		return false;
	foreach (cell, run->events)
		if (strcmp(((PrmEvent *) lfirst(cell))->kind, plan->earn_on) == 0)
			return true;
	return false;
}

/* Nobody changes a rule or an enrolment of the run's plans until this transaction ends. */
static void
lock_plans(PrmEarningRun *run)
{
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};
	Datum values[2];
	Datum *ids = palloc(sizeof(Datum) * list_length(run->plans));
	int count = 0;
	ListCell *cell;

	foreach (cell, run->plans)
		ids[count++] = Int64GetDatum(((PrmPlan *) lfirst(cell))->plan_id);
	values[0] = Int64GetDatum(run->program_id);
	values[1] = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (SPI_execute_plan(prm_earning_plan(&lock_plan, lock_query, 2, types), values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "locking prm.commission_plan failed");
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Sets the book and the plans that take part: those named, or all active ones, that earn on some event of the run. An accrual
 * holds them: what was changed and committed while it waited is read again.
 */
void
prm_earning_choose_plans(PrmEarningRun *run, const int64 *plan_ids, int count)
{
	for (;;)
	{
		MemoryContext caller;

		run->book = prm_rule_book(run);
		caller = MemoryContextSwitchTo(run->context);
		run->plans = NIL;
		for (int i = 0; i < run->book->plan_count; i++)
			if (is_wanted(run, &run->book->plans[i], plan_ids, count))
				run->plans = lappend(run->plans, &run->book->plans[i]);
		MemoryContextSwitchTo(caller);
		if (run->mode != PRM_EARNING_ACCRUE || run->plans == NIL)
			return;
		lock_plans(run);
		AcceptInvalidationMessages();
		if (run->book->generation == prm_definition_generation())
			return;
	}
}
