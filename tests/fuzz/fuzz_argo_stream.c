// SPDX-License-Identifier: BSD-3-Clause
/*
 * An end of a stream whose ring holds anything, also what no hypervisor would write, and whose hypercalls answer
 * anything, between any two of the program's calls. And a listener, likewise.
 */
#include "argo_ring.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vhx/argo_stream.h>

#include "argo/driver.h"

#define LISTEN 5u
#define ENDS 3u /* a listener, who connects, who is accepted */
#define STEPS_MAX 512u

/* An end without a hypervisor. */
struct fake {
	struct vhx_argo_dev dev;
	struct fuzz_argo_ring ring;
	uint64_t key; /* of the end behind it, as its greeting said */
	bool used;
};

static struct fake fakes[ENDS];
static struct fuzz_input input;
static bool honest; /* for now, all hypercalls do what they are for */

static struct fake *to_fake(struct vhx_argo_dev *dev)
{
	return vhx_container_of(dev, struct fake, dev);
}

static int answer(void)
{
	return honest ? 0 : fuzz_argo_answer(&input);
}

static int fake_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		     const struct argo_ring **ring)
{
	struct fake *f = to_fake(dev);

	f->ring.head = (struct argo_ring){ 0 };
	*ring = &f->ring.head;
	dev->port = id->port ? id->port : 100;
	return 0;
}

static int fake_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		     const struct iovec *iov, unsigned int cnt)
{
	struct vhx_argo_frame frame;
	struct vhx_argo_greeting greeting;
	size_t len = 0;

	FUZZ_CHECK(dst->domid == FUZZ_ARGO_PARTNER && !dst->pad && type == VHX_ARGO_STREAM &&
		   cnt <= 2);
	for (unsigned int i = 0; i < cnt; i++)
		len += iov[i].iov_len;
	FUZZ_CHECK(len >= sizeof(frame) && len <= VHX_ARGO_FRAME_MAX);
	memcpy(&frame, iov[0].iov_base, sizeof(frame));
	FUZZ_CHECK(vhx_le32_get(frame.kind) >= VHX_ARGO_SYN &&
		   vhx_le32_get(frame.kind) <= VHX_ARGO_RST);
	if (vhx_le32_get(frame.kind) <= VHX_ARGO_ACK) {
		FUZZ_CHECK(iov[0].iov_len == sizeof(frame) + sizeof(greeting));
		memcpy(&greeting, (uint8_t *)iov[0].iov_base + sizeof(frame), sizeof(greeting));
		to_fake(dev)->key = vhx_le64_get(greeting.key);
	}
	return answer();
}

static int fake_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above, uint32_t *tx_ptr)
{
	return fuzz_argo_consume(&to_fake(dev)->ring, &input, rx_ptr, tx_ptr);
}

static int fake_query(struct vhx_argo_dev *dev, const struct argo_addr *dst)
{
	return fuzz_u8(&input) % 4 ? 1 : answer();
}

static int fake_check(struct vhx_argo_dev *dev)
{
	return fuzz_u8(&input) % 4 != 0;
}

static bool fake_event(struct vhx_argo_dev *dev)
{
	return fuzz_u8(&input) % 2;
}

static void fake_close(struct vhx_argo_dev *dev)
{
	to_fake(dev)->used = false;
}

static const struct vhx_argo_dev_ops fake_ops = {
	.bind = fake_bind,
	.send = fake_send,
	.consume = fake_consume,
	.query = fake_query,
	.check = fake_check,
	.event = fake_event,
	.close = fake_close,
};

static int fake_endpoint(struct vhx_argo_driver *driver, struct vhx_argo_dev **dev)
{
	for (unsigned int i = 0; i < ENDS; i++) {
		struct fake *f = &fakes[i];

		if (f->used)
			continue;
		memset(f, 0, sizeof(*f));
		f->used = true;
		f->dev = (struct vhx_argo_dev){ .ops = &fake_ops,
						.fd = *(int *)driver->ctx,
						.one_event = fuzz_u8(&input) % 2,
						.domid = 1 };
		*dev = &f->dev;
		return 0;
	}
	return -ENOSPC;
}

/* ---- what happens to a ring ---- */

static void do_frame(struct fake *f)
{
	static struct {
		struct vhx_argo_frame frame;
		struct vhx_argo_greeting greeting;
		uint8_t more[1000];
	} m;
	uint8_t how = fuzz_u8(&input);
	uint32_t kind = how & 1 ? fuzz_u8(&input) % 6 : VHX_ARGO_DATA;
	uint32_t len = fuzz_u16(&input) % sizeof(m);

	if (how & 2)
		len = kind == VHX_ARGO_SYN || kind == VHX_ARGO_ACK ? 40 : 16;
	m.frame.kind = vhx_le32_of(how & 4 ? fuzz_u32(&input) : kind);
	m.frame.reason = vhx_le32_of(how & 8 ? fuzz_u8(&input) : kind == VHX_ARGO_RST);
	m.frame.key = vhx_le64_of(how & 16 ? fuzz_u8(&input) : kind == VHX_ARGO_SYN ? 0 : f->key);
	m.greeting.version = vhx_le32_of(how & 32 ? fuzz_u8(&input) : VHX_ARGO_STREAM_VERSION);
	m.greeting.frame_max = vhx_le32_of(how & 64 ? fuzz_u32(&input) : 1024);
	m.greeting.key = vhx_le64_of(9);
	fuzz_argo_message(&f->ring, fuzz_u8(&input), how & 128 ? fuzz_u32(&input) : VHX_ARGO_STREAM,
			  &m, len);
}

static void do_scribble(struct fake *f)
{
	fuzz_argo_scribble(&f->ring, &input);
}

static void do_tx_ptr(struct fake *f)
{
	fuzz_argo_tx_ptr(&f->ring, &input);
}

static void (*const happenings[])(struct fake *f) = { do_frame, do_frame, do_scribble, do_tx_ptr };

/* ---- what programs do ---- */

static void stream_step(struct vhx_argo_stream *s)
{
	static uint8_t bytes[FUZZ_ARGO_RING];
	size_t len = fuzz_u16(&input) % sizeof(bytes);
	int64_t ret;

	switch (fuzz_u8(&input) % 8) {
	case 0:
		ret = vhx_argo_stream_connected(s);
		FUZZ_CHECK(ret <= 1);
		break;
	case 1:
		ret = vhx_argo_stream_send(s, bytes, len);
		FUZZ_CHECK(ret <= (int64_t)len);
		break;
	case 2:
		ret = vhx_argo_stream_shutdown(s);
		FUZZ_CHECK(ret <= 0);
		break;
	default:
		ret = vhx_argo_stream_recv(s, bytes, len);
		FUZZ_CHECK(ret <= (int64_t)len);
	}
}

struct world {
	struct vhx_argo_driver driver;
	struct vhx_argo_listener *listener;
	struct vhx_argo_stream *connector, *accepted;
};

static void program_step(struct world *w)
{
	uint8_t who = fuzz_u8(&input);

	if (who % 8 == 7 && w->accepted) {
		vhx_argo_stream_close(w->accepted);
		w->accepted = NULL;
	} else if (w->accepted && who % 2) {
		stream_step(w->accepted);
	} else if (who % 4) {
		stream_step(w->connector);
	} else if (!w->accepted &&
		   vhx_argo_listener_accept(w->listener, &w->driver, &w->accepted)) {
		w->accepted = NULL;
	}
}

static void world_run(struct world *w)
{
	honest = fuzz_u8(&input) % 4 != 0;
	for (unsigned int i = 0; i < STEPS_MAX && input.len; i++) {
		uint8_t what = fuzz_u8(&input);

		if (what % 2)
			happenings[what / 2 % VHX_ARRAY_SIZE(happenings)](&fakes[what / 8 % ENDS]);
		else
			program_step(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int event = -1;
	struct world w = { 0 };

	if (event < 0)
		event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	memset(fakes, 0, sizeof(fakes));
	input = (struct fuzz_input){ data, len };
	vhx_argo_driver_init(&w.driver);
	w.driver.endpoint = fake_endpoint;
	w.driver.ctx = &event;
	w.driver.ring_len = FUZZ_ARGO_RING;
	w.driver.probe_ns = 1;
	honest = true;
	FUZZ_CHECK(!vhx_argo_listener_open(&w.driver, LISTEN, FUZZ_ARGO_PARTNER, &w.listener));
	FUZZ_CHECK(!vhx_argo_stream_connect(&w.driver, FUZZ_ARGO_PARTNER, 1, &w.connector));
	world_run(&w);
	vhx_argo_stream_close(w.connector);
	vhx_argo_stream_close(w.accepted);
	vhx_argo_listener_close(w.listener);
	for (unsigned int i = 0; i < ENDS; i++)
		FUZZ_CHECK(!fakes[i].used);
	return 0;
}

/* Frames for each end, and calls: a SYN that is accepted, an ACK, data, ends. */
static const uint8_t seed_life[] = { 1,	 1, 3,	1,  0,	0, 7, 0, 0,  9, 3,  2, 0,  0,
				     7,	 0, 2,	0,  0,	0, 9, 0, 40, 0, 7,  0, 1,  0,
				     64, 3, 17, 0,  40, 0, 7, 0, 1,  0, 64, 3, 0,  1,
				     16, 0, 2,	17, 3,	4, 0, 0, 7,  0, 1,  0, 64, 3 };
static const uint8_t seed_refused[] = { 0, 0, 1, 16, 0, 1, 0, 2, 9, 3, 5, 0, 0, 7, 0, 1, 8, 0, 3 };

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_life, sizeof(seed_life) },
	{ seed_refused, sizeof(seed_refused) },
	{ NULL, 0 },
};
