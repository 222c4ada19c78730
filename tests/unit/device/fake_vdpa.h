/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vDPA devices as a kernel shows them: ioctl, write, close and clock_gettime are wrapped (--wrap), on descriptors of
 * /dev/null. A device is a real one, with rings of its own (ring/ring.h) over the memory that was mapped for it, and each
 * of its calls can fail or hang. Calls come from any thread.
 */
#ifndef VHX_TESTS_FAKE_VDPA_H
#define VHX_TESTS_FAKE_VDPA_H

#include <linux/vhost.h>

#include "ring/ring.h"
#include "util/base.h"

#define FAKE_VDPA_PATH "/dev/null"
#define FAKE_VDPA_RINGS 8u
#define FAKE_VDPA_RING_MAX 256u
#define FAKE_VDPA_CONFIG 60u

struct fake_vdpa_ring {
	struct vhx_vring ring;
	struct vhx_ring_slot slots[FAKE_VDPA_RING_MAX];
	struct vhost_vring_addr addr;
	uint16_t size;
	uint32_t base;
	int kick, call;
	bool enabled;
};

struct fake_vdpa {
	/* What it is */
	uint32_t device_id;
	uint64_t features;
	uint32_t queues;
	uint16_t ring_size_max;
	uint64_t iova_first, iova_last;
	uint8_t config[FAKE_VDPA_CONFIG];
	uint32_t config_len;
	/* What it is told */
	int fd; /* -1: closed */
	uint64_t driver_features;
	uint8_t status;
	uint64_t iova, len, uaddr; /* its memory, len 0: none */
	struct fake_vdpa_ring rings[FAKE_VDPA_RINGS];
	int config_fd;
	unsigned int starts, resets, maps;
	unsigned int calls; /* ioctls and mappings, all */
	unsigned int calls_by_loop; /* of those, by the thread of the test */
	/* What it does */
	unsigned long fails; /* this ioctl, */
	int fails_errno; /* with this; with 0 it does not */
	bool write_ignored; /* the config stays as it is */
	uint8_t status_never; /* bits that it does not take */
	bool hangs; /* the status cannot be set now */
	bool hangs_on_close;
	unsigned int hanging; /* calls that wait for it */
};

/* A blk device with a disk of 64 MiB and one queue, all features. The next file that is opened is its. */
void fake_vdpa_init(struct fake_vdpa *p);
/* The next file that is opened is this one's. */
void fake_vdpa_next(struct fake_vdpa *p);

/* It is so many seconds later now, for the loop. */
void fake_vdpa_skip(unsigned int s);
/* The clock of the loop's thread goes on for @ms at most, so that no later timer becomes due; 0: on and on again. */
void fake_vdpa_hold(unsigned int ms);

/* A look at one word of the device, which calls may change meanwhile. */
#define fake_vdpa_get(p, field)                \
	({                                     \
		__typeof__((p)->field) value_; \
		fake_vdpa_lock();              \
		value_ = (p)->field;           \
		fake_vdpa_unlock();            \
		value_;                        \
	})
#define fake_vdpa_set(p, field, value) \
	do {                           \
		fake_vdpa_lock();      \
		(p)->field = (value);  \
		fake_vdpa_changed();   \
		fake_vdpa_unlock();    \
	} while (0)
void fake_vdpa_lock(void);
void fake_vdpa_unlock(void);
void fake_vdpa_changed(void);

/* Takes a chain of ring @index: true, and the caller's arrays are filled. */
bool fake_vdpa_pop(struct fake_vdpa *p, uint16_t index, struct vhx_chain *chain);
/* Gives it back, and calls. */
void fake_vdpa_push(struct fake_vdpa *p, uint16_t index, uint16_t id, uint32_t used_len);
/* Writes a used entry of a split ring that is no answer to anything, @cnt further on, and calls. */
void fake_vdpa_forge(struct fake_vdpa *p, uint16_t index, uint32_t id, uint32_t len, uint16_t cnt);
void fake_vdpa_config_call(struct fake_vdpa *p);

#endif
