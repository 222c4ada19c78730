/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's half of the VirtIO state machine, towards the backend. Sans I/O.
 *
 * It is told what is *wanted* (is the device in use, with which features, which queues) and knows what is
 * *applied* at the backend. Whenever the two differ, vhx_driver_next() names the one request that brings
 * them closer; its response goes to vhx_driver_response(). At most one request is outstanding. There is
 * no other sequence logic: first start, a queue that comes late, a reset, and bringing a replaced backend
 * to where the dead one was are all the same walk.
 *
 *   attach -> info -> features -> config      once per channel; identity is compared to what was known
 *   reset -> ACKNOWLEDGE, DRIVER -> features -> FEATURES_OK -> queues -> DRIVER_OK   (VirtIO 3.1.1)
 *   queue reset, late queues, config reads and writes                           while it runs
 *
 * What the backend says is checked here: a device that shrinks, changes its type, or refuses what
 * it offered is not the same device; vhx_driver_response() says so and the caller gives the channel up.
 */
#ifndef VHX_CORE_DRIVER_H
#define VHX_CORE_DRIVER_H

#include "core/vdev.h"

#define VHX_DRIVER_TOKEN_SHIFT 10 /* 64 devices, 1024 requests until a token comes again */
#define VHX_DRIVER_CONFIG_MAX 256u /* largest config space of the device types known */
#define VHX_DRIVER_WRITES_MAX 8u /* writes of the config that wait behind the one under way */

struct vhx_driver_queue {
	/* Wanted */
	bool wanted;
	bool recycle; /* close first, also if it is wanted again already */
	uint16_t size;
	/* Applied */
	bool enabled; /* SET_VQUEUE was answered */
	uint16_t applied_size; /* of the last SET_VQUEUE */
	bool open;
	uint32_t epoch; /* of the current or last opening; only ever grows */
	struct vhx_vdev_limits limits;
};

/* What is remembered of a device for as long as the frontend lives. */
struct vhx_driver_identity {
	bool known;
	uint32_t device_id;
	uint8_t uuid[16];
	uint64_t features;
	uint16_t num_queues;
	uint32_t config_len;
	uint8_t config[VHX_DRIVER_CONFIG_MAX];
	uint32_t generation;
	uint8_t cache_id[16];
	bool cache_known;
	bool cache_changed; /* since the caller last cleared it: unflushed writes may be lost */
	char name[VHX_NAME_LEN];
};

enum vhx_driver_event {
	VHX_DRIVER_NONE,
	VHX_DRIVER_KNOWN, /* attached, and the cached identity is complete */
	VHX_DRIVER_CONFIG, /* the cached config changed */
	VHX_DRIVER_QUEUE_OPEN, /* queue `event_queue` may carry data once running */
	VHX_DRIVER_QUEUE_CLOSED, /* queue `event_queue` is fenced: the backend answered its reset */
	VHX_DRIVER_RUNNING, /* DRIVER_OK */
	VHX_DRIVER_STOPPED, /* reset answered: nothing of before can touch the medium */
	VHX_DRIVER_CONFIG_WRITTEN, /* `config_refused` tells how it went */
};

/* A write of the config space. */
struct vhx_driver_write {
	bool set;
	bool orphan; /* sent, and forgotten since */
	uint32_t off, len;
	uint8_t bytes[VHX_DRIVER_CONFIG_MAX];
};

/* Times that a config which changes while it is read in parts is read from the start again. */
#define VHX_DRIVER_CONFIG_TRIES 16

struct vhx_driver {
	char name[VHX_NAME_LEN];
	struct vhx_driver_identity id;
	/* Wanted */
	bool active;
	uint64_t features; /* crossing bits only */
	struct vhx_driver_write config_write; /* asked for, not answered yet */
	struct vhx_driver_write config_waiting[VHX_DRIVER_WRITES_MAX]; /* behind it, in order */
	uint32_t config_waiting_cnt;
	struct vhx_driver_write
		config_kept; /* the last one accepted: a replaced backend gets it, too */
	uint64_t config_kept_features; /* of the driver that wrote it */
	bool config_stale;
	/* Applied */
	bool attached, have_info, have_features, have_config;
	uint16_t dev_num;
	uint8_t status;
	bool features_set, reset_done;
	bool config_kept_done; /* @config_kept holds at this backend */
	bool config_keeping; /* the outstanding SET_CONFIG is for that */
	bool config_reading; /* again, after it was read once */
	uint8_t config_tries;
	uint64_t applied_features;
	uint32_t config_got;
	uint8_t config_new[VHX_DRIVER_CONFIG_MAX];
	uint32_t config_generation;
	/* The outstanding request */
	bool waiting;
	struct vhx_control request;
	uint16_t
		token; /* of the last request; the caller may set the bits from VHX_DRIVER_TOKEN_SHIFT on */
	uint16_t event_queue;
	bool config_refused;
	struct vhx_driver_queue queues[VHX_VDEV_QUEUES_MAX];
};

void vhx_driver_init(struct vhx_driver *d, const char *name);

/* The channel went away: nothing is applied any more. What is wanted and known stays. */
void vhx_driver_lost(struct vhx_driver *d);

/* True: send *@req (valid until the response or vhx_driver_lost()). */
bool vhx_driver_next(struct vhx_driver *d, const struct vhx_control **req);

/*
 * The response to the outstanding request. 0 and *@event; -EBUSY: the device is taken, ask again on a new
 * channel later; -ENODEV: no such device; -ENOTUNIQ: a name is needed; -EDOM: a queue is larger than the
 * device takes; -ESTALE: not the device it was; -EPROTO: nonsense. A response that answers nothing is ignored.
 */
int vhx_driver_response(struct vhx_driver *d, const struct vhx_control *resp,
			enum vhx_driver_event *event);

/* Writes are sent in the order of the calls. -EBUSY: too many wait already. */
int vhx_driver_write_config(struct vhx_driver *d, uint32_t off, const void *buf, uint32_t len);

/* The VMM is gone: what its guest wrote into the config is nobody's wish any more. */
void vhx_driver_forget_writes(struct vhx_driver *d);

/* EVENT_CONFIG arrived: the config will be read again. */
void vhx_driver_config_event(struct vhx_driver *d);

static inline bool vhx_driver_queue_live(const struct vhx_driver *d, uint16_t index)
{
	const struct vhx_driver_queue *q = &d->queues[index];

	return q->open && q->wanted && !q->recycle && q->applied_size == q->size &&
	       (d->status & VHX_STATUS_DRIVER_OK);
}

#endif
