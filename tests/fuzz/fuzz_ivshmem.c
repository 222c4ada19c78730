// SPDX-License-Identifier: BSD-3-Clause
/*
 * A port of `ivshmem` in a window that its peer writes as it likes, our section included, between any two of
 * our calls; and lives of ours that begin wherever it left off.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vhx/section.h>

#include "exchange/ivshmem.h"

#define SIZE VHX_WINDOW_SIZE_MIN

static int window = -1;
static uint8_t *map;

struct play {
	struct vhx_port *port;
	int sock; /* the other end */
	uint32_t side;
	struct vhx_section_header *own, *peer;
	uint8_t *peer_data;
};

static void life_end(struct play *p)
{
	vhx_port_close(p->port);
	close(p->sock);
	p->port = NULL;
}

static void life_start(struct play *p)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks))
		abort();
	p->sock = socks[1];
	FUZZ_CHECK(!vhx_ivshmem_open(socks[0], window, SIZE, p->side, &p->port));
}

static void do_word(struct play *p, struct fuzz_input *in)
{
	uint32_t *words[] = { &p->peer->tx_idx.v,     &p->peer->rx_idx.v, &p->peer->data_word.v,
			      &p->peer->space_word.v, &p->peer->state.v,  &p->peer->inc.v,
			      &p->peer->peer_inc.v,   &p->own->tx_idx.v,  &p->own->rx_idx.v,
			      &p->own->state.v,	      &p->own->inc.v };

	*words[fuzz_u8(in) % VHX_ARRAY_SIZE(words)] = fuzz_u32(in);
}

/* What an honest peer does: answers, or restarts and answers. */
static void do_answer(struct play *p, struct fuzz_input *in)
{
	if (fuzz_u8(in) % 2) {
		p->peer->inc.v++;
		p->peer->tx_idx.v = 0;
		p->peer->rx_idx.v = 0;
	}
	p->peer->peer_inc.v = p->own->inc.v;
	p->peer->state.v = VHX_WINDOW_READY;
}

/* A message, and all of ours taken. */
static void do_message(struct play *p, struct fuzz_input *in)
{
	uint32_t at = p->peer->tx_idx.v % vhx_ivshmem_ring_len(SIZE) & ~(VHX_SLOT - 1);
	uint32_t header[4] = { fuzz_u16(in) % 5000, fuzz_u8(in), 0, 0 };

	memcpy(p->peer_data + at, header, sizeof(header));
	p->peer->tx_idx.v += vhx_footprint(header[0]);
	p->peer->rx_idx.v = p->own->tx_idx.v;
}

static void do_event(struct play *p, struct fuzz_input *in)
{
	static const uint8_t packet[2];
	int ret;

	send(p->sock, packet, fuzz_u8(in) % 3, MSG_DONTWAIT | MSG_NOSIGNAL);
	ret = vhx_port_event(p->port);
	FUZZ_CHECK(ret == 0 || ret == -EPIPE || ret == -EPROTO);
}

static void do_send(struct play *p, struct fuzz_input *in)
{
	static uint8_t bytes[65536];
	struct iovec iov = { bytes, fuzz_u16(in) };
	int ret = vhx_port_send(p->port, 1, &iov, 1);

	FUZZ_CHECK(ret == 0 || ret == -EAGAIN || ret == -EMSGSIZE || ret == -EPIPE ||
		   ret == -EPROTO);
}

static void do_receive(struct play *p, struct fuzz_input *in)
{
	struct vhx_msg msg;
	uint8_t *bytes;
	int ret = vhx_port_peek(p->port, &msg);

	FUZZ_CHECK(ret == 0 || ret == 1 || ret == -EPIPE || ret == -EPROTO);
	if (ret != 1)
		return;
	FUZZ_CHECK(msg.len <= p->port->max_message);
	/* Exactly as long, so that a sanitizer sees a byte too much. */
	bytes = malloc(msg.len ? msg.len : 1);
	if (!bytes)
		abort();
	vhx_port_read(p->port, 0, bytes, msg.len);
	free(bytes);
	vhx_port_consume(p->port);
}

static void do_wait(struct play *p, struct fuzz_input *in)
{
	int ret = vhx_port_prepare_wait(p->port);

	FUZZ_CHECK(ret == 0 || ret == 1);
}

/* Seldom: it maps the window again. */
static void do_restart(struct play *p, struct fuzz_input *in)
{
	if (fuzz_u8(in) % 4)
		return;
	life_end(p);
	life_start(p);
}

static void (*const steps[])(struct play *p, struct fuzz_input *in) = {
	do_word, do_answer, do_message, do_event,   do_send, do_receive,
	do_wait, do_event,  do_receive, do_message, do_send, do_restart,
};

static void window_make(void)
{
	if (window >= 0)
		return;
	window = vhx_ivshmem_window_create(SIZE);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, window, 0);
	if (window < 0 || map == MAP_FAILED)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	struct play p = { .side = fuzz_u8(&in) % 2 };

	window_make();
	p.own = (void *)(map + p.side * (SIZE / 2));
	p.peer = (void *)(map + !p.side * (SIZE / 2));
	p.peer_data = (uint8_t *)p.peer + VHX_WINDOW_HEADER_LEN;
	/* What a guest finds of its host's constants is as it should be. */
	memset((uint8_t *)p.own + 16, 0, sizeof(*p.own) - 16);
	memset((uint8_t *)p.peer + 16, 0, sizeof(*p.peer) - 16);
	life_start(&p);
	while (in.len)
		steps[fuzz_u8(&in) % VHX_ARRAY_SIZE(steps)](&p, &in);
	life_end(&p);
	return 0;
}

/* Met, spoken to, spoken with, left and met again. */
static const uint8_t seed_talk[] = { 0,	 1, 1, 3, 1,  2, 20, 0, 1, 5, 4,
				     40, 0, 6, 2, 30, 1, 2,  5, 6, 5 };
static const uint8_t seed_lives[] = { 1, 1, 1,	3, 1, 2, 20, 0, 1, 1, 1, 7,
				      1, 5, 11, 0, 1, 0, 3, 1,  4, 9, 0, 5, 6 };
static const uint8_t seed_words[] = { 0, 1, 1, 3, 1, 0, 0, 64, 0, 0, 0, 5, 0, 4, 2, 0, 0, 0, 6, 5 };

const struct vhx_fuzz_seed vhx_fuzz_seeds[] = {
	{ seed_talk, sizeof(seed_talk) },
	{ seed_lives, sizeof(seed_lives) },
	{ seed_words, sizeof(seed_words) },
	{ NULL, 0 },
};
