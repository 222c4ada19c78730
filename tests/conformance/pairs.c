// SPDX-License-Identifier: BSD-3-Clause
#include "pairs.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vhx/section.h>

#include "exchange/argo_model.h"
#include "exchange/ivshmem.h"
#include "exchange/local.h"
#include "exchange/loopback.h"
#include "kernel_port.h"

#define HANG_GUARD_MS 20000

bool port_sleep(struct vhx_port *p)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

	return poll(&pfd, 1, HANG_GUARD_MS) == 1;
}

static int local_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	int socks[2];
	int err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	err = vhx_local_open(socks[0], ring_len, &ends[0]);
	return err ? err : vhx_local_open(socks[1], ring_len, &ends[1]);
}

static int local_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = local_unmet(ring_len, ends);

	for (int i = 0; i < 2 && !err; i++)
		err = vhx_port_event(ends[i]);
	return err;
}

/* The smallest window whose rings have @ring_len bytes, or more if there is none so small. */
static uint32_t window_size(uint32_t ring_len)
{
	uint32_t size = VHX_WINDOW_SIZE_MIN;

	while (vhx_ivshmem_ring_len(size) < ring_len)
		size *= 2;
	return size;
}

typedef int guest_open(int sock, int window, uint32_t size, struct vhx_port **port);

static int ivshmem_guest(int sock, int window, uint32_t size, struct vhx_port **port)
{
	return vhx_ivshmem_open(sock, window, size, VHX_WINDOW_GUEST, port);
}

static int window_unmet(uint32_t ring_len, guest_open *guest, struct vhx_port *ends[2])
{
	uint32_t size = window_size(ring_len);
	int window = vhx_ivshmem_window_create(size);
	int socks[2];
	int err;

	if (window < 0)
		return window;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	err = vhx_ivshmem_open(socks[0], window, size, VHX_WINDOW_HOST, &ends[0]);
	if (!err)
		err = guest(socks[1], window, size, &ends[1]);
	close(window);
	return err;
}

/* Each looks at what the other did; the second to begin has answered already. */
static int window_meet(struct vhx_port *ends[2])
{
	int err = vhx_port_event(ends[0]);

	return err ? err : vhx_port_event(ends[1]);
}

static int ivshmem_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	return window_unmet(ring_len, ivshmem_guest, ends);
}

static int ivshmem_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = ivshmem_unmet(ring_len, ends);

	return err ? err : window_meet(ends);
}

/* The guest's side is that of the kernel, the other one ours. */
static int kernel_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	return window_unmet(ring_len, kernel_port_open, ends);
}

static int kernel_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = kernel_unmet(ring_len, ends);

	return err ? err : window_meet(ends);
}

/* Most tests look at what the first end sends. */
static int kernel_first_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	struct vhx_port *met[2];
	int err = kernel_pair(ring_len, met);

	ends[0] = met[1];
	ends[1] = met[0];
	return err;
}

static const struct provider providers[] = {
	{ "loop", vhx_loopback_pair, NULL },	     { "local", local_pair, local_unmet },
	{ "ivshmem", ivshmem_pair, ivshmem_unmet },  { "kernel", kernel_pair, kernel_unmet },
	{ "kernel-first", kernel_first_pair, NULL }, { "argo-model", vhx_argo_model_pair, vhx_argo_model_unmet },
};

const struct provider *provider_find(const char *name)
{
	for (size_t i = 0; i < VHX_ARRAY_SIZE(providers); i++) {
		if (!strcmp(providers[i].name, name))
			return &providers[i];
	}
	return NULL;
}
