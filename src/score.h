/*
 * score.h: the arithmetic of a whole health score as plain C: what the metrics of a partner make of it, for each kind of
 * model. What is declared here needs no server: it allocates nothing, raises nothing, and can be tested and fuzzed alone.
 * normalize.h makes scores of values; health_model.c reads the model and gives the state to the server.
 */
#ifndef PRM_SCORE_H
#define PRM_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PrmScoreKind
{
	PRM_SCORE_WEIGHTED, /* the weighted mean of groups, each the weighted mean of its metrics */
	PRM_SCORE_ADDITIVE, /* a start to which metrics add points, clamped at the end */
	PRM_SCORE_RULES,	/* all good is good, any poor is poor, else average */
	PRM_SCORE_WORST		/* the worst metric is the score */
} PrmScoreKind;

typedef struct PrmScoreGroup
{
	double sum;	   /* of weight * score */
	double known;  /* of weight */
	double weight; /* of the group itself */
} PrmScoreGroup;

/* What a metric counts where no row tells its value; present in the state only where it counts for something then. */
typedef struct PrmScorePolicy
{
	int32_t group;
	int32_t filler;
	double weight; /* additive: its points */
	double score;
} PrmScorePolicy;

/* What models that are not weighted need beside: their options, and what has come together so far. */
typedef struct PrmScoreWhole
{
	double start;
	double low;
	double high;
	double good_from;
	double average_from;
	double good;
	double average;
	double poor;
	double points;
	double worst;
	int32_t seen_good;
	int32_t seen_average;
	int32_t seen_poor;
	int32_t filler;
} PrmScoreWhole;

/* Of fixed size for a model. The groups are followed by the policies, and these by the whole where the model is not weighted. */
typedef struct PrmScore
{
	int32_t length; /* the header of a bytea */
	int32_t magic;
	int32_t kind;
	int32_t groups;
	int32_t policies;
	int32_t known; /* whether any value is */
	uint64_t seen; /* bit i: the metric of policy i has a value */
	double cap;
	PrmScoreGroup group[];
} PrmScore;

typedef struct PrmScoreMetric
{
	int group;
	int policy; /* -1: none */
	double weight; /* additive: its points */
	bool per_unit; /* its points are for each unit of its value, not for its score */
	double knock_out_below; /* infinities where there is none */
	double knock_out_above;
	double knock_out_cap;
} PrmScoreMetric;

#define PRM_SCORE_POLICIES_MAX 64

extern size_t prm_score_size(int kind, int groups, int policies);
extern PrmScorePolicy *prm_score_policies(PrmScore *state);
extern PrmScoreWhole *prm_score_whole(PrmScore *state);
extern void prm_score_add(PrmScore *state, const PrmScoreMetric *metric, double value, double score);
extern void prm_score_combine(PrmScore *state, PrmScore *other);
extern bool prm_score_final(PrmScore *state, double *score);

#endif /* PRM_SCORE_H */
