/*
 * score_fuzz.c: fuzzes the plain C of whole health scores: models of every kind with random groups, weights, points, policies
 * and knock-outs, and random rows. A naive second reckoning, over all metrics at once and without a state, must give the same
 * score; so must the rows in another order, and in two halves that are combined. A score lies where its model says.
 *
 * fuzz-sources: src/score.c
 *
 * Without libFuzzer: gcc -g -O1 -fsanitize=address,undefined -DPRM_FUZZ_STANDALONE -Isrc, this file and that; the argument is
 * the number of seconds.
 */
#include "score.h"

#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS 10
#define GROUPS 3

typedef struct Input
{
	const uint8_t *data;
	size_t size;
} Input;

typedef struct Row
{
	PrmScoreMetric metric;
	bool is_known;
	double value;
	double score;
	double missing; /* what it counts without a value; negative: nothing */
} Row;

typedef struct Case
{
	PrmScoreKind kind;
	int count;
	int policies;
	Row row[METRICS];
	double group_weight[GROUPS];
	PrmScoreWhole whole;
} Case;

static unsigned
byte_of(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

static void
read_case(Case *drawn, Input *input)
{
	memset(drawn, 0, sizeof(*drawn));
	drawn->kind = (PrmScoreKind) (byte_of(input) % 4);
	drawn->count = 1 + (int) (byte_of(input) % METRICS);
	for (int i = 0; i < GROUPS; i++)
		drawn->group_weight[i] = 1 + byte_of(input) % 9 / 2.0;
	drawn->whole.start = byte_of(input);
	drawn->whole.low = -(double) (byte_of(input) % 50);
	drawn->whole.high = 1 + byte_of(input) % 120;
	drawn->whole.average_from = byte_of(input) % 60;
	drawn->whole.good_from = drawn->whole.average_from + byte_of(input) % 40;
	drawn->whole.good = byte_of(input) % 101;
	drawn->whole.average = byte_of(input) % 101;
	drawn->whole.poor = byte_of(input) % 101;
	drawn->whole.worst = INFINITY;
	for (int i = 0; i < drawn->count; i++)
	{
		Row *row = &drawn->row[i];
		unsigned flags = byte_of(input);

		row->is_known = flags & 1;
		row->value = (int) byte_of(input) - 100;
		row->score = byte_of(input) % 101;
		/* Sevenths and thirds meet bounds only when they are looked at as they are shown. */
		if (flags & 2)
			row->score = row->score / 7 * 7;
		row->missing = flags & 4 ? (flags & 8 ? 50 : 0) : -1;
		row->metric.group = drawn->kind == PRM_SCORE_WEIGHTED ? (int) (flags >> 6) % GROUPS : 0;
		row->metric.weight = drawn->kind == PRM_SCORE_ADDITIVE ? (int) byte_of(input) - 120 : 0.5 + byte_of(input) % 20;
		row->metric.per_unit = drawn->kind == PRM_SCORE_ADDITIVE && (flags & 16);
		if (row->metric.per_unit)
			row->missing = -1;
		row->metric.knock_out_below = flags & 32 ? -20 : -INFINITY;
		row->metric.knock_out_above = flags & 64 ? 120 : INFINITY;
		row->metric.knock_out_cap = byte_of(input) % 101;
		row->metric.policy = row->missing >= 0 ? drawn->policies++ : -1;
	}
}

/* The state before the first row, as health_model.c makes it. */
static PrmScore *
empty_state(const Case *drawn)
{
	int groups = drawn->kind == PRM_SCORE_WEIGHTED ? GROUPS : 0;
	PrmScore *state = calloc(1, prm_score_size(drawn->kind, groups, drawn->policies));

	state->kind = drawn->kind;
	state->groups = groups;
	state->policies = drawn->policies;
	state->cap = INFINITY;
	for (int i = 0; i < groups; i++)
		state->group[i].weight = drawn->group_weight[i];
	for (int i = 0; i < drawn->count; i++)
	{
		const Row *row = &drawn->row[i];

		if (row->metric.policy >= 0)
			prm_score_policies(state)[row->metric.policy] = (PrmScorePolicy){row->metric.group, 0, row->metric.weight, row->missing};
	}
	if (drawn->kind != PRM_SCORE_WEIGHTED)
		*prm_score_whole(state) = drawn->whole;
	return state;
}

/* By hand, from all metrics at once. */
static bool
naive_score(const Case *drawn, double *score)
{
	double cap = INFINITY;
	double points = 0;
	double worst = INFINITY;
	double sum = 0;
	double weight = 0;
	int poor = 0;
	int average = 0;
	bool any = false;

	for (int i = 0; i < drawn->count; i++)
	{
		const Row *row = &drawn->row[i];
		double counts = row->is_known ? row->score : row->missing;

		if (row->is_known)
		{
			any = true;
			if (row->value < row->metric.knock_out_below || row->value > row->metric.knock_out_above)
				cap = fmin(cap, row->metric.knock_out_cap);
		}
		if (row->metric.per_unit)
			points += row->is_known ? row->metric.weight * row->value : 0;
		else if (counts >= 0)
		{
			points += row->metric.weight * counts / 100;
			worst = fmin(worst, counts);
			/* Scores in a case are whole, or nearly so. */
			poor += round(counts) < drawn->whole.average_from;
			average += round(counts) >= drawn->whole.average_from && round(counts) < drawn->whole.good_from;
		}
	}
	for (int g = 0; g < GROUPS; g++)
	{
		double group_sum = 0;
		double group_known = 0;

		for (int i = 0; i < drawn->count; i++)
		{
			const Row *row = &drawn->row[i];
			double counts = row->is_known ? row->score : row->missing;

			if (row->metric.group == g && counts >= 0)
			{
				group_sum += row->metric.weight * counts;
				group_known += row->metric.weight;
			}
		}
		if (group_known > 0)
		{
			sum += drawn->group_weight[g] * group_sum / group_known;
			weight += drawn->group_weight[g];
		}
	}
	switch (drawn->kind)
	{
		case PRM_SCORE_WEIGHTED:
			*score = sum / weight;
			break;
		case PRM_SCORE_ADDITIVE:
			*score = fmax(drawn->whole.low, fmin(drawn->whole.high, drawn->whole.start + points));
			break;
		case PRM_SCORE_RULES:
			*score = poor > 0 ? drawn->whole.poor : average > 0 ? drawn->whole.average : drawn->whole.good;
			break;
		case PRM_SCORE_WORST:
			*score = worst;
			break;
	}
	*score = fmin(*score, cap);
	return any;
}

static bool
gives(PrmScore *state, bool expected, double naive)
{
	double score;
	bool known = prm_score_final(state, &score);

	return known == expected && (!known || fabs(score - naive) <= 1e-9 * (1 + fabs(naive)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input input = {data, size};
	Case drawn;
	PrmScore *forward;
	PrmScore *backward;
	PrmScore *half[2];
	double naive;
	bool expected;

	read_case(&drawn, &input);
	expected = naive_score(&drawn, &naive);
	forward = empty_state(&drawn);
	backward = empty_state(&drawn);
	half[0] = empty_state(&drawn);
	half[1] = empty_state(&drawn);
	for (int i = 0; i < drawn.count; i++)
	{
		const Row *row = &drawn.row[i];
		const Row *other = &drawn.row[drawn.count - 1 - i];

		if (row->is_known)
		{
			prm_score_add(forward, &row->metric, row->value, row->score);
			prm_score_add(half[i % 2], &row->metric, row->value, row->score);
		}
		if (other->is_known)
			prm_score_add(backward, &other->metric, other->value, other->score);
	}
	PROMISE(gives(forward, expected, naive));
	PROMISE(gives(forward, expected, naive));
	PROMISE(gives(backward, expected, naive));
	prm_score_combine(half[0], half[1]);
	PROMISE(gives(half[0], expected, naive));
	if (expected && drawn.kind == PRM_SCORE_ADDITIVE)
		PROMISE(naive <= drawn.whole.high);
	else if (expected)
		PROMISE(naive >= 0 && naive <= 100);
	free(forward);
	free(backward);
	free(half[0]);
	free(half[1]);
	return 0;
}

#ifdef PRM_FUZZ_STANDALONE
static size_t
fuzz_fill(uint8_t *data, size_t room)
{
	size_t size = (size_t) rand() % room;

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t) rand();
	return size;
}
#endif
