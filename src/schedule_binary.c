/*
 * schedule_binary.c: the binary form of a commission schedule, and the order of schedules. Plain C, no
 * server. Bytes that come in may come from anybody, so reading them is as strict as reading text.
 *
 * Binary: version, mode (+ 0x80 for ties low), number of brackets, then for each bracket kind, bound, value.
 * A number is one byte of scale (+ 0x80 when negative) and its digits in groups of seven bits, low group
 * first. It is also the stored form. A schedule has exactly one binary form, so equality is equality of
 * bytes.
 */
#include "schedule.h"

#include <string.h>

/* ---- binary ------------------------------------------------------------------------------------------ */

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
prm_schedule_pack(const PrmSchedule *schedule, unsigned char *buffer)
{
	size_t length = 0;

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

static bool
check_number(PrmNumber number)
{
	if (number.scale < 0 || number.scale > PRM_MAX_DIGITS || number.digits >= PRM_DIGITS_LIMIT ||
		number.digits <= -PRM_DIGITS_LIMIT)
		return false;
	return number.scale == 0 || number.digits % 10 != 0;
}

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
	if (!get_groups(from, &digits) || digits >= (uint64_t)PRM_DIGITS_LIMIT || (head >= 0x80 && digits == 0))
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
		return prm_fault(fault, hint, "the value has %zu bytes and no header", length);
	if (bytes[0] != PRM_SCHEDULE_VERSION)
		return prm_fault(fault, "Only version 1 of the binary form is known here.", "the version is %d",
						 bytes[0]);
	fault->offset = 1;
	schedule->mode = (PrmMode)(bytes[1] & 0x7f);
	schedule->ties_low = bytes[1] >= 0x80;
	if (schedule->mode < PRM_MODE_PERCENT || schedule->mode > PRM_MODE_INTERPOLATED)
		return prm_fault(fault, hint, "the mode is %d", (int)schedule->mode);
	from.at = 2;
	fault->offset = 2;
	if (!get_groups(&from, &count) || count > PRM_MAX_BRACKETS)
		return prm_fault(fault, hint, "the number of brackets is not between 1 and 1000");
	schedule->count = (int)count;
	for (int i = 0; i < schedule->count; i++)
	{
		PrmBracket *bracket = &schedule->bracket[i];

		fault->bracket = i + 1;
		fault->offset = from.at;
		if (from.at >= length)
			return prm_fault(fault, hint, "the value ends too early");
		bracket->kind = (PrmKind)bytes[from.at++];
		if (bracket->kind < PRM_KIND_PERCENT || bracket->kind > PRM_KIND_FIXED)
			return prm_fault(fault, hint, "the kind of the bracket is %d", (int)bracket->kind);
		fault->offset = from.at;
		if (!get_number(&from, &bracket->from))
			return prm_fault(fault, hint, "the bound is cut short or not in its shortest form");
		fault->offset = from.at;
		if (!get_number(&from, &bracket->value))
			return prm_fault(fault, hint, "the value is cut short or not in its shortest form");
	}
	if (from.at != length)
	{
		fault->offset = from.at;
		return prm_fault(fault, hint, "there are bytes behind the last bracket");
	}
	return prm_schedule_check(schedule, fault);
}

/* ---- order ------------------------------------------------------------------------------------------- */

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
