// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 * The kernel says which file has an address: VDUSE_IOTLB_GET_FD gives the region around it and a descriptor. Two
 * kinds of driver, two kinds of file:
 *
 *  - a driver of this kernel (virtio_vdpa). Rings are pages of the kernel, payload goes through the bounce buffer of
 *    the VDUSE domain, which the kernel copies from and to. The file is the domain; touching a page of the bounce
 *    buffer that holds no request is a SIGBUS. The addresses in the rings are the kernel's own.
 *  - a process (vhost_vdpa), such as a VMM. The file is the one that this process mapped there, and the addresses are
 *    what it likes. As with vhost-user, only regular files that hold the whole range are taken, because touching a
 *    page behind their end is a SIGBUS; whoever shrinks his own memory file later ends the frontend that serves him.
 *
 * Memory that the device may only read is mapped private: a chain that says otherwise has its bytes written into
 * copies, which nobody sees.
 *
 * A mapping holds its pages, also when the kernel has given the address to somebody else since. So all of them go
 * when the driver resets the device, and when the kernel says that the translation changed.
 */
#include "vduse/memory.h"

#include <fcntl.h>
#include <linux/vduse.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/checked.h"

void vhx_vduse_memory_init(struct vhx_vduse_memory *m, int fd)
{
	*m = (struct vhx_vduse_memory){ .fd = fd };
}

void vhx_vduse_memory_clear(struct vhx_vduse_memory *m)
{
	unsigned int i;

	for (i = 0; i < m->cnt; i++)
		munmap(m->regions[i].base, m->regions[i].base_len);
	m->cnt = 0;
	m->hit = 0;
}

/* The file of a VDUSE domain: it has no size, and knows itself which of its pages are there. */
static bool is_domain(int fd, const struct stat *st)
{
	char link[64], target[64];
	ssize_t n;

	if (st->st_mode & S_IFMT)
		return false; /* an anonymous inode has no type bits */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return true; /* no /proc: that it is anonymous has to do */
	target[n] = '\0';
	return !strcmp(target, "anon_inode:[vduse-domain]");
}

/* The size of the pages that @fd can be mapped in: 2 MiB or more on hugetlbfs. 0 or negative: not a file for us. */
static int file_judge(int fd, uint64_t off, uint64_t len, uint64_t *page)
{
	struct stat st;

	*page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fstat(fd, &st))
		return -errno;
	if (is_domain(fd, &st))
		return 0;
	if (!S_ISREG(st.st_mode) || !vhx_range_within(off, len, (uint64_t)st.st_size))
		return -EFAULT;
	if (st.st_blksize > 0 && vhx_is_power_of_2((uint64_t)st.st_blksize))
		*page = vhx_max_u64(*page, (uint64_t)st.st_blksize);
	return 0;
}

static int region_map(struct vhx_vduse_region *r, const struct vduse_iotlb_entry *e, int fd)
{
	int flags = MAP_NORESERVE | (e->perm & VDUSE_ACCESS_WO ? MAP_SHARED : MAP_PRIVATE);
	uint64_t len, page, skip, total;
	int ret;

	if (e->last < e->start || !vhx_add_u64(e->last - e->start, 1, &len))
		return -EFAULT;
	ret = file_judge(fd, e->offset, len, &page);
	if (ret)
		return ret;
	skip = e->offset & (page - 1);
	if (!vhx_add_u64(len, skip + page - 1, &total) || total > SIZE_MAX)
		return -EFAULT;
	total &= ~(page - 1);
	r->base = mmap(NULL, (size_t)total, PROT_READ | PROT_WRITE, flags, fd,
		       (off_t)(e->offset - skip));
	if (r->base == MAP_FAILED)
		return -errno;
	r->base_len = (size_t)total;
	r->start = e->start;
	r->last = e->last;
	r->data = (uint8_t *)r->base + skip;
	return 0;
}

/* Slot of the first region that ends at or behind @iova. */
static unsigned int region_slot(const struct vhx_vduse_memory *m, uint64_t iova)
{
	unsigned int lo = 0, hi = m->cnt;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (m->regions[mid].last < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Keeps a region that the kernel told of. One that overlaps another is a change that it did not tell of. */
static int region_insert(struct vhx_vduse_memory *m, const struct vduse_iotlb_entry *e, int fd)
{
	unsigned int slot = region_slot(m, e->start);
	struct vhx_vduse_region r;
	int ret;

	if (m->cnt == VHX_VDUSE_REGIONS_MAX)
		return -ENOSPC;
	if (slot < m->cnt && m->regions[slot].start <= e->last)
		return -EFAULT;
	ret = region_map(&r, e, fd);
	if (ret)
		return ret;
	memmove(&m->regions[slot + 1], &m->regions[slot], (m->cnt - slot) * sizeof(m->regions[0]));
	m->regions[slot] = r;
	m->cnt++;
	m->hit = slot;
	return 0;
}

static int region_fetch(struct vhx_vduse_memory *m, uint64_t iova)
{
	struct vduse_iotlb_entry e = { .start = iova, .last = iova };
	int fd, ret;

	fd = ioctl(m->fd, VDUSE_IOTLB_GET_FD, &e);
	if (fd < 0)
		return -errno;
	ret = e.start <= iova && iova <= e.last ? region_insert(m, &e, fd) : -EFAULT;
	close(fd);
	return ret;
}

static bool region_has(const struct vhx_vduse_memory *m, unsigned int slot, uint64_t iova)
{
	return slot < m->cnt && m->regions[slot].start <= iova && iova <= m->regions[slot].last;
}

static const struct vhx_vduse_region *region_of(struct vhx_vduse_memory *m, uint64_t iova)
{
	unsigned int slot = m->hit;

	if (vhx_likely(region_has(m, slot, iova)))
		return &m->regions[slot];
	slot = region_slot(m, iova);
	if (!region_has(m, slot, iova)) {
		if (region_fetch(m, iova))
			return NULL;
		slot = m->hit;
	}
	m->hit = slot;
	return &m->regions[slot];
}

int vhx_vduse_memory_map(struct vhx_vduse_memory *m, uint64_t iova, uint64_t len, struct iovec *iov,
			 unsigned int max)
{
	unsigned int cnt = 0;

	while (len) {
		const struct vhx_vduse_region *r = region_of(m, iova);
		uint64_t left, part;

		if (!r)
			return -EFAULT;
		if (cnt == max)
			return -E2BIG;
		left = r->last - iova;
		part = left < len ? left + 1 : len;
		iov[cnt].iov_base = r->data + (iova - r->start);
		iov[cnt].iov_len = (size_t)part;
		cnt++;
		iova += part;
		len -= part;
	}
	return (int)cnt;
}

void *vhx_vduse_memory_at(struct vhx_vduse_memory *m, uint64_t iova, uint64_t len)
{
	struct iovec iov;
	uint64_t end;

	if (!vhx_add_u64(iova, len, &end) || vhx_vduse_memory_map(m, iova, len, &iov, 1) != 1)
		return NULL;
	return iov.iov_base;
}
