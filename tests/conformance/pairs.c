// SPDX-License-Identifier: BSD-3-Clause
#include "pairs.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vhx/section.h>

#include "argo_end.h"
#include "exchange/argo_model.h"
#include "exchange/ivshmem.h"
#include "exchange/local.h"
#include "exchange/loopback.h"
#include "far_port.h"
#include "kernel_port.h"

bool port_sleep(struct vhx_port *p)
{
	return far_port_is(p) ? far_port_sleep(p) : argo_end_sleep(p);
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

/* ---- Argo. Who serves is the first of each pair; of the domain with itself, or with one that has an agent ---- */

static int argo_own_open(bool kernel, bool backend, uint32_t ring_len, struct vhx_port **port)
{
	struct argo_end end = { .kernel = kernel, .backend = backend, .ring_len = ring_len };
	int err = argo_self(&end.partner);

	return err ? err : argo_end_open(&end, port);
}

static int argo_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_own_open(false, true, ring_len, &ends[0]);

	return err ? err : argo_own_open(false, false, ring_len, &ends[1]);
}

static int argo_kernel_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_own_open(false, true, ring_len, &ends[0]);

	return err ? err : argo_own_open(true, false, ring_len, &ends[1]);
}

static int argo_kernels_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_own_open(true, true, ring_len, &ends[0]);

	return err ? err : argo_own_open(true, false, ring_len, &ends[1]);
}

/* Each takes its events until both have met. */
static int argo_meet(struct vhx_port *ends[2])
{
	int err = 0;

	for (int i = 0; !err && !(vhx_port_ready(ends[0]) && vhx_port_ready(ends[1])); i++) {
		if (!vhx_port_ready(ends[i % 2]) || vhx_port_prepare_wait(ends[i % 2]))
			err = vhx_port_event(ends[i % 2]);
	}
	return err;
}

static int argo_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_unmet(ring_len, ends);

	return err ? err : argo_meet(ends);
}

static int argo_kernel_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_kernel_unmet(ring_len, ends);

	return err ? err : argo_meet(ends);
}

static int argo_kernel_first_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	struct vhx_port *met[2];
	int err = argo_kernel_pair(ring_len, met);

	ends[0] = met[1];
	ends[1] = met[0];
	return err;
}

static int argo_kernels_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_kernels_unmet(ring_len, ends);

	return err ? err : argo_meet(ends);
}

/* The other domain has the frontend, a program's or the kernel's. */
static int far_unmet(bool kernel, uint32_t ring_len, struct vhx_port *ends[2])
{
	struct argo_end end = { .backend = true, .ring_len = ring_len };
	int err = far_domain(&end.partner);

	if (!err)
		err = argo_end_open(&end, &ends[0]);
	return err ? err : far_port_open(kernel, ring_len, &ends[1]);
}

static int argo_far_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	return far_unmet(false, ring_len, ends);
}

static int argo_far_kernel_unmet(uint32_t ring_len, struct vhx_port *ends[2])
{
	return far_unmet(true, ring_len, ends);
}

static int argo_far_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_far_unmet(ring_len, ends);

	return err ? err : argo_meet(ends);
}

static int argo_far_kernel_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	int err = argo_far_kernel_unmet(ring_len, ends);

	return err ? err : argo_meet(ends);
}

static int far_first_pair(bool kernel, uint32_t ring_len, struct vhx_port *ends[2])
{
	struct vhx_port *met[2];
	int err = far_unmet(kernel, ring_len, met);

	if (!err)
		err = argo_meet(met);
	ends[0] = met[1];
	ends[1] = met[0];
	return err;
}

static int argo_far_first_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	return far_first_pair(false, ring_len, ends);
}

static int argo_far_kernel_first_pair(uint32_t ring_len, struct vhx_port *ends[2])
{
	return far_first_pair(true, ring_len, ends);
}

static const struct provider providers[] = {
	{ "loop", vhx_loopback_pair, NULL },
	{ "local", local_pair, local_unmet },
	{ "ivshmem", ivshmem_pair, ivshmem_unmet },
	{ "kernel", kernel_pair, kernel_unmet },
	{ "kernel-first", kernel_first_pair, NULL },
	{ "argo-model", vhx_argo_model_pair, vhx_argo_model_unmet },
	{ "argo", argo_pair, argo_unmet },
	{ "argo-kernel", argo_kernel_pair, argo_kernel_unmet },
	{ "argo-kernel-first", argo_kernel_first_pair, NULL },
	{ "argo-kernels", argo_kernels_pair, argo_kernels_unmet },
	{ "argo-far", argo_far_pair, argo_far_unmet },
	{ "argo-far-first", argo_far_first_pair, NULL },
	{ "argo-far-kernel", argo_far_kernel_pair, argo_far_kernel_unmet },
	{ "argo-far-kernel-first", argo_far_kernel_first_pair, NULL },
};

const struct provider *provider_find(const char *name)
{
	for (size_t i = 0; i < VHX_ARRAY_SIZE(providers); i++) {
		if (!strcmp(providers[i].name, name))
			return &providers[i];
	}
	return NULL;
}
