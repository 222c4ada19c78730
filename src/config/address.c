// SPDX-License-Identifier: BSD-3-Clause
#include "config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "config/number.h"

#define UNIX_PREFIX "unix:"
#define TCP_PREFIX "tcp:"

int vhx_socket_path_copy(char path[VHX_UNIX_PATH_MAX], const char *text, struct vhx_error *err)
{
	size_t len = strlen(text);

	if (!len) {
		vhx_error_set(err, "the path of the socket is missing");
		return -EINVAL;
	}
	if (len >= VHX_UNIX_PATH_MAX) {
		vhx_error_set(err, "the path of a socket is at most %zu bytes long, not %zu",
			      VHX_UNIX_PATH_MAX - 1, len);
		return -ENAMETOOLONG;
	}
	memcpy(path, text, len + 1);
	return 0;
}

int vhx_address_parse(const char *text, struct vhx_address *address, struct vhx_error *err)
{
	const char *path = text + strlen(UNIX_PREFIX);

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX))) {
		vhx_error_set(err, "'%s' is not an address; it looks like unix:PATH", text);
		return -EINVAL;
	}
	if (!*path) {
		vhx_error_set(err, "'%s' lacks the path", text);
		return -EINVAL;
	}
	return vhx_socket_path_copy(address->path, path, err);
}

/* Host and port of "HOST:PORT" or "[HOST]:PORT", whose host goes into @host. */
static int tcp_split(const char *text, char host[INET6_ADDRSTRLEN], bool *v6, const char **port)
{
	const char *end, *begin = text;

	*v6 = text[0] == '[';
	begin += *v6;
	end = *v6 ? strchr(begin, ']') : strrchr(begin, ':');
	if (!end || (size_t)(end - begin) >= INET6_ADDRSTRLEN || end[*v6] != ':')
		return -EINVAL;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	*port = end + *v6 + 1;
	return 0;
}

static int tcp_parse(const char *text, struct vhx_listen_address *a)
{
	static const struct vhx_number_bounds ports = { 1, UINT16_MAX, false };
	struct sockaddr_in6 *in6 = (void *)&a->sockaddr;
	struct sockaddr_in *in = (void *)&a->sockaddr;
	char host[INET6_ADDRSTRLEN];
	const char *port_text;
	struct vhx_error ignored;
	uint64_t port;
	bool v6;
	int ret = tcp_split(text, host, &v6, &port_text);

	if (!ret)
		ret = vhx_number_parse(port_text, &ports, &port, &ignored);
	if (ret)
		return ret;
	if (v6) {
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					      .sin6_port = htons((uint16_t)port) };
		a->sockaddr_len = sizeof(*in6);
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
	}
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	a->sockaddr_len = sizeof(*in);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : -EINVAL;
}

int vhx_listen_address_parse(const char *text, struct vhx_listen_address *address,
			     struct vhx_error *err)
{
	*address = (struct vhx_listen_address){ 0 };
	if (!strncmp(text, TCP_PREFIX, strlen(TCP_PREFIX)) &&
	    !tcp_parse(text + strlen(TCP_PREFIX), address))
		return 0;
	vhx_error_set(err, "'%s' is not unix:PATH or tcp:ADDRESS:PORT with a numeric address",
		      text);
	return -EINVAL;
}
