// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sections as memory: making, mapping and unmapping them. What the words mean is lane.c's matter.
 *
 * One span of addresses is set aside first and then filled:
 *
 *   | header | data area | data area again |
 *
 * The first two are one mapping of the file from where the section begins, the third maps the data area
 * once more.
 */
#include "exchange/section.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/barrier.h"

static uint32_t page_len(void)
{
	return (uint32_t)sysconf(_SC_PAGESIZE);
}

bool vhx_section_ring_len_valid(uint32_t ring_len)
{
	return vhx_is_power_of_2(ring_len) && ring_len >= VHX_SECTION_RING_MIN &&
	       ring_len <= VHX_SECTION_RING_MAX && ring_len % page_len() == 0;
}

uint64_t vhx_section_size(uint32_t ring_len)
{
	return (uint64_t)page_len() + ring_len;
}

static size_t span_len(uint32_t header_len, uint32_t ring_len)
{
	return (size_t)header_len + 2 * (size_t)ring_len;
}

/* MAP_POPULATE: no page fault later, neither on the data path nor where one could fail. */
static int map_at(uint8_t *at, size_t len, int prot, int fd, off_t off)
{
	void *got = mmap(at, len, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, off);

	return got == MAP_FAILED ? -errno : 0;
}

static int section_place(const struct vhx_section_place *p, int prot, struct vhx_section *s)
{
	size_t once = (size_t)p->header_len + p->ring_len;
	size_t span = span_len(p->header_len, p->ring_len);
	uint8_t *base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);
	int err;

	if (base == MAP_FAILED)
		return -errno;
	err = map_at(base, once, prot, p->fd, (off_t)p->off);
	if (err)
		goto unmap;
	err = map_at(base + once, p->ring_len, prot, p->fd, (off_t)(p->off + p->header_len));
	if (err)
		goto unmap;
	s->header = (struct vhx_section_header *)base;
	s->data = base + p->header_len;
	s->ring_len = p->ring_len;
	s->header_len = p->header_len;
	return 0;

unmap:
	munmap(base, span);
	return err;
}

static struct vhx_section_place place_of_file(int fd, uint32_t ring_len)
{
	return (struct vhx_section_place){ .fd = fd,
					   .header_len = page_len(),
					   .ring_len = ring_len };
}

int vhx_section_map_place(const struct vhx_section_place *place, bool writable,
			  struct vhx_section *s)
{
	assert(place->header_len % page_len() == 0 && place->off % page_len() == 0);
	if (!vhx_section_ring_len_valid(place->ring_len))
		return -EINVAL;
	return section_place(place, writable ? PROT_READ | PROT_WRITE : PROT_READ, s);
}

void vhx_section_header_init(struct vhx_section_header *h, uint32_t ring_len)
{
	vhx_word_store_relaxed(&h->magic, VHX_SECTION_MAGIC);
	vhx_word_store_relaxed(&h->version, VHX_SECTION_VERSION);
	vhx_word_store_relaxed(&h->ring_len, ring_len);
}

bool vhx_section_header_valid(const struct vhx_section_header *h, uint32_t ring_len)
{
	return vhx_word_load_relaxed(&h->magic) == VHX_SECTION_MAGIC &&
	       vhx_word_load_relaxed(&h->version) == VHX_SECTION_VERSION &&
	       vhx_word_load_relaxed(&h->ring_len) == ring_len;
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
	struct vhx_section_place place;
	int file, err;

	if (!vhx_section_ring_len_valid(ring_len))
		return -EINVAL;
	file = file_create(ring_len);
	if (file < 0)
		return file;
	place = place_of_file(file, ring_len);
	err = section_place(&place, PROT_READ | PROT_WRITE, s);
	if (err) {
		close(file);
		return err;
	}
	vhx_section_header_init(s->header, ring_len);
	*fd = file;
	return 0;
}

int vhx_section_map(int fd, uint32_t ring_len, struct vhx_section *s)
{
	struct vhx_section_place place = place_of_file(fd, ring_len);
	int err;

	if (!vhx_section_ring_len_valid(ring_len))
		return -EPROTO;
	err = section_place(&place, PROT_READ, s);
	if (err)
		return err;
	if (vhx_section_header_valid(s->header, ring_len))
		return 0;
	vhx_section_unmap(s);
	return -EPROTO;
}

void vhx_section_unmap(struct vhx_section *s)
{
	if (!s->header)
		return;
	munmap(s->header, span_len(s->header_len, s->ring_len));
	s->header = NULL;
	s->data = NULL;
}
