// SPDX-License-Identifier: BSD-3-Clause
/*
 * A port of `argo` whose ring holds anything, also what no hypervisor would write, and whose hypercalls answer
 * anything, between any two of our calls.
 */
#include "argo_ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "exchange/argo.h"

#define STEPS_MAX 512u

static struct fuzz_argo_ring ring;
static struct fuzz_input input;
static bool honest; /* for now, all hypercalls do what they are for */
static uint32_t own_inc; /* as the last MEET of the port said it */

/* ---- an endpoint without a hypervisor ---- */

static int answer(void)
{
	return honest ? 0 : fuzz_argo_answer(&input);
}

static int fake_bind(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		     const struct argo_ring **head)
{
	int err = answer();

	ring.head.rx_ptr = ring.head.tx_ptr = 0;
	*head = &ring.head;
	return err == -EAGAIN ? 0 : err;
}

static int fake_send(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		     const struct iovec *iov, unsigned int cnt)
{
	struct vhx_argo_meet meet;

	FUZZ_CHECK(dst->domid == FUZZ_ARGO_PARTNER && cnt <= ARGO_IOVS_MAX);
	if (type == VHX_ARGO_MEET) {
		FUZZ_CHECK(cnt == 1 && iov[0].iov_len == sizeof(meet));
		memcpy(&meet, iov[0].iov_base, sizeof(meet));
		own_inc = vhx_le32_get(meet.inc);
	}
	return answer();
}

static int fake_consume(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above, uint32_t *tx_ptr)
{
	return fuzz_argo_consume(&ring, &input, rx_ptr, tx_ptr);
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
	uint64_t count;

	return read(dev->fd, &count, sizeof(count)) == sizeof(count);
}

static void fake_close(struct vhx_argo_dev *dev)
{
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

/* ---- what happens to the ring ---- */

static void do_meet(struct vhx_port *p)
{
	uint8_t how = fuzz_u8(&input);
	struct vhx_argo_meet meet = {
		.version = vhx_le32_of(how & 1 ? VHX_ARGO_VERSION : fuzz_u8(&input)),
		.state = vhx_le32_of(how & 2 ? VHX_ARGO_HERE : fuzz_u8(&input) % 3),
		.inc = vhx_le32_of(fuzz_u8(&input) % 3),
		.peer_inc = vhx_le32_of(how & 4 ? own_inc : fuzz_u8(&input)),
		.ring_len = vhx_le32_of(how & 8 ? FUZZ_ARGO_RING : fuzz_u16(&input)),
	};

	fuzz_argo_message(&ring, how & 16 ? VHX_ARGO_PORT_BE : fuzz_u32(&input), VHX_ARGO_MEET,
			  &meet, how & 32 ? sizeof(meet) : fuzz_u8(&input) % sizeof(meet));
}

static void do_message(struct vhx_port *p)
{
	static const uint8_t bytes[1024];
	uint32_t len = fuzz_u16(&input) % sizeof(bytes);

	fuzz_argo_message(&ring, VHX_ARGO_PORT_BE, fuzz_u8(&input), bytes, len);
}

static void do_scribble(struct vhx_port *p)
{
	fuzz_argo_scribble(&ring, &input);
}

static void do_tx_ptr(struct vhx_port *p)
{
	fuzz_argo_tx_ptr(&ring, &input);
}

/* A peer that answers as it should: most of what there is to break comes after that. */
static void meet(struct vhx_port *p)
{
	struct vhx_argo_meet wire = {
		.version = vhx_le32_of(VHX_ARGO_VERSION),
		.state = vhx_le32_of(VHX_ARGO_HERE),
		.inc = vhx_le32_of(1),
		.peer_inc = vhx_le32_of(own_inc),
		.ring_len = vhx_le32_of(FUZZ_ARGO_RING),
	};

	fuzz_argo_message(&ring, VHX_ARGO_PORT_BE, VHX_ARGO_MEET, &wire, sizeof(wire));
	vhx_port_event(p);
	FUZZ_CHECK(vhx_port_ready(p));
}

/* ---- what the owner of the port does ---- */

static void do_event(struct vhx_port *p)
{
	vhx_port_event(p);
}

static void do_wait(struct vhx_port *p)
{
	vhx_port_prepare_wait(p);
}

static void do_take(struct vhx_port *p)
{
	uint8_t bytes[FUZZ_ARGO_RING];
	struct vhx_msg msg;
	int ret = vhx_port_peek(p, &msg);

	if (ret != 1)
		return;
	FUZZ_CHECK(vhx_port_ready(p) && msg.len <= p->max_message && msg.len <= sizeof(bytes));
	FUZZ_CHECK(msg.type != VHX_ARGO_MEET);
	vhx_port_read(p, 0, bytes, msg.len);
	vhx_port_consume(p);
}

static void do_send(struct vhx_port *p)
{
	static uint8_t bytes[2048];
	struct iovec iov = { bytes, fuzz_u16(&input) % sizeof(bytes) };
	int ret = vhx_port_send(p, 1, &iov, 1);

	FUZZ_CHECK(ret != 0 || iov.iov_len <= p->max_message);
}

static void do_leave(struct vhx_port *p)
{
	/* Seldom: little can happen after it. */
	if (fuzz_u8(&input) > 0xf8)
		vhx_argo_leave(p);
}

static void (*const steps[])(struct vhx_port *p) = {
	do_meet, do_message, do_scribble, do_tx_ptr, do_event, do_wait,
	do_take, do_send,    do_leave,	  do_event,  do_take,  do_meet,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vhx_argo_dev dev = { .ops = &fake_ops, .domid = 1 };
	struct vhx_argo_config cfg = {
		.dev = &dev,
		.port = VHX_ARGO_PORT_FE,
		.peer_port = VHX_ARGO_PORT_BE,
		.partner = FUZZ_ARGO_PARTNER,
		.ring_len = FUZZ_ARGO_RING,
		.probe_ns = 1,
	};
	struct vhx_port *port;

	memset(&ring, 0, sizeof(ring));
	own_inc = 0;
	input = (struct fuzz_input){ data, len };
	dev.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	honest = fuzz_u8(&input) % 4 != 0;
	if (!vhx_argo_open(&cfg, &port)) {
		if (honest)
			meet(port);
		honest = false;
		for (unsigned int i = 0; i < STEPS_MAX && input.len; i++)
			steps[fuzz_u8(&input) % VHX_ARRAY_SIZE(steps)](port);
		vhx_port_close(port);
	}
	close(dev.fd);
	return 0;
}

/* Not met: a MEET that names nobody, an event, one that names us, an event. Met: messages, taken and sent. */
static const uint8_t seed_meeting[] = { 0, 0, 0, 0, 63, 1, 4, 0, 0, 0, 63, 1, 4, 0, 0, 0 };
static const uint8_t seed_met[] = { 1, 1, 16, 0, 1, 6, 1,   9, 0, 2,  6,
				    7, 8, 0,  0, 5, 1, 200, 1, 7, 10, 6 };
static const uint8_t seed_refused[] = { 0, 6, 4, 5, 6, 7, 1, 0, 4 };

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_meeting, sizeof(seed_meeting) },
	{ seed_met, sizeof(seed_met) },
	{ seed_refused, sizeof(seed_refused) },
	{ NULL, 0 },
};
