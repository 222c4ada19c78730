// SPDX-License-Identifier: BSD-3-Clause
/*
 * Mapping of what a VMM shares.
 *
 * The file is the VMM's: only regular files (memfd, tmpfs, hugetlbfs, DAX) that hold the whole
 * range are accepted, because touching a page behind the end is a SIGBUS. A VMM that shrinks its
 * memory file later can still cause one; its own guest's memory is gone then as well. Memory
 * backends that are sealed against shrinking (the default of QEMU's memory-backend-memfd) exclude
 * it.
 *
 * mmap wants offsets in units of the file's page size, which is 2 MiB or more on hugetlbfs; the
 * protocol allows any offset. So the mapping starts at the page that holds the offset, and ends on
 * a page, as munmap wants for huge pages.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/checked.h"
#include "vhost_user/map.h"

static uint64_t file_page_size(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	/* st_blksize is the huge page size on hugetlbfs. */
	if (st->st_blksize > 0 && vhx_is_power_of_2((uint64_t)st->st_blksize))
		return vhx_max_u64(page, (uint64_t)st->st_blksize);
	return page;
}

int vhx_vu_map_open(struct vhx_vu_map *map, int fd, uint64_t off, uint64_t len)
{
	uint64_t page, skip, total;
	struct stat st;
	void *base;

	*map = (struct vhx_vu_map){ 0 };
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !len)
		return -EINVAL;
	if (!vhx_range_within(off, len, (uint64_t)st.st_size))
		return -ERANGE;
	page = file_page_size(&st);
	skip = off & (page - 1);
	if (!vhx_add_u64(len, skip + page - 1, &total) || total > SIZE_MAX)
		return -ERANGE;
	total &= ~(page - 1);
	base = mmap(NULL, (size_t)total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		    (off_t)(off - skip));
	if (base == MAP_FAILED)
		return -errno;
	map->base = base;
	map->base_len = (size_t)total;
	map->data = (uint8_t *)base + skip;
	map->len = len;
	map->dev = st.st_dev;
	map->ino = st.st_ino;
	map->off = off;
	return 0;
}

bool vhx_vu_map_is(const struct vhx_vu_map *map, int fd, uint64_t off)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_dev == map->dev && st.st_ino == map->ino && off == map->off;
}

void vhx_vu_map_close(struct vhx_vu_map *map)
{
	if (map->base)
		munmap(map->base, map->base_len);
	*map = (struct vhx_vu_map){ 0 };
}
