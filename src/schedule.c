/*
 * schedule.c: the forms of a commission schedule: text, binary, and the rules that both obey. Plain C, no
 * server: it allocates nothing and reports faults by value, so that the server can raise them softly and the
 * fuzzer can run it alone.
 *
 * Text:    10%  |  MODE BOUND: VALUE, BOUND: VALUE ... [ties low]
 *          MODE is marginal, slab or interpolated; VALUE is 5%, 5 each or 5. Words in any case; the canonical
 * form is what prm_schedule_write writes, and it reads back to the same bytes. Binary:  version, mode (+ 0x80
 * for ties low), number of brackets, then for each bracket kind, bound, value. A number is one byte of scale
 * (+ 0x80 when negative) and its digits in groups of seven bits, low group first. It is also the stored form.
 * Every schedule has exactly one binary form, so equality is equality of bytes.
 */
#include "schedule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_LIMIT INT64_C(1000000000000000000)

static const char *const mode_names[] = {NULL, "percent", "marginal", "slab", "interpolated"};

static bool fail(PrmFault *fault, const char *hint, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

static bool
fail(PrmFault *fault, const char *hint, const char *what, ...)
{
	va_list arguments;

	va_start(arguments, what);
	vsnprintf(fault->what, sizeof(fault->what), what, arguments);
	va_end(arguments);
	snprintf(fault->hint, sizeof(fault->hint), "%s", hint);
	return false;
}

/* ---- numbers
 * ------------------------------------------------------------------------------------------------------- */

static void
make_canonical(PrmNumber *number)
{
	while (number->scale > 0 && number->digits % 10 == 0)
	{
		number->digits /= 10;
		number->scale--;
	}
}

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
		/* Zeros at the end of a fraction say nothing. */
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
		if (number->digits >= DIGITS_LIMIT / 10 ||
			(has_point && i > point && number->scale == PRM_MAX_DIGITS))
		{
			*fits = false;
			break;
		}
		number->digits = number->digits * 10 + (text[i] - '0');
		if (has_point && i > point)
			number->scale++;
	}
	make_canonical(number);
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

/* ---- modes
 * ---------------------------------------------------------------------------------------------------------
 */

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

/* ---- what every schedule obeys
 * ------------------------------------------------------------------------------------- */

typedef enum Place
{
	PLACE_BOUND,
	PLACE_VALUE
} Place;

static bool
check_number(PrmNumber number)
{
	if (number.scale < 0 || number.scale > PRM_MAX_DIGITS || number.digits >= DIGITS_LIMIT ||
		number.digits <= -DIGITS_LIMIT)
		return false;
	return number.scale == 0 || number.digits % 10 != 0;
}

/* Checks bracket i against the one before it; *place says which of its two numbers is at fault. */
static bool
check_bracket(const PrmSchedule *schedule, int i, Place *place, PrmFault *fault)
{
	const PrmBracket *bracket = &schedule->bracket[i];
	static const PrmNumber hundred = {100, 0};

	fault->bracket = i + 1;
	*place = PLACE_BOUND;
	if (bracket->from.digits < 0)
		return fail(fault,
					"Bounds begin at 0; amounts below zero earn the same as above, with the sign reversed.",
					"The bound is negative");
	if (i > 0)
	{
		int order = prm_number_compare(bracket->from, bracket[-1].from);

		if (order == 0)
			return fail(fault, "Each bound may stand once; it ends the bracket before it.",
						"The bound repeats the one before it");
		if (order < 0)
			return fail(fault, "Write the brackets in ascending order.",
						"The bound is below the one before it");
	}
	*place = PLACE_VALUE;
	if (bracket->kind == PRM_KIND_PERCENT)
	{
		if (bracket->value.digits < 0)
			return fail(fault, "Percentages lie between 0% and 100%.", "The percentage is negative");
		if (prm_number_compare(bracket->value, hundred) > 0)
			return fail(fault,
						"Percentages lie between 0% and 100%; a factor above one is written \"1.25 each\".",
						"The percentage is above 100");
	}
	switch (schedule->mode)
	{
		case PRM_MODE_PERCENT:
			if (bracket->kind != PRM_KIND_PERCENT)
				return fail(fault, "A schedule of one rate is a percentage, such as 10%.",
							"The rate is no percentage");
			break;
		case PRM_MODE_MARGINAL:
			if (bracket->kind == PRM_KIND_FIXED)
				return fail(fault,
							"marginal takes rates: \"5%\" or \"5 each\". Fixed amounts belong to slab or "
							"interpolated.",
							"The value has no unit, but marginal takes %% or each");
			break;
		case PRM_MODE_SLAB:
			break;
		case PRM_MODE_INTERPOLATED:
			if (bracket->kind != PRM_KIND_FIXED)
				return fail(fault,
							"interpolated joins fixed amounts by straight lines, such as \"interpolated 0: "
							"0, 1000: 10\".",
							"The value has a unit, but interpolated takes plain numbers");
			if (i == 0 && bracket->value.digits != 0)
				return fail(fault, "Begin with 0, such as \"interpolated 0: 0, 1000: 10\".",
							"The first amount of interpolated is not 0");
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
		return fail(fault, "A schedule has at least one bracket.", "There is no bracket");
	if (schedule->mode == PRM_MODE_PERCENT &&
		(schedule->count != 1 || schedule->ties_low || schedule->bracket[0].from.digits != 0))
		return fail(fault, "A schedule of one rate has no bounds and no ties.",
					"The mode percent has bounds or ties");
	for (int i = 0; i < schedule->count; i++)
	{
		if (!check_bracket(schedule, i, &place, fault))
			return false;
	}
	return true;
}

/* ---- text
 * ----------------------------------------------------------------------------------------------------------
 */

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
		return fail(reader->fault, hint, "Expected %s, found the end of the text", what);
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
		return fail(reader->fault, hint, "Expected %s", what);
	return fail(reader->fault, hint, "Expected %s, found \"%s\"", what, found);
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
		return fail(reader->fault,
					"A number of a schedule has at most 18 significant digits and 18 decimal places.",
					"The number has too many digits");
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
				return fail(fault, "Split the rule by amount, or use interpolated.",
							"A schedule has at most 1000 brackets; one more begins");
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

/* ---- binary
 * -------------------------------------------------------------------------------------------------------- */

static size_t
put_groups(unsigned char *buffer, uint64_t value)
{
	size_t length = 0;

	for (; value >= 0x80; value >>= 7)
		buffer[length++] = (unsigned char)(value | 0x80);
	buffer[length++] = (unsigned char)value;
	return length;
}

static size_t
put_number(unsigned char *buffer, PrmNumber number)
{
	buffer[0] = (unsigned char)(number.scale | (number.digits < 0 ? 0x80 : 0));
	return 1 + put_groups(buffer + 1, (uint64_t)(number.digits < 0 ? -number.digits : number.digits));
}

/* The buffer has at least PRM_PACKED_MAX(count) bytes. */
size_t
prm_schedule_pack(const PrmSchedule *schedule, unsigned char *buffer, size_t size)
{
	size_t length = 0;

	(void)size;
	buffer[length++] = PRM_SCHEDULE_VERSION;
	buffer[length++] = (unsigned char)(schedule->mode | (schedule->ties_low ? 0x80 : 0));
	length += put_groups(buffer + length, (uint64_t)schedule->count);
	for (int i = 0; i < schedule->count; i++)
	{
		buffer[length++] = (unsigned char)schedule->bracket[i].kind;
		length += put_number(buffer + length, schedule->bracket[i].from);
		length += put_number(buffer + length, schedule->bracket[i].value);
	}
	return length;
}

typedef struct Bytes
{
	const unsigned char *bytes;
	size_t length;
	size_t at;
} Bytes;

/* At most 63 bits in the shortest form: a last group of zero would be a second way to write the same number.
 */
static bool
get_groups(Bytes *from, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; shift < 63; shift += 7)
	{
		unsigned char group;

		if (from->at >= from->length)
			return false;
		group = from->bytes[from->at++];
		*value |= (uint64_t)(group & 0x7f) << shift;
		if (group < 0x80)
			return group != 0 || shift == 0;
	}
	return false;
}

static bool
get_number(Bytes *from, PrmNumber *number)
{
	unsigned char head;
	uint64_t digits;

	if (from->at >= from->length)
		return false;
	head = from->bytes[from->at++];
	number->scale = head & 0x7f;
	if (!get_groups(from, &digits) || digits >= (uint64_t)DIGITS_LIMIT || (head >= 0x80 && digits == 0))
		return false;
	number->digits = head >= 0x80 ? -(int64_t)digits : (int64_t)digits;
	return check_number(*number) && !(digits == 0 && number->scale != 0);
}

/* How many brackets the form claims to have, so that the caller can provide for them; -1 where it cannot be
 * one. */
int
prm_schedule_packed_count(const unsigned char *bytes, size_t length)
{
	Bytes from = {bytes, length, 2};
	uint64_t count;

	if (!get_groups(&from, &count) || count > PRM_MAX_BRACKETS)
		return -1;
	return (int)count;
}

/* Reads what prm_schedule_pack wrote, and is as strict as the text form: whatever comes in here may come from
 * anybody. */
bool
prm_schedule_unpack(const unsigned char *bytes, size_t length, PrmSchedule *schedule, PrmFault *fault)
{
	static const char *const hint =
		"The binary form is written by commission_schedule_send; use the text form to write one by hand.";
	Bytes from = {bytes, length, 0};
	uint64_t count;

	memset(fault, 0, sizeof(*fault));
	if (length < 3)
		return fail(fault, hint, "The value has %zu bytes and no header", length);
	if (bytes[0] != PRM_SCHEDULE_VERSION)
		return fail(fault, "Only version 1 of the binary form is known here.", "The version is %d", bytes[0]);
	fault->offset = 1;
	schedule->mode = (PrmMode)(bytes[1] & 0x7f);
	schedule->ties_low = bytes[1] >= 0x80;
	if (schedule->mode < PRM_MODE_PERCENT || schedule->mode > PRM_MODE_INTERPOLATED)
		return fail(fault, hint, "The mode is %d", (int)schedule->mode);
	from.at = 2;
	fault->offset = 2;
	if (!get_groups(&from, &count) || count > PRM_MAX_BRACKETS)
		return fail(fault, hint, "The number of brackets is not between 1 and 1000");
	schedule->count = (int)count;
	for (int i = 0; i < schedule->count; i++)
	{
		PrmBracket *bracket = &schedule->bracket[i];

		fault->bracket = i + 1;
		fault->offset = from.at;
		if (from.at >= length)
			return fail(fault, hint, "The value ends too early");
		bracket->kind = (PrmKind)bytes[from.at++];
		if (bracket->kind < PRM_KIND_PERCENT || bracket->kind > PRM_KIND_FIXED)
			return fail(fault, hint, "The kind of the bracket is %d", (int)bracket->kind);
		fault->offset = from.at;
		if (!get_number(&from, &bracket->from))
			return fail(fault, hint, "The bound is cut short or not in its shortest form");
		fault->offset = from.at;
		if (!get_number(&from, &bracket->value))
			return fail(fault, hint, "The value is cut short or not in its shortest form");
	}
	if (from.at != length)
	{
		fault->offset = from.at;
		return fail(fault, hint, "There are bytes behind the last bracket");
	}
	return prm_schedule_check(schedule, fault);
}

/* ---- order
 * ---------------------------------------------------------------------------------------------------------
 */

/*
 * A total order for sorting and unique indexes: by mode, then bracket by bracket as numbers, the shorter
 * first, ties last. It says nothing about which schedule pays more.
 */
int
prm_schedule_compare(const PrmSchedule *a, const PrmSchedule *b)
{
	if (a->mode != b->mode)
		return a->mode < b->mode ? -1 : 1;
	for (int i = 0; i < a->count && i < b->count; i++)
	{
		int order = prm_number_compare(a->bracket[i].from, b->bracket[i].from);

		if (order == 0 && a->bracket[i].kind != b->bracket[i].kind)
			order = a->bracket[i].kind < b->bracket[i].kind ? -1 : 1;
		if (order == 0)
			order = prm_number_compare(a->bracket[i].value, b->bracket[i].value);
		if (order != 0)
			return order;
	}
	if (a->count != b->count)
		return a->count < b->count ? -1 : 1;
	return (int)a->ties_low - (int)b->ties_low;
}
