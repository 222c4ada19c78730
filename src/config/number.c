// SPDX-License-Identifier: BSD-3-Clause
#include "config/number.h"

#include "util/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char size_suffixes[] = "KMGT";

/* Up to the first other byte, *@end. 0; -EINVAL without a digit, -ERANGE past 64 bits. */
static int digits_parse(const char *text, uint64_t *value, const char **end)
{
	const char *p = text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (!vhx_mul_u64(v, 10, &v) || !vhx_add_u64(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*value = v;
	*end = p;
	return p == text ? -EINVAL : 0;
}

/* The shift that a suffix stands for: 0 for none, -EINVAL for anything else. */
static int suffix_shift(const char *text)
{
	const char *hit;

	if (!*text)
		return 0;
	/* ASCII: clearing bit 5 makes a letter upper case. */
	hit = strchr(size_suffixes, *text & ~0x20);
	if (text[1] || !hit || !*hit || *text < 'A')
		return -EINVAL;
	return 10 * (int)(hit - size_suffixes + 1);
}

const char *vhx_size_format(uint64_t value, char buf[VHX_SIZE_TEXT_MAX])
{
	unsigned int unit = 0;

	while (value && value % 1024 == 0 && unit < sizeof(size_suffixes) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, VHX_SIZE_TEXT_MAX, "%" PRIu64 "%.1s", value,
		 unit ? &size_suffixes[unit - 1] : "");
	return buf;
}

/* A bound is shown the way that the value would be typed. */
static const char *bound_format(uint64_t value, bool size, char buf[VHX_SIZE_TEXT_MAX])
{
	if (size)
		return vhx_size_format(value, buf);
	snprintf(buf, VHX_SIZE_TEXT_MAX, "%" PRIu64, value);
	return buf;
}

static int bounds_check(const struct vhx_number_bounds *bounds, uint64_t value, bool size,
			struct vhx_error *err)
{
	char buf[VHX_SIZE_TEXT_MAX];

	if (value < bounds->min) {
		vhx_error_set(err, "must be at least %s", bound_format(bounds->min, size, buf));
		return -ERANGE;
	}
	if (value > bounds->max) {
		vhx_error_set(err, "must be at most %s", bound_format(bounds->max, size, buf));
		return -ERANGE;
	}
	if (bounds->power_of_2 && !vhx_is_power_of_2(value)) {
		vhx_error_set(err, "must be a power of two");
		return -EINVAL;
	}
	return 0;
}

int vhx_number_parse(const char *text, const struct vhx_number_bounds *bounds, uint64_t *value,
		     struct vhx_error *err)
{
	const char *end = NULL;
	uint64_t v = 0;
	int ret;

	ret = digits_parse(text, &v, &end);
	if (ret == -ERANGE) {
		vhx_error_set(err, "'%s' is too large", text);
		return ret;
	}
	if (ret || *end) {
		vhx_error_set(err, "'%s' is not a number", text);
		return -EINVAL;
	}
	ret = bounds_check(bounds, v, false, err);
	if (!ret)
		*value = v;
	return ret;
}

int vhx_size_parse(const char *text, const struct vhx_number_bounds *bounds, uint64_t *value,
		   struct vhx_error *err)
{
	const char *end = NULL;
	uint64_t v = 0;
	int shift = 0;
	int ret;

	ret = digits_parse(text, &v, &end);
	if (!ret)
		shift = suffix_shift(end);
	if (ret == -EINVAL || shift < 0) {
		vhx_error_set(err, "'%s' is not a size (a number, optionally with K, M, G or T)",
			      text);
		return -EINVAL;
	}
	if (ret || !vhx_mul_u64(v, 1ull << shift, &v)) {
		vhx_error_set(err, "'%s' is too large", text);
		return -ERANGE;
	}
	ret = bounds_check(bounds, v, true, err);
	if (!ret)
		*value = v;
	return ret;
}
