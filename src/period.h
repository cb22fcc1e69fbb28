/*
 * period.h: the windows of plans, for the files that count in them.
 */
#ifndef PRM_PERIOD_H
#define PRM_PERIOD_H

#include "utils/date.h"

extern void prm_find_window(DateADT day, int months, int fiscal_start, DateADT *first, DateADT *last);

#endif /* PRM_PERIOD_H */
