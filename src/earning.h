/*
 * earning.h: what the files of the earning engine share. The engine says who earns what on which event; accrual, explanation,
 * what-if and audit all call it (prm._earning_outcome), so they cannot differ.
 *
 *   earning.c         the call: runs the steps below and returns the outcomes as rows
 *   earning_rule.c    the rule book: plans and rules of a programme, compiled and kept until a definition changes
 *   earning_fact.c    the facts, read set-wise: events and documents; earning_credit.c: products and credits; earning_partner.c: chains
 *                     of parents, what was true of each partner then, enrolments, metrics
 *   earning_match.c   which rules match which credit at which level, and why the others do not
 *   earning_state.c   attained amounts and used caps: locked in key order, read, and written back set-wise; earning_start.c: first
 *                     sales; earning_count.c: both in memory; earning_query.c: statements over arrays
 *   earning_pay.c     what the matching rules pay, event by event in order; earning_evaluate.c: what one rule gives; earning_cap.c:
 *                     what caps leave; earning_load.c: rates of exchange and quotas
 *   earning_refund.c  what a refund takes back; earning_origin.c, earning_origin_read.c: what the refunded events earned
 *   earning_paid.c    what a lineage with a cap or minimum holds in a window
 *   earning_ban.c     what a ban gave back of used caps, for replays
 *   earning_replay.c  what a replay counts, for recalculations
 *   earning_money.c   exact arithmetic on numerics, rates of exchange, rounding
 *
 * A numeric is a Datum that may be absent: PrmMoney. All of it lives in the memory context of the run.
 */
#ifndef PRM_EARNING_H
#define PRM_EARNING_H

#include "prm.h"

#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"

typedef struct PrmMoney
{
	Datum value; /* a numeric */
	bool given;
} PrmMoney;

typedef enum PrmEarningMode
{
	PRM_EARNING_ACCRUE,	 /* locks, reads and writes the state */
	PRM_EARNING_EXPLAIN, /* everything, reads the state of then */
	PRM_EARNING_REPLAY,	 /* from nothing, in the stored order, writes nothing */
	PRM_EARNING_DEAL	 /* open deals as if they were booked now */
} PrmEarningMode;

/* What a rule measures or pays on. The order is that of the shares of a credit. */
typedef enum PrmMeasure
{
	PRM_MEASURE_AMOUNT,
	PRM_MEASURE_LIST_AMOUNT,
	PRM_MEASURE_MARGIN,
	PRM_MEASURE_QUANTITY,
	PRM_MEASURE_ATTAINMENT
} PrmMeasure;
#define PRM_SHARES 4 /* attainment is not a share: it is computed from the quota */

typedef enum PrmAccumulate
{
	PRM_ACCUMULATE_TRANSACTION,
	PRM_ACCUMULATE_CUMULATIVE,
	PRM_ACCUMULATE_LOOKUP
} PrmAccumulate;

typedef enum PrmWindowKind
{
	PRM_WINDOW_LIFETIME,
	PRM_WINDOW_MONTH,
	PRM_WINDOW_HALF_MONTH,
	PRM_WINDOW_QUARTER,
	PRM_WINDOW_HALF,
	PRM_WINDOW_YEAR
} PrmWindowKind;

typedef enum PrmOverrideMode
{
	PRM_OVERRIDE_NONE, /* level 0 */
	PRM_OVERRIDE_PERCENT_OF_SALE,
	PRM_OVERRIDE_PERCENT_OF_BELOW,
	PRM_OVERRIDE_DIFFERENTIAL,
	PRM_OVERRIDE_ROLLUP,
	PRM_OVERRIDE_LOWER_OF_PLANS,
	PRM_OVERRIDE_TOP_OF_CHAIN
} PrmOverrideMode;

typedef enum PrmCapScope
{
	PRM_CAP_NONE,
	PRM_CAP_PARTNER,
	PRM_CAP_CUSTOMER,
	PRM_CAP_PROGRAMME,
	PRM_CAP_PLAN,
	PRM_CAP_EVENT
} PrmCapScope;

typedef enum PrmPick
{
	PRM_PICK_MOST_SPECIFIC,
	PRM_PICK_HIGHEST_PAYING,
	PRM_PICK_ALL
} PrmPick;

struct PrmPlan;

/* One version of a rule. A text that is NULL and a number that is 0 match everything, where the field is a dimension. */
typedef struct PrmRule
{
	struct PrmPlan *plan;
	int64 rule_id;
	int64 lineage_id;
	bool lineage_recurs; /* some version of the lineage has recurring_months */
	bool lineage_limited; /* some version of it has a cap or a minimum */
	char *component;
	char *label;
	const char *entry_kind;
	bool owed; /* royalty, fee: written negative */
	int level;
	int through_level;
	PrmOverrideMode override_mode;
	PrmMeasure basis;
	PrmMeasure measure; /* equal to basis where the rule names none */
	PrmAccumulate accumulate;
	PrmWindowKind window_kind;
	Datum schedule; /* prm.commission_schedule, detoasted; evaluate by prm_rule_commission() */
	char *schedule_text;
	int recurring_months; /* -1 = for life */
	bool recurring_in_force;
	PrmMoney min_amount;
	PrmMoney cap_amount;
	PrmCapScope cap_scope;
	PrmWindowKind cap_window;
	char *product;
	char *product_family;
	char *deal_kind;
	char *credit_type;
	char *tier;
	char *partner_kind;
	int64 partner_id;
	int64 customer_id;
	char *region;
	int registered; /* -1 = both */
	char *condition_text;
	Datum condition; /* jsonpath, strict; 0 = none */
	int priority;
	int specificity; /* without the place of the product in its chain */
	DateADT valid_from; /* DATEVAL_NOBEGIN and NOEND where open */
	DateADT valid_to;	/* the first day on which it is no longer in force */
} PrmRule;

typedef struct PrmPlan
{
	int64 plan_id;
	char *name;
	char *earn_on;
	char *currency;
	bool is_active;
	bool enrol_all;
	bool compress;
	bool pay_on_collected;
	int hold_days;
	int clawback_days; /* -1 = always */
	int override_depth;
	int highest_level; /* of its rules, through_level included */
	bool compares;	   /* some rule of it is lower_of_plans */
	PrmPick pick;
	int rule_count;
	PrmRule **rules;
} PrmPlan;

/* The parts of the document that conditions see. */
#define PRM_PART_EVENT 1
#define PRM_PART_DEAL 2
#define PRM_PART_CUSTOMER 4
#define PRM_PART_PRODUCT 8
#define PRM_PART_PARTNER 16
#define PRM_PART_PAYEE 32
#define PRM_PART_METRICS 64
#define PRM_PART_LEVEL 128
#define PRM_PART_BENEFITS 256

typedef struct PrmRuleBook
{
	int64 program_id;
	uint64 generation;
	MemoryContext context;
	int plan_count;
	PrmPlan *plans; /* active or not */
	bool has_conditions;
	bool wants_metrics; /* some condition names $.metrics */
	int parts;			/* PRM_PART_...: of the document that some condition names */
	bool wants_joined;	/* some rule measures attainment, so joined_on is needed */
	int pins;			/* runs that use it */
	bool abandoned;		/* out of the cache: goes with the last pin */
	/* of the programme */
	char *time_zone;
	Datum zone_text; /* the same as a text */
	char *rounding;
	int fiscal_month; /* 1..12: the month in which its year begins, and the day */
	int fiscal_day;
} PrmRuleBook;

/* What was true of a partner just before an event. */
typedef struct PrmPartnerThen
{
	int64 partner_id;
	int64 parent_id; /* 0 = none */
	char *kind;
	char *tier;
	char *region;
	DateADT joined_on; /* DATEVAL_NOBEGIN where unknown */
	Jsonb *document;   /* the row for conditions; NULL where no rule has one */
} PrmPartnerThen;

typedef struct PrmEvent
{
	int64 earning_event_id;
	int ordinal; /* place in the order of processing */
	int64 partner_id; /* its own partner, 0 = none: credited where there are no stored credits */
	TimestampTz stored_at; /* for mode replay: when it was accrued */
	char *kind;
	bool is_refund;
	int64 applies_to_id;
	int64 deal_id;
	int64 customer_id;
	char *product;
	char *product_family;
	char *deal_kind;
	char *currency;
	char *legal_entity;
	bool registered;
	TimestampTz occurred_at;
	DateADT earned_on; /* business date */
	PrmMoney amount;   /* of the whole event, negative for refunds */
	PrmMoney share[PRM_SHARES]; /* what its credits share: the commissionable amount ...; by PrmMeasure */
	bool is_earning;   /* some plan of the run earns on its kind */
	Jsonb *document;   /* {event, deal, customer, product}; NULL where no rule has a condition */
	bool commissionable;
	List *products; /* char *: the sold product and its parents, nearest first */
	List *families; /* char * */
	List *credits;	/* PrmCredit * */
} PrmEvent;

typedef struct PrmCredit
{
	PrmEvent *event;
	char *credit_type;
	int revision;
	int64 partner_id; /* the seller */
	Datum weight;	  /* numeric, percent */
	PrmMoney share[PRM_SHARES]; /* in the currency of the event; by PrmMeasure */
	int chain_limit; /* so many may stand in the chain */
	int chain_length;
	PrmPartnerThen **chain; /* [0] the seller, then its parents */
	Jsonb **metrics;		/* of each of the chain, for conditions; NULL where no rule wants them */
	Jsonb **benefits;		/* the same: what each was entitled to just before the event */
} PrmCredit;

/* A rule beside one credit at one level of one plan. */
typedef struct PrmCandidate
{
	PrmCredit *credit;
	PrmPlan *plan;
	PrmRule *rule; /* NULL: the plan has no rules */
	int level;
	PrmPartnerThen *payee;
	bool of_sellers_plan; /* only to be compared with, for lower_of_plans: never paid itself */
	PrmPlan *beside;	  /* of_sellers_plan: the payee's own plan, whose rules are compared with this one */
	bool seller_enrolled; /* the seller is in this plan too: lower_of_plans has nothing to compare with */
	bool unqualified;	  /* level > 0: only what the upline was then keeps the rule from it; the level stays unpaid */
	const char *fault_code; /* of the fault: not_enrolled, other_tier ... */
	int specificity;	  /* with the place of the product */
	const char *fault;	  /* NULL: the rule matches; else why not (a full reason only in mode explain) */
} PrmCandidate;

typedef enum PrmOutcomeKind
{
	PRM_OUTCOME_WON,
	PRM_OUTCOME_UNPAID,
	PRM_OUTCOME_LOST,
	PRM_OUTCOME_NO_MATCH
} PrmOutcomeKind;

/* A row of the result; fields as in the SQL type prm.earning_outcome. Strings may be shared. */
typedef struct PrmOutcome
{
	PrmCandidate *candidate; /* NULL for reversals */
	PrmEvent *event;
	const char *credit_type;
	int64 partner_id;
	int64 seller_id;
	int level;
	PrmOutcomeKind outcome;
	const char *reason_code;
	const char *reason;
	const char *entry_kind; /* commission, override, bonus, royalty, fee, reversal */
	PrmRule *rule;			/* the governing version, NULL: none */
	int64 rule_id;
	int64 lineage_id;
	PrmMoney basis_amount;
	PrmMoney measure_amount;
	PrmMoney attained_before;
	PrmMoney basis_before;
	DateADT window_start; /* 0 with has_window false */
	bool has_window;
	PrmMoney commission;
	PrmMoney amount;
	PrmMoney unpaid_amount;
	const char *currency;
	PrmMoney exchange_rate;
	PrmMoney cap_used_before;
	int place;
	TimestampTz eligible_at;
	int64 entry_id;
	int64 cause_entry_id;
	struct PrmOutcome *cause; /* the row of this run that it derives from; cause_entry_id is filled from it */
	const char *legal_entity; /* NULL: that of the event; a reversal has that of its cause */
	int sequence_no;
} PrmOutcome;

typedef struct PrmEarningState PrmEarningState; /* earning_state.c */

typedef struct PrmEarningRun
{
	int64 program_id;
	PrmEarningMode mode;
	MemoryContext context;
	PrmRuleBook *book;
	List *plans;	 /* PrmPlan *: those that take part */
	void *facts;	 /* of earning_partner.c */
	Datum no_variables; /* an empty jsonb: conditions have none */
	bool read_only;	 /* SPI: with the snapshot of the caller's statement */
	List *events;	 /* PrmEvent *, in the order of processing */
	List **candidates; /* one list of PrmCandidate * for each event, by credit, plan, level */
	PrmEarningState *state;
	TimestampTz recorded_at; /* taken after all locks */
	List *outcomes;	 /* PrmOutcome * */
	bool everything; /* losers and rules that do not match are wanted */
} PrmEarningRun;

/* earning.c */
extern PrmEarningRun *prm_earning_run(int64 program_id, PrmEarningMode mode, ArrayType *event_ids, ArrayType *plans);

/* earning_document.c */
extern Datum prm_outcome_document(const PrmOutcome *outcome);

/* earning_rule.c (MATCH) */
extern PrmRuleBook *prm_rule_book(PrmEarningRun *run); /* pinned until the context of the run goes */
extern void prm_earning_choose_plans(PrmEarningRun *run, const int64 *plan_ids, int count);
extern const char *prm_measure_name(PrmMeasure measure);
extern const char *prm_cap_scope_name(PrmCapScope scope);
extern const char *prm_override_name(PrmOverrideMode mode); /* NULL at level 0 */

/* earning_fact.c (MATCH) */
extern void prm_earning_events(PrmEarningRun *run, int64 *ids, int count); /* fills run->events, in order */
extern void prm_earning_facts(PrmEarningRun *run);						   /* credits, chains, what was true of whom */
extern bool prm_is_enrolled(PrmEarningRun *run, const PrmPlan *plan, int64 partner_id, DateADT day);
extern SPIPlanPtr prm_earning_plan(SPIPlanPtr *kept, const char *query, int argument_count, const Oid *types); /* prepared once */
extern DateADT prm_business_day(const PrmRuleBook *book, TimestampTz moment);
extern TimestampTz prm_days_later(const PrmRuleBook *book, TimestampTz moment, int days); /* in the programme's zone */

/* earning_match.c (MATCH): fills run->candidates */
extern void prm_earning_match(PrmEarningRun *run);

/* earning_state.c (PAY): locks and reads what the candidates and refunds of the run need; writes back what changed */
extern void prm_earning_state_load(PrmEarningRun *run);
extern void prm_earning_state_store(PrmEarningRun *run);

/* earning_pay.c (PAY): adds the outcomes of all events */
extern void prm_earning_pay(PrmEarningRun *run);

/* earning_refund.c (PAY) */
extern void prm_earning_refund(PrmEarningRun *run, PrmEvent *refund);

/* earning_money.c (PAY) */
extern Datum prm_rule_commission(const PrmRule *rule, Datum amount, Datum attained); /* F(attained + amount) - F(attained) */
extern Datum prm_rule_rate_at(const PrmRule *rule, Datum measure, Datum basis);		 /* the bracket of measure, applied to basis */
extern DateADT prm_window_start(const PrmRuleBook *book, PrmWindowKind kind, DateADT day);

#endif /* PRM_EARNING_H */
