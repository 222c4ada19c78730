/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvhx over src/frontend; its other side, over src/backend, is server.c alone. Private to src/embed; the API is
 * include/vhx.
 */
#ifndef VHX_EMBED_EMBED_H
#define VHX_EMBED_EMBED_H

#include "vhx/vhx.h"

#include "frontend/frontend.h"
#include "core/vdev.h"
#include "util/unix_socket.h"

struct vhx_conn {
	struct vhx_loop *loop; /* NULL: not connecting yet */
	struct vhx_frontend *frontend;
	struct vhx_loop_hook hook;
	struct vhx_log log;
	vhx_log_fn *log_fn;
	void *log_ctx;
	uint32_t ring_size;
	uint64_t poll_ns;
	char path[VHX_UNIX_PATH_MAX];
	int fd; /* inherited and not used yet, or -1 */
	bool inherited;
	bool connected_once;
	bool inside; /* a callback is being made */
	bool waiting; /* in vhx_conn_wait(): completions to be polled end it */
	struct vhx_dev *devices[VHX_FRONTEND_DEVICES_MAX];
	unsigned int device_cnt;
};

struct vhx_dev {
	struct vhx_conn *conn;
	struct vhx_fdev *fdev;
	vhx_event_fn *events;
	void *ctx;
	int unusable; /* 0, or why */
	bool resetting;
	bool writing_config;
	unsigned int stopping;
	bool features_set;
	unsigned int queue_cnt; /* started */
	struct vhx_vq *queues[VHX_VDEV_QUEUES_MAX];
};

/* settings.c: 0 and the value, or -EINVAL, -ENAMETOOLONG. */
int vhx_embed_ring_size(size_t bytes, uint32_t *ring_size);
int vhx_embed_poll(unsigned int usec, uint64_t *poll_ns);
int vhx_embed_address(const char *address, char path[VHX_UNIX_PATH_MAX]);

/* dev.c */
void vhx_edev_event(struct vhx_dev *dev, enum vhx_event event);
void vhx_edev_free(struct vhx_dev *dev);

/* vq.c */
/* Completions wait for vhx_vq_poll(). */
bool vhx_evq_ripe(const struct vhx_vq *vq);
/* Ends every request with -ECANCELED and frees the queue; the frontend knows it no more. */
void vhx_evq_cancel(struct vhx_vq *vq);
/* The frontend has stopped it. */
void vhx_evq_stopped(struct vhx_vq *vq);
void vhx_evq_free(struct vhx_vq *vq);

#endif
