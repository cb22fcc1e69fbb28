/*
 * earning.c: prm._earning_outcome(): who earns what on which events, and why. Owns the order of the steps (events, plans, facts,
 * matching, state, paying), the settings under which they read, and the shape of the result. Accrual, explanation, what-if and
 * audit call it, so they cannot differ. See earning.h for the other files.
 *
 * Rights are those of whoever calls: accrual calls from a function of the model that acts as its owner.
 */
#include "earning.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#define COLUMNS 43

static const char *const outcomes[] = {"won", "unpaid", "lost", "no_match"};

/* ---- the result ------------------------------------------------------------------------------------------------------- */

typedef struct Row
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS];
	int column;
} Row;

static inline void
put(Row *row, Datum value, bool given)
{
	row->values[row->column] = given ? value : (Datum) 0;
	row->nulls[row->column++] = !given;
}

static inline void
put_text(Row *row, const char *value)
{
	put(row, value == NULL ? (Datum) 0 : CStringGetTextDatum(value), value != NULL);
}

static inline void
put_id(Row *row, int64 value)
{
	put(row, Int64GetDatum(value), value != 0);
}

static inline void
put_money(Row *row, PrmMoney money)
{
	put(row, money.value, money.given);
}

/* The columns of prm.earning_outcome, in order. */
static void
put_outcome(PrmEarningRun *run, ReturnSetInfo *result, PrmOutcome *outcome, int64 ordinal)
{
	Row row = {0};
	PrmEvent *event = outcome->event;
	PrmCandidate *candidate = outcome->candidate;
	PrmCredit *credit = candidate == NULL ? NULL : candidate->credit;
	PrmRule *rule = outcome->rule;
	PrmPlan *plan = rule != NULL ? rule->plan : candidate != NULL ? candidate->plan : NULL;
	TimestampTz eligible_at = outcome->eligible_at;
	Datum document;

	if (eligible_at == 0 && plan != NULL)
		eligible_at = prm_days_later(run->book, event->occurred_at, plan->hold_days);
	put_id(&row, event->earning_event_id);
	put_text(&row, outcome->credit_type);
	put_id(&row, outcome->partner_id);
	put_id(&row, outcome->seller_id);
	put(&row, Int32GetDatum(outcome->level), true);
	put(&row, credit == NULL ? (Datum) 0 : credit->weight, credit != NULL);
	put_money(&row, credit == NULL ? (PrmMoney){0} : credit->share[PRM_MEASURE_AMOUNT]);
	put_id(&row, plan == NULL ? 0 : plan->plan_id);
	put_text(&row, plan == NULL ? NULL : plan->name);
	put_text(&row, rule == NULL ? NULL : rule->component);
	put_id(&row, outcome->rule_id);
	put_id(&row, outcome->lineage_id);
	put_text(&row, rule == NULL ? NULL : rule->label);
	put_text(&row, outcome->entry_kind);
	put_text(&row, rule == NULL ? NULL : prm_override_name(rule->override_mode));
	put_text(&row, outcomes[outcome->outcome]);
	put_text(&row, outcome->reason_code);
	put_text(&row, outcome->reason);
	put_text(&row, rule == NULL ? NULL : prm_measure_name(rule->basis));
	put_money(&row, outcome->basis_amount);
	put_text(&row, rule == NULL ? NULL : prm_measure_name(rule->measure));
	put_money(&row, outcome->measure_amount);
	put_money(&row, outcome->attained_before);
	put_money(&row, outcome->basis_before);
	put(&row, DateADTGetDatum(outcome->window_start), outcome->has_window);
	put_text(&row, rule == NULL ? NULL : rule->schedule_text);
	put_money(&row, outcome->commission);
	put_money(&row, outcome->amount);
	put_money(&row, outcome->unpaid_amount);
	put_text(&row, outcome->currency);
	put_money(&row, outcome->exchange_rate);
	put_money(&row, outcome->cap_used_before);
	put_text(&row, outcome->legal_entity != NULL ? outcome->legal_entity : event->legal_entity);
	put(&row, Int32GetDatum(outcome->place), outcome->place != 0);
	put(&row, DateADTGetDatum(event->earned_on), true);
	put(&row, TimestampTzGetDatum(eligible_at), eligible_at != 0);
	put(&row, TimestampTzGetDatum(event->occurred_at), true);
	put_id(&row, outcome->entry_id);
	put_id(&row, outcome->cause_entry_id);
	put(&row, Int32GetDatum(outcome->sequence_no), outcome->sequence_no != 0);
	put(&row, TimestampTzGetDatum(run->recorded_at), true);
	put(&row, Int64GetDatum(ordinal), true);
	/* Only the ledger keeps it. */
	document = run->mode == PRM_EARNING_ACCRUE && outcome->outcome == PRM_OUTCOME_WON ? prm_outcome_document(outcome) : (Datum) 0;
	put(&row, document, document != (Datum) 0);
	Assert(row.column == COLUMNS);
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

/* ---- arguments -------------------------------------------------------------------------------------------------------- */

static PrmEarningMode
mode_of(text *word)
{
	static const char *const words[] = {"accrue", "explain", "replay", "deal"};
	char *name = text_to_cstring(word);

	for (int i = 0; i < (int) lengthof(words); i++)
		if (strcmp(words[i], name) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown mode \"%s\"", name),
					errdetail("The modes are accrue, explain, replay and deal."), errhint("Pass one of them.")));
	return 0; /* keep the compiler quiet */
}

/* The ids of an array, without NULLs. */
static int64 *
ids_of(ArrayType *array, int *count)
{
	Datum *values;
	bool *nulls;
	int total;
	int64 *ids;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &total);
	ids = palloc(sizeof(int64) * Max(total, 1));
	*count = 0;
	for (int i = 0; i < total; i++)
		if (!nulls[i])
			ids[(*count)++] = DatumGetInt64(values[i]);
	return ids;
}

/* ---- the steps -------------------------------------------------------------------------------------------------------- */

/*
 * Facts are looked up by their keys only, whatever the statistics say (earning_fact.c); moments in documents are those of UTC.
 * Compiling (jit) a look-up never pays.
 */
static int
begin_reading(void)
{
	static const char *const settings[][2] = {{"enable_seqscan", "off"},  {"enable_bitmapscan", "off"}, {"enable_sort", "off"},
											  {"enable_hashjoin", "off"}, {"enable_mergejoin", "off"},	{"jit", "off"},
											  {"TimeZone", "UTC"}};
	int level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

static void
run_steps(PrmEarningRun *run, int64 *ids, int id_count, const int64 *plan_ids, int plan_count)
{
	int reading = begin_reading();

	/* After each query of a step the context is that of SPI, which goes before the result is put together. */
	prm_earning_events(run, ids, id_count);
	MemoryContextSwitchTo(run->context);
	prm_earning_choose_plans(run, plan_ids, plan_count);
	MemoryContextSwitchTo(run->context);
	prm_earning_facts(run);
	AtEOXact_GUC(true, reading);
	MemoryContextSwitchTo(run->context);
	prm_earning_match(run);
	prm_earning_state_load(run);
	MemoryContextSwitchTo(run->context);
	run->recorded_at = GetCurrentTimestamp();
	prm_earning_pay(run);
	MemoryContextSwitchTo(run->context);
	if (run->mode == PRM_EARNING_ACCRUE)
		prm_earning_state_store(run);
}

/* All of it; the run lives in a context of its own, under the current one, which the caller deletes. */
PrmEarningRun *
prm_earning_run(int64 program_id, PrmEarningMode mode, ArrayType *event_ids, ArrayType *plans)
{
	PrmEarningRun *run = palloc0(sizeof(PrmEarningRun));
	int id_count;
	int plan_count = 0;
	int64 *ids = ids_of(event_ids, &id_count);
	int64 *plan_ids = plans == NULL ? NULL : ids_of(plans, &plan_count);
	int path;

	run->program_id = program_id;
	run->mode = mode;
	run->everything = run->mode == PRM_EARNING_EXPLAIN;
	run->read_only = run->mode != PRM_EARNING_ACCRUE;
	run->context = AllocSetContextCreate(CurrentMemoryContext, "prm earning", ALLOCSET_DEFAULT_SIZES);
	run->no_variables = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));

	path = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(run->context);
	run_steps(run, ids, id_count, plan_ids, plan_count);
	SPI_finish();
	AtEOXact_GUC(true, path);
	return run;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_earning_outcome);

/* prm._earning_outcome(program_id bigint, earning_event_ids bigint[], mode text, plan_ids bigint[] DEFAULT NULL) */
Datum
prm_earning_outcome(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row_context;
	PrmEarningRun *run;
	int64 ordinal = 0;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	if (result->setDesc->natts != COLUMNS)
		elog(ERROR, "prm.earning_outcome has %d columns, not %d", result->setDesc->natts, COLUMNS);
	run = prm_earning_run(PG_GETARG_INT64(0), mode_of(PG_GETARG_TEXT_PP(2)), PG_GETARG_ARRAYTYPE_P(1),
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3));
	row_context = AllocSetContextCreate(run->context, "prm earning row", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(row_context);
	foreach (cell, run->outcomes)
	{
		put_outcome(run, result, lfirst(cell), ++ordinal);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(run->context);
	return (Datum) 0;
}
