/*
 * health_read.c: reads how a metric becomes a score. Owns the options of normalize_metric() and of the column
 * health_metric.options, and refuses with a message what normalize.c could not reckon with. Called by health.c and
 * health_model.c, once for each definition, never once per row.
 */
#include "prm.h"

#include "health.h"

#include <math.h>

#define FAULT(message, ...)                                                                                   \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg(message), errdetail(__VA_ARGS__),         \
					errhint("%s", hint_of(how))))

static const char *
hint_of(PrmNormalization how)
{
	switch (how)
	{
		case PRM_NORMALIZE_STEP:
			return "Give {\"steps\": [{\"from\": 0, \"score\": 20}, {\"from\": 10, \"score\": 80}]}, with \"ties\": \"low\" if wanted, "
				   "or {\"ranges\": [{\"range\": \"(0,50]\", \"score\": 40}]}.";
		case PRM_NORMALIZE_TARGET:
			return "Give {\"target\": 10, \"tolerance\": 2}, and in low and high where the score is 0.";
		case PRM_NORMALIZE_PERCENTILE:
			return "Give {\"within\": \"kind\"} in a health model (program, kind, region, country, tier or segment), or {\"population\": [1, 2, 3]}.";
		case PRM_NORMALIZE_CHOICE:
			return "Give {\"choices\": {\"good\": 100, \"poor\": 20}}, with \"other\": 50 if wanted.";
		default:
			return "Leave options out.";
	}
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString && value->val.string.len == (int) strlen(text) &&
		   memcmp(value->val.string.val, text, strlen(text)) == 0;
}

bool
prm_json_find(JsonbContainer *object, const char *key, JsonbValue *value)
{
	JsonbValue name;
	JsonbValue *found;

	if (object == NULL || !JsonContainerIsObject(object))
		return false;
	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	found = findJsonbValueFromContainer(object, JB_FOBJECT, &name);
	if (found == NULL)
		return false;
	*value = *found;
	return true;
}

static double
json_number(PrmNormalization how, const JsonbValue *value, const char *key)
{
	if (value->type != jbvNumeric)
		FAULT("an option of a metric is no number", "\"%s\" must be a number.", key);
	return prm_finite_double(value->val.numeric, "an option of a metric");
}

static double
json_score(PrmNormalization how, const JsonbValue *value)
{
	double score = json_number(how, value, "score");

	if (!(score >= 0 && score <= 100))
		FAULT("a score lies outside 0 to 100", "The score given is %.15g.", score);
	return score;
}

/* The array at a key, opened; sets count. */
static JsonbContainer *
json_array(PrmNormalization how, const JsonbValue *value, const char *key, int *count)
{
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) || JsonContainerIsScalar(value->val.binary.data))
		FAULT("an option of a metric has the wrong form", "\"%s\" must be an array.", key);
	*count = (int) JsonContainerSize(value->val.binary.data);
	if (*count == 0)
		FAULT("an option of a metric is empty", "\"%s\" names nothing.", key);
	return value->val.binary.data;
}

/* Only these keys may stand in an object; names ends with NULL. */
static void
check_keys(PrmNormalization how, JsonbContainer *object, const char *const *names)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key;

	if (object == NULL || JsonContainerSize(object) == 0)
		return;
	if (!JsonContainerIsObject(object))
		FAULT("the options of a metric have the wrong form", "They must be an object.");
	iterator = JsonbIteratorInit(object);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		const char *const *name = names;

		while (*name != NULL && !is_text(&key, *name))
			name++;
		if (*name == NULL)
			FAULT("normalize_metric has no such option", "The option is \"%.*s\".", key.val.string.len, key.val.string.val);
		(void) JsonbIteratorNext(&iterator, &key, true);
	}
}

static void
read_steps(PrmNormalizer *normalizer, const JsonbValue *value, bool as_ranges, bool ties_low)
{
	static const char *const step_keys[] = {"from", "score", NULL};
	static const char *const range_keys[] = {"range", "score", NULL};
	PrmNormalization how = PRM_NORMALIZE_STEP;
	const char *bound = as_ranges ? "range" : "from";
	int count;
	JsonbContainer *array = json_array(how, value, as_ranges ? "ranges" : "steps", &count);
	int fault;

	normalizer->range = palloc0(sizeof(PrmRange) * ((size_t) count + 1));
	for (int i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, (uint32) i);
		PrmRange *range = &normalizer->range[i];
		JsonbContainer *object;
		JsonbValue found;

		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			FAULT("an option of a metric has the wrong form", "Step %d is no object.", i + 1);
		object = element->val.binary.data;
		check_keys(how, object, as_ranges ? range_keys : step_keys);
		if (!prm_json_find(object, bound, &found))
			FAULT("an option of a metric has the wrong form", "Step %d has no \"%s\".", i + 1, bound);
		if (!as_ranges)
			range->low = json_number(how, &found, "from");
		else if (found.type != jbvString || !prm_range_from_text(found.val.string.val, (size_t) found.val.string.len, range))
			FAULT("a range of a metric cannot be read", "It is the range of step %d: it is expected to look like (0,50] or [10,), and to hold something.", i + 1);
		if (!prm_json_find(object, "score", &found))
			FAULT("an option of a metric has the wrong form", "Step %d has no \"score\".", i + 1);
		range->score = json_score(how, &found);
	}
	fault = as_ranges ? prm_ranges_sort(normalizer->range, count) : prm_steps_to_ranges(normalizer->range, count, ties_low);
	if (fault > 0 && as_ranges)
		FAULT("two ranges of a metric overlap", "They meet at %.15g.", normalizer->range[fault].low);
	if (fault > 0)
		FAULT("two steps of a metric begin at the same value", "It is %.15g.", normalizer->range[fault].low);
	normalizer->count = as_ranges ? count : count + 1;
}

static void
read_choices(PrmNormalizer *normalizer, const JsonbValue *value)
{
	PrmNormalization how = PRM_NORMALIZE_CHOICE;
	JsonbIterator *iterator;
	JsonbValue key;
	JsonbValue score;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) || JsonContainerSize(value->val.binary.data) == 0)
		FAULT("an option of a metric has the wrong form", "\"choices\" must be an object that gives each choice its score.");
	normalizer->range = palloc0(sizeof(PrmRange) * (size_t) JsonContainerSize(value->val.binary.data));
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		PrmRange *range = &normalizer->range[normalizer->count];

		(void) JsonbIteratorNext(&iterator, &score, true);
		range->score = json_score(how, &score);
		/* Choices in words are matched where the words are: see the SQL of the health engine. */
		if (!prm_number_from_text(key.val.string.val, (size_t) key.val.string.len, &range->low))
			continue;
		range->high = range->low;
		range->low_inside = range->high_inside = true;
		normalizer->count++;
	}
	if (prm_ranges_sort(normalizer->range, normalizer->count) > 0)
		FAULT("two choices of a metric are the same number", "Each number may stand once in \"choices\".");
}

static void
read_target(PrmNormalizer *normalizer, JsonbContainer *options)
{
	PrmNormalization how = PRM_NORMALIZE_TARGET;
	JsonbValue value;
	double target;
	double tolerance = 0;

	if (!prm_json_find(options, "target", &value))
		FAULT("a metric with a target needs one", "The option \"target\" is missing.");
	target = json_number(how, &value, "target");
	if (prm_json_find(options, "tolerance", &value))
		tolerance = json_number(how, &value, "tolerance");
	if (tolerance < 0)
		FAULT("the tolerance of a metric is negative", "It is %.15g.", tolerance);
	if (!isfinite((fabs(target) + tolerance) * 1000))
		FAULT("an option of a metric is out of range", "The target is %.15g and the tolerance %.15g.", target, tolerance);
	normalizer->target_low = target - tolerance;
	normalizer->target_high = target + tolerance;
	if (isinf(normalizer->low) && isinf(normalizer->high))
		FAULT("a metric with a target needs a bound", "Both low and high are missing, so that everything would score 100.");
	if (!(normalizer->low < normalizer->target_low && normalizer->target_high < normalizer->high))
		FAULT("the bounds of a metric are not in order", "The score is 0 at %.15g and %.15g, and 100 from %.15g to %.15g.", normalizer->low,
			  normalizer->high, normalizer->target_low, normalizer->target_high);
}

static void
read_percentile(PrmNormalizer *normalizer, JsonbContainer *options)
{
	static const char *const parts[] = {"program", "kind", "region", "country", "tier", "segment", NULL};
	PrmNormalization how = PRM_NORMALIZE_PERCENTILE;
	JsonbContainer *array;
	JsonbValue value;
	int count;

	if (prm_json_find(options, "within", &value))
	{
		const char *const *part = parts;

		while (*part != NULL && !is_text(&value, *part))
			part++;
		if (*part == NULL)
			FAULT("a percentile cannot be taken within that", "\"within\" is program, kind, region, country, tier or segment.");
	}
	if (!prm_json_find(options, "population", &value))
		return;
	array = json_array(how, &value, "population", &count);
	normalizer->population = palloc(sizeof(double) * (size_t) count);
	for (int i = 0; i < count; i++)
		normalizer->population[i] = json_number(how, getIthJsonbValueFromContainer(array, (uint32) i), "population");
	normalizer->count = count;
	prm_population_sort(normalizer->population, count);
}

void
prm_read_normalizer(PrmNormalizer *normalizer, const char *name, int length, Numeric low, Numeric high, JsonbContainer *options)
{
	static const char *const allowed[][4] = {
		[PRM_NORMALIZE_LINEAR] = {NULL},
		[PRM_NORMALIZE_INVERSE] = {NULL},
		[PRM_NORMALIZE_AS_IS] = {NULL},
		[PRM_NORMALIZE_STEP] = {"steps", "ranges", "ties", NULL},
		[PRM_NORMALIZE_TARGET] = {"target", "tolerance", NULL},
		[PRM_NORMALIZE_PERCENTILE] = {"within", "population", NULL},
		[PRM_NORMALIZE_CHOICE] = {"choices", "other", NULL}};
	PrmNormalization how;
	JsonbValue value;
	JsonbValue ties;
	bool has_steps;
	bool has_ties;

	memset(normalizer, 0, sizeof(*normalizer));
	if (!prm_normalization_from_name(name, (size_t) length, &how))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no way \"%.*s\" to normalise a metric", length, name),
						errdetail("The ways are linear (low is 0, high is 100), inverse (low is 100, high is 0), as_is, step, target, "
								  "percentile and choice."),
						errhint("Use one of them.")));
	normalizer->how = how;
	check_keys(how, options, allowed[how]);
	if (how == PRM_NORMALIZE_LINEAR || how == PRM_NORMALIZE_INVERSE || how == PRM_NORMALIZE_TARGET)
	{
		if (how != PRM_NORMALIZE_TARGET && (low == NULL || high == NULL))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a metric needs two bounds to be normalised"),
							errdetail("With %.*s both low and high must be given.", length, name),
							errhint("Give low and high, or as_is for a metric that is a score already.")));
		normalizer->low = low == NULL ? -INFINITY : prm_finite_double(low, "the low bound");
		normalizer->high = high == NULL ? INFINITY : prm_finite_double(high, "the high bound");
		if (!(normalizer->low < normalizer->high))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the bounds of a metric are not in order"),
							errdetail("low is %.15g and high is %.15g.", normalizer->low, normalizer->high),
							errhint("low must be below high; where less is better, use inverse.")));
		/* normalize.c multiplies distances between bounds and target by 100. A bound that is not there is multiplied by nobody. */
		if ((low != NULL && !isfinite(normalizer->low * 1000)) || (high != NULL && !isfinite(normalizer->high * 1000)))
			FAULT("the bounds of a metric are out of range", "low is %.15g and high is %.15g.", normalizer->low, normalizer->high);
	}
	switch (how)
	{
		case PRM_NORMALIZE_STEP:
			has_steps = prm_json_find(options, "steps", &value);
			has_ties = prm_json_find(options, "ties", &ties);
			if (has_ties && !is_text(&ties, "low") && !is_text(&ties, "high"))
				FAULT("an option of a metric has the wrong form", "\"ties\" is low or high.");
			if (has_steps)
				read_steps(normalizer, &value, false, has_ties && is_text(&ties, "low"));
			if (prm_json_find(options, "ranges", &value) == has_steps || (has_ties && !has_steps))
				FAULT("a metric needs steps or ranges", "One of the two is given; \"ties\" belongs to steps, a range says it itself.");
			if (!has_steps)
				read_steps(normalizer, &value, true, false);
			break;
		case PRM_NORMALIZE_TARGET:
			read_target(normalizer, options);
			break;
		case PRM_NORMALIZE_PERCENTILE:
			read_percentile(normalizer, options);
			break;
		case PRM_NORMALIZE_CHOICE:
			if (!prm_json_find(options, "choices", &value))
				FAULT("a metric with choices needs them", "The option \"choices\" is missing.");
			read_choices(normalizer, &value);
			normalizer->has_other = prm_json_find(options, "other", &value);
			if (normalizer->has_other)
				normalizer->other = json_score(how, &value);
			break;
		default:
			break;
	}
}
