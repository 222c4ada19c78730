// SPDX-License-Identifier: BSD-3-Clause
/* Devices that are found, and that come and go while frontends are there. */
#include <stdio.h>

#include <vhx/virtio_msg.h>

#include "lab.h"
#include "raw.h"

#define HEAD ((uint32_t)sizeof(struct lab_head))
#define EVENTS_MAX 16u

/* A frontend that asks what there is, and takes nothing. */
struct asker {
	struct raw raw;
	struct vhx_port *be_port; /* the other end */
	struct vhx_control last; /* response */
	struct virtio_msg_event_device events[EVENTS_MAX];
	uint32_t event_cnt;
};

static void asker_control(struct raw *r, const struct vhx_control *c)
{
	struct asker *a = vhx_container_of(r, struct asker, raw);

	if (c->response) {
		a->last = *c;
		return;
	}
	assert_true(c->bus && c->msg_id == VIRTIO_MSG_BUS_EVENT_DEVICE);
	assert_true(a->event_cnt < EVENTS_MAX);
	memcpy(&a->events[a->event_cnt++], c->payload, sizeof(a->events[0]));
}

static void asker_settle(struct lab *w, struct asker *a)
{
	do
		lab_settle(w);
	while (raw_step(&a->raw));
	assert_int_equal(a->raw.gone, 0);
}

static void asker_open(struct lab *w, struct asker *a)
{
	struct vhx_port *ends[2];

	memset(a, 0, sizeof(*a));
	a->raw.control = asker_control;
	assert_int_equal(lab_provider->pair(w->cfg.ring_len, ends), 0);
	assert_int_equal(vhx_backend_add_port(w->be, ends[1]), 0);
	a->be_port = ends[1];
	raw_open(&a->raw, ends[0]);
	asker_settle(w, a);
	assert_true(a->raw.up);
}

static uint64_t ask_devices(struct lab *w, struct asker *a)
{
	const struct virtio_msg_get_devices_resp *resp = (const void *)a->last.payload;
	struct virtio_msg_get_devices *g;
	struct vhx_control req;
	uint64_t bitmap;

	g = vhx_control_request(&req, true, VIRTIO_MSG_BUS_GET_DEVICES, 0, sizeof(*g));
	g->count = vhx_le16_of(64);
	raw_control(&a->raw, &req);
	asker_settle(w, a);
	assert_int_equal(a->last.msg_id, VIRTIO_MSG_BUS_GET_DEVICES);
	assert_int_equal(vhx_le16_get(resp->count), 64);
	assert_int_equal(vhx_le16_get(resp->next_offset), 0);
	memcpy(&bitmap, resp + 1, sizeof(bitmap));
	return le64toh(bitmap);
}

/* The name of device @num, or NULL. */
static const char *ask_name(struct lab *w, struct asker *a, uint16_t num)
{
	const struct virtio_msg_vhx_get_name_resp *resp = (const void *)a->last.payload;
	struct virtio_msg_vhx_get_name *g;
	struct vhx_control req;

	g = vhx_control_request(&req, true, VIRTIO_MSG_BUS_VHX_GET_NAME, 0, sizeof(*g));
	g->dev_num = vhx_le16_of(num);
	raw_control(&a->raw, &req);
	asker_settle(w, a);
	assert_int_equal(a->last.msg_id, VIRTIO_MSG_BUS_VHX_GET_NAME);
	assert_int_equal(vhx_le16_get(resp->dev_num), num);
	if (vhx_le32_get(resp->error) == VHX_ATTACH_OK)
		return (const char *)resp->name;
	assert_int_equal(vhx_le32_get(resp->error), VHX_ATTACH_UNKNOWN);
	assert_int_equal(resp->name[0], 0);
	return NULL;
}

static void open_two(struct lab *w)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 64u << 10;
	cfg.staging = 64u << 10;
	cfg.max_out = cfg.max_in = 16u << 10;
	cfg.two_devices = true;
	lab_open(w, &cfg);
	lab_start_of(w, 0, 0, 0, 64);
	lab_start_of(w, 1, 0, 1, 64);
	lab_settle(w);
}

static void add_for(struct lab *w, const char *name, const char *peer)
{
	struct lab_device *d = lab_device_new(name, LAB_BLK);

	snprintf(d->dev.peer, sizeof(d->dev.peer), "%s", peer);
	d->dev.num_queues = 1;
	d->dev.queue_size_max = 64;
	d->dev.max_out = d->dev.max_in = 4096;
	assert_int_equal(vhx_backend_add_device(w->be, &d->dev), 0);
}

static void add(struct lab *w, const char *name)
{
	add_for(w, name, "");
}

static void test_names_and_bitmap(void **state)
{
	struct asker a;
	struct lab w;

	open_two(&w);
	asker_open(&w, &a);
	assert_int_equal(ask_devices(&w, &a), 3);
	assert_string_equal(ask_name(&w, &a, 0), "one");
	assert_string_equal(ask_name(&w, &a, 1), "two");
	assert_null(ask_name(&w, &a, 2));
	assert_null(ask_name(&w, &a, UINT16_MAX));
	raw_close(&a.raw);
	lab_close(&w);
}

static void test_device_that_comes_and_goes_is_told_and_leaves_a_hole(void **state)
{
	struct asker a;
	struct lab w;

	open_two(&w);
	asker_open(&w, &a);
	add(&w, "three");
	asker_settle(&w, &a);
	assert_int_equal(a.event_cnt, 1);
	assert_int_equal(vhx_le16_get(a.events[0].dev_num), 2);
	assert_int_equal(vhx_le16_get(a.events[0].state), VIRTIO_MSG_DEVICE_ADDED);
	assert_int_equal(vhx_backend_remove_device(w.be, "two"), 0);
	assert_int_equal(vhx_backend_remove_device(w.be, "two"), -ENOENT);
	assert_int_equal(vhx_backend_remove_device(w.be, ""), -ENOENT);
	asker_settle(&w, &a);
	assert_int_equal(a.event_cnt, 2);
	assert_int_equal(vhx_le16_get(a.events[1].dev_num), 1);
	assert_int_equal(vhx_le16_get(a.events[1].state), VIRTIO_MSG_DEVICE_REMOVED);
	assert_int_equal(ask_devices(&w, &a), 5);
	assert_null(ask_name(&w, &a, 1));
	assert_string_equal(ask_name(&w, &a, 2), "three");
	/* The name may be had again, by another number. */
	add(&w, "two");
	asker_settle(&w, &a);
	assert_int_equal(ask_devices(&w, &a), 0xd);
	assert_string_equal(ask_name(&w, &a, 3), "two");
	raw_close(&a.raw);
	lab_close(&w);
}

static uint32_t ask_attach(struct lab *w, struct asker *a, const char *name)
{
	const struct virtio_msg_vhx_attach_resp *resp = (const void *)a->last.payload;
	struct virtio_msg_vhx_attach *at;
	struct vhx_control req;

	at = vhx_control_request(&req, true, VIRTIO_MSG_BUS_VHX_ATTACH, 0, sizeof(*at));
	snprintf((char *)at->name, sizeof(at->name), "%s", name);
	raw_control(&a->raw, &req);
	asker_settle(w, a);
	assert_int_equal(a->last.msg_id, VIRTIO_MSG_BUS_VHX_ATTACH);
	return vhx_le32_get(resp->error);
}

static void test_device_of_one_peer_is_not_there_for_others(void **state)
{
	struct asker a;
	struct lab w;

	open_two(&w);
	asker_open(&w, &a);
	/* The backend's end of the channel is where its peer is known. */
	snprintf(a.be_port->peer.address, sizeof(a.be_port->peer.address), "argo:peer=4");
	snprintf(a.be_port->peer.alias, sizeof(a.be_port->peer.alias), "argo:name:web");
	add_for(&w, "theirs", "argo:peer=3");
	add_for(&w, "mine", "argo:peer=4");
	add_for(&w, "named", "argo:name:web");
	asker_settle(&w, &a);
	assert_int_equal(a.event_cnt, 2);
	assert_int_equal(ask_devices(&w, &a), 0x1b);
	assert_null(ask_name(&w, &a, 2));
	assert_string_equal(ask_name(&w, &a, 3), "mine");
	assert_int_equal(ask_attach(&w, &a, "theirs"), VHX_ATTACH_UNKNOWN);
	assert_int_equal(ask_attach(&w, &a, "mine"), VHX_ATTACH_OK);
	assert_int_equal(ask_attach(&w, &a, "named"), VHX_ATTACH_OK);
	raw_close(&a.raw);
	lab_close(&w);
}

static void test_numbers_are_given_again_when_all_have_been(void **state)
{
	struct asker a;
	struct lab w;
	char name[16];
	uint32_t i;

	open_two(&w);
	asker_open(&w, &a);
	for (i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		add(&w, name);
		asker_settle(&w, &a);
		assert_int_equal(vhx_backend_remove_device(w.be, name), 0);
		asker_settle(&w, &a);
		a.event_cnt = 0;
	}
	assert_int_equal(ask_devices(&w, &a), 3);
	raw_close(&a.raw);
	lab_close(&w);
}

static void test_removed_device_ends_its_requests_and_no_others(void **state)
{
	struct lab w;

	open_two(&w);
	w.dev[0]->answer = LAB_HOLD;
	lab_source_plan(&w.src[0], 10, LAB_WRITE, HEAD + 5000, 0);
	lab_source_plan(&w.src[1], 10, LAB_WRITE, HEAD + 5000, 0);
	lab_settle(&w);
	w.dev[0]->slow_reset = true;
	assert_int_equal(vhx_backend_remove_device(w.be, "one"), 0);
	lab_finish(&w, &w.src[0], 10);
	assert_int_equal(w.src[0].errors, 10);
	assert_string_equal(vhx_fdev_state(w.fdev[0].fdev), "failed");
	/* Those to come end, too; the channel and its other device go on. */
	lab_source_plan(&w.src[0], 5, LAB_READ, HEAD, 100);
	lab_finish(&w, &w.src[0], 15);
	assert_int_equal(w.src[0].errors, 15);
	lab_source_plan(&w.src[1], 30, LAB_READ, HEAD, 3000);
	lab_finish(&w, &w.src[1], 40);
	assert_int_equal(w.src[1].ok, 40);
	assert_int_equal(w.connects, 1);
	/* Its memory is the device's until the medium has been let go of. */
	lab_device_quiesce(w.dev[0]);
	lab_settle(&w);
	lab_close(&w);
}

/* What the frontend sends before it hears of the removal is nobody's fault. */
static void test_requests_that_cross_the_removal(void **state)
{
	struct lab w;
	uint32_t i;

	for (i = 0; i < 12; i++) {
		open_two(&w);
		lab_source_plan(&w.src[0], 60, LAB_WRITE, HEAD + 9000, 0);
		while (w.dev[0]->submits < i)
			lab_turn(&w);
		assert_int_equal(vhx_backend_remove_device(w.be, "one"), 0);
		lab_finish(&w, &w.src[0], 60);
		lab_source_plan(&w.src[1], 10, LAB_READ, HEAD, 3000);
		lab_finish(&w, &w.src[1], 10);
		assert_int_equal(w.src[1].ok, 10);
		assert_int_equal(w.connects, 1);
		lab_close(&w);
	}
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_bitmap),
		cmocka_unit_test(test_device_that_comes_and_goes_is_told_and_leaves_a_hole),
		cmocka_unit_test(test_device_of_one_peer_is_not_there_for_others),
		cmocka_unit_test(test_numbers_are_given_again_when_all_have_been),
		cmocka_unit_test(test_removed_device_ends_its_requests_and_no_others),
		cmocka_unit_test(test_requests_that_cross_the_removal),
	};

	return cmocka_run_group_tests_name("stack: discovery", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
