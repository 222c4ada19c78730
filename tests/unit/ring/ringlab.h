/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue on the bench: guest memory in regions that are neighbours for the guest and strangers for
 * us, the three areas of one ring, both ends of it, and a record of what was told dirty.
 */
#ifndef RINGLAB_H
#define RINGLAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/driver.h"
#include "ring/layout.h"
#include "ring/position.h"
#include "ring/ring.h"

#define LAB_BASE 0x100000ull
#define LAB_REGION_LEN 0x3000ull
#define LAB_REGION_CNT 16
#define LAB_LEN (LAB_REGION_LEN * LAB_REGION_CNT)
#define LAB_DESC_ADDR 0x7000000ull
#define LAB_DEVICE_ADDR 0x8000000ull
/* Indirect tables of the driver side have a region of their own. */
#define LAB_TABLE_ADDR 0x9000000ull
#define LAB_TABLE_MAX 8
#define LAB_DIRTY_MAX 64

struct lab_dirty {
	uint64_t addr, len;
	uint16_t used_idx; /* split: what the driver saw as used index at that moment */
	uint16_t flags; /* packed: flags of descriptor 0 at that moment */
};

struct lab {
	uint16_t size;
	uint32_t features;
	char *regions[LAB_REGION_CNT];
	void *desc, *driver, *device;
	char *table;
	struct vhx_ring_mem mem;
	struct vhx_ring_slot *slots;
	struct vhx_vdriver_slot *driver_slots;
	struct vhx_vring r;
	struct vhx_vdriver d;
	struct iovec out[512], in[512];
	struct vhx_chain chain;
	struct lab_dirty dirty[LAB_DIRTY_MAX];
	unsigned int dirty_cnt;
	unsigned int map_calls;
	uint16_t raw_idx; /* what is made available next: avail index, or packed position */
};

/*
 * Both ends at index 0 (packed: 0 with wrap counter 1), no chain available. Fails the test on
 * error.
 */
struct lab *lab_new(uint16_t size, uint32_t features);
void lab_free(struct lab *lab);

/* The device end once more, at the positions that it has. */
void lab_reinit(struct lab *lab);
/* At others. */
void lab_reinit_at(struct lab *lab, uint16_t avail_idx, uint16_t used_idx);

/* Host address of a guest byte; no neighbour is promised beyond its region. */
char *lab_at(struct lab *lab, uint64_t addr);

/* Pops into the lab's own chain. */
int lab_pop(struct lab *lab);

/*
 * Writes descriptor @i by hand: @link is next or, in a packed ring, the buffer id. Packed
 * descriptors are made available at once, so write the first one last.
 */
void lab_desc(struct lab *lab, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
	      uint16_t link);
/* The same in an indirect table at guest address @table. */
void lab_table_desc(struct lab *lab, uint64_t table, uint16_t i, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t link);
/* Split: makes @head available. */
void lab_offer(struct lab *lab, uint16_t head);
/* Split: makes @head available; packed: nothing, lab_desc() did. For tests of both. */
void lab_go(struct lab *lab, uint16_t head);

bool lab_packed(const struct lab *lab);
void lab_assert_fault(struct lab *lab, enum vhx_ring_fault fault);

/* xorshift64*: the same numbers everywhere. */
uint32_t lab_random(uint64_t *state);

#endif
