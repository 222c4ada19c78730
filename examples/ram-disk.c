// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device of one's own: a disk in memory, served to whoever asks for "ram".
 *
 *   cc ram-disk.c $(pkg-config --cflags --libs libvhx) -o ram-disk
 *   ./ram-disk unix:/tmp/ram.sock &
 *   vhx-frontend --connect unix:/tmp/ram.sock --vhost-user /tmp/vm.sock,id=ram
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <vhx/device.h>

#define SECTOR 512u
#define SECTORS 32768u
#define SEGMENT_MAX 32768u

/* VirtIO 5.2, little-endian. */
enum { TYPE_BLK = 2, T_IN = 0, T_OUT = 1, S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, F_SIZE_MAX = 1 };
struct head {
	uint32_t type, reserved;
	uint64_t sector;
};
static const struct {
	uint64_t capacity;
	uint32_t size_max;
} config = { SECTORS, SEGMENT_MAX };

static uint8_t disk[SECTORS * SECTOR];
static struct vhx_server *server;

static int request(void *ctx, unsigned int vq, struct vhx_req *req)
{
	struct head head = { .type = UINT32_MAX };
	size_t got = vhx_req_read(req, 0, &head, sizeof(head)), room = vhx_req_in_len(req);
	size_t len = head.type == T_OUT ? vhx_req_out_len(req) - got : room ? room - 1 : 0;
	uint64_t off = head.sector * SECTOR;
	int ret = 0;

	if (got < sizeof(head) || head.type > T_OUT) {
		vhx_req_end_status(req, S_UNSUPP);
	} else if (vhx_req_too_big(req) || head.sector > SECTORS || len > sizeof(disk) - off) {
		vhx_req_end_status(req, S_IOERR);
	} else {
		if (head.type == T_OUT)
			vhx_req_read(req, sizeof(head), disk + off, len);
		else
			ret = vhx_req_write(req, disk + off, len);
		if (!ret)
			vhx_req_end_status(req, S_OK);
	}
	return ret; /* -EAGAIN: no room for the answer now, it comes again */
}

static const struct vhx_model_ops ops = { .size = sizeof(ops), .request = request };

static void stop(int sig)
{
	vhx_server_stop(server);
}

int main(int argc, char **argv)
{
	const struct vhx_model_config model = {
		.size = sizeof(model), .id = "ram", .type = TYPE_BLK, .queues = 1,
		.features = 1u << F_SIZE_MAX, .config = &config, .config_len = 12,
	};
	int ret = vhx_server_new(&server);

	ret = ret ? ret : vhx_model_add(server, &model, &ops, NULL, NULL);
	ret = ret ? ret : vhx_server_listen(server, argc > 1 ? argv[1] : "");
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	ret = ret ? ret : vhx_server_run(server);
	vhx_server_free(server);
	if (ret)
		fprintf(stderr, "ram-disk: %s\n", strerror(-ret));
	return ret ? 1 : 0;
}
