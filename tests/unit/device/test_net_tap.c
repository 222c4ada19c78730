// SPDX-License-Identifier: BSD-3-Clause
/*
 * The network device on a real tap, in a network namespace of the test's own; the kernel's side is a packet socket.
 * Skipped where neither can be had.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/net.h"
#include "device/net_layout.h"

#define HDR ((uint32_t)sizeof(struct virtio_net_hdr))
#define BIT(name) (1ull << VIRTIO_NET_F_##name)
#define QUEUES 5
#define CONTROL 4 /* of two pairs */
#define ETHERTYPE 0x88b5 /* for experiments: nobody else sends that */
#define SKIPPED 77

static struct vhx_loop *loop;
static struct vhx_device *dev;
static struct vhx_queue queues[QUEUES];
static struct vhx_net_config cfg;
static int control_sock; /* for requests about interfaces */

static int setup(void **state)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		queues[i] = (struct vhx_queue){ .index = (uint16_t)i };
	cfg = (struct vhx_net_config){ .id = "n0", .end = "tap:vm0", .offload = true };
	fake_init();
	return vhx_loop_new(0, &loop);
}

static int teardown(void **state)
{
	vhx_loop_free(loop);
	return 0;
}

static void open_device(uint64_t features)
{
	struct vhx_error err = { "" };

	if (vhx_net_new(loop, &cfg, NULL, &dev, &err))
		fail_msg("%s", err.text);
	assert_int_equal(dev->ops->set_features(dev, features), 0);
}

static void close_device(void)
{
	unsigned int i;

	for (i = 0; i < dev->num_queues; i++)
		dev->ops->reset(dev, &queues[i]);
	dev->ops->close(dev);
	assert_int_equal(fake.in_flight, 0);
}

static void refused(const char *says)
{
	struct vhx_error err = { "" };

	assert_true(vhx_net_new(loop, &cfg, NULL, &dev, &err) < 0);
	if (!strstr(err.text, says) || strncmp(err.text, "n0: ", 4))
		fail_msg("'%s' says '%s'", cfg.end, err.text);
}

static void interface_up(struct ifreq *ifr)
{
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "vm0");
	assert_int_equal(ioctl(control_sock, SIOCGIFFLAGS, ifr), 0);
	ifr->ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(control_sock, SIOCSIFFLAGS, ifr), 0);
	assert_int_equal(ioctl(control_sock, SIOCGIFINDEX, ifr), 0);
}

/* What the kernel sees and sends on the interface. */
static int kernel_side(void)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETHERTYPE));
	struct ifreq ifr;

	assert_true(fd >= 0);
	interface_up(&ifr);
	ll.sll_ifindex = ifr.ifr_ifindex;
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return fd;
}

static void frame_fill(uint8_t *p, uint32_t len, uint8_t seed)
{
	static const uint8_t head[] = {
		0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, ETHERTYPE >> 8, ETHERTYPE & 0xff
	};

	memset(p, seed, len);
	memcpy(p, head, sizeof(head));
}

static struct fake_request *post(unsigned int queue)
{
	struct fake_request *r = fake_request_new(dev, &queues[queue], "", 0, 2000);

	fake_submit(r);
	return r;
}

static uint8_t pairs_set(uint16_t cnt)
{
	uint8_t bytes[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, (uint8_t)cnt,
			    (uint8_t)(cnt >> 8) };
	struct fake_request *r = fake_request_new(dev, &queues[CONTROL], bytes, sizeof(bytes), 1);
	uint8_t ack;

	fake_submit(r);
	assert_true(r->completed);
	ack = r->answer[0];
	fake_request_free(r);
	return ack;
}

static void frame_out(int fd, unsigned int queue, uint32_t len, uint8_t seed)
{
	uint8_t bytes[HDR + 1514], got[1514];
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct fake_request *r;

	memset(bytes, 0, HDR);
	frame_fill(bytes + HDR, len, seed);
	r = fake_request_new(dev, &queues[queue], bytes, HDR + len, 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	assert_int_equal(poll(&pfd, 1, 10000), 1);
	assert_int_equal(recv(fd, got, sizeof(got), 0), len);
	assert_memory_equal(got, bytes + HDR, len);
}

static void frame_in(int fd, unsigned int queue, uint32_t len, uint8_t seed)
{
	struct fake_request *r = post(queue);
	uint8_t want[1514];

	frame_fill(want, len, seed);
	assert_int_equal(send(fd, want, len, 0), len);
	/* The kernel has its own to say on an interface that comes up; the filter of a driver is off. */
	for (;;) {
		fake_wait(r);
		if (r->used_len == HDR + len && !memcmp(r->answer + HDR, want, len))
			break;
		fake_request_free(r);
		r = post(queue);
	}
	assert_int_equal(r->answer[offsetof(struct virtio_net_hdr, num_buffers)], 1);
	fake_request_free(r);
}

static void test_frames_both_ways(void **state)
{
	int fd;

	open_device(0);
	fd = kernel_side();
	frame_out(fd, 1, 60, 1);
	frame_out(fd, 1, 1514, 2);
	frame_in(fd, 0, 60, 3);
	frame_in(fd, 0, 1514, 4);
	close(fd);
	close_device();
}

/* An interface that is down takes nothing, and that is no reason to stop. */
static void test_interface_that_is_down(void **state)
{
	uint8_t bytes[HDR + 60];
	struct fake_request *r;
	int fd;

	open_device(0);
	memset(bytes, 0, HDR);
	frame_fill(bytes + HDR, 60, 1);
	r = fake_request_new(dev, &queues[1], bytes, sizeof(bytes), 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	fd = kernel_side();
	frame_out(fd, 1, 60, 2);
	close(fd);
	close_device();
}

static void test_offloads_are_offered_and_taken(void **state)
{
	const uint64_t both = BIT(CSUM) | BIT(GUEST_CSUM) | BIT(HOST_TSO4) | BIT(HOST_TSO6) |
			      BIT(GUEST_TSO4) | BIT(GUEST_TSO6);
	int fd;

	open_device(both | BIT(MRG_RXBUF));
	assert_int_equal(dev->features & both, both);
	fd = kernel_side();
	frame_out(fd, 1, 100, 1);
	frame_in(fd, 0, 100, 2);
	close(fd);
	close_device();
	cfg.offload = false;
	open_device(0);
	assert_int_equal(dev->features & both, 0);
	close_device();
}

/* Packets go to pairs that the driver uses, whatever others have buffers; and none is sent from those. */
static void test_pairs(void **state)
{
	uint8_t bytes[HDR + 60], got[100];
	struct fake_request *r, *unused;
	unsigned int i;
	int fd;

	cfg.pairs = 2;
	open_device(BIT(CTRL_VQ) | BIT(MQ));
	assert_int_equal(dev->num_queues, QUEUES);
	fd = kernel_side();
	assert_int_equal(pairs_set(0), VIRTIO_NET_ERR);
	assert_int_equal(pairs_set(3), VIRTIO_NET_ERR);
	assert_int_equal(pairs_set(1), VIRTIO_NET_OK);
	unused = post(2);
	for (i = 0; i < 20; i++)
		frame_in(fd, 0, 100 + i, (uint8_t)i);
	assert_false(unused->completed);
	memset(bytes, 0, HDR);
	frame_fill(bytes + HDR, 60, 1);
	r = fake_request_new(dev, &queues[3], bytes, sizeof(bytes), 0);
	fake_submit(r);
	assert_true(r->completed);
	fake_request_free(r);
	assert_int_equal(recv(fd, got, sizeof(got), 0), -1);
	assert_int_equal(pairs_set(2), VIRTIO_NET_OK);
	frame_out(fd, 3, 60, 7);
	frame_out(fd, 1, 60, 8);
	close(fd);
	close_device();
	fake_request_free(unused);
}

/* Bad configurations, a line each. */
static void test_taps_that_cannot_be_had(void **state)
{
	struct vhx_device *first;
	struct vhx_net_config one = cfg;

	open_device(0);
	first = dev;
	refused("tap vm0: another program has it");
	dev = first;
	close_device();
	cfg.end = "tap:lo";
	refused("tap lo: it is no tap");
	cfg = one;
}

/* A tap that somebody deletes is a link that goes down. */
static void test_interface_that_is_deleted(void **state)
{
	int fd = open("/dev/net/tun", O_RDWR), kernel;
	struct ifreq ifr = { .ifr_name = "vm0",
			     .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE };
	struct fake_request *r;

	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	open_device(BIT(STATUS));
	kernel = kernel_side();
	frame_out(kernel, 1, 60, 1);
	r = post(0);
	assert_int_equal(system("PATH=$PATH:/sbin:/usr/sbin ip link delete vm0"), 0);
	while (fake.config_changes == 0)
		assert_int_equal(vhx_loop_once(loop, 100), 0);
	assert_int_equal(dev->config[offsetof(struct virtio_net_config, status)], 0);
	close(kernel);
	close_device();
	fake_request_free(r);
}

static bool namespace_make(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0)
		return false;
	close(fd);
	control_sock = socket(AF_INET, SOCK_DGRAM, 0);
	return control_sock >= 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_frames_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interface_that_is_down, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offloads_are_offered_and_taken, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_pairs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taps_that_cannot_be_had, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interface_that_is_deleted, setup, teardown),
	};

	if (!namespace_make()) {
		printf("SKIP: no network namespace, or no /dev/net/tun in it\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
