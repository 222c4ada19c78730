// SPDX-License-Identifier: BSD-3-Clause
/*
 * Both ends of a ring against a model: random chains of random segments over memory in pieces,
 * completed in random order in random batches. Checked are order, lengths and contents both ways,
 * that a walk repeated in flight finds the same, that a device end that starts again goes on where
 * it was, and that neither end sleeps while there is something to do.
 */
#include "ringlab.h"

#define SLICE_LEN 192u
#define SEGS_MAX 6u

struct request {
	uint32_t seed;
	uint32_t out_len, in_len, used_len;
	uint16_t id;
	uint16_t slice;
	uint64_t popped; /* which pop it was */
};

/*
 * A queue of requests, for each place where one can be. Requests move through them in this order.
 */
enum place { ADDED, AVAILABLE, POPPED, PUSHED, USED, PLACE_CNT };

struct line {
	struct request at[256];
	unsigned int cnt;
};

/* What a successor of the device end is given of a chain in a packed ring. */
struct kept {
	struct vhx_ring_copy copies[SEGS_MAX];
	uint16_t cnt;
};

struct model {
	struct lab *lab;
	uint64_t random;
	struct line lines[PLACE_CNT];
	uint16_t slices[256];
	unsigned int slice_cnt;
	uint64_t pops, completed;
	struct kept kept[256];
	bool device_asleep, driver_asleep;
	uint64_t sleeps;
};

static void line_put(struct line *l, struct request rq)
{
	assert_true(l->cnt < VHX_ARRAY_SIZE(l->at));
	l->at[l->cnt++] = rq;
}

static struct request line_take(struct line *l, unsigned int i)
{
	struct request rq = l->at[i];

	memmove(&l->at[i], &l->at[i + 1], (--l->cnt - i) * sizeof(rq));
	return rq;
}

static uint32_t below(struct model *m, uint32_t n)
{
	return lab_random(&m->random) % n;
}

static uint64_t slice_addr(const struct request *rq)
{
	return LAB_BASE + rq->slice * SLICE_LEN;
}

static char pattern(uint32_t seed, uint32_t i)
{
	return (seed + i * 2654435761u) >> 13;
}

static void clear_in(struct model *m, const struct request *rq)
{
	for (uint32_t i = 0; i < rq->in_len; i++)
		*lab_at(m->lab, slice_addr(rq) + rq->out_len + i) = 0x55;
}

/* Cuts the slice into segments: readable ones first. */
static void cut(struct model *m, struct request *rq, struct vhx_vdriver_seg *segs,
		unsigned int out_cnt, unsigned int in_cnt)
{
	uint64_t addr = slice_addr(rq);

	for (unsigned int i = 0; i < out_cnt + in_cnt; i++) {
		uint32_t len = below(m, 8) ? below(m, SLICE_LEN / SEGS_MAX) : 0;

		segs[i] = (struct vhx_vdriver_seg){ addr, len };
		addr += len;
		*(i < out_cnt ? &rq->out_len : &rq->in_len) += len;
	}
	for (uint32_t i = 0; i < rq->out_len; i++)
		*lab_at(m->lab, slice_addr(rq) + i) = pattern(rq->seed, i);
	clear_in(m, rq);
}

static void step_add(struct model *m)
{
	struct vhx_vdriver_seg segs[SEGS_MAX];
	struct request rq = { .seed = lab_random(&m->random) };
	uint32_t max = m->lab->size < SEGS_MAX ? m->lab->size : SEGS_MAX;
	uint32_t cnt = 1 + below(m, max);
	uint32_t out_cnt = below(m, cnt + 1);
	int id;

	if (!m->slice_cnt)
		return;
	rq.slice = m->slices[m->slice_cnt - 1];
	cut(m, &rq, segs, out_cnt, cnt - out_cnt);
	id = vhx_vdriver_add(&m->lab->d, segs, out_cnt, cnt - out_cnt);
	if (id < 0) {
		assert_int_equal(id, -ENOSPC);
		return;
	}
	assert_true(id < m->lab->size);
	m->slice_cnt--;
	rq.id = id;
	line_put(&m->lines[ADDED], rq);
}

static void step_publish(struct model *m)
{
	bool had = m->lines[ADDED].cnt;

	while (m->lines[ADDED].cnt)
		line_put(&m->lines[AVAILABLE], line_take(&m->lines[ADDED], 0));
	if (vhx_vdriver_publish(&m->lab->d)) {
		assert_true(had);
		m->device_asleep = false;
	}
	assert_false(m->device_asleep && m->lines[AVAILABLE].cnt);
}

/* Does the lab's chain describe this request? */
static void check_chain(struct model *m, const struct request *rq)
{
	const struct vhx_chain *c = &m->lab->chain;
	uint32_t n = 0;

	assert_int_equal(c->id, rq->id);
	assert_int_equal(c->out_len, rq->out_len);
	assert_int_equal(c->in_len, rq->in_len);
	for (unsigned int i = 0; i < c->out_cnt; i++)
		for (size_t j = 0; j < c->out[i].iov_len; j++, n++)
			assert_int_equal(((char *)c->out[i].iov_base)[j], pattern(rq->seed, n));
	assert_int_equal(n, rq->out_len);
	for (unsigned int i = 0; i < c->in_cnt; i++)
		for (size_t j = 0; j < c->in[i].iov_len; j++, n++)
			assert_ptr_equal((char *)c->in[i].iov_base + j,
					 lab_at(m->lab, slice_addr(rq) + n));
	assert_int_equal(n, rq->out_len + rq->in_len);
}

static void step_pop(struct model *m)
{
	struct request rq;
	int ret = lab_pop(m->lab);

	assert_int_equal(ret, m->lines[AVAILABLE].cnt ? 1 : 0);
	if (!ret)
		return;
	rq = line_take(&m->lines[AVAILABLE], 0);
	check_chain(m, &rq);
	line_put(&m->lines[POPPED], rq);
	assert_int_equal(lab_pop(m->lab) > 0, m->lines[AVAILABLE].cnt > 0);
	if (!m->lines[AVAILABLE].cnt)
		return;
	rq = line_take(&m->lines[AVAILABLE], 0);
	check_chain(m, &rq);
	line_put(&m->lines[POPPED], rq);
}

static void step_rewalk(struct model *m)
{
	struct request *rq;

	if (!m->lines[POPPED].cnt)
		return;
	rq = &m->lines[POPPED].at[below(m, m->lines[POPPED].cnt)];
	/* used_len is set when it was pushed and waits for older ones: IN_ORDER. */
	if (rq->used_len != UINT32_MAX)
		return;
	assert_int_equal(vhx_vring_rewalk(&m->lab->r, rq->id, &m->lab->chain), 0);
	check_chain(m, rq);
}

static void write_in(struct model *m, const struct request *rq)
{
	for (uint32_t i = 0; i < rq->used_len; i++)
		*lab_at(m->lab, slice_addr(rq) + rq->out_len + i) = pattern(~rq->seed, i);
}

/* Model of IN_ORDER: what is pushed counts from the oldest on without a gap. */
static void move_pushed(struct model *m, unsigned int i)
{
	struct line *popped = &m->lines[POPPED];

	if (!(m->lab->features & VHX_RING_F_IN_ORDER)) {
		line_put(&m->lines[PUSHED], line_take(popped, i));
		return;
	}
	while (popped->cnt && popped->at[0].used_len != UINT32_MAX)
		line_put(&m->lines[PUSHED], line_take(popped, 0));
}

static void step_push(struct model *m)
{
	struct line *popped = &m->lines[POPPED];
	struct request *rq;
	unsigned int i;

	if (!popped->cnt)
		return;
	/* Often the oldest, or IN_ORDER would rarely let one go. */
	i = below(m, 2) ? below(m, popped->cnt) : 0;
	rq = &popped->at[i];
	if (rq->used_len != UINT32_MAX)
		return;
	rq->used_len = below(m, rq->in_len + 1);
	write_in(m, rq);
	vhx_vring_push(&m->lab->r, rq->id, rq->used_len);
	move_pushed(m, i);
}

static void step_flush(struct model *m)
{
	bool had = m->lines[PUSHED].cnt;

	while (m->lines[PUSHED].cnt)
		line_put(&m->lines[USED], line_take(&m->lines[PUSHED], 0));
	if (vhx_vring_flush(&m->lab->r)) {
		assert_true(had);
		m->driver_asleep = false;
	}
	assert_false(m->driver_asleep && m->lines[USED].cnt);
}

static void step_get_used(struct model *m)
{
	struct request rq;
	uint32_t used_len;
	uint16_t id;
	int ret;

	ret = vhx_vdriver_get_used(&m->lab->d, &id, &used_len);
	assert_int_equal(ret, m->lines[USED].cnt ? 1 : 0);
	if (!ret)
		return;
	rq = line_take(&m->lines[USED], 0);
	assert_int_equal(id, rq.id);
	assert_int_equal(used_len, rq.used_len);
	for (uint32_t i = 0; i < rq.in_len; i++)
		assert_int_equal(*lab_at(m->lab, slice_addr(&rq) + rq.out_len + i),
				 i < used_len ? pattern(~rq.seed, i) : 0x55);
	m->slices[m->slice_cnt++] = rq.slice;
	m->completed++;
}

static void step_device_sleep(struct model *m)
{
	if (below(m, 2))
		vhx_vring_disable_kick(&m->lab->r);
	m->device_asleep = !vhx_vring_enable_kick(&m->lab->r);
	assert_int_equal(m->device_asleep, !m->lines[AVAILABLE].cnt);
	m->sleeps++;
}

static void step_driver_sleep(struct model *m)
{
	if (below(m, 2))
		vhx_vdriver_disable_call(&m->lab->d);
	m->driver_asleep = !vhx_vdriver_enable_call(&m->lab->d);
	assert_int_equal(m->driver_asleep, !m->lines[USED].cnt);
	m->sleeps++;
}

/* What was pushed and not published is in flight again, in the order of the pops. */
static void take_back(struct model *m)
{
	struct line *popped = &m->lines[POPPED], *pushed = &m->lines[PUSHED];

	while (pushed->cnt) {
		struct request rq = line_take(pushed, 0);
		unsigned int i = popped->cnt;

		line_put(popped, rq);
		for (; i && popped->at[i - 1].popped > rq.popped; i--)
			popped->at[i] = popped->at[i - 1];
		popped->at[i] = rq;
	}
	for (unsigned int i = 0; i < popped->cnt; i++) {
		popped->at[i].used_len = UINT32_MAX;
		clear_in(m, &popped->at[i]);
	}
}

static void restart_split(struct model *m)
{
	const struct line *popped = &m->lines[POPPED];
	struct lab *lab = m->lab;

	lab_reinit_at(lab, lab->r.avail_idx, lab->r.used_published);
	for (unsigned int i = 0; i < popped->cnt; i++) {
		assert_int_equal(vhx_vring_adopt(&lab->r, popped->at[i].id), 0);
		assert_int_equal(vhx_vring_adopt(&lab->r, popped->at[i].id), -EINVAL);
	}
	/* More than are missing to the driver there can't be. */
	for (uint16_t id = 0; id < lab->size; id++)
		assert_int_equal(vhx_vring_adopt(&lab->r, id), -EINVAL);
}

static void restart_packed(struct model *m)
{
	const struct line *popped = &m->lines[POPPED];
	uint16_t avail_idx = m->lab->r.avail_idx;
	struct lab *lab = m->lab;

	lab_reinit_at(lab, lab->r.used_published, lab->r.used_published);
	for (unsigned int i = 0; i < popped->cnt; i++) {
		const struct kept *k = &m->kept[popped->at[i].id];

		assert_int_equal(vhx_vring_adopt_packed(&lab->r, k->copies, k->cnt), 0);
		assert_int_equal(vhx_vring_adopt_packed(&lab->r, k->copies, k->cnt), -EINVAL);
	}
	assert_int_equal(lab->r.avail_idx, avail_idx);
}

/*
 * The device end dies and is replaced; what it pushed and did not publish the driver has not seen.
 */
static void step_restart(struct model *m)
{
	const struct line *popped = &m->lines[POPPED];

	take_back(m);
	if (lab_packed(m->lab))
		restart_packed(m);
	else
		restart_split(m);
	for (unsigned int i = 0; i < popped->cnt; i++) {
		assert_int_equal(vhx_vring_rewalk(&m->lab->r, popped->at[i].id, &m->lab->chain), 0);
		check_chain(m, &popped->at[i]);
	}
}

static void keep(struct model *m, uint16_t id)
{
	if (lab_packed(m->lab))
		m->kept[id].cnt = vhx_vring_copies(&m->lab->r, id, m->kept[id].copies);
}

static void device_steps(struct model *m)
{
	struct line *popped = &m->lines[POPPED];
	unsigned int before = popped->cnt;

	step_pop(m);
	for (unsigned int i = before; i < popped->cnt; i++) {
		popped->at[i].used_len = UINT32_MAX;
		popped->at[i].popped = m->pops++;
		keep(m, popped->at[i].id);
	}
}

static void step(struct model *m)
{
	switch (below(m, 40)) {
	case 0:
		step_device_sleep(m);
		return;
	case 1:
		step_driver_sleep(m);
		return;
	case 2:
		step_restart(m);
		return;
	}
	switch (below(m, 7)) {
	case 0:
		step_add(m);
		return;
	case 1:
		step_publish(m);
		return;
	case 2:
		if (!m->device_asleep)
			device_steps(m);
		return;
	case 3:
		step_rewalk(m);
		return;
	case 4:
		step_push(m);
		return;
	case 5:
		step_flush(m);
		return;
	default:
		if (!m->driver_asleep)
			step_get_used(m);
	}
}

/* Ends with nothing left anywhere, which says that no request was lost. */
static void drain(struct model *m)
{
	for (int i = 0; i < 100000; i++) {
		unsigned int cnt = 0;

		step_publish(m);
		device_steps(m);
		step_push(m);
		step_flush(m);
		step_get_used(m);
		for (int p = 0; p < PLACE_CNT; p++)
			cnt += m->lines[p].cnt;
		if (!cnt)
			return;
	}
	fail_msg("requests were lost");
}

static void run(uint16_t size, uint32_t features, uint64_t steps)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->random = 0x9e3779b97f4a7c15ull + size * 64 + features;
	m->lab = lab_new(size, features);
	m->slice_cnt = size < 256 ? size : 256;
	for (unsigned int i = 0; i < m->slice_cnt; i++)
		m->slices[i] = i;
	for (uint64_t i = 0; i < steps; i++)
		step(m);
	drain(m);
	assert_int_equal(m->lab->r.broken, VHX_RING_OK);
	assert_int_equal(m->lab->d.broken, VHX_RING_OK);
	assert_int_equal(m->lab->d.free_cnt, size);
	assert_int_equal(m->lab->r.in_flight, 0);
	assert_true(m->completed > steps / 64 && m->sleeps > steps / 64);
	lab_free(m->lab);
	free(m);
}

static void run_features(const uint16_t *sizes, size_t cnt, uint32_t format)
{
	for (size_t i = 0; i < cnt; i++)
		for (uint32_t f = 0; f < 8; f++)
			run(sizes[i],
			    format | (f & 1 ? VHX_RING_F_INDIRECT : 0) |
				    (f & 2 ? VHX_RING_F_EVENT_IDX : 0) |
				    (f & 4 ? VHX_RING_F_IN_ORDER : 0),
			    12000);
}

static void test_model_split(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 4, 8, 64, 128, 256 };

	run_features(sizes, VHX_ARRAY_SIZE(sizes), 0);
}

static void test_model_packed(void **state)
{
	static const uint16_t sizes[] = { 1, 2, 3, 5, 8, 17, 100, 255, 256 };

	run_features(sizes, VHX_ARRAY_SIZE(sizes), VHX_RING_F_PACKED);
}

/* Enough that 16-bit indices go round, several times for the split ring. */
static void test_indices_wrap(void **state)
{
	run(4, VHX_RING_F_EVENT_IDX, 2000000);
	run(4, VHX_RING_F_EVENT_IDX | VHX_RING_F_IN_ORDER, 2000000);
	run(5, VHX_RING_F_PACKED | VHX_RING_F_EVENT_IDX, 1000000);
}

static void give_back_offer(struct lab *lab, unsigned int cnt, uint16_t *ids)
{
	unsigned int i;

	for (i = 0; i < cnt; i++) {
		struct vhx_vdriver_seg segs[] = { { LAB_BASE + 64 * i, 16 },
						  { LAB_BASE + 64 * i + 16, 16 + i } };
		int id = vhx_vdriver_add(&lab->d, segs, 1, 1);

		assert_true(id >= 0);
		ids[i] = (uint16_t)id;
	}
	vhx_vdriver_publish(&lab->d);
	for (i = 0; i < cnt; i++)
		assert_int_equal(lab_pop(lab), 1);
}

/* Pushes the first two, gives the others back, and finds them again in the place where it stopped. */
static void give_back_run(uint32_t features, uint16_t size)
{
	struct lab *lab = lab_new(size, features);
	uint32_t used_len;
	uint16_t ids[5], id;
	unsigned int round, i;

	/* Again and again, so that positions go round. */
	for (round = 0; round < 12; round++) {
		give_back_offer(lab, 5, ids);
		vhx_vring_push(&lab->r, ids[0], 1);
		vhx_vring_push(&lab->r, ids[1], 2);
		assert_int_equal(vhx_vring_give_back(&lab->r), 0);
		vhx_vring_flush(&lab->r);
		lab_reinit_at(lab, lab->r.avail_idx, lab->r.used_idx);
		for (i = 2; i < 5; i++) {
			assert_int_equal(lab_pop(lab), 1);
			assert_int_equal(lab->chain.id, ids[i]);
			assert_int_equal(lab->chain.in_len, 16 + i);
			vhx_vring_push(&lab->r, ids[i], i + 1);
		}
		assert_int_equal(lab_pop(lab), 0);
		vhx_vring_flush(&lab->r);
		for (i = 0; i < 5; i++) {
			assert_int_equal(vhx_vdriver_get_used(&lab->d, &id, &used_len), 1);
			assert_int_equal(id, ids[i]);
			assert_int_equal(used_len, i + 1);
		}
	}
	lab_free(lab);
}

/* One that was overtaken has lost its place; with IN_ORDER it is the other that waits. */
static void give_back_refused(uint32_t features)
{
	struct lab *lab = lab_new(16, features);
	uint16_t ids[5];

	give_back_offer(lab, 5, ids);
	vhx_vring_push(&lab->r, ids[2], 1);
	assert_int_equal(vhx_vring_give_back(&lab->r), -EBUSY);
	assert_int_equal(lab->r.in_flight, features & VHX_RING_F_IN_ORDER ? 5 : 4);
	vhx_vring_push(&lab->r, ids[0], 1);
	vhx_vring_push(&lab->r, ids[1], 1);
	assert_int_equal(vhx_vring_give_back(&lab->r), 0);
	lab_free(lab);
}

static void test_unanswered_chains_are_given_back(void **state)
{
	uint32_t f;

	for (f = 0; f < 4; f++) {
		uint32_t features = (f & 1 ? VHX_RING_F_PACKED : 0) |
				    (f & 2 ? VHX_RING_F_IN_ORDER : 0);

		give_back_run(features, 16);
		give_back_run(features, f & 1 ? 11 : 32);
		give_back_refused(features);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_split),
		cmocka_unit_test(test_model_packed),
		cmocka_unit_test(test_indices_wrap),
		cmocka_unit_test(test_unanswered_chains_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
