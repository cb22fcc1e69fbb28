/*
 * score.c: the arithmetic of a whole health score, as plain C without a server (see score.h). Owns the state that the rows
 * of a partner's metrics come together in: adding a row, combining two halves, and what they make in the end.
 *
 * It says the same as _health_scores() of sql/code/67_health_score.sql, which also explains it; test/pgtap/health_property.sql
 * compares the two for every kind of model. Rows may come in any order and in any number of parts.
 */
#include "score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

size_t
prm_score_size(int kind, int groups, int policies)
{
	return offsetof(PrmScore, group) + sizeof(PrmScoreGroup) * (size_t) groups + sizeof(PrmScorePolicy) * (size_t) policies +
		   (kind == PRM_SCORE_WEIGHTED ? 0 : sizeof(PrmScoreWhole));
}

PrmScorePolicy *
prm_score_policies(PrmScore *state)
{
	return (PrmScorePolicy *) &state->group[state->groups];
}

/* Only for models that are not weighted. */
PrmScoreWhole *
prm_score_whole(PrmScore *state)
{
	return (PrmScoreWhole *) &prm_score_policies(state)[state->policies];
}

/*
 * A score has 15 digits where it is seen, here as in SQL. What lies so near to a bound that this decides is compared as it
 * would be seen: seven times a seventh of a bound has reached it.
 */
static bool
is_below(double score, double bound)
{
	char text[40];

	if (fabs(score - bound) > 1e-9)
		return score < bound;
	snprintf(text, sizeof(text), "%.15g", score);
	return strtod(text, NULL) < bound;
}

/* What a score does to a model that is not weighted. */
static void
judge(PrmScoreWhole *whole, int kind, double points, double score)
{
	switch (kind)
	{
		case PRM_SCORE_ADDITIVE:
			whole->points += points * score / 100;
			break;
		case PRM_SCORE_RULES:
			if (is_below(score, whole->average_from))
				whole->seen_poor = 1;
			else if (is_below(score, whole->good_from))
				whole->seen_average = 1;
			else
				whole->seen_good = 1;
			break;
		default:
			if (score < whole->worst)
				whole->worst = score;
			break;
	}
}

/* A metric with its value, and the score that this is worth (which nobody asks of one whose points are for each unit). */
void
prm_score_add(PrmScore *state, const PrmScoreMetric *metric, double value, double score)
{
	if (state->kind == PRM_SCORE_WEIGHTED)
	{
		state->group[metric->group].sum += metric->weight * score;
		state->group[metric->group].known += metric->weight;
	}
	else if (metric->per_unit)
		prm_score_whole(state)->points += metric->weight == 0 ? 0 : metric->weight * value;
	else
		judge(prm_score_whole(state), state->kind, metric->weight, score);
	state->known = 1;
	if (value < metric->knock_out_below || value > metric->knock_out_above)
		state->cap = metric->knock_out_cap < state->cap ? metric->knock_out_cap : state->cap;
	if (metric->policy >= 0)
		state->seen |= UINT64_C(1) << metric->policy;
}

/* Both are of one model. */
void
prm_score_combine(PrmScore *state, PrmScore *other)
{
	for (int i = 0; i < state->groups; i++)
	{
		state->group[i].sum += other->group[i].sum;
		state->group[i].known += other->group[i].known;
	}
	if (state->kind != PRM_SCORE_WEIGHTED)
	{
		PrmScoreWhole *whole = prm_score_whole(state);
		const PrmScoreWhole *more = prm_score_whole(other);

		whole->points += more->points;
		whole->worst = more->worst < whole->worst ? more->worst : whole->worst;
		whole->seen_good |= more->seen_good;
		whole->seen_average |= more->seen_average;
		whole->seen_poor |= more->seen_poor;
	}
	state->known |= other->known;
	state->seen |= other->seen;
	state->cap = other->cap < state->cap ? other->cap : state->cap;
}

/* The weighted mean of the groups of which something counts. */
static bool
weighted_mean(PrmScore *state, double *score)
{
	const PrmScorePolicy *policy = prm_score_policies(state);
	double sum = 0;
	double weight = 0;

	for (int i = 0; i < state->groups; i++)
	{
		double group_sum = state->group[i].sum;
		double group_known = state->group[i].known;

		for (int j = 0; j < state->policies; j++)
		{
			if (policy[j].group == i && !(state->seen & (UINT64_C(1) << j)))
			{
				group_sum += policy[j].weight * policy[j].score;
				group_known += policy[j].weight;
			}
		}
		if (group_known > 0)
		{
			sum += state->group[i].weight * (group_sum / group_known);
			weight += state->group[i].weight;
		}
	}
	*score = sum / weight;
	return weight > 0;
}

/*
 * False where nothing is known, whatever the policies for single missing values say: that is never a score of zero. The state
 * is not changed. The score is no number where weights or points are so great that they leave the range of numbers.
 */
bool
prm_score_final(PrmScore *state, double *score)
{
	if (!state->known)
		return false;
	if (state->kind == PRM_SCORE_WEIGHTED)
	{
		if (!weighted_mean(state, score))
			return false;
	}
	else
	{
		const PrmScorePolicy *policy = prm_score_policies(state);
		PrmScoreWhole whole = *prm_score_whole(state);

		for (int j = 0; j < state->policies; j++)
		{
			if (!(state->seen & (UINT64_C(1) << j)))
				judge(&whole, state->kind, policy[j].weight, policy[j].score);
		}
		if (state->kind == PRM_SCORE_ADDITIVE)
		{
			double sum = whole.start + whole.points;

			*score = sum < whole.low ? whole.low : sum > whole.high ? whole.high : sum;
		}
		else if (state->kind == PRM_SCORE_RULES)
			*score = whole.seen_poor ? whole.poor : whole.seen_average ? whole.average : whole.good;
		else
			*score = whole.worst;
	}
	if (*score > state->cap)
		*score = state->cap;
	return true;
}
