// SPDX-License-Identifier: BSD-3-Clause
#include "ringlab.h"

/* Translates one piece; 0 where there is no memory. */
static size_t lab_piece(struct lab *lab, uint64_t addr, uint64_t len, struct iovec *iov)
{
	uint64_t table_len = (uint64_t)lab->size * LAB_TABLE_MAX * VHX_DESC_LEN;
	uint64_t off, room;

	if (addr >= LAB_TABLE_ADDR && addr < LAB_TABLE_ADDR + table_len) {
		off = addr - LAB_TABLE_ADDR;
		room = table_len - off;
		iov->iov_base = lab->table + off;
	} else if (addr >= LAB_BASE && addr < LAB_BASE + LAB_LEN) {
		off = (addr - LAB_BASE) % LAB_REGION_LEN;
		room = LAB_REGION_LEN - off;
		iov->iov_base = lab->regions[(addr - LAB_BASE) / LAB_REGION_LEN] + off;
	} else {
		return 0;
	}
	iov->iov_len = len < room ? len : room;
	return iov->iov_len;
}

static int lab_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	struct lab *lab = ctx;
	unsigned int n = 0;
	size_t piece;

	lab->map_calls++;
	for (; len; addr += piece, len -= piece) {
		if (n == max)
			return -E2BIG;
		piece = lab_piece(lab, addr, len, &iov[n++]);
		if (!piece)
			return -EFAULT;
	}
	return n;
}

static void lab_dirty(void *ctx, uint64_t addr, uint64_t len)
{
	struct lab *lab = ctx;
	struct lab_dirty *dirty = &lab->dirty[lab->dirty_cnt % LAB_DIRTY_MAX];

	dirty->addr = addr;
	dirty->len = len;
	dirty->used_idx = 0;
	dirty->flags = 0;
	if (lab_packed(lab))
		dirty->flags = vhx_le16_load(&((struct vhx_packed_desc *)lab->desc)->flags);
	else
		dirty->used_idx = vhx_le16_load(&((struct vhx_split_used *)lab->device)->idx);
	lab->dirty_cnt++;
}

/* Exactly as long as it says, so that a sanitizer sees one byte too many. */
static void *lab_area(uint64_t len)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 16, len), 0);
	memset(p, 0, len);
	return p;
}

static void lab_init_device(struct lab *lab, uint16_t avail_idx, uint16_t used_idx)
{
	struct vhx_vring_config cfg = {
		.size = lab->size,
		.features = lab->features,
		.desc = lab->desc,
		.driver = lab->driver,
		.device = lab->device,
		.device_addr = LAB_DEVICE_ADDR,
		.desc_addr = LAB_DESC_ADDR,
		.mem = &lab->mem,
		.slots = lab->slots,
	};

	assert_int_equal(vhx_vring_init(&lab->r, &cfg, avail_idx, used_idx), 0);
}

static void lab_init_driver(struct lab *lab)
{
	struct vhx_vdriver_config cfg = {
		.size = lab->size,
		.features = lab->features,
		.desc = lab->desc,
		.driver = lab->driver,
		.device = lab->device,
		.indirect = lab->features & VHX_RING_F_INDIRECT ? lab->table : NULL,
		.indirect_addr = LAB_TABLE_ADDR,
		.indirect_max = LAB_TABLE_MAX,
		.slots = lab->driver_slots,
	};

	assert_int_equal(vhx_vdriver_init(&lab->d, &cfg), 0);
}

struct lab *lab_new(uint16_t size, uint32_t features)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_non_null(lab);
	lab->size = size;
	lab->features = features;
	for (int i = 0; i < LAB_REGION_CNT; i++)
		lab->regions[i] = lab_area(LAB_REGION_LEN);
	lab->desc = lab_area(vhx_ring_desc_len(size, features));
	lab->driver = lab_area(vhx_ring_driver_len(size, features));
	lab->device = lab_area(vhx_ring_device_len(size, features));
	lab->table = lab_area((uint64_t)size * LAB_TABLE_MAX * VHX_DESC_LEN);
	lab->slots = calloc(size, sizeof(*lab->slots));
	lab->driver_slots = calloc(size, sizeof(*lab->driver_slots));
	assert_true(lab->slots && lab->driver_slots);
	lab->mem = (struct vhx_ring_mem){ .map = lab_map, .dirty = lab_dirty, .ctx = lab };
	lab->chain = (struct vhx_chain){
		.out = lab->out,
		.in = lab->in,
		.out_max = VHX_ARRAY_SIZE(lab->out),
		.in_max = VHX_ARRAY_SIZE(lab->in),
	};
	lab->raw_idx = lab_packed(lab) ? VHX_POS_WRAP : 0;
	lab_init_driver(lab);
	lab_init_device(lab, lab->raw_idx, lab->raw_idx);
	return lab;
}

void lab_free(struct lab *lab)
{
	for (int i = 0; i < LAB_REGION_CNT; i++)
		free(lab->regions[i]);
	free(lab->desc);
	free(lab->driver);
	free(lab->device);
	free(lab->table);
	free(lab->slots);
	free(lab->driver_slots);
	free(lab);
}

void lab_reinit(struct lab *lab)
{
	lab_init_device(lab, lab->r.avail_idx, lab->r.used_idx);
}

void lab_reinit_at(struct lab *lab, uint16_t avail_idx, uint16_t used_idx)
{
	lab_init_device(lab, avail_idx, used_idx);
}

char *lab_at(struct lab *lab, uint64_t addr)
{
	static char nowhere;
	struct iovec iov = { .iov_base = &nowhere };

	assert_true(lab_piece(lab, addr, 1, &iov));
	return iov.iov_base;
}

int lab_pop(struct lab *lab)
{
	return vhx_vring_pop(&lab->r, &lab->chain);
}

bool lab_packed(const struct lab *lab)
{
	return lab->features & VHX_RING_F_PACKED;
}

static void desc_write(bool packed, void *at, uint64_t addr, uint32_t len, uint16_t flags,
		       uint16_t link)
{
	struct vhx_split_desc s = { vhx_le64_of(addr), vhx_le32_of(len), vhx_le16_of(flags),
				    vhx_le16_of(link) };
	struct vhx_packed_desc p = { vhx_le64_of(addr), vhx_le32_of(len), vhx_le16_of(link),
				     vhx_le16_of(flags) };

	memcpy(at, packed ? (void *)&p : (void *)&s, VHX_DESC_LEN);
}

void lab_desc(struct lab *lab, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
	      uint16_t link)
{
	if (lab_packed(lab))
		flags |= vhx_packed_avail_bits(lab->raw_idx);
	desc_write(lab_packed(lab), (char *)lab->desc + i * VHX_DESC_LEN, addr, len, flags, link);
}

void lab_table_desc(struct lab *lab, uint64_t table, uint16_t i, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t link)
{
	char raw[VHX_DESC_LEN];

	desc_write(lab_packed(lab), raw, addr, len, flags, link);
	for (unsigned int n = 0; n < sizeof(raw); n++)
		*lab_at(lab, table + i * VHX_DESC_LEN + n) = raw[n];
}

void lab_offer(struct lab *lab, uint16_t head)
{
	struct vhx_split_avail *avail = lab->driver;

	avail->ring[lab->raw_idx++ & (lab->size - 1)] = vhx_le16_of(head);
	avail->idx = vhx_le16_of(lab->raw_idx);
}

void lab_go(struct lab *lab, uint16_t head)
{
	if (!lab_packed(lab))
		lab_offer(lab, head);
}

void lab_assert_fault(struct lab *lab, enum vhx_ring_fault fault)
{
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_string_equal(vhx_ring_fault_name(lab->r.broken), vhx_ring_fault_name(fault));
	/* It stays broken, and does not pretend to have more. */
	assert_int_equal(lab_pop(lab), -EPROTO);
	assert_false(vhx_vring_enable_kick(&lab->r));
	assert_int_equal(lab->r.in_flight, 0);
}

uint32_t lab_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (x * 0x2545f4914f6cdd1dull) >> 32;
}
