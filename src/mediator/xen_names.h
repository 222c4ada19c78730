/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which domain has a name or a UUID at the moment: in dom0, where Xen's toolstack keeps that in xenstore.
 */
#ifndef VHX_MEDIATOR_XEN_NAMES_H
#define VHX_MEDIATOR_XEN_NAMES_H

#include "config/argo_spec.h"
#include "loop/loop.h"

#define VHX_XEN_NAMES_MAX 64u

struct vhx_xen_names;

/* One to follow. */
struct vhx_xen_name {
	struct vhx_argo_spec spec; /* VHX_ARGO_SPEC_NAME or VHX_ARGO_SPEC_UUID */
	uint32_t index; /* what the caller knows it by */
};

struct vhx_xen_names_config {
	struct vhx_loop *loop;
	const struct vhx_xen_name *names; /* copied */
	uint32_t names_cnt; /* at most VHX_XEN_NAMES_MAX */
	/* From the loop: the one with that index is @domid now, ARGO_DOMID_ANY: nobody. Only when this changes. */
	void (*found)(void *ctx, uint32_t index, uint16_t domid);
	/* From the loop, once: nothing is followed any more. */
	void (*lost)(void *ctx);
	void *ctx;
};

/*
 * Begins to follow, by a process of its own. Before the confinement. 0; -ENOENT: Xen's library is not there;
 * -ECONNREFUSED: xenstore does not answer; ... with a text.
 */
int vhx_xen_names_open(const struct vhx_xen_names_config *cfg, struct vhx_xen_names **names,
		       struct vhx_error *err);
/* May be called on NULL. */
void vhx_xen_names_close(struct vhx_xen_names *names);

#endif
