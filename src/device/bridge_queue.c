// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. The bridge's memory is shared with a device that is not trusted: the ring and the bytes of requests in
 * flight lie there, and nothing else does. All that decides anything (lists, lengths, who has which page) is in
 * this process's own. A request is on one of these lists:
 *
 *   submit --> waiting --push--> flying --pull--> answering --answer--> over
 *                 ^                |   `--merging--^
 *                 `----restart-----'
 *
 * Room. In flight a request holds a cell, which has its short parts, and up to two runs of pages, which have its long
 * ones: so that it takes few descriptors, and payload begins at a page, as O_DIRECT wants it. Requests are
 * given in order; one that finds no room waits for others to come back, and those behind it wait too. Since the
 * arena is as large as the largest request, it always gets its turn. The pages of a request whose answer waits for
 * room towards the driver stay taken until then. Where a disk says how long a descriptor may be, a run is cut into
 * several.
 *
 * Requests that are about other queues' (core/devtype.h: about_others) are given behind what those have waiting, and
 * answered behind what those have to answer, when they are the next ones: the device is another program, and sees all
 * queues at once.
 *
 * An answer is the prefix that the device says it wrote. Types with a status byte at the end (blk, i2c) get that as
 * well, and where it is success all that lies before it: drivers of such types go by the status alone, and so
 * devices have been careless with the length.
 *
 * Merged receive buffers (5.1.6.4): the header in the first one says how many a packet spans. They are held until all
 * are back, and shown to the driver at once. That number is read once.
 *
 * A hostile device can write what it likes, whenever. Used entries are checked by the ring (ring/driver.c): an id that it
 * does not have, or more bytes than there is room for, break the ring. What it writes into payload is an answer
 * like any other. It can hold requests for ever; they are its own driver's.
 */
#include "device/bridge_queue.h"

#include <stdlib.h>
#include <string.h>

#include <vhx/endian.h>

#include "util/checked.h"

/* A cell: short parts of a request, out and in. */
#define CELL_LEN 512u
#define CELL_HALF (CELL_LEN / 2)
#define NO_CELL UINT16_MAX

#define OUT 0
#define IN 1

/* 5.1.6: where a packet's header has num_buffers, and how long it is. */
#define NET_HDR_LEN 12u
#define NET_NUM_BUFFERS 10u

/* Descriptors of a request, each way. */
#define CUT_MAX (VHX_BRIDGE_HEADS_MAX + VHX_BRIDGE_PIECES_MAX)

_Static_assert(2 * VHX_BRIDGE_HEAD_MAX <= CELL_HALF, "heads fit a cell");

/* req->priv: its cell and one more, or 0; deaths of devices that had it; its kind; writes done when it was given. */
#define PRIV_CELL 0
#define PRIV_DEATHS 1
#define PRIV_KIND 2
#define PRIV_WRITES 3

/* Layout of its part of the memory, and where each area begins. */
struct layout {
	uint64_t desc, driver, device, tables, cells, pages, end;
};

static uint64_t page_up(uint64_t len)
{
	return vhx_div_round_up_u64(len, VHX_PAGE) * VHX_PAGE;
}

static uint32_t arena_pages(const struct vhx_bridge_queue_config *cfg)
{
	return (uint32_t)vhx_div_round_up_u64(cfg->max_bytes, VHX_PAGE) + 2;
}

/* Either format: which one it will be is known with the first device. */
static void layout_make(const struct vhx_bridge_queue_config *cfg, struct layout *l)
{
	uint16_t n = cfg->size;

	l->desc = 0;
	l->driver = l->desc + page_up(vhx_ring_desc_len(n, 0));
	l->device = l->driver + page_up(vhx_ring_driver_len(n, 0));
	l->tables = l->device + page_up(vhx_ring_device_len(n, 0));
	l->cells = l->tables + page_up((uint64_t)n * VHX_BRIDGE_SEGS_MAX * 16);
	l->pages = l->cells + page_up((uint64_t)n * CELL_LEN);
	l->end = l->pages + (uint64_t)arena_pages(cfg) * VHX_PAGE;
}

uint64_t vhx_bridge_queue_len(const struct vhx_bridge_queue_config *cfg)
{
	struct layout l;

	layout_make(cfg, &l);
	return l.end;
}

/* Cells and pages */

static void cells_init(struct vhx_bridge_queue *q)
{
	uint16_t i;

	for (i = 0; i < q->cfg.size; i++)
		q->flights[i].next = i + 1 < q->cfg.size ? i + 1 : NO_CELL;
	q->free_cell = 0;
}

static uint32_t run_at(const struct vhx_bridge_queue *q, uint32_t first, uint32_t cnt)
{
	uint32_t n;

	for (n = 0; n < cnt && first + n < q->page_cnt && !q->page_busy[first + n]; n++)
		;
	return n;
}

/* The first run of @cnt free pages behind the last one given, or before it. */
static bool run_find(struct vhx_bridge_queue *q, uint32_t from, uint32_t to, uint32_t cnt,
		     uint32_t *first)
{
	while (from < to) {
		uint32_t n = run_at(q, from, cnt);

		if (n == cnt) {
			*first = from;
			return true;
		}
		from += n + 1;
	}
	return false;
}

static bool run_get(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f, int way, uint32_t len)
{
	uint32_t cnt = (uint32_t)vhx_div_round_up_u64(len, VHX_PAGE), first = 0;

	f->pages[way] = 0;
	if (!cnt)
		return true;
	if (!run_find(q, q->page_hint, q->page_cnt, cnt, &first) &&
	    !run_find(q, 0, q->page_hint, cnt, &first))
		return false;
	memset(q->page_busy + first, 1, cnt);
	f->page[way] = first;
	f->pages[way] = cnt;
	q->page_hint = first + cnt;
	return true;
}

static void run_put(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f, int way)
{
	memset(q->page_busy + f->page[way], 0, f->pages[way]);
	f->pages[way] = 0;
}

static struct vhx_bridge_flight *flight_of(struct vhx_bridge_queue *q,
					   const struct vhx_request *req)
{
	return &q->flights[req->priv[PRIV_CELL] - 1];
}

/* Gives back what a request holds of the memory. */
static void flight_put(struct vhx_bridge_queue *q, struct vhx_request *req)
{
	struct vhx_bridge_flight *f;

	if (!req->priv[PRIV_CELL])
		return;
	f = flight_of(q, req);
	run_put(q, f, OUT);
	run_put(q, f, IN);
	f->req = NULL;
	f->next = q->free_cell;
	q->free_cell = (uint16_t)(req->priv[PRIV_CELL] - 1);
	req->priv[PRIV_CELL] = 0;
}

/* Open and close */

int vhx_bridge_queue_init(struct vhx_bridge_queue *q, const struct vhx_bridge_queue_config *cfg,
			  const struct vhx_bridge_memory *m, uint64_t off)
{
	*q = (struct vhx_bridge_queue){
		.cfg = *cfg,
		.base = m->base + off,
		.addr = m->addr + off,
		.page_cnt = arena_pages(cfg),
	};
	vhx_list_init(&q->waiting);
	vhx_list_init(&q->flying);
	vhx_list_init(&q->merging);
	vhx_list_init(&q->answering);
	q->slots = calloc(cfg->size, sizeof(*q->slots));
	q->flights = calloc(cfg->size, sizeof(*q->flights));
	q->cell_of = calloc(cfg->size, sizeof(*q->cell_of));
	q->page_busy = calloc(q->page_cnt, 1);
	if (!q->slots || !q->flights || !q->cell_of || !q->page_busy) {
		vhx_bridge_queue_fini(q);
		return -ENOMEM;
	}
	cells_init(q);
	cfg->beside[cfg->index] = q;
	q->memory = cfg->size * (sizeof(*q->slots) + sizeof(*q->flights) + sizeof(*q->cell_of)) +
		    q->page_cnt;
	return 0;
}

void vhx_bridge_queue_fini(struct vhx_bridge_queue *q)
{
	free(q->slots);
	free(q->flights);
	free(q->cell_of);
	free(q->page_busy);
	q->slots = NULL;
	q->flights = NULL;
	q->cell_of = NULL;
	q->page_busy = NULL;
}

static void ring_init(struct vhx_bridge_queue *q, uint32_t features)
{
	struct layout l;
	int ret;

	layout_make(&q->cfg, &l);
	ret = vhx_vdriver_init(&q->ring, &(struct vhx_vdriver_config){
						 .size = q->cfg.size,
						 .features = features,
						 .desc = q->base + l.desc,
						 .driver = q->base + l.driver,
						 .device = q->base + l.device,
						 .indirect = q->base + l.tables,
						 .indirect_addr = q->addr + l.tables,
						 .indirect_max = VHX_BRIDGE_SEGS_MAX,
						 .slots = q->slots,
					 });
	/* Of a size and areas that are ours. */
	assert(!ret);
	(void)ret;
}

void vhx_bridge_queue_areas(const struct vhx_bridge_queue *q, uint64_t *desc, uint64_t *driver,
			    uint64_t *device)
{
	struct layout l;

	layout_make(&q->cfg, &l);
	*desc = q->addr + l.desc;
	*driver = q->addr + l.driver;
	*device = q->addr + l.device;
}

uint32_t vhx_bridge_queue_base(const struct vhx_bridge_queue *q)
{
	uint32_t used = q->ring.used_idx;

	return q->ring.cfg.features & VHX_RING_F_PACKED ? used << 16 | used : used;
}

/* Ends that no device brings about */

/* The request is on no list. */
static void request_fail(struct vhx_bridge_queue *q, struct vhx_request *req)
{
	uint8_t peek[VHX_DEVTYPE_PEEK];
	struct vhx_devtype_request r = {
		.queue = q->cfg.index,
		.queues = q->cfg.queues,
		.out_len = req->out_len,
		.in_len = req->in_len,
		.peek = peek,
		.peek_len = vhx_request_out_read(req, 0, peek, sizeof(peek)),
	};
	struct vhx_devtype_ending e;

	flight_put(q, req);
	vhx_devtype_end(q->cfg.type, &r, &e);
	vhx_request_complete(req, 0, e.bytes, e.off, e.len, e.used_len);
}

static struct vhx_request *list_take(struct vhx_list *list)
{
	struct vhx_request *req = vhx_list_first_entry(list, struct vhx_request, node);

	vhx_list_del(&req->node);
	return req;
}

void vhx_bridge_queue_fail_waiting(struct vhx_bridge_queue *q)
{
	struct vhx_list posted;

	vhx_list_init(&posted);
	while (!vhx_list_empty(&q->waiting)) {
		struct vhx_request *req = list_take(&q->waiting);

		if (req->out_len)
			request_fail(q, req);
		else
			vhx_list_add_tail(&posted, &req->node);
	}
	vhx_list_splice_tail(&q->waiting, &posted);
	q->ahead[OUT] = 0;
}

static void list_drop(struct vhx_bridge_queue *q, struct vhx_list *list)
{
	while (!vhx_list_empty(list)) {
		struct vhx_request *req = list_take(list);

		flight_put(q, req);
		vhx_request_drop(req);
	}
}

void vhx_bridge_queue_drop_waiting(struct vhx_bridge_queue *q)
{
	list_drop(q, &q->waiting);
	list_drop(q, &q->answering);
	q->ahead[OUT] = 0;
	q->ahead[IN] = 0;
}

void vhx_bridge_queue_drop(struct vhx_bridge_queue *q)
{
	vhx_bridge_queue_drop_waiting(q);
	list_drop(q, &q->merging);
	list_drop(q, &q->flying);
	q->owed = 0;
	q->merge_left = 0;
}

/* It told the device nothing, or telling it twice does no harm. */
static bool may_repeat(const struct vhx_bridge_queue *q, const struct vhx_request *req)
{
	return !req->out_len || vhx_devtype_replays(q->cfg.type, q->cfg.index);
}

void vhx_bridge_queue_restart(struct vhx_bridge_queue *q, uint32_t features, bool death)
{
	struct vhx_list again;

	/* Of a packet that is not whole, nothing has been shown to the driver. */
	vhx_list_init(&again);
	vhx_list_splice_tail(&q->merging, &q->flying);
	vhx_list_splice_tail(&q->flying, &q->merging);
	while (!vhx_list_empty(&q->flying)) {
		struct vhx_request *req = list_take(&q->flying);

		req->priv[PRIV_DEATHS] += death && req->out_len;
		req->group = false;
		if (!may_repeat(q, req) || req->priv[PRIV_DEATHS] >= VHX_BRIDGE_DEATHS_MAX) {
			request_fail(q, req);
			continue;
		}
		flight_put(q, req);
		vhx_list_add_tail(&again, &req->node);
	}
	vhx_list_splice_tail(&again, &q->waiting);
	vhx_list_splice_tail(&q->waiting, &again);
	q->owed = 0;
	q->merge_left = 0;
	q->behind[OUT] = false;
	q->ahead[OUT] = 0;
	ring_init(q, features);
}

/* What requests that are about other queues' have to let pass: to be given (OUT), or to be answered (IN) */

static uint32_t list_len(const struct vhx_list *list)
{
	const struct vhx_list *pos;
	uint32_t len = 0;

	for (pos = list->next; pos != list; pos = pos->next)
		len++;
	return len;
}

static bool others_passed(struct vhx_bridge_queue *q, int way)
{
	uint16_t first = q->cfg.type->about_others, i;

	if (!vhx_bridge_queue_about_others(q))
		return true;
	for (i = first; i < q->cfg.queues && !q->behind[way]; i++) {
		struct vhx_bridge_queue *other = q->cfg.beside[i];

		other->ahead[way] = list_len(way == OUT ? &other->waiting : &other->answering);
	}
	q->behind[way] = true;
	for (i = first; i < q->cfg.queues; i++) {
		if (q->cfg.beside[i]->ahead[way])
			return false;
	}
	return true;
}

static void passed(struct vhx_bridge_queue *q, int way)
{
	q->behind[way] = false;
	q->ahead[way] -= q->ahead[way] != 0;
}

void vhx_bridge_queue_go(struct vhx_bridge_queue *q, vhx_bridge_queue_step *step)
{
	uint16_t i;

	step(q);
	if (vhx_bridge_queue_about_others(q))
		return;
	for (i = 0; i < q->cfg.type->about_others; i++)
		step(q->cfg.beside[i]);
}

bool vhx_bridge_queue_come(struct vhx_bridge_queue *q, bool (*take)(struct vhx_bridge_queue *q),
			   vhx_bridge_queue_step *answer)
{
	uint16_t first = vhx_bridge_queue_about_others(q) ? q->cfg.type->about_others
							  : q->cfg.queues;
	bool ok = take(q);
	uint16_t i;

	for (i = first; i < q->cfg.queues; i++)
		ok &= take(q->cfg.beside[i]);
	for (i = first; i < q->cfg.queues; i++)
		vhx_bridge_queue_go(q->cfg.beside[i], answer);
	vhx_bridge_queue_go(q, answer);
	return ok;
}

/* To the device */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint8_t *cell_of(struct vhx_bridge_queue *q, const struct vhx_bridge_flight *f)
{
	struct layout l;

	layout_make(&q->cfg, &l);
	return q->base + l.cells + (size_t)(f - q->flights) * CELL_LEN;
}

static uint8_t *page_of(struct vhx_bridge_queue *q, uint32_t page)
{
	struct layout l;

	layout_make(&q->cfg, &l);
	return q->base + l.pages + (size_t)page * VHX_PAGE;
}

/* A part of @len bytes: in the cell if @left of it are enough, else in pages. */
static bool part_place(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f, int way,
		       uint8_t *cell, uint32_t left, uint32_t len, struct vhx_bridge_part *part)
{
	*part = (struct vhx_bridge_part){ cell, len };
	if (len <= left)
		return true;
	if (!run_get(q, f, way, len))
		return false;
	part->bytes = page_of(q, f->page[way]);
	return true;
}

/* The parts of the out bytes, copied into the memory. Their number; 0 with @ok false: no room now. */
static unsigned int out_place(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f,
			      struct vhx_bridge_part parts[3], bool *ok)
{
	const struct vhx_bridge_framing *framing = q->cfg.framing;
	uint8_t *cell = cell_of(q, f);
	uint32_t off = 0, total = f->req->out_len;
	unsigned int cnt = 0, i;

	for (i = 0; i < 2; i++) {
		uint32_t len = min_u32(framing->out_heads[i], total - off);

		if (!len)
			continue;
		parts[cnt++] = (struct vhx_bridge_part){ cell + off, len };
		off += len;
	}
	*ok = true;
	if (off < total) {
		*ok = part_place(q, f, OUT, cell + off, CELL_HALF - off, total - off, &parts[cnt]);
		cnt++;
	}
	return cnt;
}

static void out_copy(const struct vhx_request *req, const struct vhx_bridge_part *parts,
		     unsigned int cnt)
{
	uint32_t off = 0;
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		vhx_request_out_read(req, off, parts[i].bytes, parts[i].len);
		off += parts[i].len;
	}
}

static bool in_place(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f)
{
	const struct vhx_bridge_framing *framing = q->cfg.framing;
	uint8_t *cell = cell_of(q, f) + CELL_HALF;
	uint32_t total = f->req->in_len;
	uint32_t tail = min_u32(framing->in_tail, total);
	uint32_t head = min_u32(framing->in_head, total - tail);
	uint32_t rest = total - tail - head;

	f->in_cnt = 0;
	if (head)
		f->in[f->in_cnt++] = (struct vhx_bridge_part){ cell, head };
	if (rest && !part_place(q, f, IN, cell + head + tail, CELL_HALF - head - tail, rest,
				&f->in[f->in_cnt++]))
		return false;
	if (tail)
		f->in[f->in_cnt++] = (struct vhx_bridge_part){ cell + head, tail };
	return true;
}

/* A part, in pieces that the device takes. Their number. */
static unsigned int part_cut(const struct vhx_bridge_queue *q, struct vhx_vdriver_seg *segs,
			     const struct vhx_bridge_part *part)
{
	uint64_t addr = q->addr + (uint64_t)(part->bytes - q->base);
	unsigned int cnt = 0;
	uint32_t off, len;

	for (off = 0; off < part->len; off += len) {
		len = min_u32(part->len - off, q->cfg.payload.piece);
		segs[cnt++] = (struct vhx_vdriver_seg){ .addr = addr + off, .len = len };
	}
	return cnt;
}

static unsigned int segs_add(const struct vhx_bridge_queue *q, struct vhx_vdriver_seg *segs,
			     const struct vhx_bridge_part *parts, unsigned int cnt)
{
	unsigned int i, segs_cnt = 0;

	for (i = 0; i < cnt; i++)
		segs_cnt += part_cut(q, segs + segs_cnt, &parts[i]);
	assert(segs_cnt <= CUT_MAX);
	return segs_cnt;
}

/* False: there is no room for it now. */
static bool request_place(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f)
{
	struct vhx_vdriver_seg segs[2 * CUT_MAX];
	struct vhx_bridge_part out[3];
	unsigned int out_cnt, out_segs, in_segs;
	bool ok;
	int id;

	out_cnt = out_place(q, f, out, &ok);
	if (!ok || !in_place(q, f))
		return false;
	out_segs = segs_add(q, segs, out, out_cnt);
	in_segs = segs_add(q, segs + out_segs, f->in, f->in_cnt);
	id = vhx_vdriver_add(&q->ring, segs, out_segs, in_segs);
	if (id < 0)
		return false;
	out_copy(f->req, out, out_cnt);
	q->cell_of[id] = (uint16_t)(f - q->flights);
	return true;
}

static bool request_give(struct vhx_bridge_queue *q, struct vhx_request *req)
{
	struct vhx_bridge_flight *f;

	if (q->free_cell == NO_CELL)
		return false;
	f = &q->flights[q->free_cell];
	q->free_cell = f->next;
	f->req = req;
	f->pages[OUT] = 0;
	f->pages[IN] = 0;
	req->priv[PRIV_CELL] = (uint64_t)(f - q->flights) + 1;
	if (request_place(q, f))
		return true;
	flight_put(q, req);
	return false;
}

/* Does the device take its payload? What it takes its driver was told, and need not have heeded. */
static bool takes(const struct vhx_bridge_queue *q, const struct vhx_request *req)
{
	const struct vhx_bridge_framing *framing = q->cfg.framing;
	uint32_t out_heads = framing->out_heads[0] + framing->out_heads[1];
	uint32_t in_heads = framing->in_head + framing->in_tail;
	uint64_t max = (uint64_t)q->cfg.payload.piece * q->cfg.payload.pieces;

	return req->out_len <= out_heads + max && req->in_len <= in_heads + max;
}

void vhx_bridge_queue_submit(struct vhx_bridge_queue *q, struct vhx_request *req)
{
	uint8_t peek[VHX_DEVTYPE_PEEK];
	uint32_t len = vhx_request_out_read(req, 0, peek, sizeof(peek));

	req->priv[PRIV_KIND] = q->cfg.type->kind(q->cfg.index, peek, len);
	vhx_list_init(&req->node);
	/* Nothing to say and nothing to hear, or what no device here can take. */
	if (req->too_big || !takes(q, req) || (!req->out_len && !req->in_len))
		request_fail(q, req);
	else
		vhx_list_add_tail(&q->waiting, &req->node);
}

bool vhx_bridge_queue_push(struct vhx_bridge_queue *q)
{
	while (!vhx_list_empty(&q->waiting)) {
		struct vhx_request *req = vhx_list_first_entry(&q->waiting, struct vhx_request,
							       node);

		if (!others_passed(q, OUT) || !request_give(q, req))
			break;
		passed(q, OUT);
		vhx_list_del(&req->node);
		vhx_list_add_tail(&q->flying, &req->node);
		q->owed += req->out_len > 0;
		req->priv[PRIV_WRITES] = q->cfg.writes->done;
	}
	return vhx_vdriver_publish(&q->ring);
}

/* From the device */

/* Copies bytes [off, off + len) of an answer. */
static void in_copy(const struct vhx_bridge_flight *f, uint32_t off, uint8_t *to, uint32_t len)
{
	unsigned int i;

	for (i = 0; i < f->in_cnt && len; i++) {
		uint32_t n;

		if (off >= f->in[i].len) {
			off -= f->in[i].len;
			continue;
		}
		n = min_u32(len, f->in[i].len - off);
		memcpy(to, f->in[i].bytes + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}

/* What of the answer is to be sent, see the head of this file. */
static void answer_measure(const struct vhx_bridge_queue *q, struct vhx_bridge_flight *f,
			   uint32_t used_len)
{
	uint32_t in_len = f->req->in_len;

	f->sent = 0;
	f->prefix = used_len;
	f->used_len = used_len;
	f->has_tail = q->cfg.type->has_status && in_len;
	if (!f->has_tail)
		return;
	in_copy(f, in_len - 1, &f->tail, 1);
	f->prefix = f->tail == q->cfg.type->status_ok ? in_len - 1 : min_u32(used_len, in_len - 1);
	f->used_len = f->prefix == in_len - 1 ? in_len : f->prefix;
}

/* Of a packet's first buffer: how many it spans. */
static uint32_t buffers_read(const struct vhx_bridge_queue *q, const struct vhx_bridge_flight *f)
{
	vhx_le16 wire;
	uint32_t cnt;

	if (f->used_len < NET_HDR_LEN)
		return 1;
	in_copy(f, NET_NUM_BUFFERS, (uint8_t *)&wire, sizeof(wire));
	cnt = vhx_le16_get(wire);
	return cnt && cnt <= q->cfg.size ? cnt : 1;
}

static void merge(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f)
{
	if (!q->merge_left)
		q->merge_left = buffers_read(q, f);
	q->merge_left--;
	f->req->group = q->merge_left > 0;
	vhx_list_add_tail(&q->merging, &f->req->node);
	if (!q->merge_left)
		vhx_list_splice_tail(&q->answering, &q->merging);
}

/* A flush covers what had completed before it was given. */
static void writes_count(const struct vhx_bridge_queue *q, const struct vhx_bridge_flight *f)
{
	struct vhx_bridge_writes *w = q->cfg.writes;
	const struct vhx_request *req = f->req;

	if (f->has_tail && f->tail != q->cfg.type->status_ok)
		return;
	if (req->priv[PRIV_KIND] == VHX_KIND_WRITE)
		w->done++;
	else if (req->priv[PRIV_KIND] == VHX_KIND_FLUSH)
		w->flushed = vhx_max_u64(w->flushed, req->priv[PRIV_WRITES]);
}

static void request_back(struct vhx_bridge_queue *q, struct vhx_bridge_flight *f, uint32_t used_len)
{
	struct vhx_request *req = f->req;

	vhx_list_del(&req->node);
	q->owed -= req->out_len > 0;
	answer_measure(q, f, used_len);
	writes_count(q, f);
	if (q->merges && !req->out_len)
		merge(q, f);
	else
		vhx_list_add_tail(&q->answering, &req->node);
}

int vhx_bridge_queue_pull(struct vhx_bridge_queue *q)
{
	uint32_t used_len;
	int total = 0, ret, taken;
	uint16_t id;

	/* Ends: each round but the last takes something that is in flight, and nothing is added. */
	do {
		taken = 0;
		while ((ret = vhx_vdriver_get_used(&q->ring, &id, &used_len)) > 0) {
			request_back(q, &q->flights[q->cell_of[id]], used_len);
			taken++;
		}
		total += taken;
	} while (!ret && vhx_vdriver_enable_call(&q->ring) && taken);
	return ret < 0 ? ret : total;
}

/* True: all of it is on its way. */
static bool answer_send(struct vhx_bridge_queue *q, struct vhx_request *req)
{
	struct vhx_bridge_flight *f = flight_of(q, req);

	while (f->sent < f->prefix) {
		uint32_t len = min_u32(f->prefix - f->sent, vhx_request_in_reserve_max(req));
		bool later;
		void *p = len ? vhx_request_in_reserve(req, f->sent, len, &later) : NULL;

		if (!p)
			return false;
		in_copy(f, f->sent, p, len);
		vhx_request_in_commit(req, len);
		f->sent += len;
	}
	return true;
}

void vhx_bridge_queue_answer(struct vhx_bridge_queue *q)
{
	while (!vhx_list_empty(&q->answering)) {
		struct vhx_request *req = vhx_list_first_entry(&q->answering, struct vhx_request,
							       node);
		struct vhx_bridge_flight *f = flight_of(q, req);
		uint32_t used_len = f->used_len;
		bool has_tail = f->has_tail;
		uint8_t tail = f->tail;

		if (!others_passed(q, IN) || !answer_send(q, req))
			return;
		passed(q, IN);
		vhx_list_del(&req->node);
		flight_put(q, req);
		vhx_request_complete(req, 0, &tail, has_tail ? req->in_len - 1 : 0, has_tail,
				     used_len);
	}
}
