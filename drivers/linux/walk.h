/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Between device.c and walk.c: what is applied of a device, and how it gets there. */
#ifndef HMX_WALK_H
#define HMX_WALK_H

#include "virtio_hmx.h"

/*
 * docs/wire.md, section 7: bits that belong to who owns the vring, and the two that cross all the
 * same.
 */
#define FEATURES_RING GENMASK_ULL(49, 24)
#define FEATURES_CROSSING (BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_RESET))
#define CONFIG_CHUNK_MAX 244u /* VHX_CONTROL_CONFIG_MAX */

/* A write of the config space. */
struct config_write {
	bool set;
	bool orphan; /* sent, and its driver has left since */
	u32 off, len;
	u8 bytes[CONFIG_CHUNK_MAX];
};

struct hmx_walk {
	/* Wanted, beside what is in struct hmx_device */
	struct config_write write; /* asked for, not answered yet */
	struct config_write kept; /* the last one accepted: a replaced backend gets it, too */
	bool config_stale;
	/* Applied */
	bool attached, have_info, have_features, have_config;
	u16 sizes_got; /* queues whose size was asked; for good */
	u8 status;
	bool features_set, reset_done;
	bool kept_done; /* @kept holds at this backend */
	bool keeping; /* the outstanding SET_CONFIG is for that */
	bool config_reading; /* again, after it was read once */
	u8 config_tries;
	u64 applied_features;
	u32 config_got, config_generation;
	u8 config_new[HMX_CONFIG_MAX];
	/* The outstanding request */
	bool waiting;
	struct hmx_control request;
	u16 token;
	u16 queue; /* that the request is about */
	unsigned long until;
	/* A pause, for ATTACH */
	bool paused;
	unsigned long resume;
	bool unusable; /* no step but a reset is taken any more */
	bool lost; /* a channel was, since it was last judged what that means */
};

/* All under the lock; a step, in the work. */
/* Is the outstanding request the driver's own write of the config? */
bool hmx_walk_writing(const struct hmx_walk *w);
/* Sends the next request, if one is due. */
void hmx_walk_step(struct hmx_device *dev);
/* Nothing is applied any more. What is wanted and known stays. */
void hmx_walk_lost(struct hmx_device *dev);
/* Open, and not as it is wanted. */
bool hmx_vq_unfit(const struct hmx_vq_state *s);

#endif
