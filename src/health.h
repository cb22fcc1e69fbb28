/*
 * health.h: what health.c, health_read.c and health_model.c share. normalize.h has the arithmetic.
 */
#ifndef PRM_HEALTH_H
#define PRM_HEALTH_H

#include "normalize.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"

/* health.c */
extern double prm_finite_double(Numeric number, const char *what);
extern Datum prm_double_numeric(double value);

/* health_read.c: low and high may be NULL; what it gives is allocated in the current memory context */
extern void prm_read_normalizer(PrmNormalizer *normalizer, const char *name, int length, Numeric low, Numeric high,
								JsonbContainer *options);
extern bool prm_json_find(JsonbContainer *object, const char *key, JsonbValue *value);

#endif /* PRM_HEALTH_H */
