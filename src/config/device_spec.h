/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator says of a device, as plain structs:
 *
 *   --device blk,id=disk0,file=/srv/a.img,readonly    -> struct vhx_device_spec
 *   --vhost-user /run/vm1.sock,id=disk0               -> struct vhx_vhost_user_spec
 *
 * These check what can be told from the text alone; whether a file is there is for who opens it.
 */
#ifndef VHX_CONFIG_DEVICE_SPEC_H
#define VHX_CONFIG_DEVICE_SPEC_H

#include <stdio.h>

#include "config/address.h"
#include "config/argo_spec.h"
#include "config/socket_spec.h"
#include "config/keyval.h"
#include "util/base.h"
#include "util/error.h"

#define VHX_SPEC_ID_MAX 64u /* with its NUL; struct vhx_device has the same room */
#define VHX_SPEC_SERIAL_MAX 21u /* VirtIO 5.2.6: GET_ID answers 20 bytes; and a NUL */
#define VHX_SPEC_QUEUES_MAX 64u /* what a frontend keeps tables for */
#define VHX_SPEC_QUEUE_SIZE_MIN 4u /* a request of header, data and status, and one to spare */
#define VHX_SPEC_QUEUE_SIZE_MAX 1024u /* bounds the tables of requests in flight */
/* A VMM chooses the size: what it may choose is not limited without need. */
#define VHX_SPEC_QUEUE_SIZE_DEFAULT VHX_SPEC_QUEUE_SIZE_MAX

struct vhx_blk_spec {
	char file[VHX_VALUE_MAX]; /* empty when fd is given */
	int fd; /* inherited descriptor of the image; -1 when file is given */
	bool readonly;
	bool direct; /* O_DIRECT */
	bool handover; /* locked only while a driver uses it: for live migration */
	bool discard; /* offer DISCARD where the image can; default true */
	char serial[VHX_SPEC_SERIAL_MAX]; /* empty: none */
	uint32_t num_queues; /* default 1 */
	uint32_t queue_size; /* default VHX_SPEC_QUEUE_SIZE_DEFAULT; a power of two */
};

#define VHX_SPEC_PORTS_MAX 16u /* 34 queues, of 64 that a device may have */
#define VHX_SPEC_END_MAX 1024u /* "socket:" and a path */
#define VHX_SPEC_PORT_NAME_MAX 48u /* with its NUL; one control message carries it */

struct vhx_console_spec {
	struct {
		char end[VHX_SPEC_END_MAX]; /* empty: there is no such port, nor a further one */
		char name[VHX_SPEC_PORT_NAME_MAX]; /* empty: none */
	} ports[VHX_SPEC_PORTS_MAX];
	uint32_t cols, rows; /* 0: not told */
	uint32_t buffer; /* 0: the device's default */
	char full[16]; /* "wait", "drop" or empty */
	uint32_t queue_size;
};

#define VHX_SPEC_NET_END_MAX 256u /* "dgram:" and two paths of sockets */
#define VHX_SPEC_NET_PAIRS_MAX 16u /* 33 queues, of 64 that a device may have */
#define VHX_SPEC_MAC_LEN 6u
#define VHX_SPEC_MAC_TEXT_MAX 18u /* "52:54:00:12:34:56", with its NUL */

struct vhx_net_spec {
	char end[VHX_SPEC_NET_END_MAX];
	char mac[VHX_SPEC_MAC_TEXT_MAX]; /* empty: none */
	uint32_t mtu; /* 0: not told */
	uint32_t pairs;
	bool offload; /* default true */
	uint32_t queue_size;
};

/* "52:54:00:12:34:56". 0 or -EINVAL. */
int vhx_mac_parse(const char *text, uint8_t mac[VHX_SPEC_MAC_LEN]);
/* The same with a text; neither zeroes nor a group's. */
int vhx_mac_check(const char *text, struct vhx_error *err);
/* What a link may carry: what every IPv4 host takes, and what a frame of the largest packet carries. */
#define VHX_SPEC_MTU_MIN 68u
#define VHX_SPEC_MTU_MAX 65535u

struct vhx_rng_spec {
	uint32_t max_bytes; /* per period; 0: no limit */
	uint32_t period_ms; /* 0: VHX_SPEC_RNG_PERIOD_DEFAULT */
	uint32_t queue_size;
};

#define VHX_SPEC_RNG_PERIOD_DEFAULT 1000u

#define VHX_SPEC_LUNS_MAX 16u /* a key of each kind for every one, of 64 keys of a type */
#define VHX_SPEC_LUN_PATH_MAX 1024u
#define VHX_SPEC_LUN_SERIAL_MAX 37u /* with its NUL */
#define VHX_SPEC_SCSI_QUEUES_MAX (VHX_SPEC_QUEUES_MAX - 2) /* beside those for control and events */

struct vhx_scsi_spec {
	struct {
		char file
			[VHX_SPEC_LUN_PATH_MAX]; /* empty: there is no such unit, nor a further one */
		char serial[VHX_SPEC_LUN_SERIAL_MAX]; /* empty: none */
		bool readonly;
	} luns[VHX_SPEC_LUNS_MAX];
	bool direct;
	bool handover;
	bool discard; /* default true */
	uint32_t num_queues; /* of requests; default 1 */
	uint32_t queue_size;
};

#define VHX_SPEC_VSOCK_PATH_MAX 93u /* with its NUL; behind it ".seq", "_" and a port */

struct vhx_vsock_spec {
	char uds_path[VHX_SPEC_VSOCK_PATH_MAX];
	uint32_t guest_cid; /* 0: the device's default */
	bool seqpacket; /* default true */
	uint32_t connections, buffer; /* 0: the device's default */
	uint32_t queue_size;
};

#define VHX_SPEC_TAG_MAX 37u /* VirtIO 5.11.4: 36 bytes; and a NUL */
#define VHX_SPEC_TYPE_NAME_MAX 16u

struct vhx_bridge_spec {
	char type[VHX_SPEC_TYPE_NAME_MAX]; /* a name or a number of VirtIO 5 */
	char socket[VHX_UNIX_PATH_MAX];
	bool server; /* the back-end connects to it */
	uint32_t queues; /* 0: as the back-end says */
	uint32_t queue_size;
	bool packed; /* default true */
	char cache[8]; /* "host", "own" or empty */
	char tag[VHX_SPEC_TAG_MAX];
	char mac[VHX_SPEC_MAC_TEXT_MAX];
	uint32_t mtu;
};

#define VHX_SPEC_VDPA_PATH_MAX 256u

struct vhx_vdpa_spec {
	char path[VHX_SPEC_VDPA_PATH_MAX];
	uint32_t queues; /* 0: as the device says */
	uint32_t queue_size;
	bool packed; /* default true */
};

struct vhx_device_type;

struct vhx_device_spec {
	const struct vhx_device_type *type;
	char id[VHX_SPEC_ID_MAX]; /* default: the name of the type */
	char peer[VHX_ARGO_SPEC_ADDRESS_MAX]; /* the only one that it is for; empty: everybody */
	union {
		struct vhx_blk_spec blk;
		struct vhx_console_spec console;
		struct vhx_net_spec net;
		struct vhx_rng_spec rng;
		struct vhx_scsi_spec scsi;
		struct vhx_vsock_spec vsock;
		struct vhx_bridge_spec bridge;
		struct vhx_vdpa_spec vdpa;
	};
};

/*
 * 0; -EINVAL, -ERANGE, -ENAMETOOLONG with one line that names what is wrong. @spec is to be used
 * after success only; it is large (a path), so not for a small stack.
 */
int vhx_device_spec_parse(const char *text, struct vhx_device_spec *spec, struct vhx_error *err);

/* "blk" */
const char *vhx_device_spec_type(const struct vhx_device_spec *spec);

/* The number of sockets or links that a device makes and removes at its end is below this. */
#define VHX_SPEC_PATHS_MAX VHX_SPEC_PORTS_MAX
/* The @i-th of them, or NULL: this one makes no file. Points into @spec. */
const char *vhx_device_spec_path(const struct vhx_device_spec *spec, unsigned int i);

/* All types with their keys, for --help. */
void vhx_device_types_help(FILE *out);

/* -EEXIST when two of @specs have one id: a frontend could not say which of them it wants. */
int vhx_device_specs_check(const struct vhx_device_spec *specs, unsigned int cnt,
			   struct vhx_error *err);

struct vhx_vhost_user_spec {
	char path[VHX_UNIX_PATH_MAX];
	char id[VHX_SPEC_ID_MAX]; /* empty: the only device of the backend */
	struct vhx_socket_access access;
	struct vhx_unix_policy policy; /* from access */
};

/* `SOCKET[,id=ID]` and the keys of socket_spec.h. Errors as above, and theirs. */
int vhx_vhost_user_spec_parse(const char *text, struct vhx_vhost_user_spec *spec,
			      struct vhx_error *err);

#endif
