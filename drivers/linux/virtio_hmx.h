/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * virtio_hmx: inside of the transport.
 *
 *   main.c      the module, the class, discovery: which devices there are    (process context)
 *   channel.c   one backend: HELLO, what arrives, passes, time-outs          (the channel's work)
 *   send.c      what is sent: credit, control messages, the data message     (anywhere, locked)
 *   device.c    one virtio device: config ops                                (both)
 *   walk.c      from what is applied of a device to what is wanted           (the work)
 *   queue.c     one virtqueue: its ring and its requests; queue.h            (notify and the work)
 *   pump.c      chains to AVAIL                                              (notify and the work)
 *   answer.c    USED to chains                                               (the work)
 *   ending.c    how requests end that no backend answers, and replay         (anywhere)
 *   early.c     output that is taken from a driver before anybody has it     (notify)
 *   commands.c  what commands have set, for the next backend                 (notify and the work)
 *   chain.c     one chain of descriptors
 *   map.c       what an address in a descriptor means
 *   type.c      what is to be known of device types
 *   stats.c     sysfs and debugfs
 *
 * Locks and contexts
 *
 * hmx_port.lock (irq-safe; "the lock") covers all that sends: credit, the open message, waiting
 * control messages, and of a queue what has been taken from its ring and what has been sent. It
 * also covers what is wanted of a device and what is applied. It nests inside virtqueue locks of
 * drivers, since virtqueue_notify() may be called under them; so nothing that takes such a lock
 * (vring_interrupt(), virtio_config_changed()) is called with it held. Nor is a line logged: the
 * log may go to a console on the same channel, whose notify takes the lock.
 *
 * The channel's work is the only one that takes messages, so what is only changed on arrival has no
 * lock: the receiving half of a slot. It never waits for a driver. Whoever must be
 * sure that it is not in the middle of a queue clears hmx_queue.live under the lock, then calls
 * hmx_channel_sync().
 *
 * Adding and removing devices binds and unbinds drivers, which wait for control responses; so it
 * happens in a work of its own, never in the channel's.
 */
#ifndef VIRTIO_HMX_H
#define VIRTIO_HMX_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <vhx/virtio_msg.h>
#include <vhx/wire.h>

#include "compat.h"
#include "hmx.h"

struct dentry;
struct hmx_device;
struct hmx_queue;

/*
 * Entries of all rings of a channel: what a backend can make the guest allocate, some 200 bytes for
 * each. 64 queues of 1024 entries, or 256 of 256.
 */
#define HMX_ENTRIES_MAX (64u << 10)
#define HMX_DEVICES_MAX 64u /* per channel; the wire's */
#define HMX_QUEUES_MAX 64u /* per device; the wire's VHX_VDEV_QUEUES_MAX */
#define HMX_CONFIG_MAX 256u /* the wire's VHX_DRIVER_CONFIG_MAX */

/* Control messages in private memory, host order but for the payload. */

#define HMX_CONTROL_PAYLOAD_MAX (VIRTIO_MSG_MAX - sizeof(struct virtio_msg_header))

struct hmx_control {
	bool bus, response;
	u8 msg_id;
	u16 dev_num;
	u16 token;
	u16 payload_len;
	u8 payload[HMX_CONTROL_PAYLOAD_MAX] __aligned(8);
};

/* Credit: docs/wire.md, section 5. Under the lock. */

struct hmx_credit {
	u32 tx_ring, rx_ring;
	u32 sent, acked;
	u32 consumed, told;
};

/*
 * Most segments of a message, where the provider takes that many: a batch of 32 writes of 4 KiB has
 * 65, one for each head and one for each payload. What finds none left is copied: with 64 a page
 * of such a batch is, with more than 128 no byte less (docs/performance.md).
 */
#define HMX_TX_SEGS 128u

struct hmx_key {
	u16 dev, vq;
	u32 epoch;
};

/* The one data message that is being built; it exists within one holding of the lock. */
struct hmx_tx {
	struct hmx_channel *ch;
	bool open;
	u32 type;
	u32 len, cap; /* bytes so far, and at most */
	u8 *head; /* what is copied: headers, records, small and scattered payload */
	u32 head_len, head_cap;
	struct kvec *segs;
	unsigned int nr, max_segs;
};

enum hmx_channel_state {
	HMX_CLOSED, /* removed, or frozen */
	HMX_WAITING, /* the last life ended; the next begins after a pause */
	HMX_OPENING, /* the port is open, the peers have not met */
	HMX_HELLO, /* HELLO is under way */
	HMX_UP, /* control and data flow */
	HMX_STATE_CNT_,
};

/*
 * Bytes of the largest message that we build: what is gathered and sent in one holding of the lock.
 * Less than the largest common request of a disk, 128 KiB and its head, would make several messages
 * of one, each of which may have to wake the backend: 64 KiB measured 3 sends and 3 doorbells for
 * one each (docs/performance.md). More would only hold the lock for longer.
 */
#define HMX_TX_MESSAGE_MAX (256u << 10)

struct hmx_channel_stats {
	u64 lives; /* times that the channel was up */
	u64 credits_sent; /* bare ones */
	u64 data_sent; /* AVAIL messages */
	u64 stale; /* messages of other incarnations, or of devices that are no more */
	u64 pings;
};

struct hmx_channel {
	struct hmx_port *port;
	struct device dev; /* class hmx; parent of the virtio devices */
	int id;
	enum hmx_channel_state state;
	int error; /* why this life ends, 0: it does not */
	bool opened; /* the port is to be closed; the channel's work, or who has cancelled it */
	bool removing; /* no new devices, no new life: if this one ends, requests fail */
	struct workqueue_struct *wq; /* ordered: one of the three below at a time */
	struct work_struct work; /* the channel's work, see above */
	struct delayed_work reopen; /* from WAITING to OPENING */
	struct delayed_work tick; /* time-outs, PING; armed while something is outstanding */
	unsigned int backoff_ms;

	/* HELLO: docs/wire.md, section 4 */
	u32 inc, peer_inc;
	bool met; /* we know the peer */
	bool hello_due;
	unsigned long hello_until; /* jiffies */
	unsigned long up_since;
	u32 rx_max_message; /* as our HELLO says */
	u32 max_message; /* that we may send */
	struct hmx_credit credit;
	struct hmx_tx tx;
	struct list_head pending; /* control messages that wait for room */
	unsigned int pending_cnt;

	/* Liveness, where the provider has none: docs/wire.md, section 14 */
	unsigned long heard; /* jiffies: the last message of the peer, or the last PING */
	unsigned int misses;

	/*
	 * Whose turn it is to send: queues that were refused for want of credit, first come first
	 * served.
	 */
	struct list_head starved; /* of hmx_queue.starved */
	bool refused; /* somebody was, since it was last cleared */
	u32 entries; /* of all rings, against HMX_ENTRIES_MAX. Under the lock */
	u16 walk_token; /* of the last request of a walk. Under the lock */

	/*
	 * Discovery (main.c): adds and removes devices. Only it, and who has cancelled it, changes
	 * the table
	 */
	struct delayed_work scan;
	unsigned long list_next; /* jiffies: not listed again before */
	struct hmx_list *list; /* the scan's, while it runs */
	struct hmx_device *probing; /* that the scan gives to its driver now. Under the lock */
	bool frozen; /* nothing is added or removed */
	bool list_due; /* ask the backend what there is */
	struct ratelimit_state lines; /* about devices, see hmx_line_due() */
	bool forgotten; /* a device was removed in this life: messages for it may still come */
	wait_queue_head_t idle_wait; /* after each pass, for who waits for requests to end */
	wait_queue_head_t ask_wait;
	struct hmx_control ask; /* the scan's request, and in its place the response */
	bool asking;
	int ask_error;
	u16 ask_token;
	struct hmx_device *devices[HMX_DEVICES_MAX]; /* entries change under the lock */
	struct dentry *debugfs, *debugfs_devices;
	struct hmx_channel_stats stats;
};

/* channel.c */

/* All under the lock. */
static inline bool hmx_channel_usable(const struct hmx_channel *ch)
{
	return ch->state == HMX_UP && !ch->error && !ch->hello_due;
}

/* This life ends when the work runs next. The first reason counts. Any context, the lock held. */
void hmx_channel_fail(struct hmx_channel *ch, int reason);

/* send.c: all under the lock. */

/* Something is outstanding from now on. */
void hmx_tick_arm(struct hmx_channel *ch);
/*
 * The largest message that can go sooner or later, also while the peer keeps to itself what it has
 * consumed.
 */
u32 hmx_credit_message_max(u32 tx_ring);
/* 0, or -EPROTO: more than was sent. */
int hmx_credit_acked(struct hmx_credit *c, u32 ack);
/* What is due, if there is room. */
void hmx_hello_send(struct hmx_channel *ch);
void hmx_credit_send(struct hmx_channel *ch);
void hmx_pending_send(struct hmx_channel *ch);
void hmx_pending_clear(struct hmx_channel *ch);
/* Sends, or queues for want of room. */
void hmx_channel_control(struct hmx_channel *ch, const struct hmx_control *c);

/* Begins a message of control, all zero; returns its payload. */
void *hmx_control_begin(struct hmx_control *c, bool bus, u8 msg_id, u16 dev_num, u16 payload_len);

/*
 * Opens a data message of @type for @key with room for at least @need bytes behind its headers. 0;
 * -EAGAIN: no room, or the channel is not usable: the queue waits in ch->starved, and is pumped by
 * the work when credit is back.
 */
int hmx_tx_begin(struct hmx_channel *ch, u32 type, const struct hmx_key *key, u32 need,
		 struct hmx_queue *q);
/*
 * Payload bytes that the open message still takes, as one chunk behind one record. 0: no record
 * either, and as long as it is not 0, hmx_tx_ref() takes at least one byte behind the record.
 */
u32 hmx_tx_chunk_room(const struct hmx_tx *tx);
/* Appends a copy. Never more than the room. Returns it: it may be corrected until the commit. */
void *hmx_tx_put(struct hmx_tx *tx, const void *src, u32 len);
/*
 * Appends @len bytes at @src, which stay as they are until the lock is dropped: by reference where
 * that is cheaper than a copy and a segment is left, else by a copy. Returns the bytes taken: less
 * than @len when the message is full.
 */
u32 hmx_tx_ref(struct hmx_tx *tx, const void *src, u32 len);
/* Zeroes up to the next record. */
void hmx_tx_pad(struct hmx_tx *tx);
/* Sends what is open, with the newest acknowledgment. */
void hmx_tx_commit(struct hmx_tx *tx);

/* channel.c again */

/* Something is to be done outside of this context. Any context. */
void hmx_channel_kick(struct hmx_channel *ch);
/*
 * On return the channel's work is not running, or began after the call. May sleep; not from the
 * work.
 */
void hmx_channel_sync(struct hmx_channel *ch);
/* The work comes by again in @ms, for something that is due then. */
void hmx_channel_remind(struct hmx_channel *ch, unsigned int ms);
/*
 * A bus request of the scan: sends *@c and waits for its response, which takes its place. 0;
 * -EPIPE: no channel, or not any more; -ETIMEDOUT: the channel ends.
 */
int hmx_channel_ask(struct hmx_channel *ch, struct hmx_control *c);
/* Makes a channel that is closed, or takes it apart again. */
int hmx_channel_init(struct hmx_channel *ch, struct hmx_port *port);
void hmx_channel_fini(struct hmx_channel *ch);
/*
 * CLOSED to OPENING, soon; and from whatever to CLOSED: on return no ops are called. Process
 * context.
 */
void hmx_channel_start(struct hmx_channel *ch);
void hmx_channel_stop(struct hmx_channel *ch);
const char *hmx_channel_state_name(enum hmx_channel_state state);

/* A USED message that the work is looking at. */
struct hmx_rx {
	struct hmx_port *port;
	u32 off, len;
};

/* Copies the next @len bytes out; the caller keeps within hmx_rx.len. */
static inline void hmx_rx_read(struct hmx_rx *rx, void *dst, u32 len)
{
	rx->port->ops->read(rx->port, rx->off, dst, len);
	rx->off += len;
}

/* type.c */

enum hmx_kind {
	HMX_KIND_PLAIN,
	HMX_KIND_WRITE, /* volatile until a flush that begins later has ended */
	HMX_KIND_FLUSH,
	HMX_KIND_FLUSH_PART, /* of one medium of several: what it covers is not known here */
};

/* Out bytes that are looked at: a disk's head, or up to the number of a request of FUSE. */
#define HMX_TYPE_PEEK 20u

/* What a type's requests carry, and so who may see them (docs/devices.md). */
enum hmx_class {
	HMX_CLASS_UNKNOWN, /* a type that is not listed: carried as it is */
	HMX_CLASS_MESSAGE, /* bytes only */
	HMX_CLASS_ADDRESS, /* guest addresses in the payload mean nothing to a backend: refused */
	HMX_CLASS_SHARED, /* is about memory that both sides map: refused */
};

/* How a driver waits for the requests of a queue. */
enum hmx_patience {
	HMX_PATIENCE_LONG, /* for as long as it takes */
	HMX_PATIENCE_SHORT, /* it spins, and can be interrupted: a time-out ends requests */
	HMX_PATIENCE_NONE, /* it spins with interrupts off: early.c, message by message */
	HMX_PATIENCE_NONE_STREAM, /* the same, and the bytes are a stream */
	HMX_PATIENCE_TOLD, /* a stream, which the backend may make impatient */
};

/* A request as its type sees it. */
struct hmx_request {
	u16 vq, vqs; /* its queue, of so many that the driver uses */
	u32 out_len, in_len;
	u8 peek[HMX_TYPE_PEEK]; /* the first out bytes */
	u32 peek_len;
};

/* What is written into a request that no backend answers: @len bytes at @off of its in bytes. */
struct hmx_ending {
	u32 off, len;
	u32 used_len;
	u8 bytes[16];
};

/* Out bytes of a command that say what it sets. */
#define HMX_COMMAND_HEAD 4u

/* What a command sets: a later one about the same takes its place. */
struct hmx_setting {
	u32 what;
	bool clears; /* it takes away what another one has set */
};

#define HMX_ALWAYS (~0ull)

/*
 * Segments of a request that drivers are offered at most: what a chain may have, without its first
 * and its last one.
 */
#define HMX_CHAIN_MAX 1024u
#define HMX_SEGS_MAX (HMX_CHAIN_MAX - 2u)

/* docs/wire.md, section 11; the same rows as core/devtype.c of the user-space frontend. */
struct hmx_type {
	u32 device_id;
	const char *name;
	enum hmx_class class;
	bool replay;
	u16 replay_from; /* the first queue of which that is so */
	/*
	 * Requests of so many first queues are about those of the other queues: each is sent when
	 * all that was available on those before it has been.
	 */
	u16 about_others;
	/*
	 * What the driver wrote into the config is state, and a replaced backend is told again.
	 * Else it was an act.
	 */
	bool config_kept;
	/* Posted requests are waited for, and so end with the device; else they would come again */
	bool posted_end;
	/* The last in byte is a status, and is all that the driver looks at. */
	bool has_status;
	u8 status_error, status_ok;
	/* Drivers do not go by the length of an answer: what did not come reads as zero */
	bool fill;
	u16 segs_off; /* where the config says how many segments a request has; 0: nowhere */
	u64 segs_feature;
	void (*end)(const struct hmx_request *r, struct hmx_ending *e);
	enum hmx_kind (*kind)(u16 vq, const u8 *out, u32 len);
	/* Do the first in bytes of a flush say that all is well? NULL: the status does. */
	bool (*flushed)(const u8 *in, u32 len);
	bool (*write_back)(u64 features, const u8 *config, u32 config_len);
	enum hmx_patience (*patience)(u64 features, u16 vq, u16 vqs);
	int (*told)(u64 features, u16 vq, const u8 *in, u32 len);
	/*
	 * Does a command set state of the device? Of types whose requests on queues of
	 * HMX_PATIENCE_SHORT are commands, with a last in byte that is 0 when they were done.
	 */
	bool (*command)(const u8 *out, u32 len, struct hmx_setting *set);
};

const struct hmx_type *hmx_type_find(u32 device_id); /* never NULL */
/* Why devices of this type cannot be carried, in one line; NULL: they can. */
const char *hmx_type_refusal(const struct hmx_type *type);
enum hmx_kind hmx_type_kind(const struct hmx_type *type, u16 vq, const u8 *out, u32 len);
/* May unfinished requests of queue @vq be sent to the next backend? */
bool hmx_type_replays(const struct hmx_type *type, u16 vq);
/* How a request ends that no backend answers. Posted ones end with nothing written. */
void hmx_type_end(const struct hmx_type *type, const struct hmx_request *r, struct hmx_ending *e);
enum hmx_patience hmx_type_patience(const struct hmx_type *type, u64 features, u16 vq, u16 vqs);
/* The queue that an answer on queue @vq makes impatient, or -ENOENT. */
int hmx_type_told(const struct hmx_type *type, u64 features, u16 vq, const u8 *in, u32 len);
/* Corrects what a backend's config promises and this transport does not do. */
void hmx_type_config(const struct hmx_type *type, u64 features, u8 *config, u32 len);

/* device.c */

struct hmx_limits {
	u32 max_out, max_in, head_len, window;
};

/* What is wanted of a queue, and what is applied: docs/wire.md, section 7. Under the lock. */
struct hmx_vq_state {
	bool wanted, recycle;
	u16 size;
	bool enabled, open;
	u16 applied_size;
	u16 max_size; /* as GET_VQUEUE says; 0: not asked yet */
	u32 epoch;
	struct hmx_limits limits;
};

struct hmx_identity {
	bool known;
	u32 device_id, vendor_id;
	u8 uuid[16];
	u64 features;
	u16 num_queues;
	u32 config_len;
	u8 cache_id[16];
	bool cache_known, cache_changed;
};

/* Commands that the device did, commands.c. Under the lock. */
struct hmx_commands {
	struct list_head kept; /* oldest first */
	unsigned int cnt;
	u16 queue; /* that they came by */
	bool due; /* a backend has not been told of all of them */
	/* While it is told */
	bool sent; /* of one the answer is awaited, */
	unsigned long until; /* at most so long, and so much of it came: */
	u32 answered;
	u8 answer;
	bool refused; /* one was */
	unsigned int deaths; /* lives in a row that ended meanwhile */
	const char *why; /* to be logged by the work, once; NULL: nothing is */
	u64 told;
};

struct hmx_device {
	struct virtio_device vdev;
	struct hmx_channel *ch;
	char name[VHX_NAME_LEN];
	struct hmx_identity id;
	const struct hmx_type *type;
	bool registered;
	bool failed; /* every request, present and future, ends with an error */
	bool cut; /* failed until its driver resets it */
	const char *failed_why; /* to be logged by the work, once; NULL: was, or need not be */
	bool gone; /* the backend has it no more: to be removed. Under the lock */
	bool refused; /* of a type that is not for us */
	bool handles; /* descriptors hold handles of map.c */
	wait_queue_head_t wait; /* for what is applied to become what is wanted */
	struct mutex write_lock; /* one write of the config space at a time */

	/* The walk; its fields belong to device.c */
	bool active;
	u64 features;
	u8 status; /* as the driver set it */
	struct hmx_walk *walk;

	/* While a driver leaves: fails the device if its requests do not end. */
	struct delayed_work guard;
	u64 guard_seen; /* requests that had ended when it last looked */

	/* Config cache */
	spinlock_t config_lock; /* irq-safe, a leaf */
	u8 config[HMX_CONFIG_MAX];
	u32 generation;

	/* Durability, under the lock: docs/wire.md, section 11 */
	u64 writes_done, writes_flushed;
	bool flush_failed;

	struct hmx_commands commands;
	struct hmx_vq_state vq_states[HMX_QUEUES_MAX];
	struct hmx_queue *queues[HMX_QUEUES_MAX]; /* entries change under the lock */
	u16 vq_cnt; /* that the driver asked for */
	u16 dev_num; /* at this backend */
	struct dentry *debugfs;
	u64 replays, stale;
	unsigned int index; /* in the channel's table */
};

static inline struct hmx_device *to_hmx_device(struct virtio_device *vdev)
{
	return container_of(vdev, struct hmx_device, vdev);
}

/* May AVAIL go out for queue @index now? Under the lock. */
bool hmx_device_queue_live(const struct hmx_device *dev, u16 index);

/* Is somebody there who could answer? Under the lock. */
bool hmx_device_reachable(const struct hmx_device *dev);
/* Is a write that is sent now on the medium when it completes? Under the lock. */
bool hmx_device_writes_through(struct hmx_device *dev);
/* The driver spins for queue @index from now on. Under the lock, in the work. */
void hmx_device_hurry(struct hmx_device *dev, unsigned int index);

/* Process context: a device that is not registered yet, in no table. NULL: no memory. */
struct hmx_device *hmx_device_new(struct hmx_channel *ch, unsigned int index, const char *name);
/* The scan: gives the device to its driver. 0 or negative: it was not registered. */
int hmx_device_register(struct hmx_device *dev);
/*
 * The scan: takes it away from the driver, and drops the first reference. Not in the table any more
 * on return.
 */
void hmx_device_remove(struct hmx_device *dev);
/*
 * Any context, without the lock: every request, present and future, ends with an error. @why is for
 * the log; NULL: it is removed, which is not a failure.
 */
void hmx_device_fail(struct hmx_device *dev, const char *why);
void hmx_device_fail_locked(struct hmx_device *dev, const char *why);
/* The same, without a line, for all devices of a channel. Any context. */
void hmx_devices_fail(struct hmx_channel *ch);
/*
 * Any context, without the lock: the backend has it no more, or has another one under its name.
 * Nothing is asked of it any more, every request ends with an error, and the scan removes it.
 */
void hmx_device_gone(struct hmx_device *dev);
/*
 * Process context: between the two its driver leaves, which may wait for requests. If none of them
 * ends for a while, the device fails until its next reset.
 */
void hmx_device_guard(struct hmx_device *dev);
void hmx_device_unguard(struct hmx_device *dev);
/* Requests that have ended so far; and are there any that a driver may wait for? Under the lock. */
u64 hmx_device_progress(const struct hmx_device *dev);
bool hmx_device_busy(const struct hmx_device *dev);
/* When the module goes. */
void hmx_device_exit(void);
/* Devices whose memory lives still. */
extern atomic_t hmx_devices_alive;
extern wait_queue_head_t hmx_devices_wait;

/* All of the channel's work: */
/*
 * A response, or an event, for an attached device; or the response to an ATTACH. 0, or why the
 * channel ends.
 */
int hmx_device_control(struct hmx_device *dev, const struct hmx_control *c);
/* A USED message: 0, or why the channel ends. */
int hmx_device_used(struct hmx_device *dev, const struct hmx_key *key, struct hmx_rx *rx);
/* Shows drivers what was completed. */
void hmx_device_flush(struct hmx_device *dev);
/* Sends what is due. True: there is more. */
bool hmx_device_pump(struct hmx_device *dev);
/* The channel is gone. @death: by the backend's doing. */
void hmx_device_lost(struct hmx_device *dev, bool death);
/*
 * Under the lock: does the device wait for the backend, and since longer than the backend may take?
 */
bool hmx_device_outstanding(const struct hmx_device *dev);
bool hmx_device_overdue(const struct hmx_device *dev);
/* Under the lock: is @c the answer that the device waits for? */
bool hmx_device_awaits(const struct hmx_device *dev, const struct hmx_control *c);
bool hmx_device_attached(const struct hmx_device *dev);
/* For people. Under the lock. */
const char *hmx_device_state(const struct hmx_device *dev);

/* main.c */

/*
 * May there be a line in the log about a device that comes, goes or fails? A backend can bring that
 * about without end. Process context, without the lock.
 */
static inline bool hmx_line_due(struct hmx_channel *ch)
{
	return __ratelimit(&ch->lines);
}

/* Any context: runs the discovery; with @list it asks the backend first. */
void hmx_scan_kick(struct hmx_channel *ch, bool list);
void hmx_scan_work(struct work_struct *work);

/* stats.c */

extern const struct attribute_group *hmx_channel_groups[];
extern const struct attribute_group *hmx_device_groups[];
void hmx_stats_init(void);
void hmx_stats_exit(void);
void hmx_stats_channel_add(struct hmx_channel *ch);
void hmx_stats_channel_del(struct hmx_channel *ch);
void hmx_stats_device_add(struct hmx_device *dev);
void hmx_stats_device_del(struct hmx_device *dev);

/* queue.c, pump.c, answer.c, ending.c: what is between them is in queue.h */

/*
 * Where in a chain something goes on. The descriptor at @at of @table is the next one, @off bytes
 * of it are done; @left bounds what a loop in the chain can cost.
 */
struct hmx_position {
	const struct vring_desc *table;
	u32 len; /* of the table, in descriptors */
	u32 left; /* descriptors that may still be looked at */
	u32 off;
	u16 at;
	bool more; /* the chain has not ended */
};

/* One chain in flight, by its head descriptor. */
struct hmx_slot {
	struct list_head node; /* hmx_queue.order; empty: free. Under the lock */
	struct list_head group; /* hmx_queue.group; empty: not answered yet. Under the lock */
	u32 out_len, in_len;
	u32 sent; /* of out_len. Under the lock */
	u32 window; /* units held. Under the lock */
	bool begun; /* its first record has gone. Under the lock */
	bool early; /* stands for bytes of early.c. Under the lock */
	bool through; /* a write that is not volatile. Under the lock */
	u32 early_at;
	u8 deaths;
	u8 kind; /* type.c */
	/* Receiving half: the work's */
	u32 in_next, in_prefix;
	u32 used_len; /* of its answer */
	struct hmx_position in_pos; /* of in_next */
	u8 status; /* the last in byte, once it came */
	bool status_came;
	u64 flush_mark; /* writes that had completed when it was sent. Under the lock */
};

struct hmx_queue_stats {
	u64 notifies, chains, completed, errors;
	u64 bytes_out, bytes_in;
	u64 bytes_copied; /* payload copied before the send: inlined or gathered */
	u64 bytes_by_ref; /* payload handed to the provider in place */
	u64 interrupts, starved;
	u64 dropped; /* bytes of output that found no room */
};

struct hmx_queue {
	struct hmx_device *dev;
	u16 index;
	u16 size; /* a power of two, of the ring as it is */
	u16 max_size; /* of the ring as it was made: so many slots */
	struct virtqueue *vq;
	const struct vring *vring;
	bool live; /* chains are taken and answered. Under the lock */
	bool broken; /* the driver broke the ring: it is left alone. Under the lock */
	const char *broken_why;
	bool broken_told; /* the work's */
	/* Under the lock: next entry of the avail ring; of the used ring; as the driver sees it */
	u16 last_avail;
	u16 used_idx, used_told;
	bool flush_due; /* there is something to interrupt for. Under the lock */
	enum hmx_patience patience;
	bool impatient; /* chains are given back at once: early.c. Under the lock */
	struct hmx_early *early;
	struct hrtimer hurry; /* HMX_PATIENCE_SHORT: armed while something is outstanding */
	ktime_t hurry_until; /* Under the lock */
	struct hmx_slot *slots;
	struct list_head order; /* slots in flight, oldest first */
	struct list_head group; /* those that are answered, in a group that has not ended */
	struct hmx_slot *cursor; /* first one not sent whole; NULL: none */
	struct hmx_position out_pos; /* of the cursor's `sent` */
	u32 window_used;
	bool window_wait; /* the cursor waits for units of the window */
	/* Of a queue whose requests are about others': those have been counted for the cursor's */
	bool behind;
	u32 ahead; /* requests here that such a one has to let pass, at most. Under the lock */
	struct list_head starved; /* in ch->starved, or empty */
	u16 reserved; /* of ch->entries */
	struct hmx_queue_stats stats;
};

/*
 * What pumping may cost with interrupts off, in bytes copied; to look at a descriptor counts as
 * HMX_DESC_COST, a cache line. A notify takes a request of 128 KiB, or 32 writes of 4 KiB (138.5
 * KiB with their heads and five looks at descriptors each), and leaves more to the work.
 */
#define HMX_NOTIFY_BYTES (144u << 10)
#define HMX_PUMP_BYTES (128u << 10)
#define HMX_DESC_COST 64u

/*
 * Process context. Makes the vring and the virtqueue, of at most @size entries: hmx_queue.size says
 * how many they are. NULL: no memory.
 */
struct hmx_queue *hmx_queue_new(struct hmx_device *dev, u16 index, u16 size, bool ctx,
				vq_callback_t *callback, const char *name);
/* Under the lock: is there a request, taken or not, that a driver may wait for? */
bool hmx_queue_busy(const struct hmx_queue *q);
/* The queue is not live, and the work was synced since. */
void hmx_queue_free(struct hmx_queue *q);

/*
 * Under the lock, in the work: takes new chains and sends what can be sent, at the cost of @budget,
 * or of one record where that is more. True: there is more. Does nothing if the queue is not live
 * or AVAIL may not go out.
 */
bool hmx_queue_pump(struct hmx_queue *q, u32 budget);
/* The work: a USED message of the queue's open epoch. 0, or -EPROTO: the channel ends. */
int hmx_queue_receive(struct hmx_queue *q, struct hmx_rx *rx);
/*
 * The work, after a pass, for each live queue, without the lock: makes completions visible and
 * interrupts. Here a broken ring is reported, and what comes to a failed device ends.
 */
void hmx_queue_flush(struct hmx_queue *q);
/*
 * Under the lock: the backend answered QUEUE_OPEN: limits are known, the cursor is at the oldest.
 */
void hmx_queue_opened(struct hmx_queue *q);
/*
 * The work, without the lock: the backend can do nothing more for what is in flight. @death: the
 * channel is lost by its doing. Requests of replayed types, and posted ones, are unsent again; the
 * others end as type.c says.
 */
void hmx_queue_interrupted(struct hmx_queue *q, bool death);
/*
 * The work, without the lock: ends all that is in flight, and all that is in the ring, with an
 * error.
 */
void hmx_queue_fail_all(struct hmx_queue *q);
/* Process context, not live and synced: the ring is new (reset of the device or of the queue). */
void hmx_queue_rewind(struct hmx_queue *q);

/* early.c */

/* 0, or -ENOMEM. By q->patience; the partner of hmx_early_fini(). */
int hmx_early_init(struct hmx_queue *q);
void hmx_early_fini(struct hmx_queue *q);
/* Under the lock, all of them: nothing is kept any more */
void hmx_early_rewind(struct hmx_queue *q);
/* An early slot went out of flight. */
void hmx_early_trim(struct hmx_queue *q);
/* Takes what is in the ring, and gives it back. */
void hmx_early_take(struct hmx_queue *q);
/* Appends up to @len bytes of what is not sent of @s to the open message; returns how many. */
u32 hmx_early_append(struct hmx_queue *q, const struct hmx_slot *s, u32 len);

/* commands.c */

void hmx_commands_init(struct hmx_device *dev);
/* Under the lock, all of these: what a driver had set is no more, or nobody has the device. */
void hmx_commands_forget(struct hmx_device *dev);
/* The backend is gone. */
void hmx_commands_lost(struct hmx_device *dev);
/* The backend has not answered for too long. */
bool hmx_commands_overdue(const struct hmx_device *dev);
/* The queue stops. */
void hmx_commands_stop(struct hmx_queue *q);
/* The work, without the lock: the log's line about them, if there is one to say. */
void hmx_commands_report(struct hmx_device *dev);

/* map.c */

/*
 * Prepares @dev, the parent of @vdev, and decides what addresses mean. True: handles; offer
 * ACCESS_PLATFORM.
 */
bool hmx_map_setup(struct device *dev, struct virtio_device *vdev);
/* What a descriptor's @len bytes at @addr are; NULL: no address of ours. */
void *hmx_map_addr(const struct hmx_device *dev, u64 addr, u32 len);

#endif
