// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sections as memory: making, mapping and unmapping them. What the words mean is lane.c's matter.
 *
 * One span of addresses is set aside first and then filled:
 *
 *   | header page | data area | data area again |
 *
 * The first two are one mapping of the file from its start, the third maps the data area once more.
 */
#include "exchange/section.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/barrier.h"

static uint32_t header_len(void)
{
	return (uint32_t)sysconf(_SC_PAGESIZE);
}

bool vhx_section_ring_len_valid(uint32_t ring_len)
{
	return vhx_is_power_of_2(ring_len) && ring_len >= VHX_SECTION_RING_MIN &&
	       ring_len <= VHX_SECTION_RING_MAX && ring_len % header_len() == 0;
}

uint64_t vhx_section_size(uint32_t ring_len)
{
	return (uint64_t)header_len() + ring_len;
}

static size_t span_len(uint32_t ring_len)
{
	return (size_t)header_len() + 2 * (size_t)ring_len;
}

/* MAP_POPULATE: no page fault later, neither on the data path nor where one could fail. */
static int map_at(uint8_t *at, size_t len, int prot, int fd, off_t off)
{
	void *got = mmap(at, len, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, off);

	return got == MAP_FAILED ? -errno : 0;
}

static int section_place(int fd, uint32_t ring_len, int prot, struct vhx_section *s)
{
	uint8_t *base = mmap(NULL, span_len(ring_len), PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err;

	if (base == MAP_FAILED)
		return -errno;
	err = map_at(base, vhx_section_size(ring_len), prot, fd, 0);
	if (err)
		goto unmap;
	err = map_at(base + vhx_section_size(ring_len), ring_len, prot, fd, header_len());
	if (err)
		goto unmap;
	s->header = (struct vhx_section_header *)base;
	s->data = base + header_len();
	s->ring_len = ring_len;
	return 0;

unmap:
	munmap(base, span_len(ring_len));
	return err;
}

/* The new file, or -errno. fallocate() says now, with an error, what a later fault could only say with SIGBUS. */
static int file_create(uint32_t ring_len)
{
	int file = memfd_create("vhx-section", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (file < 0)
		return -errno;
	if (ftruncate(file, (off_t)vhx_section_size(ring_len)) ||
	    fallocate(file, 0, 0, (off_t)vhx_section_size(ring_len))) {
		err = -errno;
		close(file);
		return err;
	}
	return file;
}

int vhx_section_create(uint32_t ring_len, struct vhx_section *s, int *fd)
{
	int file, err;

	if (!vhx_section_ring_len_valid(ring_len))
		return -EINVAL;
	file = file_create(ring_len);
	if (file < 0)
		return file;
	err = section_place(file, ring_len, PROT_READ | PROT_WRITE, s);
	if (err) {
		close(file);
		return err;
	}
	s->header->magic = vhx_le32_of(VHX_SECTION_MAGIC);
	s->header->version = vhx_le32_of(VHX_SECTION_VERSION);
	s->header->ring_len = vhx_le32_of(ring_len);
	*fd = file;
	return 0;
}

static bool header_matches(const struct vhx_section_header *h, uint32_t ring_len)
{
	return vhx_word_load_relaxed(&h->magic) == VHX_SECTION_MAGIC &&
	       vhx_word_load_relaxed(&h->version) == VHX_SECTION_VERSION &&
	       vhx_word_load_relaxed(&h->ring_len) == ring_len;
}

int vhx_section_map(int fd, uint32_t ring_len, struct vhx_section *s)
{
	int err;

	if (!vhx_section_ring_len_valid(ring_len))
		return -EPROTO;
	err = section_place(fd, ring_len, PROT_READ, s);
	if (err)
		return err;
	if (header_matches(s->header, ring_len))
		return 0;
	vhx_section_unmap(s);
	return -EPROTO;
}

void vhx_section_unmap(struct vhx_section *s)
{
	if (!s->header)
		return;
	munmap(s->header, span_len(s->ring_len));
	s->header = NULL;
	s->data = NULL;
}
