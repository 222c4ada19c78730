// SPDX-License-Identifier: BSD-3-Clause
/*
 * Provider `argo`: a port on Argo's four operations.
 *
 * Objects. A port owns an endpoint with one ring, that only the partner domain may send to, a timer, and an epoll
 * descriptor over both. A port is one *life* of this end; its incarnation tells it from those before and after.
 *
 *   UNBOUND  no ring: the partner does not exist (yet). The timer tries again
 *   OPENING  the ring is there. MEETs are exchanged; all else that the ring holds is of earlier lives, or of
 *            others, and is dropped. The timer greets again who was not found, from a fresh ring, since ours may
 *            be gone with a domain that died; and looks whether it still is what was found there
 *   READY    joined: the peer's MEET named our incarnation and ours named its. Messages flow
 *   GONE     -EPIPE: a send found nobody, a probe did, or a MEET told of the end or of another life; -EPROTO: the
 *            ring holds what the hypervisor would never write, or what the peer may not send
 *
 * Order. The ring is registered before the first MEET leaves. So whichever side comes second finds the ring of the
 * first, and one MEET suffices to begin. A MEET that names us was sent after the peer heard of this life; since
 * delivery is in order, nothing of an earlier life of it comes behind.
 *
 * Room. See argo_ring.h for notify. A refusal with EAGAIN is followed by an event; EBUSY and ENOMEM promise none,
 * so the timer ends the wait.
 *
 * The partner domain is hostile, and any process in it may send to our ring: the source port is not
 * authenticated, the source domain is. So a message from another port is dropped, which keeps strangers apart that
 * mean no harm; those who do can end this channel, or make us drop ARGO_DROPS_MAX messages at a time.
 */
#include "exchange/argo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "exchange/argo_meet.h"
#include "util/checked.h"

/* After a refusal that promises no event. */
#define ARGO_RETRY_NS 10000000ull
/* To what is there already: left in the ring when a burst was used up. */
#define ARGO_SOON_NS 1000ull
/* Messages that nobody asked for, dropped in one call. */
#define ARGO_DROPS_MAX 64u

enum argo_state { ARGO_UNBOUND, ARGO_OPENING, ARGO_READY };

struct argo_port {
	struct vhx_port port; /* port.fd: the endpoint and the timer */
	struct vhx_argo_config cfg;
	struct vhx_argo_dev *dev;
	struct vhx_argo_reader reader;
	enum argo_state state;
	int gone;
	bool ended; /* what the ring holds from here on is not of this life, or of no interest */
	bool left; /* by our own will */
	int timer_fd;
	bool timed; /* the timer runs */
	uint64_t pause_ns; /* between the last two greetings */
	bool more; /* OPENING: the timer runs for what is left in the ring */
	int obstacle;
	uint32_t refused; /* the largest payload that waits for room, + 1; 0: none */
	uint64_t unchecked_ns; /* READY: since we last looked for our own ring */
	uint32_t inc; /* of this life */
	uint32_t peer_inc; /* the peer's life that our MEETs name, 0: none */
	uint32_t peer_ring_len;
	bool owed; /* a MEET that says what is not said yet */
	bool named; /* a MEET of peer_inc named our life */
	struct vhx_argo_calls calls;
};

static struct argo_port *to_argo(struct vhx_port *p)
{
	return vhx_container_of(p, struct argo_port, port);
}

uint32_t vhx_argo_ring_len(uint64_t len)
{
	return (uint32_t)vhx_min_u64(len, ARGO_RING_LEN_MAX) & ~(VHX_SLOT - 1);
}

/* Four of the largest fit a ring, as on every provider; and Xen bounds how long it may hold a lock. */
static uint32_t message_max(uint32_t ring_len)
{
	uint32_t quarter = ring_len / 4 & ~(VHX_SLOT - 1);

	return (uint32_t)vhx_min_u64(VHX_ARGO_SEND_MAX, quarter - 2 * VHX_SLOT);
}

static int argo_fail(struct argo_port *ap, int err)
{
	if (!ap->gone)
		ap->gone = err;
	/* A port that is gone counts as ready, so that its reason is asked for. */
	if (!ap->port.max_message)
		ap->port.max_message = message_max(ap->cfg.ring_len);
	return ap->gone;
}

static void obstacle_set(struct argo_port *ap, int err)
{
	if (err == ap->obstacle)
		return;
	ap->obstacle = err;
	if (ap->cfg.watcher.obstacle)
		ap->cfg.watcher.obstacle(ap->cfg.watcher.ctx, err);
}

/* 0: stops it. */
static void timer_set(struct argo_port *ap, uint64_t ns)
{
	struct itimerspec when = {
		.it_value = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) },
	};

	if (!ns && !ap->timed)
		return;
	ap->timed = ns != 0;
	timerfd_settime(ap->timer_fd, 0, &when, NULL);
}

static bool timer_take(struct argo_port *ap)
{
	uint64_t count;

	if (!ap->timed || read(ap->timer_fd, &count, sizeof(count)) != sizeof(count))
		return false;
	ap->timed = false;
	return true;
}

/* The room of what was consumed is the partner's. */
static void argo_publish(struct argo_port *ap)
{
	struct vhx_argo_reader *r = &ap->reader;
	uint32_t tx_ptr;
	int ret;

	if (!r->unpublished)
		return;
	ret = ap->dev->ops->consume(ap->dev, r->rx_ptr, r->mark, &tx_ptr);
	if (ret < 0)
		return;
	vhx_argo_reader_published(r, tx_ptr);
	ap->calls.notifies += ret == 1;
}

/* Lives and meeting */

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

static struct argo_addr peer_addr(const struct argo_port *ap)
{
	return (struct argo_addr){ .port = ap->cfg.peer_port, .domid = ap->cfg.partner };
}

static void meet_fill(const struct argo_port *ap, struct vhx_argo_meet *meet, uint32_t state,
		      uint32_t peer_inc)
{
	const struct vhx_argo_life life = {
		.state = state,
		.inc = ap->inc,
		.peer_inc = peer_inc,
		.ring_len = ap->cfg.ring_len,
	};

	vhx_argo_meet_encode(meet, &life);
}

static int meet_send(struct argo_port *ap, uint32_t state)
{
	struct argo_addr dst = peer_addr(ap);
	struct vhx_argo_meet meet;
	struct iovec iov = { .iov_base = &meet, .iov_len = sizeof(meet) };

	meet_fill(ap, &meet, state, ap->peer_inc);
	ap->calls.meets++;
	return ap->dev->ops->send(ap->dev, &dst, VHX_ARGO_MEET, &iov, 1);
}

/* What is said for us if we cannot say it any more. */
static int life_bequeath(struct argo_port *ap)
{
	struct argo_addr dst = peer_addr(ap);
	struct vhx_argo_meet meet;

	if (!ap->dev->ops->last_words)
		return 0;
	meet_fill(ap, &meet, VHX_ARGO_GONE, 0);
	return ap->dev->ops->last_words(ap->dev, &dst, VHX_ARGO_MEET, &meet, sizeof(meet));
}

/* Nobody is there, or nobody whom we may reach: no more than a pause can help. */
static bool absent(int err)
{
	return err == -ESRCH || err == -ECONNREFUSED || err == -EPERM || err == -EACCES;
}

static uint64_t pause_next(const struct argo_port *ap)
{
	/* What was accepted is not said twice. */
	if (!ap->owed)
		return VHX_ARGO_PROBE_NS;
	if (ap->obstacle == -EPERM || ap->obstacle == -EACCES)
		return VHX_ARGO_REFUSED_NS;
	return vhx_min_u64(vhx_max_u64(2 * ap->pause_ns, VHX_ARGO_RETRY_MIN_NS),
			   VHX_ARGO_RETRY_MAX_NS);
}

static void pause_begin(struct argo_port *ap)
{
	ap->pause_ns = pause_next(ap);
	timer_set(ap, ap->pause_ns);
}

/* A fresh ring is a fresh life: what the peer said into the old one is lost, and it has to hear of that. */
static int life_bind(struct argo_port *ap)
{
	struct vhx_argo_ring_id id = {
		.port = ap->cfg.port,
		.partner = ap->cfg.partner,
		.len = ap->cfg.ring_len,
	};
	const struct argo_ring *ring;
	int err;

	ap->state = ARGO_UNBOUND;
	ap->owed = true;
	ap->inc = inc_new(ap->inc);
	ap->calls.registers++;
	err = ap->dev->ops->bind(ap->dev, &id, &ring);
	if (!err)
		err = life_bequeath(ap);
	if (err)
		return err;
	vhx_argo_reader_init(&ap->reader, ring, id.len, message_max(id.len));
	ap->state = ARGO_OPENING;
	ap->peer_inc = 0;
	ap->named = false;
	return 0;
}

/* A full ring or a lack of memory is no obstacle: the timer says it again. */
static int life_say(struct argo_port *ap)
{
	int err = meet_send(ap, VHX_ARGO_HERE);

	ap->owed = err != 0;
	obstacle_set(ap, absent(err) ? err : 0);
	return err;
}

/* Our ring went with its partner, or may have: where nobody was found, a fresh one costs no more than a look. */
static bool ring_lost(struct argo_port *ap)
{
	if (ap->state == ARGO_UNBOUND || absent(ap->obstacle))
		return true;
	ap->calls.checks++;
	return ap->dev->ops->check(ap->dev) == 0;
}

/* The hypervisor logs messages that find nobody, so one whom none was found for is asked for first. */
static bool still_absent(struct argo_port *ap)
{
	struct argo_addr dst = peer_addr(ap);

	if (ap->state == ARGO_UNBOUND || (ap->obstacle != -ECONNREFUSED && ap->obstacle != -ESRCH))
		return false;
	ap->calls.queries++;
	return ap->dev->ops->query(ap->dev, &dst) == 0;
}

static int life_greet(struct argo_port *ap)
{
	int err = 0;

	if (!still_absent(ap)) {
		err = ring_lost(ap) ? life_bind(ap) : 0;
		if (err)
			obstacle_set(ap, err);
		else if (ap->owed)
			err = life_say(ap);
	}
	pause_begin(ap);
	return err;
}

static void life_join(struct argo_port *ap)
{
	uint32_t theirs = message_max(ap->peer_ring_len);

	ap->state = ARGO_READY;
	ap->port.max_message = (uint32_t)vhx_min_u64(message_max(ap->cfg.ring_len), theirs);
	ap->port.tx_ring_len = ap->peer_ring_len - VHX_SLOT;
	vhx_argo_reader_limit(&ap->reader, ap->port.max_message);
	/* Credit that keeps to this owes nobody a notify. */
	ap->port.rx_ring_len = ap->reader.mark;
	obstacle_set(ap, 0);
	timer_set(ap, ap->cfg.probe_ns);
}

/* OPENING: a life of the peer shows itself, names us, or ends before it was joined: then it is forgotten. */
static void life_meet(struct argo_port *ap, const struct vhx_argo_life *peer)
{
	if (peer->state == VHX_ARGO_GONE) {
		if (peer->inc == ap->peer_inc) {
			ap->peer_inc = 0;
			ap->named = false;
		}
		return;
	}
	if (peer->inc != ap->peer_inc) {
		ap->peer_inc = peer->inc;
		ap->peer_ring_len = peer->ring_len;
		ap->named = false;
		ap->pause_ns = 0;
		/* An answer that was refused is repeated by the timer. */
		life_say(ap);
		pause_begin(ap);
	}
	ap->named |= peer->peer_inc == ap->inc;
	if (ap->named && !ap->owed)
		life_join(ap);
}

/* READY: another life of the peer ends the one that we joined, as does its end. */
static void life_check(struct argo_port *ap, const struct vhx_argo_life *peer)
{
	bool joined = peer->inc == ap->peer_inc;

	if (joined == (peer->state == VHX_ARGO_HERE))
		return;
	ap->ended = true;
	argo_fail(ap, -EPIPE);
}

static void meet_receive(struct argo_port *ap)
{
	struct vhx_argo_life peer;
	bool valid = vhx_argo_meet_read(&ap->reader, &peer);

	if (valid && ap->state == ARGO_READY)
		life_check(ap, &peer);
	else if (valid)
		life_meet(ap, &peer);
	else if (ap->state == ARGO_READY)
		argo_fail(ap, -EPROTO);
}

/* A message that is not for the port's owner is taken here. True: it was one. */
static bool aside_take(struct argo_port *ap, const struct vhx_argo_message *msg)
{
	bool peers = msg->src.port == ap->cfg.peer_port && msg->src.domid == ap->cfg.partner;

	if (peers && msg->type == VHX_ARGO_MEET)
		meet_receive(ap);
	else if (peers && ap->state == ARGO_READY)
		return false;
	vhx_argo_reader_consume(&ap->reader);
	return true;
}

/* 1: *@msg is the owner's; 0: none now; -EPROTO. Bounded: prepare_wait() sees what is left. */
static int ring_next(struct argo_port *ap, const struct vhx_argo_message **msg)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARGO_DROPS_MAX && !ap->ended; i++) {
		ret = vhx_argo_reader_peek(&ap->reader, msg);
		if (ret != 1 || !aside_take(ap, *msg))
			return ret;
	}
	return 0;
}

/* OPENING: what came, a burst of it. */
static void life_listen(struct argo_port *ap)
{
	const struct vhx_argo_message *msg;

	vhx_argo_reader_holds(&ap->reader);
	if (ring_next(ap, &msg) < 0)
		argo_fail(ap, -EPROTO);
	argo_publish(ap);
	ap->more = ap->state == ARGO_OPENING && vhx_argo_reader_holds(&ap->reader);
	if (ap->more)
		timer_set(ap, ARGO_SOON_NS);
}

/* Not READY: an event came, or the timer ran out (@due). */
static void life_advance(struct argo_port *ap, bool due)
{
	bool greet = due && !ap->more;

	if (ap->state == ARGO_OPENING)
		life_listen(ap);
	if (ap->gone || ap->state == ARGO_READY)
		return;
	/* A fresh ring would lose what is left in this one. */
	if (greet && !ap->more)
		life_greet(ap);
	else if (!ap->timed)
		timer_set(ap, ap->pause_ns);
	if (ap->named && !ap->owed)
		life_join(ap);
}

/* It started over and has a ring already, for which ours is gone: the hypervisor logs this look, so it is rare. */
static bool ring_checked(struct argo_port *ap)
{
	ap->unchecked_ns += ap->cfg.probe_ns;
	if (ap->unchecked_ns < ap->cfg.check_ns)
		return true;
	ap->unchecked_ns = 0;
	ap->calls.checks++;
	return ap->dev->ops->check(ap->dev) != 0;
}

/* To ask would end the wait of a send: then PING is what finds out. Whom a policy took away is as good as gone. */
static bool peer_found(struct argo_port *ap)
{
	struct argo_addr dst = peer_addr(ap);
	int ret;

	if (ap->refused)
		return true;
	ap->calls.queries++;
	ret = ap->dev->ops->query(ap->dev, &dst);
	return ret && !absent(ret);
}

/* READY: the timer ran out. */
static void life_probe(struct argo_port *ap)
{
	if (!ap->cfg.probe_ns)
		return;
	if (peer_found(ap) && ring_checked(ap))
		timer_set(ap, ap->cfg.probe_ns);
	else
		argo_fail(ap, -EPIPE);
}

/* Sending */

static int iov_total(const struct iovec *iov, unsigned int cnt, uint32_t max, uint32_t *total)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		if (!vhx_add_u64(sum, iov[i].iov_len, &sum) || sum > max)
			return -EMSGSIZE;
	}
	*total = (uint32_t)sum;
	return 0;
}

/* What the hypervisor's refusal means to the caller. */
static int send_refused(struct argo_port *ap, uint32_t len, int err)
{
	ap->calls.refused++;
	if (absent(err))
		return argo_fail(ap, -EPIPE);
	/* Its ring is smaller than it said. */
	if (err == -EMSGSIZE)
		return argo_fail(ap, -EPROTO);
	if (err != -EAGAIN && err != -EBUSY && err != -ENOMEM)
		return err;
	if (err != -EAGAIN)
		timer_set(ap, ARGO_RETRY_NS);
	ap->refused = (uint32_t)vhx_max_u64(ap->refused, len + 1ull);
	ap->port.stats.would_blocks++;
	return -EAGAIN;
}

static int argo_send(struct vhx_port *p, uint32_t type, const struct iovec *iov, unsigned int cnt)
{
	struct argo_port *ap = to_argo(p);
	struct argo_addr dst = peer_addr(ap);
	uint32_t total = 0;
	int ret;

	if (ap->gone)
		return ap->gone;
	if (ap->state != ARGO_READY)
		return -EAGAIN;
	if (cnt > ARGO_IOVS_MAX || type == VHX_ARGO_MEET)
		return -EINVAL;
	/* A message that tells what was consumed must not arrive before the room is there. */
	argo_publish(ap);
	ret = iov_total(iov, cnt, p->max_message, &total);
	if (ret)
		return ret;
	ret = ap->dev->ops->send(ap->dev, &dst, type, iov, cnt);
	if (ret < 0)
		return send_refused(ap, total, ret);
	if (total + 1ull >= ap->refused)
		ap->refused = 0;
	p->stats.sends++;
	p->stats.wakes_sent++; /* every send raises the event */
	p->stats.tx_messages++;
	p->stats.tx_bytes += total;
	return 0;
}

/* Receiving */

static int message_judge(struct argo_port *ap, const struct vhx_argo_message *found,
			 struct vhx_msg *msg)
{
	if (found->len > ap->port.max_message)
		return argo_fail(ap, -EPROTO);
	*msg = (struct vhx_msg){ .type = found->type, .len = found->len };
	return 1;
}

static int argo_peek(struct vhx_port *p, struct vhx_msg *msg)
{
	struct argo_port *ap = to_argo(p);
	const struct vhx_argo_message *found;
	int ret;

	if (ap->gone == -EPROTO || ap->ended || ap->state != ARGO_READY)
		return ap->gone;
	if (!vhx_argo_reader_holds(&ap->reader))
		argo_publish(ap); /* looks again, on the way */
	ret = ring_next(ap, &found);
	if (ret == 1)
		return message_judge(ap, found, msg);
	return ret < 0 ? argo_fail(ap, ret) : ap->gone;
}

static void argo_read(struct vhx_port *p, uint32_t off, void *dst, uint32_t len)
{
	vhx_argo_reader_read(&to_argo(p)->reader, off, dst, len);
}

static void argo_consume(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	p->stats.rx_messages++;
	p->stats.rx_bytes += ap->reader.msg.len;
	vhx_argo_reader_consume(&ap->reader);
	if (ap->reader.unpublished >= ap->cfg.ring_len / 4)
		argo_publish(ap);
}

/* Waiting */

static int argo_prepare_wait(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	if (ap->gone)
		return 1;
	/* The meeting goes by events and the timer alone. */
	if (ap->state != ARGO_READY)
		return 0;
	argo_publish(ap);
	return vhx_argo_reader_holds(&ap->reader);
}

static int argo_event(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);
	bool due = timer_take(ap);

	if (ap->dev->ops->event(ap->dev))
		p->stats.wakes_taken += ap->state == ARGO_READY;
	if (ap->gone)
		return ap->gone;
	if (ap->state != ARGO_READY)
		life_advance(ap, due);
	else if (due)
		life_probe(ap);
	return ap->gone;
}

/* The life of a port */

static void argo_free(struct argo_port *ap)
{
	vhx_argo_dev_close(ap->dev);
	if (ap->timer_fd >= 0)
		close(ap->timer_fd);
	if (ap->port.fd >= 0)
		close(ap->port.fd);
	free(ap);
}

static void argo_close(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);
	struct vhx_argo_watcher watcher = ap->cfg.watcher;

	/* A life that the peer knows of does not end without a word, if it can be said. */
	if (!ap->dev->ops->last_words && ap->state != ARGO_UNBOUND && !absent(ap->obstacle) &&
	    (ap->gone != -EPIPE || ap->left))
		meet_send(ap, VHX_ARGO_GONE);
	argo_free(ap);
	if (watcher.closed)
		watcher.closed(watcher.ctx);
}

void vhx_argo_leave(struct vhx_port *p)
{
	struct argo_port *ap = to_argo(p);

	if (ap->gone)
		return;
	ap->ended = ap->left = true;
	argo_fail(ap, -EPIPE);
	/* Whoever sleeps on the port shall see. */
	timer_set(ap, ARGO_SOON_NS);
}

static const struct vhx_port_ops argo_ops = {
	.name = "argo",
	.caps = VHX_PORT_PATIENT,
	.iov_max = ARGO_IOVS_MAX,
	.send = argo_send,
	.peek = argo_peek,
	.read = argo_read,
	.consume = argo_consume,
	.prepare_wait = argo_prepare_wait,
	.event = argo_event,
	.close = argo_close,
};

const struct vhx_argo_calls *vhx_argo_port_calls(const struct vhx_port *p)
{
	if (p->ops != &argo_ops)
		return NULL;
	return &vhx_container_of(p, const struct argo_port, port)->calls;
}

static int watch_add(struct argo_port *ap, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	return epoll_ctl(ap->port.fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int waits_open(struct argo_port *ap)
{
	int err;

	ap->port.fd = epoll_create1(EPOLL_CLOEXEC);
	if (ap->port.fd < 0)
		return -errno;
	ap->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ap->timer_fd < 0)
		return -errno;
	err = watch_add(ap, ap->dev->fd);
	return err ? err : watch_add(ap, ap->timer_fd);
}

static void argo_init(struct argo_port *ap, const struct vhx_argo_config *cfg)
{
	struct vhx_peer *peer = &ap->port.peer;

	ap->cfg = *cfg;
	ap->dev = cfg->dev;
	ap->timer_fd = ap->port.fd = -1;
	ap->port.ops = &argo_ops;
	ap->port.memory = sizeof(*ap) + sizeof(struct argo_ring) + cfg->ring_len;
	peer->uid = peer->gid = peer->pid = UINT32_MAX;
	snprintf(peer->text, sizeof(peer->text), "domain %u", cfg->partner);
	snprintf(peer->address, sizeof(peer->address), "argo:peer=%u", cfg->partner);
}

int vhx_argo_open(const struct vhx_argo_config *cfg, struct vhx_port **port)
{
	bool valid = vhx_argo_ring_len_valid(cfg->ring_len);
	struct argo_port *ap = valid ? calloc(1, sizeof(*ap)) : NULL;
	int err;

	if (!ap) {
		vhx_argo_dev_close(cfg->dev);
		return valid ? -ENOMEM : -EINVAL;
	}
	argo_init(ap, cfg);
	err = waits_open(ap);
	if (!err)
		err = life_greet(ap);
	/* What time may mend is no failure. */
	if (err && ap->state == ARGO_UNBOUND && !absent(err)) {
		argo_free(ap);
		return err;
	}
	*port = &ap->port;
	return 0;
}
