/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's side of a window as the running kernel has it (drivers/linux/window.c), made a port of this
 * process by /dev/hmx_test: so the tests of the exchange can be held against it. Every call is one into the
 * kernel's port; what the kernel rings comes out of the socket, as events of provider `ivshmem` do.
 */
#ifndef VHX_TESTS_CONFORMANCE_KERNEL_PORT_H
#define VHX_TESTS_CONFORMANCE_KERNEL_PORT_H

#include "exchange/exchange.h"

/* As vhx_ivshmem_open() for side VHX_WINDOW_GUEST. -ENOENT: the kernel has no such device; -ENODEV: no window. */
int kernel_port_open(int sock, int window, uint32_t size, struct vhx_port **port);

/* A port of the kernel's provider `argo`, through the lab's module hmx_argo_test. */
int kernel_argo_open(uint16_t partner, bool backend, uint32_t ring_len, struct vhx_port **port);

#endif
