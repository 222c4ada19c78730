/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handful of definitions that every layer uses and that no libc header has.
 */
#ifndef VHX_UTIL_BASE_H
#define VHX_UTIL_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VHX_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define vhx_container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define vhx_likely(x) __builtin_expect(!!(x), 1)
#define vhx_unlikely(x) __builtin_expect(!!(x), 0)

#define VHX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* For interfaces that take a pointer to what they only read, but do not say so: struct iovec and the like. */
static inline void *vhx_unconst(const void *p)
{
	union {
		const void *from;
		void *to;
	} u = { .from = p };

	return u.to;
}

static inline uint64_t vhx_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t vhx_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline bool vhx_is_power_of_2(uint64_t v)
{
	return v && !(v & (v - 1));
}

#endif
