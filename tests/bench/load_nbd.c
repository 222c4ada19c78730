// SPDX-License-Identifier: BSD-3-Clause
/* Engine "nbd": libnbd's asynchronous calls over a unix socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "load.h"

struct client;

struct user {
	struct client *client;
	struct load_io *io;
};

struct client {
	struct nbd_handle *nbd;
	/*
	 * libnbd holds its lock while it calls back: what ended is looked at afterwards. Submitting may end
	 * more, while the first are not removed yet: so there is room for two rounds.
	 */
	struct load_io *ended[2 * LOAD_DEPTH_MAX];
	int errors[2 * LOAD_DEPTH_MAX];
	unsigned int ended_cnt;
	struct user users[LOAD_DEPTH_MAX];
};

static int complain(void)
{
	fprintf(stderr, "vhx-load: %s\n", nbd_get_error());
	return nbd_get_errno() ? -nbd_get_errno() : -EIO;
}

static int ended(void *user, int *error)
{
	const struct user *u = user;
	struct client *c = u->client;

	c->errors[c->ended_cnt] = *error ? -*error : 0;
	c->ended[c->ended_cnt++] = u->io;
	return 1; /* retire it */
}

static void submit(struct load *l, struct load_io *io)
{
	struct client *c = l->client;
	nbd_completion_callback cb = { .callback = ended, .user_data = &c->users[io->index] };
	int64_t cookie;

	c->users[io->index] = (struct user){ c, io };
	if (io->write)
		cookie = nbd_aio_pwrite(c->nbd, io->data, io->len, io->off, cb, 0);
	else
		cookie = nbd_aio_pread(c->nbd, io->data, io->len, io->off, cb, 0);
	if (cookie < 0) {
		l->error = complain();
		l->busy--;
	}
}

static int engine_open(struct load *l)
{
	struct client *c = calloc(1, sizeof(*c));
	int64_t size;

	if (!c)
		return -ENOMEM;
	l->client = c;
	c->nbd = nbd_create();
	if (!c->nbd || nbd_connect_unix(c->nbd, l->settings->target) < 0)
		return complain();
	size = nbd_get_size(c->nbd);
	if (size < 0)
		return complain();
	l->capacity = (uint64_t)size;
	return 0;
}

static int engine_run(struct load *l)
{
	struct client *c = l->client;
	unsigned int i, cnt;

	while (load_busy(l)) {
		if (!c->ended_cnt && nbd_poll(c->nbd, -1) < 0)
			return complain();
		cnt = c->ended_cnt;
		for (i = 0; i < cnt; i++) {
			if (load_done(l, c->ended[i], c->errors[i]))
				submit(l, c->ended[i]);
		}
		memmove(c->ended, c->ended + cnt, (c->ended_cnt - cnt) * sizeof(*c->ended));
		memmove(c->errors, c->errors + cnt, (c->ended_cnt - cnt) * sizeof(*c->errors));
		c->ended_cnt -= cnt;
	}
	return 0;
}

static void engine_counters(struct load *l, struct load_counters *out)
{
	*out = (struct load_counters){ 0 };
}

static void engine_close(struct load *l)
{
	struct client *c = l->client;

	if (c && c->nbd)
		nbd_close(c->nbd);
	free(c);
}

const struct load_engine load_nbd = {
	.name = "nbd",
	.open = engine_open,
	.memory = load_memory,
	.submit = submit,
	.run = engine_run,
	.counters = engine_counters,
	.close = engine_close,
};
