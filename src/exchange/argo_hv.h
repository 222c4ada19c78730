/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of what Xen does for Argo: domains, their rings, the four operations and one event per domain.
 * Only for `argo-model` and its tests.
 *
 * Layouts, check order and error numbers are those of the hypervisor's public interface. Three things differ
 * because there are no guests here: an address is a pointer of this process and only NULL faults; a ring is
 * handed over as one contiguous block of page_cnt pages in place of an array of frame numbers; and the
 * event is an eventfd.
 *
 * Thread-safe. The operations of one domain may be called by any thread.
 */
#ifndef VHX_EXCHANGE_ARGO_HV_H
#define VHX_EXCHANGE_ARGO_HV_H

#include <vhx/argo.h>

#include "util/base.h"

#define VHX_ARGO_RING_LEN_MAX 0x1000000u /* also the bound of 4096 pages, header included */
#define VHX_ARGO_MESSAGE_MAX (VHX_ARGO_RING_LEN_MAX - 32u)
#define VHX_ARGO_WAITERS_MAX 32u /* per ring */
#define VHX_ARGO_DOMAINS_MAX 64u /* of this model; more than the waiters that a ring takes */
#define VHX_ARGO_LISTENERS_MAX 64u /* further events of a domain */

/* As struct argo_iov, with a pointer of this process. */
struct vhx_argo_iov {
	const void *base;
	uint32_t len;
	uint32_t pad;
};

struct vhx_argo_ring_data {
	uint32_t nent;
	uint32_t pad;
	struct argo_ring_data_ent *data; /* the entries follow the header in the real interface */
};

/* How the host was started. */
struct vhx_argo_hv_config {
	bool enabled; /* argo=1 */
	bool mac_permissive; /* wildcard rings allowed */
	/* The access control hook for (sender, receiver), NULL: all is allowed. 0 or -errno. */
	int (*may_send)(uint16_t src, uint16_t dst);
	/* The same for a ring of (owner, partner). */
	int (*may_register)(uint16_t owner, uint16_t partner);
};

struct vhx_argo_hv;

/* A host without domains, one reference to it held. NULL: no memory. */
struct vhx_argo_hv *vhx_argo_hv_new(const struct vhx_argo_hv_config *config);
struct vhx_argo_hv *vhx_argo_hv_ref(struct vhx_argo_hv *hv);
/* The last one frees it, and the domains that are left. May be NULL. */
void vhx_argo_hv_unref(struct vhx_argo_hv *hv);

/*
 * @uses_argo: it has Argo state. *@event_fd, unless NULL, becomes readable at VIRQ_ARGO; it is the domain's and
 * valid until its destruction. 0, -EEXIST, -ENOSPC, -EMFILE.
 */
int vhx_argo_domain_create(struct vhx_argo_hv *hv, uint16_t domid, bool uses_argo, int *event_fd);

/*
 * A further descriptor, the caller's, that becomes readable with each event of an existing domain: what a kernel does
 * for the programs that it tells. It, or -EMFILE, -ENOSPC.
 */
int vhx_argo_domain_listen(struct vhx_argo_hv *hv, uint16_t domid);
/* No more: closes @fd, whether or not the domain still exists. */
void vhx_argo_domain_unlisten(struct vhx_argo_hv *hv, uint16_t domid, int fd);

/* Ends the domain, its rings, its waits, and without a word the rings that others hold for it. */
void vhx_argo_domain_destroy(struct vhx_argo_hv *hv, uint16_t domid);

/*
 * One hypercall by @caller, an existing domain. A failed SENDV is zero-extended from 32 bits, as on the
 * real one: convert the result to int32_t before looking at it. @arg3 is a count, @arg4 flags or the type.
 */
int64_t vhx_argo_op(struct vhx_argo_hv *hv, uint16_t caller, unsigned int cmd, void *arg1,
		    void *arg2, uint64_t arg3, uint64_t arg4);

#endif
