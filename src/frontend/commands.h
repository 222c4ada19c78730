/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of a driver that set state in the device: the last ones that succeeded, of which a replaced backend is told again
 * before any other request. Theory of operation: commands.c. Private to src/frontend.
 */
#ifndef VHX_FRONTEND_COMMANDS_H
#define VHX_FRONTEND_COMMANDS_H

#include "core/devtype.h"
#include "core/flight.h"
#include "link/link.h"

/* Commands that are remembered: of net Linux has a dozen and one for each VLAN. */
#define VHX_FCOMMANDS_MAX 64u
/* Bytes of one: net's two tables with 64 addresses each have 778. */
#define VHX_FCOMMAND_BYTES_MAX 1024u

struct vhx_fdev;
struct vhx_fqueue;

struct vhx_fcommand {
	uint32_t what;
	uint32_t len;
	uint8_t *bytes;
};

struct vhx_fcommands {
	struct vhx_fcommand kept[VHX_FCOMMANDS_MAX]; /* oldest first */
	uint32_t cnt;
	bool due; /* this backend has not been told of them */
	/* Of the driver's command that is under way: one at a time */
	bool pending;
	bool whole; /* @bytes has all of it */
	uint16_t id;
	uint32_t len;
	uint8_t bytes[VHX_FCOMMAND_BYTES_MAX];
	/* While they are told */
	bool telling;
	bool sent; /* the one at @at; its answer is awaited */
	uint32_t at, refused;
	uint16_t queue;
	uint8_t answer;
	uint8_t deaths; /* channels in a row that ended meanwhile */
	struct vhx_flight flight;
	struct vhx_flight_slot slot;
	struct vhx_link_turn turn;
	struct vhx_loop_timer timer;
};

void vhx_fcommands_init(struct vhx_fdev *fdev);
/* What the driver had set is no more: its device was reset, or ends. */
void vhx_fcommands_forget(struct vhx_fdev *fdev);

/* Does @q have to wait before its next request is sent: an answer tells whether the last one counts? */
bool vhx_fcommands_busy(const struct vhx_fqueue *q);
/* The request at the cursor of @q is going to be sent, from commands.bytes as far as they go. */
void vhx_fcommands_begin(struct vhx_fqueue *q, uint16_t id);
/* Its bytes; NULL: not kept. *@len of them, the first ones. */
const uint8_t *vhx_fcommands_bytes(const struct vhx_fqueue *q, uint16_t id, uint32_t *len);
/* Request @id of @q has ended; @ok: the device says that it has done what it was told. */
void vhx_fcommands_end(struct vhx_fqueue *q, uint16_t id, bool ok);

/* The backend runs, and has nothing of a driver's settings: it is to be told, if there are any. */
void vhx_fcommands_running(struct vhx_fdev *fdev);
/* Sends what is due. */
void vhx_fcommands_pump(struct vhx_fdev *fdev);
/* A USED message of the queue, while they are told. */
void vhx_fcommands_receive(struct vhx_fdev *fdev, struct vhx_link *l, uint32_t len);
/* The channel is gone. */
void vhx_fcommands_lost(struct vhx_fdev *fdev);
/* @q stops. */
void vhx_fcommands_queue_gone(struct vhx_fqueue *q);

#endif
