/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What a provider offers to the transport: moving whole messages to one backend. The contract is
 * that of the exchange (docs/wire.md, section 2): a message is {type, bytes}, sent whole or not
 * at all, delivered in order, exactly once, never merged. A provider knows nothing of virtio.
 *
 * A port is one side of one exchange. It outlives its peers: the transport opens it, uses it
 * until the peer is gone, closes it, and opens it again, each time for a new life.
 *
 *   closed --open--> opening --the peers have met--> ready --peer left or broke a rule--> gone
 *     ^-------------------------------close (from any of them)----------------------------'
 *
 * Contexts. open() and close() may sleep and exclude each other and all the rest. send(), peek(),
 * consume() and prepare_wait() are called under hmx_port.lock with interrupts off, and do not
 * sleep. read() is called between peek() and consume(), by the one context that makes these two,
 * without the lock for all that is long, and with it for some that is short. After open() a
 * provider calls hmx_port_event() whenever the peer has raised its event, in any context; it looks
 * at nothing itself.
 *
 * Errors: -EAGAIN would block, an event follows when there is room; -EMSGSIZE never fits; -EPIPE
 * the peer is gone; -EPROTO the peer broke the rules of the exchange, and is as good as gone. The
 * last two stay until close().
 */
#ifndef HMX_H
#define HMX_H

#include <linux/device.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uio.h>

struct hmx_channel;
struct hmx_port;

/* The footprint of a message, on every provider (docs/wire.md, section 2). */
#define HMX_SLOT 16u

static inline u32 hmx_footprint(u32 len)
{
	return HMX_SLOT + ALIGN(len, HMX_SLOT);
}

struct hmx_msg {
	u32 type;
	u32 len;
};

/**
 * struct hmx_port_ops - what a provider does
 * @name: of the provider, for sysfs
 * @max_segs: segments that one send() takes; at least 2
 * @native_liveness: the peer's death is reported by an event; where not, the transport sends PING
 * @open: begins a life: the port is opening. 0 or negative: tried again later
 * @close: ends it and tells the peer. On return no hmx_port_event() is under way
 * @send: gathers @nr segments of @len bytes in all into one message
 * @peek: 1: @msg describes the next message; 0: there is none now; or an error. While
 *	opening, it is also what takes the meeting of the peers a step further; once they have
 *	met it fills in the limits of struct hmx_port
 * @consume: lets go of the peeked message
 * @prepare_wait: 1: there is work, do not wait; 0: an event will come. While opening as well
 * @read: copies out of the peeked message; the caller stays within its length. The bytes
 *	are the peer's, who may still change them: each is fetched once
 */
struct hmx_port_ops {
	const char *name;
	unsigned int max_segs;
	bool native_liveness;
	int (*open)(struct hmx_port *port);
	void (*close)(struct hmx_port *port);
	int (*send)(struct hmx_port *port, u32 type, const struct kvec *segs, unsigned int nr,
		    u32 len);
	int (*peek)(struct hmx_port *port, struct hmx_msg *msg);
	void (*consume)(struct hmx_port *port);
	int (*prepare_wait)(struct hmx_port *port);
	void (*read)(struct hmx_port *port, u32 off, void *dst, u32 len);
};

/* Kept by the provider, under hmx_port.lock but for wakes_taken. */
struct hmx_port_stats {
	u64 tx_messages, tx_bytes;
	u64 rx_messages, rx_bytes;
	u64 sends;		/* calls into the mediator that moved a message */
	u64 wakes_sent;		/* times the peer's event was raised */
	atomic64_t wakes_taken; /* events of ours */
	u64 would_blocks;
};

/**
 * struct hmx_port - embedded by a provider in its own object
 * @ops: the provider
 * @parent: the device that the exchange goes through (a PCI device); parent of the
 *	channel's device
 * @owner: the provider's module
 * @lock: see above; initialised by hmx_port_register()
 * @max_message: bytes, both ways; 0 until the peers have met, and again after close()
 * @tx_ring_len: footprint that the outgoing ring can hold at once, valid with @max_message
 * @rx_ring_len: what to grant the peer of the incoming ring: all of it, or as much as it holds
 *	without refusing anything, where a refusal costs a call later
 * @peer: for people: "peer 0 of 0000:00:03.0"
 * @stats: counters
 * @channel: the transport's
 */
struct hmx_port {
	const struct hmx_port_ops *ops;
	struct device *parent;
	struct module *owner;
	spinlock_t lock; /* see @lock */
	u32 max_message;
	u32 tx_ring_len;
	u32 rx_ring_len;
	char peer[48];
	struct hmx_port_stats stats;
	struct hmx_channel *channel;
};

/**
 * hmx_port_register() - makes a channel of a port and starts it
 * @port: stays the provider's; zeroed but for ops, parent, owner and peer, and closed
 *
 * Returns at once: devices appear when a backend is there. Process context.
 *
 * Return: 0, -EINVAL, -ENOMEM, or what the device core says.
 */
int hmx_port_register(struct hmx_port *port);

/**
 * hmx_port_unregister() - removes the channel and its devices
 * @port: that was registered; on return none of its ops is called any more
 * @present: the backend can still be reached, so that drivers may write back what they hold; else
 *	every request ends with an error first
 *
 * Process context. The partner of hmx_port_register().
 */
void hmx_port_unregister(struct hmx_port *port, bool present);

/**
 * hmx_port_event() - the peer has raised our event
 * @port: the port, from open() until close() returns
 *
 * Any context.
 */
void hmx_port_event(struct hmx_port *port);

/**
 * hmx_port_freeze() - before a sleep of the system: freezes the drivers, closes the port
 * @port: that is registered
 *
 * Process context.
 *
 * Return: 0; -EBUSY: requests wait, and no backend ends them; or what a driver says. With an
 * error nothing has changed.
 */
int hmx_port_freeze(struct hmx_port *port);

/**
 * hmx_port_restore() - behind a sleep: opens the port again, restores the drivers
 * @port: that was frozen
 *
 * Process context. Backends may come later.
 *
 * Return: 0, or what the first driver says that was not restored. The channel is in use then, too.
 */
int hmx_port_restore(struct hmx_port *port);

#endif
