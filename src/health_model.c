/*
 * health_model.c: the aggregate score_metrics(metric, value, model): the score of one partner from the rows of its
 * metrics, in one pass and without a join. Owns the compiled form of a weighted health model and the aggregate's state.
 * Called by anybody who scores many partners at once; health() says the same for one and explains it.
 *
 * The model is the jsonb document of health_definition(). It is compiled when it is first seen and kept in fn_extra; the
 * key is its bytes. The state is a bytea of fixed size for a model, changed in place, so that it may travel between
 * workers; it carries what the final function needs of the model.
 */
#include "prm.h"

#include "health.h"

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"

#define STATE_MAGIC 0x68656131
#define GROUPS_MAX 256
#define METRICS_MAX 1024
#define POLICIES_MAX 64

typedef struct ModelGroup
{
	double sum;	   /* of weight * score */
	double known;  /* of weight */
	double weight; /* of the group itself */
} ModelGroup;

/* What a metric counts where no row tells its value; present in the state only for policies other than skip. */
typedef struct ModelPolicy
{
	int32 group;
	int32 filler;
	double weight;
	double score;
} ModelPolicy;

typedef struct ModelState
{
	int32 length; /* the header of a bytea */
	int32 magic;
	int32 groups;
	int32 policies;
	uint64 seen; /* bit i: the metric of policy i has a value */
	double cap;
	ModelGroup group[FLEXIBLE_ARRAY_MEMBER]; /* followed by the policies */
} ModelState;

typedef struct ModelMetric
{
	const char *name;
	int length;
	int group;
	int policy; /* -1: skip */
	double weight;
	double knock_out_below; /* infinities where there is none */
	double knock_out_above;
	double knock_out_cap;
	PrmNormalizer normalizer;
} ModelMetric;

typedef struct Model
{
	Size size;
	char *bytes;
	MemoryContext memory;
	ModelState *empty; /* the state before the first row */
	int count;
	int mask;
	int16 *slot; /* open addressing: index of a metric, or -1 */
	ModelMetric *metric;
} Model;

#define STATE_SIZE(groups, policies)                                                                         \
	(offsetof(ModelState, group) + sizeof(ModelGroup) * (Size) (groups) + sizeof(ModelPolicy) * (Size) (policies))

static ModelPolicy *
policies_of(ModelState *state)
{
	return (ModelPolicy *) &state->group[state->groups];
}

static ModelState *
state_argument(FunctionCallInfo fcinfo, int number)
{
	bytea *value = PG_GETARG_BYTEA_P(number);
	ModelState *state = (ModelState *) value;

	if (VARSIZE(value) < offsetof(ModelState, group) || state->magic != STATE_MAGIC || state->groups < 0 || state->groups > GROUPS_MAX ||
		state->policies < 0 || state->policies > POLICIES_MAX || VARSIZE(value) != STATE_SIZE(state->groups, state->policies))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the state of score_metrics is not its own"),
						errdetail("It is expected to be what the aggregate itself has written."),
						errhint("Call the aggregate prm.score_metrics(metric, value, model), not its parts.")));
	return state;
}

#define MODEL_FAULT(...)                                                                                      \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no health model that score_metrics can use"), \
					errdetail(__VA_ARGS__), errhint("Give the document of prm.health_definition('model') for a model of kind weighted.")))

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

/* The number of the group (of that name and aspect), made where it is new. */
static int
group_index(ModelGroup *group, char **names, int *count, JsonbContainer *object, double weight)
{
	JsonbValue name;
	JsonbValue aspect;
	char *key;

	if (!has_text(object, "group_name", &name))
		MODEL_FAULT("A metric has no \"group_name\".");
	if (!has_text(object, "aspect", &aspect))
		aspect.val.string.len = 0;
	key = psprintf("%.*s\x01%.*s", aspect.val.string.len, aspect.val.string.len > 0 ? aspect.val.string.val : "", name.val.string.len,
				   name.val.string.val);
	for (int i = 0; i < *count; i++)
	{
		if (strcmp(names[i], key) == 0)
		{
			group[i].weight = Max(group[i].weight, weight);
			return i;
		}
	}
	if (*count == GROUPS_MAX)
		MODEL_FAULT("It has more than %d groups.", GROUPS_MAX);
	names[*count] = key;
	group[*count].weight = weight;
	return (*count)++;
}

static void
compile_metric(ModelMetric *metric, JsonbContainer *object, ModelPolicy *policy, int *policies)
{
	JsonbValue value;
	JsonbValue how;
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
	if (!has_text(object, "how", &how))
		MODEL_FAULT("Metric \"%s\" has no \"how\".", metric->name);
	prm_read_normalizer(&metric->normalizer, how.val.string.val, how.val.string.len, number_at(object, "low"), number_at(object, "high"),
						prm_json_find(object, "options", &value) && value.type == jbvBinary ? value.val.binary.data : NULL);
	if (metric->normalizer.how == PRM_NORMALIZE_PERCENTILE)
		MODEL_FAULT("Metric \"%s\" is a percentile, which needs the values of the others.", metric->name);
	metric->weight = weight_at(object, "weight");
	metric->knock_out_below = below == NULL ? -get_float8_infinity() : prm_finite_double(below, "a knock-out");
	metric->knock_out_above = above == NULL ? get_float8_infinity() : prm_finite_double(above, "a knock-out");
	metric->knock_out_cap = cap == NULL ? get_float8_infinity() : prm_finite_double(cap, "a knock-out");
	metric->policy = -1;
	if (has_text(object, "missing", &value) && value.val.string.len > 0 && value.val.string.val[0] != 's')
	{
		if (*policies == POLICIES_MAX)
			MODEL_FAULT("More than %d of its metrics count where they are missing.", POLICIES_MAX);
		metric->policy = *policies;
		policy[*policies].group = metric->group;
		policy[*policies].weight = metric->weight;
		policy[*policies].score = value.val.string.val[0] == 'n' ? 50 : 0;
		(*policies)++;
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
	ModelGroup group[GROUPS_MAX];
	char *names[GROUPS_MAX];
	ModelPolicy policy[POLICIES_MAX];
	int groups = 0;
	int policies = 0;
	JsonbContainer *array;
	JsonbValue value;

	memset(group, 0, sizeof(group));
	memset(policy, 0, sizeof(policy));
	if (has_text(&document->root, "kind", &value) && !(value.val.string.len == 8 && memcmp(value.val.string.val, "weighted", 8) == 0))
		MODEL_FAULT("Its kind is %.*s.", value.val.string.len, value.val.string.val);
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
		metric->group = group_index(group, names, &groups, element->val.binary.data, weight_at(element->val.binary.data, "group_weight"));
		compile_metric(metric, element->val.binary.data, policy, &policies);
		if (metric_index(model, metric->name, metric->length) >= 0)
			MODEL_FAULT("Metric \"%s\" stands in it twice.", metric->name);
		place = (int) (name_hash(metric->name, metric->length) & (uint32) model->mask);
		while (model->slot[place] >= 0)
			place = (place + 1) & model->mask;
		model->slot[place] = (int16) i;
	}
	model->empty = palloc0(STATE_SIZE(groups, policies));
	SET_VARSIZE(model->empty, STATE_SIZE(groups, policies));
	model->empty->magic = STATE_MAGIC;
	model->empty->groups = groups;
	model->empty->policies = policies;
	model->empty->cap = get_float8_infinity();
	memcpy(model->empty->group, group, sizeof(ModelGroup) * (Size) groups);
	memcpy(policies_of(model->empty), policy, sizeof(ModelPolicy) * (Size) policies);
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
	ModelState *state;
	text *name;
	double value;
	double score;
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
			state = (ModelState *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
		if (state->groups != model->empty->groups || state->policies != model->empty->policies)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("score_metrics was given two models for one score"),
							errdetail("Their groups differ."), errhint("GROUP BY what the model depends on.")));
	}
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BYTEA_P(state);
	name = PG_GETARG_TEXT_PP(1);
	index = metric_index(model, VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name));
	if (index < 0)
		PG_RETURN_BYTEA_P(state);
	metric = &model->metric[index];
	value = prm_finite_double(PG_GETARG_NUMERIC(2), "the value");
	if (!prm_normalize(&metric->normalizer, value, &score))
		PG_RETURN_BYTEA_P(state);
	state->group[metric->group].sum += metric->weight * score;
	state->group[metric->group].known += metric->weight;
	if (unlikely(value < metric->knock_out_below || value > metric->knock_out_above))
		state->cap = Min(state->cap, metric->knock_out_cap);
	if (metric->policy >= 0)
		state->seen |= UINT64CONST(1) << metric->policy;
	PG_RETURN_BYTEA_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_score_metrics_combine);

Datum
prm_score_metrics_combine(PG_FUNCTION_ARGS)
{
	ModelState *state;
	ModelState *more;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
			PG_RETURN_NULL();
		PG_RETURN_BYTEA_P(state_argument(fcinfo, PG_ARGISNULL(0) ? 1 : 0));
	}
	state = state_argument(fcinfo, 0);
	more = state_argument(fcinfo, 1);
	if (!AggCheckCallContext(fcinfo, NULL))
		state = (ModelState *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
	if (state->groups != more->groups || state->policies != more->policies)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("score_metrics was given two models for one score"),
						errdetail("Their groups differ."), errhint("GROUP BY what the model depends on.")));
	for (int i = 0; i < state->groups; i++)
	{
		state->group[i].sum += more->group[i].sum;
		state->group[i].known += more->group[i].known;
	}
	state->seen |= more->seen;
	state->cap = Min(state->cap, more->cap);
	PG_RETURN_BYTEA_P(state);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(prm_score_metrics_final);

/* NULL where nothing was known, whatever the policies for single missing values say. */
Datum
prm_score_metrics_final(PG_FUNCTION_ARGS)
{
	ModelState *state;
	double sum = 0;
	double weight = 0;
	bool known = false;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = state_argument(fcinfo, 0);
	for (int i = 0; i < state->groups; i++)
		known |= state->group[i].known > 0;
	if (!known)
		PG_RETURN_NULL();
	for (int i = 0; i < state->groups; i++)
	{
		double group_sum = state->group[i].sum;
		double group_known = state->group[i].known;

		for (int j = 0; j < state->policies; j++)
		{
			const ModelPolicy *policy = &policies_of(state)[j];

			if (policy->group == i && !(state->seen & (UINT64CONST(1) << j)))
			{
				group_sum += policy->weight * policy->score;
				group_known += policy->weight;
			}
		}
		if (group_known > 0)
		{
			sum += state->group[i].weight * (group_sum / group_known);
			weight += state->group[i].weight;
		}
	}
	if (!(weight > 0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(prm_double_numeric(Min(sum / weight, state->cap)));
}
