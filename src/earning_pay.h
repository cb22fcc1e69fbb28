/*
 * earning_pay.h: what the files of the paying half of the earning engine share, each named below at what it offers. The matching
 * half needs none of it.
 */
#ifndef PRM_EARNING_PAY_H
#define PRM_EARNING_PAY_H

#include "commission.h"
#include "decimal.h"
#include "earning.h"

#include "storage/block.h"

/* How money of an event becomes money of a plan: times the rate, or divided by that of the other direction. */
typedef struct PrmRate
{
	bool needed; /* the currencies differ */
	bool given;
	bool divides;
	Datum rate;
} PrmRate;

/* A count of one window: what was attained under the rules of a lineage, or what was used of a cap. */
typedef enum PrmPurpose
{
	PRM_PURPOSE_ATTAINED,
	PRM_PURPOSE_CAP
} PrmPurpose;

typedef struct PrmCountKey
{
	int64 lineage_id;  /* 0 = of the whole plan */
	int64 plan_id;
	int64 partner_id;  /* 0 = of all */
	int64 customer_id; /* 0 = of all */
	int64 event_id;	   /* 0 = the count itself; else what it was to this event, see earning_count.c */
	DateADT window_start;
	int32 credit_type; /* number of the text, see prm_text_number(); that of '' for caps */
	int32 purpose;
	int32 unused;	   /* 0: the key is compared as bytes */
} PrmCountKey;

typedef struct PrmCount
{
	PrmCountKey key;
	Datum amount;
	Datum basis;
	int64 entries; /* how many steps led to it */
	bool changed;
	bool paid_known; /* paid holds what the ledger knows, not only what this run adds */
	Datum paid;		 /* attained under a limited rule: what its rows come to, see earning_paid.c */
} PrmCount;

/* One step of a count, to be written. */
typedef struct PrmCountEntry
{
	PrmCount *count;
	int64 sequence_no;
	int64 event_id;
	PrmOutcome *outcome; /* the row that it belongs to; NULL: it earned nothing */
	Datum amount;
	Datum basis;
	Datum amount_before;
	Datum basis_before;
} PrmCountEntry;

/* The first sale of a payee to a customer under a component of a plan. */
typedef struct PrmStartKey
{
	int64 plan_id;
	int64 partner_id;
	int64 customer_id;
	int64 component; /* number of the text */
} PrmStartKey;

typedef struct PrmStart
{
	PrmStartKey key;
	bool given;
	bool is_new; /* made by this run: to be written */
	int64 rule_id;
	int64 lineage_id;
	DateADT started_on;
	int64 event_id;
} PrmStart;

/* What an event earned, or only attained, as a refund of it needs it. */
typedef struct PrmEarned
{
	PrmRule *rule;
	const char *credit_type;
	int64 partner_id;
	int64 seller_id;
	int level;
	PrmOutcome *outcome; /* NULL: the row stands in the ledger as entry_id, or there is none */
	int64 entry_id;
	PrmMoney amount; /* of the row, in the currency of the event; not given where it earned nothing */
	Datum given_back;
	const char *currency;
	const char *legal_entity;
	TimestampTz eligible_at;
	PrmRate rate;
	PrmCountKey attained_key; /* with has_attained */
	bool has_attained;
	Datum measure;
	Datum basis;
	List *caps;	  /* PrmCapUse * */
	List *adjustments; /* numbers of the entries that corrected the row; amount holds their sum with it */
} PrmEarned;

typedef struct PrmCapUse
{
	PrmCountKey key;
	Datum amount;
} PrmCapUse;

typedef struct PrmRefunded
{
	int64 event_id;
	TimestampTz occurred_at;
	Datum amount; /* positive */
} PrmRefunded;

/* What is known of a plan for as long as a run lasts. */
typedef struct PrmPlanFacts
{
	const PrmPlan *plan;
	bool counts;	 /* some rule accumulates or is capped */
	bool recurs;	 /* some lineage of it does */
	int cap_windows; /* a bit for each window kind of a cap of the whole plan */
} PrmPlanFacts;

typedef struct PrmOriginal
{
	int64 event_id;
	bool given;	   /* read from the ledger, or passed by this run */
	bool in_run;   /* this run pays it: what it earned is noted, not read */
	bool passed_own; /* while its refunds are read: one of this run was among them */
	int64 customer_id; /* 0 = none */
	PrmMoney amount;
	TimestampTz occurred_at;
	DateADT earned_on;
	const char *currency;
	const char *legal_entity;
	List *earned;  /* PrmEarned * */
	List *refunds; /* PrmRefunded *: those before the one under way */
	List *waiting; /* PrmEvent *: refunds that came before it in this run */
} PrmOriginal;

struct PrmEarningState
{
	bool stateful;	  /* some rule of the plans that take part counts up, is capped, or recurs */
	bool has_refunds; /* some event of the run is a refund */
	List *texts;	  /* char *: each has a number, its place */
	List *text_values; /* text *: the same */
	HTAB *counts;	  /* PrmCount */
	HTAB *starts;	  /* PrmStart */
	HTAB *rates;	  /* of earning_load.c */
	HTAB *quotas;	  /* of earning_load.c */
	HTAB *originals;  /* PrmOriginal, NULL where there are no refunds */
	HTAB *refund_ids; /* the refunds of this run, and in explanations those after them */
	bool has_past;	  /* some event of the run was counted before */
	List *entries;	  /* PrmCountEntry * */
	List *new_starts; /* PrmStart * */
	List *breakage;	  /* PrmOutcome * */
	List *event_caps; /* caps of the event under way */
	List *plans;	  /* PrmPlanFacts * */
	struct PrmCanceled *canceled; /* earning_ban.c: in the order in which it was recorded */
	int64 canceled_count;
	int64 canceled_next;
};

/* earning_money.c */
extern Datum prm_money_to_plan(const PrmRate *rate, Datum amount);
extern Datum prm_money_from_plan(const PrmRate *rate, Datum amount);
extern PrmMoney prm_rate_shown(const PrmRate *rate); /* what one unit of the event's currency is in the plan's */
extern Datum prm_money_round(const PrmRuleBook *book, Datum amount, const char *currency);
extern Datum prm_money_quotient(Datum amount, Datum divisor);
extern PrmMoney prm_money(Datum value);
extern void prm_rule_parts(const PrmRule *rule, Datum amount, Datum attained, PrmPartReceiver receive, void *receiver);
extern DateADT prm_window_end(const PrmRuleBook *book, PrmWindowKind kind, DateADT day);
extern DateADT prm_months_later(DateADT day, int months);
extern const char *prm_window_name(PrmWindowKind kind);
extern const char *prm_money_text(Datum amount);

/* earning_count.c: counts and first sales in memory */
extern int prm_text_number(PrmEarningState *state, const char *text);
extern const char *prm_text_of(PrmEarningState *state, int number);
extern Datum prm_text_value(PrmEarningState *state, int number);
extern PrmCountKey prm_attained_key(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, const char *credit_type, DateADT day);
extern bool prm_cap_key(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, int64 customer_id, DateADT day, PrmCountKey *key);
extern const PrmPlanFacts *prm_plan_facts(PrmEarningRun *run, const PrmPlan *plan);
extern PrmCountKey prm_plan_cap_key(PrmEarningRun *run, const PrmPlan *plan, PrmWindowKind kind, DateADT day);
extern PrmCount *prm_count_at(PrmEarningRun *run, const PrmCountKey *key, int64 event_id);
extern void prm_count_add(PrmEarningRun *run, PrmCount *count, int64 event_id, PrmOutcome *outcome, Datum amount, Datum basis);
extern PrmStart *prm_start_of(PrmEarningRun *run, const PrmPlan *plan, const char *component, int64 partner_id, int64 customer_id);

/* earning_ban.c: what a ban canceled, for replays */
extern void prm_canceled_load(PrmEarningRun *run);
extern void prm_canceled_until(PrmEarningRun *run, TimestampTz moment);

/* earning_load.c: what is read beside the counts. need notes, fetch reads all that was noted; what was not is read when asked for */
extern void prm_rate_need(PrmEarningRun *run, const char *from, const char *to, DateADT day);
extern void prm_quota_need(PrmEarningRun *run, const PrmRule *rule, int64 partner_id);
extern void prm_load_fetch(PrmEarningRun *run);
extern PrmRate prm_rate_of(PrmEarningRun *run, const char *from, const char *to, DateADT day);
extern PrmMoney prm_quota_of(PrmEarningRun *run, const PrmRule *rule, int64 partner_id, DateADT day);

/* earning_evaluate.c: what one rule gives */
typedef struct PrmAttempt
{
	PrmCandidate *candidate;
	PrmEvent *event;
	PrmRule *rule; /* the governing version */
	int group;	   /* the place of its credit among those of the event */
	int place;
	bool expired; /* its recurring months are over */
	bool evaluated;
	PrmStart *start;
	PrmRate rate;
	PrmMoney basis;
	PrmMoney measure; /* as it is counted: for attainment the amount, not yet the fraction */
	PrmMoney measured; /* as it is shown */
	PrmMoney attained_before;
	PrmMoney basis_before;
	PrmCount *attained;
	PrmMoney commission; /* in the plan's currency, unrounded */
	Datum money;		 /* rounded */
	bool of_cents;		 /* money is the exact result, commission only its origin: cumulative, differential */
	const char *code;
	const char *reason;
	PrmOutcome *below;
} PrmAttempt;

extern void prm_evaluate(PrmEarningRun *run, PrmAttempt *attempt, List *paid, List *candidates);
extern bool prm_is_better(const PrmCandidate *a, const PrmCandidate *b);
extern Datum prm_cumulative(PrmEarningRun *run, const PrmRule *rule, const PrmMoney *quota, Datum measure, Datum basis);

/* earning_cap.c */
extern Datum prm_cap_leaves(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row); /* of attempt->money */
extern List *prm_cap_use(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *row, Datum amount); /* PrmCapUse * */
extern const char *prm_cap_reason(const PrmAttempt *attempt, const PrmOutcome *row);

/* earning_pay.c */
extern PrmOutcome *prm_outcome_make(PrmEarningRun *run, PrmEvent *event);

/* Values of so many columns, to be handed to a statement as arrays. */
typedef struct PrmColumns
{
	int width;
	int rows;
	Datum **values;
	bool **nulls;
} PrmColumns;

static inline void
prm_set_column(PrmColumns *columns, int column, Datum value, bool given)
{
	columns->values[column][columns->rows] = value;
	columns->nulls[column][columns->rows] = !given;
}

/* A plan that is kept until the table that it reads has outgrown it. */
typedef struct PrmKept
{
	const char *table; /* NULL: it only inserts */
	SPIPlanPtr plan;
	BlockNumber blocks;
} PrmKept;

/* earning_query.c: kept plans over arrays */
extern SPIPlanPtr prm_kept_plan(PrmKept *kept, const char *query, int count, const Oid *types);
extern PrmColumns *prm_columns(int width, int room);
extern void prm_run_query(PrmEarningRun *run, PrmKept *kept, const char *query, const Oid *array_types,
						  const PrmColumns *columns, const TimestampTz *moment, int expected);
extern Datum prm_array(const Datum *values, const bool *nulls, int count, Oid type);

/* earning_state.c */
extern PrmCountKey prm_key_of_row(PrmEarningRun *run, HeapTuple row, TupleDesc form, int first);

/* earning_start.c */
extern void prm_starts_load(PrmEarningRun *run, List *asked); /* PrmStart * */
extern void prm_starts_store(PrmEarningRun *run);

/* earning_refund.c */
extern void prm_original_passed(PrmEarningRun *run, PrmEvent *event); /* its refunds may go on now */

/* earning_origin.c */
extern void prm_originals_load(PrmEarningRun *run);
extern void prm_originals_paid(PrmEarningRun *run); /* after the counts are locked */
extern void prm_original_note(PrmEarningRun *run, PrmAttempt *attempt, PrmOutcome *outcome, List *caps);
extern PrmOriginal *prm_original_of(PrmEarningRun *run, int64 event_id); /* NULL where no refund asks for it */
extern PrmEarned *prm_earned_make(PrmRule *rule, const char *credit_type, int64 partner_id);
extern void prm_note_unused_caps(PrmEarningRun *run, const PrmOriginal *original, PrmEarned *earned);

/* earning_origin_read.c */
extern void prm_originals_read(PrmEarningRun *run, Datum ids); /* a bigint[] of events */
extern bool prm_is_unwound(const PrmEarned *earned);

/* earning_paid.c: what a lineage holds in a window */
extern bool prm_is_limited(const PrmRule *rule);
extern void prm_paid_load(PrmEarningRun *run, List *counts); /* PrmCount * */
extern void prm_paid_add(PrmEarningRun *run, const PrmRule *rule, PrmCount *count, const PrmOutcome *row);
extern Datum prm_paid_so_far(PrmEarningRun *run, const PrmRule *rule, PrmCount *count);

#endif /* PRM_EARNING_PAY_H */
