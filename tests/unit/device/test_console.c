// SPDX-License-Identifier: BSD-3-Clause
/* The console device: what it says and hears on its control queues, and its streams, with real ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "device/console.h"
#include "device/console_layout.h"

#define QUEUES 8
#define BUFFER 4096u
#define MULTIPORT (1ull << VIRTIO_CONSOLE_F_MULTIPORT)

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[QUEUES];
static char dir[64], path[3][128], ends[3][160];
static struct vhx_console_config cfg;

static uint64_t skipped_s;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

/* The clock can be moved on. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int ret = __real_clock_gettime(id, ts);

	ts->tv_sec += (time_t)skipped_s;
	return ret;
}

static int setup(void **state)
{
	unsigned int i;

	strcpy(dir, "/tmp/vhx-console.XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (i = 0; i < 3; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%u", dir, i);
		snprintf(ends[i], sizeof(ends[i]), "socket:%s", path[i]);
	}
	cfg = (struct vhx_console_config){ .id = "c0", .port_cnt = 2, .buffer = BUFFER };
	cfg.ports[0] = (struct vhx_console_port_config){ ends[0], NULL };
	cfg.ports[1] = (struct vhx_console_port_config){ ends[1], "org.test" };
	for (i = 0; i < QUEUES; i++)
		queues[i] = (struct vhx_queue){ .index = (uint16_t)i };
	fake_init();
	skipped_s = 0;
	assert_int_equal(vhx_loop_new(0, &loop), 0);
	return 0;
}

static int teardown(void **state)
{
	unsigned int i;

	vhx_loop_free(loop);
	for (i = 0; i < 3; i++)
		unlink(path[i]);
	return rmdir(dir);
}

static void open_device(uint64_t features)
{
	struct vhx_error err = { "" };

	if (vhx_console_new(loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(dev->ops->set_features(dev, features), 0);
}

static void close_device(void)
{
	dev->ops->close(dev);
	assert_int_equal(fake.in_flight, 0);
}

/* Turns the loop until nothing is left to do at once. */
static void settle(void)
{
	struct pollfd pfd = { .fd = vhx_loop_fileno(loop), .events = POLLIN };
	unsigned int i = 0;

	do {
		assert_int_equal(vhx_loop_once(loop, 0), 0);
		assert_true(++i < 100000);
	} while (poll(&pfd, 1, 0) == 1);
}

static int client(unsigned int port)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_true(strlen(path[port]) < sizeof(sun.sun_path));
	strcpy(sun.sun_path, path[port]);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	settle();
	return fd;
}

static struct fake_request *post(unsigned int queue, uint32_t in_len)
{
	struct fake_request *r = fake_request_new(dev, &queues[queue], "", 0, in_len);

	fake_submit(r);
	return r;
}

static struct fake_request *output(unsigned int port, const void *bytes, uint32_t len)
{
	struct fake_request *r = fake_request_new(dev, &queues[port ? 2 * port + 3 : 1], bytes, len,
						  0);

	fake_submit(r);
	return r;
}

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control c = { vhx_le32_of(id), vhx_le16_of(event),
					    vhx_le16_of(value) };
	struct fake_request *r = fake_request_new(dev, &queues[3], &c, sizeof(c), 0);

	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
}

/* The next message to the driver, by a posted request; then it is freed. */
static void told(uint32_t id, uint16_t event, uint16_t value, const void *extra, uint32_t len)
{
	struct fake_request *r = post(2, 64);
	struct virtio_console_control c;

	assert_true(r->completed);
	memcpy(&c, r->answer, sizeof(c));
	assert_int_equal(vhx_le32_get(c.id), id);
	assert_int_equal(vhx_le16_get(c.event), event);
	assert_int_equal(vhx_le16_get(c.value), value);
	assert_int_equal(r->used_len, sizeof(c) + len);
	assert_memory_equal(r->answer + sizeof(c), extra, len);
	fake_request_free(r);
}

/* No message is owed. */
static void told_nothing(void)
{
	struct fake_request *r = post(2, 64);

	assert_false(r->completed);
	dev->ops->reset(dev, &queues[2]);
	assert_true(r->dropped);
	fake_request_free(r);
}

/* As Linux' driver begins. */
static void introduce(void)
{
	static const uint8_t no_size[4];

	tell(UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
	told(0, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	told(1, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	tell(0, VIRTIO_CONSOLE_PORT_READY, 1);
	told(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
	told(0, VIRTIO_CONSOLE_RESIZE, 0, no_size, 4);
	told(0, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
	told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.test", 8);
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	tell(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	told_nothing();
}

static void pattern(uint8_t *p, uint32_t from, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)((from + i) * 7 + ((from + i) >> 8));
}

static void test_ports_are_introduced(void **state)
{
	open_device(MULTIPORT);
	assert_int_equal(dev->num_queues, 6);
	told_nothing();
	introduce();
	close_device();
}

/* Messages of nonsense change nothing, and a buffer that is too small for a message is used up without one. */
static void test_control_messages_out_of_order(void **state)
{
	struct fake_request *r;

	open_device(MULTIPORT);
	tell(7, VIRTIO_CONSOLE_PORT_READY, 1);
	tell(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	tell(0, 999, 1);
	r = fake_request_new(dev, &queues[3], "short", 5, 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	told_nothing();
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	r = post(2, 7);
	assert_true(r->completed);
	assert_int_equal(r->used_len, 0);
	fake_request_free(r);
	told(0, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	told(1, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	close_device();
}

static void test_clients_come_and_go(void **state)
{
	int fd, other;

	open_device(MULTIPORT);
	introduce();
	fd = client(1);
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	/* A second one waits for the first to leave. */
	other = client(1);
	told_nothing();
	close(fd);
	settle();
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	close(other);
	settle();
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	close_device();
}

/* Sent by the end, kept in the buffer, held: and all of it arrives, in order. */
static void test_output_without_reader_is_bounded_and_not_lost(void **state)
{
	uint8_t out[3000], *in = calloc(1, 7 * sizeof(out)), *expected = calloc(1, 7 * sizeof(out));
	struct fake_request *r[7];
	uint32_t got = 0, i;
	int fd;

	open_device(MULTIPORT);
	introduce();
	for (i = 0; i < 7; i++) {
		pattern(out, i * (uint32_t)sizeof(out), sizeof(out));
		r[i] = output(1, out, sizeof(out));
		assert_int_equal(r[i]->completed, i < BUFFER / sizeof(out));
	}
	settle();
	assert_false(r[1]->completed);
	fd = client(1);
	settle();
	for (i = 0; i < 7; i++) {
		assert_true(r[i]->completed);
		assert_true(!i || r[i]->order > r[i - 1]->order);
	}
	for (i = 0; i < 7; i++)
		fake_request_free(r[i]);
	while (got < 7 * sizeof(out)) {
		ssize_t n = read(fd, in + got, 7 * sizeof(out) - got);

		assert_true(n > 0);
		got += (uint32_t)n;
	}
	pattern(expected, 0, 7 * sizeof(out));
	assert_memory_equal(in, expected, 7 * sizeof(out));
	close(fd);
	free(in);
	free(expected);
	close_device();
}

/* A client that reads slowly: its socket fills, then the buffer, then requests wait. */
static void test_slow_reader_holds_the_guest_up(void **state)
{
	uint8_t out[VHX_CONSOLE_OUT_MAX];
	struct fake_request *r[64];
	uint64_t got = 0;
	uint32_t i;
	int fd;

	open_device(MULTIPORT);
	introduce();
	fd = client(1);
	pattern(out, 0, sizeof(out));
	for (i = 0; i < 64; i++)
		r[i] = output(1, out, sizeof(out));
	settle();
	assert_false(r[63]->completed);
	while (got < 64 * sizeof(out)) {
		uint8_t in[65536];
		ssize_t n = read(fd, in, sizeof(in));

		if (n < 0) {
			settle();
			continue;
		}
		for (i = 0; i < (uint32_t)n; i++)
			assert_int_equal(in[i], out[(got + i) % sizeof(out)]);
		got += (uint64_t)n;
	}
	settle();
	for (i = 0; i < 64; i++) {
		assert_true(r[i]->completed);
		fake_request_free(r[i]);
	}
	close(fd);
	close_device();
}

static void test_full_buffer_drops_the_oldest_if_told_so(void **state)
{
	uint8_t out[3000], in[2 * BUFFER], expected[BUFFER];
	struct fake_request *r;
	uint32_t i;
	int fd;

	cfg.drop = true;
	open_device(MULTIPORT);
	introduce();
	for (i = 0; i < 7; i++) {
		pattern(out, i * (uint32_t)sizeof(out), sizeof(out));
		r = output(1, out, sizeof(out));
		assert_true(r->completed);
		fake_request_free(r);
	}
	fd = client(1);
	pattern(expected, 7 * sizeof(out) - BUFFER, BUFFER);
	assert_int_equal(read(fd, in, sizeof(in)), BUFFER);
	assert_memory_equal(in, expected, BUFFER);
	close(fd);
	close_device();
}

static void test_input_waits_for_buffers_and_for_an_open_port(void **state)
{
	struct fake_request *a, *b;
	int fd;

	open_device(MULTIPORT);
	introduce();
	fd = client(1);
	assert_int_equal(write(fd, "hello, guest", 12), 12);
	settle();
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	a = post(4, 5);
	settle();
	assert_false(a->completed);
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	settle();
	assert_true(a->completed);
	assert_int_equal(a->used_len, 5);
	assert_memory_equal(a->answer, "hello", 5);
	b = post(4, 100);
	fake.later = 1;
	settle();
	assert_false(b->completed);
	assert_int_equal(queues[4].room_wanted, 1);
	fake_room(dev, &queues[4]);
	assert_int_equal(b->used_len, 7);
	assert_memory_equal(b->answer, ", guest", 7);
	fake_request_free(a);
	fake_request_free(b);
	close(fd);
	close_device();
}

/* Its last bytes are the guest's, however late it takes them; and one that only sent its end still listens. */
static void test_client_that_left_is_read_to_its_end(void **state)
{
	struct fake_request *r;
	char in[8];
	int fd;

	open_device(MULTIPORT);
	introduce();
	fd = client(1);
	assert_int_equal(write(fd, "bye", 3), 3);
	close(fd);
	settle();
	r = post(4, 100);
	settle();
	assert_int_equal(r->used_len, 3);
	fake_request_free(r);
	fd = client(1);
	r = post(4, 100);
	settle();
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	settle();
	assert_false(r->completed);
	fake_request_free(output(1, "still", 5));
	assert_int_equal(read(fd, in, sizeof(in)), 5);
	close(fd);
	settle();
	/* Gone now; the next one's input comes by the same request. */
	fd = client(1);
	assert_int_equal(write(fd, "next", 4), 4);
	settle();
	assert_int_equal(r->used_len, 4);
	fake_request_free(r);
	close(fd);
	close_device();
}

/* A port is used before DEVICE_READY: whoever introduced it is gone, and is followed. */
/* By a guest that reads nothing, or nothing for long. */
static void test_client_that_left_does_not_keep_others_out(void **state)
{
	struct fake_request *r;
	int fd;

	open_device(MULTIPORT);
	introduce();
	fd = client(1);
	assert_int_equal(write(fd, "left", 4), 4);
	close(fd);
	settle();
	/* With nobody behind it, it is read however late. */
	skipped_s += 3600;
	settle();
	r = post(4, 100);
	settle();
	assert_int_equal(r->used_len, 4);
	fake_request_free(r);
	fd = client(1);
	assert_int_equal(write(fd, "lost", 4), 4);
	close(fd);
	settle();
	fd = client(1);
	assert_int_equal(write(fd, "next", 4), 4);
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	fake_request_free(output(1, "kept", 4));
	skipped_s += 11;
	settle();
	/* It is served now. */
	assert_int_equal(read(fd, (char[8]){ "" }, 8), 4);
	r = post(4, 100);
	settle();
	assert_int_equal(r->used_len, 4);
	assert_memory_equal(r->answer, "next", 4);
	fake_request_free(r);
	close(fd);
	settle();
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	close_device();
}

static void test_driver_of_a_predecessor_is_told_again(void **state)
{
	struct fake_request *r;
	int fd;

	open_device(MULTIPORT);
	r = post(4, 100);
	told(0, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	told(1, VIRTIO_CONSOLE_DEVICE_ADD, 0, "", 0);
	tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
	told(1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.test", 8);
	told(1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	fd = client(1);
	assert_int_equal(write(fd, "on", 2), 2);
	settle();
	assert_int_equal(r->used_len, 2);
	fake_request_free(r);
	close(fd);
	close_device();
}

static void test_new_start_forgets_what_was_told(void **state)
{
	struct fake_request *r, *held[3];
	unsigned int i;
	uint8_t out[BUFFER] = { 0 };

	open_device(MULTIPORT);
	introduce();
	r = post(4, 100);
	for (i = 0; i < 3; i++)
		held[i] = output(1, out, sizeof(out));
	assert_false(held[2]->completed);
	for (i = 0; i < 6; i++)
		dev->ops->reset(dev, &queues[i]);
	for (i = 0; i < 6; i++)
		assert_int_equal(queues[i].quiesced, 1 + (i == 2));
	dev->ops->restarted(dev);
	assert_true(r->dropped && held[1]->dropped && held[2]->dropped);
	fake_request_free(r);
	for (i = 0; i < 3; i++)
		fake_request_free(held[i]);
	assert_int_equal(dev->ops->set_features(dev, MULTIPORT), 0);
	introduce();
	close_device();
}

/* One port is all that a driver without MULTIPORT has, and it needs no introduction. */
static void test_single_console_has_no_control_queues(void **state)
{
	struct virtio_console_config config;
	struct fake_request *r;
	int fd;

	cfg.port_cnt = 1;
	cfg.cols = 100;
	cfg.rows = 30;
	open_device(1ull << VIRTIO_CONSOLE_F_SIZE);
	assert_int_equal(dev->num_queues, 2);
	assert_false(dev->features & MULTIPORT);
	memcpy(&config, dev->config, sizeof(config));
	assert_int_equal(vhx_le16_get(config.cols), 100);
	assert_int_equal(vhx_le16_get(config.rows), 30);
	assert_int_equal(vhx_le32_get(config.max_nr_ports), 1);
	assert_int_equal(dev->ops->set_features(dev, MULTIPORT), -EINVAL);
	fd = client(0);
	r = post(0, 10);
	assert_int_equal(write(fd, "x", 1), 1);
	settle();
	assert_int_equal(r->used_len, 1);
	fake_request_free(r);
	close(fd);
	close_device();
}

/* Out before anything is negotiated; the rest of the config is not the driver's. */
static void test_emergency_write_comes_out(void **state)
{
	vhx_le32 c = vhx_le32_of('!');
	char in[4];
	int fd;

	open_device(0);
	fd = client(0);
	assert_int_equal(dev->ops->set_config(dev, 8, &c, sizeof(c)), 0);
	assert_int_equal(dev->ops->set_config(dev, 9, &c, 1), 0);
	assert_int_equal(dev->ops->set_config(dev, 0, &c, sizeof(c)), -EINVAL);
	assert_int_equal(read(fd, in, sizeof(in)), 1);
	assert_int_equal(in[0], '!');
	close(fd);
	close_device();
}

static void test_pty_carries_bytes_and_its_size(void **state)
{
	struct winsize ws = { .ws_col = 77, .ws_row = 11 };
	struct virtio_console_config config;
	struct fake_request *r;
	char in[16];
	int fd;

	cfg.port_cnt = 1;
	snprintf(ends[0], sizeof(ends[0]), "pty:%s", path[0]);
	open_device(0);
	/* Before anybody opens it: kept by the kernel, raw. */
	fake_request_free(output(0, "a\nb\r", 4));
	fd = open(path[0], O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, in, sizeof(in)), 4);
	assert_memory_equal(in, "a\nb\r", 4);
	/* Closed and opened: nothing has changed. */
	close(fd);
	fake_request_free(output(0, "more", 4));
	fd = open(path[0], O_RDWR | O_NOCTTY);
	assert_int_equal(read(fd, in, sizeof(in)), 4);
	r = post(0, 10);
	assert_int_equal(write(fd, "\3", 1), 1);
	while (!r->completed)
		assert_int_equal(vhx_loop_once(loop, -1), 0);
	assert_int_equal(r->answer[0], 3);
	fake_request_free(r);
	assert_int_equal(ioctl(fd, TIOCSWINSZ, &ws), 0);
	while (!fake.config_changes)
		assert_int_equal(vhx_loop_once(loop, -1), 0);
	memcpy(&config, dev->config, sizeof(config));
	assert_int_equal(vhx_le16_get(config.cols), 77);
	assert_int_equal(vhx_le16_get(config.rows), 11);
	close(fd);
	close_device();
	assert_int_equal(access(path[0], F_OK), -1);
}

static void test_link_of_a_killed_backend_is_replaced(void **state)
{
	struct vhx_error err;
	char target[32] = "";

	cfg.port_cnt = 1;
	snprintf(ends[0], sizeof(ends[0]), "pty:%s", path[0]);
	assert_int_equal(symlink("/dev/pts/99999", path[0]), 0);
	open_device(0);
	assert_true(readlink(path[0], target, sizeof(target) - 1) > 0);
	assert_string_not_equal(target, "/dev/pts/99999");
	close_device();
	/* Anything else of that name is not ours. */
	assert_int_equal(symlink("/nowhere", path[0]), 0);
	assert_int_equal(vhx_console_new(loop, &cfg, NULL, &dev, &err), -EEXIST);
	assert_non_null(strstr(err.text, "c0: port0: link "));
	assert_int_equal(readlink(path[0], target, sizeof(target) - 1), 8);
}

static void test_file_is_appended_to(void **state)
{
	char in[16];
	int fd;

	cfg.port_cnt = 1;
	snprintf(ends[0], sizeof(ends[0]), "file:%s", path[0]);
	open_device(0);
	fake_request_free(output(0, "one", 3));
	close_device();
	open_device(0);
	fake_request_free(output(0, "two", 3));
	close_device();
	fd = open(path[0], O_RDONLY);
	assert_int_equal(read(fd, in, sizeof(in)), 6);
	assert_memory_equal(in, "onetwo", 6);
	close(fd);
}

/* Files in the places of 0 and 1 while the device is made: with what is in them, at the places where they are. */
static void open_on_files(const char *in, off_t in_off, const char *out)
{
	int saved[2] = { dup(0), dup(1) }, fds[2];

	fds[0] = open(path[1], O_RDWR | O_CREAT, 0600);
	fds[1] = open(path[2], O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fds[0], in, strlen(in)), strlen(in));
	assert_int_equal(write(fds[1], out, strlen(out)), strlen(out));
	assert_int_equal(lseek(fds[0], in_off, SEEK_SET), in_off);
	dup2(fds[0], 0);
	dup2(fds[1], 1);
	cfg.port_cnt = 1;
	strcpy(ends[0], "stdio");
	open_device(0);
	dup2(saved[0], 0);
	dup2(saved[1], 1);
	close(saved[0]);
	close(saved[1]);
	close(fds[0]);
	close(fds[1]);
}

/* As behind ">>": what is there stays. */
static void test_stdout_that_is_a_file_is_not_overwritten(void **state)
{
	char in[16];
	int fd;

	open_on_files("", 0, "before");
	fake_request_free(output(0, "after", 5));
	close_device();
	fd = open(path[2], O_RDONLY);
	assert_int_equal(read(fd, in, sizeof(in)), 11);
	assert_memory_equal(in, "beforeafter", 11);
	close(fd);
}

/* Nothing tells that a file can be read, and it always can, from where it is. */
static void test_stdin_that_is_a_file_is_read(void **state)
{
	struct fake_request *r[2];
	unsigned int i;

	open_on_files("taken,left", 6, "");
	r[0] = post(0, 3);
	r[1] = post(0, 3);
	for (i = 0; i < 20 && !r[1]->completed; i++)
		assert_int_equal(vhx_loop_once(loop, 100), 0);
	assert_true(r[1]->completed);
	assert_memory_equal(r[0]->answer, "lef", 3);
	assert_int_equal(r[1]->used_len, 1);
	assert_memory_equal(r[1]->answer, "t", 1);
	fake_request_free(r[0]);
	fake_request_free(r[1]);
	close_device();
}

/* What a driver of more than the limit brings is incomplete; it ends, and the port goes on. */
static void test_output_beyond_the_limit_ends(void **state)
{
	uint8_t *out = calloc(1, VHX_CONSOLE_OUT_MAX + 1);
	struct fake_request *r;

	open_device(MULTIPORT);
	introduce();
	r = output(1, out, VHX_CONSOLE_OUT_MAX + 1);
	assert_true(r->completed);
	fake_request_free(r);
	r = output(1, "on", 2);
	assert_true(r->completed);
	fake_request_free(r);
	free(out);
	close_device();
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_ports_are_introduced),
		test(test_control_messages_out_of_order),
		test(test_clients_come_and_go),
		test(test_output_without_reader_is_bounded_and_not_lost),
		test(test_slow_reader_holds_the_guest_up),
		test(test_full_buffer_drops_the_oldest_if_told_so),
		test(test_input_waits_for_buffers_and_for_an_open_port),
		test(test_client_that_left_is_read_to_its_end),
		test(test_client_that_left_does_not_keep_others_out),
		test(test_driver_of_a_predecessor_is_told_again),
		test(test_new_start_forgets_what_was_told),
		test(test_single_console_has_no_control_queues),
		test(test_emergency_write_comes_out),
		test(test_pty_carries_bytes_and_its_size),
		test(test_link_of_a_killed_backend_is_replaced),
		test(test_file_is_appended_to),
		test(test_stdout_that_is_a_file_is_not_overwritten),
		test(test_stdin_that_is_a_file_is_read),
		test(test_output_beyond_the_limit_ends),
	};

	return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
