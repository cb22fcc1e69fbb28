/*
 * normalize.h: the arithmetic of health scores as plain C. What is declared here needs no server: it allocates nothing,
 * raises nothing, and can be tested and fuzzed alone. health.c, health_read.c and health_model.c add what the server needs.
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
	PRM_NORMALIZE_AS_IS,
	PRM_NORMALIZE_STEP,
	PRM_NORMALIZE_TARGET,
	PRM_NORMALIZE_PERCENTILE,
	PRM_NORMALIZE_CHOICE
} PrmNormalization;

/* A stretch of values with one score. Either end may belong to it; an end that is not there is an infinity. */
typedef struct PrmRange
{
	double low;
	double high;
	bool low_inside;
	bool high_inside;
	double score;
} PrmRange;

typedef struct PrmNormalizer
{
	PrmNormalization how;
	double low;			/* linear, inverse: always finite; target: minus infinity where it never falls */
	double high;
	double target_low;	/* target: the stretch that scores 100 */
	double target_high;
	double other;		/* choice: the score of what is no choice, where has_other */
	bool has_other;
	int count;			/* of ranges (step, choice) or of population (percentile) */
	PrmRange *range;	/* sorted by prm_ranges_sort() */
	double *population; /* sorted */
} PrmNormalizer;

extern bool prm_normalization_from_name(const char *name, size_t length, PrmNormalization *how);
extern bool prm_normalize(const PrmNormalizer *normalizer, double value, double *score);
extern bool prm_range_from_text(const char *text, size_t length, PrmRange *range);
extern bool prm_number_from_text(const char *text, size_t length, double *number);
extern int prm_ranges_sort(PrmRange *range, int count);
extern int prm_steps_to_ranges(PrmRange *range, int count, bool ties_low);
extern void prm_population_sort(double *population, int count);
extern bool prm_digits_to_double(const int16_t *digits, int count, int weight, bool negative, double *result);

#endif /* PRM_NORMALIZE_H */
