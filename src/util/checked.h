/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Overflow-checked arithmetic for lengths and offsets that a peer had a hand in. Each function stores
 * its result and returns true only when the exact result fits.
 */
#ifndef VHX_UTIL_CHECKED_H
#define VHX_UTIL_CHECKED_H

#include "util/base.h"

static inline bool vhx_add_u32(uint32_t a, uint32_t b, uint32_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool vhx_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	return !__builtin_add_overflow(a, b, sum);
}

static inline bool vhx_mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

/* Does [off, off + len) lie within [0, size)? Never overflows, whatever the three are. */
static inline bool vhx_range_within(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* Rounds up to a power of two; the caller bounds @v, so that the sum cannot wrap. */
static inline uint32_t vhx_round_up_u32(uint32_t v, uint32_t to)
{
	assert(vhx_is_power_of_2(to) && v <= UINT32_MAX - (to - 1));
	return (v + to - 1) & ~(to - 1);
}

static inline uint64_t vhx_div_round_up_u64(uint64_t v, uint64_t by)
{
	return v / by + (v % by != 0);
}

#endif
