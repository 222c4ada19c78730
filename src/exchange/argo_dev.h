/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An endpoint of Argo in this domain: at most one ring for what others send, and the means to send. Two things
 * are behind it: the character device of hmx_argo (argo_dev.c), and the model hypervisor (argo_model.c),
 * which lets all that stands on an endpoint run and be tested anywhere.
 *
 * An endpoint belongs to one thread. Results are 0 or positive, or the hypervisor's errno, negative.
 */
#ifndef VHX_EXCHANGE_ARGO_DEV_H
#define VHX_EXCHANGE_ARGO_DEV_H

#include <sys/uio.h>

#include "exchange/argo_ring.h"

struct vhx_argo_dev;

/* A ring of our own. @port: 0: any that is free. @partner: who may send to it, or ARGO_DOMID_ANY. */
struct vhx_argo_ring_id {
	uint32_t port;
	uint16_t partner;
	uint32_t len; /* of its data, a multiple of 16 */
};

struct vhx_argo_dev_ops {
	/*
	 * Registers a fresh ring, of the same @id as the one that was there before, if any. *@ring is valid until the
	 * next bind, and so is dev->port. Where it fails there is no ring.
	 */
	int (*bind)(struct vhx_argo_dev *dev, const struct vhx_argo_ring_id *id,
		    const struct argo_ring **ring);
	/* Gathers at most ARGO_IOVS_MAX pieces. From the port of our ring. 0, or what the hypervisor says. */
	int (*send)(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
		    const struct iovec *iov, unsigned int cnt);
	/*
	 * Stores @rx_ptr in our ring, with release, and after a full fence loads *@tx_ptr. Then those who were
	 * refused are woken (notify) if the ring may have held more than @above before: @rx_ptr less the last one,
	 * and what has come since. 1: that call was made; 0; negative.
	 */
	int (*consume)(struct vhx_argo_dev *dev, uint32_t rx_ptr, uint32_t above, uint32_t *tx_ptr);
	/* Has @dst a ring that we may send to? 1, 0, negative. It ends nobody's wait for room there. */
	int (*query)(struct vhx_argo_dev *dev, const struct argo_addr *dst);
	/* Is our ring still the one that was registered? 1, or 0: it went with its partner, and is to be bound again. */
	int (*check)(struct vhx_argo_dev *dev);
	/*
	 * Sent as send() does when the endpoint ends, in whatever way, in place of what was given before; @len at
	 * most HMX_ARGO_LAST_WORDS_MAX. NULL where nobody outlives the program to say them.
	 */
	int (*last_words)(struct vhx_argo_dev *dev, const struct argo_addr *dst, uint32_t type,
			  const void *words, uint32_t len);
	/* Takes the event away that made the descriptor readable; true if there was one. */
	bool (*event)(struct vhx_argo_dev *dev);
	/* Ends the ring and the endpoint. */
	void (*close)(struct vhx_argo_dev *dev);
};

struct vhx_argo_dev {
	const struct vhx_argo_dev_ops *ops;
	int fd; /* readable: something came, or room for what was refused */
	bool one_event; /* event() takes both away; else they stay, and the second is POLLOUT as well */
	uint16_t domid; /* ours */
	uint32_t port; /* of our ring */
};

static inline void vhx_argo_dev_close(struct vhx_argo_dev *dev)
{
	if (dev)
		dev->ops->close(dev);
}

#endif
