// SPDX-License-Identifier: BSD-3-Clause
/* Peers of a backend by Argo, on the model hypervisor: a real backend and loop, and frontends' ports. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "exchange/argo_model.h"
#include "mediator/argo_peers.h"

#define RING (64u << 10)
#define TURNS_MAX 2000
#define TURN_MS 10
#define FRONTENDS_MAX 8
#define BACKEND 0

struct world {
	struct vhx_argo_hv *hv;
	struct vhx_loop *loop;
	struct vhx_backend *backend;
	struct vhx_argo_peers *peers;
	struct vhx_log log;
	unsigned int lines;
	char last[256];
	struct vhx_port *frontends[FRONTENDS_MAX]; /* by domain */
};

static void line(void *ctx, enum vhx_log_level level, const char *text)
{
	struct world *w = ctx;

	if (strncmp(text, "domain", 6))
		return;
	w->lines++;
	strncpy(w->last, text, sizeof(w->last) - 1);
}

static int endpoint(void *ctx, struct vhx_argo_dev **dev)
{
	return vhx_argo_model_dev_open(((struct world *)ctx)->hv, BACKEND, dev);
}

static void met(void *ctx, struct vhx_port *port)
{
	vhx_backend_add_port(((struct world *)ctx)->backend, port);
}

static void world_open(struct world *w, bool permissive)
{
	const struct vhx_argo_hv_config config = { .enabled = true, .mac_permissive = permissive };
	struct vhx_backend_config backend;
	struct vhx_argo_peers_config cfg;

	*w = (struct world){ .hv = vhx_argo_hv_new(&config) };
	w->log = (struct vhx_log){ .emit = line, .ctx = w, .level = VHX_LOG_INFO };
	assert_non_null(w->hv);
	assert_int_equal(vhx_argo_domain_create(w->hv, BACKEND, true, NULL), 0);
	assert_int_equal(vhx_loop_new(0, &w->loop), 0);
	backend = (struct vhx_backend_config){ .loop = w->loop, .log = &w->log, .staging = RING };
	assert_int_equal(vhx_backend_new(&backend, &w->backend), 0);
	cfg = (struct vhx_argo_peers_config){
		.loop = w->loop,
		.log = &w->log,
		.ring_len = RING,
		.endpoint = endpoint,
		.met = met,
		.ctx = w,
	};
	assert_int_equal(vhx_argo_peers_new(&cfg, &w->peers), 0);
}

static void frontend_close(struct world *w, uint16_t domid)
{
	vhx_port_close(w->frontends[domid]);
	w->frontends[domid] = NULL;
}

static void world_close(struct world *w)
{
	for (uint16_t i = 0; i < FRONTENDS_MAX; i++)
		frontend_close(w, i);
	vhx_backend_free(w->backend);
	vhx_argo_peers_free(w->peers);
	vhx_loop_free(w->loop);
	vhx_argo_hv_unref(w->hv);
}

static void guest_start(struct world *w, uint16_t domid)
{
	assert_int_equal(vhx_argo_domain_create(w->hv, domid, true, NULL), 0);
}

static void frontend_open(struct world *w, uint16_t domid)
{
	struct vhx_argo_config cfg = {
		.port = VHX_ARGO_PORT_FE,
		.peer_port = VHX_ARGO_PORT_BE,
		.partner = BACKEND,
		.ring_len = RING,
	};

	assert_int_equal(vhx_argo_model_dev_open(w->hv, domid, &cfg.dev), 0);
	assert_int_equal(vhx_argo_open(&cfg, &w->frontends[domid]), 0);
}

/* Without a word to anybody. */
static void guest_crash(struct world *w, uint16_t domid)
{
	vhx_argo_domain_destroy(w->hv, domid);
	frontend_close(w, domid);
}

static void turn(struct world *w)
{
	assert_int_equal(vhx_loop_once(w->loop, TURN_MS), 0);
	for (int i = 0; i < FRONTENDS_MAX; i++) {
		struct pollfd fd = { .events = POLLIN };

		fd.fd = w->frontends[i] ? w->frontends[i]->fd : -1;
		if (poll(&fd, 1, 0) == 1)
			vhx_port_event(w->frontends[i]);
	}
}

/* READY, and the backend has said HELLO. */
static bool served(struct vhx_port *p)
{
	struct vhx_msg msg;

	return vhx_port_ready(p) && vhx_port_peek(p, &msg) == 1;
}

static bool left(struct vhx_port *p)
{
	struct vhx_msg msg;
	int ret = vhx_port_ready(p) ? vhx_port_peek(p, &msg) : 0;

	while (ret == 1) {
		vhx_port_consume(p);
		ret = vhx_port_peek(p, &msg);
	}
	return ret == -EPIPE;
}

static void expect(struct world *w, uint16_t domid, bool (*what)(struct vhx_port *p))
{
	for (int i = 0; i < TURNS_MAX && !what(w->frontends[domid]); i++)
		turn(w);
	assert_true(what(w->frontends[domid]));
}

static void expect_channels(struct world *w, uint32_t cnt)
{
	for (int i = 0; i < TURNS_MAX && vhx_backend_channel_count(w->backend) != cnt; i++)
		turn(w);
	assert_int_equal(vhx_backend_channel_count(w->backend), cnt);
}

static int add(struct world *w, const char *text, uint32_t *index, struct vhx_error *err)
{
	struct vhx_argo_spec spec;

	assert_int_equal(vhx_argo_spec_parse(text, &spec, err), 0);
	return vhx_argo_peers_add(w->peers, &spec, index, err);
}

static void test_named_by_number_and_removed(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, false);
	guest_start(&w, 2);
	assert_int_equal(add(&w, "argo:peer=2", NULL, &err), 0);
	assert_int_equal(add(&w, "argo:peer=2", NULL, &err), -EEXIST);
	frontend_open(&w, 2);
	expect(&w, 2, served);
	assert_int_equal(vhx_argo_peers_remove(w.peers, 3, &err), -ENOENT);
	assert_int_equal(vhx_argo_peers_remove(w.peers, 2, &err), 0);
	assert_int_equal(vhx_argo_peers_remove(w.peers, 2, &err), -ENOENT);
	expect(&w, 2, left);
	expect_channels(&w, 0);
	assert_int_equal(vhx_argo_peers_count(w.peers), 0);
	/* And it may come back, also before its last channel has ended. */
	for (int early = 0; early < 2; early++) {
		frontend_close(&w, 2);
		assert_int_equal(add(&w, "argo:peer=2", NULL, &err), 0);
		frontend_open(&w, 2);
		expect(&w, 2, served);
		assert_int_equal(vhx_argo_peers_remove(w.peers, 2, &err), 0);
		if (!early)
			expect_channels(&w, 0);
	}
	world_close(&w);
}

static void test_frontend_comes_and_goes(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, false);
	guest_start(&w, 2);
	assert_int_equal(add(&w, "argo:peer=2", NULL, &err), 0);
	for (int i = 0; i < 5; i++) {
		frontend_open(&w, 2);
		expect(&w, 2, served);
		frontend_close(&w, 2);
	}
	assert_int_equal(vhx_argo_peers_count(w.peers), 1);
	world_close(&w);
}

static void test_several_peers_each_its_own_channel(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, false);
	for (uint16_t i = 2; i < 6; i++) {
		char text[32];

		guest_start(&w, i);
		snprintf(text, sizeof(text), "argo:peer=%u", i);
		assert_int_equal(add(&w, text, NULL, &err), 0);
		frontend_open(&w, i);
	}
	for (uint16_t i = 2; i < 6; i++)
		expect(&w, i, served);
	frontend_close(&w, 3);
	for (uint16_t i = 2; i < 6; i++) {
		if (i != 3)
			expect(&w, i, served);
	}
	world_close(&w);
}

static void test_guest_that_does_not_exist_is_one_line(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, false);
	assert_int_equal(add(&w, "argo:peer=5", NULL, &err), 0);
	for (int i = 0; i < 50; i++)
		turn(&w);
	assert_int_equal(w.lines, 1);
	assert_string_equal(w.last, "domain 5: there is no such domain");
	guest_start(&w, 5);
	frontend_open(&w, 5);
	expect(&w, 5, served);
	world_close(&w);
}

static void test_any_needs_mac_permissive(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, false);
	assert_int_equal(add(&w, "argo:any", NULL, &err), -EPERM);
	assert_non_null(strstr(err.text, "mac-permissive=1"));
	world_close(&w);
}

static void test_any_meets_whoever_knocks(void **state)
{
	struct vhx_error err;
	struct world w;

	world_open(&w, true);
	assert_int_equal(add(&w, "argo:any", NULL, &err), 0);
	assert_int_equal(add(&w, "argo:any", NULL, &err), -EEXIST);
	for (uint16_t i = 2; i < 5; i++) {
		guest_start(&w, i);
		frontend_open(&w, i);
	}
	for (uint16_t i = 2; i < 5; i++)
		expect(&w, i, served);
	assert_int_equal(vhx_argo_peers_remove(w.peers, 2, &err), -ENOENT);
	for (uint16_t i = 2; i < 5; i++)
		frontend_close(&w, i);
	expect_channels(&w, 0);
	assert_int_equal(vhx_argo_peers_count(w.peers), 0);
	frontend_open(&w, 3);
	expect(&w, 3, served);
	world_close(&w);
}

static void test_any_and_a_guest_reborn_with_its_number(void **state)
{
	struct vhx_error err;
	struct world w;

	/* Our ring for it is gone, so that it knocks at the door again while we believe in the old one. */
	world_open(&w, true);
	assert_int_equal(add(&w, "argo:any", NULL, &err), 0);
	guest_start(&w, 2);
	frontend_open(&w, 2);
	expect(&w, 2, served);
	for (int i = 0; i < 3; i++) {
		guest_crash(&w, 2);
		guest_start(&w, 2);
		frontend_open(&w, 2);
		expect(&w, 2, served);
	}
	world_close(&w);
}

static void test_any_drops_what_is_no_knock(void **state)
{
	struct argo_send_addr addr = { .src = { 0x1234, 2, 0 }, .dst = { VHX_ARGO_PORT_BE, 0, 0 } };
	struct vhx_argo_iov iov = { .base = "noise", .len = 5 };
	struct vhx_error err;
	struct world w;
	int sent;

	world_open(&w, true);
	assert_int_equal(add(&w, "argo:any", NULL, &err), 0);
	guest_start(&w, 2);
	guest_start(&w, 3);
	for (int round = 0; round < 10; round++) {
		sent = 0;
		addr.src.port = round % 2 ? 0x1234 : VHX_ARGO_PORT_FE;
		while ((int32_t)vhx_argo_op(w.hv, 2, ARGO_OP_SENDV, &addr, &iov, 1, VHX_ARGO_MEET) >
		       0)
			sent++;
		assert_true(sent > 100);
		turn(&w);
	}
	assert_int_equal(vhx_argo_peers_count(w.peers), 0);
	frontend_open(&w, 3);
	expect(&w, 3, served);
	world_close(&w);
}

static void test_a_name_follows_its_guest(void **state)
{
	struct vhx_error err;
	struct world w;
	uint32_t index;

	world_open(&w, false);
	assert_int_equal(add(&w, "argo:name:web", &index, &err), 0);
	assert_int_equal(add(&w, "argo:name:web", &index, &err), -EEXIST);
	for (uint16_t domid = 2; domid < 5; domid++) {
		guest_start(&w, domid);
		vhx_argo_peers_found(w.peers, index, domid);
		vhx_argo_peers_found(w.peers, index, domid);
		frontend_open(&w, domid);
		expect(&w, domid, served);
		/* Alternately it is seen to be gone, or only to have come again. */
		guest_crash(&w, domid);
		if (domid % 2)
			vhx_argo_peers_found(w.peers, index, ARGO_DOMID_ANY);
	}
	vhx_argo_peers_found(w.peers, index, ARGO_DOMID_ANY);
	expect_channels(&w, 0);
	assert_int_equal(vhx_argo_peers_count(w.peers), 1);
	world_close(&w);
}

static void test_the_table_is_full(void **state)
{
	struct vhx_error err;
	struct world w;
	char text[32];

	world_open(&w, false);
	for (unsigned int i = 0; i < VHX_ARGO_PEERS_MAX; i++) {
		snprintf(text, sizeof(text), "argo:name:vm%u", i);
		assert_int_equal(add(&w, text, NULL, &err), 0);
	}
	assert_int_equal(add(&w, "argo:peer=2", NULL, &err), -ENOSPC);
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named_by_number_and_removed),
		cmocka_unit_test(test_frontend_comes_and_goes),
		cmocka_unit_test(test_several_peers_each_its_own_channel),
		cmocka_unit_test(test_guest_that_does_not_exist_is_one_line),
		cmocka_unit_test(test_any_needs_mac_permissive),
		cmocka_unit_test(test_any_meets_whoever_knocks),
		cmocka_unit_test(test_any_and_a_guest_reborn_with_its_number),
		cmocka_unit_test(test_any_drops_what_is_no_knock),
		cmocka_unit_test(test_a_name_follows_its_guest),
		cmocka_unit_test(test_the_table_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
