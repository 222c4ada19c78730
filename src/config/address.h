/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses of endpoints: `unix:PATH`. The prefix leaves room for other providers. And of what speaks HTTP.
 */
#ifndef VHX_CONFIG_ADDRESS_H
#define VHX_CONFIG_ADDRESS_H

#include <sys/socket.h>

#include "util/base.h"
#include "util/error.h"
#include "util/unix_socket.h"

struct vhx_address {
	char path[VHX_UNIX_PATH_MAX];
};

/* 0, -EINVAL, -ENAMETOOLONG. The path is taken literally: commas in it are not special. */
int vhx_address_parse(const char *text, struct vhx_address *address, struct vhx_error *err);

/* `tcp:ADDRESS:PORT` with a numeric address, IPv6 in brackets. */
struct vhx_listen_address {
	struct sockaddr_storage sockaddr;
	socklen_t sockaddr_len;
};

/* 0, -EINVAL. No name is ever looked up. */
int vhx_listen_address_parse(const char *text, struct vhx_listen_address *address,
			     struct vhx_error *err);

/* Into @path, if it fits: 0, -EINVAL (empty), -ENAMETOOLONG. */
int vhx_socket_path_copy(char path[VHX_UNIX_PATH_MAX], const char *text, struct vhx_error *err);

#endif
