// SPDX-License-Identifier: BSD-3-Clause
/* What connections and servers are told in the same words. */
#include "embed/embed.h"

#include <string.h>

#include "exchange/local.h"

/* A second of spinning is more than anybody can want. */
#define POLL_US_MAX 1000000u
#define NS_PER_US 1000ull

static const char unix_prefix[] = "unix:";

int vhx_embed_ring_size(size_t bytes, uint32_t *ring_size)
{
	if (!vhx_is_power_of_2(bytes) || bytes < VHX_LOCAL_RING_MIN || bytes > VHX_LOCAL_RING_MAX)
		return -EINVAL;
	*ring_size = (uint32_t)bytes;
	return 0;
}

int vhx_embed_poll(unsigned int usec, uint64_t *poll_ns)
{
	if (usec > POLL_US_MAX)
		return -EINVAL;
	*poll_ns = usec * NS_PER_US;
	return 0;
}

int vhx_embed_address(const char *address, char path[VHX_UNIX_PATH_MAX])
{
	const size_t prefix_len = sizeof(unix_prefix) - 1;
	size_t path_len;

	if (strncmp(address, unix_prefix, prefix_len) || !address[prefix_len])
		return -EINVAL;
	path_len = strlen(address + prefix_len);
	if (path_len >= VHX_UNIX_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, address + prefix_len, path_len + 1);
	return 0;
}
