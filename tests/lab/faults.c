// SPDX-License-Identifier: BSD-3-Clause
#include "faults.h"

#include <vhx/hmx_test.h>
#include <vhx/virtio_msg.h>
#include <vhx/wire.h>

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange/ivshmem.h"
#include "exchange/section.h"
#include "mutator.h"

/* A guard against hangs: steps of the loop in one scenario, never an expectation. */
#define STEP_MS 20
#define PATIENCE 10000u

struct vhx_loop *loop;
struct vhx_backend *backend;
static struct vhx_loop_fd wire = { .fd = -1, .events = EPOLLIN };
static struct vhx_loop_fd bell = { .fd = -1, .events = EPOLLIN };
static int window;
static enum listing listing_mode;
static unsigned int listing_cnt;

void die(const char *fmt, ...)
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

/* A status of 0 is good news of most types. */
static int answer_zero(struct vhx_request *req)
{
	static const uint8_t zeroes[VHX_TAIL_MAX];
	uint32_t n = (uint32_t)vhx_min_u64(req->in_len, sizeof(zeroes));

	vhx_request_complete(req, 0, zeroes, 0, n, n);
	return 0;
}

/* Commands end at once, receive buffers never do. */
static bool net_takes(struct dumb *d, struct vhx_request *req)
{
	static const uint8_t done, not_done = 1;
	uint8_t class = 0;

	vhx_request_out_read(req, 0, &class, sizeof(class));
	if (d->seen_cnt == sizeof(d->seen) - 1)
		die("more is seen of a network than anybody has asked for");
	d->seen[d->seen_cnt++] = req->out_len ? (char)('0' + class) : 'p';
	if (!req->out_len || d->silent)
		return false;
	vhx_request_complete(req, 0, class == d->refused ? &not_done : &done, 0, 1, 1);
	return true;
}

static int dumb_submit(struct vhx_device *dev, struct vhx_request *req)
{
	struct dumb *d = dumb_of(dev);
	uint8_t action = HOLD;

	d->last_queues[1] = d->last_queues[0];
	d->last_queues[0] = vhx_queue_index(req->queue);
	if (d->disk)
		return answer_zero(req);
	if (d->net && net_takes(d, req))
		return 0;
	vhx_request_out_read(req, 0, &action, sizeof(action));
	if (action == FULL && !d->net)
		return answer_full(req);
	if (action == NOTHING && !d->net) {
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

void posted_answer(struct dumb *d, bool group)
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
	struct dumb *d = dumb_of(dev);

	dumb_drop(d);
	if (d->lingers)
		d->pending[d->pending_cnt++] = queue;
	else
		vhx_queue_quiesced(queue);
}

void linger_end(struct dumb *d)
{
	d->lingers = false;
	while (d->pending_cnt)
		vhx_queue_quiesced(d->pending[--d->pending_cnt]);
}

static int dumb_set_features(struct vhx_device *dev, uint64_t features)
{
	return dumb_of(dev)->refuses ? -EINVAL : 0;
}

/* The driver is on its way out when the device has forgotten the driver's status. */
static void leave_begin(struct dumb *d)
{
	struct ask *unbind = d->leaving;

	d->leaving = NULL;
	file_begin(unbind, "/sys/bus/virtio/drivers/hmx_probe/unbind", d->leaver);
	while (!state_is(d->dev.ops->device_id, "attached"))
		usleep(STEP_MS * 1000);
}

static int dumb_set_config(struct vhx_device *dev, uint32_t off, const void *buf, uint32_t len)
{
	struct dumb *d = dumb_of(dev);

	if (!d->disk)
		return -EINVAL;
	d->config_writes++;
	if (d->leaving)
		leave_begin(d);
	memcpy(dev->config + off, buf, len);
	return 0;
}

static void dumb_close(struct vhx_device *dev)
{
	dumb_drop(dumb_of(dev));
	free(dumb_of(dev));
}

static struct dumb *dumb_new(uint32_t type, uint8_t queues, uint16_t size, uint32_t config_len)
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
	return d;
}

struct dumb *device_add(uint32_t type, uint8_t queues, uint16_t size, uint32_t config_len)
{
	struct dumb *d = dumb_new(type, queues, size, config_len);

	if (vhx_backend_add_device(backend, &d->dev))
		die("device of type %u", type);
	return d;
}

struct dumb *disk_add(void)
{
	struct dumb *d = dumb_new(VIRTIO_ID_BLOCK, 1, 64, sizeof(struct virtio_blk_config));

	d->disk = true;
	d->dev.features = 1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_CONFIG_WCE;
	d->dev.config[offsetof(struct virtio_blk_config, wce)] = 1;
	if (vhx_backend_add_device(backend, &d->dev))
		die("the disk");
	return d;
}

struct dumb *net_add(void)
{
	struct dumb *d = dumb_new(VIRTIO_ID_NET, 3, 64, sizeof(struct virtio_net_config));

	d->net = true;
	d->refused = UINT8_MAX;
	d->dev.features = 1u << VIRTIO_NET_F_CTRL_VQ;
	if (vhx_backend_add_device(backend, &d->dev))
		die("the network");
	return d;
}

void seen_expect(struct dumb *d, const char *want)
{
	while (d->seen_cnt < strlen(want))
		loop_step();
	if (strcmp(d->seen, want))
		die("of a network \"%s\" was seen, not \"%s\"", d->seen, want);
	memset(d->seen, 0, sizeof(d->seen));
	d->seen_cnt = 0;
}

/* The seat and its lives: hmx-hostile.c has the same, with lies. */

static void kernel_ring(void)
{
	const uint64_t one = 1;

	/* After HMX_TEST_LEAVE there is nobody to be told. */
	if (write(bell.fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN && errno != ENOTCONN)
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

void loop_step_at(int line)
{
	if (vhx_loop_once(loop, STEP_MS) < 0)
		die("loop");
	if (!--patience)
		stuck(line);
}

/* Of what the backend says, answers to the discovery come out otherwise, or not at all. */
static bool listing_edit(void *ctx, uint32_t type, uint8_t *bytes, uint32_t len)
{
	struct virtio_msg_get_devices_resp *resp;
	struct virtio_msg_header *h = (void *)(bytes + sizeof(struct vhx_msg_header));

	if (listing_mode == LIST_UNWRITTEN)
		return type != VHX_MSG_CONTROL || h->type != VIRTIO_MSG_TYPE_RESPONSE ||
		       h->msg_id != VIRTIO_MSG_SET_CONFIG;
	if (listing_mode == LIST_LYING && type == VHX_MSG_USED)
		bytes[VHX_DATA_HEADER_LEN]++;
	if (listing_mode == LIST_LYING || type != VHX_MSG_CONTROL ||
	    h->type != (VIRTIO_MSG_TYPE_BUS | VIRTIO_MSG_TYPE_RESPONSE) ||
	    (h->msg_id != VIRTIO_MSG_BUS_GET_DEVICES && h->msg_id != VIRTIO_MSG_BUS_VHX_GET_NAME))
		return true;
	listing_cnt++;
	if (listing_mode == LIST_SILENT)
		return false;
	if (h->msg_id == VIRTIO_MSG_BUS_GET_DEVICES) {
		resp = (void *)(h + 1);
		resp->next_offset = vhx_le16_of(vhx_le16_get(resp->offset) + 1);
	}
	return true;
}

unsigned int listed(void)
{
	return listing_cnt;
}

void life_begin(enum listing listing)
{
	static struct vhx_random random = { 1 };
	static uint64_t spoiled;
	const struct vhx_mutator_config cfg = {
		.random = &random,
		.target = VHX_MUTATOR_NOTHING,
		.size = WINDOW_SIZE,
		.spoiled = &spoiled,
		.edit = listing_edit,
	};
	struct vhx_port *port;
	int socks[2];

	listing_mode = listing;
	listing_cnt = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks))
		die("socketpair");
	wire.fd = socks[0];
	if (vhx_loop_fd_add(loop, &wire) ||
	    vhx_ivshmem_open(socks[1], window, WINDOW_SIZE, VHX_WINDOW_HOST, &port))
		die("starting a life");
	if (listing != LIST_WELL)
		port = vhx_mutator_new(port, &cfg);
	if (!port || vhx_backend_add_port(backend, port))
		die("starting a life");
}

void life_end(void)
{
	vhx_loop_fd_del(loop, &wire);
	close(wire.fd);
	wire.fd = -1;
	while (vhx_backend_channel_count(backend))
		loop_step();
	kernel_ring();
}

void seat_take(void)
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

void seat_leave(void)
{
	vhx_loop_fd_del(loop, &bell);
	close(bell.fd);
	close(window);
}

/* The kernel's side */

unsigned long value(const char *file, const char *name)
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

unsigned long lives(void)
{
	return value(DEBUG "virtio_hmx/hmx0/channel", "lives");
}

bool state_is(uint32_t type, const char *state)
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

unsigned long logged(const char *text)
{
	unsigned long cnt = 0;
	char line[512];
	FILE *f = popen("dmesg", "r");

	while (f && fgets(line, sizeof(line), f))
		cnt += !!strstr(line, text);
	if (f)
		pclose(f);
	return cnt;
}

bool probe_find(uint32_t type, char *name)
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

void running_wait(uint32_t type)
{
	char name[NAME_MAX_];

	while (!probe_find(type, name) || !state_is(type, "running"))
		loop_step();
}

int seat_do_alone(unsigned long op)
{
	return ioctl(bell.fd, op) ? errno : 0;
}

static int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

static void *ask_run(void *arg)
{
	struct ask *a = arg;

	a->result = a->op ? seat_do_alone(a->op) : file_write(a->path, a->text);
	__atomic_store_n(&a->over, true, __ATOMIC_RELEASE);
	return NULL;
}

static void ask_begin(struct ask *a)
{
	if (pthread_create(&a->thread, NULL, ask_run, a))
		die("thread");
}

void file_begin(struct ask *a, const char *path, const char *text)
{
	*a = (struct ask){ 0 };
	snprintf(a->path, sizeof(a->path), "%s", path);
	snprintf(a->text, sizeof(a->text), "%s", text);
	ask_begin(a);
}

void probe_begin(struct ask *a, uint32_t type, const char *file, const char *text)
{
	char name[NAME_MAX_], path[2 * NAME_MAX_];

	if (!probe_find(type, name))
		die("no device of type %u", type);
	snprintf(path, sizeof(path), DEBUG "hmx_probe/%s/%s", name, file);
	file_begin(a, path, text);
}

int ask_end(struct ask *a)
{
	while (!__atomic_load_n(&a->over, __ATOMIC_ACQUIRE))
		loop_step();
	pthread_join(a->thread, NULL);
	return a->result;
}

int file_do(const char *path, const char *text)
{
	struct ask a;

	file_begin(&a, path, text);
	return ask_end(&a);
}

int seat_do(unsigned long op)
{
	struct ask a = { .op = op };

	ask_begin(&a);
	return ask_end(&a);
}

int probe_do(uint32_t type, const char *file, const char *text)
{
	struct ask a;

	probe_begin(&a, type, file, text);
	return ask_end(&a);
}

void probe_read(uint32_t type, const char *file, char *text, size_t size)
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

void expect(const char *what, uint32_t type, const char *want)
{
	char got[256];

	probe_read(type, "result", got, sizeof(got));
	if (!strstr(got, want))
		die("%s, type %u: %s, not %s", what, type, got, want);
}

void held_wait(const struct dumb *d)
{
	while (!d->held_cnt)
		loop_step();
}

void posted_wait(const struct dumb *d, unsigned int cnt)
{
	while (d->posted_cnt != cnt)
		loop_step();
}

unsigned long posts(uint32_t type)
{
	char text[32];

	probe_read(type, "posts", text, sizeof(text));
	return strtoul(text, NULL, 0);
}

void said(const char *what)
{
	printf("hmx-faults: %s: ok\n", what);
	fflush(stdout);
	patience = PATIENCE;
}
