/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a frontend knows of device types: how a request ends that the backend will never answer, whether
 * unfinished requests may be sent again to a replaced backend, and which requests make data durable. One
 * row per type; a type without a row is not replayed and its requests are completed with nothing written.
 *
 * Posted requests, those without out bytes, told the backend nothing and changed nothing: they go to a replaced
 * backend whatever the type.
 */
#ifndef VHX_CORE_DEVTYPE_H
#define VHX_CORE_DEVTYPE_H

#include "util/base.h"

/* The out bytes that decide a request's kind lie within so many first ones. */
#define VHX_DEVTYPE_PEEK 20u

/* What a type's requests carry, and so who may see them (docs/devices.md). */
enum vhx_devclass {
	VHX_CLASS_UNKNOWN, /* a type that is not listed: carried as it is */
	VHX_CLASS_MESSAGE, /* bytes only: works over any exchange */
	VHX_CLASS_ADDRESS, /* guest addresses within the payload mean nothing to a backend: refused */
	VHX_CLASS_SHARED, /* is about memory that both sides map: refused */
};

enum vhx_request_kind {
	VHX_KIND_PLAIN,
	VHX_KIND_WRITE, /* changes the medium; volatile until a flush that begins later has ended */
	VHX_KIND_FLUSH,
	VHX_KIND_FLUSH_PART, /* of one medium of several: which writes it covers is not known here */
};

/* A request, for the answer that it gets when no backend has one. */
struct vhx_devtype_request {
	uint16_t queue, queues; /* its queue, of so many */
	uint32_t out_len, in_len;
	const uint8_t *peek; /* the first out bytes */
	uint32_t peek_len;
};

/* What is written into it: @len bytes at @off of its in bytes. */
struct vhx_devtype_ending {
	uint32_t off, len;
	uint32_t used_len;
	uint8_t bytes[16];
};

/* A command that sets state of a device. */
struct vhx_devtype_command {
	uint32_t what; /* a number for what it sets: the last one that succeeded holds */
	bool clears; /* no earlier one of that number holds any more, nor this one */
};

struct vhx_devtype {
	uint32_t device_id;
	const char *name;
	enum vhx_devclass class;
	bool replay;
	uint16_t replay_from; /* the first queue of which that is so */
	/*
	 * Requests of so many first queues are about those of the other queues: each is sent when all that was
	 * available on those before it has been, since a backend can end only what it has seen.
	 */
	uint16_t about_others;
	/* What the driver wrote into the config is state, and a replaced backend is told again. Else it was an act. */
	bool config_kept;
	/*
	 * Is this a queue of commands, whose last in byte is 0 when they were done? And does this one set state? Such
	 * are what a replaced backend is told again. NULL: there are none.
	 */
	bool (*commands)(uint64_t features, uint16_t queue, uint16_t queues);
	bool (*command)(const uint8_t *out, uint32_t len, struct vhx_devtype_command *c);
	/* The last in byte is a status, and all that drivers look at: of a request given up, and of success. */
	bool has_status;
	uint8_t status_error, status_ok;
	/* Drivers do not go by the length of an answer: in bytes that did not come become zero. */
	bool fill;
	/* How a request with out and in bytes ends. NULL: with nothing written. */
	void (*end)(const struct vhx_devtype_request *r, struct vhx_devtype_ending *e);
	enum vhx_request_kind (*kind)(uint16_t queue, const uint8_t *out, uint32_t len);
	/* Do the first in bytes of a flush say that all is well? NULL: the status does. */
	bool (*flushed)(const uint8_t *in, uint32_t len);
	/* Do completed writes wait for a flush, with these features and this config? NULL: yes. */
	bool (*write_back)(uint64_t features, const uint8_t *config, uint32_t config_len);
};

/* How a request ends that no backend answers. A posted one ends with nothing written. */
void vhx_devtype_end(const struct vhx_devtype *type, const struct vhx_devtype_request *r,
		     struct vhx_devtype_ending *e);

/* May unfinished requests of @queue be sent to a replaced backend? */
bool vhx_devtype_replays(const struct vhx_devtype *type, uint16_t queue);

/* Why a frontend cannot carry devices of this type, in one line; NULL: it can. */
const char *vhx_devtype_refusal(const struct vhx_devtype *type);

/* The type of this name, or NULL. */
const struct vhx_devtype *vhx_devtype_named(const char *name);

/* Never NULL. */
const struct vhx_devtype *vhx_devtype_find(uint32_t device_id);

#endif
