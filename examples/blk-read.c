// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads one sector of a disk that a backend serves, and prints its first bytes.
 *
 *   vhx-backend --listen unix:/tmp/disk.sock --device blk,id=disk0,file=disk.img &
 *   cc blk-read.c $(pkg-config --cflags --libs libvhx) -o blk-read
 *   ./blk-read unix:/tmp/disk.sock 0
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vhx/vhx.h>

#define SECTOR 512
#define PATIENCE_MS 5000

/* VirtIO 5.2.6, little-endian. */
struct blk_head {
	uint32_t type; /* 0: read */
	uint32_t reserved;
	uint64_t sector;
};

static void say(void *ctx, int level, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-err));
	return EXIT_FAILURE;
}

static int read_sector(struct vhx_conn *conn, struct vhx_vq *vq, uint64_t sector, uint8_t *data)
{
	struct blk_head head = { .type = 0, .sector = sector };
	uint8_t status = 0xff;
	struct iovec out = { &head, sizeof(head) };
	struct iovec in[2] = { { data, SECTOR }, { &status, 1 } };
	struct vhx_completion done;
	int ret = vhx_vq_submit(vq, &out, 1, in, 2, NULL);

	while (!ret && !vhx_vq_poll(vq, &done, 1))
		ret = vhx_conn_wait(conn, -1);
	if (ret)
		return ret;
	if (done.result < 0)
		return (int)done.result;
	return status == 0 ? 0 : -5; /* EIO */
}

static int run(struct vhx_conn *conn, const char *address, uint64_t sector)
{
	uint8_t data[SECTOR];
	struct vhx_dev *dev;
	struct vhx_vq *vq;
	int i, ret;

	ret = vhx_conn_connect(conn, address);
	if (ret)
		return fail(address, ret);
	ret = vhx_dev_open(conn, "", &dev);
	if (!ret)
		ret = vhx_dev_wait(dev, PATIENCE_MS);
	if (ret)
		return fail("device", ret);
	if (vhx_dev_type(dev) != 2) {
		fprintf(stderr, "%s is no disk\n", vhx_dev_name(dev));
		return EXIT_FAILURE;
	}
	ret = vhx_vq_start(dev, 0, 4, &vq);
	if (!ret)
		ret = read_sector(conn, vq, sector, data);
	if (ret)
		return fail("read", ret);
	for (i = 0; i < 64; i++)
		printf("%02x%s", data[i], i % 16 == 15 ? "\n" : " ");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct vhx_conn *conn;
	int code, ret;

	if (argc != 3) {
		fprintf(stderr, "usage: blk-read unix:PATH SECTOR\n");
		return 2;
	}
	ret = vhx_conn_new(&conn);
	if (ret)
		return fail("libvhx", ret);
	vhx_conn_set_log(conn, 5, say, NULL);
	code = run(conn, argv[1], strtoull(argv[2], NULL, 0));
	vhx_conn_free(conn);
	return code;
}
