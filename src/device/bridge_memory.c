// SPDX-License-Identifier: BSD-3-Clause
#include "device/bridge_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Not 0, which some programs take for "none". */
#define FIRST_ADDR 0x10000000ull

/* Sealed against a change of its size, which would end us with a SIGBUS. */
static int file_make(struct vhx_bridge_memory *m)
{
	m->fd = memfd_create("vhx-bridge", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0)
		return -errno;
	if (ftruncate(m->fd, (off_t)m->len))
		return -errno;
	return fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ? -errno : 0;
}

int vhx_bridge_memory_init(struct vhx_bridge_memory *m, uint64_t len)
{
	void *base;
	int ret;

	*m = (struct vhx_bridge_memory){ .fd = -1, .len = len, .addr = FIRST_ADDR };
	ret = file_make(m);
	if (ret)
		goto close_file;
	base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (base == MAP_FAILED) {
		ret = -errno;
		goto close_file;
	}
	m->base = base;
	return 0;

close_file:
	vhx_bridge_memory_fini(m);
	return ret;
}

void vhx_bridge_memory_fini(struct vhx_bridge_memory *m)
{
	if (m->base)
		munmap(m->base, m->len);
	if (m->fd >= 0)
		close(m->fd);
	m->base = NULL;
	m->fd = -1;
}
