/*
 * schedule.c: the text form of a commission schedule, and the rules that every form obeys. Plain C, no
 * server: it allocates nothing and reports faults by value, so that the server can raise them softly and the
 * fuzzer can run it alone. The binary form is in schedule_binary.c, the evaluation in schedule_eval.c.
 *
 * Text:  10%  |  MODE BOUND: VALUE, BOUND: VALUE ... [ties low]
 *        MODE is marginal, slab or interpolated; VALUE is 5%, 5 each or 5; words in any case. The canonical
 * form is what prm_schedule_write writes, and it reads back to the same bytes.
 */
#include "schedule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const mode_names[] = {NULL, "percent", "marginal", "slab", "interpolated"};

/* Fills the fault and returns false, so that a check can end with it. */
bool
prm_fault(PrmFault *fault, const char *hint, const char *what, ...)
{
	va_list arguments;

	va_start(arguments, what);
	vsnprintf(fault->what, sizeof(fault->what), what, arguments);
	va_end(arguments);
	snprintf(fault->hint, sizeof(fault->hint), "%s", hint);
	return false;
}

/* ---- numbers ----------------------------------------------------------------------------------------- */

int
prm_number_compare(PrmNumber a, PrmNumber b)
{
	PrmWide left = a.digits;
	PrmWide right = b.digits;

	/* Both scales are at most 18, so the larger side stays below 10^36. */
	for (int i = a.scale; i < b.scale; i++)
		left *= 10;
	for (int i = b.scale; i < a.scale; i++)
		right *= 10;
	return left < right ? -1 : left > right;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Reads an unsigned decimal at the cursor: digits, or digits with a point and digits on at least one side of
 * it. Returns the bytes read, 0 where there is no number; *fits is false where it has more than 18
 * significant digits.
 */
static size_t
scan_number(const char *text, size_t length, PrmNumber *number, bool *fits)
{
	size_t at = 0;
	size_t last = 0; /* behind the last digit that counts */
	size_t point = 0;
	size_t digits = 0;
	bool has_point = false;

	for (; at < length && (is_digit(text[at]) || (text[at] == '.' && !has_point)); at++)
	{
		if (text[at] == '.')
		{
			has_point = true;
			point = at;
			continue;
		}
		digits++;
		/* Zeros at the end of a fraction say nothing: without them the number is canonical. */
		if (!has_point || text[at] != '0')
			last = at + 1;
	}
	if (digits == 0)
		return 0;
	number->digits = 0;
	number->scale = 0;
	*fits = true;
	for (size_t i = 0; i < last; i++)
	{
		if (text[i] == '.')
			continue;
		if (number->digits >= PRM_DIGITS_LIMIT / 10 ||
			(has_point && i > point && number->scale == PRM_MAX_DIGITS))
		{
			*fits = false;
			break;
		}
		number->digits = number->digits * 10 + (text[i] - '0');
		if (has_point && i > point)
			number->scale++;
	}
	return at;
}

/* A whole text as a number, with an optional minus sign: what jsonb hands over. */
bool
prm_number_parse(const char *text, size_t length, PrmNumber *number)
{
	bool negative = length > 0 && text[0] == '-';
	bool fits;

	if (negative)
	{
		text++;
		length--;
	}
	if (length == 0 || scan_number(text, length, number, &fits) != length || !fits)
		return false;
	if (negative)
		number->digits = -number->digits;
	return true;
}

/* Writes the number without exponent or superfluous zeros; returns its length. */
size_t
prm_number_write(PrmNumber number, char *buffer, size_t size)
{
	char reversed[PRM_NUMBER_TEXT];
	uint64_t rest = (uint64_t)(number.digits < 0 ? -number.digits : number.digits);
	size_t count = 0;
	size_t length = 0;

	for (int place = 0; place <= number.scale || rest > 0; place++)
	{
		if (place == number.scale && place > 0)
			reversed[count++] = '.';
		reversed[count++] = (char)('0' + rest % 10);
		rest /= 10;
	}
	if (number.digits < 0)
		reversed[count++] = '-';
	while (count > 0 && length + 1 < size)
		buffer[length++] = reversed[--count];
	buffer[length] = '\0';
	return length;
}

/* ---- modes ------------------------------------------------------------------------------------------- */

const char *
prm_mode_name(PrmMode mode)
{
	return mode_names[mode];
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool
same_word(const char *text, size_t length, const char *word)
{
	if (strlen(word) != length)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (lower(text[i]) != word[i])
			return false;
	}
	return true;
}

bool
prm_mode_from_name(const char *name, size_t length, PrmMode *mode)
{
	for (int i = PRM_MODE_PERCENT; i <= PRM_MODE_INTERPOLATED; i++)
	{
		if (same_word(name, length, mode_names[i]))
		{
			*mode = (PrmMode)i;
			return true;
		}
	}
	return false;
}

/* ---- what every schedule obeys ----------------------------------------------------------------------- */

typedef enum Place
{
	PLACE_BOUND,
	PLACE_VALUE
} Place;

/* Checks bracket i against the one before it; *place says which of its two numbers is at fault. */
static bool
check_bracket(const PrmSchedule *schedule, int i, Place *place, PrmFault *fault)
{
	const PrmBracket *bracket = &schedule->bracket[i];
	static const PrmNumber hundred = {100, 0};

	fault->bracket = i + 1;
	*place = PLACE_BOUND;
	if (bracket->from.digits < 0)
		return prm_fault(
			fault, "Bounds begin at 0; amounts below zero earn the same as above, with the sign reversed.",
			"the bound is negative");
	if (i > 0)
	{
		int order = prm_number_compare(bracket->from, bracket[-1].from);

		if (order == 0)
			return prm_fault(fault, "Each bound may stand once; it ends the bracket before it.",
							 "the bound repeats the one before it");
		if (order < 0)
			return prm_fault(fault, "Write the brackets in ascending order.",
							 "the bound is below the one before it");
	}
	*place = PLACE_VALUE;
	if (bracket->kind == PRM_KIND_PERCENT)
	{
		if (bracket->value.digits < 0)
			return prm_fault(fault, "Percentages lie between 0% and 100%.", "the percentage is negative");
		if (prm_number_compare(bracket->value, hundred) > 0)
			return prm_fault(
				fault, "Percentages lie between 0% and 100%; a factor above one is written \"1.25 each\".",
				"the percentage is above 100");
	}
	switch (schedule->mode)
	{
		case PRM_MODE_PERCENT:
			if (bracket->kind != PRM_KIND_PERCENT)
				return prm_fault(fault, "A schedule of one rate is a percentage, such as 10%.",
								 "the rate is no percentage");
			break;
		case PRM_MODE_MARGINAL:
			if (bracket->kind == PRM_KIND_FIXED)
				return prm_fault(
					fault,
					"marginal takes rates: \"5%\" or \"5 each\". Fixed amounts belong to slab or "
					"interpolated.",
					"the value has no unit, but marginal takes %% or each");
			break;
		case PRM_MODE_SLAB:
			break;
		case PRM_MODE_INTERPOLATED:
			if (bracket->kind != PRM_KIND_FIXED)
				return prm_fault(
					fault,
					"interpolated joins fixed amounts by straight lines, such as \"interpolated 0: "
					"0, 1000: 10\".",
					"the value has a unit, but interpolated takes plain numbers");
			if (i == 0 && bracket->value.digits != 0)
				return prm_fault(fault, "Begin with 0, such as \"interpolated 0: 0, 1000: 10\".",
								 "the first amount of interpolated is not 0");
			break;
	}
	return true;
}

/* The whole of it, for forms that were not read as text. The place of a fault is the bracket. */
bool
prm_schedule_check(const PrmSchedule *schedule, PrmFault *fault)
{
	Place place;

	fault->offset = 0;
	fault->bracket = 0;
	if (schedule->count < 1)
		return prm_fault(fault, "A schedule has at least one bracket.", "there is no bracket");
	if (schedule->mode == PRM_MODE_PERCENT &&
		(schedule->count != 1 || schedule->ties_low || schedule->bracket[0].from.digits != 0))
		return prm_fault(fault, "A schedule of one rate has no bounds and no ties.",
						 "the mode percent has bounds or ties");
	for (int i = 0; i < schedule->count; i++)
	{
		if (!check_bracket(schedule, i, &place, fault))
			return false;
	}
	return true;
}

/* ---- text -------------------------------------------------------------------------------------------- */

typedef struct Reader
{
	const char *text;
	size_t length;
	size_t at;
	PrmFault *fault;
} Reader;

static void
skip_space(Reader *reader)
{
	while (reader->at < reader->length && strchr(" \t\n\r\f\v", reader->text[reader->at]) != NULL &&
		   reader->text[reader->at] != '\0')
		reader->at++;
}

static bool
is_letter(char c)
{
	c = lower(c);
	return c >= 'a' && c <= 'z';
}

/* The letters at the cursor; they stay unread. */
static size_t
word_length(const Reader *reader)
{
	size_t end = reader->at;

	while (end < reader->length && is_letter(reader->text[end]))
		end++;
	return end - reader->at;
}

static bool
take_word(Reader *reader, const char *word)
{
	size_t length = word_length(reader);

	if (!same_word(reader->text + reader->at, length, word))
		return false;
	reader->at += length;
	return true;
}

static bool
take_char(Reader *reader, char c)
{
	skip_space(reader);
	if (reader->at >= reader->length || reader->text[reader->at] != c)
		return false;
	reader->at++;
	return true;
}

/* Something else was expected at the cursor: says what, and what stands there. */
static bool
expected(Reader *reader, const char *what, const char *hint)
{
	char found[24];
	size_t length = 0;

	reader->fault->offset = reader->at;
	if (reader->at >= reader->length)
		return prm_fault(reader->fault, hint, "expected %s, found the end of the text", what);
	/* Quote only plain ASCII: a part of a longer character would be no valid text. */
	while (length < sizeof(found) - 1 && reader->at + length < reader->length &&
		   reader->text[reader->at + length] > ' ' && reader->text[reader->at + length] < 0x7f &&
		   (length == 0 ||
			(is_letter(reader->text[reader->at]) && is_letter(reader->text[reader->at + length]))))
	{
		found[length] = reader->text[reader->at + length];
		length++;
	}
	found[length] = '\0';
	if (length == 0)
		return prm_fault(reader->fault, hint, "expected %s", what);
	return prm_fault(reader->fault, hint, "expected %s, found \"%s\"", what, found);
}

static bool
read_number(Reader *reader, PrmNumber *number, const char *what)
{
	static const char *const hint =
		"Numbers are written like 10, 2.5 or 0.125, without exponent or thousands separator.";
	bool negative;
	bool fits;
	size_t length;

	skip_space(reader);
	negative = reader->at < reader->length && reader->text[reader->at] == '-';
	length = scan_number(reader->text + reader->at + negative, reader->length - reader->at - negative, number,
						 &fits);
	if (length == 0)
		return expected(reader, what, hint);
	reader->fault->offset = reader->at;
	if (!fits)
		return prm_fault(reader->fault,
						 "A number of a schedule has at most 18 significant digits and 18 decimal places.",
						 "the number has too many digits");
	if (negative)
		number->digits = -number->digits;
	reader->at += length + negative;
	return true;
}

static const char *const shape_hint =
	"A schedule is \"10%\", or marginal, slab or interpolated with brackets: \"marginal 0: 1%, 1000: 2%\".";

static bool
read_bracket(Reader *reader, PrmSchedule *schedule)
{
	PrmBracket *bracket = &schedule->bracket[schedule->count];
	size_t position[2];
	Place place;

	skip_space(reader);
	position[PLACE_BOUND] = reader->at;
	if (!read_number(reader, &bracket->from, "a bound"))
		return false;
	if (!take_char(reader, ':'))
		return expected(reader, "\":\" behind the bound",
						"A bracket is its lower bound, a colon and its value: \"1000: 2%\". Numbers have no "
						"thousands separator.");
	skip_space(reader);
	position[PLACE_VALUE] = reader->at;
	if (!read_number(reader, &bracket->value, "a value"))
		return false;
	bracket->kind = PRM_KIND_FIXED;
	if (take_char(reader, '%'))
		bracket->kind = PRM_KIND_PERCENT;
	else if (take_word(reader, "each"))
		bracket->kind = PRM_KIND_EACH;
	if (!check_bracket(schedule, schedule->count, &place, reader->fault))
	{
		reader->fault->offset = position[place];
		return false;
	}
	schedule->count++;
	return true;
}

bool
prm_schedule_parse(const char *text, size_t length, PrmSchedule *schedule, PrmFault *fault)
{
	Reader reader = {text, length, 0, fault};
	size_t word;

	memset(fault, 0, sizeof(*fault));
	schedule->ties_low = false;
	schedule->count = 0;
	skip_space(&reader);
	word = word_length(&reader);
	if (word == 0)
	{
		PrmBracket *bracket = &schedule->bracket[0];
		size_t start = reader.at;
		Place place;

		schedule->mode = PRM_MODE_PERCENT;
		bracket->from.digits = 0;
		bracket->from.scale = 0;
		bracket->kind = PRM_KIND_PERCENT;
		if (reader.at >= length ||
			!(is_digit(text[reader.at]) || text[reader.at] == '.' || text[reader.at] == '-'))
			return expected(&reader, "a percentage or one of marginal, slab, interpolated", shape_hint);
		if (!read_number(&reader, &bracket->value, "a percentage"))
			return false;
		if (!take_char(&reader, '%'))
			return expected(&reader, "\"%\" behind the number",
							"One rate is written \"10%\", a fixed amount \"slab 0: 10\", an amount per unit "
							"\"slab 0: 10 each\".");
		if (!check_bracket(schedule, 0, &place, fault))
		{
			fault->offset = start;
			return false;
		}
		schedule->count = 1;
	}
	else
	{
		/* The word percent names the mode in jsonb; in text a rate stands alone. */
		if (!prm_mode_from_name(text + reader.at, word, &schedule->mode) ||
			schedule->mode == PRM_MODE_PERCENT)
			return expected(&reader, "a percentage or one of marginal, slab, interpolated", shape_hint);
		reader.at += word;
		do
		{
			if (schedule->count == PRM_MAX_BRACKETS)
			{
				fault->offset = reader.at;
				return prm_fault(fault, "Split the rule by amount, or use interpolated.",
								 "a schedule has at most 1000 brackets; one more begins");
			}
			if (!read_bracket(&reader, schedule))
				return false;
		} while (take_char(&reader, ','));
		fault->bracket = 0;
		skip_space(&reader);
		if (take_word(&reader, "ties"))
		{
			skip_space(&reader);
			if (!take_word(&reader, "low"))
				return expected(&reader, "\"low\" behind \"ties\"",
								"\"ties low\" at the end gives a value on a bound to the lower bracket; "
								"without it the higher one has it.");
			schedule->ties_low = true;
		}
	}
	fault->bracket = 0;
	skip_space(&reader);
	if (reader.at < length)
		return expected(&reader,
						schedule->mode == PRM_MODE_PERCENT || schedule->ties_low
							? "the end of the text"
							: "\",\", \"ties low\" or the end of the text",
						shape_hint);
	return true;
}

/* Appends, and goes on counting where the buffer is full, so that the caller learns the size. */
static void
append(char *buffer, size_t size, size_t *length, const char *text)
{
	for (; *text != '\0'; text++, (*length)++)
	{
		if (*length + 1 < size)
			buffer[*length] = *text;
	}
}

/* The canonical text; returns its length, which may exceed the buffer. */
size_t
prm_schedule_write(const PrmSchedule *schedule, char *buffer, size_t size)
{
	char number[PRM_NUMBER_TEXT];
	size_t length = 0;

	if (schedule->mode != PRM_MODE_PERCENT)
		append(buffer, size, &length, mode_names[schedule->mode]);
	for (int i = 0; i < schedule->count; i++)
	{
		const PrmBracket *bracket = &schedule->bracket[i];

		if (schedule->mode != PRM_MODE_PERCENT)
		{
			append(buffer, size, &length, i > 0 ? ", " : " ");
			prm_number_write(bracket->from, number, sizeof(number));
			append(buffer, size, &length, number);
			append(buffer, size, &length, ": ");
		}
		prm_number_write(bracket->value, number, sizeof(number));
		append(buffer, size, &length, number);
		if (bracket->kind == PRM_KIND_PERCENT)
			append(buffer, size, &length, "%");
		else if (bracket->kind == PRM_KIND_EACH)
			append(buffer, size, &length, " each");
	}
	if (schedule->ties_low)
		append(buffer, size, &length, " ties low");
	if (size > 0)
		buffer[length < size ? length : size - 1] = '\0';
	return length;
}
