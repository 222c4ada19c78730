/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times in log2 buckets: fixed memory, one increment per time, no order lost above a factor of two.
 *
 * Bucket i counts what took less than 2^i ns and not less than 2^(i-1); the last one all that is longer.
 */
#ifndef VHX_UTIL_HISTOGRAM_H
#define VHX_UTIL_HISTOGRAM_H

#include "util/base.h"

/* The last bucket begins at 2^38 ns, 4.6 minutes: whatever takes longer is not a latency but a fault. */
#define VHX_HISTOGRAM_BUCKETS 40u

struct vhx_histogram {
	uint64_t buckets[VHX_HISTOGRAM_BUCKETS];
	uint64_t sum_ns;
};

static inline void vhx_histogram_add(struct vhx_histogram *h, uint64_t ns)
{
	unsigned int i = ns ? 64u - (unsigned int)__builtin_clzll(ns) : 0;

	h->buckets[i < VHX_HISTOGRAM_BUCKETS ? i : VHX_HISTOGRAM_BUCKETS - 1]++;
	h->sum_ns += ns;
}

static inline uint64_t vhx_histogram_count(const struct vhx_histogram *h)
{
	uint64_t count = 0;
	unsigned int i;

	for (i = 0; i < VHX_HISTOGRAM_BUCKETS; i++)
		count += h->buckets[i];
	return count;
}

/*
 * Below which time @permille of all lie: at most a factor of two off, since times are taken to be spread evenly
 * over their bucket. 0 where nothing was counted.
 */
static inline uint64_t vhx_histogram_quantile(const struct vhx_histogram *h, unsigned int permille)
{
	uint64_t count = vhx_histogram_count(h), below = 0;
	/* Rounded up: the largest of three is what 999 of 1000 lie below. */
	double rank = (double)count * permille / 1000;
	unsigned int i;

	for (i = 0; i < VHX_HISTOGRAM_BUCKETS; i++) {
		double in = (double)h->buckets[i];

		if (in > 0 && (double)below + in >= rank) {
			double low = i ? (double)(1ull << (i - 1)) : 0;
			double high = (double)(1ull << i);

			return (uint64_t)(low + (high - low) * (rank - (double)below) / in);
		}
		below += h->buckets[i];
	}
	return 0;
}

#endif
