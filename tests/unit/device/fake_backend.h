/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A backend on plain memory, for device models: it hands out requests, keeps their answers and checks that
 * the device keeps to the contract of backend/device.h. Every violation fails the running test.
 */
#ifndef VHX_TESTS_FAKE_BACKEND_H
#define VHX_TESTS_FAKE_BACKEND_H

#include "backend/device.h"

struct vhx_queue {
	uint16_t index;
	unsigned int quiesced;
	unsigned int
		room_wanted; /* refusals outside of submit that ops->room was not called for yet */
};

struct fake_request {
	struct vhx_request req;
	uint8_t *answer; /* in_len bytes */
	bool *sent; /* which of them were sent */
	uint8_t *staging; /* pages */
	uint8_t *payload; /* pages */
	struct iovec *out; /* req.out */
	uint32_t reserved; /* length of the open reservation, 0: none */
	uint32_t reserved_off;
	uint32_t staged_off, staged_len;
	uint32_t lead_len; /* of the staged bytes, those in front of the pages */
	uint8_t lead[VHX_PAGE];
	unsigned int commits; /* with a length */
	uint32_t used_len;
	unsigned int order; /* of its completion, from 1 on */
	bool completed, dropped;
};

/* How the backend behaves; reset by fake_init(). */
struct fake {
	uint32_t reserve_max; /* largest reservation, 0: the provider has none */
	unsigned int later; /* this many reservations are refused for now */
	unsigned int later_skip; /* after so many that are not */
	unsigned int no_staging; /* this many stagings are refused */
	unsigned int config_changes;
	unsigned int completions;
	unsigned int in_flight; /* taken and neither completed nor dropped */
	unsigned int group_open; /* completions that wait for the next one of their queue */
	bool submitting;
	struct vhx_device *restarts; /* of which a queue that ends is the last one */
};

extern struct fake fake;

void fake_init(void);

/* @head_len bytes of @out go to the head, the rest to pages. */
struct fake_request *fake_request_new(struct vhx_device *dev, struct vhx_queue *queue,
				      const void *out, uint32_t out_len, uint32_t in_len);
/* Also makes a used one as new. */
void fake_request_rearm(struct fake_request *r);
void fake_request_free(struct fake_request *r);

/* ops->room, if a refusal asked for it. */
void fake_room(struct vhx_device *dev, struct vhx_queue *queue);

/* submit, again while it says -EAGAIN, then kick. */
void fake_submit(struct fake_request *r);
/* Turns the loop until the request has ended. */
void fake_wait(struct fake_request *r);

#endif
