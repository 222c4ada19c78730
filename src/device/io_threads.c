// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The thread engine: a fixed number of workers that make the plain system calls.
 *
 *   gathered (loop's thread only) --submit--> todo --worker--> finished --reap--> done callback
 *
 * An operation is on exactly one of the three lists, or in the hands of one worker. The lock guards todo,
 * finished and ending; finished_cnt is written under it and read without, as a hint for a
 * spinning loop. A worker writes to the eventfd when it makes the finished list non-empty; the
 * loop takes the whole list at once, so one write is enough for all.
 *
 * The workers start with the first work, not with the engine: a program gives up its rights in between
 * (confine/confine.c), a thread at a time, and threads that ran already would keep theirs. Where none can be had
 * by then, the loop's thread makes the calls itself: slower, and still right.
 */
#include "device/io_engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/barrier.h"

/* Enough to keep a disk busy; more would only stand in the queue of the file's lock. */
#define IO_THREADS 4

/* A worker makes one system call deep; the rest is for sanitizers and the C library. */
#define IO_STACK_LEN (256u * 1024)

struct threads {
	struct vhx_io io;
	int event_fd;
	struct vhx_list gathered;
	pthread_mutex_t lock;
	pthread_cond_t work; /* todo or ending: to workers */
	pthread_cond_t some_finished; /* to wait() */
	struct vhx_list todo;
	struct vhx_list finished;
	unsigned int finished_cnt;
	bool ending;
	bool alone; /* no worker could be started */
	unsigned int started;
	pthread_t workers[IO_THREADS];
};

static struct threads *threads_of(const struct vhx_io *io)
{
	return vhx_container_of(io, struct threads, io);
}

static ssize_t do_readv(const struct vhx_io_op *op)
{
	return preadv2(op->fd, op->iov, (int)op->iov_cnt, (off_t)op->off, op->flags);
}

static ssize_t do_writev(const struct vhx_io_op *op)
{
	return pwritev2(op->fd, op->iov, (int)op->iov_cnt, (off_t)op->off, op->flags);
}

static ssize_t do_fdatasync(const struct vhx_io_op *op)
{
	return fdatasync(op->fd);
}

static ssize_t do_fallocate(const struct vhx_io_op *op)
{
	return fallocate(op->fd, op->flags, (off_t)op->off, (off_t)op->len);
}

static ssize_t (*const calls[VHX_IO_CODE_CNT_])(const struct vhx_io_op *op) = {
	[VHX_IO_READV] = do_readv,
	[VHX_IO_WRITEV] = do_writev,
	[VHX_IO_FDATASYNC] = do_fdatasync,
	[VHX_IO_FALLOCATE] = do_fallocate,
};

static int op_call(const struct vhx_io_op *op)
{
	ssize_t n;

	do {
		n = calls[op->code](op);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* Called with the lock held. */
static void finished_add(struct threads *t, struct vhx_io_op *op)
{
	const uint64_t one = 1;
	ssize_t n;

	if (vhx_list_empty(&t->finished)) {
		n = write(t->event_fd, &one, sizeof(one));
		(void)n;
	}
	vhx_list_add_tail(&t->finished, &op->node);
	vhx_store_relaxed(&t->finished_cnt, t->finished_cnt + 1);
	pthread_cond_signal(&t->some_finished);
}

static void *worker_main(void *arg)
{
	struct threads *t = arg;
	struct vhx_io_op *op;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		while (!t->ending && vhx_list_empty(&t->todo))
			pthread_cond_wait(&t->work, &t->lock);
		if (vhx_list_empty(&t->todo))
			break;
		op = vhx_list_first_entry(&t->todo, struct vhx_io_op, node);
		vhx_list_del(&op->node);
		pthread_mutex_unlock(&t->lock);
		op->res = op_call(op);
		pthread_mutex_lock(&t->lock);
		finished_add(t, op);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_queue(struct vhx_io *io, struct vhx_io_op *op)
{
	vhx_list_init(&op->node);
	vhx_list_add_tail(&threads_of(io)->gathered, &op->node);
}

/* Signals are the loop's: workers start with all of them blocked. One worker is enough to go on. */
static int workers_start(struct threads *t)
{
	pthread_attr_t attr;
	sigset_t all, saved;
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	(void)pthread_attr_setstacksize(&attr, IO_STACK_LEN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	while (!ret && t->started < IO_THREADS) {
		ret = pthread_create(&t->workers[t->started], &attr, worker_main, t);
		t->started += !ret;
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	pthread_attr_destroy(&attr);
	return t->started ? 0 : -ret;
}

static void work_alone(struct threads *t)
{
	struct vhx_io_op *op;

	while (!vhx_list_empty(&t->gathered)) {
		op = vhx_list_first_entry(&t->gathered, struct vhx_io_op, node);
		vhx_list_del(&op->node);
		op->res = op_call(op);
		pthread_mutex_lock(&t->lock);
		finished_add(t, op);
		pthread_mutex_unlock(&t->lock);
	}
}

static void threads_submit(struct vhx_io *io)
{
	struct threads *t = threads_of(io);

	if (vhx_list_empty(&t->gathered))
		return;
	if (!t->started && !t->alone)
		t->alone = workers_start(t) < 0;
	if (t->alone) {
		work_alone(t);
		return;
	}
	pthread_mutex_lock(&t->lock);
	vhx_list_splice_tail(&t->todo, &t->gathered);
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
}

static bool threads_ready(const struct vhx_io *io)
{
	/* A hint: who acts on it takes the lock. */
	return vhx_load_relaxed(&threads_of(io)->finished_cnt) != 0;
}

static bool threads_reap(struct vhx_io *io)
{
	struct threads *t = threads_of(io);
	struct vhx_list batch;
	struct vhx_io_op *op;
	bool any;

	vhx_list_init(&batch);
	pthread_mutex_lock(&t->lock);
	vhx_list_splice_tail(&batch, &t->finished);
	vhx_store_relaxed(&t->finished_cnt, 0);
	pthread_mutex_unlock(&t->lock);
	any = !vhx_list_empty(&batch);
	while (!vhx_list_empty(&batch)) {
		op = vhx_list_first_entry(&batch, struct vhx_io_op, node);
		vhx_list_del(&op->node);
		vhx_io_deliver(io, op, op->res);
	}
	return any;
}

static void threads_wait(struct vhx_io *io)
{
	struct threads *t = threads_of(io);

	pthread_mutex_lock(&t->lock);
	while (vhx_list_empty(&t->finished))
		pthread_cond_wait(&t->some_finished, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

static void threads_free(struct vhx_io *io)
{
	struct threads *t = threads_of(io);
	unsigned int i;

	pthread_mutex_lock(&t->lock);
	t->ending = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (i = 0; i < t->started; i++)
		pthread_join(t->workers[i], NULL);
	pthread_cond_destroy(&t->some_finished);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct vhx_io_ops threads_ops = {
	.name = "threads",
	.queue = threads_queue,
	.submit = threads_submit,
	.reap = threads_reap,
	.ready = threads_ready,
	.wait = threads_wait,
	.free = threads_free,
};

int vhx_io_threads_new(unsigned int depth, int event_fd, struct vhx_io **io)
{
	struct threads *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->io.ops = &threads_ops;
	t->event_fd = event_fd;
	vhx_list_init(&t->gathered);
	vhx_list_init(&t->todo);
	vhx_list_init(&t->finished);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->some_finished, NULL);
	t->io.memory = sizeof(*t) + (uint64_t)IO_THREADS * IO_STACK_LEN;
	*io = &t->io;
	return 0;
}
