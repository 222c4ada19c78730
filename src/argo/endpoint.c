// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * Objects. An endpoint owns its ring (the driver's endpoint), a timer, and an epoll descriptor over both, which is
 * what the program polls.
 *
 * Reading. A message is consumed when its owner is done with it. rx_ptr is stored when the ring is found empty, or half
 * of it was consumed since: small messages do not cost a call each, and a sender who is woken has room for more than one
 * large one, and not to be refused again at once.
 *
 * Waiting. The driver's descriptor is level-triggered, with POLLIN for messages and POLLOUT for room: epoll is asked for
 * what the owner waits for, and for nothing else, since a program that only sends is not to be woken by what it does
 * not read. The model has one event for both, which is taken away before a look: what else it may have meant is
 * remembered (room), or looked for again when the owner goes to sleep. The driver, too, says by POLLIN that a refused
 * send may be repeated, until it is: where the owner does not mean to (an answer to a stranger), that is taken away
 * before a look.
 *
 * The timer stands for the next probe, for refusals of which no event will tell, and for now, where something is left to
 * do. It is set again only when it would come too late.
 *
 * A hostile peer fills the ring. What is of no use is read, at most VHX_AEP_BURST messages in a call.
 */
#include "argo/endpoint.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* As of the driver, when there is room but no event will say so. */
#define RETRY_NS 10000000ull
#define NS_PER_S 1000000000ull

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int ring_open(struct vhx_aep *ep, struct vhx_argo_driver *driver, uint32_t port,
		     uint16_t partner, uint32_t message_max)
{
	struct vhx_argo_ring_id id = { port, partner, driver->ring_len };
	const struct argo_ring *ring;
	int err = driver->endpoint(driver, &ep->dev);

	if (err)
		return err;
	err = ep->dev->ops->bind(ep->dev, &id, &ring);
	if (err) {
		vhx_argo_dev_close(ep->dev);
		return err == -EEXIST ? -EADDRINUSE : err;
	}
	ep->port = ep->dev->port;
	vhx_argo_reader_init(&ep->reader, ring, id.len, message_max);
	return 0;
}

/* The partner of the two closes in vhx_aep_close(). */
static int waiter_open(struct vhx_aep *ep)
{
	struct epoll_event none = { 0 }, timer = { .events = EPOLLIN };
	int err;

	ep->wait_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ep->wait_fd < 0)
		return -errno;
	ep->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ep->timer_fd < 0) {
		err = -errno;
		goto close_wait;
	}
	if (!epoll_ctl(ep->wait_fd, EPOLL_CTL_ADD, ep->dev->fd, &none) &&
	    !epoll_ctl(ep->wait_fd, EPOLL_CTL_ADD, ep->timer_fd, &timer))
		return 0;
	err = -errno;
	close(ep->timer_fd);
close_wait:
	close(ep->wait_fd);
	return err;
}

int vhx_aep_open(struct vhx_aep *ep, struct vhx_argo_driver *driver, uint32_t port,
		 uint16_t partner, uint32_t message_max, uint64_t probe_ns)
{
	int err;

	*ep = (struct vhx_aep){ .probe_ns = probe_ns };
	err = ring_open(ep, driver, port, partner, message_max);
	if (err)
		return err;
	err = waiter_open(ep);
	if (err)
		vhx_argo_dev_close(ep->dev);
	return err;
}

void vhx_aep_close(struct vhx_aep *ep)
{
	close(ep->timer_fd);
	close(ep->wait_fd);
	vhx_argo_dev_close(ep->dev);
}

static int publish(struct vhx_aep *ep)
{
	struct vhx_argo_reader *r = &ep->reader;
	uint32_t tx_ptr;
	int ret;

	if (!r->unpublished)
		return 0;
	ret = ep->dev->ops->consume(ep->dev, r->rx_ptr, r->mark, &tx_ptr);
	if (ret < 0)
		return ret;
	ep->notifies += (unsigned int)ret;
	vhx_argo_reader_published(r, tx_ptr);
	return 0;
}

/*
 * Before a look or an attempt: what comes behind it raises another event. The one that is taken may have been meant
 * for what @other waits for, which is sent for at once.
 */
static void event_take(struct vhx_aep *ep, bool other)
{
	if (!ep->dev->ops->event(ep->dev))
		return;
	ep->room = true;
	if (other)
		vhx_aep_arm(ep, true);
}

int vhx_aep_peek(struct vhx_aep *ep, const struct vhx_argo_message **msg)
{
	struct vhx_argo_reader *r = &ep->reader;
	int err;

	if (!vhx_argo_reader_holds(r)) {
		if (ep->dev->one_event || !ep->sends)
			event_take(ep, ep->sends);
		err = publish(ep);
		if (err)
			return err;
		if (!vhx_argo_reader_holds(r))
			return 0;
	}
	return vhx_argo_reader_peek(r, msg);
}

void vhx_aep_drop(struct vhx_aep *ep)
{
	struct vhx_argo_reader *r = &ep->reader;

	vhx_argo_reader_consume(r);
	/* A failure is found again when the ring is empty. */
	if (r->unpublished >= r->ring_len / 2)
		publish(ep);
}

void vhx_aep_consume(struct vhx_aep *ep)
{
	ep->probe_at = 0;
	vhx_aep_drop(ep);
}

int vhx_aep_send(struct vhx_aep *ep, const struct argo_addr *dst, uint32_t type,
		 const struct iovec *iov, unsigned int cnt)
{
	int ret;

	if (ep->dev->one_event)
		event_take(ep, ep->receives);
	ep->room = false;
	ep->retry_at = 0;
	ret = ep->dev->ops->send(ep->dev, dst, type, iov, cnt);
	if (ret == -EBUSY || ret == -ENOMEM)
		ep->retry_at = now_ns() + RETRY_NS;
	return ep->retry_at ? -EAGAIN : ret;
}

bool vhx_aep_due(struct vhx_aep *ep)
{
	if (!ep->probe_at || now_ns() < ep->probe_at)
		return false;
	ep->probe_at = 0;
	return true;
}

bool vhx_aep_lost(const struct vhx_aep *ep)
{
	struct pollfd fd = { .fd = ep->dev->fd };

	return poll(&fd, 1, 0) == 1 && fd.revents & POLLHUP;
}

static int interest_set(struct vhx_aep *ep)
{
	struct epoll_event event = { 0 };

	if (ep->receives)
		event.events |= EPOLLIN;
	if (ep->sends)
		event.events |= ep->dev->one_event ? EPOLLIN : EPOLLOUT;
	if (event.events == ep->interest)
		return 0;
	if (epoll_ctl(ep->wait_fd, EPOLL_CTL_MOD, ep->dev->fd, &event))
		return -errno;
	ep->interest = event.events;
	return 0;
}

/* No later than at @at. One that has fired is taken away. */
static int timer_set(struct vhx_aep *ep, uint64_t now, uint64_t at)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S) },
	};

	if (ep->timer_at > now && ep->timer_at <= at)
		return 0;
	if (timerfd_settime(ep->timer_fd, TFD_TIMER_ABSTIME, &when, NULL))
		return -errno;
	ep->timer_at = at;
	return 0;
}

int vhx_aep_arm(struct vhx_aep *ep, bool hurry)
{
	uint64_t now = now_ns(), at;
	int err = interest_set(ep);

	if (err)
		return err;
	if (!ep->probe_at)
		ep->probe_at = now + ep->probe_ns;
	at = ep->probe_at;
	if (ep->sends && ep->retry_at)
		at = vhx_min_u64(at, ep->retry_at);
	/* An event that was taken away may have meant what was not looked at then. */
	if (ep->dev->one_event &&
	    ((ep->receives && vhx_argo_reader_holds(&ep->reader)) || (ep->sends && ep->room)))
		hurry = true;
	return timer_set(ep, now, hurry ? now : at);
}

int vhx_aep_wait(const struct vhx_aep *ep, int timeout_ms)
{
	struct pollfd fd = { .fd = ep->wait_fd, .events = POLLIN };
	int ret = poll(&fd, 1, timeout_ms);

	if (ret < 0)
		return -errno;
	return ret ? 0 : -ETIMEDOUT;
}
