// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Theory of operation
 *
 * No address leaves the guest: the transport itself is the device that reads the ring, and here is
 * what it finds in a descriptor. There are two forms.
 *
 *   Handles. The driver maps its buffers by operations of ours (ACCESS_PLATFORM is offered, so that
 *   it asks). A handle is the physical address under a tag. An address without the tag was not made
 *   here, and is refused. This is the only form that works where the kernel insists on mapping,
 *   such as a Xen PV domain, whose own operations would yield machine addresses; page_to_phys() and
 *   phys_to_virt() agree there about the pseudo-physical ones.
 *
 *   Guest-physical addresses, where the kernel lets nobody bring operations (no DMA at all, as in
 *   User-Mode Linux; set_dma_ops() without effect, as on riscv64). ACCESS_PLATFORM is not offered.
 *
 * Which one it is, is found out at run time: whether the operations that were set are the ones
 * found. Module parameter handles=0 asks for the second form.
 *
 * Mapping only computes: no state, no lock, nothing to unmap or to synchronise; so it works in any
 * context. Memory is always mapped (compat.h), is never moved while a driver has it mapped, and was
 * never shared with anybody, so neither bounce buffers nor decryption matter.
 *
 * None of this can be reached by a backend. The checks are for drivers with bugs.
 */
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/scatterlist.h>

#include "compat.h"
#include "virtio_hmx.h"

/* Above any physical address: those have at most 52 bits. */
#define HANDLE_TAG (0xa58ull << 52)
#define HANDLE_MASK (0xfffull << 52)

/* A descriptor's length has 32 bits; this much is never asked for at once. */
#define MAP_SIZE_MAX ((size_t)1 << 30)

static bool handles = true;
module_param(handles, bool, 0444);
MODULE_PARM_DESC(handles, "Map buffers by own operations where it can be (default: yes)");

static dma_addr_t handle_make(phys_addr_t phys)
{
	return (dma_addr_t)phys | HANDLE_TAG;
}

static void *handle_alloc(size_t size, dma_addr_t *handle, gfp_t gfp)
{
	void *p = alloc_pages_exact(PAGE_ALIGN(size), gfp | __GFP_ZERO);

	if (p)
		*handle = handle_make(virt_to_phys(p));
	return p;
}

static void handle_free(size_t size, void *p)
{
	free_pages_exact(p, PAGE_ALIGN(size));
}

#ifdef HMX_HAVE_VIRTIO_MAP

static dma_addr_t map_page(union virtio_map map, struct page *page, unsigned long offset,
			   size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	return handle_make(page_to_phys(page) + offset);
}

static void map_unmap_page(union virtio_map map, dma_addr_t handle, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
}

static void map_sync(union virtio_map map, dma_addr_t handle, size_t size,
		     enum dma_data_direction dir)
{
}

static void *map_alloc(union virtio_map map, size_t size, dma_addr_t *handle, gfp_t gfp)
{
	return handle_alloc(size, handle, gfp);
}

static void map_free(union virtio_map map, size_t size, void *p, dma_addr_t handle,
		     unsigned long attrs)
{
	handle_free(size, p);
}

static bool map_need_sync(union virtio_map map, dma_addr_t handle)
{
	return false;
}

static int map_mapping_error(union virtio_map map, dma_addr_t handle)
{
	return handle == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

static size_t map_max_size(union virtio_map map)
{
	return MAP_SIZE_MAX;
}

static const struct virtio_map_ops map_ops = {
	.map_page = map_page,
	.unmap_page = map_unmap_page,
	.sync_single_for_cpu = map_sync,
	.sync_single_for_device = map_sync,
	.alloc = map_alloc,
	.free = map_free,
	.need_sync = map_need_sync,
	.mapping_error = map_mapping_error,
	.max_mapping_size = map_max_size,
};

static bool map_install(struct device *dev, struct virtio_device *vdev)
{
	vdev->map = &map_ops;
	return true;
}

#else

static dma_addr_t map_page(struct device *dev, struct page *page, unsigned long offset, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	return handle_make(page_to_phys(page) + offset);
}

static void map_unmap_page(struct device *dev, dma_addr_t handle, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
}

static int map_sg(struct device *dev, struct scatterlist *sgl, int nents,
		  enum dma_data_direction dir, unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		sg_dma_address(sg) = handle_make(sg_phys(sg));
		sg_dma_len(sg) = sg->length;
	}
	return nents;
}

static void map_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents,
			 enum dma_data_direction dir, unsigned long attrs)
{
}

static void *map_alloc(struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp,
		       unsigned long attrs)
{
	return handle_alloc(size, handle, gfp);
}

static void map_free(struct device *dev, size_t size, void *p, dma_addr_t handle,
		     unsigned long attrs)
{
	handle_free(size, p);
}

static int map_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static u64 map_required_mask(struct device *dev)
{
	return DMA_BIT_MASK(64);
}

static size_t map_max_size(struct device *dev)
{
	return MAP_SIZE_MAX;
}

/* Without sync operations nobody asks for any. */
static const struct dma_map_ops map_ops = {
	.alloc = map_alloc,
	.free = map_free,
	.map_page = map_page,
	.unmap_page = map_unmap_page,
	.map_sg = map_sg,
	.unmap_sg = map_unmap_sg,
	.dma_supported = map_supported,
	.get_required_mask = map_required_mask,
	.max_mapping_size = map_max_size,
};

static bool map_install(struct device *dev, struct virtio_device *vdev)
{
	set_dma_ops(dev, &map_ops);
	if (get_dma_ops(dev) != &map_ops)
		return false;
	dev->dma_mask = &dev->coherent_dma_mask;
	if (!dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)))
		return true;
	set_dma_ops(dev, NULL);
	return false;
}

#endif

bool hmx_map_setup(struct device *dev, struct virtio_device *vdev)
{
	if (!handles || sizeof(dma_addr_t) < sizeof(u64))
		return false;
	return map_install(dev, vdev);
}

/*
 * A look at the map of memory is dear beside everything else that a descriptor costs, and a handle
 * was made from a page: of one, only the end of what it names may be none.
 */
void *hmx_map_addr(const struct hmx_device *dev, u64 addr, u32 len)
{
	u64 last;

	if (dev->handles) {
		if ((addr & HANDLE_MASK) != HANDLE_TAG)
			return NULL;
		addr &= ~HANDLE_MASK;
	}
	if (check_add_overflow(addr, (u64)(len ? len - 1 : 0), &last))
		return NULL;
	if (!dev->handles && !pfn_valid(PHYS_PFN(addr)))
		return NULL;
	return pfn_valid(PHYS_PFN(last)) ? phys_to_virt(addr) : NULL;
}
