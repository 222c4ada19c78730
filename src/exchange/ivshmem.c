// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `ivshmem`: lives of the two sides of a window.
 *
 * Objects. The window belongs to whoever made it and outlives the ports in it. A port is one *life* of one
 * side: it writes the section of its side, maps the other one read-only, and owns its end of the socket that
 * carries the events. What is in the window when a life begins is of no interest to it, but for the
 * incarnation of its predecessor, which it must not repeat.
 *
 *   OPENING  own state INIT, then READY once the peer was seen and answered; answers anew while not joined
 *   READY    joined: own state READY, and the peer READY, answering us. Once in a life
 *   GONE     -EPIPE: the peer's life is over, or the socket is; -EPROTO: the peer broke a rule
 *
 * Order. A life begins with state GONE, inc, all else 0, state INIT, each store visible after the one before;
 * so whoever loads a word of the new life (acquire) and then inc finds the new inc. Readers use that twice:
 * peer_life() takes inc before and after the other words, and what a fresh tx_idx promises is believed
 * only if inc is still the one that we joined. An index of a life that is over is never taken for one of the
 * present, also not at the place where it wraps.
 *
 * The end of a life. While inc stays, what the peer published before it left is still read. A new inc ends
 * that: `joined` goes, and with it the indices.
 *
 * A hostile peer can write any word at any time. It is not held back by the mapping either: on ivshmem it can
 * write *our* section too, whose words therefore are never read back (but for the inc that close() compares,
 * to leave a life of our successor alone). What it gains is the end of its own channel: as many
 * meetings as it likes before we join, one after. The socket is the window's owner's, whose flood of events
 * costs VHX_LANE_PORT_WAKE_BATCH packets each time. The file cannot change its size; pages that somebody
 * punches out of it come back as zeroes.
 */
#include "exchange/ivshmem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exchange/lane_port.h"
#include "exchange/offer.h"

/* What the size of a window needs; and that it has no more, for whoever takes it after the present backend. */
#define WINDOW_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define WINDOW_SEALS_MADE (WINDOW_SEALS | F_SEAL_SEAL)

_Static_assert(VHX_WINDOW_SIZE_MAX / 4 <= VHX_SECTION_RING_MAX, "bounds");

struct ivshmem_port {
	struct vhx_lane_port lp; /* first: vhx_lane_port_close() frees it */
	uint32_t inc; /* of this life */
	uint32_t answered; /* the peer's life that our peer_inc names, 0: none */
};

/* The peer's words about its life, of one moment. */
struct life {
	bool steady; /* not in the middle of a change; else an event follows */
	uint32_t state, inc, peer_inc;
};

static struct ivshmem_port *to_ivshmem(struct vhx_lane_port *lp)
{
	return vhx_container_of(lp, struct ivshmem_port, lp);
}

bool vhx_ivshmem_size_valid(uint32_t size)
{
	return vhx_is_power_of_2(size) && size >= VHX_WINDOW_SIZE_MIN &&
	       size <= VHX_WINDOW_SIZE_MAX;
}

/* Half of the window is a power of two, and the header takes less than half of it: so a quarter remains. */
uint32_t vhx_ivshmem_ring_len(uint32_t size)
{
	_Static_assert(VHX_WINDOW_SIZE_MIN / 4 >= VHX_WINDOW_HEADER_LEN, "the header leaves room");
	return size / 4;
}

static uint64_t side_offset(uint32_t size, uint32_t side)
{
	return (uint64_t)side * (size / 2);
}

/* Writes the host's constants and seals. */
static int window_lay_out(int window, uint32_t size)
{
	size_t len = sizeof(struct vhx_section_header);
	struct vhx_section_header *h;

	if (ftruncate(window, size) || fallocate(window, 0, 0, size))
		return -errno;
	h = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, window, 0);
	if (h == MAP_FAILED)
		return -errno;
	vhx_section_header_init(h, vhx_ivshmem_ring_len(size));
	munmap(h, len);
	return fcntl(window, F_ADD_SEALS, WINDOW_SEALS_MADE) ? -errno : 0;
}

int vhx_ivshmem_window_create(uint32_t size)
{
	int window, err;

	if (!vhx_ivshmem_size_valid(size))
		return -EINVAL;
	window = memfd_create("vhx-window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (window < 0)
		return -errno;
	err = window_lay_out(window, size);
	if (!err)
		return window;
	close(window);
	return err;
}

/* Its pages are there now, paid for by its owner. */
static bool window_allocated(int window, uint32_t size)
{
	struct stat st;

	return !fstat(window, &st) && (uint64_t)st.st_blocks * 512 >= size;
}

int vhx_ivshmem_window_refill(int window, uint32_t size)
{
	if (window_allocated(window, size))
		return 0;
	return fallocate(window, 0, 0, size) ? -errno : 0;
}

int vhx_ivshmem_window_offer(int sock, int window, uint32_t size)
{
	return vhx_offer_send(sock, VHX_OFFER_WINDOW, size, window);
}

/* Lives */

static uint32_t inc_new(uint32_t last)
{
	uint32_t inc;

	/* 0 stands for nobody; retries are as likely as 2 in four thousand million. */
	do {
		if (getrandom(&inc, sizeof(inc), 0) != sizeof(inc))
			inc = last + 1;
	} while (!inc || inc == last);
	return inc;
}

static void life_begin(struct ivshmem_port *w)
{
	struct vhx_section_header *own = w->lp.own.header;

	w->inc = inc_new(vhx_word_load_relaxed(&own->inc));
	vhx_section_header_init(own, w->lp.own.ring_len);
	vhx_word_store_relaxed(&own->state, VHX_WINDOW_GONE);
	/* Release, each: pairs with the acquire loads in peer_life() and in the lane. */
	vhx_word_store_release(&own->inc, w->inc);
	vhx_word_store_release(&own->peer_inc, 0);
	vhx_word_store_release(&own->tx_idx, 0);
	vhx_word_store_release(&own->rx_idx, 0);
	vhx_word_store_release(&own->data_word, 0);
	vhx_word_store_release(&own->space_word, 0);
	vhx_word_store_release(&own->state, VHX_WINDOW_INIT);
	vhx_lane_port_raise(&w->lp);
}

static struct life peer_life(const struct ivshmem_port *w)
{
	const struct vhx_section_header *peer = w->lp.theirs.header;
	/* Acquire, each: pairs with the releases in the peer's life_begin() and life_answer(). */
	uint32_t inc = vhx_word_load_acquire(&peer->inc);
	struct life life = {
		.inc = inc,
		.state = vhx_word_load_acquire(&peer->state),
		.peer_inc = vhx_word_load_acquire(&peer->peer_inc),
	};

	life.steady = vhx_word_load_relaxed(&peer->inc) == inc;
	return life;
}

static void life_answer(struct ivshmem_port *w, uint32_t inc)
{
	struct vhx_section_header *own = w->lp.own.header;

	w->answered = inc;
	vhx_word_store_relaxed(&own->peer_inc, inc);
	/* Release: pairs with the acquire in the peer's peer_life(). */
	vhx_word_store_release(&own->state, VHX_WINDOW_READY);
	vhx_lane_port_raise(&w->lp);
}

static bool life_joins(const struct ivshmem_port *w, const struct life *peer)
{
	return peer->steady && peer->state == VHX_WINDOW_READY && peer->inc == w->answered &&
	       peer->peer_inc == w->inc;
}

/* OPENING: looks at the peer, answers it if it is new, joins it if it answers us. */
static void life_meet(struct ivshmem_port *w)
{
	struct life peer = peer_life(w);

	if (!peer.steady || !peer.inc ||
	    (peer.state != VHX_WINDOW_INIT && peer.state != VHX_WINDOW_READY))
		return;
	if (peer.inc != w->answered)
		life_answer(w, peer.inc);
	/* Raising the event may have shown that nobody is behind the socket. */
	if (w->lp.status == -EAGAIN && life_joins(w, &peer))
		vhx_lane_port_join(&w->lp);
}

/* READY: 0, or -EPIPE when the life that we joined is over. */
static int life_check(struct ivshmem_port *w)
{
	struct life peer = peer_life(w);

	if (vhx_likely(life_joins(w, &peer)))
		return 0;
	/* Its indices may be those of the next life: nothing more is read. */
	if (!peer.steady || peer.inc != w->answered)
		w->lp.joined = false;
	return vhx_lane_port_fail(&w->lp, -EPIPE);
}

static bool life_left(struct vhx_lane_port *lp)
{
	return life_check(to_ivshmem(lp)) != 0;
}

/* The port's ops */

static struct ivshmem_port *port_to_ivshmem(struct vhx_port *p)
{
	return vhx_container_of(p, struct ivshmem_port, lp.port);
}

/* The life is looked at where a peer without liveness is: before what is meant for it. */
static int ivshmem_status(struct ivshmem_port *w)
{
	return vhx_unlikely(w->lp.status) ? w->lp.status : life_check(w);
}

static int ivshmem_send(struct vhx_port *p, uint32_t type, const struct iovec *iov,
			unsigned int cnt)
{
	ivshmem_status(port_to_ivshmem(p));
	return vhx_lane_port_send(p, type, iov, cnt);
}

static int ivshmem_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	struct ivshmem_port *w = port_to_ivshmem(p);
	uint32_t avail = w->lp.lane.rx_avail_idx;
	int ret = vhx_lane_port_peek(p, msg);

	/* A fresh index counts only if it is of the life that we joined; after a death only inc tells. */
	if (ret == 1 && w->lp.lane.rx_avail_idx != avail && life_check(w) && !w->lp.joined)
		return w->lp.status;
	return ret;
}

static int ivshmem_prepare_wait(struct vhx_port *p)
{
	struct ivshmem_port *w = port_to_ivshmem(p);
	int ret = vhx_lane_port_prepare_wait(p);

	if (w->lp.status == -EAGAIN)
		return 0; /* the meeting goes by events alone, which are raised whether we sleep or not */
	return ivshmem_status(w) ? 1 : ret;
}

static int ivshmem_event(struct vhx_port *p)
{
	struct ivshmem_port *w = port_to_ivshmem(p);
	int err;

	if (w->lp.status != -EAGAIN) {
		err = vhx_lane_port_event(p);
		return err ? err : life_check(w);
	}
	if (vhx_lane_port_take(&w->lp))
		return vhx_lane_port_fail(&w->lp, -EPIPE);
	life_meet(w);
	return w->lp.status == -EAGAIN ? 0 : w->lp.status;
}

static void ivshmem_close(struct vhx_port *p)
{
	struct ivshmem_port *w = port_to_ivshmem(p);
	struct vhx_section_header *own = w->lp.own.header;

	if (own && vhx_word_load_relaxed(&own->inc) == w->inc) {
		/* Release: who sees it sees all that was published. Pairs with peer_life(). */
		vhx_word_store_release(&own->state, VHX_WINDOW_GONE);
		vhx_lane_port_raise(&w->lp);
	}
	vhx_lane_port_close(p);
}

static const struct vhx_port_ops ivshmem_ops = {
	.name = "ivshmem",
	.caps = VHX_PORT_RESERVE | VHX_PORT_SLEEP_FLAG | VHX_PORT_PATIENT |
		VHX_PORT_WAKE_DEAR,
	.iov_max = VHX_LANE_IOV_MAX,
	.send = ivshmem_send,
	.reserve = vhx_lane_port_reserve,
	.commit = vhx_lane_port_commit,
	.cancel = vhx_lane_port_cancel,
	.peek = ivshmem_peek,
	.read = vhx_lane_port_read,
	.consume = vhx_lane_port_consume,
	.prepare_wait = ivshmem_prepare_wait,
	.event = ivshmem_event,
	.close = ivshmem_close,
};

static int sections_map(struct ivshmem_port *w, int window, uint32_t size, uint32_t side)
{
	struct vhx_section_place place = {
		.fd = window,
		.off = side_offset(size, !side),
		.header_len = VHX_WINDOW_HEADER_LEN,
		.ring_len = vhx_ivshmem_ring_len(size),
	};
	int err = vhx_section_map_place(&place, false, &w->lp.theirs);

	if (err)
		return err;
	/* Other programs use such windows too: a guest writes nothing before it knows its host. */
	if (side == VHX_WINDOW_GUEST &&
	    !vhx_section_header_valid(w->lp.theirs.header, place.ring_len))
		return -EPROTO;
	place.off = side_offset(size, side);
	return vhx_section_map_place(&place, true, &w->lp.own);
}

static int port_start(struct ivshmem_port *w, int window, uint32_t size, uint32_t side)
{
	struct vhx_peer *peer = &w->lp.port.peer;
	int err = vhx_offer_identify(w->lp.port.fd, peer);

	if (!err)
		err = sections_map(w, window, size, side);
	if (err)
		return err;
	snprintf(peer->text, sizeof(peer->text), "window of pid %u uid %u", peer->pid, peer->uid);
	w->lp.left = life_left;
	w->lp.port.memory = sizeof(*w) + VHX_WINDOW_HEADER_LEN + w->lp.own.ring_len;
	life_begin(w);
	/* What happened before we could be told of it is looked at once. */
	if (w->lp.status == -EAGAIN)
		life_meet(w);
	return w->lp.status == -EAGAIN ? 0 : w->lp.status;
}

static int window_judge(int window, uint32_t size, uint32_t side)
{
	if (!vhx_ivshmem_size_valid(size) || side > VHX_WINDOW_GUEST)
		return -EINVAL;
	if (!vhx_offer_file_sealed(window, size, WINDOW_SEALS_MADE) &&
	    !vhx_offer_file_sealed(window, size, WINDOW_SEALS))
		return -EPROTO;
	return window_allocated(window, size) ? 0 : -EPROTO;
}

int vhx_ivshmem_open(int sock, int window, uint32_t size, uint32_t side, struct vhx_port **port)
{
	struct ivshmem_port *w;
	int err;

	err = window_judge(window, size, side);
	w = err ? NULL : calloc(1, sizeof(*w));
	if (!w) {
		close(sock);
		return err ? err : -ENOMEM;
	}
	vhx_lane_port_init(&w->lp, &ivshmem_ops, sock);
	err = port_start(w, window, size, side);
	if (err) {
		vhx_port_close(&w->lp.port);
		return err;
	}
	*port = &w->lp.port;
	return 0;
}

int vhx_ivshmem_accept(int sock, struct vhx_port **port)
{
	uint32_t size;
	int err, window;

	err = vhx_offer_receive(sock, VHX_OFFER_WINDOW, &size, &window);
	if (err) {
		close(sock);
		return err;
	}
	if (vhx_ivshmem_size_valid(size)) {
		err = vhx_ivshmem_open(sock, window, size, VHX_WINDOW_HOST, port);
	} else {
		close(sock);
		err = -EPROTO;
	}
	close(window);
	return err;
}
