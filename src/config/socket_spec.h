/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator says of a socket that others connect to:
 *
 *   unix:/run/vhx/disks.sock,mode=0660,group=vhx,allow-uid=vm1:1002,allow-label=*:svirt_t:*
 */
#ifndef VHX_CONFIG_SOCKET_SPEC_H
#define VHX_CONFIG_SOCKET_SPEC_H

#include "config/address.h"
#include "config/keyval.h"
#include "util/unix_guard.h"

/* The keys as they were given; "" where not. Lists are separated by colons. */
struct vhx_socket_access {
	char mode[8];
	char group[64];
	char allow_uid[256];
	char allow_gid[256];
	char allow_label[VHX_UNIX_LABEL_MAX];
};

int vhx_socket_mode_check(const char *text, struct vhx_error *err);

/* Rows for the table of keys of a struct with a struct vhx_socket_access in it. */
#define VHX_SOCKET_ACCESS_TEXT(type, member, text)                                       \
	VHX_KEY_TEXT, offsetof(type, member) + offsetof(struct vhx_socket_access, text), \
		.text_max = sizeof(((struct vhx_socket_access *)0)->text)
#define VHX_SOCKET_ACCESS_KEYS(type, member)                                         \
	{ "mode", VHX_SOCKET_ACCESS_TEXT(type, member, mode),                        \
	  .check = vhx_socket_mode_check },                                          \
	{ "group", VHX_SOCKET_ACCESS_TEXT(type, member, group) },                    \
	{ "allow-uid", VHX_SOCKET_ACCESS_TEXT(type, member, allow_uid) },            \
	{ "allow-gid", VHX_SOCKET_ACCESS_TEXT(type, member, allow_gid) },            \
	{ "allow-label", VHX_SOCKET_ACCESS_TEXT(type, member, allow_label) }

/*
 * Looks names of users and groups up. 0; -EINVAL, -ENOENT (no such user or group), -E2BIG with one line.
 */
int vhx_socket_access_resolve(const struct vhx_socket_access *access,
			      struct vhx_unix_policy *policy, struct vhx_error *err);

struct vhx_socket_spec {
	char path[VHX_UNIX_PATH_MAX];
	struct vhx_unix_policy policy;
};

/* `unix:PATH[,KEY=VALUE...]`; a comma in the path is written twice. Errors as above. */
int vhx_socket_spec_parse(const char *text, struct vhx_socket_spec *spec, struct vhx_error *err);
/* The same without the prefix, for sockets that will never be anything else. */
int vhx_socket_path_spec_parse(const char *text, struct vhx_socket_spec *spec,
			       struct vhx_error *err);

#endif
