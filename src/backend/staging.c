// SPDX-License-Identifier: BSD-3-Clause
/* Theory of operation: staging.h. */
#include "backend/staging.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "backend/device.h"
#include "util/checked.h"

static uint32_t *indices_new(uint32_t cnt)
{
	uint32_t *v = calloc((size_t)cnt + 1, sizeof(*v));
	uint32_t i;

	for (i = 0; v && i < cnt; i++)
		v[i] = cnt - 1 - i;
	return v;
}

int vhx_staging_init(struct vhx_staging *s, const struct vhx_staging_config *cfg)
{
	*s = (struct vhx_staging){
		.page_cnt = cfg->out_pages + cfg->in_pages,
		.in_left = cfg->in_pages,
		.array_len = cfg->request_pages,
	};
	assert(s->array_len);
	/* Only runs of more than VHX_STAGING_INLINE pages take an array, so there are no more than this. */
	s->array_cnt = s->page_cnt / (VHX_STAGING_INLINE + 1) + 1;
	assert(s->array_cnt);
	/* A queue whose requests fit their heads, and are answered in place, has no pages; mmap wants some. */
	s->map_len = (size_t)vhx_max_u64(s->page_cnt, 1) * VHX_PAGE;
	s->base = mmap(NULL, s->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	if (s->base == MAP_FAILED) {
		s->base = NULL;
		return -ENOMEM;
	}
	s->free_pages = indices_new(s->page_cnt);
	s->free_arrays = indices_new(s->array_cnt);
	s->arrays = calloc(s->array_cnt, s->array_len * sizeof(*s->arrays));
	s->free_cnt = s->page_cnt;
	s->free_array_cnt = s->array_cnt;
	s->memory = s->map_len + (uint64_t)s->page_cnt * sizeof(*s->free_pages) +
		    (uint64_t)s->array_cnt *
			    (s->array_len * sizeof(*s->arrays) + sizeof(*s->free_arrays));
	if (s->free_pages && s->free_arrays && s->arrays)
		return 0;
	vhx_staging_fini(s);
	return -ENOMEM;
}

void vhx_staging_fini(struct vhx_staging *s)
{
	if (s->base)
		munmap(s->base, s->map_len);
	free(s->free_pages);
	free(s->free_arrays);
	free(s->arrays);
	*s = (struct vhx_staging){ 0 };
}

static void run_fill(struct vhx_staging *s, uint32_t lead, uint32_t len, uint32_t pages,
		     struct vhx_staging_run *run)
{
	uint32_t i;

	assert(pages <= s->free_cnt && pages <= s->array_len);
	run->iov = run->array;
	if (pages > VHX_STAGING_INLINE) {
		assert(s->free_array_cnt);
		run->iov = &s->arrays[(size_t)s->free_arrays[--s->free_array_cnt] * s->array_len];
	}
	run->cnt = pages;
	for (i = 0; i < pages; i++) {
		uint32_t page = s->free_pages[--s->free_cnt];

		run->iov[i].iov_base = s->base + (size_t)page * VHX_PAGE;
		if (lead && i == 0) {
			run->iov[i].iov_len = lead;
			continue;
		}
		run->iov[i].iov_len = vhx_min_u64(len, VHX_PAGE);
		len -= (uint32_t)run->iov[i].iov_len;
	}
}

void vhx_staging_get_out(struct vhx_staging *s, uint32_t len, struct vhx_staging_run *run)
{
	run_fill(s, 0, len, (uint32_t)vhx_div_round_up_u64(len, VHX_PAGE), run);
}

int vhx_staging_get_in(struct vhx_staging *s, uint32_t lead, uint32_t len,
		       struct vhx_staging_run *run)
{
	uint32_t pages = (uint32_t)vhx_div_round_up_u64(len, VHX_PAGE) + (lead != 0);

	assert(lead <= VHX_PAGE);
	if (pages > s->array_len)
		return -E2BIG;
	if (pages > s->in_left)
		return -EAGAIN;
	s->in_left -= pages;
	run_fill(s, lead, len, pages, run);
	return 0;
}

void vhx_staging_put(struct vhx_staging *s, struct vhx_staging_run *run, bool in)
{
	uint32_t i;

	if (!run->iov)
		return;
	for (i = 0; i < run->cnt; i++) {
		uint8_t *page = run->iov[i].iov_base;

		s->free_pages[s->free_cnt++] = (uint32_t)((size_t)(page - s->base) / VHX_PAGE);
	}
	if (in)
		s->in_left += run->cnt;
	if (run->iov != run->array)
		s->free_arrays[s->free_array_cnt++] =
			(uint32_t)((size_t)(run->iov - s->arrays) / s->array_len);
	run->iov = NULL;
	run->cnt = 0;
}
