/*
 * earning_partner.c: what was true of the partners of a run just before each event: their history, the chain of parents above
 * each seller, who is enrolled in which plan, and, where a rule wants them, metrics and the day of joining. Called by
 * earning_fact.c, in whose manner everything is read; owns run->facts.
 */
#include "earning.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"

#include "earning_fact.h"

/* One row of partner_history; the moments are those at which somebody just before whom it was true may stand. */
typedef struct Period
{
	TimestampTz after; /* later than this */
	TimestampTz until; /* up to this */
	PrmPartnerThen then;
	struct Period *next;
} Period;

typedef struct Person
{
	int64 partner_id; /* hash key */
	Period *periods;
	PrmPartnerThen *unknown; /* where no history reaches */
} Person;

typedef struct EnrolmentKey
{
	int64 plan_id;
	int64 partner_id;
} EnrolmentKey;

typedef struct Span
{
	DateADT from;
	DateADT to; /* the first day after it */
	struct Span *next;
} Span;

typedef struct Enrolment
{
	EnrolmentKey key;
	Span *spans;
} Enrolment;

typedef struct Facts
{
	HTAB *persons;
	HTAB *enrolments;
	TimestampTz first; /* of the events */
	TimestampTz last;
	int64 *asked; /* partners to be read next */
	int asked_count;
	int asked_capacity;
} Facts;

static SPIPlanPtr history_plan = NULL;
static SPIPlanPtr enrolments_plan = NULL;
static SPIPlanPtr joined_plan = NULL;
static SPIPlanPtr metrics_plan = NULL;
static SPIPlanPtr benefits_plan = NULL;

static const char *const history_query =
	"SELECT h.partner_id, lower(h.valid), upper(h.valid), h.kind, h.tier, h.region, h.parent_id,"
	" CASE WHEN $5 THEN jsonb_strip_nulls(jsonb_build_object('partner_id', h.partner_id, 'kind', h.kind, 'parent_id', h.parent_id,"
	"   'country', h.country, 'region', h.region, 'tier', h.tier, 'attributes', h.attributes)) END"
	" FROM unnest($2) AS i(id) CROSS JOIN LATERAL (SELECT * FROM prm.partner_history t WHERE t.program_id = $1"
	"   AND t.partner_id >= i.id AND t.partner_id <= i.id AND coalesce(lower(t.valid), '-infinity') < $4"
	"   AND coalesce(upper(t.valid), 'infinity') >= $3 ORDER BY t.partner_id OFFSET 0) h";

static const char *const enrolments_query =
	"SELECT n.plan_id, n.partner_id, lower(n.valid), upper(n.valid) FROM unnest($2, $3) AS i(plan_id, partner_id)"
	" CROSS JOIN LATERAL (SELECT * FROM prm.plan_enrolment t WHERE t.program_id = $1 AND t.plan_id = i.plan_id"
	"   AND t.partner_id >= i.partner_id AND t.partner_id <= i.partner_id ORDER BY t.partner_id OFFSET 0) n"
	" WHERE NOT isempty(n.valid)";

static const char *const joined_query =
	"SELECT p.partner_id, p.joined_on FROM unnest($2) AS i(id) CROSS JOIN LATERAL (SELECT * FROM prm.partner t"
	"   WHERE t.program_id = $1 AND t.partner_id >= i.id AND t.partner_id <= i.id ORDER BY t.partner_id OFFSET 0) p";

static const char *const metrics_query =
	"SELECT i.place, (SELECT jsonb_object_agg(m.metric, v.value) FROM prm.metric m CROSS JOIN LATERAL (SELECT t.value"
	"   FROM prm.metric_value t WHERE t.program_id = $1 AND t.partner_id = i.partner_id AND t.metric = m.metric"
	"   AND t.observed_at <= i.at ORDER BY t.observed_at DESC LIMIT 1) v WHERE m.program_id = $1)"
	" FROM unnest($2, $3) WITH ORDINALITY AS i(partner_id, at, place)";

/* Grants that began at the moment of the event do not count yet: it is paid by what was held just before it. */
static const char *const benefits_query =
	"SELECT i.place, (SELECT jsonb_object_agg(w.benefit, CASE WHEN w.measure IS NULL THEN to_jsonb(w.value) ELSE to_jsonb(w.measure) END)"
	"   FROM (SELECT DISTINCT ON (g.benefit) g.benefit, g.value, m.measure FROM prm.benefit_grant g"
	"     CROSS JOIN LATERAL (SELECT CASE WHEN g.kind IN ('discount', 'mdf_share', 'lead_priority') THEN g.value::numeric END AS measure) m"
	"     WHERE g.program_id = $1 AND g.partner_id = i.partner_id AND coalesce(lower(g.valid), '-infinity') < i.at"
	"       AND coalesce(upper(g.valid), 'infinity') >= i.at"
	"     ORDER BY g.benefit, m.measure DESC NULLS LAST, g.ladder IS NULL, g.ladder <> 'main', g.ladder, g.certification, g.benefit_grant_id) w)"
	" FROM unnest($2, $3) WITH ORDINALITY AS i(partner_id, at, place)";

/* ---- history ---------------------------------------------------------------------------------------------------------- */

static Person *
find_person(const Facts *facts, int64 partner_id)
{
	return hash_search(facts->persons, &partner_id, HASH_FIND, NULL);
}

/* Notes that a partner must be known. */
static void
ask_for(Facts *facts, int64 partner_id)
{
	bool found;
	Person *person = hash_search(facts->persons, &partner_id, HASH_ENTER, &found);

	if (found)
		return;
	person->periods = NULL;
	person->unknown = NULL;
	if (facts->asked_count == facts->asked_capacity)
	{
		facts->asked_capacity = facts->asked_capacity == 0 ? 8 : facts->asked_capacity * 4;
		facts->asked = facts->asked == NULL ? palloc(sizeof(int64) * facts->asked_capacity)
											: repalloc(facts->asked, sizeof(int64) * facts->asked_capacity);
	}
	facts->asked[facts->asked_count++] = partner_id;
}

static void
read_history(PrmEarningRun *run, Facts *facts)
{
	static const Oid types[5] = {INT8OID, INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID};
	char *words[7] = {NULL};
	Datum values[5];

	if (facts->asked_count == 0)
		return;
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_fact_ids(facts->asked, facts->asked_count);
	values[2] = TimestampTzGetDatum(facts->first);
	values[3] = TimestampTzGetDatum(facts->last);
	values[4] = BoolGetDatum((run->book->parts & (PRM_PART_PARTNER | PRM_PART_PAYEE)) != 0);
	prm_fact_read(run, prm_earning_plan(&history_plan, history_query, 5, types), values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Person *person = find_person(facts, prm_fact_id(i, 1));
		Period *period = palloc0(sizeof(Period));
		bool isnull;
		Datum value;

		value = prm_fact_value(i, 2, &isnull);
		period->after = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
		value = prm_fact_value(i, 3, &isnull);
		period->until = isnull ? DT_NOEND : DatumGetTimestampTz(value);
		period->then.partner_id = person->partner_id;
		period->then.kind = prm_fact_word(i, 4, &words[4]);
		period->then.tier = prm_fact_word(i, 5, &words[5]);
		period->then.region = prm_fact_word(i, 6, &words[6]);
		period->then.parent_id = prm_fact_id(i, 7);
		period->then.joined_on = DATEVAL_NOBEGIN;
		period->then.document = prm_fact_document(i, 8);
		period->next = person->periods;
		person->periods = period;
	}
	SPI_freetuptable(SPI_tuptable);
	facts->asked_count = 0;
}

/* What was true of a partner just before a moment. */
static PrmPartnerThen *
then_of(const Facts *facts, int64 partner_id, TimestampTz moment)
{
	Person *person = find_person(facts, partner_id);

	for (Period *period = person->periods; period != NULL; period = period->next)
		if (period->after < moment && period->until >= moment)
			return &period->then;
	if (person->unknown == NULL)
	{
		person->unknown = palloc0(sizeof(PrmPartnerThen));
		person->unknown->partner_id = partner_id;
		person->unknown->joined_on = DATEVAL_NOBEGIN;
	}
	return person->unknown;
}

/* ---- chains ----------------------------------------------------------------------------------------------------------- */

/* How far the chain above the seller of an event is walked: as far as some plan that earns on it pays overrides. */
static int
chain_depth(const PrmEarningRun *run, const PrmEvent *event)
{
	int depth = 0;
	ListCell *cell;

	foreach (cell, run->plans)
	{
		PrmPlan *plan = lfirst(cell);

		if (plan->highest_level > 0 && strcmp(plan->earn_on, event->kind) == 0)
			depth = Max(depth, plan->override_depth);
	}
	return depth;
}

static void
refuse_cycle(const PrmCredit *credit)
{
	StringInfoData chain;

	initStringInfo(&chain);
	for (int i = 0; i < credit->chain_length; i++)
		appendStringInfo(&chain, INT64_FORMAT " -> ", credit->chain[i]->partner_id);
	appendStringInfo(&chain, INT64_FORMAT, credit->chain[credit->chain_length - 1]->parent_id);
	ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("the parents of partner " INT64_FORMAT " form a cycle", credit->partner_id),
					errdetail("At %s, when earning event " INT64_FORMAT " occurred, the chain was %s.",
							  timestamptz_to_str(credit->event->occurred_at), credit->event->earning_event_id, chain.data),
					errhint("Give one of them another parent, or none, in prm.partner; what was then stands in prm.partner_history."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, "prm"), err_generic_string(PG_DIAG_TABLE_NAME, "partner_history"),
					err_generic_string(PG_DIAG_COLUMN_NAME, "parent_id")));
}

/* One more parent for each chain that has one; false when there is none left. */
static bool
climb(PrmEarningRun *run, Facts *facts, const List *credits, int depth)
{
	bool more = false;
	ListCell *cell;

	foreach (cell, credits)
	{
		PrmCredit *credit = lfirst(cell);
		int64 parent;

		if (credit->chain_length != depth || depth >= credit->chain_limit)
			continue;
		parent = credit->chain[depth - 1]->parent_id;
		if (parent == 0)
			continue;
		for (int i = 0; i < depth; i++)
			if (credit->chain[i]->partner_id == parent)
				refuse_cycle(credit);
		ask_for(facts, parent);
		more = true;
	}
	if (!more)
		return false;
	read_history(run, facts);
	foreach (cell, credits)
	{
		PrmCredit *credit = lfirst(cell);

		if (credit->chain_length == depth && depth < credit->chain_limit && credit->chain[depth - 1]->parent_id != 0)
			credit->chain[credit->chain_length++] =
				then_of(facts, credit->chain[depth - 1]->parent_id, credit->event->occurred_at);
	}
	return true;
}

static void
read_chains(PrmEarningRun *run, Facts *facts, const List *events, List *credits)
{
	ListCell *cell;

	facts->first = DT_NOEND;
	facts->last = DT_NOBEGIN;
	foreach (cell, events)
	{
		PrmEvent *event = lfirst(cell);

		facts->first = Min(facts->first, event->occurred_at);
		facts->last = Max(facts->last, event->occurred_at);
	}
	foreach (cell, credits)
		ask_for(facts, ((PrmCredit *) lfirst(cell))->partner_id);
	read_history(run, facts);
	foreach (cell, credits)
	{
		PrmCredit *credit = lfirst(cell);

		/* One for the seller, and one for each level that may be paid. */
		credit->chain_limit = chain_depth(run, credit->event) + 1;
		credit->chain = palloc(sizeof(PrmPartnerThen *) * credit->chain_limit);
		credit->chain[0] = then_of(facts, credit->partner_id, credit->event->occurred_at);
		credit->chain_length = 1;
	}
	for (int depth = 1; climb(run, facts, credits, depth); depth++)
		CHECK_FOR_INTERRUPTS();
}

/* ---- enrolment -------------------------------------------------------------------------------------------------------- */

/* Plans that somebody of the run may be asked about and that do not enrol everybody. */
static List *
closed_plans(const PrmEarningRun *run)
{
	List *plans = NIL;
	bool compares = false;
	ListCell *cell;

	foreach (cell, run->plans)
	{
		PrmPlan *plan = lfirst(cell);

		compares |= plan->compares;
		if (!plan->enrol_all)
			plans = lappend(plans, plan);
	}
	for (int i = 0; compares && i < run->book->plan_count; i++)
		if (!run->book->plans[i].enrol_all && run->book->plans[i].is_active)
			plans = list_append_unique_ptr(plans, &run->book->plans[i]);
	return plans;
}

static void
read_enrolments(PrmEarningRun *run, Facts *facts)
{
	static const Oid types[3] = {INT8OID, INT8ARRAYOID, INT8ARRAYOID};
	List *plans = closed_plans(run);
	int64 people = hash_get_num_entries(facts->persons);
	int64 *plan_ids;
	int64 *partner_ids;
	int count = 0;
	HASHCTL info = {0};
	HASH_SEQ_STATUS scan;
	Person *person;
	Datum values[3];

	if (plans == NIL)
		return;
	plan_ids = palloc(sizeof(int64) * list_length(plans) * people);
	partner_ids = palloc(sizeof(int64) * list_length(plans) * people);
	hash_seq_init(&scan, facts->persons);
	while ((person = hash_seq_search(&scan)) != NULL)
	{
		ListCell *cell;

		foreach (cell, plans)
		{
			plan_ids[count] = ((PrmPlan *) lfirst(cell))->plan_id;
			partner_ids[count++] = person->partner_id;
		}
	}
	info.keysize = sizeof(EnrolmentKey);
	info.entrysize = sizeof(Enrolment);
	info.hcxt = run->context;
	facts->enrolments = hash_create("prm enrolments of a run", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_fact_ids(plan_ids, count);
	values[2] = prm_fact_ids(partner_ids, count);
	prm_fact_read(run, prm_earning_plan(&enrolments_plan, enrolments_query, 3, types), values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		EnrolmentKey key = {prm_fact_id(i, 1), prm_fact_id(i, 2)};
		Span *span = palloc(sizeof(Span));
		Enrolment *enrolment;
		bool isnull;
		bool found;
		Datum value;

		value = prm_fact_value(i, 3, &isnull);
		span->from = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(value);
		value = prm_fact_value(i, 4, &isnull);
		span->to = isnull ? DATEVAL_NOEND : DatumGetDateADT(value);
		enrolment = hash_search(facts->enrolments, &key, HASH_ENTER, &found);
		span->next = found ? enrolment->spans : NULL;
		enrolment->spans = span;
	}
	SPI_freetuptable(SPI_tuptable);
}

bool
prm_is_enrolled(PrmEarningRun *run, const PrmPlan *plan, int64 partner_id, DateADT day)
{
	Facts *facts = run->facts;
	EnrolmentKey key = {plan->plan_id, partner_id};
	Enrolment *enrolment;

	if (plan->enrol_all)
		return true;
	enrolment = hash_search(facts->enrolments, &key, HASH_FIND, NULL);
	for (Span *span = enrolment == NULL ? NULL : enrolment->spans; span != NULL; span = span->next)
		if (span->from <= day && (day < span->to || span->to == DATEVAL_NOEND))
			return true;
	return false;
}

/* ---- what only some rules want ----------------------------------------------------------------------------------------- */

static void
read_joined(PrmEarningRun *run, Facts *facts)
{
	static const Oid types[2] = {INT8OID, INT8ARRAYOID};
	int64 *ids = palloc(sizeof(int64) * hash_get_num_entries(facts->persons));
	int count = 0;
	HASH_SEQ_STATUS scan;
	Person *person;
	Datum values[2];

	hash_seq_init(&scan, facts->persons);
	while ((person = hash_seq_search(&scan)) != NULL)
		ids[count++] = person->partner_id;
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_fact_ids(ids, count);
	prm_fact_read(run, prm_earning_plan(&joined_plan, joined_query, 2, types), values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Datum value = prm_fact_value(i, 2, &isnull);

		person = find_person(facts, prm_fact_id(i, 1));
		for (Period *period = person->periods; period != NULL && !isnull; period = period->next)
			period->then.joined_on = DatumGetDateADT(value);
		if (person->unknown != NULL && !isnull)
			person->unknown->joined_on = DatumGetDateADT(value);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* A document of everybody in the chains, as of the event: its metrics or its benefits. */
static Jsonb **
read_documents(PrmEarningRun *run, const List *credits, SPIPlanPtr *plan, const char *query)
{
	static const Oid types[3] = {INT8OID, INT8ARRAYOID, TIMESTAMPTZARRAYOID};
	int64 *partners;
	Datum *moments;
	Jsonb **found;
	int count = 0;
	ListCell *cell;
	Datum values[3];

	foreach (cell, credits)
		count += ((PrmCredit *) lfirst(cell))->chain_length;
	partners = palloc(sizeof(int64) * Max(count, 1));
	moments = palloc(sizeof(Datum) * Max(count, 1));
	found = palloc0(sizeof(Jsonb *) * Max(count, 1));
	count = 0;
	foreach (cell, credits)
	{
		PrmCredit *credit = lfirst(cell);

		for (int i = 0; i < credit->chain_length; i++, count++)
		{
			partners[count] = credit->chain[i]->partner_id;
			moments[count] = TimestampTzGetDatum(credit->event->occurred_at);
		}
	}
	values[0] = Int64GetDatum(run->program_id);
	values[1] = prm_fact_ids(partners, count);
	values[2] =
		PointerGetDatum(construct_array(moments, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	prm_fact_read(run, prm_earning_plan(plan, query, 3, types), values);
	for (uint64 i = 0; i < SPI_processed; i++)
		found[prm_fact_id(i, 1) - 1] = prm_fact_document(i, 2);
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* Metrics and benefits of everybody in the chains, where some condition names them. */
static void
read_standing(PrmEarningRun *run, const List *credits)
{
	Jsonb **metrics = NULL;
	Jsonb **benefits = NULL;
	int count = 0;
	ListCell *cell;

	if (run->book->wants_metrics)
		metrics = read_documents(run, credits, &metrics_plan, metrics_query);
	if (run->book->parts & PRM_PART_BENEFITS)
		benefits = read_documents(run, credits, &benefits_plan, benefits_query);
	foreach (cell, credits)
	{
		PrmCredit *credit = lfirst(cell);

		if (metrics != NULL)
			credit->metrics = metrics + count;
		if (benefits != NULL)
			credit->benefits = benefits + count;
		count += credit->chain_length;
	}
}

/* ---- all of it -------------------------------------------------------------------------------------------------------- */

void
prm_earning_partners(PrmEarningRun *run, const List *events)
{
	Facts *facts = palloc0(sizeof(Facts));
	HASHCTL info = {0};
	List *credits = NIL;
	ListCell *cell;

	run->facts = facts;
	info.keysize = sizeof(int64);
	info.entrysize = sizeof(Person);
	info.hcxt = run->context;
	facts->persons = hash_create("prm partners of a run", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach (cell, events)
		credits = list_concat(credits, ((PrmEvent *) lfirst(cell))->credits);
	if (credits == NIL)
		return;
	read_chains(run, facts, events, credits);
	read_enrolments(run, facts);
	if (run->book->wants_joined)
		read_joined(run, facts);
	read_standing(run, credits);
}
