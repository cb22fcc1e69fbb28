/*
 * normalize.h: the arithmetic of health scores as plain C. What is declared here needs no server: it allocates nothing,
 * raises nothing, and can be tested and fuzzed alone. health.c adds what the server needs.
 */
#ifndef PRM_NORMALIZE_H
#define PRM_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PrmNormalization
{
	PRM_NORMALIZE_LINEAR,
	PRM_NORMALIZE_INVERSE,
	PRM_NORMALIZE_AS_IS
} PrmNormalization;

extern bool prm_normalization_from_name(const char *name, size_t length, PrmNormalization *how);
extern double prm_normalize(double value, PrmNormalization how, double low, double high);
extern bool prm_digits_to_double(const int16_t *digits, int count, int weight, bool negative, double *result);

#endif /* PRM_NORMALIZE_H */
