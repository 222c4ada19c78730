// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * What a device is, only its backend can say, and no backend is heard before the frontend is confined. But then it
 * has no capabilities (CAP_NET_ADMIN for a network device) and can open nothing, and a VDUSE device is a file that
 * appears when it is made. So the keeper does that:
 *
 *   frontend --CREATE: which name, what shape--> keeper --ioctl, open--> kernel
 *            <--answer, fd----------------------
 *
 * A frontend that was taken over can have devices of its own names made and removed, of any shape that the kernel
 * takes, and nothing else; the answer is waited for, since the keeper is its own and was never spoken to by a peer.
 * When the socket ends, by will or by death, the keeper removes the devices that it made, unless a driver is bound
 * to them.
 */
#include "mediator/vduse_keeper.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum request_kind {
	REQUEST_CREATE,
	REQUEST_DESTROY,
};

struct request {
	uint32_t kind;
	uint32_t index;
	struct vhx_vduse_shape shape;
};

struct answer {
	int32_t result;
	struct vhx_error err;
};

/* In the keeper. */
struct process {
	const struct vhx_vduse_keeper_config *cfg;
	int sock;
	int control;
	bool made[VHX_VDUSE_KEEPER_MAX];
};

static const char *create_fault(int ret)
{
	switch (ret) {
	case -EBUSY:
		return "it exists already, and is bound or in use (vdpa dev del)";
	case -EINVAL:
		return "the kernel takes no such device as VDUSE";
	case -EPERM:
		return "needs CAP_NET_ADMIN";
	default:
		return strerror(-ret);
	}
}

static void create(struct process *p, const struct request *req, struct answer *answer, int *fd)
{
	struct vhx_vduse_shape shape = req->shape;
	const char *name = p->cfg->names[req->index];

	memcpy(shape.name, name, sizeof(shape.name));
	answer->result = shape.config_len <= sizeof(shape.config)
				 ? vhx_vduse_create(p->control, &shape)
				 : -EINVAL;
	if (answer->result) {
		vhx_error_set(&answer->err, VHX_VDUSE_CONTROL ": %s: %s", name,
			      create_fault(answer->result));
		return;
	}
	p->made[req->index] = true;
	*fd = vhx_vduse_open(name);
	if (*fd >= 0)
		return;
	answer->result = *fd;
	vhx_error_set(&answer->err, "/dev/vduse/%s: %s", name, strerror(-*fd));
}

static void destroy(struct process *p, const struct request *req, struct answer *answer, int *fd)
{
	answer->result = vhx_vduse_destroy(p->control, p->cfg->names[req->index]);
	if (!answer->result)
		p->made[req->index] = false;
}

static void (*const requests[])(struct process *p, const struct request *req, struct answer *answer,
				int *fd) = {
	[REQUEST_CREATE] = create,
	[REQUEST_DESTROY] = destroy,
};

static void process_run(struct process *p)
{
	static struct request req; /* large */

	for (;;) {
		struct answer answer = { 0 };
		ssize_t n = recv(p->sock, &req, sizeof(req), 0);
		int fd = -1;

		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(req) || req.kind >= VHX_ARRAY_SIZE(requests) ||
		    req.index >= p->cfg->names_cnt)
			return;
		requests[req.kind](p, &req, &answer, &fd);
		vhx_attendant_answer(p->sock, &answer, sizeof(answer), fd);
		if (fd >= 0)
			close(fd);
	}
}

static void process_main(int sock, const void *cfg)
{
	struct process p = { .cfg = cfg, .sock = sock, .control = vhx_vduse_control_open() };
	unsigned int i;

	process_run(&p);
	for (i = 0; i < p.cfg->names_cnt; i++) {
		if (p.made[i])
			vhx_vduse_destroy(p.control, p.cfg->names[i]);
	}
}

/* In the program. */

/* The keeper opens it for itself; that it can is better told now. */
static int control_check(struct vhx_error *err)
{
	int fd = vhx_vduse_control_open();

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	vhx_error_set(err, VHX_VDUSE_CONTROL ": %s%s", strerror(-fd),
		      fd == -ENOENT ? " (is vduse loaded?)" : "");
	return fd;
}

int vhx_vduse_keeper_open(const struct vhx_vduse_keeper_config *cfg, struct vhx_vduse_keeper *k,
			  struct vhx_error *err)
{
	int ret = control_check(err);

	if (ret)
		return ret;
	ret = vhx_attendant_open(&k->attendant, process_main, cfg);
	if (ret)
		vhx_error_set(err, "--vduse: %s", strerror(-ret));
	return ret;
}

/* The answer's result; -EPIPE when there is none. */
static int ask(const struct vhx_vduse_keeper *k, const struct request *req, struct answer *answer,
	       int *fd)
{
	int ret = vhx_attendant_ask(&k->attendant, req, sizeof(*req), answer, sizeof(*answer), fd);

	return ret ?: answer->result;
}

int vhx_vduse_keeper_create(const struct vhx_vduse_keeper *k, unsigned int index,
			    const struct vhx_vduse_shape *shape, int *fd, struct vhx_error *err)
{
	struct request req = { .kind = REQUEST_CREATE, .index = index, .shape = *shape };
	struct answer answer;
	int ret = ask(k, &req, &answer, fd);

	if (ret == -EPIPE)
		vhx_error_set(err, "the process that makes VDUSE devices is gone");
	else if (ret)
		*err = answer.err;
	else if (*fd < 0)
		/* It was sent; the limit of open files did not let it in. */
		vhx_error_set(err, "%s", strerror(EMFILE));
	return ret ?: *fd < 0 ? -EMFILE : 0;
}

int vhx_vduse_keeper_destroy(const struct vhx_vduse_keeper *k, unsigned int index)
{
	struct request req = { .kind = REQUEST_DESTROY, .index = index };
	struct answer answer;
	int fd;

	return ask(k, &req, &answer, &fd);
}

void vhx_vduse_keeper_close(struct vhx_vduse_keeper *k)
{
	vhx_attendant_close(&k->attendant);
}
