// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * The provider `argo` (docs/wire.md, section 15): a port for a partner domain and a role. The
 * module has one frontend's port for each domain of its parameter, registered with the transport.
 *
 * Objects. A port owns its ring for as long as it exists. Each open() begins a *life*: the ring is
 * registered anew, with an incarnation of its own.
 *
 *   status   joined
 *   -EAGAIN  no      opening: the ring gets registered, MEET is sent and answered, if it can be
 *   0        yes     ready. Once in a life
 *   -EPIPE   yes     gone: a send found nobody; what came before can still be read
 *   -EPIPE   no      gone, and said so, or restarted; or closed
 *   -EPROTO  no      gone: the peer broke a rule
 *
 * Attempts. What the hypervisor refuses while we are opening (no such domain, no ring, policy) is
 * tried again by `timer`: it marks the port `due` and raises our own event, and peek() does the
 * rest. The same timer looks every 5 s whether the peer is still there, and ends the wait of a
 * send that was refused without the promise of an event.
 *
 * Locking. All under hmx_port.lock but read(), which looks at what its caller's own peek() and
 * consume() change, and the event, which reads single words. An event comes from the interrupt of
 * all rings or from the timer; close() sets @closed, then waits for both.
 *
 * Room. See the wire's section. The fence between rx_ptr and tx_ptr in rx_publish() has its
 * partner in the hypervisor, between tx_ptr and rx_ptr.
 *
 * Order. The hypervisor's word tx_ptr is loaded with acquire: the bytes come with it. rx_ptr is
 * stored with release: our loads are over before it writes there again. A refused send must not
 * miss its event: @sending is set before the hypercall, and @want before @sending is cleared.
 *
 * A hostile peer can send anything, as long as the ring has room, also from programs that are not
 * the peer. Each header is copied once, then judged. Foreign messages, and those of earlier lives,
 * are dropped, a bounded number in one call. It can end its own channel.
 */
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include <asm/barrier.h>
#include <xen/xen.h>

#include "argo.h"
#include "compat.h"

#define PORTS_MAX 16u /* of the parameter */
#define RING_PAGES_MIN 3u /* a channel wants 8 KiB and a slot (docs/wire.md, section 4) */

/* Messages that are not for the channel and are dropped in one call, with interrupts off. */
#define DROPS_MAX 64u

#define RETRY_MIN_MS ((unsigned int)(VHX_ARGO_RETRY_MIN_NS / NSEC_PER_MSEC))
#define RETRY_MAX_MS ((unsigned int)(VHX_ARGO_RETRY_MAX_NS / NSEC_PER_MSEC))
#define REFUSED_MS ((unsigned int)(VHX_ARGO_REFUSED_NS / NSEC_PER_MSEC))
#define PROBE_MS ((unsigned int)(VHX_ARGO_PROBE_NS / NSEC_PER_MSEC))
#define CHECK_MS ((unsigned int)(VHX_ARGO_CHECK_NS / NSEC_PER_MSEC))

struct hmx_argo {
	struct hmx_port port;
	struct argo_rx rx;
	u16 partner;
	u32 own_port, peer_port;
	void (*event)(void *ctx);
	void *ctx;
	struct delayed_work timer;
	u64 dropped;		/* messages of others, or of lives that are over */

	bool closed;		/* between close() and open(); READ_ONCE() in events */
	bool barred;		/* no life begins any more */
	bool due;		/* the timer says: try again; READ_ONCE() by who waits */
	u32 inc;		/* ours, also of the last life */

	/* The life; all 0 when it begins */
	bool bound;		/* the ring was registered */
	bool joined;
	int status;
	unsigned int pause_ms;	/* the last one between attempts */
	int refusal;		/* what the last attempt came to, 0: it was not refused */
	unsigned long checked;	/* when our ring was last looked for, in jiffies */
	bool owed;		/* a MEET is to be sent */
	bool announced;		/* a MEET was accepted: the peer may know us */
	bool named;		/* peer_inc has named us */
	u32 peer_inc;		/* the peer's life that we heard of, 0: none */
	u32 told;		/* the one that our last accepted MEET named */
	u32 peer_ring_len;	/* of peer_inc */

	/* Sending; also read by the event */
	bool sending;		/* a hypercall is under way */
	u32 want;		/* footprint that was refused and is waited for, 0: none */

	/* Receiving */
	u32 rx_ptr;		/* consumed; read by the event */
	u32 tx_seen;		/* the ring's tx_ptr as last loaded */
	u32 unpublished;	/* consumed since the ring's rx_ptr was last stored */
	u32 mark;		/* the most that the ring holds without having refused anything */
	u32 peeked;		/* the footprint of msg, 0: none */
	struct hmx_msg msg;
};

static struct hmx_argo *to_argo(struct hmx_port *port)
{
	return container_of(port, struct hmx_argo, port);
}

/* The first reason counts. Returns it. */
static int argo_fail(struct hmx_argo *a, int err)
{
	if (err == -EPROTO)
		WRITE_ONCE(a->joined, false);
	if (!a->status || a->status == -EAGAIN)
		a->status = err;
	return a->status;
}

/* The timer */

static void argo_timer_set(struct hmx_argo *a, unsigned int ms)
{
	if (!a->closed)
		mod_delayed_work(hmx_system_wq, &a->timer, msecs_to_jiffies(ms));
}

/* Any context. */
static void argo_raise(struct hmx_argo *a)
{
	/* A section that began before close() set this is waited for there. */
	rcu_read_lock();
	if (!READ_ONCE(a->closed))
		a->event(a->ctx);
	rcu_read_unlock();
}

static void argo_timer(struct work_struct *work)
{
	struct hmx_argo *a = container_of(to_delayed_work(work), struct hmx_argo, timer);

	WRITE_ONCE(a->due, true);
	argo_raise(a);
}

static void argo_event(struct argo_rx *rx)
{
	struct hmx_argo *a = container_of(rx, struct hmx_argo, rx);
	bool wanted;

	/* Before @want: pairs with the release in argo_transmit(), so that one of them is seen. */
	wanted = smp_load_acquire(&a->sending);
	wanted |= READ_ONCE(a->want) != 0;
	/*
	 * Another ring's, if there is nothing here. Acquire: as in rx_look(), though here nothing
	 * is read behind it.
	 */
	if (!wanted && virt_load_acquire(&rx->ring->tx_ptr) == READ_ONCE(a->rx_ptr))
		return;
	if (READ_ONCE(a->joined))
		atomic64_inc(&a->port.stats.wakes_taken);
	argo_raise(a);
}

/* Receiving, as far as sending needs it */

/* Looks how far the hypervisor has written. A place outside of the ring is taken for none. */
static void rx_look(struct hmx_argo *a)
{
	/* Pairs with the hypervisor's store of tx_ptr, behind a message's bytes. */
	u32 tx = virt_load_acquire(&a->rx.ring->tx_ptr);

	if (tx < a->rx.len && !(tx % ARGO_SLOT_SIZE))
		a->tx_seen = tx;
	else
		argo_fail(a, -EPROTO);
}

static void rx_publish(struct hmx_argo *a)
{
	u32 held = a->unpublished;

	if (!held)
		return;
	a->unpublished = 0;
	/* Pairs with the hypervisor's load of rx_ptr: our loads are over. */
	virt_store_release(&a->rx.ring->rx_ptr, a->rx_ptr);
	/* Pairs with the hypervisor's barrier between tx_ptr and its load of rx_ptr. */
	virt_mb();
	rx_look(a);
	/* What the old rx_ptr made the ring hold, or more: it may have been filled again by now. */
	held += argo_rx_distance(&a->rx, a->rx_ptr, a->tx_seen);
	if (held <= a->mark)
		return;
	argo_notify(&a->rx.calls);
}

/* Sending */

static bool argo_nobody(int err)
{
	return err == -ESRCH || err == -ECONNREFUSED;
}

static bool argo_full(int err)
{
	return err == -EAGAIN || err == -EBUSY || err == -ENOMEM;
}

/* One hypercall: 0, or why not. */
static int argo_transmit(struct hmx_argo *a, u32 type, const struct argo_iov *iov, unsigned int nr,
			 u32 footprint)
{
	struct argo_send_addr addr = {
		.src = { .port = a->own_port, .domid = ARGO_DOMID_ANY },
		.dst = { .port = a->peer_port, .domid = a->partner },
	};
	int ret;

	/* An event that comes before the hypercall has returned is for us, perhaps. */
	WRITE_ONCE(a->sending, true);
	ret = argo_send(&a->rx.calls, &addr, iov, nr, type, false);
	/* A smaller one that fits doesn't end the wait of a larger one. */
	if (argo_full(ret))
		WRITE_ONCE(a->want, max(a->want, footprint));
	else if (a->want <= footprint)
		WRITE_ONCE(a->want, 0);
	/* Release: pairs with argo_event(), which is to see one of the two. */
	smp_store_release(&a->sending, false);
	return min(ret, 0);
}

/* What a refusal means to the transport. */
static int send_refused(struct hmx_argo *a, int err)
{
	if (argo_full(err)) {
		a->port.stats.would_blocks++;
		if (err != -EAGAIN)
			argo_timer_set(a, RETRY_MIN_MS);
		return -EAGAIN;
	}
	/* A ring that is smaller than was said. */
	if (err == -EMSGSIZE)
		return argo_fail(a, -EPROTO);
	if (!argo_nobody(err))
		pr_warn_ratelimited("hmx_argo: domain %u: a message was refused: %d\n", a->partner,
				    err);
	return argo_fail(a, -EPIPE);
}

/* Those with bytes: the hypervisor would complain of others in its log. */
static unsigned int iov_fill(struct argo_iov *iov, const struct kvec *segs, unsigned int nr)
{
	unsigned int i, cnt = 0;

	for (i = 0; i < nr; i++) {
		if (!segs[i].iov_len)
			continue;
		iov[cnt++] = (struct argo_iov){
			.base = (unsigned long)segs[i].iov_base,
			.len = segs[i].iov_len,
		};
	}
	return cnt;
}

static int argo_port_send(struct hmx_port *port, u32 type, const struct kvec *segs, unsigned int nr,
			  u32 len)
{
	struct hmx_argo *a = to_argo(port);
	struct argo_iov iov[ARGO_IOVS_MAX];
	int ret;

	if (a->status)
		return a->status;
	if (nr > ARGO_IOVS_MAX)
		return -EINVAL;
	if (len > port->max_message)
		return -EMSGSIZE;
	/* A message that tells what was consumed must not come before the room is there. */
	rx_publish(a);
	ret = argo_transmit(a, type, iov, iov_fill(iov, segs, nr), hmx_footprint(len));
	if (ret)
		return send_refused(a, ret);
	port->stats.tx_messages++;
	port->stats.tx_bytes += len;
	port->stats.sends++;
	port->stats.wakes_sent++; /* each message raises the event */
	return 0;
}

/* Lives */

static int meet_send(struct hmx_argo *a, u32 state)
{
	struct vhx_argo_meet meet = {
		.version = cpu_to_le32(VHX_ARGO_VERSION),
		.state = cpu_to_le32(state),
		.inc = cpu_to_le32(a->inc),
		.peer_inc = cpu_to_le32(a->peer_inc),
		.ring_len = cpu_to_le32(a->rx.len),
	};
	struct argo_iov iov = { .base = (unsigned long)&meet, .len = sizeof(meet) };

	return argo_transmit(a, VHX_ARGO_MEET, &iov, 1, hmx_footprint(sizeof(meet)));
}

static bool argo_forbidden(int err)
{
	return err == -EPERM || err == -EACCES;
}

/* One line, when what is refused by policy becomes so, or is over. */
static void life_note_refusal(struct hmx_argo *a, int err)
{
	bool policy = argo_forbidden(err);

	if (policy && a->refusal != err)
		pr_warn_ratelimited("hmx_argo: domain %u: the hypervisor's policy forbids it: %d\n",
				    a->partner, err);
	if (err == -ENOSPC && a->refusal != err)
		pr_warn_ratelimited("hmx_argo: domain %u: this domain has too many rings\n",
				    a->partner);
	a->refusal = err;
	if (policy)
		a->pause_ms = REFUSED_MS;
	else
		a->pause_ms = clamp(2 * a->pause_ms, RETRY_MIN_MS, RETRY_MAX_MS);
	argo_timer_set(a, a->pause_ms);
}

static void life_join(struct hmx_argo *a)
{
	u32 ring = min(a->rx.len, a->peer_ring_len);
	u32 len = min(ALIGN_DOWN(ring / 4, HMX_SLOT) - 2 * HMX_SLOT, VHX_ARGO_SEND_MAX);

	WRITE_ONCE(a->joined, true);
	a->status = 0;
	a->mark = a->rx.len - 2 * HMX_SLOT - ALIGN(len, HMX_SLOT);
	a->port.tx_ring_len = a->peer_ring_len - HMX_SLOT;
	/* Credit that keeps to this owes nobody a notify. */
	a->port.rx_ring_len = a->mark;
	a->port.max_message = len;
}

static void life_begin(struct hmx_argo *a);

/* Has the peer a ring for us? 1, 0, or why the hypervisor does not say. */
static int peer_query(struct hmx_argo *a)
{
	struct argo_addr addr = { .port = a->peer_port, .domid = a->partner };

	return argo_query(&a->rx.calls, &addr);
}

/* While we look for it, an error is as good as a ring: the next message tells. */
static bool peer_there(struct hmx_argo *a)
{
	return peer_query(a);
}

/* Once it was met, one that a policy took away is as good as gone. */
static bool peer_lost(struct hmx_argo *a)
{
	int ret = peer_query(a);

	return !ret || argo_forbidden(ret);
}

/*
 * Opening: does what is due, as far as the hypervisor lets us. The hypervisor logs each message
 * that finds nobody; so after the first one it is asked, silently, whether there is somebody by
 * now. If so, that may be another one than our ring is for.
 */
static void life_step(struct hmx_argo *a)
{
	int err = 0;

	if (a->bound && a->owed && argo_nobody(a->refusal)) {
		if (!peer_there(a)) {
			life_note_refusal(a, a->refusal);
			return;
		}
		if (argo_rx_check(&a->rx)) {
			life_begin(a);
			return;
		}
	}
	if (!a->bound)
		err = argo_rx_register(&a->rx);
	a->bound |= !err;
	if (!err && a->owed) {
		err = meet_send(a, VHX_ARGO_HERE);
		if (!err) {
			a->owed = false;
			a->announced = true;
			a->told = a->peer_inc;
		}
	}
	if (err) {
		life_note_refusal(a, err);
		return;
	}
	a->refusal = 0;
	argo_timer_set(a, PROBE_MS);
	if (a->named && a->told == a->peer_inc && a->peer_inc)
		life_join(a);
}

static u32 life_inc(u32 last)
{
	u32 inc;

	do {
		inc = get_random_u32();
	} while (!inc || inc == last);
	return inc;
}

/* The members of struct hmx_argo that belong to a life are its last. */
static void life_begin(struct hmx_argo *a)
{
	memset_after(a, 0, inc);
	a->inc = life_inc(a->inc);
	a->status = -EAGAIN;
	a->owed = true;
	a->checked = jiffies;
	a->mark = a->rx.len - 2 * HMX_SLOT - ALIGN(sizeof(struct vhx_argo_meet), HMX_SLOT);
	life_step(a);
}

/* Is our ring still there? Its partner may have ended, and another one come in its place. */
static void life_check(struct hmx_argo *a, unsigned int ms)
{
	if (time_before(jiffies, a->checked + msecs_to_jiffies(ms)))
		return;
	a->checked = jiffies;
	if (!argo_rx_check(&a->rx))
		return;
	if (a->joined)
		argo_fail(a, -EPIPE);
	else
		life_begin(a);
}

/*
 * The question for the peer's ring costs nothing. Where a send waits for room there, something is
 * outstanding, and PING tells. The question for our own leaves a line in the hypervisor's log.
 */
static void life_probe(struct hmx_argo *a)
{
	if (a->joined && !a->want && peer_lost(a))
		argo_fail(a, -EPIPE);
	else if (a->joined)
		life_check(a, CHECK_MS);
	else if (a->bound && !a->owed)
		life_check(a, PROBE_MS);
}

/* The timer has been. */
static void life_due(struct hmx_argo *a)
{
	if (!READ_ONCE(a->due))
		return;
	WRITE_ONCE(a->due, false);
	argo_timer_set(a, PROBE_MS);
	life_probe(a);
	if (a->status == -EAGAIN)
		life_step(a);
}

static bool meet_valid(const struct vhx_argo_meet *meet)
{
	u32 ring_len = le32_to_cpu(meet->ring_len);

	return le32_to_cpu(meet->version) == VHX_ARGO_VERSION &&
	       le32_to_cpu(meet->state) <= VHX_ARGO_HERE && meet->inc &&
	       ring_len >= VHX_ARGO_RING_MIN && ring_len <= VHX_ARGO_RING_MAX &&
	       !(ring_len % HMX_SLOT) && !memchr_inv(meet->reserved, 0, sizeof(meet->reserved));
}

static void meet_opening(struct hmx_argo *a, const struct vhx_argo_meet *meet)
{
	u32 inc = le32_to_cpu(meet->inc);

	if (le32_to_cpu(meet->state) == VHX_ARGO_GONE) {
		if (inc == a->peer_inc) {
			a->peer_inc = 0;
			a->named = false;
		}
		return;
	}
	if (inc != a->peer_inc) {
		a->peer_inc = inc;
		a->named = false;
		a->owed = true;
	}
	a->peer_ring_len = le32_to_cpu(meet->ring_len);
	if (le32_to_cpu(meet->peer_inc) == a->inc)
		a->named = true;
	life_step(a);
}

static void meet_joined(struct hmx_argo *a, const struct vhx_argo_meet *meet)
{
	bool same = le32_to_cpu(meet->inc) == a->peer_inc;
	bool gone = le32_to_cpu(meet->state) == VHX_ARGO_GONE;

	if (same != gone)
		return;
	/* What comes behind is not of the life that we joined. */
	WRITE_ONCE(a->joined, false);
	argo_fail(a, -EPIPE);
}

/* Receiving */

static void rx_copy(const struct hmx_argo *a, u32 off, void *dst, u32 len)
{
	u32 at = a->rx_ptr + off, first;
	u8 *data = argo_rx_data(&a->rx);

	if (at >= a->rx.len)
		at -= a->rx.len;
	first = min(len, a->rx.len - at);
	memcpy(dst, data + at, first);
	memcpy(dst + first, data, len - first);
}

static void rx_advance(struct hmx_argo *a, u32 footprint)
{
	u32 at = a->rx_ptr + footprint;

	WRITE_ONCE(a->rx_ptr, at >= a->rx.len ? at - a->rx.len : at);
	a->unpublished += footprint;
	if (a->unpublished >= a->rx.len / 4)
		rx_publish(a);
}

/* Copies the next message's header, and judges what the hypervisor vouches for. */
static int rx_header(struct hmx_argo *a, struct argo_message *header)
{
	u32 held = argo_rx_distance(&a->rx, a->rx_ptr, a->tx_seen);

	rx_copy(a, 0, header, sizeof(*header));
	if (header->len < sizeof(*header) || header->len > held ||
	    ALIGN(header->len, HMX_SLOT) > held || header->src.domid != a->partner)
		return argo_fail(a, -EPROTO);
	return 0;
}

static void rx_meet(struct hmx_argo *a, u32 len)
{
	struct vhx_argo_meet meet;
	bool valid = false;

	if (len == sizeof(meet)) {
		rx_copy(a, sizeof(struct argo_message), &meet, sizeof(meet));
		valid = meet_valid(&meet);
	}
	rx_advance(a, hmx_footprint(len));
	if (a->joined && !valid)
		argo_fail(a, -EPROTO);
	else if (a->joined)
		meet_joined(a, &meet);
	else if (valid)
		meet_opening(a, &meet);
	else
		a->dropped++;
}

/* 1: the message at rx_ptr is the channel's; 0: it was dealt with; or why the port is gone. */
static int rx_judge(struct hmx_argo *a)
{
	struct argo_message header;
	u32 len;
	int err;

	err = rx_header(a, &header);
	if (err)
		return err;
	len = header.len - (u32)sizeof(header);
	if (header.src.port == a->peer_port && header.type == VHX_ARGO_MEET) {
		rx_meet(a, len);
		return a->status == -EAGAIN ? 0 : a->status;
	}
	if (header.src.port != a->peer_port || !a->joined) {
		a->dropped++;
		rx_advance(a, hmx_footprint(len));
		return 0;
	}
	if (len > a->port.max_message)
		return argo_fail(a, -EPROTO);
	a->msg.type = header.type;
	a->msg.len = len;
	a->peeked = hmx_footprint(len);
	return 1;
}

static bool rx_available(struct hmx_argo *a)
{
	if (a->rx_ptr == a->tx_seen)
		rx_look(a);
	return a->rx_ptr != a->tx_seen;
}

/* Whether anything can still be read. */
static bool rx_alive(const struct hmx_argo *a)
{
	return a->status == -EAGAIN || a->joined;
}

static int rx_next(struct hmx_argo *a)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < DROPS_MAX && !ret && rx_alive(a); i++) {
		if (!rx_available(a)) {
			/* Looks again, on the way. */
			rx_publish(a);
			if (a->rx_ptr == a->tx_seen)
				break;
		}
		ret = rx_judge(a);
	}
	if (ret > 0)
		return ret;
	return a->status == -EAGAIN ? 0 : a->status;
}

static int argo_port_peek(struct hmx_port *port, struct hmx_msg *msg)
{
	struct hmx_argo *a = to_argo(port);
	int ret = 1;

	if (!rx_alive(a))
		return a->status;
	life_due(a);
	/* Room may be there by now. */
	if (a->status == -EAGAIN && a->want)
		life_step(a);
	if (!a->peeked)
		ret = rx_next(a);
	if (ret > 0)
		*msg = a->msg;
	return ret;
}

static void argo_port_consume(struct hmx_port *port)
{
	struct hmx_argo *a = to_argo(port);

	port->stats.rx_messages++;
	port->stats.rx_bytes += a->msg.len;
	rx_advance(a, a->peeked);
	a->peeked = 0;
}

static void argo_port_read(struct hmx_port *port, u32 off, void *dst, u32 len)
{
	rx_copy(to_argo(port), sizeof(struct argo_message) + off, dst, len);
}

static int argo_port_prepare_wait(struct hmx_port *port)
{
	struct hmx_argo *a = to_argo(port);

	rx_publish(a);
	if (a->status && a->status != -EAGAIN)
		return 1;
	return a->peeked || rx_available(a) || READ_ONCE(a->due);
}

/* Begin and end */

static int argo_port_open(struct hmx_port *port)
{
	struct hmx_argo *a = to_argo(port);
	unsigned long flags;
	int err = -ENODEV;

	spin_lock_irqsave(&port->lock, flags);
	if (!a->barred) {
		WRITE_ONCE(a->closed, false);
		life_begin(a);
		err = 0;
	}
	spin_unlock_irqrestore(&port->lock, flags);
	return err;
}

/* The end of a life, told to the peer if it may know of us. */
static void argo_quit(struct hmx_argo *a)
{
	WRITE_ONCE(a->joined, false);
	argo_fail(a, -EPIPE);
	if (!a->rx.registered)
		return;
	if (a->announced)
		meet_send(a, VHX_ARGO_GONE);
	argo_rx_unregister(&a->rx);
}

static void argo_port_close(struct hmx_port *port)
{
	struct hmx_argo *a = to_argo(port);
	unsigned long flags;

	spin_lock_irqsave(&port->lock, flags);
	WRITE_ONCE(a->closed, true);
	argo_quit(a);
	port->max_message = 0;
	port->tx_ring_len = 0;
	port->rx_ring_len = 0;
	spin_unlock_irqrestore(&port->lock, flags);
	cancel_delayed_work_sync(&a->timer);
	/* No event of ours is under way from here on: pairs with argo_raise(). */
	synchronize_rcu();
}

static const struct hmx_port_ops argo_port_ops = {
	.name = "argo",
	.max_segs = ARGO_IOVS_MAX,
	.open = argo_port_open,
	.close = argo_port_close,
	.send = argo_port_send,
	.peek = argo_port_peek,
	.consume = argo_port_consume,
	.prepare_wait = argo_port_prepare_wait,
	.read = argo_port_read,
};

static void argo_transport_event(void *ctx)
{
	struct hmx_argo *a = ctx;

	hmx_port_event(&a->port);
}

static void argo_init_port(struct hmx_argo *a, const struct hmx_argo_config *config)
{
	a->partner = config->partner;
	a->own_port = config->backend ? VHX_ARGO_PORT_BE : VHX_ARGO_PORT_FE;
	a->peer_port = config->backend ? VHX_ARGO_PORT_FE : VHX_ARGO_PORT_BE;
	a->event = config->event ?: argo_transport_event;
	a->ctx = config->event ? config->ctx : a;
	a->closed = true;
	a->status = -EPIPE;
	INIT_DELAYED_WORK(&a->timer, argo_timer);
	spin_lock_init(&a->port.lock);
	a->port.ops = &argo_port_ops;
	a->port.owner = THIS_MODULE;
	snprintf(a->port.peer, sizeof(a->port.peer), "domain %u", a->partner);
	a->rx.port = a->own_port;
	a->rx.partner = a->partner;
	a->rx.event = argo_event;
	a->rx.kind = config->backend ? "backend" : "frontend";
}

struct hmx_port *hmx_argo_port_new(const struct hmx_argo_config *config)
{
	struct hmx_argo *a;
	int err = -EINVAL;

	if (config->ring_len < VHX_ARGO_RING_MIN || config->partner >= ARGO_DOMID_ANY)
		return ERR_PTR(err);
	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return ERR_PTR(-ENOMEM);
	argo_init_port(a, config);
	err = argo_rx_alloc(&a->rx, config->ring_len);
	if (err)
		goto free;
	err = argo_rx_claim(&a->rx, false);
	if (err)
		goto free_ring;
	return &a->port;

free_ring:
	argo_rx_free(&a->rx);
free:
	kfree(a);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(hmx_argo_port_new);

void hmx_argo_port_free(struct hmx_port *port)
{
	struct hmx_argo *a;

	if (!port)
		return;
	a = to_argo(port);
	argo_rx_release(&a->rx);
	argo_rx_free(&a->rx);
	kfree(a);
}
EXPORT_SYMBOL_GPL(hmx_argo_port_free);

/* The module's own ports */

static int backend_domids[PORTS_MAX];
static unsigned int backend_cnt;
module_param_array_named(backend, backend_domids, int, &backend_cnt, 0444);
MODULE_PARM_DESC(backend, "domains whose devices to use; -1: none (default: 0, and none in domain 0)");

static unsigned int ring_pages = (VHX_ARGO_RING_DEFAULT + 64) / ARGO_PAGE_SIZE;
module_param(ring_pages, uint, 0444);
MODULE_PARM_DESC(ring_pages, "pages of 4 KiB of the ring that each backend sends to (default: 256)");

static DEFINE_MUTEX(ports_lock);
static struct hmx_port *ports[PORTS_MAX]; /* registered; ports_lock */
static bool ports_open; /* to more of them: sysfs is there before and after; ports_lock */
static struct device *ports_parent;

/* Under ports_lock. */
static int ports_find(int domid)
{
	unsigned int i;

	for (i = 0; i < PORTS_MAX; i++) {
		if (domid < 0 ? !ports[i] : ports[i] && to_argo(ports[i])->partner == domid)
			return i;
	}
	return -1;
}

static struct hmx_port *port_start(u16 domid)
{
	struct hmx_argo_config config = {
		.partner = domid,
		.ring_len = ring_pages * ARGO_PAGE_SIZE - (u32)sizeof(struct argo_ring),
	};
	struct hmx_port *port = hmx_argo_port_new(&config);
	int err;

	if (IS_ERR(port))
		return port;
	port->parent = ports_parent;
	err = hmx_port_register(port);
	if (!err)
		return port;
	hmx_argo_port_free(port);
	return ERR_PTR(err);
}

/* Under ports_lock. */
static int ports_add(int domid)
{
	int place = ports_find(-1);
	struct hmx_port *port;

	if (domid < 0 || domid >= ARGO_DOMID_ANY)
		return -EINVAL;
	if (!ports_open)
		return -ENODEV;
	if (ports_find(domid) >= 0)
		return -EEXIST;
	if (place < 0)
		return -ENOSPC;
	port = port_start(domid);
	if (IS_ERR(port))
		return PTR_ERR(port);
	ports[place] = port;
	return 0;
}

/* Under ports_lock. */
static void ports_remove_at(unsigned int i)
{
	hmx_port_unregister(ports[i], true);
	hmx_argo_port_free(ports[i]);
	ports[i] = NULL;
}

static int ports_remove(int domid)
{
	int i = domid < 0 ? -1 : ports_find(domid);

	if (i < 0)
		return -ENOENT;
	ports_remove_at(i);
	return 0;
}

static ssize_t backends_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	unsigned int i;
	int len = 0;

	mutex_lock(&ports_lock);
	for (i = 0; i < PORTS_MAX; i++) {
		if (ports[i])
			len += sysfs_emit_at(buf, len, "%u\n", to_argo(ports[i])->partner);
	}
	mutex_unlock(&ports_lock);
	return len;
}

/* "+5": one more; "-5": not any more. */
static ssize_t backends_store(struct device *dev, struct device_attribute *attr, const char *buf,
			      size_t len)
{
	unsigned int domid;
	int err;

	if (buf[0] != '+' && buf[0] != '-')
		return -EINVAL;
	err = kstrtouint(buf + 1, 10, &domid);
	if (err || domid >= ARGO_DOMID_ANY)
		return -EINVAL;
	mutex_lock(&ports_lock);
	err = buf[0] == '+' ? ports_add(domid) : ports_remove(domid);
	mutex_unlock(&ports_lock);
	return err ? err : len;
}
static DEVICE_ATTR_RW(backends);

static struct attribute *ports_attrs[] = {
	&dev_attr_backends.attr,
	NULL,
};
ATTRIBUTE_GROUPS(ports);
const struct attribute_group **argo_ports_groups = ports_groups;

int argo_ports_init(struct device *parent)
{
	unsigned int i;
	int err = 0;

	ports_parent = parent;
	if (ring_pages < RING_PAGES_MIN || ring_pages > ARGO_PAGES_MAX)
		return -EINVAL;
	/* One domain without a backend in its parameter is the usual guest. */
	if (!backend_cnt && !xen_initial_domain())
		backend_cnt = 1;
	mutex_lock(&ports_lock);
	ports_open = true;
	for (i = 0; i < backend_cnt && !err; i++)
		err = backend_domids[i] == -1 ? 0 : ports_add(backend_domids[i]);
	mutex_unlock(&ports_lock);
	if (err)
		argo_ports_exit();
	return err;
}

void argo_ports_exit(void)
{
	unsigned int i;

	mutex_lock(&ports_lock);
	ports_open = false;
	for (i = 0; i < PORTS_MAX; i++) {
		if (ports[i])
			ports_remove_at(i);
	}
	mutex_unlock(&ports_lock);
}

/* Those before @end. 0, or the first error. */
static int ports_thaw(unsigned int end)
{
	unsigned int i;
	int err, ret = 0;

	for (i = 0; i < end; i++) {
		err = ports[i] ? hmx_port_restore(ports[i]) : 0;
		ret = ret ?: err;
	}
	return ret;
}

int argo_ports_freeze(void)
{
	unsigned int i;
	int err = 0;

	mutex_lock(&ports_lock);
	for (i = 0; i < PORTS_MAX && !err; i++) {
		err = ports[i] ? hmx_port_freeze(ports[i]) : 0;
		if (err)
			ports_thaw(i);
	}
	mutex_unlock(&ports_lock);
	return err;
}

int argo_ports_restore(void)
{
	int err;

	mutex_lock(&ports_lock);
	err = ports_thaw(PORTS_MAX);
	mutex_unlock(&ports_lock);
	return err;
}

void argo_ports_leave(void)
{
	struct hmx_argo *a;
	unsigned long flags;
	unsigned int i;

	mutex_lock(&ports_lock);
	ports_open = false;
	for (i = 0; i < PORTS_MAX; i++) {
		if (!ports[i])
			continue;
		a = to_argo(ports[i]);
		spin_lock_irqsave(&a->port.lock, flags);
		a->barred = true;
		argo_quit(a);
		spin_unlock_irqrestore(&a->port.lock, flags);
		/* Whoever sleeps on the port is to see its end. */
		argo_raise(a);
	}
	mutex_unlock(&ports_lock);
}
