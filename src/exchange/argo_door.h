/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A door for whoever comes: a ring that every domain may send to, where mac-permissive allows it. A frontend that
 * nobody has named knocks at it by its MEET; of that nothing but the domain counts, which the hypervisor vouches
 * for (docs/wire.md, section 15).
 */
#ifndef VHX_EXCHANGE_ARGO_DOOR_H
#define VHX_EXCHANGE_ARGO_DOOR_H

#include "exchange/argo_dev.h"

struct vhx_argo_door {
	struct vhx_argo_dev *dev; /* dev->fd: readable when somebody knocks */
	struct vhx_argo_reader reader;
	bool more; /* vhx_argo_door_next() ended early: call it again, there is no event for the rest */
};

/*
 * Takes @dev over, also when it fails. 0; -EPERM: the hypervisor allows no such rings; -EOPNOTSUPP, -ENOSYS, ...
 */
int vhx_argo_door_open(struct vhx_argo_door *door, struct vhx_argo_dev *dev);
void vhx_argo_door_close(struct vhx_argo_door *door);

/*
 * To be called until it returns 0, when the descriptor is readable. 1: the domain *@domid knocks, whether or not it
 * did before; 0: nobody, or others than frontends for so long that it is the loop's turn; -EPROTO.
 */
int vhx_argo_door_next(struct vhx_argo_door *door, uint16_t *domid);

#endif
