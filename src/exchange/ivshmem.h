/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Provider `ivshmem`: both sections in one window that a guest and its backend share, and events that say
 * nothing but "look". On this machine an event is a packet on a SOCK_SEQPACKET unix socket; who owns the
 * window turns it into the doorbells of a virtual machine (docs/wire.md, 14).
 */
#ifndef VHX_EXCHANGE_IVSHMEM_H
#define VHX_EXCHANGE_IVSHMEM_H

#include "exchange/exchange.h"

/* A power of two within VHX_WINDOW_SIZE_MIN and VHX_WINDOW_SIZE_MAX. */
bool vhx_ivshmem_size_valid(uint32_t size);

/* The data area of either section in a valid window. */
uint32_t vhx_ivshmem_ring_len(uint32_t size);

/*
 * A new window: a memfd of @size bytes, all of it allocated, sealed against a change of its size and against
 * more seals, with the constant words of the host's header. The descriptor, or -EINVAL, -ENOMEM, -ENOSPC, -EMFILE, ...
 */
int vhx_ivshmem_window_create(uint32_t size);

/*
 * Allocates again what somebody who had the window has punched out of it: with a hole nobody takes it. 0, -ENOMEM,
 * -ENOSPC, -EINTR, ...
 */
int vhx_ivshmem_window_refill(int window, uint32_t size);

/* The first packet on a connection to a backend. 0, -EPIPE, -EAGAIN, ... @window stays the caller's. */
int vhx_ivshmem_window_offer(int sock, int window, uint32_t size);

/*
 * Begins a life of side @side (VHX_WINDOW_HOST, VHX_WINDOW_GUEST) in @window. Takes ownership of @sock
 * (connected, SOCK_SEQPACKET), also when it fails; @window stays the caller's. One life of a side at a time.
 * The port is OPENING until the peer begins a life of its own, for ever if need be.
 * 0 and *@port; -EPROTO: @window is not a file that a window has to be, or for the guest: no host has laid
 * out what is in it; -EINVAL, -ENOMEM, -EPIPE (nobody is behind the socket), ...
 */
int vhx_ivshmem_open(int sock, int window, uint32_t size, uint32_t side, struct vhx_port **port);

/* The backend's end: takes the offer that waits on @sock, else -EPROTO, and begins a life as host. */
int vhx_ivshmem_accept(int sock, struct vhx_port **port);

#endif
