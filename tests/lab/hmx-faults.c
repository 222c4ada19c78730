// SPDX-License-Identifier: BSD-3-Clause
/*
 * hmx-faults [SCENARIO]: what faults that a reading of the guest driver found look like from both sides, one scenario each,
 * named for the fault. Runs as root inside a guest with virtio_hmx, hmx_test and hmx_probe. The backend is ours and
 * keeps to the protocol, but dies, holds requests, takes devices away and comes back as it likes; hmx_probe asks
 * whatever a driver may ask. Exits with 0 if all of them end as they should; the kernel's log is for the caller.
 *
 * A device does with a request what its first out byte says (enum action). Whoever asks waits in a thread of its
 * own, as the loop has to go on meanwhile.
 */
#include <vhx/hmx_test.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/device.h"
#include "exchange/ivshmem.h"
#include "exchange/section.h"

#define WINDOW_SIZE (1u << 20)
#define DEBUG "/sys/kernel/debug/"
#define NAME_MAX_ 64
/* A guard against hangs: steps of the loop in one scenario, never an expectation. */
#define STEP_MS 20
#define PATIENCE 10000u
/* Entries of all rings of a channel: the driver's HMX_ENTRIES_MAX. */
#define ENTRIES_MAX 65536ul

enum action {
	HOLD, /* until the life ends */
	NOTHING, /* complete, nothing written */
	FULL, /* as many bytes of 0x11 as there is room for */
};

struct dumb {
	struct vhx_device dev;
	struct vhx_device_ops ops;
	struct vhx_list held;
	unsigned int held_cnt, posted_cnt; /* with out bytes, and without */
	bool refuses; /* what it has offered: so the driver fails it */
};

struct ask {
	pthread_t thread;
	char path[2 * NAME_MAX_], text[NAME_MAX_];
	int result; /* of the write: 0 or an errno */
	bool over;
};

static struct vhx_loop *loop;
static struct vhx_backend *backend;
static struct vhx_loop_fd wire = { .fd = -1, .events = EPOLLIN };
static struct vhx_loop_fd bell = { .fd = -1, .events = EPOLLIN };
static int window;

static VHX_PRINTF(1, 2) void die(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "hmx-faults: %s\n", text);
	fflush(stderr);
	_exit(1);
}

/* Devices */

static struct dumb *dumb_of(struct vhx_device *dev)
{
	return vhx_container_of(dev, struct dumb, dev);
}

static int answer_full(struct vhx_request *req)
{
	static uint8_t bytes[VHX_TAIL_MAX];
	uint32_t n = (uint32_t)vhx_min_u64(req->in_len, sizeof(bytes));

	memset(bytes, 0x11, sizeof(bytes));
	vhx_request_complete(req, 0, bytes, 0, n, n);
	return 0;
}

static int dumb_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct dumb *d = dumb_of(dev);
	uint8_t action = HOLD;

	vhx_request_out_read(req, 0, &action, sizeof(action));
	if (action == FULL)
		return answer_full(req);
	if (action == NOTHING) {
		vhx_request_complete(req, 0, NULL, 0, 0, 0);
		return 0;
	}
	vhx_list_init(&req->node);
	vhx_list_add_tail(&d->held, &req->node);
	d->held_cnt += req->out_len != 0;
	d->posted_cnt += !req->out_len;
	return 0;
}

static void dumb_drop(struct dumb *d)
{
	struct vhx_request *req;

	while (!vhx_list_empty(&d->held)) {
		req = vhx_list_first_entry(&d->held, struct vhx_request, node);
		vhx_list_del(&req->node);
		vhx_request_drop(req);
	}
	d->held_cnt = 0;
	d->posted_cnt = 0;
}

/* Answers the oldest held request, a posted one. @group: it belongs to the next ones. */
static void posted_answer(struct dumb *d, bool group)
{
	struct vhx_request *req = vhx_list_first_entry(&d->held, struct vhx_request, node);

	vhx_list_del(&req->node);
	d->posted_cnt--;
	req->group = group;
	answer_full(req);
}

/* Requests of other queues go with it: nobody here has two. */
static void dumb_reset(struct vhx_device *dev, struct vhx_queue *queue)
{
	dumb_drop(dumb_of(dev));
	vhx_queue_quiesced(queue);
}

static int dumb_set_features(struct vhx_device *dev, uint64_t features)
{
	return dumb_of(dev)->refuses ? -EINVAL : 0;
}

static int dumb_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	return -EINVAL;
}

static void dumb_close(struct vhx_device *dev)
{
	dumb_drop(dumb_of(dev));
	free(dumb_of(dev));
}

static struct dumb *device_add(uint32_t type, uint8_t queues, uint16_t size, uint32_t config_len)
{
	struct dumb *d = calloc(1, sizeof(*d));

	if (!d)
		die("no memory");
	d->ops = (struct vhx_device_ops){
		.name = "dumb",
		.device_id = type,
		.submit = dumb_submit,
		.reset = dumb_reset,
		.set_features = dumb_set_features,
		.set_config = dumb_set_config,
		.close = dumb_close,
	};
	vhx_list_init(&d->held);
	d->dev.ops = &d->ops;
	snprintf(d->dev.id, sizeof(d->dev.id), "d%u", type);
	d->dev.num_queues = queues;
	d->dev.queue_size_max = size;
	d->dev.max_out = 4096;
	d->dev.max_in = 8192;
	d->dev.config[0] = queues;
	d->dev.config_len = config_len;
	d->dev.uuid[0] = (uint8_t)type;
	d->dev.loop = loop;
	if (vhx_backend_add_device(backend, &d->dev))
		die("device of type %u", type);
	return d;
}

/* The seat and its lives: hmx-hostile.c has the same, with lies. */

static void kernel_ring(void)
{
	const uint64_t one = 1;

	if (write(bell.fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		die("ringing the kernel");
}

static void bell_ready(struct vhx_loop_fd *w, uint32_t events)
{
	static const char wake;
	uint64_t rings;

	if (read(w->fd, &rings, sizeof(rings)) == sizeof(rings) && wire.fd >= 0)
		send(wire.fd, &wake, sizeof(wake), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void wire_ready(struct vhx_loop_fd *w, uint32_t events)
{
	char bytes[64];

	if (recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		kernel_ring();
}

/* What the kernel has, for who looks for the reason. */
static void stuck(int line)
{
	static const char show[] = "cat " DEBUG "virtio_hmx/hmx0/channel " DEBUG
				   "virtio_hmx/hmx0/devices/*; dmesg | tail -n 30";

	if (system(show))
		fprintf(stderr, "hmx-faults: no state\n");
	die("stuck at line %d", line);
}

static unsigned int patience = PATIENCE;

static void loop_step_at(int line)
{
	if (vhx_loop_once(loop, STEP_MS) < 0)
		die("loop");
	if (!--patience)
		stuck(line);
}
#define loop_step() loop_step_at(__LINE__)

static void life_begin(void)
{
	struct vhx_port *port;
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks))
		die("socketpair");
	wire.fd = socks[0];
	if (vhx_loop_fd_add(loop, &wire) ||
	    vhx_ivshmem_open(socks[1], window, WINDOW_SIZE, VHX_WINDOW_HOST, &port) ||
	    vhx_backend_add_port(backend, port))
		die("starting a life");
}

static void life_end(void)
{
	vhx_loop_fd_del(loop, &wire);
	close(wire.fd);
	wire.fd = -1;
	while (vhx_backend_channel_count(backend))
		loop_step();
	kernel_ring();
}

static void seat_take(void)
{
	struct hmx_test_window w = { .size = WINDOW_SIZE };

	wire.ready = wire_ready;
	bell.ready = bell_ready;
	window = vhx_ivshmem_window_create(WINDOW_SIZE);
	bell.fd = open(HMX_TEST_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	w.fd = window;
	if (window < 0 || bell.fd < 0 || ioctl(bell.fd, HMX_TEST_WINDOW, &w) ||
	    vhx_loop_fd_add(loop, &bell))
		die("%s: %s", HMX_TEST_DEVICE, strerror(errno));
}

/* The kernel's side */

/* A word of a "name value" file below DEBUG; 0 if there is none. */
static unsigned long value(const char *file, const char *name)
{
	unsigned long v = 0, got;
	char line[256], key[128];
	FILE *f = fopen(file, "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%127s %lu", key, &got) == 2 && !strcmp(key, name))
			v = got;
	}
	if (f)
		fclose(f);
	return v;
}

static unsigned long lives(void)
{
	return value(DEBUG "virtio_hmx/hmx0/channel", "lives");
}

static bool state_is(uint32_t type, const char *state)
{
	char path[256], line[256], want[64];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), DEBUG "virtio_hmx/hmx0/devices/d%u", type);
	snprintf(want, sizeof(want), "state %s\n", state);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		found |= !strcmp(line, want);
	if (f)
		fclose(f);
	return found;
}

/* The virtio device of @type that hmx_probe has. False: none. */
static bool probe_find(uint32_t type, char *name)
{
	char path[300];
	unsigned int id;
	struct dirent *e;
	bool found = false;
	DIR *d = opendir(DEBUG "hmx_probe");
	FILE *f;

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, "virtio", 6))
			continue;
		snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/device", e->d_name);
		f = fopen(path, "r");
		if (f && fscanf(f, "%x", &id) == 1 && id == type) {
			snprintf(name, NAME_MAX_, "%.63s", e->d_name);
			found = true;
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return found;
}

static void running_wait(uint32_t type)
{
	char name[NAME_MAX_];

	while (!probe_find(type, name) || !state_is(type, "running"))
		loop_step();
}

static void *ask_run(void *arg)
{
	struct ask *a = arg;
	int fd = open(a->path, O_WRONLY | O_CLOEXEC);

	a->result = fd < 0 || write(fd, a->text, strlen(a->text)) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	__atomic_store_n(&a->over, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Writes @text to a file, in a thread. */
static void file_begin(struct ask *a, const char *path, const char *text)
{
	*a = (struct ask){ 0 };
	snprintf(a->path, sizeof(a->path), "%s", path);
	snprintf(a->text, sizeof(a->text), "%s", text);
	if (pthread_create(&a->thread, NULL, ask_run, a))
		die("thread");
}

static void probe_begin(struct ask *a, uint32_t type, const char *file, const char *text)
{
	char name[NAME_MAX_], path[2 * NAME_MAX_];

	if (!probe_find(type, name))
		die("no device of type %u", type);
	snprintf(path, sizeof(path), DEBUG "hmx_probe/%s/%s", name, file);
	file_begin(a, path, text);
}

static int ask_end(struct ask *a)
{
	while (!__atomic_load_n(&a->over, __ATOMIC_ACQUIRE))
		loop_step();
	pthread_join(a->thread, NULL);
	return a->result;
}

static int probe_do(uint32_t type, const char *file, const char *text)
{
	struct ask a;

	probe_begin(&a, type, file, text);
	return ask_end(&a);
}

static void probe_read(uint32_t type, const char *file, char *text, size_t size)
{
	char name[NAME_MAX_], path[2 * NAME_MAX_];
	size_t n = 0;
	FILE *f;

	if (!probe_find(type, name))
		die("no device of type %u", type);
	snprintf(path, sizeof(path), DEBUG "hmx_probe/%s/%s", name, file);
	f = fopen(path, "r");
	if (f) {
		n = fread(text, 1, size - 1, f);
		fclose(f);
	}
	text[n] = '\0';
}

static void expect(const char *what, uint32_t type, const char *want)
{
	char got[256];

	probe_read(type, "result", got, sizeof(got));
	if (!strstr(got, want))
		die("%s, type %u: %s, not %s", what, type, got, want);
}

static void held_wait(const struct dumb *d)
{
	while (!d->held_cnt)
		loop_step();
}

static void said(const char *what)
{
	printf("hmx-faults: %s: ok\n", what);
	fflush(stdout);
	patience = PATIENCE;
}

/* Scenarios */

#define BIG 99u

static struct dumb *devices[128];

static const struct {
	uint32_t type;
	uint8_t queues;
} kinds[] = { { 8, 3 }, { 9, 1 }, { 20, 2 }, { 25, 4 }, { 34, 1 }, { 36, 3 }, { 41, 2 } };

/* Requests that the backend took with it: what drivers see of them is an error of their type. */
static const struct {
	unsigned int round;
	uint32_t type;
	const char *ask, *want;
} lost[] = {
	{ 0, 8, "2 64 620 0", "used=12 in=000000000000000000000006a5" },
	{ 0, 9, "0 64 64 0",
	  "used=11 in=0b000000073412"
	  "05000000a5" },
	{ 0, 20, "0 64 65 0", "last=a5a5a5a5a5a5a5a5a5a5a5a5a5a5a501" },
	{ 0, 25, "0 64 36 0", "used=4 in=03800000a5" },
	{ 0, 34, "0 64 5 0", "used=0 in=a5a5a5a501" },
	{ 0, 36, "0 64 1 0", "in=01" },
	{ 0, 41, "0 64 2 0", "used=1 in=01a5" },
	{ 1, 8, "0 64 5 0", "in=a5a5a5a509" },
	{ 1, 20, "1 64 16 0", "in=a5a5a5a5a5a5a5a501000000a5a5a5a5" },
	{ 1, 25, "2 64 8 0", "in=0380000000000000" },
	{ 1, 41, "1 64 1 0", "used=1 in=00" },
};

static void lost_round(unsigned int round)
{
	struct ask asks[VHX_ARRAY_SIZE(lost)];
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lost); i++) {
		if (lost[i].round != round)
			continue;
		running_wait(lost[i].type);
		probe_begin(&asks[i], lost[i].type, "ask", lost[i].ask);
		held_wait(devices[lost[i].type]);
	}
	life_end();
	for (i = 0; i < VHX_ARRAY_SIZE(lost); i++) {
		if (lost[i].round != round)
			continue;
		ask_end(&asks[i]);
		expect("a lost request", lost[i].type, lost[i].want);
	}
	life_begin();
}

/* An answer of which nothing came: no byte of what lay in the buffer before. */
static void short_answers(void)
{
	static const uint32_t types[] = { 8, 9, 20, 25, 36, 41 };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		running_wait(types[i]);
		probe_do(types[i], "ask", "0 64 32 1");
		expect("a short answer", types[i],
		       "used=0 in=00000000000000000000000000000000 "
		       "last=00000000000000000000000000000000");
	}
	/* A driver that looks at the status only is told that it failed. */
	running_wait(34);
	probe_do(34, "ask", "0 64 4 1");
	expect("an answer without a status", 34, "used=0 in=a5a5a501");
	said("what did not come is not shown");
}

static void long_chain(void)
{
	running_wait(8);
	if (probe_do(8, "ask", "2 64 6000 2 1500"))
		die("a chain of 1501 descriptors was not taken");
	expect("a chain that is too long", 8, "completed used=12 in=000000000000000000000006a5");
	probe_do(8, "ask", "2 64 16 2 8");
	expect("after a chain that is too long", 8, "completed used=16 in=1111");
	said("a chain that is too long ends with an error");
}

/* Under its name, with another number or the same one, before anybody could list what there is. */
static void removed_and_added(void)
{
	unsigned long before = lives();
	struct ask a;
	int i;

	for (i = 0; i < 3; i++) {
		running_wait(34);
		probe_begin(&a, 34, "ask", "0 64 5 0");
		held_wait(devices[34]);
		vhx_backend_remove_device(backend, "d34");
		/* The old one is closed by now, or soon: nothing of it is under way but what is held. */
		devices[34] = device_add(34, 1, 64, 64);
		ask_end(&a);
		/* The old one is not running any more. */
		running_wait(34);
		probe_do(34, "ask", "0 64 5 2");
		expect("after its return", 34, "completed used=5 in=1111111111");
	}
	if (lives() != before)
		die("the removal of one device ended the channel");
	said("a device that is removed and added again");
}

static unsigned long posts(uint32_t type)
{
	char text[32];

	probe_read(type, "posts", text, sizeof(text));
	return strtoul(text, NULL, 0);
}

/* Posted buffers that would come again at once, on a device that has failed. */
static void posted_on_a_failed_device(void)
{
	int i;

	running_wait(41);
	for (i = 0; i < 4; i++)
		probe_do(41, "post", "1 16");
	life_end();
	devices[41]->refuses = true;
	life_begin();
	while (!state_is(41, "failed"))
		loop_step();
	probe_do(41, "ask", "0 64 2 2");
	expect("on a failed device", 41, "used=1 in=01a5");
	if (posts(41))
		die("a failed device gave %lu posted buffers back", posts(41));
	said("posted buffers of a failed device stay where they are");
}

static void posted_wait(const struct dumb *d, unsigned int cnt)
{
	while (d->posted_cnt != cnt)
		loop_step();
}

/* The end of a group may die with its backend: none of it was ever seen, and all of it is asked again. */
static void half_a_group(void)
{
	static const char file[] = DEBUG "virtio_hmx/hmx0/devices/d36";
	unsigned long bytes, before;
	int i;

	running_wait(36);
	before = posts(36);
	for (i = 0; i < 4; i++)
		probe_do(36, "post", "1 16");
	posted_wait(devices[36], 4);
	bytes = value(file, "queue1_bytes_in");
	posted_answer(devices[36], true);
	posted_answer(devices[36], true);
	while (value(file, "queue1_bytes_in") < bytes + 32)
		loop_step();
	life_end();
	life_begin();
	posted_wait(devices[36], 4);
	if (posts(36) != before)
		die("half a group: the driver saw %lu buffers of it", posts(36) - before);
	for (i = 0; i < 3; i++)
		posted_answer(devices[36], i < 2);
	while (posts(36) != before + 3)
		loop_step();
	/* The driver has posted them again. */
	posted_wait(devices[36], 4);
	said("half a group of completions is never seen");
}

static void queue_reset_under_load(void)
{
	/* Never what it is: that would be no reset. */
	static const char *const sizes[] = { "0 16", "0 32", "0 64" };
	struct ask a;
	int i;

	running_wait(25);
	for (i = 0; i < 12; i++) {
		probe_begin(&a, 25, "ask", "0 64 32 0");
		held_wait(devices[25]);
		if (probe_do(25, "resize", sizes[i % 3]))
			die("queue reset %d", i);
		ask_end(&a);
		expect("a queue reset", 25, "recycled");
		probe_do(25, "ask", "0 64 32 2");
		expect("after a queue reset", 25, "completed used=32 in=1111");
	}
	if (value(DEBUG "virtio_hmx/hmx0/devices/d25", "queue0_size") != 64)
		die("the last size of the queue is not what is in use");
	said("queue reset with requests in flight");
}

static unsigned long entries_sum(void)
{
	char path[300], key[32];
	unsigned long sum = 0;
	struct dirent *e;
	DIR *d = opendir(DEBUG "virtio_hmx/hmx0/devices");
	unsigned int i;

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), DEBUG "virtio_hmx/hmx0/devices/%s", e->d_name);
		for (i = 0; e->d_name[0] != '.' && i < 64; i++) {
			snprintf(key, sizeof(key), "queue%u_size", i);
			sum += value(path, key);
		}
	}
	if (d)
		closedir(d);
	return sum;
}

static void greedy_device(void)
{
	char name[NAME_MAX_];

	device_add(BIG, 64, 1024, 64);
	device_add(18, 64, 1024, 64);
	while (!probe_find(BIG, name) && !probe_find(18, name))
		loop_step();
	if (entries_sum() > ENTRIES_MAX || entries_sum() < ENTRIES_MAX / 2)
		die("%lu entries", entries_sum());
	vhx_backend_remove_device(backend, "d18");
	vhx_backend_remove_device(backend, "d99");
	while (probe_find(BIG, name) || probe_find(18, name))
		loop_step();
	running_wait(8);
	said("a backend with more queues than anybody needs");
}

/* A freeze and an unbind, with a request that nobody will answer. */
static void without_a_backend(void)
{
	static const char file[] = DEBUG "virtio_hmx/hmx0/devices/d36";
	char name[NAME_MAX_];
	struct ask a, unbind;
	unsigned long notifies;

	running_wait(36);
	probe_find(36, name);
	life_end();
	while (state_is(36, "running"))
		loop_step();
	notifies = value(file, "queue0_notifies");
	probe_begin(&a, 36, "ask", "0 64 1 2");
	while (value(file, "queue0_notifies") == notifies)
		loop_step();
	if (!ioctl(bell.fd, HMX_TEST_FREEZE) || errno != EBUSY)
		die("a freeze without a backend");
	file_begin(&unbind, "/sys/bus/virtio/drivers/hmx_probe/unbind", name);
	ask_end(&a);
	if (ask_end(&unbind))
		die("unbind: %s", strerror(unbind.result));
	life_begin();
	file_begin(&unbind, "/sys/bus/virtio/drivers/hmx_probe/bind", name);
	if (ask_end(&unbind))
		die("bind: %s", strerror(unbind.result));
	running_wait(36);
	probe_do(36, "ask", "0 64 1 2");
	expect("after a new bind", 36, "completed used=1 in=11");
	said("freeze and unbind without a backend");
}

static void lost_requests(void)
{
	lost_round(0);
	lost_round(1);
	said("lost requests end with the error of their type");
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "lost", lost_requests },
	{ "short", short_answers },
	{ "long", long_chain },
	{ "reset", queue_reset_under_load },
	{ "group", half_a_group },
	{ "removed", removed_and_added },
	{ "alone", without_a_backend },
	{ "greedy", greedy_device },
	{ "posted", posted_on_a_failed_device },
};

int main(int argc, char **argv)
{
	struct vhx_backend_config cfg = { .staging = 2 * WINDOW_SIZE };
	size_t i;

	if (vhx_loop_new(0, &loop))
		die("loop");
	cfg.loop = loop;
	if (vhx_backend_new(&cfg, &backend))
		die("backend");
	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++)
		devices[kinds[i].type] = device_add(kinds[i].type, kinds[i].queues, 64, 64);
	seat_take();
	life_begin();
	for (i = 0; i < VHX_ARRAY_SIZE(scenarios); i++) {
		if (argc < 2 || !strcmp(argv[1], scenarios[i].name))
			scenarios[i].run();
	}
	life_end();
	vhx_loop_fd_del(loop, &bell);
	close(bell.fd);
	printf("hmx-faults: sound\n");
	return 0;
}
