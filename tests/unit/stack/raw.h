/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers that speak the protocol by hand, on a bare port: correct as far as a test needs it, and wrong wherever it
 * wants. They are stepped by the test, beside the loop.
 */
#ifndef VHX_TESTS_STACK_RAW_H
#define VHX_TESTS_STACK_RAW_H

#include "core/channel.h"
#include "core/driver.h"
#include "core/vdev.h"
#include "exchange/exchange.h"
#include "wire/control.h"
#include "wire/wire.h"

#define RAW_REQUESTS_MAX 1024u
#define RAW_MESSAGE_MAX 65536u

struct raw {
	struct vhx_port *port;
	struct vhx_channel channel;
	bool up;
	bool deaf; /* takes nothing */
	int gone; /* why the port ended */
	uint8_t in[RAW_MESSAGE_MAX];
	void (*control)(struct raw *r, const struct vhx_control *c);
	void (*data)(struct raw *r, uint32_t type, const struct vhx_queue_key *key, uint32_t len);
};

void raw_open(struct raw *r, struct vhx_port *port);
void raw_close(struct raw *r);
/* Takes what has arrived. True: something was done. */
bool raw_step(struct raw *r);
/* These go out whatever credit says: 0, or what the port said. */
int raw_bytes(struct raw *r, uint32_t type, const void *bytes, uint32_t len);
int raw_body(struct raw *r, uint32_t type, const void *body, uint32_t len);
int raw_control(struct raw *r, const struct vhx_control *c);
int raw_data(struct raw *r, uint32_t type, const struct vhx_queue_key *key, const void *records,
	     uint32_t len);

/* A backend with one device of one queue, which answers no requests by itself. */
struct raw_request {
	uint16_t id;
	uint32_t seed, out_len, in_len, received;
};

struct raw_backend {
	struct raw raw;
	struct vhx_vdev vdev;
	uint8_t config[32];
	bool mute; /* answers no control message */
	struct vhx_queue_key key;
	struct raw_request requests[RAW_REQUESTS_MAX];
	uint32_t request_cnt;
	struct vhx_vdev_limits limits;
};

void raw_backend_open(struct raw_backend *b, struct vhx_port *port);

/* USED messages, put together record by record. */
struct raw_records {
	uint8_t bytes[RAW_MESSAGE_MAX];
	uint32_t len;
};

void raw_used(struct raw_records *m, const struct vhx_used *u, const void *chunk);
void raw_avail(struct raw_records *m, const struct vhx_avail *a, const void *chunk);

/* A frontend that brings the device @name to where its queue 0, of @size, runs. */
struct raw_frontend {
	struct raw raw;
	struct vhx_driver driver;
	bool running;
	int refused;
	uint32_t responses;
	uint32_t used_records;
};

void raw_frontend_open(struct raw_frontend *f, struct vhx_port *port, const char *name,
		       uint16_t size);
bool raw_frontend_step(struct raw_frontend *f);

#endif
