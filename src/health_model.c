/*
 * health_model.c: the aggregate score_metrics(metric, value, model): the score of one partner from the rows of its
 * metrics, in one pass and without a join. Owns the compiled form of a health model; the arithmetic stands in score.c.
 * Called by anybody who scores many partners at once; health() says the same for one and explains it.
 *
 * The model is the jsonb document of health_definition(). It is compiled when it is first seen and kept in fn_extra; the
 * key is its bytes. The state is a bytea of fixed size for a model, changed in place, so that it may travel between
 * workers; it carries what the final function needs of the model.
 */
#include "prm.h"

#include "health.h"
#include "score.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"

#define STATE_MAGIC 0x68656132
#define GROUPS_MAX 256
#define METRICS_MAX 1024

typedef struct ModelMetric
{
	const char *name;
	int length;
	PrmScoreMetric part;
	PrmNormalizer normalizer;
} ModelMetric;

typedef struct Model
{
	Size size;
	char *bytes;
	MemoryContext memory;
	PrmScore *empty; /* the state before the first row */
	int count;
	int mask;
	int16 *slot; /* open addressing: index of a metric, or -1 */
	ModelMetric *metric;
} Model;

/* What of a model is read before its size is known. */
typedef struct Reading
{
	PrmScoreKind kind;
	int groups;
	int policies;
	PrmScoreGroup group[GROUPS_MAX];
	char *name[GROUPS_MAX];
	PrmScorePolicy policy[PRM_SCORE_POLICIES_MAX];
	PrmScoreWhole whole;
} Reading;

static PrmScore *
state_argument(FunctionCallInfo fcinfo, int number)
{
	bytea *value = PG_GETARG_BYTEA_P(number);
	PrmScore *state = (PrmScore *) value;

	if (VARSIZE(value) < offsetof(PrmScore, group) || state->magic != STATE_MAGIC || state->kind < PRM_SCORE_WEIGHTED ||
		state->kind > PRM_SCORE_WORST || state->groups < 0 || state->groups > GROUPS_MAX || state->policies < 0 ||
		state->policies > PRM_SCORE_POLICIES_MAX || VARSIZE(value) != prm_score_size(state->kind, state->groups, state->policies))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the state of score_metrics is not its own"),
						errdetail("It is expected to be what the aggregate itself has written."),
						errhint("Call the aggregate prm.score_metrics(metric, value, model), not its parts.")));
	return state;
}

static void
require_same_model(const PrmScore *state, const PrmScore *other)
{
	if (state->kind != other->kind || state->groups != other->groups || state->policies != other->policies)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("score_metrics was given two models for one score"),
						errdetail("Their kinds or groups differ."), errhint("GROUP BY what the model depends on.")));
}

#define MODEL_FAULT(...)                                                                                      \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no health model that score_metrics can use"), \
					errdetail(__VA_ARGS__), errhint("Give the document of prm.health_definition('model').")))

static bool
has_text(JsonbContainer *object, const char *key, JsonbValue *value)
{
	return prm_json_find(object, key, value) && value->type == jbvString;
}

/* NULL where the key is absent or null. */
static Numeric
number_at(JsonbContainer *object, const char *key)
{
	JsonbValue value;

	if (!prm_json_find(object, key, &value) || value.type == jbvNull)
		return NULL;
	if (value.type != jbvNumeric)
		MODEL_FAULT("\"%s\" of a metric is no number.", key);
	return value.val.numeric;
}

static double
weight_at(JsonbContainer *object, const char *key)
{
	Numeric number = number_at(object, key);
	double weight = number == NULL ? 1 : prm_finite_double(number, "a weight");

	if (!(weight > 0))
		MODEL_FAULT("\"%s\" of a metric is %.15g; it must be more than 0.", key, weight);
	return weight;
}

static uint32
name_hash(const char *name, int length)
{
	uint32 hash = (uint32) length;

	for (int i = 0; i < length; i++)
		hash = hash * 31 + (unsigned char) name[i];
	return hash ^ (hash >> 15);
}

static int
metric_index(const Model *model, const char *name, int length)
{
	int place = (int) (name_hash(name, length) & (uint32) model->mask);

	while (model->slot[place] >= 0)
	{
		const ModelMetric *metric = &model->metric[model->slot[place]];

		if (metric->length == length && memcmp(metric->name, name, (size_t) length) == 0)
			return model->slot[place];
		place = (place + 1) & model->mask;
	}
	return -1;
}

/* The number of the group (of that name and aspect), made where it is new. Only weighted models have use for it. */
static int
group_index(Reading *reading, JsonbContainer *object)
{
	double weight = weight_at(object, "group_weight");
	JsonbValue name;
	JsonbValue aspect;
	char *key;

	if (!has_text(object, "group_name", &name))
		MODEL_FAULT("A metric has no \"group_name\".");
	if (reading->kind != PRM_SCORE_WEIGHTED)
		return 0;
	if (!has_text(object, "aspect", &aspect))
		aspect.val.string.len = 0;
	key = psprintf("%.*s\x01%.*s", aspect.val.string.len, aspect.val.string.len > 0 ? aspect.val.string.val : "", name.val.string.len,
				   name.val.string.val);
	for (int i = 0; i < reading->groups; i++)
	{
		if (strcmp(reading->name[i], key) == 0)
		{
			reading->group[i].weight = Max(reading->group[i].weight, weight);
			return i;
		}
	}
	if (reading->groups == GROUPS_MAX)
		MODEL_FAULT("It has more than %d groups.", GROUPS_MAX);
	reading->name[reading->groups] = key;
	reading->group[reading->groups].weight = weight;
	return reading->groups++;
}

/* How its value becomes a score, or that there is none to become: points for each unit. */
static void
compile_normalizer(ModelMetric *metric, JsonbContainer *object, PrmScoreKind kind)
{
	JsonbValue how;
	JsonbValue options;

	if (!has_text(object, "how", &how))
		MODEL_FAULT("Metric \"%s\" has no \"how\".", metric->name);
	if (how.val.string.len == 8 && memcmp(how.val.string.val, "per_unit", 8) == 0)
	{
		if (kind != PRM_SCORE_ADDITIVE)
			MODEL_FAULT("Metric \"%s\" counts per unit, which only additive models do.", metric->name);
		metric->part.per_unit = true;
		return;
	}
	prm_read_normalizer(&metric->normalizer, how.val.string.val, how.val.string.len, number_at(object, "low"), number_at(object, "high"),
						prm_json_find(object, "options", &options) && options.type == jbvBinary ? options.val.binary.data : NULL);
	if (metric->normalizer.how == PRM_NORMALIZE_PERCENTILE)
		MODEL_FAULT("Metric \"%s\" is a percentile, which needs the values of the others.", metric->name);
}

static void
compile_metric(ModelMetric *metric, JsonbContainer *object, Reading *reading)
{
	JsonbValue value;
	Numeric below = number_at(object, "knock_out_below");
	Numeric above = number_at(object, "knock_out_above");
	Numeric cap = number_at(object, "knock_out_cap");

	if (!has_text(object, "metric", &value))
		MODEL_FAULT("A metric has no name.");
	metric->name = pnstrdup(value.val.string.val, (Size) value.val.string.len);
	metric->length = value.val.string.len;
	for (int i = 0; i < 3; i++)
	{
		static const char *const elsewhere[] = {"half_life", "max_age", "customers"};

		if (prm_json_find(object, elsewhere[i], &value) && value.type != jbvNull)
			MODEL_FAULT("Metric \"%s\" has %s, which needs more than its value.", metric->name, elsewhere[i]);
	}
	compile_normalizer(metric, object, reading->kind);
	metric->part.group = group_index(reading, object);
	metric->part.weight = weight_at(object, "weight");
	if (reading->kind == PRM_SCORE_ADDITIVE)
	{
		Numeric points = number_at(object, "points");

		metric->part.weight = points == NULL ? 0 : prm_finite_double(points, "the points of a metric");
	}
	metric->part.knock_out_below = below == NULL ? -get_float8_infinity() : prm_finite_double(below, "a knock-out");
	metric->part.knock_out_above = above == NULL ? get_float8_infinity() : prm_finite_double(above, "a knock-out");
	metric->part.knock_out_cap = cap == NULL ? get_float8_infinity() : prm_finite_double(cap, "a knock-out");
	metric->part.policy = -1;
	if (!metric->part.per_unit && has_text(object, "missing", &value) && value.val.string.len > 0 && value.val.string.val[0] != 's')
	{
		PrmScorePolicy *policy = &reading->policy[reading->policies];

		if (reading->policies == PRM_SCORE_POLICIES_MAX)
			MODEL_FAULT("More than %d of its metrics count where they are missing.", PRM_SCORE_POLICIES_MAX);
		metric->part.policy = reading->policies++;
		policy->group = metric->part.group;
		policy->weight = metric->part.weight;
		policy->score = value.val.string.val[0] == 'n' ? 50 : 0;
	}
}

static double
option_at(JsonbContainer *object, const char *key, double otherwise)
{
	Numeric number = object == NULL ? NULL : number_at(object, key);

	return number == NULL ? otherwise : prm_finite_double(number, "an option of a health model");
}

static JsonbContainer *
object_at(JsonbContainer *object, const char *key)
{
	JsonbValue value;

	if (object == NULL || !prm_json_find(object, key, &value) || value.type == jbvNull)
		return NULL;
	if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		MODEL_FAULT("\"%s\" is no object.", key);
	return value.val.binary.data;
}

/* The kind and its options, with the defaults of _health_scores() and the refusals of _check_health_options(). */
static void
compile_kind(JsonbContainer *root, Reading *reading)
{
	PrmScoreWhole *whole = &reading->whole;
	JsonbContainer *options;
	JsonbContainer *scores;
	JsonbValue value;

	reading->kind = PRM_SCORE_WEIGHTED;
	whole->worst = get_float8_infinity();
	if (!has_text(root, "kind", &value) || (value.val.string.len == 8 && memcmp(value.val.string.val, "weighted", 8) == 0))
		return;
	options = object_at(root, "options");
	if (value.val.string.len == 8 && memcmp(value.val.string.val, "additive", 8) == 0)
		reading->kind = PRM_SCORE_ADDITIVE;
	else if (value.val.string.len == 5 && memcmp(value.val.string.val, "rules", 5) == 0)
		reading->kind = PRM_SCORE_RULES;
	else
		MODEL_FAULT("Its kind is %.*s.", value.val.string.len, value.val.string.val);
	whole->start = option_at(options, "start", 100);
	whole->low = option_at(options, "low", 0);
	whole->high = option_at(options, "high", 100);
	if (!(whole->low < whole->high))
		MODEL_FAULT("\"low\" is %.15g and \"high\" is %.15g.", whole->low, whole->high);
	whole->good_from = option_at(options, "good_from", 75);
	whole->average_from = option_at(options, "average_from", 50);
	if (whole->average_from > whole->good_from)
		MODEL_FAULT("\"average_from\" is %.15g and \"good_from\" is %.15g.", whole->average_from, whole->good_from);
	scores = object_at(options, "scores");
	whole->good = option_at(scores, "good", 100);
	whole->average = option_at(scores, "average", 60);
	whole->poor = option_at(scores, "poor", 40);
	if (reading->kind == PRM_SCORE_RULES && options != NULL && prm_json_find(options, "rule", &value))
	{
		if (value.type == jbvString && value.val.string.len == 5 && memcmp(value.val.string.val, "worst", 5) == 0)
			reading->kind = PRM_SCORE_WORST;
		else if (value.type != jbvString || value.val.string.len != 8 || memcmp(value.val.string.val, "all_good", 8) != 0)
			MODEL_FAULT("Its rule is neither all_good nor worst.");
	}
}

/* In a memory context of its own, so that a model that follows another takes its place without a leak. */
static Model *
compile_model(FunctionCallInfo fcinfo, struct varlena *raw)
{
	MemoryContext memory = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "prm health model", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(memory);
	Model *model = palloc0(sizeof(Model));
	Jsonb *document = (Jsonb *) PG_DETOAST_DATUM(PointerGetDatum(raw));
	Reading *reading = palloc0(sizeof(Reading));
	Size size;
	JsonbContainer *array;
	JsonbValue value;

	compile_kind(&document->root, reading);
	if (!prm_json_find(&document->root, "metrics", &value) || value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		MODEL_FAULT("It has no array \"metrics\".");
	array = value.val.binary.data;
	model->count = (int) JsonContainerSize(array);
	if (model->count > METRICS_MAX)
		MODEL_FAULT("It has more than %d metrics.", METRICS_MAX);
	model->mask = 15;
	while (model->mask + 1 < model->count * 4)
		model->mask = model->mask * 2 + 1;
	model->slot = palloc(sizeof(int16) * ((Size) model->mask + 1));
	memset(model->slot, -1, sizeof(int16) * ((Size) model->mask + 1));
	model->metric = palloc0(sizeof(ModelMetric) * (Size) Max(model->count, 1));
	for (int i = 0; i < model->count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, (uint32) i);
		ModelMetric *metric = &model->metric[i];
		int place;

		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			MODEL_FAULT("Metric %d is no object.", i + 1);
		compile_metric(metric, element->val.binary.data, reading);
		if (metric_index(model, metric->name, metric->length) >= 0)
			MODEL_FAULT("Metric \"%s\" stands in it twice.", metric->name);
		place = (int) (name_hash(metric->name, metric->length) & (uint32) model->mask);
		while (model->slot[place] >= 0)
			place = (place + 1) & model->mask;
		model->slot[place] = (int16) i;
	}
	size = prm_score_size(reading->kind, reading->groups, reading->policies);
	model->empty = palloc0(size);
	SET_VARSIZE(model->empty, size);
	model->empty->magic = STATE_MAGIC;
	model->empty->kind = reading->kind;
	model->empty->groups = reading->groups;
	model->empty->policies = reading->policies;
	model->empty->cap = get_float8_infinity();
	memcpy(model->empty->group, reading->group, sizeof(PrmScoreGroup) * (Size) reading->groups);
	memcpy(prm_score_policies(model->empty), reading->policy, sizeof(PrmScorePolicy) * (Size) reading->policies);
	if (reading->kind != PRM_SCORE_WEIGHTED)
		*prm_score_whole(model->empty) = reading->whole;
	pfree(reading);
	model->memory = memory;
	model->size = VARSIZE_ANY(raw);
	model->bytes = palloc(model->size);
	memcpy(model->bytes, raw, model->size);
	MemoryContextSwitchTo(before);
	return model;
}

static const Model *
kept_model(FunctionCallInfo fcinfo, struct varlena *raw)
{
	Model *model = fcinfo->flinfo->fn_extra;

	if (unlikely(model == NULL || model->size != VARSIZE_ANY(raw) || memcmp(model->bytes, raw, model->size) != 0))
	{
		Model *fresh = compile_model(fcinfo, raw);

		fcinfo->flinfo->fn_extra = fresh;
		if (model != NULL)
			MemoryContextDelete(model->memory);
		model = fresh;
	}
	return model;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_score_metrics_add);

/* (state bytea, metric text, value numeric, model jsonb) */
Datum
prm_score_metrics_add(PG_FUNCTION_ARGS)
{
	const Model *model;
	const ModelMetric *metric;
	PrmScore *state;
	text *name;
	double value;
	double score = 0;
	int index;

	if (PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("score_metrics needs a model"), errdetail("The model is NULL."),
						errhint("Give the document of prm.health_definition('model').")));
	model = kept_model(fcinfo, PG_GETARG_RAW_VARLENA_P(3));
	if (PG_ARGISNULL(0))
	{
		state = palloc(VARSIZE(model->empty));
		memcpy(state, model->empty, VARSIZE(model->empty));
	}
	else
	{
		state = state_argument(fcinfo, 0);
		/* Inside an aggregate the state is changed in place; a caller of the bare function keeps his. */
		if (!AggCheckCallContext(fcinfo, NULL))
			state = (PrmScore *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
		require_same_model(state, model->empty);
	}
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BYTEA_P(state);
	name = PG_GETARG_TEXT_PP(1);
	index = metric_index(model, VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name));
	if (index < 0)
		PG_RETURN_BYTEA_P(state);
	metric = &model->metric[index];
	value = prm_finite_double(PG_GETARG_NUMERIC(2), "the value");
	if (metric->part.per_unit || prm_normalize(&metric->normalizer, value, &score))
		prm_score_add(state, &metric->part, value, score);
	PG_RETURN_BYTEA_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_score_metrics_combine);

Datum
prm_score_metrics_combine(PG_FUNCTION_ARGS)
{
	PrmScore *state;
	PrmScore *more;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_BYTEA_P(state_argument(fcinfo, PG_ARGISNULL(0) ? 1 : 0));
	}
	state = state_argument(fcinfo, 0);
	more = state_argument(fcinfo, 1);
	if (!AggCheckCallContext(fcinfo, NULL))
		state = (PrmScore *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
	require_same_model(state, more);
	prm_score_combine(state, more);
	PG_RETURN_BYTEA_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_score_metrics_final);

/* NULL where nothing was known, whatever the policies for single missing values say. */
Datum
prm_score_metrics_final(PG_FUNCTION_ARGS)
{
	double score;

	if (PG_ARGISNULL(0) || !prm_score_final(state_argument(fcinfo, 0), &score))
		PG_RETURN_NULL();
	if (!isfinite(score))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the score is out of range"),
						errdetail("The weights or points of its model are so great that they leave the range of numbers."),
						errhint("Weigh metrics by numbers such as 1 to 100.")));
	PG_RETURN_DATUM(prm_double_numeric(score));
}
