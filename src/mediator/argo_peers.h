/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The domains that a backend serves by Argo, each with a channel of its own: named by number, found by
 * name, or come by themselves.
 */
#ifndef VHX_MEDIATOR_ARGO_PEERS_H
#define VHX_MEDIATOR_ARGO_PEERS_H

#include "config/argo_spec.h"
#include "exchange/argo.h"
#include "loop/loop.h"
#include "util/log.h"

/* As many as a backend has channels; a domain has at most 128 rings. */
#define VHX_ARGO_PEERS_MAX 64u
/* Between two lives with one peer: so often one that comes and goes, or was refused, can make us begin anew. */
#define VHX_ARGO_PEERS_PAUSE_NS 100000000ull

struct vhx_argo_peers;

struct vhx_argo_peers_config {
	struct vhx_loop *loop;
	const struct vhx_log *log;
	uint32_t ring_len;
	/* A new endpoint, the callee's. 0 or negative. */
	int (*endpoint)(void *ctx, struct vhx_argo_dev **dev);
	/* Takes the port over; called from the loop, or from add(). */
	void (*met)(void *ctx, struct vhx_port *port);
	void *ctx;
};

/* 0 or -ENOMEM. */
int vhx_argo_peers_new(const struct vhx_argo_peers_config *cfg, struct vhx_argo_peers **peers);
/* All ports that were handed over are closed. May be called on NULL. */
void vhx_argo_peers_free(struct vhx_argo_peers *p);

/*
 * One more, of any kind. @index, unless NULL: of one whose domain is not known, for vhx_argo_peers_found(). 0;
 * -EEXIST: it is there; -ENOSPC; what an endpoint or a ring says for which no patience helps. With a text.
 */
int vhx_argo_peers_add(struct vhx_argo_peers *p, const struct vhx_argo_spec *spec, uint32_t *index,
		       struct vhx_error *err);
/* One that was named by number; its channel ends. -ENOENT with a text. */
int vhx_argo_peers_remove(struct vhx_argo_peers *p, uint16_t domid, struct vhx_error *err);
/* The one at @index is @domid now, ARGO_DOMID_ANY: nobody. */
void vhx_argo_peers_found(struct vhx_argo_peers *p, uint32_t index, uint16_t domid);

uint32_t vhx_argo_peers_count(const struct vhx_argo_peers *p);

#endif
