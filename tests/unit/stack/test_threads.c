// SPDX-License-Identifier: BSD-3-Clause
/*
 * The two ends on loops of their own, in threads of their own: they sleep and wake each other for real. Run
 * under ThreadSanitizer, this shows what the two share beyond what exchange orders.
 */
#include "lab.h"

#include <pthread.h>

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define HANG_GUARD_NS (120 * LAB_S)

struct ends {
	struct lab w; /* the frontend's half; cfg and sources */
	struct vhx_loop *be_loop;
	struct vhx_port *be_end;
	uint32_t total;
	struct vhx_loop_timer guard;
	enum lab_answer answer;
	struct vhx_port_stats be_stats;
};

static void view_channel(void *ctx, const struct vhx_port *port, const char *state,
			 uint64_t credits_sent)
{
	((struct ends *)ctx)->be_stats = port->stats;
}

static void view_device(void *ctx, const struct vhx_device *dev, const char *state,
			const struct vhx_backend_stats *stats)
{
}

static void *backend_thread(void *arg)
{
	static const struct vhx_backend_visitor visitor = { view_channel, view_device };
	struct ends *e = arg;
	struct lab b = { .cfg = e->w.cfg, .loop = e->be_loop, .uuid = 0x11, .cache_id = 0x22 };

	lab_open_backend(&b);
	b.dev[0]->answer = e->answer;
	assert_int_equal(vhx_backend_add_port(b.be, e->be_end), 0);
	assert_int_equal(vhx_loop_run(e->be_loop), 0);
	vhx_backend_visit(b.be, &visitor, e);
	vhx_backend_free(b.be);
	return NULL;
}

static void take_port(void *ctx, struct vhx_port *port)
{
	struct ends *e = ctx;

	/* A second connection means that one end gave the first one up. */
	assert_null(e->be_end);
	e->be_end = port;
}

static void all_done(struct lab_source *s)
{
	struct ends *e = s->ctx;

	if (e->w.src[0].ok + e->w.src[1].ok == e->total)
		vhx_loop_stop(e->w.loop);
}

static void guard_expired(struct vhx_loop_timer *t)
{
	vhx_loop_stop(vhx_container_of(t, struct ends, guard)->w.loop);
}

static void open_ends(struct ends *e, const struct lab_config *cfg, uint64_t poll_ns)
{
	e->w.cfg = *cfg;
	assert_int_equal(vhx_loop_new(poll_ns, &e->w.loop), 0);
	assert_int_equal(vhx_loop_new(poll_ns, &e->be_loop), 0);
	e->w.intercept = take_port;
	e->w.intercept_ctx = e;
	e->guard.expired = guard_expired;
	vhx_list_init(&e->guard.node);
	vhx_loop_timer_arm(e->w.loop, &e->guard, HANG_GUARD_NS);
	lab_open_frontend(&e->w);
	assert_non_null(e->be_end);
}

static void start_queues(struct ends *e)
{
	uint16_t i;

	for (i = 0; i < e->w.cfg.queues; i++) {
		lab_start(&e->w, i);
		e->w.src[i].ctx = e;
		e->w.src[i].on_complete = all_done;
	}
}

static void plan(struct ends *e, uint32_t cnt, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < e->w.cfg.queues; i++) {
		lab_source_plan(&e->w.src[i], cnt / 2, LAB_WRITE, HEAD + len, len);
		lab_source_plan(&e->w.src[i], cnt / 2, LAB_READ, HEAD, len);
		e->total += cnt;
	}
}

static void run_load(const struct lab_config *cfg, enum lab_answer answer, uint64_t poll_ns,
		     uint32_t cnt, uint32_t len)
{
	struct ends e = { .answer = answer };
	pthread_t thread;
	uint32_t i;

	open_ends(&e, cfg, poll_ns);
	assert_int_equal(pthread_create(&thread, NULL, backend_thread, &e), 0);
	while (!vhx_fdev_known(e.w.fdev[0].fdev))
		assert_int_equal(vhx_loop_once(e.w.loop, 1000), 0);
	start_queues(&e);
	plan(&e, cnt, len);
	assert_int_equal(vhx_loop_run(e.w.loop), 0);
	assert_int_equal(lab_fe_stats(&e.w).would_blocks, 0);
	for (i = 0; i < cfg->queues; i++)
		assert_int_equal(e.w.src[i].ok, cnt);
	vhx_loop_stop(e.be_loop);
	pthread_join(thread, NULL);
	assert_int_equal(e.be_stats.would_blocks, 0);
	vhx_loop_timer_cancel(e.w.loop, &e.guard);
	vhx_loop_free(e.be_loop);
	lab_close(&e.w);
}

static struct lab_config small_rings(void)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 32u << 10;
	cfg.staging = 128u << 10;
	cfg.max_out = cfg.max_in = 32u << 10;
	cfg.queues = 2;
	cfg.queue_size = 32;
	return cfg;
}

static void test_load_through_small_rings(void **state)
{
	struct lab_config cfg = small_rings();

	run_load(&cfg, LAB_IN_PLACE, 0, 2000, 700);
	run_load(&cfg, LAB_STAGED, 0, 1000, 12000);
}

static void test_load_with_polling(void **state)
{
	struct lab_config cfg = small_rings();

	run_load(&cfg, LAB_STAGED, 50000, 2000, 700);
}

/* One request at a time: each end sleeps for every one. */
static void test_depth_one(void **state)
{
	struct lab_config cfg = small_rings();

	cfg.queues = 1;
	cfg.queue_size = 1;
	run_load(&cfg, LAB_IN_PLACE, 0, 2000, 100);
}

static void test_load_through_large_rings(void **state)
{
	struct lab_config cfg = lab_default;

	cfg.queues = 2;
	cfg.queue_size = 64;
	run_load(&cfg, LAB_IN_PLACE, 0, 500, 100000);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_through_small_rings),
		cmocka_unit_test(test_load_with_polling),
		cmocka_unit_test(test_depth_one),
		cmocka_unit_test(test_load_through_large_rings),
	};

	lab_clock_real();
	return cmocka_run_group_tests_name("stack: threads", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
