// SPDX-License-Identifier: BSD-3-Clause
/*
 * A ring under a hostile other side. The input is a configuration and then a program: it writes the
 * shared memory, anywhere or where it hurts (descriptors, indices, tables), and lets our end go on.
 * Checked: chains lie in guest memory and within their bounds, ids are unique, a walk ends, and no
 * order of calls does harm.
 */
#include "fuzz.h"

#include <string.h>

#include "ring/driver.h"
#include "ring/layout.h"
#include "ring/position.h"
#include "ring/ring.h"

#define SIZE_MAX_ 32u
#define IOV_MAX_ 48u
/* Guest memory: the areas, then payload and tables. From HALF on it is a region of its own. */
#define MEM_LEN 0x2000u
#define DRIVER_OFF 0x400u
#define DEVICE_OFF 0x800u
#define PAYLOAD_OFF 0x1000u
#define HALF (PAYLOAD_OFF + 3 * TABLE_STEP + 24)
/* All but the first are not aligned, and the last lies over both regions. */
#define TABLE_CNT 4u
#define TABLE_STEP 0x2abu
/* Bounds the time of one input. */
#define STEPS_MAX 2048

struct world {
	struct fuzz_input in;
	_Alignas(16) uint8_t mem[MEM_LEN];
	uint32_t features;
	uint16_t size;
	struct vhx_ring_mem acc;
	struct vhx_vring r;
	struct vhx_ring_slot slots[SIZE_MAX_];
	struct vhx_vdriver d;
	struct vhx_vdriver_slot driver_slots[SIZE_MAX_];
	_Alignas(16) uint8_t tables[SIZE_MAX_ * 4 * VHX_DESC_LEN];
	bool in_flight[SIZE_MAX_];
	uint32_t capacity[SIZE_MAX_];
	uint16_t avail; /* what the hostile driver believes to be next */
	uint64_t dirty_cnt;
};

static int world_map(void *ctx, uint64_t addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	struct world *w = ctx;
	uint64_t first;

	FUZZ_CHECK(len && addr + len >= addr && max);
	if (addr > MEM_LEN || len > MEM_LEN - addr)
		return -EFAULT;
	first = addr < HALF && len > HALF - addr ? HALF - addr : len;
	iov[0] = (struct iovec){ w->mem + addr, first };
	if (first == len)
		return 1;
	if (max < 2)
		return -E2BIG;
	iov[1] = (struct iovec){ w->mem + HALF, len - first };
	return 2;
}

/*
 * Device and descriptor area have their guest addresses here: what is told dirty must lie in them.
 */
static void world_dirty(void *ctx, uint64_t addr, uint64_t len)
{
	struct world *w = ctx;
	uint64_t end = addr < DEVICE_OFF ? vhx_ring_desc_len(w->size, w->features)
					 : DEVICE_OFF + vhx_ring_device_len(w->size, w->features);

	FUZZ_CHECK(len && addr + len <= end);
	w->dirty_cnt++;
}

static bool is_packed(const struct world *w)
{
	return w->features & VHX_RING_F_PACKED;
}

static uint32_t touch(const struct world *w, const struct iovec *iov, unsigned int cnt, bool write)
{
	uint32_t sum = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		uint8_t *p = iov[i].iov_base;

		FUZZ_CHECK(iov[i].iov_len && p >= w->mem && p + iov[i].iov_len <= w->mem + MEM_LEN);
		sum += iov[i].iov_len;
		/* Answers may well lie over the ring: that is the driver's own affair. */
		if (write)
			p[iov[i].iov_len - 1] ^= 1;
	}
	return sum;
}

static void check_chain(struct world *w, const struct vhx_chain *c)
{
	FUZZ_CHECK(c->id < w->size && c->out_cnt <= c->out_max && c->in_cnt <= c->in_max);
	FUZZ_CHECK(touch(w, c->out, c->out_cnt, false) == c->out_len);
	FUZZ_CHECK(touch(w, c->in, c->in_cnt, true) == c->in_len);
}

/* Our end's calls. */

static void chain_room(struct world *w, struct vhx_chain *c, struct iovec *out, struct iovec *in)
{
	uint8_t room = fuzz_u8(&w->in);

	*c = (struct vhx_chain){ .out = out, .in = in };
	c->out_max = room & 1 ? IOV_MAX_ : room % IOV_MAX_;
	c->in_max = room & 1 ? IOV_MAX_ : room / 4 % IOV_MAX_;
}

static void do_pop(struct world *w)
{
	struct iovec out[IOV_MAX_], in[IOV_MAX_];
	struct vhx_chain c;
	int ret;

	chain_room(w, &c, out, in);
	ret = vhx_vring_pop(&w->r, &c);
	FUZZ_CHECK(ret == 1 || ret == 0 || ret == -ENOBUFS || ret == -EPROTO);
	FUZZ_CHECK((ret == -EPROTO) == (w->r.broken != VHX_RING_OK));
	if (ret != 1)
		return;
	check_chain(w, &c);
	FUZZ_CHECK(!w->in_flight[c.id]);
	w->in_flight[c.id] = true;
	w->capacity[c.id] = c.in_len;
}

/* The id in flight at or behind a byte of input, or -1. */
static int pick(struct world *w)
{
	unsigned int at = fuzz_u8(&w->in);

	for (unsigned int i = 0; i < w->size; i++)
		if (w->in_flight[(at + i) % w->size])
			return (at + i) % w->size;
	return -1;
}

static void do_push(struct world *w)
{
	int id = pick(w);

	if (id < 0)
		return;
	w->in_flight[id] = false;
	vhx_vring_push(&w->r, id, w->capacity[id]);
}

static void do_rewalk(struct world *w)
{
	struct iovec out[IOV_MAX_], in[IOV_MAX_];
	struct vhx_chain c;
	int id = pick(w), ret;

	if (id < 0)
		return;
	chain_room(w, &c, out, in);
	ret = vhx_vring_rewalk(&w->r, id, &c);
	FUZZ_CHECK(ret == 0 || ret == -ENOBUFS || ret == -EPROTO);
	if (!ret) {
		check_chain(w, &c);
		FUZZ_CHECK(c.id == id);
	}
}

static void do_flush(struct world *w)
{
	vhx_vring_flush(&w->r);
	FUZZ_CHECK(!vhx_vring_flush(&w->r));
}

static void do_kick(struct world *w)
{
	if (fuzz_u8(&w->in) & 1)
		vhx_vring_disable_kick(&w->r);
	else
		vhx_vring_enable_kick(&w->r);
}

static void world_vring(struct world *w, uint16_t avail_idx, uint16_t used_idx)
{
	struct vhx_vring_config cfg = {
		.size = w->size,
		.features = w->features,
		.desc = w->mem,
		.driver = w->mem + DRIVER_OFF,
		.device = w->mem + DEVICE_OFF,
		.desc_addr = 0,
		.device_addr = DEVICE_OFF,
		.mem = &w->acc,
		.slots = w->slots,
	};

	memset(w->in_flight, 0, sizeof(w->in_flight));
	if (vhx_vring_init(&w->r, &cfg, avail_idx, used_idx))
		FUZZ_CHECK(!vhx_vring_init(&w->r, &cfg, 0, 0));
	w->avail = w->r.avail_idx;
}

/* Up to three descriptors of which some are a chain. */
static void do_adopt_packed(struct world *w)
{
	struct vhx_ring_copy copies[3];
	uint16_t cnt = fuzz_u8(&w->in) % 4;

	for (unsigned int i = 0; i < cnt; i++)
		copies[i] = (struct vhx_ring_copy){
			.addr = fuzz_u16(&w->in) % (MEM_LEN + 16),
			.len = fuzz_u8(&w->in),
			.flags = (fuzz_u8(&w->in) & ~1u) | (i + 1u < cnt),
			.id = fuzz_u8(&w->in) % (SIZE_MAX_ + 2),
		};
	if (vhx_vring_adopt_packed(&w->r, copies, cnt))
		return;
	FUZZ_CHECK(cnt && copies[cnt - 1].id < w->size && !w->in_flight[copies[cnt - 1].id]);
	w->in_flight[copies[cnt - 1].id] = true;
	w->capacity[copies[cnt - 1].id] = 0;
}

/* Starts again where it was, or at positions that somebody made up; adopts what it may. */
static void do_restart(struct world *w)
{
	bool keep = fuzz_u8(&w->in) & 1;
	uint16_t avail = keep ? w->r.avail_idx : fuzz_u16(&w->in);
	uint16_t used = keep ? w->r.used_published : fuzz_u16(&w->in);

	world_vring(w, avail, used);
	for (unsigned int n = fuzz_u8(&w->in) % 8; n; n--) {
		uint8_t id = fuzz_u8(&w->in);

		do_adopt_packed(w);
		if (!vhx_vring_adopt(&w->r, id)) {
			w->in_flight[id] = true;
			w->capacity[id] = 0;
		}
	}
}

/* What the other side does to the memory. */

static void write_raw(struct world *w)
{
	uint16_t at = fuzz_u16(&w->in) % MEM_LEN;
	unsigned int n = fuzz_u8(&w->in) % 16;

	for (; n && at < MEM_LEN; n--)
		w->mem[at++] = fuzz_u8(&w->in);
}

/* A descriptor that may well be right: small, in the payload, with one of the usual flags. */
static void desc_plausible(struct world *w, uint8_t *at, uint16_t avail_bits)
{
	static const uint16_t usual[] = { 0, 1, 2, 3, 1, 3, 4, 0 };
	uint8_t kind = fuzz_u8(&w->in);
	uint64_t addr = PAYLOAD_OFF + fuzz_u16(&w->in) % (MEM_LEN - PAYLOAD_OFF);
	uint32_t len = kind & 8 ? fuzz_u8(&w->in) % 8 * VHX_DESC_LEN : fuzz_u8(&w->in);
	uint16_t flags = usual[kind & 7], link = fuzz_u8(&w->in) % (w->size + !(kind & 0xf0));
	struct vhx_split_desc s = { vhx_le64_of(addr), vhx_le32_of(len), vhx_le16_of(flags),
				    vhx_le16_of(link) };
	struct vhx_packed_desc p = { vhx_le64_of(addr), vhx_le32_of(len), vhx_le16_of(link),
				     vhx_le16_of(flags | avail_bits) };

	/* Tables have a few usual places, or references would seldom meet one. */
	if (kind & 8 && flags & VIRTQ_DESC_F_INDIRECT)
		s.addr = p.addr = vhx_le64_of(PAYLOAD_OFF + addr % TABLE_CNT * TABLE_STEP);
	if (kind == 0xff)
		s.addr = p.addr = vhx_le64_of(~(uint64_t)fuzz_u8(&w->in));
	if (kind == 0xfe)
		s.len = p.len = vhx_le32_of(fuzz_u32(&w->in));
	memcpy(at, is_packed(w) ? (void *)&p : (void *)&s, VHX_DESC_LEN);
}

static void write_desc(struct world *w)
{
	uint16_t i = fuzz_u8(&w->in) % w->size;

	if (!is_packed(w)) {
		desc_plausible(w, w->mem + i * VHX_DESC_LEN, 0);
		return;
	}
	desc_plausible(w, w->mem + vhx_pos_idx(w->avail) * VHX_DESC_LEN,
		       vhx_packed_avail_bits(w->avail));
	w->avail = vhx_pos_add(w->avail, 1, w->size);
}

static void write_table(struct world *w)
{
	uint8_t at = fuzz_u8(&w->in);

	desc_plausible(w,
		       w->mem + PAYLOAD_OFF + at % TABLE_CNT * TABLE_STEP +
			       at / TABLE_CNT % 4 * VHX_DESC_LEN,
		       0);
}

static void write_avail(struct world *w)
{
	struct vhx_split_avail *avail = (void *)(w->mem + DRIVER_OFF);
	uint8_t head = fuzz_u8(&w->in);

	if (is_packed(w))
		return;
	avail->ring[w->avail++ & (w->size - 1)] = vhx_le16_of(head % (w->size + (head == 255)));
	avail->idx = vhx_le16_of(w->avail);
}

/* Chosen by a byte each; what is here several times is wanted more often. */
static void (*const device_ops[])(struct world *w) = {
	do_pop,	     do_pop,	  do_push,     do_push,	   do_flush,   do_kick,
	do_rewalk,   write_raw,	  write_desc,  write_desc, write_desc, write_table,
	write_avail, write_avail, write_avail, do_restart,
};

static void run_device(struct world *w)
{
	uint16_t base = fuzz_u16(&w->in);

	world_vring(w, is_packed(w) ? VHX_POS_WRAP : base, is_packed(w) ? VHX_POS_WRAP : base);
	for (int i = 0; w->in.len && i < STEPS_MAX; i++)
		device_ops[fuzz_u8(&w->in) % VHX_ARRAY_SIZE(device_ops)](w);
}

/* The driver end, and a hostile device. */

static void do_add(struct world *w)
{
	struct vhx_vdriver_seg segs[8];
	uint8_t cnt = fuzz_u8(&w->in);
	uint32_t in_len = 0;
	int id;

	for (size_t i = 0; i < VHX_ARRAY_SIZE(segs); i++) {
		segs[i] = (struct vhx_vdriver_seg){ PAYLOAD_OFF, fuzz_u8(&w->in) };
		if (i >= (cnt & 3u) && i < (cnt & 3u) + (cnt >> 2 & 3u))
			in_len += segs[i].len;
	}
	id = vhx_vdriver_add(&w->d, segs, cnt & 3, cnt >> 2 & 3);
	if (id < 0)
		return;
	FUZZ_CHECK(id < w->size && !w->in_flight[id]);
	w->in_flight[id] = true;
	w->capacity[id] = in_len;
}

static void do_publish(struct world *w)
{
	vhx_vdriver_publish(&w->d);
}

static void do_get_used(struct world *w)
{
	uint32_t used_len;
	uint16_t id;
	int ret = vhx_vdriver_get_used(&w->d, &id, &used_len);

	FUZZ_CHECK(ret == 1 || ret == 0 || ret == -EPROTO);
	FUZZ_CHECK((ret == -EPROTO) == (w->d.broken != VHX_RING_OK));
	if (ret != 1)
		return;
	FUZZ_CHECK(id < w->size && w->in_flight[id] && used_len <= w->capacity[id]);
	w->in_flight[id] = false;
}

static void do_call(struct world *w)
{
	if (fuzz_u8(&w->in) & 1)
		vhx_vdriver_disable_call(&w->d);
	else
		vhx_vdriver_enable_call(&w->d);
}

static void write_used(struct world *w)
{
	struct vhx_split_used *used = (void *)(w->mem + DEVICE_OFF);
	struct vhx_packed_desc *desc = (void *)w->mem;
	uint16_t pos = w->d.used_idx, id = fuzz_u8(&w->in) % w->size;
	uint32_t len = fuzz_u8(&w->in) % 128;

	if (is_packed(w)) {
		desc += vhx_pos_idx(pos);
		desc->id = vhx_le16_of(id);
		desc->len = vhx_le32_of(len);
		desc->flags = vhx_le16_of(vhx_packed_used_bits(pos) | VIRTQ_DESC_F_WRITE);
		return;
	}
	used->ring[w->avail & (w->size - 1)].id = vhx_le32_of(id);
	used->ring[w->avail & (w->size - 1)].len = vhx_le32_of(len);
	used->idx = vhx_le16_of(++w->avail);
}

static void (*const driver_ops[])(struct world *w) = {
	do_add,	     do_add,  do_add,	  do_publish, do_publish, do_get_used,
	do_get_used, do_call, write_used, write_used, write_raw,
};

static void run_driver(struct world *w)
{
	struct vhx_vdriver_config cfg = {
		.size = w->size,
		.features = w->features,
		.desc = w->mem,
		.driver = w->mem + DRIVER_OFF,
		.device = w->mem + DEVICE_OFF,
		.indirect = w->tables,
		.indirect_addr = 0x100000,
		.indirect_max = 4,
		.slots = w->driver_slots,
	};

	FUZZ_CHECK(!vhx_vdriver_init(&w->d, &cfg));
	for (int i = 0; w->in.len && i < STEPS_MAX; i++)
		driver_ops[fuzz_u8(&w->in) % VHX_ARRAY_SIZE(driver_ops)](w);
	FUZZ_CHECK(w->d.in_flight <= w->size && w->d.free_cnt <= w->size);
}

/*
 * One chain through a split ring of 8, one through a packed one of 5: three descriptors, out, in,
 * in; pop, push, flush. The numbers are places in device_ops.
 */
static const uint8_t seed_split[] = {
	0x07, 0x03, 0, 0,    8,	  0, 0x11, 0, 0,  8, 1, 8, 1, 0x13, 64, 0, 8,
	2,    8,    2, 0x12, 128, 0, 8,	   0, 12, 0, 0, 1, 2, 0,    4,	5, 0,
};
static const uint8_t seed_packed[] = {
	0x27, 0x04, 0, 0, 8,	0,   0x11, 0, 0, 8, 1, 8, 1, 0x13, 64, 0,
	8,    1,    8, 2, 0x12, 128, 0,	   8, 1, 0, 1, 2, 1, 4,	   5,  0,
};

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_split, sizeof(seed_split) },
	{ seed_packed, sizeof(seed_packed) },
	{ NULL, 0 },
};

/* First byte: features, bit 4: driver end, bit 5: packed; second: size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world w = { .in = { data, len } };
	uint8_t mode = fuzz_u8(&w.in);
	uint8_t size = fuzz_u8(&w.in);

	w.features = mode & (VHX_RING_F_INDIRECT | VHX_RING_F_EVENT_IDX | VHX_RING_F_IN_ORDER);
	if (mode & 0x20)
		w.features |= VHX_RING_F_PACKED;
	w.size = is_packed(&w) ? 1 + size % SIZE_MAX_ : 1u << size % 6;
	w.acc = (struct vhx_ring_mem){ .map = world_map, .dirty = world_dirty, .ctx = &w };
	if (mode & 0x10)
		run_driver(&w);
	else
		run_device(&w);
	return 0;
}
