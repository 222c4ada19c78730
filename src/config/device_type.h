/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device type adds to the parser: one file spec_TYPE.c with its keys and one row in device_spec.c.
 * Private to src/config.
 */
#ifndef VHX_CONFIG_DEVICE_TYPE_H
#define VHX_CONFIG_DEVICE_TYPE_H

#include "config/device_spec.h"

struct vhx_device_type {
	const char *name; /* "blk" */
	const char *help; /* what it is, for --help */
	const struct vhx_key *keys; /* into struct vhx_device_spec */
	unsigned int keys_cnt;
	void (*defaults)(struct vhx_device_spec *spec);
	/* Rules between keys. 0 or negative with a text. NULL: there are none. */
	int (*check)(const struct vhx_device_spec *spec, struct vhx_error *err);
	/* See vhx_device_spec_path(). NULL: there are none. */
	const char *(*path)(const struct vhx_device_spec *spec, unsigned int i);
};

#define VHX_SPEC_FIELD(member) offsetof(struct vhx_device_spec, member)

/* Rows that types share. */
#define VHX_SPEC_KEY_ID                                                                         \
	{                                                                                       \
		"id", VHX_KEY_TEXT, VHX_SPEC_FIELD(id),                                         \
			.text_max = VHX_SPEC_ID_MAX, .check = vhx_spec_id_check,                \
			.metavar = "NAME", .help = "what frontends ask for (default: the type)" \
	}
#define VHX_SPEC_KEY_PEER                                                                    \
	{                                                                                    \
		"peer", VHX_KEY_TEXT, VHX_SPEC_FIELD(peer),                                  \
			.text_max = VHX_ARGO_SPEC_ADDRESS_MAX, .check = vhx_spec_peer_check, \
			.metavar = "ADDRESS",                                                \
			.help = "only for this one: argo:peer=DOMID, argo:name:NAME, "       \
				"argo:uuid:UUID"                                             \
	}
#define VHX_SPEC_KEY_QUEUE_SIZE(member)                                                       \
	{                                                                                     \
		"queue-size", VHX_KEY_NUMBER, VHX_SPEC_FIELD(member),                         \
			.bounds = { VHX_SPEC_QUEUE_SIZE_MIN, VHX_SPEC_QUEUE_SIZE_MAX, true }, \
			.metavar = "N",                                                       \
			.help = "most entries of a queue, a power of two (default 1024)"      \
	}

/* Ids appear in logs, JSON and option values: nothing in them ever needs quoting. */
int vhx_spec_id_check(const char *id, struct vhx_error *err);
/* One domain, in the words of --listen. */
int vhx_spec_peer_check(const char *peer, struct vhx_error *err);

extern const struct vhx_device_type vhx_blk_type;
extern const struct vhx_device_type vhx_console_type;
extern const struct vhx_device_type vhx_net_type;
extern const struct vhx_device_type vhx_rng_type;
extern const struct vhx_device_type vhx_scsi_type;
extern const struct vhx_device_type vhx_vsock_type;
extern const struct vhx_device_type vhx_bridge_type;
extern const struct vhx_device_type vhx_vdpa_type;

#endif
