/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Staging of one backend queue: whole pages for out bytes that arrived and for in bytes that have to be
 * waited for, and the iovec arrays that describe them. All of it is allocated when the queue opens, none on
 * the data path.
 *
 * Out pages cannot run out: the driver's window is their number and core checks it. In pages can: a device
 * that gets none keeps its request waiting. Pages are recycled last in, first out, because the last one is
 * warm.
 */
#ifndef VHX_BACKEND_STAGING_H
#define VHX_BACKEND_STAGING_H

#include <sys/uio.h>

#include "util/base.h"

/* Requests of up to this many pages use an array of their own slot. */
#define VHX_STAGING_INLINE 4u

struct vhx_staging_config {
	uint32_t out_pages, in_pages;
	uint32_t request_pages; /* most that one request takes, either way; at least 1 */
};

struct vhx_staging {
	uint8_t *base;
	size_t map_len;
	uint32_t page_cnt;
	uint32_t *free_pages;
	uint32_t free_cnt;
	uint32_t in_left; /* of the free pages, those that in may take */
	struct iovec *arrays;
	uint32_t array_len;
	uint32_t *free_arrays;
	uint32_t array_cnt, free_array_cnt;
	uint64_t memory;
};

/* A run of pages. @array: VHX_STAGING_INLINE entries of the holder, used when they suffice. */
struct vhx_staging_run {
	struct iovec *iov; /* NULL: holds nothing */
	uint32_t cnt;
	struct iovec array[VHX_STAGING_INLINE];
};

int vhx_staging_init(struct vhx_staging *s, const struct vhx_staging_config *cfg);
void vhx_staging_fini(struct vhx_staging *s);

/* Pages for @len bytes; the last iovec is cut to fit. Never fails: see above. */
void vhx_staging_get_out(struct vhx_staging *s, uint32_t len, struct vhx_staging_run *run);
/*
 * The same for @lead bytes, at most a page, in a page of their own, if there are any, and @len bytes behind them. 0, or
 * -EAGAIN: not enough now. -E2BIG: never.
 */
int vhx_staging_get_in(struct vhx_staging *s, uint32_t lead, uint32_t len,
		       struct vhx_staging_run *run);
void vhx_staging_put(struct vhx_staging *s, struct vhx_staging_run *run, bool in);

#endif
