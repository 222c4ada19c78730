// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The loop's thread fills @job and sets @asked; the thread takes that, makes the system calls without the lock, sets
 * @answered and writes to the event. @busy is the loop's alone: from the question to the answer that it has taken. The
 * lock guards asked, answered, ending, left and over; @job and the peer belong to the thread while a call is under way,
 * else to the loop.
 *
 * The thread starts with the first call, not with the device: a program gives up its rights in between
 * (confine/confine.c), a thread at a time, and one that ran already would keep its own.
 *
 * The end. Closing the file resets the device, which may take as long as any call; so the thread does that as well.
 *
 *   ending --call under way returns, file closes: in time--> over: joined and freed by the owner
 *      '-------------------------------------- not in time--> left: the thread frees all, once it is through
 *
 * A program that ends has the kernel do the rest: what waits for a VDUSE device does not outlive a signal that kills.
 */
#include "device/vdpa_worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000l
#define NS_PER_S 1000000000l

/* Ioctls are one system call deep; the rest is for sanitizers and the C library. */
#define STACK_LEN (256u * 1024)

/* A kick and a call for each ring, the config's call, and the worker's own. */
#define EVENTS_MAX (2 * VHX_VDPA_QUEUES_MAX + 2)

struct vhx_vdpa_worker {
	struct vhx_vdpa_worker_view view;
	int events[EVENTS_MAX];
	unsigned int events_cnt;
	pthread_mutex_t lock;
	pthread_cond_t work; /* asked or ending: to the thread */
	pthread_cond_t ended; /* over: to the owner */
	pthread_t thread;
	bool started;
	bool busy;
	struct timespec asked_at; /* while busy */
	bool asked, answered;
	bool ending, left, over;
};

/* What the thread does */

static int job_start_do(struct vhx_vdpa_worker *w)
{
	struct vhx_vhost_vdpa *peer = &w->view.peer;
	const struct vhx_bridge_memory *m = &w->view.memory;
	const struct vhx_vdpa_job *job = &w->view.job;
	uint16_t i;
	int ret;

	ret = vhx_vhost_vdpa_negotiate(peer, job->features);
	if (!ret)
		ret = vhx_vhost_vdpa_map(peer, m->addr, m->base, m->len);
	for (i = 0; !ret && i < job->num_rings; i++)
		ret = vhx_vhost_vdpa_ring(peer, &job->rings[i]);
	/* A reset has made some devices forget it. */
	if (!ret)
		ret = vhx_vhost_vdpa_config_call(peer, job->config_fd);
	return ret ? ret : vhx_vhost_vdpa_run(peer);
}

static int job_start(struct vhx_vdpa_worker *w)
{
	int ret = job_start_do(w);

	if (ret)
		(void)vhx_vhost_vdpa_reset(&w->view.peer);
	return ret;
}

static int job_stop(struct vhx_vdpa_worker *w)
{
	return vhx_vhost_vdpa_reset(&w->view.peer);
}

static int job_look(struct vhx_vdpa_worker *w)
{
	struct vhx_vdpa_job *job = &w->view.job;

	job->status = vhx_vhost_vdpa_status(&w->view.peer);
	return vhx_vhost_vdpa_config_get(&w->view.peer, job->bytes, job->len);
}

static int job_write(struct vhx_vdpa_worker *w)
{
	const struct vhx_vdpa_job *job = &w->view.job;

	return vhx_vhost_vdpa_config_set(&w->view.peer, job->off, job->bytes, job->len);
}

static int (*const calls[VHX_VDPA_CALL_CNT_])(struct vhx_vdpa_worker *w) = {
	[VHX_VDPA_START] = job_start,
	[VHX_VDPA_STOP] = job_stop,
	[VHX_VDPA_LOOK] = job_look,
	[VHX_VDPA_WRITE] = job_write,
};

/* Once nobody else knows of it. */
static void worker_free(struct vhx_vdpa_worker *w)
{
	unsigned int i;

	vhx_vhost_vdpa_close(&w->view.peer);
	vhx_bridge_memory_fini(&w->view.memory);
	for (i = 0; i < w->events_cnt; i++)
		close(w->events[i]);
	pthread_cond_destroy(&w->ended);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* True: there is a call to make. False: it ends. */
static bool work_wait(struct vhx_vdpa_worker *w)
{
	bool ending;

	pthread_mutex_lock(&w->lock);
	while (!w->ending && !w->asked)
		pthread_cond_wait(&w->work, &w->lock);
	w->asked = false;
	ending = w->ending;
	pthread_mutex_unlock(&w->lock);
	return !ending;
}

static void work_done(struct vhx_vdpa_worker *w)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&w->lock);
	w->answered = true;
	pthread_mutex_unlock(&w->lock);
	(void)!write(w->view.event_fd, &one, sizeof(one));
}

static void *worker_main(void *arg)
{
	struct vhx_vdpa_worker *w = arg;
	bool left;

	while (work_wait(w)) {
		w->view.job.ret = calls[w->view.job.call](w);
		work_done(w);
	}
	vhx_vhost_vdpa_close(&w->view.peer);
	pthread_mutex_lock(&w->lock);
	w->over = true;
	left = w->left;
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&w->lock);
	if (left)
		worker_free(w);
	return NULL;
}

/* Signals are the loop's: the thread starts with all of them blocked. */
static int thread_start(struct vhx_vdpa_worker *w)
{
	pthread_attr_t attr;
	sigset_t all, saved;
	int ret;

	if (w->started)
		return 0;
	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	(void)pthread_attr_setstacksize(&attr, STACK_LEN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	ret = pthread_create(&w->thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	pthread_attr_destroy(&attr);
	w->started = !ret;
	return -ret;
}

/* What its owner does */

static void ended_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct vhx_vdpa_worker *vhx_vdpa_worker_new(void)
{
	struct vhx_vdpa_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->view.peer.fd = -1;
	w->view.memory.fd = -1;
	w->view.bytes = sizeof(*w) + STACK_LEN;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	ended_init(&w->ended);
	w->view.event_fd = vhx_vdpa_worker_event(w);
	if (w->view.event_fd >= 0)
		return w;
	worker_free(w);
	return NULL;
}

struct vhx_vdpa_worker_view *vhx_vdpa_worker_view(struct vhx_vdpa_worker *w)
{
	return &w->view;
}

int vhx_vdpa_worker_event(struct vhx_vdpa_worker *w)
{
	int fd;

	assert(w->events_cnt < EVENTS_MAX);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	w->events[w->events_cnt++] = fd;
	return fd;
}

bool vhx_vdpa_worker_busy(const struct vhx_vdpa_worker *w)
{
	return w->busy;
}

int vhx_vdpa_worker_ask(struct vhx_vdpa_worker *w)
{
	assert(!w->busy && w->view.job.call < VHX_VDPA_CALL_CNT_);
	if (thread_start(w))
		return -EAGAIN;
	w->busy = true;
	clock_gettime(CLOCK_MONOTONIC, &w->asked_at);
	pthread_mutex_lock(&w->lock);
	w->asked = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

bool vhx_vdpa_worker_take(struct vhx_vdpa_worker *w)
{
	bool answered;

	pthread_mutex_lock(&w->lock);
	answered = w->answered;
	w->answered = false;
	pthread_mutex_unlock(&w->lock);
	if (answered)
		w->busy = false;
	return answered;
}

/* With the lock held: waits for the end of the thread, within what a call may take; one may have begun before. */
static void ended_wait(struct vhx_vdpa_worker *w)
{
	struct timespec end = w->asked_at;
	bool late = false;

	if (!w->busy)
		clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += VHX_VDPA_END_MS * NS_PER_MS;
	end.tv_sec += end.tv_nsec / NS_PER_S;
	end.tv_nsec %= NS_PER_S;
	while (!w->over && !late)
		late = pthread_cond_timedwait(&w->ended, &w->lock, &end) != 0;
}

void vhx_vdpa_worker_end(struct vhx_vdpa_worker *w)
{
	pthread_t thread;
	bool over;

	if (thread_start(w)) {
		worker_free(w);
		return;
	}
	thread = w->thread;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->work);
	ended_wait(w);
	over = w->over;
	w->left = !over;
	if (!over)
		pthread_detach(thread);
	pthread_mutex_unlock(&w->lock);
	if (!over)
		return;
	pthread_join(thread, NULL);
	worker_free(w);
}

void vhx_vdpa_worker_abandon(struct vhx_vdpa_worker *w)
{
	assert(!w->started);
	worker_free(w);
}
