/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers as an operator types them.
 */
#ifndef VHX_CONFIG_NUMBER_H
#define VHX_CONFIG_NUMBER_H

#include "util/base.h"
#include "util/error.h"

/* Allowed values of a number or a size: [min, max], inclusive. */
struct vhx_number_bounds {
	uint64_t min, max;
	bool power_of_2;
};

/*
 * Decimal digits only: no sign, no space, no hexadecimal. 0 and *@value; -EINVAL or -ERANGE with a
 * text such as "'x' is not a number" or "must be at most 64".
 */
int vhx_number_parse(const char *text, const struct vhx_number_bounds *bounds, uint64_t *value,
		     struct vhx_error *err);

/* The same in bytes, with an optional suffix K, M, G or T (powers of 1024, either case). */
int vhx_size_parse(const char *text, const struct vhx_number_bounds *bounds, uint64_t *value,
		   struct vhx_error *err);

#define VHX_SIZE_TEXT_MAX 32u

/* Exact and short, "64K" or "1000"; what vhx_size_parse() reads back. Returns @buf. */
const char *vhx_size_format(uint64_t value, char buf[VHX_SIZE_TEXT_MAX]);

#endif
