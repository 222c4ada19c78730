/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offers: the first packet on a socket of type SOCK_SEQPACKET, by which one side hands the other a piece of
 * memory. 32 bytes and one file descriptor. What kind of memory, the magic says (docs/wire.md, 13 and 14).
 */
#ifndef VHX_EXCHANGE_OFFER_H
#define VHX_EXCHANGE_OFFER_H

#include "exchange/exchange.h"

#define VHX_OFFER_SECTION 0x4f584856u /* "VHXO": a section, of so many bytes in its ring */
#define VHX_OFFER_WINDOW 0x57584856u /* "VHXW": a window of so many bytes */
#define VHX_OFFER_VERSION 1u

/* @sock: connected, SOCK_SEQPACKET, else -EINVAL. Fills @peer with who made the connection. */
int vhx_offer_identify(int sock, struct vhx_peer *peer);

/* Never waits. 0, -EPIPE, -EAGAIN, ... @fd stays the caller's. */
int vhx_offer_send(int sock, uint32_t magic, uint32_t size, int fd);

/*
 * What the first packet offers, without taking it. 0 and *@magic; -EAGAIN if there is none yet; -EPIPE at the
 * end of file; -EPROTO if it cannot be an offer.
 */
int vhx_offer_peek(int sock, uint32_t *magic);

/*
 * Takes one packet that has to be an offer of kind @magic. 0, *@size as it was sent, and *@fd, the caller's;
 * or as above. Surplus descriptors are closed.
 */
int vhx_offer_receive(int sock, uint32_t magic, uint32_t *size, int *fd);

/* Is @fd a regular file of exactly @size bytes on tmpfs, sealed with @seals and (F_SEAL_EXEC apart) no others? */
bool vhx_offer_file_sealed(int fd, uint64_t size, int seals);

#endif
