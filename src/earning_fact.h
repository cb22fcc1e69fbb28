/*
 * earning_fact.h: what the files that read facts share: earning_fact.c (events), earning_credit.c (products, credits) and
 * earning_partner.c (partners).
 */
#ifndef PRM_EARNING_FACT_H
#define PRM_EARNING_FACT_H

#include "earning.h"

/* earning_fact.c: rows of the query that ran last */
extern void prm_fact_read(PrmEarningRun *run, SPIPlanPtr plan, Datum *values);
extern Datum prm_fact_value(uint64 row, int column, bool *isnull);
extern int64 prm_fact_id(uint64 row, int column);
extern char *prm_fact_word(uint64 row, int column, char **last);
extern Jsonb *prm_fact_document(uint64 row, int column);
extern Datum prm_fact_ids(const int64 *ids, int count);
extern Datum prm_fact_event_ids(const List *events, int start, int limit);

#define PRM_FACT_SLICE 10240 /* ids for one query: bounds the memory of its result */

/* earning_credit.c */
extern void prm_earning_products(PrmEarningRun *run);
extern void prm_earning_credits(PrmEarningRun *run, const List *events);

/* earning_partner.c */
extern void prm_earning_partners(PrmEarningRun *run, const List *events);

/* money.c */
extern Datum prm_allocate(PG_FUNCTION_ARGS);
extern Datum prm_minor_units(PG_FUNCTION_ARGS);

#endif /* PRM_EARNING_FACT_H */
