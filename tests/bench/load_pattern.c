// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every sector of a block carries the block's number, the generation of the write, and the sector's own
 * place, and the rest of it is made from these: a sector that is lost, stale, misplaced or torn shows. A
 * block has one I/O at a time, else its right content would not be known.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define WORDS (SECTOR / sizeof(uint64_t))

struct load_pattern {
	uint64_t cnt;
	uint32_t *generation;
	uint8_t *busy;
};

static uint64_t mix(uint64_t v)
{
	v ^= v >> 31;
	v *= 0x9e3779b97f4a7c15ull;
	v ^= v >> 29;
	return v * 0xbf58476d1ce4e5b9ull;
}

static void sector_make(uint64_t *words, uint64_t block, uint32_t generation, uint32_t sector)
{
	uint64_t v = mix(block + 1) ^ mix((uint64_t)generation << 32 | sector);
	unsigned int i;

	words[0] = block;
	words[1] = (uint64_t)generation << 32 | sector;
	for (i = 2; i < WORDS; i++) {
		v = v * 6364136223846793005ull + 1442695040888963407ull;
		words[i] = v;
	}
}

int load_pattern_new(struct load *l, uint64_t block_cnt)
{
	struct load_pattern *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	l->pattern = p;
	p->cnt = block_cnt;
	p->generation = calloc(block_cnt, sizeof(*p->generation));
	p->busy = calloc(block_cnt, sizeof(*p->busy));
	return p->generation && p->busy ? 0 : -ENOMEM;
}

void load_pattern_free(struct load *l)
{
	if (!l->pattern)
		return;
	free(l->pattern->generation);
	free(l->pattern->busy);
	free(l->pattern);
}

static void block_begin(struct load *l, struct load_io *io, uint64_t block, bool write)
{
	struct load_pattern *p = l->pattern;
	uint32_t i;

	p->busy[block] = 1;
	io->block = block;
	io->off = block * io->len;
	io->write = write;
	if (!write)
		return;
	p->generation[block]++;
	for (i = 0; i < io->len / SECTOR; i++)
		sector_make((uint64_t *)(void *)(io->data + i * SECTOR), block,
			    p->generation[block], i);
}

bool load_pattern_fill(struct load *l, struct load_io *io)
{
	if (l->cursor == l->pattern->cnt)
		return false;
	block_begin(l, io, l->cursor++, true);
	return true;
}

bool load_pattern_mix(struct load *l, struct load_io *io)
{
	uint64_t block = load_random(l) % l->pattern->cnt;

	if (l->now_ns >= l->end_ns)
		return false;
	/* There are more blocks than I/Os: main() made sure. */
	while (l->pattern->busy[block])
		block = (block + 1) % l->pattern->cnt;
	block_begin(l, io, block, load_random(l) & 1);
	return true;
}

bool load_pattern_check(struct load *l, struct load_io *io)
{
	if (l->cursor == l->pattern->cnt)
		return false;
	block_begin(l, io, l->cursor++, false);
	/* What is not read must not look right. */
	memset(io->data, 0xa5, io->len);
	return true;
}

static int sector_check(const struct load_io *io, uint32_t generation, uint32_t sector)
{
	uint64_t want[WORDS], got[2];

	sector_make(want, io->block, generation, sector);
	if (!memcmp(io->data + sector * SECTOR, want, SECTOR))
		return 0;
	memcpy(got, io->data + sector * SECTOR, sizeof(got));
	fprintf(stderr,
		"vhx-load: block %" PRIu64
		" sector %u: generation %u expected; found block %" PRIu64 " generation %" PRIu64
		" sector %" PRIu64 "\n",
		io->block, sector, generation, got[0], got[1] >> 32, got[1] & UINT32_MAX);
	return -EILSEQ;
}

int load_pattern_done(struct load *l, const struct load_io *io)
{
	struct load_pattern *p = l->pattern;
	uint32_t i;
	int ret = 0;

	p->busy[io->block] = 0;
	for (i = 0; !io->write && !ret && i < io->len / SECTOR; i++)
		ret = sector_check(io, p->generation[io->block], i);
	return ret;
}
